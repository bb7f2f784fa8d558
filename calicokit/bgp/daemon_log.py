"""What the logs of BIRD and confd say of themselves: whether they run, listen, and take what is written."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

DAEMON_LOG = Schema(
    "bgp.daemon_log",
    "What BIRD's log says of the daemon itself.",
    (
        Column("node", "str", "node"),
        Column("starts", "int", "how often it started"),
        Column("ended", "bool", "it shut down and did not start again"),
        Column("no_socket", "str", "why it cannot listen, if so since its last start"),
        Column("strangers", "list", "addresses that connected and that it has no session for, since its last start"),
        Column("line", "int", "line of the last of these"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node",),
)

CONFD = Schema(
    "bgp.confd",
    "confd on each node, as its log tells: whether it still runs, and whether BIRD takes what it writes.",
    (
        Column("node", "str", "node"),
        Column("state", "str", "ended, failing, or logs (nothing speaks against it)"),
        Column("why", "str", "the line that says so"),
        Column("no_password", "str", "why it cannot read a password, if it says so"),
        Column("time", "time", "time of that line, else of its last line"),
        Column("line", "int", "its number in the log"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node",),
)

_STRANGER = re.compile(r"Unexpected connect from unknown address (\S+?)(?:%\S+)? \(port")


@table(DAEMON_LOG, needs=("bird-log",))
def daemon_log(logs: Texts) -> pd.DataFrame:
    """One row for each node with a log of BIRD; see :data:`DAEMON_LOG`."""
    return DAEMON_LOG.frame([_daemon(log) for log in logs.frames("bird-log") if len(log)])


def _daemon(log: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {"starts": 0, "ended": False, "no_socket": None, "strangers": set()}
    said = log[log["peer"].isna() & (log["event"] != "route")]
    for protocol, message, line in cells(said, "protocol", "message", "line"):
        if protocol == "device1" and message == "Initializing":
            row |= {"starts": row["starts"] + 1, "ended": False, "no_socket": None, "strangers": set(), "line": line}
        elif message == "Shutdown completed":
            row |= {"ended": True, "line": line}
        elif "Cannot open listening socket" in message or message.startswith("BGP: Socket error: bind"):
            row |= {"no_socket": row["no_socket"] or message, "line": line}
        elif match := _STRANGER.search(message):
            row["strangers"].add(match[1])
            row["line"] = line
    head = {"node": log["node"].iloc[0], "evidence": log["evidence"].iloc[0]}
    return {**row, **head, "strangers": sorted(row["strangers"])}


_ENDED = re.compile(r"Context cancelled, shutting down|Captured .{1,40}\. Exiting\.\.\.")

_CHECK = re.compile(r'Error from checkcmd "bird -p')

_WROTE = re.compile(r"Target config \S*/bird\.cfg has been updated")


@table(CONFD, needs=("confd-log",))
def confd(logs: Texts) -> pd.DataFrame:
    """One row for each node with a log of confd; see :data:`CONFD`."""
    return CONFD.frame([_confd(log) for log in logs.frames("confd-log") if len(log)])


def _confd(log: pd.DataFrame) -> dict[str, Any]:
    """The last line that tells: it ended, or BIRD refused what it wrote last."""
    last = log.iloc[-1]
    row = {"node": last["node"], "state": "logs", "why": None, "time": last["time"], "line": last["line"]}
    row["evidence"] = last["evidence"]
    for message, time, line in cells(log, "message", "time", "line"):
        told = message if isinstance(message, str) else ""
        if told.startswith("Can't read password"):
            row["no_password"] = told[:200]
        if _ENDED.search(told):
            row |= {"state": "ended", "why": told, "time": time, "line": line}
        elif _CHECK.search(told):
            row |= {"state": "failing", "why": told[:300], "time": time, "line": line}
        elif row["state"] == "ended" or _WROTE.search(told):
            row |= {"state": "logs", "why": None, "time": last["time"], "line": last["line"]}
    return row

"""State of BIRD and confd from their logs: whether they run, listen, and accept the configuration that was written."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

DAEMON_LOG = Schema(
    "bgp.daemon_log",
    "BIRD daemon events from its log.",
    (
        Column("node", "str", "node"),
        Column("family", "int", "4 or 6; calico-node's own log has the lines of both, and counts as IPv4's"),
        Column("starts", "int", "times it started"),
        Column("ended", "bool", "it shut down and did not restart"),
        Column("no_socket", "str", "why it cannot listen, since its last start; null if it can"),
        Column("strangers", "list", "addresses that connected without a configured session, since its last start"),
        Column("line", "int", "line of the last of these"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "family"),
)

CONFD = Schema(
    "bgp.confd",
    "confd on each node, from its log: whether it still runs, and whether BIRD loads the configuration it writes.",
    (
        Column("node", "str", "node"),
        Column("state", "str", "ended, failing, or logs (no sign of a problem)"),
        Column("why", "str", "the log line that shows it"),
        Column("no_password", "str", "why it cannot read a password, if logged"),
        Column("time", "time", "time of that line, else of the log's last line"),
        Column("line", "int", "its number in the log"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node",),
)

_STRANGER = re.compile(r"Unexpected connect from unknown address (\S+?)(?:%\S+)? \(port")


@table(DAEMON_LOG, any_of={"logs": "bird-log", "logs6": "bird6-log"})
def daemon_log(logs: Texts | None, logs6: Texts | None = None) -> pd.DataFrame:
    """One row for each log of BIRD; see :data:`DAEMON_LOG`."""
    families = ((4, logs), (6, logs6))
    found = ((version, log) for version, texts in families if texts for log in texts.frames("bird-log") if len(log))
    return DAEMON_LOG.frame([{**_daemon(log), "family": version} for version, log in found])


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

_WROTE = re.compile(r"Target config \S*/bird6?\.cfg has been updated")


@table(CONFD, needs={"logs": "confd-log"})
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

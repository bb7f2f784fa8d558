"""What each session went through, as BIRD's log tells.

BIRD 1.6 (Calico's) logs every NOTIFICATION; a session that nobody answers leaves none (source: BIRD's
proto/bgp/bgp.c; docs/bgp.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.bgp.codes import NODE, READ
from calicokit.evidence.texts import Texts
from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, cells

SESSION_LOG = Schema(
    "bgp.session_log",
    "History of each session from BIRD's log; without timestamps only the order is known.",
    (
        NODE,
        Column("protocol", "category", "name of the session"),
        Column("state", "category", "last logged state: up, start, stop, down; null where none was logged"),
        Column("ups", "int", "times it came up"),
        Column("drops", "int", "times it went down after having been up"),
        Column("returns", "int", "times it came back after that, excluding removals and reconfigurations"),
        Column("closed_here", "int", "drops initiated by this end"),
        Column("closed_there", "int", "drops initiated by the other end"),
        Column("last_drop", "category", "reason it last went down after having been up"),
        Column("last_error", "category", "last error since it was last up, as logged"),
        Column("wrong_as", "int", "AS in the last `Bad peer AS` since it was last up"),
        Column("attempts", "int", "connection attempts since it was last up, or since its last error"),
        Column("last_time", "time", "time of its last line; null without timestamps"),
        Column("line", "int", "line of its last error, else of its last state"),
        READ,
    ),
    key=("node", "protocol"),
)

CHANGES = ("Other configuration change", "Peer de-configured")
"""What a session says when its configuration is changed: it goes down on purpose."""

_TROUBLE = re.compile(
    r"(?:Error: |Received: (?!Connection collision))(?:Bad peer AS: (\d+))?|Connection (?:lost|closed)|Socket error|"
    r"Neighbor lost|Link down|Hold timer expired|Shutdown requested|Invalid |Neighbor graceful restart detected"
)

_THEIRS = re.compile(r"Received: |Connection (?:lost|closed)|Neighbor graceful restart")


@dataclass
class _Session:
    """What one session went through, read line by line."""

    state: str | None = None
    is_up: bool = False
    ups: int = 0
    drops: int = 0
    returns: int = 0
    closed_here: int = 0
    closed_there: int = 0
    on_purpose: bool = False
    last_drop: str | None = None
    last_error: str | None = None
    wrong_as: int | None = None
    attempts: int = 0
    last_time: Any = None
    line: int = 0
    error_line: int = 0
    back: list[Any] = field(default_factory=list)  # times at which it came back

    def read(self, message: str, state: str | None, time: Any, line: int) -> None:
        self.last_time = time if pd.notna(time) else self.last_time
        if state and state != "established":
            self.change(state, time, line)
        elif message.startswith(("Adding", "Removing", "Restarting")):
            self.on_purpose = True
        elif match := _TROUBLE.match(message):
            self.last_error, self.error_line, self.attempts = message, line, 0
            if match[1]:
                self.wrong_as = int(match[1])
        elif message.startswith("Connecting to"):
            self.attempts += 1

    def change(self, state: str, time: Any, line: int) -> None:
        self.state, self.line = state, line
        if state == "up":
            self.came_up(time)
        elif state != "feed" and self.is_up:
            self.went_down()

    def came_up(self, time: Any) -> None:
        if self.is_up:
            return  # fed again after a reconfiguration
        self.is_up, self.ups = True, self.ups + 1
        if self.drops and not self.on_purpose:
            self.returns += 1
            self.back.append(time)
        self.on_purpose = False
        self.last_error, self.wrong_as, self.attempts, self.error_line = None, None, 0, 0

    def went_down(self) -> None:
        self.is_up, self.drops = False, self.drops + 1
        self.last_drop = self.last_error
        error = self.last_error or "Shutdown requested"
        self.on_purpose = self.on_purpose or error.removeprefix("Received: ") in CHANGES
        if _THEIRS.match(error):
            self.closed_there += 1
        else:
            self.closed_here += 1


@table(SESSION_LOG, needs={"use": "bgp.use"}, wants={"logs": "bird-log", "logs6": "bird6-log"})
def session_log(use: pd.DataFrame, logs: Texts | None = None, logs6: Texts | None = None) -> pd.DataFrame:
    """One row for each node and session in the logs; see :data:`SESSION_LOG`. None where BGP is not in use."""
    if logs is None and logs6 is None:
        if use["in_use"].eq(False).fillna(False).iloc[0]:
            return SESSION_LOG.frame()
        raise UnseenError("no log of BIRD was seen")
    every = (log for texts in (logs, logs6) if texts for log in texts.frames("bird-log"))
    rows = [row for log in every for row in _sessions_in(log)]
    return SESSION_LOG.frame(rows)


def _sessions_in(log: pd.DataFrame) -> Iterator[dict[str, Any]]:
    begins = (log["protocol"] == "device1") & (log["message"] == "Initializing")
    said = log[begins | (log["protocol"].notna() & log["peer"].notna() & (log["event"] != "route"))]
    found: dict[str, _Session] = {}
    for protocol, message, state, time, line in cells(said, "protocol", "message", "state", "time", "line"):
        if protocol == "device1":  # another BIRD begins: what was up before went with the old one
            for session in found.values():
                session.is_up, session.state, session.on_purpose = False, None, True
            continue
        known = state if isinstance(state, str) else None
        found.setdefault(protocol, _Session()).read(message, known, time, line)
    for name, session in found.items():
        row = {k: v for k, v in vars(session).items() if k in SESSION_LOG.names}
        row |= {"line": session.error_line or session.line, "returns": _lately(session)}
        yield {**row, "node": log["node"].iloc[0], "protocol": name, "evidence": log["evidence"].iloc[0]}


def _lately(session: _Session) -> int:
    """How often it came back; where the log has times, within the hour before its last line."""
    if not session.back or any(pd.isna(t) for t in session.back):
        return session.returns
    return sum(session.last_time - t <= pd.Timedelta(hours=1) for t in session.back)

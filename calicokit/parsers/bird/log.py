"""BIRD's log: what its protocols and their sessions went through.

Sources: recordings of BIRD 1.6.8 in Calico's build, which logs to stderr as ``bird: MESSAGE`` (no time, no level; the
file bird.log, or lines among calico-node's); BIRD's sysdep/unix/log.c for ``TIME <LEVEL> MESSAGE`` in files of its own
and ``DATE HOST bird[PID]: <LEVEL> MESSAGE`` of syslog. What container runtimes, svlogd and kubetail put before a line
is understood as in Calico's other logs.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.bird.protocols import peer_of
from calicokit.parsers.logs.components import PREFIX, times
from calicokit.schema import Column, Schema

LOG = Schema(
    "bird_log",
    "lines of BIRD's log",
    (
        Column("time", "time", "timestamp; null where the line has none (Calico's) or no year (syslog's)"),
        Column("level", "str", "TRACE, INFO, RMT, WARN, ERR, AUTH, FATAL or BUG; null in Calico's lines"),
        Column("daemon", "str", "bird or bird6"),
        Column("protocol", "str", "protocol's instance; null for the daemon's own"),
        Column("peer", "str", "the peer's address in Calico's name of the protocol"),
        Column("event", "str", "state-change, error, received, connect, collision, reconfigure, route or other"),
        Column("state", "str", "new state; established for a BGP session"),
        Column("direction", "str", "route lines: import (>) or export (<), as seen from the routing table"),
        Column("prefix", "str", "route lines: CIDR"),
        Column("message", "str", "message without the protocol's name"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source="recordings of BIRD 1.6.8; BIRD's sysdep/unix/log.c",
)

_BIRD = re.compile(
    r"(?:(?P<syslog>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:\S+ )?)?(?P<daemon>bird6?|birdcl?)(?:\[\d+\])?: "
    r"(?:<(?P<level>[A-Z?]{2,5})> )?(?P<text>.*)"
)
_FILE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?|\d\d-\d\d-\d{4} \d\d:\d\d:\d\d)"
    r"(?: \[\d+\])? <(?P<level>[A-Z?]{2,5})> (?P<text>.*)"
)
_OWN = re.compile(r"([A-Za-z_'][\w'.-]*)(?:\.[\w-]+)?: (.*)")
_ROUTE = re.compile(r"([A-Za-z_'][\w'.-]*)(?:\.[\w-]+)? ([<>]) (.*)")
_ABOUT = re.compile(r"(Adding|Removing|Restarting|Reloading|Reconfiguring|Reconfigured) (?:protocol|channel) (\S+)")
_CUT = re.compile(
    r"[\w.]*(?:: [A-Z]| [<>] )|[\w. ]{0,200}[0-9a-f.:/]{1,50} (?:(?:via|dev) \S|blackhole$)"
)  # the end of a line
_PREFIX_IN = re.compile(r"(?:^| )([0-9a-fA-F:.]+/\d{1,3})(?: |$)")
_STATE = re.compile(r"State changed to (\S+)|BGP session (established)")
_MODULES = {"BGP", "KIF", "KRT", "Netlink", "Kernel", "BFD", "Scan", "RPKI"}
_EVENT_WORDS = {"Error", "Received"}
_EVENTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("collision", re.compile(r"Connection collision|Received: Connection collision")),
    ("received", re.compile(r"Received: ")),
    (
        "state-change",
        re.compile(
            r"State changed to|Connected to table|BGP session (?:established|closed)|Initializing|Starting|Started"
            r"|Shutting down|Down\b"
            r"|Shutdown requested|Shutdown completed|Restarted|Neighbor graceful restart|Graceful restart"
        ),
    ),
    (
        "error",
        re.compile(
            r"Error: |Socket error|Connection lost|Startup delayed|Automatic shutdown|Unexpected connect|Invalid "
            r"|Cannot |Can't |.*File exists|.*(?:failed|[Ee]rror|expired|No such|limit exceeded|not found)"
        ),
    ),
    (
        "connect",
        re.compile(r"Connect(?:ing|ed|ion)? |Connect(?:ing|ed)$|Incoming connection|Connection closed|Listening"),
    ),
    ("reconfigure", re.compile(r"Reconfigur|Adding |Removing |Restarting |Reloading |Reload|SIGHUP|Undoing")),
)


@parser("bird-log", LOG, marks=r"\bbird6?(\[\d+\])?: ", stamped=True)
def bird_log(text: Text) -> dict[str, pd.DataFrame]:
    """BIRD's log (/var/log/calico/bird/current, or the lines ``bird: …`` of calico-node).

    Source: see the module. A first line that the end of a longer log cuts off is kept as event other. Other processes'
    lines are unparsed.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bird-log", "bird: Mesh_172_30_0_14: Error: Bad peer AS: 64999").frame.iloc[0]
    >>> row["peer"], row["event"], row["message"]
    ('172.30.0.14', 'error', 'Error: Bad peer AS: 64999')
    """
    rows: list[dict[str, Any]] = []
    peers: dict[str, str | None] = {}
    for line in text.lines():
        row = _row(line)
        if row is not None:
            name = row["protocol"]
            if name and name not in peers:
                peers[name] = peer_of(name)[1]
            rows.append({**row, "peer": peers.get(name or "")})
        elif line.number == 1 and _CUT.match(line.text):
            rows.append({"event": "other", "message": line.text, "line": 1})
        else:
            text.reject(line, "a line that BIRD logged")
    time = times(row.pop("time", None) for row in rows)
    frame = LOG.frame(rows)
    frame["time"] = time
    return {LOG.name: LOG.check(frame)}


def _row(line: Line) -> dict[str, Any] | None:
    bare, time = line.text, None
    match = _BIRD.match(bare) or _FILE.match(bare)
    if not match:
        prefix = PREFIX.match(bare)
        bare = bare[prefix.end() :] if prefix else bare
        time = prefix["time"] if prefix else None
        match = _BIRD.match(bare) or _FILE.match(bare)
        if not match:
            return None
    found = match.groupdict()
    row = {"time": _iso(found.get("time") or time), "level": found["level"], "daemon": found.get("daemon")}
    return {**row, **_event(found["text"]), "line": line.number}


def _iso(text: str | None) -> str | None:
    """A time as ISO writes it: svlogd puts _ in it, and BIRD before 1.4 the day first."""
    if not text:
        return None
    return (f"{text[6:10]}-{text[3:5]}-{text[:2]}{text[10:]}" if text[2] == "-" else text).replace("_", " ")


def _event(text: str) -> dict[str, Any]:
    """What a message is about: protocol, class of the event, state or route."""
    if match := _ROUTE.match(text):
        prefix = _PREFIX_IN.search(match[3])
        direction = "import" if match[2] == ">" else "export"
        return {
            "protocol": match[1],
            "event": "route",
            "direction": direction,
            "prefix": prefix and prefix[1],
            "message": match[3],
        }
    protocol, message, told = None, text, text
    if match := _OWN.match(text):
        told = match[2]
        if match[1] in _EVENT_WORDS:
            told = text
        elif match[1] not in _MODULES:
            protocol, message = match[1], match[2]
    elif match := _ABOUT.match(text):
        protocol = match[2]
    state = _STATE.match(message)
    return {
        "protocol": protocol,
        "event": next((name for name, pattern in _EVENTS if pattern.match(told)), "other"),
        "state": (state[1] or state[2]) if state else None,
        "message": message,
    }

"""What BIRD and confd show on each node: the daemon, its sessions, its configuration, its log, its sockets.

BIRD 1.6 (Calico's) keeps a session's last error until the session is established again, and logs every NOTIFICATION; a
session that nobody answers leaves neither (sources: BIRD's proto/bgp/bgp.c; reference/bgp.md, section 5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calicokit.bgp.codes import category
from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.texts import Texts
from calicokit.net import canonical_address
from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, cells

NODE = Column("node", "category", "node on which it was seen")
READ = Column("evidence", "category", "where this was read: a file of the recording, or id and node")

PROTOCOLS = Schema(
    "bgp.protocols",
    "BIRD's BGP sessions as it prints them itself (birdcl).",
    (
        NODE,
        Column("protocol", "category", "name of the session in BIRD"),
        Column("kind", "category", "Mesh, Global, Node or Local_Workload, from confd's name; null for others"),
        Column("peer_address", "category", "address of the other end"),
        Column("family", "int", "4 or 6"),
        Column("state", "category", "BIRD's state: up, start, stop, down, …"),
        Column("since", "category", "when that last changed, as printed"),
        Column(
            "bgp_state", "category", "Established, Active, Connect, Passive, OpenSent, OpenConfirm, Idle, Close, Down"
        ),
        Column("last_error", "category", "last error; BIRD forgets it when the session is established"),
        Column("peer_as", "int", "AS that the other end must have; null where it was not printed"),
        Column("source_address", "category", "own address of the session"),
        Column("session", "category", "internal or external, multihop, route-reflector, AS4"),
        Column("imported", "int", "routes it brought in"),
        Column("exported", "int", "routes it sends"),
        Column("restarting", "bool", "the other end is in a graceful restart"),
        READ,
    ),
    key=("node", "protocol"),
)

STATUS = Schema(
    "bgp.daemons",
    "BIRD as a daemon: its clock, start and configuration (birdcl show status).",
    (
        Column("node", "str", "node"),
        Column("version", "str", "version of BIRD"),
        Column("router_id", "str", "router id"),
        Column("server_time", "time", "its clock"),
        Column("started", "time", "when it started"),
        Column("configured", "time", "when it last read its configuration"),
        Column("restarting", "bool", "it recovers from a restart of its own"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node",),
)

CONFIGURED = Schema(
    "bgp.configured",
    "BGP sessions in each node's bird.cfg.",
    (
        NODE,
        Column("protocol", "category", "name of the session"),
        Column("peer_address", "category", "address of the other end"),
        Column("peer_port", "int", "its port; null: 179"),
        Column("peer_as", "int", "AS that it must have"),
        Column("local_as", "int", "own AS"),
        Column("source_address", "category", "own address"),
        Column("passive", "bool", "waits for the other end to connect"),
        Column("rr_client", "bool", "the other end is a client"),
        Column("cluster_id", "category", "cluster id for the client"),
        Column("password", "bool", "a password is set; its text is never kept"),
        Column("ttl", "int", "hops at most (ttl security); null: off"),
        Column("next_hop", "category", "Keep or Self; null for neither"),
        Column("restart_time", "int", "graceful restart time", "s"),
        Column("keepalive_time", "int", "keepalive time", "s"),
        Column("allow_local_as", "int", "how often the own AS may be in a path"),
        Column("disabled", "bool", "it is switched off"),
        Column("import_filter", "category", "what the import filter does, statement by statement"),
        Column("export_filter", "category", "what the export filter does, statement by statement"),
        Column("line", "int", "line in the file"),
        READ,
    ),
    key=("node", "protocol"),
)

SETTINGS = Schema(
    "bgp.settings",
    "Settings of BIRD in each node's bird.cfg: router id, where it listens.",
    (
        Column("node", "str", "node"),
        Column("key", "str", "router id, listen bgp port, include, …; `template: local as` is the AS of its sessions"),
        Column("value", "str", "its value"),
        Column("line", "int", "line in the file"),
        Column("evidence", "str", "where this was read"),
    ),
)

SESSION_LOG = Schema(
    "bgp.session_log",
    "What each session went through, as BIRD's log tells; a log without times has an order only.",
    (
        NODE,
        Column("protocol", "category", "name of the session"),
        Column("state", "category", "the state it was last seen in: up, start, stop, down; null where none was logged"),
        Column("ups", "int", "how often it came up"),
        Column("drops", "int", "how often it went down after it had been up"),
        Column("returns", "int", "how often it came back after that, without being taken out or changed on purpose"),
        Column("closed_here", "int", "drops that this end began"),
        Column("closed_there", "int", "drops that the other end began"),
        Column("last_drop", "category", "why it last went down after it had been up"),
        Column("last_error", "category", "last error since it was last up, as logged"),
        Column("wrong_as", "int", "AS in the last `Bad peer AS` since it was last up"),
        Column("attempts", "int", "how often it tried to connect since it was last up, or since its last error"),
        Column("last_time", "time", "time of its last line; null where the log has none"),
        Column("line", "int", "line of its last error, else of its last state"),
        READ,
    ),
    key=("node", "protocol"),
)

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

SOCKETS = Schema(
    "bgp.sockets",
    "Sockets of BGP: those that listen, and those that wait for an answer.",
    (
        Column("node", "str", "node"),
        Column("state", "str", "LISTEN, SYN-SENT or SYN-RECV"),
        Column("local_address", "str", "own address; * or 0.0.0.0 is any"),
        Column("local_port", "int", "own port"),
        Column("peer_address", "str", "the other end's address"),
        Column("peer_port", "int", "the other end's port"),
        Column("process", "str", "process; null where it is not shown"),
        Column("line", "int", "line in the output"),
        Column("evidence", "str", "where this was read"),
    ),
)

SIGNATURES = Schema(
    "bgp.md5",
    "TCP segments that each node dropped for their MD5 signature, since it started.",
    (
        Column("node", "str", "node"),
        Column("missing", "int", "without a signature, where one is expected (TcpExtTCPMD5NotFound)"),
        Column("unexpected", "int", "with one, where none is expected (TcpExtTCPMD5Unexpected)"),
        Column("wrong", "int", "with a wrong one (TcpExtTCPMD5Failure)"),
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

NODE_STATUSES = Schema(
    "bgp.node_statuses",
    "Sessions as CalicoNodeStatus objects report them, where nodes are asked to.",
    (
        Column("node", "str", "node"),
        Column("family", "int", "4 or 6"),
        Column("peer_address", "str", "address of the other end"),
        Column("type", "str", "nodeMesh, nodePeer or globalPeer"),
        Column("bgp_state", "str", "Established, Active, Connect, …"),
        Column("since", "str", "when that last changed, as printed"),
        Column("updated", "time", "when the node last reported"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "family", "peer_address"),
)


# ---- sessions


@table(PROTOCOLS, any_of=("birdcl-protocols-all", "birdcl-protocols"))
def protocols(details: Texts | None, brief: Texts | None) -> pd.DataFrame:
    """One row for each node and session; details where there are any. See :data:`PROTOCOLS`."""
    told = {str(f["node"].iloc[0]): _session_rows(f) for f in _printed(details)}
    left = (_session_rows(f) for f in _printed(brief) if str(f["node"].iloc[0]) not in told)
    return _together(PROTOCOLS, chain(told.values(), left))


def _printed(texts: Texts | None) -> Iterator[pd.DataFrame]:
    yield from (f for f in (texts.frames("bird-protocols") if texts else ()) if len(f))


def _session_rows(printed: pd.DataFrame) -> pd.DataFrame:
    own = printed[printed["proto"] == "BGP"]
    address = own["neighbor_address"].fillna(own["peer"])
    session = [" ".join(s) if isinstance(s, list) else None for s in own["session"]]
    return pd.DataFrame(
        {
            **{
                c: own[c] for c in ("node", "protocol", "kind", "state", "since", "bgp_state", "last_error", "evidence")
            },
            "peer_address": address,
            "family": [6 if isinstance(a, str) and ":" in a else 4 for a in address],
            "peer_as": own["neighbor_as"],
            "source_address": own["source_address"],
            "session": session,
            "imported": own["routes_imported"],
            "exported": own["routes_exported"],
            "restarting": own["graceful_restart_active"],
        }
    )


def _together(schema: Schema, frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All of them in one table. Text becomes categories frame by frame, as there may be 4,000,000 rows of it."""
    known: dict[str, dict[Any, int]] = {c.name: {} for c in schema.columns if c.kind == "category"}
    parts: dict[str, list[Any]] = {name: [] for name in schema.names}
    for frame in frames:
        for name in schema.names:
            values = frame[name].reset_index(drop=True)
            parts[name].append(_codes(values, known[name]) if name in known else values)
    if not parts[schema.names[0]]:
        return schema.frame()
    made = {
        name: category(np.concatenate(found), list(known[name]))
        if name in known
        else pd.concat(found, ignore_index=True)
        for name, found in parts.items()
    }
    return schema.take(pd.DataFrame(made))


def _codes(values: pd.Series[Any], known: dict[Any, int]) -> NDArray[np.int32]:
    """Each value's place among those known, which grow by the new ones; -1 for null."""
    codes, uniques = pd.factorize(values)
    places = np.array([*(known.setdefault(str(u), len(known)) for u in uniques), -1], dtype="int32")
    return places[codes]


@table(STATUS, needs=("birdcl-status",))
def daemons(answers: Texts) -> pd.DataFrame:
    """One row for each node whose BIRD answered; see :data:`STATUS`."""
    found = [f for f in answers.frames("bird-status") if len(f)]
    if not found:
        return STATUS.frame()
    every = pd.concat(found, ignore_index=True)
    names = {"last_reboot": "started", "last_reconfiguration": "configured", "graceful_restart": "restarting"}
    return STATUS.take(every.rename(columns=names))


@table(NODE_STATUSES, needs=("caliconodestatuses",))
def node_statuses(objects: Objects) -> pd.DataFrame:
    """One row for each node and session that a CalicoNodeStatus reports; see :data:`NODE_STATUSES`."""
    return objects.frame(NODE_STATUSES, _node_status)


def _node_status(item: Object) -> list[Object]:
    status = item.get("status") or {}
    return [
        {
            "node": spec(item).get("node"),
            "family": version,
            "peer_address": canonical_address(peer["peerIP"]),
            "type": peer.get("type"),
            "bgp_state": peer.get("state"),
            "since": peer.get("since"),
            "updated": status.get("lastUpdated"),
        }
        for version in (4, 6)
        for peer in (status.get("bgp") or {}).get(f"peersV{version}") or []
    ]


# ---- configuration


@table(CONFIGURED, needs=("bird.cfg",))
def configured(files: Texts) -> pd.DataFrame:
    """One row for each BGP session in a bird.cfg; see :data:`CONFIGURED`."""
    filters = {str(f["node"].iloc[0]): f for f in files.frames("bird-config:bird_filters") if len(f)}
    return _together(CONFIGURED, (_configured(f, filters) for f in files.frames("bird-config") if len(f)))


def _configured(file: pd.DataFrame, filters: dict[str, pd.DataFrame]) -> pd.DataFrame:
    own = file[file["proto"] == "bgp"]
    said = filters.get(str(file["node"].iloc[0]))
    bodies = {} if said is None else _bodies(said)
    names = {"neighbor_address": "peer_address", "neighbor_port": "peer_port", "neighbor_as": "peer_as"}
    names |= {"rr_cluster_id": "cluster_id", "password_set": "password", "graceful_restart_time": "restart_time"}
    keep, self_ = own["next_hop_keep"].fillna(False), own["next_hop_self"].fillna(False)
    own = own.assign(
        next_hop=pd.array(
            ["Keep" if k else "Self" if s else None for k, s in zip(keep, self_, strict=True)], dtype="str"
        ),
        ttl=own["multihop_ttl"].where(own["ttl_security"].fillna(False).astype(bool)),
        import_filter=[bodies.get((p, "import"), f) for p, f in cells(own, "protocol", "import_filter")],
        export_filter=[bodies.get((p, "export"), f) for p, f in cells(own, "protocol", "export_filter")],
    )
    return own.rename(columns=names)


def _bodies(filters: pd.DataFrame) -> dict[tuple[str, str], str]:
    inline = filters[filters["kind"].isin(["import", "export"]) & filters["statement"].notna()]
    return {(str(n), str(k)): "; ".join(group["statement"]) for (n, k), group in inline.groupby(["name", "kind"])}


@table(SETTINGS, needs=("bird.cfg",))
def settings(files: Texts) -> pd.DataFrame:
    """One row for each setting in a bird.cfg, and for the AS of its template; see :data:`SETTINGS`."""
    found = [files.table("bird-config:bird_settings", SETTINGS)]
    for templates in files.frames("bird-config:bird_templates"):
        own = templates[templates["local_as"].notna()]
        found.append(SETTINGS.take(own.assign(key="template: local as", value=own["local_as"].astype("str"))))
    return pd.concat(found, ignore_index=True)


# ---- logs


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


CHANGES = ("Other configuration change", "Peer de-configured")
"""What a session says when its configuration is changed: it goes down on purpose."""

_TROUBLE = re.compile(
    r"(?:Error: |Received: (?!Connection collision))(?:Bad peer AS: (\d+))?|Connection (?:lost|closed)|Socket error|"
    r"Neighbor lost|Link down|Hold timer expired|Shutdown requested|Invalid |Neighbor graceful restart detected"
)
_THEIRS = re.compile(r"Received: |Connection (?:lost|closed)|Neighbor graceful restart")
_STRANGER = re.compile(r"Unexpected connect from unknown address (\S+?)(?:%\S+)? \(port")
_ABOUT = re.compile(r"(?:Adding|Removing|Restarting) ")


@table(SESSION_LOG, needs=("bgp.use",), wants=("bird-log",))
def session_log(use: pd.DataFrame, logs: Texts | None = None) -> pd.DataFrame:
    """One row for each node and session in the logs; see :data:`SESSION_LOG`. None where BGP is not in use."""
    if logs is None:
        if use["in_use"].eq(False).fillna(False).iloc[0]:
            return SESSION_LOG.frame()
        raise UnseenError("no log of BIRD was seen")
    rows = [row for log in logs.frames("bird-log") for row in _sessions_in(log)]
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


# ---- what the node's kernel shows


@table(SOCKETS, needs=("ss-bgp",), wants=("bgp.nodes",))
def sockets(answers: Texts, nodes: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each socket of BGP that listens or is half open; see :data:`SOCKETS`."""
    ports = {179, *(() if nodes is None else nodes["listen_port"].dropna().astype(int))}
    found = answers.table("ss", SOCKETS)
    mine = found["local_port"].isin(ports) & found["state"].isin(["LISTEN", "SYN-RECV"])
    return SOCKETS.take(found[mine | found["peer_port"].isin(ports) & found["state"].eq("SYN-SENT")])


_COUNTERS = {
    "TcpExtTCPMD5NotFound": "missing",
    "TcpExtTCPMD5Unexpected": "unexpected",
    "TcpExtTCPMD5Failure": "wrong",
}


@table(SIGNATURES, needs=("nstat",))
def md5(answers: Texts) -> pd.DataFrame:
    """One row for each node whose counters were seen; see :data:`SIGNATURES`."""
    rows = []
    for frame in answers.frames("nstat"):
        counts = {_COUNTERS[c]: v for c, v in cells(frame, "counter", "value") if c in _COUNTERS}
        if counts:
            rows.append({**counts, "node": frame["node"].iloc[0], "evidence": frame["evidence"].iloc[0]})
    return SIGNATURES.frame(rows)

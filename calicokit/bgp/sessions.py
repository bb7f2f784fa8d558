"""The sessions that are there, from whatever shows them; and whether each node's BIRD is alive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from calicokit.bgp.codes import category
from calicokit.bgp.sentences import NOT_UP, meaning
from calicokit.evidence.model import Evidence
from calicokit.evidence.texts import Texts
from calicokit.parsers.bird.protocols import peer_of
from calicokit.registry import Given, Spared, UnseenError, not_applicable, printed, table
from calicokit.schema import Column, Schema, cells, records

SESSIONS = Schema(
    "bgp.sessions",
    "BGP sessions with their state and what it means.",
    (
        Column("node", "category", "node"),
        Column("protocol", "category", "protocol name of the session; null where the source does not show it"),
        Column("family", "int", "4 or 6"),
        Column("peer_address", "category", "address of the other end"),
        Column("up", "bool", "the session is established"),
        Column(
            "bgp_state", "category", "Established, Active, Connect, Passive, OpenSent, OpenConfirm, Idle, Close, Down"
        ),
        Column("last_error", "category", "last error since it was last up"),
        Column("since", "time", "last state change"),
        Column("peer_as", "int", "AS expected of the peer; null where not shown"),
        Column("session", "category", "internal or external, multihop, route-reflector, AS4; null where not shown"),
        Column("imported", "int", "routes imported; null where not shown"),
        Column("exported", "int", "routes exported; null where not shown"),
        Column("restarting", "bool", "the peer is in graceful restart"),
        Column("means", "category", "what its state and error mean"),
        Column("next", "category", "what to try next"),
        Column(
            "source",
            "category",
            "best source available on the node: birdcl, else CalicoNodeStatus, else calicoctl, else log",
        ),
        Column("evidence", "category", "where this was read"),
    ),
    key=("node", "protocol", "family", "peer_address"),
)

BIRDS = Schema(
    "bgp.birds",
    "Whether BIRD is alive on each node, and how that is known.",
    (
        Column("node", "str", "node"),
        Column("family", "int", "4: bird, or 6: bird6, on nodes with an IPv6 address for BGP"),
        Column("state", "str", "answers, dead, none (not running and not needed), or unknown"),
        Column("why", "str", "reason for the state"),
        Column("listening", "bool", "a process listens on BIRD's port; null where sockets were not seen"),
        Column("listener", "str", "the process that listens there"),
        Column("started", "time", "when BIRD started"),
        Column("now", "time", "its clock when queried"),
        Column("evidence_id", "str", "evidence for the state"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "family"),
    undecided=("state", "unknown"),
)

REFUSED = (
    *("Unable to connect to server control socket", "unable to connect to BIRDv4 socket"),
    "unable to connect to BIRDv6 socket",
)
TIMED_OUT = 124
ASKED = {
    4: ("birdcl-protocols-all", "birdcl-protocols", "birdcl-status"),
    6: ("birdcl6-protocols-all", "birdcl6-protocols", "birdcl6-status"),
}
READY, LOG = {4: "bird-ready", 6: "bird6-ready"}, {4: "bird-log", 6: "bird6-log"}


@table(
    BIRDS,
    needs={"nodes": "kube.nodes", "use": "bgp.use"},
    wants={
        "log": "bgp.daemon_log",
        "sockets": "bgp.sockets",
        "daemons": "bgp.daemons",
        "known": "bgp.nodes",
        "texts": (*ASKED[4], *ASKED[6], *READY.values(), "ss-bgp"),
    },
)
def birds(
    nodes: pd.DataFrame,
    use: pd.DataFrame,
    texts: Given,
    log: pd.DataFrame | None = None,
    sockets: pd.DataFrame | None = None,
    daemons: pd.DataFrame | None = None,
    known: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each Linux node, and one more for bird6 where that is needed; see :data:`BIRDS`."""
    looked = _Birds(use, log, sockets, known, texts.values())
    clocks = {} if daemons is None else {(d.node, d.family): d for d in records(daemons)}
    rows = []
    for node in nodes[nodes["system"] != "windows"]["node"]:
        for bird in (node, 4), *([(node, 6)] if node in looked.six else []):
            clock = clocks.get(bird)
            times = {"started": getattr(clock, "started", None), "now": getattr(clock, "server_time", None)}
            state = looked.listener(bird) | looked.state(bird)
            rows.append({"node": node, "family": bird[1], **times, **state})
    return BIRDS.frame(rows)


_WORST = ("dead", "unknown", "answers", "none")


def worst_of(birds: pd.DataFrame) -> dict[str, Any]:
    """Each node's row of ``bgp.birds``; of the two of a node with IPv6 the one that is worse."""
    ordered = sorted(records(birds), key=lambda row: -_WORST.index(row.state))
    return {str(row.node): row for row in ordered}


Bird = tuple[str, int]
"""A node, and 4 for its bird or 6 for its bird6."""


class _Birds:
    def __init__(
        self,
        use: pd.DataFrame,
        log: pd.DataFrame | None,
        sockets: pd.DataFrame | None,
        known: pd.DataFrame | None,
        texts: Iterable[Texts | None],
    ) -> None:
        first = use.iloc[0]
        self.ran, self.in_use = set(first["ran"]), first["in_use"]
        self.log = {} if log is None else {(r.node, r.family): r for r in records(log)}
        self.ports = {} if known is None else dict(cells(known, "node", "listen_port"))
        self.six = set() if known is None else set(known[known["address6"].notna()]["node"])
        self.answers: dict[str, list[Evidence]] = {}
        for text in texts:
            for evidence in text or ():
                self.answers.setdefault(str(evidence.node), []).append(evidence)
        self.sockets: dict[Bird, list[Any]] = {}
        for row in records(sockets) if sockets is not None else ():
            self.sockets.setdefault((row.node, 6 if ":" in str(row.local_address) else 4), []).append(row)
            if row.local_address == "*":  # a socket of IPv6 that takes IPv4 too
                self.sockets.setdefault((row.node, 6), []).append(row)

    def listener(self, bird: Bird) -> dict[str, Any]:
        node, _ = bird
        if not any(e.id == "ss-bgp" for e in self.answers.get(node, ())):
            return {"listening": None, "listener": None}
        port = self.ports.get(node)
        port = 179 if port is None or pd.isna(port) else int(port)
        found = [s for s in self.sockets.get(bird, ()) if s.state == "LISTEN" and s.local_port == port]
        if not found and port != 179:
            return {"listening": None, "listener": None}  # the output may hold port 179 only
        return {"listening": bool(found), "listener": next((s.process for s in found), None)}

    def state(self, bird: Bird) -> dict[str, Any]:
        """The first of these that can be told: it answers; it is dead; it need not run; unknown."""
        node, family = bird
        asked = (*ASKED[family], READY[family], "ss-bgp")
        mine = [e for e in self.answers.get(node, ()) if e.id in asked]
        told = next((e for e in mine if e.id in ASKED[family] and not e.exit and e.text.strip()), None)
        if told:
            return _bird("answers", "birdcl answers", told)
        if pd.isna(self.in_use):
            return {"state": "unknown", "why": "it does not answer, and whether BGP is needed is unknown"}
        if not self.in_use:
            return {"state": "none", "why": "BGP is not in use"}
        return self.dead(bird, mine) or {"state": "unknown", "why": "no evidence"}

    def dead(self, bird: Bird, mine: list[Evidence]) -> dict[str, Any] | None:
        for evidence in mine:
            said = evidence.decode() + evidence.stderr
            if evidence.id != "ss-bgp" and any(r in said for r in REFUSED):
                return _bird("dead", said.strip().splitlines()[-1][:200], evidence)
            if evidence.id in ASKED[bird[1]] and evidence.exit == TIMED_OUT:
                return _bird("dead", "birdcl got no answer", evidence)
        log = self.log.get(bird)
        if log is not None and log.ended:
            why = f"its log ends with its shutdown (line {log.line})"
            return {"state": "dead", "why": why, "evidence_id": LOG[bird[1]], "evidence": log.evidence}
        sockets = next((e for e in mine if e.id == "ss-bgp"), None)
        if bird[1] == 6 and not any(e.id in ASKED[6] for e in mine):
            return None  # it was not asked: a kit that knew nothing of it took this recording
        if sockets and self.listener(bird)["listening"] is False:
            return _bird("dead", "birdcl gave no answer, and nothing listens on BIRD's port", sockets)
        return None


def _bird(state: str, why: str, evidence: Evidence) -> dict[str, Any]:
    return {"state": state, "why": why, "evidence_id": evidence.id, "evidence": evidence.ref}


@table(
    SESSIONS,
    needs={"use": "bgp.use"},
    wants={
        "protocols": "bgp.protocols",
        "log": "bgp.session_log",
        "daemons": "bgp.daemons",
        "statuses": "bgp.node_statuses",
        "calicoctl": "calicoctl-node-status",
        "now": "@now",
    },
)
def sessions(
    use: pd.DataFrame,
    protocols: pd.DataFrame | None = None,
    log: pd.DataFrame | None = None,
    daemons: pd.DataFrame | None = None,
    statuses: pd.DataFrame | None = None,
    calicoctl: Texts | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each node and session that some source shows; see :data:`SESSIONS`."""
    found: list[pd.DataFrame] = []
    seen: set[tuple[str, int]] = set()  # a source may tell of one family only, as birdcl does of BIRD's IPv4 half
    for part in _sources(protocols, statuses, calicoctl, log):
        own = list(cells(part, "node", "family"))
        new = part[[key not in seen for key in own]] if seen else part
        seen |= set(own)
        found += [new] if len(new) else []
    if not found:
        if protocols is None and log is None and not use["in_use"].eq(False).fillna(False).all():
            raise UnseenError("no source shows the sessions")
        return SESSIONS.frame()
    rows = found[0] if len(found) == 1 else pd.concat(found, ignore_index=True)
    clocks = {} if daemons is None else dict(cells(daemons, "node", "server_time"))  # one node, one clock
    rows = rows.assign(since=_times(rows, clocks, now))
    return SESSIONS.take(_explained(rows))


@printed("bgp.sessions", needs={"calicoctl": "calicoctl-node-status"}, wants={"now": "@now"})
def printed_sessions(calicoctl: Texts, now: pd.Timestamp | None = None) -> pd.DataFrame:
    """The sessions that ``calicoctl node status`` printed, where whether BGP is in use is not known."""
    found = list(_sources(None, None, calicoctl, None))
    return SESSIONS.take(_explained(found[0].assign(since=_times(found[0], {}, now)))) if found else SESSIONS.frame()


def _sources(
    protocols: pd.DataFrame | None,
    statuses: pd.DataFrame | None,
    calicoctl: Texts | None,
    log: pd.DataFrame | None,
) -> Iterator[pd.DataFrame]:
    """The sources, the best first."""
    if protocols is not None and len(protocols):
        yield _blank(protocols, "birdcl")
    if statuses is not None and len(statuses):
        yield _blank(statuses, "CalicoNodeStatus")
    shown = [f for f in (calicoctl.frames("calicoctl-node-status") if calicoctl else ()) if len(f)]
    if shown:
        rows = pd.concat(shown, ignore_index=True).rename(columns={"bgp": "family", "address": "peer_address"})
        words = [i.split(None, 1) if isinstance(i, str) else [] for i in rows["info"]]  # state and error in one column
        rows["bgp_state"] = pd.Series([w[0] if w else None for w in words], dtype="str")
        rows["last_error"] = pd.Series([w[1].strip() if len(w) > 1 else None for w in words], dtype="str")
        yield _blank(rows, "calicoctl")
    if log is not None and len(log):
        yield _blank(_of_log(log), "log")


def _of_log(log: pd.DataFrame) -> pd.DataFrame:
    """Sessions as the log last saw them; one that it does not show going up or down is not told of."""
    told = log[log["state"].notna()]
    names = told["protocol"].astype("str")
    address = {n: peer_of(n)[1] for n in names.unique()}
    peer = names.map(address)
    up = told["state"].isin(["up", "feed"])
    state = pd.Series(NOT_UP, index=told.index).mask(up, "Established")
    family = [6 if isinstance(a, str) and ":" in a else 4 for a in peer]
    return told.assign(peer_address=peer, bgp_state=state, family=family, since=None)


def _blank(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    """The columns of the table that the source has, the others null."""
    names = [n for n in SESSIONS.names if n not in ("means", "next", "up")]
    made = {n: rows[n] if n in rows else pd.Series([None] * len(rows), index=rows.index, dtype="object") for n in names}
    up = rows["bgp_state"].eq("Established").fillna(False)
    return pd.DataFrame({**made, "up": up, "source": category(np.zeros(len(rows)), [source])})


def _times(rows: pd.DataFrame, clocks: dict[str, Any], now: pd.Timestamp | None) -> pd.Series[Any]:
    """BIRD's ``since`` as times: of today or yesterday where it prints a clock, a day where it prints a date.

    One computation for each distinct text and node's clock, of which there are few.
    """
    node, text = rows["node"].astype("category"), rows["since"].astype("category")
    codes = pd.Series(node.cat.codes.astype("int64") * (len(text.cat.categories) + 1) + text.cat.codes + 1)
    names, texts, size = node.cat.categories, text.cat.categories, len(text.cat.categories) + 1
    found = {}
    for code in codes.unique():
        which = code % size - 1
        clock = clocks.get(names[code // size])
        known = clock if clock is not None and pd.notna(clock) else now
        found[code] = since(str(texts[which]), known) if which >= 0 else pd.NaT
    made = pd.to_datetime(pd.Series(list(found.values()), index=list(found), dtype="object"), utc=True)
    made = made.astype("datetime64[ns, UTC]")
    return pd.Series(made.reindex(codes.to_numpy()).array, index=rows.index)


def since(text: str, now: pd.Timestamp | None) -> Any:
    """When a state that BIRD printed as ``since`` began; NaT where that cannot be told.

    BIRD 1.6 prints HH:MM:SS for what is less than a day old, else a date (sysdep/unix/config.Y, nest/proto.c).

    >>> str(since("23:50:00", pd.Timestamp("2026-01-02T00:10:00Z")))
    '2026-01-01 23:50:00+00:00'
    """
    if len(text) >= 8 and text[2:3] == ":" and text[5:6] == ":":
        if now is None:
            return pd.NaT
        span = pd.to_timedelta(text, errors="coerce")
        found = now.normalize() + span
        return found - pd.Timedelta(days=1) if found > now + pd.Timedelta(minutes=1) else found
    form = next((f for f in ("%Y-%m-%d", "%d-%m-%Y", "%Y-%m-%d %H:%M:%S") if _fits(text, f)), None)
    return pd.to_datetime(text, format=form, utc=True) if form else pd.NaT


def _fits(text: str, form: str) -> bool:
    return bool(pd.notna(pd.to_datetime(text, format=form, errors="coerce")))


def _explained(rows: pd.DataFrame) -> pd.DataFrame:
    """With the columns ``means`` and ``next``; each pair of state and error is looked up once."""
    state, error = rows["bgp_state"].astype("category"), rows["last_error"].astype("category")
    size = len(error.cat.categories) + 1
    codes = (state.cat.codes.astype("int64") + 1) * size + error.cat.codes + 1
    used, places = np.unique(codes.to_numpy(), return_inverse=True)
    states, errors = [None, *state.cat.categories], [None, *error.cat.categories]
    told = [meaning(states[c // size], errors[c % size]) for c in used.tolist()]
    columns = {"means": [t.means or None for t in told], "next": [t.next or None for t in told]}
    made = {k: pd.Categorical(pd.array(v, dtype="str").take(places)) for k, v in columns.items()}
    return rows.assign(bgp_state=state, last_error=error, **made)


OF_BIRD6 = (
    *("birdcl6-status", "birdcl6-protocols", "birdcl6-protocols-all", "birdcl6-route", "birdcl6-route-all"),
    *("birdcl6-route-count", "birdcl6-interfaces", "bird6.cfg", "bird6_ipam.cfg", "bird6_aggr.cfg", "bird6-ready"),
)
OF_BIRD = (
    *("birdcl-status", "birdcl-protocols", "birdcl-protocols-all", "birdcl-route", "birdcl-route-all"),
    *("birdcl-route-count", "birdcl-interfaces", "bird.cfg", "bird_ipam.cfg", "bird_aggr.cfg", "bird-log", "confd-log"),
    *("bird-ready", "ss-bgp", "calicoctl-node-status"),
)


@not_applicable(needs={"birds": "bgp.birds"})
def _without_bird(birds: pd.DataFrame) -> Spared:
    """A node that runs no BIRD, and need not, has no output of it.

    bird6's log has a file of its own only where calico-node logs to files.
    """
    four = birds[birds["family"] == 4]
    six = set(birds[(birds["family"] == 6) & (birds["state"] != "none")]["node"])
    for node, state in cells(four, "node", "state"):
        yield from ((i, node) for i in OF_BIRD if state == "none")
        yield from ((i, node) for i in OF_BIRD6 if node not in six)
        yield "bird6-log", node


@not_applicable(needs={"sessions": "bgp.sessions"})
def _second_sources(sessions: pd.DataFrame) -> Spared:
    """Where birdcl answers, nobody misses what says less of the same."""
    shown = sessions[sessions["source"] == "birdcl"]
    for node, family in cells(shown[["node", "family"]].drop_duplicates(), "node", "family"):
        yield ("calicoctl-node-status" if family == 4 else "bird6-ready"), str(node)

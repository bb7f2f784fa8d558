"""Expected sessions against real ones, each direction by itself, and why one is down.

A cause is told from both ends where both are seen. Of a router outside the cluster only one end is, and BIRD's log then
tells. The joins are of arrays of numbers, as a mesh of 2,000 nodes has 4,000,000 directions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calicokit.bgp.codes import Codes, Mask, Words, category, lookup, picked, taken, times
from calicokit.bgp.session_log import SESSION_LOG
from calicokit.parsers.bird.protocols import peer_of
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

FLAPS = 3
"""A session that came back so often is flapping."""

STARTING = pd.Timedelta(seconds=30)
"""So long after a BIRD's start its sessions may still be on their way."""

COMPARED = Schema(
    "bgp.compared",
    "Each direction of each session: expected and actual state, and why it is not up. Sessions that are not up come "
    "first.",
    (
        Column("node", "category", "local node of this direction"),
        Column("protocol", "category", "name of the session"),
        Column("kind", "category", "Mesh, Global, Node or Local_Workload"),
        Column("family", "int", "4 or 6"),
        Column("peer", "category", "peer: node, workload, or external router's address"),
        Column("internal", "bool", "the peer is a node of this cluster"),
        Column("peer_address", "category", "address of the other end"),
        Column("expected", "bool", "a resource configures it"),
        Column("status", "category", "up, down, one-sided, flapping, starting, unexpected or unknown"),
        Column("cause", "category", "why it is not up; null where it is up; unknown without evidence"),
        Column("bgp_state", "category", "state at the local end; null: no such session, or not seen"),
        Column("last_error", "category", "last error at the local end"),
        Column("other_state", "category", "state at the peer's end; null: no such session, or not seen"),
        Column("other_error", "category", "last error at the peer's end"),
        Column("other_seen", "bool", "the peer's state is known"),
        Column("since", "time", "last state change at the local end"),
        Column("wrong_as", "int", "unexpected AS of an OPEN message, from the logs"),
        Column("source", "category", "source of the local state: birdcl, CalicoNodeStatus, calicoctl or log"),
        Column("why", "category", "the resource that configures it"),
    ),
    key=("node", "protocol", "family"),
)

CAUSES = (
    *("bird-dead", "peer-dead", "port-in-use", "as-mismatch", "config-stale", "peer-unknown", "disabled", "md5"),
    *("wrong-address", "hold-timer-expired", "tcp-179-blocked", "connection-refused", "no-route", "no-answer"),
    *("graceful-restart", "unknown"),
)
STATUSES = ("up", "down", "one-sided", "flapping", "starting", "unexpected", "unknown")


@table(
    COMPARED,
    needs={"expected": "bgp.expected", "sessions": "bgp.sessions", "birds": "bgp.birds", "nodes": "bgp.nodes"},
    wants={
        "log": "bgp.session_log",
        "daemon_log": "bgp.daemon_log",
        "configured": "bgp.configured",
        "sockets": "bgp.sockets",
        "md5": "bgp.md5",
        "firewall": "bgp.firewall",
        "neighbours": "output.ip_neigh",
        "neighbours6": "output.ip_neigh6",
        "addresses": "output.ip_addr",
        "now": "@now",
    },
)
def compared(
    expected: pd.DataFrame,
    sessions: pd.DataFrame,
    birds: pd.DataFrame,
    nodes: pd.DataFrame,
    log: pd.DataFrame | None = None,
    daemon_log: pd.DataFrame | None = None,
    configured: pd.DataFrame | None = None,
    sockets: pd.DataFrame | None = None,
    md5: pd.DataFrame | None = None,
    firewall: pd.DataFrame | None = None,
    neighbours: pd.DataFrame | None = None,
    neighbours6: pd.DataFrame | None = None,
    addresses: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each expected or seen session of each node; see :data:`COMPARED`."""
    near = [n for n in (neighbours, neighbours6) if n is not None]
    seen = _Seen(daemon_log, sockets, md5, firewall, near, addresses, birds, now)
    pairs = _Pairs(expected, sessions, birds, nodes, log, configured)
    found = pairs.table(seen)
    stray = pairs.unexpected()
    return found if not len(stray) else COMPARED.take(pd.concat([found, stray], ignore_index=True))


@dataclass
class _Seen:
    """What else was seen of each node, beside its sessions."""

    daemon_log: pd.DataFrame | None
    sockets: pd.DataFrame | None
    md5: pd.DataFrame | None
    firewall: pd.DataFrame | None
    neighbours: list[pd.DataFrame]
    addresses: pd.DataFrame | None
    birds: pd.DataFrame
    now: pd.Timestamp | None

    def of(self, family: int) -> pd.DataFrame:
        return self.birds[self.birds["family"] == family]

    def dead(self, family: int) -> set[str]:
        birds = self.of(family)
        return set(birds[birds["state"] == "dead"]["node"])

    def young(self, family: int) -> set[str]:
        """Nodes whose BIRD has just started."""
        birds = self.of(family)
        clock = birds["now"] if self.now is None else birds["now"].fillna(self.now)
        age = clock - birds["started"]
        return set(birds[age < STARTING]["node"])

    def no_port(self, family: int) -> set[str]:
        """Nodes whose BIRD cannot listen: its log says so since its start, or another process has the port."""
        birds, log = self.of(family), self.daemon_log
        taken = birds["listening"].eq(True) & birds["listener"].notna()
        other = birds[taken.fillna(False) & ~birds["listener"].fillna("").str.startswith("bird")]
        logged = set() if log is None else set(log[log["no_socket"].notna() & (log["family"] == family)]["node"])
        return {*other["node"], *logged}

    def alive(self, family: int) -> set[str]:
        """Nodes whose BIRD answers, and of which nothing says that it does not listen."""
        birds = self.of(family)
        return set(birds[(birds["state"] == "answers") & ~birds["listening"].eq(False).fillna(False)]["node"])

    def unsigned(self) -> set[str]:
        """Nodes that dropped segments for their MD5 signature."""
        if self.md5 is None:
            return set()
        counts = self.md5[["missing", "unexpected", "wrong"]].fillna(0).sum(axis=1)
        return set(self.md5[counts > 0]["node"])

    def walled(self, family: int, reject: bool = False) -> set[str]:
        """Nodes with a rule that drops (or rejects) BGP."""
        if self.firewall is None:
            return set()
        rules = self.firewall[self.firewall["version"] == family]
        return set(rules[rules["verdict"].eq("reject") if reject else rules["rule"].notna()]["node"])

    def unanswered(self) -> set[tuple[str, str]]:
        """(node, address) of connections that were asked for and are not answered."""
        if self.sockets is None:
            return set()
        return set(cells(self.sockets[self.sockets["state"] == "SYN-SENT"], "node", "peer_address"))

    def unreachable(self) -> set[tuple[str, str]]:
        """(node, address) of neighbours that do not answer ARP or neighbour solicitations."""
        every = [n[n["state"].fillna("").str.contains("FAILED")] for n in self.neighbours]
        return {pair for gone in every for pair in cells(gone, "node", "address")}

    def homeless(self, nodes: pd.DataFrame, family: int) -> set[str]:
        """Nodes whose BGP address is on none of their interfaces."""
        if self.addresses is None:
            return set()
        own = {n: set(g) for n, g in self.addresses.groupby("node")["address"]}
        known = nodes[nodes[ADDRESS[family]].notna()]
        return {n for n, a in cells(known, "node", ADDRESS[family]) if n in own and a not in own[n]}


ADDRESS = {4: "address", 6: "address6"}
"""Family → the column of ``bgp.nodes`` that has a node's address for BGP."""


def elsewhere(nodes: pd.DataFrame, family: int) -> set[str]:
    """Nodes whose BGP address is not one that Kubernetes reaches them at, where most nodes' addresses are."""
    mark, column = ":" if family == 6 else ".", ADDRESS[family]
    rows = cells(nodes[nodes[column].notna()], "node", column, "kubernetes_addresses")
    known = [(n, a, own) for n, a, every in rows if (own := [k for k in every if mark in k])]
    odd = {n for n, a, own in known if a not in own}
    return odd if 2 * len(odd) < len(known) else set()


class _Pairs:
    """The joins: each expected session with its real one, and with the same session seen from the other end."""

    def __init__(
        self,
        expected: pd.DataFrame,
        sessions: pd.DataFrame,
        birds: pd.DataFrame,
        nodes: pd.DataFrame,
        log: pd.DataFrame | None,
        configured: pd.DataFrame | None,
    ) -> None:
        self.expected, self.sessions, self.birds, self.nodes = expected, sessions, birds, nodes
        self.log = SESSION_LOG.frame() if log is None else log
        self.configured = configured
        self.words = Words()
        words = self.words
        self.node, self.peer = words.codes(expected["node"]), words.codes(expected["peer"])
        self.address, self.name = words.codes(expected["peer_address"]), words.codes(expected["protocol"])
        self.s_node, self.s_name = words.codes(sessions["node"]), words.codes(sessions["protocol"])
        self.s_address = words.codes(sessions["peer_address"])
        l_key = (words.codes(self.log["node"]), words.codes(self.log["protocol"]))
        self.own_address = self._own_addresses()
        size = len(words.known) + 1
        by_name = lookup(self.s_node * size + self.s_name, self.node * size + self.name, self.s_name > 0)
        by_address = lookup(self.s_node * size + self.s_address, self.node * size + self.address)
        nameless = np.isin(self.node, self.s_node[self.s_name == 0])
        self.real = np.where((by_name < 0) & nameless, by_address, by_name)
        self.logged = lookup(l_key[0] * size + l_key[1], self.node * size + self.name)
        # The same session, from the other end: there the peer's address is this node's.
        mine, theirs = self.node * size + self.address, self.peer * size + self.own_address
        internal = expected["internal"].to_numpy(dtype=bool)
        self.six = expected["family"].to_numpy("int64") == 6
        self.reverse = np.where(internal, lookup(mine, theirs), -1)
        reverse_real = np.where(self.reverse >= 0, self.real[self.reverse], -1)
        stray = np.where(internal, lookup(self.s_node * size + self.s_address, theirs), -1)
        self.other = np.where(reverse_real >= 0, reverse_real, stray)
        self.size = size

    def _own_addresses(self) -> Codes:
        """Code of the local node's address in the session's family."""
        v4 = {n: a for n, a in cells(self.nodes, "node", "address") if isinstance(a, str)}
        v6 = {n: a for n, a in cells(self.nodes, "node", "address6") if isinstance(a, str)}
        four = self.words.translate(self.expected["node"], v4)
        if (self.expected["family"] == 4).all():
            return four
        six = self.words.translate(self.expected["node"], v6)
        return np.where(self.expected["family"].to_numpy("int64") == 6, six, four)

    # ---- the table

    def table(self, seen: _Seen) -> pd.DataFrame:
        expected, sessions = self.expected, self.sessions
        up = taken(sessions["up"].fillna(False).to_numpy(dtype=bool), self.real, False)
        other_up = taken(sessions["up"].fillna(False).to_numpy(dtype=bool), self.other, False)
        own_seen = self.shown(self.node) | self.dead(self.node, seen)
        other_seen = self.shown(self.peer) | self.dead(self.peer, seen)
        status = self.status(up, other_up, own_seen, other_seen, seen)
        wrong_as = self.wrong_as()
        cause = np.full(len(expected), -1, dtype="int64")
        down = np.flatnonzero(np.isin(status, [STATUSES.index(s) for s in ("down", "one-sided")]))
        if len(down):
            cause[down] = _Down(self, seen, down, other_seen[down]).causes()
        columns = {
            **{c: expected[c] for c in ("node", "protocol", "kind", "family", "peer", "internal", "peer_address")},
            "expected": pd.array(np.ones(len(expected), dtype=bool), dtype="boolean"),
            "status": category(status, STATUSES),
            "cause": category(cause, CAUSES),
            "bgp_state": picked(sessions["bgp_state"], self.real),
            "last_error": picked(sessions["last_error"], self.real),
            "other_state": picked(sessions["bgp_state"], self.other),
            "other_error": picked(sessions["last_error"], self.other),
            "other_seen": pd.array(other_seen, dtype="boolean"),
            "since": times(sessions["since"], self.real),
            "wrong_as": pd.arrays.IntegerArray(wrong_as, wrong_as == 0),
            "source": picked(sessions["source"], self.real),
            "why": expected["why"],
        }
        made = COMPARED.check(pd.DataFrame(columns, columns=pd.Index(COMPARED.names)))
        fine = status == STATUSES.index("up")
        return made if fine.all() else made.take(np.argsort(fine, kind="stable")).reset_index(drop=True)

    def shown(self, ends: Codes, *but: str) -> Mask:
        """Which ends' sessions some source shows, other than these; those of IPv6 are another daemon's."""
        rows = self.sessions[~self.sessions["source"].isin(but)] if but else self.sessions
        # A source that shows a node's sessions of IPv6 alone was asked for no others.
        names = {v: set(rows[rows["family"] == v]["node"].unique().tolist()) for v in (4, 6)}
        return self.among(ends, names.__getitem__)

    def among(self, ends: Codes, of: Callable[[int], set[str]], rows: Codes | None = None) -> Mask:
        """Which ends are in the set of nodes of their session's family; ``rows`` are the places of these sessions."""
        six = self.six if rows is None else self.six[rows]
        found = np.isin(ends, self.words.members(of(4)))
        if six.any():
            found = np.where(six, np.isin(ends, self.words.members(of(6))), found)
        return np.asarray(found, dtype=bool)

    def dead(self, ends: Codes, seen: _Seen) -> Mask:
        return self.among(ends, seen.dead)

    def status(self, up: Mask, other_up: Mask, own_seen: Mask, other_seen: Mask, seen: _Seen) -> Codes:
        missing = (self.real < 0) & ~self.shown(self.node, "log")  # a log need not speak of every session
        own_dead = self.dead(self.node, seen)
        unknown = (~own_seen | missing) & ~own_dead
        internal = self.expected["internal"].to_numpy(dtype=bool)
        # Where the other end has no session at all, or says that it is not up, this end's word is old.
        listed = self.shown(self.peer, "log")
        told = internal & other_seen & (self.dead(self.peer, seen) | (self.other >= 0) | listed)
        returns = taken(self.log["returns"].to_numpy("int64"), self.logged, 0)
        fresh = self.among(self.node, seen.young) | self.among(self.peer, seen.young)
        choice = [
            (unknown, "unknown"),
            (~up & ~own_dead & fresh, "starting"),
            (up & (returns >= FLAPS), "flapping"),
            (up & told & ~other_up & fresh, "starting"),
            (up & told & ~other_up, "one-sided"),
            (up & ~own_dead, "up"),
        ]
        codes = [np.int64(STATUSES.index(word)) for _, word in choice]
        return np.select([mask for mask, _ in choice], codes, np.int64(STATUSES.index("down")))

    def wrong_as(self) -> Codes:
        """The AS that was not expected, as this end's log or else the other's tells; 0 for none."""
        values = self.log["wrong_as"].fillna(0).to_numpy("int64")
        own = taken(values, self.logged, 0)
        other = np.where(self.reverse >= 0, own[self.reverse], 0) if len(own) else own
        return np.where(own > 0, own, other)

    def unexpected(self) -> pd.DataFrame:
        """Sessions that are there and that no resource asks for."""
        used = np.union1d(self.real[self.real >= 0], [])
        left = np.setdiff1d(np.arange(len(self.sessions)), used)
        rows = self.sessions.iloc[left]
        rows = rows[rows["source"] != "log"]  # a log also tells of sessions that were taken out
        where = {a: n for column in ("address", "address6") for a, n in cells(self.nodes, column, "node")}
        peers = [where.get(a, a) for a in rows["peer_address"]]
        kinds = [peer_of(p)[0] if isinstance(p, str) else None for p in rows["protocol"]]
        return COMPARED.take(
            rows.assign(
                peer=peers,
                kind=pd.array(kinds, dtype="str"),
                internal=[a in where for a in rows["peer_address"]],
                expected=False,
                status="unexpected",
                **dict.fromkeys(("cause", "other_state", "other_error", "wrong_as", "why"), None),
                other_seen=False,
            )
        )


class _Down:
    """Why the sessions at these places are down; the first cause that the evidence supports."""

    def __init__(self, pairs: _Pairs, seen: _Seen, rows: Codes, other_seen: Mask) -> None:
        self.pairs, self.seen, self.rows, self.other_seen = pairs, seen, rows, other_seen
        self.internal = pairs.expected["internal"].to_numpy(dtype=bool)[rows]
        self.node, self.peer, self.address = pairs.node[rows], pairs.peer[rows], pairs.address[rows]
        self.real, self.other = pairs.real[rows], pairs.other[rows]
        self.reverse = pairs.reverse[rows]
        self.own_words = self._texts(self.real, pairs.logged[rows])
        other_log = np.where(self.reverse >= 0, pairs.logged[self.reverse], -1)
        self.other_words = self._texts(self.other, other_log)
        states = pairs.sessions["bgp_state"].astype(object).to_numpy()
        self.state, self.other_state = taken(states, self.real, ""), taken(states, self.other, "")

    def _texts(self, sessions: Codes, logged: Codes) -> NDArray[Any]:
        """Last error and last logged error of each, as one text."""
        errors = self.pairs.sessions["last_error"].astype(object).fillna("").to_numpy()
        logs = self.pairs.log["last_error"].astype(object).fillna("").to_numpy()
        return np.asarray(taken(errors, sessions, "") + " | " + taken(logs, logged, ""), dtype=object)

    def says(self, *parts: str) -> Mask:
        """Whether either end's errors say one of these."""
        return self.own_says(*parts) | _contains(self.other_words, parts)

    def own_says(self, *parts: str) -> Mask:
        return _contains(self.own_words, parts)

    def among(self, of: Callable[[int], set[str]]) -> tuple[Mask, Mask]:
        """Whether this node, and the other, is one of those that this tells for the session's family."""
        own, other = (self.pairs.among(ends, of, self.rows) for ends in (self.node, self.peer))
        return own, other & self.internal

    def either(self, of: Callable[[int], set[str]]) -> Mask:
        own, other = self.among(of)
        return own | other

    def causes(self) -> Codes:
        homeless, odd = (partial(of, self.pairs.nodes) for of in (self.seen.homeless, elsewhere))
        own_dead, other_dead = self.among(self.seen.dead)
        answers, _ = self.among(partial(self._nodes, "birdcl"))
        _, logged = self.among(partial(self._nodes, "log"))
        silent = self.unanswered()
        hold = self.says("Hold timer expired")
        walled = self.either(self.seen.walled)
        rejected = self.either(partial(self.seen.walled, reject=True))
        choice = [
            ("bird-dead", own_dead),
            ("peer-dead", other_dead),
            ("port-in-use", self.no_port()),
            ("as-mismatch", self.says("Bad peer AS") | (self.pairs.wrong_as()[self.rows] > 0) | self.as_differs()),
            ("config-stale", (self.real < 0) & answers),
            ("peer-unknown", self.internal & self.other_seen & (self.other < 0) & ~logged),
            ("disabled", self.disabled()),
            ("md5", self.md5() & ~hold),
            ("wrong-address", self.own_says("Cannot assign requested") | self.either(homeless)),
            ("tcp-179-blocked", silent & walled | rejected & self.says("Connection refused", "No route to host")),
            ("wrong-address", silent & self.either(odd)),
            ("hold-timer-expired", hold),
            ("connection-refused", self.says("Connection refused")),
            ("no-route", self.says("No route to host", "unreachable") | self.unreachable()),
            ("tcp-179-blocked", silent & self.internal & self.listening()),
            ("graceful-restart", self.restarting()),
            ("no-answer", silent | np.isin(self.state, ("Connect", "Passive"))),
        ]
        codes = [np.int64(CAUSES.index(word)) for word, _ in choice]
        return np.select([mask for _, mask in choice], codes, np.int64(CAUSES.index("unknown")))

    def _nodes(self, source: str, family: int) -> set[str]:
        sessions = self.pairs.sessions
        mine = (sessions["source"] == source) & (sessions["family"] == family)
        return set(sessions[mine]["node"].unique().tolist())

    def no_port(self) -> Mask:
        """The end that waits cannot listen; the end that connects needs no port but BIRD stops it all the same."""
        return self.either(self.seen.no_port) | self.says("No listening socket")

    def as_differs(self) -> Mask:
        """Both ends' own configuration: what one expects is not what the other is."""
        pairs = self.pairs
        want, have = pairs.expected["peer_as"].to_numpy("int64"), pairs.expected["local_as"].to_numpy("int64")
        known = self.reverse >= 0
        local = np.where(known, have[self.reverse], 0)
        return np.asarray(known & (want[self.rows] != local), dtype=bool)

    def disabled(self) -> Mask:
        """Switched off by hand: Down without an error."""
        off, error = (self.state == "Down"), self.own_words == " | "
        other = (self.other_state == "Down") & (self.other_words == " | ")
        return np.asarray((off & error) | other, dtype=bool)

    def md5(self) -> Mask:
        """One end asks in vain, and the kernel of an end has dropped segments for their signature.

        The counters are the node's: a password must be set at one of the ends, or a signature have come unasked.
        """
        waits = np.isin(self.state, ("Connect", "Active", "Passive", "Idle", "")) & ~self.says("Connection refused")
        return waits & self.either(lambda _: self.seen.unsigned()) & (self.password() | self.unasked())

    def password(self) -> Mask:
        secret = self.pairs.expected["password"].notna().to_numpy()
        found = secret[self.rows] | np.where(self.reverse >= 0, secret[self.reverse], False)
        if self.pairs.configured is not None:
            rows = self.pairs.configured[self.pairs.configured["password"].fillna(False)]
            key = self.pairs.words.codes(rows["node"]) * self.pairs.size + self.pairs.words.codes(rows["peer_address"])
            found |= np.isin(self.node * self.pairs.size + self.address, key)
            back = self.peer * self.pairs.size + self.pairs.own_address[self.rows]
            found |= self.internal & np.isin(back, key)
        return np.asarray(found, dtype=bool)

    def unasked(self) -> Mask:
        md5 = self.seen.md5
        found = set() if md5 is None else set(md5[md5["unexpected"].fillna(0) > 0]["node"])
        return self.either(lambda _: found)

    def unanswered(self) -> Mask:
        """One end asks for a connection and gets no answer: its socket says so, or its state."""
        words, size = self.pairs.words, self.pairs.size
        asked = [(words.known.get(n, 0), words.known.get(a, 0)) for n, a in self.seen.unanswered()]
        keys = np.array([n * size + a for n, a in asked if n and a], dtype="int64")
        back = self.peer * size + self.pairs.own_address[self.rows]
        sockets = np.isin(self.node * size + self.address, keys) | self.internal & np.isin(back, keys)
        return np.asarray(sockets | (self.state == "Connect") | (self.other_state == "Connect"), dtype=bool)

    def unreachable(self) -> Mask:
        words, size = self.pairs.words, self.pairs.size
        gone = [(words.known.get(n, 0), words.known.get(a, 0)) for n, a in self.seen.unreachable()]
        keys = np.array([n * size + a for n, a in gone if n and a], dtype="int64")
        return np.isin(self.node * size + self.address, keys)

    def listening(self) -> Mask:
        """Both ends' BIRDs answer, and nothing says that one does not listen."""
        own, other = self.among(self.seen.alive)
        return own & other

    def restarting(self) -> Mask:
        flags = self.pairs.sessions["restarting"].fillna(False).to_numpy(dtype=bool)
        told = taken(flags, self.real, False) | taken(flags, self.other, False)
        return np.asarray(told | self.own_says("Graceful restart"), dtype=bool)


def _contains(texts: NDArray[Any], parts: tuple[str, ...]) -> Mask:
    """Which texts have one of these parts; each distinct text is looked at once."""
    codes, words = pd.factorize(texts)
    return np.array([any(p in w for p in parts) for w in words], dtype=bool)[codes] if len(words) else codes > 0

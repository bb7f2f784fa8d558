"""Presence of Calico's components on every node: calico-node, Felix, BIRD, confd, CNI configuration.

The nodes are the API's, so that one on which nothing was found has its rows too. With the backends vxlan and none,
neither BIRD nor confd is started (node/filesystem/etc/rc.local); Windows has no BIRD. For IPv6 a BIRD of its own runs
(bird6), which a node needs that has an IPv6 address in a cluster with IPv6 pools.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.registry import Given, table
from calicokit.schema import Column, Schema, cells, records

PRESENCE = Schema(
    "health.presence",
    "Calico's parts on every node of the cluster: whether they are there, and what tells so.",
    (
        Column("node", "str", "node"),
        Column("component", "str", "calico-node (its pod), felix, bird4, bird6, confd or cni-config"),
        Column("state", "str", "up, down, just ended, not needed or not seen"),
        Column("told", "str", "what tells so"),
        Column("since", "time", "since when, where that is known"),
        Column("evidence", "str", "id of the evidence that tells it; null where nothing was seen"),
    ),
    key=("node", "component"),
    undecided=("state", "not seen"),
)

UP, DOWN, ENDED, NOT_NEEDED, NOT_SEEN = "up", "down", "just ended", "not needed", "not seen"
COMPONENTS = ("calico-node", "felix", "bird4", "bird6", "confd", "cni-config")
_POD = {"ready": UP, "not-ready": DOWN, "ending": ENDED, "absent": DOWN, "not-needed": NOT_NEEDED, "unknown": NOT_SEEN}
_FELIX = {"ready": UP, "starting": UP, "just-ended": ENDED, "not-ready": DOWN, "dead": DOWN, "unknown": NOT_SEEN}
_BIRD = {"answers": UP, "dead": DOWN, "none": NOT_NEEDED, "unknown": NOT_SEEN}
NO_POD = "no calico-node pod is there"

Told = tuple[str, str, Any, str | None]
"""State, what tells it, since when, and the evidence's id."""


SEEN = (
    *("felix.state", "bgp.use", "bgp.birds", "bgp.confd", "bgp.sockets", "bgp.sessions", "bgp.nodes"),
    *("ipam.pools", "cni.configs", "output.cni_net_d"),
)
"""The tables that tell of a part; each may be unknown."""


@table(PRESENCE, needs={"pods": "health.node_pods"}, wants={"seen": SEEN})
def presence(pods: pd.DataFrame, seen: Given) -> pd.DataFrame:
    """One row for each node and component; see :data:`PRESENCE`."""
    known = _Known(seen)
    rows = []
    for pod in records(pods):
        for component, (state, told, since, evidence) in known.of(pod):
            row = {"node": pod.node, "component": component, "state": state, "told": told, "evidence": evidence}
            rows.append(row | {"since": None if pd.isna(since) else since})
    return PRESENCE.frame(rows)


def _by_node(frame: pd.DataFrame | None) -> dict[str, Any]:
    return {} if frame is None else {str(r.node): r for r in records(frame)}


class _Known:
    """What is known of the parts, by node."""

    def __init__(self, seen: Given) -> None:
        use, sockets, sessions, pools = (seen[n] for n in ("bgp.use", "bgp.sockets", "bgp.sessions", "ipam.pools"))
        addresses, configs, cni_files = (seen[n] for n in ("bgp.nodes", "cni.configs", "output.cni_net_d"))
        self.felix, self.confd = (_by_node(seen[n]) for n in ("felix.state", "bgp.confd"))
        birds = seen["bgp.birds"]
        both = (None if birds is None else birds[birds["family"] == v] for v in (4, 6))
        self.birds, self.birds6 = map(_by_node, both)
        self.use = None if use is None else next(records(use), None)
        named = [] if sockets is None else list(cells(sockets, "node", "process"))
        self.bird6 = {n for n, p in named if p == "bird6"}
        self.processes = {str(n) for n, p in named if isinstance(p, str)}  # nodes whose sockets name their processes
        up6 = None if sessions is None else sessions[(sessions["family"] == 6) & sessions["up"].fillna(False)]
        self.sessions6 = set() if up6 is None else {str(n) for n in up6["node"].unique()}
        self.address6 = {} if addresses is None else dict(cells(addresses, "node", "address6"))
        self.pools6 = None if pools is None else bool(pools["cidr"].str.contains(":", regex=False).any())
        self.configs: dict[str, list[Any]] = {}
        for config in records(configs) if configs is not None else ():
            self.configs.setdefault(str(config.node), []).append(config)
        self.cni_seen = set() if cni_files is None else {str(n) for n in cni_files["node"].dropna()}

    def of(self, pod: Any) -> Iterator[tuple[str, Told]]:
        """The rows of one node, in the order of :data:`COMPONENTS`."""
        yield "calico-node", (_POD[pod.state], pod.told, pod.since, "pods")
        if pod.system == "windows":
            yield from self._windows(pod)
            return
        yield "felix", self._felix(pod)
        yield "bird4", self._bird4(pod)
        yield "bird6", self._bird6(pod)
        yield "confd", self._confd(pod)
        yield "cni-config", self._cni(pod)

    def _windows(self, pod: Any) -> Iterator[tuple[str, Told]]:
        """Of a Windows node only its pod is seen: no command is run there."""
        own: Told = (_POD[pod.state], f"it is a part of the pod: {pod.told}", pod.since, "pods")
        unseen: Told = (NOT_SEEN, "no command is run on Windows nodes", None, None)
        yield "felix", own if pod.state in ("ready", "not-ready", "absent", "not-needed") else unseen
        yield from ((name, (NOT_NEEDED, "Windows has no BIRD", None, None)) for name in ("bird4", "bird6"))
        yield "confd", (NOT_NEEDED, "BGP is not in use", None, None) if self._no_bgp else unseen
        yield "cni-config", unseen

    @property
    def _no_bgp(self) -> bool:
        return self.use is not None and pd.notna(self.use.in_use) and not self.use.in_use

    def _without_pod(self, pod: Any, evidence: str = "pods") -> Told | None:
        """What follows where calico-node is not there at all."""
        if pod.state == "not-needed":
            return NOT_NEEDED, f"calico-node is not needed there: {pod.told}", None, evidence
        return (DOWN, NO_POD, None, evidence) if pod.state == "absent" else None

    def _felix(self, pod: Any) -> Told:
        row = self.felix.get(pod.node)
        if row is not None and row.state != "unknown":
            evidence = (
                "felix-ready" if isinstance(row.answer, str) else "felix-log" if pd.notna(row.log_until) else None
            )
            since = row.since if pd.notna(row.since) else row.log_until if row.state in ("dead", "just-ended") else None
            word = "" if row.state in ("ready", "dead") else f"{row.state}: "
            return _FELIX[row.state], f"{word}{row.told}", since, evidence or "felix-metrics"
        return self._without_pod(pod) or (NOT_SEEN, "neither health port, metrics nor log tell", None, None)

    def _no_bird(self) -> Told | None:
        if self.use is None:
            return NOT_SEEN, "whether BGP is in use is not known", None, None
        return (NOT_NEEDED, f"BGP is not in use: {self.use.why}", None, "ippools") if self._no_bgp else None

    def _bird4(self, pod: Any) -> Told:
        row = self.birds.get(pod.node)
        if row is not None and row.state in ("answers", "dead"):
            return _BIRD[row.state], row.why, row.started, row.evidence_id
        without = self._without_pod(pod)
        if without is not None and without[0] == NOT_NEEDED:
            return without
        return self._no_bird() or without or (NOT_SEEN, "no evidence" if row is None else row.why, None, None)

    def _bird6(self, pod: Any) -> Told:
        row = self.birds6.get(pod.node)
        if row is not None and row.state in ("answers", "dead"):
            return _BIRD[row.state], row.why, row.started, row.evidence_id
        if pod.node in self.sessions6:
            return UP, "a session over IPv6 is established", None, "birdcl6-protocols-all"
        if pod.node in self.bird6:
            return UP, "bird6 listens", None, "ss-bgp"
        spared = self._without_pod(pod)
        if spared is not None and spared[0] == NOT_NEEDED:
            return spared
        if (none := self._no_bird()) is not None and none[0] == NOT_NEEDED:
            return none
        if self.pools6 is False:
            return NOT_NEEDED, "there is no IPv6 pool", None, "ippools"
        if pod.node in self.address6 and not isinstance(self.address6[pod.node], str):
            return NOT_NEEDED, "the node has no IPv6 address for BGP", None, "nodes"
        if spared is not None or none is not None:
            return spared or none  # type: ignore[return-value]  # one of them is
        if pod.node in self.processes:
            return DOWN, "no bird6 is among the processes with sockets of BGP", None, "ss-bgp"
        return NOT_SEEN, "no evidence of bird6", None, None

    def _confd(self, pod: Any) -> Told:
        row = self.confd.get(pod.node)
        if row is not None and row.state == "ended":
            return DOWN, f"its log ends: {row.why}", row.time, "confd-log"
        without, none = self._without_pod(pod), self._no_bird()
        if without is not None:
            return none if none is not None and none[0] == NOT_NEEDED else without
        if row is not None:
            why = (
                f"it runs, but BIRD refuses what it writes: {row.why}" if row.state == "failing" else "its log goes on"
            )
            return UP, why, None, "confd-log"
        return none or (NOT_SEEN, "its log was not seen", None, None)

    def _cni(self, pod: Any) -> Told:
        mine = self.configs.get(pod.node, [])
        if used := next((c for c in mine if c.calico or c.delegates), None):
            return UP, f"{used.file or 'a configuration'} calls {', '.join(used.plugins)}", None, "cni-net.d"
        if pod.state == "not-needed":
            return NOT_NEEDED, f"calico-node is not needed there: {pod.told}", None, "pods"
        if mine:
            return DOWN, f"{mine[0].file or 'the configuration'} calls {', '.join(mine[0].plugins)}", None, "cni-net.d"
        if pod.node in self.cni_seen:
            return DOWN, "no file of /etc/cni/net.d is a configuration", None, "cni-net.d"
        return NOT_SEEN, NO_POD if pod.state == "absent" else "/etc/cni/net.d was not seen", None, None

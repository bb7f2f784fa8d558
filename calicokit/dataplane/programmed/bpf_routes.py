"""Routes of the eBPF programs beside IPAM's blocks, the nodes and the pods: who is where, as the programs know it.

Source: felix/dataplane/linux/bpf_route_mgr.go, felix/calc/l3_route_resolver.go (v3.34-dev): a route to each other
node's block and to each borrowed address by that node's address; to each node; to each pod of the node by its
interface; to each pool. The node's own blocks have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.programmed.memberships import moving
from calicokit.felix.state.modes import seen_with_ebpf
from calicokit.kube.tables import EVIDENCE
from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, cells

ROUTES = Schema(
    "dataplane.bpf_routes",
    "Routes in the eBPF programs' map, beside IPAM's blocks, nodes and pods (IPv4).",
    (
        Column("node", "str", "node"),
        Column("cidr", "str", "destination"),
        Column(
            "kind", "str", "block (of another node, or a borrowed address), pod, host, pool or tunnel; null: unknown"
        ),
        Column(
            "status",
            "str",
            "present; different: another next hop or interface; missing; unasked: nothing known asks for it",
        ),
        Column("owner", "str", "node of a block or host, NS/POD of a pod, name of a pool"),
        Column("where", "str", "local or remote; null where missing or a black hole"),
        Column("what", "str", "host or workload; null for others"),
        Column("next_hop", "str", "node's address that it leads to"),
        Column("interface", "str", "interface that it leads to"),
        Column("expected", "str", "address or interface that it should lead to; null where nothing is asked"),
        Column("flags", "list", "in-pool, nat-out, tunneled, …"),
        Column("settled", "bool", "what asks for it is not new"),
        EVIDENCE,
    ),
    key=("node", "cidr"),
)

BLOCK, POD, HOST, POOL, TUNNEL = "block", "pod", "host", "pool", "tunnel"
PRESENT, DIFFERENT, MISSING, UNASKED = "present", "different", "missing", "unasked"
LATELY = 45.0
"""Seconds in which the map and lists may differ, as they are not read at one time."""

_Wanted = dict[str, Any]


@table(
    ROUTES,
    wants={
        "felix": "felix.configuration",
        "there": "output.bpf_routes",
        "blocks": "routes.blocks",
        "claims": "ipam.blocks",
        "nodes": "bgp.nodes",
        "endpoints": "dataplane.endpoints",
        "pods": "kube.pods",
        "now": "@now",
        "states": "output.bpf_ifstate",
        "tunnels": "kube.tunnels",
        "pools": "ipam.pools",
    },
)
def bpf_routes(
    felix: pd.DataFrame | None = None,
    there: pd.DataFrame | None = None,
    blocks: pd.DataFrame | None = None,
    claims: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
    endpoints: pd.DataFrame | None = None,
    pods: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
    states: pd.DataFrame | None = None,
    tunnels: pd.DataFrame | None = None,
    pools: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each route, there or asked for; see :data:`ROUTES`. Nodes whose map was not seen have none."""
    needed = {"output.bpf_routes": there, "routes.blocks": blocks, "ipam.blocks": claims, "bgp.nodes": nodes}
    needed |= {"dataplane.endpoints": endpoints, "kube.pods": pods}
    if not seen_with_ebpf(felix, needed) or there is None or blocks is None or claims is None or nodes is None:
        return ROUTES.frame()
    if endpoints is None or pods is None or now is None:
        raise UnseenError("when the cluster was seen is not known")
    names = {} if states is None else {(n, i): name for n, i, name in cells(states, "node", "ifindex", "interface")}
    about = dict(_others(tunnels, pools))
    asks = _Asks(blocks, claims, nodes, endpoints, moving(pods, now), now)
    rows: list[dict[str, Any]] = []
    for node, own in there.groupby("node"):
        wanted = {w["cidr"]: w for w in asks.of(str(node))}
        evidence = own["evidence"].iloc[0]
        columns = ("destination", "where", "what", "flags", "ifindex", "next_hop")
        for cidr, where, what, flags, index, hop in cells(own, *columns):
            asked = wanted.pop(cidr, None)
            interface = names.get((node, index)) if pd.notna(index) else None
            row = {"node": node, "cidr": cidr, "where": where, "what": what, "flags": flags, "evidence": evidence}
            row |= {"next_hop": hop, "interface": interface}
            rows.append(row | (_judged(asked, row) if asked else {"status": UNASKED, **about.get(cidr, {})}))
        rows += [{**w, "node": node, "flags": [], "status": MISSING, "evidence": evidence} for w in wanted.values()]
    return ROUTES.frame([{k: v for k, v in row.items() if k != "interfaces"} for row in rows])


def _judged(asked: _Wanted, row: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, and whether the route leads there; of one whose interface has no name nobody can tell."""
    kind, expected = asked["kind"], asked["expected"]
    if kind == BLOCK:
        same = row["what"] == "workload" and row["where"] == "remote" and row["next_hop"] == expected
    elif kind == POD:
        to = row["interface"]
        same = row["what"] == "workload" and row["where"] == "local" and to in (None, *asked["interfaces"])
    else:
        same = row["what"] == "host" and row["where"] == ("local" if asked["owner"] == row["node"] else "remote")
    return {**asked, "status": PRESENT if same else DIFFERENT}


class _Asks:
    """What the cluster asks of each node's map."""

    def __init__(
        self,
        blocks: pd.DataFrame,
        claims: pd.DataFrame,
        nodes: pd.DataFrame,
        endpoints: pd.DataFrame,
        unsettled: set[str],
        now: pd.Timestamp,
    ) -> None:
        self.blocks = dict(list(blocks.groupby("node", observed=True)))
        self.endpoints = dict(list(endpoints.groupby("node")))
        self.address = {n: a for n, a in cells(nodes, "node", "address") if isinstance(a, str)}
        self.settled = {n: not _young(t, now) for n, t in cells(nodes, "node", "created")}
        self.claimed = {b: not _young(t, now) for b, t in cells(claims, "block", "claimed")}
        self.unsettled = unsettled

    def of(self, node: str) -> Iterator[_Wanted]:
        if node in self.blocks:
            for cidr, kind, owner in cells(self.blocks[node], "cidr", "kind", "owner"):
                if kind != "own" and owner in self.address:
                    about = {"kind": BLOCK, "owner": owner, "expected": self.address[owner]}
                    yield {"cidr": cidr, **about, "settled": self.claimed.get(cidr, True)}
        for name, own in self.address.items():
            about = {"kind": HOST, "owner": name, "expected": own}
            yield {"cidr": f"{own}/32", **about, "settled": self.settled.get(name, True)}
        if node in self.endpoints:
            yield from self._pods(self.endpoints[node])

    def _pods(self, local: pd.DataFrame) -> Iterator[_Wanted]:
        by_pod: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
        for space, pod, interface, addresses in cells(local, "namespace", "pod", "interface", "addresses"):
            by_pod.setdefault((space, pod), ([], addresses))[0].append(interface)
        for (space, pod), (interfaces, addresses) in by_pod.items():
            about = {"kind": POD, "owner": f"{space}/{pod}", "expected": interfaces[0], "interfaces": interfaces}
            yield from (
                {"cidr": f"{own}/32", **about, "settled": own not in self.unsettled}
                for own in addresses
                if ":" not in own
            )


def _young(time: Any, now: pd.Timestamp) -> bool:
    return time is not None and pd.notna(time) and (now - time).total_seconds() < LATELY


def _others(tunnels: pd.DataFrame | None, pools: pd.DataFrame | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """What else a route may be to: a node's tunnel address, or a pool."""
    if tunnels is not None:
        for node, address in cells(tunnels, "node", "address"):
            yield f"{address}/32", {"kind": TUNNEL, "owner": node}
    if pools is not None:
        for pool, cidr in cells(pools, "pool", "cidr"):
            yield cidr, {"kind": POOL, "owner": pool}

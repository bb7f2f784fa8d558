"""Consistency of IPAM's objects: blocks, affinities, handles; and the figures that calicoctl ipam check prints.

Facts: libcalico-go/lib/ipam and calicoctl/calicoctl/commands/ipam/check.go at HEAD.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.ipam.owners import YOUNG
from calicokit.ipam.tables import BLOCK, WINDOWS_HANDLE, pool_prefixes
from calicokit.net import Prefix, overlapping, prefix
from calicokit.registry import table
from calicokit.schema import Column, Schema, among, cells, records

BLOCK_PROBLEMS = Schema(
    "ipam.block_problems",
    "Invalid blocks.",
    (
        BLOCK,
        Column("problem", "str", "no-pool, size, affinity, structure or overlap"),
        Column("detail", "str", "details"),
        Column("with", "str", "the other block, for an overlap"),
    ),
    key=("block", "problem", "with"),
)

STALE_AFFINITIES = Schema(
    "ipam.stale_affinities",
    "Stale block affinities: of a removed node, or stuck in pending or pendingDeletion.",
    (
        Column("node", "str", "node that the affinity names"),
        BLOCK,
        Column("state", "str", "confirmed, pending or pendingDeletion; null where only the block names the node"),
        Column("why", "str", "why it is stale: the node does not exist, or the state is stuck"),
        Column("allocated", "int", "addresses still allocated in the block", "addresses"),
    ),
    key=("node", "block"),
)

HANDLE_PROBLEMS = Schema(
    "ipam.handle_problems",
    "Handles without allocations, and allocations whose handle does not exist.",
    (
        Column("handle", "str", "handle id"),
        Column("problem", "str", "orphan: no allocation refers to it; missing: it does not exist"),
        Column("addresses", "list", "addresses that refer to it"),
    ),
    key=("handle",),
)

POOL_OVERLAPS = Schema(
    "ipam.pool_overlaps",
    "Pools that overlap each other, addresses of nodes or of services. A disabled pool without blocks is left out.",
    (
        Column("pool", "str", "name of the pool"),
        Column("with", "str", "the other pool, the node addresses, or the service range"),
        Column("why", "str", "what overlaps"),
    ),
    key=("pool", "with"),
)

CHECK_REPORT = Schema(
    "ipam.check_report",
    "The figures of `calicoctl ipam check`, computed from the objects; the same as calicoctl's own on every recording.",
    (
        Column("figure", "str", "as in the table of `calicokit parse calicoctl-ipam-check`"),
        Column("value", "int", "count"),
        Column("meaning", "str", "what is counted"),
    ),
    key=("figure",),
)


@table(
    BLOCK_PROBLEMS,
    needs={"blocks": "ipam.blocks"},
    wants={"pools": "ipam.pools", "affinities": "ipam.affinities", "now": "@now"},
)
def block_problems(
    blocks: pd.DataFrame,
    pools: pd.DataFrame | None = None,
    affinities: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each problem of a block; see :data:`BLOCK_PROBLEMS`. Disabled pools count as pools."""
    rows: list[dict[str, Any]] = []
    for block, structure in cells(blocks, "block", "structure"):
        if isinstance(structure, str):
            rows.append({"block": block, "problem": "structure", "detail": structure})
    nets = [(b, prefix(b)) for b in blocks["block"]]
    rows += [
        {"block": b, "problem": "overlap", "detail": f"covers addresses of {a}", "with": a}
        for a, b in overlapping(nets)
    ]
    if pools is not None:
        rows += _pool_problems(blocks, pools)
    if affinities is not None:
        rows += _affinity_problems(blocks, affinities, now)
    return BLOCK_PROBLEMS.frame(rows)


def _pool_problems(blocks: pd.DataFrame, pools: pd.DataFrame) -> list[dict[str, Any]]:
    sizes = {p: int(s) for p, s in cells(pools, "pool", "block_size")}
    nets = dict(pool_prefixes(pools))
    rows = []
    for block, pool in cells(blocks, "block", "pool"):
        length = int(block.split("/")[1])
        if not isinstance(pool, str):
            rows.append({"block": block, "problem": "no-pool", "detail": "is in no IP pool"})
        elif length != sizes[pool] or not nets[pool].covers(prefix(block)):
            detail = f"is a /{length}, blocks of pool {pool} are /{sizes[pool]} inside its CIDR"
            rows.append({"block": block, "problem": "size", "detail": detail})
    return rows


def _affinity_problems(
    blocks: pd.DataFrame, affinities: pd.DataFrame, now: pd.Timestamp | None
) -> list[dict[str, Any]]:
    """A block whose owner has no affinity to it. A block without owner was released while in use, and is fine."""
    claims = set(cells(affinities, "block", "node"))
    rows = []
    for block in records(blocks[blocks["affinity"].notna()]):
        owner = str(block.affinity).rpartition(":")[2]
        young = now is not None and not pd.isna(block.claimed) and now - block.claimed < YOUNG
        if (block.block, owner) not in claims and not young:
            others = sorted(n for b, n in claims if b == block.block)
            found = f"affinities to it have {', '.join(others)}" if others else "no affinity to it exists"
            rows.append({"block": block.block, "problem": "affinity", "detail": f"belongs to {owner}, but {found}"})
    return rows


@table(
    STALE_AFFINITIES,
    needs={"affinities": "ipam.affinities", "nodes": "kube.nodes"},
    wants={"blocks": "ipam.blocks", "now": "@now"},
)
def stale_affinities(
    affinities: pd.DataFrame,
    nodes: pd.DataFrame,
    blocks: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each stale affinity; see :data:`STALE_AFFINITIES`. Virtual owners (load balancers) have no node."""
    hosts = affinities[affinities["type"] == "host"][["node", "block", "state", "created"]]
    if blocks is not None:
        owned = blocks[blocks["node"].notna()][["node", "block"]]
        known = set(cells(hosts, "node", "block"))
        bare = [pair for pair in cells(owned, "node", "block") if pair not in known]
        hosts = pd.concat([hosts, pd.DataFrame(bare, columns=pd.Index(["node", "block"]))])
    gone = ~among(hosts["node"], nodes["node"])
    old = hosts["created"].isna() if now is None else now - hosts["created"] > YOUNG
    stuck = among(hosts["state"], ["pending", "pendingDeletion"]) & old
    stale = hosts[gone | stuck].copy()
    stale["why"] = [
        "the node does not exist" if g else f"stuck in {s}"
        for g, s in zip(gone[gone | stuck], stale["state"], strict=True)
    ]
    used = {} if blocks is None else dict(cells(blocks, "block", "allocated"))
    stale["allocated"] = [used.get(b) for b in stale["block"]]
    return STALE_AFFINITIES.take(stale)


@table(HANDLE_PROBLEMS, needs={"addresses": "ipam.addresses", "handles": "ipam.handles"})
def handle_problems(addresses: pd.DataFrame, handles: pd.DataFrame) -> pd.DataFrame:
    """One row for each handle that does not match; see :data:`HANDLE_PROBLEMS`. Ids are compared in lower case."""
    named = addresses[addresses["handle"].notna() & (addresses["handle"] != WINDOWS_HANDLE)]
    in_blocks = named["handle"].str.lower()
    existing = handles["handle"].str.lower()
    orphan = handles[~among(existing, in_blocks)]["handle"].drop_duplicates()
    rows: list[dict[str, Any]] = [{"handle": h, "problem": "orphan", "addresses": []} for h in orphan]
    missing = named[~among(in_blocks, existing)].groupby("handle")["address"]
    rows += [{"handle": h, "problem": "missing", "addresses": list(a)} for h, a in missing]
    return HANDLE_PROBLEMS.frame(rows)


@table(
    POOL_OVERLAPS,
    needs={"pools": "ipam.pools"},
    wants={"blocks": "ipam.blocks", "nodes": "kube.nodes", "services": "kube.services"},
)
def pool_overlaps(
    pools: pd.DataFrame,
    blocks: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
    services: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each overlap; see :data:`POOL_OVERLAPS`."""
    used = set() if blocks is None else set(blocks["pool"].dropna())
    live = pools[~pools["disabled"] | among(pools["pool"], used)]
    both = "pods of both can get the same address"
    rows = [(min(p), max(p), both) for p in overlapping(pool_prefixes(live))]
    for_pods = [bool({"Workload", "Tunnel"} & set(uses)) for uses in live["allowed_uses"]]
    of_pods = live[pd.Series(for_pods, index=live.index, dtype=bool)]  # an empty list would choose columns
    for pool, net in pool_prefixes(of_pods):
        for table_, column, what in ((nodes, "addresses", "node"), (services, "cluster_ips", "service")):
            inside = [] if table_ is None else _inside(net, table_[column])
            if inside:
                other = "service range" if what == "service" else ", ".join(inside[:3])
                rows.append((pool, other, f"the {what} address {inside[0]} is in the pool, so pods can get it"))
    return POOL_OVERLAPS.frame(dict(zip(POOL_OVERLAPS.names, zip(*rows, strict=True), strict=True)) if rows else {})


def _inside(net: Prefix, lists: pd.Series[Any]) -> list[str]:
    return sorted({a for found in lists for a in found if net.covers(prefix(a))})


_MEANINGS = {
    "blocks": "IPAM blocks",
    "allocations": "addresses that blocks have as not free",
    "active_pools": "enabled pools",
    "node_tunnel_ips": "IPv4 tunnel addresses of nodes",
    "load_balancers": "services with an address managed by Calico",
    "workload_ips": "addresses of workload endpoints",
    "in_use_ips": "different addresses that endpoints, tunnels and load balancers use",
    "max_node_allocations": "allocations of the node with the most",
    "median_node_allocations": "allocations of the median node",
    "allocated_not_in_use": "addresses allocated, not in use and not in cooldown",
    "in_use_not_in_pool": "addresses in use outside the active pools and not allocated",
    "in_use_not_allocated": "addresses in use inside an active pool but not allocated",
    "handles_without_ips": "handles that no block refers to",
    "handles_with_ips": "handles that a block refers to",
    "handles_missing": "handles that a block refers to but that do not exist",
    "invalid_blocks": "blocks whose structure is inconsistent",
    "problems": "the total that calicoctl prints",
}


@table(
    CHECK_REPORT,
    needs={
        "pools": "ipam.pools",
        "blocks": "ipam.blocks",
        "addresses": "ipam.addresses",
        "handles": "ipam.handles",
        "endpoints": "kube.workload_endpoints",
        "tunnels": "kube.tunnels",
    },
    wants={"balancers": "ipam.load_balancers"},
)
def check_report(
    pools: pd.DataFrame,
    blocks: pd.DataFrame,
    addresses: pd.DataFrame,
    handles: pd.DataFrame,
    endpoints: pd.DataFrame,
    tunnels: pd.DataFrame,
    balancers: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a figure; see :data:`CHECK_REPORT`. Counted as calicoctl counts, also where the kit knows better."""
    workloads = [n.split("/")[0] for networks in endpoints["networks"] for n in networks]
    tunnel_ips = list(tunnels.loc[~tunnels["address"].str.contains(":"), "address"])
    served = [] if balancers is None else list(balancers["address"])
    windows = addresses["handle"] == WINDOWS_HANDLE
    in_use = {*workloads, *tunnel_ips, *served}
    unused = addresses[~among(addresses["address"], in_use) & ~addresses["cooling"] & ~windows]
    lost = [prefix(a) for a in in_use - set(addresses["address"])]
    active = [net for name, net in pool_prefixes(pools[~pools["disabled"]])]
    unallocated = sum(any(net.covers(a) for net in active) for a in lost)
    by_node = addresses["node"].fillna("").value_counts()
    matches = handle_problems(addresses, handles)["problem"].value_counts()
    values = {
        "blocks": len(blocks),
        "allocations": len(addresses),
        "active_pools": len(active),
        "node_tunnel_ips": len(tunnel_ips),
        "load_balancers": 0 if balancers is None else balancers["owner"].nunique(),
        "workload_ips": len(workloads),
        "in_use_ips": len(in_use | set(addresses[windows]["address"])),
        "max_node_allocations": by_node.iloc[0] if len(by_node) else 0,
        "median_node_allocations": by_node.iloc[len(by_node) // 2] if len(by_node) else 0,
        "allocated_not_in_use": unused["address"].nunique(),
        "in_use_not_in_pool": len(lost) - unallocated,
        "in_use_not_allocated": unallocated,
        "handles_without_ips": matches.get("orphan", 0),
        "handles_with_ips": handles["handle"].nunique() - matches.get("orphan", 0),
        "handles_missing": matches.get("missing", 0),
        "invalid_blocks": int(blocks["structure"].notna().sum()),
    }
    counted = ("allocated_not_in_use", "in_use_not_in_pool", "in_use_not_allocated", "handles_without_ips")
    values["problems"] = sum(values[c] for c in counted) + values["invalid_blocks"]
    return CHECK_REPORT.frame([{"figure": f, "value": int(values[f]), "meaning": m} for f, m in _MEANINGS.items()])

"""Checks of IPAM. What each finding is called and how loud it is stands in diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.cni.causes import POOLS_IN_ERROR
from calicokit.cni.checks import error_rows, named
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.ipam.owners import YOUNG
from calicokit.ipam.usage import DEFAULT_MAX_BLOCKS
from calicokit.kube.tables import pod_ref
from calicokit.net import Prefix, prefix
from calicokit.schema import cells, records

NEARLY = 0.85
MANY_HANDLES = 1000
BARRED = ("strict-affinity", "block-limit")
NO_ADDRESS = ("exhausted", *BARRED)
"""CNI errors of a pod without an address; if its pools have none left, the pool is exhausted whatever the error
says."""
PATIENCE = 30.0
"""Seconds after which a pod without a CNI error counts as waiting for an address."""


def _waits(waiting: pd.DataFrame, *causes: str) -> pd.DataFrame:
    """Pods with one of these errors, and pods without any error that have waited for a while."""
    silent = waiting["cause"].isna() & ~(waiting["seconds"] < PATIENCE)
    return waiting[waiting["cause"].isin(causes) | silent]


def _pod_rows(waiting: pd.DataFrame) -> Rows:
    keys = [{"namespace": r.namespace, "pod": r.pod} for r in records(waiting)]
    return Rows.of("pods", "ipam.waiting", keys)


def _names(waiting: pd.DataFrame) -> list[str]:
    return sorted(pod_ref(r) for r in records(waiting))


# ---- pools and what waits for them


@check(
    "ipam-exhausted",
    needs={"utilisation": "ipam.utilisation", "waiting": "ipam.waiting"},
    wants={"errors": "cni.errors"},
)
def exhausted(
    utilisation: pd.DataFrame, waiting: pd.DataFrame, errors: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """Pods wait for an address and every pool they can use is exhausted."""
    full = _waits(waiting[waiting["free"] == 0], *NO_ADDRESS)
    for pool in records(utilisation[~utilisation["disabled"]]):
        mine = full[[pool.pool in (pools or []) for pools in full["pools"]]]
        if not len(mine):
            continue
        reserved = f", {pool.reserved:.0f} are reserved" if pool.reserved == pool.reserved and pool.reserved else ""
        yield finding(
            "ipam-exhausted",
            subject={"pool": pool.pool},
            cause=f"Pool {pool.pool} ({pool.cidr}) has no free address: {pool.allocated} of {pool.capacity:.0f} are "
            f"in use{reserved}; {named(_names(mine))}.",
            remedy="Add an IP pool (no node needs a restart), or free addresses: scale down, or release leaked "
            "addresses (ipam.release_plan). The CIDR and block size of a pool cannot be changed.",
            evidence=[
                Rows.of("ipamblocks", "ipam.utilisation", [{"pool": pool.pool}]),
                _pod_rows(mine),
                *([] if errors is None else error_rows(errors.merge(mine[["namespace", "pod"]]))),
            ],
        )


@check(
    "ipam-exhausted",
    needs={"errors": "cni.errors"},
    wants={"waiting": "ipam.waiting", "utilisation": "ipam.utilisation", "pools": "ipam.pools"},
)
def exhausted_by_word(
    errors: pd.DataFrame,
    waiting: pd.DataFrame | None = None,
    utilisation: pd.DataFrame | None = None,
    pools: pd.DataFrame | None = None,
) -> Iterator[Finding]:
    """Every pool is exhausted, by the CNI plugin's error, where the IPAM objects are unknown."""
    if waiting is not None and utilisation is not None:
        return
    full = errors[errors["open"] & (errors["cause"] == "exhausted")]
    by_cidr = {} if pools is None else dict(cells(pools, "cidr", "pool"))
    tried = full.assign(cidr=[(m["pools"] if (m := POOLS_IN_ERROR.search(e)) else UNKNOWN) for e in full["error"]])
    for cidrs, group in tried.groupby("cidr"):
        name = by_cidr.get(cidrs, UNKNOWN)
        yield finding(
            "ipam-exhausted",
            subject={"pool": name},
            cause=f"The CNI plugin found no free address in {cidrs} on {', '.join(sorted(set(group['node'].dropna())))}"
            f"; {named(_names(group))}.",
            remedy="Add an IP pool or free addresses; list ippools, ipamblocks and pods to see what uses it.",
            evidence=error_rows(group),
        )


@check(
    "ipam-nearly-exhausted",
    needs={"utilisation": "ipam.utilisation"},
    wants={"waiting": "ipam.waiting", "config": "ipam.config"},
    printed=("ipam.utilisation", "ipam.config"),
)
def nearly_exhausted(
    utilisation: pd.DataFrame, waiting: pd.DataFrame | None = None, config: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """A pool that is used above 85 %, or, under strictAffinity, has no whole block left to claim."""
    strict = config is not None and bool(config["strict_affinity"].iloc[0])
    needed = [] if waiting is None else list(_waits(waiting[waiting["free"] == 0], *NO_ADDRESS)["pools"])
    for pool in records(utilisation[~utilisation["disabled"].fillna(False)]):
        if any(pool.pool in (pools or []) for pools in needed):
            continue  # exhausted
        no_block = strict and pool.blocks_unclaimed == 0 and pool.blocks_empty == 0
        if pool.used <= NEARLY and not no_block:
            continue
        why = (
            "strictAffinity forbids borrowing and no whole block is left to claim"
            if no_block
            else "no pod is waiting yet"
            if waiting is not None
            else "whether pods wait for one is not known"
        )
        yield finding(
            "ipam-nearly-exhausted",
            subject={"pool": pool.pool},
            cause=f"Pool {pool.pool} ({pool.cidr}) is {pool.used:.0%} in use, {pool.free:.0f} addresses are free; "
            f"{why}.",
            remedy="Add an IP pool before it is full; ipam.forecast estimates when, given samples.",
            evidence=[Rows.of("ipamblocks", "ipam.utilisation", [{"pool": pool.pool}])],
        )


@check(
    "ipam-strict-affinity-full",
    needs={"waiting": "ipam.waiting"},
    wants={"config": "ipam.config", "node_use": "ipam.node_utilisation"},
)
def strict_affinity_full(
    waiting: pd.DataFrame, config: pd.DataFrame | None = None, node_use: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """Pods wait on a node that cannot allocate from pools which still have free addresses."""
    barred = waiting["cause"].isin(BARRED) & ~(waiting["free"] == 0)
    silent = waiting["cause"].isna() & (waiting["seconds"] >= PATIENCE)
    computed = silent & (waiting["free"] > 0) & (waiting["assignable"] == 0)
    limit = DEFAULT_MAX_BLOCKS if config is None else int(config["max_blocks_per_host"].iloc[0]) or DEFAULT_MAX_BLOCKS
    owned = {} if node_use is None else node_use.groupby("node")["blocks"].max().to_dict()
    for node, group in waiting[barred | computed].groupby("node"):
        at_limit = owned.get(node, 0) >= limit or (group["cause"] == "block-limit").any()
        why = (
            f"it owns {owned.get(node, limit)} of at most {limit} blocks (maxBlocksPerHost)"
            if at_limit
            else ("strictAffinity forbids borrowing, its own blocks are full and no whole block is left")
        )
        free = group["free"].max()
        left = (
            f"its pools still have {free:.0f} free addresses" if free == free else "its pools may have free addresses"
        )
        yield finding(
            "ipam-strict-affinity-full",
            subject={"node": node},
            cause=f"{node} cannot allocate an address although {left}: {why}; {named(_names(group))}.",
            remedy="Raise maxBlocksPerHost (requires strictAffinity), or spread the pods over more nodes."
            if at_limit
            else "Add a pool, free whole blocks, or, without Windows nodes, disable strictAffinity.",
            evidence=[_pod_rows(group), Rows.of("ipamconfigs", "ipam.node_utilisation", [{"node": node}])],
        )


@check("ippool-disabled", needs={"waiting": "ipam.waiting", "pools": "ipam.pools"}, wants={"choices": "ipam.pod_pools"})
def pool_disabled(waiting: pd.DataFrame, pools: pd.DataFrame, choices: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Pods wait without a usable pool, and a disabled pool would serve them."""
    stuck = _waits(waiting[_without_pool(waiting)], "no-pool", "no-qualified-pool", "pool-not-enabled")
    if choices is None or not len(stuck):
        return
    would = stuck[["namespace", "pod"]].merge(choices[choices["why"].eq("disabled")], on=["namespace", "pod"])
    for pool, group in would.groupby("pool"):
        cidr = pools.loc[pools["pool"] == pool, "cidr"].iloc[0]
        by_name = "requests it by name" if (group["asked_by"] != "selectors").any() else "has no other enabled pool"
        yield finding(
            "ippool-disabled",
            subject={"pool": pool},
            cause=f"Pool {pool} ({cidr}) is disabled, and the pod or namespace {by_name}; {named(_names(group))}.",
            remedy=f"Enable it: set spec.disabled of IPPool {pool} to false; or add an enabled pool for these pods.",
            evidence=[_pod_rows(group), Rows.of("ippools", "ipam.pools", [{"pool": pool}])],
        )


def _without_pool(waiting: pd.DataFrame) -> pd.Series[bool]:
    return pd.Series([isinstance(p, list) and not p for p in waiting["pools"]], index=waiting.index, dtype=bool)


@check("ippool-nodeselector", needs={"waiting": "ipam.waiting", "pools": "ipam.pools", "node_pools": "ipam.node_pools"})
def pool_node_selector(waiting: pd.DataFrame, pools: pd.DataFrame, node_pools: pd.DataFrame) -> Iterator[Finding]:
    """Pods wait on nodes that no enabled pool's nodeSelector matches."""
    stuck = _waits(waiting[_without_pool(waiting)], "no-pool", "no-qualified-pool")
    for version, group in stuck.groupby("version"):
        enabled = pools[~pools["disabled"] & (pools["version"] == version)]["pool"]
        left_out = node_pools[node_pools["pool"].isin(enabled) & node_pools["why"].fillna("").str.startswith("nodeSel")]
        usable = node_pools[node_pools["usable"] & (node_pools["version"] == version)]["node"]
        nodes = sorted(set(group["node"]) & set(left_out["node"]) - set(usable))
        if not nodes:
            continue
        barred = left_out[left_out["node"].isin(nodes)].drop_duplicates("pool")
        mine = group[group["node"].isin(nodes)]
        yield finding(
            "ippool-nodeselector",
            subject={"pool": ", ".join(sorted(barred["pool"])), "nodes": nodes},
            cause=f"No enabled IPv{version} pool's nodeSelector matches {', '.join(nodes[:3])}: "
            + "; ".join(f"{r.pool}: {r.why}" for r in records(barred))
            + f"; {named(_names(mine))}.",
            remedy="Label the nodes to match the selector, change the pool's nodeSelector, or add a pool for them.",
            evidence=[
                _pod_rows(mine),
                Rows.of(
                    "ippools",
                    "ipam.node_pools",
                    [{"node": r.node, "pool": r.pool} for r in records(left_out[left_out["node"].isin(nodes)])],
                ),
            ],
        )


# ---- addresses


@check(
    "ipam-duplicate",
    needs={"duplicates": "ipam.duplicates"},
    wants={"allocations": "ipam.allocations", "use": "ipam.utilisation"},
    printed=("ipam.duplicates", "ipam.utilisation"),
)
def duplicate(
    duplicates: pd.DataFrame, allocations: pd.DataFrame | None = None, use: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """One address used by several owners."""
    nets = None if use is None else [prefix(str(cidr)) for cidr in use["cidr"]]
    for row in records(duplicates):
        recorded = (
            f"IPAM allocated it to {row.allocated_to}"
            if isinstance(row.allocated_to, str)
            else _elsewhere(row.address, nets)
            if allocations is None
            else "IPAM has it unallocated"
        )
        yield finding(
            "ipam-duplicate",
            subject={"address": row.address, "owners": row.owners},
            cause=f"{row.address} is used by {' and '.join(row.owners)} (on {', '.join(row.nodes)}); {recorded}.",
            remedy="Delete the pod that is not the IPAM owner, so that it gets its own address. Do not release the "
            "address: the next pod would get it too.",
            evidence=[Rows.of("pods", "ipam.duplicates", [{"address": row.address}])],
            about=row.blocks,
        )


def _elsewhere(address: str, nets: list[Prefix] | None) -> str:
    """What is known of an address where IPAM's records are not."""
    if nets and not any(net.covers(prefix(address)) for net in nets):
        return (
            "no IP pool holds it, so that these pods have their network from something else than Calico: another CNI "
            "plugin, or a runtime that uses none (172.17.0.0/16 is docker0's)"
        )
    return "to whom IPAM allocated it is not known"


@check(
    "ipam-unallocated-in-use",
    needs={"unallocated": "ipam.unallocated"},
    absence=True,
    printed=("ipam.unallocated",),
)
def unallocated(unallocated: pd.DataFrame) -> Iterator[Finding]:
    """An address in use inside a pool, that no block has allocated: the next pod may get it too."""
    for row in records(unallocated):
        block = f"block {row.block} has it as free" if isinstance(row.block, str) else "no block has it allocated"
        pool = f" of pool {row.pool}" if isinstance(row.pool, str) else ""
        doubt = "" if row.certain else " (the lists were not taken at the same moment, so this may be a race)"
        yield finding(
            "ipam-unallocated-in-use",
            severity="" if row.certain else "info",
            subject={"address": row.address, "owner": row.owner},
            cause=f"{row.address}{pool} is used by {row.owner}, but {block}{doubt}.",
            remedy=f"Delete {row.owner}, so that it gets an address from IPAM; until then IPAM can allocate it to "
            "another pod."
            if row.kind == "pod"
            else "Restart calico-node on the node, so that it allocates the address again.",
            evidence=[Rows.of("ipamblocks", "ipam.unallocated", [{"address": row.address, "owner": row.owner}])],
        )


@check(
    "ipam-leak",
    needs={"allocations": "ipam.allocations", "pods": "kube.pods"},
    wants={"duplicates": "ipam.duplicates", "nodes": "kube.nodes"},
    absence=True,
)
def leak(
    allocations: pd.DataFrame,
    pods: pd.DataFrame,
    duplicates: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
) -> Iterator[Finding]:
    """Addresses allocated to pods that do not exist or use another address, grouped by cause."""
    leaked = allocations[(allocations["state"] == "leaked") & (allocations["type"] == "pod")]
    disputed = set() if duplicates is None else {o for owners in duplicates["owners"] for o in owners}
    young = leaked["age"] < YOUNG.total_seconds()
    why = pd.Series("alone", index=leaked.index)
    if nodes is not None:
        why[~leaked["node"].isin(nodes["node"])] = "node gone"
    why[leaked["owner"].isin(disputed)] = "left behind"
    groups = leaked.assign(pool=leaked["pool"].fillna(UNKNOWN), young=young, cause=why)
    for (pool, is_young, cause), group in groups.groupby(["pool", "young", "cause"]):
        yield leak_of(str(pool), group, bool(is_young), str(cause))


LEAK_REMEDIES = {
    "alone": "kube-controllers releases leaks after its grace period, if it runs; by hand: ipam.release_plan.",
    "left behind": "Resolve the duplicate address first; this leak is its consequence.",
    "node gone": "Check that kube-controllers runs: it releases a removed node's addresses; by hand: "
    "ipam.release_plan.",
}


def leak_of(pool: str, group: pd.DataFrame, young: bool, cause: str) -> Finding:
    """The finding of some addresses of a pool, leaked for one of :data:`LEAK_REMEDIES`."""
    addresses = sorted(group["address"])
    why = "; ".join(f"{n} × {w}" for w, n in group["why"].value_counts().items())
    owners = f"{addresses[0]} of {group['owner'].iloc[0]}" if len(group) == 1 else ", ".join(addresses[:3])
    keys = [{"block": r.block, "address": r.address} for r in records(group)]
    return finding(
        "ipam-leak",
        severity="info" if young else "",
        subject={"pool": pool, "addresses": addresses},
        cause=f"{len(addresses)} address{'es' if len(addresses) > 1 else ''} of pool {pool} allocated but not in use "
        f"({why}): {owners}{' …' if len(addresses) > 3 else ''}"
        + (", allocated less than a minute ago." if young else "."),
        remedy=LEAK_REMEDIES[cause],
        evidence=[Rows.of("ipamblocks", "ipam.allocations", keys)],
        about={*group["owner"], *group["block"]} if cause != "alone" else (),
    )


@explains("ipam-duplicate", "ipam-leak")
def _left_behind(cause: Finding, effect: Finding) -> bool:
    """The pod that took another's address left its own behind."""
    return not effect.about.isdisjoint(cause.subject["owners"])


@explains("ipam-affinity-stale", "ipam-leak")
def _of_a_gone_node(cause: Finding, effect: Finding) -> bool:
    """A removed node's blocks and the addresses in them."""
    return not effect.about.isdisjoint(cause.subject["blocks"])


@explains("ipam-block-overlap", "ipam-invalid-block")
def _made_by_hand(cause: Finding, effect: Finding) -> bool:
    """A block that Calico would not have made, as it covers another's addresses."""
    return effect.subject["block"] in (cause.subject["block"], cause.subject["with"])


@explains("ipam-block-overlap", "ipam-duplicate")
def _given_twice(cause: Finding, effect: Finding) -> bool:
    return {cause.subject["block"], cause.subject["with"]} <= effect.about


@check(
    "ipam-borrowed",
    needs={"borrowed": "ipam.borrowed"},
    wants={"duplicates": "ipam.duplicates", "allocations": "ipam.allocations"},
)
def borrowed(
    borrowed: pd.DataFrame, duplicates: pd.DataFrame | None = None, allocations: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """A node uses addresses of another's block; normal, and announced by a /32 route."""
    for (node, block), group in borrowed.groupby(["node", "block"]):
        owner = group["block_node"].iloc[0]
        count = f"{len(group)} address{'es' if len(group) > 1 else ''}"
        yield finding(
            "ipam-borrowed",
            subject={"node": node, "block": block},
            cause=f"{node} uses {count} of block {block}, owned by {owner if isinstance(owner, str) else 'no node'}.",
            remedy="No action needed: nodes borrow when no free block is left for them. A larger pool or smaller "
            "blocks avoid it.",
            evidence=[Rows.of("ipamblocks", "ipam.borrowed", [{"address": a} for a in group["address"]])],
        )


# ---- objects that do not agree


@check("ipam-block-overlap", "ipam-invalid-block", needs={"problems": "ipam.block_problems"})
def block_problems(problems: pd.DataFrame) -> Iterator[Finding]:
    """Blocks that overlap, or that are not as Calico makes them."""
    overlaps = problems[problems["problem"] == "overlap"]
    for block, other in cells(overlaps, "block", "with"):
        yield finding(
            "ipam-block-overlap",
            subject={"block": block, "with": other},
            cause=f"Blocks {block} and {other} cover the same addresses, so an address can be allocated twice.",
            remedy="Keep the one that matches the pool's block size; move the pods off the other and release it.",
            evidence=[Rows.of("ipamblocks", "ipam.blocks", [{"block": block}, {"block": other}])],
        )
    for name, group in problems[problems["problem"] != "overlap"].groupby("block"):
        block = str(name)
        yield finding(
            "ipam-invalid-block",
            subject={"block": block},
            cause=f"Block {block}: {'; '.join(group['detail'])}.",
            remedy="Restore its pool, or move its pods so that it is released; never edit a block by hand.",
            evidence=[
                Rows.of("ipamblocks", "ipam.block_problems", [{"block": block, "problem": p} for p in group["problem"]])
            ],
        )


@check("ipam-affinity-stale", needs={"stale": "ipam.stale_affinities"}, absence=True)
def stale_affinities(stale: pd.DataFrame) -> Iterator[Finding]:
    """Blocks with an affinity to a removed node, or stuck in pending or pendingDeletion."""
    for node, group in stale.groupby("node"):
        yield finding(
            "ipam-affinity-stale",
            subject={"node": node, "blocks": list(group["block"])},
            cause=f"{len(group)} block{'s have' if len(group) > 1 else ' has'} a stale affinity to {node}: "
            f"{', '.join(sorted(set(group['why'])))}; {group['allocated'].sum()} addresses in them are allocated.",
            remedy="calico-kube-controllers releases a removed node's blocks; check that it runs and read its log. "
            "By hand: calicoctl ipam check, then calicoctl ipam release --from-report.",
            evidence=[
                Rows.of("blockaffinities", "ipam.affinities", [{"node": node, "block": b} for b in group["block"]])
            ],
        )


@check(
    "ipam-orphan-handle",
    "ipam-missing-handle",
    needs={"problems": "ipam.handle_problems", "allocations": "ipam.allocations"},
    absence=True,
)
def handles(problems: pd.DataFrame, allocations: pd.DataFrame) -> Iterator[Finding]:
    """Handles without allocations, and allocations without handles."""
    orphans = problems[problems["problem"] == "orphan"]["handle"]
    severity = "warning" if len(orphans) >= MANY_HANDLES else ""
    for handle in orphans if not severity else orphans[:1]:
        count = f"{len(orphans)} handles have" if severity else f"Handle {handle} has"
        yield finding(
            "ipam-orphan-handle",
            severity=severity,
            subject={"handle": handle},
            cause=f"{count} no allocation.",
            remedy="Harmless; large numbers slow IPAM down: calicoctl ipam check, then release --from-report.",
            evidence=[Rows.of("ipamhandles", "ipam.handle_problems", [{"handle": h} for h in orphans])],
        )
    old = allocations[allocations["state"].isin(["in-use", "unknown"]) & ~(allocations["age"] < YOUNG.total_seconds())]
    for row in records(problems[problems["problem"] == "missing"]):
        if not set(row.addresses) & set(old["address"]):
            continue  # coming or going while the lists were taken
        yield finding(
            "ipam-missing-handle",
            subject={"handle": row.handle, "addresses": row.addresses},
            cause=f"{', '.join(row.addresses[:3])} refer to handle {row.handle}, which does not exist: the CNI plugin "
            "cannot release them when the pod is deleted.",
            remedy="Delete and recreate the pod; then release the leftover addresses (ipam.release_plan).",
            evidence=[Rows.of("ipamhandles", "ipam.handle_problems", [{"handle": row.handle}])],
        )


# ---- pools as they are configured


@check("ippool-overlap", needs={"overlaps": "ipam.pool_overlaps"})
def pool_overlap(overlaps: pd.DataFrame) -> Iterator[Finding]:
    """Pools that overlap each other, nodes' addresses or service addresses."""
    for pool, other, why in cells(overlaps, "pool", "with", "why"):
        yield finding(
            "ippool-overlap",
            subject={"pool": pool, "with": other},
            cause=f"Pool {pool} overlaps {other}: {why}.",
            remedy="Add a pool with a non-overlapping CIDR, disable the overlapping one, and recreate its pods.",
            evidence=[Rows.of("ippools", "ipam.pool_overlaps", [{"pool": pool, "with": other}])],
        )


@check(
    "nat-outgoing-off", needs={"pools": "ipam.pools"}, wants={"blocks": "ipam.blocks", "peers": "bgp.external_peers"}
)
def nat_outgoing_off(
    pools: pd.DataFrame, blocks: pd.DataFrame | None = None, peers: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """Pods leave without SNAT: a warning where no external router learns the return route.

    For IPv6 it is Calico's default and stays info; a pool without blocks has no pods.
    """
    used = set(pools["pool"]) if blocks is None else set(blocks["pool"].dropna())
    off = pools[~pools["nat_outgoing"] & pools["pool"].isin(used)]
    for pool in records(off[["Workload" in uses for uses in off["allowed_uses"]]]):
        told = peers is None or (len(peers) > 0 and bool(pool.bgp_export))
        unreachable = not told and pool.version == 4
        yield finding(
            "nat-outgoing-off",
            severity="warning" if unreachable else "",
            subject={"pool": pool.pool},
            cause=f"Pods of pool {pool.pool} ({pool.cidr}) leave the cluster with their own source address "
            "(natOutgoing is off)"
            + (", and no external router learns the return route by BGP." if unreachable else "."),
            remedy="Set natOutgoing: true, or peer with an external router (BGPPeer) so that it routes the pool."
            if unreachable
            else "No action needed if the external network routes the pool.",
            evidence=[Rows.of("ippools", "ipam.pools", [{"pool": pool.pool}])],
        )

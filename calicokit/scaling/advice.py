"""Advice for large clusters: each with the numbers that asked for it, none where nothing asks.

Where a figure stands as a threshold, its source is named. Advice is no finding: nothing is wrong where it is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.felix.checks import needed_typhas
from calicokit.felix.configuration import in_force
from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, cells, records
from calicokit.words import listed, number, plural

ADVICE = Schema(
    "scaling.advice",
    "What would help this cluster as it grows, and the numbers that say so. Empty where nothing asks for a change.",
    (
        Column("topic", "str", "typha, felix-refresh, policy-cost, block-size, route-reflectors or dataplane"),
        Column("advice", "str", "what to do"),
        Column("because", "str", "the numbers that ask for it"),
        Column("value", "float", "the number that counts most"),
        Column("limit", "float", "what it is held against"),
        Column("unit", "str", "unit of both"),
        Column("nodes", "list", "nodes that it is about; empty for the whole cluster"),
        Column("tables", "list", "tables that the numbers stand in"),
        Column("source", "str", "where the limit is from"),
    ),
    key=("topic", "advice"),
)

SMALL = 50
"""Nodes up to which Felix may watch the API server itself (Calico's installation guide, "more than 50 nodes")."""
MESH = 100
"""Nodes up to which a full mesh is advised (Calico's guide to BGP peering)."""
LAG = 1.0
"""Seconds for which the calculation graph may take at its slowest; a change should be programmed within seconds."""
APPLY = 1.0
"""Seconds that programming a change may take at its tail (p99) before many rules are worth a word."""
RULES = 20_000
"""iptables rules of a node above which a write of the whole table takes seconds (`python -m benchmarks.dataplane` has
the sizes; the kernel replaces a table as a whole)."""
BUSY = 0.8
"""Share of the processors that Felix may use: of its limit, else of what it asks for."""
SHORTER = {f"{what}RefreshInterval": 90.0 for what in ("iptables", "nftables", "route", "ipSets")}
"""Intervals, with what no version's default is below (felix/config/config_params.go, v3.26 to HEAD)."""
BLOCKS_EACH = 4
"""Blocks of one pool on a node above which larger blocks are worth a word: each is a route on every other node."""
EMPTY = 0.1
"""Fill of blocks below which they are larger than nodes need."""
CLAIMED = 0.7
"""Share of a pool's blocks that is claimed, above which its next node may find none."""


MEASURES = Schema(
    "scaling.measures",
    "How large the cluster is, beside the sizes from which advice is given; unknown measures are left out.",
    (
        Column("topic", "str", "topic of the advice"),
        Column("measure", "str", "what is measured"),
        Column("value", "float", "the largest value"),
        Column("limit", "float", "from where on there may be advice"),
        Column("unit", "str", "unit of both"),
        Column("share", "float", "value / limit"),
        Column("where", "str", "node that it was seen on; null for the whole cluster"),
    ),
    key=("topic", "measure"),
)


Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class _Seen:
    """What the cluster showed; each may be None."""

    nodes: pd.DataFrame | None
    typha: pd.DataFrame | None
    apply: pd.DataFrame | None
    resources: pd.DataFrame | None
    activity: pd.DataFrame | None
    configuration: pd.DataFrame | None
    blocks: pd.DataFrame | None
    pools: pd.DataFrame | None
    bgp: pd.DataFrame | None
    use: pd.DataFrame | None
    backends: pd.DataFrame | None


INPUTS = (
    *("kube.nodes", "felix.typha", "felix.apply_times", "felix.resources", "felix.activity"),
    *("felix.configuration", "ipam.blocks", "ipam.pools", "bgp.configuration", "bgp.use", "dataplane.backends"),
)


@table(ADVICE, wants=INPUTS)
def advice(*tables: pd.DataFrame | None) -> pd.DataFrame:
    """One row each; see :data:`ADVICE`."""
    seen = _Seen(*tables)
    if all(t is None for t in tables):
        raise UnseenError("nothing that advice rests on was seen")
    return ADVICE.frame([row for ask in ASKED for row in ask(seen)])


@table(MEASURES, wants=INPUTS)
def measures(*tables: pd.DataFrame | None) -> pd.DataFrame:
    """One row each; see :data:`MEASURES`."""
    seen = _Seen(*tables)
    if all(t is None for t in tables):
        raise UnseenError("nothing that could be measured was seen")
    return MEASURES.frame([r | {"share": r["value"] / r["limit"]} for r in _measured(seen) if pd.notna(r["value"])])


def _measured(seen: _Seen) -> Rows:
    count = None if seen.nodes is None else len(seen.nodes)
    if count is not None and seen.typha is not None:
        row = next(records(seen.typha), None)
        replicas = 0 if row is None or pd.isna(row.replicas) else int(row.replicas)
        what, limit = ("nodes for each Typha", 200.0) if replicas else ("nodes without a Typha", float(SMALL))
        yield _measure("typha", what, count / (replicas or 1), limit, "nodes")
    if count is not None and seen.bgp is not None and seen.use is not None:
        used = seen.use["in_use"].iloc[0]
        if pd.notna(used) and used and bool(seen.bgp["mesh"].iloc[0]):
            yield _measure("route-reflectors", "nodes in a full mesh", count, MESH, "nodes")
    if seen.apply is not None:
        for topic, name, column, limit in (
            ("policy-cost", "working out a change (p99)", "lag_p99", LAG),
            ("dataplane", "programming a change (p99)", "p99", APPLY),
        ):
            yield from _largest(topic, name, seen.apply.set_index("node")[column].astype("float"), limit, "s")
    if seen.blocks is not None:
        each = seen.blocks[seen.blocks["node"].notna()].groupby(["pool", "node"]).size().groupby("node").max()
        yield from _largest("block-size", "blocks of one pool on a node", each, BLOCKS_EACH, "blocks")
    if seen.backends is not None:
        yield from _largest("dataplane", "iptables rules on a node", _rules(seen.backends), RULES, "rules")


def _measure(topic: str, name: str, value: float, limit: float, unit: str, where: str | None = None) -> dict[str, Any]:
    return {"topic": topic, "measure": name, "value": value, "limit": limit, "unit": unit, "where": where}


def _largest(topic: str, name: str, values: pd.Series[Any], limit: float, unit: str) -> Rows:
    known = values.dropna()
    if len(known):
        yield _measure(topic, name, float(known.max()), limit, unit, str(known.idxmax()))


def _rules(backends: pd.DataFrame) -> pd.Series[Any]:
    """Node → rules of Calico and kube-proxy in iptables."""
    tables = backends[backends["backend"].isin(["nft", "legacy"])]
    return (tables["calico"] + tables["kube_proxy"]).groupby(tables["node"]).sum()


def _typha(seen: _Seen) -> Rows:
    """Typha, where the API server has many Felixes to serve; more of it, where few serve many."""
    if seen.nodes is None or seen.typha is None:
        return
    count = len(seen.nodes)
    row = next(records(seen.typha), None)
    replicas = 0 if row is None or pd.isna(row.replicas) else int(row.replicas)
    absent = row is None or not (replicas or row.pods or (pd.notna(row.configured) and row.configured))
    source = "Calico's installation guide; one for each 200 nodes, three above 100"
    base = {"topic": "typha", "unit": "nodes", "tables": ["kube.nodes", "felix.typha"], "source": source}
    if absent and count > SMALL:
        yield base | {
            "advice": f"Deploy Typha with {plural(needed_typhas(count), 'replica')}.",
            "because": f"{plural(count, 'node')} watch the API server, each for itself.",
            "value": count,
            "limit": SMALL,
        }
    elif replicas and replicas < needed_typhas(count):
        yield base | {
            "advice": f"Run {needed_typhas(count)} replicas of Typha.",
            "because": f"{plural(replicas, 'replica')} for {plural(count, 'node')}, "
            f"{number(count / replicas)} nodes each.",
            "value": count / replicas,
            "limit": 200.0,
            "unit": "nodes each",
        }


def _refresh(seen: _Seen) -> Rows:
    """Longer intervals of repair, where they were made short and Felix is short of processor time."""
    if seen.configuration is None or seen.resources is None:
        return
    busy = _busy(seen.resources)
    short: dict[str, float] = {}
    for name, most in SHORTER.items():
        set_ = in_force(seen.configuration, name)
        times = [t for n in busy if (t := _seconds(set_.get(n))) and t < most]
        short |= {name: min(times)} if times else {}
    if short:
        said = listed(f"{name} is {number(s)} s" for name, s in short.items())
        node, share = max(busy.items(), key=lambda item: item[1])
        yield {
            "topic": "felix-refresh",
            "advice": f"Take {listed(short)} back to the default: they only repair what others changed.",
            "because": f"{said}, and Felix on {node} uses {share:.0%} of the processors that it may "
            f"({plural(len(busy), 'node')} above {BUSY:.0%}).",
            "value": min(short.values()),
            "limit": min(SHORTER[f] for f in short),
            "unit": "s",
            "nodes": sorted(busy),
            "tables": ["felix.configuration", "felix.resources"],
            "source": "felix/config/config_params.go",
        }


def _seconds(text: str | None) -> float | None:
    """A Go duration, or a plain number, in seconds; None for none, or for one that is off (0)."""
    try:
        if text and text.isdigit():
            return float(text) or None
        return pd.Timedelta(text).total_seconds() or None if text else None
    except ValueError:
        return None


def _busy(resources: pd.DataFrame) -> dict[str, float]:
    """Node → share of its processors that Felix uses, where that is a lot."""
    mine = resources[resources["component"] == "calico-node"]
    found = {}
    for node, used, mean, limit, asked in cells(
        mine, "node", "processor", "processor_mean", "processor_limit", "processor_request"
    ):
        most = limit if pd.notna(limit) else asked
        now = used if pd.notna(used) else mean
        if isinstance(node, str) and pd.notna(most) and pd.notna(now) and most > 0 and now / most >= BUSY:
            found[node] = float(now / most)
    return found


def _policy(seen: _Seen) -> Rows:
    """Fewer or simpler selectors, where Felix's calculation takes long."""
    if seen.apply is None or seen.activity is None:
        return
    slow = seen.apply[seen.apply["lag_p99"] >= LAG]
    if not len(slow):
        return
    worst = slow.sort_values("lag_p99").iloc[-1]
    mine = seen.activity[(seen.activity["node"] == worst["node"]) & seen.activity["measure"].isin(SIZES)]
    sizes = listed(f"{number(v)} {m}" for m, v in cells(mine, "measure", "value"))
    yield {
        "topic": "policy-cost",
        "advice": "Let policies select by namespace and by few labels, and put what is for all pods into one "
        "GlobalNetworkPolicy: every selector is asked again for every change of labels.",
        "because": f"Felix on {worst['node']} takes up to {worst['lag_p99']:.1f} s (p99) to work out a change"
        + (f", with {sizes}." if sizes else "."),
        "value": float(worst["lag_p99"]),
        "limit": LAG,
        "unit": "s",
        "nodes": sorted(slow["node"].dropna()),
        "tables": ["felix.apply_times", "felix.activity"],
        "source": "a change should be programmed within seconds",
    }


SIZES = ("policies", "selectors", "endpoints")


def _blocks(seen: _Seen) -> Rows:
    """Another block size, where nodes hold many blocks, or nearly empty ones of a pool that runs out of them."""
    if seen.blocks is None or seen.pools is None:
        return
    owned = seen.blocks[seen.blocks["node"].notna()]
    pools = {p.pool: p for p in records(seen.pools) if not p.disabled}
    for name, mine in owned.groupby("pool"):
        pool = pools.get(str(name))
        if pool is None:
            continue
        each, fill = mine.groupby("node").size(), float(mine["allocated"].sum() / mine["size"].sum())
        bits = int(pool.block_size)
        widest = 32 if pool.version == 4 else 128
        if each.median() >= BLOCKS_EACH:
            yield _larger(str(name), bits, each, widest)
        elif pd.notna(pool.blocks_total) and fill < EMPTY and len(mine) / pool.blocks_total > CLAIMED:
            yield {
                "topic": "block-size",
                "advice": f"Give the nodes smaller blocks: a new pool with a blockSize above {bits}.",
                "because": f"Of pool {name} {len(mine) / pool.blocks_total:.0%} of all blocks are claimed "
                f"({len(mine)} of {pool.blocks_total:.0f}), and they are {fill:.0%} full.",
                "value": len(mine) / pool.blocks_total,
                "limit": CLAIMED,
                "unit": "of its blocks",
                "tables": ["ipam.blocks", "ipam.pools"],
                "source": "a node that finds no block borrows single addresses, or gets none under strictAffinity",
            }


def _larger(pool: str, bits: int, each: pd.Series[int], widest: int) -> dict[str, Any]:
    wanted = max(bits - 2, widest - 8)
    return {
        "topic": "block-size",
        "advice": f"Give the nodes larger blocks: a new pool with a blockSize of {wanted} (a pool's cannot change).",
        "because": f"Nodes hold {number(float(each.median()))} blocks of pool {pool} (/{bits}) in the median, "
        f"{int(each.max())} at most: {int(each.sum())} routes on every node, and each claim asks the API server.",
        "value": float(each.median()),
        "limit": float(BLOCKS_EACH),
        "unit": "blocks",
        "tables": ["ipam.blocks", "ipam.pools"],
        "source": "libcalico-go/lib/ipam: a block is claimed when the node's others are full",
    }


def _reflectors(seen: _Seen) -> Rows:
    """Route reflectors, where a mesh has many nodes."""
    if seen.nodes is None or seen.bgp is None or seen.use is None:
        return
    count, used = len(seen.nodes), seen.use["in_use"].iloc[0]
    if pd.notna(used) and used and bool(seen.bgp["mesh"].iloc[0]) and count > MESH:
        yield {
            "topic": "route-reflectors",
            "advice": "Peer the nodes with two or more route reflectors, and switch the mesh off.",
            "because": f"{plural(count, 'node')} in a full mesh hold {count * (count - 1) // 2:,} sessions, "
            f"{count - 1} on each node.",
            "value": count,
            "limit": MESH,
            "unit": "nodes",
            "tables": ["kube.nodes", "bgp.configuration"],
            "source": "Calico's guide to BGP peering: a mesh for up to 100 nodes",
        }


def _dataplane(seen: _Seen) -> Rows:
    """nftables or eBPF, where iptables' tables are large and writing them is slow."""
    if seen.backends is None or seen.apply is None:
        return
    rules = _rules(seen.backends)
    tail = seen.apply.groupby("node")["p99"].max()
    slow = [n for n in rules.index if rules[n] >= RULES and tail.get(n, 0.0) >= APPLY]
    if slow:
        worst = max(slow, key=lambda n: float(tail[n]))
        yield {
            "topic": "dataplane",
            "advice": "Think of the nftables mode (v3.29 and later, with that of kube-proxy) or of eBPF: both look "
            "rules up "
            "instead of walking them, and write what changed instead of whole tables.",
            "because": f"{worst} has {int(rules[worst]):,} iptables rules, and programming a change takes "
            f"{tail[worst]:.1f} s there (p99).",
            "value": float(rules[worst]),
            "limit": float(RULES),
            "unit": "rules",
            "nodes": sorted(slow),
            "tables": ["dataplane.backends", "felix.apply_times"],
            "source": "iptables-restore replaces a table as a whole",
        }


ASKED = (_typha, _reflectors, _refresh, _policy, _blocks, _dataplane)
"""What is asked for, in the order of the answers."""

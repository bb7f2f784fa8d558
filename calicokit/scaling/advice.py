"""Advice on scaling: each with the numbers that asked for it, and none where no number does.

What each advice rests on stands beside it, in its ``source``. A limit is a rule of thumb, not a cliff: it says from
where on an experienced operator would look, and the numbers are shown so that one can think otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.felix.checks import needed_typhas
from calicokit.felix.state.configuration import defaults_of, in_force, seconds
from calicokit.registry import table
from calicokit.schema import Column, Schema, records
from calicokit.sentences import first_upper, listed, number, plural

ADVICE = Schema(
    "scaling.advice",
    "Scaling advice with the number behind it; no rows if nothing needs to change.",
    (
        Column("advice", "str", "typha, refresh-interval, policy-cost, block-size, route-reflectors, dataplane"),
        Column("about", "str", "cluster, a pool, or a field of FelixConfiguration"),
        Column("says", "str", "recommendation"),
        Column("because", "str", "reason, with the numbers"),
        Column("measured", "float", "measured value", "as the column unit says"),
        Column("limit", "float", "threshold", "as the column unit says"),
        Column("unit", "str", "unit of measured value and threshold"),
        Column("table", "str", "table of the measured value"),
        Column("source", "str", "source of the threshold"),
    ),
    key=("advice", "about"),
)

MOST_TYPHAS = 20
SHORT_SETS = 30.0
"""Seconds: so often nobody needs to read thousands of IP sets."""
MANY_BLOCKS = 1000
"""Fewer blocks are few routes, however many a node has."""

DOCS_TYPHA = (
    "Calico's documentation on Typha and manifests/calico-typha.yaml: from 50 nodes on; one replica for each 200 "
)
DOCS_TYPHA += "nodes, three at least, twenty at most"
THUMB = "rule of thumb"


@dataclass(frozen=True)
class _Size:
    """The measures that are known, by name."""

    rows: dict[str, Any]

    def value(self, measure: str) -> float | None:
        row = self.rows.get(measure)
        return None if row is None else float(row.value)

    def over(self, measure: str) -> Any:
        """The row of a measure that is known and above its limit."""
        row = self.rows.get(measure)
        return row if row is not None and row.share > 1 else None


@table(
    ADVICE,
    needs={"size": "scaling.size"},
    wants={
        "configuration": "felix.configuration",
        "pools": "ipam.pools",
        "utilisation": "ipam.utilisation",
        "slow": "felix.slow",
        "install": "health.install",
    },
)
def advice(
    size: pd.DataFrame,
    configuration: pd.DataFrame | None = None,
    pools: pd.DataFrame | None = None,
    utilisation: pd.DataFrame | None = None,
    slow: pd.DataFrame | None = None,
    install: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each advice; see :data:`ADVICE`."""
    if not len(size):
        return ADVICE.frame()
    known = _Size({row.measure: row for row in records(size)})
    operator = install is not None and len(install) and install["install"].iloc[0] == "operator"
    rows = [
        *_typha(known, bool(operator)),
        *_refresh(known, configuration, slow),
        *_policy(known),
        *_blocks(known, pools, utilisation),
        *_mesh(known),
        *_dataplane(known, configuration),
    ]
    return ADVICE.frame(rows)


def _row(name: str, about: str, says: str, because: str, row: Any, source: str, limit: float = 0) -> dict[str, Any]:
    return {
        "advice": name,
        "about": about,
        "says": says,
        "because": because,
        "measured": float(row.value),
        "limit": float(limit or row.limit),
        "unit": row.unit,
        "table": row.table,
        "source": source,
    }


Rows = Iterator[dict[str, Any]]


def _typha(size: _Size, operator: bool) -> Rows:
    nodes, typhas = size.rows["nodes"], size.value("typhas")
    if typhas is None:
        return
    wanted = needed_typhas(int(nodes.value))
    there = plural(typhas, "replica")
    if row := size.over("nodes without Typha"):
        says = f"Deploy Typha with {plural(wanted, 'replica')} (manifests/calico-typha.yaml, or the operator)."
        because = f"{number(nodes.value)} nodes each watch the API server directly."
        yield _row("typha", "cluster", says, because, row, DOCS_TYPHA)
    elif 0 < typhas < wanted:
        how = " The operator scales it automatically: check why it did not." if operator else ""
        says = f"Run {plural(wanted, 'replica')} of Typha.{how}"
        because = f"{there} for {number(nodes.value)} nodes."
        yield _row("typha", "cluster", says, because, size.rows["typhas"], DOCS_TYPHA, wanted)
    elif typhas > MOST_TYPHAS and typhas > wanted:
        says = f"Run {plural(max(wanted, 3), 'replica')} of Typha: each one watches the API server."
        yield _row("typha", "cluster", says, f"{there} run.", size.rows["typhas"], DOCS_TYPHA, MOST_TYPHAS)


# ---- Felix


def _refresh(size: _Size, configuration: pd.DataFrame | None, slow: pd.DataFrame | None) -> Rows:
    """Refresh intervals repair what others break; where they cost much, or are set short, they may be longer."""
    if configuration is None:
        return
    newest = defaults_of()
    if row := size.over("resync time"):
        field, every = _interval(configuration)
        says = f"Raise {field}, to {_text(2 * every)} for example: a refresh only repairs changes by other programs."
        because = f"{first_upper(row.means)}: {row.value:.2g} s, and it comes every {_text(every)}."
        yield _row("refresh-interval", field, says, because, row, "felix/dataplane/linux/int_dataplane.go")
    else:
        lagging = set(slow["node"]) if slow is not None else set()
        for name in ("iptablesRefreshInterval", "nftablesRefreshInterval", "routeRefreshInterval"):
            short = {n: v for n, v in in_force(configuration, name).items() if n in lagging}
            times = {n: t for n, v in short.items() if (t := seconds(v)) is not None}
            usual = seconds(newest[name]) or 0
            below = {n: t for n, t in times.items() if 0 < t < usual / 2}
            if below:
                yield {
                    "advice": "refresh-interval",
                    "about": name,
                    "says": f"Set {name} to its default, {_text(usual)}.",
                    "because": f"It is {_text(min(below.values()))} on {listed(below)}, where Felix is slow.",
                    "measured": min(below.values()),
                    "limit": usual,
                    "unit": "s",
                    "table": "felix.configuration",
                    "source": "felix/config/config_params.go",
                }
    yield from _set_refresh(size, configuration)


def _set_refresh(size: _Size, configuration: pd.DataFrame) -> Rows:
    row = size.over("IP sets of a Felix")
    times = [t for v in in_force(configuration, "ipsetsRefreshInterval").values() if (t := seconds(v)) is not None]
    short = [t for t in times if 0 < t < SHORT_SETS]
    if row and short:
        says = "Raise ipsetsRefreshInterval to 90s, its default since v3.29."
        because = f"Felix reads {plural(row.value, 'IP set')} again every {_text(min(short))}."
        yield _row("refresh-interval", "ipsetsRefreshInterval", says, because, row, THUMB)


def _interval(configuration: pd.DataFrame) -> tuple[str, float]:
    """The field that paces resyncs of rules, and its time: of nftables where that is in use on any node."""
    nft = "enabled" in {v.lower() for v in in_force(configuration, "nftablesMode").values()}
    field = "nftablesRefreshInterval" if nft else "iptablesRefreshInterval"
    times = [t for v in in_force(configuration, field).values() if (t := seconds(v))]
    return field, min(times, default=180.0)


def _text(time: float) -> str:
    return f"{time:g}s"


def _policy(size: _Size) -> Rows:
    """What selectors and policies cost."""
    endpoints = number(size.value("endpoints") or 0)
    if row := size.over("selector matches of a Felix"):
        because = f"A Felix makes {number(row.value)} selector-label comparisons per second."
        yield _row("policy-cost", "selectors", NARROW, because, row, INDEX)
    elif row := size.over("selector comparisons"):
        wide = number(size.value("wide selectors") or 0)
        because = f"{wide} policy selectors require no specific label value; there are {endpoints} endpoints."
        yield _row("policy-cost", "selectors", NARROW, because, row, INDEX)
    if row := size.over("policies"):
        says = (
            "Give policies that belong together one selector and neighbouring orders, so that Felix evaluates them "
            "as one "
        )
        says += (
            "group (v3.28+); put what most packets need first; merge policies that differ by an address only into one "
        )
        says += "with a network set."
        because = (
            f"{plural(row.value, 'policy', 'policies')} with {number(size.value('rules of policies') or 0)} rules."
        )
        yield _row("policy-cost", "policies", says, because, row, "felix/rules/endpoints.go; " + THUMB)


NARROW = (
    "Give each selector a required label value (==, in) in an outermost &&: Felix looks up endpoints by that label, "
    "and compares all other selectors with every endpoint."
)
INDEX = "felix/labelindex, lib/std/labelrestrictions"


# ---- addresses and routes


def _blocks(size: _Size, pools: pd.DataFrame | None, utilisation: pd.DataFrame | None) -> Rows:
    """Blocks that are too small for the pods of a node, or so large that the pool has too few."""
    if pools is None:
        return
    claimed = {} if utilisation is None else dict(zip(utilisation["pool"], utilisation["blocks"], strict=True))
    nodes = size.rows["nodes"]
    for pool in records(pools[~pools["disabled"]]):
        prefix = 32 if pool.version == 4 else 128
        each = 2 ** (prefix - pool.block_size) if pd.notna(pool.block_size) else 0
        row = size.over(f"blocks per node of pool {pool.pool}")
        if row and (claimed.get(pool.pool) or 0) >= MANY_BLOCKS:
            wider = pool.block_size - max(1, round(row.value).bit_length() - 1)
            churn = size.value("new pods")
            comes = (
                f" {plural(churn, 'pod')} were created in the last hour, each of which may claim or free one."
                if churn
                else ""
            )
            says = f"Use blocks of /{wider} in a new pool and move pods there (blockSize cannot be changed)."
            because = f"A node has {row.value:g} blocks of {each} addresses; there are "
            because += f"{number(claimed[pool.pool])} of them, each a route on every node.{comes}"
            yield _row("block-size", pool.pool, says, because, row, "libcalico-go/lib/ipam; " + THUMB)
        elif pd.notna(pool.blocks_total) and pool.blocks_total < nodes.value and not _selected(pool):
            says = "Use smaller blocks in a new pool, or a larger pool, so that each node can have its own block."
            because = (
                f"{number(pool.blocks_total)} blocks of {each} addresses for {number(nodes.value)} nodes: the others "
            )
            because += "borrow, each address with a route of its own."
            yield _row("block-size", pool.pool, says, because, nodes, "libcalico-go/lib/ipam", pool.blocks_total)


def _selected(pool: Any) -> bool:
    """Whether the pool is for some nodes or namespaces only."""
    own = [getattr(pool, name) for name in ("node_selector", "namespace_selector")]
    return any(isinstance(s, str) and s.strip() not in ("", "all()") for s in own)


def _mesh(size: _Size) -> Rows:
    nodes = size.rows["nodes"].value
    if row := size.over("mesh sessions"):
        says = "Make two or three nodes route reflectors, peer all nodes with them, then disable the mesh."
        because = f"The full mesh has {number(row.value)} sessions, {number(nodes - 1)} on each node."
        source = "Calico's documentation on BGP: route reflectors above 100 nodes"
        yield _row("route-reflectors", "cluster", says, because, row, source)


# ---- the dataplane


def _dataplane(size: _Size, configuration: pd.DataFrame | None) -> Rows:
    """iptables against nftables and eBPF: lists that a packet walks, and that are written anew, against maps."""
    if configuration is None:
        return
    ebpf = "true" in in_force(configuration, "bpfEnabled").values()
    modes = {v.lower() for v in in_force(configuration, "nftablesMode").values()}
    most = "nftables rules of a Felix", "iptables rules of a Felix"
    unsure = "auto" in modes and size.value(most[1]) is None  # it follows kube-proxy, of which nothing is known
    if ebpf or unsure or "enabled" in modes or (size.value(most[0]) or 0) > (size.value(most[1]) or 0):
        return
    says = "Consider the nftables dataplane (nftablesMode, with kube-proxy in nftables mode; v3.29+) or of eBPF, which "
    says += "look up a service or endpoint in a map where iptables walks lists, and do not rewrite whole tables."
    if row := size.over("iptables rules of a Felix"):
        because = f"A Felix keeps {number(row.value)} iptables rules."
        yield _row("dataplane", "cluster", says, because, row, THUMB)
    elif row := size.over("services"):
        because = (
            f"{number(row.value)} services: with kube-proxy in iptables mode a new connection traverses a rule for "
            "each."
        )
        source = "Kubernetes' documentation on kube-proxy's modes; " + THUMB
        yield _row("dataplane", "cluster", says, because, row, source)

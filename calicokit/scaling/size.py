"""Size of the cluster and its rate of change: the measures that scaling advice rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells
from calicokit.selectors import SelectorError, parse

SIZE = Schema(
    "scaling.size",
    "Size of the cluster and its rate of change, one row per known measure.",
    (
        Column("measure", "str", "measure"),
        Column("value", "float", "measured value", "as the column unit says"),
        Column("unit", "str", "its unit"),
        Column(
            "limit",
            "float",
            "threshold for advice; null if none",
            "as the column unit says",
        ),
        Column("share", "float", "value divided by the threshold; above 1 there is advice", "0 and more"),
        Column("table", "str", "table it is from"),
        Column("means", "str", "description"),
    ),
    key=("measure",),
)

LIMITS = {
    "nodes without Typha": 50,
    "nodes for each Typha": 200,
    "mesh sessions": 4950,  # of a hundred nodes
    "services": 1000,
    "policies": 1000,
    "selector comparisons": 100_000,
    "selector matches of a Felix": 10_000,
    "iptables rules of a Felix": 20_000,
    "IP sets of a Felix": 1000,
    "resync time": 1.0,
    "blocks per node": 4.0,
}
"""Measure → from where on an experienced operator would look; where that is known from stands in scaling.advice."""
HOUR = pd.Timedelta(hours=1)
ALL = ("", "all()")
OFTEN = 3
"""Minimum summaries in Felix's log for a usual value."""


@table(
    SIZE,
    needs={"nodes": "kube.nodes"},
    wants={
        "endpoints": "kube.workload_endpoints",
        "pods": "kube.pods",
        "services": "kube.services",
        "policies": "policy.policies",
        "blocks": "ipam.blocks",
        "bgp": "bgp.configuration",
        "use": "bgp.use",
        "typha": "felix.typha",
        "activity": "felix.activity",
        "loops": "felix.loops",
        "times": "felix.apply_times",
        "now": "@now",
    },
)
def size(
    nodes: pd.DataFrame,
    endpoints: pd.DataFrame | None,
    pods: pd.DataFrame | None,
    services: pd.DataFrame | None,
    policies: pd.DataFrame | None,
    blocks: pd.DataFrame | None,
    bgp: pd.DataFrame | None,
    use: pd.DataFrame | None,
    typha: pd.DataFrame | None,
    activity: pd.DataFrame | None,
    loops: pd.DataFrame | None,
    times: pd.DataFrame | None,
    now: pd.Timestamp | None,
) -> pd.DataFrame:
    """One row for each measure; see :data:`SIZE`. What rests on a table that is not known is left out.

    A cluster without nodes has no size.
    """
    if not len(nodes):
        return SIZE.frame()
    rows = [_row("nodes", len(nodes), "nodes", "kube.nodes", "nodes of the cluster")]
    for counted in (
        _endpoints(endpoints),
        _churn(pods, now),
        _services(services),
        _policies(policies, endpoints),
        _blocks(blocks),
        _sessions(bgp, use, len(nodes)),
        _typha(typha, len(nodes)),
        _activity(activity),
        _loops(loops),
        _applied(times),
    ):
        rows += counted
    return SIZE.frame(rows)


def _row(measure: str, value: float, unit: str, of: str, means: str) -> dict[str, Any]:
    limit = LIMITS.get(measure.partition(" of pool ")[0])
    row = {"measure": measure, "value": float(value), "unit": unit, "table": of, "means": means}
    return row if limit is None else row | {"limit": float(limit), "share": float(value) / limit}


Rows = Iterator[dict[str, Any]]


def _endpoints(endpoints: pd.DataFrame | None) -> Rows:
    if endpoints is not None:
        each = endpoints["node"].value_counts()
        of = "kube.workload_endpoints"
        yield _row("endpoints", len(endpoints), "endpoints", of, "workload endpoints")
        if len(each):
            yield _row(
                "endpoints per node", each.max(), "endpoints", of, "workload endpoints of the node with the most"
            )


def _churn(pods: pd.DataFrame | None, now: pd.Timestamp | None) -> Rows:
    """Pods that came in the last hour: a lower bound, as those that are gone again are not seen."""
    if pods is not None and now is not None:
        own = pods[~pods["host_network"] & ~pods["finished"] & pods["created"].notna()]
        new = int((now - own["created"] <= HOUR).sum())
        yield _row("new pods", new, "pods/h", "kube.pods", "pods created in the last hour that still exist")


def _services(services: pd.DataFrame | None) -> Rows:
    if services is not None:
        own = sum(1 for ips in services["cluster_ips"] if len(ips))
        yield _row("services", own, "services", "kube.services", "services with an address")


def _policies(policies: pd.DataFrame | None, endpoints: pd.DataFrame | None) -> Rows:
    if policies is None:
        return
    own = policies[~policies["staged"]]
    of = "policy.policies"
    yield _row("policies", len(own), "policies", of, "policies that are not staged")
    yield _row("rules of policies", own["rules"].fillna(0).sum(), "rules", of, "their rules")
    wide = sum(map(_wide, own["selector"]))
    yield _row("wide selectors", wide, "selectors", of, "policy selectors without a required label value")
    if endpoints is not None:
        means = "wide selectors times endpoints: comparisons for a full recalculation"
        yield _row("selector comparisons", wide * len(endpoints), "comparisons", of, means)


def _wide(selector: object) -> bool:
    """Whether a selector has to be compared with every endpoint, as it names no label that must have a value.

    Felix's index takes ``==``, ``in`` and ``has`` (lib/std/labelrestrictions, felix/labelindex @ HEAD).
    """
    if not isinstance(selector, str) or selector.strip() in ALL:
        return False
    try:
        parsed = parse(selector)
    except SelectorError:
        return False
    has = str(parsed).replace("!has(", "")
    return not parsed.requires and "has(" not in has and str(parsed) not in ALL


def _blocks(blocks: pd.DataFrame | None) -> Rows:
    if blocks is None:
        return
    own = blocks[blocks["node"].notna()]
    yield _row("blocks", len(own), "blocks", "ipam.blocks", "blocks with a node affinity, each a route on every node")
    for pool, group in own.groupby("pool"):
        each = group.groupby("node").size()
        means = f"blocks of pool {pool} per node (median of nodes with any)"
        yield _row(f"blocks per node of pool {pool}", each.median(), "blocks", "ipam.blocks", means)


def _sessions(bgp: pd.DataFrame | None, use: pd.DataFrame | None, nodes: int) -> Rows:
    if bgp is None or use is None or not len(bgp) or not len(use):
        return
    if bool(bgp["mesh"].iloc[0]) and use["in_use"].eq(True).iloc[0]:
        means = "sessions of the full mesh: each node with every other"
        yield _row("mesh sessions", nodes * (nodes - 1) / 2, "sessions", "bgp.configuration", means)


def _typha(typha: pd.DataFrame | None, nodes: int) -> Rows:
    if typha is None:
        return
    replicas = [r if pd.notna(r) else p for r, p in cells(typha, "replicas", "pods")]
    known = [n for n in replicas if pd.notna(n)]
    of = "felix.typha"
    if not len(typha):
        yield _row("typhas", 0, "pods", of, "replicas of Typha: not used")
        yield _row("nodes without Typha", nodes, "nodes", of, "nodes that watch the API server directly")
    elif known:
        yield _row("typhas", known[0], "pods", of, "replicas of Typha")
        if known[0]:
            yield _row("nodes for each Typha", nodes / known[0], "nodes", of, "nodes for each replica of Typha")


def _activity(activity: pd.DataFrame | None) -> Rows:
    """The most that any node's Felix counts."""
    for measure, unit, means in (
        ("iptables rules", "rules", "rules in iptables that Felix keeps, on the node with the most"),
        ("nftables rules", "rules", "rules in nftables that Felix keeps, on the node with the most"),
        ("IP sets", "sets", "IP sets that Felix keeps, on the node with the most"),
        ("datastore updates", "updates/s", "changes that Felix gets from the datastore, on the node with the most"),
        ("selector matches", "matches/s", "comparisons of selectors with labels, on the node with the most"),
    ):
        if activity is not None and len(own := activity[activity["measure"] == measure]["value"].dropna()):
            yield _row(f"{measure} of a Felix", own.max(), unit, "felix.activity", means)


def _loops(loops: pd.DataFrame | None) -> Rows:
    """How long updates with a resync in them take on the slowest node; at a start they are slow everywhere."""
    if loops is None:
        return
    own = loops[loops["operations"].fillna("").str.contains("resync-", regex=False) & loops["longest"].notna()]
    usual = {str(node): times.median() for node, times in own.groupby("node")["longest"] if len(times) >= OFTEN}
    if usual:
        node = max(usual, key=lambda n: usual[n])
        means = f"longest dataplane update with a resync, from Felix's log summaries, on {node}"
        yield _row("resync time", usual[node], "s", "felix.loops", means)


def _applied(times: pd.DataFrame | None) -> Rows:
    if times is not None and len(known := times["average"].dropna()):
        means = "mean duration of a dataplane update, on the slowest node"
        yield _row("apply time", known.max(), "s", "felix.apply_times", means)

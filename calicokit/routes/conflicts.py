"""Routes that get in the way of Calico's: longer prefixes, lower metrics, tables that are looked up before main.

Also who claims a block: the nodes that keep it as their own, or that others reach it through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from calicokit.net import prefix
from calicokit.registry import table
from calicokit.routes.kernel import TUNNELS
from calicokit.schema import Column, Schema, cells, records

CONFLICTS = Schema(
    "routes.conflicts",
    "Routes that Calico did not program and that override one that it did, where they stand.",
    (
        Column("node", "str", "node"),
        Column("cidr", "str", "destination of the route that is in the way"),
        Column("type", "str", "unicast, blackhole, unreachable, prohibit, …"),
        Column("via", "str", "its gateway"),
        Column("interface", "str", "its device"),
        Column("protocol", "str", "who says that it set it; null is boot, as `ip route add` leaves it"),
        Column("metric", "int", "its metric; null is 0"),
        Column("table", "str", "its table"),
        Column("overrides", "str", "destination of Calico's route"),
        Column("owner", "str", "node whose block that is; null for a pod's route of this node"),
        Column("learnt_by", "list", "nodes that learnt it by BGP from here"),
        Column("line", "int", "line in the text, from 1"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "table", "cidr"),
)

CLAIMS = Schema(
    "routes.claims",
    "Blocks, and parts of blocks, that more than one node claims.",
    (
        Column("cidr", "str", "what is claimed twice"),
        Column("block", "str", "block that it is, or is in"),
        Column("nodes", "list", "nodes that claim it"),
        Column("how", "list", "for each node, what it does: keeps it as its own (blackhole), or others reach it there"),
    ),
    key=("cidr",),
)


@table(CONFLICTS, needs=("routes.kernel", "routes.blocks"), wants=("output.ip_rule",))
def conflicts(kernel: pd.DataFrame, blocks: pd.DataFrame, rules: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each such route; see :data:`CONFLICTS`."""
    first = _before_main(rules)
    strange = kernel[
        kernel["owner"].isin(["other", "kernel"]) & (kernel["version"] == 4) & ~kernel["interface"].isin(list(TUNNELS))
    ]
    remote = blocks[blocks["kind"] == "remote"]
    owners = dict(cells(blocks.astype({"cidr": "str", "owner": "str"}), "cidr", "owner"))
    rows = []
    for node, group in strange.groupby("node"):
        ours = _calicos(kernel[kernel["node"] == node], remote[remote["node"] == node]["cidr"].astype("str"))
        for row in records(group):
            hit = _overridden(row, ours, row.table in first.get(str(node), ()))
            if hit is not None:
                rows.append(_row(row, hit, owners.get(hit), kernel))
    return CONFLICTS.frame(rows)


Ours = dict[str, tuple[float, bool]]
"""Calico's routes on a node by destination: the metric, and whether it is the blackhole under the node's own block."""


def _calicos(kernel: pd.DataFrame, expected: Iterable[str]) -> Ours:
    own = kernel[kernel["owner"].isin(["bird", "felix"]) & (kernel["version"] == 4)]
    found: Ours = dict.fromkeys(expected, (float("inf"), False))  # what should be there and is not is overridden, too
    for cidr, kind, metric in cells(own, "cidr", "type", "metric"):
        found[cidr] = (0.0 if pd.isna(metric) else float(metric), kind == "blackhole")
    return found


def _overridden(row: Any, ours: Ours, before_main: bool) -> str | None:
    """The destination of Calico's route that this one overrides, the most specific; None for none."""
    if row.table != "main" and not before_main:
        return None
    mine = prefix(row.cidr)
    metric = 0.0 if pd.isna(row.metric) else float(row.metric)
    hits = []
    for cidr, (cost, hole) in ours.items():
        theirs = prefix(cidr)
        if not theirs.overlaps(mine):
            continue
        if before_main and not hole:
            hits.append(cidr)
        elif theirs.covers(mine):
            # Inside the node's own block its pods' routes are more specific still; only the blackhole gives way.
            inside = mine.size < theirs.size and not hole
            if inside or (mine == theirs and metric < cost):
                hits.append(cidr)
    return min(hits, key=lambda c: prefix(c).size, default=None)


def _row(row: Any, hit: str, owner: str | None, kernel: pd.DataFrame) -> dict[str, Any]:
    same = kernel[(kernel["cidr"] == row.cidr) & (kernel["owner"] == "bird") & (kernel["node"] != row.node)]
    names = ("node", "cidr", "type", "via", "interface", "protocol", "metric", "table", "line", "evidence")
    return {n: getattr(row, n) for n in names} | {
        "overrides": hit,
        "owner": owner if owner != row.node else None,
        "learnt_by": sorted(set(same["node"])),
    }


def _before_main(rules: pd.DataFrame | None) -> dict[str, set[str]]:
    """Tables that every packet is looked up in before main, by node; rules with conditions are left out."""
    found: dict[str, set[str]] = {}
    if rules is None:
        return found
    main = dict(cells(rules[rules["table"] == "main"].drop_duplicates("node"), "node", "priority"))
    plain = rules[
        rules["from"].isin(["all"])
        & rules[["to", "fwmark", "iif", "oif", "attributes"]].isna().all(axis=1)
        & ~rules["inverted"].fillna(False)
        & ~rules["table"].isin(["local", "main"])
        & rules["table"].notna()
    ]
    for node, name, priority in cells(plain, "node", "table", "priority"):
        if node in main and priority < main[node]:
            found.setdefault(node, set()).add(name)
    return found


@table(
    CLAIMS,
    needs=("ipam.blocks", "bgp.nodes", "routes.kernel"),
    wants=("output.birdcl_route", "output.birdcl_route_all", "routes.conflicts"),
)
def claims(
    blocks: pd.DataFrame,
    nodes: pd.DataFrame,
    kernel: pd.DataFrame,
    routes: pd.DataFrame | None = None,
    details: pd.DataFrame | None = None,
    conflicts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each prefix that is claimed twice; see :data:`CLAIMS`."""
    known = {b: prefix(b) for b in blocks[blocks["version"] == 4]["block"]}
    strange = set() if conflicts is None else set(conflicts["cidr"])
    said: dict[str, dict[str, str]] = {}
    for cidr, node, how in _claimed(kernel, routes if routes is not None else details, nodes):
        if cidr not in strange and not cidr.endswith("/32") and any(b.overlaps(prefix(cidr)) for b in known.values()):
            said.setdefault(cidr, {}).setdefault(node, how)
    rows = []
    for cidr, claimants in sorted(said.items()):
        above = [c for c in said if c != cidr and prefix(c).covers(prefix(cidr))]
        everyone = {**{n: h for c in above for n, h in said[c].items()}, **claimants}
        if len(everyone) > 1:
            names = sorted(everyone)
            block = next((b for b, p in known.items() if p.covers(prefix(cidr))), cidr)
            rows.append({"cidr": cidr, "block": block, "nodes": names, "how": [everyone[n] for n in names]})
    return CLAIMS.frame(rows)


def _claimed(kernel: pd.DataFrame, routes: pd.DataFrame | None, nodes: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Prefix, node, and how the node claims it."""
    holes = kernel[(kernel["type"] == "blackhole") & kernel["owner"].isin(["bird", "felix"]) & (kernel["version"] == 4)]
    for cidr, node in cells(holes, "cidr", "node"):
        yield cidr, node, "keeps it as its own"
    if routes is None:
        return
    by_address = {a: n for n, a in cells(nodes, "node", "address") if isinstance(a, str)}
    learnt = routes[
        routes["gateway"].isin(list(by_address)) & ~routes["protocol"].astype("str").str.startswith("kernel")
    ]
    for cidr, gateway in cells(learnt.drop_duplicates(["prefix", "gateway"]), "prefix", "gateway"):
        if ":" not in cidr:
            yield cidr, by_address[gateway], "others reach it there"

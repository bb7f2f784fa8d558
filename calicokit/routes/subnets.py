"""Whether a pool without encapsulation works between subnets: the router in between, and whether it has the routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.net import Prefix, prefix
from calicokit.registry import table
from calicokit.schema import Column, Schema, among, cells, records

SUBNETS = Schema(
    "routes.subnets",
    "Unencapsulated pools with blocks on nodes in different subnets: one row per pool and pair of subnets.",
    (
        Column("pool", "str", "IP pool"),
        Column("subnet", "str", "subnet of nodes"),
        Column("other", "str", "the other subnet"),
        Column("nodes", "list", "nodes in either subnet with blocks of the pool"),
        Column("routers", "list", "external routers with BGP sessions to these nodes"),
        Column("exported", "bool", "the pool's routes are exported by BGP"),
        Column(
            "answered", "int", "conntrack entries with a reply between pods of the two subnets; null: not seen", "flows"
        ),
        Column("how", "str", "how it is known that a router is between them"),
    ),
    key=("pool", "subnet", "other"),
)

MOST = 50
"""Of more subnets only the first is held against the others: that tells as much."""

BY_KERNEL = "the nodes' routes to each other show"
BY_MASK = "their subnets show"


@table(
    SUBNETS,
    needs={"blocks": "routes.blocks", "addresses": "routes.addresses", "pools": "ipam.pools"},
    wants={"kernel": "routes.kernel", "expected": "bgp.expected", "flows": "output.conntrack"},
)
def subnets(
    blocks: pd.DataFrame,
    addresses: pd.DataFrame,
    pools: pd.DataFrame,
    kernel: pd.DataFrame | None = None,
    expected: pd.DataFrame | None = None,
    flows: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each; see :data:`SUBNETS`. Nodes whose own address is wrong are left out."""
    good = addresses[addresses["problem"].isna()]
    places = {(n, v): (a, w) for n, v, a, w in cells(good, "node", "version", "address", "network")}
    plain = pools[(pools["vxlan_mode"] == "Never") & (pools["ipip_mode"] == "Never")]
    held = blocks[blocks["kind"] == "own"]
    rows: list[dict[str, Any]] = []
    for pool, version, exported in cells(plain, "pool", "version", "bgp_export"):
        blocks_of = cells(held[held["pool"] == pool], "cidr", "owner")
        own = [(c, n) for c, n in blocks_of if (n, version) in places]
        by_subnet: dict[str, list[str]] = {}
        for node in sorted({n for _, n in own}):
            by_subnet.setdefault(places[node, version][1], []).append(node)
        for subnet, other in _pairs(by_subnet):
            here, there = by_subnet[subnet], by_subnet[other]
            how = _between(here[0], str(places[there[0], version][0]), kernel) or _by_mask(
                subnet, other, kernel, here[0]
            )
            if how is None:
                continue
            row = {"pool": pool, "subnet": subnet, "other": other, "nodes": sorted({*here, *there}), "how": how}
            row |= {"routers": _routers(expected, row["nodes"]), "exported": exported}
            rows.append(row | {"answered": _answered(flows, own, here, there)})
    return SUBNETS.frame(rows)


def _pairs(by_subnet: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    names = sorted(by_subnet)
    for i, one in enumerate(names):
        yield from ((one, other) for other in names[i + 1 :] if not prefix(one).overlaps(prefix(other)))
        if len(names) > MOST:
            return


def _between(node: str, target: str, kernel: pd.DataFrame | None) -> str | None:
    """Whether the node's kernel reaches the other's address by a gateway."""
    if kernel is None:
        return None
    mine = kernel[(kernel["node"] == node) & (kernel["table"] == "main")]
    place = prefix(target)
    fits = [r for r in records(mine) if prefix(r.cidr).covers(place)]
    best = min(fits, key=lambda r: prefix(r.cidr).size, default=None)
    return BY_KERNEL if best is not None and isinstance(best.via, str) else None


def _by_mask(subnet: str, other: str, kernel: pd.DataFrame | None, node: str) -> str | None:
    """The networks alone tell where the kernel was not seen; those of one address, as in clouds, tell nothing."""
    seen = kernel is not None and bool((kernel["node"] == node).any())
    single = any(n.endswith(("/32", "/128")) for n in (subnet, other))
    return None if seen or single else BY_MASK


def _routers(expected: pd.DataFrame | None, nodes: list[str]) -> list[str]:
    if expected is None:
        return []
    outside = expected[~expected["internal"].astype(bool) & among(expected["node"], nodes)]
    return sorted(set(outside["peer"].astype("str")))


def _answered(flows: pd.DataFrame | None, own: list[tuple[str, str]], here: list[str], there: list[str]) -> int | None:
    """Flows between pods of the one and of the other that saw an answer."""
    if flows is None:
        return None
    sides: list[list[Prefix]] = [[prefix(c) for c, n in own if n in side] for side in (here, there)]
    known: dict[str, int | None] = {}

    def side(address: str) -> int | None:
        if address not in known:
            place = prefix(address)
            known[address] = next((i for i in (0, 1) if any(s.covers(place) for s in sides[i])), None)
        return known[address]

    spoken = flows[~flows["unreplied"].fillna(False).astype(bool) & flows["reply_source"].notna()]
    ends = ((side(a), side(b)) for a, b in cells(spoken, "source", "reply_source"))
    return sum(1 for pair in ends if pair in ((0, 1), (1, 0)))

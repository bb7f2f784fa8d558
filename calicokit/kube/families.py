"""Which IP families the cluster uses: what asks for evidence of IPv6, and lets notebooks speak of it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.objects import Object, Objects, spec
from calicokit.registry import Spared, not_applicable, table
from calicokit.schema import Column, Schema, cells

FAMILIES = Schema(
    "kube.families",
    "IP families that the cluster uses, and what shows it.",
    (
        Column("version", "int", "4 or 6"),
        Column("used", "bool", "a pool, a node's address or its pod CIDR is of this family; null: unknown"),
        Column("why", "str", "what shows it"),
    ),
    key=("version",),
)


NO_IPV6 = "the cluster has no IPv6"
OF_IPV6 = frozenset(i for i, item in CATALOG.items() if item.ipv6)


@table(FAMILIES, wants={"nodes": "kube.nodes", "pools": "ippools"})
def families(nodes: pd.DataFrame | None, pools: Objects | None) -> pd.DataFrame:
    """Two rows; see :data:`FAMILIES`. A family is unused only where both pools and nodes were seen.

    Kubernetes' own addresses of nodes do not count: many clouds give nodes IPv6 that Calico never uses.

    >>> import calicokit
    >>> [bool(u) for u in calicokit.open("policy-drop").kube.families()["used"]]
    [True, False]
    """
    found: dict[int, str] = {}
    for address, why in (*_of_nodes(nodes), *_of_pools(pools)):
        found.setdefault(6 if ":" in address else 4, why)
    whole = nodes is not None and pools is not None
    rows = [(v, True if v in found else False if whole else None, found.get(v)) for v in (4, 6)]
    return FAMILIES.frame([dict(zip(FAMILIES.names, row, strict=True)) for row in rows])


def uses_ipv6(families: pd.DataFrame) -> bool | None:
    """Whether the cluster uses IPv6 (``kube.families``); None where nothing tells."""
    (used,) = families[families["version"] == 6]["used"]
    return None if pd.isna(used) else bool(used)


@not_applicable(needs={"families": "kube.families"}, unasked=OF_IPV6, why=NO_IPV6)
def _without_ipv6(families: pd.DataFrame) -> Spared:
    if uses_ipv6(families) is False:
        yield from ((i, None) for i in OF_IPV6)


@not_applicable(needs={"families": "kube.families"})
def _perhaps_without(families: pd.DataFrame) -> Spared:
    """Where nothing tells, it is asked for, and not missed."""
    if uses_ipv6(families) is None:
        yield from ((i, None) for i in OF_IPV6)


def _of_nodes(nodes: pd.DataFrame | None) -> Iterator[tuple[str, str]]:
    for node, chosen, cidrs in () if nodes is None else cells(nodes, "node", "calico_addresses", "pod_cidrs"):
        yield from ((a, f"Calico's address of {node}") for a in chosen)
        yield from ((c, f"the pod CIDR of {node}") for c in cidrs)


def _of_pools(pools: Objects | None) -> Iterator[tuple[str, str]]:
    for name, cidr in () if pools is None else pools.rows(_pool):
        yield cidr, f"pool {name}"


def _pool(item: Object) -> tuple[str, str]:
    return item["metadata"]["name"], spec(item)["cidr"]

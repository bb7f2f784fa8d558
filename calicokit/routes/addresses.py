"""The addresses that Calico chose for nodes: on an interface of theirs, one node's only, and of use to the others."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.registry import printed, table
from calicokit.schema import Column, Schema, cells

ADDRESSES = Schema(
    "routes.addresses",
    "Addresses that Calico chose for each node, and whether other nodes can reach them.",
    (
        Column("node", "str", "node"),
        Column("version", "int", "4 or 6"),
        Column("address", "str", "address that Calico chose (IP, IP6 and their AUTODETECTION_METHOD); null for none"),
        Column("network", "str", "network of that address"),
        Column("internal", "list", "Kubernetes' InternalIP addresses of that version"),
        Column("interface", "str", "interface that has the address; null: none, or not seen"),
        Column("seen", "bool", "the node's interfaces were seen"),
        Column("neighbours", "int", "other nodes with an address in the same network"),
        Column("internal_neighbours", "int", "other nodes whose chosen address is in the network of its InternalIP"),
        Column("same", "list", "other nodes with the same address"),
        Column("problem", "str", "why other nodes cannot use it; null if no problem is known"),
    ),
    key=("node", "version"),
)

YOUNG = pd.Timedelta(minutes=1)
"""calico-node has so long to find its addresses, once it was told of another IP version."""


@table(
    ADDRESSES,
    needs={"nodes": "bgp.nodes", "kube": "kube.nodes"},
    wants={"found": "output.ip_addr", "pools": "ipam.node_pools", "every": "ipam.pools", "now": "@now"},
)
def addresses(
    nodes: pd.DataFrame,
    kube: pd.DataFrame,
    found: pd.DataFrame | None = None,
    pools: pd.DataFrame | None = None,
    every: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each node and IP version of which it has an address, or lacks one; see :data:`ADDRESSES`."""
    looked = _Looked(nodes, kube, found)
    rows = [row for version in (4, 6) for row in looked.of(version)]
    rows += [] if pools is None or every is None else _lacking(nodes, pools, every, now)
    return ADDRESSES.frame(sorted(rows, key=lambda row: row["version"]))


def _lacking(
    nodes: pd.DataFrame, pools: pd.DataFrame, every: pd.DataFrame, now: pd.Timestamp | None
) -> list[dict[str, Any]]:
    """Nodes without an IPv6 address whose pods get IPv6 from a pool, where other nodes have one."""
    known = nodes["address6"].notna()
    if not known.any():
        return []
    created = dict(cells(every, "pool", "created"))
    usable = pools[(pools["version"] == 6) & pools["usable"]].drop_duplicates("node")
    by_node = dict(cells(usable, "node", "pool"))
    rows = []
    for node, system, since in cells(nodes[~known & nodes["address"].notna()], "node", "system", "created"):
        pool = by_node.get(node)
        young = now is not None and any(pd.notna(t) and now - t < YOUNG for t in (since, created.get(pool)))
        if system != "windows" and pool is not None and not young:
            why = f"it has none, while pool {pool} gives its pods IPv6 and {int(known.sum())} other nodes have one"
            rows.append({"node": node, "version": 6, "internal": [], "same": [], "problem": why})
    return rows


def _with_ipv6(found: pd.DataFrame) -> set[str]:
    """Nodes of which an IPv6 address was seen, if only a link-local one: `ip -4 addr` shows none."""
    return set(found[found["address"].str.contains(":", regex=False).fillna(False)]["node"])


class _Looked:
    """What tells of nodes' addresses."""

    def __init__(self, nodes: pd.DataFrame, kube: pd.DataFrame, found: pd.DataFrame | None) -> None:
        self.nodes = nodes
        self.internal = dict(cells(kube, "node", "addresses"))
        self.own = {} if found is None else {(n, a): i for n, a, i in cells(found, "node", "address", "interface")}
        lengths = () if found is None else cells(found, "node", "address", "prefix_length")
        self.lengths = {(n, a): p for n, a, p in lengths}
        self.seen = {4: set(), 6: set()} if found is None else {4: set(found["node"]), 6: _with_ipv6(found)}

    def of(self, version: int) -> Iterator[dict[str, Any]]:
        """The rows of one IP version."""
        columns = ("address", "network") if version == 4 else ("address6", "network6")
        chosen = [(n, a, w) for n, a, w in cells(self.nodes, "node", *columns) if isinstance(a, str)]
        counts = Counter(a for _, a, _ in chosen)
        for node, address, network in chosen:
            net = _network(address, network)
            every = (str(a) for a in self.internal.get(node) or ())
            mine = [a for a in every if (6 if ":" in a else 4) == version]
            nets = [_network(a, f"{a}/{self.lengths[node, a]}") for a in mine if (node, a) in self.lengths]
            others = [ipaddress.ip_address(a) for n, a, _ in chosen if n != node]
            row: dict[str, Any] = {"node": node, "version": version, "address": address, "network": str(net)}
            row |= {"internal": mine, "interface": self.own.get((node, address)), "seen": node in self.seen[version]}
            row["neighbours"] = sum(a in net for a in others)
            row["internal_neighbours"] = sum(any(a in i for i in nets) for a in others)
            same = (n for n, a, _ in chosen if a == address and n != node)
            row["same"] = sorted(same) if counts[address] > 1 else []
            yield {**row, "problem": _problem(row)}


@printed("routes.addresses", needs={"nodes": "bgp.nodes", "kube": "kube.nodes"})
def printed_addresses(nodes: pd.DataFrame, kube: pd.DataFrame) -> pd.DataFrame:
    """The same of nodes that were printed. That no other node is in a network is not known: others may not be shown."""
    found: pd.DataFrame = addresses(nodes, kube)
    shared = pd.Series([bool(same) for same in found["same"]], index=found.index, dtype=bool)
    return found.assign(problem=found["problem"].where(shared, None))


def _network(address: str, text: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    alone = "128" if ":" in address else "32"
    length = str(text).rpartition("/")[2] if isinstance(text, str) and "/" in text else alone
    return ipaddress.ip_network(f"{address}/{length}", strict=False)


def _problem(row: dict[str, Any]) -> str | None:
    if row["same"]:
        return f"{', '.join(row['same'])} has the same address"
    if row["seen"] and row["interface"] is None:
        return "it is on none of the node's interfaces"
    others = row["address"] not in row["internal"] and row["internal"]
    if others and not row["neighbours"] and row["internal_neighbours"]:
        at = f" on {row['interface']}" if row["interface"] else ""
        return (
            f"it is{at} in {row['network']}, where no other node is, while its InternalIP {row['internal'][0]} is in "
            "the other nodes' network"
        )
    return None

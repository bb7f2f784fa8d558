"""The addresses that Calico chose for nodes: on an interface of theirs, one node's only, and of use to the others."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

import pandas as pd

from calicokit.registry import printed, table
from calicokit.schema import Column, Schema, cells

ADDRESSES = Schema(
    "routes.addresses",
    "IPv4 address that Calico chose for each node, and whether other nodes can reach it.",
    (
        Column("node", "str", "node"),
        Column("address", "str", "address that Calico chose (IP, IP_AUTODETECTION_METHOD)"),
        Column("network", "str", "network of that address"),
        Column("internal", "list", "Kubernetes' InternalIP addresses"),
        Column("interface", "str", "interface that has the address; null: none, or not seen"),
        Column("seen", "bool", "the node's interfaces were seen"),
        Column("neighbours", "int", "other nodes with an address in the same network"),
        Column("internal_neighbours", "int", "other nodes whose chosen address is in the network of its InternalIP"),
        Column("same", "list", "other nodes with the same address"),
        Column("problem", "str", "why other nodes cannot use it; null if no problem is known"),
    ),
    key=("node",),
)


@table(ADDRESSES, needs={"nodes": "bgp.nodes", "kube": "kube.nodes"}, wants={"found": "output.ip_addr"})
def addresses(nodes: pd.DataFrame, kube: pd.DataFrame, found: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each node with an IPv4 address; see :data:`ADDRESSES`."""
    chosen = [(n, a, w) for n, a, w in cells(nodes, "node", "address", "network") if isinstance(a, str)]
    counts = Counter(a for _, a, _ in chosen)
    internal = dict(cells(kube, "node", "addresses"))
    own = {} if found is None else {(n, a): i for n, a, i in cells(found, "node", "address", "interface")}
    lengths = {} if found is None else {(n, a): p for n, a, p in cells(found, "node", "address", "prefix_length")}
    seen = set() if found is None else set(found["node"])
    rows: list[dict[str, Any]] = []
    for node, address, network in chosen:
        net = _network(address, network)
        mine = [str(a) for a in internal.get(node) or () if "." in str(a)]
        nets = [_network(a, f"{a}/{lengths[node, a]}") for a in mine if (node, a) in lengths]
        row: dict[str, Any] = {"node": node, "address": address, "network": str(net), "internal": mine}
        row |= {"interface": own.get((node, address)), "seen": node in seen}
        row["neighbours"] = sum(ipaddress.ip_address(a) in net for n, a, _ in chosen if n != node)
        row["internal_neighbours"] = sum(
            any(ipaddress.ip_address(a) in i for i in nets) for n, a, _ in chosen if n != node
        )
        row["same"] = sorted(n for n, a, _ in chosen if a == address and n != node) if counts[address] > 1 else []
        rows.append({**row, "problem": _problem(row)})
    return ADDRESSES.frame(rows)


@printed("routes.addresses", needs={"nodes": "bgp.nodes", "kube": "kube.nodes"})
def printed_addresses(nodes: pd.DataFrame, kube: pd.DataFrame) -> pd.DataFrame:
    """The same of nodes that were printed. That no other node is in a network is not known: others may not be shown."""
    found: pd.DataFrame = addresses(nodes, kube)
    shared = pd.Series([bool(same) for same in found["same"]], index=found.index, dtype=bool)
    return found.assign(problem=found["problem"].where(shared, None))


def _network(address: str, text: object) -> ipaddress.IPv4Network:
    length = str(text).rpartition("/")[2] if isinstance(text, str) and "/" in text else "32"
    return ipaddress.IPv4Network(f"{address}/{length}", strict=False)


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

"""The routes and interfaces of pods on their own node."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.routes.kernel import is_workload
from calicokit.schema import Column, Schema, cells

PODS = Schema(
    "routes.pods",
    "Every pod's addresses from Calico, and its host routes and interface.",
    (
        Column("node", "str", "node"),
        Column("namespace", "str", "namespace"),
        Column("pod", "str", "name of the pod"),
        Column("address", "str", "its address"),
        Column("age", "float", "time since it got the address; null: unknown", "s"),
        Column("has_route", "bool", "the node has a host route to it; null: routes not seen"),
        Column("interface", "str", "device of that route, else the interface name that Calico assigns"),
        Column("has_interface", "bool", "the device exists on the node; null: interfaces not seen"),
        Column("elsewhere", "str", "where the route points instead, if not to a pod interface"),
    ),
    key=("namespace", "pod", "address"),
)


@table(
    PODS,
    needs={
        "endpoints": "kube.workload_endpoints",
        "pods": "kube.pods",
        "allocations": "ipam.allocations",
        "kernel": "routes.kernel",
    },
    wants={"addresses": "output.ip_addr", "links": "output.ip_link_stats"},
)
def pods(
    endpoints: pd.DataFrame,
    pods: pd.DataFrame,
    allocations: pd.DataFrame,
    kernel: pd.DataFrame,
    addresses: pd.DataFrame | None = None,
    links: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each running pod and address; see :data:`PODS`."""
    running = {(n, p) for n, p, f in cells(pods[pods["deleted"].isna()], "namespace", "pod", "phase") if f == "Running"}
    given = {(n, p, a): age for n, p, a, age in cells(allocations, "namespace", "pod", "address", "age")}
    routes = _host_routes(kernel)
    seen = set(cells(kernel[["node", "version"]].drop_duplicates(), "node", "version"))
    devices = _devices(links if links is not None else addresses)
    rows = []
    for node, space, name, networks, interface in cells(endpoints, "node", "namespace", "pod", "networks", "interface"):
        for address in (n.partition("/")[0] for n in networks):
            if (space, name) not in running or (space, name, address) not in given:
                continue  # not Calico's, or IPAM knows nothing of it: other tables tell
            row: dict[str, Any] = {"node": node, "namespace": space, "pod": name, "address": address}
            row |= {"age": given[space, name, address], "interface": interface}
            if (node, 6 if ":" in address else 4) in seen:
                row |= _route(routes.get((node, address), []), interface)
            if node in devices:
                row["has_interface"] = row["interface"] in devices[node]
            rows.append(row)
    return PODS.frame(rows)


def _host_routes(kernel: pd.DataFrame) -> dict[tuple[str, str], list[tuple[Any, Any, Any]]]:
    found: dict[tuple[str, str], list[tuple[Any, Any, Any]]] = {}
    own = kernel[kernel["cidr"].str.endswith(("/32", "/128"))]
    for node, cidr, interface, via, kind in cells(own, "node", "cidr", "interface", "via", "type"):
        found.setdefault((node, cidr.partition("/")[0]), []).append((interface, via, kind))
    return found


def _route(routes: list[tuple[Any, Any, Any]], interface: str) -> dict[str, Any]:
    """Whether one of the node's routes to the address leads to a pod's interface: its own, or of a custom prefix."""
    local = [i for i, via, kind in routes if kind == "unicast" and not isinstance(via, str) and _of_pod(i, interface)]
    other = [
        f"{kind} {via if isinstance(via, str) else ''} {i if isinstance(i, str) else ''}" for i, via, kind in routes
    ]
    return {
        "has_route": bool(local),
        "interface": (interface if interface in local else local[0]) if local else interface,
        "elsewhere": None if local or not other else " ".join(other[0].split()),
    }


def _of_pod(device: Any, expected: str) -> bool:
    return isinstance(device, str) and (
        device == expected or is_workload(device) or device[:3] in ("eni", "azv", "gke")
    )


def _devices(frame: pd.DataFrame | None) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    if frame is not None:
        for node, interface in cells(frame, "node", "interface"):
            found.setdefault(node, set()).add(interface)
    return found

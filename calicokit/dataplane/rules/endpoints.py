"""Which interface on which node is which pod's: Felix's chains name interfaces, people name pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.kube.tables import EVIDENCE, interface_name, workload_of
from calicokit.registry import NOTHING, Given, table
from calicokit.schema import Column, Schema, cells

DEFAULT_PREFIX = "cali"

ENDPOINTS = Schema(
    "dataplane.endpoints",
    "Pods (not host-networked) with their host-side interface: hashed from the pod's name, or from the route to its "
    "address.",
    (
        Column("node", "str", "node"),
        Column("interface", "str", "host-side interface"),
        Column("namespace", "str", "namespace"),
        Column("pod", "str", "pod"),
        Column("workload", "str", "NS/NAME of the pod's owner: Deployment, StatefulSet, DaemonSet, …, else the pod"),
        Column("addresses", "list", "addresses of the pod"),
        EVIDENCE,
    ),
    key=("node", "interface"),
)


def interface_prefixes(felix: Objects | None) -> list[str]:
    """What names of pods' interfaces begin with (interfacePrefix); Felix's default where nothing is said."""
    found: list[str] = []
    for said in felix.rows(lambda item: spec(item).get("interfacePrefix")) if felix is not None else ():
        found += [p.strip() for p in str(said or "").split(",") if p.strip()]
    return list(dict.fromkeys(found)) or [DEFAULT_PREFIX]


@table(
    ENDPOINTS,
    needs={"pods": "pods", "workloads": "kube.workload_endpoints"},
    wants={"felix": "felixconfigurations", "routes": ("output.ip_route", "output.ip_route_all")},
)
def endpoints(
    pods: Objects, workloads: pd.DataFrame, felix: Objects | None = None, routes: Given = NOTHING
) -> pd.DataFrame:
    """One row for each pod and interface it may have; see :data:`ENDPOINTS`."""
    makers = dict(pods.rows(_maker))
    routed = {key: interface for each in routes.values() for key, interface in _routed(each).items()}
    rows = [
        {
            "node": node,
            "interface": interface,
            "namespace": namespace,
            "pod": pod,
            "workload": f"{namespace}/{makers.get((namespace, pod), pod)}",
            "addresses": [n.partition("/")[0] for n in networks],
            "evidence": evidence,
        }
        for node, namespace, pod, networks, evidence in cells(
            workloads, "node", "namespace", "pod", "networks", "evidence"
        )
        for interface in _interfaces(node, namespace, pod, networks, interface_prefixes(felix), routed)
    ]
    return ENDPOINTS.frame(rows)


def _maker(item: Object) -> tuple[tuple[str, str], str]:
    meta = item["metadata"]
    return (meta["namespace"], meta["name"]), workload_of(meta)


def _routed(routes: pd.DataFrame | None) -> dict[tuple[str, str], str]:
    """Node and address → interface that a route to this address alone leads to."""
    if routes is None:
        return {}
    alone = routes[routes["destination"].str.endswith(("/32", "/128")) & routes["interface"].notna()]
    return {(n, d.partition("/")[0]): i for n, d, i in cells(alone, "node", "destination", "interface")}


def _interfaces(
    node: str,
    namespace: str,
    pod: str,
    networks: Iterable[str],
    prefixes: Iterable[str],
    routed: dict[tuple[str, str], str],
) -> Iterator[str]:
    yield from (names := [interface_name(namespace, pod, p) for p in prefixes])
    seen = {routed.get((node, n.partition("/")[0])) for n in networks} - {None, *names}
    yield from sorted(i for i in seen if i and i.startswith(tuple(prefixes)))

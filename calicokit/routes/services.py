"""Service addresses that BGPConfiguration asks to advertise, and whether BIRD announces them.

Source: confd/pkg/backends/calico/routes.go: the ranges are announced whole by every node, but for those of one address
and, where serviceLoadBalancerAggregation is Disabled, those of load balancers: these need a ready endpoint.
A service with externalTrafficPolicy Local is also announced as /32 by the nodes that have one. Addresses outside the
ranges never are.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.net import Prefix, prefix
from calicokit.registry import table
from calicokit.routes.bird import heard
from calicokit.schema import Column, Schema, cells

SERVICES = Schema(
    "routes.services",
    "Service addresses to advertise according to BGPConfiguration, and the nodes that announce them.",
    (
        Column("service", "str", "NS/NAME"),
        Column("address", "str", "its address"),
        Column("kind", "str", "cluster, external or load-balancer"),
        Column("range", "str", "BGPConfiguration range that contains the address"),
        Column("local", "bool", "externalTrafficPolicy is Local: announced only by nodes with a ready endpoint"),
        Column("whole", "bool", "the whole range is announced, independent of endpoints"),
        Column("ready", "bool", "the service has a ready endpoint; null: not known"),
        Column("announced_by", "list", "nodes whose BIRD originates a route for it; null where BIRD was not seen"),
        Column("evidence", "str", "source of the service"),
    ),
    key=("service", "address"),
)

FIELDS = {"serviceClusterIPs": "cluster", "serviceExternalIPs": "external", "serviceLoadBalancerIPs": "load-balancer"}


@table(
    SERVICES,
    needs={"services": "services", "configurations": "bgpconfigurations"},
    wants={"routes": "routes.bird", "slices": "endpointslices"},
)
def services(
    services: Objects,
    configurations: Objects,
    routes: pd.DataFrame | None = None,
    slices: Objects | None = None,
) -> pd.DataFrame:
    """One row for each address; see :data:`SERVICES`."""
    split = any(configurations.rows(_split))
    ready = None if slices is None else {name for name in slices.rows(_ready) if name}
    ranges = [r for found in configurations.rows(_ranges) for r in found]
    own: dict[str, list[Prefix]] = {}
    if routes is not None:
        mine = routes[routes["protocol"].astype("str").str.startswith("static")]
        for node, cidr in cells(mine, "node", "prefix"):
            own.setdefault(node, []).append(prefix(cidr))
    told = {v for v, nodes in ({} if routes is None else heard(routes)).items() if nodes}
    rows = []
    for name, kind, address, local in (r for each in services.rows(_addresses) for r in each):
        where = next((c for k, c in ranges if k == kind and prefix(c).covers(prefix(address))), None)
        if where is None:
            continue
        by = sorted(n for n, nets in own.items() if any(p.covers(prefix(address)) for p in nets))
        whole = prefix(where).size > 1 and not (kind == "load-balancer" and split)
        state = {"whole": whole, "ready": None if ready is None else name in ready}
        row: dict[str, Any] = {
            **state,
            "service": name,
            "address": address,
            "kind": kind,
            "range": where,
            "local": local,
        }
        rows.append({**row, "announced_by": by if prefix(address).version in told else None, "evidence": services.ref})
    return SERVICES.frame(rows)


def _split(item: Object) -> bool:
    return item["metadata"]["name"] == "default" and spec(item).get("serviceLoadBalancerAggregation") == "Disabled"


def _ready(item: Object) -> str | None:
    """NS/NAME of the service of a slice that has a ready endpoint; no word of readiness is ready."""
    meta = item["metadata"]
    service = (meta.get("labels") or {}).get("kubernetes.io/service-name")
    able = any((e.get("conditions") or {}).get("ready") is not False for e in item.get("endpoints") or ())
    return f"{meta['namespace']}/{service}" if service and able else None


def _ranges(item: Object) -> list[tuple[str, str]]:
    if item["metadata"]["name"] != "default":
        return []
    body = spec(item)
    return [(kind, e["cidr"]) for field, kind in FIELDS.items() for e in body.get(field) or () if e.get("cidr")]


def _addresses(item: Object) -> list[tuple[str, str, str, bool]]:
    body, meta = spec(item), item["metadata"]
    name = f"{meta['namespace']}/{meta['name']}"
    if body.get("type") == "ExternalName" or body.get("clusterIP") in (None, "", "None"):
        return []
    local = body.get("externalTrafficPolicy") == "Local"
    status = (item.get("status") or {}).get("loadBalancer") or {}
    balancers = [i["ip"] for i in status.get("ingress") or () if i.get("ip")]
    return [
        *((name, "cluster", a, local) for a in body.get("clusterIPs") or [body["clusterIP"]]),
        *((name, "external", a, local) for a in body.get("externalIPs") or ()),
        *((name, "load-balancer", a, local) for a in balancers),
    ]

"""Service addresses that BGPConfiguration asks to advertise, and whether BIRD announces them.

Source: confd/pkg/backends/calico/routes.go: the ranges are announced whole by every node; a service with
externalTrafficPolicy Local as /32 by the nodes that have a ready endpoint; addresses outside the ranges never.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.net import Prefix, prefix
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

SERVICES = Schema(
    "routes.services",
    "Services' addresses that BGPConfiguration asks to advertise, and which nodes announce them.",
    (
        Column("service", "str", "NS/NAME"),
        Column("address", "str", "its address"),
        Column("kind", "str", "cluster, external or load-balancer"),
        Column("range", "str", "range of BGPConfiguration that the address is in"),
        Column("local", "bool", "externalTrafficPolicy is Local: announced by nodes with a ready endpoint only"),
        Column("announced_by", "list", "nodes whose BIRD has a route of its own for it; null where BIRD was not seen"),
        Column("evidence", "str", "where the service was read"),
    ),
    key=("service", "address"),
)

FIELDS = {"serviceClusterIPs": "cluster", "serviceExternalIPs": "external", "serviceLoadBalancerIPs": "load-balancer"}


@table(
    SERVICES,
    needs=("services", "bgpconfigurations"),
    wants=("output.birdcl_route", "output.birdcl_route_all"),
)
def services(
    services: Objects,
    configurations: Objects,
    routes: pd.DataFrame | None = None,
    details: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each address; see :data:`SERVICES`."""
    ranges = [r for found in configurations.rows(_ranges) for r in found]
    found = routes if routes is not None else details
    own: dict[str, list[Prefix]] = {}
    if found is not None:
        mine = found[found["protocol"].astype("str").str.startswith("static")]
        own = {str(n): [] for n in found["node"].unique()}
        for node, cidr in cells(mine, "node", "prefix"):
            own[node].append(prefix(cidr))
    rows = []
    for name, kind, address, local in (r for each in services.rows(_addresses) for r in each):
        where = next((c for k, c in ranges if k == kind and prefix(c).covers(prefix(address))), None)
        if where is None:
            continue
        by = sorted(n for n, nets in own.items() if any(p.covers(prefix(address)) for p in nets))
        row: dict[str, Any] = {"service": name, "address": address, "kind": kind, "range": where, "local": local}
        rows.append({**row, "announced_by": None if found is None else by, "evidence": services.ref})
    return SERVICES.frame(rows)


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

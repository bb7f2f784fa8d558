"""Services in the eBPF programs' maps beside Services and EndpointSlices: frontends, and the backends behind them.

Source: felix/bpf/proxy/syncer.go (v3.34-dev): each port of a service has a frontend for its cluster address and for
those of outside, with its ready endpoints; one without any counts 0. A node port has frontends of its own at the
node's addresses and at 255.255.255.255, and those of other nodes lead to their endpoints only. Clients outside
loadBalancerSourceRanges meet a frontend that drops (count -1). default/kubernetes keeps its last endpoints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.dataplane.programmed.memberships import moving
from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.texts import Texts
from calicokit.felix.state.modes import seen_with_ebpf
from calicokit.kube.tables import EVIDENCE
from calicokit.policy.explain import Explainer
from calicokit.policy.model import Backend, Parts, Service, ServicePort
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

SERVICES = Schema(
    "dataplane.bpf_services",
    "Frontends and backends of services in the eBPF programs' NAT maps, beside Services and EndpointSlices (IPv4).",
    (
        Column("node", "str", "node"),
        Column("service", "str", "NS/NAME; null if no service has this address and port"),
        Column("kind", "str", "cluster, outside (external or load balancer) or node-port; null without a service"),
        Column("address", "str", "frontend's address"),
        Column("port", "int", "frontend's port"),
        Column("protocol", "str", "tcp, udp or sctp"),
        Column("source", "str", "clients that it is for (CIDR); null for any"),
        Column("programmed", "bool", "the map has it"),
        Column("count", "int", "backends that it says it has; 0: it refuses; -1: it drops", "backends"),
        Column("flags", "list", "external-local, internal-local, exclude, …"),
        Column("backends", "list", "ADDRESS:PORT of its backends in the map"),
        Column("lacks", "list", "ready endpoints that the map lacks; null where EndpointSlices do not tell"),
        Column("extra", "list", "backends that no EndpointSlice has; null where EndpointSlices do not tell"),
        Column("settled", "bool", "the service is not new, and no pod of its namespace went lately"),
        EVIDENCE,
    ),
    key=("node", "address", "port", "protocol", "source"),
)

CLUSTER, OUTSIDE, NODE_PORT = "cluster", "outside", "node-port"
LATELY = 45.0
"""Seconds in which maps and lists may differ, as they are not read at one time."""
GOING = ("Killing", "SuccessfulDelete", "Evicted", "Preempted")
"""Reasons of events of pods that go: no list has these any more."""
KEPT = "default/kubernetes"
OTHER_PROXY = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
NEAREST = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")


@dataclass(frozen=True)
class _About:
    """What of a service's object the model has not."""

    created: pd.Timestamp | None
    ours: bool
    nearest: bool


@dataclass
class _Front:
    """A frontend that a service asks for."""

    service: Service
    kind: str
    port: ServicePort


_Place = tuple[str, int, str]
"""Address, port and protocol."""


@dataclass
class _Asked:
    """What the cluster asks of every node's maps."""

    fronts: dict[_Place, _Front] = field(default_factory=dict)
    node_ports: dict[tuple[int, str], _Front] = field(default_factory=dict)
    about: dict[str, _About] = field(default_factory=dict)
    backends: dict[str, tuple[Backend, ...]] = field(default_factory=dict)
    restless: set[str] = field(default_factory=set)
    """Namespaces of which a pod went lately."""
    moving: set[str] = field(default_factory=set)
    now: Any = None

    def front(self, place: _Place) -> _Front | None:
        return self.fronts.get(place) or self.node_ports.get(place[1:])

    def settled(self, service: Service) -> bool:
        created = self.about[service.ref].created if service.ref in self.about else None
        old = created is None or self.now is None or (self.now - created).total_seconds() > LATELY
        return old and service.namespace not in self.restless

    def compared(self, front: _Front, programmed: list[str]) -> tuple[list[str], list[str]]:
        """Ready endpoints that are not programmed, and backends that no EndpointSlice has."""
        own = [
            b
            for b in self.backends.get(front.service.ref, ())
            if b.port_name == front.port.name and b.protocol == front.port.protocol and ":" not in b.address
        ]
        known = {f"{b.address}:{b.port}" for b in own}
        ready = {f"{b.address}:{b.port}" for b in own if b.state == "ready" and b.address not in self.moving}
        about = self.about.get(front.service.ref)
        whole = front.kind != NODE_PORT and not (about and about.nearest)  # others lead to some endpoints only
        extra = {b for b in programmed if b.rpartition(":")[0] not in self.moving} - known
        if front.service.ref == KEPT and not ready:
            extra = set()
        return sorted(ready - set(programmed)) if whole else [], sorted(extra)


@table(
    SERVICES,
    wants={
        "dumps": "bpf-nat",
        "felix": "felix.configuration",
        "model": "policy.model",
        "services": "services",
        "pods": "kube.pods",
        "conditions": "pods",
        "events": "kube.events",
        "now": "@now",
    },
)
def bpf_services(
    dumps: Texts | None = None,
    felix: pd.DataFrame | None = None,
    model: Explainer | None = None,
    services: Objects | None = None,
    pods: pd.DataFrame | None = None,
    conditions: Objects | None = None,
    events: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each frontend, there or asked for; see :data:`SERVICES`. Nodes whose maps were not seen have none."""
    if not seen_with_ebpf(felix, {"bpf-nat": dumps}) or dumps is None:
        return SERVICES.frame()
    parts = model.parts if model is not None else None
    asked = _asked(parts, services, events, now) if parts is not None and services is not None else None
    if asked is not None and pods is not None and conditions is not None and now is not None:
        asked.moving = moving(pods, now) | {a for found in conditions.rows(lambda i: _turned(i, now)) for a in found}
    judged = asked is not None and parts is not None and "endpointslices" not in parts.missing and pods is not None
    rows: list[dict[str, Any]] = []
    for evidence, parsed in dumps.parsed("bpf-nat"):
        there = list(_programmed(parsed.tables))
        for row in there:
            place: _Place = row["address"], row["port"], row["protocol"]
            front = asked.front(place) if asked is not None else None
            row |= {"node": evidence.node, "programmed": True, "evidence": evidence.ref}
            if asked is not None and front is not None:
                row |= {"service": front.service.ref, "kind": front.kind, "settled": asked.settled(front.service)}
            if asked is not None and front is not None and judged and row["count"] >= 0:
                row["lacks"], row["extra"] = asked.compared(front, row["backends"])
            rows.append(row)
        if asked is not None and parsed.tables["bpf_nat"].shape[0]:
            seen = {(r["address"], r["port"], r["protocol"]) for r in there}
            rows += [
                {**_missing(place, front), "node": evidence.node, "settled": asked.settled(front.service)}
                | {"evidence": evidence.ref}
                for place, front in asked.fronts.items()
                if place not in seen and front.kind == CLUSTER
            ]
    return SERVICES.frame(rows)


def _programmed(tables: dict[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    backends: dict[int, list[str]] = defaultdict(list)
    for number, address, port in cells(tables["bpf_nat_backends"], "id", "address", "port"):
        if isinstance(address, str):
            backends[int(number)].append(f"{address}:{int(port)}")
    names = ("address", "port", "protocol", "id", "backends", "flags", "source")
    for address, port, protocol, number, count, flags, source in cells(tables["bpf_nat"], *names):
        yield {
            "address": address,
            "port": int(port),
            "protocol": protocol,
            "source": source if isinstance(source, str) else None,
            "count": int(count),
            "flags": flags,
            "backends": backends.get(int(number), []) if count >= 0 else [],
        }


def _missing(place: _Place, front: _Front) -> dict[str, Any]:
    named = dict(zip(("address", "port", "protocol"), place, strict=True))
    about = {"service": front.service.ref, "kind": front.kind, "programmed": False}
    return {**named, **about, "flags": [], "backends": []}


def _turned(item: Object, now: pd.Timestamp) -> list[str]:
    """The addresses of a pod that became ready, or ceased to be, lately."""
    status = item.get("status") or {}
    turns = [c.get("lastTransitionTime") for c in status.get("conditions") or () if c.get("type") == "Ready"]
    times = (pd.to_datetime(t, utc=True, errors="coerce") for t in turns)
    young = any(pd.notna(t) and (now - t).total_seconds() < LATELY for t in times)
    return [a["ip"] for a in status.get("podIPs") or () if a.get("ip")] if young else []


def _asked(parts: Parts, services: Objects, events: pd.DataFrame | None, now: pd.Timestamp | None) -> _Asked:
    asked = _Asked(now=now, backends=dict(parts.backends), about=dict(services.rows(_about)))
    if events is not None and now is not None:
        young = (now - events["last"]).dt.total_seconds() < LATELY
        asked.restless = set(events[young & events["reason"].isin(GOING)]["namespace"])
    for service in parts.services:
        about = asked.about.get(service.ref)
        if service.type == "ExternalName" or (about is not None and not about.ours):
            continue
        for port in service.ports:
            for kind, addresses in ((CLUSTER, service.addresses), (OUTSIDE, service.outside)):
                for address in addresses:
                    if ":" not in address:
                        asked.fronts.setdefault((address, port.port, port.protocol), _Front(service, kind, port))
            if port.node_port:
                asked.node_ports[port.node_port, port.protocol] = _Front(service, NODE_PORT, port)
    return asked


def _about(item: Object) -> tuple[str, _About]:
    meta = item["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    created = pd.to_datetime(meta.get("creationTimestamp"), utc=True, errors="coerce")
    nearest = bool(spec(item).get("trafficDistribution")) or any(annotations.get(a) for a in NEAREST)
    ours = not any(label in labels for label in OTHER_PROXY)
    return f"{meta['namespace']}/{meta['name']}", _About(None if pd.isna(created) else created, ours, nearest)

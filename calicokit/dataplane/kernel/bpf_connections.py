"""Connections that the eBPF programs track, by pod and service: the kernel's conntrack sees few of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.felix.state.modes import seen_with_ebpf
from calicokit.kube.tables import EVIDENCE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

CONNECTIONS = Schema(
    "dataplane.bpf_connections",
    "Connections that eBPF programs track, with the pods, nodes and services at their ends. An entry whose client "
    "nobody answered stays syn-sent; udp and icmp have no state.",
    (
        Column("node", "str", "node that tracks it"),
        Column("protocol", "str", "tcp, udp, icmp, …"),
        Column("client", "str", "NS/POD, or node, of the source; null: outside, or unknown"),
        Column("source", "str", "client's address"),
        Column("sport", "int", "client's port"),
        Column("service", "str", "NS/NAME of the service that the client asked; null for none"),
        Column("destination", "str", "address that the client asked"),
        Column("dport", "int", "port that the client asked"),
        Column("server", "str", "NS/POD, or node, that it went to; null: outside, or unknown"),
        Column("backend", "str", "address that it went to: the service's backend, else the destination"),
        Column("backend_port", "int", "port that it went to"),
        Column("forwarded", "str", "node to or from which a service's external client is forwarded"),
        Column("state", "str", "established, syn-sent, closed or reset; null for other protocols"),
        Column("age", "float", "time since its last packet", "s"),
        EVIDENCE,
    ),
)


@table(
    CONNECTIONS,
    wants={
        "tracked": "output.bpf_conntrack",
        "felix": "felix.configuration",
        "pods": "kube.pods",
        "nodes": "kube.nodes",
        "tunnels": "kube.tunnels",
        "services": "kube.services",
    },
)
def bpf_connections(
    tracked: pd.DataFrame | None = None,
    felix: pd.DataFrame | None = None,
    pods: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
    tunnels: pd.DataFrame | None = None,
    services: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each connection on each node that tracks it; see :data:`CONNECTIONS`."""
    if not seen_with_ebpf(felix, {"output.bpf_conntrack": tracked}) or tracked is None:
        return CONNECTIONS.frame()
    ends = dict(_ends(pods, nodes, tunnels))
    of_service = dict(_services(services))
    names = ("node", "protocol", "source", "sport", "destination", "dport", "backend", "backend_port")
    rows: list[dict[str, Any]] = []
    for *key, tunnel, state, age, evidence in cells(tracked, *names, "tunnel_ip", "state", "age", "evidence"):
        row = dict(zip(names, key, strict=True))
        row["service"] = of_service.get(row["destination"])
        if not isinstance(row["backend"], str):
            row |= {"backend": row["destination"], "backend_port": row["dport"]}
        row |= {"client": ends.get(row["source"]), "server": ends.get(row["backend"])}
        forwarded = ends.get(tunnel, tunnel) if isinstance(tunnel, str) else None
        rows.append(row | {"forwarded": forwarded, "state": state, "age": age, "evidence": evidence})
    return CONNECTIONS.frame(rows)


def _ends(
    pods: pd.DataFrame | None, nodes: pd.DataFrame | None, tunnels: pd.DataFrame | None
) -> Iterator[tuple[str, str]]:
    """Address → NS/POD, or node; of pods with a network of their own that use theirs."""
    if pods is not None:
        own = pods[~pods["host_network"].fillna(False) & ~pods["finished"].fillna(False)]
        for namespace, pod, addresses in cells(own, "namespace", "pod", "addresses"):
            yield from ((address, f"{namespace}/{pod}") for address in addresses)
    if tunnels is not None:
        yield from ((address, node) for node, address in cells(tunnels, "node", "address"))
    if nodes is not None:
        for node, *addresses in cells(nodes, "node", "addresses", "calico_addresses"):
            yield from ((address, node) for found in addresses for address in found)


def _services(services: pd.DataFrame | None) -> Iterator[tuple[str, str]]:
    if services is not None:
        names = ("namespace", "service", "cluster_ips", "load_balancer_ips")
        for namespace, service, *addresses in cells(services, *names):
            yield from ((address, f"{namespace}/{service}") for found in addresses for address in found)

"""Access that policy must leave open: the cluster's DNS for pods, and the control plane for hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from calicokit.net import address_text
from calicokit.policy.decide import Packet, decide
from calicokit.policy.explain import Explainer
from calicokit.policy.explanation import Explanation, said
from calicokit.policy.model import EGRESS, Endpoint, Node, Ports, Rule, Service
from calicokit.policy.reach import Reach
from calicokit.policy.reachability import INHERITED, NEEDED
from calicokit.registry import table
from calicokit.schema import Column, Schema

DNS_NAMESPACES = ("kube-system", "openshift-dns")
NODE_LOCAL_DNS = "kube-system/node-local-dns"
OUTSIDE = {4: "198.18.0.1", 6: "2001:2::1"}
"""An address that no cluster has: the benchmarking networks of RFC 2544 and RFC 5180."""

KUBELET, BGP, TYPHA = 10250, 179, 5473
MOST_PEERS = 50

DNS = Schema(
    "policy.dns",
    "Whether egress policies allow DNS queries to the cluster DNS (UDP 53), for workloads with such a policy.",
    (
        Column("namespace", "str", "namespace"),
        Column("workload", "str", "NAMESPACE/NAME"),
        Column("pods", "int", "pods of it that policy treats alike", "pods"),
        Column("service", "str", "the DNS service, NAMESPACE/NAME"),
        Column("dns", "str", "allow, deny, mixed or unknown"),
        Column("why", "str", "what decides"),
        Column(
            "other", "str", "destinations its egress rules allow, other than pods that are denied too; null for none"
        ),
        Column("example", "str", "one of the pods, NAMESPACE/POD"),
    ),
    key=("workload", "example"),
)

HOST_ACCESS = Schema(
    "policy.host_access",
    "Connections that nodes with host endpoints need (API server, Typha, BGP, and kubelet), with the verdict of host "
    "policies, failsafes and profiles.",
    (
        Column("node", "str", "node of the host endpoint"),
        Column("what", "str", "API server, kubelet, BGP or Typha"),
        Column("src", "str", "source address"),
        Column("dst", "str", "destination address"),
        Column("port", "int", "TCP port"),
        Column("verdict", "str", "allow, deny or unknown"),
        Column("why", "str", "what decides"),
    ),
    key=("what", "src", "dst", "port"),
)


# ---- DNS


@table(DNS, needs={"explainer": "policy.model", "reach": "policy.reach"}, known=("services", *NEEDED))
def dns(explainer: Explainer, reach: Reach) -> pd.DataFrame:
    """One row a workload; see :data:`DNS`."""
    explainer.parts.need(*INHERITED)
    reach.check()
    service = dns_service(explainer)
    if service is None:
        return DNS.frame()
    rows = [row for place in range(len(reach.classes)) for row in _dns_rows(explainer, reach, service, place)]
    denied: dict[str, set[str]] = {}
    for row in rows:
        if row["dns"] == "deny":
            denied.setdefault(row["namespace"], set()).update(row["members"])
    for row in rows:
        mute, place = denied.get(row["namespace"], set()), row.pop("place")
        row["other"] = _other(explainer, reach, place, mute) if row["dns"] == "deny" else None
        del row["members"]
    return DNS.frame(rows)


def dns_service(explainer: Explainer) -> Service | None:
    """The service that pods' resolvers ask; None where it is not known which (none, or a cache on each node)."""
    parts = explainer.parts
    if any(e.workload == NODE_LOCAL_DNS for e in parts.endpoints) or any(
        ref.startswith(f"{NODE_LOCAL_DNS}-") for ref in parts.host_pods
    ):
        return None
    found = [
        s
        for s in parts.services
        if s.namespace in DNS_NAMESPACES and s.addresses and any((p.protocol, p.port) == ("udp", 53) for p in s.ports)
    ]
    return min(found, key=lambda s: (s.name != "kube-dns", s.ref)) if found else None


def _dns_rows(explainer: Explainer, reach: Reach, service: Service, place: int) -> Iterator[dict[str, Any]]:
    backends = {b.address for b in explainer.parts.backends.get(service.ref, ())}
    members = [m for m in reach.classes.members[place] if m.cluster_dns and not backends & set(m.addresses)]
    if not members or not explainer.world.stages(members[0], "normal", EGRESS):
        return
    answer = explainer.explain(members[0].ref, f"svc/{service.ref}", 53, "udp")
    by_workload: dict[str, list[Endpoint]] = {}
    for member in members:
        by_workload.setdefault(member.workload, []).append(member)
    verdict, why = _egress(answer)
    for workload, mine in sorted(by_workload.items()):
        yield {
            "namespace": mine[0].namespace,
            "workload": workload,
            "pods": len(mine),
            "service": service.ref,
            "dns": verdict,
            "why": why,
            "example": mine[0].ref,
            "members": [m.ref for m in mine],
            "place": place,
        }


def _egress(answer: Explanation) -> tuple[str, str]:
    """The verdict of the source's side alone, and why."""
    actions = {f.egress.action for f in answer.flows}
    if not actions or "unknown" in actions or answer.without_endpoints:  # rules that allow DNS name its pods
        return "unknown", str(answer)
    return (actions.pop() if len(actions) == 1 else "mixed"), said(answer.flows[0].egress.decision)


def _other(explainer: Explainer, reach: Reach, place: int, mute: set[str]) -> str | None:
    """A destination that a class's egress lets through, other than these pods; None if there is none."""
    walks, of = reach.walks(EGRESS)
    for other in np.flatnonzero(walks[of[place]].any(axis=1)).tolist():
        for member in reach.classes.members[other]:
            if member.ref not in mute:
                return f"{member.workload} ({reach.text(walks[of[place], other])})"
    return _outside(explainer, reach.classes.first[place])


def _outside(explainer: Explainer, pod: Endpoint) -> str | None:
    """An address that is no pod's which the egress rules let through: tried for what each rule that allows names."""
    for stage in explainer.world.stages(pod, "normal", EGRESS):
        for rule in (r for a in stage.policies if not a.policy.staged for r in a.policy.egress if r.action == "allow"):
            for packet in _samples(rule, pod):
                if explainer.world.pods_at(packet.dst):
                    continue
                if decide(explainer.world, pod, EGRESS, packet).action == "allow":
                    return f"{packet.dst} port {packet.port} ({packet.protocol})"
    return None


def _samples(rule: Rule, pod: Endpoint) -> Iterator[Packet]:
    side = rule.destination
    if side.selector:
        return
    version = 6 if ":" in pod.addresses[0] else 4
    port = next((p.first for p in side.ports if isinstance(p, Ports)), 443)
    targets = [address_text(version, n.first) for n in side.nets if n.version == version]
    for target in targets or [OUTSIDE[version]]:
        yield Packet(pod.addresses[0], target, rule.protocol or "tcp", max(port, 1))


# ---- hosts


@table(HOST_ACCESS, needs={"explainer": "policy.model"}, known=("hostendpoints", "nodes"))
def host_access(explainer: Explainer) -> pd.DataFrame:
    """One row a connection; see :data:`HOST_ACCESS`."""
    guarded = {e.node for e in explainer.parts.endpoints if e.host}
    nodes = [n for n in explainer.parts.nodes if n.name in guarded and n.addresses]
    asked = {q[1:]: q[0] for n in nodes for q in _questions(explainer, n)}  # a connection of two nodes is asked once
    return HOST_ACCESS.frame([_host_row(explainer, node, *q) for q, node in asked.items()])


def _questions(explainer: Explainer, node: Node) -> Iterator[tuple[str, str, str, str, int]]:
    """Node, what, source, destination and port of what a node needs."""
    backends, own = explainer.parts.backends, node.addresses[0]
    servers = sorted({(b.address, b.port) for b in backends.get("default/kubernetes", ()) if b.protocol == "tcp"})
    for address, port in servers[:MOST_PEERS]:
        yield node.name, "API server", own, address, port
        yield node.name, "kubelet", address, own, KUBELET
    for ref, typhas in backends.items():
        if ref.endswith("/calico-typha"):
            for typha in [t for t in typhas if t.port == TYPHA][:MOST_PEERS]:
                yield node.name, "Typha", own, typha.address, typha.port
    if any(p.vxlan == "Never" for p in explainer.parts.pools):
        for peer in [n for n in explainer.parts.nodes if n.subnets and n.name != node.name and node.subnets][
            :MOST_PEERS
        ]:
            yield node.name, "BGP", own, peer.addresses[0], BGP
            yield node.name, "BGP", peer.addresses[0], own, BGP


def _host_row(explainer: Explainer, node: str, what: str, src: str, dst: str, port: int) -> dict[str, Any]:
    answer = explainer.explain(src, dst, port)
    decided = answer.decided_by
    if answer.verdict == "deny" and decided is not None:
        ends = {a: n.name for n in explainer.parts.nodes for a in n.addresses}
        node = ends.get(src if decided.direction == EGRESS else dst, node)
    row = {"node": node, "what": what, "src": src, "dst": dst, "port": port}
    return {**row, "verdict": "unknown" if answer.unless else answer.verdict, "why": str(answer)}

"""Whether a flow is let through, and by which rule: from two names and a port to an answer.

What policy sees of a flow (after DNAT, before or after masquerade) follows the order of the kernel's hooks: DNAT comes
before the filter chains, masquerade after them, so that on the node where traffic is masqueraded policy still sees the
true source, and on the next node it does not. Facts: docs/policy.md; felix/rules/static.go at HEAD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from calicokit.net import canonical_address, prefix
from calicokit.policy.convert import OPTIONAL_KINDS, POLICY_KINDS, WITH_PORTS, protocol
from calicokit.policy.decide import UNKNOWN, Decision, Outcome, Packet, Step, World, decide
from calicokit.policy.explanation import Explanation, Flow
from calicokit.policy.hosts import Hosts, Link, in_order
from calicokit.policy.model import EGRESS, INGRESS, Backend, Direction, Endpoint, Parts, Pool, Service, ServicePort
from calicokit.policy.read import Inputs, New

SERVICE = "svc/"


class SenselessError(ValueError):
    """A question that makes no sense, or whose ends are not known; its text is the reason."""


@dataclass(frozen=True)
class End:
    """One end of a flow: a pod, a node, or something outside (neither)."""

    text: str
    address: str
    pod: Endpoint | None = None
    node: str = ""

    @property
    def outside(self) -> bool:
        return self.pod is None and not self.node

    @property
    def on(self) -> str:
        """The node where it is; empty where that is not in the cluster."""
        return self.pod.node if self.pod else self.node


@dataclass(frozen=True)
class Target:
    """Where a flow ends after DNAT. ``through`` is the address and port that it was sent to, if another.

    ``masked`` says where kube-proxy masquerades: the node that it does it on, ``*`` for one that is not known.
    """

    end: End
    port: int | None
    through: tuple[str, int] | None = None
    masked: str = ""


class Explainer:
    """Answers questions about flows in one world."""

    def __init__(self, parts: Parts, inputs: Inputs | None = None) -> None:
        self._inputs = inputs
        self.world = World(parts)
        self.parts = parts
        self.hosts = Hosts(self.world)
        self.nodes = {n.name: n for n in parts.nodes}
        self._node_of = {a: n.name for n in parts.nodes for a in (*n.addresses, *n.tunnels.values())}
        self._services = {s.ref: s for s in parts.services}
        self._service_of = {a: s for s in parts.services for a in (*s.addresses, *s.outside)}

    def changed(self, new: New) -> Explainer:
        """The same cluster as it would be with these objects added or changed."""
        if self._inputs is None:
            raise ValueError("it was not read from lists")
        return Explainer(self._inputs.parts(new), self._inputs)

    # ---- the question

    def explain(self, src: object, dst: object, port: object = None, proto: object = "tcp") -> Explanation:
        """The answer; unknown, with the reason, where the question makes no sense."""
        answer = self._explained(src, dst, port, proto)
        if answer.verdict != UNKNOWN or not self.optional_unseen:
            return answer
        told = self._without_optional._explained(src, dst, port, proto)
        return answer if told.verdict == UNKNOWN else replace(told, unless=self.optional_unseen)

    @cached_property
    def optional_unseen(self) -> tuple[str, ...]:
        """Calico's words for the kinds of policies that few clusters have and that were not listed."""
        return tuple(POLICY_KINDS[i][0] for i in OPTIONAL_KINDS if i in self.parts.missing)

    @cached_property
    def _without_optional(self) -> Explainer:
        """The same cluster, were there none of these."""
        return Explainer(replace(self.parts, missing=self.parts.missing - set(OPTIONAL_KINDS)), self._inputs)

    def with_programmed(self, chains: pd.DataFrame | None) -> Explainer:
        """The same, if the chains of every node (``dataplane.chains``) tell that no policy of these kinds acts.

        In eBPF mode policies have no chains, which then tell nothing.
        """
        if chains is None or "nodes" in self.parts.missing or self.parts.bpf:
            return self
        own = chains[(chains["owner"] == "calico") & chains["role"].notna()]
        policies = own[own["role"] == "policy"]
        acting = policies["kind"].isna() | policies["kind"].isin(self.optional_unseen)
        whole = {n.name for n in self.parts.nodes} <= set(own["node"])
        return self._without_optional if whole and not acting.any() else self

    def _explained(self, src: object, dst: object, port: object, proto: object) -> Explanation:
        shown = (str(src), str(dst), port if isinstance(port, int) else None, protocol(proto))
        try:
            return self._answer(*self._asked(src, dst, port, proto))
        except SenselessError as error:
            return Explanation(*shown, UNKNOWN, unknown=(str(error),))

    def explain_batch(self, questions: Iterable[object]) -> list[Explanation]:
        """The answers to many questions, each ``{"src", "dst", "proto", "port"}``, in their order."""
        return [self._one_of_batch(q) for q in questions]

    def _one_of_batch(self, question: object) -> Explanation:
        if not isinstance(question, dict):
            why = f"not an object with src, dst, proto and port: {str(question)[:80]}"
            return Explanation("", "", None, "", UNKNOWN, unknown=(why,))
        src, dst, port = (question.get(k) for k in ("src", "dst", "port"))
        return self.explain(src, dst, port, question.get("proto", "tcp"))

    @staticmethod
    def _asked(src: object, dst: object, port: object, proto: object) -> tuple[str, str, int | None, str]:
        for what, value in (("src", src), ("dst", dst)):
            if not isinstance(value, str) or not value.strip():
                raise SenselessError(f"{what} is not NS/POD, svc/NS/SERVICE or an IP: {value!r}")
        known = protocol(proto if proto is not None else "tcp")
        if known not in (*WITH_PORTS, "icmp", "icmpv6") and not (known.isdigit() and 0 < int(known) < 256):
            raise SenselessError(f"no protocol is named {proto!r}")
        number = int(port) if isinstance(port, str) and port.isdigit() else port
        if known not in WITH_PORTS:
            return str(src).strip(), str(dst).strip(), None, known
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
            raise SenselessError(f"{port!r} is not a port" if port is not None else f"{known} needs a port")
        return str(src).strip(), str(dst).strip(), number, known

    def _answer(self, src: str, dst: str, port: int | None, proto: str) -> Explanation:
        service, node = self._service(dst, port, proto)
        if service is not None:
            source = self._end(src, None)
            targets = self._backends(source, service, dst, node, port, proto)
        else:
            target = self._end(dst, None)
            source = self._end(src, target)
            targets = [Target(self._end(dst, source), port)]
            if source.outside and target.outside:
                raise SenselessError(f"neither {src} nor {dst} is in the cluster, so its policy does not apply")
        if service is not None and not targets:
            return self._without_endpoints(source, service, node, (src, dst, port, proto))
        flows = tuple(self._flow(self._same_version(source, t.end), t, proto) for t in targets)
        return Explanation(src, dst, port, proto, _verdict(flows), flows, _doubts(flows))

    @property
    def node_addresses(self) -> Mapping[str, str]:
        """Addresses of nodes and of their tunnels → the node."""
        return self._node_of

    def backends(self, src: str, dst: str, port: int | None, proto: str) -> list[tuple[str, int | None]] | None:
        """Addresses and ports that a connection to a service's address may be led to; None for no service's address.

        Raises ``SenselessError`` where that is not known.
        """
        service, node = self._service(dst, port, proto)
        if service is None:
            return None
        found = self._backends(self._end(src, None), service, dst, node, port, proto)
        return list(dict.fromkeys((t.end.address, t.port) for t in found))

    # ---- ends

    def _end(self, text: str, other: End | None) -> End:
        """Who is meant; of a pod's addresses the one of the other end's IP version."""
        if "/" in text:
            return self._pod_named(text, other)
        try:
            address = canonical_address(text)
        except ValueError:
            raise SenselessError(f"{text} is neither NS/POD nor an IP") from None
        pods = self.world.pods_at(address)
        if len(pods) > 1:
            raise SenselessError(f"{address} is used by several pods: {', '.join(sorted(p.ref for p in pods))}")
        if pods:
            return End(text, address, pods[0])
        if address in self._node_of:
            return End(text, address, node=self._node_of[address])
        return End(text, self._nobodys(address))

    def _nobodys(self, address: str) -> str:
        """The address, if it is known to be outside."""
        for kind in ("pods", "nodes"):
            if kind in self.parts.missing:
                raise SenselessError(f"the owner of {address} is unknown: {kind} are unknown")
        pool = next((p for p in self.parts.pools if p.net.covers(prefix(address))), None)
        if pool is not None:
            raise SenselessError(f"{address} is in IP pool {pool.name}, but no pod or node has it")
        return address

    def _pod_named(self, text: str, other: End | None) -> End:
        pod = self.world.by_ref.get(text)
        if pod is not None:
            return End(text, _of_version(pod.addresses, other, text), pod)
        if text in self.parts.host_pods:
            node, addresses = self.parts.host_pods[text]
            own = addresses or (self.nodes[node].addresses if node in self.nodes else ())
            if not own:
                raise SenselessError(f"the address of {text}, which is host-networked, is unknown")
            return End(text, _of_version(own, other, text), node=node)
        if text in self.parts.idle:
            raise SenselessError(f"{text} is not an endpoint: {self.parts.idle[text].why}")
        if "pods" in self.parts.missing:
            raise SenselessError("pods are unknown")
        mine = sorted(e.ref for e in self.world.by_ref.values() if e.workload == text)
        raise SenselessError(f"no pod is named {text}" + (f"; its pods are {', '.join(mine[:5])}" if mine else ""))

    def _same_version(self, source: End, target: End) -> End:
        """The source with its address of the target's IP version."""
        if (":" in source.address) == (":" in target.address):
            return source
        own = source.pod.addresses if source.pod else self.nodes[source.node].addresses if source.node else ()
        return End(source.text, _of_version(own, target, source.text), source.pod, source.node)

    # ---- services

    def _service(self, dst: str, port: int | None, proto: str) -> tuple[Service | None, str]:
        """The service that is meant, and the node whose node port it was asked by."""
        if dst.startswith(SERVICE):
            found = self._services.get(dst.removeprefix(SERVICE))
            if found is None:
                lacks = "services are unknown" if "services" in self.parts.missing else f"no service is named {dst}"
                raise SenselessError(lacks)
            if found.type == "ExternalName":
                raise SenselessError(f"{dst} is an ExternalName: its destination depends on DNS")
            return found, ""
        try:
            address = canonical_address(dst)
        except ValueError:
            return None, ""
        if address in self._service_of:
            return self._service_of[address], ""
        if address not in self._node_of or port is None:
            return None, ""
        node = self._node_of[address]
        by_port = (s for s in self.parts.services for p in s.ports if (p.node_port, p.protocol) == (port, proto))
        return next(by_port, None), node

    def _backends(
        self, source: End, service: Service, dst: str, node: str, port: int | None, proto: str
    ) -> list[Target]:
        """The service's usable endpoints at this port, with what kube-proxy does to the source on the way."""
        if "endpointslices" in self.parts.missing:
            raise SenselessError("EndpointSlices are unknown, and so are the backends of services")
        found = [p for p in service.ports if p.protocol == proto and port == (p.node_port if node else p.port)]
        if not found:
            raise SenselessError(f"service {service.ref} has no port {port}/{proto}")
        mine = [b for b in self.parts.backends.get(service.ref, ()) if _of_port(b, found[0])]
        usable = [b for b in mine if b.state == "ready"] or [b for b in mine if b.state == "draining"]
        inside = dst.startswith(SERVICE) or dst in service.addresses
        usable = self._local(source, service, node, inside, usable)
        headless = not service.addresses and inside
        to = node and self.nodes[node].addresses[0]
        through = (to or (service.addresses[0] if inside and service.addresses else dst), found[0].port)
        kept = headless or self._by_program(source)  # Calico's programs leave the source as it is
        masked = "" if kept else self._masked(source, service, node, inside)
        return [
            Target(
                self._backend_end(b),
                port if headless else b.port,
                None if headless else (through[0], port or 0),
                masked,
            )
            for b in usable
        ]

    def _without_endpoints(
        self, source: End, service: Service, node: str, asked: tuple[str, str, int | None, str]
    ) -> Explanation:
        """A service that leads nowhere: a packet to it stays as it was sent, and is refused unless policy drops it.

        iptables and nftables: Calico's filter chains come before kube-proxy's REJECT (``-A FORWARD -j cali-FORWARD``
        is the first rule, ``-j KUBE-SERVICES`` one of the last). eBPF: the program that finds no backend answers
        before it asks policy (NAT_NO_BACKEND in felix/bpf-gpl/tc.c; the recording ebpf-service-no-endpoints: senders
        whose egress policy denies were refused).
        """
        src, dst, port, proto = asked
        refused = Explanation(src, dst, port, proto, "no-endpoints", without_endpoints=True)
        named = dst.startswith(SERVICE)
        to = next(iter(service.addresses), "") if named else canonical_address(dst)
        if self._by_program(source) or not to:
            return refused
        end = End(dst, to, node=node)
        flow = self._flow(self._same_version(source, end), Target(end, port), proto)
        if flow.action != "deny":
            return refused
        return Explanation(src, dst, port, proto, "deny", (flow,), without_endpoints=True)

    def _by_program(self, source: End) -> bool:
        """Whether Calico's eBPF programs translate the services that a source asks for, and not kube-proxy."""
        return source.on in self.parts.bpf if source.on else bool(self.parts.bpf)

    def _local(self, source: End, service: Service, node: str, inside: bool, usable: list[Backend]) -> list[Backend]:
        """Those on the node where kube-proxy chooses, where the service's traffic policy is Local."""
        if inside and service.local_inside:
            if not source.on:
                raise SenselessError("the service uses node-local endpoints, and the ingress node is unknown")
            return [b for b in usable if b.node == source.on]
        if not inside and service.local_outside and (source.outside or (node and node != source.on)):
            if not node:
                raise SenselessError("the service uses node-local endpoints, and the ingress node is unknown")
            return [b for b in usable if b.node == node]
        return usable

    @staticmethod
    def _masked(source: End, service: Service, node: str, inside: bool) -> str:
        """The node that masquerades the source, ``*`` for one that is not known, empty for none."""
        if inside:
            return "" if source.pod else source.on or "*"
        if service.local_outside:
            return ""
        return node or source.on or "*"

    def _backend_end(self, backend: Backend) -> End:
        pods = self.world.pods_at(backend.address)
        if len(pods) == 1:
            return End(backend.address, backend.address, pods[0])
        return End(backend.address, backend.address, node=self._node_of.get(backend.address, ""))

    # ---- one flow

    def _flow(self, source: End, target: Target, proto: str) -> Flow:
        proto = "icmpv6" if proto in ("icmp", "icmpv6") and ":" in target.end.address else proto
        road = _Road(self, source, target, proto)
        return Flow(source.address, target.end.address, target.port, road.egress(), road.ingress())

    def seen_from(self, source: End, target: End, masked: str, through: bool = False) -> list[str]:
        """The addresses that the destination's node may see as the source; several where it is not known which.

        In eBPF mode a node's connection ``through`` a service's address to a pod behind VXLAN has the tunnel's address,
        whether it is translated as it connects or by a program (HOST_TUNNEL_IP in felix/bpf-gpl/tc.c, v3.28.0 to
        v3.34-dev; recording healthy-ebpf-vxlan). Of other tunnels that was not seen: then it may be the node's own.
        """
        if masked:
            nodes = [masked] if masked != "*" else list(self.nodes)
            here = [n for n in nodes if n != target.on]
            own = [source.address] if len(here) < len(nodes) else []
            return [*own, *(a for n in here for a in self._node_addresses(n, target))]
        if source.node and source.node != target.on:
            own = self._of_node(source.node, target) if through and source.node in self.parts.bpf else []
            seen = self._node_addresses(source.node, target)
            vxlan = [a for kind, a in self.nodes[source.node].tunnels.items() if kind.startswith("vxlan")]
            return seen if set(seen) <= set(vxlan) else list(dict.fromkeys([*seen, *own]))
        if source.pod and target.pod is None and target.on != source.on and self._nat_outgoing(source, target):
            return self._of_node(source.on, target)
        return [source.address]

    def _nat_outgoing(self, source: End, target: End) -> bool:
        pool = self._pool(source.address)
        if pool is None or not pool.nat_outgoing or self._pool(target.address) is not None:
            return False
        return not (self.parts.exclude_hosts and target.node)

    def _pool(self, address: str) -> Pool | None:
        net = prefix(address)
        return next((p for p in self.parts.pools if p.net.covers(net)), None)

    def _of_node(self, node: str, target: End) -> list[str]:
        version = ":" in target.address
        own = self.nodes[node].addresses if node in self.nodes else ()
        return [a for a in own if (":" in a) == version][:1]

    def _node_addresses(self, node: str, target: End) -> list[str]:
        """A node's address as a pod or node elsewhere sees it: its own, or its tunnel's where one leads there."""
        own = self._of_node(node, target)
        if target.pod is None:
            return own
        tunnels = self._tunnels(node, target)
        return own if tunnels == [] else tunnels or own

    def _tunnels(self, node: str, target: End) -> list[str]:
        known, pool = self.nodes.get(node), self._pool(target.address)
        if known is None:
            return []
        version = ":" in target.address
        mine = {k: a for k, a in known.tunnels.items() if (":" in a) == version}
        if "ippools" in self.parts.missing:
            return [*self._of_node(node, target), *mine.values()]
        found = [a for k, a in mine.items() if k.startswith("wireguard")]
        if pool is not None and found == []:
            mode, start = (pool.ipip, "ipip") if pool.ipip != "Never" else (pool.vxlan, "vxlan")
            if mode == "Always" or (mode == "CrossSubnet" and not self._same_subnet(node, target.on)):
                found = [a for k, a in mine.items() if k.startswith(start)]
        return found

    def _same_subnet(self, one: str, other: str) -> bool:
        a, b = (self.nodes[n].subnets if n in self.nodes else () for n in (one, other))
        return any(x == y for x in a for y in b)

    def link(self, here: str, there: End) -> Link:
        """By what traffic from a node to an end elsewhere leaves it: its uplink, or a tunnel."""
        if there.pod is None or here not in self.nodes:
            return "uplink"
        return "tunnel" if self._tunnels(here, there) else "uplink"


class _Road:
    """What one flow meets: on its source's side, and on its destination's."""

    def __init__(self, explainer: Explainer, source: End, target: Target, proto: str) -> None:
        self.explainer, self.source, self.target = explainer, source, target
        self.hosts, self.world = explainer.hosts, explainer.world
        self.proto, self.same = proto, bool(source.on) and source.on == target.end.on

    def packet(self, src: str) -> Packet:
        return Packet(src, self.target.end.address, self.proto, self.target.port)

    def sent(self, src: str) -> Packet:
        """The packet before DNAT."""
        if self.target.through is None:
            return self.packet(src)
        return Packet(src, self.target.through[0], self.proto, self.target.through[1])

    @property
    def stays(self) -> bool:
        """A pod's traffic to its own address never leaves the pod, unless a service's address was asked."""
        pod = self.source.pod
        return pod is not None and pod is self.target.end.pod and self.target.through is None

    # ---- the source's side

    def egress(self) -> Outcome:
        if self.source.outside or self.stays:
            return Outcome(Decision("allow", EGRESS))
        return in_order(self._source_side())

    def _source_side(self) -> Iterator[Outcome]:
        node, end, src = self.source.on, self.target.end, self.source.address
        packet = self.packet(src)
        link: Link = "pod" if end.pod else "uplink"
        if not self.same:
            link = self.explainer.link(node, end)
        if self.source.pod is not None:
            to_own_host = self.same and end.pod is None
            yield _turned(self._from_pod(node, src, to_own_host), EGRESS)
            yield self._encapsulated(node, packet)
            yield decide(self.world, self.source.pod, EGRESS, packet)
            if not to_own_host:
                yield self.hosts.leaving(node, link, packet, forwarded=True)
        elif self.same and end.pod is None:
            yield self.hosts.leaving(node, "loopback", packet, forwarded=False)
        elif not self.same:
            yield self.hosts.leaving(node, link, packet, forwarded=False)
        else:
            yield Outcome(Decision("allow", EGRESS))

    def _from_pod(self, node: str, src: str, to_own_host: bool) -> Outcome:
        """What the host endpoint of all interfaces makes of a pod's traffic; to its own host, only before DNAT."""
        if not to_own_host:
            return self.hosts.arriving(node, "pod", self.packet(src), True, self.sent(src))
        found = self.hosts.before_dnat(node, "pod", self.sent(src))
        return found if found.action in ("deny", UNKNOWN) else Outcome(Decision("allow", INGRESS))

    def _encapsulated(self, node: str, packet: Packet) -> Outcome:
        """Felix drops what looks like VXLAN from a pod before any policy, unless it is told not to."""
        rules = self.hosts.rules(node)
        if (packet.protocol, packet.port) != ("udp", rules.vxlan_port) or rules.vxlan_from_pods:
            return Outcome(Decision("allow", EGRESS))
        name = "allowVXLANPacketsFromWorkloads"
        step = Step(self.source.text, EGRESS, None, "FelixConfiguration", name, action="deny", note="VXLAN from a pod")
        return Outcome(Decision("deny", EGRESS, None, "FelixConfiguration", name), [step])

    # ---- the destination's side

    def ingress(self) -> Outcome:
        end = self.target.end
        if self.stays or end.outside:
            return Outcome(Decision("allow", INGRESS))
        if self.same and self.source.node and end.pod:
            return Outcome(Decision("allow", INGRESS))  # a host reaches its own pods
        if self.same and self.source.pod and end.pod is None:
            return self._to_own_host()
        seen = self.explainer.seen_from(self.source, end, self.target.masked, self.target.through is not None)
        outcomes = [in_order(self._destination_side(address)) for address in seen]
        if len({o.action for o in outcomes}) == 1:
            return outcomes[0]
        if not outcomes:
            return Outcome(Decision(UNKNOWN, INGRESS), doubts=[f"the source address seen by {end.text} is unknown"])
        why = f"the source address seen by {end.text} is one of {', '.join(seen)}, with different verdicts"
        return Outcome(Decision(UNKNOWN, INGRESS), outcomes[0].steps, [why])

    def _destination_side(self, src: str) -> Iterator[Outcome]:
        end, packet = self.target.end, self.packet(src)
        if not self.same:
            back: Link = "uplink"
            if self.source.on and end.pod is not None:
                back = self.explainer.link(self.source.on, end)
            before = self.sent(src) if self.source.outside else packet
            yield self.hosts.arriving(end.on, back, packet, end.pod is not None, before)
        elif self.source.node:
            yield self.hosts.arriving(end.on, "loopback", packet, False, packet)
        if end.pod is not None:
            yield decide(self.world, end.pod, INGRESS, packet)
            yield _turned(self.hosts.leaving(end.on, "pod", packet, forwarded=True), INGRESS)

    def _to_own_host(self) -> Outcome:
        action = self.hosts.rules(self.target.end.on).endpoint_to_host
        if action is None:
            return Outcome(Decision(UNKNOWN, INGRESS), doubts=["defaultEndpointToHostAction is unknown"])
        verdict = "deny" if action in ("Drop", "Reject") else "allow"
        name = "defaultEndpointToHostAction"
        step = Step(self.target.end.text, INGRESS, None, "FelixConfiguration", name, action=verdict, note=action)
        return Outcome(Decision(verdict, INGRESS, None, "FelixConfiguration", name), [step])


def _turned(outcome: Outcome, direction: Direction) -> Outcome:
    """What a host endpoint of the same node decided, as a decision on this side of the flow."""
    d = outcome.decision
    turned = Decision(d.action, direction, d.tier, d.kind, d.name, d.namespace, d.rule)
    return Outcome(turned, outcome.steps, outcome.doubts)


def _of_version(addresses: Iterable[str], other: End | None, text: str) -> str:
    """The first address, or the first of the other end's IP version."""
    own = list(addresses)
    if other is None:
        return own[0]
    fitting = [a for a in own if (":" in a) == (":" in other.address)]
    if not fitting:
        raise SenselessError(f"{text} has no address of the IP version of {other.text}")
    return fitting[0]


def _of_port(backend: Backend, port: ServicePort) -> bool:
    return (backend.port_name, backend.protocol) == (port.name, port.protocol)


def _verdict(flows: tuple[Flow, ...]) -> str:
    actions = {f.action for f in flows}
    if {"allow", "deny"} <= actions:
        return "mixed"
    return UNKNOWN if UNKNOWN in actions else actions.pop()


def _doubts(flows: tuple[Flow, ...]) -> tuple[str, ...]:
    unknown = [o for f in flows if f.action == UNKNOWN for o in (f.egress, f.ingress) if o.action == UNKNOWN]
    return tuple(dict.fromkeys(d for o in unknown for d in o.doubts))

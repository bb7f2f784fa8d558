"""A flow through the cluster: out of its source's node, into its destination's, by the rules of both.

The first packet of a connection is walked, as the answer follows conntrack. What is known of the way between two nodes
is the route and the tunnel's own packets; the network between them is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Protocol

import pandas as pd

from calicokit.dataplane.packets.packet import AddressSet, Packet, Route, protocol_number
from calicokit.dataplane.packets.ruleset import Base, Rule, Ruleset, rulesets
from calicokit.dataplane.packets.walk import Step, Way, own_addresses, walk_hook
from calicokit.dataplane.rules.policy_programs import SPACE
from calicokit.net import VXLAN_PORT, address_text
from calicokit.schema import cells
from calicokit.tables import Tables

TABLES = {
    "rules": "dataplane.rules",
    "chains": "dataplane.chain_list",
    "sets": "dataplane.sets",
    "routes": "output.ip_route_all",
    "endpoints": "dataplane.endpoints",
    "programs": "dataplane.bpf_walk",
}
"""Parameters of :meth:`Dataplane.build` → the tables they get; the last is a model."""

TUNNELS = {"vxlan.calico": "vxlan", "vxlan-v6.calico": "vxlan", "tunl0": "ipip"}
ARRIVED = frozenset(("delivered", "host", "left"))


@dataclass(frozen=True, slots=True)
class End:
    """Where a part of a flow ends.

    ``verdict``: delivered (to a pod), host (to a process of the node), left (the cluster), drop, reject, no-route or
    unknown; ``by`` is the rule or base chain that ended it; ``share`` its part of the traffic.
    """

    verdict: str
    node: str
    packet: Packet
    share: float
    by: Rule | Base | None = None
    why: str = ""
    steps: tuple[Step, ...] = ()
    doubts: tuple[Rule, ...] = ()

    @property
    def arrived(self) -> bool:
        return self.verdict in ARRIVED


@dataclass(frozen=True)
class Walk:
    """The answer: all ends, and one word for them."""

    ends: tuple[End, ...]

    @property
    def verdict(self) -> str:
        """accept, drop, reject, mixed (it depends on the backend), or unknown."""
        if not self.ends:
            return "unknown"
        said = {_coarse(e) for e in self.ends}
        if len(said) == 1:
            return said.pop()
        if "unknown" in said or any(e.doubts for e in self.ends):
            return "unknown"
        return "drop" if said == {"drop", "reject"} else "mixed"

    @property
    def stopped(self) -> tuple[End, ...]:
        """The ends that do not arrive."""
        return tuple(e for e in self.ends if not e.arrived)


def _coarse(end: End) -> str:
    return "accept" if end.arrived else "drop" if end.verdict == "no-route" else end.verdict


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod is."""

    node: str
    interface: str
    pod: str
    workload: str


class Programs(Protocol):
    """What eBPF programs do with packets on nodes in that mode: the model ``dataplane.bpf_walk``."""

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes in eBPF mode."""

    def leaves(self, node: str, interface: str, way: Way) -> list[Way]:
        """A pod's packet as it comes in at its interface."""

    def comes(self, node: str, interface: str, way: Way, from_host: bool) -> list[Way]:
        """A packet on its way out to a pod."""

    def translated(self, node: str, way: Way) -> list[Way]:
        """To each backend of a service's address."""

    def loses_replies(self, node: str, interface: str) -> bool:
        """Whether what a pod answers has no program that would mark it."""

    def lacks(self, node: str, interface: str, hook: str) -> bool:
        """Whether an interface lacks its program at a hook."""

    def pass_on(self, packet: Packet) -> bool:
        """Whether programs have seen a packet as it came in, and may send it on past the rules."""


@dataclass
class Dataplane:
    """The rules of all nodes, and where pods and nodes are."""

    nodes: dict[str, Ruleset]
    pods: dict[tuple[int, int], Place] = field(default_factory=dict)
    node_of: dict[tuple[int, int], str] = field(default_factory=dict)
    programs: Programs | None = None

    @classmethod
    def of(cls, cluster: Tables) -> Dataplane:
        """From a cluster's tables; what is unknown of them is unknown to the walk."""
        cluster.fetch(TABLES.values())
        return cls.build(**{parameter: cluster.given(name) for parameter, name in TABLES.items()})

    @classmethod
    def build(
        cls,
        rules: pd.DataFrame | None,
        chains: pd.DataFrame | None,
        sets: pd.DataFrame | None,
        routes: pd.DataFrame | None,
        endpoints: pd.DataFrame | None,
        programs: Programs | None = None,
    ) -> Dataplane:
        """From the tables of :data:`TABLES`; each may be None."""
        made = {} if rules is None or chains is None else rulesets(rules, chains, sets, routes)
        found = cls(made, programs=programs)
        if endpoints is not None:
            found.place_pods(endpoints)
        for name, ruleset in made.items():
            for version, address in ruleset.node.local or ():
                found.node_of.setdefault((version, address), name)
        return found

    def place_pods(self, endpoints: pd.DataFrame) -> None:
        columns = ("node", "interface", "namespace", "pod", "workload", "addresses")
        for node, interface, namespace, pod, workload, addresses in cells(endpoints, *columns):
            for text in addresses:
                key = parsed_address(text)
                routed = self.interface_to(node, key)
                if key not in self.pods or routed == interface:
                    self.pods[key] = Place(node, interface, f"{namespace}/{pod}", workload)

    def place_node(self, node: str, addresses: Iterable[str]) -> None:
        """Tell a node's own addresses, which count where its routes do not tell them."""
        ruleset, local = self.nodes.get(node), AddressSet()
        for text in addresses:
            self.node_of.setdefault(parsed_address(text), node)
            local.add(text)
        if ruleset is not None and ruleset.node.local is None and local.sizes:
            ruleset.node = replace(ruleset.node, local=local)

    def interface_to(self, node: str, key: tuple[int, int]) -> str | None:
        route = self.route(node, *key)
        return route.interface if route else None

    def route(self, node: str, version: int, address: int | None) -> Route | None:
        ruleset = self.nodes.get(node)
        if ruleset is None or not ruleset.node.routes or address is None:
            return None
        return ruleset.node.routes.find(version, address)

    # ---- walks

    def walk(self, source: str, to: str, port: int | None = None, proto: str = "tcp", state: str = "NEW") -> Walk:
        """From an address (a pod's or a node's) to an address; see :class:`Walk`.

        Raises ``ValueError`` for text that is no address, and for a protocol without a number.
        """
        version, first = parsed_address(source)
        _, last = parsed_address(to)
        number = protocol_number(proto)
        if number is None:
            raise ValueError(f"no protocol is named {proto!r}")
        packet = Packet(version, first, last, number, None, port, state=state)
        place = self.pods.get((version, first))
        if place is not None and first == last:
            return Walk((End("delivered", place.node, packet, 1.0, why="it never leaves the pod"),))
        if place is not None and not self.compiled(place.node) and self.follows_programs(place.node):
            why = "in eBPF mode Felix's programs decide about the packets of pods, which are not walked"
            return Walk((End("unknown", place.node, packet, 1.0, why=why),))
        if place is not None:
            return self.from_interface(place.node, replace(packet, iif=place.interface))
        node = self.node_of.get((version, first))
        if node is None:
            target = self.pods.get((version, last))
            where = target.node if target else self.node_of.get((version, last), "")
            if where not in self.nodes:
                return Walk((End("unknown", where, packet, 1.0, why="the nodes of both ends are unknown"),))
            return self.from_interface(where, replace(packet, iif=self.interface_to(where, (version, first))))
        return Walk(tuple(self.starts(node, Way(packet))))

    def compiled(self, node: str) -> bool:
        """Whether a node is in eBPF mode, and its programs can be followed."""
        return self.programs is not None and node in self.programs.nodes

    def follows_programs(self, node: str) -> bool:
        return node in self.nodes and self.nodes[node].follows_programs

    def starts(self, node: str, way: Way) -> list[End]:
        """A connection of a process of the node; in eBPF mode services are translated as it connects."""
        if self.programs is None or not self.compiled(node):
            return self.sent(node, way)
        found: list[End] = []
        for each in self.programs.translated(node, way):
            found += [_ended(each, node)] if each.end else self.from_host(node, each)
        return found

    def from_host(self, node: str, way: Way) -> list[End]:
        """A node's packet, perhaps to a service's backend.

        Behind VXLAN its source is the tunnel's address, whether it is translated as the process connects or by a
        program (HOST_TUNNEL_IP in felix/bpf-gpl/tc.c); of other tunnels that was not seen: it may be the node's own.
        """
        ends = self.sent(node, way)
        packet = way.packet
        target = self.pods.get((packet.version, packet.destination or 0))
        if self.programs is None or not packet.dnat or target is None or target.node == node:
            return ends
        route = self.route(node, packet.version, packet.destination)
        if route is not None and TUNNELS.get(route.interface or "") == "vxlan":
            return ends
        kept = self.programs.comes(target.node, target.interface, way, from_host=False)
        said = {_coarse(e) for e in ends} | {
            _coarse(_ended(w, target.node, "" if w.end else "delivered")) for w in kept
        }
        if len(said) == 1:
            return ends
        why = "whether the node's own or its tunnel's address is the source is not known"
        return [_ended(way, target.node, "unknown", why)]

    def from_interface(self, node: str, packet: Packet) -> Walk:
        """A packet that comes in on a node by its interface ``packet.iif``."""
        return Walk(tuple(self.arrives(node, Way(packet), hops=0)))

    def arrives(self, node: str, way: Way, hops: int) -> list[End]:
        ruleset = self.nodes.get(node)
        if ruleset is None or not ruleset.bases:
            return [_ended(way, node, "unknown", f"the rules of {node or 'its node'} are not known")]
        found: list[End] = []
        for entered in self.enters(node, way, hops):
            ends: list[End] = []
            for each in [entered] if entered.end else walk_hook(ruleset, "prerouting", entered):
                ends += [_ended(each, node)] if each.end else self.routed(ruleset, each, hops)
            found += self.past_rules(node, entered.packet, ends)
        return found

    def enters(self, node: str, way: Way, hops: int) -> list[Way]:
        """What the program at the interface that a packet comes in by does first, in eBPF mode."""
        packet = way.packet
        place = self.pods.get((packet.version, packet.source or 0))
        if self.programs is None or not self.compiled(node):
            return [way]
        if place is not None and (place.node, place.interface) == (node, packet.iif):
            return self.programs.leaves(node, place.interface, way)
        if self.programs.lacks(node, packet.iif or "", "ingress"):
            return [replace(way, end="unknown", why=f"{packet.iif} lacks its program at ingress")]
        return [way] if hops else self.programs.translated(node, way)

    def past_rules(self, node: str, entered: Packet, ends: list[End]) -> list[End]:
        """The ends of a packet that a program may have sent on past iptables' rules: these are not told of it.

        What is for the node itself meets the rules, and so does what no program marked.
        """
        if self.programs is None or not self.compiled(node) or not self.programs.pass_on(entered):
            return ends
        local = self.nodes[node].node.is_local
        return [e if local(e.packet.version, e.packet.destination) else _past_rules(e, node) for e in ends]

    def routed(self, ruleset: Ruleset, way: Way, hops: int) -> list[End]:
        """After prerouting: to a process of the node, or on to an interface."""
        node, packet = ruleset.node.name, way.packet
        own = ruleset.node.is_local(packet.version, packet.destination)
        if own:
            return [_ended(w, node, "" if w.end else "host") for w in walk_hook(ruleset, "input", way)]
        if own is None and packet.destination is None:
            return [_ended(way, node, "unknown", "its route is unknown")]
        oif, stop = self.out(ruleset, packet)
        if stop:
            return [_ended(way, node, "no-route", stop)]
        found: list[End] = []
        for each in walk_hook(ruleset, "forward", replace(way, packet=replace(packet, oif=oif))):
            found += [_ended(each, node)] if each.end else self.leaves(ruleset, each, hops)
        return found

    def sent(self, node: str, way: Way) -> list[End]:
        """A packet of a process of the node itself."""
        ruleset = self.nodes[node]
        oif, stop = self.out(ruleset, way.packet)
        way = replace(way, packet=replace(way.packet, iif="", oif=oif))
        found: list[End] = []
        for each in walk_hook(ruleset, "output", way):
            if each.end:
                found.append(_ended(each, node))
                continue
            oif, stop = self.out(ruleset, each.packet)  # anew, as DNAT may have changed where it goes
            each = replace(each, packet=replace(each.packet, oif=oif))
            found += [_ended(each, node, "no-route", stop)] if stop else self.leaves(ruleset, each, 0)
        return found

    def out(self, ruleset: Ruleset, packet: Packet) -> tuple[str | None, str]:
        """The interface that a packet leaves by (None where it is not known), or why there is no way."""
        if not ruleset.node.routes or packet.destination is None:
            return None, ""
        route = ruleset.node.routes.find(packet.version, packet.destination)
        if route is None:
            return None, "there is no route"
        if route.kind == "local":
            return "lo", ""
        return (route.interface, "") if route.kind == "unicast" else (None, f"its route is a {route.kind} route")

    def leaves(self, ruleset: Ruleset, way: Way, hops: int) -> list[End]:
        """After the decision to send: postrouting, and on to where the interface leads."""
        found: list[End] = []
        for each in walk_hook(ruleset, "postrouting", way):
            found += [_ended(each, ruleset.node.name)] if each.end else self.beyond(ruleset, each, hops)
        return found

    def beyond(self, ruleset: Ruleset, way: Way, hops: int) -> list[End]:
        node, packet = ruleset.node.name, way.packet
        target = self.pods.get((packet.version, packet.destination or 0))
        if packet.oif == "lo":
            return [_ended(w, node, "" if w.end else "host") for w in walk_hook(ruleset, "input", way)]
        if target is not None and target.node == node and packet.oif in (target.interface, None):
            if self.programs is None or not self.compiled(node):
                return [self.answered(node, way)]
            comes = self.programs.comes(node, target.interface, way, from_host=packet.iif == "")
            return [_ended(w, node) if w.end else self.answered(node, w) for w in comes]
        there = target.node if target else self.node_of.get((packet.version, packet.destination or 0), "")
        if not there or there == node or hops > 2:
            return [_ended(way, node, "left" if not there else "unknown", "" if not there else "it does not leave")]
        return self.between(ruleset, way, there, hops)

    def between(self, ruleset: Ruleset, way: Way, there: str, hops: int) -> list[End]:
        """To another node: by a tunnel's own packets where the interface is one."""
        node, packet = ruleset.node.name, way.packet
        if self.programs is not None and self.programs.lacks(node, packet.oif or "", "egress"):
            return [_ended(way, node, "unknown", f"{packet.oif} lacks its program at egress")]
        lost = self.elsewhere(node, packet.destination, packet.version, there)
        if lost:
            return [_ended(way, node, "unknown", f"it goes {lost}")]
        outer = self.encapsulated(ruleset, packet, there)
        if outer is not None:
            stopped = [e for e in self.sent(node, Way(outer)) if not e.arrived]
            if stopped and stopped[0].verdict != "unknown":
                why = f"the tunnel's own packets: {stopped[0].verdict}"
                return [
                    replace(stopped[0], packet=packet, share=way.share, why=why, steps=(*way.steps, *stopped[0].steps))
                ]
        iif = packet.oif if packet.oif in TUNNELS else self.entrance(node, packet.version, there)
        fresh = replace(packet, iif=iif, oif="", mark=0, dnat=False, snat=False)
        return self.arrives(there, replace(way, packet=fresh), hops + 1)

    def entrance_of(self, node: str, packet: Packet) -> str | None:
        """The interface by which a packet for a node itself comes in from another: the one that leads back."""
        route = self.route(node, packet.version, packet.source)
        return route.interface if route is not None and route.kind == "unicast" else None

    def elsewhere(self, node: str, address: int | None, version: int, there: str) -> str:
        """Where a node's route sends packets that are meant for another node; empty if it is that node."""
        route = self.route(node, version, address)
        if route is None:
            return ""
        if route.gateway is None:
            return ""
        if self.node_of.get(parsed_address(route.gateway)) == there:
            return ""
        of = "by the default route " if route.to.first == 0 and route.to.size > 1 << 31 else ""
        return f"{of}to {route.gateway} on {route.interface}, which is not {there}"

    def answered(self, node: str, way: Way) -> End:
        """A packet that reached a pod, unless the node's routes send what answers it elsewhere."""
        packet = way.packet
        source = self.pods.get((packet.version, packet.source or 0))
        target = self.pods.get((packet.version, packet.destination or 0))
        if self.programs is not None and target is not None and self.programs.loses_replies(node, target.interface):
            why = f"its reply is dropped, as no program marks what comes from {target.interface}"
            return _ended(way, node, "drop", why)
        if source is None or source.node == node or packet.snat:
            return _ended(way, node, "delivered")
        _, stop = self.out(self.nodes[node], replace(packet, destination=packet.source))
        if stop:
            return _ended(way, node, "no-route", f"for the reply, {stop}")
        lost = self.elsewhere(node, packet.source, packet.version, source.node)
        return _ended(way, node, "unknown" if lost else "delivered", f"its reply goes {lost}" if lost else "")

    def entrance(self, node: str, version: int, there: str) -> str | None:
        """The interface by which packets of one node come in on another: the one that leads back."""
        for (its, address), name in self.node_of.items():
            if name == node and its == version:
                route = self.route(there, version, address)
                if route is not None and route.kind == "unicast" and route.interface not in TUNNELS:
                    return route.interface
        return None

    def encapsulated(self, ruleset: Ruleset, packet: Packet, there: str) -> Packet | None:
        """The packet that carries another through a tunnel; None where there is no tunnel or its ends are not known."""
        kind = TUNNELS.get(packet.oif or "")
        ends = [self.outer_address(n, packet.version) for n in (ruleset.node.name, there)]
        if not kind or None in ends:
            return None
        port = VXLAN_PORT if kind == "vxlan" else None
        return Packet(packet.version, ends[0], ends[1], 17 if kind == "vxlan" else 4, None, port)

    def outer_address(self, node: str, version: int) -> int | None:
        """The node's address on the interface of its default route."""
        ruleset = self.nodes.get(node)
        default = self.route(node, version, 0x01010101 if version == 4 else 0x2001 << 112)
        if ruleset is None:
            return None
        names = [default.interface] if default else _uplinks(ruleset)
        found = [a for n in names for v, a in own_addresses(ruleset, n) if v == version]
        return found[0] if found else None


PAST_RULES = "a rule would drop it, but the programs of eBPF mode send most packets past the rules"


def _past_rules(end: End, node: str) -> End:
    if end.verdict == "left":
        return end  # perhaps masqueraded
    if end.node == node and end.verdict in ("drop", "reject") and end.by is not None and end.by.space != SPACE:
        return replace(end, verdict="unknown", why=PAST_RULES)
    return replace(end, steps=tuple(s for s in end.steps if s.node != node or s.rule.space == SPACE))


def _uplinks(ruleset: Ruleset) -> list[str | None]:
    """Interfaces of the node's own addresses, without loopback, tunnels and pods'."""
    names: dict[str | None, None] = {}
    routes = ruleset.node.routes
    for version, address in ruleset.node.local or ():
        route = routes.find(version, address) if routes else None
        if route is not None and route.interface not in (None, "lo", *TUNNELS):
            names[route.interface] = None
    return list(names)


def _ended(way: Way, node: str, verdict: str = "", why: str = "") -> End:
    return End(verdict or way.end, node, way.packet, way.share, way.by, why or way.why, way.steps, way.doubts)


def parsed_address(text: str) -> tuple[int, int]:
    """Version and number of an address. Raises ``ValueError``."""
    address = ip_address(text)
    return address.version, int(address)


def shown(packet: Packet, side: str) -> str | None:
    """An address of a packet as text."""
    value = packet.source if side == "source" else packet.destination
    return None if value is None else address_text(packet.version, value)


def who(version: int, address: int | None, dataplane: Dataplane) -> str | None:
    """The workload, node or address that an address is."""
    if address is None:
        return None
    place = dataplane.pods.get((version, address))
    return place.workload if place else dataplane.node_of.get((version, address)) or address_text(version, address)

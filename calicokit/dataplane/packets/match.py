"""What a rule asks of a packet: each match as a function that answers yes, no, or None where it cannot be told.

Sources: iptables' extensions (libxt_*.c print and save functions, as in the recordings), nftables' statements as Felix
writes them (felix/nftables/match_builder.go) and as nft prints them. A match that stands nowhere here is *unknown*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from calicokit.dataplane.packets.packet import (
    AddressSet,
    Packet,
    Routes,
    interface_matches,
    protocol_number,
)
from calicokit.net import Prefix, prefix

Answer = bool | None


@dataclass
class Members:
    """A set's members, by the kind of set."""

    type: str
    addresses: AddressSet = field(default_factory=AddressSet)
    parts: set[tuple[Any, ...]] = field(default_factory=set)
    values: dict[tuple[Any, ...], str] = field(default_factory=dict)
    nested: list[str] = field(default_factory=list)
    odd: bool = False


@dataclass
class Node:
    """What rules ask of the node itself: its addresses, routes and sets. Unknown is None."""

    name: str
    local: AddressSet | None = None
    routes: Routes | None = None
    sets: dict[tuple[str | None, str, str], Members] | None = None
    prefixes: tuple[str, ...] = ("cali",)

    def members(self, family: str, table: str | None, name: str) -> Members | None:
        if self.sets is None:
            return None
        return self.sets.get((table, family, name))

    def is_local(self, version: int, address: int | None) -> Answer:
        if address is None:
            return None
        if _loopback(version, address):
            return True
        return None if self.local is None else self.local.covers(version, address)


Match = Callable[[Packet, Node], Answer]


def _loopback(version: int, address: int) -> bool:
    return address >> 24 == 127 if version == 4 else address == 1


def negated(answer: Answer, negate: bool) -> Answer:
    return answer if answer is None or not negate else not answer


def unknown(_: Packet, __: Node) -> Answer:
    return None


def always(_: Packet, __: Node) -> Answer:
    return True


def never(_: Packet, __: Node) -> Answer:
    return False


# ---- what both tools can ask


def address(nets: Iterable[str], side: str, negate: bool) -> Match:
    """Source or destination in one of the prefixes or ranges."""
    ranges = [_range(n) for n in nets]

    def match(packet: Packet, _: Node) -> Answer:
        value = packet.source if side == "source" else packet.destination
        if value is None:
            return None
        found = any(r.version == packet.version and r.first <= value <= r.last for r in ranges)
        return found != negate

    return match


def _range(text: str) -> Prefix:
    low, dash, high = text.partition("-")
    if not dash:
        return prefix(text)
    return Prefix(prefix(low).version, prefix(low).first, prefix(high).last)


def interface(pattern: Iterable[str], side: str, negate: bool) -> Match:
    """In or out interface is one of these."""
    patterns = list(pattern)

    def match(packet: Packet, _: Node) -> Answer:
        value = packet.iif if side == "in" else packet.oif
        return negated(any_of(interface_matches(p, value) for p in patterns), negate)

    return match


def any_of(answers: Iterable[Answer]) -> Answer:
    """Yes if one says yes; unknown if none does and one cannot be told."""
    found: list[Answer] = list(answers)
    if True in found:
        return True
    return None if None in found else False


def protocol(names: Iterable[str], negate: bool) -> Match:
    """Protocol is one of these; a name that is not known makes the match unknown."""
    numbers = [protocol_number(n) for n in names]

    def match(packet: Packet, _: Node) -> Answer:
        if packet.protocol is None or None in numbers:
            return None
        return (packet.protocol in numbers) != negate

    return match


def ports(ranges: Iterable[tuple[int, int]], side: str, negate: bool, only: int | None = None) -> Match:
    """Port in one of the ranges; ``only`` is the protocol that the match itself asks for. ``side`` may be either."""
    wanted = list(ranges)

    def match(packet: Packet, _: Node) -> Answer:
        fits: Answer = packet.has_ports
        if only is not None:
            fits = None if packet.protocol is None else packet.protocol == only
        if fits is False:
            return False
        values = {"source": [packet.sport], "destination": [packet.dport], "either": [packet.sport, packet.dport]}[side]
        found = negated(any_of(None if v is None else any(a <= v <= b for a, b in wanted) for v in values), negate)
        return found if found is False or fits else None

    return match


def port_ranges(text: str, separator: str = ":") -> list[tuple[int, int]]:
    """``5432,6000:6010`` as ranges; names of ports are not known. Raises ``ValueError``."""
    found = []
    for part in text.split(","):
        low, _, high = part.strip().partition(separator)
        found.append((int(low or 0), int(high or low) if high or not part.endswith(separator) else 65535))
    return found


def mark(value: int, mask: int, negate: bool) -> Match:
    return lambda packet, _: ((packet.mark & mask) == value) != negate


STATES = frozenset(("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"))


def state(words: Iterable[str], negate: bool) -> Match:
    """Connection state, with DNAT and SNAT as iptables counts them among the states."""
    wanted = {w.upper() for w in words}

    def match(packet: Packet, _: Node) -> Answer:
        if ("DNAT" in wanted and packet.dnat) or ("SNAT" in wanted and packet.snat):
            return not negate
        if packet.state is None:
            return negate if not wanted & STATES else None
        return (packet.state in wanted) != negate

    return match


def status(words: Iterable[str], negate: bool) -> Match:
    """Status of the connection: dnat and snat are known, others are not."""
    wanted = {w.lower() for w in words}

    def match(packet: Packet, _: Node) -> Answer:
        if not wanted <= {"dnat", "snat"}:
            return None
        return (("dnat" in wanted and packet.dnat) or ("snat" in wanted and packet.snat)) != negate

    return match


def address_type(kinds: Iterable[str], side: str, limited: str, negate: bool) -> Match:
    """Type of an address as the node's routes have it: local, unicast, broadcast, multicast.

    ``limited`` (in, out) asks for addresses of that interface alone, which is told apart for local ones only where none
    of the node's addresses is meant.
    """
    wanted = {k.upper() for k in kinds}

    def match(packet: Packet, node: Node) -> Answer:
        value = packet.source if side == "source" else packet.destination
        own = node.is_local(packet.version, value)
        if value is None or own is None:
            return None
        if own and limited:
            return negated(_limited(packet, node, value, limited), negate) if wanted == {"LOCAL"} else None
        kind = "LOCAL" if own else "MULTICAST" if _multicast(packet.version, value) else "UNICAST"
        if value in (0xFFFFFFFF,) and packet.version == 4:
            kind = "BROADCAST"
        if not wanted <= {"LOCAL", "UNICAST", "MULTICAST", "BROADCAST"}:
            return None
        return (kind in wanted) != negate

    return match


def _limited(packet: Packet, node: Node, value: int, side: str) -> Answer:
    """Whether a local address is one of the interface that the packet comes by or leaves by."""
    through = packet.iif if side == "in" else packet.oif
    if through is None or node.routes is None:
        return None
    route = node.routes.find(packet.version, value)
    return None if route is None or route.interface is None else route.interface == through


def _multicast(version: int, address: int) -> bool:
    return address >> 28 == 14 if version == 4 else address >> 120 == 255


def reverse_path(invert: bool, loose: bool) -> Match:
    """Whether the route back to the source leaves by the interface that the packet came by."""

    def match(packet: Packet, node: Node) -> Answer:
        if packet.source is None or packet.iif is None or not node.routes:
            return None
        if packet.iif == "lo":
            return not invert
        route = node.routes.find(packet.version, packet.source)
        if route is None or route.kind not in ("unicast", "local"):
            return invert
        if loose:
            return not invert
        if route.interface is None:
            return None
        return (route.interface == packet.iif and route.kind == "unicast") != invert

    return match


# ---- sets


def in_set(name: str, dimensions: list[str], negate: bool) -> Match:
    """Membership in one of the kernel's IP sets, by the packet's parts that the dimensions name (src, dst)."""

    def match(packet: Packet, node: Node) -> Answer:
        return negated(_in_set(packet, node, name, dimensions, 0), negate)

    return match


def _in_set(packet: Packet, node: Node, name: str, dimensions: list[str], depth: int) -> Answer:
    members = node.members("ip", None, name) or node.members("ip6", None, name)
    if members is None or members.odd or depth > 3:
        return None
    if members.type == "list:set":
        return any_of(_in_set(packet, node, n, dimensions, depth + 1) for n in members.nested)
    kinds = members.type.partition(":")[2].split(",")
    if len(kinds) > len(dimensions):
        return None
    values = [_part(packet, kind, side) for kind, side in zip(kinds, dimensions, strict=False)]
    if None in values:
        return None
    if members.type == "bitmap:port":
        return (values[0][1],) in members.parts
    if kinds in (["ip"], ["net"]):
        return members.addresses.covers(packet.version, values[0])
    if all(k in ("ip", "port") for k in kinds):
        return tuple(values) in members.parts
    return None


def _part(packet: Packet, kind: str, side: str) -> Any:
    value = packet.source if side == "src" else packet.destination
    if kind in ("ip", "net"):
        return value
    port = packet.sport if side == "src" else packet.dport
    if kind == "port" and port is not None and packet.protocol is not None:
        return packet.protocol, port
    return None

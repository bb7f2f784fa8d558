"""A packet and the node it is on: what matches of rules ask about. What is not known is None, and no guess."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from calicokit.net import Prefix, prefix

PROTOCOLS = {
    "icmp": 1,
    "ipencap": 4,
    "ipip": 4,
    "ipv4": 4,
    "tcp": 6,
    "udp": 17,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ipv6-icmp": 58,
    "vrrp": 112,
    "sctp": 132,
    "udplite": 136,
}
NAMES = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6", 4: "ipip", 132: "sctp", 136: "udplite"}
WITH_PORTS = frozenset((6, 17, 132, 136, 33))


def protocol_number(text: str) -> int | None:
    """The number of a protocol by its name or number; None for one that is not known.

    >>> protocol_number("tcp"), protocol_number("4")
    (6, 4)
    """
    return int(text) if text.isdigit() else PROTOCOLS.get(text.lower())


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet on its way through a node.

    Addresses, ports and interfaces that are None are not known; an interface that is "" is none (before routing, or
    the node's own packets). ``state`` is conntrack's: NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED. ``mark`` is
    known.
    """

    version: int
    source: int | None
    destination: int | None
    protocol: int | None
    sport: int | None = None
    dport: int | None = None
    iif: str | None = ""
    oif: str | None = ""
    mark: int = 0
    state: str | None = "NEW"
    dnat: bool = False
    snat: bool = False
    icmp_type: int | None = None

    @property
    def family(self) -> str:
        return "ip6" if self.version == 6 else "ip"

    @property
    def has_ports(self) -> bool | None:
        return None if self.protocol is None else self.protocol in WITH_PORTS


@dataclass(frozen=True, slots=True)
class Route:
    """A route: where to, its interface and next hop; ``kind`` is unicast, local, blackhole, unreachable, …"""

    to: Prefix
    kind: str
    interface: str | None
    gateway: str | None
    metric: int


@dataclass
class Routes:
    """A node's routes of the tables local and main, found by longest prefix."""

    by_length: dict[int, list[tuple[int, dict[int, Route]]]] = field(default_factory=dict)

    @classmethod
    def of(cls, routes: Iterable[Route]) -> Routes:
        best: dict[tuple[int, int], dict[int, Route]] = {}
        for route in routes:
            slot = best.setdefault((route.to.version, route.to.size), {})
            old = slot.get(route.to.first)
            # The local table is asked before the main one.
            if old is None or (route.kind != "local", route.metric) < (old.kind != "local", old.metric):
                slot[route.to.first] = route
        found = cls()
        for (version, size), slot in sorted(best.items(), key=lambda item: item[0][1]):
            found.by_length.setdefault(version, []).append((size, slot))
        return found

    def find(self, version: int, address: int) -> Route | None:
        """The route for an address; None if there is none."""
        for size, slot in self.by_length.get(version, ()):
            route = slot.get(address - address % size)
            if route is not None:
                return route
        return None

    def __bool__(self) -> bool:
        return bool(self.by_length)


class AddressSet:
    """Prefixes and ranges, with exceptions; asked whether they cover an address."""

    def __init__(self) -> None:
        self.sizes: dict[tuple[int, int], dict[int, bool]] = {}
        self.ranges: list[Prefix] = []

    def add(self, text: str, nomatch: bool = False) -> None:
        """Add an address, a prefix or a range A-B. Raises ``ValueError`` for anything else."""
        low, dash, high = text.partition("-")
        if dash:
            first, last = prefix(low), prefix(high)
            self.ranges.append(Prefix(first.version, first.first, last.last))
            return
        net = prefix(text)
        self.sizes.setdefault((net.version, net.size), {})[net.first] = not nomatch

    def covers(self, version: int, address: int) -> bool:
        """Whether the address is in the set: the longest prefix that covers it decides."""
        for (its, size), firsts in sorted(self.sizes.items(), key=lambda item: item[0][1]):
            if its == version and (known := firsts.get(address - address % size)) is not None:
                return known
        return any(r.version == version and r.first <= address <= r.last for r in self.ranges)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Version and address of single members."""
        for (version, size), firsts in self.sizes.items():
            if size == 1:
                yield from ((version, a) for a, member in firsts.items() if member)


def interface_matches(pattern: str, interface: str | None) -> bool | None:
    """Whether an interface is as a rule wants it: a trailing + or * stands for any characters.

    >>> interface_matches("cali+", "cali0"), interface_matches("eth0", "eth1"), interface_matches("eth0", None)
    (True, False, None)
    """
    if interface is None:
        return True if pattern in ("+", "*") else None
    if pattern[-1:] in ("+", "*"):
        return bool(interface) and interface.startswith(pattern[:-1])
    return interface == pattern

"""Addresses and prefixes: canonical text and integers; names of nodes."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

BGP_PORT, VXLAN_PORT, WIREGUARD_PORT = 179, 4789, 51820
"""Ports on which nodes reach each other unless Calico is configured otherwise: TCP, UDP and UDP."""

NODE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,251}[a-zA-Z0-9])?")
"""A DNS subdomain, as the names of all nodes; capitals are Calico's to complain of."""


@dataclass(frozen=True, slots=True)
class Prefix:  # also a range of addresses that is no power of two
    """A prefix as numbers: version 4 or 6, first and last address (both included)."""

    version: int
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def covers(self, other: Prefix) -> bool:
        return self.version == other.version and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: Prefix) -> bool:
        return self.version == other.version and self.first <= other.last and other.first <= self.last


@lru_cache(maxsize=1 << 16)
def prefix(text: str) -> Prefix:
    """The numbers of a CIDR or an address. Raises ``ValueError`` if it is neither."""
    net = ipaddress.ip_network(text, strict=False)
    return Prefix(net.version, int(net.network_address), int(net.broadcast_address))


@lru_cache(maxsize=1 << 16)
def canonical_cidr(text: str) -> str:
    """``10.0.0.7/24`` → ``10.0.0.0/24``; IPv6 in its compressed form. Raises ``ValueError``."""
    return str(ipaddress.ip_network(text, strict=False))


def canonical_address(text: str) -> str:
    """An address without its prefix length, IPv6 in its compressed form. Raises ``ValueError``."""
    address = text.split("/", 1)[0].strip()
    try:
        socket.inet_pton(socket.AF_INET, address)  # ten times as fast as ipaddress, and as strict
    except OSError:
        return str(ipaddress.ip_address(address))
    return address


def address_text(version: int, number: int) -> str:
    """The text of an address from its number."""
    if version == 4:
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return str(ipaddress.IPv6Address(number))


def overlapping(prefixes: Iterable[tuple[Any, Prefix]]) -> list[tuple[Any, Any]]:
    """The pairs of names whose prefixes overlap, by one sweep over them in order of address."""
    ordered = sorted(prefixes, key=lambda p: (p[1].version, p[1].first, -p[1].last))
    found: list[tuple[Any, Any]] = []
    open_: list[tuple[Any, Prefix]] = []
    for name, net in ordered:
        open_ = [(n, p) for n, p in open_ if p.overlaps(net)]
        found += [(n, name) for n, _ in open_]
        open_.append((name, net))
    return found


def merge(prefixes: Iterable[Prefix]) -> list[Prefix]:
    """The same space as disjoint ranges in order of address."""
    merged: list[Prefix] = []
    for net in sorted(prefixes, key=lambda p: (p.version, p.first)):
        if merged and merged[-1].version == net.version and net.first <= merged[-1].last + 1:
            merged[-1] = Prefix(net.version, merged[-1].first, max(merged[-1].last, net.last))
        else:
            merged.append(net)
    return merged


def measure(net: Prefix, ranges: list[Prefix]) -> int:
    """How many addresses of ``net`` lie in these disjoint ranges."""
    return sum(min(net.last, r.last) - max(net.first, r.first) + 1 for r in ranges if r.overlaps(net))


def gaps(net: Prefix, ranges: list[Prefix]) -> list[Prefix]:
    """What is left of ``net`` between these disjoint, ordered ranges."""
    left, start = [], net.first
    for taken in (r for r in ranges if r.overlaps(net)):
        if taken.first > start:
            left.append(Prefix(net.version, start, taken.first - 1))
        start = taken.last + 1
    return [*left, Prefix(net.version, start, net.last)] if start <= net.last else left

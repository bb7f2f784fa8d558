"""Addresses and prefixes: one canonical text form, and the numbers behind them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Prefix:
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


def canonical_cidr(text: str) -> str:
    """``10.0.0.7/24`` → ``10.0.0.0/24``; IPv6 in its compressed form. Raises ``ValueError``."""
    return str(ipaddress.ip_network(text, strict=False))


def canonical_address(text: str) -> str:
    """An address without its prefix length, IPv6 in its compressed form. Raises ``ValueError``."""
    return str(ipaddress.ip_address(text.split("/", 1)[0].strip()))


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

"""Prefix arithmetic against the standard library's slow way."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from calicokit.net import Prefix, address_text, canonical_address, gaps, measure, merge, overlapping, prefix

SMALL = st.builds(lambda a, n: Prefix(4, a, a + n), st.integers(0, 60), st.integers(0, 12))


def space(ranges: list[Prefix]) -> set[int]:
    return {n for r in ranges for n in range(r.first, r.last + 1)}


@given(st.lists(SMALL, max_size=8))
def test_merge_keeps_the_space_and_is_disjoint(ranges: list[Prefix]) -> None:
    merged = merge(ranges)
    assert space(merged) == space(ranges)
    assert sum(r.size for r in merged) == len(space(ranges))


@given(SMALL, st.lists(SMALL, max_size=8))
def test_measure_and_gaps_add_up(net: Prefix, ranges: list[Prefix]) -> None:
    merged = merge(ranges)
    assert measure(net, merged) == len(space([net]) & space(ranges))
    assert space(gaps(net, merged)) == space([net]) - space(ranges)


@given(st.lists(SMALL, max_size=8))
def test_overlapping_finds_every_pair(ranges: list[Prefix]) -> None:
    named = list(enumerate(ranges))
    naive = {frozenset((i, j)) for i, a in named for j, b in named if i < j and a.overlaps(b)}
    assert {frozenset(pair) for pair in overlapping(named)} == naive


@given(st.ip_addresses())
def test_address_text_is_canonical(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert address_text(address.version, int(address)) == str(address)
    assert canonical_address(f"{address.exploded}/{address.max_prefixlen}") == str(address)


def test_prefix_of_a_host_and_of_a_network() -> None:
    assert prefix("10.0.0.5").size == 1
    assert prefix("10.0.0.5/24") == Prefix(4, 10 << 24, (10 << 24) + 255)
    assert prefix("fd00::/64").size == 2**64
    assert not prefix("0.0.0.0/0").overlaps(prefix("::/0"))

"""Inputs are bound by name, and looked at when a builder is registered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

import calicokit
from calicokit import registry
from calicokit.registry import Bound, Given, Spec


def build(pools: str, blocks: str, nodes: str | None, lists: Given, **options: str) -> list[Any]:
    return [pools, blocks, nodes, dict(lists), options]


NEEDS: Bound = {"pools": "ipam.pools", "blocks": "ipam.blocks"}
WANTS: Bound = {"nodes": "kube.nodes", "lists": ("tiers", "pods")}


def test_the_order_of_inputs_says_nothing() -> None:
    swapped = dict(reversed(NEEDS.items())), dict(reversed(WANTS.items()))
    first, second = Spec(build, NEEDS, wants=WANTS), Spec(build, swapped[0], wants=swapped[1])
    made = first.make(str.upper)
    assert made == ["IPAM.POOLS", "IPAM.BLOCKS", "KUBE.NODES", {"tiers": "TIERS", "pods": "PODS"}, {}]
    assert second.make(str.upper) == made
    assert first.inputs != second.inputs  # only the order in which they are asked for


@pytest.mark.parametrize("name", ["ipam.utilisation", "bgp.birds", "ipam.check_report"])
def test_a_table_is_the_same_when_its_declaration_is_turned_around(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = registry.load()[name]
    seen = calicokit.open("ipam-exhausted")
    turned = {of: dict(reversed(getattr(spec, of).items())) for of in ("needs", "any_of", "wants")}
    expected = seen.table(name)
    assert spec.inputs != replace(spec, **turned).inputs
    assert len(expected)
    monkeypatch.setitem(registry.TABLES, name, replace(spec, **turned))
    pd.testing.assert_frame_equal(calicokit.open("ipam-exhausted").table(name), expected)


@pytest.mark.parametrize(
    ("needs", "wants", "says"),
    [
        ({"pools": "ipam.pools"}, WANTS, "no input is bound to blocks"),
        ({**NEEDS, "nodes": "kube.nodes"}, WANTS, "nodes is bound twice"),
        ({**NEEDS, "block": "ipam.blocks"}, WANTS, "has no parameter block; it has pools, blocks, nodes, lists"),
        ({"pools": "ipam.pools"}, {**WANTS, "blocks": "ipam.blocks"}, "blocks may be unknown, but takes no None"),
    ],
)
def test_what_cannot_be_called_is_told_at_once(needs: Bound, wants: Bound, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Spec(build, needs, wants=wants)


def test_one_of_several_may_be_unknown() -> None:
    def either(pools: str, blocks: str) -> str:
        return pools or blocks

    Spec(either, any_of={"pools": "ipam.pools"}, wants={}, needs={"blocks": "ipam.blocks"})
    with pytest.raises(TypeError, match="pools, blocks may be unknown"):
        Spec(either, any_of=NEEDS)


def test_a_table_that_rests_on_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.load()["routes.path"]
    for name, needs in (("test.a", {"pools": "test.b"}), ("test.b", {"pools": "test.a"})):
        spec = registry.TableSpec(lambda pools: pools, needs, schema=known.schema)
        monkeypatch.setitem(registry.TABLES, name, spec)
    with pytest.raises(TypeError, match=r"rests on itself: .*test\.a → "):
        registry.refuse_circles()


def test_nothing_is_bound_by_position() -> None:
    def positional(*tables: str) -> str:
        return tables[0]

    with pytest.raises(TypeError, match="nothing can be bound to tables by name"):
        Spec(positional, {"tables": "ipam.pools"})

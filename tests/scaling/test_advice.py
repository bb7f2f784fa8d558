"""Advice is given where numbers ask for it, with these numbers, and nowhere else."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import calicokit
from calicokit import registry
from calicokit.felix.checks import needed_typhas
from calicokit.scaling import figures, words
from calicokit.scaling.advice import INPUTS, advice, measures
from tests import recordings


def given(**rows: list[dict[str, Any]]) -> list[pd.DataFrame | None]:
    """Tables of these rows, in the order of the inputs; all others are unknown. Names have `_` for the dot."""
    named = {i: i.replace(".", "_") for i in INPUTS}
    assert set(rows) <= set(named.values())
    tables = registry.load()
    return [tables[i].schema.frame(rows[n]) if n in rows else None for i, n in named.items()]


def nodes(count: int) -> list[dict[str, Any]]:
    return [{"node": f"n{i}"} for i in range(count)]


def topics(**rows: list[dict[str, Any]]) -> list[str]:
    return list(advice(*given(**rows))["topic"])


@pytest.mark.parametrize("name", recordings.names())
def test_nothing_is_advised_to_a_small_cluster(name: str) -> None:
    cluster = calicokit.open(f"incident:{name}")
    assert len(cluster.table("scaling.advice")) == 0
    shown = cluster.table("scaling.measures")
    assert len(shown) > 2
    assert (shown["share"] < 1).all()


@pytest.mark.parametrize(("count", "asked"), [(50, False), (51, True), (400, True)])
def test_a_typha_for_many_nodes(count: int, asked: bool) -> None:
    found = advice(*given(kube_nodes=nodes(count), felix_typha=[]))
    assert list(found["topic"]) == (["typha"] if asked else [])
    if asked:
        assert str(needed_typhas(count)) in found["advice"].iloc[0]
        assert f"{count} nodes" in found["because"].iloc[0]


@pytest.mark.parametrize(
    ("count", "replicas", "asked"), [(90, 1, False), (101, 1, True), (600, 3, False), (601, 3, True)]
)
def test_more_typhas_for_more_nodes(count: int, replicas: int, asked: bool) -> None:
    typha = [{"configured": True, "replicas": replicas, "pods": replicas, "nodes": count}]
    assert topics(kube_nodes=nodes(count), felix_typha=typha) == (["typha"] if asked else [])


def test_no_typha_is_advised_where_it_is_not_known_whether_there_is_one() -> None:
    assert topics(kube_nodes=nodes(500)) == []


@pytest.mark.parametrize(
    ("count", "mesh", "in_use", "asked"),
    [(100, True, True, False), (101, True, True, True), (500, False, True, False), (500, True, False, False)],
)
def test_route_reflectors_for_a_large_mesh_that_is_used(count: int, mesh: bool, in_use: bool, asked: bool) -> None:
    found = advice(*given(kube_nodes=nodes(count), bgp_configuration=[{"mesh": mesh}], bgp_use=[{"in_use": in_use}]))
    assert list(found["topic"]) == (["route-reflectors"] if asked else [])
    if asked:
        assert "5,050 sessions" in found["because"].iloc[0]


def test_whether_bgp_is_used_must_be_known() -> None:
    assert topics(kube_nodes=nodes(500), bgp_configuration=[{"mesh": True}], bgp_use=[{"in_use": None}]) == []


@pytest.mark.parametrize(
    ("value", "used", "asked"),
    [("10s", 0.9, True), ("10s", 0.1, False), ("3m0s", 0.9, False), ("0s", 0.9, False), ("20", 0.9, True)],
)
def test_short_refreshes_count_where_felix_is_busy(value: str, used: float, asked: bool) -> None:
    settings = [{"node": "n1", "field": "iptablesRefreshInterval", "value": value}]
    busy = [{"component": "calico-node", "node": "n1", "pod": "p", "processor": used, "processor_limit": 1.0}]
    found = topics(felix_configuration=settings, felix_resources=busy)
    assert found == (["felix-refresh"] if asked else [])


@pytest.mark.parametrize(("lag", "asked"), [(0.2, False), (2.5, True)])
def test_policy_costs_where_changes_take_long_to_work_out(lag: float, asked: bool) -> None:
    activity = [{"node": "n1", "measure": "policies", "value": 900.0, "unit": "policies"}]
    found = advice(*given(felix_apply_times=[{"node": "n1", "pod": "p", "lag_p99": lag}], felix_activity=activity))
    assert list(found["topic"]) == (["policy-cost"] if asked else [])
    assert not asked or "900 policies" in found["because"].iloc[0]


def blocks(each: int, size: int, allocated: int, count: int = 3) -> list[dict[str, Any]]:
    return [
        {"block": f"10.{n}.{b}.0/26", "pool": "p", "node": f"n{n}", "size": size, "allocated": allocated}
        for n in range(count)
        for b in range(each)
    ]


def pool(total: float, bits: int = 26) -> list[dict[str, Any]]:
    return [{"pool": "p", "version": 4, "block_size": bits, "blocks_total": total, "disabled": False}]


@pytest.mark.parametrize(
    ("each", "allocated", "total", "says"),
    [
        (2, 60, 1000.0, ""),
        (6, 60, 1000.0, "blockSize of 24"),
        (1, 2, 4.0, "above 26"),
        (1, 2, 1000.0, ""),
        (1, 60, 3.0, ""),
    ],
)
def test_blocks_that_are_too_small_or_too_large(each: int, allocated: int, total: float, says: str) -> None:
    found = advice(*given(ipam_blocks=blocks(each, 64, allocated), ipam_pools=pool(total)))
    assert [says in a for a in found["advice"]] == ([True] if says else [])


@pytest.mark.parametrize(("rules", "tail", "asked"), [(30_000, 4.0, True), (30_000, 0.1, False), (900, 4.0, False)])
def test_another_dataplane_where_tables_are_large_and_slow(rules: int, tail: float, asked: bool) -> None:
    backends = [
        {"node": "n1", "backend": "nft", "calico": rules, "kube_proxy": 0, "foreign": 0},
        {"node": "n1", "backend": "nftables", "calico": 90_000, "kube_proxy": 0, "foreign": 0},
    ]
    found = topics(dataplane_backends=backends, felix_apply_times=[{"node": "n1", "pod": "p", "p99": tail}])
    assert found == (["dataplane"] if asked else [])


def test_sizes_are_told_with_their_limits_and_drawn() -> None:
    shown = measures(*given(kube_nodes=nodes(300), felix_typha=[], ipam_blocks=blocks(6, 64, 60)))
    assert dict(zip(shown["measure"], shown["share"], strict=True)) == {
        "nodes without a Typha": 6.0,
        "blocks of one pool on a node": 1.5,
    }
    assert "nodes without a Typha" in str(words.measures(shown))
    assert "600%" in str(figures.measures(shown).layout.title.text)
    assert "<script>" not in figures.measures(shown.assign(where="<script>")).to_json()


def test_words_of_none() -> None:
    assert str(words.advice(advice(*given(kube_nodes=nodes(3), felix_typha=[])))) == (
        "Nothing that was measured asks for a change."
    )

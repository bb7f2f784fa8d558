"""Sentences about IPAM: true of the recordings, of every incident, and of tables that are unknown."""

from __future__ import annotations

import doctest
import re
from typing import Any

import pandas as pd
import pytest

from calicokit import sentences as shared
from calicokit.cluster import Cluster
from calicokit.diagnosis import next_steps
from calicokit.evidence.model import Missing
from calicokit.health import sentences as health
from calicokit.ipam import sentences, tables, usage
from calicokit.schema import Table
from tests import clusters, recordings

SENTENCES: dict[Any, tuple[str, ...]] = {
    sentences.pools: ("ipam.pools",),
    sentences.utilisation: ("ipam.utilisation",),
    sentences.nodes: ("ipam.node_utilisation",),
    sentences.block_map: ("ipam.block_map",),
    sentences.borrowed: ("ipam.borrowed", "ipam.config"),
    sentences.leaked: ("ipam.allocations",),
    sentences.conflicts: ("ipam.duplicates", "ipam.unallocated"),
    sentences.integrity: ("ipam.block_problems", "ipam.handle_problems", "ipam.stale_affinities"),
    sentences.check_report: ("ipam.check_report",),
    sentences.limits: ("ipam.config", "ipam.node_utilisation"),
    sentences.waiting: ("ipam.waiting",),
    sentences.selection: ("ipam.node_pools", "ipam.pod_pools"),
    sentences.forecast: ("ipam.forecast",),
    sentences.release_plan: ("ipam.release_plan",),
    health.install: ("health.install",),
    health.components: ("health.pods",),
    health.modes: ("ipam.pools",),
    health.readiness: ("health.readiness",),
    health.conditions: ("health.node_conditions",),
    health.endpoints: ("kube.workload_endpoints",),
}


def told(cluster: Cluster, tell: Any) -> str:
    return str(tell(*(cluster.table(name) for name in SENTENCES[tell])))


@pytest.fixture(scope="module")
def exhausted() -> Cluster:
    return clusters.opened("ipam-exhausted")


@pytest.fixture(scope="module")
def leaked() -> Cluster:
    return clusters.opened("ipam-leaked")


def test_helpers() -> None:
    assert doctest.testmod(shared).failed == 0


@pytest.mark.parametrize("name", recordings.names())
def test_every_incident_gets_every_sentence(name: str) -> None:
    cluster = clusters.opened(name)
    for tell in SENTENCES:
        text = told(cluster, tell)
        assert text.endswith("."), tell
        assert not re.search(r"\bnan\b|<NA>|NaT|\bNone (?!is|has|of)|\b1 (blocks|addresses|pods|nodes)\b", text), text


@pytest.mark.parametrize("tell", SENTENCES, ids=lambda t: f"{t.__module__.split('.')[1]}.{t.__name__}")
def test_unknown_is_said_and_never_read_as_none(tell: Any) -> None:
    unknown = Table(pd.DataFrame(), unknown=(Missing("ipamblocks", "listing it is forbidden"),))
    said = tell(*[unknown] * len(SENTENCES[tell]))
    assert said == "Unknown, not empty: ipamblocks: listing it is forbidden."


def test_exhausted(exhausted: Cluster) -> None:
    assert told(exhausted, sentences.utilisation) == (
        "Pool default-ipv4-ippool has no free address (32 of 32 addresses in use): the next pod that needs one from "
        "it will wait. All its 8 blocks have an affinity to a node: a node that needs more addresses must borrow."
    )
    assert told(exhausted, sentences.waiting) == (
        "2 pods wait for an address, the longest for 47 seconds. CNI plugin error: exhausted (2). Every pool usable "
        "for them is exhausted."
    )
    assert "node-1 and node-3 borrow 3 addresses" in told(exhausted, sentences.borrowed)
    assert told(exhausted, sentences.nodes) == "None of the 4 nodes has a free address in its own blocks."


def test_leaked(leaked: Cluster) -> None:
    assert told(leaked, sentences.leaked) == (
        "5 of 30 allocated addresses are leaked (4 × the pod does not exist; 1 × the pod uses another address)."
    )
    assert told(leaked, sentences.conflicts).startswith(
        "10.48.139.65 is used by shop/catalog-6659f4cf4d-2p8lb and shop/catalog-6659f4cf4d-bj7t5;"
    )
    assert "It would release 4 addresses" in told(leaked, sentences.release_plan)
    assert "found 5 problems" in told(leaked, sentences.check_report)


def test_pools_that_serve_some_or_nobody() -> None:
    common = {"version": 4, "allowed_uses": ["Workload"], "namespace_selector": "all()"}
    rows: list[dict[str, Any]] = [
        {"pool": "a", "node_selector": "zone == 'a'", "assignment_mode": "Automatic", "disabled": False, **common},
        {"pool": "m", "node_selector": "all()", "assignment_mode": "Manual", "disabled": False, **common},
        {"pool": "off", "node_selector": "all()", "assignment_mode": "Automatic", "disabled": True, **common},
    ]
    assert sentences.pools(tables.POOLS.frame(rows)) == (
        "1 pool assigns addresses automatically: a, of these, a only where a selector matches. "
        "m: only for pods that request it by name. Disabled, no new allocations: off."
    )
    assert sentences.pools(tables.POOLS.frame()).startswith("There is no IP pool")


def test_forecast_says_when() -> None:
    row = {"pool": "p", "samples": 3, "span": 4.0, "allocated": 50, "available": 100.0, "per_day": 5.0}
    frame = usage.FORECAST.frame([{**row, "days_left": 10.0, "full_at": "2026-12-04T00:00:00Z"}])
    said = sentences.forecast(frame)
    assert said.startswith("At the growth of the last 4 days, p is exhausted in 10 days, on 2026-12-04 00:00 UTC")


def test_a_sentence_escapes_what_a_cluster_put_into_it() -> None:
    assert shared.Says("<b>&")._repr_html_().endswith(">&lt;b&gt;&amp;</p>")


def test_findings_lead_on(exhausted: Cluster) -> None:
    said = next_steps.what_next(exhausted.check())
    assert said.startswith("First: Pool default-ipv4-ippool")
    assert said.endswith("It is shown in 01-ipam.")

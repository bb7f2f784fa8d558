"""Coverage by node: a check counts as made only where it could answer for every node of the cluster."""

from __future__ import annotations

import pytest

from calicokit.diagnosis.answer import answer
from calicokit.diagnosis.findings import Findings
from calicokit.diagnosis.model import CHECKS
from calicokit.diagnosis.reach import OTHERS
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.recordings.incidents import index
from tests import clusters
from tests.edited import Edited

HEALTHY = "healthy-bgp-mesh"
BIRD = ("birdcl-status", "birdcl-protocols", "birdcl-protocols-all", "bird-ready", "bird-log", "calicoctl-node-status")


def without(*ids: str, node: str | None = "node-2", incident: str = HEALTHY) -> Edited:
    lab = Edited(incident)
    lab.gone |= {(i, node) for i in ids}
    return lab


def test_a_whole_recording_is_checked_whole() -> None:
    found = clusters.checked(HEALTHY)
    assert (found.status, found.coverage.partly, found.unanswered) == (0, {}, {})


def test_a_node_of_which_nothing_tells_is_left_out_by_name() -> None:
    found = without(*BIRD, "ss-bgp").cluster().check()
    assert found.status == 3
    assert "bgp-session-down" in found.unanswered["node-2"]
    assert set(found.coverage.partly["bgp-session-down"]) == {"node-2"}
    assert "bgp-session-down" not in found.coverage.checked
    assert "Not checked for node-2: " in found.verdict()
    assert found.coverage.as_dict()["partly"]["bgp-session-down"] == ["node-2"]  # type: ignore[index]


def each_once(found: Findings) -> None:
    """Each id that a check can say was looked for, looked for in part, or not: it is in one of these, never silent."""
    coverage = found.coverage
    told = [*coverage.checked, *coverage.partly, *coverage.unchecked]
    assert sorted(told) == sorted({i for check in CHECKS for i in check.ids})
    assert {*found.blocked, *found.failed, *found.younger} <= set(coverage.unchecked)
    assert all(coverage.unchecked.values())


QUICK = ("ipam-exhausted", "policy-drop-v3.28")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in index()])
def test_every_finding_is_looked_for_or_said_not_to_be(name: str) -> None:
    each_once(clusters.checked(name))


def test_what_needs_samples_is_said_where_there_are_none() -> None:
    found = clusters.checked("ipam-exhausted")
    why = "conntrack: not sampled over time in this recording"
    assert found.coverage.as_dict()["unchecked"] == {"conntrack-stale": [why]}
    said = "Not checked: conntrack-stale (conntrack on 4 nodes: not sampled over time in this recording)"
    for everything in (False, True):
        assert said in [line.text for line in answer(found, "a cluster", everything=everything)]


def test_one_of_several_that_tell_the_same_is_enough() -> None:
    found = without("birdcl-protocols").cluster().check()
    assert "bgp-session-down" in found.coverage.checked


def test_what_a_table_itself_does_not_know_is_left_out() -> None:
    found = without("felix-ready", "felix-log", "felix-metrics").cluster().check()
    assert "node-2" in found.coverage.partly["felix-dead"]
    assert found.status == 3


def test_all_files_of_a_node_gone_leaves_no_silence() -> None:
    ids = [i.id for i in CATALOG.values() if i.scope == "node"]
    found = without(*ids).cluster().check()
    assert [f.id for f in found if f.severity != "info"] == []
    assert (found.status, list(found.unanswered)) == (3, ["node-2"])


@pytest.mark.parametrize("incident", ["healthy-bgp-mesh", "healthy-vxlan-typha"])
def test_without_the_list_of_nodes_others_are_left_out(incident: str) -> None:
    found = without("nodes", node=None, incident=incident).cluster().check()
    assert found.status == 3
    assert OTHERS in found.unanswered or found.blocked

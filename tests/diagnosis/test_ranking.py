"""The order of findings: causes over their effects to any depth, and the same cause on many nodes once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit import registry
from calicokit.diagnosis import ranking
from calicokit.diagnosis.model import Finding, finding
from calicokit.diagnosis.ranking import rank


def rule(node: str, packets: int = 7) -> Finding:
    return finding(
        "foreign-drop-rule",
        subject={"node": node, "table": "filter", "chain": "INPUT"},
        cause=f"A rule on {node} drops the API server's packets: {packets} so far.",
        remedy="",
        about={"the API server"},
    )


def unreachable(node: str, since: str = "10:00:00") -> Finding:
    return finding("datastore-unreachable", subject={"node": node}, cause=f"On {node} since {since}.", remedy="")


def not_ready(node: str) -> Finding:
    subject = {"node": node, "why": "datastore-unreachable"}
    return finding("felix-not-ready", subject=subject, cause=f"Felix on {node} is not ready.", remedy="")


@pytest.fixture(autouse=True)
def _explanations() -> None:
    registry.load()


def told(found: list[Finding]) -> list[tuple[str, object, str, int]]:
    return [(f.id, f.subject.get("node"), f.explained_by, f.depth) for f in found]


def test_an_effect_of_an_effect_hangs_under_it() -> None:
    every = [not_ready("n1"), unreachable("n1"), rule("n1")]
    assert told(rank(every)) == [
        ("foreign-drop-rule", "n1", "", 0),
        ("datastore-unreachable", "n1", "foreign-drop-rule", 1),
        ("felix-not-ready", "n1", "datastore-unreachable", 2),
    ]


def test_the_same_on_many_nodes_is_one_finding_with_the_nodes_listed() -> None:
    first, *others = rank([unreachable(f"n{i}", f"10:00:{i:02}") for i in range(1, 13)])
    assert others == []
    assert first.subject == {"node": sorted(f"n{i}" for i in range(1, 13))}
    assert first.cause == "On n1 since 10:00:01. The same on n2, n3, n4 and 8 more."


def test_what_differs_in_words_stays_apart() -> None:
    other = finding("datastore-unreachable", subject={"node": "n2"}, cause="On n2: x509.", remedy="")
    assert len(rank([unreachable("n1"), other])) == 2


def test_a_node_in_another_ones_name_is_no_part_of_it() -> None:
    one, two = unreachable("n"), finding("datastore-unreachable", subject={"node": "m"}, cause="On n.", remedy="")
    assert len(rank([one, two])) == 2


def test_effects_stay_under_the_cause_that_was_put_together() -> None:
    every = [f(n) for n in ("n1", "n2") for f in (rule, unreachable)] + [not_ready("n9")]
    assert told(rank(every)) == [
        ("foreign-drop-rule", ["n1", "n2"], "", 0),
        ("datastore-unreachable", ["n1", "n2"], "foreign-drop-rule", 1),
        ("felix-not-ready", "n9", "", 0),
    ]


def stale(node: str, policy: str, cause: str) -> Finding:
    return finding("dataplane-stale", subject={"node": node, "policy": policy}, cause=cause, remedy="")


def test_many_stale_policies_of_a_node_are_one() -> None:
    (one,) = rank([stale("n1", f"p{i}", f"Chain {i} on n1 lacks a rule.") for i in range(11)])
    assert (one.subject["node"], len(one.subject["policy"])) == ("n1", 11)


def test_the_more_severe_of_two_roots_comes_first() -> None:
    mild = finding("policy-tier-order", subject={"policy": "p"}, cause="", remedy="")
    assert [f.id for f in rank([mild, unreachable("n1")])] == ["datastore-unreachable", "policy-tier-order"]


def test_a_root_stands_where_the_worst_of_its_effects_does() -> None:
    mild = finding("policy-tier-order", subject={"policy": "p"}, cause="", remedy="")
    every = [mild, replace(rule("n1"), severity="info"), unreachable("n1")]
    ids = ["foreign-drop-rule", "datastore-unreachable", "policy-tier-order"]
    assert [f.id for f in rank(every)] == ids


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_explanations_in_a_circle_lose_no_finding(pairs: list[tuple[int, int]]) -> None:
    """Whatever explains whatever: each finding once, every effect right under its cause."""
    ids = ["bird-dead", "felix-dead", "typha-down", "ip-forward-off", "bgp-no-peers", "mtu-mismatch", "policy-drop"]
    every = [Finding(i, {"pod": i}, "", "", "warning") for i in [*ids, "ipam-leak"]]
    explanations = [(every[a].id, every[b].id, lambda cause, effect: True) for a, b in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "EXPLANATIONS", explanations)
        found = rank(every)
    assert sorted(f.id for f in found) == sorted(f.id for f in every)
    above: list[Finding] = []
    for f in found:
        del above[f.depth :]
        assert f.explained_by == (above[-1].id if above else "")
        above.append(f)

"""The order of findings: causes over their effects to any depth, and the same cause on many nodes once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit import registry
from calicokit.diagnosis import ranking
from calicokit.diagnosis.model import Explanation, Finding, Rows, finding, vocabulary
from calicokit.diagnosis.ranking import rank
from calicokit.diagnosis.relations import always


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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("since 2026-01-02 03:04:05 UTC", "since 2026-02-11 13:04:05 UTC"),
        ("at 2026-01-02T03:04:05.123456Z.", "at 2026-01-03T03:04:05.5Z."),
        ("at 10:00:00.123, last", "at 10:00:01.5, last"),
        ("via fe80::1: no route", "via fe80::2: no route"),
        ("to 2001:db8::a:1 or fd00::/8", "to 2001:db8:1:2:3:4:5:6 or fc00::/7"),
        ("from ::ffff:10.0.0.1 of ee:ee:ee:ee:ee:01", "from ::ffff:10.0.0.2 of ee:ee:ee:ee:ee:02"),
        ("for 3s, 1m30.5s and 20ms", "for 10s, 2m1s and 9.5µs"),
        ("uses 512Mi of 1GiB (5%)", "uses 80Mi of 2GiB (6%)"),
        ("read tcp 10.0.0.1:40123->10.96.0.1:443", "read tcp 10.0.0.2:50321->10.96.0.1:443"),
        ("read tcp [fd00::1]:40123->[fd00::a]:443", "read tcp [fd00::2]:50321->[fd00::a]:443"),
        ("10.0.0.1/24 has 1,024 of 4", "10.0.0.2/24 has 9 of 5"),
    ],
)
def test_numbers_times_and_addresses_may_differ_in_what_is_the_same(one: str, other: str) -> None:
    found = [replace(unreachable(n), cause=f"{n} {said}") for n, said in (("n1", one), ("n2", other))]
    assert len(rank(found)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("pool-1", "pool-2"), ("eth0.5", "eth0.6"), ("v1s", "v2s"), ("cali1a::x", "cali2a::x"), ("2026-01-02-x", "x")],
)
def test_digits_of_names_may_not(one: str, other: str) -> None:
    found = [replace(unreachable(n), cause=f"{n} {said}") for n, said in (("n1", one), ("n2", other))]
    assert len(rank(found)) == 2


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


IDS = sorted(vocabulary())[:12]
PAIRS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30)


def ranked(every: list[Finding], pairs: list[tuple[int, int]], on: str = "") -> list[Finding]:
    """Findings in order where the one with the first number of a pair explains that with the second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "EXPLANATIONS", [Explanation(IDS[a], IDS[b], always, on) for a, b in pairs])
        return rank(every)


@given(PAIRS, st.permutations(range(12)))
def test_an_effect_hangs_under_the_nearest_of_its_causes(pairs: list[tuple[int, int]], order: list[int]) -> None:
    """The same as the plain definition: one deeper than the deepest cause, under the first of those."""
    pairs = [(a, b) for a, b in pairs if a < b]  # no circles

    def depth(number: int) -> int:
        return max((1 + depth(a) for a, b in pairs if b == number), default=0)

    for f in ranked([Finding(IDS[n], {"pod": n}, "", "", "warning") for n in order], pairs):
        causes = dict.fromkeys(a for a, b in pairs if b == f.subject["pod"])
        above = max(causes, key=depth, default=None)
        assert (f.depth, f.explained_by) == (depth(f.subject["pod"]), "" if above is None else IDS[above])


@given(PAIRS)
def test_explanations_in_a_circle_lose_no_finding(pairs: list[tuple[int, int]]) -> None:
    """Whatever explains whatever: each finding once, every effect right under its cause."""
    every = [Finding(i, {"pod": i}, "", "", "warning") for i in IDS]
    found = ranked(every, pairs)
    assert sorted(f.id for f in found) == sorted(f.id for f in every)
    above: list[Finding] = []
    for f in found:
        del above[f.depth :]
        assert f.explained_by == (above[-1].id if above else "")
        above.append(f)


def test_what_a_circle_leads_to_hangs_under_all_of_it() -> None:
    every = [Finding(i, {"pod": i}, "", "", "warning") for i in IDS[:5]]
    found = ranked(every, [(0, 1), (1, 2), (2, 0), (2, 3), (4, 0)])
    assert [(f.id, f.depth) for f in found] == [(IDS[4], 0), *((IDS[n], n + 1) for n in range(4))]


def test_findings_that_all_explain_each_other_are_placed_at_once() -> None:
    every = [Finding(i, {"pod": i}, "", "", "warning") for i in IDS]
    found = ranked(every, [(a, b) for a in range(12) for b in range(12)])
    assert sorted(f.depth for f in found) == list(range(12))


def test_a_chain_may_be_longer_than_python_nests_calls() -> None:
    """Findings of one kind that explain each other, one after the other."""
    every = [Finding(IDS[0], {"pod": n}, "", "", "warning") for n in range(1500)]

    def before(cause: Finding, effect: Finding) -> bool:
        return bool(cause.subject["pod"] == effect.subject["pod"] - 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "EXPLANATIONS", [Explanation(IDS[0], IDS[0], before)])
        assert [f.depth for f in rank(every)] == list(range(1500))


def test_a_pod_hangs_under_what_is_wrong_on_its_node() -> None:
    rows = [Rows.of("pods", "health.pods", [{"pod": "calico-node-2"}], "n2")]
    pod = finding(
        "calico-pod-not-ready", subject={"pod": "calico-node-2"}, cause="calico-node", remedy="", evidence=rows
    )
    other = replace(unreachable("n1"), cause="On n1: x509.")
    assert told(rank([pod, other, unreachable("n2")])) == [
        ("datastore-unreachable", "n1", "", 0),
        ("datastore-unreachable", "n2", "", 0),
        ("calico-pod-not-ready", None, "datastore-unreachable", 1),
    ]


def test_only_findings_of_the_same_node_are_asked_where_that_is_said() -> None:
    asked: list[tuple[str, str]] = []

    def test(cause: Finding, effect: Finding) -> bool:
        asked.append((cause.subject["node"], effect.subject["node"]))
        return True

    every = [f(f"n{i}") for i in range(30) for f in (unreachable, not_ready)]
    with pytest.MonkeyPatch.context() as patch:
        one = Explanation("datastore-unreachable", "felix-not-ready", test, on="node")
        patch.setattr(ranking, "EXPLANATIONS", [one])
        assert [(f.id, f.depth) for f in rank(every)] == [("datastore-unreachable", 0), ("felix-not-ready", 1)]
    assert asked == [(f"n{i}", f"n{i}") for i in range(30)]

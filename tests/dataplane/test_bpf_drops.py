"""What dropped a packet in eBPF mode: rules' hits of a node beside drops of interfaces, told only where both agree."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from calicokit.dataplane import sentences
from calicokit.dataplane.drops.bpf_deciders import Deciders, Denials, Policies, denials
from calicokit.dataplane.rules.policy_programs import Program, RuleId, policy_programs
from calicokit.parsers.base import parse
from tests import clusters, recordings
from tests.edited import Edited
from tests.only import only

DROP, VXLAN = "ebpf-policy-drop", "healthy-ebpf-vxlan"

# ---- how a program can deny

LEGACY = """  Tier: security
    Policy: GlobalNetworkPolicy security.legacy 0
      Rule: security.legacy  Action: deny
      Match: src={10.0.0.1/32}
      Hit count: 4
      Rule: security.legacy  Action: next-tier
      Hit count: 0
    End Policy: GlobalNetworkPolicy security.legacy 0
  End Tier: security  (action: deny)
"""
DEFAULT = """  Tier: default
    Policy: KubernetesNetworkPolicy shop/deny 1
    End Policy: KubernetesNetworkPolicy shop/deny 1
  End Tier: default  (action: deny)
"""
STAGED = "  Tier: default\n    Policy:   1\n    End Policy:   1\n  End Tier: default  (action: pass)\n"
PROFILE = "      Rule: kns.shop  Action: allow\n      Hit count: 0\n"
DENY, PASS = (RuleId("ingress", "GlobalNetworkPolicy", "legacy", n) for n in (0, 1))
KNOWN = Policies(frozenset((PASS,)), frozenset())


def program(body: str) -> Program:
    frame = parse("bpf-policy", f"IfaceName: cali7de0b711f16\nHook: tc egress\n{body}", strict=True).frame
    ((_, made),) = policy_programs(frame.assign(node="n1")).items()
    return made


@pytest.mark.parametrize(
    ("body", "policies", "rules", "ends"),
    [
        (LEGACY + DEFAULT + PROFILE, KNOWN, [DENY], ["end-of-tier default"]),
        (LEGACY + DEFAULT + PROFILE, Policies(), [DENY], ["end-of-tier security", "end-of-tier default"]),
        (LEGACY + STAGED + PROFILE, KNOWN, [DENY], []),
        (STAGED, KNOWN, [], [None]),
        (PROFILE, KNOWN, [], []),
        ("", KNOWN, [], [None]),
    ],
)
def test_what_a_program_can_deny_by(body: str, policies: Policies, rules: list[RuleId], ends: list[str | None]) -> None:
    found = denials("n1", program(body), policies)
    assert list(found.rules) == rules
    assert [e.policy for e in found.ends] == ends


def test_profiles_without_a_name_and_ends_without_an_action_leave_it_open() -> None:
    """As versions up to v3.28 print them."""
    unnamed = '// Start of tier default\n// End of tier default\n// Start of rule action:"allow"\n// count = 3\n'
    assert [e.policy for e in denials("n1", program(unnamed), KNOWN).ends] == ["end-of-tier default", None]


# ---- shared out

Lost = dict[tuple[str, str, str], int]
Ways = Mapping[tuple[str, str, str], Denials]

ONE, TWO = (("n1", f"cali{n}", "ingress") for n in (1, 2))
BOTH = denials("n1", program(LEGACY + DEFAULT + PROFILE), KNOWN)
RULE = denials("n1", program(LEGACY + STAGED + PROFILE), KNOWN)
END = denials("n1", program(DEFAULT + PROFILE), KNOWN)


def shared(
    ways: Mapping[tuple[str, str, str], Denials],
    lost: dict[tuple[str, str, str], int],
    hits: int | None,
    slack: int = 0,
) -> list[tuple[str | None, int]]:
    counts = {} if hits is None else {("n1", DENY): hits}
    made = Deciders(ways, lost, counts, lambda _: slack)
    return [(d.policy or d.doubt or None, n) for d, n in made.of(ONE)]


LEGACY_, DEFAULT_ = "security.legacy", "end-of-tier default"
EITHER = "one of end-of-tier default and rule 0 of security.legacy"


@pytest.mark.parametrize(
    ("ways", "lost", "hits", "slack", "said"),
    [
        ({ONE: END}, {ONE: 9}, 0, 0, [(DEFAULT_, 9)]),
        ({ONE: BOTH}, {ONE: 9}, 0, 0, [(DEFAULT_, 9)]),
        ({ONE: BOTH}, {ONE: 9}, 9, 0, [(LEGACY_, 9)]),
        ({ONE: BOTH}, {ONE: 9}, 8, 3, [(LEGACY_, 9)]),
        ({ONE: BOTH}, {ONE: 9}, 4, 0, [(EITHER, 9)]),
        ({ONE: BOTH}, {ONE: 9}, 4, 3, [(LEGACY_, 4), (DEFAULT_, 5)]),
        ({ONE: BOTH}, {ONE: 9}, 40, 3, [(EITHER, 9)]),
        ({ONE: BOTH}, {ONE: 9}, None, 3, [(EITHER, 9)]),
        ({ONE: RULE}, {ONE: 9}, 40, 0, [(LEGACY_, 9)]),
        ({ONE: BOTH, TWO: BOTH}, {ONE: 9, TWO: 3}, 12, 0, [(LEGACY_, 9)]),
        ({ONE: BOTH, TWO: BOTH}, {ONE: 9, TWO: 3}, 9, 1, [(EITHER, 9)]),
        ({}, {ONE: 9}, 0, 0, [("its policy program was not seen", 9)]),
    ],
)
def test_a_drop_is_told_of_a_rule_only_where_the_counts_agree(
    ways: Ways, lost: Lost, hits: int | None, slack: int, said: list[tuple[str | None, int]]
) -> None:
    found = shared(ways, lost, hits, slack)
    assert [(re.sub("one of rule.*", EITHER, w) if w else w, n) for w, n in found] == said


# ---- on real clusters


def test_policy_and_rule_of_what_was_dropped_while_watched() -> None:
    cluster = clusters.opened(DROP)
    found = {(f.subject["src"], f.subject["dst"], f.subject["port"]): f for f in only(cluster, "policy-drop")}
    by_rule, by_end = found["legacy/batch", "shop/payments", 8443], found["shop/frontend", "unknown", "unknown"]
    assert by_rule.severity == by_end.severity == "warning"
    assert "by rule 1 of security.block-legacy-to-pci (ingress, tier security)" in by_rule.cause
    assert by_end.subject["policy"] == "end-of-tier default"
    rules = cluster.table("dataplane.bpf_rules")
    hit = rules[(rules["action"] == "deny") & (rules["grown"] > 0)]
    assert set(hit["policy"]) == {"security.block-legacy-to-pci"}
    lost = cluster.table("dataplane.bpf_drops")
    own = lost[lost["policy"] == "security.block-legacy-to-pci"]
    assert own["grown"].sum() == hit["grown"].sum()


def test_the_sentence_of_notebook_05_counts_what_programs_dropped() -> None:
    assert sentences.drops(clusters.opened(DROP).dataplane.drops()).startswith("Dropped during sampling: end-of-tier")
    assert "were dropped since the rules were programmed" in sentences.drops(clusters.opened(VXLAN).dataplane.drops())
    history = clusters.opened(DROP).dataplane.drop_history()
    assert set(history["what"]) == {"end-of-tier default", "security.block-legacy-to-pci"}


def test_drops_of_a_healthy_cluster_are_information() -> None:
    assert {f.severity for f in only(clusters.opened(VXLAN), "policy-drop")} == {"info"}


def test_without_the_programs_the_policy_is_unknown() -> None:
    lab = Edited(DROP)
    lab.gone |= {("bpf-policy", node) for node in lab.nodes()}
    found = [f for f in only(clusters.Sharing(lab), "policy-drop") if f.severity == "warning"]
    assert found
    assert {f.subject["policy"] for f in found} == {"unknown"}
    assert all("policy programs were not seen" in f.cause for f in found)


def test_rules_are_read_of_every_program() -> None:
    rules = clusters.opened(VXLAN).table("dataplane.bpf_rules")
    for node in Edited(VXLAN).nodes():
        text = recordings.read(VXLAN, f"nodes/{node}/bpf-policy.txt").decode()
        assert rules[rules["node"] == node]["interfaces"].map(len).sum() == text.count("Rule: ")

"""Policy programs beside policies: what a program lacks, has too much, or does otherwise; what was not seen is told."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from calicokit.dataplane import sentences
from calicokit.dataplane.programmed.policy_programs import NOT_COMPARED, Asked, differences
from calicokit.dataplane.rules.policy_programs import policy_programs
from calicokit.diagnosis.model import Finding
from calicokit.parsers.base import parse
from tests import clusters
from tests.edited import Edited
from tests.only import only

TEXT = """IfaceName: cali7de0b711f16
Hook: tc egress
  Tier: security
    Policy: GlobalNetworkPolicy security.block-threats 0
      Rule: security.block-threats  Action: deny
      Match: src={198.51.100.0/24,203.0.113.7/32}
      Hit count: 0
      Rule: security.block-threats  Action: next-tier
      Hit count: 0
    End Policy: GlobalNetworkPolicy security.block-threats 0
  End Tier: security  (action: deny)
  Tier: default
    Policy: KubernetesNetworkPolicy shop/default-deny 1
    End Policy: KubernetesNetworkPolicy shop/default-deny 1
    Policy: NetworkPolicy shop/default.web 2
      Rule: shop/default.web  Action: allow
      Match: proto=tcp dports={8080}
      Hit count: 0
    End Policy: NetworkPolicy shop/default.web 2
    Policy:   3
    End Policy:   3
  End Tier: default  (action: deny)
      Rule: kns.shop  Action: allow
      Hit count: 0
"""
THREATS, DENY, WEB = (
    ("GlobalNetworkPolicy", "security.block-threats"),
    ("KubernetesNetworkPolicy", "shop/default-deny"),
    ("NetworkPolicy", "shop/web"),
)
APPLY = [("security", THREATS), ("default", DENY), ("default", WEB)]
RULES = {
    ("GlobalNetworkPolicy", "block-threats"): ["deny", "pass"],
    ("KubernetesNetworkPolicy", "shop/default-deny"): [],
    ("NetworkPolicy", "shop/web"): ["allow"],
}


def asked(
    apply: list[tuple[str, tuple[str, str]]], hosts: tuple[tuple[str, str], ...] = (), **rules: list[str]
) -> Asked:
    columns = ["node", "namespace", "pod", "direction", "place", "tier", "kind", "policy_namespace", "policy", "staged"]
    rows: list[tuple[object, ...]] = []
    for place, (tier, (kind, ref)) in enumerate(apply, 1):
        namespace, _, name = ref.rpartition("/")
        rows.append(("n1", "shop", "api", "ingress", place, tier, kind, namespace or None, name, False))
    rows += [("n1", None, "heps", "egress", 1, "default", kind, None, ref, False) for kind, ref in hosts]
    rows.append(("n1", "shop", "api", "ingress", 9, "default", "StagedGlobalNetworkPolicy", None, "staged", True))
    made = Asked.read(pd.DataFrame(rows, columns=columns), ())
    made.verdicts = {(name, "ingress"): rules.get(name[1].rpartition("/")[2], said) for name, said in RULES.items()}
    return made


def told(text: str, should: Asked) -> list[tuple[str, str | None]]:
    """Kind of difference and policy, of the pod's ingress."""
    frame = parse("bpf-policy", text).frame
    frame.insert(0, "node", "n1")
    pod = ("n1", "shop", "api", ["cali7de0b711f16"])
    rows = differences(policy_programs(frame), should, [pod], {"n1"})
    return [(r["difference"], r.get("policy")) for r in rows if r.get("direction", "ingress") == "ingress"]


def test_a_program_that_asks_what_applies_differs_in_nothing() -> None:
    assert told(TEXT, asked(APPLY)) == []


def test_names_are_compared_without_the_tier_that_some_versions_put_in_front() -> None:
    plain = [(t, (k, p.replace("shop/web", "shop/default.web"))) for t, (k, p) in APPLY]
    assert told(TEXT, asked(plain)) == []


@pytest.mark.parametrize(
    ("apply", "said"),
    [
        ([*APPLY, ("default", ("NetworkPolicy", "shop/more"))], [("missing", "shop/more")]),
        (APPLY[:2], [("extra", "shop/default.web")]),
        ([APPLY[0], APPLY[2], APPLY[1]], [("order", "shop/web")]),
    ],
)
def test_a_policy_that_lacks_or_stays_or_stands_elsewhere(
    apply: list[tuple[str, tuple[str, str]]], said: list[tuple[str, str]]
) -> None:
    found = told(TEXT, asked(apply))
    assert [(d, p.replace("default.web", "web") if p else p) for d, p in found] == [
        (d, p.replace("default.web", "web")) for d, p in said
    ]


def test_rules_that_do_something_else() -> None:
    assert told(TEXT, asked(APPLY, web=["allow", "deny"])) == [("rules", "shop/web")]


def test_policies_of_the_host_endpoint_of_all_interfaces_stand_before_the_pods_own() -> None:
    """Not too much: they apply to the host; the same policy may stand in both places."""
    assert told(TEXT, asked(APPLY[:2], hosts=(WEB,))) == []
    first = """  Tier: default
    Policy: NetworkPolicy shop/default.web 0
    End Policy: NetworkPolicy shop/default.web 0
  End Tier: default  (action: deny)
"""
    later = re.sub(r"(Policy: .*) (\d)\n", lambda m: f"{m[1]} {int(m[2]) + 1}\n", TEXT)
    twice = later.replace("  Tier: security", first + "  Tier: security", 1)
    assert told(twice, asked(APPLY, hosts=(WEB,), web=["allow"])) == []


OLD = """IfaceName: cali7de0b711f16
Hook: tc egress
Error: \nPolicy Info:
// Start of tier security
// Start of policy security.block-threats
// Start of rule action:"deny" src_net:"198.51.100.0/24"
// count = 0
// Start of rule action:"next-tier"
// count = 0
// End of policy security.block-threats
// End of tier security: deny
// Start of tier default
// Start of policy shop/knp.default.default-deny
// End of policy shop/knp.default.default-deny
// Start of policy shop/default.web
// Start of rule action:"allow" protocol:{name:"tcp"}
// count = 0
// End of policy shop/default.web
// End of tier default: deny
// Start of rule action:"allow"
// count = 0
"""


def test_versions_before_v332_print_stored_names() -> None:
    assert told(OLD, asked(APPLY)) == []
    assert told(OLD, asked(APPLY[:2])) == [("extra", "shop/web")]


def test_a_program_that_could_not_be_loaded() -> None:
    failed = TEXT.replace("Hook: tc egress\n", "Hook: tc egress\nError: permission denied\n")
    assert told(failed, asked(APPLY)) == [("not-loaded", None)]


@pytest.mark.parametrize(
    "text",
    [
        TEXT.partition("  End Tier: default")[0],
        TEXT.replace("    Policy: NetworkPolicy shop/default.web 2", "    Po"),
        TEXT.replace("tc egress", "tc ingress"),
        TEXT.replace("cali7de0b711f16", "cali00000000000"),
    ],
    ids=["cut", "spoilt", "other-hook", "other-interface"],
)
def test_what_was_not_seen_whole_is_not_compared(text: str) -> None:
    assert told(text, asked(APPLY)) == [(NOT_COMPARED, None)]


def test_nodes_whose_programs_were_not_seen_are_told() -> None:
    rows = list(differences({}, asked(APPLY), [("n1", "shop", "api", ["cali1"])], {"n1", "n2"}))
    assert rows == [{"node": n, "difference": NOT_COMPARED} for n in ("n1", "n2")]


LINES = TEXT.splitlines(keepends=True)


@pytest.mark.parametrize("number", range(len(LINES)))
@pytest.mark.parametrize("spoilt", ["", "      %% ?? ##\n"], ids=["lost", "spoilt"])
def test_no_damaged_line_makes_a_difference(number: int, spoilt: str) -> None:
    text = "".join([*LINES[:number], spoilt, *LINES[number + 1 :]])
    assert told(text, asked(APPLY)) in ([], [(NOT_COMPARED, None)])


@pytest.mark.parametrize("number", range(1, len(LINES)))
def test_no_cut_makes_a_difference(number: int) -> None:
    assert told("".join(LINES[:number]), asked(APPLY)) == [(NOT_COMPARED, None)]


# ---- on a real cluster


VXLAN = "healthy-ebpf-vxlan"


def stale(lab: Edited) -> list[Finding]:
    return [f for f in only(clusters.Sharing(lab), "dataplane-stale") if f.severity != "info"]


def test_a_healthy_cluster_has_no_difference() -> None:
    assert len(clusters.opened(VXLAN).dataplane.differences()) == 0
    assert "matches the policies on every node" in sentences.differences(
        clusters.opened(VXLAN).dataplane.differences(), clusters.opened(VXLAN).dataplane.memberships()
    )


def test_a_program_with_a_policy_of_yesterday_is_a_finding_of_its_node() -> None:
    """As if a policy had been renamed, and Felix of node-2 had not heard of it."""
    found = stale(Edited(VXLAN).edit("bpf-policy", "node-2", lambda t: t.replace("shop/web-egress", "shop/web-old")))
    assert [(f.severity, f.subject["node"], f.evidence[0].id) for f in found] == [("critical", "node-2", "bpf-policy")]
    assert set(found[0].subject["policy"]) == {"shop/web-egress", "shop/web-old"}
    assert "it is not called for shop/frontend-" in found[0].cause


def test_a_program_whose_rules_are_of_yesterday() -> None:
    denies = lambda t: t.replace("Rule: shop/api-to-db  Action: allow", "Rule: shop/api-to-db  Action: deny")  # noqa: E731
    (found,) = stale(Edited(VXLAN).edit("bpf-policy", "node-2", denies))
    assert found.subject == {"node": "node-2", "policy": "shop/api-to-db"}
    assert "its ingress rules in programs do deny, but the policy's rules say allow" in found.cause


def test_a_program_that_felix_could_not_load_is_a_finding() -> None:
    failed = lambda t: t.replace("Hook: tc egress\n", "Hook: tc egress\nError: too many jumps\n", 1)  # noqa: E731
    (found,) = stale(Edited(VXLAN).edit("bpf-policy", "node-2", failed))
    assert re.search(r"the ingress policy program of \S+ could not be loaded \(too many jumps\)", found.cause)

"""Policy programs beside policies: what a program lacks, has too much, or does otherwise; what was not seen is told."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from calicokit.dataplane.programmed.policy_programs import NOT_COMPARED, Asked, differences
from calicokit.dataplane.rules.policy_programs import policy_programs
from calicokit.parsers.base import parse

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
    """But where a tier has ended: then nothing tells that another one, or the profiles, should follow."""
    text = "".join(LINES[:number])
    if not LINES[number - 1].startswith(("  End Tier", "Hook")):
        assert told(text, asked(APPLY)) == [(NOT_COMPARED, None)]

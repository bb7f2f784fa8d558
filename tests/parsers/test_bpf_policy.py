"""Policy programs as ``-bpf policy dump`` prints them, in the layout of the recordings and in the older one."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers.base import parse
from tests.examples import examples

NEW = """IfaceName: cali7de0b711f16
Hook: tc egress
Error: load failed: permission denied
  Tier: security
    Policy: GlobalNetworkPolicy security.block-legacy 0
      Rule: security.block-legacy  Action: log
      Match: src={10.48.139.69/32}
      Hit count: 0
      Rule: security.block-legacy  Action: next-tier
      Hit count: 20
    End Policy: GlobalNetworkPolicy security.block-legacy 0
  End Tier: security  (action: deny)
  Tier: default
    Policy: KubernetesNetworkPolicy shop/default-deny 1
    End Policy: KubernetesNetworkPolicy shop/default-deny 1
    Policy:   2
    End Policy:   2
  End Tier: default  (action: pass)
      Rule: kns.shop  Action: allow
      Hit count: 3
      Rule: ksa.shop.web  Action: deny
      Hit count: 4
IfaceName: cali7de0b711f16
Hook: tc ingress
"""

OLD = """IfaceName: cali1
Hook: tc ingress
Error: \nPolicy Info:
// Start of tier default
// Start of policy shop/default.allow-cart
// Start of rule action:"allow" protocol:{name:"tcp"} rule_id:"x"
// count = 3
// End of rule x
// Start of rule action:"deny" rule_id:"y"
// count = 4
// End of rule y
// End of policy shop/default.allow-cart
// Start of policy \n// End of policy \n// End of tier default: deny
// Start of rule action:"allow" rule_id:"z"
// count = 5
// End of rule z
// Load packet metadata saved by previous program
bf16000000000000 Mov64 dst=R6 src=R1
policy:
"""


def rows(text: str) -> pd.DataFrame:
    return parse("bpf-policy", text, strict=True).frame


def said(frame: pd.DataFrame, *columns: str) -> list[tuple[object, ...]]:
    plain = frame[list(columns)].astype(object)
    return list(plain.where(frame[list(columns)].notna(), None).itertuples(index=False, name=None))


def test_each_rule_stands_in_its_own_tier_and_policy() -> None:
    assert said(rows(NEW), "hook", "step", "tier", "kind", "policy", "rule", "action", "packets") == [
        ("egress", "program", None, None, None, None, None, None),
        ("egress", "policy", "security", "GlobalNetworkPolicy", "security.block-legacy", None, None, None),
        ("egress", "rule", "security", "GlobalNetworkPolicy", "security.block-legacy", 0, "log", 0),
        ("egress", "rule", "security", "GlobalNetworkPolicy", "security.block-legacy", 1, "next-tier", 20),
        ("egress", "end-of-tier", "security", None, None, None, "deny", None),
        ("egress", "policy", "default", "KubernetesNetworkPolicy", "shop/default-deny", None, None, None),
        ("egress", "policy", "default", None, None, None, None, None),
        ("egress", "end-of-tier", "default", None, None, None, "pass", None),
        ("egress", "rule", None, "Profile", "kns.shop", 0, "allow", 3),
        ("egress", "rule", None, "Profile", "ksa.shop.web", 0, "deny", 4),
        ("ingress", "program", None, None, None, None, None, None),
    ]
    assert said(rows(NEW), "match", "error")[:3] == [
        (None, "load failed: permission denied"),
        (None, None),
        ("src={10.48.139.69/32}", None),
    ]


def test_comments_of_older_versions() -> None:
    assert said(rows(OLD), "step", "tier", "kind", "policy", "rule", "action", "packets") == [
        ("program", None, None, None, None, None, None),
        ("policy", "default", None, "shop/default.allow-cart", None, None, None),
        ("rule", "default", None, "shop/default.allow-cart", 0, "allow", 3),
        ("rule", "default", None, "shop/default.allow-cart", 1, "deny", 4),
        ("policy", "default", None, None, None, None, None),
        ("end-of-tier", "default", None, None, None, "deny", None),
        ("rule", None, "Profile", None, 0, "allow", 5),
    ]
    assert rows(OLD)["match"][2] == 'action:"allow" protocol:{name:"tcp"} rule_id:"x"'


@pytest.mark.parametrize("line", ["Hit count: many", "Match: x", "Policy: A b c 1", "Rule: x Action: allow", "what"])
def test_what_is_no_line_of_a_dump_is_told(line: str) -> None:
    parsed = parse("bpf-policy", f"IfaceName: cali1\nHook: tc egress\n{line}\n")
    assert [unread.text for unread in parsed.unparsed] == [line]
    assert len(parsed.frame) == 1


@examples(60)
@given(st.lists(st.sampled_from([*NEW.splitlines(), *OLD.splitlines()]), max_size=30))
def test_lines_in_any_order_lose_no_rule(lines: list[str]) -> None:
    frame = parse("bpf-policy", "\n".join(lines)).frame
    starts = sum("Rule: " in line or "Start of rule" in line for line in lines)
    assert (frame["step"] == "rule").sum() == starts
    assert (frame["step"] == "program").sum() == sum(line.startswith("Hook") for line in lines)

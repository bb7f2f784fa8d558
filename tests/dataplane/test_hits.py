"""Hits of policies' rules: they are the API's rules, and those that deny are the drops."""

from __future__ import annotations

import pytest

from calicokit.schema import cells
from tests.clusters import of

EACH_KIND = ["policy-drop", "policy-drop-v3.28", "healthy-nftables", "healthy-dual-stack", "ebpf-policy-drop"]


@pytest.mark.parametrize("incident", EACH_KIND)
def test_each_is_a_rule_of_the_api(incident: str) -> None:
    hits, rules = of(incident).dataplane.policy_hits(), of(incident).policy.rules()
    known = {
        (kind, f"{namespace}/{name}" if isinstance(namespace, str) else name, direction, rule, action)
        for kind, namespace, name, direction, rule, action in cells(
            rules, "kind", "policy_namespace", "policy", "direction", "rule", "action"
        )
    }
    own = hits[(hits["kind"] != "Profile") & hits["kind"].notna()]
    found = set(cells(own, "kind", "policy", "direction", "rule", "action"))
    assert len(found) >= 10
    assert found <= known
    assert not hits["matches"].str.contains("mark").any(), "steps of a rule speak by marks, which say nothing"


@pytest.mark.parametrize("incident", EACH_KIND[:4])
def test_denied_packets_are_the_drops_of_policy(incident: str) -> None:
    hits, drops = of(incident).dataplane.policy_hits(), of(incident).dataplane.drops()
    denied = hits[(hits["action"] == "deny") & (hits["packets"] > 0)]
    lost = drops[(drops["reason"] == "policy") & (drops["packets"] > 0)]
    place = ("node", "family", "chain", "policy", "packets")
    assert len(denied)
    assert set(cells(denied, *place)) == set(cells(lost, *place))


def test_the_same_traffic_hits_the_same_rules_in_iptables_and_ebpf() -> None:
    """Both clusters were asked for the same connections: api-to-db from two nodes, 12 connections in each sample."""
    for incident in ("policy-drop", "ebpf-policy-drop"):
        hits = of(incident).dataplane.policy_hits()
        asked = hits[(hits["policy"] == "shop/api-to-db") & (hits["packets"] > 0)]
        assert set(cells(asked, "node", "rule", "action", "packets", "grown")) == {
            ("node-2", 0, "allow", 60, 48),
            ("node-3", 0, "allow", 60, 48),
        }


def test_what_was_not_sampled_did_not_grow_by_none() -> None:
    assert of("healthy-nftables").dataplane.policy_hits()["grown"].isna().all()
    assert of("policy-drop").dataplane.policy_hits()["grown"].notna().all()

"""Drops, foreign rules, backends, the kernel: recorded faults, and edited recordings for those no recording shows."""

from __future__ import annotations

from typing import Any

import pytest

import calicokit
from tests.edited import Edited, adding

MESH, VXLAN, NFT = "healthy-bgp-mesh", "healthy-vxlan-typha", "healthy-nftables"


def ruled(table: str, rule: str) -> Any:
    """Puts a rule at the end of a table of iptables-save."""

    def how(text: str) -> str:
        head, mark, rest = text.partition(f"*{table}\n")
        return head + mark + rest.replace("COMMIT", f"[7:420] {rule}\nCOMMIT", 1)

    return how


def foreign(lab: Edited) -> list[Any]:
    return [f for f in lab.loud() if f.id == "foreign-drop-rule"]


@pytest.mark.parametrize("name", ["policy-drop", "policy-drop-v3.28"])
def test_recorded_drops_name_policy_and_ends(name: str) -> None:
    findings = [f for f in calicokit.open(f"incident:{name}").check() if f.severity != "info"]
    assert {f.id for f in findings} == {"policy-drop"}
    told = {(f.subject["src"], f.subject["dst"], str(f.subject["port"])) for f in findings}
    assert ("shop/frontend", "unknown", "unknown") in told, "dropped at its source: no entry tells the other end"
    assert ("legacy/batch", "shop/payments", "8443") in told, "the log tells both ends"
    assert any(f.subject["policy"] == "end-of-tier default" for f in findings)
    assert any(str(f.subject["policy"]).endswith("block-legacy-to-pci") for f in findings)


def test_drops_of_a_recording_without_a_series_are_no_findings() -> None:
    cluster = calicokit.open(f"incident:{MESH}")
    drops = cluster.table("dataplane.drops")
    assert (drops["packets"].fillna(0) > 0).any()
    assert drops["grown"].isna().all()
    assert [f.id for f in cluster.check() if f.id in ("policy-drop", "end-of-tier-drop") and f.severity != "info"] == []


def test_the_recorded_wall_heads_the_sessions_that_it_keeps_down() -> None:
    findings = [f for f in calicokit.open("incident:bgp-tcp179-blocked").check() if f.severity != "info"]
    heads = [f for f in findings if not f.explained_by]
    assert {(f.id, f.subject["node"], f.subject["chain"]) for f in heads} == {
        ("foreign-drop-rule", "node-3", "INPUT"),
        ("foreign-drop-rule", "node-3", "OUTPUT"),
    }
    assert [(f.id, f.explained_by) for f in findings if f.explained_by] == [("bgp-session-down", "foreign-drop-rule")]


def test_recorded_backends_are_mixed_on_all_nodes() -> None:
    (found,) = (f for f in calicokit.open("incident:iptables-backends-mixed").check() if f.severity != "info")
    assert (found.id, found.subject) == (
        "iptables-backend-mixed",
        {"nodes": ["node-1", "node-2", "node-3", "node-4"]},
    )
    assert "legacy" in found.cause


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("-A INPUT -p udp -m udp --dport 4789 -j DROP", "VXLAN"),
        ("-A OUTPUT -p tcp -m multiport --dports 6443,5473 -j REJECT --reject-with icmp-port-unreachable", "Typha"),
        ("-A FORWARD -s 10.48.0.0/16 -j DROP", "pods' packets"),
        ("-A FORWARD -i cali+ -j DROP", "pods' packets"),
        ("-A INPUT -p 4 -j DROP", "IPIP"),
        ("-A FORWARD -j DROP", "what is forwarded"),
    ],
)
def test_a_foreign_rule_that_drops_what_calico_needs(rule: str, what: str) -> None:
    lab = Edited(VXLAN)
    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, "node-2", ruled("filter", rule))
    (first,) = foreign(lab)
    assert first.subject == {"node": "node-2", "table": "filter", "chain": rule.split()[1]}
    assert what in first.cause


def test_blocked_vxlan_hangs_under_the_rule_that_blocks_it() -> None:
    lab = Edited(VXLAN)
    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, "node-2", ruled("filter", "-A INPUT -p udp -m udp --dport 4789 -j DROP"))
    assert [(f.id, f.explained_by) for f in lab.loud()] == [
        ("foreign-drop-rule", ""),
        ("vxlan-blocked", "foreign-drop-rule"),
    ]


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -p tcp -m tcp --dport 23 -j DROP",
        "-A INPUT -m conntrack --ctstate INVALID -j DROP",
        "-A FORWARD -i docker0 -o docker0 -j DROP",
        "-A FORWARD -d 192.0.2.0/24 -j DROP",
        "-A FORWARD -p tcp -m tcp --dport 179 -j ACCEPT",
        "-A INPUT ! -s 172.30.0.0/24 -p udp -m udp --dport 4789 -j DROP",
    ],
)
def test_rules_that_are_no_matter_of_calicos(rule: str) -> None:
    lab = Edited(MESH)
    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, "node-2", ruled("filter", rule))
    assert foreign(lab) == []


def test_a_rule_that_has_dropped_nothing_is_no_wall() -> None:
    lab = Edited(VXLAN)
    rule = "-A INPUT -p udp -m udp --dport 4789 -j DROP"
    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, "node-2", lambda text: ruled("filter", rule)(text).replace("[7:420]", "[0:0]"))
    assert foreign(lab) == []


def test_a_node_that_does_not_forward() -> None:
    lab = Edited(MESH).edit(
        "sysctl-net", "node-2", lambda t: t.replace("net.ipv4.ip_forward = 1", "net.ipv4.ip_forward = 0")
    )
    (first,) = lab.heads()
    assert (first.id, first.subject) == ("ip-forward-off", {"node": "node-2"})


def test_loose_filtering_counts_only_where_felix_refuses() -> None:
    loose = lambda t: t.replace("net.ipv4.conf.all.rp_filter = 1", "net.ipv4.conf.all.rp_filter = 2")  # noqa: E731
    lab = Edited(MESH).edit("sysctl-net", "node-2", loose)
    assert lab.heads() == []
    line = (
        "2026-11-24 00:46:00.000 [FATAL][61] felix/int_dataplane.go 1: Kernel's RPF check is set to 'loose'.  This "
        "would allow endpoints to spoof their IP address."
    )
    (first,) = lab.edit("felix-log", "node-2", adding(line)).heads()
    assert (first.id, first.subject) == ("rp-filter-loose", {"node": "node-2"})


def test_felixs_nftables_mode_is_no_mix() -> None:
    rules = calicokit.open(f"incident:{NFT}").table("dataplane.rules")
    assert set(rules[rules["owner"] == "calico"]["backend"]) >= {"nftables"}
    assert [f.id for f in calicokit.open(f"incident:{NFT}").check() if f.severity != "info"] == []

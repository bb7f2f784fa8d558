"""Drops, foreign rules, backends, the kernel: recorded faults, and edited recordings for those no recording shows."""

from __future__ import annotations

from typing import Any

import pytest

from tests import clusters
from tests.edited import Edited, adding
from tests.only import only

MESH, VXLAN, NFT = "healthy-bgp-mesh", "healthy-vxlan-typha", "healthy-nftables"


def ruled(table: str, rule: str, packets: int = 7, top: bool = True) -> Any:
    """Puts a rule before, or behind, all others of a table of iptables-save."""

    def how(text: str) -> str:
        head, mark, rest = text.partition(f"*{table}\n")
        line = f"[{packets}:{packets * 60}] {rule}\n"
        at = rest.index("\n[") + 1 if top else rest.index("COMMIT")
        return head + mark + rest[:at] + line + rest[at:]

    return how


def walled(name: str, *rules: str, table: str = "filter", node: str = "node-2", **how: Any) -> Edited:
    """An incident with rules of somebody else on a node, in this order."""
    lab = Edited(name)
    for id_ in ("iptables-save", "iptables-nft-save"):
        for rule in reversed(rules):
            lab.edit(id_, node, ruled(table, rule, **how))
    return lab


def foreign(lab: Edited) -> list[Any]:
    return [f for f in only(lab.cluster(), "foreign-drop-rule") if f.severity != "info"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["policy-drop", "policy-drop-v3.28"])
def test_recorded_drops_name_policy_and_ends(name: str) -> None:
    findings = [f for f in clusters.checked(name) if f.severity != "info"]
    assert {f.id for f in findings} == {"policy-drop"}
    told = {(f.subject["src"], f.subject["dst"], str(f.subject["port"])) for f in findings}
    assert ("shop/frontend", "unknown", "unknown") in told, "dropped at its source: no entry tells the other end"
    assert ("legacy/batch", "shop/payments", "8443") in told, "the log tells both ends"
    assert any(f.subject["policy"] == "end-of-tier default" for f in findings)
    assert any(str(f.subject["policy"]).endswith("block-legacy-to-pci") for f in findings)


def test_drops_of_a_recording_without_a_series_are_no_findings() -> None:
    cluster = clusters.opened(MESH)
    drops = cluster.table("dataplane.drops")
    assert (drops["packets"].fillna(0) > 0).any()
    assert drops["grown"].isna().all()
    assert [f.id for f in cluster.check() if f.id in ("policy-drop", "end-of-tier-drop") and f.severity != "info"] == []


def test_the_recorded_wall_heads_the_sessions_that_it_keeps_down() -> None:
    findings = [f for f in clusters.checked("bgp-tcp179-blocked") if f.severity != "info"]
    heads = [f for f in findings if not f.explained_by]
    assert {(f.id, f.subject["node"], f.subject["chain"]) for f in heads} == {
        ("foreign-drop-rule", "node-3", "INPUT"),
        ("foreign-drop-rule", "node-3", "OUTPUT"),
    }
    assert [(f.id, f.explained_by) for f in findings if f.explained_by] == [("bgp-session-down", "foreign-drop-rule")]


def test_recorded_backends_are_mixed_on_all_nodes() -> None:
    (found,) = (f for f in clusters.checked("iptables-backends-mixed") if f.severity != "info")
    assert (found.id, found.subject) == (
        "iptables-backend-mixed",
        {"nodes": ["node-1", "node-2", "node-3", "node-4"]},
    )
    assert "legacy" in found.cause


@pytest.mark.parametrize(
    ("incident", "rule", "what"),
    [
        (VXLAN, "-A INPUT -p udp -m udp --dport 4789 -j DROP", "VXLAN"),
        (VXLAN, "-A OUTPUT -p udp -m udp --dport 4789 -j DROP", "VXLAN"),
        (VXLAN, "-A INPUT ! -i lo -j DROP", "VXLAN"),
        (VXLAN, "-A OUTPUT -p tcp -m multiport --dports 6443,5473 -j REJECT", "Typha"),
        (VXLAN, "-A OUTPUT -p tcp -m tcp --dport 5473 -j DROP", "Typha"),
        (VXLAN, "-A OUTPUT -d 172.30.0.1/32 -p tcp -m tcp --dport 6443 -j DROP", "the API server"),
        (VXLAN, "-A FORWARD -s 10.48.0.0/16 -j DROP", "pods' packets"),
        (VXLAN, "-A FORWARD -i cali+ -j DROP", "pods' packets"),
        (MESH, "-A FORWARD -j DROP", "pods' packets"),
        (MESH, "-A FORWARD -p tcp -m tcp --dport 8080 -j REJECT", "pods' packets"),
        (MESH, "-A OUTPUT -p tcp -m tcp --dport 6443 -j DROP", "the API server"),
        (MESH, "-A INPUT -s 172.30.0.13/32 -j DROP", "BGP"),
        (MESH, "-A OUTPUT -p tcp -m tcp --sport 179 -j DROP", "BGP"),
    ],
)
def test_a_foreign_rule_that_drops_what_calico_needs(incident: str, rule: str, what: str) -> None:
    (first,) = foreign(walled(incident, rule))
    assert first.subject == {"node": "node-2", "table": "filter", "chain": rule.split()[1]}
    assert what in first.cause
    assert rule.split(maxsplit=2)[2] in first.cause
    assert what in first.about
    assert first.severity == "critical"


def test_a_rule_that_nothing_has_met_is_told_nowhere() -> None:
    assert foreign(walled(MESH, "-A OUTPUT -p tcp -m tcp --dport 6443 -j DROP", packets=0)) == []
    assert foreign(walled(VXLAN, "-A INPUT -p udp -m udp --dport 4789 -j DROP", packets=0)) == []


def test_a_firewall_that_lets_in_what_it_names_and_forgot_bgp() -> None:
    lab = walled(MESH, "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", "-A INPUT -p tcp -j DROP")
    (first,) = foreign(lab)
    assert first.subject == {"node": "node-2", "table": "filter", "chain": "INPUT"}
    assert "BGP" in first.about


def test_without_routes_a_wall_on_the_way_out_is_still_seen() -> None:
    lab = walled(MESH, "-A OUTPUT -p tcp -m tcp --dport 179 -j DROP")
    lab.gone |= {(id_, n) for id_ in ("ip-route-all", "ip-route", "ip-route-json") for n in lab.nodes()}
    (first,) = foreign(lab)
    assert first.subject == {"node": "node-2", "table": "filter", "chain": "OUTPUT"}


def test_without_slices_the_way_to_the_api_server_is_not_guessed() -> None:
    lab = walled(MESH, "-A OUTPUT -p tcp -m tcp --dport 6443 -j DROP")
    lab.gone.add(("endpointslices", None))
    assert foreign(lab) == []
    assert ("endpointslices", None) in {(m.id, m.node) for m in lab.cluster().check().coverage.missing}


def test_foreign_rules_of_other_tables_and_ports() -> None:
    raw = walled(VXLAN, "-A PREROUTING -p udp -m udp --dport 4789 -j DROP", table="raw")
    assert [f.subject["table"] for f in foreign(raw)] == ["raw"]
    other = lambda o: o["spec"].update(vxlanPort=8472)  # noqa: E731
    assert foreign(walled(VXLAN, "-A INPUT -p udp -m udp --dport 8472 -j DROP").objects("felixconfigurations", other))
    assert foreign(walled(VXLAN, "-A INPUT -p udp -m udp --dport 8472 -j DROP")) == []


def test_a_chain_that_drops_by_default_is_a_wall_for_bgp() -> None:
    lab = Edited(MESH)
    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, "node-2", lambda t: t.replace("*filter\n:INPUT ACCEPT", "*filter\n:INPUT DROP"))
    (first,) = foreign(lab)
    assert first.subject == {"node": "node-2", "table": "filter", "chain": "INPUT"}
    assert "BGP" in first.about
    dock = Edited(MESH)
    for id_ in ("iptables-save", "iptables-nft-save"):
        dock.edit(
            id_,
            "node-2",
            lambda t: t.replace(
                "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT", "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP"
            ),
        )
    assert foreign(dock) == [], "Docker's default; Felix accepts before it"


def test_a_foreign_nftables_table_is_walked_too() -> None:
    table = (
        "table inet firewall {\n\tchain in {\n\t\ttype filter hook input priority filter - 10; policy accept;\n"
        "\t\ttcp dport { 22, 179 } counter packets 9 bytes 540 drop\n\t}\n}"
    )
    (first,) = foreign(Edited(NFT).edit("nft-ruleset", "node-3", adding(table)))
    assert first.subject == {"node": "node-3", "table": "firewall", "chain": "in"}
    assert "BGP" in first.about


def test_blocked_vxlan_hangs_under_the_rule_that_blocks_it() -> None:
    lab = walled(VXLAN, "-A INPUT -p udp -m udp --dport 4789 -j DROP")
    assert [(f.id, f.explained_by) for f in lab.loud()] == [
        ("foreign-drop-rule", ""),
        ("vxlan-blocked", "foreign-drop-rule"),
    ]


@pytest.mark.parametrize(
    "rules",
    [
        ["-A INPUT -p tcp -m tcp --dport 23 -j DROP"],
        ["-A INPUT -m conntrack --ctstate INVALID -j DROP"],
        ["-A FORWARD -m conntrack --ctstate INVALID -j DROP"],
        ["-A FORWARD -i docker0 -o docker0 -j DROP"],
        ["-A FORWARD -d 192.0.2.0/24 -j DROP"],
        ["-A FORWARD -d 169.254.169.254/32 -j DROP"],
        ["-A FORWARD -p tcp -m tcp --dport 179 -j ACCEPT"],
        ["-A INPUT -p udp -m udp --dport 4789 -j DROP"],  # nobody speaks VXLAN here
        ["-A INPUT ! -s 172.30.0.0/24 -p tcp -m tcp --dport 179 -j DROP"],
        ["-A INPUT -p 4 -j DROP"],  # nor IPIP
        ["-A INPUT -s 203.0.113.0/24 -p tcp -m tcp --dport 179 -j DROP"],
        ["-A INPUT -s 172.30.0.0/24 -p tcp -m tcp --dport 179 -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 179 -j DROP"],
        ["-A INPUT -m recent --name guests --rcheck -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 179 -j DROP"],
    ],
)
def test_rules_that_are_no_matter_of_calicos(rules: list[str]) -> None:
    # The last one cannot be told: who is let in before is not in the evidence.
    assert foreign(walled(MESH, *rules)) == []


def test_felixs_nftables_mode_is_no_mix() -> None:
    rules = clusters.opened(NFT).table("dataplane.rules")
    assert set(rules[rules["owner"] == "calico"]["backend"]) >= {"nftables"}
    assert [f.id for f in clusters.checked(NFT) if f.severity != "info"] == []

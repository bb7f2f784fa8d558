"""One answer to which rule of others stops a packet: bgp.firewall, routes.walls and dataplane.foreign_drops agree."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import calicokit
from calicokit.cluster import Cluster
from tests.dataplane.test_checks import MESH, NFT, VXLAN, ruled, walled
from tests.edited import Edited, adding
from tests.only import only

HARDENING = "-A INPUT -p udp -m udp --dport 4789 -j DROP"
CHECKS = ("foreign-drop-rule", "vxlan-blocked", "ipip-blocked", "bgp-session-down")


def told(lab: Edited) -> list[tuple[str, str]]:
    return [(f.id, f.severity) for f in only(lab.cluster(), *CHECKS) if f.severity != "info"]


def answers(lab: Edited) -> tuple[set[str], list[str], list[str]]:
    """What the three tables say of the node with the rules: what is dropped, the walls' modes, BGP's chains."""
    cluster = lab.cluster()
    drops = cluster.dataplane.foreign_drops()
    for found in (drops, cluster.routes.walls(), cluster.bgp.firewall()):
        assert not found.unknown
    return (
        {c for concerns in drops["concerns"] for c in concerns},
        list(cluster.routes.walls()["mode"]),
        list(cluster.bgp.firewall()["chain"]),
    )


NOTHING: tuple[set[str], list[str], list[str]] = (set(), [], [])


def chained(name: str, *lines: str, at: int = 0) -> Edited:
    """Chains of others: the first line is put before all rules of the filter table, the rest at the end."""
    lab = Edited(name)
    chains = sorted({ln.split()[1] for ln in lines} - {"INPUT", "OUTPUT", "FORWARD"})

    def how(text: str) -> str:
        head, mark, rest = text.partition("*filter\n")
        rest = "".join(f":{c} - [0:0]\n" for c in chains) + rest
        return ruled("filter", lines[0])(head + mark + rest)

    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, "node-2", how)
        for line in lines[1:]:
            lab.edit(id_, "node-2", ruled("filter", line, top=False))
    return lab


def counted(packets: int) -> Any:
    """The hardening rule behind all others, with this count."""
    return ruled("filter", HARDENING, packets=packets, top=False)


# ---- behind and before an accept


def test_a_hardening_rule_behind_calicos_accept_is_no_finding() -> None:
    lab = walled(VXLAN, HARDENING, packets=5, top=False)
    assert told(lab) == []
    assert answers(lab) == NOTHING
    (row,) = lab.cluster().dataplane.firewall().to_dict("records")
    assert (row["need"], row["behind"], row["meant"], row["packets"]) == ("VXLAN", True, True, 5)


def test_the_same_rule_before_the_accept_is_critical() -> None:
    lab = walled(VXLAN, HARDENING, packets=5)
    assert told(lab) == [("foreign-drop-rule", "critical"), ("vxlan-blocked", "critical")]
    assert answers(lab) == ({"VXLAN"}, ["vxlan"], [])


@pytest.mark.parametrize(("counts", "severities"), [((5, 5, 5), []), ((5, 7, 12), [("foreign-drop-rule", "warning")])])
def test_what_grew_while_watched_is_told_although_it_stands_behind(
    counts: tuple[int, ...], severities: list[tuple[str, str]]
) -> None:
    lab = walled(VXLAN, HARDENING, packets=counts[-1], top=False)
    lab.sampled("iptables-nft-save", "node-2", *(counted(c) for c in counts))
    assert told(lab) == severities
    (row,) = lab.cluster().dataplane.firewall().to_dict("records")
    assert (row["behind"], row["grown"]) == (True, counts[-1] - counts[0])
    walls = lab.cluster().routes.walls()
    assert list(walls["behind"]) == [True] * len(severities)
    if severities:
        (found,) = only(lab.cluster(), "foreign-drop-rule")
        assert "7 packets during sampling" in found.cause


def test_where_the_accept_cannot_be_told_the_rules_counter_tells() -> None:
    """Without the members of Calico's IP sets nobody knows whom it accepts; what comes in it drops otherwise itself."""
    lab = walled(VXLAN, HARDENING, HARDENING.replace("INPUT", "OUTPUT"), packets=5, top=False)
    lab.gone |= {(id_, n) for id_ in ("ipset-list", "ipset-save", "nft-ruleset") for n in lab.nodes()}
    (row,) = lab.cluster().dataplane.foreign_drops().to_dict("records")
    assert (row["chain"], row["sure"], row["behind"], row["concerns"]) == ("OUTPUT", False, False, ["VXLAN"])
    assert answers(lab)[1] == ["vxlan"]


def test_a_queue_before_it_makes_a_rule_doubtful_and_not_hidden() -> None:
    lab = walled(VXLAN, "-A INPUT -p udp -j NFQUEUE --queue-num 0", HARDENING)
    assert answers(lab)[0] == {"VXLAN"}


def test_bgp_has_no_accept_of_calicos_and_a_rule_behind_all_others_still_stops_it() -> None:
    lab = walled(MESH, "-A INPUT -p tcp -m tcp --dport 179 -j DROP", top=False)
    assert answers(lab) == ({"BGP"}, [], ["INPUT"])
    door = "-A INPUT -s 172.30.0.0/24 -p tcp -m tcp --dport 179 -j ACCEPT"
    assert answers(walled(MESH, door, "-A INPUT -p tcp -m tcp --dport 179 -j DROP")) == NOTHING


def test_a_pods_rule_behind_calicos_accept() -> None:
    rule = "-A FORWARD -s 10.48.0.0/16 -j DROP"
    assert answers(walled(VXLAN, rule, top=False)) == NOTHING
    assert answers(walled(VXLAN, rule))[0] == {"pods' packets"}


# ---- through jumps


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["-A INPUT -j guard", "-A guard -p udp -m udp --dport 4789 -j DROP"], ({"VXLAN"}, ["vxlan"], [])),
        (["-A INPUT -p udp -m udp --dport 4789 -j guard", "-A guard -j DROP"], ({"VXLAN"}, ["vxlan"], [])),
        (
            [
                *("-A INPUT -j INPUT_ZONES", "-A INPUT_ZONES -i eth0 -g IN_public", "-A IN_public -j IN_public_deny"),
                "-A IN_public_deny -p udp -m udp --dport 4789 -j REJECT --reject-with icmp-port-unreachable",
            ],
            ({"VXLAN"}, ["vxlan"], []),
        ),
        (["-A OUTPUT -j ufw-out", "-A ufw-out -p udp -m multiport --dports 4789 -j DROP"], ({"VXLAN"}, ["vxlan"], [])),
        (
            [  # the chain lets the nodes in first, and returns for others
                *("-A INPUT -j guard", "-A guard -s 172.30.0.0/24 -j RETURN"),
                "-A guard -p udp -m udp --dport 4789 -j DROP",
            ],
            NOTHING,
        ),
        (["-A INPUT -s 203.0.113.0/24 -j guard", "-A guard -p udp -m udp --dport 4789 -j DROP"], NOTHING),
        (["-A INPUT -j guard", "-A unused -p udp -m udp --dport 4789 -j DROP", "-A guard -j RETURN"], NOTHING),
        (  # who is in the list of guests is not known; the counter tells
            ["-A INPUT -m recent --name x --rcheck -j guard", "-A guard -p udp -m udp --dport 4789 -j DROP"],
            ({"VXLAN"}, ["vxlan"], []),
        ),
    ],
)
def test_rules_that_a_jump_leads_to(lines: list[str], expected: tuple[set[str], list[str], list[str]]) -> None:
    assert answers(chained(VXLAN, *lines)) == expected


@pytest.mark.parametrize(
    ("lines", "chain"),
    [
        (["-A INPUT -j guard", "-A guard -p tcp -m tcp --dport 179 -j DROP"], "guard"),
        (["-A INPUT -p tcp -m tcp --dport 179 -j guard", "-A guard -j REJECT"], "guard"),
        (["-A INPUT -m recent --name x --rcheck -j guard", "-A guard -p tcp -m tcp --dport 179 -j DROP"], "guard"),
    ],
)
def test_jumps_to_rules_for_bgp(lines: list[str], chain: str) -> None:
    lab = chained(MESH, *lines)
    assert answers(lab) == ({"BGP"}, [], [chain])
    (row,) = lab.cluster().bgp.firewall().to_dict("records")
    assert row["verdict"] in row["rule"].lower()
    assert row["line"] > 0


def test_a_chain_behind_the_accept_is_no_finding_until_it_grows() -> None:
    lines = ("-A INPUT -p udp -m udp --dport 4789 -j guard", "-A guard -j DROP")

    def how(packets: int) -> Any:
        def edit(text: str) -> str:
            head, mark, rest = text.partition("*filter\n")
            text = f"{head}{mark}:guard - [0:0]\n{rest}"
            for line in lines:
                text = ruled("filter", line, packets, top=False)(text)
            return text

        return edit

    lab = Edited(VXLAN).edit("iptables-save", "node-2", how(9)).edit("iptables-nft-save", "node-2", how(9))
    assert answers(lab) == NOTHING
    lab.sampled("iptables-nft-save", "node-2", how(4), how(9))
    assert answers(lab)[0] == {"VXLAN"}


def test_a_jump_that_may_match_does_not_hide_the_wall_behind_it() -> None:
    """Some packets are dropped in the chain that the first rule may lead to; all others come to the wall."""
    lab = chained(VXLAN, "-A FORWARD -j DROP", "-A BLOCK -j DROP")
    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, "node-2", ruled("filter", "-A FORWARD -m geoip --source-country XX -j BLOCK"))
    found = lab.cluster().dataplane.firewall()
    pods = found[found["need"] == "pods' packets"]
    assert dict(zip(pods["chain"], pods["sure"], strict=True)) == {"BLOCK": False, "FORWARD": True}


# ---- other systems, protocols, ports


def table_of(hook: str, *rules: str, priority: str = "filter") -> Any:
    body = "\n".join(f"\t\t{r}" for r in rules)
    return adding(
        f"table inet hardening {{\n\tchain guard {{\n{body}\n\t}}\n\tchain first {{\n\t\ttype filter hook {hook} "
        f"priority {priority}; policy accept;\n\t\tjump guard\n\t}}\n}}"
    )


@pytest.mark.parametrize(
    ("name", "rules", "expected"),
    [
        (VXLAN, ["udp dport 4789 counter packets 9 bytes 900 drop"], ({"VXLAN"}, ["vxlan"], [])),
        (VXLAN, ["udp dport 4789 drop"], ({"VXLAN"}, ["vxlan"], [])),
        (VXLAN, ["ip saddr 172.30.0.0/24 accept", "udp dport 4789 counter packets 9 bytes 900 drop"], NOTHING),
        (VXLAN, ["ip saddr != 172.30.0.0/24 udp dport 4789 counter packets 9 bytes 900 drop"], NOTHING),
        (NFT, ["tcp dport 179 counter packets 9 bytes 540 reject"], ({"BGP"}, [], ["guard"])),
        (MESH, ["tcp dport { 22, 179 } drop"], ({"BGP"}, [], ["guard"])),
    ],
)
def test_nftables_own_tables(name: str, rules: list[str], expected: tuple[set[str], list[str], list[str]]) -> None:
    """A table of its own is asked although Calico's has accepted: an accept ends one base chain, not the hook."""
    lab = Edited(name).edit("nft-ruleset", "node-2", table_of("input", *rules))
    lab.gone |= {("nft-ruleset-json", n) for n in lab.nodes()}
    assert answers(lab) == expected


def ipip() -> Edited:
    return Edited(MESH).objects("ippools", lambda pool: pool["spec"].update(ipipMode="Always"))


@pytest.mark.parametrize("protocol", ["4", "ipencap", "ipip"])
def test_ipip_is_protocol_4(protocol: str) -> None:
    rule = f"-A INPUT -p {protocol} -j DROP"

    def lab(*rules: str) -> Edited:
        made = ipip()
        for id_ in ("iptables-save", "iptables-nft-save"):
            for each in reversed(rules):
                made.edit(id_, "node-2", ruled("filter", each))
        return made

    assert answers(lab(rule)) == ({"IPIP"}, ["ipip"], [])
    assert answers(lab("-A INPUT -s 172.30.0.0/24 -j ACCEPT", rule)) == NOTHING
    assert answers(lab("-A INPUT ! -s 172.30.0.0/24 -p 4 -j DROP")) == NOTHING


def test_wireguard_where_it_is_on() -> None:
    rule = "-A INPUT -p udp -m udp --dport 51820 -j DROP"
    assert answers(walled(MESH, rule)) == NOTHING
    on = walled(MESH, rule).objects("felixconfigurations", lambda o: o["spec"].update(wireguardEnabled=True))
    assert answers(on) == ({"WireGuard"}, ["wireguard"], [])


def test_birds_own_port() -> None:
    rule = "-A INPUT -p tcp -m tcp --dport 1179 -j DROP"
    assert answers(walled(MESH, rule)) == NOTHING
    lab = walled(MESH, rule).objects("bgpconfigurations", lambda o: o["spec"].update(listenPort=1179))
    assert "BGP" in answers(lab)[0]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (VXLAN, "-A INPUT ! -s 172.30.0.0/24 -p udp -m udp --dport 4789 -j DROP"),
        (VXLAN, "-A INPUT -s 203.0.113.0/24 -p udp -m udp --dport 4789 -j DROP"),
        (VXLAN, "-A INPUT -i eth7 -p udp -m udp --dport 4789 -j DROP"),
        (MESH, "-A INPUT ! -s 172.30.0.0/24 -p tcp -m tcp --dport 179 -j DROP"),
        (MESH, "-A INPUT -s 203.0.113.7/32 -p tcp -m tcp --dport 179 -j REJECT --reject-with tcp-reset"),
    ],
)
def test_a_rule_that_keeps_strangers_out_is_no_finding(name: str, rule: str) -> None:
    lab = walled(name, rule, packets=99)
    assert told(lab) == []
    assert answers(lab) == NOTHING


def test_a_rule_that_nothing_has_met_yet_waits_for_bgps_next_connection() -> None:
    lab = walled(MESH, "-A INPUT -p tcp -m tcp --dport 179 -j DROP", packets=0)
    assert answers(lab) == (set(), [], ["INPUT"])
    assert told(lab) == []


# ---- what is not known


def test_without_the_nodes_a_rule_is_still_seen() -> None:
    lab = walled(VXLAN, HARDENING)
    lab.gone.add(("nodes", None))
    cluster = lab.cluster()
    assert cluster.dataplane.foreign_drops().unknown
    assert list(cluster.routes.walls()["mode"]) == ["vxlan"]


def test_without_rules_all_three_are_unknown() -> None:
    lab = Edited(MESH)
    texts = ("iptables-save", "iptables-nft-save", "iptables-legacy-save", "ip6tables-save", "nft-ruleset")
    lab.gone |= {(id_, n) for id_ in (*texts, "nft-ruleset-json") for n in lab.nodes()}
    cluster = lab.cluster()
    for name in ("bgp.firewall", "routes.walls", "dataplane.foreign_drops", "dataplane.firewall"):
        assert cluster.table(name).unknown, name


def test_one_of_many_nodes_is_not_missed() -> None:
    """Not every other end is tried on a large cluster; those that a rule names are."""
    from calicokit.dataplane.drops.needed import MOST_PEERS, _chosen, _named
    from calicokit.dataplane.packets.match import Node
    from calicokit.dataplane.packets.ruleset import Rule, Ruleset

    space, spec = ("ip", "nft", "filter"), "-s 10.0.0.77/32 -p udp -m udp --dport 4789 -j DROP"
    rule = Rule(space, "INPUT", 1, "drop", "", "", "foreign", spec, 3)
    named = _named(Ruleset(Node("n"), {(space, "INPUT"): [rule]}))
    nodes: list[int | None] = [(10 << 24) + i for i in range(1, 101)]
    assert _chosen(nodes, named) == [*nodes[:MOST_PEERS], (10 << 24) + 77]


# ---- recordings and rooms


@pytest.mark.parametrize("name", [MESH, VXLAN, NFT, "healthy-datacenter"])
def test_healthy_clusters_have_no_wall(name: str) -> None:
    cluster: Cluster = calicokit.open(f"incident:{name}")
    for table in ("bgp.firewall", "routes.walls", "dataplane.foreign_drops"):
        found = cluster.table(table)
        assert not found.unknown
        assert not len(found)


def test_the_walk_lies_below_the_topics_that_ask_it() -> None:
    """What walks packets knows nothing of BGP, routes and Felix."""
    spec = importlib.util.find_spec("calicokit.dataplane.packets")
    assert spec is not None
    assert spec.origin is not None
    above = re.compile(r"calicokit\.(bgp|routes|felix|policy)\b")
    for file in Path(spec.origin).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            assert not [n for n in names if above.match(n)], file.name

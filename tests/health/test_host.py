"""What the host's network managers change, in the words of ip, iptables and nft; no recording shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from calicokit.diagnosis.model import Finding
from tests.edited import Edited, adding
from tests.only import only

MESH, VXLAN = "healthy-bgp-mesh", "healthy-vxlan-typha"
IDS = ("foreign-drop-rule", "host-network-manager-interferes")


def managers(edited: Edited, *more: str) -> list[Finding]:
    return only(edited.cluster(), "host-network-manager-interferes", *more)


def rules(edited: Edited, node: str, chains: list[str], lines: list[str], policy: str = "") -> Edited:
    """Put chains and rules into the filter table of iptables-nft."""

    def how(text: str) -> str:
        start = text.index("*filter")
        end = text.index("COMMIT", start)
        body = text[start:end]
        head, _, tail = body.partition("\n")
        made = head + "\n" + "".join(f":{c} - [0:0]\n" for c in chains) + tail + "".join(f"{ln}\n" for ln in lines)
        if policy:
            made = made.replace(":FORWARD ACCEPT", f":FORWARD {policy}")
        return text[:start] + made + text[end:]

    return edited.edit("iptables-nft-save", node, how).edit("iptables-save", node, how)


UFW = ["ufw-before-forward", "ufw-user-input", "ufw-reject-forward"]


def test_ufw_that_drops_bgp() -> None:
    jump = "[9:540] -A INPUT -j ufw-user-input"
    drop = "[9:540] -A ufw-user-input -p tcp -m tcp --dport 179 -j DROP"
    edited = rules(Edited(MESH), "node-3", UFW, [jump, drop])
    edited.edit("iptables-nft-save", "node-3", lambda t: _first(t, jump)).edit(
        "iptables-save", "node-3", lambda t: _first(t, jump)
    )
    found = managers(edited, "foreign-drop-rule")
    assert [(f.id, f.explained_by) for f in found] == [(IDS[0], ""), (IDS[1], "foreign-drop-rule")]
    assert found[1].subject == {"node": "node-3"}
    assert "ufw" in found[1].cause
    assert "ufw disable" in found[1].remedy


def _first(text: str, rule: str) -> str:
    """Move a rule before all others of its chain."""
    start = text.index("*filter")
    rest = text[start:].replace(f"{rule}\n", "", 1)
    place = rest.index("[", rest.index("-A") - 20)
    place = rest.rfind("\n", 0, rest.index(" -A ")) + 1
    return text[:start] + rest[:place] + f"{rule}\n" + rest[place:]


@pytest.mark.parametrize("docker", [False, True])
def test_the_closed_forward_chain_is_ufws_if_nobody_else_closes_it(docker: bool) -> None:
    chains = [*UFW, "DOCKER-USER"] if docker else UFW
    edited = rules(Edited(MESH), "node-3", chains, [], policy="DROP")
    found = managers(edited, "foreign-drop-rule")
    by = [f for f in found if f.id == IDS[1]]
    if any(f.id == IDS[0] for f in found):
        assert bool(by) is not docker
    else:  # Calico accepts before the policy is asked
        assert by == []


def test_firewalls_that_only_stand_there() -> None:
    chains = [*UFW, "INPUT_ZONES", "IN_public", "FWDI_public"]
    lines = [
        "[0:0] -A ufw-reject-forward -j RETURN",
        "[7:99] -A INPUT -j INPUT_ZONES",
        "[7:99] -A INPUT_ZONES -j IN_public",
        "[0:0] -A IN_public -p tcp -m tcp --dport 22 -j ACCEPT",
    ]
    assert managers(rules(Edited(MESH), "node-3", chains, lines)) == []


def test_chains_of_that_kind_of_others_are_nobodys() -> None:
    """IN_… and POST_… may be anybody's; without firewalld's own chains they are not taken for its."""
    lines = ["[9:540] -A INPUT -p tcp -m tcp --dport 179 -j IN_guard", "[9:540] -A IN_guard -j DROP"]
    assert managers(rules(Edited(MESH), "node-3", ["IN_guard"], lines)) == []


FIREWALLD = """table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state established,related accept
		iifname "lo" accept
		tcp dport 22 accept
		LAST
	}
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state established,related accept
		LAST
	}
}
"""


@pytest.mark.parametrize("incident", [MESH, "healthy-nftables", VXLAN])
@pytest.mark.parametrize(("last", "told"), [("reject with icmpx admin-prohibited", True), ("accept", False)])
def test_firewalld_in_nftables(incident: str, last: str, told: bool) -> None:
    """A later base chain rejects what Calico has accepted."""
    edited = Edited(incident).edit("nft-ruleset", "node-3", adding(FIREWALLD.replace("LAST", last)))
    edited.gone |= {("nft-ruleset-json", name) for name in edited.nodes()}
    found = managers(edited, "foreign-drop-rule")
    assert {f.id for f in found} == (set(IDS) if told else set())
    if told:
        (effect,) = (f for f in found if f.id == IDS[1])
        assert (effect.subject, effect.explained_by) == ({"node": "node-3"}, IDS[0])
        assert "disable --now firewalld" in effect.remedy


# ---- NetworkManager and systemd-networkd


def addressed(interface: str, address: str) -> Callable[[str], str]:
    """Give an interface an address in what ip addr prints."""

    def how(text: str) -> str:
        out, here = [], False
        for line in text.splitlines(keepends=True):
            if line[:1].isdigit():
                here = line.split(": ")[1].split("@")[0].startswith(interface)
            if here and line.startswith("    inet6"):
                out.append(f"    inet {address} scope link noprefixroute dynamic {interface}\n")
                out.append("       valid_lft 3583sec preferred_lft 3583sec\n")
                here = False
            out.append(line)
        return "".join(out)

    return how


@pytest.mark.parametrize(("incident", "interface"), [(MESH, "cali"), (VXLAN, "vxlan.calico")])
def test_a_lease_on_an_interface_of_calicos(incident: str, interface: str) -> None:
    edited = Edited(incident).edit("ip-addr", "node-2", addressed(interface, "169.254.77.8/16"))
    (found,) = managers(edited)
    assert found.subject == {"node": "node-2"}
    assert found.severity == "warning"
    assert "169.254.77.8/16" in found.cause
    assert "unmanaged-devices" in found.remedy


def test_a_lease_on_the_nodes_own_interface_is_its_own() -> None:
    edited = Edited(MESH).edit(
        "ip-addr", "node-2", lambda t: t.replace("scope global eth0", "scope global dynamic noprefixroute eth0")
    )
    assert managers(edited) == []


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ("169.254.0.0/16 dev {cali} proto dhcp scope link metric 1003", True),
        ("default via 10.0.0.1 dev {cali} proto static metric 20100", True),
        ("10.48.9.9 dev {cali} proto static scope link", False),
        ("10.48.9.0/26 via 10.48.9.0 dev vxlan.calico proto static onlink", False),
        ("169.254.0.0/16 dev eth0 proto static scope link metric 1000", False),
        ("default via 172.30.0.1 dev eth0 proto dhcp src 172.30.0.12 metric 100", False),
        ("203.0.113.0/24 via 172.30.0.1 dev eth0 proto static", False),
    ],
)
def test_routes_that_a_manager_sets(route: str, told: bool) -> None:
    edited = Edited(MESH)
    addresses = edited.cluster().output.ip_addr()
    here = addresses[(addresses["node"] == "node-2") & addresses["interface"].fillna("").str.startswith("cali")]
    edited.routes("node-2", adding(route.format(cali=here["interface"].iloc[0])))
    assert [f.subject for f in managers(edited)] == ([{"node": "node-2"}] if told else [])


# ---- a firewall that takes Calico's rules away


@pytest.mark.parametrize(
    ("times", "chains", "firewalled", "severities"),
    [(1, 200, True, ["info"]), (3, 200, True, ["warning"]), (3, 200, False, []), (3, 2, True, [])],
    ids=["once, and mended", "again and again", "without a firewall", "a hand that took two"],
)
def test_rules_that_were_flushed(times: int, chains: int, firewalled: bool, severities: list[str]) -> None:
    edited = Edited(MESH)
    now = edited.now()
    assert now is not None
    mine = edited.cluster().dataplane.chains()
    names = sorted(set(mine[(mine["node"] == "node-4") & mine["chain"].str.startswith("cali")]["chain"]))[:chains]
    said = "".join(
        f"{now - timedelta(seconds=600 * again + 5):%Y-%m-%d %H:%M:%S}.000 [WARNING][99] felix/table.go 800: Detected "
        f'out-of-sync Calico chain, marking for resync chainName="{name}" ipVersion=0x4 table="filter"\n'
        for again in reversed(range(times))
        for name in names
    )
    edited.edit("felix-log", "node-4", lambda log: log + said)
    if firewalled:
        rules(edited, "node-4", ["INPUT_ZONES"], ["[7:99] -A INPUT_ZONES -j RETURN"])
    assert [f.severity for f in managers(edited)] == severities

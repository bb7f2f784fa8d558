"""Faults of IPv6 alone, on a real dual-stack cluster that is edited as little as each needs; and its silence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from calicokit.routes.filters import decide
from tests.clusters import checked
from tests.edited import Edited, adding, without
from tests.examples import first

DUAL = "healthy-dual-stack"
BLOCK = "fd48::94fa:7820:5b81:7500/122"
"""node-1's block."""


def edited() -> Edited:
    return Edited(DUAL)


def routes(lab: Edited, node: str, how) -> Edited:  # type: ignore[no-untyped-def]
    """Edit what ``ip -6 route`` prints too."""
    return lab.routes(node, how).edit("ip-route6-all", node, how).edit("ip-route6", node, how)


def heads(lab: Edited) -> dict[str, str]:
    return {f.id: f.cause for f in lab.heads()}


REFUSED = "Unable to connect to server control socket (/var/run/calico/bird6.ctl): Connection refused\n"


def bird6_dead(node: str) -> Edited:
    """What birdcl6, ss and the other nodes show where bird6 of a node was killed."""
    lab = edited()
    for name in ("status", "protocols", "protocols-all", "route", "route-all", "route-count", "interfaces"):
        lab.errors[f"birdcl6-{name}", node] = REFUSED
    lab.edit("ss-bgp", node, without("bird6"))
    for other in {"node-1", "node-2", "node-3", "node-4"} - {node}:
        address = f"fd30::1{node[-1]}"
        name = f"Mesh_{address.replace(':', '_')}"
        down = [(f"{name} BGP      master   up     ", f"{name} BGP      master   start  "), ("Established", "Connect")]

        def how(text: str, down=down, name=name) -> str:  # type: ignore[no-untyped-def]
            lines = text.splitlines(keepends=True)
            inside = False
            for i, line in enumerate(lines):
                inside = line.startswith(name) if line[:1].strip() else inside
                if inside:
                    for old, new in down:
                        line = line.replace(old, new)
                    lines[i] = line
            return "".join(lines)

        lab.edit("birdcl6-protocols", other, how).edit("birdcl6-protocols-all", other, how)
        lab.edit("birdcl6-route", other, without(f"via {address} "))
        routes(lab, other, without(f"via {address} "))
    return lab


def test_bird6_dead_is_the_one_cause() -> None:
    found = bird6_dead("node-3").loud()
    assert {(f.id, f.explained_by) for f in found} == {("bird-dead", ""), ("bgp-session-down", "bird-dead")}
    assert all(word in found[0].cause for word in ("bird6", "node-3"))


def test_forwarding_of_ipv6_off() -> None:
    lab = edited().edit("sysctl-net6", "node-2", lambda t: t.replace(".forwarding = 1", ".forwarding = 0"))
    found = heads(lab)
    assert list(found) == ["ip-forward-off"]
    assert "net.ipv6.conf.all.forwarding = 0" in found["ip-forward-off"]


@pytest.mark.parametrize(
    ("route", "how"),
    first(
        1,
        [
            ("fd48::94fa:7820:5b81:7500/123 via fd30::13 dev eth0 metric 1024 pref medium", "longer-prefix"),
            ("fd48::94fa:7820:5b81:7501 via fd30::13 dev eth0 metric 1024 pref medium", "longer-prefix"),
            (f"{BLOCK} via fd30::13 dev eth0 metric 10 pref medium", "metric"),
            (f"blackhole {BLOCK} dev lo metric 10 pref medium", "metric"),
        ],
    ),
)
def test_a_route_in_the_way(route: str, how: str) -> None:
    lab = routes(edited(), "node-2", adding(route))
    found = lab.cluster().routes.conflicts()
    assert found[["node", "how"]].values.tolist() == [["node-2", how]]
    assert list(heads(lab)) == ["route-conflict"]


def test_a_routing_rule_in_the_way() -> None:
    lab = edited().edit("ip-rule6", "node-2", adding(f"100:\tfrom all to {BLOCK} blackhole"))
    assert list(heads(lab)) == ["route-conflict"]


@pytest.mark.slow
def test_a_route_of_ipv6_is_missing_though_its_session_is_up() -> None:
    lab = routes(edited(), "node-2", without(BLOCK)).edit("birdcl6-route", "node-2", without(BLOCK))
    assert list(heads(lab)) == ["bgp-route-missing"]


@pytest.mark.slow
def test_a_pod_without_its_route_of_ipv6() -> None:
    lab = routes(edited(), "node-1", without("fd48::94fa:7820:5b81:7503 "))
    assert list(heads(lab)) == ["pod-route-missing"]


@pytest.mark.slow
def test_bird6_cfg_edited_by_hand() -> None:
    lab = edited().edit(
        "bird6.cfg", "node-4", lambda t: t.replace("neighbor fd30::12 as 64512", "neighbor fd30::12 as 64999")
    )
    found = heads(lab)
    assert list(found) == ["bgp-config-stale"]
    assert "bird6.cfg" in found["bgp-config-stale"]


def test_silence_and_its_checks() -> None:
    found = checked(DUAL)
    assert found.status == 0
    assert not [f for f in found if f.severity != "info"]


@pytest.mark.slow
def test_a_node_without_an_ipv6_address_where_others_have_one() -> None:
    def how(node: dict[str, Any]) -> None:
        if node["metadata"]["name"] == "node-2":
            del node["metadata"]["annotations"]["projectcalico.org/IPv6Address"]

    found = [f.subject for f in edited().objects("nodes", how).loud() if f.id == "node-address-wrong"]
    assert found == [{"node": "node-2", "address": "IPv6"}]


def test_an_mtu_that_ipv6_cannot_live_with() -> None:
    lab = edited()
    for node in ("node-1", "node-2", "node-3", "node-4"):
        lab.edit("ip-link-stats", node, lambda t: t.replace("mtu 1500", "mtu 1200"))
    found = lab.cluster().routes.mtus().set_index("node")["problem"]
    assert "1280 that IPv6 needs" in str(found["node-3"])


def full(block: dict[str, Any]) -> None:
    """All addresses of a block of IPv6 given to something else."""
    body = block["spec"]
    if ":" in body["cidr"]:
        body["attributes"] = [*(body.get("attributes") or []), {"handle_id": "other", "secondary": {}}]
        last = len(body["attributes"]) - 1
        body["allocations"] = [last if a is None else a for a in body["allocations"]]
        body["unallocated"] = []


def small(pool: dict[str, Any]) -> None:
    """A pool of IPv6 that is no larger than the blocks that are there."""
    if ":" in pool["spec"]["cidr"]:
        pool["spec"]["cidr"] = BLOCK


def waiting(pod: dict[str, Any]) -> None:
    if pod["metadata"]["name"].startswith("frontend"):
        pod["status"] = {"phase": "Pending"}
        notes = pod["metadata"].get("annotations") or {}
        pod["metadata"]["annotations"] = {k: v for k, v in notes.items() if not k.startswith("cni.")}


@pytest.mark.slow
def test_a_pod_that_gets_ipv4_and_no_ipv6_waits() -> None:
    lab = edited().objects("ipamblocks", full).objects("ippools", small).objects("pods", waiting)
    found = [f.subject for f in lab.loud() if f.id == "ipam-exhausted"]
    assert found == [{"pool": "default-ipv6-ippool"}]
    assert set(lab.cluster().ipam.waiting()["version"]) == {6}


@pytest.mark.slow
def test_rules_of_ipv6_alone_that_are_stale() -> None:
    """The first jump to a policy's chain is taken out of ip6tables."""
    cluster = edited().cluster()
    chains = cluster.dataplane.chains().query("node == 'node-1' and family == 'ip6' and role == 'policy'")
    rules = cluster.dataplane.rules().query("node == 'node-1' and family == 'ip6' and chain.str.startswith('cali-tw-')")
    jump = rules[rules["target"].isin(set(chains["chain"]))].iloc[0]
    lab = edited().edit("ip6tables-save", "node-1", without(f"-A {jump['chain']} ", f"-j {jump['target']}"))
    found = heads(lab)
    assert list(found) == ["dataplane-stale"]
    assert "in the rules of IPv6" in found["dataplane-stale"]


@pytest.mark.slow
def test_a_set_of_ipv6_that_lacks_a_pod() -> None:
    sets = edited().cluster().dataplane.sets().query("node == 'node-1' and set.str.startswith('cali60s')")
    member = sets[sets["element"].str.startswith("fd48:")].iloc[0]
    lab = edited()
    for name in ("ipset-list", "ipset-save"):
        lab.edit(
            name,
            "node-1",
            lambda t: t.replace(f"\n{member['element']}\n", "\n").replace(
                f"add {member['set']} {member['element']}\n", ""
            ),
        )
    assert {f.id for f in lab.loud()} == {"dataplane-stale"}


# ---- VXLAN over IPv6: no recording has it

NODES = ("node-1", "node-2", "node-3", "node-4")
LINK = """\
99: vxlan-v6.calico: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1430 qdisc noqueue state UNKNOWN mode DEFAULT
    link/ether 66:00:00:00:00:0{number} brd ff:ff:ff:ff:ff:ff
    RX:  bytes packets errors dropped  missed   mcast
         1000      10      0       0       0       0
    TX:  bytes packets errors dropped carrier collsns
         1000      10      0       0       0       0
"""


def vtep(number: int) -> str:
    return f"fd48::ffff:{number}"


def tunnelled() -> Edited:
    """The IPv6 pool in VXLAN, as Felix sets it up (felix/dataplane/linux/vxlan_mgr.go)."""

    def pool(item: dict[str, Any]) -> None:
        if ":" in item["spec"]["cidr"]:
            item["spec"]["vxlanMode"] = "Always"

    def noted(item: dict[str, Any]) -> None:
        number = int(item["metadata"]["name"][-1])
        item["metadata"]["annotations"]["projectcalico.org/IPv6VXLANTunnelAddr"] = vtep(number)

    lab = edited().objects("ippools", pool).objects("nodes", noted)
    for node in NODES:
        own = int(node[-1])
        others = [n for n in range(1, 5) if n != own]
        near = "".join(f"{vtep(n)} dev vxlan-v6.calico lladdr 66:00:00:00:00:0{n} PERMANENT \n" for n in others)
        ways = "".join(f"66:00:00:00:00:0{n} dev vxlan-v6.calico dst fd30::1{n} self permanent\n" for n in others)
        lab.edit("ip-link-stats", node, lambda t, own=own: t + LINK.format(number=own))  # type: ignore[misc]
        lab.edit("ip-neigh6", node, lambda t, near=near: t + near)  # type: ignore[misc]
        lab.edit("bridge-fdb", node, lambda t, ways=ways: t + ways)  # type: ignore[misc]
    return lab


def test_entries_and_mtus_of_vxlan_over_ipv6() -> None:
    cluster = tunnelled().cluster()
    found = cluster.routes.vxlan()
    assert len(found) == 12
    assert set(found["version"]) == {6}
    assert found[["neighbour", "forwarding"]].all(axis=None)
    assert set(cluster.routes.blocks().query("version == 6 and kind == 'remote'")["mode"]) == {"vxlan"}
    assert set(cluster.routes.blocks().query("version == 4 and kind == 'remote'")["mode"]) == {"none"}
    mtus = cluster.routes.mtus()
    assert set(mtus["fits"]) == {1430}, "70 bytes over IPv6"
    assert set(mtus["tunnel_mtu"]) == {1430}


@pytest.mark.slow
def test_an_entry_that_vxlan_over_ipv6_lacks() -> None:
    lab = tunnelled().edit("bridge-fdb", "node-2", without("fd30::13"))
    lost = lab.cluster().routes.vxlan().query("forwarding == False")
    assert lost[["node", "peer", "version"]].to_numpy().tolist() == [["node-2", "node-3", 6]]
    assert ("vxlan-blocked", {"node": "node-2"}) in [(f.id, dict(f.subject)) for f in lab.loud()]


# ---- what BGP is told of IPv6


@pytest.mark.slow
def test_a_service_address_of_ipv6_that_no_bird6_announces() -> None:
    services = "fd96::/108"

    def default(text: str) -> str:
        made = {"kind": "BGPConfiguration", "metadata": {"name": "default"}}
        made["spec"] = {"serviceClusterIPs": [{"cidr": services}]}  # type: ignore[assignment]
        return json.dumps({**json.loads(text), "items": [made]})

    lab = edited().edit("bgpconfigurations", None, default)
    shown = lab.cluster().routes.services()
    assert len(shown)
    assert shown["address"].str.contains(":").all()
    assert {"bgp-service-not-advertised"} == {f.id for f in lab.heads()}
    for node in NODES:
        lab.edit("birdcl6-route", node, adding(f"{services}         blackhole [static1 03:53:31] * (200)"))
    assert all(lab.cluster().routes.services()["announced_by"].str.len() == 4)


def test_a_filter_of_ipv6_decides_about_its_blocks_alone() -> None:
    rule = {"action": "Reject", "matchOperator": "In", "cidr": "fd48::/64"}
    assert decide([("six", {"exportV6": [rule]})], "export", BLOCK) == ("six", 0, "Reject")
    assert decide([("six", {"exportV6": [rule]})], "export", "10.48.84.128/26") is None
    assert decide([("four", {"exportV4": [rule]})], "export", BLOCK) is None


# ---- what was not seen


def unseen(*ids: str) -> tuple[int, set[str]]:
    """The exit status, and the critical kinds that are not answered for node-2, where these are missing there."""
    lab = edited()
    lab.gone |= {(i, "node-2") for i in ids}
    found = lab.cluster().check()
    assert not [f for f in found if f.severity != "info"]
    return found.status, {i for i, nodes in found.coverage.partly.items() if "node-2" in nodes}


BIRDCL6 = tuple(f"birdcl6-{n}" for n in ("status", "protocols", "protocols-all"))


@pytest.mark.parametrize(
    ("ids", "kind"),
    first(
        1,
        [
            ((*BIRDCL6, "calicoctl-node-status", "bird6-log"), "bird-dead"),
            ((*BIRDCL6, "calicoctl-node-status", "bird6-log"), "bgp-session-down"),
            (("sysctl-net6",), "ip-forward-off"),
        ],
    ),
)
def test_silence_of_ipv4_is_no_answer_about_ipv6(ids: tuple[str, ...], kind: str) -> None:
    status, partly = unseen(*ids)
    assert status == 3
    assert kind in partly

"""Faults of routes, tunnels and addresses: recorded ones, and edited recordings for those that no recording shows."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from tests import clusters
from tests.edited import Edited, adding, without
from tests.routes.test_variants import with_rule

MESH, VXLAN, TOR = "healthy-bgp-mesh", "healthy-vxlan-typha", "healthy-datacenter"


def only(lab: Edited) -> Any:
    """The one finding that no other explains."""
    (first,) = lab.heads()
    return first


def block_of(lab: Edited, node: str) -> str:
    blocks = lab.cluster().table("ipam.blocks")
    return str(blocks[blocks["node"] == node]["block"].iloc[0])


def pod_on(lab: Edited, node: str) -> Any:
    pods = lab.cluster().table("routes.pods")
    return next(pods[pods["node"] == node].itertuples())


# ---- routes


def test_the_recorded_conflict_names_where_it_stands_and_who_learnt_it() -> None:
    first = only(Edited("route-conflict"))
    assert (first.id, first.subject["node"]) == ("route-conflict", "node-2")
    assert first.subject["cidr"].endswith("/27")
    assert "learnt it from this node by BGP" in first.cause
    assert {"node-1", "node-3", "node-4"} <= first.about


@pytest.mark.parametrize(
    "form", ["{} via 172.30.0.1 dev eth0", "blackhole {}", "{} dev docker0 proto kernel scope link"]
)
def test_a_longer_route_in_another_nodes_block_is_a_conflict(form: str) -> None:
    lab = Edited(MESH)
    block = block_of(lab, "node-3")
    longer = block.replace("/26", "/28")
    first = only(lab.routes("node-1", adding(form.format(longer))))
    assert (first.id, first.subject) == ("route-conflict", {"node": "node-1", "cidr": longer})


def test_the_same_destination_with_a_lower_metric_is_a_conflict() -> None:
    lab = Edited(MESH)
    block = block_of(lab, "node-3")
    first = only(lab.routes("node-1", adding(f"{block} via 172.30.0.1 dev eth0 metric 50")))
    assert (first.id, first.subject) == ("route-conflict", {"node": "node-1", "cidr": block})


def test_a_table_before_main_is_a_conflict_only_where_every_packet_is_looked_up_in_it() -> None:
    lab = Edited(MESH)
    block = block_of(lab, "node-3")
    lab.routes("node-1", adding(f"{block} via 172.30.0.1 dev eth0 table 77"))
    assert lab.heads() == []
    lab.edit("ip-rule", "node-1", adding("100:\tfrom all fwmark 0x5 lookup 77"))
    assert lab.heads() == []
    first = only(lab.edit("ip-rule", "node-1", adding("101:\tfrom all lookup 77")))
    assert (first.id, first.subject) == ("route-conflict", {"node": "node-1", "cidr": block})


@pytest.mark.parametrize(
    "line",
    [
        "10.99.0.0/16 via 172.30.0.1 dev eth0",  # no pool's
        "192.168.122.0/24 dev virbr0 proto kernel scope link src 192.168.122.1",
        "{borrowed} via 172.30.0.14 dev eth0 proto bird metric 1024",
        "unreachable default metric 4294967295",
    ],
)
def test_routes_that_override_nothing_of_calicos_are_none(line: str) -> None:
    lab = Edited(MESH)
    borrowed = block_of(lab, "node-3").replace("/26", "")
    assert lab.routes("node-1", adding(line.format(borrowed=borrowed))).heads() == []


def test_a_missing_route_with_sessions_up_is_bgp_route_missing() -> None:
    lab = Edited(MESH)
    block = block_of(lab, "node-3")
    lab.routes("node-1", without(block)).edit("birdcl-route", "node-1", without(block))
    first = only(lab)
    assert (first.id, first.subject) == ("bgp-route-missing", {"node": "node-1", "cidr": block})
    assert "did not receive it, or filtered it" in first.cause


def test_a_missing_route_of_a_session_that_is_down_is_not_told_again() -> None:
    assert [f.id for f in Edited("bgp-tcp179-blocked").loud() if f.id == "bgp-route-missing"] == []


def test_through_a_reflector_too() -> None:
    lab = Edited("healthy-route-reflectors")
    expected = lab.cluster().table("bgp.expected")
    node = next(n for n in lab.nodes() if n not in set(expected[expected["rr_client"]]["node"].astype("str")))
    other = next(n for n in lab.nodes() if n not in (node, *expected[expected["rr_client"]]["node"].astype("str")))
    block = block_of(lab, other)
    whole = lambda text: re.sub(rf"^{re.escape(block)} .*\n(?:[ \t].*\n)*", "", text, flags=re.M)  # noqa: E731
    first = only(lab.routes(node, without(block)).edit("birdcl-route", node, whole))
    assert (first.id, first.subject) == ("bgp-route-missing", {"node": node, "cidr": block})


def test_a_pod_without_its_route() -> None:
    lab = Edited(MESH)
    pod = pod_on(lab, "node-2")
    first = only(lab.routes("node-2", without(f"{pod.address} dev")))
    assert (first.id, first.subject) == (
        "pod-route-missing",
        {"node": "node-2", "pod": f"{pod.namespace}/{pod.pod}"},
    )


def test_a_pod_whose_route_leads_elsewhere() -> None:
    lab = Edited(MESH)
    pod = pod_on(lab, "node-2")
    lab.routes("node-2", without(f"{pod.address} dev")).routes(
        "node-2", adding(f"{pod.address} via 172.30.0.1 dev eth0")
    )
    found = {f.id: f for f in lab.loud()}
    assert "172.30.0.1 eth0" in found["pod-route-missing"].cause


def test_a_pod_without_its_interface() -> None:
    lab = Edited(MESH)
    pod = pod_on(lab, "node-2")
    how = lambda text: re.sub(rf"^\d+: {pod.interface}(?s:.*?)(?=^\d+: |\Z)", "", text, flags=re.M)  # noqa: E731
    first = only(lab.edit("ip-link-stats", "node-2", how).edit("ip-addr", "node-2", how))
    assert first.id == "pod-route-missing"
    assert pod.interface in first.cause


def test_routes_that_were_not_seen_are_unknown_and_not_missing() -> None:
    lab = Edited(MESH)
    lab.gone |= {(i, n) for i in ("ip-route-all", "ip-route-json", "ip-route") for n in lab.nodes()}
    findings = lab.cluster().check()
    assert [f.id for f in findings if f.severity != "info"] == []
    assert findings.status == 3
    assert {"route-conflict", "pod-route-missing"} <= set(findings.blocked)


def test_a_block_that_two_nodes_keep_as_their_own() -> None:
    lab = Edited(MESH)
    block = block_of(lab, "node-3")
    found = lab.routes("node-1", without(block)).routes("node-1", adding(f"blackhole {block} proto bird")).loud()
    (conflict,) = (f for f in found if f.id == "bgp-block-conflict")
    assert conflict.subject == {"cidr": block, "nodes": ["node-1", "node-3"]}


def test_a_part_of_a_block_that_another_node_announces() -> None:
    lab = Edited(MESH)
    block = block_of(lab, "node-3")
    part = block.replace("/26", "/28")
    line = f"{part}     via 172.30.0.14 on eth0 [Mesh_172_30_0_14 01:39:35] * (100/0) [i]"
    found = lab.edit("birdcl-route", "node-1", adding(line)).loud()
    (conflict,) = (f for f in found if f.id == "bgp-block-conflict")
    assert conflict.subject == {"cidr": part, "nodes": ["node-3", "node-4"]}


def test_a_service_range_that_nobody_announces() -> None:
    lab = Edited(TOR)
    for node in lab.nodes():
        lab.edit("birdcl-route", node, without("10.96.0.0/16", "static"))
    found = {f.subject["service"] for f in lab.loud() if f.id == "bgp-service-not-advertised"}
    assert "kube-system/kube-dns" in found


# ---- tunnels


def test_a_vxlan_node_without_a_forwarding_entry() -> None:
    lab = Edited(VXLAN)
    first = only(lab.edit("bridge-fdb", "node-2", without("172.30.0.13")))
    assert (first.id, first.subject) == ("vxlan-blocked", {"node": "node-2"})
    assert "node-3" in first.cause


def test_a_vxlan_node_without_a_neighbour_entry() -> None:
    first = only(Edited(VXLAN).edit("ip-neigh", "node-2", without("vxlan.calico", "PERMANENT")))
    assert (first.id, first.subject) == ("vxlan-blocked", {"node": "node-2"})


def test_a_vxlan_device_out_of_which_nothing_comes() -> None:
    def silent(text: str) -> str:
        head, _, rest = text.partition("vxlan.calico:")
        return head + "vxlan.calico:" + re.sub(r"(RX: .*\n\s+)\d+(\s+)\d+", r"\g<1>0\g<2>0", rest, count=1)

    first = only(Edited(VXLAN).edit("ip-link-stats", "node-2", silent))
    assert (first.id, first.subject) == ("vxlan-blocked", {"node": "node-2"})
    assert "none came out" in first.cause


def test_a_rule_that_drops_vxlan() -> None:
    found = with_rule(VXLAN, "node-2", "[99:9900] -A INPUT -p udp -m udp --dport 4789 -j DROP").loud()
    assert ("vxlan-blocked", {"node": "node-2"}) in [(f.id, f.subject) for f in found]


def test_an_mtu_that_leaves_no_room() -> None:
    how = lambda text: re.sub(r"(vxlan\.calico: <[^>]*> mtu )1450", r"\g<1>1500", text)  # noqa: E731
    first = only(Edited(VXLAN).edit("ip-link-stats", "node-2", how))
    assert (first.id, first.subject) == ("mtu-mismatch", {"nodes": ["node-2"]})


def test_pods_whose_mtu_is_more_than_a_nodes_way_out() -> None:
    how = lambda text: re.sub(r"(eth0@?\S*: <[^>]*> mtu )1500", r"\g<1>1400", text)  # noqa: E731
    first = only(Edited(MESH).edit("ip-link-stats", "node-2", how))
    assert first.id == "mtu-mismatch"
    assert first.subject["nodes"] == ["node-2"]  # the one that is not as the others


@pytest.mark.parametrize("incident", [VXLAN, MESH])
def test_ip_addr_alone_tells_the_mtus_too(incident: str) -> None:
    whole = clusters.of(incident).routes.mtus()
    gone = {("ip-link-stats", n) for n in clusters.recording(incident).nodes()}
    assert len(whole)
    assert whole["pod_mtu"].notna().all()
    pd.testing.assert_frame_equal(Edited(incident, gone=gone).cluster().routes.mtus(), whole)


def test_wireguard_without_a_key() -> None:
    lab = Edited(MESH).objects("felixconfigurations", lambda i: i["spec"].update(wireguardEnabled=True))
    (found,) = (f for f in lab.loud() if f.id == "wireguard-down")
    assert found.subject == {"node": list(lab.nodes()), "peer": "unknown"}


# ---- addresses


def address(node: str, text: str) -> Any:
    def change(item: dict[str, Any]) -> None:
        if item["metadata"]["name"] == node:
            item["metadata"]["annotations"]["projectcalico.org/IPv4Address"] = text

    return change


@pytest.mark.parametrize(
    ("text", "said"),
    [("10.0.2.15/24", "none of the node's interfaces"), ("172.30.0.11/24", "node-1 has the same address")],
)
def test_an_address_that_peers_cannot_use(text: str, said: str) -> None:
    lab = Edited(MESH).objects("nodes", address("node-2", text))
    found = [f for f in lab.loud() if f.id == "node-address-wrong" and f.subject["node"] == "node-2"]
    assert said in found[0].cause


def test_an_address_on_a_bridge_of_the_node_alone() -> None:
    line = "    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0"
    lab = Edited(MESH).objects("nodes", address("node-2", "172.17.0.1/16"))
    lab.edit(
        "ip-addr", "node-2", adding(f"99: docker0: <BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state UP\n{line}")
    )
    (first,) = (f for f in lab.loud() if f.id == "node-address-wrong")
    assert first.subject == {"node": "node-2", "address": "172.17.0.1"}
    assert "docker0" in first.cause


def test_nodes_in_several_subnets_need_encapsulation() -> None:
    """172.30.0.8/29 holds .11 to .14; with node-4 moved, two subnets."""
    lab = Edited(MESH).objects("nodes", address("node-4", "172.30.9.14/24"))
    lab.edit("ip-addr", "node-4", lambda text: text.replace("172.30.0.14/24", "172.30.9.14/24"))
    for node in lab.nodes():
        lab.edit("conntrack", node, lambda _: "")
    found = [f for f in lab.loud() if f.id == "encap-needed"]
    assert [f.subject["pool"] for f in found] == ["default-ipv4-ippool"]


def test_a_router_that_is_told_is_enough() -> None:
    lab = Edited(TOR).objects("nodes", address("node-4", "172.30.9.14/24"))
    assert [f for f in lab.loud() if f.id == "encap-needed"] == []

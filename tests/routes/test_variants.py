"""Faults of these ids in other forms than the recorded ones, and what only looks like them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from calicokit.evidence.model import Evidence, Want
from tests.edited import Edited, adding, without

MESH, VXLAN, TOR, REFLECTORS = (
    "healthy-bgp-mesh",
    "healthy-vxlan-typha",
    "healthy-datacenter",
    "healthy-route-reflectors",
)
BLOCK = "10.48.84.128/26"  # node-1's
Found = list[tuple[str, dict[str, object]]]


def heads(lab: Edited) -> Found:
    return [(f.id, dict(f.subject)) for f in lab.heads()]


def ids(lab: Edited) -> list[str]:
    return [f.id for f in lab.loud()]


def on(node: str, change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """The change of one object by its name."""

    def change_it(item: dict[str, Any]) -> None:
        if item["metadata"]["name"] == node:
            change(item)

    return change_it


def noted(**notes: str) -> Callable[[dict[str, Any]], None]:
    return lambda item: item["metadata"]["annotations"].update({f"projectcalico.org/{k}": v for k, v in notes.items()})


def felix(**spec: Any) -> Callable[[dict[str, Any]], None]:
    return lambda item: item["spec"].update(spec)


def lost(lab: Edited, node: str = "node-3", cidr: str = BLOCK) -> Edited:
    return lab.routes(node, without(f"{cidr} ")).edit("birdcl-route", node, without(f"{cidr} "))


# ---- routes that BGP should have brought


def test_a_route_that_bird_has_and_the_kernel_has_not() -> None:
    lab = Edited(MESH).routes("node-3", without(f"{BLOCK} "))
    assert heads(lab) == [("bgp-route-missing", {"node": "node-3", "cidr": BLOCK})]
    assert "did not export it to the kernel" in lab.heads()[0].cause


def test_a_block_that_its_owner_does_not_announce() -> None:
    lab = Edited(MESH).edit("birdcl-route", "node-1", without(f"{BLOCK} "))
    for node in ("node-2", "node-3", "node-4"):
        lost(lab, node)
    assert [f for f in heads(lab) if f[0] == "bgp-route-missing"] == [
        ("bgp-route-missing", {"node": ["node-2", "node-3", "node-4"], "cidr": BLOCK})
    ]
    assert "own BIRD does not have it" in next(f for f in lab.heads() if f.id == "bgp-route-missing").cause


def not_ready(item: dict[str, Any]) -> None:
    for condition in item["status"]["conditions"]:
        condition["status"] = "Unknown" if condition["type"] == "Ready" else condition["status"]


def test_a_node_that_is_not_ready_is_not_living() -> None:
    assert "bgp-route-missing" not in ids(lost(Edited(MESH)).objects("nodes", on("node-1", not_ready)))


def test_a_pool_that_is_not_exported_lacks_its_routes_on_purpose() -> None:
    lab = lost(Edited(MESH)).objects("ippools", lambda i: i["spec"].update(disableBGPExport=True))
    assert "bgp-route-missing" not in ids(lab)


def test_what_felix_programs_is_not_bgps_fault() -> None:
    """From v3.33 on Felix programs IPIP's routes from the datastore, unless it is told otherwise."""
    lab = Edited(MESH).objects("ippools", lambda i: i["spec"].update(ipipMode="Always"))
    lab.objects("felixconfigurations", felix(programClusterRoutes="EnabledIPIPOnly"))
    assert "bgp-route-missing" not in ids(lost(lab))


@pytest.mark.parametrize("name", ["bgp-tcp179-blocked", "bgp-config-edited"])
def test_routes_that_are_missing_as_sessions_are_down_are_no_heads(name: str) -> None:
    lab = Edited(name)
    assert (lab.cluster().routes.blocks()["status"] == "missing").any()
    assert "bgp-route-missing" not in [i for i, _ in heads(lab)]


# ---- blocks that two nodes claim


def test_two_nodes_whose_birds_keep_one_block() -> None:
    lab = Edited(MESH).edit("birdcl-route", "node-4", adding(f"{BLOCK}    blackhole [static1 00:00:00] * (200)"))
    assert ("bgp-block-conflict", {"cidr": BLOCK, "nodes": ["node-1", "node-4"]}) in heads(lab)


def test_a_reflector_that_hands_routes_on_claims_nothing() -> None:
    """With nextHopMode Self a reflector stands in for its clients as the next hop."""
    line = f"{BLOCK}    via 172.30.0.12 on eth0 [Node_172_30_0_12 00:00:00] * (100/0) [i]"
    lab = (
        Edited(REFLECTORS)
        .edit("birdcl-route", "node-3", without(f"{BLOCK} "))
        .edit("birdcl-route", "node-3", adding(line))
    )
    assert "bgp-block-conflict" not in ids(lab)


def test_service_ranges_are_no_claims() -> None:
    lab = Edited(TOR)
    assert not len(lab.cluster().routes.claims())


# ---- pods


@pytest.mark.parametrize("what", ["going", "finished", "starting"])
def test_a_pod_that_comes_or_goes_lacks_nothing(what: str) -> None:
    def change(item: dict[str, Any]) -> None:
        if item["status"].get("podIP") == "10.48.84.131":
            if what == "going":
                item["metadata"]["deletionTimestamp"] = "2026-11-24T00:00:00Z"
            item["status"]["phase"] = {"finished": "Succeeded", "starting": "Pending"}.get(what, "Running")

    lab = Edited(MESH).routes("node-1", without("10.48.84.131 dev")).objects("pods", change)
    assert "pod-route-missing" not in ids(lab)


# ---- VXLAN


def test_an_entry_that_leads_to_another_node() -> None:
    lab = Edited(VXLAN).edit("bridge-fdb", "node-2", lambda t: t.replace("dst 172.30.0.13", "dst 172.30.0.14"))
    assert heads(lab) == [("vxlan-blocked", {"node": "node-2"})]


def test_a_neighbour_with_another_nodes_mac() -> None:
    """Two entries of the same MAC: the packets for the one node go to the other."""
    lab = Edited(VXLAN)
    text = lab_text(lab, "ip-neigh", "node-2")
    macs = dict(re.findall(r"^(\S+) dev vxlan\.calico lladdr (\S+)", text, flags=re.M))
    one, other = sorted(macs)[:2]
    lab.edit("ip-neigh", "node-2", lambda t: t.replace(macs[one], macs[other]))
    assert heads(lab) == [("vxlan-blocked", {"node": "node-2"})]


def lab_text(lab: Edited, id_: str, node: str) -> str:
    ((_, answer),) = lab.fetch([Want(id_, node)])
    assert isinstance(answer, Evidence)
    return answer.decode()


def test_a_mac_of_the_nodes_own_choosing_is_as_good() -> None:
    lab = Edited(VXLAN)
    (mac,) = re.findall(r"^10\.48\.139\.64 dev vxlan\.calico lladdr (\S+)", lab_text(lab, "ip-neigh", "node-2"), re.M)
    for node in ("node-1", "node-2", "node-4"):
        lab.edit("ip-neigh", node, lambda t: t.replace(mac, "66:00:00:00:00:01"))
        lab.edit("bridge-fdb", node, lambda t: t.replace(mac, "66:00:00:00:00:01"))
    lab.objects("nodes", on("node-3", noted(VXLANTunnelMACAddr="66:00:00:00:00:01")))
    assert lab.loud() == []


def test_ebpf_has_no_entries_and_lacks_none() -> None:
    lab = Edited(VXLAN).objects("felixconfigurations", felix(bpfEnabled=True))
    for node in lab.nodes():
        lab.edit("bridge-fdb", node, without("vxlan.calico")).edit("ip-neigh", node, without("vxlan.calico"))
        lab.gone.add(("felix-log", node))  # in which Felix said otherwise
    assert "vxlan-blocked" not in ids(lab)


def rule(text: str, table: str = "filter") -> Callable[[str], str]:
    """Puts a rule before all others of a table of iptables-save: behind Calico's accept it would meet nothing."""

    def walled(saved: str) -> str:
        head, _, rest = saved.partition(f"*{table}\n")
        at = rest.index("\n[") + 1
        return f"{head}*{table}\n{rest[:at]}{text}\n{rest[at:]}"

    return walled


def with_rule(name: str, node: str, text: str, table: str = "filter") -> Edited:
    lab = Edited(name)
    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, node, rule(text, table))
    return lab


@pytest.mark.parametrize(
    "text",
    [
        "[99:9900] -A INPUT -p udp -m udp --dport 4789 -j DROP",
        "[99:9900] -A OUTPUT -p udp -m multiport --dports 4789,8472 -j REJECT --reject-with icmp-port-unreachable",
        "[7:700] -A INPUT -s 172.30.0.0/24 -p udp -m udp --dport 4789 -j DROP",
    ],
)
def test_a_rule_that_has_dropped_vxlan(text: str) -> None:
    assert ("vxlan-blocked", {"node": "node-2"}) in [(f.id, f.subject) for f in with_rule(VXLAN, "node-2", text).loud()]


@pytest.mark.parametrize(
    "text",
    [
        "[0:0] -A INPUT -p udp -m udp --dport 4789 -j DROP",  # nothing has met it
        "[99:9900] -A INPUT ! -s 172.30.0.0/24 -p udp -m udp --dport 4789 -j DROP",  # keeps strangers out
        "[99:9900] -A INPUT -s 203.0.113.0/24 -p udp -m udp --dport 4789 -j DROP",
        "[99:9900] -A INPUT -p udp -m udp --dport 14789 -j DROP",
    ],
)
def test_a_rule_that_keeps_strangers_out_blocks_nothing(text: str) -> None:
    assert "vxlan-blocked" not in ids(with_rule(VXLAN, "node-2", text))


def test_a_rule_for_vxlan_where_no_pool_uses_it() -> None:
    assert "vxlan-blocked" not in ids(with_rule(MESH, "node-2", "[9:900] -A INPUT -p udp -m udp --dport 4789 -j DROP"))


def test_vxlan_on_another_port() -> None:
    lab = with_rule(VXLAN, "node-2", "[99:9900] -A INPUT -p udp -m udp --dport 8472 -j DROP")
    lab.objects("felixconfigurations", felix(vxlanPort=8472))
    assert "vxlan-blocked" in ids(lab)


def counters(device: str, rx: int, tx: int) -> Callable[[str], str]:
    def how(text: str) -> str:
        head, _, rest = text.partition(f"{device}:")
        rest = re.sub(r"(RX: .*\n\s+)\d+(\s+)\d+", rf"\g<1>{rx * 60}\g<2>{rx}", rest, count=1)
        rest = re.sub(r"(TX: .*\n\s+)\d+(\s+)\d+", rf"\g<1>{tx * 60}\g<2>{tx}", rest, count=1)
        return f"{head}{device}:{rest}"

    return how


def quiet(lab: Edited, node: str) -> Edited:
    """No tracked flow of this node's pods saw an answer."""
    return lab.edit("conntrack", node, lambda t: "")


def test_a_device_that_has_sent_and_never_received() -> None:
    lab = quiet(Edited(VXLAN).edit("ip-link-stats", "node-2", counters("vxlan.calico", 0, 400)), "node-2")
    assert heads(lab) == [("vxlan-blocked", {"node": "node-2"})]


def test_all_nodes_are_cut_off_from_each_other() -> None:
    lab = Edited(VXLAN)
    for node in lab.nodes():
        quiet(lab.edit("ip-link-stats", node, counters("vxlan.calico", 0, 400)), node)
    assert heads(lab) == [("vxlan-blocked", {"node": list(lab.nodes())})]


def test_a_device_that_hardly_sent_tells_nothing() -> None:
    lab = Edited(VXLAN).edit("ip-link-stats", "node-2", counters("vxlan.calico", 0, 3))
    assert "vxlan-blocked" not in ids(lab)


def test_bad_checksums() -> None:
    lab = Edited(VXLAN).edit("nstat", "node-2", lambda t: re.sub(r"(UdpInCsumErrors\s+)0", r"\g<1>4120", t))
    assert heads(lab) == [("vxlan-offload-broken", {"node": "node-2"})]


def test_some_bad_checksums_are_the_internets() -> None:
    lab = Edited(VXLAN).edit("nstat", "node-2", lambda t: re.sub(r"(UdpInCsumErrors\s+)0", r"\g<1>12", t))
    assert lab.loud() == []


# ---- IPIP


def ipip(name: str = MESH) -> Edited:
    """The mesh as it would be with IPIP: routes by tunl0, and its device."""
    lab = Edited(name).objects("ippools", lambda i: i["spec"].update(ipipMode="Always"))
    device = (
        "40: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN mode DEFAULT group default\n"
        "    link/ipip 0.0.0.0 brd 0.0.0.0\n    RX:  bytes packets errors dropped  missed   mcast           \n"
        "        9000     150      0       0       0       0 \n"
        "    TX:  bytes packets errors dropped carrier collsns           \n"
        "        9000     150      0       0       0       0 "
    )
    for node in lab.nodes():
        lab.routes(node, lambda t: re.sub(r"(/26 via \S+) dev eth0 proto bird", r"\1 dev tunl0 proto bird onlink", t))
        lab.edit("ip-link-stats", node, lambda t: t.replace("mtu 1500", "mtu 1480").replace("@if", "@if", 1))
        lab.edit("ip-link-stats", node, lambda t: re.sub(r"(eth0@\S+ <[^>]*> mtu )1480", r"\g<1>1500", t))
        lab.edit("ip-link-stats", node, adding(device))
    return lab


def test_ipip_that_works() -> None:
    assert ipip().loud() == []


def test_a_rule_that_has_dropped_ipip() -> None:
    lab = ipip()
    for id_ in ("iptables-save", "iptables-nft-save"):
        lab.edit(id_, "node-3", rule("[31:3100] -A INPUT -p ipencap -j DROP"))
    assert ("ipip-blocked", {"nodes": ["node-3"]}) in [(f.id, f.subject) for f in lab.loud()]


def test_ipip_that_nobody_gets() -> None:
    lab = ipip()
    for node in lab.nodes():
        quiet(lab.edit("ip-link-stats", node, counters("tunl0@NONE", 0, 400)), node)
    assert heads(lab) == [("ipip-blocked", {"nodes": list(lab.nodes())})]


# ---- WireGuard


RULE = "99:\tnot from all fwmark 0x100000/0x100000 lookup 1"


def secured(lab: Edited, *without_key: str) -> Edited:
    """WireGuard as Felix sets it up (felix/wireguard/wireguard.go): key, device, rule, and a table of its own."""
    lab.objects("felixconfigurations", felix(wireguardEnabled=True))
    link = (
        "41: wireguard.cali: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1440 qdisc noqueue state UNKNOWN mode DEFAULT\n"
        "    link/none "
    )
    for node in lab.nodes():
        if node not in without_key:
            lab.objects("nodes", on(node, noted(WireguardPublicKey=f"key-of-{node}=")))
            lab.edit("ip-addr", node, adding(link)).edit("ip-link-stats", node, adding(link))
            lab.edit("ip-rule", node, adding(RULE)).gone.add(("ip-route-json", node))
            lab.edit("ip-route-all", node, adding("10.48.84.128/26 dev wireguard.cali table 1 scope link"))
            lab.edit("ip-route-all", node, adding("throw 10.48.217.64/26 table 1"))
        lab.edit("ip-link-stats", node, lambda t: re.sub(r"(cali[0-9a-f]{11}@\S+ <[^>]*> mtu )\d+", r"\g<1>1440", t))
    return lab


def test_wireguard_that_works() -> None:
    assert secured(Edited(MESH)).loud() == []


def test_what_wireguard_is_made_of() -> None:
    lab = secured(Edited(MESH), "node-2").objects(
        "nodes", on("node-1", noted(IPv4WireguardInterfaceAddr="10.48.84.190"))
    )
    table = lab.cluster().routes.wireguard()
    columns = ["version", "key", "address", "port", "device", "rule", "table", "encrypted", "plain", "problem"]
    rows = {node: row.where(row.notna(), None).to_list() for node, row in table.set_index("node")[columns].iterrows()}
    assert rows["node-1"] == [4, "key-of-node-1=", "10.48.84.190", 51820, True, True, "1", 1, 1, None]
    assert rows["node-2"] == [4, None, None, 51820, False, False, None, None, None, "no public key is published"]


def test_wireguard_without_its_rule_encrypts_nothing() -> None:
    lab = secured(Edited(MESH)).edit("ip-rule", "node-3", without("99:"))
    assert heads(lab) == [("wireguard-down", {"node": "node-3", "peer": "unknown"})]
    assert "no routing rule leads to WireGuard's table" in lab.heads()[0].cause
    lab.gone.add(("ip-rule", "node-3"))
    assert "wireguard-down" not in ids(lab), "a rule that was not looked for is not missing"


def test_wireguard_of_a_single_node_and_of_ipv6() -> None:
    lab = Edited(MESH).objects("felixconfigurations", felix(wireguardEnabledV6=True))
    lab.objects("nodes", on("node-4", noted(WireguardPublicKeyV6="six=")))
    table = lab.cluster().routes.wireguard()
    assert list(zip(table["node"], table["version"], table["port"], table["key"], strict=True))[-1] == (
        *("node-4", 6, 51821, "six="),
    )


def test_what_wg_show_says_of_peers() -> None:
    """A folder may hold what somebody ran on the node: calico-node's image has no wg."""
    shown = """interface: wireguard.cali
  public key: key-of-node-2=
  listening port: 51820

peer: key-of-node-3=
  endpoint: 172.30.0.13:51820
  allowed ips: 10.48.217.64/26, 172.30.0.13/32
  latest handshake: 1 minute, 22 seconds ago
  transfer: 1.18 KiB received, 3.92 KiB sent

peer: key-of-node-1=
  allowed ips: 10.48.84.128/26
  transfer: 0 B received, 14.45 KiB sent"""
    lab = secured(Edited(MESH))
    lab.given["wg-show", "node-2"] = shown
    peers = lab.cluster().routes.wireguard_peers().set_index("peer")
    assert peers.loc["node-3", ["endpoint", "handshake", "handshake_age", "received"]].to_list() == [
        *("172.30.0.13 port 51820", True, 82.0, 1208.0),
    ]
    assert peers.loc["node-3", "allowed_ips"] == ["10.48.217.64/26", "172.30.0.13/32"]
    assert not peers.loc["node-1", "handshake"]
    assert heads(lab) == [("wireguard-down", {"node": "node-2", "peer": "node-1"})]


def test_a_node_without_a_key() -> None:
    found = [(f.id, f.subject["node"]) for f in secured(Edited(MESH), "node-2").heads()]
    assert found == [("wireguard-down", "node-2")]


def test_a_peer_without_a_handshake() -> None:
    """Felix' metrics tell the last handshake of each peer; before 1970 where there was none."""
    labels = (
        '{hostname="node-2",peer_endpoint="172.30.0.13:51820",peer_key="key-of-node-3=",public_key="key-of-node-2="}'
    )
    text = (
        f"wireguard_latest_handshake_seconds{labels} -6.21355968e+10\n"
        f"wireguard_bytes_sent{labels} 14800\nwireguard_bytes_rcvd{labels} 0"
    )
    lab = secured(Edited(MESH)).edit("felix-metrics", "node-2", adding(text))
    assert heads(lab) == [("wireguard-down", {"node": "node-2", "peer": "node-3"})]


def test_a_peer_that_nothing_was_sent_to_needs_no_handshake() -> None:
    labels = (
        '{hostname="node-2",peer_endpoint="172.30.0.13:51820",peer_key="key-of-node-3=",public_key="key-of-node-2="}'
    )
    text = (
        f"wireguard_latest_handshake_seconds{labels} 0\nwireguard_bytes_sent{labels} 0\nwireguard_bytes_rcvd{labels} 0"
    )
    assert secured(Edited(MESH)).edit("felix-metrics", "node-2", adding(text)).loud() == []


# ---- MTUs


def mtu(device: str, value: int) -> Callable[[str], str]:
    return lambda text: re.sub(rf"({device}[^:]*: <[^>]*> mtu )\d+", rf"\g<1>{value}", text)


def test_a_node_whose_link_is_smaller_than_the_others() -> None:
    lab = Edited(MESH).edit("ip-link-stats", "node-2", mtu("eth0", 1400))
    assert heads(lab) == [("mtu-mismatch", {"nodes": ["node-2"]})]


def test_pods_that_are_larger_than_every_link() -> None:
    lab = Edited(MESH).edit("ip-link-stats", "node-3", mtu("cali[0-9a-f]{11}", 9000))
    assert heads(lab) == [("mtu-mismatch", {"nodes": ["node-3"]})]


def test_pods_that_do_not_leave_room_for_vxlan() -> None:
    lab = Edited(VXLAN).edit("ip-link-stats", "node-3", mtu("cali[0-9a-f]{11}", 1500))
    assert heads(lab) == [("mtu-mismatch", {"nodes": ["node-3"]})]


def test_pods_that_are_larger_than_the_tunnel() -> None:
    """vxlanMTU was made smaller, and the pods that run kept what they had."""
    lab = Edited(VXLAN).edit("ip-link-stats", "node-2", mtu("vxlan.calico", 1400))
    assert heads(lab) == [("mtu-mismatch", {"nodes": ["node-2"]})]


def test_larger_links_than_pods_use_are_no_fault() -> None:
    lab = Edited(MESH).edit("ip-link-stats", "node-2", mtu("eth0", 9000))
    assert lab.loud() == []


def test_a_tunnel_of_no_pool_is_no_fault() -> None:
    """tunl0 comes with the kernel's module, with 1480 whatever the link has."""
    line = (
        "40: tunl0@NONE: <NOARP> mtu 1480 qdisc noop state DOWN mode DEFAULT group default qlen 1000\n"
        "    link/ipip 0.0.0.0 brd 0.0.0.0"
    )
    lab = Edited(MESH)
    for node in lab.nodes():
        lab.edit("ip-link-stats", node, mtu("eth0", 1400)).edit("ip-link-stats", node, mtu("cali[0-9a-f]{11}", 1400))
        lab.edit("ip-link-stats", node, adding(line))
    assert lab.loud() == []


# ---- addresses


def moved(lab: Edited, node: str, address: str, interface: str = "") -> Edited:
    """Calico chose another address; where an interface is named, the node has it there."""
    lab.objects("nodes", on(node, noted(IPv4Address=address)))
    if interface:
        lab.edit(
            "ip-addr",
            node,
            adding(
                f"60: {interface}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default\n"
                f"    link/ether 02:42:ac:11:00:02 brd ff:ff:ff:ff:ff:ff\n    inet {address} scope global {interface}\n"
                "       valid_lft forever preferred_lft forever"
            ),
        )
    return lab


@pytest.mark.parametrize(
    ("address", "interface"),
    [
        ("172.17.0.1/16", "docker0"),
        ("192.168.122.1/24", "virbr0"),
        ("172.18.0.1/16", "br-0a1b2c3d4e5f"),
        ("169.254.25.10/32", "nodelocaldns"),
        ("10.9.9.9/24", ""),
        ("172.30.0.13/24", ""),  # node-3's
    ],
)
def test_an_address_that_leads_nowhere(address: str, interface: str) -> None:
    lab = moved(Edited(VXLAN), "node-2", address, interface)
    wrong = [f.subject for f in lab.loud() if f.id == "node-address-wrong"]
    assert {"node": "node-2", "address": address.split("/")[0]} in wrong


def test_another_address_than_kubernetes_that_works_is_a_choice() -> None:
    """Nodes with an own network for pods: every node's Calico address is in it, and none is Kubernetes'."""
    lab = Edited(VXLAN)
    for node in lab.nodes():
        moved(lab, node, f"10.66.0.{node[-1]}/24", "eth1")
    assert "node-address-wrong" not in ids(lab)


# ---- encapsulation


def in_two_subnets(lab: Edited) -> Edited:
    """node-4 in a subnet of its own, behind the router."""
    moved(lab, "node-4", "172.31.0.14/24")
    lab.edit("ip-addr", "node-4", lambda t: t.replace("172.30.0.14/24", "172.31.0.14/24"))
    for node in lab.nodes():
        lab.routes(node, lambda t: t.replace("via 172.30.0.14 ", "via 172.30.0.1 "))
    return lab.routes("node-4", lambda t: t.replace("172.30.0.0/24 dev", "172.31.0.0/24 dev"))


def test_nodes_in_two_subnets_without_encapsulation() -> None:
    lab = in_two_subnets(Edited(MESH))
    for node in lab.nodes():
        quiet(lab, node)
    assert {"encap-needed"} <= set(ids(lab))


@pytest.mark.parametrize("mode", [{"vxlanMode": "CrossSubnet"}, {"vxlanMode": "Always"}, {"ipipMode": "Always"}])
def test_encapsulation_is_there(mode: dict[str, str]) -> None:
    lab = in_two_subnets(Edited(MESH)).objects("ippools", lambda i: i["spec"].update(mode))
    assert "encap-needed" not in ids(lab)


def test_subnets_that_are_on_one_link_need_none() -> None:
    """The kernels reach the other subnet without a gateway."""
    lab = Edited(MESH)
    moved(lab, "node-4", "172.31.0.14/24")
    lab.edit("ip-addr", "node-4", lambda t: t.replace("172.30.0.14/24", "172.31.0.14/24"))
    for node in lab.nodes():
        lab.routes(node, adding("172.31.0.0/24 dev eth0 scope link")).routes(
            node, adding("172.30.0.0/24 dev eth0 scope link")
        )
    assert "encap-needed" not in ids(lab)


def test_flows_between_the_subnets_that_are_answered_show_that_the_routers_know() -> None:
    flow = (
        "tcp      6 431990 ESTABLISHED src=10.48.84.129 dst=10.48.217.66 sport=50880 dport=8080 packets=9 bytes=900 "
        "src=10.48.217.66 dst=10.48.84.129 sport=8080 dport=50880 packets=9 bytes=900 [ASSURED] mark=0 use=1"
    )
    assert "encap-needed" not in ids(in_two_subnets(Edited(MESH)).edit("conntrack", "node-1", adding(flow)))


# ---- services and filters


def test_ipv6_services_are_not_judged_by_bird_for_ipv4() -> None:
    def two(item: dict[str, Any]) -> None:
        if item["spec"].get("clusterIP") not in (None, "None"):
            item["spec"]["clusterIPs"] = [item["spec"]["clusterIP"], "fd00:96::10"]

    lab = Edited(TOR).objects("services", two)
    lab.objects(
        "bgpconfigurations", on("default", lambda i: i["spec"]["serviceClusterIPs"].append({"cidr": "fd00:96::/112"}))
    )
    assert lab.loud() == []


def test_a_filter_that_rejects_a_block_heads_the_missing_route() -> None:
    lab = Edited(REFLECTORS)
    rules = [{"action": "Reject", "matchOperator": "In", "cidr": "10.48.217.64/26"}]
    body = {"metadata": {"name": "keep-out"}, "spec": {"importV4": rules}}

    def add(text: str) -> str:
        document = json.loads(text)
        document["items"].append(body)
        return json.dumps(document)

    lab.edit("bgpfilters", None, add)
    lab.objects("bgppeers", lambda i: i["spec"].update(filters=["keep-out"]))
    whole = lambda text: re.sub(r"^10\.48\.217\.64/26 .*\n(?:[ \t].*\n)*", "", text, flags=re.M)  # noqa: E731
    lab.routes("node-3", without("10.48.217.64/26 ")).edit("birdcl-route", "node-3", whole)
    found = [f for f in lab.loud() if f.id == "bgp-filter-reject"]
    assert found
    assert found[0].subject["filter"] == "keep-out"
    assert found[0].subject["node"] == "node-3"
    assert all(f.explained_by for f in lab.loud() if f.id == "bgp-route-missing")


# ---- the path


def test_a_path_asks_rules_on_the_destination() -> None:
    lab = Edited(MESH).edit("ip-rule", "node-3", adding("100:\tfrom all to 10.48.84.0/24 lookup 77"))
    lab.edit("ip-route-all", "node-3", adding("default via 172.30.0.1 dev eth0 table 77"))
    path = lab.cluster().routes.path("node-3", "10.48.84.131")
    assert (path["table"].tolist(), path["cidr"].tolist()) == (["77"], ["0.0.0.0/0"])
    assert lab.cluster().routes.path("node-3", "10.48.247.1")["node"].tolist() == ["node-3", "node-2"]


def test_a_path_ends_at_a_rule_that_drops_and_goes_on_after_a_throw() -> None:
    lab = Edited(MESH).edit("ip-rule", "node-3", adding("100:\tfrom all to 10.48.84.0/24 prohibit"))
    assert "prohibit by a routing rule" in lab.cluster().routes.path("node-3", "10.48.84.131")["says"].iloc[0]
    lab = Edited(MESH).edit("ip-rule", "node-3", adding("100:\tfrom all lookup 77"))
    lab.edit("ip-route-all", "node-3", adding("throw 10.48.84.0/24 table 77"))
    assert lab.cluster().routes.path("node-3", "10.48.84.131")["node"].tolist() == ["node-3", "node-1"]


# ---- filters towards routers, and others of Calico's versions


def with_filter(lab: Edited, **rules: Any) -> Edited:
    body = {"metadata": {"name": "keep-out"}, "spec": rules}

    def add(text: str) -> str:
        document = json.loads(text)
        document["items"].append(body)
        return json.dumps(document)

    return lab.edit("bgpfilters", None, add).objects("bgppeers", lambda i: i["spec"].update(filters=["keep-out"]))


def test_a_filter_towards_a_router_outside_keeps_nothing_from_the_mesh() -> None:
    lab = with_filter(Edited(TOR), exportV4=[{"action": "Reject", "matchOperator": "In", "cidr": "10.48.0.0/16"}])
    assert "bgp-filter-reject" not in ids(lab)
    lab = lost(lab)
    assert "bgp-filter-reject" not in ids(lab)


def test_a_filter_that_rejects_what_is_there_all_the_same_is_no_fault() -> None:
    rules = [{"action": "Reject", "matchOperator": "In", "cidr": "10.48.217.64/26"}]
    assert "bgp-filter-reject" not in ids(with_filter(Edited(REFLECTORS), importV4=rules))


def test_routes_with_a_protocol_that_felix_was_told_to_use_are_felixs() -> None:
    lab = Edited(VXLAN).objects("felixconfigurations", felix(deviceRouteProtocol=99))
    for node in lab.nodes():
        lab.routes(node, lambda t: t.replace("proto 80", "proto 99"))
        lab.routes(node, lambda t: re.sub(r"^(10\.48\.\d+\.\d+ dev cali)", r"\1", t, flags=re.M))
    assert lab.loud() == []
    assert set(lab.cluster().routes.blocks()["programmed_by"]) == {"felix"}


# ---- services that need an endpoint


def balanced(ready: bool, **spec: Any) -> Edited:
    """kube-dns as a load balancer whose address lies in a range that is announced service by service."""

    def service(item: dict[str, Any]) -> None:
        if item["metadata"]["name"] == "kube-dns":
            item["spec"]["type"] = "LoadBalancer"
            item["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}

    def endpoint(item: dict[str, Any]) -> None:
        for each in item.get("endpoints") or ():
            each["conditions"] = {"ready": ready}

    lab = Edited(TOR).objects("services", service).objects("endpointslices", endpoint)
    return lab.objects("bgpconfigurations", on("default", lambda i: i["spec"].update(spec)))


ONE = {"serviceLoadBalancerIPs": [{"cidr": "203.0.113.7/32"}]}
SPLIT = {"serviceLoadBalancerIPs": [{"cidr": "203.0.113.0/24"}], "serviceLoadBalancerAggregation": "Disabled"}
WHOLE = {"serviceLoadBalancerIPs": [{"cidr": "203.0.113.0/24"}]}


@pytest.mark.parametrize("spec", [ONE, SPLIT, WHOLE])
def test_a_balancers_address_that_nobody_announces(spec: dict[str, Any]) -> None:
    assert heads(balanced(True, **spec)) == [("bgp-service-not-advertised", {"service": "kube-system/kube-dns"})]


@pytest.mark.parametrize("spec", [ONE, SPLIT])
def test_a_service_without_an_endpoint_is_not_announced_on_purpose(spec: dict[str, Any]) -> None:
    assert "bgp-service-not-advertised" not in ids(balanced(False, **spec))


# ---- borrowed addresses


def test_borrowed_addresses_have_a_route_of_their_own_on_the_other_nodes() -> None:
    lab = Edited("ipam-exhausted")
    lent = lab.cluster().routes.blocks().query("kind == 'borrowed'")
    assert len(lent)
    assert set(lent["status"]) == {"present"}
    row = next(lent.itertuples())
    lab.routes(row.node, without(f"{row.cidr.split('/')[0]} via")).edit(
        "birdcl-route", row.node, without(f"{row.cidr} ")
    )
    assert ("bgp-route-missing", {"node": row.node, "cidr": row.cidr}) in heads(lab)


# ---- walls that stand behind a door, and those of nftables' own tables


@pytest.mark.parametrize(
    "door",
    [
        "[5000:500000] -A INPUT -s 172.30.0.0/24 -p udp -m udp --dport 4789 -j ACCEPT",
        "[5000:500000] -A INPUT -s 172.30.0.0/24 -j ACCEPT",
        "[5000:500000] -A INPUT -s 172.30.0.0/24 -p udp -j ACCEPT",
    ],
)
def test_a_rule_behind_one_that_lets_the_nodes_in_keeps_strangers_out(door: str) -> None:
    wall = "[99:9900] -A INPUT -p udp -m udp --dport 4789 -j DROP"
    assert "vxlan-blocked" not in ids(with_rule(VXLAN, "node-2", f"{door}\n{wall}"))
    assert "vxlan-blocked" in ids(with_rule(VXLAN, "node-2", f"{wall}\n{door}"))


@pytest.mark.parametrize(
    "door",
    [
        "[5000:500000] -A INPUT -s 172.30.0.11/32 -p udp -m udp --dport 4789 -j ACCEPT",  # one node only
        "[5000:500000] -A INPUT -s 172.30.0.0/24 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "[5000:500000] -A INPUT -s 172.30.0.0/24 -p tcp -j ACCEPT",
        "[5000:500000] -A INPUT -s 172.30.0.0/24 -p udp -m udp --dport 53 -j ACCEPT",
    ],
)
def test_a_door_that_is_not_for_all_nodes_tunnels(door: str) -> None:
    wall = "[99:9900] -A INPUT -p udp -m udp --dport 4789 -j DROP"
    assert "vxlan-blocked" in ids(with_rule(VXLAN, "node-2", f"{door}\n{wall}"))


def hardened(*rules: str) -> Edited:
    """A table of nftables' own, as firewalld and hand-written rule sets have it; iptables-save does not show it."""
    body = "\n".join(f"\t\t{r}" for r in rules)
    head = "type filter hook input priority filter; policy accept;"
    text = f"table inet hardening {{\n\tchain input {{\n\t\t{head}\n{body}\n\t}}\n}}"
    return Edited(VXLAN).edit("nft-ruleset", "node-2", adding(text))


@pytest.mark.parametrize(
    "rules",
    [
        ["udp dport 4789 counter packets 120 bytes 9000 drop"],
        ["ct state established,related accept", "udp dport { 4789, 8472 } drop"],
        ["ip saddr 172.30.0.0/24 udp dport 4789 reject with icmp type port-unreachable"],
        ['meta l4proto udp udp dport 4789 log prefix "no " drop'],
    ],
)
def test_a_rule_of_nftables_that_drops_vxlan(rules: list[str]) -> None:
    assert ("vxlan-blocked", {"node": "node-2"}) in [(f.id, f.subject) for f in hardened(*rules).loud()]


@pytest.mark.parametrize(
    "rules",
    [
        ["udp dport 4789 counter packets 0 bytes 0 drop"],
        ["ip saddr != 172.30.0.0/24 udp dport 4789 drop"],
        ["ip saddr 203.0.113.0/24 udp dport 4789 drop"],
        ["ip saddr @strangers udp dport 4789 drop"],
        ["ip saddr 172.30.0.0/24 accept", "udp dport 4789 counter packets 9 bytes 900 drop"],
        ['iifname "wan0" udp dport 4789 drop'],  # not counted, and of one interface
        ["tcp dport 4789 counter packets 9 bytes 900 drop"],
        ["ip saddr 10.0.0.1-10.0.0.9 udp dport 4789 counter packets 9 bytes 900 drop"],
    ],
)
def test_a_rule_of_nftables_that_blocks_no_tunnel(rules: list[str]) -> None:
    assert "vxlan-blocked" not in ids(hardened(*rules))

"""The eBPF programs' maps beside what the cluster asks for: silence on recordings, and each fault edited into one."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd
import pytest

from calicokit.dataplane.programmed.bpf_sets import set_number
from calicokit.diagnosis.model import Finding
from tests import clusters
from tests.edited import Edited
from tests.only import only

VXLAN = "healthy-ebpf-vxlan"
MAPS = ("bpf-map-stale", "bpf-map-full", "service-no-endpoints")
DNS = "10.96.0.10 port 53 proto 17"


def said(lab: Edited, *ids: str) -> list[Finding]:
    return only(lab.cluster(), *(ids or MAPS))


def lab(id_: str, old: str, new: str, node: str = "node-1") -> Edited:
    """The healthy recording with the first place of a pattern changed."""

    def how(text: str) -> str:
        changed = re.sub(old, new, text, count=1, flags=re.MULTILINE)
        assert changed != text
        return changed

    return Edited(VXLAN).edit(id_, node, how)


@pytest.mark.parametrize("name", [VXLAN, "ebpf-policy-drop"])
def test_maps_that_are_right_say_nothing(name: str) -> None:
    cluster = clusters.of(name)
    assert only(cluster, *MAPS) == []
    routes, services = cluster.dataplane.bpf_routes(), cluster.dataplane.bpf_services()
    assert set(routes[routes["kind"].isin(["block", "pod", "host"])]["status"]) == {"present"}
    assert services["service"].notna().all()
    assert services["programmed"].all()
    assert cluster.dataplane.bpf_sets()["selector"].notna().sum() > 20
    connections = cluster.dataplane.bpf_connections()
    assert connections["server"].str.contains("/").sum() > 100
    assert connections["service"].notna().any() or name != VXLAN


def test_where_no_node_runs_ebpf_there_is_nothing_and_nothing_is_unknown() -> None:
    cluster = clusters.of("healthy-bgp-mesh")
    for table in ("bpf_services", "bpf_routes", "bpf_sets", "bpf_maps", "bpf_connections", "bpf_endpoints"):
        frame = cluster.table(f"dataplane.{table}")
        assert frame.empty, table
        assert not frame.unknown, table


# ---- services


def test_a_backend_that_no_endpointslice_has() -> None:
    (found,) = said(lab("bpf-nat", r"10\.48\.84\.137:5432", "10.48.99.9:5432"))
    assert (found.id, found.severity, found.subject) == ("bpf-map-stale", "critical", {"node": "node-1", "map": "NAT"})
    assert "shop/db lacks 10.48.84.137:5432, and leads to 10.48.99.9:5432, which no EndpointSlice has" in found.cause


def test_a_frontend_that_is_not_there() -> None:
    gone = rf"^{DNS} .*\n\t\S+\s+\S+\n\t\S+\s+\S+\n"
    (found,) = said(lab("bpf-nat", gone, ""))
    assert found.subject == {"node": "node-1", "map": "NAT"}
    assert "10.96.0.10:53/udp of kube-system/kube-dns is not there" in found.cause


def test_a_frontend_that_refuses_though_there_are_endpoints() -> None:
    (found,) = said(lab("bpf-nat", rf"^({DNS} id \d+) .*\n\t\S+\s+\S+\n\t\S+\s+\S+\n", r"\1 count 0 local 0\n"))
    assert "kube-system/kube-dns lacks" in found.cause


def test_lists_and_maps_are_not_read_at_one_time() -> None:
    """A pod that became ready, one that goes, and a service just made: nobody can tell which was read first."""
    edited = lab("bpf-nat", r"10\.48\.84\.137:5432", "10.48.99.9:5432")
    now = edited.now()
    assert now is not None

    def young(item: dict[str, Any]) -> None:
        item["metadata"]["creationTimestamp"] = f"{now:%Y-%m-%dT%H:%M:%SZ}"

    assert said(edited.objects("services", young)) == []

    def turned(item: dict[str, Any]) -> None:
        for condition in item["status"].get("conditions", ()):
            condition["lastTransitionTime"] = f"{now:%Y-%m-%dT%H:%M:%SZ}"

    assert said(lab("bpf-nat", r"\t6:0\t 10\.48\.84\.137:5432\n", "").objects("pods", turned)) == []


def test_a_service_without_endpoints_is_told_and_is_no_fault_of_the_map() -> None:
    empty = Edited(VXLAN)
    address = "10.96.91.237"

    def without(text: str) -> str:
        return re.sub(
            rf"^({address} port 80 proto 6 id \d+) .*\n(?:\t.*\n)*", r"\1 count 0 local 0\n", text, flags=re.M
        )

    for node in empty.nodes():
        empty.edit("bpf-nat", node, without)

    def gone(item: dict[str, Any]) -> None:
        if item["metadata"]["labels"].get("kubernetes.io/service-name") == "db":
            item["endpoints"] = []

    (found,) = said(empty.objects("endpointslices", gone))
    assert (found.id, found.severity, found.subject) == ("service-no-endpoints", "info", {"service": "shop/db"})


def test_without_endpointslices_no_backend_is_judged() -> None:
    edited = lab("bpf-nat", r"10\.48\.84\.137:5432", "10.48.99.9:5432")
    edited.gone.add(("endpointslices", None))
    assert said(edited) == []
    assert edited.cluster().dataplane.bpf_services()["lacks"].isna().all()


# ---- routes


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"^10\.48\.139\.64/26: .*\n", "", "the route to 10.48.139.64/26 (block of node-3) is not there"),
        (r"(10\.48\.139\.64/26: .* nh) \S+", r"\1 172.30.0.14", "leads to 172.30.0.14, and not to 172.30.0.13"),
        (r"^(10\.48\.84\.132/32: .*) idx \d+", r"\1 idx 6", "10.48.84.132/32 (pod of shop/"),
        (r"^ *172\.30\.0\.12/32: remote host\n", "", "172.30.0.12/32 (host of node-2) is not there"),
    ],
)
def test_a_route_that_is_wrong(old: str, new: str, words: str) -> None:
    (found,) = said(lab("bpf-routes", old, new))
    assert (found.id, found.subject) == ("bpf-map-stale", {"node": "node-1", "map": "routes"})
    assert words in found.cause


def test_routes_as_json_tell_the_same() -> None:
    """A recording that has only the other form of the dump."""
    cluster, other = clusters.of(VXLAN), Edited(VXLAN)
    for node in other.nodes():
        path = f"nodes/{node}/bpf-routes-json.json"
        text = clusters.recording(VXLAN)._files.read(path).decode()
        assert json.loads(text)
        other.edit("bpf-routes", node, lambda _, text=text: text)
    names = ["node", "cidr", "kind", "status", "next_hop", "interface"]
    pd.testing.assert_frame_equal(cluster.dataplane.bpf_routes()[names], other.cluster().dataplane.bpf_routes()[names])


# ---- IP sets and sizes


def test_an_ip_set_that_lacks_a_member_and_one_that_holds_a_stranger() -> None:
    """Source of the number: felix/idalloc/idalloc.go."""
    number = set_number('threat == "feed"')
    (lacks,) = said(lab("bpf-ipsets", rf"(IP set {number}\n)   198\.51\.100\.0/24\n", r"\1"))
    assert (lacks.subject, lacks.severity) == ({"node": "node-1", "map": "IP sets"}, "critical")
    assert "lacks 198.51.100.0/24" in lacks.cause
    (extra,) = said(lab("bpf-ipsets", rf"(IP set {number}\n)", r"\1   192.0.2.9/32\n"))
    assert "still holds 192.0.2.9" in extra.cause


def test_a_map_near_its_size() -> None:
    (found,) = said(lab("bpf-conntrack-stats", r"^Total entries: \d+", "Total entries: 470000"))
    assert (found.id, found.severity) == ("bpf-map-full", "warning")
    assert found.subject == {"node": "node-1", "map": "connections"}
    assert "470000 of at most 512000" in found.cause
    assert said(lab("bpf-conntrack-stats", r"^Total entries: \d+", "Total entries: 450000")) == []


def test_a_size_that_several_maps_of_a_name_have_is_the_configured_one() -> None:
    """After an upgrade, or where nodes share a kernel, bpftool shows maps that are not this node's."""

    def smaller(text: str) -> str:
        return re.sub(r"(name cali_v4_routes.*\n.*max_entries) 262144", r"\1 21", text, count=1)

    edited = Edited(VXLAN).edit("bpftool-map", "node-1", smaller)
    assert said(edited) == []

    def configured(item: dict[str, Any]) -> None:
        item["spec"]["bpfMapSizeRoute"] = 21

    (found,) = said(edited.objects("felixconfigurations", configured), "bpf-map-full")
    assert found.subject == {"node": "node-1", "map": "routes"}
    assert "21 of at most 21" in found.cause


def test_felix_says_that_an_entry_did_not_fit() -> None:
    line = (
        "2026-11-30 04:15:00.000 [ERROR][4090] felix/ipsets.go 357: Failed to add IP set entry "
        'error=no space left on device setID="s:x"\n'
    )
    (found,) = said(Edited(VXLAN).edit("felix-log", "node-2", lambda text: text + line), "bpf-map-full")
    assert found.subject == {"node": "node-2", "map": "IP sets"}
    assert "no space left on device" in found.cause


# ---- programs of the node's own interfaces


@pytest.mark.parametrize("interface", ["eth0", "lo", "bpfout.cali", "vxlan.calico"])
def test_a_node_interface_that_lost_a_program(interface: str) -> None:
    gone = lab("bpftool-net", rf"^{re.escape(interface)}\(\d+\) clsact/egress .*\n", "")
    (found,) = said(gone, "bpf-program-missing")
    assert found.subject == {"node": "node-1", "interface": interface}
    assert f"the node's {interface} has no program of Calico at egress" in found.cause


def test_an_interface_that_felix_does_not_look_after_needs_none() -> None:
    """The map of interfaces calls it unready, or not managed; its programs are nobody's business."""
    gone = lab("bpftool-net", r"^eth0\(\d+\) clsact/egress .*\n", "")
    assert (
        said(gone.edit("bpf-ifstate", "node-1", lambda t: t.replace("v4Ready,host", "host")), "bpf-program-missing")
        == []
    )


def test_programs_of_others_are_shown_as_such() -> None:
    other = lab(
        "bpftool-net",
        r"^(eth0\(\d+\) clsact/egress) cali_tc_preambl\S* id (\d+)$",
        r"\1 cil_to_netdev:[7] id 7\n\1 cali_tc_preambl:[\2] id \2",
    )
    attached = other.cluster().dataplane.attached()
    foreign = attached[attached["owner"] == "other"]
    assert foreign[["node", "interface", "program"]].to_numpy().tolist() == [["node-1", "eth0", "cil_to_netdev"]]


# ---- what Felix counts


def test_endpoints_that_stay_dirty_are_a_failing_dataplane() -> None:
    def dirty(text: str) -> str:
        return re.sub(r"^(felix_bpf_dirty_dataplane_endpoints) \S+", r"\1 2", text, flags=re.MULTILINE)

    assert said(Edited(VXLAN).edit("felix-metrics", "node-1", dirty), "dataplane-program-failing") == []  # one look
    stays = Edited(VXLAN).sampled("felix-metrics", "node-1", dirty, dirty).edit("felix-metrics", "node-1", dirty)
    (found,) = said(stays, "dataplane-program-failing")
    assert found.subject == {"node": "node-1"}
    assert "could not program 2 of" in found.cause
    passes = Edited(VXLAN).sampled("felix-metrics", "node-1", dirty, lambda t: t)
    assert said(passes, "dataplane-program-failing") == []


def test_a_set_without_members_that_a_program_asks_for() -> None:
    """Such a set is not in the map, and the program's dump has its number where members would stand."""
    number = set_number('threat == "feed"')
    gone = lab("bpf-ipsets", rf"^IP set {number}\n(?: .*\n)*\n?", "")
    assert said(gone, "bpf-map-stale") == []  # whether a program of the node asks for it, nothing says yet
    members = "{198.51.100.0/24,203.0.113.7/32}"
    gone.edit("bpf-policy", "node-1", lambda text: text.replace(members, f"{{{number}}}"))
    (found,) = said(gone, "bpf-map-stale")
    assert found.subject == {"node": "node-1", "map": "IP sets"}
    assert "lacks 198.51.100.0/24 and 203.0.113.7" in found.cause

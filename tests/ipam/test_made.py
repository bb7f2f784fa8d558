"""What no recording shows, on objects made from the API's types: IPv6, overlaps, strict affinity, limits, selection,
annotations, reservations, cooldown, Windows, load balancers, virtual machines, stale affinities, series."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.model import Want
from calicokit.ipam import plan, usage
from tests.fakes import (
    affinity,
    api_list,
    block,
    cluster_of,
    config,
    handle,
    handles,
    ids,
    namespace,
    node,
    pod,
    pool,
    sandbox_event,
    source_of,
    tunnel,
    waiting_pod,
    who,
)
from tests.only import only

N1, N2 = node("n1", "192.168.0.1"), node("n2", "192.168.0.2")
YOUNG = "2026-03-01 11:59:40.1 +0000 UTC"
FULL = "Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: [10.0.0.0/30]"


def small(*pods: dict[str, Any], blocks: list[dict[str, Any]], pools: list[dict[str, Any]], **more: Any) -> Cluster:
    """A cluster whose affinities and handles agree with its blocks."""
    affinities = [affinity(b["spec"]["affinity"][5:], b["spec"]["cidr"]) for b in blocks if b["spec"].get("affinity")]
    lists: dict[str, Any] = {
        "nodes": [N1, N2],
        "pods": list(pods),
        "ippools": pools,
        "ipamblocks": blocks,
        "blockaffinities": affinities,
        "ipamhandles": handles(*blocks),
    }
    return cluster_of(**{**lists, **more})


def the(cluster: Cluster, id_: str) -> Any:
    (found,) = only(cluster, id_)
    return found


# ---- IPv6


def dual_stack() -> Cluster:
    six = [pool("v6", "fd00:10::/64", natOutgoing=False)]
    blocks = [
        block("10.0.0.0/26", "n1", {0: who("a/x", "n1"), 1: who("a/y", "n1")}),
        block("fd00:10::40/122", "n1", {0: who("a/x", "n1"), 5: who("a/gone", "n1")}),
    ]
    pods = [pod("a/x", "n1", "10.0.0.0", "fd00:10::40"), pod("a/y", "n1", "10.0.0.1")]
    return small(*pods, blocks=blocks, pools=[pool("v4", "10.0.0.0/16"), *six])


def test_ipv6_capacity_is_beyond_64_bits_and_free_is_exact_to_a_float() -> None:
    use = dual_stack().ipam.utilisation().set_index("pool").loc["v6"]
    assert use["capacity"] == 2.0**64
    assert (use["allocated"], use["blocks"], use["free"]) == (2, 1, 2.0**64 - 2)
    assert use["blocks_unclaimed"] == 2.0**58 - 1


def test_ipv6_addresses_are_canonical_and_owned() -> None:
    rows = dual_stack().ipam.allocations().set_index("address")["state"]
    assert rows.to_dict() == {
        "10.0.0.0": "in-use",
        "10.0.0.1": "in-use",
        "fd00:10::40": "in-use",
        "fd00:10::45": "leaked",
    }


def test_ipv6_text_forms_are_one_address() -> None:
    blocks = [block("fd00:10::40/122", "n1", {0: who("a/x", "n1")})]
    cluster = small(pod("a/x", "n1", "FD00:10:0:0::40"), blocks=blocks, pools=[pool("v6", "FD00:10:0::/64")])
    assert cluster.ipam.allocations()["state"].tolist() == ["in-use"]
    assert cluster.ipam.unallocated().empty


def test_dual_stack_findings() -> None:
    leak = the(dual_stack(), "ipam-leak")
    assert leak.subject == {"pool": "v6", "addresses": ["fd00:10::45"]}
    assert ids(dual_stack(), "warning") == ["ipam-leak"]


# ---- capacity, reservations, cooldown


def test_reservations_count_once_and_never_twice() -> None:
    reserved = [
        {
            "metadata": {"name": "r"},
            "spec": {"reservedCIDRs": ["10.0.0.0/28", "10.0.0.8/29", "10.0.0.64/26", "172.16.0.0/12"]},
        }
    ]
    blocks = [block("10.0.0.0/26", "n1", {3: who("a/x", "n1"), 40: who("a/y", "n1")})]
    pods = [pod("a/x", "n1", "10.0.0.3"), pod("a/y", "n1", "10.0.0.40")]
    cluster = small(*pods, blocks=blocks, pools=[pool("p", "10.0.0.0/24")], ipreservations=reserved)
    use = cluster.ipam.utilisation().iloc[0]
    assert use["reserved"] == 16 + 64
    assert cluster.ipam.blocks().iloc[0][["reserved", "free"]].tolist() == [16, 64 - 16 - 1]
    assert use["free"] == 47 + 128
    assert use["blocks_unclaimed"] == 2
    states = cluster.ipam.block_map()["state"].value_counts().to_dict()
    assert states == {"free": 47, "reserved": 15, "in-use": 2}


def test_a_cooling_address_is_neither_in_use_nor_leaked() -> None:
    blocks = [block("10.0.0.0/30", "n1", {0: who("a/x", "n1"), 1: {"releasedAt": "2026-03-01T11:00:00Z"}})]
    cluster = small(pod("a/x", "n1", "10.0.0.0"), blocks=blocks, pools=[pool("p", "10.0.0.0/30", blockSize=30)])
    assert cluster.ipam.allocations()["state"].tolist() == ["in-use", "cooling"]
    use = cluster.ipam.utilisation().iloc[0]
    assert (use["allocated"], use["cooling"], use["free"]) == (2, 1, 2)
    assert ids(cluster) == []
    report = cluster.ipam.check_report().set_index("figure")["value"]
    assert (report["allocations"], report["allocated_not_in_use"]) == (2, 0)


def test_cooling_addresses_count_as_room_only_without_a_cooldown() -> None:
    cooling = {o: {"releasedAt": "2026-03-01T11:59:59Z"} for o in range(4)}
    lists = {
        "blocks": [block("10.0.0.0/30", "n1", cooling)],
        "pools": [pool("p", "10.0.0.0/30", blockSize=30)],
        "events": [sandbox_event("a/w", FULL)],
    }
    assert the(small(waiting_pod("a/w", "n1"), ipamconfigs=[config(ipCooldownSeconds=600)], **lists), "ipam-exhausted")
    assert "ipam-exhausted" not in ids(small(waiting_pod("a/w", "n1"), ipamconfigs=[config()], **lists))


def test_windows_keeps_its_addresses_and_nobody_complains() -> None:
    kept = {
        o: {"handle_id": "windows-reserved-ipam-handle", "secondary": {"note": "windows host rsvd"}}
        for o in (0, 1, 2, 63)
    }
    blocks = [block("10.0.0.0/26", "n1", kept)]
    cluster = small(blocks=blocks, pools=[pool("p", "10.0.0.0/24")], ipamhandles=[])  # Calico makes no handle of it
    assert set(cluster.ipam.allocations()["state"]) == {"reserved"}
    assert ids(cluster) == []


# ---- owners


@pytest.mark.parametrize(
    ("pods", "state", "why"),
    [
        ([pod("a/x", "n1", "10.0.0.0")], "in-use", "uses it"),
        ([pod("a/x", "n1")], "in-use", "not reported"),
        ([], "leaked", "does not exist"),
        ([pod("a/x", "n1", "10.0.0.9")], "leaked", "another address"),
        ([pod("a/x", "n1", "10.0.0.0", phase="Succeeded")], "unknown", "completed"),
        ([pod("a/x", "n1", "10.0.0.0", hostNetwork=True)], "leaked", "host-networked"),
        ([pod("a/other", "n2", "10.0.0.0")], "in-use", "used by another"),
        ([pod("a/x", "n1", "10.0.0.0", metadata={"deletionTimestamp": "2026-03-01T11:59:59Z"})], "in-use", "uses it"),
    ],
)
def test_whether_a_pod_still_uses_its_address(pods: list[dict[str, Any]], state: str, why: str) -> None:
    cluster = small(*pods, blocks=[block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})], pools=[pool("p", "10.0.0.0/24")])
    row = cluster.ipam.allocations().iloc[0]
    assert row["state"] == state
    assert why in row["why"]


def test_an_address_in_the_annotation_only_is_used() -> None:
    noted = {"annotations": {"cni.projectcalico.org/podIPs": "10.0.0.0/32,fd00::1/128"}}
    pods = [pod("a/x", "n1", "10.0.0.0", metadata=noted)]
    blocks = [block("fd00::/122", "n1", {1: who("a/x", "n1")})]
    cluster = small(*pods, blocks=blocks, pools=[pool("p", "fd00::/64")])
    assert cluster.ipam.allocations()["state"].tolist() == ["in-use"]


def test_a_young_leak_is_info() -> None:
    cluster = small(blocks=[block("10.0.0.0/26", "n1", {0: who("a/x", "n1", YOUNG)})], pools=[pool("p", "10.0.0.0/24")])
    assert the(cluster, "ipam-leak").severity == "info"


def test_without_pods_nothing_is_called_leaked() -> None:
    blocks = [block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})]
    cluster = small(blocks=blocks, pools=[pool("p", "10.0.0.0/24")], pods=None)
    assert cluster.ipam.allocations()["state"].tolist() == ["unknown"]
    findings = cluster.check()
    assert findings == []
    assert findings.status == 3
    assert "ipam-exhausted" in findings.blocked


def test_tunnel_addresses() -> None:
    nodes = [node("n1", "192.168.0.1", IPv4VXLANTunnelAddr="10.0.0.0"), N2]
    given = {0: tunnel("n1"), 1: tunnel("n2"), 2: tunnel("gone")}
    cluster = small(blocks=[block("10.0.0.0/26", "n1", given)], pools=[pool("p", "10.0.0.0/24")], nodes=nodes)
    assert cluster.ipam.allocations()["state"].tolist() == ["in-use", "unknown", "leaked"]
    assert "ipam-leak" not in ids(cluster)  # the id is about pods


def test_load_balancer_addresses() -> None:
    def service(name: str, ip: str) -> dict[str, Any]:
        status = {"loadBalancer": {"ingress": [{"ip": ip}]}}
        return {"metadata": {"namespace": "a", "name": name}, "spec": {"type": "LoadBalancer"}, "status": status}

    def given(name: str) -> dict[str, Any]:
        return {"handle_id": f"lb-{name}", "secondary": {"namespace": "a", "service": name, "type": "LoadBalancer"}}

    mode = {"metadata": {"name": "default"}, "spec": {"controllers": {"loadBalancer": {"assignIPs": "AllServices"}}}}
    blocks = [block("10.9.0.0/26", None, {0: given("web"), 1: given("gone")}, affinity="virtual:load-balancer")]
    cluster = small(
        blocks=blocks,
        pools=[pool("lb", "10.9.0.0/24", allowedUses=["LoadBalancer"])],
        services=[service("web", "10.9.0.0")],
        kubecontrollersconfigurations=[mode],
        blockaffinities=[affinity("load-balancer", "10.9.0.0/26", type="virtual")],
    )
    assert cluster.ipam.allocations()["state"].tolist() == ["in-use", "leaked"]
    assert cluster.ipam.borrowed().empty
    assert cluster.ipam.check_report().set_index("figure").loc["load_balancers", "value"] == 1
    assert ids(cluster) == []


def test_a_virtual_machine_keeps_its_address_when_it_is_off() -> None:
    given = {
        "handle_id": "vm",
        "secondary": {"namespace": "a", "vmi-name": "vm", "pod": "virt-launcher-1", "node": "n1"},
    }
    cluster = small(blocks=[block("10.0.0.0/26", "n1", {0: given})], pools=[pool("p", "10.0.0.0/24")])
    assert cluster.ipam.allocations().iloc[0][["type", "state"]].tolist() == ["vmi", "unknown"]
    assert ids(cluster) == []


# ---- duplicates and unallocated


def test_two_pods_with_one_address() -> None:
    pods = [pod("a/x", "n1", "10.0.0.0"), pod("b/y", "n2", "10.0.0.0")]
    cluster = small(*pods, blocks=[block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})], pools=[pool("p", "10.0.0.0/24")])
    assert the(cluster, "ipam-duplicate").subject == {"address": "10.0.0.0", "owners": ["a/x", "b/y"]}


def test_a_pod_with_a_tunnel_or_node_address() -> None:
    nodes = [node("n1", "192.168.0.1", IPv4VXLANTunnelAddr="10.0.0.7"), node("n2", "10.0.0.8")]
    pods = [pod("a/x", "n1", "10.0.0.7"), pod("a/y", "n1", "10.0.0.8")]
    cluster = small(*pods, blocks=[], pools=[pool("p", "10.1.0.0/24")], nodes=nodes)
    owners = [d.subject["owners"] for d in cluster.check() if d.id == "ipam-duplicate"]
    assert owners == [["a/x", "n1"], ["a/y", "node n2"]]


@pytest.mark.parametrize(
    "change", [{"phase": "Failed"}, {"hostNetwork": True}, {"metadata": {"deletionTimestamp": "2026-03-01T11:59:59Z"}}]
)
def test_a_pod_that_ended_leaves_or_uses_the_host_is_no_duplicate(change: dict[str, Any]) -> None:
    pods = [pod("a/x", "n1", "10.0.0.0"), pod("b/y", "n2", "10.0.0.0", **change)]
    cluster = small(*pods, blocks=[block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})], pools=[pool("p", "10.0.0.0/24")])
    assert ids(cluster) == []


def test_overlapping_blocks_give_an_address_twice() -> None:
    blocks = [
        block("10.0.0.0/26", "n1", {20: who("a/x", "n1")}),
        block("10.0.0.16/28", "n2", {4: who("b/y", "n2")}),
    ]
    pods = [pod("a/x", "n1", "10.0.0.20"), pod("b/y", "n2", "10.0.0.20")]
    cluster = small(*pods, blocks=blocks, pools=[pool("p", "10.0.0.0/24")])
    found = ids(cluster, "warning")
    assert found[0] == "ipam-block-overlap"
    assert {f.id: f.explained_by for f in cluster.check()} == {
        "ipam-block-overlap": "",
        "ipam-duplicate": "ipam-block-overlap",
        "ipam-invalid-block": "ipam-block-overlap",
    }
    assert the(cluster, "ipam-block-overlap").subject == {"block": "10.0.0.16/28", "with": "10.0.0.0/26"}
    assert "ipam-invalid-block" in found  # the /28 is of another size than its pool's
    assert cluster.ipam.duplicates().iloc[0]["blocks"] == ["10.0.0.0/26", "10.0.0.16/28"]


def test_in_use_but_allocated_by_no_block() -> None:
    blocks = [block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})]
    pods = [pod("a/x", "n1", "10.0.0.0"), pod("a/y", "n1", "10.0.0.5"), pod("a/z", "n2", "10.0.0.200")]
    cluster = small(*pods, blocks=blocks, pools=[pool("p", "10.0.0.0/24", disabled=True)])
    rows = cluster.ipam.unallocated()
    assert rows["address"].tolist() == ["10.0.0.5", "10.0.0.200"]
    assert rows["block"].fillna("none").tolist() == ["10.0.0.0/26", "none"]
    assert rows["certain"].all()
    assert [f.severity for f in cluster.check() if f.id == "ipam-unallocated-in-use"] == ["critical", "critical"]


def test_an_address_that_may_have_moved_while_lists_were_taken_is_info() -> None:
    moved = block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})
    moved["metadata"]["resourceVersion"] = "2000"  # later than the list of pods
    pods = [pod("a/x", "n1", "10.0.0.0"), pod("a/y", "n1", "10.0.0.5")]
    cluster = small(*pods, blocks=[moved], pools=[pool("p", "10.0.0.0/24")])
    assert [(f.id, f.severity) for f in cluster.check()] == [("ipam-unallocated-in-use", "info")]


def test_an_address_asked_for_outside_ipam_is_meant() -> None:
    noted = {"annotations": {"cni.projectcalico.org/ipAddrsNoIpam": '["10.0.0.5"]'}}
    blocks = [block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})]
    pods = [pod("a/x", "n1", "10.0.0.0"), pod("a/y", "n1", "10.0.0.5", metadata=noted)]
    assert ids(small(*pods, blocks=blocks, pools=[pool("p", "10.0.0.0/24")])) == []


def test_another_ipam_without_any_block_is_no_fault() -> None:
    assert ids(small(pod("a/x", "n1", "10.0.0.5"), blocks=[], pools=[pool("p", "10.0.0.0/24")])) == []


# ---- handles, blocks, affinities


def test_orphan_and_missing_handles() -> None:
    blocks = [block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})]
    cluster = small(
        pod("a/x", "n1", "10.0.0.0"),
        blocks=blocks,
        pools=[pool("p", "10.0.0.0/24")],
        ipamhandles=[handle("k8s-pod-network.old")],
    )
    assert ids(cluster) == ["ipam-missing-handle", "ipam-orphan-handle"]
    assert the(cluster, "ipam-missing-handle").subject["addresses"] == ["10.0.0.0"]
    assert the(cluster, "ipam-orphan-handle").severity == "info"


def test_handle_ids_differ_in_case_only() -> None:
    given = {**who("a/x", "n1"), "handle_id": "k8s-pod-network.ABC"}
    cluster = small(
        pod("a/x", "n1", "10.0.0.0"),
        blocks=[block("10.0.0.0/26", "n1", {0: given})],
        pools=[pool("p", "10.0.0.0/24")],
        ipamhandles=[handle("k8s-pod-network.abc")],
    )
    assert ids(cluster) == []


@pytest.mark.slow
def test_thousands_of_orphan_handles_are_one_warning() -> None:
    blocks = [block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})]
    many = [*handles(*blocks), *(handle(f"k8s-pod-network.{i}") for i in range(1500))]
    cluster = small(pod("a/x", "n1", "10.0.0.0"), blocks=blocks, pools=[pool("p", "10.0.0.0/24")], ipamhandles=many)
    found = the(cluster, "ipam-orphan-handle")
    assert found.severity == "warning"
    assert "1500 handles" in found.cause
    assert len(found.as_dict()["evidence"][0]["rows"]) == 50
    assert found.as_dict()["evidence"][0]["count"] == 1500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"allocations": [7, *[None] * 63], "unallocated": list(range(1, 64))}, "nonexistent attribute 7"),
        ({"attributes": [who("a/x", "n1"), who("a/y", "n1")]}, "attribute index 1 exists but"),
        ({"unallocated": list(range(64))}, "ordinal 0 is allocated but"),
        ({"unallocated": [1, 1, *range(3, 64)]}, "ordinal 1 appears more than once"),
        ({"unallocated": [*range(1, 63), 64]}, "ordinal 64 appears in the Unallocated array but is out"),
        ({"unallocated": list(range(1, 60))}, "59 unallocated and 1 allocated"),
    ],
)
def test_a_block_inconsistent_in_itself(change: dict[str, Any], words: str) -> None:
    blocks = [block("10.0.0.0/26", "n1", {0: who("a/x", "n1")}, **change)]
    found = the(
        small(pod("a/x", "n1", "10.0.0.0"), blocks=blocks, pools=[pool("p", "10.0.0.0/24")]), "ipam-invalid-block"
    )
    assert words in found.cause


def test_blocks_without_pool_or_of_another_size_or_owner() -> None:
    blocks = [
        block("10.0.0.0/26", "n1", {}),
        block("10.0.0.64/27", "n1", {}),
        block("10.9.0.0/26", "n1", {}),
        block("10.0.0.128/26", "n1", {}),
        block("10.0.0.192/26", None, {0: who("a/x", "n1")}),
    ]
    claims = [
        affinity("n1", "10.0.0.0/26"),
        affinity("n1", "10.0.0.64/27"),
        affinity("n1", "10.9.0.0/26"),
        affinity("n2", "10.0.0.128/26"),
    ]
    cluster = small(
        pod("a/x", "n1", "10.0.0.192"), blocks=blocks, pools=[pool("p", "10.0.0.0/16")], blockaffinities=claims
    )
    found = {f.subject["block"]: f.cause for f in cluster.check() if f.id == "ipam-invalid-block"}
    assert set(found) == {"10.0.0.64/27", "10.9.0.0/26", "10.0.0.128/26"}
    assert "in no IP pool" in found["10.9.0.0/26"]
    assert "affinities to it have n2" in found["10.0.0.128/26"]


def test_a_disabled_pool_counts_as_a_pool() -> None:
    assert ids(small(blocks=[block("10.0.0.0/26", "n1", {})], pools=[pool("p", "10.0.0.0/16", disabled=True)])) == []


def test_deleted_objects_are_absent() -> None:
    gone = block("10.0.0.0/26", "n1", {0: who("a/x", "n1")}, deleted=True)
    cluster = small(
        blocks=[gone],
        pools=[pool("p", "10.0.0.0/16")],
        blockaffinities=[affinity("gone", "10.0.0.0/26", deleted="true")],
        ipamhandles=[handle("h", deleted=True)],
    )
    assert cluster.ipam.blocks().empty
    assert cluster.ipam.addresses().empty
    assert ids(cluster) == []


def test_affinities_of_nodes_that_are_gone_and_of_claims_that_never_ended() -> None:
    blocks = [block("10.0.0.0/26", "gone", {0: tunnel("gone")}), block("10.0.0.64/26", "n1", {})]
    claims = [
        affinity("gone", "10.0.0.0/26"),
        affinity("n1", "10.0.0.64/26"),
        affinity("n2", "10.0.0.128/26", state="pending"),
        affinity("n2", "10.0.0.192/26", state=""),
    ]
    cluster = small(blocks=blocks, pools=[pool("p", "10.0.0.0/16")], blockaffinities=claims)
    found = [f for f in cluster.check() if f.id == "ipam-affinity-stale"]
    assert [dict(f.subject) for f in found] == [
        {"node": "gone", "blocks": ["10.0.0.0/26"]},
        {"node": "n2", "blocks": ["10.0.0.128/26"]},
    ]
    assert "does not exist; 1 addresses" in found[0].cause
    assert "stuck in pending" in found[1].cause


# ---- pods that wait


def waits(error: str | None, pools: list[dict[str, Any]], blocks: list[dict[str, Any]], **more: Any) -> Cluster:
    events = [sandbox_event("a/w", error)] if error else []
    pods = [waiting_pod("a/w", "n1"), *more.pop("others", [])]
    return small(*pods, blocks=blocks, pools=pools, events=events, **more)


def full_block(
    cidr: str = "10.0.0.0/30", owner: str = "n1", user: str = "n1"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    base, size = cidr.split("/")
    start, names = int(base.rsplit(".", 1)[1]), range(2 ** (32 - int(size)))
    given = {o: who(f"a/{owner}-{start}-{o}", user) for o in names}
    pods = [pod(f"a/{owner}-{start}-{o}", user, f"{base.rsplit('.', 1)[0]}.{start + o}") for o in names]
    return block(cidr, owner, given), pods


def test_exhausted_without_any_word_of_the_plugin() -> None:
    full, others = full_block()
    cluster = waits(None, [pool("p", "10.0.0.0/30", blockSize=30)], [full], others=others)
    assert the(cluster, "ipam-exhausted").subject == {"pool": "p"}


def test_a_full_pool_that_nobody_waits_for_is_nearly_exhausted() -> None:
    full, others = full_block()
    cluster = small(*others, blocks=[full], pools=[pool("p", "10.0.0.0/30", blockSize=30)])
    assert [(f.id, f.severity) for f in cluster.check()] == [("ipam-nearly-exhausted", "warning")]


def test_a_disabled_full_pool_is_nothing() -> None:
    full, others = full_block()
    cluster = small(*others, blocks=[full], pools=[pool("p", "10.0.0.0/30", blockSize=30, disabled=True)])
    assert ids(cluster) == []


def test_strict_affinity_keeps_a_node_from_what_is_left() -> None:
    mine, others = full_block()
    free = block("10.0.0.4/30", "n2", {0: who("a/o", "n2")})
    error = "Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled"
    for words in (error, None):
        cluster = waits(
            words,
            [pool("p", "10.0.0.0/29", blockSize=30)],
            [mine, free],
            others=[*others, pod("a/o", "n2", "10.0.0.4")],
            ipamconfigs=[config(strictAffinity=True)],
        )
        found = the(cluster, "ipam-strict-affinity-full")
        assert found.subject == {"node": "n1"}
        assert "3 free addresses" in found.cause
        assert "ipam-exhausted" not in ids(cluster)


def test_a_node_at_its_limit_of_blocks() -> None:
    mine, others = full_block()
    error = (
        "Assigned 0 out of 1 requested IPv4 addresses; Need to allocate an IPAM block but could not - "
        "limit of 1 blocks reached for this node"
    )
    for words in (error, None):
        cluster = waits(
            words,
            [pool("p", "10.0.0.0/24", blockSize=30)],
            [mine],
            others=others,
            ipamconfigs=[config(strictAffinity=True, maxBlocksPerHost=1)],
        )
        assert "owns 1 of at most 1 blocks" in the(cluster, "ipam-strict-affinity-full").cause


def test_without_strict_affinity_a_node_borrows_and_nothing_is_said() -> None:
    mine, others = full_block(user="n1")
    lent = block("10.0.0.4/30", "n2", {0: who("a/b", "n1")})
    cluster = small(
        *others, pod("a/b", "n1", "10.0.0.4"), blocks=[mine, lent], pools=[pool("p", "10.0.0.0/24", blockSize=30)]
    )
    assert [(f.id, f.severity, dict(f.subject)) for f in cluster.check()] == [
        ("ipam-borrowed", "info", {"node": "n1", "block": "10.0.0.4/30"})
    ]


def test_under_strict_affinity_no_block_left_is_a_warning() -> None:
    cluster = small(
        blocks=[block("10.0.0.0/30", "n1", {0: who("a/x", "n1")}), block("10.0.0.4/30", "n2", {0: who("a/y", "n2")})],
        pools=[pool("p", "10.0.0.0/29", blockSize=30)],
        ipamconfigs=[config(strictAffinity=True)],
        pods=[pod("a/x", "n1", "10.0.0.0"), pod("a/y", "n2", "10.0.0.4")],
    )
    assert ids(cluster) == ["ipam-nearly-exhausted"]
    assert "no whole block" in the(cluster, "ipam-nearly-exhausted").cause


def test_a_disabled_pool_that_pods_need() -> None:
    cluster = waits("cannot find a qualified ippool", [pool("p", "10.0.0.0/24", disabled=True)], [])
    assert [(f.id, dict(f.subject)) for f in cluster.check()] == [("ippool-disabled", {"pool": "p"})]


def test_a_disabled_pool_asked_for_by_name() -> None:
    asked = waiting_pod("a/w", "n1")
    asked["metadata"]["annotations"] = {"cni.projectcalico.org/ipv4pools": '["special"]'}
    error = "the given pool (10.1.0.0/24) does not exist, or is not enabled"
    cluster = small(
        asked,
        blocks=[],
        pools=[pool("p", "10.0.0.0/24"), pool("special", "10.1.0.0/24", disabled=True)],
        events=[sandbox_event("a/w", error)],
    )
    assert [(f.id, dict(f.subject)) for f in cluster.check()] == [("ippool-disabled", {"pool": "special"})]
    assert "by name" in cluster.check()[0].cause


def test_a_disabled_pool_that_nothing_needs_is_nothing() -> None:
    assert ids(small(blocks=[], pools=[pool("p", "10.0.0.0/24"), pool("old", "10.1.0.0/24", disabled=True)])) == []


def test_node_selectors_leave_out_a_node_that_must_run_pods() -> None:
    pools = [
        pool("east", "10.0.0.0/24", nodeSelector="zone == 'east'"),
        pool("lb", "10.1.0.0/24", allowedUses=["LoadBalancer"]),
    ]
    nodes = [node("n1", labels={"zone": "west"}), node("n2", labels={"zone": "east"})]
    cluster = waits("failed to request IPv4 addresses: no configured Calico pools for node n1", pools, [], nodes=nodes)
    found = cluster.check()
    assert [(f.id, dict(f.subject)) for f in found] == [("ippool-nodeselector", {"pool": "east", "nodes": ["n1"]})]
    assert "zone == 'east'" in found[0].cause


def test_a_node_that_no_pool_selects_and_no_pod_needs_is_nothing() -> None:
    pools = [pool("east", "10.0.0.0/24", nodeSelector="zone == 'east'")]
    nodes = [node("n1"), node("n2", labels={"zone": "east"})]
    assert ids(small(pod("kube-system/proxy", "n1", hostNetwork=True), blocks=[], pools=pools, nodes=nodes)) == []


def test_pool_selection_per_node_and_pod() -> None:
    pools = [
        pool("any", "10.0.0.0/24"),
        pool("east", "10.1.0.0/24", nodeSelector="zone == 'east'"),
        pool("team", "10.2.0.0/24", namespaceSelector="team == 'blue'"),
        pool("manual", "10.3.0.0/24", assignmentMode="Manual"),
        pool("tunnels", "10.4.0.0/24", allowedUses=["Tunnel"]),
        pool("off", "10.5.0.0/24", disabled=True),
        pool("broken", "10.6.0.0/24", nodeSelector="zone =="),
    ]
    by_name = pod("blue/named", "n1")
    by_name["metadata"]["annotations"] = {"cni.projectcalico.org/ipv4pools": '["manual", "10.5.0.0/24"]'}
    pods = [pod("a/plain", "n1"), pod("blue/team", "n2"), by_name, pod("green/ns", "n1")]
    cluster = small(
        *pods,
        blocks=[],
        pools=pools,
        nodes=[node("n1", labels={"zone": "west"}), node("n2", labels={"zone": "east"})],
        namespaces=[namespace("a"), namespace("blue", {"team": "blue"}), namespace("green", ipv4pools='["tunnels"]')],
    )
    choices = cluster.ipam.pod_pools()
    usable = choices[choices["usable"]].groupby("pod")["pool"].apply(sorted).to_dict()
    assert usable == {"plain": ["any"], "team": ["any", "east", "team"], "named": ["manual"], "ns": ["tunnels"]}
    whys = choices[choices["pod"] == "named"].set_index("pool")["why"]
    assert whys["off"] == "disabled"
    assert "pod's annotation requests other pools" in whys["any"]
    nodes = cluster.ipam.node_pools()
    assert nodes[nodes["usable"]].groupby("node")["pool"].apply(sorted).to_dict() == {
        "n1": ["any", "team"],
        "n2": ["any", "east", "team"],
    }
    reasons = nodes[nodes["node"] == "n1"].set_index("pool")["why"]
    assert "selector is invalid" in reasons["broken"]
    assert "Manual" in reasons["manual"]


def test_a_pod_that_just_starts_or_waits_for_a_volume_is_no_fault() -> None:
    starting = waiting_pod("a/w", "n1")
    starting["metadata"]["creationTimestamp"] = "2026-03-01T11:59:55Z"
    full, others = full_block()
    cluster = small(starting, *others, blocks=[full], pools=[pool("p", "10.0.0.0/30", blockSize=30)])
    assert "ipam-exhausted" not in ids(cluster)
    roomy = small(waiting_pod("a/w", "n1"), blocks=[], pools=[pool("p", "10.0.0.0/24")])
    assert ids(roomy) == []


# ---- pools as configured


@pytest.mark.parametrize(
    ("pools", "more", "expected"),
    [
        ([pool("a", "10.0.0.0/16"), pool("b", "10.0.128.0/17")], {}, {"pool": "a", "with": "b"}),
        ([pool("a", "fd00::/48"), pool("b", "fd00:0:0:1::/64")], {}, {"pool": "a", "with": "b"}),
        ([pool("a", "192.168.0.0/24")], {}, {"pool": "a", "with": "192.168.0.1, 192.168.0.2"}),
        (
            [pool("a", "10.96.0.0/12")],
            {"services": [{"metadata": {"namespace": "d", "name": "k"}, "spec": {"clusterIP": "10.96.0.1"}}]},
            {"pool": "a", "with": "service range"},
        ),
    ],
)
def test_overlaps(pools: list[dict[str, Any]], more: dict[str, Any], expected: dict[str, str]) -> None:
    cluster = small(blocks=[], pools=pools, **more)
    assert [(f.id, dict(f.subject)) for f in cluster.check()] == [("ippool-overlap", expected)]


def test_no_overlap_of_versions_or_with_a_disabled_unused_pool() -> None:
    pools = [pool("a", "10.0.0.0/16"), pool("b", "fd00::/48"), pool("old", "10.0.0.0/17", disabled=True)]
    assert ids(small(blocks=[], pools=pools)) == []


def test_nat_outgoing_off() -> None:
    blocks = [block("10.0.0.0/26", "n1", {0: who("a/x", "n1")})]
    lists: dict[str, Any] = {"blocks": blocks, "pools": [pool("p", "10.0.0.0/24", natOutgoing=False)]}
    peer = {"metadata": {"name": "tor"}, "spec": {"peerIP": "192.168.0.254:179", "asNumber": 65001}}
    inside = {"metadata": {"name": "rr"}, "spec": {"peerIP": "192.168.0.2"}}
    user = pod("a/x", "n1", "10.0.0.0")
    assert the(small(user, **lists, bgppeers=[peer]), "nat-outgoing-off").severity == "info"
    assert the(small(user, **lists, bgppeers=[inside]), "nat-outgoing-off").severity == "warning"
    assert the(small(user, **lists, bgppeers=None), "nat-outgoing-off").severity == "info"
    unused = {"blocks": [], "pools": lists["pools"]}
    assert ids(small(**unused)) == []


# ---- over time


def test_forecast_from_a_series() -> None:
    def at(count: int) -> bytes:
        return api_list([block("10.0.0.0/26", "n1", {o: who(f"a/p{o}", "n1") for o in range(count)})])

    source = source_of(
        ippools=[pool("p", "10.0.0.0/26")],
        ipamblocks=[block("10.0.0.0/26", "n1", {o: who(f"a/p{o}", "n1") for o in range(40)})],
    )

    class Sampled(type(source)):  # type: ignore[misc]
        def fetch(self, wants):  # type: ignore[no-untyped-def]
            for want, answer in super().fetch(wants):
                if not want.series:
                    yield want, answer
            for day, count in ((27, 10), (28, 20)):
                if any(w.series for w in wants):
                    want = Want("ipamblocks", series=True)
                    from calicokit.evidence.model import Evidence

                    yield want, Evidence(want, at(count), time=datetime(2026, 2, day, 12, tzinfo=UTC))

    source.__class__ = Sampled
    cluster = Cluster(source)
    assert cluster.ipam.history()["allocated"].tolist() == [10, 20, 40]
    row = cluster.ipam.forecast().iloc[0]
    assert row["per_day"] == 15.0  # the median of 10, 15 and 20 a day
    assert row["days_left"] == pytest.approx(24 / 15)
    assert row["full_at"] == pd.Timestamp("2026-03-01T12:00Z") + pd.Timedelta(days=24 / 15)


def test_forecast_from_two_recordings() -> None:
    def seen(day: int, count: int) -> Cluster:
        given = {o: who(f"a/p{o}", "n1") for o in range(count)}
        source = source_of(ippools=[pool("p", "10.0.0.0/26")], ipamblocks=[block("10.0.0.0/26", "n1", given)])
        source.time = datetime(2026, 3, day, tzinfo=UTC)
        return Cluster(source)

    row = usage.days_left([seen(1, 10).ipam.history(), seen(11, 30).ipam.history()]).iloc[0]
    assert (row["per_day"], row["days_left"]) == (2.0, 17.0)
    shrinking = usage.days_left([seen(1, 30).ipam.history(), seen(11, 10).ipam.history()]).iloc[0]
    assert pd.isna(shrinking["days_left"])
    assert shrinking["why"] == "usage does not grow"
    alone = seen(1, 10).ipam.forecast().iloc[0]
    assert "one sample gives no trend" in alone["why"]


# ---- the plan


def test_the_release_plan_is_printed_and_leaves_out_what_is_disputed() -> None:
    blocks = [
        block(
            "10.0.0.0/26",
            "n1",
            {0: who("a/gone", "n1"), 1: who("a/x", "n1"), 2: who("b/y", "n2"), 3: who("a/new", "n1", YOUNG)},
        )
    ]
    pods = [pod("a/x", "n1", "10.0.0.1"), pod("b/y", "n2", "10.0.0.1")]
    steps = small(*pods, blocks=blocks, pools=[pool("p", "10.0.0.0/24")]).ipam.release_plan()
    assert steps.iloc[0]["addresses"] == ["10.0.0.0"]
    assert "calicoctl ipam release --from-report=report.json" in steps["command"].tolist()
    assert not any("--ip" in str(c) for c in steps["command"])


def test_nothing_leaked_is_no_plan() -> None:
    assert small(blocks=[], pools=[]).ipam.release_plan().empty


def test_the_kit_has_no_way_to_run_a_plan() -> None:
    assert not [n for n in vars(plan) if "subprocess" in n or "exec" in n]


# ---- what explains what


def test_leaks_of_a_node_that_is_gone_hang_under_its_blocks() -> None:
    blocks = [block("10.0.0.0/26", "gone", {0: who("a/x", "gone")}), block("10.0.0.64/26", "n1", {0: who("a/y", "n1")})]
    found = small(blocks=blocks, pools=[pool("p", "10.0.0.0/16")]).check()
    assert [(f.id, f.explained_by) for f in found] == [
        ("ipam-leak", ""),
        ("ipam-affinity-stale", ""),
        ("ipam-leak", "ipam-affinity-stale"),
    ]
    assert found[2].subject["addresses"] == ["10.0.0.0"]


def test_strict_affinity_over_a_pool_without_any_address_is_exhaustion() -> None:
    mine, others = full_block()
    error = "Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled"
    pools = [pool("p", "10.0.0.0/30", blockSize=30)]
    cluster = waits(error, pools, [mine], others=others, ipamconfigs=[config(strictAffinity=True)])
    assert ids(cluster, "warning") == ["ipam-exhausted"]


def test_a_second_record_of_an_address_whose_owner_is_gone_is_no_duplicate() -> None:
    blocks = [block("10.0.0.0/26", "n1", {20: who("a/x", "n1")}), block("10.0.0.16/28", "n2", {4: who("b/gone", "n2")})]
    cluster = small(pod("a/x", "n1", "10.0.0.20"), blocks=blocks, pools=[pool("p", "10.0.0.0/24")])
    assert "ipam-duplicate" not in ids(cluster)

"""What the resources ask for: what confd wrote in every recording, and what its source says where they lack it."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from calicokit.bgp.expected import EXPECTED, expected
from calicokit.bgp.tables import NODES
from tests import clusters, recordings
from tests.bgp.made import Lab, bgp_peer
from tests.fakes import own, pod

PAIRS = {
    "peer_address": "neighbor_address",
    "peer_port": "neighbor_port",
    "peer_as": "neighbor_as",
    "local_as": "local_as",
    "source_address": "source_address",
    "passive": "passive",
    "rr_client": "rr_client",
    "cluster_id": "rr_cluster_id",
    "restart_time": "graceful_restart_time",
    "keepalive_time": "keepalive_time",
    "allow_local_as": "allow_local_as",
    "ttl": "multihop_ttl",
}
"""Column of bgp.expected → column of the parsed bird.cfg."""


def rows(frame: pd.DataFrame, names: list[str]) -> list[tuple[Any, ...]]:
    kept = frame[["node", "protocol", *names]].astype("object")
    return sorted(tuple(None if pd.isna(v) else v for v in row) for row in kept.itertuples(index=False))


def edited(name: str) -> set[str]:
    """Nodes whose file somebody has edited by hand."""
    cause = json.loads(recordings.read(name, "cause.json"))
    return {f["node"] for f in cause["faults"] if f["kind"] == "bgp-config-stale"}


@pytest.mark.parametrize("name", recordings.names())
def test_equals_what_confd_wrote(name: str) -> None:
    cluster = clusters.opened(name)
    mine = cluster.table("bgp.expected")
    theirs = cluster.table("output.bird_cfg")
    assert theirs.unknown == () or not len(mine)  # no confd: nothing is asked of BIRD
    if (mine["family"] == 6).any():
        theirs = pd.concat([theirs, cluster.table("output.bird6_cfg")], ignore_index=True)
    theirs = theirs[theirs["proto"] == "bgp"]
    by_hand = edited(name)
    mine, theirs = (f[~f["node"].isin(by_hand)] for f in (mine, theirs))
    assert rows(mine, list(PAIRS)) == rows(theirs, list(PAIRS.values()))
    assert rows(mine.assign(p=mine["password"].notna()), ["p"]) == rows(theirs, ["password_set"])
    keep = [
        ("Keep" if k else "Self" if s else None)
        for k, s in zip(theirs["next_hop_keep"], theirs["next_hop_self"], strict=True)
    ]
    assert rows(mine, ["next_hop"]) == rows(theirs.assign(h=keep), ["h"])


def test_the_edited_file_differs_in_the_line_that_was_edited() -> None:
    cluster = clusters.opened("bgp-config-edited")
    (row,) = cluster.table("bgp.config_differences").itertuples()
    text = recordings.read("bgp-config-edited", "nodes/node-4/bird.cfg").decode().splitlines()
    assert (row.node, row.field, row.expected, row.found) == ("node-4", "local_as", "64512", "64999")
    assert "template bgp" in text[row.line - 1]


def asked(lab: Lab, node: str) -> pd.DataFrame:
    table = lab.expected()
    return table[table["node"] == node].set_index("protocol").astype({"peer": "str", "why": "str"})


def test_in_the_mesh_the_smaller_text_waits() -> None:
    """confd compares the texts: 10.0.0.10 is smaller than 10.0.0.9."""
    table = Lab(size=10).expected()
    waits = {(r.node, r.peer) for r in table[table["passive"]].itertuples()}
    assert ("n10", "n9") in waits
    assert ("n9", "n10") not in waits
    assert len(waits) == 45


def test_a_node_without_an_address_is_peered_with_by_nobody() -> None:
    table = Lab(size=3, nodes={"n2": {"IPv4Address": ""}}).expected()
    assert {(r.node, r.peer) for r in table.itertuples()} == {("n1", "n3"), ("n3", "n1")}


def test_route_reflectors_are_left_out_of_the_mesh() -> None:
    table = Lab(size=3, nodes={"n2": {"RouteReflectorClusterID": "224.0.0.1"}}).expected()
    assert {(r.node, r.peer) for r in table.itertuples()} == {("n1", "n3"), ("n3", "n1")}


def test_own_as_in_the_mesh_by_version() -> None:
    """Since v3.32 a peer without an AS of its own is given ours, before it was given the cluster's."""
    lab = Lab(size=2, nodes={"n1": {"ASNumber": "65001"}})
    assert asked(lab, "n1")["peer_as"].tolist() == [65001]
    lab.lists["clusterinformations"] = [{"metadata": {"name": "default"}, "spec": {"calicoVersion": "v3.31.5"}}]
    lab.lists["pods"] = [pod("kube-system/calico-node-1", "n1", hostNetwork=True, metadata=own())]
    assert asked(lab, "n1")["peer_as"].tolist() == [64512]
    assert asked(lab, "n2")["peer_as"].tolist() == [65001]


def test_ports_stand_in_the_names_of_peerings_and_not_of_the_mesh() -> None:
    lab = Lab(size=2, config={"listenPort": 1790}, peers=[bgp_peer("p", node="n1", peerIP="10.0.0.2", asNumber=64512)])
    lab.lists["bgpconfigurations"] = [
        {"metadata": {"name": "default"}, "spec": {"listenPort": 1790}},
        {"metadata": {"name": "node.n2"}, "spec": {"listenPort": 1792}},
    ]
    mine = asked(lab, "n1")
    assert dict(mine["peer_port"]) == {"Mesh_10_0_0_2": 1792, "Node_10_0_0_2_port_1792": 1792}
    assert dict(asked(lab, "n2")["peer_port"]) == {"Mesh_10_0_0_1": 1790, "Node_10_0_0_1_port_1790": 1790}


def test_a_peering_by_address_with_a_node_makes_the_way_back() -> None:
    peers = [bgp_peer("p", node="n1", peerIP="10.0.0.2", asNumber=64512)]
    lab = Lab(size=3, config={"nodeToNodeMeshEnabled": False}, peers=peers)
    assert asked(lab, "n2")["peer"].to_dict() == {"Node_10_0_0_1": "n1"}
    peers[0]["spec"]["reversePeering"] = "Manual"
    assert len(asked(lab, "n2")) == 0
    peers[0]["spec"] |= {"reversePeering": "Auto", "asNumber": 65009}  # not that node's AS: no node is meant
    assert len(asked(lab, "n2")) == 0


def test_a_global_peering_drives_out_those_of_nodes() -> None:
    peers = [
        bgp_peer("a", peerIP="10.0.0.100", asNumber=65001, node="n1"),
        bgp_peer("b", peerIP="10.0.0.100", asNumber=65002),
    ]
    lab = Lab(size=2, config={"nodeToNodeMeshEnabled": False}, peers=peers)
    assert asked(lab, "n1")["peer_as"].to_dict() == {"Global_10_0_0_100": 65002}
    assert not lab.expected()["contested"].any()


def test_two_peerings_with_one_address_are_contested() -> None:
    peers = [bgp_peer(n, peerIP="10.0.0.100", asNumber=a) for n, a in (("a", 65001), ("b", 65002))]
    lab = Lab(size=2, config={"nodeToNodeMeshEnabled": False}, peers=peers)
    assert lab.expected()["contested"].tolist() == [True, True]


def test_every_field_of_a_peer_outside() -> None:
    spec = {
        "peerIP": "10.0.0.100:178",
        "asNumber": "1.10",
        "sourceAddress": "None",
        "password": {"secretKeyRef": {"name": "bgp", "key": "tor"}},
        "ttlSecurity": 2,
        "filters": ["f2", "f1"],
        "reachableBy": "10.0.0.254",
        "localASNumber": 65100,
        "nextHopMode": "Self",
        "maxRestartTime": "2m30s",
        "keepaliveTime": "20s",
        "numAllowedLocalASNumbers": 2,
        "nodeSelector": "rack == 'a'",
    }
    lab = Lab(
        size=2, config={"nodeToNodeMeshEnabled": False}, labels={"n2": {"rack": "a"}}, peers=[bgp_peer("tor", **spec)]
    )
    (row,) = lab.expected().itertuples()
    assert (row.node, row.protocol, row.peer, row.internal) == ("n2", "Node_10_0_0_100_port_178", "10.0.0.100", False)
    assert (row.peer_as, row.local_as, row.ttl, row.next_hop, row.filters) == (65546, 65100, 2, "Self", "f2, f1")
    assert (row.password, row.restart_time, row.keepalive_time, row.allow_local_as) == ("bgp/tor", 150, 20, 2)
    assert (row.reachable_by, row.why) == ("10.0.0.254", "BGPPeer tor")
    assert pd.isna(row.source_address)


def test_next_hop_is_kept_for_another_as_only() -> None:
    for number, kept in ((64512, None), (65001, "Keep")):
        peers = [bgp_peer("tor", peerIP="10.0.0.100", asNumber=number, keepOriginalNextHop=True)]
        row = next(Lab(size=1, peers=peers).expected().itertuples())
        assert (None if pd.isna(row.next_hop) else row.next_hop) == kept


def test_clients_are_those_of_another_cluster_id() -> None:
    lab = Lab(
        size=4,
        nodes={"n1": {"RouteReflectorClusterID": "1.1.1.1"}, "n2": {"RouteReflectorClusterID": "2.2.2.2"},
               "n3": {"RouteReflectorClusterID": "1.1.1.1"}},
        config={"nodeToNodeMeshEnabled": False},
        peers=[bgp_peer("all", nodeSelector="all()", peerSelector="all()")],
    )  # fmt: skip
    mine = asked(lab, "n1")
    assert mine["rr_client"].to_dict() == {"Node_10_0_0_2": True, "Node_10_0_0_3": False, "Node_10_0_0_4": True}
    assert set(mine["cluster_id"].dropna()) == {"1.1.1.1"}
    assert not asked(lab, "n4")["rr_client"].any()


def test_malformed_addresses_and_selectors_ask_for_nothing() -> None:
    peers = [bgp_peer("a", peerIP="10.0.0.300", asNumber=1), bgp_peer("b", nodeSelector="x ==", peerSelector="all()")]
    assert len(Lab(size=2, config={"nodeToNodeMeshEnabled": False}, peers=peers).expected()) == 0


def test_ipv6_sessions_stand_beside_those_of_ipv4() -> None:
    lab = Lab(size=2, nodes={n: {"IPv6Address": f"fd00:0:0::{n[1:]}/64"} for n in ("n1", "n2")})
    lab.peers = [bgp_peer("tor", peerIP="[fd00::64]:178", asNumber=65001)]
    six = lab.expected()[lambda t: (t["node"] == "n1") & (t["family"] == 6)]
    assert dict(zip(six["protocol"], six["peer_address"], strict=True)) == {
        "Mesh_fd00__2": "fd00::2",
        "Global_fd00__64_port_178": "fd00::64",
    }
    assert set(six["source_address"]) == {"fd00::1"}


def test_local_workloads_are_peered_with_where_they_run() -> None:
    lab = Lab(size=2, config={"nodeToNodeMeshEnabled": False, "localWorkloadPeeringIPV4": "169.254.1.1"})
    lab.peers = [bgp_peer("vm", localWorkloadSelector="vm == 'yes'", asNumber=65500)]
    lab.lists["pods"] = [
        pod("vms/a", "n2", "10.48.0.7", metadata={"labels": {"vm": "yes"}}),
        pod("vms/b", "n1", "10.48.0.8"),
    ]
    (row,) = lab.expected().itertuples()
    assert (row.node, row.protocol, row.peer) == ("n2", "Local_Workload_10_48_0_7", "vms/a")
    assert (row.passive, row.internal, row.peer_as) == (True, False, 65500)
    assert pd.isna(row.source_address)


def test_no_nodes_no_sessions() -> None:
    lab = Lab(size=1)
    cluster = lab.cluster()
    tables = [cluster.table(f"bgp.{n}") for n in ("configuration", "peers", "use")]
    assert len(EXPECTED.check(expected(NODES.frame(), *tables))) == 0

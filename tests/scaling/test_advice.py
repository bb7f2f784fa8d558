"""Advice on scaling: silent on every recording, and right on large clusters that are made of objects alone."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from calicokit.cluster import Cluster
from calicokit.scaling import figures, sentences
from tests import clusters, recordings
from tests.fakes import block, cluster_of, node, own, pool


@pytest.mark.parametrize("name", recordings.names())
def test_no_recording_asks_for_anything(name: str) -> None:
    cluster = clusters.opened(name)
    assert cluster.scaling.advice().empty
    size = cluster.scaling.size()
    assert not size["measure"].duplicated().any()
    assert (size["share"].dropna() <= 1).all()
    assert "No measured value requires a change" in sentences.advice(cluster.scaling.advice())


def felix(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "default"}, "spec": spec}


def typhas(replicas: int) -> dict[str, Any]:
    return {"metadata": {"name": "calico-typha", "namespace": "kube-system"}, "spec": {"replicas": replicas}}


def service(i: int) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": f"s{i}"},
        "spec": {"clusterIP": f"10.96.{i // 250}.{i % 250 + 1}"},
    }


def calico_node(on: str, namespace: str = "kube-system") -> dict[str, Any]:
    meta = {"namespace": namespace, "name": f"calico-node-{on}", **own()}
    container = {"name": "calico-node", "image": "calico/node:v3.30.2"}
    spec = {"nodeName": on, "hostNetwork": True, "containers": [container]}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running"}}


def large(nodes: int, **lists: Any) -> Cluster:
    names = [f"n{i}" for i in range(nodes)]
    given = {
        "nodes": [node(n) for n in names],
        "pods": [calico_node(n) for n in names[:2]],
        "felixconfigurations": [felix()],
        "ippools": [pool("p", "10.0.0.0/8", blockSize=26, vxlanMode="Always")],
        "globalnetworkpolicies": [],
        "networkpolicies": [],
    }
    return cluster_of(**{**given, **lists})


def advised(cluster: Cluster) -> dict[str, Any]:
    table = cluster.scaling.advice()
    assert not table.unknown
    return {row["advice"]: row for row in table.to_dict("records")}


def test_a_small_cluster_is_left_alone() -> None:
    assert advised(large(40)) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nodes", "replicas", "says"),
    [
        (51, None, "Deploy Typha with 1 replica"),
        (150, None, "Deploy Typha with 3 replicas"),
        (50, None, ""),
        (150, 2, "Run 3 replicas"),
        (150, 3, ""),
        (900, 3, "Run 5 replicas"),
        (300, 40, "Run 3 replicas"),
    ],
)
def test_how_many_typhas(nodes: int, replicas: int | None, says: str) -> None:
    found = advised(large(nodes, deployments=[] if replicas is None else [typhas(replicas)]))
    assert ("typha" in found) is bool(says)
    if says:
        assert found["typha"]["says"].startswith(says)
        assert found["typha"]["measured"] != found["typha"]["limit"]


def test_an_operator_scales_typha_by_itself() -> None:
    nodes = [f"n{i}" for i in range(150)]
    pods = [calico_node(n, "calico-system") for n in nodes[:3]]
    assert "The operator" in advised(large(150, pods=pods, deployments=[typhas(2)]))["typha"]["says"]


@pytest.mark.parametrize(("nodes", "bgp", "asked"), [(120, True, True), (100, True, False), (120, False, False)])
def test_route_reflectors_above_a_hundred_nodes_of_a_mesh(nodes: int, bgp: bool, asked: bool) -> None:
    pools = [pool("p", "10.0.0.0/8", blockSize=26, **({} if bgp else {"vxlanMode": "Always"}))]
    found = advised(large(nodes, ippools=pools, deployments=[typhas(3)]))
    assert ("route-reflectors" in found) is asked
    if asked:
        assert "7,140 sessions, 119 on each node" in found["route-reflectors"]["because"]
    off = {"metadata": {"name": "default"}, "spec": {"nodeToNodeMeshEnabled": False}}
    assert "route-reflectors" not in advised(large(nodes, ippools=pools, bgpconfigurations=[off]))


@pytest.mark.parametrize(
    ("services", "spec", "asked"),
    [
        (1200, {"nftablesMode": "Disabled"}, True),
        (900, {"nftablesMode": "Disabled"}, False),
        (1200, {"nftablesMode": "Enabled"}, False),
        (1200, {"nftablesMode": "Auto"}, False),
        (1200, {"nftablesMode": "Disabled", "bpfEnabled": True}, False),
    ],
)
def test_many_services_ask_for_maps_instead_of_lists(services: int, spec: dict[str, Any], asked: bool) -> None:
    found = advised(large(10, services=[service(i) for i in range(services)], felixconfigurations=[felix(**spec)]))
    assert ("dataplane" in found) is asked


def test_small_blocks_cost_routes() -> None:
    nodes = [f"n{i}" for i in range(150)]
    blocks = [block(f"10.{i // 16}.{(i % 16) * 16}.{16 * j}/28", n, {}) for i, n in enumerate(nodes) for j in range(8)]
    pools = [pool("p", "10.0.0.0/8", blockSize=28, vxlanMode="Always")]
    found = advised(large(150, ipamblocks=blocks, ippools=pools, deployments=[typhas(3)]))
    assert set(found) == {"block-size"}
    assert "/25" in found["block-size"]["says"]
    assert "1,200 of them" in found["block-size"]["because"]
    few = [b for b in blocks if b["spec"]["affinity"] in {f"host:n{i}" for i in range(20)}]
    assert advised(large(20, ipamblocks=few, ippools=pools)) == {}


def test_a_pool_with_fewer_blocks_than_nodes() -> None:
    pools = [pool("p", "10.7.0.0/22", blockSize=26, vxlanMode="Always")]
    found = advised(large(40, ippools=pools))
    assert (found["block-size"]["measured"], found["block-size"]["limit"]) == (40, 16)
    some = [pool("p", "10.7.0.0/22", blockSize=26, vxlanMode="Always", nodeSelector="rack == 'a'")]
    assert advised(large(40, ippools=some)) == {}


def policy(i: int, selector: str) -> dict[str, Any]:
    return {"metadata": {"name": f"g{i}"}, "spec": {"selector": selector, "types": ["Ingress"], "ingress": []}}


def test_many_policies_and_wide_selectors() -> None:
    names = [f"n{i}" for i in range(10)]
    pods = [
        {
            "metadata": {"namespace": "shop", "name": f"w{i}", "creationTimestamp": "2026-03-01T08:00:00Z"},
            "spec": {"nodeName": names[i % 10], "containers": []},
            "status": {"phase": "Running", "podIPs": [{"ip": f"10.0.{i // 250}.{i % 250 + 1}"}]},
        }
        for i in range(300)
    ]
    wide = [policy(i, f"app != 'x{i}'") for i in range(400)]
    found = advised(large(10, pods=pods, globalnetworkpolicies=wide))
    assert set(found) == {"policy-cost"}
    assert found["policy-cost"]["measured"] == 400 * 300
    narrow = [policy(i, f"app == 'x{i}' && tier != 'y'") for i in range(400)] + [
        policy(999, "all()"),
        policy(998, "has(a)"),
    ]
    assert advised(large(10, pods=pods, globalnetworkpolicies=narrow)) == {}
    many = large(10, pods=pods, globalnetworkpolicies=[policy(i, "app == 'x'") for i in range(1001)]).scaling.advice()
    assert many["about"].tolist() == ["policies"]


def test_short_refresh_intervals_where_felix_lags() -> None:
    from calicokit.scaling.advice import advice
    from calicokit.schema import Table

    size = large(10).scaling.size()
    configuration = large(10, felixconfigurations=[felix(iptablesRefreshInterval="10s")]).felix.configuration()
    slow = pd.DataFrame({"node": ["n3"]})
    found = advice(size, configuration, slow=slow)
    assert found[["advice", "about", "measured", "limit"]].values.tolist() == [
        ["refresh-interval", "iptablesRefreshInterval", 10.0, 180.0]
    ]
    assert isinstance(size, Table)
    assert advice(size, configuration, slow=slow.head(0)).empty


def test_slow_resyncs_ask_for_longer_intervals() -> None:
    from calicokit.scaling.advice import advice
    from calicokit.scaling.size import size

    loops = pd.DataFrame(
        {"node": ["n1"] * 3 + ["n2"], "operations": ["resync-filter-v4"] * 4, "longest": [2.0, 2.5, 3, 9]}
    )
    cluster = large(10)
    measured = size(cluster.kube.nodes(), *[None] * 9, loops, None, None)
    assert measured.set_index("measure").loc["resync time", "value"] == 2.5
    (row,) = advice(measured, cluster.felix.configuration()).to_dict("records")
    assert (row["about"], row["limit"]) == ("iptablesRefreshInterval", 1.0)
    assert "to 360s" in row["says"]


def test_what_is_not_known_is_not_advised_on() -> None:
    cluster = large(200, deployments=None, pods=None, felixconfigurations=None, bgpconfigurations=None)
    assert set(advised(cluster)) <= {"block-size"}
    assert "Unknown, and not used" in sentences.size(cluster.scaling.size())


def test_the_picture_says_what_is_over_its_limit() -> None:
    calm = figures.headroom(large(10).scaling.size())
    assert calm.fact.startswith("Every measure is below its threshold")
    loud = figures.headroom(large(200, services=[service(i) for i in range(1200)]).scaling.size())
    assert loud.fact.startswith("nodes without Typha and services exceed the threshold")
    assert len(loud.data[0].x) >= 3

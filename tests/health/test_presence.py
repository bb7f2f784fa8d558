"""What is there on every node of the cluster, and a node on which calico-node is not."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from calicokit.health.checks_presence import node_absent
from calicokit.health.placement import keeps_away
from calicokit.health.presence import COMPONENTS
from calicokit.sentences import listed
from tests import clusters, recordings
from tests.health.without import NODE, daemonset, on_node, pods_of, without_pod

VXLAN, MESH = "healthy-vxlan-typha", "healthy-bgp-mesh"
TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


def row_of(edited: Any, node: str = NODE) -> Any:
    table = edited.cluster().health.node_pods()
    return table[table["node"] == node].iloc[0]


def states(table: pd.DataFrame, node: str = NODE) -> dict[str, str]:
    mine = table[table["node"] == node]
    return dict(zip(mine["component"], mine["state"], strict=True))


# ---- presence


@pytest.mark.parametrize("name", recordings.names())
def test_every_node_has_a_row_for_each_part_and_healthy_ones_are_all_there(name: str) -> None:
    table = clusters.opened(name).health.presence()
    nodes = clusters.opened(name).kube.nodes()["node"]
    assert len(table) == len(nodes) * len(COMPONENTS)
    if name.startswith("healthy"):
        assert set(table["state"]) <= {"up", "not needed"}


def test_bird_is_not_needed_where_bgp_is_not_in_use() -> None:
    assert states(clusters.opened(VXLAN).health.presence()) == {
        "calico-node": "up",
        "felix": "up",
        "bird4": "not needed",
        "bird6": "not needed",
        "confd": "not needed",
        "cni-config": "up",
    }


def test_a_node_without_its_pod_has_rows_too() -> None:
    table = without_pod(MESH).cluster().health.presence()
    assert states(table) == {
        "calico-node": "down",
        "felix": "down",
        "bird4": "down",
        "bird6": "not needed",
        "confd": "down",
        "cni-config": "not seen",
    }
    assert states(table, "node-1")["felix"] == "up"


def test_a_windows_node_has_rows_and_what_it_runs_is_not_seen() -> None:
    def windows(item: dict[str, Any]) -> None:
        if item["metadata"]["name"] == NODE:
            item["metadata"]["labels"]["kubernetes.io/os"] = "windows"

    edited = without_pod(VXLAN, desired=3)
    edited.objects("nodes", windows)
    cluster = edited.cluster()
    found = states(cluster.health.presence())
    assert (found["calico-node"], found["felix"], found["bird4"]) == ("not seen", "not seen", "not needed")
    assert "Windows services" in cluster.health.node_pods().query("node == @NODE").iloc[0]["told"]


# ---- absent


@pytest.mark.parametrize("name", [VXLAN, MESH])
def test_a_node_without_calico_node_is_critical(name: str) -> None:
    edited = without_pod(name)
    findings = edited.cluster().check()
    (found,) = [f for f in findings if f.severity != "info"]
    assert (found.id, found.severity, found.subject) == (
        "calico-node-absent",
        "critical",
        {"node": NODE, "why": "missing"},
    )
    assert findings.status == 1


def test_a_taint_that_it_does_not_tolerate_keeps_it_away() -> None:
    row = row_of(on_node(daemonset(without_pod(VXLAN, desired=3), tolerations=[]), NODE, taints=[TAINT]))
    assert (row["state"], row["why"], row["wanted"]) == ("absent", "taint", False)
    assert "gpu=yes:NoSchedule" in row["told"]
    assert row["pods"], "pods with Calico's network run there"


def test_pods_that_need_it_agree_with_their_number() -> None:
    edited = on_node(daemonset(without_pod(VXLAN, desired=3), tolerations=[]), NODE, taints=[TAINT])
    users = row_of(edited)["pods"]
    assert f"{listed(users)} have Calico's network, or wait for it, there" in row_of(edited)["told"]
    one = pods_of(edited, NODE, lambda pod: f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" == users[0])
    assert f"{users[0]} has Calico's network, or waits for it, there" in row_of(one)["told"]


def test_a_node_selector_that_does_not_select_it_keeps_it_away() -> None:
    row = row_of(daemonset(without_pod(VXLAN, desired=3), nodeSelector={"calico": "yes"}))
    assert (row["state"], row["why"]) == ("absent", "node-selector")


def test_a_quota_keeps_it_away() -> None:
    message = 'Error creating: pods "calico-node-x" is forbidden: exceeded quota: pods, requested: pods=1'
    event = {
        "metadata": {"name": "e", "namespace": "kube-system", "creationTimestamp": "2026-11-24T02:00:40Z"},
        "involvedObject": {"kind": "DaemonSet", "namespace": "kube-system", "name": "calico-node"},
        "reason": "FailedCreate",
        "type": "Warning",
        "message": message,
        "lastTimestamp": "2026-11-24T02:00:40Z",
    }
    edited = without_pod(VXLAN)
    edited.edit("events", None, lambda text: json.dumps({**json.loads(text), "items": [event]}))
    row = row_of(edited)
    assert (row["state"], row["why"]) == ("absent", "quota")
    assert message in row["told"]


def test_a_node_that_needs_no_calico_is_none() -> None:
    """Excluded on purpose, with no pod that has a network of its own."""
    edited = on_node(daemonset(without_pod(VXLAN, desired=3), tolerations=[]), NODE, taints=[TAINT])
    row = row_of(pods_of(edited, NODE, lambda pod: False))
    assert row["state"] == "not-needed"
    assert "gpu=yes" in row["told"]
    assert list(node_absent(pd.DataFrame([row]))) == []


def test_a_node_of_another_network_is_none() -> None:
    def of_another(pod: dict[str, Any]) -> None:
        pod["metadata"]["annotations"] = {}
        pod["status"].update(podIP="192.168.77.5", podIPs=[{"ip": "192.168.77.5"}])

    edited = daemonset(without_pod(VXLAN, desired=3), nodeSelector={"calico": "yes"})
    row = row_of(pods_of(edited, NODE, of_another))
    assert row["state"] == "not-needed"
    assert "another network" in row["told"]


def test_a_list_of_pods_that_is_cut_tells_nothing() -> None:
    """The DaemonSet says that its pods are ready, and the list has none of them: it is not the list of all."""
    edited = without_pod(VXLAN)
    edited.edit("pods", None, lambda text: json.dumps({**json.loads(text), "items": []}))
    table = edited.cluster().health.node_pods()
    assert set(table["state"]) == {"unknown"}


def test_without_the_daemonsets_only_the_pods_there_tell() -> None:
    edited = without_pod(VXLAN)
    edited.gone |= {("daemonsets", None)}
    assert row_of(edited)["state"] == "absent"
    assert row_of(pods_of(edited, NODE, lambda pod: False))["state"] == "unknown"


# ---- placement


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        ({}, "taint"),
        ({"tolerations": [{"operator": "Exists"}]}, None),
        ({"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]}, "taint"),
        ({"tolerations": [{"key": "gpu", "value": "yes"}]}, None),
        ({"tolerations": [{"key": "gpu", "value": "no"}]}, "taint"),
        ({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"os": "linux"}}, None),
        ({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"os": "bsd"}}, "node-selector"),
    ],
)
def test_taints_and_selectors(pod: dict[str, Any], why: str | None) -> None:
    node = {"metadata": {"name": "n", "labels": {"os": "linux"}}, "spec": {"taints": [TAINT]}}
    found = keeps_away(pod, node)
    assert (found and found[0]) == why


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "os", "operator": "In", "values": ["linux"]}, True),
        ({"key": "os", "operator": "NotIn", "values": ["linux"]}, False),
        ({"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]}, True),
        ({"key": "gpu", "operator": "Exists"}, False),
        ({"key": "gpu", "operator": "DoesNotExist"}, True),
        ({"key": "cores", "operator": "Gt", "values": ["4"]}, True),
        ({"key": "cores", "operator": "Lt", "values": ["4"]}, False),
        ({"key": "os", "operator": "Gt", "values": ["4"]}, False),
    ],
)
def test_required_affinity(expression: dict[str, Any], fits: bool) -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    pod = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    node = {"metadata": {"name": "n", "labels": {"os": "linux", "cores": "8"}}}
    assert (keeps_away(pod, node) is None) is fits


def test_what_every_daemonset_tolerates_keeps_nothing_away() -> None:
    taints = [
        {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
        {"key": "soft", "effect": "PreferNoSchedule"},
    ]
    assert keeps_away({}, {"metadata": {"name": "n"}, "spec": {"taints": taints}}) is None

"""Kubernetes' objects as Calico reads them; workload endpoints against calicoctl's own list."""

from __future__ import annotations

import re

import pytest

from calicokit.kube.tables import interface_name
from tests import clusters, recordings
from tests.fakes import cluster_of, node, pod


def columns(text: str) -> list[dict[str, str]]:
    """The rows of a kubectl-like table by the places of its headers."""
    head, *lines = text.splitlines()
    heads = list(re.finditer(r"\S+", head))
    cuts = [(h[0], h.start(), n.start() if n else None) for h, n in zip(heads, [*heads[1:], None], strict=True)]
    return [{name: line[a:b].strip() for name, a, b in cuts} for line in lines if line.strip()]


@pytest.mark.parametrize("name", recordings.names())
def test_workload_endpoints_are_those_of_calicoctl(name: str) -> None:
    shown = columns(recordings.read(name, "cluster/calicoctl-get-workloadendpoints-wide.txt").decode())
    ours = clusters.opened(name).kube.workload_endpoints()
    assert len(shown) == len(ours) > 10
    mine = {r.workload_endpoint: r for r in ours.itertuples()}
    for row in shown:
        endpoint = mine[row["NAME"]]
        assert (row["NAMESPACE"], row["WORKLOAD"], row["NODE"]) == (endpoint.namespace, endpoint.pod, endpoint.node)
        assert row["INTERFACE"] == endpoint.interface
        assert row["NETWORKS"] == ",".join(endpoint.networks)
        assert row["PROFILES"] == ",".join(endpoint.profiles)


def test_endpoints_of_no_pod() -> None:
    pods = [
        pod("a/host", "n1", "192.168.0.1", hostNetwork=True),
        pod("a/unscheduled", None),
        pod("a/done", "n1", "10.0.0.1", phase="Succeeded"),
        pod("a/evicted-by-calico", "n1", "10.0.0.2"),
    ]
    pods[3]["metadata"] |= {
        "deletionTimestamp": "2026-03-01T11:00:00Z",
        "annotations": {"cni.projectcalico.org/podIP": ""},
    }
    rows = cluster_of(pods=pods).kube.workload_endpoints().set_index("pod")["networks"]
    assert rows.to_dict() == {"done": [], "evicted-by-calico": []}


def test_interface_names_differ_by_namespace() -> None:
    assert interface_name("a", "x") != interface_name("b", "x")
    assert len(interface_name("a", "x")) == 15


def test_nodes_and_tunnels() -> None:
    made = node(
        "n1", "192.168.0.1", IPv4Address="192.168.0.1/24", IPv6Address="fd00::1/64", IPv6VXLANTunnelAddr="fd00:1::0"
    )
    cluster = cluster_of(nodes=[made])
    assert cluster.kube.nodes().iloc[0]["calico_addresses"] == ["192.168.0.1", "fd00::1"]
    assert cluster.kube.tunnels()[["type", "address"]].values.tolist() == [["vxlanV6TunnelAddress", "fd00:1::"]]


def test_labels_in_calicos_annotation_count() -> None:
    made = node("n1", labels={"a": "1", "b": "1"})
    made["metadata"]["annotations"]["projectcalico.org/metadata"] = '{"labels":{"b":"2","c":"3"}}'
    assert cluster_of(nodes=[made]).kube.nodes().iloc[0]["labels"] == {"a": "1", "b": "2", "c": "3"}


def test_events_of_both_kinds() -> None:
    old = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "x"},
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 4,
    }
    new = {
        "metadata": {"name": "e"},
        "involvedObject": {},
        "eventTime": "2026-01-01T00:00:00.123456Z",
        "series": {"count": 7},
    }
    rows = cluster_of(events=[old, new]).kube.events()
    assert rows["count"].tolist() == [4, 7]
    assert rows["last"].notna().all()

"""Which CNI configuration a node uses, and what another network left that acts; no recording shows a conflict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from calicokit.cluster import Cluster
from calicokit.diagnosis.model import Finding
from calicokit.evidence.model import Want
from tests import clusters, recordings
from tests.edited import Edited, adding
from tests.fakes import MemorySource, api_list, node
from tests.only import only

CALICO = {"name": "k8s-pod-network", "plugins": [{"type": "calico"}, {"type": "portmap"}]}
CILIUM = {"name": "cilium", "plugins": [{"type": "cilium-cni"}]}
FLANNEL = {"name": "cbr0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}
MULTUS = {"name": "multus", "type": "multus", "delegates": []}
CHAINED = {"name": "x", "plugins": [{"type": "calico"}, {"type": "cilium-cni"}]}
LOOPBACK = {"name": "lo", "type": "loopback"}
BRIDGE = {"name": "crio", "type": "bridge"}


def headed(files: dict[str, Any]) -> str:
    """As ``head -v`` prints the folder."""
    text = {name: body if isinstance(body, str) else json.dumps(body, indent=1) for name, body in files.items()}
    return "\n\n".join(f"==> /etc/cni/net.d/{name} <==\n{body}" for name, body in text.items())


def grepped(files: dict[str, Any]) -> str:
    """As ``grep -r .`` prints it, in the order of the folder, which is none."""
    lines = [(name, line) for name, body in files.items() for line in json.dumps(body, indent=1).splitlines()]
    return "\n".join(f"/host/etc/cni/net.d/{name}:{line}" for name, line in lines)


def conflicts(text: str, **lists: list[dict[str, Any]]) -> list[Finding]:
    answers = {Want("nodes"): api_list([node("n1")]), Want("cni-net.d", "n1"): text.encode()}
    answers |= {Want(k): api_list(v) for k, v in lists.items()}
    return only(Cluster(MemorySource(answers, known_nodes=["n1"])), "cni-conflict")


@pytest.mark.parametrize("printed", [headed, grepped])
@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"10-calico.conflist": CALICO}, False),
        ({"05-cilium.conflist": CILIUM, "10-calico.conflist": CALICO}, True),
        ({"10-calico.conflist": CALICO, "05-cilium.conflist": CILIUM}, True),
        ({"10-aws.conflist": {"name": "aws", "plugins": [{"type": "aws-cni"}]}, "10-calico.conflist": CALICO}, True),
        ({"00-loopback.conf": LOOPBACK, "10-calico.conflist": CALICO}, True),
        ({"10-calico.conflist": CALICO, "10-flannel.conflist": FLANNEL}, False),
        ({"10-calico.conflist": CALICO, "100-crio-bridge.conf": BRIDGE, "99-loopback.conf": LOOPBACK}, False),
        ({"00-multus.conf": MULTUS, "10-calico.conflist": CALICO}, False),
        ({"05-cilium.conflist": CHAINED, "10-calico.conflist": CALICO}, False),
        ({"10-canal.conflist": CALICO}, False),
        ({"10-aws.conflist": {"name": "aws", "plugins": [{"type": "aws-cni"}]}}, False),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_the_first_by_name_counts(printed: Any, files: dict[str, Any], told: bool) -> None:
    found = conflicts(printed(files))
    assert [f.subject for f in found] == ([{"node": "n1"}] if told else [])
    if told:
        first = sorted(files)[0]
        assert first in found[0].cause
        assert found[0].severity == "critical"


def test_files_that_the_runtime_does_not_take() -> None:
    files = {"05-cilium.conflist.cilium_bak": CILIUM, "04-notes.txt": "x", "10-calico.conflist": CALICO}
    assert conflicts(headed(files)) == []


def test_a_broken_file_is_named_and_not_taken() -> None:
    assert conflicts(headed({"05-x.conflist": '{"name": "x", "plugins": [', "10-calico.conflist": CALICO})) == []


def test_where_calico_does_policy_only_another_network_is_meant() -> None:
    files = headed({"10-aws.conflist": {"name": "aws", "plugins": [{"type": "aws-cni"}]}, "10-calico.conflist": CALICO})
    installation = {"metadata": {"name": "default"}, "spec": {"cni": {"type": "AmazonVPC"}}}
    assert conflicts(files, installations=[installation]) == []
    installation["spec"]["cni"]["type"] = "Calico"  # type: ignore[index]
    assert len(conflicts(files, installations=[installation])) == 1


@pytest.mark.parametrize("name", recordings.names())
def test_recordings(name: str) -> None:
    cluster = clusters.opened(name)
    assert only(cluster, "cni-conflict", "host-network-manager-interferes") == []
    configs = cluster.cni.configs()
    assert configs["used"].all()
    assert configs["calico"].all()
    assert len(configs) == 4


# ---- what is left of another network


def block_of(edited: Edited, owner: str) -> str:
    blocks = edited.cluster().ipam.blocks()
    return str(blocks[blocks["node"] == owner]["block"].iloc[0])


@pytest.mark.parametrize(
    ("device", "network"),
    [("flannel.1", "flannel"), ("cni0", "flannel"), ("cilium_host", "Cilium"), ("weave", "Weave Net")],
)
def test_a_route_of_another_network_that_decides(device: str, network: str) -> None:
    edited = Edited("healthy-bgp-mesh")
    cidr = block_of(edited, "node-3").replace("/26", "/27")
    edited.routes("node-1", adding(f"{cidr} via 10.244.3.0 dev {device} onlink"))
    found = only(edited.cluster(), "cni-conflict", "route-conflict")
    assert [(f.id, f.explained_by) for f in found] == [("cni-conflict", ""), ("route-conflict", "cni-conflict")]
    assert found[0].subject == {"node": "node-1"}
    assert network in found[0].cause


def test_routes_of_another_network_that_decide_nothing() -> None:
    edited = Edited("healthy-bgp-mesh")
    edited.routes("node-1", adding("10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink"))
    assert only(edited.cluster(), "cni-conflict") == []


def test_somebodys_own_route_is_no_other_network() -> None:
    edited = Edited("healthy-bgp-mesh")
    cidr = block_of(edited, "node-3").replace("/26", "/27")
    edited.routes("node-1", adding(f"{cidr} via 172.30.0.1 dev eth0"))
    assert [f.id for f in only(edited.cluster(), "cni-conflict", "route-conflict")] == ["route-conflict"]

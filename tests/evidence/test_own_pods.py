"""Which pods are Calico's own: the namespace counts, then who made the pod; a label alone never does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from calicokit.cli import app
from calicokit.cluster import Cluster
from calicokit.evidence.live.cluster import LiveCluster
from calicokit.evidence.model import CALICO_NAMESPACE, Want
from calicokit.evidence.own_pods import OPTION, Home, home_of
from calicokit.evidence.recordings.capture import capture
from calicokit.evidence.recordings.recording import Recording
from tests.fakes import cluster_of, node, own, pod, source_of

Object = dict[str, Any]


def calico(namespace: str, app: str = "calico-node", name: str = "x", **more: Any) -> Object:
    metadata = {**own(app), **more.pop("metadata", {})}
    return pod(f"{namespace}/{app}-{name}", "n1", hostNetwork=more.pop("hostNetwork", True), metadata=metadata, **more)


def made_by(kind: str, name: str, controller: bool = True) -> Object:
    return {"ownerReferences": [{"kind": kind, "name": name, "controller": controller}]}


@pytest.mark.parametrize(
    ("given", "mine"),
    [
        (calico("kube-system"), True),
        (calico("calico-system"), True),
        (calico("kube-system", "canal", metadata=made_by("DaemonSet", "rke2-canal")), True),
        (calico("kube-system", "calico-typha"), True),
        (calico("calico-system", "calico-kube-controllers", hostNetwork=False), True),
        (calico("calico-apiserver", "calico-apiserver", hostNetwork=False), True),
        (calico("tigera-operator", "tigera-operator"), True),
        (calico("shop"), False),
        (calico("shop", "calico-typha"), False),
        (calico("calico-apiserver"), False),
        (calico("kube-system", hostNetwork=False), False),
        (calico("kube-system", metadata={"ownerReferences": []}), False),
        (calico("kube-system", metadata=made_by("DaemonSet", "calico-node", controller=False)), False),
        (calico("kube-system", metadata=made_by("ReplicaSet", "calico-node-5d4f8b6c7d")), False),
        (calico("kube-system", metadata=made_by("DaemonSet", "my-agent")), False),
        (calico("kube-system", "calico-typha", metadata=made_by("ReplicaSet", "web-5d4f8b6c7d")), False),
    ],
)
def test_what_is_calicos_beside_a_calico_in_a_usual_namespace(given: Object, mine: bool) -> None:
    home = home_of([calico("kube-system", name="real"), given])
    assert bool(home.app(given)) == mine
    assert bool(home.doubt(given)) != mine
    assert len(home.ignored([given])) == (not mine)


def test_where_calico_is() -> None:
    assert home_of([]) == Home()
    assert home_of([calico("calico")]).namespaces == {"calico"}
    assert home_of([calico("calico"), calico("calico-system", "calico-kube-controllers")]) == Home()
    assert home_of([calico("calico"), calico("shop", hostNetwork=False)]).namespaces == {"calico"}
    several = home_of([calico("calico"), calico("shop")])
    assert several.namespaces == frozenset()
    assert several.unsettled.startswith("pods that look like Calico's are in calico and shop: name Calico's namespace")
    assert not several.app(calico("calico"))
    assert home_of([calico("calico"), calico("shop")], "calico").app(calico("calico"))
    assert not home_of([calico("kube-system")], "calico").app(calico("kube-system"))


def test_what_is_ignored_is_said_once_a_reason_however_many() -> None:
    home = home_of([calico("kube-system")])
    (said,) = home.ignored([calico("shop", name=str(n)) for n in range(9)])
    assert "shop/calico-node-4 and 4 more (not in namespace calico-system or kube-system)" in said


# ---- the tables


def daemonset(namespace: str, **env: str) -> Object:
    container = {"name": "calico-node", "env": [{"name": k, "value": v} for k, v in env.items()]}
    template = {"metadata": {"labels": {"k8s-app": "calico-node"}}, "spec": {"containers": [container]}}
    return {
        "metadata": {"name": "calico-node", "namespace": namespace},
        "spec": {"template": template},
        "status": {"desiredNumberScheduled": 1, "numberReady": 1},
    }


def test_the_tables_believe_no_tenant_and_say_so() -> None:
    fake = calico("shop", name="evil", containers=[{"name": "calico-node", "image": "calico/node:v3.1.0"}])
    cluster = cluster_of(
        nodes=[node("n1"), node("n2")],
        pods=[
            calico("kube-system", containers=[{"name": "calico-node", "image": "calico/node:v3.30.1"}]),
            fake | {"spec": fake["spec"] | {"nodeName": "n2"}},
        ],
        daemonsets=[daemonset("kube-system"), daemonset("shop", FELIX_BPFENABLED="true")],
        felixconfigurations=[],
    )
    assert cluster.table("health.pods")["pod"].tolist() == ["calico-node-x"]
    assert cluster.table("health.resources")["pod"].unique().tolist() == ["calico-node-x"]
    assert cluster.table("health.rollouts")["namespace"].tolist() == ["kube-system"]
    assert "v3.1.0" not in set(cluster.table("health.versions")["version"])
    states = cluster.table("health.node_pods").set_index("node")["state"]
    assert states["n2"] == "absent"
    found = cluster.table("felix.configuration")
    assert set(found[found["field"] == "bpfEnabled"]["value"]) == {"false"}
    (said,) = [m.why for m in cluster.coverage.missing if m.id == "pods"]
    assert "shop/calico-node-evil" in said


def test_workloads_and_settings_elsewhere_are_not_calicos() -> None:
    def given(namespace: str) -> Cluster:
        typha = {"metadata": {"name": "calico-typha", "namespace": namespace}, "spec": {"replicas": 3}}
        settings = {"name": "calico-config", "namespace": namespace}
        return cluster_of(
            nodes=[node("n1")],
            pods=[],
            deployments=[typha],
            configmaps=[{"metadata": settings, "data": {"calico_backend": "none"}}],
        )

    assert given("kube-system").table("felix.typha")["replicas"].tolist() == [3]
    assert given("shop").table("felix.typha").empty
    assert given("kube-system").table("bgp.use")["backend"].tolist() == ["none"]
    assert given("shop").table("bgp.use")["backend"].isna().all()


def test_what_cannot_be_told_is_unknown_until_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pods = [calico("calico"), calico("shop", name="evil")]
    unknown = cluster_of(nodes=[node("n1")], pods=pods).table("health.pods")
    assert OPTION in unknown.unknown[0].why
    assert cluster_of(nodes=[node("n1")], pods=pods).table("health.node_pods").unknown
    monkeypatch.setenv(CALICO_NAMESPACE, "calico")
    assert cluster_of(nodes=[node("n1")], pods=pods).table("health.pods")["pod"].tolist() == ["calico-node-x"]


def test_a_pod_of_an_odd_shape_costs_that_pod_only() -> None:
    odd = calico("kube-system", name="odd", metadata={"ownerReferences": 7})
    cluster = cluster_of(nodes=[node("n1")], pods=[calico("kube-system"), odd])
    assert cluster.table("health.pods")["pod"].tolist() == ["calico-node-x"]
    assert any("kube-system/calico-node-odd" in m.why for m in cluster.coverage.missing)


# ---- what the user says


def test_a_capture_keeps_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(nodes=[node("n1")], pods=[calico("calico"), calico("shop", name="evil")])
    monkeypatch.setenv(CALICO_NAMESPACE, "calico")
    capture(source, tmp_path / "out", ["pods", "nodes"])
    monkeypatch.delenv(CALICO_NAMESPACE)
    assert Cluster(Recording(tmp_path / "out")).table("health.pods")["pod"].tolist() == ["calico-node-x"]
    monkeypatch.setenv(CALICO_NAMESPACE, "shop")
    assert Cluster(Recording(tmp_path / "out")).table("health.pods")["pod"].tolist() == ["calico-node-evil"]


def test_the_command_line_says_it_to_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CALICO_NAMESPACE, "")  # what the command sets is taken back
    source = source_of(nodes=[node("n1")], pods=[calico("calico"), calico("shop", name="evil")])
    capture(source, tmp_path / "out", ["pods", "nodes"])
    words = ["table", str(tmp_path / "out"), "health.pods", "--format", "json"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert OPTION in refused.stderr
    found = CliRunner().invoke(app, [*words, OPTION, "calico"])
    assert [r["namespace"] for r in json.loads(found.stdout)["rows"]] == ["calico"]


def test_a_log_that_was_cut_is_so_in_its_recording(tmp_path: Path) -> None:
    source = source_of(nodes=[node("n1")])
    source.answers[Want("felix-log", "n1")] = b"a line\n"
    source.partial[Want("felix-log", "n1")] = "the log is cut: stopped after 64 MiB"
    capture(source, tmp_path / "out", ["nodes", "felix-log"], ["n1"])
    ((_, answer),) = Recording(tmp_path / "out").fetch([Want("felix-log", "n1")])
    assert answer.partial == "the log is cut: stopped after 64 MiB"  # type: ignore[union-attr]


def test_a_live_cluster_takes_the_namespace_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.evidence.test_api import kubeconfig

    monkeypatch.setenv(CALICO_NAMESPACE, "other")
    config = str(kubeconfig(tmp_path, "http://127.0.0.1:1"))
    assert LiveCluster("here", config, namespace="calico").calico_namespace == "calico"
    assert LiveCluster("here", config).calico_namespace == "other"

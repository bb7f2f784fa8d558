"""Calico's own pods and the datastore; quiet while something starts, goes, or happened long ago."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from calicokit.health.tables import version_of
from tests import clusters, recordings
from tests.fakes import cluster_of, ids, own


def calico_pod(name: str = "calico-node-x", *, ready: bool = True, **more: Any) -> dict[str, Any]:
    container = {
        "name": "calico-node",
        "restartCount": more.pop("restarts", 0),
        "state": more.pop("state", {"running": {}}),
    }
    container["lastState"] = more.pop("last", {})
    meta = {"namespace": "calico-system", "name": name, **own(more.pop("app", "calico-node"))}
    meta |= {"creationTimestamp": more.pop("created", "2026-03-01T08:00:00Z"), **more.pop("metadata", {})}
    condition = {"type": "Ready", "status": str(ready), "message": more.pop("message", None)}
    status = {"phase": more.pop("phase", "Running"), "conditions": [condition], "containerStatuses": [container]}
    spec = {"nodeName": "n1", "containers": [{"image": "quay.io/calico/node:v3.30.1", "env": more.pop("env", [])}]}
    spec["hostNetwork"] = True
    assert not more
    return {"metadata": meta, "spec": spec, "status": status}


def ended(reason: str, at: str = "2026-03-01T11:50:00Z") -> dict[str, Any]:
    return {"terminated": {"reason": reason, "finishedAt": at, "exitCode": 137}}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (calico_pod(), []),
        (calico_pod(ready=False, message="BIRD is not ready"), ["calico-pod-not-ready"]),
        (calico_pod(ready=False, phase="Pending"), ["calico-pod-not-ready"]),
        (calico_pod(ready=False, created="2026-03-01T11:59:30Z"), ["calico-pod-not-ready"]),  # a warning: it starts
        (calico_pod(ready=False, metadata={"deletionTimestamp": "2026-03-01T11:59:59Z"}), []),
        (calico_pod(restarts=1, last=ended("Error")), []),
        (calico_pod(restarts=5, last=ended("Error")), ["calico-pod-restarting"]),
        (calico_pod(restarts=9, last=ended("Error", "2026-02-01T00:00:00Z")), []),
        (calico_pod(restarts=1, last=ended("OOMKilled")), ["calico-pod-oomkilled"]),
        (
            calico_pod(
                ready=False, restarts=7, state={"waiting": {"reason": "CrashLoopBackOff"}}, last=ended("OOMKilled")
            ),
            ["calico-pod-oomkilled", "calico-pod-restarting", "calico-pod-not-ready"],
        ),
    ],
)
def test_calico_pods(pod: dict[str, Any], expected: list[str]) -> None:
    cluster = cluster_of(pods=[pod])
    assert ids(cluster) == expected
    for found in cluster.check():
        assert found.subject == {"pod": "calico-system/calico-node-x"}


def test_what_follows_from_running_out_of_memory_says_so() -> None:
    pod = calico_pod(
        ready=False, restarts=7, state={"waiting": {"reason": "CrashLoopBackOff"}}, last=ended("OOMKilled")
    )
    by = {f.id: f.explained_by for f in cluster_of(pods=[pod]).check()}
    assert by["calico-pod-oomkilled"] == ""
    assert by["calico-pod-restarting"] == "calico-pod-oomkilled"
    assert by["calico-pod-not-ready"] == "calico-pod-restarting"


def test_pods_of_others_are_not_calicos() -> None:
    assert ids(cluster_of(pods=[calico_pod(app="my-app", ready=False)])) == []


def test_install_and_versions() -> None:
    env = [{"name": "CALICO_NETWORKING_BACKEND", "value": "vxlan"}]
    info = {"metadata": {"name": "default"}, "spec": {"calicoVersion": "v3.30.1", "datastoreReady": True}}
    cluster = cluster_of(pods=[calico_pod(env=env), calico_pod("t", app="calico-typha")], clusterinformations=[info])
    row = cluster.health.install().iloc[0]
    assert row[["install", "namespace", "version", "cluster_version", "typha", "backend"]].tolist() == [
        "operator", "calico-system", "v3.30.1", "v3.30.1", True, "vxlan",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "backend"), [("calico-config", "bird"), ("another", None)])
def test_the_backend_may_stand_in_calicos_configmap(name: str, backend: str | None) -> None:
    ref = {"configMapKeyRef": {"name": "calico-config", "key": "calico_backend"}}
    pod = calico_pod(env=[{"name": "CALICO_NETWORKING_BACKEND", "valueFrom": ref}])
    made = {"metadata": {"name": name, "namespace": "calico-system"}, "data": {"calico_backend": "bird"}}
    found = cluster_of(pods=[pod], configmaps=[made]).health.install()["backend"].tolist()
    assert found == [backend] if backend else pd.isna(found[0])


@pytest.mark.parametrize("incident", ["healthy-bgp-mesh", "healthy-vxlan-typha"])
def test_the_backend_of_real_clusters(incident: str) -> None:
    cluster = clusters.of(incident)
    assert cluster.health.install()["backend"].tolist() == cluster.bgp.use()["backend"].tolist() != [None]


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("docker.io/calico/node:v3.29.1", "v3.29.1"),
        ("registry:5000/calico/node:v3.29.1@sha256:00ff", "v3.29.1"),
        ("registry:5000/calico/node@sha256:00ff", None),
        ("quay.io/calico/node:master", None),
        ("calico/node:3.28.0-rc1", "3.28.0-rc1"),
    ],
)
def test_version_of_an_image(image: str, version: str | None) -> None:
    assert version_of([image]) == version


def test_a_locked_datastore() -> None:
    info = {"metadata": {"name": "default"}, "spec": {"datastoreReady": False}}
    (found,) = cluster_of(clusterinformations=[info]).check()
    assert (found.id, found.subject) == ("datastore-not-ready", {})
    info["spec"] = {}
    assert ids(cluster_of(clusterinformations=[info])) == []


@pytest.mark.parametrize("name", recordings.names())
def test_readiness_of_felix_in_every_recording(name: str) -> None:
    rows = clusters.opened(name).health.readiness()
    assert rows["ready"].tolist() == [True] * 4
    conditions = clusters.opened(name).health.node_conditions()
    assert conditions["good"].all()
    assert len(conditions) == 8

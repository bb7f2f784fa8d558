"""What containers use beside what they may: quantities, metrics-server's answer, and the process's own word."""

from __future__ import annotations

import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.model import Want
from calicokit.health.resources import quantity
from tests import clusters, recordings
from tests.fakes import MemorySource, api_list
from tests.health.test_health import calico_pod, ended


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250m", 0.25),
        ("1", 1.0),
        (2, 2.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1500Ki", 1536000.0),
        ("2Gi", 2147483648.0),
        ("5e9", 5e9),
        ("1E3", 1000.0),
        ("128974848", 128974848.0),
        ("12345678n", 0.012345678),
        ("3E", 3e18),
        ("", None),
        ("1.2.3", None),
        ("5Mb", None),
        (None, None),
    ],
)
def test_quantities_of_kubernetes(text: object, number: float | None) -> None:
    assert quantity(text) == (pytest.approx(number) if number is not None else None)


def test_use_beside_requests_and_limits() -> None:
    pod = calico_pod(restarts=2, last=ended("OOMKilled"))
    pod["spec"]["containers"][0] |= {
        "name": "calico-node",
        "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "512Mi"}},
    }
    used = {
        "metadata": {"namespace": "calico-system", "name": "calico-node-x"},
        "containers": [{"name": "calico-node", "usage": {"cpu": "123456789n", "memory": "262144Ki"}}],
    }
    answers = {Want("pods"): api_list([pod]), Want("pod-metrics"): api_list([used])}
    (row,) = Cluster(MemorySource(answers)).health.resources().to_dict("records")
    assert (row["cpu_request"], row["memory_limit"], row["memory_used"]) == (0.25, 2.0**29, 2.0**28)
    assert row["cpu_used"] == pytest.approx(0.123456789)
    assert (row["memory_share"], row["used_by"]) == (0.5, "metrics-server")
    assert (row["restarts"], row["last_reason"], row["last_exit"]) == (2, "OOMKilled", 137)


def test_without_metrics_server_the_process_says_what_it_uses() -> None:
    pod = calico_pod()
    pod["spec"]["containers"][0]["name"] = "calico-node"
    scrape = b"# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 1.06405888e+08\n"
    answers = {Want("pods"): api_list([pod]), Want("felix-metrics", "n1"): scrape}
    nodes = {"metadata": {"name": "n1"}, "spec": {}, "status": {}}
    source = MemorySource(answers | {Want("nodes"): api_list([nodes])}, known_nodes=["n1"])
    (row,) = Cluster(source).health.resources().to_dict("records")
    assert (row["memory_used"], row["used_by"]) == (106405888.0, "process")
    assert row["cpu_used"] != row["cpu_used"]  # unknown


@pytest.mark.parametrize("name", recordings.names())
def test_recordings(name: str) -> None:
    rows = clusters.opened(name).health.resources()
    nodes = rows[rows["component"] == "calico-node"]
    assert (nodes["cpu_request"] == 0.25).all()
    assert nodes["memory_used"].between(2e7, 1e9).all()
    assert (nodes["used_by"] == "process").all()

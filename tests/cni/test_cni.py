"""The CNI plugin's errors: what they mean, whose they are, whether they are still open."""

from __future__ import annotations

from typing import Any

import pytest

from calicokit.cluster import Cluster
from calicokit.cni.causes import BY_WORD, CAUSES, cause_of, cni_error
from calicokit.diagnosis.model import vocabulary
from calicokit.evidence.model import Want
from tests.fakes import MemorySource, api_list, cluster_of, ids, node, pod, pool, sandbox_event, source_of, waiting_pod

# Words of cni-plugin/ and libcalico-go/lib/ipam, with values of our own.
WORDS = {
    "exhausted": "failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: [10.7.0.0/24]",
    "strict-affinity": "Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled",
    "block-limit": "Assigned 0 out of 1; Need to allocate an IPAM block but could not - limit of 4 blocks reached for this node",
    "no-pool": "failed to request IPv4 addresses: no configured Calico pools for node worker-9",
    "no-qualified-pool": "cannot find a qualified ippool, no pools match the required use (Workload)",
    "pool-not-enabled": "the given pool (10.8.0.0/24) does not exist, or is not enabled",
    "address-outside": "The provided IP address is not in a configured pool",
    "address-taken": "Address already assigned in block",
    "contention": "Max retries hit - excessive concurrent IPAM requests",
    "node-not-started": "stat /var/lib/calico/nodename: no such file or directory: check that the calico/node container is running and has mounted /var/lib/calico/",
    "datastore-not-ready": "Calico is currently not ready to process requests",
    "unauthorized": "error getting ClusterInformation: connection is unauthorized: Unauthorized",
    "forbidden": 'connection is unauthorized: ippools.crd.projectcalico.org is forbidden: User "system:serviceaccount:kube-system:calico-cni-plugin" cannot list resource "ippools" in API group "crd.projectcalico.org" at the cluster scope',
    "kind-missing": "resource does not exist: IPReservation with error: the server could not find the requested resource (get IPReservations.crd.projectcalico.org)",
    "datastore-unreachable": 'error getting ClusterInformation: Get "https://10.96.0.1:443/apis/crd.projectcalico.org/v1/clusterinformations/default": dial tcp 10.96.0.1:443: i/o timeout',
    "route-exists": "error adding host side routes for interface: cali123, error: route (Ifindex: 9, Dst: 10.7.0.4/32) already exists for an interface other than 'cali123'",
    "plugin-missing": 'failed to find plugin "calico" in path [/opt/cni/bin]',
    "other": "unsupported CNI version",
}


@pytest.mark.parametrize(("word", "message"), WORDS.items())
def test_words_mean_their_cause(word: str, message: str) -> None:
    assert cause_of(message).word == word


def test_every_cause_is_tested_and_has_a_finding() -> None:
    assert set(WORDS) == set(BY_WORD)
    assert {c.finding for c in CAUSES} <= set(vocabulary())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "ab": plugin type="calico" failed (add): boom',
            "boom",
        ),
        (
            'failed to set up sandbox container "ab" network for pod "x": networkPlugin cni failed to set up pod "x_a" network: boom',
            "boom",
        ),
        (
            'rpc error: failed to setup network for sandbox "ab": failed to find plugin "calico" in path [/opt/cni/bin]',
            'failed to find plugin "calico" in path [/opt/cni/bin]',
        ),
        (
            "network is not ready: container runtime network not ready: cni plugin not initialized",
            "cni plugin not initialized",
        ),
        ('Failed to create pod sandbox: rpc error: failed to get sandbox image "pause:3.9": i/o timeout', None),
    ],
)
def test_the_plugins_own_words_in_an_event(message: str, expected: str | None) -> None:
    assert cni_error(message) == expected


def stuck(message: str, **more: Any) -> Cluster:
    lists = {"nodes": [node("n1")], "ippools": [pool("p", "10.7.0.0/24")], "pods": [waiting_pod("a/w", "n1")]}
    return cluster_of(**{**lists, "events": [sandbox_event("a/w", message)], **more})


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("unauthorized", "cni-unauthorized"),
        ("datastore-unreachable", "datastore-unreachable"),
        ("node-not-started", "cni-error"),
        ("route-exists", "cni-error"),
        ("other", "cni-error"),
        ("plugin-missing", "cni-error"),
    ],
)
def test_one_finding_names_the_node(word: str, expected: str) -> None:
    findings = stuck(WORDS[word]).check()
    assert [f.id for f in findings] == [expected]
    assert findings[0].subject["node"] == "n1"
    assert "a/w" in findings[0].cause
    assert findings[0].severity == "critical"


def test_an_error_that_another_id_names_is_no_cni_error() -> None:
    for word in ("exhausted", "strict-affinity", "no-pool", "pool-not-enabled", "no-qualified-pool"):
        assert "cni-error" not in ids(stuck(WORDS[word]))


def test_an_error_that_is_over_is_nothing() -> None:
    assert ids(stuck(WORDS["other"], pods=[pod("a/w", "n1", "10.7.0.1")])) == []
    assert ids(stuck(WORDS["other"], pods=[])) == []


def test_events_of_other_sandboxes_are_nothing() -> None:
    event = sandbox_event("a/w", "x")
    event["message"] = 'Failed to create pod sandbox: rpc error: failed to get sandbox image "pause:3.9": i/o timeout'
    assert ids(stuck("", events=[event])) == []


LOG = """\
2026-03-01 11:59:00.100 [INFO][41] cni-plugin/k8s.go 80: Extracted identifiers for CmdAddK8s ContainerID="c1" Namespace="a" Pod="ok" WorkloadEndpoint="n1-k8s-ok-eth0"
2026-03-01 11:59:00.200 [INFO][42] cni-plugin/k8s.go 80: Extracted identifiers for CmdAddK8s ContainerID="c2" Namespace="a" Pod="w" WorkloadEndpoint="n1-k8s-w-eth0"
2026-03-01 11:59:00.300 [INFO][41] cni-plugin/k8s.go 544: Wrote updated endpoint to datastore ContainerID="c1" Namespace="a" Pod="ok" WorkloadEndpoint="n1-k8s-ok-eth0"
2026-03-01 11:59:00.400 [ERROR][42] cni-plugin/plugin.go 164: Final result of CNI ADD was an error. error=boom
2026-03-01 11:59:05.000 [ERROR][43] cni-plugin/plugin.go 164: Final result of CNI ADD was an error. error=error getting ClusterInformation: connection is unauthorized: Unauthorized
"""


def logged(**lists: Any) -> Cluster:
    source = source_of(**{"nodes": [node("n1")], "events": None, **lists})
    source.answers[Want("cni-log", "n1")] = LOG.encode()
    return Cluster(source)


def test_interleaved_calls_are_told_apart_by_process() -> None:
    rows = logged().table("cni.results")
    assert rows["pod"].fillna("-").tolist() == ["ok", "w", "-"]
    assert rows["error"].notna().tolist() == [False, True, True]


def test_an_error_before_the_pod_is_known_names_the_node() -> None:
    cluster = logged(pods=[waiting_pod("a/w", "n1")])
    assert {(f.id, f.subject["node"]) for f in cluster.check()} == {("cni-unauthorized", "n1"), ("cni-error", "n1")}
    assert ids(logged(pods=[pod("a/w", "n1", "10.7.0.1")])) == []


def test_a_later_success_closes_an_error_without_any_list() -> None:
    text = LOG + LOG.splitlines()[2].replace("11:59:00.300", "11:59:30.000").replace('"ok"', '"w"').replace(
        "[41]", "[44]"
    )
    source = MemorySource({Want("cni-log", "n1"): text.encode()}, known_nodes=["n1"])
    errors = Cluster(source).table("cni.errors")
    assert errors.set_index(errors["pod"].fillna("-"))["open"].to_dict() == {"w": False, "-": True}


def test_events_alone_are_enough() -> None:
    source = MemorySource({Want("events"): api_list([sandbox_event("a/w", "boom", host="n1")])})
    row = Cluster(source).table("cni.errors").iloc[0]
    assert (row["node"], row["error"], row["count"], row["open"]) == ("n1", "boom", 3, True)

"""What the kit asks of a cluster: reads and the catalog's commands only; what it says where it may not."""

from __future__ import annotations

import copy
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from calicokit.acts.cli import _Target
from calicokit.evidence.catalog import ITEMS, Command, Log
from calicokit.evidence.live.api import ApiError
from calicokit.evidence.live.cluster import LiveCluster
from calicokit.evidence.live.execute import execute
from calicokit.evidence.model import Evidence, Want
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from tests.e2e.lab import NAMESPACE, RBAC, TestCluster, stored
from tests.e2e.live import connected, run

INCIDENT = "ipam-exhausted"
ALLOWED = {
    ("list", "any", ""),
    ("get", "/", ""),  # the version, and which kinds are served
    *(("get", f"pods/{sub}", NAMESPACE) for sub in ("log", "proxy", "exec")),  # a websocket is opened by a GET
    ("create", "pods/exec", NAMESPACE),
}
"""Verb, resource and namespace of all that may be asked."""

TENANT = "shop"


@pytest.fixture(scope="module", autouse=True)
def loaded(e2e: TestCluster) -> None:
    e2e.load(Recording(index()[INCIDENT].path, INCIDENT))


@pytest.fixture
def without_exec(e2e: TestCluster) -> Iterator[None]:
    e2e.revoke("calicokit-exec")
    yield
    e2e.grant(RBAC.read_text())


def argvs() -> set[tuple[str, ...]]:
    commands = [a for i in ITEMS if isinstance(i.how, Command) for a in i.how.argvs]
    return {*commands, *(i.how.argv for i in ITEMS if isinstance(i.how, Log) and i.how.path)}


def asked(events: list[dict[str, Any]]) -> Counter[tuple[str, str, str]]:
    """How often what was asked for: verb, resource with its subresource (of a list any), and namespace."""
    refs = [(e["verb"], e.get("objectRef", {})) for e in events]
    what = ["any" if v == "list" else f"{r.get('resource', '')}/{r.get('subresource', '')}" for v, r in refs]
    return Counter((v, w, r.get("namespace", "")) for (v, r), w in zip(refs, what, strict=True))


def test_the_audit_log_has_only_reads_and_the_catalogs_commands(e2e: TestCluster, tmp_path: Path) -> None:
    e2e.clear_audit()
    assert run(e2e, "check", "--context", "e2e-reader").returncode == 1
    assert run(e2e, "capture", tmp_path / "out.zip", "--context", "e2e-reader").returncode == 0
    events = e2e.audit("reader")
    assert len(events) > 200
    said = asked(events)
    print(said)
    assert set(said) <= ALLOWED, said
    commands = [e for e in events if e.get("objectRef", {}).get("subresource") == "exec"]
    assert commands
    for event in commands:
        argv = tuple(parse_qs(urlsplit(event["requestURI"]).query)["command"])
        assert argv[:3] == ("timeout", "-s", "KILL")
        assert argv[4:] in argvs()
    assert not [e for e in events if e["responseStatus"]["code"] == 403], "the least role does not suffice"


def test_with_these_roles_nothing_can_be_done_in_a_pod_elsewhere(e2e: TestCluster) -> None:
    server = LiveCluster("e2e-reader", str(e2e.kubeconfig)).server
    name = e2e.call("GET", f"/api/v1/namespaces/{TENANT}/pods")["items"][0]["metadata"]["name"]
    with pytest.raises(ApiError, match="forbidden") as refused:
        execute(server, (TENANT, name), "", ["date"], 10, threading.Event())
    assert refused.value.status == 403
    for path in ("log", "proxy/metrics"):
        with pytest.raises(ApiError, match="forbidden"):
            server.get(f"/api/v1/namespaces/{TENANT}/pods/{name}/{path}")


# ---- a tenant's pod that says it is calico-node


@pytest.fixture
def impostor(e2e: TestCluster) -> Iterator[str]:
    """The newest pod with calico-node's label on a node, with a forged owner and the host's network; gives the node."""
    pods = e2e.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=k8s-app%3Dcalico-node")["items"]
    made = copy.deepcopy(pods[0])
    made["metadata"] |= {"name": "calico-node-evil", "namespace": TENANT, "uid": "evil"}
    made["metadata"]["creationTimestamp"] = "2099-01-01T00:00:00Z"
    e2e.put(stored("v1", "pods", {"kind": "PodList", "items": [made]}))
    path = f"/api/v1/namespaces/{TENANT}/pods"
    e2e._until("it is served", lambda: "calico-node-evil" in str(e2e.call("GET", path)))
    yield made["spec"]["nodeName"]
    e2e.delete(f"/registry/pods/{TENANT}/calico-node-evil")
    e2e._until("it is gone", lambda: "calico-node-evil" not in str(e2e.call("GET", path)))


def test_a_tenants_pod_with_calicos_label_is_neither_asked_nor_believed_and_said(
    e2e: TestCluster, impostor: str
) -> None:
    """By one who may do everything, so that it is the kit that leaves it alone."""
    cluster = connected(e2e, "e2e")
    e2e.clear_audit()
    cluster.check()
    events = [e for e in e2e.audit("admin") if e["requestURI"].startswith("/api")]
    assert [e for e in events if e.get("objectRef", {}).get("subresource") == "exec"]
    assert set(asked(events)) <= ALLOWED
    assert "calico-node-evil" not in set(cluster.table("health.pods")["pod"])
    said = [m.why for m in cluster.coverage.missing if m.id == "pods"]
    why = "not in namespace calico-system or kube-system"
    assert said == [f"ignored, labelled calico-node and none of Calico's: {TENANT}/calico-node-evil ({why})"]


def test_a_capture_names_what_it_left_aside(e2e: TestCluster, impostor: str, tmp_path: Path) -> None:
    words = ("capture", tmp_path / "out.zip", "--context", "e2e-reader", "--topics", "kube", "--format", "json")
    done = run(e2e, *words)
    assert done.returncode == 0, done.stderr
    assert any("calico-node-evil" in m["why"] for m in json.loads(done.stdout)["missing"])


def test_an_act_goes_into_calicos_own_pod(e2e: TestCluster, impostor: str) -> None:
    target = _Target("e2e", e2e.kubeconfig, None)
    assert target.calico_node(impostor)[0] == NAMESPACE


def test_without_the_exec_role_what_commands_tell_is_missing_and_said(e2e: TestCluster, without_exec: None) -> None:
    done = run(e2e, "check", "--context", "e2e-reader", "--format", "json")
    said = json.loads(done.stdout)
    assert done.returncode == 1, "the exhausted pool is seen by the API alone"
    assert said["findings"][0]["id"] == INCIDENT
    holes = {m["id"]: m["why"] for m in said["coverage"]["missing"] if m.get("node")}
    assert {"nodename", "cni-log"} <= set(holes)
    assert 'cannot get resource "pods/exec"' in holes["nodename"]


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ("e2e-nobody", "forbidden"),
        ("e2e-expired", "credentials are missing or have expired"),
        ("e2e-wrong", "Connection refused"),
        ("no-such-context", "contexts are e2e"),
    ],
)
def test_no_way_in_is_one_sentence_and_2(e2e: TestCluster, context: str, said: str) -> None:
    done = run(e2e, "check", "--context", context)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_kubectls_plugin_takes_the_current_context(e2e: TestCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from calicokit import cli
    from calicokit.evidence.sources import CONTEXT

    monkeypatch.setenv("KUBECONFIG", str(e2e.kubeconfig))
    monkeypatch.setattr("sys.argv", ["kubectl-calicokit", "check"])
    monkeypatch.setenv(cli.PLUGIN, "1")
    with pytest.raises(SystemExit) as ended:
        cli.plugin()
    assert ended.value.code == 1
    assert cli._source(None, None, False, None) == CONTEXT


def test_an_empty_list_is_empty_with_its_revision_and_time(e2e: TestCluster) -> None:
    source = LiveCluster("e2e-reader", str(e2e.kubeconfig))
    ((_, answer),) = source.fetch([Want("bgpfilters")])
    assert isinstance(answer, Evidence)
    document = json.loads(answer.text)
    assert document["items"] == []
    assert int(document["metadata"]["resourceVersion"]) > 0
    assert answer.time is not None


def test_a_kind_that_is_not_served_is_a_hole_unless_its_group_is_optional(e2e: TestCluster) -> None:
    name = "bgpfilters.crd.projectcalico.org"
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    definition: Any = e2e.call("GET", path)
    e2e.call("DELETE", path)
    e2e._until("it is gone", lambda: "bgpfilters" not in str(e2e.call("GET", "/apis/crd.projectcalico.org/v1")))
    try:
        source = LiveCluster("e2e-reader", str(e2e.kubeconfig))
        answers = dict(source.fetch([Want("bgpfilters"), Want("adminnetworkpolicies")]))
        assert "no bgpfilters in crd.projectcalico.org/v1 or projectcalico.org/v3" in str(answers[Want("bgpfilters")])
        assert isinstance(answers[Want("adminnetworkpolicies")], Evidence)
    finally:
        meta = {"name": name, "annotations": definition["metadata"].get("annotations", {})}
        e2e._define({**definition, "metadata": meta, "status": None})

"""Nodes that hang, die, flood or are gone, an API server that restarts, lists that expire, captures broken off."""

from __future__ import annotations

import base64
import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from calicokit.evidence.catalog import ITEMS, Command, Log
from calicokit.evidence.image import programs
from calicokit.evidence.live import cluster as live
from calicokit.evidence.live import execute as executing
from calicokit.evidence.live.api import ApiError, Query, Server
from calicokit.evidence.live.cluster import LiveCluster
from calicokit.evidence.model import Answer, Evidence, Missing, Want
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from tests.e2e.lab import TestCluster, stored
from tests.e2e.live import connected, run

INCIDENT = "healthy-bgp-mesh"
IDS = ("ip-rule", "ip-neigh", "ip-route", "bridge-fdb", "nodename", "felix-log")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording(index()[INCIDENT].path, INCIDENT)


@pytest.fixture(autouse=True)
def loaded(e2e: TestCluster, recording: Recording) -> Iterator[dict[str, Any]]:
    """The cluster as recorded; yields what the stand-in answers, to be changed and replayed."""
    if not hasattr(loaded, "answers"):
        e2e.load(recording)
        loaded.answers = copy.deepcopy(e2e.answers)  # type: ignore[attr-defined]
    yield copy.deepcopy(loaded.answers)  # type: ignore[attr-defined]
    e2e.replay(loaded.answers)  # type: ignore[attr-defined]


def address(e2e: TestCluster, node: str) -> str:
    found = e2e.call("GET", f"/api/v1/nodes/{node}")["status"]["addresses"]
    return next(str(a["address"]) for a in found if a["type"] == "InternalIP")


def asked(e2e: TestCluster, nodes: list[str], ids: tuple[str, ...] = IDS) -> dict[Want, Answer]:
    return dict(LiveCluster("e2e-reader", str(e2e.kubeconfig)).fetch([Want(i, n) for n in nodes for i in ids]))


def change(answers: dict[str, Any], host: str, **how: Any) -> None:
    for command in answers["hosts"][host]["exec"]:
        command.update(how)


def test_a_node_that_hangs_is_left_after_two_commands_and_holds_up_no_other(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = recording.nodes()
    change(loaded, address(e2e, first), stdout="", hang=True)
    e2e.replay(loaded)
    monkeypatch.setattr(live, "QUICK", 1)
    monkeypatch.setattr(live, "HEAVY", 1)
    answers = asked(e2e, [first, *others])
    whys = [str(a) for w, a in answers.items() if w.node == first and isinstance(a, Missing)]
    assert len(whys) == len(IDS)
    assert sum("no end within 1 s" in w for w in whys) == live.GIVE_UP
    assert sum("not queried" in w for w in whys) == len(IDS) - live.GIVE_UP
    assert all(isinstance(a, Evidence) for w, a in answers.items() if w.node != first)


def test_a_node_that_floods_is_stopped(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = recording.nodes()[1]
    change(loaded, address(e2e, node), flood=True)
    e2e.replay(loaded)
    monkeypatch.setattr(executing, "COMMAND_BYTES", 4 << 20)
    answer = asked(e2e, [node], ("ip-route",))[Want("ip-route", node)]
    assert isinstance(answer, Missing)
    assert "stopped after 4 MiB" in answer.why


def test_a_connection_that_breaks_is_a_hole_with_the_runtimes_words(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording
) -> None:
    node = recording.nodes()[2]
    change(loaded, address(e2e, node), die=True)
    e2e.replay(loaded)
    answer = asked(e2e, [node], ("ip-route",))[Want("ip-route", node)]
    assert isinstance(answer, Missing)
    assert "connection reset by peer" in answer.why


def test_a_node_that_is_gone_is_a_hole_and_its_logs_and_metrics_too(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording
) -> None:
    first, second = recording.nodes()[:2]
    loaded["hosts"][address(e2e, first)]["down"] = True
    e2e.replay(loaded)
    answers = asked(e2e, [first, second], (*IDS, "felix-metrics"))
    gone = [a for w, a in answers.items() if w.node == first]
    assert all(isinstance(a, Missing) and a.why for a in gone)
    assert all(isinstance(a, Evidence) for w, a in answers.items() if w.node == second)


def test_what_the_image_lacks_is_a_hole_and_alternatives_are_tried(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording
) -> None:
    node = recording.nodes()[0]
    host = loaded["hosts"][address(e2e, node)]
    host["exec"] = [c for c in host["exec"] if c["argv"][0] != "tc"]
    for command in host["exec"]:
        if command["argv"][:2] == ["birdcl", "show"]:
            command["argv"] = ["birdcl", "-s", "/var/run/calico/bird.ctl", *command["argv"][1:]]
    e2e.replay(loaded)
    answers = asked(e2e, [node], ("tc-qdisc", "birdcl-status"))
    lost, found = answers[Want("tc-qdisc", node)], answers[Want("birdcl-status", node)]
    assert isinstance(lost, Missing)
    assert "image has no tc" in lost.why
    assert isinstance(found, Evidence)
    assert "-s /var/run/calico/bird.ctl" in found.command


def test_only_what_the_image_has_is_answered(loaded: dict[str, Any]) -> None:
    """As in calico-node's image: a host's ss, nstat, sysctl, bridge and calicoctl are not there."""
    answered = {command["argv"][0] for host in loaded["hosts"].values() for command in host.get("exec", ())}
    assert {"ip", "cat", "grep"} <= answered <= programs(None)


def test_metrics_that_are_off_are_a_hole_with_the_setting(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording
) -> None:
    node = recording.nodes()[0]
    loaded["hosts"][address(e2e, node)]["http"] = {}
    e2e.replay(loaded)
    answer = asked(e2e, [node], ("felix-metrics",))[Want("felix-metrics", node)]
    assert isinstance(answer, Missing)
    assert "prometheusMetricsEnabled" in answer.why


def test_calico_nodes_mixed_log_is_told_apart(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording, tmp_path: Path
) -> None:
    node = recording.nodes()[0]
    answers = dict(recording.fetch([Want("felix-log", node), Want("confd-log", node)]))
    parts = {w.id: a.text for w, a in answers.items() if isinstance(a, Evidence)}
    mixed = tmp_path / "mixed.log"
    heads = {k: t[t.index(b"\n") + 1 :] for k, t in parts.items()}  # the first line may be cut
    mixed.write_bytes(b"".join(heads.values()))
    pods = e2e.call("GET", "/api/v1/pods?labelSelector=k8s-app%3Dcalico-node")["items"]
    pod = next(p for p in pods if p["spec"]["nodeName"] == node)
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}/calico-node"
    loaded["hosts"][address(e2e, node)]["logs"][name] = str(mixed)
    e2e.replay(loaded)
    found = asked(e2e, [node], ("felix-log",))[Want("felix-log", node)]
    assert isinstance(found, Evidence)
    assert found.command.startswith("GET ")
    assert found.text == heads["felix-log"]


# ---- the API server


def test_ten_thousand_pods_are_listed_in_pages(e2e: TestCluster) -> None:
    pods = e2e.call("GET", "/api/v1/pods")
    model = pods["items"][0]
    many = [
        {**model, "metadata": {**model["metadata"], "name": f"many-{i}", "namespace": "many", "uid": f"many-{i}"}}
        for i in range(10_000)
    ]
    try:
        e2e.put(stored("v1", "pods", {"kind": "PodList", "items": many}))
        cluster = connected(e2e)
        e2e.clear_audit()
        table = cluster.table("kube.pods")
        pages = [e for e in e2e.audit("reader") if e["verb"] == "list" and "/api/v1/pods?" in e["requestURI"]]
        assert (table["namespace"] == "many").sum() == 10_000
        assert len(pages) >= 20
    finally:
        e2e.delete("/registry/pods/many/")


def test_a_list_that_expires_between_pages_is_read_again_whole(
    e2e: TestCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is made to point to revision 1, which etcd has forgotten: the API server itself answers 410."""
    server = Server("e2e-reader", str(e2e.kubeconfig))
    get, statuses = server.get, []

    def forgetful(path: str, query: Query = (), **how: Any) -> bytes:
        old = [(k, _old(v) if k == "continue" else v) for k, v in query]
        try:
            return get(path, old, **how)
        except ApiError as error:
            statuses.append(error.status)
            raise

    e2e.compact()
    monkeypatch.setattr("calicokit.evidence.live.api.PAGE", 5)
    monkeypatch.setattr(server, "get", forgetful)
    listed = server.list("/api/v1/pods")
    assert statuses == [410]
    names = [p["metadata"]["name"] for p in json.loads(listed.text)["items"]]
    assert sorted(names) == sorted(p["metadata"]["name"] for p in e2e.call("GET", "/api/v1/pods")["items"])
    assert listed.count == len(names)


def _old(token: str) -> str:
    padded = token + "=" * (-len(token) % 4)
    known = json.loads(base64.urlsafe_b64decode(padded))
    return base64.urlsafe_b64encode(json.dumps({**known, "rv": 1}).encode()).decode().rstrip("=")


def test_an_api_server_that_restarts_halfway_costs_nothing(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording, tmp_path: Path
) -> None:
    for host in recording.nodes():
        change(loaded, address(e2e, host), delay=0.3)
    e2e.replay(loaded)
    out = tmp_path / "out.zip"
    results: list[subprocess.CompletedProcess[str]] = []
    words = ("capture", out, "--context", "e2e-reader", "--topics", "health,cni,bgp,output", "--format", "json")
    working = threading.Thread(target=lambda: results.append(run(e2e, *words, limit=240)))
    working.start()
    time.sleep(4)
    e2e.restart_apiserver()
    working.join()
    done = results[0]
    assert done.returncode == 0, done.stderr
    lost = {(m["id"], m["node"]): m["why"] for m in json.loads(done.stdout)["missing"] if m.get("node")}
    had = {(w.id, w.node) for w, a in recording.fetch([Want(*k) for k in lost]) if isinstance(a, Evidence)}
    assert not {k: lost[k] for k in had if "broke off" not in lost[k]}, "only what ran at that moment"
    assert len(had) <= len(recording.nodes()), "one command on each node at most"


def test_ctrl_c_ends_a_capture_at_once_and_the_next_goes_on(
    e2e: TestCluster, loaded: dict[str, Any], recording: Recording, tmp_path: Path
) -> None:
    slow = address(e2e, recording.nodes()[0])
    change(loaded, slow, stdout="", hang=True)
    e2e.replay(loaded)
    out = tmp_path / "out.zip"
    command = [sys.executable, "-m", "calicokit", "capture", str(out), "--context", "e2e-reader"]
    env = {**os.environ, "KUBECONFIG": str(e2e.kubeconfig)}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "out.zip.partial" / "journal.jsonl"
    e2e._until("the other nodes have answered", lambda: journal.exists() and journal.read_text().count("\n") > 100, 60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "calicokit capture" in said, "it says how to go on"
    assert "Traceback" not in said
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    have = {(line["id"], line["node"]) for line in lines if line.get("node") and not line.get("why")}
    e2e.replay(loaded_again := copy.deepcopy(loaded))
    change(loaded_again, slow, hang=False)
    e2e.replay(loaded_again)
    e2e.clear_audit()
    done = run(e2e, "capture", out, "--context", "e2e-reader")
    assert done.returncode == 0, done.stderr
    assert len(have) > 50
    assert not have & commands_run(e2e), "what was kept is not asked again"
    assert not (tmp_path / "out.zip.partial").exists()
    assert list(Recording(out).nodes()) == list(recording.nodes())


def commands_run(e2e: TestCluster) -> set[tuple[str, str]]:
    """The evidence that the audit log says was read by a command, and on which node."""
    node_of = {p["metadata"]["name"]: p["spec"]["nodeName"] for p in e2e.call("GET", "/api/v1/pods")["items"]}
    ids = {a: i.id for i in ITEMS if isinstance(i.how, Command) for a in i.how.argvs}
    ids |= {i.how.argv: i.id for i in ITEMS if isinstance(i.how, Log) and i.how.path}
    events = [e for e in e2e.audit("reader") if e.get("objectRef", {}).get("subresource") == "exec"]
    argvs = [tuple(parse_qs(urlsplit(e["requestURI"]).query)["command"])[4:] for e in events]
    return {(ids[a], node_of[e["objectRef"]["name"]]) for a, e in zip(argvs, events, strict=True)}


def test_two_captures_hold_the_same_objects(e2e: TestCluster, tmp_path: Path) -> None:
    found = []
    for name in ("a.zip", "b.zip"):
        words = ("capture", tmp_path / name, "--context", "e2e-reader", "--topics", "ipam,health")
        assert run(e2e, *words).returncode == 0
        wants = [Want(i) for i in ("ippools", "ipamblocks", "pods", "nodes")]
        answers = [a for _, a in Recording(tmp_path / name).fetch(wants) if isinstance(a, Evidence)]
        found.append([json.loads(a.text)["items"] for a in answers])
    assert len(found[0]) == 4
    assert found[0] == found[1]
    done = run(e2e, "diff", tmp_path / "a.zip", tmp_path / "b.zip", "--format", "json")
    assert done.returncode == 0, done.stdout[:2000]
    live = run(e2e, "diff", tmp_path / "a.zip", "context:e2e-reader", "--format", "json")
    assert live.returncode in (0, 1), live.stderr

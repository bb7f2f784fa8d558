"""Diagnosis agrees with what really happened, and looks at nothing but evidence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from calicokit.cluster import Cluster
from calicokit.diagnosis.findings import Findings
from calicokit.evidence.recordings.recording import Recording
from tests import recordings
from tests.clusters import checked, opened
from tests.evidence.test_sources import unpacked
from tests.examples import first

WORTH_TELLING = ("warning", "critical")


def loud(findings: Findings) -> list[str]:
    return [f.id for f in findings if f.severity in WORTH_TELLING]


def faults(name: str) -> list[str]:
    cause = json.loads(recordings.read(name, "cause.json"))
    return [f["kind"] for f in cause["faults"]]


@pytest.mark.parametrize("name", [n for n in recordings.names() if not faults(n)])
def test_silence_where_nothing_is_wrong(name: str) -> None:
    findings = checked(name)
    assert loud(findings) == []
    assert findings.status == 0
    assert findings.coverage.missing == []


@pytest.mark.parametrize("name", recordings.names())
def test_what_is_found_is_what_was_done(name: str) -> None:
    """The heads (unexplained findings) are exactly the faults."""
    heads = {f.id for f in checked(name) if f.severity in WORTH_TELLING and not f.explained_by}
    cause = json.loads(recordings.read(name, "cause.json"))
    done = [{f["kind"], *f.get("or", ())} for f in cause["faults"]]
    assert all(heads & kinds for kinds in done)
    assert heads <= set().union(*done)


def test_ipam_exhausted_names_the_pool_and_the_pods_that_wait() -> None:
    first = checked("ipam-exhausted")[0]
    pods = json.loads(recordings.read("ipam-exhausted", "api/v1_pods.json"))["items"]
    wait = sorted(p["metadata"]["name"] for p in pods if p["status"]["phase"] == "Pending")
    assert (first.id, first.severity, first.subject) == ("ipam-exhausted", "critical", {"pool": "default-ipv4-ippool"})
    rows = {k["pod"] for r in first.evidence if r.table == "ipam.waiting" for k in r.keys}
    assert sorted(rows) == wait
    assert all(pod in first.cause for pod in wait)
    assert {"ipamblocks", "pods", "cni-log"} <= {r.id for r in first.evidence}


def test_ipam_leaked_names_exactly_the_leaked_addresses_and_both_pods() -> None:
    findings = checked("ipam-leaked")
    text = recordings.read("ipam-leaked", "cluster/calicoctl-ipam-check-all.txt").decode()
    leaked = {line.split()[0] for line in text.splitlines() if " leaked; attrs" in line}
    leaks = [f for f in findings if f.id == "ipam-leak"]
    assert {a for f in leaks for a in f.subject["addresses"]} == leaked
    (duplicate,) = (f for f in findings if f.id == "ipam-duplicate")
    assert f"{duplicate.subject['address']} has multiple owners" in text
    assert len(duplicate.subject["owners"]) == 2
    # The pod that took the other's address left its own behind: that leak hangs under the duplicate.
    left = [f for f in leaks if f.explained_by == "ipam-duplicate"]
    assert [len(f.subject["addresses"]) for f in left] == [1]
    assert findings.index(duplicate) < findings.index(left[0])


@pytest.mark.parametrize("name", first(1, ["ipam-leaked", "policy-drop", "ipam-exhausted", "healthy-datacenter"]))
def test_answers_rest_on_evidence_alone(name: str, tmp_path: Path) -> None:
    """Without the answer, the probes, the name, the description and calicoctl's opinion, the findings are the same."""
    before = [f.as_dict() for f in checked(name)]
    recording = unpacked(tmp_path, name).rename(tmp_path / "a-recording")
    for told in ("cause.json", "probes.json"):
        (recording / told).unlink(missing_ok=True)
    for told in (recording / "cluster").glob("calicoctl-*"):
        told.unlink()
    manifest = json.loads((recording / "manifest.json").read_text())
    del manifest["description"]
    (recording / "manifest.json").write_text(json.dumps(manifest))
    assert [f.as_dict() for f in Cluster(Recording(recording)).check()] == before


@pytest.mark.parametrize("name", ["ipam-leaked", "healthy-bgp-mesh"])
def test_a_false_answer_beside_the_evidence_changes_nothing(name: str, tmp_path: Path) -> None:
    before = [f.as_dict() for f in checked(name)]
    recording = unpacked(tmp_path, name)
    lie = {"faults": [{"kind": "ipam-exhausted", "pool": "none"}]}
    (recording / "cause.json").write_text(json.dumps(lie))
    manifest = json.loads((recording / "manifest.json").read_text())
    manifest["description"] = "Everything is exhausted and leaked."
    (recording / "manifest.json").write_text(json.dumps(manifest))
    assert [f.as_dict() for f in Cluster(Recording(recording)).check()] == before


@pytest.mark.slow
def test_an_operator_install_is_seen_and_judged_the_same(tmp_path: Path) -> None:
    """Operator installs keep Calico in calico-system: tested with a recording's objects moved there."""
    recording = unpacked(tmp_path, "ipam-exhausted")
    for file in (recording / "api").glob("*.json"):
        document = json.loads(file.read_text())
        for item in document["items"]:
            if (item["metadata"].get("labels") or {}).get("k8s-app", "").startswith("calico-"):
                item["metadata"]["namespace"] = "calico-system"
        file.write_text(json.dumps(document))
    cluster = Cluster(Recording(recording))
    install = cluster.table("health.install").iloc[0]
    assert (install["install"], install["namespace"]) == ("operator", "calico-system")
    assert len(cluster.table("health.pods")) == 5
    assert loud(cluster.check()) == ["ipam-exhausted"]
    assert checked("ipam-exhausted")[0].cause == cluster.check()[0].cause


def test_a_manifest_install_is_seen() -> None:
    install = opened("healthy-vxlan-typha").health.install().iloc[0]
    assert (install["install"], install["namespace"], install["typha"]) == ("manifest", "kube-system", True)


def test_a_recording_without_a_node_says_so(tmp_path: Path) -> None:
    recording = unpacked(tmp_path, "ipam-exhausted")
    shutil.rmtree(recording / "nodes" / "node-2")
    findings = Cluster(Recording(recording)).check()
    assert findings[0].id == "ipam-exhausted"
    assert {(m.id, m.node) for m in findings.coverage.missing} >= {("cni-log", "node-2")}

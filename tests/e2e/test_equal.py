"""What the kit says of a live cluster is what it says of a recording of it: findings, tables, captures, pages.

Of every incident the evidence is compared, of which all else is made; of those that differ most, all else too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from calicokit import registry
from calicokit.cluster import Cluster
from calicokit.evidence.catalog import CATALOG, ITEMS, Admin, Api
from calicokit.evidence.model import Evidence, Source, Want
from calicokit.evidence.objects import decode_list
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from tests.clusters import Sharing
from tests.conftest import FEW
from tests.e2e.lab import TestCluster
from tests.e2e.live import AsLive, connected, live_source, run

REPAIRED = ("Service", "IPAddress")
"""What this API server itself writes events about: services and their addresses, which it did not give out."""

OWN = ("apiservices", "api-resources", "configmaps")
"""What it has more of than the recorded one: of these the tables are compared."""


@pytest.fixture(scope="module")
def recording(request: pytest.FixtureRequest, e2e: TestCluster) -> Recording:
    found = Recording(index()[request.param].path, request.param)
    e2e.load(found)
    return found


def of_each(incidents: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recording", sorted(incidents), indirect=True, scope="module")


def holes(cluster: Cluster) -> set[tuple[str, str | None]]:
    missing = cluster.coverage.as_dict()["missing"]
    return {
        (m["id"], m.get("node"))  # type: ignore[union-attr, index]
        for m in missing  # type: ignore[attr-defined]
        if m["id"] not in CATALOG or not isinstance(CATALOG[m["id"]].how, Admin)
    }


def seen(cluster: Cluster) -> list[Want]:
    """What was seen, without kinds that a live cluster does not serve and so has no objects of."""
    hows = {w: CATALOG[w.id].how for w in cluster.coverage.seen}
    return sorted(
        (w for w, how in hows.items() if not (isinstance(how, Api) and (how.optional or how.newer))),
        key=lambda w: (w.id, w.node or ""),
    )


def comparable(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table without what must differ: revisions are etcd's, and API servers write events of their own; why nothing
    was sampled is told in other words.
    """
    frame = pd.DataFrame(table).drop(columns="revision", errors="ignore")
    if name.startswith("guide."):
        frame = frame.assign(told=frame["told"].str.replace(r"\([\w-]+ on [\w-]+: .*\)", "", regex=True))
    if name == "kube.events":
        frame = frame[~frame["kind"].isin(REPAIRED)]
    return frame.reset_index(drop=True)


def told(source: Source, wants: list[Want]) -> dict[Want, object]:
    """What a source answers, less what must differ (see :func:`comparable`); None where that is nothing."""
    return {w: _content(a) or None if isinstance(a, Evidence) else None for w, a in source.fetch(wants)}


def _content(answer: Evidence) -> object:
    if not isinstance(CATALOG[answer.id].how, Api):
        return answer.path, answer.exit or 0, answer.text
    items = {}
    for raw in decode_list(answer).raw:
        item = json.loads(bytes(raw))
        meta = item["metadata"]
        if not (answer.id == "events" and item["involvedObject"]["kind"] in REPAIRED):
            kept = {k: v for k, v in meta.items() if k not in ("resourceVersion", "managedFields", "selfLink")}
            items[meta.get("namespace"), meta["name"]] = {**item, "metadata": kept, "kind": "", "apiVersion": ""}
    return items


@of_each(index())
def test_evidence_is_that_of_the_recording(e2e: TestCluster, recording: Recording) -> None:
    of_cluster = [Want(i.id) for i in ITEMS if i.scope == "cluster"]
    of_nodes = [Want(i.id, n) for n in recording.nodes() for i in ITEMS if i.scope == "node"]
    wants = [w for w in (*of_cluster, *of_nodes) if not (w.id in OWN or isinstance(CATALOG[w.id].how, Admin))]
    live, recorded = told(live_source(e2e, at=recording.now()), wants), told(AsLive(recording), wants)
    assert [w for w in wants if live[w] != recorded[w]] == []


@of_each(FEW)
def test_findings_coverage_and_all_tables_are_those_of_the_recording(e2e: TestCluster, recording: Recording) -> None:
    live, recorded = connected(e2e, at=recording.now()), Sharing(AsLive(recording))
    assert [f.as_dict() for f in live.check()] == [f.as_dict() for f in recorded.check()]
    assert seen(live) == seen(recorded)
    for name, spec in registry.load().items():
        if spec.options:
            continue
        mine, theirs = live.table(name), recorded.table(name)
        assert bool(mine.unknown) == bool(theirs.unknown), f"{name}: {mine.unknown} / {theirs.unknown}"
        pd.testing.assert_frame_equal(comparable(name, mine), comparable(name, theirs), obj=name)
    assert holes(live) == holes(recorded)


@of_each(FEW)
def test_verdicts_paths_and_walks_are_those_of_the_recording(e2e: TestCluster, recording: Recording) -> None:
    live, recorded = connected(e2e, at=recording.now()), Sharing(AsLive(recording))
    pods = recorded.table("routes.pods").head(6)
    names = [f"{n}/{p}" for n, p in zip(pods["namespace"], pods["pod"], strict=True)]
    mine, theirs = live.explainer(), recorded.explainer()
    for src in names:
        for dst in [*names, "svc/kube-system/kube-dns", "192.0.2.1"]:
            assert mine.explain(src, dst, 53, "udp").as_dict() == theirs.explain(src, dst, 53, "udp").as_dict()
    for address in pods["address"]:
        for node in recording.nodes():
            pd.testing.assert_frame_equal(live.routes.path(node, address), recorded.routes.path(node, address))
        for asked in ("walk", "steps"):
            pd.testing.assert_frame_equal(*(_asked(c, asked, names[0], address) for c in (live, recorded)), obj=asked)


def _asked(cluster: Cluster, what: str, src: str, dst: str) -> pd.DataFrame:
    topic = cluster.dataplane if what == "walk" else cluster.connectivity
    frame: pd.DataFrame = getattr(topic, what)(src, dst, "8080")
    return frame


@of_each(FEW)
def test_a_capture_says_the_same_and_has_no_secrets(e2e: TestCluster, recording: Recording, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    done = run(e2e, "capture", out, "--context", "e2e-reader", "--format", "json")
    assert done.returncode == 0, done.stderr
    captured, recorded = Recording(out), AsLive(recording)
    captured.now = recording.now  # type: ignore[method-assign]
    assert [f.as_dict() for f in Sharing(captured).check()] == [f.as_dict() for f in Sharing(recorded).check()]
    text = out.read_bytes()
    assert b"last-applied-configuration" not in text
    said = json.loads(done.stdout)
    assert said["files"] > 100
    assert said["redacted"]

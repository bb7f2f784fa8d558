"""One conformance suite for every source, and what the cluster does with late, partial and refused answers."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.model import Evidence, Missing, Source, SourceError, Want
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from calicokit.evidence.sources import source_of
from calicokit.felix.metrics.watch import Watch
from tests.clusters import Sharing
from tests.evidence import bundles
from tests.fakes import MemorySource, api_list, node, pod, pool

INCIDENT = "healthy-vxlan-typha"


def unpacked(target: Path, name: str = INCIDENT) -> Path:
    with tarfile.open(index()[name].path) as archive:
        archive.extractall(target, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # since 3.11.4
    return target / name


def as_zip(directory: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (f for f in directory.rglob("*") if f.is_file()):
            archive.writestr(file.relative_to(directory.parent).as_posix(), file.read_bytes())
    return target


def memory_copy(source: Source) -> MemorySource:
    wants = [Want(i.id, n) for i in CATALOG.values() for n in (source.nodes() if i.scope == "node" else [None])]
    found = {w: a.text for w, a in source.fetch(wants) if isinstance(a, Evidence)}
    return MemorySource(found, known_nodes=source.nodes(), time=source.now())


@pytest.fixture(scope="module", params=["directory", "zip", "tar.xz", "memory", "cluster diags", "loose outputs"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    if request.param == "tar.xz":
        return Recording(index()[INCIDENT].path)
    if request.param == "cluster diags":
        top = tmp_path_factory.mktemp("bundle")
        return source_of(str(bundles.packed(bundles.cluster_diags(INCIDENT), top / "diags.tar.gz")))
    if request.param == "loose outputs":
        return source_of(str(bundles.written(bundles.loose(INCIDENT), tmp_path_factory.mktemp("loose"))))
    directory = unpacked(tmp_path_factory.mktemp("recording"))
    if request.param == "zip":
        return Recording(as_zip(directory, directory.parent / "it.zip"))
    return Recording(directory) if request.param == "directory" else memory_copy(Recording(directory))


def test_is_a_source(source: Source) -> None:
    assert isinstance(source, Source)


def test_names_its_nodes_and_its_time(source: Source) -> None:
    assert list(source.nodes()) == ["node-1", "node-2", "node-3", "node-4"]
    now = source.now()
    assert now is not None or "loose" in source.name  # a folder of outputs does not say when
    assert now is None or now.tzinfo is not None


def test_answers_every_want_once_with_evidence_or_reason(source: Source) -> None:
    wants = [Want("pods"), Want("cni-log", "node-1"), Want("cni-log", "no-such-node"), Want("felix-ready", "node-2")]
    answers = dict(source.fetch(wants))
    assert set(answers) == set(wants)
    assert isinstance(answers[Want("pods")], Evidence)
    lost = answers[Want("cni-log", "no-such-node")]
    assert isinstance(lost, Missing)
    assert lost.node == "no-such-node"
    assert lost.why


def test_evidence_tells_where_it_is_from(source: Source) -> None:
    ((_, evidence),) = source.fetch([Want("cni-log", "node-3")])
    assert isinstance(evidence, Evidence)
    assert "node-3" in evidence.ref
    assert evidence.text


def test_every_source_gives_the_same_tables_and_findings(source: Source) -> None:
    cluster, reference = Sharing(source), Sharing(Recording(index()[INCIDENT].path))
    for name in ("ipam.allocations", "health.pods", "cni.results"):
        unknown = ["evidence"] if source.now() else ["evidence", "age"]
        first, second = (c.table(name).drop(columns=unknown, errors="ignore") for c in (cluster, reference))
        pd.testing.assert_frame_equal(first, second)
    held_up = set(cluster.check().coverage.checked) ^ set(reference.check().coverage.checked)
    mine, theirs = ([f.as_dict() for f in c.check() if f.id not in held_up] for c in (cluster, reference))
    assert mine == theirs
    assert not held_up or not isinstance(source, Recording), "a recording holds nothing up"


def test_command_evidence_keeps_its_exit_status_and_stderr() -> None:
    ((_, evidence),) = Recording(index()["bgp-as-mismatch"].path).fetch([Want("felix-ready", "node-1")])
    assert isinstance(evidence, Evidence)
    assert evidence.exit == 0
    assert "felix-ready" in evidence.command


def test_series_are_samples_with_their_time(tmp_path: Path) -> None:
    directory = unpacked(tmp_path)
    for minute in (10, 20):
        folder = directory / "cluster" / "series" / f"20260101T00{minute}00Z"
        folder.mkdir(parents=True)
        name = "crd.projectcalico.org_v1_ipamblocks.json"
        (folder / name).write_bytes((directory / "api" / name).read_bytes())
    answers = [a for _, a in Recording(directory).fetch([Want("ipamblocks", series=True)])]
    assert [a.time.minute for a in answers if isinstance(a, Evidence) and a.time] == [10, 20]
    ((_, none),) = Recording(directory).fetch([Want("ippools", series=True)])
    assert isinstance(none, Missing)


def test_a_source_around_another_is_that_source_but_for_what_it_gives() -> None:
    class Leftovers(MemorySource):
        live = True
        unused = (Missing("", "x.txt is no evidence"),)

    inner = Leftovers({Want("nodes"): api_list([node("n1")])}, known_nodes=["n1"])
    outer = Watch(inner)
    assert (outer.live, outer.unused, outer.nodes(), outer.now()) == (True, inner.unused, ["n1"], inner.now())
    wants = [Want("nodes"), Want("felix-metrics", "n1", series=True)]
    assert {type(a) for w, a in outer.fetch(wants) if w == wants[0]} == {Evidence}
    assert inner.asked == [(wants[0],)]


# ---- what the cluster makes of a source that is slow, partial or refuses


def asking(**kwargs: object) -> MemorySource:
    wants = {Want("nodes"): api_list([node(f"n{i}") for i in range(200)]), Want("pods"): api_list([pod("a/b", "n1")])}
    logs = {Want("cni-log", f"n{i}"): b"" for i in range(200)}
    return MemorySource({**wants, **logs}, **kwargs)  # type: ignore[arg-type]


def test_evidence_is_fetched_only_when_something_needs_it_and_only_once() -> None:
    source = asking()
    cluster = Sharing(source)
    assert source.asked == []
    cluster.table("kube.pods")
    cluster.table("kube.workload_endpoints")
    assert source.asked == [(Want("pods"),)]


def test_hundreds_of_nodes_are_asked_at_once() -> None:
    source = asking(slow={Want("cni-log", f"n{i}"): 0.2 for i in range(200)})
    assert not Sharing(source).table("cni.results").unknown
    assert max(len(a) for a in source.asked) == 200


def test_a_late_node_is_a_hole_and_the_others_still_answer() -> None:
    late = Want("cni-log", "n7")
    cluster = Cluster(asking(slow={late: 3.0}, deadline=1.0))
    assert not cluster.table("cni.results").unknown
    assert [str(m) for m in cluster.coverage.missing] == ["cni-log on n7: no answer within 1 s"]


def test_refused_evidence_makes_the_table_unknown_not_empty() -> None:
    cluster = Cluster(asking(refused={Want("pods"): "RBAC: pods is forbidden"}))
    table = cluster.table("kube.pods")
    assert table.empty
    assert [m.why for m in table.unknown] == ["RBAC: pods is forbidden"]
    assert "unknown, not empty" in repr(table)
    assert "unknown, not empty" in (table._repr_html_() or "")


def test_withheld_answers_are_holes() -> None:
    cluster = Cluster(asking(withheld={Want("pods")}))
    assert [m.why for m in cluster.table("kube.pods").unknown] == ["the source gave no answer"]


def test_partial_evidence_is_used_and_said() -> None:
    want = Want("pods")
    cluster = Cluster(asking(partial={want: "the list broke off after 500 pods"}))
    assert len(cluster.table("kube.pods")) == 1
    assert "broke off" in str(cluster.coverage.missing[0])


def test_an_unknown_optional_input_does_not_hide_the_table() -> None:
    wants = {Want("ippools"): api_list([pool("p", "10.0.0.0/24")]), Want("ipamblocks"): api_list([])}
    cluster = Cluster(MemorySource(wants))
    assert len(cluster.table("ipam.utilisation")) == 1
    assert cluster.table("ipam.utilisation")["reserved"].isna().all()
    assert {m.id for m in cluster.coverage.missing} == {"ipreservations"}


def test_windows_nodes_are_not_asked() -> None:
    nodes = [node("linux-1"), node("win-1", labels={"kubernetes.io/os": "windows"})]
    assert Cluster(MemorySource({Want("nodes"): api_list(nodes)}, known_nodes=["win-1"])).nodes() == ["linux-1"]


# ---- from words to sources


def test_a_path_wins_over_an_incident_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unpacked(tmp_path, "healthy-v3.28").rename(tmp_path / "ipam-exhausted")
    assert Sharing(source_of("ipam-exhausted")).check().status == 0
    assert Sharing(source_of("incident:ipam-exhausted")).check()[0].id == "ipam-exhausted"


@pytest.mark.parametrize("text", ["", "  ", "no-such-thing", "incident:none", "/no/such/path"])
def test_what_names_no_source_is_one_sentence(text: str) -> None:
    with pytest.raises(SourceError) as error:
        source_of(text)
    assert "\n" not in str(error.value)


def test_a_near_miss_gets_a_hint() -> None:
    with pytest.raises(SourceError, match="did you mean ipam-exhausted"):
        source_of("ipam-exausted")


def test_zip_of_a_recording_without_top_folder(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("api/v1_pods.json", api_list([pod("a/b", "n1", "10.0.0.1")]))
    (tmp_path / "flat.zip").write_bytes(buffer.getvalue())
    assert len(Sharing(source_of(str(tmp_path / "flat.zip"))).table("kube.pods")) == 1

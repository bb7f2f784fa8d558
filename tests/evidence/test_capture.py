"""A capture is a recording that says the same, holds no secrets, is the same for the same answers, and resumes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.model import Answer, Evidence, Missing, SourceError, Want
from calicokit.evidence.recordings.capture import JOURNAL, capture
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from tests.clusters import Sharing
from tests.fakes import MemorySource, api_list, node

INCIDENT = "felix-churn"  # it has series


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording(index()[INCIDENT].path, INCIDENT)


@pytest.fixture(scope="module")
def captured(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("capture") / "out.zip"
    capture(recording, out)
    return out


def answers(source: Recording) -> dict[Want, list[bytes]]:
    wants = [Want(i.id, n) for i in CATALOG.values() for n in (source.nodes() if i.scope == "node" else [None])]
    series = [Want(w.id, w.node, series=True) for w in wants if CATALOG[w.id].watched]
    found: dict[Want, list[bytes]] = {}
    for want, answer in source.fetch([*wants, *series]):
        if isinstance(answer, Evidence):
            found.setdefault(want, []).append(answer.text)
    return found


def test_a_capture_of_a_recording_holds_what_it_held(recording: Recording, captured: Path) -> None:
    before, after = answers(recording), answers(Recording(captured))
    assert set(before) == set(after)
    assert any(w.series for w in after)
    same = [w for w in before if before[w] == after[w]]
    assert len(same) > 0.8 * len(before), "only what is redacted differs"
    for want in before:
        assert [len(t.splitlines()) for t in before[want]] == [len(t.splitlines()) for t in after[want]], want


def test_the_manifest_has_its_layout_and_lists_what_was_redacted(captured: Path) -> None:
    with zipfile.ZipFile(captured) as archive:
        manifest = json.loads(archive.read("out/manifest.json"))
        names = set(archive.namelist())
    assert manifest["version"] == 1
    assert manifest["recorded"].endswith("Z")
    assert {f"out/{p}" for p in manifest["files"]} <= names
    assert manifest["redacted"]["api/v1_nodes.json"]["annotations"] > 0
    row = manifest["files"]["nodes/node-1/felix-ready.txt"]
    assert row["exit"] == 0
    assert row["node"] == "node-1"


def test_the_same_answers_give_the_same_bytes(recording: Recording, captured: Path, tmp_path: Path) -> None:
    capture(recording, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == captured.read_bytes()


@pytest.mark.slow
def test_findings_are_the_same(recording: Recording, captured: Path) -> None:
    mine, theirs = Sharing(Recording(captured)).check(), Sharing(recording).check()
    assert [f.as_dict() for f in mine] == [f.as_dict() for f in theirs]


def test_chosen_topics_and_nodes_only(recording: Recording, tmp_path: Path) -> None:
    capture(recording, tmp_path / "part", ids=["nodes", "ip-rule"], nodes=["node-2"])
    files = sorted(p.relative_to(tmp_path / "part").as_posix() for p in (tmp_path / "part").rglob("*") if p.is_file())
    assert files == ["api/v1_nodes.json", "manifest.json", "nodes/node-2/ip-rule.txt"]


class BreaksOff(MemorySource):
    """Ends like Ctrl-C after some answers."""

    after = 3

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        for number, answer in enumerate(super().fetch(wants)):
            if number == self.after:
                raise KeyboardInterrupt
            yield answer


def test_a_capture_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    found = {
        Want("nodes"): api_list([node("n1")]),
        **{Want(i, "n1"): b"x" for i in ("ip-rule", "ip-neigh", "ip-route")},
    }
    found |= {Want("pods"): api_list([])}
    ids = ["nodes", "pods", "ip-rule", "ip-neigh", "ip-route"]
    out = tmp_path / "out"
    first = BreaksOff(found, known_nodes=["n1"])
    with pytest.raises(KeyboardInterrupt):
        capture(first, out, ids, ["n1"])
    journal = tmp_path / "out.partial" / JOURNAL
    assert journal.read_text().count("\n") == 3
    journal.write_bytes(journal.read_bytes()[:-5])  # the machine died while it wrote the last line
    second = MemorySource(found, known_nodes=["n1"])
    done = capture(second, out, ids, ["n1"])
    asked = {w for wants in second.asked for w in wants}
    assert len(asked) == 3
    assert not done.missing
    assert set(Recording(out).nodes()) == {"n1"}


@pytest.mark.parametrize("redact", [True, False])
def test_a_capture_goes_not_on_with_what_one_wrote_that_treats_secrets_otherwise(tmp_path: Path, redact: bool) -> None:
    found = {Want(i, "n1"): b"password=hunter2" for i in ("ip-rule", "ip-neigh", "ip-route", "nstat")}
    with pytest.raises(KeyboardInterrupt):
        capture(BreaksOff(found), tmp_path / "out", [w.id for w in found], ["n1"], redact=not redact)
    with pytest.raises(
        SourceError, match=r"out\.partial was begun with(out)? --keep-secrets; go on so, or remove it\.$"
    ):
        capture(MemorySource(found), tmp_path / "out", [w.id for w in found], ["n1"], redact=redact)
    capture(MemorySource(found), tmp_path / "out", [w.id for w in found], ["n1"], redact=not redact)
    assert (b"hunter2" in (tmp_path / "out" / "nodes/n1/nstat.txt").read_bytes()) is redact


def test_holes_are_in_the_manifest_and_asked_again(tmp_path: Path) -> None:
    source = MemorySource({Want("nodes"): api_list([node("n1")])}, known_nodes=["n1"])
    done = capture(source, tmp_path / "out", ["nodes", "ip-rule"], ["n1"])
    assert [m.id for m in done.missing] == ["ip-rule"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["missing"][0]["id"] == "ip-rule"


def test_nothing_at_all_and_a_name_that_is_taken_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="shows nothing that could be recorded"):
        capture(MemorySource({}), tmp_path / "out", ["pods"], ["n1"])
    (tmp_path / "there.zip").write_bytes(b"")
    with pytest.raises(SourceError, match="exists already"):
        capture(MemorySource({}), tmp_path / "there.zip")


def test_samples_are_taken_over_time(tmp_path: Path) -> None:
    source = MemorySource(
        {Want("nodes"): api_list([node("n1")]), Want("nstat", "n1"): b"#kernel\nIpInReceives 1 0.0\n"}
    )
    capture(source, tmp_path / "out", ["nodes", "nstat"], ["n1"], samples=2, interval=1.1)
    found = [a for _, a in Recording(tmp_path / "out").fetch([Want("nstat", "n1", series=True)])]
    assert len(found) == 2
    assert all(not isinstance(a, Missing) and a.time is not None for a in found)

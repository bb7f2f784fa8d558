"""Sources that are unknown, empty, foreign, hostile or broken: one clear sentence or a named hole, no traceback."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from calicokit.evidence import files
from calicokit.evidence.model import SourceError
from calicokit.evidence.recordings.recording import Recording
from calicokit.evidence.sources import source_of
from tests.clusters import Sharing
from tests.evidence.test_sources import unpacked
from tests.examples import first

GOOD = ("it/manifest.json", b"{}"), ("it/api/v1_pods.json", b'{"kind":"PodList","items":[]}')


def zip_with(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (*GOOD, *members):
            archive.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def tar_with(path: Path, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    member.size = len(data)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in GOOD:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        archive.addfile(member, io.BytesIO(data))
    return path


def tar_link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def tar_with_long_name(path: Path) -> Path:
    """It is as long as it says, and takes no room on the disk."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1536 << 20
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, info.size + 4096)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def folder(path: Path, **files_: bytes) -> Path:
    path.mkdir()
    for name, data in files_.items():
        (path / name).write_bytes(data)
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such path": (lambda d: d / "nothing-here", "neither a file or directory"),
    "an empty file": (lambda d: written(d / "empty.zip", b""), "is empty"),
    "an empty directory": (lambda d: folder(d / "dir"), "contains nothing"),
    "a foreign directory": (
        lambda d: folder(d / "dir", **{"README.md": b"hello", "manifest.json": b"{}"}),
        "contains nothing",
    ),
    "a foreign file": (lambda d: written(d / "photo.png", b"\x89PNG\r\n\0"), "it is not a recording"),
    "a zip cut in half": (
        lambda d: written(d / "cut.zip", zip_with(d / "z.zip").read_bytes()[:150]),
        "it is not a recording",
    ),
    "a tar.gz cut in half": (
        lambda d: written(d / "cut.tar.gz", tar_with(d / "t.tar.gz", tarfile.TarInfo("x")).read_bytes()[:100]),
        "cannot be read",
    ),
    "a zip of nothing": (lambda d: written(d / "none.zip", b"PK\x05\x06" + bytes(18)), "contains nothing"),
    "a zip with ..": (lambda d: zip_with(d / "up.zip", ("../../etc/cron.d/x", b"")), "outside the archive"),
    "a zip with an absolute name": (lambda d: zip_with(d / "abs.zip", ("/etc/passwd", b"")), "outside the archive"),
    "a zip with a backslash ..": (lambda d: zip_with(d / "back.zip", ("..\\..\\x", b"")), "outside the archive"),
    "a zip with a drive": (lambda d: zip_with(d / "drive.zip", ("C:\\x", b"")), "outside the archive"),
    "a zip with a symlink": (lambda d: zip_with(d / "link.zip", (link("it/x"), b"/etc/passwd")), "link"),
    "a zip bomb": (lambda d: zip_with(d / "bomb.zip", ("it/api/big", bytes(300 << 20))), "bomb"),
    "a tar with ..": (lambda d: tar_with(d / "up.tar.gz", tarfile.TarInfo("../x")), "outside the archive"),
    "a tar with a link": (lambda d: tar_with(d / "link.tar.gz", tar_link("it/x")), "link"),
    "a tar with a name of gigabytes": (lambda d: tar_with_long_name(d / "name.tar"), "a name in it has 1,536 MiB"),
    "a tar bomb": (lambda d: tar_with(d / "bomb.tar.gz", tarfile.TarInfo("it/api/big"), bytes(300 << 20)), "bomb"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    make, words = REFUSED[what]
    with pytest.raises(SourceError, match=words) as error:
        Sharing(source_of(str(make(tmp_path)))).check()
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("what", ["a zip bomb", "a foreign file", "an empty directory"])
def test_the_command_says_it_and_exits_with_2(what: str, tmp_path: Path) -> None:
    make, words = REFUSED[what]
    run = subprocess.run(
        [sys.executable, "-m", "calicokit", "check", str(make(tmp_path))], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert words in run.stderr
    assert run.stderr.count("\n") == 1
    assert "Traceback" not in run.stderr


def test_too_many_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 3)
    with pytest.raises(SourceError, match="more than 3 files"):
        Recording(zip_with(tmp_path / "many.zip", ("it/a", b""), ("it/b", b""))).nodes()


# ---- one bad file inside a good source is a hole


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return unpacked(tmp_path, "ipam-exhausted")


def api(recording: Path, plural: str) -> Path:
    return next((recording / "api").glob(f"*_{plural}.json"))


BROKEN = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda _: b"",
    "not a list": lambda _: b"[1, 2, 3]",
    "a number": lambda _: b"7",
    "another kind of document": lambda _: b'{"hello": "world"}',
    "a refusal": lambda _: b'{"kind":"Status","status":"Failure","message":"pods is forbidden"}',
    "not text": lambda _: bytes(range(256)),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("plural", first(1, ["pods", "ipamblocks", "ippools", "nodes", "events", "ipamhandles"]))
def test_a_broken_list_is_a_named_hole(recording: Path, plural: str, how: str) -> None:
    file = api(recording, plural)
    file.write_bytes(BROKEN[how](file.read_bytes()))  # type: ignore[no-untyped-call]
    findings = Sharing(Recording(recording)).check()
    assert plural in {m.id for m in findings.coverage.missing}
    assert findings.status in (1, 3)


@pytest.mark.parametrize(
    "odd", first(1, [{"metadata": {"name": "x"}, "spec": [1]}, None, [], "text", 3, {"metadata": None}])
)
def test_an_odd_object_is_left_out_and_named(recording: Path, odd: object) -> None:
    for plural in ("pods", "ipamblocks", "nodes"):
        file = api(recording, plural)
        document = json.loads(file.read_bytes())
        document["items"].append(odd)
        file.write_text(json.dumps(document))
    findings = Sharing(Recording(recording)).check()
    assert findings[0].id == "ipam-exhausted"
    assert {"pods", "ipamblocks"} <= {m.id for m in findings.coverage.missing if "skipped" in m.why}


@pytest.mark.parametrize(
    "path", first(2, ["spec.nodeName", "status.podIPs", "metadata.creationTimestamp", "status.phase"])
)
def test_a_field_of_another_type_costs_that_object_only(recording: Path, path: str) -> None:
    file = api(recording, "pods")
    document = json.loads(file.read_bytes())
    where, key = path.split(".")
    document["items"][0][where][key] = {"surprise": 1}
    file.write_text(json.dumps(document))
    cluster = Sharing(Recording(recording))
    assert len(cluster.table("kube.pods")) >= len(document["items"]) - 1
    assert cluster.check()[0].id == "ipam-exhausted"


def test_a_missing_manifest_costs_the_time_only(recording: Path) -> None:
    (recording / "manifest.json").unlink()
    assert Sharing(Recording(recording)).check()[0].id == "ipam-exhausted"


def test_a_manifest_of_odd_shape(recording: Path) -> None:
    (recording / "manifest.json").write_text('{"files": [1], "recorded": 7, "no_objects": "x"}')
    assert Sharing(Recording(recording)).check()[0].id == "ipam-exhausted"


def test_only_the_api_objects(recording: Path) -> None:
    for name in ("nodes", "cluster"):
        shutil.rmtree(recording / name)
    findings = Sharing(Recording(recording)).check()
    assert findings[0].id == "ipam-exhausted"
    assert {m.node for m in findings.coverage.missing if m.id == "cni-log"} == {"node-1", "node-2", "node-3", "node-4"}


def test_only_one_node(recording: Path) -> None:
    for name in ("api", "cluster", "nodes/node-1", "nodes/node-3", "nodes/node-4"):
        shutil.rmtree(recording / name)
    findings = Sharing(Recording(recording)).check()
    assert [(f.id, f.subject["pool"]) for f in findings] == [("ipam-exhausted", "unknown")]
    assert "10.48.0.0/27" in findings[0].cause
    assert "ippools" in {m.id for m in findings.coverage.missing}


def test_a_healthy_node_alone_is_3_not_0(tmp_path: Path) -> None:
    recording = unpacked(tmp_path, "healthy-bgp-mesh")
    for name in ("api", "cluster"):
        shutil.rmtree(recording / name)
    findings = Sharing(Recording(recording)).check()
    assert findings == []
    assert findings.status == 3
    assert "ipam-exhausted" in findings.blocked


def test_links_in_a_directory_are_not_followed(recording: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"kind":"PodList","items":[]}')
    file = api(recording, "pods")
    file.unlink()
    file.symlink_to(secret)
    cluster = Sharing(Recording(recording))
    assert "symbolic link" in str(cluster.table("kube.pods").unknown[0])


def test_a_pipe_in_a_directory_does_not_block(recording: Path) -> None:
    file = api(recording, "events")
    file.unlink()
    os.mkfifo(file)
    cluster = Sharing(Recording(recording))
    assert "special file" in str(cluster.table("kube.events").unknown[0])


def test_an_unreadable_member_of_a_zip_is_a_hole(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in (f for f in recording.rglob("*") if f.is_file()):
            archive.writestr(file.relative_to(recording).as_posix(), file.read_bytes())
    data = bytearray(path.read_bytes())
    data[data.index(b'"kind":"EventList"') + 3] ^= 0xFF
    path.write_bytes(bytes(data))
    cluster = Sharing(Recording(path))
    assert "cannot be read" in str(cluster.table("kube.events").unknown[0])
    assert cluster.check()[0].id == "ipam-exhausted"


# ---- texts and names of other systems


def test_a_member_above_the_limit_is_refused_before_it_is_read(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 10)
    for path in (zip_with(tmp_path / "a.zip", ("it/api/x.json", b"12345678901")), _tarred(tmp_path / "a.tar.gz")):
        found = files.open_files(path)
        assert found.refused["it/api/x.json"] == files.TOO_LARGE
        assert "it/api/x.json" not in found.names


def _tarred(path: Path) -> Path:
    return tar_with(path, tarfile.TarInfo("it/api/x.json"), b"12345678901")


@pytest.mark.parametrize("how", ["utf-16-le", "utf-16-be", "utf-8"])
def test_what_windows_shells_save_is_read(recording: Path, how: str) -> None:
    whole = Sharing(Recording(recording)).table("output.ip_rule")
    for path in recording.glob("nodes/*/ip-rule.txt"):
        path.write_bytes(("\ufeff" + path.read_text()).encode(how))
    assert Sharing(Recording(recording)).table("output.ip_rule").equals(whole)


@pytest.mark.slow
def test_gaps_of_zero_bytes_are_left_out_and_said(recording: Path) -> None:
    log = next(recording.glob("nodes/*/felix.log"))
    os.truncate(log, log.stat().st_size + (64 << 20))
    found = Sharing(Recording(recording)).check()
    assert [f.id for f in found if f.severity == "critical"] == ["ipam-exhausted"]
    assert [m.node for m in found.coverage.missing if "gaps of zero bytes" in m.why] == [log.parent.name]


@pytest.mark.slow
def test_a_folder_that_no_node_can_be_called_is_named_and_not_read(recording: Path) -> None:
    node = next((recording / "nodes").iterdir())
    os.rename(node, os.fsencode(recording / "nodes") + b"/node-\xff")
    found = Sharing(Recording(recording)).check()
    assert [f.id for f in found if f.severity == "critical"] == ["ipam-exhausted"]
    assert "nodes/node-\\xff is not read: no node can have that name" in {m.why for m in found.coverage.missing}
    str(found.coverage.missing).encode()  # it can be printed


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"[" * 200_000 + b"]" * 200_000, b'{"kind":"PodList","items":[' + b"[" * 200_000])
def test_an_endless_nesting_is_a_hole(recording: Path, text: bytes) -> None:
    (recording / "api" / "v1_pods.json").write_bytes(text)
    (recording / "manifest.json").write_bytes(text)
    cluster = Sharing(Recording(recording))
    assert cluster.table("kube.pods").unknown
    assert cluster.check().status == 3 or cluster.check().status == 1


@pytest.mark.slow
def test_objects_that_a_list_has_twice_are_the_same_objects(recording: Path) -> None:
    whole = Sharing(Recording(recording))
    for path in (recording / "api").iterdir():
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "items": [*document["items"], *document["items"]]}))
    doubled = Sharing(Recording(recording))
    assert [(f.id, f.where) for f in doubled.check()] == [(f.id, f.where) for f in whole.check()]
    assert len(doubled.table("kube.nodes")) == len(whole.table("kube.nodes"))

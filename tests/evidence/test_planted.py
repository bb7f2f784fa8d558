"""Whatever secret is planted, wherever: none is left in a capture, nor in a report of a recording made by hand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nbformat
import pytest
from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from calicokit.evidence.recordings.capture import capture
from calicokit.report.html import write_html
from tests.evidence.planted import PlantedSource, Planter


@pytest.fixture(scope="module")
def source() -> PlantedSource:
    return PlantedSource()


@pytest.fixture(scope="module")
def kept(source: PlantedSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a capture of it."""
    out = tmp_path_factory.mktemp("planted") / "out.zip"
    capture(source, out, nodes=["n1"])
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def survivors(source: PlantedSource, kept: dict[str, bytes]) -> list[str]:
    whole = b"\n".join([*kept.values(), *(n.encode() for n in kept)])
    planted = source.planter.planted
    return [place for place, words in planted.items() if any(w.encode() in whole for w in words)]


def test_no_planted_secret_survives_a_capture(source: PlantedSource, kept: dict[str, bytes]) -> None:
    forms, left = len(source.planter.planted), survivors(source, kept)
    assert not left, f"{len(left)} of {forms} planted forms survive: {left[:40]}"
    assert forms >= 1500


def test_they_are_there_where_secrets_are_kept(source: PlantedSource, tmp_path: Path) -> None:
    capture(source, tmp_path / "out", nodes=["n1"], redact=False)
    whole = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    planted = source.planter.planted
    there = [place for place, words in planted.items() if any(w.encode() in whole for w in words)]
    assert set(planted) - set(there) == set()


def test_what_is_left_is_whole(kept: dict[str, bytes]) -> None:
    """Lists are JSON with the objects that they had, and labels, names and Calico's settings are theirs."""
    for name, text in kept.items():
        if name.endswith(".json"):
            json.loads(text)
    pods = json.loads(kept["out/api/v1_pods.json"])["items"]
    assert [p["metadata"]["labels"] for p in pods] == [{"k8s-app": "calico-node", "token": "kept"}] * 2
    (node, _), (tenants,) = (p["spec"]["containers"] for p in pods)
    assert node["args"][:3] == ["calico-node", "-felix", "--password"]
    assert node["env"][0] == {"name": "FELIX_LOGSEVERITYSCREEN", "value": "Info"}
    assert {e["value"] for e in tenants["env"]} == {"REDACTED"}
    assert b"FELIX_LOGSEVERITYSCREEN:  Info" in kept["out/cluster/kubectl-describe-pods.txt"]
    assert kept["out/cluster/kubectl-describe-pods.txt"].count(b"cni.projectcalico.org/podIP: 10.0.0.1/32") == 3
    bird = kept["out/nodes/n1/bird.cfg"]
    assert bird.count(b"passive on;") == bird.count(b"protocol bgp") == 9


def test_the_manifest_counts_what_was_taken_and_tells_what_was_withheld(kept: dict[str, bytes]) -> None:
    manifest = json.loads(kept["out/manifest.json"])
    assert manifest["redacted"]["api/v1_pods.json"]["environment values"] > 10
    withheld = {p for p, row in manifest["files"].items() if "withheld" in row.get("partial", "")}
    assert withheld == {p for p, counts in manifest["redacted"].items() if "texts that could not be read" in counts}
    assert {"api/v1_services.json", "api/v1_namespaces.json"} < withheld
    assert "api/v1_nodes.json" not in withheld


def told(folder: Path, source: PlantedSource, redact: bool = True) -> set[tuple[str, str, str]]:
    """What Yelp's detect-secrets finds in a capture: file, kind, hash of the secret."""
    capture(source, folder, nodes=["n1"], redact=redact)
    found = SecretsCollection(root=str(folder))
    with default_settings():
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            found.scan_file(str(path.relative_to(folder)))
    return {(file, secret.type, secret.secret_hash) for file, secret in found}


@pytest.mark.slow
def test_another_tool_finds_nothing_more_than_without_secrets(source: PlantedSource, tmp_path: Path) -> None:
    assert len(told(tmp_path / "kept", source, redact=False)) > 100
    harmless = PlantedSource(Planter(harmless=True))
    assert told(tmp_path / "redacted", source) - told(tmp_path / "harmless", harmless) == set()


READS_ALL = """
import calicokit
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.model import Want

cluster = calicokit.open(source)
wants = [Want(i.id, "n1" if i.scope == "node" else None) for i in CATALOG.values()]
for want, answer in cluster._source.fetch(wants):
    print(answer)
"""


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
def test_a_report_of_a_recording_made_by_hand(source: PlantedSource, tmp_path: Path, keep: bool) -> None:
    capture(source, tmp_path / "by-hand", nodes=["n1"], redact=False)
    cells = [
        new_markdown_cell("# All that there is", id="a"),
        new_code_cell("import os\nsource = os.environ['CALICOKIT_SOURCE']", id="b"),
        new_code_cell(READS_ALL, id="c"),
        new_code_cell("cluster.table('kube.pods')" if keep else "cluster.check()", id="d"),
    ]
    (tmp_path / "n.ipynb").write_text(nbformat.writes(new_notebook(cells=cells)))
    write_html(tmp_path / "n.ipynb", str(tmp_path / "by-hand"), tmp_path / "o.html", keep)
    page = (tmp_path / "o.html").read_bytes()
    assert (not survivors(source, {"page": page})) is not keep
    hidden = page.partition(b'id="what-was-hidden"')[2].decode()
    assert ("Redaction was switched off" in hidden) is keep
    assert ("<td>api/v1_pods.json</td>" in hidden) is not keep
    assert ("texts that could not be read" in hidden) is not keep

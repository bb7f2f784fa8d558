"""docs/adding.md followed for `ethtool -k`: recordings that are older than a row of the catalog do not lack it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from calicokit import __version__, registry
from calicokit.cluster import Cluster
from calicokit.diagnosis.findings import Findings
from calicokit.diagnosis.model import CHECKS, Finding, check
from calicokit.evidence.catalog import CATALOG, Command, Item
from calicokit.evidence.model import Evidence
from calicokit.evidence.recordings.capture import capture
from calicokit.evidence.recordings.recording import Recording
from calicokit.schema import Column, Schema
from tests.evidence.test_sources import unpacked

HEALTHY = "healthy-vxlan-typha"
NEW = Item("ethtool", "Offloads", Command((("ethtool", "-k", "eth0"),)), "node", "ethtool.txt", since=__version__)
OFFLOADS = Schema("health.offloads", "offloads of interfaces", (Column("node", "str", "node"),))
CRITICAL = "ipam-exhausted"


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The row, a table of it and a critical check of that, for one test."""
    monkeypatch.setitem(CATALOG, NEW.id, NEW)
    registry.load()
    before = list(CHECKS)
    CHECKS[:] = []

    @registry.table(OFFLOADS, needs={"ethtool": "ethtool"})
    def offloads(ethtool: list[Evidence]) -> pd.DataFrame:
        return OFFLOADS.frame({"node": [e.node for e in ethtool]})

    @check(CRITICAL, needs={"offloads": OFFLOADS.name})
    def silent(offloads: pd.DataFrame) -> Iterator[Finding]:
        yield from ()

    yield
    CHECKS[:] = before
    del registry.TABLES[OFFLOADS.name]


def opened(folder: Path, captured_by: str = "", file: str = "") -> tuple[Cluster, Findings]:
    manifest = json.loads((folder / "manifest.json").read_text())
    if captured_by:
        manifest["captured_by"] = captured_by
        (folder / "manifest.json").write_text(json.dumps(manifest))
    if file:
        (folder / file).write_text("Features for eth0:\n")
    cluster = Cluster(Recording(folder))
    return cluster, cluster.check()


def test_an_older_recording_misses_nothing_and_the_check_is_not_counted(row: None, tmp_path: Path) -> None:
    cluster, findings = opened(unpacked(tmp_path, HEALTHY))
    assert findings.coverage.missing == []
    assert (findings.status, findings.younger) == (0, [CRITICAL])
    assert CRITICAL not in findings.coverage.checked
    assert "younger than this recording" in findings.verdict()
    assert {m.why for m in cluster.table(OFFLOADS.name).unknown} == {
        f"not asked for when this was recorded; calicokit does so since {__version__}"
    }


def test_a_newer_one_misses_it_as_usual(row: None, tmp_path: Path) -> None:
    _, findings = opened(unpacked(tmp_path, HEALTHY), captured_by=f"calicokit {__version__}")
    assert {m.id for m in findings.coverage.missing} == {NEW.id}
    assert (findings.status, findings.blocked) == (3, [CRITICAL])


def test_one_that_has_it_of_a_node_misses_it_of_the_others(row: None, tmp_path: Path) -> None:
    _, findings = opened(unpacked(tmp_path, HEALTHY), file="nodes/node-1/ethtool.txt")
    assert {m.id for m in findings.coverage.missing} == {NEW.id}
    assert "node-1" not in {m.node for m in findings.coverage.missing}
    assert set(findings.coverage.partly[CRITICAL]) == {m.node for m in findings.coverage.missing}
    assert (findings.status, CRITICAL in findings.coverage.checked) == (3, False)


def test_a_recording_of_a_recording_is_as_old_as_that(tmp_path: Path) -> None:
    old = Recording(unpacked(tmp_path, HEALTHY))
    capture(old, tmp_path / "again", ids=["nodes", "nodename"], nodes=["node-1"])
    assert Recording(tmp_path / "again").asked_by == old.asked_by == ""


def test_no_row_is_younger_than_the_kit() -> None:
    assert [item.id for item in CATALOG.values() if item.younger_than(__version__)] == []

"""Folders of what people paste: printed tables alone. What each must give stands in an index; layouts are real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import calicokit
from calicokit import registry
from calicokit.diagnosis.findings import Findings
from tests.diagnosis.test_reach import each_once

OWN = Path(__file__).parent / "folders"
POSTED = Path(__file__).parents[2] / "shared" / "posted"
"""The folders of a public thread each; beside the repository where it is worked on, and not with it."""


def entries(index: Path) -> list[Any]:
    rows = json.loads(index.read_text()) if index.exists() else []
    return [pytest.param(index.parent / r["folder"], r["expect"], id=Path(r["folder"]).name) for r in rows]


def hold(folder: Path, expect: dict[str, Any]) -> Findings:
    """Check that a folder gives what it must."""
    found = calicokit.open(folder).check()
    each_once(found)
    loud = [f for f in found if f.severity != "info"]
    seen, missing = {w.id for w in found.coverage.seen}, {m.id for m in found.coverage.missing}
    for any_of in expect.get("findings", ()):
        assert {f.id for f in loud} & set(any_of.split("|"))
    assert not set(expect.get("not_checked", ())) & set(found.coverage.checked)
    assert not found.failed
    assert set(expect.get("named", ())) <= missing
    assert set(expect.get("seen", ())) <= seen
    assert not set(expect.get("unseen", ())) & seen
    assert not set(expect.get("silent_on", ())) & {f.id for f in loud}
    assert not (expect.get("silent") and loud)
    assert "count" not in expect or sum(f.id in expect["findings"] for f in loud) == expect["count"]
    return found


@pytest.mark.parametrize(("folder", "expect"), entries(OWN / "INDEX.json"))
def test_a_folder_of_printed_tables_gives_what_it_must(folder: Path, expect: dict[str, Any]) -> None:
    found = hold(folder, expect)
    for each in found if expect.get("rank") else ():
        assert "Known from what `" in each.cause
    assert found.status == (1 if "findings" in expect else 3)  # silence of what was printed is no health


@pytest.mark.parametrize("name", ["healthy-tables", "nodes-with-one-address", "addresses-that-leak"])
def test_every_table_of_a_folder_of_printed_tables_is_built(name: str) -> None:
    cluster = calicokit.open(OWN / name)
    for table, spec in registry.load().items():
        if not spec.options:
            cluster.table(table)


@pytest.mark.skipif(not POSTED.exists(), reason="the folders of public threads are not beside this repository")
@pytest.mark.parametrize(("folder", "expect"), entries(POSTED / "FOLDERS.json"))
def test_a_folder_of_a_public_thread_gives_what_it_must(folder: Path, expect: dict[str, Any]) -> None:
    hold(folder, expect)

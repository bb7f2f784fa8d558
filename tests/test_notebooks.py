"""The notebooks that ship: clean in git, true on every source, the same page twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calicokit.evidence.recordings.incidents import index
from calicokit.report import notebooks
from calicokit.report.html import write_html
from tests import kernel as kernels

SHIPPED = notebooks.shipped()
SOURCES = ["ipam-exhausted", "ipam-leaked", "healthy-vxlan-typha"]
FOUND = {"ipam-exhausted": "ipam-exhausted", "ipam-leaked": "ipam-duplicate"}


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_clean_in_git(path: Path) -> None:
    code = [c for c in cells(path) if c["cell_type"] == "code"]
    assert not any(c["outputs"] or c["execution_count"] for c in code)
    assert all(re.fullmatch(r"[a-z0-9-]+", c["id"]) for c in cells(path)), "ids are words, so that they stay"
    assert set(json.loads(path.read_text(encoding="utf-8"))["metadata"]) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_opens_with_parameters_then_cluster(path: Path) -> None:
    first, second = [c for c in cells(path) if c["cell_type"] == "code"][:2]
    assert first["metadata"] == {"tags": ["parameters"]}
    named = re.search(r'source = os\.environ\.get\("CALICOKIT_SOURCE", "([\w.-]+)"\)', "".join(first["source"]))
    assert named is not None
    assert named[1] in index()
    assert "".join(second["source"]).endswith("cluster = calicokit.open(source)")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_cells_only_call_and_show(path: Path) -> None:
    code = ["".join(c["source"]) for c in cells(path) if c["cell_type"] == "code"]
    for source in code[2:]:
        assert len(source.splitlines()) <= 5
        assert not re.search(r"\b(pd|for|lambda|query|groupby|merge)\b", source), source


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    with kernels.started() as kernel:
        yield kernel


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_runs_on_incidents(kernel: Any, path: Path, source: str) -> None:
    page = kernels.page(kernel, path, source)
    if any("check()" in "".join(c["source"]) for c in cells(path)):
        assert FOUND.get(source, "Nothing wrong was found") in page
    assert "Traceback" not in page
    assert not re.search(r"&lt;NA&gt;|\bNaT\b|&lt;[\w.]+ object at 0x", page)


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_html(notebooks.find("01-ipam"), "ipam-leaked", tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()

"""What holds on every cluster with Calico: the test cluster, or a real one that CALICOKIT_E2E_KUBECONFIG names.

The context is that file's current one. Nothing is changed there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from calicokit.evidence.sources import CONTEXT
from tests import kernel as kernels
from tests.e2e.lab import TestCluster

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LIVE_SERIES = "a live cluster is seen once; calicokit capture --samples watches it"
NOT_THERE = "not in this recording"
RECORDED_SERIES = "not sampled over time in this recording"
Kit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubeconfig(request: pytest.FixtureRequest) -> str:
    """Whose current context is the cluster."""
    real = os.environ.get("CALICOKIT_E2E_KUBECONFIG")
    if real:
        return real
    e2e: TestCluster = request.getfixturevalue("e2e")
    e2e.load(Recording(index()["ipam-leaked"].path))
    return str(e2e.kubeconfig)


@pytest.fixture(scope="module")
def kit(kubeconfig: str) -> Kit:
    """Runs the command line on the cluster."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "calicokit", *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=600, env={**os.environ, "KUBECONFIG": kubeconfig}
        )

    return run


@pytest.fixture(scope="module")
def captured(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("any") / "out.zip"
    done = kit("capture", out, "--context", "")
    assert done.returncode == 0, done.stderr
    return out


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode in (0, 1, 3), done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_check_says_the_same_of_the_cluster_and_of_its_capture(kit: Kit, captured: Path) -> None:
    live = answer(kit("check", "--context", "", "--format", "json"))
    recorded = answer(kit("check", captured, "--format", "json"))
    said = [[(f["id"], f["subject"]) for f in a["findings"]] for a in (live, recorded)]  # type: ignore[attr-defined]
    assert said[0] == said[1]


def test_tables_come_from_the_cluster(kit: Kit) -> None:
    for name in ("kube.nodes", "ipam.pools", "health.pods"):
        rows = answer(kit("table", name, "--context", "", "--format", "json"))["rows"]
        assert rows, name


def test_a_report_is_written_of_the_cluster(kit: Kit, tmp_path: Path) -> None:
    done = kit("report", "--context", "", "00-start-here", "-o", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in (tmp_path / "page.html").read_text("utf-8")


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    with kernels.started() as kernel:
        yield kernel


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("[0-9]*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_say_the_same_of_the_cluster_and_of_its_capture(
    kernel: Any, kubeconfig: str, captured: Path, notebook: Path
) -> None:
    pages = [kernels.page(kernel, notebook, s, KUBECONFIG=kubeconfig) for s in (CONTEXT, str(captured))]
    live, recorded = (comparable(page, captured) for page in pages)
    assert live == recorded


def comparable(page: str, captured: Path) -> list[str]:
    """The lines of a page without what the source is called, when it was seen, and how plotly numbers its figures.

    Bars that reach to the time of the answer are left out with the figure that they are in.
    """
    page = re.sub(r"<br>|\\u003cbr\\u003e", " ", page)  # where a title of another length was wrapped
    page = page.replace(str(captured), "SOURCE").replace("context:", "SOURCE").replace(LIVE_SERIES, RECORDED_SERIES)
    page = re.sub(r"`[^`]{1,80}` is not run on a live cluster; a recording or a bundle may hold it", NOT_THERE, page)
    page = re.sub(r"height(:|\":)\d+(px)?|\"t\":\d+", "height", page)  # of a sentence about what is unknown
    page = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22,27}|[0-9a-f]{32}", "ID", page)
    return [
        re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?", "TIME", line)
        for line in page.splitlines()
        if '"base":' not in line
    ]

"""What binder/ lists is enough: built in a clean environment, 00-start-here runs there on a bundled incident."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

RUN = """
import nbformat, nbclient
book = nbformat.read("notebooks/00-start-here.ipynb", as_version=4)
nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
texts = [str(o) for c in book.cells if c.cell_type == "code" for o in c.outputs]
assert any("ipam-exhausted" in t for t in texts)
print("executed", len(book.cells), "cells")
"""


@pytest.mark.slow
def test_binder_builds_and_opens_the_start(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for name in subprocess.run(
        ["git", "ls-files", "-mo", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split():
        if (ROOT / name).is_file():  # what is not committed yet is tested too
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    binaries = tmp_path / "env" / "bin"
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment.pop("PYTHONPATH", None)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    install = [uv, "pip", "install", "--python", str(binaries / "python")] if uv else ["pip", "install"]
    for step in ([*install, "--quiet", "-r", "binder/requirements.txt"], ["bash", "binder/postBuild"]):
        subprocess.run(step, cwd=clone, env=environment, check=True, timeout=600)
    assert (tmp_path / ".jupyter" / "jupyter_server_config.py").exists()
    done = subprocess.run(
        [str(binaries / "python"), "-c", RUN], cwd=clone, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "executed" in done.stdout

"""What the pages say is true: generated ones are fresh, links lead somewhere, examples run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import calicokit

ROOT = Path(__file__).parents[1]
PAGES = [p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")) if p.is_file()]
TEXTS = (".py", ".md", ".toml", ".lock", ".txt", ".sh", "", ".ipynb", ".yml", ".yaml", ".css")


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run([sys.executable, "docs/make.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_modules_that_pages_name_exist(page: Path) -> None:
    for name in re.findall(
        r"`((?:calicokit|tests|benchmarks|docs|notebooks|binder)/[\w./-]+)`", page.read_text("utf-8")
    ):
        assert (ROOT / name).exists(), name


def modules() -> list[str]:
    return [m.name for m in pkgutil.walk_packages(calicokit.__path__, "calicokit.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_is_about(name: str) -> None:
    assert (importlib.import_module(name).__doc__ or "").strip()


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert project["version"] == calicokit.__version__ == newest[1]


def committed() -> list[Path]:
    """Every text file that git knows."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [p for p in (ROOT / name for name in listed) if p.suffix in TEXTS and p.is_file()]


def test_files_name_no_package_registry() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "proxy.golang" + ".org")
    for path in committed():
        content = path.read_bytes()
        assert not [h for h in hosts if h.encode() in content], path


def test_sources_are_public_or_in_the_repository() -> None:
    """What is cited can be looked up by everybody: no notes that lie beside the repository."""
    private = re.compile(r"reference/[\w-]+\.md" + r"|\.\./" + "shared|[Tt]he design" + "'s")
    for path in committed():
        assert not private.findall(path.read_text("utf-8")), path

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
from calicokit.diagnosis.model import vocabulary

ROOT = Path(__file__).parents[1]
PAGES = [p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")) if p.is_file()]
VOCABULARY = ROOT.parent / "shared" / "finding-ids.toml"


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run([sys.executable, "docs/make.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in ("tables.md", "parsers.md")], ids=lambda p: p.name)
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


@pytest.mark.skipif(not VOCABULARY.exists(), reason="the team's vocabulary lies beside the repository, not in it")
def test_the_words_of_findings_are_those_of_the_vocabulary() -> None:
    agreed = tomllib.loads(VOCABULARY.read_text("utf-8"))
    for word in vocabulary().values():
        theirs = agreed[word.id]
        assert (theirs["severity"], tuple(theirs["subject"]), theirs["means"]) == (
            word.severity,
            word.subject,
            word.means,
        )


def test_files_name_no_package_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "proxy.golang" + ".org")
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".lock", ".txt", ".sh", "", ".ipynb", ".yml") and path.is_file():
            content = path.read_bytes()
            assert not [h for h in hosts if h.encode() in content], name

"""The website: names become links, links lead somewhere, every page can be found, and nothing asks another host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import reference, website


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the site is made of, but the executed notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(website, "SOURCE", tmp_path_factory.mktemp("out") / "docs")
        website.stage()
        return website.SOURCE


def test_names_become_links_in_sentences_only() -> None:
    named = {"ipam.pools": "tables/ipam.md#ipam.pools"}
    text = "`ipam.pools`, `x.y`, [`ipam.pools`](z)\n    `ipam.pools`\n# `ipam.pools`\n```\n`ipam.pools`\n```\n"
    found = website.linked(text, "kinds/bird.md", named)
    assert found.split("\n")[0] == "[`ipam.pools`](../tables/ipam.md#ipam.pools), `x.y`, [`ipam.pools`](z)"
    assert found.split("\n")[1:] == text.split("\n")[1:]


def test_a_link_that_leaves_the_website_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(website, "TOP", tmp_path)
    (tmp_path / "README.md").write_text("[a](https://example.com) [b](docs/b.md#c) ![d](docs/images/d.png)")
    places = {"README.md": "index.md", "docs/b.md": "b.md", "docs/images/d.png": "images/d.png"}
    moved = website.moved(tmp_path / "README.md", places)
    assert moved == "[a](https://example.com) [b](b.md#c) ![d](images/d.png)"
    with pytest.raises(SystemExit, match=r"README\.md links to docs/b\.md"):
        website.moved(tmp_path / "README.md", {"README.md": "index.md"})


def test_every_name_that_is_explained_has_its_anchor(staged: Path) -> None:
    for name, place in reference.places().items():
        page, _, anchor = place.partition("#")
        assert f"{{ #{anchor} }}" in (staged / page).read_text("utf-8"), name


def test_every_page_is_in_the_navigation(staged: Path) -> None:
    settings = yaml.safe_load((staged.parent / "mkdocs.yml").read_text("utf-8"))
    pages = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*.md"))
    assert sorted(leaves(settings["nav"])) == pages


def leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [leaf for item in (nav.values() if isinstance(nav, dict) else nav) for leaf in leaves(item)]


def test_notebooks_are_shown_on_the_incident_that_they_open(staged: Path) -> None:
    page = (staged / "notebooks" / "01-ipam.md").read_text("utf-8")
    assert "incident `ipam-exhausted`" in page
    assert not re.search(r"\.ipynb", page)


def test_dead_links_and_foreign_requests_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(website, "SITE", tmp_path)
    (tmp_path / "b.html").write_text("<p>b</p>")
    (tmp_path / "a.html").write_text(
        '<a href="b.html#x">b</a><a href="https://example.com">out</a><a href="c.html">dead</a>'
        '<script src="https://cdn.example.com/x.js"></script><link rel="stylesheet" href="//fonts.example.com/f.css">'
        '<link rel="canonical" href="https://example.com/a.html"><img src="gone.png">'
    )
    assert sorted(website.problems()) == [
        "a.html leads to c.html, which is not there",
        "a.html leads to gone.png, which is not there",
        "a.html would load //fonts.example.com/f.css",
        "a.html would load https://cdn.example.com/x.js",
    ]

"""Build the website, out/site: ``python -m docs.website``. A dead link or a request to another host is an error.

Pages written by hand are copied to out/docs with their links turned to where things stand there, those that the code
tells are added, notebooks are executed on their incident. ``CALICOKIT_DOCS_NOTEBOOKS=no`` leaves the notebooks out, for
a quick look.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from calicokit.report.notebooks import shipped
from docs import reference

TOP = Path(__file__).parents[1]
SOURCE = TOP / "out" / "docs"
SITE = TOP / "out" / "site"
ROOT_PAGES = ("ARCHITECTURE", "CHANGELOG", "CODE_OF_CONDUCT", "CONTRIBUTING", "SECURITY")
FILES = {"deploy/rbac.yaml": "files/rbac.yaml", "LICENSE": "files/LICENSE.txt", "docs/site.css": "site.css"}
PAGE = """---
hide: [toc]
---

# {title}

{intro}

Executed on the bundled incident `{incident}`: [as a page of its own](../executed/{name}.html). The same on your own
cluster: `calicokit report SOURCE {name}`, or `calicokit lab SOURCE`.

<iframe class="executed" src="../executed/{name}.html" title="{title}" loading="lazy"></iframe>
"""
SKIPPED = "<!doctype html><title>Not executed</title><p>This build was made without executing notebooks.</p>\n"
AT_ONCE = 2


def stage() -> None:
    """Write everything that the site is made of to out/docs, but the executed notebooks."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    places = homes()
    named = {**reference.places(), **{p.stem: f"notebooks/{p.stem}.md" for p in shipped()}}
    pages = {places[path.relative_to(TOP).as_posix()]: moved(path, places) for path in written()}
    pages |= {**reference.pages(), **{f"notebooks/{p.stem}.md": notebook_page(p) for p in shipped()}}
    for name, text in pages.items():
        write(SOURCE / name, linked(text, name, named))
    copies = {**FILES, **{f"docs/images/{p.name}": f"images/{p.name}" for p in (TOP / "docs" / "images").iterdir()}}
    for path, name in copies.items():
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(TOP / path, SOURCE / name)
    write(SOURCE.parent / "mkdocs.yml", configuration(pages))


def written() -> list[Path]:
    """The pages that are written by hand."""
    return [*sorted((TOP / "docs").glob("*.md")), TOP / "README.md", *(TOP / f"{name}.md" for name in ROOT_PAGES)]


def homes() -> dict[str, str]:
    """Where a file of the repository stands in the website."""
    found = {path.relative_to(TOP).as_posix(): path.name for path in (TOP / "docs").glob("*.md")}
    found |= {f"{name}.md": f"{name.lower().replace('_', '-')}.md" for name in ROOT_PAGES}
    found |= {f"docs/images/{path.name}": f"images/{path.name}" for path in (TOP / "docs" / "images").iterdir()}
    found |= {f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in shipped()}
    return {**found, **FILES, "README.md": "index.md"}


def moved(path: Path, places: dict[str, str]) -> str:
    """A page's text with its links turned to where their targets stand in the website."""
    own = path.relative_to(TOP).as_posix()

    def turned(link: re.Match[str]) -> str:
        if "://" in link[1]:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(own), link[1]))
        if target not in places:
            sys.exit(f"docs/website.py: {own} links to {link[1]}, which is not in the website")
        return f"]({posixpath.relpath(places[target], posixpath.dirname(places[own]) or '.')}"

    return re.sub(r"\]\(([^)#\s]+)", turned, path.read_text("utf-8"))


def linked(text: str, page: str, named: dict[str, str]) -> str:
    """The text with names of tables, findings, kinds and notebooks in backticks as links to what explains them."""

    def link(name: re.Match[str]) -> str:
        if name[1] not in named:
            return name[0]
        target, hash_, anchor = named[name[1]].partition("#")
        way = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"[{name[0]}]({way}{hash_}{anchor})"

    lines, fenced = [], False
    for line in text.split("\n"):
        fenced ^= line.startswith("```")
        plain = fenced or line.startswith(("    ", "#"))
        lines.append(line if plain else re.sub(r"(?<![\[`])`([\w.-]+)`(?![`\]])", link, line))
    return "\n".join(lines)


def notebook_page(path: Path) -> str:
    """What a notebook is about, in the first sentence of its own, and where it is shown."""
    title, _, intro = _cells(path)[0].removeprefix("# ").partition("\n")
    about = re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](\1.md)", re.split(r"(?<=\.)\s", intro.strip())[0])
    return PAGE.format(title=title, intro=about, incident=incident(path), name=path.stem)


def incident(notebook: Path) -> str:
    """The incident that a notebook opens if nothing else is asked for."""
    found = re.search(r'"CALICOKIT_SOURCE", "([\w.-]+)"', "\n".join(_cells(notebook)))
    assert found is not None, notebook
    return found[1]


def _cells(notebook: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(notebook.read_text("utf-8"))["cells"]]


def configuration(pages: dict[str, str]) -> str:
    """mkdocs.yml with the generated pages in its navigation."""
    settings = yaml.safe_load((TOP / "mkdocs.yml").read_text("utf-8"))
    settings |= {"docs_dir": SOURCE.name, "site_dir": SITE.name, "nav": _filled(settings["nav"], pages)}
    return yaml.safe_dump(settings, sort_keys=False)


def _filled(nav: Any, pages: dict[str, str]) -> Any:
    if isinstance(nav, list):
        return [_filled(item, pages) for item in nav]
    if isinstance(nav, dict):
        return {title: _filled(item, pages) for title, item in nav.items()}
    if not nav.isupper():
        return nav
    return [{Path(name).stem: name} for name in pages if name.startswith(f"{nav.lower()}/")]


def execute() -> None:
    """Write every notebook, executed on its incident, to out/docs/executed."""
    folder = SOURCE / "executed"
    if os.environ.get("CALICOKIT_DOCS_NOTEBOOKS") == "no":
        for path in shipped():
            write(folder / f"{path.stem}.html", SKIPPED)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda path: _report(path, folder / f"{path.stem}.html"), shipped()))
    if failed := [words for words in done if words]:
        sys.exit("\n".join(failed))


def _report(notebook: Path, page: Path) -> str:
    """Execute one; returns what went wrong."""
    command = [sys.executable, "-m", "calicokit", "report", incident(notebook), str(notebook), "-o", str(page)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    return f"{notebook.stem}: {done.stderr.strip()}" if done.returncode else ""


def build() -> None:
    """Run Zensical over out/docs, without its cache."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = ["build", "--strict", "--clean", "--config-file", str(SOURCE.parent / "mkdocs.yml")]
    done = subprocess.run([sys.executable, "-m", "zensical", *command], cwd=TOP, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}")


class _Links(HTMLParser):
    """What a page leads to, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "a":
            self.targets.append(said.get("href") or "")
        elif tag != "link" or said.get("rel") != "canonical":
            self.loaded += [said.get("src") or "", (said.get("href") or "") if tag == "link" else ""]


def problems() -> Iterator[str]:
    """Links of the built pages that lead nowhere, and requests that would leave the site."""
    for page in sorted(SITE.rglob("*.html")):
        links = _Links()
        if page.parent.name != "executed":  # these say by their security policy that nothing is loaded
            links.feed(page.read_text("utf-8"))
        name = page.relative_to(SITE).as_posix()
        yield from (f"{name} would load {url}" for url in links.loaded if re.match(r"(\w+:)?//", url))
        for target in (*links.targets, *links.loaded):
            path = target.partition("#")[0].partition("?")[0]
            if path and not re.match(r"(\w+:)?//|mailto:|data:|/|\.$", path) and not (page.parent / path).exists():
                yield f"{name} leads to {target}, which is not there"


def write(path: Path, text: str) -> None:
    """Write a text, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def main() -> None:
    """Everything, and one line at the end."""
    stage()
    execute()
    build()
    if found := list(problems()):
        sys.exit("\n".join(found))
    pages = len(list(SITE.rglob("*.html")))
    print(f"{pages} pages in {SITE.relative_to(TOP)}; open {(SITE / 'index.html').as_uri()}")


if __name__ == "__main__":
    main()

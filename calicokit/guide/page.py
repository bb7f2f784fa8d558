"""The troubleshooting guide as data (``guide.toml``): its headings and commands, and what answers each of them here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

MADE = "<!-- Made from calicokit/guide/guide.toml by docs/make.py: change it there. -->"
COLUMNS = {"guide": "the guide", "purpose": "what it is for", "calico": "in real Calico", "here": "here"}
NAMED = re.compile(r"`[^`]+`|\b(?:row|kind|gives|table|finding|notebook|command)s?\b")


@dataclass(frozen=True)
class Row:
    """A command, step or practice of the guide.

    ``calico`` says what it is worth in real Calico, ``here`` what answers the same question in the kit, which is shown
    in ``notebook`` under ``heading``. ``needs`` says what a cluster must have for it to matter: :data:`NEEDS`.
    ``steps`` are the parts of the guide (:attr:`Section.path`) whose findings a step of the checklist sums up.
    """

    guide: str
    calico: str
    here: str
    purpose: str = ""
    notebook: str = ""
    heading: str = ""
    needs: str = ""
    steps: tuple[str, ...] = ()

    def named(self, word: str) -> tuple[str, ...]:
        """The names of this kind (row, kind, table, finding, notebook, command) in ``here``, each once.

        >>> Row("", "", "rows `pods`, `nodes`; table `kube.pods`").named("row")
        ('pods', 'nodes')
        """
        return tuple(dict.fromkeys(name for kind, name in names(self.here) if kind == word))


NEEDS = ("bgp", "reflectors", "ebpf", "typha")
"""What a part of the guide may be about that not every cluster has."""


@dataclass(frozen=True)
class Section:
    """A heading of the guide with what stands below it: text, rows, text. ``path`` is as in a finding's ``guide_step``.

    A heading of level 4 is a bold line of the guide's, and has the path of the heading above it.
    """

    level: int
    title: str
    path: str
    before: str
    after: str
    rows: tuple[Row, ...]
    listed: bool

    def markdown(self) -> str:
        """The section as a page has it."""
        head = f"**{self.title}**" if self.level == 4 else f"{'#' * self.level} {self.title}"
        rows = "\n".join(_item(r) for r in self.rows) if self.listed else _table(self.rows)
        return "\n\n".join(part for part in (head, self.before, rows, self.after) if part)


def names(text: str) -> Iterator[tuple[str, str]]:
    """Every name in backticks, with the word that says what it is: row, kind, gives, table, finding, …"""
    word = ""
    for found in NAMED.findall(text):
        if found.startswith("`"):
            yield word, found.strip("`")
        else:
            word = found if found == "gives" else found.removesuffix("s")


def slug(heading: str) -> str:
    """A heading as links have it.

    >>> slug("eBPF Dataplane (if enabled)")
    'ebpf-dataplane-if-enabled'
    """
    return re.sub(r"[^a-z0-9-]", "", heading.lower().replace(" ", "-"))


@cache
def sections() -> tuple[Section, ...]:
    """The guide's headings, in its order."""
    return tuple(_sections(tomllib.loads((Path(__file__).parent / "guide.toml").read_text("utf-8"))["section"]))


def rows() -> Iterator[tuple[Section, Row]]:
    """The commands of the guide, each with its section; the checklist and the best practices are none."""
    yield from ((s, r) for s in sections() if s.path not in (CHECKLIST, PRACTICES) for r in s.rows)


CHECKLIST, PRACTICES = "troubleshooting-checklist", "best-practices"


def rows_of(path: str) -> tuple[Row, ...]:
    """The rows of one section."""
    return next(s.rows for s in sections() if s.path == path)


def order() -> tuple[str, ...]:
    """The paths of the headings, in the guide's order."""
    return tuple(dict.fromkeys(s.path for s in sections()))


def text_of(path: str) -> str:
    """The section of this path and those below it, as Markdown for a terminal; empty where there is none.

    Rows are items: a table of four columns of prose is no pleasure on a terminal.
    """
    here = (s for s in sections() if s.path == path or s.path.startswith(f"{path}/"))
    return "\n\n".join(replace(s, listed=True).markdown() for s in here)


def markdown() -> str:
    """The whole page, ``docs/guide-map.md``."""
    first, *others = (s.markdown() for s in sections())
    return "\n\n".join((first, MADE, *others)) + "\n"


def _sections(raw: list[dict[str, Any]]) -> Iterator[Section]:
    paths: dict[int, str] = {}
    shown: dict[int, dict[str, str]] = {}
    for entry in raw:
        level = entry["level"]
        if level < 4:
            paths[level] = f"{paths[2]}/{slug(entry['title'])}" if level == 3 else slug(entry["title"])
            shown = {n: s for n, s in shown.items() if n < level}
        shown[level] = {k: entry[k] for k in ("notebook", "heading", "needs") if k in entry}
        inherited = {k: v for n in sorted(shown) for k, v in shown[n].items()}
        made = (Row(**{**inherited, **row, "steps": tuple(row.get("steps", ()))}) for row in entry.get("row", ()))
        text = (entry.get("before", ""), entry.get("after", ""))
        yield Section(
            level,
            entry["title"],
            paths[min(level, 3)] if 3 in paths or level < 3 else paths[2],
            *text,
            tuple(made),
            entry.get("list", False),
        )


def _table(rows: tuple[Row, ...]) -> str:
    if not rows:
        return ""
    columns = [c for c in COLUMNS if c != "purpose" or any(r.purpose for r in rows)]
    lines = [[COLUMNS[c] for c in columns], *([getattr(r, c) for c in columns] for r in rows)]
    head, *body = (f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join((head, "|---" * len(columns) + "|", *body))


def _item(row: Row) -> str:
    number, _, name = row.guide.partition(" ")
    if number.rstrip(".").isdigit():
        return f"{number} **{name}**: {row.calico} Here: {row.here}."
    purpose = f" ({row.purpose})" if row.purpose else ""
    return f"- {row.guide}{purpose}: {row.calico} Here: {row.here}.".replace("\\|", "|")

"""What a folder of posted outputs must give: an INDEX.json says for each file its kind, rows, words and guess.

An entry is ``{"file", "kind", "guess", "expect": {"rows", "contains", "columns", "tables"}}``: the rows of the kind's
first table, strings that stand somewhere in the tables, values that stand in a column, and rows of other tables.
``unread`` is the number of lines that may stay unread, which is none where it is not said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calicokit.parsers.base import Parsed, parse
from calicokit.parsers.guess import guess

OWN = Path(__file__).parent / "own"
"""Outputs in the layouts that people post, with names, addresses and values of this project's own."""


def entries(folder: Path) -> list[dict[str, Any]]:
    """The entries of the folder's index."""
    found: list[dict[str, Any]] = json.loads((folder / "INDEX.json").read_text("utf-8"))
    return found


def text_of(folder: Path, entry: dict[str, Any]) -> str:
    """The text of an entry's file."""
    return (folder / entry["file"]).read_bytes().decode("utf-8", "backslashreplace")


def faults(folder: Path, entry: dict[str, Any]) -> list[str]:
    """What is wrong with how the kit reads an entry's file; empty if nothing is."""
    text = text_of(folder, entry)
    return [*_read(parse(entry["kind"], text), entry), *_guessed(text, entry)]


def _guessed(text: str, entry: dict[str, Any]) -> Iterator[str]:
    found = [g.kind for g in guess(text)]
    if (wanted := entry.get("guess")) and found[:1] != [wanted]:
        yield f"guessed {', '.join(found) or 'nothing'}, not {wanted}"


def _read(parsed: Parsed, entry: dict[str, Any]) -> Iterator[str]:
    expect = entry["expect"]
    if "rows" in expect and len(parsed.frame) != expect["rows"]:
        yield f"{len(parsed.frame)} rows, not {expect['rows']}"
    for name, rows in expect.get("tables", {}).items():
        if len(parsed.tables[name]) != rows:
            yield f"{name}: {len(parsed.tables[name])} rows, not {rows}"
    said = "\n".join(str(cell) for frame in parsed.tables.values() for row in frame.values.tolist() for cell in row)
    lost = [word for word in expect.get("contains", []) if word not in said]
    if lost:
        yield f"lost: {', '.join(lost)}"
    for column, values in expect.get("columns", {}).items():
        there = {str(v) for v in parsed.frame[column]} if column in parsed.frame else set()
        if missing := [v for v in values if str(v) not in there]:
            yield f"column {column} lacks {', '.join(map(str, missing))}"
    if len(parsed.unparsed) > entry.get("unread", 0):
        yield f"{len(parsed.unparsed)} lines unread, the first: {parsed.unparsed[0].text[:100]!r}"

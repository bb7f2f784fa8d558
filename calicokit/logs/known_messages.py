"""Log lines with a known meaning (``known_messages.toml``), and the table of those that a cluster has."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from calicokit.registry import table
from calicokit.schema import Column, Schema, records

KINDS = ("fault", "start", "event", "harmless")

TELLING = Schema(
    "logs.telling",
    "Log patterns with a known meaning; faults come first.",
    (
        Column("pattern", "str", "id of the pattern"),
        Column("component", "str", "component that logged it"),
        Column("level", "str", "highest level logged"),
        Column("kind", "str", "fault; start (normal at start-up, not later); event; harmless"),
        Column("means", "str", "what it means"),
        Column("finding", "str", "finding id for this cause; null if none"),
        Column("count", "int", "lines", "lines"),
        Column("nodes", "int", "nodes on which it was logged", "nodes"),
        Column("first", "time", "first logged; null without timestamps"),
        Column("last", "time", "last logged"),
        Column("example", "str", "example line"),
        Column("word", "str", "entry in calicokit/logs/known_messages.toml"),
        Column("versions", "str", "Calico's versions in which it was seen or read"),
        Column("source", "str", "source of the meaning"),
    ),
    key=("pattern",),
)


@dataclass(frozen=True)
class Told:
    """One entry: a line and what it means."""

    word: str
    match: str
    kind: str
    means: str
    versions: str
    source: str
    components: tuple[str, ...] = ()
    finding: str = ""


@cache
def entries() -> tuple[Told, ...]:
    """The entries, in the order in which they are tried."""
    rows = tomllib.loads((Path(__file__).parent / "known_messages.toml").read_text(encoding="utf-8"))
    return tuple(
        Told(word=word, **{**row, "components": tuple(row.get("components", ()))}) for word, row in rows.items()
    )


def meanings(components: Sequence[str], templates: Sequence[str]) -> list[Told | None]:
    """The entry of each pattern, None for those that no entry knows.

    >>> [told.word if told else None for told in meanings(["typha"], ["Failed to read client hello."])]
    ['typha-hello']
    """
    found: list[Told | None] = [None] * len(templates)
    texts = pa.array(templates, pa.string())
    for told in entries():
        fits = pc.match_substring_regex(texts, told.match).to_numpy(zero_copy_only=False).nonzero()[0].tolist()
        for index in fits:
            if found[index] is None and (not told.components or components[index] in told.components):
                found[index] = told
    return found


@table(TELLING, needs={"patterns": "logs.patterns"})
def telling(patterns: pd.DataFrame) -> pd.DataFrame:
    """One row for each pattern with a meaning; see :data:`TELLING`."""
    told = meanings(patterns["component"].tolist(), patterns["template"].tolist())
    rows = []
    for pattern, entry in zip(records(patterns), told, strict=True):
        if entry is not None:
            same = {c: getattr(pattern, c) for c in TELLING.names if hasattr(pattern, c)}
            about = {c: getattr(entry, c) for c in ("kind", "means", "word", "versions", "source")}
            rows.append({**same, **about, "finding": entry.finding or None})
    found = TELLING.frame(rows)
    order = found["kind"].map({kind: place for place, kind in enumerate(KINDS)})
    return TELLING.take(found.assign(order=order).sort_values(["order", "count"], ascending=[True, False]))

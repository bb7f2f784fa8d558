"""Joins of tables with millions of rows: text as integer codes and categories, matches as arrays of row positions.

-1 is no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calicokit.schema import Column, Schema

Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]

NODE = Column("node", "category", "node it was read on")
READ = Column("evidence", "category", "where this was read: a file of the recording, or id and node")


class Words:
    """An integer code for each text of the tables, 0 for null."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.known.setdefault(text, len(self.known) + 1)

    def codes(self, column: pd.Series[Any]) -> Codes:
        own = column.astype("category")
        numbers = np.array([self.number(str(t)) for t in own.cat.categories] + [0], dtype="int64")
        return numbers[own.cat.codes.to_numpy()]

    def translate(self, column: pd.Series[Any], to: dict[str, str]) -> Codes:
        """The code of what each text is mapped to."""
        own = column.astype("category")
        numbers = [self.number(to[t]) if t in to else 0 for t in own.cat.categories]
        return np.array([*numbers, 0], dtype="int64")[own.cat.codes.to_numpy()]

    def members(self, texts: Iterable[str]) -> Codes:
        return np.array(sorted(self.known[t] for t in texts if t in self.known), dtype="int64")


def lookup(keys: Codes, wanted: Codes, usable: Mask | None = None) -> Codes:
    """For each wanted key the position of its first row, -1 for none."""
    places = np.arange(len(keys)) if usable is None else np.flatnonzero(usable)
    index = pd.Index(keys[places])
    if not index.is_unique:
        first = ~index.duplicated()
        places, index = places[first], index[first]
    found = index.get_indexer(pd.Index(wanted))
    return np.where(found >= 0, places[found] if len(places) else -1, -1)


def taken(values: NDArray[Any], places: Codes, spare: Any) -> NDArray[Any]:
    """The values at these row positions, ``spare`` where the position is -1."""
    if not len(values):
        return np.full(len(places), spare, dtype=values.dtype if values.dtype != object else object)
    found = values[places]
    found[places < 0] = spare
    return found


def picked(column: pd.Series[Any], places: Codes) -> pd.Categorical[Any]:
    own = column.astype("category")
    codes = taken(own.cat.codes.to_numpy(), places, -1) if len(own) else np.full(len(places), -1, dtype="int8")
    return category(codes, own.cat.categories)


def times(column: pd.Series[Any], places: Codes) -> Any:
    values = column.to_numpy(dtype="datetime64[ns]") if len(column) else np.array([], dtype="datetime64[ns]")
    return pd.Series(taken(values, places, np.datetime64("NaT"))).dt.tz_localize("UTC")


def category(codes: NDArray[Any], texts: Sequence[str] | pd.Index[Any]) -> pd.Categorical[Any]:
    """Texts by their position, -1 for null."""
    narrow = np.asarray(codes).astype("int16" if len(texts) < 1 << 15 else "int32")
    return pd.Categorical.from_codes(narrow, categories=pd.Index(list(texts), dtype="str"))


def together(schema: Schema, frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All of them in one table. Text becomes categories frame by frame, as there may be 4,000,000 rows of it."""
    known: dict[str, dict[Any, int]] = {c.name: {} for c in schema.columns if c.kind == "category"}
    parts: dict[str, list[Any]] = {name: [] for name in schema.names}
    for frame in frames:
        for name in schema.names:
            values = frame[name].reset_index(drop=True)
            parts[name].append(_places(values, known[name]) if name in known else values)
    if not parts[schema.names[0]]:
        return schema.frame()
    made = {
        name: category(np.concatenate(found), list(known[name]))
        if name in known
        else pd.concat(found, ignore_index=True)
        for name, found in parts.items()
    }
    return schema.take(pd.DataFrame(made))


def _places(values: pd.Series[Any], known: dict[Any, int]) -> NDArray[np.int32]:
    """Each value's place among those known, which grow by the new ones; -1 for null."""
    codes, uniques = pd.factorize(values)
    places = np.array([*(known.setdefault(str(u), len(known)) for u in uniques), -1], dtype="int32")
    return places[codes]

"""Columns out of the bytes of a text, all rows at once: with numpy and Arrow instead of a loop over lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]

_TEXTS: Any = pd.arrays.ArrowStringArray
_TEXT = pd.StringDtype(na_value=np.nan)
_DIGITS = 18  # of a number that surely fits
NO_TEXTS = pa.array([], pa.large_string())
_BLOCK = 1 << 14  # lines read at once
_BLANKS = 32  # in a row that are still skipped


def strings(values: Any, index: Ints) -> Any:
    """A column of texts: values (a list or an Arrow array) at an index, null at -1."""
    if not isinstance(values, pa.Array):
        values = pa.array(values, pa.large_string())
    if not len(values):
        return _TEXTS(pa.nulls(len(index), pa.large_string()), dtype=_TEXT)
    absent = index < 0
    at = pa.array(index, mask=absent) if absent.any() else pa.array(index)
    return _TEXTS(pc.take(values, at, boundscheck=False), dtype=_TEXT)


def counters(values: Ints) -> Any:
    """A column of integers, null where they are negative."""
    return pd.arrays.IntegerArray(values, values < 0)


def booleans(values: Flags) -> Any:
    return pd.arrays.BooleanArray(values, np.zeros(len(values), bool))


def numbered(key: Ints) -> Ints:
    """The 1-based rank of each position within its key."""
    if not len(key):
        return key
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    first = firsts(ordered)
    number = np.empty(len(key), np.int64)
    number[order] = np.arange(len(key)) - np.repeat(first, np.diff(np.r_[first, len(key)])) + 1
    return number


def firsts(ordered: Ints) -> Ints:
    """Where another value than before stands."""
    return np.flatnonzero(np.r_[len(ordered) > 0, ordered[1:] != ordered[:-1]][: len(ordered)])


def since(rows: Ints, starts: Ints) -> Ints:
    """For each row, how many of the starts are at or above it."""
    return np.searchsorted(starts, rows, side="right").astype(np.int64)


def codes(encoded: Any) -> Ints:
    """The indices of a dictionary-encoded array."""
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]


def pieces(data: Bytes, starts: Ints, ends: Ints) -> Any:
    """The texts between places of a buffer, as an Arrow array.

    The buffer is cut at all these places and every second part is taken, which copies in C.
    """
    if not len(starts):
        return NO_TEXTS
    cuts = np.empty(2 * len(starts), np.int64)
    cuts[::2], cuts[1::2] = starts, ends
    parts = pa.LargeStringArray.from_buffers(len(cuts) - 1, pa.py_buffer(cuts), pa.py_buffer(data))
    return parts.take(pa.array(np.arange(0, len(cuts), 2)))


def spells(data: Bytes, at: Ints, word: bytes) -> Flags:
    """Where a word stands at these places; at the end of the bytes, the last is taken to go on."""
    same: Flags = np.ones(len(at), bool)
    for i, byte in enumerate(word):
        same &= data.take(at + i, mode="clip") == byte
    return same


def numbers(data: Bytes, at: Ints) -> tuple[Ints, Ints]:
    """The numbers at places, and where they end; -1 where there is none of at most 18 digits."""
    value, end = np.zeros(len(at), np.int64), at.copy()
    going: Ints = np.arange(len(at))
    for _ in range(_DIGITS):
        digit = data.take(end[going], mode="clip") - np.uint8(48)
        number = digit < 10
        going = going[number]
        if not len(going):
            break
        value[going] = value[going] * 10 + digit[number]
        end[going] += 1
    value[going[data.take(end[going], mode="clip") - np.uint8(48) < 10]] = -1
    value[end == at] = -1
    return value, end


def skip(data: Bytes, at: Ints, by: int = 1) -> Ints:
    """Places after the (not too many) blanks at these places, or before them if by is -1."""
    at = at.copy()
    going: Ints = np.arange(len(at))
    for _ in range(_BLANKS):
        going = going[data.take(at[going] - (by < 0), mode="clip") == 32]
        if not len(going):
            break
        at[going] += by
    return at


def joined(rows: Ints, values: Any, separator: str) -> tuple[Ints, Any]:
    """Rows and their values, with several values of a row joined."""
    first = firsts(rows)
    if len(first) == len(rows):
        return rows, values
    lists = pa.ListArray.from_arrays(pa.array(np.r_[first, len(rows)], pa.int32()), values)
    return rows[first], pc.binary_join(lists, pa.scalar(separator, pa.large_string()))


def beside(left: Any, right: Any) -> Any:
    """Texts with a blank between them; one of both may be a single text."""
    sides = (pa.scalar(side, pa.large_string()) if isinstance(side, str) else side for side in (left, right))
    return pc.binary_join_element_wise(*sides, pa.scalar(" ", pa.large_string()))


def negated(values: Any, where: Flags) -> Any:
    """Texts with an exclamation mark before some of them."""
    return pc.if_else(pa.array(where), beside("!", values), values) if where.any() else values


class Lines:
    """The lines in an Arrow array, each of which ends with a newline, in one buffer."""

    def __init__(self, texts: Any) -> None:
        self.texts, self.size = texts, len(texts)
        _, offsets, data = texts.buffers() if self.size else (None, bytes(8), b"")
        bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + self.size + 1]
        self.data: Bytes = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
        self.bounds: Ints = bounds - bounds[0]
        self.ends: Ints = self.bounds[1:] - 1
        self.odd: Flags = np.zeros(self.size, bool)  # which hold what only a slower reader understands

    def mark_unusual(self) -> None:
        """Mark lines with bytes other than ASCII's characters and blanks."""
        data = self.data
        if self.size and data.max() > 126:
            self.mark(np.flatnonzero(data > 126))
        if np.count_nonzero(data <= 32) != np.count_nonzero(data == 32) + self.size:
            self.mark(np.flatnonzero((data < 32) & (data != 10)))

    def read(self, numbers: Ints) -> list[str]:
        """Some of the lines, without blanks at their ends."""
        return [line.rstrip() for line in self.texts.take(pa.array(numbers)).to_pylist()]

    def line(self, at: Ints) -> Ints:
        """The lines of places."""
        return since(at, self.bounds) - 1

    def mark(self, at: Ints) -> None:
        self.odd[self.line(at)] = True


Cut = Mapping[str, tuple[Ints, Any]]  # a column's name → places that have a value, values


def in_blocks(texts: Any, read: Callable[[Any], Cut]) -> dict[str, tuple[Ints, Any]]:
    """What is read out of texts, by blocks: these stay in the processor's cache and do not fill the memory."""
    starts = range(0, max(len(texts), 1), _BLOCK)
    blocks = [read(texts.slice(start, _BLOCK)) for start in starts]
    return {
        name: (
            np.concatenate([block[name][0] + start for start, block in zip(starts, blocks, strict=True)]),
            pa.concat_arrays([block[name][1] for block in blocks]),
        )
        for name in blocks[0]
    }


class Cells:
    """One column's texts for some of ``size`` places, and as a column at an index of places."""

    def __init__(self, size: int, rows: Ints, values: Any, more: Mapping[int, str]) -> None:
        if more:
            values = pa.concat_arrays([values, pa.array(list(more.values()), pa.large_string())])
            rows = np.r_[rows, np.fromiter(more, np.int64, len(more))]
        self.values = values
        self.places: Ints = np.full(size, -1, np.int64)
        self.places[rows] = np.arange(len(rows))

    def at(self, index: Ints) -> Any:
        return strings(self.values, self.places[index])

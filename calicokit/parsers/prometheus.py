"""Metrics as Prometheus scrapes them: the text format, and OpenMetrics.

Sources: recordings (Felix, Typha, kube-controllers of v3.28 and v3.34-dev); Prometheus' exposition formats and the
OpenMetrics specification for timestamps, exemplars, units and quoted names, which no recording shows.

The whole text is cut at once, by the positions of its delimiters; lines that do not look as every exporter prints them
are read one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from calicokit.parsers.base import Line, Text, parser
from calicokit.schema import Column, Schema

_SOURCE = "recordings; Prometheus' exposition formats, OpenMetrics 1.0"
SAMPLES = Schema(
    "prometheus",
    "metric samples, in the order printed",
    (
        Column("metric", "str", "name as printed, with _sum, _count, _bucket, _total …"),
        Column("family", "str", "metric family"),
        Column("type", "str", "counter, gauge, summary, histogram, untyped …; null where not stated"),
        Column("labels", "str", "labels as printed between the braces; empty for none"),
        Column("value", "float", "value, in the unit that the metric's name ends with"),
        Column("quantile", "float", "label quantile of a summary's sample"),
        Column("le", "float", "label le: upper bound of a histogram's bucket"),
        Column("timestamp", "time", "timestamp; null where the exporter gives none"),
        Column("exemplar", "str", "exemplar as printed (OpenMetrics)"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("metric", "labels"),
    source=_SOURCE,
)
FAMILIES = Schema(
    "prometheus_families",
    "metric families declared in the text",
    (
        Column("family", "str", "name"),
        Column("type", "str", "counter, gauge, summary, histogram, untyped …"),
        Column("help", "str", "HELP text of the exporter"),
        Column("unit", "str", "unit (OpenMetrics)"),
    ),
    ("family",),
    source=_SOURCE,
)

_Ints = NDArray[np.int64]
_Mask = NDArray[np.bool_]
_TEXT = pd.StringDtype(na_value=np.nan)
_TEXTS: Any = pd.arrays.ArrowStringArray
_BLOCK = 1 << 22

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABELS = r'^(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*"(?:,|$))*$'
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[Nn]a[Nn]|[Ii]nf(?:inity)?)"
_VALUE = re.compile(_NUMBER)
_SAMPLE = re.compile(
    rf"[ \t]*+({_NAME})?+[ \t]*+(?:\{{((?:[^\"{{}}]|\"(?:[^\"\\]|\\.)*+\")*+)\}}[ \t]*+)?"
    rf"(?<=[ \t}}])({_NUMBER})(?:[ \t]++({_NUMBER}))?(?:[ \t]++#[ \t]*+(\{{.*))?[ \t]*+"
)
"""The last groups are not possessive: Python before 3.11.5 does not go back out of one that failed half way."""
_LABEL = re.compile(
    r'[ \t]*+(?:([a-zA-Z_][a-zA-Z0-9_]*+|"(?:[^"\\]|\\.)*+")[ \t]*+=[ \t]*+)?"((?:[^"\\]|\\.)*+)"[ \t]*+'
)
_DECLARED = re.compile(r'#[ \t]*+(HELP|TYPE|UNIT)[ \t]++("(?:[^"\\]|\\.)*+"|[^ \t]++)[ \t]*+(.*)')
_SUFFIX = re.compile(r"(.+)_(?:sum|count|bucket|total|created|info|gsum|gcount)")
_ESCAPES = {"\\n": "\n", "\\\\": "\\", '\\"': '"'}


@dataclass
class _Families:
    """What the text's comments declare, by name."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    eof: bool = False

    def comment(self, line: str) -> None:
        line = line.strip()
        self.eof = self.eof or line == "# EOF"
        match = _DECLARED.fullmatch(line)
        if not match:
            return
        row = self.rows.setdefault(match[2].strip('"'), {"family": match[2].strip('"')})
        text = match[3]
        if match[1] == "HELP" and "\\" in text:
            text = re.sub(r'\\[n\\"]', lambda m: _ESCAPES[m[0]], text)
        row.setdefault(match[1].lower(), text)

    def of(self, metric: str) -> str:
        """The family of a sample, by its name."""
        if metric in self.rows:
            return metric
        match = _SUFFIX.fullmatch(metric)
        return match[1] if match and match[1] in self.rows else metric


@dataclass
class _Block:
    """Samples of one stretch of the text."""

    columns: dict[str, Any]  # arrow arrays of metric, labels, value and timestamp
    line: _Ints


def _bytes(data: NDArray[np.uint8], *characters: str) -> _Ints:
    mask = data == ord(characters[0])
    for character in characters[1:]:
        mask |= data == ord(character)
    return np.flatnonzero(mask)


def _next(positions: _Ints, at: _Ints, end: _Ints) -> _Ints:
    """For each place, the first of the positions from there on, but not beyond the end."""
    padded = np.append(positions, np.iinfo(np.int64).max)
    nearest: _Ints = np.minimum(padded[np.searchsorted(positions, at)], end)
    return nearest


@dataclass
class _Cut:
    """Where the parts of lines are: of those that look as expected (``rows`` are their numbers)."""

    rows: _Ints
    offsets: _Ints  # name, labels, value, timestamp of each, from and to


def _cut(data: NDArray[np.uint8], starts: _Ints, ends: _Ints) -> tuple[_Cut, _Ints]:
    """Parts of the lines that look as every exporter prints them, and which of the lines do not."""
    rows = np.arange(len(starts))
    spaces = _bytes(data, " ", "\t")
    opened, closed, hashes = _bytes(data, "{"), _bytes(data, "}"), _bytes(data, "#")
    space = _next(spaces, starts, ends)
    brace = _next(opened, starts, ends)
    labelled = brace < space
    name = np.where(labelled, brace, space)
    last = np.append(closed, -1)[np.searchsorted(closed, ends) - 1] if len(closed) else np.full(len(ends), -1)
    close = np.where(labelled, last, name)
    good = (name > starts) & (name < ends) & (close >= name) & (_next(hashes, starts, ends) == ends)
    first = np.where(labelled, close + 1, close)
    good &= (first < ends) & (data[np.minimum(first, len(data) - 1)] == 32)
    value = first + 1
    value_end = _next(spaces, value, ends)
    stamp = np.minimum(value_end + 1, ends)
    good &= (value_end > value) & (_next(spaces, stamp, ends) == ends) & ((stamp < ends) | (value_end == ends))
    signed = data[np.minimum(value, len(data) - 1)] == ord("+")  # Arrow reads no plus
    good &= ~signed | (value + 1 < value_end)
    label = np.where(labelled, name + 1, close)
    parts = np.stack((starts, name, label, close, value + signed, value_end, stamp, ends), axis=1)
    return _Cut(rows[good], parts[good]), rows[~good]


def _slices(data: memoryview, offsets: _Ints) -> list[Any]:
    """Arrow arrays of the texts between each pair of columns of ``offsets``, whose numbers grow along the rows."""
    flat = np.append(offsets.ravel(), len(data)).astype(np.int64)
    every = pa.LargeStringArray.from_buffers(len(flat) - 1, pa.py_buffer(flat), pa.py_buffer(data))
    width = offsets.shape[1]
    return [every.take(pa.array(np.arange(part, len(flat) - 1, width))) for part in range(0, width, 2)]


def _valid(parts: list[Any]) -> _Mask:
    """Which of the cut lines hold names, labels and numbers where they should."""
    name, labels, value, stamp = parts
    names = name.dictionary_encode()
    known = pc.match_substring_regex(names.dictionary, f"^{_NAME}$").take(names.indices)
    sets = labels.dictionary_encode()
    sound = pc.match_substring_regex(sets.dictionary, _LABELS).take(sets.indices)
    fine = np.asarray(pc.and_(known, sound).to_numpy(zero_copy_only=False), dtype=bool)
    for numbers in (value, stamp):
        if _floats(numbers) is None:
            fine &= np.asarray(
                pc.match_substring_regex(numbers, f"^(?:{_NUMBER})?$").to_numpy(zero_copy_only=False), dtype=bool
            )
    return fine


def _floats(texts: Any) -> Any:
    """The texts as numbers, empty ones as null; None if one is none."""
    if not len(texts) or pc.max(pc.binary_length(texts)).as_py() == 0:
        return pa.nulls(len(texts), pa.float64())
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        pass
    try:
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts).cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def _any_floats(texts: Any) -> Any:
    numbers = _floats(texts)
    if numbers is None:  # numbers that Arrow does not read, such as "1."
        numbers = pa.array([float(t) if t else None for t in texts.to_pylist()], pa.float64())
    return numbers


@dataclass
class _Reader:
    """Reads a text block by block."""

    text: Text
    families: _Families = field(default_factory=_Families)
    blocks: list[_Block] = field(default_factory=list)
    exemplars: dict[int, str] = field(default_factory=dict)
    comments: set[str] = field(default_factory=set)

    def read(self, data: bytes) -> None:
        at, number = 0, 1
        while at < len(data):
            end = data.find(b"\n", min(at + _BLOCK, len(data)))
            end = len(data) if end < 0 else end
            number += self.block(memoryview(data)[at:end], number)
            at = end + 1

    def block(self, view: memoryview, number: int) -> int:
        """Read a stretch of whole lines, the first of which has the number; how many there were."""
        data = np.frombuffer(view, np.uint8)
        breaks = _bytes(data, "\n")
        starts, ends = np.append(0, breaks + 1), np.append(breaks, len(data))
        ends = ends - ((ends > starts) & (data[np.maximum(ends, 1) - 1] == 13))
        numbers = number + np.arange(len(starts))
        first = np.append(data, 10)[starts]
        note = (first == ord("#")) & (ends > starts)
        self.comment(view, starts[note], ends[note])
        keep = (ends > starts) & ~note
        numbers, starts, ends = numbers[keep], starts[keep], ends[keep]
        if len(starts):
            self.samples(view, data, numbers, starts, ends)
        return len(breaks) + 1

    def comment(self, view: memoryview, starts: _Ints, ends: _Ints) -> None:
        """Comments, of which a text that repeats itself has few."""
        for line in _slices(view, np.stack((starts, ends), axis=1))[0].unique().to_pylist():
            if line not in self.comments:
                self.comments.add(line)
                self.families.comment(line)

    def samples(self, view: memoryview, data: NDArray[np.uint8], numbers: _Ints, starts: _Ints, ends: _Ints) -> None:
        cut, odd = _cut(data, starts, ends)
        parts = _slices(view, cut.offsets)
        fine = _valid(parts)
        if not fine.all():
            odd = np.sort(np.append(odd, cut.rows[~fine]))
            parts, rows = [p.filter(pa.array(fine)) for p in parts], cut.rows[fine]
        else:
            rows = cut.rows
        columns = {
            "metric": parts[0],
            "labels": parts[1],
            "value": _any_floats(parts[2]),
            "timestamp": _any_floats(parts[3]),
        }
        self.blocks.append(_Block(columns, numbers[rows]))
        self.odd([Line(int(numbers[i]), view[starts[i] : ends[i]].tobytes().decode("utf-8", "replace")) for i in odd])

    def odd(self, lines: list[Line]) -> None:
        """Read lines one by one."""
        rows = [(line.number, row) for line in lines if (row := self.one(line))]
        if rows:
            names = ("metric", "labels", "value", "timestamp")
            kinds = (pa.large_string(), pa.large_string(), pa.float64(), pa.float64())
            arrays = {
                n: pa.array([r[i] for _, r in rows], k) for i, (n, k) in enumerate(zip(names, kinds, strict=True))
            }
            self.blocks.append(_Block(arrays, np.array([number for number, _ in rows], np.int64)))

    def one(self, line: Line) -> tuple[str, str, float, float | None] | None:
        """A sample's name, labels, value and timestamp; None if the line is none."""
        text = line.text.strip()
        if not text:
            return None
        if text.startswith("#"):
            self.families.comment(text)
            return None
        match = _SAMPLE.fullmatch(text)
        labels = _labels(match[2] or "") if match else None
        if not match or labels is None or not (match[1] or labels[0]) or (match[1] and labels[0]):
            self.text.reject(Line(line.number, line.text.rstrip()), "NAME{LABELS} VALUE [TIMESTAMP]")
            return None
        if match[5]:
            self.exemplars[line.number] = match[5]
        return match[1] or labels[0], labels[1], float(match[3]), float(match[4]) if match[4] else None

    def frame(self) -> pd.DataFrame:
        if not self.blocks:
            return SAMPLES.frame()
        line = np.concatenate([b.line for b in self.blocks])
        columns = {n: pa.chunked_array([b.columns[n] for b in self.blocks]) for n in self.blocks[0].columns}
        if len(line) and (np.diff(line) < 0).any():
            order = np.argsort(line, kind="stable")
            line, columns = line[order], {n: c.take(pa.array(order)) for n, c in columns.items()}
        return self.made(columns, line)

    def made(self, columns: dict[str, Any], line: _Ints) -> pd.DataFrame:
        encoded = columns["metric"].combine_chunks().dictionary_encode()
        names = encoded.dictionary.to_pylist()
        families = [self.families.of(name) for name in names]
        types = [self.families.rows.get(f, {}).get("type") for f in families]
        labels = columns["labels"]
        exemplar = pa.nulls(len(line), pa.large_string())
        if self.exemplars:
            exemplar = pa.array([self.exemplars.get(n) for n in line.tolist()], pa.large_string())
        made = {
            "metric": _series(columns["metric"]),
            "family": _series(pa.array(families, pa.large_string()).take(encoded.indices)),
            "type": _series(pa.array(types, pa.large_string()).take(encoded.indices)),
            "labels": _series(labels),
            "value": columns["value"].to_numpy(),
            "quantile": _bound(labels, "quantile"),
            "le": _bound(labels, "le"),
            "timestamp": _times(columns["timestamp"], seconds=self.families.eof),
            "exemplar": _series(exemplar),
            "line": pd.arrays.IntegerArray(line.astype(np.int64), np.zeros(len(line), dtype=bool)),
        }
        return pd.DataFrame(made, columns=pd.Index(SAMPLES.names), copy=False)


def _series(array: Any) -> pd.Series[Any]:
    array = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    return pd.Series(_TEXTS(array, dtype=_TEXT), copy=False)


def _labels(text: str) -> tuple[str, str] | None:
    """A name that stands among the labels, and the labels as they are usually printed; None if they are none."""
    name, found, at = "", [], 0
    while at < len(text):
        match = _LABEL.match(text, at)
        if not match:
            return ("", "") if not text.strip() else None
        if match[1]:
            found.append(f'{match[1]}="{match[2]}"')
        elif name:
            return None
        else:
            name = match[2]
        at = match.end()
        if at < len(text) and text[at] != ",":
            return None
        at += 1
        if not text[at:].strip():
            break
    return name, ",".join(found)


def _bound(labels: Any, name: str) -> NDArray[np.float64]:
    """The number in a label; NaN for samples without it."""
    made = np.full(len(labels), np.nan)
    flat = labels.combine_chunks()
    rows = np.flatnonzero(pc.match_substring(flat, name + '="').to_numpy(zero_copy_only=False))
    if len(rows):
        found = pc.extract_regex(flat.take(pa.array(rows)), rf'(?:^|,){name}="(?P<bound>[^"]*)"')
        encoded = pc.struct_field(found, "bound").dictionary_encode()
        numbers = [float(t) if _VALUE.fullmatch(t) else np.nan for t in encoded.dictionary.to_pylist()]
        made[rows] = np.array([*numbers, np.nan])[encoded.indices.fill_null(len(numbers)).to_numpy()]
    return made


def _times(stamps: Any, *, seconds: bool) -> pd.Series[Any]:
    """Times from numbers: milliseconds in the text format, seconds in OpenMetrics (its mark is # EOF)."""
    if stamps.null_count == len(stamps):
        return pd.Series(pd.NaT, index=range(len(stamps)), dtype="datetime64[ns, UTC]")
    numbers = stamps.to_numpy() * (1e3 if seconds else 1.0)
    whole = np.where(np.abs(numbers) < 9e12, np.rint(np.nan_to_num(numbers)), 0).astype("int64")
    times = pd.to_datetime(pd.Series(whole), unit="ms", utc=True).astype("datetime64[ns, UTC]")
    return times.where(pd.Series(np.abs(numbers) < 9e12))


@parser("prometheus", SAMPLES, FAMILIES, marks=r"^# (HELP|TYPE) \S+")
def prometheus(text: Text) -> dict[str, pd.DataFrame]:
    """A scrape of metrics, in Prometheus' text format or OpenMetrics: one row for each sample.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parsed = parse("prometheus", '''# TYPE felix_ipsets_calico gauge
    ... felix_ipsets_calico{ip_version="inet"} 18
    ... felix_exec_time_micros{quantile="0.5"} NaN''')
    >>> parsed.frame["value"].to_list(), parsed.frame["type"].to_list()[0], parsed.frame["quantile"].to_list()[1]
    ([18.0, nan], 'gauge', 0.5)
    """
    reader = _Reader(text)
    reader.read(text.text.encode("utf-8", "replace"))
    return {SAMPLES.name: reader.frame(), FAMILIES.name: FAMILIES.frame(reader.families.rows.values())}

"""What kubectl and calicoctl print of objects: tables under headers, YAML and JSON.

Shared by the parsers of both tools; it reads nothing on its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pandas as pd
import yaml

from calicokit.parsers.base import Line, Text
from calicokit.parsers.kubernetes import structured
from calicokit.parsers.pasted import may_be_noise


def lines(text: Text) -> Iterator[Line]:
    """The text's lines without noise."""
    sound(text)
    return text.answer()


def well_formed(text: str) -> str:
    """The text, with question marks for halves of characters, which no table can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def sound(text: Text) -> None:
    """Make the text well-formed before it is read."""
    text.text = well_formed(text.text)


_BREAK = re.compile(r"(?<=\S)(?: {2,}|\t+ *)(?=\S)")
_WORD = r"(?:[A-Z0-9_%/.-]|\([A-Za-z%]{1,20}\))"
_HEADER = re.compile(rf"[A-Z]{_WORD}*(?: {_WORD}+)*(?:(?: {{2,}}|	+ *)[A-Z]{_WORD}*(?: {_WORD}+)*)*")


def is_header(line: str) -> bool:
    """Whether a line has nothing but column names, in capitals."""
    return bool(_HEADER.fullmatch(line.strip()))


def snake(name: str) -> str:
    """A column's name as the kit writes it.

    >>> snake("NOMINATED NODE"), snake("CPU(cores)"), snake("PORT(S)"), snake("CONTAINER-RUNTIME")
    ('nominated_node', 'cpu_cores', 'port_s', 'container_runtime')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


class Columns:
    """The columns of a printed table: their names, and where they begin."""

    def __init__(self, header: str) -> None:
        begins = [0, *(m.end() for m in _BREAK.finditer(header.rstrip()))]
        begins[0] = len(header) - len(header.lstrip())
        ends = [*begins[1:], None]
        self.names = [snake(header[b:e]) for b, e in zip(begins, ends, strict=True)]
        self.begins = begins

    def cells(self, line: str) -> dict[str, str] | None:
        """A row's cells by column; None if the row does not fit, as its columns begin elsewhere.

        Rows fit whose columns begin where the header's do. Others, such as those of a table whose spacing was lost on
        its way, fit where two blanks (or, with as many words as columns, one) part as many cells as there are columns.
        """
        if self._aligned(line):
            ends = [*self.begins[1:], len(line) + 1]
            cells = [line[b:e].strip() for b, e in zip(self.begins, ends, strict=True)]
            return dict(zip(self.names, cells, strict=True))
        for parts in (_BREAK.split(line.strip()), line.split()):
            if len(parts) == len(self.names):
                return dict(zip(self.names, parts, strict=True))
        return None

    def _aligned(self, line: str) -> bool:
        """Whether every cell begins where its column does, or is empty."""
        ends = [*self.begins[1:], len(line) + 1]
        cells = [line[b:e] for b, e in zip(self.begins, ends, strict=True)]
        fits = all(not cell.strip() or not cell[0].isspace() for cell in cells)
        apart = all(line[b - 1 : b] in ("", " ") for b in self.begins[1:])
        return fits and apart and "\t" not in line and not line[: self.begins[0]].strip()


Bare = Callable[[str], dict[str, str] | None]
"""Reads a row above which no header stands, as its cells tell its columns; None for a line that is no such row."""


def table(text: Text, bare: Bare = lambda line: None) -> Iterator[tuple[Line, dict[str, str]]]:
    """Rows of the printed tables in the text by column; lines that are no rows are rejected."""
    columns: Columns | None = None
    for line in lines(text):
        if is_header(line.text) and ("NAME" in line.text or columns is None):
            columns = Columns(line.text)
        elif columns is None:
            if (known := bare(line.text.strip())) is not None:
                yield line, known
            else:
                text.reject(line, "a header of column names")
        elif (cells := columns.cells(line.text)) is None:
            text.reject(line, "a row with a cell for each column of the header")
        else:
            yield line, cells


def documents(text: Text) -> list[Any] | None:
    """The objects of a text that is JSON or YAML, also several in a row, lists taken apart; None if it is neither."""
    sound(text)
    body = _body(text)
    if body is None:
        return None
    try:
        loaded = structured.load(body)
    except (ValueError, msgspec.DecodeError, yaml.YAMLError, RecursionError):
        loaded = [None]
    found = [item for document in loaded for item in structured.items(document)]
    if not found or not all(isinstance(o, dict) and "kind" in o for o in found):
        if _is_empty_list(loaded):
            return []
        _refuse(text)
        return [o for o in found if isinstance(o, dict) and "kind" in o]
    return found


def _is_empty_list(loaded: list[Any]) -> bool:
    return bool(loaded) and all(isinstance(d, dict) and d.get("items", 0) in ([], None) for d in loaded)


def _refuse(text: Text) -> None:
    for line in lines(text):
        text.reject(line, "JSON or YAML of objects")


def _body(text: Text) -> str | None:
    """The text from where JSON or YAML begins, without noise; None if it has none."""
    kept = [line.text for line in text.lines()]
    start = next((i for i, line in enumerate(kept) if not may_be_noise(line)), None)
    if start is None or not structured.begins(kept[start]):
        return None
    end = len(kept)
    while end > start and may_be_noise(kept[end - 1]):
        end -= 1
    return "\n".join(kept[start:end])


def flat(value: Any, limit: int = 1_000_000) -> dict[str, Any]:
    """An object's leaves by their paths; lists of texts joined with commas, other lists by index.

    No more than ``limit`` leaves are read, as YAML can say in a few words that an object has billions of them.

    >>> flat({"spec": {"cidr": "10.48.0.0/16", "uses": ["Workload", "Tunnel"], "rules": [{"action": "Deny"}]}})
    {'spec.cidr': '10.48.0.0/16', 'spec.uses': 'Workload,Tunnel', 'spec.rules[0].action': 'Deny'}
    """
    made: dict[str, Any] = {}
    stack: list[tuple[str, Any]] = [("", value)]
    while stack and len(made) < limit:
        path, here = stack.pop()
        if isinstance(here, Mapping):
            stack += [(f"{path}.{k}" if path else str(k), v) for k, v in list(here.items())[::-1]]
        elif isinstance(here, list) and any(isinstance(v, (Mapping, list)) for v in here):
            stack += [(f"{path}[{i}]", v) for i, v in list(enumerate(here))[::-1]]
        elif isinstance(here, list):
            made[path] = ",".join(str(v) for v in here)
        else:
            made[path] = here
    return made


def text_of(value: Any) -> str | None:
    """A value as text; None for what has none."""
    return None if value is None or value in ("", "<none>", "<unknown>") else well_formed(str(value))


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365 * 86400.0}
_AGE = re.compile(r"(?:\d{1,9}[smhdy])+")


def seconds(age: str | None) -> float | None:
    """An age as kubectl prints it, in seconds.

    >>> seconds("2m3s"), seconds("5d12h"), seconds("<unknown>")
    (123.0, 475200.0, None)
    """
    if not age or not _AGE.fullmatch(age):
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdy])", age))


def get(text: Text, bare: Bare = lambda line: None) -> list[dict[str, Any]]:
    """The objects of ``get`` in any form: kind, api_version, namespace, name, fields and line."""
    found = documents(text)
    if found is not None:
        return [described(o, len(text.text)) for o in found]
    return [
        {
            **_named(cells),
            "fields": {k: v for k, v in cells.items() if k not in ("namespace", "name")},
            "line": at.number,
        }
        for at, cells in table(text, bare)
    ]


def _named(cells: dict[str, str]) -> dict[str, Any]:
    kind, slash, name = cells.get("name", "").partition("/")
    return {
        "namespace": text_of(cells.get("namespace")),
        "kind": kind if slash else None,
        "name": text_of(name if slash else kind),
    }


def described(item: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """One object of YAML or JSON as a row of :func:`get`."""
    metadata = item.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    parts = {k: v for k, v in item.items() if k not in ("kind", "apiVersion", "metadata")}
    about = {k: v for k, v in metadata.items() if k not in ("name", "namespace", "managedFields")}
    return {
        "kind": text_of(item.get("kind")),
        "api_version": text_of(item.get("apiVersion")),
        "namespace": text_of(metadata.get("namespace")),
        "name": text_of(metadata.get("name")),
        "fields": flat({"metadata": about, **parts}, limit),
    }


def time(text: str) -> pd.Timestamp | None:
    """A time in ISO 8601, as UTC; None if the text is none."""
    try:
        made = pd.Timestamp(text).as_unit("ns")
        return made.tz_localize("UTC") if made.tzinfo is None else made.tz_convert("UTC")
    except (ValueError, OverflowError):
        return None

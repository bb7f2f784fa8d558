"""What the parsers of iproute2's tools share: their JSON, words with and without a value."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from calicokit.net import canonical_address, canonical_cidr
from calicokit.parsers.base import Line, Text
from calicokit.parsers.pasted import may_be_noise
from calicokit.schema import Schema

_START = re.compile(r"^\s{0,20}[\[{](?=\s{0,20}(?:[{\"\]}\[]|$))", re.MULTILINE)
_SPACE = re.compile(r"[\s,\[]*")


def objects(text: Text) -> list[tuple[dict[str, Any], Line]] | None:
    """The objects of a JSON answer and where each stands; None if the text is none. What cannot be read is rejected.

    >>> [value for value, _ in objects(Text("ip-route", '[{"dst":"default"}]'))]
    [{'dst': 'default'}]
    """
    whole = text.text
    start = _START.search(whole)
    if not start or any(line.strip() and not may_be_noise(line) for line in whole[: start.start()].split("\n")):
        return None  # a bracket somewhere in text makes no JSON of it
    _refuse(text, whole, 0, start.start())
    found, at = _elements(text, whole, start.end() - 1)
    _refuse(text, whole, at, len(whole))
    return found


def _elements(text: Text, whole: str, at: int) -> tuple[list[tuple[dict[str, Any], Line]], int]:
    """The objects from a place on, and where they end."""
    decoder = json.JSONDecoder()
    found: list[tuple[dict[str, Any], Line]] = []
    number, counted = 1, 0
    while (at := _SPACE.match(whole, at).end()) < len(whole) and whole[at] != "]":  # type: ignore[union-attr]
        number, counted = number + whole.count("\n", counted, at), at
        line = Line(number, whole[at : at + 300].split("\n")[0])
        try:
            value, at = decoder.raw_decode(whole, at)
        except (ValueError, RecursionError):
            text.reject(line, "whole JSON objects")
            return found, len(whole)
        if isinstance(value, dict):
            found.append((value, line))
        else:
            text.reject(line, "a JSON object")
        if whole[at : at + 2] == "\n{":  # objects in a row, in no list
            continue
        if whole[at : at + 1] == "\n" and found and "]" not in whole[at : at + 20] and "," not in whole[at : at + 20]:
            break
    return found, at + 1


def _refuse(text: Text, whole: str, start: int, end: int) -> None:
    """Refuse what stands before or after JSON."""
    number = whole.count("\n", 0, start) + 1
    for i, line in enumerate(whole[start:end].split("\n")):
        if line.strip(" ]\t"):
            text.reject(Line(number + i, line), "JSON, and nothing around it")


def pieces(text: Text) -> Iterator[Line]:
    """The lines; those that ``-o`` put on one line are separate."""
    for line in text.answer():
        if "\\" not in line.text:
            yield line
            continue
        for piece in line.text.split("\\"):
            if piece.strip():
                yield Line(line.number, piece)


def number(value: object) -> int | None:
    """A whole number that fits a column, from decimal or ``0x`` text or from JSON; None for anything else.

    >>> number("0x10"), number("7"), number(7), number("x")
    (16, 7, 7, None)
    """
    if isinstance(value, str):
        if value[:2] == "0x" and 2 < len(value) < 18 and all(c in "0123456789abcdefABCDEF" for c in value[2:]):
            value = int(value, 16)
        elif value.isascii() and value.isdigit() and len(value) < 19:
            return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None


def string(value: object) -> str | None:
    """The text of a JSON value: None for null, compact JSON for what is no scalar."""
    if value is None:
        return None
    if not isinstance(value, str):
        value = json.dumps(value, separators=(",", ":"))
    return value.encode("utf-8", "replace").decode()


def strings(value: object) -> list[str]:
    """The texts of a JSON list."""
    return [string(v) or "" for v in value] if isinstance(value, list) else []


def attributes(values: Mapping[str, object]) -> str | None:
    """Names and values as the text form prints them; a null or true value is a name alone.

    >>> attributes({"mtu": 1400, "pref": "medium", "onlink": True})
    'mtu 1400 pref medium onlink'
    """
    return " ".join(k if v is None or v is True else f"{k} {string(v)}" for k, v in values.items()) or None


def address(value: object) -> str | None:
    """The canonical form of an address; what is none stays as it is.

    >>> address("FE80::1"), address("bird")
    ('fe80::1', 'bird')
    """
    text = string(value)
    try:
        return text and canonical_address(text)
    except ValueError:
        return text


def cidr(value: object) -> str | None:
    """The canonical CIDR of a prefix or an address; None if it is neither."""
    if not isinstance(value, str) or not value.isascii():
        return None
    try:
        return canonical_cidr(value)
    except ValueError:
        return None


def version(value: str | None) -> int | None:
    """4 or 6 for an address or a CIDR, None for anything else."""
    try:
        return ipaddress.ip_interface(value).version if value else None
    except ValueError:
        return None


_INTS = {"metric", "weight", "priority", "goto", "vlan", "vni", "port"}


def columns(words: list[str], names: dict[str, str], flags: set[str]) -> dict[str, Any] | None:
    """Columns from 'name value' and flags, the rest as attributes; None if a value is missing or no number."""
    row: dict[str, Any] = {"flags": [], "attributes": []}
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word in flags:
            row["flags"].append(word)
        elif word not in names:
            row["attributes"].append(word)
        else:
            at += word == "via" and words[at : at + 1] in (["inet"], ["inet6"])
            column, value = names[word], words[at] if at < len(words) else None
            row[column] = number(value) if column in _INTS else value
            at += 1
            if row[column] is None:
                return None
    row["attributes"] = " ".join(row["attributes"]) or None
    return row


def frame(schema: Schema, rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A frame of the declared columns of rows that may have more."""
    rows = list(rows)
    return schema.frame({c.name: [row.get(c.name) for row in rows] for c in schema.columns})


def read(
    text: Text, line: Callable[[Line], bool], value: Callable[[dict[str, Any], Line], bool], expected: str
) -> None:
    """Hand each object of JSON, or each line, to what reads it, and reject what it refuses."""
    values = objects(text)
    for item, place in values or ():
        if not value(item, place):
            text.reject(place, f"{expected} in JSON")
    for piece in pieces(text) if values is None else ():
        if not line(piece):
            text.reject(piece, expected)


def simple(
    text: Text,
    schema: Schema,
    words: Callable[[list[str]], dict[str, Any] | None],
    value: Callable[[dict[str, Any]], dict[str, Any] | None],
    expected: str,
) -> dict[str, pd.DataFrame]:
    """A table that has a row for each line, or for each object of JSON."""
    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any] | None, line: Line) -> bool:
        rows.extend([row | {"line": line.number}] if row else [])
        return row is not None

    read(text, lambda line: add(words(line.text.split()), line), lambda v, line: add(value(v), line), expected)
    return {schema.name: frame(schema, rows)}

"""What a parser is, the registry of kinds, and what every parser does to text before it reads it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import pandas as pd

from calicokit.parsers.pasted import clean, may_be_noise
from calicokit.schema import Schema


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a text: its number from 1 and its characters, without line end and trailing blanks."""

    number: int
    text: str


class ParseError(ValueError):
    """A line that a parser cannot read, in strict mode: which tool's, where, the line, and what was expected."""

    def __init__(self, kind: str, line: Line, expected: str) -> None:
        self.kind, self.line, self.expected = kind, line, expected
        super().__init__(f"{kind}, line {line.number}: expected {expected}, found {line.text[:200]!r}")


@dataclass
class Parsed:
    """The tables read from a text, and the lines that could not be read."""

    kind: str
    tables: dict[str, pd.DataFrame]
    unparsed: list[Line] = field(default_factory=list)

    @property
    def frame(self) -> pd.DataFrame:
        """The kind's main table."""
        return self.tables[self.kind.replace("-", "_")]


@dataclass
class Text:
    """A text to parse, without what stood around the tool's output, and the place for what a parser cannot read."""

    kind: str
    text: str
    strict: bool = False
    unparsed: list[Line] = field(default_factory=list)

    def lines(self) -> Iterator[Line]:
        """The lines that are not blank, without trailing blanks."""
        for number, line in enumerate(self.text.split("\n"), 1):
            if stripped := line.rstrip():
                yield Line(number, stripped)

    def answer(self) -> Iterator[Line]:
        """The lines without any noise, for a parser to which every line is a row."""
        return (line for line in self.lines() if not may_be_noise(line.text))

    def reject(self, line: Line, expected: str) -> None:
        """Say that a line cannot be read: an error in strict mode, kept in ``unparsed`` otherwise, or noise."""
        if may_be_noise(line.text):
            return
        if self.strict:
            raise ParseError(self.kind, line, expected)
        self.unparsed.append(line)


Read = Callable[[Text], dict[str, pd.DataFrame]]


@dataclass(frozen=True)
class Kind:
    """A registered parser: the kind's name, the tables it gives, its function, and how a text shows that it is one.

    ``marks`` is an expression that such texts match somewhere, "" where they have no form of their own. ``general``
    says that it reads texts of other kinds too, which come first. Command lines with ``keeps`` in them stay in the
    text, as the parser reads them. ``stamped`` says that it reads the time that a container runtime puts before a line.
    """

    name: str
    schemas: tuple[Schema, ...]
    read: Read
    marks: str = ""
    general: bool = False
    keeps: str = ""
    stamped: bool = False

    @property
    def title(self) -> str:
        return (self.read.__doc__ or "").strip().split("\n")[0]

    @property
    def verified(self) -> bool:
        """Whether the main table's format was seen in a recording."""
        return self.schemas[0].verified


KINDS: dict[str, Kind] = {}


def parser(
    name: str, *schemas: Schema, marks: str, general: bool = False, keeps: str = "", stamped: bool = False
) -> Callable[[Read], Read]:
    """Register the decorated function as the parser of kind ``name``; the first schema is its main table's.

    For the other arguments see :class:`Kind`.
    """
    if schemas[0].name != name.replace("-", "_"):
        raise ValueError(f"the main table of {name} must be named {name.replace('-', '_')}")

    def register(read: Read) -> Read:
        KINDS[name] = Kind(name, schemas, read, marks, general, keeps, stamped)
        return read

    return register


@cache
def kinds() -> dict[str, Kind]:
    """All kinds by name, with every parser module imported."""
    package = importlib.import_module("calicokit.parsers")
    for module in pkgutil.walk_packages(package.__path__, "calicokit.parsers."):
        importlib.import_module(module.name)
    return KINDS


def parse(kind: str, text: str, *, strict: bool = False) -> Parsed:
    """Read a tool's output into tables.

    Returns a :class:`Parsed` with ``.tables`` (name → DataFrame), ``.frame`` (the main one) and ``.unparsed``. Raises
    ``KeyError`` for an unknown kind and, with ``strict``, :class:`ParseError` at the first line it cannot read.

    >>> parse("calicoctl-ipam-show", "").frame.empty
    True
    """
    # A module that a topic has imported is enough; all of them are loaded only for a kind that is not there yet.
    known = KINDS.get(kind) or kinds()[kind]
    source = Text(kind, clean(text, known.keeps, known.stamped), strict)
    return Parsed(kind, known.read(source), source.unparsed)

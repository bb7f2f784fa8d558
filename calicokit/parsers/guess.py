"""Which kind of text is this? By the marks that a tool's output carries, and among several by what can be read.

Marks only propose; every proposed kind is tried on the text's beginning, and the one that leaves least unread wins.
`calicokit parse` and the sorting of a folder's files (evidence/bundles/recognise.py) both rest on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from calicokit.evidence.commands import item_of_command
from calicokit.parsers.base import Kind, Parsed, ParseError, kinds, parse
from calicokit.parsers.kubernetes import structured
from calicokit.parsers.pasted import clean

HEAD = 40_000
"""Characters that are looked at: a kind shows itself early."""

ONE_LINE = 4_000_000
"""JSON may be one long line, which tells nothing when it is cut."""


@dataclass(frozen=True)
class Guess:
    """A kind that the text may be: how many of its lines stayed unread in the part that was tried, and its rows."""

    kind: str
    unread: int
    rows: int


def guess(text: str, command: str = "") -> list[Guess]:
    """The kinds that this text may be, the likeliest first; empty if none fits.

    A ``command`` of the catalog's that printed it tells the kind, if it can be read as that.

    >>> guess("0:\\tfrom all lookup local\\n32766:\\tfrom all lookup main\\n")[0].kind
    'ip-rule'
    """
    head = _head(text)
    item = item_of_command(command)
    printed = item.parser.partition(":")[0] if item else ""
    marked = [
        kind
        for kind in kinds().values()
        if kind.name == printed or (kind.marks and re.search(kind.marks, head, re.MULTILINE))
    ]
    tried = [(kind, g) for kind in marked if (g := _try(kind.name, head)) is not None]
    ranked = sorted(tried, key=lambda t: (t[0].name != printed or not t[1].rows, _rank(t[0], t[1], head)))
    return [g for _, g in ranked]


def _head(text: str) -> str:
    """The part of a text that is looked at, without what stands around it."""
    head = text[:HEAD]
    if structured.begins(head):
        head = text  # of JSON the beginning alone cannot be read
    elif len(text) > HEAD:
        whole = head.rpartition("\n")[0]
        head = whole if len(whole) > HEAD // 2 else text[:ONE_LINE]
    return clean(head)


def is_log(kind: str) -> bool:
    """Whether a kind is a log of Calico's, whose formats are alike."""
    return kind.endswith("-log")


def _rank(kind: Kind, found: Guess, head: str) -> tuple[int, int, int, bool, str]:
    """The less is unread the likelier; of logs, which are alike, the one of which most was read and most lines show."""
    shows = len(re.findall(kind.marks, head, re.MULTILINE)) if is_log(kind.name) else 0
    return found.unread, -found.rows if is_log(kind.name) else 0, -shows, kind.general, kind.name


def _try(kind: str, text: str) -> Guess | None:
    try:
        parsed = parse(kind, text)
    except ParseError:
        return None
    unread = len(parsed.unparsed) + _alien(parsed)
    rows = sum(len(frame) for frame in parsed.tables.values())
    lines = max(1, text.count("\n"))
    # A kind that leaves most of the text unread is not what it is; a heading without rows may be.
    fits = unread <= lines // 2 if rows else not unread
    return Guess(kind, unread, rows) if fits else None


def _alien(parsed: Parsed) -> int:
    """The lines before a log's first record: they are kept as a record of nulls, but show that it may be no log."""
    frame = parsed.frame
    if not is_log(parsed.kind) or frame.empty or "file" not in frame:
        return 0
    first = frame.iloc[0]
    told = any(pd.notna(first[name]) for name in ("level", "file", "component"))
    return 0 if told else str(first["message"]).count("\n") + 1

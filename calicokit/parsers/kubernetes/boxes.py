"""Tables with drawn borders, as calicoctl and calico-node print them, also where borders or rows broke on the way.

olekukonko/tablewriter wraps a long cell into further rows, in which the other cells are blank (its wrap.go); a narrow
terminal or a mail breaks a row in two; forums turn ``+-`` and ``--`` into other signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from calicokit.parsers.base import Line

_BORDER = re.compile(r"[|\s]*[-+=±–—┌├└─┬┼][-+=±–—┌┬┐├┼┤└┴┘─|\s]*")
_CELL = re.compile(r"[|│]")
MOST_PIECES = 3
"""Lines that a row may be broken into."""


def is_border(line: str) -> bool:
    """Whether a line, or what is left of one, is nothing but a border.

    >>> is_border("+----+---+"), is_border("±---±–±"), is_border("---+"), is_border("| a |")
    (True, True, True, False)
    """
    return _BORDER.fullmatch(line.strip()) is not None


def cells(line: str) -> list[str] | None:
    """The cells of a row; None if the line is none.

    >>> cells("| 10.0.0.1 | up |"), cells("up")
    (['10.0.0.1', 'up'], None)
    """
    body = line.strip()
    if len(body) < 2 or body[0] not in "|│" or body[-1] not in "|│":
        return None
    return [cell.strip() for cell in _CELL.split(body[1:-1])]


def whole(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines, with rows that were broken or wrapped put together, each at its first line; borders are left out."""
    above: Line | None = None
    for line in _joined(lines):
        if is_border(line.text):
            if above:
                yield above
            above = None
            continue
        if above and (more := _wrapped(above.text, line.text)) is not None:
            above = Line(above.number, more)
            continue
        if above:
            yield above
        above = line
    if above:
        yield above


def _wrapped(above: str, below: str) -> str | None:
    """The row above with the rest of its cells; None if the row below is one of its own.

    It goes on if its first cell is blank, and few others are not, all below such as are not either.
    """
    upper, lower = cells(above), cells(below)
    if not upper or not lower or len(upper) != len(lower) or lower[0]:
        return None
    said = [i for i, cell in enumerate(lower) if cell]
    if not said or len(said) * 2 > len(lower) or not all(upper[i] for i in said):
        return None
    return f"| {' | '.join(f'{a} {b}'.strip() for a, b in zip(upper, lower, strict=True))} |"


def _joined(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines, with the pieces of a row that a terminal or a mail broke put together."""
    row: Line | None = None
    width = pieces = 0
    for line in lines:
        text = line.text.strip()
        if is_border(text):
            width = len(text) if text[:1] in "+±┌├└" else width
        elif row and text[0] not in "|│" and pieces < MOST_PIECES and (text[-1] in "|│" or row.text[-1] not in "|│"):
            apart = "" if len(row.text.strip()) == width else " "
            row, pieces = Line(row.number, f"{row.text}{apart}{text}"), pieces + 1
            continue
        if row:
            yield row
            row = None
        if text[0] in "|│":
            row, pieces = line, 1
        else:
            yield line
    if row:
        yield row

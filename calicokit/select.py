"""Rows and columns of a table, as a user asks for them: ``node=node-3``, ``packets>0``, words, an order, a number.

The same words serve the command line (``calicokit table --where …``) and Python (``cluster.ipam.blocks(where=…)``).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypedDict

import pandas as pd

from calicokit.registry import OptionError
from calicokit.schema import Table
from calicokit.sentences import listed, natural

CONDITION = re.compile(r"\s*([\w-]+?)\s*(!=|>=|<=|!~|=|>|<|~)\s*(.*?)\s*", re.S)
ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Select(TypedDict, total=False):
    """What of a table is wanted; see :func:`select`."""

    where: str | Sequence[str]
    grep: str
    columns: str | Sequence[str]
    sort: str | Sequence[str]
    rows: int


def select(
    frame: pd.DataFrame,
    where: str | Sequence[str] = (),
    grep: str = "",
    columns: str | Sequence[str] = (),
    sort: str | Sequence[str] = (),
    rows: int = 0,
) -> Table:
    """The rows for which all conditions hold, some columns of them, in an order, the first so many.

    A condition is COLUMN, one of ``= != > >= < <= ~ !~``, and a value; ``~`` is a regular expression, ``=`` asks
    whether a list or map holds the value, and without a value whether the cell is empty. ``grep`` is a regular
    expression that some cell of the row matches. ``sort`` names columns, ``-`` before one for descending; names go in
    natural order. ``rows`` is how many at most, 0 for all. What is unknown stays unknown. Raises ``OptionError`` with
    one sentence.

    >>> frame = pd.DataFrame({"node": ["n10", "n9", "n1"], "packets": [3, 0, 7]})
    >>> select(frame, where="packets>0", sort="node")["node"].tolist()
    ['n1', 'n10']
    """
    wanted = _names(frame, columns)
    found = pd.DataFrame(frame)
    for condition in [where] if isinstance(where, str) and where else where:
        found = found[_holds(found, condition)]
    if grep:
        found = found[_matches(found, grep)]
    for name in reversed(_split(sort)):
        column = _names(frame, name.removeprefix("-"))[0]
        found = found.sort_values(column, key=_order, ascending=not name.startswith("-"), kind="stable")
    found = found.head(rows) if rows else found
    return Table(found[wanted] if wanted else found, unknown=getattr(frame, "unknown", ()))


def _split(names: str | Sequence[str]) -> list[str]:
    return [n.strip() for n in (names.split(",") if isinstance(names, str) else names) if n.strip()]


def _names(frame: pd.DataFrame, names: str | Sequence[str]) -> list[str]:
    wanted = _split(names)
    for name in wanted:
        if name not in frame.columns:
            known = list(map(str, frame.columns))
            near = get_close_matches(name, known, n=1)
            raise OptionError(
                f"there is no column {name}; {f'did you mean {near[0]}?' if near else f'there are {listed(known, 60)}'}"
            )
    return wanted


def _holds(frame: pd.DataFrame, condition: str) -> pd.Series[bool]:
    """For which rows a condition holds; no comparison but ``!=`` and ``!~`` holds for an empty cell."""
    read = CONDITION.fullmatch(condition)
    if read is None:
        raise OptionError(f"{condition!r} is no condition, such as node=node-3 or 'packets>0'")
    name, sign, value = read[1], read[2], read[3]
    column = frame[_names(frame, name)[0]]
    if sign in ("~", "!~"):
        test = _pattern(value)
        held = [bool(test.search(text_of(cell))) for cell in column.tolist()]
    elif sign in ORDERED:
        wanted, compare = _value(column, value), ORDERED[sign]
        held = [not _is_empty(c) and compare(_comparable(c), wanted) for c in column.tolist()]
    else:
        held = [_equals(cell, column, value) for cell in column.tolist()]
    negated = sign in ("!=", "!~")
    return pd.Series([h != negated for h in held], index=frame.index, dtype=bool)


def _matches(frame: pd.DataFrame, pattern: str) -> pd.Series[bool]:
    test = _pattern(pattern)
    rows = zip(*(frame[c].tolist() for c in frame.columns), strict=True)
    return pd.Series([any(test.search(text_of(c)) for c in row) for row in rows], index=frame.index, dtype=bool)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.I)
    except re.error as error:
        raise OptionError(f"{text!r} is no regular expression: {error}") from None


def _equals(cell: Any, column: pd.Series[Any], value: str) -> bool:
    if isinstance(cell, (list, tuple)):
        return value in map(str, cell) if value else not cell
    if isinstance(cell, dict):
        return value in (f"{k}={v}" for k, v in cell.items()) if value else not cell
    if _is_empty(cell) or not value:
        return _is_empty(cell) and not value
    return bool(_comparable(cell) == _value(column, value))


def _value(column: pd.Series[Any], text: str) -> Any:
    """The value that a text stands for beside the cells of this column."""
    try:
        if pd.api.types.is_bool_dtype(column.dtype):
            return TRUTHS[text.lower()]
        if pd.api.types.is_numeric_dtype(column.dtype):
            return float(text)
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            time = pd.Timestamp(text)
            return time if time.tzinfo else time.tz_localize("UTC")
    except (KeyError, ValueError):
        raise OptionError(f"{text!r} is no value of the column {column.name} ({column.dtype})") from None
    return natural(text)


def _comparable(cell: Any) -> Any:
    return natural(cell) if isinstance(cell, str) else natural(text_of(cell)) if _is_many(cell) else cell


def _order(column: pd.Series[Any]) -> pd.Series[Any]:
    """Keys by which a column sorts: names in natural order, empty cells last."""
    if not any(isinstance(c, str) or _is_many(c) for c in column.tolist()):
        return column
    ranks = {
        text: rank
        for rank, text in enumerate(
            sorted({text_of(c) for c in column.tolist()}, key=lambda text: (natural(text), text))
        )
    }
    return pd.Series([None if _is_empty(c) else ranks[text_of(c)] for c in column.tolist()], index=column.index)


def _is_many(cell: Any) -> bool:
    return isinstance(cell, (list, tuple, dict))


def _is_empty(cell: Any) -> bool:
    return not _is_many(cell) and (cell is None or cell is pd.NA or cell is pd.NaT or cell != cell)


def text_of(cell: Any) -> str:
    """A cell as one text; empty for none.

    >>> text_of(["a", "b"]), text_of({"app": "web"}), text_of(None), text_of(2.5)
    ('a, b', 'app=web', '', '2.5')
    """
    if isinstance(cell, (list, tuple)):
        return ", ".join(map(str, cell))
    if isinstance(cell, dict):
        return ", ".join(f"{k}={v}" for k, v in cell.items())
    if _is_empty(cell):
        return ""
    return f"{cell:g}" if isinstance(cell, float) else str(cell)

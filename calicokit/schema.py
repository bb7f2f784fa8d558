"""What a table is: a pandas DataFrame with declared columns, the same for empty input as for full.

A :class:`Schema` is the one source of a table's columns, dtypes, units and meanings: frames are built from it,
``calicokit table --list`` prints it, and the tests hold every table to it.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from calicokit.evidence.model import Missing

DTYPES = {
    "str": "str",
    "category": "category",  # text of few values in very many rows: a mesh of 2,000 nodes has 4,000,000 sessions
    "int": "Int64",  # counters and counts, nullable
    "float": "float64",  # metrics, shares, and sizes that an IPv6 pool can take beyond 64 bits
    "bool": "boolean",
    "time": "datetime64[ns, UTC]",
    "list": "object",
    "map": "object",
}
_DTYPES: dict[str, Any] = {kind: pd.api.types.pandas_dtype(dtype) for kind, dtype in DTYPES.items()}
"""The same, read once."""


@dataclass(frozen=True)
class Column:
    """One column: its name, kind (a key of :data:`DTYPES`), what it means, and its unit where it has one."""

    name: str
    kind: str
    meaning: str
    unit: str = ""


class SchemaError(ValueError):
    """A frame is not what its schema declares."""


class Table(pd.DataFrame):
    """A DataFrame that knows whether it is empty or unknown.

    ``unknown`` holds the :class:`~calicokit.evidence.model.Missing` evidence without which the table could not be
    built. Such a table has its columns and no rows, and says so when it is shown, so that "could not be seen" is
    never read as "there is none". What is computed from Tables is unknown where one of them is: rows and columns that
    are chosen, groups, joins of two Tables. A column is a plain Series, which has no such word; so is what
    ``pd.DataFrame(table)`` gives, and a plain DataFrame that a Table is joined *to*.
    """

    _metadata = ["unknown"]  # noqa: RUF012 (pandas' own protocol for subclasses)
    unknown: tuple[Missing, ...] = ()

    def __init__(self, data: Any = None, *args: Any, unknown: tuple[Missing, ...] = (), **kwargs: Any) -> None:
        pd.DataFrame.__init__(self, data, *args, **kwargs)  # type: ignore[call-arg]  # the stubs know __new__ only
        object.__setattr__(self, "unknown", unknown or _holes_of(data))

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return partial(Table, unknown=self.unknown) if self.unknown else Table

    def __finalize__(self, other: Any, method: str | None = None, **kwargs: Any) -> Table:
        """Pandas' own protocol: what this was made from, one frame or the several of concat and merge."""
        mine = self.unknown
        super().__finalize__(other, method=method, **kwargs)  # type: ignore[misc]  # not in the stubs
        sources = getattr(other, "input_objs", None)
        made_from = [other] if sources is None else list(sources)
        holes = (m for frame in made_from for m in _holes_of(frame))
        object.__setattr__(self, "unknown", tuple(dict.fromkeys((*mine, *holes))))
        return self

    def groupby(self, *args: Any, **kwargs: Any) -> Any:
        """Groups as pandas makes them; what is computed from an unknown table's is unknown."""
        groups = super().groupby(*args, **kwargs)
        return _UnknownGroups(groups, self.unknown) if self.unknown else groups

    def _unknown_text(self) -> str:
        return "unknown, not empty: " + "; ".join(str(m) for m in self.unknown)

    def __repr__(self) -> str:
        return self._unknown_text() if self.unknown else super().__repr__()

    def _repr_html_(self) -> str | None:
        if not self.unknown:
            return pd.DataFrame(self)._repr_html_()  # type: ignore[operator,no-any-return]
        from html import escape

        return f"<p><b>{escape(self._unknown_text())}</b></p>"


def _holes_of(made_from: Any) -> tuple[Missing, ...]:
    """Why it is unknown; of a plain frame, which may have a column of that name, nothing is known to be."""
    return made_from.unknown if isinstance(made_from, Table) else ()


class _UnknownGroups:
    """The groups of an unknown table: pandas puts their aggregates together from plain Series, which forget why."""

    def __init__(self, groups: Any, unknown: tuple[Missing, ...]) -> None:
        self._groups, self._unknown = groups, unknown

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._groups, name)
        if not callable(found):
            return self._told(found)
        return lambda *args, **kwargs: self._told(found(*args, **kwargs))

    def __getitem__(self, columns: Any) -> Any:
        return self._told(self._groups[columns])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def _told(self, made: Any) -> Any:
        if isinstance(made, pd.DataFrame):
            return Table(made, unknown=self._unknown)
        return _UnknownGroups(made, self._unknown) if hasattr(made, "ngroups") else made


@dataclass(frozen=True)
class Schema:
    """The declared shape of one table.

    ``name`` is ``topic.table`` for the kit's tables and the kind's name for parsers' tables; ``key`` names the columns
    that tell rows apart; ``verified`` is False where the format behind it was seen in no recording (``source`` then
    says where it is known from).
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    verified: bool = True
    source: str = ""
    undecided: tuple[str, str] | None = None
    """A column and its value in rows of nodes about which the table says that it does not know."""

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    def frame(self, data: Mapping[str, Sequence[Any]] | Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
        """A frame of exactly these columns and dtypes, from columns or from rows; absent columns are null.

        Raises :class:`SchemaError` for a column that the schema does not declare or a value of another kind.
        """
        if isinstance(data, Mapping):
            columns, length = data, max((len(v) for v in data.values()), default=0)
        else:
            rows = list(data)
            columns, length = _columns(rows, self.names), len(rows)
        stray = set(columns) - set(self.names)
        if stray:
            raise SchemaError(f"{self.name}: columns {sorted(stray)} are not declared")
        if not length:
            return self._empty.copy()
        return self._framed({c.name: _array(self.name, c, columns.get(c.name), length) for c in self.columns})

    @cached_property
    def _empty(self) -> pd.DataFrame:
        return self._framed({c.name: _array(self.name, c, (), 0) for c in self.columns})

    def _framed(self, arrays: Mapping[str, Any]) -> pd.DataFrame:
        """A frame of arrays that nobody else holds."""
        return pd.DataFrame(arrays, columns=pd.Index(self.names), copy=False)

    def take(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The declared columns of a frame that has them, in their order and dtypes, with rows numbered from 0.

        Columns that have their dtype already are taken as they are, which :meth:`frame` would build anew.
        """
        dtypes = dict(zip(frame.columns, frame.dtypes.tolist(), strict=True))
        made = {
            c.name: frame[c.name].reset_index(drop=True)
            if _is_of(dtypes[c.name], c.kind)
            else _array(self.name, c, frame[c.name].tolist(), len(frame))
            for c in self.columns
        }
        return pd.DataFrame(made, columns=pd.Index(self.names))

    def check(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame itself, if its columns and dtypes are the declared ones; else :class:`SchemaError`."""
        if list(frame.columns) != self.names:
            raise SchemaError(f"{self.name}: columns are {list(frame.columns)}, declared are {self.names}")
        for column, dtype in zip(self.columns, frame.dtypes.tolist(), strict=True):
            if not _is_of(dtype, column.kind):
                raise SchemaError(f"{self.name}.{column.name}: dtype is {dtype}, declared {DTYPES[column.kind]}")
        return frame


def _is_of(dtype: Any, kind: str) -> bool:
    """Whether a dtype is that of the kind; categories of any values are."""
    return bool(dtype == (kind if kind == "category" else _DTYPES[kind]))


def among(column: pd.Series[Any], values: Iterable[object]) -> pd.Series[bool]:
    """Which of the column's values are among these; a set's look-up, as ``Series.isin`` takes a second for 250,000."""
    known = values if isinstance(values, (set, dict)) else set(getattr(values, "tolist", lambda: values)())
    return pd.Series([v in known for v in column.tolist()], index=column.index, dtype=bool)


def cells(frame: pd.DataFrame, *names: str) -> Iterator[Any]:
    """The values of these columns, row by row, as tuples (one column: its values); far faster than records."""
    columns = [frame[n].tolist() for n in names]
    return iter(columns[0]) if len(columns) == 1 else zip(*columns, strict=True)


def records(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples; their fields are of the kinds that the schema declares, which no type tells.

    They are what ``itertuples`` gives, which makes a class anew each time: for a few rows that is most of the time.
    """
    row = _row_of(tuple(frame.columns))
    return map(row._make, zip(frame.index.tolist(), *(frame[n].tolist() for n in frame.columns), strict=True))


@lru_cache(maxsize=1000)
def _row_of(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", ("Index", *names), rename=True)


def _columns(rows: list[Mapping[str, Any]], names: list[str]) -> dict[str, list[Any]]:
    given = set().union(*rows)  # one pass in C over the rows' keys
    return {n: [r.get(n) for r in rows] for n in names if n in given} | {n: [] for n in given - set(names)}


def _array(table: str, column: Column, values: Sequence[Any] | None, length: int) -> Any:
    """A column's values with its dtype; arrays make frames several times as fast as Series do."""
    if values is None:
        values = [None] * length
    try:
        if column.kind == "time":
            if any(isinstance(v, (int, float)) and v == v for v in values):
                raise TypeError("a number is no time")
            times = pd.to_datetime(np.fromiter(values, dtype=object, count=length), utc=True, format="ISO8601")
            return times.as_unit("ns").array
        if DTYPES[column.kind] == "object":
            return np.fromiter(values, dtype=object, count=length)
        return pd.array(values, dtype=_DTYPES[column.kind])
    except (TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"{table}.{column.name}: not a column of kind {column.kind}: {error}") from error

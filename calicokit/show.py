"""How a notebook shows a table: chosen columns, words instead of nulls and numbers' noise, everything escaped.

    show(cluster.ipam.waiting(), "namespace", "pod", "node", "error")
    show(cluster.ipam.allocations(), "address", "owner", "why", state="leaked")

An unknown table says why it is unknown; an empty one says that there is none. Of a cluster with IPv4 alone no column
speaks of IP versions. The heading of a column tells what it
means when the pointer rests on it. The HTML is the same for the same table, so that notebooks and pages compare.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

import pandas as pd

from calicokit import registry
from calicokit.schema import Column, Schema
from calicokit.sentences import share, why_unknown

MOST_ROWS = 25
SHARE = "0 to 1"
SHORT = 36
LEFT = "text-align:left;vertical-align:top;padding:4px 14px 4px 0"


class Shown:
    """A table, ready to be shown in a notebook or a terminal."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def show(table: pd.DataFrame, *columns: str, rows: int = MOST_ROWS, **only: Any) -> Shown:
    """The table's chosen columns (all but ``evidence`` where none are named), of the rows that equal ``only``."""
    if unknown := why_unknown(table):
        return Shown(f'<p class="unknown"><b>{escape(unknown)}</b></p>', unknown)
    schema = _declared(table)
    found = pd.DataFrame(table)
    chosen = [c for c in columns or table.columns if (columns or c != "evidence") and not _of_ipv4_alone(found, c)]
    for column, value in only.items():
        found = found[found[column].eq(value).fillna(False).astype(bool)]
    if not len(found):
        which = " and ".join(f"{c} {v}" for c, v in only.items())
        none = f"{schema.name or 'The table'} has no rows{f' with {which}' if which else ''}."
        return Shown(f'<p class="none">{escape(none)}</p>', none)
    first = found[chosen].head(rows)
    declared = {c.name: c for c in schema.columns}
    columns_of = [declared.get(c, Column(c, "", "")) for c in chosen]
    cells = [[_text(v, c) for v, c in zip(row, columns_of, strict=True)] for row in first.itertuples(index=False)]
    left = f"{len(found) - len(first):,} more rows not shown." if len(found) > len(first) else ""
    return Shown(_html(schema, columns_of, cells, left), _plain(chosen, cells, left))


def _of_ipv4_alone(found: pd.DataFrame, column: str) -> bool:
    """Whether a column says nothing but that all is IPv4: the IP version of each row, or what only IPv6 has."""
    if column in ("version", "family"):
        return bool(found[column].isin([4]).all()) and str(found[column].dtype) == "Int64"
    return column.endswith("6") and bool(found[column].isna().all())


def _declared(table: pd.DataFrame) -> Schema:
    """The schema of the table, which is known by its columns."""
    names = list(table.columns)
    found = (spec.schema for spec in registry.load().values() if spec.schema.names == names)
    return next(found, Schema("", "", ()))


def _text(value: Any, column: Column) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items())
    if value is None or pd.isna(value):
        return ""
    if column.kind == "bool":
        return "yes" if value else "no"
    if column.unit == SHARE:
        return share(float(value))
    return _figure(value)


def _figure(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
    return str(value)


def _html(schema: Schema, columns: list[Column], cells: list[list[str]], left: str) -> str:
    head = "".join(f'<th scope="col"{_tip(c)} style="{LEFT}">{_breakable(c.name)}</th>' for c in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in cells)
    about = re.sub(r"`(.+?)`", r"<code>\1</code>", escape(f"`{schema.name}` {schema.meaning}"))
    style = f"caption-side:top;white-space:nowrap;{LEFT}"
    caption = f'<caption style="{style}">{about}</caption>' if schema.name else ""
    more = f'<p class="more">{left}</p>' if left else ""
    return f'<table class="shown">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


def _tip(column: Column) -> str:
    unit = f" [{column.unit}]" if column.unit else ""
    return f' title="{escape(column.meaning + unit)}"' if column.meaning else ""


def _breakable(name: str) -> str:
    return escape(name).replace("_", "_<wbr>")


def _cell(text: str) -> str:
    """Names stay on one line, prose does not; an id of 60 characters (a handle) breaks anywhere."""
    wrap = "nowrap" if len(text) <= SHORT else "normal;min-width:16em;overflow-wrap:anywhere"
    return f'<td style="{LEFT};white-space:{wrap}">{escape(text)}</td>'


def _plain(names: list[str], cells: list[list[str]], left: str) -> str:
    text = pd.DataFrame(cells, columns=pd.Index(names)).to_string(index=False)
    return f"{text}\n{left}" if left else text

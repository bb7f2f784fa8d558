"""Two tables of one schema → what differs between them, and what their counters did. Pure functions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.diff.areas import Compared
from calicokit.schema import Column, Schema

DIFFERENCES = Schema(
    "diff.differences",
    "what differs between the two sources",
    (
        Column("area", "str", "objects, addresses, rules, routes, bgp, ipsets, sysctls, interfaces"),
        Column("change", "str", "added, removed, changed, or reordered (rules of a chain)"),
        Column("node", "str", "node; null for cluster-wide items"),
        Column("kind", "str", "table of the row, or plural of the object's kind"),
        Column("subject", "str", "key of the row or object"),
        Column("field", "str", "column or path that changed; null where the whole row was added or removed"),
        Column("before", "str", "value in the first source"),
        Column("after", "str", "value in the second source"),
    ),
)
COUNTERS = Schema(
    "diff.counters",
    "counters and gauges that differ between the two sources",
    (
        Column("area", "str", "as in diff.differences, or counters"),
        Column("node", "str", "node; null for cluster-wide items"),
        Column("kind", "str", "table of the row"),
        Column("subject", "str", "key of the row"),
        Column("field", "str", "counter column"),
        Column("before", "float", "value in the first source"),
        Column("after", "float", "value in the second source"),
        Column("delta", "float", "after minus before; negative where a counter was reset or a gauge fell"),
        Column(
            "rate",
            "float",
            "delta per second between the sources; null where a time is unknown or the delta is negative",
            "1/s",
        ),
    ),
)

_N = "occurrence"


def differences(what: Compared, before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Rows that only one table has, values that are not the same, chains in another order; see :data:`DIFFERENCES`."""
    both = _matched(what, before, after, what.values)
    found = [_alone(what, both, "left_only", "removed"), _alone(what, both, "right_only", "added")]
    matched = both[both["_merge"] == "both"]
    found += [_changed(what, matched, field) for field in what.values]
    if what.ordered:
        found.append(_reordered(what, before, after))
    return DIFFERENCES.take(pd.concat(found, ignore_index=True))


def counters(what: Compared, before: pd.DataFrame, after: pd.DataFrame, seconds: float | None) -> pd.DataFrame:
    """What the counters of rows that both tables have did, ``seconds`` lying between; see :data:`COUNTERS`."""
    both = _matched(what, before, after, what.counters)
    matched = both[both["_merge"] == "both"]
    found = [COUNTERS.frame()]
    for field in what.counters:
        first, second = (matched[f"{field}_{s}"].astype("Float64") for s in ("a", "b"))
        moved = matched[(first != second).fillna(False)]  # null on a side: nothing is known of it
        made = _described(what, moved).assign(field=field, before=first[moved.index], after=second[moved.index])
        delta = made["after"].astype("float64") - made["before"].astype("float64")
        made = made.assign(delta=delta, rate=(delta / seconds).where(delta >= 0) if seconds and seconds > 0 else None)
        found.append(COUNTERS.take(made.astype({"before": "float64", "after": "float64"})))
    return pd.concat(found, ignore_index=True)


def _matched(what: Compared, before: pd.DataFrame, after: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Both tables' rows side by side, by key; the n-th of equal rows stands beside the n-th."""
    keys = _keys(what, before)
    sides = [_keyed(frame, keys, columns) for frame in (before, after)]
    return sides[0].merge(sides[1], how="outer", on=[*keys, _N], suffixes=("_a", "_b"), indicator=True)


def _keys(what: Compared, frame: pd.DataFrame) -> list[str]:
    return [*(["node"] if "node" in frame.columns and "node" not in what.values else []), *what.key]


def _keyed(frame: pd.DataFrame, keys: list[str], columns: tuple[str, ...]) -> pd.DataFrame:
    made = frame[[*keys, *columns]].copy()
    for column in [*keys, *columns]:
        if made[column].dtype == object:
            made[column] = made[column].map(_text)
    for key in keys:
        # Null is a value of a key like any other. Empty columns of texts cannot be merged as such (pyarrow).
        made[key] = made[key].astype("str").fillna("").astype(object)
    made[_N] = made.groupby(keys).cumcount() if keys else range(len(made))
    return made


def _text(value: Any) -> str | None:
    """A cell of several values as one text."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return None if value is None else str(value)


def _described(what: Compared, rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that say what a row is about."""
    keys = [k for k in what.key if k in rows.columns]
    subject = pd.Series("", index=rows.index, dtype="str")
    for key in keys:
        subject = (subject + " " + rows[key].where(rows[key] != "", "")).str.strip()
    node = rows["node"] if "node" in rows.columns else pd.Series([None] * len(rows), index=rows.index, dtype="str")
    kind = what.table.partition(".")[2]
    return pd.DataFrame({"area": what.area, "node": node, "kind": kind, "subject": subject}, index=rows.index)


def _alone(what: Compared, both: pd.DataFrame, side: str, change: str) -> pd.DataFrame:
    rows = _described(what, both[both["_merge"] == side])
    return DIFFERENCES.frame({**_columns(rows), "change": [change] * len(rows)})


def _changed(what: Compared, matched: pd.DataFrame, field: str) -> pd.DataFrame:
    first, second = matched[f"{field}_a"], matched[f"{field}_b"]
    same = (first == second).fillna(False) | (first.isna() & second.isna())
    if field == "since":  # BIRD prints a time of day, and a date once that is long ago: only two times can be compared
        same |= ~(first.str.contains(":", na=False) & second.str.contains(":", na=False))
    moved = matched[~same.astype(bool)]
    rows = _described(what, moved)
    more: dict[str, list[Any]] = {"change": ["changed"] * len(rows), "field": [field] * len(rows)}
    more |= {"before": _shown(moved[f"{field}_a"]), "after": _shown(moved[f"{field}_b"])}
    return DIFFERENCES.frame({**_columns(rows), **more})


def _columns(rows: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(c): rows[c].tolist() for c in rows}


def _shown(values: pd.Series[Any]) -> list[str | None]:
    return [None if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]


def _reordered(what: Compared, before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Chains that have the same rules in another order: which comes first decides."""
    groups = ["node", *what.ordered]
    rest = [k for k in what.key if k not in what.ordered]
    sides = []
    for frame in (before, after):
        rules = frame[rest].astype("str").agg(" ".join, axis=1) if len(frame) else pd.Series([], dtype="str")
        sides.append(
            frame.assign(rule=rules).groupby(groups)["rule"].agg(tuple) if len(frame) else pd.Series(dtype=object)
        )
    rows = []
    for place in sides[0].index.intersection(sides[1].index):
        first, second = sides[0][place], sides[1][place]
        if first != second and sorted(first) == sorted(second):
            at = next(i for i, (x, y) in enumerate(zip(first, second, strict=True)) if x != y)
            about = {"area": what.area, "change": "reordered", "node": place[0], "kind": what.table.partition(".")[2]}
            said = {"subject": " ".join(place[1:]), "field": f"rule {at + 1}", "before": first[at], "after": second[at]}
            rows.append({**about, **said})
    return DIFFERENCES.frame(rows)

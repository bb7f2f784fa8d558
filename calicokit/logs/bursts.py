"""Errors that are logged again and again, and whether they still are."""

from __future__ import annotations

import pandas as pd

from calicokit.logs.known_messages import meanings
from calicokit.registry import table
from calicokit.schema import Column, Schema

BURSTS = Schema(
    "logs.bursts",
    "Errors logged ten times or more by one component of one node, by pattern.",
    (
        Column("node", "str", "node; null for a component of the cluster"),
        Column("component", "str", "component that logged it"),
        Column("pattern", "str", "id of the pattern"),
        Column("level", "str", "ERROR, FATAL or PANIC"),
        Column("count", "int", "lines", "lines"),
        Column("first", "time", "first logged, as far as the log goes back"),
        Column("last", "time", "last logged"),
        Column("every", "float", "median interval between them", "s"),
        Column("still", "bool", "still repeating: the log, and the observation, end within that interval"),
        Column("example", "str", "last such line"),
        Column("word", "str", "entry in known_messages.toml; null where the meaning is unknown"),
        Column("kind", "str", "kind of that entry"),
        Column("means", "str", "what it means"),
        Column("finding", "str", "finding id for this cause"),
        Column("evidence", "str", "the log"),
    ),
    key=("evidence", "pattern"),
)

ERRORS = frozenset(("ERROR", "FATAL", "PANIC"))
OFTEN = 10
NEAR = pd.Timedelta(seconds=60)
LATE = pd.Timedelta(seconds=180)
"""So long may pass until a log that is read is the cluster's time: a capture takes a while."""

MISSED = 3
"""Median intervals without a new line after which an error counts as ended."""


@table(BURSTS, needs={"problems": "logs.problems"}, wants={"now": "@now"})
def bursts(problems: pd.DataFrame, now: pd.Timestamp | None = None) -> pd.DataFrame:
    """One row for each log and pattern; see :data:`BURSTS`."""
    errors = problems[problems["level"].isin(ERRORS) & problems["time"].notna()]
    rows = []
    for (evidence, pattern), group in errors.groupby(["evidence", "pattern"], observed=True):
        if len(group) < OFTEN:
            continue
        times = group["time"].sort_values()
        last = group.loc[times.index[-1]]
        every = pd.Timedelta(times.diff().median())
        rows.append(
            {
                **{name: last[name] for name in ("component", "level")},
                "node": last["node"] if isinstance(last["node"], str) else None,
                "pattern": pattern,
                "template": last["template"],
                "count": len(group),
                "first": times.iloc[0],
                "last": times.iloc[-1],
                "every": every.total_seconds(),
                "still": goes_on(times.iloc[-1], every, last["until"], now),
                "example": _line(last),
                "evidence": evidence,
            }
        )
    told = meanings([r["component"] for r in rows], [r.pop("template") for r in rows])
    for row, entry in zip(rows, told, strict=True):
        if entry is not None:
            about = {"word": entry.word, "kind": entry.kind, "means": entry.means, "finding": entry.finding or None}
            row.update(about)
    return BURSTS.frame(rows)


def goes_on(last: pd.Timestamp, every: pd.Timedelta, until: pd.Timestamp, now: pd.Timestamp | None) -> bool:
    """Whether what was logged every so often and last at a time is still logged at the end of the log, and now."""
    pause = every * MISSED
    return bool(until - last <= max(NEAR, pause) and (now is None or now - last <= max(LATE, pause)))


def _line(row: pd.Series) -> str:
    """Message and error, as they were logged."""
    return str(row["message"]) + (f" error={row['error']}" if isinstance(row["error"], str) else "")

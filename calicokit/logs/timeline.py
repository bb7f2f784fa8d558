"""Timeline: log lines with a known meaning, by span of time, node and meaning."""

from __future__ import annotations

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema

STORY = Schema(
    "logs.story",
    "Timeline of log events: lines with a known meaning that are not harmless.",
    (
        Column("time", "time", "start of the time bin"),
        Column("seconds", "int", "length of the time bin", "s"),
        Column("node", "str", "node; null for a component of the cluster"),
        Column("component", "str", "component that logged it"),
        Column("kind", "str", "fault, start or event"),
        Column("word", "str", "entry in known_messages.toml"),
        Column("count", "int", "lines", "lines"),
        Column("means", "str", "meaning"),
        Column("example", "str", "example line"),
    ),
)
_BY = ["time", "seconds", "node", "component", "kind", "word"]


@table(STORY, needs={"counts": "logs.counts", "telling": "logs.telling"})
def story(counts: pd.DataFrame, telling: pd.DataFrame) -> pd.DataFrame:
    """One row for each span, node and meaning, in order; see :data:`STORY`."""
    told = telling[telling["kind"] != "harmless"][["pattern", "kind", "word", "means", "example"]]
    plain = counts.astype({"pattern": "str", "node": "str", "component": "str"})
    found = plain.drop(columns="level").merge(told, on="pattern")
    groups = found.groupby(_BY, dropna=False, sort=True)
    return STORY.take(
        groups.agg(count=("count", "sum"), means=("means", "first"), example=("example", "first")).reset_index()
    )

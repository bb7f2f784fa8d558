"""What happened when: the telling lines of all logs, span by span, by node and meaning."""

from __future__ import annotations

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema

STORY = Schema(
    "logs.story",
    "What the logs tell, one after the other: lines whose meaning is known and that are not harmless.",
    (
        Column("time", "time", "start of the span of time"),
        Column("seconds", "int", "its length", "s"),
        Column("node", "str", "node; null for a component of the cluster"),
        Column("component", "str", "whose log"),
        Column("kind", "str", "fault, start or event"),
        Column("word", "str", "the meaning's entry in known_messages.toml"),
        Column("count", "int", "lines", "lines"),
        Column("means", "str", "what they mean"),
        Column("example", "str", "one such line"),
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

"""A pattern's lines, with the context of the last one."""

from __future__ import annotations

import pandas as pd

from calicokit.logs.lines import LINES
from calicokit.logs.masks import LONGEST
from calicokit.tables import Tables

NEAR = 8
"""Lines before and after the last one."""

MOST = 12
"""Of the pattern's own lines, so many of the last."""


def around(cluster: Tables, pattern: str = "") -> pd.DataFrame:
    """Rows of ``logs.lines``: the last of a pattern, and what the same log says around the very last, in order; long
    messages are cut.

    Without a pattern the most frequent is taken that tells of a fault, or is an error. Empty where there is none; an
    unknown table where no log is known.
    """
    lines = cluster.table("logs.lines")
    if lines.unknown:
        return lines
    chosen = pattern or _worst(cluster)
    own = lines[lines["pattern"] == chosen]
    if not len(own):
        return LINES.frame()
    last = own.iloc[-1]
    same = lines[lines["evidence"] == last["evidence"]]
    place = same.index.get_loc(last.name)
    near = same.iloc[max(0, int(place) - NEAR) : int(place) + NEAR + 1]
    own = own[own["evidence"] == last["evidence"]].tail(MOST)
    found = pd.concat([own, near]).sort_index().drop_duplicates(subset=["evidence", "line"])
    return LINES.take(found.assign(message=found["message"].str.slice(0, LONGEST)))


def _worst(cluster: Tables) -> str:
    telling = cluster.table("logs.telling")
    faults = telling[telling["kind"] == "fault"]
    patterns = cluster.table("logs.patterns")
    errors = patterns[patterns["level"].isin(["ERROR", "FATAL", "PANIC"])]
    unknown = errors[~errors["pattern"].isin(telling["pattern"])]
    return next((str(p) for t in (faults, unknown, errors) for p in t["pattern"].head(1)), "")

"""Figures of logs: lines per component and level over time, and lines with a known meaning."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from calicokit.figures import BLUE, ORANGE, PALE, SKY, VERMILLION, Figure, figure, message, of_tables, safe
from calicokit.schema import cells
from calicokit.sentences import natural, number, plural

MOST_ROWS = 40
"""Maximum logs drawn individually; beyond, by component."""

LEVELS = (
    ("quiet", ("TRACE", "DEBUG", "INFO"), SKY, "circle"),
    ("WARNING", ("WARNING",), ORANGE, "diamond"),
    ("ERROR and above", ("ERROR", "FATAL", "PANIC"), VERMILLION, "x"),
)
KINDS = {"fault": (VERMILLION, "x"), "start": (ORANGE, "diamond"), "event": (BLUE, "circle")}
MEANT = {"fault": "fault", "start": "normal at start-up only", "event": "event"}
QUIET, LOUD, LARGEST = 4.0, 8.0, 22.0
"""Sizes of marks: of quiet lines and of loud ones at least, and of any at most."""


@of_tables
def timeline(counts: pd.DataFrame) -> Figure:
    """Lines of each log in each span of time, by level (``logs.counts``)."""
    if not len(counts):
        return message("No log has lines with timestamps.")
    named = counts.assign(log=_logs(counts))
    if named["log"].nunique() > MOST_ROWS:
        named["log"] = named["component"].astype("str")
    rows = sorted(set(named["log"]), key=natural, reverse=True)
    traces = []
    for name, levels, colour, symbol in LEVELS:
        own = named[named["level"].isin(levels)].groupby(["time", "log"], sort=True)["count"].sum().reset_index()
        traces.append(_dots(own, own["log"], name, colour, symbol, QUIET if name == "quiet" else LOUD))
    errors = int(counts[counts["level"].isin(LEVELS[2][1])]["count"].sum())
    warnings = int(counts[counts["level"].isin(LEVELS[1][1])]["count"].sum())
    total = int(counts["count"].sum())
    fact = f"{plural(total, 'line')} with a timestamp: {plural(errors, 'error')} and {plural(warnings, 'warning')}"
    return _chart(
        traces, rows, fact, f"The larger a mark, the more lines in {_span(counts)}. BIRD's lines have no timestamp."
    )


@of_tables
def story(story: pd.DataFrame) -> Figure:
    """When the telling lines were logged, by what they mean (``logs.story``)."""
    if not len(story):
        return message("No line with a timestamp has a known meaning.")
    named = story.assign(row=story["component"] + ": " + story["word"])
    order = named.drop_duplicates("row")
    rank = {kind: place for place, kind in enumerate(KINDS)}
    rows = sorted(
        zip(order["kind"], order["row"], strict=True), key=lambda r: (rank[r[0]], natural(r[1])), reverse=True
    )
    traces = []
    for kind, (colour, symbol) in KINDS.items():
        own = named[named["kind"] == kind].groupby(["time", "row"], sort=True)["count"].sum().reset_index()
        traces.append(_dots(own, own["row"], MEANT[kind], colour, symbol, LOUD))
    faults = int(story[story["kind"] == "fault"]["count"].sum())
    fact = (
        f"{plural(faults, 'line')} {'indicates' if faults == 1 else 'indicate'} faults"
        if faults
        else "No line indicates a fault"
    )
    return _chart(
        traces,
        [r for _, r in rows][-MOST_ROWS:],
        fact,
        f"All nodes together; the larger a mark, the more lines in {_span(story)}.",
    )


def _span(counts: pd.DataFrame) -> str:
    seconds = int(counts["seconds"].iloc[0])
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min" if seconds < 3600 else f"{seconds // 3600} h"


def _logs(counts: pd.DataFrame) -> list[str]:
    return [f"{c} {n}" if isinstance(n, str) else str(c) for c, n in cells(counts, "component", "node")]


def _dots(own: pd.DataFrame, rows: pd.Series[str], name: str, colour: str, symbol: str, smallest: float) -> go.Scatter:
    counted = [int(c) for c in own["count"]]
    return go.Scatter(
        name=name,
        x=list(own["time"]),
        y=[safe(r) for r in rows],
        mode="markers",
        marker={
            "symbol": symbol,
            "color": colour,
            "size": [min(LARGEST, smallest + 2 * c**0.5) for c in counted],
            "opacity": 0.85,
            "line": {"width": 0.5, "color": "white"},
        },
        customdata=[number(c) for c in counted],
        hovertemplate="%{y}<br>%{x|%H:%M:%S}: %{customdata} lines<extra></extra>",
    )


def _chart(traces: list[go.Scatter], rows: list[str], fact: str, note: str) -> Figure:
    return figure(
        traces,
        fact,
        note,
        height=max(150, 22 * len(rows) + 70),
        showlegend=True,
        yaxis={
            "categoryorder": "array",
            "categoryarray": [safe(r) for r in rows],
            "automargin": True,
            "gridcolor": PALE,
            "range": [-0.7, len(rows) - 0.3],
        },
        xaxis={"title": "UTC", "gridcolor": PALE},
    )

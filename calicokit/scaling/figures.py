"""The figure of scaling: how close each measure of the cluster is to its threshold for advice."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from calicokit.figures import BLUE, INK, VERMILLION, Figure, figure, message, of_tables, safe
from calicokit.schema import records
from calicokit.sentences import listed, number

MOST = 30
ROW = 26
LEAST = 0.001
"""Minimum share drawn, as the logarithmic axis has no zero."""


@of_tables
def headroom(size: pd.DataFrame) -> Figure:
    """Each measure of ``scaling.size`` that has a limit, as a share of it, the nearest on top."""
    own = size[size["share"].notna()].sort_values("share", ascending=False).head(MOST)
    if not len(own):
        return message("No measure with a threshold is known.")
    over = own[own["share"] > 1]
    fact = (
        f"{listed(over['measure'])} exceed{'s' if len(over) == 1 else ''} the threshold"
        if len(over)
        else "Every measure is below its threshold"
    )
    note = "Share of the threshold for advice; logarithmic axis."
    texts = [f"{_number(r.value)} of {_number(r.limit)} {r.unit}" for r in records(own)]
    axis = {"type": "log", "tickvals": [0.001, 0.01, 0.1, 1, 10, 100], "ticktext": SHARES, "gridcolor": "#DDDDDD"}
    return figure(
        [_bars(own, texts)],
        fact,
        note,
        height=70 + ROW * len(own),
        xaxis=axis | {"range": _range(own["share"].max()), "title": "share of the threshold", "zeroline": False},
        yaxis={"autorange": "reversed", "automargin": True, "ticksuffix": " "},
        shapes=[
            {"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": INK, "width": 2}}
        ],
        bargap=0.35,
        showlegend=False,
    )


SHARES = ["0.1 %", "1 %", "10 %", "limit", "10 ×", "100 ×"]


def _bars(own: pd.DataFrame, texts: list[str]) -> Any:
    shares = [max(s, LEAST * 1.2) for s in own["share"].tolist()]
    return go.Bar(
        x=shares,
        y=[safe(m) for m in own["measure"]],
        orientation="h",
        text=[f" {safe(t)}" for t in texts],
        textposition="outside",
        cliponaxis=False,
        marker={
            "color": [VERMILLION if s > 1 else BLUE for s in own["share"]],
            "pattern": {"shape": ["/" if s > 1 else "" for s in own["share"]]},
        },
        hovertext=[safe(m) for m in own["means"]],
        hoverinfo="text",
    )


def _range(most: float) -> list[float]:
    """Ends of the axis as powers of ten, with room for the text right of the longest bar."""
    import math

    return [-3, max(0.3, math.log10(most)) + 1.2]


def _number(value: float) -> str:
    return number(value) if value >= 10 or value == int(value) else f"{value:.2g}"

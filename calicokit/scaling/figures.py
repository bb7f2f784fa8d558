"""Pictures of how large the cluster is. They compute nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from calicokit.figures import BLUE, ORANGE, figure, message, of_tables, safe
from calicokit.scaling.words import size
from calicokit.schema import records

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@of_tables
def measures(measures: pd.DataFrame) -> Figure:
    """Each measure beside the size from which there may be advice (``scaling.measures``), as a share of it."""
    if not len(measures):
        return message("Nothing could be measured.")
    rows = list(records(measures.sort_values("share")))
    worst = rows[-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [r.measure for r in rows],
        "x": [r.share for r in rows],
        "marker": {"color": [ORANGE if r.share >= 1 else BLUE for r in rows]},
        "text": [f"{size(r.value)} of {size(r.limit)} {r.unit}" for r in rows],
        "textposition": "auto",
        "hovertext": [safe(r.where) if isinstance(r.where, str) else "the whole cluster" for r in rows],
    }
    drawn = figure(
        [bars],
        f"Nearest to its limit: {worst.measure}, {worst.share:.0%} of it",
        xaxis={"title": {"text": "share of the size from which there may be advice"}, "tickformat": ".0%"},
        yaxis={"automargin": True},
        showlegend=False,
    )
    drawn.add_vline(x=1, line_dash="dot", line_color=ORANGE)
    return drawn

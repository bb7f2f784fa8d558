"""What all figures share: the palette, the layout, escaped text, and how one shows itself.

A figure is drawn from a table that an analysis returned and computes nothing but its layout. Its title is the fact
that it shows. Text of a cluster is hostile: plotly reads ``<b>`` and ``<a href>`` in every label, so that whatever was
read from a cluster goes through :func:`safe`, and never into a template.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any

import plotly.graph_objects as go

from calicokit.sentences import why_unknown

MIME = "application/vnd.plotly.v1+json"
CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtons": [["toImage"]]}
"""Of plotly's buttons only the one that saves the picture."""

# Okabe and Ito's palette, which people with any colour vision can tell apart.
BLUE, SKY, VERMILLION, ORANGE = "#0072B2", "#56B4E9", "#D55E00", "#E69F00"
YELLOW, GREEN, PURPLE = "#F0E442", "#009E73", "#CC79A7"
GREY, PALE, INK = "#999999", "#F2F2F2", "#222222"

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
TITLE_WIDTH = 92
"""Characters of a title that fit beside a notebook's file browser."""


class Figure(go.Figure):  # type: ignore[misc]  # plotly is not typed
    """A plotly figure that shows itself as data alone: no copy of plotly.js in the notebook, nothing from a network."""

    def _ipython_display_(self) -> None:
        from IPython.display import display

        data = {**json.loads(self.to_json()), "config": CONFIG}
        display({MIME: data, "text/plain": self.fact}, raw=True)  # type: ignore[no-untyped-call]

    @property
    def fact(self) -> str:
        """The title as plain text."""
        return plain(self.layout.title.text or "").replace("\n", " ")


def safe(text: object) -> str:
    """Text of a cluster for a label: what plotly would take for markup is shown as it is.

    >>> safe('<a href="x">&')
    '&lt;a href="x"&gt;&amp;'
    """
    return escape(str(text), quote=False)


def plain(label: str) -> str:
    """The text of a label that :func:`safe` made; its line breaks are newlines."""
    from html import unescape

    return unescape(label.replace("<br>", "\n"))


def figure(traces: list[Any], fact: str, note: str = "", height: int = 300, **layout: Any) -> Figure:
    """A figure of the house's looks, titled with the fact (plain text; a note is set smaller below)."""
    lines = [*map(safe, textwrap.wrap(fact, TITLE_WIDTH))]
    small = [f'<span style="font-size:12px">{safe(n)}</span>' for n in textwrap.wrap(note, TITLE_WIDTH + 20)]
    over = 10 if len(lines + small) == 1 else 24  # plotly lets a title of several lines rise
    top = 16 + over + 21 * len(lines) + 17 * len(small) + (22 if layout.get("showlegend") else 0)
    common: dict[str, Any] = {
        "template": "none",
        "title": {
            "text": "<br>".join(lines + small),
            "font": {"size": 15, "color": INK, "weight": 600},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": over, "l": 8},
        },
        "font": {"family": FONT, "size": 12, "color": INK},
        "margin": {"t": top, "l": 10, "r": 20, "b": 52},
        "height": height + top,
        "dragmode": False,
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": INK}},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "bottom",
            "traceorder": "normal",
            "itemclick": False,
            "itemdoubleclick": False,
        },
    }
    return Figure(data=traces, layout={**common, **layout})


def message(text: str) -> Figure:
    """A figure with nothing to draw: only the sentence that says why."""
    hidden = {"visible": False}
    drawn = figure([], text, xaxis=hidden, yaxis=hidden)
    drawn.layout.margin.b = 0
    drawn.layout.height = drawn.layout.margin.t + 10
    return drawn


def of_tables(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Make a figure of tables say that it does not know where one of its tables is unknown."""

    @wraps(draw)
    def drawn(*tables: Any) -> Figure:
        unknown = why_unknown(*tables)
        return message(unknown) if unknown else draw(*tables)

    return drawn

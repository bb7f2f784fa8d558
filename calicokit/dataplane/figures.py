"""Figures of firewall rules: packets between chains, and drops over time."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from calicokit.dataplane.drops.graph import DROPPED
from calicokit.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Figure,
    figure,
    message,
    of_tables,
    safe,
)
from calicokit.sentences import number, plural

MOST_LINKS = 40
MOST_LINES = 6
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
LOOKS = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY)


@of_tables
def chain_graph(graph: pd.DataFrame, node: str = "") -> Figure:
    """Packets from chain to chain on one node (``dataplane.graph``); without a name, the node that dropped the most."""
    if not len(graph):
        return message("No packet has gone from one of Calico's chains to another on any node seen.")
    lost = graph["target"].str.startswith(DROPPED)
    by_node = graph["packets"].where(lost, 0).groupby(graph["node"]).sum().sort_values(ascending=False, kind="stable")
    chosen = node or str(by_node.index[0])
    own = graph[graph["node"] == chosen].sort_values("packets", ascending=False)
    if not len(own):
        return message(f"No packet has gone from one of Calico's chains to another on {chosen}.")
    gone = own["target"].str.startswith(DROPPED)
    shown = pd.concat([own[gone].head(MOST_LINKS // 2), own[~gone].head(MOST_LINKS - min(MOST_LINKS // 2, gone.sum()))])
    names = list(dict.fromkeys([*shown["source"], *shown["target"]]))
    place = {name: i for i, name in enumerate(names)}
    dropped = int(own[gone]["packets"].sum())
    fact = f"{chosen}: {plural(dropped, 'packet')} dropped by Calico's chains since they were programmed"
    left = f"The {len(shown)} largest of {len(own)} jumps are drawn; " if len(own) > len(shown) else ""
    trace = go.Sankey(
        arrangement="snap",
        node={
            "label": [safe(n) for n in names],
            "color": [VERMILLION if n.startswith(DROPPED) else BLUE if " " in n else GREY for n in names],
            "align": "left",
            "pad": 18,
            "thickness": 14,
            "hovertemplate": "%{label}: %{value} packets<extra></extra>",
        },
        link={
            "source": [place[s] for s in shown["source"]],
            "target": [place[t] for t in shown["target"]],
            "value": [int(p) for p in shown["packets"]],
            "color": [
                "rgba(213,94,0,0.45)" if t.startswith(DROPPED) else "rgba(86,180,233,0.35)" for t in shown["target"]
            ],
            "hovertemplate": "%{source.label} → %{target.label}: %{value} packets<extra></extra>",
        },
    )
    note = f"{left}packets that a policy accepts return to the pod's chain and are not drawn."
    note = note[0].upper() + note[1:]
    return figure([trace], fact, note, height=max(280, 26 * len(names)))


@of_tables
def drop_timeline(history: pd.DataFrame) -> Figure:
    """What dropped packets from sample to sample (``dataplane.drop_history``)."""
    if not len(history):
        return message("No rule dropped a packet between the samples.")
    named = history.assign(line=_line(history))
    totals = named.groupby("line")["packets"].sum().sort_values(ascending=False, kind="stable")
    traces = []
    for number_, line in enumerate(list(totals.index)[:MOST_LINES]):
        own = named[named["line"] == line].groupby("time")["packets"].sum().sort_index()
        colour = LOOKS[number_ % len(LOOKS)]
        traces.append(
            go.Scatter(
                name=safe(line),
                x=list(own.index),
                y=[int(v) for v in own],
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"symbol": SYMBOLS[number_ % len(SYMBOLS)], "size": 9, "color": colour},
                hovertemplate="%{y} packets<extra></extra>",
            )
        )
    most = totals.index[0]
    fact = f"{most}: {number(int(totals.iloc[0]))} packets dropped during sampling"
    rest = len(totals) - MOST_LINES
    note = f"{plural(rest, 'more cause')} not drawn." if rest > 0 else "Packets since the previous sample, all nodes."
    return figure(
        traces,
        fact,
        note,
        height=260,
        showlegend=True,
        yaxis={"title": {"text": "packets", "standoff": 12}, "rangemode": "tozero", "automargin": True},
        xaxis={"title": "sample (UTC)"},
    )


def _line(history: pd.DataFrame) -> pd.Series[str]:
    where = history["workload"].fillna("several endpoints") + " (" + history["direction"].fillna("any direction") + ")"
    return history["what"] + " of " + where

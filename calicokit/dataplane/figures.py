"""Figures of the dataplane: packets between chains, drops over time, and where eBPF programs sit."""

from __future__ import annotations

from typing import Any

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
from calicokit.schema import records
from calicokit.sentences import listed, number, plural

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


ROLES = {
    "host": ("node's own", GREEN),
    "tunnel": ("tunnel", PURPLE),
    "services": ("host processes", GREY),
    "pod": ("pod", BLUE),
}
MOST_NODES = 24
MOST_WIDE = 40
SHIFT = 0.17
"""How far the two directions stand from their interface's line."""


@of_tables
def programs_at_hooks(programs: pd.DataFrame) -> Figure:
    """Interfaces that should have programs, a mark for each direction (``dataplane.programs``)."""
    if not len(programs):
        return message("No node with eBPF has an interface whose programs were seen.")
    lost = programs[programs["program"].isna()]
    nodes = sorted(set(programs["node"]), key=lambda n: (n not in set(lost["node"]), n))
    rows = list(_placed(programs, nodes[:MOST_NODES]))
    traces = [
        _trace(words, colour, [r for r in rows if r["role"] == role and r["there"]])
        for role, (words, colour) in ROLES.items()
    ]
    traces.append(_trace("no program", VERMILLION, [r for r in rows if not r["there"]], missing=True))
    shown = [t for t in traces if t is not None]
    count = programs.groupby(["node", "interface"]).ngroups
    names = [f"{r.interface} of {r.node} ({r.direction})" for r in records(lost)]
    fact = (
        f"No program of Calico at {listed(names)}"
        if names
        else f"All {plural(count, 'interface')} that Felix looks after have their programs, each way"
    )
    hidden = len(nodes) - MOST_NODES
    note = "▲ egress, ▼ ingress, as the node sees it: a pod's own packets come in at ingress."
    note += f" {plural(hidden, 'more node')} not drawn." if hidden > 0 else ""
    return figure(
        shown,
        fact,
        note,
        height=max(160, 54 * min(len(nodes), MOST_NODES) + 60),
        showlegend=True,
        xaxis={"title": "interfaces of the node", "showticklabels": False, "zeroline": False, "showgrid": False},
        yaxis={
            "tickvals": list(range(min(len(nodes), MOST_NODES))),
            "ticktext": [safe(n) for n in nodes[:MOST_NODES]],
            "autorange": "reversed",
            "zeroline": False,
            "automargin": True,
        },
    )


def _placed(programs: pd.DataFrame, nodes: list[str]) -> Any:
    """Each mark with its place: interfaces side by side, the node's own first."""
    order = list(ROLES)
    for line, node in enumerate(nodes):
        own = programs[programs["node"] == node]
        ranked = own.assign(rank=own["role"].map(order.index)).sort_values(["rank", "interface"], kind="stable")
        places = {name: i for i, name in enumerate(dict.fromkeys(ranked["interface"]))}
        for row in records(ranked):
            there, place = isinstance(row.program, str), places[row.interface]
            if place >= MOST_WIDE and there:
                continue
            up = row.direction == "egress"
            pod = f"<br>{safe(row.namespace)}/{safe(row.pod)}" if isinstance(row.pod, str) else ""
            text = (
                f"{safe(row.interface)} {row.direction}{pod}<br>{safe(row.hook) if there else 'no program of Calico'}"
            )
            mark = {"x": min(place, MOST_WIDE), "y": line - SHIFT if up else line + SHIFT, "up": up, "text": text}
            yield {**mark, "role": row.role, "there": there}


def _trace(name: str, colour: str, rows: list[dict[str, Any]], missing: bool = False) -> go.Scatter | None:
    if not rows:
        return None
    shapes = [("triangle-up" if r["up"] else "triangle-down") + ("-open" if missing else "") for r in rows]
    return go.Scatter(
        name=name,
        x=[r["x"] for r in rows],
        y=[r["y"] for r in rows],
        mode="markers",
        marker={
            "symbol": shapes,
            "size": 14 if missing else 11,
            "color": colour,
            "line": {"width": 2 if missing else 0},
        },
        text=[r["text"] for r in rows],
        hovertemplate="%{text}<extra></extra>",
    )

"""Figures of routes: the matrix of nodes and blocks, and the path of one packet."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from calicokit.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    SKY,
    VERMILLION,
    YELLOW,
    Figure,
    figure,
    message,
    of_tables,
    safe,
)
from calicokit.schema import cells, records
from calicokit.sentences import natural, plural

MOST_NODES, MOST_BLOCKS = 400, 800
NAMED = 40
"""Maximum rows or columns with names shown."""

LOOKS = {
    "own": ("its own block", BLUE, "■"),
    "present": ("route present", SKY, "·"),
    "different": ("other next hop", YELLOW, "?"),
    "overridden": ("overridden by a non-Calico route", ORANGE, "!"),
    "missing": ("missing", VERMILLION, "×"),
    "unseen": ("not seen", GREY, ""),
}


@of_tables
def matrix(blocks: pd.DataFrame, conflicts: pd.DataFrame) -> Figure:
    """Which node has the route to which block (``routes.blocks``, ``routes.conflicts``); never told by colour alone."""
    if not len(blocks):
        return message("There is no block, so that no node needs a route.")
    frame = blocks[blocks["kind"] != "borrowed"].astype({"node": "str", "cidr": "str", "owner": "str"})
    state = frame["status"].astype("str").where(frame["status"].notna(), "unseen")
    frame["state"] = state.where((frame["kind"] != "own") | (state != "present"), "own")
    hit = {(n, c) for n, every in cells(conflicts[~conflicts["harmless"]], "node", "overrides") for c in every}
    if hit:
        over = [pair in hit for pair in cells(frame, "node", "cidr")]
        frame["state"] = frame["state"].mask(pd.Series(over, index=frame.index), "overridden")
    wrong = frame[frame["state"].isin(["missing", "different", "overridden"])]
    nodes = _chosen(frame["node"].unique(), set(wrong["node"]), MOST_NODES)
    order = frame.drop_duplicates("cidr").sort_values("cidr", key=lambda s: s.map(_address))
    cidrs = _chosen(order["cidr"], set(wrong["cidr"]), MOST_BLOCKS)
    shown = frame[frame["node"].isin(nodes) & frame["cidr"].isin(cidrs)]
    grid = shown.pivot(index="node", columns="cidr", values="state").reindex(index=nodes, columns=cidrs)
    return _drawn(grid, len(wrong), len(frame), frame)


def _chosen(names: Any, needed: set[str], most: int) -> list[str]:
    """All names, or, of too many, those with something wrong first; in their natural order."""
    every = list(names)
    if len(every) > most:
        every = sorted(every, key=lambda n: n not in needed)[:most]
    return sorted(every, key=natural)


def _address(cidr: str) -> Any:
    from calicokit.net import prefix

    return prefix(cidr).first


def _wrongs(codes: pd.DataFrame, kinds: list[str]) -> str:
    words = {"missing": "missing", "different": "with another next hop", "overridden": "overridden"}
    there = set(codes.to_numpy().ravel().tolist())
    return " or ".join(word for kind, word in words.items() if kinds.index(kind) in there) or "wrong"


def _drawn(grid: pd.DataFrame, wrong: int, all_: int, frame: pd.DataFrame) -> Figure:
    kinds = list(LOOKS)
    codes = grid.map(lambda s: kinds.index(s) if isinstance(s, str) else kinds.index("unseen"))
    steps = [(i / len(kinds), LOOKS[k][1]) for i, k in enumerate(kinds)]
    scale = [pair for i, (at, colour) in enumerate(steps) for pair in ((at, colour), ((i + 1) / len(kinds), colour))]
    few = grid.size <= NAMED * NAMED
    owners = dict(zip(frame["cidr"], frame["owner"], strict=True))
    columns = [f"{safe(c)}<br>{safe(owners[c])}" if len(grid.columns) <= 12 else safe(c) for c in grid.columns]
    heat = go.Heatmap(
        z=codes.to_numpy(),
        x=columns,
        y=[safe(n) for n in grid.index],
        zmin=0,
        zmax=len(kinds),
        colorscale=scale,
        showscale=False,
        xgap=1 if few else 0,
        ygap=1 if few else 0,
        text=[[LOOKS[kinds[c]][2] for c in row] for row in codes.to_numpy()] if few else None,
        texttemplate="%{text}" if few else None,
        customdata=[[LOOKS[kinds[c]][0] for c in row] for row in codes.to_numpy()],
        hovertemplate="%{y} → %{x}: %{customdata}<extra></extra>",
    )
    used = [k for k in kinds if (codes.to_numpy() == kinds.index(k)).any()]
    legend = [
        go.Scatter(x=[None], y=[None], mode="markers", name=f"{LOOKS[k][2]} {LOOKS[k][0]}".strip(),
                   marker={"color": LOOKS[k][1], "symbol": "square", "size": 12})
        for k in used
    ]  # fmt: skip
    fact = (
        f"All {plural(all_, 'route')} to blocks are present"
        if not wrong
        else f"{wrong} of {plural(all_, 'route')} to blocks {'is' if wrong == 1 else 'are'} {_wrongs(codes, kinds)}"
    )
    axis = {"showgrid": False, "zeroline": False}
    return figure(
        [heat, *legend],
        fact,
        "Rows are nodes, columns blocks with their owners.",
        height=max(160, min(900, 24 * len(grid.index) + 60)),
        showlegend=True,
        plot_bgcolor=PALE,
        xaxis={**axis, "showticklabels": len(grid.columns) <= NAMED, "side": "bottom", "automargin": True},
        yaxis={**axis, "showticklabels": len(grid.index) <= NAMED, "autorange": "reversed", "automargin": True},
    )


@of_tables
def path(path: pd.DataFrame) -> Figure:
    """The way of a packet, hop by hop (``routes.path``): the route that each node takes stands over the line."""
    if not len(path):
        return message("No path was requested, or no node's routes were seen.")
    hops = list(records(path))
    last = hops[-1]
    ends = isinstance(last.next, str)
    stops = [str(h.node) for h in hops] + ([str(last.next)] if ends else [])
    outside = ends and "/" not in str(last.next)  # a router, and no pod NS/NAME
    colours = [BLUE] * len(hops) + ([GREY if outside else GREEN] if ends else [])
    if not ends:
        colours[-1] = GREEN if last.type == "local" else VERMILLION
    line = go.Scatter(
        x=list(range(len(stops))),
        y=[0] * len(stops),
        mode="lines+markers+text",
        text=[safe(s) for s in stops],
        textposition="bottom center",
        hovertext=[safe(h.says) for h in hops] + ([safe(last.next)] if ends else []),
        hovertemplate="%{hovertext}<extra></extra>",
        line={"color": GREY, "width": 2},
        marker={"size": 18, "color": colours, "symbol": ["square"] * len(hops) + (["circle"] if ends else [])},
        cliponaxis=False,
    )
    over = [
        {"x": i + 0.5, "y": 0, "yshift": 26, "showarrow": False, "text": _taken(hop)}
        for i, hop in enumerate(hops[: len(stops) - 1])
    ]
    hidden = {"visible": False, "fixedrange": True}
    return figure(
        [line],
        _way(stops, str(last.says)),
        "Squares are nodes; above each line is the route that the node uses.",
        height=110,
        showlegend=False,
        annotations=over,
        xaxis={**hidden, "range": [-0.5, max(len(stops), 2) - 0.5]},
        yaxis={**hidden, "range": [-1, 1]},
    )


def _way(stops: list[str], says: str) -> str:
    if len(stops) < 2:
        return f"On {stops[0]}: {says}"
    return f"From {stops[0]} {says}" if says.startswith("to ") else f"From {stops[0]} to {stops[-1]}: {says}"


def _taken(hop: Any) -> str:
    """The route of a hop in two short lines."""
    way = [f"via {hop.via}"] if isinstance(hop.via, str) else []
    way += [f"dev {hop.interface}"] if isinstance(hop.interface, str) else []
    return f"{safe(hop.cidr)}<br>{safe(' '.join(way) or hop.type)}"

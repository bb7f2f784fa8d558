"""Figures of IPAM: usage of pools and nodes, the block map, and the forecast of exhaustion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from calicokit.figures import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    Figure,
    figure,
    message,
    of_tables,
    safe,
)
from calicokit.net import prefix
from calicokit.sentences import listed, natural, number, plural, share

MOST_POOLS = 25
MOST_NODES = 40
MOST_LINES = 32
LINE = 64
"""Addresses per line of the block map; a larger block takes several lines."""
WIDE = 8
"""Maximum cells per line with the address shown in each."""


@dataclass(frozen=True)
class Look:
    """How one state of an address looks: never by colour alone."""

    word: str
    symbol: str
    colour: str


STATES = {
    "in-use": Look("in use", "●", BLUE),
    "borrowed": Look("borrowed by another node", "B", SKY),
    "leaked": Look("leaked", "L", VERMILLION),
    "cooling": Look("cooling down", "C", YELLOW),
    "reserved": Look("reserved", "R", GREY),
    "unknown": Look("unknown", "?", PURPLE),
    "free": Look("free", "·", PALE),
}


# ---- how full


@of_tables
def utilisation(utilisation: pd.DataFrame) -> Figure:
    """Each pool's addresses: in use, cooling down, kept out by reservations, free (``ipam.utilisation``)."""
    if not len(utilisation):
        return message("There is no IP pool.")
    rows = utilisation.sort_values(["used", "pool"], ascending=[False, True])
    top, first = rows.head(MOST_POOLS), rows.iloc[0]
    fact = f"Pool {first['pool']}: {number(first['allocated'])} of {number(first['capacity'])} addresses in use"
    if len(rows) > 1:
        fact = f"The fullest of {len(rows)} pools is {first['pool']}: {fact.partition(': ')[2]}"
    note = f"The {MOST_POOLS} fullest pools are drawn." if len(rows) > len(top) else ""
    kept = (top["capacity"] - top["allocated"].astype(float) - top["free"]).clip(lower=0)
    parts = [
        ("in use", top["allocated"] - top["cooling"], BLUE, ""),
        ("cooling down", top["cooling"], YELLOW, "."),
        ("reserved", kept, GREY, "/"),
        ("free", top["free"], PALE, ""),
    ]
    places = list(range(len(top)))
    shown = [(name, counts.astype(float).tolist(), colour, shape) for name, counts, colour, shape in parts]
    traces = [
        go.Bar(
            orientation="h",
            name=name,
            y=places,
            x=[100 * n / c for n, c in zip(counts, top["capacity"], strict=True)],
            width=0.42,
            marker=_fill(colour, shape),
            hovertext=[f"{number(n)} {name} ({share(n / c)})" for n, c in zip(counts, top["capacity"], strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
        )
        for name, counts, colour, shape in shown
        if any(counts) or name in ("in use", "free")
    ]
    said = [_said(row, [(n, c[i]) for n, c, *_ in shown]) for i, row in enumerate(top.itertuples())]
    return figure(
        traces,
        fact,
        note,
        height=62 * len(top) + 30,
        barmode="stack",
        showlegend=True,
        xaxis={"range": [0, 100], "ticksuffix": " %", "zeroline": False},
        yaxis={"range": [len(top) - 0.6, -0.75], "visible": False},
        annotations=[_above(text, place) for place, text in enumerate(said)],
    )


def _said(pool: Any, parts: list[tuple[str, float]]) -> str:
    counts = ", ".join(f"{number(n)} {name}" for name, n in parts if n or name == "in use")
    off = " — disabled" if pool.disabled else ""
    return f"<b>{safe(pool.pool)}</b> {safe(pool.cidr)}{off}: {counts}"


def _above(text: str, place: float) -> dict[str, Any]:
    """A text above the bar at this place, so that it is read however short the bar is."""
    return {"text": text, "x": 0, "y": place - 0.28, "xanchor": "left", "yanchor": "bottom", "showarrow": False}


def _fill(colour: str, shape: str) -> dict[str, Any]:
    pattern = {"shape": shape, "bgcolor": colour, "fgcolor": INK, "size": 7, "solidity": 0.2}
    return {"color": colour, "line": {"color": INK, "width": 1}, "pattern": pattern}


@of_tables
def node_utilisation(nodes: pd.DataFrame) -> Figure:
    """Each node's blocks to the right, what it borrows of others to the left (``ipam.node_utilisation``)."""
    if not len(nodes):
        return message("No node owns a block or uses an address.")
    rows = nodes.sort_values(["used", "borrowed"], ascending=False)
    top, rest = rows.head(MOST_NODES), rows.iloc[MOST_NODES:]
    if not len(rest):
        top = top.sort_values("node", key=lambda names: names.map(natural))
    several = nodes["version"].nunique() > 1
    labels = [safe(f"{r.node} (IPv{r.version})" if several else r.node) for r in top.itertuples()]
    parts = [
        ("borrowed from other nodes' blocks", -top["borrowed"], SKY, "x"),
        ("allocated in its own blocks, by itself", top["allocated"] - top["lent"], BLUE, ""),
        ("lent to other nodes", top["lent"], ORANGE, "/"),
        ("free in its own blocks", top["free"], PALE, ""),
    ]
    traces = [_node_bars(labels, name, counts.tolist(), _fill(colour, shape)) for name, counts, colour, shape in parts]
    return figure(
        traces,
        _node_fact(nodes),
        _rest_note(rest),
        height=(26 if len(top) > 8 else 40) * len(top) + 50,
        barmode="relative",
        showlegend=True,
        xaxis={"title": {"text": "addresses"}, "zerolinecolor": INK, **_ticks(top)},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "ticksuffix": "  "},
    )


def _node_bars(labels: list[str], name: str, counts: list[int], marker: dict[str, Any]) -> Any:
    told = [f"{label}<br>{abs(n):,} {name}" for label, n in zip(labels, counts, strict=True)]
    return go.Bar(
        orientation="h",
        name=name,
        y=labels,
        x=counts,
        marker=marker,
        text=[f"{abs(n):,}" if n else "" for n in counts],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        insidetextfont={"color": "white" if marker["color"] == BLUE else INK, "weight": 700},
        hovertext=told,
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _ticks(nodes: pd.DataFrame) -> dict[str, Any]:
    """Ticks for an axis that counts to both sides: no address is negative."""
    left, right = int(nodes["borrowed"].max()), int(nodes["capacity"].max())
    step = next(s for e in range(20) for s in (10**e, 2 * 10**e, 5 * 10**e) if (left + right) / s <= 12)
    places = list(range(-(left // step) * step, right + step, step))
    return {"tickvals": places, "ticktext": [f"{abs(p):,}" for p in places]}


def _node_fact(nodes: pd.DataFrame) -> str:
    count = plural(nodes["node"].nunique(), "node")
    full = nodes[(nodes["free"] == 0) & (nodes["capacity"] > 0)]["node"].unique()
    if len(full):
        if len(full) == nodes["node"].nunique():
            return f"{count}: none has a free address in its own blocks"
        return f"{count}: no free address in the own blocks of {listed(full)}"
    owners = nodes[nodes["capacity"] > 0]
    if not len(owners):
        return f"{count}: none owns a block"
    first = owners.sort_values("used").iloc[-1]
    return f"{count}: the fullest is {first['node']}, {first['allocated']} of its {first['capacity']} addresses in use"


def _rest_note(rest: pd.DataFrame) -> str:
    if not len(rest):
        return ""
    most = share(float(rest["used"].fillna(0).max()))
    free = number(rest["free"].sum())
    return f"The {MOST_NODES} fullest are drawn; the other {len(rest):,} are at most {most} used, with {free} free."


# ---- the map of the blocks


@of_tables
def block_map(cells: pd.DataFrame) -> Figure:
    """One line a block, one cell an address (rows of ``ipam.block_map``, all or those of a pool or node)."""
    if not len(cells):
        return message("There is no block here.")
    lines, drawn = _lines(cells)
    width = max(len(line) for _, line in lines)
    codes, looks = {state: i for i, state in enumerate(STATES)}, list(STATES.values())
    steps = [(edge, look.colour) for i, look in enumerate(looks) for edge in (i / len(looks), (i + 1) / len(looks))]
    heat = go.Heatmap(
        x=list(range(width)),
        y=[label for label, _ in lines],
        z=[_padded([codes[c.state] for c in line], width, None) for _, line in lines],
        text=[_padded([_mark(c, width) for c in line], width, "") for _, line in lines],
        hovertext=[_padded([_told(c) for c in line], width, "") for _, line in lines],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertemplate="%{hovertext}<extra></extra>",
        hoverongaps=False,
        colorscale=steps,
        zmin=-0.5,
        zmax=len(looks) - 0.5,
        showscale=False,
        xgap=1,
        ygap=3,
    )
    counts = Counter(cells["state"])
    blocks = cells["block"].nunique()
    states = ", ".join(f"{number(counts[s])} {look.word}" for s, look in STATES.items() if counts[s])
    note = "" if drawn == blocks else f"The {drawn} fullest blocks are drawn; choose a pool or a node to see others."
    return figure(
        [heat, *(_key(STATES[s]) for s in STATES if counts[s])],
        f"{plural(len(cells), 'address', 'addresses')} in {plural(blocks, 'block')}: {states}",
        note,
        height=26 * len(lines) + 40,
        showlegend=True,
        xaxis={"title": {"text": "offset in the block"}, **_places(width)},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "ticksuffix": "  ", "showgrid": False},
        meta={"details": "Click an address to see its details here."},
    )


def _places(width: int) -> dict[str, Any]:
    bare = {"zeroline": False, "showgrid": False}
    return {"dtick": max(1, width // 8), "tick0": 0, "range": [-0.5, width - 0.5], **bare}


def _lines(cells: pd.DataFrame) -> tuple[list[tuple[str, list[Any]]], int]:
    """Label and cells of each line, in the order of addresses, and how many blocks they show.

    Where not all blocks find room, the fullest are taken.
    """
    blocks = {str(b): list(rows.itertuples()) for b, rows in cells.sort_values("ordinal").groupby("block")}
    need = {b: -(-len(rows) // LINE) for b, rows in blocks.items()}
    if sum(need.values()) > MOST_LINES:
        used = {b: sum(c.state != "free" for c in rows) for b, rows in blocks.items()}
        kept, room = [], MOST_LINES
        for block in sorted(blocks, key=lambda b: (-used[b], _order(b))):
            if room > 0:
                kept.append(block)
                room -= need[block]
        blocks = {b: blocks[b] for b in kept}
    lines = [line for b in sorted(blocks, key=_order) for line in _lines_of(b, blocks[b])]
    return lines[:MOST_LINES], len(blocks)


def _lines_of(block: str, rows: list[Any]) -> list[tuple[str, list[Any]]]:
    owner = rows[0].node if isinstance(rows[0].node, str) else "no node"
    parts = [rows[i : i + LINE] for i in range(0, len(rows), LINE)]
    return [(safe(f"{block}  {owner}" if i == 0 else f"{block} +{i * LINE}"), part) for i, part in enumerate(parts)]


def _order(block: str) -> tuple[int, int]:
    net = prefix(block)
    return net.version, net.first


def _padded(values: list[Any], width: int, filler: Any) -> list[Any]:
    return values + [filler] * (width - len(values))


def _mark(cell: Any, width: int) -> str:
    symbol = STATES[cell.state].symbol
    return f"{symbol} {cell.address}" if width <= WIDE else symbol


def _told(cell: Any) -> str:
    known = [cell.address, STATES[cell.state].word, cell.owner, cell.why]
    return "<br>".join(safe(text) for text in known if isinstance(text, str))


def _key(look: Look) -> Any:
    """A line of the legend; its marker carries no data."""
    marker = {"symbol": "square", "size": 13, "color": look.colour, "line": {"color": INK, "width": 1}}
    return go.Scatter(x=[None], y=[None], mode="markers", name=f"{look.symbol} {look.word}", marker=marker)


# ---- when a pool will be full


@of_tables
def forecast(history: pd.DataFrame, forecast: pd.DataFrame) -> Figure:
    """Use of each pool over time and, dotted, how it goes on (``ipam.history`` and ``ipam.forecast``)."""
    seen = forecast[forecast["samples"] > 1]
    if not len(seen):
        return message("No trend: every pool has a single sample only.")
    looks = [(BLUE, "circle"), (VERMILLION, "square"), (PURPLE, "diamond"), (ORANGE, "triangle-up"), (INK, "x")]
    traces = []
    for i, pool in enumerate(seen.itertuples()):
        traces += _course(pool, history[history["pool"] == pool.pool], *looks[i % len(looks)])
    first = seen.sort_values("days_left").iloc[0]
    if pd.isna(first["days_left"]):
        fact = "Usage does not grow in any pool" if len(seen) > 1 else f"Pool {first['pool']}: {first['why']}"
    else:
        fact = (
            f"Pool {first['pool']} is exhausted in {first['days_left']:.3g} days at {first['per_day']:.3g} addresses "
            "a day"
        )
    axis = {"title": {"text": "addresses in use"}, "rangemode": "tozero", "automargin": True, "tickformat": ",d"}
    return figure(traces, fact, height=300, showlegend=True, yaxis=axis, xaxis={"type": "date"})


def _course(pool: Any, rows: pd.DataFrame, colour: str, symbol: str) -> list[Any]:
    name, times = safe(pool.pool), [t.isoformat() for t in rows["time"]]
    tip = "%{x}: %{y:,}<extra></extra>"
    used = rows["allocated"].astype(float).tolist()
    line = {"color": colour, "width": 2}
    course = go.Scatter(x=times, y=used, name=name, line=line, marker={"symbol": symbol, "size": 8}, hovertemplate=tip)
    course.mode = "lines+markers"
    if pd.isna(pool.full_at):
        return [course]
    full = [times[-1], pool.full_at.isoformat()]
    dotted = {**line, "dash": "dot"}
    ahead = go.Scatter(x=full, y=[used[-1], pool.available], name=f"{name}: forecast", mode="lines", line=dotted)
    limit = {"color": colour, "width": 1, "dash": "dash"}
    top = go.Scatter(
        x=[times[0], full[1]], y=[pool.available] * 2, name=f"{name}: allocatable", mode="lines", line=limit
    )
    return [course, ahead, top]

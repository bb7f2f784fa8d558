"""Figures of BGP: sessions and their states, and when they changed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from calicokit.bgp.topology import ORDER
from calicokit.figures import (
    BLUE,
    GREEN,
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
from calicokit.schema import cells, records
from calicokit.sentences import listed, natural, plural

MOST_ALONE = 60
"""Maximum ends with every session drawn as a line; beyond, sessions that are up are bundled between groups."""

MOST_LINES = 1_200
"""Maximum sessions that are not up drawn individually."""

CROWD = 12
"""Number of ends above which marks are small and names slanted; above ten times as many lines are thin."""

MOST_SPANS = 40
BAND = "#c9cdd2"


@dataclass(frozen=True)
class Look:
    """How one state looks: by colour, by dash and by width, so that print and any eye can tell."""

    word: str
    colour: str
    dash: str
    width: float


LOOKS = {
    "down": Look("down", VERMILLION, "solid", 4),
    "missing": Look("expected but missing", VERMILLION, "dash", 3),
    "one-sided": Look("up at one end only", ORANGE, "dashdot", 3),
    "flapping": Look("up, but flapping", PURPLE, "longdash", 3),
    "starting": Look("starting", SKY, "dot", 3),
    "unexpected": Look("present but not configured", INK, "longdashdot", 2),
    "unknown": Look("unknown", GREY, "dot", 1.5),
    "up": Look("up", BLUE, "solid", 1.2),
}
ROLES = {
    "node": ("node", "circle", PALE),
    "reflector": ("route reflector", "diamond", YELLOW),
    "external": ("external router", "square", GREEN),
    "workload": ("workload", "triangle-up", SKY),
}
"""Role → its word, the marker's shape and colour."""

Place = tuple[float, float]


# ---- topology


@of_tables
def topology(links: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """Nodes and routers with their sessions, coloured by state (``bgp.links`` and ``bgp.ends``)."""
    if not len(links):
        return message("There is no BGP session, and none is expected.")
    shown = ends[ends["end"].isin({*links["a"].unique(), *links["b"].unique()}) | (ends["role"] != "workload")]
    grouped = len(shown) > MOST_ALONE
    places = _by_group(shown) if grouped else _in_rings(shown)
    odd = links[links["status"] != "up"]
    alone = (odd if grouped else links).head(MOST_LINES)
    traces = _bundles(links[links["status"] == "up"], shown, places) if grouped else []
    traces += _lines(alone, places)
    traces += _dots(shown, places)
    traces += _labels(shown, places) if grouped else []
    note = "Nodes are grouped by rack, zone or AS; grey bands are sessions that are up." if grouped else ""
    if grouped and len(odd) > len(alone):
        note += f" Of {len(odd):,} pairs that are not up {len(alone):,} are drawn."
    top = 1.5 if not grouped and shown["role"].isin(["external", "workload"]).any() else 1.12
    return figure(
        traces,
        _fact(links),
        note,
        height=620 if len(shown) > CROWD else 430,
        showlegend=True,
        xaxis={"visible": False, "scaleanchor": "y", "range": [-1.6, 1.6]},
        yaxis={"visible": False, "range": [-1.12, top]},
        hovermode="closest",
        annotations=_names(shown, places, grouped),
    )


def _fact(links: pd.DataFrame) -> str:
    counts = Counter(links["status"].astype("str"))
    total = plural(len(links), "pair peers", "pairs peer")
    wrong = [f"{counts[s]:,} {LOOKS[s].word}" for s in ORDER if s != "up" and counts[s]]
    if not wrong:
        return f"{total}, and all sessions are up"
    return f"{total}: {', '.join(wrong)}; {counts['up']:,} up"


def _in_rings(ends: pd.DataFrame) -> dict[str, Place]:
    """Reflectors in the middle and routers outside above them all, where there are any; the others around."""
    nodes = sorted(ends[ends["role"] == "node"]["end"], key=natural)
    reflectors = sorted(ends[ends["role"] == "reflector"]["end"], key=natural)
    inside = 0.34 if nodes else 0.82
    places = _ring(nodes, 0.82, math.pi / 2 + (math.pi / len(nodes) if len(nodes) > 2 else 0))
    places |= _ring(reflectors, inside if len(reflectors) > 1 else 0.0, 0.0)
    outside = sorted(ends[ends["role"].isin(["external", "workload"])]["end"], key=natural)
    step = min(0.5, 2.2 / max(1, len(outside)))
    first = -step * (len(outside) - 1) / 2
    return places | {n: (first + i * step, 1.25) for i, n in enumerate(outside)}


def _ring(names: list[str], radius: float, turn: float) -> dict[str, Place]:
    """A circle of names, turned by an angle so that none stands where lines to others would pass through it."""
    import networkx as nx

    cos, sin = math.cos(turn) * radius, math.sin(turn) * radius
    graph: nx.Graph[str] = nx.empty_graph(names)
    ring = {n: (float(p[0]), float(p[1])) for n, p in nx.circular_layout(graph).items()}
    if len(names) == 1:  # networkx puts a single one in the middle
        ring = {names[0]: (1.0, 0.0)}
    return {n: (x * cos - y * sin, x * sin + y * cos) for n, (x, y) in ring.items()}


def _by_group(ends: pd.DataFrame) -> dict[str, Place]:
    """Each group a circle of its own, the groups on a ring."""
    members = {str(g): sorted(rows["end"], key=natural) for g, rows in ends.groupby("group")}
    order = sorted(members, key=natural)
    alone = len(order) == 1
    room = 0.92 if alone else 0.7 * math.sin(math.pi / len(order))
    centres = _ring(order, 0.0 if alone else 0.92 - room * 0.3, math.pi / 2)
    places: dict[str, Place] = {}
    for group, names in members.items():
        x, y = centres[group]
        places |= {n: (x + dx, y + dy) for n, (dx, dy) in _ring(names, room, 0.0).items()}
    return places


def _lines(links: pd.DataFrame, places: dict[str, Place]) -> list[Any]:
    """One trace for each state, the worst on top, and an invisible mark in the middle of each line to point at."""
    traces = []
    for status in reversed(ORDER):
        rows = [r for r in records(links[links["status"] == status]) if r.a in places and r.b in places]
        if not rows:
            continue
        xs: list[float | None] = []
        ys: list[float | None] = []
        for row in rows:
            (x0, y0), (x1, y1) = places[row.a], places[row.b]
            xs += [_short(x0), _short(x1), None]
            ys += [_short(y0), _short(y1), None]
        look, crowded = LOOKS[status], len(rows) > 10 * CROWD
        line = {"color": look.colour, "dash": look.dash, "width": max(0.5, look.width / 4) if crowded else look.width}
        shown = {"mode": "lines", "line": line, "opacity": 0.5 if crowded else 1.0, "hoverinfo": "skip"}
        traces.append(go.Scatter(x=xs, y=ys, name=f"{look.word} ({len(rows):,})", **shown))
        middle = [_middle(places[r.a], places[r.b]) for r in rows]
        traces.append(
            go.Scatter(
                x=[m[0] for m in middle],
                y=[m[1] for m in middle],
                mode="markers",
                marker={"size": 14, "color": look.colour, "opacity": 0},
                hovertext=[_told(r) for r in rows],
                hovertemplate="%{hovertext}<extra></extra>",
                showlegend=False,
            )
        )
    return traces


def _short(number: float) -> float:
    return round(number, 3)


def _middle(a: Place, b: Place) -> Place:
    """Off the middle, so that the lines of a mesh do not share it."""
    return _short(0.58 * a[0] + 0.42 * b[0]), _short(0.58 * a[1] + 0.42 * b[1])


def _told(row: Any) -> str:
    said = [
        f"{end}: {text}" for end, text in ((row.a, row.a_says), (row.b, row.b_says)) if isinstance(text, str) and text
    ]
    cause = f"cause: {row.cause}" if isinstance(row.cause, str) else ""
    since = "" if pd.isna(row.since) else f"since {row.since:%H:%M:%S} UTC"
    parts = [f"{row.a} – {row.b} ({row.kind})", LOOKS[row.status].word, *said, cause, since]
    return "<br>".join(safe(p) for p in parts if p)


def _bundles(links: pd.DataFrame, ends: pd.DataFrame, places: dict[str, Place]) -> list[Any]:
    """What is up, as bands between groups, as wide as there are many; within a group, as a ring around it."""
    group = dict(zip(ends["end"], ends["group"].astype("str"), strict=True))
    a, b = (links[c].astype("str").map(group).fillna("outside") for c in ("a", "b"))
    both = pd.DataFrame({"a": a.where(a <= b, b), "b": b.where(a <= b, a)})
    pairs = both.groupby(["a", "b"]).size().reset_index(name="pairs")
    traces = []
    most = int(pairs["pairs"].max()) if len(pairs) else 1
    centre = _centres(ends, places)
    for one, other, count in cells(pairs[pairs["a"] != pairs["b"]], "a", "b", "pairs"):
        (x0, y0), (x1, y1) = centre[one], centre[other]
        traces.append(
            go.Scatter(
                x=[_short(x0), _short((x0 + x1) / 2), _short(x1)],
                y=[_short(y0), _short((y0 + y1) / 2), _short(y1)],
                mode="lines",
                line={"color": BAND, "width": 1 + 9 * count / most},
                hovertext=f"{safe(one)} – {safe(other)}<br>{count:,} pairs are up",
                hovertemplate="%{hovertext}<extra></extra>",
                showlegend=False,
            )
        )
    return [*traces, _legend_line(f"up ({pairs['pairs'].sum():,})", BAND, 6)] if len(pairs) else []


def _legend_line(name: str, colour: str, width: float) -> Any:
    return go.Scatter(x=[None], y=[None], mode="lines", line={"color": colour, "width": width}, name=name)


def _centres(ends: pd.DataFrame, places: dict[str, Place]) -> dict[str, Place]:
    found = {}
    for group, rows in ends.groupby("group"):
        mine = [places[e] for e in rows["end"]]
        found[str(group)] = (sum(p[0] for p in mine) / len(mine), sum(p[1] for p in mine) / len(mine))
    return found


def _labels(ends: pd.DataFrame, places: dict[str, Place]) -> list[Any]:
    """The groups' names, in the middle of each."""
    centre = _centres(ends, places)
    sizes = ends["group"].astype("str").value_counts()
    return [
        go.Scatter(
            x=[p[0] for p in centre.values()],
            y=[p[1] for p in centre.values()],
            mode="text",
            text=[f"<b>{safe(g)}</b><br>{sizes[g]}" for g in centre],
            textfont={"size": 11 if len(centre) <= 24 else 9},
            hoverinfo="skip",
            showlegend=False,
        )
    ]


def _dots(ends: pd.DataFrame, places: dict[str, Place]) -> list[Any]:
    """One trace for each role. An end with half of its sessions down is filled and large; a dead BIRD is a cross."""
    traces = []
    size = 20 if len(ends) <= CROWD else 13 if len(ends) <= MOST_ALONE else 7
    for role, (word, symbol, colour) in ROLES.items():
        rows = [r for r in records(ends[ends["role"] == role]) if r.end in places]
        if not rows:
            continue
        sick = [_sick(r) for r in rows]
        traces.append(
            go.Scatter(
                x=[_short(places[r.end][0]) for r in rows],
                y=[_short(places[r.end][1]) for r in rows],
                mode="markers",
                showlegend=False,
                hovertext=[_end_told(r) for r in rows],
                hovertemplate="%{hovertext}<extra></extra>",
                marker={
                    "symbol": ["x" if r.bird == "dead" else symbol for r in rows],
                    "size": [size + 6 if s else size for s in sick],
                    "color": [VERMILLION if s else colour for s in sick],
                    "line": {"color": INK, "width": 1},
                    "opacity": 1,
                },
            )
        )
        key = {"symbol": symbol, "size": 13, "color": colour, "line": {"color": INK, "width": 1}}
        traces.append(go.Scatter(x=[None], y=[None], mode="markers", name=f"{word} ({len(rows):,})", marker=key))
    return traces


def _sick(row: Any) -> bool:
    return bool(row.bird == "dead" or (row.sessions and 2 * row.down >= row.sessions))


def _names(ends: pd.DataFrame, places: dict[str, Place], grouped: bool) -> list[dict[str, Any]]:
    """A name beside each end, slanted away from the middle where there are many; in groups, of the sick ones only."""
    found = []
    for row in records(ends):
        if row.end not in places or (grouped and not _sick(row)):
            continue
        x, y = places[row.end]
        angle = math.degrees(math.atan2(y, x))
        slanted = len(ends) > CROWD and row.role == "node" and not grouped
        flat = row.role != "node" or grouped
        found.append(
            {
                "x": _short(x),
                "y": _short(y),
                "text": safe(row.end),
                "showarrow": False,
                "textangle": (-angle if abs(angle) <= 90 else 180 - angle) if slanted else 0,
                "xanchor": "center" if flat or slanted else _beside(x),
                "xshift": _short(34 * math.cos(math.radians(angle)))
                if slanted
                else 0
                if flat
                else 16 * (x > 0) - 16 * (x <= 0),
                "yshift": _short(34 * math.sin(math.radians(angle))) if slanted else 20 if flat else 0,
            }
        )
    return found


def _beside(x: float) -> str:
    return "left" if x > 0 else "right"


def _end_told(row: Any) -> str:
    number = "" if pd.isna(row.as_number) else f"AS {row.as_number}"
    cluster = f"cluster id {row.cluster_id}" if isinstance(row.cluster_id, str) else ""
    bird = f"BIRD: {row.bird}" if isinstance(row.bird, str) else ""
    counts = f"{row.up} of {row.sessions} sessions up"
    parts = [row.end, ROLES[row.role][0], row.address, number, cluster, bird, counts]
    return "<br>".join(safe(p) for p in parts if isinstance(p, str) and p)


# ---- timeline


@of_tables
def timeline(timeline: pd.DataFrame) -> Figure:
    """Periods of each session's states, the most recent change first (``bgp.timeline``)."""
    if not len(timeline):
        return message("For no session is the time of its last state change known.")
    rows = timeline.astype(dict.fromkeys(("node", "peer", "state", "source", "protocol"), "str"))
    last = rows.groupby(["node", "protocol"])["start"].max().sort_values(ascending=False)
    chosen = list(last.index[:MOST_SPANS])
    labels = {key: safe(f"{key[0]} → {_peer(rows, key)}") for key in chosen}
    order = list(dict.fromkeys(labels.values()))
    traces = []
    for state, look in (("up", LOOKS["up"]), ("down", LOOKS["down"])):
        mine = [r for r in records(rows[rows["state"] == state]) if (r.node, r.protocol) in labels and r.end > r.start]
        if not mine:
            continue
        traces.append(
            go.Bar(
                orientation="h",
                name=state,
                base=[r.start.isoformat() for r in mine],
                x=[(r.end - r.start).total_seconds() * 1000 for r in mine],
                y=[labels[r.node, r.protocol] for r in mine],
                width=0.62 if state == "up" else 0.38,
                marker={
                    "color": look.colour,
                    "line": {"color": INK, "width": 1},
                    "pattern": {
                        "shape": "" if state == "up" else "/",
                        "bgcolor": look.colour,
                        "fgcolor": INK,
                        "size": 7,
                        "solidity": 0.2,
                    },
                },
                hovertext=[_span_told(r) for r in mine],
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    return figure(
        traces,
        _when(rows, chosen),
        _time_note(last, rows),
        height=24 * len(order) + 70,
        barmode="overlay",
        showlegend=True,
        xaxis={"type": "date", "title": {"text": "UTC"}},
        yaxis={"type": "category", "categoryorder": "array", "categoryarray": order[::-1], "automargin": True},
    )


def _peer(rows: pd.DataFrame, key: tuple[str, str]) -> str:
    mine = rows[(rows["node"] == key[0]) & (rows["protocol"] == key[1])]
    return str(mine["peer"].iloc[-1])


def _span_told(row: Any) -> str:
    what = row.what if isinstance(row.what, str) else ""
    times = f"{row.start:%Y-%m-%d %H:%M:%S} to {row.end:%H:%M:%S}"
    return "<br>".join(safe(p) for p in (f"{row.node} → {row.peer}", row.state, what, times) if p)


def _when(rows: pd.DataFrame, chosen: list[Any]) -> str:
    current = rows[rows["source"] == "since"]
    down = current[current["state"] == "down"]
    if not len(down):
        first = current["start"].max()
        return f"All sessions are up, the most recent since {first:%H:%M:%S} UTC"
    first = down["start"].min()
    count = plural(len(down), "end is", "ends are")
    return f"{count} down, the first since {first:%H:%M:%S} UTC ({listed(set(down['node']))})"


def _time_note(last: pd.Series[Any], rows: pd.DataFrame) -> str:
    note = (
        f"Drawn are the {MOST_SPANS} of {len(last):,} with the most recent change. " if len(last) > MOST_SPANS else ""
    )
    if not (rows["source"] == "log").any():
        note += "Only the current state is drawn, as no BIRD log with timestamps was seen; bgp.session_log has counts."
    return note

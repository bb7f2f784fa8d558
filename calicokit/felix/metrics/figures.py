"""Figures of metrics: nodes over time, update durations, and Typha's clients."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from calicokit.felix.metrics.sentences import seconds
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
    Figure,
    figure,
    message,
    of_tables,
    safe,
)
from calicokit.sentences import listed, natural, number, plural

MOST_PANELS = 12
MOST_ROWS = 100
MEASURE = "iptables lines"
LOOKS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)
SIGNS = {"slow": "x", "timeout": "cross", "retry": "circle-open", "throttled": "square-open"}
HEAT = [[0.0, PALE], [0.25, "#C6DBEF"], [0.5, SKY], [0.75, BLUE], [1.0, "#08306B"]]


def _value(value: float, unit: str) -> str:
    return seconds(value) if unit == "s" else f"{value:.3g} {unit}"


def _chosen(timeline: pd.DataFrame, measure: str) -> tuple[pd.DataFrame, str]:
    own = timeline[(timeline["measure"] == measure) & timeline["value"].notna()]
    return own, str(own["unit"].iloc[0]) if len(own) else ""


def _not_measured(timeline: pd.DataFrame, measure: str) -> Figure:
    known = sorted(set(timeline["measure"]))
    return message(f"{measure} was not measured during sampling; there are {listed(known, 20) or 'no measures'}.")


@of_tables
def heat(timeline: pd.DataFrame, measure: str = MEASURE) -> Figure:
    """A measure of each node over time (``felix.timeline``): a row a node, darker for more."""
    own, unit = _chosen(timeline, measure)
    if not len(own):
        return _not_measured(timeline, measure)
    wide = own.pivot_table(index="node", columns="time", values="value", aggfunc="mean")
    order = sorted(wide.index, key=natural)
    most = own.iloc[int(own["value"].to_numpy().argmax())]
    shown = order if len(order) <= MOST_ROWS else sorted(wide.max(axis=1).nlargest(MOST_ROWS).index, key=natural)
    wide = wide.loc[shown]
    trace = go.Heatmap(
        x=pd.DatetimeIndex(wide.columns).to_pydatetime().tolist(),
        y=[safe(n) for n in wide.index],
        z=wide.to_numpy().tolist(),
        colorscale=HEAT,
        zmin=0,
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="%{y}, %{x|%H:%M:%S}: %{z:.3g}<extra></extra>",
        xgap=0.5 if wide.shape[1] < 60 else 0,
        ygap=1,
    )
    fact = f"{measure}: at most {_value(most['value'], unit)}, on {most['node']} at {most['time']:%H:%M:%S}"
    note = f"The {MOST_ROWS} nodes with the most of {len(order)} are drawn." if len(shown) < len(order) else ""
    return figure(
        [trace],
        fact,
        note or "White: not measured.",
        height=max(22 * len(shown), 110) + 40 if len(shown) <= 40 else 9 * len(shown) + 60,
        xaxis={"title": {"text": "time (UTC)"}},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "ticksuffix": "  "},
    )


@of_tables
def small_multiples(timeline: pd.DataFrame, moments: pd.DataFrame, measure: str = MEASURE) -> Figure:
    """A measure over time in one small picture a node (``felix.timeline``), all with one scale.

    Marks show when the node's log speaks of what is slow, timed out or is tried again (``felix.moments``).
    """
    own, unit = _chosen(timeline, measure)
    if not len(own):
        return _not_measured(timeline, measure)
    totals = own.groupby("node")["value"].mean()
    nodes = sorted(totals.nlargest(MOST_PANELS).index, key=natural)
    across = min(3, len(nodes)) if len(nodes) != 4 else 2
    down = math.ceil(len(nodes) / across)
    traces: list[Any] = []
    layout: dict[str, Any] = {"annotations": []}
    top = float(own["value"].max()) * 1.1 or 1.0
    for place, node in enumerate(nodes):
        traces += _panel(own[own["node"] == node], moments[moments["node"] == node], place, top)
        layout |= _axes(place, across, down, top, unit)
        layout["annotations"].append(_heading(str(node), place))
    fact = f"{measure}, mean of all nodes: {_value(float(own['value'].mean()), unit)}; highest on {totals.idxmax()}"
    marks = moments[moments["watched"].fillna(False).astype(bool) & moments["sign"].isin(list(SIGNS))]
    left = f"The {len(nodes)} nodes with the most of {len(totals)} are drawn. " if len(totals) > len(nodes) else ""
    note = f"{left}Marks at the top: {plural(len(marks), 'line')} of Felix's log about what is slow or retried."
    return figure(traces, fact, note, height=140 * down, **layout)


def _panel(own: pd.DataFrame, said: pd.DataFrame, place: int, top: float) -> list[Any]:
    axes = {"xaxis": f"x{place + 1}", "yaxis": f"y{place + 1}", "showlegend": False}
    line = go.Scatter(
        x=[t.to_pydatetime() for t in own["time"]],
        y=own["value"].tolist(),
        mode="lines",
        line={"color": BLUE, "width": 1.5},
        fill="tozeroy",
        fillcolor="rgba(86,180,233,0.25)",
        hovertemplate="%{x|%H:%M:%S}: %{y:.3g}<extra></extra>",
        **axes,
    )
    shown = said[said["watched"].fillna(False).astype(bool) & said["sign"].isin(list(SIGNS))]
    marks = go.Scatter(
        x=[t.to_pydatetime() for t in shown["time"]],
        y=[top * 0.96] * len(shown),
        mode="markers",
        marker={"symbol": [SIGNS[s] for s in shown["sign"]], "color": VERMILLION, "size": 8},
        hovertext=[safe(f"{s}: {m}"[:160]) for s, m in zip(shown["sign"], shown["message"], strict=True)],
        hovertemplate="%{x|%H:%M:%S} %{hovertext}<extra></extra>",
        **axes,
    )
    return [line, marks]


def _axes(place: int, across: int, down: int, top: float, unit: str) -> dict[str, Any]:
    column, row = place % across, place // across
    wide, high = 1 / across, 1 / down
    x = [column * wide + 0.03, (column + 1) * wide - 0.03]
    y = [1 - (row + 1) * high + 0.12 * high, 1 - row * high - 0.16 * high]
    axis = {"zeroline": False, "tickfont": {"size": 10}, "nticks": 4}
    number_ = place + 1
    return {
        f"xaxis{number_}": {**axis, "tickformat": "%H:%M:%S", "domain": x, "anchor": f"y{number_}", "showgrid": False},
        f"yaxis{number_}": {
            **axis,
            "domain": y,
            "anchor": f"x{number_}",
            "range": [0, top],
            "gridcolor": PALE,
            "title": {"text": unit if column == 0 else "", "font": {"size": 10}},
        },
    }


def _heading(node: str, place: int) -> dict[str, Any]:
    axis = "" if place == 0 else str(place + 1)
    where = {"xref": f"x{axis} domain", "yref": f"y{axis} domain", "x": 0, "y": 1.02}
    look = {"xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 11, "color": INK}}
    return {"text": safe(node), **where, **look}


@of_tables
def apply_times(times: pd.DataFrame) -> Figure:
    """How long updates of the kernel take on each node: median, nine in ten, tail (``felix.apply_times``)."""
    known = times[times["p99"].notna()]
    if not len(known):
        return message("No Felix has measured a dataplane update in the last ten minutes, or none was scraped.")
    shown = known.nlargest(MOST_ROWS // 2, "p90").sort_values("node", key=lambda s: s.map(natural))
    names = [safe(n) for n in shown["node"]]
    traces: list[Any] = [
        go.Scatter(
            x=[v for a, b in zip(shown["p50"], shown["p99"], strict=True) for v in (a, b, None)],
            y=[n for name in names for n in (name, name, None)],
            mode="lines",
            line={"color": GREY, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
    ]
    looks = (
        ("p50", "median", BLUE, "circle"),
        ("p90", "90 %", ORANGE, "diamond"),
        ("p99", "99 %", VERMILLION, "x"),
    )
    for column, word, colour, symbol in looks:
        traces.append(
            go.Scatter(
                name=word,
                x=shown[column].tolist(),
                y=names,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 10},
                hovertemplate="%{y}: %{x:.3g} s<extra>" + word + "</extra>",
            )
        )
    worst = known.iloc[int(known["p90"].to_numpy().argmax())]
    fact = f"90 % of dataplane updates took at most {seconds(worst['p90'])}, on {worst['node']}; less on all others"
    left = f"The {len(shown)} slowest of {len(known)} nodes are drawn. " if len(shown) < len(known) else ""
    return figure(
        traces,
        fact,
        f"{left}Felix's own quantiles, of about the last ten minutes; from 1 s on Felix is slow.",
        height=max(24 * len(shown), 80) + 50,
        showlegend=True,
        xaxis={"type": "log", "title": {"text": "update duration (s)"}, "dtick": 1, "gridcolor": PALE},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "ticksuffix": "  "},
    )


@of_tables
def apply_histogram(histogram: pd.DataFrame) -> Figure:
    """How many updates took how long (``felix.apply_histogram``), of all nodes."""
    if not len(histogram):
        return message("No dataplane update between two samples.")
    total = histogram.groupby(["over", "to"])["updates"].sum().reset_index()
    labels = [f"{seconds(a)} to {seconds(b)}" for a, b in zip(total["over"], total["to"], strict=True)]
    bars = go.Bar(
        x=labels,
        y=total["updates"].tolist(),
        marker={"color": [VERMILLION if over >= 1 else BLUE for over in total["over"]]},
        hovertemplate="%{x}: %{y} updates<extra></extra>",
    )
    most = int(total["updates"].to_numpy().argmax())
    fact = f"{number(total['updates'].sum())} dataplane updates during sampling, most of them in {labels[most]}"
    return figure(
        [bars],
        fact,
        "Each update counts with the mean between its two samples, as a summary has no individual values.",
        height=230,
        xaxis={"type": "category", "title": {"text": "update duration"}},
        yaxis={"title": {"text": "updates", "standoff": 12}, "gridcolor": PALE, "automargin": True},
    )


@of_tables
def fanout(load: pd.DataFrame, clients: pd.DataFrame) -> Figure:
    """What each Typha serves: connections by what the clients get (``felix.typha_load``, ``felix.typha_clients``)."""
    if not len(load):
        return message("No Typha was scraped.")
    names = [safe(p) if isinstance(p, str) else "a Typha" for p in load["pod"]]
    traces: list[Any] = []
    known = clients[clients["streaming"].notna()]
    for colour, syncer in zip(LOOKS, sorted(set(known["syncer"])), strict=False):
        own = dict(
            zip(known["pod"][known["syncer"] == syncer], known["streaming"][known["syncer"] == syncer], strict=True)
        )
        counts = [own.get(p, 0) for p in load["pod"]]
        traces.append(_bar(safe(syncer), names, counts, colour))
    if not traces:
        traces.append(_bar("connections", names, load["connections"].tolist(), BLUE))
    total = float(load["connections"].sum())
    mean = total / len(load)
    most = load.sort_values("connections", ascending=False).iloc[0]
    share = f"; {most['pod']} has {most['share']:.0%} of them" if len(load) > 1 and total else ""
    fact = f"{plural(len(load), 'Typha')} {'serves' if len(load) == 1 else 'serve'} {number(total)} connections{share}"
    return figure(
        traces,
        fact,
        f"An equal share is {mean:.3g} connections each." if len(load) > 1 else "",
        height=max(34 * len(load), 60) + 60,
        barmode="stack",
        showlegend=True,
        xaxis={"title": {"text": "connections"}, "gridcolor": PALE, "rangemode": "tozero"},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "ticksuffix": "  "},
    )


def _bar(name: str, y: list[str], x: list[Any], colour: str) -> Any:
    return go.Bar(
        name=name,
        y=y,
        x=x,
        orientation="h",
        marker={"color": colour},
        hovertemplate="%{x} connections<extra>" + name.replace("%", "") + "</extra>",
    )

"""Figures of policy: reachability between pods, and the policies evaluated for a flow, with the deciding one
highlighted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from calicokit.figures import BLUE, GREY, INK, PALE, SKY, VERMILLION, Figure, figure, message, of_tables, safe
from calicokit.policy.decide import Decision, Step
from calicokit.policy.explanation import Explanation, Flow
from calicokit.schema import records
from calicokit.sentences import natural, plural

MOST_CLASSES = 40
LONGEST, WIDE = 22, 14
"""Maximum classes for this many characters of ports per cell."""

LEVELS = {"none": (0, "nothing", "·", PALE), "some": (1, "some ports", "◐", SKY), "all": (2, "everything", "●", BLUE)}


# ---- who reaches whom


@of_tables
def reachability(classes: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    """Kinds of pods that connect (lines) and are connected to (``policy.classes``, ``policy.reachability``)."""
    if not len(classes):
        return message("There is no pod subject to policy.")
    shown = classes.sort_values(["pods", "class"], ascending=[False, True]).head(MOST_CLASSES)
    names = sorted(shown["class"], key=natural)
    place = {name: i for i, name in enumerate(names)}
    ports = [["none"] * len(names) for _ in names]
    for row in records(pairs):
        if row.source in place and row.target in place:
            ports[place[row.source]][place[row.target]] = row.ports
    left = len(classes) - len(shown)
    note = f"The {MOST_CLASSES} classes with the most pods are drawn; {left} more are not." if left else ""
    labels = [safe(n) for n in names]
    steps = [(edge, look[3]) for i, look in enumerate(LEVELS.values()) for edge in (i / 3, (i + 1) / 3)]
    heat = go.Heatmap(
        x=labels,
        y=labels,
        z=[[LEVELS[_level(p)][0] for p in line] for line in ports],
        text=[[_cell(p, len(names)) for p in line] for line in ports],
        hovertext=[[_told(s, t, ports[i][j]) for j, t in enumerate(names)] for i, s in enumerate(names)],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale=steps,
        zmin=-0.5,
        zmax=2.5,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    keys = [_key(f"{symbol} {word}", colour) for _, word, symbol, colour in LEVELS.values()]
    axis = {"type": "category", "automargin": True, "showgrid": False}
    return figure(
        [heat, *keys],
        _fact(classes, pairs),
        note,
        height=max((34 if len(names) <= WIDE else 26) * len(names), 120) + 110,
        showlegend=True,
        xaxis={**axis, "title": {"text": "destination"}, "tickangle": -40, "showticklabels": True},
        yaxis={**axis, "title": {"text": "source"}, "autorange": "reversed", "ticksuffix": "  "},
    )


def _level(ports: str) -> str:
    return ports if ports in ("none", "all") else "some"


def _cell(ports: str, count: int) -> str:
    symbol = LEVELS[_level(ports)][2]
    if _level(ports) != "some" or count > WIDE or len(ports) > LONGEST:
        return symbol
    return f"{symbol} {safe(ports)}".replace("; ", "<br>")


def _told(source: str, target: str, ports: str) -> str:
    return f"{safe(source)} → {safe(target)}<br>{safe(ports)}"


def _fact(classes: pd.DataFrame, pairs: pd.DataFrame) -> str:
    total = len(classes) ** 2
    whole = int(pairs["everything"].sum())
    kinds = plural(len(classes), "class of pods", "classes of pods")
    return (
        f"{kinds}: of {plural(total, 'pair')}, {whole:,} fully allowed, {len(pairs) - whole:,} for some ports, "
        f"{total - len(pairs):,} not at all"
    )


def _key(name: str, colour: str) -> Any:
    """A line of the legend; its marker carries no data."""
    marker = {"symbol": "square", "size": 13, "color": colour, "line": {"color": INK, "width": 1}}
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)


# ---- the ladder


@dataclass(frozen=True)
class _Rung:
    text: str
    action: str
    lit: bool
    asked: bool


LOOKS = {
    "allow": ("✓ allow", BLUE),
    "deny": ("✕ deny", VERMILLION),
    "pass": ("→ pass", SKY),
    "continue": ("· no rule", PALE),
}


def ladder(answer: Explanation) -> Figure:
    """What a flow meets, from the source's first policy to the destination's last; the rung that decides is lit.

    Of a service's flows the one is drawn that decides.
    """
    if not answer.flows:
        return message(answer.sentence)
    flow = next((f for f in answer.flows if f.action == "deny"), answer.flows[0])
    rungs = _rungs(flow, answer.verdict != "unknown")
    if not rungs:
        return message(answer.sentence)
    places = list(range(len(rungs)))
    bars = go.Bar(
        orientation="h",
        x=[1] * len(rungs),
        y=places,
        width=0.72,
        marker={
            "color": [_colour(r) for r in rungs],
            "line": {"color": [INK if r.lit else GREY for r in rungs], "width": [3 if r.lit else 1 for r in rungs]},
        },
        hoverinfo="skip",
        showlegend=False,
    )
    texts = [
        {
            "text": f"<b>{r.text}</b>" if r.lit else r.text,
            "x": 0.01,
            "y": i,
            "xanchor": "left",
            "showarrow": False,
            "font": {"color": "white" if r.lit else INK if r.asked else GREY},
        }
        for i, r in enumerate(rungs)
    ]
    keys = [_key(f"highlighted: {word} decides", colour) for word, colour in (("allow", BLUE), ("deny", VERMILLION))]
    return figure(
        [bars, *keys],
        answer.sentence,
        "Top to bottom in evaluation order; what follows a deny is not evaluated and greyed out.",
        height=34 * len(rungs) + 20,
        showlegend=True,
        xaxis={"visible": False, "range": [0, 1]},
        yaxis={"visible": False, "range": [len(rungs) - 0.5, -0.5]},
        annotations=texts,
        margin={"t": 120, "l": 10, "r": 20, "b": 10},
    )


def _rungs(flow: Flow, known: bool) -> list[_Rung]:
    found, denied = list[_Rung](), False
    for side, outcome in (("egress", flow.egress), ("ingress", flow.ingress)):
        decides = known and outcome.decision == flow.decided_by and not denied
        lit = _lit(outcome.steps, outcome.decision) if decides else -1
        for i, step in enumerate(outcome.steps):
            found.append(_Rung(_rung_text(side, step), step.action, i == lit, not denied))
        denied = denied or outcome.action == "deny"
    return found


def _lit(steps: list[Step], decision: Decision) -> int:
    """The step that the decision was made in."""
    for i, step in enumerate(steps):
        same = (step.kind, step.name, step.namespace or None) == (decision.kind, decision.name, decision.namespace)
        if same and step.action == decision.action:
            return i
    return -1


def _rung_text(side: str, step: Step) -> str:
    name = f"{step.namespace}/{step.name}" if step.namespace else step.name
    what = f"end of tier {name}" if step.kind == "Tier" else f"{step.kind} {name}"
    rule = "" if step.matched is None else f" (rule {step.matched})"
    tier = f"tier {step.tier}: " if step.tier and step.kind != "Tier" else ""
    return f"{side} of {safe(step.endpoint)} — {safe(tier + what)}{rule}   {LOOKS[step.action][0]}"


def _colour(rung: _Rung) -> str:
    if rung.lit:
        return LOOKS[rung.action][1]
    return "#D6EAF8" if rung.action in ("allow", "pass") and rung.asked else PALE

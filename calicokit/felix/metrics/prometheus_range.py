"""A long time of many nodes from a Prometheus server: 100 nodes, every 5 seconds for a day, are 700 million samples.

Only what pictures over time need is kept: of each Felix the counters of ``felix.timeline``, read sample by sample, one
target after the other, and added up in 240 steps at once. So nothing is lost between two points of a ``query_range``,
and memory stays that of one target.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calicokit.evidence.live.prometheus_server import Points, PrometheusServer, Targets
from calicokit.felix.metrics.performance import APPLY, RATES, STEPS, TIMELINE, in_steps

KEPT = tuple(dict.fromkeys([*(metric for metric, _ in RATES.values()), f"{APPLY}_sum"]))
"""The metrics that are read."""


def long_timeline(server: PrometheusServer, since: datetime, until: datetime) -> pd.DataFrame:
    """``felix.timeline`` of all Felixes that the server scraped. Raises ``SourceError`` if it does not answer.

    Growth between two samples counts for the step in which the later one lies; a counter that fell was reset.
    """
    edges = np.linspace(since.timestamp(), until.timestamp(), STEPS + 1)
    frames = [pd.DataFrame(columns=["metric", "node", "time", "increase", "seconds"])]
    targets = Targets(server, since, until)
    names = "|".join(KEPT)
    for target in targets.of("felix-metrics"):
        chosen = target.selector(names)
        series = server.query(f"{chosen}[{targets.window}s]", until)
        frames.append(_added_up(series, edges).assign(node=targets.node(target) or target.labels.get("instance", "")))
    grown = pd.concat(frames[1:] or frames, ignore_index=True)
    return TIMELINE.take(in_steps(grown)) if len(grown) else TIMELINE.frame()


def _added_up(series: Sequence[Points], edges: NDArray[np.float64]) -> pd.DataFrame:
    """Growth of each metric of one target in each step, all its labels together, and the time in which it grew."""
    grown: dict[str, NDArray[np.float64]] = {}
    spent: dict[str, NDArray[np.float64]] = {}
    for points in series:
        name = points.labels["__name__"]
        step, increase, seconds = _growth(points, edges)
        none = np.zeros(STEPS)
        grown[name] = grown.get(name, none) + np.bincount(step, increase, minlength=STEPS)
        spent[name] = np.maximum(spent.get(name, none), np.bincount(step, seconds, minlength=STEPS))
    ends = pd.to_datetime(edges[1:], unit="s", utc=True).astype("datetime64[ns, UTC]")
    frames = [
        pd.DataFrame({"metric": name, "time": ends, "increase": grown[name], "seconds": spent[name]})[spent[name] > 0]
        for name in grown
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _growth(
    points: Points, edges: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each sample but the first: the step it lies in, the growth since the sample before, and the seconds."""
    before, after = points.values[:-1], points.values[1:]
    increase = np.where(after < before, after, after - before)
    step = np.clip(np.searchsorted(edges, points.times[1:], side="left") - 1, 0, STEPS - 1)
    return step.astype(np.int64), increase, np.diff(points.times)

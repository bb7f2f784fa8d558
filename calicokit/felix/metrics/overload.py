"""Slowness: Felix instances that program late, and Typhas that close or delay their clients.

The thresholds are this kit's: healthy recordings have medians of 0.01 s and tails of 0.3 s; see docs/felix-metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, records
from calicokit.sentences import number, plural

SLOW = Schema(
    "felix.slow",
    "Signs that Felix is slow, per node; no rows if none.",
    (
        Column("node", "str", "node"),
        Column("sign", "str", "sign: median, tail, mean, beside-others, waiting, calculation, log"),
        Column("value", "float", "seconds", "s"),
        Column("says", "str", "description of the sign"),
        Column("table", "str", "table it is from"),
    ),
    key=("node", "sign"),
)

OVERLOAD = Schema(
    "felix.typha_overload",
    "Signs that a Typha is overloaded: clients rebalanced in a loop, cut off or delayed; no rows if none.",
    (
        Column("pod", "str", "Typha pod; null where unknown"),
        Column("node", "str", "its node"),
        Column("sign", "str", "sign: limited, cut-off, grace, latency"),
        Column("says", "str", "description of the sign"),
        Column("table", "str", "table it is from"),
    ),
    key=("pod", "node", "sign"),
)

HALF_SECOND, SECOND = 0.5, 1.0
FEW, MANY = 5, 10
"""Updates from which a median, and a tail or mean, tell anything: one long update at a start is none."""

BESIDE = 10
"""A tail of half a second is slow too where it is so many times that of the other nodes."""

WAITS = 30.0
LIMITED = 10
OFTEN = 0.1
"""Closings a second since the start: it closes one a second while it has too many."""

STILL = pd.Timedelta(seconds=60)


# ---- Felix


@table(SLOW, any_of={"times": "felix.apply_times", "loops": "felix.loops"})
def slow(times: pd.DataFrame | None = None, loops: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each node and sign of slowness; see :data:`SLOW`."""
    rows = [*_from_metrics(times if times is not None else pd.DataFrame()), *_from_log(loops)]
    return SLOW.frame(rows)


def _from_metrics(times: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in records(times):
        others = times["p90"][(times["node"] != row.node) & (times["updates"] >= MANY)].dropna()
        usual = float(others.median()) if len(others) >= 2 else float("inf")
        seen = row.updates >= MANY
        watched = row.watched_updates >= MANY and row.watched_average >= HALF_SECOND
        signs = (
            (row.updates >= FEW and row.p50 >= HALF_SECOND, "median", row.p50, "half of its dataplane updates"),
            (seen and row.p90 >= SECOND, "tail", row.p90, "10 % of its dataplane updates"),
            (seen and HALF_SECOND <= row.p90 < SECOND and row.p90 >= BESIDE * usual, "beside-others", row.p90,
             f"10 % of its updates, at least {BESIDE} times as long as on other nodes,"),
            (watched, "mean", row.watched_average, "during sampling, the mean dataplane update"),
            (row.lag_average >= HALF_SECOND, "calculation", row.lag_average, "the mean calculation graph update"),
        )  # fmt: skip
        for shown, sign, value, what in signs:
            if shown:
                says = f"{what} took {value:.2g} s"
                yield {"node": row.node, "sign": sign, "value": value, "says": says, "table": "felix.apply_times"}
        if row.waiting_events >= MANY and row.waiting_seconds >= WAITS:
            says = f"{number(row.waiting_events)} events waited {row.waiting_seconds:.0f} s and no update followed"
            about = {"node": row.node, "sign": "waiting", "value": row.waiting_seconds}
            yield {**about, "says": says, "table": "felix.apply_times"}


def _from_log(loops: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    if loops is None:
        return
    for row in records(loops.sort_values("time").drop_duplicates("node", keep="last")):
        if row.updates >= FEW and row.usual >= HALF_SECOND:
            said = f" ({row.operations})" if isinstance(row.operations, str) else ""
            says = (
                f"its log reports {row.updates} updates of {row.average:.2g} s on average, the longest "
                f"{row.longest:.2g} s{said}"
            )
            yield {"node": row.node, "sign": "log", "value": row.average, "says": says, "table": "felix.loops"}


# ---- Typha


@table(
    OVERLOAD,
    needs={"pods": "health.pods"},
    wants={"load": "felix.typha_load", "clients": "felix.typha_clients", "events": "felix.typha_events"},
)
def typha_overload(
    pods: pd.DataFrame,
    load: pd.DataFrame | None = None,
    clients: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each Typha and sign of overload; see :data:`OVERLOAD`. None where there is no Typha."""
    if not (pods["component"] == "typha").any():
        return OVERLOAD.frame()
    if load is None and events is None:
        raise UnseenError("neither metrics nor logs of Typha were seen")
    rows: list[dict[str, Any]] = []
    for frame, judge in ((events, _by_log), (load, _by_load), (clients, _by_latency)):
        for row in records(frame) if frame is not None else ():
            about = {"pod": row.pod, "node": row.node}
            rows += [{**about, **sign} for sign in judge(row)]
    found = OVERLOAD.frame([{k: v if isinstance(v, str) else None for k, v in r.items()} for r in rows])
    return found.drop_duplicates(["pod", "node", "sign"], ignore_index=True)


def _by_log(row: Any) -> Iterator[dict[str, str]]:
    told = {"table": "felix.typha_events"}
    if row.event == "rebalanced" and pd.notna(row.before) and pd.notna(row.after):
        comes_back = row.after > row.before - row.recent / 2
        if row.recent >= LIMITED and comes_back and row.log_until - row.last <= STILL:
            closed = (
                f"it closed {plural(row.recent, 'connection')} in ten minutes to stay within its limit of {row.limit}"
            )
            yield {**told, "sign": "limited", "says": f"{closed}, and still has {row.after}: they reconnect"}
    several = len(row.hosts) >= 2
    if row.event == "fell-behind" and several and row.recent:
        says = (
            f"it disconnected clients on {plural(len(row.hosts), 'node')} that fell behind "
            f"({plural(row.count, 'time')})"
        )
        yield {**told, "sign": "cut-off", "says": says}
    if row.event == "grace-period" and several and row.recent:
        says = f"clients on {plural(len(row.hosts), 'node')} were far behind after their first snapshot"
        yield {**told, "sign": "grace", "says": says}


def _by_load(row: Any) -> Iterator[dict[str, str]]:
    told = {"table": "felix.typha_load", "sign": "limited"}
    has = f"has {number(row.connections)}: they reconnect" if pd.notna(row.connections) else ""
    if pd.notna(row.dropped_grown):
        back = row.accepted_grown >= row.dropped_grown / 2
        if row.dropped_grown >= LIMITED and row.dropped_grown > row.connections and back:
            closed = plural(row.dropped_grown, "connection")
            yield {**told, "says": f"during sampling it closed {closed} and {has}"}
        return
    age = (row.until - row.started).total_seconds() if pd.notna(row.started) and pd.notna(row.until) else 0.0
    if row.dropped >= LIMITED and row.dropped > 2 * row.connections and age and row.dropped / age >= OFTEN:
        closed = plural(row.dropped, "connection")
        yield {**told, "says": f"in the {number(age)} s since its start it closed {closed} and {has}"}


def _by_latency(row: Any) -> Iterator[dict[str, str]]:
    if row.latency_p50 >= SECOND and row.latency_average >= SECOND and row.changes >= MANY:
        says = f"half of what it sent to its {row.syncer} clients was {row.latency_p50:.2g} s old or more"
        yield {"table": "felix.typha_clients", "sign": "latency", "says": says}

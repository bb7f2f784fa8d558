"""How fast Felix programs the kernel, what fails, what each node has to do, and which node differs from the others.

Facts: felix/dataplane/linux/int_dataplane.go (one apply at a time; what arrives meanwhile waits for the next),
lib/logrusr/summarizer.go (the lines that summarise them, also where metrics are off).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from calicokit.durations import go_duration
from calicokit.felix.metrics.meaning import meaning
from calicokit.felix.metrics.promql import SERIES, Series
from calicokit.felix.metrics.tables import TARGET
from calicokit.kube.tables import EVIDENCE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

APPLY = "felix_int_dataplane_apply_time_seconds"
GRAPH = "felix_calc_graph_update_time_seconds"
BATCH = "felix_int_dataplane_msg_batch_size"
EXEC = "felix_exec_time_micros"
EVENTS = "felix_calc_graph_output_events"
SYNC = "felix_resync_state"
STARTED = "process_start_time_seconds"
IN_SYNC = 3
NEEDED = (EVENTS, SYNC, STARTED, *(f"{family}_{part}" for family in (APPLY, GRAPH, BATCH) for part in ("sum", "count")))
"""The metrics of which felix.apply_times is made, beside summaries' quantiles."""

APPLY_TIMES = Schema(
    "felix.apply_times",
    "Time that Felix needs on each node to program a change, and the lag of its calculation graph.",
    (
        Column("node", "str", "node"),
        Column("pod", "str", "calico-node pod"),
        Column("started", "time", "start of the process scraped last"),
        Column("updates", "float", "updates programmed since the process started", "updates"),
        Column("average", "float", "mean time of those; null where never measured", "s"),
        Column("p50", "float", "median, of about the last ten minutes; null when idle", "s"),
        Column("p90", "float", "90th percentile", "s"),
        Column("p99", "float", "99th percentile", "s"),
        Column("watched_updates", "float", "updates programmed during the series; null without one", "updates"),
        Column("watched_average", "float", "mean time of those", "s"),
        Column("slowest_average", "float", "highest mean between two samples of the series", "s"),
        Column("waiting_events", "float", "events at the end of the series not followed by an update", "events"),
        Column("waiting_seconds", "float", "time without a following update", "s"),
        Column("lag_average", "float", "mean duration of a calculation graph update, since the start", "s"),
        Column("lag_p99", "float", "calculation graph update: 99th percentile", "s"),
        Column("exec_p90", "float", "iptables and ipset command duration: 90th percentile", "s"),
        Column("batch", "float", "messages batched per update, mean since the start", "messages"),
        Column("since", "time", "first sample of the series; null without one"),
        Column("until", "time", "last scrape"),
    ),
    key=("node",),
)

LOOPS = Schema(
    "felix.loops",
    "Dataplane update summaries in Felix's log, about one line a minute.",
    (
        Column("node", "str", "node"),
        Column("time", "time", "when it was logged"),
        Column("updates", "int", "updates since the previous line", "updates"),
        Column("seconds", "float", "time since the previous line", "s"),
        Column("average", "float", "mean time of an update", "s"),
        Column("longest", "float", "longest update", "s"),
        Column("operations", "str", "operations of the longest update"),
        Column(
            "usual", "float", "mean without the longest, which may be the initial sync; null for a single update", "s"
        ),
        Column("line", "int", "line in the log"),
        EVIDENCE,
    ),
    key=("node", "time"),
)

HISTOGRAM = Schema(
    "felix.apply_histogram",
    "Histogram of update durations, by the mean between two samples of a series.",
    (
        Column("node", "str", "node"),
        Column("over", "float", "lower bound of the mean time", "s"),
        Column("to", "float", "upper bound of the mean time", "s"),
        Column("updates", "float", "updates", "updates"),
    ),
    key=("node", "to"),
)

MOMENTS = Schema(
    "felix.moments",
    "Felix log lines about slow operations, timeouts, retries and throttling, and warnings and errors.",
    (
        Column("time", "time", "when it was logged"),
        Column("node", "str", "node"),
        Column("sign", "str", "slow, timeout, retry, throttled, else warning or error: the line's level"),
        Column("watched", "bool", "between the first and the last sample of the node's series; null without one"),
        Column("message", "str", "message"),
        Column("line", "int", "line in the log"),
        EVIDENCE,
    ),
    key=("node", "line"),
)

ERRORS = Schema(
    "felix.errors",
    "Error, retry, loss, resync and restart counters; those that grew come first.",
    (
        *(Column(c.name, "str", c.meaning) for c in TARGET),
        Column("metric", "str", "counter; `restarts` counts changes of process_start_time_seconds in the series"),
        Column("labels", "str", "its labels"),
        Column("total", "float", "total since the process started"),
        Column("grown", "float", "during the series; null without one"),
        Column("per_minute", "float", "growth per minute during the series"),
        Column("last", "time", "sample with the last growth"),
        Column("means", "str", "what it counts"),
        Column("normal", "str", "normal range"),
    ),
    key=(*SERIES,),
)

ACTIVITY = Schema(
    "felix.activity",
    "Workload of Felix per node compared with the other nodes: sizes, and rates during the series.",
    (
        Column("node", "str", "node"),
        Column("measure", "str", "measure"),
        Column("value", "float", "its value on the node"),
        Column("unit", "str", "unit; /s for rates"),
        Column("median", "float", "median of all nodes"),
        Column("ratio", "float", "value divided by the median; null where the median is 0"),
        Column(
            "outlier",
            "bool",
            "far from the other nodes: at least twice or at most half the median, and further from it than five times "
            "the usual distance; null for fewer than four nodes",
        ),
        Column("metric", "str", "metrics it is computed from"),
    ),
    key=("node", "measure"),
)

TIMELINE = Schema(
    "felix.timeline",
    "Activity of Felix per node over the series, in at most 240 steps.",
    (
        Column("time", "time", "end of the step"),
        Column("node", "str", "node"),
        Column("measure", "str", "measure, as in felix.activity; `apply time` is the mean duration of an update"),
        Column("value", "float", "its value in the step; null where nothing was measured"),
        Column("unit", "str", "unit"),
    ),
    key=("time", "node", "measure"),
)

_FAILS = re.compile(r"^felix_.*(?:_errors|_failures|_retries|_overruns)$|^(?:felix|typha)_logs_dropped$")
_NOT_FAILURES = ("felix_log_errors", "typha_log_errors")
RESYNCS = "felix_resyncs_started"

SIZES = {
    "endpoints": ("felix_active_local_endpoints", "endpoints"),
    "policies": ("felix_active_local_policies", "policies"),
    "selectors": ("felix_active_local_selectors", "selectors"),
    "iptables rules": ("felix_iptables_rules", "rules"),
    "nftables rules": ("felix_nft_rules", "rules"),
    "IP sets": ("felix_ipsets_calico", "sets"),
    "routes": ("felix_route_table_num_routes", "routes"),
    "memory": ("process_resident_memory_bytes", "bytes"),
    "nodes it knows": ("felix_cluster_num_hosts", "nodes"),
    "policies it knows": ("felix_cluster_num_policies", "policies"),
    "endpoints it knows": ("felix_cluster_num_workload_endpoints", "endpoints"),
}
RATES = {
    "datastore updates": ("felix_calc_graph_updates_processed", "updates/s"),
    "events for the dataplane": (EVENTS, "events/s"),
    "updates of the dataplane": (f"{APPLY}_count", "updates/s"),
    "iptables lines": ("felix_iptables_lines_executed", "lines/s"),
    "iptables-restore": ("felix_iptables_restore_calls", "calls/s"),
    "ipset lines": ("felix_ipset_lines_executed", "lines/s"),
    "nft transactions": ("felix_nft_calls", "calls/s"),
    "selector matches": ("felix_label_index_selector_evals", "matches/s"),
    "processor": ("process_cpu_seconds_total", "s/s"),
}
"""What is measured → the metric, whose labels are added up, and its unit."""

STEPS = 240
MICRO = 1e-6
NODES = 4
FAR = 5.0
TWICE = 2.0

_SUMMARY = re.compile(r"Summarising (\d{1,9}) dataplane reconciliation loops over (\S{1,30}):")
_TIMES = re.compile(r"avg=(\S{1,30}) longest=(\S{1,30})(?: \((.*)\))?")


# ---- what the log says


@table(LOOPS, needs={"log": "output.felix_log"})
def loops(log: pd.DataFrame) -> pd.DataFrame:
    """One row for each summary in Felix's log; see :data:`LOOPS`."""
    said = log[log["message"].str.startswith("Summarising ", na=False)]
    rows = []
    for node, time, message, fields, line, ref in cells(said, "node", "time", "message", "fields", "line", "evidence"):
        counted = _SUMMARY.search(message)
        times = _TIMES.search(fields if isinstance(fields, str) else message)
        if counted and times:
            number, average, longest = int(counted[1]), go_duration(times[1]), go_duration(times[2])
            rows.append(
                {
                    "node": node,
                    "time": time,
                    "updates": number,
                    "seconds": go_duration(counted[2]),
                    "average": average,
                    "longest": longest,
                    "operations": times[3],
                    "usual": max(0.0, average * number - longest) / (number - 1) if number > 1 else None,
                    "line": line,
                    "evidence": ref,
                }
            )
    return LOOPS.frame(rows)


_SIGNS = {
    "throttled": r"\bthrottled$",
    "timeout": r"(?i)\btimed out\b|\btime ?out\b(?! (?:set|read|too|value)\b)",  # settings are set, read, too low
    "retry": r"(?i)\bretr(?:y|ying)\b",
    "slow": r"(?i)\bslow(?:ly)?\b",
}
_REPORT = "Overall health status changed"
"""Felix's table of its own health has a column of timeouts; none of its lines is one."""


@table(MOMENTS, needs={"log": "output.felix_log"}, wants={"scrapes": "felix.scrapes"})
def moments(log: pd.DataFrame, scrapes: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each such line; see :data:`MOMENTS`."""
    message = log["message"].astype("str")
    sign = log["level"].str.lower().where(log["level"].isin(["WARNING", "ERROR"]))
    for name, pattern in _SIGNS.items():
        sign = sign.mask(message.str.contains(pattern, regex=True) & ~message.str.startswith(_REPORT), name)
    found = log[sign.notna()].assign(sign=sign[sign.notna()])
    spans = {} if scrapes is None else _spans(scrapes[scrapes["component"] == "felix"])
    watched = [spans[n][0] <= t <= spans[n][1] if n in spans else None for n, t in cells(found, "node", "time")]
    found["watched"] = pd.array(watched, dtype="boolean")
    return MOMENTS.take(found)


def _spans(scrapes: pd.DataFrame) -> dict[str, tuple[pd.Timestamp, pd.Timestamp]]:
    """The first and the last scrape of each node that was scraped more than once."""
    watched = scrapes[scrapes["first"].notna()]
    return {node: (first, last) for node, first, last in cells(watched, "node", "first", "last")}


# ---- how fast


@table(HISTOGRAM, needs={"quantiles": "felix.quantiles", "_": "felix.rates"})
def apply_histogram(quantiles: pd.DataFrame, _: pd.DataFrame) -> pd.DataFrame:
    """One row for each node and span of time; see :data:`HISTOGRAM`. Spans of a decade are 1, 2 and 5."""
    own = quantiles[(quantiles["family"] == APPLY) & quantiles["series"] & quantiles["since_before"]]
    own = own[own["observations"] > 0]
    bounds = np.array([step * 10.0**power for power in range(-4, 3) for step in (1, 2, 5)])
    at = np.searchsorted(bounds, own["average"].to_numpy(dtype=np.float64)).clip(1, len(bounds) - 1)
    spans = own.assign(over=bounds[at - 1], to=bounds[at], node=own["node"].astype("str"))
    summed = spans.groupby(["node", "over", "to"])["observations"].sum().reset_index(name="updates")
    return HISTOGRAM.take(summed)


@table(APPLY_TIMES, needs={"samples": "felix.samples", "quantiles": "felix.quantiles"})
def apply_times(samples: pd.DataFrame, quantiles: pd.DataFrame) -> pd.DataFrame:
    """One row for each node whose Felix was scraped; see :data:`APPLY_TIMES`."""
    felix = samples[(samples["component"] == "felix") & samples["own"] & samples["metric"].isin(NEEDED)]
    felix = felix.sort_values(["time", "series"], kind="stable")
    times = quantiles[quantiles["component"] == "felix"].sort_values(["time", "series"], kind="stable")
    of_node = {str(node): part for node, part in times.groupby("node", observed=True)}
    rows = []
    for node, own in felix.groupby("node", observed=True, sort=True):
        newest = dict(cells(own, "metric", "value"))  # the last of each stays
        row: dict[str, Any] = {"node": str(node), "until": own["time"].iloc[-1]}
        row["pod"] = next(iter(own["pod"].dropna()), None)
        row["started"] = pd.Timestamp(newest.get(STARTED, np.nan), unit="s", tz="UTC")
        told = of_node.get(str(node), times.iloc[:0])
        row |= _of_families(newest, told)
        row |= _watched(own[own["series"]], told[told["series"] & (told["family"] == APPLY)])
        rows.append(row)
    return APPLY_TIMES.frame(rows)


def _of_families(newest: dict[str, float], times: pd.DataFrame) -> dict[str, Any]:
    """What the newest scrape says since the start, and its summaries' own quantiles."""
    row: dict[str, Any] = {"updates": newest.get(f"{APPLY}_count")}
    for family, mean in ((APPLY, "average"), (GRAPH, "lag_average"), (BATCH, "batch")):
        seen, total = newest.get(f"{family}_count", 0.0), newest.get(f"{family}_sum", np.nan)
        row[mean] = total / seen if seen > 0 else None
    told = {family: quantiles for family, *quantiles in cells(times, "family", "p50", "p90", "p99")}
    row["p50"], row["p90"], row["p99"] = told.get(APPLY, (None, None, None))
    row["lag_p99"] = told.get(GRAPH, (None,))[-1]
    row["exec_p90"] = told[EXEC][1] * MICRO if EXEC in told else None
    return row


def _watched(own: pd.DataFrame, times: pd.DataFrame) -> dict[str, Any]:
    """What happened during the series."""
    steps = times.iloc[1:]
    if not len(steps):
        return {}
    seen = steps["observations"].sum()
    told = steps[steps["observations"] > 0]
    return {
        "since": own["time"].min(),
        "watched_updates": seen,
        "watched_average": (told["average"] * told["observations"]).sum() / seen if seen else None,
        "slowest_average": told["average"].max() if len(told) else None,
        **_waiting(own),
    }


def _waiting(own: pd.DataFrame) -> dict[str, Any]:
    """Events of the calculation graph since the last update of the dataplane, by a Felix that is in sync."""
    wide = (
        own[own["metric"].isin([EVENTS, f"{APPLY}_count", SYNC])]
        .assign(metric=lambda f: f["metric"].astype("str"))
        .pivot_table(index="time", columns="metric", values="value", aggfunc="last")
        .sort_index()
    )
    if wide.shape[1] < 3 or not (wide[SYNC] == IN_SYNC).all():
        return {}
    done = wide[f"{APPLY}_count"]
    moved = np.flatnonzero((done != done.iloc[-1]).to_numpy())
    still = wide.iloc[moved[-1] + 1 if len(moved) else 0 :]
    waited = (still.index[-1] - still.index[0]).total_seconds()
    return {"waiting_events": still[EVENTS].iloc[-1] - still[EVENTS].iloc[0], "waiting_seconds": waited}


# ---- what fails


@table(ERRORS, needs={"samples": "felix.samples"})
def errors(samples: pd.DataFrame) -> pd.DataFrame:
    """One row for each counter of failures; see :data:`ERRORS`."""
    names = samples["metric"].cat.categories
    wanted = [n for n in names if (_FAILS.match(n) and n not in _NOT_FAILURES) or n in (RESYNCS, STARTED)]
    own = samples[samples["own"] & samples["metric"].isin(wanted) & (samples["component"] != "kube-controllers")]
    own = own.sort_values(["time", "series"], kind="stable")
    rows = []
    for key, part in own.groupby(list(SERIES), observed=True, dropna=False, sort=True):
        component, node, pod, metric, labels = key
        row = {"component": component, "node": node, "pod": pod, "metric": str(metric), "labels": str(labels)}
        row = {k: v if isinstance(v, str) else None for k, v in row.items()}
        rows.append(row | (_restarts(part) if metric == STARTED else _failures(part, str(metric))))
    grew = [bool(row.get("grown")) for row in rows]
    failed = [bool(row.get("total")) and row["metric"] != RESYNCS for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (not grew[i], not failed[i]))
    return ERRORS.frame([rows[i] for i in order])


def _failures(part: pd.DataFrame, metric: str) -> dict[str, Any]:
    known = meaning(metric)
    row: dict[str, Any] = {
        "total": float(part["value"].iloc[-1]),
        "means": known.means,
        "normal": known.normal,
    }
    watched = part[part["series"]] if len(part) > 1 else part
    if len(watched) < 2:
        return row
    grown = Series.of(watched, "metric").steps()[0][1:]
    return row | _growth(watched["time"], grown)


def _growth(times: pd.Series[pd.Timestamp], grown: Any) -> dict[str, Any]:
    minutes = (times.iloc[-1] - times.iloc[0]).total_seconds() / 60
    at = np.flatnonzero(grown > 0)
    return {
        "grown": float(grown.sum()),
        "per_minute": float(grown.sum()) / minutes if minutes else None,
        "last": times.iloc[at[-1] + 1] if len(at) else None,
    }


def _restarts(part: pd.DataFrame) -> dict[str, Any]:
    """How often the process started anew during the series; the closing scrape counts as its end."""
    row: dict[str, Any] = {
        "metric": "restarts",
        "means": "process starts during sampling, which the pod's restart count may not include",
        "normal": "0; once after a change of Felix's configuration",
    }
    if len(part) < 2:
        return row
    changed = (part["value"].diff().abs() > 1).to_numpy()[1:].astype(float)
    return row | _growth(part["time"], changed)


# ---- what it has to do


@table(ACTIVITY, needs={"metrics": "felix.metrics"})
def activity(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row for each node and measure; see :data:`ACTIVITY`. Rates are there only where a series was taken."""
    felix = metrics[metrics["component"] == "felix"]
    frames = [_measured(felix, "value", SIZES), _measured(felix, "rate", RATES)]
    every = pd.concat(frames, ignore_index=True)
    group = every.groupby("measure")["value"]
    every["median"] = group.transform("median")
    away = (every["value"] - every["median"]).abs()
    usual = away.groupby(every["measure"]).transform("median")
    twice = (every["value"] >= TWICE * every["median"]) | (every["value"] <= every["median"] / TWICE)
    far = (away > FAR * usual) & twice
    every["ratio"] = (every["value"] / every["median"]).where(every["median"] > 0)
    every["outlier"] = (far & (away > 0)).astype("boolean").where(group.transform("count") >= NODES)
    return ACTIVITY.take(every)


def _measured(felix: pd.DataFrame, column: str, measures: dict[str, tuple[str, str]]) -> pd.DataFrame:
    rows = [(metric, name, unit) for name, (metric, unit) in measures.items()]
    named = pd.DataFrame(rows, columns=["metric", "measure", "unit"])
    known = felix[felix[column].notna()].drop(columns="unit").merge(named, on="metric")
    summed = known.groupby(["measure", "node"], sort=False)[column].sum().reset_index(name="value")
    return summed.merge(named, on="measure")


# ---- over time


@table(TIMELINE, needs={"rates": "felix.rates"})
def timeline(rates: pd.DataFrame) -> pd.DataFrame:
    """One row for each node, measure and step; see :data:`TIMELINE`."""
    felix = rates[rates["component"] == "felix"]
    wanted = {metric: (name, unit) for name, (metric, unit) in RATES.items()}
    own = felix[felix["metric"].isin([*wanted, f"{APPLY}_sum"])]
    if not len(own):
        return TIMELINE.frame()
    summed = own.groupby(["metric", "node", "time"], observed=True).agg({"increase": "sum", "seconds": "max"})
    return TIMELINE.take(in_steps(summed.reset_index()))


def in_steps(grown: pd.DataFrame) -> pd.DataFrame:
    """``felix.timeline`` of growth by ``metric``, ``node`` and ``time``: of many samples those of a step together."""
    first, last = grown["time"].min(), grown["time"].max()
    width = (last - first) / STEPS
    if width > grown["seconds"].median() * pd.Timedelta(seconds=1):
        step = np.ceil((grown["time"] - first) / width).clip(lower=1, upper=STEPS)
        grown = grown.assign(time=(first + step * width).astype("datetime64[ns, UTC]"))
    steps = grown.groupby(["metric", "node", "time"], observed=True)[["increase", "seconds"]].sum()
    made = steps["increase"] / steps["seconds"]
    frames = [_step(made, metric, name, unit) for name, (metric, unit) in RATES.items()]
    known = steps.index.get_level_values("metric")
    if f"{APPLY}_sum" in known and f"{APPLY}_count" in known:
        took, times = (steps["increase"].xs(f"{APPLY}_{part}") for part in ("sum", "count"))
        mean = (took / times).where(times > 0).reset_index(name="value")
        frames.append(mean.assign(measure="apply time", unit="s"))
    every = pd.concat(frames, ignore_index=True)
    return every.assign(node=every["node"].astype("str")).sort_values(["measure", "node", "time"], ignore_index=True)


def _step(made: pd.Series[float], metric: str, measure: str, unit: str) -> pd.DataFrame:
    if metric not in made.index.get_level_values("metric"):
        return pd.DataFrame()
    return made.xs(metric).reset_index(name="value").assign(measure=measure, unit=unit)

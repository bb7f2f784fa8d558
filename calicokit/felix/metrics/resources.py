"""What Calico's pods use of processor and memory, beside what they ask for and may have.

The process's own metrics count its process; a calico-node pod runs others too (BIRD, confd), which they leave out.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.own_pods import Home
from calicokit.felix.metrics.tables import POD_OF
from calicokit.health.home import settled
from calicokit.health.resources import quantity
from calicokit.health.tables import COMPONENTS
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

RESOURCES = Schema(
    "felix.resources",
    "CPU and memory of Calico's pods: usage of the scraped process, requests, limits, restarts.",
    (
        Column("component", "str", "calico-node, typha or kube-controllers"),
        Column("node", "str", "node"),
        Column("pod", "str", "pod"),
        Column("processor", "float", "CPUs in use during the series; null without one", "processors"),
        Column("processor_mean", "float", "mean CPUs in use since the process started", "processors"),
        Column("processor_request", "float", "CPU request of its containers; null for none", "processors"),
        Column("processor_limit", "float", "CPU limit; null: no limit", "processors"),
        Column("memory", "float", "memory in use", "bytes"),
        Column("memory_request", "float", "memory request of its containers; null for none", "bytes"),
        Column("memory_limit", "float", "memory limit; null: no limit", "bytes"),
        Column("memory_share", "float", "memory in use, as share of the limit", "0 to 1"),
        Column("process_started", "time", "start of the process"),
        Column("restarts", "int", "container restarts, as the kubelet counts them", "restarts"),
        Column("oom_killed", "bool", "a container's last termination was OOMKilled"),
    ),
    key=("pod",),
)


@table(
    RESOURCES,
    needs={"objects": "pods", "home": "health.home"},
    wants={"health": "health.pods", "metrics": "felix.metrics"},
)
def resources(
    objects: Objects, home: Home, health: pd.DataFrame | None = None, metrics: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each pod of a component that has metrics; see :data:`RESOURCES`."""
    used = _used(metrics) if metrics is not None else {}
    state = {} if health is None else {p: (r, o) for p, r, o in cells(health, "pod", "restarts", "oom_killed")}
    rows = []
    own_pods = settled(home)
    for row in objects.rows(lambda item: _asked(item, own_pods)):
        if row is None:
            continue
        restarts, killed = state.get(row["pod"], (None, None))
        own = used.get(row["pod"], {})
        limit, memory = row["memory_limit"], own.get("memory")
        rows.append({**row, **own, "restarts": restarts, "oom_killed": killed} | _share(memory, limit))
    return RESOURCES.frame(rows)


def _share(memory: float | None, limit: float | None) -> dict[str, Any]:
    return {"memory_share": memory / limit if memory is not None and limit else None}


def _asked(item: Object, home: Home) -> dict[str, Any] | None:
    component = COMPONENTS.get(home.app(item))
    if component not in POD_OF.values() or (item.get("status") or {}).get("phase") != "Running":
        return None
    containers = [c.get("resources") or {} for c in spec(item).get("containers") or []]
    row = {"component": component, "pod": item["metadata"]["name"], "node": spec(item).get("nodeName")}
    for name, resource in (("processor", "cpu"), ("memory", "memory")):
        row[f"{name}_request"] = _sum([(c.get("requests") or {}).get(resource) for c in containers])
        limits = [(c.get("limits") or {}).get(resource) for c in containers]
        row[f"{name}_limit"] = _sum(limits) if all(v is not None for v in limits) else None
    return row


def _sum(given: list[object]) -> float | None:
    numbers = [n for v in given if v is not None and (n := quantity(v)) is not None]
    return sum(numbers) if numbers else None


def _used(metrics: pd.DataFrame) -> dict[str, dict[str, Any]]:
    names = {
        "process_cpu_seconds_total": "processor",
        "process_resident_memory_bytes": "memory",
        "process_start_time_seconds": "process_started",
    }
    own = metrics[metrics["metric"].isin(list(names)) & metrics["pod"].notna()]
    found: dict[str, dict[str, Any]] = {}
    for pod, metric, value, rate, last in cells(own, "pod", "metric", "value", "rate", "last"):
        row = found.setdefault(pod, {})
        if names[metric] == "processor":
            row |= {"processor": rate, "_seconds": value, "_last": last}
        else:
            row[names[metric]] = value
    return {pod: _finished(row) for pod, row in found.items()}


def _finished(row: dict[str, Any]) -> dict[str, Any]:
    """The mean since the start of the process, and that start as a time."""
    seconds, last, started = row.pop("_seconds", None), row.pop("_last", pd.NaT), row.get("process_started")
    if started is None:
        return row
    row["process_started"] = pd.Timestamp(started, unit="s", tz="UTC")
    age = (last - row["process_started"]).total_seconds() if pd.notna(last) else 0.0
    return row | {"processor_mean": seconds / age if seconds is not None and age > 0 else None}

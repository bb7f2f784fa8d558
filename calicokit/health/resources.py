"""CPU and memory usage of Calico's containers, compared with their requests and limits.

Use comes from metrics-server, where the cluster has it; else from the process's own metric
(process_resident_memory_bytes of Felix, Typha, kube-controllers), which is less than what the kernel counts for the
container: of calico-node it leaves out BIRD and confd.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.own_pods import Home
from calicokit.evidence.texts import Texts
from calicokit.health.home import settled
from calicokit.health.tables import COMPONENTS
from calicokit.kube.tables import EVIDENCE
from calicokit.registry import Spared, not_applicable, table
from calicokit.schema import Column, Schema

RESOURCES = Schema(
    "health.resources",
    "Containers of Calico's pods: requests, limits, usage and last termination.",
    (
        Column("component", "str", "calico-node, kube-controllers, typha, …"),
        Column("namespace", "str", "namespace"),
        Column("pod", "str", "pod"),
        Column("node", "str", "its node"),
        Column("container", "str", "container"),
        Column("cpu_request", "float", "CPU request; null where none", "cores"),
        Column("cpu_limit", "float", "CPU limit; null without one", "cores"),
        Column("cpu_used", "float", "CPU usage; null where unknown", "cores"),
        Column("memory_request", "float", "memory request", "bytes"),
        Column("memory_limit", "float", "memory limit, above which it is OOM-killed", "bytes"),
        Column("memory_used", "float", "memory usage", "bytes"),
        Column("memory_share", "float", "usage divided by limit; null without either", "0 to 1"),
        Column(
            "used_by", "str", "source of the usage: metrics-server, or process: the main process's own metrics only"
        ),
        Column("restarts", "int", "restarts", "restarts"),
        Column("last_end", "time", "last termination"),
        Column("last_reason", "str", "reason: OOMKilled, Error, Completed"),
        Column("last_exit", "int", "exit status of the last termination"),
        Column("ready", "bool", "readiness, as the kubelet reports it"),
        EVIDENCE,
    ),
    key=("namespace", "pod", "container"),
)

_UNITS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE]([+-]?\d{1,3})|([KMGTPE]i|[numkMGTPE]))?")
_RESIDENT = re.compile(rb"^process_resident_memory_bytes (\S{1,40})", re.MULTILINE)
_MAIN = {"calico-node": "calico-node", "typha": "calico-typha", "kube-controllers": "calico-kube-controllers"}
"""Component → the container whose main process has metrics."""


def quantity(value: object) -> float | None:
    """A quantity of Kubernetes as a number, None for what is none.

    >>> quantity("250m"), quantity("64Mi"), quantity(2), quantity("1e3"), quantity("much")
    (0.25, 67108864.0, 2.0, 1000.0, None)
    """
    found = _QUANTITY.fullmatch(str(value).strip())
    if not found:
        return None
    number, power, unit = found.groups()
    return float(number) * (10.0 ** int(power) if power else _UNITS[unit or ""])


@table(
    RESOURCES,
    needs={"pods": "pods", "home": "health.home"},
    wants={
        "used": "pod-metrics",
        "felix": "felix-metrics",
        "typha": "typha-metrics",
        "controllers": "kube-controllers-metrics",
    },
)
def resources(
    pods: Objects,
    home: Home,
    used: Objects | None = None,
    felix: Texts | None = None,
    typha: Texts | None = None,
    controllers: Texts | None = None,
) -> pd.DataFrame:
    """One row for each container; see :data:`RESOURCES`."""
    measured = dict(pair for pairs in used.rows(_used) for pair in pairs) if used is not None else {}
    own_pods = settled(home)
    frame = pods.frame(RESOURCES, lambda item: list(_containers(item, own_pods, measured)))
    own = {("calico-node", e.node): r for e in felix or () if (r := _resident(e.text)) is not None}
    for component, texts in (("typha", typha), ("kube-controllers", controllers)):
        alone = frame[frame["component"] == component]["pod"].nunique() == 1  # else whose scrape it is is not known
        found = [r for e in texts or () if (r := _resident(e.text)) is not None]
        if alone and found:
            own[component, None] = found[0]
    said = [_said(row, own) for row in frame.to_dict("records")]
    memory = frame["memory_used"].where(frame["memory_used"].notna(), pd.Series(said, index=frame.index, dtype=float))
    by = frame["used_by"].mask(frame["used_by"].isna() & memory.notna(), "process")
    return RESOURCES.take(frame.assign(memory_used=memory, used_by=by, memory_share=memory / frame["memory_limit"]))


def _said(row: Any, own: dict[tuple[str, str | None], float]) -> float | None:
    """What a container's main process says of its memory."""
    component = row["component"]
    if _MAIN.get(component) != row["container"]:
        return None
    return own.get((component, row["node"] if component == "calico-node" else None))


def _resident(text: bytes) -> float | None:
    found = _RESIDENT.search(text)
    return quantity(found[1].decode("ascii", "replace").replace("+", "")) if found else None


def _containers(item: Object, home: Home, measured: dict[tuple[str, str, str], Object]) -> Iterator[Object]:
    meta, status = item["metadata"], item.get("status") or {}
    component = COMPONENTS.get(home.app(item))
    if component is None:
        return
    states = {s["name"]: s for s in status.get("containerStatuses") or []}
    for container in spec(item).get("containers") or []:
        asked = container.get("resources") or {}
        requests, limits = asked.get("requests") or {}, asked.get("limits") or {}
        usage = measured.get((meta["namespace"], meta["name"], container["name"]), {})
        state = states.get(container["name"], {})
        yield {
            "component": component,
            "namespace": meta["namespace"],
            "pod": meta["name"],
            "node": spec(item).get("nodeName"),
            "container": container["name"],
            "cpu_request": quantity(requests.get("cpu")),
            "cpu_limit": quantity(limits.get("cpu")),
            "cpu_used": quantity(usage.get("cpu")),
            "memory_request": quantity(requests.get("memory")),
            "memory_limit": quantity(limits.get("memory")),
            "memory_used": quantity(usage.get("memory")),
            "used_by": "metrics-server" if usage else None,
            "restarts": state.get("restartCount", 0),
            "ready": state.get("ready"),
            **_ended(state),
        }


def _ended(state: Object) -> Object:
    now: Object = (state.get("state") or {}).get("terminated") or {}
    end: Object = now or (state.get("lastState") or {}).get("terminated") or {}
    return {"last_end": end.get("finishedAt"), "last_reason": end.get("reason"), "last_exit": end.get("exitCode")}


def _used(item: Object) -> list[tuple[tuple[str, str, str], Object]]:
    """Use by namespace, pod and container."""
    meta = item["metadata"]
    return [((meta["namespace"], meta["name"], c["name"]), c["usage"]) for c in item.get("containers") or []]


@not_applicable(needs={"_": "health.resources"})
def _no_metrics_server(_: pd.DataFrame) -> Spared:
    """Many clusters have no metrics-server; each row says itself who measured it, if anybody."""
    yield "pod-metrics", None

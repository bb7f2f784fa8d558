"""What the CNI plugin said, in its log on the nodes and in the kubelet's events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.cni.causes import cause_of, cni_error
from calicokit.evidence.texts import Texts
from calicokit.kube.tables import EVIDENCE
from calicokit.parsers.logs import components as _logs  # noqa: F401 (brings the kind cni-log)
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

STILL = pd.Timedelta(minutes=5)
"""Without pods, an error counts as open if it was seen this recently."""

POD = (
    Column("namespace", "str", "namespace of the pod"),
    Column("pod", "str", "the pod"),
)

RESULTS = Schema(
    "cni.results",
    "Result of each CNI ADD, from the plugin's log; logs are cut at 150,000 bytes.",
    (
        Column("time", "time", "end time"),
        Column("node", "str", "node"),
        *POD,
        Column("container_id", "str", "sandbox"),
        Column("error", "str", "error; null on success"),
        EVIDENCE,
    ),
)

ERRORS = Schema(
    "cni.errors",
    "Pods that the CNI plugin failed to set up: the last error of each, and whether the pod is still waiting.",
    (
        Column("node", "str", "node; null where known only from an event without a host"),
        *POD,
        Column("error", "str", "error message of the plugin"),
        Column("cause", "str", "cause, one word (calicokit.cni.causes)"),
        Column("finding", "str", "finding id for this cause"),
        Column("count", "int", "times seen", "errors"),
        Column("first", "time", "first seen"),
        Column("last", "time", "last seen"),
        Column("open", "bool", "the pod is still waiting for its network"),
        EVIDENCE,
    ),
    key=("namespace", "pod"),
)


@table(RESULTS, needs={"logs": "cni-log"})
def results(logs: Texts) -> pd.DataFrame:
    """One row for each ADD that ended; see :data:`RESULTS`."""
    frames = [_results(frame) for frame in logs.frames("cni-log")]
    return RESULTS.frame({c: [v for f in frames for v in f[c].tolist()] for c in RESULTS.names})


def _results(log: pd.DataFrame) -> pd.DataFrame:
    """The lines of one call share a process id; its error line does not name the pod, others before it do."""
    names = ["namespace", "pod", "container_id"]
    by_workload = log["workload"].map(_pod_of_workload, na_action="ignore")
    log = log.assign(pod=log["pod"].where(log["pod"].notna(), by_workload))
    log[names] = log.groupby("pid")[names].ffill()
    failed = log["message"].str.contains("Final result of CNI ADD was an error", regex=False)
    went_well = log["message"].str.contains("Wrote updated endpoint to datastore", regex=False)
    ended = log[failed.fillna(False).to_numpy(dtype=bool) | went_well.fillna(False).to_numpy(dtype=bool)]
    return ended[RESULTS.names]


def _pod_of_workload(name: str) -> str | None:
    """``node--2-k8s-batch--97-x-eth0`` → the pod's name: single dashes separate, double ones stand for a dash."""
    parts = name.replace("--", "\0").split("-")
    return parts[2].replace("\0", "-") if len(parts) == 4 and parts[1] == "k8s" else None


@table(ERRORS, any_of={"events": "kube.events", "results": "cni.results"}, wants={"pods": "kube.pods", "now": "@now"})
def errors(
    events: pd.DataFrame | None,
    results: pd.DataFrame | None,
    pods: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each pod whose setup failed; see :data:`ERRORS`.

    The log of a call that failed before it knew its pod tells the node only: then namespace and pod are null, and the
    row is open as long as some pod of that node waits.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted([*_from_events(events), *_from_log(results)], key=lambda r: r["last"]):
        key = (row["namespace"], row["pod"]) if row["pod"] else (row["node"], cause_of(row["error"]))
        known = rows.get(key, row)
        row["first"] = min(row["first"], known["first"])
        row["count"] = max(row["count"], known["count"])  # the same failures, told by kubelet and by plugin
        row["node"] = row["node"] or known["node"]
        rows[key] = row
    still = _Still(None if pods is None else _waiting(pods), _last_success(results), now)
    for row in rows.values():
        cause = cause_of(row["error"])
        row |= {"cause": cause.word, "finding": cause.finding, "open": still.waits(row)}
        row["node"] = row["node"] or still.node(row)
    return ERRORS.frame(rows.values())


@dataclass(frozen=True)
class _Still:
    """Whether what failed still waits: told by the pods where they are known, else by time and later success."""

    waiting: dict[tuple[str, str], str] | None
    succeeded: dict[tuple[str, str], pd.Timestamp]
    now: pd.Timestamp | None

    def waits(self, row: dict[str, Any]) -> bool:
        key = (row["namespace"], row["pod"])
        if self.waiting is not None and row["pod"]:
            return key in self.waiting
        recent = self.now is None or self.now - row["last"] <= STILL
        if self.waiting is not None:
            return recent and row["node"] in self.waiting.values()
        return recent and not (key in self.succeeded and self.succeeded[key] > row["last"])

    def node(self, row: dict[str, Any]) -> str | None:
        return (self.waiting or {}).get((row["namespace"], row["pod"]))


def _from_events(events: pd.DataFrame | None) -> list[dict[str, Any]]:
    if events is None:
        return []
    of_pods = events[(events["kind"] == "Pod") & (events["reason"] == "FailedCreatePodSandBox")]
    of_pods = of_pods.assign(error=of_pods["message"].map(cni_error, na_action="ignore"), pod=of_pods["name"])
    return _last_of_each(of_pods, "last", of_pods["count"])


def _from_log(results: pd.DataFrame | None) -> list[dict[str, Any]]:
    if results is None:
        return []
    failed = results.assign(first=results["time"], last=results["time"])
    return _last_of_each(failed, "time", pd.Series(1, index=failed.index))


def _last_of_each(failures: pd.DataFrame, when: str, counts: pd.Series[int]) -> list[dict[str, Any]]:
    """The last failure of each pod (or node and error, where no pod is known), with how often and since when."""
    failed = failures.assign(count=counts)[failures["error"].notna() & failures[when].notna()].sort_values(when)
    failed["about"] = failed["error"].where(failed["pod"].isna(), "")
    rows = []
    for _, group in failed.groupby(["namespace", "pod", "node", "about"], dropna=False):
        last = group.iloc[-1]
        named = {c: last[c] if isinstance(last[c], str) else None for c in ("namespace", "pod", "node")}
        times = {"count": int(group["count"].sum()), "first": group["first"].min(), "last": group["last"].max()}
        rows.append({**named, **times, "error": last["error"], "evidence": last["evidence"]})
    return rows


def _waiting(pods: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Pods with a node, without an address, that have not ended and are not being deleted: (namespace, pod) → node."""
    own = pods[~pods["host_network"] & pods["node"].notna() & ~pods["finished"] & pods["deleted"].isna()]
    own = own[pd.Series([not a for a in own["addresses"]], index=own.index, dtype=bool)]
    return {(namespace, pod): node for namespace, pod, node in cells(own, "namespace", "pod", "node")}


def _last_success(results: pd.DataFrame | None) -> dict[tuple[str, str], pd.Timestamp]:
    if results is None:
        return {}
    well = results[results["error"].isna() & results["pod"].notna()]
    last = well.groupby(["namespace", "pod"], as_index=False)["time"].max()
    return {(n, p): t for n, p, t in cells(pd.DataFrame(last), "namespace", "pod", "time")}

"""Checks of Calico's own components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.diagnosis.model import Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always
from calicokit.kube.tables import pod_ref
from calicokit.schema import records

STARTING = pd.Timedelta(seconds=90)
"""A pod younger than this is starting."""

KEEPS = 3
RECENT = pd.Timedelta(hours=1)
"""A pod keeps restarting if it did so three times and last within the hour, or waits to be restarted."""


@check("datastore-not-ready", needs={"datastore": "health.datastore"})
def datastore_not_ready(datastore: pd.DataFrame) -> Iterator[Finding]:
    """ClusterInformation says that the datastore is locked."""
    for row in records(datastore[datastore["datastore_ready"].eq(False)]):
        yield finding(
            "datastore-not-ready",
            subject={},
            cause="ClusterInformation has datastoreReady: false, so IPAM is locked and new pods get no network.",
            remedy="If no migration or upgrade is running, unlock it: calicoctl datastore migrate unlock.",
            evidence=[Rows.of("clusterinformations", "health.datastore", [{"evidence": row.evidence}])],
        )


@check("calico-pod-oomkilled", needs={"pods": "health.pods"}, printed=("health.pods",))
def oom_killed(pods: pd.DataFrame) -> Iterator[Finding]:
    """A container of Calico's was killed for want of memory."""
    for pod in records(pods[pods["oom_killed"]]):
        yield finding(
            "calico-pod-oomkilled",
            subject={"pod": pod_ref(pod)},
            cause=f"A container of {pod_ref(pod)}{_place(pod)} was OOM-killed ({_when(pod)}; {pod.restarts} restarts).",
            remedy=f"Raise the memory limit of {pod.component}, or find what grows: process_resident_memory_bytes in "
            "its metrics, the number of policies and endpoints.",
            evidence=[_row(pod)],
        )


@check("calico-pod-restarting", needs={"pods": "health.pods"}, wants={"now": "@now"}, printed=("health.pods",))
def restarting(pods: pd.DataFrame, now: pd.Timestamp | None = None) -> Iterator[Finding]:
    """A Calico pod keeps restarting, now."""
    recent = pods["last_exit"].notna() if now is None else now - pods["last_exit"] <= RECENT
    again = (pods["waiting"] == "CrashLoopBackOff") | ((pods["restarts"] >= KEEPS) & recent)
    for pod in records(pods[again & pods["deleted"].isna()]):
        yield finding(
            "calico-pod-restarting",
            subject={"pod": pod_ref(pod)},
            cause=f"{pod_ref(pod)}{_place(pod)} has restarted {pod.restarts} times, {_when(pod)}"
            + (f"; now waiting: {pod.waiting}." if isinstance(pod.waiting, str) else "."),
            remedy=f"kubectl logs {_named(pod)} --previous; kubectl describe pod {_named(pod)}.",
            evidence=[_row(pod)],
        )


@check(
    "calico-pod-not-ready",
    needs={"pods": "health.pods"},
    wants={
        "now": "@now",
        "conditions": "health.node_conditions",
        "probes": "health.bird_readiness",
        "birds": "bgp.birds",
        "sessions": "bgp.sessions",
    },
    printed=("health.pods",),
)
def not_ready(
    pods: pd.DataFrame,
    now: pd.Timestamp | None = None,
    conditions: pd.DataFrame | None = None,
    probes: pd.DataFrame | None = None,
    birds: pd.DataFrame | None = None,
    sessions: pd.DataFrame | None = None,
) -> Iterator[Finding]:
    """A Calico pod that should be ready is not, by the kubelet or BIRD's probe; one that is starting is a warning."""
    down = pods[~pods["ready"] & ~pods["phase"].isin(["Succeeded"]) & pods["deleted"].isna()]
    lost = set() if conditions is None else set(_down(conditions))
    for pod in records(down):
        young = now is not None and now - pod.created <= STARTING
        why = [str(t) for t in (pod.waiting, pod.message) if isinstance(t, str)]
        if pod.node in lost:
            why.append("its node is not ready either")
        if young:
            why.append("it was created less than 90 s ago")
        yield finding(
            "calico-pod-not-ready",
            severity="warning" if young else "",
            subject={"pod": pod_ref(pod)},
            cause=f"{pod_ref(pod)} ({pod.component}){_place(pod)} is not ready: {'; '.join(why) or 'no reason given'}.",
            remedy=f"Run kubectl describe pod {_named(pod)} for the probe's result, then read its logs.",
            evidence=[_row(pod)],
        )
    if probes is not None:
        yield from _bird_says_no(pods, probes, birds, sessions)


def _bird_says_no(
    pods: pd.DataFrame, probes: pd.DataFrame, birds: pd.DataFrame | None, sessions: pd.DataFrame | None
) -> Iterator[Finding]:
    """BIRD's probe says no where BGP is in use, and neither the kubelet, nor BIRD nor its sessions tell why."""
    said = {r.node: r for r in records(probes[probes["ready"].eq(False).fillna(False)])}
    told = set() if birds is None else set(birds[birds["state"] == "dead"]["node"])
    told |= set() if sessions is None else {str(n) for n in sessions[~sessions["up"].fillna(False)]["node"].unique()}
    own = pods[(pods["component"] == "calico-node") & pods["ready"] & pods["deleted"].isna()]
    for pod in records(own[own["node"].isin(set(said) - told)]):
        probe = said[pod.node]
        key = {"node": pod.node, "family": int(probe.family)}
        source = "bird6-ready" if probe.family == 6 else "bird-ready"
        yield finding(
            "calico-pod-not-ready",
            severity="warning",
            subject={"pod": pod_ref(pod)},
            cause=f"BIRD's readiness probe on {pod.node} says no ({pod_ref(pod)}, calico-node): "
            f"{probe.said if isinstance(probe.said, str) else 'without a reason'}.",
            remedy="Look at bgp.sessions for the peers that it names, and at BIRD's log.",
            evidence=[Rows.of(source, "health.bird_readiness", [key], pod.node)],
        )


@check("nodename-mismatch", needs={"names": "health.nodenames", "nodes": "kube.nodes"}, absence=True)
def nodename_mismatch(names: pd.DataFrame, nodes: pd.DataFrame) -> Iterator[Finding]:
    """Calico on a node goes by a name that is not the node's: its addresses and policy are kept under another name."""
    for row in records(names[names["name"].notna() & (names["name"] != names["node"])]):
        known = bool((nodes["node"] == row.name).any())
        torn = not known and _is_torn(row.name, row.node)
        other = "another node's name" if known else "no node's name"
        other += ", but what a damaged file would hold; look at it" if torn else ""
        yield finding(
            "nodename-mismatch",
            severity="info" if torn else "",
            subject={"node": row.node},
            cause=f"calico-node on {row.node} uses the name {row.name}, which is {other}.",
            remedy="Set NODENAME of calico-node from spec.nodeName (as the manifests do), remove "
            "/var/lib/calico/nodename on the node, and restart calico-node there.",
            evidence=[Rows.of("nodename", "health.nodenames", [{"node": row.node}], row.node)],
        )


def _is_torn(name: str, node: str) -> bool:
    """Whether a name is a node's with one bit of it turned, or cut anywhere but at a dot, as short host names are.

    >>> _is_torn("nofe-1", "node-1"), _is_torn("nod", "node-1"), _is_torn("ip-10-0-0-7", "ip-10-0-0-7.ec2.internal")
    (True, True, False)
    """
    if len(name) < len(node):
        return node.startswith(name) and node[len(name)] != "."
    turned = [ord(a) ^ ord(b) for a, b in zip(name, node, strict=False) if a != b]
    return len(name) == len(node) and len(turned) == 1 and turned[0].bit_count() == 1


def _down(conditions: pd.DataFrame) -> pd.Series[str]:
    return conditions[(conditions["condition"] == "Ready") & ~conditions["good"]]["node"]


def _when(pod: Any) -> str:
    reason = f" ({pod.last_reason})" if isinstance(pod.last_reason, str) else ""
    return "time unknown" if pd.isna(pod.last_exit) else f"last at {pod.last_exit:%Y-%m-%d %H:%M:%S} UTC{reason}"


def _place(pod: Any) -> str:
    """Where a pod is; nothing where it has a node that was not printed."""
    if isinstance(pod.node, str):
        return f" on {pod.node}"
    return " without a node" if pod.phase == "Pending" and not isinstance(pod.waiting, str) else ""


def _named(pod: Any) -> str:
    """The pod as kubectl wants it; without its namespace where that was not printed."""
    return f"-n {pod.namespace} {pod.pod}" if isinstance(pod.namespace, str) else str(pod.pod)


def _row(pod: Any) -> Rows:
    return Rows.of("pods", "health.pods", [{"namespace": pod.namespace, "pod": pod.pod}], pod.node)


explains("calico-pod-oomkilled", "calico-pod-restarting", on="pod")(always)
explains("calico-pod-oomkilled", "calico-pod-not-ready", on="pod")(always)
explains("calico-pod-restarting", "calico-pod-not-ready", on="pod")(always)

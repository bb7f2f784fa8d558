"""Checks of Felix, Typha and their way to the API server. What each finding is called: diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.cni.checks import error_rows, named
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always, of_calico_node, seen_on
from calicokit.felix.state.health import SILENT
from calicokit.health.checks import STARTING
from calicokit.schema import cells, records
from calicokit.sentences import listed, plural

# ---- Felix itself


@check(
    "felix-dead",
    "felix-not-ready",
    needs={"state": "felix.state"},
    wants={"reporters": "felix.reporters"},
    absence=True,
)
def dead_or_not_ready(state: pd.DataFrame, reporters: pd.DataFrame | None = None) -> Iterator[Finding]:
    """A node on which Felix does not run, or runs and is not in sync, or of which it is not known yet."""
    for row in records(state[state["state"] == "dead"]):
        yield finding(
            "felix-dead",
            subject={"node": row.node},
            cause=f"Felix is not running on {row.node}: {row.told}. The node enforces what was last programmed.",
            remedy=f"Read the end of its log (kubectl logs of the calico-node pod on {row.node}, also --previous), "
            "and restart that pod.",
            evidence=_told_by(row),
            about={row.node, *([SILENT] if row.answer == SILENT else ())},
        )
    for row in records(state[state["state"] == "not-ready"]):
        parts = _parts(reporters, row.node)
        why = row.why if isinstance(row.why, str) else UNKNOWN
        yield finding(
            "felix-not-ready",
            subject={"node": row.node, "why": why},
            cause=f"Felix on {row.node} is running but not ready: {row.told}{parts}.",
            remedy=REMEDIES.get(why, "Read its log for the part that is not ready."),
            evidence=_told_by(row),
            about={row.node},
        )

    for row in records(state[state["state"].isin(list(PASSING))]):
        yield finding(
            "felix-not-ready",
            severity="warning",
            subject={"node": row.node, "why": row.state},
            cause=f"Felix on {row.node} {PASSING[row.state]}: {row.told}.",
            remedy="Look again in half a minute: if it is not ready then, read the end of its log (kubectl logs of the "
            f"calico-node pod on {row.node}).",
            evidence=_told_by(row),
            about={row.node},
        )


PASSING = {"just-ended": "has just ended and is not back", "starting": "is starting and not ready yet"}
"""States that pass, or are the first sign of a fault: what tells them apart is time."""

REMEDIES = {
    "datastore-unreachable": "Check connectivity from the node to the API server.",
    "typha-unreachable": "Check connectivity from the node to Typha: its pods, its Service, TCP 5473.",
    "dataplane-stuck": "Check its log for dataplane programming: a failing or hanging iptables, nft or ip command, a "
    "held xtables lock.",
    "resyncing": "Check whether the API server or Typha answers this node, and how large the cluster is.",
    "port-unreachable": "Find what blocks 127.0.0.1 from Felix's health port (9099): a host endpoint's policy, a "
    "firewall rule on lo, or healthEnabled: false.",
}


def _told_by(row: Any) -> list[Rows]:
    """The evidence of a node's state: what its port answered, and its log."""
    key = [{"node": row.node}]
    asked = [Rows.of("felix-ready", "health.readiness", key, row.node)] if isinstance(row.answer, str) else []
    logged = [Rows.of("felix-log", "felix.runs", key, row.node)] if pd.notna(row.log_until) else []
    return asked + logged or [Rows.of("felix-metrics", "felix.state", key, row.node)]


def _parts(reporters: pd.DataFrame | None, node: str) -> str:
    """The parts of Felix that are not ready, in words."""
    if reporters is None:
        return ""
    bad = reporters[(reporters["node"] == node) & reporters["ready"].eq(False)]
    said = [f"{r.reporter} is {r.reason}{f' ({r.detail})' if isinstance(r.detail, str) else ''}" for r in records(bad)]
    return f"; its log: {', '.join(said)}" if said else ""


@check("felix-resyncing", needs={"resyncs": "felix.resyncs"})
def resyncing(resyncs: pd.DataFrame) -> Iterator[Finding]:
    """Felix writes the same chains again and again, as somebody else changes them."""
    for node, group in resyncs[resyncs["again"]].groupby("node"):
        worst = group.sort_values("times").iloc[-1]
        more = f", and {plural(len(group) - 1, 'more chain')}" if len(group) > 1 else ""
        yield finding(
            "felix-resyncing",
            subject={"node": str(node)},
            cause=f"Felix on {node} found {worst['table']} chain {worst['chain']} modified by another program "
            f"{worst['times']} times after its first minute, last at {worst['last']:%H:%M:%S} UTC{more}.",
            remedy="Find what else writes this table: a firewall manager, a script, a second Felix or another CNI, "
            "kube-proxy with another iptables backend.",
            evidence=[
                Rows.of(
                    "felix-log",
                    "felix.resyncs",
                    [{"node": node, "table": t, "chain": c} for t, c in cells(group, "table", "chain")],
                    str(node),
                )
            ],
            about={str(node)},
        )


# ---- the API server


@check("datastore-unreachable", needs={"unreachable": "felix.unreachable"}, wants={"errors": "cni.errors"})
def datastore_unreachable(unreachable: pd.DataFrame, errors: pd.DataFrame | None = None) -> Iterator[Finding]:
    """A node from which Calico does not reach the API server: Felix, confd, Typha or the CNI plugin say so."""
    for name, group in unreachable.groupby("node", dropna=False):
        node = name if isinstance(name, str) else UNKNOWN
        pods = sorted({p for ps in group["pods"] if isinstance(ps, list) for p in ps})
        yield finding(
            "datastore-unreachable",
            subject={"node": node},
            cause=f"On {node} {listed(NAMES[c] for c in group['component'])} cannot reach the API server, since "
            f"{group['since'].min():%H:%M:%S} UTC at the latest: {str(group['error'].iloc[0])[:300]}"
            + (f" ({named(pods)})." if pods else "."),
            remedy="Check connectivity from the node to the API server, by its service address and directly: "
            "kube-proxy, routes, firewall rules; and whether the API server is up.",
            evidence=[*_logs(group, node), *_waiting(errors, name)],
            about={node, *group["component"]},
        )


def _logs(group: pd.DataFrame, node: str) -> Iterator[Rows]:
    for component in group[group["component"] != "cni"]["component"]:
        key = {"node": node, "component": component, "to": "datastore"}
        yield Rows.of(f"{component}-log", "felix.contact", [key], None if component == "typha" else node)


def _waiting(errors: pd.DataFrame | None, node: Any) -> list[Rows]:
    if errors is None:
        return []
    ours = errors[errors["open"] & (errors["finding"] == "datastore-unreachable")]
    return error_rows(ours[ours["node"].eq(node) if isinstance(node, str) else ours["node"].isna()])


NAMES = {"felix": "Felix", "confd": "confd", "typha": "Typha", "cni": "the CNI plugin"}

# ---- Typha


@check("typha-down", needs={"typha": "felix.typha"}, wants={"now": "@now"}, absence=True)
def typha_down(typha: pd.DataFrame, now: pd.Timestamp | None = None) -> Iterator[Finding]:
    """A Typha that is deployed or configured, and nobody reaches."""
    for row in records(typha):
        why = _down(row, now)
        if not why:
            continue
        yield finding(
            "typha-down",
            subject={},
            cause=f"Typha is down: {why}. Without it Felix receives no updates.",
            remedy="Check the calico-typha pods (kubectl describe, logs), its Service and EndpointSlices, TCP 5473 "
            "to its nodes, and the certificates where the error says tls or x509.",
            evidence=[
                *(Rows.of("felix-log", "felix.contact", [{"node": n, "to": "typha"}], n) for n in row.failing),
                Rows.of("deployments" if pd.notna(row.replicas) else "pods", "felix.typha", [{"how": row.how}]),
            ],
            about=set(row.failing),
        )


def _down(row: Any, now: pd.Timestamp | None) -> str:
    """Why Typha is down; empty where it is not, or nobody needs it."""
    if row.connected or (pd.notna(row.connections) and row.connections > 0 and not row.failing):
        return ""
    if row.failing:
        return f"Felix on {listed(row.failing)} cannot connect to it ({row.error})"
    needed = bool(pd.notna(row.configured) and row.configured) or (pd.notna(row.replicas) and row.replicas > 0)
    if not needed:
        return ""
    if pd.notna(row.pods) and row.pods == 0:
        return f"it is configured ({row.how or 'its Deployment'}) but has no pod"
    long = pd.isna(row.unready_since) or now is None or now - row.unready_since > STARTING
    if pd.notna(row.ready_pods) and row.ready_pods == 0 and long:
        return f"none of its {plural(row.pods, 'pod')} is ready"
    if pd.notna(row.endpoints) and row.endpoints == 0 and long:
        return "its Service has no ready endpoint"
    return ""


@check("typha-too-few", needs={"typha": "felix.typha"})
def typha_too_few(typha: pd.DataFrame) -> Iterator[Finding]:
    """Fewer replicas of Typha than the number of nodes asks for."""
    for row in records(typha):
        replicas = row.replicas if pd.notna(row.replicas) else row.pods
        if pd.isna(replicas) or not replicas or replicas >= needed_typhas(row.nodes):
            continue
        yield finding(
            "typha-too-few",
            subject={},
            cause=f"{plural(replicas, 'replica')} of Typha serve{'s' if replicas == 1 else ''} {row.nodes} nodes; "
            f"recommended are {needed_typhas(row.nodes)} (one per 200 nodes, at least three above 100 nodes).",
            remedy=f"kubectl scale deployment calico-typha --replicas={needed_typhas(row.nodes)} (the operator scales "
            "it by itself: check why it did not).",
            evidence=[
                Rows.of("deployments" if pd.notna(row.replicas) else "pods", "felix.typha", [{"nodes": row.nodes}])
            ],
        )


MANY_NODES = 100
NODES_EACH = 200


def needed_typhas(nodes: int) -> int:
    """How many replicas of Typha so many nodes ask for: one for each 200, three above 100 nodes.

    >>> [needed_typhas(n) for n in (4, 100, 101, 600, 601)]
    [1, 1, 3, 3, 4]
    """
    return max(-(-int(nodes) // NODES_EACH), 3 if nodes > MANY_NODES else 1)


# ---- what explains what


def _pod_of_it(cause: Finding, effect: Finding) -> bool:
    return "calico-node" in cause.cause and effect.subject["node"] in seen_on(cause)


for _effect in ("felix-dead", "felix-not-ready", "felix-slow", "log-error-burst", "cni-error"):
    explains("datastore-unreachable", _effect, on="node")(always)
for _effect in ("felix-slow", "log-error-burst", "felix-resyncing"):
    explains("felix-dead", _effect, on="node")(always)
    explains("felix-not-ready", _effect, on="node")(always)
explains("rp-filter-loose", "felix-dead", on="node")(always)
for _effect in ("felix-dead", "felix-not-ready"):
    explains("calico-pod-oomkilled", _effect)(_pod_of_it)
for _cause in ("felix-dead", "felix-not-ready", "datastore-unreachable"):
    explains(_cause, "calico-pod-not-ready", on="node", of=seen_on)(of_calico_node)
    explains(_cause, "calico-pod-restarting", on="node", of=seen_on)(of_calico_node)


@explains("iptables-backend-mixed", "felix-resyncing")
def _two_backends(cause: Finding, effect: Finding) -> bool:
    return effect.subject["node"] in cause.subject["nodes"]


for _cause in ("host-network-manager-interferes", "cni-conflict", "foreign-drop-rule"):
    explains(_cause, "felix-resyncing", on="node")(always)


@explains("datastore-unreachable", "typha-down")
def _typha_knows_nothing(cause: Finding, effect: Finding) -> bool:
    return "typha" in cause.about


@explains("typha-down", "felix-not-ready")
def _waits_for_typha(cause: Finding, effect: Finding) -> bool:
    passing = effect.subject["why"] in PASSING and (effect.subject["node"] in cause.about or "Typha" in effect.cause)
    return passing or effect.subject["why"] in ("typha-unreachable", "startup", "resyncing", UNKNOWN)


@explains("typha-down", "felix-dead")
def _gave_up(cause: Finding, effect: Finding) -> bool:
    return effect.subject["node"] in cause.about or "Typha" in effect.cause


@explains("typha-down", "dataplane-stale")
def _not_told(cause: Finding, effect: Finding) -> bool:
    return effect.severity == "critical"


@explains("typha-down", "log-error-burst")
def _complains(cause: Finding, effect: Finding) -> bool:
    return effect.subject["node"] in cause.about


@explains("typha-down", "calico-pod-not-ready")
def _typha_itself(cause: Finding, effect: Finding) -> bool:
    return "typha" in effect.cause or any(rows.node in cause.about for rows in effect.evidence)


explains("typha-down", "typha-too-few")(always)


@explains("calico-pod-oomkilled", "typha-down")
@explains("calico-pod-restarting", "typha-down")
def _its_pods(cause: Finding, effect: Finding) -> bool:
    return "typha" in cause.subject["pod"]


for _effect in ("felix-not-ready", "datastore-unreachable"):
    explains("hostendpoint-lockout", _effect, on="node")(always)


@explains("hostendpoint-lockout", "felix-dead", on="node")
def _locked_out(cause: Finding, effect: Finding) -> bool:
    """A port that is cut off looks like a Felix that hangs; one that refuses is not cut off."""
    return SILENT in effect.about


@explains("hostendpoint-lockout", "typha-down")
def _typha_locked_out(cause: Finding, effect: Finding) -> bool:
    return "Typha" in cause.cause


@explains("foreign-drop-rule", "felix-dead", on="node")
@explains("foreign-drop-rule", "felix-not-ready", on="node")
def _walled_in(cause: Finding, effect: Finding) -> bool:
    return bool({"the API server", "Typha"} & cause.about)

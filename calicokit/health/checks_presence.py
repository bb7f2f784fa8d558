"""Checks of what should be there: calico-node's pod on each node, its startup, and what the operator says of it all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always, named_or_about, of_calico_node, seen_on
from calicokit.health.operator import AVAILABLE, DEGRADED
from calicokit.schema import records
from calicokit.sentences import listed

LONGEST = 300
JOINING = pd.Timedelta(seconds=15)
"""A DaemonSet's pod is made within seconds of its node, and ends within its grace period of 5 s and some."""
PAST = pd.Timedelta(minutes=30)
"""A failed start that lies so far back, on a node of which nothing else is known, tells nothing of now."""

# ---- calico-node's pod


@check("calico-node-absent", needs={"pods": "health.node_pods"}, wants={"now": "@now"}, absence=True)
def node_absent(pods: pd.DataFrame, now: pd.Timestamp | None = None) -> Iterator[Finding]:
    """A node whose pods need Calico, or that the DaemonSet wants, has no calico-node pod."""
    for row in records(pods[pods["state"].isin(["absent", "ending"])]):
        young = now is not None and pd.notna(row.since) and now - row.since <= JOINING and not row.pods
        why = row.why if isinstance(row.why, str) else "ending"
        yield finding(
            "calico-node-absent",
            severity="warning" if young else "",
            subject={"node": row.node, "why": why},
            cause=f"{row.node} has no {_name(row.system)} pod: {row.told}"
            + (_JUST[row.state] if young else f".{_users(row.pods)}"),
            remedy=REMEDIES.get(why, REMEDIES["missing"]),
            evidence=[Rows.of("nodes", "health.node_pods", [{"node": row.node}])],
            about={row.node, *row.pods},
        )


_JUST = {"absent": "; the node has just joined.", "ending": "; it is being replaced."}


def _name(system: str) -> str:
    return "calico-node-windows" if system == "windows" else "calico-node"


def _users(pods: list[str]) -> str:
    """What it costs, in words."""
    if not pods:
        return " Pods that start there get no network."
    return f" {listed(pods, 3)} {'depends' if len(pods) == 1 else 'depend'} on it: policy and routes there go stale."


REMEDIES = {
    "missing": "kubectl describe daemonset calico-node (namespace calico-system or kube-system) shows its events; "
    "check that the controller manager runs, and what deleted the pod.",
    "pending": "kubectl describe the pending pod: the scheduler says what keeps it away (resources, ports, volumes).",
    "quota": "Raise or remove the ResourceQuota of the namespace, or let it admit the priority class of calico-node "
    "(system-node-critical).",
    "taint": "Add a toleration for this taint to calico-node (manifests tolerate all NoSchedule and NoExecute; "
    "operator: spec.calicoNodeDaemonSet), or keep pods that need Calico off the node.",
    "node-selector": "Label the node, or take the term out of calico-node's nodeSelector (operator: "
    "spec.calicoNodeDaemonSet), or keep pods that need Calico off the node.",
    "affinity": "Change calico-node's node affinity so that it selects the node, or keep pods that need Calico off it.",
    "ending": "The old pod does not end: kubectl describe it, and check the kubelet of its node.",
}

# ---- startup and init containers


@check(
    "calico-startup-failed", needs={"startups": "health.startups"}, wants={"pods": "health.node_pods", "now": "@now"}
)
def startup_failed(
    startups: pd.DataFrame, pods: pd.DataFrame | None = None, now: pd.Timestamp | None = None
) -> Iterator[Finding]:
    """calico-node's startup, or an init container, refuses to go on, and says why."""
    ready = set() if pods is None else set(pods[pods["state"] == "ready"]["node"])
    for row in records(startups[startups["state"].isin(["failed", "waiting"])]):
        past = now is not None and pd.notna(row.last) and now - row.last > PAST
        if row.node in ready or (row.log == "startup-previous-log" and past):
            continue
        what = "an init container of calico-node" if row.log == "init-log" else "calico-node's startup"
        how = "waits for the datastore" if row.state == "waiting" else "refuses to go on"
        bridge = isinstance(row.interface, str) and row.why == "address-in-use"
        hint = f" It took the address of {row.interface}, which autodetection chose." if bridge else ""
        yield finding(
            "calico-startup-failed",
            subject={"node": row.node, "why": row.why if isinstance(row.why, str) else UNKNOWN},
            cause=f"On {row.node} {what} {how}: {_short(row.message)}.{hint}",
            remedy=_START_REMEDIES.get(row.why, _START_REMEDIES["unknown"]),
            evidence=[Rows.of(row.log, "health.startups", [{"node": row.node}], row.node)],
            about={row.node},
        )


_AUTODETECT = "IP_AUTODETECTION_METHOD (operator: nodeAddressAutodetectionV4 of Installation)"
_START_REMEDIES = {
    "address-in-use": f"Two nodes have this address: set {_AUTODETECT} so that the node's own interface is chosen, not "
    "a bridge that every node has (skip-interface=docker.*,br-.*; or kubernetes-internal-ip); or remove a Calico node "
    "of before that keeps the address (calicoctl get nodes -o wide).",
    "no-interface-matches": f"No interface of the node fits: set {_AUTODETECT} to one that exists on every node, "
    "such as kubernetes-internal-ip or can-reach=ADDRESS.",
    "address-not-found": "The address that calico-node was given (IP, IP6) is none of the node's: correct it, or let "
    "it be detected (IP=autodetect).",
    "datastore": "Check connectivity from the node to the API server (kube-proxy, routes, firewall), and the service "
    "account calico-node with its ClusterRole; x509 and unauthorized mean its credentials.",
    "unknown": "Read the whole log (kubectl logs of the calico-node pod, also --previous and -c install-cni).",
}


def _short(text: object) -> str:
    words = " ".join(str(text).split())
    return (words if len(words) <= LONGEST else f"{words[:LONGEST]}…").rstrip(".")


# ---- the operator


@check("operator-degraded", needs={"operator": "health.operator"}, printed=("health.operator",))
def operator_degraded(operator: pd.DataFrame) -> Iterator[Finding]:
    """The operator says of a component that it is degraded, or not available."""
    bad = operator[operator["condition"].isin([DEGRADED, AVAILABLE]) & operator["good"].eq(False).fillna(False)]
    other, softer = bad["kind"] != "TigeraStatus", bad["condition"] != DEGRADED
    order = bad.assign(place=2 * other.astype("int64") + softer.astype("int64")).sort_values("place", kind="stable")
    for component, group in order.groupby("component", sort=True):
        row = next(records(group))
        reason = next((r for r in group["reason"] if isinstance(r, str)), UNKNOWN)
        messages = list(dict.fromkeys(str(m).strip() for m in group["message"] if isinstance(m, str)))
        moves = operator[(operator["component"] == component) & (operator["condition"] == "Progressing")]
        progress = " It is progressing." if (moves["status"] == "True").any() else ""
        since = f" since {row.since:%Y-%m-%d %H:%M:%S} UTC" if pd.notna(row.since) else ""
        state = "degraded" if row.condition == DEGRADED else "not available"
        said = _short("; ".join(messages) or reason)
        yield finding(
            "operator-degraded",
            subject={"component": str(component), "reason": reason},
            cause=f"The operator reports {component} as {state}{since}: {said}.{progress}",
            remedy=f"kubectl describe tigerastatus {component}; the operator's log (namespace tigera-operator) says "
            "more. It is an effect where another finding names the cause.",
            evidence=[_row(r) for r in records(group)],
            about={str(component), reason},
        )


def _row(row: Any) -> Rows:
    key = {"kind": row.kind, "component": row.component, "condition": row.condition}
    return Rows.of(row.evidence, "health.operator", [key])


# ---- what explains what


ON_ITS_NODE = (
    *("felix-dead", "felix-not-ready", "felix-crashing", "felix-slow", "felix-resyncing", "bird-dead"),
    *("pod-route-missing", "cni-error", "dataplane-stale", "dataplane-program-failing", "bgp-config-stale"),
    *("datastore-unreachable", "log-error-burst", "calico-startup-failed", "node-address-wrong"),
)
for _effect in ON_ITS_NODE:
    explains("calico-node-absent", _effect, on="node")(always)
for _effect in ("bgp-session-down", "vxlan-blocked", "ipip-blocked", "wireguard-down"):
    explains("calico-node-absent", _effect, on="node", of=named_or_about)(always)
for _effect in (
    "felix-dead",
    "felix-not-ready",
    "felix-slow",
    "dataplane-stale",
    "bird-dead",
    "log-error-burst",
    "cni-error",
):
    explains("calico-startup-failed", _effect, on="node")(always)
explains("calico-startup-failed", "bgp-session-down", on="node", of=named_or_about)(always)
for _cause in ("calico-node-absent", "calico-startup-failed"):
    for _effect in ("calico-pod-not-ready", "calico-pod-restarting"):
        explains(_cause, _effect, on="node", of=seen_on)(of_calico_node)
for _cause in ("datastore-unreachable", "cni-unauthorized"):
    explains(_cause, "calico-startup-failed")(lambda cause, effect: effect.subject["why"] == "datastore")
for _cause in ("node-address-wrong", "ipam-duplicate"):
    explains(_cause, "calico-startup-failed")(lambda cause, effect: effect.subject["why"] == "address-in-use")

OF_CALICO = (
    *("calico-node-absent", "calico-startup-failed", "felix-crashing", "calico-pod-oomkilled", "calico-pod-restarting"),
    *("calico-pod-not-ready", "typha-down", "felix-dead", "felix-not-ready", "bird-dead", "datastore-not-ready"),
)


def _of_calico(cause: Finding, effect: Finding) -> bool:
    """The component calico is calico-node, Typha and kube-controllers."""
    return bool(effect.subject["component"] == "calico" and cause.severity != "info")


for _cause in OF_CALICO:
    explains(_cause, "operator-degraded")(_of_calico)


@explains("calico-apiserver-down", "operator-degraded")
def _of_its_server(cause: Finding, effect: Finding) -> bool:
    low = effect.cause.lower()
    return effect.subject["component"] == "apiserver" or "api server" in low or "projectcalico.org/v3" in low


@explains("crd-or-rbac-missing", "operator-degraded")
@explains("datastore-unreachable", "operator-degraded")
def _cannot_read(cause: Finding, effect: Finding) -> bool:
    low = effect.cause.lower()
    return any(
        w in low for w in ("forbidden", "no matches for kind", "could not find the requested resource", "dial tcp")
    )

"""Whether a DaemonSet's pods may run on a node: its node selector, required affinity, taints and tolerations.

Kubernetes' own rules: pkg/controller/daemon/daemon_controller.go (NodeShouldRunDaemonPod), the tolerations that it adds
in pkg/controller/daemon/util/daemonset_util.go, and component-helpers/scheduling/corev1 for affinity and taints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ADDED = (
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/pid-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"},
)
"""Tolerations that every pod of a DaemonSet gets; the last one those with the host's network, as calico-node's."""


def keeps_away(pod: Mapping[str, Any], node: Mapping[str, Any]) -> tuple[str, str] | None:
    """What keeps pods of this spec off a node, as a word and in a sentence; None where nothing does.

    >>> keeps_away({"nodeSelector": {"gpu": "true"}}, {"metadata": {"name": "n", "labels": {}}})
    ('node-selector', 'its nodeSelector gpu=true does not select the node')
    """
    labels = (node.get("metadata") or {}).get("labels") or {}
    for key, value in (pod.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return "node-selector", f"its nodeSelector {key}={value} does not select the node"
    if not _affine(pod, labels, str((node.get("metadata") or {}).get("name"))):
        return "affinity", "its required node affinity does not select the node"
    tolerated = [*(pod.get("tolerations") or ()), *ADDED]
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not any(_tolerates(t, taint) for t in tolerated):
            value = f"={taint['value']}" if taint.get("value") else ""
            return "taint", f"it does not tolerate the node's taint {taint['key']}{value}:{taint['effect']}"
    return None


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    exists = toleration.get("operator", "Equal") == "Exists"
    if not toleration.get("key"):
        return bool(exists)
    same = toleration["key"] == taint.get("key")
    return bool(same and (exists or (toleration.get("value") or "") == (taint.get("value") or "")))


def _affine(pod: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """One of the terms must hold, and of that all expressions."""
    affinity = (pod.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and all(_holds(e, labels) for e in term.get("matchExpressions") or ())
        and all(_holds(e, {"metadata.name": name}) for e in term.get("matchFields") or ())
        for term in required.get("nodeSelectorTerms") or ()
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = str(expression.get("key")), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt" | "Lt" as order:
            return _compares(labels.get(key), values, order)
    return False


def _compares(text: str | None, values: list[str], order: str) -> bool:
    try:
        mine, other = int(text or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return mine > other if order == "Gt" else mine < other

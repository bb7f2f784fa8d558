"""Where Calico itself is, for all tables that read its own pods and workloads: a pod's label alone tells nothing."""

from __future__ import annotations

from dataclasses import replace

from calicokit.evidence.model import Missing
from calicokit.evidence.objects import Object, Objects
from calicokit.evidence.own_pods import Home, claimed, home_of
from calicokit.registry import UnreadableError, model

MARK = b'"k8s-app"'


@model("health.home", wants={"pods": "pods", "named": "@calico-namespace"})
def home(pods: Objects | None, named: str | None) -> Home:
    """Calico's namespaces; what has its labels and is none of its own goes to the coverage.

    Where no pods are listed, or none of Calico's, its usual namespaces are.
    """
    if pods is None:
        return home_of((), named or "")
    labelled = replace(pods, raw=[raw for raw in pods.raw if MARK in bytes(raw)])  # few of many thousands
    own = [pod for pod in labelled.rows(claimed) if pod is not None]
    found = home_of(own, named or "")
    pods.problems.extend(Missing(pods.id, why) for why in found.ignored(own))
    return found


def settled(found: Home) -> Home:
    """The same; raises :class:`UnreadableError`, which makes a table unknown, where it is not known where Calico is."""
    if found.unsettled:
        raise UnreadableError(found.unsettled)
    return found


def value_of(found: Home, variable: Object, configmaps: Objects | None) -> str | None:
    """A container's variable: its own value, or what it takes from a ConfigMap of Calico's; None if not known."""
    ref = (variable.get("valueFrom") or {}).get("configMapKeyRef")
    if variable.get("value") or ref is None or configmaps is None:
        return variable.get("value")
    data = configmaps.rows(lambda item: (item["metadata"]["name"] if found.has(item) else "", item.get("data") or {}))
    return next((values.get(ref["key"]) for name, values in data if name == ref["name"]), None)

"""Typha: whether Felix is told to use one, how many there are, and whether they answer.

Facts: typha/pkg/discovery/discovery.go (the address, or the Service whose ready endpoints are asked),
manifests/calico-typha.yaml (ConfigMap calico-config, typha_service_name), Calico's documentation on how many replicas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, labels, spec
from calicokit.evidence.own_pods import Home
from calicokit.health.home import settled, value_of
from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, cells

TYPHA = Schema(
    "felix.typha",
    "State of Typha: one row; no rows where it is not configured.",
    (
        Column("configured", "bool", "calico-node is configured to use Typha, or Felix's log shows it"),
        Column("how", "str", "how that is known"),
        Column("replicas", "int", "replicas of its Deployment; null without one, or where unknown", "pods"),
        Column("pods", "int", "its pods; null where unknown", "pods"),
        Column("ready_pods", "int", "ready pods, as the kubelet reports", "pods"),
        Column("unready_since", "time", "time since when no pod is ready"),
        Column("service", "str", "address and port of its Service, which Felix asks; null without one"),
        Column("endpoints", "int", "ready endpoints of its Service; null where unknown", "endpoints"),
        Column("connections", "float", "connections from its metrics; null where they were not answered"),
        Column("nodes", "int", "nodes of the cluster", "nodes"),
        Column("failing", "list", "nodes whose Felix fails to reach it"),
        Column("connected", "list", "nodes whose Felix is in sync and configured to use it"),
        Column("error", "str", "error of the last failure"),
    ),
)

NAME = "calico-typha"
_NONE = ("", "none")


@table(
    TYPHA,
    needs={"nodes": "nodes", "home": "health.home"},
    wants={
        "deployments": "deployments",
        "daemonsets": "daemonsets",
        "configmaps": "configmaps",
        "services": "services",
        "slices": "endpointslices",
        "pods": "health.pods",
        "contact": "felix.contact",
        "state": "felix.state",
        "log": "output.felix_log",
        "metrics": "output.typha_metrics",
    },
)
def typha(
    nodes: Objects,
    home: Home,
    deployments: Objects | None = None,
    daemonsets: Objects | None = None,
    configmaps: Objects | None = None,
    services: Objects | None = None,
    slices: Objects | None = None,
    pods: pd.DataFrame | None = None,
    contact: pd.DataFrame | None = None,
    state: pd.DataFrame | None = None,
    log: pd.DataFrame | None = None,
    metrics: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row, or none; see :data:`TYPHA`. Unknown where neither settings, log, Deployment nor pods are known."""
    own = settled(home)
    users, others = _users(log)
    configured, how = _configured(users, others, _setting(own, daemonsets, configmaps))
    lost = None if contact is None else contact[_of_felix(contact)]
    failing = sorted(lost["node"].dropna()) if lost is not None else []
    in_sync = set(state[state["state"] == "ready"]["node"]) if state is not None and configured else set()
    replicas, there = next(_replicas(own, deployments), None), _pods(pods)
    if configured is None and deployments is None and pods is None:
        raise UnseenError
    if not (configured or replicas or there.get("pods")):
        return TYPHA.frame()
    row = {
        "configured": configured,
        "how": how,
        "replicas": replicas,
        "service": next(_service(own, services), None),
        "endpoints": _endpoints(own, slices),
        "connections": _connections(metrics),
        "nodes": len(nodes.raw),
        "failing": failing,
        "connected": sorted(in_sync - set(failing) - others),
        "error": lost["error"].iloc[-1] if lost is not None and len(lost) else None,
    }
    return TYPHA.frame([row | there])


def _of_felix(contact: pd.DataFrame) -> pd.Series[bool]:
    return (contact["to"] == "typha") & contact["lost"] & (contact["component"] == "felix")


def _configured(users: set[str], others: set[str], setting: str | None) -> tuple[bool | None, str | None]:
    """Whether Typha is used, and what tells so: what Felix says beats its settings."""
    if users or setting:
        return True, "Felix's log" if users else setting
    if others:
        return False, "Felix's log"
    return (None, None) if setting is None else (False, "calico-node's environment")


def _users(log: pd.DataFrame | None) -> tuple[set[str], set[str]]:
    """Nodes whose Felix last said that it uses Typha, and that it does not."""
    if log is None:
        return set(), set()
    messages = log["message"].fillna("")
    uses = messages.str.startswith(("Connecting to Typha", "Discovered initial set of Typha", "Connecting to typha"))
    says = uses | messages.str.startswith("Typha not enabled")
    last = dict(zip(log["node"][says].tolist(), uses[says].tolist(), strict=True))
    return {n for n, u in last.items() if u}, {n for n, u in last.items() if not u}


def _setting(home: Home, daemonsets: Objects | None, configmaps: Objects | None) -> str | None:
    """The variable that tells calico-node to use Typha; empty where none does, None where that is not known."""
    if daemonsets is None:
        return None
    known = False
    for variables in daemonsets.rows(lambda item: _environment(home, item)):
        if variables is None:
            continue
        known = True
        for name in ("FELIX_TYPHAADDR", "FELIX_TYPHAK8SSERVICENAME"):
            given = variables.get(name)
            if given is None:
                continue
            value = value_of(home, given, configmaps)
            if value is not None and value.lower() not in _NONE:
                return f"{name}={value}"
    return "" if known else None


def _environment(home: Home, item: Object) -> dict[str, Object] | None:
    if not home.has(item):
        return None
    containers = ((spec(item).get("template") or {}).get("spec") or {}).get("containers") or []
    found = next((c for c in containers if c.get("name") == "calico-node"), None)
    return None if found is None else {e["name"]: e for e in found.get("env") or []}


def _replicas(home: Home, deployments: Objects | None) -> Iterator[int]:
    for item in deployments.rows(dict) if deployments is not None else ():
        if home.has(item) and item["metadata"]["name"] == NAME:
            yield int(spec(item).get("replicas", 1))


def _service(home: Home, services: Objects | None) -> Iterator[str]:
    for item in services.rows(dict) if services is not None else ():
        if home.has(item) and item["metadata"]["name"] == NAME:
            address = spec(item).get("clusterIP") or ""
            host = f"[{address}]" if ":" in address else address
            yield from (f"{host}:{port['port']}" for port in spec(item).get("ports") or () if address)


def _endpoints(home: Home, slices: Objects | None) -> int | None:
    if slices is None:
        return None
    ours = [n for n in slices.rows(lambda item: _ready_in(item) if home.has(item) else None) if n is not None]
    return sum(ours) if ours else None


def _ready_in(item: Object) -> int | None:
    if labels(item).get("kubernetes.io/service-name") != NAME:
        return None
    ready = [(e.get("conditions") or {}).get("ready") is not False for e in item.get("endpoints") or []]
    return sum(ready)


def _connections(metrics: pd.DataFrame | None) -> float | None:
    if metrics is None:
        return None
    active = metrics[metrics["metric"] == "typha_connections_active"]["value"]
    return float(active.sum()) if len(active) else None


def _pods(pods: pd.DataFrame | None) -> dict[str, Any]:
    if pods is None:
        return {}
    ours = pods[(pods["component"] == "typha") & pods["deleted"].isna() & ~pods["phase"].isin(["Succeeded", "Failed"])]
    ready = int(ours["ready"].sum())
    since = None
    if len(ours) and not ready:
        times = [t if pd.notna(t) else c for t, c in cells(ours, "ready_since", "created")]
        since = max((t for t in times if pd.notna(t)), default=None)
    return {"pods": len(ours), "ready_pods": ready, "unready_since": since}

"""Calico's own components: where they run, whether they are well, how they were installed, which version they are.

Facts: charts/calico/templates and manifests/apiserver.yaml, HEAD (manifest installs); tigera/operator (#3989: its API
server's namespace).
"""

from __future__ import annotations

import re

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.own_pods import NODE_APPS, Home
from calicokit.evidence.pod_runs import failing_init, has_previous
from calicokit.evidence.texts import Texts
from calicokit.health.home import settled, value_of
from calicokit.kube.tables import EVIDENCE
from calicokit.parsers import nodename as _nodename  # noqa: F401 (brings the kind)
from calicokit.registry import Spared, not_applicable, table
from calicokit.schema import Column, Schema

COMPONENTS = {
    "calico-node": "calico-node",
    "canal": "calico-node",
    "calico-node-windows": "calico-node-windows",
    "calico-kube-controllers": "kube-controllers",
    "calico-typha": "typha",
    "calico-apiserver": "apiserver",
    "tigera-operator": "operator",
}
"""The k8s-app label of Calico's pods → what they are."""

INSTALLS = {"calico-system": "operator", "kube-system": "manifest"}

PODS = Schema(
    "health.pods",
    "Calico's own pods.",
    (
        Column("component", "str", "calico-node, kube-controllers, typha, apiserver, operator"),
        Column("namespace", "str", "namespace"),
        Column("pod", "str", "pod"),
        Column("node", "str", "its node"),
        Column("phase", "str", "status.phase"),
        Column("ready", "bool", "condition Ready, as the kubelet reports it; may still be true after Felix died"),
        Column("ready_since", "time", "last change of that condition"),
        Column("message", "str", "message of its conditions or containers where it is not ready"),
        Column("waiting", "str", "reason of a waiting container, such as CrashLoopBackOff"),
        Column("restarts", "int", "restarts of all its containers", "restarts"),
        Column("last_exit", "time", "last termination of a container"),
        Column("last_reason", "str", "reason it terminated: OOMKilled, Error, Completed"),
        Column("oom_killed", "bool", "a container's last state is OOMKilled"),
        Column("previous", "bool", "calico-node's container has a previous run, whose log the kubelet keeps"),
        Column("failing_init", "str", "init container that keeps it from starting; null if none"),
        Column("created", "time", "creation time"),
        Column("deleted", "time", "deletion time, where requested"),
        Column("images", "list", "images of its containers"),
        Column("version", "str", "version in the image tag; null for tags without one"),
        EVIDENCE,
    ),
    key=("namespace", "pod"),
)

INSTALL = Schema(
    "health.install",
    "How Calico was installed, and its version and settings: one row.",
    (
        Column("install", "str", "operator, manifest or unknown"),
        Column("namespace", "str", "namespace of calico-node"),
        Column("version", "str", "version in calico-node's image; null if the tag names none"),
        Column("cluster_version", "str", "ClusterInformation's calicoVersion"),
        Column("cluster_type", "str", "ClusterInformation's clusterType"),
        Column("datastore_ready", "bool", "ClusterInformation's datastoreReady; null where unknown"),
        Column("typha", "bool", "Typha is running"),
        Column("backend", "str", "CALICO_NETWORKING_BACKEND of calico-node: bird, vxlan or none; null where not set"),
    ),
)

CONDITIONS = Schema(
    "health.node_conditions",
    "Conditions of the nodes.",
    (
        Column("node", "str", "node"),
        Column("condition", "str", "Ready, NetworkUnavailable, MemoryPressure, …"),
        Column("status", "str", "True, False or Unknown"),
        Column("good", "bool", "the status is healthy"),
        Column("reason", "str", "reason"),
        Column("message", "str", "message"),
        Column("since", "time", "last change"),
        EVIDENCE,
    ),
    key=("node", "condition"),
)

READINESS = Schema(
    "health.readiness",
    "Felix's readiness on each node, from its health command.",
    (
        Column("node", "str", "node"),
        Column("ready", "bool", "the command ended with status 0; null where the status is not known"),
        Column("said", "str", "output of the command"),
        Column("command", "str", "the command"),
        EVIDENCE,
    ),
    key=("node",),
)

BIRD_READINESS = Schema(
    "health.bird_readiness",
    "BIRD's readiness on each node where BGP is in use, from its health command.",
    (*READINESS.columns, Column("family", "int", "4: bird, or 6: bird6")),
    key=("node", "family"),
)

DATASTORE = Schema(
    "health.datastore",
    "ClusterInformation: cluster version, type and datastore state.",
    (
        Column("cluster_version", "str", "calicoVersion"),
        Column("cluster_type", "str", "clusterType"),
        Column("datastore_ready", "bool", "datastoreReady; false locks IPAM and stops new pods"),
        EVIDENCE,
    ),
)

NODENAMES = Schema(
    "health.nodenames",
    "calico-node's name on each node.",
    (
        Column("node", "str", "Kubernetes' name of the node"),
        Column("name", "str", "Calico's name for it"),
        EVIDENCE,
    ),
    key=("node",),
)

_VERSION = re.compile(r":(v?\d+\.\d+[^@\s]*)")


@table(PODS, needs={"objects": "pods", "home": "health.home"})
def pods(objects: Objects, home: Home) -> pd.DataFrame:
    """One row for each pod of Calico's; see :data:`PODS`."""
    own = settled(home)
    return objects.frame(PODS, lambda item: _pod(item, own))


def _pod(item: Object, home: Home) -> list[Object]:
    meta, status = item["metadata"], item.get("status") or {}
    component = COMPONENTS.get(home.app(item))
    if component is None:
        return []
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    ready: Object = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), {})
    ends = [e for c in containers if (e := _last_end(c))]
    last = max(ends, key=lambda e: str(e.get("finishedAt") or ""), default={})
    images = [c["image"] for c in spec(item).get("containers") or []]
    waits = [w for c in containers if (w := (c.get("state") or {}).get("waiting"))]
    row = {
        "component": component,
        "namespace": meta["namespace"],
        "pod": meta["name"],
        "node": spec(item).get("nodeName"),
        "phase": status.get("phase"),
        "ready": ready.get("status") == "True",
        "ready_since": ready.get("lastTransitionTime"),
        "message": next((m for m in [ready.get("message"), *(w.get("message") for w in waits)] if m), None),
        "waiting": next((w.get("reason") for w in waits), None),
        "restarts": sum(c.get("restartCount", 0) for c in containers),
        "last_exit": last.get("finishedAt"),
        "last_reason": last.get("reason"),
        "oom_killed": any(e.get("reason") == "OOMKilled" for e in ends),
        "previous": has_previous(status),
        "failing_init": failing_init(status) or None,
        "created": meta.get("creationTimestamp"),
        "deleted": meta.get("deletionTimestamp"),
        "images": images,
        "version": version_of(images),
    }
    return [row]


def _last_end(container: Object) -> Object:
    """How a container last ended: now, if it is down, else the time before."""
    state: Object = (container.get("state") or {}).get("terminated") or {}
    return state or (container.get("lastState") or {}).get("terminated") or {}


def version_of(images: list[str]) -> str | None:
    """The version in an image's tag.

    >>> version_of(["quay.io/calico/node:v3.30.2@sha256:ab"])
    'v3.30.2'
    """
    return next((m[1] for i in images if (m := _VERSION.search(i))), None)


@table(
    INSTALL,
    needs={"calico": "health.pods", "home": "health.home"},
    wants={"datastore": "health.datastore", "pods": "pods", "configmaps": "configmaps"},
)
def install(
    calico: pd.DataFrame,
    home: Home,
    datastore: pd.DataFrame | None = None,
    pods: Objects | None = None,
    configmaps: Objects | None = None,
) -> pd.DataFrame:
    """One row; see :data:`INSTALL`. calico-node's namespace tells the install."""
    nodes = calico[calico["component"] == "calico-node"]
    namespace = nodes["namespace"].mode()
    where = str(namespace.iloc[0]) if len(namespace) else None
    said = datastore.iloc[0].to_dict() if datastore is not None and len(datastore) else {}
    row = {
        "install": INSTALLS.get(where or "", "unknown"),
        "namespace": where,
        "version": next(iter(nodes["version"].dropna()), None),
        "cluster_version": said.get("cluster_version"),
        "cluster_type": said.get("cluster_type"),
        "datastore_ready": said.get("datastore_ready"),
        "typha": bool((calico["component"] == "typha").any()),
        "backend": next((b for b in pods.rows(lambda p: _backend(p, home, configmaps)) if b), None) if pods else None,
    }
    return INSTALL.frame([row])


def _backend(item: Object, home: Home, configmaps: Objects | None) -> str | None:
    if home.app(item) not in NODE_APPS:
        return None
    variables = [e for c in spec(item)["containers"] for e in c.get("env") or []]
    given = next((e for e in variables if e["name"] == "CALICO_NETWORKING_BACKEND"), None)
    return None if given is None else value_of(home, given, configmaps)


@table(CONDITIONS, needs={"objects": "nodes"})
def node_conditions(objects: Objects) -> pd.DataFrame:
    """One row for each node and condition; see :data:`CONDITIONS`."""
    return objects.frame(CONDITIONS, _conditions)


def _conditions(item: Object) -> list[Object]:
    node = item["metadata"]["name"]
    return [
        {
            "node": node,
            "condition": c["type"],
            "status": c["status"],
            "good": c["status"] == ("True" if c["type"] == "Ready" else "False"),
            "reason": c.get("reason"),
            "message": c.get("message"),
            "since": c.get("lastTransitionTime"),
        }
        for c in (item.get("status") or {}).get("conditions") or []
    ]


@table(READINESS, needs={"answers": "felix-ready"})
def readiness(answers: Texts) -> pd.DataFrame:
    """One row for each node that was asked; see :data:`READINESS`."""
    return READINESS.frame(_probed(answers))


@table(BIRD_READINESS, needs={"use": "bgp.use"}, any_of={"answers": "bird-ready", "answers6": "bird6-ready"})
def bird_readiness(use: pd.DataFrame, answers: Texts | None, answers6: Texts | None = None) -> pd.DataFrame:
    """One row for each node and BIRD that was asked; see :data:`BIRD_READINESS`.

    Without BGP the probe complains all the same, so that nothing is told where BGP is not known to be in use.
    """
    if not use["in_use"].fillna(False).any():
        return BIRD_READINESS.frame()
    families = ((4, answers), (6, answers6))
    return BIRD_READINESS.frame([row | {"family": v} for v, texts in families if texts for row in _probed(texts)])


def _probed(answers: Texts) -> list[Object]:
    return [
        {
            "node": e.node,
            "ready": None if e.exit is None else e.exit == 0,
            "said": f"{e.decode()}{e.stderr}".strip() or None,
            "command": e.command or None,
            "evidence": e.ref,
        }
        for e in answers
    ]


@not_applicable(needs={"pods": "health.pods", "nodes": "kube.nodes"})
def _without_past(pods: pd.DataFrame, nodes: pd.DataFrame) -> Spared:
    """Only a container that ran before has a log of that, and only an init container that fails has one that tells."""
    own = pods[pods["component"] == "calico-node"]
    before = set(own[own["previous"]]["node"].dropna())
    failing = set(own[own["failing_init"].notna()]["node"].dropna())
    for node in {*nodes["node"], *own["node"].dropna()}:
        if node not in before:
            yield from (("felix-previous-log", node), ("startup-previous-log", node))
        if node not in failing:
            yield "init-log", node


@table(NODENAMES, needs={"answers": "nodename"})
def nodenames(answers: Texts) -> pd.DataFrame:
    """One row for each node that was asked; see :data:`NODENAMES`."""
    return answers.table("nodename", NODENAMES)


@table(DATASTORE, needs={"objects": "clusterinformations"})
def datastore(objects: Objects) -> pd.DataFrame:
    """One row for each ClusterInformation (there is one, ``default``); see :data:`DATASTORE`."""
    return objects.frame(
        DATASTORE,
        lambda item: {
            "cluster_version": spec(item).get("calicoVersion") or None,
            "cluster_type": spec(item).get("clusterType"),
            "datastore_ready": spec(item).get("datastoreReady"),
        },
    )

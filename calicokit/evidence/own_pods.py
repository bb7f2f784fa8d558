"""Which pods are Calico's own. A label alone tells nothing: whoever may make pods anywhere may give it to theirs.

What counts is the namespace, as only who runs the cluster makes pods in Calico's; then which controller made the pod,
and, of calico-node, that it is on the host's network. An owner can be forged, and a DaemonSet called calico-node be
made, in a tenant's own namespace: neither is believed there. Names, labels and namespaces: charts/calico/templates and
manifests/ (kube-system), tigera/operator: pkg/render (calico-system), rke2-charts: rke2-canal (DaemonSet rke2-canal).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

NODE_APPS = ("calico-node", "canal")
"""The label ``k8s-app`` of the pods in which commands run on a node."""

CONTROLLERS = {
    **dict.fromkeys((*NODE_APPS, "calico-node-windows"), "DaemonSet"),
    **dict.fromkeys(("calico-typha", "calico-kube-controllers", "calico-apiserver", "tigera-operator"), "ReplicaSet"),
}
"""The label of Calico's pods → the kind that makes them."""

USUAL = frozenset(("calico-system", "kube-system"))
"""Where the operator and the manifests install Calico."""

APART = {"calico-apiserver": "calico-apiserver", "tigera-operator": "tigera-operator"}
"""What has a namespace of its own, beside Calico's."""

OPTION = "--calico-namespace"
MOST_NAMED = 5
Object = dict[str, Any]


def app_of(item: Object) -> str:
    """What a pod, or a template of pods, says that it is: its label ``k8s-app``; empty for none of Calico's."""
    app = ((item.get("metadata") or {}).get("labels") or {}).get("k8s-app", "")
    return app if app in CONTROLLERS else ""


@dataclass(frozen=True)
class Home:
    """Calico's namespaces in one cluster; none where it cannot be told which, and ``among`` which it may be."""

    namespaces: frozenset[str] = USUAL
    among: tuple[str, ...] = ()

    @property
    def unsettled(self) -> str:
        """Why no pod can be taken for Calico's; empty where it is known."""
        if not self.among:
            return ""
        where = " and ".join(self.among)
        return f"pods that look like Calico's are in {where}: name Calico's namespace by {OPTION}, nothing is guessed"

    def app(self, pod: Object) -> str:
        """The label of a pod that is Calico's own; empty for any other."""
        app = app_of(pod)
        return app if app and not self.doubt(pod) else ""

    def doubt(self, pod: Object) -> str:
        """Why a pod with the label of one of Calico's is none; empty if it is."""
        app = app_of(pod)
        if not self.has(pod, app):
            return self.unsettled or f"not in namespace {' or '.join(sorted(self.namespaces))}"
        return _unlike(pod, app)

    def has(self, item: Object, app: str = "") -> bool:
        """Whether a namespaced object is in Calico's namespaces, or in the one that this app has for itself."""
        namespace = (item.get("metadata") or {}).get("namespace")
        return namespace in self.namespaces or (app in APART and namespace == APART[app])

    def ignored(self, pods: Iterable[Object]) -> list[str]:
        """What is said of the pods that have a label of Calico's and are none of its own: a sentence a reason."""
        found: dict[tuple[str, str], list[str]] = {}
        for pod in pods:
            if (app := app_of(pod)) and (why := self.doubt(pod)):
                meta = pod["metadata"]
                found.setdefault((app, why), []).append(f"{meta.get('namespace')}/{meta.get('name')}")
        return [f"ignored, labelled {app} and none of Calico's: {_some(n)} ({w})" for (app, w), n in found.items()]


def claimed(item: Object) -> Object | None:
    """The pod, if it has a label of Calico's; raises what :data:`ODD_SHAPE` names if it is of another shape."""
    app = app_of(item)
    if app:
        _unlike(item, app)
    return item if app else None


def home_of(pods: Iterable[Object], named: str = "") -> Home:
    """Where Calico is, from the pods with its labels; ``named`` is what the user says, which wins.

    The usual namespaces, if anything of Calico's is in them or nothing anywhere; else the only other one.
    """
    if named:
        return Home(frozenset([named]))
    found = {
        p["metadata"].get("namespace", "") for p in pods if (a := app_of(p)) and a not in APART and not _unlike(p, a)
    }
    if found & USUAL or not found:
        return Home()
    return Home(frozenset(found)) if len(found) == 1 else Home(frozenset(), tuple(sorted(found)))


def _unlike(pod: Object, app: str) -> str:
    """What a pod lacks that Calico's own have, wherever it is."""
    kind = CONTROLLERS[app]
    owners = (
        (o.get("kind"), o.get("name", "")) for o in pod["metadata"].get("ownerReferences") or () if o.get("controller")
    )
    if not any(k == kind and _is_named(n if kind == "DaemonSet" else n.rpartition("-")[0], app) for k, n in owners):
        return f"not made by a {kind} {app}"
    if app in NODE_APPS and not (pod.get("spec") or {}).get("hostNetwork"):
        return "not on the host's network"
    return ""


def _is_named(name: str, app: str) -> bool:
    """Whether a workload has the app's name, which some charts prefix with their release (rke2-canal)."""
    return name == app or name.endswith(f"-{app}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(sorted(names)[:MOST_NAMED]) + more

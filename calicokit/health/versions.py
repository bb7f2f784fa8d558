"""Which version each of Calico's components is of: images, what it says of itself in its log, ClusterInformation.

Facts: charts/calico/templates and docker/calico/Dockerfile, v3.28.5 and HEAD; tags of vendors' rebuilds
(rancher/hardened-calico:v3.29.1-build20241220, …-fips, …-amd64) name Calico's version first. Tags that name none
(master, a digest) are builds of which nothing is known. The operator has versions of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.own_pods import Home, app_of
from calicokit.evidence.texts import Texts
from calicokit.health.home import settled
from calicokit.health.tables import COMPONENTS
from calicokit.kube.tables import EVIDENCE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

VERSIONS = Schema(
    "health.versions",
    "Version of each Calico component, and where it is from; components without one are left out.",
    (
        Column(
            "component", "str", "calico-node, cni, kube-controllers, typha, apiserver, …; cluster: ClusterInformation"
        ),
        Column("node", "str", "its node"),
        Column("namespace", "str", "namespace of its pod"),
        Column("pod", "str", "its pod"),
        Column(
            "version", "str", "release: v3.28.5, v3.30.0-0.dev, v3.31.0-rc1, without build suffixes; master; unnamed"
        ),
        Column("told", "str", "version as printed"),
        Column("by", "str", "image, log or ClusterInformation"),
        EVIDENCE,
    ),
)

ROLLOUTS = Schema(
    "health.rollouts",
    "Rollout status of Calico's workloads.",
    (
        Column("workload", "str", "DaemonSet or Deployment: its name"),
        Column("namespace", "str", "namespace"),
        Column("wanted", "int", "desired pods", "pods"),
        Column("updated", "int", "pods of the current template", "pods"),
        Column("seen", "bool", "its controller has observed the current template"),
        EVIDENCE,
    ),
    key=("namespace", "workload"),
)

_TAG = re.compile(r"(?P<name>[^/:@\s]{1,200})(?::(?P<tag>[^/@\s]{1,200}))?(?:@.*)?$")
_RELEASE = re.compile(r"v?(?P<core>\d{1,3}\.\d{1,4}\.\d{1,4})(?P<pre>-(?:0\.dev|rc\.?\d+|alpha\.?\d*|beta\.?\d*))?")
_NAMED = {"node": "calico-node", "ctl": "calicoctl", "node-windows": "calico-node", "hardened-calico": "calico"}
_FOREIGN = ("operator", "flannel")
MASTER, UNNAMED = "master", "unnamed"
"""Builds of which no release is known: a tag of Calico's main branch; one that says of itself no version."""


def release(text: str) -> str | None:
    """The release that a version or tag names, None if it names none.

    >>> release("v3.29.1-build20241220"), release("3.34.0-0.dev-67-g87c15906f20c"), release("master")
    ('v3.29.1', 'v3.34.0-0.dev', None)
    """
    found = _RELEASE.match(text)
    return f"v{found['core']}{found['pre'] or ''}" if found else None


def of_image(image: str) -> tuple[str, str] | None:
    """The component that an image is of, and its tag; None for images that are not Calico's, or without a tag.

    >>> of_image("docker.io/rancher/mirrored-calico-cni:v3.28.1"), of_image("quay.io/tigera/operator:v1.36.2")
    (('cni', 'v3.28.1'), None)
    """
    found = _TAG.search(image)
    if not found or not found["tag"] or "calico" not in image or any(f in found["name"] for f in _FOREIGN):
        return None
    name = found["name"].removeprefix("mirrored-").removeprefix("calico-")
    return _NAMED.get(name, name), found["tag"]


@table(
    VERSIONS,
    needs={"home": "health.home"},
    any_of={"pods": "pods", "datastore": "health.datastore"},
    wants={"felix": "felix-log", "typha": "typha-log"},
)
def versions(
    home: Home,
    pods: Objects | None,
    datastore: pd.DataFrame | None,
    felix: Texts | None = None,
    typha: Texts | None = None,
) -> pd.DataFrame:
    """One row for each part and place that names a version; see :data:`VERSIONS`."""
    own = settled(home)
    images: list[Any] = pods.frame(VERSIONS, lambda i: _of_pod(i, own)).to_dict("records") if pods else []
    logs = [*_of_log(felix, "calico-node"), *_of_log(typha, "typha")]
    known = [] if datastore is None else list(cells(datastore, "cluster_version", "evidence"))
    cluster = [
        {"component": "cluster", "version": found, "told": told, "by": "ClusterInformation", "evidence": evidence}
        for told, evidence in known
        if isinstance(told, str) and (found := release(told))
    ]
    return VERSIONS.frame([*images, *logs, *cluster])


def _of_pod(item: Object, home: Home) -> list[Object]:
    """The images of a pod of Calico's that runs, or is to; each once."""
    meta, status = item["metadata"], item.get("status") or {}
    label = COMPONENTS.get(home.app(item))
    if label in (None, "operator") or status.get("phase") in ("Succeeded", "Failed") or meta.get("deletionTimestamp"):
        return []
    containers = [*(spec(item).get("initContainers") or []), *(spec(item).get("containers") or [])]
    rows = {}
    for image in (c.get("image") or "" for c in containers):
        component, tag = of_image(image) or ("", "")
        if found := MASTER if tag == MASTER else release(tag):
            named = component if component != "calico" else str(label)
            row = {"component": named, "node": spec(item).get("nodeName"), "namespace": meta["namespace"]}
            rows[named, found] = {**row, "pod": meta["name"], "version": found, "told": image, "by": "image"}
    return list(rows.values())


_STARTS = re.compile(
    rb"(?:Felix starting up|Typha starting up|Successfully loaded configuration)[^\n]* "
    rb'version="(?P<version>[^"\n]{0,100})"'
)


def _of_log(texts: Texts | None, component: str) -> Iterator[dict[str, Any]]:
    """What a component says of itself when it starts: the last start counts."""
    for text in texts or ():
        starts = [m["version"].decode() for m in _STARTS.finditer(text.text)]
        if starts and (found := release(starts[-1]) if starts[-1] else UNNAMED):
            named = {"component": component, "node": text.node, "version": found, "told": starts[-1]}
            yield {**named, "by": "log", "evidence": text.ref}


@table(ROLLOUTS, needs={"home": "health.home"}, any_of={"daemonsets": "daemonsets", "deployments": "deployments"})
def rollouts(home: Home, daemonsets: Objects | None, deployments: Objects | None) -> pd.DataFrame:
    """One row for each of Calico's workloads; see :data:`ROLLOUTS`."""
    own = settled(home)
    frames = [o.frame(ROLLOUTS, lambda item: _rollout(item, own)) for o in (daemonsets, deployments) if o is not None]
    return ROLLOUTS.take(pd.concat(frames))


def _rollout(item: Object, home: Home) -> list[Object]:
    meta, status = item["metadata"], item.get("status") or {}
    app = app_of(spec(item).get("template") or {})
    if not app or not home.has(item, app):
        return []
    daemon = "desiredNumberScheduled" in status
    return [
        {
            "workload": meta["name"],
            "namespace": meta["namespace"],
            "wanted": status.get("desiredNumberScheduled") if daemon else spec(item).get("replicas", 1),
            "updated": status.get("updatedNumberScheduled" if daemon else "updatedReplicas", 0),
            "seen": status.get("observedGeneration", 0) >= meta.get("generation", 0),
        }
    ]

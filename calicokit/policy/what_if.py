"""What if: objects from a file, which would be added to the cluster or change what is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from calicokit.evidence.catalog import CALICO
from calicokit.evidence.model import SourceError
from calicokit.evidence.objects import Object
from calicokit.policy.read import New

KINDS = {
    "GlobalNetworkPolicy": "globalnetworkpolicies",
    "StagedGlobalNetworkPolicy": "stagedglobalnetworkpolicies",
    "StagedNetworkPolicy": "stagednetworkpolicies",
    "StagedKubernetesNetworkPolicy": "stagedkubernetesnetworkpolicies",
    "AdminNetworkPolicy": "adminnetworkpolicies",
    "BaselineAdminNetworkPolicy": "baselineadminnetworkpolicies",
    "ClusterNetworkPolicy": "clusternetworkpolicies",
    **{
        kind: kind.lower() + "s"
        for kind in (
            *("Tier", "GlobalNetworkSet", "NetworkSet", "HostEndpoint", "IPPool", "FelixConfiguration"),
            *("Pod", "Namespace", "ServiceAccount", "Node", "Service", "EndpointSlice", "DaemonSet"),
        )
    },
}
OF_NAMESPACES = {
    *("networkpolicies", "kubernetes-networkpolicies", "stagednetworkpolicies", "stagedkubernetesnetworkpolicies"),
    *("networksets", "pods", "serviceaccounts", "services", "endpointslices", "daemonsets"),
}

ENDPOINTS = frozenset(("pods", "namespaces", "serviceaccounts", "hostendpoints", "nodes"))
"""Lists of endpoints, and of what they inherit labels from."""


def selects_anew(new: New) -> bool:
    """Whether a policy that acts on nothing now could act: the programmed rules do not tell of such a cluster.

    >>> selects_anew({"pods": [{}]}), selects_anew({"globalnetworkpolicies": [{}]})
    (True, False)
    """
    return not ENDPOINTS.isdisjoint(new)


def objects_in(file: str | Path) -> New:
    """The objects of a YAML or JSON file, by the id of their list.

    Raises :class:`~calicokit.evidence.model.SourceError` with one sentence for a file that cannot be read, and for a
    kind that policy does not rest on.
    """
    try:
        documents = list(yaml.safe_load_all(Path(file).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file} cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise SourceError(f"{file} is not YAML ({' '.join(str(error).split())}).") from error
    found: dict[str, list[Object]] = {}
    for item in _items(documents, str(file)):
        id_ = _list_of(item, str(file))
        meta = item["metadata"]
        if id_ in OF_NAMESPACES:
            item = {**item, "metadata": {**meta, "namespace": meta.get("namespace") or "default"}}
        found.setdefault(id_, []).append(item)
    if not found:
        raise SourceError(f"{file} contains no object.")
    return found


def _items(documents: list[Any], file: str) -> Iterator[Object]:
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise SourceError(f"{file} contains a document that is not an object.")
        items = document.get("items")
        yield from _items(items, file) if isinstance(items, list) else iter((document,))


def _list_of(item: Object, file: str) -> str:
    kind, version, meta = item.get("kind"), str(item.get("apiVersion") or ""), item.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str):
        raise SourceError(f"{file} contains an object without a name.")
    if kind == "NetworkPolicy":
        return "networkpolicies" if version in CALICO else "kubernetes-networkpolicies"
    if kind not in KINDS:
        raise SourceError(f"{file} holds {kind or 'an object without a kind'}, which is not a policy object.")
    return KINDS[kind]

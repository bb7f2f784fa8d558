"""A recording of which one node's calico-node pod and all that was printed there are gone."""

from __future__ import annotations

import json
from typing import Any

from calicokit.evidence.catalog import CATALOG
from tests.edited import Edited

NODE = "node-3"


def is_calico_node(item: dict[str, Any]) -> bool:
    return (item["metadata"].get("labels") or {}).get("k8s-app") == "calico-node"


def without_pod(incident: str, node: str = NODE, desired: int = 4) -> Edited:
    """The DaemonSet wants so many pods and has three ready ones."""

    def pods(text: str) -> str:
        document = json.loads(text)
        kept = [i for i in document["items"] if not (is_calico_node(i) and i["spec"].get("nodeName") == node)]
        return json.dumps({**document, "items": kept})

    def counted(item: dict[str, Any]) -> None:
        if item["metadata"]["name"] == "calico-node":
            item["status"].update(desiredNumberScheduled=desired, numberReady=3, currentNumberScheduled=3)

    edited = Edited(incident).edit("pods", None, pods).objects("daemonsets", counted)
    edited.gone |= {(id_, node) for id_, item in CATALOG.items() if item.scope == "node"}
    return edited


def daemonset(edited: Edited, **template: Any) -> Edited:
    """Change the pod template's spec of the DaemonSet calico-node."""

    def change(item: dict[str, Any]) -> None:
        if item["metadata"]["name"] == "calico-node":
            item["spec"]["template"]["spec"].update(template)

    edited.objects("daemonsets", change)
    return edited


def on_node(edited: Edited, node: str, **spec: Any) -> Edited:
    """Change the spec of a node."""

    def change(item: dict[str, Any]) -> None:
        if item["metadata"]["name"] == node:
            item["spec"].update(spec)

    edited.objects("nodes", change)
    return edited


def pods_of(edited: Edited, node: str, change: Any) -> Edited:
    """Change, or leave out (where it returns false), the pods of a node that have a network of their own."""

    def how(text: str) -> str:
        document = json.loads(text)
        kept = []
        for item in document["items"]:
            mine = item["spec"].get("nodeName") == node and not item["spec"].get("hostNetwork")
            if not mine or change(item) is not False:
                kept.append(item)
        return json.dumps({**document, "items": kept})

    edited.edit("pods", None, how)
    return edited

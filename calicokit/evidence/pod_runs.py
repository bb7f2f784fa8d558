"""Which runs of a pod's containers have a log that tells why it does not run: told by its status, for all who ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NODE_CONTAINERS = ("calico-node", "node")
"""calico-node's own container, as manifests, the operator and Canal name it, and as Windows' does."""


def has_previous(status: Mapping[str, Any]) -> bool:
    """Whether calico-node's container has a run before this one, whose log the kubelet still has.

    >>> has_previous({"containerStatuses": [{"name": "calico-node", "lastState": {"terminated": {"exitCode": 1}}}]})
    True
    """
    own = (c for c in status.get("containerStatuses") or () if c.get("name") in NODE_CONTAINERS)
    return any((c.get("lastState") or {}).get("terminated") for c in own)


def failing_init(status: Mapping[str, Any]) -> str:
    """The init container that ended badly and keeps the pod from starting; empty where none does.

    >>> waits = {"waiting": {"reason": "CrashLoopBackOff"}}
    >>> failing_init({"initContainerStatuses": [{"name": "install-cni", "state": waits, "restartCount": 4}]})
    'install-cni'
    """
    for container in status.get("initContainerStatuses") or ():
        state = container.get("state") or {}
        ended = state.get("terminated") or {}
        if ended and not ended.get("exitCode"):
            continue
        begun_anew = bool(container.get("restartCount")) or bool((container.get("lastState") or {}).get("terminated"))
        return str(container["name"]) if ended or begun_anew else ""
    return ""

"""Commands to run by hand, ready to paste: on a node, in calico-node's pod there, with real names."""

from __future__ import annotations

import shlex

import pandas as pd

from calicokit.evidence.image import minor_of
from calicokit.schema import cells
from calicokit.sentences import natural


class NodeCommands:
    """What runs a command in the calico-node pod of a node; ``pods`` is ``health.pods``, None where it is unknown.

    >>> pods = pd.DataFrame({"component": ["calico-node"], "node": ["n1"], "namespace": ["calico"], "pod": ["c-1"]})
    >>> pods["version"] = "v3.31.2"
    >>> NodeCommands(pods).on("n1", "birdcl", "show", "status")
    'kubectl exec -n calico c-1 -c calico-node -- birdcl show status'
    >>> NodeCommands(None).on("n1", "birdcl", "show", "status")
    'in calico-node on n1: birdcl show status'
    """

    def __init__(self, pods: pd.DataFrame | None) -> None:
        own = pd.DataFrame() if pods is None else pods[pods["component"] == "calico-node"]
        self._pods = (
            {} if own.empty else {str(n): (str(ns), str(p)) for n, ns, p in cells(own, "node", "namespace", "pod")}
        )
        self.minor = None if own.empty else next(iter(map(minor_of, own["version"].dropna())), None)
        """The minor version of Calico 3 that these pods run; None where it is not known."""

    @property
    def example(self) -> str:
        """A node with such a pod, for commands that are the same on each; "each node" where none is known."""
        return min(self._pods, key=natural, default="each node")

    def on(self, node: str, *argv: str) -> str:
        """A command in calico-node's container on a node; names of others are quoted, as a shell will read them."""
        command = shlex.join(argv)
        if node not in self._pods:
            return f"in calico-node on {shlex.quote(node)}: {command}"
        return f"kubectl exec {self._named(node)} -c calico-node -- {command}"

    def logs(self, node: str) -> str:
        """The log of calico-node's container on a node."""
        if node not in self._pods:
            return f"log of calico-node on {shlex.quote(node)}"
        return f"kubectl logs {self._named(node)} -c calico-node"

    def _named(self, node: str) -> str:
        namespace, pod = self._pods[node]
        return f"-n {shlex.quote(namespace)} {shlex.quote(pod)}"

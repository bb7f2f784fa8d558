"""Which node has a calico-node pod, which one needs one and has none, and what keeps it away.

The nodes are the API's, never those of the pods that were found. Whether the DaemonSet wants a node is worked out as
its controller does: nodeSelector, required node affinity, taints and tolerations with those that every DaemonSet pod
gets (Kubernetes' pkg/controller/daemon/daemon_controller.go, util.AddOrUpdateDaemonPodTolerations). A node that it does
not want needs Calico all the same where pods with a network of Calico's run or wait. Names and labels of calico-node's
DaemonSets: charts/calico/templates and manifests/ (calico-node, canal, calico-node-windows).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.own_pods import NODE_APPS, Home, app_of
from calicokit.health.placement import keeps_away
from calicokit.kube.tables import pod_ref
from calicokit.registry import table
from calicokit.schema import Column, Schema, records
from calicokit.sentences import listed

NODE_PODS = Schema(
    "health.node_pods",
    "calico-node's pod on every node of the API: whether it is there, whether it is needed, and what keeps it away.",
    (
        Column("node", "str", "node"),
        Column("system", "str", "operating system: linux or windows"),
        Column("state", "str", "ready, not-ready, ending, absent, not-needed or unknown"),
        Column("pod", "str", "NS/POD of calico-node's pod there; null if none"),
        Column("wanted", "bool", "the DaemonSet wants a pod there; null where unknown"),
        Column("why", "str", "of an absent one: missing, pending, quota, taint, node-selector, affinity, no-daemonset"),
        Column("pods", "list", "pods there that have, or wait for, a network of Calico's (NS/POD)"),
        Column("since", "time", "since when the pod is in this state; of an absent one, when the node was created"),
        Column("told", "str", "what tells it"),
        Column("evidence", "str", "source: file of the recording, or evidence id"),
    ),
    key=("node",),
    undecided=("state", "unknown"),
)

LINUX, WINDOWS = "linux", "windows"
APPS = {LINUX: NODE_APPS, WINDOWS: ("calico-node-windows",)}
COMPONENT = {LINUX: "calico-node", WINDOWS: "calico-node-windows"}
CNI = "cni.projectcalico.org/"
SERVERLESS = (("type", "virtual-kubelet"), ("eks.amazonaws.com/compute-type", "fargate"))
"""Labels of nodes that are no machines: nothing of a DaemonSet can run there (virtual-kubelet; Amazon's Fargate)."""
ENDED = ("Succeeded", "Failed")


@table(
    NODE_PODS,
    needs={"nodes": "nodes", "calico": "health.pods", "pods": "pods", "home": "health.home"},
    wants={
        "daemonsets": "daemonsets",
        "ippools": "ipam.pools",
        "events": "kube.events",
    },
)
def node_pods(
    nodes: Objects,
    calico: pd.DataFrame,
    pods: Objects,
    home: Home,
    daemonsets: Objects | None = None,
    ippools: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each node; see :data:`NODE_PODS`."""
    pools = set() if ippools is None else set(ippools["cidr"].dropna())
    known = _Known(calico, home, daemonsets, pods, pools, events)
    return nodes.frame(NODE_PODS, known.row)


@dataclass
class _Known:
    calico: pd.DataFrame
    home: Home
    daemonsets: Objects | None
    pods: Objects
    pools: set[str]
    events: pd.DataFrame | None
    own: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))  # calico-node's pods by node
    pending: dict[str, Object] = field(default_factory=dict)  # those that are not scheduled yet, by the node they want
    users: dict[str, list[Object]] = field(default_factory=lambda: defaultdict(list))  # others with a network, by node
    sets: dict[str, list[Object]] = field(default_factory=lambda: defaultdict(list))  # DaemonSets by system

    def __post_init__(self) -> None:
        for row in records(self.calico[self.calico["node"].notna()]):
            self.own[row.node].append(row)
        for _ in self.pods.rows(self._sort):  # there, so that a pod of an odd shape costs that pod only
            pass
        for _ in self.daemonsets.rows(self._sort_set) if self.daemonsets is not None else ():
            pass
        self.several = Counter(system for system in APPS for _ in self._seen(system))

    def _sort(self, item: Object) -> None:
        """Take a pod as calico-node's that waits for its node, or as one with a network of its own."""
        body, status = spec(item), item.get("status") or {}
        if self.home.app(item) in (*APPS[LINUX], *APPS[WINDOWS]):
            if not body.get("nodeName") and (node := _meant_for(body)):
                self.pending[node] = item
            return
        stays = status.get("phase") not in ENDED and not item["metadata"].get("deletionTimestamp")
        if stays and body.get("nodeName") and not body.get("hostNetwork"):
            self.users[body["nodeName"]].append(item)

    def _sort_set(self, item: Object) -> None:
        """Take a DaemonSet that makes the pods of calico-node."""
        if not self.home.has(item):
            return
        for system, apps in APPS.items():
            if app_of(spec(item).get("template") or {}) in apps or item["metadata"]["name"] in apps:
                self.sets[system].append(item)

    def _seen(self, system: str) -> list[Any]:
        return [r for rows in self.own.values() for r in rows if r.component == COMPONENT[system]]

    @cached_property
    def nets(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(cidr, strict=False) for cidr in self.pools]

    @property
    def installed_otherwise(self) -> bool:
        """Whether there is neither a pod of calico-node nor any DaemonSet, so that nothing tells how nodes run it."""
        return not any(self.several.values()) and (self.daemonsets is None or not any(self.daemonsets.rows(dict)))

    # ---- one node

    def row(self, node: Object) -> Object:
        meta = node["metadata"]
        system = (meta.get("labels") or {}).get("kubernetes.io/os", LINUX)
        head = {"node": meta["name"], "system": system, "since": meta.get("creationTimestamp")}
        mine = [r for r in self.own.get(meta["name"], ()) if r.component == COMPONENT.get(system)]
        return head | (self._present(mine) if mine else self._without(node, system))

    def _present(self, mine: list[Any]) -> Object:
        """The best of the node's pods: one that is being deleted counts only where there is no other."""
        row = max(mine, key=lambda r: (pd.isna(r.deleted), bool(r.ready), str(r.created)))
        state = "ending" if pd.notna(row.deleted) else "ready" if row.ready else "not-ready"
        reasons = [str(t) for t in (row.waiting, row.message) if isinstance(t, str)]
        said = {
            "ready": "its pod is ready",
            "ending": "its pod is being deleted, and there is no other",
            "not-ready": f"its pod is not ready ({'; '.join(reasons) or row.phase})",
        }
        since = row.deleted if state == "ending" else row.ready_since
        return {"state": state, "pod": pod_ref(row), "pods": [], "told": said[state], "wanted": None} | (
            {"since": since} if pd.notna(since) else {}
        )

    def _without(self, node: Object, system: str) -> Object:
        name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
        wanted, away = self._wanted(node, system)
        users = self._users(name)
        row = {"wanted": wanted, "pods": users, "pod": None}
        if system == WINDOWS and not self.several[WINDOWS] and not self.sets[WINDOWS]:
            told = "Calico for Windows may run as Windows services, which the API does not show"
            return row | {"state": "unknown", "told": told}
        if any(labels.get(k) == v for k, v in SERVERLESS):
            return row | {
                "state": "not-needed",
                "told": "it is no machine (virtual-kubelet, Fargate): no pod of a DaemonSet can run there",
            }
        if self.installed_otherwise:
            return row | {"state": "unknown", "told": "no calico-node pod and no DaemonSet is known in this cluster"}
        if self._list_is_cut(system):
            return row | {
                "state": "unknown",
                "told": "the list of pods lacks calico-node's pods, which are ready as their DaemonSet says",
            }
        if wanted:
            why, told = self._kept(name)
            return row | {"state": "absent", "why": why, "told": told}
        if users:
            told = f"{away[1]}; {_named(users)} there" if away else f"{_named(users)} there"
            return row | {"state": "absent", "why": away[0] if away else "missing", "told": told}
        if wanted is None and not self.users.get(name):
            return row | {"state": "unknown", "told": "whether the DaemonSet wants a pod there is not known"}
        return row | {"state": "not-needed", "told": self._spared(name, away)}

    def _wanted(self, node: Object, system: str) -> tuple[bool | None, tuple[str, str] | None]:
        """Whether a DaemonSet wants the node, and what keeps its pods away where none does."""
        if self.daemonsets is None:
            return None, None
        away = None
        for item in self.sets[system]:
            found = keeps_away(spec(spec(item).get("template") or {}), node)
            if found is None:
                return True, None
            away = away or found
        return False, away or ("no-daemonset", "there is no DaemonSet calico-node")

    def _users(self, node: str) -> list[str]:
        """Pods there that have a network of Calico's, or wait for one where nothing shows another network."""
        mine = self.users.get(node, [])
        ours = [p for p in mine if _is_calicos(p, self.nets)]
        waiting = [p for p in mine if not _addresses(p)]
        others = [p for p in mine if _addresses(p) and p not in ours]
        chosen = ours + ([] if others and not ours else waiting)
        return [f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in chosen]

    def _list_is_cut(self, system: str) -> bool:
        """Whether no pod of calico-node is listed at all, though its DaemonSet has ready ones."""
        ready = sum((i.get("status") or {}).get("numberReady") or 0 for i in self.sets[system])
        return bool(ready) and not self.several[system]

    def _kept(self, node: str) -> tuple[str, str]:
        """Why a pod that the DaemonSet wants is not there."""
        if (pod := self.pending.get(node)) is not None:
            said = [c.get("message") for c in (pod.get("status") or {}).get("conditions") or () if c.get("message")]
            return (
                "pending",
                f"its pod {pod['metadata']['name']} is not scheduled: {'; '.join(said) or 'no reason given'}",
            )
        if self.events is not None:
            failed = self.events[(self.events["kind"] == "DaemonSet") & (self.events["reason"] == "FailedCreate")]
            names = [i["metadata"]["name"] for found in self.sets.values() for i in found]
            for message in failed[failed["name"].isin(names)].sort_values("last")["message"].dropna().tail(1):
                why = "quota" if "quota" in message else "missing"
                return why, f"the DaemonSet cannot create its pod: {message}"
        return "missing", "the DaemonSet wants a pod there, and there is none"

    def _spared(self, node: str, away: tuple[str, str] | None) -> str:
        others = [p for p in self.users.get(node, ()) if _addresses(p)]
        if others:
            return f"another network serves its pods ({len(others)} have addresses that are not Calico's)"
        reason = f"{away[1]}, and " if away else ""
        return f"{reason}no pod with a network of its own runs or waits there"


def _meant_for(body: Object) -> str | None:
    """The node that a DaemonSet's pod is made for, before the scheduler has bound it."""
    affinity = ((body.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for match in term.get("matchFields") or ():
            if match.get("key") == "metadata.name" and match.get("values"):
                return str(match["values"][0])
    return None


def _addresses(pod: Object) -> list[str]:
    status = pod.get("status") or {}
    return [i["ip"] for i in status.get("podIPs") or () if i.get("ip")] or [a for a in [status.get("podIP")] if a]


def _is_calicos(pod: Object, pools: list[IPv4Network | IPv6Network]) -> bool:
    """Whether Calico's plugin set up its network: its annotations say so, or its address is of a pool."""
    notes: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    said = any(notes.get(f"{CNI}{k}") for k in ("podIP", "podIPs", "containerID"))
    return said or any(ip_address(a) in net for a in _addresses(pod) for net in pools)


def _named(users: list[str]) -> str:
    """The pods that need it, in words."""
    said = "has Calico's network, or waits for it," if len(users) == 1 else "have Calico's network, or wait for it,"
    return f"{listed(users)} {said}"

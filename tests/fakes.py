"""A small in-memory source that delays, fails and withholds; and Calico's objects made from the API's types."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from msgspec import json

from calicokit.cluster import Cluster
from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want
from calicokit.evidence.own_pods import CONTROLLERS
from tests.clusters import Sharing

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OLD = "2026-03-01T08:00:00Z"
OLD_GO = "2026-03-01 08:00:00.5 +0000 UTC"


@dataclass
class MemorySource(Source):
    """Answers from a dict. ``slow`` and ``refused`` say how long a want takes and why it is refused.

    All wants of one fetch are asked at once; after ``deadline`` seconds those that did not answer are missing.
    """

    answers: dict[Want, bytes]
    slow: dict[Want, float] = field(default_factory=dict)
    refused: dict[Want, str] = field(default_factory=dict)
    withheld: set[Want] = field(default_factory=set)
    partial: dict[Want, str] = field(default_factory=dict)
    deadline: float = 5.0
    name: str = "memory"
    known_nodes: Sequence[str] = ()
    time: datetime | None = NOW
    asked: list[tuple[Want, ...]] = field(default_factory=list)

    def nodes(self) -> Sequence[str]:
        return self.known_nodes

    def now(self) -> datetime | None:
        return self.time

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        self.asked.append(tuple(wants))
        if not self.slow:
            given = [w for w in wants if w not in self.withheld]
            yield from ((w, self._answer(w)) for w in random.sample(given, len(given)))
            return
        pool = ThreadPoolExecutor(max_workers=max(1, len(wants)))
        jobs = {pool.submit(self._answer, w): w for w in wants if w not in self.withheld}
        done, late = wait(jobs, timeout=self.deadline)
        for job in done:
            yield jobs[job], job.result()
        for job in late:
            yield jobs[job], Missing(jobs[job].id, f"no answer within {self.deadline:g} s", jobs[job].node)
        pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, want: Want) -> Answer:
        time.sleep(self.slow.get(want, 0))
        if want in self.refused:
            return Missing(want.id, self.refused[want], want.node)
        if want not in self.answers:
            return Missing(want.id, "not listed", want.node)
        text = self.answers[want]
        return Evidence(want, text, command=f"get {want.id}", time=self.time, partial=self.partial.get(want, ""))


def api_list(items: Iterable[dict[str, Any]], revision: int = 1000) -> bytes:
    return json.encode({"kind": "List", "metadata": {"resourceVersion": str(revision)}, "items": list(items)})


EMPTY = [
    "nodes",
    "pods",
    "namespaces",
    "services",
    "events",
    "daemonsets",
    "deployments",
    "clusterinformations",
    "kubecontrollersconfigurations",
    "ippools",
    "ipamblocks",
    "blockaffinities",
    "ipamhandles",
    "ipamconfigs",
    "ipreservations",
    "bgpconfigurations",
    "bgppeers",
]


def source_of(**lists: list[dict[str, Any]] | None) -> MemorySource:
    """A source with these API lists; the others are empty, those given as None are not listed."""
    full = {**{k: [] for k in EMPTY}, **lists}
    return MemorySource({Want(k): api_list(v) for k, v in full.items() if v is not None})


def cluster_of(**lists: list[dict[str, Any]] | None) -> Cluster:
    return Sharing(source_of(**lists))


def ids(cluster: Cluster, at_least: str = "info") -> list[str]:
    from calicokit.diagnosis.model import SEVERITIES

    loud = SEVERITIES[SEVERITIES.index(at_least) :]
    return [f.id for f in cluster.check() if f.severity in loud]


def pool(name: str, cidr: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": OLD}, "spec": {"cidr": cidr, "natOutgoing": True, **spec}}


def who(pod: str, node: str, since: str = OLD_GO) -> dict[str, Any]:
    """The attribute of an address given to a pod, ``NS/POD``."""
    namespace, name = pod.split("/")
    return {
        "handle_id": f"k8s-pod-network.{namespace}-{name}",
        "secondary": {"namespace": namespace, "node": node, "pod": name, "timestamp": since},
    }


def tunnel(node: str, kind: str = "vxlanTunnelAddress") -> dict[str, Any]:
    return {"handle_id": f"vxlan-tunnel-addr-{node}", "secondary": {"node": node, "type": kind}}


def block(cidr: str, node: str | None, given: dict[int, dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """A block whose ordinals are given as in ``given``."""
    net = ipaddress.ip_network(cidr)
    attributes = [given[o] for o in sorted(given)]
    index = {o: i for i, o in enumerate(sorted(given))}
    body = {
        "cidr": cidr,
        "affinity": f"host:{node}" if node else None,
        "allocations": [index.get(o) for o in range(net.num_addresses)],
        "attributes": attributes,
        "unallocated": [o for o in range(net.num_addresses) if o not in index],
        "deleted": False,
        **spec,
    }
    name = cidr.translate(str.maketrans(".:/", "---"))
    return {"metadata": {"name": name, "resourceVersion": "500", "creationTimestamp": OLD}, "spec": body}


def affinity(node: str, cidr: str, state: str = "confirmed", **spec: Any) -> dict[str, Any]:
    body = {"node": node, "cidr": cidr, "state": state, "deleted": "false", "type": "host", **spec}
    return {"metadata": {"name": f"{node}-{cidr}", "creationTimestamp": OLD}, "spec": body}


def handles(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """The handles that agree with these blocks."""
    counted: dict[str, dict[str, int]] = {}
    for item in blocks:
        for attribute in item["spec"]["attributes"]:
            if "handle_id" in attribute:
                per = counted.setdefault(attribute["handle_id"], {})
                per[item["spec"]["cidr"]] = per.get(item["spec"]["cidr"], 0) + 1
    return [handle(h, block=b) for h, b in counted.items()]


def handle(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name.lower()}, "spec": {"handleID": name, "deleted": False, **spec}}


def pod(ref: str, node: str | None, *addresses: str, phase: str = "Running", **more: Any) -> dict[str, Any]:
    namespace, name = ref.split("/")
    meta = {"namespace": namespace, "name": name, "creationTimestamp": OLD, **more.pop("metadata", {})}
    status = {"phase": phase, "podIPs": [{"ip": a} for a in addresses], **more.pop("status", {})}
    return {"metadata": meta, "spec": {"nodeName": node, "containers": [], **more}, "status": status}


def own(app: str = "calico-node") -> dict[str, Any]:
    """What the metadata of a pod of Calico's own has: its label, and who made it."""
    kind = CONTROLLERS.get(app, "DaemonSet")
    name = app if kind == "DaemonSet" else f"{app}-5d4f8b6c7d"
    return {"labels": {"k8s-app": app}, "ownerReferences": [{"kind": kind, "name": name, "controller": True}]}


def waiting_pod(ref: str, node: str) -> dict[str, Any]:
    return pod(ref, node, phase="Pending")


def node(name: str, address: str = "", labels: dict[str, str] | None = None, **notes: str) -> dict[str, Any]:
    annotations = {f"projectcalico.org/{k}": v for k, v in notes.items()}
    status = {"addresses": [{"type": "InternalIP", "address": address}] if address else []}
    return {
        "metadata": {"name": name, "labels": labels or {}, "annotations": annotations},
        "spec": {},
        "status": status,
    }


def namespace(name: str, labels: dict[str, str] | None = None, **notes: str) -> dict[str, Any]:
    annotations = {f"cni.projectcalico.org/{k}": v for k, v in notes.items()}
    return {"metadata": {"name": name, "labels": labels or {}, "annotations": annotations}}


def sandbox_event(ref: str, error: str, host: str = "", last: str = "2026-03-01T11:59:30Z") -> dict[str, Any]:
    """The kubelet's event for a pod whose sandbox the CNI plugin could not set up."""
    space, name = ref.split("/")
    message = (
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
        f'"0a1b2c": plugin type="calico" failed (add): {error}'
    )
    return {
        "metadata": {"name": f"{name}.1", "namespace": space},
        "involvedObject": {"kind": "Pod", "namespace": space, "name": name},
        "type": "Warning",
        "reason": "FailedCreatePodSandBox",
        "message": message,
        "count": 3,
        "firstTimestamp": "2026-03-01T11:58:00Z",
        "lastTimestamp": last,
        "source": {"component": "kubelet", "host": host},
    }


def config(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "default"}, "spec": {"strictAffinity": False, "autoAllocateBlocks": True, **spec}}

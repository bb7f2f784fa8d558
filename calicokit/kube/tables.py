"""Tables of Kubernetes' objects, as Calico reads them.

With the Kubernetes datastore, workload endpoints are no objects: Calico derives each from a pod, and so does
``kube.workload_endpoints`` (source: libcalico-go/lib/backend/k8s/conversion).
"""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, Row, labels, spec
from calicokit.net import canonical_address, canonical_cidr
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

CNI = "cni.projectcalico.org/"
CALICO = "projectcalico.org/"
FINISHED = ("Failed", "Succeeded", "Completed")

TUNNELS = {
    "IPv4IPIPTunnelAddr": "ipipTunnelAddress",
    "IPv4VXLANTunnelAddr": "vxlanTunnelAddress",
    "IPv6VXLANTunnelAddr": "vxlanV6TunnelAddress",
    "IPv4WireguardInterfaceAddr": "wireguardTunnelAddress",
    "IPv6WireguardInterfaceAddr": "wireguardV6TunnelAddress",
}
"""Node annotation → the ``type`` attribute of its allocation (source: node/pkg/allocateip, resources/node.go)."""

EVIDENCE = Column("evidence", "str", "source: file of the recording, or evidence id and node")

NODES = Schema(
    "kube.nodes",
    "Nodes, with Calico's annotations.",
    (
        Column("node", "str", "name of the node"),
        Column("addresses", "list", "Kubernetes' InternalIP addresses"),
        Column("calico_addresses", "list", "the addresses that Calico chose for BGP and tunnels"),
        Column("pod_cidrs", "list", "spec.podCIDRs; Calico's IPAM does not use them"),
        Column("system", "str", "operating system: linux or windows"),
        Column("schedulable", "bool", "false where cordoned"),
        Column("labels", "map", "labels, as selectors see them"),
        Column("created", "time", "creation time"),
        EVIDENCE,
    ),
    key=("node",),
)

TUNNEL_ADDRESSES = Schema(
    "kube.tunnels",
    "Tunnel addresses that nodes use, from their annotations.",
    (
        Column("node", "str", "name of the node"),
        Column("type", "str", "as in the allocation's attribute: vxlanTunnelAddress, ipipTunnelAddress, …"),
        Column("address", "str", "the address"),
        EVIDENCE,
    ),
    key=("node", "type"),
)

PODS = Schema(
    "kube.pods",
    "All pods, with the fields that matter for their network.",
    (
        Column("namespace", "str", "namespace"),
        Column("pod", "str", "name of the pod"),
        Column("node", "str", "node it is scheduled to; null if none yet"),
        Column("phase", "str", "status.phase"),
        Column("host_network", "bool", "host-networked: no workload endpoint, no address from a pool"),
        Column("finished", "bool", "completed, or its address was released by Calico: its addresses are free again"),
        Column("addresses", "list", "the addresses it uses, canonical; status first, then Calico's annotations"),
        Column("ready", "bool", "condition Ready"),
        Column("restarts", "int", "restarts of all its containers", "restarts"),
        Column("container_id", "str", "pod sandbox that Calico's CNI plugin set up"),
        Column("service_account", "str", "service account"),
        Column("created", "time", "creation time"),
        Column("deleted", "time", "deletion time, where requested"),
        Column("labels", "map", "labels"),
        Column("annotations", "map", "annotations of cni.projectcalico.org, without their prefix"),
        EVIDENCE,
    ),
    key=("namespace", "pod"),
)

ENDPOINTS = Schema(
    "kube.workload_endpoints",
    "Workload endpoints as Calico derives them from pods; what `calicoctl get workloadendpoints` would show.",
    (
        Column("namespace", "str", "namespace"),
        Column("pod", "str", "name of the pod"),
        Column("workload_endpoint", "str", "name of the endpoint"),
        Column("node", "str", "node"),
        Column("networks", "list", "addresses as /32 and /128"),
        Column("interface", "str", "its interface on the node"),
        Column("profiles", "list", "profiles: of the namespace and of the service account"),
        EVIDENCE,
    ),
    key=("namespace", "pod"),
)

NAMESPACES = Schema(
    "kube.namespaces",
    "Namespaces, with the fields that IPAM and selectors use.",
    (
        Column("namespace", "str", "name"),
        Column("labels", "map", "labels"),
        Column("annotations", "map", "annotations of cni.projectcalico.org, without their prefix"),
        EVIDENCE,
    ),
    key=("namespace",),
)

SERVICES = Schema(
    "kube.services",
    "Services and their addresses.",
    (
        Column("namespace", "str", "namespace"),
        Column("service", "str", "name"),
        Column("type", "str", "ClusterIP, NodePort, LoadBalancer or ExternalName"),
        Column("cluster_ips", "list", "service addresses; empty for headless services"),
        Column("load_balancer_ips", "list", "addresses in status.loadBalancer"),
        Column("load_balancer_class", "str", "spec.loadBalancerClass"),
        Column("requests_calico", "bool", "requests its address from Calico by annotation or spec.loadBalancerIP"),
        EVIDENCE,
    ),
    key=("namespace", "service"),
)

EVENTS = Schema(
    "kube.events",
    "Events, as long as the API server keeps them (an hour unless set otherwise).",
    (
        Column("namespace", "str", "namespace of the object"),
        Column("kind", "str", "kind of the object"),
        Column("name", "str", "name of the object"),
        Column("type", "str", "Normal or Warning"),
        Column("reason", "str", "reason, one word"),
        Column("message", "str", "message"),
        Column("count", "int", "times seen", "events"),
        Column("first", "time", "first seen"),
        Column("last", "time", "last seen"),
        Column("node", "str", "node of the component that said it"),
        EVIDENCE,
    ),
)


@table(NODES, needs={"objects": "nodes"})
def nodes(objects: Objects) -> pd.DataFrame:
    """One row a node; see :data:`NODES`."""
    return objects.frame(NODES, _node)


def _node(item: Object) -> Object:
    meta, status = item["metadata"], item.get("status") or {}
    notes = meta.get("annotations") or {}
    own = (notes.get(f"{CALICO}{name}") for name in ("IPv4Address", "IPv6Address"))
    return {
        "node": meta["name"],
        "addresses": [
            canonical_address(a["address"]) for a in status.get("addresses") or [] if a["type"] == "InternalIP"
        ],
        "calico_addresses": [canonical_address(a) for a in own if a],
        "pod_cidrs": [canonical_cidr(c) for c in spec(item).get("podCIDRs") or []],
        "system": (meta.get("labels") or {}).get("kubernetes.io/os", "linux"),
        "schedulable": not spec(item).get("unschedulable", False),
        "labels": labels(item),
        "created": meta.get("creationTimestamp"),
    }


@table(TUNNEL_ADDRESSES, needs={"objects": "nodes"})
def tunnels(objects: Objects) -> pd.DataFrame:
    """One row a tunnel address; see :data:`TUNNEL_ADDRESSES`."""
    return objects.frame(TUNNEL_ADDRESSES, _tunnels)


def _tunnels(item: Object) -> list[Object]:
    meta = item["metadata"]
    notes = meta.get("annotations") or {}
    return [
        {"node": meta["name"], "type": type_, "address": canonical_address(notes[CALICO + key])}
        for key, type_ in TUNNELS.items()
        if notes.get(CALICO + key)
    ]


@table(PODS, needs={"objects": "pods"})
def pods(objects: Objects) -> pd.DataFrame:
    """One row a pod; see :data:`PODS`."""
    return objects.frame(PODS, _pod)


def _pod(item: Object) -> Row:
    """A tuple, as a big cluster has many: the columns of :data:`PODS` in their order."""
    meta, body, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    notes = _cni_annotations(meta)
    return (
        meta["namespace"],
        meta["name"],
        body.get("nodeName") or None,
        status.get("phase"),
        bool(body.get("hostNetwork", False)),
        pod_has_ended(item),
        pod_addresses(item),
        any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()),
        sum(c.get("restartCount", 0) for c in status.get("containerStatuses") or ()),
        notes.get("containerID"),
        body.get("serviceAccountName"),
        meta.get("creationTimestamp"),
        meta.get("deletionTimestamp"),
        meta.get("labels") or {},
        notes,
    )


def _cni_annotations(meta: Object) -> dict[str, str]:
    return {k[len(CNI) :]: v for k, v in (meta.get("annotations") or {}).items() if k.startswith(CNI)}


def pod_has_ended(item: Object) -> bool:
    """Calico's rule: ended, or being deleted and the CNI plugin has emptied the podIP annotation."""
    meta, phase = item["metadata"], (item.get("status") or {}).get("phase")
    taken = (meta.get("annotations") or {}).get(f"{CNI}podIP") == ""
    return phase in FINISHED or bool(meta.get("deletionTimestamp") and taken)


def pod_addresses(item: Object) -> list[str]:
    """The addresses that a pod uses, canonical: its status', else those in Calico's annotations."""
    status, notes = item.get("status") or {}, _cni_annotations(item["metadata"])
    found = [i["ip"] for i in status.get("podIPs") or []] or [status.get("podIP")]
    if not found[0]:
        found = (notes.get("podIPs") or notes.get("podIP") or "").split(",")
    return [canonical_address(a) for a in found if a]


def workload_of(meta: Object) -> str:
    """The name of what made a pod: its Deployment, StatefulSet, DaemonSet, Job, …; else its own.

    >>> owner = {"kind": "ReplicaSet", "name": "web-6d4b75cb6d", "controller": True}
    >>> workload_of({"name": "web-6d4b75cb6d-x2x9p", "ownerReferences": [owner]})
    'web'
    """
    owner = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
    if owner is None:
        return str(meta["name"])
    name = str(owner["name"])
    return name.rpartition("-")[0] or name if owner.get("kind") == "ReplicaSet" else name


@table(ENDPOINTS, needs={"pods": "kube.pods"})
def workload_endpoints(pods: pd.DataFrame) -> pd.DataFrame:
    """One row for each pod that has a network of its own and a node; see :data:`ENDPOINTS`."""
    own = pods[~pods["host_network"] & pods["node"].notna()]
    return ENDPOINTS.frame(
        {
            "namespace": own["namespace"].tolist(),
            "pod": own["pod"].tolist(),
            "workload_endpoint": [_endpoint_name(n, p) for n, p in cells(own, "node", "pod")],
            "node": own["node"].tolist(),
            "networks": [
                [] if done else [f"{a}/{128 if ':' in a else 32}" for a in addresses]
                for addresses, done in cells(own, "addresses", "finished")
            ],
            "interface": [interface_name(n, p) for n, p in cells(own, "namespace", "pod")],
            "profiles": [
                [f"kns.{n}", *([f"ksa.{n}.{s}"] if isinstance(s, str) and s else [])]
                for n, s in cells(own, "namespace", "service_account")
            ],
            "evidence": own["evidence"].tolist(),
        }
    )


def _endpoint_name(node: str, pod: str) -> str:
    return "-".join((node.replace("-", "--"), "k8s", pod.replace("-", "--"), "eth0"))


def interface_name(namespace: str, pod: str, prefix: str = "cali") -> str:
    """The name of a pod's interface on its node (source: workload_endpoint_default.go, VethNameForWorkload).

    >>> interface_name("kube-system", "coredns-7bff495cd5-m4jwj")
    'cali81077519599'
    """
    digest = hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()
    return prefix + digest[:11]


@table(NAMESPACES, needs={"objects": "namespaces"})
def namespaces(objects: Objects) -> pd.DataFrame:
    """One row a namespace; see :data:`NAMESPACES`."""
    return objects.frame(NAMESPACES, _namespace)


def _namespace(item: Object) -> Object:
    meta = item["metadata"]
    return {"namespace": meta["name"], "labels": meta.get("labels") or {}, "annotations": _cni_annotations(meta)}


@table(SERVICES, needs={"objects": "services"})
def services(objects: Objects) -> pd.DataFrame:
    """One row a service; see :data:`SERVICES`."""
    return objects.frame(SERVICES, _service)


def _service(item: Object) -> Object:
    meta, body = item["metadata"], spec(item)
    ingress = ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    ips = body.get("clusterIPs") or [body.get("clusterIP")]
    asks = {f"{CALICO}{k}" for k in ("ipv4pools", "ipv6pools", "loadBalancerIPs")}
    return {
        "namespace": meta["namespace"],
        "service": meta["name"],
        "type": body.get("type", "ClusterIP"),
        "cluster_ips": [canonical_address(i) for i in ips if i and i != "None"],
        "load_balancer_ips": [canonical_address(i["ip"]) for i in ingress if i.get("ip")],
        "load_balancer_class": body.get("loadBalancerClass"),
        "requests_calico": bool(asks & set(meta.get("annotations") or {})) or bool(body.get("loadBalancerIP")),
    }


@table(EVENTS, needs={"objects": "events"})
def events(objects: Objects) -> pd.DataFrame:
    """One row an event; see :data:`EVENTS`."""
    return objects.frame(EVENTS, _event)


def _event(item: Object) -> Object:
    about, series = item.get("involvedObject") or {}, item.get("series") or {}
    last = item.get("lastTimestamp") or series.get("lastObservedTime") or item.get("eventTime")
    return {
        "namespace": about.get("namespace"),
        "kind": about.get("kind"),
        "name": about.get("name"),
        "type": item.get("type"),
        "reason": item.get("reason"),
        "message": item.get("message"),
        "count": item.get("count") or series.get("count") or 1,
        "first": item.get("firstTimestamp") or item.get("eventTime"),
        "last": last or item["metadata"].get("creationTimestamp"),
        "node": (item.get("source") or {}).get("host") or None,
    }


def pod_ref(row: Any) -> str:
    """NS/POD of a row, as findings name pods; POD alone where its namespace is not known."""
    return f"{row.namespace}/{row.pod}" if isinstance(row.namespace, str) else str(row.pod)

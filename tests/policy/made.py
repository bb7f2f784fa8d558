"""Policy's objects, made from the API's types, and clusters of them."""

from __future__ import annotations

from typing import Any

from calicokit.cluster import Cluster
from calicokit.policy.explain import Explainer
from calicokit.policy.read import LISTS
from tests.fakes import cluster_of, namespace, node, pod

Object = dict[str, Any]
CALICO = "crd.projectcalico.org/v1"


def app(ref: str, on: str, address: str, labels: dict[str, str] | None = None, **more: Any) -> Object:
    """A pod with labels (``app`` is its name up to the first dash) and named ports: ``ports={"http": 8080}``."""
    name = ref.split("/")[1]
    own = {"app": name.split("-")[0], **(labels or {})}
    ports = [{"name": n, "containerPort": p, "protocol": "TCP"} for n, p in more.pop("ports", {"http": 8080}).items()]
    owner = {"kind": "StatefulSet", "name": name.split("-")[0], "controller": True}
    made = pod(ref, on, *address.split(","), metadata={"labels": own, "ownerReferences": [owner]}, **more)
    made["spec"]["containers"] = [{"name": "c", "ports": ports}]
    return made


def tier(name: str, order: float | None, action: str = "Deny") -> Object:
    return {"metadata": {"name": name}, "spec": {"order": order, "defaultAction": action}}


def gnp(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": spec}


def np(ref: str, **spec: Any) -> Object:
    space, name = ref.split("/")
    return {"metadata": {"name": name, "namespace": space}, "spec": spec}


def knp(ref: str, selector: Object | None = None, types: list[str] | None = None, **spec: Any) -> Object:
    """A Kubernetes policy with its defaults filled in, as the API server stores it."""
    filled = types or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return np(ref, podSelector=selector or {}, policyTypes=filled, **spec)


def service(ref: str, address: str, *ports: tuple[int, int], **spec: Any) -> Object:
    space, name = ref.split("/")
    listed = [{"name": f"p{a}", "port": a, "targetPort": b, "protocol": "TCP"} for a, b in ports]
    return {
        "metadata": {"name": name, "namespace": space},
        "spec": {"clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "ports": listed, **spec},
    }


def endpoints(ref: str, *backends: tuple[str, str], ports: tuple[tuple[int, int], ...] = ((80, 8080),)) -> Object:
    """A slice of a service: backends as (address, node)."""
    space, name = ref.split("/")
    return {
        "metadata": {"name": f"{name}-x", "namespace": space, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}, "nodeName": n} for a, n in backends],
        "ports": [{"name": f"p{a}", "port": b, "protocol": "TCP"} for a, b in ports],
    }


def hep(name: str, on: str, *addresses: str, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    body = {"node": on, "interfaceName": "*", "expectedIPs": list(addresses), **spec}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": body}


def felix(**spec: Any) -> Object:
    return {"metadata": {"name": "default"}, "spec": {"defaultEndpointToHostAction": "Accept", **spec}}


NODES = [
    node("n1", "172.16.0.1", IPv4Address="172.16.0.1/24", IPv4VXLANTunnelAddr="10.0.1.0"),
    node("n2", "172.16.0.2", IPv4Address="172.16.0.2/24", IPv4VXLANTunnelAddr="10.0.2.0"),
]
PODS = [
    app("a/web-1", "n1", "10.0.1.1"),
    app("a/api-1", "n1", "10.0.1.2"),
    app("a/db-1", "n2", "10.0.2.1", {"role": "data"}),
    app("b/web-1", "n2", "10.0.2.2", {"team": "blue"}, serviceAccountName="robot"),
]
SPACES = [namespace("a", {"env": "prod"}), namespace("b", {"env": "test"})]
ACCOUNTS = [{"metadata": {"name": "robot", "namespace": "b", "labels": {"kind": "bot"}}}]
POOL = {"metadata": {"name": "pool"}, "spec": {"cidr": "10.0.0.0/16", "natOutgoing": True}}
DEFAULT = {
    "pods": PODS,
    "nodes": NODES,
    "namespaces": SPACES,
    "serviceaccounts": ACCOUNTS,
    "ippools": [POOL],
    "tiers": [tier("default", 1_000_000)],
    "felixconfigurations": [felix()],
}


def cluster(**lists: list[Object] | None) -> Cluster:
    """A cluster of two nodes and four pods; underscores in names of lists stand for dashes."""
    named = {k.replace("_", "-"): v for k, v in lists.items()}
    return cluster_of(**{**{k: [] for k in LISTS}, **DEFAULT, **named})


def explainer(**lists: list[Object] | None) -> Explainer:
    return cluster(**lists).explainer()


def verdict(found: Explainer, src: str, dst: str, port: int | None = 8080, proto: str = "tcp") -> str:
    return found.explain(src, dst, port, proto).verdict


def decided(found: Explainer, src: str, dst: str, port: int | None = 8080, proto: str = "tcp") -> tuple[Any, ...]:
    """Action, direction, name and rule of what decides."""
    by = found.explain(src, dst, port, proto).decided_by
    assert by is not None
    return by.action, by.direction, by.name, by.rule

"""What the resources say of BGP: nodes, BGPConfiguration and BGPPeers.

Sources: libcalico-go/lib/backend/k8s/resources/node.go (with the Kubernetes datastore a node's BGP fields are
annotations), syncersv1/updateprocessors/bgpnodeprocessor.go (what of them reaches confd), confd's client.go.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, labels, name_of, spec
from calicokit.kube.tables import CALICO, EVIDENCE
from calicokit.net import canonical_address
from calicokit.registry import table
from calicokit.schema import Column, Schema

NODE_CONFIG = "node."
"""A BGPConfiguration of this prefix and a node's name is for that node."""

DEFAULT_AS = 64512

NODES = Schema(
    "bgp.nodes",
    "BGP settings of each node: addresses, AS, port and cluster id.",
    (
        Column("node", "str", "name of the node"),
        Column("system", "str", "operating system: linux or windows"),
        Column("address", "str", "its IPv4 address for BGP; null: no IPv4 session"),
        Column("address6", "str", "its IPv6 address for BGP; null: no IPv6 session"),
        Column("network", "str", "address and length of its IPv4 network, as Calico chose it"),
        Column("network6", "str", "address and length of its IPv6 network, as Calico chose it"),
        Column("kubernetes_addresses", "list", "Kubernetes' InternalIP addresses of it"),
        Column("own_as", "int", "AS number set on the node; null: the cluster's"),
        Column("as_number", "int", "AS number in use"),
        Column("cluster_id", "str", "cluster id, where it is a route reflector"),
        Column("listen_port", "int", "listen port; null: 179, the default"),
        Column("group", "str", "rack, else zone, from its labels; null for none"),
        Column("labels", "map", "labels, as selectors see them"),
        Column("created", "time", "creation time"),
        EVIDENCE,
    ),
    key=("node",),
)

CONFIGURATION = Schema(
    "bgp.configuration",
    "BGPConfiguration as it takes effect, with Calico's defaults where nothing is set: one row for the cluster.",
    (
        Column("mesh", "bool", "node-to-node mesh (nodeToNodeMeshEnabled)"),
        Column("as_number", "int", "default AS number of nodes"),
        Column("listen_port", "int", "BIRD's listen port; null: 179, the default"),
        Column("bind_mode", "str", "None: listen on all addresses; NodeIP: on the node's address only"),
        Column("mesh_password", "str", "SECRET/KEY of the mesh's password; null for none"),
        Column("mesh_restart_time", "int", "nodeMeshMaxRestartTime", "s"),
        Column("service_ranges", "list", "service addresses that are advertised"),
        Column("workload_peering", "list", "node addresses for peering with local workloads"),
        Column("present", "bool", "the object default exists"),
        EVIDENCE,
    ),
)

NODE_CONFIGURATIONS = Schema(
    "bgp.node_configurations",
    "Per-node BGPConfigurations (node.NAME).",
    (
        Column("node", "str", "name of the node"),
        Column("listen_port", "int", "port that its BIRD listens on"),
        EVIDENCE,
    ),
    key=("node",),
)

BGP_PEERS = Schema(
    "bgp.peers",
    "BGPPeers and their settings.",
    (
        Column("peer", "str", "name of the BGPPeer"),
        Column("node", "str", "spec.node: the single node it applies to"),
        Column("node_selector", "str", "selector of the nodes it applies to; all nodes if neither is set"),
        Column("peer_ip", "str", "peerIP, as written"),
        Column("address", "str", "address; null if absent or malformed"),
        Column("port", "int", "its port, where peerIP has one"),
        Column("as_number", "int", "AS number of the peer"),
        Column("peer_selector", "str", "selector of the nodes to peer with"),
        Column("workload_selector", "str", "selector of local workloads to peer with"),
        Column("source_address", "str", "UseNodeIP or None"),
        Column("password", "str", "SECRET/KEY of the password; null for none"),
        Column("ttl", "int", "ttlSecurity: maximum hops", "hops"),
        Column("filters", "list", "BGPFilters, in their order"),
        Column("reachable_by", "str", "gateway of a static route to the peer"),
        Column("local_as", "int", "localASNumber: local AS used towards this peer"),
        Column(
            "next_hop", "str", "Keep or Self (nextHopMode, or keepOriginalNextHop: keep-external); null for neither"
        ),
        Column("reverse", "bool", "the peering is also configured at the peer nodes (reversePeering)"),
        Column("restart_time", "int", "maxRestartTime", "s"),
        Column("keepalive_time", "int", "keepaliveTime", "s"),
        Column("allow_local_as", "int", "numAllowedLocalASNumbers"),
        EVIDENCE,
    ),
    key=("peer",),
)

PEERS = Schema(
    "bgp.external_peers",
    "BGPPeers to external routers.",
    (
        Column("peer", "str", "name of the BGPPeer"),
        Column("address", "str", "address of the router"),
        Column("as_number", "str", "its AS number"),
        EVIDENCE,
    ),
    key=("peer",),
)


@table(PEERS, needs={"objects": "bgppeers", "nodes": "kube.nodes"})
def external_peers(objects: Objects, nodes: pd.DataFrame) -> pd.DataFrame:
    """One row for each BGPPeer with the address of a router outside; see :data:`PEERS`."""
    inside = {a for addresses in [*nodes["addresses"], *nodes["calico_addresses"]] for a in addresses}
    peers = objects.frame(PEERS, _peer)
    return PEERS.take(peers[~peers["address"].isin(inside)])


def _peer(item: Object) -> list[Object]:
    body: dict[str, Any] = spec(item)
    if not body.get("peerIP"):
        return []
    number = body.get("asNumber")
    row = {"peer": item["metadata"]["name"], "address": canonical_address(host_and_port(body["peerIP"])[0])}
    return [{**row, "as_number": None if number is None else str(number)}]


def host_and_port(text: str) -> tuple[str, int | None]:
    """Host and port of ``v4``, ``v4:port``, ``v6`` or ``[v6]:port``, as Go's net.SplitHostPort reads them.

    >>> host_and_port("10.0.0.1:178"), host_and_port("fd00::1"), host_and_port("[fd00::1]:178")
    (('10.0.0.1', 178), ('fd00::1', None), ('fd00::1', 178))
    """
    match = _BRACKETS.fullmatch(text) or _HOST_PORT.fullmatch(text)
    return (match[1], int(match[2])) if match and int(match[2]) < 1 << 16 else (text, None)


_BRACKETS = re.compile(r"\[([^\[\]]+)\]:(\d{1,5})")
_HOST_PORT = re.compile(r"([^:\[\]]+):(\d{1,5})")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def as_number(text: object) -> int | None:
    """An AS number, also in dotted form; None for none.

    >>> as_number("65001"), as_number("1.10"), as_number(None)
    (65001, 65546, None)
    """
    if text is None or text == "":
        return None
    high, _, low = str(text).partition(".")
    return (int(high) << 16) + int(low) if low else int(high)


def seconds(text: object) -> int | None:
    """A duration of Kubernetes (``2m0s``) in whole seconds, as confd rounds it."""
    parts = _SPAN.findall(str(text or ""))
    return round(sum(float(n) * _SECONDS[unit] for n, unit in parts)) if parts else None


def _secret(reference: Object | None) -> str | None:
    """SECRET/KEY; its value is never read."""
    key = (reference or {}).get("secretKeyRef") or {}
    return f"{key.get('name')}/{key.get('key')}" if key else None


def _address(text: str | None, version: int) -> str | None:
    """The address confd takes from an annotation; one that it cannot parse counts as none."""
    try:
        found = ipaddress.ip_interface(text or "").ip
    except ValueError:
        return None
    return str(found) if found.version == version else None


@table(CONFIGURATION, needs={"objects": "bgpconfigurations"})
def configuration(objects: Objects) -> pd.DataFrame:
    """One row; see :data:`CONFIGURATION`."""
    default: Object = next((o for o in objects.rows(dict) if name_of(o) == "default"), {})
    body = spec(default)
    mesh = body.get("nodeToNodeMeshEnabled")
    ranges = [body.get(f"service{kind}IPs") or [] for kind in ("Cluster", "External", "LoadBalancer")]
    peering = (body.get("localWorkloadPeeringIPV4"), body.get("localWorkloadPeeringIPV6"))
    row = {
        "mesh": mesh is None or bool(mesh),
        "as_number": as_number(body.get("asNumber")) or DEFAULT_AS,
        "listen_port": body.get("listenPort") or None,
        "bind_mode": body.get("bindMode") or "None",
        "mesh_password": _secret(body.get("nodeMeshPassword")),
        "mesh_restart_time": seconds(body.get("nodeMeshMaxRestartTime")),
        "service_ranges": [r["cidr"] for kind in ranges for r in kind if r.get("cidr")],
        "workload_peering": [a for a in peering if a],
        "present": bool(default),
        "evidence": objects.ref,
    }
    return CONFIGURATION.frame([row])


@table(NODE_CONFIGURATIONS, needs={"objects": "bgpconfigurations"})
def node_configurations(objects: Objects) -> pd.DataFrame:
    """One row for each node with a BGPConfiguration of its own; see :data:`NODE_CONFIGURATIONS`."""
    return objects.frame(NODE_CONFIGURATIONS, _node_configuration)


def _node_configuration(item: Object) -> list[Object]:
    name: str = item["metadata"]["name"]
    if not name.startswith(NODE_CONFIG):
        return []
    return [{"node": name.removeprefix(NODE_CONFIG), "listen_port": spec(item).get("listenPort") or None}]


@table(NODES, needs={"objects": "nodes", "configuration": "bgp.configuration", "own": "bgp.node_configurations"})
def nodes(objects: Objects, configuration: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """One row a node; see :data:`NODES`."""
    found = objects.frame(NODES, _node)
    found["as_number"] = found["own_as"].fillna(configuration["as_number"].iloc[0])
    ports = dict(zip(own["node"], own["listen_port"], strict=True))
    default = configuration["listen_port"].iloc[0]
    listens = [p if pd.notna(p := ports.get(n)) else default for n in found["node"]]
    found["listen_port"] = pd.Series(listens, index=found.index, dtype="Int64")
    return found


RACKS = ("topology.kubernetes.io/rack", "rack", "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")


def _node(item: Object) -> Object:
    meta = item["metadata"]
    notes = meta.get("annotations") or {}
    own = labels(item)
    cluster = notes.get(f"{CALICO}RouteReflectorClusterID") or ""
    return {
        "node": meta["name"],
        "system": (meta.get("labels") or {}).get("kubernetes.io/os", "linux"),
        "address": _address(notes.get(f"{CALICO}IPv4Address"), 4),
        "address6": _address(notes.get(f"{CALICO}IPv6Address"), 6),
        "network": notes.get(f"{CALICO}IPv4Address") or None,
        "network6": notes.get(f"{CALICO}IPv6Address") or None,
        "kubernetes_addresses": [
            canonical_address(a["address"])
            for a in (item.get("status") or {}).get("addresses") or []
            if a["type"] == "InternalIP"
        ],
        "own_as": as_number(notes.get(f"{CALICO}ASNumber")),
        "cluster_id": _address(cluster, 4),
        "group": next((own[k] for k in RACKS if own.get(k)), None),
        "labels": own,
        "created": meta.get("creationTimestamp"),
    }


@table(BGP_PEERS, needs={"objects": "bgppeers"})
def peers(objects: Objects) -> pd.DataFrame:
    """One row for each BGPPeer; see :data:`BGP_PEERS`."""
    return objects.frame(BGP_PEERS, _bgp_peer)


def _bgp_peer(item: Object) -> Object:
    body = spec(item)
    host, port = host_and_port(body.get("peerIP") or "")
    mode = body.get("nextHopMode")
    kept = "keep-external" if body.get("keepOriginalNextHop") and mode is None else None
    return {
        "peer": item["metadata"]["name"],
        "node": body.get("node") or None,
        "node_selector": body.get("nodeSelector") or None,
        "peer_ip": body.get("peerIP") or None,
        "address": _address(host, 6 if ":" in host else 4),
        "port": port,
        "as_number": as_number(body.get("asNumber")),
        "peer_selector": body.get("peerSelector") or None,
        "workload_selector": body.get("localWorkloadSelector") or None,
        "source_address": body.get("sourceAddress") or "UseNodeIP",
        "password": _secret(body.get("password")),
        "ttl": body.get("ttlSecurity") or None,
        "filters": body.get("filters") or [],
        "reachable_by": body.get("reachableBy") or None,
        "local_as": as_number(body.get("localASNumber")),
        "next_hop": mode if mode in ("Keep", "Self") else kept,
        "reverse": body.get("reversePeering") != "Manual",
        "restart_time": seconds(body.get("maxRestartTime")),
        "keepalive_time": seconds(body.get("keepaliveTime")),
        "allow_local_as": body.get("numAllowedLocalASNumbers") or None,
    }

"""WireGuard: how it is set up on each node, and what its peers say."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.felix.state.configuration import in_force
from calicokit.net import WIREGUARD_PORT
from calicokit.registry import Spared, not_applicable, table
from calicokit.schema import Column, Schema, among, cells, records

WIREGUARD = Schema(
    "routes.wireguard",
    "WireGuard on each node and IP version, where Felix's settings enable it: key, device, routing rule and table.",
    (
        Column("node", "str", "node"),
        Column("version", "int", "4: wireguard.cali, or 6: wg-v6.cali"),
        Column("key", "str", "its public key, which Felix publishes"),
        Column("address", "str", "tunnel address, which Felix publishes; null: none"),
        Column("port", "int", "UDP port that it listens on"),
        Column("device", "bool", "its device exists; null: not seen"),
        Column("rule", "bool", "a rule sends what is not WireGuard's own to its table; null: not seen"),
        Column("table", "str", "that routing table"),
        Column("encrypted", "int", "routes into the device; null: no route of its table was seen", "routes"),
        Column("plain", "int", "routes of its table that leave it (throw): of nodes without a key", "routes"),
        Column("problem", "str", "why it cannot work; null if no problem is known"),
    ),
    key=("node", "version"),
    verified=False,
    source="felix/wireguard/wireguard.go, libcalico-go resources/node.go: no recording has WireGuard",
)

SENT = 10
"""Packets sent, after which silence tells something."""

PEERS = Schema(
    "routes.wireguard_peers",
    "WireGuard peers, from Felix's metrics, and from `wg show` where somebody ran it.",
    (
        Column("node", "str", "node"),
        Column("peer_key", "str", "public key of the peer"),
        Column("peer", "str", "node with this key; null if no Node has it"),
        Column("endpoint", "str", "address and port at which the node reaches it; null where wg show was not seen"),
        Column("allowed_ips", "list", "CIDRs that are sent to it; null where wg show was not seen"),
        Column("handshake", "bool", "a handshake completed since the device was created"),
        Column("handshake_age", "float", "time since the last handshake, as wg show printed it", "s"),
        Column("sent", "float", "bytes sent to it", "bytes"),
        Column("received", "float", "bytes received from it", "bytes"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "peer_key"),
    verified=False,
    source="felix/wireguard/metrics_linux.go, wireguard-tools' src/show.c: no recording has WireGuard",
)

METRICS = {
    "wireguard_latest_handshake_seconds": "handshake",
    "wireguard_bytes_sent": "sent",
    "wireguard_bytes_rcvd": "received",
}
_PEER_KEY = re.compile(r'peer_key="([^"]*)"')


@table(PEERS, needs={"nodes": "nodes"}, any_of={"metrics": "output.felix_metrics", "shown": "output.wg_show"})
def wireguard_peers(
    nodes: Objects, metrics: pd.DataFrame | None = None, shown: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each node and peer; see :data:`PEERS`. The metric's time is before 1970 where there was none."""
    keys = {key: name for name, four, six, _ in nodes.rows(_keys) for key in (four, six) if key}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    if metrics is not None:
        for row in records(metrics[among(metrics["metric"], METRICS)]):
            if match := _PEER_KEY.search(str(row.labels)):
                told = found.setdefault((row.node, match[1]), {"evidence": row.evidence})
                told[METRICS[row.metric]] = row.value > 0 if METRICS[row.metric] == "handshake" else row.value
    for row in records(shown) if shown is not None else ():
        found.setdefault((row.node, row.public_key), {"evidence": row.evidence}).update(_shown(row))
    return PEERS.frame([{"node": n, "peer_key": k, "peer": keys.get(k), **told} for (n, k), told in found.items()])


def _shown(row: Any) -> dict[str, Any]:
    """What ``wg show`` says of a peer; a peer without a handshake has no line of it."""
    age = None if pd.isna(row.latest_handshake) else row.latest_handshake
    end = f"{row.endpoint} port {row.endpoint_port}" if isinstance(row.endpoint, str) else None
    told = {"endpoint": end, "allowed_ips": row.allowed_ips, "handshake": age is not None, "handshake_age": age}
    counted = {"sent": row.sent, "received": row.received}
    return told | {k: v for k, v in counted.items() if pd.notna(v)}


@not_applicable(needs={"_": "kube.nodes"})
def _only_by_hand(_: pd.DataFrame) -> Spared:
    """calico-node's image has no ``wg``: Felix's metrics tell of the same."""
    yield "wg-show", None


@table(
    WIREGUARD,
    needs={"configurations": "felixconfigurations", "nodes": "nodes"},
    wants={
        "felix": "felix.configuration",
        "addresses": "output.ip_addr",
        "tunnels": "routes.tunnels",
        "rules": "output.ip_rule",
        "rules6": "output.ip_rule6",
        "kernel": "routes.kernel",
        "published": "kube.tunnels",
    },
)
def wireguard(
    configurations: Objects,
    nodes: Objects,
    felix: pd.DataFrame | None = None,
    addresses: pd.DataFrame | None = None,
    tunnels: pd.DataFrame | None = None,
    rules: pd.DataFrame | None = None,
    rules6: pd.DataFrame | None = None,
    kernel: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each Linux node and IP version for which WireGuard is on; see :data:`WIREGUARD`."""
    made: list[dict[str, Any]] = []
    for ip, own_rules in ((_IPV4, rules), (_IPV6, rules6)):
        default = any(configurations.rows(partial(_enabled, name=ip.enabled)))
        own = {} if felix is None else in_force(felix, ip.enabled)
        on = {n: own.get(n, str(default).lower()) == "true" for n, *_ in nodes.rows(_keys)}
        if not any(on.values()):
            continue
        sees = _Seen.of(ip, addresses, tunnels, own_rules, kernel)
        ports = {} if felix is None else in_force(felix, ip.listening)
        vteps = {} if published is None else _addresses(published, ip.address)
        for name, four, six, system in nodes.rows(_keys):
            if system != "windows" and on[name]:
                row = {"node": name, "version": ip.version, "key": four if ip is _IPV4 else six}
                row |= {"address": vteps.get(name), "port": int(ports.get(name, ip.port)), **sees.row(name)}
                made.append(row | {"problem": _problem(row, ip, name in sees.silent)})
    return WIREGUARD.frame(made)


def _problem(row: dict[str, Any], ip: _Version, silent: bool) -> str | None:
    """The first link of the chain that is known to be missing: key, device, rule, answers."""
    if row["key"] is None:
        return "no public key is published"
    if row["device"] is False:
        return f"the device {ip.device} does not exist"
    if row["rule"] is False:
        return "no routing rule leads to WireGuard's table, so that nothing is encrypted"
    return f"packets are sent into {ip.device} but none are received" if silent else None


@dataclass(frozen=True)
class _Version:
    """What WireGuard's parts are called for an IP version (felix/config/config_params.go)."""

    version: int
    device: str
    enabled: str
    listening: str
    port: int
    address: str


_IPV4 = _Version(
    *(4, "wireguard.cali", "wireguardEnabled", "wireguardListeningPort", WIREGUARD_PORT, "wireguardTunnelAddress")
)
_IPV6 = _Version(
    *(6, "wg-v6.cali", "wireguardEnabledV6", "wireguardListeningPortV6", 51821, "wireguardV6TunnelAddress")
)


@dataclass
class _Seen:
    """What nodes have in their kernels: the device, the rule to its table, the table's routes."""

    links: set[str]
    devices: set[str]
    silent: set[str]
    ruled: set[str]
    tables: dict[str, str]
    ways: Counter[tuple[str, str]]

    @classmethod
    def of(
        cls,
        ip: _Version,
        addresses: pd.DataFrame | None,
        tunnels: pd.DataFrame | None,
        rules: pd.DataFrame | None,
        kernel: pd.DataFrame | None,
    ) -> _Seen:
        links, devices, silent = set[str](), set[str](), set[str]()
        if addresses is not None:
            links = set(addresses["node"])
            devices = set(addresses[addresses["interface"] == ip.device]["node"])
        if tunnels is not None:
            own = tunnels[tunnels["interface"] == ip.device]
            devices |= set(own["node"])
            silent = set(own[(own["rx_packets"] == 0) & (own["tx_packets"] >= SENT)]["node"])
        found = () if rules is None else cells(rules, "node", "inverted", "fwmark", "table")
        tables = {n: t for n, no, mark, t in found if no is True and pd.notna(mark) and isinstance(t, str)}
        seen = cls(links, devices, silent, set() if rules is None else set(rules["node"]), tables, Counter())
        return seen if kernel is None else seen.with_routes(ip, kernel)

    def with_routes(self, ip: _Version, kernel: pd.DataFrame) -> _Seen:
        own = kernel[kernel["version"] == ip.version]
        for node, where, interface, kind in cells(own, "node", "table", "interface", "type"):
            if where == self.tables.get(node):
                self.ways[node, "plain" if kind == "throw" else "encrypted" if interface == ip.device else ""] += 1
        return self

    def row(self, node: str) -> dict[str, Any]:
        told = {"device": node in self.devices if node in self.links else None}
        told["rule"] = node in self.tables if node in self.ruled else None
        counts: dict[str, int | None] = {k: self.ways[node, k] for k in ("encrypted", "plain")}
        if not any(counts.values()):  # `ip route` alone tells nothing of other tables than main
            counts = dict.fromkeys(counts)
        return told | {"table": self.tables.get(node), **counts}


def _addresses(published: pd.DataFrame, kind: str) -> dict[str, str]:
    return {n: a for n, t, a in cells(published, "node", "type", "address") if t == kind}


def _enabled(item: Object, name: str) -> bool:
    return item["metadata"]["name"] == "default" and bool(spec(item).get(name))


def _keys(item: Object) -> tuple[str, str | None, str | None, str]:
    """Name, public keys of both IP versions, and operating system."""
    meta = item["metadata"]
    notes = meta.get("annotations") or {}
    system = (meta.get("labels") or {}).get("kubernetes.io/os", "linux")
    four, six = (notes.get(f"projectcalico.org/WireguardPublicKey{v}") or None for v in ("", "V6"))
    return meta["name"], four, six, system

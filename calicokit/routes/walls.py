"""Rules of others that keep encapsulated packets out, and how WireGuard is set up."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.net import Prefix, prefix
from calicokit.registry import table
from calicokit.routes.settings import VXLAN_PORT, WIREGUARD_PORT
from calicokit.schema import Column, Schema, among, records

WALLS = Schema(
    "routes.walls",
    "Rules that neither Calico nor kube-proxy wrote and that have dropped or rejected VXLAN, IPIP or WireGuard.",
    (
        Column("node", "str", "node"),
        Column("mode", "str", "vxlan, ipip or wireguard"),
        Column("rule", "str", "the rule"),
        Column("packets", "int", "packets that it dropped; null: not counted"),
    ),
    key=("node", "mode", "rule"),
)

WIREGUARD = Schema(
    "routes.wireguard",
    "WireGuard on each node, where FelixConfiguration switches it on.",
    (
        Column("node", "str", "node"),
        Column("key", "str", "its public key, which Felix publishes"),
        Column("device", "bool", "wireguard.cali exists; null: not seen"),
        Column("problem", "str", "why it cannot work; null where nothing says so"),
    ),
    key=("node",),
    verified=False,
    source="felix/wireguard, libcalico-go resources/node.go: no recording has WireGuard",
)
IPIP = ("4", "ipencap", "ipip", "ipv4")
UDP = ("udp", "17")
OURS = ("cali-", "KUBE-")
SENT = 10
"""Packets sent, after which silence tells something."""


@table(
    WALLS,
    any_of=("output.iptables_save", "output.iptables_legacy_save"),
    wants=("routes.settings", "bgp.nodes", "routes.blocks"),
)
def walls(
    saved: pd.DataFrame | None,
    legacy: pd.DataFrame | None,
    settings: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
    blocks: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each such rule that has met packets, is for nodes' addresses, and for a mode that pools use.

    Many hosts keep strangers out of these ports: a rule that nothing has met says nothing of a fault.
    """
    ports = {str(VXLAN_PORT): "vxlan", str(WIREGUARD_PORT): "wireguard"}
    if settings is not None and len(settings):
        first = settings.iloc[0]
        ports = {str(first["vxlan_port"]): "vxlan", str(first["wireguard_port"]): "wireguard"}
    used = {"vxlan", "ipip"} if blocks is None else set(blocks[blocks["kind"] == "remote"]["mode"].astype("str"))
    addresses = None if nodes is None else [prefix(a) for a in nodes["address"].dropna()]
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for rules in (r for r in (saved, legacy) if r is not None):
        closed = rules[rules["target"].isin(["DROP", "REJECT"]) & ~rules["chain"].str.startswith(OURS)]
        for row in records(closed[~(closed["packets"] == 0).fillna(False)]):
            mode = _mode(row, ports)
            if mode in {*used, "wireguard"} and _of_nodes(row, addresses):
                rule = f"-A {row.chain} {row.spec}"
                rows[row.node, mode, rule] = {"node": row.node, "mode": mode, "rule": rule, "packets": row.packets}
    return WALLS.frame(list(rows.values()))


def _mode(rule: Any, ports: dict[str, str]) -> str | None:
    if rule.protocol in IPIP:
        return "ipip"
    named = str(rule.dports).split(",") if rule.protocol in UDP else ()
    return next((mode for port, mode in ports.items() if port in named), None)


def _of_nodes(rule: Any, addresses: list[Prefix] | None) -> bool:
    """Whether some node's address fits the rule's source and destination; who is in a set is not asked here."""
    if isinstance(rule.match_sets, str):
        return False
    sides = [s for s in (rule.source, rule.destination) if isinstance(s, str)]
    return addresses is None or all(any(_fits(a, s) for a in addresses) for s in sides)


def _fits(address: Prefix, side: str) -> bool:
    """Whether an address is in what -s or -d says: ``10.0.0.0/8``, ``! 10.0.0.0/8``."""
    return prefix(side.lstrip("! ")).covers(address) != side.startswith("!")


PEERS = Schema(
    "routes.wireguard_peers",
    "WireGuard's peers, as Felix's metrics show them.",
    (
        Column("node", "str", "node"),
        Column("peer_key", "str", "public key of the peer"),
        Column("peer", "str", "node that has this key; null where no Node has it"),
        Column("handshake", "bool", "there was one since the device was made"),
        Column("sent", "float", "bytes sent to it", "bytes"),
        Column("received", "float", "bytes received from it", "bytes"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "peer_key"),
    verified=False,
    source="felix/wireguard/metrics_linux.go: no recording has WireGuard",
)

METRICS = {
    "wireguard_latest_handshake_seconds": "handshake",
    "wireguard_bytes_sent": "sent",
    "wireguard_bytes_rcvd": "received",
}
_PEER_KEY = re.compile(r'peer_key="([^"]*)"')


@table(PEERS, needs=("output.felix_metrics", "nodes"))
def wireguard_peers(metrics: pd.DataFrame, nodes: Objects) -> pd.DataFrame:
    """One row for each node and peer; see :data:`PEERS`. The metric's time is before 1970 where there was none."""
    keys = {key: name for name, key, _ in nodes.rows(_key) if key}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in records(metrics[among(metrics["metric"], METRICS)]):
        if match := _PEER_KEY.search(str(row.labels)):
            told = found.setdefault((row.node, match[1]), {"evidence": row.evidence})
            told[METRICS[row.metric]] = row.value > 0 if METRICS[row.metric] == "handshake" else row.value
    return PEERS.frame([{"node": n, "peer_key": k, "peer": keys.get(k), **told} for (n, k), told in found.items()])


@table(WIREGUARD, needs=("felixconfigurations", "nodes"), wants=("output.ip_addr", "routes.tunnels"))
def wireguard(
    configurations: Objects,
    nodes: Objects,
    addresses: pd.DataFrame | None = None,
    tunnels: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each Linux node, where WireGuard is on; see :data:`WIREGUARD`."""
    if not any(configurations.rows(_enabled)):
        return WIREGUARD.frame()
    seen = set() if addresses is None else set(addresses["node"])
    devices = set() if addresses is None else set(addresses[addresses["interface"] == "wireguard.cali"]["node"])
    counted = pd.DataFrame() if tunnels is None else tunnels[tunnels["mode"] == "wireguard"]
    if len(counted):
        devices |= set(counted["node"])
    silent = (
        set()
        if not len(counted)
        else set(counted[(counted["rx_packets"] == 0) & (counted["tx_packets"] >= SENT)]["node"])
    )
    rows = []
    for name, key, system in nodes.rows(_key):
        if system == "windows":
            continue
        row: dict[str, Any] = {"node": name, "key": key, "device": name in devices if name in seen else None}
        if key is None:
            row["problem"] = "no public key is published"
        elif row["device"] is False:
            row["problem"] = "the device wireguard.cali does not exist"
        elif name in silent:
            row["problem"] = "packets go into wireguard.cali and none comes out"
        rows.append(row)
    return WIREGUARD.frame(rows)


def _enabled(item: Object) -> bool:
    return item["metadata"]["name"] == "default" and bool(spec(item).get("wireguardEnabled"))


def _key(item: Object) -> tuple[str, str | None, str]:
    meta = item["metadata"]
    notes = meta.get("annotations") or {}
    system = (meta.get("labels") or {}).get("kubernetes.io/os", "linux")
    return meta["name"], notes.get("projectcalico.org/WireguardPublicKey") or None, system

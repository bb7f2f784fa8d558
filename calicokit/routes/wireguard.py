"""WireGuard: how it is set up on each node, and what its peers say."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.registry import table
from calicokit.schema import Column, Schema, among, records

WIREGUARD = Schema(
    "routes.wireguard",
    "WireGuard on each node, where FelixConfiguration enables it.",
    (
        Column("node", "str", "node"),
        Column("key", "str", "its public key, which Felix publishes"),
        Column("device", "bool", "wireguard.cali exists; null: not seen"),
        Column("problem", "str", "why it cannot work; null if no problem is known"),
    ),
    key=("node",),
    verified=False,
    source="felix/wireguard, libcalico-go resources/node.go: no recording has WireGuard",
)

SENT = 10
"""Packets sent, after which silence tells something."""

PEERS = Schema(
    "routes.wireguard_peers",
    "WireGuard peers, from Felix's metrics.",
    (
        Column("node", "str", "node"),
        Column("peer_key", "str", "public key of the peer"),
        Column("peer", "str", "node with this key; null if no Node has it"),
        Column("handshake", "bool", "a handshake completed since the device was created"),
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


@table(PEERS, needs={"metrics": "output.felix_metrics", "nodes": "nodes"})
def wireguard_peers(metrics: pd.DataFrame, nodes: Objects) -> pd.DataFrame:
    """One row for each node and peer; see :data:`PEERS`. The metric's time is before 1970 where there was none."""
    keys = {key: name for name, key, _ in nodes.rows(_key) if key}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in records(metrics[among(metrics["metric"], METRICS)]):
        if match := _PEER_KEY.search(str(row.labels)):
            told = found.setdefault((row.node, match[1]), {"evidence": row.evidence})
            told[METRICS[row.metric]] = row.value > 0 if METRICS[row.metric] == "handshake" else row.value
    return PEERS.frame([{"node": n, "peer_key": k, "peer": keys.get(k), **told} for (n, k), told in found.items()])


@table(
    WIREGUARD,
    needs={"configurations": "felixconfigurations", "nodes": "nodes"},
    wants={"addresses": "output.ip_addr", "tunnels": "routes.tunnels"},
)
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
            row["problem"] = "packets are sent into wireguard.cali but none are received"
        rows.append(row)
    return WIREGUARD.frame(rows)


def _enabled(item: Object) -> bool:
    return item["metadata"]["name"] == "default" and bool(spec(item).get("wireguardEnabled"))


def _key(item: Object) -> tuple[str, str | None, str]:
    meta = item["metadata"]
    notes = meta.get("annotations") or {}
    system = (meta.get("labels") or {}).get("kubernetes.io/os", "linux")
    return meta["name"], notes.get("projectcalico.org/WireguardPublicKey") or None, system

"""Rules of others that keep encapsulated packets out, and how WireGuard is set up."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

WALLS = Schema(
    "routes.walls",
    "Rules that neither Calico nor kube-proxy wrote and that drop or reject VXLAN or IPIP.",
    (
        Column("node", "str", "node"),
        Column("mode", "str", "vxlan or ipip"),
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
VXLAN_PORT = "4789"
IPIP = ("4", "ipencap", "ipip", "ipv4")
OURS = ("cali-", "KUBE-")
SENT = 10
"""Packets sent, after which silence tells something."""


@table(WALLS, needs=("output.iptables_save",))
def walls(rules: pd.DataFrame) -> pd.DataFrame:
    """One row for each such rule in a chain that packets pass."""
    closed = rules[rules["target"].isin(["DROP", "REJECT"]) & ~rules["chain"].str.startswith(OURS)]
    rows: list[dict[str, Any]] = []
    for node, chain, text, protocol, ports, packets in cells(
        closed, "node", "chain", "spec", "protocol", "dports", "packets"
    ):
        mode = "vxlan" if VXLAN_PORT in str(ports).split(",") else "ipip" if protocol in IPIP else None
        if mode:
            rows.append({"node": node, "mode": mode, "rule": f"-A {chain} {text}", "packets": packets})
    return WALLS.frame(rows)


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

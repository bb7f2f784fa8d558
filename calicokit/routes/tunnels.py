"""Tunnel devices: what they sent and received, their neighbours, and whether MTUs fit.

Sources: felix/dataplane/linux (vxlan_mgr.go: a permanent neighbour and forwarding entry for each other node; IPv6 has a
device of its own), Calico's documentation of MTUs (20 bytes for IPIP, 50 for VXLAN and 60 for WireGuard over IPv4; 70
and 80 over IPv6), RFC 8200 (IPv6 needs an MTU of 1,280: the kernel takes it off a device with less).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.felix.state.configuration import in_ebpf
from calicokit.parsers.base import parse
from calicokit.registry import table
from calicokit.routes.expected import VTEPS
from calicokit.routes.kernel import TUNNELS, is_workload
from calicokit.schema import Column, Schema, cells

OVERHEAD = {"vxlan": 50, "ipip": 20, "wireguard": 60, "none": 0}
OVERHEAD6 = {**OVERHEAD, "vxlan": 70, "wireguard": 80}
_DEVICE_OF = {
    ("vxlan", 50): "vxlan.calico",
    ("vxlan", 70): "vxlan-v6.calico",
    ("ipip", 20): "tunl0",
    ("wireguard", 60): "wireguard.cali",
    ("wireguard", 80): "wg-v6.cali",
}
"""Encapsulation and what it costs → its device."""
LEAST_MTU6 = 1280
VXLAN_DEVICES = {4: "vxlan.calico", 6: "vxlan-v6.calico"}
_COUNTERS = ("rx_packets", "tx_packets", "rx_errors", "tx_dropped")

DEVICES = Schema(
    "routes.tunnels",
    "Calico's tunnel devices on each node, with their packet counters.",
    (
        Column("node", "str", "node"),
        Column("interface", "str", "device"),
        Column("mode", "str", "vxlan, ipip or wireguard"),
        Column("mtu", "int", "MTU", "bytes"),
        Column("up", "bool", "it is up"),
        Column("rx_packets", "int", "packets received since it was created"),
        Column("tx_packets", "int", "packets sent"),
        Column("rx_growth", "int", "rx_packets between the first and the last sample of a series; null: no series"),
        Column("tx_growth", "int", "tx_packets between the first and the last sample of a series"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "interface"),
)

VXLAN = Schema(
    "routes.vxlan",
    "VXLAN neighbour and forwarding entries for each pair of nodes.",
    (
        Column("node", "str", "source node"),
        Column("peer", "str", "destination node"),
        Column("version", "int", "4: vxlan.calico, or 6: vxlan-v6.calico"),
        Column("vtep", "str", "the peer's tunnel address"),
        Column("peer_address", "str", "node address of the peer"),
        Column("neighbour", "bool", "the tunnel address has a neighbour entry on the device; null: not seen"),
        Column("mac", "str", "MAC address of that entry"),
        Column("forwarding", "bool", "a forwarding (FDB) entry points to the peer's address; null: not seen"),
    ),
    key=("node", "peer", "version"),
)

MTUS = Schema(
    "routes.mtus",
    "MTUs on each node: uplink, tunnel, pod interfaces, and the largest that fits.",
    (
        Column("node", "str", "node"),
        Column("interface", "str", "interface that has the node's address"),
        Column("host_mtu", "int", "MTU", "bytes"),
        Column("mode", "str", "encapsulation that is in use between nodes: none, vxlan, ipip or wireguard"),
        Column("tunnel_mtu", "int", "MTU of the tunnel device", "bytes"),
        Column("pod_mtu", "int", "largest MTU of a pod interface on the host side", "bytes"),
        Column(
            "fits",
            "int",
            "largest MTU that fits: smallest uplink MTU of any node, less encapsulation overhead",
            "bytes",
        ),
        Column("problem", "str", "mismatch; null if none"),
    ),
    key=("node",),
)


@table(DEVICES, needs={"links": "output.ip_link_stats"}, wants={"series": "ip-link-stats+series"})
def devices(links: pd.DataFrame, series: Texts | None = None) -> pd.DataFrame:
    """One row for each tunnel device; see :data:`DEVICES`."""
    mine = links[links["interface"].isin(list(TUNNELS))].reset_index(drop=True)
    grown = _growth(series)
    keys = list(cells(mine, "node", "interface"))
    return DEVICES.frame(
        {
            **{n: mine[n].tolist() for n in ("node", "interface", "mtu", "rx_packets", "tx_packets", "evidence")},
            "mode": [TUNNELS[i] for i in mine["interface"]],
            "up": ["UP" in f for f in mine["flags"]],
            "rx_growth": [grown.get((*k, "rx_packets")) for k in keys],
            "tx_growth": [grown.get((*k, "tx_packets")) for k in keys],
        }
    )


def _growth(series: Texts | None) -> dict[tuple[str, str, str], int]:
    """What counters of tunnel devices grew by from the first to the last sample; a device made anew counts from 0."""
    first: dict[tuple[str, str, str], int] = {}
    last: dict[tuple[str, str, str], int] = {}
    for evidence in series or ():
        frame = parse("ip-link", evidence.decode()).frame
        mine = frame[frame["interface"].isin(list(TUNNELS))]
        for row in mine.itertuples():
            for name in ("rx_packets", "tx_packets"):
                value = getattr(row, name)
                if pd.notna(value):
                    key = (str(evidence.node), str(row.interface), name)
                    first.setdefault(key, int(value))
                    last[key] = int(value)
    return {k: last[k] - first[k] if last[k] >= first[k] else last[k] for k in first}


@table(
    VXLAN,
    needs={
        "blocks": "routes.blocks",
        "nodes": "bgp.nodes",
        "tunnels": "kube.tunnels",
        "neighbours": "output.ip_neigh",
        "forwarding": "output.bridge_fdb",
        "devices": "routes.tunnels",
    },
    wants={"neighbours6": "output.ip_neigh6", "felix": "felix.configuration"},
)
def vxlan(
    blocks: pd.DataFrame,
    nodes: pd.DataFrame,
    tunnels: pd.DataFrame,
    neighbours: pd.DataFrame,
    forwarding: pd.DataFrame,
    devices: pd.DataFrame,
    neighbours6: pd.DataFrame | None = None,
    felix: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each direction between nodes of a VXLAN pool where both have the device, and IP version.

    None from nodes with eBPF, whose device asks no such entries (source: vxlan_mgr.go, FlowBased).
    """
    every = blocks[(blocks["mode"] == "vxlan") & (blocks["kind"] == "remote")]
    flow_based = in_ebpf(felix)
    ways = {(n, m, d) for n, m, d in cells(forwarding, "node", "mac", "destination") if isinstance(d, str)}
    told = set(forwarding["node"])
    rows = []
    for version, device, near in ((4, VXLAN_DEVICES[4], neighbours), (6, VXLAN_DEVICES[6], neighbours6)):
        pairs = every[every["version"] == version][["node", "owner"]].astype("str")
        with_device = set(devices[devices["interface"] == device]["node"])
        address = dict(cells(nodes, "node", "address" if version == 4 else "address6"))
        vteps = {n: a for n, t, a in cells(tunnels, "node", "type", "address") if t == VTEPS[version]}
        shown = () if near is None else cells(near[near["interface"] == device], "node", "address", "mac")
        macs = {(n, a): m for n, a, m in shown if isinstance(m, str)}
        heard = set() if near is None else set(near["node"])
        for node, peer in sorted(set(cells(pairs, "node", "owner"))):
            if node in flow_based or not {node, peer} <= with_device or peer not in vteps:
                continue
            mac, end = macs.get((node, vteps[peer])), address.get(peer)
            row: dict[str, Any] = {"node": node, "peer": peer, "version": version, "vtep": vteps[peer]}
            row |= {"peer_address": end, "mac": mac, "neighbour": mac is not None if node in heard else None}
            row["forwarding"] = (node, mac, end) in ways if node in told and mac is not None else None
            rows.append(row)
    return VXLAN.frame(rows)


@table(
    MTUS,
    needs={
        "blocks": "routes.blocks",
        "nodes": "bgp.nodes",
        "addresses": "output.ip_addr",
    },
    any_of={"links": "output.ip_link_stats", "texts": "ip-addr"},
    wants={"felix": "felix.configuration"},
)
def mtus(
    blocks: pd.DataFrame,
    nodes: pd.DataFrame,
    addresses: pd.DataFrame,
    links: pd.DataFrame | None = None,
    texts: Texts | None = None,
    felix: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each node whose way out is known; see :data:`MTUS`.

    With eBPF the VXLAN device is flow-based and its own MTU limits nothing: routes carry one (recording healthy-ebpf-
    vxlan: device 1500, routes and pods 1450), so that no ``tunnel_mtu`` is compared.
    """
    flow_based = in_ebpf(felix)
    six = set(nodes[nodes["address6"].notna()]["node"])
    own = {(n, a): i for n, a, i in cells(addresses, "node", "address", "interface")}
    mtu = _mtu_of(links, texts)
    modes = _modes(blocks, mtu)
    rows: list[dict[str, Any]] = []
    costs: dict[str, int] = {}
    for node, *chosen in cells(nodes, "node", "address", "address6"):
        interface = next((own[node, a] for a in chosen if (node, a) in own), None)
        if interface is None or (node, interface) not in mtu:
            continue
        mode, costs[node] = modes.get(node, ("none", 0))
        tunnel = mtu.get((node, _DEVICE_OF.get((mode, costs[node]), "")))
        if mode == "vxlan" and node in flow_based:
            tunnel = None
        pods = [m for (n, i), m in mtu.items() if n == node and is_workload(i)]
        row = {"node": node, "interface": interface, "host_mtu": mtu[node, interface], "mode": mode}
        rows.append({**row, "tunnel_mtu": tunnel, "pod_mtu": max(pods, default=None)})
    least = min((r["host_mtu"] for r in rows), default=0)
    usual = int(pd.Series([r["host_mtu"] for r in rows]).mode().max()) if rows else 0
    most = max((r["pod_mtu"] or 0 for r in rows), default=0)
    for row in rows:
        row["fits"] = least - costs[row["node"]]
        row["problem"] = _problem(row, costs[row["node"]], most, usual) or _too_small(row, mtu, six)
    return MTUS.frame(rows)


def _mtu_of(links: pd.DataFrame | None, texts: Texts | None) -> dict[tuple[str, str], int]:
    """Node and interface → MTU; ``ip addr`` tells it where ``ip -s link`` was not seen."""
    printed = (f for f in texts.frames("ip-addr:ip_interfaces") if len(f)) if texts is not None else ()
    seen = [*printed, *([] if links is None else [links])]
    return {(n, i): m for f in seen for n, i, m in cells(f, "node", "interface", "mtu") if pd.notna(m)}


def _modes(blocks: pd.DataFrame, devices: Iterable[tuple[str, str]]) -> dict[str, tuple[str, int]]:
    """The encapsulation that costs most of those in use from each node, and what; WireGuard where its device is."""
    found: dict[str, tuple[str, int]] = {}
    remote = blocks[blocks["kind"] == "remote"][["node", "mode", "version"]].drop_duplicates()
    for node, mode, version in cells(remote.astype({"node": "str", "mode": "str"}), "node", "mode", "version"):
        cost = (OVERHEAD6 if version == 6 else OVERHEAD)[mode]
        if cost >= found.get(node, ("none", 0))[1]:
            found[node] = mode, cost
    for device, costs in (("wireguard.cali", OVERHEAD), ("wg-v6.cali", OVERHEAD6)):
        found |= {node: ("wireguard", costs["wireguard"]) for node, interface in devices if interface == device}
    return found


def _too_small(row: dict[str, Any], mtu: dict[tuple[str, str], int], six: set[str]) -> str | None:
    """What is too small for IPv6, on a node that has it."""
    if row["node"] not in six:
        return None
    pods = (m for (n, i), m in mtu.items() if n == row["node"] and is_workload(i))
    least = min((m for m in (row["host_mtu"], row["tunnel_mtu"], *pods) if m is not None), default=LEAST_MTU6)
    return None if least >= LEAST_MTU6 else f"an MTU of {least} is less than the {LEAST_MTU6} that IPv6 needs"


def _problem(row: dict[str, Any], cost: int, most: int, usual: int) -> str | None:
    """A pod's MTU that is too large is a fault of the node whose link is not as the others', else of the pod's node."""
    room = row["host_mtu"] - cost
    if row["tunnel_mtu"] is not None and row["tunnel_mtu"] > room:
        return f"the tunnel's MTU {row['tunnel_mtu']} exceeds the {room} available on {row['interface']}"
    if row["host_mtu"] != usual and room < most:
        return f"{row['interface']} leaves {room} to pods, and those of the cluster have up to {most}"
    if row["pod_mtu"] is not None and row["pod_mtu"] > room:
        return f"pods' MTU {row['pod_mtu']} exceeds the {room} available on {row['interface']}"
    if row["tunnel_mtu"] is not None and row["pod_mtu"] is not None and row["pod_mtu"] > row["tunnel_mtu"]:
        return f"pods' MTU {row['pod_mtu']} is more than the {row['tunnel_mtu']} of the tunnel that they use"
    return None

"""How packets travel between nodes, by pool: encapsulation, tunnel devices and addresses, who programs the routes.

Sources: an IP pool's ipipMode and vxlanMode (api/pkg/apis/projectcalico/v3/ippool.go); the tunnel addresses that
calico-node allocates (node/pkg/allocateip); who programs which routes as in :mod:`calicokit.routes.settings`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.routes.expected import NEVER
from calicokit.schema import Column, Schema, cells

MODES = Schema(
    "routes.modes",
    "Map of modes: how each pool's packets travel between nodes, and how many nodes are set up for it.",
    (
        Column("pool", "str", "IP pool"),
        Column("cidr", "str", "CIDR"),
        Column("version", "int", "4 or 6"),
        Column("encapsulation", "str", "vxlan, ipip or none"),
        Column("when", "str", "Always, or CrossSubnet: only between nodes of different subnets; null: none"),
        Column("encapsulated", "int", "pairs of nodes (each direction) between which it encapsulates now", "pairs"),
        Column("direct", "int", "pairs of nodes between which it does not", "pairs"),
        Column("device", "str", "tunnel device; null: none is needed"),
        Column("with_device", "int", "nodes that have the device, up; null: not seen", "nodes"),
        Column("with_address", "int", "nodes that publish a tunnel address for it; null: not seen", "nodes"),
        Column("nodes", "int", "Linux nodes", "nodes"),
        Column("routes_by", "str", "program that installs its routes: bird or felix; null: unknown"),
        Column("routes_missing", "int", "routes to its blocks that are missing or different; null: not seen", "routes"),
        Column("carried_by", "str", "what must pass between nodes: UDP port, IP protocol 4, or the pods' own packets"),
        Column("wireguard", "int", "nodes that encrypt on top (a key, a device, a rule); null: unknown", "nodes"),
        Column("dataplane", "list", "Felix's dataplanes on the nodes: netfilter (iptables or nftables), ebpf"),
    ),
    key=("pool",),
)

_PARTS = {
    ("vxlan", 4): ("vxlan.calico", "vxlanTunnelAddress"),
    ("vxlan", 6): ("vxlan-v6.calico", "vxlanV6TunnelAddress"),
    ("ipip", 4): ("tunl0", "ipipTunnelAddress"),
}
"""Encapsulation and IP version → device, and ``type`` of the address in ``kube.tunnels``."""


@table(
    MODES,
    needs={"pools": "ipam.pools"},
    wants={
        "blocks": "routes.blocks",
        "nodes": "bgp.nodes",
        "devices": "routes.tunnels",
        "published": "kube.tunnels",
        "settings": "routes.settings",
        "secured": "routes.wireguard",
        "felix": "felix.modes",
    },
)
def modes(
    pools: pd.DataFrame,
    blocks: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
    devices: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
    settings: pd.DataFrame | None = None,
    secured: pd.DataFrame | None = None,
    felix: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each pool; see :data:`MODES`. Pools without blocks have pairs of none."""
    linux = None if nodes is None else int((nodes["system"] != "windows").sum())
    programs = sorted(set(felix["mode"].dropna())) if felix is not None else None
    first = next(iter(settings.to_dict("records")), None) if settings is not None else None
    rows = []
    for pool, cidr, version, ipip, vxlan in cells(pools, "pool", "cidr", "version", "ipip_mode", "vxlan_mode"):
        kind, when = ("vxlan", vxlan) if vxlan != NEVER else ("ipip", ipip) if ipip != NEVER else ("none", None)
        device, address = _PARTS.get((kind, version), (None, None))
        row: dict[str, Any] = {"pool": pool, "cidr": cidr, "version": version, "encapsulation": kind, "when": when}
        row |= {"device": device, "nodes": linux, "dataplane": programs, "carried_by": _carried(kind, first)}
        row["routes_by"] = _programmer(kind, first)
        row |= {} if blocks is None else _pairs(blocks[blocks["pool"] == pool])
        if device is not None and devices is not None:
            row["with_device"] = int(((devices["interface"] == device) & devices["up"]).sum())
        if device is not None and published is not None:
            row["with_address"] = int((published["type"] == address).sum())
        if secured is not None:
            own = secured[secured["version"] == version]
            row["wireguard"] = int(own["problem"].isna().sum())
        rows.append(row)
    return MODES.frame(rows)


def _pairs(blocks: pd.DataFrame) -> dict[str, int | None]:
    remote = blocks[blocks["kind"] == "remote"]
    pairs = remote[["node", "owner", "mode"]].drop_duplicates()
    tunnelled = int((pairs["mode"] != "none").sum())
    known = remote[remote["status"].notna()]
    return {
        "encapsulated": tunnelled,
        "direct": len(pairs) - tunnelled,
        "routes_missing": int((known["status"] != "present").sum()) if len(known) else None,
    }


def _programmer(kind: str, settings: Any) -> str | None:
    """Felix programs VXLAN's routes in every version; what it programs of others is a setting."""
    if kind == "vxlan":
        return "felix"
    return settings["ipip_by" if kind == "ipip" else "plain_by"] if settings else None


def _carried(kind: str, settings: Any) -> str:
    if kind == "vxlan":
        return f"UDP {settings['vxlan_port'] if settings else 4789}"
    return "IP protocol 4" if kind == "ipip" else "the pods' own packets"

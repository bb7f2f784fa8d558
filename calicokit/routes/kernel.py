"""The kernel's routes on each node, and whose work each is.

Sources: felix/routetable (protocol 80 for tunnels and the node's own blocks, boot for pods), BIRD's protocol 12
("bird"), iproute2's rt_protos; recordings of v3.28 and v3.34.
"""

from __future__ import annotations

import pandas as pd

from calicokit.kube.tables import EVIDENCE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

TUNNELS = {
    "vxlan.calico": "vxlan",
    "vxlan-v6.calico": "vxlan",
    "tunl0": "ipip",
    "wireguard.cali": "wireguard",
    "wg-v6.cali": "wireguard",
}
"""Calico's tunnel devices; their names are fixed (source: felix/dataplane/linux)."""

FELIX_PROTOCOLS = ("80", "calico")
BIRD_PROTOCOLS = ("bird", "12")
"""As iproute2 prints it with and without its file of names."""

OF_THE_KERNEL = ("kernel", "ra", "redirect", "dhcp")
LOCAL = ("local", "broadcast", "multicast", "anycast")

KERNEL = Schema(
    "routes.kernel",
    "Kernel routes of every table on every node, with the program that installed each.",
    (
        Column("node", "str", "node"),
        Column("cidr", "str", "destination"),
        Column("version", "int", "4 or 6"),
        Column("type", "str", "unicast, blackhole, unreachable, prohibit, …"),
        Column("via", "str", "gateway; null for on-link destinations"),
        Column("interface", "str", "device"),
        Column("tunnel", "str", "vxlan, ipip or wireguard, where the device is a Calico tunnel"),
        Column("table", "str", "routing table"),
        Column("protocol", "str", "route protocol, as printed; null is boot"),
        Column("metric", "int", "metric; the lowest wins among equal destinations; null is 0"),
        Column("mtu", "int", "MTU of the route", "bytes"),
        Column("owner", "str", "bird, felix, kernel (addresses, DHCP, router advertisements) or other"),
        Column("line", "int", "line in the text, from 1"),
        EVIDENCE,
    ),
    key=("node", "table", "cidr", "metric", "via", "interface"),
)


@table(
    KERNEL,
    any_of={"every": "output.ip_route_all", "json": "output.ip_route_json", "main": "output.ip_route"},
    wants={"every6": "output.ip_route6_all", "main6": "output.ip_route6", "settings": "routes.settings"},
)
def kernel(
    every: pd.DataFrame | None,
    json: pd.DataFrame | None,
    main: pd.DataFrame | None = None,
    every6: pd.DataFrame | None = None,
    main6: pd.DataFrame | None = None,
    settings: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Of each node and IP version the fullest output that there is; local addresses are left out.

    ``ip route show table all`` prints both versions (iproute2: ip/iproute.c, iproute_list_flush_or_save).
    """
    felixs = () if settings is None else tuple(settings["device_protocol"].dropna())
    parts: list[pd.DataFrame] = []
    have: dict[int, set[str]] = {4: set(), 6: set()}
    for frame in (every, json, main, every6, main6):
        if frame is not None:
            known = ((frame["version"] == v) & frame["node"].isin(nodes) for v, nodes in have.items())
            parts.append(frame[~next(known) & ~next(known)])
            for version, nodes in have.items():
                nodes |= set(frame.loc[frame["version"] == version, "node"])
    found = pd.concat(parts, ignore_index=True)
    found = found[~found["type"].isin(LOCAL)].reset_index(drop=True)
    return KERNEL.frame(
        {
            **{n: found[n].tolist() for n in ("node", "version", "type", "interface", "protocol", "metric", "mtu")},
            "cidr": found["destination"].tolist(),
            "via": found["gateway"].tolist(),
            "tunnel": [TUNNELS.get(i) if isinstance(i, str) else None for i in found["interface"]],
            "table": [t if isinstance(t, str) else "main" for t in found["table"]],
            "owner": [
                owner(p, i, s if v == 4 else "link", g, felixs)  # routes of IPv6 have no scope
                for p, i, s, g, v in cells(found, "protocol", "interface", "scope", "gateway", "version")
            ],
            "line": found["line"].tolist(),
            "evidence": found["evidence"].tolist(),
        }
    )


def owner(protocol: object, interface: object, scope: object, gateway: object, felixs: tuple[str, ...] = ()) -> str:
    """Whose work a route is; ``felixs`` are protocols that Felix was told to use.

    >>> owner("bird", "eth0", None, "172.30.0.1"), owner(None, "cali0a1b2c3d4e5", "link", None)
    ('bird', 'felix')
    >>> owner(None, "eth0", None, "172.30.0.1"), owner("kernel", "eth0", "link", None)
    ('other', 'kernel')
    """
    if protocol in BIRD_PROTOCOLS:
        return "bird"
    if protocol in (*FELIX_PROTOCOLS, *felixs) or (interface in TUNNELS and protocol != "kernel"):
        return "felix"
    if protocol in OF_THE_KERNEL:
        return "kernel"
    to_pod = isinstance(interface, str) and interface != "lo" and scope == "link" and not isinstance(gateway, str)
    return "felix" if to_pod and is_workload(str(interface)) else "other"


def is_workload(interface: str) -> bool:
    """Whether an interface has the form of a workload's: a prefix and 11 hex digits, as all of Calico's have."""
    head, digits = interface[:-11], interface[-11:]
    return len(digits) == 11 and bool(head) and head.isalpha() and set(digits) <= set("0123456789abcdef")

"""Felix's configuration, as far as it decides about routes and tunnels.

Facts: felix/config/config_params.go; felix/dataplane/linux/int_dataplane.go (who programs which routes);
confd/pkg/backends/calico/bgp_processor.go; HEAD.
"""

from __future__ import annotations

import pandas as pd

from calicokit.evidence.objects import Object, Objects, name_of, spec
from calicokit.net import VXLAN_PORT, WIREGUARD_PORT
from calicokit.registry import table
from calicokit.schema import Column, Schema

SETTINGS = Schema(
    "routes.settings",
    "FelixConfiguration settings for routes and tunnels: one row, defaults filled in.",
    (
        Column(
            "device_protocol",
            "str",
            "route protocol of Felix's routes to pods and tunnels (deviceRouteProtocol); null: boot",
        ),
        Column("ipip_by", "str", "program that installs routes of IPIP pools: bird or felix; null: unknown"),
        Column("plain_by", "str", "program that installs routes of unencapsulated pools: bird or felix"),
        Column("vxlan_port", "int", "UDP port of VXLAN"),
        Column("wireguard_port", "int", "UDP port of WireGuard"),
        Column("bpf", "bool", "the eBPF dataplane is enabled"),
    ),
)

IPIP_BY_FELIX = 33
"""Minor version of v3 from which on Felix programs the routes of IPIP pools unless it is told otherwise."""

BOOT = 3


@table(
    SETTINGS, needs={"felix": "felixconfigurations"}, wants={"bgp": "bgpconfigurations", "install": "health.install"}
)
def settings(felix: Objects, bgp: Objects | None = None, install: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row; see :data:`SETTINGS`. What a single node's FelixConfiguration changes is not in it."""
    body = _default(felix)
    protocol, asked = body.get("deviceRouteProtocol"), body.get("programClusterRoutes")
    birds = _default(bgp).get("programClusterRoutes") if bgp is not None else None
    row = {
        "device_protocol": None if protocol in (None, BOOT) else str(protocol),
        "ipip_by": _ipip_by(asked, birds, _minor(install)),
        "plain_by": "felix" if asked in ("Enabled", "EnabledNoEncapOnly") else "bird",
        "vxlan_port": body.get("vxlanPort") or VXLAN_PORT,
        "wireguard_port": body.get("wireguardListeningPort") or WIREGUARD_PORT,
        "bpf": bool(body.get("bpfEnabled", False)),
    }
    return SETTINGS.frame([row])


def _default(objects: Objects) -> Object:
    return spec(next((o for o in objects.rows(dict) if name_of(o) == "default"), {}))


def _minor(install: pd.DataFrame | None) -> int | None:
    """The minor version of v3; the image's tag first, as ClusterInformation may lag behind an upgrade."""
    for said in () if install is None or not len(install) else install.loc[0, ["version", "cluster_version"]]:
        parts = str(said).removeprefix("v").split(".")
        if len(parts) > 1 and parts[0] == "3" and parts[1].isdigit():
            return int(parts[1])
    return None


def _ipip_by(felix: str | None, bird: str | None, minor: int | None) -> str | None:
    if felix is not None:
        return "felix" if felix in ("Enabled", "EnabledIPIPOnly") else "bird"
    if minor is not None and minor < IPIP_BY_FELIX:
        return "bird"
    return "felix" if minor is not None and bird is None else None

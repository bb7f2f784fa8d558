"""The map of modes: what real clusters use, and what Calico's source says of modes that no recording has."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from calicokit.schema import cells
from tests.clusters import of
from tests.edited import Edited

MESH = "healthy-bgp-mesh"


@pytest.mark.parametrize(
    ("incident", "told"),
    [
        (MESH, [("none", None, 0, 12, None, "bird", "the pods' own packets")]),
        ("healthy-vxlan-typha", [("vxlan", "Always", 12, 0, 4, "felix", "UDP 4789")]),
        ("healthy-ebpf-vxlan", [("vxlan", "Always", 12, 0, 4, "felix", "UDP 4789")]),
        ("healthy-dual-stack", [("none", None, 0, 12, None, "bird", "the pods' own packets")] * 2),
    ],
)
def test_modes_of_real_clusters(incident: str, told: list[Any]) -> None:
    modes = of(incident).routes.modes()
    columns = ("encapsulation", "when", "encapsulated", "direct", "with_device", "routes_by", "carried_by")
    assert [tuple(None if pd.isna(v) else v for v in row) for row in cells(modes, *columns)] == told
    assert (modes["routes_missing"] == 0).all()


def crossing(lab: Edited) -> Edited:
    """IPIP between subnets, with node-4 in another one: made from the API's types, as no recording has it."""

    def moved(item: dict[str, Any]) -> None:
        notes = item["metadata"]["annotations"]
        name = item["metadata"]["name"]
        notes["projectcalico.org/IPv4IPIPTunnelAddr"] = f"10.48.255.{name[-1]}"
        if name == "node-4":
            notes["projectcalico.org/IPv4Address"] = "172.30.9.14/24"

    return lab.objects("ippools", lambda i: i["spec"].update(ipipMode="CrossSubnet")).objects("nodes", moved)


def test_ipip_between_subnets_only() -> None:
    modes = crossing(Edited(MESH)).cluster().routes.modes().iloc[0]
    assert (modes["encapsulation"], modes["when"], modes["device"]) == ("ipip", "CrossSubnet", "tunl0")
    assert (modes["encapsulated"], modes["direct"]) == (6, 6), "to and from node-4"
    assert (modes["with_address"], modes["nodes"], modes["carried_by"]) == (4, 4, "IP protocol 4")


def test_of_a_pool_alone_the_rest_is_unknown() -> None:
    lab = Edited(MESH)
    lab.gone |= {(id_, None) for id_ in ("nodes", "ipamblocks", "felixconfigurations")}
    modes = lab.cluster().routes.modes().iloc[0]
    assert modes["encapsulation"] == "none"
    assert modes[["nodes", "encapsulated", "wireguard", "routes_missing"]].isna().all()

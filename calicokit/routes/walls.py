"""Non-Calico rules that keep encapsulated packets out: what ``dataplane.firewall`` says of tunnels."""

from __future__ import annotations

import pandas as pd

from calicokit.dataplane.drops.firewall import printed, that_drop
from calicokit.dataplane.drops.needed import TUNNELS
from calicokit.registry import table
from calicokit.schema import Column, Schema

WALLS = Schema(
    "routes.walls",
    "Rules that neither Calico nor kube-proxy wrote and that have dropped or rejected VXLAN, IPIP or WireGuard.",
    (
        Column("node", "str", "node"),
        Column("mode", "str", "vxlan, ipip or wireguard"),
        Column("rule", "str", "the rule"),
        Column("packets", "int", "packets that it dropped; null: not counted"),
        Column("sure", "bool", "whether every match of it is understood and met; else it has dropped packets"),
        Column("behind", "bool", "another rule accepts the nodes' packets before it; it dropped some while watched"),
        Column("grown", "int", "packets dropped during the series; null without one", "packets"),
    ),
    key=("node", "mode", "rule"),
)


@table(WALLS, needs={"firewall": "dataplane.firewall"})
def walls(firewall: pd.DataFrame) -> pd.DataFrame:
    """One row for each rule and mode; see :data:`WALLS`.

    Many hosts keep strangers out of these ports: a rule that nothing has met says nothing of a fault, nor does one
    behind a rule that accepts the nodes' packets. One for every packet of the node says nothing of tunnels: it is told
    as what it is.
    """
    found = that_drop(firewall, *TUNNELS)
    found = found[found["meant"] & found["packets"].ne(0).fillna(True)]
    made = found.assign(mode=found["need"].map(TUNNELS), rule=printed(found))
    return WALLS.take(made.drop_duplicates(["node", "mode", "rule"]))

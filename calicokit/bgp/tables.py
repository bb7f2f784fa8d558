"""BGP peers as the resources ask for them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.kube.tables import EVIDENCE
from calicokit.net import canonical_address
from calicokit.registry import table
from calicokit.schema import Column, Schema

PEERS = Schema(
    "bgp.external_peers",
    "BGPPeers that lead out of the cluster: their address is no node's.",
    (
        Column("peer", "str", "name of the BGPPeer"),
        Column("address", "str", "address of the router"),
        Column("as_number", "str", "its AS number"),
        EVIDENCE,
    ),
    key=("peer",),
)


@table(PEERS, needs=("bgppeers", "kube.nodes"))
def external_peers(objects: Objects, nodes: pd.DataFrame) -> pd.DataFrame:
    """One row for each BGPPeer with the address of a router outside; see :data:`PEERS`."""
    inside = {a for addresses in [*nodes["addresses"], *nodes["calico_addresses"]] for a in addresses}
    peers = objects.frame(PEERS, _peer)
    return PEERS.take(peers[~peers["address"].isin(inside)])


def _peer(item: Object) -> list[Object]:
    body: dict[str, Any] = spec(item)
    if not body.get("peerIP"):
        return []
    address = body["peerIP"]
    if address.startswith("["):
        address = address[1:].partition("]")[0]  # [v6]:port
    elif address.count(":") == 1:
        address = address.partition(":")[0]  # v4:port
    number = body.get("asNumber")
    row = {"peer": item["metadata"]["name"], "address": canonical_address(address)}
    return [{**row, "as_number": None if number is None else str(number)}]

"""Sessions as CalicoNodeStatus objects report them."""

from __future__ import annotations

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.net import canonical_address
from calicokit.registry import table
from calicokit.schema import Column, Schema

NODE_STATUSES = Schema(
    "bgp.node_statuses",
    "Sessions as CalicoNodeStatus objects report them.",
    (
        Column("node", "str", "node"),
        Column("family", "int", "4 or 6"),
        Column("peer_address", "str", "address of the other end"),
        Column("type", "str", "nodeMesh, nodePeer or globalPeer"),
        Column("bgp_state", "str", "Established, Active, Connect, …"),
        Column("since", "str", "last change of the state, as printed"),
        Column("updated", "time", "last report of the node"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "family", "peer_address"),
)


@table(NODE_STATUSES, needs={"objects": "caliconodestatuses"})
def node_statuses(objects: Objects) -> pd.DataFrame:
    """One row for each node and session that a CalicoNodeStatus reports; see :data:`NODE_STATUSES`."""
    return objects.frame(NODE_STATUSES, _node_status)


def _node_status(item: Object) -> list[Object]:
    status = item.get("status") or {}
    return [
        {
            "node": spec(item).get("node"),
            "family": version,
            "peer_address": canonical_address(peer["peerIP"]),
            "type": peer.get("type"),
            "bgp_state": peer.get("state"),
            "since": peer.get("since"),
            "updated": status.get("lastUpdated"),
        }
        for version in (4, 6)
        for peer in (status.get("bgp") or {}).get(f"peersV{version}") or []
    ]

"""Nodes' and peers' BGP settings as calicoctl prints them, in lower rank. Source of the layouts: recordings."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.bgp.tables import BGP_PEERS, NODES
from calicokit.evidence.texts import Texts
from calicokit.kube.printed import address_in
from calicokit.registry import printed
from calicokit.schema import cells

_AS = re.compile(r"(\()?(\d{1,10})\)?")
"""An AS number as calicoctl prints it: in parentheses where it is the cluster's."""
_NODE = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")


@printed("bgp.nodes", needs={"texts": "calicoctl-get-nodes-wide"})
def nodes(texts: Texts) -> pd.DataFrame:
    """One row a node that was printed; see :data:`~calicokit.bgp.tables.NODES`."""
    rows: dict[str, dict[str, Any]] = {}
    for frame in texts.frames("calicoctl-get"):
        for name, fields, ref in cells(frame[frame["name"].notna()], "name", "fields", "evidence"):
            if "ipv4" not in fields:
                continue
            own = _AS.fullmatch(fields.get("asn", ""))
            rows[name] = {
                "node": name,
                "address": address_in(fields["ipv4"]),
                "address6": address_in(fields.get("ipv6")),
                "network": fields["ipv4"] or None,
                "network6": fields.get("ipv6") or None,
                "own_as": int(own[2]) if own and not own[1] else None,
                "as_number": int(own[2]) if own else None,
                "evidence": ref,
            }
    return NODES.frame(list(rows.values()))


@printed("bgp.peers", needs={"texts": "calicoctl-get-bgppeers-wide"})
def peers(texts: Texts) -> pd.DataFrame:
    """One row a BGPPeer that was printed; see :data:`~calicokit.bgp.tables.BGP_PEERS`."""
    rows: dict[str, dict[str, Any]] = {}
    for frame in texts.frames("calicoctl-get"):
        for name, fields, ref in cells(frame[frame["name"].notna()], "name", "fields", "evidence"):
            if "peerip" not in fields:
                continue
            number, where = _AS.fullmatch(fields.get("asn", "")), fields.get("node", "")
            named = bool(_NODE.fullmatch(where))  # else (global), or a selector such as all()
            rows[name] = {
                "peer": name,
                "node": where if named else None,
                "node_selector": where if where and not named and where != "(global)" else None,
                "peer_ip": fields["peerip"] or None,
                "address": address_in(fields["peerip"]),
                "as_number": int(number[2]) or None if number else None,
                "evidence": ref,
            }
    return BGP_PEERS.frame(list(rows.values()))

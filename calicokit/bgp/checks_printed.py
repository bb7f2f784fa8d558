"""Checks of BGP from what ``calicoctl node status`` printed alone: which sessions are not up, and what BIRD says of it.

Where the API's lists are known, :mod:`calicokit.bgp.checks` tells more: what should be there, and both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, finding
from calicokit.schema import cells, records
from calicokit.sentences import listed, plural

BAD_AS = "Bad peer AS"
WHY = {"No route to host": "no-route", "Connection refused": "connection-refused", "Hold timer": "hold-timer-expired"}
"""Words of BIRD's last error → why the session is down."""


@check(
    "bgp-as-mismatch",
    "bgp-session-down",
    "bgp-external-peer-down",
    needs={"sessions": "bgp.sessions"},
    wants={"compared": "bgp.compared", "shown": "output.calicoctl_node_status", "nodes": "kube.nodes"},
    printed=("bgp.sessions", "kube.nodes"),
)
def printed_sessions(
    sessions: pd.DataFrame,
    compared: pd.DataFrame | None = None,
    shown: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
) -> Iterator[Finding]:
    """Sessions that calicoctl shows and that are not up, where which should be up is not known."""
    down = sessions[~sessions["up"].fillna(False) & sessions["bgp_state"].notna() & (sessions["source"] == "calicoctl")]
    if compared is not None or shown is None or not len(down):
        return
    inside = set(_inside(shown, nodes))
    for node, mine in down.astype({"node": "str", "peer_address": "str"}).groupby("node"):
        wrong = mine["last_error"].astype("str").str.contains(BAD_AS, regex=False)
        for row in records(mine[wrong]):
            yield _bad_as(row)
        within = pd.Series([(node, a) in inside for a in mine["peer_address"]], index=mine.index, dtype=bool)
        if len(rest := mine[~wrong & within]):
            yield _down(str(node), rest, int((sessions["node"].astype("str") == node).sum()))
        for row in records(mine[~wrong & ~within]):
            yield _external(row)


def _inside(shown: pd.DataFrame, nodes: pd.DataFrame | None) -> Iterator[tuple[str, str]]:
    """Node and address of each peer that is a node of the cluster: one of the mesh, or of a known node's address."""
    known: set[str] = set()
    for addresses in () if nodes is None else (*nodes["addresses"], *nodes["calico_addresses"]):
        known.update(addresses)
    for node, address, kind in cells(shown, "node", "address", "peer_type"):
        if address in known or "mesh" in str(kind):
            yield str(node), str(address)


def _at(node: str) -> str:
    return "the node where it was printed" if node == UNKNOWN else node


def _rows(rows: pd.DataFrame, node: str) -> list[Rows]:
    keys = [{"node": node, "family": int(r.family), "peer_address": r.peer_address} for r in records(rows)]
    return [Rows.of("calicoctl-node-status", "bgp.sessions", keys, node)]


def _said(row: Any) -> str:
    error = f" ({row.last_error})" if isinstance(row.last_error, str) else ""
    return f"{row.bgp_state}{error}"


def _bad_as(row: Any) -> Finding:
    return finding(
        "bgp-as-mismatch",
        subject={"peer": row.peer_address, "nodes": [row.node]},
        cause=f"{row.peer_address} and {_at(row.node)} disagree on AS numbers: BIRD says {_said(row)}.",
        remedy="Configure the same AS at both ends: asNumber of the BGPPeer (external router), of BGPConfiguration "
        "default, or of the node (annotation projectcalico.org/ASNumber).",
        evidence=_rows(pd.DataFrame([row]), row.node),
        about={row.peer_address, row.node},
    )


def _down(node: str, rows: pd.DataFrame, count: int) -> Finding:
    peers = sorted(rows["peer_address"])
    states = listed(sorted({_said(r) for r in records(rows)}))
    means = next((f" {r.means}" for r in records(rows) if isinstance(r.means, str)), "")
    errors = " ".join(e for e in rows["last_error"].astype("object").unique() if isinstance(e, str))
    how_many = "All" if len(rows) == count > 1 else f"{len(rows)} of"
    return finding(
        "bgp-session-down",
        subject={"node": node, "peers": peers, "why": next((w for e, w in WHY.items() if e in errors), UNKNOWN)},
        cause=f"{how_many} {plural(count, 'session')} of {_at(node)} are down, to {listed(peers)}: {states}.{means}",
        remedy="Run calicoctl node status on the peers too, and read BIRD's log at both ends; check that BIRD runs "
        "there, that the nodes have the addresses that are shown here, and that TCP 179 is open both ways.",
        evidence=_rows(rows, node),
        about={node, *peers},
    )


def _external(row: Any) -> Finding:
    return finding(
        "bgp-external-peer-down",
        subject={"peer": row.peer_address, "nodes": [row.node]},
        cause=f"The session of {_at(row.node)} to {row.peer_address} is down: {_said(row)}."
        + (f" {row.means}" if isinstance(row.means, str) else ""),
        remedy="Check at the peer that it has a session to this node's address with the AS and password that the "
        "BGPPeer says, and that TCP 179 is open both ways.",
        evidence=_rows(pd.DataFrame([row]), row.node),
        about={row.peer_address, row.node},
    )

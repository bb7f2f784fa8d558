"""Checks of BGP from what ``calicoctl node status`` printed alone: which sessions are not up, and what BIRD says of it.

Where the API's lists are known, :mod:`calicokit.bgp.checks` tells more: what should be there, and both ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.bgp.common_node import stars
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
    rows = _named(down, shown, nodes)
    rows["bad_as"] = rows["last_error"].astype("str").str.contains(BAD_AS, regex=False)
    outside = rows[~rows["inside"]]
    for peer, group in outside.groupby("peer"):
        yield (_bad_as if group["bad_as"].any() else _external)(str(peer), sorted(set(group["node"])), group)
    within = rows[rows["inside"]]
    odd = {frozenset(pair) for pair in cells(within[within["bad_as"]], "node", "peer")}
    wrong = pd.Series([frozenset(p) in odd for p in cells(within, "node", "peer")], index=within.index, dtype=bool)
    for peer, others in stars(cells(within[wrong], "node", "peer")):
        yield _bad_as(peer, others, _between(within, peer, others))
    for node, others in stars(cells(within[~wrong], "node", "peer"), suspects=within["node"]):
        yield _down(node, others, _between(within, node, others), sessions)


def _named(down: pd.DataFrame, shown: pd.DataFrame, nodes: pd.DataFrame | None) -> pd.DataFrame:
    """The sessions with the name of the other end, its address where it is none of a known node; and whether it is one.

    A peer of the mesh is a node, whether its name is known or not.
    """
    names: dict[str, str] = {}
    for node, *lists in () if nodes is None else cells(nodes, "node", "addresses", "calico_addresses"):
        names |= {a: str(node) for addresses in lists for a in addresses}
    mesh = {(n, a) for n, a, kind in cells(shown, "node", "address", "peer_type") if "mesh" in str(kind)}
    rows = down.astype({"node": "str", "peer_address": "str"})
    inside = [a in names or (n, a) in mesh for n, a in cells(rows, "node", "peer_address")]
    return rows.assign(peer=[names.get(a, a) for a in rows["peer_address"]], inside=inside)


def _between(rows: pd.DataFrame, node: str, others: list[str]) -> pd.DataFrame:
    """The sessions of a node with these others, as either end shows them; those of its own first."""
    mine = rows[(rows["node"] == node) & rows["peer"].isin(others)]
    return pd.concat([mine, rows[rows["node"].isin(others) & (rows["peer"] == node)]])


def _at(node: str) -> str:
    return "the node where it was printed" if node == UNKNOWN else node


def _evidence(rows: pd.DataFrame) -> Iterator[Rows]:
    for node, mine in rows.groupby("node"):
        keys = [{"node": str(node), "family": int(r.family), "peer_address": r.peer_address} for r in records(mine)]
        yield Rows.of("calicoctl-node-status", "bgp.sessions", keys, str(node))


def _said(rows: pd.DataFrame) -> str:
    """What BIRD says of these sessions, each state and error once."""
    pairs = dict.fromkeys(cells(rows, "bgp_state", "last_error"))
    return listed([f"{state} ({error})" if isinstance(error, str) else str(state) for state, error in pairs])


def _means(rows: pd.DataFrame) -> str:
    return next((f" {m}" for m in rows["means"].astype("object") if isinstance(m, str)), "")


def _bad_as(peer: str, nodes: list[str], rows: pd.DataFrame) -> Finding:
    ends = listed([_at(n) for n in nodes])
    return finding(
        "bgp-as-mismatch",
        subject={"peer": peer, "nodes": nodes},
        cause=f"{_at(peer)} and {ends} disagree on AS numbers: BIRD says {_said(rows)}.",
        remedy="Configure the same AS at both ends: asNumber of the BGPPeer (external router), of BGPConfiguration "
        "default, or of the node (annotation projectcalico.org/ASNumber).",
        evidence=_evidence(rows),
        about={peer, *nodes},
    )


def _down(node: str, peers: list[str], rows: pd.DataFrame, sessions: pd.DataFrame) -> Finding:
    count = int((sessions["node"].astype("str") == node).sum())
    alone = len(rows[rows["node"] == node]) == count > 1
    errors = " ".join(e for e in rows["last_error"].astype("object") if isinstance(e, str))
    return finding(
        "bgp-session-down",
        subject={"node": node, "peers": peers, "why": next((w for e, w in WHY.items() if e in errors), UNKNOWN)},
        cause=f"{'All sessions' if alone else plural(len(peers), 'session')} of {_at(node)} "
        f"{'is' if len(peers) == 1 else 'are'} down, to {listed(peers)}: {_said(rows)}.{_means(rows)}",
        remedy="Run calicoctl node status on the peers too, and read BIRD's log at both ends; check that BIRD runs "
        "there, that the nodes have the addresses that are shown here, and that TCP 179 is open both ways.",
        evidence=_evidence(rows),
        about={node, *peers},
    )


def _external(peer: str, nodes: list[str], rows: pd.DataFrame) -> Finding:
    return finding(
        "bgp-external-peer-down",
        subject={"peer": peer, "nodes": nodes},
        cause=f"The session of {listed([_at(n) for n in nodes])} to {peer} is down: {_said(rows)}.{_means(rows)}",
        remedy="Check at the peer that it has a session to this node's address with the AS and password that the "
        "BGPPeer says, and that TCP 179 is open both ways.",
        evidence=_evidence(rows),
        about={peer, *nodes},
    )

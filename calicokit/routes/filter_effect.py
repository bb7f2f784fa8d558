"""What filters do with one prefix between a node and its peers, and the statement that decides.

The node's own configuration is run as BIRD would run it (``bird_filters``): BGPFilters first, then Calico's
``calico_export_to_bgp_peers``, in their order. Before any filter BIRD has rules of its own (source: BIRD 1.6,
proto/bgp/attrs.c, bgp_import_control): only the best route is told, never back to whom it was learnt from, and one
that was learnt by iBGP only from or to a client of a route reflector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.kube.tables import EVIDENCE
from calicokit.net import canonical_cidr, prefix
from calicokit.registry import Given, OptionError, UnseenError, table
from calicokit.routes.bird_filters import ACCEPT, REJECT, UNDEFINED, UNKNOWN, Decision, Functions
from calicokit.schema import Column, Schema, records
from calicokit.tables import Tables

EFFECT = Schema(
    "routes.filter_effect",
    "Whether a node's prefix is exported to its BGP peers and imported there, and which rule decides. Give --from "
    "NODE and --to PREFIX.",
    (
        Column("node", "str", "node that has the route"),
        Column("protocol", "str", "BGP session (BIRD protocol); null without a route to export"),
        Column("peer", "str", "peer node, or external router's address"),
        Column("direction", "str", "export at the node, or import at the peer"),
        Column("action", "str", "Accept, Reject, or unknown: a condition depends on missing evidence"),
        Column("decided_by", "str", "BIRD function, filter or session that decides, or BIRD itself"),
        Column("rule", "str", "the statement that decides, with its conditions"),
        Column("says", "str", "explanation"),
        Column("line", "int", "line of the statement in its file, from 1"),
        EVIDENCE,
    ),
    key=("node", "protocol", "direction"),
)

FILES = {
    4: ("bird.cfg", "bird_ipam.cfg", "bird_aggr.cfg"),
    6: ("bird6.cfg", "bird6_ipam.cfg", "bird6_aggr.cfg"),
}
ROUTES = {
    4: ("output.birdcl_route_all", "output.birdcl_route"),
    6: ("output.birdcl6_route_all", "output.birdcl6_route"),
}
"""By IP version; the first file is the one with the sessions, and the first answer the fuller one."""

_BIRD = "BIRD"
_SOURCES = {"static": "RTS_STATIC", "direct": "RTS_DEVICE", "kernel": "RTS_INHERIT"}


@table(
    EFFECT,
    needs={"nodes": "bgp.nodes"},
    wants={"files": FILES[4], "files6": FILES[6], "routes": ROUTES[4], "routes6": ROUTES[6]},
    options={"from": None, "to": None},
)
def filter_effect(
    nodes: pd.DataFrame, files: Given, files6: Given, routes: Given, routes6: Given, **options: str
) -> pd.DataFrame:
    """One row for each session of the node, and one more where the other end is a node that was seen; see
    :data:`EFFECT`. Raises ``OptionError`` with one sentence for a node or prefix that is none.
    """
    node = options["from"]
    try:
        cidr = canonical_cidr(options["to"])
    except ValueError:
        raise OptionError(f"{options['to']!r} is neither a prefix nor an address") from None
    own, told = (files6, routes6) if ":" in cidr else (files, routes)
    if lost := [i for i, texts in own.items() if texts is None]:
        raise UnseenError(names=lost)
    birds = next((b for b in told.values() if b is not None and (b["node"] == node).any()), None)
    if birds is None:
        raise OptionError(f"BIRD's routes of a node {node!r} were not seen")
    cluster = _Cluster(tuple(own.values()), nodes)
    mine = birds[(birds["node"] == node) & (birds["prefix"] == cidr)]
    best = next(records(mine[mine["primary"].fillna(False).astype(bool)]), None)
    if best is None:
        return EFFECT.frame([{"node": node, "says": f"BIRD on {node} has no route to {cidr}, so it exports none"}])
    return EFFECT.frame([row for session in cluster.sessions(node) for row in _told(cluster, node, session, best)])


class _Cluster:
    """The configurations of all nodes, and whose addresses are whose."""

    def __init__(self, files: Sequence[Texts], nodes: pd.DataFrame) -> None:
        self.functions: dict[str, Functions] = {}
        self.protocols: dict[str, list[Any]] = {}
        whole = set.intersection(*({str(e.node) for e in texts if e.text.strip()} for texts in files))
        self.functions |= {node: Functions(whole=True) for node in whole}
        for texts in files:
            for frame in texts.frames("bird-config:bird_filters"):
                for node, own in frame.groupby("node"):
                    self.functions.setdefault(str(node), Functions()).add(records(own))
        for frame in files[0].frames("bird-config"):
            for row in records(frame):
                self.protocols.setdefault(row.node, []).append(row)
        every = list(records(nodes))
        self.names = {a: r.node for r in every for a in (r.address, r.address6) if isinstance(a, str)}
        self.addresses = {r.node: {a for a in (r.address, r.address6) if isinstance(a, str)} for r in every}

    def sessions(self, node: str) -> list[Any]:
        return [p for p in self.protocols.get(node, []) if p.proto == "bgp"]

    def by_name(self, node: str, name: str) -> Any:
        return next((p for p in self.sessions(node) if p.protocol == name), None)

    def other_end(self, node: str, session: Any) -> tuple[str, Any]:
        """The peer's name, and its own session to the node where its configuration was seen."""
        peer = self.names.get(session.neighbor_address, session.neighbor_address)
        theirs = self.sessions(peer)
        return peer, next((p for p in theirs if p.neighbor_address in self.addresses.get(node, ())), None)

    def decide(self, node: str, session: Any, direction: str, route: dict[str, Any]) -> Decision:
        """What the session's filter of one direction does with a route."""
        named = session.import_filter if direction == "import" else session.export_filter
        if named == "all" or (not isinstance(named, str) and direction == "import"):
            return Decision(ACCEPT, session.protocol, f"{direction} all", int(session.line), session.evidence)
        if named == "none" or not isinstance(named, str):  # what BIRD does where nothing is said
            return Decision(REJECT, session.protocol, f"{direction} none", int(session.line), session.evidence)
        known = self.functions.get(node, Functions())
        if named != "(unnamed)":
            found = known.run(named.strip("'"), "function", route)
        else:
            found = known.run(session.protocol, direction, route) or known.run(str(session.template), direction, route)
        return found or Decision(UNKNOWN, named, None, int(session.line), session.evidence)


def _told(cluster: _Cluster, node: str, session: Any, best: Any) -> Iterator[dict[str, Any]]:
    """The rows of one session: what the node does, and then what its peer does."""
    peer, theirs = cluster.other_end(node, session)
    row = {"node": node, "protocol": session.protocol, "peer": peer}
    origin = cluster.by_name(node, best.protocol)
    why = _kept(session, origin, best)
    known = origin is not None or best.protocol.rstrip("0123456789") in _SOURCES
    route = _route(best, origin is not None, known)
    found = Decision(REJECT, _BIRD, why) if why else cluster.decide(node, session, "export", route)
    yield _row(row, "export", found, {ACCEPT: f"{node} tells {peer}", REJECT: f"{node} does not export it to {peer}"})
    if found.action == REJECT or theirs is None:
        return
    loop = _loop(cluster, peer, theirs, best)
    heard = {"net": route["net"], "source": "RTS_BGP", "krt_metric": UNDEFINED}
    taken = Decision(REJECT, _BIRD, loop) if loop else cluster.decide(peer, theirs, "import", heard)
    yield _row(row, "import", taken, {ACCEPT: f"{peer} imports it", REJECT: f"{peer} does not import it"})


def _row(row: dict[str, Any], direction: str, found: Decision, words: dict[str, str]) -> dict[str, Any]:
    says = words.get(found.action, f"whether this {direction} happens depends on missing evidence")
    where = {"line": found.line, "evidence": found.evidence}
    return {**row, "direction": direction, "action": found.action, "decided_by": found.where, **where} | {
        "rule": found.statement,
        "says": says,
    }


def _kept(session: Any, origin: Any, best: Any) -> str | None:
    """Why BIRD itself does not tell a route, whatever filters say."""
    if origin is None:
        return None
    if origin.protocol == session.protocol:
        return "a route is not exported to the peer it was learnt from"
    cluster_id = session.rr_cluster_id
    if isinstance(cluster_id, str) and cluster_id in str(best.bgp_cluster_list or "").split():
        return f"the route's cluster list contains {cluster_id}"
    inner = _internal(session) and _internal(origin)
    if inner and not (bool(session.rr_client) or bool(origin.rr_client)):
        return "a route learnt by iBGP is exported to iBGP peers only by route reflectors"
    return None


def _internal(session: Any) -> bool:
    return bool(pd.notna(session.local_as) and session.local_as == session.neighbor_as)


def _loop(cluster: _Cluster, peer: str, theirs: Any, best: Any) -> str | None:
    """Why the peer's BIRD refuses its own route when a reflector hands it back."""
    back = best.bgp_originator_id if isinstance(best.bgp_originator_id, str) else best.bgp_next_hop
    if _internal(theirs) and isinstance(back, str) and back in cluster.addresses.get(peer, ()):
        return "it is the peer's own route"
    return None


def _route(best: Any, learnt: bool, known: bool) -> dict[str, Any]:
    """A route's attributes, as BIRD's filters see them on export."""
    own = best.protocol.rstrip("0123456789")
    metric = int(best.kernel_metric) if pd.notna(best.kernel_metric) else None
    priority = int(best.bgp_local_pref) if pd.notna(best.bgp_local_pref) else None
    return {
        "net": prefix(best.prefix),
        "source": "RTS_BGP" if learnt else _SOURCES.get(own) if known else None,
        "ifname": best.interface if isinstance(best.interface, str) else "",
        "krt_metric": metric if own == "kernel" or not known else UNDEFINED,
        "bgp_local_pref": priority if learnt else 100,  # BIRD's default, which it sets before it asks the filter
    }


def some_effect(cluster: Tables) -> pd.DataFrame:
    """An effect to look at first: of a block on the node that owns it; the empty table where BGP is not in use."""
    use = cluster.table("bgp.use")
    if not use.unknown and use["in_use"].eq(False).any():
        return EFFECT.frame()
    blocks, routes = cluster.table("routes.blocks"), cluster.table("routes.bird")
    if blocks.unknown or routes.unknown:
        return blocks if blocks.unknown else routes
    own = blocks[(blocks["kind"] == "own") & blocks["in_bird"].fillna(False).astype(bool)]
    if not len(own):
        return EFFECT.frame()
    return cluster.table("routes.filter_effect", **{"from": str(own["node"].iloc[0]), "to": str(own["cidr"].iloc[0])})

"""What BGPFilters do with the blocks that nodes tell each other, and the rule that decides.

Source: confd's BGPFilter functions (bird.cfg's ``'bgp_NAME_exportFilterV4'``): in a filter the first rule whose
conditions all hold decides; where none does, the next filter is asked, then Calico's own rules, which let blocks pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Objects, spec
from calicokit.net import prefix
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

FILTERS = Schema(
    "routes.filters",
    "BGPFilter decisions on the blocks that nodes announce to each other.",
    (
        Column("node", "str", "node whose BIRD applies the filter"),
        Column("peer", "str", "peer node, or external router's address"),
        Column("bgp_peer", "str", "BGPPeer that configures the session and references the filter"),
        Column("direction", "str", "export: routes sent by the node; import: routes received"),
        Column("filter", "str", "BGPFilter"),
        Column("rule", "int", "0-based index of the rule that decides"),
        Column("action", "str", "Accept, Reject, or unknown: a condition depends on missing evidence"),
        Column("cidr", "str", "block"),
        Column("owner", "str", "node that owns the block"),
    ),
    key=("node", "peer", "direction", "cidr"),
)

_UNSEEN = ("communities", "asPathPrefix", "priority")
"""Conditions on what only the route itself has."""


@table(
    FILTERS,
    needs={"objects": "bgpfilters", "expected": "bgp.expected", "blocks": "ipam.blocks"},
    wants={"nodes": "bgp.nodes"},
)
def filters(
    objects: Objects, expected: pd.DataFrame, blocks: pd.DataFrame, nodes: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each session, direction and block that some rule decides; see :data:`FILTERS`.

    A plain node tells its own blocks; a route reflector and a router outside hand on those of the others too.
    """
    rules = dict(objects.rows(lambda item: (item["metadata"]["name"], spec(item))))
    sessions = expected[expected["filters"].notna()]
    owners: dict[str, list[tuple[str, str]]] = {"4": [], "6": []}
    owned: dict[tuple[str, str], list[str]] = {}
    for cidr, owner, version in cells(blocks[blocks["node"].notna()], "block", "node", "version"):
        owners[str(version)].append((cidr, owner))
        owned.setdefault((owner, str(version)), []).append(cidr)
    relays = set() if nodes is None else set(nodes[nodes["cluster_id"].notna()]["node"])
    plain = ({n for n, _ in owned} if nodes is None else set(nodes["node"])) - relays
    known: dict[Any, Any] = {}
    rows = []
    plain_text = sessions.astype("str")
    columns = ("node", "peer", "why", "filters", "family", "local_as", "peer_as")
    for node, peer, why, names, family, *two in cells(plain_text, *columns):
        kind = "iBGP" if two[0] == two[1] else "eBGP"
        used = [(n.strip(), rules.get(n.strip()) or {}) for n in names.split(",")]
        for direction, teller, hears in (("export", node, peer), ("import", peer, node)):
            others = (c for c, o in owners[family] if o != hears)
            handed = owned.get((teller, family), []) if teller in plain else list(others)
            for cidr in handed:
                learnt = direction == "import" or cidr not in owned.get((node, family), ())
                key = (names, direction, cidr, learnt, kind)
                if key not in known:
                    known[key] = decide(used, direction, cidr, learnt, kind)
                if known[key] is not None:
                    name, number, action = known[key]
                    row: dict[str, Any] = {"node": node, "peer": peer, "bgp_peer": why, "direction": direction}
                    rows.append(row | {"filter": name, "rule": number, "action": action, "cidr": cidr})
    by_block = dict(owners["4"] + owners["6"])
    return FILTERS.frame([{**row, "owner": by_block[row["cidr"]]} for row in rows])


def decide(
    filters: list[tuple[str, dict[str, Any]]],
    direction: str,
    cidr: str,
    learnt: bool | None = None,
    peer_type: str | None = None,
) -> tuple[str, int, str] | None:
    """The filter, the rule and the action that decide about a block; None where no rule does.

    >>> decide([("f", {"exportV4": [{"action": "Reject", "matchOperator": "In", "cidr": "10.48.0.0/16"}]})], "export",
    ...        "10.48.84.128/26")
    ('f', 0, 'Reject')
    """
    rules = f"{direction}V{prefix(cidr).version}"
    for name, body in filters:
        for number, rule in enumerate(body.get(rules) or ()):
            holds = list(_conditions(rule, cidr, direction == "import" if learnt is None else learnt))
            if rule.get("peerType"):
                holds.append(None if peer_type is None else rule["peerType"] == peer_type)
            if False in holds:
                continue
            return name, number, "unknown" if None in holds else str(rule.get("action"))
    return None


def _conditions(rule: dict[str, Any], cidr: str, learnt: bool) -> Iterator[bool | None]:
    """Whether each condition holds for a block, own or learnt from a peer; None where that cannot be known."""
    if rule.get("cidr"):
        yield _matches(rule, cidr)
    if rule.get("source") == "RemotePeers":
        yield learnt
    if rule.get("interface"):  # an own block is a blackhole where it is exported
        yield None if learnt else False
    for name in _UNSEEN:
        if rule.get(name):
            yield None


def _matches(rule: dict[str, Any], cidr: str) -> bool:
    net, given = prefix(cidr), prefix(str(rule["cidr"]))
    operator = rule.get("matchOperator")
    if operator in ("Equal", "NotEqual"):
        equal: bool = net == given
        return bool(equal == (operator == "Equal"))
    length = int(cidr.rpartition("/")[2])
    limits = rule.get("prefixLength") or {}
    inside: bool = given.covers(net) and int(limits.get("min", 0)) <= length <= int(limits.get("max", 128))
    return bool(inside == (operator == "In"))

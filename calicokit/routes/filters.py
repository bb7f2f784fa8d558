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
    "What BGPFilters decide about the blocks that nodes tell each other.",
    (
        Column("node", "str", "node whose BIRD applies the filter"),
        Column("peer", "str", "node at the other end"),
        Column("bgp_peer", "str", "resource that asks for the session and names the filter"),
        Column("direction", "str", "export: what the node tells; import: what it is told"),
        Column("filter", "str", "BGPFilter"),
        Column("rule", "int", "its rule that decides, from 0"),
        Column("action", "str", "Accept, Reject, or unknown: a condition that depends on what is not seen"),
        Column("cidr", "str", "block"),
        Column("owner", "str", "node whose block it is"),
    ),
    key=("node", "peer", "direction", "cidr"),
)

_UNSEEN = ("communities", "asPathPrefix", "priority", "peerType")
"""Conditions on what only the route itself has."""


@table(FILTERS, needs=("bgpfilters", "bgp.expected", "ipam.blocks"))
def filters(objects: Objects, expected: pd.DataFrame, blocks: pd.DataFrame) -> pd.DataFrame:
    """One row for each session, direction and block that some rule decides; see :data:`FILTERS`."""
    rules = dict(objects.rows(lambda item: (item["metadata"]["name"], spec(item))))
    sessions = expected[expected["internal"] & expected["filters"].notna() & (expected["family"] == 4)]
    owned: dict[str, list[str]] = {}
    for cidr, node, version in cells(blocks, "block", "node", "version"):
        if version == 4 and isinstance(node, str):
            owned.setdefault(node, []).append(cidr)
    rows = []
    for node, peer, why, names in cells(sessions.astype("str"), "node", "peer", "why", "filters"):
        for direction, owner in (("export", node), ("import", peer)):
            for cidr in owned.get(owner, ()):
                found = decide([(n.strip(), rules.get(n.strip()) or {}) for n in names.split(",")], direction, cidr)
                if found is not None:
                    name, number, action = found
                    row: dict[str, Any] = {"node": node, "peer": peer, "bgp_peer": why, "direction": direction}
                    rows.append(row | {"filter": name, "rule": number, "action": action, "cidr": cidr, "owner": owner})
    return FILTERS.frame(rows)


def decide(filters: list[tuple[str, dict[str, Any]]], direction: str, cidr: str) -> tuple[str, int, str] | None:
    """The filter, the rule and the action that decide about a block; None where no rule does.

    >>> decide([("f", {"exportV4": [{"action": "Reject", "matchOperator": "In", "cidr": "10.48.0.0/16"}]})], "export",
    ...        "10.48.84.128/26")
    ('f', 0, 'Reject')
    """
    for name, body in filters:
        for number, rule in enumerate(body.get(f"{direction}V4") or ()):
            holds = list(_conditions(rule, direction, cidr))
            if False in holds:
                continue
            return name, number, "unknown" if None in holds else str(rule.get("action"))
    return None


def _conditions(rule: dict[str, Any], direction: str, cidr: str) -> Iterator[bool | None]:
    """Whether each condition holds for a node's own block; None where that cannot be known from here."""
    if rule.get("cidr"):
        yield _matches(rule, cidr)
    if rule.get("source") == "RemotePeers":  # learnt from a peer: a node's own block is not
        yield direction == "import"
    if rule.get("interface"):  # a block is a blackhole where it is exported
        yield None if direction == "import" else False
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

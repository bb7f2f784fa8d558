"""natOutgoing of each pool beside the rule and the IP sets that carry it out on each node.

Source: felix/dataplane/linux/masq_mgr.go and felix/rules/nat.go: packets from the set of pools with natOutgoing to what
is in none of Calico's networks are masqueraded, in the chain cali-nat-outgoing. With eBPF a program marks such packets,
and the rule asks for the mark; which pools it marks is in its routes, and no set tells (recording healthy-ebpf-vxlan).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.rules.naming import unlayered
from calicokit.felix.state.configuration import in_ebpf
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

NAT = Schema(
    "dataplane.nat_outgoing",
    "natOutgoing of each pool compared with what is programmed on each node.",
    (
        Column("node", "str", "node"),
        Column("pool", "str", "name of the IP pool"),
        Column("cidr", "str", "its CIDR"),
        Column("version", "int", "IP version: 4 or 6"),
        Column("nat_outgoing", "bool", "natOutgoing of the pool"),
        Column("in_set", "bool", "the pool is in the node's set of pools to masquerade; null: not seen, or eBPF"),
        Column("rule", "bool", "the node has a rule that masquerades them; null: no rules seen"),
        Column("packets", "int", "packets (of all pools) that the rule masqueraded", "packets"),
        Column("problem", "str", "what is not as the pool asks; null if nothing"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "pool"),
)

CHAIN = "cali-nat-outgoing"
MASQUERADED = {4: ("ip", "cali40masq-ipam-pools"), 6: ("ip6", "cali60masq-ipam-pools")}
"""IP version → the family of the rules, and the set of the pools whose packets are masqueraded."""


@table(
    NAT,
    needs={"pools": "ipam.pools", "rules": "dataplane.rules"},
    wants={"sets": "dataplane.sets", "configuration": "felix.configuration"},
)
def nat_outgoing(
    pools: pd.DataFrame, rules: pd.DataFrame, sets: pd.DataFrame | None, configuration: pd.DataFrame | None
) -> pd.DataFrame:
    """One row for each node whose rules were seen, and enabled pool; see :data:`NAT`."""
    own = rules[rules["owner"] == "calico"]
    masquerading = own[own["chain"].map(unlayered).eq(CHAIN) & (own["verdict"] == "masquerade")]
    ruled = {(n, f): (p, e) for n, f, p, e in cells(masquerading, "node", "family", "packets", "evidence")}
    seen = [(n, v) for v, (family, _) in MASQUERADED.items() for n in own[own["family"] == family]["node"].unique()]
    by_program = in_ebpf(configuration)

    enabled = pools[~pools["disabled"]]

    def made() -> Iterator[dict[str, Any]]:
        for node, version in seen:
            place = (node, MASQUERADED[version][0])
            packets, evidence = ruled.get(place, (None, None))
            told = {"rule": place in ruled, "packets": packets, "evidence": evidence}
            held = None if node in by_program else _held(sets, node, *MASQUERADED[version])
            for pool in records(enabled[enabled["version"] == version]):
                about = {"node": node, "pool": pool.pool, "cidr": pool.cidr, "version": pool.version}
                is_held = None if held is None else pool.cidr in held
                row = about | told | {"nat_outgoing": pool.nat_outgoing, "in_set": is_held}
                yield row | {"problem": _problem(row)}

    return NAT.frame(list(made()))


def _held(sets: pd.DataFrame | None, node: str, family: str, name: str) -> set[str] | None:
    """The pools in a node's set; None where none of its sets of this family was seen."""
    if sets is None:
        return None
    own = sets[(sets["node"] == node) & (sets["family"] == family)]
    return None if own.empty else set(own[own["set"] == name]["element"])


def _problem(row: dict[str, Any]) -> str | None:
    if row["nat_outgoing"] and not row["rule"]:
        return "natOutgoing is on, and no rule masquerades its packets"
    if row["nat_outgoing"] and row["in_set"] is False:
        return "natOutgoing is on, and the pool is not among those that are masqueraded"
    if not row["nat_outgoing"] and row["in_set"]:
        return "natOutgoing is off, and the pool is among those that are masqueraded"
    return None

"""Rules that neither Calico nor kube-proxy wrote, and that drop what Calico or pods need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.firewall import that_drop
from calicokit.registry import table
from calicokit.schema import Column, Schema

_RULE = ("node", "family", "backend", "table", "chain", "rule")

FOREIGN = Schema(
    "dataplane.foreign_drops",
    "Non-Calico rules (and policies of built-in chains) that drop traffic Calico or pods need.",
    (
        Column("node", "str", "node"),
        Column("family", "str", "ip, ip6 or inet"),
        Column("backend", "str", "nft, legacy or nftables"),
        Column("table", "str", "table"),
        Column("chain", "str", "chain"),
        Column("rule", "int", "1-based number in the chain; null for the chain's policy"),
        Column("verdict", "str", "drop or reject"),
        Column("concerns", "list", "what it drops: BGP, VXLAN, IPIP, WireGuard, the API server, Typha, pods' packets"),
        Column("example", "str", "example of a packet that it drops"),
        Column("sure", "bool", "true: every match is understood and met; false: known from its drop counter only"),
        Column("behind", "bool", "an earlier rule accepts the known packets; it still dropped some during the series"),
        Column("packets", "int", "packets dropped; null without a counter", "packets"),
        Column("grown", "int", "packets dropped during the series; null without one", "packets"),
        Column("spec", "str", "the rule, as printed"),
    ),
    key=_RULE,
)


@table(FOREIGN, needs={"firewall": "dataplane.firewall"}, known=("kube.nodes",))
def foreign_drops(firewall: pd.DataFrame) -> pd.DataFrame:
    """One row a rule, IPv4; see :data:`FOREIGN`. What no packet has met is left out.

    Without the nodes it is not known which packets are their own, and so is nothing here.
    """
    drops = that_drop(firewall)
    met = drops[drops["rule"].isna() | drops["packets"].ne(0).fillna(True)]
    return FOREIGN.frame(list(_rows(met)))


def _rows(drops: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for _, group in drops.groupby(list(_RULE), sort=False, dropna=False):
        first = group.iloc[0]
        yield {
            **{c: first[c] for c in (*_RULE, "verdict", "example", "packets", "grown", "spec")},
            "concerns": sorted(set(group["need"])),
            "sure": bool(group["sure"].any()),
            "behind": bool(group["behind"].all()),
        }

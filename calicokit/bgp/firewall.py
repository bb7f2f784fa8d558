"""Non-Calico rules that keep BGP out: what ``dataplane.firewall`` says of it."""

from __future__ import annotations

import pandas as pd

from calicokit.dataplane.drops.firewall import printed, that_drop
from calicokit.dataplane.drops.needed import BGP
from calicokit.registry import table
from calicokit.schema import Column, Schema

RULES = Schema(
    "bgp.firewall",
    "Rules that neither Calico nor kube-proxy wrote and that drop or reject BGP: TCP port 179, or the port that BIRD "
    "listens on.",
    (
        Column("node", "str", "node"),
        Column("version", "int", "4 or 6: IP version of the sessions"),
        Column("backend", "str", "nft, legacy or nftables"),
        Column("table", "str", "table"),
        Column("chain", "str", "chain"),
        Column("rule", "str", "the rule"),
        Column("verdict", "str", "drop or reject"),
        Column("packets", "int", "packets it has matched; null without a counter", "packets"),
        Column("sure", "bool", "whether every match of it is understood and met; else it has dropped packets"),
        Column("behind", "bool", "another rule accepts the peers' packets before it; it dropped some while watched"),
        Column("grown", "int", "packets dropped during the series; null without one", "packets"),
        Column("line", "int", "line in the output"),
        Column("evidence", "str", "where this was read"),
    ),
)


@table(RULES, needs={"firewall": "dataplane.firewall"})
def bgp_firewall(firewall: pd.DataFrame) -> pd.DataFrame:
    """One row for each rule that keeps BGP out, also one that nothing has met yet; see :data:`RULES`."""
    found = that_drop(firewall, BGP)
    return RULES.take(found.assign(rule=printed(found)))

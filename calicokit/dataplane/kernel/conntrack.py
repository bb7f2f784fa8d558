"""Stale conntrack entries: connections to an endpoint that is gone, while traffic still uses them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.net import prefix
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

STALE = Schema(
    "dataplane.stale_connections",
    "Stale conntrack entries: their backend is a pool address no longer in use, and traffic used them during sampling.",
    (
        Column("node", "str", "node with the entry"),
        Column("protocol", "str", "protocol"),
        Column("source", "str", "source address (initiator)"),
        Column("sport", "int", "source port"),
        Column("destination", "str", "original destination: a service, or the pod itself"),
        Column("dport", "int", "original destination port"),
        Column("backend", "str", "backend address (after DNAT), no longer in use"),
        Column("backend_port", "int", "backend port"),
        Column("first", "time", "first sample with the entry"),
        Column("last", "time", "last sample with the entry"),
    ),
)

_KEY = ("protocol", "source", "sport", "destination", "dport", "reply_source", "reply_sport")


@table(
    STALE,
    needs={
        "samples": "conntrack+series",
        "pods": "kube.pods",
        "nodes": "kube.nodes",
        "tunnels": "kube.tunnels",
        "pools": "ipam.pools",
    },
)
def stale_connections(
    samples: Texts, pods: pd.DataFrame, nodes: pd.DataFrame, tunnels: pd.DataFrame, pools: pd.DataFrame
) -> pd.DataFrame:
    """One row a connection; see :data:`STALE`.

    Used means that its timeout began anew, or its counters grew, from one sample to the next.
    """
    living = {a for addresses, done in cells(pods, "addresses", "finished") if not done for a in addresses}
    living |= {a for row in cells(nodes, "addresses", "calico_addresses") for addresses in row for a in addresses}
    living |= set(tunnels["address"])
    nets = [prefix(c) for c in pools["cidr"]]
    seen: dict[tuple[Any, ...], list[tuple[Any, int, int]]] = {}
    for evidence, parsed in samples.parsed("conntrack"):
        if evidence.time is None:
            continue
        at = pd.Timestamp(evidence.time)
        for *key, timeout, packets in cells(parsed.frame, *_KEY, "timeout", "packets"):
            backend = key[5]
            if isinstance(backend, str) and backend not in living and any(n.covers(prefix(backend)) for n in nets):
                seen.setdefault((evidence.node, *key), []).append((at, _int(timeout), _int(packets)))
    rows = [
        {
            "node": key[0],
            "protocol": key[1],
            "source": key[2],
            "sport": key[3],
            "destination": key[4],
            "dport": key[5],
            "backend": key[6],
            "backend_port": key[7],
            "first": at[0][0],
            "last": at[-1][0],
        }
        for key, at in seen.items()
        if used(at)
    ]
    return STALE.frame(rows)


def _int(value: Any) -> int:
    return 0 if value is None or value is pd.NA else int(value)


def used(at: list[tuple[Any, int, int]]) -> bool:
    """Whether an entry was used between its samples (time, timeout, packets): a timeout only runs down by itself."""
    return any(
        packets > before or timeout > left - (then - earlier).total_seconds() + 1
        for (earlier, left, before), (then, timeout, packets) in pairwise(at)
    )

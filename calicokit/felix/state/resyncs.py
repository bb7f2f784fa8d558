"""Chains that Felix finds modified and rewrites repeatedly: another program writes there too.

Felix looks at its chains, and at its jumps in the kernel's chains, at every refresh and shortly after it wrote. The
words are those of felix/iptables/table.go and felix/nftables/table.go, the same @ v3.26.5, v3.30.7 and HEAD.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

RESYNCS = Schema(
    "felix.resyncs",
    "Chains that Felix found modified and rewrote, by table.",
    (
        Column("node", "str", "node"),
        Column("table", "str", "iptables or nftables table"),
        Column("chain", "str", "chain: a Calico chain, or a built-in chain that starts with Felix's rules"),
        Column("times", "int", "times it was found modified after Felix's first minute", "times"),
        Column("at_start", "int", "times in the first minute, which is normal", "times"),
        Column("first", "time", "first of those times; null without one"),
        Column("last", "time", "last of them"),
        Column("until", "time", "end of the log"),
        Column("again", "bool", "recurring: three times or more, over more than one refresh, the last one recent"),
    ),
    key=("node", "table", "chain"),
)

SETTLED = pd.Timedelta(seconds=60)
"""After this, kube-proxy and others have made their own chains."""
APART = pd.Timedelta(seconds=8)
"""Felix looks again at most five seconds after it wrote: what is closer belongs to one moment."""
REFRESH = pd.Timedelta(seconds=90)
"""The shortest of the default refresh intervals; a rewriting that spans more than one is no accident."""
TIMES = 3
RECENT = pd.Timedelta(seconds=400)
"""Two of the longest default refresh intervals and some."""

_CHAIN = re.compile(r'chainName="([^"]*)"')
_TABLE = re.compile(r'\btable="([^"]*)"')


@table(RESYNCS, needs={"log": "output.felix_log", "runs": "felix.runs"})
def resyncs(log: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each table and chain that was found changed; see :data:`RESYNCS`.

    Of a run whose start the log no longer has, the first minute in the log counts as its first.
    """
    lines = log[log["message"].fillna("").str.startswith("Detected out-of-sync") & log["time"].notna()]
    starts: dict[str, list[pd.Timestamp]] = {}
    for node, *times in cells(runs, "node", "first", "in_sync"):
        starts.setdefault(node, []).extend(t for t in times if pd.notna(t))
    until = {str(n): t for n, t in log.groupby("node")["time"].max().items()}
    found: dict[tuple[str, str, str], list[pd.Timestamp]] = {}
    for node, time, fields in cells(lines, "node", "time", "fields"):
        chain, in_table = (p.search(fields if isinstance(fields, str) else "") for p in (_CHAIN, _TABLE))
        if chain:
            found.setdefault((node, in_table[1] if in_table else "", chain[1]), []).append(time)
    return RESYNCS.frame([_row(key, times, starts.get(key[0], []), until[key[0]]) for key, times in found.items()])


def _row(
    key: tuple[str, str, str],
    times: list[pd.Timestamp],
    starts: list[pd.Timestamp],
    until: pd.Timestamp,
) -> dict[str, Any]:
    early = [t for t in times if any(s <= t < s + SETTLED for s in starts)]
    moments: list[pd.Timestamp] = []
    for time in sorted(set(times) - set(early)):
        if not moments or time - moments[-1] > APART:
            moments.append(time)
    again = len(moments) >= TIMES and moments[-1] - moments[0] > REFRESH and until - moments[-1] <= RECENT
    return {
        "node": key[0],
        "table": key[1],
        "chain": key[2],
        "times": len(moments),
        "at_start": len(early),
        "first": moments[0] if moments else None,
        "last": moments[-1] if moments else None,
        "until": until,
        "again": again,
    }

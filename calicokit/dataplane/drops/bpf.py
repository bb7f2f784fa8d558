"""Packets that Calico's eBPF programs dropped, by interface and reason, from their own counters.

A program at ingress sees what comes out of the pod, so that its drops by policy are of the pod's egress (felix/bpf-gpl/
tc.c; recording ebpf-policy-drop: a client's packets count at ingress of its interface). Which policy it was is not
counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.parsers.base import parse
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

BPF_DROPS = Schema(
    "dataplane.bpf_drops",
    "Packets that eBPF programs dropped, by interface, reason and direction, where there are any.",
    (
        Column("node", "str", "node"),
        Column("interface", "str", "interface"),
        Column("namespace", "str", "namespace of the pod; null if the interface is of no known pod"),
        Column("pod", "str", "pod"),
        Column("workload", "str", "NS/NAME of the pod's owner"),
        Column("reason", "str", "reason in Calico's words: by policy, packets with unknown route, …"),
        Column("direction", "str", "ingress or egress, as the pod sees it; of other interfaces, as the host sees it"),
        Column("packets", "int", "packets since the program was attached", "packets"),
        Column("grown", "int", "packets during sampling; null without samples", "packets"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "interface", "reason", "direction"),
)

BY_POLICY = "by policy"
HOOKS = ("ingress", "egress")
_Key = tuple[str, str, str]


@table(
    BPF_DROPS,
    needs={"counters": "output.bpf_counters", "endpoints": "dataplane.endpoints"},
    wants={"series": "bpf-counters+series"},
)
def bpf_drops(counters: pd.DataFrame, endpoints: pd.DataFrame, series: Texts | None = None) -> pd.DataFrame:
    """One row an interface, reason and direction with drops; see :data:`BPF_DROPS`."""
    whose = {row[:2]: row[2:] for row in cells(endpoints, "node", "interface", "namespace", "pod", "workload")}
    grown = _growth(series)
    rows: list[dict[str, Any]] = []
    dropped = counters[counters["category"] == "Dropped"]
    for node, interface, reason, evidence, *counts in cells(dropped, "node", "interface", "type", "evidence", *HOOKS):
        namespace, pod, workload = whose.get((node, interface), (None, None, None))
        for hook, packets in zip(HOOKS, counts, strict=True):
            if pd.isna(packets) or not packets:
                continue
            row = {"node": node, "interface": interface, "namespace": namespace, "pod": pod, "workload": workload}
            row |= {"reason": reason, "packets": packets, "evidence": evidence}
            row["direction"] = _other(hook) if pod is not None else hook
            row["grown"] = grown.get((node, (interface, reason, hook)))
            rows.append(row)
    return BPF_DROPS.frame(rows)


def _other(hook: str) -> str:
    return HOOKS[1 - HOOKS.index(hook)]


def _growth(series: Texts | None) -> dict[tuple[str, _Key], int]:
    """Node and counter → what it grew by from the first to the last sample that has it; made anew, it counts from 0."""
    found: dict[tuple[str, _Key], list[int]] = {}
    samples = sorted((s for s in series or () if s.time is not None), key=lambda s: str(s.time))
    for sample in samples:
        for key, packets in _dropped(parse("bpf-counters", sample.decode()).frame):
            found.setdefault((str(sample.node), key), []).append(packets)
    return {key: n[-1] - n[0] if n[-1] >= n[0] else n[-1] for key, n in found.items() if len(n) > 1}


def _dropped(frame: pd.DataFrame) -> Iterator[tuple[_Key, int]]:
    own = frame[frame["category"] == "Dropped"]
    for interface, reason, *counts in cells(own, "interface", "type", *HOOKS):
        yield from (((interface, reason, h), int(n)) for h, n in zip(HOOKS, counts, strict=True) if pd.notna(n))

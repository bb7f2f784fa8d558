"""Summaries of the cluster's size and the scaling advice, computed from their tables."""

from __future__ import annotations

import pandas as pd

from calicokit.felix.checks import needed_typhas
from calicokit.schema import cells, records
from calicokit.sentences import listed, number, plural, says

MOST = 6


@says
def size(size: pd.DataFrame) -> str:
    """Size of the cluster (``scaling.size``)."""
    if not len(size):
        return "No node was seen."
    known = {m: (v, u) for m, v, u in cells(size, "measure", "value", "unit")}
    parts = [
        f"{number(known[m][0])} {word}"
        for m, word in (("nodes", "nodes"), ("endpoints", "workload endpoints"), ("services", "services"))
        if m in known
    ]
    text = f"The cluster has {', '.join(parts)}."
    if "policies" in known:
        text += f" {plural(known['policies'][0], 'policy', 'policies')} with "
        text += f"{plural(known['rules of policies'][0], 'rule')} are in effect."
    missing = [m for m in ("endpoints", "policies", "blocks", "apply time", "typhas") if m not in known]
    return f"{text} Unknown, and not used for advice: {listed(missing, MOST)}." if missing else text


@says
def advice(advice: pd.DataFrame) -> str:
    """What the numbers recommend (``scaling.advice``)."""
    if not len(advice):
        return "No measured value requires a change."
    return "\n".join(f"– {r.says} Why: {r.because}" for r in records(advice.head(MOST)))


@says
def typha(size: pd.DataFrame, typha: pd.DataFrame) -> str:
    """Whether there are enough Typha replicas (``scaling.size``, ``felix.typha``)."""
    nodes = int(next(iter(cells(size[size["measure"] == "nodes"], "value")), 0))
    wanted = needed_typhas(nodes)
    if not len(typha):
        return (
            f"Typha is not used: each of {plural(nodes, 'node')} watches the API server directly, which is fine up to "
            "50 nodes."
        )
    row = typha.iloc[0]
    count = row["replicas"] if pd.notna(row["replicas"]) else row["pods"]
    there = "an unknown number of replicas" if pd.isna(count) else plural(int(count), "replica")
    failing = f" Felix on {listed(row['failing'])} cannot reach it." if row["failing"] else ""
    return f"Typha has {there}; {plural(nodes, 'node')} require {wanted}.{failing}"


@says
def mesh(size: pd.DataFrame) -> str:
    """Cost of the full mesh (``scaling.size``)."""
    known = {r.measure: r for r in records(size)}
    row = known.get("mesh sessions")
    if row is None:
        return "There is no full mesh of BGP sessions, or it is unknown."
    count, nodes = plural(row.value, "session"), known["nodes"].value
    beside = "that is more than the" if row.share > 1 else "a mesh may well have the"
    return f"The full mesh has {count}, {number(nodes - 1)} on each node; {beside} {number(row.limit)} of 100 nodes."

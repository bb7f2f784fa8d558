"""How many endpoints Felix has programmed in the eBPF dataplane, by its own metrics.

``felix_bpf_dataplane_endpoints`` counts all interfaces that Felix looks after, ``felix_bpf_happy_dataplane_endpoints``
only the workloads' that are programmed: that the second is smaller is normal. Dirty ones could not be programmed, and
are tried again (felix/dataplane/linux/bpf_ep_mgr.go, v3.34-dev; recording healthy-ebpf: 11, 8 and 0).
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

ENDPOINTS = Schema(
    "dataplane.bpf_endpoints",
    "Endpoints of the eBPF dataplane on each node, as Felix counts them (metrics felix_bpf_…).",
    (
        Column("node", "str", "node"),
        Column("endpoints", "int", "interfaces that Felix looks after", "endpoints"),
        Column("programmed", "int", "workloads' interfaces that are programmed", "endpoints"),
        Column("dirty", "int", "interfaces that could not be programmed", "endpoints"),
        Column("ip_sets", "int", "IP sets", "sets"),
        Column("scrapes", "int", "scrapes that tell of dirty ones", "scrapes"),
        Column("dirty_in", "int", "of those, scrapes with any", "scrapes"),
        Column("seconds", "float", "time between the first scrape and the last", "s"),
    ),
    key=("node",),
)

METRICS = {
    "felix_bpf_dataplane_endpoints": "endpoints",
    "felix_bpf_happy_dataplane_endpoints": "programmed",
    "felix_bpf_dirty_dataplane_endpoints": "dirty",
    "felix_bpf_num_ip_sets": "ip_sets",
}


@table(ENDPOINTS, needs={"samples": "felix.samples"})
def bpf_endpoints(samples: pd.DataFrame) -> pd.DataFrame:
    """One row for each node whose Felix counts any; see :data:`ENDPOINTS`. All are zero where eBPF is off."""
    own = samples[samples["metric"].isin(list(METRICS)) & samples["node"].notna() & (samples["component"] == "felix")]
    rows: list[dict[str, Any]] = []
    for node, group in own.groupby("node", observed=True):
        ordered = group.sort_values("time")
        row: dict[str, Any] = {"node": str(node)}
        row |= {METRICS[str(m)]: int(v) for m, v in cells(ordered, "metric", "value") if pd.notna(v)}  # the last counts
        dirty = ordered[ordered["metric"] == "felix_bpf_dirty_dataplane_endpoints"]["value"].dropna()
        times = ordered["time"].dropna()
        row |= {"scrapes": len(dirty), "dirty_in": int((dirty > 0).sum())}
        row["seconds"] = (times.max() - times.min()).total_seconds() if len(times) else None
        if row.get("endpoints") or row.get("dirty"):
            rows.append(row)
    return ENDPOINTS.frame(rows)

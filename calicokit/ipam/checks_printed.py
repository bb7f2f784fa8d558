"""Checks of IPAM from what kubectl and calicoctl printed alone, where :mod:`calicokit.ipam.checks` lacks objects."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.cni.checks import named
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always
from calicokit.ipam.checks import leak_of
from calicokit.ipam.printed import SAID
from calicokit.kube.tables import pod_ref
from calicokit.schema import records


@check(
    "ipam-exhausted",
    needs={"use": "ipam.utilisation", "pods": "kube.pods"},
    wants={"waiting": "ipam.waiting"},
    printed=("ipam.utilisation", "kube.pods"),
)
def exhausted(use: pd.DataFrame, pods: pd.DataFrame, waiting: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Pods on a node are without an address, and no pool has one left."""
    enabled = use[~use["disabled"].fillna(False)]
    if waiting is not None or not len(enabled) or (enabled["free"] > 0).any():
        return
    without = pd.Series([not addresses for addresses in pods["addresses"]], index=pods.index, dtype=bool)
    own = ~pods["host_network"].fillna(False).astype(bool)
    wait = pods[(pods["phase"] == "Pending").fillna(False).astype(bool) & pods["node"].notna() & without & own]
    for pool in records(enabled) if len(wait) else ():
        keys = [{"namespace": r.namespace, "pod": r.pod} for r in records(wait)]
        yield finding(
            "ipam-exhausted",
            subject={"pool": pool.pool},
            cause=f"Pool {pool.pool} ({pool.cidr}) has no free address: {pool.allocated} of {pool.capacity:.0f} are in "
            f"use; {named(sorted(pod_ref(r) for r in records(wait)))}.",
            remedy="Add an IP pool (no node needs a restart), or free addresses: scale down, or release leaked "
            "addresses (calicoctl ipam check names them). The CIDR and block size of a pool cannot be changed.",
            evidence=[
                Rows.of("calicoctl-ipam-show", "ipam.utilisation", [{"pool": pool.pool}]),
                Rows.of("kubectl-get-pods-wide", "kube.pods", keys),
            ],
        )


explains("ipam-exhausted", "ipam-nearly-exhausted", on="pool")(always)


@check("ipam-leak", needs={"allocations": "ipam.allocations"}, printed=("ipam.allocations",))
def leak(allocations: pd.DataFrame) -> Iterator[Finding]:
    """Addresses that ``calicoctl ipam check`` names as allocated but not in use."""
    said = allocations[allocations["why"] == SAID]
    for pool, group in said.assign(pool=said["pool"].fillna(UNKNOWN)).groupby("pool"):
        yield leak_of(str(pool), group, young=False, cause="alone")

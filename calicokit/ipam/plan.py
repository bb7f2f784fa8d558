"""A plan to release leaked addresses: steps to read and to run by hand. The kit itself never runs any of them."""

from __future__ import annotations

import pandas as pd

from calicokit.ipam.owners import YOUNG
from calicokit.registry import table
from calicokit.schema import Column, Schema

RELEASE_PLAN = Schema(
    "ipam.release_plan",
    "Commands that would release leaked addresses; printed, never run.",
    (
        Column("step", "int", "order"),
        Column("command", "str", "command to run by hand; null for a manual check"),
        Column("why", "str", "what it does, and what to check first"),
        Column("addresses", "list", "addresses concerned"),
    ),
    key=("step",),
)


@table(RELEASE_PLAN, needs={"allocations": "ipam.allocations", "duplicates": "ipam.duplicates"})
def release_plan(allocations: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """The steps; see :data:`RELEASE_PLAN`. Empty where nothing is surely leaked.

    Addresses that several use, that something still uses, that were given a moment ago, or whose pod has to do with a
    duplicate address (it may answer on both) are never in it. Source of the commands: calicoctl ipam
    release.
    """
    leaked = allocations[(allocations["state"] == "leaked") & ~(allocations["age"] < YOUNG.total_seconds())]
    disputed = {owner for owners in duplicates["owners"] for owner in owners}
    sure = sorted(set(leaked[~leaked["owner"].isin(disputed)]["address"]) - set(duplicates["address"]))
    if not sure:
        return RELEASE_PLAN.frame()
    wait = "kube-controllers releases leaks automatically after its leak grace period (default 15 minutes)"
    steps = [
        (None, f"Check whether calico-kube-controllers runs: {wait}. If it does, waiting is safest."),
        ("calicoctl datastore migrate lock", "Stops allocation, so that the report stays valid while it is used."),
        (
            "calicoctl ipam check -o report.json",
            "Checks again and writes the currently leaked addresses, with sequence numbers.",
        ),
        (None, "Compare the report with the addresses here; an address back in use is not released."),
        (
            "calicoctl ipam release --from-report=report.json",
            "Releases only the addresses that the report lists as leaked.",
        ),
        ("calicoctl datastore migrate unlock", "Resumes allocation."),
    ]
    return RELEASE_PLAN.frame(
        [{"step": i, "command": c, "why": w, "addresses": sure} for i, (c, w) in enumerate(steps, 1)]
    )

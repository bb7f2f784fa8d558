"""What the tables of Calico's health mean, each in a sentence or two that is computed and true of every source."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import listed, plural, says


@says
def install(install: pd.DataFrame) -> str:
    """How Calico is installed (``health.install``)."""
    row = install.iloc[0]
    by = {"operator": "by the operator", "manifest": "from manifests"}.get(row["install"], "by an unknown method")
    where = f" in namespace {row['namespace']}" if isinstance(row["namespace"], str) else ""
    versions = [v for v in (row["version"], row["cluster_version"]) if isinstance(v, str)]
    version = f", version {versions[0]}" if versions else "; its image tags name no version (a development build)"
    lock = {True: "The datastore is unlocked.", False: "The datastore is LOCKED: new pods get no network."}
    ready = row["datastore_ready"]
    state = "Whether the datastore is locked is unknown." if pd.isna(ready) else lock[bool(ready)]
    typha = "Felix reads the API server through Typha" if row["typha"] else "Felix reads the API server without Typha"
    return f"Calico is installed {by}{where}{version}. {typha}. {state}"


@says
def components(pods: pd.DataFrame) -> str:
    """Which of Calico's components run (``health.pods``)."""
    if not len(pods):
        return "No Calico pod was seen."
    counts = "; ".join(
        f"{name}: {int(rows['ready'].sum())} of {len(rows)} ready"
        for name, rows in pods.groupby("component", sort=True)
    )
    again = pods[pods["restarts"] > 0]
    restarts = f" Restarted at some time: {listed(again['pod'])}." if len(again) else " None has restarted."
    return f"{counts}.{restarts}"


@says
def modes(pools: pd.DataFrame) -> str:
    """How packets between nodes travel, by pool (``ipam.pools``)."""
    if not len(pools):
        return "There is no IP pool."
    return " ".join(f"{r.pool}: {_mode(r.ipip_mode, r.vxlan_mode)}." for r in records(pools.head(5)))


def _mode(ipip: str, vxlan: str) -> str:
    for name, mode, needs in (
        ("IPIP", ipip, "routes are distributed by BGP"),
        ("VXLAN", vxlan, "routes are programmed by Felix"),
    ):
        if mode == "Always":
            return f"{name} between all nodes; {needs}"
        if mode == "CrossSubnet":
            return f"{name} between subnets, none within a subnet; {needs}"
    return "no encapsulation; routes are distributed by BGP, and the network between nodes must accept pod addresses"


@says
def readiness(readiness: pd.DataFrame) -> str:
    """Felix's readiness (``health.readiness``)."""
    bad = readiness[readiness["ready"].eq(False).fillna(False)]
    unsure = readiness[readiness["ready"].isna()]
    parts = []
    if len(bad):
        parts.append(f"Felix is not ready on {listed(bad['node'])}.")
    if len(unsure):
        parts.append(f"The status on {listed(unsure['node'])} is unknown.")
    return " ".join(parts) or f"Felix is ready on all {plural(len(readiness), 'node')} queried."


@says
def conditions(conditions: pd.DataFrame) -> str:
    """Node conditions (``health.node_conditions``)."""
    bad = conditions[~conditions["good"]]
    if not len(bad):
        return f"All conditions of {plural(conditions['node'].nunique(), 'node')} are healthy."
    return "; ".join(f"{r.node}: {r.condition} is {r.status}" for r in records(bad.head(5))) + "."


@says
def endpoints(endpoints: pd.DataFrame) -> str:
    """Number of workload endpoints per node (``kube.workload_endpoints``)."""
    per_node = endpoints["node"].value_counts()
    if not len(per_node):
        return "No pod has a workload endpoint."
    text = f"{plural(len(endpoints), 'workload endpoint')} on {plural(len(per_node), 'node')}"
    return f"{text}; most, {per_node.iloc[0]}, on {listed(per_node[per_node == per_node.iloc[0]].index)}."

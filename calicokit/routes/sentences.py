"""Summaries of the route tables, each a sentence or two that is computed and true of every source."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import listed, plural, says


@says
def blocks(blocks: pd.DataFrame, conflicts: pd.DataFrame) -> str:
    """Whether nodes have the routes to each other's blocks (``routes.blocks``), and whether they are overridden."""
    seen = blocks[blocks["status"].notna()]
    if not len(seen):
        return "No node's routes were seen, or there is no block: whether nodes can reach each other's pods is unknown."
    bad = seen[seen["status"] != "present"]
    modes = listed(sorted(seen[seen["kind"] == "remote"]["mode"].astype("str").unique())) or "none"
    foreign = int((~conflicts["harmless"]).sum())
    but = f" But {plural(foreign, 'non-Calico route overrides', 'non-Calico routes override')} some." if foreign else ""
    if not len(bad):
        all_ = plural(len(seen), "route")
        return f"All {all_} to blocks are present (encapsulation between nodes: {modes}).{but}"
    nodes = bad["node"].astype("str").unique()
    return (
        f"{plural(len(bad), 'route')} of {len(seen)} {'is' if len(bad) == 1 else 'are'} missing or have another next "
        f"hop, on {listed(nodes)}; the findings say why, where known.{but}"
    )


@says
def conflicts(conflicts: pd.DataFrame) -> str:
    """Routes that override Calico's (``routes.conflicts``)."""
    bad = conflicts[~conflicts["harmless"]]
    if not len(bad):
        return "No non-Calico route overrides a Calico route."
    said = [f"{r.cidr} on {r.node} overrides {listed(r.overrides)}" for r in records(bad)]
    return f"{plural(len(bad), 'non-Calico route overrides', 'non-Calico routes override')} Calico's: {listed(said)}."


@says
def pods(pods: pd.DataFrame) -> str:
    """Pods' host routes and interfaces (``routes.pods``)."""
    lost = pods[pods["has_route"].eq(False) | pods["has_interface"].eq(False)]
    unseen = int(pods["has_route"].isna().sum())
    hidden = f" For {plural(unseen, 'pod')} the node's routes were not seen." if unseen else ""
    if not len(lost):
        return f"Every pod on a node seen has its host route and interface ({len(pods) - unseen}).{hidden}"
    return f"Without a host route or interface: {listed(lost['namespace'] + '/' + lost['pod'])}.{hidden}"


@says
def tunnels(tunnels: pd.DataFrame, vxlan: pd.DataFrame) -> str:
    """Tunnel devices and VXLAN entries (``routes.tunnels``, ``routes.vxlan``)."""
    if not len(tunnels):
        return "No node has a Calico tunnel device: pod traffic is not encapsulated."
    lost = vxlan[vxlan["neighbour"].eq(False) | vxlan["forwarding"].eq(False)]
    known = (
        "all VXLAN neighbour and forwarding entries are present"
        if not len(lost)
        else f"{len(lost)} entries are missing"
    )
    quiet = tunnels[(tunnels["rx_packets"] == 0) & (tunnels["tx_packets"] > 0)]["node"]
    said = f"; no packets were received from the tunnel on {listed(quiet)}" if len(quiet) else ""
    return f"{plural(tunnels['node'].nunique(), 'node has', 'nodes have')} tunnels; {known}{said}."


@says
def mtus(mtus: pd.DataFrame) -> str:
    """Whether MTUs match (``routes.mtus``)."""
    wrong = mtus[mtus["problem"].notna()]
    if not len(mtus):
        return "No node's interfaces were seen."
    if not len(wrong):
        return f"MTUs are consistent on {plural(len(mtus), 'node')}: pod MTUs leave room for the encapsulation."
    first = next(records(wrong))
    return f"MTU mismatch on {listed(wrong['node'])}: on {first.node}, {first.problem}."


@says
def addresses(addresses: pd.DataFrame) -> str:
    """The addresses that Calico chose (``routes.addresses``)."""
    wrong = addresses[addresses["problem"].notna()]
    if len(wrong):
        first = next(records(wrong))
        which = first.address if isinstance(first.address, str) else "IPv6 address"
        return f"Peers cannot reach the address of {listed(wrong['node'])}: {first.node}'s {which}: {first.problem}."
    subnets, nodes = addresses["network"].nunique(), addresses["node"].nunique()
    return f"Calico's addresses of {plural(nodes, 'node')} are usable, in {plural(subnets, 'subnet')}."

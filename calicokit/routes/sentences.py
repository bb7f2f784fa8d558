"""What the tables of routes mean, each in a sentence or two that is computed and true of every source."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import listed, plural, says


@says
def blocks(blocks: pd.DataFrame, conflicts: pd.DataFrame) -> str:
    """Whether nodes have the routes to each other's blocks (``routes.blocks``), and whether these decide."""
    seen = blocks[blocks["status"].notna()]
    if not len(seen):
        return (
            "No node's routes were seen, or there is no block: whether nodes can reach each other's pods is not known."
        )
    bad = seen[seen["status"] != "present"]
    modes = listed(sorted(seen[seen["kind"] == "remote"]["mode"].astype("str").unique())) or "none"
    foreign = int((~conflicts["harmless"]).sum())
    but = (
        f" But {plural(foreign, 'foreign route decides', 'foreign routes decide')} in place of some." if foreign else ""
    )
    if not len(bad):
        all_ = plural(len(seen), "route")
        return f"All {all_} that blocks ask for are there (encapsulation between nodes: {modes}).{but}"
    nodes = bad["node"].astype("str").unique()
    return (
        f"{plural(len(bad), 'route')} of {len(seen)} {'is' if len(bad) == 1 else 'are'} missing or lead elsewhere, on "
        f"{listed(nodes)}; the findings say why, where that is known.{but}"
    )


@says
def conflicts(conflicts: pd.DataFrame) -> str:
    """Routes that are in the way (``routes.conflicts``)."""
    bad = conflicts[~conflicts["harmless"]]
    if not len(bad):
        return "No route that Calico did not program overrides one that it did."
    said = [f"{r.cidr} on {r.node} overrides {listed(r.overrides)}" for r in records(bad)]
    return f"{plural(len(bad), 'route is', 'routes are')} in the way of Calico's: {listed(said)}."


@says
def pods(pods: pd.DataFrame) -> str:
    """Pods' own routes and interfaces (``routes.pods``)."""
    lost = pods[pods["has_route"].eq(False) | pods["has_interface"].eq(False)]
    unseen = int(pods["has_route"].isna().sum())
    hidden = f" Of {plural(unseen, 'pod')} the node's routes were not seen." if unseen else ""
    if not len(lost):
        return f"Every pod whose node was seen has its route and its interface ({len(pods) - unseen}).{hidden}"
    return f"Without a route or an interface: {listed(lost['namespace'] + '/' + lost['pod'])}.{hidden}"


@says
def tunnels(tunnels: pd.DataFrame, vxlan: pd.DataFrame) -> str:
    """Tunnel devices and what VXLAN knows (``routes.tunnels``, ``routes.vxlan``)."""
    if not len(tunnels):
        return "No node has a tunnel device of Calico's: pods' packets go as they are."
    lost = vxlan[vxlan["neighbour"].eq(False) | vxlan["forwarding"].eq(False)]
    known = "all pairs of nodes know how to reach each other" if not len(lost) else f"{len(lost)} entries are missing"
    quiet = tunnels[(tunnels["rx_packets"] == 0) & (tunnels["tx_packets"] > 0)]["node"]
    said = f"; nothing came out of the tunnel on {listed(quiet)}" if len(quiet) else ""
    return f"{plural(tunnels['node'].nunique(), 'node has', 'nodes have')} tunnels; {known}{said}."


@says
def mtus(mtus: pd.DataFrame) -> str:
    """Whether MTUs fit (``routes.mtus``)."""
    wrong = mtus[mtus["problem"].notna()]
    if not len(mtus):
        return "No node's interfaces were seen."
    if not len(wrong):
        return f"MTUs fit on {plural(len(mtus), 'node')}: pods' packets leave room for the encapsulation."
    first = next(records(wrong))
    return f"MTUs do not fit on {listed(wrong['node'])}: on {first.node}, {first.problem}."


@says
def addresses(addresses: pd.DataFrame) -> str:
    """The addresses that Calico chose (``routes.addresses``)."""
    wrong = addresses[addresses["problem"].notna()]
    if len(wrong):
        first = next(records(wrong))
        return (
            f"Peers cannot use the address of {listed(wrong['node'])}: {first.node}'s {first.address}: {first.problem}."
        )
    subnets = addresses["network"].nunique()
    return f"Calico's addresses of {plural(len(addresses), 'node')} are usable, in {plural(subnets, 'subnet')}."

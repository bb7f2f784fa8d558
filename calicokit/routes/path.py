"""The way of a packet from a node to an address, hop by hop, as the kernels' routes have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.net import prefix
from calicokit.registry import OptionError, table
from calicokit.routes.kernel import TUNNELS, is_workload
from calicokit.schema import Column, Schema, cells, records
from calicokit.tables import Tables

MOST_HOPS = 16

PATH = Schema(
    "routes.path",
    "Path from a node to an address: the route used at each hop. Give --from NODE and --to IP.",
    (
        Column("hop", "int", "1-based hop number"),
        Column("node", "str", "node; null: outside the cluster"),
        Column("table", "str", "routing table used"),
        Column("cidr", "str", "destination of the route used (longest match)"),
        Column("type", "str", "unicast, local, blackhole, …"),
        Column("via", "str", "gateway"),
        Column("interface", "str", "device"),
        Column("owner", "str", "program that installed it: bird, felix, kernel or other"),
        Column("next", "str", "next node, pod or router; null at the end of the path"),
        Column("says", "str", "what happens at this hop"),
        Column("line", "int", "line in the text, from 1"),
        Column("evidence", "str", "source of the route"),
    ),
    key=("hop",),
)


@table(
    PATH,
    needs={"kernel": "routes.kernel", "nodes": "bgp.nodes", "tunnels": "kube.tunnels"},
    wants={
        "rules": "output.ip_rule",
        "rules6": "output.ip_rule6",
        "addresses": "output.ip_addr",
        "pods": "routes.pods",
    },
    options={"from": None, "to": None},
)
def path(
    kernel: pd.DataFrame,
    nodes: pd.DataFrame,
    tunnels: pd.DataFrame,
    rules: pd.DataFrame | None = None,
    rules6: pd.DataFrame | None = None,
    addresses: pd.DataFrame | None = None,
    pods: pd.DataFrame | None = None,
    **options: str,
) -> pd.DataFrame:
    """One row for each node on the way. Raises ``OptionError`` with one sentence for a node or address that is none.

    Rules on the destination are asked; those with other conditions (marks, interfaces, sources) are passed over, as no
    packet is at hand to ask them.
    """
    start, to = options["from"], options["to"]
    version = _version(to)
    if version is None:
        raise OptionError(f"{to!r} is not an address")
    if start not in set(kernel["node"]):
        seen = ", ".join(sorted(set(kernel["node"])))
        raise OptionError(f"routes of a node {start!r} were not seen; seen are {seen}")
    known = _owners(nodes, tunnels) | _of_links(addresses)
    own = (
        {}
        if pods is None
        else {a: (n, f"{s}/{p}") for a, n, s, p in cells(pods, "address", "node", "namespace", "pod")}
    )
    asked = rules6 if version == 6 else rules
    return PATH.frame(list(_hops(kernel[kernel["version"] == version], asked, known, own, start, to)))


def _version(text: str) -> int | None:
    """The IP version of one address; None for anything else."""
    try:
        net = prefix(text)
    except ValueError:
        return None
    return net.version if net.size == 1 else None


def _owners(nodes: pd.DataFrame, tunnels: pd.DataFrame) -> dict[str, str]:
    """Whose an address is: nodes' own and their tunnels'."""
    found = {a: n for n, a in cells(tunnels, "node", "address")}
    own = (pair for column in ("address", "address6") for pair in cells(nodes, "node", column))
    return found | {a: n for n, a in own if isinstance(a, str)}


def _of_links(addresses: pd.DataFrame | None) -> dict[str, str]:
    """Link-local addresses of one node only, which are next hops of IPv6; pods' interfaces have one in common."""
    if addresses is None:
        return {}
    local = addresses[addresses["address"].str.startswith("fe80:").fillna(False)].drop_duplicates(["node", "address"])
    alone = local[~local["address"].duplicated(keep=False)]
    return {a: n for n, a in cells(alone, "node", "address")}


def _hops(
    kernel: pd.DataFrame,
    rules: pd.DataFrame | None,
    known: dict[str, str],
    pods: dict[str, tuple[str, str]],
    start: str,
    to: str,
) -> Iterator[dict[str, Any]]:
    node, seen = start, set()
    for hop in range(1, MOST_HOPS + 1):
        if node in seen:
            yield {"hop": hop, "node": node, "says": "routing loop"}
            return
        seen.add(node)
        if known.get(to) == node:
            yield {"hop": hop, "node": node, "type": "local", "says": "the node's own address"}
            return
        mine = kernel[kernel["node"] == node]
        if not len(mine):
            yield {"hop": hop, "node": node, "says": "the routes of this node were not seen"}
            return
        route = _taken(mine, _tables(rules, node, to), to)
        if isinstance(route, str):
            yield {"hop": hop, "node": node, "type": route, "says": f"{route} by a routing rule: the packet ends here"}
            return
        if route is None:
            yield {"hop": hop, "node": node, "says": "no route: unreachable"}
            return
        following, says = _next(route, known, pods, to)
        names = ("table", "cidr", "type", "via", "interface", "owner", "line", "evidence")
        yield {"hop": hop, "node": node, "next": following, "says": says} | {n: getattr(route, n) for n in names}
        if following is None or following not in set(known.values()):
            return
        node = following


def _tables(rules: pd.DataFrame | None, node: str, to: str) -> list[str]:
    """The tables in which a packet to this address is looked up, in order; ``!blackhole`` for a rule that drops it."""
    if rules is None or node not in set(rules["node"]):
        return ["main", "default"]
    mine = rules[
        (rules["node"] == node)
        & (rules["from"] == "all")
        & rules[["fwmark", "iif", "oif"]].isna().all(axis=1)
        & ~rules["inverted"].fillna(False).astype(bool)
        & (rules["table"].fillna("") != "local")
    ].sort_values("priority")
    target = prefix(to)
    fits = [not isinstance(t, str) or prefix(t).covers(target) for t in mine["to"]]
    asked = mine[fits]
    return [
        f"!{a}" if a in DROPS else t for a, t in cells(asked, "action", "table") if a in DROPS or isinstance(t, str)
    ]


DROPS = ("blackhole", "unreachable", "prohibit")


def _taken(routes: pd.DataFrame, tables: list[str], to: str) -> Any:
    """The first table's longest route, the one of the lowest metric; None for none, a text for a rule that drops."""
    target = prefix(to)
    for name in tables:
        if name.startswith("!"):
            return name[1:]
        fits = [r for r in records(routes[routes["table"] == name]) if prefix(r.cidr).covers(target)]
        best = min(fits, key=lambda r: (prefix(r.cidr).size, 0 if pd.isna(r.metric) else r.metric), default=None)
        if best is not None and best.type != "throw":  # which sends the packet on to the next rule
            return best
    return None


def _next(route: Any, known: dict[str, str], pods: dict[str, tuple[str, str]], to: str) -> tuple[str | None, str]:
    if route.type != "unicast":
        return None, f"{route.type}: the packet ends here"
    interface = str(route.interface)
    if interface in TUNNELS:
        peer = known.get(str(route.via))
        return peer, f"through the {TUNNELS[interface]} tunnel to {peer or route.via}"
    if not isinstance(route.via, str):
        if to in known:
            return known[to], f"on the link of {interface}"
        if is_workload(interface):
            pod = pods.get(to, (None, None))[1]
            return pod, f"to the pod {pod}" if pod else f"to the pod behind {interface}"
        return None, f"on the link of {interface}, to {to}"
    peer = known.get(route.via)
    return peer or route.via, f"to {peer}" if peer else f"to the router {route.via}, whose routes are not known"


def some_path(cluster: Tables) -> pd.DataFrame:
    """A way to look at first: from one node to a pod of another; the empty table where neither was seen."""
    pods, kernel = cluster.table("routes.pods"), cluster.table("routes.kernel")
    if pods.unknown or not len(pods) or not len(kernel):
        return pods if pods.unknown else PATH.frame()
    start = sorted(kernel["node"].unique())[-1]
    others = pods[pods["node"] != start]
    target = (others if len(others) else pods)["address"].iloc[0]
    return cluster.table("routes.path", **{"from": start, "to": target})

"""The kernel under the rules: forwarding, connection tracking, reverse paths, interfaces and their queues.

Sources: felix/dataplane/linux/endpoint_mgr.go at HEAD; the kernel's Documentation/networking/ip-sysctl.rst (rp_filter:
the higher of all and the interface counts) and net/netfilter/nf_conntrack_core.c; tc's statistics as its parser reads
them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import pandas as pd

from calicokit.dataplane.packets.flow import TUNNELS, parsed_address
from calicokit.dataplane.packets.packet import Route, Routes
from calicokit.dataplane.packets.ruleset import node_routes
from calicokit.evidence.texts import Texts
from calicokit.net import address_text
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

NODE = Column("node", "str", "node")

KERNEL = Schema(
    "dataplane.kernel",
    "Kernel settings and counters of each node: forwarding, reverse-path filtering, conntrack.",
    (
        NODE,
        Column("ip_forward", "int", "net.ipv4.ip_forward; 0 forwards nothing"),
        Column("all_forwarding", "int", "net.ipv4.conf.all.forwarding"),
        Column("forwarding6", "int", "net.ipv6.conf.all.forwarding; 0 forwards nothing of IPv6"),
        Column("rp_filter", "int", "net.ipv4.conf.all.rp_filter; 1 is normal with Calico"),
        Column(
            "reverse_path_drops", "int", "packets dropped by reverse-path filtering (IPReversePathFilter)", "packets"
        ),
        Column("conntrack", "int", "entries in the conntrack table", "entries"),
        Column("conntrack_max", "int", "maximum entries (nf_conntrack_max)", "entries"),
        Column("conntrack_used", "float", "share of the maximum in use", "0 to 1"),
        Column("conntrack_drop", "int", "packets dropped as no entry could be created, since boot", "packets"),
        Column("conntrack_early_drop", "int", "entries evicted to make room (early_drop), since boot", "entries"),
        Column(
            "conntrack_grown", "int", "growth of both drop counters during sampling; null without samples", "packets"
        ),
    ),
    key=("node",),
)

INTERFACES = Schema(
    "dataplane.interfaces",
    "Interfaces of each node: role, reverse-path filter, errors, drops and queueing.",
    (
        NODE,
        Column("interface", "str", "interface"),
        Column("carries", "str", "role: pod, tunnel, uplink (has the node's addresses), or other"),
        Column("rp_filter", "int", "effective rp_filter: the higher of all and the interface's"),
        Column("forwarding", "int", "IPv4 forwarding is enabled on the interface"),
        Column("errors", "int", "rx and tx errors since the interface was created", "packets"),
        Column("dropped", "int", "rx and tx drops since the interface was created", "packets"),
        Column("errors_grown", "int", "errors during sampling; null without samples", "packets"),
        Column("dropped_grown", "int", "drops during sampling; null without samples", "packets"),
        Column("packets_grown", "int", "packets during sampling; null without samples", "packets"),
        Column("queue", "str", "queueing disciplines"),
        Column("loss_percent", "float", "share of packets that netem is configured to lose or corrupt", "%"),
        Column("rate_bps", "float", "rate limit of a qdisc", "bit/s"),
        Column("queue_dropped", "int", "packets dropped by its qdiscs", "packets"),
        Column("queue_grown", "int", "qdisc drops during sampling; null without samples", "packets"),
    ),
    key=("node", "interface"),
)

PATHS = Schema(
    "dataplane.reverse_paths",
    "Asymmetric paths: packets that arrive on another interface than the route back to their source uses.",
    (
        NODE,
        Column("interface", "str", "ingress interface, from the sender's route"),
        Column("back", "str", "interface of the best route back to the source; null if there is no route"),
        Column("source", "str", "example of a source address"),
        Column("sender", "str", "node that sends them"),
        Column("rp_filter", "int", "effective rp_filter of the interface; 1 (strict) drops them"),
    ),
    key=("node", "interface", "sender", "source"),
)

STRICT = 1
OF_POD, OF_TUNNEL, UPLINK, OTHER = "pod", "tunnel", "uplink", "other"
_TUNNEL_KINDS = frozenset(("vxlan", "ipip", "wireguard"))
_CALICO_TUNNELS = (*TUNNELS, "wireguard.cali", "wg-v6.cali")


# ---- settings and connection tracking


@table(
    KERNEL,
    needs={"settings": "output.sysctl_net"},
    wants={
        "settings6": "output.sysctl_net6",
        "stats": "output.conntrack_stats",
        "counters": "output.nstat",
        "samples": "conntrack-stats+series",
        "families": "kube.families",
    },
)
def kernel(
    settings: pd.DataFrame,
    settings6: pd.DataFrame | None = None,
    stats: pd.DataFrame | None = None,
    counters: pd.DataFrame | None = None,
    samples: Texts | None = None,
    families: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a node; see :data:`KERNEL`. Of a cluster without IPv6 nothing is told of it."""
    six = families is None or not families.loc[families["version"] == 6, "used"].eq(False).any()
    shown = (s for s in (settings, settings6) if s is not None)
    values = {(n, k): v for s in shown for n, k, v in cells(s, "node", "key", "number")}
    nodes = list(dict.fromkeys(settings["node"]))
    lost = {} if stats is None else {n: _sums(g, "drop", "early_drop") for n, g in stats.groupby("node")}
    paths = {} if counters is None else dict(cells(_reverse(counters), "node", "value"))
    grown = {} if samples is None else _tracking_growth(samples)
    rows = []
    for node in nodes:
        count = _first(values, node, "net.netfilter.nf_conntrack_count")
        most = _first(values, node, "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max")
        rows.append(
            {
                "node": node,
                "ip_forward": _first(values, node, "net.ipv4.ip_forward"),
                "all_forwarding": _first(values, node, "net.ipv4.conf.all.forwarding"),
                "forwarding6": _first(values, node, "net.ipv6.conf.all.forwarding") if six else None,
                "rp_filter": _first(values, node, "net.ipv4.conf.all.rp_filter"),
                "reverse_path_drops": paths.get(node),
                "conntrack": count,
                "conntrack_max": most,
                "conntrack_used": count / most if most and count is not None else None,
                "conntrack_drop": lost.get(node, (None, None))[0],
                "conntrack_early_drop": lost.get(node, (None, None))[1],
                "conntrack_grown": grown.get(node),
            }
        )
    return KERNEL.frame(rows)


def _first(values: Mapping[tuple[str, str], Any], node: str, *keys: str) -> int | None:
    return next((int(v) for k in keys if (v := values.get((node, k))) is not None and v is not pd.NA), None)


def _reverse(counters: pd.DataFrame) -> pd.DataFrame:
    return counters[counters["counter"] == "TcpExtIPReversePathFilter"]


def _sums(frame: pd.DataFrame, *names: str) -> tuple[Any, ...]:
    """The sums over all processors; None for a counter that none of them shows."""
    return tuple(None if frame[n].isna().all() else int(frame[n].sum()) for n in names)


def _tracking_growth(samples: Texts) -> dict[str | None, int]:
    seen: dict[str | None, list[tuple[Any, int]]] = defaultdict(list)
    for evidence, parsed in samples.parsed("conntrack"):
        lost = _sums(parsed.tables["conntrack_stats"], "drop", "early_drop")
        if evidence.time is not None:
            seen[evidence.node].append((evidence.time, sum(n or 0 for n in lost)))
    return {n: sorted(at)[-1][1] - sorted(at)[0][1] for n, at in seen.items() if len(at) > 1}


# ---- interfaces


@table(
    INTERFACES,
    any_of={"links": "output.ip_link_stats", "devices": "output.proc_net_dev"},
    wants={
        "settings": "output.sysctl_net",
        "queues": "output.tc_qdisc",
        "addresses": "output.ip_addr",
        "endpoints": "dataplane.endpoints",
        "link_samples": "ip-link-stats+series",
        "device_samples": "proc-net-dev+series",
        "queue_samples": "tc-qdisc+series",
    },
)
def interfaces(
    links: pd.DataFrame | None,
    devices: pd.DataFrame | None,
    settings: pd.DataFrame | None = None,
    queues: pd.DataFrame | None = None,
    addresses: pd.DataFrame | None = None,
    endpoints: pd.DataFrame | None = None,
    link_samples: Texts | None = None,
    device_samples: Texts | None = None,
    queue_samples: Texts | None = None,
) -> pd.DataFrame:
    """One row an interface; see :data:`INTERFACES`."""
    shown = links if links is not None else devices
    assert shown is not None  # one of them is known
    counted = _counted(shown)
    carries = _Carried(links, addresses, endpoints)
    filters, forwarding = _per_interface(settings, "rp_filter"), _per_interface(settings, "forwarding")
    grown = _growth(_link_samples(link_samples, "ip-link") or _link_samples(device_samples, "proc-net-dev"))
    of_queues = {} if queues is None else {k: _queue(g) for k, g in queues.groupby(["node", "interface"])}
    queue_grown = _growth(_queue_samples(queue_samples))
    rows = []
    for (node, name), (errors, dropped, _) in counted.items():
        row = {"node": node, "interface": name, "carries": carries.of(node, name)}
        row |= {"errors": errors, "dropped": dropped, "rp_filter": effective(filters, node, name)}
        row["forwarding"] = forwarding.get((node, name))
        if (growth := grown.get((node, name))) is not None:
            row |= dict(zip(("errors_grown", "dropped_grown", "packets_grown"), growth, strict=True))
        row |= of_queues.get((node, name), {})
        row["queue_grown"] = queue_grown.get((node, name), (None,))[0]
        rows.append(row)
    return INTERFACES.frame(rows)


class _Carried:
    """Tells what an interface carries, by its name, its kind and its addresses."""

    def __init__(
        self, links: pd.DataFrame | None, addresses: pd.DataFrame | None, endpoints: pd.DataFrame | None
    ) -> None:
        self.pods = set() if endpoints is None else set(cells(endpoints, "node", "interface"))
        kinds = () if links is None else cells(links, "node", "interface", "kind")
        self.tunnels = {(n, i) for n, i, k in kinds if k in _TUNNEL_KINDS}
        own = () if addresses is None else cells(addresses, "node", "interface", "scope")
        self.addressed = {(n, i) for n, i, scope in own if scope == "global"}

    def of(self, node: str, name: str) -> str:
        if (node, name) in self.pods:
            return OF_POD
        if name in _CALICO_TUNNELS:
            return OF_TUNNEL
        plain = name != "lo" and not name.startswith(("docker", "virbr", "cni", "kube-ipvs", "nodelocaldns"))
        if plain and (node, name) in self.addressed and (node, name) not in self.tunnels:
            return UPLINK
        return OTHER


Counts = dict[tuple[Any, Any], tuple[int, ...]]


def _counted(frame: pd.DataFrame) -> Counts:
    """Node and interface → errors, drops and packets, in and out together."""
    names = ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped", "rx_packets", "tx_packets")
    made: Counts = {}
    for node, interface, *values in cells(frame, "node", "interface", *names):
        numbers = [0 if v is pd.NA or v is None else int(v) for v in values]
        made[node, interface] = (sum(numbers[:2]), sum(numbers[2:4]), sum(numbers[4:]))
    return made


Samples = dict[tuple[Any, Any], list[tuple[Any, tuple[int, ...]]]]


def _link_samples(samples: Texts | None, kind: str) -> Samples:
    found: Samples = defaultdict(list)
    for evidence, parsed in samples.parsed(kind) if samples is not None else ():
        if evidence.time is not None:
            for (_, name), counts in _counted(parsed.frame.assign(node=evidence.node)).items():
                found[evidence.node, name].append((evidence.time, counts))
    return found


def _queue_samples(samples: Texts | None) -> Samples:
    found: Samples = defaultdict(list)
    for evidence, parsed in samples.parsed("tc-qdisc") if samples is not None else ():
        if evidence.time is not None:
            for name, group in parsed.frame.groupby("interface"):
                found[evidence.node, name].append((evidence.time, (_dropped(group),)))
    return found


def _growth(samples: Samples) -> dict[tuple[Any, Any], tuple[int, ...]]:
    """Last less first of each counter; an interface that was made anew in between is left out."""
    made = {}
    for key, at in samples.items():
        ordered = [counts for _, counts in sorted(at)]
        falls = any(b < a for old, new in pairwise(ordered) for a, b in zip(old, new, strict=True))
        if len(ordered) > 1 and not falls:
            made[key] = tuple(b - a for a, b in zip(ordered[0], ordered[-1], strict=True))
    return made


def _per_interface(settings: pd.DataFrame | None, name: str) -> dict[tuple[str, str], int]:
    if settings is None:
        return {}
    own = settings[(settings["name"] == name) & (settings["version"] == 4) & settings["interface"].notna()]
    own = own[own["key"].str.contains("conf") & own["number"].notna()]
    return {(n, i): int(v) for n, i, v in cells(own, "node", "interface", "number")}


def effective(filters: Mapping[tuple[str, str], int], node: str, interface: str) -> int | None:
    """The reverse-path filter that counts for an interface; None where one of the two is not known."""
    both = (filters.get((node, "all")), filters.get((node, interface)))
    return None if both[0] is None or both[1] is None else max(both[0], both[1])


def _dropped(queues: pd.DataFrame) -> int:
    """What an interface's queues dropped: a parent counts its children's drops, so the highest counts."""
    return 0 if queues["dropped"].isna().all() else int(queues["dropped"].max())


def _queue(queues: pd.DataFrame) -> dict[str, Any]:
    harm = queues[["loss_percent", "corrupt_percent"]].fillna(0.0).sum(axis=1)
    return {
        "queue": ", ".join(dict.fromkeys(queues["kind"].dropna())),
        "loss_percent": float(harm.max()) if (queues["kind"] == "netem").any() else None,
        "rate_bps": None if queues["rate_bps"].isna().all() else float(queues["rate_bps"].min()),
        "queue_dropped": _dropped(queues),
    }


# ---- reverse paths


@table(
    PATHS, needs={"routes": "output.ip_route_all", "settings": "output.sysctl_net", "endpoints": "dataplane.endpoints"}
)
def reverse_paths(routes: pd.DataFrame, settings: pd.DataFrame, endpoints: pd.DataFrame) -> pd.DataFrame:
    """One row for each sender whose packets come in by one interface while the way back is another.

    See :data:`PATHS`. Which interface they come in by follows from the sender's own route: a tunnel's, or the one that
    has the address which the sender takes as its next hop. Where that is a router, nothing is told.
    """
    known = {n: found for n, (_, found) in node_routes(routes).items() if found}
    filters = _per_interface(settings, "rp_filter")
    pods = _pods_by_node(endpoints, known)
    rows = []
    for node, own in known.items():
        for sender, source, interface in _arrivals(node, known, pods):
            back = own.find(4, source)
            leaves = back.interface if back is not None and back.kind == "unicast" else None
            several = back is not None and back.kind == "unicast" and leaves is None
            if leaves == interface or several or (back is not None and back.kind == "local"):
                continue
            row: dict[str, Any] = {"node": node, "interface": interface, "back": leaves, "sender": sender}
            row |= {"source": address_text(4, source), "rp_filter": effective(filters, node, interface)}
            rows.append(row)
    return PATHS.frame(rows)


MOST_LOOKUPS = 1_000_000
"""Look-ups of one pod's way from one node; in larger clusters one pod for each 64 addresses stands for the others."""


def _pods_by_node(endpoints: pd.DataFrame, known: Mapping[str, Routes]) -> dict[str, list[int]]:
    """Node → IPv4 addresses of its pods; those that several pods use are left out."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    shift = 0 if len(endpoints) * len(known) <= MOST_LOOKUPS else 6
    users = Counter(parsed_address(t) for texts in endpoints["addresses"] for t in texts)
    for node, addresses in cells(endpoints, "node", "addresses"):
        for version, address in map(parsed_address, addresses):
            if version == 4 and node in known and users[version, address] == 1:
                found[node].setdefault(address >> shift, address)
    return {node: list(addresses.values()) for node, addresses in found.items()}


def _arrivals(node: str, known: Mapping[str, Routes], pods: Mapping[str, list[int]]) -> Iterator[tuple[str, int, str]]:
    """Sender, source and the interface by which its pods' packets to pods of a node come in."""
    for sender, routes in known.items():
        if sender == node:
            continue
        ways = {_entrance(known[node], routes.find(4, to)) for to in pods.get(node, ())} - {None}
        for interface in sorted(w for w in ways if w):
            yield from ((sender, source, interface) for source in pods.get(sender, ()))


def _entrance(receiver: Routes, route: Route | None) -> str | None:
    """The receiver's interface that a sender's route leads to."""
    if route is None or route.kind != "unicast" or route.interface is None:
        return None
    if route.interface in _CALICO_TUNNELS:
        return route.interface
    if route.gateway is None:
        return None
    version, address = parsed_address(route.gateway)
    there = receiver.find(version, address)
    return there.interface if there is not None and there.kind == "local" else None


def carrying(interfaces: pd.DataFrame, kinds: Iterable[str] = (OF_POD, OF_TUNNEL, UPLINK)) -> pd.DataFrame:
    """The interfaces that carry pods' traffic."""
    return interfaces[interfaces["carries"].isin(list(kinds))]

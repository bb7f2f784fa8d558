"""Checks of the eBPF dataplane: whether it runs, its programs, its maps, and kube-proxy beside it.

Words: diagnosis/findings.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.programmed import bpf_routes
from calicokit.dataplane.programmed.bpf_maps import DUMPS, NAMES
from calicokit.diagnosis.model import Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always
from calicokit.felix.state.modes import EBPF, HALF_WAY, in_mode
from calicokit.schema import cells, records
from calicokit.sentences import listed, plural

NEARLY = 0.9
"""Share of its size from which a map counts as full."""
LIMITING = ("connections", "NAT frontends", "NAT backends", "routes", "IP sets", "interfaces")
"""Maps whose last entry is missed; those of affinities forget the oldest one, as they are meant to."""
FEW = 3
"""So many differences of a map are named."""

# ---- whether it runs


@check("bpf-not-supported", needs={"modes": "felix.modes"}, wants={"proxies": "dataplane.proxies"})
def not_supported(modes: pd.DataFrame, proxies: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Felix was told to run eBPF, and overrode that: its kernel or build cannot."""
    served = {} if proxies is None else {n: (p, r) for n, p, r in cells(proxies, "node", "pod", "rules")}
    for row in records(modes[(modes["mode"] == HALF_WAY) & (modes["origin"] == "override")]):
        pod, rules = served.get(row.node, (None, None))
        nobody = row.node in served and not isinstance(pod, str) and not (pd.notna(rules) and rules)
        why = f" ({row.why})" if isinstance(row.why, str) else ""
        yield finding(
            "bpf-not-supported",
            subject={"node": row.node},
            cause=f"Felix on {row.node} is configured for eBPF and runs without, as its kernel or build cannot{why}; "
            + ("no kube-proxy serves there either, so that services lead nowhere." if nobody else _beside(pod, rules)),
            remedy="Use a kernel that Calico's eBPF guide names (5.10 or newer, with BTF and cgroup v2), or switch "
            "eBPF off for this node; until then kube-proxy must run there.",
            evidence=[Rows.of("felix-log", "felix.modes", [{"node": row.node}], row.node)],
            about={row.node},
        )


def _beside(pod: Any, rules: Any) -> str:
    if isinstance(pod, str):
        return f"{pod} serves there."
    return "kube-proxy's rules are there." if pd.notna(rules) and rules else "whether kube-proxy serves is not known."


# ---- programs


@check("bpf-program-missing", needs={"programs": "dataplane.programs"}, told_by=("bpftool-net",), absence=True)
def program_missing(programs: pd.DataFrame) -> Iterator[Finding]:
    """In eBPF mode, an interface that Felix looks after lacks a program."""
    lost = programs[programs["program"].isna() & programs["settled"].fillna(False)]
    for (node, interface), group in lost.groupby(["node", "interface"]):
        row, ways = next(records(group)), " and ".join(group["direction"])
        keys = [{"node": node, "interface": interface, "direction": d} for d in group["direction"]]
        whose = f"{interface} of {row.namespace}/{row.pod}" if row.role == "pod" else f"the node's {interface}"
        carried = "the pod's packets" if row.role == "pod" else "what comes and goes there"
        yield finding(
            "bpf-program-missing",
            subject={"node": str(node), "interface": str(interface)},
            cause=f"On {node}, {whose} has no program of Calico at {ways}: with eBPF, programs apply policy and "
            f"services to {carried}.",
            remedy="Look with `bpftool net show` in calico-node for who detached it, and restart calico-node there: "
            "Felix attaches its programs again.",
            evidence=[Rows.of("bpftool-net", "dataplane.programs", keys, str(node))],
            about={f"{row.namespace}/{row.pod}"} if row.role == "pod" else (),
        )


# ---- maps


@check("bpf-map-full", needs={"maps": "dataplane.bpf_maps"})
def map_full(maps: pd.DataFrame) -> Iterator[Finding]:
    """A map near its size, or of which Felix says that an entry did not fit."""
    for row in records(maps[maps["map"].isin(LIMITING)]):
        full = pd.notna(row.share) and row.share >= NEARLY
        if not full and not isinstance(row.refused, str):
            continue
        held = f"holds {row.entries} of at most {row.limit} entries" if full else "took an entry not"
        said = f"; Felix says: {row.refused}" if isinstance(row.refused, str) else ""
        yield finding(
            "bpf-map-full",
            subject={"node": row.node, "map": row.map},
            cause=f"The eBPF programs' map of {row.map} on {row.node} {held}{said}: {WITHOUT_ROOM[row.map]}.",
            remedy=f"Set {NAMES[row.map][1]} of FelixConfiguration higher (Felix restarts), and find what fills it.",
            evidence=[Rows.of(DUMPS[row.map], "dataplane.bpf_maps", [{"node": row.node, "map": row.map}], row.node)],
            about={row.node},
        )


WITHOUT_ROOM = {
    "connections": "new connections push out old ones, or fail",
    "NAT frontends": "services that are new have no address that works there",
    "NAT backends": "services lack endpoints there",
    "routes": "pods and nodes that are new are not reached from there",
    "IP sets": "policies do not know all that their selectors choose",
    "interfaces": "pods that are new get no policy program",
}
"""Map → what a full one does."""


@check(
    "bpf-map-stale",
    needs={"services": "dataplane.bpf_services"},
    told_by=("bpf-nat",),
    absence=True,
)
def services_stale(services: pd.DataFrame) -> Iterator[Finding]:
    """Frontends that the cluster's services have and the map has not, or that lead to the wrong backends."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for row in records(services[services["settled"].fillna(False)]):
        if said := _service_difference(row):
            keys = {"node": row.node, "address": row.address, "port": int(row.port), "protocol": row.protocol}
            found.setdefault(row.node, []).append(
                (f"{row.address}:{row.port}/{row.protocol} of {row.service} {said}", keys)
            )
    yield from _stale("NAT", "bpf-nat", "dataplane.bpf_services", found, "services")


def _service_difference(row: Any) -> str:
    if not row.programmed:
        return "is not there"
    parts = [
        f"{words} {listed(ends[:FEW])}{f' and {len(ends) - FEW} more' if len(ends) > FEW else ''}"
        for words, ends in (("lacks", row.lacks), ("leads to", row.extra))
        if isinstance(ends, list) and ends
    ]
    return (
        f"{', and '.join(parts)}{', which no EndpointSlice has' if isinstance(row.extra, list) and row.extra else ''}"
        if parts
        else ""
    )


@check("bpf-map-stale", needs={"routes": "dataplane.bpf_routes"}, told_by=("bpf-routes",), absence=True)
def routes_stale(routes: pd.DataFrame) -> Iterator[Finding]:
    """Routes to blocks, pods and nodes that the programs lack, or that lead elsewhere."""
    wrong = routes[routes["status"].isin([bpf_routes.MISSING, bpf_routes.DIFFERENT]) & routes["settled"].fillna(False)]
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for row in records(wrong):
        to = next((t for t in (row.next_hop, row.interface, row.where) if isinstance(t, str)), "nowhere")
        lead = "is not there" if row.status == bpf_routes.MISSING else f"leads to {to}, and not to {row.expected}"
        said = f"the route to {row.cidr} ({row.kind} of {row.owner}) {lead}"
        found.setdefault(row.node, []).append((said, {"node": row.node, "cidr": row.cidr}))
    yield from _stale("routes", "bpf-routes", "dataplane.bpf_routes", found, "pods and nodes")


@check("bpf-map-stale", needs={"sets": "dataplane.bpf_sets"}, told_by=("bpf-ipsets",), absence=True)
def sets_stale(sets: pd.DataFrame) -> Iterator[Finding]:
    """IP sets that lack, or still hold, addresses of what their selectors choose."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for row in records(sets[sets["selector"].notna()]):
        parts = [
            f"{words} {listed(own[:FEW])}{f' and {len(own) - FEW} more' if len(own) > FEW else ''}"
            for words, own in (("lacks", row.lacks), ("still holds", row.extra))
            if isinstance(own, list) and own
        ]
        if parts:
            said = f"the set of {row.selector} (of {listed(row.policies)}) {' and '.join(parts)}"
            found.setdefault(row.node, []).append((said, {"node": row.node, "set": row.set}))
    yield from _stale("IP sets", "bpf-ipsets", "dataplane.bpf_sets", found, "policies")


def _stale(
    name: str, source: str, table: str, found: dict[str, list[tuple[str, dict[str, Any]]]], what: str
) -> Iterator[Finding]:
    for node, told in found.items():
        more = f", and {plural(len(told) - 1, 'more difference')}" if len(told) > 1 else ""
        yield finding(
            "bpf-map-stale",
            subject={"node": node, "map": name},
            cause=f"The eBPF programs' map of {name} on {node} is not what the cluster's {what} ask for: "
            f"{told[0][0]}{more}.",
            remedy="Restart calico-node on the node, so that Felix writes its maps anew; then find who changed them, "
            "or which error in Felix's log kept it from writing.",
            evidence=[Rows.of(source, table, [keys for _, keys in told], node)],
            about={node},
        )


# ---- services


@check("service-no-endpoints", needs={"services": "dataplane.bpf_services"})
def without_endpoints(services: pd.DataFrame) -> Iterator[Finding]:
    """Services to which the programs say that nobody stands behind them, and EndpointSlices agree."""
    lacking = services["lacks"].map(lambda ends: isinstance(ends, list) and bool(ends))
    none = services[(services["count"] == 0) & services["service"].notna() & ~lacking]
    for service, group in none.groupby("service"):
        nodes = sorted(set(group["node"]))
        first = next(records(group))
        yield finding(
            "service-no-endpoints",
            subject={"service": str(service)},
            cause=f"Service {service} has no endpoint: the eBPF programs of {listed(nodes)} refuse all who ask "
            f"{first.address}:{first.port}, whatever policy says.",
            remedy="If it should serve, look at its selector, and at the pods that it selects: are they ready?",
            evidence=[
                Rows.of("bpf-nat", "dataplane.bpf_services", [{"node": n, "service": str(service)}], n) for n in nodes
            ],
            about={str(service)},
        )


@check("bpf-kube-proxy-conflict", needs={"modes": "felix.modes", "proxies": "dataplane.proxies"})
def ebpf_and_proxy(modes: pd.DataFrame, proxies: pd.DataFrame) -> Iterator[Finding]:
    """Nodes in eBPF mode on which kube-proxy programs services too: at the end, or again and again while sampled."""
    on = in_mode(modes, EBPF)
    for row in records(proxies[proxies["node"].isin(on)]):
        rules = int(row.rules) if pd.notna(row.rules) else 0
        comes = bool(row.returned) or (row.with_rules and isinstance(row.pod, str))
        if not rules and not comes:
            continue
        now = (
            f"kube-proxy has programmed {plural(rules, 'rule')} for services there too"
            if rules
            else (
                f"kube-proxy's rules for services were there in {row.with_rules} of {plural(row.samples, 'sample')}, "
                "though Felix removes them"
            )
        )
        by = f" ({row.pod} runs there)" if isinstance(row.pod, str) else ""
        yield finding(
            "bpf-kube-proxy-conflict",
            subject={"node": row.node},
            cause=f"eBPF mode is enabled on {row.node}, and {now}{by}.",
            remedy="Disable kube-proxy where eBPF mode is enabled (see Calico's eBPF guide), and let its rules be "
            "cleaned up (bpfKubeProxyIptablesCleanupEnabled).",
            evidence=[
                Rows.of("iptables-nft-save", "dataplane.proxies", [{"node": row.node}], row.node),
            ],
            about={row.node},
        )


# ---- what explains what

for _cause in ("dataplane-program-failing", "felix-dead", "felix-not-ready", "datastore-unreachable", "bpf-map-full"):
    explains(_cause, "bpf-map-stale", on="node")(always)
explains("bpf-map-full", "dataplane-program-failing", on="node")(always)

"""How full the eBPF programs' maps are: entries that were dumped beside the size of the map.

Sizes are set by bpfMapSize… of FelixConfiguration (felix/config/config_params.go, v3.34-dev) and shown by bpftool, of
all that the kernel holds: where several maps have a name (after an upgrade, or where nodes share a kernel as kind's
do), the configured one counts. A full map of hashes or prefixes takes no new entry; a full LRU map (connections since
v3.31, affinities, neighbours) loses its oldest ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.felix.state.configuration import in_force
from calicokit.felix.state.modes import seen_with_ebpf
from calicokit.kube.tables import EVIDENCE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

MAPS = Schema(
    "dataplane.bpf_maps",
    "The eBPF programs' maps: entries beside the size, and whether Felix says that one did not fit.",
    (
        Column("node", "str", "node"),
        Column("map", "str", "connections, NAT frontends, NAT backends, NAT affinities, routes, IP sets, interfaces"),
        Column("entries", "int", "entries; null where the map was not dumped", "entries"),
        Column("limit", "int", "most entries that it holds; null where neither bpftool nor a setting tells", "entries"),
        Column("share", "float", "entries of the limit", "0 to 1"),
        Column("limit_by", "str", "where the limit is from: bpftool, statistics or configuration"),
        Column("refused", "str", "Felix's words on entries that did not fit; null where it says none"),
        EVIDENCE,
    ),
    key=("node", "map"),
)

CONNECTIONS = "connections"
NAMES = {
    CONNECTIONS: (r"cali_v4_ct\d*", "bpfMapSizeConntrack", 512_000),
    "NAT frontends": (r"cali_v4_nat_fe\d*", "bpfMapSizeNATFrontend", 65_536),
    "NAT backends": (r"cali_v4_nat_be\d*", "bpfMapSizeNATBackend", 262_144),
    "NAT affinities": (r"cali_v4_nat_aff?\d*", "bpfMapSizeNATAffinity", 65_536),
    "routes": (r"cali_v4_routes\d*", "bpfMapSizeRoute", 262_144),
    "IP sets": (r"cali_v4_ip_sets\d*", "bpfMapSizeIPSets", 1_048_576),
    "interfaces": (r"cali_iface\d*", "bpfMapSizeIfState", 1_000),
}
"""Map → its kernel name, the setting of its size, and the default."""

DUMPS = {
    CONNECTIONS: "bpf-conntrack-stats",
    "NAT frontends": "bpf-nat",
    "NAT backends": "bpf-nat",
    "NAT affinities": "bpf-nat-aff",
    "routes": "bpf-routes",
    "IP sets": "bpf-ipsets",
    "interfaces": "bpf-ifstate",
}
"""Map → the evidence that tells its entries."""

_FULL = re.compile(r"no space left on device|argument list too long|E2BIG|ENOSPC")
_SAID = {
    "IP sets": re.compile(r"Failed to add IP set entry"),
    "routes": re.compile(r"Failed to update BPF map"),
    "interfaces": re.compile(r"Failed to (?:sync ifstate|write updates to ifstate BPF map)"),
    "NAT frontends": re.compile(r"Failed invoking dataplane syncer|Error while updating DP map"),
}
"""Map → how Felix says that it could not write to it (bpf/ipsets, bpf_route_mgr.go, bpf_ep_mgr.go, bpf/proxy)."""
_BECOMES_FULL = "conntrack table is becoming full"


@table(
    MAPS,
    wants={
        "statistics": "output.bpf_conntrack_stats",
        "frontends": "output.bpf_nat",
        "services": "dataplane.bpf_services",
        "affinities": "output.bpf_nat_aff",
        "routes": "output.bpf_routes",
        "sets": "output.bpf_ipsets",
        "states": "output.bpf_ifstate",
        "sizes": "output.bpftool_map",
        "felix": "felix.configuration",
        "log": "output.felix_log",
    },
)
def bpf_maps(
    statistics: pd.DataFrame | None = None,
    frontends: pd.DataFrame | None = None,
    services: pd.DataFrame | None = None,
    affinities: pd.DataFrame | None = None,
    routes: pd.DataFrame | None = None,
    sets: pd.DataFrame | None = None,
    states: pd.DataFrame | None = None,
    sizes: pd.DataFrame | None = None,
    felix: pd.DataFrame | None = None,
    log: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each map of each node of which a dump, or Felix, tells; see :data:`MAPS`."""
    dumps = {
        "NAT frontends": frontends,
        "NAT affinities": affinities,
        "routes": routes,
        "IP sets": sets,
        "interfaces": states,
    }
    if all(d is None for d in (statistics, *dumps.values())) and not seen_with_ebpf(felix, {"bpf-nat": None}):
        return MAPS.frame()
    counted: dict[tuple[str, str], tuple[int, str]] = {}
    for name, dump in dumps.items():
        for node, own in dump.groupby("node") if dump is not None else ():
            counted[str(node), name] = len(own), own["evidence"].iloc[0]
    counted |= dict(_backends(services))
    said_sizes = dict(_statistics(statistics, counted))
    refused = dict(_refused(log))
    shown = dict(_shown(sizes))
    settings = {n: in_force(felix, setting) for n, (_, setting, _) in NAMES.items()} if felix is not None else {}
    rows = []
    for node, name in sorted({*counted, *refused}):
        entries, evidence = counted.get((node, name), (None, "felix-log"))
        set_to = _number(settings.get(name, {}).get(node))
        limit, by = _limit(
            shown.get((node, name), set()), said_sizes.get(node) if name == CONNECTIONS else None, set_to
        )
        if limit is None and felix is not None:
            limit, by = NAMES[name][2], "configuration"
        row: dict[str, Any] = {"node": node, "map": name, "entries": entries, "limit": limit, "limit_by": by}
        row["share"] = entries / limit if entries is not None and limit else None
        rows.append(row | {"refused": refused.get((node, name)), "evidence": evidence})
    return MAPS.frame(rows)


def _limit(shown: set[int], said: int | None, configured: int | None) -> tuple[int | None, str | None]:
    """The size of a map, and what tells it."""
    if len(shown) == 1:
        return next(iter(shown)), "bpftool"
    if configured is not None and (not shown or configured in shown):
        return configured, "configuration"
    return (said, "statistics") if said is not None else (None, None)


def _backends(services: pd.DataFrame | None) -> Iterator[tuple[tuple[str, str], tuple[int, str]]]:
    """The map of backends has those of each service once; frontends of one service share them."""
    for node, own in services.groupby("node") if services is not None else ():
        kinds = own[own["kind"].isin(["cluster"]) | own["kind"].isna()]
        count = sum(len(b) for b in kinds["backends"])
        yield (str(node), "NAT backends"), (count, own["evidence"].iloc[0])


def _statistics(
    statistics: pd.DataFrame | None, counted: dict[tuple[str, str], tuple[int, str]]
) -> Iterator[tuple[str, int]]:
    """The size that a dump tells; its count of entries goes to the others."""
    if statistics is None:
        return
    for node, what, value, evidence in cells(statistics, "node", "what", "value", "evidence"):
        if what == "total_entries":
            counted[node, CONNECTIONS] = int(value), evidence
        elif what == "map_size":
            yield node, int(value)


def _shown(sizes: pd.DataFrame | None) -> Iterator[tuple[tuple[str, str], set[int]]]:
    """Node and map → the sizes of the kernel's maps of that name."""
    if sizes is None:
        return
    for name, (pattern, _, _) in NAMES.items():
        own = sizes[sizes["name"].fillna("").str.fullmatch(pattern) & sizes["limit"].notna()]
        for node, found in own.groupby("node"):
            yield (str(node), name), {int(n) for n in found["limit"]}


def _refused(log: pd.DataFrame | None) -> Iterator[tuple[tuple[str, str], str]]:
    """Node and map → the last line in which Felix says that it is full."""
    if log is None:
        return
    words = log["message"].fillna("") + " " + log["error"].fillna("")
    for node, said in cells(log.assign(said=words)[words.str.contains(_FULL)], "node", "said"):
        if name := next((n for n, pattern in _SAID.items() if pattern.search(said)), None):
            yield (node, name), said.strip()[:300]
    for node, said in cells(log.assign(said=words)[words.str.contains(_BECOMES_FULL, regex=False)], "node", "said"):
        yield (node, CONNECTIONS), said.strip()[:300]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 15 else None

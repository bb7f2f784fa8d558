"""What is compared: for each area its tables, what tells rows apart, what may change, and what only counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Compared:
    """A table that is compared.

    ``key`` tells rows apart beside the node, ``values`` are what may change in a row, ``counters`` what counts on its
    own. ``prepare`` makes rows comparable. Where ``instead_of`` is comparable, this one says the same and is left out.
    ``ordered`` names the key columns within which the order of rows is meant. What is ``ipv6`` is compared where one of
    the clusters has IPv6.
    """

    area: str
    table: str
    key: tuple[str, ...]
    values: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    instead_of: str = ""
    ordered: tuple[str, ...] = ()
    ipv6: bool = False


OBJECTS = "objects"
"""The API lists, all but events: they are compared object by object, not as a table."""

_HASH = re.compile(r"-m comment --comment \"?cali:[\w-]{1,40}\"? ?|(?<=comment \")cali:[\w-]{1,40}(?:; ?)?")
_COUNTER = re.compile(r"counter packets \d{1,20} bytes \d{1,20} ?|comment \"\" ?| # handle \d{1,20}|\xa0")
_IPTABLES = ("raw", "mangle", "nat", "filter", "security")


def _without_hashes(frame: pd.DataFrame) -> pd.DataFrame:
    """Felix marks each rule with a hash of itself and all rules before it in its chain: one new rule changes many."""
    return frame.assign(spec=frame["spec"].str.replace(_HASH, "", regex=True).str.strip())


def _own_tables(frame: pd.DataFrame) -> pd.DataFrame:
    """nft shows what iptables wrote too; that is compared as iptables-save prints it."""
    mine = frame[~frame["table"].isin(_IPTABLES)]
    plain = mine["expression"].str.replace(_HASH, "", regex=True).str.replace(_COUNTER, "", regex=True)
    return mine.assign(expression=plain.str.strip())


def _routes(frame: pd.DataFrame) -> pd.DataFrame:
    """Without routes to link-local and multicast addresses: they come and go with interfaces, which are compared."""
    return frame[~frame["destination"].str.startswith(("fe80:", "ff00:"), na=False)]


def _sessions(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["proto"] == "BGP"]


def _settings(frame: pd.DataFrame) -> pd.DataFrame:
    """Settings of the network; counts that the kernel shows beside them are none."""
    return frame[frame["key"].str.startswith("net.") & ~frame["key"].str.endswith("_count")]


def _counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Per-CPU rows of `conntrack -S` in one sum for each node."""
    numbers = [c for c in frame.columns if c not in ("node", "cpu", "line") and str(frame[c].dtype) == "Int64"]
    return frame.groupby("node", as_index=False)[numbers].sum(min_count=1)


_RULE = ("table", "chain", "spec")
_ROUTE = ("table", "version", "type", "destination", "metric")
_VIA = ("gateway", "interface", "protocol", "scope", "source", "flags", "mtu")
_ASKED = ("priority", "from", "to", "fwmark", "mask", "iif", "oif")
_SESSION = ("state", "bgp_state", "neighbor_address", "neighbor_as", "local_as", "last_error", "since")
_ROUTES = ("routes_imported", "routes_exported", "routes_preferred", "routes_filtered")
_LINK = ("mtu", "qdisc", "state", "flags", "master", "mac", "kind", "vxlan_id", "vxlan_port", "tunnel_local")
_TRAFFIC = (
    *("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped"),
    "carrier_changes",
)
_CONNTRACK = ("found", "invalid", "insert", "insert_failed", "drop", "early_drop", "error", "search_restart")


def _rules(id_: str, instead_of: str = "") -> Compared:
    counters = ("packets", "bytes")
    table = f"output.{id_}"
    return Compared("rules", table, _RULE, (), counters, _without_hashes, instead_of, ordered=("table", "chain"))


def _bgp(table: str, ipv6: bool) -> Iterator[Compared]:
    full = f"{table}_all"
    yield Compared("bgp", full, ("protocol",), _SESSION, _ROUTES, _sessions, ipv6=ipv6)
    yield Compared("bgp", table, ("protocol",), ("state", "info"), (), _sessions, instead_of=full, ipv6=ipv6)


COMPARED = (
    Compared("addresses", "ipam.addresses", ("address",), ("node", "type", "namespace", "pod", "service", "handle")),
    _rules("iptables_save"),
    _rules("iptables_nft_save", "output.iptables_save"),
    _rules("iptables_legacy_save"),
    _rules("ip6tables_save"),
    Compared(
        "rules",
        "output.nft_ruleset",
        ("family", "table", "chain", "expression"),
        (),
        ("packets", "bytes"),
        _own_tables,
        ordered=("family", "table", "chain"),
    ),
    Compared("routes", "output.ip_route_all", _ROUTE, _VIA, prepare=_routes),
    Compared("routes", "output.ip_route", _ROUTE, _VIA, prepare=_routes, instead_of="output.ip_route_all"),
    *(Compared("routes", f"output.ip_rule{v}", _ASKED, ("table", "action"), ipv6=bool(v)) for v in ("", "6")),
    *(compared for v in ("", "6") for compared in _bgp(f"output.birdcl{v}_protocols", bool(v))),
    Compared("ipsets", "output.ipset_list", ("set", "member"), ("type", "nomatch")),
    *(
        Compared("sysctls", f"output.sysctl_net{v}", ("key",), ("value",), (), _settings, ipv6=bool(v))
        for v in ("", "6")
    ),
    Compared("interfaces", "output.ip_link_stats", ("interface",), _LINK, _TRAFFIC),
    Compared("interfaces", "output.ip_addr", ("interface", "address"), ("prefix_length", "scope", "peer", "broadcast")),
    Compared("counters", "output.felix_metrics", ("metric", "labels"), (), ("value",)),
    Compared("counters", "output.typha_metrics", ("metric", "labels"), (), ("value",)),
    Compared("counters", "output.kube_controllers_metrics", ("metric", "labels"), (), ("value",)),
    Compared("counters", "output.conntrack_stats", (), (), _CONNTRACK, _counts),
    Compared("counters", "output.nstat", ("counter",), (), ("value",)),
)

AREAS = tuple(dict.fromkeys((OBJECTS, *(c.area for c in COMPARED))))

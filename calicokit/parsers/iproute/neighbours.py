"""What iproute2 prints of neighbours and of bridges' forwarding: text and JSON, the same tables from both.

Sources: recordings of iproute2 6.1; iproute2's ip/ipneigh.c and bridge/fdb.c, and the same tools' answers in a network
namespace, for other flags and states.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.parsers.iproute.common import address, attributes, columns, number, simple, string, strings, version
from calicokit.schema import Column, Schema

_SOURCE = "recordings of iproute2 6.1; iproute2's ip/ipneigh.c and bridge/fdb.c"
_LINE = Column("line", "int", "1-based line number in the text")
_ATTRIBUTES = Column("attributes", "str", "remaining attributes, as 'name value' as printed")
NEIGHBOURS = Schema(
    "ip_neigh",
    "neighbour entries: MAC of each address (ARP, NDP)",
    (
        Column("address", "str", "address"),
        Column("interface", "str", "interface; null where the command named it"),
        Column("mac", "str", "MAC; null while unresolved"),
        Column("state", "str", "REACHABLE, STALE, DELAY, PROBE, FAILED, INCOMPLETE, PERMANENT or NOARP"),
        Column("flags", "list", "such as router, proxy, extern_learn"),
        _ATTRIBUTES,
        _LINE,
    ),
    ("address", "interface"),
    source=_SOURCE,
)
FDB = Schema(
    "bridge_fdb",
    "forwarding database (FDB) of bridges and VXLAN devices",
    (
        Column("mac", "str", "MAC"),
        Column("interface", "str", "interface; null where the command named it"),
        Column("destination", "str", "VXLAN: remote VTEP address"),
        Column("vlan", "int", "VLAN"),
        Column("vni", "int", "VXLAN: VNI, if not the interface's"),
        Column("port", "int", "VXLAN: UDP port, if not the interface's"),
        Column("via", "str", "VXLAN: outgoing interface"),
        Column("master", "str", "bridge the interface belongs to"),
        Column("state", "str", "permanent, static or stale; null for learnt"),
        Column("self", "bool", "self: entry of the interface itself, not of the bridge; null where ip printed it"),
        Column("permanent", "bool", "permanent entry"),
        Column("flags", "list", "such as self, master, extern_learn, offload"),
        _ATTRIBUTES,
        _LINE,
    ),
    ("mac", "interface", "vlan", "destination"),
    source=_SOURCE,
)
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){2,31}")
_STATES = {"REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE", "PERMANENT", "NOARP", "NONE"}


def _neighbour(words: list[str]) -> dict[str, Any] | None:
    flags = _STATES | {"router", "proxy", "extern_learn", "managed", "offload", "extern_valid"}
    row = columns(words[1:], {"dev": "interface", "lladdr": "mac"}, flags) if version(words[0]) else None
    if row is None:
        return None
    states = [f for f in row["flags"] if f in _STATES]
    row["flags"] = [f for f in row["flags"] if f not in _STATES]
    known = states or row["flags"] or row.get("interface")
    return row | {"address": address(words[0]), "state": "|".join(states) or None} if known else None


def _neighbour_of(value: dict[str, Any]) -> dict[str, Any] | None:
    rest = dict(value)
    row: dict[str, Any] = {"address": address(rest.pop("dst", None)), "state": "|".join(strings(rest.pop("state", [])))}
    row["interface"], row["mac"] = string(rest.pop("dev", None)), string(rest.pop("lladdr", None))
    row["flags"] = [name for name, on in rest.items() if on is None]
    row["attributes"] = attributes({k: v for k, v in rest.items() if v is not None})
    row["state"] = row["state"] or None
    return row if version(row["address"]) else None


@parser(
    "ip-neigh", NEIGHBOURS, marks=r"^\S+ dev \S+ .*\b(REACHABLE|STALE|FAILED|PERMANENT|DELAY|PROBE|INCOMPLETE|NOARP)\b"
)
def ip_neigh(text: Text) -> dict[str, pd.DataFrame]:
    """``ip neigh``, text and ``-j``: the MACs of neighbours.

    Source: recordings; iproute2's ip/ipneigh.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("ip-neigh", "10.48.84.133 dev cali1 lladdr 46:e2:09:24:9a:bc REACHABLE").frame.iloc[0]
    >>> row["interface"], row["mac"], row["state"]
    ('cali1', '46:e2:09:24:9a:bc', 'REACHABLE')
    """
    return simple(text, NEIGHBOURS, _neighbour, _neighbour_of, "ADDRESS dev INTERFACE lladdr MAC STATE")


_FDB_WORDS = {w: w for w in ("vlan", "vni", "port", "via", "master")} | {"dev": "interface", "dst": "destination"}
_FDB_FLAGS = {
    "self",
    "extern_learn",
    "offload",
    "sticky",
    "added_by_user",
    "router",
    "permanent",
    "static",
    "stale",
    "locked",
}


def _entry(words: list[str]) -> dict[str, Any] | None:
    if not _MAC.fullmatch(words[0]):
        return _of_neighbour(words)
    row = columns(words[1:], _FDB_WORDS, _FDB_FLAGS)
    return row and _entered(row, words[0])


def _of_neighbour(words: list[str]) -> dict[str, Any] | None:
    """The same entry as ``ip -f bridge neigh`` prints it: the destination, if any, stands in front, its MAC behind."""
    ends = [address(words[0])] if version(words[0]) else []
    known = {**_FDB_WORDS, "lladdr": "mac"}
    row = columns(words[len(ends) :], known, _FDB_FLAGS | _STATES)
    if row is None or not _MAC.fullmatch(row.get("mac") or ""):
        return None
    states = [state for name, state in _KERNEL_STATES.items() if name in row["flags"]]
    row["flags"] = [*(f for f in row["flags"] if f not in _STATES), *states[:1]]
    return _entered(row | {"destination": next(iter(ends), None)}, row["mac"]) | {"self": None}


_KERNEL_STATES = {"PERMANENT": "permanent", "NOARP": "static", "STALE": "stale"}
"""What ``bridge`` calls a neighbour's states, the one that it shows of several first (bridge/fdb.c, state_n2a)."""


def _entered(row: dict[str, Any], mac: str) -> dict[str, Any]:
    states = [f for f in row["flags"] if f in ("permanent", "static", "stale")]
    flags = [f for f in row["flags"] if f not in states]
    if row.get("master") and "master" not in flags:
        flags.append("master")
    row |= {"mac": mac.lower(), "flags": flags, "state": states[0] if states else None}
    row["destination"] = address(row.get("destination"))
    return row | {"self": "self" in flags, "permanent": "permanent" in states}


def _entry_of(value: dict[str, Any]) -> dict[str, Any] | None:
    rest = dict(value)
    mac, state = string(rest.pop("mac", None)) or "", string(rest.pop("state", None))
    row: dict[str, Any] = {n: number(rest.pop(n, None)) for n in ("vlan", "vni", "port")}
    for name, column in (("ifname", "interface"), ("dst", "destination"), ("viaIf", "via"), ("master", "master")):
        row[column] = string(rest.pop(name, None))
    row["flags"] = [*strings(rest.pop("flags", None)), *([state] if state else [])]
    row["attributes"] = attributes(rest)
    return _entered(row, mac) if _MAC.fullmatch(mac) else None


@parser("bridge-fdb", FDB, marks=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5} dev ")
def bridge_fdb(text: Text) -> dict[str, pd.DataFrame]:
    """``bridge fdb show``, text and ``-j``, and ``ip -f bridge neigh show``: where MACs are; for VXLAN, on which node.

    Source: recordings; iproute2's bridge/fdb.c; the same tools' answers of one device in a network namespace.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bridge-fdb", "66:2f:1b:00:11:22 dev vxlan.calico dst 172.30.0.12 self permanent").frame.iloc[0]
    >>> row["interface"], row["destination"], bool(row["permanent"])
    ('vxlan.calico', '172.30.0.12', True)
    """
    return simple(text, FDB, _entry, _entry_of, "MAC dev INTERFACE …")

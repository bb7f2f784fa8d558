"""Interference of the host's network managers (firewalld, ufw, NetworkManager): what they changed, not that they run.

Signs (no recording shows them): firewalld and ufw by the names of their tables and chains (firewalld's
fw/nftables.py and fw/ipXtables.py, ufw's ufw-init and before.rules); NetworkManager and systemd-networkd by what they
leave on Calico's interfaces: leases (flag dynamic), addresses without their prefix's route (noprefixroute), and routes
of the protocols dhcp, ra and static. Calico's interfaces have no such addresses and routes: Felix's routes are of the
protocols 80, boot and kernel, BIRD's of bird (felix/dataplane/linux/route_mgr.go, HEAD; recordings).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

SIGNS = Schema(
    "health.host_managers",
    "Changes by a host network manager to what Calico manages.",
    (
        Column("node", "str", "node"),
        Column("manager", "str", "firewalld, ufw, or NetworkManager or systemd-networkd (indistinguishable)"),
        Column("sign", "str", "rule (drops what Calico needs), flush (removed Calico's rules), address or route"),
        Column("what", "str", "what it did"),
        Column("where", "str", "table and chain, or interface"),
        Column("times", "int", "number of times, where known", "times"),
        Column("last", "time", "last time; null where only the result is seen"),
    ),
)

DOCKER = "Docker"
OF_HOST = "NetworkManager or systemd-networkd"
_FIREWALLS = {
    "ufw": re.compile(r"ufw6?-"),
    "firewalld": re.compile(r"firewalld$|(INPUT|FORWARD|PREROUTING|POSTROUTING)_(ZONES|IN_ZONES|OUT_ZONES|direct)"),
}
"""How their tables and chains begin, of which a node with the firewall has some."""

_ZONES = re.compile(r"(IN|FWDI|FWDO|FWD|PRE|POST)_\w")
"""firewalld's chains of its zones, which alone might be anybody's."""

_OURS = re.compile(r"cali[0-9a-f]{6,11}$|vxlan(-v6)?\.calico$|tunl0$|wireguard\.cali$|wg-v6\.cali$")
_LENT = ("dhcp", "ra", "static")
_FLAGS = frozenset(("dynamic", "noprefixroute"))
TOGETHER = pd.Timedelta(seconds=2)
SHARE = 0.5
"""So much of the chains that Felix found changed at once is a flush, not a hand that removed one."""

FEWEST = 4


@table(
    SIGNS,
    any_of={"rules": "dataplane.rules", "addresses": "output.ip_addr", "routes": "routes.kernel"},
    wants={"drops": "dataplane.foreign_drops", "resynced": "dataplane.resynced"},
)
def host_managers(
    rules: pd.DataFrame | None,
    addresses: pd.DataFrame | None,
    routes: pd.DataFrame | None,
    drops: pd.DataFrame | None = None,
    resynced: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each sign; see :data:`SIGNS`."""
    firewalls = {} if rules is None else _present(rules)
    found = [*_rules(drops, firewalls), *_flushes(resynced, rules, firewalls), *_addresses(addresses), *_routes(routes)]
    return SIGNS.frame(found)


def _present(rules: pd.DataFrame) -> dict[str, set[str]]:
    """Node → the firewalls whose tables or chains stand there; Docker too, as it closes the same chain."""
    found: dict[str, set[str]] = {}
    places = rules[["node", "table", "chain"]].drop_duplicates()
    for node, name, chain in cells(places, "node", "table", "chain"):
        manager = DOCKER if chain.startswith("DOCKER") else _firewall(name, chain)
        if manager:
            found.setdefault(node, set()).add(manager)
    return found


def _firewall(name: object, chain: str) -> str | None:
    """By the name of the table, which is null in a listing without it, or of the chain."""
    named = name if isinstance(name, str) else ""
    return next((m for m, words in _FIREWALLS.items() if words.match(named) or words.match(chain)), None)


def _writer(row: Any, there: set[str]) -> str | None:
    """The firewall of a node that wrote a rule, or closed a built-in chain that nobody else there closes."""
    if manager := _firewall(row.table, row.chain):
        return manager
    if "firewalld" in there and _ZONES.match(row.chain):
        return "firewalld"
    return next(iter(there)) if pd.isna(row.rule) and len(there) == 1 and DOCKER not in there else None


def _rules(drops: pd.DataFrame | None, firewalls: dict[str, set[str]]) -> Iterator[dict[str, Any]]:
    """Rules of a firewall, or a closed policy beside one, that drop what Calico or pods need."""
    for row in records(drops) if drops is not None else ():
        if manager := _writer(row, firewalls.get(row.node, set())):
            yield {
                "node": row.node,
                "manager": manager,
                "sign": "rule",
                "what": f"its rule {row.verdict}s {', '.join(row.concerns)}",
                "where": f"{row.table} {row.chain}",
                "times": int(row.packets) if pd.notna(row.packets) else None,
            }


def _flushes(
    resynced: pd.DataFrame | None, rules: pd.DataFrame | None, firewalls: dict[str, set[str]]
) -> Iterator[dict[str, Any]]:
    """Most of Calico's chains found gone at once, on a node that has such a firewall."""
    if resynced is None or rules is None:
        return
    for node, group in resynced.groupby("node"):
        managers = sorted(firewalls.get(str(node), set()) - {DOCKER})
        if not managers:
            continue
        calico = rules[(rules["node"] == node) & (rules["owner"] == "calico")]["chain"].nunique()
        last = group["last"].max()
        at_once = group[last - group["last"] <= TOGETHER]
        if len(at_once) >= max(FEWEST, SHARE * calico):
            yield {
                "node": node,
                "manager": managers[0],
                "sign": "flush",
                "what": f"{len(at_once)} of Calico's {calico} chains disappeared at once, and Felix rewrote them",
                "where": "rules",
                "times": int(at_once["times"].min()),
                "last": last,
            }


def _addresses(addresses: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    for row in records(addresses) if addresses is not None else ():
        lent = _FLAGS & set(row.flags)
        if lent and isinstance(row.interface, str) and _OURS.match(row.interface) and row.version == 4:
            what = f"gave it the address {row.address}/{row.prefix_length} ({', '.join(sorted(lent))})"
            yield {"node": row.node, "manager": OF_HOST, "sign": "address", "what": what, "where": row.interface}


def _routes(routes: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    if routes is None:
        return
    lent = routes[routes["protocol"].isin(_LENT) & (routes["version"] == 4)]
    for row in records(lent):
        # FelixConfiguration deviceRouteProtocol can make Felix's own routes static: to a pod, or through a tunnel.
        own = row.protocol == "static" and (row.cidr.endswith("/32") or not str(row.interface).startswith("cali"))
        if isinstance(row.interface, str) and _OURS.match(row.interface) and not own:
            what = f"set the route {row.cidr} on it (protocol {row.protocol})"
            yield {"node": row.node, "manager": OF_HOST, "sign": "route", "what": what, "where": row.interface}

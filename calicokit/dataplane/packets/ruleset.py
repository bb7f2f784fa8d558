"""A node's rules, ready to be walked: base chains by hook, chains by name, members of sets, routes and addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.dataplane.packets.actions import Compiled
from calicokit.dataplane.packets.compile_iptables import compile_iptables
from calicokit.dataplane.packets.compile_nft import compile_nft, element
from calicokit.dataplane.packets.match import Members, Node
from calicokit.dataplane.packets.packet import AddressSet, Route, Routes, protocol_number
from calicokit.net import prefix
from calicokit.schema import cells

Space = tuple[str, str, str]
"""Family, backend and table: where a chain's name means one chain."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule by its place; what it asks is compiled when a packet meets it."""

    space: Space
    chain: str
    number: int
    verdict: str
    target: str
    comment: str
    owner: str
    spec: str
    packets: int | None

    @property
    def compiled(self) -> Compiled:
        family, backend, table = self.space
        return compile_nft(self.spec, family, table) if backend == "nftables" else compile_iptables(self.spec)


@dataclass(frozen=True, slots=True)
class Base:
    """A chain that packets enter at a hook."""

    space: Space
    chain: str
    hook: str
    priority: int
    type: str
    policy: str

    def sees(self, version: int) -> bool:
        return self.space[0] in ("inet", "ip6" if version == 6 else "ip")


@dataclass
class Ruleset:
    """All rules of a node."""

    node: Node
    chains: dict[tuple[Space, str], list[Rule]] = field(default_factory=dict)
    bases: dict[str, list[Base]] = field(default_factory=dict)

    @property
    def follows_programs(self) -> bool:
        """Whether the rules are those of eBPF mode: Felix's programs decide, and rules ask for the mark they leave."""
        filters = (rules for (_, chain), rules in self.chains.items() if chain == "FORWARD")
        return any(r.owner == "calico" and "BPF programs" in r.comment for rules in filters for r in rules)

    def at(self, hook: str, version: int) -> list[Base]:
        """The base chains that a packet meets at a hook, in their order."""
        return [b for b in self.bases.get(hook, ()) if b.sees(version)]


def rulesets(
    rules: pd.DataFrame,
    chains: pd.DataFrame,
    sets: pd.DataFrame | None,
    routes: pd.DataFrame | None,
    prefixes: Iterable[str] = ("cali",),
) -> dict[str, Ruleset]:
    """Node → its rules, from ``dataplane.rules``, ``dataplane.chain_list``, ``dataplane.sets`` and
    ``output.ip_route_all``; what of these is None is unknown to matches."""
    names = list(dict.fromkeys(chains["node"].dropna()))
    members = {} if sets is None else _members(sets)
    known = set() if sets is None else set(sets["node"])
    of_routes = {} if routes is None else node_routes(routes)
    made = {}
    for name in names:
        local, found = of_routes.get(name, (None, None))
        its = members.get(name, {}) if name in known else None
        made[name] = Ruleset(Node(name, local, found, its, tuple(prefixes)))
    _fill_rules(made, rules)
    for name, frame in chains[chains["hook"].notna()].groupby("node"):
        made[str(name)].bases = _bases(frame)
    return made


def _fill_rules(made: Mapping[str, Ruleset], rules: pd.DataFrame) -> None:
    own = rules[rules["owner"] != "kernel-policy"]
    columns = ("node", "family", "backend", "table", "chain", "rule", "verdict", "target", "comment", "owner", "spec")
    lists: dict[str, dict[tuple[Space, str], list[Rule]]] = {n: defaultdict(list) for n in made}
    for node, family, backend, table, chain, number, verdict, target, comment, owner, spec, packets in cells(
        own, *columns, "packets"
    ):
        if node not in lists:
            continue
        space = (family, backend, table)
        rule = Rule(
            space, chain, number, _text(verdict), _text(target), _text(comment), owner, _text(spec), _count(packets)
        )
        lists[node][space, chain].append(rule)
    for node, found in lists.items():
        made[node].chains = dict(found)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return None if value is None or value is pd.NA else int(value)


def _bases(frame: pd.DataFrame) -> dict[str, list[Base]]:
    found: dict[str, list[Base]] = defaultdict(list)
    columns = ("family", "backend", "table", "chain", "hook", "priority", "type", "policy")
    for family, backend, table, chain, hook, priority, type_, policy in cells(frame, *columns):
        if family in ("ip", "ip6", "inet"):
            order = 0 if priority is pd.NA or priority is None else int(priority)
            base = Base((family, backend, table), chain, hook, order, type_, policy or "accept")
            found[hook].append(base)
    return {hook: sorted(bases, key=lambda b: b.priority) for hook, bases in found.items()}


# ---- sets


def _members(sets: pd.DataFrame) -> dict[str, dict[tuple[str | None, str, str], Members]]:
    made: dict[str, dict[tuple[str | None, str, str], Members]] = defaultdict(dict)
    columns = ("node", "family", "table", "set", "type", "element", "value", "nomatch")
    for node, family, table, name, type_, text, value, nomatch in cells(sets, *columns):
        key = (table if isinstance(table, str) else None, family, name)
        its = made[node].get(key)
        if its is None:
            kind = _text(type_).partition(" : ")[0] if isinstance(table, str) else _text(type_)
            its = made[node][key] = Members(kind)
        if isinstance(text, str):
            try:
                _add(its, text, _text(value), nomatch is True)
            except ValueError:
                its.odd = True
    return made


def _add(members: Members, text: str, value: str, nomatch: bool) -> None:
    if ":" in members.type and " . " not in members.type:  # one of the kernel's
        _add_ipset(members, text, nomatch)
    elif members.type in ("ipv4_addr", "ipv6_addr") and not value:
        members.addresses.add(text)
    else:
        parts = element(members.type, text)
        if parts is None:
            members.odd = True
        elif value:
            members.values[parts] = value
        else:
            members.parts.add(parts)


def _add_ipset(members: Members, text: str, nomatch: bool) -> None:
    kinds = members.type.partition(":")[2].split(",")
    if kinds == ["set"]:
        members.nested.append(text)
    elif kinds in (["ip"], ["net"]):
        members.addresses.add(text, nomatch)
    elif members.type == "bitmap:port":
        members.parts.add((int(text),))
    elif all(k in ("ip", "port") for k in kinds):
        members.parts.add(tuple(_ipset_part(k, t) for k, t in zip(kinds, text.split(","), strict=True)))
    else:
        members.odd = True


def _ipset_part(kind: str, text: str) -> Any:
    if kind == "ip":
        return prefix(text).first
    protocol, _, port = text.rpartition(":")
    return protocol_number(protocol or "tcp"), int(port)


# ---- routes


def node_routes(routes: pd.DataFrame) -> dict[str, tuple[AddressSet | None, Routes | None]]:
    """Node → its own addresses and its routes of the tables local and main."""
    made: dict[str, tuple[AddressSet | None, Routes | None]] = {}
    for node, frame in routes[routes["table"].isin(["main", "local"])].groupby("node"):
        local, found = AddressSet(), []
        columns = ("destination", "type", "interface", "gateway", "metric")
        for to, kind, interface, gateway, metric in cells(frame, *columns):
            try:
                net = prefix(to)
            except (ValueError, TypeError):
                continue
            if kind == "local":
                local.add(to)
            own = interface if isinstance(interface, str) else None
            via = gateway if isinstance(gateway, str) else None
            found.append(Route(net, kind, own, via, 0 if metric is pd.NA or metric is None else int(metric)))
        # `ip route` shows the main table alone: then which addresses are the node's own is not known.
        made[str(node)] = (local if local.sizes else None, Routes.of(found))
    return made

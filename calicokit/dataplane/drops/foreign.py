"""Rules that neither Calico nor kube-proxy wrote, and that drop what Calico or pods need.

For what Calico itself needs (BGP, tunnels, the API server, Typha) real packets are walked through all rules of the
node: a rule behind one that accepts them drops nothing. For pods' traffic, whose ports are not known, Calico's own
chains are taken to accept, so that only what others wrote decides. A rule that asks for more than is known, or that
stands behind one that accepts, counts where it is meant for just this traffic and has dropped packets: Felix moves its
own rules to the top when it sees others there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from calicokit.dataplane.packets.flow import Dataplane, parsed_address, shown
from calicokit.dataplane.packets.packet import NAMES, Packet
from calicokit.dataplane.packets.ruleset import Base, Rule, Ruleset
from calicokit.dataplane.packets.walk import Way
from calicokit.evidence.objects import Object, Objects
from calicokit.registry import table
from calicokit.routes.settings import VXLAN_PORT, WIREGUARD_PORT
from calicokit.schema import Column, Schema, cells

FOREIGN = Schema(
    "dataplane.foreign_drops",
    "Non-Calico rules (and policies of built-in chains) that drop traffic Calico or pods need.",
    (
        Column("node", "str", "node"),
        Column("family", "str", "ip, ip6 or inet"),
        Column("backend", "str", "nft, legacy or nftables"),
        Column("table", "str", "table"),
        Column("chain", "str", "chain"),
        Column("rule", "int", "1-based number in the chain; null for the chain's policy"),
        Column("verdict", "str", "drop or reject"),
        Column("concerns", "list", "what it drops: BGP, VXLAN, IPIP, WireGuard, the API server, Typha, pod traffic"),
        Column("example", "str", "example of a packet that it drops"),
        Column("sure", "bool", "true: every match is understood and met; false: known from its drop counter only"),
        Column("packets", "int", "packets dropped; null without a counter", "packets"),
        Column("spec", "str", "the rule, as printed"),
    ),
    key=("node", "family", "backend", "table", "chain", "rule"),
)

PODS, API, TYPHA = "pods' packets", "the API server", "Typha"
MOST_PEERS = 12
"""Other ends that are tried for each node; rules for one of many are rare."""
MOST_PODS = 24


@dataclass(frozen=True, slots=True)
class Hit:
    node: str
    by: Rule | Base
    concerns: str
    packet: Packet
    sure: bool


@table(
    FOREIGN,
    needs={"rules": "dataplane.rules", "chains": "dataplane.chain_list", "nodes": "kube.nodes"},
    wants={
        "routes": "output.ip_route_all",
        "sets": "dataplane.sets",
        "endpoints": "dataplane.endpoints",
        "sessions": "bgp.expected",
        "blocks": "routes.blocks",
        "settings": "routes.settings",
        "slices": "endpointslices",
    },
)
def foreign_drops(
    rules: pd.DataFrame,
    chains: pd.DataFrame,
    nodes: pd.DataFrame,
    routes: pd.DataFrame | None = None,
    sets: pd.DataFrame | None = None,
    endpoints: pd.DataFrame | None = None,
    sessions: pd.DataFrame | None = None,
    blocks: pd.DataFrame | None = None,
    settings: pd.DataFrame | None = None,
    slices: Objects | None = None,
) -> pd.DataFrame:
    """One row a rule, IPv4; see :data:`FOREIGN`."""
    closed = _closed(rules)
    if not closed:
        return FOREIGN.frame()
    dataplane = Dataplane.build(rules, chains, sets, routes, endpoints)
    needs = _Needs(nodes, sessions, blocks, settings, slices)
    for node, addresses in needs.addresses.items():
        dataplane.place_node(node, addresses)
    counted = {r[:5]: r[5] for r in cells(rules[rules["owner"] == "kernel-policy"], *_PLACE, "packets")}
    found: dict[tuple[Any, ...], list[Hit]] = {}
    for node in sorted(closed & dataplane.nodes.keys()):
        for hit in (*_of_calico(dataplane, node, needs), *_of_pods(dataplane, node)):
            if not (isinstance(hit.by, Rule) and hit.by.packets == 0):  # nothing has met it: no wall
                found.setdefault((hit.node, hit.by), []).append(hit)
    return FOREIGN.frame([_row(hits, counted) for hits in found.values()])


_PLACE = ("node", "family", "backend", "table", "chain")


def _closed(rules: pd.DataFrame) -> set[str]:
    """Nodes with a rule of others, or a chain's policy, that drops: the others need no look."""
    closes = rules["verdict"].isin(["drop", "reject"]) & (rules["family"] != "arp")
    return set(rules[closes & rules["owner"].isin(["foreign", "kernel-policy"])]["node"])


def _row(hits: list[Hit], counted: Mapping[tuple[Any, ...], Any]) -> dict[str, Any]:
    first = hits[0]
    by, packet = first.by, first.packet
    place = (first.node, *by.space, by.chain)
    row: dict[str, Any] = dict(zip(_PLACE, place, strict=True))
    row |= {"concerns": sorted({h.concerns for h in hits}), "sure": any(h.sure for h in hits), "example": words(packet)}
    if isinstance(by, Base):
        packets = counted.get(place)
        return row | {"verdict": "drop", "spec": f"policy of {by.chain}: drop", "packets": _number(packets)}
    return row | {"rule": by.number, "verdict": by.verdict, "spec": by.spec, "packets": by.packets}


def _number(value: Any) -> int | None:
    return None if value is None or value is pd.NA else int(value)


def words(packet: Packet) -> str:
    """A packet in a few words: addresses, protocol and port."""
    protocol = NAMES.get(packet.protocol or -1, str(packet.protocol))
    port = f" port {packet.dport}" if packet.dport is not None else ""
    return f"{protocol}{port} from {shown(packet, 'source')} to {shown(packet, 'destination')}"


# ---- what Calico needs


class _Needs:
    """What each node sends and takes for Calico: the word for it, protocol, port, and the other ends."""

    def __init__(
        self,
        nodes: pd.DataFrame,
        sessions: pd.DataFrame | None,
        blocks: pd.DataFrame | None,
        settings: pd.DataFrame | None,
        slices: Objects | None,
    ) -> None:
        self.addresses = {
            node: [a for a in (*calico, *plain) if ":" not in a][:1]
            for node, calico, plain in cells(nodes, "node", "calico_addresses", "addresses")
        }
        first = None if settings is None or not len(settings) else settings.iloc[0]
        self.vxlan_port = VXLAN_PORT if first is None else int(first["vxlan_port"])
        self.wireguard_port = WIREGUARD_PORT if first is None else int(first["wireguard_port"])
        self.peers: dict[str, list[str]] = {}
        for node, peer in cells(sessions, "node", "peer_address") if sessions is not None else ():
            self.peers.setdefault(node, []).append(peer)
        self.tunnels = _tunnels(blocks)
        self.servers = [] if slices is None else list(dict.fromkeys(s for each in slices.rows(_servers) for s in each))

    def others(self, node: str, mode: str = "") -> list[str]:
        """Addresses of other nodes; of those that a node sends pods' packets to in this way, if it is given."""
        its = self.addresses if not mode else self.tunnels.get((node, mode), {})
        return [a for other in its if other != node for a in self.addresses.get(other, ())][:MOST_PEERS]

    def between(self, node: str) -> Iterator[tuple[str, int, int | None, list[str]]]:
        """What goes between this node and others, both ways: word, protocol, port and other ends."""
        yield "BGP", 6, 179, [p for p in self.peers.get(node, ()) if _plain(p)][:MOST_PEERS]
        yield "VXLAN", 17, self.vxlan_port, self.others(node, "vxlan")
        yield "IPIP", 4, None, self.others(node, "ipip")
        yield "WireGuard", 17, self.wireguard_port, self.others(node, "wireguard")

    def served(self) -> Iterator[tuple[str, int, list[str]]]:
        """What nodes ask: word, port and addresses."""
        by_port: dict[tuple[str, int], list[str]] = {}
        for what, port, address in self.servers:
            by_port.setdefault((what, port), []).append(address)
        for (what, port), addresses in by_port.items():
            yield what, port, addresses


def _tunnels(blocks: pd.DataFrame | None) -> dict[tuple[str, str], dict[str, None]]:
    """Node and encapsulation → the other nodes that it reaches in that way."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    if blocks is not None:
        remote = blocks[(blocks["kind"] == "remote") & blocks["owner"].notna()]
        for node, owner, mode in cells(remote.assign(mode=remote["mode"].astype("str")), "node", "owner", "mode"):
            found.setdefault((node, mode), {})[owner] = None
    return found


def _servers(item: Object) -> list[tuple[str, int, str]]:
    """What a slice of the API server's or Typha's service names: word, port and address."""
    meta = item["metadata"]
    name = (meta.get("labels") or {}).get("kubernetes.io/service-name") or ""
    what = (
        API if (meta.get("namespace"), name) == ("default", "kubernetes") else TYPHA if name == "calico-typha" else ""
    )
    if not what or item.get("addressType") != "IPv4":
        return []
    ports = [p["port"] for p in item.get("ports") or () if p.get("port") is not None]
    return [(what, p, a) for each in item.get("endpoints") or () for a in each.get("addresses") or () for p in ports]


def _plain(text: str) -> bool:
    try:
        return parsed_address(text)[0] == 4
    except ValueError:
        return False


def _of_calico(dataplane: Dataplane, node: str, needs: _Needs) -> Iterator[Hit]:
    mine = [parsed_address(a)[1] for a in needs.addresses.get(node, ())]
    if not mine:
        return
    for what, protocol, port, others in needs.between(node):
        for other in others:
            there = parsed_address(other)[1]
            out = Packet(4, mine[0], there, protocol, None, port)
            yield from _walked(dataplane, node, what, out, sent=True)
            yield from _walked(dataplane, node, what, replace(out, source=there, destination=mine[0]), sent=False)
    for what, port, addresses in needs.served():
        for address in addresses:
            there = parsed_address(address)[1]
            if there == mine[0]:
                for other in needs.others(node):
                    packet = Packet(4, parsed_address(other)[1], there, 6, None, port)
                    yield from _walked(dataplane, node, what, packet, sent=False)
            else:
                yield from _walked(dataplane, node, what, Packet(4, mine[0], there, 6, None, port), sent=True)


def _walked(dataplane: Dataplane, node: str, what: str, packet: Packet, sent: bool) -> Iterator[Hit]:
    """The foreign rules in which a packet of a node's own, or one that comes to it, ends on this node."""
    ruleset = dataplane.nodes[node]
    if sent:
        met = replace(packet, iif="", oif=dataplane.out(ruleset, packet)[0])
        ends, hooks = dataplane.sent(node, Way(packet)), ("output", "postrouting")
    else:
        met = replace(packet, iif=dataplane.entrance_of(node, packet))
        ends, hooks = list(dataplane.from_interface(node, met).ends), ("prerouting", "input")
    for end in ends:
        if end.node == node and end.by is not None and _is_foreign(end.by):
            sure = not end.doubts
            its = isinstance(end.by, Rule) and bool(end.by.packets) and all(r is end.by for r in end.doubts)
            if sure or its:
                yield Hit(node, end.by, what, packet, sure)
    other = replace(met, dport=(met.dport or 0) ^ 1) if met.dport else replace(met, protocol=6, dport=1)
    yield from (Hit(node, by, what, packet, False) for by in _meant_for(ruleset, hooks, met, other))


def _meant_for(ruleset: Ruleset, hooks: tuple[str, ...], packet: Packet, other: Packet) -> Iterator[Rule]:
    """Foreign rules that have dropped packets and are meant for this packet, not for another that differs a little."""
    for hook in hooks:
        for by, sure in _others(ruleset, hook, packet, alone=True):
            if (
                sure
                and isinstance(by, Rule)
                and by.packets
                and by.compiled.matches_packet(other, ruleset.node) is False
            ):
                yield by


def _is_foreign(by: Rule | Base) -> bool:
    return isinstance(by, Base) or by.owner == "foreign"


# ---- what pods send


def _of_pods(dataplane: Dataplane, node: str) -> Iterator[Hit]:
    ruleset = dataplane.nodes[node]
    if not _others_close(ruleset):
        return
    for packet in _between_pods(dataplane, node):
        for hook in ("prerouting", "forward", "postrouting"):
            met = replace(packet, oif="" if hook == "prerouting" else packet.oif)
            for by, sure in _others(ruleset, hook, met):
                if sure or (isinstance(by, Rule) and by.packets):
                    yield Hit(node, by, PODS, packet, sure)
            other = replace(met, source=ELSEWHERE, destination=ELSEWHERE + 1, iif="other0", oif="other1")
            yield from (Hit(node, by, PODS, packet, False) for by in _meant_for(ruleset, (hook,), met, other))


ELSEWHERE = 0xC6336401
"""An address for documentation (198.51.100.1), which is nobody's."""


def _others_close(ruleset: Ruleset) -> bool:
    rules = (r for rules in ruleset.chains.values() for r in rules)
    closing = any(r.owner == "foreign" and r.verdict in ("drop", "reject") for r in rules)
    return closing or any(b.policy == "drop" for bases in ruleset.bases.values() for b in bases)


def _between_pods(dataplane: Dataplane, node: str) -> Iterator[Packet]:
    """First packets between this node's pods and those of others, both ways, with ports that are not known."""
    here = [(k, p) for k, p in dataplane.pods.items() if p.node == node and k[0] == 4][:MOST_PODS]
    away = [(k, p) for k, p in dataplane.pods.items() if p.node != node and k[0] == 4][:MOST_PODS]
    for index, ((_, address), place) in enumerate(here):
        if not away:
            return
        (_, other), _place = away[index % len(away)]
        through = dataplane.interface_to(node, (4, other))
        for protocol in (6, 17):
            out = Packet(4, address, other, protocol, None, None, iif=place.interface, oif=through)
            yield out
            yield replace(out, source=other, destination=address, iif=through, oif=place.interface)


def _others(ruleset: Ruleset, hook: str, packet: Packet, alone: bool = False) -> Iterator[tuple[Rule | Base, bool]]:
    """What others wrote that drops a packet at a hook, if Calico and kube-proxy let it pass.

    ``alone`` looks at each rule that drops by itself, whatever Calico accepts before it.
    """
    for base in ruleset.at(hook, packet.version):
        if base.type == "nat":
            continue
        found: list[tuple[Rule | Base, bool]] = []
        over = _Others(ruleset, base, packet, alone, found).through(base.chain, 0)
        if not over and not alone and base.policy == "drop":
            found.append((base, True))
        yield from found
        if not alone and any(sure for _, sure in found):
            return


@dataclass
class _Others:
    """A packet's way through what others wrote in a base chain."""

    ruleset: Ruleset
    base: Base
    packet: Packet
    alone: bool
    found: list[tuple[Rule | Base, bool]]

    def through(self, chain: str, depth: int, sure: bool = True) -> bool:
        """Go through a chain; true where the packet surely leaves the base chain in it (accepted, or dropped)."""
        for rule in self.ruleset.chains.get((self.base.space, chain), ()):
            if rule.owner == "calico" and rule.verdict == "accept" and "mark" in rule.spec and not self.alone:
                return True  # Calico's word for what it accepted
            if rule.owner != "foreign":
                continue
            told = rule.compiled.matches_packet(self.packet, self.ruleset.node)
            left = None if told is False else self.met(rule, bool(told), depth, sure)
            if left is not None:
                return left
        return False

    def met(self, rule: Rule, told: bool, depth: int, sure: bool) -> bool | None:
        """What a rule that matches, or may, does: true and false end the chain, None goes on."""
        if rule.verdict in ("drop", "reject"):
            self.found.append((rule, told and sure))
            return True if told and not self.alone else None
        if rule.verdict in ("jump", "goto") and depth < DEEPEST:
            over = self.through(rule.target, depth + 1, sure and told)
            return over or (False if told and rule.verdict == "goto" else None)
        if rule.verdict == "accept":
            return True  # what others let in first, and it may be this, is not kept out behind
        return False if told and rule.verdict == "return" else None


DEEPEST = 16

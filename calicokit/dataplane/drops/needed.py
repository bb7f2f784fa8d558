"""The packets that must come through: what nodes send each other for Calico, and what pods send.

Where the nodes, the sessions or the encapsulation are unknown, packets of every kind are asked for, of any address: it
is not known that nobody needs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import pandas as pd

from calicokit.dataplane.packets.flow import Dataplane, parsed_address
from calicokit.dataplane.packets.packet import Packet
from calicokit.dataplane.packets.ruleset import Ruleset
from calicokit.dataplane.packets.stops import IN, OUT
from calicokit.evidence.objects import Object, Objects
from calicokit.net import BGP_PORT, VXLAN_PORT, WIREGUARD_PORT, Prefix, prefix
from calicokit.schema import cells

BGP, VXLAN, IPIP, WIREGUARD = "BGP", "VXLAN", "IPIP", "WireGuard"
PODS, API, TYPHA = "pods' packets", "the API server", "Typha"
TUNNELS = {VXLAN: "vxlan", IPIP: "ipip", WIREGUARD: "wireguard"}
"""What is needed → the mode of encapsulation, as ``routes.blocks`` names it."""

TCP, UDP, IPENCAP = 6, 17, 4
MOST_PEERS = 12
"""Other ends that are tried for each node, beside those that its foreign rules name."""
MOST_PODS = 24
FAR = 0x4000
"""A port that differs from one of Calico's in this bit is none of Calico's."""
ELSEWHERE = {4: 0xC6336401, 6: 0x20010DB8 << 96 | 1}
"""An address for documentation (198.51.100.1, 2001:db8::1), which is nobody's, by family."""

_NAMED = re.compile(
    r"(?<![\d./])\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?(?![\d./])|(?<![\w.:/])[0-9a-f]{0,4}:[0-9a-f:]{2,}(?:/\d{1,3})?(?![\w:])"
)
Address = int | None


@dataclass(frozen=True, slots=True)
class Needed:
    """A packet, what it is for, the hooks of the node that it meets, and a packet that is for something else."""

    what: str
    packet: Packet
    hooks: tuple[str, ...]
    other: Packet


class Calico:
    """What the nodes of a cluster send and take for Calico over one IP version; each of the tables may be None."""

    def __init__(
        self,
        version: int,
        *,
        nodes: pd.DataFrame | None = None,
        sessions: pd.DataFrame | None = None,
        speakers: pd.DataFrame | None = None,
        blocks: pd.DataFrame | None = None,
        settings: pd.DataFrame | None = None,
        wireguard: pd.DataFrame | None = None,
        slices: Objects | None = None,
    ) -> None:
        self.version = version
        self.addresses = None if nodes is None else _addresses(nodes, version)
        self.peers = None if sessions is None else _peers(sessions, version)
        self.listens = {} if speakers is None else _ports(speakers, "node", "listen_port")
        self.tunnels = None if blocks is None else _tunnels(blocks, version)
        self.secured = None if wireguard is None else set(wireguard["node"])
        first = None if settings is None or not len(settings) else settings.iloc[0]
        self.vxlan_port = VXLAN_PORT if first is None else int(first["vxlan_port"])
        self.wireguard_port = WIREGUARD_PORT if first is None else int(first["wireguard_port"])
        self.servers = {} if slices is None else _by_port(slices, version)

    def packets(self, dataplane: Dataplane, node: str) -> Iterator[Needed]:
        """First packets that this node sends and takes."""
        own = self.own(node)
        named = [net for net in _named(dataplane.nodes[node]) if net.version == self.version]
        for mine in own:
            for what, protocol, port, local, others in self.between(node):
                for other in _chosen(others, named):
                    ends = (mine, local), (other, port)
                    yield from _both_ways(dataplane, node, what, self.version, protocol, *ends)
            for what, port, servers in self.servers_of():
                yield from self.asked(dataplane, node, what, port, mine, servers)

    def own(self, node: str) -> list[Address]:
        """The node's own address; None where no node's is known."""
        return [None] if self.addresses is None else list(self.addresses.get(node, ()))

    def others(self, node: str, among: set[str] | None = None) -> list[Address]:
        """Addresses of other nodes, of all or of these."""
        if self.addresses is None:
            return [None]
        names = self.addresses if among is None else [n for n in self.addresses if n in among]
        return [a for other in names if other != node for a in self.addresses[other]]

    def between(self, node: str) -> Iterator[tuple[str, int, int | None, int | None, list[Address]]]:
        """What goes between this node and others: word, protocol, port there, port here, and the other ends."""
        listens = self.listens.get(node, BGP_PORT)
        if self.peers is None:
            yield BGP, TCP, BGP_PORT, listens, self.others(node)
        for port, peers in {} if self.peers is None else self.peers.get(node, {}).items():
            yield BGP, TCP, port, listens, peers
        yield VXLAN, UDP, self.vxlan_port, self.vxlan_port, self.others(node, self.reached(node, "vxlan"))
        if self.version == 6:  # no pool of IPv6 has IPIP, and its WireGuard is another device's
            return
        yield IPIP, IPENCAP, None, None, self.others(node, self.reached(node, "ipip"))
        yield WIREGUARD, UDP, self.wireguard_port, self.wireguard_port, self.others(node, self.secured)

    def reached(self, node: str, mode: str) -> set[str] | None:
        """The nodes that a node reaches by this encapsulation; None where that is not known."""
        return None if self.tunnels is None else self.tunnels.get((node, mode), set())

    def servers_of(self) -> Iterator[tuple[str, int, list[int]]]:
        """What nodes ask: word, port and addresses."""
        yield from ((what, port, addresses) for (what, port), addresses in self.servers.items())

    def asked(
        self, dataplane: Dataplane, node: str, what: str, port: int, mine: Address, servers: list[int]
    ) -> Iterator[Needed]:
        for server in servers:
            if server == mine:
                for other in self.others(node)[:MOST_PEERS]:
                    yield _taken(dataplane, node, what, Packet(self.version, other, mine, TCP, None, port))
            else:
                yield _sent(dataplane, node, what, Packet(self.version, mine, server, TCP, None, port))


# ---- from tables


def _addresses(nodes: pd.DataFrame, version: int) -> dict[str, list[int]]:
    """Node → its address of a family, the one that Calico uses first; of IPv6 only one that Calico uses."""
    found = {}
    for node, calico, plain in cells(nodes, "node", "calico_addresses", "addresses"):
        own = map(parsed_address, (*calico, *(plain if version == 4 else ())))
        found[node] = [a for v, a in own if v == version][:1]
    return found


def _ports(frame: pd.DataFrame, key: str, port: str) -> dict[Any, int]:
    known = frame[frame[port].notna()]
    return {k: int(p) for k, p in cells(known, key, port)}


def _peers(sessions: pd.DataFrame, version: int) -> dict[str, dict[int, list[Address]]]:
    """Node → port → addresses of the other ends of its sessions."""
    found: dict[str, dict[int, list[Address]]] = {}
    for node, peer, port in cells(sessions, "node", "peer_address", "peer_port"):
        address = _plain(peer, version)
        if address is not None:
            found.setdefault(node, {}).setdefault(port if isinstance(port, int) else BGP_PORT, []).append(address)
    return found


@lru_cache(maxsize=1 << 16)  # a mesh names each address as often as it has nodes
def _plain(text: str, version: int) -> int | None:
    try:
        its, address = parsed_address(text)
    except ValueError:
        return None
    return address if its == version else None


def _tunnels(blocks: pd.DataFrame, version: int) -> dict[tuple[str, str], set[str]]:
    """Node and encapsulation → the other nodes that it reaches in that way."""
    found: dict[tuple[str, str], set[str]] = {}
    remote = blocks[(blocks["kind"] == "remote") & blocks["owner"].notna() & (blocks["version"] == version)]
    for node, owner, mode in cells(remote.assign(mode=remote["mode"].astype("str")), "node", "owner", "mode"):
        found.setdefault((node, mode), set()).add(owner)
    return found


def _by_port(slices: Objects, version: int) -> dict[tuple[str, int], list[int]]:
    """API server or Typha, and port → the addresses that their services' slices name."""
    found: dict[tuple[str, int], dict[int, None]] = {}
    for what, port, address in (s for each in slices.rows(_servers) for s in each):
        its, number = parsed_address(address)
        if its == version:
            found.setdefault((what, port), {})[number] = None
    return {key: list(addresses) for key, addresses in found.items()}


def _servers(item: Object) -> list[tuple[str, int, str]]:
    """What a slice of the API server's or Typha's service names: word, port and address."""
    meta = item["metadata"]
    name = (meta.get("labels") or {}).get("kubernetes.io/service-name") or ""
    what = (
        API if (meta.get("namespace"), name) == ("default", "kubernetes") else TYPHA if name == "calico-typha" else ""
    )
    if not what or item.get("addressType") not in ("IPv4", "IPv6"):
        return []
    ports = [p["port"] for p in item.get("ports") or () if p.get("port") is not None]
    return [(what, p, a) for each in item.get("endpoints") or () for a in each.get("addresses") or () for p in ports]


# ---- packets


def _both_ways(
    dataplane: Dataplane,
    node: str,
    what: str,
    version: int,
    protocol: int,
    here: tuple[Address, int | None],
    there: tuple[Address, int | None],
) -> Iterator[Needed]:
    yield _sent(dataplane, node, what, Packet(version, here[0], there[0], protocol, None, there[1]))
    yield _taken(dataplane, node, what, Packet(version, there[0], here[0], protocol, None, here[1]))


def _sent(dataplane: Dataplane, node: str, what: str, packet: Packet) -> Needed:
    met = replace(packet, iif="", oif=dataplane.out(dataplane.nodes[node], packet)[0])
    return Needed(what, met, OUT, _unlike(met))


def _taken(dataplane: Dataplane, node: str, what: str, packet: Packet) -> Needed:
    met = replace(packet, iif=dataplane.entrance_of(node, packet))
    return Needed(what, met, IN, _unlike(met))


def _unlike(packet: Packet) -> Packet:
    """A packet between the same ends that is for something else."""
    return replace(packet, dport=packet.dport ^ FAR) if packet.dport else replace(packet, protocol=TCP, dport=1)


def _named(ruleset: Ruleset) -> list[Prefix]:
    """What foreign rules of a node name: rules for one of many nodes are rare, and not to be missed."""
    texts = {
        text
        for rules in ruleset.chains.values()
        for rule in rules
        if rule.owner == "foreign"
        for text in _NAMED.findall(rule.spec)
    }
    return list(_prefixes(texts))


def _prefixes(texts: Iterable[str]) -> Iterator[Prefix]:
    for text in texts:
        try:
            yield prefix(text)
        except ValueError:
            continue  # 999.1.1.1 in a comment


def _chosen(others: list[Address], named: list[Prefix]) -> list[Address]:
    """Some of the other ends, and of the rest those that a foreign rule names."""
    single = {net.first for net in named if net.size == 1}
    wide = [net for net in named if net.size > 1]
    rest = (a for a in others[MOST_PEERS:] if a is not None)
    found = (a for a in rest if a in single or any(net.first <= a <= net.last for net in wide))
    return [*others[:MOST_PEERS], *islice(found, MOST_PEERS)]


def packets_of_pods(dataplane: Dataplane, node: str, version: int) -> Iterator[Needed]:
    """First packets of a family between this node's pods and those of others, both ways, with ports not known.

    Each is given once for each hook, as a policy of Calico's may let it pass all of them.
    """
    nobody = ELSEWHERE[version]
    for packet in _between_pods(dataplane, node, version):
        for hook in ("prerouting", "forward", "postrouting"):
            met = replace(packet, oif="" if hook == "prerouting" else packet.oif)
            other = replace(met, source=nobody, destination=nobody + 1, iif="other0", oif="other1")
            yield Needed(PODS, met, (hook,), other)


def _between_pods(dataplane: Dataplane, node: str, version: int) -> Iterator[Packet]:
    here = [(k, p) for k, p in dataplane.pods.items() if p.node == node and k[0] == version][:MOST_PODS]
    away = [(k, p) for k, p in dataplane.pods.items() if p.node != node and k[0] == version][:MOST_PODS]
    for index, ((_, address), place) in enumerate(here):
        if not away:
            return
        (_, other), _place = away[index % len(away)]
        through = dataplane.interface_to(node, (version, other))
        for protocol in (TCP, UDP):
            out = Packet(version, address, other, protocol, None, None, iif=place.interface, oif=through)
            yield out
            yield replace(out, source=other, destination=address, iif=through, oif=place.interface)

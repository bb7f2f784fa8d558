"""Rules of others that keep encapsulated packets out, and how WireGuard is set up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.net import Prefix, prefix
from calicokit.registry import table
from calicokit.routes.settings import VXLAN_PORT, WIREGUARD_PORT
from calicokit.schema import Column, Schema, among, records

WALLS = Schema(
    "routes.walls",
    "Firewall rules of neither Calico nor kube-proxy that dropped or rejected VXLAN, IPIP or WireGuard.",
    (
        Column("node", "str", "node"),
        Column("mode", "str", "vxlan, ipip or wireguard"),
        Column("rule", "str", "the rule"),
        Column("packets", "int", "packets dropped; null: not counted"),
    ),
    key=("node", "mode", "rule"),
)

WIREGUARD = Schema(
    "routes.wireguard",
    "WireGuard on each node, where FelixConfiguration enables it.",
    (
        Column("node", "str", "node"),
        Column("key", "str", "its public key, which Felix publishes"),
        Column("device", "bool", "wireguard.cali exists; null: not seen"),
        Column("problem", "str", "why it cannot work; null if no problem is known"),
    ),
    key=("node",),
    verified=False,
    source="felix/wireguard, libcalico-go resources/node.go: no recording has WireGuard",
)
IPIP = ("4", "ipencap", "ipip", "ipv4")
UDP = ("udp", "17")
OURS = ("cali-", "KUBE-")
SENT = 10
"""Packets sent, after which silence tells something."""


@table(
    WALLS,
    any_of={"saved": "output.iptables_save", "legacy": "output.iptables_legacy_save", "nft": "output.nft_ruleset"},
    wants={"settings": "routes.settings", "nodes": "bgp.nodes", "blocks": "routes.blocks"},
)
def walls(
    saved: pd.DataFrame | None,
    legacy: pd.DataFrame | None,
    nft: pd.DataFrame | None,
    settings: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
    blocks: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each such rule that has met packets, is for nodes' addresses, and for a mode that pools use.

    Many hosts keep strangers out of these ports: a rule that nothing has met says nothing of a fault, nor does one
    behind a rule of the same chain that lets the nodes' packets in.
    """
    ports = {str(VXLAN_PORT): "vxlan", str(WIREGUARD_PORT): "wireguard"}
    if settings is not None and len(settings):
        first = settings.iloc[0]
        ports = {str(first["vxlan_port"]): "vxlan", str(first["wireguard_port"]): "wireguard"}
    used = {"vxlan", "ipip"} if blocks is None else set(blocks[blocks["kind"] == "remote"]["mode"].astype("str"))
    addresses = None if nodes is None else [prefix(a) for a in nodes["address"].dropna()]
    found = [r for rules in (saved, legacy) if rules is not None for r in _of_iptables(rules)]
    found += [] if nft is None else list(_of_nft(nft))
    let: dict[tuple[str, ...], set[str]] = {}
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for rule in found:
        modes = {m for m in {*used, "wireguard"} & _modes(rule, ports) if _of_nodes(rule, addresses)}
        passed = let.setdefault(rule.place, set())
        if rule.verdict == "accept":
            passed |= modes if _all_of_nodes(rule, addresses) else set()
            continue
        # One that is for every packet of the node is another fault; it says nothing of tunnels.
        for mode in modes - passed if rule.protocol is not None and rule.packets != 0 else ():
            rows[rule.place[0], mode, rule.text] = {
                "node": rule.place[0],
                "mode": mode,
                "rule": rule.text,
                "packets": rule.packets,
            }
    return WALLS.frame(list(rows.values()))


@dataclass(frozen=True)
class _Rule:
    """A rule that drops or accepts, as far as it matters here, whichever tool wrote it; in the order of its chain."""

    place: tuple[str, ...]  # node, table, chain
    verdict: str
    protocol: str | None
    ports: tuple[str, ...]
    sides: tuple[str, ...]  # what -s and -d say
    packets: int | None
    text: str


_VERDICTS = {"DROP": "drop", "REJECT": "drop", "ACCEPT": "accept"}


def _of_iptables(rules: pd.DataFrame) -> Iterator[_Rule]:
    ends = rules[among(rules["target"], _VERDICTS) & ~rules["chain"].str.startswith(OURS)]
    for row in records(ends):
        verdict = _VERDICTS[row.target]
        if isinstance(row.match_sets, str):
            continue  # who is in a set is not asked here
        further = [row.ctstate if "NEW" not in str(row.ctstate) else None, row.sports, row.mark, row.in_interface]
        if verdict == "accept" and (any(isinstance(f, str) for f in further) or isinstance(row.out_interface, str)):
            continue
        yield _Rule(
            place=(row.node, row.evidence, row.table, row.chain),
            verdict=verdict,
            protocol=row.protocol if isinstance(row.protocol, str) else None,
            ports=tuple(str(row.dports).split(",")) if isinstance(row.dports, str) else (),
            sides=tuple(s for s in (row.source, row.destination) if isinstance(s, str)),
            packets=None if pd.isna(row.packets) else int(row.packets),
            text=f"-A {row.chain} {row.spec}",
        )


IPTABLES = ("filter", "nat", "mangle", "raw", "security")
"""Tables of iptables in nftables, which iptables-save shows."""

_NFT = re.compile(
    r"(?P<what>ip [sd]addr|ip protocol|meta l4proto|(?:udp|th) dport) (?P<not>!= )?(?P<value>\{[^}]*\}|[^\s{}]+) ?"
)
_SIDE = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?")
_SAID = re.compile(r"counter packets \d+ bytes \d+|counter|log(?: prefix \"[^\"]*\")?|reject with \S+ ?(?:type )?\S*")


def _of_nft(rules: pd.DataFrame) -> Iterator[_Rule]:
    """Rules of tables that are neither Calico's, kube-proxy's nor iptables'."""
    ends = rules[
        among(rules["verdict"], ("drop", "reject", "accept")) & among(rules["family"], ("ip", "inet", "netdev"))
    ]
    strange = ~among(ends["table"], (*IPTABLES, "calico", "kube-proxy"))
    for row in records(ends[strange]):
        rule = _read_nft(row)
        if rule is not None:
            yield rule


def _read_nft(row: Any) -> _Rule | None:
    """The rule; None where it asks for what is not understood, or for a set."""
    said: dict[str, Any] = {"sides": [], "ports": (), "protocol": None}
    expression = str(row.expression)
    for match in _NFT.finditer(expression):
        values = [v.strip() for v in match["value"].strip("{} ").split(",")]
        if match["what"].endswith("addr"):
            if len(values) > 1 or not _SIDE.fullmatch(values[0]):
                return None
            said["sides"].append(f"! {values[0]}" if match["not"] else values[0])
        elif match["not"]:
            return None
        elif match["what"].endswith("dport"):
            said["ports"], said["protocol"] = tuple(values), "udp"
        else:
            said["protocol"] = said["protocol"] or values[0]
    rest = _SAID.sub("", _NFT.sub("", expression)).replace(str(row.verdict), "").strip()
    packets = None if pd.isna(row.packets) else int(row.packets)
    if rest and (packets is None or row.verdict == "accept"):
        return None
    return _Rule(
        place=(row.node, row.family, row.table, row.chain),
        verdict="accept" if row.verdict == "accept" else "drop",
        protocol=said["protocol"],
        ports=said["ports"],
        sides=tuple(said["sides"]),
        packets=packets,
        text=f"nft {row.table} {row.chain}: {expression}",
    )


def _modes(rule: _Rule, ports: dict[str, str]) -> set[str]:
    """The kinds of tunnel whose packets a rule is for; one that accepts any protocol or port accepts all."""
    if rule.protocol is None:
        return {"ipip", *ports.values()}
    if rule.protocol in IPIP:
        return {"ipip"}
    if rule.protocol not in UDP:
        return set()
    named = {mode for port, mode in ports.items() if port in rule.ports}
    return set(ports.values()) if rule.verdict == "accept" and not rule.ports else named


def _of_nodes(rule: _Rule, addresses: list[Prefix] | None) -> bool:
    """Whether some node's address fits the rule's source and destination."""
    return addresses is None or all(any(_fits(a, s) for a in addresses) for s in rule.sides)


def _all_of_nodes(rule: _Rule, addresses: list[Prefix] | None) -> bool:
    return not rule.sides or (addresses is not None and all(_fits(a, s) for s in rule.sides for a in addresses))


def _fits(address: Prefix, side: str) -> bool:
    """Whether an address is in what -s or -d says: ``10.0.0.0/8``, ``! 10.0.0.0/8``."""
    return prefix(side.lstrip("! ")).covers(address) != side.startswith("!")


PEERS = Schema(
    "routes.wireguard_peers",
    "WireGuard peers, from Felix's metrics.",
    (
        Column("node", "str", "node"),
        Column("peer_key", "str", "public key of the peer"),
        Column("peer", "str", "node with this key; null if no Node has it"),
        Column("handshake", "bool", "a handshake completed since the device was created"),
        Column("sent", "float", "bytes sent to it", "bytes"),
        Column("received", "float", "bytes received from it", "bytes"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "peer_key"),
    verified=False,
    source="felix/wireguard/metrics_linux.go: no recording has WireGuard",
)

METRICS = {
    "wireguard_latest_handshake_seconds": "handshake",
    "wireguard_bytes_sent": "sent",
    "wireguard_bytes_rcvd": "received",
}
_PEER_KEY = re.compile(r'peer_key="([^"]*)"')


@table(PEERS, needs={"metrics": "output.felix_metrics", "nodes": "nodes"})
def wireguard_peers(metrics: pd.DataFrame, nodes: Objects) -> pd.DataFrame:
    """One row for each node and peer; see :data:`PEERS`. The metric's time is before 1970 where there was none."""
    keys = {key: name for name, key, _ in nodes.rows(_key) if key}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in records(metrics[among(metrics["metric"], METRICS)]):
        if match := _PEER_KEY.search(str(row.labels)):
            told = found.setdefault((row.node, match[1]), {"evidence": row.evidence})
            told[METRICS[row.metric]] = row.value > 0 if METRICS[row.metric] == "handshake" else row.value
    return PEERS.frame([{"node": n, "peer_key": k, "peer": keys.get(k), **told} for (n, k), told in found.items()])


@table(
    WIREGUARD,
    needs={"configurations": "felixconfigurations", "nodes": "nodes"},
    wants={"addresses": "output.ip_addr", "tunnels": "routes.tunnels"},
)
def wireguard(
    configurations: Objects,
    nodes: Objects,
    addresses: pd.DataFrame | None = None,
    tunnels: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each Linux node, where WireGuard is on; see :data:`WIREGUARD`."""
    if not any(configurations.rows(_enabled)):
        return WIREGUARD.frame()
    seen = set() if addresses is None else set(addresses["node"])
    devices = set() if addresses is None else set(addresses[addresses["interface"] == "wireguard.cali"]["node"])
    counted = pd.DataFrame() if tunnels is None else tunnels[tunnels["mode"] == "wireguard"]
    if len(counted):
        devices |= set(counted["node"])
    silent = (
        set()
        if not len(counted)
        else set(counted[(counted["rx_packets"] == 0) & (counted["tx_packets"] >= SENT)]["node"])
    )
    rows = []
    for name, key, system in nodes.rows(_key):
        if system == "windows":
            continue
        row: dict[str, Any] = {"node": name, "key": key, "device": name in devices if name in seen else None}
        if key is None:
            row["problem"] = "no public key is published"
        elif row["device"] is False:
            row["problem"] = "the device wireguard.cali does not exist"
        elif name in silent:
            row["problem"] = "packets are sent into wireguard.cali but none are received"
        rows.append(row)
    return WIREGUARD.frame(rows)


def _enabled(item: Object) -> bool:
    return item["metadata"]["name"] == "default" and bool(spec(item).get("wireguardEnabled"))


def _key(item: Object) -> tuple[str, str | None, str]:
    meta = item["metadata"]
    notes = meta.get("annotations") or {}
    system = (meta.get("labels") or {}).get("kubernetes.io/os", "linux")
    return meta["name"], notes.get("projectcalico.org/WireguardPublicKey") or None, system

"""The one table of what other firewalls do to packets that are needed: BGP, tunnels and pods ask it.

Non-Calico rules are walked by :mod:`calicokit.dataplane.packets.stops`; which packets are needed is told by
:mod:`calicokit.dataplane.drops.needed`. A rule behind one that surely accepts such packets drops none of them, unless
its counter grew during sampling: then there are packets that the accept does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.growth import keyed
from calicokit.dataplane.drops.needed import Calico, Needed, packets_of_pods
from calicokit.dataplane.packets.flow import Dataplane, shown
from calicokit.dataplane.packets.packet import NAMES, Packet
from calicokit.dataplane.packets.ruleset import Base, Rule
from calicokit.dataplane.packets.stops import Stop, stops, stops_of_pods
from calicokit.dataplane.rules.tables import PLACE
from calicokit.evidence.objects import Objects
from calicokit.net import address_text
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

FIREWALL = Schema(
    "dataplane.firewall",
    "Non-Calico rules (and policies of built-in chains) that stop packets which Calico or pods need, or would if "
    "nothing accepted them before; once for each need and IP version.",
    (
        Column("node", "str", "node"),
        Column("family", "str", "ip, ip6 or inet"),
        Column("backend", "str", "nft, legacy or nftables"),
        Column("table", "str", "table"),
        Column("chain", "str", "chain"),
        Column("rule", "int", "number in the chain; null for the chain's policy"),
        Column("verdict", "str", "drop or reject"),
        Column("need", "str", "BGP, VXLAN, IPIP, WireGuard, the API server, Typha or pods' packets"),
        Column("version", "int", "4 or 6: IP version of the packets"),
        Column("example", "str", "a packet that it stops, or would"),
        Column("sure", "bool", "whether every match of it is understood and met; else it has dropped packets"),
        Column("behind", "bool", "whether such packets surely do not come to it: another rule accepts them before"),
        Column("meant", "bool", "whether it is for just this traffic, not for every packet"),
        Column("packets", "int", "packets that it dropped; null without a counter", "packets"),
        Column("grown", "int", "packets dropped during the series; null without one", "packets"),
        Column("spec", "str", "the rule, as printed"),
        Column("line", "int", "line in the output"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "family", "backend", "table", "chain", "rule", "need", "version"),
)

Place = tuple[Any, ...]


@table(
    FIREWALL,
    needs={"rules": "dataplane.rules", "chains": "dataplane.chain_list"},
    wants={
        "nodes": "kube.nodes",
        "routes": "output.ip_route_all",
        "sets": "dataplane.sets",
        "endpoints": "dataplane.endpoints",
        "growth": "dataplane.growth",
        "window": "dataplane.window",
        "sessions": "bgp.expected",
        "speakers": "bgp.nodes",
        "blocks": "routes.blocks",
        "settings": "routes.settings",
        "wireguard": "routes.wireguard",
        "slices": "endpointslices",
    },
)
def firewall(
    rules: pd.DataFrame,
    chains: pd.DataFrame,
    nodes: pd.DataFrame | None = None,
    routes: pd.DataFrame | None = None,
    sets: pd.DataFrame | None = None,
    endpoints: pd.DataFrame | None = None,
    growth: pd.DataFrame | None = None,
    window: pd.DataFrame | None = None,
    sessions: pd.DataFrame | None = None,
    speakers: pd.DataFrame | None = None,
    blocks: pd.DataFrame | None = None,
    settings: pd.DataFrame | None = None,
    wireguard: pd.DataFrame | None = None,
    slices: Objects | None = None,
) -> pd.DataFrame:
    """One row for each rule and need; see :data:`FIREWALL`."""
    closing = _closing(rules)
    if not len(closing):
        return FIREWALL.frame()
    dataplane = Dataplane.build(rules, chains, sets, routes, endpoints)
    every = [
        Calico(
            version,
            nodes=nodes,
            sessions=None if sessions is None else sessions[sessions["node"].isin(set(closing["node"]))],
            speakers=speakers,
            blocks=blocks,
            settings=settings,
            wireguard=wireguard,
            slices=slices,
        )
        for version in _versions(nodes)
    ]
    for node in every[0].addresses or {}:
        own = ((c.version, a) for c in every for a in (c.addresses or {}).get(node, ()))
        dataplane.place_node(node, [address_text(*a) for a in own])
    seen = _Seen.of(closing, growth, window)
    found: dict[tuple[str, Rule | Base, str, int], list[tuple[Packet, Stop]]] = {}
    for node in sorted(set(closing["node"]) & dataplane.nodes.keys()):
        for needed, stop in (met for calico in every for met in _on_node(dataplane, calico, node)):
            found.setdefault((node, stop.by, needed.what, needed.packet.version), []).append((needed.packet, stop))
    return FIREWALL.frame([seen.row(*key, met) for key, met in found.items()])


def _versions(nodes: pd.DataFrame | None) -> list[int]:
    """IPv4, and IPv6 where Calico uses an address of it."""
    return [4, 6] if nodes is not None and any(":" in a for own in nodes["calico_addresses"] for a in own) else [4]


def _closing(rules: pd.DataFrame) -> pd.DataFrame:
    """The non-Calico rules, and the chains' policies, that drop: a node without any needs no look."""
    closes = rules["verdict"].isin(["drop", "reject"]) & (rules["family"] != "arp")
    return rules[closes & rules["owner"].isin(["foreign", "kernel-policy"])]


def _on_node(dataplane: Dataplane, calico: Calico, node: str) -> Iterator[tuple[Needed, Stop]]:
    ruleset = dataplane.nodes[node]
    for needed in calico.packets(dataplane, node):
        yield from ((needed, s) for s in stops(ruleset, needed.hooks, needed.packet, needed.other))
    for needed in packets_of_pods(dataplane, node, calico.version):
        (hook,) = needed.hooks
        for stop in stops_of_pods(ruleset, hook, needed.packet, needed.other):
            if not ruleset.follows_programs or _counted(stop.by):
                yield needed, stop


def _counted(by: Rule | Base) -> bool:
    """Whether its counter says that packets come to it: in eBPF mode programs send most of pods' past all rules."""
    return isinstance(by, Rule) and bool(by.packets)


@dataclass
class _Seen:
    """What else is known of the rules that drop: where they were read, and what they counted while watched."""

    lines: dict[tuple[Place, int | None], tuple[Any, Any, Any]]
    """Place and number → line, evidence, and packets of a policy, which the walk does not keep."""
    grown: dict[tuple[Place, int | None], int]
    watched: set[str]

    @classmethod
    def of(cls, closing: pd.DataFrame, growth: pd.DataFrame | None, window: pd.DataFrame | None) -> _Seen:
        rows = keyed(closing).merge(_growth(growth), on=[*PLACE, "key"], how="left")
        lines, grown = {}, {}
        for row in records(rows):
            key = (tuple(getattr(row, c) for c in PLACE), _number(row.rule))
            lines[key] = (row.line, row.evidence, row.packets)
            grown[key] = _number(row.grown) or 0
        return cls(lines, grown, set() if window is None or growth is None else set(window["node"]))

    def row(
        self, node: str, by: Rule | Base, need: str, version: int, met: list[tuple[Packet, Stop]]
    ) -> dict[str, Any]:
        """A row of the table; what one packet comes to, none of them is kept from."""
        number = by.number if isinstance(by, Rule) else None
        key = ((node, *by.space, by.chain), number)
        line, evidence, counted = self.lines.get(key, (None, None, None))
        comes = [(p, s) for p, s in met if not s.behind] or met
        first = next((p for p, s in comes if s.sure), comes[0][0])
        return {
            **dict(zip(PLACE, key[0], strict=True)),
            "rule": number,
            "verdict": by.verdict if isinstance(by, Rule) else "drop",
            "need": need,
            "version": version,
            "example": words(first),
            "sure": any(s.sure for _, s in met),
            "behind": all(s.behind for _, s in met),
            "meant": any(s.meant for _, s in met),
            "packets": by.packets if isinstance(by, Rule) else _number(counted),
            "grown": self.grown.get(key, 0) if node in self.watched else None,
            "spec": by.spec if isinstance(by, Rule) else f"policy of {by.chain}: drop",
            "line": line,
            "evidence": evidence,
        }


def _growth(growth: pd.DataFrame | None) -> pd.DataFrame:
    names = [*PLACE, "key", "grown"]
    if growth is None:
        return pd.DataFrame({n: pd.Series(dtype="str") for n in names})
    return growth.rename(columns={"packets": "grown"})[names]


def _number(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def words(packet: Packet) -> str:
    """A packet in a few words: addresses, protocol and port."""
    protocol = NAMES.get(packet.protocol or -1, str(packet.protocol))
    port = f" port {packet.dport}" if packet.dport is not None else ""
    ends = (shown(packet, side) or "any address" for side in ("source", "destination"))
    return f"{protocol}{port} from {' to '.join(ends)}"


def that_drop(found: pd.DataFrame, *needs: str) -> pd.DataFrame:
    """The rows for these needs (all, if none is given) whose rules drop such packets, as far as can be told."""
    drops = ~found["behind"] | (found["grown"].fillna(0) > 0)
    return found[drops & (found["need"].isin(needs) if needs else True)]


def source_of(backend: str, family: str = "ip") -> str:
    """The evidence that a backend's rules are read from."""
    known = {"nftables": "nft-ruleset", "legacy": "iptables-legacy-save", "bpf": "bpf-counters"}
    if family == "ip6" and backend not in ("nftables", "bpf"):
        return "ip6tables-save"
    return known.get(backend, "iptables-nft-save")


def printed(found: pd.DataFrame) -> pd.Series[str]:
    """The rules of these rows, with their chains, in the words of the tool that prints them."""
    rules = [_as_printed(*row) for row in cells(found, "table", "backend", "chain", "rule", "spec")]
    return pd.Series(rules, index=found.index, dtype="str")


def _as_printed(table_: str, backend: str, chain: str, number: Any, spec: str) -> str:
    if pd.isna(number):
        return f"-P {chain} DROP" if backend != "nftables" else f"nft {table_} {chain}: policy drop"
    return f"-A {chain} {spec}" if backend != "nftables" else f"nft {table_} {chain}: {spec}"

"""Routes that override Calico's: longer prefixes, lower metrics, tables and rules that come before main.

The node of a conflict is where the foreign route stands in the kernel. BIRD reads it there and may tell the other
nodes, in whose kernels it is BIRD's: those are consequences, no conflicts of their own. Also who claims a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.net import Prefix, merge, prefix
from calicokit.registry import table
from calicokit.routes.bird import heard
from calicokit.routes.kernel import TUNNELS
from calicokit.schema import Column, Schema, among, cells, records

CONFLICTS = Schema(
    "routes.conflicts",
    "Non-Calico routes and routing rules that override Calico's routes.",
    (
        Column("node", "str", "node whose kernel has it"),
        Column("cidr", "str", "destination"),
        Column(
            "how",
            "str",
            "how it overrides: longer-prefix, metric (same destination), table (by a rule before main), or rule",
        ),
        Column("route", "str", "the route or rule, as ip prints it"),
        Column("table", "str", "routing table; null for a rule without a table"),
        Column("protocol", "str", "route protocol; null is boot, the default of `ip route add`"),
        Column("overrides", "list", "destinations of the Calico routes it overrides, fully or partly"),
        Column("owners", "list", "nodes that own those blocks"),
        Column("harmless", "bool", "same next hop as Calico's route"),
        Column("learnt_by", "list", "nodes that learnt it by BGP from this node"),
        Column("line", "int", "line in the text, from 1"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "table", "cidr", "line"),
)

CLAIMS = Schema(
    "routes.claims",
    "Blocks, or parts of blocks, announced or blackholed by more than one node.",
    (
        Column("cidr", "str", "CIDR claimed twice"),
        Column("block", "str", "block that contains it"),
        Column("nodes", "list", "nodes that claim it"),
        Column("how", "list", "per node: has it as its own (blackhole), or other nodes route it there"),
    ),
    key=("cidr",),
)


DECIDING = ("unicast", "blackhole", "unreachable", "prohibit")
MAIN = 32766
"""Priority of the rule that asks the main table, unless somebody moved it."""


@dataclass(frozen=True)
class _Way:
    """Where a route leads."""

    type: str
    via: str | None
    interface: str | None

    def like(self, wanted: _Way) -> bool:
        """Whether it leads as the wanted one does, as far as that tells."""
        told = wanted.via is not None or wanted.interface is not None or wanted.type != "unicast"
        same = wanted.via in (None, self.via) and wanted.interface in (None, self.interface)
        return told and self.type == wanted.type and same


@dataclass(frozen=True)
class _Mine:
    """A route that Calico programs on a node."""

    net: Prefix
    cidr: str
    owner: str
    own: bool
    by_bird: bool
    way: _Way


@table(
    CONFLICTS,
    needs={"kernel": "routes.kernel", "blocks": "routes.blocks"},
    wants={
        "pods": "routes.pods",
        "rules": "output.ip_rule",
        "rules6": "output.ip_rule6",
        "birds": "routes.bird",
        "nodes": "bgp.nodes",
    },
)
def conflicts(
    kernel: pd.DataFrame,
    blocks: pd.DataFrame,
    pods: pd.DataFrame | None = None,
    rules: pd.DataFrame | None = None,
    rules6: pd.DataFrame | None = None,
    birds: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each such route or rule; see :data:`CONFLICTS`. Without rules only the main table counts."""
    foreign = kernel[among(kernel["owner"], ("other", "kernel")) & among(kernel["type"], DECIDING)]
    foreign = foreign[~among(foreign["interface"], TUNNELS)]
    strange = [r for v, f in ((4, rules), (6, rules6)) if f is not None for r in _strange(f.assign(version=v), kernel)]
    asked: dict[tuple[str, str, int], list[Any]] = {}
    for rule in (r for r in strange if r.action == "lookup"):
        asked.setdefault((rule.node, rule.table, rule.version), []).append(rule)
    near = _within(foreign["cidr"], blocks["cidr"].cat.categories)
    foreign = foreign[((foreign["table"] == "main") & near) | among(foreign["table"], {t for _, t, _ in asked})]
    ours = _ours({*foreign["node"], *(r.node for r in strange)}, blocks, pods)
    real = _real(kernel, foreign)
    rows: list[dict[str, Any]] = []
    for route in records(foreign):
        mine = ours.get(route.node, [])
        if route.table == "main":
            rows += _in_main(route, mine, real, birds)
        else:
            its = asked.get((route.node, route.table, route.version), ())
            rows += [r for rule in its for r in _by_rule(route, rule, mine)]
    rows += [r for rule in strange if rule.action != "lookup" for r in _deciding(rule, ours.get(rule.node, []))]
    for row in rows:
        row["learnt_by"] = _learners(row, birds, nodes)
    return CONFLICTS.frame(_each_once(rows))


def _strange(rules: pd.DataFrame, kernel: pd.DataFrame) -> Iterator[Any]:
    """Rules before main that hold for all packets between these addresses; not those of Calico's WireGuard.

    Of a rule with further conditions (a mark, an interface) nothing tells which packets it is for.
    """
    secure = set(cells(kernel[kernel["tunnel"] == "wireguard"], "node", "table"))
    main = dict(cells(rules[rules["table"] == "main"].drop_duplicates("node"), "node", "priority"))
    plain = rules[
        rules[["fwmark", "iif", "oif", "attributes"]].isna().all(axis=1)
        & ~rules["inverted"].fillna(False).astype(bool)
        & ~among(rules["table"], ("local", "main", "default"))
        & among(rules["action"], ("lookup", "blackhole", "unreachable", "prohibit"))
    ]
    for rule in records(plain.rename(columns={"from": "source"})):
        if rule.priority < main.get(rule.node, MAIN) and (rule.node, rule.table) not in secure:
            yield rule


def _within(foreign: pd.Series[Any], ours: Iterable[str]) -> pd.Series[bool]:
    """Which of the destinations lie inside a block."""
    spans = merge(map(prefix, ours))
    inside = {c for c in foreign.unique() if any(s.covers(prefix(c)) for s in spans)}
    return among(foreign, inside)


def _ours(nodes: set[str], blocks: pd.DataFrame, pods: pd.DataFrame | None) -> dict[str, list[_Mine]]:
    """What Calico programs on these nodes: for blocks, for borrowed addresses, and for the nodes' own pods."""
    found: dict[str, list[_Mine]] = {}
    names = ("node", "cidr", "kind", "owner", "mode", "via")
    for node, cidr, kind, owner, mode, via in cells(blocks[among(blocks["node"], nodes)], *names):
        own, six = kind == "own", ":" in cidr
        way = _Way("blackhole", None, None) if own else _Way("unicast", _text(via), _DEVICES.get((mode, six)))
        found.setdefault(node, []).append(_Mine(prefix(cidr), cidr, owner, own, mode == "none", way))
    if pods is not None:
        for node, address, interface in cells(pods[among(pods["node"], nodes)], "node", "address", "interface"):
            mine = _Mine(prefix(address), _host(address), node, False, False, _Way("unicast", None, interface))
            found.setdefault(node, []).append(mine)
    return found


_DEVICES = {("vxlan", False): "vxlan.calico", ("vxlan", True): "vxlan-v6.calico", ("ipip", False): "tunl0"}


def _host(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _metric(value: Any) -> int:
    return 0 if pd.isna(value) else int(value)


Real = dict[tuple[str, str], tuple[int, _Way]]


def _real(kernel: pd.DataFrame, foreign: pd.DataFrame) -> Real:
    """Calico's own routes in the main table of the nodes that have foreign ones: the best metric and way of each."""
    own = kernel[among(kernel["owner"], ("felix", "bird")) & (kernel["table"] == "main")]
    own = own[among(own["node"], set(foreign.loc[foreign["table"] == "main", "node"]))]
    found: Real = {}
    for node, cidr, metric, *way in cells(own, "node", "cidr", "metric", "type", "via", "interface"):
        if (node, cidr) not in found or _metric(metric) < found[node, cidr][0]:
            found[node, cidr] = _metric(metric), _Way(way[0], _text(way[1]), _text(way[2]))
    return found


def _in_main(route: Any, mine: list[_Mine], real: Real, birds: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    net, way = prefix(route.cidr), _Way(route.type, _text(route.via), _text(route.interface))
    inside = [m for m in mine if m.net.covers(net)]
    if not inside:
        return
    nearest = min(inside, key=lambda m: m.net.size)
    metric, actual = real.get((route.node, nearest.cidr), (None, nearest.way))
    same_way = way.like(nearest.way) or way == actual
    if nearest.net != net:
        # In the node's own block its pods' routes are longer still; but BIRD may tell the others of this one.
        yield _row(route, route.cidr, "longer-prefix", [nearest], same_way and not nearest.own)
    elif _metric(route.metric) < metric if metric is not None else _programmed(nearest, route, birds):
        yield _row(route, route.cidr, "metric", [nearest], same_way)


def _programmed(mine: _Mine, route: Any, birds: pd.DataFrame | None) -> bool:
    """Whether Calico has a route for the destination that the kernel does not show, as the foreign one has its place.

    A node whose sessions are down has none, and a route that somebody set in its stead overrides nothing.
    """
    if not mine.by_bird or birds is None or route.node not in heard(birds)[route.version]:
        return True
    told = birds[(birds["node"] == route.node) & (birds["prefix"] == route.cidr)]
    return bool((~told["protocol"].astype("str").str.startswith("kernel")).any())


def _by_rule(route: Any, rule: Any, mine: list[_Mine]) -> Iterator[dict[str, Any]]:
    """A route of a table that a rule asks before main: any of its routes decides, the default route too."""
    net, way = prefix(route.cidr), _Way(route.type, _text(route.via), _text(route.interface))
    to = prefix(rule.to) if isinstance(rule.to, str) else None
    if (to is not None and not to.overlaps(net)) or not _of_pods(rule, mine):
        return
    decides = route.cidr if to is None or to.covers(net) else rule.to
    hit = [m for m in mine if m.net.overlaps(prefix(decides))]
    if hit:
        yield _row(route, decides, "table", hit, all(way.like(m.way) for m in hit))


def _of_pods(rule: Any, mine: list[_Mine]) -> bool:
    """Whether a rule's source is everybody, or holds an address of the node's own pods."""
    if rule.source in ("all", None):
        return True
    source = prefix(rule.source)
    return any(source.overlaps(m.net) for m in mine if m.owner == rule.node)


def _deciding(rule: Any, mine: list[_Mine]) -> Iterator[dict[str, Any]]:
    """A rule that drops packets by itself."""
    if not isinstance(rule.to, str) or not _of_pods(rule, mine):
        return
    hit = [m for m in mine if m.net.overlaps(prefix(rule.to))]
    if hit:
        words = f"rule {rule.priority}: from {rule.source} to {rule.to} {rule.action}"
        row = {"node": rule.node, "cidr": rule.to, "how": "rule", "route": words, "harmless": False}
        yield {**row, **_hit(hit, rule.node), "line": rule.line, "evidence": rule.evidence, "table": None}


def _row(route: Any, cidr: str, how: str, hit: list[_Mine], harmless: bool) -> dict[str, Any]:
    row = {"node": route.node, "cidr": cidr, "how": how, "route": in_words(route), "table": route.table}
    extra = {"protocol": _text(route.protocol), "harmless": harmless, "line": route.line, "evidence": route.evidence}
    return {**row, **_hit(hit, route.node), **extra}


def _hit(hit: Iterable[_Mine], node: str) -> dict[str, Any]:
    every = sorted(hit, key=lambda m: (m.net.version, m.net.first, m.net.last))
    cidrs = list(dict.fromkeys(m.cidr for m in every))
    return {"overrides": cidrs, "owners": sorted({m.owner for m in every} - {node})}


def in_words(route: Any) -> str:
    """A route as ip prints it.

    >>> from types import SimpleNamespace as Route
    >>> in_words(Route(type="blackhole", cidr="10.0.0.0/24", via=None, interface=None, protocol=None, metric=5,
    ...                table="main"))
    'blackhole 10.0.0.0/24 metric 5'
    """
    parts = [*([route.type] if route.type != "unicast" else []), "default" if route.cidr[-2:] == "/0" else route.cidr]
    for word, value in (("via", route.via), ("dev", route.interface), ("proto", route.protocol)):
        parts += [f"{word} {value}"] if isinstance(value, str) else []
    parts += [f"metric {_metric(route.metric)}"] if _metric(route.metric) else []
    parts += [f"table {route.table}"] if route.table != "main" else []
    return " ".join(parts)


def _learners(row: dict[str, Any], birds: pd.DataFrame | None, nodes: pd.DataFrame | None) -> list[str]:
    """Nodes whose BIRD has the route from this node: its gateway, or who sent it, is this node's address."""
    if birds is None or nodes is None or row["how"] in ("table", "rule"):
        return []
    mine = set(nodes.loc[nodes["node"] == row["node"], ["address", "address6"]].stack().dropna())
    told = birds[(birds["prefix"] == row["cidr"]) & (birds["node"] != row["node"])]
    return sorted({n for n, via, source in cells(told, "node", "gateway", "from") if {via, source} & mine})


def _each_once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        seen.setdefault((row["node"], row["cidr"], row["table"], row["line"]), row)
    return list(seen.values())


@table(
    CLAIMS,
    needs={"blocks": "ipam.blocks", "nodes": "bgp.nodes", "kernel": "routes.kernel"},
    wants={"routes": "routes.bird", "conflicts": "routes.conflicts", "now": "@now"},
)
def claims(
    blocks: pd.DataFrame,
    nodes: pd.DataFrame,
    kernel: pd.DataFrame,
    routes: pd.DataFrame | None = None,
    conflicts: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each prefix that is claimed twice; see :data:`CLAIMS`. Blocks that are just claimed are left out."""
    held = blocks[blocks["node"].notna()]
    if now is not None:
        held = held[~(now - held["claimed"] < FRESH)]
    known = {b: (prefix(b), n) for b, n in cells(held, "block", "node")}
    strange = set() if conflicts is None else set(conflicts["cidr"])
    said: dict[str, dict[str, str]] = {}
    for cidr, node, how in _claimed(kernel, routes, nodes):
        if cidr not in strange and not cidr.endswith(("/32", "/128")):
            said.setdefault(cidr, {}).setdefault(node, how)
    rows = []
    for cidr, claimants in sorted(said.items()):
        block = cidr if cidr in known else _block_of(cidr, known)
        if block is None or set(claimants) == {known[block][1]}:
            continue
        everyone = {known[block][1]: "owns the block according to IPAM"} | claimants
        names = sorted(everyone)
        rows.append({"cidr": cidr, "block": block, "nodes": names, "how": [everyone[n] for n in names]})
    return CLAIMS.frame(rows)


FRESH = pd.Timedelta(seconds=20)


def _block_of(cidr: str, known: dict[str, tuple[Prefix, str]]) -> str | None:
    """The block that a prefix lies in."""
    net = prefix(cidr)
    return next((b for b, (span, _) in known.items() if span.covers(net)), None)


def _claimed(kernel: pd.DataFrame, routes: pd.DataFrame | None, nodes: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Prefix, node, and how the node claims it."""
    holes = kernel[(kernel["type"] == "blackhole") & kernel["owner"].isin(["bird", "felix"])]
    for cidr, node in cells(holes, "cidr", "node"):
        yield cidr, node, "has it as its own block"
    if routes is None:
        return
    sources = routes["protocol"].astype("str")
    own = routes[sources.str.startswith("static") & (routes["type"] == "blackhole")]
    for cidr, node in cells(own, "prefix", "node"):
        yield cidr, node, "has it as its own block"
    # A reflector may stand in as the next hop of what it hands on (nextHopMode Self).
    plain = nodes[nodes["cluster_id"].isna()]
    ends = (pair for column in ("address", "address6") for pair in cells(plain, "node", column))
    by_address = {a: n for n, a in ends if isinstance(a, str)}
    learnt = routes[routes["gateway"].isin(list(by_address)) & ~sources.str.startswith("kernel")]
    for cidr, gateway in cells(learnt.drop_duplicates(["prefix", "gateway"]), "prefix", "gateway"):
        yield cidr, by_address[gateway], "other nodes route it there"

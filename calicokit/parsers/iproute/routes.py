"""What iproute2 prints of routes and rules: text and JSON, the same tables from both.

Sources: recordings of iproute2 6.1; iproute2's ip/iproute.c and ip/iprule.c, and the same tool's answers in a network
namespace, for multipath routes, other types, rules and flags.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute import net_tools
from calicokit.parsers.iproute.common import (
    address,
    attributes,
    cidr,
    columns,
    frame,
    number,
    read,
    string,
    strings,
    version,
)
from calicokit.parsers.pasted import may_be_noise
from calicokit.schema import Column, Schema

_SOURCE = "recordings of iproute2 6.1; iproute2's ip/iproute.c and ip/iprule.c"
_LINE = Column("line", "int", "1-based line number in the text")
_ATTRIBUTES = Column("attributes", "str", "remaining attributes, as 'name value' as printed")
ROUTES = Schema(
    "ip_route",
    "routes",
    (
        Column("type", "str", "unicast, blackhole, unreachable, prohibit, throw, local, broadcast, multicast, …"),
        Column("destination", "str", "CIDR; the default route is 0.0.0.0/0 or ::/0"),
        Column("version", "int", "4 or 6"),
        Column("gateway", "str", "next hop; null for none or multipath (see ip_nexthops)"),
        Column("interface", "str", "interface; null for none or multipath (see ip_nexthops)"),
        Column("table", "str", "routing table; main unless the route or command line names another"),
        Column("protocol", "str", "route protocol, such as bird or kernel; null where ip prints none, as for boot"),
        Column("scope", "str", "scope; null where ip prints none, as for global"),
        Column("source", "str", "preferred source address"),
        Column("metric", "int", "metric; lower is better; null is 0 in IPv4"),
        Column("flags", "list", "such as onlink, linkdown, dead"),
        Column("mtu", "int", "MTU that the route sets", "bytes"),
        _ATTRIBUTES,
        _LINE,
    ),
    ("type", "destination", "table", "metric", "interface", "line"),
    source=_SOURCE,
)
NEXTHOPS = Schema(
    "ip_nexthops",
    "next hops of multipath routes",
    (
        Column("destination", "str", "CIDR of the route"),
        Column("version", "int", "4 or 6"),
        Column("table", "str", "routing table"),
        Column("metric", "int", "route's metric"),
        Column("gateway", "str", "next hop"),
        Column("interface", "str", "interface"),
        Column("weight", "int", "relative weight"),
        Column("flags", "list", "such as onlink, linkdown, dead"),
        _ATTRIBUTES,
        _LINE,
    ),
    ("destination", "table", "metric", "gateway", "interface"),
    source=_SOURCE,
)
RULES = Schema(
    "ip_rule",
    "routing rules (ip rule)",
    (
        Column("priority", "int", "priority; lower is evaluated first"),
        Column("inverted", "bool", "not: the rule applies to packets that do not match"),
        Column("from", "str", "CIDR of the source, or all"),
        Column("to", "str", "CIDR of the destination; null is all"),
        Column("fwmark", "int", "packet mark to match"),
        Column("mask", "int", "mask of the mark"),
        Column("iif", "str", "ingress interface"),
        Column("oif", "str", "interface the socket is bound to"),
        Column("table", "str", "routing table to look up"),
        Column("action", "str", "lookup, goto, nop, blackhole, unreachable or prohibit"),
        Column("goto", "int", "priority of the rule to go to"),
        _ATTRIBUTES,
        _LINE,
    ),
    ("priority", "line"),
    source=_SOURCE,
)
_TYPES = {
    "unicast",
    "local",
    "broadcast",
    "multicast",
    "throw",
    "unreachable",
    "prohibit",
    "blackhole",
    "nat",
    "anycast",
    "xresolve",
}
_ROUTE_WORDS = {
    "via": "gateway",
    "dev": "interface",
    "table": "table",
    "proto": "protocol",
    "scope": "scope",
    "src": "source",
    "metric": "metric",
}
_ROUTE_FLAGS = {
    "onlink",
    "dead",
    "linkdown",
    "pervasive",
    "offload",
    "notify",
    "unresolved",
    "trap",
    "rt_offload",
    "rt_trap",
    "offload_failed",
}
_TABLE = re.compile(r"\btable (\S{1,40})")
_MTU = re.compile(r"\bmtu (?:lock )?(\d{1,9})\b")


def _route(words: list[str]) -> dict[str, Any] | None:
    kind, words = (words[0], words[1:]) if words[0] in _TYPES else ("unicast", words)
    if not words:
        return None
    row = columns(words[1:], _ROUTE_WORDS, _ROUTE_FLAGS)
    return row and _routed(row, kind, words[0], "inet6" in words)


def _routed(row: dict[str, Any], kind: str, destination: str, other: bool) -> dict[str, Any] | None:
    """The route with its canonical destination, which for a default route may still be open."""
    row["type"], row["destination"] = kind, cidr(destination)
    for name in ("gateway", "source"):
        row[name] = address(row.get(name))
    mtu = _MTU.search(row["attributes"] or "")
    row["mtu"] = int(mtu[1]) if mtu else None
    row["version"] = version(row["destination"])
    if destination == "default":
        known = version(row["gateway"]) or version(row["source"])
        row["version"] = 4 if other else 6 if "pref " in (row["attributes"] or "") else known
    return row if row["destination"] or destination == "default" else None


def _route_of(value: dict[str, Any]) -> dict[str, Any] | None:
    """A route or a next hop from JSON."""
    via, rest = value.get("via"), dict(value)
    row: dict[str, Any] = {"flags": strings(rest.pop("flags", None)), "nexthops": rest.pop("nexthops", None)}
    if isinstance(via, dict):
        row["gateway"] = address(via.get("host"))
        del rest["via"]
    for name, column in (("gateway", "gateway"), ("dev", "interface"), ("table", "table"), ("protocol", "protocol")):
        row[column] = string(rest.pop(name, None)) or row.get(column)
    row["scope"], row["source"] = string(rest.pop("scope", None)), string(rest.pop("prefsrc", None))
    row["metric"], row["weight"] = number(rest.pop("metric", None)), number(rest.pop("weight", None))
    kind, destination = string(rest.pop("type", None)) or "unicast", string(rest.pop("dst", None))
    metrics = rest.pop("metrics", None)
    for more in metrics if isinstance(metrics, list) else []:
        rest = (more | rest) if isinstance(more, dict) else rest
    if "expires" in rest:
        rest["expires"] = f"{string(rest['expires'])}sec"
    row["attributes"] = attributes(rest)
    return row if destination is None else _routed(row, kind, destination, isinstance(via, dict))


class _Routes:
    """Routes and their next hops, as they come."""

    def __init__(self, table: str) -> None:
        self.rows: list[dict[str, Any]] = []
        self.hops: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.table = table

    def line(self, line: Line) -> bool:
        if (old := net_tools.route(line.text)) is not None:
            self.add(old or None, line.number)
            return True
        words = line.text.split()
        if words[0] in ("nexthop", "nh_info", "cache") and self.rows:
            return self.more(words, line.number)
        row = _route(words)
        self.add(row, line.number)
        return row is not None

    def more(self, words: list[str], number_: int) -> bool:
        """A further line of the last route."""
        route = self.rows[-1]
        if words[0] != "nexthop":
            route["attributes"] = " ".join([*filter(None, [route["attributes"]]), *words])
            return True
        hop = columns(words[1:], _ROUTE_WORDS | {"weight": "weight"}, _ROUTE_FLAGS)
        self.hop(route, hop, number_)
        return hop is not None

    def add(self, row: dict[str, Any] | None, line: int) -> None:
        if row:
            row["line"], row["table"] = line, row.get("table") or self.table
            self.rows.append(row)

    def hop(self, route: dict[str, Any], hop: dict[str, Any] | None, line: int) -> None:
        if hop:
            hop["line"], hop["gateway"] = line, address(hop.get("gateway"))
            if route["version"] is None:
                route["version"] = version(hop["gateway"])
            self.hops.append((route, hop))

    def value(self, value: dict[str, Any], line: Line) -> bool:
        row = _route_of(value)
        self.add(row, line.number)
        if row is None or "type" not in row:
            self.rows = self.rows[: -1 if row else None]
            return False
        hops = row["nexthops"] if isinstance(row["nexthops"], list) else []
        for hop in hops:
            self.hop(row, _route_of(hop) if isinstance(hop, dict) else None, line.number)
        return True

    def frames(self) -> dict[str, pd.DataFrame]:
        usual = 6 if self.rows and {r["version"] for r in self.rows} <= {6, None} else 4
        if all(r["version"] is None for r in self.rows):
            usual = 4
        for row in self.rows:
            row["version"] = row["version"] or usual
            row["destination"] = row["destination"] or ("::/0" if row["version"] == 6 else "0.0.0.0/0")
        of = ("destination", "version", "table", "metric")
        hops = [hop | {name: route.get(name) for name in of} for route, hop in self.hops]
        return {ROUTES.name: frame(ROUTES, self.rows), NEXTHOPS.name: frame(NEXTHOPS, hops)}


@parser(
    "ip-route",
    ROUTES,
    NEXTHOPS,
    marks=(
        r"^[ \t]*((default|blackhole|unreachable|broadcast|local|prohibit|unicast) |[0-9a-f.:]+/\d+ (via|dev) "
        r"|\[\{.*\"dst\""
        r"|[0-9a-f.:]+ (via \S+ )?dev \S+(?!.* (lladdr|FAILED|INCOMPLETE|NOARP|PERMANENT)\b)( |$))|" + net_tools.MARKS
    ),
    keeps="ip ",
)
def ip_route(text: Text) -> dict[str, pd.DataFrame]:
    """``ip route``, also ``show table all``, ``get``, ``-6``, ``-d``, ``-o`` and ``-j``: routes and their next hops.

    Net-tools' ``route -n`` and ``netstat -rn`` give the same table.

    Source: recordings; iproute2's ip/iproute.c; net-tools' lib/inet_gr.c and inet6_gr.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("ip-route", "blackhole 10.48.84.128/26 proto bird").frame.iloc[0]
    >>> row["type"], row["destination"], row["table"], row["protocol"]
    ('blackhole', '10.48.84.128/26', 'main', 'bird')
    """
    routes = _Routes(_asked(text.text[:2000]))
    read(text, routes.line, routes.value, "a route")
    return routes.frames()


def _asked(head: str) -> str:
    """The table that a command line before the routes asks for, as ip does not print it then."""
    said = [_TABLE.search(line) for line in head.split("\n") if may_be_noise(line)]
    names = [match[1] for match in said if match and match[1] != "all"]
    return names[0] if names else "main"


_RULE_WORDS = {
    "from": "from",
    "to": "to",
    "fwmark": "fwmark",
    "iif": "iif",
    "oif": "oif",
    "lookup": "table",
    "table": "table",
    "goto": "goto",
}
_ACTIONS = {"nop", "blackhole", "unreachable", "prohibit", "masquerade"}
_RULE = re.compile(r"(\d{1,10}):\s+(\S.*)")


def _rule(words: list[str], priority: int) -> dict[str, Any] | None:
    row = columns(words, _RULE_WORDS, _ACTIONS | {"not"})
    return row and _ruled(row | {"priority": priority}, row["flags"])


def _ruled(row: dict[str, Any], said: list[str]) -> dict[str, Any] | None:
    """The rule with its mark, prefixes and action in their forms."""
    row["inverted"] = "not" in said
    mark, _, mask = (row.get("fwmark") or "").partition("/")
    row["fwmark"], row["mask"] = number(mark), number(mask) if mask else 0xFFFFFFFF if mark else None
    row["from"] = cidr(row.get("from")) or row.get("from")
    row["to"] = cidr(row.get("to")) or row.get("to")
    actions = [word for word in said if word != "not"]
    usual = "goto" if row.get("goto") is not None else "lookup" if row.get("table") else None
    row["action"] = actions[0] if actions else usual
    return row if row["action"] and (not mark or row["fwmark"] is not None) else None


def _rule_of(value: dict[str, Any]) -> dict[str, Any] | None:
    rest = dict(value)
    row: dict[str, Any] = {"priority": number(rest.pop("priority", None)), "goto": number(rest.pop("goto", None))}
    for name, column in (("src", "from"), ("dst", "to")):
        length = number(rest.pop(f"{name}len", None))
        row[column] = string(rest.pop(name, None))
        row[column] = f"{row[column]}/{length}" if row[column] and length is not None else row[column]
    mark, mask = string(rest.pop("fwmark", None)), string(rest.pop("fwmask", None))
    row["fwmark"] = f"{mark}/{mask}" if mark and mask else mark
    for name in ("iif", "oif", "table"):
        row[name] = string(rest.pop(name, None))
    said = ["not"] if "not" in rest else []
    said += [a for a in (string(rest.pop("action", None)),) if a and a in _ACTIONS]
    rest.pop("not", None)
    row["attributes"] = attributes(_ranges(rest))
    return _ruled(row, said) if row["priority"] is not None else None


def _ranges(rest: dict[str, Any]) -> dict[str, Any]:
    """JSON's names of what is left of a rule, as the text names them."""
    made: dict[str, Any] = {}
    for name, value in rest.items():
        if name.endswith("_start"):
            short = "uidrange" if name == "uid_start" else name[:-6]
            made[short] = f"{string(value)}-{string(rest.get(name[:-6] + '_end'))}"
        elif not name.endswith("_end"):
            made[{"suppress_prefixlen": "suppress_prefixlength", "protocol": "proto"}.get(name, name)] = value
    return made


@parser("ip-rule", RULES, marks=r"^\d+:\s+(not )?from \S+|^\[\{\"priority\"")
def ip_rule(text: Text) -> dict[str, pd.DataFrame]:
    """``ip rule``, text and ``-j``: routing rules.

    Source: recordings; iproute2's ip/iprule.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("ip-rule", "99:  not from all fwmark 0x100000/0x100000 lookup 1").frame.iloc[0]
    >>> int(row["priority"]), bool(row["inverted"]), hex(row["fwmark"]), row["table"]
    (99, True, '0x100000', '1')
    """
    rows: list[dict[str, Any] | None] = []

    def value(value: dict[str, Any], place: Line) -> bool:
        rows.append((row := _rule_of(value)) and row | {"line": place.number})
        return row is not None

    def line(line: Line) -> bool:
        match = _RULE.fullmatch(line.text.strip())
        row = _rule(match[2].split(), int(match[1])) if match else None
        rows.append(row and row | {"line": line.number})
        return row is not None

    read(text, line, value, "PRIORITY: from … lookup TABLE")
    return {RULES.name: frame(RULES, [row for row in rows if row])}

"""What ``calico-node -bpf`` (v3.33 on: ``calico component node bpf``) dumps of the eBPF data plane's maps.

Source: felix/cmd/calico-bpf/commands and felix/bpf/{routes,nat,conntrack,ifstate,arp,counters} at v3.34-dev. No
recording shows any of it, so every table here is marked as not verified. The --json forms are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pandas as pd

from calicokit.durations import go_duration
from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.kubernetes import boxes, objects
from calicokit.schema import Column, Schema

_SOURCE = "felix/cmd/calico-bpf/commands, felix/bpf (v3.34-dev)"
_LINE = Column("line", "int", "1-based line number in the text")


def _schema(name: str, meaning: str, key: tuple[str, ...], *columns: Column) -> Schema:
    return Schema(name, meaning, (*columns, _LINE), key, verified=False, source=_SOURCE)


ROUTES = _schema(
    "bpf_routes",
    "routes that the eBPF programs know",
    ("destination",),
    Column("destination", "str", "CIDR"),
    Column("where", "str", "local or remote; null for a black hole"),
    Column("what", "str", "host or workload; null for a pool or tunnel"),
    Column("flags", "list", "in-pool, nat-out, same-subnet, no-dsr, tunneled, blackhole-drop …"),
    Column("ifindex", "int", "interface of a local workload"),
    Column("next_hop", "str", "node of a remote workload"),
)
NAT = _schema(
    "bpf_nat",
    "services' addresses that the eBPF programs translate",
    ("address", "port", "protocol", "source"),
    Column("address", "str", "service's address"),
    Column("port", "int", "service's port"),
    Column("protocol", "str", "tcp, udp, sctp, or a number"),
    Column("id", "int", "service id, which its backends refer to"),
    Column("backends", "int", "number of backends; -1 for a service that drops"),
    Column("local_backends", "int", "number of backends on this node"),
    Column("flags", "list", "flags: external-local, internal-local, …"),
    Column("source", "str", "client source CIDR; null for any"),
)
BACKENDS = _schema(
    "bpf_nat_backends",
    "backends of services",
    ("id", "ordinal"),
    Column("id", "int", "service id"),
    Column("ordinal", "int", "0-based number of the backend"),
    Column("address", "str", "backend's address; null where it is missing from the map"),
    Column("port", "int", "backend's port"),
)
AFFINITY = _schema(
    "bpf_nat_affinity",
    "clients that stay with a backend (-bpf nat aff)",
    ("client", "address", "port", "protocol"),
    Column("client", "str", "client's address"),
    Column("protocol", "str", "tcp, udp, sctp, or a number"),
    Column("address", "str", "service's address"),
    Column("port", "int", "service's port"),
    Column("backend", "str", "backend's address"),
    Column("backend_port", "int", "backend's port"),
    Column("age", "float", "timestamp, since boot", "s"),
)
CONNTRACK = _schema(
    "bpf_conntrack",
    "connections that the eBPF programs track",
    (),
    Column("protocol", "str", "tcp, udp, icmp, icmp6, or proto-N"),
    Column("source", "str", "client's address; in raw dumps the entry's first address"),
    Column("sport", "int", "client's port"),
    Column("destination", "str", "original destination address"),
    Column("dport", "int", "original destination port"),
    Column("backend", "str", "address after DNAT; null without NAT"),
    Column("backend_port", "int", "port after DNAT"),
    Column("tunnel_ip", "str", "node it is forwarded to or from, for external clients of a service"),
    Column("original_sport", "int", "source port before NAT"),
    Column("age", "float", "time since the last packet", "s"),
    Column("created", "float", "time since the first packet; null since v3.29, which does not print it", "s"),
    Column("state", "str", "established, syn-sent, closed or reset; null for other protocols"),
    Column("entry", "str", "value of a raw dump, as printed"),
)
IPSETS = _schema(
    "bpf_ipsets",
    "members of the eBPF data plane's IP sets",
    ("set", "member"),
    Column("set", "str", "number of the set, in hexadecimal"),
    Column("member", "str", "member as printed"),
    Column("address", "str", "CIDR, or address of a member with a port"),
    Column("protocol", "str", "tcp, udp, sctp, or a number"),
    Column("port", "int", "port"),
)
IFSTATE = _schema(
    "bpf_ifstate",
    "interfaces that the eBPF programs know",
    ("ifindex",),
    Column("ifindex", "int", "the kernel's index"),
    Column("interface", "str", "interface"),
    Column("flags", "list", "workload, host, v4Ready, v6Ready, bond, vxlan, notmanaged …"),
    Column("programs", "map", "indexes of policy programs and filters by name, such as IngressPolicyV4; -1 for none"),
)
ARP = _schema(
    "bpf_arp",
    "link-layer addresses that the eBPF programs know",
    ("ifindex", "address"),
    Column("ifindex", "int", "the kernel's index of the interface"),
    Column("address", "str", "neighbour's address"),
    Column("source_mac", "str", "link-layer address to send from"),
    Column("destination_mac", "str", "link-layer address to send to"),
)
COUNTERS = _schema(
    "bpf_counters",
    "packets that the eBPF programs of interfaces counted",
    ("interface", "category", "type"),
    Column("interface", "str", "interface; null where the text was cut before it"),
    Column("category", "str", "Total, Accepted, Dropped, Redirect …"),
    Column("type", "str", "what was counted"),
    Column("ingress", "int", "packets at the ingress hook; null without a program", "packets"),
    Column("egress", "int", "packets at the egress hook", "packets"),
    Column("xdp", "int", "packets at the XDP hook", "packets"),
)
_NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmp6", "132": "sctp"}
_PORT = r"\[?(\S{1,60}?)\]?:(\d{1,5})"


def _int(text: str | None) -> int | None:
    return int(text) if text and len(text) < 19 else None


_Row = dict[str, Any]
_Form = tuple[re.Pattern[str], Schema, Callable[[re.Match[str]], _Row]]


def _rows(text: Text, forms: tuple[_Form, ...], expected: str, *schemas: Schema) -> dict[str, pd.DataFrame]:
    """Tables of a text of which every line has one of the forms."""
    made: dict[str, list[_Row]] = {s.name: [] for s in schemas}
    for line in objects.lines(text):
        for pattern, schema, row in forms:
            if match := pattern.fullmatch(line.text.strip()):
                made[schema.name].append({**row(match), "line": line.number})
                break
        else:
            text.reject(line, expected)
    return {s.name: s.frame(made[s.name]) for s in schemas}


_ROUTE = re.compile(r"([0-9A-Fa-f:.]{2,50}/\d{1,3}): (\S.*)")
_PLACES = ("local", "remote")
_TARGETS = ("host", "workload")


def _route(match: re.Match[str]) -> _Row:
    words = match[2].split()
    after = dict(pairwise(words))
    known = {*_PLACES, *_TARGETS, "idx", "nh", after.get("idx"), after.get("nh")}
    index = after.get("idx", "")
    return {
        "destination": match[1],
        "where": next((w for w in words if w in _PLACES), None),
        "what": next((w for w in words if w in _TARGETS), None),
        "flags": [w for w in words if w not in known],
        "ifindex": int(index) if index.isdecimal() and len(index) < 11 else None,
        "next_hop": after.get("nh"),
    }


@parser("bpf-routes", ROUTES, marks=r"^ *[0-9A-Fa-f:.]+/\d+: (local|remote|blackhole)\b")
def bpf_routes(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf routes dump``: the routes of the eBPF data plane.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-routes", "  10.48.9.64/26: remote workload in-pool nat-out nh 172.30.0.12").frame.iloc[0]
    >>> row["where"], row["flags"], row["next_hop"]
    ('remote', ['in-pool', 'nat-out'], '172.30.0.12')
    """
    return _rows(text, ((_ROUTE, ROUTES, _route),), "CIDR: local|remote host|workload …", ROUTES)


_FRONTEND = re.compile(
    r"([0-9A-Fa-f:.]{2,50}) port (\d{1,5}) proto (\d{1,3}) id (\d{1,10}) count (-?\d{1,10}) local (-?\d{1,10})"
    r"(?: flags (\S.*?))?(?: src (\S+))?"
)
_BACKEND = re.compile(rf"(\d{{1,10}}):(\d{{1,10}})\s+(?:{_PORT}|is missing)")
_AFFINE = re.compile(rf"client (\S{{1,60}}) svc proto (\d{{1,3}}) {_PORT} -> {_PORT} ts (\S{{1,60}})")
_MAGLEV = re.compile(rf"svc (\d{{1,10}}) ordinal (\d{{1,10}}) -> {_PORT}")


def _frontend(match: re.Match[str]) -> _Row:
    return {
        "address": match[1],
        "port": int(match[2]),
        "protocol": _NUMBERS.get(match[3], match[3]),
        "id": int(match[4]),
        "backends": int(match[5]),
        "local_backends": int(match[6]),
        "flags": match[7].replace(",", " ").split() if match[7] else [],
        "source": match[8],
    }


def _backend(match: re.Match[str]) -> _Row:
    return {"id": int(match[1]), "ordinal": int(match[2]), "address": match[3], "port": _int(match[4])}


def _affine(match: re.Match[str]) -> _Row:
    return {
        "client": match[1],
        "protocol": _NUMBERS.get(match[2], match[2]),
        "address": match[3],
        "port": int(match[4]),
        "backend": match[5],
        "backend_port": int(match[6]),
        "age": go_duration(match[7]),
    }


@parser("bpf-nat", NAT, BACKENDS, AFFINITY, marks=r"^\S+ port \d+ proto \d+ id \d+ count -?\d+ local \d+")
def bpf_nat(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf nat dump`` (also ``nat aff`` and ``nat maglev``): services, and their backends.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> parsed = parse("bpf-nat", '''10.49.0.10 port 53 proto 17 id 3 count 1 local 0
    ... \\t3:0\\t 10.48.217.68:53''')
    >>> parsed.frame["protocol"][0], parsed.tables["bpf_nat_backends"]["address"][0]
    ('udp', '10.48.217.68')
    """
    forms: tuple[_Form, ...] = (
        (_FRONTEND, NAT, _frontend),
        (_BACKEND, BACKENDS, _backend),
        (_AFFINE, AFFINITY, _affine),
        (_MAGLEV, BACKENDS, _backend),
    )
    return _rows(text, forms, "a service, a backend, or a client's affinity", NAT, BACKENDS, AFFINITY)


_ENDS = r"(\S{1,60}):(\d{1,5})"
_STATE = (
    r"(?: {1,2}Age: (?P<created>-?[0-9.hmsµun]{1,40}))? {1,2}Active ago (?P<age>-?[0-9.hmsµun]{1,40})"
    r"(?: <?(?P<state>CLOSED|RESET|ESTABLISHED|SYN-SENT)>?)?"
)
_TRACKED = re.compile(
    rf"(TCP|UDP|ICMP6?|Proto-\d{{1,3}}) {_ENDS} -> {_ENDS}(?: -> {_ENDS})?"
    rf"(?: external client, service forwarded to/from (\S{{1,60}}))?(?: source port changed from (\d{{1,5}}))?{_STATE}"
)
_RAW = re.compile(rf"ConntrackKey\{{proto=(\d{{1,3}}) {_ENDS} <-> {_ENDS}\}} -> (Entry\{{.*\}}){_STATE}")


def _lately(match: re.Match[str]) -> _Row:
    """How old an entry and its last packet are, and its state; fields that a version does not print are null."""
    created = match["created"]
    return {
        "age": go_duration(match["age"]),
        "created": go_duration(created) if created else None,
        "state": match["state"].lower() if match["state"] else None,
    }


def _tracked(match: re.Match[str]) -> _Row:
    return {
        "protocol": match[1].lower(),
        "source": match[2],
        "sport": int(match[3]),
        "destination": match[4],
        "dport": int(match[5]),
        "backend": match[6],
        "backend_port": _int(match[7]),
        "tunnel_ip": match[8],
        "original_sport": _int(match[9]),
        **_lately(match),
    }


def _raw(match: re.Match[str]) -> _Row:
    return {
        "protocol": _NUMBERS.get(match[1], f"proto-{match[1]}"),
        "source": match[2],
        "sport": int(match[3]),
        "destination": match[4],
        "dport": int(match[5]),
        "entry": match[6],
        **_lately(match),
    }


@parser("bpf-conntrack", CONNTRACK, marks=r"^([\w-]+ \S+ -> \S+ .*Active ago |ConntrackKey\{proto=)")
def bpf_conntrack(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf conntrack dump`` (also --raw): the connections of the eBPF data plane.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-conntrack", "TCP 10.48.1.2:40258 -> 10.49.0.7:80 -> 10.48.3.4:8080  Active ago 1m2.5s "
    ...     "ESTABLISHED").frame.iloc[0]
    >>> row["destination"], row["backend"], float(row["age"]), row["state"]
    ('10.49.0.7', '10.48.3.4', 62.5, 'established')
    """
    forms: tuple[_Form, ...] = ((_TRACKED, CONNTRACK, _tracked), (_RAW, CONNTRACK, _raw))
    return _rows(text, forms, "PROTOCOL A:PORT -> B:PORT … Active ago …", CONNTRACK)


_SET = re.compile(r"IP set (0x[0-9a-f]{1,16})")
_WITH_PORT = re.compile(r"(\S{1,60}):(\d{1,5}) \(proto (\d{1,3})\)")
_CIDR = re.compile(r"[0-9A-Fa-f:.]{2,50}/-?\d{1,3}")


@parser("bpf-ipsets", IPSETS, marks=r"^IP set 0x[0-9a-f]+$")
def bpf_ipsets(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf ipsets dump``: members of the eBPF data plane's IP sets.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> parse("bpf-ipsets", '''IP set 0x1f2e3d
    ...    10.48.1.2/32''').frame[["set", "address"]].values.tolist()
    [['0x1f2e3d', '10.48.1.2/32']]
    """
    rows: list[_Row] = []
    current: str | None = None
    for line in objects.lines(text):
        body = line.text.strip()
        if match := _SET.fullmatch(body):
            current = match[1]
        elif current and (match := _WITH_PORT.fullmatch(body)):
            protocol = _NUMBERS.get(match[3], match[3])
            about = {"address": match[1], "port": int(match[2]), "protocol": protocol}
            rows.append({"set": current, "member": body, **about, "line": line.number})
        elif current and _CIDR.fullmatch(body):
            rows.append({"set": current, "member": body, "address": body, "line": line.number})
        elif body != "No IP sets found.":
            text.reject(line, "IP set NUMBER, or a member of one")
    return {IPSETS.name: IPSETS.frame(rows)}


_INTERFACE = re.compile(r"(\d{1,10}) : \{flags: ([\w,-]{0,200}) (.*?),? ?name: (\S{0,40})\}")
_PROGRAM = re.compile(r"(\w{1,40}): (-?\d{1,10})")


def _interface(match: re.Match[str]) -> _Row:
    return {
        "ifindex": int(match[1]),
        "interface": match[4] or None,
        "flags": [f for f in match[2].split(",") if f],
        "programs": {k: int(v) for k, v in _PROGRAM.findall(match[3])},
    }


@parser("bpf-ifstate", IFSTATE, marks=r"^ *\d+ : \{flags: ")
def bpf_ifstate(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf ifstate dump``: the interfaces that the eBPF data plane knows, and their programs.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-ifstate", "   12 : {flags: workload,v4Ready, XDPPolicyV4: -1, IngressPolicyV4: 4, name: cali1}"
    ...     ).frame.iloc[0]
    >>> row["interface"], row["flags"], row["programs"]["IngressPolicyV4"]
    ('cali1', ['workload', 'v4Ready'], 4)
    """
    return _rows(text, ((_INTERFACE, IFSTATE, _interface),), "INDEX : {flags: … name: …}", IFSTATE)


_NEIGHBOUR = re.compile(r"dev\s+(\d{1,10}):\s+(\S{2,60}) : ([0-9A-Fa-f:]{17}) -> ([0-9A-Fa-f:]{17})")


def _neighbour(match: re.Match[str]) -> _Row:
    return {"ifindex": int(match[1]), "address": match[2], "source_mac": match[3], "destination_mac": match[4]}


@parser("bpf-arp", ARP, marks=r"^dev +\d+: +\S+ : \S+ -> ")
def bpf_arp(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf arp dump``: the neighbours' link-layer addresses that the eBPF data plane knows.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> parse("bpf-arp", "dev    2:     172.30.0.12 : 02:00:00:00:00:01 -> 02:00:00:00:00:02").frame["address"][0]
    '172.30.0.12'
    """
    return _rows(text, ((_NEIGHBOUR, ARP, _neighbour),), "dev INDEX: ADDRESS : MAC -> MAC", ARP)


_CAPTION = re.compile(r"dumped (\S{1,40}) counters\.")


@dataclass
class _Counters:
    """Reads tables of counters, each of which its caption follows."""

    rows: list[_Row] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    category: str | None = None
    first: int = 0

    def line(self, line: Line) -> bool:
        """Read a line; False if it is none of such a table."""
        body = line.text.strip()
        if match := _CAPTION.fullmatch(body):
            for row in self.rows[self.first :]:
                row["interface"] = match[1]
            self.first, self.category = len(self.rows), None
            return True
        cells = boxes.cells(body)
        return cells is not None and self.row(cells, line.number)

    def row(self, cells: list[str], number: int) -> bool:
        if "CATEGORY" in cells:
            self.header = [cell.lower() for cell in cells]
            return True
        named = dict(zip(self.header, cells, strict=False))
        counts = {hook: named.get(hook, "N/A") for hook in ("ingress", "egress", "xdp")}
        if not self.header or len(cells) != len(self.header):
            return False
        if not all(c in ("N/A", "") or (c.isascii() and c.isdigit() and len(c) < 19) for c in counts.values()):
            return False
        self.category = named.get("category") or self.category
        made: Mapping[str, Any] = {hook: int(c) if c.isdigit() else None for hook, c in counts.items()}
        self.rows.append({"category": self.category, "type": named.get("type") or None, **made, "line": number})
        return True


@parser("bpf-counters", COUNTERS, marks=r"^[ \t]*\| *CATEGORY +\| +TYPE ")
def bpf_counters(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf counters dump``: packets that each interface's eBPF programs let pass and dropped, and why.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-counters", '''| CATEGORY | TYPE      | INGRESS | EGRESS | XDP |
    ... | Dropped  | by policy |       7 |      0 | N/A |
    ... dumped cali1 counters.''').frame.iloc[0]
    >>> row["interface"], row["type"], int(row["ingress"])
    ('cali1', 'by policy', 7)
    """
    counters = _Counters()
    for line in boxes.whole(objects.lines(text)):
        if not counters.line(line):
            text.reject(line, "a table of counters, or its caption")
    return {COUNTERS.name: COUNTERS.frame(counters.rows)}

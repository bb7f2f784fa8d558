"""What ``calico-node -bpf`` (v3.33 on: ``calico component node bpf``) dumps of the eBPF data plane's maps.

Source: felix/cmd/calico-bpf/commands and felix/bpf/{routes,nat,conntrack,ifstate,arp,counters} at v3.34-dev; recordings
healthy-ebpf, healthy-ebpf-vxlan and those of eBPF faults, whose maps of affinities and of Maglev are empty. Text and
JSON (``--json``, since v3.33) of a dump give the same tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pandas as pd

from calicokit.durations import go_duration
from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute.common import number
from calicokit.parsers.iproute.common import objects as json_objects
from calicokit.parsers.kubernetes import boxes, objects
from calicokit.schema import Column, Schema

_SOURCE = "felix/cmd/calico-bpf/commands, felix/bpf (v3.34-dev)"
_LINE = Column("line", "int", "1-based line number in the text")


def _schema(name: str, meaning: str, key: tuple[str, ...], *columns: Column, verified: bool = True) -> Schema:
    return Schema(name, meaning, (*columns, _LINE), key, verified=verified, source=_SOURCE)


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
    verified=False,
)
STATS = _schema(
    "bpf_conntrack_stats",
    "connections that the eBPF programs track, counted",
    ("what",),
    Column("what", "str", "map_size, total_connections, total_entries, nat_connections, tcp, tcp_established, …"),
    Column("value", "int", "size of the map (limit), connections, or entries: one with NAT has two"),
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
_Values = Callable[[dict[str, Any]], Iterator[tuple[Schema, _Row]] | None]


def _rows(
    text: Text, forms: tuple[_Form, ...], values: _Values, expected: str, *schemas: Schema
) -> dict[str, pd.DataFrame]:
    """Tables of a text of which every line has one of the forms, or of the objects of its JSON form."""
    objects.sound(text)
    made: dict[str, list[_Row]] = {s.name: [] for s in schemas}
    for place, found in _read(text, forms, values, expected):
        for schema, row in found:
            made[schema.name].append({**row, "line": place.number})
    return {s.name: s.frame(made[s.name]) for s in schemas}


def _read(
    text: Text, forms: tuple[_Form, ...], values: _Values, expected: str
) -> Iterator[tuple[Line, Iterable[tuple[Schema, _Row]]]]:
    if text.text.strip() == "null":  # how Go writes a list that has nothing
        return
    if (given := json_objects(text)) is not None:
        for value, line in given:
            if (found := _tried(values, value)) is not None:
                yield line, found
            else:
                text.reject(line, f"{expected} in JSON")
        return
    for line in text.answer():
        matches = ((s, row(m)) for pattern, s, row in forms if (m := pattern.fullmatch(line.text.strip())))
        if (first := next(matches, None)) is not None:
            yield line, (first,)
        else:
            text.reject(line, expected)


def _tried(values: _Values, value: dict[str, Any]) -> list[tuple[Schema, _Row]] | None:
    """What an object says; None where it lacks what such an object has, or has something else there."""
    try:
        return [*(values(value) or ())] or None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _text(value: Any) -> str:
    """A text of JSON, with a question mark for half a character; ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(value)
    return objects.well_formed(value)


def _count(value: Any) -> int:
    """A whole number of JSON that a column can hold; ValueError for anything else."""
    if (found := number(value)) is None or isinstance(value, str):
        raise ValueError(value)
    return found


_ROUTE = re.compile(r"([0-9A-Fa-f:.]{2,50}/\d{1,3}): (\S.*)")
_PLACES = ("local", "remote")
_TARGETS = ("host", "workload")


def _route(match: re.Match[str]) -> _Row:
    return _route_of(match[1], match[2].split())


def _route_value(value: dict[str, Any]) -> Iterator[tuple[Schema, _Row]]:
    words = [_text(flag) for flag in value["flags"] or () if flag != "vxlan"]  # which the text does not print
    words += ["idx", str(_count(value["ifindex"]))] if "ifindex" in value else []
    words += ["nh", _text(value["next_hop"])] if "next_hop" in value else []
    yield ROUTES, _route_of(_text(value["dest"]), words)


def _route_of(destination: str, words: list[str]) -> _Row:
    after = dict(pairwise(words))
    known = {*_PLACES, *_TARGETS, "idx", "nh", after.get("idx"), after.get("nh")}
    index = after.get("idx", "")
    return {
        "destination": destination,
        "where": next((w for w in words if w in _PLACES), None),
        "what": next((w for w in words if w in _TARGETS), None),
        "flags": [w for w in words if w not in known],
        "ifindex": int(index) if index.isdecimal() and len(index) < 11 else None,
        "next_hop": after.get("nh"),
    }


@parser("bpf-routes", ROUTES, marks=r'^ *[0-9A-Fa-f:.]+/\d+: (local|remote|blackhole)\b|"dest": ?"[^"]+/\d+"')
def bpf_routes(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf routes dump``: the routes of the eBPF data plane.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-routes", "  10.48.9.64/26: remote workload in-pool nat-out nh 172.30.0.12").frame.iloc[0]
    >>> row["where"], row["flags"], row["next_hop"]
    ('remote', ['in-pool', 'nat-out'], '172.30.0.12')
    """
    return _rows(text, ((_ROUTE, ROUTES, _route),), _route_value, "CIDR: local|remote host|workload …", ROUTES)


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


def _nat_values(value: dict[str, Any]) -> Iterator[tuple[Schema, _Row]]:
    """A service with its backends, one with several frontends, a slot of Maglev's table, or a client's affinity."""
    if "client_ip" in value:
        yield AFFINITY, _affine_value(value)
    elif "svc_id" in value:
        yield BACKENDS, _backend_value(_count(value["svc_id"]), _count(value["ordinal"]), value)
    else:
        fronts = value["frontends"] if "frontends" in value else [value["frontend"]]
        for front in fronts:
            yield NAT, _frontend_value(front)
        for ordinal, backend in enumerate(value["backends"] or ()):
            yield BACKENDS, _backend_value(_count(fronts[0]["id"]), ordinal, backend)


def _frontend_value(value: dict[str, Any]) -> _Row:
    protocol = str(_count(value["proto"]))
    return {
        "address": _text(value["addr"]),
        "port": _count(value["port"]),
        "protocol": _NUMBERS.get(protocol, protocol),
        "id": _count(value["id"]),
        "backends": _count(value["count"]),
        "local_backends": _count(value["local"]),
        "flags": _text(value.get("flags", "")).replace(",", " ").split(),
        "source": _text(value["src_cidr"]) if "src_cidr" in value else None,
    }


def _backend_value(service: int, ordinal: int, value: dict[str, Any]) -> _Row:
    return {"id": service, "ordinal": ordinal, "address": _text(value["addr"]), "port": _count(value["port"])}


def _affine_value(value: dict[str, Any]) -> _Row:
    protocol = str(_count(value["proto"]))
    return {
        "client": _text(value["client_ip"]),
        "protocol": _NUMBERS.get(protocol, protocol),
        "address": _text(value["addr"]),
        "port": _count(value["port"]),
        "backend": _text(value["backend"]["addr"]),
        "backend_port": _count(value["backend"]["port"]),
        "age": go_duration(_text(value["timestamp"])),
    }


@parser(
    "bpf-nat",
    NAT,
    BACKENDS,
    AFFINITY,
    marks=r"^\S+ port \d+ proto \d+ id \d+ count -?\d+ local \d+|^client \S+ svc proto |^svc \d+ ordinal \d+ -> "
    r'|"frontends?": ?[\[{]|"client_ip": ?"|"svc_id": ?\d',
)
def bpf_nat(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf nat dump`` (also ``nat aff`` and ``nat maglev``): services, and their backends.

    Source: see the module.

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
    expected = "a service, a backend, or a client's affinity"
    return _rows(text, forms, _nat_values, expected, NAT, BACKENDS, AFFINITY)


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


def _tracked_value(value: dict[str, Any]) -> Iterator[tuple[Schema, _Row]]:
    """A connection, or an entry of a raw dump, as it is."""
    raw = "addr_a" in value
    state = value.get("tcp_state")
    row: _Row = {"age": go_duration(_text(value["active_ago"])), "state": _text(state).lower() if state else None}
    if raw:
        row |= {"source": _text(value["addr_a"]), "sport": _count(value["port_a"])}
        row |= {"destination": _text(value["addr_b"]), "dport": _count(value["port_b"])}
        row["entry"] = json.dumps({k: v for k, v in value.items() if k not in ("active_ago", "tcp_state")})
    else:
        row["source"], row["sport"] = _end(value["src"])
        row["destination"], row["dport"] = _end(value.get("orig_dst") or value["dst"])
        row["backend"], row["backend_port"] = _end(value["dst"]) if value.get("orig_dst") else (None, None)
        row["tunnel_ip"] = _text(value["tunnel_ip"]) if value.get("tunnel_ip") else None
        row["original_sport"] = _count(value["orig_src_port"]) if value.get("orig_src_port") else None
    yield CONNTRACK, row | {"protocol": _text(value["proto"]).lower()}


def _end(value: Any) -> tuple[str, int]:
    """Address and port of one end; ValueError where it is none."""
    address, _, port = _text(value).rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) < 6):
        raise ValueError(value)
    return address.removeprefix("[").removesuffix("]"), int(port)


_STATISTIC = re.compile(r"([A-Z][A-Za-z -]{1,40}?) ?: (\d{1,18})")
_STATISTICS = {"conntrack map size": "map_size"}


def _statistic(match: re.Match[str]) -> _Row:
    said = match[1].lower()
    return {"what": _STATISTICS.get(said, said.replace(" ", "_").replace("-", "_")), "value": int(match[2])}


def _statistic_values(value: dict[str, Any]) -> Iterator[tuple[Schema, _Row]]:
    for what, number_ in value.items():
        yield STATS, {"what": _text(what), "value": _count(number_)}


@parser("bpf-conntrack-stats", STATS, marks=r'^Conntrack map size: \d|"nat_connections": ?\d')
def bpf_conntrack_stats(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf conntrack stats``: how many connections the eBPF data plane tracks, and how many it may.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parse("bpf-conntrack-stats", "Conntrack map size: 512000\\nTCP Syn-sent: 3").frame["what"].tolist()
    ['map_size', 'tcp_syn_sent']
    """
    return _rows(text, ((_STATISTIC, STATS, _statistic),), _statistic_values, "WHAT: NUMBER", STATS)


@parser(
    "bpf-conntrack",
    CONNTRACK,
    marks=r'^([\w-]+ \S+ -> \S+ .*Active ago |ConntrackKey\{proto=)|"active_ago": ?"',
)
def bpf_conntrack(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf conntrack dump`` (also --raw): the connections of the eBPF data plane.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-conntrack", "TCP 10.48.1.2:40258 -> 10.49.0.7:80 -> 10.48.3.4:8080  Active ago 1m2.5s "
    ...     "ESTABLISHED").frame.iloc[0]
    >>> row["destination"], row["backend"], float(row["age"]), row["state"]
    ('10.49.0.7', '10.48.3.4', 62.5, 'established')
    """
    forms: tuple[_Form, ...] = ((_TRACKED, CONNTRACK, _tracked), (_RAW, CONNTRACK, _raw))
    return _rows(text, forms, _tracked_value, "PROTOCOL A:PORT -> B:PORT … Active ago …", CONNTRACK)


_SET = re.compile(r"IP set (0x[0-9a-f]{1,16})")
_WITH_PORT = re.compile(r"(\S{1,60}):(\d{1,5}) \(proto (\d{1,3})\)")
_CIDR = re.compile(r"[0-9A-Fa-f:.]{2,50}/-?\d{1,3}")


def _member(number_: str, body: str) -> _Row | None:
    """A set's member; None where it is none."""
    row: _Row = {"set": number_, "member": body}
    if match := _WITH_PORT.fullmatch(body):
        protocol = _NUMBERS.get(match[3], match[3])
        return row | {"address": match[1], "port": int(match[2]), "protocol": protocol}
    return row | {"address": body} if _CIDR.fullmatch(body) else None


def _set_values(value: dict[str, Any]) -> Iterator[tuple[Schema, _Row]]:
    for member in value["members"]:
        if (row := _member(_text(value["set_id"]), _text(member))) is None:
            raise ValueError(member)
        yield IPSETS, row


@parser("bpf-ipsets", IPSETS, marks=r'^IP set 0x[0-9a-f]+$|"set_id": ?"0x')
def bpf_ipsets(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf ipsets dump``: members of the eBPF data plane's IP sets.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parse("bpf-ipsets", '''IP set 0x1f2e3d
    ...    10.48.1.2/32''').frame[["set", "address"]].values.tolist()
    [['0x1f2e3d', '10.48.1.2/32']]
    """
    if json_objects(Text(text.kind, text.text)) is not None:
        return _rows(text, (), _set_values, "a set with its members", IPSETS)
    rows: list[_Row] = []
    current: str | None = None
    for line in objects.lines(text):
        body = line.text.strip()
        if match := _SET.fullmatch(body):
            current = match[1]
        elif current and (row := _member(current, body)):
            rows.append({**row, "line": line.number})
        elif body != "No IP sets found." and body != "null":
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


_NAMES = {
    "xdp_policy_v4": "XDPPolicyV4",
    "ingress_policy_v4": "IngressPolicyV4",
    "egress_policy_v4": "EgressPolicyV4",
    "xdp_policy_v6": "XDPPolicyV6",
    "ingress_policy_v6": "IngressPolicyV6",
    "egress_policy_v6": "EgressPolicyV6",
    "tc_ingress_filter": "IngressFilter",
    "tc_egress_filter": "EgressFilter",
}
"""JSON's name of a program's index → the text's."""


def _interface_value(value: dict[str, Any]) -> Iterator[tuple[Schema, _Row]]:
    yield (
        IFSTATE,
        {
            "ifindex": _count(value["ifindex"]),
            "interface": _text(value["name"]) or None,
            "flags": [_text(flag) for flag in value["flags"] or ()],
            "programs": {said: _count(value[name]) for name, said in _NAMES.items() if name in value},
        },
    )


@parser("bpf-ifstate", IFSTATE, marks=r'^ *\d+ : \{flags: |"ingress_policy_v4": ?-?\d')
def bpf_ifstate(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf ifstate dump``: the interfaces that the eBPF data plane knows, and their programs.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-ifstate", "   12 : {flags: workload,v4Ready, XDPPolicyV4: -1, IngressPolicyV4: 4, name: cali1}"
    ...     ).frame.iloc[0]
    >>> row["interface"], row["flags"], row["programs"]["IngressPolicyV4"]
    ('cali1', ['workload', 'v4Ready'], 4)
    """
    return _rows(text, ((_INTERFACE, IFSTATE, _interface),), _interface_value, "INDEX : {flags: … name: …}", IFSTATE)


_NEIGHBOUR = re.compile(r"dev\s+(\d{1,10}):\s+(\S{2,60}) : ([0-9A-Fa-f:]{17}) -> ([0-9A-Fa-f:]{17})")


def _neighbour(match: re.Match[str]) -> _Row:
    return {"ifindex": int(match[1]), "address": match[2], "source_mac": match[3], "destination_mac": match[4]}


def _neighbour_value(value: dict[str, Any]) -> Iterator[tuple[Schema, _Row]]:
    macs = {"source_mac": _text(value["src_mac"]), "destination_mac": _text(value["dst_mac"])}
    yield ARP, {"ifindex": _count(value["ifindex"]), "address": _text(value["ip"]), **macs}


@parser("bpf-arp", ARP, marks=r'^dev +\d+: +\S+ : \S+ -> |"src_mac": ?"')
def bpf_arp(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf arp dump``: the neighbours' link-layer addresses that the eBPF data plane knows.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parse("bpf-arp", "dev    2:     172.30.0.12 : 02:00:00:00:00:01 -> 02:00:00:00:00:02").frame["address"][0]
    '172.30.0.12'
    """
    return _rows(text, ((_NEIGHBOUR, ARP, _neighbour),), _neighbour_value, "dev INDEX: ADDRESS : MAC -> MAC", ARP)


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


def _counter_values(value: dict[str, Any]) -> Iterator[tuple[Schema, _Row]]:
    for counter in value["counters"]:
        hooks = {h: None if counter[h] is None else _count(counter[h]) for h in ("ingress", "egress", "xdp")}
        about = {"category": _text(counter["category"]), "type": _text(counter["type"])}
        yield COUNTERS, {"interface": _text(value["interface"]), **about, **hooks}


@parser("bpf-counters", COUNTERS, marks=r'^[ \t]*\| *CATEGORY +\| +TYPE |"counters": ?\[')
def bpf_counters(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf counters dump``: packets that each interface's eBPF programs let pass and dropped, and why.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-counters", '''| CATEGORY | TYPE      | INGRESS | EGRESS | XDP |
    ... | Dropped  | by policy |       7 |      0 | N/A |
    ... dumped cali1 counters.''').frame.iloc[0]
    >>> row["interface"], row["type"], int(row["ingress"])
    ('cali1', 'by policy', 7)
    """
    if json_objects(Text(text.kind, text.text)) is not None:
        return _rows(text, (), _counter_values, "an interface with its counters", COUNTERS)
    counters = _Counters()
    for line in boxes.whole(objects.lines(text)):
        if not counters.line(line):
            text.reject(line, "a table of counters, or its caption")
    return {COUNTERS.name: COUNTERS.frame(counters.rows)}

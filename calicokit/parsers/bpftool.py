"""What bpftool shows: programs attached to interfaces, programs, maps and links; text and JSON, the same tables.

``prog``, ``map`` and ``link`` list what the kernel has, ``net`` what is attached in a network namespace: nodes that
share a kernel (kind) show each other's programs and maps, but their own attachments only.

Sources: recordings healthy-ebpf, healthy-ebpf-vxlan and those of eBPF faults; tools/bpf/bpftool/{net,prog,map,link}.c
of Linux.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute.common import number, objects, string
from calicokit.schema import Column, Schema

SCHEMA = Schema(
    "bpftool_net",
    "BPF programs that are attached to interfaces.",
    (
        Column("section", "str", "xdp, tc, flow_dissector or netfilter"),
        Column("interface", "str", "interface; null for what is attached to none"),
        Column("index", "int", "the interface's index"),
        Column("hook", "str", "tcx/ingress, clsact/egress, netkit/peer, driver, generic, …"),
        Column("program", "str", "program's name, cut to 15 characters by the kernel; null where none is shown"),
        Column("id", "int", "program's id"),
    ),
)
_LINE_NUMBER = Column("line", "int", "1-based line number in the text")
PROGRAMS = Schema(
    "bpftool_prog",
    "BPF programs that the kernel has loaded.",
    (
        Column("id", "int", "program's id"),
        Column("type", "str", "sched_cls, xdp, cgroup_sock_addr, …"),
        Column("name", "str", "program's name; null for one without"),
        Column("tag", "str", "hash of its instructions"),
        Column("loaded_at", "time", "when it was loaded"),
        Column("memory", "int", "memory that it holds", "bytes"),
        Column("maps", "list", "ids of its maps"),
        _LINE_NUMBER,
    ),
    ("id",),
)
MAPS = Schema(
    "bpftool_map",
    "BPF maps that the kernel holds.",
    (
        Column("id", "int", "map's id"),
        Column("type", "str", "hash, lru_hash, lpm_trie, percpu_array, prog_array, …"),
        Column("name", "str", "map's name, cut to 15 characters by the kernel; null for one without"),
        Column("key_size", "int", "size of a key", "bytes"),
        Column("value_size", "int", "size of a value", "bytes"),
        Column("limit", "int", "most entries that it can hold", "entries"),
        Column("memory", "int", "memory that it holds", "bytes"),
        _LINE_NUMBER,
    ),
    ("id",),
)
LINKS = Schema(
    "bpftool_link",
    "BPF links: what holds a program at its hook.",
    (
        Column("id", "int", "link's id"),
        Column("type", "str", "tcx, netkit, xdp, cgroup, …"),
        Column("program", "int", "program's id"),
        Column("interface", "str", "interface; null for a link of none, or of one that is gone or another node's"),
        Column("ifindex", "int", "the interface's index"),
        Column("hook", "str", "tcx_ingress, tcx_egress, …"),
        _LINE_NUMBER,
    ),
    ("id",),
)

# ---- net

_SECTION = re.compile(r"(xdp|tc|flow_dissector|netfilter):")
_LINE = re.compile(
    r"(?P<interface>\S+)\((?P<index>\d+)\) (?P<hook>\S+)(?: (?P<program>[^\s:]+)(?::\[\d+\])?)??"
    r" (?:prog_)?id (?P<id>\d+)(?: .*)?"
)
_OTHER = re.compile(r"(?P<hook>ip6? \S+ prio -?\d+|\S.*?)??(?: ?\bprog)?_?id (?P<id>\d+)(?: .*)?")


@parser("bpftool-net", SCHEMA, marks=r'^(xdp|tc|flow_dissector):\n|^\[\s*\{\s*"xdp": ?\[')
def bpftool_net(source: Text) -> dict[str, pd.DataFrame]:
    """`bpftool net show`: BPF programs attached to interfaces (XDP, tc, tcx, netkit), flow dissectors, netfilter.

    Sections in a fixed order, empty ones too (source: tools/bpf/bpftool/net.c; recordings healthy-ebpf,
    ebpf-workload-program-deleted).
    """
    given = objects(source)
    if given is not None:
        rows = [row for value, line in given for row in _attached(source, value, line)]
        return {"bpftool_net": SCHEMA.frame(rows)}
    section, rows = "", []
    for line in source.lines():
        if match := _SECTION.fullmatch(line.text):
            section = match[1]
        elif section and (match := (_LINE if section in ("xdp", "tc") else _OTHER).fullmatch(line.text)):
            row = {"section": section, **match.groupdict()}
            rows.append(row | {k: number(row.get(k)) for k in ("index", "id")})
        else:
            source.reject(line, "a section, or an interface with its program")
    return {"bpftool_net": SCHEMA.frame(rows)}


def _attached(source: Text, value: dict[str, Any], line: Line) -> Iterator[dict[str, Any]]:
    """The programs of the sections of one object; what has another form is rejected."""
    for section, found in value.items():
        for item in found if isinstance(found, list) else [found]:
            if not isinstance(item, dict):
                source.reject(line, "sections with programs in JSON")
                continue
            name = string(item.get("name"))
            yield {
                "section": section,
                "interface": string(item.get("devname")),
                "index": number(item.get("ifindex")),
                "hook": string(item.get("kind", item.get("mode"))),
                "program": name.partition(":[")[0] if name else None,
                "id": number(item.get("prog_id", item.get("id"))),
            }


# ---- prog, map, link

_HEAD = re.compile(r"(\d{1,10}): (\w{1,40})(?: +(.*))?")
_BYTES = re.compile(r"(\d{1,18})B?")
_ON = re.compile(r"(\S{1,40})\((\d{1,10})\)")
_Row = dict[str, Any]


def _blocks(source: Text, schema: Schema, take: Callable[[_Row, dict[str, Any]], None]) -> dict[str, pd.DataFrame]:
    """A row for each object of JSON, or each line that begins with an id together with the indented ones below it.

    Fields of a line stand two blanks apart, as NAME VALUE; ``take`` puts those of text and JSON alike into the row.
    """
    rows: list[_Row] = []
    given = objects(source)
    for value, line in given or ():
        row: _Row = {"id": number(value.get("id")), "type": string(value.get("type")), "line": line.number}
        if row["id"] is None:
            source.reject(line, "an object with its id in JSON")
            continue
        take(row, value)
        rows.append(row)
    for line in source.lines() if given is None else ():
        if match := _HEAD.fullmatch(line.text):
            rows.append({"id": number(match[1]), "type": match[2], "line": line.number})
            take(rows[-1], _fields(match[3] or ""))
        elif rows and line.text[0] in " \t":
            take(rows[-1], _fields(line.text))
        else:
            source.reject(line, "ID: TYPE …, or an indented line of one")
    return {schema.name: schema.frame([{n: r.get(n) for n in schema.names} for r in rows])}


def _fields(text: str) -> dict[str, Any]:
    parts = (part.strip().partition(" ") for part in re.split(r" {2,}|\t", text))
    return {name: value.strip() for name, _, value in parts if name}


def _size(value: Any) -> int | None:
    match = _BYTES.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) if match else number(value)


def _first(row: _Row, column: str, given: dict[str, Any], *names: str) -> None:
    """Put the first of these values that is there into the row, which may have it already."""
    found = next((given[n] for n in names if given.get(n) is not None), None)
    if found is not None:
        row[column] = found


def _program(row: _Row, given: dict[str, Any]) -> None:
    _first(row, "name", given, "name")
    _first(row, "tag", given, "tag")
    if (size := _size(given.get("bytes_memlock", given.get("memlock")))) is not None:
        row["memory"] = size
    if (loaded := given.get("loaded_at")) is not None:
        row["loaded_at"] = _time(loaded)
    ids = given.get("map_ids")
    if ids is not None:
        row["maps"] = [n for i in (ids.split(",") if isinstance(ids, str) else ids) if (n := number(i)) is not None]
    row.setdefault("maps", [])


def _time(value: Any) -> datetime | None:
    try:
        if isinstance(value, str):
            return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _map(row: _Row, given: dict[str, Any]) -> None:
    _first(row, "name", given, "name")
    sizes: dict[str, tuple[str, ...]] = {"key_size": ("bytes_key", "key"), "value_size": ("bytes_value", "value")}
    sizes |= {"limit": ("max_entries",), "memory": ("bytes_memlock", "memlock")}
    for column, names in sizes.items():
        if (size := next((s for n in names if (s := _size(given.get(n))) is not None), None)) is not None:
            row[column] = size


def _link(row: _Row, given: dict[str, Any]) -> None:
    if (program := _size(given.get("prog_id", given.get("prog")))) is not None:
        row["program"] = program
    _first(row, "hook", given, "attach_type")
    on = given.get("devname", given.get("ifindex"))
    if not isinstance(on, str) or on.startswith("("):  # (detached), or (unknown) of another network namespace
        return
    match = _ON.fullmatch(on)
    row["interface"], row["ifindex"] = (match[1], number(match[2])) if match else (on, number(given.get("ifindex")))


@parser("bpftool-prog", PROGRAMS, marks=r'^\d+: \w+  (?:name \S+  )?tag [0-9a-f]{16}|"bytes_xlated": ?\d')
def bpftool_prog(source: Text) -> dict[str, pd.DataFrame]:
    """`bpftool prog show`: the BPF programs that the kernel has loaded, with their maps.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpftool-prog", '''5445: sched_cls  name calico_tc_allow  tag 19c83a08fd261d5b  gpl
    ... \tloaded_at 2026-11-30T04:13:39+0000  uid 0
    ... \txlated 344B  jited 284B  memlock 4096B  map_ids 12966,15362''').frame.iloc[0]
    >>> row["name"], row["loaded_at"].hour, row["maps"]
    ('calico_tc_allow', 4, [12966, 15362])
    """
    return _blocks(source, PROGRAMS, _program)


@parser("bpftool-map", MAPS, marks=r'^\d+: \w+  (?:name \S+  )?flags 0x|"bytes_key": ?\d')
def bpftool_map(source: Text) -> dict[str, pd.DataFrame]:
    """`bpftool map show`: the BPF maps that the kernel holds, and how much each can hold; not how much it does.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpftool-map", '''15002: lru_hash  name cali_v4_ct4  flags 0x0
    ... \tkey 16B  value 88B  max_entries 512000  memlock 65547584B''').frame.iloc[0]
    >>> row["name"], int(row["limit"])
    ('cali_v4_ct4', 512000)
    """
    return _blocks(source, MAPS, _map)


@parser("bpftool-link", LINKS, marks=r'^\d+: \w+  prog \d+|"attach_type": ?"')
def bpftool_link(source: Text) -> dict[str, pd.DataFrame]:
    """`bpftool link show`: what holds programs at their hooks (tcx, netkit, XDP, cgroups).

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpftool-link", '''511: tcx  prog 20007
    ... \tifindex eth0(2)  attach_type tcx_ingress''').frame.iloc[0]
    >>> int(row["program"]), row["interface"], row["hook"]
    (20007, 'eth0', 'tcx_ingress')
    """
    return _blocks(source, LINKS, _link)

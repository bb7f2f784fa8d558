"""What ``ipset list`` and ``ipset save`` print: sets and their members, the same from both.

Sources: recordings of ipset 7 (hash:ip, hash:net and hash:ip,port); ipset's lib/session.c, lib/print.c and manual for
the other types and for members' options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.schema import Column, Schema

_SOURCE = "recordings; ipset's lib/session.c, lib/print.c and manual"
_MEMBERS = (
    Column("set", "str", "set's name"),
    Column("type", "str", "set's type, such as hash:ip,port; null where the text does not declare the set"),
    Column("member", "str", "member without its options, as printed"),
    Column("address", "str", "address, network or range"),
    Column("protocol", "str", "protocol of the port"),
    Column("port", "str", "port, range of ports or ICMP type"),
    Column("interface", "str", "interface"),
    Column("address_2", "str", "second address or network, in types with two"),
    Column("nomatch", "bool", "nomatch: the member is excluded from the set"),
    Column("comment", "str", "member's comment"),
    Column("timeout", "int", "timeout of the member", "s"),
    Column("packets", "int", "packets that matched, in sets with counters", "packets"),
    Column("bytes", "int", "bytes that matched, in sets with counters", "bytes"),
    Column("line", "int", "1-based line number in the text"),
)
LIST = Schema("ipset_list", "members of IP sets", _MEMBERS, ("set", "member"), source=_SOURCE)
SAVE = Schema("ipset_save", "members of IP sets", _MEMBERS, ("set", "member"), source=_SOURCE)
SETS = Schema(
    "ipset_sets",
    "IP sets; ipset save prints no sizes, references or member counts",
    (
        Column("set", "str", "set's name"),
        Column("type", "str", "set's type, such as hash:net"),
        Column("revision", "int", "revision of the type"),
        Column("family", "str", "inet or inet6; null for types without addresses"),
        Column("hashsize", "int", "buckets of the hash"),
        Column("maxelem", "int", "maximum number of members"),
        Column("size_in_memory", "int", "memory usage", "bytes"),
        Column("references", "int", "rules and sets that use it"),
        Column("entries", "int", "number of members, as ipset counts"),
        Column("options", "str", "creation options, as printed"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("set",),
    source=_SOURCE,
)

_ADDRESS = r"[0-9A-Fa-f:.]{1,50}(?:/\d{1,3})?(?:-[0-9A-Fa-f:.]{1,50})?"
_PARTS = {
    "ip": ("address", _ADDRESS),
    "net": ("address", _ADDRESS),
    "port": ("port", r"(?:[\w-]{1,20}:)?[\w./-]{1,40}"),
    "iface": ("interface", r"\S{1,40}"),
    "mac": ("mac", r"[0-9A-Fa-f:]{17}"),
    "mark": ("mark", r"(?:0x)?[0-9A-Fa-f]{1,8}"),
    "set": ("member_set", r"\S{1,31}"),
}
_FACT = re.compile(
    r"(Name|Type|Revision|Header|Size in memory|References|Number of entries|Members|Default binding|Bindings):\s*(.*)"
)
_COUNTS = {
    "Revision": "revision",
    "Size in memory": "size_in_memory",
    "References": "references",
    "Number of entries": "entries",
}
_COMMAND = re.compile(r"(?:-!\s+)?(create|add|-N|-A)\s+(\S+)\s+(\S+)\s*(.*)")
_SETTING = re.compile(r"\b(family|hashsize|maxelem) (\S+)")
_OPTION = re.compile(
    r'\s+(?:(nomatch)|comment "([^"]*)"|(timeout|packets|bytes) (\d{1,18})'
    r"|(?:skbmark|skbprio|skbqueue|before|after) \S+)(?!\S)"
)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


@cache
def _form(kind: str) -> tuple[re.Pattern[str], tuple[str, ...]] | None:
    """How members of a type look, and the columns of their parts; None for a type that is not known."""
    method, _, names = kind.partition(":")
    parts = [_PARTS.get(name) for name in names.split(",")]
    if method not in ("hash", "bitmap", "list") or None in parts:
        return None
    known = [part for part in parts if part]
    pattern = ",".join(f"({form})" for _, form in known)
    return re.compile(pattern), tuple(name for name, _ in known)


@dataclass
class _Sets:
    """Reads sets and members, by whatever lines tell of them."""

    text: Text
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    declared: list[dict[str, Any]] = field(default_factory=list)
    members: bool = False

    def declare(self, name: str, line: Line) -> None:
        self.sets[name] = made = {"set": name, "line": line.number}
        self.declared.append(made)
        self.members = False

    def settings(self, options: str) -> None:
        made = self.declared[-1]
        made["options"] = options or None
        for name, value in _SETTING.findall(options):
            made[name] = value if name == "family" else _number(value)

    def member(self, name: str, text: str, line: Line) -> bool:
        """Read a member and its options; False if it is none."""
        kind = self.sets.get(name, {}).get("type")
        member, space, _ = text.partition(" ")
        row: dict[str, Any] = {"set": name, "type": kind, "member": member, "nomatch": False, "line": line.number}
        form = _form(kind) if kind else None
        match = form[0].fullmatch(member) if form else None
        if form and not match:
            return False
        if form and match:
            _parts(row, form[1], match.groups())
        self.rows.append(row)
        at = len(member)
        while space and (option := _OPTION.match(text, at)):
            at = option.end()
            row["nomatch"] = row["nomatch"] or bool(option[1])
            row |= {"comment": option[2]} if option[2] is not None else {}
            row |= {option[3]: int(option[4])} if option[3] else {}
        if at < len(text.rstrip()):
            self.rows.pop()
        return at >= len(text.rstrip())

    def listed(self, line: Line) -> bool:
        """Read a line of ipset list; False if it is none."""
        match = _FACT.fullmatch(line.text)
        if match and match[1] == "Name" and match[2]:
            self.declare(match[2], line)
            return True
        if not self.declared:
            return False
        made = self.declared[-1]
        if self.members or not match:
            return self.members and self.member(made["set"], line.text.strip(), line)
        return self.fact(made, match[1], match[2])

    def fact(self, made: dict[str, Any], name: str, value: str) -> bool:
        if name == "Type":
            made["type"] = value
        elif name == "Header":
            self.settings(value)
        elif name in _COUNTS:
            made[_COUNTS[name]] = _number(value)
            return made[_COUNTS[name]] is not None
        self.members = name == "Members"
        return True

    def saved(self, line: Line) -> bool:
        """Read a line of ipset save; False if it is none."""
        match = _COMMAND.fullmatch(line.text.strip())
        if not match:
            return line.text.strip() == "COMMIT"
        command, name, what, rest = match.groups()
        if command in ("add", "-A"):
            return self.member(name, f"{what} {rest}" if rest else what, line)
        self.declare(name, line)
        self.declared[-1]["type"] = what
        self.settings(rest)
        return True

    def frames(self, schema: Schema) -> dict[str, pd.DataFrame]:
        members = {c.name: [row.get(c.name) for row in self.rows] for c in schema.columns}
        return {schema.name: schema.frame(members), SETS.name: SETS.frame(self.declared)}


def _parts(row: dict[str, Any], names: tuple[str, ...], values: tuple[str, ...]) -> None:
    for name, value in zip(names, values, strict=True):
        if name == "port" and ":" in value:
            row["protocol"], _, row["port"] = value.partition(":")
        elif name == "address" and "address" in row:
            row["address_2"] = value
        else:
            row[name] = value


@parser("ipset-list", LIST, SETS, marks=r"^Name: \S+\n(?s:.{0,80})^Type: (hash|bitmap|list):")
def ipset_list(text: Text) -> dict[str, pd.DataFrame]:
    """``ipset list``: sets and their members; with ``-terse``, sets only.

    Source: recordings; ipset's lib/session.c. Only hash:ip, hash:net and hash:ip,port are in recordings.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("ipset-list", '''Name: cali40n:67ZzTrri_w2J9BmvnTLe74i
    ... Type: hash:ip,port
    ... Revision: 7
    ... Header: family inet hashsize 1024 maxelem 1048576
    ... Members:
    ... 10.48.217.68,tcp:53''').frame.iloc[0]
    >>> row["address"], row["protocol"], row["port"]
    ('10.48.217.68', 'tcp', '53')
    """
    sets = _Sets(text)
    for line in text.lines():
        if not sets.listed(line):
            text.reject(line, "a line of ipset list, or a member of the set's type")
    return sets.frames(LIST)


@parser("ipset-save", SAVE, SETS, marks=r"^create \S+ (hash|bitmap|list):")
def ipset_save(text: Text) -> dict[str, pd.DataFrame]:
    """``ipset save``: the commands that would make the same sets again.

    Source: recordings; ipset's lib/session.c. Only hash:ip, hash:net and hash:ip,port are in recordings.

    >>> from calicokit.parsers.base import parse
    >>> parse("ipset-save", '''create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
    ... add cali40masq-ipam-pools 10.48.0.0/16''').frame["address"].to_list()
    ['10.48.0.0/16']
    """
    sets = _Sets(text)
    for line in text.lines():
        if not sets.saved(line):
            text.reject(line, "create SET TYPE … or add SET MEMBER …")
    return sets.frames(SAVE)

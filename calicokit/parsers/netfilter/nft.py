"""What ``nft list ruleset`` prints, as text and as JSON (``nft -j``): the same tables from both.

Sources: recordings of nft 1.0.6; nftables' src/rule.c, src/json.c and src/statement.c for what they do not show.

The two forms do not say the same everywhere. Only JSON has handles (text has them with ``-a``) and the target of an
iptables rule that nft could not translate (the verdict is null in text); only text has the expression in nft's words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.schema import Column, Schema

_SOURCE = "recordings; nftables' src/rule.c and src/json.c"
_TABLE = (Column("family", "str", "ip, ip6, inet, arp, bridge or netdev"), Column("table", "str", "table"))
_LINE = Column("line", "int", "1-based line number in the text; null in JSON")

RULES = Schema(
    "nft_ruleset",
    "rules",
    (
        *_TABLE,
        Column("chain", "str", "chain"),
        Column("rule", "int", "1-based rank within its chain"),
        Column("handle", "int", "nft handle; null in text without -a"),
        Column("packets", "int", "packets counted; null without a counter", "packets"),
        Column("bytes", "int", "bytes counted; null without a counter", "bytes"),
        Column("verdict", "str", "accept, drop, return, continue, jump, goto, vmap, reject, masquerade, dnat, …"),
        Column("target_chain", "str", "target chain of jump and goto"),
        Column("verdict_map", "str", "named map of a vmap, whose elements name the target chains"),
        Column("comment", "str", "comment"),
        Column("expression", "str", "rule as printed by nft or, from JSON, as compact JSON"),
        _LINE,
    ),
    ("family", "table", "chain", "rule"),
    source=_SOURCE,
)
CHAINS = Schema(
    "nft_chains",
    "chains",
    (
        *_TABLE,
        Column("chain", "str", "chain"),
        Column("type", "str", "filter, nat or route; null for a chain without a hook"),
        Column("hook", "str", "hook"),
        Column("priority", "int", "order among the chains of a hook, lowest first"),
        Column("policy", "str", "default policy of the chain"),
        Column("handle", "int", "nft handle; null in text without -a"),
        _LINE,
    ),
    ("family", "table", "chain"),
    source=_SOURCE,
)
SETS = Schema(
    "nft_sets",
    "named sets and maps",
    (
        *_TABLE,
        Column("set", "str", "set or map"),
        Column("kind", "str", "set or map"),
        Column("type", "str", "type of its elements; of a map, KEY : VALUE"),
        Column("flags", "str", "flags, in alphabetical order"),
        Column("elements", "int", "number of elements printed"),
        Column("handle", "int", "nft handle; null in text without -a"),
        _LINE,
    ),
    ("family", "table", "set"),
    source=_SOURCE,
)
ELEMENTS = Schema(
    "nft_elements",
    "elements of named sets and maps",
    (
        *_TABLE,
        Column("set", "str", "set or map"),
        Column("element", "str", "address, prefix, range, name, or parts joined by ' . '"),
        Column("value", "str", "value of a map element, such as 'goto CHAIN'"),
        _LINE,
    ),
    ("family", "table", "set", "element"),
    source=_SOURCE,
)

_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_BRIDGE = {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300}
_XT = {
    "MASQUERADE": "masquerade",
    "DNAT": "dnat",
    "SNAT": "snat",
    "REDIRECT": "redirect",
    "REJECT": "reject",
    "NFQUEUE": "queue",
    "TPROXY": "tproxy",
    "ACCEPT": "accept",
    "DROP": "drop",
}
_ENDS = frozenset(("accept", "drop", "return", "continue", "queue", "masquerade", "tproxy", "synproxy"))
_LEADS = frozenset(("jump", "goto"))
# Verdicts that are also values: "ct status dnat", "icmp type redirect".
_VALUES = frozenset(("dnat", "snat", "redirect", "reject"))
_BEFORE_VALUES = frozenset(("status", "type", "code", "!=", "==", "&"))


@dataclass
class _Ruleset:
    """The tables, and how rules are counted."""

    rules: list[dict[str, Any]] = field(default_factory=list)
    chains: list[dict[str, Any]] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    elements: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def add_rule(self, row: dict[str, Any]) -> None:
        key = (row["family"], row["table"], row["chain"])
        self.counts[key] = row["rule"] = self.counts.get(key, 0) + 1
        self.rules.append(row)

    def frames(self) -> dict[str, pd.DataFrame]:
        made = ((RULES, self.rules), (CHAINS, self.chains), (SETS, self.sets), (ELEMENTS, self.elements))
        return {schema.name: schema.frame(rows) for schema, rows in made}


_OPEN = re.compile(
    r"(table|chain|set|map|[a-z]+(?: helper| timeout| expectation)?) ((?:\S+ )?\S+) \{(?:\s*# handle (\d+))?"
)
_HANDLE = re.compile(r"\s*# handle (\d{1,18})$")
_COMMENT = re.compile(r' ?comment "([^"]*)"$')
_COUNTER = re.compile(r"\bcounter packets (\d{1,18}) bytes (\d{1,18})")
_HOOK = re.compile(
    r"type (\S+) hook (\S+)(?: devices? (?:= )?(?:\{[^}]*\}|\S+))? priority ([^;]{1,40});(?: policy (\w+);?)?(?: .*)?"
)
_TOKEN = re.compile(r'"[^"]*"|[{}]|[^\s{}"]+|"')
_ELEMENT = re.compile(r'(?:"[^"]*"|[^",{}])+')
_TAIL = re.compile(r" (?:timeout|expires|counter|comment|limit|quota|last|ct count) ")
_DEPTH = {"{": 1, "}": -1}
_NOTE = re.compile(r' comment "[^"]*"')
_WARNING = re.compile(
    r"# Warning: table .* is managed by iptables-nft, do not touch!|XT (?:target|match) \S+ not found"
)


def _tokens(expression: str) -> list[str] | None:
    """Words outside of braces; None if quotes or braces do not match."""
    depth, outside = 0, []
    for token in _TOKEN.findall(expression):
        if token == '"':  # noqa: S105
            return None
        depth += _DEPTH.get(token, 0)
        if depth < 0:
            return None
        if not depth and token not in _DEPTH:
            outside.append(token)
    return None if depth else outside


def _verdict(words: list[str]) -> dict[str, Any]:
    """What a rule does with a packet, by the last of its words that says so."""
    for i in range(len(words) - 1, -1, -1):
        word, before, after = words[i], words[i - 1] if i else "", words[i + 1] if i + 1 < len(words) else ""
        if before in _LEADS:
            return {"verdict": before, "target_chain": word}
        if word in _ENDS or (word in _VALUES and before not in _BEFORE_VALUES):
            return {"verdict": word}
        if word == "vmap":
            return {"verdict": "vmap", "verdict_map": after[1:] if after[:1] == "@" else None}
        name = word.strip('"') if before == "target" else word.removeprefix("xt_") if before == "#" else ""
        if name in _XT:
            return {"verdict": _XT[name]}
    return {}


def _priority(text: str, family: str) -> int | None:
    """A priority's number: ``srcnat + 10`` is 110."""
    name, *rest = text.split()
    named = {**_PRIORITIES, **(_BRIDGE if family == "bridge" else {})}
    try:
        base = named[name] if name in named else int(name)
        number = base + int("".join(rest) or "0")
    except ValueError:
        return None
    return number if abs(number) < 2**31 else None


class _Reader:
    """Reads the text form: one method for lines of each kind of block."""

    def __init__(self, text: Text) -> None:
        self.text, self.made = text, _Ruleset()
        self.table: dict[str, Any] = {}
        self.block: dict[str, Any] = {}  # the chain, set or map that is open
        self.kind = ""  # what is open: "" (nothing), "table", "chain", "set", "map" or another object
        self.listing = False  # inside of elements = { … }

    def line(self, line: Line) -> bool:
        """Read a line; False if it is none of nft's."""
        stripped = line.text.strip()
        if self.listing:
            return self.listed(stripped, line)
        if stripped == "}":
            return self.close()
        if self.kind in ("", "table") and (opened := _OPEN.fullmatch(stripped)):
            return self.open(opened, line)
        inside = {"chain": self.chain, "set": self.set, "map": self.set}.get(self.kind)
        if inside:
            return inside(stripped, line)
        return bool(self.kind)  # a table's flags and comment, and objects that no table of ours shows

    def close(self) -> bool:
        was, self.kind = self.kind, "table" if self.kind not in ("", "table") else ""
        return bool(was)

    def open(self, match: re.Match[str], line: Line) -> bool:
        kind, name, handle = match.groups()
        if (kind == "table") != (self.kind == ""):
            return False
        self.kind = kind
        if kind == "table":
            family, _, table = name.rpartition(" ")
            self.table = {"family": family or "ip", "table": table}
            return True
        self.block = {**self.table, "handle": handle and int(handle[:18]), "line": line.number}
        if kind == "chain":
            self.block["chain"] = name
            self.made.chains.append(self.block)
        elif kind in ("set", "map"):
            self.block |= {"set": name, "kind": kind, "elements": 0}
            self.made.sets.append(self.block)
        return True

    def chain(self, text: str, line: Line) -> bool:
        if hook := _HOOK.fullmatch(text):
            self.block |= {"type": hook[1], "hook": hook[2], "policy": hook[4]}
            self.block["priority"] = _priority(hook[3], self.table["family"])
            return True
        if text.startswith(("comment ", "policy ", "flags ")):
            return True
        handle = _HANDLE.search(text)
        expression = text[: handle.start()] if handle else text
        comment = _COMMENT.search(expression)
        words = _tokens(expression[: comment.start()] if comment else expression)
        if words is None:
            return False
        counter = _COUNTER.search(expression)
        row = {**self.table, "chain": self.block["chain"], "expression": expression, "line": line.number}
        row |= {"handle": int(handle[1])} if handle else {}
        row |= {"packets": int(counter[1]), "bytes": int(counter[2])} if counter else {}
        row |= {"comment": comment[1]} if comment else {}
        self.made.add_rule(row | _verdict(words))
        return True

    def set(self, text: str, line: Line) -> bool:
        name, _, value = text.partition(" ")
        if name in ("type", "typeof"):
            self.block["type"] = value
        elif name == "flags":
            self.block["flags"] = ",".join(sorted(flag.strip() for flag in value.split(",")))
        elif text.startswith("elements = {"):
            self.listing = True
            return self.listed(text[len("elements = {") :].strip(), line)
        return True

    def listed(self, text: str, line: Line) -> bool:
        """Read a line of elements; nft breaks lines after commas only."""
        if text.endswith("}") and text.count('"') % 2 == 0:
            self.listing, text = False, text[:-1]
        for element in _ELEMENT.findall(text):
            if stripped := element.strip():
                self.made.elements.append(
                    {**self.table, "set": self.block["set"], **_element(stripped), "line": line.number}
                )
                self.block["elements"] += 1
        return text.count('"') % 2 == 0 and "{" not in text and "}" not in text


def _element(text: str) -> dict[str, Any]:
    text = _NOTE.sub("", text)
    key, _, value = text.partition(" : ")
    tail = _TAIL.search(key)
    return {"element": (key[: tail.start()] if tail else key).replace('"', "").strip(), "value": value.strip() or None}


def _text(value: Any) -> str | None:
    """A text without the half characters that JSON can have in escapes; None for anything else."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _compact(value: Any) -> str:
    return _text(value) or json.dumps(value, separators=(",", ":"))


def _objects(text: str, at: int) -> Iterator[tuple[Any, int]]:
    """The objects of the array that starts at a place, each with its end; those before a break are given first.

    Raises ``ValueError`` where the array breaks off.
    """
    decoder = json.JSONDecoder()
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if text[at : at + 1] == "]":
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        yield value, at


class _Json:
    """Reads the JSON form: one method for each kind of object."""

    def __init__(self) -> None:
        self.made = _Ruleset()
        self.places: dict[tuple[Any, ...], dict[str, Any]] = {}

    def read(self, wrapped: Any) -> bool:
        """Read an object; False if it is none of nft's, or too deep to be."""
        try:
            return self.add(wrapped)
        except RecursionError:
            return False

    def add(self, wrapped: Any) -> bool:
        """Read an object; False if it is none of nft's."""
        if not isinstance(wrapped, dict) or len(wrapped) != 1:
            return False
        kind, item = next(iter(wrapped.items()))
        take = {"rule": self.rule, "chain": self.chain, "set": self.set, "map": self.set, "element": self.more}.get(
            kind
        )
        if not isinstance(item, dict):
            return False
        if take is None:
            return True
        row = {
            "family": _text(item.get("family")),
            "table": _text(item.get("table")),
            "handle": _int(item.get("handle")),
        }
        return None not in (row["family"], row["table"]) and take(kind, item, row)

    def rule(self, _: str, item: dict[str, Any], row: dict[str, Any]) -> bool:
        statements = item.get("expr", [])
        if not isinstance(statements, list) or not isinstance(item.get("chain"), str):
            return False
        row |= {"chain": item["chain"], "comment": _text(item.get("comment")), "expression": _compact(statements)}
        for statement in statements:
            if isinstance(statement, dict):
                for name, value in statement.items():
                    row |= _statement(name, value, "packets" in row)
        self.made.add_rule(row)
        return True

    def chain(self, _: str, item: dict[str, Any], row: dict[str, Any]) -> bool:
        row |= {"chain": _text(item.get("name")), "priority": _int(item.get("prio"))}
        row |= {name: _text(item.get(name)) for name in ("type", "hook", "policy")}
        self.made.chains.append(row)
        return row["chain"] is not None

    def set(self, kind: str, item: dict[str, Any], row: dict[str, Any]) -> bool:
        key, value, flags = _type(item.get("type")), _type(item.get("map")), item.get("flags", [])
        flags = [flags] if isinstance(flags, str) else flags
        row |= {"set": _text(item.get("name")), "kind": kind, "elements": 0}
        row |= {"type": f"{key} : {value}" if value else key}
        if not isinstance(flags, list) or row["set"] is None:
            return False
        row["flags"] = ",".join(sorted(map(_compact, flags))) or None
        self.made.sets.append(row)
        self.places[row["family"], row["table"], row["set"]] = row
        return self.fill(row, item.get("elem", []))

    def more(self, _: str, item: dict[str, Any], row: dict[str, Any]) -> bool:
        """Elements apart from their set, as nft's own tests print them."""
        known = self.places.get((row["family"], row["table"], _text(item.get("name"))))
        return known is not None and self.fill(known, item.get("elem", []))

    def fill(self, row: dict[str, Any], elements: Any) -> bool:
        if not isinstance(elements, list):
            return False
        at = {name: row[name] for name in ("family", "table", "set")}
        for element in elements:
            pair = isinstance(element, list) and len(element) == 2
            key, value = element if pair else (element, None)
            self.made.elements.append({**at, "element": _key(key), "value": _led(value) if pair else None})
        row["elements"] += len(elements)
        return True


def _type(value: Any) -> str | None:
    return " . ".join(map(_compact, value)) if isinstance(value, list) else None if value is None else _compact(value)


def _key(value: Any) -> str:
    """An element as the text form prints it."""
    if isinstance(value, dict) and len(value) == 1:
        (name, inner) = next(iter(value.items()))
        if name == "elem" and isinstance(inner, dict) and not isinstance(inner.get("val"), type(None)):
            return (
                _key(inner["val"])
                if not isinstance(inner["val"], dict) or "elem" not in inner["val"]
                else _compact(inner)
            )
        if name == "prefix" and isinstance(inner, dict):
            return f"{_compact(inner.get('addr'))}/{_compact(inner.get('len'))}"
        if name in ("range", "concat") and isinstance(inner, list):
            return ("-" if name == "range" else " . ").join(_plain(part) for part in inner)
    return _compact(value)


def _plain(value: Any) -> str:
    """A part of an element: itself a prefix or a range, or a plain value."""
    nested = isinstance(value, dict) and ("prefix" in value or "range" in value)
    return _key(value) if nested and len(_compact(value)) < 200 else _compact(value)


def _led(value: Any) -> str:
    """What a map's element leads to, as the text form prints it."""
    if isinstance(value, dict) and len(value) == 1:
        name, inner = next(iter(value.items()))
        target = inner.get("target") if isinstance(inner, dict) else None
        return f"{name} {target}" if isinstance(target, str) else name if inner is None else _key(value)
    return _key(value)


def _statement(name: str, value: Any, counted: bool) -> dict[str, Any]:
    """What a statement says of its rule."""
    inner = value if isinstance(value, dict) else {}
    if name == "counter" and not counted and inner:
        return {"packets": _int(inner.get("packets")), "bytes": _int(inner.get("bytes"))}
    if name in _LEADS:
        return {"verdict": name, "target_chain": _text(inner.get("target"))}
    if name in _ENDS or name in _VALUES:
        return {"verdict": name}
    if name == "vmap":
        data = _text(inner.get("data")) or ""
        return {"verdict": "vmap", "verdict_map": data[1:] if data[:1] == "@" else None}
    if name == "xt" and inner.get("type") == "target" and (known := _XT.get(_text(inner.get("name")) or "")):
        return {"verdict": known}
    return {}


_START = re.compile(r'^[ \t]*\{\s*"nftables"\s*:\s*\[', re.MULTILINE)
_FINISH = re.compile(r"\s*\]?\s*\}?[ \t\r]*")


def _from_json(text: Text, start: re.Match[str]) -> _Ruleset:
    reader, whole, end = _Json(), start.string, start.end()
    _around(text, whole[: start.start()], 1)
    counted, number = end, whole.count("\n", 0, end) + 1
    try:
        for value, after in _objects(whole, end):
            number, counted = number + whole.count("\n", counted, end), end
            if not reader.read(value):
                text.reject(Line(number, whole[end:after].strip(", \r\n\t")[:2000]), "an object of nft -j list ruleset")
            end = after
    except ValueError:
        number += whole.count("\n", counted, end)
        rest = whole[end:].lstrip(", ")
        text.reject(Line(number, rest.split("\n")[0][:2000]), "an object of nft -j list ruleset")
        return reader.made
    end = whole.index("]", end) + 1
    end = _close.end() if (_close := _FINISH.match(whole, end)) else end
    _around(text, whole[end:], whole.count("\n", 0, end) + 1)
    return reader.made


def _around(text: Text, part: str, first: int) -> None:
    """Refuse what stands before or after JSON."""
    for line in Text(text.kind, part).lines():
        if not _WARNING.fullmatch(line.text):
            text.reject(Line(line.number + first - 1, line.text), "nft -j list ruleset")


@parser(
    "nft-ruleset",
    RULES,
    CHAINS,
    SETS,
    ELEMENTS,
    marks=r'^table (ip|ip6|inet|arp|bridge|netdev) \S+ \{|^[ \t]*\{"nftables":',
)
def nft_ruleset(text: Text) -> dict[str, pd.DataFrame]:
    """``nft list ruleset``, also with ``-a``, ``-j`` or ``-s``, and ``nft list table``.

    Rules of iptables-nft stand there too, partly untranslated (``xt match "set"``). Objects other than chains, rules,
    sets and maps (flowtables, named counters, helpers, …) are understood and left out.

    Source: recordings; nftables' src/rule.c and src/json.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("nft-ruleset", '''table ip calico {
    ... 	chain filter-cali-FORWARD {
    ... 		ip saddr @cali40s-x counter packets 3 bytes 180 jump filter-cali-pi-x comment "cali:abc; text"
    ... 	}
    ... }''').frame.iloc[0]
    >>> row["verdict"], row["target_chain"], int(row["packets"]), row["comment"]
    ('jump', 'filter-cali-pi-x', 3, 'cali:abc; text')
    """
    if start := _START.search(text.text):
        return _from_json(text, start).frames()
    reader = _Reader(text)
    for line in text.answer():
        if not _WARNING.fullmatch(line.text) and not reader.line(line):
            text.reject(line, "a line of nft list ruleset")
    return reader.made.frames()

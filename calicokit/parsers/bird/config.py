"""BIRD's configuration as confd writes it: bird.cfg, bird_ipam.cfg and bird_aggr.cfg (and bird6…).

Sources: recordings of v3.28 and v3.34-dev; Calico's confd templates and confd/pkg/backends/calico/bgp_processor.go;
BIRD's grammar (conf/confbase.Y, nest/config.Y, filter/config.Y, proto/bgp/config.Y). A tokenizer makes words, blocks
and comments of the text; statements are then read by their words. No password's text ever leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.bird.protocols import peer_of
from calicokit.parsers.pasted import may_be_noise
from calicokit.schema import Column, Schema

_SOURCE = "recordings; confd's templates and bgp_processor.go; BIRD's proto/bgp/config.Y, filter/config.Y"
_OPTIONS = (
    Column("proto", "str", "bgp, kernel, device, direct, static, pipe, …"),
    Column("template", "str", "template it is derived from"),
    Column("description", "str", "description"),
    Column("disabled", "bool", "whether it is disabled"),
    Column("neighbor_address", "str", "the peer's address"),
    Column("neighbor_port", "int", "the peer's port; null for 179"),
    Column("neighbor_as", "int", "the peer's AS"),
    Column("local_as", "int", "local AS"),
    Column("source_address", "str", "local address of the session"),
    Column("password_set", "bool", "a password is set (its text is never kept)"),
    Column("passive", "bool", "passive: waits for the peer to connect"),
    Column("rr_client", "bool", "the peer is a client of this route reflector"),
    Column("rr_cluster_id", "str", "cluster id of this route reflector"),
    Column("next_hop_self", "bool", "next hop self: announces itself as the next hop"),
    Column("next_hop_keep", "bool", "next hop keep: leaves the next hop unchanged"),
    Column("multihop", "bool", "multihop: the peer may be more than one hop away"),
    Column("multihop_ttl", "int", "maximum hops, where set"),
    Column("ttl_security", "bool", "TTL security: packets from further away are dropped"),
    Column("allow_local_as", "int", "times the local AS may appear in a path"),
    Column("graceful_restart", "bool", "whether graceful restart is on"),
    Column("graceful_restart_time", "int", "time the peer keeps our routes", "s"),
    Column("hold_time", "int", "hold time", "s"),
    Column("keepalive_time", "int", "keepalive time", "s"),
    Column("connect_delay_time", "int", "delay before connecting", "s"),
    Column("connect_retry_time", "int", "interval between connection attempts", "s"),
    Column("import_filter", "str", "all, none, name of the filter, (unnamed), or where CONDITION"),
    Column("export_filter", "str", "all, none, name of the filter, (unnamed), or where CONDITION"),
    Column("options", "list", "remaining statements"),
    Column("line", "int", "1-based number of its first line in the text"),
)
CONFIG = Schema(
    "bird_config",
    "protocols, with the options inherited from templates in the same text; a BGP option not given is false",
    (
        Column("protocol", "str", "name, or BIRD's default name (kernel1)"),
        Column("kind", "str", "Mesh, Node, Global or Local_Workload, from Calico's name; null for others"),
        Column("peer", "str", "the peer's address in Calico's name"),
        *_OPTIONS,
    ),
    ("protocol",),
    source=_SOURCE,
)
TEMPLATES = Schema(
    "bird_templates",
    "templates of protocols, without inherited options",
    (Column("name", "str", "its name"), *_OPTIONS),
    ("name",),
    source=_SOURCE,
)
FILTERS = Schema(
    "bird_filters",
    "statements of filters and functions, including inline filters of protocols",
    (
        Column("name", "str", "name of the filter or function; for an inline filter of the protocol or template"),
        Column("kind", "str", "filter, function, import or export"),
        Column("order", "int", "1-based position in the filter"),
        Column("depth", "int", "nesting depth of conditions"),
        Column("condition", "str", "all enclosing conditions, joined by &&; null for none"),
        Column("prefix", "str", "prefix compared with net in the innermost condition (the first of a set)"),
        Column("prefix_operator", "str", "= ~ != or !~"),
        Column("action", "str", "accept, reject, call, set, return, other; null for a comment on a line of its own"),
        Column("statement", "str", "the statement; null for a comment"),
        Column("comment", "str", "comment behind it, or above it"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("name", "kind", "order"),
    source=_SOURCE,
)
ROUTES = Schema(
    "bird_static_routes",
    "static routes of the protocols, including those from templates",
    (
        Column("protocol", "str", "protocol"),
        Column("prefix", "str", "CIDR of the destination"),
        Column("type", "str", "blackhole, unreachable, prohibit, via, …"),
        Column("gateway", "str", "next hop or interface; null for none"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("protocol", "prefix"),
    source=_SOURCE,
)
SETTINGS = Schema(
    "bird_settings",
    "settings of the daemon",
    (
        Column("key", "str", "router id, listen bgp port, log, include, debug protocols, …"),
        Column("value", "str", "value; null for a key without a value"),
        Column("line", "int", "1-based line number in the text"),
    ),
    source=_SOURCE,
)

_TOKEN = re.compile(
    r"(?P<blank>\s+)|(?P<comment>#[^\n]*)|(?P<long>/\*)|(?P<string>\"[^\"\n]*\"|'[^'\n]*')"
    r"|(?P<prefix>(?:\d{1,3}\.){3}\d{1,3}/\d{1,2}(?:[+-](?![\w])|\{[ \t]*\d+[ \t]*,[ \t]*\d+[ \t]*\})?"
    r"|(?=[0-9a-fA-F.]{0,45}:)[0-9a-fA-F:.]{2,45}/\d{1,3}(?:[+-](?![\w])|\{[ \t]*\d+[ \t]*,[ \t]*\d+[ \t]*\})?)"
    r"|(?P<mark>[{};])|(?P<sign>&&|\|\||[!<>]=|!~|[-=~<>!()\[\],+*?|&])|(?P<word>[^\s{};\"'#()\[\],=~<>!&|*?+/-]"
    r"(?:[^\s{};\"'#()\[\],=~<>!&|*?+/]|/(?!\*))*|/)"
)
_DEPTH = 64
_SECRETS = {"password", "secret", "key"}
_QUOTED = re.compile(r"[\"'][^\"']*[\"']?")


@dataclass(slots=True)
class _Word:
    """A word, string or sign; ``start`` and ``end`` tell whether something stood between two of them."""

    text: str
    line: int
    start: int
    end: int


@dataclass(slots=True)
class _Statement:
    """Words up to a semicolon, or before a block; a comment of its own line has no words and no block."""

    words: list[_Word]
    line: int
    block: list[_Statement] | None = None
    comment: str | None = None

    @property
    def heads(self) -> list[str]:
        return [word.text for word in self.words]

    @property
    def text(self) -> str:
        return _joined(self.words)


def _joined(words: list[_Word]) -> str:
    """Words as they were written, with one blank for whatever stood between them."""
    parts = []
    end = words[0].start if words else 0
    for word in words:
        parts.append(word.text if word.start == end else f" {word.text}")
        end = word.end
    return "".join(parts)


@dataclass
class _Reader:
    """Makes statements of the text."""

    text: Text
    lines: list[str]
    top: list[_Statement] = field(default_factory=list)
    words: list[_Word] = field(default_factory=list)
    opened: list[_Statement] = field(default_factory=list)
    rejected: set[int] = field(default_factory=set)
    number: int = 1

    def read(self, source: str) -> None:
        at = 0
        while at < len(source):
            match = _TOKEN.match(source, at)
            if match is None:
                at = self.skip(source, at)
                continue
            end = match.end()
            if match["long"] and (end := source.find("*/", end) + 2) < 2:
                self.reject(self.number, "*/ at the comment's end")
                break
            self.token("comment" if match["long"] else str(match.lastgroup), source[at:end], at)
            self.number += source.count("\n", at, end)
            at = end
        self.finish()

    def skip(self, source: str, at: int) -> int:
        """Reject the line that nothing can be made of from here, and go on behind it."""
        self.words.clear()
        self.reject(self.number, "a word, a string or a sign of BIRD's configuration")
        end = source.find("\n", at)
        return len(source) if end < 0 else end

    def reject(self, number: int, expected: str) -> None:
        if number not in self.rejected:
            self.rejected.add(number)
            self.text.reject(Line(number, _QUOTED.sub('"…"', self.lines[number - 1])), expected)

    @property
    def place(self) -> list[_Statement]:
        return self.opened[-1].block if self.opened and self.opened[-1].block is not None else self.top

    def token(self, kind: str, text: str, at: int) -> None:
        if kind == "comment":
            self.comment(text)
        elif kind == "mark":
            {"{": self.open, "}": self.close, ";": self.end}[text]()
        elif kind != "blank":
            if kind == "string" and self.words and self.words[-1].text in _SECRETS:
                text = '"…"'
            self.words.append(_Word(text, self.number, at, at + len(text)))

    def comment(self, text: str) -> None:
        text = text.strip("#/* \t")
        before = self.words[-1].line if self.words else None
        last = self.place[-1] if self.place else (self.opened[-1] if self.opened else None)
        if before == self.number:
            return  # inside a statement
        if last is not None and last.words and _ends(last) == self.number:
            last.comment = text
        elif text:
            self.place.append(_Statement([], self.number, None, text))

    def open(self) -> None:
        statement = _Statement(self.words, self.words[0].line if self.words else self.number, [])
        if len(self.opened) < _DEPTH:
            self.place.append(statement)
        else:
            self.reject(self.number, f"at most {_DEPTH} blocks in one another")
        self.opened.append(statement)
        self.words = []

    def close(self) -> None:
        self.end()
        if self.opened:
            self.opened.pop()
        else:
            self.reject(self.number, "no } without a {")

    def end(self) -> None:
        if self.words:
            self.place.append(_Statement(self.words, self.words[0].line))
            self.words = []

    def finish(self) -> None:
        """What the end of the text leaves open is cut off."""
        if self.words:
            self.reject(self.words[0].line, "; at the statement's end")
        for statement in self.opened:
            self.reject(statement.line, "} at the block's end")


def _ends(statement: _Statement) -> int:
    """The last line of a statement, as far as a comment behind it goes."""
    return statement.words[-1].line


@dataclass
class _Config:
    """Reads statements into the tables."""

    reader: _Reader
    rows: list[dict[str, Any]] = field(default_factory=list)
    templates: list[dict[str, Any]] = field(default_factory=list)
    filters: list[dict[str, Any]] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    bodies: dict[str, list[_Statement]] = field(default_factory=dict)  # template → its statements, inherited ones first
    count: dict[str, int] = field(default_factory=dict)  # proto → how many have no name

    def top(self, statement: _Statement) -> None:
        heads = statement.heads
        if not heads and statement.block is None:
            return
        if statement.block is None:
            self.setting(statement)
        elif heads[:1] in (["protocol"], ["template"]) and len(heads) > 1:
            self.protocol(statement, heads)
        elif heads[:1] in (["filter"], ["function"]) and len(heads) > 1:
            _Filter(self.filters, _bare(heads[1]), heads[0]).read(statement.block)
        elif heads and heads[0] in _BLOCK_SETTINGS:
            self.settings.append(
                {"key": heads[0], "value": _whole(statement)[len(heads[0]) + 1 :], "line": statement.line}
            )
        else:
            self.reader.reject(statement.line, "protocol, template, filter, function or a setting")

    def setting(self, statement: _Statement) -> None:
        rest = statement.words[2:]
        if statement.heads[:2] == ["listen", "bgp"] and len(rest) % 2 == 0:
            for key, value in zip(rest[::2], rest[1::2], strict=False):
                self.settings.append({"key": f"listen bgp {key.text}", "value": value.text, "line": statement.line})
            return
        name = next((k for k in _KEYS if statement.heads[: len(k)] == k), statement.heads[:1])
        if not re.fullmatch(r"[a-z][\w ]*", " ".join(name)):
            self.reader.reject(statement.line, "a setting of BIRD")
            return
        text = _bare(_joined(statement.words[len(name) :])) or None
        self.settings.append({"key": " ".join(name), "value": text, "line": statement.line})

    def protocol(self, statement: _Statement, heads: list[str]) -> None:
        proto = heads[1]
        template = heads[heads.index("from") + 1] if "from" in heads[2:-1] else None
        name = _bare(heads[2]) if len(heads) > 2 and heads[2] != "from" else None
        if name is None:
            self.count[proto] = self.count.get(proto, 0) + 1
            name = f"{proto}{self.count[proto]}"
        own = statement.block or []
        whole = [*self.bodies.get(_bare(template or ""), []), *own]
        inherited = self.bodies.get(_bare(template or ""), [])
        row: dict[str, Any] = {"proto": proto, "template": template and _bare(template), "line": statement.line}
        for body in own:
            if body.heads[:1] in (["import"], ["export"]) and body.block is not None:
                _Filter(self.filters, name, body.heads[0]).read(body.block)
        if heads[0] == "template":
            self.bodies[name] = whole
            self.templates.append({"name": name, **row, **_options(own)})
            return
        kind, peer = peer_of(name)
        defaults = dict.fromkeys(_BGP_FLAGS, False) if proto == "bgp" else {"password_set": False}
        options = _options([*inherited, *own])
        self.rows.append({"protocol": name, "kind": kind, "peer": peer, **row, **defaults, **options})
        self.routes += [{"protocol": name, **route} for body in whole if (route := _route(body))]


_BLOCK_SETTINGS = {"roa", "eval", "attribute", "ipv4", "ipv6", "mpls", "table", "log", "debug", "include", "timeformat"}
_KEYS = [
    key.split()
    for key in (
        "router id from",
        "router id",
        "graceful restart wait",
        "timeformat protocol",
        "timeformat route",
        "timeformat base",
        "timeformat log",
        "debug protocols",
        "debug latency limit",
        "debug latency",
        "debug commands",
        "watchdog warning",
        "watchdog timeout",
        "mrtdump protocols",
        "ipv4 table",
        "ipv6 table",
    )
]
_BGP_FLAGS = (
    "password_set",
    "passive",
    "rr_client",
    "next_hop_self",
    "next_hop_keep",
    "multihop",
    "ttl_security",
    "graceful_restart",
    "disabled",
)
_SWITCHES = {
    "passive": "passive",
    "disabled": "disabled",
    "rr client": "rr_client",
    "next hop self": "next_hop_self",
    "next hop keep": "next_hop_keep",
    "ttl security": "ttl_security",
    "graceful restart": "graceful_restart",
    "multihop": "multihop",
}
_ON = {"on": True, "yes": True, "off": False, "no": False, "": True}
_NUMBERS = {
    "multihop": "multihop_ttl",
    "allow local as": "allow_local_as",
    "graceful restart time": "graceful_restart_time",
    "hold time": "hold_time",
    "keepalive time": "keepalive_time",
    "connect delay time": "connect_delay_time",
    "connect retry time": "connect_retry_time",
}
_TEXTS = {"description": "description", "rr cluster id": "rr_cluster_id", "source address": "source_address"}
_CHANNELS = {"ipv4", "ipv6"}


def _bare(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def _whole(statement: _Statement) -> str:
    """A statement on one line, with its block (two levels of it are all that options have)."""
    if statement.block is None:
        return statement.text
    inner = "; ".join(s.text + (" { … }" if s.block is not None else "") for s in statement.block if s.words)
    return f"{statement.text} {{ {inner} }}"


def _options(body: Iterable[_Statement]) -> dict[str, Any]:
    """The columns that a protocol's statements fill; later ones win, as in BIRD."""
    row: dict[str, Any] = {"options": []}
    for statement in _flat(body):
        if statement.words and not _option(row, statement):
            row["options"].append(_whole(statement))
    return row


def _flat(body: Iterable[_Statement]) -> Iterator[_Statement]:
    """Statements, with those of BIRD 2's channels among them."""
    for statement in body:
        if statement.heads and statement.heads[0] in _CHANNELS and statement.block is not None:
            yield from statement.block
        else:
            yield statement


def _option(row: dict[str, Any], statement: _Statement) -> bool:
    """Read an option into its column; False if none is its own."""
    heads = statement.heads
    if heads[0] in ("password", "passwords", "keys"):
        row["password_set"] = True
        return True
    if heads[0] in ("import", "export"):
        return _filter_option(row, statement)
    if statement.block is not None:
        return False
    if heads[0] == "neighbor":
        return _ends_of(row, "neighbor", heads[1:])
    if heads[0] == "local":
        return _ends_of(row, "local", heads[1:])
    return _valued(row, statement)


def _valued(row: dict[str, Any], statement: _Statement) -> bool:
    heads = statement.heads
    for size in range(min(len(heads), 3), 0, -1):
        key, value = " ".join(heads[:size]), _bare(_joined(statement.words[size:]))
        if key in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 19:
            row[_NUMBERS[key]] = int(value)
            row.update({"multihop": True} if key == "multihop" else {})
            return True
        if key in _SWITCHES and value in _ON:
            row[_SWITCHES[key]] = _ON[value]
            return True
        if key in _TEXTS and value:
            row[_TEXTS[key]] = value
            return True
    return False


def _ends_of(row: dict[str, Any], side: str, words: list[str]) -> bool:
    """``[ADDRESS] [port N] [as N]`` of the neighbor or of ourselves."""
    found: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if word in ("as", "port") and left and left[0].isascii() and left[0].isdigit() and len(left[0]) < 19:
            found[f"{side}_{word}"] = int(left.pop(0))
        elif re.fullmatch(r"[0-9a-fA-F.:]+(?:%\S+)?", word):
            found["source_address" if side == "local" else "neighbor_address"] = word
        else:
            return False
    if "local_port" in found or not found:
        return False
    row.update(found)
    return True


def _filter_option(row: dict[str, Any], statement: _Statement) -> bool:
    heads = statement.heads
    column = f"{heads[0]}_filter"
    if statement.block is not None and heads[1:] == ["filter"]:
        row[column] = "(unnamed)"
    elif heads[1:2] == ["filter"] and len(heads) == 3:
        row[column] = _bare(heads[2])
    elif heads[1:] in (["all"], ["none"]) or heads[1:2] == ["where"]:
        row[column] = _joined(statement.words[1:])
    else:
        return False
    return True


def _route(statement: _Statement) -> dict[str, Any] | None:
    heads = statement.heads
    if heads[:1] != ["route"] or len(heads) < 3:
        return None
    gateway = _bare(heads[3]) if len(heads) > 3 else None
    return {"prefix": heads[1], "type": heads[2], "gateway": gateway, "line": statement.line}


_NET = re.compile(r"\bnet\s*(!=|!~|=|~)\s*\[?\s*([0-9a-fA-F:.]+/\d{1,3})")
_IN_COMMENT = re.compile(r"\b([0-9a-fA-F:.]{2,45}/\d{1,3})\b")
_CALL = re.compile(r"('[^']*'|\w+)\s*\(.*\)")
_SET = re.compile(r"[\w.]+\s*=.*|[\w.]+\.(?:add|delete|filter|prepend|empty)\b.*", re.DOTALL)


@dataclass
class _Filter:
    """Walks a filter's statements in order, with the conditions they are under."""

    rows: list[dict[str, Any]]
    name: str
    kind: str
    order: int = 0

    def read(self, block: list[_Statement]) -> None:
        todo: list[tuple[_Statement, tuple[str, ...]]] = []
        self.push(todo, block, ())
        while todo:
            statement, under = todo.pop()
            if statement.words or statement.block is None:
                self.statement(statement, under)
            if statement.block:
                self.push(todo, statement.block, under)

    def push(
        self, todo: list[tuple[_Statement, tuple[str, ...]]], block: list[_Statement], under: tuple[str, ...]
    ) -> None:
        """Put a block's statements on the stack, each ``if`` and ``else`` as what it holds under its condition."""
        made: list[tuple[_Statement, tuple[str, ...]]] = []
        before: tuple[str, ...] = ()
        above: str | None = None
        for statement in block:
            if not statement.words and statement.block is None:
                above = statement.comment
                made.append((statement, under))
                continue
            rest, conditions, before = _condition(statement, before)
            rest.comment = statement.comment or above
            if conditions and rest.block:
                _comment_first(rest.block, rest.comment)
            above = None
            made.append((rest, (*under, *conditions)))
        todo.extend(reversed(made))

    def statement(self, statement: _Statement, under: tuple[str, ...]) -> None:
        text = statement.text
        if not text and statement.comment is None:
            return
        self.order += 1
        compared = _NET.search(under[-1]) if under else None
        named = _IN_COMMENT.search(statement.comment or "") if not text else None
        self.rows.append(
            {
                "name": self.name,
                "kind": self.kind,
                "order": self.order,
                "depth": len(under),
                "condition": " && ".join(under) or None,
                "prefix": compared[2] if compared else named and named[1],
                "prefix_operator": compared[1] if compared else None,
                "action": _action(text) if text else None,
                "statement": text or None,
                "comment": statement.comment,
                "line": statement.line,
            }
        )


def _comment_first(block: list[_Statement], comment: str | None) -> None:
    """Give the comment above a condition to the first statement under it."""
    if comment and block[0].words and block[0].comment is None:
        block[0].comment = comment


def _condition(statement: _Statement, before: tuple[str, ...]) -> tuple[_Statement, tuple[str, ...], tuple[str, ...]]:
    """A statement without its ``else`` and ``if``, the conditions these set, and those an ``else`` after it denies."""
    words = statement.words
    conditions: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    if words and words[0].text == "else":
        words, conditions = words[1:], before
        denied = before
    if words and words[0].text == "if":
        end = next((i for i, word in enumerate(words) if word.text == "then"), len(words))
        text = _joined(words[1:end])
        conditions = (*conditions, text)
        denied = (*denied[-_DEPTH:], f"!({text})")
        words = words[end + 1 :]
    elif words is statement.words:
        denied = ()
    return _Statement(words, words[0].line if words else statement.line, statement.block), conditions, denied


def _action(text: str) -> str:
    first = text.split(" ", 1)[0]
    if first in ("accept", "reject", "return"):
        return first
    if _SET.match(text):
        return "set"
    return "call" if _CALL.fullmatch(text) else "other"


def _is_command(line: str) -> bool:
    """A line of the shell's in the middle of the text; ``#`` begins or ends one of the configuration's own."""
    return may_be_noise(line) and line[0] != "#" and line[-1] not in "#$"


@parser(
    "bird-config",
    CONFIG,
    TEMPLATES,
    FILTERS,
    ROUTES,
    SETTINGS,
    marks=r"^[ \t]*(router id|protocol (bgp|kernel|device|direct|static|pipe)|filter \w+|function \w+)\b",
)
def bird_config(text: Text) -> dict[str, pd.DataFrame]:
    """bird.cfg, bird_ipam.cfg and bird_aggr.cfg: protocols, templates, filters, static routes and settings.

    Source: see the module. Blocks of other nodes' pools that confd leaves out stand as comments among the filters
    (``Block 10.0.0.0/26 is pending``). Passwords are told by whether there is one.

    >>> from calicokit.parsers.base import parse
    >>> tables = parse("bird-config", '''protocol bgp Mesh_172_30_0_12 from bgp_template {
    ...   neighbor 172.30.0.12 as 64512;
    ...   export filter { calico_export_to_bgp_peers(true); reject; };
    ... }''').tables
    >>> tables["bird_config"][["neighbor_address", "neighbor_as", "export_filter"]].values.tolist()
    [['172.30.0.12', 64512, '(unnamed)']]
    >>> tables["bird_filters"]["action"].to_list()
    ['call', 'reject']
    """
    lines = [line.rstrip() for line in text.text.split("\n")]
    reader = _Reader(text, lines)
    reader.read("\n".join("" if _is_command(line) else line for line in lines))
    config = _Config(reader)
    for statement in reader.top:
        config.top(statement)
    text.unparsed.sort(key=lambda line: line.number)
    return {
        CONFIG.name: CONFIG.frame(config.rows),
        TEMPLATES.name: TEMPLATES.frame(config.templates),
        FILTERS.name: FILTERS.frame(config.filters),
        ROUTES.name: ROUTES.frame(config.routes),
        SETTINGS.name: SETTINGS.frame(config.settings),
    }

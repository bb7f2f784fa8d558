"""From a rule as nft prints it to what it asks and does.

Sources: recordings of nft 1.0.6 (Felix's tables); nftables' src/meta.c, src/ct.c, src/fib.c and libnftables' grammar
for what people write; kube-proxy's nftables mode (pkg/proxy/nftables/proxier.go), which is in no recording.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from calicokit.dataplane.packets import match as m
from calicokit.dataplane.packets.actions import Action, Compiled
from calicokit.dataplane.packets.compile_iptables import icmp_type
from calicokit.dataplane.packets.match import Answer, Match, Node
from calicokit.dataplane.packets.packet import AddressSet, Packet, interface_matches, protocol_number
from calicokit.net import prefix

_TOKEN = re.compile(r'"[^"]*"|[{}]|,|[^\s{},"]+')
_ALL = 0xFFFFFFFF
_OPERATORS = frozenset(("==", "!=", "<", ">", "<=", ">=", "eq", "ne"))
_VERDICTS = frozenset(("accept", "drop", "return", "continue", "queue"))
_LAST = frozenset(("reject", "masquerade", "snat", "redirect", "dnat", "tproxy", "synproxy"))
_ICMP = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "echo-request": 8,
    "time-exceeded": 11,
}
_ICMPV6 = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "echo-request": 128,
    "echo-reply": 129,
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
}

Value = Any
Getter = Callable[[Packet, Node], Value]
Test = Callable[[Value], Answer]


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a packet: how it is got, and how a value in the rule's text becomes a test of it."""

    get: Getter
    test: Callable[[str], Test]


def _number_test(text: str) -> Test:
    low, dash, high = text.partition("-")
    first, last = int(low, 0), int(high, 0) if dash else int(low, 0)
    return lambda value: first <= value <= last


def _address_test(text: str) -> Test:
    known = AddressSet()
    known.add(text)
    return lambda value: known.covers(value[0], value[1])


def _protocol_test(text: str) -> Test:
    number = protocol_number(text)
    return lambda value: None if number is None else value == number


def _name_test(text: str) -> Test:
    return lambda value: interface_matches(text, value)


def _word_test(text: str) -> Test:
    return lambda value: value == text.lower()


def _port(side: str, protocol: str) -> Getter:
    only = protocol_number(protocol)

    def get(packet: Packet, _: Node) -> Value:
        if packet.protocol is None:
            return None
        if packet.protocol != only if only is not None else not packet.has_ports:
            return NEVER
        return packet.sport if side == "sport" else packet.dport

    return get


class _Never:
    """The value of a part that the packet does not have: no test of it holds, not even a negated one."""


NEVER = _Never()


def _source(packet: Packet, _: Node) -> Value:
    return None if packet.source is None else (packet.version, packet.source)


def _destination(packet: Packet, _: Node) -> Value:
    return None if packet.destination is None else (packet.version, packet.destination)


def _of_version(version: int, get: Getter) -> Getter:
    return lambda packet, node: get(packet, node) if packet.version == version else NEVER


_FIELDS: dict[str, Field] = {
    "ip saddr": Field(_of_version(4, _source), _address_test),
    "ip daddr": Field(_of_version(4, _destination), _address_test),
    "ip6 saddr": Field(_of_version(6, _source), _address_test),
    "ip6 daddr": Field(_of_version(6, _destination), _address_test),
    "ip protocol": Field(_of_version(4, lambda p, _: p.protocol), _protocol_test),
    "ip6 nexthdr": Field(_of_version(6, lambda p, _: p.protocol), _protocol_test),
    "meta l4proto": Field(lambda p, _: p.protocol, _protocol_test),
    "meta nfproto": Field(lambda p, _: f"ipv{p.version}", _word_test),
    "meta protocol": Field(lambda p, _: p.family, _word_test),
    "meta pkttype": Field(lambda *_: "host", _word_test),
    "iifname": Field(lambda p, _: p.iif, _name_test),
    "oifname": Field(lambda p, _: p.oif, _name_test),
    "iif": Field(lambda p, _: p.iif, _name_test),
    "oif": Field(lambda p, _: p.oif, _name_test),
    "ct state": Field(lambda p, _: None if p.state is None else p.state.lower(), _word_test),
    "fib daddr type": Field(lambda p, n: _address_kind(p, n, p.destination), _word_test),
    "fib saddr type": Field(lambda p, n: _address_kind(p, n, p.source), _word_test),
    **{
        f"{protocol} {side}": Field(_port(side, protocol), _number_test)
        for protocol in ("tcp", "udp", "sctp", "th", "udplite", "dccp")
        for side in ("sport", "dport")
    },
}
_SHORT = {"meta iifname": "iifname", "meta oifname": "oifname", "meta iif": "iif", "meta oif": "oif"}


def _address_kind(packet: Packet, node: Node, value: int | None) -> Value:
    own = node.is_local(packet.version, value)
    if own is None or value is None:
        return None
    return "local" if own else "multicast" if value >> (28 if packet.version == 4 else 120) in (14, 255) else "unicast"


# ---- sets of a table


def element(type_: str, text: str) -> tuple[Any, ...] | None:
    """The parts of an element, as fields give them; None where a part is no single value.

    >>> element("ipv4_addr . inet_proto . inet_service", "10.0.0.1 . tcp . 53")
    ((4, 167772161), 6, 53)
    """
    kinds, texts = [k.strip() for k in type_.split(" . ")], [t.strip() for t in text.split(" . ")]
    if len(kinds) != len(texts):
        return None
    values = [_single(kind, text) for kind, text in zip(kinds, texts, strict=True)]
    return None if None in values else tuple(values)


def _single(kind: str, text: str) -> Any:
    try:
        if kind in ("ipv4_addr", "ipv6_addr"):
            net = prefix(text)
            return (net.version, net.first) if net.first == net.last else None
        if kind == "inet_proto":
            return protocol_number(text)
        if kind in ("inet_service", "mark", "integer"):
            return int(text, 0)
    except ValueError:
        return None
    return text if kind == "ifname" else None


# ---- rules


@dataclass
class _Reading:
    family: str
    table: str
    tokens: list[str]
    at: int = 0
    matches: list[Match] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def read(self) -> None:
        while self.at < len(self.tokens):
            word = self.peek()
            statement = _STATEMENTS.get(word)
            if word == "comment":
                return
            if statement is not None:
                statement(self)
            elif word in _VERDICTS:
                self.at += 1
                self.actions.append(Action("count" if word == "continue" else word))
            elif not (self.sets() or self.compare()):
                self.strange()

    def strange(self) -> None:
        """Words that are not understood, up to the next that are: the rule can match or not."""
        words = [self.next()]
        while self.peek() and self.peek() not in _VERDICTS | _STATEMENTS.keys() and not self.left():
            words.append(self.next())
        self.odd.append(" ".join(words))
        self.matches.append(m.unknown)

    # ---- statements

    def counter(self) -> None:
        self.at += 1
        if self.peek() == "packets":
            self.at += 4

    def lead(self) -> None:
        kind, chain = self.next(), self.next()
        self.actions.append(Action(kind, chain))

    def log(self) -> None:
        self.at += 1
        while self.peek() in ("prefix", "level", "group", "flags", "snaplen", "queue-threshold"):
            self.at += 2
        self.actions.append(Action("count"))

    def notrack(self) -> None:
        self.at += 1
        self.actions.append(Action("count"))

    def last(self) -> None:
        """reject, masquerade, dnat, …: everything up to a comment belongs to it."""
        kind = self.next()
        words: list[str] = []
        while self.peek() and self.peek() not in ("comment", "counter"):
            words.append(self.next())
        if kind in ("dnat", "snat", "redirect") and "to" in words and not {"map", "{"} & set(words):
            self.actions.append(Action(kind, words[words.index("to") + 1]))
        elif kind in ("reject", "masquerade") or (kind == "redirect" and not words):
            self.actions.append(Action(kind))
        else:
            self.odd.append(" ".join((kind, *words)))
            self.actions.append(Action("unknown"))

    def sets(self) -> bool:
        """``meta mark set …`` changes the mark; what else is set does not matter here."""
        start = self.at
        for size in (1, 2):
            if self.peek(size) == "set":
                names = " ".join(self.tokens[start : start + size])
                self.at += size + 1
                self.actions.append(self.new_mark() if names in ("meta mark", "mark") else self.skip_value())
                return True
        return False

    def skip_value(self) -> Action:
        while self.peek() and self.peek() not in _VERDICTS | _STATEMENTS.keys() | {"comment"}:
            self.at += 1
        return Action("count")

    def new_mark(self) -> Action:
        """The mark's new value as bits kept and bits flipped; words and signs of both old and new nft."""
        if self.peek() == "meta":
            self.at += 1
        keep, flip = (_ALL, 0) if self.peek() in ("mark", "(mark") else (0, 0)
        word = self.next()
        if not keep:
            try:
                return Action("mark", clear=_ALL, flip=int(word, 0))
            except ValueError:
                self.odd.append(f"meta mark set {word}")
                return Action("unknown")
        while (sign := _SIGNS.get(self.peek())) is not None:
            self.at += 1
            value = int(self.next().strip("()"), 0)
            if sign == "&":
                keep, flip = keep & value, flip & value
            elif sign == "|":
                keep, flip = keep & ~value, flip | value
            else:
                flip ^= value
        return Action("mark", clear=~keep & _ALL, flip=flip)

    # ---- matches

    def left(self) -> list[str]:
        """The fields that the words from here on name, joined by dots; empty if they name none."""
        names: list[str] = []
        at = self.at
        while True:
            size = next((s for s in (3, 2, 1) if self.field_at(at, s)), 0)
            if not size:
                return names if names else []
            name = " ".join(self.tokens[at : at + size])
            names.append(_SHORT.get(name, name))
            at += size
            if at >= len(self.tokens) or self.tokens[at] != ".":
                self.end = at
                return names
            at += 1

    end: int = 0

    def field_at(self, at: int, size: int) -> bool:
        name = " ".join(self.tokens[at : at + size])
        return at + size <= len(self.tokens) and _SHORT.get(name, name) in _FIELDS

    def compare(self) -> bool:
        for special in (self.marks, self.status, self.paths, self.random, self.icmp):
            if special():
                return True
        names = self.left()
        if not names:
            return False
        self.at = self.end
        fields = [_FIELDS[n] for n in names]
        if self.peek() == "vmap":
            self.at += 1
            self.verdict_map(fields)
            return True
        operator = self.next() if self.peek() in _OPERATORS else "=="
        if operator not in ("==", "!=", "eq", "ne"):
            self.compared(fields, operator)
            return True
        self.matches.append(self.against(fields, operator in ("!=", "ne")))
        return True

    def compared(self, fields: list[Field], operator: str) -> None:
        text = self.next()
        try:
            bound = int(text, 0)
        except ValueError:
            self.matches.append(m.unknown)
            self.odd.append(f"{operator} {text}")
            return
        compare: Callable[[int], bool] = {
            "<": lambda v: v < bound,
            ">": lambda v: v > bound,
            "<=": lambda v: v <= bound,
            ">=": lambda v: v >= bound,
        }[operator]

        def match(packet: Packet, node: Node) -> Answer:
            value = fields[0].get(packet, node)
            return False if value is NEVER else None if not isinstance(value, int) else compare(value)

        self.matches.append(match)

    def against(self, fields: list[Field], negate: bool) -> Match:
        """The fields against what follows: a named set, a set in braces, or one or more values."""
        if self.peek().startswith("@"):
            return self.named(fields, self.next()[1:], negate)
        texts = list(self.braces()) if self.peek() == "{" else self.commas()
        tests = [_tests(fields, t) for t in texts]
        return _fields_match(fields, lambda values: m.any_of(_all(values, each) for each in tests), negate)

    def braces(self) -> Iterator[str]:
        self.at += 1
        words: list[str] = []
        while (word := self.next()) not in ("}", ""):
            if word == ",":
                yield " ".join(words)
                words = []
            else:
                words.append(word.strip('"'))
        if words:
            yield " ".join(words)

    def commas(self) -> list[str]:
        found = [self.next().strip('"')]
        while self.peek() == ".":
            self.at += 1
            found[0] += f" . {self.next()}"
        while self.peek() == ",":
            self.at += 1
            found.append(self.next().strip('"'))
        return found

    def named(self, fields: list[Field], name: str, negate: bool) -> Match:
        family, table = self.family, self.table

        def match(packet: Packet, node: Node) -> Answer:
            values = _values(fields, packet, node)
            if values is NEVER:
                return False
            members = node.members(family, table, name)
            if values is None or members is None:
                return None
            return m.negated(contains(members, values), negate)

        return match

    def verdict_map(self, fields: list[Field]) -> None:
        if self.peek().startswith("@"):
            self.actions.append(Action("vmap", self.next()[1:], keys=tuple(_name_of(f) for f in fields)))
            return
        pairs = tuple((k.strip(), v.strip()) for k, _, v in (t.rpartition(" : ") for t in self.braces()))
        self.actions.append(Action("vmap", "", keys=tuple(_name_of(f) for f in fields), values=pairs))

    def marks(self) -> bool:
        start = self.at
        if self.peek() == "meta":
            self.at += 1
        if self.peek() != "mark":
            self.at = start
            return False
        self.at += 1
        mask = _ALL
        if self.peek() in ("&", "and"):
            self.at += 1
            mask = int(self.next(), 0)
        operator = self.next() if self.peek() in _OPERATORS else "=="
        value = int(self.next(), 0)
        self.matches.append(m.mark(value, mask, operator in ("!=", "ne")))
        return True

    def status(self) -> bool:
        if (self.peek(), self.peek(1)) != ("ct", "status"):
            return False
        self.at += 2
        negate = self.peek() in ("!=", "ne")
        self.at += self.peek() in _OPERATORS
        words = list(self.braces()) if self.peek() == "{" else self.commas()
        self.matches.append(m.status(words, negate))
        return True

    def paths(self) -> bool:
        """``fib saddr . mark . iif oif 0``: no route back by the interface; other look-ups of types are fields."""
        if self.peek() != "fib" or self.left():
            return False
        self.at += 1
        words = []
        while self.peek() and self.peek() not in _VERDICTS | _STATEMENTS.keys():
            words.append(self.next())
        text = " ".join(words)
        missing = text.endswith(("oif 0", "oif missing", "oif eq 0", "oif == 0", "oif missing 1"))
        if text.startswith("saddr") and "iif" in text.split() and missing:
            self.matches.append(m.reverse_path(True, False))
        elif text.startswith("saddr . oif type"):
            kind = text.split()[-1]
            self.matches.append(m.address_type([kind], "source", "out", "!=" in words))
        else:
            self.odd.append(f"fib {text}")
            self.matches.append(m.unknown)
        return True

    def random(self) -> bool:
        """``numgen random mod N vmap { … }``: each way is as likely."""
        if (self.peek(), self.peek(2)) != ("numgen", "mod") or self.peek(4) != "vmap" or self.peek(5) != "{":
            return False
        self.at += 5
        pairs = tuple((k.strip(), v.strip()) for k, _, v in (t.rpartition(" : ") for t in self.braces()))
        self.actions.append(Action("random", values=pairs))
        return True

    def icmp(self) -> bool:
        if self.peek() not in ("icmp", "icmpv6") or self.peek(1) != "type":
            return False
        protocol, names = (1, _ICMP) if self.next() == "icmp" else (58, _ICMPV6)
        self.at += 1
        negate = self.peek() in ("!=", "ne")
        self.at += self.peek() in _OPERATORS
        words = list(self.braces()) if self.peek() == "{" else self.commas()
        tests = [icmp_type(names.get(w, int(w) if w.isdigit() else None), False) for w in words]

        def match(packet: Packet, node: Node) -> Answer:
            if packet.protocol is None or packet.protocol != protocol:
                return None if packet.protocol is None else False
            return m.negated(m.any_of(t(packet, node) for t in tests), negate)

        self.matches.append(match)
        return True


_SIGNS = {"&": "&", "and": "&", "|": "|", "or": "|", "^": "^", "xor": "^"}
_STATEMENTS: dict[str, Callable[[_Reading], None]] = {
    "counter": _Reading.counter,
    "jump": _Reading.lead,
    "goto": _Reading.lead,
    "log": _Reading.log,
    "notrack": _Reading.notrack,
    **dict.fromkeys(_LAST, _Reading.last),
}


def _name_of(wanted: Field) -> str:
    return next(name for name, known in _FIELDS.items() if known is wanted)


def _values(fields: list[Field], packet: Packet, node: Node) -> Any:
    """The fields' values; None where one is not known, NEVER where the packet lacks one."""
    values = [f.get(packet, node) for f in fields]
    if NEVER in values:
        return NEVER
    return None if None in values else tuple(values)


def _tests(fields: list[Field], text: str) -> list[Test]:
    texts = [t.strip() for t in text.split(" . ")]
    if len(texts) != len(fields):
        return [lambda _: None]
    try:
        return [f.test(t) for f, t in zip(fields, texts, strict=True)]
    except ValueError:
        return [lambda _: None] * len(fields)


def _all(values: tuple[Any, ...], tests: list[Test]) -> Answer:
    answers = [test(value) for value, test in zip(values, tests, strict=False)]
    return False if False in answers else None if None in answers else True


def _fields_match(fields: list[Field], test: Callable[[tuple[Any, ...]], Answer], negate: bool) -> Match:
    def match(packet: Packet, node: Node) -> Answer:
        values = _values(fields, packet, node)
        if values is NEVER:
            return False
        return None if values is None else m.negated(test(values), negate)

    return match


def contains(members: m.Members, values: tuple[Any, ...]) -> Answer:
    """Whether a set of a table holds these values."""
    if len(values) == 1 and members.type in ("ipv4_addr", "ipv6_addr"):
        return members.addresses.covers(*values[0])
    if values in members.parts:
        return True
    return None if members.odd else False


def led(action: Action, family: str, table: str, packet: Packet, node: Node) -> str | None:
    """The verdict that a map gives for a packet; "" if it holds none, None where it cannot be told."""
    values = _values([_FIELDS[k] for k in action.keys], packet, node)
    if values is NEVER:
        return ""
    if values is None:
        return None
    if action.argument:
        members = node.members(family, table, action.argument)
        if members is None:
            return None
        return members.values.get(values, None if members.odd else "")
    fields = [_FIELDS[k] for k in action.keys]
    answers = [(_all(values, _tests(fields, key)), verdict) for key, verdict in action.values]
    sure = next((verdict for answer, verdict in answers if answer), None)
    return sure if sure is not None else (None if any(a is None for a, _ in answers) else "")


def verdict_action(text: str) -> Action:
    """``goto CHAIN``, ``accept``, … as an action."""
    kind, _, chain = text.partition(" ")
    return Action(kind, chain.strip())


@lru_cache(maxsize=1 << 16)
def compile_nft(spec: str, family: str, table: str) -> Compiled:
    """A rule's matches and actions; what is not understood makes it unknown whether it matches."""
    reading = _Reading(family, table, _TOKEN.findall(spec))
    try:
        reading.read()
    except (ValueError, IndexError):
        reading.odd.append("a value that cannot be parsed")
        reading.matches.append(m.unknown)
    return Compiled(tuple(reading.matches), tuple(reading.actions), None, tuple(reading.odd))

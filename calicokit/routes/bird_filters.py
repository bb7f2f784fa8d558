"""What a filter of BIRD's configuration does with one route: run as BIRD would, and unknown where that is not told.

Sources: BIRD 1.6's filter/config.Y and filter/filter.c; confd's filterStatement and buildExportFilter, which write what
is read here. Statements come from the parser (``bird-config:bird_filters``): one row each, with all the conditions
that it stands under joined by ``&&``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from calicokit.net import Prefix, prefix

MOST_PARENTHESES = 50
"""A condition nested deeper was not written by confd, and is unknown."""

MOST_CALLS = 8

UNDEFINED = object()
"""The value of an attribute that the route does not have; None is one that was not seen."""

ACCEPT, REJECT, UNKNOWN = "Accept", "Reject", "unknown"


@dataclass(frozen=True)
class Decision:
    """What a filter does with a route, and the statement that decides; ``unknown`` names the first unknown one."""

    action: str
    where: str
    statement: str | None = None
    line: int | None = None
    evidence: str | None = None


@dataclass
class Functions:
    """The filters and functions of one node's configuration, by name (and kind, for those inside a protocol).

    ``whole``: all of its files were seen, so that a function without statements does nothing (BIRD refuses to call one
    that does not exist).
    """

    whole: bool = False
    rows: dict[tuple[str, str], list[Any]] = field(default_factory=dict)

    def add(self, statements: Iterable[Any]) -> None:
        for row in statements:
            kind = row.kind if row.kind in ("import", "export") else "function"
            self.rows.setdefault((row.name, kind), []).append(row)

    def run(self, name: str, kind: str, route: Mapping[str, Any]) -> Decision | None:
        """What the named one does; None where the configuration, as far as it was seen, has none of that name."""
        if (name, kind) not in self.rows:
            return None
        run = _Run(self, dict(route))
        run.call(name, kind, 0)
        return run.decision(name)


@dataclass
class _Run:
    functions: Functions
    route: dict[str, Any]
    maybe: list[Decision] = field(default_factory=list)
    final: Decision | None = None

    def decision(self, name: str) -> Decision:
        """The end that was reached for sure; unknown if one that may come before it is another."""
        end = self.final or Decision(REJECT, name)  # BIRD rejects at the end of a filter
        other = next((d for d in self.maybe if d.action != end.action), None)
        return end if other is None else Decision(UNKNOWN, other.where, other.statement, other.line, other.evidence)

    def call(self, name: str, kind: str, depth: int) -> None:
        """Run one function's statements, until the filter ends or the function returns."""
        for row in sorted(self.functions.rows[name, kind], key=lambda r: r.order):
            if not isinstance(row.statement, str):
                continue  # a comment
            holds = evaluate(row.condition, self.route) if isinstance(row.condition, str) else True
            if holds is False:
                continue
            if self.step(row, name, holds, depth):
                return

    def step(self, row: Any, name: str, holds: bool | None, depth: int) -> bool:
        """One statement whose conditions may hold; whether the function ends with it."""
        said = row.statement if not isinstance(row.condition, str) else f"if {row.condition} then {row.statement}"
        here = (name, said, int(row.line), row.evidence)
        if row.action in ("accept", "reject"):
            found = Decision(ACCEPT if row.action == "accept" else REJECT, *here)
            if holds:
                self.final = found
            else:
                self.maybe.append(found)
        elif row.action == "set":
            self.assign(row.statement, holds)
        elif row.action == "call":
            self.enter(row.statement, holds, here, depth)
        elif row.action == "return" and holds:
            return True
        elif row.action in ("return", "other") and not row.statement.startswith(_HARMLESS):
            self.final = Decision(UNKNOWN, *here)
        return self.final is not None

    def assign(self, statement: str, holds: bool | None) -> None:
        name, equals, value = statement.partition("=")
        if equals and name.strip().isidentifier():
            self.route[name.strip()] = value_of(value, self.route) if holds else None

    def enter(self, statement: str, holds: bool | None, here: tuple[str, str, int, str], depth: int) -> None:
        """A call. Calico's functions take one parameter at most, whether the peer has the same AS."""
        callee, _, given = statement.partition("(")
        callee = callee.strip().strip("'")
        known = (callee, "function") in self.functions.rows
        if callee.startswith(_HARMLESS) or (not known and self.functions.whole):
            return
        if not known or holds is None or depth >= MOST_CALLS:
            self.final = Decision(UNKNOWN, *here)
            return
        words = {"true": True, "false": False}
        if (value := given.rstrip(") ").strip()) in words:
            self.route |= dict.fromkeys(_PARAMETERS, words[value])
        self.call(callee, "function", depth + 1)


_PARAMETERS = ("internal_peer", "is_same_as")
_HARMLESS = ("apply_communities", "print", "bgp_community", "bgp_large_community", "bgp_ext_community", "bgp_path")


# ---- conditions and values

_TOKEN = re.compile(
    r"\s+|(?P<text>\"[^\"]*\")|(?P<set>\[[^\]]*\])|(?P<net>[0-9a-fA-F:.]+/\d+(?:[+-]|\{\d+,\s*\d+\})?)"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<number>\d+)|(?P<sign>&&|\|\||[!<>]=|!~|[=~<>!(),+-])|(?P<other>.)"
)
_COMPARE = ("=", "!=", "~", "!~", "<", ">", "<=", ">=")


def evaluate(condition: str, route: Mapping[str, Any]) -> bool | None:
    """Whether a condition holds for a route; None where that depends on what was not seen.

    >>> evaluate("(net ~ 10.0.0.0/8) && !(defined(ifname))", {"net": prefix("10.1.0.0/16"), "ifname": UNDEFINED})
    True
    >>> evaluate("((65000, 1) ~ bgp_community)", {}) is None
    True
    """
    value = value_of(condition, route)
    return value if isinstance(value, bool) else None


def value_of(text: str, route: Mapping[str, Any]) -> Any:
    """The value of an expression: a truth, a number, a text, a :class:`Prefix`; None where it is not known."""
    if text.count("(") > MOST_PARENTHESES or text.count("!") > MOST_PARENTHESES:
        return None
    tokens = [(m.lastgroup, m.group()) for m in _TOKEN.finditer(text) if m.lastgroup]
    reader = _Reader(tokens, route)
    value = reader.either()
    return value if reader.at == len(tokens) else None


@dataclass
class _Reader:
    tokens: list[tuple[str, str]]
    route: Mapping[str, Any]
    at: int = 0

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> tuple[str, str]:
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ("other", "")

    def either(self) -> Any:
        value = self.both()
        while self.peek() == "||":
            self.take()
            other = self.both()
            value = True if True in (value, other) else None if None in (value, other) else False
        return value

    def both(self) -> Any:
        value = self.compared()
        while self.peek() == "&&":
            self.take()
            other = self.compared()
            value = False if False in (value, other) else None if None in (value, other) else True
        return value

    def compared(self) -> Any:
        if self.peek() == "!":
            self.take()
            value = self.compared()
            return not value if isinstance(value, bool) else None
        left = self.sum()
        if self.peek() not in _COMPARE:
            return left
        sign = self.take()[1]
        return _compare(left, sign, self.sum())

    def sum(self) -> Any:
        value = self.atom()
        while self.peek() in ("+", "-"):
            sign, other = self.take()[1], self.atom()
            both = isinstance(value, int) and isinstance(other, int)
            value = (value + other if sign == "+" else value - other) if both else None
        return value

    def atom(self) -> Any:
        kind, text = self.take()
        if text == "(":
            return self.inside()
        if kind == "number":
            return int(text)
        if kind == "text":
            return text[1:-1]
        if kind == "set":
            return _members(text)
        if kind == "net":
            return _net(text)
        return self.word(text) if kind == "word" else None

    def inside(self) -> Any:
        """Something in parentheses; a pair of numbers is a community, and what has it is not known."""
        value = self.either()
        while self.peek() == ",":
            self.take()
            self.either()
            value = None
        if self.peek() == ")":
            self.take()
        return value

    def word(self, text: str) -> Any:
        if text in ("true", "false"):
            return text == "true"
        if text != "defined":
            return text if text.startswith("RTS_") else self.route.get(text)
        self.take()
        name = self.take()[1]
        self.take()
        value = self.route.get(name)
        # BIRD 1.6 gives a route without an interface an empty name, others of its versions none.
        return None if value is None or value == "" else value is not UNDEFINED


Span = tuple[Prefix, int, int]
"""A pattern of prefixes: inside which, and how long, from and to."""


def _net(text: str) -> Span | None:
    """``10.0.0.0/8``, with ``+`` (and longer), ``-`` (and shorter), or ``{16,24}`` behind it."""
    bare, brace, lengths = text.partition("{")
    plain = bare.rstrip("+-")
    try:
        net = prefix(plain)
    except ValueError:
        return None
    length, most = int(plain.rpartition("/")[2]), 32 if net.version == 4 else 128
    if brace:
        low, _, high = lengths.rstrip("}").partition(",")
        return net, int(low), int(high)
    if bare.endswith("-"):
        return None  # shorter ones that cover it: not written by confd
    return net, length, most if bare.endswith("+") else length


def _members(text: str) -> list[Any] | None:
    """A set's members, words or prefixes; None for one that holds anything else.

    >>> _members("[ RTS_BGP ]")
    ['RTS_BGP']
    """
    found: list[Any] = []
    for part in re.findall(r"[^\s,{}]+(?:\{[^}]*\})?", text[1:-1]):
        member = part if part.startswith("RTS_") else _net(part) if "/" in part else None
        if member is None:
            return None
        found.append(member)
    return found


def _compare(left: Any, sign: str, right: Any) -> bool | None:
    if left is None or right is None or UNDEFINED in (left, right):
        return None
    negated = sign.startswith("!")
    if sign in ("~", "!~"):
        value = _matches(left, right)
    elif sign in ("=", "!="):
        value = _equals(left, right)
    else:
        return _ordered(left, sign, right)
    return None if value is None else bool(value != negated)


def _equals(left: Any, right: Any) -> bool | None:
    if isinstance(left, Prefix):
        return left == right[0] if isinstance(right, tuple) else None
    return bool(left == right) if type(left) is type(right) else None


def _ordered(left: Any, sign: str, right: Any) -> bool | None:
    if not isinstance(left, int) or not isinstance(right, int):
        return None
    return {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[sign]


def _matches(left: Any, right: Any) -> bool | None:
    """``net ~ 10.0.0.0/8`` is any prefix inside; in a set it is that prefix alone, unless lengths are given."""
    if isinstance(left, str):
        if isinstance(right, str):
            return fnmatchcase(left, right.replace("[", "[[]"))
        return left in right if isinstance(right, list) else None
    if not isinstance(left, Prefix):
        return None
    if isinstance(right, tuple):
        return bool(right[0].covers(left))
    if not isinstance(right, list) or any(isinstance(m, str) for m in right):
        return None
    length = (32 if left.version == 4 else 128) - (left.size.bit_length() - 1)
    return any(bool(net.covers(left) and low <= length <= high) for net, low, high in right)

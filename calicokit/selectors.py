"""Calico's selector language: what ``projectcalico.org/namespace == "web" && !has(legacy)`` picks.

Every fact here is from Calico's source, ``libcalico-go/lib/selector`` (``tokenizer/tokenizer.go``,
``parser/parser.go``, ``parser/ast.go``); the functions name the file they follow. Example::

    >>> selector = parse("role in {'db', 'cache'} && tier != 'test'")
    >>> selector.matches({"role": "db"})  # no label tier: != holds
    True
    >>> str(selector)
    '(role in {"cache", "db"} && tier != "test")'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

Labels = Mapping[str, str]
Predicate = Callable[[Labels], bool]
Step = tuple[Predicate, int, int, str]
"""A test, the tests to go to when it holds and when it does not, and the label that it looks at (empty for none)."""

MAX_LABEL_LENGTH = 512
"""The longest label name (``tokenizer.MaxLabelLength``)."""

_SHOWN = 120  # characters of a long expression that an error shows

_NAME = r"[a-zA-Z0-9_./-]"  # identifierChar: ASCII only, and no rule on what comes first
_SPACES = re.compile(r"[ \t]*")  # trimWhitespace: a line break is no white space
_ANYWHERE = re.compile(r"""(?P<sign>[(){},]|==|!=?|&&|\|\|)|(?P<string>"[^"]*"|'[^']*')""")
_TERM = re.compile(  # a call that went wrong is no label called "has": Calico has decided by then
    rf"has\([ \t]*(?P<key>{_NAME}+)[ \t]*\)|(?P<constant>all|global)\([ \t]*\)"
    rf"|(?!(?:has|all|global)\()(?P<label>{_NAME}+)"
)
_BAD_CALL = re.compile(rf"(?P<has>has)\([ \t]*(?P<key>{_NAME}*)[ \t]*|(?:all|global)\([ \t]*")
# Possessive: Calico looks for the end of a two-word operator after the spaces that follow it.
_WORD = re.compile(rf"(contains|in|(?:starts[ \t]*with|ends[ \t]*with|not[ \t]*in)[ \t]*+)(?!{_NAME})")
_WORDS = {"startswith": "starts with", "endswith": "ends with", "notin": "not in"}


class SelectorError(ValueError):
    """An expression that Calico refuses: why (``reason``) and at which character (``position``, from 0)."""

    def __init__(self, reason: str, expression: str, position: int) -> None:
        super().__init__(reason, expression, position)
        self.reason, self.expression, self.position = reason, expression, position

    def __str__(self) -> str:
        start = max(0, self.position - _SHOWN // 2) if len(self.expression) > _SHOWN else 0
        # One character each, or the caret would point elsewhere.
        shown = "".join(c if c.isprintable() else " " for c in self.expression[start : start + _SHOWN])
        return f"{self.reason}\n  {shown}\n  {' ' * (self.position - start)}^"


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector. Two are equal when their canonical texts are, as in ``ast.go`` (``Selector.Equal``)."""

    expression: str = field(compare=False)
    prefix: str = field(compare=False)
    _canonical: str = field(repr=False)
    _keys: frozenset[str] = field(repr=False, compare=False)
    _requires: Mapping[str, frozenset[str]] = field(repr=False, compare=False)
    _program: tuple[Step, ...] = field(repr=False, compare=False)

    def matches(self, labels: Labels) -> bool:
        """Whether an object with these labels is selected."""
        program = self._program
        at = len(program) - 1
        while at >= 0:
            holds, then, otherwise, _ = program[at]
            at = then if holds(labels) else otherwise
        return at == _SELECTED

    def may_match(self, labels: Labels, unknown: Callable[[str], bool]) -> bool | None:
        """The same where some labels are not known (``unknown(key)``); None if the answer hangs on one of them."""
        ends: set[int] = set()
        todo, seen = [len(self._program) - 1], set[int]()
        while todo:
            at = todo.pop()
            if at < 0:
                ends.add(at)
            elif at not in seen:
                seen.add(at)
                holds, then, otherwise, key = self._program[at]
                if key and unknown(key):
                    todo += (then, otherwise)
                else:
                    todo.append(then if holds(labels) else otherwise)
        return None if len(ends) > 1 else ends == {_SELECTED}

    @property
    def requires(self) -> Mapping[str, frozenset[str]]:
        """Labels without one of these values nothing is selected: the ``==`` and ``in`` of an outermost ``&&``."""
        return self._requires

    def keys(self) -> frozenset[str]:
        """The label names that the expression mentions."""
        return self._keys

    def __str__(self) -> str:
        """The text as Calico prints it (``collectFragments``): its logs and its data model show selectors so."""
        return self._canonical

    def __reduce__(self) -> tuple[Callable[[str, str], Selector], tuple[str, str]]:
        return parse, (self.expression, self.prefix)  # the tests in a program are closures, which cannot be pickled


@lru_cache(maxsize=4096)
def parse(expression: str, prefix: str = "") -> Selector:
    """Parse as ``parser.go`` does; raise :class:`SelectorError` for what it refuses.

    ``prefix`` is put before every label name (``parser.PrefixVisitor``): so the selectors of namespaces and service
    accounts become selectors of the labels that endpoints inherit from them.

    An empty or blank expression is ``all()``. ``global()`` too holds for every set of labels: its meaning in a
    ``namespaceSelector`` is given by the code that converts policies, not by the selector language.
    """
    tokens = _tokenize(expression) if expression.strip(" \t") else _tokenize("all()")
    root = _Parser(expression, tokens, prefix).parse()
    canonical, keys, program = _compile(root)
    return Selector(expression, prefix, canonical, keys, _required(root), program)


def one_edit_away(
    selector: Selector, keys: Iterable[str], values: Callable[[str], Iterable[str]]
) -> Iterator[tuple[str, str, str]]:
    """The selectors that differ in one label name or value by one character: what it was, what instead, the selector.

    Only names in ``keys``, and values that their label has (``values(key)``), are put in.
    """
    text, label = str(selector), ""
    known = list(keys)
    for token in _tokenize(text):
        if token.kind in ("label", "has"):
            label = token.text
            near, start = known, text.index(token.text, token.at)
        elif token.kind == "string":
            near, start = list(values(label)), token.at + 1
        else:
            continue
        for other in near:
            if is_one_edit(token.text, other):
                yield token.text, other, text[:start] + other + text[start + len(token.text) :]


def is_one_edit(one: str, other: str) -> bool:
    """Whether one character more, less, another, or two neighbours exchanged, make one text of the other.

    >>> [is_one_edit("frontend", t) for t in ("frontent", "fronted", "frontends", "forntend", "frontend", "backend")]
    [True, True, True, True, False, False]
    """
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, other_rest = one[start:], other[start:]
    return (
        rest[1:] == other_rest[1:]
        or rest[1:] == other_rest
        or rest == other_rest[1:]
        or (rest[:2] == other_rest[1::-1] and rest[2:] == other_rest[2:])
    )


def _quote(value: str) -> str:
    """``appendLabelOpAndQuotedString``: double quotes unless the value has some. There is no escape character."""
    if '"' not in value:
        return f'"{value}"'
    if "'" in value:
        raise SelectorError("a value with both kinds of quotes cannot be written", value, value.index("'"))
    return f"'{value}'"


# --- tokenizer.go


class _Token(NamedTuple):
    kind: str  # a sign or operator as it is written, or: label, string, has, all, global, end
    text: str
    at: int


def _tokenize(expression: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = _skip(expression, 0)
    while at < len(expression):
        # Words are operators only right after a label: elsewhere "in" and "contains" are good label names.
        label = tokens[-1].text if tokens and tokens[-1].kind == "label" else None
        found = _ANYWHERE.match(expression, at) or (_TERM if label is None else _WORD).match(expression, at)
        if found is None:
            raise _unreadable(expression, at, label)
        tokens.append(_token(found))
        at = _skip(expression, found.end())
    return [*tokens, _Token("end", "", at)]


def _token(found: re.Match[str]) -> _Token:
    parts, text, at = found.groupdict(), found[0], found.start()
    if parts.get("string"):
        return _Token("string", text[1:-1], at)
    if name := parts.get("key") or parts.get("label"):
        if len(name) > MAX_LABEL_LENGTH:
            reason = f"label too long: {len(name)} > {MAX_LABEL_LENGTH} characters"
            raise SelectorError(reason, found.string, found.start("key" if parts["key"] else "label"))
        return _Token("has" if parts["key"] else "label", name, at)
    text = parts.get("constant") or "".join(text.split())
    return _Token(_WORDS.get(text, text), text, at)


def _skip(expression: str, at: int) -> int:
    found = _SPACES.match(expression, at)
    return found.end() if found else at


def _unreadable(expression: str, at: int, label: str | None) -> SelectorError:
    """Why no token starts here, in Calico's words."""
    if expression[at] in "\"'":
        return SelectorError("unterminated string", expression, at)
    if expression[at] in "=&|":
        return SelectorError(f"expected {expression[at] * 2}", expression, at)
    if label is not None:
        return SelectorError(f'expected operator after label "{label}"', expression, at)
    call = _BAD_CALL.match(expression, at)
    if call is None or (call["has"] and not call["key"]):
        return SelectorError("expected identifier", expression, call.end() if call else at)
    return SelectorError("expected ) after " + call[0].partition("(")[0] + "(", expression, call.end())


# --- parser.go


class _Test(NamedTuple):
    """A leaf: one test of the labels, on one label (or none), with the values that it names."""

    text: str
    key: str
    holds: Predicate
    values: frozenset[str] = frozenset()


class _Branch(NamedTuple):
    """``!`` with one operand, ``&&`` and ``||`` with two or more."""

    operator: str
    operands: list[_Test | _Branch]


_Node = _Test | _Branch

# ``Evaluate`` of the nodes in ast.go: != and not in hold where there is no such label, all others do not.
_TESTS: dict[str, Callable[[str, Any], Predicate]] = {
    "==": lambda key, value: lambda labels: labels.get(key) == value,
    "!=": lambda key, value: lambda labels: labels.get(key) != value,
    "in": lambda key, values: lambda labels: labels.get(key) in values,
    "not in": lambda key, values: lambda labels: labels.get(key) not in values,
    "contains": lambda key, value: lambda labels: (found := labels.get(key)) is not None and value in found,
    "starts with": lambda key, value: lambda labels: (found := labels.get(key)) is not None and found.startswith(value),
    "ends with": lambda key, value: lambda labels: (found := labels.get(key)) is not None and found.endswith(value),
}


class _Group(NamedTuple):
    """An open parenthesis: the alternatives read so far, each a list of && operands."""

    negated: bool
    alternatives: list[list[_Node]]

    def close(self) -> _Node:
        """A single operand stands for itself: parentheses leave no node behind."""
        terms = [ands[0] if len(ands) == 1 else _Branch("&&", ands) for ands in self.alternatives]
        node = terms[0] if len(terms) == 1 else _Branch("||", terms)
        return _Branch("!", [node]) if self.negated else node


@dataclass(slots=True)
class _Parser:
    """``parseOrExpression`` and those it calls, with a stack of its own: any depth is safe, as it is in Go."""

    expression: str
    tokens: list[_Token]
    prefix: str = ""
    at: int = 0

    def parse(self) -> _Node:
        groups = [_Group(False, [[]])]
        while True:
            negated = False
            while self._skip("!"):  # a run of ! is one or none
                negated = not negated
            if self._skip("("):
                groups.append(_Group(negated, [[]]))
                continue
            groups[-1].alternatives[-1].append(_Branch("!", [self._test()]) if negated else self._test())
            while len(groups) > 1 and self._skip(")"):
                node = groups.pop().close()
                groups[-1].alternatives[-1].append(node)
            if self._skip("||"):
                groups[-1].alternatives.append([])
            elif not self._skip("&&"):
                break
        if len(groups) > 1:
            raise self._error("expected )", self._next())
        self._expect("end", "unexpected content at end of selector")
        return groups[0].close()

    def _test(self) -> _Test:
        token = self._next()
        if token.kind == "has":
            key = self.prefix + token.text
            return _Test(f"has({key})", key, lambda labels: key in labels)
        if token.kind in ("all", "global"):
            return _Test(f"{token.kind}()", "", lambda _: True)
        if token.kind != "label":
            raise self._error(f"unexpected {token.kind}", token)
        key, operator = self.prefix + token.text, self._next()
        test = _TESTS.get(operator.kind)
        if test is None:
            raise self._error(f'expected operator after label "{token.text}"', operator)
        if operator.kind in ("in", "not in"):
            values = self._set()
            text = f"{{{', '.join(map(_quote, sorted(values)))}}}"
            return _Test(f"{key} {operator.kind} {text}", key, test(key, values), values)
        value = self._expect("string", "expected string").text
        return _Test(f"{key} {operator.kind} {_quote(value)}", key, test(key, value), frozenset((value,)))

    def _set(self) -> frozenset[str]:
        """``{}`` and a comma before the brace are allowed."""
        self._expect("{", "expected set literal")
        values = []
        while self.tokens[self.at].kind == "string":
            values.append(self._next().text)
            if not self._skip(","):
                break
        self._expect("}", "expected }")
        return frozenset(values)

    def _next(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def _skip(self, kind: str) -> bool:
        found = self.tokens[self.at].kind == kind
        self.at += found
        return found

    def _expect(self, kind: str, reason: str) -> _Token:
        token = self._next()
        if token.kind != kind:
            raise self._error(reason, token)
        return token

    def _error(self, reason: str, token: _Token) -> SelectorError:
        return SelectorError(reason, self.expression, token.at)


# --- ast.go, without recursion: selectors nest as deep as their authors like

_SELECTED, _REJECTED, _NEXT = -1, -2, -3


def _required(root: _Node) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    todo = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, _Branch):
            todo += node.operands if node.operator == "&&" else []
        elif node.text.startswith((f"{node.key} == ", f"{node.key} in ")) and node.key:
            found[node.key] = found[node.key] & node.values if node.key in found else node.values
    return found


def _compile(root: _Node) -> tuple[str, frozenset[str], tuple[Step, ...]]:
    """The canonical text, the keys, and the tests, each with the test to go to when it holds and when it does not.

    All is written from right to left. So what follows a test is written, and its place known, when the test is
    written; and as every step leads to a place before, evaluation must end. ``_NEXT`` is the first test of what was
    written just before: the operand that follows. The text is that of ``collectFragments``: parentheses around each
    && and ||, nowhere else.
    """
    text: list[str] = []
    keys: set[str] = set()
    program: list[Step] = []
    todo: list[str | tuple[_Node, int, int]] = [(root, _SELECTED, _REJECTED)]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            text.append(item)
            continue
        node = item[0]
        then, otherwise = (len(program) - 1 if target == _NEXT else target for target in item[1:])
        if isinstance(node, _Test):
            text.append(node.text)
            keys.update([node.key] if node.key else ())
            program.append((node.holds, then, otherwise, node.key))
        elif node.operator == "!":
            todo += ("!", (node.operands[0], otherwise, then))
        else:
            targets = (_NEXT, otherwise) if node.operator == "&&" else (then, _NEXT)
            todo.append("(")
            for operand in node.operands[:-1]:
                todo += ((operand, *targets), f" {node.operator} ")
            todo += ((node.operands[-1], then, otherwise), ")")
    return "".join(reversed(text)), frozenset(keys), tuple(program)

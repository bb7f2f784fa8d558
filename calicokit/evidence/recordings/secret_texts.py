"""Take out of a text what looks like a secret; the layout stays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from calicokit.evidence.recordings.secret_patterns import OF_JSON, OF_TEXT, Rule

REDACTED = "REDACTED"

_PLACEHOLDER = re.compile(
    rb"(?:null|none|nil|true|false|<\w*>?|\(hidden\)|[\[({|>&]?|\*+|-+|\$\(\w+\)?|\$\{\w+\})[,;)}\]>.]*|REDACTED.*"
    rb"|__\w+__|<set to the key .*|map\[.*|--.*",
    re.IGNORECASE | re.DOTALL,
)
"""What stands in place of a secret."""

_END_OF_KEY = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY")
_LINE_OF_KEY = re.compile(rb"(?:(?<=\\n)|(?<![\w+/=\\]))[\w+/=]{1,76}[ \t]*(?:\r?\n|\\+n)[ \t]*\Z")
_BEFORE = 200
"""How far before an anchor is looked for what must stand there."""


def scrubbed(text: bytes, found: Counter[str], json: bool = False) -> bytes:
    """The text with ``REDACTED`` in place of each secret; ``json`` says that it is one document that must stay one."""
    spans = sorted([*_spans(text, OF_JSON if json else OF_TEXT), *_ends_of_keys(text)])
    parts: list[bytes] = []
    end = 0
    for start, stop, what in spans:
        if start >= end:
            parts += [text[end:start], REDACTED.encode()]
            found[what] += 1
        end = max(end, stop)
    return b"".join([*parts, text[end:]]) if parts else text


def _spans(text: bytes, rules: tuple[Rule, ...]) -> Iterator[tuple[int, int, str]]:
    """Where secrets stand, and what they are. Anchors are found far quicker than patterns."""
    low = text.lower()
    places: dict[tuple[bytes, bool], list[int]] = {}
    for rule in rules:
        here = text if rule.cased else low
        for anchor in rule.anchors:
            if (anchor, rule.cased) not in places:
                places[anchor, rule.cased] = list(_places(here, anchor))
            for at in places[anchor, rule.cased]:
                span = _span(here, rule, at)
                if span is not None and _is_secret(text[slice(*span)], rule):
                    yield *span, rule.what


def _places(text: bytes, anchor: bytes) -> Iterator[int]:
    at = text.find(anchor)
    while at >= 0:
        yield at
        at = text.find(anchor, at + 1)


def _span(text: bytes, rule: Rule, at: int) -> tuple[int, int] | None:
    """Where a secret stands that the rule tells at an anchor; None if it tells none."""
    match = rule.pattern.match(text, at)
    if match is None:
        return None
    start, stop = match.span(match.lastgroup or 0)
    if match.lastgroup == "word":
        stop = start + len(text[start:stop].rstrip(b",;)}]>"))
    if rule.before is not None:
        first = max(0, at - _BEFORE)
        before = rule.before.search(text[first:at])
        if before is None:
            return None
        start = first + before.start("secret") if before.groups() else start
    return start, stop


def _is_secret(found: bytes, rule: Rule) -> bool:
    return not _PLACEHOLDER.fullmatch(found) and (rule.holds is None or rule.holds(found))


def _ends_of_keys(text: bytes) -> Iterator[tuple[int, int, str]]:
    """The lines of private keys whose beginning is cut off."""
    for match in _END_OF_KEY.finditer(text) if b"PRIVATE KEY" in text else ():
        start = match.start()
        while line := _LINE_OF_KEY.search(text[max(0, start - 120) : start]):
            start -= len(line[0])
        if start < match.start() and text[start : match.start()].strip() != REDACTED.encode():
            yield start, match.start(), "private keys"

"""JSON and YAML as kubectl and calicoctl print them, read without trust: no references, no depth without end."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import yaml

BROKEN = "not read"
"""Stands for the rest of YAML that breaks off."""

_BEGIN = re.compile(
    r"\s*(?:\{\s*(?:[\"}\n]|$)|\[\s*(?:[{\[\]\"\n]|$)|apiVersion:|kind:|items:|- apiVersion:|metadata:|---$)"
)


def begins(line: str) -> bool:
    """Whether JSON or YAML of objects may begin with this line.

    >>> begins('{"kind": "Pod"}'), begins("["), begins("[20417.55] eth0: up"), begins("    [NEW] tcp")
    (True, True, False, False)
    """
    return bool(_BEGIN.match(line))


def load(body: str) -> list[Any]:
    """The documents in JSON, JSON in a row, or YAML.

    Of JSON that breaks off ``ValueError`` or ``msgspec.DecodeError`` tells; of YAML what stands before the break is
    given, and :data:`BROKEN` last.
    """
    if body.lstrip()[:1] not in ("{", "["):
        return _yaml(body)
    try:
        return [msgspec.json.decode(body)]
    except msgspec.DecodeError:
        return _json_in_a_row(body)


def _json_in_a_row(body: str) -> list[Any]:
    found: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    while rest := body[at:].lstrip():
        document, at = decoder.raw_decode(body, len(body) - len(rest))
        found.append(document)
    return found


_DEPTH = 200
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it
_WORDS: dict[str, Any] = {"": None, "null": None, "~": None, "Null": None, "true": True, "false": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,30}(?:\.[0-9]{0,30}(?:[eE][-+]?[0-9]{1,3})?|[eE][-+]?[0-9]{1,3})")


def _yaml(body: str) -> list[Any]:
    """The documents of YAML, with the values that JSON has (a time stays a text).

    Built from libyaml's events, as its own loader recurses without a bound. References are refused: no tool prints
    them, and with them a few words can say that an object has billions of parts. Where the text breaks, a word stands
    for the rest.
    """
    loader = _Loader(body)
    found: list[Any] = []
    stack: list[_Open] = []
    try:
        while (event := loader.get_event()) is not None:
            if isinstance(event, yaml.ScalarEvent):
                _put(found, stack, _scalar(event))
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                stack.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else []))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                _put(found, stack, stack.pop().value)
            elif isinstance(event, yaml.AliasEvent):
                raise ValueError("a reference")
            if len(stack) > _DEPTH:
                raise ValueError("nested too deeply")
    except (ValueError, yaml.YAMLError):  # a list that was cut has whole objects before the cut
        found += stack[1].value if len(stack) > 1 and stack[0].key == "items" else []
        found.append(BROKEN)
    finally:
        loader.dispose()
    return found


class _Open:
    """A mapping or list that is being read, and the key that waits for its value."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        self.value, self.key = value, None

    def add(self, value: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is None:
            self.key = value if isinstance(value, str) else json.dumps(value)
        else:
            self.value[self.key], self.key = value, None

    key: str | None


def _put(found: list[Any], stack: list[_Open], value: Any) -> None:
    if stack:
        stack[-1].add(value)
    else:
        found.append(value)


def _scalar(event: Any) -> Any:
    """What a scalar stands for: only a plain one can be anything but a text."""
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def items(document: Any) -> list[Any]:
    """The objects of a document, lists taken apart."""
    if isinstance(document, list):
        return [item for part in document for item in items(part)]
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        kind = str(document.get("kind") or "").removesuffix("List")
        return [{"kind": kind, **i} if kind and isinstance(i, dict) else i for i in document["items"]]
    return [] if document is None else [document]

"""What is secret by its place in what tools print: the description of objects by kubectl, BIRD's configuration."""

from __future__ import annotations

import re
from collections import Counter

from calicokit.evidence.recordings.secret_objects import CONTAINERS, NAMESPACES, arguments, keeps_note, keeps_setting
from calicokit.evidence.recordings.secret_texts import REDACTED

_CONTAINER = re.compile(r"( {1,8})([\w.-]+):\s*")
_BLOCK = re.compile(r"\s*(Args|Command|Environment):\s*")
_VARIABLE = re.compile(r"(\s+[^\s:]+:\s*)(.*?)(\s*)", re.DOTALL)
_REFERENCE = re.compile(r"<set to the key '[^']*' (?:in secret|of config map) '[^']*'>.*|\(v1:[\w.\[\]'/-]+\)|<none>|")
_PROBE = re.compile(
    r"(\s*(?:Liveness|Readiness|Startup):\s+)(exec \[|http-get \w+://[^/\s]*/)(.*?)(\]? delay=.*|\Z)", re.DOTALL
)
_NOTE = re.compile(r"(\s*(?:Annotations:\s+)?)([^\s:]+)(:\s*)(.*?)(\s*)", re.DOTALL)

_BIRD = re.compile(
    rb"(?i)\b(?:password|secret)[ \t]+(?:\"(?P<line>[^\r\n]+)\"|\"(?P<rest>[^\"]{1,4000})|(?P<bare>[^\s\";{]+))"
)
"""BIRD's strings have no escapes, and confd writes a password as it is: quotes in it, or the end of a line, are its."""


def bird(text: bytes, found: Counter[str]) -> bytes:
    """BIRD's configuration without passwords."""

    def hidden(match: re.Match[bytes]) -> bytes:
        start, end = (at - match.start() for at in match.span(match.lastgroup or 0))
        if match[0][start:end] == REDACTED.encode():
            return match[0]
        found["passwords and tokens"] += 1
        return match[0][:start] + REDACTED.encode() + match[0][end:]

    return _BIRD.sub(hidden, text)


def described(text: bytes, found: Counter[str]) -> bytes:
    """``kubectl describe`` of pods or nodes without arguments, variables, probes and annotations that nobody needs."""
    reader = _Description(found)
    lines = text.decode("utf-8", "surrogateescape").splitlines(keepends=True)
    return "".join(map(reader.line, lines)).encode("utf-8", "surrogateescape")


class _Description:
    """Reads line by line; where a line belongs is told by the headings above it and by its depth."""

    def __init__(self, found: Counter[str]) -> None:
        self.found = found
        self.trusted = self.calico = self.hiding = False
        self.section = self.block = ""
        self.depth = 0  # of the block's heading
        self.first = 0  # of what stands below it
        self.previous = ""  # the argument before

    def line(self, line: str) -> str:
        if not line.strip():
            return line
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            self._heading(line)
        if self.section == "Annotations":
            return self._note(line, depth)
        if self.block and depth > self.depth:
            self.first = self.first or depth
            return self._variable(line, depth) if self.block == "Environment" else self._word(line)
        self.block = ""
        if opened := _BLOCK.fullmatch(line):
            self.block, self.depth, self.first, self.previous = opened[1], depth, 0, ""
        elif self.section.endswith("Containers") and (named := _CONTAINER.fullmatch(line)):
            self.calico = self.calico if len(named[1]) > 2 else self.trusted and named[2] in CONTAINERS
        return line if self.calico else _PROBE.sub(self._probe, line)

    def _heading(self, line: str) -> None:
        self.section, _, value = line.partition(":")
        self.calico, self.first = False, 0
        if self.section == "Name":
            self.trusted = False
        elif self.section == "Namespace":
            self.trusted = value.strip() in NAMESPACES

    def _hidden(self, what: str) -> str:
        self.found[what] += 1
        return REDACTED

    def _probe(self, match: re.Match[str]) -> str:
        return match[0] if match[3] in ("", REDACTED) else f"{match[1]}{match[2]}{self._hidden('probes')}{match[4]}"

    def _whole(self, line: str, what: str) -> str:
        """A line of which only the layout stays."""
        text = line.strip()
        return line if text == REDACTED else line.replace(text, self._hidden(what))

    def _word(self, line: str) -> str:
        if not self.calico:
            return self._whole(line, "arguments")
        word = line.strip()
        kept = arguments([self.previous, word], Counter())[-1]
        self.previous = word
        if kept != word:
            self.found["arguments"] += 1
        return line.replace(word, kept)

    def _variable(self, line: str, depth: int) -> str:
        match = _VARIABLE.fullmatch(line) if depth <= self.first else None
        if match is None:
            return self._whole(line, "environment values") if self.hiding or depth <= self.first else line
        self.hiding = not (self.calico and keeps_setting(match[1].strip().rstrip(":")))
        if not self.hiding or match[2] == REDACTED or _REFERENCE.fullmatch(match[2]):
            return line
        return f"{match[1]}{self._hidden('environment values')}{match[3]}"

    def _note(self, line: str, depth: int) -> str:
        match = _NOTE.fullmatch(line) if not self.first or depth in (0, self.first) else None
        if depth == 0 and match is not None:
            self.first = len(match[1])
        if match is None:
            return self._whole(line, "annotations") if self.hiding or not self.first else line
        self.hiding = not keeps_note(match[2])
        if not self.hiding or match[4] in ("", REDACTED, "<none>"):
            return line
        return f"{match[1]}{match[2]}{match[3]}{self._hidden('annotations')}{match[5]}"

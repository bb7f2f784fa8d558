"""What carries a tool's lines: Docker's JSON, syslog and the journal, kubectl's prefixes, diff, quotes, Ansible.

Such a carrier is told by the lines at both ends of a text, and taken off every line that has it; lines keep their
numbers, but for Ansible's, which puts a whole output on one line. A kind that reads what a container runtime and syslog
write before a line (logs do) gets Docker's time in the runtime's form and keeps syslog's: no time or host is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

MOST = 0.6
"""The share of lines at the ends that have a carrier, where it is one: among them may be prompts and wrapped lines."""

_DOCKER = re.compile(r'\{"log": ?"')
_SYSLOG = re.compile(
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,6})?"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)"
    r" [\w.:-]{1,253} (?!kernel:|bird6?[:[])[\w./@-]{1,80}(?:\[\d{1,9}\])?: "
)
_POD = re.compile(r"\[pod/[^\]\s]{1,253}\] ?|[\w.-]{1,80} +\| ")
_HUNK = re.compile(r"@@ .{0,200}|(?:---|\+\+\+) \S.{0,200}|diff (?:--git )?.{0,300}|index [0-9a-f]+\.\..{0,60}")
_RULE = re.compile(r"\+[-+=]*")
_QUOTE = re.compile(r"(?:> ?)+")
_QUOTED = re.compile(r">")


def unwrapped(text: str, edges: Sequence[str], stamped: bool) -> str:
    """The text without what carries its lines; the same text if the lines at its ends, ``edges``, show nothing like it.

    With ``stamped``, a container runtime's and syslog's time and host stay before a line.

    >>> unwrapped("> a\\n> b", ["> a", "> b"], False)
    'a\\nb'
    """
    if any(_ANSIBLE.search(line) for line in edges) and (said := _ansible(text)) is not None:
        return said
    for shows, line in _CARRIERS:
        if _most(edges, shows):
            text = "\n".join(line(each, stamped) for each in text.split("\n"))
            edges = [line(each, stamped) for each in edges]
    if not stamped and _most(edges, _POD):  # logs' reader knows them, and is quicker
        return "\n".join(_POD.sub("", line, count=1) for line in text.split("\n"))
    return _without_marks(text) if _is_diff(edges) and _is_diff(text.split("\n")) else text


def _most(lines: Sequence[str], shows: re.Pattern[str]) -> bool:
    return bool(lines) and sum(shows.match(line) is not None for line in lines) >= MOST * len(lines)


# ---- one line in one


def _quote(line: str, _: bool) -> str:
    return _QUOTE.sub("", line, count=1) if line.startswith(">") else line


def _docker(line: str, stamped: bool) -> str:
    """What one line of Docker's json-file driver holds (daemon/logger/jsonfilelog): a part of a line has no newline."""
    if not _DOCKER.match(line):
        return line
    try:
        found = json.loads(line)
    except ValueError:
        return line
    said = str(found["log"])
    if not stamped:
        return said.rstrip("\r\n")
    part, time, stream = "F" if said.endswith("\n") else "P", found.get("time"), found.get("stream")
    return f"{time} {stream} {part} {said.rstrip()}" if time and stream else said.rstrip()


def _syslog(line: str, stamped: bool) -> str:
    return line if stamped else _SYSLOG.sub("", line, count=1)


_CARRIERS: tuple[tuple[re.Pattern[str], Callable[[str, bool], str]], ...] = (
    (_QUOTED, _quote),
    (_DOCKER, _docker),
    (_SYSLOG, _syslog),
)


# ---- diff


def _is_diff(lines: Sequence[str]) -> bool:
    """Whether every line has a mark in front and one of them is new; a list in YAML has no ``+``."""
    marked = [line for line in lines if line.strip()]
    return (
        bool(marked)
        and all(line[0] in "+- " or _HUNK.fullmatch(line) for line in marked)
        and any(line[0] == "+" and not _RULE.fullmatch(line) for line in marked)
    )


def _without_marks(text: str) -> str:
    return "\n".join("" if _HUNK.fullmatch(line) else line[1:] for line in text.split("\n"))


# ---- Ansible

_ANSIBLE = re.compile(
    r"^(?:ok|changed|fatal|failed|skipping): \[|^\S{1,253} \| (?:SUCCESS|CHANGED|FAILED|UNREACHABLE)\b"
    r'|^\s*\{?\s*"(?:[\w.]{0,60}stdout(?:_lines)?|plays)": '
)
_HOST = re.compile(
    r"^(?:ok|changed|fatal|failed): \[(?P<host>[^\]\s]{1,253})[^\]\n]{0,253}\]"
    r"(?:: \S{1,40}!)?(?: => (?:\(item=[^\n]*\) => )?)?"
    r"|^(?P<one>[\w.-]{1,253}) \| (?:SUCCESS|CHANGED|FAILED)!?(?: \| rc=\d{1,5})?(?: =>| >>) ?\n?"
)
_TALK = re.compile(r"(?:TASK|PLAY|RUNNING HANDLER|PLAY RECAP)\b.*\*{3,}|\S+ +: ok=\d+ .*|(?:skipping|included): .*")


def _ansible(text: str) -> str | None:
    """The outputs in what Ansible printed, each behind a prompt with its host and command; None where none is there."""
    found = [*_answers(text)]
    if not any(said for _, _, said in found):
        return None
    return "\n".join(f"[{host or 'ansible'}]$ {command}\n{said.rstrip()}\n" for host, command, said in found)


def _answers(text: str) -> Iterator[tuple[str, str, str]]:
    """Host, command and output of each answer."""
    starts = list(re.finditer(_HOST.pattern, text, re.MULTILINE))
    if not starts:
        yield from _of_value("", _value(text))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        body = text[start.end() : following.start() if following else len(text)]
        host = start["host"] or start["one"]
        if body.lstrip()[:1] == "{":
            yield from _of_value(host, _value(body))
        else:
            yield host, "", "\n".join(line for line in body.split("\n") if not _TALK.fullmatch(line))


def _value(text: str) -> Any:
    """The first JSON object of a text; None if there is none."""
    at = text.find("{")
    try:
        return json.JSONDecoder().raw_decode(text, at)[0] if at >= 0 else None
    except (ValueError, RecursionError):
        return None


def _of_value(host: str, value: Any, depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """The outputs in a result, or in all results of a play."""
    if depth > 20 or not isinstance(value, dict | list):
        return
    if isinstance(value, list):
        for each in value:
            yield from _of_value(host, each, depth + 1)
        return
    if (said := _stdout(value)) is not None:
        command = value.get("cmd", "")
        yield host, " ".join(map(str, command)) if isinstance(command, list) else str(command), said
        return
    for key, each in value.items():
        if key == "hosts" and isinstance(each, dict):
            for name, result in each.items():
                yield from _of_value(name, result, depth + 1)
        else:
            yield from _of_value(host, each, depth + 1)


def _stdout(value: dict[str, Any]) -> str | None:
    """What a result says was printed: by a command, or of a variable that ``debug`` shows."""
    for key, said in value.items():
        name = key.rpartition(".")[2]
        if name in ("stdout", "stdout_lines") or (key == "msg" and "cmd" not in value and isinstance(said, list)):
            return "\n".join(map(str, said)) if isinstance(said, list) else str(said)
    return None

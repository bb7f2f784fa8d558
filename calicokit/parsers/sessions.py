"""A saved session taken apart: each command's output, the command itself, and words that may name its node.

A command stands behind a prompt, behind the ``+`` of ``set -x``, or alone where an output may begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from calicokit.evidence.commands import ran
from calicokit.parsers.base import Line, Parsed, parse
from calicokit.parsers.guess import guess
from calicokit.parsers.pasted import is_bare_command, is_noise, may_be_noise, uncarried

MOST_PARTS = 2_000
CALICO_NODE = "calico-node"


@dataclass(frozen=True)
class Section:
    """One command's output: the command without what runs it elsewhere, words that may name the node, and the text.

    ``line`` is the number of lines before the text; ``typed`` the line that the command stands on; ``chosen`` what the
    output was piped through, as it may have left lines out. They are empty of a text that no command stands before.
    """

    command: str
    hints: tuple[str, ...]
    text: bytes
    line: int = 0
    typed: bytes = b""

    @property
    def chosen(self) -> str:
        match = _FILTER.search(self.typed)
        return match[1].decode("utf-8", "replace").strip() if match else ""


_PROMPT = re.compile(
    rb"^(?P<prompt>[^$#%>\r\n]{0,120})[$#%>]{1,2} ?(?P<command>[a-z/][^\r\n]{0,2000})\r?$", re.MULTILINE
)
_TRACED = re.compile(rb"^\+ (?P<command>[a-z/][^\r\n]{0,2000})\r?$", re.MULTILINE)
_BARE = re.compile(rb"(?:\A\s*|\n[ \t]*\r?\n)(?:(?:```|~~~)[^\n]*\n)?(?P<command>[A-Za-z/.][^\r\n]{0,2000})(?=\r?\n)")
_FILTER = re.compile(rb"\| *((?:e?grep|z?grep|head|tail|awk|sed|less|more) ?[^|]{0,200})")
_SET = re.compile(r"[A-Z_][A-Z0-9_]*=\S+")
_HOST = re.compile(r"(?:^|@|\[)([A-Za-z0-9][\w.-]{0,252})")


def sections(text: bytes) -> Iterator[Section]:
    """A transcript's outputs; where there are no commands of tools that the kit knows, the whole text.

    >>> [s.command for s in sections(b"node-1# ip rule\\n0: from all\\nnode-1# ip route\\ndefault dev eth0\\n")]
    ['ip rule', 'ip route']
    """
    found = [(m, c, h) for m in (*_PROMPT.finditer(text), *_TRACED.finditer(text)) for c, h in _command(m)]
    taken = {m.start("command") for m, _, _ in found}
    bare = (m for m in _BARE.finditer(text) if m.start("command") not in taken)
    found += [
        (m, c, h) for m in bare if is_bare_command(m["command"].decode("utf-8", "replace")) for c, h in _command(m)
    ]
    found.sort(key=lambda f: f[0].start("command"))
    if not found or len(found) > MOST_PARTS:
        yield Section("", (), text)
        return
    starts = [text.rfind(b"\n", 0, m.start("command")) + 1 for m, _, _ in found]
    if _says(text[: starts[0]]):
        yield Section("", (), text[: starts[0]])
    for (match, command, hints), begin, end in zip(found, starts, [*starts[1:], len(text)], strict=True):
        output = text[match.end("command") : end].lstrip(b"\r\n")
        line = text.count(b"\n", 0, end - len(output))
        yield Section(command, hints, output, line, text[begin : match.end("command")])


def _says(text: bytes) -> bool:
    """Whether anything stands in a text but what a page puts around outputs."""
    return any(line.strip() and not is_noise(line) for line in text.decode("utf-8", "replace").split("\n"))


def _command(match: re.Match[bytes]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The command on a line, if it is one that the kit knows of, and what may name a node."""
    prompt = match.groupdict().get("prompt", b"").decode("utf-8", "replace").strip()
    words = match["command"].decode("utf-8", "replace").split()
    while len(words) > 1 and _SET.fullmatch(words[0]):
        words = words[1:]
    if prompt.startswith("bird") and words[0] == "show":
        words = ["birdcl", *words]
    hints = tuple(h for h in _HOST.findall(prompt) if "bird" not in h)
    pods = tuple(w for w in words if w.startswith(f"{CALICO_NODE}-"))
    if words[0] == "ssh":
        hints = (*hints, *words[1:])
    if command := ran(words):
        yield " ".join(command), (*pods, *hints)


@dataclass(frozen=True)
class Output:
    """One output of a session as it was read: its command, the lines before it, its tables, and other kinds that fit.

    ``parsed`` is None where it is of no kind that the kit knows.
    """

    command: str
    line: int
    parsed: Parsed | None
    others: tuple[str, ...] = ()
    text: str = ""


def read(text: str, strict: bool = False) -> list[Output]:
    """Each output of a session; one where all are of one kind, or where the text is no session.

    Numbers of lines are those of the whole text. Raises :class:`~calicokit.parsers.base.ParseError` with ``strict``.

    >>> said = "$ ip rule\\n0:\\tfrom all lookup local\\n$ ip route\\ndefault via 10.0.0.1 dev eth0\\n"
    >>> [output.parsed.kind for output in read(said)]
    ['ip-rule', 'ip-route']
    """
    plain = uncarried(text, stamped=True)
    found = [*sections(plain.encode("utf-8", "surrogatepass"))]
    texts = [each.text.decode("utf-8", "surrogatepass") for each in found]
    guessed = [guess(words, each.command) for each, words in zip(found, texts, strict=True)]
    kinds = {g[0].kind for g, words in zip(guessed, texts, strict=True) if g and words.strip()}
    lost = any(words.strip() and not g for g, words in zip(guessed, texts, strict=True))
    if len(kinds) < 2 and not (lost and kinds):
        whole = guess(text)
        first = next(iter(kinds), whole[0].kind if whole else "")
        parsed = parse(first, text, strict=strict) if first else None
        return [Output(found[0].command, 0, parsed, tuple(g.kind for g in whole if g.kind != first), text)]
    return [
        _read(each, words, [g.kind for g in kinds_], strict)
        for each, words, kinds_ in zip(found, texts, guessed, strict=True)
        if words.strip()
    ]


def _read(section: Section, words: str, kinds: list[str], strict: bool) -> Output:
    if not kinds:
        return Output(section.command, section.line, None, (), words)
    typed = section.typed.decode("utf-8", "surrogatepass")
    parsed = parse(kinds[0], f"{typed}\n{words}" if typed else words, strict=strict)
    before = section.line - bool(typed)
    for frame in parsed.tables.values():
        if "line" in frame:
            frame["line"] += before
    unparsed = [replace(line, number=line.number + before) for line in parsed.unparsed]
    return Output(section.command, section.line, Parsed(parsed.kind, parsed.tables, unparsed), tuple(kinds[1:]), words)


def unread(output: Output) -> list[Line]:
    """The lines of an output that were not read: all of one that is of no known kind."""
    if output.parsed is not None:
        return output.parsed.unparsed
    lines = enumerate(output.text.split("\n"), output.line + 1)
    return [Line(number, line.rstrip()) for number, line in lines if line.strip() and not may_be_noise(line)]

"""Noise around a pasted output: colours, quotes, prompts, kubectl's messages, indentation.

It is taken out here and nowhere else, before any parser sees the text; lines keep their numbers, as what goes becomes
an empty line. Only the first and the last lines are looked at to see whether there is anything to do, so a large file
costs nothing; what stands in the middle of one is told where a parser cannot read it (:func:`may_be_noise`). What
carries the lines themselves, such as Docker's JSON, is taken off in :mod:`calicokit.parsers.wrapped`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from calicokit.evidence.commands import PROGRAMS, TOOLS
from calicokit.parsers.wrapped import unwrapped

EDGE = 4000
"""Characters at each end in which noise shows."""

INDENT = 4
"""An indentation of all lines by so much is the paste's, not the tool's."""

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COMMAND = (
    rf"(?:sudo )?(?:[\w./-]{{0,60}}/)?(?:{'|'.join(map(re.escape, sorted(PROGRAMS, reverse=True)))})"
    r"(?:[ \t|].{0,2000})?"
)
_NOISE = re.compile(
    # user@host:/place# …, [user@host place]$ …, bash-5.1# …, / # …
    r"(?:\([\w.-]{1,40}\) ?)?(?:\[[^\]\n]{1,80}\]|[\w.-]{1,40}@[\w.-]{1,80}(?:[:~ ][^\s#$]{0,80})?|(?:ba)?sh-\d[\d.]*"
    r"|[~/][\w./-]{0,60}"
    r"|[\w.-]{1,60}:[~/][\w./-]{0,80})[ \t]?[#$%>](?:[ \t].{0,2000})?"
    # $ …, # command …, PS C:\> …, ❯ …
    rf"|[$%❯➜›][ \t].{{0,2000}}|[$%❯]|[#>][ \t]{_COMMAND}|PS [A-Za-z]:\\\S{{0,80}}>.{{0,2000}}"
    r"|Defaulted container .{0,500}|Defaulting container name .{0,500}|Use 'kubectl describe .{0,300}"
    r"|command terminated with (?:non-zero )?exit code.{0,100}|(?:error: )?exit status \d+|exit code:? \d+"
    r"|Unable to use a TTY.{0,200}|If you don't see a command prompt.{0,100}|Creating debugging pod .{0,300}"
    r"|bird6?>.{0,2000}"
    r"|-- (?:Logs begin at|Journal begins at|Boot [0-9a-f]{32}|No entries|Reboot)\b.{0,200}"
    r"|--More--.{0,60}|\(END\)|lines \d+-\d+(?:/\d+)?.{0,20}|\^C|logout|Connection to \S{1,100} closed\."
    r"|(?:```|~~~)[\w+-]{0,20}|#{2,6} [A-Za-z*`].{0,200}"
    r"|\.{3,}|…|(?:\[|<|\()(?:\.{3}|…|snip|snipped|truncated|omitted)(?:\]|>|\))"
    r"|E\d{4} \d\d:\d\d:\d\d\.\d{1,9} +\d{1,9} memcache\.go:\d{1,5}\] .*"
)
_BARE = re.compile(  # a command line without a prompt: the tool, and words that are no numbers
    r"(?:[A-Z_][A-Z0-9_]{0,60}=\S{1,200} +){0,5}(?:sudo +)?(?:[\w./~-]{0,60}/)?"
    rf"(?:{'|'.join(map(re.escape, sorted(TOOLS, reverse=True)))})(?: +(?!v\d)[A-Za-z/.{{\"'$|-].{{0,2000}})?"
)
_PERHAPS = re.compile(
    r"(?:\[[^\]]{1,200}\] ?|[\w.-]{1,60}@[^$#>%]{1,200}|PS [^>]{0,200}|\S{0,200} ?)[$#>%] ?"
    rf"(?:.{{0,200}}&& )?(?:{_COMMAND}|(?:xtables|iptables|ip6tables)\S*(?: .*)?|k .*)"
    r"|(?:\S{0,200}|\[[^\]]{0,200}\] ?)[$#]|BIRD \S{1,60} ready\.|Access restricted"
    rf"|\+ {_COMMAND}"
    r"|Failed to get .* using context .*|[IWE]\d{4} \d\d:\d\d:\d\d\.\d{1,9} .*|Warning: .*|No resources found.*"
)
_BROKE_OFF = re.compile(
    r"command terminated with (?:non-zero )?exit code 1\d\d\b|(?:error: |E\d{4} .{0,200})?unable to upgrade connection"
    r"|error dialing backend|unexpected EOF|http2: |Error from server|Unable to connect to the server"
    r"|<html|Killed$|(?:Connection|client_loop: send disconnect).{0,100}(?:closed|reset|Broken pipe)",
    re.IGNORECASE,
)
_PADDED = re.compile(r"^\xa0|\xa0\xa0|\xa0 \xa0", re.MULTILINE)
"""A web page's blanks, where they are the indentation or between columns."""
_BOLD = re.compile(r"^\*\*(?=\S)|(?<=\S)\*\*$", re.MULTILINE)
_RETURNS = re.compile(r"\r+$", re.MULTILINE)


def clean(text: str, keep: str = "", stamped: bool = False) -> str:
    """The text as the tool printed it, as far as that can be told; the same text if nothing stands around or in it.

    Lines with ``keep`` in them stay: some parsers read the command line. With ``stamped``, the time and host that a
    log's carrier wrote stay before each line.

    >>> clean("$ ip rule\\n0:\\tfrom all lookup local\\n")
    '\\n0:\\tfrom all lookup local\\n'
    >>> clean("> ```\\n> a b\\n> ```\\n")
    '\\na b\\n\\n'
    """
    text = uncarried(text, stamped)
    edges = _edges(text)
    if not edges:
        return text
    if any(map(is_noise, edges)) or _begins_bare(edges):
        text = "\n".join(_silenced(text.split("\n"), keep))
        edges = _edges(text)
    return _dedented(text, edges) if edges and all(line.startswith(("    ", "\t")) for line in edges) else text


def uncarried(text: str, stamped: bool) -> str:
    """The text without colours, carriage returns, a web page's blanks and what carries its lines; prompts stay.

    >>> uncarried("> $ ip rule\\r\\n> 0:\\x1b[0m from all lookup local\\r\\n", False)
    '$ ip rule\\n0: from all lookup local\\n'
    """
    if "\x1b" in text:
        text = ANSI.sub("", text)
    if "\r" in text:
        text = _RETURNS.sub("", text)
    if "\xa0" in text and _PADDED.search(text):
        text = text.replace("\xa0", " ")
    edges = _edges(text)
    if any(line.startswith("**") or line.endswith("**") for line in edges):
        text = _BOLD.sub("", text)
        edges = _edges(text)
    plain = [line for line in edges if not is_noise(line)]
    return unwrapped(text, plain or edges, stamped) if edges else text


def _silenced(lines: Iterable[str], keep: str) -> Iterator[str]:
    """The lines, empty where one is noise, or a command line without a prompt where an output may begin."""
    fresh = True
    for line in lines:
        noise = is_noise(line) or (fresh and is_bare_command(line))
        fresh = noise or not line.strip()
        yield "" if noise and not (keep and keep in line) else line


def _begins_bare(edges: list[str]) -> bool:
    return is_bare_command(edges[0])


def is_bare_command(line: str) -> bool:
    """Whether a line is a command line without a prompt, if it stands where an output may begin.

    >>> is_bare_command("calicoctl node status"), is_bare_command("calico-node   3   3   3   12d")
    (True, False)
    """
    return len(line) < EDGE and _BARE.fullmatch(line.strip()) is not None


def is_noise(line: str) -> bool:
    """Whether a line is the shell's, kubectl's or a pager's, or a fence of Markdown.

    >>> is_noise("bash-5.1# birdcl show status"), is_noise("# Generated by iptables-save"), is_noise("[0:0] -A INPUT")
    (True, False, False)
    """
    stripped = line.strip()
    return bool(stripped) and len(stripped) < EDGE and _NOISE.fullmatch(stripped) is not None


def may_be_noise(line: str) -> bool:
    """Whether a line is noise if the tool prints none like it: other prompts too, and what clients warn of.

    >>> may_be_noise("node-1 # ip -d addr"), may_be_noise("Warning: v1 Endpoints is deprecated"), may_be_noise("x -> y")
    (True, True, False)
    """
    stripped = line.strip()
    return is_noise(stripped) or (len(stripped) < EDGE and _PERHAPS.fullmatch(stripped) is not None)


def broke_off(text: str) -> bool:
    """Whether a text ends with the words of a client that lost the command or the server.

    >>> broke_off("0: from all lookup local\\ncommand terminated with exit code 137\\n"), broke_off("BIRD is ready.\\n")
    (True, False)
    """
    *_, last = text.rstrip().rsplit("\n", 1)
    return _BROKE_OFF.match(last) is not None


def _edges(text: str) -> list[str]:
    """The whole lines at both ends that are not blank."""
    if len(text) <= 2 * EDGE:
        lines = text.split("\n")
    else:
        head, tail = text[:EDGE].split("\n"), text[-EDGE:].split("\n")
        lines = [*(head[:-1] or head), *tail[1:]]  # of a line that fills the edge its beginning tells enough
    return [line for line in lines if line.strip()]


def _all(text: str, start: str) -> bool:
    return all(line.startswith(start) for line in text.split("\n") if line.strip())


def _dedented(text: str, edges: list[str]) -> str:
    """Without the indentation that all lines share, where it is the paste's."""
    shared = re.match(r"[ \t]*", min(edges, key=lambda ln: len(ln) - len(ln.lstrip()))).group()  # type: ignore[union-attr]
    if len(shared.expandtabs(INDENT)) < INDENT or not _all(text, shared):
        return text
    return "\n".join(line.removeprefix(shared) for line in text.split("\n"))

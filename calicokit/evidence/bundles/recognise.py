"""What is in a file that somebody saved: the parts of it, each by its content, and what tells the node it is from.

A file may be the transcript of a session: then each command's output is a part, and the command itself tells which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath

from calicokit.evidence import node_log
from calicokit.evidence.bundles.kubectl_output import Documents, documents, item_of, refusal
from calicokit.evidence.catalog import CATALOG, PREVIOUS, row_of
from calicokit.evidence.commands import item_of_command
from calicokit.parsers.guess import guess, is_log
from calicokit.parsers.pasted import uncarried
from calicokit.parsers.sessions import CALICO_NODE, sections


@dataclass(frozen=True)
class Part:
    """A part of a file that is evidence: the id of the catalog, its text or objects, and words that may name its node.

    ``scoped`` says which of the cluster's objects a list has, or which lines an output, if not all.
    """

    id: str
    text: bytes = b""
    objects: Documents | None = None
    command: str = ""
    hints: tuple[str, ...] = ()
    scoped: str = ""


@dataclass(frozen=True)
class Unread:
    """A file, or a part of one, that is no evidence, and why; ``objects`` if it is a list that no question needs."""

    why: str
    objects: bool = False


def parts(name: str, data: bytes) -> Iterator[Part | Unread]:
    """What is in a file of this name."""
    text = _utf8(data)
    if b"\0" in text[:8192]:
        yield Unread("is binary")
    elif not text.strip():
        yield Unread("is empty")
    elif _CONTAINER_LOG.search(text):
        yield from _of_dump(name, text)
    else:
        whole = _uncarried(text)
        found_in = list(sections(whole))
        if len(found_in) > 1 and all(_OF_INTERFACES.match(s.command) for s in found_in):
            yield Part("tc-filter", whole, hints=found_in[0].hints)  # a loop over interfaces, which its commands name
            return
        for section in found_in:
            for found in _of_section(name, section.command, section.hints, section.text):
                chosen = f"what `{section.chosen}` left of it" if section.chosen else ""
                yield replace(found, scoped=found.scoped or chosen) if isinstance(found, Part) and chosen else found


_OF_INTERFACES = re.compile(r"tc (?:-\S+ )*filter (?:show|list|ls) dev ")


def _uncarried(text: bytes) -> bytes:
    """The text without what carries its lines, such as Docker's JSON."""
    words = text.decode("utf-8", "surrogateescape")
    bare = uncarried(words, stamped=True)
    return text if bare is words else bare.encode("utf-8", "surrogateescape")


def _utf8(data: bytes) -> bytes:
    """Windows' PowerShell writes UTF-16 where output is redirected."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf")


# ---- kubectl cluster-info dump

_NAME = rb"[\w.-]{1,253}"
_CONTAINER_LOG = re.compile(
    rb"^==== START logs for container (?P<container>%b) of pod %b/(?P<pod>%b) ====\r?$" % (_NAME, _NAME, _NAME), re.M
)
_CONTAINER_END = re.compile(rb"==== END logs for container %b of pod %b/%b ====\r?\n?" % (_NAME, _NAME, _NAME))
"""It stands on a line of its own only where the log ended with one."""

_OF_CONTAINER = {"calico-kube-controllers": "kube-controllers-log", "calico-typha": "typha-log"}
INITS = ("install-cni", "upgrade-ipam", "mount-bpffs", "ebpf-bootstrap", "flexvol-driver")
"""calico-node's init containers (charts/calico/templates/calico-node.yaml; tigera/operator: pkg/render/node.go)."""


def _of_dump(name: str, text: bytes) -> Iterator[Part | Unread]:
    """Logs of containers between headings, and the objects around them, one document after another."""
    starts = list(_CONTAINER_LOG.finditer(text))
    before = [text[: starts[0].start()]]
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        body = text[start.end() : following.start() if following else len(text)].lstrip(b"\r\n")
        log, rest = _split_end(body)
        before.append(rest)
        container = start["container"].decode()
        hints = (start["pod"].decode(),)
        if container == CALICO_NODE:
            yield from _of_node_log(log, hints)
        elif container in INITS and log.strip():
            yield Part("init-log", log, hints=hints)
        elif container in _OF_CONTAINER and log.strip():
            yield Part(_OF_CONTAINER[container], log, hints=hints)
    around = b"\n".join(b for b in before if b.strip())
    if around.strip():
        yield from _of_section(name, "", (), around)


def _split_end(body: bytes) -> tuple[bytes, bytes]:
    """A container's log, and what follows its end."""
    end = _CONTAINER_END.search(body)
    return (body[: end.start()], body[end.end() :]) if end else (body, b"")


def is_dump(data: bytes) -> bool:
    """Whether this is what `kubectl cluster-info dump` prints."""
    text = _utf8(data)
    return bool(_CONTAINER_LOG.search(text)) or b'"ReplicationControllerList"' in text


# ---- one output


def _of_section(name: str, command: str, hints: tuple[str, ...], text: bytes) -> Iterator[Part | Unread]:
    exact = item_of_command(command)
    said = refusal(text)
    if said:
        yield Unread(f"contains an error message instead of output{f' of `{command}`' if command else ''}: {said}")
    elif exact:
        yield Part(exact.id, text, command=command, hints=hints)
    elif (found := documents(text)) is not None:
        yield from _of_documents(name, command, found, text)
    elif text.strip():
        yield from _of_text(name, command, hints, text)


def _of_documents(name: str, command: str, found: Documents, text: bytes) -> Iterator[Part | Unread]:
    kinds = {(o.group, o.plural) for o in found.objects} | found.lists
    if kinds == {("", "")}:
        kinds = _named(f"{name} {command}")
    if found.broken and not kinds:
        other = [p for p in _of_text(name, command, (), text) if isinstance(p, Part)]  # JSON that is no objects
        yield from other
        if not other:
            yield Unread(found.broken)
        return
    ids = {item_of(*kind) for kind in kinds} - {None}
    for id_ in sorted(i for i in ids if i):
        yield Part(id_, text, None if CATALOG[id_].parser else found, command, scoped=_scoped(command, kinds))
    if not ids:
        words = ", ".join(sorted(plural for _, plural in kinds if plural)) or "a kind that it does not name"
        yield Unread(f"is a list of {words}, which no question of the kit needs", objects=True)


_NAMESPACE = re.compile(r" (?:-n ?|--namespace[= ])([\w.-]{1,253})")


def _scoped(command: str, kinds: set[tuple[str, str]]) -> str:
    """Which objects a list holds, where its command or the lists beside it tell that these are not all."""
    if ("v1", "replicationcontrollers") in kinds:
        return "a dump of the requested namespaces"
    if found := _NAMESPACE.search(command):
        return f"the objects of namespace {found[1]} only"
    return "what a selector chose" if re.search(r" (?:-l|--selector|--field-selector)\b", command) else ""


def _named(words: str) -> set[tuple[str, str]]:
    """The kinds whose plural, or singular, is among these words: for an empty list, which names none itself."""
    low = set(re.findall(r"[a-z]{3,60}", words.lower()))
    found = set()
    for item in CATALOG.values():
        for plural in getattr(item.how, "plurals", ()):
            if low & {plural, plural.removesuffix("s"), plural.removesuffix("ies") + "y"}:
                found.add((item.how.groups[0], plural))  # type: ignore[union-attr]
    return found


def _of_text(name: str, command: str, hints: tuple[str, ...], text: bytes) -> Iterator[Part | Unread]:
    if len(text) < 2000 and _ESTABLISHED.match(text):
        yield Part("bird-ready", text, command=command, hints=hints)
        return
    if _API_RESOURCES.match(text):
        yield Part("api-resources", text, command=command, hints=hints)
        return
    words = text.decode("utf-8", "backslashreplace")
    found = guess(words, command)
    if found and is_log(found[0].kind):
        past = {service: id_ for id_, service in PREVIOUS.items()} if "previous" in name.lower() else {}
        past |= {"bird-log": "bird6-log"} if PurePosixPath(name).name.startswith("bird6") else {}
        yield from (replace(part, id=past.get(part.id, part.id)) for part in _of_log(found[0].kind, text, hints))
        return
    by_name = _stems().get(PurePosixPath(name).stem.lower())
    for guessed in found:
        if row := row_of(guessed.kind, words):
            # bird6 prints some things as bird does: then a file's name tells.
            six = by_name if by_name and CATALOG[by_name].ipv6 and CATALOG[by_name].parser == row.parser else ""
            yield Part(six or row.id, text, command=command, hints=(*hints, *_nodename(guessed.kind, words)))
            return
    if by_name and len(text) < 300:  # a word or two, such as a node's name, has no form of its own
        yield Part(by_name, text, command=command, hints=hints)
    elif found:
        yield Unread(f"is read as {found[0].kind}, which no check uses")
    elif _LOG_LINE.search(text[:60_000]):
        yield Unread("is a log of none of Calico's components that the kit reads")
    else:
        yield Unread(f"{f'the output of `{command}`' if command else 'its text'} is of no kind that the kit knows")


_ESTABLISHED = re.compile(rb"\s*(?:\S+ \S+ \[\w+\]\[\d+\] \S+ \d+: )?Number of node\(s\) with BGP peering established")
"""What a probe of BIRD logs where it finds nothing wrong (confd/pkg/health or node/pkg/health/health.go)."""


_API_RESOURCES = re.compile(rb"NAME +SHORTNAMES +(?:APIVERSION|APIGROUP) +NAMESPACED +KIND")


@cache
def _stems() -> dict[str, str]:
    return {item.id: item.id for item in CATALOG.values() if item.parser}


# ---- logs

_LOG_LINE = re.compile(rb"\[(?:DEBUG|INFO|WARNING|ERROR|FATAL|PANIC)\]\[\d{1,10}\] ", re.M)
_DETERMINED = re.compile(rb"(?:Determined node name: |Using NODENAME environment for node name )([\w.-]{1,253})")
_NODE_LOGS = ("felix-log", "confd-log", "bird-log", "startup-log")
"""The kinds of logs whose lines stand in one with others', which is calico-node's."""

_INSTALLER = b"] cni-installer/"


def _of_log(kind: str, text: bytes, hints: tuple[str, ...]) -> Iterator[Part]:
    """calico-node's log mixes several; those of the others are of one component."""
    found = list(_of_node_log(text, hints)) if kind in _NODE_LOGS else []
    yield from found or [Part("init-log" if _INSTALLER in text else kind, text, hints=hints)]


def _of_node_log(text: bytes, hints: tuple[str, ...]) -> Iterator[Part]:
    named = tuple(m.decode() for m in _DETERMINED.findall(text[:500_000])[:1])
    for id_, part in node_log.split(text).items():
        if id_ != node_log.UNKNOWN:
            yield Part(id_, part, hints=(*hints, *named))


def _nodename(kind: str, text: str) -> tuple[str, ...]:
    """What names the node in an output of a kind: the CNI configuration does."""
    found = re.search(r'"nodename": ?"([\w.-]{1,253})"', text) if kind == "cni-conflist" else None
    return (found[1],) if found else ()

"""Objects that kubectl or calicoctl printed as YAML or JSON, and what kubectl printed where it got no answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from calicokit.evidence.catalog import CATALOG, Api
from calicokit.parsers.kubernetes import structured
from calicokit.parsers.pasted import may_be_noise

ADMIN = {
    ("projectcalico.org", "workloadendpoints"): "calicoctl-get-workloadendpoints-yaml",
    ("projectcalico.org", "nodes"): "calicoctl-get-nodes-yaml",
    ("projectcalico.org", "profiles"): "calicoctl-get-profiles-yaml",
}
"""What only calicoctl prints: no API serves a list of it."""

SINGLE = frozenset(
    ("clusterinformations", "ipamconfigs", "kubecontrollersconfigurations", "installations", "configmaps")
)
"""Lists that hold one object by nature, so that the object alone is the list."""

ALONE = {
    "felixconfigurations": ("default", "those of nodes (node.NAME) are not known"),
    "bgpconfigurations": ("default", "those of nodes (node.NAME) are not known"),
    "apiservers": ("default", ""),
    "tigerastatuses": ("", "the other components' are not known"),
    "apiservices": ("", "the other API services are not known"),
}
"""Lists of which one object alone is of use: its name, "" for any, and what is not known without the others."""


@dataclass(frozen=True, slots=True)
class Printed:
    """One object as it was printed: its API group with version, its kind's plural, and its JSON."""

    group: str
    plural: str
    namespace: str
    name: str
    raw: bytes
    revision: int = 0


@dataclass
class Documents:
    """What a text of YAML or JSON holds.

    ``lists`` are the (group, plural) of its lists, also of empty ones, whose kind may be unknown: ("", ""). ``broken``
    says where the text breaks off.
    """

    objects: list[Printed] = field(default_factory=list)
    lists: set[tuple[str, str]] = field(default_factory=set)
    broken: str = ""


class _Meta(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815 (the API's name)


class _Head(msgspec.Struct):
    kind: str = ""
    apiVersion: str = ""  # noqa: N815
    metadata: _Meta | None = None


class _List(msgspec.Struct):
    kind: str
    items: list[msgspec.Raw] | None
    apiVersion: str = ""  # noqa: N815


_HEAD, _LIST = msgspec.json.Decoder(_Head), msgspec.json.Decoder(_List)


def plural_of(kind: str) -> str:
    """The plural of a kind, as Kubernetes guesses it.

    >>> plural_of("NetworkPolicy"), plural_of("IPAMBlock"), plural_of("CalicoNodeStatus")
    ('networkpolicies', 'ipamblocks', 'caliconodestatuses')
    """
    low = kind.lower()
    if low.endswith("y"):
        return low[:-1] + "ies"
    return low + "es" if low.endswith(("s", "x", "ch")) else low + "s"


def item_of(group: str, plural: str) -> str | None:
    """The row of the catalog that is this list of objects; None if there is none."""
    return _BY_KIND.get((group, plural)) or ADMIN.get((group.split("/")[0], plural))


_BY_KIND = {
    (group, plural): item.id
    for item in CATALOG.values()
    if isinstance(item.how, Api)
    for group in item.how.groups
    for plural in item.how.plurals
}


def documents(text: bytes) -> Documents | None:
    """The objects in a text, without what a shell or a warning put around them; None if it is no YAML or JSON.

    >>> found = documents(b"kind: List\\nitems:\\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\\n")
    >>> [(o.group, o.plural, o.name) for o in found.objects]
    [('v1', 'pods', 'a')]
    """
    try:
        plain = _LIST.decode(text)  # what the API server and kubectl -o json print, without building its objects
        return _of_list(plain.kind, plain.apiVersion, [bytes(i) for i in plain.items or ()])
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    body = _body(text.decode("utf-8", "replace"))
    if body is None:
        return None
    try:
        loaded = structured.load(body)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        return Documents(broken=f"it is not JSON ({str(error)[:100]})")
    found = Documents()
    for document in loaded:
        _add(found, document)
    return found if found.objects or found.lists or found.broken else None


def _add(found: Documents, document: Any) -> None:
    if document == structured.BROKEN:
        found.broken = "it is truncated, or not YAML from some line on"
    elif isinstance(document, list):
        for part in document:
            _add(found, part)
    elif isinstance(document, dict) and isinstance(document.get("items", 0), list | None):
        raw = [msgspec.json.encode(i) for i in document["items"] or ()]
        more = _of_list(str(document.get("kind") or "List"), str(document.get("apiVersion") or ""), raw)
        found.objects += more.objects
        found.lists |= more.lists
    elif isinstance(document, dict) and "kind" in document:
        found.objects += _objects([msgspec.json.encode(document)], "", "")


def _of_list(kind: str, group: str, raw: list[bytes]) -> Documents:
    own = kind.removesuffix("List")
    objects = list(_objects(raw, own, group if own else ""))
    lists = {(o.group, o.plural) for o in objects} or {(group, plural_of(own)) if own else ("", "")}
    return Documents(objects, lists)


def _objects(raw: Iterable[bytes], kind: str, group: str) -> Iterator[Printed]:
    for each in raw:
        try:
            head = _HEAD.decode(each)
        except msgspec.DecodeError:
            head = _Head()  # of an odd shape; the table that reads it says so
        meta = head.metadata or _Meta()
        revision = int(meta.resourceVersion) if meta.resourceVersion.isdigit() else 0
        which = head.apiVersion or group, plural_of(head.kind or kind)
        yield Printed(*which, meta.namespace, meta.name, each, revision)


def _body(text: str) -> str | None:
    """The text from where YAML or JSON begins to its end; None if it does not begin so."""
    lines = text.lstrip("\ufeff").split("\n")
    start, end = 0, len(lines)
    while start < end and _around(lines[start]):
        start += 1
    while end > start and _around(lines[end - 1]):
        end -= 1
    return "\n".join(lines[start:end]) if start < end and structured.begins(lines[start]) else None


def _around(line: str) -> bool:
    plain = line.strip()
    return not plain or may_be_noise(plain) or plain.startswith("WARNING: ")


_REFUSED = re.compile(
    r"(?:error: |Error from server|Error: |Unable to connect to the server|The connection to the server |OCI runtime "
    r"|Failed to (?:create|execute|list|get) |Cannot connect to |rpc error: |(?:ba|da)?sh: |executable file not found"
    r"|Object \"\w{1,40}\" is unknown, try|Usage: )"
)
_EXIT = re.compile(r"\n?command terminated with exit code (\d{1,3})\s*\Z")
_NOT_SERVED = re.compile(r"the server doesn't have a resource type|the server could not find the requested resource")
LONGEST_REFUSAL = 4000


def refusal(text: bytes) -> str:
    """What kubectl, a runtime or a shell said instead of an answer, as one line; "" where the text is an answer."""
    if len(text) > LONGEST_REFUSAL:
        return ""
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line and not may_be_noise(line)]
    return " ".join(said)[:300] if said and all(_REFUSED.match(line) for line in said[:1]) else ""


def not_served(said: str) -> bool:
    """Whether a refusal says that the API server has no such kind."""
    return bool(_NOT_SERVED.search(said))


_STDERR = re.compile(
    rb"# Warning: (?:iptables-legacy tables present, use iptables-legacy-save to see them"
    rb"|table \S{1,40} \S{1,200} is managed by iptables-nft, do not touch!)\r?\n"
    rb"|[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} {1,7}\d{1,9} [\w.]{1,80}:\d{1,6}\] [^\n]{0,2000}\n"
)


def unmixed(text: bytes) -> tuple[bytes, str, str]:
    """Output that was saved together with standard error, taken apart, and what kubectl says was lost of it.

    Both come in pieces, so that a warning of iptables, nft or kubectl may stand in the middle of a line.
    """
    errors = (
        b"".join(_STDERR.findall(text)).decode("utf-8", "replace") if b"# Warning: " in text or b".go:" in text else ""
    )
    if not errors:
        return text, "", ""
    lost = "kubectl lost a part of the output (Unknown stream id)" if "Unknown stream id" in errors else ""
    return _STDERR.sub(b"", text), errors, lost


def ended(text: bytes) -> tuple[bytes, int | None]:
    """A command's output without kubectl's last line on its exit status, and that status."""
    tail = text[-200:].decode("utf-8", "replace")
    match = _EXIT.search(tail)
    if match is None:
        return text, None
    return text[: len(text) - len(match[0].encode())], int(match[1])

"""Loose outputs: each file by its content, each output attributed to the node that a name tells.

A node is told, in this order, by the user's list of files (:data:`BY_USER`), by what the output or its command says (a
pod of calico-node, the host in a prompt, the node's name in a log), by a file or folder that is named after it. Which
names are nodes is known from what the cluster says of itself; where it says nothing, a folder of outputs is a node.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import msgspec

from calicokit.evidence.bundles import recognise
from calicokit.evidence.bundles.bundle import UNKNOWN_NODE, Contents, ListPart, TextPart
from calicokit.evidence.bundles.kubectl_output import Documents
from calicokit.evidence.bundles.recognise import Part, Unread
from calicokit.evidence.catalog import CATALOG, Log
from calicokit.evidence.files import Files
from calicokit.evidence.model import Missing, Want
from calicokit.parsers.base import parse
from calicokit.parsers.sessions import CALICO_NODE

BY_USER = "calicokit-nodes.txt"
"""A file in the folder that says which node files are from: lines of ``FILE NODE``; FILE may hold ``*``."""

NODES = "nodes"
MOST_TOKENS = 60
"""Words of a file's name that are looked at."""

HALVES = ("ip-route", "ip-addr", "ip-neigh", "ip-rule")
"""Outputs that ``ip -4`` and ``ip -6`` give in halves, which belong together."""


@dataclass(frozen=True)
class _Placed:
    path: str
    part: Part


def sort_loose(files: Files, contents: Contents, other_objects: bool = True) -> Contents:
    """Fill the contents with what is in these files; what is of no use is said in ``unused``.

    Lists of objects that no question needs are not said without ``other_objects``: where a tool collects them.
    """
    contents.by_hand = other_objects
    placed: list[_Placed] = []
    for path in sorted(files.names):
        if path.rsplit("/", 1)[-1] == BY_USER:
            continue
        try:
            found = list(recognise.parts(path, files.read(path)))
        except OSError as error:
            found = [Unread(f"cannot be read: {error}")]
        placed += [_Placed(path, p) for p in found if isinstance(p, Part)]
        unread = [u for u in found if isinstance(u, Unread) and (other_objects or not u.objects)]
        contents.unused += [Missing(path, f"{u.why}; not used") for u in unread]
    contents.unused += [Missing(path, f"{why}; not used") for path, why in sorted(files.refused.items())]
    _add_lists(contents, placed)
    _add_texts(contents, placed, _Names(files, placed))
    return contents


# ---- objects


def _add_lists(contents: Contents, placed: list[_Placed]) -> None:
    lists = [(p, p.part.objects) for p in placed if p.part.objects is not None]
    elsewhere = _namespaces_of_addresses([found for _, found in lists])
    for each, found in lists:
        scoped = each.part.scoped or _of_one_namespace(each.part.id, found, elsewhere)
        contents.lists[each.part.id].append(ListPart(each.path, partial(_same, found), scoped=scoped))


def _same(found: Documents) -> Documents:
    return found


def _of_one_namespace(id_: str, found: Documents, elsewhere: set[str]) -> str:
    """Pods of one namespace are not all pods where addresses of another's are in use."""
    if id_ != "pods":
        return ""
    spaces = {o.namespace for o in found.objects if o.plural == "pods"}
    if len(spaces) != 1 or not elsewhere - spaces:
        return ""
    return f"the pods of namespace {next(iter(spaces))} only; `kubectl get pods -A -o yaml` gives all"


class _Of(msgspec.Struct):
    namespace: str = ""


class _Attribute(msgspec.Struct):
    secondary: _Of | None = None


class _Spec(msgspec.Struct):
    attributes: list[_Attribute] | None = None
    nodeName: str = ""  # noqa: N815 (the API's name)


class _Object(msgspec.Struct):
    spec: _Spec | None = None


_OBJECT = msgspec.json.Decoder(_Object)


def _spec(raw: bytes) -> _Spec:
    try:
        return _OBJECT.decode(raw).spec or _Spec()
    except msgspec.DecodeError:
        return _Spec()


def _namespaces_of_addresses(found: list[Documents]) -> set[str]:
    blocks = [_spec(o.raw) for documents in found for o in documents.objects if o.plural == "ipamblocks"]
    return {a.secondary.namespace for b in blocks for a in b.attributes or () if a.secondary} - {""}


# ---- outputs


def _add_texts(contents: Contents, placed: list[_Placed], names: _Names) -> None:
    contents.known |= names.known
    by_want: defaultdict[Want, list[_Placed]] = defaultdict(list)
    for each in placed:
        if each.part.objects is None:
            of_node = CATALOG[each.part.id].scope == "node"
            by_want[Want(each.part.id, names.node_of(each) if of_node else None)].append(each)
    for want, found in by_want.items():
        kept = found if _is_many(want.id, found) else found[:1]
        if _is_log(want.id) and want.node == UNKNOWN_NODE and len({f.path for f in found}) > 1:
            kept = found[:1]  # logs of several nodes, for all that is known
        contents.texts[want] = [
            TextPart(f.path, partial(bytes, f.part.text), f.part.command, f.part.scoped) for f in kept
        ]
        contents.unused += [_left_out(want, each, kept[0]) for each in found if each not in kept]


def _is_log(id_: str) -> bool:
    return isinstance(CATALOG[id_].how, Log)


def _is_many(id_: str, found: list[_Placed]) -> bool:
    """Whether several texts of one id and node go together: a log's parts, descriptions, the halves of two families."""
    if _is_log(id_) or CATALOG[id_].scope == "cluster":
        return True
    families = [_family(f.part.text) for f in found]
    return id_ in HALVES and len(found) == 2 and sorted(families) == ["4", "6"]


def _family(text: bytes) -> str:
    four = re.search(rb"(?:^|\s)\d{1,3}(?:\.\d{1,3}){3}(?:[/\s]|$)", text)
    six = re.search(rb"(?:^|\s)[0-9a-f]{0,4}:[0-9a-f:]{1,40}(?:[/\s]|$)", text)
    return f"{'4' if four else ''}{'6' if six else ''}"


def _left_out(want: Want, each: _Placed, used: _Placed) -> Missing:
    why = f"is {want.id} of node {want.node} as {used.path} is, which is used"
    if want.node == UNKNOWN_NODE:
        why += f"; say in {BY_USER} which node each file is from"
    return Missing(each.path, f"{why}; not used", want.node)


# ---- nodes


class _Names:
    """Which node a file or an output is from."""

    def __init__(self, files: Files, placed: list[_Placed]) -> None:
        self.listed, self.pods = _nodes_and_pods(placed)
        printed = dict(_printed_pods(placed))
        self.known, self.pods = self.listed | set(printed.values()), printed | self.pods
        self.by_user = list(_user_says(files))
        said = {node for _, node in self.by_user}
        self.listed, self.known = self.listed | said, self.known | said
        self.short = _short(self.known)
        self.names = {n: n for n in self.known} | self.short | self.pods

    def node_of(self, each: _Placed) -> str:
        """The node, or :data:`UNKNOWN_NODE`."""
        for pattern, node in self.by_user:
            if fnmatchcase(each.path, pattern) or fnmatchcase(each.path, f"*/{pattern}"):
                return node
        for hint in each.part.hints:
            if said := self.pods.get(hint) or self._exactly(hint):
                return said
        found = self._in_path(each.path)
        if found is None and len(self.known) == len(self.listed) == 1:
            found = next(iter(self.known))
        return found or UNKNOWN_NODE

    def _exactly(self, word: str) -> str | None:
        return word if word in self.known else self.short.get(word)

    def _in_path(self, path: str) -> str | None:
        folders = path.split("/")
        if not self.known:
            if NODES in folders[:-2]:
                return folders[folders.index(NODES) + 1]
            return folders[-2] if len(folders) > 1 else None
        for part in reversed(folders):
            if node := self._within(part):
                return node
        return None

    def _within(self, word: str) -> str | None:
        """The one node, or calico-node pod, whose name stands in a word between signs that no name goes on with."""
        tokens = [m.span() for m in re.finditer(r"[A-Za-z0-9]+", word)][:MOST_TOKENS]
        spans = [(begin, end) for i, (begin, _) in enumerate(tokens) for _, end in tokens[i:]]
        found = {(end - begin, node) for begin, end in spans if (node := self.names.get(word[begin:end]))}
        most = max((size for size, _ in found), default=0)
        longest = {node for size, node in found if size == most}
        return longest.pop() if len(longest) == 1 else None


def _nodes_and_pods(placed: list[_Placed]) -> tuple[set[str], dict[str, str]]:
    """The nodes that the cluster's own objects and tables name, and the node of each pod."""
    nodes: set[str] = set()
    pods: dict[str, str] = {}
    for each in placed:
        for found in each.part.objects.objects if each.part.objects else ():
            if (found.group, found.plural) == ("v1", "nodes"):
                nodes.add(found.name)
            elif (found.group, found.plural) == ("v1", "pods") and (node := _spec(found.raw).nodeName):
                nodes.add(node)
                pods[found.name] = node
        if each.part.id in ("kubectl-get-nodes-wide", "calicoctl-get-nodes-wide"):
            nodes |= set(re.findall(r"^([a-z0-9][\w.-]{0,252}) +\S", each.part.text.decode("utf-8", "replace"), re.M))
    return nodes - {""}, pods


def _printed_pods(placed: list[_Placed]) -> Iterator[tuple[str, str]]:
    """The pods of calico-node that `kubectl get pods -o wide` printed, with their nodes: of the cluster's, some."""
    for each in placed:
        if each.part.id == "kubectl-get-pods-wide":
            found = parse("kubectl-get", each.part.text.decode("utf-8", "replace")).frame
            for name, node in zip(found["name"], found["node"], strict=True):
                if isinstance(name, str) and isinstance(node, str) and name.startswith(f"{CALICO_NODE}-"):
                    yield name, node


def _short(names: set[str]) -> dict[str, str]:
    """The first label of each name that is a domain's, where only one node has it."""
    by_label: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        by_label[name.split(".")[0]].add(name)
    return {label: found.copy().pop() for label, found in by_label.items() if len(found) == 1 and label not in names}


def _user_says(files: Files) -> list[tuple[str, str]]:
    path = next((p for p in sorted(files.names) if p.rsplit("/", 1)[-1] == BY_USER), None)
    lines = files.read(path).decode("utf-8", "replace").splitlines() if path else []
    words = [line.rsplit(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    return [(w[0].strip(), w[1]) for w in words if len(w) == 2]

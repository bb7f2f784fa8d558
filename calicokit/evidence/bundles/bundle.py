"""Support bundles and folders of saved outputs as a source: the parts of their files by the want that they answer.

Which file is which is found out by :mod:`calicokit.evidence.bundles.layouts`; here the parts become evidence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from calicokit.evidence.bundles.kubectl_output import (
    ALONE,
    SINGLE,
    Documents,
    Printed,
    ended,
    not_served,
    refusal,
    unmixed,
)
from calicokit.evidence.catalog import CATALOG, Api, Item, Log
from calicokit.evidence.model import Answer, Evidence, Left, Missing, Source, Want
from calicokit.evidence.recordings.recording import EMPTY_LIST

UNKNOWN_NODE = "unknown"
"""The node of outputs that nothing attributes to a node."""


@dataclass(frozen=True)
class TextPart:
    """A file, or a part of one, that is what a command printed or a log holds.

    ``scoped`` says which of its lines are there, if not all.
    """

    path: str
    read: Callable[[], bytes]
    command: str = ""
    scoped: str = ""


@dataclass(frozen=True)
class ListPart:
    """A file, or a part of one, with objects.

    ``said`` gives what stands there instead of them; ``scoped`` says which of the cluster's objects it has, if not all.
    """

    path: str
    read: Callable[[], Documents]
    said: Callable[[], str] = str
    scoped: str = ""


@dataclass
class Contents:
    """The parts of a bundle by what they answer, and what of it answers nothing.

    ``title`` says what made the bundle; ``lacks`` why a want has no part; ``known`` are its nodes; ``empty`` the ids
    of lists that are known to be of kinds that the cluster does not have; ``partial`` which objects its lists hold,
    where these are not all by its nature; ``by_hand`` if somebody chose its files, not a tool.
    """

    title: str
    lacks: Callable[[Want, Item], str]
    texts: defaultdict[Want, list[TextPart]] = field(default_factory=lambda: defaultdict(list))
    lists: defaultdict[str, list[ListPart]] = field(default_factory=lambda: defaultdict(list))
    known: set[str] = field(default_factory=set)
    empty: set[str] = field(default_factory=set)
    partial: str = ""
    by_hand: bool = False
    time: datetime | None = None
    unused: list[Missing] = field(default_factory=list)

    @property
    def nodes(self) -> list[str]:
        """The nodes that the bundle itself names, or has outputs of."""
        return sorted(self.known | {w.node for w in self.texts if w.node})


class Bundle(Source):
    """A support bundle or a folder of outputs as a source."""

    def __init__(self, name: str, contents: Contents) -> None:
        self.name, self._contents = name, contents

    @property
    def unused(self) -> Sequence[Missing]:
        """Files that are no evidence, and why; the cluster's coverage names them."""
        return self._contents.unused

    @property
    def by_hand(self) -> bool:
        """Whether it is a folder that somebody filled."""
        return self._contents.by_hand

    @property
    def holds(self) -> Sequence[Left]:
        """The parts of a folder that somebody filled; a tool's bundle has much that nobody asks for."""
        if not self._contents.by_hand:
            return ()
        texts = [Left(p.path, want) for want, parts in self._contents.texts.items() for p in parts]
        return texts + [Left(p.path, Want(id_)) for id_, parts in self._contents.lists.items() for p in parts]

    def nodes(self) -> Sequence[str]:
        """Nodes that the bundle names or has outputs of."""
        return self._contents.nodes

    def now(self) -> datetime | None:
        """When the bundle was made, where it says so."""
        return self._contents.time

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        """Answer each want from the parts that hold it."""
        for want in wants:
            for answer in self._answers(want, CATALOG[want.id]):
                yield want, answer

    def _answers(self, want: Want, item: Item) -> Iterator[Answer]:
        if want.series:
            yield Missing(want.id, f"{self._contents.title} shows the cluster once, not over time", want.node)
        elif isinstance(item.how, Api):
            yield self._listed(want, item.how)
        elif parts := self._contents.texts.get(want):
            for part in parts:
                yield self._text(want, part)
        else:
            yield Missing(want.id, self._contents.lacks(want, item), want.node)

    def _text(self, want: Want, part: TextPart) -> Answer:
        try:
            text = part.read()
        except OSError as error:
            return Missing(want.id, f"{part.path} cannot be read: {error}", want.node)
        if said := refusal(text):
            return Missing(want.id, f"{part.path} contains an error message instead of output: {said}", want.node)
        text, status = ended(text)
        errors, lost = "", ""
        if not isinstance(CATALOG[want.id].how, Log):
            text, errors, lost = unmixed(text)
        return Evidence(want, text, part.path, "", part.command, status, errors, self.now(), lost or _lines(part))

    def _listed(self, want: Want, api: Api) -> Answer:
        parts = self._contents.lists.get(want.id, [])
        if not parts:
            if want.id in self._contents.empty:
                return Evidence(want, EMPTY_LIST, "", api.groups[0], time=self.now())
            return Missing(want.id, self._contents.lacks(want, CATALOG[want.id]))
        whole: dict[str, Documents] = {}
        holes: dict[str, str] = {}
        for part in parts:
            try:
                said, found = part.said(), part.read()
            except OSError as error:
                holes[part.path] = f"cannot be read: {error}"
                continue
            if said and api.optional and not_served(said):
                return Evidence(want, EMPTY_LIST, part.path, api.groups[0], time=self.now())
            if why := said or _not_whole(found, want.id) or ("" if self._contents.partial else part.scoped):
                holes[part.path] = why
            else:
                whole[part.path] = found
                if not found.lists and (rest := ALONE.get(want.id, ("", ""))[1]):
                    holes[part.path] = f"{', '.join(o.name for o in found.objects[:3])} alone; {rest}"
        why = "; ".join(f"{path}: {why}" for path, why in holes.items())
        return self._merged(want, api, whole, why) if whole else Missing(want.id, why)

    def _merged(self, want: Want, api: Api, read: dict[str, Documents], holes: str) -> Answer:
        """One list of the objects of one group, each once, as it was last seen."""
        by_group: defaultdict[str, dict[tuple[str, str], Printed]] = defaultdict(dict)
        for each in (o for found in read.values() for o in found.objects if (o.group, o.plural) in _kinds(api)):
            place = by_group[each.group]
            older = place.get(key := (each.namespace, each.name))
            if older is None or older.revision <= each.revision:
                place[key] = each
        group = max(api.groups, key=lambda g: len(by_group[g]))
        objects = [msgspec.Raw(o.raw) for o in by_group[group].values() if _selected(o, api.fields)]
        text = msgspec.json.encode({"kind": "List", "apiVersion": group, "metadata": {}, "items": objects})
        some = self._contents.partial if any(o.namespace for o in by_group[group].values()) else ""
        path = min(read) + (f" and {len(read) - 1} more" if len(read) > 1 else "")
        partial = "; ".join(filter(None, (some, holes)))
        return Evidence(want, text, path, group, time=self.now(), partial=partial)


def _kinds(api: Api) -> set[tuple[str, str]]:
    return {(group, plural) for group in api.groups for plural in api.plurals}


def _lines(part: TextPart) -> str:
    return f"{part.path} has {part.scoped}" if part.scoped else ""


def _not_whole(found: Documents, id: str) -> str:  # noqa: A002
    """Why these objects are not the list: what is not in them would be taken for absent."""
    if found.broken:
        return f"{found.broken}; {len(found.objects)} objects stand before"
    mine = [o for o in found.objects if (o.group, o.plural) not in found.lists and ("", "") not in found.lists]
    of_use = id in ALONE and all(o.name == (ALONE[id][0] or o.name) for o in mine)
    if mine and id not in SINGLE and not of_use:
        names = ", ".join(o.name for o in mine[:3])
        return f"single objects ({names}), not the list of all; `kubectl get {mine[0].plural} -A -o yaml` gives it"
    return ""


def _selected(each: Printed, fields: str) -> bool:
    """Whether a field selector selects an object; the catalog has those of a name only."""
    return not fields or each.name == fields.removeprefix("metadata.name=")

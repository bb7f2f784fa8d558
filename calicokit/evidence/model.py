"""Evidence as it was seen, evidence that could not be had, and the protocol of what gives either.

Nothing here imports pandas: a source only fetches.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

CALICO_NAMESPACE = "CALICOKIT_CALICO_NAMESPACE"
"""The variable in which the command line says where Calico is, to notebooks' kernels too."""


class SourceError(Exception):
    """No answer is possible at all: no such source, unreadable, or nothing in it. Its text is one clear sentence."""


@dataclass(frozen=True, slots=True)
class Want:
    """One piece of evidence that is asked for: a catalog id, and the node where it is one of a node's.

    ``series`` asks for its samples over time (the closing snapshot is not one of them).
    """

    id: str
    node: str | None = None
    series: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing as it was seen, with where and when.

    ``text`` is what the tool printed or the API server answered, unedited. ``exit`` is the exit status of a command
    and None for what has none; ``partial`` says why the text is not whole, if it is not.
    """

    want: Want
    text: bytes
    path: str = ""
    group: str = ""
    command: str = ""
    exit: int | None = None
    stderr: str = ""
    time: datetime | None = None
    partial: str = ""

    @property
    def id(self) -> str:
        return self.want.id

    @property
    def node(self) -> str | None:
        return self.want.node

    @property
    def ref(self) -> str:
        """What stands in a table's ``evidence`` column: the file, or id and node where there is no file."""
        return self.path or (f"{self.id}@{self.node}" if self.node else self.id)

    def decode(self) -> str:
        """The text as characters; bytes that are not UTF-8 are shown, not lost."""
        return self.text.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Missing:
    """Evidence that could not be had, or only in part, and why.

    ``younger`` says that nobody asked for it when the cluster was seen, as the kit did not know of it then: it is
    unknown as anything else, but no hole in what was seen.
    """

    id: str
    why: str
    node: str | None = None
    younger: bool = False

    def __str__(self) -> str:
        return f"{self.id}{f' on {self.node}' if self.node else ''}: {self.why}"

    def as_dict(self) -> dict[str, str]:
        return {"id": self.id, **({"node": self.node} if self.node else {}), "why": self.why}


@dataclass(frozen=True, slots=True)
class Unread(Missing):
    """A text of which hardly anything could be read: another command's, or damaged. It tells nothing."""


@dataclass(frozen=True, slots=True)
class PartlyRead(Missing):
    """A text or a list of which a part is lost or could not be read: what its tables lack may stand there."""


@dataclass(frozen=True, slots=True)
class Failed(Missing):
    """What could not be told through a fault of the kit, although its evidence is there."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a source holds and may be asked for: where it stands, and the want that it answers."""

    path: str
    want: Want


ODD_SHAPE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What reading an object of a shape nobody foresaw raises."""

Answer = Evidence | Missing


@runtime_checkable
class Source(Protocol):
    """Where evidence comes from.

    The kit asks for everything a question needs in one :meth:`fetch`, so that a source can list in bulk and ask
    hundreds of nodes at once. Answers come in any order, as they arrive. A source answers every want with evidence or
    with a reason and raises only :class:`SourceError`; a want that it leaves unanswered counts as missing. A series
    may be answered by several pieces of evidence, each with its ``time``. A class that inherits from this is a source
    that is not live and uses all that it has, unless it says otherwise.
    """

    name: str
    """What the user called it; shown, never used to diagnose."""

    @property
    def live(self) -> bool:
        """Whether it is a cluster that runs: asking it takes time, and what only an admin sees is not asked."""
        return False

    @property
    def unused(self) -> Sequence[Missing]:
        """What lies in it and is no evidence, with the reason: files of a bundle that nothing could read."""
        return ()

    @property
    def by_hand(self) -> bool:
        """Whether somebody put it together of what was at hand: then printed tables stand for lists that it lacks."""
        return False

    @property
    def holds(self) -> Sequence[Left]:
        """What somebody put into it by hand, so that they want to know what of it was of no use: a folder's parts."""
        return ()

    @property
    def calico_namespace(self) -> str:
        """The namespace that the user says Calico is in; empty where it is to be found."""
        return os.environ.get(CALICO_NAMESPACE, "")

    def nodes(self) -> Sequence[str]:
        """Names of nodes that the source knows of without being asked for anything else; the API may know more."""
        ...

    def now(self) -> datetime | None:
        """When this state was seen (UTC), or None where the source cannot tell."""
        ...

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        """Answer every want, in any order, each as soon as it is known."""
        ...


@dataclass
class Wrapping(Source):
    """Another source, and what is given in place of some of its answers."""

    source: Source

    @property
    def live(self) -> bool:
        return self.source.live

    @property
    def unused(self) -> Sequence[Missing]:
        return self.source.unused

    @property
    def by_hand(self) -> bool:
        return self.source.by_hand

    @property
    def holds(self) -> Sequence[Left]:
        return self.source.holds

    @property
    def calico_namespace(self) -> str:
        return self.source.calico_namespace

    def nodes(self) -> Sequence[str]:
        return self.source.nodes()

    def now(self) -> datetime | None:
        return self.source.now()

    def gives(self, want: Want) -> bool:
        """Whether this is not asked of the other source."""
        raise NotImplementedError

    def given(self, want: Want) -> Iterator[Answer]:
        """The answers to one of these wants."""
        raise NotImplementedError

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        """The other source's answers, then those that are given in place of them."""
        yield from self.source.fetch([w for w in wants if not self.gives(w)])
        yield from ((w, answer) for w in wants if self.gives(w) for answer in self.given(w))


@contextmanager
def asking(source: Source, wants: Sequence[Want]) -> Iterator[Iterator[tuple[Want, Answer]]]:
    """A source's answers; where the context is left early (Ctrl-C), what still runs ends at once."""
    answers = source.fetch(wants)
    try:
        yield answers
    finally:
        close = getattr(answers, "close", None)
        if close is not None:
            close()


@dataclass
class Coverage:
    """What was seen and what was not: the honest half of every answer."""

    seen: list[Want] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    """Ids of findings that were looked for on every node of the cluster."""
    partly: dict[str, dict[str, Missing]] = field(default_factory=dict)
    """Ids that were looked for in part: the nodes that are left out, and why."""
    unchecked: dict[str, list[Missing]] = field(default_factory=dict)
    """Ids that were not looked for, or not by all their checks, and why. Each id is in one of these three."""

    def add_missing(self, items: Iterable[Missing]) -> None:
        """Add holes, each once."""
        self.missing = list(dict.fromkeys([*self.missing, *items]))

    def as_dict(self) -> dict[str, object]:
        """As JSON (docs/contracts.md); ``checked`` names the finding ids that could be answered for every subject."""
        seen = [{"id": w.id, **({"node": w.node} if w.node else {})} for w in self.seen]
        return {
            "seen": sorted(seen, key=lambda s: (s["id"], s.get("node", ""))),
            "missing": [m.as_dict() for m in sorted(self.missing, key=lambda m: (m.id, m.node or "", m.why))],
            "checked": sorted(self.checked),
            "partly": {id_: sorted(nodes) for id_, nodes in sorted(self.partly.items())},
            "unchecked": {
                id_: sorted({f"{m.id}: {m.why}" for m in why}) for id_, why in sorted(self.unchecked.items())
            },
        }

    def __repr__(self) -> str:
        lines = [f"seen: {len(self.seen)} pieces of evidence", *(f"missing: {m}" for m in self.missing)]
        return "\n".join(lines)

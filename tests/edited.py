"""A recording with some of its answers edited: a fault that no recording shows, in the tools' own words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from calicokit.cluster import Cluster
from calicokit.diagnosis.model import Finding
from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want
from tests import clusters
from tests.only import said

Edit = Callable[[str], str]


@dataclass
class Edited(Source):
    """An incident whose answers go through ``edits``, by id and node; those in ``gone`` are missing.

    ``errors`` are commands that fail, and what they say. ``samples`` is a series beside the incident's own: time and
    text of each sample, by id and node. ``given`` is evidence that the incident does not have.
    """

    incident: str
    edits: dict[tuple[str, str | None], Edit] = field(default_factory=dict)
    gone: set[tuple[str, str | None]] = field(default_factory=set)
    name: str = "edited"
    samples: dict[tuple[str, str | None], list[tuple[datetime, str]]] = field(default_factory=dict)
    errors: dict[tuple[str, str | None], str] = field(default_factory=dict)
    given: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recording = clusters.recording(self.incident)

    def nodes(self) -> Sequence[str]:
        return self.recording.nodes()

    def now(self) -> datetime | None:
        return self.recording.now()

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        for want, answer in self.recording.fetch(wants):
            key = (want.id, want.node)
            if want.series and key in self.samples:
                for time, text in self.samples[key]:
                    yield want, Evidence(want, text.encode(), path=f"{want.id}@{time:%H%M%S}", time=time)
            elif key in self.given:
                yield want, Evidence(want, self.given[key].encode(), path=f"{want.id} given")
            elif key in self.gone:
                yield want, Missing(want.id, "not in this recording", want.node)
            elif isinstance(answer, Evidence) and key in self.errors:
                yield want, replace(answer, text=b"", exit=1, stderr=self.errors[key])
            elif isinstance(answer, Evidence) and key in self.edits and not want.series:
                yield want, replace(answer, text=self.edits[key](answer.text.decode()).encode())
            else:
                yield want, answer

    def edit(self, id_: str, node: str | None, how: Edit) -> Edited:
        before = self.edits.get((id_, node))
        self.edits[id_, node] = (lambda text: how(before(text))) if before else how
        return self

    def sampled(self, id_: str, node: str, *changes: Edit) -> Edited:
        """A series of two and more samples, ten seconds apart: the closing text, changed by each of these in turn."""
        (answer,) = (a for _, a in self.recording.fetch([Want(id_, node)]))
        assert isinstance(answer, Evidence)
        now = self.now()
        assert now is not None
        first = now - timedelta(seconds=10 * len(changes))
        texts = [(first + timedelta(seconds=10 * i), how(answer.text.decode())) for i, how in enumerate(changes)]
        self.samples[id_, node] = texts
        return self

    def objects(self, id_: str, change: Callable[[dict[str, Any]], None]) -> Edited:
        """Change every object of an API list."""

        def how(text: str) -> str:
            document = json.loads(text)
            for item in document["items"]:
                change(item)
            return json.dumps(document)

        return self.edit(id_, None, how)

    def routes(self, node: str, how: Edit) -> Edited:
        """Edit what ``ip route`` prints of the node, in every form that is recorded as text."""
        self.gone |= {("ip-route-json", n) for n in self.nodes()}
        return self.edit("ip-route-all", node, how).edit("ip-route", node, how)

    def cluster(self) -> Cluster:
        return clusters.Sharing(self)

    def loud(self) -> list[Finding]:
        return [f for f in said(self.cluster()) if f.severity != "info"]

    def heads(self) -> list[Finding]:
        return [f for f in self.loud() if not f.explained_by]


def without(*words: str) -> Edit:
    """Takes out the lines that hold all of these words."""
    return lambda text: "".join(ln for ln in text.splitlines(keepends=True) if not all(w in ln for w in words))


def adding(line: str) -> Edit:
    return lambda text: text + line + "\n"

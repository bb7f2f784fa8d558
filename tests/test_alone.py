"""Every table on sources that hold one piece of evidence each, whole or emptied: what is missing is never a fault."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

import pytest

from calicokit import registry
from calicokit.cluster import Cluster
from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want
from calicokit.registry import TableSpec
from tests import clusters
from tests.recordings import names

HEALTHY = [n for n in names() if n.startswith("healthy-")]
SAMPLED, MORE = 5, 6
"""So many pieces of evidence are tried in the quick run, and of each recording in the slow one.

Others every time the list changes; all of them where the environment has ``CALICOKIT_DAMAGE``.
"""


@dataclass
class Alone(Source):
    """A recording of which only the answers for one id are there, as they are or emptied, with or without the nodes."""

    recording: Source
    id: str
    emptied: bool
    listed: bool
    name: str = "alone"

    def nodes(self) -> Sequence[str]:
        return self.recording.nodes()

    def now(self) -> datetime | None:
        return self.recording.now()

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        mine = [w for w in wants if w.id == self.id or (self.listed and w.id == "nodes")]
        yield from ((w, Missing(w.id, "taken away", w.node)) for w in wants if w not in mine)
        for want, answer in self.recording.fetch(mine):
            emptied = self.emptied and want.id == self.id and isinstance(answer, Evidence)
            yield want, replace(answer, text=_emptied(answer)) if emptied else answer


def _emptied(answer: Evidence) -> bytes:
    return b'{"kind":"List","items":[]}' if answer.text.startswith(b"{") and b'"items"' in answer.text else b""


@cache
def resting(id_: str) -> dict[str, TableSpec]:
    """The tables that rest on this evidence and are asked for without options."""
    tables = registry.load().items()
    return {n: s for n, s in tables if not s.options and id_ in registry.evidence_of((n,))}


@cache
def held(name: str) -> list[str]:
    """The evidence that a recording has and that some table rests on."""
    cluster = Cluster(clusters.recording(name))
    cluster.fetch(registry.load())
    return sorted({w.id for w in cluster.coverage.seen})


def build_all(name: str, id_: str) -> None:
    """Build each table that rests on the evidence; what raises, raises here (``CALICOKIT_RAISES``)."""
    for emptied, listed in ((False, False), (True, True), (True, False), (False, True)):
        cluster = Cluster(Alone(clusters.recording(name), id_, emptied, listed))
        for table in resting(id_):
            try:
                cluster.table(table)
            except Exception as error:
                error.add_note(f"{table} on {id_} alone{', emptied' * emptied}{', with nodes' * listed} of {name}")
                raise


def every() -> list[tuple[str, str]]:
    return [(name, id_) for name in HEALTHY for id_ in held(name)]


def test_tables_are_built_from_a_single_piece_of_evidence() -> None:
    for name, id_ in random.Random(16).sample(every(), SAMPLED):
        build_all(name, id_)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_tables_are_built_from_any_single_piece_of_evidence(name: str) -> None:
    all_ = held(name)
    every_one = os.environ.get("CALICOKIT_DAMAGE")
    for id_ in all_ if every_one else random.Random(name).sample(all_, MORE):
        build_all(name, id_)

"""Evidence taken away or damaged, one piece at a time: never silence about what it told, never a wrong alarm.

Each piece of a recording's evidence is taken away, emptied, cut in the middle or replaced by another command's output,
on all nodes at once and on one node at a time. What a cluster builds from the rest is shared (``tests/clusters.py``).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

import pytest

from calicokit.diagnosis.findings import Findings
from calicokit.evidence.catalog import CATALOG, Api
from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want
from tests import clusters
from tests.examples import first
from tests.recordings import names

HOW = ("gone", "empty", "cut", "other")
SAMPLED, MORE = 4, 8
"""So many pieces of evidence are damaged of each recording: of two in the quick run, of all in the slow one.

All damages of all recordings take hours; they are tried where the environment has ``CALICOKIT_DAMAGE``.
"""
QUICK = ("healthy-vxlan-typha", "bgp-config-edited")

UNTOLD = {
    ("nodename", "cut"): "the file has no end of line, so that the first half of a name is a name",
    ("nodename", "other"): "any text may be a name",
}
"""Damage that nothing in the evidence shows."""


@dataclass(frozen=True)
class Damage:
    """What is done to the evidence of one id, on one node or wherever it is."""

    id: str
    how: str
    node: str | None = None

    def __str__(self) -> str:
        return f"{self.id}{f' of {self.node}' if self.node else ''} {self.how}"


@dataclass
class Damaged(Source):
    """A recording with one damage."""

    recording: Source
    damage: Damage
    name: str = "damaged"

    def nodes(self) -> Sequence[str]:
        return self.recording.nodes()

    def now(self) -> datetime | None:
        return self.recording.now()

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        for want, answer in self.recording.fetch(wants):
            hit = want.id == self.damage.id and self.damage.node in (None, want.node) and not want.series
            yield want, self._damaged(want, answer) if hit and isinstance(answer, Evidence) else answer

    def _damaged(self, want: Want, answer: Evidence) -> Answer:
        if self.damage.how == "gone":
            return Missing(want.id, "taken away", want.node)
        if self.damage.how == "empty":
            return replace(answer, text=b"")
        if self.damage.how == "cut":
            return replace(answer, text=answer.text[: len(answer.text) // 2])
        return replace(answer, text=self._another(want))

    def _another(self, want: Want) -> bytes:
        if isinstance(CATALOG[want.id].how, Api):
            other = Want("services" if want.id != "services" else "namespaces")
        else:
            node = want.node or next(iter(self.nodes()))
            other = Want("nstat" if want.id != "nstat" else "ip-rule", node)
        (answer,) = (a for _, a in self.recording.fetch([other]))
        assert isinstance(answer, Evidence)
        return answer.text


@cache
def used(name: str) -> list[str]:
    """The evidence that a recording has and that checks rest on."""
    seen = {w.id for w in clusters.checked(name).coverage.seen}
    return sorted(seen)


def every(name: str) -> Iterator[Damage]:
    """All damages of a recording."""
    nodes = clusters.opened(name).nodes()
    for id_ in used(name):
        where: list[str | None] = [None, *nodes] if CATALOG[id_].scope == "node" else [None]
        yield from (Damage(id_, how, node) for node in where for how in HOW if (id_, how) not in UNTOLD)


def after(name: str, damage: Damage) -> Findings:
    return clusters.Sharing(Damaged(clusters.recording(name), damage)).check()


def wrong(name: str, damage: Damage) -> str:
    """What is wrong with the answer on a damaged recording; empty where nothing is."""
    whole, found = clusters.checked(name), after(name, damage)
    if found.failed:
        return f"a fault of the kit: {found.failed}"
    loud = {f.id for f in found if f.severity == "critical" or (whole.status == 0 and f.severity == "warning")}
    if alarms := loud - {f.id for f in whole if f.severity != "info"}:
        said = next(f for f in found if f.id in alarms)
        return f"a wrong alarm: {said.id} {said.where}: {said.cause}"
    if whole.status == 1 and found.status == 0:
        return f"silence, although {sorted({f.id for f in whole if f.severity != 'info'})}"
    told = {f.id for f in found}
    lost = {f.id for f in whole if f.severity == "critical"} - told
    if said_checked := lost & set(found.coverage.checked):
        return f"counts as looked for, and was there: {sorted(said_checked)}"
    return ""


def against(name: str, damages: Sequence[Damage]) -> list[str]:
    return [f"{name}: {damage}: {what}" for damage in damages if (what := wrong(name, damage))]


@pytest.mark.parametrize("name", first(1, QUICK))
def test_damage_is_neither_silence_nor_alarm(name: str) -> None:
    assert against(name, sampled(name, SAMPLED)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_no_damage_at_all_is_silence_or_alarm(name: str) -> None:
    every_one = os.environ.get("CALICOKIT_DAMAGE")
    assert against(name, list(every(name)) if every_one else sampled(name, MORE)) == []


def sampled(name: str, count: int) -> list[Damage]:
    damages = list(every(name))
    assert len(damages) > 200
    return random.Random(f"{name} 16").sample(damages, count)

"""Repeated scrapes: a source that remembers its scrapes, so that each further scrape extends a series.

A live cluster is seen once for every table; to watch it, :class:`Watch` asks for the scrapes anew and keeps them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want
from calicokit.felix.metrics.tables import SCRAPES

KEPT = 240
"""Maximum scrapes kept per target; older ones are discarded."""


@dataclass
class Watch(Source):
    """A source whose series of scrapes are those that :meth:`scrape` has taken; all else is the source's.

    ``failed`` says why a node's Felix, or what had answered before, did not answer the last time; its series goes on
    with the next scrape.
    """

    source: Source
    failed: list[Missing] = field(default_factory=list)
    name: str = field(init=False)
    _kept: dict[Want, deque[Evidence]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.source.name

    @property
    def live(self) -> bool:
        return bool(getattr(self.source, "live", False))

    def nodes(self) -> Sequence[str]:
        return self.source.nodes()

    def now(self) -> datetime | None:
        return self.source.now()

    def scrape(self) -> int:
        """Scrape every target now; how many answered. Raises ``SourceError`` if the source gives no answer at all."""
        wants = [Want("felix-metrics", n) for n in self.nodes()]
        wants += [Want(i) for i in SCRAPES if i != "felix-metrics"]
        self.failed = []
        answered = 0
        for want, answer in self.source.fetch(wants):
            series = replace(want, series=True)
            if isinstance(answer, Missing):
                self.failed += [answer] if want.node or series in self._kept else []
                continue
            kept = self._kept.setdefault(series, deque(maxlen=KEPT))
            kept.append(replace(answer, time=datetime.now(UTC)))
            answered += 1
        return answered

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        """The scrapes that were taken, for their series; the source's answers for all else."""
        asked = [w for w in wants if w.series and w.id in SCRAPES]
        for want in asked:
            kept = self._kept.get(want)
            if not kept:
                yield want, Missing(want.id, "not scraped yet", want.node)
            for answer in list(kept or ()):
                yield want, answer
        yield from self.source.fetch([w for w in wants if w not in asked])

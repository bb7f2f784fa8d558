"""Repeated scrapes: a source that remembers its scrapes, so that each further scrape extends a series.

A live cluster is seen once for every table; to watch it, :class:`Watch` asks for the scrapes anew and keeps them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from calicokit.evidence.model import Answer, Evidence, Missing, Want, Wrapping
from calicokit.felix.metrics.tables import SCRAPES

KEPT = 240
"""Maximum scrapes kept per target; older ones are discarded."""


@dataclass
class Watch(Wrapping):
    """A source whose series of scrapes are those that :meth:`scrape` has taken; all else is the source's.

    ``failed`` says why a node's Felix, or what had answered before, did not answer the last time; its series goes on
    with the next scrape.
    """

    failed: list[Missing] = field(default_factory=list)
    name: str = field(init=False)
    _kept: dict[Want, deque[Evidence]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.source.name

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

    def gives(self, want: Want) -> bool:
        """Whether it is a series of a scrape."""
        return want.series and want.id in SCRAPES

    def given(self, want: Want) -> Iterator[Answer]:
        """The scrapes that were taken."""
        taken: list[Answer] = list(self._kept.get(want, ()))
        yield from taken or [Missing(want.id, "not scraped yet", want.node)]

"""Live mode: it refreshes, stops cleanly, and survives a scrape that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from calicokit.evidence.model import Answer, Missing, SourceError, Want
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from calicokit.felix.metrics.watch import KEPT, Watch
from calicokit.widgets import live
from calicokit.widgets.live import Live

CHURN = "felix-churn"


class Replay(Recording):
    """The recording's series, one sample at each scrape; those in ``broken`` fail in their way."""

    def __init__(self) -> None:
        super().__init__(index()[CHURN].path)
        self.scrapes = 0
        self.broken: dict[int, Callable[[], None]] = {}
        self.silent: set[str] = set()

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        if not any(w.id == "felix-metrics" for w in wants):
            yield from super().fetch(wants)
            return
        self.scrapes += 1
        self.broken.get(self.scrapes, lambda: None)()
        for want in wants:
            if want.node in self.silent:
                yield want, Missing(want.id, "no answer <b>at all</b>", want.node)
                continue
            found = list(super().fetch([Want(want.id, want.node, series=True)]))
            yield want, found[min(self.scrapes, len(found)) - 1][1]


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Replay:
    found = Replay()
    monkeypatch.setattr(live, "source_of", lambda _: found)
    return found


def until(done: Callable[[], bool]) -> None:
    for _ in range(400):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 20 s")


def running() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "calicokit-live"]


def test_scrapes_become_a_series() -> None:
    watch = Watch(Replay())
    assert watch.scrape() == 5
    time.sleep(0.02)
    assert watch.scrape() == 5
    (_, first), (_, second) = watch.fetch([Want("felix-metrics", "node-1", series=True)])
    assert first.time < second.time  # type: ignore[union-attr]
    assert all(len(k) <= KEPT for k in watch._kept.values())


def test_nothing_runs_before_it_is_started_and_nothing_after_it_is_stopped(source: Replay) -> None:
    view = Live(CHURN, every=0.05)
    assert source.scrapes == 0
    assert not view.running
    view.start()
    until(lambda: source.scrapes >= 4 and len(view.children) == 3)
    assert view.running
    view.stop()
    assert not view.running
    assert running() == []
    seen = source.scrapes
    time.sleep(0.3)
    assert source.scrapes == seen
    assert "Stopped" in view._said.value
    rates = view.cluster.felix.rates()
    assert len(rates["time"].unique()) >= 2


def test_it_starts_again_and_closing_stops_it(source: Replay) -> None:
    view = Live(CHURN, every=0.05)
    view.start()
    until(lambda: source.scrapes >= 1)
    view.stop()
    before = source.scrapes
    view.start()
    until(lambda: source.scrapes > before)
    view.close()
    assert running() == []


@pytest.mark.parametrize("error", [SourceError("The API server gives no answer."), OSError("reset"), ValueError("odd")])
def test_a_scrape_that_fails_is_said_and_the_next_is_tried(source: Replay, error: Exception) -> None:
    said: list[str] = []

    def broken() -> None:
        raise error

    source.broken[2] = broken
    view = Live(CHURN, every=0.05)
    view._said.observe(lambda change: said.append(change["new"]), "value")
    view.start()
    until(lambda: source.scrapes >= 5)
    view.stop()
    assert any(f"This scrape failed: {error}" in s for s in said)
    assert said[-2].startswith("<span>5 targets answered")


def test_a_node_that_does_not_answer_is_said_as_text(source: Replay) -> None:
    source.silent = {"node-2"}
    view = Live(CHURN, every=0.05)
    view._once()
    assert "4 targets answered" in view._said.value
    assert "felix-metrics on node-2: no answer &lt;b&gt;at all" in view._said.value


def test_another_measure_is_drawn_of_what_was_seen(source: Replay) -> None:
    view = Live(CHURN)
    view._once()
    time.sleep(0.02)
    view._once()
    view._measure.value = "processor"
    assert view.children[2].layout.title.text.startswith("processor")

"""Live mode: scrape a cluster again and again, and draw what Felix does; started and stopped by a button."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from calicokit.cluster import Cluster
from calicokit.evidence.model import SourceError
from calicokit.evidence.sources import source_of
from calicokit.felix.metrics.figures import MEASURE, small_multiples
from calicokit.felix.metrics.performance import RATES
from calicokit.felix.metrics.watch import Watch
from calicokit.figures import CONFIG

WIDTH = 940
PATIENCE = 60.0
"""Seconds that stopping waits for a scrape that is under way."""

Draw = Callable[[Cluster, str], Any]


def draw_timeline(cluster: Cluster, measure: str) -> Any:
    """One small picture a node, of the scrapes so far."""
    felix = cluster.felix
    return small_multiples(felix.timeline(), felix.moments(), measure)


class Live(widgets.VBox):  # type: ignore[misc]  # ipywidgets is not typed
    """Scrapes a source's cluster every so many seconds and draws a measure of each node; ``stop`` ends it.

    ``cluster`` is what was seen so far, for the next cells. A scrape that fails is said above the picture, which stays;
    the next one is tried in time. Nothing runs before the button is pressed, and nothing after ``stop`` or ``close``.
    """

    def __init__(self, source: str, every: float = 15.0, draw: Draw = draw_timeline) -> None:
        self._watch = Watch(source_of(source))
        self._every, self._draw_it = every, draw
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.cluster = Cluster(self._watch)
        self._button = widgets.ToggleButton(value=False, description="watch", tooltip="scrape repeatedly")
        self._measure = widgets.Dropdown(options=["apply time", *RATES], value=MEASURE, description="measure")
        self._said = widgets.HTML(f"Press to scrape every {every:g} s.")
        self._top = [widgets.HBox([self._button, self._measure]), self._said]
        super().__init__(self._top)
        self._button.observe(self._pressed, "value")
        self._measure.observe(lambda _: self._show(), "value")

    @property
    def running(self) -> bool:
        """Whether it scrapes."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Scrape from now on."""
        self._button.value = True

    def stop(self) -> None:
        """Scrape no more; returns when the last scrape is done."""
        self._button.value = False

    def close(self) -> None:
        """Stop, and take the widget away."""
        self.stop()
        super().close()

    def _pressed(self, change: dict[str, Any]) -> None:
        if change["new"] and not self.running:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="calicokit-live", daemon=True)
            self._thread.start()
        elif not change["new"]:
            self._ended.set()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join(PATIENCE)
            self._say("Stopped.")

    def _run(self) -> None:
        while not self._ended.is_set():
            self._once()
            self._ended.wait(self._every)

    def _once(self) -> None:
        """One scrape; whatever fails in it is said, and the next one is tried."""
        try:
            answered = self._watch.scrape()
            self.cluster = Cluster(self._watch)
            self._show()
        except (SourceError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._say(f"This scrape failed: {error}", wrong=True)
            return
        failed = {f"{m.id}{f' on {m.node}' if m.node else ''}: {m.why}" for m in self._watch.failed}
        missed = f" No answer: {'; '.join(sorted(failed))}" if failed else ""
        self._say(f"{answered} targets answered at {datetime.now(UTC):%H:%M:%S} UTC.{missed}", wrong=not answered)

    def _show(self) -> None:
        view = go.FigureWidget(self._draw_it(self.cluster, self._measure.value))
        view._config = {**view._config, **CONFIG}
        view.layout.width = WIDTH
        self.children = [*self._top, view]

    def _say(self, text: str, wrong: bool = False) -> None:
        self._said.value = f"<span{' style=color:#b00020' if wrong else ''}>{escape(text)}</span>"

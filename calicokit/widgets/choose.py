"""A chooser of source, pool and node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape

import ipywidgets as widgets

from calicokit.cluster import Cluster
from calicokit.cluster import open as open_source
from calicokit.evidence.model import SourceError
from calicokit.evidence.recordings.incidents import index
from calicokit.sentences import natural

WIDE = widgets.Layout(width="340px")
A_PATH = "(a recording of yours: its path →)"


class Chooser(widgets.VBox):  # type: ignore[misc]  # ipywidgets is not typed
    """Chooses a source (a bundled incident, or any path), then a pool and a node of it; None stands for all.

    ``cluster``, ``pool`` and ``node`` are what is chosen now; ``on_change(callback)`` calls after every change. A
    source that cannot be opened is said in one sentence, and what was chosen before stays.
    """

    def __init__(self, source: str = "ipam-exhausted") -> None:
        names = sorted(index())
        self._incident = widgets.Dropdown(options=[A_PATH, *names], description="incident", layout=WIDE)
        self._path = widgets.Text(
            placeholder="path of a recording, or context:NAME", continuous_update=False, layout=WIDE
        )
        self._said = widgets.HTML()
        self._callbacks: list[Callable[[], None]] = []
        self._quiet = False
        self.cluster: Cluster | None = None
        super().__init__()
        self._offer([], [])
        self._open(source)
        self._incident.observe(self._chose_incident, "value")
        self._path.observe(self._typed_path, "value")

    @property
    def pool(self) -> str | None:
        """The pool's name; None for all."""
        return self._pool.value  # type: ignore[no-any-return]

    @property
    def node(self) -> str | None:
        """The node's name; None for all."""
        return self._node.value  # type: ignore[no-any-return]

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call this after every change."""
        self._callbacks.append(callback)

    def _chose_incident(self, change: dict[str, str]) -> None:
        if change["new"] != A_PATH and not self._quiet:
            self._open(change["new"])

    def _typed_path(self, change: dict[str, str]) -> None:
        if change["new"].strip() and not self._quiet:
            self._open(change["new"].strip())

    def _open(self, source: str) -> None:
        try:
            cluster = open_source(source)
            cells = cluster.ipam.block_map()
        except (SourceError, OSError) as error:
            kept = f" {self.cluster.name} is still shown." if self.cluster else ""
            self._say(f"{error}{kept}", wrong=True)
            self._show_source(self.cluster.name if self.cluster else source)
            return
        self.cluster = cluster
        self._offer(cells["pool"].dropna().unique(), cells["node"].dropna().unique())
        self._show_source(source)
        time = f", seen {cluster.time:%Y-%m-%d %H:%M} UTC" if cluster.time else ""
        self._say(f"Shown: {cluster.name}{time}.")
        self._changed()

    def _offer(self, pools: Iterable[str], nodes: Iterable[str]) -> None:
        """New dropdowns: with new options alone, JupyterLab may show an old one's empty choice."""
        self._pool, self._node = self._dropdown("pool", pools), self._dropdown("node", nodes)
        source, part = widgets.HBox([self._incident, self._path]), widgets.HBox([self._pool, self._node])
        self.children = [source, part, self._said]

    def _dropdown(self, what: str, names: Iterable[str]) -> widgets.Dropdown:
        options = [(f"all {what}s", None), *((n, n) for n in sorted(map(str, names), key=natural))]
        dropdown = widgets.Dropdown(options=options, description=what, layout=WIDE)
        dropdown.observe(lambda _: self._changed(), "value")
        return dropdown

    def _show_source(self, source: str) -> None:
        """Let both fields say what is open, without opening it again."""
        self._quiet = True
        name = source.removeprefix("incident:")
        self._incident.value = name if name in index() else A_PATH
        self._path.value = "" if name in index() else source
        self._quiet = False

    def _say(self, text: str, wrong: bool = False) -> None:
        self._said.value = f"<span{' style=color:#b00020' if wrong else ''}>{escape(text)}</span>"

    def _changed(self) -> None:
        for callback in self._callbacks:
            callback()

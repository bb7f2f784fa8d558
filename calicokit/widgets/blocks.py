"""The block explorer: the map of the blocks, and all that is known of the address that one clicks."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from calicokit.figures import CONFIG, plain
from calicokit.ipam.figures import block_map
from calicokit.show import show
from calicokit.widgets.choose import Chooser

WIDTH = 940
"""Pixels; without a width plotly takes 700, as the widget is drawn before it has its place."""
PROMPT = "<p>Click an address to read about it here.</p>"
COLUMNS = ("address", "state", "owner", "why", "node", "block_node", "since", "handle")


class Explorer(widgets.VBox):  # type: ignore[misc]  # ipywidgets is not typed
    """The map of the blocks that a chooser chose; follows every change of it."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self._cells = pd.DataFrame()
        self.details = widgets.HTML(PROMPT)
        super().__init__()
        self._draw()
        chooser.on_change(self._draw)

    def _draw(self) -> None:
        self.details.value = PROMPT
        cluster = self._chooser.cluster
        if cluster is None:
            return
        self._cells = cells = cluster.ipam.block_map()
        for column, chosen in (("pool", self._chooser.pool), ("node", self._chooser.node)):
            cells = cells if chosen is None else cells[cells[column] == chosen]
        view = go.FigureWidget(block_map(cells))
        view._config = {**view._config, **CONFIG}
        view.layout.width = WIDTH
        if view.data:
            view.data[0].on_click(self._clicked)
        self.children = [view, self.details]

    def _clicked(self, trace: Any, points: Any, _state: Any) -> None:
        if not points.ys:
            return
        line = list(trace.y).index(points.ys[0])
        self.tell(plain(str(trace.hovertext[line][int(points.xs[0])])).split("\n")[0])

    def tell(self, address: str) -> None:
        """Show what is known of an address: its allocation, else what the map says of it."""
        assert self._chooser.cluster is not None
        allocations = self._chooser.cluster.ipam.allocations()
        known = allocations["address"].eq(address).any()
        shown = (
            show(allocations, *COLUMNS, address=address)
            if known
            else show(self._cells, "address", "state", "pool", "block", "node", address=address)
        )
        self.details.value = shown._repr_html_()

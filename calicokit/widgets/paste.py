"""A text area that turns whatever is pasted into tables."""

from __future__ import annotations

from html import escape

import ipywidgets as widgets

from calicokit.parsers.base import Parsed, kinds, parse
from calicokit.parsers.guess import guess
from calicokit.show import show

GUESS = "(guess)"


def read(text: str, kind: str = "") -> Parsed | None:
    """The tables of a text of that kind, or of the likeliest one; None if no kind fits.

    >>> read("0:\\tfrom all lookup local\\n").kind
    'ip-rule'
    """
    found = kind or next((g.kind for g in guess(text)), "")
    return parse(found, text) if found else None


def html(parsed: Parsed | None, rows: int = 25) -> str:
    """What was read, as a page: the kind, each table that has rows, and the lines that could not be read."""
    if parsed is None:
        return "<p>The text matches no known kind; choose one.</p>"
    parts = [f"<p>Read as <b>{escape(parsed.kind)}</b>, {len(parsed.unparsed)} lines could not be parsed.</p>"]
    for name, frame in parsed.tables.items():
        if len(frame):
            parts.append(f"<h4>{escape(name)}</h4>{show(frame, rows=rows)._repr_html_()}")
    lines = "\n".join(f"{u.number}: {u.text}" for u in parsed.unparsed[:rows])
    return "".join(parts) + (f"<pre>{escape(lines)}</pre>" if lines else "")


class Paste(widgets.VBox):  # type: ignore[misc]  # ipywidgets is not typed
    """A text area, the kind of what is in it (guessed unless chosen), and the tables below.

    ``parsed`` is what was read last, for the next cell.
    """

    def __init__(self, text: str = "") -> None:
        self.parsed: Parsed | None = None
        wide = widgets.Layout(width="100%", height="180px")
        self._text = widgets.Textarea(value=text, placeholder="paste the output of a tool", layout=wide)
        self._kind = widgets.Dropdown(options=[GUESS, *sorted(kinds())], description="kind")
        self._out = widgets.HTML()
        super().__init__([self._text, self._kind, self._out])
        self._text.observe(self._read, "value")
        self._kind.observe(self._read, "value")
        self._read()

    def _read(self, _: object = None) -> None:
        text, kind = self._text.value, self._kind.value
        self.parsed = read(text, "" if kind == GUESS else kind) if text.strip() else None
        self._out.value = html(self.parsed) if text.strip() else ""

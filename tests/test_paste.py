"""Pasting: what is shown is what was read; hostile text stays text."""

from __future__ import annotations

from calicokit.widgets.paste import Paste, html, read
from tests import recordings


def test_the_widget_reads_what_is_pasted_and_what_is_chosen() -> None:
    paste = Paste()
    assert paste.parsed is None
    paste._text.value = recordings.read("healthy-bgp-mesh", "nodes/node-1/birdcl-protocols.txt").decode()
    assert paste.parsed is not None
    assert paste.parsed.kind == "bird-protocols"
    paste._kind.value = "ip-rule"
    assert paste.parsed.kind == "ip-rule"
    assert paste.parsed.unparsed


def test_what_fits_nothing_is_said() -> None:
    assert read("hello there\n") is None
    assert "matches no known kind" in html(None)


def test_hostile_text_is_escaped() -> None:
    page = html(read("0:\tfrom all lookup local\n<img src=x onerror=alert(1)>\n", "ip-rule"))
    assert "<img" not in page
    assert "&lt;img" in page

"""The chooser and the explorer, without a browser."""

from __future__ import annotations

from calicokit.widgets.blocks import Explorer
from calicokit.widgets.choose import A_PATH, Chooser


def test_chooses_source_pool_and_node() -> None:
    chooser = Chooser("ipam-leaked")
    calls: list[str | None] = []
    chooser.on_change(lambda: calls.append(chooser.node))
    assert (chooser.pool, chooser.node) == (None, None)
    chooser._node.value = "node-2"
    assert (chooser.node, calls) == ("node-2", ["node-2"])
    chooser._incident.value = "ipam-exhausted"
    assert chooser.cluster is not None
    assert chooser.cluster.name == "ipam-exhausted"
    assert (chooser.node, calls) == (None, ["node-2", None])


def test_a_bad_source_is_one_sentence_and_loses_nothing() -> None:
    chooser = Chooser("ipam-leaked")
    before = chooser.cluster
    chooser._path.value = "/nowhere/<b>x"
    assert chooser.cluster is before
    assert "/nowhere/&lt;b&gt;x is neither a file or directory" in chooser._said.value
    assert "ipam-leaked is still shown" in chooser._said.value
    assert (chooser._incident.value, chooser._path.value) == ("ipam-leaked", "")
    assert Chooser("/nowhere")._incident.value == A_PATH


def test_explorer_tells_about_the_clicked_address() -> None:
    chooser = Chooser("ipam-leaked")
    explorer = Explorer(chooser)
    explorer.tell("10.48.139.68")
    assert "leaked" in explorer.details.value
    explorer.tell("10.48.139.70")
    assert "free" in explorer.details.value
    chooser._node.value = "node-3"
    assert "Click an address" in explorer.details.value
    assert "64 addresses in 1 block:" in explorer.children[0].layout.title.text


def test_explorer_without_a_source_is_empty() -> None:
    assert len(Explorer(Chooser("/nowhere")).children) == 0

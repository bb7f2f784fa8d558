"""The nodename file, on every recording; and the check of it."""

from __future__ import annotations

import pytest

import calicokit
from calicokit.cluster import Cluster
from calicokit.evidence.model import Want
from calicokit.parsers.base import ParseError
from tests import recordings
from tests.fakes import ids, node, source_of


@pytest.mark.parametrize("name", recordings.names())
def test_every_recorded_file(name: str) -> None:
    for path in recordings.paths(name, "nodes/*/nodename.txt"):
        frame = calicokit.parse("nodename", recordings.read(name, path).decode(), strict=True).frame
        assert frame["name"].tolist() == [path.split("/")[1]]


def test_empty_and_odd_input() -> None:
    assert calicokit.parse("nodename", "").frame.empty
    odd = calicokit.parse("nodename", "n1\r\ncat: write error\n")
    assert odd.frame["name"].tolist() == ["n1"]
    assert [u.number for u in odd.unparsed] == [2]
    with pytest.raises(ParseError, match="line 2"):
        calicokit.parse("nodename", "n1\ntwo words\n", strict=True)


@pytest.mark.parametrize(("name", "words"), [("n1", None), ("n1.example", "no node's name"), ("n2", "another node's")])
def test_a_node_that_goes_by_another_name(name: str, words: str | None) -> None:
    source = source_of(nodes=[node("n1"), node("n2")])
    source.answers |= {Want("nodename", "n1"): name.encode(), Want("nodename", "n2"): b"n2"}
    assert ids(Cluster(source)) == (["nodename-mismatch"] if words else [])
    if words:
        found = Cluster(source).check()[0]
        assert words in found.cause
        assert found.subject == {"node": "n1"}

"""Rows and columns of a table as a user asks for them, held to what pandas says of the same."""

from __future__ import annotations

import re
from contextlib import suppress

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.registry import OptionError
from calicokit.schema import Table
from calicokit.select import select, text_of
from calicokit.sentences import natural
from tests import clusters

FRAME = pd.DataFrame(
    {
        "node": pd.array(["node-10", "node-9", None, "node-1"], dtype="str"),
        "packets": pd.array([3, 0, None, 7], dtype="Int64"),
        "used": [0.5, 0.95, float("nan"), 0.0],
        "ready": pd.array([True, False, None, True], dtype="boolean"),
        "seen": pd.to_datetime(["2026-01-01", "2026-01-02", None, "2026-01-03"], utc=True),
        "tags": [["a", "b"], [], ["b"], ["c"]],
        "labels": [{"app": "web"}, {}, {"app": "db"}, {"app": "web", "tier": "x"}],
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("node=node-9", [1]),
        ("node != node-9", [0, 2, 3]),
        ("node=", [2]),
        ("node!=", [0, 1, 3]),
        ("node>node-9", [0]),
        ("node~NODE-1", [0, 3]),
        ("node!~node-1", [1, 2]),
        ("packets>0", [0, 3]),
        ("packets>=3", [0, 3]),
        ("packets<=0", [1]),
        ("packets=7.0", [3]),
        ("used>0.9", [1]),
        ("ready=yes", [0, 3]),
        ("ready=false", [1]),
        ("seen>=2026-01-02", [1, 3]),
        ("tags=b", [0, 2]),
        ("tags=", [1]),
        ("labels=app=web", [0, 3]),
        ("labels~tier", [3]),
        (["packets>0", "ready=true", "tags=c"], [3]),
        ((), [0, 1, 2, 3]),
        ("", [0, 1, 2, 3]),
    ],
)
def test_conditions(where: str | list[str], rows: list[int]) -> None:
    assert select(FRAME, where=where).index.tolist() == rows


def test_order_number_and_columns() -> None:
    assert select(FRAME, sort="node")["node"].dropna().tolist() == ["node-1", "node-9", "node-10"]
    assert select(FRAME, sort="-packets", rows=2)["packets"].tolist() == [7, 3]
    assert select(FRAME, sort="ready,-used")["used"].dropna().tolist() == [0.95, 0.5, 0.0]
    assert list(select(FRAME, columns="used, node").columns) == ["used", "node"]
    assert select(FRAME, grep="WEB").index.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"where": "nod=1"}, "did you mean node?"),
        ({"where": "node"}, "is no condition"),
        ({"where": "packets>many"}, "is no value of the column packets"),
        ({"where": "ready=perhaps"}, "is no value of the column ready"),
        ({"where": "seen>soon"}, "is no value of the column seen"),
        ({"where": "node~("}, "is no regular expression"),
        ({"grep": "["}, "is no regular expression"),
        ({"columns": "zzz"}, "there are labels, node, packets"),
        ({"sort": "-nod"}, "did you mean node?"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(words: dict[str, str], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        select(FRAME, **words)  # type: ignore[arg-type]


def test_what_is_unknown_stays_unknown() -> None:
    from calicokit.evidence.model import Missing

    unknown = Table(FRAME.head(0), unknown=(Missing("pods", "refused"),))
    assert select(unknown, where="node=a", sort="node", columns="node").unknown == unknown.unknown


def test_a_table_takes_them_as_keywords() -> None:
    cluster = clusters.of("healthy-bgp-mesh")
    chosen = cluster.ipam.blocks(where="node=node-1", columns=["block", "node"], rows=5)
    assert set(chosen["node"]) == {"node-1"}
    assert list(chosen.columns) == ["block", "node"]
    path = cluster.routes.path("node-1", "10.48.0.1", columns="node")
    assert list(path.columns) == ["node"]
    with pytest.raises(OptionError, match="takes where, grep, columns, sort, rows"):
        cluster.ipam.blocks(wher="node=node-1")


@given(
    st.lists(st.integers(-5, 5) | st.none(), max_size=8), st.sampled_from([">", "<", ">=", "<="]), st.integers(-5, 5)
)
def test_numbers_compare_as_pandas_does(values: list[int | None], sign: str, limit: int) -> None:
    frame = pd.DataFrame({"x": pd.array(values, dtype="Int64")})
    wanted = frame.query(f"x {sign} {limit}")["x"].tolist() if values else []
    assert select(frame, where=f"x{sign}{limit}")["x"].tolist() == wanted


@given(st.lists(st.text("ab1290-", max_size=5), max_size=8))
def test_names_sort_naturally(names: list[str]) -> None:
    frame = pd.DataFrame({"x": pd.array(names, dtype="str")})
    assert select(frame, sort="x")["x"].tolist() == sorted(names, key=lambda name: (natural(name), name))


@given(st.text(max_size=12))
def test_any_text_is_a_condition_or_one_sentence(text: str) -> None:
    with suppress(OptionError):  # anything else would be a fault
        assert len(select(FRAME, where=f"node{text}")) <= len(FRAME)


def test_text_of_cells() -> None:
    assert [text_of(c) for c in (1.0, True, None, pd.NaT, [1, 2], {"a": "b"})] == ["1", "True", "", "", "1, 2", "a=b"]

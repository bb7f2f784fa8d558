"""What is computed from an unknown table is unknown, whatever pandas does with it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pandas as pd
import pytest

import calicokit
from calicokit.evidence.model import Missing
from calicokit.schema import Table
from calicokit.show import show

FIRST, SECOND = Missing("ipamblocks", "the API server refused it"), Missing("pods", "not in this recording")
Step = Callable[[pd.DataFrame], pd.DataFrame]


def table(*unknown: Missing) -> Table:
    rows = {"node": ["a", "b", "a"], "count": [1, 2, 3]}
    return Table(pd.DataFrame({k: v[:0] if unknown else v for k, v in rows.items()}), unknown=unknown)


STEPS: dict[str, Step] = {
    "head": lambda t: t.head(),
    "loc": lambda t: t.loc[t["count"] == 1, ["node"]],
    "iloc": lambda t: t.iloc[:1],
    "mask": lambda t: t[t["count"] == 1],
    "query": lambda t: t.query("node == 'a'"),
    "columns": lambda t: t[["node"]],
    "assign": lambda t: t.assign(more=1),
    "agg": lambda t: t.groupby("node").agg({"count": "sum"}),
    "named agg": lambda t: t.groupby("node").agg(total=("count", "sum")).reset_index(),
    "size": lambda t: t.groupby("node", as_index=False).size(),
    "sum": lambda t: t.groupby("node")[["count"]].sum(),
    "of a column": lambda t: t.groupby("node")["count"].agg(["sum", "max"]),
    "first": lambda t: t.groupby("node").head(1),
    "merge": lambda t: t.merge(table(), on="node"),
    "merge of a known": lambda t: table().merge(t, on="node", how="left"),
    "join": lambda t: table().join(t.set_index("node"), on="node", suffixes=("", "_other")),
    "concat": lambda t: pd.concat([table(), t]),
    "concat aside": lambda t: pd.concat([t, table()], axis=1),
    "copy": lambda t: t.copy(),
    "sort": lambda t: t.sort_values("count"),
    "drop": lambda t: t.drop(columns="count"),
    "dropna": lambda t: t.dropna(),
    "duplicates": lambda t: t.drop_duplicates("node"),
    "rename": lambda t: t.rename(columns={"count": "n"}),
    "astype": lambda t: t.astype({"count": "float64"}),
    "pivot": lambda t: t.pivot_table(index="node", values="count", aggfunc="sum"),
    "melt": lambda t: t.melt(id_vars="node"),
    "explode": lambda t: t.explode("node"),
    "transpose": lambda t: t.T,
    "set_index": lambda t: t.set_index("node").reset_index(),
    "fillna": lambda t: t.fillna(0),
    "again": lambda t: Table(t),
    "deepcopy": copy.deepcopy,
    "pickle": lambda t: pickle.loads(pickle.dumps(t)),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_unknown_stays_unknown(step: Step) -> None:
    made = step(table(FIRST))
    assert isinstance(made, Table)
    assert made.unknown == (FIRST,)
    for shown in (repr(made), made._repr_html_() or "", repr(show(made)), show(made)._repr_html_()):
        assert "nknown" in shown
        assert FIRST.why in shown
        assert "has no row" not in shown


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_known_stays_known(step: Step) -> None:
    made = step(table())
    assert getattr(made, "unknown", ()) == ()
    assert "nknown" not in repr(made)


@pytest.mark.parametrize(
    "step", [lambda a, b: pd.concat([a, b, a]), lambda a, b: a.merge(b, on="node"), lambda a, b: pd.merge(a, b)]
)
def test_what_two_lack_is_told_once_in_order(step: Callable[[Table, Table], Table]) -> None:
    assert step(table(FIRST), table(FIRST, SECOND)).unknown == (FIRST, SECOND)
    assert step(table(SECOND), table(FIRST)).unknown == (SECOND, FIRST)


def test_a_column_is_a_plain_series() -> None:
    assert type(table(FIRST)["node"]) is pd.Series
    assert type(pd.DataFrame(table(FIRST))) is pd.DataFrame


def test_a_table_that_a_recording_does_not_tell_says_so_when_it_is_cut() -> None:
    samples = calicokit.open("healthy-bgp-mesh").dataplane.samples().head()
    assert isinstance(samples, Table)
    assert samples.unknown
    assert repr(samples).startswith("unknown, not empty")

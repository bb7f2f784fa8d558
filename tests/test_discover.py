"""A topic's tables can be found: by completion, by help, by their signatures, and by a type checker."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import calicokit
from calicokit import registry
from calicokit.schema import Table
from calicokit.select import Select

CLUSTER = calicokit.open("policy-drop")


@pytest.mark.parametrize("topic", registry.TOPICS)
def test_every_table_is_a_method_that_says_what_it_is(topic: str) -> None:
    there = getattr(CLUSTER, topic)
    for name in dir(there):
        spec, method = registry.TABLES[f"{topic}.{name}"], getattr(there, name)
        assert method.__name__ == name
        assert method.__doc__.startswith(spec.schema.meaning)
        assert all(f"    {c.name} (" in method.__doc__ for c in spec.schema.columns)
        assert len(inspect.signature(method).parameters) == len(spec.options) + len(Select.__annotations__)


def test_help_tells_columns_and_options() -> None:
    said = pydoc.plain(pydoc.render_doc(CLUSTER.ipam.blocks))
    assert "blocks(*, where:" in said
    assert "block (str): " in said
    assert "Int64" in said
    said = pydoc.plain(pydoc.render_doc(CLUSTER.dataplane.walk))
    assert "walk(from_: str, to: str, port: str = '', proto: str = 'tcp', *, where:" in said


def test_options_are_keywords() -> None:
    ends = ("10.48.84.130", "10.48.139.67")
    by_place = CLUSTER.dataplane.walk(*ends, "5432")
    by_name = CLUSTER.dataplane.walk(to=ends[1], from_=ends[0], port="5432")
    by_option = CLUSTER.dataplane.walk(**{"from": ends[0], "to": ends[1], "port": "5432"})
    assert len(by_place)
    assert by_place.equals(by_name)
    assert by_place.equals(by_option)
    with pytest.raises(ValueError, match="takes from_, to, port, proto"):
        CLUSTER.dataplane.walk(start=ends[0])
    with pytest.raises(ValueError, match="takes where, grep, columns, sort, rows"):
        CLUSTER.ipam.blocks("a")


def test_one_surface_asks_of_flows() -> None:
    flow = ("10.48.84.130", "10.48.139.67", 5432)
    assert CLUSTER.walk(*flow).verdict == "drop"
    assert CLUSTER.explain(*flow).verdict == "deny"
    assert CLUSTER.connectivity(*flow).verdict == "wrong"
    assert isinstance(CLUSTER.connectivity.steps(*flow[:2]), Table)


TYPED = """
import calicokit

cluster = calicokit.open("policy-drop")
reveal_type(cluster.ipam.blocks())
reveal_type(cluster.connectivity("a", "b").verdict)
cluster.dataplane.walk(from_="a", to="b")
cluster.ipam.blokcs()
cluster.ipaam.blocks()
cluster.dataplane.walk("a")
"""


def test_a_type_checker_knows_the_tables(tmp_path: Path) -> None:
    (file := tmp_path / "asks.py").write_text(TYPED)
    root = Path(__file__).parents[1]
    argv = [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml"), str(file)]
    said = subprocess.run(argv, cwd=root, capture_output=True, text=True).stdout
    lines = [
        (line.split(":")[1], line.partition(": ")[2])
        for line in said.splitlines()
        if ": " in line and "asks.py" in line
    ]
    assert [number for number, _ in lines] == ["5", "6", "8", "9", "10"], said
    assert 'Revealed type is "calicokit.schema.Table"' in said
    assert '"Ipam" has no attribute "blokcs"; maybe "blocks"?' in said
    assert '"Cluster" has no attribute "ipaam"' in said
    assert 'Missing positional argument "to"' in said

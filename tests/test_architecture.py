"""The house has floors: no module imports, however late or only for types, what stands above it."""

from __future__ import annotations

import ast
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
SURFACE = "calicokit"
"""Its ``__init__`` names the public surface, which is imported when it is asked for; below it is only a version."""

FLOORS = {"rules": 0, "packets": 1, "ebpf": 2, "drops": 2, "kernel": 2, "programmed": 3}
"""The rooms of the dataplane, from the ground; the topic's own checks, figures and sentences stand on all of them."""
ROOF = 4


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports() -> nx.DiGraph:
    """An arrow from each module to each that it imports anywhere in its text."""
    modules = {name_of(p): p for p in ROOT.glob("calicokit/**/*.py")}
    graph = nx.DiGraph()
    graph.add_nodes_from(modules)
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for each in imported(node):
                found = each if each in modules else each.rpartition(".")[0]
                if found in modules and found != name:
                    graph.add_edge(name, found)
    graph.remove_node(SURFACE)
    return graph


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def test_no_modules_import_each_other() -> None:
    graph = imports()
    assert graph.number_of_edges() > 500  # it does look
    assert [sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1] == []


def room(module: str) -> tuple[str, int]:
    first = module.split(".")[2] if module.count(".") > 1 else ""
    return first, FLOORS.get(first, ROOF)


def test_the_dataplane_has_floors() -> None:
    inside = [
        (a, b)
        for a, b in imports().edges
        if a.startswith("calicokit.dataplane.") and b.startswith("calicokit.dataplane.")
    ]
    assert len(inside) > 30
    wrong = [(a, b) for a, b in inside if room(a)[0] != room(b)[0] and room(a)[1] <= room(b)[1] < ROOF]
    assert wrong == []
    assert [(a, b) for a, b in inside if room(a)[1] < ROOF == room(b)[1]] == []


@pytest.mark.parametrize("low", ["schema", "registry", "evidence.model", "tables", "faults", "net"])
def test_what_everybody_stands_on_knows_no_topic(low: str) -> None:
    from calicokit.registry import TOPICS

    below = nx.descendants(imports(), f"calicokit.{low}")
    assert [m for m in below if m.split(".")[1] in (*TOPICS, "cluster", "diagnosis")] == []

"""Felix's configuration as its resources set it: one row for each field that is set."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.kube.tables import EVIDENCE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

CONFIGURATION = Schema(
    "dataplane.configuration",
    "Fields of FelixConfiguration that are set. A node's own come before the default, its environment before both.",
    (
        Column("name", "str", "default, or node.NODE"),
        Column("node", "str", "node that it is for; null for all"),
        Column("field", "str", "field"),
        Column("value", "str", "its value; true and false for switches"),
        EVIDENCE,
    ),
    key=("name", "field"),
)

OF_NODE = "node."


@table(CONFIGURATION, needs=("felixconfigurations",))
def configuration(objects: Objects) -> pd.DataFrame:
    """One row a field; see :data:`CONFIGURATION`."""
    return objects.frame(CONFIGURATION, lambda item: list(_fields(item)))


def _fields(item: Object) -> Iterator[Object]:
    name = item["metadata"]["name"]
    for field, value in spec(item).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        node = name.removeprefix(OF_NODE) if name.startswith(OF_NODE) else None
        yield {"name": name, "node": node, "field": field, "value": text}


def on_nodes(configuration: pd.DataFrame, field: str) -> tuple[str | None, dict[str, str]]:
    """A field's value for all nodes (None where none is set), and those that nodes have of their own."""
    own = configuration[configuration["field"] == field]
    default = next((v for n, v in cells(own, "name", "value") if n == "default"), None)
    return default, {n: v for n, v in cells(own, "node", "value") if isinstance(n, str)}

"""``output.ID`` for each row of the catalog that has a parser: its main table, with the node and where it was read.

A command's further tables (the chains beside the rules) come from ``calicokit parse``, but for those that a row of the
catalog names as ``KIND:TABLE``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd

from calicokit.evidence.catalog import CATALOG, Item
from calicokit.evidence.texts import Texts
from calicokit.kube.tables import EVIDENCE
from calicokit.parsers.base import kinds
from calicokit.registry import table
from calicokit.schema import Column, Schema

NODE = Column("node", "str", "node it was printed on; null for cluster-wide output")


def table_name(item: Item) -> str:
    """The table of a row of the catalog: ``output.ip_route_all`` for ``ip-route-all``."""
    return "output." + item.id.translate(str.maketrans("-.", "__"))


def _schema(item: Item) -> Schema:
    kind, _, name = item.parser.partition(":")
    main = next(s for s in kinds()[kind].schemas if name in ("", s.name))
    own = [c for c in main.columns if c.name != EVIDENCE.name]
    columns = own if "node" in main.names else [NODE, *own]
    said = f"{item.title}: {item.how.words}."
    return Schema(table_name(item), said, (*columns, EVIDENCE), verified=main.verified, source=main.source)


def _read(kind: str, schema: Schema, texts: Texts) -> pd.DataFrame:
    return texts.table(kind, schema)


def _register() -> None:
    for item in CATALOG.values():
        if item.parser:
            build: Callable[[Texts], pd.DataFrame] = partial(_read, item.parser, schema := _schema(item))
            table(schema, needs={"texts": item.id})(build)


_register()

"""The registry of tables: what each is built from. One road: evidence → base tables → analyses, all of them tables.

A topic declares a table by decorating the pure function that builds it::

    @table(BLOCKS, needs=("ipamblocks",))
    def blocks(ipamblocks: Objects) -> pd.DataFrame: ...

Names with a dot that are in :data:`TABLES` are tables, those in :data:`MODELS` what several tables share, all others
are ids of the catalog.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from calicokit.schema import Schema

TOPICS = (
    *("kube", "health", "cni", "bgp", "routes", "ipam", "policy", "dataplane"),
    *("felix", "scaling", "logs", "connectivity", "output"),
)
"""The topic folders, in the order in which their tables are listed; each module in them registers what it declares."""

Build = Callable[..., Any]


@dataclass(frozen=True)
class Spec:
    """How something is made.

    ``needs``: inputs without which it is unknown. ``any_of``: at least one of these must be known. ``wants``: inputs
    that make it better. The builder gets them in this order, None for what is unknown.
    """

    build: Build
    needs: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.needs, *self.any_of, *self.wants)


@dataclass(frozen=True)
class TableSpec(Spec):
    """How a table is made. ``options`` are what whoever asks for it says, as keywords of the builder, which raises
    ``ValueError`` for one that makes no sense; each has its default, None where it must be said.
    """

    schema: Schema = field(kw_only=True)
    options: Mapping[str, str | None] = field(default_factory=dict, kw_only=True)


TABLES: dict[str, TableSpec] = {}
MODELS: dict[str, Spec] = {}
"""What several tables are built from and is no table itself: read once, and never shown."""


class UnseenError(Exception):
    """A builder's word that none of its wants is known and its table is unknown, although its needs are known."""


Spared = Iterable[tuple[str, str | None]]
SPARES: list[tuple[tuple[str, ...], Callable[..., Spared]]] = []


def spares(*needs: str) -> Callable[[Callable[..., Spared]], Callable[..., Spared]]:
    """Register the decorated function of tables: the evidence (id, node) that nobody misses, as nothing could print it.

    A node without BIRD has no output of birdcl. That is no hole in the coverage, once the tables tell so.
    """

    def register(tell: Callable[..., Spared]) -> Callable[..., Spared]:
        SPARES.append((needs, tell))
        return tell

    return register


def table(
    schema: Schema,
    needs: tuple[str, ...] = (),
    any_of: tuple[str, ...] = (),
    wants: tuple[str, ...] = (),
    options: Mapping[str, str | None] = MappingProxyType({}),
) -> Callable[[Build], Build]:
    """Register the decorated pure function as the builder of ``schema.name``; returns the function unchanged."""

    def register(build: Build) -> Build:
        if schema.name in TABLES:
            raise ValueError(f"table {schema.name} is declared twice")
        TABLES[schema.name] = TableSpec(build, needs, any_of, wants, schema=schema, options=options)
        return build

    return register


def model(name: str, wants: tuple[str, ...]) -> Callable[[Build], Build]:
    """Register the decorated pure function as the builder of a model: an input like tables, that no user sees.

    It gets None for what is unknown, and keeps in itself what it lacks.
    """

    def register(build: Build) -> Build:
        MODELS[name] = Spec(build, wants=wants)
        return build

    return register


def spec_of(name: str) -> Spec | None:
    """How a table or model is made; None for evidence."""
    return TABLES.get(name) or MODELS.get(name)


@cache
def load() -> dict[str, TableSpec]:
    """All tables (and checks) of all topics, imported now; returns the registry."""
    for topic in TOPICS:
        package = importlib.import_module(f"calicokit.{topic}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".figures"):  # they compute nothing, and plotly is slow to import
                importlib.import_module(module.name)
    return TABLES


def evidence_of(names: tuple[str, ...]) -> Iterator[str]:
    """The ids of all evidence that these tables or ids rest on, each once."""
    seen: set[str] = set()
    stack = list(reversed(names))
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if (spec := spec_of(name)) is not None:
            stack.extend(reversed(spec.inputs))
        else:
            yield name


def evidence_of_topics(topics: Iterable[str]) -> list[str]:
    """The catalog ids that the tables of these topics rest on, and the nodes, without which no node can be asked."""
    prefixes = tuple(f"{t}." for t in topics)
    names = [n for n in load() if n.startswith(prefixes)]
    found = {i.removesuffix("+series") for i in evidence_of(tuple(names)) if not i.startswith("@")}
    return sorted(found | {"nodes"})

"""The registry of tables: what each is built from. One road: evidence → base tables → analyses, all of them tables.

A topic declares a table by decorating the pure function that builds it, and says which input each parameter is::

    @table(BLOCKS, needs={"blocks": "ipamblocks"}, wants={"pools": "ipam.pools"})
    def blocks(blocks: Objects, pools: pd.DataFrame | None = None) -> pd.DataFrame: ...

Names with a dot that are in :data:`TABLES` are tables, those in :data:`MODELS` what several tables share, all others
are ids of the catalog. That each parameter is bound once is looked at when the module is imported.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any

from calicokit.schema import Schema

TOPICS = (
    *("kube", "health", "cni", "bgp", "routes", "ipam", "policy", "dataplane"),
    *("felix", "scaling", "logs", "connectivity", "output", "guide"),
)
"""The topic folders, in the order in which their tables are listed; each module in them registers what it declares."""

Build = Callable[..., Any]
Bound = Mapping[str, str | tuple[str, ...]]
"""A builder's parameter → the input it gets, or several inputs, which it gets as a :data:`Given`."""
Given = Mapping[str, Any]
"""Inputs by their names, None for what is unknown: what a parameter gets that is bound to several."""
NOTHING: Bound = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Spec:
    """How something is made, by a function whose parameters are bound to inputs by name.

    ``needs``: inputs without which it is unknown. ``any_of``: at least one of these must be known. ``wants``: inputs
    that make it better. The function gets None for what is unknown. ``known`` and ``any_known`` are needed like
    ``needs`` and ``any_of``, but not given: a model holds them already.

    Raises ``TypeError`` where a parameter is bound to nothing or twice, or where an input that may be unknown goes to a
    parameter that takes no None.

    ``printed``: inputs that it also takes in lower rank, as :data:`PRINTED` makes them; others are unknown to it then.
    """

    build: Build
    needs: Bound = field(default_factory=dict)
    any_of: Bound = field(default_factory=dict)
    wants: Bound = field(default_factory=dict)
    known: tuple[str, ...] = field(default=(), kw_only=True)
    any_known: tuple[str, ...] = field(default=(), kw_only=True)
    printed: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        _hold_to_signature(self)
        if strange := set(self.printed) - set(self.inputs):
            raise TypeError(f"{self.build}: {', '.join(sorted(strange))} is none of its inputs")

    @property
    def asked(self) -> tuple[str, ...]:
        """What this takes as whoever asks says it, beside its inputs."""
        return ()

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Inputs that must all be known."""
        return (*_names(self.needs), *self.known)

    @cached_property
    def any_needed(self) -> tuple[str, ...]:
        """Inputs of which one must be known; nothing where that is not asked."""
        return (*_names(self.any_of), *self.any_known)

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """Inputs that make it better."""
        return tuple(_names(self.wants))

    @property
    def inputs(self) -> tuple[str, ...]:
        """All of them, in the order in which they are declared."""
        return (*self.needed, *self.any_needed, *self.wanted)

    def make(self, given: Callable[[str], Any], **options: str) -> Any:
        """Call the function; ``given`` tells what an input is, None where it is unknown."""
        bound = {
            parameter: {name: given(name) for name in of} if isinstance(of, tuple) else given(of)
            for parameter, of in (*self.needs.items(), *self.any_of.items(), *self.wants.items())
        }
        return self.build(**bound, **options)


@dataclass(frozen=True, eq=False)
class TableSpec(Spec):
    """How a table is made. ``options`` are what whoever asks for it says, as keywords of the builder, which raises
    ``OptionError`` for one that makes no sense; each has its default, None where it must be said.
    """

    schema: Schema = field(kw_only=True)
    options: Mapping[str, str | None] = field(default_factory=dict, kw_only=True)

    @property
    def asked(self) -> tuple[str, ...]:
        return tuple(self.options)


def _names(bound: Bound) -> Iterator[str]:
    for of in bound.values():
        yield from of if isinstance(of, tuple) else (of,)


def _hold_to_signature(spec: Spec) -> None:
    """Raise ``TypeError`` with one sentence where the function cannot be called with what is bound."""
    name = getattr(spec.build, "__qualname__", type(spec.build).__qualname__)
    parameters = inspect.signature(spec.build).parameters
    rest = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if other := [n for n, p in parameters.items() if n not in named and p.kind is not p.VAR_KEYWORD]:
        raise TypeError(f"{name}: nothing can be bound to {', '.join(other)} by name")
    times = Counter((*spec.needs, *spec.any_of, *spec.wants, *spec.asked))
    if twice := [n for n, count in times.items() if count > 1]:
        raise TypeError(f"{name}: {', '.join(twice)} is bound twice")
    if strange := [n for n in times if n not in named and not (rest and n in spec.asked)]:
        raise TypeError(f"{name} has no parameter {', '.join(strange)}; it has {', '.join(named)}")
    if unbound := [n for n in named if n not in times]:
        raise TypeError(f"{name}: no input is bound to {', '.join(unbound)}")
    if strict := [n for n in _may_be_none(spec) if not _takes_none(named[n])]:
        raise TypeError(f"{name}: {', '.join(strict)} may be unknown, but takes no None")


def _may_be_none(spec: Spec) -> Iterator[str]:
    """Parameters of one input that may be unknown: one of ``any_of`` may be where it is not the only one."""
    some = spec.any_of if len(spec.any_needed) > 1 else NOTHING
    yield from (n for n, of in (*some.items(), *spec.wants.items()) if isinstance(of, str))


def _takes_none(parameter: inspect.Parameter) -> bool:
    if parameter.default is None or parameter.annotation is parameter.empty:
        return True
    said = parameter.annotation if isinstance(parameter.annotation, str) else str(parameter.annotation)
    return bool({"None", "Any", "object"} & {part.strip() for part in said.split("|")})


TABLES: dict[str, TableSpec] = {}
MODELS: dict[str, Spec] = {}
"""What several tables are built from and is no table itself: read once, and never shown."""
PRINTED: dict[str, Spec] = {}
"""How a table is made in lower rank, where its evidence is missing: from what kubectl or calicoctl printed of it.

Columns that are not printed are null, rows that are not printed are missing. So nothing gets such a table that does not
say that it can do with it (:attr:`Spec.printed`); what is made of it is of lower rank too.
"""


class UnseenError(Exception):
    """Raised by a builder whose table is unknown although its needs are known.

    That is for want of the inputs ``names``, or because none of its wants is known.
    """

    def __init__(self, why: str = "", names: Iterable[str] = ()) -> None:
        super().__init__(why)
        self.names = tuple(names)


class UnreadableError(ValueError):
    """Raised by a builder that cannot read something of the cluster; its table is unknown. No fault of the kit."""


class OptionError(ValueError):
    """Raised by a builder for an option that makes no sense for this cluster; one sentence for the user."""


Spared = Iterable[tuple[str, str | None]]
"""Evidence, by id and node; of what nodes have, no node stands for all of them."""


@dataclass(frozen=True, eq=False)
class Sparing(Spec):
    """What tells the evidence that nobody misses; of the ids ``unasked`` it tells this before any is asked for."""

    unasked: frozenset[str] = field(default=frozenset(), kw_only=True)
    why: str = field(default="", kw_only=True)


NOT_APPLICABLE: list[Sparing] = []


def not_applicable(
    needs: Bound, unasked: frozenset[str] = frozenset(), why: str = ""
) -> Callable[[Callable[..., Spared]], Callable[..., Spared]]:
    """Register the decorated function of tables: the evidence (id, node) that nobody misses, as nothing could print it.

    A node without BIRD has no output of birdcl. That is no hole in the coverage, once the tables tell so. What is
    ``unasked`` a source is not even asked for where these tables, which come first, tell that there is none: ``why``.
    """

    def register(tell: Callable[..., Spared]) -> Callable[..., Spared]:
        NOT_APPLICABLE.append(Sparing(tell, needs, unasked=unasked, why=why))
        return tell

    return register


def table(
    schema: Schema,
    needs: Bound = NOTHING,
    any_of: Bound = NOTHING,
    wants: Bound = NOTHING,
    *,
    known: tuple[str, ...] = (),
    any_known: tuple[str, ...] = (),
    printed: tuple[str, ...] = (),
    options: Mapping[str, str | None] = MappingProxyType({}),
) -> Callable[[Build], Build]:
    """Register the decorated pure function as the builder of ``schema.name``; returns the function unchanged.

    :class:`Spec` says what the words mean.
    """

    def register(build: Build) -> Build:
        if schema.name in TABLES:
            raise ValueError(f"table {schema.name} is declared twice")
        TABLES[schema.name] = TableSpec(
            *(build, needs, any_of, wants),
            known=known,
            any_known=any_known,
            printed=printed,
            schema=schema,
            options=options,
        )
        return build

    return register


def model(name: str, wants: Bound) -> Callable[[Build], Build]:
    """Register the decorated pure function as the builder of a model: an input like tables, that no user sees.

    It gets None for what is unknown, and keeps in itself what it lacks.
    """

    def register(build: Build) -> Build:
        MODELS[name] = Spec(build, wants=wants)
        return build

    return register


def printed(
    name: str, needs: Bound = NOTHING, any_of: Bound = NOTHING, wants: Bound = NOTHING
) -> Callable[[Build], Build]:
    """Register the decorated pure function as the builder of the table ``name`` in lower rank (:data:`PRINTED`).

    It takes all its inputs in lower rank too.
    """

    def register(build: Build) -> Build:
        if name in PRINTED:
            raise ValueError(f"the printed form of {name} is declared twice")
        names = tuple(n for bound in (needs, any_of, wants) for n in _names(bound))
        PRINTED[name] = Spec(build, needs, any_of, wants, printed=names)
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
    refuse_circles()
    return TABLES


def refuse_circles() -> None:
    """Raise ``TypeError`` with one sentence where a table or model rests on itself."""
    specs = {**TABLES, **MODELS}
    inputs = {name: (*spec.inputs, *(PRINTED[name].inputs if name in PRINTED else ())) for name, spec in specs.items()}
    try:
        TopologicalSorter(inputs).prepare()
    except CycleError as error:
        raise TypeError(f"a table rests on itself: {' → '.join(error.args[1])}") from None


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

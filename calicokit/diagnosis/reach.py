"""For which nodes a check could answer, from the evidence that it rests on: silence about a node does not mean healthy.

A table tells of a node where all that it needs is known there, and one of those of which it needs any. A table of nodes
that needs nothing of them, and only wants it, tells nothing of a node where it has none of what it wants. What tells of
IPv6 alone does not stand in for what tells of IPv4, nor the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Protocol

from calicokit import registry
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.model import Missing
from calicokit.registry import Spec, TableSpec
from calicokit.tables import Tables

OTHERS = "other nodes"
"""Stands for the nodes that nobody named: the list of nodes is missing."""

Holes = Mapping[str, Missing]
"""Node → why nothing is known of it."""


class Placed(Tables, Protocol):
    """A cluster that knows where evidence is missing."""

    def node_holes(self) -> Mapping[str, Holes]:
        """Evidence of nodes that is missing, and missed: its id → node → why."""
        ...

    def asks(self, id_: str) -> bool:
        """Whether any node is asked for a piece of evidence."""
        ...


class Reach:
    """What the evidence of one cluster reaches, worked out once for each table."""

    def __init__(self, cluster: Placed) -> None:
        self._cluster, self._holes = cluster, cluster.node_holes()
        listed = cluster.given("nodes") is not None
        self._unlisted: Holes = {} if listed else {OTHERS: Missing("nodes", "which other nodes there are is not known")}
        self._known: dict[str, Holes | None] = {}

    def left_out(self, spec: Spec, told_by: Iterable[str] = ()) -> Holes:
        """The nodes of which this could not be answered, with a reason; none where no evidence of nodes is asked.

        ``told_by`` is evidence of nodes that it needs too.
        """
        found = self._of_spec(spec, by_wants=False)
        also = {node: why for id_ in told_by for node, why in self._holes.get(id_, {}).items()}
        return {} if found is None else {**found, **also, **self._unlisted}

    def _of(self, name: str) -> Holes | None:
        """The same of an input; None where it rests on nothing of nodes."""
        if name not in self._known:
            self._known[name] = self._look(name)
        return self._known[name]

    def _look(self, name: str) -> Holes | None:
        spec = registry.spec_of(name)
        if spec is None:
            if name.startswith("@") or name.endswith("+series") or CATALOG[name].scope == "cluster":
                return None
            if not self._cluster.asks(name):
                return None
            return self._holes.get(name, {})
        by_node = "node" in spec.schema.names if isinstance(spec, TableSpec) else True
        found = self._of_spec(spec, by_wants=by_node)
        undecided = self._undecided(name, spec)
        return found if not undecided else {**(found or {}), **undecided}

    def _of_spec(self, spec: Spec, by_wants: bool) -> Holes | None:
        needs = self._asked(spec.needed)
        some = [] if any(self._seen_whole(n) for n in spec.any_needed) else self._by_version(spec.any_needed)
        wants = self._by_version(spec.wanted) if by_wants and not needs and not some else []
        if not (needs or some or wants):
            return None
        found: dict[str, Missing] = {}
        for holes in (*needs, *map(_in_all, some), *map(_in_all, wants)):
            found |= holes
        return found

    def _by_version(self, names: Sequence[str]) -> list[list[Holes]]:
        """The inputs of which one is enough: those that tell of IPv6 alone, and the others."""
        groups = ([n for n in names if not _is_of_ipv6(n)], [n for n in names if _is_of_ipv6(n)])
        return [asked for group in groups if (asked := self._asked(group))]

    def _asked(self, names: Iterable[str]) -> list[Holes]:
        return [holes for n in names if (holes := self._of(n)) is not None]

    def _seen_whole(self, name: str) -> bool:
        """Whether this is no matter of nodes, and known."""
        return self._of(name) is None and self._cluster.given(name) is not None

    def _undecided(self, name: str, spec: Spec) -> Holes:
        """The nodes of which the table itself says that it does not know."""
        if not isinstance(spec, TableSpec) or not spec.schema.undecided:
            return {}
        table = self._cluster.table(name)
        column, value = spec.schema.undecided
        rows = table[(table[column] == value) & table["node"].notna()]
        return {str(n): Missing(name, "what was seen does not tell", str(n)) for n in rows["node"]}


@cache
def _is_of_ipv6(name: str) -> bool:
    """Whether all that an input rests on, of nodes, is of IPv6."""
    ids = {i.removesuffix("+series") for i in registry.evidence_of((name,)) if not i.startswith("@")}
    of_nodes = [CATALOG[i] for i in ids if CATALOG[i].scope == "node"]
    return bool(of_nodes) and all(item.ipv6 for item in of_nodes)


def _in_all(group: Sequence[Holes]) -> Holes:
    if not group:
        return {}
    first, *others = group
    return {n: why for n, why in first.items() if all(n in o for o in others)}

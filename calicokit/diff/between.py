"""Two clusters → all that differs, with what could not be compared. The tables and lists are the kit's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit import registry
from calicokit.cluster import Cluster
from calicokit.diff import objects, tables
from calicokit.diff.areas import AREAS, COMPARED, OBJECTS, Compared
from calicokit.diff.tables import COUNTERS, DIFFERENCES
from calicokit.evidence.catalog import CATALOG, Api
from calicokit.evidence.model import Missing, SourceError
from calicokit.kube.families import uses_ipv6

PASSING = ("events", "pod-metrics")
"""Lists of what goes by nature: that they differ tells nothing."""

LISTS = tuple(i.id for i in CATALOG.values() if isinstance(i.how, Api) and i.id not in PASSING)
"""Events come and go by nature."""


@dataclass(frozen=True)
class Hole:
    """What could not be compared, and on which side it is missing: ``A``, ``B``, or both."""

    area: str
    side: str
    missing: Missing

    def as_dict(self) -> dict[str, str]:
        return {"area": self.area, "side": self.side, **self.missing.as_dict()}


@dataclass
class Difference:
    """What changed from one source to another.

    ``.differences`` and ``.counters`` are DataFrames; ``.holes`` say what is unknown and so no difference; ``.seconds``
    lie between the two, None where a time is unknown; ``.compared`` counts, by area, the rows and objects of each.
    """

    before: str
    after: str
    seconds: float | None
    differences: pd.DataFrame = field(default_factory=DIFFERENCES.frame)
    counters: pd.DataFrame = field(default_factory=COUNTERS.frame)
    holes: list[Hole] = field(default_factory=list)
    compared: dict[str, list[int]] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status: 0 no difference, 1 differences. Counters alone are no difference: they only ever go on."""
        return 1 if len(self.differences) else 0

    def summary(self) -> list[dict[str, Any]]:
        """For each area: how much was compared on each side (None: nothing), what changed, how much is unknown."""
        rows = []
        for area in AREAS:
            mine = self.differences[self.differences["area"] == area]
            counts = {c: int((mine["change"] == c).sum()) for c in ("added", "removed", "reordered")}
            changed = mine[mine["change"] == "changed"]
            first, second = self.compared.get(area, (None, None))
            about = {"area": area, "before": first, "after": second, **counts}
            about["changed"] = len(changed[["node", "kind", "subject"]].drop_duplicates())
            about["counters"] = int((self.counters["area"] == area).sum())
            about["unknown"] = len([h for h in self.holes if h.area == area])
            rows.append(about)
        return [r for r in rows if r["area"] in self.compared or r["unknown"]]


Say = Callable[[str], None]


def diff(
    before: Cluster, after: Cluster, areas: Sequence[str] = (), nodes: Sequence[str] = (), say: Say = lambda _: None
) -> Difference:
    """What changed from ``before`` to ``after``, in all areas and on all nodes unless some are named.

    Raises :class:`SourceError` if nothing can be compared.
    """
    wanted = areas or AREAS
    both = (before, after)
    six = any(uses_ipv6(cluster.table("kube.families")) for cluster in both)
    compared = [c for c in COMPARED if c.area in wanted and (six or not c.ipv6)]
    ids = LISTS if OBJECTS in wanted else ()
    for cluster in (before, after):
        cluster.progress = say
        registry.load()
        cluster.fetch([*ids, *(c.table for c in compared)])
    found = Difference(before.name, after.name, _seconds(before, after))
    parts, counted = _objects(found, before, after, ids, nodes), [COUNTERS.frame()]
    done: set[str] = set()
    for what in compared:
        if what.instead_of not in done:
            say(what.table)
            _compare(found, what, (before, after), nodes, parts, counted, done)
    if not found.compared:
        why = next((h.missing for h in found.holes), "")
        raise SourceError(f"{before.name} and {after.name} have nothing in common to compare ({why}).")
    found.differences = pd.concat([DIFFERENCES.frame(), *parts], ignore_index=True)
    found.counters = pd.concat(counted, ignore_index=True)
    found.holes = [h for h in found.holes if h.missing.id not in _spared(done)]
    return found


def _seconds(before: Cluster, after: Cluster) -> float | None:
    if before.time is None or after.time is None:
        return None
    return float((after.time - before.time).total_seconds())


def _objects(
    found: Difference, before: Cluster, after: Cluster, ids: Iterable[str], nodes: Sequence[str]
) -> list[pd.DataFrame]:
    parts = []
    for id_ in ids:
        first, second = before.given(id_), after.given(id_)
        if first is None or second is None:
            found.holes += _holes(OBJECTS, id_, first is None, second is None, before, after)
            continue
        _count(found, OBJECTS, len(first.raw), len(second.raw))
        found.holes += _in_part(OBJECTS, id_, {None}, before, after)
        rows = objects.differences(id_, first, second)
        parts.append(rows[rows["subject"].isin(nodes)] if nodes and id_ == "nodes" else rows)
    return parts


def _compare(
    found: Difference,
    what: Compared,
    sides: tuple[Cluster, Cluster],
    nodes: Sequence[str],
    parts: list[pd.DataFrame],
    counted: list[pd.DataFrame],
    done: set[str],
) -> None:
    """Compare one table on the nodes where both sides have seen it."""
    before, after = sides
    first: pd.DataFrame
    second: pd.DataFrame
    first, second = before.table(what.table), after.table(what.table)
    evidence = next(iter(registry.evidence_of((what.table,))))
    unknown = [c.given(what.table) is None for c in sides]
    if any(unknown):
        found.holes += _holes(what.area, evidence, unknown[0], unknown[1], before, after)
        return
    done.add(what.table)
    if CATALOG[evidence].scope == "node":
        both = _on_both(found, what.area, evidence, before, after)
        both = both & set(nodes) if nodes else both
        found.holes += _in_part(what.area, evidence, both, before, after)
        first, second = (f[f["node"].isin(both)] for f in (first, second))
    if what.prepare is not None:
        first, second = what.prepare(pd.DataFrame(first)), what.prepare(pd.DataFrame(second))
    _count(found, what.area, len(first), len(second))
    if what.area != "counters":
        parts.append(tables.differences(what, first, second))
    counted.append(tables.counters(what, first, second, found.seconds))


def _on_both(found: Difference, area: str, id_: str, before: Cluster, after: Cluster) -> set[str | None]:
    """The nodes whose output both sides have; of the others nothing can be said, and that is said."""
    seen: list[set[str | None]] = [
        {w.node for w in c.coverage.seen if w.id == id_ and not w.series and w.node} for c in (before, after)
    ]
    for side, cluster, lost in (("A", before, seen[1] - seen[0]), ("B", after, seen[0] - seen[1])):
        why = {m.node: m.why for m in cluster.coverage.missing if m.id == id_}
        for node in sorted(n for n in lost if n):
            found.holes.append(Hole(area, side, Missing(id_, why.get(node, "no such node"), node)))
    return seen[0] & seen[1]


def _holes(area: str, id_: str, first: bool, second: bool, before: Cluster, after: Cluster) -> Iterator[Hole]:
    """One hole for each side on which it is missing; where it is on both in the same way, one."""
    whys = [_why(cluster, id_) if lost else "" for cluster, lost in ((before, first), (after, second))]
    if whys[0] == whys[1]:
        yield Hole(area, "A and B", Missing(id_, whys[0]))
        return
    yield from (Hole(area, side, Missing(id_, why)) for side, why in zip("AB", whys, strict=True) if why)


def _in_part(area: str, id_: str, nodes: set[str | None], before: Cluster, after: Cluster) -> Iterator[Hole]:
    """Evidence that was compared though a part of it is missing: differences may come from that."""
    for side, cluster in (("A", before), ("B", after)):
        yield from (Hole(area, side, m) for m in cluster.coverage.missing if m.id == id_ and m.node in nodes)


def _why(cluster: Cluster, id_: str) -> str:
    whys = dict.fromkeys(m.why for m in cluster.coverage.missing if m.id == id_)
    return "; ".join(whys) or "could not be read"


def _spared(done: set[str]) -> set[str]:
    """Evidence that is not needed, as another table with the same content was compared."""
    pairs = [(c.table, c.instead_of) for c in COMPARED if c.instead_of]
    spared = {p for mine, other in pairs for p in (other if mine in done else "",) if p}
    return {next(iter(registry.evidence_of((t,)))) for t in spared - done}


def _count(found: Difference, area: str, first: int, second: int) -> None:
    counts = found.compared.setdefault(area, [0, 0])
    counts[0] += first
    counts[1] += second

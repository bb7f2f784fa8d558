"""Run the checks on a cluster, and the list of findings that comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Protocol

import pandas as pd

from calicokit import registry
from calicokit.diagnosis.answer_html import answer_html
from calicokit.diagnosis.doubt import EVERYWHERE, doubts, stepped_down
from calicokit.diagnosis.model import CHECKS, SEVERITIES, Check, Finding, vocabulary
from calicokit.diagnosis.ranking import Tree, rank, trees
from calicokit.diagnosis.reach import Placed, Reach
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.model import Coverage, Failed, Left, Missing, PartlyRead, SourceError
from calicokit.faults import attempt
from calicokit.output.tables import table_name
from calicokit.progress import Progress
from calicokit.registry import Spec
from calicokit.sentences import listed, plural

MOST_NAMED = 6
"""So many kinds of findings are named in the verdict; the coverage names all."""
COLUMNS = ["severity", "id", "where", "cause", "remedy", "explained_by", "guide_step"]


class Findings(list[Finding]):
    """Findings, most likely root cause first, with the coverage of the checks that made them.

    ``.frame`` is the same as a DataFrame; in a notebook the list shows itself as the terminal's answer.
    """

    def __init__(
        self,
        findings: Iterable[Finding],
        coverage: Coverage,
        blocked: Iterable[str] = (),
        failed: Iterable[str] = (),
        younger: Iterable[str] = (),
    ) -> None:
        super().__init__(findings)
        self.coverage = coverage
        self.blocked = sorted(blocked)
        """Ids whose critical check could not run because evidence is missing."""
        self.failed = sorted(failed)
        """Ids whose check could not be finished through a fault of the kit."""
        self.younger = sorted(younger)
        """Ids whose check needs what the kit did not ask for yet when this was recorded."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row a finding: severity, id, where, cause, remedy, explained_by, guide_step (all str)."""
        return pd.DataFrame([[getattr(f, c) for c in COLUMNS] for f in self], columns=pd.Index(COLUMNS), dtype="str")

    @property
    def causes(self) -> list[Tree]:
        """Roots with their effects, where the root or any effect is more than information."""
        return [t for t in trees(self) if _is_loud(t)]

    @property
    def infos(self) -> list[Finding]:
        """Information, which explains nothing louder."""
        return [f for root, effects in trees(self) if not _is_loud((root, effects)) for f in (root, *effects)]

    @property
    def status(self) -> int:
        """The exit status of ``calicokit check``: 0 nothing wrong, 1 something is, 3 nothing seen but not all seen."""
        if any(SEVERITIES.index(f.severity) >= SEVERITIES.index("warning") for f in self):
            return 1
        return 3 if self.blocked or self.failed or self.unanswered else 0

    @property
    def unanswered(self) -> dict[str, list[str]]:
        """Node → ids that could be told of other nodes, and not of it: critical ones, and those of one evidence."""
        found: dict[str, list[str]] = {}
        for id_, nodes in self.coverage.partly.items():
            for node in nodes if id_ in self._never_silent else ():
                found.setdefault(node, []).append(id_)
        return found

    @cached_property
    def _never_silent(self) -> set[str]:
        alone = {i for check in CHECKS if check.told_by for i in check.ids}
        return alone | {i for i, word in vocabulary().items() if word.severity == "critical"}

    def as_dict(self) -> dict[str, Any]:
        """The JSON that scripts rely on (docs/contracts.md)."""
        return {"findings": [f.as_dict() for f in self], "coverage": self.coverage.as_dict()}

    def verdict(self) -> str:
        """In a few sentences: how many causes and effects were found, and what could not be looked at."""
        text = [self._found(), *self._not_looked_at()]
        return " ".join(text)

    def _found(self) -> str:
        causes = self.causes
        if not causes:
            whole = self.status == 0
            return (
                "Nothing wrong was found." if whole else "Nothing wrong was found in what was seen; not all was seen."
            )
        counts = [(s, sum(root.severity == s for root, _ in causes)) for s in reversed(SEVERITIES)]
        by_severity = ", ".join(f"{count} {severity}" for severity, count in counts if count)
        effects = sum(f.severity != "info" for _, under in causes for f in under)
        also = f", {plural(effects, 'effect')}" if effects else ""
        return f"{plural(len(causes), 'cause')} ({by_severity}){also}."

    def _not_looked_at(self) -> Iterator[str]:
        if self.blocked:
            yield f"Not checked, as evidence is missing: {listed(self.blocked, MOST_NAMED)}."
        nodes: dict[tuple[str, ...], list[str]] = {}
        for node, ids in self.unanswered.items():
            nodes.setdefault(tuple(ids), []).append(node)
        for together, names in nodes.items():
            yield f"Not checked for {listed(names)}: {listed(together, MOST_NAMED)}."
        if self.failed:
            yield f"Not checked, through a fault of calicokit: {listed(self.failed, MOST_NAMED)}."
        if self.younger:
            yield f"Not checked, as it is younger than this recording: {listed(self.younger, MOST_NAMED)}."

    def _repr_html_(self) -> str:
        return answer_html(self)


def _is_loud(tree: Tree) -> bool:
    root, effects = tree
    return any(f.severity != "info" for f in (root, *effects))


class Checkable(Placed, Protocol):
    """A cluster, for the checks."""

    @property
    def name(self) -> str:
        """What its source was called."""
        ...

    @property
    def answered(self) -> bool:
        """Whether anything was seen at all."""
        ...

    @property
    def coverage(self) -> Coverage:
        """What was seen, and what was not."""
        ...

    def partly_read(self) -> list[PartlyRead]:
        """What could be read in part only."""
        ...

    def note(self, *missing: Missing) -> None:
        """Add holes to the coverage."""
        ...

    def run(self, check: Check) -> list[Finding]:
        """What one check finds."""
        ...

    def unknown_to(self, spec: Spec) -> list[Missing]:
        """Why what this needs is unknown to it."""
        ...

    def lower(self, spec: Spec) -> Sequence[Lower]:
        """What this needs and is known in lower rank only."""
        ...

    def left_over(self) -> Sequence[Left]:
        """What the source holds and nobody asked for."""
        ...


class Lower(Protocol):
    """How a table is known in lower rank."""

    @property
    def table(self) -> str:
        """Its name."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """The evidence that it was made from."""
        ...

    @property
    def words(self) -> Sequence[str]:
        """The commands that printed it."""
        ...

    @property
    def holes(self) -> Sequence[Missing]:
        """Why what it should rest on is unknown."""
        ...


def run_checks(cluster: Checkable, progress: Progress | None = None) -> Findings:
    """Every registered check that has its evidence, ranked. Raises ``SourceError`` if there is no evidence at all."""
    registry.load()
    say = progress or (lambda _: None)
    say("fetching evidence")
    cluster.fetch([name for c in CHECKS for name in c.inputs])
    run = _Run(cluster)
    for check in CHECKS:
        say(", ".join(check.ids))
        run.make(check)
    if not cluster.answered:
        raise SourceError(_nothing(cluster))
    return run.findings()


@dataclass
class _Run:
    """All checks of one cluster, and which of them could answer."""

    cluster: Checkable
    found: list[Finding] = field(default_factory=list)
    made: list[Check] = field(default_factory=list)
    held_up: dict[Missing, set[str]] = field(default_factory=dict)
    unchecked: dict[str, list[Missing]] = field(default_factory=dict)
    unsure: dict[str, dict[str, Missing]] = field(default_factory=dict)

    def make(self, check: Check) -> None:
        """Run a check whose needs are known; note for want of what the others do not run."""
        holes, lower = self.cluster.unknown_to(check), self.cluster.lower(check)
        lost = [m for each in lower for m in each.holes]
        for hole in (*holes, *lost):
            self.held_up.setdefault(hole, set()).update(check.ids)
        if not holes:
            said = attempt(", ".join(check.ids), partial(self.cluster.run, check))
            if isinstance(said, Failed):
                self.cluster.note(said)
                holes = [said]
            elif lower:
                self.found += [_of_prints(f, lower) for f in said]
                holes = lost  # what is not printed is not known to be absent
            else:
                holes = self._doubtful(check, said)
        for id_ in check.ids if holes else ():
            self.unchecked.setdefault(id_, []).extend(holes)

    def _doubtful(self, check: Check, said: list[Finding]) -> list[Missing]:
        """Keep what a check said, as sure as it can be; what of its evidence of the whole cluster was not read."""
        found = doubts(check, self.cluster.partly_read())
        self.found += [stepped_down(f, found) for f in said] if check.absence else said
        self.made.append(check)
        for id_ in check.ids:
            self.unsure.setdefault(id_, {}).update({n: why for n, why in found.items() if n != EVERYWHERE})
        return [why for node, why in found.items() if node == EVERYWHERE]

    def findings(self) -> Findings:
        """All that was found, ranked, with the coverage by finding and node."""
        coverage = self.cluster.coverage
        coverage.add_missing(_unused(left) for left in self.cluster.left_over())
        coverage.missing = [_with_checks(m, self.held_up.get(m, set())) for m in coverage.missing]
        coverage.unchecked = self.unchecked
        reach = Reach(self.cluster)
        for check in self.made:
            left_out = reach.left_out(check, check.told_by)
            for id_ in set(check.ids) - set(self.unchecked):
                if nodes := {**self.unsure[id_], **left_out}:
                    coverage.partly.setdefault(id_, {}).update(nodes)
        told = {i for check in self.made for i in check.ids}
        coverage.checked = sorted(told - set(coverage.partly) - set(self.unchecked))
        why: dict[str, set[str]] = {"blocked": set(), "failed": set(), "younger": set()}
        for id_, holes in self.unchecked.items():
            why[_why_unchecked(holes)].add(id_)
        blocked = {i for i in why["blocked"] if vocabulary()[i].severity == "critical"}
        return Findings(rank(self.found), coverage, blocked, why["failed"], why["younger"])


def _why_unchecked(holes: Iterable[Missing]) -> str:
    if any(isinstance(hole, Failed) for hole in holes):
        return "failed"
    return "younger" if all(hole.younger for hole in holes) else "blocked"


def _nothing(cluster: Checkable) -> str:
    why = next((m.why for m in cluster.coverage.missing if m.id in ("nodes", "pods")), "")
    also = "".join(f"; {_unused(left)}" for left in cluster.left_over()[:MOST_NAMED])
    said = f" ({why}{also})" if why else "; is it a recording of Calico?"
    return f"{cluster.name} holds no evidence that any check can use{said}"


def _unused(left: Left) -> Missing:
    """That a file was read, and of no use to any check; with the table that it became."""
    item = CATALOG[left.want.id]
    shown = f" (`calicokit table SOURCE {table_name(item)}` shows it)" if item.parser else ""
    return Missing(left.path, f"was read as {left.want.id}, {item.title}{shown}; no check uses it", left.want.node)


def _of_prints(found: Finding, lower: Iterable[Lower]) -> Finding:
    """The finding with the rank of its evidence."""
    words = tuple(dict.fromkeys(w for each in lower for w in each.words))
    said = f"Known from what {listed([f'`{w}`' for w in words])} printed, not from the API's objects."
    by_table = {each.table: each.ids[0] for each in lower}
    rows = tuple(replace(r, id=by_table.get(r.table, r.id)) for r in found.evidence)
    return replace(found, cause=f"{found.cause} {said}", printed=words, evidence=rows)


def _with_checks(hole: Missing, ids: set[str]) -> Missing:
    return replace(hole, why=f"{hole.why}; without it not checked: {', '.join(sorted(ids))}") if ids else hole

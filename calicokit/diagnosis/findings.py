"""Run the checks on a cluster, and the list of findings that comes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any, Protocol

import pandas as pd

from calicokit import registry
from calicokit.diagnosis.model import CHECKS, SEVERITIES, Check, Finding
from calicokit.diagnosis.ranking import rank
from calicokit.evidence.model import Coverage, Failed, Missing, SourceError
from calicokit.faults import attempt
from calicokit.progress import Progress
from calicokit.tables import Tables

MOST_SHOWN = 200
COLUMNS = ["severity", "id", "where", "cause", "remedy", "explained_by", "guide_step"]


class Findings(list[Finding]):
    """Findings, most likely root cause first, with the coverage of the checks that made them.

    ``.frame`` is the same as a DataFrame; in a notebook the list shows itself as a table.
    """

    def __init__(
        self,
        findings: Iterable[Finding],
        coverage: Coverage,
        blocked: Iterable[str] = (),
        failed: Iterable[str] = (),
    ) -> None:
        super().__init__(findings)
        self.coverage = coverage
        self.blocked = sorted(blocked)
        """Ids whose critical check could not run because evidence is missing."""
        self.failed = sorted(failed)
        """Ids whose check could not be finished through a fault of the kit."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row a finding: severity, id, where, cause, remedy, explained_by, guide_step (all str)."""
        return pd.DataFrame([[getattr(f, c) for c in COLUMNS] for f in self], columns=pd.Index(COLUMNS), dtype="str")

    @property
    def status(self) -> int:
        """The exit status of ``calicokit check``: 0 nothing wrong, 1 something is, 3 nothing seen but not all seen."""
        if any(SEVERITIES.index(f.severity) >= SEVERITIES.index("warning") for f in self):
            return 1
        return 3 if self.blocked or self.failed else 0

    def as_dict(self) -> dict[str, Any]:
        """The JSON that scripts rely on (docs/contracts.md)."""
        return {"findings": [f.as_dict() for f in self], "coverage": self.coverage.as_dict()}

    def verdict(self) -> str:
        """One sentence: what was found, and what could not be looked at."""
        if self.status == 1:
            text = f"{sum(not f.explained_by for f in self)} finding(s), the most likely cause first."
        else:
            text = "Nothing wrong was found."
        if self.blocked:
            text += f" Could not be checked, as evidence is missing: {', '.join(self.blocked)}."
        if self.failed:
            text += f" Could not be checked, through a fault of calicokit: {', '.join(self.failed)}."
        return text

    def _repr_html_(self) -> str:
        if not self:
            return f"<p><b>{escape(self.verdict())}</b></p>"
        from calicokit.show import show

        table = show(self.frame.drop(columns="guide_step"), rows=MOST_SHOWN)
        return f"<p><b>{escape(self.verdict())}</b></p>{table._repr_html_()}"


class Checkable(Tables, Protocol):
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

    def note(self, *missing: Missing) -> None:
        """Add holes to the coverage."""
        ...

    def checked(self, *ids: str) -> None:
        """Note that the checks of these findings have run."""
        ...


def run_checks(cluster: Checkable, progress: Progress | None = None) -> Findings:
    """Every registered check that has its evidence, ranked. Raises ``SourceError`` if there is no evidence at all."""
    registry.load()
    say = progress or (lambda _: None)
    say("fetching evidence")
    cluster.fetch([name for c in CHECKS for name in c.inputs])
    if not cluster.answered:
        raise SourceError(_nothing(cluster))
    found: list[Finding] = []
    held_up: dict[Missing, set[str]] = {}
    blocked: set[str] = set()
    failed: set[str] = set()
    for check in CHECKS:
        say(", ".join(check.ids))
        holes = _holes(cluster, check)
        if holes:
            if any(isinstance(hole, Failed) for hole in holes):
                failed.update(check.ids)
            elif check.critical:
                blocked.update(check.ids)
            for hole in holes:
                held_up.setdefault(hole, set()).update(check.ids)
            continue
        said = attempt(", ".join(check.ids), partial(_run, cluster, check))
        if isinstance(said, Failed):
            cluster.note(said)
            failed.update(check.ids)
            continue
        found += said
        cluster.checked(*check.ids)
    coverage = cluster.coverage
    coverage.missing = [_with_checks(m, held_up.get(m, set())) for m in coverage.missing]
    return Findings(rank(found), coverage, blocked, failed)


def _run(cluster: Checkable, check: Check) -> list[Finding]:
    return list(check.make(cluster.given))


def _nothing(cluster: Checkable) -> str:
    why = next((m.why for m in cluster.coverage.missing if m.id in ("nodes", "pods")), "")
    said = f" ({why})" if why else "; is it a recording of Calico?"
    return f"{cluster.name} holds no evidence that any check can use{said}"


def _with_checks(hole: Missing, ids: set[str]) -> Missing:
    return replace(hole, why=f"{hole.why}; without it not checked: {', '.join(sorted(ids))}") if ids else hole


def _holes(cluster: Checkable, check: Check) -> list[Missing]:
    return list(dict.fromkeys(m for name in check.needed for m in cluster.table(name).unknown))

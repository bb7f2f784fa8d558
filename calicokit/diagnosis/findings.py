"""Run the checks on a cluster, and the list of findings that comes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from calicokit import registry
from calicokit.diagnosis.model import CHECKS, SEVERITIES, Check, Finding, rank
from calicokit.evidence.model import Coverage, Missing, SourceError
from calicokit.progress import Progress

if TYPE_CHECKING:
    from calicokit.cluster import Cluster

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
        younger: Iterable[str] = (),
    ) -> None:
        super().__init__(findings)
        self.coverage = coverage
        self.blocked = sorted(blocked)
        """Ids whose critical check could not run for want of evidence."""
        self.younger = sorted(younger)
        """Ids whose check needs what the kit did not ask for yet when this was recorded."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row a finding: severity, id, where, cause, remedy, explained_by, guide_step (all str)."""
        return pd.DataFrame([[getattr(f, c) for c in COLUMNS] for f in self], columns=pd.Index(COLUMNS), dtype="str")

    @property
    def status(self) -> int:
        """The exit status of ``calicokit check``: 0 nothing wrong, 1 something is, 3 nothing seen but not all seen."""
        if any(SEVERITIES.index(f.severity) >= SEVERITIES.index("warning") for f in self):
            return 1
        return 3 if self.blocked else 0

    def as_dict(self) -> dict[str, Any]:
        """The design's JSON contract."""
        return {"findings": [f.as_dict() for f in self], "coverage": self.coverage.as_dict()}

    def verdict(self) -> str:
        """One sentence: what was found, and what could not be looked at."""
        if self.status == 1:
            text = f"{sum(not f.explained_by for f in self)} finding(s), the most likely cause first."
        else:
            text = "Nothing wrong was found."
        if self.blocked:
            text += f" Could not be checked, as evidence is missing: {', '.join(self.blocked)}."
        if self.younger:
            text += f" Not checked, as it is younger than this recording: {', '.join(self.younger)}."
        return text

    def _repr_html_(self) -> str:
        if not self:
            return f"<p><b>{escape(self.verdict())}</b></p>"
        from calicokit.show import show

        table = show(self.frame.drop(columns="guide_step"), rows=MOST_SHOWN)
        return f"<p><b>{escape(self.verdict())}</b></p>{table._repr_html_()}"


def run_checks(cluster: Cluster, progress: Progress | None = None) -> Findings:
    """Every registered check that has its evidence, ranked. Raises ``SourceError`` if there is no evidence at all."""
    registry.load()
    say = progress or (lambda _: None)
    say("fetching evidence")
    cluster.fetch([name for c in CHECKS for name in (*c.needs, *c.wants)])
    if not cluster.answered:
        raise SourceError(_nothing(cluster))
    found: list[Finding] = []
    held_up: dict[Missing, set[str]] = {}
    blocked: set[str] = set()
    younger: set[str] = set()
    for check in CHECKS:
        say(", ".join(check.ids))
        holes = _holes(cluster, check)
        if holes and all(hole.younger for hole in holes):
            younger.update(check.ids)
            continue
        if holes:
            blocked.update(check.ids if check.critical else ())
            for hole in holes:
                held_up.setdefault(hole, set()).update(check.ids)
            continue
        try:
            found += list(check.run(*(cluster.given(name) for name in (*check.needs, *check.wants))))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # Tables of a shape nobody foresaw cost this check, not the whole answer.
            cluster.note(Missing(", ".join(check.ids), f"could not be checked ({type(error).__name__}: {error})"))
            blocked.update(check.ids if check.critical else ())
            continue
        cluster.checked(*check.ids)
    coverage = cluster.coverage
    coverage.missing = [_with_checks(m, held_up.get(m, set())) for m in coverage.missing]
    return Findings(rank(found), coverage, blocked, younger)


def _nothing(cluster: Cluster) -> str:
    why = next((m.why for m in cluster.coverage.missing if m.id in ("nodes", "pods")), "")
    said = f" ({why})" if why else "; is it a recording of Calico?"
    return f"{cluster.name} holds no evidence that any check can use{said}"


def _with_checks(hole: Missing, ids: set[str]) -> Missing:
    return replace(hole, why=f"{hole.why}; without it not checked: {', '.join(sorted(ids))}") if ids else hole


def _holes(cluster: Cluster, check: Check) -> list[Missing]:
    return list(dict.fromkeys(m for name in check.needs for m in cluster.table(name).unknown))

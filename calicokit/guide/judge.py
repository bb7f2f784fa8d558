"""What a part of the guide comes to on one cluster: wrong, not needed, unknown or fine, and what tells so.

Nothing is fine that was not looked at: a part is fine where the checks that bear on it could answer and found nothing;
what could not be checked is named. By the same measure ``calicokit check`` exits with 0 or 3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from calicokit.diagnosis.findings import Findings
from calicokit.diagnosis.model import Finding, vocabulary
from calicokit.felix.state.configuration import in_ebpf
from calicokit.health.commands import NodeCommands
from calicokit.sentences import listed, plural

WRONG, FINE, UNKNOWN, NOT_NEEDED = "wrong", "fine", "unknown", "not needed"
STATES = (WRONG, FINE, UNKNOWN, NOT_NEEDED)
MOST = 3
"""How many findings and names are told in full."""

Judgement = tuple[str, str]
"""A state, and in words what tells it."""


@dataclass(frozen=True)
class Judge:
    """The findings of a cluster, and what it has of what not every cluster has; a table is None where it is unknown."""

    found: Findings
    bgp: pd.DataFrame | None
    nodes: pd.DataFrame | None
    typha: pd.DataFrame | None
    configuration: pd.DataFrame | None
    pods: pd.DataFrame | None

    @cached_property
    def commands(self) -> NodeCommands:
        """What makes commands to run by hand, with the names of this cluster."""
        return NodeCommands(self.pods)

    def of_ids(self, ids: Collection[str], needs: str = "") -> Judgement:
        """What the checks with these ids say; ``needs`` is one of :data:`~calicokit.guide.page.NEEDS`."""
        loud = [f for f in self.found if f.id in ids and f.severity != "info"]
        if loud:
            return WRONG, _in_words(loud)
        if why := self.spared(needs):
            return NOT_NEEDED, why
        if not ids:
            return UNKNOWN, "no check bears on it"
        unseen = [i for i in ids if i not in self.found.coverage.checked]
        if any(map(self._matters, unseen)):
            return UNKNOWN, self._unchecked(unseen)
        seen = f"{plural(len(ids) - len(unseen), 'check')} found nothing wrong"
        return FINE, f"{seen}; {self._unchecked(unseen)}" if unseen else seen

    def _matters(self, unchecked: str) -> bool:
        """Whether ``calicokit check`` would not call a cluster healthy of which this was not checked."""
        left_out = {i for ids in self.found.unanswered.values() for i in ids}
        return unchecked in {*self.found.blocked, *self.found.failed, *self.found.younger, *left_out}

    def spared(self, needs: str) -> str:
        """Why nothing of the kind is needed here; empty where it is, and where that is not known."""
        if needs in ("bgp", "reflectors") and self.bgp is not None and (self.bgp["in_use"] == False).all():  # noqa: E712
            return f"BGP is not in use: {self.bgp['why'].iloc[0]}"
        if needs == "reflectors" and self.nodes is not None and self.nodes["cluster_id"].isna().all():
            return "no node has a route reflector cluster id"
        if needs == "typha" and self.typha is not None and self.typha.empty:
            return "no Typha is deployed or configured"
        if needs == "ebpf" and self.configuration is not None and not in_ebpf(self.configuration):
            return "no node's Felix runs the eBPF dataplane"
        return ""

    def _unchecked(self, ids: Iterable[str]) -> str:
        """Which checks could not answer, and why the first of them could not."""
        names = list(ids)
        coverage = self.found.coverage
        holes = [str(m) for i in names for m in coverage.unchecked.get(i, ())]
        nodes = sorted({n for i in names for n in coverage.partly.get(i, {})})
        why = holes[0] if holes else f"not seen on {listed(nodes, MOST)}" if nodes else "its evidence was not read"
        return f"not checked: {listed(names, MOST)} ({why})"


def _in_words(found: list[Finding]) -> str:
    """The first few findings, each with where it is; effects only where their cause is not among them."""
    ids = {f.id for f in found}
    roots = [f for f in found if f.explained_by not in ids] or found
    more = f"; and {plural(len(found) - MOST, 'more finding')}" if len(found) > MOST else ""
    return "; ".join(f"{f.title}: {f.where}" for f in roots[:MOST]) + more


def of_steps(paths: Collection[str]) -> list[str]:
    """The finding ids that stand under these parts of the guide."""
    return [
        i for i, w in vocabulary().items() if any(w.guide_step == p or w.guide_step.startswith(f"{p}/") for p in paths)
    ]

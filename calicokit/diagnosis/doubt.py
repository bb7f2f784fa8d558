"""What a check can be sure of where evidence that it needs could be read in part only.

A row that is there, is there. But that something is *not* there, or differs, may be the unread part's doing: findings
of such checks (``absence``) step down to information that says so, and no check's silence counts as an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from calicokit import registry
from calicokit.diagnosis.model import Check, Finding
from calicokit.evidence.model import Missing, PartlyRead

EVERYWHERE = ""
"""Stands for all nodes: a list of the whole cluster lacks something."""

Doubts = Mapping[str, Missing]
"""Node (or :data:`EVERYWHERE`) → what of its evidence could not be read."""


def doubts(check: Check, partly_read: Iterable[PartlyRead]) -> Doubts:
    """What of the evidence that a check needs could be read in part only, by node."""
    found = list(partly_read)
    ids = set(registry.evidence_of(tuple(check.needed))) if found else set()
    return {p.node or EVERYWHERE: p for p in reversed(found) if p.id in ids}


def stepped_down(found: Finding, doubts: Doubts) -> Finding:
    """The finding, as information if all that it rests on is in doubt."""
    nodes = _nodes(found) or set(doubts)
    why = doubts.get(EVERYWHERE) or next((doubts[n] for n in sorted(nodes) if n in doubts), None)
    if why is None or not (EVERYWHERE in doubts or nodes <= set(doubts)):
        return found
    return replace(found, severity="info", cause=f"{found.cause} This is not sure: {why.why}.")


def _nodes(found: Finding) -> set[str]:
    """The nodes that a finding is about, as far as it says."""
    named = [found.subject.get("node"), found.subject.get("nodes"), *(rows.node for rows in found.evidence)]
    return {str(n) for value in named for n in (value if isinstance(value, list) else [value]) if n}

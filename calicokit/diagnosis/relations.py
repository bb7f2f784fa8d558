"""How findings concern each other, for what several topics explain by.

That both are of the same node (pod, policy, …) is ``@explains(cause, effect, on="node")``. Functions of one finding
stand as ``of`` there, and tell which nodes it concerns; those of two are the predicates.
"""

from __future__ import annotations

from calicokit.diagnosis.model import Finding

# ---- of one finding: what it concerns


def named(found: Finding) -> frozenset[str]:
    """All that its subject names."""
    values = [v if isinstance(v, (list, tuple)) else [v] for v in found.subject.values()]
    return frozenset(str(v) for each in values for v in each)


def about(found: Finding) -> frozenset[str]:
    """What it is about, beside what its subject names."""
    return found.about


def named_or_about(found: Finding) -> frozenset[str]:
    """Both: its ends, and their peers."""
    return named(found) | found.about


def seen_on(found: Finding) -> frozenset[str]:
    """The nodes on which it was seen, as a pod that runs there."""
    return frozenset(rows.node for rows in found.evidence if rows.node)


# ---- of two: whether one explains the other


def always(cause: Finding, effect: Finding) -> bool:
    """That both are there is enough."""
    return True


def in_common(cause: Finding, effect: Finding) -> bool:
    """What the cause names, or is about, the effect is about too."""
    return not named_or_about(cause).isdisjoint(effect.about)


def of_calico_node(cause: Finding, effect: Finding) -> bool:
    """The effect is of a calico-node pod; with ``of=seen_on``, of that of the cause's node."""
    return "calico-node" in effect.cause

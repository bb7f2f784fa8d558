"""The order of findings: roots first, under each what it explains, to any depth; the same cause on many nodes once.

What explains what is registered beside the checks (``@explains``). Of several explanations the nearest counts: a stale
dataplane hangs under the API server that its node does not reach, and that under the rule which blocks the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from calicokit.diagnosis.model import EXPLANATIONS, SEVERITIES, Finding, vocabulary
from calicokit.sentences import listed

Tree = tuple[Finding, list[Finding]]
"""A root, and all that hangs under it, each effect after its cause."""

EVERYWHERE = "node"
"""The key of a subject that may differ between findings which are one: the same cause on many nodes."""
_NUMBER = re.compile(r"(?<![\w.-])\d[\d.:,/]*(?![\w-])")
"""A count, a time or an address: what differs where nodes have the same fault. Digits in a name are none."""


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """Root causes first, those of the most severe before the others; under each its effects, and theirs, by ``depth``.

    Within a severity the order is that in which the checks are registered, which goes from cause to effect. Findings
    that say the same of several nodes, under the same cause, are one whose subject lists them.
    """
    every = list(findings)
    parents = _parents(every)
    children: dict[int | None, list[int]] = {}
    for number, parent in enumerate(parents):
        children.setdefault(parent, []).append(number)
    return list(_tree(every, children, _loudest(every, parents), (None,), "", 0))


def trees(ranked: Iterable[Finding]) -> list[Tree]:
    """Each root of ranked findings, with all that hangs under it."""
    found: list[Tree] = []
    for f in ranked:
        if f.depth:
            found[-1][1].append(f)
        else:
            found.append((f, []))
    return found


def _loudest(every: list[Finding], parents: list[int | None]) -> list[tuple[int, int]]:
    """How severe the worst of each finding and all that hangs under it is, and how severe it is itself."""
    own = [SEVERITIES.index(f.severity) for f in every]
    worst = list(own)
    for number, severity in enumerate(own):
        above = parents[number]
        while above is not None and worst[above] < severity:
            worst[above], above = severity, parents[above]
    return list(zip(worst, own, strict=True))


def _parents(every: list[Finding]) -> list[int | None]:
    """For each finding the place of the one that explains it, or None. No finding is its own cause, however far."""
    by_id: dict[str, list[int]] = {}
    for number, f in enumerate(every):
        by_id.setdefault(f.id, []).append(number)
    causes = [_causes(number, every, by_id) for number in range(len(every))]
    depths: dict[int, int] = {}

    def depth(number: int, above: frozenset[int]) -> int:
        if number not in depths:
            near = [depth(c, above | {number}) for c in causes[number] if c not in above and c != number]
            known = 1 + max(near) if near else 0
            if above & set(causes[number]):
                return known  # a circle was cut here, so that this holds on this way only
            depths[number] = known
        return depths[number]

    parents: list[int | None] = [None] * len(every)
    for number in sorted(range(len(every)), key=lambda n: depth(n, frozenset())):
        open_ = [c for c in causes[number] if number not in _above(c, parents)]
        parents[number] = max(open_, key=lambda c: depth(c, frozenset())) if open_ else None
    return parents


def _above(number: int | None, parents: list[int | None]) -> Iterator[int]:
    while number is not None:
        yield number
        number = parents[number]


def _causes(number: int, every: list[Finding], by_id: Mapping[str, list[int]]) -> list[int]:
    """The findings that explain this one, in the order in which explanations are registered."""
    effect = every[number]
    found = [
        c
        for cause, id_, test in EXPLANATIONS
        if id_ == effect.id
        for c in by_id.get(cause, ())
        if c != number and test(every[c], effect)
    ]
    return list(dict.fromkeys(found))


def _tree(
    every: list[Finding],
    children: Mapping[int | None, list[int]],
    loudest: list[tuple[int, int]],
    under: tuple[int | None, ...],
    cause: str,
    depth: int,
) -> Iterator[Finding]:
    here = [n for parent in under for n in children.get(parent, ())]
    together = _grouped(here, lambda n: _of_one_node(every[n]), lambda n: _of_many_nodes(every[n]))
    for group in sorted(together, key=lambda g: max(loudest[n] for n in g), reverse=True):
        yield replace(_one([every[n] for n in group]), explained_by=cause, depth=depth)
        yield from _tree(every, children, loudest, tuple(group), every[group[0]].id, depth + 1)


def _grouped(numbers: list[int], *keys: Callable[[int], Any]) -> list[list[int]]:
    """The numbers in groups that share a key: each key in turn puts whole groups together by their first ones."""
    groups = [[n] for n in numbers]
    for key in keys:
        together: dict[Any, list[int]] = {}
        for group in groups:
            together.setdefault(key(group[0]), []).extend(group)
        groups = list(together.values())
    return groups


def _of_one_node(found: Finding) -> Any:
    """What findings share that say the same of one thing after another of a node (``lists`` in findings.toml)."""
    key = vocabulary()[found.id].lists
    if not key or key not in found.subject:
        return id(found)
    return found.id, found.severity, _others(found, key)


def _of_many_nodes(found: Finding) -> Any:
    """What findings share that say the same of two nodes: all but the nodes' names, and numbers."""
    node = found.subject.get(EVERYWHERE)
    if not isinstance(node, str):
        return id(found)
    name = rf"(?<![\w.-]){re.escape(node)}(?![\w-])"
    said = _NUMBER.sub("#", re.sub(name, "NODE", found.cause))
    return found.id, found.severity, _others(found, EVERYWHERE), said


def _others(found: Finding, key: str) -> Any:
    return tuple((k, str(v)) for k, v in found.subject.items() if k != key)


def _one(group: list[Finding]) -> Finding:
    """One finding for all of them: the first one's words, the names of the others, everybody's rows."""
    first = group[0]
    several = {k: sorted({str(f.subject[k]) for f in group}) for k in first.subject if _differ(k, group)}
    if not several:
        return first
    said = " ".join(_also(k, (v for v in values if v != first.subject[k])) for k, values in several.items())
    return replace(
        first,
        subject={**first.subject, **several},
        cause=f"{first.cause} {said}",
        evidence=tuple(r for f in group for r in f.evidence),
        about=frozenset().union(*(f.about for f in group)),
    )


def _also(key: str, others: Iterable[str]) -> str:
    """Of nodes the same is so; of what else is listed, the same is said, each for a reason of its own."""
    return f"The same on {listed(others)}." if key == EVERYWHERE else f"Also {key} {listed(others)}."


def _differ(key: str, group: list[Finding]) -> bool:
    return any(f.subject[key] != group[0].subject[key] for f in group)

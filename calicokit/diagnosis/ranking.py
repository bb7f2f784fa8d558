"""The order of findings: roots first, under each what it explains, to any depth; the same cause on many nodes once.

What explains what is registered beside the checks (``@explains``). Of several explanations the nearest counts: a stale
dataplane hangs under the API server that its node does not reach, and that under the rule which blocks the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from calicokit.diagnosis.model import EXPLANATIONS, SEVERITIES, Explanation, Finding, value_of, vocabulary
from calicokit.sentences import listed

Tree = tuple[Finding, list[Finding]]
"""A root, and all that hangs under it, each effect after its cause."""

EVERYWHERE = "node"
"""The key of a subject that may differ between findings which are one: the same cause on many nodes."""
_NUMBER = re.compile(
    r"""(?<![\w.-])(?:
      \d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?          # 2026-01-02 03:04:05
    | (?<!:)(?:[\da-f]{0,4}:){2,7}[\da-f]{1,4}(?:(?:\.\d+){3})?(?:/\d+)?(?![.:]\w)               # fe80::1, a MAC
    | (?<!:)(?:(?:[\da-f]{1,4}:){1,7}|:):/\d+                                                     # fd00::/8
    | (?:\d+(?:\.\d+)?(?:[nuµm]?s|[mhd]))+ | \d+(?:\.\d+)?(?:[kmgtp]i?b?|b)                  # 1m30s, 512Mi
    | \d[\d.:,/]*                                                                          # a count, 10.0.0.1/24
    )(?!\w|-(?!>))""",
    re.VERBOSE | re.IGNORECASE,
)
"""A count, time, duration, size or address: what differs where nodes have the same fault. Digits in a name are none."""


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
    return list(_in_order(every, children, _loudest(every, parents)))


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
    """For each finding the place of the one that explains it, or None: of several the deepest, which is the nearest.

    A finding is placed when all its causes are. Where none is left of that kind, they go in a circle, which is cut.
    """
    causes = _causes(every)
    parents: list[int | None] = [None] * len(every)
    depths: dict[int, int] = {}
    left = list(range(len(every)))
    while left:
        ready = [n for n in left if all(c in depths for c in causes[n])] or [_on_circle(left[0], causes, depths)]
        made = {}
        for n in ready:
            known = [c for c in causes[n] if c in depths]
            parents[n] = above = max(known, key=depths.__getitem__, default=None)
            made[n] = 0 if above is None else 1 + depths[above]
        depths |= made
        left = [n for n in left if n not in depths]
    return parents


def _on_circle(number: int, causes: list[list[int]], depths: Mapping[int, int]) -> int:
    """A finding on a circle of those that are not placed: the first that comes again on the way from cause to cause."""
    seen: set[int] = set()
    while number not in seen:
        seen.add(number)
        number = next(c for c in causes[number] if c not in depths)
    return number


def _causes(every: list[Finding]) -> list[list[int]]:
    """For each finding those that explain it, in the order in which explanations are registered."""
    keys = {e.on for e in EXPLANATIONS}
    index: dict[tuple[str, str, str | None], list[int]] = {}
    for number, f in enumerate(every):
        for on in keys:
            index.setdefault((f.id, on, value_of(f, on)), []).append(number)
    by_effect: dict[str, list[Explanation]] = {}
    for explanation in EXPLANATIONS:
        by_effect.setdefault(explanation.effect, []).append(explanation)

    def of(number: int) -> Iterator[int]:
        effect = every[number]
        for e in by_effect.get(effect.id, ()):
            near = sorted({c for value in e.values(effect) for c in index.get((e.cause, e.on, value), ())} - {number})
            yield from (c for c in near if e.test(every[c], effect))

    return [list(dict.fromkeys(of(number))) for number in range(len(every))]


def _in_order(
    every: list[Finding], children: Mapping[int | None, list[int]], loudest: list[tuple[int, int]]
) -> Iterator[Finding]:
    """The findings, each right under its cause, those of one cause with the worst first."""

    def under(group: Iterable[int | None], cause: str, depth: int) -> Iterator[tuple[list[int], str, int]]:
        here = [n for parent in group for n in children.get(parent, ())]
        together = _grouped(here, lambda n: _of_one_node(every[n]), lambda n: _of_many_nodes(every[n]))
        together.sort(key=lambda g: max(loudest[n] for n in g), reverse=True)
        yield from ((g, cause, depth) for g in reversed(together))

    stack = list(under([None], "", 0))
    while stack:
        group, cause, depth = stack.pop()
        yield replace(_one([every[n] for n in group]), explained_by=cause, depth=depth)
        stack += under(group, every[group[0]].id, depth + 1)


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

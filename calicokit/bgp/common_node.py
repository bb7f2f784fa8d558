"""Many sessions down, one node at fault: pairs collapse to the nodes that they have in common."""

from __future__ import annotations

from collections.abc import Iterable

from calicokit.sentences import natural

Pair = tuple[str, str]


def stars(
    pairs: Iterable[Pair], first: Iterable[str] = (), suspects: Iterable[str] = ()
) -> list[tuple[str, list[str]]]:
    """Nodes that cover the pairs, each with the other ends; the fewest that a greedy choice finds.

    ``first`` are nodes known to be at fault, which take all their pairs; among nodes with equally many pairs left, a
    suspect goes before others (one that stands in ``suspects`` more often before one that does less), then the name.

    >>> stars([("a", "x"), ("b", "x"), ("c", "x"), ("p", "q")], suspects=["q"])
    [('x', ['a', 'b', 'c']), ('q', ['p'])]
    """
    left: dict[str, set[str]] = {}
    for a, b in pairs:
        left.setdefault(a, set()).add(b)
        left.setdefault(b, set()).add(a)
    weight: dict[str, int] = {}
    for name in suspects:
        weight[name] = weight.get(name, 0) + 1
    found = [_take(left, name) for name in sorted(set(first) & set(left), key=natural) if left.get(name)]
    order = {name: i for i, name in enumerate(sorted(left, key=natural))}
    while left:
        found.append(_take(left, max(left, key=lambda n: (len(left[n]), weight.get(n, 0), -order[n]))))
    return found


def _take(left: dict[str, set[str]], name: str) -> tuple[str, list[str]]:
    others = left.pop(name)
    for other in others:
        left[other].discard(name)
        if not left[other]:
            del left[other]
    return name, sorted(others, key=natural)

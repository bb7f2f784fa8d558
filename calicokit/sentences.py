"""What tables mean, in sentences: the shared bits of the topics' ``sentences.py``.

A sentence is computed from tables, so that it is true of every source. Of an unknown table it says why it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from html import escape
from typing import Any

STYLE = "border-left:4px solid #0072b2;padding-left:12px;white-space:pre-line"


class Says(str):
    """A text that shows itself in a notebook as a paragraph. Whatever a cluster put into it is shown as text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f'<p class="meaning" style="{STYLE}">{escape(self)}</p>'


def says(tell: Callable[..., str]) -> Callable[..., Says]:
    """Make a function of tables say that it does not know where one of its tables is unknown."""

    @wraps(tell)
    def told(*tables: Any) -> Says:
        return Says(why_unknown(*tables) or tell(*tables))

    return told


def why_unknown(*tables: Any) -> str:
    """One sentence on what is missing, where any of the tables is unknown; else nothing.

    What is missing for the same reason, on many nodes or of many kinds, is said together.
    """
    by_node: dict[tuple[str, str], list[str | None]] = {}
    asked = [getattr(t, "unknown", ()) for t in tables]  # a plain frame may have a column of this name
    for hole in dict.fromkeys(m for unknown in asked if isinstance(unknown, tuple) for m in unknown):
        by_node.setdefault((hole.id, hole.why), []).append(hole.node)
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (id_, why), nodes in by_node.items():
        where = f" on {listed(n for n in nodes if n)}" if any(nodes) else ""
        by_reason.setdefault((where, why), []).append(id_)
    said = [f"{listed(ids)}{where}: {why}" for (where, why), ids in by_reason.items()]
    return f"Unknown, not empty: {'; '.join(said)}." if said else ""


def number(value: float) -> str:
    """A count as people read it: 65,536; beyond a thousand billions (IPv6) only its size.

    >>> number(65536.0), number(2.0**64)
    ('65,536', '1.8e+19')
    """
    return f"{value:,.0f}" if value < 1e12 else f"{value:.1e}"


def share(part: float) -> str:
    """A share as a percentage that is never rounded to none or all.

    >>> share(0.5), share(0.00046), share(0.9996), share(1.0), share(0.0)
    ('50 %', 'under 0.1 %', 'over 99.9 %', '100 %', '0 %')
    """
    if 0 < part < 0.001:
        return "under 0.1 %"
    if 0.999 < part < 1:
        return "over 99.9 %"
    return f"{part * 100:.3g} %"


def plural(count: float, one: str, many: str = "") -> str:
    """A count with its noun.

    >>> plural(1, "block"), plural(3, "address", "addresses"), plural(0, "pod")
    ('1 block', '3 addresses', 'no pods')
    """
    return f"{number(count) if count else 'no'} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[Any], most: int = 3) -> str:
    """The first names in their natural order, and how many more there are.

    >>> listed(["n10", "n9", "n1", "n2"]), listed(["b", "a"])
    ('n1, n2, n9 and 1 more', 'a and b')
    """
    every = sorted(map(str, names), key=natural)
    if len(every) > most:
        return f"{', '.join(every[:most])} and {number(len(every) - most)} more"
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)


def natural(name: str) -> list[tuple[str, int]]:
    """A sort key that puts node-9 before node-10, and a-10 before b-9."""
    import re

    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def first_upper(text: str) -> str:
    """The text with a capital letter, the rest as it is."""
    return text[:1].upper() + text[1:]

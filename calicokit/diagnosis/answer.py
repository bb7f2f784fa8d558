"""The answer of a check on one screen: the verdict, causes with their effects, what is normal, what was not seen.

Lines of words with their weight, for a terminal to colour. Nothing is left out in silence: what is folded is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Protocol

from calicokit.diagnosis.model import Finding
from calicokit.diagnosis.ranking import Tree
from calicokit.evidence.model import Coverage, Missing
from calicokit.sentences import listed, plural

READ = "calicokit guide --read"
"""The command that shows a heading of the guide."""
SCREEN = 40
"""Lines of an answer at most, where not everything is asked for."""


class Found(Protocol):
    """What an answer is made of: :class:`~calicokit.diagnosis.findings.Findings`, which shows itself as one."""

    coverage: Coverage

    @property
    def causes(self) -> list[Tree]:
        """Roots with their effects, where the root or any effect is more than information."""
        ...

    @property
    def infos(self) -> list[Finding]:
        """Information, which explains nothing louder."""
        ...

    def verdict(self) -> str:
        """The whole in a few sentences."""
        ...


@dataclass(frozen=True)
class _Room:
    """How much is shown before the rest is counted: causes in full and in a line each, lines of their texts, their
    effects, kinds of infos, and reasons for which evidence is missing.
    """

    cards: int
    lines: int
    effects: int
    effect_lines: int
    causes: int
    infos: int
    holes: int


ROOMS = (_Room(3, 4, 4, 2, 8, 5, 5), _Room(3, 3, 2, 2, 4, 4, 4), _Room(2, 3, 2, 1, 5, 4, 4), _Room(1, 3, 2, 1, 5, 3, 3))
"""The first in which the answer fits on a screen is taken."""


@dataclass(frozen=True)
class Line:
    """A line of the answer: its words, and how it is to look (head, critical, warning, info, text, or dim)."""

    text: str
    look: str = "text"
    severity: str = ""
    """The word that begins the line in its own colour; empty for none."""


def answer(
    findings: Found,
    source: str,
    width: int = 120,
    everything: bool = False,
    rows: bool = False,
    guide: Sequence[str] = (),
) -> list[Line]:
    """The lines of the answer, at most ``width`` wide. ``everything`` folds nothing; ``rows`` adds the evidence.

    With ``guide``, the paths of its headings in their order, the findings stand under the headings that lead to them.
    """
    for room in ROOMS:
        lines = list(_Answer(width, everything, rows, room, tuple(guide)).lines(findings, source))
        if everything or rows or len(lines) <= SCREEN:
            break
    return lines


@dataclass(frozen=True)
class _Answer:
    width: int
    everything: bool
    rows: bool
    room: _Room
    guide: tuple[str, ...] = ()

    def lines(self, findings: Found, source: str) -> Iterator[Line]:
        yield from self.block(f"{source}: {findings.verdict()}", look="head")
        if self.guide:
            yield from self.by_guide([f for root, effects in findings.causes for f in (root, *effects)])
        else:
            yield from self.causes(findings.causes)
        yield from self.infos(findings.infos)
        yield Line("")
        yield from self.seen(findings)

    def causes(self, trees: Sequence[Tree]) -> Iterator[Line]:
        cards = len(trees) if self.everything else self.room.cards
        for root, effects in trees[:cards]:
            yield Line("")
            yield from self.card(root)
            yield from self.effects(effects)
        others = trees[cards:]
        if others:
            yield Line("")
        for root, effects in others[: self.room.causes]:
            also = f"; explains {plural(len(effects), 'finding')}" if effects else ""
            yield self.one(f"  {root.id}  {root.where}: {root.cause}", root.severity, also)
        if len(others) > self.room.causes:
            left = plural(len(others) - self.room.causes, "more cause")
            yield Line(f"{left}: {counted(r.id for r, _ in others[self.room.causes :])} (--all shows them)", "dim")

    def by_guide(self, found: Sequence[Finding]) -> Iterator[Line]:
        """Causes and effects under the headings of the guide, in its order; an effect names what explains it."""
        for path in self.guide:
            here = [f for f in found if f.guide_step == path]
            shown = here if self.everything else here[: self.room.cards]
            if here:
                yield Line("")
                yield Line(path, "head")
            for f in shown:
                if f.explained_by:
                    text = f"{f.id} (explained by {f.explained_by}): {f.cause}"
                    yield from self.block(text, "  ", most=self.room.effect_lines, look="dim")
                else:
                    yield from self.card(f)
            if left := here[len(shown) :]:
                told = f"  {plural(len(left), 'more finding')}: {counted(f.id for f in left)} (--all shows them)"
                yield Line(told, "dim")

    def card(self, found: Finding) -> Iterator[Line]:
        yield Line(f"  {found.id}  {found.title}", "head", found.severity)
        yield from self.block(found.cause, "  ", most=self.room.lines)
        yield from self.block(f"Do: {found.remedy}", "  ", most=self.room.lines)
        if self.rows:
            rows = listed_rows(found)
            yield from self.block(f"Rows: {rows}. Guide: {READ} {found.guide_step}", "  ", look="dim")

    def effects(self, effects: Sequence[Finding]) -> Iterator[Line]:
        shown = effects if self.everything else effects[: self.room.effects]
        for effect in shown:
            indent = "  " + "  " * (effect.depth - 1) + "└ "
            text = f"{effect.severity}  {effect.id}: {effect.cause}"
            yield from self.block(text, indent, most=self.room.effect_lines, hang=2)
        if len(shown) < len(effects):
            left = plural(len(effects) - len(shown), "more effect")
            yield Line(f"  └ {left}: {counted(f.id for f in effects[len(shown) :])} (--all shows them)", "dim")

    def infos(self, found: Sequence[Finding]) -> Iterator[Line]:
        if found:
            yield Line("")
        together = by_id(found)
        if self.everything:
            for f in found:
                yield from self.block(f"info  {f.id}: {f.cause}", hang=2, look="dim")
            return
        for id_, same in list(together.items())[: self.room.infos]:
            more = f" (and {len(same) - 1} more of this kind)" if len(same) > 1 else ""
            yield self.one(f"  {id_}: {same[0].cause}", "info", more, "dim")
        if len(together) > self.room.infos:
            yield Line(f"info  also {listed(list(together)[self.room.infos :], 10)} (--all shows them)", "dim")

    def seen(self, findings: Found) -> Iterator[Line]:
        coverage = findings.coverage
        yield Line(
            f"Checked {len(coverage.checked)} kinds of findings on {len(coverage.seen)} pieces of evidence.", "dim"
        )
        holes = not_seen(findings)
        shown = holes if self.everything else holes[: self.room.holes]
        for hole in shown:
            if self.everything:
                yield from self.block(hole, hang=2, look="dim")
            else:
                yield self.one(hole, look="dim")
        if len(shown) < len(holes):
            yield Line(f"Not seen, for {plural(len(holes) - len(shown), 'more reason')} (--all shows them)", "dim")

    def block(self, text: str, indent: str = "", most: int = 0, hang: int = 0, look: str = "text") -> Iterator[Line]:
        """A text in lines; where ``most`` is given and nothing is to be shown whole, in so many at most."""
        rest = " " * (len(indent) + hang)
        lines = wrap(text, self.width, initial_indent=indent, subsequent_indent=rest, break_long_words=False)
        if most and not self.everything and len(lines) > most:
            lines = [*lines[: most - 1], _cut(" ".join([lines[most - 1], "…" * self.width]), self.width)]
        yield from (Line(line, look) for line in lines)

    def one(self, text: str, severity: str = "", after: str = "", look: str = "text") -> Line:
        """A text in one line, cut where it is too long; what comes after it is always shown."""
        return Line(_cut(" ".join(text.split("\n")), self.width - len(after) - len(severity)) + after, look, severity)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)].rstrip(" …") + "…"


def by_id(found: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings of each id."""
    together: dict[str, list[Finding]] = {}
    for f in found:
        together.setdefault(f.id, []).append(f)
    return together


def counted(ids: Iterable[str]) -> str:
    """Ids in words, each once, with how often it comes."""
    counts: dict[str, int] = {}
    for id_ in ids:
        counts[id_] = counts.get(id_, 0) + 1
    return ", ".join(f"{n} × {id_}" if n > 1 else id_ for id_, n in counts.items())


def listed_rows(found: Finding) -> str:
    """The rows that a finding rests on, in words."""
    return ", ".join(f"{r.count} of {r.table} ({r.id}{f' on {r.node}' if r.node else ''})" for r in found.evidence)


def not_seen(findings: Found) -> list[str]:
    """What was not looked for and not seen, a line a reason.

    The holes in the coverage say what was not checked without them; what needs samples over time lacks no such hole.
    """
    coverage = findings.coverage
    holes = {(m.id, m.node) for m in coverage.missing}
    silent = {i: why for i, why in sorted(coverage.unchecked.items()) if holes.isdisjoint((m.id, m.node) for m in why)}
    unchecked = [f"Not checked: {id_} ({'; '.join(missing_by_reason(why))})" for id_, why in silent.items()]
    return unchecked + [f"Not seen: {hole}" for hole in missing_by_reason(coverage.missing)]


def missing_by_reason(missing: Iterable[Missing]) -> Iterator[str]:
    """What is missing, a line a reason: which evidence, on how many nodes, why."""
    nodes: dict[tuple[str, str], set[str]] = {}
    for hole in missing:
        nodes.setdefault((hole.why, hole.id), set()).update([hole.node] if hole.node else [])
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (why, id_), where in nodes.items():
        together.setdefault((why, tuple(sorted(where))), []).append(id_)
    for (why, named), ids in together.items():
        on = f" on {named[0] if len(named) == 1 else plural(len(named), 'node')}" if named else ""
        yield f"{listed(ids)}{on}: {why}"

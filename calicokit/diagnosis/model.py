"""Findings and the registry of checks.

What a finding is called, how loud it is, and which step of the guide it serves stands in one file, ``findings.toml``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

SEVERITIES = ("info", "warning", "critical")
MOST_ROWS = 50
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Word:
    """One id of the vocabulary."""

    id: str
    title: str
    severity: str
    subject: tuple[str, ...]
    means: str
    guide_step: str


@cache
def vocabulary() -> dict[str, Word]:
    """The ids that this version's checks can say, by id."""
    text = (Path(__file__).parent / "findings.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)
    return {id_: Word(id=id_, **{**row, "subject": tuple(row["subject"])}) for id_, row in rows.items()}


@dataclass(frozen=True)
class Rows:
    """Rows of one table that a finding rests on: the evidence's id, the table, and the rows' keys (50 at most)."""

    id: str
    table: str
    keys: tuple[Mapping[str, Any], ...]
    count: int
    node: str | None = None

    @classmethod
    def of(cls, id: str, table: str, keys: Iterable[Mapping[str, Any]], node: str | None = None) -> Rows:  # noqa: A002
        every = list(keys)
        return cls(id, table, tuple(every[:MOST_ROWS]), len(every), node)

    def as_dict(self) -> dict[str, Any]:
        rows = [{"table": self.table, "key": dict(k)} for k in self.keys]
        return {"id": self.id, **({"node": self.node} if self.node else {}), "rows": rows, "count": self.count}


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, how we know, and what to do.

    ``explained_by`` is the id of the finding that is its cause, where another one is; ``about`` names what else it
    concerns, for the rules that explain one finding by another.
    """

    id: str
    subject: Mapping[str, Any]
    cause: str
    remedy: str
    severity: str
    evidence: tuple[Rows, ...] = ()
    explained_by: str = ""
    about: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        return vocabulary()[self.id].title

    @property
    def guide_step(self) -> str:
        return vocabulary()[self.id].guide_step

    @property
    def where(self) -> str:
        """The subject in a few words."""
        return ", ".join(f"{k} {_words(v)}" for k, v in self.subject.items())

    def as_dict(self) -> dict[str, Any]:
        """The JSON that scripts rely on (docs/contracts.md)."""
        return {
            "id": self.id,
            "severity": self.severity,
            "title": self.title,
            "cause": self.cause,
            "subject": dict(self.subject),
            "evidence": [rows.as_dict() for rows in self.evidence],
            "remedy": self.remedy,
            "guide_step": self.guide_step,
            **({"explained_by": self.explained_by} if self.explained_by else {}),
        }


def _words(value: Any) -> str:
    if not isinstance(value, (list, tuple)):
        return str(value)
    return ", ".join(map(str, value[:3])) + (f" and {len(value) - 3} more" if len(value) > 3 else "")


def finding(
    id: str,  # noqa: A002
    *,
    subject: Mapping[str, Any],
    cause: str,
    remedy: str,
    severity: str = "",
    evidence: Iterable[Rows] = (),
    about: Iterable[str] = (),
) -> Finding:
    """A finding in the vocabulary's words: its severity unless another is given, its subject's keys held to.

    Raises ``ValueError`` for a subject with other keys than the vocabulary declares.
    """
    word = vocabulary()[id]
    told = {k: sorted(v) if isinstance(v, (list, set, tuple)) else v for k, v in subject.items()}
    if tuple(told) != word.subject:
        raise ValueError(f"{id}: the subject has the keys {tuple(told)}, the vocabulary says {word.subject}")
    rows = tuple(r for r in evidence if r.count)
    return Finding(id, told, cause, remedy, severity or word.severity, rows, about=frozenset(about))


@dataclass(frozen=True)
class Check:
    """A registered check: the ids it can say, the tables it needs and those that make it better."""

    ids: tuple[str, ...]
    run: Callable[..., Iterator[Finding]]
    needs: tuple[str, ...]
    wants: tuple[str, ...] = ()

    @property
    def critical(self) -> bool:
        """Whether silence without this check's evidence would be a lie."""
        return any(vocabulary()[i].severity == "critical" for i in self.ids)


CHECKS: list[Check] = []
Explains = Callable[[Finding, Finding], bool]
EXPLANATIONS: list[tuple[str, str, Explains]] = []


def check(*ids: str, needs: tuple[str, ...], wants: tuple[str, ...] = ()) -> Callable[[Any], Any]:
    """Register the decorated generator of findings. It gets its tables in order, None for a want that is unknown."""

    def register(run: Callable[..., Iterator[Finding]]) -> Callable[..., Iterator[Finding]]:
        CHECKS.append(Check(ids, run, needs, wants))
        return run

    return register


def explains(cause: str, effect: str) -> Callable[[Explains], Explains]:
    """Register the decorated predicate ``(cause, effect) → bool``: when the first finding is why the second exists."""

    def register(test: Explains) -> Explains:
        EXPLANATIONS.append((cause, effect, test))
        return test

    return register


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """Root causes first, the most severe before the others; then what they explain, in the order of their causes.

    Within a severity the order is that in which the checks are registered, which goes from cause to effect.
    """
    every = list(findings)
    by_id: dict[str, list[Finding]] = {}
    for f in every:
        by_id.setdefault(f.id, []).append(f)
    found = [_explained(f, by_id) for f in every]
    roots = sorted((f for f in found if not f.explained_by), key=lambda f: -SEVERITIES.index(f.severity))
    place = {f.id: i for i, f in reversed(list(enumerate(roots)))}
    effects = sorted((f for f in found if f.explained_by), key=lambda f: place.get(f.explained_by, len(roots)))
    return roots + effects


def _explained(effect: Finding, by_id: Mapping[str, list[Finding]]) -> Finding:
    for cause_id, effect_id, test in EXPLANATIONS:
        if effect.id == effect_id and any(test(cause, effect) for cause in by_id.get(cause_id, ())):
            return replace(effect, explained_by=cause_id)
    return effect

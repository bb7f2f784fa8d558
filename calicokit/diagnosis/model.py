"""Findings and the registry of checks.

What a finding is called, how loud it is, and which step of the guide it serves stands in one file, ``findings.toml``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from calicokit.registry import NOTHING, Bound, Spec

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
    lists: str = ""
    """The key of the subject in which findings of one node may differ and still be one: it lists all of them."""


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
        known = (
            {k: None if isinstance(v, float) and v != v else v for k, v in key.items()} for key in every[:MOST_ROWS]
        )
        return cls(id, table, tuple(known), len(every), node if isinstance(node, str) else None)

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
    printed: tuple[str, ...] = ()
    """The commands whose printed tables it rests on, where the API's objects were not seen: evidence of lower rank."""
    depth: int = 0
    """How many findings stand above this one: 0 for a root, 1 for its effect, 2 for an effect of that."""

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
            **({"printed": list(self.printed)} if self.printed else {}),
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


@dataclass(frozen=True, eq=False)
class Check(Spec):
    """A registered check: a generator of findings, the ids it can say, and its inputs.

    ``told_by``: evidence of nodes without which its silence about a node says nothing, though its inputs are known.
    ``absence``: it says what is not there, or not as it should be, so that its word is unsure where a part of what it
    needs could not be read.
    """

    ids: tuple[str, ...] = field(kw_only=True)
    told_by: tuple[str, ...] = field(default=(), kw_only=True)
    absence: bool = field(default=False, kw_only=True)


CHECKS: list[Check] = []
Explains = Callable[[Finding, Finding], bool]


class Explanation(NamedTuple):
    """When the first finding is why the second exists, and by which key of the first one's subject they are paired."""

    cause: str
    effect: str
    test: Explains
    on: str = ""
    of: Callable[[Finding], Iterable[str]] | None = None

    def values(self, effect: Finding) -> Iterable[str]:
        """What of the key the cause of this effect has; of no key all have the same."""
        if self.of is not None:
            return self.of(effect)
        return [] if (value := value_of(effect, self.on)) is None else [value]


def value_of(found: Finding, key: str) -> str | None:
    """What a finding's subject has of a key, to look it up by; None where it has not."""
    value = found.subject.get(key) if key else ""
    return None if value is None else str(value)


EXPLANATIONS: list[Explanation] = []


def check(
    *ids: str,
    needs: Bound,
    wants: Bound = NOTHING,
    told_by: tuple[str, ...] = (),
    absence: bool = False,
    printed: tuple[str, ...] = (),
) -> Callable[[Any], Any]:
    """Register the decorated generator of findings: parameter → table. It gets None for a want that is unknown.

    :class:`Check` says what ``told_by`` and ``absence`` mean, :class:`~calicokit.registry.Spec` what ``printed`` does.
    """

    def register(run: Callable[..., Iterator[Finding]]) -> Callable[..., Iterator[Finding]]:
        CHECKS.append(Check(run, needs, wants=wants, ids=ids, told_by=told_by, absence=absence, printed=printed))
        return run

    return register


def explains(
    cause: str, effect: str, on: str = "", of: Callable[[Finding], Iterable[str]] | None = None
) -> Callable[[Explains], Explains]:
    """Register the decorated predicate ``(cause, effect) → bool``: when the first finding is why the second exists.

    ``on`` names a key of which both subjects must have the same, such as ``node``; with ``of``, the cause's must be
    among what that tells of the effect. Such pairs are looked up, and only they are tested: a big cluster has many.
    """

    def register(test: Explains) -> Explains:
        EXPLANATIONS.append(Explanation(cause, effect, test, on, of))
        return test

    return register

"""Meaning of metrics: from ``meaning.toml``, else the exporter's HELP text."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OWNERS = {
    "felix_": "felix",
    "wireguard_": "felix",
    "typha_": "typha",
    "ipam_": "kube-controllers",
    "calico_migration_": "kube-controllers",
    "goldmane_": "goldmane",
}
"""Beginning of a metric's name → the component that counts it. Since v3.33 one program has all of them, and each page
shows the others' metrics too, as zeros that mean nothing (cmd/calico/*.go @ HEAD; recordings)."""


@dataclass(frozen=True)
class Meaning:
    """A metric in words: what it counts, its unit, what is normal, since when, and where that is known from."""

    means: str
    unit: str
    normal: str
    since: str
    source: str


@cache
def meanings() -> dict[str, Meaning]:
    """Every metric that the kit has words for, by the name of its family."""
    text = (Path(__file__).parent / "meaning.toml").read_text(encoding="utf-8")
    groups = tomllib.loads(text)["group"]
    return {name: Meaning(source=g["source"], **words) for g in groups for name, words in g["metrics"].items()}


def meaning(family: str, said: str = "") -> Meaning:
    """The words for a metric's family; of one that the kit does not know, what its exporter ``said`` (HELP).

    >>> meaning("felix_int_dataplane_failures").unit
    'failures'
    >>> meaning("felix_new_thing", "Things.")
    Meaning(means='Things.', unit='', normal='', since='', source="the exporter's HELP")
    """
    known = meanings().get(family)
    return known or Meaning(said or "unknown", "", "", "", "the exporter's HELP" if said else "")


def owner(metric: str) -> str:
    """The component that counts a metric; nothing for what every program counts of itself.

    >>> owner("typha_connections_active"), owner("go_goroutines")
    ('typha', '')
    """
    return next((who for start, who in OWNERS.items() if metric.startswith(start)), "")

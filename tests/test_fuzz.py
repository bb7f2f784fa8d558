"""Damage at random (``python -m tests.fuzz --minutes 10`` tries more): no crash, no hang, no lie, no silence."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from tests import clusters, fuzz
from tests.examples import first


@pytest.mark.parametrize("seed", first(0, range(4)))
def test_damage_at_random(seed: int, tmp_path: Path) -> None:
    tried = islice(fuzz.damages(random.Random(seed)), 10)
    assert [f"{damage}: {what}" for damage in tried if (what := fuzz.fault(damage, tmp_path))] == []


def test_a_fault_would_be_told(tmp_path: Path) -> None:
    """What the fuzzer looks for, it finds: another answer, silence, a new alarm."""
    damage = fuzz.Damage("bgp-as-mismatch", "nodes", None, "blank", 1)
    whole = clusters.checked("bgp-as-mismatch")
    healthy = clusters.checked("healthy-bgp-mesh")
    assert fuzz.told(whole, healthy, damage).startswith("changed")
    assert fuzz.told(whole, healthy, replace(damage, how="cut")) == "silence"
    assert fuzz.told(healthy, whole, replace(damage, how="cut")).startswith("false critical")

"""What holds for all tests: a fault of the kit raises, also in processes that tests start; texts are parsed once."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import settings

from calicokit.evidence import texts
from calicokit.evidence.recordings.incidents import index
from calicokit.faults import RAISES
from calicokit.parsers import guess
from calicokit.quick_import import without_iris
from tests import only

os.environ[RAISES] = "1"
without_iris()

settings.register_profile("all", max_examples=1000, deadline=None)
settings.register_profile("quick", max_examples=15, deadline=None)
settings.load_profile("all")  # pytest's --hypothesis-profile comes after it

FEW = ("healthy-nftables", "healthy-v3.28", "healthy-vxlan-typha", "ipam-leaked", "policy-drop")
"""Incidents that differ most: dataplanes, encapsulations, versions, samples over time, a fault of many objects."""
MANY = 8
E2E = Path(__file__).parent / "e2e"
"""Tests on one test cluster, by one process and first."""

texts.parse = guess.parse = lru_cache(maxsize=4000)(texts.parse)
"""Parsers are pure, and tests read the same few recordings again and again: most texts are read once in a process."""


def pytest_configure(config: pytest.Config) -> None:
    only.QUICK = config.getoption("--hypothesis-profile") == "quick"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults are told, as a user sees them, and do not raise."""
    monkeypatch.delenv(RAISES)


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is marked slow
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test that is run for most incidents, the quick run takes a few.

    Tests of one incident follow each other where processes share them: so only one process builds its tables.
    """
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for same in tests.values():
        if len({*map(_incident, same)}) > MANY:
            for item in same:
                if _incident(item) not in FEW:
                    item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (not item.path.is_relative_to(E2E), _incident(item)))


def _incident(item: pytest.Item) -> str:
    """The bundled incident that a test is run for; tests that are not run for each incident come last."""
    spec = getattr(item, "callspec", None)
    return next((v for v in (spec.params.values() if spec else ()) if isinstance(v, str) and v in index()), "~")

"""What holds for all tests: a fault of the kit raises, also in processes that tests start; texts are parsed once."""

from __future__ import annotations

import os
from functools import lru_cache

import pytest
from hypothesis import settings

from calicokit.evidence import texts
from calicokit.evidence.recordings.incidents import index
from calicokit.faults import RAISES

os.environ[RAISES] = "1"

settings.register_profile("all", max_examples=1000, deadline=None)
settings.register_profile("quick", max_examples=15, deadline=None)
settings.load_profile("all")  # pytest's --hypothesis-profile comes after it

texts.parse = lru_cache(maxsize=2000)(texts.parse)
"""Parsers are pure, and tests read the same few recordings again and again: most texts are read once in a process."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults are told, as a user sees them, and do not raise."""
    monkeypatch.delenv(RAISES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of one incident follow each other where processes share them: so only one process builds its tables."""
    if hasattr(config, "workerinput"):
        items.sort(key=_incident)


def _incident(item: pytest.Item) -> str:
    """The bundled incident that a test is run for; tests that are not run for each incident come last."""
    spec = getattr(item, "callspec", None)
    return next((v for v in (spec.params.values() if spec else ()) if isinstance(v, str) and v in index()), "~")

"""How many examples a test tries: as many as it asks for, or few in the quick run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings


def first(count: int, cases: Iterable[Any]) -> list[Any]:
    """Cases of ``parametrize`` of which the quick run takes the first ``count``; with several values as tuples."""
    found = []
    for number, case in enumerate(cases):
        values = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*values, marks=pytest.mark.slow if number >= count else ()))
    return found


def examples(most: int) -> settings:
    """So many examples, if the profile that pytest runs with allows as many (see ``tests/conftest.py``)."""
    return settings(max_examples=min(most, settings().max_examples))

"""How many random examples a test tries: as many as it asks for, or few where the profile is quick."""

from __future__ import annotations

from hypothesis import settings


def examples(most: int) -> settings:
    """So many examples, if the profile that pytest runs with allows as many (see ``tests/conftest.py``)."""
    return settings(max_examples=min(most, settings().max_examples))

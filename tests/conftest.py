"""What holds for all tests."""

from __future__ import annotations

from functools import lru_cache

from hypothesis import settings

from calicokit.evidence import texts

settings.register_profile("all", max_examples=1000, deadline=None)
settings.register_profile("quick", max_examples=15, deadline=None)
settings.load_profile("all")  # pytest's --hypothesis-profile comes after it

texts.parse = lru_cache(maxsize=2000)(texts.parse)
"""Parsers are pure, and tests read the same few recordings again and again: most texts are read once in a process."""

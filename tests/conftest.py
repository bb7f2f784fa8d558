"""What holds for all tests."""

from __future__ import annotations

from functools import lru_cache

from calicokit.evidence import texts

texts.parse = lru_cache(maxsize=2000)(texts.parse)
"""Parsers are pure, and tests read the same few recordings again and again: most texts are read once in a process."""

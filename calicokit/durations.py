"""Durations as Go prints them."""

from __future__ import annotations

import re

_SECONDS = {"h": 3600, "m": 60}
_POWERS = {"ms": "e-3", "µs": "e-6", "us": "e-6", "ns": "e-9"}
_PART = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)(h|ms|µs|us|ns|m|s)")
WHOLE = re.compile(rf"(?:{_PART.pattern})+")
"""A text that is a duration and nothing else."""


def go_duration(text: str) -> float:
    """A duration as Go prints it, in seconds.

    >>> go_duration("1h2m3.5s"), go_duration("350ms")
    (3723.5, 0.35)
    """
    return sum(float(number + _POWERS.get(unit, "")) * _SECONDS.get(unit, 1) for number, unit in _PART.findall(text))

"""What this version's checks do not look at, so that silence is not read as health."""

from __future__ import annotations

from calicokit.diagnosis.model import CHECKS

LATER = {
    "BGP and routes": "bgp-session-down",
    "Felix, Typha and scale": "felix-dead",
}
"""Topic → one finding id whose check belongs to it."""


def not_looked_at() -> list[str]:
    """Topics for which no check is registered yet."""
    known = {i for c in CHECKS for i in c.ids}
    return [topic for topic, word in LATER.items() if word not in known]

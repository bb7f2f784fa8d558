"""A fault of the kit raises in the tests, in this process and in those that it starts."""

from __future__ import annotations

import os

import pytest

from calicokit.faults import RAISES

os.environ[RAISES] = "1"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults are told, as a user sees them, and do not raise."""
    monkeypatch.delenv(RAISES)

"""What code that computes from a cluster's tables asks of it: the floor between the topics and the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from calicokit.schema import Table


class Tables(Protocol):
    """A cluster, for whoever only reads its tables."""

    def fetch(self, names: Iterable[str]) -> None:
        """Ask the source in bulk for what these tables rest on."""
        ...

    def given(self, name: str) -> Any:
        """A table, model or raw evidence; None where it is unknown."""
        ...

    def table(self, name: str, **options: str) -> Table:
        """A table; ``unknown`` says why it is unknown."""
        ...

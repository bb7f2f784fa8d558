"""The incidents that come with the kit, opened lazily."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parents[2] / "incidents"
"""Data only: a package of that name would hide the function ``calicokit.incidents``."""
INDEX = HERE / "index.json"


@dataclass(frozen=True)
class Incident:
    """One bundled recording: its name, what was done to the cluster, versions, nodes, sizes in bytes."""

    name: str
    description: str
    calico: str
    kubernetes: str
    nodes: int
    size: int
    packed: int

    @property
    def path(self) -> Path:
        return HERE / f"{self.name}.tar.xz"


@cache
def index() -> dict[str, Incident]:
    """All bundled incidents by name."""
    return {row["name"]: Incident(**row) for row in json.loads(INDEX.read_text(encoding="utf-8"))}


def incidents():  # type: ignore[no-untyped-def]  # a DataFrame, without importing pandas for those who only look one up
    """The bundled incidents as a DataFrame: name, description, calico, kubernetes, nodes, size and packed (bytes).

    >>> import calicokit
    >>> "ipam-exhausted" in set(calicokit.incidents()["name"])
    True
    """
    import pandas as pd

    return pd.DataFrame([vars(i) for i in index().values()])

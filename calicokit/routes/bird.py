"""BIRD's routes on each node: of IPv4 from bird, and of IPv6 from bird6."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.kube.tables import EVIDENCE
from calicokit.registry import table
from calicokit.schema import Column, Schema

BIRD = Schema(
    "routes.bird",
    "Routes that BIRD has on each node (birdcl show route).",
    (
        Column("node", "str", "node"),
        Column("version", "int", "4: bird, or 6: bird6"),
        Column("prefix", "str", "destination"),
        Column("type", "str", "unicast, blackhole, unreachable, …"),
        Column("gateway", "str", "next hop; null for none"),
        Column("interface", "str", "device"),
        Column("protocol", "str", "BIRD's protocol that the route is from: a session, kernel1, static1, direct1"),
        Column("from", "str", "peer that told it, where that is not the next hop"),
        Column("primary", "bool", "the best route for its prefix"),
        Column("sync_error", "bool", "BIRD could not install it in the kernel"),
        EVIDENCE,
    ),
)


@table(
    BIRD,
    any_of={
        "brief": "output.birdcl_route",
        "details": "output.birdcl_route_all",
        "brief6": "output.birdcl6_route",
        "details6": "output.birdcl6_route_all",
    },
)
def bird(
    brief: pd.DataFrame | None,
    details: pd.DataFrame | None,
    brief6: pd.DataFrame | None = None,
    details6: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each route; see :data:`BIRD`. Of each node the short answer, else the one with details."""
    found = [*_of(4, brief, details), *_of(6, brief6, details6)]
    return found[0] if len(found) == 1 else pd.concat(found, ignore_index=True)


def _of(version: int, brief: pd.DataFrame | None, details: pd.DataFrame | None) -> Iterator[pd.DataFrame]:
    told = set() if brief is None else set(brief["node"])
    for frame in (brief, None if details is None else details[~details["node"].isin(told)]):
        if frame is not None and len(frame):
            yield BIRD.take(frame.assign(version=version))


def heard(routes: pd.DataFrame) -> dict[int, set[str]]:
    """IP version → the nodes whose BIRD of it answered."""
    return {version: set(routes.loc[routes["version"] == version, "node"]) for version in (4, 6)}

"""Figures of IPAM: they say the fact, hold every number of their table, and show no markup that a cluster wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.model import Missing
from calicokit.figures import plain, safe
from calicokit.ipam import figures, usage
from calicokit.schema import Table
from tests import clusters

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def exhausted() -> Cluster:
    return clusters.opened("ipam-exhausted")


def nodes(count: int) -> pd.DataFrame:
    return usage.NODE_UTILISATION.frame(
        {
            "node": [f"node-{i}" for i in range(count)],
            "version": [4] * count,
            "blocks": [1] * count,
            "block_limit": [20] * count,
            "capacity": [64] * count,
            "allocated": [i % 64 for i in range(count)],
            "free": [64 - i % 64 for i in range(count)],
            "lent": [0] * count,
            "borrowed": [0] * count,
            "in_use": [i % 64 for i in range(count)],
            "used": [i % 64 / 64 for i in range(count)],
        }
    )


def cells(blocks: int, size: int, owner: str = "shop/web") -> pd.DataFrame:
    """Blocks of 10.0.0.0/8; the last of them is the fullest."""
    rows = []
    for b, o in np.ndindex(blocks, size):
        address = f"10.{(b * size + o) >> 16}.{(b * size + o) >> 8 & 255}.{(b * size + o) & 255}"
        used = b == blocks - 1
        block = f"10.{b * size >> 16}.{b * size >> 8 & 255}.{b * size & 255}/{32 - size.bit_length() + 1}"
        row = {"pool": "p", "block": block, "version": 4, "node": "n", "ordinal": o, "address": address}
        rows.append({**row, "state": "in-use" if used else "free", "owner": owner if used else None})
    return usage.BLOCK_MAP.frame(rows)


def test_utilisation_says_the_fact(exhausted: Cluster) -> None:
    drawn = figures.utilisation(exhausted.ipam.utilisation())
    assert drawn.fact == "Pool default-ipv4-ippool: 32 of 32 addresses in use"
    assert [t.x[0] for t in drawn.data if t.name == "in use"] == [100.0]


def test_nothing_and_unknown_are_said() -> None:
    assert figures.utilisation(usage.UTILISATION.frame()).fact == "There is no IP pool."
    unknown = Table(usage.BLOCK_MAP.frame(), unknown=(Missing("ipamblocks", "forbidden"),))
    assert figures.block_map(unknown).fact == "Unknown, not empty: ipamblocks: forbidden."


def test_colour_never_speaks_alone() -> None:
    looks = figures.STATES.values()
    assert len({look.symbol for look in looks}) == len({look.colour for look in looks}) == len(looks)
    bars = figures.node_utilisation(nodes(4)).data
    assert len({(b.marker.color, b.marker.pattern.shape) for b in bars}) == 4
    assert all(b.name for b in bars)


@pytest.mark.parametrize(("count", "drawn"), [(4, 4), (40, 40), (400, 40)])
def test_many_nodes_are_summed_up(count: int, drawn: int) -> None:
    figure = figures.node_utilisation(nodes(count))
    assert len(figure.data[0].y) == drawn
    assert ("the other 360 are at most" in figure.fact) == (count == 400)
    assert figure.layout.height < 1400


def test_nodes_stand_in_their_natural_order() -> None:
    assert list(figures.node_utilisation(nodes(12)).data[0].y)[:3] == ["node-0", "node-1", "node-2"]


def test_block_map_has_every_address(exhausted: Cluster) -> None:
    table = exhausted.ipam.block_map()
    figure = figures.block_map(table)
    heat = figure.data[0]
    told = [plain(text).split("\n") for line in heat.hovertext for text in line]
    assert sorted(t[0] for t in told) == sorted(table["address"])
    assert figure.fact == "32 addresses in 8 blocks: 29 in use, 3 borrowed by another node"
    assert heat.y[0] == "10.48.0.0/30  node-2"
    assert heat.text[0][2] == "B 10.48.0.2"


def test_block_map_shows_the_fullest_of_many_blocks_and_says_so() -> None:
    figure = figures.block_map(cells(blocks=100, size=64))
    assert len(figure.data[0].y) == figures.MOST_LINES
    assert figure.data[0].y[-1].startswith("10.0.24.192/26")
    assert "The 32 fullest blocks are drawn" in figure.fact


def test_a_large_block_takes_several_lines() -> None:
    assert list(figures.block_map(cells(blocks=1, size=256)).data[0].y) == [
        "10.0.0.0/24  n",
        "10.0.0.0/24 +64",
        "10.0.0.0/24 +128",
        "10.0.0.0/24 +192",
    ]


def test_forecast_needs_two_points_in_time() -> None:
    times = pd.to_datetime(["2026-01-01", "2026-01-03"], utc=True)
    rows = {"time": times, "pool": ["p", "p"], "allocated": [10, 30], "available": [100.0, 100.0]}
    history = usage.HISTORY.frame(rows)
    drawn = figures.forecast(history, usage.forecast(history))
    assert drawn.fact == "Pool p is exhausted in 7 days at 10 addresses a day"
    assert len(drawn.data) == 3
    once = history.head(1)
    assert figures.forecast(once, usage.forecast(once)).fact.startswith("No trend: every pool")


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [s for v in value.values() for s in strings(v)]
    return [s for v in value for s in strings(v)] if isinstance(value, (list, tuple)) else []


def test_hostile_names_are_text() -> None:
    pool = {"pool": EVIL, "cidr": "10.0.0.0/24", "version": 4, "disabled": False, "capacity": 256.0, "allocated": 1}
    pool |= {"cooling": 0, "free": 255.0, "used": 0.1}
    drawn = [
        figures.utilisation(usage.UTILISATION.frame([pool])),
        figures.node_utilisation(nodes(1).assign(node=pd.Series([EVIL], dtype="str"))),
        figures.block_map(cells(1, 4, owner=EVIL)),
    ]
    for figure in drawn:
        found = strings(figure.to_dict())
        assert not any("<img" in s for s in found)
        assert any(safe(EVIL) in s for s in found)
        # What a template holds, plotly would fill in and read as markup.
        assert not any("onerror" in (t.hovertemplate or "") for t in figure.data)

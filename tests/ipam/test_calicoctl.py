"""Every figure that `calicoctl ipam show` and `ipam check` print for a recording is equalled from the objects."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import calicokit
from calicokit.cluster import Cluster
from calicokit.ipam.printed import MOST_COUNTED
from tests import clusters, recordings


@pytest.fixture(scope="module", params=recordings.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cluster(name: str) -> Cluster:
    return clusters.opened(name)


def printed(name: str, what: str) -> dict[str, pd.DataFrame]:
    kind = "calicoctl-ipam-check" if "check" in what else "calicoctl-ipam-show"
    parsed = calicokit.parse(kind, recordings.read(name, f"cluster/calicoctl-ipam-{what}.txt").decode(), strict=True)
    return parsed.tables


def share(part: float, whole: float) -> int:
    """Go's %.f: to the nearest, halves to even."""
    return round(100 * part / whole)


def test_ipam_show(name: str, cluster: Cluster) -> None:
    shown = printed(name, "show")["calicoctl_ipam_show"]
    ours = cluster.table("ipam.utilisation").set_index("cidr")
    assert set(shown["cidr"]) == set(ours.index)
    for row in shown.itertuples():
        mine = ours.loc[row.cidr]
        if mine["capacity"] > MOST_COUNTED:  # calicoctl cannot count so many
            assert (row.ips_in_use, round(row.ips_total / MOST_COUNTED, 3)) == (mine["allocated"], 1)
            continue
        assert (row.ips_total, row.ips_in_use, row.ips_free) == (mine["capacity"], mine["allocated"], mine["free"])
        assert row.in_use_percent == share(mine["allocated"], mine["capacity"])
        assert row.free_percent == share(mine["free"], mine["capacity"])
        if not pd.isna(row.ips_reserved):
            assert (row.ips_reserved, row.reserved_percent) == (
                mine["reserved"],
                share(mine["reserved"], mine["capacity"]),
            )


def test_ipam_show_blocks(name: str, cluster: Cluster) -> None:
    shown = printed(name, "show-blocks")["calicoctl_ipam_show"]
    shown = shown[shown["grouping"] == "Block"].set_index("cidr")
    ours = cluster.table("ipam.blocks").set_index("block")
    assert set(shown.index) == set(ours.index)
    for block, row in shown.iterrows():
        mine = ours.loc[block]
        assert (row["ips_total"], row["ips_in_use"]) == (mine["size"], mine["allocated"])
        assert row["ips_free"] == mine["free"]
        assert row["in_use_percent"] == share(mine["allocated"], mine["size"])


def test_ipam_show_borrowed(name: str, cluster: Cluster) -> None:
    shown = printed(name, "show-borrowed")["borrowed"]
    ours = cluster.table("ipam.borrowed")
    columns = ["address", "node", "block", "block_node", "type"]
    pd.testing.assert_frame_equal(
        shown[columns].sort_values("address", ignore_index=True),
        pd.DataFrame(ours[columns]).sort_values("address", ignore_index=True),
    )
    assert set(shown["allocated_to"]) == set(ours["namespace"] + "/" + ours["pod"])


def test_ipam_show_configuration(name: str, cluster: Cluster) -> None:
    shown = printed(name, "show-configuration")["configuration"].set_index("property")["value"]
    ours = cluster.table("ipam.config").iloc[0]
    assert shown["StrictAffinity"] == str(bool(ours["strict_affinity"])).lower()
    assert shown["AutoAllocateBlocks"] == str(bool(ours["auto_allocate_blocks"])).lower()
    assert shown["MaxBlocksPerHost"] == str(ours["max_blocks_per_host"])
    if "IPCooldownSeconds" in shown:
        assert shown["IPCooldownSeconds"] == str(ours["cooldown"])


@pytest.mark.parametrize("what", ["check", "check-all"])
def test_ipam_check(name: str, cluster: Cluster, what: str) -> None:
    shown = printed(name, what)["calicoctl_ipam_check"].set_index("figure")["value"]
    ours = cluster.table("ipam.check_report").set_index("figure")["value"]
    assert len(shown) >= 15
    assert shown.to_dict() == ours[shown.index].to_dict()


def test_ipam_check_nodes_and_blocks(name: str, cluster: Cluster) -> None:
    shown = printed(name, "check-all")
    ours = cluster.table("ipam.addresses")["node"].value_counts()
    assert shown["nodes"].set_index("node")["allocations"].to_dict() == ours.to_dict()
    blocks = cluster.table("ipam.blocks")
    assert dict(zip(shown["blocks"]["block"], shown["blocks"]["affinity"], strict=True)) == dict(
        zip(blocks["block"], blocks["affinity"], strict=True)
    )


def test_ipam_check_every_address(name: str, cluster: Cluster) -> None:
    shown = printed(name, "check-all")
    columns = ["address", "handle", "namespace", "pod", "node"]
    ours = cluster.table("ipam.addresses")[columns]
    pd.testing.assert_frame_equal(
        shown["allocations"][columns].sort_values("address", ignore_index=True),
        pd.DataFrame(ours).sort_values("address", ignore_index=True),
    )
    assert set(shown["in_use"]["address"]) == set(cluster.table("ipam.in_use")["address"])
    leaked = shown["problems"][shown["problems"]["kind"] == "leaked"]["subject"]
    states = cluster.table("ipam.allocations").set_index("address")["state"]
    assert set(leaked) == set(states[states == "leaked"].index)


def test_the_comparison_is_not_of_nothing() -> None:
    """The recordings hold exhausted, leaked, borrowed and tunnel addresses, so the figures differ from zero."""
    frames = [clusters.opened(n).table("ipam.check_report") for n in recordings.names()]
    most = pd.concat(frames).groupby("figure")["value"].max()
    assert most["allocated_not_in_use"] == 5
    assert most["node_tunnel_ips"] == 4
    assert most["max_node_allocations"] >= 10


def test_a_pool_larger_than_calicoctl_counts_is_not_full(tmp_path: Path) -> None:
    """It prints -9.2234e+18 free addresses of a /64."""
    text = recordings.read("healthy-dual-stack", "cluster/calicoctl-ipam-show.txt")
    assert b"-9.2234e+18" in text
    (tmp_path / "show.txt").write_bytes(text)
    found = calicokit.open(tmp_path)
    pools = found.ipam.utilisation().set_index("version")
    assert pools.loc[6, "capacity"] == 2.0**64
    assert pools.loc[6, "free"] > 1e19
    assert pools.loc[6, "used"] < 1e-9
    assert [f.id for f in found.check()] == []

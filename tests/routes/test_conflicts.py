"""Foreign routes and rules, in the ways in which they come about; and those that are none."""

from __future__ import annotations

import pytest

from tests.edited import Edited, adding, without

MESH = "healthy-bgp-mesh"
OWNER, OTHER = "node-1", "node-3"  # of the block, and another node
BLOCK, POD = "10.48.84.128/26", "10.48.84.131"


def found(lab: Edited) -> list[tuple[str, dict[str, object]]]:
    return [(f.id, dict(f.subject)) for f in lab.heads()]


@pytest.mark.parametrize(
    ("node", "route", "cidr"),
    [
        (OTHER, "10.48.84.128/27 via 172.30.0.1 dev eth0 proto static", "10.48.84.128/27"),
        (OTHER, "10.48.84.131 via 172.30.0.14 dev eth0", f"{POD}/32"),
        (OTHER, f"{BLOCK} via 172.30.0.14 dev eth0 metric 100", BLOCK),
        (OTHER, f"blackhole {BLOCK}", BLOCK),
        (OTHER, "unreachable 10.48.84.160/27 metric 5", "10.48.84.160/27"),
        (OTHER, "10.48.84.176/28 dev docker0 proto kernel scope link src 10.48.84.177", "10.48.84.176/28"),
        (OTHER, "10.48.84.128/28 via 172.30.0.14 dev eth0 proto zebra metric 20", "10.48.84.128/28"),
        (OWNER, f"blackhole {POD}", f"{POD}/32"),
        (OWNER, "10.48.84.128/27 via 172.30.0.1 dev eth0", "10.48.84.128/27"),
    ],
)
def test_a_foreign_route_that_decides_is_a_conflict(node: str, route: str, cidr: str) -> None:
    lab = Edited(MESH).routes(node, adding(route))
    assert found(lab) == [("route-conflict", {"node": node, "cidr": cidr})]


@pytest.mark.parametrize(
    "route",
    [
        "10.48.0.0/16 via 172.30.0.1 dev eth0",  # shorter than every block: Calico's routes decide
        "0.0.0.0/1 via 172.30.0.1 dev eth0",
        f"{BLOCK} via 172.30.0.14 dev eth0 metric 4096",  # worse than Calico's
        f"{BLOCK} via 172.30.0.11 dev eth0",  # leads the same way
        "10.48.84.128/27 via 172.30.0.11 dev eth0 proto static",  # leads the same way
        "192.168.7.0/24 via 172.30.0.1 dev eth0",  # no matter of Calico's
        "10.48.84.131 via 172.30.0.14 dev eth0 proto bird metric 512",  # BIRD's own: a borrowed address
        "10.48.84.131 via 172.30.0.14 dev eth0 proto 12",  # the same, where ip does not know the name
    ],
)
def test_what_decides_nothing_of_calicos_is_no_conflict(route: str) -> None:
    assert Edited(MESH).routes(OTHER, adding(route)).loud() == []


def test_a_foreign_route_in_the_place_of_birds() -> None:
    """Before v3.32 both would have metric 0: the kernel refuses BIRD's, which says so with a !."""
    lab = Edited(MESH).routes(OTHER, without(f"{BLOCK} ")).routes(OTHER, adding(f"{BLOCK} via 172.30.0.1 dev eth0"))
    lab.edit("birdcl-route", OTHER, lambda t: "".join(_refused(line) for line in t.splitlines(keepends=True)))
    assert found(lab) == [("route-conflict", {"node": OTHER, "cidr": BLOCK})]


def _refused(line: str) -> str:
    return line.replace(" * ", " ! ") if line.startswith(BLOCK) else line


def test_a_route_that_was_set_where_bgp_brings_none_overrides_nothing() -> None:
    """node-4's session to node-3 is down in this recording: a static route is what keeps the two together."""
    lab = Edited("bgp-tcp179-blocked").routes("node-4", adding("10.48.139.64/26 via 172.30.0.13 dev eth0"))
    assert "route-conflict" not in [f.id for f in lab.loud()]


def test_a_route_that_replaced_a_pods_heads_what_follows() -> None:
    lab = Edited(MESH).routes(OWNER, without(f"{POD} dev")).routes(OWNER, adding(f"{POD} via 172.30.0.14 dev eth0"))
    assert found(lab) == [("route-conflict", {"node": OWNER, "cidr": f"{POD}/32"})]
    assert {f.id: f.explained_by for f in lab.loud()}["pod-route-missing"] == "route-conflict"


@pytest.mark.parametrize(
    ("rule", "route", "cidr"),
    [
        ("from all to 10.48.0.0/16 lookup 100", "default via 172.30.0.1 dev eth0 table 100", "10.48.0.0/16"),
        ("from all lookup 100", "10.48.84.0/24 via 172.30.0.14 dev eth0 table 100", "10.48.84.0/24"),
        ("from all lookup 100", "blackhole 10.48.84.128/26 table 100", BLOCK),
        ("from 10.48.139.64/26 lookup 100", "default via 172.30.0.1 dev eth0 table 100", "0.0.0.0/0"),
        ("from all to 10.48.84.0/24 blackhole", "", "10.48.84.0/24"),
    ],
)
def test_rules_before_main(rule: str, route: str, cidr: str) -> None:
    lab = Edited(MESH).edit("ip-rule", OTHER, adding(f"100:\t{rule}"))
    if route:
        lab.edit("ip-route-all", OTHER, adding(route))
    assert found(lab) == [("route-conflict", {"node": OTHER, "cidr": cidr})]


@pytest.mark.parametrize(
    ("rule", "route"),
    [
        ("100:\tfrom 172.30.0.13 lookup 100", "default via 172.30.0.1 dev eth0 table 100"),  # a host with two uplinks
        ("100:\tfrom all fwmark 0x77 lookup 100", "default via 172.30.0.1 dev eth0 table 100"),  # of marked packets
        ("33000:\tfrom all lookup 100", "10.48.84.128/26 via 172.30.0.1 dev eth0 table 100"),  # asked after main
        ("100:\tfrom all lookup 100", "throw 10.48.84.128/26 table 100"),
        ("99:\tnot from all fwmark 0x100000/0x100000 lookup 1", "10.48.84.128/26 dev wireguard.cali table 1"),
        ("99:\tfrom all to 10.48.84.0/24 lookup main", "10.48.0.0/16 via 172.30.0.1 dev eth0"),
    ],
)
def test_rules_that_decide_nothing_of_calicos(rule: str, route: str) -> None:
    lab = Edited(MESH).edit("ip-rule", OTHER, adding(rule)).edit("ip-route-all", OTHER, adding(route))
    assert lab.loud() == []


@pytest.mark.parametrize("name", ["healthy-v3.28", "healthy-vxlan-typha", "healthy-datacenter", "ipam-exhausted"])
def test_in_every_mode_and_version(name: str) -> None:
    lab = Edited(name)
    blocks = lab.cluster().ipam.blocks()
    first, length = blocks[blocks["node"] == "node-2"].iloc[0]["block"].split("/")
    part = f"{first}/{int(length) + 1}"
    lab.routes("node-4", adding(f"{part} via 172.30.0.1 dev eth0"))
    assert ("route-conflict", {"node": "node-4", "cidr": part}) in found(lab)


def test_the_recording_names_the_node_where_the_route_stands_and_who_learnt_it() -> None:
    row = Edited("route-conflict").cluster().routes.conflicts().iloc[0]
    assert (row["node"], row["how"], row["overrides"]) == ("node-2", "longer-prefix", [BLOCK])
    assert row["learnt_by"] == ["node-1", "node-3", "node-4"]
    assert row["owners"] == ["node-1"]

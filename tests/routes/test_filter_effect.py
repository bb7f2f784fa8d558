"""What filters do with a prefix: as every recorded BIRD did, and with rules that no recording has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from calicokit.cluster import Cluster
from calicokit.net import prefix
from calicokit.routes.bird_filters import MOST_PARENTHESES, UNDEFINED, evaluate
from tests.edited import Edited, without

MESH, REFLECTORS, TOR = "healthy-bgp-mesh", "healthy-route-reflectors", "healthy-datacenter"
OWNER, BLOCK = "node-1", "10.48.84.128/26"


def effect(cluster: Cluster, node: str = OWNER, cidr: str = BLOCK) -> pd.DataFrame:
    return cluster.routes.filter_effect(node, cidr)


@pytest.mark.parametrize("name", [MESH, REFLECTORS, TOR, "route-conflict", "healthy-v3.28"])
def test_what_a_node_tells_is_what_its_peer_has_from_it(name: str) -> None:
    """For one node, all of its prefixes and peers; a peer's BIRD shows what it took by the session's name."""
    cluster = Edited(name).cluster()
    routes, compared = cluster.table("output.birdcl_route"), cluster.table("bgp.compared")
    node = sorted(routes["node"].unique())[1]
    theirs = compared[(compared["peer"] == node) & compared["internal"] & (compared["status"] == "up")]
    by_peer = dict(zip(theirs["node"], theirs["protocol"], strict=True))
    told = 0
    for cidr in routes[routes["node"] == node]["prefix"].unique():
        found = effect(cluster, node, cidr)
        for peer, protocol in by_peer.items():
            actions = found[found["peer"] == peer]["action"].tolist()
            has = (routes["node"] == peer) & (routes["prefix"] == cidr) & (routes["protocol"] == protocol)
            assert (actions == ["Accept", "Accept"]) == has.any(), (cidr, peer, actions)
            told += bool(has.any())
    assert told


def configured(name: str, node: str, how: Callable[[str], str]) -> Cluster:
    return Edited(name).edit(name, node, how).cluster()


def with_filter(body: str, call: str = "'bgp_keep_exportFilterV4'();") -> Cluster:
    """A BGPFilter as confd writes it: a function, called before Calico's own in every export filter."""
    function = f"function 'bgp_keep_exportFilterV4'(bool is_same_as) {{\n{body}\n}}\n"
    lab = Edited(MESH)
    return lab.edit(
        "bird.cfg",
        OWNER,
        lambda t: function + t.replace("calico_export_to_bgp_peers(", f"{call}\n    calico_export_to_bgp_peers("),
    ).cluster()


@pytest.mark.parametrize(
    ("body", "action", "by"),
    [
        ("  if ((net ~ 10.48.0.0/16)) then { reject; }", "Reject", "bgp_keep_exportFilterV4"),
        ("  if ((net = 10.48.84.128/26)) then { reject; }", "Reject", "bgp_keep_exportFilterV4"),
        ("  if ((net !~ 10.48.0.0/16)) then { reject; }", "Accept", "calico_aggr"),
        ("  if ((net ~ [ 10.48.0.0/16{27,32} ])) then { reject; }", "Accept", "calico_aggr"),
        ("  if ((net ~ [ 10.48.0.0/16{16,26} ])) then { reject; }", "Reject", "bgp_keep_exportFilterV4"),
        ("  if (((defined(source))&&(source ~ [ RTS_BGP ]))) then { reject; }", "Accept", "calico_aggr"),
        ('  if (((defined(ifname))&&(ifname ~ "eth*"))) then { reject; }', "Accept", "calico_aggr"),
        ("  if (((65000, 100) ~ bgp_community)) then { reject; }", "unknown", "bgp_keep_exportFilterV4"),
        ("  if (((65000, 100) ~ bgp_community)) then { accept; }", "Accept", "calico_aggr"),
        ("  if ((defined(bgp_local_pref)&&(bgp_local_pref = 2147482623))) then { reject; }", "Reject", "bgp_keep_"),
        ("  if ((defined(bgp_local_pref)&&(bgp_local_pref = 2147483547))) then { reject; }", "Accept", "calico_aggr"),
        ("  if (is_same_as) then { if ((net ~ 10.48.0.0/16)) then { reject; } }", "Reject", "bgp_keep_"),
        ("  if (!is_same_as) then { if ((net ~ 10.48.0.0/16)) then { reject; } }", "Accept", "calico_aggr"),
        ("  accept;", "Accept", "bgp_keep_exportFilterV4"),
    ],
)
def test_a_bgpfilter_decides_before_calicos_own_rules(body: str, action: str, by: str) -> None:
    found = effect(with_filter(body, "'bgp_keep_exportFilterV4'(true);"))
    told = found[found["direction"] == "export"]
    assert set(told["action"]) == {action}
    assert told["decided_by"].str.startswith(by).all()


def test_a_pool_that_is_not_exported_is_rejected_first() -> None:
    """As confd writes it since v3.32, at the head of calico_export_to_bgp_peers."""
    head = "function calico_export_to_bgp_peers(bool internal_peer) {\n"
    rule = "  if (net ~ 10.48.0.0/16) then { reject; } # BGP export is disabled.\n"
    lab = Edited(MESH).edit("bird_ipam.cfg", OWNER, lambda t: t.replace(head, head + rule))
    told = effect(lab.cluster())
    assert set(told["action"]) == {"Reject"}
    assert set(told["rule"]) == {"if (net ~ 10.48.0.0/16) then reject"}


def test_a_peer_that_does_not_import() -> None:
    text = "if (net ~ 10.48.84.0/24) then { reject; }\n    accept;"
    lab = Edited(MESH).edit("bird.cfg", "node-3", lambda t: t.replace("accept;", text))
    found = effect(lab.cluster()).set_index(["peer", "direction"])["action"].to_dict()
    assert found["node-3", "import"] == "Reject"
    assert found["node-2", "import"] == "Accept"


def test_a_pods_own_route_stays_at_home_and_the_rule_is_named() -> None:
    cluster = Edited(MESH).cluster()
    pod = cluster.routes.pods().query(f"node == '{OWNER}'")["address"].iloc[0]
    found = effect(cluster, OWNER, pod)
    assert set(found["action"]) == {"Reject"}
    assert set(found["decided_by"]) == {"calico_aggr"}
    assert found["rule"].str.contains(BLOCK).all()


def test_a_block_whose_affinity_is_pending_is_told_only_as_a_part_of_its_pool() -> None:
    lab = Edited(MESH).edit("bird_aggr.cfg", OWNER, without("if ( net"))
    assert set(effect(lab.cluster()).query("direction == 'export'")["rule"]) == {"if (net ~ 10.48.0.0/16) then accept"}


def test_what_was_learnt_goes_no_further_in_a_mesh() -> None:
    found = effect(Edited(MESH).cluster(), "node-3")
    assert set(found["decided_by"]) == {"BIRD"}
    assert set(found["action"]) == {"Reject"}


def test_a_file_that_was_not_seen_makes_unknown() -> None:
    lab = Edited(MESH)
    lab.gone |= {("bird_aggr.cfg", OWNER)}
    assert "unknown" in set(effect(lab.cluster())["action"])


def test_what_bird_has_not_is_told_to_nobody() -> None:
    (row,) = effect(Edited(MESH).cluster(), OWNER, "10.99.0.0/16").itertuples()
    assert "no route to 10.99.0.0/16" in row.says
    assert pd.isna(row.action)


@pytest.mark.parametrize(("node", "to"), [("node-99", BLOCK), (OWNER, "shop/web"), (OWNER, "10.48.84.300")])
def test_what_makes_no_sense_is_a_sentence(node: str, to: str) -> None:
    with pytest.raises(ValueError, match=r"node-99|shop/web|300"):
        effect(Edited(MESH).cluster(), node, to)


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("net ~ 10.0.0.0/8 || nothing", True),
        ("net ~ 11.0.0.0/8 && nothing", False),
        ("net ~ 10.0.0.0/8 && nothing", None),
        ("!(net ~ 10.0.0.0/8)", False),
        ("krt_metric < 1024", None),  # of a route that has none BIRD cannot say
        ("defined(krt_metric)", False),
        ("defined(source) && source = RTS_BGP", False),
        ("2147483647 - bgp_local_pref < 1025", True),
        ("net ~ [ 10.0.0.0/8 ]", False),  # in a set a prefix is that prefix alone
        ("net ~ [ 10.0.0.0/8+ ]", True),
        ("net ~ fd00::/8", False),
        ("net ~", None),
        (")" * 9, None),
        ("(" * (MOST_PARENTHESES + 1), None),
        ("!" * 5000 + "x", None),
        ('proto = "x" ? y', None),
    ],
)
def test_conditions(condition: str, value: bool | None) -> None:
    route: dict[str, Any] = {"net": prefix("10.1.0.0/16"), "source": "RTS_STATIC", "krt_metric": UNDEFINED}
    assert evaluate(condition, route | {"bgp_local_pref": 2147482623}) is value

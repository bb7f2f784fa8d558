"""Tables of routes: scale, the path, filters, words and figures."""

from __future__ import annotations

import pandas as pd
import pytest

from calicokit.evidence.model import Missing
from calicokit.routes import figures, sentences
from calicokit.routes.filter_effect import some_effect
from calicokit.routes.filters import decide
from calicokit.routes.kernel import is_workload, owner
from calicokit.schema import Table
from tests import clusters, recordings


@pytest.mark.parametrize("name", recordings.names())
def test_blocks_are_routed_as_the_kernel_says(name: str) -> None:
    """Every route to another node's block is BIRD's or Felix's; own blocks are blackholes of theirs."""
    cluster = clusters.opened(name)
    blocks = cluster.routes.blocks()
    there = blocks[blocks["status"] == "present"]
    assert len(there)
    assert set(there["programmed_by"].astype("str")) <= {"bird", "felix"}
    felix = set(blocks[blocks["programmed_by"] == "felix"]["mode"].astype("str"))
    assert felix <= {"vxlan", "ipip"}


def test_a_path_leads_to_the_pod_through_its_node() -> None:
    cluster = clusters.opened("healthy-vxlan-typha")
    pods = cluster.routes.pods()
    pod = pods[pods["node"] == "node-1"].iloc[0]
    path = cluster.routes.path("node-3", pod["address"])
    assert path["node"].tolist() == ["node-3", "node-1"]
    assert path["next"].tolist() == ["node-1", f"{pod['namespace']}/{pod['pod']}"]
    assert path["owner"].tolist() == ["felix", "felix"]
    assert "vxlan tunnel" in path["says"].iloc[0]


def test_a_path_shows_the_conflict() -> None:
    path = clusters.opened("route-conflict").table("routes.path", **{"from": "node-2", "to": "10.48.84.130"})
    assert path["cidr"].tolist() == ["10.48.84.128/27"]
    assert path["owner"].tolist() == ["other"]
    assert "whose routes are not known" in path["says"].iloc[0]


def test_a_path_inside_a_node_and_to_a_hole() -> None:
    cluster = clusters.opened("healthy-bgp-mesh")
    assert cluster.routes.path("node-1", "172.30.0.11")["type"].tolist() == ["local"]
    block = cluster.ipam.blocks()
    own = block[block["node"] == "node-1"]["block"].iloc[0]
    last = own.replace("/26", "").rpartition(".")[0] + "." + str(int(own.split(".")[3].split("/")[0]) + 63)
    assert "blackhole" in cluster.routes.path("node-1", last)["says"].iloc[0]


@pytest.mark.parametrize(("start", "to"), [("node-9", "10.48.0.1"), ("node-1", "not-an-ip"), ("node-1", "10.0.0.0/8")])
def test_what_a_path_cannot_begin_with_is_a_sentence(start: str, to: str) -> None:
    with pytest.raises(ValueError, match=r"not seen|not an address"):
        clusters.opened("healthy-bgp-mesh").routes.path(start, to)


@pytest.mark.parametrize(
    ("rules", "decision"),
    [
        ([{"action": "Reject", "matchOperator": "In", "cidr": "10.48.0.0/16"}], 0),
        ([{"action": "Reject", "matchOperator": "In", "cidr": "10.49.0.0/16"}], None),
        ([{"action": "Reject", "matchOperator": "NotIn", "cidr": "10.49.0.0/16"}], 0),
        ([{"action": "Reject", "matchOperator": "Equal", "cidr": "10.48.84.128/26"}], 0),
        ([{"action": "Reject", "matchOperator": "NotEqual", "cidr": "10.48.84.128/26"}], None),
        ([{"action": "Reject", "source": "RemotePeers"}], None),
        ([{"action": "Reject", "matchOperator": "In", "cidr": "10.48.0.0/16", "prefixLength": {"max": 24}}], None),
        ([{"action": "Reject", "interface": "eth*"}, {"action": "Reject"}], 1),
        ([{"action": "Accept", "matchOperator": "In", "cidr": "10.48.0.0/16"}, {"action": "Reject"}], 0),
    ],
)
def test_the_first_rule_whose_conditions_hold_decides(rules: list[dict[str, object]], decision: int | None) -> None:
    found = decide([("f", {"exportV4": rules})], "export", "10.48.84.128/26")
    assert (found and found[1]) == decision


def test_a_condition_on_what_is_not_seen_is_unknown() -> None:
    found = decide(
        [("f", {"importV4": [{"action": "Reject", "communities": {"values": ["1:2"]}}]})], "import", "10.0.0.0/26"
    )
    assert found == ("f", 0, "unknown")


@pytest.mark.parametrize(
    ("peer", "decision"), [("eBGP", ("f", 0, "Reject")), ("iBGP", ("f", 1, "Accept")), (None, ("f", 0, "unknown"))]
)
def test_a_rule_for_one_kind_of_peer(peer: str | None, decision: tuple[str, int, str]) -> None:
    rules = [{"action": "Reject", "peerType": "eBGP"}, {"action": "Accept"}]
    assert decide([("f", {"exportV4": rules})], "export", "10.48.84.128/26", False, peer) == decision


def test_owners_of_routes() -> None:
    assert owner("80", "eth0", None, "172.30.0.1") == "felix"
    assert owner(None, "tunl0", None, "172.30.0.1") == "felix"
    assert owner("static", "eth0", None, "172.30.0.1") == "other"
    assert owner(None, "docker0", "link", None) == "other"
    assert is_workload("eni0a1b2c3d4e5")
    assert not is_workload("eth0")


def test_words_and_figures_say_unknown_where_it_is() -> None:
    hole = Missing("ippools", "not listed")
    unknown = Table(pd.DataFrame(), unknown=(hole,))
    assert "ippools: not listed" in str(sentences.blocks(unknown, unknown))
    for tell in (sentences.conflicts, sentences.pods, sentences.mtus, sentences.addresses):
        assert "ippools: not listed" in str(tell(unknown))
    assert "ippools: not listed" in figures.matrix(unknown, unknown).fact


def test_the_matrix_marks_what_is_missing_and_not_by_colour_alone() -> None:
    routes = clusters.opened("bgp-tcp179-blocked").routes
    drawn = figures.matrix(routes.blocks(), routes.conflicts())
    assert drawn.fact.startswith("4 of 16 routes to blocks are missing ")
    assert sum(cell == "×" for row in drawn.data[0].text for cell in row) == 4


def test_the_matrix_marks_what_a_foreign_route_overrides() -> None:
    routes = clusters.opened("route-conflict").routes
    drawn = figures.matrix(routes.blocks(), routes.conflicts())
    assert drawn.fact.startswith("1 of 16 routes to blocks is overridden ")
    assert [cell for row in drawn.data[0].text for cell in row].count("!") == 1


def test_the_picture_of_a_path_names_its_end() -> None:
    cluster = clusters.opened("route-conflict")
    lost = figures.path(cluster.routes.path("node-2", "10.48.84.130"))
    assert "whose routes are not known" in lost.fact
    assert "10.48.84.128/27" in lost.layout.annotations[0].text
    pod = cluster.routes.pods().query("node == 'node-3'").iloc[0]
    found = figures.path(cluster.routes.path("node-4", pod["address"]))
    assert found.data[0].text == ("node-4", "node-3", f"{pod['namespace']}/{pod['pod']}")


def test_the_picture_of_a_path_that_ends_at_once() -> None:
    cluster = clusters.opened("route-conflict")
    assert "own address" in figures.path(cluster.routes.path("node-2", "172.30.0.12")).fact
    assert "No path" in figures.path(cluster.routes.path("node-2", "172.30.0.12").iloc[:0]).fact


def test_there_is_no_effect_of_filters_where_bgp_is_not_in_use() -> None:
    assert not len(some_effect(clusters.opened("healthy-vxlan-typha")))
    assert set(some_effect(clusters.opened("healthy-bgp-mesh"))["action"]) == {"Accept"}

"""Texts that are no answer: empty where none can be, cut, or another command's; one place makes holes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.model import Want
from tests.edited import Edited
from tests.fakes import MemorySource

NAME, NODE = "healthy-vxlan-typha", "node-2"
Edit = Callable[[str], str]


def hole(id_: str, how: Edit) -> str:
    """Why the evidence of a node counts as missing after the edit; empty where it does not."""
    cluster = Edited(NAME).edit(id_, NODE, how).cluster()
    cluster.table(f"output.{id_.replace('-', '_')}")
    found = cluster.node_holes().get(id_, {})
    assert set(found) <= {NODE}
    return found[NODE].why if found else ""


@pytest.mark.parametrize("id_", ["ip-route-all", "ip-addr", "iptables-nft-save", "nft-ruleset", "ss-bgp", "felix-log"])
def test_what_never_prints_nothing(id_: str) -> None:
    assert "is empty" in hole(id_, lambda _: "\n")


@pytest.mark.parametrize("id_", ["ipset-list", "ip-neigh", "conntrack", "ip6tables-save"])
def test_what_may_print_nothing(id_: str) -> None:
    assert hole(id_, lambda _: "") == ""


def test_one_rule_system_may_be_empty_where_the_other_has_all() -> None:
    assert hole("iptables-legacy-save", lambda _: "") == ""


def test_the_other_rule_systems_of_all_nodes_are_asked_at_once() -> None:
    nodes = ["node-1", "node-2", "node-3"]
    source = MemorySource({Want("iptables-legacy-save", n): b"" for n in nodes}, known_nodes=nodes)
    Cluster(source).given("iptables-legacy-save")
    others = [fetch for fetch in source.asked if any(w.id == "nft-ruleset" for w in fetch)]
    assert [{w.node for w in fetch} for fetch in others] == [set(nodes)]


@pytest.mark.parametrize("id_", ["ip-route-all", "iptables-nft-save", "bridge-fdb"])
def test_a_text_whose_last_line_has_no_end_is_cut(id_: str) -> None:
    assert "is cut" in hole(id_, lambda text: text[: len(text) // 2].rstrip("\n"))


@pytest.mark.parametrize("id_", ["ip-route-all", "ip-addr", "iptables-nft-save", "ipset-list"])
def test_the_output_of_another_command(id_: str) -> None:
    assert "could not be read" in hole(id_, lambda _: "#kernel\n" + "IpInReceives 12 0.0\n" * 20)


def test_a_list_of_another_kind() -> None:
    lab = Edited(NAME)
    text = '{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[]}'
    assert "is a list of services" in str(
        lab.edit("namespaces", None, lambda _: text).cluster().kube.namespaces().unknown
    )

"""The packet walk against connections that were really tried, and against the policy's verdicts."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from calicokit.cluster import Cluster
from calicokit.dataplane.packets.flow import TABLES, Dataplane, parsed_address
from calicokit.dataplane.packets.match import Node
from calicokit.dataplane.packets.packet import Packet
from calicokit.dataplane.packets.ruleset import Base, Rule, Ruleset
from calicokit.dataplane.packets.walk import Way, walk_hook
from tests import clusters, recordings

AGREE = {"allow": "accept", "refused": "accept", "mixed": "accept", "drop": "drop"}
"""What was observed → where the walk ends. A refusal arrived: nobody listened."""

PROBED = recordings.probed()
SOUND = [n for n in PROBED if n.startswith(("healthy-", "policy-drop", "ebpf-policy-drop"))]


def walked(name: str) -> tuple[Cluster, list[tuple[dict[str, Any], str]]]:
    cluster = clusters.opened(name)
    cluster.fetch(TABLES.values())
    dataplane = Dataplane.build(*(cluster.given(t) for t in TABLES.values()))
    ends = [
        (p, dataplane.walk(p["src_ip"], p["dst_ip"], p["port"], p["proto"]).verdict) for p in recordings.probes(name)
    ]
    return cluster, ends


def test_both_ip_versions_of_a_dual_stack_cluster_walk_as_the_connections_did() -> None:
    """All probes but UDP to pods of kube-dns, whose stand-in loses some: 344 of IPv4, 343 of IPv6; verdicts too."""
    name = "healthy-dual-stack"
    cluster, ends = walked(name)
    pods = json.loads(recordings.read(name, "api/v1_pods.json"))["items"]
    names = [p["metadata"] for p in pods if p["metadata"].get("labels", {}).get("k8s-app") == "kube-dns"]
    servers = {f"{m['namespace']}/{m['name']}" for m in names}
    counted, explainer = Counter[tuple[int, bool]](), cluster.explainer()
    for probe, end in ends:
        if probe["proto"] == "udp" and probe["dst"] in servers:
            continue
        said = explainer.explain(probe["src_ip"], probe["dst_ip"], probe["port"], probe["proto"]).verdict
        right = (end, said) == (AGREE[probe["observed"]], "deny" if probe["observed"] == "drop" else "allow")
        counted[6 if ":" in probe["src_ip"] else 4, right] += 1
    assert counted == {(4, True): 344, (6, True): 343}


@pytest.mark.parametrize("name", SOUND)
def test_every_walk_ends_as_the_connection_did(name: str) -> None:
    _, ends = walked(name)
    assert [(p, end) for p, end in ends if end != AGREE[p["observed"]]] == []
    told = Counter(end for _, end in ends)
    assert told["drop"] > 100
    assert told["accept"] > 50


@pytest.mark.parametrize("name", SOUND)
def test_rules_and_resources_say_the_same(name: str) -> None:
    """What is programmed is what policy asks for: no difference on any probe."""
    cluster, ends = walked(name)
    explainer = cluster.explainer()
    verdicts = {"allow": {"accept"}, "deny": {"drop", "reject"}, "mixed": {"accept", "drop", "mixed"}}
    against = [
        (p, end, said)
        for p, end in ends
        if end not in verdicts[said := explainer.explain(p["src"], p["dst"], p["port"], p["proto"]).verdict]
    ]
    assert against == []


@pytest.mark.parametrize("name", [n for n in PROBED if n not in SOUND])
def test_no_walk_is_against_what_was_seen_where_routes_are_wrong(name: str) -> None:
    """A drop is never told of what arrived; what did not arrive though rules accept it is told to go elsewhere."""
    cluster, ends = walked(name)
    dataplane = Dataplane.of(cluster)
    assert [p for p, end in ends if end == "drop" and p["observed"] != "drop"] == []
    for probe, end in ends:
        if probe["observed"] == "drop" and end != "drop":
            walk = dataplane.walk(probe["src_ip"], probe["dst_ip"], probe["port"], probe["proto"])
            assert any("which is not node-" in e.why for e in walk.ends), probe


# ---- rulesets that no recording shows


SPACE = ("ip", "nft", "nat")


def ruleset(*chains: tuple[str, str, tuple[str, ...]]) -> Ruleset:
    """Base chains of prerouting in this order: name, type and rules."""
    made = Ruleset(Node("n1"))
    for number, (name, type_, specs) in enumerate(chains):
        made.bases.setdefault("prerouting", []).append(Base(SPACE, name, "prerouting", number, type_, "accept"))
        made.chains[SPACE, name] = [
            Rule(SPACE, name, i, "", "", "", "foreign", spec, None) for i, spec in enumerate(specs, 1)
        ]
    return made


def test_a_hook_translates_a_connection_once_whatever_stands_between_its_chains() -> None:
    first, second = (f"-p tcp -j DNAT --to-destination 10.0.0.{n}:80" for n in (8, 9))
    found = ruleset(("a", "nat", (first,)), ("b", "filter", ()), ("c", "nat", (second,)))
    ways = walk_hook(found, "prerouting", Way(Packet(4, 1, 2, 6, None, 80)))
    assert [w.packet.destination for w in ways] == [parsed_address("10.0.0.8")[1]]


def test_each_way_is_translated_by_itself() -> None:
    """Half of the packets are translated by the first chain; the others come to the second."""
    first, second = (f"-p tcp -j DNAT --to-destination 10.0.0.{n}:80" for n in (8, 9))
    chance = f"-m statistic --mode random --probability 0.50000000000 {first}"
    found = ruleset(("a", "nat", (chance,)), ("c", "nat", (second,)))
    ways = walk_hook(found, "prerouting", Way(Packet(4, 1, 2, 6, None, 80)))
    assert {w.packet.destination for w in ways} == {parsed_address(a)[1] for a in ("10.0.0.8", "10.0.0.9")}

"""The packet walk against connections that were really tried, and against the policy's verdicts."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from calicokit.cluster import Cluster
from calicokit.dataplane.packets.flow import TABLES, Dataplane
from tests import clusters, recordings

AGREE = {"allow": "accept", "refused": "accept", "mixed": "accept", "drop": "drop"}
"""What was observed → where the walk ends. A refusal arrived: nobody listened."""

PROBED = recordings.probed()
SOUND = [n for n in PROBED if n.startswith(("healthy-", "policy-drop"))]


def addresses(cluster: Cluster, name: str) -> dict[str, str]:
    pods = cluster.table("routes.pods")
    found = {f"{r.namespace}/{r.pod}": str(r.address) for r in pods.itertuples()}
    services = json.loads(recordings.read(name, "api/v1_services.json"))["items"]
    return found | {
        f"svc/{s['metadata']['namespace']}/{s['metadata']['name']}": s["spec"]["clusterIP"] for s in services
    }


def walked(name: str) -> tuple[Cluster, list[tuple[dict[str, Any], str]]]:
    cluster = clusters.opened(name)
    cluster.fetch(TABLES.values())
    dataplane = Dataplane.build(*(cluster.given(t) for t in TABLES.values()))
    known = addresses(cluster, name)
    ends = [
        (p, dataplane.walk(known.get(p["src"], p["src"]), known.get(p["dst"], p["dst"]), p["port"], p["proto"]).verdict)
        for p in recordings.probes(name)
    ]
    return cluster, ends


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
            source, target = (addresses(cluster, name).get(probe[e], probe[e]) for e in ("src", "dst"))
            walk = dataplane.walk(source, target, probe["port"], probe["proto"])
            assert any("which is not node-" in e.why for e in walk.ends), probe

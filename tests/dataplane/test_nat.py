"""natOutgoing beside what is programmed: nothing to say of healthy clusters, and each way in which it can fail."""

from __future__ import annotations

import json

import pytest

from tests import clusters
from tests.edited import Edited, without

HEALTHY = ("healthy-bgp-mesh", "healthy-nftables", "healthy-v3.28", "healthy-datacenter")


@pytest.mark.parametrize("incident", HEALTHY)
def test_pools_of_healthy_clusters_are_masqueraded_as_they_ask(incident: str) -> None:
    cluster = clusters.of(incident)
    frame, pools = cluster.dataplane.nat_outgoing(), cluster.ipam.pools()
    enabled = pools[~pools["disabled"]]
    assert len(frame) >= len(enabled) * len(cluster.kube.nodes())
    assert frame["problem"].isna().all()
    assert (frame["in_set"] == frame["nat_outgoing"]).all()


def problems(edited: Edited) -> dict[str, str]:
    frame = edited.cluster().dataplane.nat_outgoing()
    return {r.node: r.problem for r in frame.itertuples() if isinstance(r.problem, str)}


def test_a_rule_that_is_gone() -> None:
    edited = Edited("healthy-bgp-mesh").edit("iptables-nft-save", "node-2", without("-A cali-nat-outgoing"))
    assert problems(edited) == {"node-2": "natOutgoing is on, and no rule masquerades its packets"}


def test_a_pool_that_is_not_in_the_set() -> None:
    def gone(text: str) -> str:
        head, name, rest = text.partition("Name: cali40masq-ipam-pools")
        members, end, others = rest.partition("Members:\n")
        return head + name + members + end + "\n".join(others.splitlines()[1:]) + "\n"

    edited = Edited("healthy-bgp-mesh").edit("ipset-list", "node-3", gone)
    assert problems(edited) == {"node-3": "natOutgoing is on, and the pool is not among those that are masqueraded"}


def test_a_pool_that_asks_for_none() -> None:
    def off(text: str) -> str:
        document = json.loads(text)
        for item in document["items"]:
            item["spec"]["natOutgoing"] = False
        return json.dumps(document)

    edited = Edited("healthy-bgp-mesh").edit("ippools", None, off)
    assert set(problems(edited).values()) == {"natOutgoing is off, and the pool is among those that are masqueraded"}


def test_sets_that_were_not_seen_prove_nothing() -> None:
    nodes = clusters.recording("healthy-bgp-mesh").nodes()
    edited = Edited("healthy-bgp-mesh", gone={(i, n) for i in ("ipset-list", "ipset-save") for n in nodes})
    frame = edited.cluster().dataplane.nat_outgoing()
    assert frame["in_set"].isna().all()
    assert frame["problem"].isna().all()

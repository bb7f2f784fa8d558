"""Every verdict against a connection that was really tried."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests import clusters, recordings

AGREE = {"allow": {"allow"}, "refused": {"allow"}, "drop": {"deny"}, "mixed": {"mixed"}}
"""What was observed → the verdicts that agree. A refusal arrived, or a REJECT rule answered."""

PROBED = recordings.probed()
SOUND = [n for n in PROBED if n.startswith(("healthy-", "policy-drop"))]
COUNTS = {
    "bgp-tcp179-blocked": 113,
    "healthy-bgp-mesh": 566,
    "healthy-datacenter": 283,
    "healthy-nftables": 212,
    "healthy-v3-crds": 566,
    "healthy-v3.28": 566,
    "healthy-vxlan-typha": 212,
    "policy-drop": 566,
    "policy-drop-v3.28": 566,
    "route-conflict": 283,
}


def agrees(probe: dict[str, Any], verdict: str) -> bool:
    udp_lost = probe["observed"] == "mixed" and probe["proto"] == "udp" and verdict == "allow"
    return verdict in AGREE[probe["observed"]] or udp_lost


def test_all_probes_of_all_recordings_are_tried() -> None:
    assert {n: len(recordings.probes(n)) for n in PROBED} == COUNTS
    assert sum(COUNTS.values()) == 3933


@pytest.mark.parametrize("name", SOUND)
def test_every_verdict_agrees_with_what_was_observed(name: str) -> None:
    cluster = clusters.opened(name)
    against = [
        (p, answer)
        for p in recordings.probes(name)
        if not agrees(p, (answer := cluster.explain(p["src"], p["dst"], p["port"], p["proto"])).verdict)
    ]
    assert against == []
    observed = Counter(p["observed"] for p in recordings.probes(name))
    assert observed["drop"] > 100, "both verdicts are put to the test"
    assert observed["allow"] + observed["refused"] > 60


@pytest.mark.parametrize("name", sorted(set(PROBED) - set(SOUND)))
def test_no_deny_stands_against_a_connection(name: str) -> None:
    cluster = clusters.opened(name)
    for probe in recordings.probes(name):
        answer = cluster.explain(probe["src"], probe["dst"], probe["port"], probe["proto"])
        assert answer.verdict != "unknown", answer
        if probe["observed"] in ("allow", "refused"):
            assert answer.verdict == "allow", answer
        elif probe["observed"] == "mixed":
            assert answer.verdict in ("allow", "mixed"), answer


@pytest.mark.parametrize("name", PROBED)
def test_by_address_as_by_name(name: str) -> None:
    cluster = clusters.opened(name)
    for probe in recordings.probes(name)[::7]:
        by_name = cluster.explain(probe["src"], probe["dst"], probe["port"], probe["proto"])
        by_address = cluster.explain(probe["src_ip"], probe["dst_ip"], probe["port"], probe["proto"])
        assert by_name.verdict == by_address.verdict
        assert by_name.decided_by == by_address.decided_by

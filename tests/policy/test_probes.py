"""Every verdict against a connection that was really tried."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from tests import clusters, recordings
from tests.edited import Edited

AGREE = {"allow": {"allow"}, "refused": {"allow"}, "drop": {"deny"}, "mixed": {"mixed"}}
"""What was observed → the verdicts that agree. A refusal arrived, or a REJECT rule answered."""

PROBED = recordings.probed()
SOUND = [n for n in PROBED if n.startswith(("healthy-", "policy-drop", "ebpf-policy-drop"))]
COUNTS = {
    "bgp-tcp179-blocked": 113,
    "dual-stack-bgp6-blocked": 221,
    "ebpf-policy-drop": 566,
    "healthy-bgp-mesh": 566,
    "healthy-datacenter": 283,
    "healthy-dual-stack": 695,
    "healthy-ebpf-vxlan": 212,
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
    assert sum(COUNTS.values()) == 5627


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


def without_endpoints(name: str, service: str) -> Edited:
    """A recording whose service has lost its endpoints, in its slices and in the rules that kube-proxy then writes."""
    lab = Edited(name)

    def empty(item: dict[str, Any]) -> None:
        meta = item["metadata"]
        if f"{meta['namespace']}/{meta['labels']['kubernetes.io/service-name']}" == service:
            item["endpoints"] = []

    lab.objects("endpointslices", empty)
    for node in lab.nodes():
        for tool in ("iptables-save", "iptables-nft-save", "iptables-legacy-save"):
            lab.edit(tool, node, lambda text: refused(text, service))
        lab.gone |= {("nft-ruleset", node), ("nft-ruleset-json", node)}
    return lab


def refused(text: str, service: str) -> str:
    """``writeServiceFilterRules``-like: the service's jump of the nat table becomes a REJECT of the filter table."""
    jump = re.compile(
        rf"^\[\S+ -A KUBE-SERVICES -d (\S+) -p tcp -m comment --comment \"{service}:(\S+) .*--dport (\d+) -j .*\n", re.M
    )
    found = jump.search(text)
    if found is None:
        return text
    rule = (
        f'[0:0] -A KUBE-SERVICES -d {found[1]} -p tcp -m comment --comment "{service}:{found[2]} has no endpoints" '
        f"-m tcp --dport {found[3]} -j REJECT --reject-with icmp-port-unreachable\n"
    )
    head, mark, filters = jump.sub("", text).partition("*filter\n")
    return head + mark + filters.replace("COMMIT\n", f"{rule}COMMIT\n", 1)


@pytest.mark.parametrize("name", ["healthy-vxlan-typha", "healthy-bgp-mesh"])
def test_policy_is_asked_of_a_service_address_before_kube_proxy_refuses(name: str) -> None:
    cluster = without_endpoints(name, "shop/catalog").cluster()
    senders = sorted({p["src"] for p in recordings.probes(name) if "/" in p["src"]})
    said = {s: cluster.explain(s, "svc/shop/catalog", 80) for s in senders}
    walks = {s: cluster.walk(s, "svc/shop/catalog", 80).verdict for s in senders}
    assert walks == {s: {"deny": "drop", "no-endpoints": "reject"}[a.verdict] for s, a in said.items()}
    assert set(walks.values()) == {"drop", "reject"}
    denied = next(a for a in said.values() if a.verdict == "deny")
    assert denied.sentence.endswith("; the service has no ready endpoint either.")
    assert denied.decided_by is not None
    assert denied.decided_by.direction == "egress"

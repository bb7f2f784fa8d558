"""kube-proxy beside the eBPF dataplane: at the end, or again and again while it was watched."""

from __future__ import annotations

import re
from collections.abc import Callable

from calicokit.diagnosis.model import Finding
from tests.edited import Edited
from tests.only import only

VXLAN = "healthy-ebpf-vxlan"
RULES = """*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ERIFXISQEP7F7OF4 - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -j KUBE-SVC-ERIFXISQEP7F7OF4
-A KUBE-SVC-ERIFXISQEP7F7OF4 -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.48.84.133:53
COMMIT
"""


def with_rules(text: str) -> str:
    return text + RULES


def as_it_is(text: str) -> str:
    return text


def said(lab: Edited) -> list[Finding]:
    return only(lab.cluster(), "bpf-kube-proxy-conflict")


def sampled(*changes: Callable[[str], str]) -> Edited:
    return Edited(VXLAN).sampled("iptables-save", "node-1", *changes)


def test_rules_at_the_end_are_told_once_for_all_nodes() -> None:
    lab = Edited(VXLAN)
    for node in lab.nodes():
        for id_ in ("iptables-save", "iptables-nft-save"):
            lab.edit(id_, node, with_rules)
    (found,) = said(lab)
    assert found.subject == {"node": ["node-1", "node-2", "node-3", "node-4"]}


def test_rules_that_return_in_samples_are_told_though_the_end_has_none() -> None:
    (found,) = said(sampled(with_rules, as_it_is, with_rules, as_it_is))
    assert found.subject == {"node": "node-1"}
    assert "in 2 of 4 samples" in found.cause


def test_rules_that_went_once_are_a_clean_up() -> None:
    assert said(sampled(with_rules, with_rules, as_it_is, as_it_is)) == []


def test_no_rules_anywhere_are_no_conflict() -> None:
    assert said(sampled(as_it_is, as_it_is)) == []
    assert said(Edited(VXLAN)) == []


def test_rules_that_are_there_long_after_felix_started_were_written_anew() -> None:
    def earlier(text: str) -> str:
        pid = re.findall(r"\[INFO\]\[(\d+)\]", text)[0]
        return f"2026-11-30 03:00:00.000 [INFO][{pid}] felix/table.go 1: Loading current state\n{text}"

    lab = sampled(with_rules, with_rules, as_it_is).edit("felix-log", "node-1", earlier)
    (found,) = said(lab)
    assert found.subject == {"node": "node-1"}
    assert "in 2 of 3 samples" in found.cause

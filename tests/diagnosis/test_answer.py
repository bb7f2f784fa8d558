"""The answer of check on one screen: what is folded is counted, and --all folds nothing."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import pytest

from calicokit import registry
from calicokit.diagnosis.answer import answer, missing_by_reason
from calicokit.diagnosis.findings import Findings
from calicokit.diagnosis.model import Finding, Rows, finding
from calicokit.diagnosis.ranking import rank
from calicokit.evidence.model import Coverage, Missing
from calicokit.guide.page import order
from tests import clusters

SCREEN = 40
ROW = Rows.of("pods", "health.pods", [{"pod": "p"}], "n1")


def text(findings: Findings, **options: Any) -> list[str]:
    return [f"{line.severity}{line.text}" for line in answer(findings, "a cluster", **options)]


def made(*found: Finding, missing: tuple[Missing, ...] = ()) -> Findings:
    registry.load()
    return Findings(rank(found), Coverage(missing=list(missing)))


def leak(number: int, severity: str = "") -> Finding:
    return finding(
        "ipam-leak",
        subject={"pool": f"pool-{number}", "addresses": [f"10.0.0.{number}"]},
        cause=f"Address 10.0.0.{number} is leaked. " + "It was given to a pod that does not exist any more. " * 9,
        remedy="Release it. " * 40,
        severity=severity,
    )


def test_a_long_answer_fits_on_a_screen_and_says_what_it_folds() -> None:
    holes = tuple(Missing(f"id-{i}", f"reason {i}", f"n{n}") for i in range(20) for n in range(50))
    lines = text(made(*(leak(i) for i in range(30)), *(leak(i, "info") for i in range(30, 60)), missing=holes))
    assert len(lines) <= SCREEN
    told = sum(line.startswith("warning") for line in lines)
    assert f"{30 - told} more causes: {30 - told} × ipam-leak (--all shows them)" in lines
    assert any("(and 29 more of this kind)" in line for line in lines)
    holes_told = sum(line.startswith("Not seen: ") for line in lines)
    assert f"Not seen, for {20 - holes_told} more reasons (--all shows them)" in lines
    assert all(len(line) <= 120 for line in lines)


def test_all_folds_nothing() -> None:
    every = [*(leak(i) for i in range(30)), *(leak(i, "info") for i in range(30, 60))]
    lines = " ".join(text(made(*every, missing=(Missing("a", "why"), Missing("b", "so"))), everything=True))
    assert all(f"Address 10.0.0.{i} is leaked" in lines for i in range(60))
    assert "Not seen: a: why" in lines
    assert "Not seen: b: so" in lines


def test_missing_evidence_is_grouped_by_reason_with_the_nodes_counted() -> None:
    holes = [Missing(i, "not in this bundle", f"n{n}") for i in ("bird.cfg", "bird-log") for n in range(4)]
    assert list(missing_by_reason([*holes, Missing("events", "refused")])) == [
        "bird-log and bird.cfg on 4 nodes: not in this bundle",
        "events: refused",
    ]


def test_effects_stand_under_their_cause_and_infos_in_a_line_a_kind() -> None:
    lines = text(clusters.checked("bgp-tcp179-blocked"))
    cause = next(i for i, line in enumerate(lines) if line.startswith("critical  foreign-drop-rule"))
    effect = next(i for i, line in enumerate(lines) if "└ critical  bgp-session-down" in line)
    assert cause < effect
    assert sum(line.startswith("info  policy-drop") for line in lines) <= 1
    assert len(lines) <= SCREEN


def test_a_loud_effect_stays_under_its_root_of_information() -> None:
    """Neither is shown under the root before it, nor folded away."""
    quiet = finding("bgp-config-stale", subject={"node": "n1"}, cause="Old.", remedy="", severity="info")
    waits = finding("calico-pod-not-ready", subject={"pod": "p"}, cause="Waits.", remedy="", evidence=[ROW])
    found = made(leak(1), quiet, waits, leak(2, "info"))
    assert [(root.id, [f.id for f in effects]) for root, effects in found.causes] == [
        ("bgp-config-stale", ["calico-pod-not-ready"]),
        ("ipam-leak", []),
    ]
    assert [f.subject["pool"] for f in found.infos] == ["pool-2"]
    lines = text(found)
    assert lines[0] == "a cluster: 2 causes (1 warning, 1 info), 1 effect."
    root = next(i for i, line in enumerate(lines) if line.startswith("info  bgp-config-stale"))
    assert "calico-pod-not-ready" in next(line for line in lines[root:] if "└" in line)


def test_the_verdict_counts_causes_and_effects() -> None:
    first = text(clusters.checked("bgp-tcp179-blocked"))[0]
    assert re.search(r": \d+ causes? \(.*critical\), \d+ effects?\.$", first)
    assert text(clusters.checked("healthy-bgp-mesh"))[0] == "a cluster: Nothing wrong was found."


# ---- in a notebook


def test_a_notebook_shows_the_same_answer() -> None:
    found = clusters.checked("bgp-tcp179-blocked")
    html = found._repr_html_()
    assert escape(found.verdict()) in html
    assert "<table" not in html
    assert html.index("<code>foreign-drop-rule</code>") < html.index("└ <span")
    for f in found:
        assert escape(f.cause) in html
    for root, _ in found.causes:
        assert escape(root.remedy) in html


def test_a_notebook_folds_information_and_what_was_not_seen() -> None:
    holes = [Missing("bird.cfg", "not in this bundle", f"n{n}") for n in range(4)]
    html = made(leak(1), *(leak(i, "info") for i in range(2, 14)), missing=tuple(holes))._repr_html_()
    opened = re.sub(r"<details.*?</details>", "", html)
    assert "10.0.0.1 is leaked" in opened
    assert "10.0.0.2 is leaked" not in opened
    assert "<code>ipam-leak</code> × 12: " in html
    assert "<li>Not seen: bird.cfg on 4 nodes: not in this bundle</li>" in html
    assert "bird.cfg" not in opened


def test_a_notebook_says_how_many_causes_and_effects_are_folded() -> None:
    html = made(*(leak(i) for i in range(30)))._repr_html_()
    assert "<summary>20 more causes: 20 × ipam-leak</summary>" in html
    rows = [Rows.of("pods", "health.pods", [{"pod": "p"}], "n1")]
    waits = [
        finding("calico-pod-not-ready", subject={"pod": f"p{n}"}, cause=f"{n}", remedy="", evidence=rows)
        for n in range(9)
    ]
    stale = finding("bgp-config-stale", subject={"node": "n1"}, cause="Old.", remedy="")
    assert "<summary>3 more effects: 3 × calico-pod-not-ready</summary>" in made(stale, *waits)._repr_html_()


@pytest.mark.parametrize("severity", ["critical", "info"])
def test_nothing_of_a_cluster_is_markup_in_a_notebook(severity: str) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    subject = {"pool": evil, "addresses": [evil]}
    rows = [Rows.of("pods", "health.pods", [{"pod": evil}], evil)]
    root = finding("ipam-leak", subject=subject, cause=evil, remedy=evil, severity=severity, evidence=rows)
    stale = finding("bgp-config-stale", subject={"node": evil}, cause=evil, remedy=evil)
    waits = finding("calico-pod-not-ready", subject={"pod": evil}, cause=evil, remedy=evil, evidence=rows)
    html = made(root, stale, waits, missing=(Missing(evil, evil, evil),))._repr_html_()
    assert "calico-pod-not-ready" in html
    assert "<script" not in html
    assert "<img" not in html


def test_in_the_guides_order_findings_stand_under_its_headings() -> None:
    lines = text(clusters.checked("bgp-tcp179-blocked"), guide=order())
    heads = [lines.index("bgp-configuration/bgp-peering-issues"), lines.index("felix-and-dataplane/iptables-rules")]
    assert heads == sorted(heads)
    assert lines[heads[0] + 1].startswith("  bgp-session-down (explained by foreign-drop-rule): ")
    many = text(made(*(leak(i) for i in range(30))), guide=order())
    assert len(many) <= SCREEN
    shown = sum(line.startswith("warning") for line in many)
    assert f"  {30 - shown} more findings: {30 - shown} × ipam-leak (--all shows them)" in many

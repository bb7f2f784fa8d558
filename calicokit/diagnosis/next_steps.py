"""What an answer rests on, and what to do next: sentences at the end of every notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calicokit.sentences import Says, plural

if TYPE_CHECKING:
    from calicokit.diagnosis.findings import Findings
    from calicokit.evidence.model import Coverage

NOTEBOOKS = {
    "calico-health-check": "11-logs",
    "ipam-and-ip-pool-management": "01-ipam",
    "node-connectivity-issues": "02-node-connectivity",
    "bgp-configuration": "03-bgp-topology",
    "network-policy-debugging": "04-network-policy",
    "felix-and-dataplane": "06-dataplane",
    "performance-and-scaling": "07-felix-metrics",
}
"""Chapter of the guide → the notebook that serves it."""


def seen(coverage: Coverage) -> Says:
    """Evidence used, and evidence missing."""
    had = plural(len(coverage.seen), "piece", "pieces") + " of evidence seen"
    if not coverage.missing:
        return Says(f"{had}; nothing is missing.")
    missing = "\n".join(f"– {m}" for m in coverage.missing[:20])
    more = f"\n… and {len(coverage.missing) - 20} more" if len(coverage.missing) > 20 else ""
    return Says(f"{had}. Missing, so what depends on it is unknown:\n{missing}{more}")


def what_next(findings: Findings) -> Says:
    """What to do first, and which notebook to continue with."""
    if all(f.severity == "info" for f in findings):
        more = "Open 01-ipam for the state of IPAM, 04-network-policy for allowed traffic."
        return Says(f"{findings.verdict()} {more}")
    first = findings[0]
    notebook = NOTEBOOKS.get(first.guide_step.partition("/")[0])
    there = f" It is shown in {notebook}." if notebook else ""
    return Says(f"First: {first.cause} Do: {first.remedy}{there}")

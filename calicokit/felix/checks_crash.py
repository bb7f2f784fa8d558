"""The check of a Felix that ends by a fault of its own. What the finding is called: diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.diagnosis.model import Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always, of_calico_node, seen_on
from calicokit.schema import records

LONGEST = 300


@check("felix-crashing", needs={"crashes": "felix.crashes"}, wants={"state": "felix.state"})
def crashing(crashes: pd.DataFrame, state: pd.DataFrame | None = None) -> Iterator[Finding]:
    """A node whose Felix ends by a PANIC or FATAL of its own, and is not known to have come back for good."""
    ready = set() if state is None else set(state[state["state"] == "ready"]["node"])
    for row in records(crashes[crashes["open"]]):
        if row.times == 1 and row.node in ready:
            continue  # its port says now that it is in sync: what the log told is past
        often = f"{row.times} times, last" if row.times > 1 else "once,"
        error = f" ({_short(row.error)})" if isinstance(row.error, str) else ""
        means = f" It means: {row.means}." if isinstance(row.means, str) else ""
        yield finding(
            "felix-crashing",
            subject={"node": row.node, "why": row.why},
            cause=f"Felix on {row.node} ended by a fault of its own {often} at {row.last:%H:%M:%S} UTC: "
            f"{_short(row.message)}{error}.{means} While it is away, the node enforces what was last programmed.",
            remedy=row.remedy,
            evidence=[Rows.of(row.log, "felix.crashes", [{"node": row.node}], row.node)],
            about={row.node, row.why},
        )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return (words if len(words) <= LONGEST else f"{words[:LONGEST]}…").rstrip(".")


# ---- what explains what


for _effect in (
    *("felix-dead", "felix-not-ready", "felix-slow", "felix-resyncing", "dataplane-stale", "log-error-burst"),
    "dataplane-program-failing",
):
    explains("felix-crashing", _effect, on="node")(always)
for _effect in ("calico-pod-not-ready", "calico-pod-restarting"):
    explains("felix-crashing", _effect, on="node", of=seen_on)(of_calico_node)


@explains("rp-filter-loose", "felix-crashing", on="node")
def _says_so(cause: Finding, effect: Finding) -> bool:
    return "RPF" in effect.cause


@explains("crd-or-rbac-missing", "felix-crashing")
def _cannot_read(cause: Finding, effect: Finding) -> bool:
    """A kind that is missing where it cannot read its configuration."""
    return "could not find the requested resource" in effect.cause or "is forbidden" in effect.cause

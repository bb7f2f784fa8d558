"""The check of the logs: an error that goes on and that nothing else explains."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always
from calicokit.logs.lines import LOGS
from calicokit.schema import records

OF_COMPONENT = {component: id_ for id_, component in reversed(LOGS.items())}
"""Component → its log; of several the first, which is that of the run that goes on."""
LONGEST = 300


@check("log-error-burst", needs={"bursts": "logs.bursts"})
def log_error_burst(bursts: pd.DataFrame) -> Iterator[Finding]:
    """One finding for each error that still repeats; info where another finding is about just that."""
    going = bursts[bursts["still"].fillna(False) & ~bursts["kind"].isin(["harmless", "event"])]
    for row in records(going):
        known = f" It means: {row.means}" if isinstance(row.means, str) else ""
        named = isinstance(row.finding, str)
        where = f" on {row.node}" if isinstance(row.node, str) else ""
        yield finding(
            "log-error-burst",
            severity="info" if named else "",
            subject={"node": row.node if isinstance(row.node, str) else UNKNOWN, "component": row.component},
            cause=f"{row.component}{where} has logged this {row.level} {row.count} times since {_clock(row.first)}, "
            f"last at {_clock(row.last)}, and still repeats it: {_short(row.example)}.{known}"
            + (f" See finding {row.finding} for this cause." if named else ""),
            remedy=f"Read the surrounding lines: calicokit table SOURCE logs.lines, component {row.component}, "
            f"pattern {row.pattern}.",
            evidence=[
                Rows.of(
                    OF_COMPONENT[row.component],
                    "logs.bursts",
                    [{"evidence": row.evidence, "pattern": row.pattern}],
                    row.node if isinstance(row.node, str) else None,
                )
            ],
        )


def _clock(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _short(line: str) -> str:
    text = " ".join(line.split())
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}…").rstrip(".")


OF_FELIX, OF_BGP = ("felix",), ("confd", "bird")
EXPLAINED = {
    **dict.fromkeys(("felix-dead", "felix-not-ready", "dataplane-program-failing", "rp-filter-loose"), OF_FELIX),
    **dict.fromkeys(("bird-dead", "bgp-config-stale"), OF_BGP),
    **dict.fromkeys(("datastore-unreachable", "node-address-wrong", "nodename-mismatch"), tuple(LOGS.values())),
    "cni-unauthorized": ("cni",),
}
"""Finding of a node → the components whose errors there it explains."""


def _there(cause: Finding, effect: Finding) -> bool:
    return effect.subject["component"] in EXPLAINED[cause.id]


for _cause in EXPLAINED:
    explains(_cause, "log-error-burst", on="node")(_there)
for _cause in ("datastore-not-ready", "crd-or-rbac-missing", "typha-down"):
    explains(_cause, "log-error-burst")(always)

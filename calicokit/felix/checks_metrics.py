"""Checks of how fast Felix and Typha are. Words: diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.schema import cells

EVIDENCE_OF = {
    "felix.apply_times": "felix-metrics",
    "felix.loops": "felix-log",
    "felix.typha_load": "typha-metrics",
    "felix.typha_clients": "typha-metrics",
    "felix.typha_events": "typha-log",
}
"""Table in which a sign stands → the evidence that it was read from."""


@check("felix-slow", needs={"slow": "felix.slow"})
def felix_slow(slow: pd.DataFrame) -> Iterator[Finding]:
    """A node whose Felix lags: new pods and policies are programmed late there."""
    for node, signs in slow.groupby("node", sort=False):
        yield finding(
            "felix-slow",
            subject={"node": str(node)},
            cause=f"Felix on {node} is slow: {'; '.join(signs['says'])}. Changes are programmed late on this node.",
            remedy="Check what an update does (felix.loops), whether the node has CPU time for it "
            "(felix.apply_times: exec_p90; felix.resources), the number of rules and selectors compared with other "
            "nodes (felix.activity), and debugSimulateDataplaneApplyDelay in FelixConfiguration.",
            evidence=[
                Rows.of(EVIDENCE_OF[name], name, [{"node": node}], str(node)) for name in dict.fromkeys(signs["table"])
            ],
            about={str(node)},
        )


@check("typha-overloaded", needs={"overload": "felix.typha_overload"}, wants={"pods": "health.pods"})
def typha_overloaded(overload: pd.DataFrame, pods: pd.DataFrame | None = None) -> Iterator[Finding]:
    """A Typha that drops or limits its clients."""
    home = {} if pods is None else {pod: f"{namespace}/{pod}" for namespace, pod in cells(pods, "namespace", "pod")}
    for pod, signs in overload.groupby("pod", sort=False, dropna=False):
        name = home.get(pod, pod) if isinstance(pod, str) else UNKNOWN
        yield finding(
            "typha-overloaded",
            subject={"pod": name},
            cause=f"Typha {name} is overloaded: {'; '.join(signs['says'])}.",
            remedy="Add replicas (one per 100 to 200 nodes, at least three), give it more CPU, and check "
            "TYPHA_MAXCONNECTIONSLOWERLIMIT, TYPHA_MAXCONNECTIONSUPPERLIMIT and TYPHA_SERVERMAXFALLBEHINDSECS of its "
            "Deployment.",
            evidence=[
                Rows.of(
                    EVIDENCE_OF[name], name, [{"pod": pod, "sign": s} for s in signs["sign"][signs["table"] == name]]
                )
                for name in dict.fromkeys(signs["table"])
            ],
            about={name, *signs["sign"]},
        )


@explains("felix-slow", "typha-overloaded")
def _held_up(_: Finding, effect: Finding) -> bool:
    """A Felix that lags takes nothing from Typha, which then sees a slow client; it closes none for being too many."""
    return "limited" not in effect.about

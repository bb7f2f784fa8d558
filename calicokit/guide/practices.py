"""The guide's ten best practices for one cluster, each judged by numbers; what nobody can see of it is unknown.

Sources of the limits: ``scaling.size`` and docs/scaling.md; :func:`~calicokit.felix.checks.needed_typhas`; Calico's
SECURITY.md (support of the two newest minor versions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.diagnosis.findings import Findings
from calicokit.evidence.image import minor_of
from calicokit.felix.checks import needed_typhas
from calicokit.guide.judge import FINE, NOT_NEEDED, UNKNOWN, WRONG, Judge, Judgement
from calicokit.guide.page import PRACTICES as PATH
from calicokit.guide.page import rows_of
from calicokit.guide.tables import OF_JUDGE, judge_of, numbered, row_of
from calicokit.registry import Given, table
from calicokit.schema import cells
from calicokit.sentences import number, plural, share

PRACTICES = numbered(
    "guide.practices", "The guide's ten Best Practices for this cluster, judged by numbers.", "practice"
)
NEWEST = 33
"""The newest minor version of Calico 3 that was released when this version of the kit was."""
SUPPORTED = 2
"""How many minor versions Calico supports: the newest ones (SECURITY.md)."""
NEARLY_FULL = 0.85
"""The share of a pool from which ipam-nearly-exhausted is told."""

OF_NUMBERS = {
    "size": "scaling.size",
    "utilisation": "ipam.utilisation",
    "overlaps": "ipam.pool_overlaps",
    "wireguard": "routes.wireguard",
    "policies": "policy.policies",
    "tiers": "policy.tiers",
    "versions": "health.versions",
    "pods": "health.pods",
    "scrapes": "felix.scrapes",
    "mesh": "bgp.configuration",
}
"""Fields of :class:`Numbers` → the tables they get."""


@dataclass(frozen=True)
class Numbers:
    """What the practices are judged by; a table is None where it is unknown."""

    judge: Judge
    size: pd.DataFrame | None
    utilisation: pd.DataFrame | None
    overlaps: pd.DataFrame | None
    wireguard: pd.DataFrame | None
    policies: pd.DataFrame | None
    tiers: pd.DataFrame | None
    versions: pd.DataFrame | None
    pods: pd.DataFrame | None
    scrapes: pd.DataFrame | None
    mesh: pd.DataFrame | None

    def measure(self, name: str) -> float | None:
        """A measure of ``scaling.size``; None where it is not known."""
        found = [] if self.size is None else [v for m, v in cells(self.size, "measure", "value") if m == name]
        return float(found[0]) if found else None

    def wrong(self, *ids: str) -> str:
        """What findings of these ids say; empty where there is none."""
        state, told = self.judge.of_ids(ids)
        return told if state == WRONG else ""


@table(
    PRACTICES,
    needs={"found": "@findings"},
    wants={"of_judge": tuple(OF_JUDGE.values()), "of_numbers": tuple(OF_NUMBERS.values())},
)
def practices(found: Findings, of_judge: Given, of_numbers: Given) -> pd.DataFrame:
    """Ten rows; see :data:`PRACTICES`."""
    numbers = Numbers(judge_of(found, of_judge), *(of_numbers[name] for name in OF_NUMBERS.values()))

    def made() -> Iterator[dict[str, Any]]:
        for place, (row, judged) in enumerate(zip(rows_of(PATH), JUDGED, strict=True), 1):
            said = row_of(row, judged(numbers), numbers.judge, row.named("finding"))
            yield {"practice": place, "guide": row.guide.partition(" ")[2], **said}

    return PRACTICES.frame(list(made()))


def _monitoring(its: Numbers) -> Judgement:
    if told := its.wrong("calico-pod-not-ready", "calico-pod-restarting", "calico-pod-oomkilled", "calico-node-absent"):
        return WRONG, told
    ready = "" if its.pods is None else f"{plural(int(its.pods['ready'].sum()), 'pod')} of Calico's are ready now; "
    return (
        UNKNOWN,
        f"{ready}whether anybody is told when one is not, cannot be seen from here (alert rules: calicokit alerts)",
    )


def typha(its: Numbers) -> Judgement:
    nodes, replicas = its.measure("nodes"), its.measure("typhas")
    if nodes is None or replicas is None:
        return UNKNOWN, "the nodes or Typha's Deployment were not seen"
    wanted = needed_typhas(int(nodes))
    count = f"{plural(int(nodes), 'node')}, {plural(int(replicas), 'replica')} of Typha"
    if told := its.wrong("typha-down", "typha-too-few", "typha-overloaded"):
        return WRONG, f"{count}, {wanted} wanted; {told}"
    if not replicas:
        enough = nodes <= LARGE
        return (NOT_NEEDED if enough else WRONG), f"{count}; from {LARGE} nodes on {wanted} would be wanted"
    return (FINE if replicas >= wanted else WRONG), f"{count}, {wanted} wanted"


LARGE = 50
"""More nodes than these are the guide's "large cluster" for Typha."""


def _pools(its: Numbers) -> Judgement:
    told = its.wrong("ippool-overlap", "ipam-exhausted", "ipam-nearly-exhausted", "nat-outgoing-off")
    if its.overlaps is None or its.utilisation is None:
        return (WRONG, told) if told else (UNKNOWN, "the pools or their blocks were not seen")
    count = f"{plural(len(its.utilisation), 'pool')}, {plural(len(its.overlaps), 'overlap')}"
    return (WRONG, f"{count}; {told}") if told or len(its.overlaps) else (FINE, count)


def _encryption(its: Numbers) -> Judgement:
    if told := its.wrong("wireguard-down"):
        return WRONG, told
    if its.wireguard is None:
        return UNKNOWN, "whether WireGuard is on was not seen"
    if its.wireguard.empty:
        return NOT_NEEDED, "WireGuard is off: pods' traffic between nodes is not encrypted by Calico"
    return FINE, f"WireGuard is on, on {plural(len(its.wireguard), 'node')}"


def _reflectors(its: Numbers) -> Judgement:
    if why := its.judge.spared("bgp"):
        return NOT_NEEDED, why
    if told := its.wrong("rr-not-redundant"):
        return WRONG, told
    if its.judge.nodes is None or its.mesh is None:
        return UNKNOWN, "the nodes or BGPConfiguration were not seen"
    reflectors, sessions = int(its.judge.nodes["cluster_id"].notna().sum()), its.measure("mesh sessions")
    if sessions is None:
        return FINE, f"no full mesh; {plural(reflectors, 'route reflector')}"
    limit = f"{number(sessions)} sessions of the full mesh, advised up to {number(MESH)} (of 100 nodes)"
    return (WRONG, limit) if sessions > MESH else (NOT_NEEDED, limit)


MESH = 4950
"""Sessions of the full mesh of 100 nodes."""


def _organised(its: Numbers) -> Judgement:
    told = its.wrong("policy-selects-nothing", "policy-tier-order", "end-of-tier-drop")
    if its.policies is None or its.tiers is None:
        return (WRONG, told) if told else (UNKNOWN, "policies or tiers were not seen")
    policies, tiers = int((~its.policies["staged"]).sum()), int((its.tiers["policies"] > 0).sum())
    count = f"{plural(policies, 'policy', 'policies')} in {plural(tiers, 'tier')}"
    return (WRONG, f"{count}; {told}") if told else (FINE, f"{count}, none without effect")


def _usage(its: Numbers) -> Judgement:
    told = its.wrong("ipam-exhausted", "ipam-nearly-exhausted", "ipam-leak")
    if its.utilisation is None:
        return (WRONG, told) if told else (UNKNOWN, "the pools or their blocks were not seen")
    used = [(pool, used) for pool, used in cells(its.utilisation, "pool", "used") if pd.notna(used)]
    fullest = max(used, key=lambda u: float(u[1]), default=None)
    count = f"{fullest[0]} is the fullest: {share(fullest[1])} in use" if fullest else "no pool has a capacity"
    return (WRONG, f"{count}; {told}") if told or (fullest and fullest[1] > NEARLY_FULL) else (FINE, count)


def _staged(its: Numbers) -> Judgement:
    if told := its.wrong("staged-policy-would-drop"):
        return WRONG, told
    if its.policies is None:
        return UNKNOWN, "policies were not seen"
    if not (count := int(its.policies["staged"].sum())):
        return UNKNOWN, "no staged policy; whether changes are tried elsewhere first cannot be seen from here"
    return FINE, f"{plural(count, 'staged policy', 'staged policies')}, none would drop what is let through now"


def version(its: Numbers) -> Judgement:
    if told := its.wrong("calico-version-skew"):
        return WRONG, told
    minors = {} if its.versions is None else {v: minor_of(v) for v in its.versions["version"].dropna().unique()}
    known = {v: m for v, m in minors.items() if m is not None}
    if not known:
        return UNKNOWN, "no component names its version"
    oldest = min(known, key=lambda v: known[v])
    behind = NEWEST - known[oldest]
    if behind < SUPPORTED:
        return FINE, f"{oldest}; the newest release known to this calicokit is v3.{NEWEST}"
    return WRONG, (
        f"{oldest} is {behind} minor versions behind v3.{NEWEST}; Calico supports the {SUPPORTED} newest (SECURITY.md)"
    )


def _metrics(its: Numbers) -> Judgement:
    nodes = its.measure("nodes")
    if its.scrapes is None or nodes is None:
        return UNKNOWN, "no metrics were asked for, or none answered"
    answered = set(its.scrapes[its.scrapes["component"] == "felix"]["node"].dropna())
    count = f"Felix's metrics answered on {len(answered)} of {plural(int(nodes), 'node')}"
    return (FINE if len(answered) >= nodes else WRONG), count


JUDGED: tuple[Callable[[Numbers], Judgement], ...] = (
    *(_monitoring, typha, _pools, _encryption, _reflectors),
    *(_organised, _usage, _staged, version, _metrics),
)
"""The practices in the guide's order."""

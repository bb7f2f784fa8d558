"""Reachability between classes of pods, and what a staged policy would change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from calicokit.policy.classes import Flags
from calicokit.policy.explain import Explainer
from calicokit.policy.model import Policy
from calicokit.policy.reach import Reach
from calicokit.policy.tables import KIND, POLICY, POLICY_NAMESPACE, of_policy
from calicokit.registry import model, table
from calicokit.schema import Column, Schema
from calicokit.tables import Tables

MOST_TARGETS = 60
"""Classes that are looked at for an example."""

SOURCE = Column("source", "str", "source class (policy.classes)")
TARGET = Column("target", "str", "destination class")

NEEDED = (
    *("pods", "globalnetworksets", "networksets"),
    *("globalnetworkpolicies", "networkpolicies", "kubernetes-networkpolicies", "tiers", "endpointslices"),
    *("adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"),
)
"""Without one of these, reachability is unknown."""
INHERITED = ("namespaces", "serviceaccounts")
"""The same, where a selector asks for labels of theirs."""

CLASSES = Schema(
    "policy.classes",
    "Classes of pods that policy treats identically: same reachability as source and destination.",
    (
        Column("class", "str", "name: its first workload and the number of further ones"),
        Column("workloads", "list", "its workloads, NAMESPACE/NAME"),
        Column("pods", "int", "pods in it", "pods"),
        Column("example", "str", "one of its pods, NAMESPACE/POD"),
    ),
    key=("class",),
)

REACHABILITY = Schema(
    "policy.reachability",
    "Allowed connections between classes of pods; a missing pair has none.",
    (
        SOURCE,
        TARGET,
        Column("ports", "str", "allowed ports: all, or by protocol; ICMP is tested as echo request"),
        Column("everything", "bool", "all ports of all protocols are allowed"),
    ),
    key=("source", "target"),
)

STAGED_EFFECTS = Schema(
    "policy.staged_effects",
    "What each staged policy would change between pods, if enforced.",
    (
        KIND,
        POLICY_NAMESPACE,
        POLICY,
        SOURCE,
        TARGET,
        Column("lost", "str", "ports allowed now that would be dropped; null for none"),
        Column("gained", "str", "ports dropped now that would be allowed; null for none"),
        Column("pods", "int", "pods of the destination class", "pods"),
    ),
    key=("kind", "policy_namespace", "policy", "source", "target"),
)


@model("policy.reach", wants={"explainer": "policy.model"})
def reach(explainer: Explainer | None) -> Reach | None:
    """Reachability under the policies that are enforced."""
    return None if explainer is None else Reach(explainer.world)


@table(CLASSES, needs={"reach": "policy.reach"}, known=NEEDED)
def classes(reach: Reach) -> pd.DataFrame:
    """One row a class; see :data:`CLASSES`."""
    reach.world.parts.need(*INHERITED)
    return CLASSES.frame(
        {
            "class": name,
            "workloads": sorted({m.workload for m in members}),
            "pods": len(members),
            "example": members[0].ref,
        }
        for name, members in zip(reach.check().names, reach.classes.members, strict=True)
    )


@table(REACHABILITY, needs={"reach": "policy.reach"}, known=NEEDED)
def reachability(reach: Reach) -> pd.DataFrame:
    """One row for each pair of which something is let through; see :data:`REACHABILITY`."""
    reach.world.parts.need(*INHERITED)
    sources, targets, ports = list[str](), list[str](), list[str]()
    names = reach.check().names
    for place, source in enumerate(names):
        rows = reach.from_class(place)
        for other in np.flatnonzero(rows.any(axis=1)).tolist():
            sources.append(source)
            targets.append(names[other])
            ports.append(reach.text(rows[other]))
    whole = [p == "all" for p in ports]
    found: dict[str, list[Any]] = {"source": sources, "target": targets, "ports": ports, "everything": whole}
    return REACHABILITY.frame(found)


@table(
    STAGED_EFFECTS,
    needs={"explainer": "policy.model"},
    known=(
        *("stagedglobalnetworkpolicies", "stagednetworkpolicies", "stagedkubernetesnetworkpolicies"),
        *NEEDED,
    ),
)
def staged_effects(explainer: Explainer) -> pd.DataFrame:
    """One row for each staged policy and pair that it would change; see :data:`STAGED_EFFECTS`."""
    explainer.parts.need(*INHERITED)
    staged = [p for p in explainer.parts.policies if p.staged and not p.problem and p.staged_action == "Set"]
    return STAGED_EFFECTS.frame([row for p in staged for row in _effects(explainer, p)])


def _effects(explainer: Explainer, policy: Policy) -> Iterator[dict[str, Any]]:
    """Both states are computed on the classes that the policy, were it enforced, would make."""
    enforced = list(explainer.parts.enforced())
    trial = replace(policy, staged=False, kind=policy.kind.removeprefix("Staged"))
    replaced = [p for p in enforced if (p.kind, p.namespace, p.name) != trial.key]
    after = Reach(explainer.world, [*replaced, trial]).check()
    before = Reach(explainer.world, enforced, after.classes)
    for place, source in enumerate(after.names):
        was, would = before.from_class(place), after.from_class(place)
        for other in np.flatnonzero((was != would).any(axis=1)).tolist():
            lost, gained = was[other] & ~would[other], would[other] & ~was[other]
            yield {
                **of_policy(policy),
                "source": source,
                "target": after.names[other],
                "lost": after.text(lost) if lost.any() else None,
                "gained": after.text(gained) if gained.any() else None,
                "pods": len(after.classes.members[other]),
            }


# ---- for notebooks: one pod, one question


def who_reaches(cluster: Tables, pod: str) -> pd.DataFrame:
    """The rows of ``policy.reachability`` whose target is the class of this pod (NS/POD); none for what is no pod."""
    pairs, known = cluster.table("policy.reachability"), cluster.table("policy.classes")
    if pairs.unknown or known.unknown:
        return pairs
    reach: Reach = cluster.given("policy.reach")
    mine = [
        n for n, members in zip(reach.names, reach.classes.members, strict=True) if any(m.ref == pod for m in members)
    ]
    return pd.DataFrame(pairs[pairs["target"].isin(mine)])


def question(cluster: Tables, src: str = "", dst: str = "", port: int = 0) -> tuple[str, str, int]:
    """The flow to ask about: the one that is given, else one that shows policy at work.

    That is a connection between two workloads, if possible of one namespace, to a port that the target declares, which
    is denied although the source may reach others and the target is reached by others.
    """
    if src and dst and port:
        return src, dst, port
    if cluster.table("policy.reachability").unknown:
        return "", "", 0
    reach: Reach = cluster.given("policy.reach")
    first = reach.classes.first[:MOST_TARGETS]
    found = [
        (_worth(reach, s, t), -s, -t)
        for t, target in enumerate(first)
        for s in range(len(first))
        if s != t and any(p.protocol == "tcp" for p in target.ports)
    ]
    if not found:  # policy tells no pods apart
        return _any_question(reach)
    _, source, target = max(found)
    port = next(p.port for p in first[-target].ports if p.protocol == "tcp")
    return first[-source].ref, first[-target].ref, port


def _any_question(reach: Reach) -> tuple[str, str, int]:
    """Two pods of different workloads; nothing where there are none."""
    for target in reach.classes.pods:
        port = next((p.port for p in target.ports if p.protocol == "tcp"), 0)
        source = next((s for s in reach.classes.pods if s.workload != target.workload), None)
        if port and source is not None:
            return source.ref, target.ref, port
    return "", "", 0


def _worth(reach: Reach, source: int, target: int) -> int:
    """How much a pair of classes shows."""
    taken: Flags = reach.to_class(target).any(axis=1)  # type: ignore[assignment]  # numpy's stubs lose the shape
    sent = reach.from_class(source)
    ends = reach.classes.first[source], reach.classes.first[target]
    both = 2 * bool(taken.any()) + 2 * bool(sent.any())
    return (5 + both if not bool(taken[source]) else 0) + (ends[0].namespace == ends[1].namespace)

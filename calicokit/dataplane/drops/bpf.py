"""Packets that Calico's eBPF programs dropped, by interface and reason, from their own counters.

A program at ingress sees what comes out of the pod, so that its drops by policy are of the pod's egress (felix/bpf-gpl/
tc.c; recording ebpf-policy-drop: a client's packets count at ingress of its interface). Which rule of policy it was:
bpf_deciders.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.bpf_deciders import POLICY, Decider, Deciders, Denials, Policies, denials
from calicokit.dataplane.drops.bpf_rules import Hit, hits_grown, hits_of
from calicokit.dataplane.rules.policy_programs import HOOKS, Place, direction_of, policy_programs
from calicokit.evidence.texts import Texts
from calicokit.felix.state.modes import seen_with_ebpf
from calicokit.parsers.base import parse
from calicokit.policy.explain import Explainer
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

BPF_DROPS = Schema(
    "dataplane.bpf_drops",
    "Packets that eBPF programs dropped, by interface, reason and direction, and by rule where known.",
    (
        Column("node", "str", "node"),
        Column("interface", "str", "interface"),
        Column("namespace", "str", "namespace of the pod; null if the interface is of no known pod"),
        Column("pod", "str", "pod"),
        Column("workload", "str", "NS/NAME of the pod's owner"),
        Column("reason", "str", "reason in Calico's words: by policy, packets with unknown route, …"),
        Column("direction", "str", "ingress or egress, as the pod sees it; of other interfaces, as the host sees it"),
        Column("hook", "str", "ingress or egress, as the host sees it"),
        Column("decided", "str", "of drops by policy: policy, end-of-tier or no-profile"),
        Column("tier", "str", "tier"),
        Column("kind", "str", "kind of the policy"),
        Column("policy", "str", "policy as the API names it, or end-of-tier TIER; null where that is unknown"),
        Column("policy_rule", "int", "0-based index of the rule"),
        Column("doubt", "str", "why the policy is unknown"),
        Column("packets", "int", "packets since the program was attached; null if only growth was shared", "packets"),
        Column("grown", "int", "packets during sampling; null without samples", "packets"),
        Column("evidence", "str", "where this was read"),
    ),
)
BPF_TIMELINE = Schema(
    "dataplane.bpf_timeline",
    "Packets that eBPF programs dropped per sample.",
    (
        Column("time", "time", "time of the sample"),
        Column("node", "str", "node"),
        Column("interface", "str", "interface"),
        Column("hook", "str", "ingress or egress, as the host sees it"),
        Column("reason", "str", "reason in Calico's words"),
        Column("packets", "int", "packets since the previous sample", "packets"),
    ),
    key=("time", "node", "interface", "hook", "reason"),
)

BY_POLICY = "by policy"
Counter = tuple[str, str, str, str]
"""Node, interface, hook and reason."""


@table(
    BPF_DROPS,
    needs={"endpoints": "dataplane.endpoints"},
    wants={
        "counters": "output.bpf_counters",
        "felix": "felix.configuration",
        "series": "bpf-counters+series",
        "programs": "output.bpf_policy",
        "hits": "bpf-policy+series",
        "model": "policy.model",
    },
)
def bpf_drops(
    endpoints: pd.DataFrame,
    counters: pd.DataFrame | None = None,
    felix: pd.DataFrame | None = None,
    series: Texts | None = None,
    programs: pd.DataFrame | None = None,
    hits: Texts | None = None,
    model: Explainer | None = None,
) -> pd.DataFrame:
    """One row an interface, reason, direction and what decided, with drops; see :data:`BPF_DROPS`."""
    if not seen_with_ebpf(felix, {"output.bpf_counters": counters}) or counters is None:
        return BPF_DROPS.frame()
    whose = {row[:2]: row[2:] for row in cells(endpoints, "node", "interface", "namespace", "pod", "workload")}
    shares = _Shares.of(counters, series, programs, hits, model)
    rows: list[dict[str, Any]] = []
    dropped = counters[counters["category"] == "Dropped"]
    for node, interface, reason, evidence, *counts in cells(dropped, "node", "interface", "type", "evidence", *HOOKS):
        namespace, pod, workload = whose.get((node, interface), (None, None, None))
        for hook, packets in zip(HOOKS, counts, strict=True):
            if pd.isna(packets) or not packets:
                continue
            row = {"node": node, "interface": interface, "namespace": namespace, "pod": pod, "workload": workload}
            row |= {"reason": reason, "hook": hook, "direction": direction_of(interface, hook), "evidence": evidence}
            rows += [row | more for more in shares.of_counter((node, interface, hook, reason), int(packets))]
    return BPF_DROPS.frame(rows)


@table(BPF_TIMELINE, needs={"series": "bpf-counters+series"})
def bpf_timeline(series: Texts) -> pd.DataFrame:
    """One row for each counter of drops that grew at some time, and each sample after the first."""
    rows = [
        {"time": later, "node": node, "interface": interface, "hook": hook, "reason": reason, "packets": _grown(a, b)}
        for (node, interface, hook, reason), counts in _sampled(series).items()
        for (_, a), (later, b) in pairwise(counts)
        if len({n for _, n in counts}) > 1
    ]
    return BPF_TIMELINE.frame(rows)


@dataclass
class _Shares:
    """What was dropped by policy, shared out by what decided: since the beginning, and while it was sampled."""

    grown: Mapping[Counter, int] = field(default_factory=dict)
    total: Deciders | None = None
    sampled: Deciders | None = None

    @classmethod
    def of(
        cls,
        counters: pd.DataFrame,
        series: Texts | None,
        programs: pd.DataFrame | None,
        hits: Texts | None,
        model: Explainer | None,
    ) -> _Shares:
        counts = _sampled(series)
        grown = {c: _grown(n[0][1], n[-1][1]) for c, n in counts.items() if len(n) > 1}
        if programs is None:
            return cls(grown)
        policies = Policies.of(model)
        known = {place: p for place, p in policy_programs(programs).items() if p.known}
        ways = {place: denials(place[0], p, policies) for place, p in known.items()}
        samples = max(map(len, counts.values()), default=0)
        return cls(
            grown,
            _deciders(ways, {k: n for k, n in _dropped(counters) if k[3] == BY_POLICY}, hits_of(programs), 0),
            _deciders(ways, {k: n for k, n in grown.items() if k[3] == BY_POLICY}, hits_grown(hits), samples),
        )

    def of_counter(self, counter: Counter, packets: int) -> Iterator[dict[str, Any]]:
        """Columns of each decider of one counter."""
        grown = self.grown.get(counter)
        place = (counter[0], counter[1], direction_of(*counter[1:3]))
        shares = self.sampled if grown else self.total
        if counter[3] != BY_POLICY:
            yield {"packets": packets, "grown": grown}
            return
        unseen = Decider(POLICY, doubt="policy programs were not seen")
        found = [(unseen, grown or packets)] if shares is None else list(shares.of(place))
        for decider, share in found:
            if grown:
                yield _columns(decider) | {"packets": packets if len(found) == 1 else None, "grown": share}
            else:
                yield _columns(decider) | {"packets": share, "grown": grown}


def _columns(decider: Decider) -> dict[str, Any]:
    return {
        "decided": decider.reason,
        "tier": decider.tier,
        "kind": decider.kind,
        "policy": decider.policy,
        "policy_rule": decider.rule,
        "doubt": decider.doubt or None,
    }


def _deciders(
    ways: Mapping[Place, Denials], lost: Mapping[Counter, int], hits: Mapping[Hit, int], samples: int
) -> Deciders:
    """``samples`` is 0 for totals. Counters and hits of one sample are read one after the other."""
    places = {(node, i, direction_of(i, hook)): n for (node, i, hook, _), n in lost.items() if n}
    return Deciders(ways, places, hits, lambda n: -(-n // (samples - 1)) if samples > 1 else 0)


def _dropped(counters: pd.DataFrame) -> Iterator[tuple[Counter, int]]:
    own = counters[counters["category"] == "Dropped"]
    for node, interface, reason, *counts in cells(own, "node", "interface", "type", *HOOKS):
        yield from (((node, interface, h, reason), int(n)) for h, n in zip(HOOKS, counts, strict=True) if pd.notna(n))


def _sampled(series: Texts | None) -> dict[Counter, list[tuple[Any, int]]]:
    """Counter → the times and values of its samples, in order."""
    found: dict[Counter, list[tuple[Any, int]]] = defaultdict(list)
    for sample in sorted((s for s in series or () if s.time is not None), key=lambda s: str(s.time)):
        frame = parse("bpf-counters", sample.decode()).frame
        for counter, packets in _dropped(frame.assign(node=str(sample.node))):
            found[counter].append((sample.time, packets))
    return found


def _grown(before: int, after: int) -> int:
    """What a counter grew by; one that was made anew counts from 0."""
    return after - before if after >= before else after

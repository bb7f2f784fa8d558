"""Rules of policy programs with their hits, by node: ``-bpf policy dump`` counts them so (parsers/bpf_policy.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.rules.policy_programs import Place, ProgramRule, RuleId, policy_programs
from calicokit.evidence.texts import Texts
from calicokit.felix.state.modes import seen_with_ebpf
from calicokit.parsers.base import parse
from calicokit.registry import table
from calicokit.schema import Column, Schema

BPF_RULES = Schema(
    "dataplane.bpf_rules",
    "Rules of eBPF policy programs on each node, those that matched most first.",
    (
        Column("node", "str", "node"),
        Column("direction", "str", "ingress or egress, as the endpoint sees it; xdp for untracked policy"),
        Column("tier", "str", "tier; null for a profile"),
        Column("kind", "str", "kind of the policy, or Profile; null in versions that print none"),
        Column("policy", "str", "policy as Felix names it, or profile"),
        Column("rule", "int", "0-based index of the rule"),
        Column("action", "str", "allow, deny, pass, next-tier or log; hits of log are not counted"),
        Column("match", "str", "match as printed, of the first interface"),
        Column("interfaces", "list", "interfaces whose programs have it"),
        Column("packets", "int", "packets that matched on this node, on any interface", "packets"),
        Column("grown", "int", "packets during sampling; null without samples", "packets"),
    ),
)

Hit = tuple[str, RuleId]
"""A node and a rule of its programs."""


@table(
    BPF_RULES,
    wants={"programs": "output.bpf_policy", "series": "bpf-policy+series", "felix": "felix.configuration"},
)
def bpf_rules(
    programs: pd.DataFrame | None = None, series: Texts | None = None, felix: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row a node and rule; see :data:`BPF_RULES`. None where no node runs eBPF."""
    if not seen_with_ebpf(felix, {"output.bpf_policy": programs}) or programs is None:
        return BPF_RULES.frame()
    grown = hits_grown(series)
    found: dict[Hit, dict[str, Any]] = {}
    for (node, interface, _), rule in _rules(programs):
        key = (node, rule.id)
        row = found.setdefault(key, {"node": node, "match": rule.match, "interfaces": []})
        row |= {"direction": rule.id.direction, "tier": rule.tier, "kind": rule.id.kind or None, "policy": rule.policy}
        row |= {"rule": rule.id.rule, "action": rule.action, "packets": rule.packets, "grown": grown.get(key)}
        row["interfaces"].append(interface)
    made = BPF_RULES.frame(list(found.values()))
    return BPF_RULES.take(made.sort_values(["grown", "packets"], ascending=False, kind="stable"))


def _rules(programs: pd.DataFrame) -> Iterator[tuple[Place, ProgramRule]]:
    for place, program in policy_programs(programs).items():
        yield from ((place, rule) for rule in program.rules)


def hits_of(programs: pd.DataFrame) -> dict[Hit, int]:
    """Node and rule → its hits; a rule without a count is left out."""
    return {(p[0], rule.id): rule.packets for p, rule in _rules(programs) if rule.packets is not None}


def hits_grown(series: Texts | None) -> dict[Hit, int]:
    """Node and rule → its hits from the first to the last sample; a rule that was made meanwhile counts from 0."""
    samples = sorted((s for s in series or () if s.time is not None), key=lambda s: str(s.time))
    counts: dict[Hit, list[int]] = defaultdict(list)
    begun: set[str] = set()
    for sample in samples:
        node = str(sample.node)
        frame = parse("bpf-policy", sample.decode()).frame
        for key, packets in hits_of(frame.assign(node=node)).items():
            if node in begun and key not in counts:
                counts[key].append(0)
            counts[key].append(packets)
        begun.add(node)
    return {key: n[-1] - n[0] if n[-1] >= n[0] else n[-1] for key, n in counts.items() if len(n) > 1}

"""Policy programs of eBPF mode beside what policies ask for, as ``-bpf policy dump`` shows them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.dataplane.programmed.comparison import Named, compared, expected_verdicts, listed_or_none
from calicokit.dataplane.rules.policy_programs import Place, Program, plain
from calicokit.policy.model import DIRECTIONS, Policy
from calicokit.schema import cells

NOT_COMPARED = "not-compared"
FORM = "program"

Pod = tuple[str, str, str, list[str]]
"""Node, namespace, pod, and the interfaces that it may have."""


@dataclass
class Asked:
    """What resources ask for, by plain names; ``names`` gives the API's. ``hosts`` is what applies to a node's host."""

    pods: Mapping[tuple[str, str, str], Sequence[Named]]
    hosts: Mapping[str, set[Named]]
    names: Mapping[Named, Named]
    verdicts: Mapping[tuple[Named, str], list[str]]
    unlisted: frozenset[str]
    """Kinds of policies that were not listed: whether they apply is not known."""

    @classmethod
    def read(cls, applied: pd.DataFrame, policies: Iterable[Policy], unlisted: frozenset[str] = frozenset()) -> Asked:
        """From ``policy.applied`` and the policies themselves."""
        pods: dict[tuple[str, str, str], list[Named]] = defaultdict(list)
        hosts: dict[str, set[Named]] = defaultdict(set)
        names: dict[Named, Named] = {}
        own = applied[~applied["staged"]].sort_values("place")
        columns = ("node", "namespace", "pod", "direction", "tier", "kind", "policy_namespace", "policy")
        for node, namespace, pod, direction, tier, kind, of, policy in cells(own, *columns):
            said = (kind, f"{of}/{policy}" if isinstance(of, str) else policy)
            name = plain(*said, tier)
            names[name] = said
            if isinstance(namespace, str):
                pods[namespace, pod, direction].append(name)
            else:
                hosts[node].add(name)
        should: dict[tuple[Named, str], list[str]] = {
            (plain(p.kind, p.ref, p.tier), direction): verdicts
            for p in policies
            for direction in DIRECTIONS
            if not p.staged and (verdicts := expected_verdicts(p, direction)) is not None
        }
        return cls(pods, hosts, names, should, unlisted)

    def of(self, base: Mapping[str, Any]) -> Sequence[Named]:
        """The policies that apply to a pod in a direction, in order."""
        return self.pods.get((base["namespace"], base["pod"], base["direction"]), ())

    def shown(self, name: Named) -> Named:
        return self.names.get(name, name)


def differences(
    programs: Mapping[Place, Program], asked: Asked, pods: Iterable[Pod], nodes: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """Rows of ``dataplane.differences`` for the nodes in eBPF mode."""
    seen = {node for node, _, _ in programs}
    contents: dict[tuple[str, str, Named], list[dict[str, Any] | None]] = defaultdict(list)
    yield from ({"node": node, "difference": NOT_COMPARED} for node in sorted(set(nodes) - seen))
    for node, namespace, pod, interfaces in pods:
        for direction in DIRECTIONS if node in seen else ():
            base = {"node": node, "namespace": namespace, "pod": pod, "direction": direction, "form": FORM}
            own = next((p for i in interfaces if (p := programs.get((node, i, direction)))), None)
            if own is not None and own.error:
                yield base | {"difference": "not-loaded", "programmed": own.error}
            elif own is None or not own.known:
                yield base | {"difference": NOT_COMPARED}
            else:
                yield from _order(base, own, asked)
                for name, row in _contents(base, own, asked):
                    contents[node, direction, name].append(row)
    for (node, *_), rows in contents.items():
        wrong = [row for row in rows if row is not None]
        if wrong:  # of all programs of a node, as Felix has one policy for them; or a dump has lost a line
            yield wrong[0] if len(wrong) == len(rows) else {"node": node, "difference": NOT_COMPARED}


def _order(base: dict[str, Any], program: Program, asked: Asked) -> Iterator[dict[str, Any]]:
    should = asked.of(base)
    passed_over = asked.hosts.get(base["node"], set())
    named = [p for stage in program.tiers for p in stage.policies if p[0] not in asked.unlisted]
    there = [p for p in named if p in should or p not in passed_over]
    last = {p: i for i, p in enumerate(there)}  # a pod's own tiers come after those of the host endpoint
    shown = [(asked.shown(p), "") for i, p in enumerate(there) if last[p] == i]
    yield from compared(base, shown, [asked.shown(p) for p in should])


def _contents(base: dict[str, Any], program: Program, asked: Asked) -> Iterator[tuple[Named, dict[str, Any] | None]]:
    """Each policy of a program, with a row where its rules do something else than the policy's rules."""
    own = {name: stage for stage in program.tiers for name in stage.policies if name in asked.of(base)}
    for name, stage in own.items():
        there = [r.action.replace("next-tier", "pass") for r in stage.rules if r.id[1:3] == name]
        should = asked.verdicts.get((name, base["direction"]))
        if should is None or should == there:
            yield name, None
            continue
        kind, policy = asked.shown(name)
        row = {k: base[k] for k in ("node", "direction", "form")} | {"difference": "rules", "kind": kind}
        yield (
            name,
            row | {"policy": policy, "programmed": listed_or_none(there), "asked": listed_or_none(should)},
        )

"""Policy programs of eBPF mode, ready to be compared, counted and walked: tiers, policies and rules in their order.

In the place of a staged policy, and of one that Felix does not know, stands an empty one. Programs of pods begin with
the tiers of the host endpoint of all interfaces, if there is one (``extractTiers``, ``addHostPolicy`` in
felix/dataplane/linux/bpf_ep_mgr.go, v3.34-dev).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from calicokit.dataplane.rules.naming import stored_name
from calicokit.policy.model import Policy
from calicokit.routes.kernel import is_workload
from calicokit.schema import cells

HOOKS = ("ingress", "egress")
SPACE = ("inet", "bpf", "programs")
"""Family, backend and table of what programs do, which see both IP versions; the chain is INTERFACE HOOK."""
OF_CALICO = ("GlobalNetworkPolicy", "NetworkPolicy")
"""Kinds whose names have their tier's name in front in Felix, whether they have it in the API or not."""


class RuleId(NamedTuple):
    """A rule of a node's programs: direction as the endpoint sees it, kind and plain name of its policy, and index."""

    direction: str
    kind: str
    policy: str
    rule: int


@dataclass(frozen=True, slots=True)
class ProgramRule:
    """A rule as it is printed; ``policy`` is the name that Felix prints, ``tier`` is None for a profile's."""

    id: RuleId
    policy: str
    tier: str | None
    action: str
    match: str | None
    packets: int | None


@dataclass
class Stage:
    """A tier, or the profiles (no ``tier``): its policies, their rules, and what its end does.

    ``end`` is deny or pass, empty where it is not printed.
    """

    tier: str | None
    policies: list[tuple[str, str]] = field(default_factory=list)
    """Kind and name without the tier's."""
    rules: list[ProgramRule] = field(default_factory=list)
    end: str = ""


@dataclass
class Program:
    """What one policy program asks. ``error`` says why it was not loaded.

    ``known`` is false where it was not read whole.
    """

    stages: list[Stage] = field(default_factory=list)
    error: str = ""
    known: bool = True

    @property
    def tiers(self) -> list[Stage]:
        return [s for s in self.stages if s.tier is not None]

    @property
    def rules(self) -> Iterator[ProgramRule]:
        return (r for s in self.stages for r in s.rules)


Place = tuple[str, str, str]
"""Node, interface and direction as the endpoint sees it (xdp for what comes before all)."""


def direction_of(interface: str, hook: str) -> str:
    """The direction as the endpoint sees it: a pod's own packets come in at its interface's ingress.

    >>> direction_of("cali7de0b711f16", "ingress"), direction_of("eth0", "ingress")
    ('egress', 'ingress')
    """
    return HOOKS[1 - HOOKS.index(hook)] if hook in HOOKS and is_workload(interface) else hook


def plain(kind: str, ref: str, tier: str) -> tuple[str, str]:
    """A policy's kind, and its name without its tier's, which some versions put in front.

    >>> plain("NetworkPolicy", "shop/default.allow", "default")
    ('NetworkPolicy', 'shop/allow')
    """
    if kind not in OF_CALICO:
        return kind, ref
    namespace, slash, name = ref.rpartition("/")
    return kind, f"{namespace}{slash}{name.removeprefix(f'{tier}.')}"


def api_names(policies: Iterable[Policy]) -> dict[tuple[str, str], str]:
    """Kind and plain name of each policy → its name as the API has it."""
    return {plain(p.kind, p.ref, p.tier): p.ref for p in policies}


def policy_programs(frame: pd.DataFrame) -> dict[Place, Program]:
    """The programs of ``output.bpf_policy``."""
    found: dict[Place, Program] = {}
    columns = ("node", "interface", "hook", "step", "tier", "kind", "policy", "rule", "action", "match", "packets")
    for row in cells(frame, *columns, "error", "whole"):
        node, interface, hook, step, *rest, error, whole = row
        if not isinstance(interface, str) or not isinstance(hook, str):
            continue  # of a text that begins inside a program
        place = (node, interface, direction_of(interface, hook))
        if step == "program":
            found[place] = Program(error=error if isinstance(error, str) else "", known=bool(whole))
        _read(found.setdefault(place, Program(known=False)), place[2], step, *rest)
    for (_, interface, _), program in found.items():
        if is_workload(interface) and (not program.stages or program.stages[-1].tier is not None):
            program.known = False  # each pod has its namespace's profile, which comes last
    return found


def _read(
    program: Program,
    direction: str,
    step: str,
    tier: str | None,
    kind: str | None,
    policy: str | None,
    rule: int,
    action: str,
    match: str | None,
    packets: int,
) -> None:
    if step == "program":
        return
    tier, kind, policy, match = (value if isinstance(value, str) else None for value in (tier, kind, policy, match))
    stages = program.stages
    if not stages or stages[-1].tier != tier or (tier is not None and stages[-1].end):
        stages.append(Stage(tier))
    if step == "end-of-tier":
        stages[-1].end = action if isinstance(action, str) else ""
    elif step == "policy":
        stages[-1].policies += [_named(kind, policy, tier)] if policy is not None else []
    elif policy is not None or tier is None:
        count = None if pd.isna(packets) else int(packets)
        name = _named(kind, policy or "", tier)
        made = ProgramRule(RuleId(direction, *name, int(rule)), policy or "a profile", tier, str(action), match, count)
        stages[-1].rules.append(made)


def _named(kind: str | None, policy: str, tier: str | None) -> tuple[str, str]:
    """Kind and plain name; up to v3.31 no kind is printed, and the stored name tells it."""
    if kind is None:
        stored = stored_name(policy)
        kind, policy = stored.kind, stored.ref
    return plain(kind, policy, tier or "")

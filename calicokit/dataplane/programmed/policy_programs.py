"""Policy programs of eBPF mode beside what policies ask for, as ``-bpf policy dump`` shows them.

A policy program has the tiers of its endpoint with their policies in order; in the place of a staged policy, and of one
that Felix does not know, stands an empty one. Programs of pods begin with the tiers of the host endpoint of all
interfaces, if there is one (``extractTiers``, ``addHostPolicy`` in felix/dataplane/linux/bpf_ep_mgr.go, v3.34-dev).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.dataplane.programmed.comparison import Named, compared, listed_or_none
from calicokit.policy.model import Policy
from calicokit.schema import cells

Program = tuple[str, str, str]
"""Node, interface and hook."""

HOOKS = {"ingress": "egress", "egress": "ingress"}
"""Direction as the pod sees it → the hook of its interface at which its program is."""

OF_CALICO = ("GlobalNetworkPolicy", "NetworkPolicy")
"""Kinds whose names had their tier's name in front in Felix, and not in the API, up to v3.31."""


def plain(kind: str, ref: str, tier: str) -> Named:
    """A policy's name without its tier's, which some versions put in front.

    >>> plain("NetworkPolicy", "shop/default.allow", "default")
    ('NetworkPolicy', 'shop/allow')
    """
    if kind not in OF_CALICO:
        return kind, ref
    namespace, slash, name = ref.rpartition("/")
    return kind, f"{namespace}{slash}{name.removeprefix(f'{tier}.')}"


@dataclass
class Content:
    """What one program asks: its policies in order, each with its rules' actions; why it was not loaded."""

    policies: list[Named] = field(default_factory=list)
    actions: dict[Named, list[str]] = field(default_factory=dict)
    error: str = ""
    known: bool = True
    """Whether it was read whole, in a layout that names kinds."""


def programs_of(frame: pd.DataFrame) -> dict[Program, Content]:
    """The programs of ``output.bpf_policy``."""
    found: dict[Program, Content] = {}
    columns = ("node", "interface", "hook", "step", "tier", "kind", "policy", "action", "error", "whole")
    for node, interface, hook, step, tier, kind, policy, action, error, whole in cells(frame, *columns):
        place = (node, interface, hook)
        if step == "program":
            found[place] = Content(error=error if isinstance(error, str) else "", known=bool(whole))
        program = found.setdefault(place, Content(known=False))
        if not isinstance(tier, str) or not isinstance(policy, str):
            continue
        if not isinstance(kind, str):
            program.known = False
            continue
        name = plain(kind, policy, tier)
        if step == "policy":
            program.policies.append(name)
            program.actions[name] = []
        elif step == "rule" and name in program.actions:
            program.actions[name].append(str(action).replace("next-tier", "pass"))
    return found


@dataclass
class Asked:
    """What resources ask for, and how policies are called there."""

    of_pods: Mapping[tuple[str, str, str], Sequence[Named]]
    of_hosts: Mapping[str, set[Named]]
    names: Mapping[Named, Named]
    verdicts: Mapping[tuple[Named, str], list[str] | None]
    unlisted: frozenset[str]
    """Kinds of policies that were not listed: whether they apply is not known."""

    @classmethod
    def of(cls, applied: pd.DataFrame, policies: Iterable[Policy], verdicts: Any, unlisted: frozenset[str]) -> Asked:
        """From ``policy.applied`` and the policies; ``verdicts`` tells what a policy's rules decide in a direction."""
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
        should = {
            (plain(p.kind, p.ref, p.tier), direction): verdicts(p, direction)
            for p in policies
            for direction in HOOKS
            if not p.staged
        }
        return cls(pods, hosts, names, should, unlisted)

    def shown(self, name: Named) -> Named:
        return self.names.get(name, name)


Pod = tuple[str, str, str, list[str]]
"""Node, namespace, pod, and the interfaces that it may have."""

NOT_COMPARED = "not-compared"
FORM = "program"


def differences(
    programs: Mapping[Program, Content], asked: Asked, pods: Iterable[Pod], nodes: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """Rows of ``dataplane.differences`` for the nodes in eBPF mode."""
    seen = {node for node, _, _ in programs}
    contents: dict[tuple[str, str, Named], dict[str, Any]] = {}
    yield from ({"node": node, "difference": NOT_COMPARED} for node in sorted(set(nodes) - seen))
    for node, namespace, pod, interfaces in pods:
        if node not in seen:
            continue
        for direction, hook in HOOKS.items():
            base = {"node": node, "namespace": namespace, "pod": pod, "direction": direction}
            base["form"] = FORM
            own = next((p for i in interfaces if (p := programs.get((node, i, hook)))), None)
            if own is not None and own.error:
                yield base | {"difference": "not-loaded", "programmed": own.error}
            elif own is None or not own.known:
                yield base | {"difference": NOT_COMPARED}
            else:
                yield from _order(base, own, asked)
                for row in _contents(base, own, asked):
                    contents.setdefault((node, direction, (row["kind"], row["policy"])), row)
    yield from contents.values()


def _order(base: dict[str, Any], program: Content, asked: Asked) -> Iterator[dict[str, Any]]:
    should = asked.of_pods.get((base["namespace"], base["pod"], base["direction"]), ())
    passed_over = asked.of_hosts.get(base["node"], set())
    there = [p for p in program.policies if p[0] not in asked.unlisted and (p in should or p not in passed_over)]
    last = {p: i for i, p in enumerate(there)}  # a pod's own tiers come after those of the host endpoint
    shown = [(asked.shown(p), "") for i, p in enumerate(there) if last[p] == i]
    yield from compared(base, shown, [asked.shown(p) for p in should])


def _contents(base: dict[str, Any], program: Content, asked: Asked) -> Iterator[dict[str, Any]]:
    """The policies whose rules in the program do something else than the policy's rules."""
    for name, there in program.actions.items():
        should = asked.verdicts.get((name, base["direction"]))
        if should is not None and should != there:
            kind, policy = asked.shown(name)
            yield {
                **{k: base[k] for k in ("node", "direction", "form")},
                "difference": "rules",
                "kind": kind,
                "policy": policy,
                "programmed": listed_or_none(there),
                "asked": listed_or_none(should),
            }

"""Policies without effect: selectors that match nothing, and policies shadowed by an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from calicokit.policy.classes import Flags, Groups, keys_of, readable, selectors_of
from calicokit.policy.decide import place_of
from calicokit.policy.explain import Explainer
from calicokit.policy.model import (
    DIRECTIONS,
    NAMESPACE,
    ORCHESTRATOR,
    Direction,
    Endpoint,
    Parts,
    Policy,
    Rule,
)
from calicokit.policy.tables import KIND, KINDS, POLICY, POLICY_NAMESPACE, STAGED, TIER, applies_to, of_policy
from calicokit.registry import table
from calicokit.schema import Column, Schema
from calicokit.selectors import one_edit_away, parse

MATCHED = ("pods", "hostendpoints", "globalnetworksets", "networksets")
"""What selectors are matched with."""

IDLE_SELECTORS = Schema(
    "policy.idle_selectors",
    "Policy and rule selectors that match nothing: no pod (running or not), host endpoint or network set.",
    (
        KIND,
        POLICY_NAMESPACE,
        POLICY,
        STAGED,
        Column("where", "str", "the policy's own selector, or direction, rule and side: `ingress rule 0, source`"),
        Column("selector", "str", "the whole selector, as Felix has it"),
        Column("instead", "str", "one-edit correction that would match: WAS → INSTEAD; null if none"),
        Column("would_match", "list", "what it would match then (first few)"),
    ),
    key=("kind", "policy_namespace", "policy", "where"),
)

SHADOWED = Schema(
    "policy.shadowed",
    "Shadowed policies: for every endpoint they select, an earlier policy always decides.",
    (
        TIER,
        KIND,
        POLICY_NAMESPACE,
        POLICY,
        Column("because", "str", "what decides earlier"),
        Column("endpoints", "int", "endpoints that it selects", "endpoints"),
    ),
    key=("kind", "policy_namespace", "policy"),
)


# ---- selectors that match nothing


FEW = 20
"""So many names of what a selector would match are kept."""


class _Matchable:
    """Everything that a selector can match, in groups of the labels that selectors mention."""

    def __init__(self, parts: Parts, selectors: Iterable[str]) -> None:
        every = [*parts.endpoints, *(i.endpoint for i in parts.idle.values())]
        self.names = [(f"host endpoint {e.name}" if e.host else e.ref) for e in every]
        self.names += [f"network set {f'{s.namespace}/' if s.namespace else ''}{s.name}" for s in parts.sets]
        labels = [e.labels for e in every] + [s.labels for s in parts.sets]
        self.groups = Groups(labels, keys_of(selectors) | {k for m in labels for k in m})
        count = len(self.groups.labels)
        self.pods, self.hosts, self.sets = (np.zeros(count, dtype=bool) for _ in range(3))
        for i, group in enumerate(self.groups.of):
            kind = self.sets if i >= len(every) else self.hosts if every[i].host else self.pods
            kind[group] = True

    @cached_property
    def values(self) -> dict[str, set[str]]:
        """The values of each label."""
        found: dict[str, set[str]] = {}
        for labels in self.groups.labels:
            for key, value in labels.items():
                found.setdefault(key, set()).add(value)
        return found

    def matched(self, selector: str, among: Flags) -> list[str]:
        """The first few names of what the selector matches."""
        chosen = set(np.flatnonzero(self.groups.selected(selector) & among).tolist())
        return [n for n, g in zip(self.names, self.groups.of, strict=True) if g in chosen][:FEW] if chosen else []

    def near(self, selector: str, namespace: str, among: Flags) -> tuple[str, list[str]] | None:
        """An edit with which the selector would match something; what Calico itself adds to a selector is none."""
        keys = sorted(self.values)
        for was, instead, text in one_edit_away(parse(selector), keys, lambda k: sorted(self.values.get(k, ()))):
            if was in (ORCHESTRATOR, NAMESPACE, namespace, "k8s"):
                continue
            if found := self.matched(text, among):
                return f"{was} → {instead}", found
        return None


@table(IDLE_SELECTORS, needs={"explainer": "policy.model"}, known=MATCHED, any_known=KINDS)
def idle_selectors(explainer: Explainer) -> pd.DataFrame:
    """One row a selector; see :data:`IDLE_SELECTORS`."""
    explainer.parts.need("namespaces", "serviceaccounts")
    policies = readable(explainer.parts.policies)
    matchable = _Matchable(explainer.parts, selectors_of(policies))
    return IDLE_SELECTORS.frame([row for p in policies for row in _idle(p, matchable)])


def _idle(policy: Policy, matchable: _Matchable) -> Iterator[dict[str, Any]]:
    only_hosts = policy.pre_dnat or policy.do_not_track
    endpoints = matchable.hosts if only_hosts else matchable.hosts | matchable.pods
    for where, selector in _selectors(policy):
        among = endpoints if where == "policy" else endpoints | matchable.pods | matchable.sets
        if (matchable.groups.selected(selector) & among).any():
            continue
        near = matchable.near(selector, policy.namespace, among)
        yield {
            **of_policy(policy),
            "staged": policy.staged,
            "where": where,
            "selector": selector,
            "instead": near[0] if near else None,
            "would_match": near[1] if near else [],
        }


def _selectors(policy: Policy) -> Iterator[tuple[str, str]]:
    """The policy's selector and its rules', each text once."""
    yield "policy", policy.selector
    seen: set[str] = set()
    for direction in DIRECTIONS:
        for rule in policy.rules(direction):
            for side, end in ((rule.source, "source"), (rule.destination, "destination")):
                selector = side.positive
                if selector and selector not in seen:
                    seen.add(selector)
                    yield f"{direction} rule {rule.index}, {end}", selector


# ---- policies that are never asked


@table(
    SHADOWED,
    needs={"explainer": "policy.model"},
    known=("pods", "hostendpoints", *KINDS[:3]),
)
def shadowed(explainer: Explainer) -> pd.DataFrame:
    """One row a policy; see :data:`SHADOWED`."""
    parts = explainer.parts
    parts.need("namespaces", "serviceaccounts")
    policies = readable(parts.enforced())
    groups = Groups((e.labels for e in parts.endpoints), keys_of(p.selector for p in policies))
    asked: set[tuple[str, str, str]] = set()
    because: dict[tuple[str, str, str], str] = {}
    chosen = [(p, groups.selected(p.selector)) for p in policies]
    for group, example in enumerate(_examples(parts.endpoints, groups)):
        mine = [p for p, flags in chosen if flags[group] and applies_to(p, example)]
        for direction in DIRECTIONS:
            for policy, blocker in _blocked(parts, [p for p in mine if direction in p.types], direction):
                if blocker and not (example.host and policy.apply_on_forward):
                    because.setdefault(policy.key, blocker)
                else:
                    asked.add(policy.key)
    counts = dict.fromkeys(because, 0)
    for policy, flags in chosen:
        if policy.key in counts:
            counts[policy.key] = sum(bool(flags[g]) for g in groups.of)
    return SHADOWED.frame(
        {"tier": p.tier, **of_policy(p), "because": because[p.key], "endpoints": counts[p.key]}
        for p in policies
        if p.key in because and p.key not in asked
    )


def _examples(endpoints: tuple[Endpoint, ...], groups: Groups) -> list[Endpoint]:
    """One endpoint of each group."""
    found: dict[int, Endpoint] = {}
    for endpoint, group in zip(endpoints, groups.of, strict=True):
        found.setdefault(group, endpoint)
    return [found[g] for g in range(len(groups.labels))]


def _blocked(parts: Parts, policies: list[Policy], direction: Direction) -> Iterator[tuple[Policy, str]]:
    """Each policy in order, with what always decides before it (empty for nothing)."""
    blocker = ""
    for tier in parts.tiers:
        mine = sorted((p for p in policies if p.tier == tier.name), key=lambda p: place_of(p, bool(parts.old_names)))
        skipped, passes = "", False
        for policy in mine:
            yield policy, blocker or skipped
            for rule in policy.rules(direction) if not (blocker or skipped) else ():
                passes = passes or rule.action == "pass"
                if _matches_everything(rule):
                    found = f"{direction} rule {rule.index} of {policy.kind} {policy.ref} matches everything"
                    blocker, skipped = (blocker, found) if rule.action == "pass" else (found, skipped)
                    break
        if mine and not blocker and tier.denies and not passes:
            blocker = f"tier {tier.name} is evaluated earlier and ends with Deny, and none of its rules passes"


def _matches_everything(rule: Rule) -> bool:
    if rule.action == "log" or not (rule.source.anything and rule.destination.anything):
        return False
    return not (rule.protocol or rule.not_protocol or rule.icmp or rule.not_icmp or rule.version)

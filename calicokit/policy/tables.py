"""Policy's objects as tables, in the order in which Calico looks at them, and the model that all of policy shares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.own_pods import Home
from calicokit.felix.state.configuration import in_ebpf
from calicokit.kube.tables import EVIDENCE
from calicokit.net import Prefix, address_text
from calicokit.policy.classes import Groups, keys_of, readable
from calicokit.policy.convert import POLICY_KINDS
from calicokit.policy.decide import place_of
from calicokit.policy.explain import Explainer
from calicokit.policy.model import DIRECTIONS, Endpoint, Parts, Policy, Rule, Side
from calicokit.policy.read import LISTS, Inputs
from calicokit.registry import Given, model, table
from calicokit.schema import Column, Schema

KINDS = tuple(POLICY_KINDS)

TIER = Column("tier", "str", "tier")
KIND = Column("kind", "str", "kind; Kubernetes' own policies are KubernetesNetworkPolicy")
POLICY_NAMESPACE = Column("policy_namespace", "str", "namespace of the policy; null for a global one")
POLICY = Column("policy", "str", "name, as the API shows it")
STAGED = Column("staged", "bool", "staged: not enforced")
DIRECTION = Column("direction", "str", "ingress or egress")

TIERS = Schema(
    "policy.tiers",
    "Policy tiers, in evaluation order.",
    (
        TIER,
        Column("order", "float", "order; infinite where none is set"),
        Column("default_action", "str", "default action at the end of the tier: Deny or Pass"),
        Column("exists", "bool", "false where only policies reference it: it is evaluated last, and denies"),
        Column("policies", "int", "policies in it, including staged ones", "policies"),
    ),
    key=("tier",),
)

ENDPOINTS = Schema(
    "policy.endpoints",
    "Endpoints that policies apply to: pods (not host-networked) and host endpoints.",
    (
        Column("kind", "str", "pod or host"),
        Column("namespace", "str", "namespace; null for a host endpoint"),
        Column("pod", "str", "name of the pod or host endpoint"),
        Column("workload", "str", "NAMESPACE/NAME of the pod's owner"),
        Column("node", "str", "node"),
        Column("addresses", "list", "addresses that rule selectors match it by"),
        Column("labels", "map", "labels, with those inherited from namespace (pcns.) and service account (pcsa.)"),
        Column("profiles", "list", "profiles, evaluated where no policy applies"),
        Column("ports", "list", "named ports: NAME=PORT/PROTOCOL"),
    ),
    key=("namespace", "pod"),
)

POLICIES = Schema(
    "policy.policies",
    "All policies, in evaluation order.",
    (
        Column("place", "int", "1-based position in that order"),
        TIER,
        Column("order", "float", "order in its tier; infinite where none is set; 1000 for Kubernetes' policies"),
        KIND,
        POLICY_NAMESPACE,
        POLICY,
        Column("selector", "str", "endpoint selector, as Felix has it"),
        Column("types", "list", "ingress, egress"),
        Column("rules", "int", "rules, after conversion", "rules"),
        STAGED,
        Column("hosts", "str", "for host endpoints only: preDNAT, doNotTrack or applyOnForward; null if none is set"),
        Column("endpoints", "int", "pods and host endpoints that it selects", "endpoints"),
        Column("problem", "str", "why it cannot be parsed; null if it can"),
        EVIDENCE,
    ),
    key=("kind", "policy_namespace", "policy"),
)

RULES = Schema(
    "policy.rules",
    "All rules of all policies, after Calico's conversion.",
    (
        KIND,
        POLICY_NAMESPACE,
        POLICY,
        DIRECTION,
        Column("rule", "int", "0-based index among the converted rules of its direction"),
        Column("origin", "int", "0-based index of the rule in the original object"),
        Column("action", "str", "allow, deny, pass or log"),
        Column("protocol", "str", "protocol; null for all"),
        Column("source", "str", "source match; null for any"),
        Column("destination", "str", "destination match; null for any"),
        EVIDENCE,
    ),
    key=("kind", "policy_namespace", "policy", "direction", "rule"),
)

APPLIED = Schema(
    "policy.applied",
    "Policies that apply to each endpoint, in evaluation order.",
    (
        Column("namespace", "str", "namespace of the pod; null for a host endpoint"),
        Column("pod", "str", "pod or host endpoint"),
        Column("node", "str", "node"),
        DIRECTION,
        Column("place", "int", "1-based position among the policies of this direction"),
        TIER,
        KIND,
        POLICY_NAMESPACE,
        POLICY,
        STAGED,
    ),
    key=("namespace", "pod", "direction", "place"),
)


@model(
    "policy.model",
    wants={"lists": LISTS, "install": "health.install", "home": "health.home", "felix": "felix.configuration"},
)
def policy_model(
    lists: Given, install: pd.DataFrame | None, home: Home | None, felix: pd.DataFrame | None = None
) -> Explainer:
    """Everything that policy rests on; what is not known stands in its ``parts.missing``."""
    version = None
    if install is not None and len(install):
        row = install.iloc[0]
        version = next((v for v in (row["version"], row["cluster_version"]) if isinstance(v, str)), None)
    inputs = Inputs(dict(lists), version, home or Home(), None if felix is None else frozenset(in_ebpf(felix)))
    return Explainer(inputs.parts(), inputs)


@table(TIERS, needs={"explainer": "policy.model"}, any_known=("tiers", *KINDS))
def tiers(explainer: Explainer) -> pd.DataFrame:
    """One row a tier; see :data:`TIERS`."""
    parts = explainer.parts
    return TIERS.frame(
        {
            "tier": t.name,
            "order": t.order,
            "default_action": "Deny" if t.denies else "Pass",
            "exists": t.exists,
            "policies": sum(p.tier == t.name for p in parts.policies),
        }
        for t in parts.tiers
    )


@table(ENDPOINTS, needs={"explainer": "policy.model"}, known=("pods",))
def endpoints(explainer: Explainer) -> pd.DataFrame:
    """One row an endpoint; see :data:`ENDPOINTS`."""
    return ENDPOINTS.frame(
        {
            "kind": "host" if e.host else "pod",
            "namespace": e.namespace or None,
            "pod": e.name,
            "workload": e.workload,
            "node": e.node,
            "addresses": list(e.addresses),
            "labels": dict(e.labels),
            "profiles": list(e.profiles),
            "ports": [f"{p.name}={p.port}/{p.protocol}" for p in e.ports],
        }
        for e in explainer.parts.endpoints
    )


def in_order(parts: Parts) -> list[Policy]:
    """All policies in the order of their tiers and in them."""
    tiers = {t.name: i for i, t in enumerate(parts.tiers)}
    return sorted(parts.policies, key=lambda p: (tiers[p.tier], *place_of(p, bool(parts.old_names))))


def of_policy(policy: Policy) -> dict[str, Any]:
    """The columns that name a policy."""
    return {"kind": policy.kind, "policy_namespace": policy.namespace or None, "policy": policy.name}


def applies_to(policy: Policy, endpoint: Endpoint) -> bool:
    """Whether policies of this kind are for endpoints of this kind at all."""
    return endpoint.host or not (policy.pre_dnat or policy.do_not_track)


@table(POLICIES, needs={"explainer": "policy.model"}, any_known=KINDS)
def policies(explainer: Explainer) -> pd.DataFrame:
    """One row a policy; see :data:`POLICIES`."""
    parts = explainer.parts
    counts = selected_counts(parts)
    return POLICIES.frame(
        {
            "place": place,
            "tier": p.tier,
            "order": p.order,
            **of_policy(p),
            "selector": p.selector,
            "types": sorted(p.types),
            "rules": len(p.ingress) + len(p.egress),
            "staged": p.staged,
            "hosts": _hosts_only(p),
            "endpoints": None if p.problem else counts.get(p.key),
            "problem": p.problem or None,
            "evidence": p.evidence,
        }
        for place, p in enumerate(in_order(parts), 1)
    )


def _hosts_only(policy: Policy) -> str | None:
    flags = (("preDNAT", policy.pre_dnat), ("doNotTrack", policy.do_not_track))
    found = [name for name, is_set in flags if is_set] or (["applyOnForward"] if policy.apply_on_forward else [])
    return found[0] if found else None


def selected_counts(parts: Parts) -> dict[tuple[str, str, str], int]:
    """How many endpoints each policy applies to; none where the endpoints, or labels they inherit, are not known."""
    if {"pods", "namespaces", "serviceaccounts"} & parts.missing:
        return {}
    known = readable(parts.policies)
    groups = Groups((e.labels for e in parts.endpoints), keys_of(p.selector for p in known))
    pods, hosts = ([0] * len(groups.labels) for _ in range(2))
    for endpoint, group in zip(parts.endpoints, groups.of, strict=True):
        (hosts if endpoint.host else pods)[group] += 1
    found = {}
    for policy in known:
        chosen = groups.selected(policy.selector).nonzero()[0].tolist()
        only = policy.pre_dnat or policy.do_not_track
        found[policy.key] = sum(hosts[g] + (0 if only else pods[g]) for g in chosen)
    return found


@table(RULES, needs={"explainer": "policy.model"}, any_known=KINDS)
def rules(explainer: Explainer) -> pd.DataFrame:
    """One row a rule; see :data:`RULES`."""
    return RULES.frame(
        {
            **of_policy(p),
            "direction": direction,
            "rule": r.index,
            "origin": r.origin,
            "action": r.action,
            "protocol": _protocol(r),
            "source": side_text(r.source),
            "destination": side_text(r.destination),
            "evidence": p.evidence,
        }
        for p in in_order(explainer.parts)
        for direction in DIRECTIONS
        for r in p.rules(direction)
    )


def _protocol(rule: Rule) -> str | None:
    asked = rule.protocol or (f"not {rule.not_protocol}" if rule.not_protocol else "")
    for icmp, word in ((rule.icmp, "type"), (rule.not_icmp, "not type")):
        if icmp is not None:
            asked += f" {word} {icmp.type}" + (f" code {icmp.code}" if icmp.code is not None else "")
    return asked or None


def side_text(side: Side) -> str | None:
    """What a rule matches at one end, in one line; None for any."""
    parts = [
        side.selector,
        f"not ({side.not_selector})" if side.not_selector else "",
        _nets("in", side.nets),
        _nets("not in", side.not_nets),
        f"endpoints of service {side.service}" if side.service else "",
        f"ports {', '.join(map(str, side.ports))}" if side.ports else "",
        f"not ports {', '.join(map(str, side.not_ports))}" if side.not_ports else "",
    ]
    return "; ".join(p for p in parts if p) or None


def _nets(word: str, nets: tuple[Prefix, ...]) -> str:
    return f"{word} {', '.join(map(net_text, nets))}" if nets else ""


def net_text(net: Prefix) -> str:
    """A network as a CIDR."""
    bits = (32 if net.version == 4 else 128) - int(math.log2(net.size))
    return f"{address_text(net.version, net.first)}/{bits}"


@table(APPLIED, needs={"explainer": "policy.model"}, known=("pods",), any_known=KINDS)
def applied(explainer: Explainer) -> pd.DataFrame:
    """One row for each endpoint, direction and policy that applies; see :data:`APPLIED`."""
    explainer.parts.need("namespaces", "serviceaccounts")
    return APPLIED.frame(list(_applied(explainer.parts)))


def _applied(parts: Parts) -> Iterator[dict[str, Any]]:
    ordered = readable(in_order(parts))
    groups = Groups((e.labels for e in parts.endpoints), keys_of(p.selector for p in ordered))
    chosen = [(p, groups.selected(p.selector)) for p in ordered]
    by_group: dict[int, list[Policy]] = {}
    for endpoint, group in zip(parts.endpoints, groups.of, strict=True):
        mine = by_group.setdefault(group, [p for p, flags in chosen if flags[group]])
        for direction in DIRECTIONS:
            asked = (p for p in mine if direction in p.types and applies_to(p, endpoint))
            for place, policy in enumerate(asked, 1):
                yield {
                    "namespace": endpoint.namespace or None,
                    "pod": endpoint.name,
                    "node": endpoint.node,
                    "direction": direction,
                    "place": place,
                    "tier": policy.tier,
                    **of_policy(policy),
                    "staged": policy.staged,
                }

"""Checks of policy. What each finding is called and how loud it is stands in diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, finding
from calicokit.schema import cells, records
from calicokit.sentences import listed, plural

KEY = ["kind", "policy_namespace", "policy"]
LIST_OF = {
    "GlobalNetworkPolicy": "globalnetworkpolicies",
    "NetworkPolicy": "networkpolicies",
    "KubernetesNetworkPolicy": "kubernetes-networkpolicies",
    "AdminNetworkPolicy": "adminnetworkpolicies",
    "BaselineAdminNetworkPolicy": "baselineadminnetworkpolicies",
    "KubernetesClusterNetworkPolicy": "clusternetworkpolicies",
    "StagedGlobalNetworkPolicy": "stagedglobalnetworkpolicies",
    "StagedNetworkPolicy": "stagednetworkpolicies",
    "StagedKubernetesNetworkPolicy": "stagedkubernetesnetworkpolicies",
}


def _ref(row: object) -> str:
    """NS/NAME or NAME, as findings name policies."""
    namespace, name = row.policy_namespace, row.policy  # type: ignore[attr-defined]
    return f"{namespace}/{name}" if isinstance(namespace, str) else str(name)


def _rows(frame: pd.DataFrame, table: str, *more: str) -> Rows:
    """The rows of one policy."""
    keys = [{c: getattr(r, c) for c in (*KEY, *more) if isinstance(getattr(r, c), str)} for r in records(frame)]
    return Rows.of(LIST_OF[str(frame["kind"].iloc[0])], table, keys)


def _by_policy(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for _, group in frame.groupby(KEY, dropna=False, sort=False):
        yield _ref(next(records(group))), group


@check(
    "policy-selects-nothing",
    needs={"idle": "policy.idle_selectors"},
    wants={"applied": "policy.applied", "endpoints": "dataplane.endpoints"},
    absence=True,
)
def selects_nothing(
    idle: pd.DataFrame, applied: pd.DataFrame | None = None, endpoints: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """A policy, or a rule of it, means nothing that exists; loud where one edit away something would match."""
    of_pod = _workloads(endpoints)
    for ref, group in _by_policy(idle):
        near = group[group["instead"].notna() & ~group["staged"]]
        first = next(records(near if len(near) else group))
        what = "applies to nothing" if first.where == "policy" else f"{first.where}: matches nothing"
        more = f" ({len(group) - 1} more of its selectors match nothing)" if len(group) > 1 else ""
        hint = ""
        if isinstance(first.instead, str):
            hint = f" With one edit ({first.instead}) it would match {listed(first.would_match)}."
        yield finding(
            "policy-selects-nothing",
            severity="" if len(near) else "info",
            subject={"policy": ref},
            cause=f"{first.kind} {ref} {what}: no pod, host endpoint or network set matches "
            f"{first.selector}{more}.{hint}",
            remedy="Correct the label in the selector or in the pod template, and preview the effect with calicokit "
            "explain --with."
            if hint
            else "No action needed if its endpoints are not created yet; else correct the selector, or delete the "
            "policy.",
            evidence=[_rows(group, "policy.idle_selectors", "where")],
            about=_flows_lost(near, applied, of_pod),
        )


def _workloads(endpoints: pd.DataFrame | None) -> dict[str, str]:
    """NS/POD → NS/NAME of what made it."""
    if endpoints is None:
        return {}
    return {f"{n}/{p}": str(w) for n, p, w in cells(endpoints, "namespace", "pod", "workload")}


def _flows_lost(near: pd.DataFrame, applied: pd.DataFrame | None, of_pod: Mapping[str, str]) -> set[str]:
    """Flows that the selectors would let through with their edit, as :func:`flow` writes them.

    A rule's selector concerns flows between what it would match and the endpoints of its policy; the policy's own, all
    flows of what it would apply to.
    """
    found: set[str] = set()
    for row in records(near):
        meant = {of_pod.get(name, name) for name in row.would_match}
        if row.where == "policy":
            found |= {flow(m, ANY) for m in meant} | {flow(ANY, m) for m in meant}
            continue
        mine = {of_pod.get(ref, ref) for ref in _applied_to(applied, row)}
        sends = row.where.endswith("source")
        found |= {flow(m, e) if sends else flow(e, m) for m in (*meant, UNKNOWN) for e in mine}
    return found


def _applied_to(applied: pd.DataFrame | None, row: Any) -> Iterator[str]:
    """NS/POD of the endpoints that a row's policy applies to."""
    if applied is None:
        return
    for kind, space, name, namespace, pod in cells(applied, *KEY, "namespace", "pod"):
        if (kind, name) == (row.kind, row.policy) and (space == row.policy_namespace or not isinstance(space, str)):
            yield f"{namespace}/{pod}"


ANY = "*"


def flow(source: str, target: str) -> str:
    """A flow between two workloads as findings name it in what they are about; :data:`ANY` stands for every end."""
    return f"{source} > {target}"


@check("policy-tier-order", needs={"shadowed": "policy.shadowed"})
def tier_order(shadowed: pd.DataFrame) -> Iterator[Finding]:
    """A policy that an earlier one never lets decide."""
    for ref, group in _by_policy(shadowed):
        row = next(records(group))
        yield finding(
            "policy-tier-order",
            subject={"policy": ref},
            cause=f"{row.kind} {ref} (tier {row.tier}) never takes effect on the {plural(row.endpoints, 'endpoint')} "
            f"that it selects: {row.because}.",
            remedy="Move it earlier (tier, order), use action Pass in the earlier policy for this traffic, or delete "
            "it.",
            evidence=[_rows(group, "policy.shadowed")],
        )


@check("staged-policy-would-drop", needs={"effects": "policy.staged_effects"})
def staged_would_drop(effects: pd.DataFrame) -> Iterator[Finding]:
    """A staged policy that would drop what is let through now."""
    for ref, group in _by_policy(effects[effects["lost"].notna()]):
        row = next(records(group))
        yield finding(
            "staged-policy-would-drop",
            subject={"policy": ref},
            cause=f"{row.kind} {ref} would, if enforced, drop traffic that is allowed now between "
            f"{plural(len(group), 'pair')} of pod groups, such as {row.source} to {row.target} ({row.lost}).",
            remedy="Before enforcing it, allow the intended traffic: policy.staged_effects lists every pair.",
            evidence=[_rows(group, "policy.staged_effects", "source", "target")],
        )


@check("dns-egress-denied", needs={"dns": "policy.dns"}, absence=True)
def dns_denied(dns: pd.DataFrame) -> Iterator[Finding]:
    """Egress rules that let pods go somewhere, but not ask the cluster's DNS."""
    for namespace, group in dns[dns["dns"] == "deny"].groupby("namespace"):
        partly = group[group["other"].notna()]
        told = partly if len(partly) else group
        row = next(records(told))
        where = f"may reach {row.other}, but not " if len(partly) else "may reach nothing, not even "
        keys = [{"workload": r.workload, "example": r.example} for r in records(told)]
        yield finding(
            "dns-egress-denied",
            severity="" if len(partly) else "info",
            subject={"namespace": namespace},
            cause=f"{listed(sorted(set(told['workload'])))} {where}the cluster's DNS ({row.service}, UDP 53): "
            f"{row.why}.",
            remedy="Allow egress to the DNS pods on UDP and TCP 53, by their labels or by their service."
            if len(partly)
            else "No action needed if these pods are meant to have no egress.",
            evidence=[Rows.of("kubernetes-networkpolicies", "policy.dns", keys)],
        )


@check("hostendpoint-lockout", needs={"access": "policy.host_access"}, absence=True)
def lockout(access: pd.DataFrame) -> Iterator[Finding]:
    """Host endpoints whose policies cut off what the node needs."""
    for node, group in access[access["verdict"] == "deny"].groupby("node"):
        row = next(records(group))
        keys = [{"what": r.what, "src": r.src, "dst": r.dst, "port": r.port} for r in records(group)]
        yield finding(
            "hostendpoint-lockout",
            subject={"node": node},
            cause=f"The host endpoint of {node} cuts off {listed(sorted(set(group['what'])))}: {row.why}",
            remedy="Allow it in a GlobalNetworkPolicy that selects the host endpoint, keep the failsafe ports in "
            "FelixConfiguration, or give the host endpoint the profile projectcalico-default-allow.",
            evidence=[Rows.of("hostendpoints", "policy.host_access", keys)],
        )

"""The sentences of policy, computed from its tables and answers."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import first_upper, listed, number, plural, says


@says
def order(tiers: pd.DataFrame, policies: pd.DataFrame) -> str:
    """Evaluation order of the tiers (``policy.tiers``, ``policy.policies``)."""
    used = [r for r in records(tiers) if r.policies]
    if not used:
        return "There is no policy: all pod traffic is allowed."
    way = ", then ".join(
        f"{r.tier} ({plural(r.policies, 'policy', 'policies')}; default action {r.default_action})" for r in used
    )
    staged = int(policies["staged"].sum())
    idle = f" {first_upper(plural(staged, 'policy is', 'policies are'))} staged and not enforced." if staged else ""
    broken = policies[policies["problem"].notna()]
    unread = f" These cannot be parsed, so verdicts that depend on them are unknown: {listed(broken['policy'])}."
    return f"Calico evaluates tier {way}.{idle}{unread if len(broken) else ''}"


@says
def endpoints(endpoints: pd.DataFrame, applied: pd.DataFrame) -> str:
    """Number of endpoints with a policy (``policy.endpoints``, ``policy.applied``)."""
    enforced = applied[~applied["staged"]]
    hosts = int((endpoints["kind"] == "host").sum())
    parts = []
    for direction in ("ingress", "egress"):
        mine = enforced[enforced["direction"] == direction][["namespace", "pod"]].drop_duplicates()
        parts.append(f"{direction} policies apply to {number(len(mine)) if len(mine) else 'none'}")
    host_text = f", {plural(hosts, 'host endpoint')}" if hosts else ", no host endpoint"
    return f"{first_upper(plural(len(endpoints) - hosts, 'pod'))}{host_text}; of these, {' and '.join(parts)}."


@says
def reachability(classes: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """How much pod traffic policy allows (``policy.classes``, ``policy.reachability``)."""
    if not len(classes):
        return "There is no pod subject to policy."
    total, whole = len(classes) ** 2, int(pairs["everything"].sum())
    if whole == total:
        return f"Nothing is denied: all traffic between {plural(len(classes), 'pod class', 'pod classes')} is allowed."
    closed = sorted(set(classes["class"]) - set(pairs["target"]))
    none = f" {listed(closed)} cannot be reached from any pod." if closed else ""
    return (
        f"Of {plural(total, 'pair')} of pod classes, {number(whole)} are fully allowed, {number(len(pairs) - whole)} "
        f"for some ports and {number(total - len(pairs))} not at all.{none}"
    )


@says
def without_effect(idle: pd.DataFrame, shadowed: pd.DataFrame) -> str:
    """Policies without effect (``policy.idle_selectors``, ``policy.shadowed``)."""
    near = idle[idle["instead"].notna()]
    said_ = []
    if len(near):
        first = next(records(near))
        said_.append(
            f"{first.policy} looks like a typo: its selector matches nothing, and with {first.instead} it would match "
            f"{listed(first.would_match)}"
        )
    if len(idle) > len(near):
        said_.append(f"{plural(len(idle) - len(near), 'selector matches', 'selectors match')} nothing that exists now")
    if len(shadowed):
        said_.append(f"shadowed, as an earlier policy always decides: {listed(shadowed['policy'])}")
    return f"{first_upper('; '.join(said_))}." if said_ else "Every policy selects something, and none is shadowed."


@says
def staged(effects: pd.DataFrame) -> str:
    """Effect of enforcing staged policies (``policy.staged_effects``)."""
    if not len(effects):
        return "No staged policy would change anything between pods."
    parts = []
    for name, group in effects.groupby("policy", sort=True):
        lost, gained = int(group["lost"].notna().sum()), int(group["gained"].notna().sum())
        what = [f"drop traffic of {plural(lost, 'pair')} of pod classes"] if lost else []
        what += [f"open {plural(gained, 'pair')}"] if gained else []
        parts.append(f"{name} would {' and '.join(what)}")
    return f"{'; '.join(parts)}."


@says
def dns(dns: pd.DataFrame) -> str:
    """Workloads whose DNS queries are denied (``policy.dns``)."""
    denied = dns[dns["dns"] == "deny"]
    if not len(denied):
        return "No egress policy denies a pod access to the cluster DNS."
    partly = sorted(set(denied[denied["other"].notna()]["workload"]))
    wholly = sorted(set(denied["workload"]) - set(partly))
    parts = [f"{listed(partly)} may reach other destinations but not DNS, so names do not resolve"] if partly else []
    parts += [f"{listed(wholly)} may reach nothing at all, including DNS"] if wholly else []
    return f"{first_upper('; '.join(parts))}."


@says
def hosts(access: pd.DataFrame) -> str:
    """Whether host endpoints cut off what nodes need (``policy.host_access``)."""
    if not len(access):
        return "There is no host endpoint: Calico does not filter host traffic."
    denied = access[access["verdict"] == "deny"]
    if len(denied):
        return f"Host endpoints cut off {listed(sorted(set(denied['what'])))} on {listed(sorted(set(denied['node'])))}."
    doubt = int((access["verdict"] == "unknown").sum())
    unknown = f" {number(doubt)} are unknown." if doubt else ""
    return f"All {plural(len(access) - doubt, 'connection')} that these nodes need are allowed.{unknown}"

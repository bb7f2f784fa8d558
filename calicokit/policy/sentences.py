"""The sentences of policy, computed from its tables and answers."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import first_upper, listed, number, plural, says


@says
def order(tiers: pd.DataFrame, policies: pd.DataFrame) -> str:
    """In which order the tiers are asked (``policy.tiers``, ``policy.policies``)."""
    used = [r for r in records(tiers) if r.policies]
    if not used:
        return "There is no policy: every pod may talk to everything."
    way = ", then ".join(
        f"{r.tier} ({plural(r.policies, 'policy', 'policies')}; its end: {r.default_action})" for r in used
    )
    staged = int(policies["staged"].sum())
    idle = f" {first_upper(plural(staged, 'policy is', 'policies are'))} staged and never enforced." if staged else ""
    broken = policies[policies["problem"].notna()]
    unread = (
        f" What these say cannot be read, so that verdicts which hang on them are unknown: {listed(broken['policy'])}."
    )
    return f"Calico asks tier {way}.{idle}{unread if len(broken) else ''}"


@says
def endpoints(endpoints: pd.DataFrame, applied: pd.DataFrame) -> str:
    """How many endpoints any policy applies to (``policy.endpoints``, ``policy.applied``)."""
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
    """How much of the cluster is open (``policy.classes``, ``policy.reachability``)."""
    if not len(classes):
        return "There is no pod whose traffic policy could see."
    total, whole = len(classes) ** 2, int(pairs["everything"].sum())
    if whole == total:
        return f"Nothing is closed: all {plural(len(classes), 'kind')} of pods may exchange everything."
    closed = sorted(set(classes["class"]) - set(pairs["target"]))
    none = f" Nobody reaches {listed(closed)}." if closed else ""
    return (
        f"Of {plural(total, 'pair')} of kinds of pods, {number(whole)} may exchange everything, "
        f"{number(len(pairs) - whole)} some ports and {number(total - len(pairs))} nothing.{none}"
    )


@says
def without_effect(idle: pd.DataFrame, shadowed: pd.DataFrame) -> str:
    """Policies that do nothing (``policy.idle_selectors``, ``policy.shadowed``)."""
    near = idle[idle["instead"].notna()]
    said_ = []
    if len(near):
        first = next(records(near))
        said_.append(
            f"{first.policy} looks like a slip: its selector matches nothing, and with {first.instead} it would match "
            f"{listed(first.would_match)}"
        )
    if len(idle) > len(near):
        said_.append(f"{plural(len(idle) - len(near), 'selector matches', 'selectors match')} nothing that exists now")
    if len(shadowed):
        said_.append(f"never asked, as an earlier policy always decides: {listed(shadowed['policy'])}")
    return f"{first_upper('; '.join(said_))}." if said_ else "Every policy applies to something, and each is asked."


@says
def staged(effects: pd.DataFrame) -> str:
    """What staged policies would change (``policy.staged_effects``)."""
    if not len(effects):
        return "No staged policy would change anything between pods."
    parts = []
    for name, group in effects.groupby("policy", sort=True):
        lost, gained = int(group["lost"].notna().sum()), int(group["gained"].notna().sum())
        what = [f"drop traffic of {plural(lost, 'pair')} of kinds of pods"] if lost else []
        what += [f"open {plural(gained, 'pair')}"] if gained else []
        parts.append(f"{name} would {' and '.join(what)}")
    return f"{'; '.join(parts)}."


@says
def dns(dns: pd.DataFrame) -> str:
    """Which workloads may not ask the cluster's DNS (``policy.dns``)."""
    denied = dns[dns["dns"] == "deny"]
    if not len(denied):
        return "No egress policy keeps a pod from the cluster's DNS."
    partly = sorted(set(denied[denied["other"].notna()]["workload"]))
    wholly = sorted(set(denied["workload"]) - set(partly))
    parts = [f"{listed(partly)} may go elsewhere but not ask DNS, so that names do not resolve"] if partly else []
    parts += [f"{listed(wholly)} may reach nothing at all, DNS included"] if wholly else []
    return f"{first_upper('; '.join(parts))}."


@says
def hosts(access: pd.DataFrame) -> str:
    """Whether host endpoints cut off what nodes need (``policy.host_access``)."""
    if not len(access):
        return "There is no host endpoint: Calico does not filter the traffic of hosts themselves."
    denied = access[access["verdict"] == "deny"]
    if len(denied):
        return f"Host endpoints cut off {listed(sorted(set(denied['what'])))} on {listed(sorted(set(denied['node'])))}."
    doubt = int((access["verdict"] == "unknown").sum())
    unknown = f" Of {number(doubt)} it is not known." if doubt else ""
    return f"All {plural(len(access) - doubt, 'connection')} that these nodes need are let through.{unknown}"

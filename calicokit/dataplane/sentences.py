"""Summaries of the dataplane's tables, each a sentence or two that is computed and true of every source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from calicokit.dataplane.kernel.settings import carrying
from calicokit.dataplane.programmed.policy_programs import NOT_COMPARED
from calicokit.schema import cells, records
from calicokit.sentences import first_upper, listed, number, plural, says

if TYPE_CHECKING:
    from calicokit.dataplane.packets.trace_flow import Asked

MODES = {"nft": "iptables on nf_tables", "legacy": "iptables on x_tables (legacy)", "nftables": "nftables"}


@says
def modes(rules: pd.DataFrame) -> str:
    """Firewall backends that Calico and kube-proxy use (``dataplane.rules``)."""
    said = []
    for owner, name in (("calico", "Calico's"), ("kube-proxy", "kube-proxy's")):
        own = rules[(rules["owner"] == owner) & rules["family"].isin(["ip", "ip6", "inet"])]
        nodes = own.groupby("backend")["node"].nunique()
        if not len(own):
            said.append(f"{name} has no rules.")
            continue
        where = " and ".join(f"{MODES[str(b)]} on {plural(n, 'node')}" for b, n in sorted(nodes.items()))
        said.append(f"{name} has {number(len(own))} rules in {where}.")
    return " ".join(said)


@says
def foreign(drops: pd.DataFrame) -> str:
    """Non-Calico rules that drop needed traffic (``dataplane.foreign_drops``)."""
    if not len(drops):
        return "No non-Calico rule drops traffic that Calico or pods need."
    what = sorted({c for concerns in drops["concerns"] for c in concerns})
    return (
        f"{first_upper(plural(len(drops), 'non-Calico rule'))} on {listed(sorted(set(drops['node'])))}: {listed(what)}."
    )


@says
def chains(chains: pd.DataFrame) -> str:
    """Felix's chains (``dataplane.chains``)."""
    own = chains[chains["owner"] == "calico"]
    if not len(own):
        return "Felix has programmed no chain on any node seen."
    pods = own[(own["role"] == "workload") & own["pod"].notna()][["namespace", "pod"]].drop_duplicates()
    lost = own[(own["role"] == "workload") & own["pod"].isna()]
    policies = own[(own["role"] == "policy") & own["policy"].notna()]["policy"].nunique()
    more = f" {first_upper(plural(len(lost), 'chain'))} belong to interfaces without a known pod." if len(lost) else ""
    return (
        f"{number(len(own))} chains are Felix's, for {plural(len(pods), 'pod')} and "
        f"{plural(policies, 'policy', 'policies')} on {plural(own['node'].nunique(), 'node')}.{more}"
    )


@says
def differences(differences: pd.DataFrame, memberships: pd.DataFrame) -> str:
    """What is programmed compared with the policies (``dataplane.differences``, ``dataplane.memberships``)."""
    unseen = listed(sorted(set(differences[differences["difference"] == NOT_COMPARED]["node"])))
    differences = differences[differences["difference"] != NOT_COMPARED]
    said = [f"Not compared on {unseen}: its policy programs were not seen whole."] if unseen else []
    if not len(differences) and not len(memberships):
        whole = "The programmed dataplane matches the policies on every node: order, rules and IP sets."
        return f"{said[0]} No difference elsewhere." if said else whole
    if len(differences):
        nodes, policies = sorted(set(differences["node"])), sorted(set(differences["policy"].dropna()))
        about = f" about {listed(policies)}" if policies else ""
        said.append(f"{first_upper(plural(len(differences), 'difference'))}{about} on {listed(nodes)}.")
    if len(memberships):
        said.append(f"{first_upper(plural(len(memberships), 'IP set'))} on {listed(sorted(set(memberships['node'])))}.")
    return " ".join(said)


@says
def drops(drops: pd.DataFrame) -> str:
    """What dropped packets, and whether during sampling (``dataplane.drops``)."""
    counted = drops[(drops["packets"].fillna(0) > 0) & (drops["reason"] != "arp")]
    if drops["since"].notna().any():
        grown = drops[(drops["grown"].fillna(0) > 0) & (drops["reason"] != "arp")]
        if not len(grown):
            return "No rule dropped a packet during sampling; earlier totals are normal."
        by = grown.assign(what=grown["policy"].fillna(grown["reason"])).groupby("what")["grown"].sum()
        first = by.sort_values(ascending=False)
        named = [f"{what} {plural(int(n), 'packet')}" for what, n in first.head(3).items()]
        more = f", and {plural(len(first) - 3, 'more cause')}" if len(first) > 3 else ""
        return f"Dropped during sampling: {', '.join(named)}{more}."
    total = int(counted["packets"].sum())
    if not total:
        return "No rule has dropped a packet since it was programmed."
    return (
        f"{first_upper(plural(total, 'packet'))} were dropped since the rules were programmed, which is normal; "
        "without samples it is unknown whether any are dropped now."
    )


@says
def dropped_flows(flows: pd.DataFrame) -> str:
    """Flows of the dropped packets, from logs or conntrack (``dataplane.dropped_flows``)."""
    if not len(flows):
        return (
            "No log line or unreplied conntrack entry shows source and destination of a drop. A drop at the source "
            "leaves only the counter."
        )
    pairs = list(dict.fromkeys(cells(flows, "src", "dst", "dport")))
    named = [f"{s} to {d} port {p}" for s, d, p in pairs[:3]]
    more = f", and {plural(len(pairs) - 3, 'more pair')}" if len(pairs) > 3 else ""
    return f"Flows dropped: {'; '.join(named)}{more}."


def walked(asked: Asked) -> str:
    """The verdict on a packet, and the rule that decides."""
    return asked.sentence


@says
def kernel(kernel: pd.DataFrame) -> str:
    """Forwarding and conntrack (``dataplane.kernel``)."""
    off = kernel[(kernel["ip_forward"] == 0) | (kernel["all_forwarding"] == 0)]
    if len(off):
        return f"{listed(off['node'])} does not forward: its pods are cut off."
    fullest = kernel.sort_values("conntrack_used", ascending=False).iloc[0]
    if pd.isna(fullest["conntrack_used"]):
        return "Every node seen forwards; the usage of their conntrack tables is unknown."
    return (
        f"Every node seen forwards. The fullest conntrack table is {fullest['node']}'s: "
        f"{number(fullest['conntrack'])} of {number(fullest['conntrack_max'])} entries."
    )


@says
def reverse_paths(paths: pd.DataFrame) -> str:
    """Asymmetric return paths (``dataplane.reverse_paths``)."""
    if not len(paths):
        return "Return routes are symmetric for every pod: reverse-path filtering drops nothing."
    strict = paths[paths["rp_filter"] == 1]
    which = f", and strict filtering drops them on {listed(sorted(set(strict['node'])))}" if len(strict) else ""
    return f"{first_upper(plural(len(paths), 'source'))} arrive on another interface than the return route uses{which}."


@says
def interfaces(interfaces: pd.DataFrame) -> str:
    """Packet loss on interfaces that carry pod traffic (``dataplane.interfaces``)."""
    own = carrying(interfaces)
    lossy = own[own["loss_percent"].fillna(0) > 0]
    grown = own[(own["errors_grown"].fillna(0) > 0) | (own["dropped_grown"].fillna(0) > 0)]
    said = [
        f"{r.interface} of {r.node} is configured to lose {r.loss_percent:g} % (netem)." for r in records(lossy.head(3))
    ]
    if own["errors_grown"].isna().all():
        said.append("Counters were not sampled; totals since an interface was created are normal.")
    elif len(grown):
        said.append(f"Errors or drops grew on {listed(f'{r.interface} of {r.node}' for r in records(grown))}.")
    else:
        said.append(f"No errors or drops grew on the {plural(len(own), 'interface')} that carry pod traffic.")
    return " ".join(said)


@says
def programming(failures: pd.DataFrame) -> str:
    """Felix's dataplane programming failures (``dataplane.failures``)."""
    if not len(failures):
        return "No Felix seen reports a programming failure."
    return " ".join(
        f"Felix on {r.node} failed {plural(r.failures, 'time')} to program {r.area}: {r.message.rstrip('.')}."
        for r in records(failures)
    )

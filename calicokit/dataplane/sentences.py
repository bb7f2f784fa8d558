"""What the dataplane's tables mean, each in a sentence or two that is computed and true of every source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from calicokit.dataplane.kernel.settings import carrying
from calicokit.schema import cells, records
from calicokit.sentences import first_upper, listed, number, plural, says

if TYPE_CHECKING:
    from calicokit.dataplane.packets.trace_flow import Asked

MODES = {"nft": "iptables on nf_tables", "legacy": "iptables on x_tables (legacy)", "nftables": "nftables"}


@says
def modes(rules: pd.DataFrame) -> str:
    """Which of the kernel's rule systems Calico and kube-proxy use (``dataplane.rules``)."""
    said = []
    for owner, name in (("calico", "Calico's"), ("kube-proxy", "kube-proxy's")):
        own = rules[(rules["owner"] == owner) & rules["family"].isin(["ip", "ip6", "inet"])]
        nodes = own.groupby("backend")["node"].nunique()
        if not len(own):
            said.append(f"No rule is {name}.")
            continue
        where = " and ".join(f"{MODES[str(b)]} on {plural(n, 'node')}" for b, n in sorted(nodes.items()))
        said.append(f"{name} {number(len(own))} rules stand in {where}.")
    return " ".join(said)


@says
def foreign(drops: pd.DataFrame) -> str:
    """Rules of others that drop what is needed (``dataplane.foreign_drops``)."""
    if not len(drops):
        return "No rule of others drops what Calico or pods need."
    what = sorted({c for concerns in drops["concerns"] for c in concerns})
    return (
        f"{first_upper(plural(len(drops), 'rule'))} of others on {listed(sorted(set(drops['node'])))}: {listed(what)}."
    )


@says
def chains(chains: pd.DataFrame) -> str:
    """Felix's chains (``dataplane.chains``)."""
    own = chains[chains["owner"] == "calico"]
    if not len(own):
        return "Felix has programmed no chain on any node that was seen."
    pods = own[(own["role"] == "workload") & own["pod"].notna()][["namespace", "pod"]].drop_duplicates()
    lost = own[(own["role"] == "workload") & own["pod"].isna()]
    policies = own[(own["role"] == "policy") & own["policy"].notna()]["policy"].nunique()
    more = f" {first_upper(plural(len(lost), 'chain'))} belong to interfaces of no known pod." if len(lost) else ""
    return (
        f"{number(len(own))} chains are Felix's, for {plural(len(pods), 'pod')} and "
        f"{plural(policies, 'policy', 'policies')} on {plural(own['node'].nunique(), 'node')}.{more}"
    )


@says
def differences(differences: pd.DataFrame, memberships: pd.DataFrame) -> str:
    """What is programmed beside what is asked for (``dataplane.differences``, ``dataplane.memberships``)."""
    if not len(differences) and not len(memberships):
        return "What is programmed on every node is what the policies ask for: their order, their rules, their IP sets."
    said = []
    if len(differences):
        nodes, policies = sorted(set(differences["node"])), sorted(set(differences["policy"].dropna()))
        about = f" about {listed(policies)}" if policies else ""
        said.append(f"{first_upper(plural(len(differences), 'difference'))}{about} on {listed(nodes)}.")
    if len(memberships):
        said.append(f"{first_upper(plural(len(memberships), 'IP set'))} on {listed(sorted(set(memberships['node'])))}.")
    return " ".join(said)


@says
def drops(drops: pd.DataFrame) -> str:
    """What dropped packets, and whether any did during sampling (``dataplane.drops``)."""
    counted = drops[(drops["packets"].fillna(0) > 0) & (drops["reason"] != "arp")]
    if drops["since"].notna().any():
        grown = drops[(drops["grown"].fillna(0) > 0) & (drops["reason"] != "arp")]
        if not len(grown):
            return "No rule dropped a packet during sampling; totals from before are normal."
        by = grown.assign(what=grown["policy"].fillna(grown["reason"])).groupby("what")["grown"].sum()
        first = by.sort_values(ascending=False)
        named = [f"{what} {plural(int(n), 'packet')}" for what, n in first.head(3).items()]
        more = f", and {plural(len(first) - 3, 'more cause')}" if len(first) > 3 else ""
        return f"While it was watched, {', '.join(named)}{more} were dropped."
    total = int(counted["packets"].sum())
    if not total:
        return "No rule has dropped a packet since it was made."
    return (
        f"{first_upper(plural(total, 'packet'))} were dropped since the rules were made, which is normal: without "
        "samples over time nothing tells whether any are now."
    )


@says
def dropped_flows(flows: pd.DataFrame) -> str:
    """Whose packets were dropped, where a log or conntrack tells (``dataplane.dropped_flows``)."""
    if not len(flows):
        return (
            "No log line and no unanswered connection tells both ends of a drop. A drop at its source leaves no trace "
            "but the counter."
        )
    pairs = list(dict.fromkeys(cells(flows, "src", "dst", "dport")))
    named = [f"{s} to {d} port {p}" for s, d, p in pairs[:3]]
    more = f", and {plural(len(pairs) - 3, 'more pair')}" if len(pairs) > 3 else ""
    return f"Seen being dropped: {'; '.join(named)}{more}."


def walked(asked: Asked) -> str:
    """Where a packet's walk ends, and by which rule."""
    return asked.sentence


@says
def kernel(kernel: pd.DataFrame) -> str:
    """Forwarding and connection tracking (``dataplane.kernel``)."""
    off = kernel[(kernel["ip_forward"] == 0) | (kernel["all_forwarding"] == 0)]
    if len(off):
        return f"{listed(off['node'])} does not forward: nothing gets to or from its pods."
    fullest = kernel.sort_values("conntrack_used", ascending=False).iloc[0]
    if pd.isna(fullest["conntrack_used"]):
        return "Every node that was seen forwards; how full their tables of connections are is unknown."
    return (
        f"Every node that was seen forwards. The fullest table of connections is {fullest['node']}'s: "
        f"{number(fullest['conntrack'])} of {number(fullest['conntrack_max'])} entries."
    )


@says
def reverse_paths(paths: pd.DataFrame) -> str:
    """Packets whose way back is another (``dataplane.reverse_paths``)."""
    if not len(paths):
        return (
            "The way back to every pod leaves by the interface that its packets come in by: no filter of paths minds."
        )
    strict = paths[paths["rp_filter"] == 1]
    which = f", and strict filtering drops them on {listed(sorted(set(strict['node'])))}" if len(strict) else ""
    return f"{first_upper(plural(len(paths), 'source'))} come in by another interface than the way back{which}."


@says
def interfaces(interfaces: pd.DataFrame) -> str:
    """Losses of the interfaces that carry pods' traffic (``dataplane.interfaces``)."""
    own = carrying(interfaces)
    lossy = own[own["loss_percent"].fillna(0) > 0]
    grown = own[(own["errors_grown"].fillna(0) > 0) | (own["dropped_grown"].fillna(0) > 0)]
    said = [f"{r.interface} of {r.node} loses {r.loss_percent:g} % on purpose." for r in records(lossy.head(3))]
    if own["errors_grown"].isna().all():
        said.append("Counters were not sampled over time; totals from the start of an interface are normal.")
    elif len(grown):
        said.append(f"Errors or drops grew on {listed(f'{r.interface} of {r.node}' for r in records(grown))}.")
    else:
        said.append(f"No errors or drops grew on the {plural(len(own), 'interface')} that carry pods' packets.")
    return " ".join(said)


@says
def ebpf(configuration: pd.DataFrame) -> str:
    """Whether eBPF is on (``felix.configuration``)."""
    on = configuration[(configuration["field"] == "bpfEnabled") & (configuration["value"] == "true")]
    if not len(on):
        return "eBPF mode is off on every node."
    return (
        f"eBPF mode is on for {listed(on['node'])} ({listed(set(on['origin']))}): iptables then has only helper chains."
    )


@says
def programming(failures: pd.DataFrame) -> str:
    """What Felix says of programming that failed (``dataplane.failures``)."""
    if not len(failures):
        return "No Felix that was seen says that it failed to program."
    return " ".join(f"Felix on {r.node} failed {plural(r.failures, 'time')}: {r.message}." for r in records(failures))

"""What the tables of the eBPF dataplane mean, in sentences."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.dataplane.programmed.bpf_routes import DIFFERENT, MISSING
from calicokit.felix.state.modes import EBPF, HALF_WAY, NETFILTER, in_mode
from calicokit.schema import cells, records
from calicokit.sentences import first_upper, listed, number, plural, says, share


@says
def ebpf(modes: pd.DataFrame) -> str:
    """Whether eBPF is on, off, or mixed (``felix.modes``)."""
    on, half, off = (in_mode(modes, mode) for mode in (EBPF, HALF_WAY, NETFILTER))
    if not on and not half:
        return "eBPF mode is disabled on every node."
    origins = set(modes[modes["node"].isin(on)]["origin"].dropna())
    said = [f"eBPF mode is enabled on {listed(on)} ({listed(origins)})."] if on else []
    said += [f"It is asked for and does not run on {listed(half)}."] if half else []
    said += (
        [f"The cluster is mixed: {listed(off)} run iptables or nftables, and need kube-proxy."] if on and off else []
    )
    return " ".join([*said, "Where it runs, iptables has only auxiliary chains."] if on else said)


@says
def modes(modes: pd.DataFrame, proxies: pd.DataFrame) -> str:
    """The same, with kube-proxy (``felix.modes``, ``dataplane.proxies``)."""
    on = in_mode(modes, EBPF)
    beside = proxies[proxies["node"].isin(on) & ((proxies["rules"].fillna(0) > 0) | proxies["pod"].notna())]["node"]
    proxy = f"kube-proxy or its rules are on {listed(beside)}" if len(beside) else "no kube-proxy was seen beside it"
    return f"{ebpf(modes)} Of the nodes that run it, {proxy}."


@says
def programs(programs: pd.DataFrame, attached: pd.DataFrame) -> str:
    """Interfaces without a program, and programs of others (``dataplane.programs``, ``dataplane.attached``)."""
    lost = programs[programs["program"].isna()]
    count = programs.groupby(["node", "interface"]).ngroups
    said = [
        f"{plural(count, 'interface')} of {plural(programs['node'].nunique(), 'node')} should have a program each way."
    ]
    if len(lost):
        names = [f"{r.interface} of {r.node} ({r.direction})" for r in records(lost)]
        said.append(f"Missing: {listed(names)}.")
    else:
        said.append("None is missing.")
    others = attached[attached["owner"] == "other"]
    if len(others):
        names = [f"{r.program or r.what} on {r.interface} of {r.node}" for r in records(others)]
        said.append(f"Of others: {listed(names)}.")
    return " ".join(said)


@says
def maps(services: pd.DataFrame, routes: pd.DataFrame, sets: pd.DataFrame) -> str:
    """Differences between maps and the cluster (``dataplane.bpf_services``, ``…routes``, ``…sets``)."""
    fronts = services[~services["programmed"].fillna(True) | _any(services["lacks"]) | _any(services["extra"])]
    wrong = routes[routes["status"].isin([MISSING, DIFFERENT])]
    odd = sets[_any(sets["lacks"]) | _any(sets["extra"])]
    empty = sorted(set(services[services["count"] == 0]["service"].dropna()))
    said = [
        f"{first_upper(plural(len(fronts), 'frontend'))} of {len(services)} differ from Services and EndpointSlices, "
        f"{plural(len(wrong), 'route')} of {len(routes)} from blocks, nodes and pods, "
        f"{plural(len(odd), 'IP set')} of {int(sets['selector'].notna().sum())} from their selectors."
    ]
    if empty:
        said.append(f"Without endpoints, so that their addresses refuse: {listed(empty)}.")
    return " ".join(said)


def _any(lists: pd.Series[Any]) -> pd.Series[bool]:
    """Which of these lists have something; a null has not."""
    return lists.map(lambda found: isinstance(found, list) and bool(found)).astype(bool)


@says
def sizes(maps: pd.DataFrame) -> str:
    """The fullest map (``dataplane.bpf_maps``)."""
    known = maps[maps["share"].notna()]
    if not len(known):
        return "No map's size and entries are both known."
    row = next(records(known.sort_values("share", ascending=False).head(1)))
    refused = maps[maps["refused"].notna()]
    full = f" Felix says that entries did not fit on {listed(set(refused['node']))}." if len(refused) else ""
    return f"The fullest is {row.map} on {row.node}: {share(row.share)} of {row.limit} entries.{full}"


@says
def rules(rules: pd.DataFrame) -> str:
    """Rules of eBPF policy programs, and what they denied (``dataplane.bpf_rules``)."""
    if not len(rules):
        return "No policy program was seen."
    interfaces = {(node, i) for node, names in cells(rules, "node", "interfaces") for i in names}
    denied = rules[rules["action"] == "deny"]
    hits = int(denied["packets"].sum())
    grown = f", {number(int(denied['grown'].sum()))} of them during sampling" if denied["grown"].notna().any() else ""
    return (
        f"{first_upper(plural(len(rules), 'rule'))} in the programs of {plural(len(interfaces), 'interface')} on "
        f"{plural(rules['node'].nunique(), 'node')}; rules that deny matched {plural(hits, 'packet')}{grown}. Packets "
        "dropped at the end of a tier are not among them."
    )


@says
def drops(drops: pd.DataFrame, connections: pd.DataFrame) -> str:
    """What is dropped for which reason, and what is unanswered (``dataplane.bpf_drops``, ``…bpf_connections``)."""
    by_reason = drops.groupby("reason")["packets"].sum().sort_values(ascending=False)
    said = [f"{plural(int(n), 'packet')} {reason}" for reason, n in by_reason.head(3).items()]
    waiting = int((connections["state"] == "syn-sent").sum())
    tracked = f"{plural(len(connections), 'connection')} tracked, {waiting} of them not answered."
    return f"Dropped since programs were attached: {'; '.join(said) if said else 'nothing'}. {tracked}"

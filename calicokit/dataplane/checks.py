"""Checks of rules, drops and the kernel's forwarding. What each finding is called stands in diagnosis/findings.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.net import prefix
from calicokit.schema import cells, records
from calicokit.words import listed, plural

MOST = 50
"""So many findings of one kind are told one by one."""

PORTS = {"179": "BGP", "4789": "VXLAN", "5473": "Typha", "6443": "the API server"}
TUNNEL = re.compile(r"-p (?:4|ipencap|ipip)\b|(?:ip protocol|meta l4proto) (?:4|ipencap|ipip)\b")
PORT = re.compile(r"(?:--dports?|dport) \{?\s?([\d,: ]{1,100})")
CIDR = re.compile(r"(?:-[sd]|ip [sd]addr) (\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?)")
STRANGERS = re.compile(r"! -[sd] |[sd]addr != |! --match-set ")
"""A rule for all but some addresses keeps strangers out."""

PLACE = ("node", "family", "backend", "table", "chain")
RESTRICTED = re.compile(r"(?:^| )(?:! )?(?:-[iosdp]|--\w|iifname|oifname|ip6? [sd]addr|ct |meta )")

# ---- rules of others


@check("foreign-drop-rule", needs=("dataplane.rules", "ipam.pools"))
def foreign_drop_rule(rules: pd.DataFrame, pools: pd.DataFrame) -> Iterator[Finding]:
    """Rules that neither Calico nor kube-proxy wrote and that drop what pods or Calico need."""
    closed = rules[
        (rules["owner"] == "foreign") & rules["verdict"].isin(["drop", "reject"]) & (rules["packets"].fillna(1) > 0)
    ]
    open_ = rules[(rules["owner"] == "foreign") & (rules["verdict"] == "accept")]
    let_in = {(*r[:5],): int(r[5]) for r in reversed(list(cells(open_.dropna(subset="rule"), *PLACE, "rule")))}
    cidrs = [prefix(c) for c in pools["cidr"]]
    hits: dict[tuple[str, str, str], list[tuple[Any, str]]] = {}
    for row in records(closed):
        if pd.isna(row.packets) and let_in.get(tuple(getattr(row, n) for n in PLACE), row.rule) < row.rule:
            continue  # not counted, and behind a rule that lets some in: what is left for it is not known
        what = "" if STRANGERS.search(str(row.spec)) else _concerns(row, cidrs)
        if what:
            hits.setdefault((row.node, row.table, row.chain), []).append((row, what))
    for (node, name, chain), found in list(hits.items())[:MOST]:
        first, what = found[0]
        packets = sum(int(r.packets) for r, _ in found if pd.notna(r.packets))
        more = f", and {plural(len(found) - 1, 'more rule')} like it" if len(found) > 1 else ""
        yield finding(
            "foreign-drop-rule",
            subject={"node": node, "table": name, "chain": chain},
            cause=f"On {node} a rule in {name} {chain} that neither Calico nor kube-proxy wrote {first.verdict}s "
            f"{what}: {first.spec}{more} ({plural(packets, 'packet')} so far).",
            remedy="Find what writes it (firewalld, ufw, a script: `iptables-save`, `nft list ruleset`), and take it "
            "out there, so that it does not come back.",
            evidence=[
                Rows.of(
                    str(first.evidence).rpartition("/")[2].partition(".")[0],
                    "dataplane.rules",
                    [
                        {n: getattr(r, n) for n in ("node", "family", "backend", "table", "chain")}
                        | {"rule": int(r.rule)}
                        for r, _ in found
                    ],
                    node,
                )
            ],
            about={node, *(w for _, w in found)},
        )


def _concerns(row: Any, pools: list[Any]) -> str:
    """What of Calico's or the pods' traffic a rule drops, in words; empty for none that is known."""
    text = str(row.spec)
    ports = {p for found in PORT.findall(text) for p in re.split(r"[,: ]+", found)}
    for port, what in PORTS.items():
        if port in ports:
            return what
    if TUNNEL.search(text):
        return "IPIP"
    named = [prefix(c) for c in CIDR.findall(text)]
    if any(n.size > 1 and p.overlaps(n) for n in named for p in pools if n.version == p.version):
        return "pods' packets"
    if re.search(r"\bcali[+*\w]", text):
        return "pods' packets"
    through = str(row.chain).upper() in ("FORWARD", "DOCKER-USER")
    everything = not RESTRICTED.search(re.sub(r"-j \S+.*", "", text)) and pd.notna(row.packets) and row.packets > 0
    return "what is forwarded" if through and everything else ""


@check("iptables-backend-mixed", needs=("dataplane.rules",))
def backend_mixed(rules: pd.DataFrame) -> Iterator[Finding]:
    """Calico's rules in one of the kernel's two rule systems, kube-proxy's in the other."""
    wide = rules[rules["family"].isin(["ip", "ip6"]) & rules["backend"].isin(["nft", "legacy"])]
    services = wide["chain"].str.match(r"KUBE-(?:SVC|SEP|SERVICES)")
    calico = _backends(wide[wide["owner"] == "calico"])
    proxy = _backends(wide[(wide["owner"] == "kube-proxy") & services])
    mixed = {n: (calico[n], proxy[n]) for n in calico if n in proxy and not calico[n] & proxy[n]}
    if mixed:
        node, (ours, theirs) = next(iter(sorted(mixed.items())))
        yield finding(
            "iptables-backend-mixed",
            subject={"nodes": list(mixed)},
            cause=f"On {listed(mixed)} Calico's rules stand in {listed(sorted(ours))} and kube-proxy's in "
            f"{listed(sorted(theirs))}: each packet passes both, and neither sees the other's marks.",
            remedy="Set FelixConfiguration iptablesBackend to Auto, or to what kube-proxy uses (NFT or Legacy), and "
            "remove the leftovers of the other.",
            evidence=[
                Rows.of(f"iptables-{b}-save", "dataplane.rules", [{"node": node, "backend": b}], node)
                for b in sorted(ours | theirs)
            ],
        )


def _backends(rules: pd.DataFrame) -> dict[str, set[str]]:
    return {str(n): set(g) for n, g in rules.groupby("node")["backend"]}


# ---- drops


@check("end-of-tier-drop", needs=("dataplane.drops",))
def end_of_tier(drops: pd.DataFrame) -> Iterator[Finding]:
    """A tier other than the default one that applies to endpoints and ends without a verdict."""
    ends = drops[(drops["reason"] == "end-of-tier") & (drops["tier"] != "default") & drops["tier"].notna()]
    for tier, group in ends.groupby("tier"):
        grown = group[group["grown"].fillna(0) > 0]
        rows = grown if len(grown) else group[group["packets"].fillna(0) > 0]
        endpoints = sorted(set(rows["workload"].dropna()))
        if not endpoints:
            continue
        count = int((grown["grown"] if len(grown) else rows["packets"]).sum())
        when = "while it was watched" if len(grown) else "since its rules were made"
        yield finding(
            "end-of-tier-drop",
            severity="" if len(grown) else "info",
            subject={"tier": str(tier), "endpoints": endpoints},
            cause=f"The end of tier {tier} dropped {plural(count, 'packet')} of {listed(endpoints)} {when}: its "
            "policies select these endpoints, and none allowed or passed them on.",
            remedy=f"End tier {tier} with a policy that passes (action Pass), or allow what is meant to be allowed.",
            evidence=[Rows.of("iptables-save", "dataplane.drops", _drop_keys(rows))],
            about=set(endpoints),
        )


@check("policy-drop", needs=("dataplane.drops", "dataplane.window"), wants=("dataplane.dropped_flows",))
def policy_drop(drops: pd.DataFrame, window: pd.DataFrame, flows: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Traffic that a policy, or a tier's end, dropped while it was watched."""
    if not len(window):
        return
    lost = drops[drops["reason"].isin(["policy", "end-of-tier"]) & (drops["grown"].fillna(0) > 0)]
    found: dict[tuple[str, str, str, str], list[Any]] = {}
    for row in records(lost):
        for src, dst, port in _ends(row, flows):
            found.setdefault((src, dst, port, str(row.policy)), []).append(row)
    for (src, dst, port, policy), rows in list(found.items())[:MOST]:
        first = rows[0]
        which = f"rule {int(first.policy_rule)} of {policy}" if pd.notna(first.policy_rule) else policy
        count = sum(int(r.grown) for r in rows)
        yield finding(
            "policy-drop",
            subject={"src": src, "dst": dst, "port": int(port) if port.isdigit() else port, "policy": policy},
            cause=f"{which} ({first.direction}, tier {first.tier}) dropped traffic from {src} to {dst}, port {port}, "
            f"while it was watched; the rules that did so counted {plural(count, 'packet')}.",
            remedy=f"If it should pass, let {policy} or a policy before it allow it; `calicokit explain` shows every "
            "policy that is asked.",
            evidence=[Rows.of("iptables-save", "dataplane.drops", _drop_keys(pd.DataFrame(rows)))],
            about={src, dst, policy},
        )


def _ends(row: Any, flows: pd.DataFrame | None) -> list[tuple[str, str, str]]:
    """Source, destination and port of what a rule dropped, where a log or conntrack tells; else one end is unknown."""
    told: list[tuple[str, str, str]] = []
    if flows is not None:
        mine = flows[
            (flows["node"] == row.node)
            & (flows["chain"] == row.chain)
            & (flows["key"] == row.key)
            & (flows["interface"].isna() | pd.isna(row.interface) | (flows["interface"] == row.interface))
        ]
        told = sorted(
            {(str(s), str(d), "" if pd.isna(p) else str(int(p))) for s, d, p in cells(mine, "src", "dst", "dport")}
        )
    if told:
        return [(s, d, p or UNKNOWN) for s, d, p in told]
    here = row.workload if isinstance(row.workload, str) else UNKNOWN
    return [(here, UNKNOWN, UNKNOWN) if row.direction == "egress" else (UNKNOWN, here, UNKNOWN)]


def _drop_keys(rows: pd.DataFrame) -> list[dict[str, Any]]:
    names = ("node", "family", "backend", "table", "chain", "key")
    return [dict(zip(names, values, strict=True)) for values in cells(rows, *names)]


# ---- the kernel


@check("ip-forward-off", needs=("output.sysctl_net",))
def forward_off(settings: pd.DataFrame) -> Iterator[Finding]:
    """A node whose kernel does not forward."""
    names = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding")
    off = settings[settings["key"].isin(names) & (settings["value"].astype("str").str.strip() == "0")]
    for node, group in off.groupby("node"):
        said = listed(f"{k} = 0" for k in group["key"])
        yield finding(
            "ip-forward-off",
            subject={"node": str(node)},
            cause=f"{node} does not forward packets ({said}): its pods reach nothing but the node.",
            remedy="sysctl -w net.ipv4.ip_forward=1, and find what set it to 0 (/etc/sysctl.d, a hardening script).",
            evidence=[
                Rows.of("sysctl-net", "output.sysctl_net", [{"node": node, "key": k} for k in group["key"]], str(node))
            ],
            about={str(node)},
        )


@check("rp-filter-loose", needs=("output.sysctl_net", "output.felix_log"))
def filter_loose(settings: pd.DataFrame, log: pd.DataFrame) -> Iterator[Finding]:
    """rp_filter is 2, and Felix refuses to run with it."""
    loose = settings[(settings["key"] == "net.ipv4.conf.all.rp_filter") & (settings["value"].astype("str") == "2")]
    refused = log[log["message"].astype("str").str.contains("RPF check is set to 'loose'", regex=False)]
    for node in sorted(set(loose["node"]) & set(refused["node"])):
        yield finding(
            "rp-filter-loose",
            subject={"node": node},
            cause=f"net.ipv4.conf.all.rp_filter is 2 on {node}, and Felix refuses to run with it, as pods could then "
            "use addresses that are not theirs.",
            remedy="Set net.ipv4.conf.all.rp_filter to 1 or 0 (or, at your own risk, ignoreLooseRPF: true in "
            "FelixConfiguration).",
            evidence=[
                Rows.of("sysctl-net", "output.sysctl_net", [{"node": node, "key": "net.ipv4.conf.all.rp_filter"}], node)
            ],
            about={node},
        )


# ---- what explains what


@explains("end-of-tier-drop", "policy-drop")
def _tier(cause: Finding, effect: Finding) -> bool:
    return bool(effect.subject["policy"] == f"end-of-tier {cause.subject['tier']}")


@explains("policy-selects-nothing", "policy-drop")
def _wrong_selector(cause: Finding, effect: Finding) -> bool:
    return cause.severity == "warning" and bool(cause.about & effect.about)


@explains("foreign-drop-rule", "datastore-unreachable")
def _walled(cause: Finding, effect: Finding) -> bool:
    return bool(cause.subject["node"] == effect.subject["node"] and "the API server" in cause.about)

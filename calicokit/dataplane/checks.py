"""Checks of rules, drops and the kernel's forwarding. What each finding is called stands in diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.firewall import source_of
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import named_or_about
from calicokit.felix.state.configuration import in_ebpf
from calicokit.policy.checks import ANY, flow
from calicokit.schema import cells, records
from calicokit.sentences import listed, plural

MOST = 50
"""Maximum findings of one kind reported individually."""

# ---- non-Calico rules


@check("foreign-drop-rule", needs={"drops": "dataplane.foreign_drops"})
def foreign_drop_rule(drops: pd.DataFrame) -> Iterator[Finding]:
    """Rules that neither Calico nor kube-proxy wrote and that drop what pods or Calico need."""
    groups = list(drops.groupby(["node", "table", "chain"], sort=False))
    for place, group in groups[:MOST]:
        node, name, chain = map(str, place)
        first = group.iloc[0]
        what = sorted({c for concerns in group["concerns"] for c in concerns})
        counted = group["packets"].dropna()
        packets = f" ({plural(int(counted.sum()), 'packet')} so far)" if len(counted) else ""
        more = f", and {plural(len(group) - 1, 'more rule')}" if len(group) > 1 else ""
        behind = bool(group["behind"].all())
        yield finding(
            "foreign-drop-rule",
            severity="warning" if behind else "",
            subject={"node": node, "table": name, "chain": chain},
            cause=f"On {node} a rule in {name} {chain} that neither Calico nor kube-proxy wrote {first['verdict']}s "
            f"{listed(what)}: {first['spec']}{more}{packets}; "
            + (_still_grew(group) if behind else f"for example {first['example']}."),
            remedy="Find what writes it (firewalld, ufw, a script: `iptables-save`, `nft list ruleset`), and remove "
            "it at its source, so that it does not return.",
            evidence=[
                Rows.of(source_of(str(b), str(f)), "dataplane.foreign_drops", _rule_keys(g), node)
                for (b, f), g in group.groupby(["backend", "family"])
            ],
            about={node, *what},
        )


def _still_grew(rules: pd.DataFrame) -> str:
    return (
        "what is known of such packets another rule accepts before it, and yet it took "
        f"{plural(int(rules['grown'].sum()), 'packet')} during sampling: of ends that nobody knows, or before its "
        "place in the chain changed."
    )


def _rule_keys(rules: pd.DataFrame) -> list[dict[str, Any]]:
    names = ("node", "family", "backend", "table", "chain", "rule")
    rows = (dict(zip(names, values, strict=True)) for values in cells(rules, *names))
    return [{k: int(v) if k == "rule" and pd.notna(v) else v for k, v in r.items() if pd.notna(v)} for r in rows]


@check(
    "iptables-backend-mixed",
    needs={"rules": "dataplane.rules"},
    wants={"felix": "felix.configuration"},
    told_by=("iptables-legacy-save",),  # nft shows what iptables-nft-save does
)
def backend_mixed(rules: pd.DataFrame, felix: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Calico's rules in one of the kernel's two rule systems, kube-proxy's in the other.

    With eBPF, Calico has no rules that need kube-proxy's marks, and kube-proxy's are a finding of their own.
    """
    wide = rules[rules["family"].isin(["ip", "ip6"]) & rules["backend"].isin(["nft", "legacy"])]
    wide = wide[~wide["node"].isin(in_ebpf(felix))]
    services = wide["chain"].str.match(r"KUBE-(?:SVC|SEP|SERVICES)")
    calico = _backends(wide[wide["owner"] == "calico"])
    proxy = _backends(wide[(wide["owner"] == "kube-proxy") & services])
    mixed = {n: (calico[n], proxy[n]) for n in calico if n in proxy and calico[n] - proxy[n]}
    if mixed:
        node, (ours, theirs) = next(iter(sorted(mixed.items())))
        yield finding(
            "iptables-backend-mixed",
            subject={"nodes": list(mixed)},
            cause=f"On {listed(mixed)} Calico's rules are in {listed(sorted(ours))} and kube-proxy's in "
            f"{listed(sorted(theirs))}: each packet traverses both, and neither sees the other's marks.",
            remedy="Set FelixConfiguration iptablesBackend to Auto, or to kube-proxy's backend (NFT or Legacy), and "
            "remove the rules left in the other one.",
            evidence=[
                Rows.of(f"iptables-{b}-save", "dataplane.rules", [{"node": node, "backend": b}], node)
                for b in sorted(ours | theirs)
            ],
        )


def _backends(rules: pd.DataFrame) -> dict[str, set[str]]:
    return {str(n): set(g) for n, g in rules.groupby("node")["backend"]}


# ---- drops


@check("end-of-tier-drop", needs={"drops": "dataplane.drops"})
def end_of_tier(drops: pd.DataFrame) -> Iterator[Finding]:
    """A tier other than the default one that applies to endpoints and ends without a verdict."""
    ends = drops[(drops["reason"] == "end-of-tier") & (drops["tier"] != "default") & drops["tier"].notna()]
    for tier, group in ends.groupby("tier"):
        grown = group[group["grown"].fillna(0) > 0]
        rows = grown if len(grown) else group[group["packets"].fillna(0) > 0]
        endpoints = sorted({_endpoint(r) for r in records(rows)} - {UNKNOWN})
        if not endpoints:
            continue
        count = int((grown["grown"] if len(grown) else rows["packets"]).sum())
        when = "during sampling" if len(grown) else "since the rules were programmed"
        yield finding(
            "end-of-tier-drop",
            severity="" if len(grown) else "info",
            subject={"tier": str(tier), "endpoints": endpoints},
            cause=f"The end of tier {tier} dropped {plural(count, 'packet')} of {listed(endpoints)} {when}: its "
            "policies select these endpoints, and none allowed or passed the packets.",
            remedy=f"End tier {tier} with a policy whose action is Pass, or allow the intended traffic in it.",
            evidence=_drop_rows(rows),
            about=set(endpoints) | set(rows["workload"].dropna()),
        )


def _endpoint(row: Any) -> str:
    """NS/POD of an endpoint that a rule belongs to, or the node of a host endpoint."""
    if isinstance(row.pod, str):
        return f"{row.namespace}/{row.pod}"
    return row.workload if isinstance(row.workload, str) else UNKNOWN


@check(
    "policy-drop",
    needs={"drops": "dataplane.drops"},
    wants={"flows": "dataplane.dropped_flows"},
    told_by=("bpf-counters",),
)
def policy_drop(drops: pd.DataFrame, flows: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Traffic that a policy, or a tier's end, dropped during sampling; totals are told as information."""
    decided = drops[drops["reason"].isin(DECIDED)]
    grown = decided[decided["grown"].fillna(0) > 0]
    found = _grouped(grown, flows)
    for subject, rows in list(found.items())[:MOST]:
        yield _dropped(subject, rows, watched=True)
    rest = decided[(decided["grown"].fillna(0) == 0) & (decided["packets"].fillna(0) > 0)]
    totals = {s: rows for s, rows in _grouped(rest, None).items() if s not in found and s[:2] != (UNKNOWN, UNKNOWN)}
    for subject, rows in list(totals.items())[:MOST]:
        yield _dropped(subject, rows, watched=False)


SINCE = "since the rules were programmed, which is normal"
DECIDED = ("policy", "end-of-tier", "no-profile", "to-host")
"""Reasons of drops that policy decided."""
NAMELESS = {"no-profile": "no policy and no profile", "to-host": "defaultEndpointToHostAction"}

Subject = tuple[str, str, str, str]


def _grouped(drops: pd.DataFrame, flows: pd.DataFrame | None) -> dict[Subject, list[Any]]:
    """Source, destination, port and policy → the rows of drops that tell it."""
    found: dict[Subject, list[Any]] = {}
    for row in records(drops):
        policy = row.policy if isinstance(row.policy, str) else NAMELESS.get(row.reason, UNKNOWN)
        for src, dst, port in _ends(row, flows):
            found.setdefault((src, dst, port, policy), []).append(row)
    return found


def _dropped(subject: Subject, rows: list[Any], watched: bool) -> Finding:
    src, dst, port, policy = subject
    first = rows[0]
    whose = f"rule {int(first.policy_rule)} of {policy}" if pd.notna(first.policy_rule) else policy
    tier = f", tier {first.tier}" if isinstance(first.tier, str) else ""
    which = f"{whose} ({first.direction}{tier})"
    allow = f"allow it in {policy} or an earlier policy"
    if policy == UNKNOWN:
        doubt = f" ({first.matches})" if isinstance(first.matches, str) else ""
        which, allow = f"{first.direction} policy{doubt}", "find its policy and allow it there"
    count = sum(int(r.grown if watched else r.packets) for r in rows)
    when = "during sampling" if watched else SINCE
    frame = pd.DataFrame(rows)
    return finding(
        "policy-drop",
        severity="" if watched else "info",
        subject={"src": src, "dst": dst, "port": int(port) if port.isdigit() else port, "policy": policy},
        cause=f"{plural(count, 'packet')} {_flow_in_words(src, dst, port)} dropped {when}, by {which}.",
        remedy=f"If this traffic is wanted, {allow}; `calicokit explain` shows every policy evaluated.",
        evidence=_drop_rows(frame),
        about={src, dst, policy},
    )


def _flow_in_words(src: str, dst: str, port: str) -> str:
    """Where dropped packets came from and went to, and which of that was not recorded."""
    ends = {"source": src, "destination": dst, "port": port}
    lost = [name for name, value in ends.items() if value == UNKNOWN]
    known = [
        *([f"from {src}"] if src != UNKNOWN else []),
        *([f"to {dst}{f' port {port}' if port != UNKNOWN else ''}"] if dst != UNKNOWN else []),
    ]
    return " ".join([*known, *([f"({listed(lost)} not recorded)"] if lost else [])])


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


def _drop_rows(rows: pd.DataFrame) -> list[Rows]:
    """The rows by the evidence that shows them."""
    parts = rows.groupby(["backend", "family"], dropna=False)
    return [Rows.of(source_of(str(b), str(f)), "dataplane.drops", _drop_keys(g)) for (b, f), g in parts]


def _drop_keys(rows: pd.DataFrame) -> list[dict[str, Any]]:
    names = ("node", "family", "backend", "table", "chain", "key")
    return [dict(zip(names, values, strict=True)) for values in cells(rows, *names)]


# ---- what explains what


@explains("end-of-tier-drop", "policy-drop")
def _tier(cause: Finding, effect: Finding) -> bool:
    return bool(effect.subject["policy"] == f"end-of-tier {cause.subject['tier']}")


@explains("policy-selects-nothing", "policy-drop")
def _wrong_selector(cause: Finding, effect: Finding) -> bool:
    """A selector that matches nothing, one edit away from the flow's ends."""
    src, dst = effect.subject["src"], effect.subject["dst"]
    return bool(cause.about & {flow(src, dst), flow(src, ANY), flow(ANY, dst)})


@explains("foreign-drop-rule", "datastore-unreachable", on="node")
def _walled(cause: Finding, effect: Finding) -> bool:
    return "the API server" in cause.about


for _effect in ("vxlan-blocked", "ipip-blocked", "wireguard-down", "typha-down"):
    explains("foreign-drop-rule", _effect)(lambda cause, effect: _kept_from(cause, effect))

WALLS = {
    "vxlan-blocked": "VXLAN",
    "ipip-blocked": "IPIP",
    "wireguard-down": "WireGuard",
    "typha-down": "Typha",
}


def _kept_from(cause: Finding, effect: Finding) -> bool:
    near = effect.id == "typha-down" or cause.subject["node"] in named_or_about(effect)
    return near and WALLS[effect.id] in cause.about

"""Checks of the kernel under the rules, and of Felix's programming. Words: diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.kernel.settings import STRICT, carrying
from calicokit.dataplane.programmed.policy_programs import FORM, NOT_COMPARED
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always
from calicokit.felix.state.configuration import in_force
from calicokit.schema import cells, records
from calicokit.sentences import listed, plural

FULL = 0.95
"""Share of its entries from which the conntrack table counts as full."""
HALF = 0.5
FEW = 10
"""So few drops can have other causes than a full table, or an overload."""
NOTABLE = 0.001
"""Share of an interface's packets from which drops are worth telling."""

# ---- forwarding and reverse paths


SWITCHES = {
    "ip_forward": "net.ipv4.ip_forward",
    "all_forwarding": "net.ipv4.conf.all.forwarding",
    "forwarding6": "net.ipv6.conf.all.forwarding",
}
"""Column of ``dataplane.kernel`` → the setting without which nothing of its IP version is forwarded."""


@check("ip-forward-off", needs={"kernel": "dataplane.kernel"}, wants={"nodes": "bgp.nodes"}, told_by=("sysctl-net6",))
def forward_off(kernel: pd.DataFrame, nodes: pd.DataFrame | None = None) -> Iterator[Finding]:
    """A node whose kernel does not forward; of IPv6 where Calico has an address of it for the node."""
    six = set() if nodes is None else set(nodes[nodes["address6"].notna()]["node"])
    for row in records(kernel):
        known = [c for c in SWITCHES if c != "forwarding6" or row.node in six]
        off = [SWITCHES[c] for c in known if pd.notna(value := getattr(row, c)) and value == 0]
        if not off:
            continue
        what = "packets of IPv6" if all("ipv6" in key for key in off) else "packets"
        rows = [Rows.of(*_shown(k), [{"node": row.node, "key": k}], row.node) for k in off]
        yield finding(
            "ip-forward-off",
            subject={"node": row.node},
            cause=f"{row.node} does not forward {what} ({listed(f'{k} = 0' for k in off)}): its pods reach only the "
            "node itself.",
            remedy=f"sysctl -w {off[0]}=1, and find what set it to 0 (/etc/sysctl.d, a hardening script).",
            evidence=rows,
            about={row.node},
        )


def _shown(key: str) -> tuple[str, str]:
    """Evidence and table that show a setting."""
    return ("sysctl-net6", "output.sysctl_net6") if "ipv6" in key else ("sysctl-net", "output.sysctl_net")


@check("rp-filter-strict", needs={"paths": "dataplane.reverse_paths"}, wants={"kernel": "dataplane.kernel"})
def filter_strict(paths: pd.DataFrame, kernel: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Packets that strict reverse-path filtering drops, as the route back leaves by another interface."""
    counted = {} if kernel is None else dict(cells(kernel, "node", "reverse_path_drops"))
    strict = paths[paths["rp_filter"] == STRICT]
    for (node, interface), group in strict.groupby(["node", "interface"]):
        first = group.iloc[0]
        back = f"via {first['back']}" if isinstance(first["back"], str) else "unreachable"
        drops = counted.get(node)
        seen = (
            f"; {plural(int(drops), 'packet')} dropped so far"
            if drops is not None and pd.notna(drops) and drops
            else ""
        )
        yield finding(
            "rp-filter-strict",
            subject={"node": str(node), "interface": str(interface)},
            cause=f"{node} applies strict reverse-path filtering on {interface}: packets from {first['source']} on "
            f"{listed(sorted(set(group['sender'])))} arrive there, but the best route back is {back}{seen}.",
            remedy=f"Make the return route symmetric (see routes.kernel), or set rp_filter of all and of {interface} "
            "to 2 where asymmetric routing is intended.",
            evidence=[
                Rows.of(
                    "ip-route-all",
                    "dataplane.reverse_paths",
                    [{"node": node, "interface": interface, "source": s} for s in group["source"]],
                    str(node),
                )
            ],
            about={str(node), *group["sender"]},
        )


@check("rp-filter-loose", needs={"settings": "output.sysctl_net", "log": "output.felix_log"})
def filter_loose(settings: pd.DataFrame, log: pd.DataFrame) -> Iterator[Finding]:
    """rp_filter is 2, and Felix refuses to run with it."""
    loose = settings[(settings["key"] == "net.ipv4.conf.all.rp_filter") & (settings["value"].astype("str") == "2")]
    refused = log[log["message"].astype("str").str.contains("RPF check is set to 'loose'", regex=False)]
    for node in sorted(set(loose["node"]) & set(refused["node"])):
        yield finding(
            "rp-filter-loose",
            subject={"node": node},
            cause=f"net.ipv4.conf.all.rp_filter is 2 on {node}, and Felix refuses to run with it, as it lets pods "
            "spoof source addresses.",
            remedy="Set net.ipv4.conf.all.rp_filter to 1 or 0 (or, at your own risk, ignoreLooseRPF: true in "
            "FelixConfiguration).",
            evidence=[
                Rows.of("sysctl-net", "output.sysctl_net", [{"node": node, "key": "net.ipv4.conf.all.rp_filter"}], node)
            ],
            about={node},
        )


# ---- connection tracking


@check("conntrack-full", needs={"kernel": "dataplane.kernel"}, wants={"log": "output.kernel_log"})
def tracking_full(kernel: pd.DataFrame, log: pd.DataFrame | None = None) -> Iterator[Finding]:
    """A node whose conntrack table is, or was, full."""
    said = log is not None and bool((log["kind"] == "conntrack").any())
    for row in records(kernel):
        at_limit = pd.notna(row.conntrack_used) and row.conntrack_used >= FULL
        lost = _number(row.conntrack_drop) + _number(row.conntrack_early_drop)
        if not at_limit and not lost:
            continue
        room = pd.notna(row.conntrack_used) and row.conntrack_used < HALF
        quiet = pd.notna(row.conntrack_grown) and row.conntrack_grown == 0
        few = not _number(row.conntrack_early_drop) and lost < FEW
        past = not at_limit and room and (quiet or few)
        used = f"{row.conntrack} of {row.conntrack_max} entries" if pd.notna(row.conntrack) else "its entries"
        yield finding(
            "conntrack-full",
            severity="info" if past else "",
            subject={"node": row.node},
            cause=f"{row.node} tracks {used}, dropped {plural(_number(row.conntrack_drop), 'packet')} for which no "
            f"entry could be created, and {plural(_number(row.conntrack_early_drop), 'entry', 'entries')} to make room"
            + ("; it is no longer full." if past else "; the kernel log reports a full table." if said else "."),
            remedy="Raise net.netfilter.nf_conntrack_max (kube-proxy: conntrack.maxPerCore), and find who opens so "
            "many connections (`conntrack -L`, grouped by source).",
            evidence=[
                Rows.of("conntrack-stats", "dataplane.kernel", [{"node": row.node}], row.node),
                *([Rows.of("kernel-log", "output.kernel_log", [{"kind": "conntrack"}])] if said else []),
            ],
            about={row.node},
        )


def _number(value: Any) -> int:
    return int(value) if pd.notna(value) else 0


@check("conntrack-stale", needs={"stale": "dataplane.stale_connections"})
def tracking_stale(stale: pd.DataFrame) -> Iterator[Finding]:
    """Tracked connections to what is gone, still in use."""
    for row in records(stale.drop_duplicates(["node", "protocol", "source", "destination", "dport", "backend"])):
        meant = f"{row.destination}:{row.dport}" if pd.notna(row.dport) else row.destination
        flow = f"{row.protocol} {row.source} to {meant}"
        flow += f" at {row.backend}" if row.backend != row.destination else ""
        key = {"node": row.node, "source": row.source, "backend": row.backend}
        yield finding(
            "conntrack-stale",
            subject={"node": row.node, "flow": flow},
            cause=f"{row.node} still tracks {flow}, and {row.source} still sends, but no pod has {row.backend} any "
            "more.",
            remedy=f"conntrack -D -p {row.protocol} -s {row.source} -d {row.destination} on {row.node}; if it "
            "returns, check whether kube-proxy on that node runs and is up to date.",
            evidence=[Rows.of("conntrack", "dataplane.stale_connections", [key], row.node)],
            about={row.node, row.backend},
        )


# ---- interfaces


@check("interface-errors", needs={"interfaces": "dataplane.interfaces"})
def interface_errors(interfaces: pd.DataFrame) -> Iterator[Finding]:
    """Errors or drops of an interface that grow while it is watched."""
    for row in records(carrying(interfaces)):
        errors, drops, packets = (_number(v) for v in (row.errors_grown, row.dropped_grown, row.packets_grown))
        many = drops >= FEW and drops >= NOTABLE * (packets + drops)
        if not errors and not many:
            continue
        told = [plural(n, w) for n, w in ((errors, "error"), (drops, "drop")) if n]
        yield finding(
            "interface-errors",
            subject={"node": row.node, "interface": row.interface},
            cause=f"{row.interface} of {row.node} ({row.carries}) counted {listed(told)} during sampling, for "
            f"{plural(packets, 'packet')}.",
            remedy="`ip -s -s link` and `ethtool -S` show which kind; check cables, drivers, MTUs and full queues.",
            evidence=[
                Rows.of(
                    "ip-link-stats", "dataplane.interfaces", [{"node": row.node, "interface": row.interface}], row.node
                )
            ],
            about={row.node},
        )


@check("interface-loss", needs={"interfaces": "dataplane.interfaces"}, wants={"felix": "felix.configuration"})
def interface_loss(interfaces: pd.DataFrame, felix: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Queues that lose packets: on purpose, or as too much comes."""
    plain = felix is not None and "true" not in in_force(felix, "bpfEnabled").values()
    for row in records(carrying(interfaces)):
        why = _loss(row, plain)
        if not why:
            continue
        yield finding(
            "interface-loss",
            subject={"node": row.node, "interface": row.interface},
            cause=f"{row.interface} of {row.node} ({row.carries}) {why}.",
            remedy=f"`tc -s qdisc show dev {row.interface}` shows it; `tc qdisc del dev {row.interface} root` removes "
            "a leftover qdisc. An intended limit (bandwidth annotations, a slow link) needs less traffic.",
            evidence=[
                Rows.of("tc-qdisc", "dataplane.interfaces", [{"node": row.node, "interface": row.interface}], row.node)
            ],
            about={row.node},
        )


def _loss(row: Any, plain: bool) -> str:
    """What loses packets; where eBPF is on, its programs drop at the same place as policing (``plain`` is false)."""
    kinds = set(str(row.queue).split(", ")) if isinstance(row.queue, str) else set()
    dropped, grown = _number(row.queue_dropped), _number(row.queue_grown)
    if pd.notna(row.loss_percent) and row.loss_percent > 0:
        return f"is configured to lose or corrupt {row.loss_percent:g} % of its packets (netem): {dropped} so far"
    if kinds & {"tbf", "htb", "police"} and dropped >= FEW:
        rate = f" of {row.rate_bps / 1e6:g} Mbit/s" if pd.notna(row.rate_bps) else ""
        return f"is rate-limited{rate} ({', '.join(sorted(kinds))}) and dropped {plural(dropped, 'packet')} over it"
    if kinds & {"ingress", "clsact"} and dropped >= FEW and plain:
        return f"polices ingress traffic ({', '.join(sorted(kinds))}) and dropped {plural(dropped, 'packet')}"
    if grown >= FEW and grown >= NOTABLE * _number(row.packets_grown):
        return f"has a full queue ({', '.join(sorted(kinds))}): it dropped {plural(grown, 'packet')} during sampling"
    return ""


# ---- what Felix programs


@check(
    "dataplane-program-failing",
    needs={"failures": "dataplane.failures"},
    wants={"compiled": "dataplane.bpf_endpoints"},
)
def program_failing(failures: pd.DataFrame, compiled: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Felix fails to program, to the end of its log and without success since, or in every scrape of its metrics."""
    for name, group in failures[failures["open"]].groupby("node"):
        node, areas = str(name), list(group["area"])
        row = next(records(group.sort_values("last").tail(1)))
        error = f" ({row.error})" if isinstance(row.error, str) else ""
        yield finding(
            "dataplane-program-failing",
            subject={"node": node},
            cause=f"Felix on {node} failed {int(group['failures'].sum())} times to program {listed(areas)}, and still "
            f"fails: {row.message.rstrip('.')}{error}.",
            remedy=f"Read the error in its log. {' '.join(LOOK_AT[a] for a in areas)}",
            evidence=[Rows.of("felix-log", "dataplane.failures", [{"node": node, "area": a} for a in areas], node)],
            about={node, *areas},
        )

    if compiled is not None:
        told = set(failures[failures["open"]]["node"])
        throughout = (compiled["dirty_in"] == compiled["scrapes"]) & (compiled["scrapes"] > 1)
        yield from map(_dirty, records(compiled[throughout & (compiled["dirty"] > 0) & ~compiled["node"].isin(told)]))


def _dirty(row: Any) -> Finding:
    return finding(
        "dataplane-program-failing",
        subject={"node": row.node},
        cause=f"Felix on {row.node} could not program {row.dirty} of {row.endpoints} endpoints of the eBPF dataplane, "
        f"in all {row.scrapes} scrapes of its metrics ({row.seconds:.0f} s).",
        remedy=f"Read the error in its log. {LOOK_AT['eBPF']}",
        evidence=[Rows.of("felix-metrics", "dataplane.bpf_endpoints", [{"node": row.node}], row.node)],
        about={row.node, "eBPF"},
    )


LOOK_AT = {
    "iptables": "On the node run iptables-save by hand: missing kernel modules, rules written by another nft version, "
    "or a held xtables lock are the usual causes.",
    "nftables": "On the node run nft list ruleset by hand: a table that nft cannot read, or a kernel without a part of "
    "nftables.",
    "IP sets": "On the node run ipset list by hand: an ipset older than the sets' revision, or sets that other rules "
    "still use.",
    "routes": "On the node run ip route and ip rule by hand: an interface or gateway that is not there, or another "
    "program that writes the same routes.",
    "eBPF": "On the node run bpftool net and tc filter show on the interface that it names: other programs there, a "
    "kernel that is too old, or a fault of this version of Calico.",
    "WireGuard": "On the node run wg show and lsmod: the wireguard module, and the device that Felix made.",
    "HNS": "On the Windows node run Get-HnsEndpoint and Get-HnsNetwork: endpoints that are gone, or an HNS that hangs.",
}
"""What is programmed → where to look when that fails."""


@check(
    "dataplane-stale",
    needs={"differences": "dataplane.differences"},
    wants={
        "readiness": "health.readiness",
        "memberships": "dataplane.memberships",
        "resynced": "dataplane.resynced",
    },
    absence=True,
)
def stale(
    differences: pd.DataFrame,
    readiness: pd.DataFrame | None = None,
    memberships: pd.DataFrame | None = None,
    resynced: pd.DataFrame | None = None,
) -> Iterator[Finding]:
    """What is programmed is not what policies ask for, though Felix is ready; not loud where nobody asked Felix."""
    asked = {} if readiness is None else dict(cells(readiness, "node", "ready"))
    unready = {n for n, r in asked.items() if r is False}
    found: dict[tuple[str, str], list[tuple[str, dict[str, Any], tuple[str, str]]]] = {}
    compared = differences[differences["difference"] != NOT_COMPARED]
    for row in records(compared[~compared["node"].isin(unready)]):
        policy = row.policy if isinstance(row.policy, str) else UNKNOWN
        key = {k: v for k in ("node", "difference", "policy", "pod") if isinstance(v := getattr(row, k), str)}
        where = ("bpf-policy" if row.form == FORM else "iptables-nft-save", "dataplane.differences")
        found.setdefault((row.node, policy), []).append((_difference(row), key, where))
    for row in records(memberships) if memberships is not None else ():
        for policy in () if row.node in unready else row.policies:
            key = {"node": row.node, "set": row.set}
            where = ("iptables-nft-save", "dataplane.memberships")
            found.setdefault((row.node, policy), []).append((_membership(row), key, where))
    for (node, policy), told in found.items():
        whose = policy if policy != UNKNOWN else "policy"
        more = f", and {plural(len(told) - 1, 'more difference')}" if len(told) > 1 else ""
        yield finding(
            "dataplane-stale",
            severity="" if node in asked else "warning",
            subject={"node": node, "policy": policy},
            cause=f"The dataplane programmed on {node} differs from {whose}: {told[0][0]}{more}.",
            remedy="Restart calico-node on the node, so that Felix reprograms everything; then find what changes its "
            "rules, or which error in its log kept it from programming.",
            evidence=[
                Rows.of(*where, [k for _, k, w in told if w == where], node)
                for where in dict.fromkeys(w for _, _, w in told)
            ],
            about={node, policy},
        )
    yield from _restored(resynced) if resynced is not None else ()


def _difference(row: Any) -> str:
    alone = "in the rules of IPv6 " if pd.notna(row.version) and row.version == 6 else ""
    return alone + _in_words(row)


def _in_words(row: Any) -> str:
    where = f"{row.namespace}/{row.pod}" if isinstance(row.pod, str) else row.chain
    its = f"chain {row.chain}" if isinstance(row.chain, str) else "rules in programs"
    if row.difference == "no-chain":
        return f"{where} has no {row.direction} chain"
    if row.difference == "not-loaded":
        return f"the {row.direction} policy program of {where} could not be loaded ({row.programmed})"
    if row.difference == "rules":
        does = "do" if row.form == FORM else "does"
        return f"its {row.direction} {its} {does} {row.programmed}, but the policy's rules say {row.asked}"
    said = {"missing": "is not called for", "extra": "is still called for", "order": "is called in another order for"}
    return f"it {said[row.difference]} {where} ({row.direction}: {row.programmed}; should be {row.asked})"


def _membership(row: Any) -> str:
    parts = [f"{w} {listed(a)}" for w, a in (("lacks", row.lacks), ("still holds", row.extra)) if a]
    return f"the IP set of {row.selector} {' and '.join(parts)}"


def _restored(resynced: pd.DataFrame) -> Iterator[Finding]:
    for row in records(resynced):
        yield finding(
            "dataplane-stale",
            severity="info",
            subject={"node": row.node, "policy": row.policy if isinstance(row.policy, str) else UNKNOWN},
            cause=f"Felix on {row.node} found chain {row.chain} modified by another program and rewrote it, "
            f"{plural(row.times, 'time')}.",
            remedy="Find what writes to Calico's chains, if it happens again.",
            evidence=[Rows.of("felix-log", "dataplane.resynced", [{"node": row.node, "chain": row.chain}], row.node)],
        )


# ---- what explains what


@explains("dataplane-stale", "policy-drop", on="policy")
def _old_rules(cause: Finding, effect: Finding) -> bool:
    return cause.severity == "critical"


for _cause in ("dataplane-program-failing", "felix-dead", "felix-not-ready", "datastore-unreachable"):
    explains(_cause, "dataplane-stale", on="node")(always)
for _effect in ("felix-dead", "felix-not-ready", "felix-slow", "felix-resyncing", "log-error-burst", "wireguard-down"):
    explains("dataplane-program-failing", _effect, on="node")(always)

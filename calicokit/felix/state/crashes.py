"""Crashes of Felix (PANIC, FATAL, Go runtime errors), and what the last log lines mean.

Felix ends itself by a line of level PANIC or FATAL, or Go's runtime ends it. That a signal told it to, that it wants to
restart with a changed configuration (exit status 129), and that it gives up on Typha or the API server are no crashes:
other findings name those. Facts: felix/daemon/daemon.go, felix/dataplane/driver.go,
felix/dataplane/linux/int_dataplane.go and bpf_ep_mgr.go, felix/iptables/table.go, felix/nftables/table.go,
felix/ipsets/ipsets.go, felix/environment/feature_detect_linux.go @ HEAD (87c15906); of ipset's revisions
projectcalico/calico#8372 and #9551.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.felix.state.health import NODE
from calicokit.felix.state.health import runs as runs_of
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

CRASHES = Schema(
    "felix.crashes",
    "Nodes on which Felix ended by a fault of its own (PANIC, FATAL or a Go panic), with what its last words mean.",
    (
        NODE,
        Column("why", "str", "known reason: ipset-revision, iptables-module-missing, nft-incompatible, … or unknown"),
        Column("times", "int", "runs that ended so, in the logs that were read", "runs"),
        Column("first", "time", "first such end"),
        Column("last", "time", "last such end"),
        Column("until", "time", "end of the log"),
        Column("open", "bool", "its log ends with it, or it happened twice or more, the last time within ten minutes"),
        Column("message", "str", "its last words"),
        Column("error", "str", "the error that stands before them; null if none"),
        Column("means", "str", "what the reason means"),
        Column("remedy", "str", "what to do"),
        Column("log", "str", "evidence: felix-log, or felix-previous-log"),
    ),
    key=("node",),
)

AGAIN = 2
LATELY = pd.Timedelta(minutes=10)
GO_ERROR = "panic: runtime error"
"""A fault of the program's, whatever stood before it."""
BEFORE = pd.Timedelta(seconds=60)
"""Errors of so long before its end are asked for its reason."""
MOST_ERRORS = 8
_NO_REASON = re.compile(r"Current (?:state of iptables|nftables table state)|bpfin\.cali|assuming|bpftool")
"""Lines that hold whole rulesets, and what Felix says of an eBPF dataplane that is off."""
NO_CRASH = re.compile(
    r"OS signal|config changed|encapsulation changed|it was told to|[Tt]ypha|[Dd]atastore|Restarting to avoid leaking",
)
"""Ends that are wanted, or that the findings about Typha and the API server name."""


@dataclass(frozen=True)
class Reason:
    """One reason: its word in the vocabulary, what tells it in Felix's words, what it means and what to do."""

    why: str
    tells: str
    means: str
    remedy: str


REASONS = (
    Reason(
        "ipset-revision",
        r"Kernel and userspace incompatible|revision \d+ not supported by userspace|settype \S+ with revision",
        "the ipset of calico-node's image does not know the revision of a set that the kernel, or a newer ipset of "
        "another program, made",
        "Upgrade Calico to a version whose image has a newer ipset. Until then: find who makes such sets on the node "
        "(`ipset list -t`), or use the kernel that the node had before.",
    ),
    Reason(
        "nft-incompatible",
        r"incompatible,? use 'nft' tool|incompatible nft rules|nftables command failed|Failed to program nftables|"
        r"knftables client|nft transaction|Unable to (?:determine whether to use the nftables|detect kube-proxy nft)|"
        r"cache initialization failed",
        "nft cannot read or write the node's nftables rules: another program wrote rules in a newer format, or the "
        "kernel lacks a part of nftables",
        "On the node run `nft list ruleset` and find which table cannot be read, and who writes it (a newer nft, "
        "firewalld, kube-proxy in nftables mode); bring both to matching versions, or remove that table.",
    ),
    Reason(
        "unknown",
        r"holding the xtables lock|xtables\.lock",
        "another program holds the xtables lock, without which iptables cannot be changed",
        "Find who holds it (`fuser -v /run/xtables.lock` on the node), and that /run/xtables.lock is mounted from the "
        "host into calico-node and kube-proxy.",
    ),
    Reason(
        "iptables-module-missing",
        r"can't initialize ip6?tables table|do you need to insmod|Couldn't load (?:match|target)|"
        r"No chain/target/match by that name|Failed to find iptables command|RULE_APPEND failed|"
        r"missing kernel module|iptables or your kernel needs to be upgraded|does not exist \(do you need",
        "the kernel lacks a module that Calico's iptables rules need, or the image lacks the command",
        "On the node: `lsmod | grep -e ip_tables -e xt_set -e nf_conntrack`, and load what is missing (modprobe "
        "ip_tables iptable_nat iptable_mangle iptable_raw xt_set xt_addrtype ip_set; ip6_tables for IPv6); or set "
        "iptablesBackend to the one the kernel has (Legacy or NFT).",
    ),
    Reason(
        "bpf-load-failed",
        r"(?i)\bbpf\b|bpffs|/sys/fs/bpf|Failed to set qdisc on lo|interface state map|connect-time load balancer",
        "Felix could not set up the eBPF dataplane: its file system is not mounted, or the kernel refuses programs or "
        "maps",
        "On the node: is /sys/fs/bpf mounted (`mount | grep bpf`), and is the kernel one that Calico's eBPF dataplane "
        "supports (5.10 or newer)? See its log for the verifier's words; bpfEnabled: false goes back to iptables.",
    ),
    Reason(
        "configuration",
        r"RPF check is set to 'loose'|[Mm]ark ?[Bb]its?\b|Mark(?:Mask| mask)|detect host MTU|"
        r"parse/validate|[Ff]ailed to parse|Failed to override|Panicking because config told me|Invalid CIDR|"
        r"[Ii]nvalid (?:value|config)|out of range|static rules file",
        "Felix cannot run with the configuration that it was given",
        "Correct the field that its last words name in FelixConfiguration (default, or node.NAME) or in calico-node's "
        "FELIX_… variables. For an MTU that cannot be detected set mtuIfacePattern to the node's interfaces, or mtu.",
    ),
    Reason(
        "kernel-feature-missing",
        r"[Oo]peration not supported|[Pp]rotocol not supported|[Aa]ddress family not supported|netlink feature|"
        r"no such module|modprobe: FATAL|not supported by (?:the )?kernel|connect to netlink",
        "the kernel lacks something that Felix needs",
        "Check the node's kernel and its modules against Calico's requirements (`uname -r`, `dmesg | tail`); what "
        "failed stands in its last words.",
    ),
    Reason(
        "unknown",
        r"out of memory|cannot allocate memory",
        "it could get no memory",
        "Raise calico-node's memory limit, or find what fills the node (`kubectl top`, dmesg).",
    ),
)
UNEXPLAINED = Reason(
    "unknown",
    "",
    "",
    "Read the lines before it in Felix's log, and look for its last words in Calico's issues and release notes; a "
    "panic that names no cause of the node's is a fault of this version of Calico.",
)


@table(
    CRASHES,
    needs={"log": "output.felix_log", "runs": "felix.runs"},
    wants={"before": "output.felix_previous_log", "now": "@now"},
)
def crashes(
    log: pd.DataFrame, runs: pd.DataFrame, before: pd.DataFrame | None = None, now: pd.Timestamp | None = None
) -> pd.DataFrame:
    """One row for each node whose Felix ended so; see :data:`CRASHES`."""
    ends: dict[str, list[_End]] = {}
    until: dict[str, pd.Timestamp] = {}
    earlier = [] if before is None else [("felix-previous-log", before, runs_of(before))]
    for id_, lines, its_runs in (*earlier, ("felix-log", log, runs)):
        ran = {str(node): list(records(own)) for node, own in its_runs.groupby("node")}
        for node, own in lines.groupby("node", sort=True):
            ends.setdefault(str(node), []).extend(_ends(ran.get(str(node), []), own, id_))
            if len(own["time"].dropna()):
                until[str(node)] = own["time"].max()
    return CRASHES.frame([_row(n, found, until[n], now) for n, found in ends.items() if any(e.crash for e in found)])


@dataclass(frozen=True)
class _End:
    """How a run of Felix ended; ``crash`` is null for a run that goes on, or ended otherwise."""

    run: Any
    log: str
    crash: str | None
    words: str
    error: str | None


def _ends(runs: list[Any], lines: pd.DataFrame, log: str) -> Iterator[_End]:
    for run in runs:
        crash = (
            run.ended if isinstance(run.ended, str) and not run.restarts and not NO_CRASH.search(run.ended) else None
        )
        said, error = _said(lines, run) if crash else ("", None)
        yield _End(run, log, crash, said, error)


def _said(lines: pd.DataFrame, run: Any) -> tuple[str, str | None]:
    """What the run said of errors before its last words, and the line of it that tells most."""
    own = lines[(lines["pid"] == run.pid) & (lines["time"] >= run.last - BEFORE) & (lines["time"] <= run.last)]
    bad = own[own["level"].isin(["WARNING", "ERROR"]) & ~own["message"].str.contains(_NO_REASON, na=False)]
    texts = [" ".join(t for t in row if isinstance(t, str)) for row in cells(bad, "message", "fields")][-MOST_ERRORS:]
    telling = next((t for t in reversed(texts) if _reason_in(t) is not None), texts[-1] if texts else None)
    return "\n".join(texts), telling


def _reason_in(text: str) -> Reason | None:
    return next((r for r in REASONS if re.search(r.tells, text)), None)


def _row(node: str, ends: list[_End], until: pd.Timestamp, now: pd.Timestamp | None) -> dict[str, Any]:
    crashed = [e for e in ends if e.crash]
    last = crashed[-1]
    by_itself = GO_ERROR in str(last.crash)
    reason = UNEXPLAINED if by_itself else _reason_in(str(last.crash)) or _reason_in(last.words) or UNEXPLAINED
    lately = (until if now is None else now) - last.run.last <= LATELY
    return {
        "node": node,
        "why": reason.why,
        "times": len(crashed),
        "first": crashed[0].run.last,
        "last": last.run.last,
        "until": until,
        "open": bool(ends[-1] is last or (len(crashed) >= AGAIN and lately)),
        "message": last.crash,
        "error": last.error,
        "means": reason.means or None,
        "remedy": reason.remedy,
        "log": last.log,
    }

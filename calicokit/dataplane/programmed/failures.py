"""What Felix fails to program, in its words: rules, IP sets, routes, eBPF programs and maps, WireGuard, Windows' HNS.

A failure that goes on is told by its persistence, not by a count: nothing says that it succeeded afterwards, it was
logged in the log's last minute, and either more than once or right at the log's end. Words: felix/iptables/table.go,
felix/nftables/table.go, felix/ipsets/ipsets.go (the same @ v3.26.5), felix/nftables/ipsets.go,
felix/dataplane/linux/int_dataplane.go, bpf_ep_mgr.go, bpf_route_mgr.go and endpoint_mgr.go, felix/bpf/ipsets/ipsets.go,
felix/bpf/proxy/proxy.go, felix/routetable/route_table.go, felix/routerule/route_rule.go, felix/vxlanfdb/vxlan_fdb.go,
felix/wireguard/wireguard.go, felix/dataplane/windows/endpoint_mgr.go, vxlan_mgr.go and win_dataplane.go @ HEAD
(87c15906); "Failed to apply policy to endpoint" @ v3.30 in projectcalico/calico#10376.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema

FAILURES = Schema(
    "dataplane.failures",
    "Dataplane programming failures from Felix's log, per node and area.",
    (
        Column("node", "str", "node"),
        Column("area", "str", "what it fails to program: iptables, nftables, IP sets, routes, eBPF, WireGuard, HNS"),
        Column("failures", "int", "log lines that report a failure", "lines"),
        Column("message", "str", "last such message"),
        Column("error", "str", "error in that message"),
        Column("first", "time", "first"),
        Column("last", "time", "last"),
        Column("until", "time", "end of the log"),
        Column("succeeded", "time", "last success after a retry"),
        Column("open", "bool", "it goes on: no success since, and still in the last minute of the log"),
    ),
    key=("node", "area"),
)

AREAS = {
    "iptables": r"Failed to program iptables|Failed to execute ip\(6\)tables-restore command|ip6?tables\S*-save "
    r"(?:command )?failed|iptables save failed|Failed to load iptables state",
    "nftables": r"Failed to program nftables|Failed to run nft transaction|nftables command failed|"
    r"Failed to load nftables table state",
    "IP sets": r"Failed to complete ipset restore|Failed to update IP sets|Persistently failed to update IP sets|"
    r"Bad return code from 'ipset|Failed to read ipset|Failed to write to ipset restore|Failed to start ipset restore|"
    r"Failed to get the list of (?:Calico ipsets|IP sets)",
    "routes": r"Second attempt at updating routing table failed|Failed to synchronize routing (?:table|rules)|"
    r"Failed to synchronize (?:VXLAN FDB|link addr) entries|Failed to list routing rules|Failed to connect to netlink|"
    r"Failed to add rule from dataplane|Failed to add some \S+ entries",
    "eBPF": r"Failed to apply policy to (?:endpoint|interface)|Failed to sync ifstate|"
    r"Failed to write updates to ifstate BPF map|Failed to load default policies|Failed to add IP set entry|"
    r"Failed to (?:update|delete from) BPF map|Failed to iterate over BPF map|Failed invoking dataplane syncer|"
    r"Failed to attach|Failed to load (?:BPF|bpf|XDP)|Failed to configure BPF|"
    r"Failed to process XDP member updates|Unable to attach",
    "WireGuard": r"[Ee]rror (?:obtaining|querying|generating|deleting|updating) \S*.{0,20}"
    r"(?:[Ww]ireguard|link client|private-key)|(?:failed|Failed|unable) to .{0,40}[Ww]ireguard|"
    r"interface is not of type wireguard",
    "HNS": r"Failed to apply rules(?: update|\.)|Failed to (?:add|remove unwanted) VXLAN route policy|"
    r"Not all VXLAN route updates succeeded|Failed to look up (?:one or more )?HNS|Failed to martial HCN policy",
}
"""What is programmed → how the messages of its failures begin. Felix repeats a routing table's first attempt at once,
so that only the second one counts."""
_AREA = {area: re.compile(words) for area, words in AREAS.items()}
_COMES_AND_GOES = re.compile(r"proxy is not initialized|[Ll]ink not found|no such (?:device|network interface)", re.I)
"""Errors of an interface that has just gone with its pod, and of a proxy that starts."""
_SUCCEEDED = "Succeeded after retry"
_OF_RETRIES = ("iptables", "nftables")
"""Areas whose success after a retry is logged."""

STILL = pd.Timedelta(seconds=60)
"""Before the end of Felix's log, the last failure of one that goes on."""
APART = pd.Timedelta(seconds=1)
AT_THE_END = pd.Timedelta(seconds=5)
LOUD = frozenset(("WARNING", "ERROR", "FATAL", "PANIC"))
AGAIN = 2


@table(FAILURES, needs={"log": "output.felix_log"})
def failures(log: pd.DataFrame) -> pd.DataFrame:
    """One row for each node and area in which its Felix failed to program; see :data:`FAILURES`."""
    rows = []
    for node, lines in log.groupby("node"):
        until = lines["time"].max()
        succeeded = lines[lines["message"].str.startswith(_SUCCEEDED, na=False)]["time"].max()
        loud = lines[lines["level"].isin(LOUD)]
        areas = loud["message"].map(_area, na_action="ignore")
        passing = loud["error"].str.contains(_COMES_AND_GOES, na=False)
        for area, failed in loud[areas.notna() & ~passing].groupby(areas):
            last = failed.iloc[-1]
            well = succeeded if area in _OF_RETRIES else pd.NaT
            rows.append(
                {
                    "node": node,
                    "area": area,
                    "failures": len(failed),
                    "message": str(last["message"]).splitlines()[0],
                    "error": last["error"] if isinstance(last["error"], str) else None,
                    "first": failed["time"].min(),
                    "last": failed["time"].max(),
                    "until": until,
                    "succeeded": well,
                    "open": _goes_on(failed, until, well),
                }
            )
    return FAILURES.frame(rows)


def _area(message: str) -> str | None:
    return next((area for area, words in _AREA.items() if words.match(message)), None)


def _goes_on(failed: pd.DataFrame, until: pd.Timestamp, succeeded: Any) -> bool:
    """Two lines are enough where they are all that there is; one event's lines, with the log going on, are not."""
    times = failed["time"].dropna()
    if not len(times) or len(failed) < AGAIN:
        return False
    last = times.max()
    if (pd.notna(succeeded) and succeeded > last) or until - last > STILL:
        return False
    late = times[times >= until - STILL]
    return bool(until - last <= AT_THE_END or late.max() - late.min() > APART)

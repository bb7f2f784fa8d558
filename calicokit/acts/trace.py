"""Trace one flow through a node's rules for some seconds.

Three ways, by what programs the rules and what the image has: nft with a table of its own whose set forgets the flow
by itself (rules of nftables and of iptables-nft are traced alike), iptables-nft with xtables-monitor, iptables-legacy
with the kernel's log. The rule of iptables stops matching at a time that it holds itself. All are limited in rate.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event

from calicokit.acts.model import LIMIT, ActError, Execute, Plan, Step, checked_name, delayed

PROTOCOLS = ("tcp", "udp")
MOST_SECONDS = 300
PER_SECOND, BURST = 20, 40
NFT, IPTABLES, LEGACY = "nft", "iptables-nft", "iptables-legacy"


@dataclass(frozen=True)
class Flow:
    """What is traced, as it enters the node: from an address to an address and port, and the answers."""

    source: str
    destination: str
    port: int
    protocol: str = "tcp"

    def __post_init__(self) -> None:
        try:
            versions = {ipaddress.ip_address(a).version for a in (self.source, self.destination)}
        except ValueError as error:
            raise ActError(f"{error}.") from error
        if len(versions) != 1:
            raise ActError(f"{self.source} and {self.destination} are not of one IP version.")
        if not 0 < self.port < 65536 or self.protocol not in PROTOCOLS:
            raise ActError(f"Give a port from 1 to 65535 of {' or '.join(PROTOCOLS)}.")

    @property
    def version(self) -> int:
        return ipaddress.ip_address(self.source).version

    def __str__(self) -> str:
        return f"{self.protocol} from {self.source} to {self.destination} port {self.port}"


def plan(pod: tuple[str, str], node: str, flow: Flow, seconds: int, tag: str, execute: Execute) -> Plan:
    """The plan for a node's calico-node pod, after looking which way works there."""
    if not 0 < seconds <= MOST_SECONDS:
        raise ActError(f"Give between 1 and {MOST_SECONDS} seconds.")
    checked_name(tag, "mark")
    way = _way(flow, execute)
    if way == NFT:
        steps, reader, changes = _nft(flow, seconds, tag)
    else:
        steps, reader, changes = _iptables(way, flow, _until(execute, seconds), seconds, tag)
    notes = ["traced packets cost the node time; no more than 20 a second are traced"]
    if way != NFT:
        notes.append("Felix may log `Detected out-of-sync inserts` once and put its own rule first again")
    if way == LEGACY:
        notes.append("traces go to the kernel's log, and nowhere where net.netfilter.nf_log.2 (10 for IPv6) is NONE")
    return Plan(
        title=f"Trace {flow} on {node} for {seconds} s ({way})",
        pod=pod,
        container="calico-node",
        changes=changes,
        restarts="nothing",
        undone="it is removed at the end, on errors and on Ctrl-C",
        expires=f"it matches nothing any more after {seconds + 30} s, and a process on the node removes it then",
        seconds=float(seconds),
        steps=steps,
        timer=delayed(seconds + 30, *(s.undo for s in steps), all_of_them=True),
        reader=reader,
        notes=tuple(notes),
    )


Parts = tuple[tuple[Step, ...], Step, str]


def _nft(flow: Flow, seconds: int, tag: str) -> Parts:
    family, name = ("ip", "ipv4_addr") if flow.version == 4 else ("ip6", "ipv6_addr")
    table = f"{family} calicokit_{tag}"
    there = f"{flow.source} . {flow.destination} . {flow.protocol} . {flow.port} timeout {seconds + 30}s"
    back = f"{flow.destination} . {flow.source} . {flow.protocol} . {flow.port} timeout {seconds + 30}s"
    traced = f"limit rate {PER_SECOND}/second burst {BURST} packets meta nftrace set 1"
    words = [
        f"add table {table}",
        f"add set {table} there {{ type {name} . {name} . inet_proto . inet_service ; flags timeout ; }}",
        f"add set {table} back {{ type {name} . {name} . inet_proto . inet_service ; flags timeout ; }}",
        f"add element {table} there {{ {there} }}",
        f"add element {table} back {{ {back} }}",
    ]
    for chain in ("prerouting", "output"):
        words.append(f"add chain {table} {chain} {{ type filter hook {chain} priority -350 ; }}")
        for way, port in (("there", "dport"), ("back", "sport")):
            match = f"{family} saddr . {family} daddr . meta l4proto . th {port} @{way}"
            words.append(f"add rule {table} {chain} {match} {traced}")
    remove = ("nft", "delete", "table", *table.split())
    steps = (Step(("nft", " ; ".join(words)), "add the table that marks the flow", remove),)
    reader = Step(
        ("timeout", str(seconds + 10), "nft", "-n", "monitor", "trace"), "prints the traces", (), seconds + 15.0
    )
    return steps, reader, f"a table of nftables of its own, {table}, that marks packets of this flow to be traced"


def _iptables(way: str, flow: Flow, until: str, seconds: int, tag: str) -> Parts:
    tool = way if flow.version == 4 else way.replace("iptables", "ip6tables")
    width = 32 if flow.version == 4 else 128
    steps = []
    for chain in ("PREROUTING", "OUTPUT"):
        for source, destination, port in (
            (flow.source, flow.destination, "--dport"),
            (flow.destination, flow.source, "--sport"),
        ):
            match = (
                *("-s", f"{source}/{width}", "-d", f"{destination}/{width}", "-p", flow.protocol),
                *("-m", flow.protocol, port, str(flow.port), "-m", "time", "--datestop", until),
                *("-m", "limit", "--limit", f"{PER_SECOND}/second", "--limit-burst", str(BURST)),
                *("-m", "comment", "--comment", f"calicokit-{tag}", "-j", "TRACE"),
            )
            put = (tool, "-w", "5", "-t", "raw")
            steps.append(Step((*put, "-I", chain, "1", *match), f"trace it in {chain}", (*put, "-D", chain, *match)))
    read = ("xtables-monitor", "--trace") if way == IPTABLES else ("cat", "/dev/kmsg")
    reader = Step(("timeout", str(seconds + 10), *read), "prints the traces", (), seconds + 15.0)
    return tuple(steps), reader, f"four TRACE rules in {tool}'s table raw, marked calicokit-{tag}"


def _way(flow: Flow, execute: Execute) -> str:
    """Rules of iptables-legacy are seen by itself only; nft sees all others."""
    save = "iptables-legacy-save" if flow.version == 4 else "ip6tables-legacy-save"
    legacy = execute((save, "-t", "raw"), LIMIT, Event())
    if legacy.exit == 0 and re.search(rb"^:cali-", legacy.stdout, re.MULTILINE):
        return LEGACY
    return NFT if execute(("nft", "--version"), LIMIT, Event()).exit == 0 else IPTABLES


def _until(execute: Execute, seconds: int) -> str:
    """When the rule stops to match, by the node's own clock, in the UTC that xt_time compares with."""
    ran = execute(("date", "-u", "+%Y-%m-%dT%H:%M:%S"), LIMIT, Event())
    try:
        now = datetime.strptime(ran.stdout.decode().strip(), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise ActError("The node's clock cannot be read, so the rule could not expire by itself.") from error
    return (now + timedelta(seconds=seconds + 30)).strftime("%Y-%m-%dT%H:%M:%S")


def traces(plan: Plan, output: str) -> tuple[str, str]:
    """The kind of text that the plan's reader prints, and the lines of it that are traces."""
    if plan.reader is None or "/dev/kmsg" not in plan.reader.argv:
        return "nft-trace", output
    kernel = [line.partition(";")[2] for line in output.splitlines() if "TRACE: " in line]
    return "dmesg", "\n".join(kernel)

"""What ``nft monitor trace`` and ``xtables-monitor --trace`` print: the way of packets through a node's rules.

Sources: nft 1.0.6 and xtables-monitor 1.8.9, run on a real kernel (tests/acts/test_real.py runs them again where they
are installed); src/netlink.c of nftables and iptables/xtables-monitor.c of iptables for the other forms.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.schema import Column, Schema

TRACE = Schema(
    "nft_trace",
    "steps of traced packets through chains, in order",
    (
        Column("trace", "str", "trace id of the packet"),
        Column("event", "str", "packet (as it enters a chain), rule, verdict, policy or return"),
        Column("family", "str", "ip, ip6, inet, …"),
        Column("table", "str", "table; null for a packet that xtables-monitor prints"),
        Column("chain", "str", "chain; null as above"),
        Column("verdict", "str", "accept, drop, continue, jump CHAIN, …; null for a packet"),
        Column("rule", "str", "rule that matched; its handle, where it was added after the monitor started"),
        Column("in_interface", "str", "ingress interface"),
        Column("out_interface", "str", "egress interface"),
        Column("source", "str", "source address"),
        Column("destination", "str", "destination address"),
        Column("protocol", "str", "tcp, udp, icmp, …"),
        Column("source_port", "int", "source port"),
        Column("destination_port", "int", "destination port"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source="nft 1.0.6 and xtables-monitor 1.8.9 on Linux 6.18",
)

_NFT = re.compile(
    r"trace id ([0-9a-f]{1,16}) (\w{1,10}) (\S{1,200}) (\S{1,200})"
    r" (packet:|rule|verdict|policy|return|unknown rule)(?: (.*))?"
)
_RULE = re.compile(r"(.*?) ?\(verdict ([^()]{1,300})\)")
_PACKET = re.compile(r"PACKET: (\d{1,3}) ([0-9a-f]{8})(?: (.*))?")
_TRACE = re.compile(
    r"TRACE: (\d{1,3}) ([0-9a-f]{8}) ([^\s:]{1,100}):([^\s:]{1,200}):(rule|return|policy)(?::0x[0-9a-f]{1,16})?"
    r":(\S{1,300})(?: +(.*))?"
)
_FAMILIES = {"2": "ip", "10": "ip6", "0": "unspec", "1": "inet", "7": "bridge", "3": "arp"}
_FIELDS = {
    "in_interface": re.compile(r'\biif(?:name)? "?([^" ]{1,64})|\bIN=(\S{1,64})'),
    "out_interface": re.compile(r'\boif(?:name)? "?([^" ]{1,64})|\bOUT=(\S{1,64})'),
    "source": re.compile(r"\bip6? saddr (\S{1,64})|\bSRC=(\S{1,64})"),
    "destination": re.compile(r"\bip6? daddr (\S{1,64})|\bDST=(\S{1,64})"),
    "protocol": re.compile(
        r"\b(tcp|udp|sctp|dccp|udplite) sport\b|\bip protocol (\w{1,20})|\bPROTO=(\w{1,20})|\b(icmp(?:v6)?) type"
    ),
    "source_port": re.compile(r"\bsport (\d{1,5})\b|\bSPORT=(\d{1,5})\b|\bSPT=(\d{1,5})\b"),
    "destination_port": re.compile(r"\bdport (\d{1,5})\b|\bDPORT=(\d{1,5})\b|\bDPT=(\d{1,5})\b"),
}


@parser("nft-trace", TRACE, marks=r"^(trace id [0-9a-f]+ \w+ | ?(PACKET|TRACE): \d+ [0-9a-f]{8} )")
def nft_trace(text: Text) -> dict[str, pd.DataFrame]:
    """``nft monitor trace`` and ``xtables-monitor --trace``: one row for each step of each traced packet.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("nft-trace", "trace id 1f ip filter INPUT rule tcp dport 80 drop (verdict drop)").frame.iloc[0]
    >>> row["chain"], row["rule"], row["verdict"]
    ('INPUT', 'tcp dport 80 drop', 'drop')
    """
    rows = []
    for line in text.lines():
        row = _row(line)
        if row is None:
            text.reject(line, "trace id …, PACKET: … or TRACE: …")
        else:
            rows.append({**row, "line": line.number})
    return {TRACE.name: TRACE.frame(rows)}


def _row(line: Line) -> dict[str, Any] | None:
    body = line.text.strip()
    if found := _NFT.fullmatch(body):
        trace, family, table, chain, event, rest = found.groups()
        about = {
            "trace": trace,
            "family": family,
            "table": table,
            "chain": chain,
            "event": event.rstrip(":").removeprefix("unknown "),
        }
        return {**about, **_said(about["event"], rest or "")}
    if found := _PACKET.fullmatch(body):
        return {"trace": found[2], "family": _FAMILIES.get(found[1]), "event": "packet", **_packet(found[3] or "")}
    if found := _TRACE.fullmatch(body):
        number, trace, table, chain, event, verdict, rule = found.groups()
        about = {"trace": trace, "family": _FAMILIES.get(number), "table": table, "chain": chain, "event": event}
        word, _, where = verdict.partition(":")
        return {**about, "verdict": f"{word.lower()} {where}".strip(), "rule": rule}
    return None


def _said(event: str, rest: str) -> dict[str, Any]:
    if event == "packet":
        return _packet(rest)
    if event == "rule":
        found = _RULE.fullmatch(rest.strip())
        return {"rule": found[1], "verdict": found[2]} if found else {"rule": rest.strip()}
    return {"verdict": rest.partition(" meta mark ")[0].partition(" mark ")[0].strip() or None}


def _packet(rest: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, mark in _FIELDS.items():
        if found := mark.search(rest):
            value = next(g for g in found.groups() if g is not None)
            made[name] = int(value) if name.endswith("_port") else value.lower() if name == "protocol" else value
    return made

"""What ``ss`` prints: sockets with their processes, and the summary of ``ss -s``.

Sources: recordings of iproute2 6.1 (``ss -tnap`` and ``ss -s``); iproute2's misc/ss.c for ``-o``, ``-i``, ``-e``, UDP,
other families' sockets and names instead of ports.
"""

from __future__ import annotations

import re
import socket
from functools import cache
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute import netstat
from calicokit.parsers.iproute.common import address, number
from calicokit.parsers.kernel import proc_net
from calicokit.schema import Column, Schema

_SOURCE = "recordings of iproute2 6.1; iproute2's misc/ss.c"
_LINE = Column("line", "int", "1-based line number in the text")
SOCKETS = Schema(
    "ss",
    "sockets",
    (
        Column("netid", "str", "tcp, udp, u_str, …; null where ss prints none, as with -t alone"),
        Column("state", "str", "LISTEN, ESTAB, SYN-SENT, TIME-WAIT, …; null where the command selected one"),
        Column("recv_q", "int", "receive queue: unread bytes; for a listener, pending connections", "bytes"),
        Column("send_q", "int", "send queue: unacknowledged bytes; for a listener, the backlog limit", "bytes"),
        Column("local_address", "str", "local address; * is any"),
        Column("local_port", "int", "local port; null is any, or an unknown name (see attributes)"),
        Column("peer_address", "str", "peer address; * is any"),
        Column("peer_port", "int", "peer port; null is any, or an unknown name (see attributes)"),
        Column("interface", "str", "interface that the socket is bound to"),
        Column("process", "str", "process; the first if several"),
        Column("pid", "int", "its number"),
        Column("fd", "int", "its file descriptor"),
        Column("users", "str", "all processes, as printed"),
        Column(
            "timer", "str", "timer: on (retransmission), keepalive, timewait, persist; null for none, or without -o"
        ),
        Column("timer_expires", "str", "when it expires, as printed, such as 1min2sec"),
        Column("retransmits", "int", "retransmissions"),
        Column("attributes", "str", "remaining text, as printed"),
        _LINE,
    ),
    ("netid", "local_address", "local_port", "peer_address", "peer_port", "line"),
    source=_SOURCE,
)
SUMMARY = Schema(
    "ss_summary",
    "socket counts by transport",
    (
        Column("transport", "str", "all, TCP, UDP, RAW, INET, FRAG, …"),
        Column("total", "int", "sockets"),
        Column("ipv4", "int", "those of IPv4"),
        Column("ipv6", "int", "those of IPv6"),
        Column("with_closed", "int", "TCP: including closed ones"),
        Column("estab", "int", "TCP: established"),
        Column("closed", "int", "TCP: closed"),
        Column("orphaned", "int", "TCP: without a process"),
        Column("synrecv", "int", "TCP: SYN-RECV; old versions only"),
        Column("timewait", "int", "TCP: TIME-WAIT"),
        _LINE,
    ),
    ("transport",),
    source=_SOURCE,
)
_STATES = {
    "LISTEN",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "CLOSE-WAIT",
    "LAST-ACK",
    "CLOSING",
    "CLOSED",
    "UNCONN",
    "CLOSE",
    "UNKNOWN",
    "NEW-SYN-RECV",
    "BOUND-INACTIVE",
    "MAX",
}
_HEADER = re.compile(r"(?:Netid|State|Recv-Q|Cannot open netlink).*")
_USER = re.compile(r'\("((?:[^"\\]|\\.)*)",(?:pid=)?(\d{1,18}),(?:fd=)?(\d{1,18})\)')
_USERS = re.compile(r'users:\((?:,?\("(?:[^"\\]|\\.){0,99}",(?:pid=)?\d{1,18},(?:fd=)?\d{1,18}\))+\)')
_TIMER = re.compile(r"timer:\(([\w-]{1,20}),([^,()]{0,40}),(\d{1,18})\)")
_TOTAL = re.compile(r"Total: (\d{1,18})(?: \(kernel \d+\))?")
_TCP = re.compile(r"TCP:\s+(\d{1,18}) \(([^)]*)\)(?:, ports \d+)?")
_COUNT = re.compile(r"(estab|closed|orphaned|synrecv|timewait) (\d{1,18})")
_SOCKSTAT = re.compile(r"(sockets|TCP|UDP|UDPLITE|RAW|FRAG)(6?): ((?:\w+ \d+ ?)+)")
_PAIR = re.compile(r"(\w+) (\d+)")
_TRANSPORT = re.compile(r"([A-Z*][A-Z0-9]{0,9})\s+(\d{1,18})\s+(\d{1,18}|-)\s+(\d{1,18}|-)")
_PORTS = {"bgp": 179, "domain": 53, "ssh": 22, "http": 80, "https": 443, "sunrpc": 111, "ntp": 123}


@cache
def port_number(name: str) -> int | None:
    """A port from its number or its name; None for any or a name that is not known."""
    known = number(name) if name[:1].isdigit() else _PORTS.get(name)
    if known is not None or name == "*" or not name.isascii() or "\0" in name:
        return known
    try:
        return socket.getservbyname(name)
    except OSError:
        return None


def _end(text: str) -> tuple[str | None, str, str | None] | None:
    """Address, port and interface of ``ADDRESS%INTERFACE:PORT``."""
    place, colon, port = text.rpartition(":")
    if not colon or not place:
        return None
    host, _, interface = place.partition("%")
    return address(host.strip("[]")), port, interface.rstrip("]") or None


def _ends(words: list[str], netid: str | None) -> tuple[dict[str, Any], int] | None:
    """The columns of both ends, and how many words they are."""
    if netid and netid.startswith(("u_", "v_")):
        words, taken = [f"{a}:{b}" for a, b in zip(words[:4:2], words[1:4:2], strict=False)], 4
    elif netid in ("nl", "p_raw", "p_dgr") and len(words) > 1 and ":" not in words[1]:
        words, taken = [words[0], f"{words[1]}:*"], 2
    else:
        words, taken = words[:2], 2
    ends = [_end(word) for word in words]
    if len(ends) < 2 or not ends[0] or not ends[1]:
        return None
    row: dict[str, Any] = {"interface": ends[0][2] or ends[1][2], "attributes": []}
    for name, end in zip(("local", "peer"), (ends[0], ends[1]), strict=True):
        row[f"{name}_address"], row[f"{name}_port"] = end[0], port_number(end[1])
        if row[f"{name}_port"] is None and end[1] != "*":
            row["attributes"].append(f"{name}_port={end[1]}")
    return row, taken


def _head(words: list[str]) -> dict[str, Any]:
    """Kind and state, where they are printed."""
    if words[0] in _STATES:
        return {"state": words[0]}
    if len(words) > 1 and words[1] in _STATES:
        return {"netid": words[0], "state": words[1]}
    return {} if words[0][0].isdigit() else {"netid": words[0]}


def _socket(text: str) -> dict[str, Any] | None:
    words = text.split()
    row = _head(words)
    at = len(row)
    queues = [number(word) for word in words[at : at + 2]]
    ends = _ends(words[at + 2 :], row.get("netid")) if len(queues) == 2 and None not in queues else None
    if not ends:
        return None
    row |= ends[0] | {"recv_q": queues[0], "send_q": queues[1]}
    _more(row, text.split(None, at + 2 + ends[1])[at + 2 + ends[1] :])
    return row


def _more(row: dict[str, Any], rest: list[str]) -> None:
    """What stands after the ends, or on further lines: processes, timer, anything else."""
    for text in rest:
        if match := _USERS.search(text):
            row["users"] = match[0][6:]
            name, pid, descriptor = _USER.findall(match[0])[0]
            row |= {"process": name, "pid": number(pid), "fd": number(descriptor)}
            text = text[: match.start()] + text[match.end() :]
        if match := _TIMER.search(text):
            row["timer"], row["timer_expires"], row["retransmits"] = match[1], match[2], number(match[3])
            text = text[: match.start()] + text[match.end() :]
        row["attributes"] += text.split()


class _Summary:
    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def row(self, name: str, line: int) -> dict[str, Any]:
        return self.rows.setdefault(name, {"transport": name, "line": line})

    def line(self, text: str, line: int) -> bool:
        """Read a line of ``ss -s``; False if it is none."""
        if match := _TOTAL.fullmatch(text):
            self.row("all", line)["total"] = number(match[1])
        elif match := _TCP.fullmatch(text):
            counts = {name: number(value) for name, value in _COUNT.findall(match[2])}
            self.row("TCP", line).update(counts, with_closed=number(match[1]))
        elif match := _TRANSPORT.fullmatch(text):
            row = self.row("kernel" if match[1] == "*" else match[1], line)
            row |= {n: number(v) for n, v in zip(("total", "ipv4", "ipv6"), match.groups()[1:], strict=True)}
        elif match := _SOCKSTAT.fullmatch(text):
            self._sockstat(match[1], match[2], dict(_PAIR.findall(match[3])), line)
        else:
            return text.split() == ["Transport", "Total", "IP", "IPv6"]
        return True

    def _sockstat(self, name: str, six: str, counts: dict[str, str], line: int) -> None:
        """A line of /proc/net/sockstat or sockstat6, from which ss computes the same (misc/ss.c, print_summary)."""
        if name == "sockets":
            self.row("all", line)["total"] = number(counts.get("used"))
            return
        row = self.row(name, line)
        row["ipv6" if six else "ipv4"] = number(counts.get("inuse"))
        row["total"] = (row.get("ipv4") or 0) + (row.get("ipv6") or 0)
        if "alloc" in counts:
            orphaned, waiting, alive = (number(counts.get(c)) or 0 for c in ("orphan", "tw", "alloc"))
            row |= {"orphaned": orphaned, "timewait": waiting, "with_closed": alive + waiting}


@parser(
    "ss",
    SOCKETS,
    SUMMARY,
    marks=(
        r"^(Netid|State|Proto)[ \t]+.*Recv-Q|^Total: \d+|^sockets: used|^ +sl +local_address|^Active (Internet|UNIX)"
        rf"|^[ \t]*((tcp|udp|raw|sctp|icmp6)6?[ \t]+)?({'|'.join(sorted(_STATES))})[ \t]+"
        r"\d+[ \t]+\d+[ \t]+\S+:\S+[ \t]+\S+:\S"
        r"|^[ \t]*(tcp|udp|raw|sctp)6?[ \t]+\d+[ \t]+\d+[ \t]+\S+:\S+[ \t]+\S+:\S"
    ),
)
def ss(text: Text) -> dict[str, pd.DataFrame]:
    """``ss -tnap`` and other options, ``netstat -anp``, ``/proc/net/tcp``: sockets; how many: ``ss -s`` and sockstat.

    States are named as ss does; what netstat calls them is kept in ``attributes``.

    Source: recordings; iproute2's misc/ss.c; net-tools' netstat.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("ss", 'ESTAB 0 0 172.30.0.11:179 172.30.0.13:60751 users:(("bird",pid=22445,fd=9))').frame.iloc[0]
    >>> row["state"], int(row["local_port"]), row["peer_address"], row["process"], int(row["pid"])
    ('ESTAB', 179, '172.30.0.13', 'bird', 22445)
    """
    rows: list[dict[str, Any]] = []
    summary = _Summary()
    for line in text.lines():
        if not _line(line, rows, summary):
            text.reject(line, "STATE RECV-Q SEND-Q LOCAL:PORT PEER:PORT, or a line of ss -s")
    for row in rows:
        row["attributes"] = " ".join(row["attributes"]) or None
    sockets = SOCKETS.frame({n: [row.get(n) for row in rows] for n in SOCKETS.names})
    return {SOCKETS.name: sockets, SUMMARY.name: SUMMARY.frame(summary.rows.values())}


def _line(line: Line, rows: list[dict[str, Any]], summary: _Summary) -> bool:
    """Read a line; False if it is none of ss."""
    stripped = line.text.strip()
    if "Address:Port" in stripped and _HEADER.fullmatch(stripped):
        return True
    row = proc_net.socket(line.text)
    row = netstat.socket(stripped) if row is None else row
    row = _socket(stripped) if row is None else row
    if row is not None:
        rows += [row | {"line": line.number}] * bool(row)
        return True
    if summary.line(stripped, line.number):
        return True
    if rows and line.text[0] in " \t":
        _more(rows[-1], [stripped])
        return True
    return False

"""What ``tcpdump`` prints of packets: on one line, or with ``-v`` on two, and what a tunnel carries below its packet.

Source: tcpdump's print-ip.c, print-udp.c, print-tcp.c, print-vxlan.c and print-arp.c; print.c and util-print.c for what
stands before a packet (time, interface and direction with ``-i any``, the link-layer header with ``-e``).
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.parsers.iproute.common import address, number
from calicokit.parsers.iproute.ss import port_number
from calicokit.schema import Column, Schema

PACKETS = Schema(
    "tcpdump",
    "captured packets; one that a tunnel carries is a row of its own below",
    (
        Column(
            "printed_time", "str", "timestamp, as printed; null for a packet that another carries, or without one (-t)"
        ),
        Column("interface", "str", "interface (-i any)"),
        Column("direction", "str", "In, Out, B, M or P (-i any)"),
        Column("carried", "bool", "whether the packet in the row above carries it"),
        Column("family", "str", "IP, IP6 or ARP"),
        Column("protocol", "str", "protocol in lower case: udp, tcp, icmp, ipip, …; null where it is not printed"),
        Column("source", "str", "source address or name"),
        Column("sport", "int", "source port"),
        Column("destination", "str", "destination address or name"),
        Column("dport", "int", "destination port"),
        Column("ttl", "int", "time to live, or hop limit (-v)"),
        Column("length", "int", "length of the packet (-v), of its frame (-e), or of what it carries", "bytes"),
        Column("flags", "str", "TCP flags, as printed, such as S, P. or R"),
        Column("checksum_ok", "bool", "whether the checksum is right; null where it is not printed (-v)"),
        Column("vni", "int", "VXLAN network identifier"),
        Column("message", "str", "what is printed behind the addresses"),
        Column("line", "int", "1-based number of its first line in the text"),
    ),
    ("line",),
    verified=False,
    source="tcpdump's print-ip.c, print-udp.c and print-vxlan.c",
)
_TIME = r"(?P<printed_time>(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d{6,9}|\d{9,11}\.\d{6,9})"
_AROUND = re.compile(
    rf"(?:{_TIME} )?(?:(?P<interface>[\w.@:-]{{1,40}})\s+(?P<direction>In|Out|B|M|P)\s+)?"
    r"(?:[0-9a-f:]{17} (?:\(oui \w+\) )?> (?:[0-9a-f:]{17}|Broadcast)(?: \(oui \w+\))?, )?"
    r"(?:(?:In|Out) [0-9a-f:]{17} )?(?:ethertype (?P<ether>IPv4|IPv6|ARP)[^,:]{0,20}, length (?P<frame>\d{1,9}): )?"
    r"(?:(?P<family>IP6?|ARP)\b,? ?)?(?P<header>\((?:[^()]|\([^()]*\))*\) ?)?(?P<rest>.*)"
)
_ENDS = re.compile(r"(?P<source>\S{1,253}) > (?P<destination>\S{1,253}): (?P<message>.*)")
_SAID = re.compile(
    r"tcpdump: .*|listening on .*|dropped privs to \w+"
    r"|\d+ packets? (?:captured|received by filter|dropped by (?:kernel|interface))"
)
_PROTOCOL = re.compile(r"(?:proto|next-header) (?P<name>[\w-]+) \(\d+\)")
_TTL = re.compile(r"(?:ttl|hlim) (\d{1,3})\b")
_LENGTH = re.compile(r"(?:payload )?length:? (\d{1,9})\b")
_FLAGS = re.compile(r"Flags \[([^\]]{1,10})\]")
_VNI = re.compile(r"VXLAN, flags .{0,20}, vni (\d{1,9})\b")
_BAD, _GOOD = re.compile(r"bad udp cksum|cksum 0x[0-9a-f]{1,4} \(incorrect"), re.compile(r"udp sum ok|\(correct\)")
_NAMES = {"UDP": "udp", "TCP": "tcp", "ICMP": "icmp", "IPIP": "ipip", "ICMPv6": "icmpv6"}


def _end(text: str, ports: bool) -> tuple[str | None, int | None]:
    """Address and port of ``10.0.0.1.53``, ``fe80::1.546`` or ``node-1.example.domain``."""
    host, _, last = text.rpartition(".")
    bare = host.count(".") == 3 or ":" in host or (host and ports and host.count(".") != 2)
    if bare and (last.isdigit() or ports):
        return address(host), port_number(last)
    return address(text), None


def _protocol(header: str, message: str) -> str | None:
    if match := _PROTOCOL.search(header):
        return _NAMES.get(match["name"], match["name"].lower())
    for protocol, sign in (("tcp", "Flags ["), ("icmp", "ICMP "), ("icmpv6", "ICMP6"), ("ipip", "IP ")):
        if message.startswith(sign):
            return protocol
    return "udp" if re.match(r"\[(?:bad udp|udp sum)|UDP,|VXLAN,|\d+[+*-]*%? ?(?:\[|[A-Z]+\?|\d+/)", message) else None


def _row(head: dict[str, Any], rest: str) -> dict[str, Any] | None:
    """The columns of a packet from what stands before it and what is printed of it; None if there are no addresses."""
    header = head["header"] or ""
    match = _ENDS.fullmatch(f"{rest.strip()} ")
    if not match:
        return None
    message = match["message"].strip()
    protocol = _protocol(header, message)
    ports = protocol in ("udp", "tcp", "sctp", None)
    (source, sport), (destination, dport) = _end(match["source"], ports), _end(match["destination"], ports)
    length = _LENGTH.search(header) or _LENGTH.search(message)
    flags, vni, ttl = _FLAGS.search(message), _VNI.search(message), _TTL.search(header)
    return {
        "family": head["family"] or {"IPv4": "IP", "IPv6": "IP6", "ARP": "ARP"}.get(head["ether"] or ""),
        "protocol": protocol,
        "source": source,
        "sport": sport,
        "destination": destination,
        "dport": dport,
        "ttl": number(ttl[1]) if ttl else None,
        "length": number(length[1]) if length else number(head["frame"]),
        "flags": flags[1] if flags else None,
        "checksum_ok": False if _BAD.search(message) else True if _GOOD.search(message) else None,
        "vni": number(vni[1]) if vni else None,
        "message": message or None,
    }


_ARP = re.compile(
    r"Request who-has (?P<destination>\S{1,60})(?: \(\S+\))? tell (?P<source>\S{1,60}?),.*"
    r"|Reply (?P<said>\S{1,60}) is-at .*"
)


def _arp(head: dict[str, Any], rest: str) -> dict[str, Any] | None:
    match = _ARP.fullmatch(rest.strip()) if "ARP" in (head["family"], head["ether"]) else None
    if not match:
        return None
    return {
        "family": "ARP",
        "source": match["source"] or match["said"],
        "destination": match["destination"],
        "message": rest,
    }


class _Capture:
    """Reads packets line by line; a packet's header with ``-v`` stands on the line before its addresses."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.head: dict[str, Any] | None = None
        self.carries = False

    def line(self, text: str, number_: int) -> bool:
        """Read a line; False if it is none of tcpdump's."""
        if _SAID.fullmatch(text.strip()):
            return True
        if self.head is not None and text[0].isspace():
            head, self.head = self.head, None
            return self.add(head, _row(head, text))
        match = _AROUND.fullmatch(text.strip())
        if match is None or not (match["printed_time"] or match["family"] or match["ether"] or match["header"]):
            return self.more(text)
        head = {**match.groupdict(), "line": number_}
        rest = match["rest"]
        if head["header"] and not rest:
            self.head = head
            return True
        row = _arp(head, rest.removeprefix(", ")) or _row(head, rest)
        if row is None and head["printed_time"] and rest:
            row = {"message": rest}  # another protocol's packet, such as STP's
        return self.add(head, row)

    def add(self, head: dict[str, Any], row: dict[str, Any] | None) -> bool:
        if row is None:
            return False
        carried = self.carries and not head["printed_time"] and not head["ether"]
        place = {name: head[name] for name in ("printed_time", "interface", "direction", "line")}
        self.rows.append({**place, "carried": carried, **row})
        self.carries = row.get("vni") is not None or row.get("protocol") in ("ipip", "gre") or carried
        return True

    def more(self, text: str) -> bool:
        """A further line of a packet, which is indented."""
        if not self.rows or not text[0].isspace():
            return False
        self.rows[-1]["message"] = f"{self.rows[-1].get('message') or ''}\n{text.strip()}".lstrip("\n")
        return True


@parser(
    "tcpdump",
    PACKETS,
    marks=(
        r"^[ \t]*(\d\d:\d\d:\d\d\.\d{6} |\d{10}\.\d{6} )?(\S{1,20} +(In|Out|B|M|P) +)?(IP6?|ARP,?) "
        r"(\(tos |\(class |\(flowlabel |\S+ > \S+: |Request who-has)"
        r"|\[(bad udp cksum|udp sum ok)|^[0-9a-f:]{17} > [0-9a-f:]{17}, ethertype"
        r"|^(tcpdump: )?listening on \S+, link-type"
    ),
)
def tcpdump(text: Text) -> dict[str, pd.DataFrame]:
    """``tcpdump -n``, with any of ``-v``, ``-e``, ``-i any`` and ``-t``: one row for each packet.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("tcpdump", "11:51:31.656705 IP 172.30.0.11.26898 > 172.30.0.12.4789: "
    ...     "[bad udp cksum 0xffff -> 0x76dc!] VXLAN, flags [I] (0x08), vni 4096").frame.iloc[0]
    >>> row["destination"], int(row["dport"]), bool(row["checksum_ok"]), int(row["vni"])
    ('172.30.0.12', 4789, False, 4096)
    """
    capture = _Capture()
    for line in text.lines():
        if not capture.line(line.text, line.number):
            text.reject(line, "a packet, or tcpdump's words")
    return {PACKETS.name: PACKETS.frame(capture.rows)}

"""The kernel's own files behind ``ss`` and ``nstat``, which calico-node's image lacks: the same rows from them.

Source: Linux' net/ipv4/tcp_ipv4.c (``/proc/net/tcp``), net/ipv6/tcp_ipv6.c and net/ipv4/proc.c (``netstat``, ``snmp``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from typing import Any

STATES = (
    *("UNKNOWN", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT"),
    *("UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "NEW-SYN-RECV", "BOUND-INACTIVE"),
)
_TIMERS = {"01": "on", "02": "keepalive", "03": "timewait", "04": "persist"}
_SOCKET = re.compile(
    r"\s*\d+: (?P<local>[0-9A-F]{8,32}):(?P<local_port>[0-9A-F]{4}) (?P<peer>[0-9A-F]{8,32}):(?P<peer_port>[0-9A-F]{4})"
    r" (?P<state>[0-9A-F]{2}) (?P<tx>[0-9A-F]{8}):(?P<rx>[0-9A-F]{8})"
    r" (?P<timer>\d\d):[0-9A-F]{8} (?P<retrnsmt>[0-9A-F]{8})(?: .*)?"
)
_HEADER = re.compile(r"\s*sl +local_address .*")
_COUNTERS = re.compile(r"(\w{1,40}):((?: +[\w-]{1,100})+)")


def socket(text: str) -> dict[str, Any] | None:
    """The row of table ``ss`` in a line of ``/proc/net/tcp`` or ``tcp6``; an empty one for the header, else None.

    >>> row = socket("   1: 0B001EAC:00B3 0D001EAC:ED4F 01 00000000:00000000 00:00000000 00000000     0        0 7 1")
    >>> row["state"], row["local_address"], row["local_port"], row["peer_address"]
    ('ESTAB', '172.30.0.11', 179, '172.30.0.13')
    """
    if _HEADER.fullmatch(text):
        return {}
    found = _SOCKET.fullmatch(text)
    if found is None or len(found["local"]) not in (8, 32) or len(found["peer"]) != len(found["local"]):
        return None
    state = int(found["state"], 16)
    row: dict[str, Any] = {"netid": "tcp", "state": STATES[state] if state < len(STATES) else STATES[0]}
    row |= {"recv_q": int(found["rx"], 16), "send_q": int(found["tx"], 16), "retransmits": int(found["retrnsmt"], 16)}
    for end in ("local", "peer"):
        port = int(found[f"{end}_port"], 16)
        row |= {f"{end}_address": _address(found[end]), f"{end}_port": port or None}
    return row | {"timer": _TIMERS.get(found["timer"]), "attributes": []}


def _address(words: str) -> str:
    """An address of words in the byte order of the machine, which is little-endian on all that Calico's images run on
    but s390x.
    """
    data = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
    address = ip_address(data)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


class Counters:
    """Reads the pairs of lines of ``/proc/net/netstat`` and ``snmp``: names, then values."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def rows(self, text: str, line: int) -> Iterator[dict[str, Any]] | None:
        """The rows of table ``nstat`` in a line, named as nstat does; None if it is no such line."""
        found = _COUNTERS.fullmatch(text)
        if found is None:
            return None
        protocol, words = found[1], found[2].split()
        names = self._names.pop(protocol, None)
        if names is None:
            if any(w.lstrip("-").isdigit() for w in words):
                return None
            self._names[protocol] = words
            return iter(())
        if len(names) != len(words) or not all(w.lstrip("-").isdigit() for w in words):
            return None
        pairs = zip(names, words, strict=True)
        return ({"counter": protocol + n, "value": int(v), "rate": None, "line": line} for n, v in pairs)

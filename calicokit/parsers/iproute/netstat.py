"""Sockets as ``netstat -anp`` prints them, for the table of ``ss``.

Source: net-tools' netstat.c (tcp_do_one, udp_do_one, unix_do_one); states are named as ss does.
"""

from __future__ import annotations

import re
from typing import Any

from calicokit.parsers.iproute.common import address, number

_HEADER = re.compile(
    r"Active (?:Internet|UNIX domain) (?:connections|sockets) .{0,40}|Proto\s+(?:RefCnt|Recv-Q)\s+.{0,200}"
    r"|\((?:Not all processes|No info could be read).{0,200}| ?will not be shown, you would have .{0,200}"
)
_INET = re.compile(
    r"(?P<netid>tcp|udp|udplite|raw|sctp)(?P<six>6?)\s+(?P<recv_q>\d{1,12})\s+(?P<send_q>\d{1,12})\s+"
    r"(?P<local>\S+:(?:\d{1,5}|\*|[\w-]+))\s+(?P<peer>\S+:(?:\d{1,5}|\*|[\w-]+))(?:\s+(?P<rest>.*))?"
)
_UNIX = re.compile(
    r"unix\s+(?P<references>\d{1,9})\s+\[ (?P<flags>[\w ]{0,20})\]\s+(?P<type>[A-Z]+)"
    r"(?:\s+(?P<state>LISTENING|CONNECTED|CONNECTING|DISCONNECTING|FREE))?\s+(?P<inode>\d{1,18})(?:\s+(?P<rest>.*))?"
)
_STATES = {
    "ESTABLISHED": "ESTAB",
    "SYN_SENT": "SYN-SENT",
    "SYN_RECV": "SYN-RECV",
    "FIN_WAIT1": "FIN-WAIT-1",
    "FIN_WAIT2": "FIN-WAIT-2",
    "TIME_WAIT": "TIME-WAIT",
    "CLOSE": "CLOSE",
    "CLOSE_WAIT": "CLOSE-WAIT",
    "LAST_ACK": "LAST-ACK",
    "LISTEN": "LISTEN",
    "CLOSING": "CLOSING",
    "UNKNOWN": "UNKNOWN",
}
_PROCESS = re.compile(r"(?P<pid>\d{1,9})/(?P<process>\S.*?)\s*")


def socket(line: str) -> dict[str, Any] | None:
    """The columns of a socket; an empty row for a heading; None if the line is none of netstat's.

    >>> row = socket("tcp        0      0 10.6.67.92:179   10.6.67.93:38220   ESTABLISHED 5746/bird")
    >>> row["state"], row["peer_port"], row["process"], row["pid"]
    ('ESTAB', 38220, 'bird', 5746)
    """
    text = line.strip()
    if _HEADER.fullmatch(text):
        return {}
    if match := _INET.fullmatch(text):
        return _inet(match)
    return _unix(match) if (match := _UNIX.fullmatch(text)) else None


def _inet(match: re.Match[str]) -> dict[str, Any]:
    words = (match["rest"] or "").split()
    state = words.pop(0) if words and words[0] in _STATES else None
    row: dict[str, Any] = {"netid": match["netid"], "state": _STATES.get(state or "", None if state else "UNCONN")}
    row |= {"recv_q": number(match["recv_q"]), "send_q": number(match["send_q"]), "attributes": []}
    for name in ("local", "peer"):
        host, _, port = match[name].rpartition(":")
        row[f"{name}_address"], row[f"{name}_port"] = address(host), number(port)
        if row[f"{name}_port"] is None and port != "*":
            row["attributes"].append(f"{name}_port={port}")
    return _owned(row, " ".join(words), state)


def _unix(match: re.Match[str]) -> dict[str, Any]:
    netid = {"STREAM": "u_str", "DGRAM": "u_dgr", "SEQPACKET": "u_seq"}.get(match["type"], "u_str")
    state = {"LISTENING": "LISTEN", "CONNECTED": "ESTAB"}.get(match["state"] or "", "UNCONN")
    row: dict[str, Any] = {"netid": netid, "state": state, "local_port": number(match["inode"]), "attributes": []}
    row = _owned(row, match["rest"] or "", match["state"])
    row["local_address"] = row["attributes"].pop(0) if row["attributes"] else "*"
    return row


def _owned(row: dict[str, Any], rest: str, state: str | None) -> dict[str, Any]:
    """The row with its process, and the state's own word where ss has another."""
    found = re.match(rf"(?:\d+ +)*{_PROCESS.pattern}(?: |$)", rest)
    if found:
        row |= {"process": found["process"].rstrip(":"), "pid": number(found["pid"])}
        row["users"] = found["pid"] + "/" + found["process"]
        rest = rest[: found.start("pid")] + rest[found.end() :]
    row["attributes"] += [word for word in rest.split() if word != "-"]
    if state and state != row["state"]:
        row["attributes"].append(f"state={state}")
    return row

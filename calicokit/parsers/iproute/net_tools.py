"""Routes as net-tools print them (``route -n``, ``netstat -rn``), for the table of ``ip route``.

Source: net-tools' lib/inet_gr.c and lib/inet6_gr.c: the columns, and the letters of the flags.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from calicokit.parsers.iproute.common import cidr, number

MARKS = r"^[ \t]*Kernel IP(v6)? routing table|^[ \t]*Destination[ \t]+(Gateway[ \t]+Genmask|Next Hop)\b"
"""What shows such a text."""

_ANY = "0.0.0.0/0"
_HEAD = re.compile(
    r"Kernel IP(?:v6)? routing table|Destination\s+(?:Gateway\s+Genmask\s+Flags|Next Hop\s+Flags?)\s+.*", re.IGNORECASE
)
_FOUR = re.compile(
    r"(?P<destination>[\w.-]{1,253})\s+(?P<gateway>\*|-|[\w.-]{1,253})\s+(?P<mask>[\d.]{7,15}|-|\*)\s+(?P<flags>[A-Z!]{1,12})\s+"
    r"(?P<first>\d{1,10}|-)\s+(?P<second>\d{1,10}|-)\s+(?P<third>\d{1,10}|-)(?:\s+(?P<interface>\S{1,40}))?"
)
_SIX = re.compile(
    r"(?P<destination>[0-9a-f:]{2,45}/\d{1,3}|\[::\]/0)\s+(?P<gateway>\[::\]|::|[0-9a-f:]{2,45})\s+(?P<flags>!?[A-Za-z]{1,12})\s+"
    r"(?P<metric>-?\d{1,10})\s+\d{1,10}\s+\d{1,10}(?:\s+(?P<interface>\S{1,40}))?"
)


def route(line: str) -> dict[str, Any] | None:
    """The columns of a route; an empty row for a heading; None if the line is none of these tools'.

    >>> row = route("192.168.148.64  192.168.9.8     255.255.255.192 UG    0      0        0 tunl0")
    >>> row["destination"], row["gateway"], row["interface"]
    ('192.168.148.64/26', '192.168.9.8', 'tunl0')
    """
    text = line.strip()
    if _HEAD.fullmatch(text):
        return {}
    if match := _FOUR.fullmatch(text):
        return _four(match)
    return _six(match) if (match := _SIX.fullmatch(text)) else None


def _four(match: re.Match[str]) -> dict[str, Any] | None:
    length = _length(match["mask"], match["flags"])
    destination = match["destination"]
    place = cidr(_ANY if destination == "default" else f"{destination}/{length}") if length is not None else None
    if place is None:
        return None
    # `route` prints metric, references and use; `netstat -r` segment size, window and round-trip time.
    return _row(place, match["gateway"], match["flags"], match["interface"], 4) | {
        "metric": number(match["first"]) or None
    }


def _six(match: re.Match[str]) -> dict[str, Any] | None:
    place = cidr(match["destination"].replace("[::]", "::"))
    if place is None:
        return None
    row = _row(place, match["gateway"].strip("[]"), match["flags"], match["interface"], 6)
    return row | {"metric": number(match["metric"])}


def _length(mask: str, flags: str) -> int | None:
    """How long a mask is; None if it is none."""
    if mask in ("-", "*"):
        return 32 if "H" in flags else None
    try:
        return ipaddress.ip_network(f"0.0.0.0/{mask}").prefixlen
    except ValueError:
        return None


def _row(destination: str, gateway: str, flags: str, interface: str | None, version: int) -> dict[str, Any]:
    """``!`` refuses packets; such a route, and Calico's black hole, have no interface but ``*`` or ``-``."""
    none = interface in ("*", "-", None)
    via = gateway if gateway not in ("*", "-", _ANY.partition("/")[0], "::") else None
    return {
        "type": "unreachable" if "!" in flags else "blackhole" if none and via is None else "unicast",
        "destination": destination,
        "version": version,
        "gateway": via,
        "interface": None if none else interface,
        "flags": [],
        "attributes": f"flags {flags}",
    }

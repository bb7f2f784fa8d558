"""What ``wg show`` prints: WireGuard's interfaces and peers.

Source: wireguard-tools' src/show.c (pretty_print, ago, bytes).
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.parsers.iproute.common import address, number
from calicokit.schema import Column, Schema

_SOURCE = "wireguard-tools' src/show.c"
_LINE = Column("line", "int", "1-based number of its first line in the text")
PEERS = Schema(
    "wg_show",
    "WireGuard peers",
    (
        Column("interface", "str", "interface"),
        Column("public_key", "str", "peer's public key"),
        Column("endpoint", "str", "peer's address; null where none is known"),
        Column("endpoint_port", "int", "peer's port"),
        Column("allowed_ips", "list", "CIDRs that the peer may send from, and that are sent to it"),
        Column("latest_handshake", "float", "time since the last handshake; null where there was none", "s"),
        Column("received", "int", "received from it, as rounded by wg", "bytes"),
        Column("sent", "int", "sent to it, as rounded by wg", "bytes"),
        Column("keepalive", "float", "interval of keepalives; null where off", "s"),
        _LINE,
    ),
    ("interface", "public_key"),
    verified=False,
    source=_SOURCE,
)
INTERFACES = Schema(
    "wg_interfaces",
    "WireGuard interfaces",
    (
        Column("interface", "str", "interface"),
        Column("public_key", "str", "its public key"),
        Column("listening_port", "int", "port it listens on"),
        Column("fwmark", "int", "firewall mark of its own packets; null where off"),
        _LINE,
    ),
    ("interface",),
    verified=False,
    source=_SOURCE,
)
_HEAD = re.compile(r"(interface|peer): (\S{1,60})")
_FACT = re.compile(
    r"(public key|private key|preshared key|listening port|fwmark|endpoint|allowed ips|latest handshake|transfer"
    r"|persistent keepalive): (.*)"
)
_UNITS = {"year": 365 * 86400, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
_AGO = re.compile(r"(\d{1,9}) (year|day|hour|minute|second)s?")
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,2})?) (B|KiB|MiB|GiB|TiB)")
_POWERS = {"B": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}


def _seconds(text: str) -> float | None:
    if text == "Now":
        return 0.0
    found = _AGO.findall(text)
    return float(sum(int(n) * _UNITS[unit] for n, unit in found)) if found else None


def _sizes(text: str) -> dict[str, int]:
    sizes = [round(float(n) * 1024 ** _POWERS[unit]) for n, unit in _SIZE.findall(text)]
    return dict(zip(("received", "sent"), sizes, strict=False))


def _endpoint(text: str) -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    return {"endpoint": address(host.strip("[]")), "endpoint_port": number(port)} if host else {}


def _fact(key: str, value: str) -> dict[str, Any]:
    """The columns of a line below an interface or a peer."""
    match key:
        case "public key":
            return {"public_key": value}
        case "listening port":
            return {"listening_port": number(value)}
        case "fwmark":
            return {"fwmark": number(value)}
        case "endpoint":
            return _endpoint(value)
        case "allowed ips":
            return {"allowed_ips": [] if value == "(none)" else [a.strip() for a in value.split(",")]}
        case "latest handshake":
            return {"latest_handshake": _seconds(value)}
        case "transfer":
            return _sizes(value)
        case "persistent keepalive":
            return {"keepalive": _seconds(value)}
    return {}  # a key that wg hides


@parser(
    "wg-show",
    PEERS,
    INTERFACES,
    marks=r"^[ \t]*interface: \S+\n[ \t]*(public key|private key|listening port): |^[ \t]*peer: [\w+/]{42,43}=",
)
def wg_show(text: Text) -> dict[str, pd.DataFrame]:
    """``wg show``: WireGuard's interfaces, and their peers with the last handshake and what was sent.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("wg-show", '''interface: wireguard.cali
    ...   listening port: 51820
    ...
    ... peer: AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCd0=
    ...   endpoint: 172.30.0.12:51820
    ...   latest handshake: 1 minute, 22 seconds ago''').frame.iloc[0]
    >>> row["interface"], row["endpoint"], float(row["latest_handshake"])
    ('wireguard.cali', '172.30.0.12', 82.0)
    """
    peers: list[dict[str, Any]] = []
    interfaces: list[dict[str, Any]] = []
    here: dict[str, Any] | None = None
    for line in text.lines():
        body = line.text.strip()
        if match := _HEAD.fullmatch(body):
            of = interfaces[-1]["interface"] if interfaces else None
            peer = match[1] == "peer"
            here = {"interface": of, "public_key": match[2]} if peer else {"interface": match[2]}
            here["line"] = line.number
            (peers if peer else interfaces).append(here)
        elif here is not None and (match := _FACT.fullmatch(body)):
            here |= _fact(match[1], match[2])
        else:
            text.reject(line, "interface: or peer:, or a fact of one")
    return {PEERS.name: PEERS.frame(peers), INTERFACES.name: INTERFACES.frame(interfaces)}

"""Interfaces as ``ifconfig`` prints them, for the tables of ``ip addr``.

Source: net-tools' lib/interface.c (ife_print_long) for the layout since 1.60, ``eth0: flags=4163<UP,…>  mtu 1500``,
and the one before it, ``eth0      Link encap:Ethernet  HWaddr …``, which BusyBox still prints (networking/interface.c).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from calicokit.parsers.iproute.common import number

MARKS = r"^\S+: flags=\d+<[\w,-]*>|^\S+ +Link encap:"
"""What shows such a text."""

_NEW = re.compile(r"(?P<name>\S{1,40}): flags=\d{1,9}<(?P<flags>[\w,-]*)>\s+mtu (?P<mtu>\d{1,9})")
_OLD = re.compile(r"(?P<name>\S{1,40})\s+Link encap:(?P<encap>\S.*?)(?:\s+HWaddr (?P<mac>[0-9A-Fa-f:-]{11,60}))?")
_FOUR = re.compile(
    r"inet (?:addr:)?(?P<address>[\d.]{7,15})(?:\s+(?:destination |P-t-P:)(?P<peer>[\d.]{7,15}))?"
    r"(?:\s+(?:netmask |Mask:)(?P<mask>[\d.]{7,15}))?(?:\s+(?:broadcast |Bcast:)(?P<broadcast>[\d.]{7,15}))?"
    r"(?:\s+(?:destination |P-t-P:)(?P<other>[\d.]{7,15}))?(?:\s+Mask:(?P<last>[\d.]{7,15}))?"
)
_SIX = re.compile(
    r"inet6 (?:addr: ?)?(?P<address>[0-9a-fA-F:]{2,45})(?:/(?P<old>\d{1,3})\s+Scope:(?P<name>\w+)"
    r"|\s+prefixlen (?P<new>\d{1,3})\s+scopeid 0x[0-9a-f]{1,4}<(?P<scope>\w*)>)"
)
_LINK = re.compile(
    r"(?P<type>ether|loop|tunnel|unspec|infiniband|sit|tunnel6)(?:\s+(?P<mac>[0-9a-fA-F:-]{5,60}))?\s+"
    r"txqueuelen (?P<queue>\d{1,9})(?:\s+\(.*\))?"
)
_SET = re.compile(r"(?P<flags>(?:[A-Z]{2,15} )+)\s*MTU:(?P<mtu>\d{1,9})\s+Metric:\d{1,9}")
_COUNTED = re.compile(
    r"(?:RX|TX) (?:packets|errors|bytes)[: ].*|collisions:\d.*|device (?:interrupt|memory) .*|Interrupt:.*|Memory:.*"
    r"|\[NO FLAGS\].*|Base address:.*"
)
_SCOPES = {"link": "link", "Link": "link", "global": "global", "Global": "global", "host": "host", "Host": "host"}


def start(line: str) -> tuple[str, dict[str, Any]] | None:
    """An interface's name and facts from its first line; None if the line is none.

    >>> start("eth0: flags=4163<UP,BROADCAST>  mtu 1500")
    ('eth0', {'flags': ['UP', 'BROADCAST'], 'mtu': 1500})
    """
    if match := _NEW.fullmatch(line):
        return match["name"], {"flags": [f for f in match["flags"].split(",") if f], "mtu": number(match["mtu"])}
    if match := _OLD.fullmatch(line):
        return match["name"], {"link_type": _type(match["encap"]), "mac": _mac(match["mac"]), "flags": []}
    return None


def facts(line: str) -> dict[str, Any] | None:
    """What a further line says of the interface itself; an empty row for counters; None if it is none of them."""
    if match := _LINK.fullmatch(line):
        kind = {"loop": "loopback", "tunnel": "ipip"}.get(match["type"], match["type"])
        return {"link_type": kind, "mac": _mac(match["mac"]), "txqlen": number(match["queue"])}
    if match := _SET.fullmatch(line):
        return {"flags": match["flags"].split(), "mtu": number(match["mtu"])}
    return {} if _COUNTED.fullmatch(line) else None


def address(line: str) -> dict[str, Any] | None:
    """The columns of an address; None if the line is none.

    >>> row = address("inet 172.30.0.11  netmask 255.255.255.0  broadcast 172.30.0.255")
    >>> row["address"], row["prefix_length"], row["broadcast"]
    ('172.30.0.11', 24, '172.30.0.255')
    """
    if match := _FOUR.fullmatch(line):
        length = _length(match["mask"] or match["last"])
        ends = {"peer": match["peer"] or match["other"], "broadcast": match["broadcast"]}
        return {"address": match["address"], "version": 4, "prefix_length": length, **ends, "flags": []}
    if match := _SIX.fullmatch(line):
        scope = _SCOPES.get(match["scope"] or match["name"] or "")
        length = number(match["new"] or match["old"])
        return {"address": match["address"].lower(), "version": 6, "prefix_length": length, "scope": scope, "flags": []}
    return None


def _length(mask: str | None) -> int | None:
    try:
        return ipaddress.ip_network(f"0.0.0.0/{mask}").prefixlen if mask else None
    except ValueError:
        return None


def _mac(text: str | None) -> str | None:
    return text.lower() if text and re.fullmatch(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}", text) else None


def _type(encap: str) -> str:
    return {"Ethernet": "ether", "Local Loopback": "loopback", "IPIP Tunnel": "ipip"}.get(encap, encap.lower())

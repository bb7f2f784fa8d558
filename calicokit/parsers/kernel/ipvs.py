"""What ``ipvsadm -Ln`` prints: kube-proxy's virtual servers in ipvs mode, and their backends.

Source: ipvsadm's ipvsadm.c (print_title, print_service_entry).
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute.common import address, number
from calicokit.schema import Column, Schema

_SOURCE = "ipvsadm's ipvsadm.c"
_LINE = Column("line", "int", "1-based line number in the text")
_COUNTED = (
    Column("connections", "int", "connections (--stats)"),
    Column("packets_in", "int", "packets in (--stats)", "packets"),
    Column("packets_out", "int", "packets out (--stats)", "packets"),
    Column("bytes_in", "int", "bytes in (--stats)", "bytes"),
    Column("bytes_out", "int", "bytes out (--stats)", "bytes"),
)
SERVICES = Schema(
    "ipvsadm",
    "virtual servers",
    (
        Column("protocol", "str", "tcp, udp, sctp, or fwm for a firewall mark"),
        Column("address", "str", "virtual address; null for a firewall mark"),
        Column("port", "int", "virtual port; of a firewall mark its number"),
        Column("scheduler", "str", "scheduler: rr, lc, …; null with --stats"),
        Column("flags", "str", "flags, such as persistent 10800"),
        Column("backends", "int", "number of backends listed below it"),
        *_COUNTED,
        _LINE,
    ),
    ("protocol", "address", "port"),
    verified=False,
    source=_SOURCE,
)
BACKENDS = Schema(
    "ipvsadm_backends",
    "backends of virtual servers",
    (
        Column("protocol", "str", "protocol of its virtual server"),
        Column("virtual_address", "str", "address of its virtual server"),
        Column("virtual_port", "int", "port of its virtual server"),
        Column("address", "str", "backend's address"),
        Column("port", "int", "backend's port"),
        Column("forward", "str", "Masq, Route, Tunnel or Local; null with --stats"),
        Column("weight", "int", "weight; 0 takes no new connections"),
        Column("active", "int", "active connections"),
        Column("inactive", "int", "inactive connections"),
        *_COUNTED,
        _LINE,
    ),
    ("protocol", "virtual_address", "virtual_port", "address", "port"),
    verified=False,
    source=_SOURCE,
)
_TITLE = re.compile(r"IP Virtual Server version .*|Prot\s+LocalAddress:Port\b.*|->\s+RemoteAddress:Port\b.*")
_SERVICE = re.compile(r"(TCP|UDP|SCTP|FWM)\s+(\S{1,60})(?:\s+(.*))?")
_BACKEND = re.compile(r"->\s+(\S{1,60}?):(\d{1,5})\s+(.*)")
_FORWARD = re.compile(r"(Masq|Route|Tunnel|Local|Bypass)\s+(\d{1,9})\s+(\d{1,18})\s+(\d{1,18})")
_COUNTS = re.compile(
    r"(\d{1,18}[KMGT]?)\s+(\d{1,18}[KMGT]?)\s+(\d{1,18}[KMGT]?)\s+(\d{1,18}[KMGT]?)\s+(\d{1,18}[KMGT]?)"
)
_FACTORS = {"K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


def _counts(text: str) -> dict[str, int | None] | None:
    """The columns of --stats; None if the text has none."""
    match = _COUNTS.fullmatch(text.strip())
    if not match:
        return None
    values = [number(v) if v.isdigit() else int(v[:-1]) * _FACTORS[v[-1]] for v in match.groups()]
    return dict(zip([c.name for c in _COUNTED], values, strict=True))


def _service(match: re.Match[str]) -> dict[str, Any]:
    host, _, port = match[2].rpartition(":")
    row: dict[str, Any] = {"protocol": match[1].lower(), "address": address(host.strip("[]")) if host else None}
    row |= {"port": number(port), "backends": 0}
    if (counts := _counts(match[3] or "")) is not None:
        return row | counts
    scheduler, _, flags = (match[3] or "").partition(" ")
    return row | {"scheduler": scheduler or None, "flags": flags.strip() or None}


@parser(
    "ipvsadm",
    SERVICES,
    BACKENDS,
    marks=r"^IP Virtual Server version |^[ \t]*(TCP|UDP|SCTP) +\S+:\d+ +[a-z]{2,6}\b"
    r"|^ +-> \S+:\d+ +(Masq|Route|Tunnel) ",
)
def ipvsadm(text: Text) -> dict[str, pd.DataFrame]:
    """``ipvsadm -Ln``, also with ``--stats``: virtual servers and their backends.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> parsed = parse("ipvsadm", '''TCP  10.96.0.1:443 rr
    ...   -> 172.30.0.11:6443             Masq    1      2          0''')
    >>> parsed.frame["scheduler"][0], parsed.tables["ipvsadm_backends"]["address"][0]
    ('rr', '172.30.0.11')
    """
    services: list[dict[str, Any]] = []
    backends: list[dict[str, Any]] = []
    for line in text.lines():
        body = line.text.strip()
        if _TITLE.fullmatch(body):
            continue
        if match := _SERVICE.fullmatch(body):
            services.append({**_service(match), "line": line.number})
        elif (row := _backend(body, line)) and services:
            services[-1]["backends"] += 1
            of = {"protocol": "protocol", "virtual_address": "address", "virtual_port": "port"}
            backends.append({**{mine: services[-1][theirs] for mine, theirs in of.items()}, **row})
        else:
            text.reject(line, "a virtual server, or a backend below one")
    return {SERVICES.name: SERVICES.frame(services), BACKENDS.name: BACKENDS.frame(backends)}


def _backend(body: str, line: Line) -> dict[str, Any] | None:
    match = _BACKEND.fullmatch(body)
    if not match:
        return None
    row = {"address": address(match[1].strip("[]")), "port": number(match[2]), "line": line.number}
    if found := _FORWARD.fullmatch(match[3].strip()):
        counted = zip(("weight", "active", "inactive"), found.groups()[1:], strict=True)
        return row | {"forward": found[1], **{name: number(value) for name, value in counted}}
    counts = _counts(match[3])
    return row | counts if counts is not None else None

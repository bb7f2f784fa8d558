"""What ``sysctl`` prints of the kernel's settings.

Sources: recordings of procps' sysctl 4.0; procps' src/sysctl.c and busybox' procps/sysctl.c for messages and for
interfaces whose names have dots.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.parsers.iproute.common import number
from calicokit.schema import Column, Schema

SYSCTL = Schema(
    "sysctl",
    "kernel settings (sysctl)",
    (
        Column("key", "str", "setting, as printed"),
        Column("value", "str", "value; null where it could not be read (see error)"),
        Column("number", "int", "value as integer, where it is one"),
        Column("interface", "str", "interface, all or default, for per-interface settings"),
        Column("name", "str", "last part of the key, such as rp_filter"),
        Column("version", "int", "4 or 6, for settings of IPv4 or IPv6"),
        Column("error", "str", "why it could not be read"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("key", "line"),
    source="recordings; procps' src/sysctl.c",
)
_VALUE = re.compile(r"([A-Za-z][\w./@:+*-]{0,255}) ?= ?(.*)")
_FILE = re.compile(r"/proc/sys/([^:]{1,255}):(.*)")
_INTERFACE = re.compile(r"net[./](?:ipv4|ipv6|mpls)[./](?:conf|neigh)[./](.+)[./]([\w-]+)")
_VERSION = re.compile(r"net[./]ipv([46])[./]")
_NEGATIVE = re.compile(r"-\d{1,18}")
_ERRORS = re.compile(
    r"(?:sysctl: ?)?(?:(permission denied) on key '([^']{1,255})'.*|(reading key) \"([^\"]{1,255})\".*"
    r"|(cannot stat|error reading key|error:) '?(?:/proc/sys/)?([^':\s]{1,255})'?:? ?(.*)"
    r"|(Permission denied|No such file or directory).*)"
)


def _row(key: str) -> dict[str, Any]:
    match, version = _INTERFACE.fullmatch(key), _VERSION.match(key)
    row: dict[str, Any] = {"key": key, "name": re.split(r"[./]", key)[-1]}
    row["version"] = int(version[1]) if version else None
    if match:
        row["interface"], row["name"] = match[1].replace("/", "."), match[2]
    return row


def _read(text: str) -> dict[str, Any] | None:
    """A setting, or why it could not be read; None if the line is neither."""
    if match := _FILE.fullmatch(text) or _VALUE.fullmatch(text):
        key, value = match.groups()
        if match.re is _FILE:  # sysctl swaps dots and slashes, so that an interface's dot stays apart
            key = key.translate(str.maketrans("/.", "./"))
        whole = -int(value[1:]) if _NEGATIVE.fullmatch(value) else number(value) if value.isdigit() else None
        return _row(key) | {"value": value, "number": whole}
    if match := _ERRORS.fullmatch(text):
        key = match[2] or match[4] or match[6]
        return _row(key.replace("/", ".") if "." not in key else key) | {"error": text} if key else None
    return None


@parser("sysctl", SYSCTL, marks=r"^(net|kernel|vm|fs)\.\S+ = ")
def sysctl(text: Text) -> dict[str, pd.DataFrame]:
    """``sysctl -a``, with or without ``--pattern``, or ``grep -r . /proc/sys``: the kernel's settings.

    Source: recordings; procps' src/sysctl.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("sysctl", "net.ipv4.conf.vxlan/calico.rp_filter = 0").frame.iloc[0]
    >>> row["interface"], row["name"], int(row["number"])
    ('vxlan.calico', 'rp_filter', 0)
    """
    rows: list[dict[str, Any]] = []
    for line in text.lines():
        stripped = line.text.strip()
        if row := _read(stripped):
            rows.append(row | {"line": line.number})
        else:
            text.reject(line, "KEY = VALUE")
    return {SYSCTL.name: SYSCTL.frame({n: [row.get(n) for row in rows] for n in SYSCTL.names})}

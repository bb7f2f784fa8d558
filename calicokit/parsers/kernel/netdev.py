"""What the kernel counts: ``/proc/net/dev`` by interface, ``nstat`` by protocol.

Sources: recordings of Linux 6 and iproute2 6.1; Linux' net/core/net-procfs.c and iproute2's misc/nstat.c.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute.common import number, objects
from calicokit.parsers.kernel import proc_net
from calicokit.schema import Column, Schema

_LINE = Column("line", "int", "1-based line number in the text")
_RECEIVED = ("bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast")
_SENT = ("bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed")
_FULL = {"errs": "errors", "drop": "dropped", "colls": "collisions", "frame": "frame_errors", "fifo": "fifo_errors"}


def _name(side: str, word: str) -> str:
    return f"{side}_{'carrier_errors' if word == 'carrier' else _FULL.get(word, word)}"


_WORDS = [("rx", w) for w in _RECEIVED] + [("tx", w) for w in _SENT]
DEVICES = Schema(
    "proc_net_dev",
    "interface counters since creation",
    (
        Column("interface", "str", "interface"),
        *(
            Column(
                _name(s, w),
                "int",
                f"{'received' if s == 'rx' else 'sent'}: {w}",
                "bytes" if w == "bytes" else "packets",
            )
            for s, w in _WORDS
        ),
        _LINE,
    ),
    ("interface",),
    source="recordings; Linux' net/core/net-procfs.c",
)
COUNTERS = Schema(
    "nstat",
    "the kernel's counters of IP, ICMP, TCP and UDP",
    (
        Column("counter", "str", "name, such as TcpRetransSegs"),
        Column("value", "int", "value since boot with -a, else since nstat's last run"),
        Column("rate", "float", "rate of nstat's daemon; 0 without", "per second"),
        _LINE,
    ),
    ("counter",),
    source="recordings; iproute2's misc/nstat.c",
)
_HEAD = re.compile(r"Inter-\||face \|.*")
_COUNTER = re.compile(r"([A-Za-z]\w{0,99})\s+(\d{1,18})(?:\s+(\d{1,18}(?:\.\d{1,9})?))?")
_SOURCE_LINE = re.compile(r"#(?:kernel|\d+\.\d+(?: sampling_interval=.*)?|\w+)")


class _Devices:
    def __init__(self) -> None:
        self.names = [_name(*pair) for pair in _WORDS]
        self.rows: list[dict[str, Any]] = []

    def line(self, line: Line) -> bool:
        """Read a line; False if it is none."""
        text = line.text.strip()
        if text.startswith("Inter-|"):
            return True
        if text.startswith("face |"):
            received, _, sent = text[6:].partition("|")
            self.names = [_name("rx", w) for w in received.split()] + [_name("tx", w) for w in sent.split()]
            return set(self.names) <= set(DEVICES.names)
        interface, _, rest = text.rpartition(":")
        values = [number(word) for word in rest.split()]
        if not interface or " " in interface or None in values or len(values) != len(self.names):
            return False
        known = set(DEVICES.names)
        row = {n: v for n, v in zip(self.names, values, strict=True) if n in known}
        self.rows.append({"interface": interface, "line": line.number} | row)
        return True


@parser("proc-net-dev", DEVICES, marks=r"^Inter-\|")
def proc_net_dev(text: Text) -> dict[str, pd.DataFrame]:
    """``/proc/net/dev``: counters of interfaces.

    Source: recordings; Linux' net/core/net-procfs.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("proc-net-dev", "eth0: 2141660 2189 0 7 0 0 0 0 282250 2247 0 0 0 0 0 0").frame.iloc[0]
    >>> row["interface"], int(row["rx_dropped"]), int(row["tx_bytes"])
    ('eth0', 7, 282250)
    """
    devices = _Devices()
    for line in text.lines():
        if not devices.line(line):
            text.reject(line, "INTERFACE: and 16 counters")
    return {DEVICES.name: DEVICES.frame({n: [row.get(n) for row in devices.rows] for n in DEVICES.names})}


@parser("nstat", COUNTERS, marks=r"^(#kernel|Ip\w+ +\d+ +[\d.]+$|(Ip|TcpExt): [A-Z])")
def nstat(text: Text) -> dict[str, pd.DataFrame]:
    """``nstat -az``, text and ``-j``, and ``/proc/net/netstat`` and ``snmp``: the kernel's counters.

    Source: recordings; iproute2's misc/nstat.c.

    >>> from calicokit.parsers.base import parse
    >>> frame = parse("nstat", "#kernel\\nTcpRetransSegs                  12                 0.0").frame
    >>> frame.iloc[0]["counter"], int(frame.iloc[0]["value"])
    ('TcpRetransSegs', 12)
    """
    rows: list[dict[str, Any]] = []
    pairs = proc_net.Counters()
    values = objects(text)
    for value, place in values or ():
        counters = value.get("kernel", value)
        found = counters if isinstance(counters, dict) else {}
        rows += [{"counter": str(k), "value": number(v), "line": place.number} for k, v in found.items()]
        if not found and value != {"kernel": {}}:
            text.reject(place, '{"kernel": {COUNTER: VALUE}}')
    for line in text.lines() if values is None else ():
        stripped = line.text.strip()
        if match := _COUNTER.fullmatch(stripped):
            rate = float(match[3]) if match[3] else None
            rows.append({"counter": match[1], "value": number(match[2]), "rate": rate, "line": line.number})
        elif (counted := pairs.rows(stripped, line.number)) is not None:
            rows += counted
        elif not _SOURCE_LINE.fullmatch(stripped):
            text.reject(line, "COUNTER VALUE RATE")
    return {COUNTERS.name: COUNTERS.frame({n: [row.get(n) for row in rows] for n in COUNTERS.names})}

"""What ``tc`` prints: queueing disciplines (``tc -s qdisc``) and filters (``tc filter show``).

Sources: recordings of iproute2 6.1, which have noqueue only; iproute2's tc/tc_qdisc.c, q_netem.c, q_tbf.c, tc_filter.c,
f_bpf.c, m_police.c, and tc's answers in a network namespace for tbf, clsact, ingress and bpf.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute.common import number
from calicokit.schema import Column, Schema

_LINE = Column("line", "int", "1-based line number in the text")
_STATISTICS = (
    Column("bytes", "int", "bytes sent", "bytes"),
    Column("packets", "int", "packets sent", "packets"),
    Column("dropped", "int", "packets dropped", "packets"),
    Column("overlimits", "int", "overlimits", "packets"),
    Column("requeues", "int", "requeues", "packets"),
)
QDISCS = Schema(
    "tc_qdisc",
    "queueing disciplines of interfaces; delay, loss, rate and so on are null where not set",
    (
        Column("interface", "str", "interface"),
        Column("kind", "str", "noqueue, fq_codel, mq, netem, tbf, clsact, …"),
        Column("handle", "str", "handle"),
        Column("parent", "str", "parent handle; root for the root qdisc"),
        Column("options", "str", "options, as printed"),
        *_STATISTICS,
        Column("backlog_bytes", "int", "backlog in bytes", "bytes"),
        Column("backlog_packets", "int", "backlog in packets", "packets"),
        Column("limit", "int", "netem: queue limit", "packets"),
        Column("delay_ms", "float", "netem: delay", "ms"),
        Column("jitter_ms", "float", "netem: jitter", "ms"),
        Column("loss_percent", "float", "netem: loss", "%"),
        Column("duplicate_percent", "float", "netem: duplication", "%"),
        Column("corrupt_percent", "float", "netem: corruption", "%"),
        Column("reorder_percent", "float", "netem: reordering", "%"),
        Column("rate_bps", "float", "netem, tbf: rate", "bit/s"),
        Column("burst_bytes", "float", "tbf: burst", "bytes"),
        Column("latency_ms", "float", "tbf: maximum latency", "ms"),
        Column("statistics", "str", "further counters, as printed"),
        _LINE,
    ),
    ("interface", "handle", "parent"),
    source="recordings (noqueue); iproute2's tc/q_netem.c, tc/q_tbf.c, tc/tc_qdisc.c",
)
FILTERS = Schema(
    "tc_filter",
    "tc filters; eBPF programs attached by Calico are of kind bpf",
    (
        Column("interface", "str", "interface; null where a command named it that is not in the text"),
        Column("parent", "str", "parent handle or hook; null where a command named it that is not in the text"),
        Column("protocol", "str", "all, ip, …"),
        Column("priority", "int", "priority; lower is evaluated first"),
        Column("kind", "str", "bpf, u32, flower, matchall, …"),
        Column("chain", "int", "chain"),
        Column("handle", "str", "handle; null for a line with only the kind"),
        Column("program", "str", "eBPF: section or object and program, as printed after the handle"),
        Column("direct_action", "bool", "eBPF: direct action: the program's return value is the verdict"),
        Column("in_hardware", "bool", "offloaded to hardware; null where not printed"),
        Column("program_id", "int", "eBPF: program id"),
        Column("name", "str", "eBPF: name of the program"),
        Column("tag", "str", "eBPF: hash of the program"),
        Column("jited", "bool", "eBPF: JIT-compiled"),
        Column("action", "str", "action: drop, pass, mirred, …"),
        Column("rate_bps", "float", "police: rate", "bit/s"),
        Column("burst_bytes", "float", "police: burst", "bytes"),
        *_STATISTICS,
        Column("options", "str", "rest of the first line, as printed"),
        Column("details", "str", "further lines, as printed"),
        _LINE,
    ),
    ("interface", "parent", "priority", "protocol", "handle", "line"),
    source="recording healthy-ebpf-vxlan (bpf); iproute2's tc/tc_filter.c, tc/f_bpf.c and its answers in a network "
    "namespace; Calico's felix/bpf/tc",
)
_QDISC = re.compile(
    r"qdisc (\S{1,30}) (\S{1,20}) (?:\[\S{1,20}\] )?(?:dev (\S{1,40}) )?(root|ingress|clsact|parent \S{1,20})?(.*)"
)
_SENT = re.compile(
    r"Sent (\d{1,18}) bytes (\d{1,18}) pkts? \(dropped (\d{1,18}), overlimits (\d{1,18})(?: requeues (\d{1,18}))?\)\s*"
)
_BACKLOG = re.compile(
    r"(?:rate \S{1,30} \S{1,30} )?backlog (\d{1,18})([KMG]?)b (\d{1,18})p(?: requeues (\d{1,18}))?\s*"
)
_TIME = r"(\d{1,15}(?:\.\d{1,9})?)(us|ms|s)"
_NUMBERS = {
    "limit": re.compile(r"\blimit (\d{1,15})(?![\w.])(?:p\b)?"),
    "loss_percent": re.compile(r"\bloss (?:random )?(\d{1,15}(?:\.\d{1,9})?)%"),
    "duplicate_percent": re.compile(r"\bduplicate (\d{1,15}(?:\.\d{1,9})?)%"),
    "corrupt_percent": re.compile(r"\bcorrupt (\d{1,15}(?:\.\d{1,9})?)%"),
    "reorder_percent": re.compile(r"\breorder (\d{1,15}(?:\.\d{1,9})?)%"),
}
_DELAY = re.compile(rf"\bdelay {_TIME}(?: +{_TIME})?")
_LATENCY = re.compile(rf"\blat(?:ency)? {_TIME}")
_RATE = re.compile(r"\brate (\d{1,15}(?:\.\d{1,9})?)([KMGT]?i?)bit\b")
_BURST = re.compile(r"\bburst (\d{1,15}(?:\.\d{1,9})?)([KMG]?)b\b")
_SCALE = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "i": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _times(pattern: re.Pattern[str], text: str) -> list[float]:
    """The times that a pattern finds, in milliseconds."""
    groups = match.groups() if (match := pattern.search(text)) else ()
    pairs = zip(groups[::2], groups[1::2], strict=True)
    return [float(value) * _SCALE[unit] for value, unit in pairs if value]


def _limits(text: str) -> dict[str, Any]:
    """Rate and burst of a shaper or a policer."""
    rate, burst = _RATE.search(text), _BURST.search(text)
    return {
        "rate_bps": float(rate[1]) * _UNITS[rate[2]] if rate else None,
        "burst_bytes": float(burst[1]) * _BYTES[burst[2]] if burst else None,
    }


def _options(text: str) -> dict[str, Any]:
    """What netem's and tbf's options say."""
    row: dict[str, Any] = {n: float(m[1]) for n, p in _NUMBERS.items() if (m := p.search(text))}
    row["limit"] = int(row["limit"]) if "limit" in row else None
    row |= dict(zip(("delay_ms", "jitter_ms"), _times(_DELAY, text), strict=False))
    row |= dict(zip(("latency_ms",), _times(_LATENCY, text), strict=False))
    return row | _limits(text)


def _qdisc(text: str) -> dict[str, Any] | None:
    match = _QDISC.fullmatch(text)
    if not match or not match[2].endswith(":"):
        return None
    kind, handle, interface, parent, rest = match.groups()
    options = " ".join(word for word in rest.split() if word.strip("-"))
    row = _options(options) if kind in ("netem", "tbf") else {}
    parent = parent and parent.removeprefix("parent ")
    return row | {"kind": kind, "handle": handle, "interface": interface, "parent": parent, "options": options or None}


_SENT_NAMES = ("bytes", "packets", "dropped", "overlimits", "requeues")


def _counted(row: dict[str, Any], text: str) -> bool:
    """Read a line of counters; False if it is none."""
    if match := _SENT.fullmatch(text):
        row |= {n: number(v) for n, v in zip(_SENT_NAMES, match.groups(), strict=True)}
        return True
    if match := _BACKLOG.fullmatch(text):
        row["backlog_bytes"] = int(match[1]) * _BYTES[match[2]] if len(match[1]) < 10 else None
        row["backlog_packets"] = number(match[3])
        return True
    return False


def _more(row: dict[str, Any], column: str, text: str) -> None:
    row.setdefault(column, []).append(text)


@parser("tc-qdisc", QDISCS, marks=r"^qdisc ")
def tc_qdisc(text: Text) -> dict[str, pd.DataFrame]:
    """``tc -s qdisc``, also without ``-s``: queueing disciplines, with what netem and tbf do on purpose.

    Source: recordings; iproute2's tc/q_netem.c and tc/q_tbf.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("tc-qdisc", '''qdisc netem 8001: dev eth0 root refcnt 2 limit 1000 delay 100ms  10ms loss 5%
    ...  Sent 4200 bytes 42 pkt (dropped 2, overlimits 0 requeues 0)
    ...  backlog 98b 1p requeues 0''').frame.iloc[0]
    >>> row["interface"], float(row["delay_ms"]), float(row["loss_percent"]), int(row["dropped"])
    ('eth0', 100.0, 5.0, 2)
    """
    rows: list[dict[str, Any]] = []
    for line in text.lines():
        stripped = line.text.strip()
        if row := _qdisc(stripped):
            rows.append(row | {"line": line.number})
        elif rows and line.text[0] in " \t":
            if not _counted(rows[-1], stripped):
                _more(rows[-1], "statistics", stripped)
        else:
            text.reject(line, "qdisc KIND HANDLE: dev INTERFACE …")
    return {QDISCS.name: _frame(QDISCS, rows)}


def _frame(schema: Schema, rows: list[dict[str, Any]]) -> pd.DataFrame:
    for row in rows:
        for column in ("statistics", "details"):
            if column in row:
                row[column] = "; ".join(row[column])
    return schema.frame({n: [row.get(n) for row in rows] for n in schema.names})


_VALUES = {
    "dev": "interface",
    "parent": "parent",
    "protocol": "protocol",
    "pref": "priority",
    "chain": "chain",
    "id": "program_id",
    "name": "name",
    "tag": "tag",
}
_SWITCHES = {
    "direct-action": ("direct_action", True),
    "jited": ("jited", True),
    "not_in_hw": ("in_hardware", False),
    "in_hw": ("in_hardware", True),
}
_NUMERIC = ("priority", "chain", "program_id")
_ACTION = re.compile(r"action order \d{1,9}: +(\S{1,30})(.*)")


def _filter(words: list[str]) -> dict[str, Any] | None:
    """The first line of a filter; None if it is none."""
    row: dict[str, Any] = {}
    rest, at = [], 1
    while at < len(words):
        word, value = words[at], words[at + 1] if at + 1 < len(words) else None
        if word in _VALUES and value is not None and _VALUES[word] not in row:
            row[_VALUES[word]] = number(value) if _VALUES[word] in _NUMERIC else value
            at += 2
            continue
        if word == "handle" and value is not None:
            row["handle"], at = value, at + 1
        elif word in _SWITCHES:
            row[_SWITCHES[word][0]] = _SWITCHES[word][1]
        elif "priority" in row and "kind" not in row:
            row["kind"] = word
        else:
            rest.append(word)
        at += 1
    return _filtered(row, rest) if row.get("kind") and "protocol" in row else None


def _filtered(row: dict[str, Any], rest: list[str]) -> dict[str, Any]:
    """The filter with what its kind makes of the other words."""
    if row["kind"] == "bpf" and row.get("handle"):
        named = rest and rest[0] not in ("bytecode", "flowid", "skip_hw", "skip_sw")
        row["program"] = rest.pop(0) if named else None
        row = {"direct_action": False, "jited": False} | row
    row["options"] = " ".join(rest) or None
    return row


def _detail(row: dict[str, Any], text: str) -> None:
    """A further line of a filter."""
    if match := _ACTION.fullmatch(text):
        words = match[2].split()
        kind = match[1]
        row.setdefault("action", words[-1] if kind == "gact" and words else kind)
    if "police " in text:
        row |= _limits(text)
    if not _counted(row, text):
        _more(row, "details", text)
    row.pop("backlog_bytes", None)
    row.pop("backlog_packets", None)


def _within(line: Line) -> bool:
    return line.text[0] in " \t" or line.text.startswith(("police ", "action "))


_SHOWN = re.compile(
    r"\btc (?:-\S+ )*filter (?:show|list|ls) dev (?P<interface>\S+)(?: (?P<parent>ingress|egress|root))?"
)


@parser("tc-filter", FILTERS, marks=r"^filter (parent|protocol|ingress|egress|dev)", keeps="tc ")
def tc_filter(text: Text) -> dict[str, pd.DataFrame]:
    """``tc filter show dev INTERFACE ingress`` (or egress), also with ``-s``: filters and eBPF programs.

    Command lines in the text tell interface and hook of what follows. Programs at tcx or netkit are no filters.

    Source: recordings healthy-ebpf-vxlan, ebpf-workload-program-deleted; iproute2's tc/tc_filter.c and tc/f_bpf.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("tc-filter", "filter protocol all pref 49152 bpf chain 0 handle 0x1 cali_tc_preambl:[71] "
    ...     "direct-action not_in_hw id 71 name cali_tc_preambl tag 1a2b3c4d5e6f7081 jited").frame.iloc[0]
    >>> row["kind"], row["program"], int(row["program_id"]), bool(row["direct_action"])
    ('bpf', 'cali_tc_preambl:[71]', 71, True)
    """
    rows: list[dict[str, Any]] = []
    place: dict[str, Any] = {}
    for line in text.lines():
        words = line.text.split()
        row = _filter(words) if words[0] == "filter" else None
        if row:
            rows.append(place | row | {"line": line.number})
        elif match := _SHOWN.search(line.text):
            place = match.groupdict()
        elif rows and _within(line):
            _detail(rows[-1], line.text.strip())
        else:
            text.reject(line, "filter protocol PROTOCOL pref N KIND …")
    return {FILTERS.name: _frame(FILTERS, rows)}

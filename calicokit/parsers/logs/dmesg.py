"""The kernel's log: packets that rules logged or traced, and a full connection-tracking table.

Sources: recordings (packets that Calico's Log action wrote, with times as of ``dmesg`` and ``dmesg --time-format
iso``); the kernel's net/ipv4/netfilter/nf_log_syslog.c, net/netfilter/nf_conntrack_core.c and xt_TRACE for the rest;
``dmesg -T``, ``-r``, ``-x``, journalctl and syslog put other words before a line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.kubernetes import objects
from calicokit.schema import Column, Schema

DMESG = Schema(
    "dmesg",
    "lines of the kernel log",
    (
        Column("time", "time", "timestamp; null without a date; times without a zone are taken as UTC"),
        Column("uptime", "float", "time since boot", "s"),
        Column("kind", "str", "log or trace: a packet; conntrack: a full table; other: anything else"),
        Column("prefix", "str", "log prefix of the rule, such as calico-packet:"),
        Column("table", "str", "table of a traced rule"),
        Column("chain", "str", "chain of a traced rule"),
        Column("step", "str", "traced step: rule, return or policy"),
        Column("rule", "int", "1-based number of the traced rule in its chain"),
        Column("in_interface", "str", "ingress interface; null for locally generated packets"),
        Column("out_interface", "str", "egress interface; null before routing"),
        Column("mac", "str", "link-layer header: destination, source, type"),
        Column("source", "str", "source address"),
        Column("destination", "str", "destination address"),
        Column("length", "int", "length of the packet", "bytes"),
        Column("ttl", "int", "time to live, or hop limit"),
        Column("protocol", "str", "protocol in lower case: tcp, udp, icmp, icmpv6, or a number"),
        Column("sport", "int", "source port"),
        Column("dport", "int", "destination port"),
        Column("icmp_type", "int", "type of an ICMP message"),
        Column("flags", "str", "TCP flags, in lower case, joined with commas"),
        Column("mark", "str", "firewall mark, in hexadecimal"),
        Column("message", "str", "line without its timestamp"),
        Column("printed_time", "str", "syslog's timestamp, as printed: it has no year, nor a zone"),
        Column("host", "str", "host in front of a line of syslog or the journal"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source="recordings of LOG lines; TRACE and conntrack: the kernel's net/netfilter",
)

_HEAD = (
    r"^(?:<[0-9]{1,3}>)?(?:[a-z0-9]{2,9} *:[a-z]{2,7} *: )?"
    r"(?:(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}(?:[,.][0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?) "
    r"|\[(?P<day>[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4})\] "
    r"|(?P<syslog>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}(?:\.[0-9]{1,6})?) )?"
    r"(?:(?P<host>[^ ]{1,100}) kernel: )?(?:\[ *(?P<uptime>[0-9]{1,10}\.[0-9]{1,9})\] ?)?(?P<message>.*)$"
)
_TRACE = r"TRACE: (?P<table>[a-z]{1,20}):(?P<chain>.{1,60}?):(?P<step>rule|return|policy):(?P<rule>[0-9]{1,9}) ?$"
_TEXTS = {
    "in_interface": "IN",
    "out_interface": "OUT",
    "mac": "MAC",
    "source": "SRC",
    "destination": "DST",
    "protocol": "PROTO",
    "mark": "MARK",
}
_NUMBERS = {"length": "LEN", "sport": "SPT", "dport": "DPT", "icmp_type": "TYPE"}
_FLAGS = r" RES=0x[0-9A-Fa-f]+ (?P<flags>(?:(?:CWR|ECE|URG|ACK|PSH|RST|SYN|FIN) )+)"
_FULL = r"conntrack: table full|nf_ct_.*: dropping packet|conntrack.*dropping packet"

_FIRST, _LAST = pd.Timestamp("1700-01-01", tz="UTC"), pd.Timestamp("2200-01-01", tz="UTC")

_Array = Any


def _extract(texts: _Array, pattern: str) -> dict[str, _Array]:
    found = pc.extract_regex(texts, pattern)
    names = [f.name for f in found.type]
    return {n: pc.if_else(found.is_valid(), found.field(i), None) for i, n in enumerate(names)}


def _empty_null(texts: _Array) -> _Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def _value(texts: _Array, key: str, form: str = "[^ ]*") -> _Array:
    return _empty_null(_extract(texts, f"(?:^| ){key}=(?P<v>{form})(?: |$)")["v"])


def _strings(texts: _Array) -> pd.Series[Any]:
    return pd.Series(texts.to_pandas(), dtype="str")


def _ints(texts: _Array) -> pd.Series[Any]:
    return pd.Series(texts.cast(pa.int64()).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get), dtype="Int64")


def _times(head: dict[str, _Array]) -> pd.Series[Any]:
    iso = pd.Series(pc.replace_substring(head["iso"], ",", ".").to_pandas(), dtype="object").fillna("")
    made = pd.to_datetime(iso, utc=True, errors="coerce", format="ISO8601")
    day = pd.Series(head["day"].to_pandas(), dtype="object")
    if day.fillna("").ne("").any():
        days = day.str.replace("  ", " ", regex=False)
        made = made.fillna(pd.to_datetime(days, utc=True, errors="coerce", format="%a %b %d %H:%M:%S %Y"))
    held = (made > _FIRST) & (made < _LAST)  # what nanoseconds can hold
    return made.where(held).astype("datetime64[ns, UTC]")


def _packets(message: _Array) -> dict[str, pd.Series[Any]]:
    """What a packet's line says; an ICMP error carries another packet in brackets, which is left out."""
    plain = pc.replace_substring_regex(message, r" \[SRC=.*\]", "")
    packet = pc.replace_substring_regex(plain, r"IN=([^ ]*) OUT=", r" IN=\1 OUT=", max_replacements=1)
    made = {column: _strings(_value(packet, key)) for column, key in _TEXTS.items()}
    made["protocol"] = made["protocol"].str.lower()
    made |= {column: _ints(_value(packet, key, "[0-9]{1,10}")) for column, key in _NUMBERS.items()}
    made["ttl"] = _ints(_value(packet, "(?:TTL|HOPLIMIT)", "[0-9]{1,3}"))
    flags = _strings(_empty_null(_extract(packet, _FLAGS)["flags"]))
    made["flags"] = flags.str.strip().str.lower().str.replace(" ", ",", regex=False)
    return made


def _known(texts: _Array, head: dict[str, _Array]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which lines have a time before them, or a packet in them."""
    known = pc.match_substring_regex(texts, r"IN=[^ ]* OUT=|conntrack: table full|^<[0-9]{1,3}>| kernel: ")
    for name in ("iso", "day", "syslog", "uptime"):
        known = pc.or_(known, pc.greater(pc.binary_length(pc.fill_null(head[name], "")), 0))
    return np.asarray(known.to_numpy(zero_copy_only=False), dtype=bool)


def _read(texts: _Array, head: dict[str, _Array]) -> dict[str, Any]:
    message = head["message"]
    packet = pc.match_substring_regex(message, r"IN=[^ ]* OUT=")
    prefix = pc.if_else(packet, _extract(message, r"(?s)^(?P<p>.*?)IN=[^ ]* OUT=")["p"], pa.scalar(None, pa.string()))
    trace = _extract(pc.fill_null(prefix, ""), _TRACE)
    full = pc.match_substring_regex(message, _FULL)
    traced = trace["table"].is_valid()
    kinds = np.select(
        [np.asarray(m.to_numpy(zero_copy_only=False), dtype=bool) for m in (traced, packet, full)],
        ["trace", "log", "conntrack"],
        "other",
    )
    blank = pc.if_else(packet, message, pa.scalar("", pa.string()))
    return {
        "time": _times(head),
        "uptime": _empty_null(head["uptime"]).cast(pa.float64()).to_pandas().astype("float64"),
        "kind": pd.Series(kinds, dtype="str"),
        "prefix": _strings(_empty_null(pc.utf8_trim_whitespace(prefix))),
        **{n: _strings(trace[n]) for n in ("table", "chain", "step")},
        "rule": _ints(trace["rule"]),
        **_packets(blank),
        "message": _strings(message),
        "printed_time": _strings(_empty_null(head["syslog"])),
        "host": _strings(_empty_null(head["host"])),
    }


@parser(
    "dmesg",
    DMESG,
    marks=(
        r"(calico-packet|TRACE: \w+:\w+|nf_conntrack: |\bIN=\S* OUT=\S* | kernel: |\[ *\d{1,10}\.\d{6}\] \S)"
        r"|^\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4}\] "
    ),
    general=True,
)
def dmesg(text: Text) -> dict[str, pd.DataFrame]:
    """The kernel's log (``dmesg``, ``journalctl -k``): packets of LOG and TRACE rules, full conntrack tables, the rest.

    Source: see the module. TRACE lines and full tables are in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("dmesg", "[ 4183.123456] calico-packet: IN=eth0 OUT=cali1 SRC=10.48.84.131 DST=10.48.139.69 LEN=60 "
    ...     "TTL=62 PROTO=TCP SPT=49894 DPT=8443 WINDOW=64240 RES=0x00 SYN URGP=0").frame.iloc[0]
    >>> row["prefix"], row["out_interface"], row["destination"], int(row["dport"]), row["flags"]
    ('calico-packet:', 'cali1', '10.48.139.69', 8443, 'syn')
    """
    lines = list(objects.lines(text))
    texts = pa.array([line.text for line in lines], pa.string())
    if not lines:
        return {DMESG.name: DMESG.frame()}
    head = _extract(texts, _HEAD)
    known = _known(texts, head)
    _refuse(text, [line for line, k in zip(lines, known.tolist(), strict=True) if not k])
    if not known.all():
        keep = pa.array(known)
        texts, head = texts.filter(keep), {n: a.filter(keep) for n, a in head.items()}
    made = pd.DataFrame(_read(texts, head)) if len(texts) else DMESG.frame().drop(columns="line")
    made["line"] = pd.Series([line.number for line, k in zip(lines, known.tolist(), strict=True) if k], dtype="Int64")
    return {DMESG.name: DMESG.take(made)}


def _refuse(text: Text, lines: list[Line]) -> None:
    for line in lines:
        text.reject(line, "a time in front of a kernel message")

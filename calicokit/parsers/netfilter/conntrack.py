"""What ``conntrack -L`` and ``conntrack -S`` print, and the kernel's own ``/proc/net/nf_conntrack``.

Sources: recordings of conntrack-tools 1.4.7; libnetfilter_conntrack's src/conntrack/snprintf_default.c and
conntrack-tools' src/conntrack.c for protocols, flags and options that the recordings do not show.

A table can have hundreds of thousands of entries, so one regular expression runs over the whole text and gives all
common entries at once; lines that it does not know are read word by word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute.common import address, number
from calicokit.schema import Column, Schema

_SOURCE = "recordings of conntrack-tools 1.4.7; libnetfilter_conntrack's src/conntrack/snprintf_default.c"
ENTRIES = Schema(
    "conntrack",
    "conntrack entries; the reply_ columns are the reply direction, which differs under NAT",
    (
        Column("protocol", "str", "tcp, udp, icmp, icmpv6, sctp, gre, …"),
        Column("protocol_number", "int", "number of the protocol"),
        Column("timeout", "int", "time to expiry without packets; null where offloaded", "s"),
        Column("state", "str", "state of TCP, SCTP or DCCP"),
        Column("source", "str", "source address (initiator)"),
        Column("destination", "str", "original destination address"),
        Column("sport", "int", "source port"),
        Column("dport", "int", "destination port"),
        Column("packets", "int", "packets in the original direction; null without accounting", "packets"),
        Column("bytes", "int", "bytes in the original direction; null without accounting", "bytes"),
        Column("reply_source", "str", "source address of replies"),
        Column("reply_destination", "str", "destination address of replies"),
        Column("reply_sport", "int", "source port of replies"),
        Column("reply_dport", "int", "destination port of replies"),
        Column("reply_packets", "int", "packets in the reply direction; null without accounting", "packets"),
        Column("reply_bytes", "int", "bytes in the reply direction; null without accounting", "bytes"),
        Column("icmp_type", "int", "type of ICMP"),
        Column("icmp_code", "int", "code of ICMP"),
        Column("icmp_id", "int", "identifier of ICMP"),
        Column("unreplied", "bool", "unreplied: no reply was seen"),
        Column("assured", "bool", "assured: not evicted when the table is full"),
        Column("flags", "list", "UNREPLIED, ASSURED, OFFLOAD, HW_OFFLOAD, …"),
        Column("mark", "int", "mark of the connection"),
        Column("zone", "int", "zone; null is 0"),
        Column("use", "int", "references to the entry"),
        Column("attributes", "str", "remaining text, as printed"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("protocol", "source", "destination", "sport", "dport", "icmp_id", "zone", "line"),
    source=_SOURCE,
)
_COUNTERS = {
    "found": "look-ups that found an entry",
    "invalid": "packets that could not be tracked",
    "insert": "entries inserted",
    "insert_failed": "entries that could not be inserted: a same one was there before",
    "drop": "packets dropped as no entry could be created",
    "early_drop": "entries dropped to make room, as the table was full",
    "error": "packets with errors",
    "search_restart": "lookups restarted, as the table changed",
    "clash_resolve": "clashes of entries that were resolved",
    "chaintoolong": "entries not inserted as the chain was too long",
    "entries": "entries",
    "searched": "look-ups; old kernels",
    "new": "entries that were not expected; old kernels",
    "ignore": "packets of entries that were there; old kernels",
    "delete": "entries deleted; old kernels",
    "delete_list": "entries put on the list of the dying; old kernels",
    "icmp_error": "packets that could not be tracked for an ICMP error",
}
STATS = Schema(
    "conntrack_stats",
    "conntrack counters per CPU",
    (
        Column("cpu", "int", "CPU number; null for the sum"),
        *(Column(name, "int", meaning) for name, meaning in _COUNTERS.items()),
        Column("attributes", "str", "other counters, as printed"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("cpu", "line"),
    source=_SOURCE,
)

_N = r"(\d{1,18})"
_PORTS = rf"(?:sport={_N} +dport={_N} +)?"
_ICMP = rf"(?:type={_N} +code={_N} +id={_N} +)?"
_COUNTED = rf"(?:packets={_N} +bytes={_N} +)?"
_WAY = r"src=([0-9.]{7,15}) +dst=([0-9.]{7,15}) +"
_ALL = re.compile(
    rf"^(?:([a-z]{{2,12}}) +(\d{{1,3}}) +{_N} +(?:([A-Z_0-9]{{3,20}}) +)?{_WAY}{_PORTS}{_ICMP}{_COUNTED}"
    rf"(\[UNREPLIED\] +)?{_WAY}{_PORTS}(?:type=\d+ +code=\d+ +id=\d+ +)?{_COUNTED}"
    rf"(\[(?:ASSURED|OFFLOAD|HW_OFFLOAD)\] +)?(?:mark={_N} +)?(?:zone={_N} +)?use={_N}[ \t]*|(.*))$",
    re.MULTILINE,
)
_GROUPS = (
    *("protocol", "protocol_number", "timeout", "state", "source", "destination", "sport", "dport"),
    *("icmp_type", "icmp_code", "icmp_id", "packets", "bytes", "unreplied", "reply_source", "reply_destination"),
    *("reply_sport", "reply_dport", "reply_packets", "reply_bytes", "flag", "mark", "zone", "use", "other"),
)
_STAMP = re.compile(r"\[\d{1,12}\.\d{1,9}\]")
_SUMMARY = re.compile(r"conntrack v\S+ \(conntrack-tools\): .*")
_STAT = re.compile(r"(?:cpu=(\d{1,6})\s+)?((?:\w{1,30}=\d{1,18}\s*)+)")
_OLD_STAT = re.compile(r"(\w{1,30})\s+(\d{1,18})")
_KEYS = {
    "src": "source",
    "dst": "destination",
    "sport": "sport",
    "dport": "dport",
    "packets": "packets",
    "bytes": "bytes",
}
_ONCE = {"mark": "mark", "zone": "zone", "use": "use", "type": "icmp_type", "code": "icmp_code", "id": "icmp_id"}


def _head(words: list[str]) -> tuple[dict[str, str], int] | None:
    """What stands before the addresses, and how many words that is."""
    at = 2 if words[0] in ("ipv4", "ipv6") else 0
    if not (len(words) > at + 2 and words[at + 1].isdigit() and words[at + 1].isascii()):
        return None
    row = {"protocol": words[at], "protocol_number": words[at + 1]}
    at += 2
    if number(words[at]) is not None:
        row["timeout"], at = words[at], at + 1
    if at < len(words) and words[at].replace("_", "").isalnum() and words[at].isupper():
        row["state"], at = words[at], at + 1
    return row, at


def _entry(text: str) -> dict[str, Any] | None:
    """An entry read word by word; None if it is none."""
    words = text.split()
    events = [words.pop(0)] if _STAMP.fullmatch(words[0]) and len(words) > 1 else []
    events += [words.pop(0)] if words[0] in ("[NEW]", "[UPDATE]", "[DESTROY]") else []
    head = _head(words) if words else None
    if not head:
        return None
    row: dict[str, Any] = {**head[0]}
    flags: list[str] = []
    rest: list[str] = events
    for word in words[head[1] :]:
        key, equals, value = word.partition("=")
        column = _column(row, key)
        if word[0] == "[" and word[-1] == "]" and not equals:
            flags.append(word[1:-1])
        elif equals and column and column not in row and _fits(column, value):
            row[column] = value
        elif not (equals and key in ("type", "code", "id") and key_of(row, key) == value):
            rest.append(word)
    row |= {"flags": flags, "attributes": " ".join(rest) or None}
    return row if "source" in row and "destination" in row and _addresses(row) else None


def key_of(row: dict[str, Any], key: str) -> str | None:
    """What the first direction said of an ICMP field, which the second says again."""
    found: str | None = row.get(_ONCE[key])
    return found


def _column(row: dict[str, Any], key: str) -> str | None:
    name = _KEYS.get(key)
    if name and (name in row or "reply_source" in row or (key == "src" and "source" in row)):
        return f"reply_{name}"
    return name or _ONCE.get(key)


def _fits(column: str, value: str) -> bool:
    return column.endswith(("source", "destination")) or number(value) is not None


def _addresses(row: dict[str, Any]) -> bool:
    for name in ("source", "destination", "reply_source", "reply_destination"):
        row[name] = address(row.get(name))
    return all("." in row[n] or ":" in row[n] for n in ("source", "destination"))


def _stat(text: str) -> dict[str, Any] | None:
    match = _STAT.fullmatch(text)
    if not match:
        return None
    row: dict[str, Any] = {"cpu": number(match[1])}
    rest = []
    for word in match[2].split():
        name, _, value = word.partition("=")
        if name in _COUNTERS:
            row[name] = number(value)
        else:
            rest.append(word)
    return row | {"attributes": " ".join(rest) or None}


class _Rest:
    """Lines that the one expression does not know: other entries, counters."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.entries: list[tuple[int, dict[str, Any]]] = []
        self.stats: list[dict[str, Any]] = []

    def line(self, at: int, line: str) -> None:
        stripped = line.strip()
        if not stripped or _SUMMARY.fullmatch(stripped):
            return
        if row := _stat(stripped):
            self.stats.append(row | {"line": at + 1})
        elif row := _entry(stripped):
            self.entries.append((at, row))
        elif not self.old(stripped, at):
            self.text.reject(Line(at + 1, line.rstrip()), "PROTOCOL NUMBER … src= dst= …, or cpu=N and counters")

    def old(self, line: str, at: int) -> bool:
        """Read a counter on a line of its own, as old kernels' sums have them."""
        match = _OLD_STAT.fullmatch(line)
        if not match or match[1] not in _COUNTERS:
            return False
        if not self.stats or self.stats[-1]["cpu"] is not None or match[1] in self.stats[-1]:
            self.stats.append({"cpu": None, "line": at + 1})
        self.stats[-1][match[1]] = number(match[2])
        return True


def _ints(values: Sequence[str]) -> pd.Series[Any]:
    texts = pa.array(values, pa.string())
    numbers = pc.cast(pc.if_else(pc.equal(texts, ""), None, texts), pa.int64())
    return pd.Series(
        pd.arrays.IntegerArray(
            pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False).copy(),
            pc.is_null(numbers).to_numpy(zero_copy_only=False).copy(),
        )
    )


def _texts(values: Sequence[str]) -> pd.Series[Any]:
    texts = pa.array(values, pa.string())
    made = pc.if_else(pc.equal(texts, ""), None, texts)
    return pd.Series(made.to_pandas(types_mapper=_TYPES)).astype("str")


_STRINGS = pd.StringDtype("pyarrow", na_value=np.nan)
_TYPES: Callable[[Any], Any] = {pa.string(): _STRINGS}.get


def _common(rows: list[tuple[str, ...]], lines: Sequence[int]) -> pd.DataFrame:
    """The table of the entries that the one expression read."""
    columns = dict(zip(_GROUPS, zip(*rows, strict=True) if rows else [()] * len(_GROUPS), strict=True))
    made: dict[str, Any] = {}
    for column in ENTRIES.columns:
        if column.name in columns and column.name != "unreplied":
            made[column.name] = (_ints if column.kind == "int" else _texts)(columns[column.name])
    flags = [(u + f).strip() for u, f in zip(columns["unreplied"], columns["flag"], strict=True)]
    known = {text: text.replace("[", "").replace("]", "").split() for text in set(flags)}
    made["unreplied"] = pd.array([bool(u) for u in columns["unreplied"]], dtype="boolean")
    made["assured"] = pd.array(["ASSURED" in known[text] for text in flags], dtype="boolean")
    made["flags"] = pd.Series([known[text] for text in flags], dtype="object")
    made["attributes"] = pd.Series([None] * len(rows), dtype="str")
    made["line"] = pd.Series(lines, dtype="Int64")
    return pd.DataFrame({name: made[name] for name in ENTRIES.names})


def _others(entries: list[tuple[int, dict[str, Any]]]) -> pd.DataFrame:
    kinds = {c.name: c.kind for c in ENTRIES.columns}
    rows = []
    for at, row in entries:
        flags = row["flags"]
        read = {n: number(v) if kinds[n] == "int" else v for n, v in row.items()}
        rows.append(read | {"line": at + 1, "unreplied": "UNREPLIED" in flags, "assured": "ASSURED" in flags})
    return ENTRIES.frame({n: [row.get(n) for row in rows] for n in ENTRIES.names})


@parser(
    "conntrack",
    ENTRIES,
    STATS,
    marks=(
        r"^[ \t]*(\[\d+\.\d+[ \t]*\][ \t]*)?(\[(NEW|UPDATE|DESTROY)\][ \t]+)?"
        r"((ipv[46][ \t]+\d+[ \t]+)?\w+[ \t]+\d+\s.*src=\S+[ \t]+dst="
        r"|cpu=\d+)"
    ),
)
def conntrack(text: Text) -> dict[str, pd.DataFrame]:
    """``conntrack -L`` (also ``-o extended,id``), ``-E``, ``/proc/net/nf_conntrack`` and ``conntrack -S``.

    An event of ``-E`` is an entry; what happened, and when with ``-o timestamp``, is in ``attributes``.

    Source: recordings; libnetfilter_conntrack's src/conntrack/snprintf_default.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("conntrack", "tcp 6 117 SYN_SENT src=10.48.84.131 dst=10.96.0.10 sport=48270 dport=53 [UNREPLIED] "
    ...     "src=10.48.217.68 dst=10.48.84.131 sport=53 dport=48270 mark=0 use=1").frame.iloc[0]
    >>> row["destination"], row["reply_source"], row["flags"]
    ('10.96.0.10', '10.48.217.68', ['UNREPLIED'])
    """
    found = _ALL.findall(text.text)
    rest = _Rest(text)
    for at, row in enumerate(found):
        if row[-1]:
            rest.line(at, row[-1])
    lines = [at for at, row in enumerate(found, 1) if row[0]]
    frame = _common([row for row in found if row[0]], lines)
    if rest.entries:
        frame = pd.concat([frame, _others(rest.entries)]).sort_values("line", kind="stable")
        frame = ENTRIES.take(frame)
    return {ENTRIES.name: frame, STATS.name: STATS.frame({n: [r.get(n) for r in rest.stats] for n in STATS.names})}

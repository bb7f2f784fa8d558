"""Programs that are attached to interfaces, as `bpftool net` shows them."""

from __future__ import annotations

import re

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.schema import Column, Schema

SCHEMA = Schema(
    "bpftool_net",
    "BPF programs that are attached to interfaces.",
    (
        Column("section", "str", "xdp, tc, flow_dissector or netfilter"),
        Column("interface", "str", "interface; null for what is attached to none"),
        Column("index", "int", "the interface's index"),
        Column("hook", "str", "tcx/ingress, clsact/egress, netkit/peer, driver, generic, …"),
        Column("program", "str", "program's name, cut to 15 characters by the kernel; null where none is shown"),
        Column("id", "int", "program's id"),
    ),
)

_SECTION = re.compile(r"(xdp|tc|flow_dissector|netfilter):")
_LINE = re.compile(
    r"(?P<interface>\S+)\((?P<index>\d+)\) (?P<hook>\S+)(?: (?P<program>[^\s:]+)(?::\[\d+\])?)??"
    r" (?:prog_)?id (?P<id>\d+)(?: .*)?"
)
_OTHER = re.compile(r"(?P<hook>ip6? \S+ prio -?\d+|\S.*?)??(?: ?\bprog)?_?id (?P<id>\d+)(?: .*)?")


@parser("bpftool-net", SCHEMA, marks=r"^(xdp|tc|flow_dissector):\n")
def bpftool_net(source: Text) -> dict[str, pd.DataFrame]:
    """`bpftool net show`: BPF programs attached to interfaces (XDP, tc, tcx, netkit), flow dissectors, netfilter.

    Sections in a fixed order, empty ones too (source: tools/bpf/bpftool/net.c; recordings healthy-ebpf,
    ebpf-workload-program-deleted).
    """
    section, rows = "", []
    for line in source.lines():
        if match := _SECTION.fullmatch(line.text):
            section = match[1]
        elif section and (match := (_LINE if section in ("xdp", "tc") else _OTHER).fullmatch(line.text)):
            rows.append({"section": section, **match.groupdict()})
        else:
            source.reject(line, "a section, or an interface with its program")
    return {"bpftool_net": SCHEMA.frame([{**r, **{k: _int(r.get(k)) for k in ("index", "id")}} for r in rows])}


def _int(text: str | None) -> int | None:
    return None if text is None else int(text)

"""What ``ethtool -k`` and ``ethtool -S`` print: offloads of an interface, and its driver's counters.

Source: ethtool's ethtool.c (dump_features, do_gstats) and netlink/features.c.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.parsers.iproute.common import number
from calicokit.schema import Column, Schema

_INTERFACE = Column("interface", "str", "interface; null where the output does not name it")
_LINE = Column("line", "int", "1-based line number in the text")
FEATURES = Schema(
    "ethtool_features",
    "offloads of interfaces",
    (
        _INTERFACE,
        Column("feature", "str", "feature, such as tx-checksum-ip-generic"),
        Column("on", "bool", "on"),
        Column("fixed", "bool", "cannot be changed"),
        Column("requested", "bool", "requested state, where it differs; else null"),
        _LINE,
    ),
    ("interface", "feature", "line"),
    verified=False,
    source="ethtool's netlink/features.c",
)
STATISTICS = Schema(
    "ethtool_statistics",
    "counters of an interface's driver",
    (
        _INTERFACE,
        Column("counter", "str", "counter, as the driver names it"),
        Column("value", "int", "value"),
        _LINE,
    ),
    ("interface", "counter", "line"),
    verified=False,
    source="ethtool's ethtool.c (do_gstats)",
)
_OF = re.compile(r"(?:Features|Offload parameters) for (\S{1,40}):")
_FEATURE = re.compile(r"([\w. -]{2,60}): (on|off)(?: \[(fixed|requested on|requested off|not requested)\])?")
_COUNTER = re.compile(r"(\S.{0,100}?): {1,20}(\d{1,19})")
_ASKED = re.compile(r"\bethtool (?:-[kS]|--show-features|--show-offload|--statistics) (\S{1,40})")


@parser(
    "ethtool-features",
    FEATURES,
    marks=(
        r"^(Features|Offload parameters) for \S+:"
        r"|^[ \t]*[\w-]+-(offload|checksumming|checksum-\w+|gather|segmentation): (on|off)\b"
    ),
    keeps="ethtool ",
)
def ethtool_features(text: Text) -> dict[str, pd.DataFrame]:
    """``ethtool -k INTERFACE``: which offloads are on.

    The interface is taken from the heading, or from a command line before the output.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("ethtool-features", "Features for eth0:\\n\\ttx-checksum-ip-generic: off [fixed]").frame.iloc[0]
    >>> row["interface"], row["feature"], bool(row["on"]), bool(row["fixed"])
    ('eth0', 'tx-checksum-ip-generic', False, True)
    """
    rows: list[dict[str, Any]] = []
    interface: str | None = None
    for line in text.lines():
        body = line.text.strip()
        if match := _OF.fullmatch(body) or _ASKED.search(body):
            interface = match[1]
        elif match := _FEATURE.fullmatch(body):
            said = match[3] or ""
            requested = said.endswith(" on") if said.startswith("requested") else None
            row = {"feature": match[1], "on": match[2] == "on", "fixed": said == "fixed", "requested": requested}
            rows.append({"interface": interface, **row, "line": line.number})
        else:
            text.reject(line, "FEATURE: on or off")
    return {FEATURES.name: FEATURES.frame(rows)}


@parser(
    "ethtool-statistics",
    STATISTICS,
    marks=r"^NIC statistics:|^ +(rx|tx)_\w+(\[\d+\])?: \d+$",
    keeps="ethtool ",
)
def ethtool_statistics(text: Text) -> dict[str, pd.DataFrame]:
    """``ethtool -S INTERFACE``: the driver's counters.

    ethtool does not print the interface; it is taken from a command line before the output.

    Source: see the module; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> parse("ethtool-statistics", "NIC statistics:\\n     rx_dropped: 7").frame[["counter", "value"]].values.tolist()
    [['rx_dropped', 7]]
    """
    rows: list[dict[str, Any]] = []
    interface: str | None = None
    for line in text.lines():
        body = line.text.strip()
        if match := _ASKED.search(body):
            interface = match[1]
        elif (match := _COUNTER.fullmatch(body)) and (value := number(match[2])) is not None:
            rows.append({"interface": interface, "counter": match[1], "value": value, "line": line.number})
        elif body != "NIC statistics:":
            text.reject(line, "COUNTER: NUMBER")
    return {STATISTICS.name: STATISTICS.frame(rows)}

"""What calico-node's readiness and liveness commands print, and what the kubelet repeats of it.

Sources: recordings of ``calico-node -felix-ready``, ``-bird-ready`` (v3.28) and ``calico component node health …``
(v3.34-dev), stdout and stderr; node/pkg/health/health.go for the other messages.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.parsers.kubernetes import objects
from calicokit.schema import Column, Schema

READY = Schema(
    "health_ready",
    "output of the health commands; no rows without output, which is what a ready component prints",
    (
        Column("component", "str", "bird, bird6, felix, confd; null where not stated"),
        Column("check", "str", "ready or live; null for a line with only a count"),
        Column("ready", "bool", "false where the line says not ready or not live; else null"),
        Column("message", "str", "message"),
        Column("peers", "list", "BGP peers without an established session"),
        Column("established", "int", "nodes with an established session", "nodes"),
        Column("time", "time", "timestamp; null without one"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source="recordings; node/pkg/health/health.go",
)

_LOG = re.compile(
    r'time="([^"]{1,40})" level=[a-z]{1,10} msg="((?:[^"\\]|\\.)*+)".*'
    r"|(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \[[A-Z]{1,9}\]\[\d{1,9}\] \S{1,200} \d{1,9}: (.*)"
)
_NOT = re.compile(r"(.{0,300}?)calico/node is not (ready|live): (.*)")
_SAYS = re.compile(r"(\S{1,40}) is not (ready|live): (.*)")
_PEERS = re.compile(r"BGP not established with ([0-9A-Fa-f.:, ]*)")
_ESTABLISHED = re.compile(r"Number of node\(s\) with BGP peering established = (\d{1,9})")
_OTHER = re.compile(r"(?:[Ff]ailed|[Ee]rror|WARNING|[Uu]nable|Readiness probe|Liveness probe|Probe)\b.*")


def _message(text: str) -> dict[str, Any] | None:
    """What one message says; None if it is none of the health commands'."""
    if match := _ESTABLISHED.fullmatch(text):
        return {"component": "bird", "message": text, "established": int(match[1]), "peers": []}
    if match := _NOT.fullmatch(text):
        says = _SAYS.fullmatch(match[3])
        peers = _PEERS.search(match[3])
        return {
            "component": _component(says[1], match[3]) if says else None,
            "check": match[2],
            "ready": False,
            "message": match[3],
            "peers": [p.strip() for p in peers[1].split(",") if p.strip()] if peers else [],
        }
    return {"message": text, "peers": []} if _OTHER.fullmatch(text) else None


def _component(name: str, message: str) -> str:
    if name.lower() == "bird6" or "BIRDv6" in message:
        return "bird6"
    return "confd" if "service confd is not" in message else name.lower().partition("/")[0]


@parser("health-ready", READY, marks=r"calico/node is not ready|BGP peering established|readiness probe reporting")
def health_ready(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -felix-ready``, ``-bird-ready`` and their like, or the same words in a kubelet event.

    A ready Felix prints nothing; the exit status tells.

    Source: see the module. Messages of Felix, confd and IPv6 are in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("health-ready", "calico/node is not ready: BIRD is not ready: BGP not established with "
    ...     "172.30.0.11,172.30.0.12").frame.iloc[0]
    >>> row["component"], bool(row["ready"]), row["peers"]
    ('bird', False, ['172.30.0.11', '172.30.0.12'])
    """
    rows = []
    for line in objects.lines(text):
        log = _LOG.fullmatch(line.text.strip())
        said = _message((log[2] or log[4] or "") if log else line.text.strip())
        if log and said is None:
            said = {"message": log[2] or log[4], "peers": []}
        if said is None:
            text.reject(line, "calico/node is not ready: … or a log line of the health command")
        else:
            rows.append({**said, "time": objects.time(log[1] or log[3]) if log else None, "line": line.number})
    return {READY.name: READY.frame(rows)}

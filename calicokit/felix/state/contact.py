"""Whether Calico's components still reach the API server and Typha, from their logs.

Every failed request to the API server is logged with Go's own words: the URL and what the network said. What stands
around them differs by component and version (libcalico-go/lib/backend/watchersyncer/watchercache.go,
felix/daemon/daemon.go, client-go's reflector), so URL and network are looked for. Typha's clients:
typha/pkg/syncclient/sync_client.go. Read @ v3.26.5, v3.28.5, v3.30.7 and HEAD.

That a connection works again is seldom logged. Failures repeat at least every half minute while it does not (dials give
up after 30 s), so that those which lie back further are over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.kube.tables import pod_ref
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

CONTACT = Schema(
    "felix.contact",
    "Logged failures to reach the API server or Typha, per component: the last streak of each.",
    (
        Column("node", "str", "node of the component; null for Typha's log where its pod's node is unknown"),
        Column("component", "str", "component that logged it: felix, confd or typha"),
        Column("to", "str", "datastore (the API server) or typha"),
        Column("address", "str", "host and port it tried to reach; null where not logged"),
        Column("failures", "int", "failures in the streak", "lines"),
        Column("first", "time", "first failure of the streak"),
        Column("last", "time", "last failure of the streak"),
        Column("reached", "time", "last logged success"),
        Column("until", "time", "end of the log"),
        Column("error", "str", "error of the last failure, preferring those that name an address"),
        Column("lost", "bool", "failing for 20 s (10 s where its log begins so), and still within the last minute"),
        Column("evidence", "str", "the log"),
    ),
    key=("node", "component", "to"),
)

UNREACHABLE = Schema(
    "felix.unreachable",
    "Calico components that cannot reach the API server now, from logs and from pods waiting for their network.",
    (
        Column("node", "str", "node; null where unknown"),
        Column("component", "str", "felix, confd, typha, or cni for the CNI plugin"),
        Column("since", "time", "start at the latest"),
        Column("last", "time", "last failure"),
        Column("error", "str", "error message"),
        Column("pods", "list", "CNI plugin: waiting pods"),
    ),
    key=("node", "component"),
)

STREAK = pd.Timedelta(seconds=20)
"""A shorter outage is a restart of the other end."""
FROM_THE_START = pd.Timedelta(seconds=10)
"""A process that ended for want of contact and began anew has failed for longer than its log shows."""
STILL = pd.Timedelta(seconds=60)
"""Dials give up after 30 s, and are tried again at once or after some seconds."""

NETWORK = (
    r"dial tcp|connection refused|i/o timeout|no route to host|network is unreachable|connection reset by peer|"
    r"context deadline exceeded|Client\.Timeout|TLS handshake timeout|client connection lost|\bEOF\b|no such host|"
    r"x509: |tls: "
)
"""What Go says of a connection that is not made, or breaks."""
_ASKED = re.compile(
    r"(?:Get|List|Watch|Post|Put|Patch|Delete|Head) \\?\"?https?://([^/\s\"]{1,200})"
    r"/(?:apis?/|version|healthz|readyz|livez|openapi)[^\s\"]*\\?\"?: (.*)",
    re.DOTALL,
)
"""A request to the API server, by Go's words and the API's paths: its address, and what became of it."""
_LOST_WATCH = ("Watch error received from Upstream", "Watch of resource finished", "Watch repeatedly failed")
_HEARD = (
    *("Sending synced update", "Datastore now in sync", "First time we've been in sync", "Loaded ready flag"),
    *("Server Version:", "Received *proto.", "Datastore connection established", "Watch has expired"),
)
_TO_TYPHA = (
    *("Failed to connect to typha endpoint", "Failed to connect to Typha", "Did not get hello message from Typha"),
    *("Failed to read from server", "Failed to send hello to server", "Failed to write pong to server"),
    *("Failed to send ACK to server", "Failed to restart Typha client", "Typha connection failed"),
    "Didn't find any ready Typha instances",
)
_FROM_TYPHA = ("ServerHello message received", "Status update from Typha", "Received *proto.")
_TYPHA_ENDPOINT = re.compile(r"typha endpoint (\S+?)\. ")
_TYPHA_FIELD = re.compile(r"\b(?:address|connection)=(\S+)")


@table(
    CONTACT,
    any_of={"felix": "output.felix_log", "confd": "output.confd_log", "typha": "output.typha_log"},
    wants={"pods": "health.pods", "now": "@now"},
)
def contact(
    felix: pd.DataFrame | None,
    confd: pd.DataFrame | None,
    typha: pd.DataFrame | None,
    pods: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each component and what it failed to reach; see :data:`CONTACT`.

    Whether it is lost is told by the end of the log where the time of the observation is not known.
    """
    rows: list[dict[str, Any]] = []
    for component, log in (("felix", felix), ("confd", confd), ("typha", typha)):
        for ref, lines in log.groupby("evidence", sort=False) if log is not None else ():
            node = _node(component, lines, pods)
            for to in ("datastore", "typha") if component != "typha" else ("datastore",):
                row = _streak(lines, to, now)
                if row is not None:
                    rows.append({"node": node, "component": component, "to": to, "evidence": ref} | row)
    return CONTACT.frame(rows)


@table(UNREACHABLE, any_of={"contact": "felix.contact", "errors": "cni.errors"})
def unreachable(contact: pd.DataFrame | None, errors: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each component that is cut off; see :data:`UNREACHABLE`."""
    rows: list[dict[str, Any]] = []
    if contact is not None:
        lost = contact[(contact["to"] == "datastore") & contact["lost"]]
        told = cells(lost, "node", "component", "first", "last", "error")
        rows += [dict(zip(("node", "component", "since", "last", "error"), row, strict=True)) for row in told]
    if errors is not None:
        waits = errors[errors["open"] & (errors["finding"] == "datastore-unreachable")]
        for node, group in waits.groupby("node", dropna=False):
            row = {"node": node if isinstance(node, str) else None, "component": "cni", "pods": _pods(group)}
            last = group.sort_values("last").iloc[-1]
            rows.append(row | {"since": group["first"].min(), "last": last["last"], "error": last["error"]})
    return UNREACHABLE.frame(rows)


def _pods(errors: pd.DataFrame) -> list[str]:
    return sorted(pod_ref(r) for r in records(errors[errors["pod"].notna()]))


def _node(component: str, lines: pd.DataFrame, pods: pd.DataFrame | None) -> str | None:
    if component != "typha":
        return next(iter(lines["node"].dropna()), None)
    nodes = [] if pods is None else pods[pods["component"] == "typha"]["node"].dropna().unique().tolist()
    return str(nodes[0]) if len(nodes) == 1 else None


def _streak(lines: pd.DataFrame, to: str, now: pd.Timestamp | None) -> dict[str, Any] | None:
    """The failures since it last heard something from there."""
    lines = lines[lines["time"].notna()]
    messages = lines["message"].fillna("")
    failures = list(_datastore(lines, messages) if to == "datastore" else _typha(lines, messages))
    heard = lines[messages.str.startswith(_HEARD if to == "datastore" else _FROM_TYPHA)]["time"].max()
    failures = [f for f in failures if pd.isna(heard) or f[0] > heard]
    if not failures:
        return None
    first, last, until = failures[0][0], failures[-1][0], lines["time"].max()
    named = [f for f in failures if f[1]] or failures
    still = (until if now is None else now) - last <= STILL
    anew = pd.isna(heard) and first - lines["time"].min() < FROM_THE_START
    return {
        "address": named[-1][1],
        "failures": len(failures),
        "first": first,
        "last": last,
        "reached": heard,
        "until": until,
        "error": named[-1][2],
        "lost": last - first >= (FROM_THE_START if anew else STREAK) and still,
    }


Failure = tuple[pd.Timestamp, str | None, str]
"""When, the address that was asked, what the network said."""


def _datastore(lines: pd.DataFrame, messages: pd.Series[str]) -> Iterator[Failure]:
    """Requests to the API server that the network failed, and watches that broke."""
    texts = messages + " " + lines["fields"].fillna("")
    asked = texts.str.contains("https?://", regex=True) | messages.str.startswith(_LOST_WATCH)
    failed = asked & texts.str.contains(NETWORK, regex=True)
    times, watches = lines["time"][failed].tolist(), messages[failed].str.startswith(_LOST_WATCH).tolist()
    for time, text, watch in zip(times, texts[failed].tolist(), watches, strict=True):
        if match := _ASKED.search(text):
            said = match[2].strip()
            if re.search(NETWORK, said):
                yield time, match[1], f"{match[1]}: {said}"[:300]
        elif watch:
            yield time, None, text[:300]


def _typha(lines: pd.DataFrame, messages: pd.Series[str]) -> Iterator[Failure]:
    failed = messages.str.startswith(_TO_TYPHA)
    for time, message, fields, error in cells(lines[failed], "time", "message", "fields", "error"):
        match = _TYPHA_ENDPOINT.search(message) or _TYPHA_FIELD.search(fields if isinstance(fields, str) else "")
        said = f"{message} ({error})" if isinstance(error, str) else message
        yield time, match[1] if match else None, said[:300]

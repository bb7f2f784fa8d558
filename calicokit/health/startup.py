"""How calico-node's startup and its init containers ended on each node, from their logs.

``calico-node -startup`` runs before Felix and BIRD and ends the container if it cannot go on: it logs why, then
"Terminating"; the script that called it says "Calico node failed to start". Without the datastore it waits and says so
each second. Words: node/pkg/lifecycle/startup/startup.go, autodetection/autodetection_methods.go and
node/pkg/lifecycle/utils/utils.go @ HEAD (87c15906), the same @ v3.0 in a posted log ("is already using the IPv4
address"); cni-plugin/pkg/install/install.go for install-cni, which ends at a line of level FATAL.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

STARTUPS = Schema(
    "health.startups",
    "How calico-node's startup, or an init container of it, ended on each node.",
    (
        Column("node", "str", "node"),
        Column("state", "str", "done, failed, waiting (for the datastore), or unknown"),
        Column("why", "str", "of one that failed: address-in-use, no-interface-matches, address-not-found, …"),
        Column("message", "str", "the line that says why"),
        Column("interface", "str", "interface of the autodetected address; null where not logged"),
        Column("first", "time", "start of its last run"),
        Column("last", "time", "last line of its last run"),
        Column("log", "str", "evidence: startup-log, startup-previous-log or init-log"),
    ),
    key=("node",),
    undecided=("state", "unknown"),
)

REASONS = (
    (
        "address-in-use",
        r"is already using the IPv[46] address|IPv[46] address conflict|conflicting node detected",
    ),
    (
        "no-interface-matches",
        r"[Cc]ouldn't autodetect an IPv|[Uu]nable to auto-detect|[Ff]ailed to autodetect|no IPv4 or IPv6 addresses|"
        r"No IPv4 or IPv6 addresses|Invalid IP autodetection method|Invalid CIDR .* for IP autodetection|"
        r"when not running on a Kubernetes cluster",
    ),
    (
        "datastore",
        r"Connection to the datastore is unauthorized|Unable to access datastore|Hit error connecting to datastore|"
        r"Failed to read Node from datastore|[Ff]ailed to query \S+ ?\S* config|Unable to query node configuration|"
        r"Unable to set (?:node resource|global default) configuration|Unable to fetch IP pool list|"
        r"Unable to upgrade host's IPAM|Failed to create clientset|Unable to create client for generating CNI token|"
        r"Unable to create token for CNI kubeconfig|connect to the datastore",
    ),
    (
        "address-not-found",
        r"Environment does not contain a valid IPv|Unable to confirm IPv\d address .* is assigned|"
        r"Attempt to get the local CIDR|Unable to query host interfaces|Failed to parse autodetected CIDR",
    ),
)
"""Reasons in the vocabulary's words → what tells them; the first that fits counts."""
_REASONS = tuple((why, re.compile(words)) for why, words in REASONS)
_ON = re.compile(r"[Uu]sing autodetected IPv\d address on interface ([^:\s]+):")
_BEGINS = ("Early log level set to", "NODENAME environment not specified", "Using NODENAME environment")
_DONE = ("Using node name:", "Calico node started", "Done configuring CNI", "Created /host/etc/cni/net.d")
_TERMINATES = "Terminating"
_SHELL = "Calico node failed to start"
_WAITS = "Hit error connecting to datastore"
WAITING = pd.Timedelta(seconds=10)
LOUD = frozenset(("WARNING", "ERROR", "FATAL", "PANIC"))
FATAL = frozenset(("FATAL", "PANIC"))


@table(
    STARTUPS,
    any_of={
        "log": "output.startup_log",
        "init": "output.init_log",
        "before": "output.startup_previous_log",
    },
)
def startups(log: pd.DataFrame | None, init: pd.DataFrame | None, before: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each node with such a log; see :data:`STARTUPS`. A failing run of before counts with no newer one."""
    found: dict[str, dict[str, Any]] = {}
    for id_, lines in (("startup-previous-log", before), ("startup-log", log), ("init-log", init)):
        for node, own in lines.groupby("node", sort=True) if lines is not None else ():
            row = _startup(str(node), own, id_)
            older = found.get(str(node))
            if older is None or row["state"] != "unknown":
                if id_ == "init-log" and row["state"] != "failed" and older is not None:
                    continue
                found[str(node)] = row
    return STARTUPS.frame(found.values())


def _startup(node: str, lines: pd.DataFrame, log: str) -> dict[str, Any]:
    run = _last_run(lines)
    messages = run["message"].fillna("")
    row = {"node": node, "log": log, "first": run["time"].min(), "last": run["time"].max()}
    row["interface"] = next((m[1] for text in reversed(messages.tolist()) if (m := _ON.search(text))), None)
    row["state"] = _state(run, messages)
    if row["state"] in ("failed", "waiting"):
        row["why"], row["message"] = _why(run)
    return row


def _last_run(lines: pd.DataFrame) -> pd.DataFrame:
    """From the line on with which the last run begins; all where none is there."""
    begins = lines["message"].str.startswith(_BEGINS[:1], na=False)
    if not begins.any():
        begins = lines["message"].str.startswith(_BEGINS[1:], na=False)
    return lines.loc[lines.index[begins][-1] :] if begins.any() else lines


def _state(run: pd.DataFrame, messages: pd.Series[str]) -> str:
    ends = messages.str.startswith(_TERMINATES) | messages.str.contains(_SHELL, regex=False)
    ends |= run["level"].isin(FATAL)
    done = messages.str.startswith(_DONE)
    if ends.any() and not done[ends.idxmax() :].any():
        return "failed"
    if done.any():
        return "done"
    waits = run[messages.str.startswith(_WAITS)]["time"]
    if len(waits) and run["time"].max() - waits.max() <= WAITING and waits.max() - waits.min() >= WAITING:
        return "waiting"
    return "unknown"


def _why(run: pd.DataFrame) -> tuple[str, str]:
    """The reason and the line that says it: the last one that a reason fits, else the last that is loud."""
    said = [
        " ".join(t for t in row if isinstance(t, str)).splitlines()[0].strip()
        for row in cells(run, "message", "fields")
        if isinstance(row[0], str)
    ]
    for why, words in _REASONS:
        if line := next((text for text in reversed(said) if words.search(text)), None):
            return why, line
    loud = run[run["level"].isin(LOUD) & ~run["message"].str.startswith(_TERMINATES, na=False)]
    texts = [" ".join(t for t in row if isinstance(t, str)) for row in cells(loud, "message", "fields")]
    return "unknown", texts[-1].splitlines()[0] if texts else (said[-1] if said else "no reason logged")

"""Whether Felix runs on each node and is in sync: its health port, its log, its metrics.

Felix answers for itself: its health port, its metrics, its log. The pod's condition Ready is the kubelet's word and is
not asked here. Where port and log disagree the log is believed, as a port can be filtered.

Facts: felix/daemon/daemon.go (starts, ends and their reasons), libcalico-go/lib/health/health.go (reporters),
felix/dataplane/linux/int_dataplane.go and felix/calc/async_calc_graph.go (when they are ready),
node/pkg/health/health.go (answers of the health command), read @ v3.26.5, v3.28.5, v3.30.7 and HEAD.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

NODE = Column("node", "str", "node")

RUNS = Schema(
    "felix.runs",
    "Felix process runs in its log, oldest first.",
    (
        NODE,
        Column("run", "int", "1-based number of the run in the log"),
        Column("pid", "int", "process"),
        Column("first", "time", "first log line"),
        Column("last", "time", "last log line"),
        Column("started", "bool", "the log includes its start; the first run's may have been cut off"),
        Column("in_sync", "time", "when it was first ready or in sync; null where not logged"),
        Column("ended", "str", "logged reason of its exit; null if none"),
        Column("restarts", "bool", "it exited to restart with a new configuration (exit status 129)"),
    ),
    key=("node", "run"),
)

REPORTERS = Schema(
    "felix.reporters",
    "Last health report of each part of Felix, from its log: readiness and liveness with the reason.",
    (
        NODE,
        Column("reporter", "str", "part: FelixStartup, CalculationGraph, InternalDataplaneMainLoop, …"),
        Column("live", "bool", "reported live"),
        Column("ready", "bool", "reported ready"),
        Column("reason", "str", "as Felix words it: reporting ready, reporting non-ready, timed out"),
        Column("detail", "str", "detail of the report"),
        Column("time", "time", "when it was logged"),
    ),
    key=("node", "reporter"),
)

STATE = Schema(
    "felix.state",
    "State of Felix on each node: running and in sync or not, and how that is known.",
    (
        NODE,
        Column("state", "str", "ready, starting, just-ended, not-ready, dead or unknown"),
        Column(
            "why",
            "str",
            "of one that is not ready: datastore-unreachable, typha-unreachable, dataplane-stuck, resyncing, …",
        ),
        Column("answer", "str", "answer of its health port: ready, not-ready, refused, silent; null where not queried"),
        Column("said", "str", "output of the health command"),
        Column("metrics", "bool", "its metrics endpoint answered; null where not queried"),
        Column("log_until", "time", "last line of its log"),
        Column("ended", "str", "logged reason why its last run ended"),
        Column("since", "time", "start of this state, as far as the log goes back"),
        Column(
            "starts", "int", "latest consecutive runs that never got in sync, excluding configuration restarts", "runs"
        ),
        Column("told", "str", "explanation of the state"),
    ),
    key=("node",),
    undecided=("state", "unknown"),
)

SOON = pd.Timedelta(seconds=30)
"""A Felix that ended came back within this, or does not run."""
STARTS = pd.Timedelta(seconds=90)
"""Time Felix may take to get in sync; a larger cluster is slower, but then its log continues."""
QUIET = pd.Timedelta(seconds=200)
"""A running Felix that logs at Info says something at least at its slowest refresh (180 s)."""
LOOP = 3
"""Consecutive failed runs that count as a restart loop."""
RESYNC_DONE = 3.0
"""felix_resync_state of a Felix that is in sync."""
SILENT = "silent"
"""The answer of a port that answers nothing in time."""
CRASHED = re.compile(r"^(?:panic: |fatal error: |runtime: out of memory)", re.M)
"""How Go's runtime begins what it prints when a process dies of its own fault; the log's parser keeps it with the line
before (runtime/panic.go, runtime/malloc.go)."""
WANTED = ("config changed", "encapsulation changed")
"""Reasons of a restart that Felix wants (exit status 129); of before v3.30 in other words, that hold these."""
IN_SYNC = ("Completed first update to dataplane", "Overall health status changed: live=true ready=true")
PARTS = {
    "InternalDataplaneMainLoop": "dataplane-stuck",
    "int_dataplane": "dataplane-stuck",
    "CalculationGraph": "resyncing",
    "async_calc_graph": "resyncing",
    "FelixStartup": "startup",
    "felix-startup": "startup",
}
"""A reporter that is not ready → the word for why; other reporters are named themselves."""

_REASON = re.compile(r'reason="([^"]*)"')
_CHANGED = re.compile(r'name="([^"]*)" newReport="([^"]*)"')
_ROW = re.compile(r"\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|")
_SECONDS = re.compile(r"secsSinceStart=([\d.]+)")


# ---- runs


@table(RUNS, needs={"log": "output.felix_log"})
def runs(log: pd.DataFrame) -> pd.DataFrame:
    """One row a run, in the order of the log; see :data:`RUNS`."""
    rows: list[dict[str, Any]] = []
    for node, lines in log.groupby("node", sort=False):
        rows += runs_in(str(node), lines)
    return RUNS.frame(rows)


def runs_in(node: str, lines: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The runs of one log, oldest first: rows of :data:`RUNS`."""
    lines = lines[lines["pid"].notna() & lines["time"].notna()]
    if not len(lines):
        return
    messages = lines["message"].fillna("")
    starts = messages.str.startswith("Felix starting up")
    begins = starts | ~lines["pid"].duplicated()
    for number, (_, run) in enumerate(lines.groupby(begins.cumsum(), sort=False), start=1):
        said = messages.loc[run.index]
        ended = _ended(run, said)
        yield {
            "node": node,
            "run": number,
            "pid": int(run["pid"].iloc[0]),
            "first": run["time"].iloc[0],
            "last": run["time"].iloc[-1],
            "started": number > 1 or bool(starts.loc[run.index].any()),
            "in_sync": run[said.str.startswith(IN_SYNC)]["time"].min(),
            "ended": ended,
            "restarts": ended is not None and any(w in ended.lower() for w in WANTED),
        }


def _ended(run: pd.DataFrame, said: pd.Series[str]) -> str | None:
    """Why a run says that it ends: the reason of its shutdown, else its last words where they are fatal."""
    down = run[said.str.startswith("Felix is shutting down")]
    for fields in down["fields"].dropna():
        if match := _REASON.search(fields):
            return match[1]
    fatal = run[run["level"].isin(["FATAL", "PANIC"])]
    if len(fatal):
        error = fatal["error"].iloc[-1]
        said_last = str(fatal["message"].iloc[-1]).splitlines()[0]  # goroutines follow
        return f"{said_last}{f' ({error})' if isinstance(error, str) else ''}"
    for message in said.tail(1):
        if match := CRASHED.search(message):
            return message[match.start() :].splitlines()[0]
    return "it was told to" if len(down) else None


# ---- reporters


@table(REPORTERS, needs={"log": "output.felix_log", "runs": "felix.runs"})
def reporters(log: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each part of each node's last run; see :data:`REPORTERS`.

    Felix logs each change that a part reports, and a table of all parts when it is asked and its health has changed.
    """
    since = dict(cells(runs.drop_duplicates("node", keep="last"), "node", "first"))
    told = log[log["file"].isin(["health.go"]) & log["message"].notna()]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for node, time, message, fields in cells(told, "node", "time", "message", "fields"):
        if pd.isna(time) or (node in since and time < since[node]):
            continue
        for row in _reports(message, fields if isinstance(fields, str) else ""):
            found[node, row["reporter"]] = {"node": node, "time": time} | row
    return REPORTERS.frame(found.values())


def _reports(message: str, fields: str) -> Iterator[dict[str, Any]]:
    if message.startswith("Health of component changed") and (match := _CHANGED.search(fields)):
        words = match[2].split(",")
        ready = "non-ready" not in words
        yield {
            "reporter": match[1],
            "live": "non-live" not in words,
            "ready": ready,
            "reason": f"reporting {'ready' if ready else 'non-ready'}",
        }
    elif message.startswith("Overall health status changed"):
        for line in message.splitlines()[1:]:
            if (match := _ROW.match(line.strip())) and (name := match[1].strip()) != "COMPONENT":
                alive, well = match[3].strip(), match[4].strip()
                yield {
                    "reporter": name,
                    "live": alive in ("reporting live", "-"),
                    "ready": well in ("reporting ready", "-"),
                    "reason": well if well != "-" else alive,
                    "detail": match[5].strip() or None,
                }


# ---- what it all says


@dataclass
class _Felix:
    """What is known of one node's Felix, and what follows."""

    node: str
    now: pd.Timestamp | None
    answer: str | None = None
    said: str | None = None
    metrics: bool | None = None
    resync: float | None = None
    process_start: pd.Timestamp | None = None
    informs: bool = False  # its log has lines at Info, so that silence means something
    runs: list[Any] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # what it cannot reach: datastore, typha

    @property
    def last(self) -> Any:
        return self.runs[-1] if self.runs else None

    @property
    def silent(self) -> pd.Timedelta | None:
        """For how long its log has been silent."""
        return None if self.now is None or self.last is None else self.now - self.last.last

    @property
    def ended(self) -> bool:
        """Its last run said that it ends, and half a minute has passed."""
        return self.last is not None and isinstance(self.last.ended, str) and _over(self.silent, SOON)

    @property
    def just_ended(self) -> bool:
        """Its log ends with its end, and whether it comes back is not known yet."""
        return self.last is not None and isinstance(self.last.ended, str) and not _over(self.silent, SOON)

    @property
    def in_vain(self) -> list[Any]:
        """The runs up to now that never came in sync, and did not end to restart with a new configuration."""
        found: list[Any] = []
        for run in reversed(self.runs):
            if pd.notna(run.in_sync) or run.restarts or not run.started:
                break
            found.append(run)
        return found[::-1]

    @property
    def loops(self) -> bool:
        """It starts again and again, and has just now."""
        return len(self.in_vain) >= LOOP and not _over(self.silent, 2 * SOON)

    def state(self) -> tuple[str, str | None, str]:
        """State, why, and what tells it."""
        if self.answer == "ready":
            return "ready", None, "its health port reports ready"
        if self.answer == "refused":
            return self._refused()
        if self.answer == SILENT:
            return self._unanswered()
        if self.answer == "not-ready":
            return self._not_ready(f"its health port reports not ready ({self.said})")
        return self._unasked()

    def _refused(self) -> tuple[str, str | None, str]:
        if self.metrics:
            return "not-ready", "port-unreachable", "its metrics answer, but its health port refuses connections"
        if self.loops:
            return self._looping()
        if self.last is None or self.ended or _over(self.silent, SOON):
            return "dead", None, f"nothing listens on its health port{self._last_words()}"
        if self.just_ended:
            return "just-ended", None, f"nothing listens on its health port, and it has just ended{self._last_words()}"
        if self.now is None:
            return "unknown", None, "nothing listens on its health port, at an unknown time"
        if not _over(self.now - self.last.first, SOON):
            return "starting", None, "nothing listens on its health port, and it has just started"
        return "not-ready", "port-unreachable", "its log continues, but its health port refuses connections"

    def _unanswered(self) -> tuple[str, str | None, str]:
        if self.loops:
            return self._looping()
        if self.ended and not self.metrics:
            return "dead", None, f"its health port does not answer{self._last_words()}"
        if not self.metrics and self.informs and _over(self.silent, QUIET):
            return "dead", None, f"it hangs: neither health port nor metrics answer{self._last_words()}"
        if self.just_ended and not self.metrics:
            return "just-ended", None, f"its health port does not answer, and it has just ended{self._last_words()}"
        goes_on = "its metrics answer" if self.metrics else "no sign that it exited"
        return "not-ready", "port-unreachable", f"{goes_on}, but its health port does not answer"

    def _not_ready(self, told: str) -> tuple[str, str | None, str]:
        young = self.now is not None and self.since is not None and self.now - self.since <= STARTS
        if young and not self.lost and len(self.in_vain) < LOOP:
            return "starting", None, f"{told}, and it has just started"
        return "not-ready", self._why(), told

    def _unasked(self) -> tuple[str, str | None, str]:
        if self.metrics:
            if self.resync is None or self.resync == RESYNC_DONE:
                return "ready", None, "its metrics report in sync"
            return self._not_ready(f"its metrics report not in sync (felix_resync_state {self.resync:g})")
        if self.loops:
            return self._looping()
        if self.ended and not self.last.restarts:
            return "dead", None, f"its log ends{self._last_words()}"
        if self.just_ended:
            return "just-ended", None, f"nothing shows that it came back{self._last_words()}"
        return "unknown", None, "it was not queried"

    @property
    def since(self) -> pd.Timestamp | None:
        """When it began to come in sync, as far as log and metrics tell; None where it has been, or nothing tells."""
        if vain := self.in_vain:
            return pd.Timestamp(vain[0].first)
        if self.last is not None and pd.notna(self.last.in_sync):
            return None
        return self.process_start

    def _why(self) -> str:
        if self.lost:
            return f"{self.lost[-1]}-unreachable"
        bad = [p.reporter for p in self.parts if pd.notna(p.ready) and not p.ready]
        words = list(dict.fromkeys(PARTS.get(name, name) for name in bad))
        return next((w for w in PARTS.values() if w in words), words[0] if words else "unknown")

    def _looping(self) -> tuple[str, str | None, str]:
        """It ends again and again: as it cannot reach what it needs, or for another reason."""
        last = next((r.ended for r in reversed(self.in_vain) if isinstance(r.ended, str)), "no reason logged")
        told = f"it started {len(self.in_vain)} times without getting in sync, and exits: {last}"
        return ("not-ready", self._why(), told) if self.lost else ("dead", None, told)

    def _last_words(self) -> str:
        if self.last is None:
            return "; its log was not seen"
        when = f"{self.last.last:%H:%M:%S} UTC"
        if isinstance(self.last.ended, str):
            return f"; its log ends at {when}: {self.last.ended}"
        return f"; last log line at {when}"


def _over(time: pd.Timedelta | None, limit: pd.Timedelta) -> bool:
    return time is not None and time > limit


@table(
    STATE,
    any_of={"readiness": "health.readiness", "runs": "felix.runs", "metrics": "output.felix_metrics"},
    wants={"reporters": "felix.reporters", "contact": "felix.contact", "log": "output.felix_log", "now": "@now"},
)
def state(
    readiness: pd.DataFrame | None,
    runs: pd.DataFrame | None,
    metrics: pd.DataFrame | None,
    reporters: pd.DataFrame | None = None,
    contact: pd.DataFrame | None = None,
    log: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each node of which anything is known; see :data:`STATE`."""
    known: dict[str, _Felix] = {}

    def of(node: str) -> _Felix:
        return known.setdefault(node, _Felix(node, now))

    for row in records(readiness) if readiness is not None else ():
        of(row.node).answer, of(row.node).said = _answer(row), row.said if isinstance(row.said, str) else None
    for row in records(runs) if runs is not None else ():
        of(row.node).runs.append(row)
    for row in records(reporters) if reporters is not None else ():
        of(row.node).parts.append(row)
    for node, to in cells(contact[_lost(contact)], "node", "to") if contact is not None else ():
        of(node).lost.append(to)
    for node in log[log["level"] == "INFO"]["node"].unique() if log is not None else ():
        of(node).informs = True
    for node, metric, value in _told(metrics):
        of(node).metrics = True
        if metric == "felix_resync_state":
            of(node).resync = value
        elif metric == "process_start_time_seconds":
            of(node).process_start = pd.Timestamp(value, unit="s", tz="UTC")
    return STATE.frame([_row(known[n]) for n in sorted(known)])


def _lost(contact: pd.DataFrame) -> pd.Series[bool]:
    return (contact["component"] == "felix") & contact["lost"] & contact["node"].notna()


def _told(metrics: pd.DataFrame | None) -> Iterator[tuple[str, str, float]]:
    if metrics is None:
        return
    wanted = metrics["metric"].isin(["felix_resync_state", "process_start_time_seconds"])
    yield from cells(metrics[wanted & metrics["node"].notna()], "node", "metric", "value")


def _row(felix: _Felix) -> dict[str, Any]:
    state, why, told = felix.state()
    return {
        "node": felix.node,
        "state": state,
        "why": why,
        "answer": felix.answer,
        "said": felix.said,
        "metrics": felix.metrics,
        "log_until": felix.last.last if felix.last is not None else None,
        "ended": felix.last.ended if felix.last is not None and isinstance(felix.last.ended, str) else None,
        "since": felix.since if state in ("not-ready", "starting") else None,
        "starts": len(felix.in_vain),
        "told": told,
    }


def _answer(row: Any) -> str | None:
    """What the health command's answer means; None where it is no answer of Felix's."""
    if pd.isna(row.ready) or row.ready:
        return None if pd.isna(row.ready) else "ready"
    said = row.said if isinstance(row.said, str) else ""
    if "probe reporting" in said:
        return "not-ready"
    if "connection refused" in said:
        return "refused"
    if any(w in said for w in ("deadline exceeded", "Client.Timeout", "i/o timeout", "timed out")):
        return SILENT
    return "not-ready" if "is not ready" in said else None

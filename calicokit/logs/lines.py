"""The logs of all components in one table, each line with the pattern that its message follows.

Facts: the parsers of each log. BIRD's lines carry no time in calico-node's log.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from calicokit.evidence.catalog import CATALOG
from calicokit.kube.tables import EVIDENCE
from calicokit.logs.masks import LONGEST, masked, pattern_id
from calicokit.parsers.bird import log as _bird  # noqa: F401 (brings its kind)
from calicokit.parsers.logs import components as _logs  # noqa: F401 (brings the other kinds)
from calicokit.registry import Given, Spared, not_applicable, table
from calicokit.schema import Column, Schema

LOGS = {
    "felix-log": "felix",
    "bird-log": "bird",
    "bird6-log": "bird",
    "confd-log": "confd",
    "startup-log": "startup",
    "cni-log": "cni",
    "typha-log": "typha",
    "kube-controllers-log": "kube-controllers",
    "felix-previous-log": "felix",
    "startup-previous-log": "startup",
    "init-log": "init",
}
"""The catalog's logs, and the component that each is of."""

COLUMNS = (
    Column("time", "time", "time of the line; null without a timestamp (BIRD)"),
    Column("node", "category", "node; null for a component of the cluster"),
    Column("component", "category", "component: felix, bird, confd, startup, cni, typha, kube-controllers or init"),
    Column("level", "category", "DEBUG, INFO, WARNING, ERROR, FATAL or PANIC; null where the line has none"),
    Column("message", "str", "the message, without the fields that follow it"),
    Column("error", "str", "value of its field error"),
    Column("file", "category", "Go source file that logged it"),
    Column("pattern", "category", "id of the pattern (logs.patterns) of message and error"),
    Column("line", "int", "1-based line number in the log"),
    Column("evidence", "category", EVIDENCE.meaning),
)
LINES = Schema(
    "logs.lines",
    "Log lines of all Calico components, by component, node and line; of long logs the end.",
    COLUMNS,
    key=("evidence", "line"),
)
PROBLEMS = Schema(
    "logs.problems",
    "Log lines of level WARNING and above, and those with an error.",
    (
        *COLUMNS[:-2],
        Column("template", "category", "template of the pattern"),
        Column("until", "time", "time of the last line of that log"),
        *COLUMNS[-2:],
    ),
    key=("evidence", "line"),
)
PATTERNS = Schema(
    "logs.patterns",
    "Message patterns: messages that differ only in numbers, addresses, ids and names; the most frequent first.",
    (
        Column("pattern", "str", "id of the pattern, the same on every cluster"),
        Column("component", "str", "component that logged it"),
        Column("level", "str", "highest level logged"),
        Column("template", "str", "message (and error) with the variable parts masked"),
        Column("count", "int", "lines", "lines"),
        Column("nodes", "int", "nodes on which it was logged", "nodes"),
        Column("first", "time", "first logged; null without timestamps"),
        Column("last", "time", "last logged"),
        Column("file", "str", "Go source file"),
        Column("example", "str", "example line; a long one is cut"),
    ),
    key=("pattern",),
)
COUNTS = Schema(
    "logs.counts",
    "Lines of each pattern per time bin. Lines without a timestamp are not counted.",
    (
        Column("time", "time", "start of the time bin"),
        Column("seconds", "int", "length of the time bin, the same for all", "s"),
        Column("node", "category", "node; null for a component of the cluster"),
        Column("component", "category", "component that logged it"),
        Column("level", "category", "level"),
        Column("pattern", "category", "id of the pattern"),
        Column("count", "int", "lines", "lines"),
    ),
)

LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL", "PANIC")
LOUD = frozenset(("WARNING", "ERROR", "FATAL", "PANIC"))
_ERR = re.compile(r'(?:^| )err="((?:[^"\\]|\\.)*)"')
_OF_BIRD = {"WARN": "WARNING", "ERR": "ERROR", "BUG": "ERROR", "AUTH": "WARNING", "RMT": "INFO"}

Keep = Callable[[pd.DataFrame], "pd.Series[bool]"]


@table(LINES, any_of={"logs": tuple(LOGS)})
def lines(logs: Given) -> pd.DataFrame:
    """One row for each record; see :data:`LINES`."""
    return LINES.take(_patterned(_read(logs, None)))


@table(PROBLEMS, any_of={"logs": tuple(LOGS)})
def problems(logs: Given) -> pd.DataFrame:
    """One row for each such record; see :data:`PROBLEMS`. No log is kept whole, so that 1,000 nodes' logs may come."""
    return PROBLEMS.take(_patterned(_read(logs, _is_loud)))


def _is_loud(log: pd.DataFrame) -> pd.Series[bool]:
    found: pd.Series[bool] = log["level"].isin(LOUD) | log["error"].notna()
    return found


def _read(logs: Given, keep: Keep | None) -> pd.DataFrame:
    frames = []
    for id_, texts in logs.items():
        for log in texts.frames(CATALOG[id_].parser) if texts is not None else ():
            frame = _common(log, LOGS[id_])
            frame["until"] = frame["time"].max()
            frames.append(frame if keep is None else frame[keep(frame)])
    frames = [f for f in frames if len(f)]
    return pd.concat(frames, ignore_index=True) if frames else PROBLEMS.frame()


def _common(log: pd.DataFrame, component: str) -> pd.DataFrame:
    """The columns that all logs have; BIRD's levels by the others' names."""
    level = log["level"].replace(_OF_BIRD) if component == "bird" else log["level"]
    absent = pd.Series(None, index=log.index, dtype="str")
    error = log["error"].where(log["error"].notna(), _of_klog(log["fields"])) if "fields" in log else absent
    made = {"error": error, "file": log.get("file", absent), "level": level}
    frame = log[["time", "node", "message", "line", "evidence"]].assign(component=component, **made)
    return frame[[c for c in LINES.names if c != "pattern"]]


def _of_klog(fields: pd.Series[str]) -> pd.Series[str]:
    """The error in client-go's lines, which call it err and quote it; null elsewhere."""
    found: pd.Series[str] = fields.str.extract(_ERR, expand=False)
    return found.str.replace('\\"', '"', regex=False)


def _patterned(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines with their patterns: each different text of a component is masked once."""
    told = frame["message"].where(frame["error"].isna(), frame["message"] + " error=" + frame["error"])
    codes, texts = pd.factorize(frame["component"].astype("str") + "\0" + told.fillna(""))
    component, _, text = np.array([t.partition("\0") for t in texts], dtype=object).reshape(-1, 3).T
    template = masked(pa.array(text, pa.string())).to_pylist()
    ids = {pair: pattern_id(*pair) for pair in zip(component, template, strict=True)}
    pattern = [ids[pair] for pair in zip(component, template, strict=True)]
    return frame.assign(pattern=_taken(pattern, codes), template=_taken(template, codes))


def _taken(values: list[Any], codes: Any) -> pd.Categorical[Any]:
    return pd.Categorical(pd.array(values, dtype="str").take(codes))


@table(PATTERNS, needs={"lines": "logs.lines"})
def patterns(lines: pd.DataFrame) -> pd.DataFrame:
    """One row for each pattern; see :data:`PATTERNS`."""
    if not len(lines):
        return PATTERNS.frame()
    ranked = lines.assign(rank=pd.Categorical(lines["level"], LEVELS, ordered=True).codes)
    first = ranked.drop_duplicates("pattern").set_index("pattern")
    groups = ranked.groupby("pattern", observed=True)
    found = groups.agg(
        count=("line", "size"),
        nodes=("node", "nunique"),
        first=("time", "min"),
        last=("time", "max"),
        rank=("rank", "max"),
    ).join(first[["component", "file", "message", "error"]])
    found["example"] = found["message"].where(found["error"].isna(), found["message"] + " error=" + found["error"])
    found["template"] = masked(pa.array(found["example"].fillna("").tolist(), pa.string())).to_pylist()
    found["example"] = found["example"].str.slice(0, LONGEST)
    found["level"] = [LEVELS[r] if r >= 0 else None for r in found["rank"]]
    found = found.reset_index().sort_values(["count", "pattern"], ascending=[False, True])
    return PATTERNS.take(found)


SPANS = (1, 5, 10, 60, 300, 900, 3600, 6 * 3600, 24 * 3600)
MOST_SPANS = 200


def span_of(times: pd.Series[Any]) -> int:
    """The shortest span, in seconds, of which the time from the first to the last has no more than a picture shows."""
    whole = (times.max() - times.min()).total_seconds() if len(times) else 0.0
    return next((s for s in SPANS if whole / s <= MOST_SPANS), SPANS[-1])


@table(COUNTS, needs={"lines": "logs.lines"})
def counts(lines: pd.DataFrame) -> pd.DataFrame:
    """One row for each span, node, component, level and pattern; see :data:`COUNTS`."""
    timed = lines[lines["time"].notna()]
    seconds = span_of(timed["time"])
    timed = timed.assign(time=timed["time"].dt.floor(f"{seconds}s"), seconds=seconds)
    names = ["time", "seconds", "node", "component", "level", "pattern"]
    found = timed.groupby(names, observed=True, dropna=False).size()
    return COUNTS.take(found.reset_index(name="count").astype({"count": "Int64", "seconds": "Int64"}))


@not_applicable(needs={"pods": "health.pods"})
def _no_typha(pods: pd.DataFrame) -> Spared:
    """A cluster without Typha has no log of it, and no metrics."""
    if len(pods) and not (pods["component"] == "typha").any():
        yield from (("typha-log", None), ("typha-metrics", None))

"""Summaries of the log tables, each a sentence or two that is computed and true of every source."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import first_upper, listed, number, plural, says, share


@says
def volume(lines: pd.DataFrame) -> str:
    """How much was logged, and how far back (``logs.lines``)."""
    if not len(lines):
        return "There are no log lines."
    per = lines["component"].astype("str").value_counts()
    timed = lines["time"].dropna()
    span = f" They reach from {_clock(timed.min())} to {_clock(timed.max())}." if len(timed) else ""
    blind = int(lines["time"].isna().sum())
    unseen = f" {first_upper(plural(blind, 'line'))} (mostly BIRD's) have no timestamp." if blind else ""
    dropped = int(lines["message"].str.startswith("... dropped", na=False).sum())
    lost = f" In {plural(dropped, 'place')} Calico itself dropped lines, as its output was blocked." if dropped else ""
    return f"{plural(len(lines), 'line')}, most of {per.index[0]} ({number(per.iloc[0])}).{span}{unseen}{lost}"


def _clock(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


@says
def patterns(patterns: pd.DataFrame) -> str:
    """Number of distinct message patterns (``logs.patterns``)."""
    if not len(patterns):
        return "There are no log lines."
    total = int(patterns["count"].sum())
    few = patterns["count"].head(10).sum() / total
    loud = patterns[patterns["level"].isin(["ERROR", "FATAL", "PANIC"])]
    errors = (
        plural(len(loud), "pattern is an error", "patterns are errors") if len(loud) else "none of them is an error"
    )
    many = f"{plural(total, 'line')} follow {plural(len(patterns), 'pattern')}"
    return f"{many}; the ten most frequent are {share(few)} of all. {first_upper(errors)}."


@says
def telling(telling: pd.DataFrame) -> str:
    """Lines with a known meaning (``logs.telling``)."""
    if not len(telling):
        return "No line matches a known message."
    faults = telling[telling["kind"] == "fault"]
    harmless = telling[telling["kind"] == "harmless"]
    parts = [_faults(faults)] if len(faults) else ["No line indicates a fault."]
    if len(harmless):
        count = first_upper(plural(int(harmless["count"].sum()), "line"))
        parts.append(f"{count} look bad but are normal: {listed(set(harmless['word']))}.")
    return " ".join(parts)


def _faults(faults: pd.DataFrame) -> str:
    told = [
        f"{r.component} ({plural(r.count_, 'line')}): {r.means}"
        for r in records(faults.rename(columns={"count": "count_"}).head(3))
    ]
    more = f" And {plural(len(faults) - 3, 'more pattern')} that indicate faults." if len(faults) > 3 else ""
    return f"Lines indicate faults. {' '.join(told)}{more}"


@says
def bursts(bursts: pd.DataFrame) -> str:
    """Which errors repeat, and whether they still do (``logs.bursts``)."""
    if not len(bursts):
        return "No error was logged ten times or more."
    going = bursts[bursts["still"].fillna(False)]
    over = len(bursts) - len(going)
    ended = f"{plural(over, 'error')} repeated and {'has' if over == 1 else 'have'} ended." if over else ""
    if not len(going):
        return first_upper(ended)
    unknown = going[going["kind"].isna()]
    what = f"{plural(len(going), 'error')} still {'goes' if len(going) == 1 else 'go'} on"
    known = f", {len(unknown)} of them without a known meaning" if len(unknown) and len(unknown) < len(going) else ""
    worst = going.sort_values("count", ascending=False).iloc[0]
    where = f" on {worst['node']}" if isinstance(worst["node"], str) else ""
    most = f"The most frequent, {plural(int(worst['count']), 'time')}, is {worst['component']}'s{where}."
    return f"{first_upper(what)}{known}. {most} {first_upper(ended)}".strip()


@says
def refusals(refusals: pd.DataFrame) -> str:
    """API requests of Calico's components that the API server denied (``health.refusals``)."""
    going = refusals[refusals["still"].fillna(False)]
    if not len(refusals):
        return "No log shows that the API server denied Calico access to a kind."
    if not len(going):
        return f"The API server formerly denied Calico access to {listed(set(refusals['kind']))}; it no longer does."
    return f"The API server still denies access to {listed(set(going['kind']))} for {listed(set(going['component']))}."


@says
def resources(resources: pd.DataFrame) -> str:
    """Resource usage of Calico's containers (``health.resources``)."""
    if not len(resources):
        return "No Calico container was seen."
    nodes = resources[resources["component"] == "calico-node"]
    used = nodes["memory_used"].dropna()
    limits = int(resources["memory_limit"].notna().sum())
    tight = resources[resources["memory_share"] > 0.85]
    killed = resources[resources["last_reason"] == "OOMKilled"]
    what = f"{limits or 'none'} {'have' if limits > 1 else 'has'}"
    parts = [
        f"calico-node uses {number(used.min() / 2**20)} to {number(used.max() / 2**20)} MiB of memory."
        if len(used)
        else "Memory usage of calico-node is unknown.",
        f"Of {plural(len(resources), 'container')} {what} a memory limit.",
    ]
    if len(tight):
        parts.append(f"Near its limit (above 85 %): {listed(tight['pod'])}.")
    if len(killed):
        parts.append(f"OOM-killed: {listed(killed['pod'])}.")
    return " ".join(parts)

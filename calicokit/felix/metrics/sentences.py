"""Summaries of the metrics tables, each a sentence or two that is computed and true of every source."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import first_upper, listed, number, plural, says, share

WRITES = ("iptables lines", "ipset lines", "nft transactions")
KNOWS = ("nodes it knows", "policies it knows", "endpoints it knows")


def seconds(value: float) -> str:
    """A duration for display.

    >>> seconds(0.0000123), seconds(0.0123), seconds(2.5), seconds(0)
    ('12 µs', '12 ms', '2.5 s', '0 s')
    """
    if not value:
        return "0 s"
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if value >= unit:
            return f"{value / unit:.2g} {name}" if value < 100 * unit else f"{value / unit:.0f} {name}"
    return f"{value * 1e6:.2g} µs"


@says
def scrapes(scrapes: pd.DataFrame) -> str:
    """What was scraped, and whether rates are known (``felix.scrapes``)."""
    if not len(scrapes):
        return "Nothing was scraped."
    said = []
    for component, own in scrapes.groupby("component", observed=True):
        watched = own[own["series"] > 1]
        where = plural(len(own), "pod")
        if len(watched):
            length = (watched["last"] - watched["first"]).max().total_seconds()
            said.append(
                f"{component} in {where}, {number(watched['series'].max())} times in {length:,.0f} s "
                f"(every {watched['interval'].median():.3g} s)"
            )
        else:
            said.append(f"{component} in {where}, once")
    rates = "" if (scrapes["series"] > 1).any() else " A single scrape shows totals since the start, but no rates."
    return f"Scraped: {'; '.join(said)}.{rates}"


@says
def apply_times(times: pd.DataFrame, slow: pd.DataFrame) -> str:
    """Whether Felix keeps up (``felix.apply_times``, ``felix.slow``)."""
    if len(slow):
        signs = "; ".join(f"{r.says} ({r.node})" for r in records(slow.head(4)))
        more = f" (and {len(slow) - 4} more signs)" if len(slow) > 4 else ""
        return f"Felix is slow on {listed(sorted(set(slow['node'])))}: {signs}{more}."
    known = times[times["p90"].notna()]
    if not len(known):
        return "No Felix shows a sign of being slow; none has measured a dataplane update in the last ten minutes."
    worst = known.sort_values("p90", ascending=False).iloc[0]
    return (
        f"Felix keeps up on all {plural(len(times), 'node')}: 90 % of dataplane updates took at most "
        f"{seconds(worst['p90'])} ({worst['node']}), 99 % at most {seconds(known['p99'].max())}."
    )


@says
def loops(loops: pd.DataFrame) -> str:
    """Dataplane updates in the log (``felix.loops``)."""
    if not len(loops):
        return "The logs have no summary of dataplane updates: Felix logs one after a minute with updates."
    longest = loops.sort_values("longest", ascending=False).iloc[0]
    what = f" ({longest['operations']})" if isinstance(longest["operations"], str) else ""
    return (
        f"The logs show {number(loops['updates'].sum())} dataplane updates on "
        f"{plural(loops['node'].nunique(), 'node')}; the longest took {seconds(longest['longest'])} on "
        f"{longest['node']}{what}."
    )


@says
def timeline(timeline: pd.DataFrame) -> str:
    """Dataplane writes during sampling (``felix.timeline``)."""
    own = timeline[timeline["measure"].isin(WRITES) & timeline["value"].notna()]
    if not len(own):
        return "Felix wrote nothing during sampling."
    means = own.groupby("measure")["value"].mean()
    told = listed((f"{value:.2g} {name} a second" for name, value in means.items() if value > 0), 5)
    busy = own[own["value"] > 0]
    if not len(busy):
        return "During sampling Felix wrote no rule and no set."
    peak = busy.sort_values("value", ascending=False).iloc[0]
    return (
        f"During sampling a Felix wrote on average {told}. The maximum was {peak['value']:.3g} {peak['unit']} on "
        f"{peak['node']} at {peak['time']:%H:%M:%S} UTC. While pods and policies change, such churn is normal."
    )


@says
def activity(activity: pd.DataFrame) -> str:
    """Nodes that differ from the others (``felix.activity``)."""
    if not len(activity):
        return "No Felix was scraped."
    knows = activity[activity["measure"].isin(KNOWS)]
    differing = [str(m) for m, own in knows.groupby("measure") if own["value"].nunique() > 1]
    views = (
        f" The nodes disagree on the number of {listed(m.removesuffix(' it knows') for m in differing)}: normal while "
        "those change, otherwise a Felix is behind."
        if differing
        else " All nodes see the same cluster."
    )
    if activity["outlier"].isna().all():
        return f"With {plural(activity['node'].nunique(), 'node')} no outlier can be determined.{views}"
    out = activity[activity["outlier"].fillna(False).astype(bool)]
    if not len(out):
        return f"No node has an unusual load compared with the others.{views}"
    first = [f"{r.node} {r.measure} {r.value:,.4g} (median {r.median:,.4g})" for r in records(out.head(3))]
    more = f", and {len(out) - 3} more" if len(out) > 3 else ""
    return f"Outliers: {'; '.join(first)}{more}.{views}"


@says
def errors(errors: pd.DataFrame) -> str:
    """What failed (``felix.errors``)."""
    if not len(errors):
        return "No component with error counters was scraped."
    started = errors["metric"].isin(["restarts", "felix_resyncs_started"])
    grown = errors[errors["grown"] > 0]
    if len(grown):
        told = [f"{r.metric} by {number(r.grown)} on {r.node}" for r in records(grown.head(4))]
        return f"Grown during sampling: {'; '.join(told)}{' and more' if len(grown) > 4 else ''}."
    old = errors[~started & (errors["total"] > 0)]
    since = f" Since their start: {listed((f'{r.metric} {number(r.total)} on {r.node}' for r in records(old)), 3)}."
    calm = "No error counter grew during sampling." if errors["grown"].notna().any() else ""
    none = "" if len(old) else " All error counters are zero since the start."
    return f"{calm}{since if len(old) else none}".strip()


@says
def moments(moments: pd.DataFrame) -> str:
    """What the logs add to the metrics (``felix.moments``)."""
    if not len(moments):
        return "Felix's logs have no warnings, and no lines about slow operations, timeouts or retries."
    counts = moments["sign"].value_counts()
    told = listed((f"{number(n)} {sign}" for sign, n in counts.items()), 6)
    inside = moments["watched"].fillna(False).astype(bool).sum()
    when = f"{plural(inside, 'of them', 'of them')} during sampling" if moments["watched"].notna().any() else ""
    return f"Felix log lines by topic: {told}{'; ' + when if when else ''}."


@says
def typha(load: pd.DataFrame, clients: pd.DataFrame, overload: pd.DataFrame) -> str:
    """Typha's clients and their lag (``felix.typha_load``, ``felix.typha_clients``, ``felix.typha_overload``)."""
    if not len(load):
        return "There is no Typha: every Felix watches the API server directly."
    total = load["connections"].sum()
    served = number(load["nodes"].sum())
    said = [f"{plural(len(load), 'Typha')} with {number(total)} connections, for the Felix of {served} nodes."]
    if len(load) > 1 and total:
        said.append(
            f"The busiest has {share(float(load['share'].max()))} of them; an equal share is {share(1 / len(load))}."
        )
    behind = clients[clients["latency_p99"].notna()]
    if len(behind):
        worst = behind.sort_values("latency_p99", ascending=False).iloc[0]
        said.append(f"99 % of updates reached its {worst['syncer']} clients within {seconds(worst['latency_p99'])}.")
    sent = clients[clients["snapshots_sent"] > 0].sort_values("snapshot_average", ascending=False)
    if len(sent):
        size = load["snapshot_bytes"].max()
        packed = f", {number(size)} bytes compressed" if pd.notna(size) else ""
        said.append(f"An initial snapshot took {seconds(sent['snapshot_average'].iloc[0])} on average{packed}.")
    if len(overload):
        said.append(first_upper("; ".join(overload["says"])) + ".")
    return " ".join(said)


@says
def resources(resources: pd.DataFrame) -> str:
    """CPU and memory usage compared with requests and limits (``felix.resources``)."""
    known = resources[resources["memory"].notna()]
    if not len(known):
        return "No pod's process was scraped: usage is unknown."
    said = []
    if known["processor"].notna().any():
        most = known.sort_values("processor", ascending=False).iloc[0]
        said.append(f"During sampling the busiest process, of {most['pod']}, used {most['processor']:.2g} CPUs")
    biggest = known.sort_values("memory", ascending=False).iloc[0]
    said.append(f"The largest process, of {biggest['pod']}, uses {biggest['memory'] / 2**20:,.0f} MiB")
    near = known[known["memory_share"] >= 0.9]
    limits = known["memory_limit"].notna().sum()
    bound = f"; {plural(limits, 'pod')} of {len(known)} have a memory limit" if limits else "; none has a memory limit"
    close = f". Close to it: {listed(near['pod'])}" if len(near) else ""
    killed = resources[resources["oom_killed"].fillna(False).astype(bool)]
    ended = f". OOM-killed: {listed(killed['pod'])}" if len(killed) else ""
    return f"{'. '.join(said)}{bound}{close}{ended}."

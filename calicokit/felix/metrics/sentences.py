"""What the tables of metrics mean, each in a sentence or two that is computed and true of every source."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import first_upper, listed, number, plural, says, share

WRITES = ("iptables lines", "ipset lines", "nft transactions")
KNOWS = ("nodes it knows", "policies it knows", "endpoints it knows")


def seconds(value: float) -> str:
    """A time as people read it.

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
    """What was scraped, and whether rates can be told (``felix.scrapes``)."""
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
    rates = "" if (scrapes["series"] > 1).any() else " One scrape tells totals since the start, and no rates."
    return f"Scraped: {'; '.join(said)}.{rates}"


@says
def apply_times(times: pd.DataFrame, slow: pd.DataFrame) -> str:
    """Whether Felix keeps up (``felix.apply_times``, ``felix.slow``)."""
    if len(slow):
        signs = "; ".join(f"{r.says} ({r.node})" for r in records(slow.head(4)))
        more = f" (and {len(slow) - 4} more signs)" if len(slow) > 4 else ""
        return f"Felix lags on {listed(sorted(set(slow['node'])))}: {signs}{more}."
    known = times[times["p90"].notna()]
    if not len(known):
        return "No Felix shows a sign of lagging; none has measured an update in the last ten minutes."
    worst = known.sort_values("p90", ascending=False).iloc[0]
    return (
        f"Felix keeps up on all {plural(len(times), 'node')}: nine in ten updates of the kernel took at most "
        f"{seconds(worst['p90'])} ({worst['node']}), 99 in 100 at most {seconds(known['p99'].max())}."
    )


@says
def loops(loops: pd.DataFrame) -> str:
    """What the log says of updates (``felix.loops``)."""
    if not len(loops):
        return "The logs hold no summary of updates: Felix writes one after a minute in which it made some."
    longest = loops.sort_values("longest", ascending=False).iloc[0]
    what = f" ({longest['operations']})" if isinstance(longest["operations"], str) else ""
    return (
        f"The logs tell of {number(loops['updates'].sum())} updates on {plural(loops['node'].nunique(), 'node')}; the "
        f"longest took {seconds(longest['longest'])} on {longest['node']}{what}."
    )


@says
def timeline(timeline: pd.DataFrame) -> str:
    """How much was written during sampling (``felix.timeline``)."""
    own = timeline[timeline["measure"].isin(WRITES) & timeline["value"].notna()]
    if not len(own):
        return "No Felix wrote anything during sampling."
    means = own.groupby("measure")["value"].mean()
    told = listed((f"{value:.2g} {name} a second" for name, value in means.items() if value > 0), 5)
    busy = own[own["value"] > 0]
    if not len(busy):
        return "While it was watched no Felix wrote a rule or a set."
    peak = busy.sort_values("value", ascending=False).iloc[0]
    return (
        f"While it was watched a Felix wrote on average {told}. The most were {peak['value']:.3g} {peak['unit']} on "
        f"{peak['node']} at {peak['time']:%H:%M:%S} UTC. As long as pods and policies change, that is churn, no fault."
    )


@says
def activity(activity: pd.DataFrame) -> str:
    """Which node differs from the others (``felix.activity``)."""
    if not len(activity):
        return "No Felix was scraped."
    knows = activity[activity["measure"].isin(KNOWS)]
    differing = [str(m) for m, own in knows.groupby("measure") if own["value"].nunique() > 1]
    views = (
        f" The nodes do not agree on how many {listed(m.removesuffix(' it knows') for m in differing)} there are: "
        "normal while those change, else a Felix is behind."
        if differing
        else " All nodes see the same cluster."
    )
    if activity["outlier"].isna().all():
        return f"With {plural(activity['node'].nunique(), 'node')} none can be told to be unlike the others.{views}"
    out = activity[activity["outlier"].fillna(False).astype(bool)]
    if not len(out):
        return f"No node has much more or less to do than the others.{views}"
    first = [f"{r.node} {r.measure} {r.value:,.4g} (median {r.median:,.4g})" for r in records(out.head(3))]
    more = f", and {len(out) - 3} more" if len(out) > 3 else ""
    return f"Unlike the other nodes: {'; '.join(first)}{more}.{views}"


@says
def errors(errors: pd.DataFrame) -> str:
    """What failed (``felix.errors``)."""
    if not len(errors):
        return "No component of which failures are counted was scraped."
    started = errors["metric"].isin(["restarts", "felix_resyncs_started"])
    grown = errors[errors["grown"] > 0]
    if len(grown):
        told = [f"{r.metric} by {number(r.grown)} on {r.node}" for r in records(grown.head(4))]
        return f"While it was watched grew: {'; '.join(told)}{' and more' if len(grown) > 4 else ''}."
    old = errors[~started & (errors["total"] > 0)]
    since = f" Since their start: {listed((f'{r.metric} {number(r.total)} on {r.node}' for r in records(old)), 3)}."
    calm = "While it was watched no counter of failures grew." if errors["grown"].notna().any() else ""
    none = "" if len(old) else " No counter of failures has counted anything since the start."
    return f"{calm}{since if len(old) else none}".strip()


@says
def moments(moments: pd.DataFrame) -> str:
    """What the logs say beside the metrics (``felix.moments``)."""
    if not len(moments):
        return "No line of Felix's logs is a warning, or about what is slow, timed out or is tried again."
    counts = moments["sign"].value_counts()
    told = listed((f"{number(n)} {sign}" for sign, n in counts.items()), 6)
    inside = moments["watched"].fillna(False).astype(bool).sum()
    when = f"{plural(inside, 'of them', 'of them')} during sampling" if moments["watched"].notna().any() else ""
    return f"Lines of Felix's logs by what they are about: {told}{'; ' + when if when else ''}."


@says
def typha(load: pd.DataFrame, clients: pd.DataFrame, overload: pd.DataFrame) -> str:
    """What Typha serves, and how well (``felix.typha_load``, ``felix.typha_clients``, ``felix.typha_overload``)."""
    if not len(load):
        return "There is no Typha: every Felix watches the API server itself."
    total = load["connections"].sum()
    served = number(load["nodes"].sum())
    said = [f"{plural(len(load), 'Typha')} with {number(total)} connections, for the Felix of {served} nodes."]
    if len(load) > 1 and total:
        said.append(
            f"The busiest has {share(float(load['share'].max()))} of them, an equal share is {share(1 / len(load))}."
        )
    behind = clients[clients["latency_p99"].notna()]
    if len(behind):
        worst = behind.sort_values("latency_p99", ascending=False).iloc[0]
        said.append(
            f"99 in 100 changes reached its {worst['syncer']} clients at most {seconds(worst['latency_p99'])} old."
        )
    sent = clients[clients["snapshots_sent"] > 0].sort_values("snapshot_average", ascending=False)
    if len(sent):
        size = load["snapshot_bytes"].max()
        packed = f", {number(size)} bytes packed" if pd.notna(size) else ""
        said.append(f"A first snapshot took {seconds(sent['snapshot_average'].iloc[0])} on average{packed}.")
    if len(overload):
        said.append(first_upper("; ".join(overload["says"])) + ".")
    return " ".join(said)


@says
def resources(resources: pd.DataFrame) -> str:
    """Processor and memory beside requests and limits (``felix.resources``)."""
    known = resources[resources["memory"].notna()]
    if not len(known):
        return "No pod's process was scraped, so nothing is known of what they use."
    said = []
    if known["processor"].notna().any():
        most = known.sort_values("processor", ascending=False).iloc[0]
        said.append(
            f"While it was watched the busiest process, of {most['pod']}, used {most['processor']:.2g} processors"
        )
    biggest = known.sort_values("memory", ascending=False).iloc[0]
    said.append(f"The biggest process, of {biggest['pod']}, uses {biggest['memory'] / 2**20:,.0f} MiB")
    near = known[known["memory_share"] >= 0.9]
    limits = known["memory_limit"].notna().sum()
    bound = (
        f"; {plural(limits, 'pod')} of {len(known)} may not have more than a limit"
        if limits
        else "; none has a limit of memory"
    )
    close = f". Close to it: {listed(near['pod'])}" if len(near) else ""
    killed = resources[resources["oom_killed"].fillna(False).astype(bool)]
    ended = f". Killed for want of memory: {listed(killed['pod'])}" if len(killed) else ""
    return f"{'. '.join(said)}{bound}{close}{ended}."

"""Typha's load: its connections, how far clients are behind, what snapshots cost, which clients it closes.

Facts: typha/pkg/syncserver/sync_server.go (a Typha with more than its share closes a connection a second, chosen at
random; a client that is ServerMaxFallBehindSecs behind is cut off), typha/pkg/k8s/rebalance.go (the share).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.felix.metrics.promql import Series
from calicokit.felix.metrics.tables import Targets, no_typha, text_or_none
from calicokit.registry import Bound, Given, UnseenError, not_applicable, table
from calicokit.schema import Column, Schema, cells

POD = (
    Column("pod", "str", "Typha pod; null where unknown"),
    Column("node", "str", "its node"),
)
WANTS: Bound = {"_scrapes": ("typha-metrics", "typha-metrics+series"), "pods": "health.pods"}
"""The scrapes are asked for so that it can be told why there is none of them; they are in the samples already."""

LOAD = Schema(
    "felix.typha_load",
    "Load of each scraped Typha: connections, dropped clients, and snapshot cost.",
    (
        *POD,
        Column("connections", "float", "connections open now", "connections"),
        Column("share", "float", "share of all scraped Typhas' connections", "0 to 1"),
        Column("nodes", "float", "Felix instances served: streams of the felix syncer (v3.26)", "nodes"),
        Column("accepted", "float", "connections accepted since its start", "connections"),
        Column("accepted_grown", "float", "connections accepted during the series; null without one", "connections"),
        Column("dropped", "float", "connections closed since its start to rebalance load", "connections"),
        Column(
            "dropped_grown",
            "float",
            "connections closed to rebalance during the series; null without one",
            "connections",
        ),
        Column("grace_used", "float", "clients that used the grace period after their first snapshot", "clients"),
        Column("updates_rate", "float", "updates from the API server during the series", "updates/s"),
        Column("sent_rate", "float", "messages to clients during the series", "messages/s"),
        Column(
            "behind", "float", "share of updates already waiting when the client polled (client is behind)", "0 to 1"
        ),
        Column("objects", "float", "objects in its caches; the same in all Typhas", "objects"),
        Column("snapshots", "float", "snapshots generated since its start", "snapshots"),
        Column("snapshots_reused", "float", "snapshots reused for another client", "snapshots"),
        Column("snapshot_bytes", "float", "compressed size of the newest snapshots", "bytes"),
        Column("snapshot_raw_bytes", "float", "uncompressed size of the newest snapshots", "bytes"),
        Column("started", "time", "start of the process"),
        Column("since", "time", "first sample of the series; null without one"),
        Column("until", "time", "last scrape"),
    ),
    key=("pod", "node"),
)

CLIENTS = Schema(
    "felix.typha_clients",
    "Clients of each Typha by syncer: their lag, and the duration of writes and snapshots.",
    (
        *POD,
        Column("syncer", "str", "syncer: felix, bgp, tunnel-ip-allocation, node-status"),
        Column("streaming", "float", "streaming connections (v3.26)", "connections"),
        Column("latency_p50", "float", "client lag: median of about the last ten minutes; null when idle", "s"),
        Column("latency_p99", "float", "client lag: 99th percentile", "s"),
        Column("latency_average", "float", "client lag: mean during the series, else since its start", "s"),
        Column("changes", "float", "updates measured for the lag", "changes"),
        Column("write_p99", "float", "write duration to a client: 99th percentile", "s"),
        Column("ping_p99", "float", "ping round trip to a client: 99th percentile", "s"),
        Column("snapshots_sent", "float", "first snapshots sent since its start", "snapshots"),
        Column("snapshot_average", "float", "snapshot send time: mean", "s"),
        Column("snapshot_p99", "float", "99th percentile", "s"),
        Column("objects_per_message", "float", "objects in one message, mean since its start", "objects"),
    ),
    key=("pod", "node", "syncer"),
)

EVENTS = Schema(
    "felix.typha_events",
    "Typha log events about closed or slow clients.",
    (
        *POD,
        Column("event", "str", "rebalanced, fell-behind, grace-period, no-pong, write-failed"),
        Column("means", "str", "meaning of the event"),
        Column("count", "int", "lines that say so", "lines"),
        Column("hosts", "list", "addresses of the clients"),
        Column("first", "time", "first line"),
        Column("last", "time", "last line"),
        Column("recent", "int", "lines of the log's last ten minutes", "lines"),
        Column("limit", "int", "rebalanced: connection limit in the last line", "connections"),
        Column("before", "int", "rebalanced: connections at the first recent line", "connections"),
        Column("after", "int", "rebalanced: connections at the last line", "connections"),
        Column("log_until", "time", "last line of the log"),
    ),
    key=("pod", "event"),
)

_SAID = {
    "rebalanced": (
        ("Closing connection; reason: re-balance", "Currently have too many connections, terminating"),  # up to v3.22
        "it had more connections than its share and closed one (rebalancing)",
    ),
    "fell-behind": (("Client fell behind. Disconnecting.",), "a client fell behind and was disconnected"),
    "grace-period": (
        ("Client is a long way behind after sending",),
        "a client got a grace period after its first snapshot",
    ),
    "no-pong": (("Too long since last pong from client",), "a client did not answer pings and was disconnected"),
    "write-failed": (("Failed to write to client",), "a write to a client failed or took too long"),
}
"""Event → how its lines begin, and what it means."""

RECENT = pd.Timedelta(minutes=10)

_FIELD = re.compile(r"(?:^| )(client|max|current)=\"?([^\s\"]{1,100})")

_FAMILIES = {
    "latency": "typha_client_latency_secs",
    "write": "typha_client_write_latency_secs",
    "ping": "typha_ping_latency",
    "snapshot": "typha_client_snapshot_send_secs",
    "objects_per_message": "typha_kvs_per_msg",
}


@not_applicable(needs={"pods": "health.pods"})
def no_log(pods: pd.DataFrame) -> Iterator[tuple[str, str | None]]:
    """Where there is no Typha, nobody misses its log."""
    yield from (("typha-log", node) for _, node in no_typha(pods))


@table(LOAD, needs={"samples": "felix.samples"}, wants=WANTS)
def typha_load(samples: pd.DataFrame, _scrapes: Given, pods: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each Typha that was scraped; see :data:`LOAD`. None where there is no Typha."""
    own = _scraped(samples, pods)
    rows = [
        {"pod": text_or_none(pod), "node": text_or_none(node), **_load(part)}
        for (pod, node), part in own.groupby(["pod", "node"], observed=True, dropna=False)
    ]
    total = np.nansum([r["connections"] for r in rows])
    return LOAD.frame([{**r, "share": r["connections"] / total if total else None} for r in rows])


def _load(part: pd.DataFrame) -> dict[str, Any]:
    ordered = part.sort_values(["time", "series"], kind="stable")
    newest = ordered.drop_duplicates(["metric", "labels"], keep="last")
    newest = newest.assign(metric=newest["metric"].astype("str"))

    def now(metric: str, label: str = "") -> float:
        found = newest[(newest["metric"] == metric) & newest["labels"].astype("str").str.contains(label, regex=False)]
        return float(found["value"].sum()) if len(found) else np.nan

    watched = ordered[ordered["series"]]
    blocked, ready = now("typha_breadcrumb_block"), now("typha_breadcrumb_non_block")
    return {
        "connections": now("typha_connections_active"),
        "nodes": now("typha_connections_streaming", 'syncer="felix"'),
        "accepted": now("typha_connections_accepted"),
        "accepted_grown": _grown(watched, "typha_connections_accepted"),
        "dropped": now("typha_connections_dropped"),
        "dropped_grown": _grown(watched, "typha_connections_dropped"),
        "grace_used": now("typha_connections_grace_used"),
        "updates_rate": _rate(watched, "typha_updates_total"),
        "sent_rate": _rate(watched, "typha_kvs_per_msg_count"),
        "behind": ready / (blocked + ready) if blocked + ready else None,
        "objects": now("typha_cache_size"),
        "snapshots": now("typha_snapshots_generated"),
        "snapshots_reused": now("typha_snapshots_reused"),
        "snapshot_bytes": now("typha_snapshot_compressed_bytes"),
        "snapshot_raw_bytes": now("typha_snapshot_raw_bytes"),
        "started": pd.Timestamp(now("process_start_time_seconds"), unit="s", tz="UTC"),
        "since": watched["time"].min() if len(watched) else None,
        "until": ordered["time"].max(),
    }


def _grown(watched: pd.DataFrame, metric: str) -> float | None:
    own = watched[watched["metric"] == metric]
    steps = Series.of(own, "labels").steps()[0]
    return float(np.nansum(steps)) if len(steps) > own["labels"].nunique() else None


def _rate(watched: pd.DataFrame, metric: str) -> float | None:
    grown = _grown(watched, metric)
    seconds = (watched["time"].max() - watched["time"].min()).total_seconds()
    return None if grown is None or not seconds else grown / seconds


def _scraped(samples: pd.DataFrame, pods: pd.DataFrame | None) -> pd.DataFrame:
    """Typha's samples; unknown where there is one, or may be, and none was scraped."""
    own = samples[samples["own"] & (samples["component"] == "typha")]
    if not len(own) and (pods is None or (pods["component"] == "typha").any()):
        raise UnseenError("no Typha was scraped")
    return own


@table(CLIENTS, needs={"samples": "felix.samples", "quantiles": "felix.quantiles"}, wants=WANTS)
def typha_clients(
    samples: pd.DataFrame, quantiles: pd.DataFrame, _scrapes: Given, pods: pd.DataFrame | None
) -> pd.DataFrame:
    """One row for each Typha and syncer; see :data:`CLIENTS`. None where there is no Typha."""
    typha = _scraped(samples, pods)
    streams = typha[typha["metric"] == "typha_connections_streaming"].sort_values("time")
    streaming = {(pod, syncer_of(labels)): value for pod, labels, value in cells(streams, "pod", "labels", "value")}
    own = quantiles[(quantiles["component"] == "typha") & quantiles["family"].isin(list(_FAMILIES.values()))]
    rows = []
    for (pod, node, labels), part in own.groupby(["pod", "node", "labels"], observed=True, dropna=False):
        syncer = syncer_of(str(labels))
        row: dict[str, Any] = {"pod": text_or_none(pod), "node": text_or_none(node), "syncer": syncer}
        rows.append(row | {"streaming": streaming.get((pod, syncer))} | _client(part))
    return CLIENTS.frame(rows)


def syncer_of(labels: str) -> str:
    """The syncer that labels name; typhas before v3.23 have none but Felix's.

    >>> syncer_of('syncer="bgp"'), syncer_of("")
    ('bgp', 'felix')
    """
    match = re.search(r'(?:^|,)syncer="([^"]{1,100})"', labels)
    return match[1] if match else "felix"


def _client(part: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, family in _FAMILIES.items():
        own = part[part["family"] == family].sort_values(["time", "series"], kind="stable")
        if not len(own):
            continue
        last, (seen, mean) = own.iloc[-1], _since_start(own)
        found[f"{name}_p99"], found[f"{name}_p50"], found[f"{name}_average"] = last["p99"], last["p50"], mean
        found[f"{name}_count"] = seen
        watched = own[own["series"] & own["since_before"] & (own["observations"] > 0)]
        if name == "latency" and len(watched):
            found["latency_count"] = watched["observations"].sum()
            found["latency_average"] = (watched["average"] * watched["observations"]).sum() / found["latency_count"]
    return {
        **{k: found.get(k) for k in ("latency_p50", "latency_p99", "latency_average", "write_p99", "ping_p99")},
        **{k: found.get(k) for k in ("snapshot_average", "snapshot_p99")},
        "changes": found.get("latency_count"),
        "snapshots_sent": found.get("snapshot_count"),
        "objects_per_message": found.get("objects_per_message_average"),
    }


def _since_start(own: pd.DataFrame) -> tuple[float, float]:
    """Observations and mean since the start: of a single scrape as they are, of a series its steps together."""
    single = own[~own["series"]]
    used = single.tail(1) if len(single) else own
    seen = used["observations"].sum()
    return seen, (used["average"].fillna(0.0) * used["observations"]).sum() / seen if seen else np.nan


# ---- its log


@table(EVENTS, wants={"logs": "typha-log", "pods": "health.pods"})
def typha_events(logs: Texts | None = None, pods: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each Typha and event; see :data:`EVENTS`. None where there is no Typha."""
    if logs is None and (pods is None or (pods["component"] == "typha").any()):
        raise UnseenError("no log of Typha was seen")
    targets, rows = Targets(pods), []
    for evidence, parsed in logs.parsed("typha-log") if logs is not None else ():
        log = parsed.frame
        node, pod = targets.of("typha", evidence)
        for event, (starts, means) in _SAID.items():
            lines = log[log["message"].str.startswith(starts, na=False)]
            if len(lines):
                until = log["time"].max()
                about = {"pod": pod, "node": node, "event": event, "means": means, "log_until": until}
                rows.append({**about, **_event(lines, until)})
    return EVENTS.frame(rows)


def _event(lines: pd.DataFrame, until: pd.Timestamp) -> dict[str, Any]:
    told = [dict(_FIELD.findall(text)) for text in lines["fields"].astype("str").tolist()]
    recent = [t for t, time in zip(told, lines["time"], strict=True) if until - time <= RECENT]
    return {
        "count": len(lines),
        "hosts": sorted({t["client"].rpartition(":")[0] for t in told if "client" in t}),
        "first": lines["time"].min(),
        "last": lines["time"].max(),
        "recent": len(recent),
        "limit": _int(told[-1].get("max")),
        "before": _int(recent[0].get("current")) if recent else None,
        "after": _int(told[-1].get("current")),
    }


def _int(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() and len(text) < 10 else None

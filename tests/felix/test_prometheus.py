"""Rates and quantiles are those of a real Prometheus server for the same samples; the server as a source."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.live.prometheus_server import Points, PrometheusServer, Targets, Watched, exposition, target_of
from calicokit.evidence.model import SourceError, Want
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording, _series_time
from calicokit.felix.metrics import promql
from calicokit.felix.metrics import tables as metrics
from calicokit.felix.metrics.prometheus_range import long_timeline
from calicokit.parsers.base import parse
from tests import recordings
from tests.examples import first
from tests.felix.replay import Scrape, prometheus, shifted, soon

INCIDENT = "felix-churn"
BOUNDS = ("0.005", "0.05", "0.5", "5", "+Inf")


def scrapes(pattern: str) -> list[Scrape]:
    """A series of the recording: time and text of each scrape."""
    found = [(p.split("/")[-2], p) for p in recordings.paths(INCIDENT, pattern)]
    return [(at, recordings.read(INCIDENT, p).decode()) for t, p in found if (at := _series_time(t)) is not None]


def made(end: datetime) -> list[Scrape]:
    """What no recording has: resets, gaps, histograms that count, NaN and infinity, labels with quotes."""
    chance, pages, count, sums = random.Random(7), [], [0] * len(BOUNDS), 0.0
    total, at = 3.0, end - timedelta(minutes=6)
    while at <= end:
        if chance.random() < 0.06:
            total, count, sums = 0.5 * chance.random(), [0] * len(BOUNDS), 0.0
        total += chance.choice((0.0, 0.0, 0.25, 7.5))
        for _ in range(chance.randrange(4)):
            seen = chance.lognormvariate(-3, 2)
            sums += seen
            count = [c + (float(b.replace("+Inf", "inf")) >= seen) for c, b in zip(count, BOUNDS, strict=True)]
        page = ["# TYPE felix_made counter", f'felix_made{{a="say \\"x\\" \\\\n",exported="1"}} {total}']
        page += ["# TYPE felix_made_seconds histogram"]
        page += [f'felix_made_seconds_bucket{{le="{b}"}} {c}' for b, c in zip(BOUNDS, count, strict=True)]
        page += [f"felix_made_seconds_sum {sums}", f"felix_made_seconds_count {count[-1]}"]
        page += ["# TYPE felix_made_gauge gauge", f"felix_made_gauge {chance.choice(('NaN', '+Inf', '-Inf', '1e-9'))}"]
        pages.append((at, "\n".join(page) + "\n"))
        at += timedelta(seconds=chance.choice((5, 5, 5, 6, 20)))
    return pages


def typha_target() -> dict[str, str]:
    """The labels that Kubernetes' discovery gives a pod."""
    found = json.loads(recordings.read(INCIDENT, "api/v1_pods.json"))["items"]
    (pod,) = [p["metadata"]["name"] for p in found if p["metadata"]["labels"].get("k8s-app") == "calico-typha"]
    return {"pod": pod, "node": "node-1"}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrometheusServer, dict[str, list[Scrape]]]]:
    """The recording's series and a made one, in a Prometheus server and as they were served."""
    end = soon()
    given = {f"felix-{n}": shifted(scrapes(f"nodes/node-{n}/series/*/felix-metrics.prom"), end) for n in (1, 2, 3, 4)}
    given["typha"] = shifted(scrapes("cluster/series/*/typha-metrics.prom"), end)
    given["made"] = made(end)
    labels = {"typha": typha_target()}
    with prometheus(tmp_path_factory.mktemp("prometheus"), given, labels) as server:
        yield server, given


def frame(pages: list[Scrape]) -> pd.DataFrame:
    """The scrapes as felix.samples."""
    said = [
        {"component": "felix", "node": "n", "pod": "p", "evidence": "e", "series": True, "scraped": at}
        for at, _ in pages
    ]
    return metrics.made([parse("prometheus", text).frame for _, text in pages], said)


def by_labels(found: list[Points]) -> dict[tuple[str, frozenset[tuple[str, str]]], Points]:
    """Series by name and the metric's own labels."""
    outer = ("__name__", "instance", "job")
    return {
        (p.labels.get("__name__", ""), frozenset((k, v) for k, v in p.labels.items() if k not in outer)): p
        for p in found
    }


def own_labels(labels: str) -> frozenset[tuple[str, str]]:
    page = parse("prometheus", f"x{{{labels}}} 1\n")
    from tests.parsers.test_prometheus import pairs

    return frozenset(pairs(page.frame["labels"].iloc[0]))


def equal(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("job", ["felix-1", "typha", "made"])
def test_the_server_holds_the_samples_that_we_read(job: str, replayed: Any) -> None:
    server, given = replayed
    samples = frame(given[job])
    given_by_target = set(typha_target().items()) if job == "typha" else set()
    theirs = by_labels(server.query(f'{{job="{job}",__name__=~"(felix|typha)_.+"}}[10m]', given[job][-1][0]))
    seen = 0
    for (metric, labels), own in samples.groupby(["metric", "labels"], observed=True):
        if not str(metric).startswith(("felix_", "typha_")):
            continue
        points = theirs[str(metric), own_labels(str(labels)) | given_by_target]
        assert points.times.tolist() == [t.timestamp() for t in own["time"]]
        assert np.array_equal(points.values, own["value"].to_numpy(), equal_nan=True)
        seen += 1
    assert seen == len(theirs)


@pytest.mark.parametrize("job", ["felix-1", "felix-3", "made"])
@pytest.mark.parametrize("width", first(1, [60, 17, 240]))
def test_rate_and_increase_are_prometheus(job: str, width: int, replayed: Any) -> None:
    """Over windows that end anywhere: between samples, before the first, after the last."""
    server, given = replayed
    grows = metrics.counters(frame(given[job]))
    series = promql.Series.of(grows, "metric", "labels")
    heads = grows.iloc[series.rows].assign(code=series.code).drop_duplicates("code")
    since, until = given[job][0][0] - timedelta(seconds=20), given[job][-1][0] + timedelta(seconds=40)
    step = 7.0
    ends = np.arange(since.timestamp(), until.timestamp() + 0.5, step)
    lines = np.repeat(np.arange(len(heads)), len(ends))
    times = np.tile((ends * 1000).round().astype(np.int64), len(heads))
    found = [f.reshape(len(heads), -1) for f in promql.over_windows(series, lines, times, width * 1000)]
    names = "|".join(sorted(set(heads["metric"].astype(str))))
    compared = 0
    for what, ours in zip(("increase", "rate"), found, strict=True):
        for metric in names.split("|"):
            theirs = by_labels(server.query_range(f'{what}({metric}{{job="{job}"}}[{width}s])', since, until, step))
            rows = heads[heads["metric"] == metric]
            for line, labels in zip(rows["code"], rows["labels"], strict=True):
                points = theirs.get(("", own_labels(str(labels))))
                mine = ours[line]
                known = ~np.isnan(mine)
                if points is None:
                    assert not known.any()
                    continue
                assert ends[known].tolist() == points.times.tolist(), (metric, labels)
                equal(mine[known], points.values)
                compared += len(points.values)
    assert compared > 200


@pytest.mark.slow
@pytest.mark.parametrize("job", ["felix-2", "made"])
def test_rates_of_samples_are_irate_and_rate(job: str, replayed: Any) -> None:
    server, given = replayed
    rates = metrics.rates_of(metrics.counters(frame(given[job])))
    compared = 0
    for (metric, labels), own in rates.groupby(["metric", "labels"], observed=True):
        if "_bucket" in str(metric):
            continue
        told = list(zip(own["time"], own["rate"], own["rate_1m"], strict=True))
        for at, *rates_ in told[:: 1 if job == "made" else 7]:
            for function, rate in zip(("irate", "rate"), rates_, strict=True):
                theirs = by_labels(server.query(f'{function}({metric}{{job="{job}"}}[60s])', at.to_pydatetime()))
                equal(np.array([rate]), theirs["", own_labels(str(labels))].values)
                compared += 1
    assert compared > 60
    assert job != "made" or rates["reset"].any()


def test_quantiles_of_histograms_are_prometheus(replayed: Any) -> None:
    server, given = replayed
    found = metrics.quantiles(frame(given["made"]))
    own = found[found["family"] == "felix_made_seconds"]
    assert own["p90"].notna().sum() > 20
    for row in own[own["since_before"]].itertuples():
        for quantile, ours in ((0.5, row.p50), (0.9, row.p90), (0.99, row.p99)):
            asked = f'histogram_quantile({quantile}, irate(felix_made_seconds_bucket{{job="made"}}[60s]))'
            equal(np.array([ours]), server.query(asked, row.time.to_pydatetime())[0].values)
        mean = "irate(felix_made_seconds_sum[60s]) / irate(felix_made_seconds_count[60s])"
        equal(np.array([row.average]), server.query(mean, row.time.to_pydatetime())[0].values)


def test_a_cluster_watched_by_prometheus_has_the_same_tables(replayed: Any) -> None:
    server, _ = replayed
    source = Recording(index()[INCIDENT].path)
    end = datetime.now(UTC)
    watched = Cluster(Watched(source, server, end - timedelta(minutes=10), end))
    recorded = Cluster(source)
    for name in ("felix.rates", "felix.quantiles"):
        ours, theirs = watched.table(name), recorded.table(name)
        keys = ["node", "component", "family", "labels", *(["metric"] if "metric" in ours else [])]
        value = "increase" if "increase" in ours else "average"
        kept = theirs["family"].astype(str).str.startswith(("felix_", "typha_"))
        if "series" in ours:
            ours, theirs, kept = ours[ours["series"]], theirs[theirs["series"]], kept[theirs["series"]]
        ours = ours[ours["family"].astype(str).str.startswith(("felix_", "typha_"))]
        assert len(ours) == kept.sum() > 0
        told = [f.sort_values(["time", *keys]).groupby(keys, observed=True)[value].sum() for f in (ours, theirs[kept])]
        pd.testing.assert_series_equal(*told, check_index_type=False)
    assert watched.coverage.missing == []
    pods = [c.felix.samples().query("component == 'typha'")["pod"].unique().tolist() for c in (watched, recorded)]
    assert pods[0] == pods[1] == [typha_target()["pod"]]


def test_a_long_time_is_read_in_steps(replayed: Any) -> None:
    server, _ = replayed
    end = datetime.now(UTC)
    cluster = Cluster(Watched(Recording(index()[INCIDENT].path), server, end - timedelta(hours=2), end))
    samples = cluster.felix.samples()
    own = samples[(samples["metric"] == "felix_iptables_restore_calls") & samples["series"]]
    assert set(own["node"]) == {"node-1", "node-2", "node-3", "node-4"}
    assert own["time"].diff().dropna().dt.total_seconds().mode().iloc[0] == 30.0


def test_errors_are_one_clear_sentence(replayed: Any) -> None:
    server, _ = replayed
    with pytest.raises(SourceError, match="rejected query: invalid parameter"):
        server.query("rate(")
    with pytest.raises(SourceError, match="answers with no series"):
        server.query("1")
    with pytest.raises(SourceError, match="does not answer"):
        PrometheusServer("http://127.0.0.1:9", timeout=2).query("up")
    with pytest.raises(SourceError, match="no address"):
        PrometheusServer("file:///etc/passwd")


def test_a_server_that_is_gone_is_a_hole_and_no_error() -> None:
    gone = PrometheusServer("http://127.0.0.1:9", timeout=2)
    cluster = Cluster(Watched(Recording(index()[INCIDENT].path), gone, datetime.now(UTC) - timedelta(minutes=5)))
    assert cluster.felix.rates().unknown
    assert not cluster.felix.metrics().unknown
    (answer,) = {str(a) for _, a in cluster._source.fetch([Want("felix-metrics", "node-1", series=True)])}
    assert "does not answer" in answer


@pytest.mark.parametrize(
    ("labels", "id_"),
    [
        ({"instance": "10.0.0.1:9091", "job": "x"}, "felix-metrics"),
        ({"instance": "10.0.0.1:9093", "job": "x"}, "typha-metrics"),
        ({"instance": "10.0.0.1:9094", "job": "kubernetes-pods"}, "kube-controllers-metrics"),
        ({"instance": "10.0.0.1:9999", "pod": "calico-typha-6b-x"}, "typha-metrics"),
        ({"instance": "10.0.0.1:9091", "job": "calico-typha-metrics-svc"}, "typha-metrics"),
        ({"instance": "10.0.0.1:9100", "job": "node-exporter"}, None),
    ],
)
def test_targets_are_told_by_port_and_labels(labels: dict[str, str], id_: str | None) -> None:
    found = target_of(labels)
    assert (found.id if found else None) == id_


def test_series_are_written_as_they_were_printed() -> None:
    points = Points(
        {"__name__": "ipam_blocks", "exported_node": "n2", "node": "n1", "ippool": 'a"b\\c', "job": "j"},
        np.array([1700000000.123]),
        np.array([3.0]),
    )
    text = exposition([points], {"node": "n1", "job": "j"}, {"ipam_blocks": ("gauge", "Blocks.")}).decode()
    read = parse("prometheus", text, strict=True).frame.iloc[0]
    assert (read["metric"], read["type"], read["value"]) == ("ipam_blocks", "gauge", 3.0)
    assert own_labels(read["labels"]) == {("node", "n2"), ("ippool", 'a"b\\c')}
    assert read["timestamp"] == pd.Timestamp(1700000000.123, unit="s", tz="UTC").round("ms")


@pytest.mark.parametrize(
    ("measure", "metric"),
    [
        ("iptables lines", "felix_iptables_lines_executed"),
        ("events for the dataplane", "felix_calc_graph_output_events"),
    ],
)
def test_a_long_time_is_added_up_from_every_sample(measure: str, metric: str, replayed: Any) -> None:
    server, given = replayed
    since = given["felix-1"][0][0] - timedelta(seconds=5)
    long = long_timeline(server, since, datetime.now(UTC))
    assert set(long["node"]) == {"node-1", "node-2", "node-3", "node-4"}
    own = long[(long["measure"] == measure) & (long["node"] == "node-2")]
    series = Cluster(Recording(index()[INCIDENT].path)).felix.rates()
    grown = series[(series["metric"] == metric) & (series["node"] == "node-2")].groupby("time")
    rates = grown["increase"].sum() / grown["seconds"].max()
    assert own["value"].tolist() == pytest.approx(rates.tolist())  # a step of a second holds one sample at most


def test_two_jobs_that_scrape_the_same_felix_are_one_target() -> None:
    class Twice(PrometheusServer):
        def query(self, expression: str, at: datetime | None = None) -> list[Points]:
            jobs = [{"job": j, "instance": "10.0.0.1:9091"} for j in ("a", "b")]
            host = {"host": "node-1"} if "felix_host" in expression else {}
            return [Points({**j, **host}, np.array([1.0]), np.array([1.0])) for j in jobs]

    targets = Targets(Twice("http://127.0.0.1:9"), datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC))
    assert [t.labels["job"] for t in targets.of("felix-metrics")] == ["a"]
    assert targets.node(targets.of("felix-metrics")[0]) == "node-1"

"""Scrapes as tables on every recording: all samples are there, rates and totals agree, the components' own are told."""

from __future__ import annotations

import doctest
import re

import pandas as pd
import pytest

from calicokit import durations
from calicokit.cluster import Cluster
from calicokit.evidence.model import Want
from calicokit.felix.metrics import fanout, meaning, promql, resources, sentences
from calicokit.felix.metrics import tables as metrics
from calicokit.felix.metrics.meaning import meanings
from tests import recordings
from tests.clusters import fresh, opened
from tests.edited import Edited
from tests.fakes import MemorySource, api_list

NAMES = recordings.names()
CHURN, TYPHA = "felix-churn", "healthy-vxlan-typha"


def test_examples_in_docstrings_run() -> None:
    for module in (durations, meaning, metrics, promql, resources, fanout, sentences):
        assert doctest.testmod(module)[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_scrape_gives_as_many_samples_as_prometheus_client_finds(name: str) -> None:
    parsing = pytest.importorskip("prometheus_client.parser")
    seen = fresh(name)
    samples = seen.felix.samples()
    counted = samples["evidence"].value_counts()
    paths = recordings.paths(name, "*.prom")
    for path in paths:
        text = recordings.read(name, path).decode()
        assert counted[path] == sum(len(f.samples) for f in parsing.text_string_to_metric_families(text))
    assert set(counted.index) == set(paths)
    assert not seen.coverage.missing


@pytest.mark.parametrize("name", NAMES)
def test_each_scrape_is_its_pods_and_its_nodes(name: str) -> None:
    samples = opened(name).felix.samples()
    assert samples["pod"].notna().all()
    assert samples["node"].notna().all()
    hosts = samples[samples["metric"] == "felix_host"]
    told = hosts["labels"].astype("str").str.extract('host="([^"]+)"')[0]
    own = hosts["own"].to_numpy(dtype=bool)
    assert (told[own] == hosts["node"][own].astype("str")).all()


def test_what_other_components_count_is_not_own() -> None:
    samples = opened(CHURN).felix.samples()
    alien = samples[~samples["own"]]
    assert set(alien["metric"].astype("str").str.split("_").str[0]) == {"felix", "typha", "goldmane", "calico"}
    assert (alien["value"].fillna(0) == 0).all()
    assert {"typha_connections_active"} <= set(samples[samples["own"] & (samples["component"] == "typha")]["metric"])


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_that_is_shown_has_its_meaning(name: str) -> None:
    shown = opened(name).felix.metrics()
    assert (shown["means"] != "unknown").all()
    own = shown["metric"].str.match(r"(felix|typha|ipam|wireguard)_")
    assert shown["source"][own].str.match(r"(felix|typha|kube-controllers)/").all()
    assert shown["means"].str.len().gt(0).all()


def test_meanings_are_of_metrics_and_say_since_when() -> None:
    for name, said in meanings().items():
        assert re.fullmatch(r"[a-z_]+", name)
        assert said.means
        assert re.match(r"(≤?v3\.\d\d|HEAD)", said.since), name


def test_growth_adds_up_to_what_the_ends_show() -> None:
    rates, samples = opened(CHURN).felix.rates(), opened(CHURN).felix.samples()
    one = samples[(samples["metric"] == "felix_ipset_calls") & (samples["node"] == "node-2") & samples["series"]]
    own = one[one["own"]].sort_values("time")["value"]
    grown = rates[(rates["metric"] == "felix_ipset_calls") & (rates["node"] == "node-2")]["increase"]
    assert len(own) == 24
    assert grown.sum() == own.iloc[-1] - own.iloc[0] > 0
    shown = opened(CHURN).felix.metrics()
    row = shown[(shown["metric"] == "felix_ipset_calls") & (shown["node"] == "node-2")].iloc[0]
    assert row["rate"] == pytest.approx(grown.sum() / 115)


def test_without_a_series_rates_are_unknown_and_values_known() -> None:
    single = opened("healthy-bgp-mesh")
    assert single.felix.rates().unknown
    assert single.felix.timeline().unknown
    assert single.felix.metrics()["rate"].isna().all()
    assert not single.felix.activity().unknown
    assert single.felix.apply_times()["watched_updates"].isna().all()


def test_a_restart_is_a_reset_and_told() -> None:
    def page(count: int, start: int) -> str:
        return (
            f"# TYPE felix_ipset_calls counter\nfelix_ipset_calls {count}\n"
            f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {start}\n"
        )

    made = Edited(CHURN)
    now = made.now()
    assert now is not None
    pages = [(100, 1000), (160, 1000), (7, 2000), (9, 2000)]
    made.samples["felix-metrics", "node-1"] = [
        (now + pd.Timedelta(seconds=10 * i - 60), page(*p)) for i, p in enumerate(pages)
    ]
    seen = made.cluster()
    rates = seen.felix.rates()
    own = rates[(rates["node"] == "node-1") & (rates["metric"] == "felix_ipset_calls")]
    assert own["increase"].tolist() == [60.0, 7.0, 2.0]
    assert own["reset"].tolist() == [False, True, False]
    errors = seen.felix.errors()
    restarts = errors[(errors["metric"] == "restarts") & (errors["node"] == "node-1")].iloc[0]
    assert restarts["grown"] >= 1


def test_metrics_that_are_off_are_coverage_and_cost_nothing_else() -> None:
    made = Edited(CHURN)
    gone = {("felix-metrics", n) for n in made.nodes()} | {("typha-metrics", None), ("kube-controllers-metrics", None)}
    made.gone |= gone
    made.samples = {(i, n): [] for i, n in gone}
    seen = made.cluster()
    assert seen.felix.metrics().unknown
    assert not seen.felix.loops().unknown
    findings = seen.check()
    assert [f for f in findings if f.severity != "info"] == []
    assert {(m.id, m.node) for m in findings.coverage.missing} >= gone


def test_where_no_typha_is_nobody_misses_its_metrics() -> None:
    seen = fresh("healthy-bgp-mesh")
    for name in ("typha_load", "typha_clients", "typha_events", "typha_overload"):
        table = seen.table(f"felix.{name}")
        assert table.empty
        assert not table.unknown
    assert [m for m in seen.coverage.missing if m.id.startswith("typha")] == []


def test_where_typha_is_and_nothing_of_it_was_seen_its_load_is_unknown() -> None:
    made = Edited(TYPHA, gone={("typha-metrics", None), ("typha-log", None)})
    seen = made.cluster()
    assert seen.felix.typha_overload().unknown
    assert seen.felix.typha_load().unknown
    assert seen.felix.typha_events().unknown
    assert "typha-metrics" in {m.id for m in seen.coverage.missing}


def test_typhas_other_pods_are_told_apart() -> None:
    """A capture keeps the newest pod's scrape as the component's own, and the others' in folders of their names."""
    from dataclasses import replace

    class Two(Edited):
        def fetch(self, wants):  # type: ignore[no-untyped-def]
            for want, answer in super().fetch(wants):
                yield want, answer
                if want == Want("typha-metrics") and not isinstance(answer, type(None)):
                    text = answer.text.replace(b"typha_connections_active 12", b"typha_connections_active 4")
                    yield want, replace(answer, text=text, path="cluster/pods/calico-typha-b/typha-metrics.prom")

    load = Two(TYPHA).cluster().felix.typha_load()
    assert load["pod"].tolist() == ["calico-typha-b", "calico-typha-c85c75bdc-75vpx"]
    assert load["share"].tolist() == [0.25, 0.75]


def test_a_live_clusters_pod_is_told_by_the_address_of_the_scrape() -> None:
    from calicokit.evidence.model import Evidence

    path = "/api/v1/namespaces/calico-system/pods/calico-typha-7f-x:9093/proxy/metrics"
    targets = metrics.Targets(None)
    assert targets.of("typha", Evidence(Want("typha-metrics"), b"", command=f"GET {path}")) == (
        None,
        "calico-typha-7f-x",
    )


def test_an_empty_or_odd_page_is_no_error() -> None:
    node = {"metadata": {"name": "n"}, "status": {}, "spec": {}}
    answers = {Want("nodes"): api_list([node]), Want("felix-metrics", "n"): b"<html>404</html>\nfelix_x NaN\n"}
    seen = Cluster(MemorySource(answers))
    for name in ("samples", "quantiles", "metrics", "apply_times", "errors", "activity"):
        assert not seen.table(f"felix.{name}").unknown, name
    assert len(seen.felix.samples()) == 1
    assert "could not be read" in str(seen.coverage.missing)


def test_resources_stand_beside_requests_and_limits() -> None:
    def bound(item: dict) -> None:  # type: ignore[type-arg]
        for container in item["spec"]["containers"]:
            container["resources"] = {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}

    found = Edited(CHURN).objects("pods", bound).cluster().felix.resources()
    assert set(found["component"]) == {"calico-node", "typha", "kube-controllers"}
    assert (found["memory_limit"] == 2.0**30).all()
    assert found["processor_limit"].isna().all()
    assert found["memory_share"].between(0.05, 0.5).all()
    felix = found[found["component"] == "calico-node"]
    assert felix["processor"].between(0.001, 0.2).all()


def test_activity_tells_the_node_that_differs() -> None:
    made = Edited(CHURN).edit(
        "felix-metrics",
        "node-3",
        lambda t: re.sub(r"(?m)^felix_active_local_policies .*", "felix_active_local_policies 900", t),
    )
    found = made.cluster().felix.activity()
    outliers = found[found["outlier"].fillna(False).astype(bool)]
    assert [tuple(r) for r in outliers[["node", "measure"]].to_numpy()] == [("node-3", "policies")]
    quiet = opened(CHURN).felix.activity()
    assert not quiet["outlier"].any()


def test_the_churn_is_visible() -> None:
    seen = opened(CHURN).felix.timeline()
    writes = seen[seen["measure"] == "iptables lines"]
    assert writes["value"].max() > 20
    assert writes.groupby("time")["value"].sum().gt(1).mean() > 0.3
    assert len(writes) == 4 * 23


def test_a_long_series_is_told_in_few_steps() -> None:
    """Of 2,000 samples 240 steps are left, and what was counted in all of them."""
    from calicokit.felix.metrics import performance

    times = pd.date_range("2026-01-01", periods=2000, freq="5s", tz="UTC").astype("datetime64[ns, UTC]")
    grown = pd.DataFrame(
        {"metric": "felix_ipset_lines_executed", "node": "n", "time": times, "increase": 1.0, "seconds": 5.0}
    )
    found = performance.in_steps(grown)
    assert len(found) == performance.STEPS
    assert found["value"].round(9).eq(0.2).all()


def test_what_rests_on_an_unknown_table_says_that_tables_reason() -> None:
    for name in ("timeline", "apply_histogram"):
        (why,) = opened("healthy-bgp-mesh").table(f"felix.{name}").unknown
        assert "not sampled over time" in why.why

"""Figures and words of metrics: true of every recording, of unknown tables, and safe with hostile names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from calicokit.felix.metrics import figures, sentences
from calicokit.felix.metrics.fanout import CLIENTS, LOAD
from calicokit.felix.metrics.overload import OVERLOAD, SLOW
from calicokit.felix.metrics.performance import ACTIVITY, APPLY_TIMES, ERRORS, MOMENTS, TIMELINE, moments
from calicokit.felix.state import sentences as state_sentences
from calicokit.felix.state.health import STATE
from calicokit.parsers.base import parse
from tests import recordings
from tests.clusters import opened
from tests.edited import Edited

EVIL = '<b>n</b><a href="javascript:x">&'


def shown(name: str) -> list[str]:
    """The facts of all figures and all sentences of one recording."""
    felix = opened(name).felix
    drawn = [
        figures.heat(felix.timeline()),
        figures.small_multiples(felix.timeline(), felix.moments(), "apply time"),
        figures.apply_times(felix.apply_times()),
        figures.apply_histogram(felix.apply_histogram()),
        figures.fanout(felix.typha_load(), felix.typha_clients()),
    ]
    said = [
        sentences.scrapes(felix.scrapes()),
        sentences.apply_times(felix.apply_times(), felix.slow()),
        sentences.loops(felix.loops()),
        sentences.timeline(felix.timeline()),
        sentences.activity(felix.activity()),
        sentences.errors(felix.errors()),
        sentences.moments(felix.moments()),
        sentences.typha(felix.typha_load(), felix.typha_clients(), felix.typha_overload()),
        sentences.resources(felix.resources()),
    ]
    return [f.fact for f in drawn] + list(said)


@pytest.mark.parametrize("name", recordings.names())
def test_figures_and_words_of_every_recording(name: str) -> None:
    texts = shown(name)
    assert all(t and "nan" not in t.lower().split() and "<NA>" not in t for t in texts), texts
    assert any("keeps up on all 4 nodes" in t for t in texts)
    assert not any("is slow on" in t for t in texts)
    assert ("There is no Typha" in " ".join(texts)) == (name not in ("felix-churn", "healthy-vxlan-typha"))


def test_churn_is_said_to_be_churn() -> None:
    texts = " ".join(shown("felix-churn"))
    assert "such churn is normal" in texts
    assert "No error counter" in texts
    assert "1 Typha with 16 connections, for the Felix of 4 nodes" in texts


def test_what_is_unknown_is_said_everywhere() -> None:
    made = Edited("healthy-bgp-mesh")
    made.gone |= {("felix-metrics", n) for n in made.nodes()} | {("kube-controllers-metrics", None)}
    felix = made.cluster().felix
    assert "Unknown, not empty" in sentences.scrapes(felix.scrapes())
    assert "Unknown, not empty" in figures.apply_times(felix.apply_times()).fact
    assert "No pod's process was scraped" in sentences.resources(felix.resources())


def timeline(nodes: list[str], steps: int = 5, measure: str = "iptables lines") -> pd.DataFrame:
    times = pd.date_range("2026-01-01", periods=steps, freq="5s", tz="UTC")
    rows = [
        {"time": t, "node": n, "measure": measure, "value": float(i), "unit": "lines/s"}
        for i, n in enumerate(nodes)
        for t in times
    ]
    return TIMELINE.frame(rows)


def test_hostile_names_are_text() -> None:
    told = MOMENTS.frame(
        [{"time": "2026-01-01T00:00:05Z", "node": EVIL, "sign": "slow", "watched": True, "message": EVIL, "line": 1}]
    )
    load = LOAD.frame([{"pod": EVIL, "connections": 4.0, "share": 0.5}, {"pod": "b", "connections": 4.0, "share": 0.5}])
    clients = CLIENTS.frame([{"pod": EVIL, "syncer": EVIL, "streaming": 4.0}])
    times = APPLY_TIMES.frame([{"node": EVIL, "p50": 0.1, "p90": 0.2, "p99": 0.3}])
    drawn = [
        figures.heat(timeline([EVIL, "b"])),
        figures.small_multiples(timeline([EVIL, "b"]), told),
        figures.apply_times(times),
        figures.fanout(load, clients),
    ]
    for figure in drawn:
        text = figure.to_json().replace("\\u003c", "<").replace("\\u003e", ">")
        assert "<b>n" not in text
        assert "<a href" not in text
    said = sentences.typha(
        load, clients, OVERLOAD.frame([{"pod": EVIL, "sign": "latency", "says": EVIL, "table": "x"}])
    )
    assert "<b>" not in said._repr_html_()


def test_many_nodes_are_drawn_in_part_and_said_so() -> None:
    nodes = [f"node-{i}" for i in range(150)]
    heat = figures.heat(timeline(nodes))
    assert len(heat.data[0].y) == 100
    assert "The 100 nodes with the most of 150 are drawn" in heat.layout.title.text
    panels = figures.small_multiples(timeline(nodes), MOMENTS.frame())
    assert "The 12 nodes with the most of 150 are drawn" in panels.layout.title.text
    assert len(panels.layout.annotations) == 12


def test_a_measure_that_nobody_took_is_said() -> None:
    assert "apples was not measured" in figures.heat(timeline(["a"]), "apples").fact
    assert "there are no measures" in figures.heat(TIMELINE.frame()).fact


def test_lines_of_the_log_are_marked_where_they_were_watched() -> None:
    row = {"time": "2026-01-01T00:00:05Z", "node": "a", "message": "Timed out", "line": 1}
    told = MOMENTS.frame([{**row, "sign": "timeout", "watched": True}, {**row, "sign": "warning", "watched": True}])
    figure = figures.small_multiples(timeline(["a"]), told)
    assert "1 line of Felix's log" in figure.layout.title.text
    assert list(figure.data[1].marker.symbol) == ["cross"]


def test_words_of_what_fails_differs_and_lags() -> None:
    base = {"component": "felix", "node": "n1", "labels": "", "total": 7.0}
    grown = ERRORS.frame([{**base, "metric": "felix_ipset_errors", "grown": 3.0}])
    assert sentences.errors(grown) == "Grown during sampling: felix_ipset_errors by 3 on n1."
    old = ERRORS.frame([{**base, "metric": "felix_ipset_errors"}])
    assert sentences.errors(old) == "Since their start: felix_ipset_errors 7 on n1."
    knows = [{"node": f"n{i}", "measure": "policies it knows", "value": float(i > 2), "median": 1.0} for i in range(4)]
    assert "The nodes disagree on the number of policies" in sentences.activity(ACTIVITY.frame(knows))
    lagging = SLOW.frame([{"node": "n1", "sign": "tail", "value": 2.0, "says": "it took 2 s", "table": "t"}])
    assert sentences.apply_times(APPLY_TIMES.frame(), lagging) == "Felix is slow on n1: it took 2 s (n1)."


def test_an_idle_cluster_keeps_up() -> None:
    times = APPLY_TIMES.frame([{"node": "n", "updates": 3.0}])
    assert "none has measured a dataplane update" in sentences.apply_times(times, SLOW.frame())
    assert "has measured a dataplane update in the last ten minutes" in figures.apply_times(times).fact


@pytest.mark.parametrize("value", [np.nan, 0.0, 1e-7, 0.5, 99.0, 4000.0])
def test_times_are_read_by_people(value: float) -> None:
    assert sentences.seconds(0.0 if np.isnan(value) else value)[0].isdigit()


@pytest.mark.parametrize(
    ("message", "sign"),
    [
        ("Timed out waiting for the API server", "timeout"),
        ("Client request timeout exceeded", "timeout"),
        ("i/o timeout", "timeout"),
        ("BPF conntrack timeout set", None),
        ("BPF conntrack timeout set from nf_conntrack_tcp_timeout_time_wait", None),
        ("BPF IP fragment timeout read from net.ipv4.ipfrag_time", None),
    ],
)
def test_a_setting_is_no_timeout(message: str, sign: str | None) -> None:
    line = f"2026-11-24 01:34:57.100 [INFO][17803] felix/a.go 41: {message}\n"
    log = parse("felix-log", line).frame.assign(node="n1", evidence="e")
    assert moments(log)["sign"].tolist() == ([] if sign is None else [sign])


def test_felix_that_was_not_queried_is_not_out_of_sync() -> None:
    rows = [{"node": n, "state": "unknown", "told": "it was not queried"} for n in ("a", "b")]
    assert str(state_sentences.state(STATE.frame(rows))).startswith(
        "Whether Felix is in sync is unknown on all 2 nodes"
    )
    some = str(state_sentences.state(STATE.frame([*rows, {"node": "c", "state": "ready", "told": "it says so"}])))
    assert some.startswith("Felix is in sync on 1 of 3 nodes; of 2 it is unknown.")

"""felix-slow and typha-overloaded: silence on every recording, and on what only looks like them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd
import pytest

from calicokit.diagnosis.model import CHECKS, Finding
from calicokit.diagnosis.ranking import rank
from calicokit.registry import load
from tests import recordings
from tests.clusters import opened
from tests.edited import Edited

APPLY = "felix_int_dataplane_apply_time_seconds"
CHURN, TYPHA = "felix-churn", "healthy-vxlan-typha"
IDS = ("felix-slow", "typha-overloaded")
Edit = Callable[[str], str]


def told(made: Edited) -> list[Finding]:
    """What these two checks find, ranked, without the time that all the others take."""
    seen = made.cluster()
    load()
    found = []
    for check in (c for c in CHECKS if set(c.ids) & set(IDS)):
        seen.fetch(check.inputs)
        if all(not seen.table(n).unknown for n in check.needed):
            found += list(check.make(seen.given))
    return rank(found)


def values(**to: float | str) -> Edit:
    """Replaces the values of metrics (with their labels after a bar)."""

    def how(text: str) -> str:
        for name, value in to.items():
            metric, _, label = name.partition("__")
            labels = rf"\{{[^}}]*{re.escape(label)}[^}}]*\}}" if label else r"(?:\{[^}]*\})?"
            text, count = re.subn(rf"(?m)^({metric}{labels}) \S+$", rf"\g<1> {value}", text)
            assert count, name
        return text

    return how


def quantiles(p50: float, p90: float, p99: float, count: float = 60) -> Edit:
    def how(text: str) -> str:
        for quantile, value in (("0.5", p50), ("0.9", p90), ("0.99", p99)):
            text = re.sub(rf'(?m)^({APPLY}\{{quantile="{re.escape(quantile)}"\}}) \S+$', rf"\g<1> {value}", text)
        text = re.sub(rf"(?m)^({APPLY}_count) \S+$", rf"\g<1> {count}", text)
        return re.sub(rf"(?m)^({APPLY}_sum) \S+$", rf"\g<1> {p50 * count}", text)

    return how


@pytest.mark.parametrize("name", recordings.names())
def test_silence_on_every_recording(name: str) -> None:
    seen = opened(name)
    for table in ("felix.slow", "felix.typha_overload"):
        assert not seen.table(table).unknown
        assert seen.table(table).empty


def test_a_slow_felix_is_told_by_its_metrics() -> None:
    (finding,) = told(Edited(TYPHA).edit("felix-metrics", "node-2", quantiles(3.1, 3.3, 3.4)))
    assert (finding.id, finding.severity, finding.subject) == ("felix-slow", "warning", {"node": "node-2"})
    assert "half of its dataplane updates took 3.1 s" in finding.cause
    assert {r.id for r in finding.evidence} == {"felix-metrics"}


def test_a_slow_tail_is_told() -> None:
    (finding,) = told(Edited(TYPHA).edit("felix-metrics", "node-2", quantiles(0.02, 1.8, 2.5)))
    assert "10 % of its dataplane updates" in finding.cause


def test_one_node_far_slower_than_the_others_is_told_earlier() -> None:
    (finding,) = told(Edited(TYPHA).edit("felix-metrics", "node-2", quantiles(0.1, 0.7, 0.9)))
    assert "times as long as on other nodes" in finding.cause


def test_where_all_nodes_take_as_long_half_a_second_is_not_told() -> None:
    made = Edited(TYPHA)
    for node in made.nodes():
        made.edit("felix-metrics", node, quantiles(0.1, 0.7, 0.9))
    assert told(made) == []


@pytest.mark.parametrize(
    "edit",
    [
        quantiles(0.01, 0.05, 20.0),  # one long update among many
        quantiles(6.0, 6.0, 6.0, count=2),  # the first updates of a start
        quantiles(float("nan"), float("nan"), float("nan"), count=500),  # idle for ten minutes
        values(felix_int_dataplane_initial_resync_time_seconds=45),
        values(felix_log_errors=9000),
        values(felix_exec_time_micros__0="900000"),
    ],
)
def test_what_only_looks_slow_is_not_told(edit: Edit) -> None:
    assert told(Edited(TYPHA).edit("felix-metrics", "node-2", edit)) == []


def test_a_felix_that_became_slow_is_told_by_the_series() -> None:
    """Its quantiles still remember the quick time before."""
    made = Edited(TYPHA).sampled(
        *("felix-metrics", "node-3"),
        values(**{f"{APPLY}_sum": 1.0, f"{APPLY}_count": 100}),
        values(**{f"{APPLY}_sum": 9.0, f"{APPLY}_count": 106}),
        values(**{f"{APPLY}_sum": 18.0, f"{APPLY}_count": 112}),
    )
    (finding,) = told(made)
    assert finding.subject == {"node": "node-3"}
    assert "during sampling, the mean dataplane update took 1.4 s" in finding.cause


def series(made: Edited, *pages: dict[str, float]) -> Edited:
    return made.sampled("felix-metrics", "node-3", *(values(**p) for p in pages))


def test_events_that_no_update_follows_are_told() -> None:
    pages = [{"felix_calc_graph_output_events": 100 + 5 * i, f"{APPLY}_count": 50} for i in range(6)]
    (finding,) = told(series(Edited(TYPHA), *pages))
    assert "25 events waited 50 s and no update followed" in finding.cause


def test_events_that_updates_follow_are_not_told() -> None:
    pages = [{"felix_calc_graph_output_events": 100 + 5 * i, f"{APPLY}_count": 50 + i} for i in range(6)]
    assert told(series(Edited(TYPHA), *pages)) == []
    out_of_sync = [{**p, f"{APPLY}_count": 50, "felix_resync_state": 2} for p in pages]
    assert "felix-slow" not in {f.id for f in told(series(Edited(TYPHA), *out_of_sync))}


def summary(node: str, updates: int, average: str, longest: str) -> Edit:
    line = (
        f"2026-11-24 02:30:59.000 [INFO][9] felix/int_dataplane.go 7: Summarising {updates} dataplane reconciliation "
        f"loops over 1m0.4s: avg={average} longest={longest} (resync-filter-v4,update-filter-v4)\n"
    )
    return lambda text: text + line


def test_without_metrics_the_log_tells() -> None:
    made = Edited(TYPHA).edit("felix-log", "node-1", summary("node-1", 19, "3.012s", "3.4s"))
    made.gone |= {("felix-metrics", n) for n in made.nodes()}
    (finding,) = told(made)
    assert finding.subject == {"node": "node-1"}
    assert "19 updates of 3 s on average, the longest 3.4 s (resync-filter-v4,update-filter-v4)" in finding.cause
    assert {r.id for r in finding.evidence} == {"felix-log"}


@pytest.mark.parametrize(
    ("updates", "average", "longest"), [(7, "3.5s", "24s"), (3, "2s", "2.5s"), (80, "300ms", "2s")]
)
def test_a_long_first_update_in_the_log_is_not_told(updates: int, average: str, longest: str) -> None:
    assert told(Edited(TYPHA).edit("felix-log", "node-1", summary("node-1", updates, average, longest))) == []


# ---- Typha


def log(*lines: tuple[float, str]) -> Edit:
    """Adds lines to Typha's log, so many seconds after its end."""

    def how(text: str) -> str:
        last = pd.Timestamp(re.findall(r"(?m)^(20\S+ \S+) \[", text)[-1])
        return text + "".join(
            f"{(last + pd.Timedelta(seconds=s)).strftime('%Y-%m-%d %H:%M:%S.%f')[:-3]} [{said}\n" for s, said in lines
        )

    return how


def closing(current: int, limit: int) -> str:
    return (
        "INFO][7] typha/sync_server.go 672: Closing connection; reason: re-balance load with other Typha instances. "
        f'connID=0x5af6a81300000001 current={current} max={limit} thread="numConnsGov"'
    )


def behind(host: str) -> str:
    return (
        "WARNING][7] typha/sync_server.go 1219: Client fell behind. Disconnecting. "
        f'client={host}:41234 connID=0x5af latestSeqNo=0x12 mySeqNo=0x11 mySnapshotSize=3 snapAge=5m1s thread="kv"'
    )


def test_a_typha_whose_clients_come_back_is_told() -> None:
    (finding,) = told(Edited(TYPHA).edit("typha-log", None, log(*((i, closing(16, 4)) for i in range(40)))))
    (pod,) = opened(TYPHA).health.pods().query("component == 'typha'")["pod"]
    assert (finding.id, finding.subject) == ("typha-overloaded", {"pod": f"kube-system/{pod}"})
    assert (
        "closed 40 connections in ten minutes to stay within its limit of 4, and still has 16: they reconnect"
        in finding.cause
    )


def test_rebalancing_that_ends_is_not_told() -> None:
    """A Typha gives away what it has beyond its share, one connection a second."""
    given_away = log(*((i, closing(60 - i, 20)) for i in range(40)))
    assert told(Edited(TYPHA).edit("typha-log", None, given_away)) == []
    long_ago = log(*((i, closing(16, 4)) for i in range(40)), (3600.0, "INFO][7] typha/x.go 1: Later"))
    assert told(Edited(TYPHA).edit("typha-log", None, long_ago)) == []


def test_clients_that_are_cut_off_are_told_where_they_are_several() -> None:
    (finding,) = told(Edited(TYPHA).edit("typha-log", None, log((1, behind("10.0.0.1")), (2, behind("10.0.0.2")))))
    assert "disconnected clients on 2 nodes" in finding.cause
    assert told(Edited(TYPHA).edit("typha-log", None, log((1, behind("10.0.0.1")), (9, behind("10.0.0.1"))))) == []


def test_probes_of_its_port_are_not_told() -> None:
    line = (
        "WARNING][7] typha/sync_server.go 969: Failed to read client hello. client=10.0.0.{}:4{:04} connID=0x5af "
        "error=context canceled"
    )
    probes = log(*((i, line.format(i % 9, i)) for i in range(300)))
    assert told(Edited(TYPHA).edit("typha-log", None, probes)) == []


def typha_series(*pages: dict[str, float]) -> Edited:
    made = Edited(TYPHA, gone={("typha-log", None)})
    made.sampled("typha-metrics", None, *(values(**p) for p in pages))  # type: ignore[arg-type]
    return made


def test_metrics_alone_tell_that_clients_come_back() -> None:
    def page(i: int) -> dict[str, float]:
        return {"typha_connections_dropped": 900 + 10 * i, "typha_connections_accepted": 950 + 10 * i}

    (finding,) = told(typha_series(*(page(i) for i in range(4))))
    assert "closed 30 connections and has 12: they reconnect" in finding.cause
    still = [{**page(0), "typha_connections_accepted": 950 + i} for i in range(4)]
    assert told(typha_series(*still)) == []  # 900 closed long ago are none


def test_one_scrape_tells_of_a_typha_that_closes_more_than_it_ever_had() -> None:
    """The recording's Typha is 35 s old."""

    def scraped(dropped: float) -> Edited:
        made = Edited(TYPHA, gone={("typha-log", None)})
        return made.edit("typha-metrics", None, values(typha_connections_dropped=dropped))

    (finding,) = told(scraped(30))
    assert "in the 35 s since its start it closed 30 connections and has 12: they reconnect" in finding.cause
    assert told(scraped(20)) == []  # given away to a new Typha


def test_the_words_of_v3_22_are_known() -> None:
    line = (
        "WARNING][7] typha/sync_server.go 479: Currently have too many connections, terminating one at random. "
        'connID=0x5a current=16 max=4 thread="numConnsGov"'
    )
    (finding,) = told(Edited(TYPHA).edit("typha-log", None, log(*((i, line) for i in range(20)))))
    assert finding.id == "typha-overloaded"


def test_slow_clients_are_told_by_the_median_not_by_the_tail() -> None:
    slow = {
        'typha_client_latency_secs__syncer="felix",quantile="0.5"': 4.0,
        'typha_client_latency_secs__syncer="felix",quantile="0.99"': 9.0,
        'typha_client_latency_secs_sum__syncer="felix"': 4000.0,
    }
    (finding,) = told(Edited(TYPHA).edit("typha-metrics", None, values(**slow)))
    assert "half of what it sent to its felix clients was 4 s old" in finding.cause
    tail = {'typha_client_latency_secs__syncer="felix",quantile="0.99"': 9.0}
    assert told(Edited(TYPHA).edit("typha-metrics", None, values(**tail))) == []


def test_a_slow_felix_explains_that_typha_waits_for_it() -> None:
    slow = {
        'typha_client_latency_secs__syncer="felix",quantile="0.5"': 4.0,
        'typha_client_latency_secs_sum__syncer="felix"': 4000.0,
    }
    made = Edited(TYPHA).edit("typha-metrics", None, values(**slow))
    made.edit("felix-metrics", "node-2", quantiles(3.1, 3.3, 3.4))
    assert [(f.id, f.explained_by) for f in told(made)] == [("felix-slow", ""), ("typha-overloaded", "felix-slow")]

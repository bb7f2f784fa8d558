"""Errors that go on are told; those that ended, are harmless, or have a finding of their own are not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from calicokit.cluster import Cluster
from calicokit.diagnosis.model import Finding
from calicokit.evidence.model import Want
from tests.edited import Edited
from tests.fakes import NOW, MemorySource
from tests.only import only

INCIDENT = "healthy-bgp-mesh"
UNKNOWN = "felix/frobnicator.go 12: Failed to frobnicate the interface, will retry. error=no such widget 17"


def line(at: datetime, level: str, text: str) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} [{level}][8143] {text}\n"


def lines(now: datetime, text: str, count: int, every: float, ended: float = 5.0, level: str = "ERROR") -> str:
    """So many such lines, the last some seconds before the end."""
    first = now - timedelta(seconds=ended + every * (count - 1))
    return "".join(line(first + timedelta(seconds=every * i), level, text) for i in range(count))


def burst(
    text: str,
    count: int = 20,
    every: float = 3.0,
    ended: float = 5.0,
    level: str = "ERROR",
    id_: str = "felix-log",
    node: str | None = "node-2",
) -> list[Finding]:
    edited = Edited(INCIDENT)
    now = edited.now()
    assert now is not None
    edited.edit(id_, node, lambda log: log + lines(now, text, count, every, ended, level))
    return only(edited.cluster(), "log-error-burst")


def test_an_unknown_error_that_goes_on_is_told() -> None:
    (found,) = burst(UNKNOWN)
    assert found.severity == "warning"
    assert found.subject == {"node": "node-2", "component": "felix"}
    assert "20 times" in found.cause
    assert "no such widget 17" in found.cause
    (rows,) = found.evidence
    assert (rows.id, rows.node, rows.table) == ("felix-log", "node-2", "logs.bursts")


def test_numbers_addresses_and_names_do_not_make_another_error() -> None:
    edited = Edited(INCIDENT)
    now = edited.now()
    assert now is not None
    text = "".join(
        line(
            now - timedelta(seconds=60 - i),
            "ERROR",
            f'felix/x.go 3: Lost "pod-{i}" at 10.0.0.{i}:80 after {i}.5s ifaceName="cali{i:011x}" error=code {i}',
        )
        for i in range(30)
    )
    edited.edit("felix-log", "node-1", lambda log: log + text)
    (found,) = only(edited.cluster(), "log-error-burst")
    assert "30 times" in found.cause


@pytest.mark.parametrize(
    ("component", "id_", "node"),
    [("typha", "typha-log", None), ("kube-controllers", "kube-controllers-log", None), ("cni", "cni-log", "node-1")],
)
def test_in_every_component(component: str, id_: str, node: str | None) -> None:
    incident = "healthy-vxlan-typha"
    edited = Edited(incident)
    now = edited.now()
    assert now is not None
    edited.edit(id_, node, lambda log: log + lines(now, UNKNOWN.replace("felix/", f"{component}/"), 15, 2.0))
    (found,) = only(edited.cluster(), "log-error-burst")
    assert found.subject == {"node": node or "unknown", "component": component}


@pytest.mark.parametrize(
    "how",
    [
        {"count": 9},
        {"ended": 400.0},
        {"level": "INFO"},
        {"level": "WARNING"},
        {"count": 40, "every": 0.1, "ended": 200.0},
    ],
    ids=["nine", "ended", "info", "warning", "a storm that ended"],
)
def test_silence_about_what_is_few_over_or_no_error(how: dict[str, float]) -> None:
    assert burst(UNKNOWN, **how) == []  # type: ignore[arg-type]


def test_a_slow_error_goes_on_between_two_of_its_lines() -> None:
    assert len(burst(UNKNOWN, count=12, every=300.0, ended=250.0)) == 1


HARMLESS = {
    "confd-log": [
        'confd/resource.go 306: Error from checkcmd "bird6 -p -c /etc/calico/confd/config/.bird6.cfg123": '
        '"/bin/sh: 1: bird6: not found\\n"',
        "confd/run.go 108: Template processing error error=Config check failed: exit status 127",
        "confd/status_file_watcher.go 90: Error adding directory to fsnotify. error=no such file or directory",
    ],
    "felix-log": [
        "felix/table.go 500: Failed to update thing error=update conflict: IPAMBlock(10-0-0-0-26)",
    ],
}


@pytest.mark.parametrize(("id_", "text"), [(i, t) for i, texts in HARMLESS.items() for t in texts])
def test_silence_about_what_is_known_to_be_harmless(id_: str, text: str) -> None:
    assert burst(text, count=50, id_=id_) == []


NAMED = {
    "datastore-unreachable": (
        "felix/daemon.go 234: Failed to get config from datastore "
        'error=Get "https://10.96.0.1:443/apis/x": dial tcp 10.96.0.1:443: i/o timeout'
    ),
    "typha-down": "felix/daemon.go 581: Failed to connect to Typha. error=failed to connect to Typha after 30 tries",
    "dataplane-program-failing": "felix/table.go 1176: Failed to program iptables, loading diags before panic. error=4",
    "wireguard-down": "felix/wireguard.go 659: error obtaining link client for wireguard error=not supported",
}


@pytest.mark.parametrize(("named", "text"), list(NAMED.items()))
def test_what_another_finding_is_about_is_information(named: str, text: str) -> None:
    (found,) = burst(text)
    assert found.severity == "info"
    assert named in found.cause


def test_an_error_of_another_cause_hangs_under_what_explains_it() -> None:
    """iptables-restore fails on the node: errors of Felix there follow from it, those on others do not."""
    edited = Edited(INCIDENT)
    now = edited.now()
    assert now is not None
    failing = "felix/table.go 1600: Failed to execute ip(6)tables-restore command error=exit status 4"
    for node, text in (("node-1", failing), ("node-1", UNKNOWN), ("node-3", UNKNOWN)):
        level = "WARNING" if text == failing else "ERROR"
        edited.edit("felix-log", node, lambda log, t=text, v=level: log + lines(now, t, 20, 3.0, level=v))  # type: ignore[misc]
    found = only(edited.cluster(), "log-error-burst", "dataplane-program-failing")
    by_node = {f.subject["node"]: f.explained_by for f in found if f.id == "log-error-burst"}
    assert by_node == {"node-1": "dataplane-program-failing", "node-3": ""}


def a_log(text: str, time: datetime | None = NOW) -> Cluster:
    return Cluster(MemorySource({Want("kube-controllers-log"): text.encode()}, time=time))


@pytest.mark.parametrize("time", [NOW, None], ids=["timed", "without the cluster's time"])
def test_where_nothing_tells_the_time_the_log_itself_does(time: datetime | None) -> None:
    text = lines(NOW, "kube-controllers/x.go 1: It broke", 12, 4.0)
    assert a_log(text, time).logs.bursts()["still"].tolist() == [True]
    after = text + line(NOW + timedelta(minutes=5), "INFO", "kube-controllers/y.go 2: All is well")
    assert a_log(after, time and time + timedelta(minutes=5)).logs.bursts()["still"].tolist() == [False]


def test_a_log_that_ended_long_ago_goes_on_no_more() -> None:
    text = lines(NOW - timedelta(hours=1), "kube-controllers/x.go 1: It broke", 12, 4.0)
    assert a_log(text).logs.bursts()["still"].tolist() == [False]


@pytest.mark.parametrize("cut", [lambda t: t[7:], lambda t: "\n" + t, lambda t: t.replace("\n", "\r\n")])
def test_cut_and_foreign_line_ends(cut: Callable[[str], str]) -> None:
    text = cut(lines(NOW, "kube-controllers/x.go 1: It broke", 14, 4.0))
    assert a_log(text).logs.bursts()["count"].iloc[0] >= 13


def test_client_gos_errors_are_read_too() -> None:
    """klog calls the error err and quotes it; without it these lines would be a burst that nothing explains."""
    said = (
        'reflector.go:205] "Failed to watch" err="failed to list *v1.Node: Get \\"https://10.96.0.1:443/x\\": '
        'dial tcp 10.96.0.1:443: connect: connection refused" logger="UnhandledError"'
    )
    begun = line(NOW - timedelta(minutes=2), "INFO", "kube-controllers/run.go 1: Started")
    text = begun + "".join(
        f"E{NOW - timedelta(seconds=s):%m%d %H:%M:%S}.000000 7309 {said}\n" for s in range(60, 0, -3)
    )
    (burst_,) = a_log(text).logs.bursts().to_dict("records")
    assert (burst_["count"], burst_["finding"]) == (20, "datastore-unreachable")

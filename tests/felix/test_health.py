"""Felix, Typha and their way to the API server: what is found of faults that no recording shows, in Calico's words.

The words are those of felix/daemon/daemon.go, libcalico-go/lib/health, libcalico-go/lib/backend/watchersyncer,
typha/pkg/syncclient and node/pkg/health, read @ v3.26.5, v3.28.5, v3.30.7, v3.32.1 and HEAD.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from calicokit import registry
from calicokit.diagnosis.model import EXPLANATIONS, Finding, finding
from calicokit.diagnosis.ranking import rank
from tests import clusters, recordings
from tests.felix.sick import (
    BAD,
    CONFIG,
    EXIT,
    LOOPS,
    REFUSED,
    SILENT,
    START,
    TERM,
    UP,
    Sick,
    list_fails,
    typha_fails,
    watch_fails,
)
from tests.only import only

registry.load()
NODE = "node-3"
MESH, OLD, TYPHA = "healthy-bgp-mesh", "healthy-v3.28", "healthy-vxlan-typha"
LOST = "error=http2: client connection lost"
METADATA = "169.254.169.254/latest/meta-data"
API_TIMEOUT = "dial tcp 172.30.0.1:6443: i/o timeout"
API_REFUSED = "dial tcp 172.30.0.1:6443: connect: connection refused"


def state(sick: Sick, node: str = NODE) -> dict[str, object]:
    table = sick.cluster().felix.state()
    return dict(table[table["node"] == node].iloc[0])


# ---- healthy


@pytest.mark.parametrize("name", recordings.names())
def test_every_felix_of_the_recordings_runs_and_is_in_sync(name: str) -> None:
    cluster = clusters.opened(name)
    table = cluster.felix.state()
    assert set(table["state"]) == {"ready"}
    assert len(table) == 4
    assert not cluster.felix.contact()["lost"].any()
    assert not cluster.felix.resyncs()["again"].any()


@pytest.mark.parametrize("name", [MESH, OLD, TYPHA])
def test_a_cut_log_and_no_answers_are_no_fault(name: str) -> None:
    sick = Sick(name).cut("felix-log", NODE, 20)
    sick.gone |= {("felix-ready", NODE), ("felix-metrics", NODE)}
    assert sick.ids() == []
    assert state(sick)["state"] == "unknown"


# ---- dead


@pytest.mark.parametrize("name", [MESH, OLD, TYPHA])
@pytest.mark.parametrize("last", [[(60, TERM), (59.9, EXIT)], []])
def test_a_felix_that_was_killed_is_dead(name: str, last: list[tuple[float, str]]) -> None:
    sick = Sick(name, later=timedelta(seconds=45)).answering(NODE, 1, REFUSED).said("felix-log", NODE, *last)
    assert sick.ids() == [("felix-dead", "")]
    found = sick.one("felix-dead")
    assert found.subject == {"node": NODE}
    assert {r.id for r in found.evidence} == {"felix-ready", "felix-log"}


def test_the_end_in_the_log_tells_where_nobody_could_ask() -> None:
    sick = Sick(MESH).said("felix-log", NODE, (50, TERM), (49.9, EXIT))
    sick.gone |= {("felix-ready", NODE), ("felix-metrics", NODE)}
    assert sick.ids() == [("felix-dead", "")]


def test_what_its_port_says_now_beats_an_old_log() -> None:
    assert Sick(MESH).said("felix-log", NODE, (50, TERM), (49.9, EXIT)).ids() == []


def test_a_felix_that_hangs_is_dead_once_its_log_is_silent_for_long() -> None:
    sick = Sick(MESH, later=timedelta(seconds=240)).answering(NODE, 1, SILENT)
    assert sick.ids() == [("felix-dead", "")]
    assert "hangs" in sick.one("felix-dead").cause


def test_a_felix_that_ends_at_every_start_is_dead() -> None:
    sick = Sick(MESH).answering(NODE, 1, REFUSED).said("felix-log", NODE, (80, TERM), (79.9, EXIT))
    for i in range(6):
        ago = 70 - 10 * i
        words = "PANIC felix/int_dataplane.go 2870: RPF check is set to 'loose' and IgnoreLooseRPF is false"
        sick.said("felix-log", NODE, (ago, START), (ago - 1, words), pid=100 + i)
    assert sick.ids() == [("felix-crashing", ""), ("felix-dead", "felix-crashing")]
    assert sick.one("felix-crashing").subject["why"] == "configuration"
    assert "RPF check" in sick.one("felix-dead").cause


def test_a_felix_that_wants_to_restart_and_comes_back_is_none() -> None:
    lines = [(60 - i / 10, line) for i, line in enumerate(CONFIG)]
    sick = Sick(MESH).said("felix-log", NODE, *lines).said("felix-log", NODE, (56, START), (55, UP), pid=99)
    assert sick.ids() == []
    runs = sick.cluster().felix.runs()
    mine = runs[runs["node"] == NODE]
    assert mine["restarts"].tolist()[-2:] == [True, False]
    assert mine["ended"].iloc[-2] == "config changed"


@pytest.mark.parametrize("answer", [(1, REFUSED), (1, BAD)])
def test_a_felix_that_restarts_right_now_is_told_as_a_warning(answer: tuple[int, str]) -> None:
    """Its probe says no, and a probe that says no is never silence (issue 16)."""
    lines = [(9 - i / 10, line) for i, line in enumerate(CONFIG)]
    sick = Sick(MESH).answering(NODE, *answer).said("felix-log", NODE, *lines)
    sick.said("felix-log", NODE, (4, START), pid=99)
    found = sick.one("felix-not-ready")
    assert (found.severity, found.subject["why"]) == ("warning", "starting")
    assert sick.ids() == [("felix-not-ready", "")]


@pytest.mark.parametrize("answer", [(1, REFUSED), (1, SILENT), None])
def test_a_felix_that_has_just_ended_is_told_before_it_is_known_to_be_dead(answer: tuple[int, str] | None) -> None:
    sick = Sick(MESH).said("felix-log", NODE, (10, TERM), (9.9, EXIT))
    if answer:
        sick.answering(NODE, *answer)
    else:
        sick.gone |= {("felix-ready", NODE), ("felix-metrics", NODE)}
    found = sick.one("felix-not-ready")
    assert (found.severity, found.subject) == ("warning", {"node": NODE, "why": "just-ended"})
    assert "Received OS signal terminated" in found.cause
    assert sick.ids() == [("felix-not-ready", "")]


def test_a_felix_that_does_not_come_back_from_a_wanted_restart_is_dead() -> None:
    lines = [(60 - i / 10, line) for i, line in enumerate(CONFIG)]
    assert Sick(MESH).answering(NODE, 1, REFUSED).said("felix-log", NODE, *lines).ids() == [("felix-dead", "")]


# ---- not ready


def test_a_felix_that_says_that_it_is_not_ready_tells_which_part() -> None:
    table = (
        "INFO felix/health.go 334: Overall health status changed: live=false ready=false\n"
        "+---------------------------+---------+----------------+---------------------+--------+\n"
        "|         COMPONENT         | TIMEOUT |    LIVENESS    |      READINESS      | DETAIL |\n"
        "+---------------------------+---------+----------------+---------------------+--------+\n"
        "| CalculationGraph          | 30s     | reporting live | reporting ready     |        |\n"
        "| FelixStartup              | -       | reporting live | reporting ready     |        |\n"
        "| InternalDataplaneMainLoop | 1m30s   | timed out      | timed out           |        |\n"
        "+---------------------------+---------+----------------+---------------------+--------+"
    )
    sick = Sick(MESH).answering(NODE, 1, BAD, metrics=True).said("felix-log", NODE, (3, table))
    assert sick.ids() == [("felix-not-ready", "")]
    found = sick.one("felix-not-ready")
    assert found.subject == {"node": NODE, "why": "dataplane-stuck"}
    assert "InternalDataplaneMainLoop is timed out" in found.cause
    parts = sick.cluster().felix.reporters()
    stuck = parts[(parts["node"] == NODE) & (parts["reporter"] == "InternalDataplaneMainLoop")].iloc[0]
    assert (stuck["live"], stuck["ready"]) == (False, False)


@pytest.mark.parametrize("text", [REFUSED, SILENT])
def test_a_port_that_is_cut_off_is_no_dead_felix(text: str) -> None:
    sick = Sick(MESH).answering(NODE, 1, text).said("felix-log", NODE, (100, LOOPS), (20, LOOPS))
    assert sick.ids() == [("felix-not-ready", "")]
    assert sick.one("felix-not-ready").subject["why"] == "port-unreachable"


def test_a_felix_is_not_ready_that_never_came_in_sync() -> None:
    part = 'INFO felix/health.go 203: Health of component changed name="CalculationGraph" newReport="live,non-ready" '
    lines = [(150, START), (149, part + 'oldReport="live,ready"'), (40, LOOPS)]
    sick = Sick(MESH).answering(NODE, 1, BAD, metrics=True).said("felix-log", NODE, *lines)
    assert sick.one("felix-not-ready").subject["why"] == "resyncing"


def test_without_the_health_command_its_metrics_tell() -> None:
    sick = Sick(MESH)
    sick.gone |= {("felix-ready", NODE)}
    sick.edit("felix-metrics", NODE, lambda t: t.replace("felix_resync_state 3", "felix_resync_state 2"))
    sick.edit(
        "felix-metrics",
        NODE,
        lambda t: "\n".join(
            "process_start_time_seconds 1.7e+09" if ln.startswith("process_start_time_seconds ") else ln
            for ln in t.split("\n")
        ),
    )
    assert [i for i, _ in sick.ids()] == ["felix-not-ready"]
    assert "felix_resync_state 2" in sick.one("felix-not-ready").cause


# ---- the API server


@pytest.mark.parametrize(
    "lines",
    [
        [(50 - i, list_fails(API_REFUSED)) for i in range(50)],
        [(70, watch_fails(API_TIMEOUT)), (40, watch_fails(API_TIMEOUT)), (10, watch_fails(API_TIMEOUT))],
        [(60, watch_fails("dial tcp 172.30.0.1:6443: connect: no route to host")), (20, list_fails("EOF"))],
        [
            (
                50,
                'INFO felix/watchercache.go 189: Watch of resource finished. Attempting to restart it... ListRoot="…" '
                "cacheID=2 event=api.WatchEvent{Type:ERROR, Error:http2: client connection lost}",
            ),
            (20, watch_fails(API_TIMEOUT)),
        ],
        [
            (55, "INFO felix/watchercache.go 125: Watch error received from Upstream " + LOST),
            (20, list_fails("net/http: TLS handshake timeout")),
        ],
        [
            (
                a,
                'ERROR felix/daemon.go 234: Failed to get config from datastore error=Get "https://10.96.0.1:443/apis/'
                'crd.projectcalico.org/v1/clusterinformations/default": context deadline exceeded',
            )
            for a in (80, 50, 20)
        ],
    ],
)
@pytest.mark.parametrize("name", [MESH, OLD])
def test_a_node_that_does_not_reach_the_api_server(name: str, lines: list[tuple[float, str]]) -> None:
    sick = Sick(name, later=timedelta(seconds=60)).said("felix-log", NODE, *lines)
    assert sick.ids() == [("datastore-unreachable", "")]
    found = sick.one("datastore-unreachable")
    assert found.subject == {"node": NODE}
    assert "Felix" in found.cause


def test_one_finding_says_what_felix_confd_and_the_plugin_say() -> None:
    lines = [(50, list_fails(API_TIMEOUT)), (20, list_fails(API_TIMEOUT))]
    sick = Sick(MESH, later=timedelta(seconds=60)).said("felix-log", NODE, *lines)
    sick.said("confd-log", NODE, *((a, t.replace("felix/", "confd/")) for a, t in lines))
    found = sick.one("datastore-unreachable")
    assert "Felix and confd" in found.cause
    assert {r.id for r in found.evidence} == {"felix-log", "confd-log"}


@pytest.mark.parametrize(
    "lines",
    [
        [(50 - i / 10, list_fails(API_REFUSED)) for i in range(50)],  # the API server restarted: five seconds
        [(150, list_fails(API_TIMEOUT)), (120, list_fails(API_TIMEOUT)), (90, list_fails(API_TIMEOUT))],  # it is over
        [
            (60, list_fails(API_TIMEOUT)),
            (30, list_fails(API_TIMEOUT)),
            (25, "INFO felix/daemon.go 1453: Datastore now in sync."),
        ],
        [(9, "INFO felix/watchercache.go 189: Watch of resource finished. Attempting to restart it... event=x")],
        [(a, f'WARNING felix/ec2.go 1: Failed error=Get "https://{METADATA}": i/o timeout') for a in (60, 40, 20, 5)],
    ],
)
def test_the_api_server_is_reached_after_all(lines: list[tuple[float, str]]) -> None:
    assert Sick(MESH).said("felix-log", NODE, *lines).ids() == []


def test_a_cut_off_node_explains_its_felix_and_its_old_rules() -> None:
    lines = [(90, START), *((a, list_fails(API_TIMEOUT)) for a in (80, 50, 20))]
    sick = Sick(MESH, later=timedelta(seconds=60)).answering(NODE, 1, BAD).said("felix-log", NODE, *lines)
    assert sick.ids() == [("datastore-unreachable", ""), ("felix-not-ready", "datastore-unreachable")]
    assert sick.one("felix-not-ready").subject["why"] == "datastore-unreachable"


# ---- Typha


def no_typha(
    name: str = TYPHA, ago: float = 100, error: str = "dial tcp 172.30.0.11:5473: connect: connection refused"
) -> Sick:
    """Typha is gone: every Felix ends, and starts again and again."""
    sick = Sick(name, later=timedelta(seconds=ago))
    lost = "ERROR felix/sync_client.go 417: Failed to read from server connection=172.30.0.11:5473 error=EOF"
    down = 'WARNING felix/daemon.go 847: Felix is shutting down reason="Connection to Typha failed"'
    give_up = "FATAL felix/daemon.go 590: Failed to connect to Typha, giving up after timeout error=failed to connect"
    for n in ("node-1", "node-2", "node-3", "node-4"):
        sick.said("felix-log", n, (ago - 1, lost), (ago - 1, down))
        for i in range(int(ago // 34) + 1):
            start = ago - 4 - 34 * i
            tries = [(start - 2 - 5 * k, t) for k in range(6) for t in typha_fails("172.30.0.11:5473", error)]
            so_far = [(at, t) for at, t in [(start, START), *tries, (start - 31, give_up)] if at > 0]
            sick.said("felix-log", n, *so_far, pid=900 + i)
        sick.answering(n, 1, BAD)
    sick.gone |= {("typha-log", None), ("typha-metrics", None)}
    return sick


@pytest.mark.parametrize("ago", [45.0, 100.0, 300.0])
@pytest.mark.parametrize("answer", [BAD, REFUSED])
def test_a_typha_that_is_gone(ago: float, answer: str) -> None:
    sick = no_typha(ago=ago)
    for node in ("node-1", "node-2", "node-3", "node-4"):
        sick.answering(node, 1, answer)
    first, *rest = sick.ids()
    assert first == ("typha-down", "")
    assert {i for i, _ in rest} <= {"felix-not-ready"}
    assert {e for _, e in rest} <= {"typha-down"}
    assert "172.30.0.11:5473" in sick.one("typha-down").cause


def test_one_node_that_does_not_reach_typha_is_not_typhas_fault() -> None:
    sick = Sick(TYPHA, later=timedelta(seconds=90))
    tries = [(80 - i, t) for i in range(0, 78, 6) for t in typha_fails("172.30.0.11:5473", "dial tcp: i/o timeout")]
    sick.said("felix-log", NODE, (82, START), *tries).answering(NODE, 1, BAD)
    assert sick.ids() == [("felix-not-ready", "")]
    assert sick.one("felix-not-ready").subject == {"node": NODE, "why": "typha-unreachable"}


def test_a_typha_that_came_back() -> None:
    sick = Sick(TYPHA, later=timedelta(seconds=60))
    lost = "ERROR felix/sync_client.go 417: Failed to read from server connection=172.30.0.11:5473 error=EOF"
    again = "INFO felix/sync_client.go 466: ServerHello message received connection=172.30.0.11:5473"
    for node in ("node-1", "node-2", "node-3", "node-4"):
        fails = [(50 - i, t) for i in range(0, 30, 5) for t in typha_fails("172.30.0.11:5473", "connection refused")]
        sick.said("felix-log", node, (55, lost), (53, START), *fails, (10, again), (9, UP))
    assert sick.ids() == []


def test_no_pod_of_a_typha_that_is_configured() -> None:
    sick = Sick(TYPHA)
    for node in ("node-1", "node-2", "node-3", "node-4"):
        sick.gone |= {("felix-ready", node), ("felix-metrics", node), ("felix-log", node)}
    sick.gone |= {("typha-log", None), ("typha-metrics", None)}

    def gone(text: str) -> str:
        document = json.loads(text)
        document["items"] = [i for i in document["items"] if "typha" not in i["metadata"]["name"]]
        return json.dumps(document)

    sick.edit("pods", None, gone).objects("deployments", lambda d: d["spec"].update(replicas=0))
    found = sick.one("typha-down")
    assert "but has no pod" in found.cause
    assert "FELIX_TYPHAK8SSERVICENAME=calico-typha" in found.cause


def test_a_typha_that_the_kubelet_calls_unready_for_long() -> None:
    sick = Sick(TYPHA, later=timedelta(minutes=5))
    for node in ("node-1", "node-2", "node-3", "node-4"):
        sick.gone |= {("felix-ready", node), ("felix-metrics", node), ("felix-log", node)}
    sick.gone |= {("typha-log", None), ("typha-metrics", None)}

    def unready(item: dict[str, object]) -> None:
        if "typha" in item["metadata"]["name"]:  # type: ignore[index]
            for condition in item["status"]["conditions"]:  # type: ignore[index]
                condition["status"] = "False"

    assert sick.objects("pods", unready).ids() == [("typha-down", ""), ("calico-pod-not-ready", "typha-down")]


def test_a_typha_that_does_not_reach_the_api_server_is_found_on_its_node() -> None:
    sick = Sick(TYPHA, later=timedelta(seconds=60))
    lines = [(a, list_fails(API_REFUSED).replace("felix/", "typha/")) for a in (60, 40, 20, 5)]
    assert sick.said("typha-log", None, *lines).one("datastore-unreachable").subject == {"node": "node-1"}


@pytest.mark.parametrize(
    ("nodes", "replicas", "found"),
    [
        (100, 1, False),
        (101, 1, True),
        (101, 2, True),
        (101, 3, False),
        (600, 3, False),
        (601, 3, True),
        (900, 0, False),
    ],
)
def test_how_many_typhas_so_many_nodes_ask_for(nodes: int, replicas: int, found: bool) -> None:
    from tests.fakes import cluster_of, node

    deployment = {"metadata": {"name": "calico-typha", "namespace": "kube-system"}, "spec": {"replicas": replicas}}
    cluster = cluster_of(nodes=[node(f"n{i}") for i in range(nodes)], deployments=[deployment])
    assert bool(only(cluster, "typha-too-few")) is found


# ---- resyncing


def rewritten(chain: str, *ago: float) -> list[tuple[float, str]]:
    line = (
        'WARNING felix/table.go 784: Detected out-of-sync inserts, marking for resync actualRuleIDs=[]string{""} '
        f'chainName="{chain}" expectedRuleIDs=[]string{{"x"}} ipVersion=0x4 table="filter"'
    )
    return [(a, line) for a in ago]


@pytest.mark.parametrize(
    ("ago", "found"),
    [
        ((400, 220, 40), True),
        ((200, 180, 160, 140, 120, 100, 80, 60, 40, 20), True),
        ((40, 39.9, 39.8, 39.7), False),
        ((30, 20, 10), False),
        ((220, 40), False),
    ],
)
def test_who_rewrites_what_felix_wrote(ago: tuple[float, ...], found: bool) -> None:
    sick = Sick(MESH, later=timedelta(seconds=600)).said("felix-log", NODE, *rewritten("FORWARD", *ago))
    assert sick.ids() == ([("felix-resyncing", "")] if found else [])


# ---- what explains what


def made(id_: str, cause: str = "", about: tuple[str, ...] = (), **subject: object) -> Finding:
    return finding(id_, subject=subject, cause=cause, remedy="", about=about)


def explained(*findings: Finding) -> dict[str, str]:
    return {f.id: f.explained_by for f in rank(findings)}


def test_a_host_endpoint_that_locks_out_heads_a_silent_felix_and_not_a_killed_one() -> None:
    lockout = made("hostendpoint-lockout", "cuts off the API server and Typha", node=NODE)
    hangs = made("felix-dead", "it hangs", ("silent",), node=NODE)
    killed = made("felix-dead", "nothing listens", node=NODE)
    cut = made("felix-not-ready", node=NODE, why="port-unreachable")
    assert explained(lockout, hangs, cut)["felix-dead"] == "hostendpoint-lockout"
    assert explained(lockout, hangs, cut)["felix-not-ready"] == "hostendpoint-lockout"
    assert explained(lockout, killed)["felix-dead"] == ""
    assert explained(lockout, made("typha-down"))["typha-down"] == "hostendpoint-lockout"


def test_a_dead_felix_heads_what_it_no_longer_does() -> None:
    dead = made("felix-dead", node=NODE)
    slow, stale = made("felix-slow", node=NODE), made("dataplane-stale", node=NODE, policy="shop/p")
    assert explained(dead, slow, stale) == {
        "felix-dead": "",
        "felix-slow": "felix-dead",
        "dataplane-stale": "felix-dead",
    }
    elsewhere = made("felix-slow", node="node-1")
    assert explained(dead, elsewhere)["felix-slow"] == ""


def test_nothing_explains_what_explains_it() -> None:
    pairs = {(e.cause, e.effect) for e in EXPLANATIONS}
    ours = {"felix-dead", "felix-not-ready", "felix-resyncing", "datastore-unreachable", "typha-down", "typha-too-few"}
    assert not [p for p in pairs if set(p) & ours and p[::-1] in pairs]


def test_a_typha_that_hangs() -> None:
    """The kernel still accepts connections, and nobody says hello."""
    sick = Sick(TYPHA, later=timedelta(seconds=100))
    for where in ("node-1", "node-2", "node-3", "node-4"):
        timeout = (
            "ERROR felix/sync_client.go 417: Failed to read from server connection=172.30.0.11:5473 error=i/o timeout"
        )
        down = 'WARNING felix/daemon.go 847: Felix is shutting down reason="Connection to Typha failed"'
        up = "INFO felix/sync_client.go 373: Connected to Typha. address=172.30.0.11:5473"
        sick.said("felix-log", where, (70, timeout), (70, down))
        sick.said("felix-log", where, (66, START), (65, up), (34, timeout), (34, down), pid=800)
        sick.said("felix-log", where, (30, START), (29, up), pid=801).answering(where, 1, BAD)
    sick.gone |= {("typha-metrics", None)}
    assert sick.ids()[0] == ("typha-down", "")
    assert {e for _, e in sick.ids()[1:]} == {"typha-down"}


def test_typhas_service_is_told_with_its_port() -> None:
    cluster = clusters.opened(TYPHA)
    (service,) = cluster.felix.typha()["service"]
    known = cluster.kube.services(where="service=calico-typha")["cluster_ips"].iloc[0]
    assert service == f"{known[0]}:5473"

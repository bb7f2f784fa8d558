"""How calico-node's startup ends, in its words: posted logs, node/pkg/lifecycle/startup, cni-plugin/pkg/install."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from calicokit.evidence.model import Answer, Evidence, Want
from calicokit.health.tables import _without_past
from tests.edited import Edited
from tests.felix.sick import Sick
from tests.felix.test_crashes import REVISION
from tests.health.without import is_calico_node
from tests.only import only

NODE, MESH = "node-3", "healthy-bgp-mesh"
USING = "INFO startup/startup.go 483: Using autodetected IPv4 address on interface br-0d7e10f33f6c: 172.18.0.1/16"
IN_USE = "WARNING startup/startup.go 1210: Calico node 'node-1' is already using the IPv4 address 172.18.0.1."
CONFLICT = "ERROR startup/startup.go 370: Failed to configure IP addresses error=conflicting node detected: IPv4"
BEGIN = "INFO startup/startup.go 187: Early log level set to info"
END = "WARNING startup/utils.go 47: Terminating\nCalico node failed to start"
RETRY = "INFO startup/startup.go 574: Hit error connecting to datastore - retry error=dial tcp 10.96.0.1:443: EOF"
INSTALL = (
    "INFO cni-installer/install.go 134: Running as a Kubernetes pod",
    "FATAL cni-installer/install.go 545: Unable to create token for CNI kubeconfig error=Post "
    '"https://10.96.0.1:443/api/v1/namespaces/kube-system/serviceaccounts/calico-cni-plugin/token": dial tcp '
    "10.96.0.1:443: i/o timeout",
)


def unready(edited: Edited, **status: Any) -> Edited:
    """calico-node's pod of the node is not ready, and its container has begun anew."""

    def change(item: dict[str, Any]) -> None:
        if is_calico_node(item) and item["spec"].get("nodeName") == NODE:
            for condition in item["status"]["conditions"]:
                if condition["type"] in ("Ready", "ContainersReady"):
                    condition["status"] = "False"
            item["status"].update(status)

    edited.objects("pods", change)
    return edited


def startup(*lines: str, ago: float = 20) -> Sick:
    told = [(ago - i / 10, line) for i, line in enumerate((BEGIN, *lines))]
    sick = Sick(MESH).said("startup-log", NODE, *told, pid=4242)
    unready(sick)
    return sick


@pytest.mark.parametrize(
    ("lines", "why", "said"),
    [
        ([USING, IN_USE, CONFLICT, END], "address-in-use", "br-0d7e10f33f6c"),
        (
            [
                "WARNING startup/startup.go 635: Couldn't autodetect an IPv4 address. If auto-detecting, choose a "
                "different autodetection method. Otherwise provide an explicit address.",
                END,
            ],
            "no-interface-matches",
            "IP_AUTODETECTION_METHOD",
        ),
        (
            ["WARNING startup/startup.go 755: Environment does not contain a valid IPv4 address: IP=10.0.0.300", END],
            "address-not-found",
            "IP=10.0.0.300",
        ),
        (
            ["WARNING startup/startup.go 571: Connection to the datastore is unauthorized error=x", END],
            "datastore",
            "x509",
        ),
        (
            ["ERROR startup/startup.go 912: Invalid configuration with NO_DEFAULT_POOLS defined", END],
            "unknown",
            "POOLS",
        ),
    ],
)
def test_startup_says_why_it_ends(lines: list[str], why: str, said: str) -> None:
    (found,) = only(startup(*lines).cluster(), "calico-startup-failed")
    assert (found.severity, found.subject) == ("critical", {"node": NODE, "why": why})
    assert said in found.cause + found.remedy


def test_it_waits_for_the_datastore() -> None:
    (found,) = only(startup(*[RETRY] * 150).cluster(), "calico-startup-failed")
    assert found.subject["why"] == "datastore"
    assert "waits" in found.cause
    assert only(startup(*[RETRY] * 3, ago=2).cluster(), "calico-startup-failed") == []


def test_a_startup_that_went_on_or_a_pod_that_is_ready_tells_nothing() -> None:
    done = "INFO startup/startup.go 242: Using node name: node-3"
    assert only(startup(IN_USE, END, BEGIN, done).cluster(), "calico-startup-failed") == []
    ready = Sick(MESH).said("startup-log", NODE, (20, BEGIN), (19, IN_USE), (18, END), pid=4242)
    assert only(ready.cluster(), "calico-startup-failed") == []


def test_every_healthy_startup_is_done() -> None:
    assert set(Edited(MESH).cluster().health.startups()["state"]) == {"done"}


def test_it_heads_the_pod_that_restarts() -> None:
    sick = startup(USING, IN_USE, CONFLICT, END)
    waits = {"waiting": {"reason": "CrashLoopBackOff"}}
    unready(sick, containerStatuses=[{"name": "calico-node", "state": waits, "restartCount": 5}])
    found = only(sick.cluster(), "calico-startup-failed", "calico-pod-not-ready", "calico-pod-restarting")
    assert [f.id for f in found if not f.depth] == ["calico-startup-failed"]
    assert len(found) > 1


# ---- logs of runs before, and of init containers


@dataclass
class Holding(Sick):
    """An incident that holds more logs than its recording: id and node → text."""

    more: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        for want, answer in super().fetch(wants):
            text = None if want.series else self.more.get((want.id, want.node))
            held = None if text is None else Evidence(want, text.encode(), path=f"nodes/{want.node}/{want.id}.log")
            yield want, held or answer

    def holds(self, id_: str, *lines: str) -> Holding:
        """Such a log as `kubectl logs` gives it, the last line some seconds ago."""
        told = ((self.at(20 - i / 10), *line.partition(" ")) for i, line in enumerate(lines))
        self.more[id_, NODE] = "".join(f"{at} [{level}][1] {rest}\n" for at, level, _, rest in told)
        return self


def test_an_init_container_that_fails_says_why() -> None:
    sick = Holding(MESH).holds("init-log", *INSTALL)
    waits = {"name": "install-cni", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 4}
    unready(sick, initContainerStatuses=[waits])
    cluster = sick.cluster()
    (found,) = only(cluster, "calico-startup-failed")
    assert (found.subject["why"], found.evidence[0].id) == ("datastore", "init-log")
    assert "init container" in found.cause
    lines = cluster.logs.lines()
    assert (lines["component"] == "init").sum() == len(INSTALL)


def test_the_run_before_says_why_its_container_ended() -> None:
    sick = Holding(MESH).holds("startup-previous-log", BEGIN, USING, IN_USE, END)
    sick.gone |= {("startup-log", NODE)}
    unready(sick)
    (found,) = only(sick.cluster(), "calico-startup-failed")
    assert (found.subject["why"], found.evidence[0].id) == ("address-in-use", "startup-previous-log")


def test_felix_of_the_run_before_is_read_for_its_crash() -> None:
    sick = Holding(MESH).holds("felix-previous-log", *REVISION)
    table = sick.cluster().felix.crashes()
    row = table[table["node"] == NODE].iloc[0]
    assert (row["why"], row["log"], row["open"]) == ("ipset-revision", "felix-previous-log", False)


def test_only_what_failed_or_ran_before_has_such_a_log() -> None:
    ids = {"felix-previous-log", "startup-previous-log", "init-log"}

    def missed(edited: Edited) -> set[tuple[str, str | None]]:
        cluster = edited.cluster()
        nodes = cluster.kube.nodes()
        spared = set(_without_past(cluster.health.pods(), nodes))
        return {(i, n) for i in ids for n in nodes["node"]} - spared

    assert missed(Edited(MESH)) == set()
    ended = {"name": "calico-node", "lastState": {"terminated": {"exitCode": 1}}, "restartCount": 1}
    assert missed(unready(Edited(MESH), containerStatuses=[ended])) == {
        ("felix-previous-log", NODE),
        ("startup-previous-log", NODE),
    }
    failed = {"name": "install-cni", "state": {"terminated": {"exitCode": 1}}}
    assert missed(unready(Edited(MESH), initContainerStatuses=[failed])) == {("init-log", NODE)}

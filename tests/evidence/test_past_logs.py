"""Logs of a container's run before and of init containers: from a live cluster, a bundle, a dump, a pasted file."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock, patch

import pytest

from calicokit.evidence.bundles import recognise
from calicokit.evidence.bundles.bundle import Contents
from calicokit.evidence.bundles.layouts import _add_pod_file
from calicokit.evidence.catalog import row_of
from calicokit.evidence.live.cluster import LiveCluster, _Node, _pod
from calicokit.evidence.model import Evidence, Missing, Want
from tests.fakes import own

FELIX = b"2026-01-02 03:04:05.678 [PANIC][9] felix/ipsets.go 379: Failed to update IP sets after multiple retries.\n"
STARTUP = b"2026-01-02 03:04:01.000 [WARNING][7] startup/utils.go 47: Terminating\n"
INSTALL = b"2026-01-02 03:04:01.000 [FATAL][1] cni-installer/install.go 545: Unable to create token\n"


def node_pod(**status: Any) -> dict[str, Any]:
    meta = {"name": "calico-node-x", "namespace": "kube-system", **own()}
    spec = {"nodeName": "n1", "hostNetwork": True, "containers": [{"name": "calico-node"}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running", **status}}


class Live(LiveCluster):
    """A live cluster with one pod, whose API server answers with one text and keeps what it was asked."""

    def __init__(self, pod: dict[str, Any], text: bytes) -> None:
        with patch("calicokit.evidence.live.cluster.Server"):
            super().__init__()
        self.server: Any = MagicMock(time=None)
        self.server.get.return_value = text
        self._one = _pod(pod)

    @property
    def _pods(self) -> list[Any]:
        return [self._one]

    def ask(self, *ids: str) -> list[Any]:
        node = _Node("n1", [Want(i, "n1") for i in ids])
        return [answer for _, answer in self._of_node(node, MagicMock())]


def test_live_the_run_before_is_asked_once_and_told_apart() -> None:
    ended = {"name": "calico-node", "lastState": {"terminated": {"exitCode": 1}}}
    live = Live(node_pod(containerStatuses=[ended]), STARTUP + FELIX)
    felix, startup, init = live.ask("felix-previous-log", "startup-previous-log", "init-log")
    assert (felix.text, startup.text) == (FELIX, STARTUP)
    assert felix.path == "nodes/n1/felix-previous.log"
    assert isinstance(init, Missing)
    (call,) = live.server.get.call_args_list
    assert ("previous", "true") in call.args[1]


def test_live_an_init_container_that_fails_is_asked_though_the_pod_does_not_run() -> None:
    failed = {"name": "install-cni", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3}
    live = Live(node_pod(phase="Pending", initContainerStatuses=[failed]), INSTALL)
    init, felix = live.ask("init-log", "felix-previous-log")
    assert isinstance(init, Evidence)
    assert init.text == INSTALL
    assert isinstance(felix, Missing)
    (call,) = live.server.get.call_args_list
    assert ("container", "install-cni") in call.args[1]


def test_live_a_healthy_pod_is_not_asked() -> None:
    done = {"name": "install-cni", "state": {"terminated": {"exitCode": 0}}}
    live = Live(node_pod(initContainerStatuses=[done], containerStatuses=[{"name": "calico-node"}]), b"")
    assert all(isinstance(a, Missing) for a in live.ask("felix-previous-log", "startup-previous-log", "init-log"))
    assert not live.server.get.called


@pytest.mark.parametrize(
    ("file", "text", "wants"),
    [
        ("calico-node-x.calico-node.previous.log", STARTUP + FELIX, {"felix-previous-log", "startup-previous-log"}),
        ("calico-node-x.install-cni.previous.log", INSTALL, {"init-log"}),
        ("calico-node-x.log", STARTUP + FELIX, {"felix-log", "startup-log"}),
    ],
)
def test_a_bundle_holds_the_runs_before_beside_the_others(file: str, text: bytes, wants: set[str]) -> None:
    contents, files = Contents("a bundle", lambda want, item: ""), MagicMock()
    files.read.return_value = text
    _add_pod_file(contents, files, f"nodes/n1/kube-system/{file}", "n1", file)
    assert {w.id for w in contents.texts} == wants


def test_pasted_files_are_told_by_name_and_words() -> None:
    def ids(name: str, text: bytes) -> set[str]:
        return {p.id for p in recognise.parts(name, text) if isinstance(p, recognise.Part)}

    assert ids("calico-node-x-previous.log", STARTUP + FELIX) == {"felix-previous-log", "startup-previous-log"}
    assert ids("calico-node-x.log", STARTUP + FELIX) == {"felix-log", "startup-log"}
    assert ids("install.log", INSTALL) == {"init-log"}
    dump = b"==== START logs for container install-cni of pod kube-system/calico-node-x ====\n" + INSTALL
    assert "init-log" in ids("logs.txt", dump)


def test_a_log_of_the_run_that_goes_on_is_no_other() -> None:
    assert [row.id for kind in ("felix-log", "startup-log") if (row := row_of(kind, ""))] == [
        "felix-log",
        "startup-log",
    ]

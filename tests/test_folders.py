"""Folders of a few pasted outputs: what nothing in them tells is not counted as looked for, and nothing raises."""

from __future__ import annotations

from pathlib import Path

import pytest

import calicokit
from calicokit import registry
from tests.diagnosis.test_reach import each_once

POOL = """\
apiVersion: v1
kind: List
items:
- apiVersion: crd.projectcalico.org/v1
  kind: IPPool
  metadata:
    name: lab-pool
  spec:
    cidr: 10.77.0.0/18
    blockSize: 26
    ipipMode: Never
    vxlanMode: Always
    natOutgoing: true
    nodeSelector: all()
"""
CONFIG = """\
+--------------------+-------+
|      PROPERTY      | VALUE |
+--------------------+-------+
| StrictAffinity     | true  |
| AutoAllocateBlocks | true  |
| MaxBlocksPerHost   |     0 |
+--------------------+-------+
"""
QUIET = """\
2026-11-20 09:10:11.120 [INFO][71] felix/summary.go 100: Summarising 9 dataplane reconciliation loops over 1m2.1s
2026-11-20 09:11:13.320 [INFO][71] felix/summary.go 100: Summarising 8 dataplane reconciliation loops over 1m2.2s
"""
NO_TABLE = """\
-A cali-FORWARD -i cali+ -m comment --comment "cali:8ZoYfO5HKXWbB3pk" -j cali-from-wl-dispatch
-A KUBE-SERVICES -d 10.97.3.4/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA
"""
LISTING = "$ iptables-save | grep -v '^[*:]'\n"

FOLDERS = {
    "a pool": {"ippool.yaml": POOL},
    "a pool and how addresses are given": {"ippool.yaml": POOL, "configuration.txt": CONFIG},
    "a quiet log": {"felix.log": QUIET},
    "rules without their table": {"rules.txt": LISTING + NO_TABLE},
}
OF_NODES = ("felix-dead", "felix-not-ready", "conntrack-full", "ip-forward-off", "iptables-backend-mixed", "bird-dead")


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name, text in FOLDERS[request.param].items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_a_folder_does_not_tell_is_not_counted_as_looked_for(folder: Path) -> None:
    found = calicokit.open(folder).check()
    assert found.status == 3
    assert not found.failed
    assert [f.id for f in found if f.severity != "info"] == []
    assert not set(OF_NODES) & set(found.coverage.checked)


def test_every_finding_is_looked_for_or_said_not_to_be(folder: Path) -> None:
    each_once(calicokit.open(folder).check())


def test_output_of_nodes_is_unknown_where_no_node_is_known(tmp_path: Path) -> None:
    (tmp_path / "ippool.yaml").write_text(POOL)
    cluster = calicokit.open(tmp_path)
    assert [m.why for m in cluster.output.felix_log().unknown] == ["no node is known of which it could be asked"]
    assert cluster.felix.runs().unknown


def test_every_table_of_a_folder_is_built(folder: Path) -> None:
    cluster = calicokit.open(folder)
    for name, spec in registry.load().items():
        if not spec.options:
            cluster.table(name)


def test_what_a_grep_left_of_an_output_is_not_the_whole(tmp_path: Path) -> None:
    session = "root@node-1:~# ip route show table all | grep cali\n10.77.1.5 dev cali0123456789a scope link\n"
    (tmp_path / "session.txt").write_text(session + "root@node-1:~# ip rule\n0:\tfrom all lookup local\n")
    cluster = calicokit.open(tmp_path)
    assert len(cluster.output.ip_route_all()) == 1
    (why,) = [m.why for m in cluster.coverage.missing if m.id == "ip-route-all"]
    assert "grep cali" in why

"""Printed tables alone: they say what the lists of the same recording say, as far as they tell, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from calicokit import registry
from calicokit.cluster import Cluster
from calicokit.diagnosis.findings import Findings
from calicokit.evidence.model import SourceError
from calicokit.evidence.sources import source_of
from tests import recordings
from tests.clusters import checked, opened
from tests.evidence import bundles
from tests.examples import first

OF_PRINTS = re.compile(
    r"cluster/(?:kubectl-get-(?:pods|nodes)-wide|calicoctl-ipam-(?:show|check).*|calicoctl-get-.*-wide)\.txt"
    r"|nodes/[^/]+/calicoctl-node-status\.txt"
)
"""What a recording holds of what people paste; the lists of the same objects are left out."""

CAN_SAY = frozenset(
    ("ipam-exhausted", "ipam-duplicate", "ipam-leak", "bgp-as-mismatch", "bgp-session-down", "calico-pod-not-ready")
)
"""What can be told from printed tables."""


def printed(name: str, folder: Path) -> Cluster:
    files = {p: recordings.read(name, p) for p in recordings.paths(name) if OF_PRINTS.fullmatch(p)}
    return Cluster(source_of(str(bundles.written(files, folder))))


def told(findings: Findings) -> set[tuple[str, str]]:
    """What is said of what: the kinds of findings with their subjects, without what each tells in its own way."""
    return {
        (f.id, str({k: v for k, v in f.subject.items() if k not in ("why", "addresses")}))
        for f in findings
        if f.severity != "info" and f.id in CAN_SAY - {"ipam-leak"}
    }


QUICK = ["bgp-as-mismatch", "ipam-leaked"]


@pytest.mark.parametrize("name", first(len(QUICK), dict.fromkeys([*QUICK, *recordings.names()])))
def test_printed_tables_say_what_the_lists_say(name: str, tmp_path: Path) -> None:
    found, listed = printed(name, tmp_path).check(), checked(name)
    assert told(found) == told(listed)
    assert not {f.id for f in found} - {f.id for f in listed} - {"ipam-nearly-exhausted"}
    assert _leaked(found) == _leaked(listed)
    assert all("not from the API's objects" in f.cause and f.as_dict()["printed"] for f in found)
    assert {r.id for f in found for r in f.evidence} <= {w.id for w in found.coverage.seen}
    assert not {f.id for f in found} & set(found.coverage.checked)
    assert found.status == (1 if any(f.severity != "info" for f in found) else 3)


def _leaked(findings: Findings) -> set[str]:
    return {a for f in findings if f.id == "ipam-leak" and f.severity != "info" for a in f.subject["addresses"]}


SAME = {
    "kube.pods": ["namespace", "pod", "node", "addresses", "restarts"],
    "kube.nodes": ["node", "addresses", "calico_addresses", "schedulable"],
    "ipam.pools": ["pool", "cidr", "disabled", "ipip_mode", "vxlan_mode", "nat_outgoing", "bgp_export"],
    "ipam.utilisation": ["pool", "cidr", "allocated", "free", "blocks", "blocks_full", "blocks_unclaimed"],
    "ipam.config": ["strict_affinity", "auto_allocate_blocks", "max_blocks_per_host"],
    "bgp.nodes": ["node", "address", "address6", "network", "own_as", "as_number"],
    "bgp.peers": ["peer", "node", "peer_ip", "address", "as_number"],
    "bgp.sessions": ["node", "family", "peer_address", "up", "bgp_state", "last_error"],
    "health.pods": ["component", "namespace", "pod", "node", "ready", "restarts"],
}
"""What of a table is printed."""


def rows(frame: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    values = frame[columns].astype("object").where(frame[columns].notna(), None)
    return sorted(values.itertuples(index=False, name=None), key=str)


@pytest.mark.parametrize("table", SAME)
def test_what_is_printed_is_what_is_listed(table: str, tmp_path: Path) -> None:
    cluster = printed("bgp-as-mismatch", tmp_path)
    assert rows(cluster.table(table), SAME[table]) == rows(opened("bgp-as-mismatch").table(table), SAME[table])
    rank = cluster.rank(table)
    assert rank is not None
    assert all(w.startswith(("kubectl get ", "calicoctl ")) for w in rank.words)
    assert opened("bgp-as-mismatch").rank(table) is None


def test_columns_that_are_not_printed_are_unknown(tmp_path: Path) -> None:
    pods = printed("bgp-as-mismatch", tmp_path).table("kube.pods")
    for column in ("labels", "annotations", "created", "deleted", "service_account", "container_id"):
        assert pods[column].isna().all()


def test_nothing_takes_a_printed_table_that_does_not_say_so(tmp_path: Path) -> None:
    cluster = printed("policy-drop", tmp_path)
    known = {name for name in registry.load() if name in registry.PRINTED and not cluster.table(name).unknown}
    assert {"kube.pods", "kube.nodes", "ipam.utilisation", "bgp.sessions"} <= known
    for name, spec in registry.TABLES.items():
        if not spec.options and name not in registry.PRINTED and set(spec.needed) & known:
            assert cluster.table(name).unknown, name
    assert all(cluster.given(name) is None for name in known)
    assert cluster.table("policy.policies").unknown


def test_a_file_that_no_check_uses_is_said_where_nothing_else_is_there(tmp_path: Path) -> None:
    text = b"$ calicoctl get globalnetworkpolicies -o wide\nNAME    ORDER   SELECTOR   \nquiet   100     all()      \n"
    with pytest.raises(SourceError, match=r"gnp\.txt: was read as calicoctl-get-gnp-wide.*no check uses it"):
        Cluster(source_of(str(bundles.written({"gnp.txt": text}, tmp_path)))).check()


def _session(*outputs: tuple[str, str]) -> Iterator[str]:
    for command, text in outputs:
        yield f"$ {command}\n{text}"


HEADER = "NAME     READY   STATUS    RESTARTS   AGE   IP          NODE\n"


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        ((("-n a", "p1  1/1  Running  0  9m  10.9.0.1  n1"), ("-n b", "p2  1/1  Running  0  9m  10.9.0.2  n1")), 2),
        ((("-n a", "p1  1/1  Running  0  9m  10.9.0.1  n1"), ("-n a", "p2  1/1  Running  0  9m  10.9.0.1  n2")), 1),
        ((("-n a", "p1  1/1  Running  0  9m  10.9.0.1  n1"), ("", "p2  1/1  Running  0  9m  10.9.0.1  n2")), 1),
    ],
)
def test_lists_of_the_same_pods_are_not_put_together(outputs: Any, names: int, tmp_path: Path) -> None:
    """They may be of different times: a pod that is gone, and who got its address after it."""
    texts = _session(*((f"kubectl get pods {flag} -o wide", f"{HEADER}{row}\n") for flag, row in outputs))
    cluster = Cluster(source_of(str(bundles.written({"x.txt": "".join(texts).encode()}, tmp_path))))
    assert len(cluster.table("kube.pods")) == names
    assert [f for f in cluster.check() if f.id == "ipam-duplicate"] == []


def test_a_printed_pod_tells_the_node_of_the_log_that_is_named_after_it(tmp_path: Path) -> None:
    pods = HEADER.replace("NAME    ", "NAME               ") + (
        "calico-node-x2k9q   1/1     Running   0          9m    10.9.1.4    reed-1\n"
        "calico-node-b7v4s   1/1     Running   0          9m    10.9.1.5    reed-2\n"
    )
    line = b"2026-02-11 10:11:12.131 [INFO][71] felix/int_dataplane.go 765: Finished applying updates to dataplane.\n"
    files = {"pods.txt": pods.encode(), "calico-node-b7v4s.log": line, "some.log": line}
    cluster = Cluster(source_of(str(bundles.written(files, tmp_path))))
    assert sorted(cluster.table("output.felix_log")["node"]) == ["reed-2", "unknown"]


def test_one_printed_pod_is_not_the_only_node(tmp_path: Path) -> None:
    pods = HEADER.replace("NAME    ", "NAME               ")
    pods += "calico-node-x2k9q   1/1     Running   0          9m    10.9.1.4    reed-1\n"
    line = b"2026-02-11 10:11:12.131 [INFO][71] felix/int_dataplane.go 765: Finished applying updates to dataplane.\n"
    cluster = Cluster(source_of(str(bundles.written({"pods.txt": pods.encode(), "some.log": line}, tmp_path))))
    assert list(cluster.table("output.felix_log")["node"]) == ["unknown"]


POOL = b"apiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.9.0.0/16}\n"


def test_a_list_that_is_not_whole_is_told_and_holds_up_no_other_table(tmp_path: Path) -> None:
    pods = b"$ kubectl get pods -n a -o json\n" + recordings.read("healthy-bgp-mesh", "api/v1_pods.json")
    shown = recordings.read("bgp-tcp179-blocked", "nodes/node-3/calicoctl-node-status.txt")
    printed = (HEADER + "p1       1/1     Running   0          9m    10.9.0.1    n1\n").encode()
    files = {"some.txt": pods, "pool.yaml": POOL, "node-status.txt": shown, "pods.txt": printed}
    cluster = Cluster(source_of(str(bundles.written(files, tmp_path))))
    assert "namespace a only" in str(cluster.table("kube.pods").unknown[0])
    assert [f.id for f in cluster.check() if f.severity != "info"] == ["bgp-session-down"]

"""The guide's tables agree with what happened to the clusters, and call nothing fine that was not seen."""

from __future__ import annotations

import pandas as pd
import pytest
from _pytest.mark import ParameterSet

from calicokit.diagnosis.findings import Findings
from calicokit.evidence.model import Coverage
from calicokit.guide import practices
from calicokit.guide.judge import FINE, NOT_NEEDED, UNKNOWN, WRONG, Judge, of_steps
from calicokit.guide.page import CHECKLIST, rows_of
from calicokit.guide.tables import OF_JUDGE
from tests import clusters
from tests.clusters import recording
from tests.edited import Edited


def slow(*values: object) -> ParameterSet:
    return pytest.param(*values, marks=pytest.mark.slow)


def states(incident: str, name: str = "checklist") -> dict[int, str]:
    frame = clusters.of(incident).table(f"guide.{name}")
    return dict(zip(frame.iloc[:, 0].astype(int), frame["state"], strict=True))


@pytest.mark.parametrize(
    ("incident", "step"),
    [
        ("ipam-exhausted", 3),
        *(slow(i, s) for i, s in (("bgp-tcp179-blocked", 4), ("route-conflict", 6), ("policy-drop", 8))),
    ],
)
def test_a_fault_is_wrong_in_its_step(incident: str, step: int) -> None:
    assert states(incident)[step] == WRONG


@pytest.mark.parametrize("incident", ["healthy-bgp-mesh", slow("healthy-vxlan-typha"), slow("healthy-nftables")])
def test_nothing_is_wrong_on_a_healthy_cluster(incident: str) -> None:
    assert WRONG not in states(incident).values()
    assert WRONG not in set(clusters.of(incident).table("guide.rows")["state"])


def test_what_a_cluster_has_not_is_not_needed() -> None:
    vxlan, mesh = states("healthy-vxlan-typha"), states("healthy-bgp-mesh")
    assert (vxlan[4], mesh[4]) == (NOT_NEEDED, FINE)
    rows = clusters.of("healthy-bgp-mesh").table("guide.rows")
    of = rows.groupby("section")["state"].agg(set)
    assert of["felix-and-dataplane/ebpf-dataplane-if-enabled"] == {NOT_NEEDED}
    assert of["performance-and-scaling/typha-for-large-clusters"] == {NOT_NEEDED}


@pytest.mark.parametrize(("missing", "step"), [("ipamblocks", 3), slow("bgpconfigurations", 4), slow("sysctl-net", 10)])
def test_a_step_is_unknown_without_its_evidence(missing: str, step: int) -> None:
    edited = Edited("healthy-bgp-mesh", gone={(missing, n) for n in (None, *recording("healthy-bgp-mesh").nodes())})
    frame = edited.cluster().table("guide.checklist")
    row = frame[frame["step"] == step].iloc[0]
    assert row["state"] == UNKNOWN
    assert row["told"].startswith("not checked: ")


def judge(found: Findings, **tables: pd.DataFrame) -> Judge:
    return Judge(found, **{name: tables.get(name) for name in OF_JUDGE})


def test_nothing_is_fine_that_no_check_answered() -> None:
    silent = Findings([], Coverage(), blocked=of_steps([s for r in rows_of(CHECKLIST) for s in r.steps]))
    for row in rows_of(CHECKLIST):
        ids = [*row.named("finding"), *of_steps(row.steps)]
        assert judge(silent).of_ids(ids, row.needs)[0] == UNKNOWN


@pytest.mark.parametrize(
    ("nodes", "replicas", "state"),
    [(4, 0, NOT_NEEDED), (120, 0, WRONG), (120, 2, WRONG), (120, 3, FINE), (4, 1, FINE), (700, 3, WRONG)],
)
def test_typha_is_judged_by_numbers(nodes: int, replicas: int, state: str) -> None:
    size = pd.DataFrame({"measure": ["nodes", "typhas"], "value": [float(nodes), float(replicas)]})
    numbers = practices.Numbers(judge(Findings([], Coverage())), **dict.fromkeys(practices.OF_NUMBERS) | {"size": size})
    said, told = practices.typha(numbers)
    assert said == state
    assert f"{nodes:,} nodes" in told


@pytest.mark.parametrize(
    ("version", "state"),
    [("v3.28.5", WRONG), (f"v3.{practices.NEWEST}.0", FINE), (f"v3.{practices.NEWEST - 1}.2", FINE), ("v3.99.0", FINE)],
)
def test_versions_are_judged_by_what_calico_supports(version: str, state: str) -> None:
    versions = pd.DataFrame({"version": [version]})
    numbers = practices.Numbers(
        judge(Findings([], Coverage())), **dict.fromkeys(practices.OF_NUMBERS) | {"versions": versions}
    )
    assert practices.version(numbers)[0] == state


def test_no_practice_is_fine_where_nothing_is_known() -> None:
    nothing = practices.Numbers(judge(Findings([], Coverage())), **dict.fromkeys(practices.OF_NUMBERS))
    assert {judged(nothing)[0] for judged in practices.JUDGED} == {UNKNOWN}


def test_practices_of_real_clusters() -> None:
    exhausted, old = states("ipam-exhausted", "practices"), states("healthy-v3.28", "practices")
    assert (exhausted[3], exhausted[7]) == (WRONG, WRONG)
    assert (old[7], old[9]) == (FINE, WRONG)


def test_what_to_run_by_hand_has_real_names() -> None:
    cluster = clusters.of("healthy-bgp-mesh")
    pods = set(cluster.health.pods()["pod"])
    by_hand = pd.concat([cluster.table(f"guide.{n}")["by_hand"] for n in ("checklist", "rows")]).dropna()
    assert len(by_hand) > 50
    in_pods = by_hand.str.findall(r"kubectl exec -n \S+ (\S+)").explode().dropna()
    assert len(in_pods) > 20
    assert set(in_pods) <= pods

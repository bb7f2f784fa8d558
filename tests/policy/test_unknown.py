"""What is not known: an answer is given only where every way to fill it in leads to it."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.cluster import Cluster
from calicokit.evidence.catalog import CATALOG, Api
from calicokit.evidence.live.api import ApiError
from calicokit.evidence.live.cluster import LiveCluster
from calicokit.evidence.model import Evidence, Want
from calicokit.evidence.recordings.recording import Recording
from calicokit.selectors import parse
from tests import clusters, recordings
from tests.edited import Edited
from tests.evidence.test_sources import unpacked
from tests.examples import examples
from tests.policy.made import cluster, explainer, gnp, knp, tier, verdict
from tests.test_selectors import OBJECTS, TREES, written

ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}
FIRST = [gnp("security.x", tier="security", selector="app == 'db'", types=["Ingress"], ingress=[DENY])]
SECURITY = [tier("security", 100), tier("default", 1_000_000)]


@examples(200)
@given(TREES, OBJECTS, st.sets(st.sampled_from(["a", "b", "in"]), max_size=2))
def test_unknown_labels(tree: Any, labels: dict[str, str], unknown: set[str]) -> None:
    """The answer is one that holds for every value that the unknown labels could have (those that matter are tried)."""
    selector = parse(written(tree))
    found = selector.may_match({k: v for k, v in labels.items() if k not in unknown}, lambda k: k in unknown)
    values = [None, "", "a", "b", "ab", "bab", "zzz"]
    answers = set()
    for filling in product(values, repeat=len(unknown)):
        filled = {k: v for k, v in zip(sorted(unknown), filling, strict=True) if v is not None}
        answers.add(selector.matches({**{k: v for k, v in labels.items() if k not in unknown}, **filled}))
    if found is not None:
        assert answers == {found}


@pytest.mark.parametrize("kind", ["globalnetworkpolicies", "networkpolicies"])
def test_unlisted_policies_of_calico_make_all_unknown(kind: str) -> None:
    answer = explainer(**{kind: None}).explain("a/web-1", "a/db-1", 80)
    assert answer.verdict == "unknown"
    assert any(kind in why for why in answer.unknown)


def test_unlisted_kubernetes_policies_change_nothing_that_is_decided_before() -> None:
    found = explainer(kubernetes_networkpolicies=None, tiers=SECURITY, globalnetworkpolicies=FIRST)
    assert verdict(found, "a/web-1", "a/db-1") == "deny"
    assert verdict(found, "b/web-1", "a/db-1") == "deny"
    assert verdict(found, "a/web-1", "a/api-1") == "unknown"
    assert verdict(found, "172.16.0.1", "a/web-1") == "allow"  # no policy is asked


def test_unlisted_staged_policies_and_services_matter_to_nobody_else() -> None:
    found = explainer(stagedglobalnetworkpolicies=None, services=None, endpointslices=None)
    assert verdict(found, "a/web-1", "a/db-1") == "allow"
    assert verdict(found, "a/web-1", "svc/a/x", 80) == "unknown"


def test_unlisted_tiers_matter_where_policies_are_in_tiers_of_users() -> None:
    found = explainer(tiers=None, globalnetworkpolicies=FIRST, kubernetes_networkpolicies=[knp("a/closed")])
    assert verdict(found, "a/web-1", "a/db-1") == "unknown"
    assert verdict(found, "a/web-1", "a/api-1") == "deny"
    open_ = explainer(tiers=None, globalnetworkpolicies=FIRST, kubernetes_networkpolicies=[knp("a/open", ingress=[{}])])
    assert verdict(open_, "a/web-1", "a/db-1") == "unknown"
    assert verdict(open_, "a/web-1", "a/api-1") == "allow"


def test_unlisted_namespaces_hide_their_labels_only() -> None:
    rule = {"action": "Allow", "source": {"namespaceSelector": "env == 'prod'", "selector": "app == 'web'"}}
    policies = [gnp("default.x", selector="app == 'db'", types=["Ingress"], ingress=[rule])]
    found = explainer(namespaces=None, globalnetworkpolicies=policies)
    assert verdict(found, "a/web-1", "a/db-1") == "unknown"
    assert verdict(found, "a/api-1", "a/db-1") == "deny"


def test_unlisted_accounts_and_namespaces_matter_to_nobody_who_does_not_ask_for_their_labels() -> None:
    asking = [gnp("default.x", selector="app == 'db'", types=["Ingress"], ingress=[{"action": "Allow"}])]
    found = cluster(serviceaccounts=None, namespaces=None, globalnetworkpolicies=asking)
    for table in ("applied", "shadowed", "idle_selectors", "reachability", "classes", "staged_effects"):
        assert not found.table(f"policy.{table}").unknown, table
    account = {"action": "Allow", "source": {"serviceAccounts": {"selector": "team == 'x'"}}}
    asking = [gnp("default.x", selector="app == 'db'", types=["Ingress"], ingress=[account])]
    unsure = cluster(serviceaccounts=None, globalnetworkpolicies=asking)
    assert {m.id for m in unsure.policy.applied().unknown} == {"serviceaccounts"}
    assert verdict(unsure.explainer(), "a/web-1", "a/db-1") == "unknown"
    named = {"action": "Allow", "source": {"serviceAccounts": {"names": ["robot"]}}}  # pods tell their account's name
    asking = [gnp("default.x", selector="app == 'db'", types=["Ingress"], ingress=[named])]
    assert not cluster(serviceaccounts=None, globalnetworkpolicies=asking).policy.applied().unknown


def test_kinds_that_few_clusters_have_are_a_condition() -> None:
    tiers = [tier("kube-admin", 1000, "Pass"), tier("default", 1_000_000)]
    found = explainer(clusternetworkpolicies=None, tiers=tiers, kubernetes_networkpolicies=[knp("a/closed")])
    answer = found.explain("a/web-1", "a/db-1", 80)
    assert (answer.verdict, answer.unless) == ("deny", ("KubernetesClusterNetworkPolicy",))
    assert "unless a policy of kind KubernetesClusterNetworkPolicy (not listed) allows it first" in answer.sentence
    assert answer.as_dict()["unless"] == ["KubernetesClusterNetworkPolicy"]
    both = explainer(
        clusternetworkpolicies=None, networkpolicies=None, tiers=tiers
    )  # what every cluster may have is no condition
    assert both.explain("a/web-1", "a/db-1", 80).verdict == "unknown"
    assert "unless" not in explainer().explain("a/web-1", "a/db-1", 80).as_dict()


POLICY = """{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x, namespace: x},
  spec: {podSelector: {}}}"""
POD = "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: x}, spec: {nodeName: node-1}}"


def test_no_condition_where_the_nodes_show_that_no_such_policy_acts(tmp_path: Path) -> None:
    lab = Edited("healthy-vxlan-typha", gone={("clusternetworkpolicies", None), ("adminnetworkpolicies", None)})
    probe = next(p for p in recordings.probes("healthy-vxlan-typha") if p["observed"] == "drop" and "/" in p["dst"])
    ends = probe["src"], probe["dst"], probe["port"], probe["proto"]
    assert (lab.cluster().explain(*ends).verdict, lab.cluster().explain(*ends).unless) == ("deny", ())
    for text, sure in ((POLICY, True), (POD, False)):  # a pod may be one that an unlisted policy waits for
        (tmp_path / "new.yaml").write_text(text)
        assert (lab.cluster().explain(*ends, what_if=tmp_path / "new.yaml").unless == ()) is sure
    lab.gone |= {(i, "node-1") for i in ("iptables-save", "iptables-nft-save", "iptables-legacy-save", "nft-ruleset")}
    assert lab.cluster().explain(*ends).unless


def test_unlisted_network_sets_matter_to_selectors_that_could_mean_one() -> None:
    def asked(selector: str, **more: str) -> str:
        rule = {"action": "Allow", "source": {"selector": selector, **more}}
        policies = [gnp("default.x", selector="app == 'db'", types=["Ingress"], ingress=[rule])]
        return verdict(explainer(globalnetworksets=None, globalnetworkpolicies=policies), "a/web-1", "a/db-1")

    assert asked("feed == 'x'") == "unknown"
    assert asked("app == 'web'") == "allow"
    assert asked("feed == 'x'", namespaceSelector="all()") == "deny"


def test_a_selector_that_cannot_be_read_is_a_doubt_where_it_could_apply() -> None:
    bad = {"metadata": {"name": "bad", "namespace": "b"}, "spec": {"selector": "app = 'x'", "types": ["Ingress"]}}
    found = explainer(networkpolicies=[bad])
    answer = found.explain("a/web-1", "b/web-1", 80)
    assert answer.verdict == "unknown"
    assert "expected ==" in answer.unknown[0]
    assert verdict(found, "a/web-1", "a/db-1") == "allow"
    frame = cluster(networkpolicies=[bad]).policy.policies()
    assert "expected ==" in frame["problem"].iloc[0]
    assert cluster(networkpolicies=[bad]).policy.reachability().unknown


def test_pods_that_were_not_listed() -> None:
    found = explainer(pods=None)
    assert "pods are unknown" in found.explain("a/web-1", "a/db-1", 80).unknown[0]
    assert "pods are unknown" in found.explain("10.0.1.1", "10.0.2.1", 80).unknown[0]
    assert cluster(pods=None).policy.reachability().unknown
    assert cluster(pods=None).policy.endpoints().unknown


def test_unlisted_host_endpoints() -> None:
    found = explainer(hostendpoints=None)
    assert verdict(found, "a/web-1", "a/db-1") == "allow"  # no policy is for forwarded traffic
    assert verdict(found, "172.16.0.1", "172.16.0.2") == "unknown"
    forward = [gnp("default.f", selector="x == 'y'", applyOnForward=True, types=["Ingress"], ingress=[DENY])]
    assert verdict(explainer(hostendpoints=None, globalnetworkpolicies=forward), "a/web-1", "a/db-1") == "unknown"


def test_a_kind_that_a_version_does_not_have_is_empty() -> None:
    old = clusters.fresh("healthy-v3.28")
    assert old.policy.tiers()["tier"].tolist() == ["default"]
    assert old.coverage.missing == []
    assert not {"tiers", "stagednetworkpolicies"} & old.explainer().parts.missing


def test_without_the_list_of_kinds_what_was_not_listed_is_unknown(tmp_path: Path) -> None:
    recording = unpacked(tmp_path, "healthy-v3.28")
    (recording / "cluster" / "kubectl-api-resources.txt").unlink()
    bare = Cluster(Recording(recording))
    assert {"tiers", "stagednetworkpolicies"} <= bare.explainer().parts.missing
    probes = json.loads((recording / "probes.json").read_text())
    source = next(p for p in probes if p["observed"] == "drop")
    assert bare.explain(source["src"], source["dst"], source["port"], source["proto"]).verdict == "deny"
    assert bare.policy.staged_effects().unknown


@pytest.mark.parametrize(
    ("served", "known"),
    [({"ippools"}, True), ({"ippools", "tiers"}, False), (set(), False)],  # without the group, nothing is said
)
def test_a_live_cluster_without_the_kind(served: set[str], known: bool) -> None:
    live = LiveCluster.__new__(LiveCluster)
    live._discovered = {"crd.projectcalico.org/v1": served, "projectcalico.org/v3": set()}
    live.server, live._all = SimpleNamespace(time=None, list=refuse), None
    how = CATALOG["tiers"].how
    assert isinstance(how, Api)
    assert isinstance(live._listed(Want("tiers"), how), Evidence) is known


def refuse(*_: object) -> None:
    raise ApiError(403, "forbidden")

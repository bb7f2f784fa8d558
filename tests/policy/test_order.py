"""Tiers, order, ties, types, Pass, Log, ends of tiers and profiles: felix/calc and felix/rules/endpoints.go."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policy.made import CALICO, DEFAULT, app, cluster, decided, explainer, gnp, knp, np, tier, verdict

ALLOW, DENY, PASS, LOG = ({"action": a} for a in ("Allow", "Deny", "Pass", "Log"))
SECURITY = [tier("security", 100), tier("default", 1_000_000)]


def test_without_a_policy_the_profile_allows() -> None:
    assert decided(explainer(), "a/web-1", "a/db-1") == ("allow", "ingress", "kns.a", "profile")


def test_a_policy_that_applies_ends_in_deny_for_its_types_only() -> None:
    found = explainer(kubernetes_networkpolicies=[knp("a/closed")])
    assert decided(found, "b/web-1", "a/db-1") == ("deny", "ingress", "default", "end-of-tier")
    assert verdict(found, "a/db-1", "b/web-1") == "allow"


def test_a_tier_before_default_without_pass_hides_kubernetes_policies() -> None:
    policies = [gnp("security.x", tier="security", selector="app == 'db'", types=["Ingress"], ingress=[])]
    open_ = knp("a/open", ingress=[{}])
    found = explainer(tiers=SECURITY, globalnetworkpolicies=policies, kubernetes_networkpolicies=[open_])
    assert decided(found, "a/web-1", "a/db-1") == ("deny", "ingress", "security", "end-of-tier")
    assert verdict(found, "a/db-1", "a/web-1") == "allow"  # the tier does not apply there


@pytest.mark.parametrize(("action", "expected"), [("Deny", "deny"), ("Pass", "allow")])
def test_the_default_action_of_a_tier(action: str, expected: str) -> None:
    policies = [gnp("s.x", tier="s", selector="app == 'db'", types=["Ingress"], ingress=[])]
    found = explainer(tiers=[tier("s", 1, action), tier("default", 1e6)], globalnetworkpolicies=policies)
    assert verdict(found, "a/web-1", "a/db-1") == expected


def test_pass_goes_to_the_next_tier_and_from_the_last_to_the_profile() -> None:
    policies = [
        gnp("security.x", tier="security", selector="all()", types=["Ingress"], ingress=[LOG, PASS, DENY]),
        gnp("default.y", selector="app == 'db'", types=["Ingress"], ingress=[PASS]),
        gnp("default.z", order=1, selector="app == 'api'", types=["Ingress"], ingress=[DENY]),
    ]
    found = explainer(tiers=SECURITY, globalnetworkpolicies=policies)
    assert decided(found, "a/web-1", "a/db-1") == ("allow", "ingress", "kns.a", "profile")
    assert decided(found, "a/web-1", "a/api-1") == ("deny", "ingress", "default.z", 0)
    steps = [s.as_dict() for _, s in found.explain("a/web-1", "a/api-1", 80).steps]
    assert [(s["name"], s["matched"], s["action"], s.get("logged")) for s in steps] == [
        ("kns.a", None, "allow", None),
        ("security.x", 1, "pass", [0]),
        ("default.z", 0, "deny", None),
    ]


def test_no_order_is_last_and_lower_order_first() -> None:
    policies = [
        gnp("a-last", selector="all()", types=["Ingress"], ingress=[DENY]),
        gnp("z-first", order=-5, selector="all()", types=["Ingress"], ingress=[ALLOW]),
    ]
    assert decided(explainer(globalnetworkpolicies=policies), "a/web-1", "a/db-1")[2] == "z-first"


def test_tiers_without_order_come_last_and_tie_by_name() -> None:
    tiers = [tier("b", None), tier("default", 1e6), tier("a", None)]
    policies = [
        gnp(f"{t}.x", tier=t, selector="all()", types=["Ingress"], ingress=[rule])
        for t, rule in (("a", DENY), ("b", ALLOW))
    ]
    assert decided(explainer(tiers=tiers, globalnetworkpolicies=policies), "a/web-1", "a/db-1")[2] == "a.x"


def test_a_tier_without_an_object_is_last_and_denies() -> None:
    policies = [
        gnp("ghost.x", tier="ghost", selector="all()", types=["Ingress"], ingress=[ALLOW]),
        gnp("default.x", selector="app == 'db'", types=["Ingress"], ingress=[PASS]),
    ]
    found = explainer(globalnetworkpolicies=policies)
    assert decided(found, "a/web-1", "a/db-1") == ("allow", "ingress", "ghost.x", 0)
    frame = cluster(globalnetworkpolicies=policies).policy.tiers()
    assert frame[["tier", "exists"]].values.tolist() == [["default", True], ["ghost", False]]


TIES = {
    # Up to v3.31: a/default.m < a/knp.default.a; from v3.32 on: a/a/KubernetesNetworkPolicy < m/a/NetworkPolicy
    "networkpolicies": [np("a/default.m", order=1000, selector="all()", types=["Ingress"], ingress=[DENY])],
    "kubernetes_networkpolicies": [knp("a/a", ingress=[{}])],
}


def image(version: str) -> list[dict[str, Any]]:
    template = {"spec": {"containers": [{"name": "calico-node", "image": f"calico/node:{version}"}]}}
    meta = {"name": "calico-node", "namespace": "kube-system", "labels": {"k8s-app": "calico-node"}}
    return [{"metadata": meta, "spec": {"template": template}}]


def of_version(version: str) -> list[dict[str, Any]]:
    return [{"metadata": {"name": "default"}, "spec": {"calicoVersion": version, "datastoreReady": True}}]


@pytest.mark.parametrize(("version", "expected"), [("v3.28.5", "deny"), ("v3.31.7", "deny"), ("v3.32.0", "allow")])
def test_ties_by_version(version: str, expected: str) -> None:
    found = explainer(**TIES, clusterinformations=of_version(version))
    assert verdict(found, "b/web-1", "a/db-1") == expected


def test_ties_without_a_version_are_unknown_unless_tiers_tell() -> None:
    answer = explainer(**TIES).explain("b/web-1", "a/db-1", 80)
    assert answer.verdict == "unknown"
    assert "version is not known" in answer.unknown[0]
    assert answer.decided_by is None
    tiers = [tier("kube-admin", 1000, "Pass"), tier("default", 1e6)]
    assert verdict(explainer(**TIES, tiers=tiers), "b/web-1", "a/db-1") == "allow"
    tiers = [tier("adminnetworkpolicy", 1000, "Pass"), tier("default", 1e6)]
    assert verdict(explainer(**TIES, tiers=tiers), "b/web-1", "a/db-1") == "deny"


def test_stored_without_types_is_both_and_given_without_types_is_filled_in(tmp_path: Any) -> None:
    found = explainer(networkpolicies=[np("a/x", selector="app == 'web'")])
    assert decided(found, "a/web-1", "a/db-1")[:2] == ("deny", "egress")
    assert verdict(found, "b/web-1", "a/web-1") == "deny"
    file = tmp_path / "x.yaml"
    file.write_text(
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: x, namespace: a}\n"
        "spec: {selector: app == 'web'}\n"
    )
    given = cluster().explainer(file)
    assert verdict(given, "a/web-1", "a/db-1") == "allow"
    assert verdict(given, "b/web-1", "a/web-1") == "deny"


def test_staged_policies_neither_decide_nor_isolate() -> None:
    staged = [gnp("default.s", selector="all()", types=["Ingress", "Egress"], ingress=[DENY], egress=[DENY])]
    found = explainer(stagedglobalnetworkpolicies=staged, stagednetworkpolicies=[np("a/s", ingress=[DENY])])
    assert verdict(found, "a/web-1", "a/db-1") == "allow"
    assert found.explain("a/web-1", "a/db-1", 80).steps[-1][1].kind == "Profile"


@pytest.mark.parametrize(
    ("meta", "group", "shown"),
    [
        ({"name": "default.x"}, CALICO, "default.x"),
        ({"name": "default.x", "annotations": {"projectcalico.org/metadata": "{}"}}, CALICO, "default.x"),
        ({"name": "default.x", "annotations": {"projectcalico.org/metadata": '{"uid":"1"}'}}, CALICO, "x"),
        ({"name": "default.x", "annotations": {"projectcalico.org/metadata": '{"name":"y"}'}}, CALICO, "y"),
        ({"name": "x"}, "projectcalico.org/v3", "x"),
    ],
)
def test_policies_are_named_as_the_api_names_them(meta: dict[str, Any], group: str, shown: str) -> None:
    from calicokit.policy.convert import policy_of

    found = policy_of("globalnetworkpolicies", {"metadata": meta, "spec": {"selector": "all()"}}, group)
    assert (found.name, found.stored) == (shown, "default.x")


def test_finished_and_waiting_pods_are_no_endpoints() -> None:
    pods = [
        *DEFAULT["pods"],
        app("a/done-1", "n1", "10.0.1.9", phase="Succeeded"),
        app("a/new-1", "n1", "10.0.1.9", phase="Pending"),
    ]
    pods[-1]["status"]["podIPs"] = []
    found = explainer(pods=pods)
    assert "has completed" in found.explain("a/done-1", "a/db-1", 80).unknown[0]
    assert "no address yet" in found.explain("a/new-1", "a/db-1", 80).unknown[0]
    assert "its pods are a/web-1" in found.explain("a/web", "a/db-1", 80).unknown[0]

"""Kubernetes' policies as Calico's: libcalico-go/lib/backend/k8s/conversion at HEAD and v3.30.7."""

from __future__ import annotations

from typing import Any

import pytest

from calicokit.policy.convert import policy_of
from calicokit.policy.tables import side_text
from tests.policy.made import decided, explainer, gnp, knp, tier, verdict

WEB = {"podSelector": {"matchLabels": {"app": "web"}}}


def rules(policy: dict[str, Any]) -> list[tuple[Any, ...]]:
    found = policy_of("kubernetes-networkpolicies", policy, "networking.k8s.io/v1")
    assert not found.problem
    return [
        (r.protocol, side_text(r.source), side_text(r.destination), r.origin) for r in (*found.ingress, *found.egress)
    ]


POD = "(projectcalico.org/namespace == 'a') && (projectcalico.org/orchestrator == 'k8s'"


def test_each_protocol_and_peer_is_a_rule_and_ports_are_joined() -> None:
    ports = [{"port": p, "protocol": t} for p, t in ((81, "TCP"), (53, "UDP"), (80, "TCP"), ("http", "TCP"))]
    policy = knp(
        "a/x",
        ingress=[
            {"from": [WEB, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]},
            {},
            {"ports": [*ports, {"port": 82, "endPort": 90}]},
        ],
    )
    assert rules(policy) == [
        ("", f"{POD} && app == 'web')", None, 0),
        ("", "in 10.0.0.0/8; not in 10.1.0.0/16", None, 0),
        ("", None, None, 1),
        ("tcp", None, "ports http, 80-90", 2),
        ("udp", None, "ports 53", 2),
    ]


def test_a_port_without_number_is_every_port() -> None:
    assert rules(knp("a/x", ingress=[{"ports": [{"protocol": "UDP"}, {"protocol": "UDP", "port": 5}]}])) == [
        ("udp", None, None, 0)
    ]


@pytest.mark.parametrize(
    ("peer", "who"),
    [
        (WEB, ["a/web-1"]),
        ({"podSelector": {}}, ["a/web-1", "a/api-1"]),
        ({"namespaceSelector": {}}, ["a/web-1", "a/api-1", "b/web-1"]),
        ({"namespaceSelector": {"matchLabels": {"env": "test"}}}, ["b/web-1"]),
        ({**WEB, "namespaceSelector": {}}, ["a/web-1", "b/web-1"]),
        ({"podSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}, ["a/web-1", "a/api-1"]),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}}, ["a/api-1"]),
        (
            {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "x"]}]}},
            ["a/api-1"],
        ),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "Exists"}]}},
            ["a/web-1", "a/api-1", "b/web-1"],
        ),
        ({"ipBlock": {"cidr": "10.0.1.0/24", "except": ["10.0.1.2/32"]}}, ["a/web-1"]),
    ],
)
def test_peers(peer: dict[str, Any], who: list[str]) -> None:
    found = explainer(
        kubernetes_networkpolicies=[knp("a/x", {"matchLabels": {"app": "db"}}, ingress=[{"from": [peer]}])]
    )
    asked = ["a/web-1", "a/api-1", "b/web-1"]
    assert [s for s in asked if verdict(found, s, "a/db-1") == "allow"] == who


def test_a_rule_that_cannot_be_converted_is_dropped_alone() -> None:
    bad = {"ports": [{"port": 70000}]}
    found = explainer(kubernetes_networkpolicies=[knp("a/x", ingress=[bad, {"from": [WEB]}])])
    assert verdict(found, "a/web-1", "a/db-1") == "allow"
    assert verdict(found, "a/api-1", "a/db-1") == "deny"


TIERS = [tier("kube-admin", 1000, "Pass"), tier("default", 1e6), tier("kube-baseline", 1e7, "Pass")]
OLD_TIERS = [
    tier("adminnetworkpolicy", 1000, "Pass"),
    tier("default", 1e6),
    tier("baselineadminnetworkpolicy", 1e7, "Pass"),
]


def cnp(level: str, action: str, **more: Any) -> dict[str, Any]:
    rule = {"action": action, "from": [{"namespaces": {"matchLabels": {"env": "prod"}}}], **more}
    return gnp("c", tier=level, priority=5, subject={"namespaces": {}}, ingress=[rule])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (cnp("Admin", "Deny"), "deny"),
        (cnp("Admin", "Accept"), "allow"),
        (cnp("Admin", "Pass"), "deny"),  # the namespace's own policy
        (cnp("Baseline", "Accept"), "deny"),  # comes after it
        (cnp("Admin", "Accept", protocols=[{"tcp": {"destinationPort": {"number": 8080}}}]), "allow"),
        (cnp("Admin", "Accept", protocols=[{"tcp": {"destinationPort": {"range": {"start": 80, "end": 90}}}}]), "deny"),
        (cnp("Admin", "Accept", protocols=[{"udp": {}}]), "deny"),
        (cnp("Admin", "Accept", protocols=[{"destinationNamedPort": "http"}]), "allow"),
        (
            {
                **cnp("Admin", "Deny"),
                "spec": {
                    "tier": "Admin",
                    "priority": 1,
                    "subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "api"}}}},
                    "ingress": [],
                },
            },
            "deny",
        ),
    ],
)
def test_cluster_network_policies(policy: dict[str, Any], expected: str) -> None:
    closed = [knp("a/closed")]
    found = explainer(clusternetworkpolicies=[policy], tiers=TIERS, kubernetes_networkpolicies=closed)
    assert verdict(found, "a/web-1", "a/db-1") == expected


def test_baseline_decides_where_nobody_else_has() -> None:
    found = explainer(clusternetworkpolicies=[cnp("Baseline", "Deny")], tiers=TIERS)
    assert decided(found, "a/web-1", "a/db-1") == ("deny", "ingress", "c", 0)
    assert verdict(found, "b/web-1", "a/db-1") == "allow"


def test_admin_policies_of_older_versions() -> None:
    rule = {
        "action": "Allow",
        "from": [{"pods": {"namespaceSelector": {}, **WEB}}],
        "ports": [{"portNumber": {"port": 8080, "protocol": "TCP"}}],
    }
    admin = gnp("a", priority=1, subject={"pods": {"namespaceSelector": {}, "podSelector": {}}}, ingress=[rule])
    deny = {"action": "Deny", "to": [{"networks": ["10.0.2.0/24"]}]}
    baseline = gnp("default", subject={"namespaces": {}}, egress=[deny])
    found = explainer(
        adminnetworkpolicies=[admin],
        baselineadminnetworkpolicies=[baseline],
        tiers=OLD_TIERS,
        kubernetes_networkpolicies=[knp("a/closed")],
    )
    assert decided(found, "a/api-1", "a/db-1")[:3] == ("deny", "egress", "default")
    assert verdict(found, "b/web-1", "a/web-1") == "allow"
    assert verdict(found, "b/web-1", "a/web-1", 8081) == "deny"


def test_a_deny_that_cannot_be_converted_denies_everything() -> None:
    odd = {"action": "Deny", "from": [{"nodes": {}}]}
    found = explainer(
        adminnetworkpolicies=[gnp("a", priority=1, subject={"namespaces": {}}, ingress=[odd])], tiers=OLD_TIERS
    )
    assert verdict(found, "b/web-1", "a/web-1") == "deny"

"""What one rule matches: updateprocessors/rules.go, felix/calc/rule_scanner.go, felix/rules/policy.go."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policy.made import DEFAULT, app, endpoints, explainer, gnp, hep, np, verdict

ALL = {"selector": "all()", "types": ["Ingress"]}


def ingress(rule: dict[str, Any], **lists: Any) -> Any:
    """A cluster whose every endpoint has one ingress rule, which allows."""
    return explainer(globalnetworkpolicies=[gnp("default.x", **ALL, ingress=[{"action": "Allow", **rule}])], **lists)


def source(**entity: Any) -> dict[str, Any]:
    return {"source": entity}


SETS = [{"metadata": {"name": "s", "labels": {"feed": "x"}}, "spec": {"nets": ["10.0.1.1/32", "192.0.2.0/24"]}}]
SPACED = [{"metadata": {"name": "s", "namespace": "a", "labels": {"feed": "y"}}, "spec": {"nets": ["192.0.2.0/24"]}}]

SOURCES = [
    # the rule's source, who is let through of: a/web-1, a/api-1, b/web-1, 192.0.2.7 (outside)
    ({}, "1111"),
    ({"selector": "app == 'web'"}, "1010"),
    ({"selector": "app == 'web'", "namespaceSelector": "env == 'prod'"}, "1000"),
    ({"namespaceSelector": "all()"}, "1110"),
    ({"namespaceSelector": "projectcalico.org/name == 'b'"}, "0010"),
    ({"namespaceSelector": "global()"}, "1001"),  # a network set that is global holds a/web-1's address
    ({"namespaceSelector": "env in {'prod', 'test'}", "selector": "!has(team)"}, "1100"),
    ({"selector": "feed == 'x'"}, "1001"),
    ({"notSelector": "app == 'web'"}, "0101"),
    ({"selector": "app in {'web', 'api'}", "notSelector": "has(team)"}, "1100"),
    ({"nets": ["10.0.1.0/24"]}, "1100"),
    ({"nets": ["10.0.1.0/24", "192.0.2.0/24"], "notNets": ["10.0.1.2/32"]}, "1001"),
    ({"notNets": ["10.0.0.0/16"]}, "0001"),
    ({"nets": ["10.0.1.1/32", "fd00::/8"]}, "1000"),
    ({"nets": ["fd00::/8"]}, "0000"),
    ({"notNets": ["fd00::/8"]}, "0000"),  # a rule with networks of the other version only is not there
    ({"selector": "app == 'web'", "nets": ["10.0.2.0/24"]}, "0010"),
    ({"serviceAccounts": {"names": ["robot"]}}, "0010"),
    ({"serviceAccounts": {"selector": "kind == 'bot'"}}, "0010"),
    ({"serviceAccounts": {"names": ["other"], "selector": "kind == 'bot'"}}, "0000"),
    ({"services": {"name": "svc", "namespace": "a"}}, "0100"),
]


@pytest.mark.parametrize(("entity", "expected"), SOURCES)
def test_sources(entity: dict[str, Any], expected: str) -> None:
    found = ingress(source(**entity), globalnetworksets=SETS, endpointslices=[endpoints("a/svc", ("10.0.1.2", "n1"))])
    got = [verdict(found, src, "a/db-1") for src in ("a/web-1", "a/api-1", "b/web-1", "192.0.2.7")]
    assert "".join("1" if v == "allow" else "0" for v in got) == expected


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        ({"selector": "app == 'web'"}, "100"),  # no namespaceSelector: the policy's own namespace
        ({"selector": "feed == 'x'"}, "000"),  # so global network sets do not match,
        ({"selector": "feed == 'y'"}, "001"),  # those of the namespace do,
        ({"selector": "feed == 'x'", "namespaceSelector": "global()"}, "101"),  # and global() finds the others
        ({"selector": "app == 'web'", "namespaceSelector": "all()"}, "110"),
        ({"notSelector": "app == 'api'"}, "101"),
        ({"nets": ["0.0.0.0/0"]}, "111"),
    ],
)
def test_sources_in_a_policy_of_a_namespace(entity: dict[str, Any], expected: str) -> None:
    rule = {"action": "Allow", "source": entity}
    policies = [np("a/default.x", selector="app == 'db'", types=["Ingress"], ingress=[rule])]
    found = explainer(networkpolicies=policies, globalnetworksets=SETS, networksets=SPACED)
    got = [verdict(found, src, "a/db-1") for src in ("a/web-1", "b/web-1", "192.0.2.7")]
    assert "".join("1" if v == "allow" else "0" for v in got) == expected


PORTS = [
    # protocol, ports of the destination, which of tcp 80, tcp 8080, tcp 9000, udp 8080
    ({"protocol": "TCP"}, {}, "1110"),
    ({"protocol": 17}, {}, "0001"),
    ({"notProtocol": "TCP"}, {}, "0001"),
    ({"protocol": "TCP"}, {"ports": [80, "8000:9000"]}, "1110"),
    ({"protocol": "TCP"}, {"ports": ["http"]}, "0100"),
    ({"protocol": "UDP"}, {"ports": ["http"]}, "0000"),
    ({"protocol": "TCP"}, {"ports": ["http", 9000]}, "0110"),
    ({"protocol": "TCP"}, {"notPorts": [8080, "81:100"]}, "1010"),
    ({"protocol": "TCP"}, {"notPorts": ["http"]}, "1010"),
    ({"protocol": "TCP"}, {"ports": ["http"], "selector": "app == 'web'"}, "0000"),
    ({"protocol": "TCP"}, {"ports": ["http", 80], "selector": "app == 'db'"}, "1100"),
    ({"ipVersion": 4}, {}, "1111"),
    ({"ipVersion": 6}, {}, "0000"),
    ({"protocol": "ICMP"}, {}, "0000"),
]


@pytest.mark.parametrize(("rule", "destination", "expected"), PORTS)
def test_protocols_and_ports(rule: dict[str, Any], destination: dict[str, Any], expected: str) -> None:
    found = ingress({**rule, "destination": destination})
    asked = [(80, "tcp"), (8080, "tcp"), (9000, "tcp"), (8080, "udp")]
    got = [verdict(found, "a/web-1", "a/db-1", port, proto) for port, proto in asked]
    assert "".join("1" if v == "allow" else "0" for v in got) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"protocol": "ICMP"}, "allow"),
        ({"protocol": "ICMP", "icmp": {"type": 8}}, "allow"),
        ({"protocol": "ICMP", "icmp": {"type": 8, "code": 0}}, "allow"),
        ({"protocol": "ICMP", "icmp": {"type": 8, "code": 1}}, "deny"),
        ({"protocol": "ICMP", "icmp": {"type": 3}}, "deny"),
        ({"protocol": "ICMP", "notICMP": {"type": 8}}, "deny"),
        ({"protocol": "ICMPv6"}, "deny"),
        ({"protocol": "TCP"}, "deny"),
        ({}, "allow"),
    ],
)
def test_a_ping(rule: dict[str, Any], expected: str) -> None:
    assert verdict(ingress(rule), "a/web-1", "a/db-1", None, "icmp") == expected


def test_ipv6() -> None:
    pods = [app("a/web-1", "n1", "10.0.1.1,fd00::1"), app("a/db-1", "n2", "10.0.2.1,fd00::2")]
    found = ingress(
        {"protocol": "ICMPv6", "icmp": {"type": 128}, **source(nets=["fd00::/64", "10.9.0.0/16"])}, pods=pods
    )
    assert verdict(found, "a/web-1", "fd00::2", None, "icmp") == "allow"
    assert verdict(found, "a/web-1", "10.0.2.1", None, "icmp") == "deny"
    assert verdict(ingress(source(nets=["10.0.0.0/8"]), pods=pods), "fd00::1", "a/db-1", 80) == "deny"
    assert verdict(ingress(source(selector="app == 'web'"), pods=pods), "fd00::1", "a/db-1", 80) == "allow"


def test_source_ports_are_not_known() -> None:
    answer = ingress({"protocol": "TCP", **source(ports=[1024])}).explain("a/web-1", "a/db-1", 80)
    assert (answer.verdict, "source port" in answer.unknown[0]) == ("unknown", True)


def test_services_of_egress_match_backends_with_their_ports() -> None:
    rule = {"action": "Allow", "destination": {"services": {"name": "svc"}}}
    policies = [np("a/default.x", selector="app == 'web'", types=["Egress"], egress=[rule])]
    found = explainer(networkpolicies=policies, endpointslices=[endpoints("a/svc", ("10.0.2.1", "n2"))])
    assert verdict(found, "a/web-1", "a/db-1", 8080) == "allow"
    assert verdict(found, "a/web-1", "a/db-1", 8081) == "deny"
    assert verdict(found, "a/web-1", "a/api-1", 8080) == "deny"


def test_which_endpoints_a_policy_applies_to() -> None:
    def closed(**spec: Any) -> list[str]:
        policy = gnp("default.x", types=["Ingress"], **spec)
        found = explainer(globalnetworkpolicies=[policy], hostendpoints=[hep("h", "n2", "172.16.0.2")])
        return [d for d in ("a/web-1", "a/db-1", "b/web-1", "172.16.0.2") if verdict(found, "a/api-1", d) == "deny"]

    pods = ["a/web-1", "a/db-1", "b/web-1"]
    assert closed(selector="all()") == [*pods, "172.16.0.2"]
    assert closed() == [*pods, "172.16.0.2"]
    assert closed(selector="all()", namespaceSelector="all()") == [*pods, "172.16.0.2"]  # the host has no profile
    assert closed(selector="app == 'web'") == ["a/web-1", "b/web-1", "172.16.0.2"]
    assert closed(selector="app == 'web'", namespaceSelector="env == 'test'") == ["b/web-1", "172.16.0.2"]
    assert closed(serviceAccountSelector="kind == 'bot'") == ["b/web-1", "172.16.0.2"]
    assert closed(selector="all()", preDNAT=True, applyOnForward=True) == ["172.16.0.2"]


def test_labels_cannot_be_forged() -> None:
    pods = [
        *DEFAULT["pods"],
        app("b/evil-1", "n1", "10.0.1.7", {"pcns.env": "prod", "projectcalico.org/namespace": "a"}),
    ]
    found = ingress(source(namespaceSelector="env == 'prod'"), pods=pods)
    assert verdict(found, "b/evil-1", "a/db-1") == "deny"
    assert (
        verdict(ingress(source(selector="projectcalico.org/namespace == 'a'"), pods=pods), "b/evil-1", "a/db-1")
        == "deny"
    )

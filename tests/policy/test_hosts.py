"""Hosts, services, and the source that policy sees: felix/rules/static.go and dispatch.go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.policy.made import (
    DEFAULT,
    app,
    decided,
    endpoints,
    explainer,
    felix,
    gnp,
    hep,
    knp,
    np,
    pod,
    service,
    verdict,
)

ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}
CLOSED = [knp("a/closed"), knp("b/closed")]
N1, N2, OUT = "172.16.0.1", "172.16.0.2", "198.51.100.9"


def from_only(*nets: str) -> list[dict[str, Any]]:
    """Every pod lets in these networks only."""
    rule = {**ALLOW, "source": {"nets": list(nets)}}
    return [gnp("default.x", selector="has(app)", types=["Ingress"], ingress=[rule])]


def test_a_host_reaches_its_own_pods_whatever_policy_says() -> None:
    found = explainer(kubernetes_networkpolicies=CLOSED)
    assert decided(found, N1, "a/web-1") == ("allow", "ingress", None, "no-policy")
    assert verdict(found, N1, "a/db-1") == "deny"


def test_a_pod_reaches_itself_by_its_own_address() -> None:
    found = explainer(kubernetes_networkpolicies=[knp("a/closed", types=["Ingress", "Egress"])])
    assert verdict(found, "a/web-1", "10.0.1.1") == "allow"


@pytest.mark.parametrize(
    ("vxlan", "seen"),
    [("Never", N1), ("Always", "10.0.1.0"), ("CrossSubnet", N1)],  # the nodes share a subnet
)
def test_a_host_is_seen_with_its_address_or_its_tunnels(vxlan: str, seen: str) -> None:
    pool = {"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16", "vxlanMode": vxlan}}
    for net in (N1, "10.0.1.0"):
        found = explainer(ippools=[pool], globalnetworkpolicies=from_only(f"{net}/32"))
        assert verdict(found, N1, "a/db-1") == ("allow" if net == seen else "deny")


@pytest.mark.parametrize(
    ("action", "expected"),
    [("Accept", "allow"), ("ACCEPT", "allow"), ("Drop", "deny"), ("Return", "allow"), (None, "unknown")],
)
def test_a_pod_to_its_own_host(action: str | None, expected: str) -> None:
    configured = [felix(defaultEndpointToHostAction=action)] if action else [felix(defaultEndpointToHostAction=None)]
    # Neither the configuration nor calico-node's environment (which was not seen) sets it.
    found = explainer(felixconfigurations=configured, hostendpoints=[hep("h", "n1", N1)])
    assert verdict(found, "a/web-1", N1) == expected
    assert verdict(found, "a/db-1", N1) == "deny"  # another host: the host endpoint decides


def calico_node(*env: dict[str, str]) -> list[dict[str, Any]]:
    container = {"name": "calico-node", "image": "calico/node:v3.30.0", "env": list(env)}
    meta = {"name": "calico-node", "namespace": "kube-system", "labels": {"k8s-app": "calico-node"}}
    return [{"metadata": meta, "spec": {"template": {"spec": {"containers": [container]}}}}]


def test_failsafes_of_the_environment() -> None:
    def with_ports(text: str) -> Any:
        env = calico_node({"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": text})
        return explainer(hostendpoints=[hep("h", "n1", N1)], daemonsets=env)

    found = with_ports("tcp:198.51.100.0/24:8443, udp:99,77")
    assert [verdict(found, OUT, N1, p) for p in (8443, 77, 22)] == ["allow", "allow", "deny"]
    assert verdict(found, "203.0.113.1", N1, 8443) == "deny"
    assert verdict(found, OUT, N1, 99, "udp") == "allow"
    assert verdict(with_ports("none"), OUT, N1, 22) == "deny"


def test_the_environment_of_a_tenants_daemonset_is_not_calicos() -> None:
    (item,) = calico_node({"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": "none"})
    item["metadata"]["namespace"] = "shop"
    found = explainer(hostendpoints=[hep("h", "n1", N1)], daemonsets=[item])
    assert verdict(found, OUT, N1, 22) == "allow"


def test_vxlan_from_a_pod_is_dropped_before_policy() -> None:
    assert decided(explainer(), "a/web-1", "a/db-1", 4789, "udp")[:2] == ("deny", "egress")
    assert verdict(explainer(), "172.16.0.1", "a/db-1", 4789, "udp") == "allow"
    told = [felix(allowVXLANPacketsFromWorkloads=True)]
    assert verdict(explainer(felixconfigurations=told), "a/web-1", "a/db-1", 4789, "udp") == "allow"
    assert verdict(explainer(felixconfigurations=[felix(vxlanPort=8472)]), "a/web-1", "a/db-1", 8472, "udp") == "deny"


def test_the_environment_wins_and_felix_own_default_is_drop() -> None:
    drop = [felix(defaultEndpointToHostAction="Drop")]
    accept = calico_node({"name": "FELIX_DEFAULTENDPOINTTOHOSTACTION", "value": "ACCEPT"})
    assert verdict(explainer(felixconfigurations=drop, daemonsets=accept), "a/web-1", N1) == "allow"
    bare = explainer(felixconfigurations=[], daemonsets=calico_node())
    assert verdict(bare, "a/web-1", N1) == "deny"
    assert verdict(explainer(felixconfigurations=None, daemonsets=calico_node()), "a/web-1", N1) == "unknown"


def test_egress_comes_before_the_host_action() -> None:
    found = explainer(kubernetes_networkpolicies=[knp("a/mute", types=["Egress"])])
    assert decided(found, "a/web-1", N1)[:2] == ("deny", "egress")


def test_pods_of_the_hosts_network_are_their_node() -> None:
    pods = [*DEFAULT["pods"], pod("a/agent-1", "n1", N1, hostNetwork=True, metadata={"labels": {"app": "web"}})]
    found = explainer(
        pods=pods,
        kubernetes_networkpolicies=[
            knp(
                "a/x",
                {"matchLabels": {"app": "db"}},
                ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
            ),
        ],
    )
    assert verdict(found, "a/agent-1", "a/db-1") == "deny"
    assert verdict(found, "a/web-1", "a/agent-1") == "allow"


def test_nat_outgoing_hides_the_pod_from_hosts() -> None:
    rule = {**ALLOW, "source": {"nets": [f"{N1}/32"]}}
    lists = {
        "hostendpoints": [hep("h", "n2", N2, labels={"host": "y"})],
        "globalnetworkpolicies": [gnp("default.x", selector="host == 'y'", types=["Ingress"], ingress=[rule])],
    }
    assert verdict(explainer(**lists), "a/web-1", N2) == "allow"
    pool = {"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16", "natOutgoing": False}}
    assert verdict(explainer(**lists, ippools=[pool]), "a/web-1", N2) == "deny"
    spared = [felix(natOutgoingExclusions="IPPoolsAndHostIPs")]
    assert verdict(explainer(**lists, felixconfigurations=spared), "a/web-1", N2) == "deny"


# ---- host endpoints


def test_a_host_endpoint_without_policy_is_closed_but_for_failsafes_and_its_profile() -> None:
    found = explainer(hostendpoints=[hep("h", "n1", N1)])
    assert decided(found, OUT, N1, 80) == ("deny", "ingress", None, "profile")
    assert verdict(found, OUT, N1, 22) == "allow"
    assert verdict(found, N1, OUT, 443) == "deny"
    assert verdict(found, N1, OUT, 6443) == "allow"
    assert verdict(found, N1, OUT, 53, "udp") == "allow"
    opened = explainer(hostendpoints=[hep("h", "n1", N1, profiles=["projectcalico-default-allow"])])
    assert verdict(opened, OUT, N1, 80) == "allow"


def test_failsafes_are_configured() -> None:
    ports = [{"protocol": "TCP", "port": 8443, "net": "198.51.100.0/24"}]
    found = explainer(hostendpoints=[hep("h", "n1", N1)], felixconfigurations=[felix(failsafeInboundHostPorts=ports)])
    assert verdict(found, OUT, N1, 22) == "deny"
    assert verdict(found, OUT, N1, 8443) == "allow"
    assert verdict(found, "203.0.113.1", N1, 8443) == "deny"


@pytest.mark.parametrize(("forward", "expected"), [(False, "allow"), (True, "deny")])
def test_forwarded_traffic_needs_apply_on_forward(forward: bool, expected: str) -> None:
    policy = gnp("default.x", selector="host == 'y'", applyOnForward=forward, types=["Ingress"], ingress=[DENY])
    found = explainer(globalnetworkpolicies=[policy], hostendpoints=[hep("h", "n2", N2, labels={"host": "y"})])
    assert verdict(found, "a/web-1", "a/db-1") == expected
    assert verdict(found, OUT, "a/db-1") == expected
    assert verdict(found, OUT, N2, 80) == "deny"
    assert verdict(found, "a/web-1", "a/api-1") == "allow"  # on the other node


def test_forwarded_traffic_that_leaves_meets_egress() -> None:
    policy = gnp("default.x", selector="host == 'y'", applyOnForward=True, types=["Egress"], egress=[DENY])
    found = explainer(globalnetworkpolicies=[policy], hostendpoints=[hep("h", "n1", N1, labels={"host": "y"})])
    assert decided(found, "a/web-1", "a/db-1")[:3] == ("deny", "egress", "default.x")
    assert verdict(found, "a/web-1", "a/api-1") == "deny"  # all interfaces, the pods' too
    named = explainer(
        globalnetworkpolicies=[policy], hostendpoints=[hep("h", "n1", N1, labels={"host": "y"}, interfaceName="eth0")]
    )
    assert verdict(named, "a/web-1", "a/db-1") == "deny"
    assert verdict(named, "a/web-1", "a/api-1") == "allow"


def test_pre_dnat_and_untracked_policy_come_first() -> None:
    def with_flag(flag: str, rules: list[dict[str, Any]], interface: str = "*") -> Any:
        policies = [
            gnp(
                "default.early",
                selector="host == 'y'",
                applyOnForward=True,
                **{flag: True},
                types=["Ingress"],
                ingress=rules,
            ),
            gnp("default.late", order=1, selector="host == 'y'", types=["Ingress"], ingress=[DENY]),
        ]
        hosts = [hep("h", "n1", N1, labels={"host": "y"}, interfaceName=interface)]
        return explainer(globalnetworkpolicies=policies, hostendpoints=hosts)

    only = {**ALLOW, "protocol": "TCP", "destination": {"ports": [80]}}
    found = with_flag("preDNAT", [only])
    assert decided(found, OUT, N1, 80)[2] == "default.early"
    assert decided(found, OUT, N1, 81)[2] == "default.late"  # no end of tier before DNAT
    assert verdict(with_flag("preDNAT", [DENY]), OUT, "a/web-1", 80) == "deny"
    assert verdict(with_flag("doNotTrack", [only], "eth0"), OUT, N1, 80) == "allow"
    assert verdict(with_flag("doNotTrack", [only], "*"), OUT, N1, 80) == "deny"  # not supported there, ignored


def test_an_interface_that_may_be_another_is_unknown_where_it_matters() -> None:
    found = explainer(hostendpoints=[hep("h", "n1", interfaceName="eth9")])
    answer = found.explain(OUT, N1, 80)
    assert (answer.verdict, "interface" in answer.unknown[0]) == ("unknown", True)
    nodes = [*DEFAULT["nodes"]]
    notes = {
        **nodes[0]["metadata"]["annotations"],
        "projectcalico.org/Interfaces": f'[{{"name":"eth0","addresses":["{N1}"]}}]',
    }
    nodes[0] = {**nodes[0], "metadata": {**nodes[0]["metadata"], "annotations": notes}}
    assert verdict(explainer(nodes=nodes, hostendpoints=[hep("h", "n1", interfaceName="eth9")]), OUT, N1, 80) == "allow"
    assert verdict(explainer(nodes=nodes, hostendpoints=[hep("h", "n1", interfaceName="eth0")]), OUT, N1, 80) == "deny"


# ---- services

SVC = {
    "services": [service("a/svc", "10.96.0.9", (80, 8080))],
    "endpointslices": [endpoints("a/svc", ("10.0.1.2", "n1"), ("10.0.2.1", "n2"))],
}


def test_a_service_is_its_backends() -> None:
    policy = knp("a/x", {"matchLabels": {"app": "db"}})
    found = explainer(**SVC, kubernetes_networkpolicies=[policy])
    answer = found.explain("b/web-1", "svc/a/svc", 80)
    assert [(f.dst, f.port, f.action) for f in answer.flows] == [
        ("10.0.1.2", 8080, "allow"),
        ("10.0.2.1", 8080, "deny"),
    ]
    assert answer.verdict == "mixed"
    assert "only in part: 10.0.2.1 is denied, as" in answer.sentence
    neither = replace(answer, flows=(answer.flows[1], replace(answer.flows[1], dst="10.0.2.2"), answer.flows[0]))
    assert "only in part: 10.0.2.1 and 10.0.2.2 are denied, as" in neither.sentence
    assert answer.decided_by is not None
    assert answer.decided_by.rule == "end-of-tier"
    assert found.explain("b/web-1", "10.96.0.9", 80).as_dict()["flows"] == answer.as_dict()["flows"]


def test_no_endpoints_and_those_that_drain() -> None:
    empty = explainer(**{**SVC, "endpointslices": []})
    assert verdict(empty, "b/web-1", "svc/a/svc", 80) == "no-endpoints"
    closed = {**SVC, "endpointslices": [], "kubernetes_networkpolicies": [knp("b/mute", types=["Egress"])]}
    assert verdict(explainer(**closed), "b/web-1", "svc/a/svc", 80) == "deny"
    assert verdict(explainer(**closed), "b/web-1", "10.96.0.9", 80) == "deny"
    bpf = felix(bpfEnabled=True)  # its programs answer before they ask policy
    assert verdict(explainer(**closed, felixconfigurations=[bpf]), "b/web-1", "svc/a/svc", 80) == "no-endpoints"
    slice_ = endpoints("a/svc", ("10.0.1.2", "n1"), ("10.0.2.1", "n2"))
    slice_["endpoints"][0]["conditions"] = {"ready": False, "serving": True, "terminating": True}
    slice_["endpoints"][1]["conditions"] = {"ready": False, "serving": False, "terminating": False}
    found = explainer(**{**SVC, "endpointslices": [slice_]})
    assert [f.dst for f in found.explain("b/web-1", "svc/a/svc", 80).flows] == ["10.0.1.2"]


def test_a_pod_that_reaches_itself_through_its_service_is_seen_with_its_own_address() -> None:
    one = {**SVC, "endpointslices": [endpoints("a/svc", ("10.0.1.2", "n1"))]}
    rule = {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}
    found = explainer(**one, kubernetes_networkpolicies=[knp("a/x", ingress=[rule])])
    assert verdict(found, "a/api-1", "svc/a/svc", 80) == "allow"
    assert verdict(explainer(**one, kubernetes_networkpolicies=[knp("a/x")]), "a/api-1", "svc/a/svc", 80) == "deny"


def node_port(**spec: Any) -> dict[str, Any]:
    made = service("a/svc", "10.96.0.9", (80, 8080), type="NodePort", **spec)
    made["spec"]["ports"][0]["nodePort"] = 30080
    return {**SVC, "services": [made]}


def test_a_node_port_is_masqueraded_on_the_way_to_another_node_only() -> None:
    client = explainer(**node_port(), globalnetworkpolicies=from_only(f"{OUT}/32"))
    flows = client.explain(OUT, N1, 30080).flows
    assert [(f.dst, f.action) for f in flows] == [("10.0.1.2", "allow"), ("10.0.2.1", "deny")]
    nodes = explainer(**node_port(), globalnetworkpolicies=from_only(f"{N1}/32"))
    assert [f.action for f in nodes.explain(OUT, N1, 30080).flows] == ["deny", "allow"]


def test_external_traffic_policy_local_keeps_the_client() -> None:
    lists = node_port(externalTrafficPolicy="Local")
    found = explainer(**lists, globalnetworkpolicies=from_only(f"{OUT}/32"))
    flows = found.explain(OUT, N2, 30080).flows
    assert [(f.dst, f.action) for f in flows] == [("10.0.2.1", "allow")]


def test_an_address_of_the_outside_is_seen_from_a_node_that_is_not_known() -> None:
    made = service("a/svc", "10.96.0.9", (80, 8080), externalIPs=["203.0.113.80"])
    lists = {**SVC, "services": [made]}
    every = explainer(**lists, globalnetworkpolicies=from_only(f"{OUT}/32", "172.16.0.0/24", "10.0.0.0/16"))
    assert verdict(every, OUT, "203.0.113.80", 80) == "allow"
    answer = explainer(**lists, globalnetworkpolicies=from_only(f"{OUT}/32")).explain(OUT, "203.0.113.80", 80)
    assert answer.verdict == "unknown"
    assert "is one of" in answer.unknown[0]


def test_internal_traffic_policy_local_stays_on_the_node() -> None:
    made = service("a/svc", "10.96.0.9", (80, 8080), internalTrafficPolicy="Local")
    found = explainer(**{**SVC, "services": [made]})
    assert [f.dst for f in found.explain("b/web-1", "svc/a/svc", 80).flows] == ["10.0.2.1"]


def test_a_headless_service_is_asked_by_its_endpoints_addresses() -> None:
    made = service("a/svc", "None", (80, 8080))
    found = explainer(**{**SVC, "services": [made]})
    assert [(f.dst, f.port) for f in found.explain("b/web-1", "svc/a/svc", 80).flows] == [
        ("10.0.1.2", 80),
        ("10.0.2.1", 80),
    ]


@pytest.mark.parametrize(
    ("src", "dst", "port", "proto", "why"),
    [
        ("a/web-1", "svc/a/none", 80, "tcp", "no service is named"),
        ("a/web-1", "svc/a/svc", 81, "tcp", "no port 81/tcp"),
        ("a/web-1", "svc/a/svc", 80, "udp", "no port 80/udp"),
        ("a/web-1", "a/db-1", None, "tcp", "needs a port"),
        ("a/web-1", "a/db-1", 0, "tcp", "is not a port"),
        ("a/web-1", "a/db-1", True, "tcp", "is not a port"),
        ("a/web-1", "a/db-1", "x", "tcp", "is not a port"),
        ("a/web-1", "a/db-1", 80, "tpc", "no protocol"),
        ("", "a/db-1", 80, "tcp", "src is not"),
        (None, "a/db-1", 80, "tcp", "src is not"),
        ("a/web-1", "somewhere", 80, "tcp", "neither NS/POD nor an IP"),
        ("10.0.3.3", "a/db-1", 80, "tcp", "is in IP pool pool"),
        (OUT, "198.51.100.10", 80, "tcp", "neither"),
        ("a/web-1", "fd00::1", 80, "tcp", "IP version"),
    ],
)
def test_what_makes_no_sense_is_unknown_with_the_reason(src: Any, dst: Any, port: Any, proto: Any, why: str) -> None:
    answer = explainer(**SVC).explain(src, dst, port, proto)
    assert answer.verdict == "unknown"
    assert why in answer.unknown[0]
    assert answer.as_dict()["decided_by"] is None


def test_an_address_of_two_pods_is_unknown() -> None:
    pods = [*DEFAULT["pods"], app("b/twin-1", "n1", "10.0.1.1")]
    assert "several pods" in explainer(pods=pods).explain("10.0.1.1", "a/db-1", 80).unknown[0]


def test_a_policy_of_a_namespace_is_not_asked_about_hosts() -> None:
    policy = np("a/default.x", selector="all()", types=["Ingress"], ingress=[ALLOW])
    found = explainer(networkpolicies=[policy], hostendpoints=[hep("h", "n1", N1)])
    assert verdict(found, OUT, N1, 80) == "deny"

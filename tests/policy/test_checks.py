"""Findings of policy: what is told, how loud, and silence where nothing is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from calicokit.diagnosis.model import Finding
from calicokit.selectors import is_one_edit
from tests import clusters, recordings
from tests.only import only
from tests.policy.made import DEFAULT, app, cluster, endpoints, felix, gnp, hep, knp, np, service, tier

IDS = {
    "policy-selects-nothing",
    "policy-tier-order",
    "staged-policy-would-drop",
    "dns-egress-denied",
    "hostendpoint-lockout",
}
ALLOW, DENY, PASS = ({"action": a} for a in ("Allow", "Deny", "Pass"))
STAGED = gnp(
    "default.staged",
    selector="app == 'db'",
    order=1,
    types=["Ingress"],
    ingress=[{"action": "Deny", "protocol": "TCP", "destination": {"ports": [8080]}}, ALLOW],
    stagedAction="Set",
)


def found(**lists: Any) -> list[Finding]:
    return only(cluster(**lists), *IDS)


@pytest.mark.parametrize("name", recordings.names())
def test_no_incident_has_a_loud_one(name: str) -> None:
    findings = [f for f in clusters.checked(name) if f.id in IDS]
    assert not [f for f in findings if f.severity != "info"]


def test_silence_without_policies() -> None:
    assert found() == []


# ---- selectors that match nothing

NEAR = [
    ("app == 'dbb'", "dbb → db"),
    ("apps == 'db'", "apps → app"),
    ("app in {'bd', 'x'}", "bd → db"),
    ("has(teem)", "teem → team"),
    ("app == 'web' && team == 'glue'", "glue → blue"),
]


@pytest.mark.parametrize(("selector", "edit"), NEAR)
def test_a_slip_in_a_selector_is_loud(selector: str, edit: str) -> None:
    (told,) = found(globalnetworkpolicies=[gnp("default.x", selector=selector, types=["Ingress"], ingress=[ALLOW])])
    assert (told.id, told.severity, told.subject) == ("policy-selects-nothing", "warning", {"policy": "default.x"})
    assert edit in told.cause


@pytest.mark.parametrize(
    "selector", ["app == 'shop'", "quarantine == 'true'", "has(a.b/c)", "app == 'web' && app == 'db'"]
)
def test_a_selector_of_something_that_is_not_there_is_info(selector: str) -> None:
    (told,) = found(globalnetworkpolicies=[gnp("default.x", selector=selector, types=["Ingress"])])
    assert (told.id, told.severity) == ("policy-selects-nothing", "info")


@pytest.mark.parametrize(
    "selector", ["app == 'dbb' || app == 'db'", "app in {'dbb', 'db'}", "app != 'dbb'", "!has(apps)"]
)
def test_a_dead_branch_is_nothing(selector: str) -> None:
    assert found(globalnetworkpolicies=[gnp("default.x", selector=selector, types=["Ingress"], ingress=[ALLOW])]) == []


def test_selectors_of_rules_and_of_kubernetes_policies() -> None:
    rule = {"from": [{"podSelector": {"matchLabels": {"app": "wbe"}}}]}
    (told,) = found(kubernetes_networkpolicies=[knp("a/x", {"matchLabels": {"app": "db"}}, ingress=[rule])])
    assert (told.severity, told.subject) == ("warning", {"policy": "a/x"})
    assert "ingress rule 0, source" in told.cause
    assert "wbe → web" in told.cause


def test_what_calico_adds_to_a_selector_is_not_edited() -> None:
    spaces = [*DEFAULT["namespaces"], {"metadata": {"name": "c", "labels": {}}}]
    (told,) = found(namespaces=spaces, kubernetes_networkpolicies=[knp("c/x")])
    assert (told.severity, told.subject) == ("info", {"policy": "c/x"})  # no pod in c; one edit away is b


def test_pods_that_wait_and_network_sets_count() -> None:
    waiting = app("a/new-1", "n1", "10.0.1.9", phase="Pending")
    waiting["status"]["podIPs"] = []
    policy = gnp(
        "default.x",
        selector="app == 'new'",
        types=["Ingress"],
        ingress=[{**DENY, "source": {"selector": "feed == 'x'"}}],
    )
    sets = [{"metadata": {"name": "s", "labels": {"feed": "x"}}, "spec": {"nets": []}}]
    assert found(pods=[*DEFAULT["pods"], waiting], globalnetworkpolicies=[policy], globalnetworksets=sets) == []


def test_one_edit() -> None:
    assert is_one_edit("a", "")
    assert is_one_edit("ab", "ba")
    assert not is_one_edit("abc", "cab")
    assert not is_one_edit("true", "false")


# ---- order


def test_a_policy_after_one_that_matches_everything() -> None:
    policies = [
        gnp("default.all", order=1, selector="app == 'db'", types=["Ingress"], ingress=[ALLOW]),
        gnp("default.late", order=2, selector="app == 'db'", types=["Ingress"], ingress=[DENY]),
        gnp("default.wide", order=3, selector="all()", types=["Ingress"], ingress=[DENY]),
        gnp("default.both", order=4, selector="app == 'db'", types=["Ingress", "Egress"], egress=[ALLOW]),
    ]
    (told,) = found(globalnetworkpolicies=policies)
    assert (told.id, told.severity, told.subject) == ("policy-tier-order", "info", {"policy": "default.late"})
    assert "GlobalNetworkPolicy default.all matches everything" in told.cause


def test_a_tier_that_ends_with_deny_hides_the_next() -> None:
    tiers = [tier("first", 1), tier("default", 10)]
    first = gnp("first.x", tier="first", selector="all()", types=["Ingress"], ingress=[{**ALLOW, "protocol": "UDP"}])
    later = gnp("default.y", selector="app == 'db'", types=["Ingress"], ingress=[ALLOW])
    (told,) = found(tiers=tiers, globalnetworkpolicies=[first, later])
    assert (told.id, told.subject) == ("policy-tier-order", {"policy": "default.y"})
    passing = gnp(
        "first.z", tier="first", selector="app == 'db'", types=["Ingress"], ingress=[{**PASS, "protocol": "TCP"}]
    )
    assert found(tiers=tiers, globalnetworkpolicies=[first, later, passing]) == []
    assert found(tiers=[tier("first", 1, "Pass"), tier("default", 10)], globalnetworkpolicies=[first, later]) == []


def test_pass_hides_only_the_rest_of_its_tier() -> None:
    tiers = [tier("first", 1), tier("default", 10)]
    policies = [
        gnp("first.a", tier="first", order=1, selector="all()", types=["Ingress"], ingress=[PASS]),
        gnp("first.b", tier="first", order=2, selector="all()", types=["Ingress"], ingress=[DENY]),
        gnp("default.y", selector="app == 'db'", types=["Ingress"], ingress=[ALLOW]),
    ]
    assert [f.subject["policy"] for f in found(tiers=tiers, globalnetworkpolicies=policies)] == ["first.b"]


# ---- staged


def test_a_staged_policy_that_would_drop() -> None:
    (told,) = found(stagedglobalnetworkpolicies=[STAGED])
    assert (told.id, told.severity, told.subject) == ("staged-policy-would-drop", "info", {"policy": "default.staged"})
    assert "TCP 8080" in told.cause
    denied = [gnp("default.now", order=0, selector="app == 'db'", types=["Ingress"], ingress=[DENY])]
    assert "staged-policy-would-drop" not in {
        f.id for f in found(stagedglobalnetworkpolicies=[STAGED], globalnetworkpolicies=denied)
    }


# ---- DNS

DNS_SERVICE = service("kube-system/kube-dns", "10.96.0.10", (53, 53))
DNS_SERVICE["spec"]["ports"][0]["protocol"] = "UDP"
DNS_SLICE = endpoints("kube-system/kube-dns", ("10.0.2.9", "n2"), ports=((53, 53),))
DNS_SLICE["ports"][0]["protocol"] = "UDP"
DNS = {
    "services": [DNS_SERVICE],
    "endpointslices": [DNS_SLICE],
    "pods": [*DEFAULT["pods"], app("kube-system/coredns-1", "n2", "10.0.2.9", {"k8s-app": "kube-dns"})],
    "namespaces": [*DEFAULT["namespaces"], {"metadata": {"name": "kube-system", "labels": {}}}],
}
TO_DB = {"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]}
TO_DNS = {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]}
WEB = {"matchLabels": {"app": "web"}}


@pytest.mark.parametrize(
    ("egress", "severity"),
    [
        ([TO_DB], "warning"),
        ([{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}], "warning"),
        ([{**TO_DNS, "ports": [{"port": 53}]}], "warning"),  # TCP only
        ([], "info"),
        ([TO_DB, {**TO_DNS, "ports": [{"port": 53, "protocol": "UDP"}]}], ""),
        ([TO_DB, {"ports": [{"port": 53, "protocol": "UDP"}]}], ""),
        ([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}], ""),
        ([{"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}], "info"),  # among themselves
    ],
)
def test_egress_without_dns(egress: list[Any], severity: str) -> None:
    told = found(**DNS, kubernetes_networkpolicies=[knp("a/x", WEB, ["Egress"], egress=egress)])
    assert [(f.id, f.severity, f.subject) for f in told] == (
        [("dns-egress-denied", severity, {"namespace": "a"})] if severity else []
    )


def test_dns_is_not_everybodys() -> None:
    closed = [knp("a/x", WEB, ["Egress"], egress=[TO_DB])]
    own = [*DNS["pods"][1:], app("a/web-1", "n1", "10.0.1.1", dnsPolicy="None")]
    assert found(**{**DNS, "pods": own}, kubernetes_networkpolicies=closed) == []
    cache = [*DNS["pods"], app("kube-system/node-local-dns-1", "n1", "172.16.0.1", hostNetwork=True)]
    assert found(**{**DNS, "pods": cache}, kubernetes_networkpolicies=closed) == []
    assert found(**{**DNS, "services": []}, kubernetes_networkpolicies=closed) == []


# ---- host endpoints

API = {"endpointslices": [endpoints("default/kubernetes", ("172.16.0.1", ""), ports=((443, 6443),))]}
OPEN = {"profiles": ["projectcalico-default-allow"]}


def lockouts(**lists: Any) -> list[tuple[str, str, str]]:
    return [
        (f.subject["node"], f.severity, f.cause) for f in found(**{**API, **lists}) if f.id == "hostendpoint-lockout"
    ]


def test_host_endpoints_with_the_default_profile_lock_nobody_out() -> None:
    assert lockouts(hostendpoints=[hep("h1", "n1", "172.16.0.1", **OPEN), hep("h2", "n2", "172.16.0.2", **OPEN)]) == []


def test_a_bare_host_endpoint_cuts_off_the_kubelet() -> None:
    ((node, severity, cause),) = lockouts(hostendpoints=[hep("h2", "n2", "172.16.0.2")])
    assert (node, severity) == ("n2", "critical")
    assert "cuts off kubelet" in cause  # API server and BGP are failsafe


def test_policy_failsafes_and_tiers_decide() -> None:
    hosts = [hep("h2", "n2", "172.16.0.2", labels={"host": "y"}, **OPEN)]
    deny = [gnp("default.d", selector="host == 'y'", types=["Ingress", "Egress"])]
    bare = felix(failsafeInboundHostPorts=[], failsafeOutboundHostPorts=[])
    ((node, _, cause),) = lockouts(hostendpoints=hosts, globalnetworkpolicies=deny, felixconfigurations=[bare])
    assert node == "n2"
    assert "API server, BGP and kubelet" in cause
    kubelet = gnp(
        "default.a",
        order=1,
        selector="host == 'y'",
        types=["Ingress"],
        ingress=[{**ALLOW, "protocol": "TCP", "destination": {"ports": [10250]}}],
    )
    assert lockouts(hostendpoints=hosts, globalnetworkpolicies=[*deny, kubelet]) == []


def test_the_node_is_the_one_whose_host_endpoint_denies() -> None:
    deny = [gnp("default.d", selector="host == 'y'", types=["Ingress"])]
    bare = felix(failsafeInboundHostPorts=[])
    hosts = [hep("h1", "n1", "172.16.0.1", labels={"host": "y"}, **OPEN), hep("h2", "n2", "172.16.0.2", **OPEN)]
    told = lockouts(hostendpoints=hosts, globalnetworkpolicies=deny, felixconfigurations=[bare])
    assert [node for node, _, _ in told] == ["n1"]


def test_the_rows_and_names_of_findings() -> None:
    policy = np("a/default.x", selector="app == 'dbb'", types=["Ingress"])
    (told,) = found(networkpolicies=[policy])
    assert told.subject == {"policy": "a/default.x"}
    (rows,) = told.evidence
    assert (rows.id, rows.table, rows.keys[0]["policy"]) == ("networkpolicies", "policy.idle_selectors", "default.x")

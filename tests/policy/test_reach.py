"""Reachability by classes is what single questions answer, pair by pair and port by port."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from calicokit.policy.explain import Explainer
from calicokit.policy.reach import Reach
from calicokit.policy.reachability import question, who_reaches
from tests import clusters
from tests.examples import first
from tests.fakes import namespace
from tests.policy.made import app, cluster, endpoints, explainer, gnp, knp, tier
from tests.policy.made import np as policy_of
from tests.policy.test_checks import STAGED


def assert_agrees(found: Explainer, most: int = 12) -> int:
    """Compare every pair of (some) classes at every range of ports; returns how many were compared."""
    reach = Reach(found.world)
    compared = 0
    firsts = reach.classes.first[:most]
    for s, source in enumerate(firsts):
        rows = np.unpackbits(reach.from_class(s), axis=1).astype(bool)
        for t, target in enumerate(firsts):
            if source is target:
                continue
            for p, span in enumerate(reach.classes.ports):
                for port in {span.first, span.last} if span.last else {None}:
                    answer = found.explain(source.ref, target.ref, port, span.protocol)
                    assert (answer.verdict == "allow") == rows[t, p], (answer, span)
                    compared += 1
        assert (np.unpackbits(reach.to_class(s), axis=1)[: len(firsts)].astype(bool)[s] == rows[s]).all()
    return compared


@pytest.mark.parametrize("name", ["healthy-bgp-mesh", "healthy-v3.28", "healthy-datacenter", "policy-drop"])
def test_on_recordings(name: str) -> None:
    assert assert_agrees(clusters.opened(name).explainer()) > 3000


APPS, ENVS, SPACES = ("web", "api", "db", "mq"), ("prod", "test"), ("a", "b", "c")


def an_entity(chance: random.Random, ports: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    draw = chance.random()
    if draw < 0.4:
        found["selector"] = chance.choice(["app == 'web'", "has(x)", "app in {'api', 'db'}", "feed == 'f'"])
    if draw < 0.2:
        found["notSelector"] = "x == '1'"
    if chance.random() < 0.3:
        found["namespaceSelector"] = chance.choice(["env == 'prod'", "all()", "global()"])
    if chance.random() < 0.25:
        found["nets"] = [chance.choice(["10.0.0.0/25", "10.0.0.0/28", "192.0.2.0/24"])]
    if chance.random() < 0.2:
        found["notNets"] = ["10.0.0.4/30"]
    if ports and chance.random() < 0.5:
        found[chance.choice(["ports", "notPorts"])] = chance.sample([80, "8000:9000", "http", 443], 2)
    return found


def a_rule(chance: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {"action": chance.choice(["Allow", "Allow", "Deny", "Pass", "Log"])}
    proto = chance.choice([None, "TCP", "UDP", "ICMP"])
    if proto:
        made["protocol"] = proto
    made["source"] = an_entity(chance, False)
    made["destination"] = an_entity(chance, proto in ("TCP", "UDP"))
    if chance.random() < 0.15:
        made["destination"] = {"services": {"name": "svc", "namespace": "a"}}
    return made


def a_policy(chance: random.Random) -> dict[str, Any]:
    types = chance.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])
    rules = {t.lower(): [a_rule(chance) for _ in range(chance.randrange(3))] for t in types}
    where = chance.choice(["all()", "app == 'web'", "x == '1' || app == 'db'"])
    return {
        "tier": chance.choice(["one", "default", "two"]),
        "order": chance.choice([None, 1, 2]),
        "selector": where,
        "types": types,
        **rules,
    }


def a_pod(chance: random.Random, number: int) -> dict[str, Any]:
    labels = {"x": chance.choice("12")} if chance.random() < 0.5 else {}
    ports = {"http": chance.choice([80, 8080])} if chance.random() < 0.7 else {}
    name, on = f"{chance.choice(SPACES)}/{chance.choice(APPS)}-{number}", chance.choice(["n1", "n2"])
    return app(name, on, f"10.0.0.{number + 1}", labels, ports=ports)


def generated(seed: int) -> Explainer:
    """A small cluster with policies of every kind that knows no doubt, drawn at random."""
    chance = random.Random(seed)
    web = {"podSelector": {"matchLabels": {"app": "web"}}}
    peers: list[Any] = [web, {"namespaceSelector": {"matchLabels": {"env": "prod"}}}]
    kubernetes = [
        knp(
            f"{s}/k{n}",
            {"matchLabels": {"app": chance.choice(APPS)}},
            ingress=[{"from": [chance.choice(peers)], "ports": [{"port": "http"}]}],
        )
        for n, s in enumerate(SPACES)
    ]
    return explainer(
        pods=[a_pod(chance, n) for n in range(14)],
        namespaces=[namespace(s, {"env": chance.choice(ENVS)}) for s in SPACES],
        tiers=[tier("one", 1, chance.choice(["Deny", "Pass"])), tier("default", 10), tier("two", 20, "Pass")],
        globalnetworkpolicies=[gnp(f"g{n}", **a_policy(chance)) for n in range(4)],
        networkpolicies=[policy_of(f"{chance.choice(SPACES)}/n{n}", **a_policy(chance)) for n in range(3)],
        kubernetes_networkpolicies=kubernetes,
        globalnetworksets=[{"metadata": {"name": "f", "labels": {"feed": "f"}}, "spec": {"nets": ["10.0.0.8/30"]}}],
        endpointslices=[endpoints("a/svc", ("10.0.0.1", "n1"), ("10.0.0.2", "n2"))],
        clusterinformations=[{"metadata": {"name": "default"}, "spec": {"calicoVersion": "v3.32.0"}}],
    )


@pytest.mark.parametrize("seed", first(4, range(25)))
def test_on_generated_clusters(seed: int) -> None:
    assert assert_agrees(generated(seed), 14) > 500


def test_pods_that_policy_treats_alike_are_one_class() -> None:
    pods = [app(f"a/web-{n}", "n1", f"10.0.3.{n + 1}", {"pod": str(n)}) for n in range(50)]
    closed = knp(
        "a/x", {"matchLabels": {"app": "db"}}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]
    )
    frame = cluster(pods=[*pods, app("a/db-1", "n2", "10.0.2.1")], kubernetes_networkpolicies=[closed]).policy.classes()
    assert frame[["class", "pods"]].values.tolist() == [["a/web", 50], ["a/db", 1]]


def test_who_reaches_a_pod_and_the_question() -> None:
    found = clusters.opened("policy-drop")
    target = next(e.ref for e in found.explainer().parts.endpoints if e.workload == "shop/payments")
    rows = who_reaches(found, target)
    assert rows[["source", "ports"]].values.tolist() == [["shop/frontend", "TCP 8443"]]
    assert not len(who_reaches(found, "shop/nobody"))
    asked = question(found)
    assert found.explain(*asked).verdict == "deny"
    assert question(found, "a", "b", 1) == ("a", "b", 1)
    assert question(cluster(pods=[])) == ("", "", 0)


def test_what_a_staged_policy_would_change() -> None:
    effects = cluster(stagedglobalnetworkpolicies=[STAGED]).policy.staged_effects()
    assert sorted(set(effects["lost"])) == ["TCP 8080"]
    assert effects["gained"].isna().all()
    assert set(effects["target"]) == {"a/db"}
    opened = {
        "metadata": {"name": "open", "namespace": "a"},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": 80}]}],
            "stagedAction": "Set",
        },
    }
    frame = cluster(
        stagedkubernetesnetworkpolicies=[opened], kubernetes_networkpolicies=[knp("a/closed")]
    ).policy.staged_effects()
    assert set(frame["gained"]) == {"TCP 80"}
    ignored = {**opened, "spec": {**opened["spec"], "stagedAction": "Ignore"}}
    assert not len(cluster(stagedkubernetesnetworkpolicies=[ignored]).policy.staged_effects())

"""Policy of a big cluster: who reaches whom among 10,000 pods under 1,000 policies, and single questions.

The cluster is made: namespaces of ten workloads each, Kubernetes' policies in every namespace (a default deny, DNS,
pairs of workloads with ports and named ports), Calico's in a tier before them, a network set. Run:
``python -m benchmarks.policy [--pods N] [--policies N]``. Times begin with the bytes of the lists; the peak is that of
the measuring process, its interpreter and imports included.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from msgspec import json

from benchmarks.ipam import Generated, api_list
from calicokit.cluster import Cluster

WORKLOADS = ("web", "api", "db", "cache", "queue", "auth", "search", "mail", "jobs", "admin")
LISTS = (
    *("nodes", "services", "endpointslices", "hostendpoints", "felixconfigurations", "daemonsets", "deployments"),
    *("adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies", "networkpolicies"),
    *("stagedglobalnetworkpolicies", "stagednetworkpolicies", "stagedkubernetesnetworkpolicies", "networksets"),
    *("clusterinformations", "configmaps"),
)


def pod(number: int, namespace: str, workload: str) -> dict[str, Any]:
    name = f"{workload}-7d4b9c6f5-{number:05d}"
    owner = {"kind": "ReplicaSet", "name": f"{workload}-7d4b9c6f5", "controller": True}
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    labels = {"app": workload, "pod-template-hash": "7d4b9c6f5", "statefulset.kubernetes.io/pod-name": name}
    ports = [{"name": "http", "containerPort": 8080 + len(workload), "protocol": "TCP"}]
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]},
        "spec": {"nodeName": f"node-{number % 200}", "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def kubernetes(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def policies_of(namespace: str, count: int, chance: random.Random) -> list[dict[str, Any]]:
    isolated = {} if chance.random() < 0.5 else {"matchLabels": {"app": chance.choice(WORKLOADS)}}
    found = [
        kubernetes("default-deny", namespace, podSelector=isolated, policyTypes=["Ingress", "Egress"]),
        kubernetes(
            "dns",
            namespace,
            podSelector=isolated,
            policyTypes=["Egress"],
            egress=[{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}],
        ),
    ]
    for number in range(count - len(found)):
        mine, other = chance.sample(WORKLOADS, 2)
        peer = {"podSelector": {"matchLabels": {"app": other}}}
        if chance.random() < 0.3:
            peer["namespaceSelector"] = {"matchLabels": {"team": f"team-{chance.randrange(10)}"}}
        ports = [{"port": chance.choice(["http", 443, 5432, 6379, 9090, 8000 + number]), "protocol": "TCP"}]
        inward = chance.random() < 0.5
        found.append(
            kubernetes(
                f"pair-{number}",
                namespace,
                podSelector={"matchLabels": {"app": mine}},
                policyTypes=["Ingress" if inward else "Egress"],
                **({"ingress": [{"from": [peer], "ports": ports}]} if inward else {"egress": [{"to": [peer]}]}),
            )
        )
    return found


def generate(pods: int, policies: int) -> dict[str, bytes]:
    """The API lists of a cluster of this size, the same every time."""
    chance = random.Random(8)  # noqa: S311
    spaces = [f"ns-{n}" for n in range(max(1, pods // 100))]
    every = policies // 10
    per_space = (policies - every) // len(spaces)
    calico = [
        {
            "metadata": {"name": f"platform.rule-{n}"},
            "spec": {
                "tier": "platform",
                "order": n,
                "selector": f"app == '{chance.choice(WORKLOADS)}'",
                "namespaceSelector": f"team == 'team-{n % 10}'",
                "types": ["Ingress"],
                "ingress": [
                    {"action": "Deny", "source": {"selector": "feed == 'bad'", "nets": [f"10.{n % 256}.0.0/20"]}},
                    {"action": "Pass"},
                ],
            },
        }
        for n in range(every)
    ]
    tiers = [("platform", 100, "Deny"), ("default", 1_000_000, "Deny")]
    lists: dict[str, list[Any]] = {
        **{k: [] for k in LISTS},
        "pods": [pod(n, spaces[n // 100 % len(spaces)], WORKLOADS[n % 10]) for n in range(pods)],
        "namespaces": [{"metadata": {"name": s, "labels": {"team": f"team-{i % 10}"}}} for i, s in enumerate(spaces)],
        "serviceaccounts": [{"metadata": {"name": "default", "namespace": s}} for s in spaces],
        "tiers": [{"metadata": {"name": n}, "spec": {"order": o, "defaultAction": a}} for n, o, a in tiers],
        "ippools": [{"metadata": {"name": "pool"}, "spec": {"cidr": "10.0.0.0/8"}}],
        "globalnetworkpolicies": calico,
        "globalnetworksets": [
            {"metadata": {"name": "feed", "labels": {"feed": "bad"}}, "spec": {"nets": ["10.0.7.0/24", "192.0.2.0/24"]}}
        ],
        "kubernetes-networkpolicies": [p for s in spaces for p in policies_of(s, per_space, chance)],
    }
    return {k: api_list(v) for k, v in lists.items()}


def measure(pods: int, policies: int) -> None:
    cluster = Cluster(Generated(generate(pods, policies)))
    start = time.perf_counter()
    explainer = cluster.explainer()
    read = time.perf_counter()
    reached = cluster.table("policy.reachability")
    if reached.unknown:
        raise SystemExit(reached._unknown_text())
    done = time.perf_counter()
    classes = cluster.table("policy.classes")
    names = [e.ref for e in explainer.parts.endpoints[:: max(1, pods // 100)]]
    slowest = 0.0
    for source in names[:30]:
        for target in names[:30]:
            began = time.perf_counter()
            explainer.explain(source, target, 8083)
            slowest = max(slowest, time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{pods} pods, {len(explainer.parts.policies)} policies: {len(classes)} classes, {len(reached)} pairs reach")
    print(f"read {read - start:.2f} s, reachability {done - read:.2f} s, peak {peak:.0f} MiB")
    print(f"slowest of {30 * 30} single questions {slowest * 1000:.1f} ms")


def beside(home: str, pods: int, policies: int) -> None:
    """The same map by network-config-analyzer (in ``home``), of Kubernetes' policies only, which both know."""
    lists = {k: json.decode(v)["items"] for k, v in generate(pods, policies).items()}
    lists = {k: v if k != "globalnetworkpolicies" else [] for k, v in lists.items()}
    kinds = (("pods", "Pod", "v1"), ("namespaces", "Namespace", "v1"))
    kinds += (("kubernetes-networkpolicies", "NetworkPolicy", "networking.k8s.io/v1"),)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        for id_, kind, group in kinds:
            text = yaml.safe_dump_all([{**o, "kind": kind, "apiVersion": group} for o in lists[id_]])
            (Path(folder) / f"{id_}.yaml").write_text(text)
        words = ["--connectivity", "kubernetes-networkpolicies.yaml", "-p", "pods.yaml", "-n", "namespaces.yaml"]
        start = time.perf_counter()
        command = [sys.executable, "-m", "nca.nca_cli", *words]
        subprocess.run(command, cwd=folder, env={"PYTHONPATH": home}, check=True, capture_output=True)  # noqa: S603
        theirs = time.perf_counter() - start
    start = time.perf_counter()
    Cluster(Generated({k: api_list(v) for k, v in lists.items()})).table("policy.reachability")
    print(f"{pods} pods, {len(lists['kubernetes-networkpolicies'])} Kubernetes policies: ", end="")
    print(f"network-config-analyzer {theirs:.1f} s, calicokit {time.perf_counter() - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--policies", type=int, default=1_000)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--nca", metavar="DIR", help="where network-config-analyzer is installed: measure both")
    asked = parser.parse_args()
    if asked.nca:
        beside(asked.nca, asked.pods, asked.policies)
        return
    if asked.here:
        measure(asked.pods, asked.policies)
        return
    words = ["-m", "benchmarks.policy", "--here", f"--pods={asked.pods}", f"--policies={asked.policies}"]
    subprocess.run([sys.executable, *words], check=True)  # noqa: S603


if __name__ == "__main__":
    main()

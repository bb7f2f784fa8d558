"""A live cluster: lists beside the typed client on the same bytes, and a capture of many nodes.

Run ``python benchmarks/live.py [--pods N] [--nodes N]``; 1,000 pods and 50 nodes for a quick look. Needs etcd and Go,
as the end-to-end tests do: a real API server, with stand-ins for kubelets that replay a recording. All share this
machine's cores, so beside the time stands whose processor time it was.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from calicokit.evidence.live.api import Server
from calicokit.evidence.model import Evidence, Want
from calicokit.evidence.objects import decode_list
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from tests.e2e.lab import TestCluster, stored

INCIDENT = "healthy-bgp-mesh"
Object = dict[str, Any]


def median(action: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def many_pods(cluster: TestCluster, count: int) -> None:
    model = next(p for p in cluster.call("GET", "/api/v1/pods")["items"] if "k8s-app" not in p["metadata"]["labels"])
    meta = model["metadata"]
    pods = [{**model, "metadata": {**meta, "name": f"p{i}", "namespace": "many", "uid": f"p{i}"}} for i in range(count)]
    cluster.put(stored("v1", "pods", {"kind": "PodList", "items": pods}))


def lists(cluster: TestCluster, count: int) -> None:
    from kubernetes import client

    many_pods(cluster, count)
    server = Server("e2e", str(cluster.kubeconfig))
    text = server.get("/api/v1/pods")
    typed = client.ApiClient()

    def with_types() -> None:
        try:
            typed.deserialize(SimpleNamespace(data=text.decode()), "V1PodList")
        except TypeError:  # clients since 36 are given the text and its type
            typed.deserialize(text.decode(), "V1PodList", "application/json")

    def ours() -> None:
        for _ in decode_list(Evidence(Want("pods"), text)).rows(lambda item: item["metadata"]["name"]):
            pass

    theirs, mine = median(with_types, 3), median(ours, 5)
    print(f"{count} pods, {len(text) / 1e6:.1f} MB of JSON, from bytes to objects")
    print(f"  {'calicokit':13}{mine:8.2f} s")
    print(f"  {'typed client':13}{theirs:8.2f} s   calicokit is {theirs / mine:.1f}x as fast")
    wire = median(lambda: server.list("/api/v1/pods"), 3)
    print(f"  over the wire, in pages of 500, without managedFields: {wire:.2f} s")
    cluster.delete("/registry/pods/many/")


def many_nodes(cluster: TestCluster, count: int) -> None:
    """Clones of the recorded nodes, each with its calico-node pod and all answers."""
    nodes = cluster.call("GET", "/api/v1/nodes")["items"]
    pods = cluster.call("GET", "/api/v1/pods?labelSelector=k8s-app%3Dcalico-node")["items"]
    hosts, made = dict(cluster.answers["hosts"]), ([], [])  # type: ignore[var-annotated]
    for i in range(count):
        node, name, address = nodes[i % len(nodes)], f"clone-{i}", f"10.200.{i // 250}.{i % 250 + 1}"
        pod = next(p for p in pods if p["spec"]["nodeName"] == node["metadata"]["name"])
        old = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        addresses = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]
        made[0].append({**node, "metadata": {**node["metadata"], "name": name, "uid": name}})
        made[0][-1]["status"] = {**node["status"], "addresses": addresses}
        made[1].append({**pod, "metadata": {**pod["metadata"], "name": f"calico-node-{i}", "uid": f"pod-{i}"}})
        made[1][-1]["spec"] = {**pod["spec"], "nodeName": name}
        made[1][-1]["status"] = {**pod["status"], "podIP": address, "podIPs": [{"ip": address}]}
        hosts[address] = cluster.answers["hosts"][old]
    cluster.put(stored("v1", "nodes", {"kind": "NodeList", "items": made[0]}))
    cluster.put(stored("v1", "pods", {"kind": "PodList", "items": made[1]}))
    cluster.replay({"hosts": hosts})


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def captures(cluster: TestCluster, count: int, folder: Path) -> None:
    many_nodes(cluster, count)
    before = {name: processor_seconds(p) for name, p in cluster.running.items()}
    start = time.perf_counter()
    out = folder / "out.zip"
    command = [sys.executable, "-m", "calicokit", "capture", str(out), "--context", "e2e-reader", "--format", "json"]
    top = str(Path(__file__).parents[1])
    env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PYTHONPATH": top}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)  # noqa: S603
    taken = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = json.loads(done.stdout)
    print(f"capture of {count} nodes: {said['files']} files in {taken:.0f} s ({said['files'] / taken:.0f}/s)")
    print(f"  {len(said['missing'])} holes, {said['bytes'] / 1e6:.0f} MB packed")
    print(f"  peak memory of calicokit {used.ru_maxrss / 1024:.0f} MiB")
    spent = {name: processor_seconds(p) - before[name] for name, p in cluster.running.items()}
    shares = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in sorted(spent.items()))
    print(f"  processor time: calicokit {used.ru_utime + used.ru_stime:.0f} s; {shares}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pods", type=int, default=10_000)
    options.add_argument("--nodes", type=int, default=1_000)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = TestCluster.start(Path(folder) / "e2e", Recording(index()[INCIDENT].path))
        try:
            lists(cluster, chosen.pods)
            captures(cluster, chosen.nodes, Path(folder))
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()

"""IPAM of a big cluster: every analysis and check on 5,000 nodes and 250,000 addresses.

The objects are copies of those in a bundled incident (a block, its affinity, a handle, a pod) with their own names and
addresses; pods keep the fields that any table reads. Run:
``python benchmarks/ipam.py [--nodes N] [--addresses N]``. Times begin with the bytes of the lists; the peak is that of
the measuring process, its interpreter and imports included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import json

import calicokit
from calicokit import registry
from calicokit.cluster import Cluster
from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want

TEMPLATE = "healthy-bgp-mesh"
PER_BLOCK = 64


class Generated(Source):
    """A source that answers from bytes made beforehand."""

    name = "generated"

    def __init__(self, lists: dict[str, bytes]) -> None:
        self.lists = lists

    def nodes(self) -> Sequence[str]:
        return ()

    def now(self) -> datetime:
        return datetime(2026, 11, 24, 12, tzinfo=UTC)

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        for want in wants:
            text = self.lists.get(want.id)
            yield want, Evidence(want, text) if text is not None else Missing(want.id, "not generated", want.node)


def template() -> dict[str, dict[str, Any]]:
    """One object of each kind, as the API server gave it."""
    cluster = calicokit.open(f"incident:{TEMPLATE}")
    kinds = ("nodes", "pods", "ipamblocks", "blockaffinities", "ipamhandles", "ippools", "namespaces")
    found = {}
    for kind in kinds:
        ((_, answer),) = cluster._source.fetch([Want(kind)])
        assert isinstance(answer, Evidence)
        items = json.decode(answer.text)["items"]
        found[kind] = next(i for i in items if kind != "pods" or i["metadata"]["namespace"] == "shop")
    return found


def api_list(items: list[Any]) -> bytes:
    return json.encode({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items})


def generate(nodes: int, addresses: int) -> dict[str, bytes]:
    """The API lists of a cluster of this size: every node owns a block or more, filled evenly."""
    one = template()
    per_node = addresses // nodes
    lists: dict[str, list[Any]] = {k: [] for k in one}
    lists["namespaces"].append(one["namespaces"])
    lists["ippools"].append({**one["ippools"], "spec": {**one["ippools"]["spec"], "cidr": "10.0.0.0/8"}})
    base = 10 << 24
    for n in range(nodes):
        name = f"node-{n}"
        lists["nodes"].append({**one["nodes"], "metadata": {**one["nodes"]["metadata"], "name": name}})
        left = per_node
        while left > 0:
            count = min(left, PER_BLOCK)
            cidr = f"{base >> 24}.{base >> 16 & 255}.{base >> 8 & 255}.{base & 255}/26"
            _add_block(lists, one, name, cidr, base, count)
            base, left = base + PER_BLOCK, left - count
    return {k: api_list(v) for k, v in lists.items()} | {
        k: api_list([])
        for k in ("ipamconfigs", "ipreservations", "services", "events", "bgppeers", "clusterinformations",
                  "kubecontrollersconfigurations")
    }  # fmt: skip


def _add_block(lists: dict[str, list[Any]], one: dict[str, Any], node: str, cidr: str, base: int, count: int) -> None:
    spec, attribute = one["ipamblocks"]["spec"], one["ipamblocks"]["spec"]["attributes"][0]
    attributes = []
    for i in range(count):
        number = base + i
        address = f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        pod, handle = f"app-{number:x}", f"k8s-pod-network.{number:064x}"
        secondary = {**attribute["secondary"], "node": node, "pod": pod, "namespace": "default"}
        attributes.append({**attribute, "handle_id": handle, "secondary": secondary})
        lists["ipamhandles"].append({"metadata": {"name": handle}, "spec": {"handleID": handle, "block": {cidr: 1}}})
        lists["pods"].append(_pod(one["pods"], pod, node, address))
    allocations = [i if i < count else None for i in range(PER_BLOCK)]
    body = {**spec, "cidr": cidr, "affinity": f"host:{node}", "attributes": attributes, "allocations": allocations}
    body |= {"unallocated": list(range(count, PER_BLOCK)), "sequenceNumberForAllocation": {}}
    lists["ipamblocks"].append({**one["ipamblocks"], "spec": body})
    own = {**one["blockaffinities"]["spec"], "cidr": cidr, "node": node}
    lists["blockaffinities"].append({**one["blockaffinities"], "spec": own})


def _pod(like: dict[str, Any], name: str, node: str, address: str) -> dict[str, Any]:
    meta = {k: like["metadata"][k] for k in ("creationTimestamp", "labels", "annotations")}
    status = {"phase": "Running", "podIPs": [{"ip": address}], "conditions": like["status"]["conditions"][-1:]}
    spec = {"nodeName": node, "serviceAccountName": "default", "containers": []}
    return {"metadata": {**meta, "name": name, "namespace": "default"}, "spec": spec, "status": status}


def peak() -> float:
    """This process's own peak in MiB (getrusage's would begin with that of the process it was forked from)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


BASE = (
    *("kube.pods", "kube.nodes", "kube.tunnels", "kube.namespaces", "kube.services", "kube.workload_endpoints"),
    *("ipam.pools", "ipam.blocks", "ipam.addresses", "ipam.affinities", "ipam.handles", "ipam.config"),
    "ipam.reservations",
)


def measure(folder: Path, verbose: bool) -> None:
    """Read the lists, build every IPAM table, run every check; in a process of its own, so that the peak is its own."""
    lists = {f.stem: f.read_bytes() for f in folder.iterdir()}
    print(f"{sum(map(len, lists.values())) / 2**20:,.0f} MiB of API lists; imported and read: {peak():,.0f} MiB")
    cluster = Cluster(Generated(lists))
    analyses = [n for n in registry.load() if n.startswith("ipam.") and n not in BASE]
    for title, names in (("objects to tables", BASE), ("IPAM analyses of those tables", analyses)):
        start = time.perf_counter()
        for name in names:
            step = time.perf_counter()
            rows = len(cluster.table(name))
            if verbose:
                print(f"    {name:24} {rows:>9,} rows {time.perf_counter() - step:6.2f} s")
        print(f"{title:32} {time.perf_counter() - start:6.2f} s, peak {peak():,.0f} MiB")
    start = time.perf_counter()
    findings = cluster.check()
    print(f"{'all checks':32} {time.perf_counter() - start:6.2f} s, {len(findings)} findings, peak {peak():,.0f} MiB")


def main() -> None:
    """Generate, then measure in a fresh process."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--nodes", type=int, default=5_000)
    words.add_argument("--addresses", type=int, default=250_000)
    words.add_argument("--verbose", action="store_true", help="print every table's time")
    words.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.folder:
        measure(asked.folder, asked.verbose)
        return
    print(f"{asked.nodes:,} nodes, {asked.addresses:,} addresses", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in generate(asked.nodes, asked.addresses).items():
            (Path(folder) / f"{name}.json").write_bytes(text)
        flags = ["--verbose"] if asked.verbose else []
        subprocess.run([sys.executable, __file__, "--folder", folder, *flags], check=True)  # noqa: S603


if __name__ == "__main__":
    main()

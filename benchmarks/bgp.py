"""BGP at scale: a mesh of 2,000 nodes (4,000,000 directed sessions), expected against real; and a graph of 400 nodes.

The nodes are made; each one's `birdcl show protocols` is a text in the form that the recordings have, in which the
sessions of one node are down. Times and the peak of memory are of a process of its own.

    python benchmarks/bgp.py [--nodes 2000] [--graph 400]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from msgspec import json

from benchmarks.ipam import peak
from calicokit.cluster import Cluster
from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want

HEAD = "BIRD v0.3.3+birdv1.6.8 ready.\nname     proto    table    state  since       info\n"
SICK = 7
"""The node whose sessions are down."""


class Mesh(Source):
    """A source that makes its answers when it is asked, so that only the tables take memory."""

    name = "mesh"

    def __init__(self, size: int, racks: int = 40) -> None:
        self.addresses = [f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}" for i in range(1, size + 1)]
        self.racks = racks

    def nodes(self) -> Sequence[str]:
        return [f"node-{i}" for i in range(len(self.addresses))]

    def now(self) -> datetime:
        return datetime(2026, 11, 24, 12, tzinfo=UTC)

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        for want in wants:
            text = self.text(want)
            yield want, Missing(want.id, "not generated", want.node) if text is None else Evidence(want, text)

    def text(self, want: Want) -> bytes | None:
        if want.id == "birdcl-protocols" and want.node:
            return self.birdcl(int(want.node.removeprefix("node-")))
        items = {"nodes": self.node_list, "ippools": self.pool_list}.get(want.id, list)()
        known = ("nodes", "ippools", "bgppeers", "bgpconfigurations", "pods", "clusterinformations")
        return json.encode({"kind": "List", "metadata": {}, "items": items}) if want.id in known else None

    def node_list(self) -> list[object]:
        return [
            {
                "metadata": {
                    "name": f"node-{i}",
                    "annotations": {"projectcalico.org/IPv4Address": f"{address}/8"},
                    "labels": {"topology.kubernetes.io/zone": f"zone-{i % self.racks}"},
                },
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            }
            for i, address in enumerate(self.addresses)
        ]

    @staticmethod
    def pool_list() -> list[object]:
        return [{"metadata": {"name": "pool"}, "spec": {"cidr": "172.16.0.0/12"}}]

    def birdcl(self, own: int) -> bytes:
        lines = [HEAD]
        for i, address in enumerate(self.addresses):
            if i != own:
                info = "start  10:00:00    Connect       " if SICK in (i, own) else "up     09:00:00    Established   "
                lines.append(f"Mesh_{address.replace('.', '_')} BGP      master   {info}\n")
        return "".join(lines).encode()


def measure(size: int) -> None:
    """Tables in the order of the road, and the checks on them."""
    cluster = Cluster(Mesh(size))
    print(f"{size:,} nodes, {size * (size - 1):,} directed sessions; imported: {peak():,.0f} MiB")
    cluster.table("bgp.nodes")
    total = 0.0
    for title, name in (
        ("read 2 × birdcl's texts", "bgp.protocols"),
        ("expected sessions", "bgp.expected"),
        ("real sessions", "bgp.sessions"),
        ("expected against real", "bgp.compared"),
    ):
        start = time.perf_counter()
        rows = len(cluster.table(name))
        spent = time.perf_counter() - start
        total += 0 if name == "bgp.protocols" else spent
        print(f"{title:28} {rows:>9,} rows {spent:6.2f} s, peak {peak():,.0f} MiB")
    print(f"{'in all, without reading':28} {'':>14} {total:6.2f} s")
    start = time.perf_counter()
    found = cluster.check()
    print(f"{'all checks':28} {len(found):>9,} found {time.perf_counter() - start:5.2f} s, peak {peak():,.0f} MiB")
    print("   ", next((f.cause[:100] for f in found), "nothing found"))


def draw(size: int) -> None:
    """The graph of a mesh of this size: the time to draw it, and the size of its HTML without plotly.js."""
    from calicokit.bgp import figures

    cluster = Cluster(Mesh(size))
    links, ends = cluster.table("bgp.links"), cluster.table("bgp.ends")
    figures.topology(links.head(1), ends)  # plotly and networkx are imported now
    start = time.perf_counter()
    page = figures.topology(links, ends).to_html(include_plotlyjs=False)
    spent = time.perf_counter() - start
    print(f"graph of {size:,} nodes, {len(links):,} pairs: {spent:.2f} s, HTML {len(page) / 2**20:.2f} MiB")


def main() -> None:
    """Measure in fresh processes."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--nodes", type=int, default=2_000)
    words.add_argument("--graph", type=int, default=400)
    words.add_argument("--only", choices=("measure", "draw"), help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.only:
        (measure if asked.only == "measure" else draw)(asked.nodes if asked.only == "measure" else asked.graph)
        return
    for what in ("measure", "draw"):
        flags = ["--nodes", str(asked.nodes), "--graph", str(asked.graph)]
        subprocess.run([sys.executable, "-m", "benchmarks.bgp", "--only", what, *flags], check=True)  # noqa: S603


if __name__ == "__main__":
    main()

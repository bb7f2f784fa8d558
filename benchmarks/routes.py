"""What every node should have for every block, at scale: ``python benchmarks/routes.py [--nodes N] [--blocks N]``."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from calicokit.net import address_text
from calicokit.routes.conflicts import claims, conflicts
from calicokit.routes.expected import blocks

START = 10 << 24


def _conflicts(kernel: pd.DataFrame, found: pd.DataFrame, ipam: pd.DataFrame, nodes: pd.DataFrame) -> None:
    """A foreign route on every tenth node, a default route on all: what is in the way, and who claims whose block."""
    names = nodes["node"].tolist()
    foreign = pd.DataFrame({"node": names[::10], "cidr": [f"{address_text(4, START)}/28"] * len(names[::10])})
    default = pd.DataFrame({"node": names, "cidr": "0.0.0.0/0"})
    strange = pd.concat([foreign, default]).assign(type="unicast", via="172.0.0.1", interface="eth0", owner="other")
    whole = pd.concat([kernel, strange], ignore_index=True).assign(version=4, table="main", protocol=None)
    whole = whole.assign(line=range(len(whole)), evidence="made")
    start = time.perf_counter()
    rows = conflicts(whole, found, nodes=nodes)
    between = time.perf_counter()
    twice = claims(ipam.assign(claimed=pd.NaT), nodes.assign(cluster_id=None), whole, conflicts=rows)  # type: ignore[arg-type]
    taken = time.perf_counter() - between
    print(f"  {len(rows)} conflicts in {between - start:.1f} s, {len(twice)} claims in {taken:.1f} s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--nodes", type=int, default=1000)
    options.add_argument("--blocks", type=int, default=2000)
    chosen = options.parse_args()
    names = [f"node-{i}" for i in range(chosen.nodes)]
    nodes = pd.DataFrame(
        {
            "node": names,
            "address": [address_text(4, (172 << 24) + i) for i in range(chosen.nodes)],
            "network": [f"{address_text(4, (172 << 24) + i)}/20" for i in range(chosen.nodes)],
            "system": "linux",
            "address6": None,
            "network6": None,
        }
    )
    cidrs = [f"{address_text(4, START + 64 * i)}/26" for i in range(chosen.blocks)]
    owned = [names[i % chosen.nodes] for i in range(chosen.blocks)]
    ipam = pd.DataFrame({"block": cidrs, "node": owned, "pool": "p", "version": 4})
    pools = pd.DataFrame({"pool": ["p"], "ipip_mode": ["Never"], "vxlan_mode": ["CrossSubnet"]})
    tunnels = pd.DataFrame(
        {"node": names, "type": "vxlanTunnelAddress", "address": [c[:-3] for c in cidrs[: chosen.nodes]]}
    )
    rows = [(n, c, owned[i]) for n in names for i, c in enumerate(cidrs)]
    address = dict(zip(nodes["node"], nodes["address"], strict=True))
    kernel = pd.DataFrame(rows, columns=["node", "cidr", "owned"])
    own = kernel["node"] == kernel["owned"]
    kernel = kernel.assign(
        type=own.map({True: "blackhole", False: "unicast"}),
        via=kernel["owned"].map(address).where(~own),
        interface="eth0",
        tunnel=None,
        owner="bird",
        metric=1024,
        version=4,
    )
    start = time.perf_counter()
    found = blocks(ipam, pools, nodes, tunnels, kernel)
    taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    said = found["status"].value_counts().to_dict()
    print(f"{chosen.nodes} nodes x {chosen.blocks} blocks = {len(found)} routes: {said}")
    print(f"  {taken:.1f} s, peak {peak:.0f} MiB, its own input included")
    _conflicts(kernel, found, ipam, nodes)


if __name__ == "__main__":
    main()

"""Which CNI configuration a node uses, and what another network left there that still acts.

A container runtime takes the first valid file of /etc/cni/net.d by name, of those that end in .conf, .conflist or
.json (libcni's ConfFiles, used by containerd, CRI-O and dockershim). Names and devices of other networks: their own
documentation and manifests; no recording shows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Objects, spec
from calicokit.evidence.texts import Texts
from calicokit.kube.tables import EVIDENCE
from calicokit.parsers.kubernetes import cni as _cni  # noqa: F401 (brings its kind)
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

CONFIGS = Schema(
    "cni.configs",
    "CNI configurations on each node by file name; the container runtime uses the first.",
    (
        Column("node", "str", "node"),
        Column("place", "int", "1-based position by name"),
        Column("file", "str", "path"),
        Column("name", "str", "name of the network"),
        Column("plugins", "list", "plugins, in call order"),
        Column("calico", "bool", "Calico's plugin is among them"),
        Column("delegates", "bool", "it delegates to another configuration (Multus and similar)"),
        Column("used", "bool", "it is the one that the runtime uses"),
        EVIDENCE,
    ),
    key=("node", "place"),
)

LEFTOVERS = Schema(
    "cni.leftovers",
    "Leftover routes and rules of other CNIs that override Calico's.",
    (
        Column("node", "str", "node"),
        Column("network", "str", "CNI they belong to: flannel, Cilium, Weave Net, kube-router, Antrea, OVN-Kubernetes"),
        Column("what", "str", "route, or rule"),
        Column("where", "str", "the route's destination, or table and chain"),
        Column("words", "str", "as it was printed"),
    ),
)

ENDINGS = (".conf", ".conflist", ".json")
_DELEGATES = re.compile(r"multus|genie|danm|knitter")
_OTHERS = {
    "flannel": (r"flannel|cni0", r"FLANNEL"),
    "Cilium": (r"cilium|lxc[0-9a-f_]", r"(OLD_)?CILIUM"),
    "Weave Net": (r"weave|vethwe", r"WEAVE"),
    "kube-router": (r"kube-bridge|kube-dummy-if", r"KUBE-ROUTER|KUBE-POD-FW|KUBE-NWPLCY"),
    "Antrea": (r"antrea-", r"ANTREA"),
    "OVN-Kubernetes": (r"ovn-k8s-mp|br-ex$", r"OVN-KUBE"),
}
"""Network → how its devices and its chains begin."""

_DEVICE = re.compile(r"\bdev (\S+)")


@table(CONFIGS, needs={"texts": "cni-net.d"})
def configs(texts: Texts) -> pd.DataFrame:
    """One row for each file that is a configuration; see :data:`CONFIGS`."""
    rows: list[dict[str, Any]] = []
    for frame in texts.frames("cni-conflist"):
        files = [dict(_config(f, g)) for f, g in frame.groupby("file", dropna=False) if _counts(f)]
        for place, row in enumerate(sorted(files, key=lambda r: _name(r["file"])), 1):
            rows.append({**row, "place": place, "used": place == 1})
    return CONFIGS.frame(rows)


def _counts(file: object) -> bool:
    return not isinstance(file, str) or file.endswith(ENDINGS)


def _name(file: object) -> str:
    return str(file).rpartition("/")[2]


def _config(file: object, plugins: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    types = [t for t in plugins.sort_values("position")["type"] if isinstance(t, str)]
    first = plugins.iloc[0]
    yield from (("node", first["node"]), ("file", file if isinstance(file, str) else None))
    yield from (("name", first["name"]), ("plugins", types), ("calico", "calico" in types))
    yield from (("delegates", any(_DELEGATES.search(t) for t in types)), ("evidence", first["evidence"]))


@table(
    LEFTOVERS,
    any_of={"conflicts": "routes.conflicts", "drops": "dataplane.foreign_drops"},
    wants={"pods": "health.pods"},
)
def leftovers(
    conflicts: pd.DataFrame | None, drops: pd.DataFrame | None, pods: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each route or rule; see :data:`LEFTOVERS`. With Canal, flannel is no other network."""
    canal = pods is not None and pods["pod"].str.startswith("canal").any()
    rows = [*_routes(conflicts), *_rules(drops)]
    return LEFTOVERS.frame([r for r in rows if not (canal and r["network"] == "flannel")])


def _routes(conflicts: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    for row in records(conflicts[~conflicts["harmless"].fillna(False)]) if conflicts is not None else ():
        device = _DEVICE.search(row.route)
        if device and (network := _owner(device[1], 0)):
            yield {"node": row.node, "network": network, "what": "route", "where": row.cidr, "words": row.route}


def _rules(drops: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    for node, name, chain, words in cells(drops, "node", "table", "chain", "spec") if drops is not None else ():
        if network := _owner(chain, 1):
            yield {"node": node, "network": network, "what": "rule", "where": f"{name} {chain}", "words": words}


def _owner(name: str, which: int) -> str | None:
    return next((network for network, words in _OTHERS.items() if re.match(words[which], name)), None)


def installs_calico(installations: Objects | None) -> bool:
    """False where the operator was told that another CNI plugin gives pods their network (policy only)."""
    for body in installations.rows(spec) if installations is not None else ():
        if (body.get("cni") or {}).get("type", "Calico") != "Calico":
            return False
    return True

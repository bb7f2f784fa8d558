"""Whether this cluster uses BGP at all, and which nodes run BIRD.

From the resources and from what ran, never from a readiness probe that complains: a cluster of VXLAN pools has no BIRD,
and its probe complains all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.own_pods import Home
from calicokit.evidence.texts import Texts
from calicokit.registry import Given, Spared, not_applicable, table
from calicokit.schema import Column, Schema, records
from calicokit.sentences import listed

USE = Schema(
    "bgp.use",
    "Whether BGP is in use, and why: one row for the cluster.",
    (
        Column("in_use", "bool", "BGP is needed, or some node ran BIRD; null where unknown"),
        Column("needed", "bool", "pools, BGPPeers or advertised services need it; null where unknown"),
        Column("pools_need", "bool", "a pool that is not VXLAN-only needs it to reach other nodes' pods"),
        Column("why", "str", "what needs it, or why it is not needed"),
        Column("backend", "str", "configured backend: bird, vxlan or none; null where unknown"),
        Column("ran", "list", "nodes on which BIRD answered, or left a configuration or log"),
    ),
)

OF_BIRD6 = ("birdcl6-status", "birdcl6-protocols", "birdcl6-protocols-all", "bird6.cfg", "bird6-log")
VXLAN = ("Always", "CrossSubnet")
OFF = "Disabled"


@table(
    USE,
    any_of={
        "pools": "ippools",
        "peers": "bgppeers",
        "status": "birdcl-status",
        "protocols": "birdcl-protocols",
        "details": "birdcl-protocols-all",
        "files": "bird.cfg",
        "logs": "bird-log",
        "six": OF_BIRD6,
    },
    wants={
        "home": "health.home",
        "configuration": "bgp.configuration",
        "install": "health.install",
        "configmaps": "configmaps",
        "installations": "installations",
        "blocks": "ipam.blocks",
    },
)
def use(
    pools: Objects | None,
    peers: Objects | None,
    status: Texts | None,
    protocols: Texts | None,
    details: Texts | None,
    files: Texts | None,
    logs: Texts | None,
    six: Given,
    home: Home | None = None,
    configuration: pd.DataFrame | None = None,
    install: pd.DataFrame | None = None,
    configmaps: Objects | None = None,
    installations: Objects | None = None,
    blocks: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row; see :data:`USE`."""
    backend = _backend(home or Home(), install, configmaps, installations)
    ran = sorted({e.node for texts in (status, protocols, details, files, logs, *six.values()) for e in _spoken(texts)})
    used = None if blocks is None else set(blocks["pool"].dropna())
    by_pools = None if pools is None else [p for p in pools.rows(_pool) if _needs(p, used)]
    by_peers = None if peers is None else list(peers.rows(lambda item: item["metadata"]["name"]))
    ranges = [] if configuration is None else list(configuration["service_ranges"].iloc[0])
    reasons = [
        *([f"pool {listed(p['pool'] for p in by_pools)} is not VXLAN-only"] if by_pools else []),
        *([f"BGPPeer {listed(by_peers)}"] if by_peers else []),
        *([f"advertised services {listed(ranges)}"] if ranges else []),
    ]
    needed: bool | None = bool(reasons)
    if backend == "none":
        needed, reasons = False, ["the configuration disables Calico networking (backend none)"]
    elif not reasons:
        needed = None if by_pools is None or by_peers is None else False
        reasons = ["whether pools or peers need it is unknown" if needed is None else "all pools are VXLAN-only"]
    row = {
        "in_use": True if needed or ran else needed,
        "needed": needed,
        "pools_need": None if by_pools is None else bool(by_pools) and backend != "none",
        "why": "; ".join(reasons),
        "backend": backend,
        "ran": ran,
    }
    return USE.frame([row])


def _spoken(texts: Texts | None) -> Iterator[Any]:
    """Evidence that BIRD or confd ran: an answer of birdcl, a configuration file, a log that is not empty."""
    yield from (e for e in texts or () if e.node and not e.exit and e.text.strip())


def _pool(item: Object) -> Object:
    body = spec(item)
    uses = body.get("allowedUses") or ["Workload"]
    return {
        "pool": item["metadata"]["name"],
        "vxlan": body.get("vxlanMode") in VXLAN,
        "disabled": bool(body.get("disabled")),
        "workload": "Workload" in uses,
    }


def _needs(pool: Object, used: set[str] | None) -> bool:
    """Whether other nodes reach its pods by routes of BIRD: not VXLAN, and in use or to be used."""
    lives = not pool["disabled"] or (used is not None and pool["pool"] in used)
    return lives and not pool["vxlan"] and bool(pool["workload"])


def _backend(
    home: Home, install: pd.DataFrame | None, configmaps: Objects | None, installations: Objects | None
) -> str | None:
    for row in records(install) if install is not None else ():
        if isinstance(row.backend, str):
            return row.backend
    for body in (spec(o) for o in (installations.rows(dict) if installations else ())):
        network = body.get("calicoNetwork") or {}
        if "bgp" in network:
            return "vxlan" if network["bgp"] == OFF else "bird"
    for item in configmaps.rows(dict) if configmaps else ():
        if (
            home.has(item)
            and item["metadata"]["name"] == "calico-config"
            and (item.get("data") or {}).get("calico_backend")
        ):
            return str(item["data"]["calico_backend"])
    return None


@not_applicable(needs={"use": "bgp.use"})
def _second_sources(use: pd.DataFrame) -> Spared:
    """Where one thing tells the backend, nobody misses the others that might."""
    if use["backend"].notna().any():
        yield from (("installations", None), ("configmaps", None))

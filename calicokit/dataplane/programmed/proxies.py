"""kube-proxy beside the eBPF dataplane, node by node: its pods, its rules at the end and in samples.

Felix removes kube-proxy's iptables rules again and again while bpfKubeProxyIptablesCleanupEnabled is true
(felix/dataplane/linux/int_dataplane.go, v3.34-dev), and kube-proxy writes them anew: one look may see none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.registry import Given, table
from calicokit.schema import Column, Schema, cells

PROXIES = Schema(
    "dataplane.proxies",
    "kube-proxy on each node: its pod, and its rules for services at the end and in samples.",
    (
        Column("node", "str", "node"),
        Column("pod", "str", "NS/POD of kube-proxy that runs there; null for none that is seen as a pod"),
        Column("rules", "int", "rules for services at the end; null where rules were not seen", "rules"),
        Column("samples", "int", "samples of rules over time", "samples"),
        Column("with_rules", "int", "samples that have such rules", "samples"),
        Column("returned", "bool", "such rules came during sampling, or after Felix had cleaned up at its start"),
    ),
    key=("node",),
)

SAMPLED = ("iptables-save+series", "iptables-nft-save+series", "iptables-legacy-save+series", "nft-ruleset+series")
_OF_SERVICES = re.compile(r"^-A KUBE-(?:SVC|SEP|SERVICES)\b|^table ip6? kube-proxy", re.MULTILINE)
CLEANED = pd.Timedelta(seconds=60)
"""So long after its start Felix has removed what kube-proxy left: what is there then was written anew."""
LABEL = "k8s-app"
PROXY = "kube-proxy"


@table(
    PROXIES,
    needs={"nodes": "kube.nodes", "rules": "dataplane.rules"},
    wants={"pods": "kube.pods", "runs": "felix.runs", "series": SAMPLED},
)
def proxies(
    nodes: pd.DataFrame,
    rules: pd.DataFrame,
    pods: pd.DataFrame | None = None,
    runs: pd.DataFrame | None = None,
    series: Given | None = None,
) -> pd.DataFrame:
    """One row a node; see :data:`PROXIES`."""
    running = dict(_running(pods))
    closing, seen_on = dict(_closing(rules)), set(rules["node"])
    sampled = dict(_sampled(series or {}))
    started = {} if runs is None else dict(cells(runs.drop_duplicates("node", keep="last"), "node", "first"))
    rows: list[dict[str, Any]] = []
    for node in nodes["node"]:
        times = sampled.get(node, {})
        seen = [times[at] for at in sorted(times)]
        row = {"node": node, "pod": running.get(node), "rules": closing.get(node, 0 if node in seen_on else None)}
        row |= {"samples": len(seen), "with_rules": sum(seen)}
        late = pd.notna(started.get(node)) and any(had and at - started[node] > CLEANED for at, had in times.items())
        row["returned"] = late or any(after and not before for before, after in pairwise(seen))
        rows.append(row)
    return PROXIES.frame(rows)


def _running(pods: pd.DataFrame | None) -> Iterator[tuple[str, str]]:
    """Node → its kube-proxy's pod."""
    names = ("node", "namespace", "pod", "phase", "labels")
    for node, namespace, pod, phase, labels in cells(pods, *names) if pods is not None else ():
        if isinstance(node, str) and phase == "Running" and (labels or {}).get(LABEL) == PROXY:
            yield node, f"{namespace}/{pod}"


def _closing(rules: pd.DataFrame) -> Iterator[tuple[str, int]]:
    """Node → how many rules of kube-proxy lead to services."""
    own = rules[(rules["owner"] == PROXY) & rules["verdict"].isin(["dnat", "jump", "goto", "vmap"])]
    serves = own["chain"].str.match(r"KUBE-(?:SVC|SEP|SERVICES)") | (own["table"] == PROXY)
    for node, group in own[serves].groupby("node"):
        yield str(node), len(group)


def _sampled(series: Given) -> Iterator[tuple[str, dict[pd.Timestamp, bool]]]:
    """Node → of each time whether any sample of then has such rules."""
    found: dict[str, dict[pd.Timestamp, bool]] = {}
    for texts in series.values():
        for sample in texts if isinstance(texts, Texts) else ():
            if sample.time is not None and sample.node:
                times = found.setdefault(sample.node, {})
                at = pd.Timestamp(sample.time)
                times[at] = times.get(at, False) or bool(_OF_SERVICES.search(sample.decode()))
    yield from found.items()

"""BPF programs beside the interfaces that must have them: with eBPF each pod's interface has one each way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.programmed.drift import SETTLED
from calicokit.evidence.catalog import OF_EBPF
from calicokit.felix.state.configuration import asked_for_ebpf, in_ebpf
from calicokit.registry import Spared, UnseenError, not_applicable, table
from calicokit.routes.kernel import is_workload
from calicokit.schema import Column, Schema, cells

PROGRAMS = Schema(
    "dataplane.programs",
    "Pod interfaces on nodes with eBPF, with Calico's BPF program in each direction.",
    (
        Column("node", "str", "node"),
        Column("interface", "str", "host-side interface of a pod"),
        Column("namespace", "str", "namespace of the pod; null if the interface is of no known pod"),
        Column("pod", "str", "pod"),
        Column("direction", "str", "ingress or egress, as the host sees it: a pod's own packets come in at ingress"),
        Column("hook", "str", "where its program is attached: tcx/ingress, clsact/egress, …; null if none is"),
        Column("program", "str", "program's name, as the kernel cuts it"),
        Column("settled", "bool", "the pod has run for a while; null if the interface is of no known pod"),
    ),
    key=("node", "interface", "direction"),
)

OURS = "cali"
DIRECTIONS = {"ingress": ("ingress", "primary"), "egress": ("egress", "peer")}
"""Direction → what the names of its hooks end with; netkit devices have theirs at the primary and the peer."""


@table(
    PROGRAMS,
    needs={
        "links": "output.ip_link_stats",
        "endpoints": "dataplane.endpoints",
        "pods": "kube.pods",
        "felix": "felix.configuration",
        "now": "@now",
    },
    wants={"attached": "output.bpftool_net"},
)
def programs(
    links: pd.DataFrame,
    endpoints: pd.DataFrame,
    pods: pd.DataFrame,
    felix: pd.DataFrame,
    now: pd.Timestamp,
    attached: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a pod interface and direction; see :data:`PROGRAMS`. Nodes whose programs were not seen have none."""
    asked = in_ebpf(felix)
    if not asked:
        return PROGRAMS.frame()
    if attached is None:
        raise UnseenError(names=["output.bpftool_net"])
    seen = asked & set(attached["node"])
    mine = attached[attached["program"].fillna("").str.startswith(OURS) & (attached["section"] == "tc")]
    hooks = {(n, i, h.rpartition("/")[2]): (h, p) for n, i, h, p in cells(mine, "node", "interface", "hook", "program")}
    whose = {(n, i): (ns, p) for n, i, ns, p in cells(endpoints, "node", "interface", "namespace", "pod")}
    settled = dict(_settled(pods, now))
    rows: list[dict[str, Any]] = []
    for node, interface in cells(links, "node", "interface"):
        if node not in seen or not is_workload(interface):
            continue
        namespace, pod = whose.get((node, interface), (None, None))
        row = {"node": node, "interface": interface, "namespace": namespace, "pod": pod}
        row["settled"] = settled.get((namespace, pod))
        for direction, ends in DIRECTIONS.items():
            hook, program = next((hooks[k] for e in ends if (k := (node, interface, e)) in hooks), (None, None))
            rows.append({**row, "direction": direction, "hook": hook, "program": program})
    return PROGRAMS.frame(rows)


def _settled(pods: pd.DataFrame, now: pd.Timestamp) -> Iterator[tuple[tuple[str, str], bool]]:
    for namespace, pod, phase, created, deleted in cells(pods, "namespace", "pod", "phase", "created", "deleted"):
        old = pd.notna(created) and (now - created).total_seconds() > SETTLED
        yield (namespace, pod), phase == "Running" and pd.isna(deleted) and old


@not_applicable(needs={"felix": "felix.configuration"}, unasked=OF_EBPF)
def _without_ebpf(felix: pd.DataFrame) -> Spared:
    """Nobody misses the programs and maps of a node without eBPF, nor is it asked for them."""
    for node in set(felix["node"]) - asked_for_ebpf(felix):
        yield from ((i, node) for i in OF_EBPF)

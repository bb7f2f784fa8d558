"""BPF programs beside the interfaces that must have them: with eBPF each pod's interface has one each way.

So has each other interface that Felix has made ready in the programs' map of interfaces (``ifstate``): the node's own,
lo and bpfout.cali for host processes' services, tunnels (felix/dataplane/linux/bpf_ep_mgr.go, v3.34-dev).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.programmed.drift import SETTLED
from calicokit.evidence.catalog import OF_EBPF
from calicokit.felix.state.configuration import asked_for_ebpf, in_ebpf
from calicokit.kube.tables import EVIDENCE
from calicokit.registry import Spared, UnseenError, not_applicable, table
from calicokit.routes.kernel import is_workload
from calicokit.schema import Column, Schema, cells

PROGRAMS = Schema(
    "dataplane.programs",
    "Interfaces that Felix looks after on nodes with eBPF, with Calico's BPF program in each direction.",
    (
        Column("node", "str", "node"),
        Column("interface", "str", "host-side interface of a pod, or one of the node"),
        Column("role", "str", "pod, host, tunnel, or services (lo and bpfout.cali: host processes' own connections)"),
        Column("namespace", "str", "namespace of the pod; null if the interface is of no known pod"),
        Column("pod", "str", "pod"),
        Column("direction", "str", "ingress or egress, as the host sees it: a pod's own packets come in at ingress"),
        Column("hook", "str", "where its program is attached: tcx/ingress, clsact/egress, …; null if none is"),
        Column("program", "str", "program's name, as the kernel cuts it"),
        Column("settled", "bool", "the pod has run for a while, or Felix calls the node's interface ready; else null"),
    ),
    key=("node", "interface", "direction"),
)

ATTACHED = Schema(
    "dataplane.attached",
    "BPF programs and tc filters on interfaces of nodes with eBPF: Calico's, and others that share a hook with them.",
    (
        Column("node", "str", "node"),
        Column("interface", "str", "interface"),
        Column(
            "hook", "str", "tcx/ingress, clsact/egress, netkit/peer, driver (XDP), …; ingress or egress of a filter"
        ),
        Column("what", "str", "bpf, or the kind of a tc filter: u32, flower, matchall, …"),
        Column("program", "str", "program's name, as the kernel cuts it"),
        Column("id", "int", "program's id"),
        Column("owner", "str", "calico or other"),
        EVIDENCE,
    ),
)

OURS = "cali"
SERVICES_OF_HOST = ("lo", "bpfout.cali")
TUNNEL_FLAGS = {"vxlan", "ipip", "wg"}
UNREADY = {"notmanaged", "bondslave"}
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
    wants={"attached": "output.bpftool_net", "states": "output.bpf_ifstate"},
)
def programs(
    links: pd.DataFrame,
    endpoints: pd.DataFrame,
    pods: pd.DataFrame,
    felix: pd.DataFrame,
    now: pd.Timestamp,
    attached: pd.DataFrame | None = None,
    states: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row an interface and direction; see :data:`PROGRAMS`. Nodes whose programs were not seen have none."""
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
    roles = dict(_of_host(states))
    rows: list[dict[str, Any]] = []
    for node, interface in cells(links, "node", "interface"):
        role = "pod" if is_workload(interface) else roles.get((node, interface))
        if node not in seen or role is None:
            continue
        namespace, pod = whose.get((node, interface), (None, None))
        row = {"node": node, "interface": interface, "namespace": namespace, "pod": pod, "role": role}
        row["settled"] = settled.get((namespace, pod)) if role == "pod" else True
        for direction, ends in DIRECTIONS.items():
            hook, program = next((hooks[k] for e in ends if (k := (node, interface, e)) in hooks), (None, None))
            rows.append({**row, "direction": direction, "hook": hook, "program": program})
    return PROGRAMS.frame(rows)


def _of_host(states: pd.DataFrame | None) -> Iterator[tuple[tuple[str, str], str]]:
    """The node's own interfaces that Felix has made ready, and what each is for."""
    for node, interface, flags in cells(states, "node", "interface", "flags") if states is not None else ():
        own = set(flags)
        if not isinstance(interface, str) or own & UNREADY or not own & {"v4Ready", "v6Ready"} or "workload" in own:
            continue
        role = "tunnel" if own & TUNNEL_FLAGS else "services" if interface in SERVICES_OF_HOST else "host"
        yield (node, interface), role


@table(
    ATTACHED,
    needs={"programs": "output.bpftool_net"},
    wants={"filters": "output.tc_filter", "felix": "felix.configuration"},
)
def attached(
    programs: pd.DataFrame, filters: pd.DataFrame | None = None, felix: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each program at an interface, and each tc filter that is none; see :data:`ATTACHED`."""
    on = in_ebpf(felix) if felix is not None else set(programs["node"])
    rows: list[dict[str, Any]] = []
    names = ("node", "interface", "hook", "program", "id", "evidence")
    for node, *rest in cells(programs[programs["interface"].notna()], *names):
        row = dict(zip(names, (node, *rest), strict=True)) | {"what": "bpf"}
        rows.append(row | {"owner": "calico" if str(row["program"]).startswith(OURS) else "other"})
    if filters is not None:
        others = filters[(filters["kind"] != "bpf") & filters["handle"].notna() & filters["interface"].notna()]
        for node, interface, hook, kind, evidence in cells(others, "node", "interface", "parent", "kind", "evidence"):
            row = {"node": node, "interface": interface, "hook": hook, "what": kind, "evidence": evidence}
            rows.append({**row, "owner": "other"})
    return ATTACHED.frame([row for row in rows if row["node"] in on])


def _settled(pods: pd.DataFrame, now: pd.Timestamp) -> Iterator[tuple[tuple[str, str], bool]]:
    for namespace, pod, phase, created, deleted in cells(pods, "namespace", "pod", "phase", "created", "deleted"):
        old = pd.notna(created) and (now - created).total_seconds() > SETTLED
        yield (namespace, pod), phase == "Running" and pd.isna(deleted) and old


@not_applicable(needs={"felix": "felix.configuration"}, unasked=OF_EBPF, why="the node does not run eBPF")
def _without_ebpf(felix: pd.DataFrame) -> Spared:
    """Nobody misses the programs and maps of a node without eBPF, nor is it asked for them."""
    for node in set(felix["node"]) - asked_for_ebpf(felix):
        yield from ((i, node) for i in OF_EBPF)

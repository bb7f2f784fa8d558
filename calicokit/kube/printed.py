"""Pods and nodes as kubectl and calicoctl print them, in lower rank: for who has no list of the API's objects.

Labels, annotations, times and whether a pod is host-networked are not printed: these columns are null, and no row says
that there are no other objects. Source of the layouts: recordings of -o wide; of STATUS, kubectl's
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.model import Evidence, Missing
from calicokit.evidence.texts import Texts
from calicokit.kube.tables import NODES, PODS
from calicokit.net import canonical_address
from calicokit.registry import printed
from calicokit.schema import cells

RUNS = ("Running", "CrashLoopBackOff")
"""STATUS of a pod that is not being deleted, has not ended, and holds its address."""
COMES = re.compile(r"Pending|ContainerCreating|PodInitializing|Init:.{0,60}")
"""STATUS of a pod that has not started yet."""
PHASES = {"Completed": "Succeeded", "Succeeded": "Succeeded", "Failed": "Failed", "Evicted": "Failed"}
SYSTEM = re.compile(r"(?:calico-node|canal|kube-proxy|etcd|kube-apiserver|kube-controller-manager|kube-scheduler)-\S+")
"""Names of pods that are host-networked wherever they run."""

_NAMESPACE = re.compile(r" (?:-n ?|--namespace[= ])([\w.-]{1,253})")
_RESTARTS = re.compile(r"(\d{1,9})(?: \((\S{1,40}) ago\))?")
_READY = re.compile(r"(\d{1,4})/(\d{1,4})")


def pod_rows(texts: Texts) -> Iterator[tuple[Evidence, list[Any]]]:
    """The rows of each printed list of pods, the longest list first; one that may tell of the same pods is left out.

    It may have been printed at another time: a pod that was replaced, and the one that got its address, would both be
    there.
    """
    lists = [(evidence, _pods_in(evidence, parsed.frame)) for evidence, parsed in texts.parsed("kubectl-get")]
    seen: set[str | None] = set()
    for evidence, rows in sorted(lists, key=lambda found: -len(found[1])):
        spaces = {row["namespace"] for row in rows}
        if seen & spaces or (seen and None in seen | spaces):
            why = "lists pods as another output does, which is used; they may be of different times"
            texts.problems.append(Missing(evidence.path or texts.id, why))
            continue
        seen |= spaces
        yield evidence, rows


def _pods_in(evidence: Evidence, frame: pd.DataFrame) -> list[Any]:
    of = _NAMESPACE.search(evidence.command)
    rows = []
    for kind, namespace, name, node, fields in cells(frame, "kind", "namespace", "name", "node", "fields"):
        ready = _READY.fullmatch(str(fields.get("ready", "")))
        other = isinstance(kind, str) and kind != "pod"
        if ready is None or "status" not in fields or not isinstance(name, str) or other:
            continue
        namespace = namespace if isinstance(namespace, str) else of and of[1]
        rows.append({"namespace": namespace, "pod": name, "node": node, "fields": fields, "ready": ready})
    return list({(r["namespace"], r["pod"]): r for r in rows}.values())


@printed("kube.pods", needs={"texts": "kubectl-get-pods-wide"}, wants={"nodes": "kube.nodes"})
def pods(texts: Texts, nodes: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a pod that was printed; see :data:`~calicokit.kube.tables.PODS`."""
    hosts = None if nodes is None else {a for addresses in nodes["addresses"] for a in addresses}
    rows = []
    for evidence, found in pod_rows(texts):
        rows += [{**_pod(row, hosts), "evidence": evidence.ref} for row in found]
    return PODS.frame(rows)


def _pod(row: Any, hosts: set[str] | None) -> dict[str, Any]:
    status = str(row["fields"]["status"])
    address = address_in(row["fields"].get("ip"))
    return {
        **{k: row[k] for k in ("namespace", "pod", "node")},
        "phase": phase_of(status),
        "host_network": host_networked(row["pod"], address, hosts),
        "finished": {"Succeeded": True, "Failed": True}.get(phase_of(status) or "", False if status in RUNS else None),
        "addresses": [address] if address else [],
        "ready": row["ready"][1] == row["ready"][2] if status in RUNS else None,
        "restarts": restarts(row["fields"])[0],
    }


def host_networked(pod: str, address: str | None, hosts: set[str] | None) -> bool | None:
    """Whether a pod has its node's address: by its name, or the addresses that nodes have; None where nothing tells."""
    if SYSTEM.fullmatch(pod):
        return True
    return None if hosts is None or not address else address in hosts


def phase_of(status: str) -> str | None:
    """The phase of a pod with this STATUS; None where that does not tell, such as Terminating and Error.

    >>> phase_of("CrashLoopBackOff"), phase_of("Init:0/2"), phase_of("Terminating")
    ('Running', 'Pending', None)
    """
    return "Running" if status in RUNS else "Pending" if COMES.fullmatch(status) else PHASES.get(status)


def restarts(fields: Any) -> tuple[int | None, str | None]:
    """How often a printed pod's containers restarted, and how long ago the last time was, as printed.

    >>> restarts({"restarts": "12 (3m4s ago)"}), restarts({"restarts": "0"})
    ((12, '3m4s'), (0, None))
    """
    match = _RESTARTS.fullmatch(str(fields.get("restarts", "")))
    return (int(match[1]), match[2]) if match else (None, None)


def address_in(text: object) -> str | None:
    """A printed address, canonical; None for ``<none>`` and what is no address.

    >>> address_in("10.0.0.7/24"), address_in("<none>"), address_in("")
    ('10.0.0.7', None, None)
    """
    try:
        return canonical_address(str(text))
    except ValueError:
        return None


@printed(
    "kube.nodes",
    any_of={"listed": "kubectl-get-nodes-wide", "calico": "calicoctl-get-nodes-wide"},
)
def nodes(listed: Texts | None, calico: Texts | None) -> pd.DataFrame:
    """One row a node that was printed; see :data:`~calicokit.kube.tables.NODES`."""
    rows: dict[str, dict[str, Any]] = {}
    for frame in listed.frames("kubectl-get") if listed else ():
        for name, fields, ref in cells(frame[frame["name"].notna()], "name", "fields", "evidence"):
            if "status" in fields:
                address = address_in(fields.get("internal_ip"))
                row = rows.setdefault(name, {"node": name, "evidence": ref})
                row["addresses"] = [address] if address else []
                row["schedulable"] = "SchedulingDisabled" not in fields["status"]
    for frame in calico.frames("calicoctl-get") if calico else ():
        for name, fields, ref in cells(frame[frame["name"].notna()], "name", "fields", "evidence"):
            own = (address_in(fields.get(family)) for family in ("ipv4", "ipv6"))
            rows.setdefault(name, {"node": name, "evidence": ref})["calico_addresses"] = [a for a in own if a]
    for row in rows.values():
        row.setdefault("addresses", [])
        row.setdefault("calico_addresses", [])
    return NODES.frame(list(rows.values()))

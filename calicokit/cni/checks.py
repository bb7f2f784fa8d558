"""Checks of the CNI plugin: pods that cannot start, for causes that are not IPAM's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.cni.causes import BY_WORD
from calicokit.cni.config import installs_calico
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always, named_or_about
from calicokit.evidence.objects import Objects
from calicokit.kube.tables import pod_ref
from calicokit.schema import records
from calicokit.sentences import listed

MOST_NAMED = 3


def named(pods: list[str]) -> str:
    """``2 pods wait: a, b``, the first few by name."""
    more = f" and {len(pods) - MOST_NAMED} more" if len(pods) > MOST_NAMED else ""
    return f"{len(pods)} pod{'s wait' if len(pods) > 1 else ' waits'}: {', '.join(pods[:MOST_NAMED])}{more}"


@check("cni-unauthorized", needs={"errors": "cni.errors"})
def credentials(errors: pd.DataFrame) -> Iterator[Finding]:
    """The API server refuses the plugin on a node; that it cannot be reached is told in ``felix/checks.py``."""
    yield from _by_node(errors, "cni-unauthorized")


@check("cni-error", needs={"errors": "cni.errors"})
def cni_error(errors: pd.DataFrame) -> Iterator[Finding]:
    """The plugin fails on a node for a cause that no other id names: one finding for each node and cause."""
    yield from _by_node(errors, "cni-error")


def _by_node(errors: pd.DataFrame, id_: str) -> Iterator[Finding]:
    ours = errors[errors["open"] & (errors["finding"] == id_)]
    for (node, word), group in ours.groupby(["node", "cause"], dropna=False):
        where = node if isinstance(node, str) else UNKNOWN
        yield _finding(where, BY_WORD[str(word)], group.sort_values("last"))


def _finding(node: str, cause: Any, group: pd.DataFrame) -> Finding:
    message = str(group["error"].iloc[-1])
    pods = sorted(pod_ref(r) for r in records(group[group["pod"].notna()]))
    subject = {"node": node, "message": message} if cause.finding == "cni-error" else {"node": node}
    return finding(
        cause.finding,
        subject=subject,
        cause=f"On {node}, {cause.means}: {message[:300]}" + (f" ({named(pods)})" if pods else ""),
        remedy=cause.remedy,
        evidence=error_rows(group),
    )


@check(
    "cni-conflict",
    needs={"configs": "cni.configs"},
    wants={"leftovers": "cni.leftovers", "installations": "installations"},
)
def cni_conflict(
    configs: pd.DataFrame, leftovers: pd.DataFrame | None = None, installations: Objects | None = None
) -> Iterator[Finding]:
    """Nodes whose runtime takes another network's configuration, or where what another network left decides."""
    before = _taken_before(configs) if installs_calico(installations) else {}
    acting = {} if leftovers is None else {str(n): rows for n, rows in leftovers.groupby("node")}
    for node in sorted({*before, *acting}):
        found = [_first(node, *before[node])] if node in before else []
        found += [_left(node, acting[node])] if node in acting else []
        about = set(acting[node]["where"].tolist()) if node in acting else set()
        yield finding(
            "cni-conflict",
            subject={"node": node},
            cause=f"On {node}, {listed([words for words, _ in found])}.",
            remedy="Remove the other CNI's configuration, interfaces, routes and rules from the node (with its own "
            "clean-up, or by rebooting after deleting its files), then recreate the pods that it set up.",
            evidence=[rows for _, rows in found],
            about={node, *about},
        )


def _first(node: str, first: Any, calico: Any) -> tuple[str, Rows]:
    words = (
        f"{first.file} ({', '.join(first.plugins)}) sorts before {calico.file}, so that it sets up new pods instead "
        "of Calico"
    )
    return words, Rows.of("cni-net.d", "cni.configs", [{"node": node, "place": first.place}], node)


def _left(node: str, left: pd.DataFrame) -> tuple[str, Rows]:
    told = [f"{r.network}'s {r.what} {r.where} ({r.words})" for r in records(left.head(MOST_NAMED))]
    more = f" and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
    keys = [{"node": node, "where": r.where} for r in records(left)]
    words = f"leftovers of another CNI override Calico: {'; '.join(told)}{more}"
    return words, Rows.of("ip-route-all", "cni.leftovers", keys, node)


def _taken_before(configs: pd.DataFrame) -> dict[str, tuple[Any, Any]]:
    """Node → the configuration that its runtime takes, and Calico's, where the first passes nothing on to Calico."""
    found = {}
    for node, rows in configs.groupby("node"):
        files = list(records(rows.sort_values("place")))
        calico = next((f for f in files if f.calico), None)
        if calico is not None and not files[0].calico and not files[0].delegates:
            found[str(node)] = files[0], calico
    return found


@explains("cni-conflict", "route-conflict", on="node")
def _its_route(cause: Finding, effect: Finding) -> bool:
    return effect.subject["cidr"] in cause.about


@explains("cni-conflict", "foreign-drop-rule", on="node")
def _its_rule(cause: Finding, effect: Finding) -> bool:
    return f"{effect.subject['table']} {effect.subject['chain']}" in cause.about


for _effect in ("pod-route-missing", "cni-error", "ipam-unallocated-in-use"):
    explains("cni-conflict", _effect, on="node", of=named_or_about)(always)


def error_rows(errors: pd.DataFrame) -> list[Rows]:
    """The rows of ``cni.errors`` as evidence, by where they were read."""
    rows = []
    for (ref, node), group in errors.groupby(["evidence", "node"], dropna=False):
        keys = [{"namespace": r.namespace, "pod": r.pod} for r in records(group)]
        if str(ref).startswith("api/"):
            rows.append(Rows.of("events", "cni.errors", keys))
        else:
            rows.append(Rows.of("cni-log", "cni.errors", keys, str(node)))
    return rows

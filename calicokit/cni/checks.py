"""Checks of the CNI plugin: pods that cannot start, for causes that are not IPAM's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.cni.causes import BY_WORD
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, finding
from calicokit.kube.tables import pod_ref
from calicokit.schema import records

MOST_NAMED = 3


def named(pods: list[str]) -> str:
    """``2 pods wait: a, b``, the first few by name."""
    more = f" and {len(pods) - MOST_NAMED} more" if len(pods) > MOST_NAMED else ""
    return f"{len(pods)} pod{'s wait' if len(pods) > 1 else ' waits'}: {', '.join(pods[:MOST_NAMED])}{more}"


@check("cni-unauthorized", needs=("cni.errors",))
def credentials(errors: pd.DataFrame) -> Iterator[Finding]:
    """The API server refuses the plugin on a node; that it cannot be reached is told in ``felix/checks.py``."""
    yield from _by_node(errors, "cni-unauthorized")


@check("cni-error", needs=("cni.errors",))
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

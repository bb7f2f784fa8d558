"""Calico's pods, its API and the operator's words as kubectl prints them, in lower rank."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.health.apis import APIS, V3
from calicokit.health.operator import GOOD, NO_REASON, OPERATOR
from calicokit.health.tables import COMPONENTS, PODS
from calicokit.kube.printed import RUNS, phase_of, pod_rows, restarts
from calicokit.parsers.kubernetes.objects import seconds
from calicokit.registry import printed
from calicokit.schema import cells, records

STARTING = 90.0
"""Seconds for which a pod that is not ready may be starting."""

NAMESPACES = ("calico-system", "kube-system", "calico-apiserver", "tigera-operator", None)
_COMPONENT = re.compile(rf"({'|'.join(sorted(COMPONENTS, key=len, reverse=True))})-[a-z0-9-]{{5,60}}")


@printed("health.pods", needs={"texts": "kubectl-get-pods-wide"})
def pods(texts: Texts) -> pd.DataFrame:
    """One row for each printed pod whose name is one of Calico's; see :data:`~calicokit.health.tables.PODS`.

    ``ready`` is null for one that may be starting, is being deleted, or has ended.
    """
    rows: list[dict[str, Any]] = []
    for evidence, found in pod_rows(texts):
        for row in found:
            name = _COMPONENT.fullmatch(row["pod"])
            if name and row["namespace"] in NAMESPACES:
                rows.append({"component": COMPONENTS[name[1]], **_pod(row), "evidence": evidence.ref})
    return PODS.frame(rows)


def _pod(row: Any) -> dict[str, Any]:
    fields, ready = row["fields"], row["ready"]
    status = str(fields["status"])
    age = seconds(str(fields.get("age", "")))
    whole = ready[1] == ready[2] and status == "Running"
    told = whole or (age is not None and age > STARTING and _should_be_ready(status))
    return {
        **{k: row[k] for k in ("namespace", "pod", "node")},
        "phase": phase_of(status),
        "ready": whole if told else None,
        "message": None if whole else f"{ready[0]} of its containers are ready",
        "waiting": _waiting(status),
        "restarts": restarts(fields)[0],
        "oom_killed": True if status == "OOMKilled" else None,
    }


def _waiting(status: str) -> str | None:
    """The reason of a waiting container that STATUS names; null where it is a state of the pod.

    >>> _waiting("CrashLoopBackOff"), _waiting("Init:CrashLoopBackOff"), _waiting("Init:0/2"), _waiting("Running")
    ('CrashLoopBackOff', 'CrashLoopBackOff', None, None)
    """
    word = status.removeprefix("Init:")
    return word if word.endswith(("BackOff", "Error", "ErrImagePull")) and word != "Error" else None


def _should_be_ready(status: str) -> bool:
    """Whether a pod with this STATUS is neither being deleted nor has ended for good."""
    return status in RUNS or status not in ("Terminating", "Completed", "Succeeded", "Evicted", "Failed")


_SERVICE = re.compile(r"(True|False|Unknown)(?: \((\S{1,200})\))?")


@printed("health.apis", needs={"texts": "kubectl-get-apiservices"})
def apis(texts: Texts) -> pd.DataFrame:
    """One row for each API of Calico's that was printed; see :data:`~calicokit.health.apis.APIS`."""
    rows: dict[str, dict[str, Any]] = {}
    for frame in texts.frames("kubectl-get"):
        for name, fields, ref in cells(frame[frame["name"].notna()], "name", "fields", "evidence"):
            version, _, group = name.partition(".")
            said = _SERVICE.fullmatch(str(fields.get("available", "")))
            if group == V3 and said and fields.get("service") != "Local":
                state = {"True": True, "False": False}.get(said[1])
                row = {"api": f"{V3}/{version}", "available": state, "service": fields.get("service")}
                rows[name] = {**row, "why": said[2] if state is False else None, "evidence": ref}
    return APIS.frame(list(rows.values()))


CONDITIONS = ("Available", "Progressing", "Degraded")


@printed(
    "health.operator",
    any_of={"listed": "kubectl-get-tigerastatus", "described": "kubectl-describe-tigerastatus"},
)
def operator(listed: Texts | None, described: Texts | None) -> pd.DataFrame:
    """One row for each component and condition that was printed; see :data:`~calicokit.health.operator.OPERATOR`.

    A description, which has reason and message, goes before the line of a list.
    """
    rows = [*(_listed(listed) if listed else ()), *(_described(described) if described else ())]
    return OPERATOR.frame(list({(r["component"], r["condition"]): r for r in rows}.values()))


def _listed(texts: Texts) -> Iterator[dict[str, Any]]:
    for frame in texts.frames("kubectl-get"):
        for name, fields in cells(frame[frame["name"].notna()], "name", "fields"):
            said = {"message": fields.get("message") or None, "evidence": texts.id}
            for condition in CONDITIONS:
                yield from _condition(name, condition, fields.get(condition.lower(), ""), said)


def _described(texts: Texts) -> Iterator[dict[str, Any]]:
    for _, parsed in texts.parsed("kubectl-describe"):
        own = set(parsed.frame[parsed.frame["kind"] == "TigeraStatus"]["name"])
        for row in records(parsed.tables["conditions"]):
            reason = row.reason if isinstance(row.reason, str) and row.reason not in NO_REASON else None
            said = {"reason": reason, "message": row.message, "since": row.last_transition, "evidence": texts.id}
            if row.name in own and row.type in CONDITIONS:
                yield from _condition(row.name, row.type, row.status, said)


def _condition(component: str, condition: str, status: object, said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if status in ("True", "False", "Unknown"):
        row = {"component": component, "kind": "TigeraStatus", "condition": condition, "status": status}
        yield {**row, "good": status == GOOD[condition] if condition in GOOD else None, **said}

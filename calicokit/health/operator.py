"""Conditions that the Tigera operator reports: TigeraStatus, Installation and APIServer.

Types and reasons: tigera/operator, api/v1/tigerastatus_types.go (Available, Degraded, Progressing; in the conditions of
Installation and APIServer Ready stands for Available), commit 0ed9f59.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects
from calicokit.registry import Spared, UnseenError, not_applicable, table
from calicokit.schema import Column, Schema

OPERATOR = Schema(
    "health.operator",
    "Conditions that the operator reports of its components.",
    (
        Column("component", "str", "component: calico, apiserver, ippools, goldmane, whisker, …"),
        Column("kind", "str", "TigeraStatus, Installation or APIServer"),
        Column("condition", "str", "Available, Degraded or Progressing"),
        Column("status", "str", "True, False or Unknown"),
        Column("good", "bool", "the status is healthy; a component that is progressing is neither"),
        Column("reason", "str", "reason; null where the operator gives none"),
        Column("message", "str", "message"),
        Column("since", "time", "last change"),
        Column("evidence", "str", "id of the evidence"),
    ),
    key=("kind", "component", "condition"),
    verified=False,
    source="api/v1/tigerastatus_types.go in tigera/operator",
)

IDS = {"TigeraStatus": "tigerastatuses", "Installation": "installations", "APIServer": "apiservers"}
"""Kind → id of the evidence that lists it."""
AVAILABLE, DEGRADED = "Available", "Degraded"
GOOD = {AVAILABLE: "True", DEGRADED: "False"}
_NAMES = {"Ready": AVAILABLE}
NO_REASON = ("", "Unknown", "NotApplicable")


@table(
    OPERATOR,
    wants={
        "statuses": "tigerastatuses",
        "installations": "installations",
        "servers": "apiservers",
        "install": "health.install",
    },
)
def operator(
    statuses: Objects | None = None,
    installations: Objects | None = None,
    servers: Objects | None = None,
    install: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each component and condition; see :data:`OPERATOR`. No rows where Calico came from manifests."""
    if statuses is None and installations is None and servers is None and not _from_manifests(install):
        raise UnseenError("nothing of the operator's is known")
    rows: list[Object] = []
    for kind, objects, name in (
        ("TigeraStatus", statuses, None),
        ("Installation", installations, "calico"),
        ("APIServer", servers, "apiserver"),
    ):
        for found in objects.rows(partial(_conditions, kind, name)) if objects is not None else ():
            rows += found
    return OPERATOR.frame(rows)


def _from_manifests(install: pd.DataFrame | None) -> bool:
    return install is not None and bool((install["install"] == "manifest").any())


def _conditions(kind: str, component: str | None, item: Object) -> list[Object]:
    return [
        _row(c, kind, component or item["metadata"]["name"]) for c in (item.get("status") or {}).get("conditions") or ()
    ]


def _row(condition: Object, kind: str, component: str) -> dict[str, Any]:
    name = _NAMES.get(condition["type"], condition["type"])
    reason = condition.get("reason") or ""
    return {
        "component": component,
        "kind": kind,
        "condition": name,
        "status": condition["status"],
        "good": condition["status"] == GOOD[name] if name in GOOD else None,
        "reason": None if reason in NO_REASON else reason,
        "message": condition.get("message") or None,
        "since": condition.get("lastTransitionTime"),
        "evidence": IDS[kind],
    }


@not_applicable(needs={"install": "health.install"})
def _without_operator(install: pd.DataFrame) -> Spared:
    """A manifest install has no operator that could say anything."""
    if _from_manifests(install):
        yield from (("tigerastatuses", None), ("apiservers", None))

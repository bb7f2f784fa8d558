"""Two lists of API objects → what differs between them, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import pandas as pd

from calicokit.diff.tables import DIFFERENCES
from calicokit.evidence.objects import Object, Objects
from calicokit.evidence.recordings.redact import REDACTED

NOISE = frozenset(
    (
        *(
            "resourceVersion",
            "managedFields",
            "generation",
            "uid",
            "creationTimestamp",
            "selfLink",
            "observedGeneration",
        ),
        *("lastHeartbeatTime", "lastProbeTime", "lastUpdateTime", "renewTime", "lastSyncedTime"),
    )
)
"""Fields that the API server counts up, or that are written again though nothing changed."""

NOISY_NOTES = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",  # what the fields say
        "control-plane.alpha.kubernetes.io/leader",
        "endpoints.kubernetes.io/last-change-trigger-time",
        "deployment.kubernetes.io/revision",
    )
)
INTERNAL = {
    "ipamblocks": frozenset(
        (
            "spec.allocations",
            "spec.attributes",
            "spec.unallocated",
            "spec.sequenceNumber",
            "spec.sequenceNumberForAllocation",
        )
    ),
    "nodes": frozenset(("status.images", "status.volumesInUse", "status.volumesAttached")),
}
"""Bookkeeping: who has which address is the area `addresses`."""

CALICO_NOTE = "projectcalico.org/metadata"
NAMES = ("name", "type", "key", "containerPort", "ip")
"""Fields by which the parts of a list are told apart, where all have one of them, each another."""

MOST_SHOWN = 300


def differences(id: str, before: Objects, after: Objects) -> pd.DataFrame:  # noqa: A002 (the catalog's word)
    """Objects that only one list has, and fields that are not the same; see ``DIFFERENCES``.

    Objects of which a secret was taken out on one side are compared without it.
    """
    first, second = _by_name(before), _by_name(after)
    rows: list[dict[str, str | None]] = [
        {"change": "removed", "subject": n} for n in sorted(first.keys() - second.keys())
    ]
    rows += [{"change": "added", "subject": n} for n in sorted(second.keys() - first.keys())]
    for name in sorted(first.keys() & second.keys()):
        if first[name] != second[name]:
            rows += [{"change": "changed", "subject": name, **c} for c in _fields(id, first[name], second[name])]
    return DIFFERENCES.frame([{"area": "objects", "kind": id, **row} for row in rows])


def _by_name(objects: Objects) -> dict[str, bytes]:
    """Each object's text; most are the same on both sides to the byte, and only the others are decoded."""
    return {_HEAD.decode(raw).name: bytes(raw) for raw in objects.raw}


class _Meta(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Head(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)

    @property
    def name(self) -> str:
        return "/".join(filter(None, (self.metadata.namespace, self.metadata.name)))


_HEAD = msgspec.json.Decoder(_Head)


def _fields(id_: str, before: bytes, after: bytes) -> Iterator[dict[str, str | None]]:
    first, second = (dict(_leaves(_cleaned(msgspec.json.decode(raw)))) for raw in (before, after))
    for path in sorted(first.keys() | second.keys()):
        a, b = first.get(path), second.get(path)
        internal = any(path == p or path.startswith((f"{p}.", f"{p}[")) for p in INTERNAL.get(id_, ()))
        if a != b and not internal and REDACTED not in (a, b):
            yield {"field": path, "before": _cut(a), "after": _cut(b)}


def _cleaned(item: Object) -> Object:
    """The object without its kind, and with the labels and annotations that Calico keeps in an annotation."""
    item = {k: v for k, v in item.items() if k not in ("kind", "apiVersion")}
    meta = item.get("metadata")
    notes = meta.get("annotations") if isinstance(meta, dict) else None
    if not isinstance(notes, dict):
        return item
    kept = {k: v for k, v in notes.items() if k not in NOISY_NOTES}
    with suppress(KeyError, TypeError, msgspec.DecodeError):
        kept[CALICO_NOTE] = msgspec.json.decode(kept[CALICO_NOTE])
    return {**item, "metadata": {**item["metadata"], "annotations": kept}}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Paths and their values; the parts of a list by their names where they have any, else by their place."""
    stack: list[tuple[str, Any]] = [(path, value)]
    while stack:
        path, here = stack.pop()
        if isinstance(here, Mapping) and here:
            stack += [(f"{path}.{k}" if path else str(k), v) for k, v in here.items() if k not in NOISE]
        elif isinstance(here, list) and any(isinstance(v, (Mapping, list)) for v in here):
            stack += [(f"{path}[{n}]", v) for n, v in zip(_names(here), here, strict=True)]
        elif here not in (None, {}, []):
            yield path, here if isinstance(here, str) else msgspec.json.encode(here).decode()


def _names(values: list[Any]) -> list[str]:
    for name in NAMES:
        found = [str(v[name]) for v in values if isinstance(v, Mapping) and name in v]
        if len(found) == len(values) == len(set(found)):
            return found
    return [str(i) for i in range(len(values))]


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"

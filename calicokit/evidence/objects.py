"""API lists as they come from the API server, and the rules for reading one object's metadata.

Calico's clients keep an object's true labels and annotations in the annotation ``projectcalico.org/metadata`` when the
object is a ``crd.projectcalico.org/v1`` custom resource (source: libcalico-go/lib/backend/k8s/resources/resources.go;
reference/versions.md, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pandas as pd

from calicokit.evidence.model import Evidence, Missing
from calicokit.schema import Schema, SchemaError

Object = dict[str, Any]


class OddShapeError(ValueError):
    """A document is not the list of API objects that it should be."""


@dataclass
class Objects:
    """The objects of one API list, with provenance; what could not be read goes to ``problems``, never lost."""

    id: str
    items: list[Object]
    ref: str = ""
    group: str = ""
    revision: int | None = None
    problems: list[Missing] = field(default_factory=list)

    def rows(self, read: Callable[[Object], Any]) -> Iterator[Any]:
        """``read(object)`` for each object; an object of an unexpected shape becomes a problem and is passed over."""
        for item in self.items:
            try:
                yield read(item)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                self._reject(item, error)

    def frame(self, schema: Schema, read: Callable[[Object], Object | list[Object]]) -> pd.DataFrame:
        """A table of the rows that ``read`` gives for each object (one or several), with their evidence.

        Objects whose rows do not fit the schema become problems like those of an unexpected shape.
        """
        try:
            return schema.frame(row for rows in self.rows(read) for row in self._with_ref(rows))
        except SchemaError:
            fitting = [row for rows in self.rows(lambda item: self._fitting(schema, read(item))) for row in rows]
            return schema.frame(fitting)

    def _with_ref(self, rows: Object | list[Object]) -> list[Object]:
        return [{**row, "evidence": self.ref} for row in ([rows] if isinstance(rows, dict) else rows)]

    def _fitting(self, schema: Schema, rows: Object | list[Object]) -> list[Object]:
        schema.frame(full := self._with_ref(rows))
        return full

    def _reject(self, item: object, error: Exception) -> None:
        why = f"object {name_of(item)!r} has an unexpected shape and is left out ({type(error).__name__}: {error})"
        if (missing := Missing(self.id, why)) not in self.problems:
            self.problems.append(missing)


def name_of(item: object) -> str:
    """``namespace/name`` or ``name`` of an object of any shape, for messages."""
    meta = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(meta, dict):
        return "without metadata"
    return "/".join(str(meta[k]) for k in ("namespace", "name") if meta.get(k))


def decode_list(evidence: Evidence) -> Objects:
    """The objects in an API server's LIST answer (or a ``kubectl get -o json`` List of the same kind).

    Raises :class:`OddShapeError` with one sentence if the text is not such a list.
    """
    try:
        document = orjson.loads(evidence.text)
    except orjson.JSONDecodeError as error:
        raise OddShapeError(f"{evidence.ref} is not JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("items", []), list) or "kind" not in document:
        raise OddShapeError(f"{evidence.ref} is not a list of API objects")
    if document["kind"] == "Status":
        raise OddShapeError(f"{evidence.ref} holds a refusal by the API server: {document.get('message', '?')}")
    meta = document.get("metadata")
    revision = str(meta.get("resourceVersion", "")) if isinstance(meta, dict) else ""
    return Objects(
        id=evidence.id,
        items=document.get("items") or [],
        ref=evidence.ref,
        group=str(document.get("apiVersion", evidence.group)),
        revision=int(revision) if revision.isdigit() else None,
    )


def spec(item: Object) -> Object:
    """The object's spec, empty where it has none."""
    return item.get("spec") or {}


def calico_metadata(item: Object) -> Object:
    """Calico's own metadata of a ``crd.projectcalico.org/v1`` object, empty where there is none."""
    text = (item["metadata"].get("annotations") or {}).get("projectcalico.org/metadata")
    found = orjson.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def labels(item: Object) -> dict[str, str]:
    """The labels that Calico sees: the object's own, overlaid with those in its metadata annotation."""
    return {**(item["metadata"].get("labels") or {}), **(calico_metadata(item).get("labels") or {})}

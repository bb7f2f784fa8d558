"""API lists as they come from the API server, and the rules for reading one object's metadata.

Calico's clients keep an object's true labels and annotations in the annotation ``projectcalico.org/metadata`` when the
object is a ``crd.projectcalico.org/v1`` custom resource (source: libcalico-go/lib/backend/k8s/resources/resources.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import pandas as pd

from calicokit.evidence.catalog import CATALOG, Api
from calicokit.evidence.model import ODD_SHAPE, Evidence, Missing, PartlyRead
from calicokit.schema import Schema, SchemaError

Object = dict[str, Any]
Row = Object | tuple[Any, ...]


class OddShapeError(ValueError):
    """A document is not the list of API objects that it should be."""


class _List(msgspec.Struct):
    """The envelope of a list. Its items stay bytes until a table reads them: 250,000 pods are 2 GB as dicts."""

    kind: str
    apiVersion: str = ""  # noqa: N815 (the API's name)
    metadata: dict[str, Any] = {}
    items: list[msgspec.Raw] | None = None
    message: str = ""


_LIST, _ITEM = msgspec.json.Decoder(_List), msgspec.json.Decoder()


@dataclass
class Objects:
    """The objects of one API list, with provenance; what could not be read goes to ``problems``, never lost."""

    id: str
    raw: list[msgspec.Raw]
    ref: str = ""
    group: str = ""
    revision: int | None = None
    problems: list[Missing] = field(default_factory=list)

    def rows(self, read: Callable[[Object], Any]) -> Iterator[Any]:
        """``read(object)`` for each object; an object of an unexpected shape becomes a problem and is passed over."""
        for raw in self.raw:
            item: Any = None
            try:
                item = _ITEM.decode(raw)
                _check_metadata(item["metadata"])
                found = read(item)
            except (*ODD_SHAPE, RecursionError) as error:
                self.reject(item, error)
            else:
                yield found

    def frame(self, schema: Schema, read: Callable[[Object], Row | Sequence[Row]]) -> pd.DataFrame:
        """A table of the rows that ``read`` gives for each object (one or several), with their evidence.

        A row is a dict, or, where there are many, a tuple of all columns but the evidence. Objects whose rows do not
        fit the schema become problems like those of an unexpected shape.
        """
        rows = [row for given in self.rows(read) for row in (given if isinstance(given, list) else [given])]
        try:
            return self._with_ref(_framed(schema, rows))
        except SchemaError:
            fitting = [row for rows in self.rows(lambda item: _fitting(schema, read(item))) for row in rows]
            return self._with_ref(_framed(schema, fitting))

    def _with_ref(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame["evidence"] = pd.Series([self.ref] * len(frame), dtype="str")
        return frame

    def reject(self, item: object, error: Exception) -> None:
        """Note an object of an unexpected shape, once."""
        why = f"object {name_of(item)!r} has an unexpected structure and is skipped ({type(error).__name__}: {error})"
        if (missing := PartlyRead(self.id, why)) not in self.problems:
            self.problems.append(missing)


def _framed(schema: Schema, rows: list[Row]) -> pd.DataFrame:
    if rows and isinstance(rows[0], tuple):
        return schema.frame(dict(zip(schema.names[:-1], zip(*rows, strict=True), strict=True)))
    return schema.frame(rows)  # type: ignore[arg-type]  # all rows of one reader are of one kind


def _fitting(schema: Schema, given: Row | Sequence[Row]) -> list[Row]:
    """The rows of one object, if they fit the schema; else ``SchemaError``."""
    rows: list[Row] = given if isinstance(given, list) else [given]  # type: ignore[list-item]
    _framed(schema, rows)
    return rows


def _check_metadata(meta: Object) -> None:
    """Raise where a name or a label is no text, of which tables' keys are made and by which policy selects."""
    texts = [meta["name"], meta.get("namespace") or "", *(meta.get("labels") or {}).values()]
    if not all(type(text) is str for text in texts):
        raise TypeError("its name or a label is no text")


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
        document = _LIST.decode(evidence.text)
    except msgspec.ValidationError as error:
        raise OddShapeError(f"{evidence.ref} is not a list of API objects") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OddShapeError(f"{evidence.ref} is not JSON ({error})") from error
    if document.kind == "Status":
        raise OddShapeError(f"{evidence.ref} contains an API server error: {document.message or '?'}")
    if (told := _plural(document.kind)) in _plurals() and told not in _plurals_of(evidence.id):
        raise OddShapeError(f"{evidence.ref} is a list of {told}")
    revision = str(document.metadata.get("resourceVersion", ""))
    return Objects(
        id=evidence.id,
        raw=_distinct(document.items or []),
        ref=evidence.ref,
        group=document.apiVersion or evidence.group,
        revision=int(revision) if revision.isdigit() else None,
    )


def _distinct(items: list[msgspec.Raw]) -> list[msgspec.Raw]:
    """Each object once: lists that were put together twice hold the same bytes twice."""
    return list({hash(bytes(raw)): raw for raw in items}.values())


def _plural(kind: str) -> str:
    """The plural that a list's kind is of; empty for the ``List`` that kubectl writes.

    >>> _plural("NetworkPolicyList"), _plural("CalicoNodeStatusList"), _plural("List")
    ('networkpolicies', 'caliconodestatuses', '')
    """
    word = kind.removesuffix("List").lower()
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith("s") else f"{word}s" if word else ""


def _plurals_of(id: str) -> tuple[str, ...]:  # noqa: A002
    how = CATALOG[id].how
    return how.plurals if isinstance(how, Api) else ()


@cache
def _plurals() -> frozenset[str]:
    """All kinds that the catalog knows."""
    return frozenset(plural for id_ in CATALOG for plural in _plurals_of(id_))


def spec(item: Object) -> Object:
    """The object's spec, empty where it has none."""
    return item.get("spec") or {}


def calico_metadata(item: Object) -> Object:
    """Calico's own metadata of a ``crd.projectcalico.org/v1`` object, empty where there is none."""
    text = (item["metadata"].get("annotations") or {}).get("projectcalico.org/metadata")
    found = _ITEM.decode(text) if text else {}
    return found if isinstance(found, dict) else {}


def labels(item: Object) -> dict[str, str]:
    """The labels that Calico sees: the object's own, overlaid with those in its metadata annotation."""
    return {**(item["metadata"].get("labels") or {}), **(calico_metadata(item).get("labels") or {})}

"""What an API server says that it serves, in the words of ``kubectl api-resources``.

Newer servers tell all groups in one answer (aggregated discovery, apidiscovery.k8s.io, Kubernetes 1.26 and later), in
which a version whose own server does not answer is ``Stale``; older ones are asked group by group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from calicokit.evidence.live.api import ApiError

_AGGREGATED = ",".join(
    [f"application/json;g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList" for v in ("v2", "v2beta1")]
    + ["application/json"]
)
_HEAD = ("NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND")
INCOMPLETE = "error: unable to retrieve the complete list of server APIs: "
"""How kubectl begins its line about groups that do not answer."""

Get = Callable[[str, str], bytes]
Row = tuple[str, ...]


def api_resources(get: Get) -> tuple[str, str]:
    """The table that kubectl prints, and its line on standard error; empty where every group answers.

    ``get`` gives the body for a path and an Accept header. Raises :class:`ApiError` if nothing can be discovered.
    """
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for path in ("/api", "/apis"):
        answer: dict[str, Any] = msgspec.json.decode(get(path, _AGGREGATED))
        if answer.get("kind") == "APIGroupDiscoveryList":
            for item in answer.get("items") or ():
                rows += _of_group(item, failed)
        else:
            rows += _one_by_one(get, path, answer, failed)
    return _printed(rows), _complaint(failed)


def _of_group(item: dict[str, Any], failed: dict[str, str]) -> Iterator[Row]:
    """The rows of a group's preferred version, which comes first."""
    group = (item.get("metadata") or {}).get("name") or ""
    versions = item.get("versions") or []
    names = [f"{group}/{v['version']}" if group else v["version"] for v in versions]
    for name, version in zip(names, versions, strict=True):
        if version.get("freshness", "Current") != "Current":
            failed[name] = f"stale GroupVersion discovery: {name}"
    for resource in (versions[0].get("resources") or ()) if versions else ():
        kind = (resource.get("responseKind") or {}).get("kind") or ""
        scope = str(resource.get("scope") == "Namespaced").lower()
        yield resource["resource"], ",".join(resource.get("shortNames") or ()), names[0], scope, kind


def _one_by_one(get: Get, path: str, answer: dict[str, Any], failed: dict[str, str]) -> Iterator[Row]:
    names = answer.get("versions") or [g["preferredVersion"]["groupVersion"] for g in answer.get("groups") or ()]
    for name in names:
        try:
            found: dict[str, Any] = msgspec.json.decode(get(f"{path}/{name}", "application/json"))
        except ApiError as error:
            failed[name] = str(error)
            continue
        for r in found.get("resources") or ():
            if "/" not in r["name"]:
                yield r["name"], ",".join(r.get("shortNames") or ()), name, str(r["namespaced"]).lower(), r["kind"]


def _printed(rows: list[Row]) -> str:
    table = [_HEAD, *rows]
    widths = [max(len(row[i]) for row in table) + 3 for i in range(len(_HEAD) - 1)]
    lines = ("".join(w.ljust(n) for w, n in zip(row, [*widths, 0], strict=True)) for row in table)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _complaint(failed: dict[str, str]) -> str:
    return INCOMPLETE + ", ".join(f"{name}: {why}" for name, why in failed.items()) if failed else ""

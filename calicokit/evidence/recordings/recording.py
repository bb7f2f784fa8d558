"""A recording as a source: the directory, .zip or .tar.xz layout of docs/contracts.md, version 1.

Diagnosis sees only the files that the catalog names: never ``cause.json``, ``probes.json``, the description or name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from calicokit.evidence.catalog import CATALOG, Api, Item, Log, Metrics
from calicokit.evidence.files import Files, open_files
from calicokit.evidence.model import Answer, Evidence, Missing, Source, SourceError, Want
from calicokit.net import NODE_NAME

FOLDERS = ("api", "cluster", "nodes")
PODS = "cluster/pods/"
"""Here stand the logs and scrapes of a component's other pods, each in a folder of its name."""

NO_OBJECTS = "manifest.json"
"""Where it stands that a group which is not served has no objects."""

API_RESOURCES = "cluster/kubectl-api-resources.txt"
"""Where it stands which kinds the API server had."""

EMPTY_LIST = b'{"kind":"List","items":[]}'
SERIES_TIME = "%Y%m%dT%H%M%SZ"
ALWAYS = (("pods", "v1"), ("volumeattachments", "storage.k8s.io/v1"))
"""Kinds of the first and the last group that every API server lists: between them its list is whole."""


class Recording(Source):
    """What ``calicokit capture`` and the lab write; opened lazily, each file read when something needs it.

    Raises :class:`SourceError` if there is nothing in it that the kit knows.
    """

    def __init__(self, where: Path | Files, name: str = "") -> None:
        self.name = name or str(where)
        self._where = where

    @cached_property
    def _files(self) -> Files:
        files = self._where if isinstance(self._where, Files) else open_files(self._where)
        roots = {_root(name) for name in files.names} - {None}
        if not roots:
            raise SourceError(
                f"{self.name} holds nothing that calicokit knows: a recording has a manifest.json and the folders "
                f"{', '.join(FOLDERS)}."
            )
        return files.below(min((r for r in roots if r is not None), key=lambda r: (r.count("/"), r)))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest; empty if it is absent or unreadable, as the files speak for themselves."""
        try:
            found = msgspec.json.decode(self._files.read("manifest.json"))
        except (KeyError, OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def asked_by(self) -> str:
        """The version of the kit that chose what to ask for; "" where the manifest names none."""
        said = self.manifest.get("asked_by", self.manifest.get("captured_by"))
        return str(said).removeprefix("calicokit").strip() if said else ""

    @property
    def calico_namespace(self) -> str:
        """What is said now, else what was said when it was captured."""
        return super().calico_namespace or str(self.manifest.get("calico_namespace") or "")

    def nodes(self) -> Sequence[str]:
        """Nodes with a folder of their own."""
        return sorted(self._nodes)

    @property
    def unused(self) -> Sequence[Missing]:
        """Folders whose name no node can have."""
        odd = sorted(n for n in self._folders if not NODE_NAME.fullmatch(n))
        return [Missing("nodes", f"nodes/{name} is not read: no node can have that name") for name in odd]

    @cached_property
    def _nodes(self) -> frozenset[str]:
        return frozenset(filter(NODE_NAME.fullmatch, self._folders))

    @cached_property
    def _folders(self) -> frozenset[str]:
        parts = (name.split("/", 2) for name in [*self._files.names, *self._files.refused])
        return frozenset(p[1] for p in parts if len(p) == 3 and p[0] == "nodes")

    @cached_property
    def _file_names(self) -> frozenset[str]:
        """The names of all files, without their folders."""
        return frozenset(name.rpartition("/")[2] for name in self._files.names)

    @cached_property
    def _of_pods(self) -> dict[str, list[str]]:
        """Name of a file → where components' other pods have it."""
        found: dict[str, list[str]] = {}
        for path in sorted(n for n in self._files.names if n.startswith(PODS)):
            found.setdefault(path.rpartition("/")[2], []).append(path)
        return found

    @cached_property
    def _samples(self) -> dict[tuple[str | None, str], list[tuple[str, str]]]:
        """Node and name of a file → time and path of each sample."""
        found: dict[tuple[str | None, str], list[tuple[str, str]]] = {}
        for path in sorted(self._files.names):
            if (sample := _sample_of(path)) is not None:
                node, time, name = sample
                found.setdefault((node, name), []).append((time, path))
        return found

    def now(self) -> datetime | None:
        """The manifest's ``recorded``."""
        try:
            found = datetime.fromisoformat(str(self.manifest.get("recorded", "")))
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        """Answer each want from its file."""
        for want in wants:
            item = CATALOG[want.id]
            answers = self._series(want, item) if want.series else [self._one(want, item), *self._others(want, item)]
            answers = list(answers)
            for answer in answers or [Missing(want.id, "not sampled over time in this recording", want.node)]:
                yield want, answer

    def _one(self, want: Want, item: Item) -> Answer:
        files = self._files
        path = next((p for p in item.files(want.node) if p in files.names or p in files.refused), None)
        if path is not None:
            return self._read(want, path)
        if isinstance(item.how, Api) and self._known_empty(item.how):
            return Evidence(want, EMPTY_LIST, NO_OBJECTS, item.how.groups[0])
        if isinstance(item.how, Api) and (self._older(item.how) if item.how.newer else self._unserved(item.how)):
            return Evidence(want, EMPTY_LIST, API_RESOURCES, item.how.groups[0])
        if self._younger(item):
            why = f"not asked for when this was recorded; calicokit does so since {item.since}"
            return Missing(want.id, why, want.node, younger=True)
        return Missing(want.id, _why_absent(want, item, self._nodes), want.node)

    def _younger(self, item: Item) -> bool:
        """Whether nobody can have asked for this, and indeed no node and no group has it."""
        return item.younger_than(self.asked_by) and self._file_names.isdisjoint(item.file_names)

    def _others(self, want: Want, item: Item) -> Iterator[Answer]:
        """What the component's other pods have, where a component has several."""
        if want.node is None and isinstance(item.how, Log | Metrics):
            for path in self._of_pods.get(item.file, ()):
                yield self._read(want, path)

    def _series(self, want: Want, item: Item) -> Iterator[Answer]:
        samples = (s for name in item.file_names for s in self._samples.get((want.node, name), ()))
        for time, path in sorted(samples):
            yield self._read(want, path, _series_time(time))

    def _read(self, want: Want, path: str, time: datetime | None = None) -> Answer:
        try:
            text = self._files.read(path)
        except OSError as error:
            return Missing(want.id, f"{path} cannot be read: {error}", want.node)
        rows = self.manifest.get("files")
        row = rows.get(path) if isinstance(rows, dict) else None
        row = row if isinstance(row, dict) else {}
        status = row.get("exit")
        return Evidence(
            want,
            text,
            path=path,
            command=str(row.get("command", "")),
            exit=status if isinstance(status, int) else None,
            stderr=str(row.get("stderr", "")),
            partial=str(row.get("partial") or ""),
            time=time or self.now(),
        )

    def _known_empty(self, api: Api) -> bool:
        groups = self.manifest.get("no_objects")
        return isinstance(groups, list) and all(g.split("/")[0] in groups for g in api.groups)

    def _older(self, api: Api) -> bool:
        """Whether the API server had one of the groups, and in none of them this kind."""
        served = [set(w) & set(api.plurals) for w in self._resources if set(w) & set(api.groups)]
        return bool(served) and not any(served)

    def _unserved(self, api: Api) -> bool:
        """Whether the API server, asked for all that it serves, named no such kind of an optional group."""
        served = self._resources
        whole = all(any(w[0] == kind and group in w for w in served) for kind, group in ALWAYS)
        groups = {g.partition("/")[0] for g in api.groups}
        here = (w for w in served if w[0] in api.plurals and groups & {t.partition("/")[0] for t in w})
        return api.optional and whole and not any(here)

    @cached_property
    def _resources(self) -> list[list[str]]:
        """The words of each line of ``kubectl api-resources``; none where the recording does not have it."""
        if API_RESOURCES not in self._files.names:
            return []
        try:
            text = self._files.read(API_RESOURCES).decode("utf-8", "replace")
        except OSError:
            return []
        return [words for line in text.splitlines() if (words := line.split())]


def is_recording(files: Files) -> bool:
    """Whether these are a recording's: a manifest beside its folders, or API lists under their names in it."""
    lists = {path for item in CATALOG.values() if isinstance(item.how, Api) for path in item.files()}
    roots = {r for n in files.names if (r := _root(n)) is not None}
    return any(
        f"{r}/manifest.json".lstrip("/") in files.names or any(f"{r}/{p}".lstrip("/") in files.names for p in lists)
        for r in roots
    )


def _root(name: str) -> str | None:
    """The folder of a recording that this file is evidence for, None if it is evidence for none."""
    parts = name.split("/")
    for depth, part in enumerate(parts[:-1]):
        if part in FOLDERS:
            return "/".join(parts[:depth])
    return None


def _sample_of(path: str) -> tuple[str | None, str, str] | None:
    """Node (None for the cluster), time and name of a file in a series' folder; None for any other file."""
    match path.split("/"):
        case ["cluster", "series", time, name]:
            return None, time, name
        case ["nodes", node, "series", time, name]:
            return node, time, name
    return None


def _why_absent(want: Want, item: Item, nodes: frozenset[str]) -> str:
    if isinstance(item.how, Api):
        return "not listed in this recording"
    if want.node and want.node not in nodes:
        return "this recording has no files of that node"
    if isinstance(item.how, Metrics):
        return f"not in this recording; scrapes need {item.how.setting}"
    return "not in this recording"


def _series_time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, SERIES_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None

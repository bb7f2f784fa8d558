"""Files of the bundled incidents, for tests."""

from __future__ import annotations

import json
import tarfile
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from calicokit.evidence.recordings.incidents import index


@cache
def _files(name: str) -> dict[str, bytes]:
    """Path in the recording → content; an archive has one folder on top, which the paths leave out."""
    with tarfile.open(index()[name].path) as archive:
        members = [(member, archive.extractfile(member)) for member in archive if member.isfile()]
        return {member.name.partition("/")[2]: file.read() for member, file in members if file}


def names() -> list[str]:
    """The incidents' names, sorted."""
    return sorted(index())


@cache
def paths(name: str, pattern: str = "*") -> list[str]:
    """Paths of an incident's files that match a pattern, in which ``*`` also stands for slashes."""
    return sorted(path for path in _files(name) if fnmatchcase(path, pattern))


@cache
def read(name: str, path: str) -> bytes:
    """One file's content."""
    return _files(name)[path]


def probes(name: str) -> list[dict[str, Any]]:
    """Connections that were really tried, and what became of each."""
    found: list[dict[str, Any]] = json.loads(read(name, "probes.json"))
    return found


def probed() -> list[str]:
    """The incidents in which connections were tried."""
    return [n for n in names() if paths(n, "probes.json")]

"""Files of the bundled incidents, for tests."""

from __future__ import annotations

import tarfile
from fnmatch import fnmatchcase
from functools import cache

from calicokit.evidence.incidents import index


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

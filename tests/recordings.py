"""Files of the recordings, for tests: out of the bundled incidents, or of the laboratory's directory without those."""

from __future__ import annotations

import tarfile
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

INCIDENTS = Path(__file__).parents[1] / "calicokit" / "incidents"
LABORATORY = Path("/work/shared/recordings")


@cache
def _archives() -> dict[str, Path]:
    return {path.name.removesuffix(".tar.xz"): path for path in sorted(INCIDENTS.glob("*.tar.xz"))}


@cache
def _archived(name: str) -> dict[str, bytes]:
    """Path in the recording → content; an archive has one folder on top, which the paths leave out."""
    with tarfile.open(_archives()[name]) as archive:
        members = [(member, archive.extractfile(member)) for member in archive if member.isfile()]
        return {member.name.partition("/")[2]: file.read() for member, file in members if file}


def names() -> list[str]:
    """The recordings' names, sorted."""
    if _archives():
        return list(_archives())
    return sorted(path.name for path in LABORATORY.iterdir()) if LABORATORY.is_dir() else []


@cache
def paths(name: str, pattern: str = "*") -> list[str]:
    """Paths of a recording's files that match a pattern, in which ``*`` also stands for slashes."""
    if name in _archives():
        found = list(_archived(name))
    else:
        root = LABORATORY / name
        found = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return sorted(path for path in found if fnmatchcase(path, pattern))


@cache
def read(name: str, path: str) -> bytes:
    """One file's content."""
    return _archived(name)[path] if name in _archives() else (LABORATORY / name / path).read_bytes()

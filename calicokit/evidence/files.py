"""Reading files out of a directory or an archive that somebody sent, without trusting it.

Links are not followed, only regular files are read; names and links that leave the archive and archives that unpack to
far more than they are are refused.
"""

from __future__ import annotations

import codecs
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Self

from calicokit.evidence.model import SourceError

MAX_FILES = 500_000
MAX_BYTES = 8 << 30
MAX_FILE_BYTES = 1 << 30
MAX_TAR_BYTES = 2 << 30
"""A compressed tar has no index, so it is unpacked into memory."""

BOMB_BYTES = 256 << 20
BOMB_RATIO = 400
"""Text of a cluster shrinks 8 to 60 times; what unpacks to more than 256 MiB and 400 times its size is a bomb."""

TOO_LARGE = f"larger than {MAX_FILE_BYTES >> 20} MiB"
MAX_EXTENSION_BYTES = 1 << 20
EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
"""What tar keeps before a member's header: names and times, of a few hundred bytes."""

TAR_SUFFIXES = (".tar", ".tar.xz", ".txz", ".tar.gz", ".tgz", ".tar.bz2")


@dataclass
class Files:
    """The regular files of a source by their relative name, each read when it is asked for.

    ``refused`` holds what is there and is not read, with the reason.
    """

    names: dict[str, Callable[[], bytes]]
    refused: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises ``OSError`` with the reason if it cannot be read."""
        if name in self.refused:
            raise OSError(self.refused[name])
        return as_utf8(self.names[name]())

    def below(self, root: str) -> Files:
        """The same files as seen from a folder of them."""
        if not root:
            return self
        cut = len(root) + 1
        names = {n[cut:]: r for n, r in self.names.items() if n.startswith(root + "/")}
        return Files(names, {n[cut:]: why for n, why in self.refused.items() if n.startswith(root + "/")})


def open_files(path: Path) -> Files:
    """The files of a directory, .zip or .tar[.xz|.gz|.bz2], or the one file that it is.

    Raises :class:`SourceError` with one clear sentence.
    """
    try:
        if path.is_dir():
            return _directory(path)
        if not path.is_file():
            raise SourceError(
                f"{path} is neither a directory nor a regular file; give a recording's directory or .zip."
            )
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty; create it again, or check the copy.")
        if zipfile.is_zipfile(path):
            return _zip(path)
        if path.name.endswith(TAR_SUFFIXES):
            return _tar(path)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceError(f"{path} cannot be read ({reason}); check the copy, or its permissions.") from error
    return Files({path.name: partial(_read_file, path)})


def _directory(top: Path) -> Files:
    found = Files({})
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            key = _readable(path.relative_to(top).as_posix())
            if stat.S_ISREG(mode):
                found.names[key] = partial(_read_file, path)
            elif not stat.S_ISDIR(mode):
                found.refused[key] = "a symbolic link or special file, which is not followed"
        _limit(top, len(found.names), 0, 0)
    return found


def as_utf8(text: bytes) -> bytes:
    """A text as Linux writes it: without a byte order mark, and not in UTF-16, as Windows' shells save outputs.

    >>> as_utf8("\\ufeffBIRD".encode("utf-16-le")), as_utf8(b"BIRD")
    (b'BIRD', b'BIRD')
    """
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return text.decode("utf-16", "replace").encode()
    return text.removeprefix(codecs.BOM_UTF8)


def _readable(name: str) -> str:
    """A name of which every character can be printed: Linux' names are bytes, of any kind."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise OSError(TOO_LARGE)
    return path.read_bytes()


def _zip(path: Path) -> Files:
    archive = zipfile.ZipFile(path)
    members = archive.infolist()
    _limit(path, len(members), sum(m.file_size for m in members), path.stat().st_size)
    found = Files({})
    for member in members:
        name = _safe_name(path, member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            found.refused[name] = _safe_link(path, name, _read_zip(archive, member).decode("utf-8", "replace"))
        elif member.file_size > MAX_FILE_BYTES:
            found.refused[name] = TOO_LARGE
        elif not member.is_dir():
            found.names[name] = partial(_read_zip, archive, member)
    return found


def _read_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise OSError(str(error)) from error


def _tar(path: Path) -> Files:
    """Unpacked in one pass: the names come with the contents, so both are kept."""
    found = Files({})
    packed, total = path.stat().st_size, 0
    with tarfile.open(path, mode="r|*", tarinfo=_Header) as archive:
        for member in archive:
            name = _safe_name(path, member.name)
            total += member.size
            _limit(path, len(found.names), total, packed, MAX_TAR_BYTES)
            if member.issym() or member.islnk():
                found.refused[name] = _safe_link(path, name, member.linkname, member.islnk())
                continue
            if member.size > MAX_FILE_BYTES:
                found.refused[name] = TOO_LARGE
                continue
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None:
                found.names[name] = partial(bytes, file.read())
    return found


class _Header(tarfile.TarInfo):
    """A tar's header, whose extensions (long names, pax records) are read whole before anything else is known."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header in these bytes. Raises ``tarfile.ReadError`` for an extension that no tar program writes."""
        found = super().frombuf(buf, encoding, errors)
        if found.type in EXTENSIONS and found.size > MAX_EXTENSION_BYTES:
            raise tarfile.ReadError(f"a name in it has {found.size >> 20:,} MiB")
        return found


def _safe_name(path: Path, name: str) -> str:
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in (pure.parts[0] if pure.parts else ""):
        raise SourceError(
            f"{path} contains a member with a path outside the archive ({name!r}); refused, do not unpack it either."
        )
    return pure.as_posix()


def _safe_link(path: Path, name: str, target: str, hard: bool = False) -> str:
    """Why a link is not read; one that points out of the archive is no honest bundle's."""
    at = PurePosixPath(target if hard else f"{PurePosixPath(name).parent}/{target}")
    depth = 0
    for part in at.parts:
        depth += -1 if part == ".." else part != "."
        if depth < 0:
            break
    if depth < 0 or PurePosixPath(target).is_absolute() or "\\" in target:
        raise SourceError(
            f"{path} contains a link to outside the archive ({name}); refused, pack it again without links."
        )
    return f"a link to {target}, which is not followed"


def _limit(path: Path, count: int, total: int, packed: int, most: int = MAX_BYTES) -> None:
    if count > MAX_FILES:
        raise SourceError(f"{path} contains more than {MAX_FILES:,} files; refused.")
    if total > most or (total > BOMB_BYTES and total > BOMB_RATIO * packed):
        raise SourceError(
            f"{path} unpacks to {total >> 20:,} MiB from {packed >> 10:,} KiB; refused as a decompression bomb."
        )

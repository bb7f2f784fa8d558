"""Write what a source shows as a recording (docs/contracts.md): redacted, resumable, the same for the same answers.

While it runs, files stand in ``OUT.partial/`` beside a journal with a line for each answer. A capture that broke off
goes on where it was: what the journal has is not asked again. At the end the folder is packed, in order and without
times of its own, and removed.
"""

from __future__ import annotations

import os
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from calicokit import __version__
from calicokit.evidence.catalog import CATALOG, ITEMS, Admin, Api, Item
from calicokit.evidence.model import Answer, Evidence, Missing, Source, SourceError, Want, asking
from calicokit.evidence.recordings.recording import NO_OBJECTS, SERIES_TIME
from calicokit.evidence.recordings.redact import redacted, scrubbed_words
from calicokit.progress import Progress

if TYPE_CHECKING:
    from calicokit.cluster import Cluster

EPOCH = (1980, 1, 1, 0, 0, 0)
JOURNAL, WITH_SECRETS = "journal.jsonl", "journal-with-secrets.jsonl"
"""The journal of a capture; one that keeps secrets has another, so that neither goes on with what the other wrote."""


@dataclass
class Captured:
    """What a capture wrote: where, how many pieces of evidence, what was redacted, and what could not be had."""

    path: Path
    files: int
    size: int
    redacted: dict[str, dict[str, int]]
    missing: list[Missing] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "files": self.files,
            "bytes": self.size,
            "redacted": self.redacted,
            "missing": [m.as_dict() for m in self.missing],
        }


class _Line(msgspec.Struct, omit_defaults=True):
    """One line of the journal: a want, and its file or why there is none."""

    id: str
    node: str | None = None
    sample: str = ""  # the time of the sample that it belongs to
    path: str = ""
    group: str = ""
    command: str = ""
    exit: int | None = None
    stderr: str = ""
    partial: str = ""
    why: str = ""
    redacted: dict[str, int] = {}


def capture(
    source: Source,
    out: Path,
    ids: Sequence[str] = (),
    nodes: Sequence[str] = (),
    samples: int = 0,
    interval: float = 10.0,
    redact: bool = True,
    description: str = "",
    progress: Progress | None = None,
) -> Captured:
    """Write a recording of a source to ``out``, a .zip, or a directory if its name has no such ending.

    ``ids`` are those of the catalog, all by default; ``nodes`` are all by default. With ``samples``, what the catalog
    says to be worth watching is first read so often, ``interval`` seconds apart. Raises :class:`SourceError` if the
    source answers nothing or ``out`` exists.
    """
    if out.exists():
        raise SourceError(f"{out} exists already; name another file, or remove it.")
    work = _Work(out, source, redact)
    live = source.live
    cluster = _cluster(source)
    chosen = [i for i in (map(CATALOG.__getitem__, ids) if ids else ITEMS) if not (live and isinstance(i.how, Admin))]
    watched = [i for i in chosen if i.watched]
    all_nodes = list(nodes) or cluster.nodes()
    but = set() if ids else set(cluster.unasked)
    for number in range(work.samples_done(), samples):
        start = time.monotonic()
        work.take(
            _wants(watched, all_nodes, but),
            progress,
            f"sample {number + 1} of {samples},",
            _now().strftime(SERIES_TIME),
        )
        if number + 1 < samples:
            time.sleep(max(0.0, interval - (time.monotonic() - start)))
    series = [] if live else [replace(w, series=True) for w in _wants(watched, all_nodes)]
    work.take(_wants(chosen, all_nodes, but) + series, progress, "")
    return work.finish(description)


def _cluster(source: Source) -> Cluster:
    """What tells which nodes there are, and what none of them is asked for."""
    from calicokit import registry
    from calicokit.cluster import Cluster

    registry.load()
    return Cluster(source)


def _wants(
    items: Iterable[Item], nodes: Sequence[str], but: AbstractSet[tuple[str, str | None]] = frozenset()
) -> list[Want]:
    items = list(items)
    of_cluster = [Want(i.id) for i in items if i.scope == "cluster"]
    of_nodes = [(i.id, n) for n in nodes for i in items if i.scope == "node" and (i.id, None) not in but]
    return of_cluster + [Want(*each) for each in of_nodes if each not in but]


class _Work:
    """The folder in which a recording grows."""

    def __init__(self, out: Path, source: Source, redact: bool) -> None:
        self.out, self.source = out, source
        self.folder = out.with_name(out.name + ".partial")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.redact = redact
        mine, others = (JOURNAL, WITH_SECRETS) if redact else (WITH_SECRETS, JOURNAL)
        self.path = self.folder / mine
        if (self.folder / others).exists():
            raise SourceError(
                f"{self.folder} was begun {'with' if redact else 'without'} --keep-secrets; go on so, or remove it."
            )
        self.lines = list(self._read())
        self.journal = self.path.open("ab")

    def _read(self) -> Iterator[_Line]:
        """The journal of a capture that broke off; a last line that was cut is asked again."""
        for text in self.path.read_bytes().split(b"\n") if self.path.exists() else ():
            try:
                yield msgspec.json.decode(text, type=_Line)
            except msgspec.DecodeError:
                continue

    def samples_done(self) -> int:
        return len({line.sample for line in self.lines if line.sample})

    def take(self, wants: list[Want], progress: Progress | None, what: str, sample: str = "") -> None:
        """Ask for what is not there yet and write each answer as it comes, as part of a sample if its time is given."""
        have = {(line.id, line.node) for line in self.lines if line.sample == sample and not line.why}
        new = [w for w in wants if w.series or (w.id, w.node) not in have]
        with asking(self.source, new) as answers:
            for number, (want, answer) in enumerate(answers, 1):
                if progress is not None:
                    progress(f"{what} {min(number, len(new))} of {len(new)} answers".strip())
                at = sample
                if want.series:  # samples that the source itself has
                    if isinstance(answer, Missing) or answer.time is None:
                        continue
                    at = answer.time.strftime(SERIES_TIME)
                self._keep(want, answer, at)

    def _keep(self, want: Want, answer: Answer, at: str) -> None:
        hidden: Counter[str] = Counter()
        if self.redact:
            answer, hidden = redacted(answer)
        if isinstance(answer, Missing):
            line = _Line(want.id, want.node, at, why=answer.why)
        else:
            line = self._write(want, answer, at)
            line.redacted = dict(sorted(hidden.items()))
        self.journal.write(msgspec.json.encode(line) + b"\n")
        self.journal.flush()
        self.lines.append(line)

    def _write(self, want: Want, found: Evidence, at: str) -> _Line:
        path = _place(want, found, at)
        if path != NO_OBJECTS:
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(found.text)
        return _Line(want.id, want.node, at, path, found.group, found.command, found.exit, found.stderr, found.partial)

    def finish(self, description: str) -> Captured:
        """The manifest, then the folder packed or renamed."""
        self.journal.close()
        last: dict[tuple[str, str | None, str, str], _Line] = {}
        for line in self.lines:  # an answer that came after a hole fills it
            last[line.id, line.node, line.sample, line.path] = line
            if not line.why:
                last.pop((line.id, line.node, line.sample, ""), None)
        lines = sorted(last.values(), key=lambda i: (i.path, i.id, i.node or "", i.sample))
        if not any(line.path for line in lines):
            shutil.rmtree(self.folder)
            raise SourceError(
                f"{self.source.name} shows nothing that could be recorded: {lines[0].why if lines else '?'}."
            )
        (self.folder / "manifest.json").write_bytes(self._manifest(lines, description))
        self.path.unlink()
        files = sorted(p for p in self.folder.rglob("*") if p.is_file())
        if self.out.suffix == ".zip":
            _zip(self.folder, files, self.out)
            shutil.rmtree(self.folder)
        else:
            self.folder.rename(self.out)
        size = sum(f.stat().st_size for f in ([self.out] if self.out.is_file() else self.out.rglob("*")) if f.is_file())
        missing = [Missing(i.id, i.why, i.node) for i in lines if i.why and not i.sample]
        missing += self.source.unused if self.source.live else ()
        return Captured(self.out, len(files), size, {i.path: i.redacted for i in lines if i.redacted}, missing)

    def _words(self, text: str) -> str:
        return scrubbed_words(text, Counter()) if self.redact else text

    def _manifest(self, lines: list[_Line], description: str) -> bytes:
        recorded = self.source.now()
        asked = getattr(self.source, "asked_by", None)  # a recording of a recording is as old as that
        about = {
            "version": 1,
            "description": self._words(description or f"Captured from {self.source.name}."),
            "recorded": (recorded or _now()).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "captured_by": f"calicokit {__version__}",
            **({} if asked is None else {"asked_by": self._words(asked)}),
            **({"calico_namespace": home} if (home := self.source.calico_namespace) else {}),
            "no_objects": sorted({line.group.split("/")[0] for line in lines if line.path == NO_OBJECTS}),
            "files": {line.path: _row(line) for line in lines if line.path and line.path != NO_OBJECTS},
            "missing": [{"id": i.id, **({"node": i.node} if i.node else {}), "why": i.why} for i in lines if i.why],
            "redacted": {line.path: line.redacted for line in lines if line.redacted},
        }
        return msgspec.json.format(msgspec.json.encode(about), indent=1)


def _row(line: _Line) -> dict[str, Any]:
    """The row of a file in the manifest: only commands have an exit status."""
    row = {
        "command": line.command,
        "exit": line.exit,
        "stderr": line.stderr,
        "node": line.node,
        "partial": line.partial,
    }
    return {k: v for k, v in row.items() if v not in (None, "")}


def _place(want: Want, found: Evidence, at: str) -> str:
    """Where in a recording this belongs."""
    item = CATALOG[want.id]
    if found.path == NO_OBJECTS:
        return NO_OBJECTS
    if isinstance(item.how, Api):
        place = found.path if found.path in item.files() else next(item.files())
    else:
        place = found.path if found.path.endswith(f"/{item.file}") and ".." not in found.path else ""
        place = place or next(item.files(want.node))
    if not at:
        return place
    top = f"nodes/{want.node}" if want.node else "cluster"
    return f"{top}/series/{at}/{place.rsplit('/', 1)[-1]}"


def _now() -> datetime:
    return datetime.now(UTC)


def _zip(folder: Path, files: list[Path], out: Path) -> None:
    """The same files give the same bytes."""
    partial = out.with_name(out.name + ".writing")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for file in files:
            info = zipfile.ZipInfo(f"{out.stem}/{file.relative_to(folder).as_posix()}", EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with archive.open(info, "w") as target, file.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
    os.replace(partial, out)

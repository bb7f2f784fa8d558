"""Damage to the evidence of the bundled incidents at random, and what the kit says of it: crash, hang, lie or silence.

    python -m tests.fuzz --minutes 10 --seed 1      prints each fault as it is found, then the counts; exit 1 if any

A damage is one of three kinds. After what is *visible* (bytes that are no text, a cut line, an error's text, a broken
list) the kit may know less and must say so; after what is *harmless* (other line ends, doubled objects) it must say the
same; what is *quiet* (a line or an object gone, another digit) leaves evidence that reads well and is untrue: there
only crashes and hangs are faults.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from calicokit.diagnosis.findings import Findings
from calicokit.diagnosis.model import UNKNOWN
from calicokit.evidence.catalog import CATALOG, Api
from calicokit.evidence.files import as_utf8
from calicokit.evidence.model import Answer, Evidence, Source, SourceError, Want, Wrapping
from calicokit.evidence.recordings.recording import Recording
from tests import clusters, recordings

HANGS = 60.0
"""Seconds of processor time after which a check counts as hanging; it takes one to four."""

ERRORS = (
    b'error: unable to upgrade connection: container not found ("calico-node")\n',
    b"Error from server (Forbidden): pods is forbidden\n",
    b"bash: line 1: birdcl: command not found\n",
    b"command terminated with exit code 137\n",
    b"Unable to connect to the server: net/http: TLS handshake timeout\n",
    b"<html><head><title>504 Gateway Time-out</title></head></html>\n",
)

OTHERS: tuple[Any, ...] = (7, "?", [None], {"a": {}}, True, -1e308)
NOTHING: tuple[Any, ...] = (None, [], {}, "")
Mutation = Callable[[bytes, random.Random], bytes]


def _at(text: bytes, rng: random.Random) -> int:
    return rng.randrange(len(text)) if text else 0


def _cut(text: bytes, rng: random.Random) -> bytes:
    """In the middle of a line: a cut at its end leaves no trace."""
    where = _at(text, rng)
    while text[where - 1 : where] in (b"\n", b"") and 0 < where < len(text):
        where += 1
    return text[:where]


def _noise(text: bytes, rng: random.Random) -> bytes:
    where = _at(text, rng)
    return text[:where] + rng.randbytes(rng.choice((1, 16, 400))) + text[where:]


def _high_bit(text: bytes, rng: random.Random) -> bytes:
    where = _at(text, rng)
    return text[:where] + bytes(b ^ 0x80 for b in text[where : where + 1]) + text[where + 1 :]


def _zeros(text: bytes, rng: random.Random) -> bytes:
    """What a disk leaves of a block that was never written."""
    where = _at(text, rng)
    return text[:where] + b"\0" * len(text[where : where + 512]) + text[where + 512 :]


def _error(text: bytes, rng: random.Random) -> bytes:
    return rng.choice(ERRORS)


def _error_at_end(text: bytes, rng: random.Random) -> bytes:
    return _cut(text, rng) + b"\n" + rng.choice(ERRORS)


def _wrong_type(text: bytes, rng: random.Random) -> bytes:
    """One value of a list's object replaced by one of another type."""
    return _field(text, rng, OTHERS)


def _field_gone(text: bytes, rng: random.Random) -> bytes:
    """One value of a list's object replaced by nothing, as if nobody had given it."""
    return _field(text, rng, NOTHING)


def _field(text: bytes, rng: random.Random, values: tuple[Any, ...]) -> bytes:
    def change(items: list[Any]) -> list[Any]:
        at: Any = items[rng.randrange(len(items))]
        while True:
            key = rng.choice(list(at) if isinstance(at, dict) else list(range(len(at))))
            if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.2:
                at[key] = rng.choice([v for v in values if type(v) is not type(at[key])])
                return items
            at = at[key]

    return _items(text, change)


def _lost_object(text: bytes, rng: random.Random) -> bytes:
    def change(items: list[Any]) -> list[Any]:
        items[rng.randrange(len(items))] = rng.choice((None, 7, "pod", [], {}))
        return items

    return _items(text, change)


def _deep(text: bytes, rng: random.Random) -> bytes:
    return b'{"items":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def _items(text: bytes, change: Callable[[list[Any]], list[Any]]) -> bytes:
    """A list with other objects; what is no list, or has none, stays."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict) or not found.get("items"):
        return text
    return json.dumps({**found, "items": change(found["items"])}).encode()


def _line_without(text: bytes, rng: random.Random) -> bytes:
    lines = text.splitlines(keepends=True)
    if lines:
        lines.pop(rng.randrange(len(lines)))
    return b"".join(lines)


def _object_gone(text: bytes, rng: random.Random) -> bytes:
    def change(items: list[Any]) -> list[Any]:
        items.pop(rng.randrange(len(items)))
        return items

    return _items(text, change)


def _low_bit(text: bytes, rng: random.Random) -> bytes:
    where = _at(text, rng)
    return text[:where] + bytes(b ^ 1 << rng.randrange(7) for b in text[where : where + 1]) + text[where + 1 :]


def _objects_doubled(text: bytes, rng: random.Random) -> bytes:
    return _items(text, lambda items: items + items)


def _objects_turned(text: bytes, rng: random.Random) -> bytes:
    return _items(text, lambda items: items[::-1])


def _crlf(text: bytes, rng: random.Random) -> bytes:
    return text.replace(b"\n", b"\r\n")


def _mark(text: bytes, rng: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + text


def _blank(text: bytes, rng: random.Random) -> bytes:
    return text + b"\n\n"


VISIBLE: dict[str, Mutation] = {
    "cut": _cut,
    "noise": _noise,
    "high bit": _high_bit,
    "zeros": _zeros,
    "error": _error,
    "error at end": _error_at_end,
    "empty": lambda text, rng: b"",
    "wrong type": _wrong_type,
    "lost object": _lost_object,
    "deep": _deep,
}
QUIET: dict[str, Mutation] = {
    "line gone": _line_without,
    "object gone": _object_gone,
    "field gone": _field_gone,
    "low bit": _low_bit,
}
HARMLESS: dict[str, Mutation] = {
    "doubled": _objects_doubled,
    "turned": _objects_turned,
    "crlf": _crlf,
    "mark": _mark,
    "blank": _blank,
}
ALL = VISIBLE | QUIET | HARMLESS
ARCHIVE = "archive"
"""Damage to the file that somebody sent, not to what is in it."""


@dataclass(frozen=True)
class Damage:
    """One damage to the evidence of one id, on one node or on all that have it."""

    incident: str
    id: str
    node: str | None
    how: str
    seed: int

    def __str__(self) -> str:
        where = f" of {self.node}" if self.node else ""
        return f"{self.incident}: {self.id}{where}, {self.how} ({self.seed})"


@dataclass
class Damaged(Wrapping):
    """A recording with one damage."""

    damage: Damage
    name: str = "damaged"

    def fetch(self, wants: Any) -> Iterator[tuple[Want, Answer]]:
        for want, answer in self.source.fetch(wants):
            hit = want.id == self.damage.id and self.damage.node in (None, want.node) and not want.series
            yield want, self._damaged(answer) if hit and isinstance(answer, Evidence) else answer

    def _damaged(self, answer: Evidence) -> Evidence:
        rng = random.Random(f"{self.damage} {answer.node}")
        return replace(answer, text=as_utf8(ALL[self.damage.how](answer.text, rng)))


@cache
def _zipped(incident: str) -> bytes:
    """The incident as one archive, whose bytes are those of its files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path in recordings.paths(incident):
            archive.writestr(f"it/{path}", recordings.read(incident, path))
    return packed.getvalue()


def damaged(damage: Damage, folder: Path) -> Source:
    """The incident with the damage done to it."""
    if damage.how != ARCHIVE:
        return Damaged(clusters.recording(damage.incident), damage)
    rng = random.Random(str(damage))
    packed = _zipped(damage.incident)
    for _ in range(rng.randrange(1, 20)):
        packed = rng.choice((_noise, _high_bit, _low_bit, _zeros))(packed, rng)
    path = folder / "it.zip"
    path.write_bytes(packed[: rng.choice((len(packed), len(packed), _at(packed, rng)))])
    return Recording(path)


@cache
def _seen(incident: str) -> list[Want]:
    return sorted((w for w in clusters.checked(incident).coverage.seen), key=str)


def damages(rng: random.Random) -> Iterator[Damage]:
    """Damages without end, of every incident and kind alike."""
    while True:
        for incident in recordings.names():
            want = rng.choice(_seen(incident))
            how = rng.choice([*ALL, ARCHIVE])
            if how in ("doubled", "turned", "wrong type", "lost object", "object gone", "field gone", "deep"):
                want = rng.choice([w for w in _seen(incident) if isinstance(CATALOG[w.id].how, Api)])
            node = want.node if rng.random() < 0.7 else None
            yield Damage(incident, want.id, node, how, rng.randrange(1 << 30))


def fault(damage: Damage, folder: Path) -> str:
    """What is wrong with the kit's answer to a damaged incident; empty where nothing is."""
    start = time.process_time()
    try:
        found = clusters.Sharing(damaged(damage, folder)).check()
    except SourceError:
        return ""
    except Exception:  # noqa: BLE001 (a crash is what is looked for)
        return f"crash: {traceback.format_exc(limit=-3)}"
    if time.process_time() - start > HANGS:
        return f"hang: {time.process_time() - start:.0f} s"
    return told(clusters.checked(damage.incident), found, damage)


def told(whole: Findings, found: Findings, damage: Damage) -> str:
    """What is wrong with findings on damaged evidence, beside those on the whole."""
    if found.failed:
        return f"crash: {found.failed}"
    if damage.how in HARMLESS:
        before, after = _loud(whole), _loud(found)
        return "" if before == after else f"changed: gone {before - after}, new {after - before}"
    if damage.how in QUIET:
        return ""
    if whole.status == 1 and found.status == 0:
        return "silence"
    ids = {f.id for f in whole}
    new = {(i, where) for i, where in _loud(found, "critical") - _loud(whole) if i not in ids or UNKNOWN not in where}
    return f"false critical: {sorted(new)}" if new else ""


def _loud(found: Findings, *severities: str) -> set[tuple[str, str]]:
    return {(f.id, f.where) for f in found if f.severity in (severities or ("critical", "warning"))}


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--minutes", type=float, default=10)
    words.add_argument("--seed", type=int, default=1)
    asked = words.parse_args()
    counts: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    end = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory() as folder:
        for damage in damages(random.Random(asked.seed)):
            if time.monotonic() > end:
                break
            tried[damage.how] += 1
            if what := fault(damage, Path(folder)):
                counts[what.partition(":")[0]] += 1
                print(f"{damage}\n  {what}", flush=True)
    print(f"{tried.total():,} damages: {dict(tried)}; faults: {dict(counts) or 'none'}")
    return bool(counts)


if __name__ == "__main__":
    sys.exit(main())

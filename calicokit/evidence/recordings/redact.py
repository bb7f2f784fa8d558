"""What must not leave a cluster is taken out of every answer before it is written or shown: objects keep their shape.

The catalog says what in which evidence is secret by its place; what looks like a secret is looked for in all texts, as
logs and configurations may hold it anywhere. What cannot be read so that all of it is found is withheld.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from calicokit.evidence.catalog import CATALOG, Secret
from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want, Wrapping
from calicokit.evidence.recordings import secret_objects, secret_prints
from calicokit.evidence.recordings.secret_objects import NotObjectsError
from calicokit.evidence.recordings.secret_texts import REDACTED, scrubbed

__all__ = ["JOURNAL", "REDACTED", "Hidden", "Redacting", "guarded", "hidden_in", "redacted", "scrubbed_words"]

JOURNAL = "CALICOKIT_HIDDEN"
"""The variable that names the file in which is written what is hidden; where it is set, every cluster is redacted."""

_BY_PLACE: dict[Secret, Callable[[bytes, Counter[str]], bytes]] = {
    Secret.OBJECTS: secret_objects.redacted,
    Secret.DESCRIBED: secret_prints.described,
    Secret.BIRD: secret_prints.bird,
}


def redacted(answer: Answer) -> tuple[Answer, Counter[str]]:
    """The answer without what is secret in it, and how much of which kind was taken out."""
    found: Counter[str] = Counter()
    if isinstance(answer, Missing):
        return replace(answer, why=scrubbed_words(answer.why, found)), found
    try:
        text, partial = _text(answer, found), scrubbed_words(answer.partial, found)
    except NotObjectsError as error:
        found["texts that could not be read"] += 1
        partial = f"withheld, as what is secret in it cannot be told: {error}"
        text = _status(partial)
    command, stderr = (scrubbed_words(words, found) for words in (answer.command, answer.stderr))
    command = " ".join(secret_objects.arguments(command.split(" "), found))
    return replace(answer, text=text, command=command, stderr=stderr, partial=partial), found


def _text(evidence: Evidence, found: Counter[str]) -> bytes:
    secret = CATALOG[evidence.id].secret
    text = _BY_PLACE[secret](evidence.text, found) if secret else evidence.text
    return text if secret is Secret.OBJECTS else scrubbed(text, found)


def _status(why: str) -> bytes:
    """What stands in place of a list: no list, as the API server says that it gives none."""
    return msgspec.json.encode({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": why})


def scrubbed_words(text: str, found: Counter[str]) -> str:
    """The same for a sentence or a command."""
    return scrubbed(text.encode("utf-8", "surrogateescape"), found).decode("utf-8", "surrogateescape")


class Hidden(msgspec.Struct):
    """What was hidden of one file of a source, in the answer to one want."""

    source: str
    file: str
    id: str
    counts: dict[str, int]


@dataclass
class Redacting(Wrapping):
    """Another source, of whose answers nothing secret is seen; the journal says what was hidden."""

    journal: Path

    def __post_init__(self) -> None:
        self.name = self.source.name

    @property
    def unused(self) -> Sequence[Missing]:
        return [replace(m, why=scrubbed_words(m.why, Counter())) for m in self.source.unused]

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        """The other source's answers, redacted."""
        for want, answer in self.source.fetch(wants):
            clean, found = redacted(answer)
            if found:
                file = answer.ref if isinstance(answer, Evidence) else f"{want.id} (missing)"
                self._note(Hidden(self.name, file, want.id, dict(sorted(found.items()))))
            yield want, clean

    def _note(self, hidden: Hidden) -> None:
        with self.journal.open("ab") as journal:
            journal.write(msgspec.json.encode(hidden) + b"\n")


def guarded(source: Source) -> Source:
    """The source as a cluster may read it: redacted while a report is written."""
    journal = os.environ.get(JOURNAL)
    return Redacting(source, Path(journal)) if journal else source


def hidden_in(journal: Path) -> list[Hidden]:
    """What a journal says was hidden, sorted; an answer that was read again is told once."""
    lines = journal.read_bytes().splitlines() if journal.exists() else []
    found = [msgspec.json.decode(line, type=Hidden) for line in lines]
    return [one for _, one in sorted({(one.source, one.file, one.id): one for one in found}.items())]

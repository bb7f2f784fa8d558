"""What commands printed and logs hold, from one place or from every node, and the way from it to a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from calicokit.evidence.model import Evidence, Missing, PartlyRead, Unread
from calicokit.parsers.base import Parsed, parse
from calicokit.parsers.pasted import EDGE, broke_off
from calicokit.schema import Schema


@dataclass
class Texts:
    """The evidence of one id; lines that its parser could not read go to ``problems``, never lost."""

    id: str
    items: list[Evidence]
    problems: list[Missing] = field(default_factory=list)

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self.items)

    def frames(self, kind: str) -> Iterator[pd.DataFrame]:
        """A table of each text, with the columns ``node`` and ``evidence`` in front and at the end.

        ``kind`` is a parser's kind, for its main table, or ``KIND:TABLE`` for another of its tables.
        """
        kind, _, name = kind.partition(":")
        for evidence, parsed in self.parsed(kind):
            frame = (parsed.tables[name] if name else parsed.frame).copy()
            if "node" not in frame.columns:
                frame.insert(0, "node", pd.Series([evidence.node] * len(frame), dtype="str"))
            yield frame.assign(evidence=pd.Series([evidence.ref] * len(frame), dtype="str"))

    def parsed(self, kind: str) -> Iterator[tuple[Evidence, Parsed]]:
        """Each text with all the tables that its parser reads from it; failed commands are left out."""
        for evidence in self.items:
            if evidence.exit and not evidence.text.strip():  # nothing was printed because the command failed
                ended = f"`{evidence.command}` ended with status {evidence.exit}"
                why = ": ".join(filter(None, (ended, evidence.stderr.strip()[:200])))
                self.problems.append(Missing(self.id, why, evidence.node))
                continue
            if lost := _lost(evidence):
                self.problems.append(PartlyRead(self.id, f"{evidence.ref} {lost}", evidence.node))
            parsed = parse(kind, evidence.decode())
            if parsed.unparsed:
                first = parsed.unparsed[0]
                why = f"{len(parsed.unparsed)} lines of {evidence.ref} could not be read, the first is line "
                why += f"{first.number}: {first.text[:80]!r}"
                read = sum(map(len, parsed.tables.values()))
                if evidence.node and not evidence.want.series and read < len(parsed.unparsed):
                    self.problems.append(Unread(self.id, why, evidence.node))
                    continue
                self.problems.append(PartlyRead(self.id, why, evidence.node))
            yield evidence, parsed

    def table(self, kind: str, schema: Schema) -> pd.DataFrame:
        """All of them in one table of that schema."""
        found = list(self.frames(kind))
        return schema.take(pd.concat(found)) if found else schema.frame()


def _lost(evidence: Evidence) -> str:
    """What shows that a text is not what the tool printed, or not all of it; empty where nothing does."""
    if not (evidence.text.isascii() or _is_utf8(evidence.text)):
        return "has bytes that are no text"
    return "ends with an error" if broke_off(evidence.text[-EDGE:].decode("utf-8", "replace")) else ""


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True

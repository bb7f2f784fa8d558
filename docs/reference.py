"""The pages that the code itself tells: tables by topic, kinds of text by tool, evidence, findings, and where each is.

They are not committed: the website is where they are read (``docs/website.py``). In a terminal, ``calicokit table
--list`` and ``calicokit parse --list`` say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from calicokit import registry
from calicokit.diagnosis.model import CHECKS, Word, vocabulary
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.recordings.incidents import index
from calicokit.parsers.base import Kind, kinds
from calicokit.registry import TableSpec
from calicokit.schema import DTYPES, Schema

Places = Mapping[str, str]


def pages() -> dict[str, str]:
    """Every generated page's text, by its path in the website."""
    made = {f"tables/{topic}.md": tables(topic) for topic in registry.TOPICS}
    made |= {f"kinds/{tool}.md": parsers(tool) for tool in tools()}
    made |= {"evidence.md": evidence(), "findings.md": findings()}
    return {name: "".join(lines) for name, lines in made.items()}


def places() -> dict[str, str]:
    """``page#anchor`` of each name that these pages explain, but names that also are a command's or an incident's."""
    found = {name: f"tables/{name.partition('.')[0]}.md#{name}" for name in registry.load()}
    found |= {kind.name: f"kinds/{tool_of(kind)}.md#{kind.name}" for kind in kinds().values() if "-" in kind.name}
    found |= {id_: f"findings.md#{id_}" for id_ in vocabulary()}
    return {name: place for name, place in found.items() if name not in index()}


def tables(topic: str) -> Iterator[str]:
    """A topic's tables: what each means, what it is made from, its columns."""
    yield f"# Tables: {topic}\n\n"
    specs = {name: spec for name, spec in registry.load().items() if name.partition(".")[0] == topic}
    yield f"`cluster.{topic}.TABLE()` in Python, `calicokit table SOURCE {topic}.TABLE` in a terminal.\n"
    for name, spec in specs.items():
        yield f"\n## {name} {{ #{name} }}\n\n{_sentence(spec.schema.meaning)}{_unverified(spec.schema)}\n"
        yield from _origin(spec)
        yield from _columns(spec.schema)


def _origin(spec: TableSpec) -> Iterator[str]:
    for words, inputs in (("Made from", (*spec.needed, *spec.any_needed)), ("Better with", spec.wanted)):
        if inputs:
            yield f"\n{words}: {', '.join(f'`{i}`' for i in inputs)}.\n"
    if spec.options:
        yield f"\nAsked with: {', '.join(f'`--{o}`' for o in spec.options)}.\n"


def tools() -> list[str]:
    """The rooms of the parsers, each a page."""
    return sorted({tool_of(kind) for kind in kinds().values()})


def tool_of(kind: Kind) -> str:
    """The room in which a kind's parser stands: ``bird``, ``netfilter``, …; ``others`` for those in none."""
    room = kind.read.__module__.removeprefix("calicokit.parsers.").split(".")
    return room[0] if len(room) > 1 else "others"


def parsers(tool: str) -> Iterator[str]:
    """Kinds of text, their tables and columns."""
    yield f"# Kinds of text: {tool}\n\nWhat `calicokit parse KIND FILE` and `calicokit.parse(kind, text)` read.\n"
    for kind in kinds().values():
        if tool_of(kind) == tool:
            yield f"\n## {kind.name} {{ #{kind.name} }}\n\n{kind.title.replace('``', '`')}\n"
            for schema in kind.schemas:
                yield f"\n### Table {schema.name} {{ #{kind.name}.{schema.name} }}\n\n"
                yield f"{_sentence(schema.meaning)}{_unverified(schema)}\n"
                yield from _columns(schema)


def evidence() -> Iterator[str]:
    """The catalog."""
    yield "---\nhide: [toc]\n---\n\n# Evidence\n\n"
    yield "Every piece of evidence the kit knows: its row in `calicokit/evidence/catalog.py`.\n\n"
    yield "| id | what | where from | in a recording | secret |\n|---|---|---|---|---|\n"
    for item in CATALOG.values():
        file = next(item.files("NODE" if item.scope == "node" else None))
        yield f"| `{item.id}` | {item.title} | {_escaped(item.how.words)} | `{file}` | {_escaped(item.secret)} |\n"


def findings() -> Iterator[str]:
    """What ``calicokit check`` can say."""
    yield "# Findings\n\nWhat `calicokit check` can say. Each leads to its step of the guide and its tables.\n"
    registry.load()
    needs = {id_: check.needed for check in CHECKS for id_ in check.ids}
    for word in vocabulary().values():
        yield f"\n## {word.id} {{ #{word.id} }}\n\n**{word.title}**: {word.severity}. {_sentence(word.means)}\n"
        yield from _found(word, needs[word.id])


def _found(word: Word, needs: Iterable[str]) -> Iterator[str]:
    yield f"\n- Subject: {', '.join(word.subject)}\n"
    yield f"- Guide: [{word.guide_step}](guide-map.md#{_heading(word.guide_step)})\n"
    if tables := [f"`{name}`" for name in needs]:
        yield f"- Needs: {', '.join(tables)}\n"


def _heading(step: str) -> str:
    """The anchor that Markdown makes of a step's heading: a second heading of the same words gets a number."""
    chapter, _, section = step.partition("/")
    return f"{section}_1" if section == chapter else section or chapter


def _sentence(text: str) -> str:
    told = _escaped(text[:1].upper() + text[1:])
    return told if told.endswith((".", ":")) else f"{told}."


def _unverified(schema: Schema) -> str:
    return "" if schema.verified else f" **Not verified**: {_escaped(schema.source)}."


def _columns(schema: Schema) -> Iterator[str]:
    yield "\n| column | dtype | unit | meaning |\n|---|---|---|---|\n"
    for column in schema.columns:
        key = " (key)" if column.name in schema.key else ""
        yield f"| `{column.name}`{key} | {DTYPES[column.kind]} | {column.unit} | {_escaped(column.meaning)} |\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")

"""The strings that users read: standard terms of the field, and none of the phrases that need decoding."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from calicokit import registry
from calicokit.cli import app
from calicokit.evidence.catalog import CATALOG
from calicokit.parsers.base import kinds
from calicokit.report.notebooks import shipped
from calicokit.schema import Schema

PACKAGE = Path(__file__).parents[1] / "calicokit"
FINDINGS = tomllib.loads((PACKAGE / "diagnosis" / "findings.toml").read_text())
BANNED = (
    "how-manieth",
    "told one by one",
    "kept by nobody",
    "so many findings",
    "table of connections",
    "tracked connection",
    "connection tracking",
    "goes by another name",
    "that ask for it",
    "is in the way",
    "stands in the way",
    "in the way of",
    "while it was watched",
    "since its rules were made",
    "since it was made",
    "not as it should be",
    "as they should be",
    "what is asked for",
    "what the resources ask for",
    "asks for by name",
    "is told of",
    "is told to",
    "told otherwise",
    "may take no",
    "in vain",
    "anew",
    "by nobody",
    "by somebody",
    "for want of",
    "keeps out",
    "keeps it out",
    "cannot be told",
    "nothing tells",
    "masqueraded when",
    "leads elsewhere",
    "lead elsewhere",
    "kinds of pods",
    "on purpose",
    "router outside",
    "processor time",
    "updates of the kernel",
    "rules of others",
    "foreign route",
    "way back",
    "people read",
)
LONGEST = 70


def _schemas() -> dict[str, Schema]:
    found = {name: spec.schema for name, spec in registry.load().items()}
    return found | {s.name: s for kind in kinds().values() for s in kind.schemas}


def _commands(command: Any, path: str) -> Iterator[tuple[str, str]]:
    yield path, " ".join(filter(None, (command.help, command.epilog, command.short_help)))
    for parameter in command.params:
        yield f"{path} {parameter.name}", getattr(parameter, "help", None) or ""
    for name, sub in getattr(command, "commands", {}).items():
        yield from _commands(sub, f"{path} {name}")


def _headings_and_text() -> Iterator[tuple[str, str]]:
    for notebook in shipped():
        for number, cell in enumerate(json.loads(notebook.read_text())["cells"]):
            if cell["cell_type"] == "markdown":
                yield f"{notebook.name} cell {number}", "".join(cell["source"])


def public() -> Iterator[tuple[str, str]]:
    """Where each public string is, and the string."""
    for name, schema in _schemas().items():
        yield name, schema.meaning
        yield from ((f"{name}.{c.name}", c.meaning) for c in schema.columns)
    yield from ((f"finding {id_}", entry["title"]) for id_, entry in FINDINGS.items())
    yield from ((f"evidence {id_}", item.title) for id_, item in CATALOG.items())
    yield from _commands(get_command(app), "calicokit")
    yield from _headings_and_text()


def test_public_strings_are_collected_from_every_place() -> None:
    """Guards the test below: an empty collection would pass it."""
    places = [where for where, _ in public()]
    assert "calicokit table start" in places  # --from
    assert "calicokit act trace to" in places
    assert {"ipam.blocks", "ipam.blocks.node", "finding conntrack-full", "evidence conntrack"} <= set(places)
    assert sum(where.startswith(("0", "1")) for where in places) > 150  # notebooks' cells


@pytest.mark.parametrize("phrase", BANNED)
def test_no_public_string_needs_decoding(phrase: str) -> None:
    found = {
        where: text for where, text in public() if re.search(rf"\b{re.escape(phrase)}\b", " ".join(text.split()), re.I)
    }
    assert found == {}


def test_sources_say_none_of_the_worst() -> None:
    """Causes, remedies, summaries and error messages are built where they are used: their sources are read."""
    worst = re.compile(r"how-manieth|told one by one|kept by nobody|while it was watched|table of connections", re.I)
    found = [f"{p.name}: {m[0]}" for p in PACKAGE.rglob("*.py") for m in worst.finditer(p.read_text())]
    assert found == []


def test_titles_of_findings_are_short_and_no_sentences() -> None:
    for id_, entry in FINDINGS.items():
        title = entry["title"]
        assert 0 < len(title) <= LONGEST, id_
        assert not title.endswith("."), id_
        assert not re.match(r"(?:A|An|The) ", title), id_
    assert FINDINGS["ipam-affinity-stale"]["title"] == "Stale block affinity"


def test_every_column_means_something_and_is_no_sentence() -> None:
    bad = [
        f"{name}.{column.name}: {column.meaning!r}"
        for name, schema in _schemas().items()
        for column in schema.columns
        if not column.meaning.strip() or column.meaning.endswith(".")
    ]
    assert bad == []


def test_options_are_explained() -> None:
    unexplained = [where for where, text in _commands(get_command(app), "calicokit") if not text.strip()]
    assert [w for w in unexplained if not w.endswith((" help", " format"))] == []

"""The guide map names only what exists, holds every step that findings lead to, and covers the whole guide."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from calicokit import registry
from calicokit.diagnosis.model import vocabulary
from calicokit.evidence.catalog import CATALOG
from calicokit.parsers.base import kinds
from calicokit.report.notebooks import shipped

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guide-map.md"
GUIDE = ROOT.parent / "shared" / "guide.txt"
FINDINGS = ROOT / "calicokit" / "diagnosis" / "findings.toml"

PREFIXES = (
    "kubectl exec -n kube-system $CALICO_POD -c calico-node -- ",
    "kubectl debug node/$NODE_NAME -it --image=ubuntu -- chroot /host ",
    "kubectl debug node/$SOURCE_NODE -it --image=ubuntu -- chroot /host ",
    "kubectl logs -n kube-system $CALICO_POD -c calico-node ",
)
"""What the page writes as ``pod:``, ``host:`` and ``logs:``."""

needs_guide = pytest.mark.skipif(not GUIDE.exists(), reason="the guide lies beside the repository, not in it")


def slug(heading: str) -> str:
    return re.sub(r"[^a-z0-9-]", "", heading.lower().replace(" ", "-"))


def sections(text: str) -> Iterator[tuple[str, str, str]]:
    """Path of slugs, heading and text of each section, in order; a '#' in a code block is no heading."""
    section, heading, path, code = "", "", "", False
    lines: list[str] = []
    for line in text.splitlines():
        code ^= line.startswith("```")
        if not code and (found := re.match(r"(##|###) (.+)", line)):
            yield path, heading, "\n".join(lines)
            heading, lines = found[2].strip(), []
            section = slug(heading) if found[1] == "##" else section
            path = section if found[1] == "##" else f"{section}/{slug(heading)}"
        lines.append(line)
    yield path, heading, "\n".join(lines)


def here(text: str) -> Iterator[str]:
    """What the page says about the kit: the last cells of its tables, and the sentences after ``Here:``."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith(("| the guide", "| |")):
            cells = re.split(r"(?<!\\)\|", line)
            if not re.match(r" W\d ", cells[1]):
                yield cells[-2]
    for sentence in re.findall(r"Here:((?:[^.`\n]|`[^`]*`|\n(?!\n|- |\d+\. |\|))*)", text):
        yield " ".join(sentence.split())


def names(text: str) -> Iterator[tuple[str, str]]:
    """Every name in backticks with the word that says what it is: row, kind, gives, table, finding, …"""
    for part in here(text):
        word = ""
        for token in re.findall(r"`[^`]+`|\b(?:row|kind|gives|table|finding|notebook|command)s?\b", part):
            if token.startswith("`"):
                yield word, token.strip("`")
            else:
                word = token if token == "gives" else token.removesuffix("s")


def commands(text: str) -> Iterator[str]:
    """The commands of the guide's bash blocks, one line each, without the way into a pod, a host or its logs."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            command = " ".join(line.split())
            if not command or command.startswith("#") or re.fullmatch(r"\w+=<\w+>", command):
                continue
            for prefix in PREFIXES:
                command = command.removeprefix(prefix)
            yield command


def test_every_name_in_the_page_exists() -> None:
    known = {
        "row": set(CATALOG),
        "kind": set(kinds()),
        "gives": {schema.name for kind in kinds().values() for schema in kind.schemas},
        "table": set(registry.load()),
        "finding": set(vocabulary()),
        "notebook": {p.stem for p in shipped()},
        "command": {f"calicokit {c}" for c in ("explain", "act probe", "diff", "capture")},
    }
    found = list(names(PAGE.read_text("utf-8")))
    assert len(found) > 200
    assert not [(word, name) for word, name in found if name not in known.get(word, ())]


def test_every_kind_of_parse_commands_exists() -> None:
    named = re.findall(r"`calicokit parse ([\w-]+)", PAGE.read_text("utf-8"))
    assert not set(named) - {"KIND"} - set(kinds())


def test_every_step_that_a_finding_leads_to_is_a_heading() -> None:
    steps = {entry["guide_step"] for entry in tomllib.loads(FINDINGS.read_text("utf-8")).values()}
    steps |= {item.guide for item in CATALOG.values() if item.guide}
    assert not steps - {path for path, _, _ in sections(PAGE.read_text("utf-8"))}


def test_every_finding_stands_under_its_step() -> None:
    page = {path: text for path, _, text in sections(PAGE.read_text("utf-8"))}
    words = vocabulary().values()
    assert not [(word.id, word.guide_step) for word in words if f"`{word.id}`" not in page[word.guide_step]]


def test_links_within_the_page_lead_to_headings() -> None:
    text = PAGE.read_text("utf-8")
    assert not set(re.findall(r"\]\(#([\w-]+)\)", text)) - {slug(heading) for _, heading, _ in sections(text)}


@needs_guide
def test_the_headings_are_the_guides_in_its_order() -> None:
    guide = [(path, heading) for path, heading, _ in sections(GUIDE.read_text("utf-8"))][1:]
    page = [(path, heading) for path, heading, _ in sections(PAGE.read_text("utf-8"))][1:]
    assert [h for h in page if h[1] != "The whole guide"] == [h for h in guide if h[1] != "Table of Contents"]


@needs_guide
def test_every_command_of_the_guide_is_covered_under_its_heading() -> None:
    page = {path: text.replace("\\|", "|") for path, _, text in sections(PAGE.read_text("utf-8"))}
    asked = [(p, c) for p, _, text in sections(GUIDE.read_text("utf-8")) for c in commands(text)]
    assert len(asked) > 100
    assert not [(path, command) for path, command in asked if f"`{command}`" not in page[path]]


@needs_guide
def test_every_claim_that_the_guide_lists_is_covered_under_its_heading() -> None:
    """Numbered points of the checklist and the best practices: as many here as there."""
    page = {path: text for path, _, text in sections(PAGE.read_text("utf-8"))}
    guide = {path: text for path, _, text in sections(GUIDE.read_text("utf-8"))}
    for path in ("troubleshooting-checklist", "best-practices"):
        asked = re.findall(r"^(\d+)\. ", guide[path], re.M)
        assert re.findall(r"^(?:\| )?(\d+)\. ", page[path], re.M) == asked

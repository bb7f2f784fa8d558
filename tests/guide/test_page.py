"""The guide's data and its page name only what exists, hold every step that findings lead to, and cover the guide."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from calicokit import registry
from calicokit.diagnosis.model import vocabulary
from calicokit.evidence.catalog import CATALOG
from calicokit.guide import page
from calicokit.guide.page import slug
from calicokit.guide.tables import ASKED
from calicokit.parsers.base import kinds
from calicokit.report.notebooks import shipped

ROOT = Path(__file__).parents[2]
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
    """Every name in what the page says about the kit, with the word that says what it is."""
    for part in here(text):
        yield from page.names(part)


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
        "command": {f"calicokit {c}" for c in ("explain", "act probe", "diff", "capture", "guide", "alerts")},
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
    shown = {path: text for path, _, text in sections(PAGE.read_text("utf-8"))}
    words = vocabulary().values()
    assert not [(word.id, word.guide_step) for word in words if f"`{word.id}`" not in shown[word.guide_step]]


def test_links_within_the_page_lead_to_headings() -> None:
    text = PAGE.read_text("utf-8")
    assert not set(re.findall(r"\]\(#([\w-]+)\)", text)) - {slug(heading) for _, heading, _ in sections(text)}


@needs_guide
def test_the_headings_are_the_guides_in_its_order() -> None:
    guide = [(path, heading) for path, heading, _ in sections(GUIDE.read_text("utf-8"))][1:]
    shown = [(path, heading) for path, heading, _ in sections(PAGE.read_text("utf-8"))][1:]
    assert [h for h in shown if h[1] != "The whole guide"] == [h for h in guide if h[1] != "Table of Contents"]


@needs_guide
def test_every_command_of_the_guide_is_covered_under_its_heading() -> None:
    shown = {path: text.replace("\\|", "|") for path, _, text in sections(PAGE.read_text("utf-8"))}
    asked = [(p, c) for p, _, text in sections(GUIDE.read_text("utf-8")) for c in commands(text)]
    assert len(asked) > 100
    assert not [(path, command) for path, command in asked if f"`{command}`" not in shown[path]]


@needs_guide
def test_every_claim_that_the_guide_lists_is_covered_under_its_heading() -> None:
    """Numbered points of the checklist and the best practices: as many here as there."""
    shown = {path: text for path, _, text in sections(PAGE.read_text("utf-8"))}
    guide = {path: text for path, _, text in sections(GUIDE.read_text("utf-8"))}
    for path in ("troubleshooting-checklist", "best-practices"):
        asked = re.findall(r"^(\d+)\. ", guide[path], re.M)
        assert re.findall(r"^(?:\| )?(\d+)\. ", shown[path], re.M) == asked


def test_the_page_is_made_from_the_data() -> None:
    assert PAGE.read_text("utf-8") == page.markdown()


def test_paths_are_those_of_the_page() -> None:
    assert list(page.order()[1:]) == [path for path, _, _ in sections(PAGE.read_text("utf-8"))][1:]


def headings() -> dict[str, set[str]]:
    """The headings of each notebook."""
    found: dict[str, set[str]] = {}
    for path in shipped():
        cells = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "markdown"]
        found[path.stem] = {line[3:].strip() for c in cells for line in c["source"] if line.startswith("## ")}
    return found


def test_every_row_leads_to_a_heading_of_a_notebook() -> None:
    known = headings()
    every = [row for section in page.sections() for row in section.rows]
    assert len(every) > 100
    assert not [(r.guide, r.notebook, r.heading) for r in every if r.heading not in known.get(r.notebook, ())]


def test_needs_and_steps_are_known_words() -> None:
    every = [row for section in page.sections() for row in section.rows]
    assert {row.needs for row in every} == {"", *page.NEEDS}
    assert {step for row in every for step in row.steps} <= set(page.order())


def test_every_finding_counts_in_a_step_of_the_checklist() -> None:
    steps = [s for row in page.rows_of(page.CHECKLIST) for s in row.steps]
    assert not [w.id for w in vocabulary().values() if not any(w.guide_step.startswith(s) for s in steps)]


def test_tables_that_ask_for_ends_are_those_with_options() -> None:
    assert set(ASKED) == {name for name, spec in registry.load().items() if spec.options}


def test_text_of_a_section_has_its_commands_and_those_below() -> None:
    text = page.text_of("bgp-configuration")
    assert "birdcl show protocols all" in text
    assert "### Route Reflector Configuration" in text
    assert page.text_of("no-such") == ""

"""Every kind keeps the contract: a sample is guessed and read, nothing is read from nothing, what is spoilt is told."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

from calicokit.parsers.base import ParseError, kinds, parse
from calicokit.parsers.guess import guess
from tests.parsers.test_guess import ALIKE
from tests.parsers.test_pasted import SAMPLES

FOLDER = Path(__file__).parent / "samples"
"""Outputs of kinds that no bundled recording has, as KIND.txt."""

NO_FORM = {"nodename": "it is one bare word"}
"""Kinds whose texts have no form of their own, and why: nobody can guess them."""

ANYTHING = {
    "calicoctl-get": "any line below a header is a row",
    "kubectl-get": "any line below a header is a row",
    "kubectl-events": "any line below a header is a row",
    "kubectl-describe": "any line may be a value's next one",
    "health-ready": "components say what they like",
    "bird-protocols": "lines of a protocol that are not known are kept as its details",
    "bird-config": "what is no statement that the kit knows is kept among the filter's",
    "nft-ruleset": "a line in a chain is a rule, whose words are kept",
    "nodename": "any word is a name",
    **{f"{log}-log": "any line belongs to the record above it" for log in ("felix", "confd", "typha", "startup")},
    **{f"{log}-log": "any line belongs to the record above it" for log in ("cni", "kube-controllers")},
    "dmesg": "the kernel says what it likes",
}
"""Kinds in whose tables an alien line stands as it is, and why: it is kept there, not among the unread ones."""

ALIEN = "%% ?? alien line !! 4711"


@cache
def sample(kind: str) -> str:
    """A text of this kind: of a recording, or of the folder of samples."""
    recorded = next((text for item, text in SAMPLES.values() if item.parser.partition(":")[0] == kind), None)
    if recorded is not None:
        return recorded
    file = FOLDER / f"{kind}.txt"
    text = file.read_text("utf-8") if file.exists() else ""
    if not text.strip():
        pytest.fail(
            f"{kind} has no sample: write a few lines of such an output, with invented names, to {file}, "
            "or record it and bundle the recording (python -m calicokit.evidence.pack)"
        )
    return text


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_sample_is_read_whole(kind: str) -> None:
    parsed = parse(kind, sample(kind), strict=True)
    assert sum(len(frame) for frame in parsed.tables.values()) > 0
    for schema in kinds()[kind].schemas:
        schema.check(parsed.tables[schema.name])


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_sample_is_guessed(kind: str) -> None:
    if kind in NO_FORM:
        assert kinds()[kind].marks == ""
        return
    assert kinds()[kind].marks, f"@parser({kind!r}, …, marks=r'…') needs what shows that a text is one"
    found = [g.kind for g in guess(sample(kind))]
    assert found, f"nothing is guessed; do the marks of {kind} match its sample?"
    assert found[0] in ALIKE.get(kind, {kind})


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_nothing_is_read_from_nothing(kind: str) -> None:
    for text in ("", "\n", " \n\r\n", "\x1b[0m\n"):
        parsed = parse(kind, text, strict=True)
        assert parsed.unparsed == []
        for schema in kinds()[kind].schemas:
            assert parsed.tables[schema.name].columns.to_list() == list(schema.names)
            assert parsed.tables[schema.name].empty


def spoilt(kind: str) -> tuple[str, int]:
    """The sample with a line of no tool's, and its number."""
    lines = sample(kind).rstrip("\n").split("\n")
    at = random.Random(kind).randrange(len(lines) // 2, len(lines)) if len(lines) > 1 else 1
    return "\n".join([*lines[:at], ALIEN, *lines[at:]]) + "\n", at + 1


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_an_alien_line_is_told_and_never_dropped(kind: str) -> None:
    text, number = spoilt(kind)
    parsed = parse(kind, text)
    if kind in ANYTHING:
        kept = any(
            frame.astype(str).apply(lambda c: c.str.contains("4711")).any(axis=None) for frame in parsed.tables.values()
        )
        assert kept or parsed.unparsed
        return
    assert number in [line.number for line in parsed.unparsed]
    with pytest.raises(ParseError):
        parse(kind, text, strict=True)


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_text_that_breaks_off_is_read_up_to_there(kind: str) -> None:
    text = sample(kind)
    parsed = parse(kind, text[: len(text) * 2 // 3])
    for schema in kinds()[kind].schemas:
        schema.check(parsed.tables[schema.name])
    assert parsed.unparsed or sum(len(frame) for frame in parsed.tables.values())


@pytest.mark.parametrize("kind", ["ip-route", "iptables-save", "conntrack", "sysctl", "bird-protocols", "nft-ruleset"])
def test_noise_in_the_middle_is_no_line_of_the_tool_and_moves_no_number(kind: str) -> None:
    lines = sample(kind).rstrip("\n").split("\n")
    at = len(lines) // 2
    noise = ["root@node-1:~# kubectl get pods", 'Defaulted container "calico-node" out of: x']
    parsed = parse(kind, "\n".join([*lines[:at], *noise, *lines[at:], ALIEN]))
    plain = parse(kind, "\n".join([*lines[:at], "", "", *lines[at:], ALIEN]))
    assert parsed.unparsed == plain.unparsed
    assert all(parsed.tables[name].equals(frame) for name, frame in plain.tables.items())

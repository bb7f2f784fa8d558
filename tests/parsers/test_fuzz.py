"""Every kind on spoilt text: never an exception but ParseError, and never more than linear time."""

from __future__ import annotations

import contextlib
import random

import pytest

from calicokit.parsers.base import ParseError, kinds, parse
from tests.parsers.test_pasted import SAMPLES

MOST = 30_000
TEXTS = {item.parser.partition(":")[0]: text[:MOST] for item, text in SAMPLES.values()}
LONG = 1_000_000
ODD = ("", " ", "\t", "{", "}", '"', "\\", "\x1b[1m", "é", "9" * 30, ":")
HARD = {
    "one long word": "a" * LONG,
    "one long line": "a b " * (LONG // 4),
    "digits": "1" * LONG,
    "blanks": " " * LONG + "x",
    "open braces": "{" * 100_000,
    "open brackets": "[" * 100_000,
    "braces with words": "table x {\n" * 50_000,
    "quotes": '"' * LONG,
    "backslashes": "\\" * LONG,
    "yaml bomb": "a: &a [x,x]\nb: &b [*a,*a]\n" + "".join(
        f"{c}: &{c} [*{p},*{p}]\n" for p, c in zip("bcdefghijklmnopqrstuvw", "cdefghijklmnopqrstuvwx", strict=True)
    ),
    "deep yaml": "".join(" " * n + "a:\n" for n in range(1_000)),
    "nul": "\x00" * 10_000,
    "mixed": "0:\tfrom [ { ( | -- #" * 40_000,
}  # fmt: skip


def spoilt(text: str, chance: random.Random) -> str:
    """The text with bytes changed, lines cut, doubled, joined or exchanged."""
    lines = text.split("\n")
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(len(lines))
        line = lines[at]
        cut = chance.randint(0, len(line))
        match chance.randrange(6):
            case 0:
                lines[at] = line[:cut]
            case 1:
                lines[at] = line[:cut] + chance.choice(ODD) + line[cut:]
            case 2:
                lines.insert(at, chance.choice(lines))
            case 3 if at + 1 < len(lines):
                lines[at : at + 2] = [line + lines[at + 1]]
            case 4:
                other = chance.randrange(len(lines))
                lines[at], lines[other] = lines[other], line
            case _:
                lines[at] = line.replace(" ", "  ") if chance.random() < 0.5 else line.upper()
    return "\n".join(lines)


@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_spoilt_output_is_read_or_refused_and_never_an_error(kind: str) -> None:
    chance = random.Random(kind)
    for _ in range(25):
        text = spoilt(TEXTS[kind], chance)
        parse(kind, text)
        with contextlib.suppress(ParseError):
            parse(kind, text, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(kinds()))
def test_hard_text_is_read(kind: str) -> None:
    """A megabyte each; a parser that backtracks does not come to an end."""
    for text in HARD.values():
        parse(kind, text)

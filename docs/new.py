"""Begin a parser or a check: ``python docs/new.py parser NAME`` or ``python docs/new.py check TOPIC ID``.

A parser gets its module and its sample, which is empty: ``tests/parsers/test_kinds.py`` fails until the sample holds an
output and the parser's marks and lines fit it. A check gets its words in the vocabulary and its function in the topic.
Nothing that exists is written over.
"""

from __future__ import annotations

import sys
from pathlib import Path

TOP = Path(__file__).parents[1]

PARSER = '''"""What ``{name}`` prints."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.schema import Column, Schema

SCHEMA = Schema(
    "{table}",
    "what a row is",
    (Column("name", "str", "what it is"), Column("line", "int", "line in the text, from 1")),
    ("name",),
    verified=False,
    source="the program's source that prints it",
)
_LINE = re.compile(r"(\\S+)")


@parser("{name}", SCHEMA, marks=r"^what only this tool prints")
def {function}(text: Text) -> dict[str, pd.DataFrame]:
    """``{name}``: what it shows."""
    rows: list[dict[str, Any]] = []
    for line in text.lines():
        if match := _LINE.fullmatch(line.text):
            rows.append({{"name": match[1], "line": line.number}})
        else:
            text.reject(line, "NAME")
    return {{SCHEMA.name: SCHEMA.frame(rows)}}
'''

WORD = """
[{id}]
severity = "warning"
subject = ["node"]
title = "Short, as the field says it"
means = "what is so, in one sentence"
guide_step = "TOPIC/STEP of the guide"
"""

CHECK = '''

@check("{id}", needs={{"rows": "{topic}.TABLE"}})
def {function}(rows: pd.DataFrame) -> Iterator[Finding]:
    """When it is said, and why that is a fault."""
    for row in rows.itertuples():
        yield finding("{id}", subject={{"node": row.node}}, cause="what was seen", remedy="what to do")
'''


def parser(name: str) -> list[Path]:
    """The module of a parser, and its sample."""
    module = TOP / "calicokit/parsers" / f"{name.replace('-', '_')}.py"
    sample = TOP / "tests/parsers/samples" / f"{name}.txt"
    if module.exists() or sample.exists():
        sys.exit(f"{name} is there already")
    word = name.replace("-", "_")
    module.write_text(PARSER.format(name=name, table=word, function=word), "utf-8")
    sample.write_text("", "utf-8")
    return [module, sample]


def check(topic: str, name: str) -> list[Path]:
    """The words of a finding, and the function that finds it."""
    words = TOP / "calicokit/diagnosis/findings.toml"
    checks = TOP / "calicokit" / topic / "checks.py"
    if not checks.exists():
        sys.exit(f"{checks} is not there; topics with checks have it")
    if f"[{name}]" in words.read_text("utf-8"):
        sys.exit(f"{name} is there already")
    for path, text in ((words, WORD), (checks, CHECK)):
        with path.open("a", encoding="utf-8") as file:
            file.write(text.format(id=name, topic=topic, function=name.replace("-", "_")))
    return [words, checks]


def main() -> None:
    """Write the files, and name them."""
    match sys.argv[1:]:
        case ["parser", name]:
            written = parser(name)
        case ["check", topic, name]:
            written = check(topic, name)
        case _:
            sys.exit(__doc__)
    for path in written:
        print(f"fill in {path.relative_to(TOP)}")


if __name__ == "__main__":
    main()

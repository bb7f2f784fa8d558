"""What people paste: the same rows, whatever stands around a tool's output, and the kind is guessed all the same."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pandas as pd
import pytest

from calicokit.evidence.catalog import ITEMS, Admin, Api, Command, Item
from calicokit.parsers.base import kinds, parse
from calicokit.parsers.guess import guess
from tests import recordings
from tests.examples import first
from tests.parsers.test_guess import ALIKE

ANY_WORD = ("nodename",)
"""Texts in which nothing tells what they are."""

NAMES = ("healthy-bgp-mesh", "healthy-vxlan-typha", "healthy-nftables")


def command(item: Item) -> str:
    return " ".join(item.how.argvs[0]) if isinstance(item.how, Command) else getattr(item.how, "command", item.id)


def text_of(item: Item) -> str | None:
    """The beginning of a recorded file of this, or None if no recording has one."""
    for name in NAMES:
        for path in recordings.paths(name, f"nodes/*/{item.file}") or recordings.paths(name, f"cluster/{item.file}"):
            text = recordings.read(name, path).decode("utf-8", "backslashreplace")
            if text.strip():
                return text.rstrip("\n") + "\n"
    return None


TEXTS = {i: t for i in ITEMS if i.parser and not isinstance(i.how, Api) and (t := text_of(i))}
SAMPLES = {i.id: (i, t) for i, t in TEXTS.items()}
EXEC = 'Defaulted container "calico-node" out of: calico-node, upgrade-ipam (init), install-cni (init)\n'

AROUND: dict[str, Callable[[str, str], str]] = {
    "prompt": lambda text, cmd: f"$ {cmd}\n{text}",
    "root prompt": lambda text, cmd: f"root@node-1:~# {cmd}\n{text}root@node-1:~# ",
    "bracket prompt": lambda text, cmd: f"[root@node-1 ~]# {cmd}\n{text}",
    "shell prompt": lambda text, cmd: f"bash-4.4# {cmd}\n{text}",
    "exec": lambda text, cmd: f"{EXEC}{text}command terminated with exit code 1\n",
    "fence": lambda text, cmd: f"```\n{text}\n```\n",
    "named fence": lambda text, cmd: f"```console\n$ {cmd}\n{text}\n```",
    "crlf": lambda text, cmd: text.replace("\n", "\r\n"),
    "colours": lambda text, cmd: f"\x1b[0m{text}\x1b[0m\n",
    "quoted": lambda text, cmd: textwrap.indent(text, "> ", lambda _: True),
    "indented": lambda text, cmd: textwrap.indent(text, "    "),
}


def rows(kind: str, text: str) -> tuple[dict[str, pd.DataFrame], list[str]]:
    parsed = parse(kind, text)
    tables = {n: f.drop(columns=["line"], errors="ignore") for n, f in parsed.tables.items()}
    return tables, [line.text for line in parsed.unparsed]


@pytest.mark.parametrize("around", first(5, sorted(AROUND)))
@pytest.mark.parametrize("id_", sorted(SAMPLES))
def test_what_stands_around_changes_nothing(id_: str, around: str) -> None:
    item, text = SAMPLES[id_]
    kind = item.parser.partition(":")[0]
    plain, left = rows(kind, text)
    pasted, lost = rows(kind, AROUND[around](text, command(item)))
    assert lost == left
    assert set(pasted) == set(plain)
    for name, frame in plain.items():
        told = ["table"] if kinds()[kind].keeps else []  # the command line tells it
        mine, theirs = (f.drop(columns=told, errors="ignore") for f in (pasted[name], frame))
        pd.testing.assert_frame_equal(mine, theirs, obj=name)


@pytest.mark.parametrize("around", first(5, sorted(AROUND)))
@pytest.mark.parametrize(
    "id_", sorted(i for i, (item, _) in SAMPLES.items() if not isinstance(item.how, Admin) and i not in ANY_WORD)
)
def test_the_kind_is_guessed_whatever_stands_around(id_: str, around: str) -> None:
    item, text = SAMPLES[id_]
    found = guess(AROUND[around](text, command(item)))
    kind = item.parser.partition(":")[0]
    assert found
    assert found[0].kind in ALIKE.get(kind, {kind})

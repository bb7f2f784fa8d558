"""How fast a million lines of logs become one table with patterns, and how well the patterns fit, beside drain3.

Run ``python benchmarks/logs.py [--lines N] [--peer-lines N]``. The lines are those of the Felix, CNI and BIRD logs of
all recordings, repeated, a third each; in "distinct" addresses, ids and numbers in messages differ everywhere. Fit is
grouping accuracy: the share of lines whose pattern has exactly the lines that one line of Calico's source logged, which
Felix's lines name; of one version, as others count their lines otherwise. drain3 is used where it can be imported
(0.9.11: ``pip install drain3``).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import re
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd
import pyarrow as pa

from benchmarks.parsers_rules import repeated, seconds
from calicokit.evidence.model import Evidence, Want
from calicokit.evidence.texts import Texts
from calicokit.logs.bursts import bursts
from calicokit.logs.known_messages import telling
from calicokit.logs.lines import LOGS, counts, lines, patterns, problems
from calicokit.logs.masks import masked
from calicokit.parsers.base import parse
from tests import recordings

_VARIES = re.compile(r"(?<=cali)[0-9a-f]{11}|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|\b\d{3,}\b")


KINDS = {"felix-log": "felix.log", "bird-log": "bird.log", "cni-log": "cni.log"}


def recorded(file: str) -> str:
    names = [n for n in recordings.names() if "v3.28" not in n]
    found = [recordings.read(n, p) for n in names for p in recordings.paths(n, f"nodes/*/{file}")]
    return "".join(text.decode(errors="replace").rstrip("\n") + "\n" for text in found)


def distinct(text: str) -> str:
    """The text with other values in the messages, the same way in every run."""
    chance = random.Random(1)  # noqa: S311

    def other(match: re.Match[str]) -> str:
        if "." in match[0]:
            return ".".join(str(chance.randrange(256)) for _ in range(4))
        return f"{chance.randrange(16**11):011x}" if len(match[0]) == 11 else str(chance.randrange(100, 10**6))

    def varied(line: str) -> str:
        head, colon, message = line.partition(": ")
        return head + colon + _VARIES.sub(other, message)

    return "".join(varied(line) for line in text.splitlines(keepends=True))


def logs(texts: dict[str, str]) -> list[Texts | None]:
    """The inputs of the tables: four nodes with a quarter of each text."""
    given: list[Texts | None] = []
    for id_ in LOGS:
        rows = texts.get(id_, "").splitlines(keepends=True)
        parts = ["".join(rows[i::4]).encode() for i in range(4)]
        found = Texts(id_, [Evidence(Want(id_, f"node-{i}"), part) for i, part in enumerate(parts, 1)])
        given.append(found if rows else None)
    return given


def report(name: str, texts: dict[str, str]) -> None:
    given = logs(texts)
    table = lines(*given)
    found = patterns(table)
    loud = problems(*given)
    print(f"{name}: {len(table):,} records, {sum(map(len, texts.values())) / 1e6:.0f} MB, {len(found)} patterns")
    for what, call in (
        ("logs.lines", lambda: lines(*given)),
        ("logs.patterns", lambda: patterns(table)),
        ("logs.counts", lambda: counts(table)),
        ("logs.telling", lambda: telling(found)),
        ("logs.problems", lambda: problems(*given)),
        ("logs.bursts", lambda: bursts(loud, None)),
    ):
        print(f"  {what:14}{seconds(call, 1):7.2f} s")
    tracemalloc.start()
    lines(*given)
    print(f"  logs.lines holds at most {tracemalloc.get_traced_memory()[1] / 2**20:,.0f} MiB of Python's memory")
    tracemalloc.stop()


def accuracy(groups: Sequence[Any], truth: Sequence[Any]) -> float:
    """The share of lines whose group is exactly that of the truth."""
    frame = pd.DataFrame({"group": groups, "truth": truth})
    both = frame.groupby(["group", "truth"])["group"].transform("size")
    right = (both == frame.groupby("group")["group"].transform("size")) & (
        both == frame.groupby("truth")["truth"].transform("size")
    )
    return float(right.mean())


def by_drain(messages: Sequence[str]) -> list[int]:
    miner = importlib.import_module("drain3").TemplateMiner()
    return [miner.add_log_message(m)["cluster_id"] for m in messages]


def compare(text: str) -> None:
    log = parse("felix-log", text).frame
    log = log[log["line_number"].notna()]
    truth = (log["file"] + ":" + log["line_number"].astype("str")).tolist()
    messages = log["message"].tolist()
    array = pa.array(messages, pa.string())

    def ours() -> list[str]:
        encoded = array.dictionary_encode()
        found: list[str] = masked(encoded.dictionary).take(encoded.indices).to_pylist()
        return found

    mine = seconds(ours, 3)
    print(f"patterns of {len(messages):,} messages alone")
    print(f"  {'calicokit':12}{mine:8.2f} s  {len(set(ours())):5} patterns, accuracy {accuracy(ours(), truth):.3f}")
    if importlib.util.find_spec("drain3") is None:
        print("  drain3 is not installed")
        return
    theirs = seconds(lambda: by_drain(messages), 1)
    found = by_drain(messages)
    print(f"  {'drain3':12}{theirs:8.2f} s  {len(set(found)):5} patterns, accuracy {accuracy(found, truth):.3f}")
    print(f"  calicokit is {theirs / mine:.0f} times as fast")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lines", type=int, default=1_000_000)
    options.add_argument("--peer-lines", type=int, default=100_000)
    chosen = options.parse_args()
    texts = {kind: repeated(recorded(file), chosen.lines // len(KINDS)) for kind, file in KINDS.items()}
    report("repeated", texts)
    varied = {kind: distinct(text) for kind, text in texts.items()}
    report("distinct", varied)
    compare("".join(varied["felix-log"].splitlines(keepends=True)[: chosen.peer_lines]))


if __name__ == "__main__":
    main()

"""How fast Calico's logs are read, beside a loop that applies one compiled regex to each line.

Run ``python benchmarks/parsers_logs.py [--lines N]``. The text of a kind is that of every node of every recording in
a row, repeated to so many lines; "CRI" has what a container runtime puts before each line. The loop keeps nothing and
reads no times and numbers; the parser gives the whole table with its types.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parsers_rules import peak, repeated, seconds
from calicokit.parsers.base import parse
from tests import recordings

_RECORD = re.compile(r"(\S+ \S+) \[([A-Z]+)\]\[(\d+)\] (\S+) (\S+): (.*)")
_FILES = {"felix-log": "felix.log", "cni-log": "cni.log", "confd-log": "confd.log"}
_CRI = "2026-11-24T02:28:20.748123456Z stdout F "


def text_of(kind: str, lines: int) -> str:
    found = [recordings.read(n, p) for n in recordings.names() for p in recordings.paths(n, f"nodes/*/{_FILES[kind]}")]
    return repeated("".join(file.decode(errors="replace") for file in found), lines)


def regex_loop(text: str) -> None:
    match = _RECORD.match
    for line in text.splitlines():
        match(line)


def report(kind: str, name: str, text: str, lines: int) -> None:
    ours, loop = seconds(lambda: parse(kind, text), 3), seconds(lambda: regex_loop(text), 3)
    print(f"{kind} ({name}, {lines} lines, {len(text) / 1e6:.0f} MB)")
    print(f"  {'calicokit':12}{lines / ours / 1e3:9.0f} thousand lines/s  peak memory {peak(kind, text):.1f}x the text")
    print(f"  {'regex loop':12}{lines / loop / 1e3:9.0f} thousand lines/s  calicokit is {loop / ours:.2f}x as fast")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lines", type=int, default=1_000_000)
    lines = options.parse_args().lines
    for kind in _FILES:
        text = text_of(kind, lines)
        report(kind, "plain", text, lines)
        if kind == "felix-log":
            report(kind, "CRI", text.replace("\n", f"\n{_CRI}"), lines)


if __name__ == "__main__":
    main()

"""How fast iptables-save and iptables -L are read, beside peers, on recorded text repeated to a size.

Run ``python benchmarks/parsers_rules.py [--lines N]``. Peers: a loop that applies one compiled regex to each line and
keeps nothing, a loop that only splits lines, and jc where it can be imported (its time is taken on fewer lines, as it
is slow, and scaled). "one" is one node's text repeated, whose lines are all seen again; "all" is the text of every
node of every recording in a row; "distinct" is the same with other counters, hashes, comments and addresses in every
line, so that no rule is seen again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from calicokit.parsers.base import parse
from tests import recordings

_RULE = re.compile(r"(?:\[(\d+):(\d+)\] )?-A (\S+)(.*)")
_ONE = {"iptables-save": "iptables-save.txt", "iptables-list": "iptables-filter-L.txt"}
_JC_LINES = 10_000


def repeated(text: str, lines: int) -> str:
    """The text again and again, to so many lines."""
    once = text.split("\n")
    return "\n".join((once * (lines // len(once) + 1))[:lines]) + "\n"


_CHANGED = re.compile(r"^\[\d+:\d+\]|^ +\d+ +\d+|cali:[\w-]{16}|10\.\d+\.\d+\.\d+|(?<=[a-z] )(?=\*/)|(?<=[a-z])(?=\" )")


def distinct(text: str) -> str:
    """The text with other counters, hashes, comments and addresses in each line, the same ones each time."""

    def changed(line: str, number: int) -> str:
        made = {
            "[": f"[{number * 7}:{number * 421}]",
            " ": f"{number * 7:8} {number * 421:8}",
            "c": f"cali:{hashlib.sha1(b'%d' % number, usedforsecurity=False).hexdigest()[:16]}",
            "1": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        }
        return _CHANGED.sub(lambda match: made.get(match[0][:1], f"{number} "), line)

    return "\n".join(changed(line, number) for number, line in enumerate(text.split("\n")))


def texts(kind: str, lines: int) -> dict[str, str]:
    found = [(n, p) for n in recordings.names() for p in recordings.paths(n, f"nodes/*/{_ONE[kind]}")]
    every = [recordings.read(*place).decode() for place in found]
    one = recordings.read("policy-drop", f"nodes/node-2/{_ONE[kind]}").decode()
    everything = repeated("".join(every), lines)
    return {"one": repeated(one, lines), "all": everything, "distinct": distinct(everything)}


def seconds(run: Callable[[], object], times: int = 7) -> float:
    """The best of several runs."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def regex_loop(text: str) -> None:
    match = _RULE.match
    for line in text.splitlines():
        match(line)


def split_loop(text: str) -> None:
    for line in text.splitlines():
        line.split()


def peak(kind: str, text: str) -> float:
    """Most memory taken while reading, of Python, numpy and Arrow, as a multiple of the text."""
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    parsed = parse(kind, text)
    taken = tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before
    tracemalloc.stop()
    del parsed
    return float(taken / len(text))


def jc_seconds(text: str, lines: int) -> float | None:
    try:
        jc = importlib.import_module("jc")
    except ImportError:
        return None
    few = repeated(text, min(lines, _JC_LINES))
    return seconds(lambda: jc.parse("iptables", few, quiet=True), 1) * lines / min(lines, _JC_LINES)


def report(kind: str, name: str, text: str, lines: int) -> None:
    ours = seconds(lambda: parse(kind, text))
    peers: dict[str, float | None] = {
        "regex loop": seconds(lambda: regex_loop(text)),
        "split loop": seconds(lambda: split_loop(text)),
        "jc": jc_seconds(text, lines) if kind == "iptables-list" else None,
    }
    print(f"{kind} ({name}, {lines} lines, {len(text) / 1e6:.1f} MB, {len(set(text.split(chr(10))))} distinct)")
    print(f"  {'calicokit':12}{ours * 1e3:9.1f} ms  peak memory {peak(kind, text):.1f}x the text")
    for peer, took in peers.items():
        if took is not None:
            print(f"  {peer:12}{took * 1e3:9.1f} ms  calicokit is {took / ours:.2f}x as fast")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lines", type=int, default=100_000)
    lines = options.parse_args().lines
    for kind in _ONE:
        for name, text in texts(kind, lines).items():
            report(kind, name, text, lines)


if __name__ == "__main__":
    main()

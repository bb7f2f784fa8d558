"""How fast each kind is read that has no benchmark of its own: two sizes, so that linear time shows, and peak memory.

Run ``python benchmarks/parsers_others.py [--lines N]``: recorded files repeated to N and to 4 N lines.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parsers_rules import peak, repeated, seconds
from calicokit.evidence.catalog import ITEMS, Api
from calicokit.parsers.base import parse
from tests import recordings

ELSEWHERE = ("iptables-save", "iptables-list", "prometheus", "bird-routes", "felix-log", "cni-log", "confd-log")
NO_LINES = (".json", "yaml.txt", "describe", "conflist", "cni-net.d", "nft-ruleset", ".cfg")
"""Texts that mean nothing when they are repeated."""


def texts() -> dict[str, str]:
    """The longest recorded text of each kind."""
    found: dict[str, str] = {}
    for item in ITEMS:
        kind = item.parser.partition(":")[0]
        if not kind or kind in ELSEWHERE or isinstance(item.how, Api) or any(w in item.file for w in NO_LINES):
            continue
        for name in recordings.names():
            for path in recordings.paths(name, f"*/{item.file}"):
                text = recordings.read(name, path).decode(errors="replace")
                if len(text) > len(found.get(kind, "")):
                    found[kind] = text
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lines", type=int, default=5_000)
    lines = options.parse_args().lines
    print(f"{'kind':24}{'thousand lines/s':>18}{'at 4x the size':>16}{'memory / text':>15}")
    for kind, text in sorted(texts().items()):
        small, large = repeated(text, lines), repeated(text, 4 * lines)
        rates = [n / seconds(partial(parse, kind, t), 3) / 1e3 for n, t in ((lines, small), (4 * lines, large))]
        print(f"{kind:24}{rates[0]:18.0f}{rates[1]:16.0f}{peak(kind, large):14.1f}x")


if __name__ == "__main__":
    main()

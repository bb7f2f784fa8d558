"""How fast Prometheus text is read, beside prometheus_client's parser, on recorded scrapes.

Run ``python benchmarks/parsers_prometheus.py [--lines N]``. "one" is one node's scrape repeated, "all" every scrape of
every recording in a row, repeated to the size. Both make every sample; ours also makes a typed table of them.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from calicokit.parsers.base import parse
from tests import recordings


def repeated(text: str, lines: int) -> str:
    """The text again and again, to so many lines."""
    once = text.split("\n")
    return "\n".join((once * (lines // len(once) + 1))[:lines]) + "\n"


def texts(lines: int) -> dict[str, str]:
    every = [recordings.read(n, p).decode() for n in recordings.names() for p in recordings.paths(n, "*.prom")]
    one = recordings.read("healthy-bgp-mesh", "nodes/node-2/felix-metrics.prom").decode()
    return {"one": repeated(one, lines), "all": repeated("".join(every), lines)}


def seconds(run: Callable[[], object], times: int) -> float:
    """The best of several runs."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def client(text: str) -> int:
    parsing = importlib.import_module("prometheus_client.parser")
    return sum(len(family.samples) for family in parsing.text_string_to_metric_families(text))


def peak(text: str) -> float:
    """Most memory taken while reading, of Python, numpy and Arrow, as a multiple of the text."""
    parse("prometheus", "a 1")
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    former = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        parsed = parse("prometheus", text)
        taken = tracemalloc.get_traced_memory()[1] + (pool.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(former)
    del parsed
    return float(taken / len(text))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--lines", type=int, default=300_000)
    for name, text in texts(arguments.parse_args().lines).items():
        lines = text.count("\n")
        assert len(parse("prometheus", text, strict=True).frame) == client(text)
        ours, theirs = seconds(lambda t=text: parse("prometheus", t), 7), seconds(lambda t=text: client(t), 2)  # type: ignore[misc]
        print(
            f"prometheus, {name}: {lines} lines, {len(text) / 1e6:.0f} MB: ours {ours:.3f} s ({lines / ours:,.0f}/s), "
            f"prometheus_client {theirs:.3f} s; {theirs / ours:.1f}x; peak memory {peak(text):.1f}x the text"
        )


if __name__ == "__main__":
    main()

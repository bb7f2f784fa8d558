"""How long it takes to begin: `import calicokit` against `import pandas`, and `calicokit check` on an incident.

Medians of runs taken in turn, in fresh processes: ``python benchmarks/startup.py [--runs N]``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

IMPORT = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"


def importing(module: str) -> float:
    done = subprocess.run([sys.executable, "-c", IMPORT.format(module)], capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)


def checking(incident: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "calicokit", "check", incident], capture_output=True, check=False)  # noqa: S603
    return time.perf_counter() - start


def main() -> None:
    """Print the medians and their ratio."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--runs", type=int, default=7)
    runs = range(words.parse_args().runs)
    importing("calicokit"), importing("pandas"), checking("ipam-exhausted")  # warm the disk's cache
    pairs = [(importing("calicokit"), importing("pandas")) for _ in runs]
    ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(f"import calicokit  {ours * 1000:7.1f} ms")
    print(f"import pandas     {theirs * 1000:7.1f} ms   ratio {ours / theirs:.1%}")
    print(f"check ipam-exhausted {statistics.median(checking('ipam-exhausted') for _ in runs):5.2f} s")


if __name__ == "__main__":
    main()

"""How fast ``birdcl show route all`` is read and how much memory that takes, beside a ttp template of the same fields.

Run ``python benchmarks/parsers_routes.py [--routes N] [--ttp-routes N]``; 10,000 routes for a quick look. The text is
that of every node of every recording in a row, repeated to so many routes. ttp is used where it can be imported (0.10.1
was compared with; put a folder with it on PYTHONPATH); as it is slow, it reads fewer routes, and its time and memory,
which grow with the text, are scaled. Each reading is done in a process of its own; its memory is the most that the
process had (``ru_maxrss``) less what it had before reading, when the modules were imported and the text was there.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parsers_rules import seconds
from calicokit.parsers.base import parse
from tests import recordings

# The routes of the recordings, and what BIRD 1.6 prints below them; further routes of a prefix do not repeat it.
_LEARNT = "[{{ protocol }} {{ since }} from {{ from }}] {{ metric | ORPHRASE }}"
_WHENCE = "[{{ protocol }} {{ since }}] {{ metric | ORPHRASE }}"
_KEYS = (
    *("Type", "BGP.origin", "BGP.as_path", "BGP.next_hop", "BGP.med", "BGP.local_pref", "BGP.community"),
    *("BGP.large_community", "BGP.ext_community", "BGP.originator_id", "BGP.cluster_list"),
    *("Kernel.source", "Kernel.metric"),
)
_INDENT = " " * 19  # ttp takes blanks at the start of a line as they are
_TEMPLATE = (
    f"""<group name="routes*">
{{{{ prefix | _start_ }}}} via {{{{ gateway }}}} on {{{{ interface }}}} {_WHENCE}
{{{{ prefix | _start_ }}}} via {{{{ gateway }}}} on {{{{ interface }}}} {_LEARNT}
{{{{ prefix | _start_ }}}} dev {{{{ interface }}}} {_WHENCE}
{{{{ prefix | _start_ }}}} {{{{ to }}}} {_WHENCE}
{_INDENT}via {{{{ gateway | _start_ }}}} on {{{{ interface }}}} {_WHENCE}
{_INDENT}via {{{{ gateway | _start_ }}}} on {{{{ interface }}}} {_LEARNT}
{_INDENT}dev {{{{ interface | _start_ }}}} {_WHENCE}
{_INDENT}{{{{ to | _start_ }}}} {_WHENCE}
"""
    + "".join(f"\t{key}: {{{{ {key.lower().replace('.', '_')} | re('.*') }}}}\n" for key in _KEYS)
    + "</group>"
)
_ROUTE = re.compile(r"^(?:\S+/\d+)? +(?:via|dev|blackhole|unreachable|prohibited) .*\n(?:\t.*\n)*", re.MULTILINE)


def text_of(routes: int) -> str:
    found = [(n, p) for n in recordings.names() for p in recordings.paths(n, "nodes/*/birdcl-route-all.txt")]
    every = [route for place in found for route in _ROUTE.findall(recordings.read(*place).decode())]
    return "".join((every * (routes // len(every) + 1))[:routes])


def by_calicokit(text: str) -> int:
    return len(parse("bird-routes", text, strict=True).frame)


def by_ttp(text: str) -> int:
    parser = importlib.import_module("ttp").ttp(text, _TEMPLATE)
    parser.parse(one=True)
    return len(parser.result()[0][0]["routes"])


def measured(read: Callable[[str], int], routes: int, times: int) -> tuple[float, float]:
    """Seconds, and memory in bytes, of reading so many routes, each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(_seconds, (read, routes, times)), pool.apply(_memory, (read, routes))


def _seconds(read: Callable[[str], int], routes: int, times: int) -> float:
    text = text_of(routes)
    return seconds(lambda: read(text), times)


def _memory(read: Callable[[str], int], routes: int) -> float:
    text = text_of(routes)
    read(text_of(10))  # imports what it needs
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read(text)
    if found != routes:
        raise ValueError(f"{read.__name__} finds {found} of {routes} routes")
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def report(name: str, took: float, memory: float, size: int, note: str = "") -> None:
    print(f"  {name:10}{took:8.2f} s  peak memory {memory / 1e6:7.0f} MB, {memory / size:5.1f}x the text{note}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--routes", type=int, default=1_000_000)
    options.add_argument("--ttp-routes", type=int, default=100_000)
    chosen = options.parse_args()
    routes, few = chosen.routes, min(chosen.routes, chosen.ttp_routes)
    size = len(text_of(routes))
    took, memory = measured(by_calicokit, routes, 3)
    print(f"birdcl show route all ({routes} routes, {size / 1e6:.0f} MB)")
    report("calicokit", took, memory, size)
    if importlib.util.find_spec("ttp") is None:
        print("  ttp cannot be imported")
        return
    its, its_memory = (found * routes / few for found in measured(by_ttp, few, 1))
    report("ttp", its, its_memory, size, "" if few == routes else f" (scaled from {few} routes)")
    print(f"  calicokit is {its / took:.1f}x as fast and takes {memory / its_memory:.2f}x its memory")


if __name__ == "__main__":
    main()

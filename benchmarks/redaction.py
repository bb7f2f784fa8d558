"""How long redaction takes: a list of pods, and the logs and outputs of all bundled incidents.

Run ``python benchmarks/redaction.py [--pods N]``. Each pod has an argument and a variable, which are hidden.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec

from benchmarks.parsers_rules import seconds
from calicokit.evidence.model import Evidence, Want
from calicokit.evidence.recordings.redact import redacted
from tests import recordings


def pods(count: int) -> bytes:
    """A list of so many pods, those of an incident again and again."""
    found = msgspec.json.decode(recordings.read("healthy-datacenter", "api/v1_pods.json"))
    made = []
    for number in range(count):
        item = msgspec.json.decode(msgspec.json.encode(found["items"][number % len(found["items"])]))
        item["metadata"]["name"] += str(number)
        item["spec"]["containers"][0] |= {"args": ["--x", str(number)], "env": [{"name": "X", "value": str(number)}]}
        made.append(item)
    return msgspec.json.encode({**found, "items": made})


def recorded(pattern: str) -> bytes:
    return b"".join(recordings.read(n, p) for n in recordings.names() for p in recordings.paths(n, pattern))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    texts = {
        "pods": pods(parser.parse_args().pods),
        "felix-log": recorded("nodes/*/*.log"),
        "ip-rule": recorded("nodes/*/*.txt"),
    }
    for id_, text in texts.items():
        evidence = Evidence(Want(id_), text)
        took = seconds(partial(redacted, evidence), 3)
        print(f"{id_}: {len(text) / 1e6:.0f} MB in {took:.2f} s, {len(text) / 1e6 / took:.0f} MB/s")


if __name__ == "__main__":
    main()

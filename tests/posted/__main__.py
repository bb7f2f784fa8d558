"""How the kit reads a folder of posted outputs with an INDEX.json: ``python -m tests.posted FOLDER``; 1 for faults."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.posted.index import OWN, entries, faults


def main(folders: list[str]) -> int:
    """Print the faults of each entry, and how many entries have none."""
    bad = 0
    for folder in map(Path, folders or [str(OWN)]):
        found = {entry["file"]: faults(folder, entry) for entry in entries(folder)}
        for file, wrong in found.items():
            print(f"{'FAULT' if wrong else 'ok   '} {file}{': ' if wrong else ''}{'; '.join(wrong)}")
        bad += sum(map(bool, found.values()))
        print(f"{folder}: {len(found)} files, {sum(map(bool, found.values()))} with faults")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

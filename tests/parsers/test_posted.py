"""Outputs as people post them: each is read whole, as its index says, and guessed; a folder reads the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calicokit.evidence.bundles.recognise import Part, parts
from calicokit.evidence.catalog import CATALOG
from calicokit.parsers.sessions import read
from tests.posted.index import OWN, entries, faults, text_of

SHARED = Path(__file__).parents[3] / "shared" / "posted"
ENTRIES = entries(OWN)


@pytest.mark.parametrize("entry", ENTRIES, ids=[e["file"] for e in ENTRIES])
def test_own_outputs(entry: dict[str, Any]) -> None:
    assert faults(OWN, entry) == []


def test_every_sample_stands_in_the_index() -> None:
    assert {e["file"] for e in ENTRIES} == {p.name for p in OWN.iterdir()} - {"INDEX.json"}


@pytest.mark.skipif(not SHARED.exists(), reason="the project's folder of posted outputs is not on this machine")
def test_the_shared_index() -> None:
    assert {e["file"]: wrong for e in entries(SHARED) if (wrong := faults(SHARED, e))} == {}


@pytest.mark.parametrize("entry", ENTRIES, ids=[e["file"] for e in ENTRIES])
def test_a_folder_takes_it_for_what_parse_takes_it_for(entry: dict[str, Any]) -> None:
    """What `check` sees in the file is of a kind that `parse` saw, or it says which kind it is."""
    text = text_of(OWN, entry)
    kinds = {output.parsed.kind for output in read(text) if output.parsed}
    found = list(parts(entry["file"], text.encode()))
    assert found
    for each in found:
        if isinstance(each, Part):
            assert CATALOG[each.id].parser.partition(":")[0] in kinds | {"felix-log", "bird-log"}
        else:
            assert any(kind in each.why for kind in kinds)

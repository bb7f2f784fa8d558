"""Whatever secret is planted, wherever: none is left in a capture."""

from __future__ import annotations

import zipfile

import pytest

from calicokit.evidence.recordings.capture import capture
from tests.evidence.planted import PlantedSource


@pytest.fixture(scope="module")
def source() -> PlantedSource:
    return PlantedSource()


@pytest.fixture(scope="module")
def kept(source: PlantedSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a capture of it."""
    out = tmp_path_factory.mktemp("planted") / "out.zip"
    capture(source, out, nodes=["n1"])
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def survivors(source: PlantedSource, kept: dict[str, bytes]) -> list[str]:
    whole = b"\n".join([*kept.values(), *(n.encode() for n in kept)])
    planted = source.planter.planted
    return [place for place, words in planted.items() if any(w.encode() in whole for w in words)]


def test_no_planted_secret_survives_a_capture(source: PlantedSource, kept: dict[str, bytes]) -> None:
    forms, left = len(source.planter.planted), survivors(source, kept)
    assert not left, f"{len(left)} of {forms} planted forms survive: {left[:40]}"
    assert forms >= 150

"""What a live cluster is asked to run is in calico-node's image, of each version from v3.26 on."""

from __future__ import annotations

import pytest

from calicokit.evidence.catalog import CATALOG, Command
from calicokit.evidence.image import programs, runnable

VERSIONS = range(26, 35)
LATER = {"nft-ruleset": 29, "nft-ruleset-json": 29}
"""Rows that no image before this minor version can answer: it has no nft, and its Felix no nftables mode."""


@pytest.mark.parametrize("minor", VERSIONS)
def test_every_command_has_an_alternative_that_the_image_can_run(minor: int) -> None:
    rows = {i: item.how.argvs for i, item in CATALOG.items() if isinstance(item.how, Command)}
    assert len(rows) > 40
    lost = [i for i, argvs in rows.items() if not runnable(argvs, minor) and minor >= LATER.get(i, 0)]
    assert lost == []


def test_what_only_later_images_have_is_told_so() -> None:
    for id_, minor in LATER.items():
        how = CATALOG[id_].how
        assert isinstance(how, Command)
        assert not runnable(how.argvs, minor - 1)


def test_the_name_of_calicos_own_program_is_that_of_the_version() -> None:
    how = CATALOG["felix-ready"].how
    assert isinstance(how, Command)
    by_minor = {minor: [argv[0] for argv in runnable(how.argvs, minor)] for minor in (32, 33, None)}
    assert by_minor == {32: ["calico-node"], 33: ["calico"], None: ["calico-node", "calico"]}
    assert "bridge" not in programs(None)

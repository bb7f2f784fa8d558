"""What a live cluster is asked to run is in calico-node's image, of each version from v3.26 on.

Source: the keep-list of node/clean-up-filesystem.sh @ v3.26.5, v3.27.5, v3.28.5, v3.29.7, v3.30.7, v3.31.7, v3.32.1 and
HEAD (v3.34.0-0.dev-67), which deletes all other programs from the image; node/cmd/calico-node and cmd/calico for the
names of Calico's own. Patterns of that list that are words stand for all programs with them in their path.
"""

from __future__ import annotations

import pytest

from calicokit.evidence.catalog import CATALOG, Command

ALWAYS = {
    *("birdcl", "ip", "tc", "arp", "conntrack", "ipset", "bpftool"),
    *("iptables", "iptables-save", "iptables-nft-save", "iptables-legacy-save"),
    *("ip6tables", "ip6tables-save", "ip6tables-nft-save", "ip6tables-legacy-save"),
    *("bash", "sh", "cat", "date", "env", "find", "grep", "hostname", "ls", "readlink", "sed", "sort", "stat", "tail"),
    *("timeout", "uniq"),
}
VERSIONS = range(26, 35)
LATER = {"nft-ruleset": 29, "nft-ruleset-json": 29}
"""Rows that no image before this minor version can answer: it has no nft, and its Felix no nftables mode."""


def tools(minor: int) -> set[str]:
    """The programs of the image of a minor version of Calico 3."""
    own = {"calico"} if minor >= 33 else {"calico-node"}
    return ALWAYS | own | ({"nft"} if minor >= 29 else set())


@pytest.mark.parametrize("minor", VERSIONS)
def test_every_command_has_an_alternative_that_the_image_can_run(minor: int) -> None:
    rows = {i: item.how.argvs for i, item in CATALOG.items() if isinstance(item.how, Command)}
    assert len(rows) > 40
    there = tools(minor)
    lost = [i for i, argvs in rows.items() if not any(argv[0] in there for argv in argvs) and minor >= LATER.get(i, 0)]
    assert lost == []


def test_what_only_later_images_have_is_told_so() -> None:
    for id_, minor in LATER.items():
        how = CATALOG[id_].how
        assert isinstance(how, Command)
        assert not any(argv[0] in tools(minor - 1) for argv in how.argvs)

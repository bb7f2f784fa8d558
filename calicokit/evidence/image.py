"""The programs of calico-node's image, by version: what can be run there, and so on a live cluster.

Source: the keep-list of node/clean-up-filesystem.sh @ v3.26.5, v3.27.5, v3.28.5, v3.29.7, v3.30.7, v3.31.7, v3.32.1 and
HEAD (v3.34.0-0.dev-67), which deletes all other programs from the image; node/cmd/calico-node and cmd/calico for the
names of Calico's own. Patterns of that list that are words stand for all programs with them in their path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ALWAYS = frozenset(
    (
        *("birdcl", "birdcl6", "ip", "tc", "arp", "conntrack", "ipset", "bpftool"),
        *("iptables", "iptables-save", "iptables-nft-save", "iptables-legacy-save"),
        *("ip6tables", "ip6tables-save", "ip6tables-nft-save", "ip6tables-legacy-save"),
        *("bash", "sh", "cat", "date", "env", "find", "grep", "hostname", "ls", "readlink", "sed", "sort", "stat"),
        *("tail", "timeout", "uniq"),
    )
)
NFT, ONE_PROGRAM = 29, 33
"""The minor versions since which the image has nft, and since which all of Calico's programs are one, ``calico``."""


def programs(minor: int | None) -> frozenset[str]:
    """The programs in the image of a minor version of Calico 3; of an unknown one those of any.

    >>> "nft" in programs(28), "nft" in programs(29), "calico-node" in programs(33), "ss" in programs(None)
    (False, True, False, False)
    """
    if minor is None:
        return ALWAYS | {"nft", "calico", "calico-node"}
    own = "calico" if minor >= ONE_PROGRAM else "calico-node"
    return ALWAYS | {own} | ({"nft"} if minor >= NFT else set())


def runnable(argvs: Iterable[tuple[str, ...]], minor: int | None) -> list[tuple[str, ...]]:
    """Of alternatives those that the image can run, one for each program; several only where the version is unknown.

    >>> runnable([("ss", "-tnap"), ("cat", "/proc/net/tcp")], 30)
    [('cat', '/proc/net/tcp')]
    """
    there = programs(minor)
    found = [argv for argv in argvs if argv[0] in there]
    own = [argv for argv in found if argv[0] in ("calico", "calico-node")]
    return own or found[:1]


def minor_of(version: object) -> int | None:
    """The minor version of Calico 3 that a tag or version names; None for none.

    >>> minor_of("v3.28.5"), minor_of("v3.34.0-0.dev"), minor_of("master")
    (28, 34, None)
    """
    found = re.match(r"v3\.(\d+)\.", str(version))
    return int(found[1]) if found else None

"""The programs whose output people save: the tools of the catalog's commands, and what people type around them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath

from calicokit.evidence.catalog import CATALOG, ITEMS, Admin, Command, Discovery, Item, Log

CONTAINERS = frozenset(("kubectl", "oc", "docker", "crictl", "nerdctl"))
"""What runs a tool in a container, after ``--`` with kubectl; it has output of its own too."""

READERS = frozenset(("cat", "tail", "grep", "curl", "journalctl", "hostname"))
"""What prints a file, a log or a word as it is."""

ALSO = frozenset(
    (
        *("birdcl6", "birdc", "birdc6", "iptables-legacy", "iptables-nft", "ip6tables", "bpftool", "xtables-monitor"),
        *("netstat", "route", "ifconfig", "ethtool", "wg", "ipvsadm", "tcpdump"),
    )
)
"""The catalog's tools under other names, what other versions have instead, and what only people at a terminal run."""

SHELL = frozenset(
    (
        *("ssh", "sudo", "ctr", "kubetail", "stern", "etcdctl", "watch", "timeout", "chroot", "nsenter", "sv", "etc"),
        *("head", "egrep", "zcat", "less", "more", "jq", "wget", "ls", "echo", "date", "for", "while", "exit", "clear"),
    )
)
"""What else people type; its output is none that the kit reads, and some of it is English."""


def _of_catalog() -> Iterator[str]:
    for item in ITEMS:
        match item.how:
            case Command(argvs, said):
                yield from (said.split()[:1] if said else (argv[0] for argv in argvs))
            case Admin(command) | Discovery(command):
                yield command.split()[0]
            case Log() as log:
                yield log.argv[0]


TOOLS = frozenset(_of_catalog()) | CONTAINERS | READERS | ALSO
"""The programs that begin an output which the kit may know."""

PROGRAMS = TOOLS | SHELL
"""The programs that begin a command line."""


def ran(words: list[str]) -> tuple[str, ...]:
    """The tool that a command line runs, and its words, without what runs it elsewhere; none where it is no tool.

    >>> ran("ssh node-2 sudo /usr/sbin/ip route".split())
    ('ip', 'route')
    >>> ran("kubectl exec -n kube-system calico-node-x -- birdcl show status | head".split())
    ('birdcl', 'show', 'status')
    >>> ran("vi notes.txt".split())
    ()
    """
    if "|" in words:
        words = words[: words.index("|")]
    if words[:1] == ["ssh"]:
        words = words[next((i for i, w in enumerate(words) if _name(w) in TOOLS), len(words)) :]
    if words and words[0] in ("kubectl", "oc") and "--" in words:
        words = words[words.index("--") + 1 :]
    words = words[1:] if words[:1] == ["sudo"] else words
    return (_name(words[0]), *words[1:]) if words and _name(words[0]) in TOOLS else ()


def _name(program: str) -> str:
    return PurePosixPath(program).name


@cache
def _by_command() -> dict[str, Item]:
    known: dict[str, Item] = {}
    for item in CATALOG.values():
        argvs = [" ".join(argv) for argv in item.how.argvs] if isinstance(item.how, Command) else []
        for words in [item.how.command] if isinstance(item.how, Admin | Discovery) else argvs:
            known.setdefault(words, item)
    return known


def item_of_command(command: str) -> Item | None:
    """The row of the catalog whose command is exactly this one; None for any other.

    >>> item_of_command("ip rule").id, item_of_command("date")
    ('ip-rule', None)
    """
    return _by_command().get(command)

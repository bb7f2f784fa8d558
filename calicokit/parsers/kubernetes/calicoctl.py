"""What ``calicoctl ipam`` prints: ``show`` with any of its options, and ``check``.

Sources: recordings of v3.28 (tables drawn by tablewriter) and v3.34-dev (by go-pretty), and calicoctl's own
calicoctl/calicoctl/commands/ipam/show.go and check.go from v3.17 on. Tables are read by the names in their headers, so
that a version's columns may come, go and change places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.kubernetes import boxes
from calicokit.schema import Column, Schema

_SHOW_SOURCE = "recordings; calicoctl/calicoctl/commands/ipam/show.go"
_CHECK_SOURCE = "recordings; calicoctl/calicoctl/commands/ipam/check.go"

SHOW = Schema(
    "calicoctl_ipam_show",
    "usage of IP pools and, with --show-blocks, of their blocks; counts are rounded to five digits",
    (
        Column("grouping", "str", "IP Pool or Block"),
        Column("cidr", "str", "CIDR of the pool or block"),
        Column("ips_total", "float", "addresses it has"),
        Column("ips_in_use", "float", "addresses allocated"),
        Column("in_use_percent", "float", "share of addresses allocated", "%"),
        Column(
            "ips_reserved", "float", "addresses covered by an IPReservation; null where the version has no such column"
        ),
        Column("reserved_percent", "float", "share of addresses reserved", "%"),
        Column(
            "ips_cooling", "float", "addresses released but not yet free; null where the version has no such column"
        ),
        Column("cooling_percent", "float", "share of addresses cooling down", "%"),
        Column("ips_free", "float", "addresses free"),
        Column("free_percent", "float", "share of addresses free", "%"),
    ),
    ("grouping", "cidr"),
    source=_SHOW_SOURCE,
)
BORROWED = Schema(
    "borrowed",
    "borrowed addresses (--show-borrowed)",
    (
        Column("address", "str", "IP address"),
        Column("node", "str", "node that borrows it"),
        Column("block", "str", "block of the address"),
        Column("block_node", "str", "node that the block is affine to; null for a block without affinity"),
        Column("type", "str", "pod, vmi, or the type of a tunnel's address"),
        Column("allocated_to", "str", "NAMESPACE/NAME of the pod or VM"),
    ),
    ("address",),
    source=_SHOW_SOURCE,
)
CONFIGURATION = Schema(
    "configuration",
    "the IPAM configuration (--show-configuration)",
    (
        Column("property", "str", "name of the setting"),
        Column("value", "str", "value as printed; a Go pointer shows only that it is set"),
    ),
    ("property",),
    source=_SHOW_SOURCE,
)
ADDRESS = Schema(
    "address",
    "one address (--ip)",
    (
        Column("address", "str", "IP address"),
        Column("in_use", "bool", "whether it is assigned"),
        Column("handle", "str", "handle it is assigned under"),
        Column("attributes", "list", "owner's attributes, as key=value"),
        Column("alternate_attributes", "list", "alternate owner's attributes, as key=value"),
    ),
    ("address",),
    verified=False,
    source="calicoctl/calicoctl/commands/ipam/show.go",
)

CHECK = Schema(
    "calicoctl_ipam_check",
    "figures of ipam check, in its order; a figure that the version does not print has no row",
    (
        Column("figure", "str", "what was counted"),
        Column("value", "int", "count"),
    ),
    ("figure",),
    source=_CHECK_SOURCE,
)
BLOCKS = Schema(
    "blocks",
    "IPAM blocks",
    (
        Column("block", "str", "CIDR"),
        Column("affinity", "str", "host:NODE, or virtual:… ; null for none"),
        Column("node", "str", "node that the block is affine to"),
    ),
    ("block",),
    source=_CHECK_SOURCE,
)
POOLS = Schema("pools", "active IP pools", (Column("cidr", "str", "CIDR"),), ("cidr",), source=_CHECK_SOURCE)
NODES = Schema(
    "nodes",
    "the (up to 20) nodes with the most allocations",
    (Column("node", "str", "node"), Column("allocations", "int", "addresses allocated for it")),
    ("node",),
    source=_CHECK_SOURCE,
)
ALLOCATIONS = Schema(
    "allocations",
    "allocated addresses (--show-all-ips)",
    (
        Column("address", "str", "IP address"),
        Column("block", "str", "block of the address"),
        Column("handle", "str", "handle it is assigned under"),
        Column("namespace", "str", "namespace of the pod"),
        Column("pod", "str", "pod it was assigned to"),
        Column("node", "str", "node it was assigned on"),
        Column("type", "str", "type of a tunnel's address; null for a pod's"),
        Column("timestamp", "time", "allocation time"),
        Column("attributes", "str", "attributes as printed"),
    ),
    ("address",),
    source=_CHECK_SOURCE,
)
IN_USE = Schema(
    "in_use",
    "addresses in use (--show-all-ips)",
    (
        Column("address", "str", "IP address"),
        Column("owner", "str", "Workload(NAMESPACE/ENDPOINT), Node(NODE), or a service's name"),
    ),
    ("address", "owner"),
    source=_CHECK_SOURCE,
)
PROBLEMS = Schema(
    "problems",
    "problems found by ipam check (--show-problem-ips; orphan handles: --show-all-ips; invalid blocks: always)",
    (
        Column(
            "kind",
            "str",
            "leaked, multiple-owners, not-in-pool, not-allocated, orphan-handle, missing-handle or invalid-block",
        ),
        Column("subject", "str", "address, handle or block"),
        Column("owner", "str", "user of the address; for a leaked one NAMESPACE/POD it was assigned to"),
        Column("detail", "str", "attributes of a leaked address; problem of a block"),
    ),
    ("kind", "subject"),
    source=_CHECK_SOURCE,
)

_SHARE = re.compile(r"(\S+) \((\S+)%\)")


@dataclass
class _Show:
    """Reads ``ipam show``: whichever of its tables and texts come along."""

    text: Text
    header: list[str] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    borrowed: list[dict[str, Any]] = field(default_factory=list)
    configuration: list[dict[str, Any]] = field(default_factory=list)
    addresses: list[dict[str, Any]] = field(default_factory=list)
    attributes: list[str] | None = None  # where the lines "  key: value" belong

    def line(self, line: Line) -> None:
        stripped = line.text.strip()
        if (cells := boxes.cells(stripped)) is not None:
            self.row(line, cells)
        elif _NOTE.fullmatch(stripped):
            return
        elif not self.address(line.text):
            self.text.reject(line, "a table of calicoctl ipam show, or the attributes of an address")

    def row(self, line: Line, cells: list[str]) -> None:
        upper = [cell.upper() for cell in cells]
        if any(names <= set(upper) for names in _HEADERS):
            self.header = upper
            return
        named = dict(zip(self.header, cells, strict=False))
        if not self.header or len(cells) != len(self.header) or not self.store(named):
            self.text.reject(line, "a row with a cell for each column of a known header")

    def store(self, row: Mapping[str, str]) -> bool:
        if "GROUPING" in row:
            usage = _usage(row)
            self.usage.extend([usage] if usage else [])
            return usage is not None
        if "BORROWING-NODE" in row:
            self.borrowed.append({column: row.get(name) or None for name, column in _BORROWED_HEADER.items()})
            return True
        self.configuration.append({"property": row["PROPERTY"], "value": row["VALUE"]})
        return True

    def address(self, line: str) -> bool:
        """Read a line of ``--ip``; False if it is none."""
        if match := _ASSIGNED.fullmatch(line):
            self.addresses.append(
                {"address": match[1], "in_use": match[2] == "is in use", "attributes": [], "alternate_attributes": []}
            )
        elif not self.addresses:
            return False
        elif match := _HANDLE.fullmatch(line):
            self.addresses[-1]["handle"] = None if match[1] == "<none>" else match[1]
        elif match := _OWNER.fullmatch(line):
            self.attributes = self.addresses[-1]["alternate_attributes" if match[1] else "attributes"]
        elif self.attributes is not None and (match := _ATTRIBUTE.fullmatch(line)):
            self.attributes.append(f"{match[1]}={match[2]}")
        else:
            return bool(_NO_ATTRIBUTES.fullmatch(line))
        return True


_HEADERS = ({"GROUPING", "CIDR"}, {"IP", "BORROWING-NODE"}, {"PROPERTY", "VALUE"})
_NOTE = re.compile(r"Note: found \d+ IP allocations without an explicit node association\..*")
_ASSIGNED = re.compile(r"(?:IP )?([0-9A-Fa-f:.]+) (is in use|is not assigned)")
_HANDLE = re.compile(r"Handle ID: (.*)")
_OWNER = re.compile(r"(?:Active Owner |(Alternate) Owner )?Attributes:")
_NO_ATTRIBUTES = re.compile(r"No (?:Active Owner )?attributes defined")
_ATTRIBUTE = re.compile(r"  ([^:]+): ?(.*)")
_BORROWED_HEADER = {
    "IP": "address",
    "BORROWING-NODE": "node",
    "BLOCK": "block",
    "BLOCK OWNER": "block_node",
    "TYPE": "type",
    "ALLOCATED-TO": "allocated_to",
}
_USAGE_HEADER = {
    "IPS TOTAL": "ips_total",
    "IPS IN USE": "ips_in_use",
    "IPS RESERVED": "ips_reserved",
    "IPS COOLING": "ips_cooling",
    "IPS FREE": "ips_free",
}
_PERCENTS = {column: name for column in _USAGE_HEADER.values() if (name := f"{column[4:]}_percent") in SHOW.names}


def _usage(row: Mapping[str, str]) -> dict[str, Any] | None:
    """A row of the main table; None if a number in it is none."""
    made: dict[str, Any] = {"grouping": row["GROUPING"], "cidr": row.get("CIDR")}
    try:
        for name, column in _USAGE_HEADER.items():
            if name not in row:
                continue
            share = _SHARE.fullmatch(row[name])
            made[column] = float(share[1] if share else row[name])
            if share:
                made[_PERCENTS[column]] = float(share[2])
    except (ValueError, KeyError):
        return None
    return made


@parser(
    "calicoctl-ipam-show",
    SHOW,
    BORROWED,
    CONFIGURATION,
    ADDRESS,
    marks=r"(\| *GROUPING +\| +CIDR|BORROWING-NODE|\| *PROPERTY +\| +VALUE|^IP \S+ is (not )?in use|is not assigned$)",
)
def ipam_show(text: Text) -> dict[str, pd.DataFrame]:
    """``calicoctl ipam show``: use of pools and blocks, borrowed addresses, IPAM's configuration, or one address.

    The main table is what is printed without options and with --show-blocks; ``borrowed``, ``configuration`` and
    ``address`` hold what --show-borrowed, --show-configuration and --ip print. Several outputs may follow one another.

    Source: recordings; calicoctl's show.go. The output of --ip is in no recording.

    >>> from calicokit.parsers.base import parse
    >>> parse("calicoctl-ipam-show", '''
    ... +----------+--------------+-----------+------------+--------------+
    ... | GROUPING | CIDR         | IPS TOTAL | IPS IN USE | IPS FREE     |
    ... +----------+--------------+-----------+------------+--------------+
    ... | IP Pool  | 10.48.0.0/16 |     65536 |    26 (0%) | 65510 (100%) |
    ... +----------+--------------+-----------+------------+--------------+''').frame["ips_free"].to_list()
    [65510.0]
    """
    show = _Show(text)
    for line in boxes.whole(text.lines()):
        show.line(line)
    return {
        SHOW.name: SHOW.frame(show.usage),
        BORROWED.name: BORROWED.frame(show.borrowed),
        CONFIGURATION.name: CONFIGURATION.frame(show.configuration),
        ADDRESS.name: ADDRESS.frame(show.addresses),
    }


_HEADINGS = re.compile(
    r"Checking IPAM for inconsistencies\.\.\.|Loading all .*|Looking for top .*|Scanning for .*"
    r"|Validating IPAMBlock structures\.\.\.|No configuration for LoadBalancer kubecontroller found.*"
)
_NUMBER = re.compile(r"\bN\b")
_FIGURES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(_NUMBER.sub(r"(\\d{1,18})", pattern)), figures)
    for pattern, figures in (
        (r"Found N IPAM blocks\.", ("blocks",)),
        (r"IPAM blocks record N allocations\.", ("allocations",)),
        (r"Found N active IP pools\.", ("active_pools",)),
        (r"Found N node tunnel IPs\.", ("node_tunnel_ips",)),
        (r"Found N service load balancer\(s\)\.", ("load_balancers",)),
        (r"Found N workload IPs\.", ("workload_ips",)),
        (r"Workloads and nodes are using N IPs\.", ("in_use_ips",)),
        (r"Node with most allocations has N; median is N", ("max_node_allocations", "median_node_allocations")),
        (r"Found N IPs that are allocated in IPAM but not actually in use\.", ("allocated_not_in_use",)),
        (r"Found N in-use IPs that are not in active IP pools\.", ("in_use_not_in_pool",)),
        (r"Found N in-use IPs that are in active IP pools but have no corresponding .*", ("in_use_not_allocated",)),
        (r"Found N handles with no matching IPs \(and N handles .*", ("handles_without_ips", "handles_with_ips")),
        (r"Found N handles mentioned in blocks with no matching handle resource\.", ("handles_missing",)),
        (r"Found N invalid IPAMBlocks\.", ("invalid_blocks",)),
        (r"Check complete; found N problems\.", ("problems",)),
    )
)
_ATTRS = re.compile(r"Main:(\S*) Extra:(.*?)(?: Alternate:(.*))?")
_NEXT_ATTRIBUTE = re.compile(r",(?=[\w.-]+=)")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,9})?) ([+-]\d{4}) \S+.*")


@dataclass
class _Check:
    """Reads ``ipam check``: one method for each kind of line that tells a fact."""

    figures: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    pools: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    allocations: list[dict[str, Any]] = field(default_factory=list)
    in_use: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)

    def line(self, line: str) -> bool:
        """Read a line; False if it is none that ipam check prints."""
        for pattern, take in _FACTS:
            if match := pattern.fullmatch(line):
                take(self, match)
                return True
        for pattern, figures in _FIGURES:
            if match := pattern.fullmatch(line):
                self.figures += [
                    {"figure": name, "value": int(n)} for name, n in zip(figures, match.groups(), strict=True)
                ]
                return True
        return bool(_HEADINGS.fullmatch(line))

    def block(self, match: re.Match[str]) -> None:
        affinity = None if match[2] == "<none>" else match[2]
        node = affinity[5:] if affinity and affinity.startswith("host:") else None
        self.blocks.append({"block": match[1], "affinity": affinity, "node": node})

    def node(self, match: re.Match[str]) -> None:
        self.nodes.append({"node": match[1], "allocations": int(match[2])})

    def pool(self, match: re.Match[str]) -> None:
        self.pools.append({"cidr": match[1]})

    def allocation(self, match: re.Match[str]) -> None:
        block = self.blocks[-1]["block"] if self.blocks else None
        self.allocations.append({"address": match[1], "block": block, **_owner(match[2]), "attributes": match[2]})

    def use(self, match: re.Match[str]) -> None:
        self.in_use.append({"address": match[1], "owner": match[2]})

    def leaked(self, match: re.Match[str]) -> None:
        owner = _owner(match[2])
        pod = f"{owner['namespace']}/{owner['pod']}" if owner.get("pod") else None
        self.problem("leaked", match[1], pod, match[2])

    def problem(self, kind: str, subject: str, owner: str | None = None, detail: str | None = None) -> None:
        self.problems.append({"kind": kind, "subject": subject, "owner": owner, "detail": detail})


_FACTS: tuple[tuple[re.Pattern[str], Callable[[_Check, re.Match[str]], None]], ...] = (
    (re.compile(r"(\S+) allocated; attrs (.*)"), _Check.allocation),
    (re.compile(r"(\S+) belongs to (.*)"), _Check.use),
    (re.compile(r"IPAM block (\S+) affinity=(.*):"), _Check.block),
    (re.compile(r"(?:(\S+) )?has (\d{1,18}) allocations"), _Check.node),
    (re.compile(r"([0-9A-Fa-f:.]+/\d{1,3})"), _Check.pool),
    (re.compile(r"(\S+) leaked; attrs (.*)"), _Check.leaked),
    (re.compile(r"(\S+) has multiple owners\."), lambda c, m: c.problem("multiple-owners", m[1])),
    (
        re.compile(r"(\S+) in use by (.*) is not in any active IP pool\."),
        lambda c, m: c.problem("not-in-pool", m[1], m[2]),
    ),
    (
        re.compile(r"(\S+) in use by (.*) and in active IPAM pool but has no IPAM allocation\."),
        lambda c, m: c.problem("not-allocated", m[1], m[2]),
    ),
    (re.compile(r"(.*) doesn't have any active IPs\."), lambda c, m: c.problem("orphan-handle", m[1])),
    (
        re.compile(r"(.*) is in use in a block but doesn't exist\."),
        lambda c, m: c.problem("missing-handle", m[1]),
    ),
    (
        re.compile(r"IPAMBlock (?:BlockKey\(cidr=)?(\S+?)\)? is invalid: (.*)"),
        lambda c, m: c.problem("invalid-block", m[1], None, m[2]),
    ),
)


def _owner(attributes: str) -> dict[str, Any]:
    """Handle, namespace, pod, node, type and timestamp out of ``Main:HANDLE Extra:key=value,key=value``."""
    match = _ATTRS.fullmatch(attributes)
    if match is None:
        return {}
    extra = dict(pair.split("=", 1) for pair in _NEXT_ATTRIBUTE.split(match[2]) if "=" in pair)
    owner: dict[str, Any] = {name: extra.get(name) for name in ("namespace", "pod", "node", "type")}
    time = _TIMESTAMP.fullmatch(extra.get("timestamp", ""))
    owner["timestamp"] = f"{time[1]} {time[2]}{time[3]}" if time else None
    owner["handle"] = None if match[1] in ("", "<none>") else match[1]
    return owner


def _times(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = list(rows)
    texts = pd.Series([row.get("timestamp") for row in rows], dtype="str")
    times = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    return [{**row, "timestamp": time} for row, time in zip(rows, times, strict=True)]


@parser(
    "calicoctl-ipam-check",
    CHECK,
    BLOCKS,
    POOLS,
    NODES,
    ALLOCATIONS,
    IN_USE,
    PROBLEMS,
    marks=r"^Checking IPAM for inconsistencies",
)
def ipam_check(text: Text) -> dict[str, pd.DataFrame]:
    """``calicoctl ipam check``: what IPAM holds, who uses addresses, and where the two disagree.

    The main table has the figures by name; ``blocks``, ``pools`` and ``nodes`` are always printed, ``allocations`` and
    ``in_use`` with --show-all-ips, most ``problems`` with --show-problem-ips.

    Source: recordings; calicoctl's check.go. Of the problems, recordings show only leaked and multiple-owners.

    >>> from calicokit.parsers.base import parse
    >>> parse("calicoctl-ipam-check", "Found 4 IPAM blocks.\\nCheck complete; found 0 problems.").frame.values.tolist()
    [['blocks', 4], ['problems', 0]]
    """
    check = _Check()
    for line in text.lines():
        if not check.line(line.text.strip()):
            text.reject(line, "a line of calicoctl ipam check")
    return {
        CHECK.name: CHECK.frame(check.figures),
        BLOCKS.name: BLOCKS.frame(check.blocks),
        POOLS.name: POOLS.frame(check.pools),
        NODES.name: NODES.frame(check.nodes),
        ALLOCATIONS.name: ALLOCATIONS.frame(_times(check.allocations)),
        IN_USE.name: IN_USE.frame(check.in_use),
        PROBLEMS.name: PROBLEMS.frame(check.problems),
    }

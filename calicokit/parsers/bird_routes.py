"""BIRD's routes, read in bulk: a node of a large cluster, or a route reflector, has hundreds of thousands.

Sources: recordings of BIRD 1.6.8 in Calico's build; BIRD's nest/rt-table.c, nest/rt-attr.c and proto/bgp/attrs.c (1.6)
and nest/rt-show.c (2.x). The text is taken in pieces that end before a prefix; in each, lines become an Arrow array,
attributes are told by their first sixteen bytes, and routes and next hops are read by RE2, whose time is linear. Only
lines that are none of these are looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from calicokit.parsers.base import Text, parser
from calicokit.parsers.bird import ANSI, is_noise
from calicokit.schema import Column, Schema

_SOURCE = "recordings of BIRD 1.6.8; BIRD's nest/rt-table.c, nest/rt-show.c, proto/bgp/attrs.c"

ROUTES = Schema(
    "bird_routes",
    "routes in BIRD's tables; the columns from source on are null without ``all``",
    (
        Column("prefix", "str", "CIDR of the destination"),
        Column("gateway", "str", "next hop; null for several (see bird_next_hops)"),
        Column("interface", "str", "interface towards it; null for several"),
        Column("type", "str", "unicast (by a gateway), dev, blackhole, unreachable, prohibited or multipath"),
        Column("protocol", "str", "name of the protocol's instance that it came from"),
        Column("since", "str", "when it last changed, as printed: HH:MM:SS, or a date"),
        Column("from", "str", "who it was learnt from, where that is not the gateway"),
        Column("primary", "bool", "whether it is the best for its prefix (* or !)"),
        Column("sync_error", "bool", "whether it is the best but the kernel did not take it (!)"),
        Column("preference", "int", "preference"),
        Column("igp_metric", "int", "metric of the way to the next hop; null where unknown (?) or unreachable (-)"),
        Column("metric", "str", "preference, metrics, AS and origin as printed, such as (100/?) [AS65001i]"),
        Column("origin", "str", "IGP, EGP or Incomplete"),
        Column("origin_as", "int", "last AS of the path; null for own"),
        Column("table", "str", "routing table; null before BIRD 2"),
        Column("source", "str", "how it came to be: BGP, static, inherit (from the kernel), device, …"),
        Column("cast", "str", "unicast, broadcast, …; null from BIRD 2 on"),
        Column("scope", "str", "univ, site, link or host"),
        Column("bgp_origin", "str", "IGP, EGP or Incomplete"),
        Column("bgp_as_path", "str", "ASes with blanks between; empty for routes of the own AS"),
        Column("bgp_next_hop", "str", "next hop as announced"),
        Column("bgp_med", "int", "multi-exit discriminator"),
        Column("bgp_local_pref", "int", "local preference"),
        Column("bgp_community", "str", "communities, (AS,value) with blanks between"),
        Column("bgp_large_community", "str", "large communities, (AS, a, b) with blanks between"),
        Column("bgp_ext_community", "str", "extended communities"),
        Column("bgp_originator_id", "str", "router id of who brought it to the route reflectors"),
        Column("bgp_cluster_list", "str", "cluster ids of the route reflectors it passed"),
        Column(
            "kernel_source", "int", "kernel's number of the protocol: 2 kernel, 3 boot, 4 static, 12 BIRD, 80 Felix"
        ),
        Column("kernel_metric", "int", "kernel's metric"),
        Column("attributes", "str", "further attributes as printed, ; between"),
        Column("line", "int", "number of its line in the text, from 1"),
    ),
    ("line",),
    source=_SOURCE,
)
NEXT_HOPS = Schema(
    "bird_next_hops",
    "next hops of the routes that have several",
    (
        Column("prefix", "str", "CIDR of the destination"),
        Column("protocol", "str", "protocol of the route"),
        Column("gateway", "str", "next hop; null for a connected one"),
        Column("interface", "str", "interface towards it"),
        Column("mpls", "str", "MPLS labels"),
        Column("onlink", "bool", "whether the gateway is taken for reachable"),
        Column("weight", "int", "share of the traffic"),
        Column("line", "int", "line of the route in bird_routes"),
    ),
    verified=False,
    source="BIRD's nest/rt-table.c (1.6) and nest/rt-show.c (2.x)",
)
COUNT = Schema(
    "bird_route_count",
    "what ``show route count`` counts",
    (
        Column("shown", "int", "routes that the command asked for"),
        Column("routes", "int", "routes in the table"),
        Column("networks", "int", "prefixes that the routes asked for have"),
        Column("table", "str", "table; null before BIRD 2 and for a total"),
        Column("tables", "int", "number of tables, in BIRD 2's total"),
    ),
    ("table",),
    source=_SOURCE,
)

_PIECE = 1 << 22  # characters; bounds the memory for what is known of each byte
_BREAK = re.compile(r"\n(?=[0-9a-fA-F:.]{2,45}/\d)")
_ROUTE = (
    r"^(?P<prefix>[0-9a-fA-F:.]+/\d{1,3})?[ \t]*"
    r"(?:via (?P<gateway>[0-9a-fA-F:.]+) on (?P<interface>\S+)|dev (?P<dev>\S+)"
    r"|(?P<type>unicast|blackhole|unreachable|prohibited|multipath))"
    r" \[(?P<protocol>\S+) (?P<since>[^\s\]]+(?: \d[\d:.]*)?)(?: from (?P<from>[^\s\]]+))?\](?: (?P<best>[*!]))?"
    r" (?P<metric>(?:[A-Z][A-Z0-9]* )?\((?P<preference>\d{1,9})[s-]*(?:/(?P<igp_metric>\d{1,10}|[?-]))?(?:/\d{1,10})*\)"
    r"(?: \[(?:(?:AS(?P<origin_as>\d{1,10}))?(?P<origin>[ie?])?|[0-9A-Fa-f.:]+)\])*)$"
)
_HOP = (
    r"^(?:via (?P<gateway>[0-9a-fA-F:.]+)(?: on (?P<interface>\S+))?|dev (?P<dev>\S+))"
    r"(?: mpls (?P<mpls>[\d/]+))?(?P<onlink> onlink)?(?: weight (?P<weight>\d{1,9}))?$"
)
_TABLE = re.compile(r"Table (\S+):")
_COUNTED = re.compile(
    r"(?:Total: )?(\d{1,18}) of (\d{1,18}) routes for (\d{1,18}) networks(?: in (?:table (\S+)|(\d{1,9}) tables))?"
)
_ATTRIBUTE = re.compile(r"[A-Za-z]\w*\.[\w-]+(?: \[\w+\])?:(?: .*)?|Internal route handling values: .*")
_MORE = re.compile(r"\(.*\)|[\d.][\d. ]*")
_HEAD = re.compile(r"[0-9A-Fa-f:.]+/|via |dev |unicast|blackhole|unreachable|prohibited|multipath")
_LETTERS = {"i": "IGP", "e": "EGP", "?": "Incomplete"}
_KEYS = {  # attribute → column, or None for the three words of Type
    b"Type:": None,
    b"BGP.origin:": "bgp_origin",
    b"BGP.as_path:": "bgp_as_path",
    b"BGP.next_hop:": "bgp_next_hop",
    b"BGP.med:": "bgp_med",
    b"BGP.local_pref:": "bgp_local_pref",
    b"BGP.community:": "bgp_community",
    b"BGP.large_community:": "bgp_large_community",
    b"BGP.ext_community:": "bgp_ext_community",
    b"BGP.originator_id:": "bgp_originator_id",
    b"BGP.cluster_list:": "bgp_cluster_list",
    b"Kernel.source:": "kernel_source",
    b"Kernel.metric:": "kernel_metric",
}
_LISTS = {"bgp_community", "bgp_large_community", "bgp_ext_community", "bgp_cluster_list"}
_COLUMNS = list(_KEYS.values())
_KINDS = {c.name: c.kind for c in (*ROUTES.columns, *NEXT_HOPS.columns)}
_STRING = pa.large_string()


@parser("bird-routes", ROUTES, NEXT_HOPS, COUNT)
def bird_routes(text: Text) -> dict[str, pd.DataFrame]:
    """``birdcl show route``, ``show route all`` and ``show route count``: BIRD's routes with their attributes.

    Source: see the module. Several next hops in one route, and BIRD 2's layout, are in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bird-routes", '''
    ... 192.0.2.0/24       via 172.30.0.100 on eth0 [Global_172_30_0_100 00:44:31] * (100/0) [AS65001i]
    ... \\tType: BGP unicast univ
    ... \\tBGP.as_path: 65001''').frame.iloc[0]
    >>> row["gateway"], row["protocol"], bool(row["primary"]), int(row["preference"]), row["bgp_as_path"]
    ('172.30.0.100', 'Global_172_30_0_100', True, 100, '65001')
    """
    routes = _Routes(text)
    source = ANSI.sub("", text.text) if "\x1b" in text.text else text.text
    for piece in _pieces(source):
        routes.read(_Piece(piece))
    return routes.tables()


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        found = _BREAK.search(text, start + _PIECE) if start + _PIECE < len(text) else None
        end = found.end() if found else len(text)
        yield text[start:end]
        start = end


class _Piece:
    """The lines of a piece of the text, without blanks around them, and which attribute each one is."""

    def __init__(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        breaks = np.flatnonzero(np.frombuffer(data, "u1") == 10)
        offsets = np.concatenate(([0], breaks + 1, [len(data)])).astype("i4")
        self.size = len(offsets) - 1
        self.newlines = len(breaks)
        raw = pa.StringArray.from_buffers(self.size, pa.py_buffer(offsets), pa.py_buffer(data))
        self.lines = pc.ascii_trim_whitespace(raw)
        bounds, self.data = self.lines.buffers()[1:]
        self.offsets = np.frombuffer(bounds, "i4", self.size + 1)
        self.keys = self._keys()

    def _keys(self) -> np.ndarray[Any, Any]:
        """The number of each line's attribute in _KEYS; -1 for other lines."""
        starts, lengths = self.offsets[:-1], np.diff(self.offsets)
        keys = np.full(self.size, -1, "i1")
        if self.data is None:
            return keys
        padded = np.zeros(int(self.offsets[-1]) + 16, "u1")
        padded[:-16] = np.frombuffer(self.data, "u1", int(self.offsets[-1]))
        words = np.ndarray((len(padded) - 7,), "<u8", padded.data, strides=(1,))  # the eight bytes from each byte on
        low, high = words[starts], words[starts + 8]
        for number, key in enumerate(_KEYS):
            wanted, mask = (np.frombuffer(b.ljust(24, b"\0")[:16], "<u8") for b in (key, b"\xff" * len(key)))
            same = (low & mask[0]) == wanted[0]
            if len(key) > 8:
                same &= (high & mask[1]) == wanted[1]
            same &= lengths >= len(key)
            keys[same] = number
        self._check_long(keys)
        return keys

    def _check_long(self, keys: np.ndarray[Any, Any]) -> None:
        """Compare whole the keys that are longer than the sixteen bytes looked at."""
        for number, key in enumerate(_KEYS):
            if len(key) > 16 and len(found := np.flatnonzero(keys == number)):
                same = pc.starts_with(self.lines.take(pa.array(found)), key.decode()).to_numpy(zero_copy_only=False)
                keys[found[~same]] = -1

    def values(self, lines: np.ndarray[Any, Any], length: int) -> pa.Array:
        """What follows an attribute's name of this length on these lines."""
        ends = self.offsets[lines + 1]
        bounds = np.empty(2 * len(lines), "i4")
        bounds[0::2] = np.minimum(self.offsets[lines] + length + 1, ends)
        bounds[1::2] = ends
        size = max(len(bounds) - 1, 0)
        whole = pa.StringArray.from_buffers(size, pa.py_buffer(bounds), self.data)  # values, and what is between them
        return whole.take(pa.array(np.arange(0, size, 2)))


@dataclass
class _Found:
    """What was found of a piece's lines: routes, next hops, others; ``bad`` says of each line that it was not read."""

    routes: np.ndarray[Any, Any]
    fields: dict[str, pa.Array]
    bad: np.ndarray[Any, Any]
    hops: np.ndarray[Any, Any]
    hop_fields: dict[str, pa.Array]
    owner: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0, "i8"))  # each line's route; -1 for none
    tables: list[tuple[int, str]] = field(default_factory=list)
    more: dict[int, str] = field(default_factory=dict)  # line of an attribute → text of the lines that continue it
    others: list[tuple[int, str]] = field(default_factory=list)


def _extract(
    lines: pa.Array, where: np.ndarray[Any, Any], pattern: str
) -> tuple[np.ndarray[Any, Any], dict[str, pa.Array]]:
    """Numbers of the lines that match, and the pattern's groups of them (null where a group took no part)."""
    found = pc.extract_regex(lines.take(pa.array(where)), pattern)
    matched = found.is_valid()
    groups = found.filter(matched)
    names = [groups.type.field(i).name for i in range(groups.type.num_fields)]
    fields = {name: _nonempty(groups.field(name)) for name in names}
    return where[matched.to_numpy(zero_copy_only=False)], fields


def _nonempty(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def _take(values: pa.Array, index: np.ndarray[Any, Any]) -> pa.Array:
    """Values by index; null where it is negative."""
    return values.take(pa.array(index, mask=index < 0))


def _mapped(values: pa.Array, name: Any) -> pa.Array:
    """Each value through a function, which is called once for each different one."""
    encoded = values.dictionary_encode()
    return pa.array([name(v) for v in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


@dataclass
class _Routes:
    """Collects the routes of the pieces, column by column."""

    text: Text
    before: int = 0  # lines in the pieces before
    table: str | None = None
    columns: dict[str, list[pa.Array]] = field(default_factory=lambda: {c: [] for c in ROUTES.names})
    hops: dict[str, list[pa.Array]] = field(default_factory=lambda: {c: [] for c in NEXT_HOPS.names})
    counts: list[dict[str, Any]] = field(default_factory=list)

    def read(self, piece: _Piece) -> None:
        found = self.sort(piece)
        self.drop_orphans(found)
        columns = self.routes(piece, found)
        self.attributes(piece, found, columns)
        self.next_hops(found, columns)
        nothing = pa.nulls(len(found.routes), pa.string())
        for name, arrays in self.columns.items():
            values = columns.get(name, nothing)
            arrays.append(values.cast(_STRING) if _KINDS[name] == "str" else values)
        self.reject(piece, found.bad)
        self.before += piece.newlines

    def sort(self, piece: _Piece) -> _Found:
        """Tell routes, next hops and other lines apart."""
        rest = np.flatnonzero((piece.keys < 0) & (np.diff(piece.offsets) > 0))
        routes, fields = _extract(piece.lines, rest, _ROUTE)
        rest = np.setdiff1d(rest, routes, assume_unique=True)
        hops, hop_fields = _extract(piece.lines, rest, _HOP)
        found = _Found(routes, fields, np.zeros(piece.size, bool), hops, hop_fields)
        rest = np.setdiff1d(rest, hops, assume_unique=True)
        for number, line in zip(rest.tolist(), piece.lines.take(pa.array(rest)).to_pylist(), strict=True):
            if not self.other(piece, found, number, line):
                found.bad[number] = True
        # A route that could not be read must not leave its attributes and further routes to the one before it.
        self.heads = np.zeros(piece.size, bool)
        bad = np.flatnonzero(found.bad)
        texts = piece.lines.take(pa.array(bad)).to_pylist()
        self.heads[bad] = [bool(_HEAD.match(t)) or "[" in t for t in texts]
        return found

    def other(self, piece: _Piece, found: _Found, number: int, line: str) -> bool:
        """Read a line that is neither route, next hop nor common attribute; False if it cannot be."""
        if match := _TABLE.fullmatch(line):
            found.tables.append((number, match[1]))
        elif match := _COUNTED.fullmatch(line):
            shown, routes, networks = (int(n) for n in match.groups()[:3])
            tables = int(match[5]) if match[5] else None
            self.counts.append(
                {"shown": shown, "routes": routes, "networks": networks, "table": match[4], "tables": tables}
            )
        elif _ATTRIBUTE.fullmatch(line):
            found.others.append((number, line))
        elif number and _MORE.fullmatch(line) and (first := self.continued(piece, found, number - 1)) is not None:
            found.more[number] = line
            found.more[first] = f"{found.more[first]} {line}" if first in found.more else line
        else:
            return is_noise(line)
        return True

    def continued(self, piece: _Piece, found: _Found, number: int) -> int | None:
        """The line of the attribute that the line after this one continues."""
        while number > 0 and number in found.more and piece.keys[number] < 0:
            number -= 1
        return number if piece.keys[number] >= 0 and _COLUMNS[piece.keys[number]] in _LISTS else None

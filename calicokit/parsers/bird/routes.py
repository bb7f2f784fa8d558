"""BIRD's routes, read in bulk: a node of a large cluster, or a route reflector, has hundreds of thousands.

Sources: recordings of BIRD 1.6.8 in Calico's build; BIRD's nest/rt-table.c, nest/rt-attr.c and proto/bgp/attrs.c (1.6)
and nest/rt-show.c (2.x). The text is taken in pieces that end before a prefix; in each, lines become an Arrow array,
attributes are told by their first sixteen bytes, and routes and next hops are read by RE2, whose time is linear. Only
lines that are none of these are looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.pasted import may_be_noise
from calicokit.schema import Column, Schema

_SOURCE = "recordings of BIRD 1.6.8; BIRD's nest/rt-table.c, nest/rt-show.c, proto/bgp/attrs.c"

ROUTES = Schema(
    "bird_routes",
    "routes in BIRD's tables; the columns from source on are null without ``all``",
    (
        Column("prefix", "str", "CIDR of the destination"),
        Column("gateway", "str", "next hop; null for multipath (see bird_next_hops)"),
        Column("interface", "str", "outgoing interface; null for multipath"),
        Column("type", "str", "unicast (by a gateway), dev, blackhole, unreachable, prohibited or multipath"),
        Column("protocol", "str", "protocol instance it came from"),
        Column("since", "str", "last change, as printed: HH:MM:SS, or a date"),
        Column("from", "str", "router it was learnt from, where not the gateway"),
        Column("primary", "bool", "best route for its prefix (* or !)"),
        Column("sync_error", "bool", "best route, but not installed in the kernel (!)"),
        Column("preference", "int", "preference"),
        Column("igp_metric", "int", "IGP metric to the next hop; null where unknown (?) or unreachable (-)"),
        Column("metric", "str", "preference, metrics, AS and origin as printed, such as (100/?) [AS65001i]"),
        Column("origin", "str", "IGP, EGP or Incomplete"),
        Column("origin_as", "int", "last AS of the path; null for local routes"),
        Column("table", "str", "routing table; null before BIRD 2"),
        Column("source", "str", "origin: BGP, static, inherit (from the kernel), device, …"),
        Column("cast", "str", "unicast, broadcast, …; null from BIRD 2 on"),
        Column("scope", "str", "univ, site, link or host"),
        Column("bgp_origin", "str", "IGP, EGP or Incomplete"),
        Column("bgp_as_path", "str", "AS path, separated by spaces; empty for routes of the local AS"),
        Column("bgp_next_hop", "str", "next hop as announced"),
        Column("bgp_med", "int", "multi-exit discriminator"),
        Column("bgp_local_pref", "int", "local preference"),
        Column("bgp_community", "str", "communities, (AS,value) separated by spaces"),
        Column("bgp_large_community", "str", "large communities, (AS, a, b) separated by spaces"),
        Column("bgp_ext_community", "str", "extended communities"),
        Column("bgp_originator_id", "str", "originator id: router id that announced it to the route reflectors"),
        Column("bgp_cluster_list", "str", "cluster list: cluster ids of the route reflectors on its path"),
        Column("kernel_source", "int", "kernel route protocol: 2 kernel, 3 boot, 4 static, 12 BIRD, 80 Felix"),
        Column("kernel_metric", "int", "kernel's metric"),
        Column("attributes", "str", "further attributes as printed, separated by ;"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source=_SOURCE,
)
NEXT_HOPS = Schema(
    "bird_next_hops",
    "next hops of multipath routes",
    (
        Column("prefix", "str", "CIDR of the destination"),
        Column("protocol", "str", "protocol of the route"),
        Column("gateway", "str", "next hop; null for a connected one"),
        Column("interface", "str", "outgoing interface"),
        Column("mpls", "str", "MPLS labels"),
        Column("onlink", "bool", "onlink: the gateway is treated as directly reachable"),
        Column("weight", "int", "relative weight"),
        Column("line", "int", "line of the route in bird_routes"),
    ),
    verified=False,
    source="BIRD's nest/rt-table.c (1.6) and nest/rt-show.c (2.x)",
)
COUNT = Schema(
    "bird_route_count",
    "counts of ``show route count``",
    (
        Column("shown", "int", "routes that the command selected"),
        Column("routes", "int", "routes in the table"),
        Column("networks", "int", "prefixes of the selected routes"),
        Column("table", "str", "table; null before BIRD 2 and for a total"),
        Column("tables", "int", "number of tables, in BIRD 2's total"),
    ),
    ("table",),
    source=_SOURCE,
)

Numbers = np.ndarray[Any, Any]

_PIECE = 1 << 21  # characters; bounds the memory for what is known of each byte
_BREAK = re.compile(r"\n(?=[0-9a-fA-F:.]{2,45}/\d)")
_METRIC = (
    r"(?:[A-Z][A-Z0-9]* )?\((?P<preference>\d{1,9})[s-]*(?:/(?:(?P<igp_metric>\d{1,10})|[?-]))?(?:/\d{1,10})*\)"
    r"(?: \[(?:(?:AS(?P<origin_as>\d{1,10}))?(?P<origin>[ie?])?|[0-9A-Fa-f.:]+)\])*"
)
_ROUTE = (
    r"^(?:[0-9a-fA-F:.]+/\d{1,3}[ \t]*)?"
    r"(?:via [0-9a-fA-F:.]+ on \S+|dev \S+|unicast|blackhole|unreachable|prohibited|multipath)"
    r" \[[^\s\[\]]+ [^\s\]]+(?: \d[\d:.]*)?(?: from [^\s\]]+)?\](?: [*!])? " + re.sub(r"\?P<\w+>", "?:", _METRIC) + "$"
)
_METRIC_TEXT = re.compile(_METRIC)
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


@parser(
    "bird-routes",
    ROUTES,
    NEXT_HOPS,
    COUNT,
    marks=r"^(\S+/\d+ .*\[\S+ \S+|(Total: )?\d{1,9} of \d+ routes for \d+ networks|Table \w+:)",
)
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
    for piece in _pieces(text.text):
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
        self.raw = pa.StringArray.from_buffers(self.size, pa.py_buffer(offsets), pa.py_buffer(data))
        self.lines = pc.ascii_trim_whitespace(self.raw)
        bounds, self.data = self.lines.buffers()[1:]
        self.offsets = np.frombuffer(bounds, "i4", self.size + 1)
        self.keys = self._keys()

    def _keys(self) -> Numbers:
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
            found = np.flatnonzero(same & (lengths >= len(key)))
            after = padded[np.minimum(starts[found] + len(key), len(padded) - 1)]
            keys[found[(lengths[found] == len(key)) | (after == 32)]] = number
        self._check_long(keys)
        return keys

    def _check_long(self, keys: Numbers) -> None:
        """Compare whole the keys that are longer than the sixteen bytes looked at."""
        for number, key in enumerate(_KEYS):
            if len(key) > 16 and len(found := np.flatnonzero(keys == number)):
                same = pc.starts_with(self.lines.take(pa.array(found)), key.decode()).to_numpy(zero_copy_only=False)
                keys[found[~same]] = -1

    def values(self, lines: Numbers, length: int) -> pa.Array:
        """What follows an attribute's name of this length on these lines."""
        ends = self.offsets[lines + 1]
        return slices(self.data, np.minimum(self.offsets[lines] + length + 1, ends), ends)


@dataclass
class _Found:
    """What was found of a piece's lines: routes, next hops, others; ``bad`` says of each line that it was not read."""

    routes: Numbers
    fields: dict[str, pa.Array]
    bad: Numbers
    hops: Numbers
    hop_fields: dict[str, pa.Array]
    owner: Numbers  # number of each line's route; -1 for none
    tables: list[tuple[int, str]] = field(default_factory=list)
    continued: dict[int, int] = field(default_factory=dict)  # line → line of the attribute that it continues
    more: dict[int, list[str]] = field(default_factory=dict)  # line of an attribute → the lines that continue it
    others: list[tuple[int, str]] = field(default_factory=list)


def _extract(lines: pa.Array, where: Numbers, pattern: str) -> tuple[Numbers, dict[str, pa.Array]]:
    """Numbers of the lines that match, and the pattern's groups of them (null where a group took no part)."""
    found = pc.extract_regex(lines.take(pa.array(where)), pattern)
    matched = found.is_valid()
    groups = found.filter(matched)
    names = [groups.type.field(i).name for i in range(groups.type.num_fields)]
    fields = {name: _nonempty(groups.field(name)) for name in names}
    return where[matched.to_numpy(zero_copy_only=False)], fields


def _routes(lines: pa.Array, where: Numbers) -> tuple[Numbers, dict[str, pa.Array]]:
    """Numbers of the lines that are routes, and what they say, as in ROUTES (dev: the interface of a connected one)."""
    taken = lines.take(pa.array(where))
    matched = pc.match_substring_regex(taken, _ROUTE)
    words = _Words(taken.filter(matched))
    named = ~np.logical_or.reduce(
        [words.starts_with(0, start) for start in (b"via", b"dev", b"un", b"bl", b"pr", b"mu")]
    )
    to = named.astype("i4")  # the word that tells the kind of destination
    via, dev = words.starts_with(to, b"via"), words.starts_with(to, b"dev")
    at = to + np.where(via, 4, np.where(dev, 2, 1))  # [PROTOCOL
    since, last = at + 1, at + 1
    last = last + ~words.ends_with(last, b"]") * ~words.starts_with(last + 1, b"from")  # the clock behind a date
    learnt = ~words.ends_with(last, b"]")
    end = last + 2 * learnt
    best = words.starts_with(end + 1, b"*") | words.starts_with(end + 1, b"!")
    fields = {
        "prefix": words.text(0 * at, 0 * at, named),
        "gateway": words.text(to + 1, to + 1, via),
        "interface": words.text(to + 3, to + 3, via),
        "dev": words.text(to + 1, to + 1, dev),
        "type": words.text(to, to, ~via & ~dev),
        "protocol": words.text(at, at, before=1),
        "since": words.text(since, last, after=1 - learnt),
        "from": words.text(end, end, learnt, after=1),
        "best": words.text(end + 1, end + 1, best),
        "metric": words.text(end + 1 + best, None),
    }
    return where[matched.to_numpy(zero_copy_only=False)], fields


class _Words:
    """The words of lines, that is, what stands between blanks."""

    def __init__(self, lines: pa.Array) -> None:
        self.size = len(lines)
        bounds, self.data = lines.buffers()[1:]
        self.offsets = (
            np.frombuffer(bounds, "i4", self.size + 1 + lines.offset)[lines.offset :] if bounds else np.zeros(1, "i4")
        )
        self.bytes = np.zeros(int(self.offsets[-1]) + 8, "u1")
        if self.data is not None:
            self.bytes[:-8] = np.frombuffer(self.data, "u1", int(self.offsets[-1]))
        blank = (self.bytes == 32) | (self.bytes == 9)
        blank[-8:] = True
        inner = ~blank
        first = inner.copy()
        first[1:] &= blank[:-1]
        first[self.offsets[:-1]] = True  # lines are trimmed, and nothing stands between them
        last = inner.copy()
        last[:-1] &= blank[1:]
        last[self.offsets[1:] - 1] = self.size > 0
        self.starts = np.append(np.flatnonzero(first[: self.offsets[-1]]), [len(self.bytes) - 8] * 8).astype("i4")
        self.ends = np.append(np.flatnonzero(last[: self.offsets[-1]]) + 1, [len(self.bytes) - 8] * 8).astype("i4")
        self.first = np.searchsorted(self.starts, self.offsets[:-1]).astype("i4")  # each line's first word

    def starts_with(self, word: Any, text: bytes) -> Numbers:
        """Whether each line's word of this number begins so."""
        start = self.starts[self.first + word]
        found: Numbers = self.bytes[start] == text[0]
        for number, byte in enumerate(text[1:], 1):
            found &= self.bytes[start + number] == byte
        return found

    def ends_with(self, word: Any, text: bytes) -> Numbers:
        found: Numbers = self.bytes[self.ends[self.first + word] - 1] == text[0]
        return found

    def text(self, word: Any, to: Any, where: Any = None, before: int = 0, after: Any = 0) -> pa.Array:
        """From one word to another (None: the line's end) less some characters at its ends; null if not ``where``."""
        starts = self.starts[self.first + word] + before
        ends = self.offsets[1:] if to is None else self.ends[self.first + to] - after
        return slices(self.data, starts, ends, where)


def slices(data: pa.Buffer | None, starts: Numbers, ends: Numbers, where: Numbers | None = None) -> pa.Array:
    """Parts of a text that follow one another; null if not ``where``."""
    bounds = np.empty(2 * len(starts), "i4")
    bounds[0::2], bounds[1::2] = starts, ends
    size = max(len(bounds) - 1, 0)
    # The parts, and what is between them.
    whole = pa.StringArray.from_buffers(size, pa.py_buffer(bounds), data or pa.py_buffer(b""))
    return whole.take(pa.array(np.arange(0, size, 2), mask=None if where is None else ~where))


def _nonempty(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def _take(values: pa.Array, index: Numbers) -> pa.Array:
    """Values by index; null where it is negative."""
    return values.take(pa.array(index, mask=index < 0))


def _mapped(values: pa.Array, read: Callable[[str], Mapping[str, Any]], names: Iterable[str]) -> dict[str, pa.Array]:
    """Columns out of each value, by a function that is called once for each different one."""
    encoded = values.dictionary_encode()
    rows = [read(value) for value in encoded.dictionary.to_pylist()]
    made = {name: pa.array([row.get(name) for row in rows], _ARROW[_KINDS[name]]) for name in names}
    return {name: few.take(encoded.indices) for name, few in made.items()}


def _metric(text: str) -> dict[str, Any]:
    """What a route's metric says: ``(100/0) [AS65001i]``."""
    match = _METRIC_TEXT.fullmatch(text)
    found = {name: value for name, value in match.groupdict().items() if value} if match else {}
    return {name: _LETTERS[value] if name == "origin" else int(value) for name, value in found.items()}


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
        _drop_orphans(piece, found)
        columns = self.routes(piece, found)
        columns |= _attributes(piece, found)
        self.next_hops(found, columns)
        append(self.columns, columns, len(found.routes))
        for number in np.flatnonzero(found.bad).tolist():
            line = Line(self.before + number + 1, piece.raw[number].as_py().rstrip())
            self.text.reject(line, "a route, its attributes or a count of routes")
        self.before += piece.newlines

    def sort(self, piece: _Piece) -> _Found:
        """Tell routes, next hops and other lines apart."""
        rest = np.flatnonzero((piece.keys < 0) & (np.diff(piece.offsets) > 0))
        routes, fields = _routes(piece.lines, rest)
        rest = np.setdiff1d(rest, routes, assume_unique=True)
        hops, hop_fields = _extract(piece.lines, rest, _HOP)
        found = _Found(routes, fields, np.zeros(piece.size, bool), hops, hop_fields, np.full(piece.size, -1))
        rest = np.setdiff1d(rest, hops, assume_unique=True)
        for number, line in zip(rest.tolist(), piece.lines.take(pa.array(rest)).to_pylist(), strict=True):
            if not self.other(piece, found, number, line):
                found.bad[number] = True
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
        elif number and _MORE.fullmatch(line) and (first := _continued(piece, found, number - 1)) is not None:
            found.continued[number] = first
            found.more.setdefault(first, []).append(line)
        else:
            return may_be_noise(line)
        return True

    def routes(self, piece: _Piece, found: _Found) -> dict[str, pa.Array]:
        """The columns that the routes' own lines tell."""
        fields, number = found.fields, np.arange(len(found.routes))
        named = fields["prefix"].is_valid().to_numpy(zero_copy_only=False)
        names = [self.table, *(name for _, name in found.tables)]
        self.table = names[-1]
        under = np.searchsorted([at for at, _ in found.tables], found.routes)
        best = fields["best"]
        return {
            **{name: fields[name] for name in ("gateway", "protocol", "since", "from", "metric")},
            "prefix": fields["prefix"].take(pa.array(np.maximum.accumulate(np.where(named, number, 0)))),
            "interface": pc.coalesce(fields["interface"], fields["dev"]),
            "type": pc.coalesce(
                pc.if_else(fields["gateway"].is_valid(), "unicast", pa.scalar(None, pa.string())),
                pc.if_else(fields["dev"].is_valid(), "dev", fields["type"]),
            ),
            "primary": best.is_valid(),
            "sync_error": pc.fill_null(pc.equal(best, "!"), False),
            **_mapped(fields["metric"], _metric, ("preference", "igp_metric", "origin_as", "origin")),
            "table": pa.array(names, pa.string()).take(pa.array(under)),
            "line": pa.array(self.before + found.routes + 1, pa.int64()),
        }

    def next_hops(self, found: _Found, columns: dict[str, pa.Array]) -> None:
        """Put the only next hop of a route into its columns, and those of the others into a table of their own."""
        if not len(found.hops):
            return
        words = pc.fill_null(found.fields["type"], "")
        allowed = pc.is_in(words, pa.array(["unicast", "multipath"])).to_numpy(zero_copy_only=False)
        owner = found.owner[found.hops]
        known = np.append(allowed, False)[owner]  # -1, for no route, takes the last
        found.bad[found.hops[~known]] = True
        owner, number = owner[known], np.flatnonzero(known)
        fields = {name: values.take(pa.array(number)) for name, values in found.hop_fields.items()}
        count = np.bincount(owner, minlength=len(found.routes))
        several = (count > 1) | pc.equal(words, "multipath").to_numpy(zero_copy_only=False)
        only = np.full(len(found.routes), -1)
        only[owner] = np.arange(len(owner))
        only[several] = -1
        interface = pc.coalesce(fields["interface"], fields["dev"])
        columns["gateway"] = pc.coalesce(columns["gateway"], _take(fields["gateway"], only))
        columns["interface"] = pc.coalesce(columns["interface"], _take(interface, only))
        connected = _take(fields["dev"], only).is_valid()
        columns["type"] = pc.if_else(connected, "dev", columns["type"])
        rows = pa.array(np.flatnonzero(several[owner]))
        routes = pa.array(owner).take(rows)
        made = {name: columns[name].take(routes) for name in ("prefix", "protocol", "line")}
        made |= {name: fields[name].take(rows) for name in ("gateway", "mpls")}
        made["interface"] = interface.take(rows)
        made["onlink"] = fields["onlink"].take(rows).is_valid()
        made["weight"] = fields["weight"].take(rows).cast(pa.int64())
        append(self.hops, made, len(rows))

    def tables(self) -> dict[str, pd.DataFrame]:
        return {
            ROUTES.name: frame(ROUTES, self.columns),
            NEXT_HOPS.name: frame(NEXT_HOPS, self.hops),
            COUNT.name: COUNT.frame(self.counts),
        }


def _continued(piece: _Piece, found: _Found, number: int) -> int | None:
    """The line of the attribute that the line after this one continues."""
    number = found.continued.get(number, number)
    return number if piece.keys[number] >= 0 and _COLUMNS[piece.keys[number]] in _LISTS else None


def _drop_orphans(piece: _Piece, found: _Found) -> None:
    """Find each line's route, and call further routes of a prefix bad where the prefix could not be read.

    A route that could not be read must not leave its attributes and further routes to the one before it.
    """
    bad = np.flatnonzero(found.bad)
    texts = piece.lines.take(pa.array(bad)).to_pylist()
    heads = bad[np.array([bool(_HEAD.match(t)) or "[" in t for t in texts], bool)]
    named = found.fields["prefix"].is_valid().to_numpy(zero_copy_only=False)
    mark = np.full(piece.size, -1)
    mark[found.routes[named]] = 1
    mark[heads] = 0
    kept = named | (_last(mark)[found.routes] == 1)
    found.bad[found.routes[~kept]] = True
    mark[:] = -1
    mark[heads] = mark[found.routes[~kept]] = 0
    found.routes = found.routes[kept]
    found.fields = {name: values.filter(pa.array(kept)) for name, values in found.fields.items()}
    mark[found.routes] = np.arange(len(found.routes)) + 1
    found.owner = np.maximum(_last(mark) - 1, -1)
    orphans = [number for number, _ in found.others if found.owner[number] < 0]
    found.bad[orphans] = True


def _last(mark: Numbers) -> Numbers:
    """For each line the last mark that is not negative, up to it; -1 where there is none."""
    at = np.maximum.accumulate(np.where(mark >= 0, np.arange(len(mark)), -1))
    return np.where(at >= 0, mark[at], -1)


def _attributes(piece: _Piece, found: _Found) -> dict[str, pa.Array]:
    """The columns of the lines below the routes."""
    columns: dict[str, pa.Array] = {}
    for number, (key, name) in enumerate(_KEYS.items()):
        lines = np.flatnonzero(piece.keys == number)
        owner = found.owner[lines]
        known = (owner >= 0) & (np.diff(owner, prepend=-1) != 0)
        found.bad[lines[~known]] = True
        lines, owner = lines[known], owner[known]
        if not len(lines):
            continue
        index = np.full(len(found.routes), -1)
        index[owner] = np.arange(len(lines))
        for column, values in _typed(name, piece.values(lines, len(key)), lines, found).items():
            columns[column] = _take(values, index)
    if found.others:
        columns["attributes"] = _others(found)
    return columns


def _typed(name: str | None, values: pa.Array, lines: Numbers, found: _Found) -> dict[str, pa.Array]:
    """An attribute's values in their columns."""
    if name is None:
        made = _mapped(values, _type, ("source", "cast", "scope"))
        found.bad[lines[made["source"].is_null().to_numpy(zero_copy_only=False)]] = True
        return made
    if _KINDS[name] == "int":
        numbers, wrong = _integers(values)
        found.bad[lines[wrong]] = True
        return {name: numbers}
    if name in _LISTS and found.more:
        texts = zip(lines.tolist(), values.to_pylist(), strict=True)
        return {name: pa.array([" ".join([v, *found.more.get(at, ())]) for at, v in texts], pa.string())}
    return {name: values}


def _type(value: str) -> dict[str, str]:
    """The words behind ``Type:``; BIRD 2 has no cast."""
    words = value.split()
    names = {3: ("source", "cast", "scope"), 2: ("source", "scope")}.get(len(words), ())
    return dict(zip(names, words, strict=False))


def _integers(values: pa.Array) -> tuple[pa.Array, Numbers]:
    """Texts as numbers, null where one is none, and which of them are none."""
    good = pc.match_substring_regex(values, r"^\d{1,18}$")
    wrong = pc.fill_null(pc.invert(good), False).to_numpy(zero_copy_only=False)
    return pc.if_else(good, values, pa.scalar(None, pa.string())).cast(pa.int64()), wrong


def _others(found: _Found) -> pa.Array:
    texts: list[list[str]] = [[] for _ in found.routes]
    for number, line in found.others:
        if (owner := found.owner[number]) >= 0:
            texts[owner].append(line)
    return pa.array(["; ".join(t) or None for t in texts], pa.string())


_ARROW = {"str": pa.string(), "int": pa.int64(), "bool": pa.bool_()}


def append(to: dict[str, list[pa.Array]], columns: dict[str, pa.Array], length: int) -> None:
    """Add a piece's columns; where it has none, a null array takes no memory yet."""
    for name, arrays in to.items():
        arrays.append(columns.get(name, pa.nulls(length)))


def frame(schema: Schema, columns: dict[str, list[pa.Array]]) -> pd.DataFrame:
    """A frame of the pieces' columns, each freed as soon as it is put together."""
    length = sum(len(array) for array in columns[schema.names[0]])
    nothing = _text([pa.nulls(length)], length)  # one for all: Arrow's arrays do not change
    made = {}
    for column in schema.columns:
        arrays = columns.pop(column.name)
        if column.kind == "str":
            made[column.name] = nothing if all(pa.types.is_null(a.type) for a in arrays) else _text(arrays, length)
        elif column.kind == "time":
            made[column.name] = pd.Series(pa.chunked_array(arrays, pa.timestamp("ns")).to_numpy()).dt.tz_localize("UTC")
        else:
            made[column.name] = _masked(column.kind, arrays, length)
    return schema.check(pd.DataFrame(made, copy=False))


def _text(arrays: list[pa.Array], length: int) -> Any:
    """Strings put together into pandas' own kind, copied once."""
    size = sum(a.buffers()[2].size for a in arrays if _has_text(a))
    offsets, present, data = np.zeros(length + 1, "i8"), np.zeros(length, "?"), np.empty(size, "u1")
    start = at = 0
    for number, array in enumerate(arrays):
        arrays[number] = None
        end = start + len(array)
        offsets[start + 1 : end + 1] = at
        if not pa.types.is_null(array.type):
            present[start:end] = array.is_valid().to_numpy(zero_copy_only=False)
        if _has_text(array):
            bounds = np.frombuffer(array.buffers()[1], "i4", len(array) + 1)
            offsets[start + 1 : end + 1] += bounds[1:]
            data[at : at + int(bounds[-1])] = np.frombuffer(array.buffers()[2], "u1", int(bounds[-1]))
            at += int(bounds[-1])
        start = end
    valid = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    whole = pa.LargeStringArray.from_buffers(length, pa.py_buffer(offsets), pa.py_buffer(data), valid)
    return pd.StringDtype(na_value=np.nan).__from_arrow__(whole)  # type: ignore[attr-defined]


def _has_text(array: pa.Array) -> bool:
    return not pa.types.is_null(array.type) and len(array) > 0 and array.buffers()[2] is not None


def _masked(kind: str, arrays: list[pa.Array], length: int) -> Any:
    """Numbers or booleans as pandas' nullable arrays."""
    values, absent = np.zeros(length, "?" if kind == "bool" else "i8"), np.ones(length, "?")
    start = 0
    for array in arrays:
        end = start + len(array)
        if not pa.types.is_null(array.type):
            absent[start:end] = array.is_null().to_numpy(zero_copy_only=False)
            values[start:end] = pc.fill_null(array, kind != "bool" and 0).to_numpy(zero_copy_only=False)
        start = end
    return (pd.arrays.BooleanArray if kind == "bool" else pd.arrays.IntegerArray)(values, absent)

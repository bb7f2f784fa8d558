"""What iptables prints: ``iptables-save`` and ``iptables -L``, of IPv4 and IPv6, of both backends.

Sources: recordings of iptables 1.8.9 (nf_tables and legacy); iptables' own iptables/iptables.c, xshared.c and
extensions/ for what the recordings do not show (``iptables -S``, other versions' columns, escapes).

Lines repeat, and more so without their counters: so each distinct rule is read once, and columns are filled by taking
from what was read. Rules are read all at once too: options, values and cells are places in one buffer, found with numpy
and taken with Arrow. Only rules that hold more than that understands (escapes, letters beyond ASCII, a value that looks
like an option, iptables -L without -v or with a blank opt) and the few lines that are no rules are read one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.netfilter.columns import (
    NO_TEXTS,
    Bytes,
    Cells,
    Cut,
    Flags,
    Ints,
    Lines,
    beside,
    booleans,
    codes,
    counters,
    firsts,
    in_blocks,
    joined,
    negated,
    numbered,
    numbers,
    pieces,
    since,
    skip,
    spells,
    strings,
)
from calicokit.parsers.pasted import may_be_noise
from calicokit.schema import Column, Schema

_SOURCE = "recordings; iptables/iptables.c, iptables/xshared.c"

SAVE = Schema(
    "iptables_save",
    "rules; where a rule has several values for a column, they are joined by '; ', and a leading '! ' negates",
    (
        Column("table", "str", "filter, nat, mangle, raw or security; null in the output of iptables -S"),
        Column("chain", "str", "chain"),
        Column("rule", "int", "1-based rank within its chain"),
        Column("packets", "int", "packets that matched; null without -c", "packets"),
        Column("bytes", "int", "bytes that matched; null without -c", "bytes"),
        Column("target", "str", "chain or target of -j or -g; null for a counter-only rule"),
        Column("goto", "bool", "goto (-g) instead of jump (-j)"),
        Column("protocol", "str", "-p"),
        Column("source", "str", "-s, as printed"),
        Column("destination", "str", "-d, as printed"),
        Column("in_interface", "str", "-i; a trailing + is a wildcard"),
        Column("out_interface", "str", "-o; a trailing + is a wildcard"),
        Column("dports", "str", "destination ports: --dport or --dports"),
        Column("sports", "str", "source ports: --sport or --sports"),
        Column("match_sets", "str", "--match-set, as 'src NAME'"),
        Column("mark", "str", "value/mask of -m mark"),
        Column("set_mark", "str", "value/mask that the MARK target sets"),
        Column("ctstate", "str", "connection states: --ctstate or --state"),
        Column("comment", "str", "comments without quotes and escapes"),
        Column("log_prefix", "str", "log prefix of LOG or NFLOG"),
        Column("reject_with", "str", "reject type of REJECT"),
        Column("to_destination", "str", "new destination of DNAT"),
        Column("to_source", "str", "new source of SNAT"),
        Column("to_ports", "str", "new ports of REDIRECT or MASQUERADE"),
        Column("spec", "str", "everything after -A CHAIN, as printed"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source=_SOURCE,
)
CHAINS = Schema(
    "iptables_chains",
    "chains that iptables-save declares",
    (
        Column("table", "str", "filter, nat, mangle, raw or security"),
        Column("chain", "str", "chain"),
        Column("policy", "str", "default policy of a built-in chain; null for others"),
        Column("packets", "int", "packets that hit the policy", "packets"),
        Column("bytes", "int", "bytes that hit the policy", "bytes"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source=_SOURCE,
)
GENERATED = Schema(
    "iptables_generated",
    "program that printed the tables, and time",
    (
        Column("program", "str", "iptables-save, ip6tables-save, iptables-nft-save, …"),
        Column("version", "str", "its version"),
        Column("backend", "str", "nf_tables or legacy"),
        Column("when", "time", "time of the output; the text has no zone, UTC is assumed"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source=_SOURCE,
)
NOTES = Schema(
    "iptables_notes",
    "warnings and other comments, such as of tables of the other backend",
    (Column("note", "str", "text without #"), Column("line", "int", "1-based line number in the text")),
    ("line",),
    source=_SOURCE,
)
LIST = Schema(
    "iptables_list",
    "rules; a leading '! ' negates",
    (
        Column("table", "str", "table, where a command line or heading in the text names it; else null"),
        Column("chain", "str", "chain"),
        Column("rule", "int", "1-based rank within its chain"),
        Column("packets", "int", "packets that matched; null without -v", "packets"),
        Column("bytes", "int", "bytes that matched; null without -v", "bytes"),
        Column("rounded", "bool", "a counter was printed in K, M or G and is not exact"),
        Column("target", "str", "chain or target; null for a counter-only rule"),
        Column("goto", "bool", "goto instead of jump"),
        Column("protocol", "str", "protocol as printed; all or 0 is any"),
        Column("options", "str", "-f for fragments only, -- for any; null where the version leaves it blank"),
        Column("in_interface", "str", "interface; * or any is any; null without -v"),
        Column("out_interface", "str", "interface; * or any is any; null without -v"),
        Column("source", "str", "address or prefix, as printed"),
        Column("destination", "str", "address or prefix, as printed"),
        Column("comment", "str", "comments; several are joined by '; '"),
        Column("extra", "str", "other matches and the target's options, as printed"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source=_SOURCE,
)
LIST_CHAINS = Schema(
    "iptables_list_chains",
    "chains that iptables -L prints",
    (
        Column("table", "str", "table, where a command line or heading in the text names it; else null"),
        Column("chain", "str", "chain"),
        Column("policy", "str", "default policy of a built-in chain; null for others"),
        Column("packets", "int", "packets that hit the policy; null without -v", "packets"),
        Column("bytes", "int", "bytes that hit the policy; null without -v", "bytes"),
        Column("rounded", "bool", "a counter was printed in K, M or G and is not exact"),
        Column("references", "int", "rules that jump to the chain; null for a built-in one"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("line",),
    source=_SOURCE,
)


class _Lines(Lines):
    """The distinct lines of a text, their kinds, and for each line which of them it is."""

    def __init__(self, text: str) -> None:
        data = (text if text.endswith("\n") else f"{text}\n").encode("utf-8", "replace")
        offsets = np.r_[0, np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1]
        lines = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
        encoded = lines.dictionary_encode()
        super().__init__(encoded.dictionary)
        self.codes = codes(encoded)
        self.kinds: Bytes = np.full(self.size, _RULE, np.uint8)

    def tell(self, numbers: Ints, kind: Callable[[int, str], int]) -> None:
        """Have the kind of some distinct lines told."""
        self.kinds[numbers] = [kind(n, line) for n, line in zip(numbers.tolist(), self.read(numbers), strict=True)]

    def rows(self, kind: int) -> tuple[Ints, Ints]:
        """The lines of a kind: their rows, and which distinct lines they are."""
        rows = np.flatnonzero(self.kinds[self.codes] == kind)
        return rows, self.codes[rows]

    def reject(self, text: Text, rows: Ints, expected: str) -> None:
        for row, line in zip(rows.tolist(), self.read(self.codes[rows]), strict=True):
            text.reject(Line(row + 1, line), expected)


class _Ids(dict[str, int]):
    """Numbers for texts, in order of appearance."""

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self)
        return number


# What a rule's options mean; where another module has an option of that name, the module or target stands before it.
_OPTIONS = {
    "-s": "source",
    "--source": "source",
    "-d": "destination",
    "--destination": "destination",
    "-i": "in_interface",
    "--in-interface": "in_interface",
    "-o": "out_interface",
    "--out-interface": "out_interface",
    "-p": "protocol",
    "--protocol": "protocol",
    "--dport": "dports",
    "--destination-port": "dports",
    "--dports": "dports",
    "--destination-ports": "dports",
    "--sport": "sports",
    "--source-port": "sports",
    "--sports": "sports",
    "--source-ports": "sports",
    "--comment": "comment",
    "--ctstate": "ctstate",
    "--state": "ctstate",
    "mark --mark": "mark",
    "MARK --set-xmark": "set_mark",
    "MARK --set-mark": "set_mark",
    "LOG --log-prefix": "log_prefix",
    "NFLOG --nflog-prefix": "log_prefix",
    "REJECT --reject-with": "reject_with",
    "DNAT --to-destination": "to_destination",
    "SNAT --to-source": "to_source",
    "REDIRECT --to-ports": "to_ports",
    "MASQUERADE --to-ports": "to_ports",
}
_JUMPS = {"-j": "", "--jump": "", "-g": "goto", "--goto": "goto"}
_PAIRS = {
    "--match-set": ("match_sets", "{1} {0}"),
    "-c": ("counters", "{0} {1}"),
    "--set-counters": ("counters", "{0} {1}"),
}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"(?!\S)|\S+')
_ESCAPE = re.compile(r"\\(.)")

_Fields = list[tuple[str, str]]


def _fields(text: str, module: str = "") -> _Fields:
    """The column and value of each option in a rule, or in a part of one that starts inside a module.

    Raises ``ValueError`` if a quote does not end.
    """
    fields: _Fields = []
    tokens = iter([_plain(token) for token in _TOKEN.findall(text)])
    negated = ""
    for token in tokens:
        if token == "!":  # noqa: S105
            negated = "! "
            continue
        if token in ("-m", "--match"):
            module = next(tokens, "")
        elif token in _JUMPS:
            module = next(tokens, "")
            fields.append(("target", module))
            fields += [("goto", "")] if _JUMPS[token] else []
        elif token in _PAIRS:
            name, form = _PAIRS[token]
            fields.append((name, negated + form.format(next(tokens, ""), next(tokens, ""))))
        elif name := _OPTIONS.get(f"{module} {token}") or _OPTIONS.get(token, ""):
            fields.append((name, negated + next(tokens, "")))
        negated = ""
    return fields


def _plain(token: str) -> str:
    """A value without its quotes and escapes."""
    if token[0] != '"':
        return token
    if len(token) == 1 or token[-1] != '"':
        raise ValueError(token)
    return _ESCAPE.sub(r"\1", token[1:-1]) if "\\" in token else token[1:-1]


def _parted(spec: str) -> _Fields:
    """The fields of a rule. Each module's part is read apart: an option that lost its value must not take -m or -j."""
    if "\\" in spec:
        return _fields(spec)
    parts = f" {spec}".replace(" -j ", " -m -j ").replace(" -g ", " -m -g ").split(" -m ")
    try:
        return [field for part in parts if part for field in _fields(part if part[0] in " -" else f"-m {part}")]
    except ValueError:  # a part ends within a quoted text
        return _fields(spec)


_COLUMNS = [*dict.fromkeys(_OPTIONS.values()), "target", "goto", "match_sets", "counters"]
_NOTHING, _MODULE, _CONTEXT, _FIRST = range(4)  # what an option means, if not a column: those count from _FIRST
_IN_CONTEXT = {tuple(key.split()): name for key, name in _OPTIONS.items() if " " in key}


def _meaning(option: str) -> int:
    if option in ("-m", "--match"):
        return _MODULE
    if any(option == key[-1] for key in _IN_CONTEXT):
        return _CONTEXT
    name = "target" if option in _JUMPS else _PAIRS[option][0] if option in _PAIRS else _OPTIONS.get(option, "")
    return _FIRST + _COLUMNS.index(name) if name else _NOTHING


class _Tokens(Lines):
    """The distinct rules, as after -A, cut at each blank; those that are more than options and values are odd."""

    def __init__(self, texts: Any) -> None:
        super().__init__(texts)
        self.mark_unusual()
        data = self.data
        self.stops = np.flatnonzero(data <= 32)
        self.starts: Ints = np.r_[0, self.stops[:-1] + 1][: len(self.stops)]
        self.first = data[self.starts]
        self.lead: Ints = np.searchsorted(self.stops, self.bounds[:-1])
        self.odd |= np.isin(self.first[self.lead], np.frombuffer(b"-!", np.uint8))
        self.mark(self.starts[self.first <= 32])
        if (backslash := data == 92).any():
            self.mark(np.flatnonzero(backslash))
        self.find()

    def find(self) -> None:
        """The options that mean something: their token, line, and what they mean."""
        at = np.flatnonzero(self.first == 45)
        encoded = pieces(self.data, self.starts[at], self.stops[at]).dictionary_encode()
        names, codes_ = encoded.dictionary.to_pylist(), codes(encoded)
        means = np.array([*map(_meaning, names), _NOTHING], np.uint8)[codes_]
        known = means != _NOTHING
        self.from_: Ints
        self.to: Ints
        self.at, self.means, option = at[known], means[known], codes_[known]
        self.line_of: Ints = np.repeat(
            np.arange(self.size), np.diff(np.searchsorted(self.at, np.r_[self.lead, len(self.first)]))
        )
        self.check()
        good = ~self.odd[self.line_of]
        self.at, self.means, self.line_of = self.at[good], self.means[good], self.line_of[good]
        self.from_, self.to = self.from_[good], self.to[good]
        self.jump = np.array([_JUMPS.get(name) == "goto" for name in names] + [False])[option[good]]
        self.contexts(names, option[good])

    def check(self) -> None:
        """Find where the values are, and mark lines whose values are not what they seem."""
        last = self.data[self.stops] == 10
        value: Ints = np.minimum(self.at + 1, len(self.first) - 1)
        self.from_, self.to = self.starts[value], self.stops[value]
        begin = self.first[value]
        pairs = np.isin(self.means, [_FIRST + _COLUMNS.index(name) for name, _ in _PAIRS.values()])
        bad = last[self.at] | (begin == 45) | (begin == 33)
        bad |= (begin == 34) & (pairs | (self.means == _MODULE) | (self.means == _FIRST + _COLUMNS.index("target")))
        second = self.first[np.minimum(value + 1, len(self.first) - 1)]
        bad |= pairs & (last[value] | np.isin(second, np.frombuffer(b'-!"', np.uint8)))
        self.odd[self.line_of[bad]] = True
        self.quotes(np.flatnonzero(begin == 34))

    def quotes(self, quoted: Ints) -> None:
        """End quoted values at their quotes; all quotes of a line must be such."""
        data, line = self.data, self.line_of[quoted]
        every = np.flatnonzero(data == 34)
        counted = np.diff(np.searchsorted(every, self.bounds))
        self.odd |= counted != 2 * np.bincount(line, minlength=self.size)
        if not len(quoted):
            return
        start = self.from_[quoted]
        close = np.r_[every, len(data)][np.searchsorted(every, start) + 1]
        following = np.r_[self.starts[self.at], len(data)][quoted + 1]
        bad = (close > self.ends[line]) | (following < close) | np.isin(data[start + 1], [33, 45])
        bad |= np.r_[data, 0, 0][close + 1] > 32
        self.odd[line[bad]] = True
        self.from_[quoted], self.to[quoted] = start + 1, close

    def contexts(self, names: list[str], option: Ints) -> None:
        """What options mean that belong to the module or target before them."""
        some = np.flatnonzero(self.means == _CONTEXT)
        modules = np.flatnonzero((self.means == _MODULE) | (self.means == _FIRST + _COLUMNS.index("target")))
        before = np.r_[0, modules + 1][since(some, modules)] - 1
        same = (before >= 0) & (self.line_of[before] == self.line_of[some])
        some, before = some[same], before[same]
        encoded = pieces(self.data, self.from_[before], self.to[before]).dictionary_encode()
        module, known, option = codes(encoded), encoded.dictionary.to_pylist(), option[some]
        self.means[self.means == _CONTEXT] = _NOTHING
        for (of, name), column in _IN_CONTEXT.items():
            if of in known and name in names:
                match = (module == known.index(of)) & (option == names.index(name))
                self.means[some[match]] = _FIRST + _COLUMNS.index(column)

    def column(self, name: str) -> tuple[Ints, Any]:
        """The lines that have a value for a column, and their values."""
        here = np.flatnonzero(self.means == _FIRST + _COLUMNS.index(name))
        at, rows = self.at[here], self.line_of[here]
        second = self.starts[at + 2] if name in ("match_sets", "counters") else at
        to = self.stops[at + 2] if name == "counters" else self.to[here]
        values = pieces(self.data, self.from_[here], to)
        if name == "match_sets":
            values = beside(pieces(self.data, second, self.stops[at + 2]), values)
        if name != "target":
            alone = (self.first[at - 1] == 33) & (self.stops[at - 1] - self.starts[at - 1] == 1)
            values = negated(values, alone)
        return joined(rows, values, "; ")


def _cut_rules(texts: Any) -> Cut:
    """The columns of distinct rules, and which of them are odd."""
    tokens = _Tokens(texts)
    good = np.flatnonzero(~tokens.odd)
    lead, ends = tokens.lead[good], tokens.ends[good]
    columns = {name: tokens.column(name) for name in _COLUMNS if name != "goto"}
    return columns | {
        "chain": (good, pieces(tokens.data, tokens.starts[lead], tokens.stops[lead])),
        "spec": (good, pieces(tokens.data, np.minimum(tokens.stops[lead] + 1, ends), ends)),
        "goto": (tokens.line_of[tokens.jump], NO_TEXTS),
        "odd": (np.flatnonzero(tokens.odd), NO_TEXTS),
    }


class _Specs:
    """The distinct rules' columns: of odd ones by reading each, of the others from their tokens."""

    def __init__(self, texts: Any) -> None:
        cut, size = in_blocks(texts, _cut_rules), len(texts)
        self.bad: Flags = np.zeros(size, bool)
        self.odd: dict[str, dict[int, str]] = {name: {} for name in cut}
        for number in cut.pop("odd")[0].tolist():
            self.bad[number] = not self.add(number, texts[number].as_py().rstrip())
        self.goto: Flags = np.zeros(size, bool)
        self.goto[np.r_[cut.pop("goto")[0], list(self.odd["goto"])].astype(np.int64)] = True
        self.columns = {name: Cells(size, *cells, self.odd[name]) for name, cells in cut.items()}

    def add(self, number: int, rule: str) -> bool:
        """Read an odd rule; whether it can be read."""
        chain, _, spec = rule.partition(" ")
        if not chain or chain[0] == "-":
            return False
        try:
            fields = _parted(spec)
        except ValueError:
            return False
        for name, value in [("chain", chain), ("spec", spec), *fields]:
            cell = self.odd[name]
            cell[number] = f"{cell[number]}; {value}" if number in cell else value
        return True


_BAD, _SILENT, _RULE, _CHAIN, _TABLE, _GENERATED, _NOTE, _HEADER = range(8)

_SAVED_CHAIN = re.compile(
    r"(?::|-[PN] )(\S+)(?: (-|[A-Z]+))?(?: \[(\d{1,18}):(\d{1,18})\]| -c (\d{1,18}) (\d{1,18}))?", re.ASCII
)
_SAVED_TABLE = re.compile(r"\*(\w+)|COMMIT")
_SAVED_BY = re.compile(r"# Generated by (\S+) v(\S+)(?: \((\w+)\))? on (.*)")


class _Save:
    """Reads iptables-save: the rules at once, each distinct other line by its kind."""

    def __init__(self, text: str) -> None:
        self.lines = lines = _Lines(text)
        self.chains: dict[int, tuple[str, str | None, int, int]] = {}
        self.table: dict[int, int] = {}
        self.tables = _Ids()
        self.packets, self.bytes = np.full(lines.size, -1, np.int64), np.full(lines.size, -1, np.int64)
        at = self.counted()
        rule = spells(lines.data, at, b"-A ")
        lines.tell(np.flatnonzero(~rule), self.other)
        encoded = pieces(lines.data, at[rule] + 3, lines.bounds[1:][rule]).dictionary_encode()
        self.specs, spec = _Specs(encoded.dictionary), codes(encoded)
        lines.kinds[np.flatnonzero(rule)[self.specs.bad[spec]]] = _BAD
        self.spec: Ints = np.full(lines.size, -1, np.int64)
        self.spec[rule] = spec

    def counted(self) -> Ints:
        """Read the counters before rules, and say where lines go on after them."""
        data, at = self.lines.data, self.lines.bounds[:-1].copy()
        rows = np.flatnonzero(data[at] == 91)
        packets, colon = numbers(data, at[rows] + 1)
        octets, end = numbers(data, colon + 1)
        good = (packets >= 0) & (octets >= 0) & (data[colon] == 58) & spells(data, end, b"] ")
        rows = rows[good]
        at[rows], self.packets[rows], self.bytes[rows] = end[good] + 2, packets[good], octets[good]
        return at

    def other(self, code: int, line: str) -> int:
        """Read a line that is no rule, and say which kind it is."""
        if not line or line.startswith("# Completed on"):
            return _SILENT
        if line[0] in ":-" and (chain := _SAVED_CHAIN.fullmatch(line)):
            name, policy, *counted = chain.groups()
            packets, octets = [int(c) for c in counted if c] or (-1, -1)
            self.chains[code] = (name, None if policy == "-" else policy, packets, octets)
            return _CHAIN
        if table := _SAVED_TABLE.fullmatch(line):
            self.table[code] = self.tables[table[1]] if table[1] else -1
            return _TABLE
        if _SAVED_BY.fullmatch(line):
            return _GENERATED
        return _remark(line)

    def place(self, rows: Ints) -> tuple[Ints, Ints]:
        """For each row, the table's number and the number of the part it is in."""
        starts, which = self.lines.rows(_TABLE)
        part = since(rows, starts)
        return np.array([-1, *(self.table[code] for code in which.tolist())], np.int64)[part], part

    def rule_frame(self) -> pd.DataFrame:
        rows, which = self.lines.rows(_RULE)
        specs, spec = self.specs, self.spec[which]
        tables, part = self.place(rows)
        cells = specs.columns["chain"]
        chains = cells.values.dictionary_encode()
        chain = codes(chains)[cells.places[spec]]
        packets, octets = self.counters(which, spec)
        columns = {name: specs.columns[name].at(spec) for name in specs.columns if name != "counters"}
        columns |= {
            "table": strings(list(self.tables), tables),
            "rule": _exact(numbered(part * max(len(chains.dictionary), 1) + chain)),
            "packets": packets,
            "bytes": octets,
            "goto": booleans(specs.goto[spec]),
            "line": _exact(rows + 1),
        }
        return _frame(SAVE, columns)

    def counters(self, which: Ints, spec: Ints) -> tuple[Any, Any]:
        """The counters before the rules or, as iptables -S -v has them, among the options."""
        packets, octets = counters(self.packets[which]), counters(self.bytes[which])
        if len((cells := self.specs.columns["counters"]).values):
            pairs = pd.Series(cells.at(spec)).str.extract(r"^(\d{1,18}) (\d{1,18})$")
            packets, octets = (
                pd.Series(old).fillna(pd.to_numeric(pairs[i]).astype("Int64")).array
                for i, old in enumerate((packets, octets))
            )
        return packets, octets

    def chain_frame(self) -> pd.DataFrame:
        rows, which = self.lines.rows(_CHAIN)
        read = _Read(self.chains, 4, which)
        columns = {
            "table": strings(list(self.tables), self.place(rows)[0]),
            "chain": read.texts(0),
            "policy": read.texts(1),
            "packets": counters(read.integers(2)),
            "bytes": counters(read.integers(3)),
            "line": _exact(rows + 1),
        }
        return _frame(CHAINS, columns)

    def generated_frame(self) -> pd.DataFrame:
        rows, which = self.lines.rows(_GENERATED)
        distinct = np.unique(which)
        read = dict(zip(distinct.tolist(), map(_generated, self.lines.read(distinct)), strict=True))
        return GENERATED.frame(
            [{**read[code], "line": row} for code, row in zip(which.tolist(), (rows + 1).tolist(), strict=True)]
        )


class _Read:
    """Columns out of the tuples read from some of the distinct lines, taken at an index of these (-1 is null)."""

    def __init__(self, read: Mapping[int, tuple[Any, ...]], width: int, index: Ints) -> None:
        self.columns: Any = list(zip(*read.values(), strict=True)) if read else [()] * width
        places = np.full(max(read, default=-1) + 2, -1, np.int64)
        places[list(read)] = np.arange(len(read))
        self.index = places[index]

    def integers(self, column: int) -> Ints:
        return np.array([*self.columns[column], -1], np.int64)[self.index]

    def texts(self, column: int) -> Any:
        return strings(self.columns[column], self.index)


def _exact(values: Ints) -> Any:
    return pd.arrays.IntegerArray(values, np.zeros(len(values), bool))


def _frame(schema: Schema, columns: Mapping[str, Any]) -> pd.DataFrame:
    return schema.check(pd.DataFrame(columns, columns=pd.Index(schema.names), copy=False))


def _remark(line: str) -> int:
    """The kind of a line that belongs to no table."""
    if may_be_noise(line) and not line.startswith("# Warning:"):
        return _SILENT
    return _NOTE if line[0] == "#" else _BAD


def _generated(line: str) -> dict[str, Any]:
    program, version, backend, when = _SAVED_BY.fullmatch(line).groups()  # type: ignore[union-attr]
    try:
        at = datetime.strptime(when, "%a %b %d %H:%M:%S %Y").isoformat()
    except ValueError:
        at = None
    guess = "nf_tables" if program.startswith("xtables") or "-nft" in program else "legacy"
    return {"program": program, "version": version, "backend": backend or guess, "when": at}


def _note_frame(lines: _Lines) -> pd.DataFrame:
    rows, which = lines.rows(_NOTE)
    texts = [line.lstrip("# \t") for line in lines.read(which)]
    return _frame(NOTES, {"note": strings(texts, np.arange(len(rows))), "line": _exact(rows + 1)})


@parser(
    "iptables-save",
    SAVE,
    CHAINS,
    GENERATED,
    NOTES,
    marks=r"^(\*(filter|nat|mangle|raw|security)$|-[AN] \S+|# Generated by ip6?tables)",
)
def iptables_save(text: Text) -> dict[str, pd.DataFrame]:
    """``iptables-save`` and ``ip6tables-save``, with or without ``-c``, of either backend; also ``iptables -S``.

    Several outputs may follow one another; rules are numbered anew in each table.

    Source: recordings; iptables/xshared.c. The output of iptables -S is in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("iptables-save", '''*filter
    ... :cali-pi-x - [0:0]
    ... [7:420] -A cali-pi-x -p tcp -m comment --comment "cali:abc" -m set --match-set cali40s:xyz src -j DROP
    ... COMMIT''').frame.iloc[0]
    >>> row["chain"], int(row["packets"]), row["match_sets"], row["comment"], row["target"]
    ('cali-pi-x', 7, 'src cali40s:xyz', 'cali:abc', 'DROP')
    """
    save = _Save(text.text)
    save.lines.reject(text, save.lines.rows(_BAD)[0], "a line of iptables-save")
    return {
        SAVE.name: save.rule_frame(),
        CHAINS.name: save.chain_frame(),
        GENERATED.name: save.generated_frame(),
        NOTES.name: _note_frame(save.lines),
    }


_LISTED_CHAIN = re.compile(
    r"Chain (\S+) \((?:policy (\S+)(?: (\d{1,18}[KMGTP]?) packets, (\d{1,18}[KMGTP]?) bytes)?"
    r"|(\d{1,18}) references?)\)",
    re.ASCII,
)
_LISTED_HEADER = re.compile(r"(num +)?(?:(pkts +bytes) )? *target +prot +opt +(?:in +out +)?source +destination")
_LISTED_TABLE = re.compile(r"(?:.{0,200}?tables\S* (?:.{0,200}? )??(?:-t ?|--table[ =])|[Tt]able:? )(\w+)\b.*")
_SHORT = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_FACTORS: Ints = np.ones(256, np.int64)
_FACTORS[[ord(short) for short in _SHORT]] = list(_SHORT.values())
_CELLS = ("target", "protocol", "options", "in_interface", "out_interface", "source", "destination")
_OPTS = frozenset(("--", "-f", "!f"))


def _counter(text: str) -> int:
    """A counter as printed: 872K is 872000. Raises ``ValueError``."""
    factor = _SHORT.get(text[-1:], 1)
    digits = text[:-1] if factor > 1 else text
    if not (digits.isdigit() and digits.isascii()) or len(digits) > 18:
        raise ValueError(text)
    if (number := int(digits) * factor) >= 10**18:
        raise ValueError(text)
    return number


def _is_host(text: str) -> bool:
    return ":" in text or text.lstrip("!") == "anywhere"


def _cells(line: str, lead: int, verbose: bool) -> list[str] | None:
    """A rule's cells, as many for every rule of a format (the last is the rest); None if they make no rule."""
    size = lead + (7 if verbose else 5)
    cells = line.split(None, size)
    if len(cells) < size - 2:
        return None
    hosts = [_is_host(cell) for cell in [*cells, "", ""][size - 4 : size - 1]]
    if cells[lead + 2] in _OPTS:
        pass
    elif cells[lead + 1] in _OPTS:
        cells = line.split(None, size - 1)
        cells.insert(lead, "")
    elif hosts[1] and hosts[2]:  # ip6tables leaves opt blank
        cells = line.split(None, size - 1)
        cells.insert(lead + 2, "")
    elif hosts[0] and hosts[1]:
        cells = line.split(None, size - 2)
        cells[lead:lead] = [""]
        cells.insert(lead + 2, "")
    else:
        return None
    if len(cells) == size:
        cells.append("")
    return cells if len(cells) == size + 1 else None


class _Bodies(Lines):
    """The distinct rules of iptables -L -v, as after the counters, cut at blanks; odd are those of other layouts."""

    def __init__(self, texts: Any) -> None:
        super().__init__(texts)
        self.mark_unusual()
        blank = self.data <= 32
        edge = np.flatnonzero(blank[1:] != blank[:-1]) + 1  # each starts with a blank and ends with a newline
        self.starts, self.stops = edge[::2], edge[1::2]
        self.first: Ints = np.searchsorted(self.starts, self.bounds)
        self.layout()
        self.rest: Ints = np.zeros(self.size, np.int64)
        self.last: Ints = np.zeros(self.size, np.int64)
        self.cut: dict[str, tuple[Ints, Any]] = {}
        self.read_cells()
        self.read_rest()

    def layout(self) -> None:
        """Which token is the protocol: a rule without a target has one cell less."""
        count = np.diff(self.first)
        top = max(len(self.starts) - 1, 0)
        options = [np.minimum(self.first[:-1] + i, top) for i in (1, 2)]
        without, with_ = (self.is_options(at) & (count > i) for i, at in ((1, options[0]), (2, options[1])))
        self.target: Flags = with_
        self.odd |= ~(with_ & (count > 6)) & ~(without & ~with_ & (count > 5))

    def is_options(self, at: Ints) -> Flags:
        if not len(self.starts):
            return np.zeros(len(at), bool)
        start, length = self.starts[at], self.stops[at] - self.starts[at]
        one = self.data[start]
        two = self.data[np.minimum(start + 1, len(self.data) - 1)]
        dashes = (one == 45) & ((two == 45) | (two == 102))
        found: Flags = (length == 2) & (dashes | ((one == 33) & (two == 102)))
        return found

    def read_cells(self) -> None:
        rows = np.flatnonzero(~self.odd)
        protocol = self.first[rows] + self.target[rows]
        for i, name in enumerate(_CELLS[1:]):
            self.cut[name] = self.cell(rows, protocol + i, name)
        having = self.target[rows]
        self.cut["target"] = self.cell(rows[having], protocol[having] - 1, "target")
        after = protocol + len(_CELLS) - 1
        self.last[rows] = self.stops[self.first[rows + 1] - 1]
        more = after < self.first[rows + 1]
        self.rest[rows] = self.last[rows]
        self.rest[rows[more]] = self.starts[after[more]]

    def cell(self, rows: Ints, at: Ints, name: str) -> tuple[Ints, Any]:
        """A column's cells, with their negation apart."""
        start, stop = self.starts[at], self.stops[at]
        marked = (self.data[start] == 33) & (name != "options")
        self.odd[rows[marked & (stop - start == 2)]] = True  # may be !f
        return rows, negated(pieces(self.data, start + marked, stop), marked)

    def read_rest(self) -> None:
        """Comments, other text and whether the target is gone to, out of what follows the destination."""
        data = self.data
        stars = np.flatnonzero(data[:-2] == 42)
        stars = stars[stars > 0]
        opens = stars[(data[stars - 1] == 47) & (data[stars + 1] == 32)] - 1
        closes = stars[(data[stars - 1] == 32) & (data[stars + 1] == 47)] - 1
        opens, closes = self.paired(opens, closes)
        self.cut["comment"] = joined(self.line(opens), pieces(data, opens + 3, closes), "; ")
        good = np.flatnonzero(~self.odd)
        starts = np.sort(np.r_[self.rest[good], closes + 3])
        ends = np.sort(np.r_[opens, self.last[good]])
        self.read_extra(starts, ends)
        self.cut["odd"] = (np.flatnonzero(self.odd), NO_TEXTS)

    def paired(self, opens: Ints, closes: Ints) -> tuple[Ints, Ints]:
        """Where comments start and end; lines where that is not one after another are odd."""
        for places in (opens, closes):
            line = self.line(places)
            self.odd[line[places < self.rest[line]]] = True
        self.odd |= np.diff(np.searchsorted(opens, self.bounds)) != np.diff(np.searchsorted(closes, self.bounds))
        opens, closes = self.kept(opens), self.kept(closes)
        following = np.r_[opens, len(self.data)][1:]
        self.mark(opens[(closes < opens + 3) | (closes + 3 > np.maximum(following, 0))])
        return self.kept(opens), self.kept(closes)

    def kept(self, places: Ints) -> Ints:
        return places[~self.odd[self.line(places)]]

    def read_extra(self, starts: Ints, ends: Ints) -> None:
        starts, ends = self.trimmed(starts, ends)
        first = np.zeros(len(starts), bool)
        first[firsts(self.line(starts))] = True
        first &= ends - starts >= 6
        first[first] = spells(self.data, starts[first], b"[goto]")
        self.cut["goto"] = (self.line(starts[first]), NO_TEXTS)
        starts, ends = self.trimmed(starts + 6 * first, ends)
        self.cut["extra"] = joined(self.line(starts), pieces(self.data, starts, ends), " ")

    def trimmed(self, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """The parts of lines without blanks around them, and without empty parts."""
        starts = np.minimum(skip(self.data, starts), ends)
        ends = np.maximum(skip(self.data, ends, -1), starts)
        some = starts < ends
        self.mark(starts[some & ((self.data[starts] == 32) | (self.data[ends - 1] == 32))])  # too many
        return starts[some], ends[some]


_HEADLESS = re.compile(r"^ *(?P<numbers>(?:\d+[KMGTP]? +){0,3})(?P<next>\S+) +\S+ +(?:--|-f|!f|\*) ", re.MULTILINE)


def _format_of(text: str) -> int:
    """The format of rules above which no header stands: 1 for numbers of rules, plus 2 for counters.

    The protocol may be a number too, where a rule has no target.
    """
    match = _HEADLESS.search(text[:10_000])
    if match is None:
        return 2
    return {0: 0, 1: 1, 2: 2, 3: 3}[len(match["numbers"].split())]


class _List:
    """Reads iptables -L: rules with counters at once, each distinct other line under its header."""

    def __init__(self, text: str) -> None:
        self.lines = lines = _Lines(text)
        self.headless = _format_of(text)
        self.formats: dict[int, int] = {}
        self.table: dict[int, int] = {}
        self.tables = _Ids()
        self.chains: dict[int, tuple[Any, ...]] = {}
        at = skip(lines.data, lines.bounds[:-1])
        lines.tell(np.flatnonzero(lines.data[at] - np.uint8(48) > 9), self.kind)
        self.rules(at)

    def kind(self, code: int, line: str) -> int:
        if not line:
            return _SILENT
        if "source" in line and (header := _LISTED_HEADER.fullmatch(line.strip())):
            self.formats[code] = bool(header[1]) + 2 * bool(header[2])
            return _HEADER
        if line[0] in " 0123456789":
            return _RULE
        if line.startswith("Chain ") and (chain := _LISTED_CHAIN.fullmatch(line)):
            return self.declare(code, chain)
        return self.remark(code, line)

    def remark(self, code: int, line: str) -> int:
        kind = _remark(line)
        if kind == _NOTE:
            return kind
        if (match := _LISTED_TABLE.fullmatch(line)) and (kind == _SILENT or line[0] in "Tt"):
            self.table[code] = self.tables[match[1]]
            return _TABLE
        return _RULE if kind == _BAD else kind

    def declare(self, code: int, match: re.Match[str]) -> int:
        name, policy, packets, octets, references = match.groups()
        try:
            counted = (_counter(packets), _counter(octets)) if packets else (-1, -1)
        except ValueError:
            return _BAD
        rounded = bool(packets) and not (packets + octets).isdigit()
        self.chains[code] = (name, policy, *counted, rounded, int(references or -1))
        return _CHAIN

    def rules(self, at: Ints) -> None:
        """Read each pair of a distinct line and a format: by their counters at a place at once, or one by one."""
        lines, (rows, which) = self.lines, self.lines.rows(_RULE)
        heads, head = lines.rows(_HEADER)
        forms = np.array([self.headless, *(self.formats[code] for code in head.tolist())], np.int64)
        encoded = pa.array(which * 4 + forms[since(rows, heads)]).dictionary_encode()
        pairs: Ints = encoded.dictionary.to_numpy()
        line, form = pairs >> 2, pairs & 3
        values, at = self.counted(form, at[line])
        good = np.flatnonzero(at >= 0)
        bodies = pieces(lines.data, at[good], lines.bounds[line[good] + 1]).dictionary_encode()
        self.size = len(bodies.dictionary)
        self.cut = in_blocks(bodies.dictionary, lambda texts: _Bodies(texts).cut)
        entry: Ints = np.full(len(pairs), -1, np.int64)
        entry[good] = codes(bodies)
        entry[np.isin(entry, self.cut["odd"][0])] = -1
        self.read: list[tuple[Any, ...]] = []
        for pair, text in zip((slow := np.flatnonzero(entry < 0)).tolist(), lines.read(line[slow]), strict=True):
            if (made := self.rule(text, int(form[pair]))) is not None:
                entry[pair] = self.size + len(self.read)
                self.read.append(made)
                for column, value in zip(values, made, strict=False):
                    column[pair] = value
        pair_of = codes(encoded)
        found = entry[pair_of] >= 0
        self.bad, self.rows, pair_of = rows[~found], rows[found], pair_of[found]
        self.index, self.values = entry[pair_of], [column[pair_of] for column in values]

    def counted(self, form: Ints, at: Ints) -> tuple[list[Ints], Ints]:
        """Number, packets, bytes and whether they are rounded, of rules at places; and where they end or -1."""
        data = self.lines.data
        good, number, rounded = form >= 2, np.full(len(at), -1, np.int64), np.zeros(len(at), bool)
        led = np.flatnonzero(form & 1)
        number[led], end = numbers(data, at[led])
        at = at.copy()
        at[led] = skip(data, end)
        good[led] &= (number[led] >= 0) & (at[led] > end)
        both: list[Ints] = []
        for _ in range(2):
            value, end = numbers(data, skip(data, at))
            factor = _FACTORS[data[end]]
            at = end + (factor > 1)
            good &= (value >= 0) & (value < 10**18 // factor) & (data[at] == 32)
            rounded |= factor > 1
            both.append(np.where(good, value, 0) * factor)
        return [number, *both, rounded.astype(np.int64)], np.where(good, at, -1)

    def rule(self, line: str, form: int) -> tuple[Any, ...] | None:
        """A rule's values; None if it is none."""
        lead = (form & 1) + (form & 2)
        cells = _cells(line, lead, form > 1)
        if cells is None:
            return None
        try:
            number = _counter(cells[0]) if form & 1 else -1
            packets, octets = (_counter(c) for c in cells[lead - 2 : lead]) if form > 1 else (-1, -1)
        except ValueError:
            return None
        rounded = form > 1 and not (cells[lead - 2] + cells[lead - 1]).isdigit()
        if form < 2:
            cells[lead + 3 : lead + 3] = ["", ""]
        shown = [f"! {v[1:]}" if v[:1] == "!" and v != "!f" else v or None for v in cells[lead:-1]]
        return number, packets, octets, rounded, *_rest(cells[-1]), *shown

    def table_of(self, rows: Ints) -> Any:
        starts, which = self.lines.rows(_TABLE)
        tables = np.array([-1, *(self.table[code] for code in which.tolist())], np.int64)
        return strings(list(self.tables), tables[since(rows, starts)])

    def texts(self, name: str, place: int) -> Any:
        """A column of texts: of rules read at once, and of those read one by one."""
        more = {self.size + i: read[place] for i, read in enumerate(self.read) if read[place] is not None}
        return Cells(self.size + len(self.read), *self.cut[name], more).at(self.index)

    def rule_frame(self) -> pd.DataFrame:
        starts, which = self.lines.rows(_CHAIN)
        part = since(self.rows, starts)
        number, packets, octets, rounded = self.values
        goto = np.array([False] * self.size + [read[6] for read in self.read], bool)
        goto[self.cut["goto"][0]] = True
        columns = {
            "table": self.table_of(self.rows),
            "chain": _Read(self.chains, 6, np.r_[-1, which][part]).texts(0),
            "rule": _exact(np.where(number >= 0, number, numbered(part))),
            "packets": counters(packets),
            "bytes": counters(octets),
            "rounded": booleans(rounded > 0),
            "comment": self.texts("comment", 4),
            "extra": self.texts("extra", 5),
            "goto": booleans(goto[self.index]),
            "line": _exact(self.rows + 1),
        }
        columns |= {name: self.texts(name, 7 + i) for i, name in enumerate(_CELLS)}
        return _frame(LIST, columns)

    def chain_frame(self) -> pd.DataFrame:
        rows, which = self.lines.rows(_CHAIN)
        read = _Read(self.chains, 6, which)
        columns = {
            "table": self.table_of(rows),
            "chain": read.texts(0),
            "policy": read.texts(1),
            "packets": counters(read.integers(2)),
            "bytes": counters(read.integers(3)),
            "rounded": booleans(read.integers(4) > 0),
            "references": counters(read.integers(5)),
            "line": _exact(rows + 1),
        }
        return _frame(LIST_CHAINS, columns)


def _rest(text: str) -> tuple[str | None, str | None, bool]:
    """Comment, other text and whether the target is gone to, out of what follows the destination."""
    comments: list[str] = []
    left: list[str] = []
    at = 0
    while (start := text.find("/* ", at)) >= 0 and (end := text.find(" */", start + 2)) >= 0:
        comments.append(text[start + 3 : end])
        left.append(text[at:start].strip())
        at = end + 3
    left.append(text[at:].strip())
    extra = " ".join(filter(None, left))
    goto = extra.startswith("[goto]")
    return "; ".join(comments) if comments else None, extra.removeprefix("[goto]").lstrip() or None, goto


@parser(
    "iptables-list",
    LIST,
    LIST_CHAINS,
    NOTES,
    marks=(
        r"^Chain \S+ \((policy|\d+ references)"
        r"|^ *(\d+[KMGTP]? +){0,3}(\S+ +)?(all|tcp|udp|sctp|icmp\w*|ipencap|ipip|\d+) +(--|-f|!f) +"
        r"(\S+ +\S+ +)?[!0-9a-f]\S*[./:]"
    ),
    keeps="tables ",
)
def iptables_list(text: Text) -> dict[str, pd.DataFrame]:
    """``iptables -L`` and ``ip6tables -L``, with any of ``-n``, ``-v``, ``-x`` and ``--line-numbers``.

    Rules are read without their chain and header too, as ``| grep`` and diffs leave them.

    Several outputs may follow one another; the table's name is taken from a command line (``-t nat``) or heading
    (``Table: nat``) before them, as iptables itself does not print it.

    Source: recordings; iptables/xshared.c. Layouts without -v, and ip6tables', are in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("iptables-list", '''Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
    ...  pkts bytes target     prot opt in     out     source               destination
    ...   719  872K cali-INPUT  0    --  *      *       0.0.0.0/0            0.0.0.0/0            /* cali:Cz */'''
    ...     ).frame.iloc[0]
    >>> row["chain"], row["target"], int(row["bytes"]), bool(row["rounded"]), row["comment"]
    ('INPUT', 'cali-INPUT', 872000, True, 'cali:Cz')
    """
    read = _List(text.text)
    read.lines.reject(text, np.sort(np.r_[read.bad, read.lines.rows(_BAD)[0]]), "a line of iptables -L")
    return {
        LIST.name: read.rule_frame(),
        LIST_CHAINS.name: read.chain_frame(),
        NOTES.name: _note_frame(read.lines),
    }

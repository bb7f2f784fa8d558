"""What iptables prints: ``iptables-save`` and ``iptables -L``, of IPv4 and IPv6, of both backends.

Sources: recordings of iptables 1.8.9 (nf_tables and legacy); iptables' own iptables/iptables.c, xshared.c and
extensions/ for what the recordings do not show (``iptables -S``, other versions' columns, escapes).

Lines repeat: counters are mostly zero, and services, endpoints and nodes have the same rules. So each distinct line is
read once, and columns are then filled by taking from what was read (pyarrow, numpy), never line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from calicokit.parsers.base import Line, Text, parser
from calicokit.schema import Column, Schema

_SOURCE = "recordings; iptables/iptables.c, iptables/xshared.c"

SAVE = Schema(
    "iptables_save",
    "rules; where a rule has several values for a column, they are joined by '; ', and a leading '! ' negates",
    (
        Column("table", "str", "filter, nat, mangle, raw or security; null in the output of iptables -S"),
        Column("chain", "str", "chain"),
        Column("rule", "int", "number in its chain, from 1"),
        Column("packets", "int", "packets that matched; null without -c", "packets"),
        Column("bytes", "int", "bytes that matched; null without -c", "bytes"),
        Column("target", "str", "chain or target of -j or -g; null for a rule that only counts"),
        Column("goto", "bool", "whether the target is gone to (-g) instead of jumped to (-j)"),
        Column("protocol", "str", "-p"),
        Column("source", "str", "-s, as printed"),
        Column("destination", "str", "-d, as printed"),
        Column("in_interface", "str", "-i; a trailing + stands for any characters"),
        Column("out_interface", "str", "-o; a trailing + stands for any characters"),
        Column("dports", "str", "destination ports: --dport or --dports"),
        Column("sports", "str", "source ports: --sport or --sports"),
        Column("match_sets", "str", "--match-set, as 'src NAME'"),
        Column("mark", "str", "value/mask of -m mark"),
        Column("set_mark", "str", "value/mask that the MARK target sets"),
        Column("ctstate", "str", "connection states: --ctstate or --state"),
        Column("comment", "str", "comments without quotes and escapes"),
        Column("log_prefix", "str", "prefix of what LOG or NFLOG logs"),
        Column("reject_with", "str", "answer of REJECT"),
        Column("to_destination", "str", "new destination of DNAT"),
        Column("to_source", "str", "new source of SNAT"),
        Column("to_ports", "str", "new ports of REDIRECT or MASQUERADE"),
        Column("spec", "str", "everything after -A CHAIN, as printed"),
        Column("line", "int", "line in the text, from 1"),
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
        Column("policy", "str", "what happens at the end of a built-in chain; null for others"),
        Column("packets", "int", "packets that met the policy", "packets"),
        Column("bytes", "int", "bytes that met the policy", "bytes"),
        Column("line", "int", "line in the text, from 1"),
    ),
    ("line",),
    source=_SOURCE,
)
GENERATED = Schema(
    "iptables_generated",
    "which program printed the tables, and when",
    (
        Column("program", "str", "iptables-save, ip6tables-save, iptables-nft-save, …"),
        Column("version", "str", "its version"),
        Column("backend", "str", "nf_tables or legacy"),
        Column("when", "time", "when it printed; the text has no zone, UTC is assumed"),
        Column("line", "int", "line in the text, from 1"),
    ),
    ("line",),
    source=_SOURCE,
)
NOTES = Schema(
    "iptables_notes",
    "warnings and other comments, such as of tables of the other backend",
    (Column("note", "str", "text without #"), Column("line", "int", "line in the text, from 1")),
    ("line",),
    source=_SOURCE,
)
LIST = Schema(
    "iptables_list",
    "rules; a leading '! ' negates",
    (
        Column("table", "str", "table, where a command line or heading in the text says it; null otherwise"),
        Column("chain", "str", "chain"),
        Column("rule", "int", "number in its chain, from 1"),
        Column("packets", "int", "packets that matched; null without -v", "packets"),
        Column("bytes", "int", "bytes that matched; null without -v", "bytes"),
        Column("rounded", "bool", "whether one of the counters was printed in K, M or G and is not exact"),
        Column("target", "str", "chain or target; null for a rule that only counts"),
        Column("goto", "bool", "whether the target is gone to instead of jumped to"),
        Column("protocol", "str", "protocol as printed; all or 0 is any"),
        Column("options", "str", "-f for fragments only, -- for any; null where the version leaves it blank"),
        Column("in_interface", "str", "interface; * or any is any; null without -v"),
        Column("out_interface", "str", "interface; * or any is any; null without -v"),
        Column("source", "str", "address or prefix, as printed"),
        Column("destination", "str", "address or prefix, as printed"),
        Column("comment", "str", "comments; several are joined by '; '"),
        Column("extra", "str", "other matches and the target's options, as printed"),
        Column("line", "int", "line in the text, from 1"),
    ),
    ("line",),
    source=_SOURCE,
)
LIST_CHAINS = Schema(
    "iptables_list_chains",
    "chains that iptables -L prints",
    (
        Column("table", "str", "table, where a command line or heading in the text says it; null otherwise"),
        Column("chain", "str", "chain"),
        Column("policy", "str", "what happens at the end of a built-in chain; null for others"),
        Column("packets", "int", "packets that met the policy; null without -v", "packets"),
        Column("bytes", "int", "bytes that met the policy; null without -v", "bytes"),
        Column("rounded", "bool", "whether one of the counters was printed in K, M or G and is not exact"),
        Column("references", "int", "rules that lead to the chain; null for a built-in one"),
        Column("line", "int", "line in the text, from 1"),
    ),
    ("line",),
    source=_SOURCE,
)

_Ints = NDArray[np.int64]
_Code = NDArray[np.uint8]
_TEXTS: Any = pd.arrays.ArrowStringArray
_TEXT = pd.StringDtype(na_value=np.nan)
_BLOCK = 1 << 18

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROMPT = re.compile(
    r"(?:\S{0,200}[$#>%]|\[[^\]]{1,200}\] ?[$#>%]|PS [^>]{0,200}>) ?(?:sudo |.{0,200}&& )?(?:\S{1,200}/)?"
    r"(?:kubectl|oc|docker|nerdctl|crictl|ssh|nsenter|ip6?tables\S*|xtables\S*|ipset|nft|exit|for|echo)(?: .*)?"
)
_CHATTER = re.compile(
    r"Defaulted container .*|Defaulting container name .*|Use 'kubectl describe .*|command terminated with exit code .*"
    r"|Unable to use a TTY .*|If you don't see a command prompt, try pressing enter\.?"
    r"|(?:\S{0,200}|\[[^\]]{0,200}\] ?)[$#]"
)


def is_noise(line: str) -> bool:
    """Whether a line comes from the shell or from ``kubectl exec`` around a tool's output."""
    return bool(_CHATTER.fullmatch(line) or _PROMPT.fullmatch(line))


class _Lines:
    """The distinct lines of a text, without line ends, and for each line which of them it is."""

    def __init__(self, text: str) -> None:
        if "\x1b" in text:
            text = _ANSI.sub("", text)
        data = text.encode("utf-8", "replace")
        ends = _ends(np.frombuffer(data, np.uint8))
        offsets = np.empty(len(ends) + 2, np.int64)
        offsets[0], offsets[-1] = 0, len(data)
        np.add(ends, 1, out=offsets[1:-1])
        lines = pa.LargeStringArray.from_buffers(len(ends) + 1, pa.py_buffer(offsets), pa.py_buffer(data))
        encoded = lines.dictionary_encode()
        self.distinct = [line.rstrip() for line in encoded.dictionary.to_pylist()]
        self.codes: _Ints = encoded.indices.to_numpy().astype(np.int64)

    def rows(self, kinds: _Code, kind: int) -> _Ints:
        """Which lines are of a kind, given each distinct line's kind."""
        return np.flatnonzero(kinds[self.codes] == kind)

    def reject(self, text: Text, rows: Iterable[int], expected: str) -> None:
        for row in rows:
            text.reject(Line(int(row) + 1, self.distinct[self.codes[row]]), expected)


def _ends(data: NDArray[np.uint8]) -> _Ints:
    """Where the lines end; by blocks that stay in the processor's cache."""
    blocks = (np.flatnonzero(data[at : at + _BLOCK] == 10) + at for at in range(0, len(data), _BLOCK))
    return np.concatenate([np.zeros(0, np.int64), *blocks])


def _strings(values: Sequence[str | None], index: _Ints) -> Any:
    """A column of texts: values at an index, null at -1."""
    if not len(values):
        return _TEXTS(pa.nulls(len(index), pa.large_string()), dtype=_TEXT)
    few = pa.array([*values, None], pa.large_string())
    taken = pc.take(few, pa.array(np.where(index < 0, len(values), index)), boundscheck=False)
    return _TEXTS(taken, dtype=_TEXT)


def _sparse(cells: Mapping[int, str], size: int, index: _Ints) -> Any:
    """The same, of values for some of ``size`` places."""
    if not cells:
        return _strings([], index)
    places = np.full(size, -1, np.int64)
    places[np.fromiter(cells, np.int64, len(cells))] = np.arange(len(cells))
    return _strings(list(cells.values()), places[index])


def _counters(values: _Ints) -> Any:
    """A column of integers, null where they are negative."""
    return pd.arrays.IntegerArray(values, values < 0)


def _booleans(values: NDArray[np.bool_]) -> Any:
    return pd.arrays.BooleanArray(values, np.zeros(len(values), bool))


def _frame(schema: Schema, columns: Mapping[str, Any]) -> pd.DataFrame:
    return schema.check(pd.DataFrame(columns, columns=pd.Index(schema.names), copy=False))


def _numbered(key: _Ints) -> _Ints:
    """For each place, the how-manieth of its key it is, from 1."""
    if not len(key):
        return key
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    number = np.empty(len(key), np.int64)
    number[order] = np.arange(len(key)) - np.repeat(first, np.diff(np.r_[first, len(key)])) + 1
    return number


def _since(rows: _Ints, starts: _Ints) -> _Ints:
    """For each row, how many of the starts are at or above it."""
    return np.searchsorted(starts, rows, side="right").astype(np.int64)


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
_COMMENT = 'comment --comment "'

_Fields = list[tuple[str, str]]
_Put = list[tuple[dict[int, str], str]]


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


class _Specs:
    """The distinct rules, each read once, by parts that most of them share."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}  # CHAIN SPEC, as after -A
        self.specs: list[str] = []
        self.chain: list[int] = []
        self.chains = _Ids()
        self.cells: dict[str, dict[int, str]] = {
            name: {} for name in [*dict.fromkeys(_OPTIONS.values()), "target", "goto", "match_sets", "counters"]
        }
        self.parts: dict[str, _Put] = {"": []}

    def add(self, rule: str) -> int:
        """The rule's number; -1 if it cannot be read."""
        chain, _, spec = rule.partition(" ")
        number = len(self.specs)
        try:
            fields = self.split(spec)
        except ValueError:
            chain = ""
        if not chain or chain[0] == "-":
            self.ids[rule] = -1
            return -1
        for cell, value in fields:
            cell[number] = f"{cell[number]}; {value}" if number in cell else value
        self.ids[rule] = number
        self.chain.append(self.chains[chain])
        self.specs.append(spec)
        return number

    def split(self, spec: str) -> _Put:
        if "\\" in spec:
            return self.put(_fields(spec))
        fields: _Put = []
        parts, comments = self.parts, self.cells["comment"]
        try:
            for part in f" {spec}".replace(" -j ", " -m -j ").replace(" -g ", " -m -g ").split(" -m "):
                known = parts.get(part)
                if known is not None:
                    fields += known
                elif part.startswith(_COMMENT) and part.find('"', 19) == len(part) - 1:
                    fields.append((comments, part[19:-1]))
                else:
                    parts[part] = known = self.put(_fields(part if part[0] in " -" else f"-m {part}"))
                    fields += known
        except ValueError:  # the part ends within a quoted text
            return self.put(_fields(spec))
        return fields

    def put(self, fields: _Fields) -> _Put:
        return [(self.cells[name], value) for name, value in fields]


_BAD, _SILENT, _RULE, _CHAIN, _TABLE, _GENERATED, _NOTE, _HEADER = range(8)

_COUNTED = re.compile(r"\[(\d{1,18}):(\d{1,18})\] ", re.ASCII)
_SAVED_CHAIN = re.compile(
    r"(?::|-[PN] )(\S+)(?: (-|[A-Z]+))?(?: \[(\d{1,18}):(\d{1,18})\]| -c (\d{1,18}) (\d{1,18}))?", re.ASCII
)
_SAVED_TABLE = re.compile(r"\*(\w+)|COMMIT")
_SAVED_BY = re.compile(r"# Generated by (\S+) v(\S+)(?: \((\w+)\))? on (.*)")
_COMMENT_LINE = re.compile(r"#\s*(.*)")


class _Heads(dict[str, "tuple[int, int] | None"]):
    """The counters before a rule: -1 if there are none, None if it is something else."""

    def __missing__(self, head: str) -> tuple[int, int] | None:
        match = _COUNTED.fullmatch(head)
        self[head] = made = (int(match[1]), int(match[2])) if match else None if head else (-1, -1)
        return made


class _Save:
    """Reads iptables-save: each distinct line once, by its kind."""

    def __init__(self, text: str) -> None:
        self.lines = _Lines(text)
        size = len(self.lines.distinct)
        self.kinds: _Code = np.zeros(size, np.uint8)
        self.rule = np.full(size, -1, np.int64)
        self.chain = np.full(size, -1, np.int64)
        self.policy: dict[int, str] = {}
        self.table = np.full(size, -1, np.int64)
        self.packets, self.bytes = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
        self.tables, self.specs = _Ids(), _Specs()
        self.read()

    def read(self) -> None:
        known, add, heads = self.specs.ids, self.specs.add, _Heads()
        rules: list[tuple[int, int, int, int]] = []
        for code, line in enumerate(self.lines.distinct):
            head, found, rule = line.partition("-A ")
            counters = heads[head] if found else None
            if counters is None:
                self.kinds[code] = self.other(code, line)
                continue
            number = known.get(rule)
            if number is None:
                number = add(rule)
            if number >= 0:
                rules.append((code, number, *counters))
        codes, numbers, packets, octets = np.array(rules, np.int64).reshape(-1, 4).T
        self.kinds[codes], self.rule[codes] = _RULE, numbers
        self.packets[codes], self.bytes[codes] = packets, octets

    def other(self, code: int, line: str) -> int:
        """Read a line that is no rule, and say which kind it is."""
        if not line or line.startswith("# Completed on"):
            return _SILENT
        if line[0] in ":-" and (chain := _SAVED_CHAIN.fullmatch(line)):
            self.declare(code, chain)
            return _CHAIN
        if table := _SAVED_TABLE.fullmatch(line):
            self.table[code] = self.tables[table[1]] if table[1] else -1
            return _TABLE
        if _SAVED_BY.fullmatch(line):
            return _GENERATED
        return _remark(line)

    def declare(self, code: int, match: re.Match[str]) -> None:
        name, policy, *counters = match.groups()
        self.chain[code] = self.specs.chains[name]
        if policy and policy != "-":
            self.policy[code] = policy
        packets, octets = [int(c) for c in counters if c] or (-1, -1)
        self.packets[code], self.bytes[code] = packets, octets

    def place(self, kind: int) -> tuple[_Ints, _Ints, _Ints, _Ints]:
        """The lines of a kind: their row, distinct line, table's number and the number of the part they are in."""
        rows = self.lines.rows(self.kinds, kind)
        starts = self.lines.rows(self.kinds, _TABLE)
        part = _since(rows, starts)
        tables = np.r_[-1, self.table[self.lines.codes[starts]]]
        return rows, self.lines.codes[rows], tables[part], part

    def rule_frame(self) -> pd.DataFrame:
        rows, codes, tables, part = self.place(_RULE)
        specs, spec, cells = self.specs, self.rule[codes], self.specs.cells
        chain = np.array([*specs.chain, -1], np.int64)[spec]
        packets, octets = self.counters(codes, spec)
        size = len(specs.specs)
        goto = np.zeros(size, bool)
        goto[list(cells["goto"])] = True
        columns = {name: _sparse(cells[name], size, spec) for name in SAVE.names if name in cells}
        columns |= {
            "table": _strings(list(self.tables), tables),
            "chain": _strings(list(specs.chains), chain),
            "rule": _exact(_numbered(part * max(len(specs.chains), 1) + chain)),
            "packets": packets,
            "bytes": octets,
            "goto": _booleans(goto[spec]),
            "spec": _strings(specs.specs, spec),
            "line": _exact(rows + 1),
        }
        return _frame(SAVE, columns)

    def counters(self, codes: _Ints, spec: _Ints) -> tuple[Any, Any]:
        """The counters before the rules or, as iptables -S -v has them, among the options."""
        packets, octets = _counters(self.packets[codes]), _counters(self.bytes[codes])
        if cells := self.specs.cells["counters"]:
            pairs = pd.Series(_sparse(cells, len(self.specs.specs), spec)).str.extract(r"^(\d{1,18}) (\d{1,18})$")
            packets, octets = (
                pd.Series(old).fillna(pd.to_numeric(pairs[i]).astype("Int64")).array
                for i, old in enumerate((packets, octets))
            )
        return packets, octets

    def chain_frame(self) -> pd.DataFrame:
        rows, codes, tables, _ = self.place(_CHAIN)
        columns = {
            "table": _strings(list(self.tables), tables),
            "chain": _strings(list(self.specs.chains), self.chain[codes]),
            "policy": _sparse(self.policy, len(self.kinds), codes),
            "packets": _counters(self.packets[codes]),
            "bytes": _counters(self.bytes[codes]),
            "line": _exact(rows + 1),
        }
        return _frame(CHAINS, columns)

    def generated_frame(self) -> pd.DataFrame:
        rows = self.lines.rows(self.kinds, _GENERATED)
        codes = self.lines.codes[rows].tolist()
        read = {code: _generated(self.lines.distinct[code]) for code in set(codes)}
        return GENERATED.frame(
            [{**read[code], "line": row} for code, row in zip(codes, (rows + 1).tolist(), strict=True)]
        )


def _exact(values: _Ints) -> Any:
    return pd.arrays.IntegerArray(values, np.zeros(len(values), bool))


def _remark(line: str) -> int:
    """The kind of a line that belongs to no table."""
    if is_noise(line) and not line.startswith("# Warning:"):
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


def _note_frame(lines: _Lines, kinds: _Code) -> pd.DataFrame:
    rows = lines.rows(kinds, _NOTE)
    texts = [line.lstrip("# \t") if kinds[code] == _NOTE else None for code, line in enumerate(lines.distinct)]
    return _frame(NOTES, {"note": _strings(texts, lines.codes[rows]), "line": _exact(rows + 1)})


@parser("iptables-save", SAVE, CHAINS, GENERATED, NOTES)
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
    save.lines.reject(text, save.lines.rows(save.kinds, _BAD), "a line of iptables-save")
    return {
        SAVE.name: save.rule_frame(),
        CHAINS.name: save.chain_frame(),
        GENERATED.name: save.generated_frame(),
        NOTES.name: _note_frame(save.lines, save.kinds),
    }


_LISTED_CHAIN = re.compile(
    r"Chain (\S+) \((?:policy (\S+)(?: (\d{1,18}[KMGTP]?) packets, (\d{1,18}[KMGTP]?) bytes)?"
    r"|(\d{1,18}) references?)\)",
    re.ASCII,
)
_LISTED_HEADER = re.compile(r"(num +)?(?:(pkts +bytes) )? *target +prot +opt +(?:in +out +)?source +destination")
_LISTED_TABLE = re.compile(r"(?:.{0,200}?tables\S* (?:.{0,200}? )??(?:-t ?|--table[ =])|[Tt]able:? )(\w+)\b.*")
_SHORT = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
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


class _Counters(dict[str, int]):
    """Counters as printed, each read once."""

    def __missing__(self, text: str) -> int:
        self[text] = number = _counter(text)
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


class _Read:
    """Columns out of the tuples read from distinct lines, taken at an index (-1 is null)."""

    def __init__(self, rows: Sequence[tuple[Any, ...]], width: int, index: _Ints) -> None:
        self.columns: Any = list(zip(*rows, strict=True)) if rows else [()] * width
        self.index = index

    def integers(self, column: int) -> _Ints:
        return np.array([*self.columns[column], -1], np.int64)[self.index]

    def texts(self, column: int) -> Any:
        return _strings(self.columns[column], self.index)

    def cells(self, column: int) -> Any:
        """Texts with their negation apart, blank ones null."""
        encoded = pa.array(self.columns[column], pa.string()).dictionary_encode()
        values = [f"! {v[1:]}" if v[:1] == "!" and v != "!f" else v or None for v in encoded.dictionary.to_pylist()]
        return _strings(values, encoded.indices.to_numpy().astype(np.int64)[self.index])


class _List:
    """Reads iptables -L: each distinct line once, under the header that it stands under."""

    def __init__(self, text: str) -> None:
        self.lines = _Lines(text)
        self.kinds: _Code = np.zeros(len(self.lines.distinct), np.uint8)
        self.formats = np.full(len(self.kinds), -1, np.int64)
        self.table = np.full(len(self.kinds), -1, np.int64)
        self.tables = _Ids()
        self.chains: dict[int, tuple[Any, ...]] = {}
        for code, line in enumerate(self.lines.distinct):
            self.kinds[code] = self.kind(code, line)
        self.rules()

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
            counters = (_counter(packets), _counter(octets)) if packets else (-1, -1)
        except ValueError:
            return _BAD
        rounded = bool(packets) and not (packets + octets).isdigit()
        self.chains[code] = (name, policy, *counters, rounded, int(references or -1))
        return _CHAIN

    def rules(self) -> None:
        """Read each pair of a distinct line and a format once."""
        codes = self.lines.codes
        self.rows = self.lines.rows(self.kinds, _RULE)
        heads = self.lines.rows(self.kinds, _HEADER)
        formats = np.r_[2, self.formats[codes[heads]]][_since(self.rows, heads)]
        encoded = pa.array(codes[self.rows] * 4 + formats).dictionary_encode()
        pairs = encoded.dictionary.to_pylist()
        self.pair: _Ints = encoded.indices.to_numpy().astype(np.int64)
        self.counters = _Counters()
        self.read: list[tuple[Any, ...]] = []
        self.rests: dict[str, tuple[str | None, str | None, bool]] = {}
        at = np.array([self.rule(self.lines.distinct[pair >> 2], pair & 3) for pair in pairs], np.int64)
        good = at[self.pair] >= 0 if len(at) else np.zeros(0, bool)
        self.bad = self.rows[~good]
        self.rows, self.pair = self.rows[good], at[self.pair[good]] if len(at) else self.pair

    def rule(self, line: str, form: int) -> int:
        """Where the rule stands among those read; -1 if it is none."""
        lead = (form & 1) + (form & 2)
        cells = _cells(line, lead, form > 1)
        if cells is None:
            return -1
        try:
            number = _counter(cells[0]) if form & 1 else -1
            packets, octets = (self.counters[c] for c in cells[lead - 2 : lead]) if form > 1 else (-1, -1)
        except ValueError:
            return -1
        rounded = form > 1 and not (cells[lead - 2] + cells[lead - 1]).isdigit()
        if form < 2:
            cells[lead + 3 : lead + 3] = ["", ""]
        known = self.rests.get(cells[-1]) or self.rest(cells[-1])
        self.read.append((number, packets, octets, rounded, *known, *cells[lead:-1]))
        return len(self.read) - 1

    def rest(self, text: str) -> tuple[str | None, str | None, bool]:
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
        extra = extra.removeprefix("[goto]").lstrip()
        self.rests[text] = made = ("; ".join(comments) if comments else None, extra or None, goto)
        return made

    def table_of(self, rows: _Ints) -> Any:
        starts = self.lines.rows(self.kinds, _TABLE)
        tables = np.r_[-1, self.table[self.lines.codes[starts]]]
        return _strings(list(self.tables), tables[_since(rows, starts)])

    def rule_frame(self) -> pd.DataFrame:
        starts = self.lines.rows(self.kinds, _CHAIN)
        part = _since(self.rows, starts)
        read = _Read(self.read, 14, self.pair)
        number = read.integers(0)
        columns = {
            "table": self.table_of(self.rows),
            "chain": _Read(list(self.chains.values()), 6, np.r_[-1, self.chain_at(starts)][part]).texts(0),
            "rule": _exact(np.where(number >= 0, number, _numbered(part))),
            "packets": _counters(read.integers(1)),
            "bytes": _counters(read.integers(2)),
            "rounded": _booleans(read.integers(3) > 0),
            "comment": read.texts(4),
            "extra": read.texts(5),
            "goto": _booleans(read.integers(6) > 0),
            "line": _exact(self.rows + 1),
        }
        columns |= {name: read.cells(7 + i) for i, name in enumerate(_CELLS)}
        return _frame(LIST, columns)

    def chain_at(self, rows: _Ints) -> _Ints:
        places = np.full(len(self.kinds), -1, np.int64)
        places[list(self.chains)] = np.arange(len(self.chains))
        return places[self.lines.codes[rows]]

    def chain_frame(self) -> pd.DataFrame:
        rows = self.lines.rows(self.kinds, _CHAIN)
        read = _Read(list(self.chains.values()), 6, self.chain_at(rows))
        columns = {
            "table": self.table_of(rows),
            "chain": read.texts(0),
            "policy": read.texts(1),
            "packets": _counters(read.integers(2)),
            "bytes": _counters(read.integers(3)),
            "rounded": _booleans(read.integers(4) > 0),
            "references": _counters(read.integers(5)),
            "line": _exact(rows + 1),
        }
        return _frame(LIST_CHAINS, columns)


@parser("iptables-list", LIST, LIST_CHAINS, NOTES)
def iptables_list(text: Text) -> dict[str, pd.DataFrame]:
    """``iptables -L`` and ``ip6tables -L``, with any of ``-n``, ``-v``, ``-x`` and ``--line-numbers``.

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
    unread = np.sort(np.r_[read.bad, read.lines.rows(read.kinds, _BAD)])
    read.lines.reject(text, unread, "a line of iptables -L")
    return {
        LIST.name: read.rule_frame(),
        LIST_CHAINS.name: read.chain_frame(),
        NOTES.name: _note_frame(read.lines, read.kinds),
    }

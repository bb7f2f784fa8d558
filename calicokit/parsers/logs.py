"""Logs of Calico's own processes: one fast reader of their common format, registered once for each component.

The format (Calico's lib/logrusr/formatter.go, libcalico-go/lib/logutils before v3.32; recordings of v3.28 and
v3.34-dev) is ``YYYY-MM-DD HH:MM:SS.mmm [LEVEL][PID] component/file.go LINE: message key1=value key2="quoted"``. Keys
are sorted; strings are quoted as in Go; an error is neither quoted nor escaped. Times carry no zone and are UTC in
Calico's containers. Calico does not mark where the message ends, so the fields begin at the first `` key=``.

Understood besides: a text cut off in the middle of its first line; messages of several lines; the ``... dropped N
logs ...`` that takes the place of lines Calico could not write; client-go's klog lines, which carry no year and get the
one of the record before them; BIRD's lines, where all of calico-node's output is one log; logrus' own format
(``time="…" level=info msg="…"``, printed by ``calico-node``'s health and by hooks). Seen in no recording: what
others put before a line, namely runit's svlogd, container runtimes, ``kubectl logs --timestamps`` and ``--prefix``,
kubetail and stern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.api.types import pandas_dtype

from calicokit.parsers.base import Text, parser
from calicokit.schema import DTYPES, Column, Schema

COLUMNS = (
    Column("time", "time", "when it was logged; null where a line carries no time (a cut first line, BIRD)"),
    Column("level", "str", "TRACE, DEBUG, INFO, WARNING, ERROR, FATAL or PANIC; null where a line carries none"),
    Column("pid", "int", "process that logged it"),
    Column("component", "str", "part of Calico that logged it; null before v3.22 and in klog lines"),
    Column("file", "str", "Go source file"),
    Column("line_number", "int", "line in the source file"),
    Column("message", "str", "text without the fields that follow it; further lines after newlines"),
    Column("fields", "str", "the trailing key=value fields, as printed"),
    Column("error", "str", "value of the field error"),
    Column("line", "int", "number of the record's first line in the text, from 1"),
)
CNI_COLUMNS = (
    *COLUMNS[:-1],
    Column("container_id", "str", "field ContainerID: the pod's sandbox"),
    Column("workload", "str", "field WorkloadEndpoint or Workload"),
    Column("namespace", "str", "field Namespace"),
    Column("pod", "str", "field Pod"),
    COLUMNS[-1],
)
_SOURCE = "recordings; lib/logrusr/formatter.go"

CNI = Schema("cni_log", "what the CNI plugin and its IPAM logged", CNI_COLUMNS, ("line",), source=_SOURCE)
FELIX = Schema("felix_log", "what Felix logged", COLUMNS, ("line",), source=_SOURCE)
CONFD = Schema("confd_log", "what confd logged", COLUMNS, ("line",), source=_SOURCE)
TYPHA = Schema("typha_log", "what Typha logged", COLUMNS, ("line",), source=_SOURCE)
CONTROLLERS = Schema(
    "kube_controllers_log", "what kube-controllers logged", COLUMNS, ("line",), source=_SOURCE + "; klog"
)
STARTUP = Schema("startup_log", "what calico-node's startup logged", COLUMNS, ("line",), source=_SOURCE)

_RECORD = re.compile(  # time; level, process and source line, of which a log has few; the rest
    r"((?:19|20)\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) "
    r"(\[[A-Z]+\]\[\d{1,9}\] [^\s:]+ (?:\d{1,9}|<nil>)):(?: (.*))?",
    re.ASCII,
)
_ORIGIN = re.compile(r"\[(?P<level>[A-Z]+)\]\[(?P<pid>\d+)\] (?:(?P<component>.*)/)?(?P<file>\S+) (?P<line_number>\S+)")
_FIELD = re.compile(r" [A-Za-z_][\w.-]*=")
# Keys are sorted, so only a key after "error" can end an error's text.
_ERROR = re.compile(
    r"(?<![^ ])error=(.*?)(?= (?:[f-z]|e[s-z]|er[s-z]|err[p-z]|erro[s-z]|error[\w.-])[\w.-]*=|$)", re.DOTALL
)
_PREFIX = re.compile(  # pod and container, time, stream
    r"(\[[^\]\s]+(?: [^\]\s]+){0,2}\] |[a-z0-9.-]+ (?:› )?[a-z0-9-]+ )?"
    r"(?:(?P<time>\d{4}-\d\d-\d\d[T_]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?) |(@[0-9a-f]{24} ))?"
    r"(std(?:out|err) [FP] )?"
)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_KLOG = re.compile(r"([IWEF])(\d\d)(\d\d) (\d\d:\d\d:\d\d\.\d{6}) +(\d{1,9}) ([^\s:]+):(\d{1,9})\] ?(.*)")
_KLOG_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "FATAL"}
_LOGRUS = re.compile(r'time="(\d{4}-\d\d-\d\d[^"]*)" level=([a-z]+) msg=("(?:[^"\\]|\\.)*"|\S*)(.*)')
_BIRD = re.compile(r"(bird6?): (.*)")
_DROPPED = re.compile(r"\.\.\. dropped \d+ logs \.\.\.")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_GO_ESCAPE = re.compile(r'\\(["\\nt])')
_ESCAPED = {"n": "\n", "t": "\t"}
_CNI_FIELDS = {
    "container_id": re.compile(r'(?<![^ ])ContainerID="([^"]*)"'),
    "workload": re.compile(r'(?<![^ ])(?:WorkloadEndpoint|Workload)="([^"]*)"'),
    "namespace": re.compile(r'(?<![^ ])Namespace="([^"]*)"'),
    "pod": re.compile(r'(?<![^ ])Pod="([^"]*)"'),
}

# Level, pid, component, file and source line: as Calico prints them, or where another format gives them.
_Origin = str | tuple[str | None, ...]
_NOWHERE = (None, None, None, None, None)


@parser("cni-log", CNI)
def cni_log(text: Text) -> dict[str, pd.DataFrame]:
    """The CNI plugin's log on a node (/var/log/calico/cni/cni.log): every pod's way to its addresses and interface.

    Source: see the module; the CNI plugin writes it on the host. Its table has the pod of a record in columns.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("cni-log", '2026-11-24 02:28:23.191 [INFO][7522] cni-plugin/k8s.go 76: Extracted identifiers '
    ...     'ContainerID="324f" Namespace="shop" Pod="cart-1"').frame.iloc[0]
    >>> row["message"], row["container_id"], row["namespace"], row["pod"]
    ('Extracted identifiers', '324f', 'shop', 'cart-1')
    """
    return {CNI.name: _frame(text, CNI)}


@parser("felix-log", FELIX)
def felix_log(text: Text) -> dict[str, pd.DataFrame]:
    """Felix's log (stdout of calico-node, or /var/log/calico/felix/current).

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("felix-log", "2026-11-24 01:34:57.100 [INFO][17803] felix/cleanup.go 41: Failed to list BPF maps. "
    ...     "error=file not found").frame.iloc[0]
    >>> row["component"], row["file"], int(row["line_number"]), row["error"]
    ('felix', 'cleanup.go', 41, 'file not found')
    """
    return {FELIX.name: _frame(text, FELIX)}


@parser("confd-log", CONFD)
def confd_log(text: Text) -> dict[str, pd.DataFrame]:
    """confd's log, which says what it wrote into BIRD's configuration and why (stdout of calico-node).

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parse("confd-log", "2026-11-24 02:28:16.891 [INFO][6303] confd/config.go 93: Skipping confd config file."
    ...     ).frame["message"][0]
    'Skipping confd config file.'
    """
    return {CONFD.name: _frame(text, CONFD)}


@parser("typha-log", TYPHA)
def typha_log(text: Text) -> dict[str, pd.DataFrame]:
    """Typha's log: its configuration, its clients, and the connections it lost.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parse("typha-log", "2026-11-23 20:58:21.264 [INFO][30081] typha/sync_server.go 465: Accepted port=5473"
    ...     ).frame["fields"][0]
    'port=5473'
    """
    return {TYPHA.name: _frame(text, TYPHA)}


@parser("kube-controllers-log", CONTROLLERS)
def kube_controllers_log(text: Text) -> dict[str, pd.DataFrame]:
    """The log of calico-kube-controllers, with client-go's klog lines among its own.

    Source: see the module; klog's header is described in k8s.io/klog.

    >>> from calicokit.parsers.base import parse
    >>> log = ("2026-11-24 02:28:20.748 [INFO][7309] kube-controllers/run.go 135: Ensuring datastore is initialized\\n"
    ...        'I1124 02:28:20.801179    7309 shared_informer.go:390] "Waiting for caches" controller="nodes"')
    >>> parse("kube-controllers-log", log).frame["message"].to_list()
    ['Ensuring datastore is initialized', 'Waiting for caches']
    """
    return {CONTROLLERS.name: _frame(text, CONTROLLERS)}


@parser("startup-log", STARTUP)
def startup_log(text: Text) -> dict[str, pd.DataFrame]:
    """The log of calico-node's start, before its services run: node name, addresses, what it found and set.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> log = "2026-11-24 02:28:16.701 [INFO][6295] startup/utils.go 137: Determined node name: node-1"
    >>> parse("startup-log", log).frame["message"][0]
    'Determined node name: node-1'
    """
    return {STARTUP.name: _frame(text, STARTUP)}


def _frame(text: Text, schema: Schema) -> pd.DataFrame:
    reader = _Reader()
    reader.read(_lines(text.text))
    columns = reader.columns()
    for name, pattern in _CNI_FIELDS.items() if schema is CNI else ():
        found = (pattern.search(fields) if fields else None for fields in columns["fields"])
        columns[name] = [match[1] if match else None for match in found]
    # Not through Schema.frame, which would make an object of every time.
    made = {c.name: pd.Series(columns[c.name], dtype=pandas_dtype(DTYPES[c.kind])) for c in schema.columns}
    return schema.check(pd.DataFrame(made))


def _lines(text: str) -> list[str]:
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    return [line.rstrip() for line in text.split("\n")]


@dataclass
class _Reader:
    """Collects the records of a log; lines that start none are kept with the record before them."""

    times: list[str | None] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    seen: dict[_Origin, int] = field(default_factory=dict)  # origin → its number in origins
    more: dict[int, list[str]] = field(default_factory=dict)  # record → its further lines
    known: dict[int, str | None] = field(default_factory=dict)  # record → fields that its format tells from the message
    prefix: tuple[bool, ...] | None = None  # which parts of _PREFIX the lines have

    def read(self, lines: list[str]) -> None:
        # The common line costs one match; everything else is looked at more closely.
        for number, (line, match) in enumerate(zip(lines, map(_RECORD.match, lines), strict=True), 1):
            if match is not None:
                self.add(number, *match.groups())
            elif line:
                self.odd(number, line)

    def add(self, number: int, time: str | None, origin: _Origin, text: str | None) -> None:
        self.times.append(time)
        self.origins.append(self.seen.setdefault(origin, len(self.seen)))
        self.texts.append(text or "")
        self.numbers.append(number)

    def add_known(self, number: int, time: str | None, origin: _Origin, text: str, fields: str | None = None) -> None:
        self.known[len(self.texts)] = fields or None
        self.add(number, time, origin, text)

    def odd(self, number: int, line: str) -> None:
        if self.start(number, line, None) or self.prefixed(number, line):
            return
        if self.prefix and (match := _PREFIX.match(line)) and _parts(match) == self.prefix:
            line = line[match.end() :]
        if self.texts:
            self.more.setdefault(len(self.texts) - 1, []).append(line)
        else:
            self.add_known(number, None, _NOWHERE, line)

    def prefixed(self, number: int, line: str) -> bool:
        match = _PREFIX.match(line)
        if not match or not match.end():
            return False
        bare = line[match.end() :]
        if record := _RECORD.match(bare):
            self.add(number, *record.groups())
        elif not self.start(number, bare, match["time"]):
            return False
        self.prefix = _parts(match)
        return True

    def start(self, number: int, line: str, time: str | None) -> bool:
        """Add the record that a line in another format than Calico's starts; ``time`` is what stood before it."""
        time = time and time.replace("_", " ")
        if match := _KLOG.match(line):
            self.klog(number, match)
        elif match := _LOGRUS.match(line):
            origin = (match[2].upper(), None, None, None, None)
            self.add_known(number, match[1], origin, _unquoted(match[3]), match[4].lstrip())
        elif match := _BIRD.match(line):
            self.add_known(number, time, (None, None, match[1], None, None), match[2])
        elif _DROPPED.fullmatch(line):
            self.add_known(number, time, _NOWHERE, line)
        else:
            return False
        return True

    def klog(self, number: int, match: re.Match[str]) -> None:
        level, month, day, clock, pid, file, source, text = match.groups()
        before = next((t for t in self.times[:-20:-1] if t), None)
        time = before and f"{int(before[:4]) + (before[5:7] > month)}-{month}-{day} {clock}"
        quoted = _QUOTED.match(text)
        end = quoted.end() if quoted else len(text)
        origin = (_KLOG_LEVELS[level], pid, None, file, source)
        self.add_known(number, time, origin, _unquoted(text[:end]), text[end:].lstrip())

    def columns(self) -> dict[str, Any]:
        message, fields = self.messages()
        return {
            "time": pd.to_datetime(pd.Series(self.times, dtype="str"), format="ISO8601", utc=True, errors="coerce"),
            **self.origin_columns(),
            "message": message,
            "fields": fields,
            "error": [_error(f) if f and "error=" in f else None for f in fields],
            "line": self.numbers,
        }

    def origin_columns(self) -> dict[str, Any]:
        """Each origin is read once and then taken for its lines."""
        rows = [o if isinstance(o, tuple) else cast("re.Match[str]", _ORIGIN.match(o)).groups() for o in self.seen]
        level, pid, component, file, source = zip(*rows, strict=True) if rows else [()] * 5
        few = {
            "level": pd.array(level, dtype="str"),
            "pid": pd.array([p and int(p) for p in pid], dtype="Int64"),
            "component": pd.array(component, dtype="str"),
            "file": pd.array(file, dtype="str"),
            "line_number": pd.array([int(n) if n and n != "<nil>" else None for n in source], dtype="Int64"),
        }
        taken = np.array(self.origins, dtype="int64")
        return {name: values.take(taken) for name, values in few.items()}

    def messages(self) -> tuple[list[str], list[str | None]]:
        """The texts' messages and fields, divided at the first `` key=`` (of the last line, if the first has none)."""
        message: list[str] = []
        fields: list[str | None] = []
        for text, found in zip(self.texts, map(_FIELD.search, self.texts), strict=True):
            if found is None:
                message.append(text)
                fields.append(None)
            else:
                at = found.start()
                message.append(text[:at])
                fields.append(text[at + 1 :])
        for index, known in self.known.items():
            message[index], fields[index] = self.texts[index], known
        for index, lines in self.more.items():
            if fields[index] is None and index not in self.known and (last := _FIELD.search(lines[-1])):
                fields[index] = lines[-1][last.start() + 1 :]
                lines[-1] = lines[-1][: last.start()]
            message[index] = "\n".join([message[index], *lines])
        return message, fields


def _parts(match: re.Match[str]) -> tuple[bool, ...]:
    return tuple(bool(group) for group in match.groups())


def _error(fields: str) -> str | None:
    match = _ERROR.search(fields)
    return _unquoted(match[1]) if match else None


def _unquoted(text: str) -> str:
    """A string as Go's %q prints it, in plain; other texts as they are."""
    return _GO_ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[1]), text[1:-1]) if _QUOTED.fullmatch(text) else text

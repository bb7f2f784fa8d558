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
kubetail and stern. Lines that a container runtime split in parts (``stdout P …`` up to ``stdout F …``) become one.

The text is taken in pieces. In each, the lines that have Calico's format, also behind such a prefix, are told by RE2,
and their parts are cut out as Arrow arrays; only the others are looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from calicokit.evidence import node_log
from calicokit.parsers.base import Text, parser
from calicokit.parsers.bird.routes import Numbers, append, frame, slices
from calicokit.schema import Column, Schema

COLUMNS = (
    Column("time", "time", "timestamp; null where a line has none (a cut first line, BIRD)"),
    Column("level", "str", "TRACE, DEBUG, INFO, WARNING, ERROR, FATAL or PANIC; null where a line has none"),
    Column("pid", "int", "process that logged it"),
    Column("component", "str", "subsystem that logged it; null before v3.22 and in klog lines"),
    Column("file", "str", "Go source file"),
    Column("line_number", "int", "line in the source file"),
    Column("message", "str", "message without the trailing fields; further lines after newlines"),
    Column("fields", "str", "the trailing key=value fields, as printed"),
    Column("error", "str", "value of the field error"),
    Column("host", "str", "host in front of a line of syslog or the journal"),
    Column("printed_time", "str", "timestamp of syslog, or of a klog line, where its year is not known"),
    Column("line", "int", "1-based number of the record's first line in the text"),
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

CNI = Schema("cni_log", "log of the CNI plugin and its IPAM", CNI_COLUMNS, ("line",), source=_SOURCE)
FELIX = Schema("felix_log", "Felix's log", COLUMNS, ("line",), source=_SOURCE)
CONFD = Schema("confd_log", "confd's log", COLUMNS, ("line",), source=_SOURCE)
TYPHA = Schema("typha_log", "Typha's log", COLUMNS, ("line",), source=_SOURCE)
CONTROLLERS = Schema("kube_controllers_log", "kube-controllers' log", COLUMNS, ("line",), source=_SOURCE + "; klog")
STARTUP = Schema("startup_log", "calico-node's startup log", COLUMNS, ("line",), source=_SOURCE)

_PIECE = 1 << 22  # characters; bounds the memory for what is known of each line
# The time, and what tells level, process and source line, of which a log has few; \s is spelt out as RE2's has no \v.
_TIME = r"(?:19|20)\d\d-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d{3}"
_WHERE = r"(?:\[[A-Z]+\])?\[\d{1,9}(?:/\d{1,9})?\] [^ \t\n\r\f\v:]+ (?:\d{1,9}|<nil>)"
_COMMON = rf"^{_TIME} {_WHERE}:(?: |$)"
_RECORD = re.compile(rf"({_TIME}) ({_WHERE}):(?: (.*))?", re.ASCII)
_TIME_LENGTH = len("2026-11-24 02:28:23.191")
_PROCESS = re.compile(r"(?:\[([A-Z]+)\])?\[(\d+)", re.ASCII)
_SOURCE_LINE = re.compile(r"(?:(.*)/)?(\S+) (\S+)", re.ASCII)
_FIELD = re.compile(r" [A-Za-z_][\w.-]*=")
# Keys are sorted, so only a key after "error" can end an error's text.
_ERROR = re.compile(
    r"(?<![^ ])error=(.*?)(?= (?:[f-z]|e[s-z]|er[s-z]|err[p-z]|erro[s-z]|error[\w.-])[\w.-]*=|$)", re.DOTALL
)
_POD = r"\[[^\]\s\v]+(?: [^\]\s\v]+){0,2}\] |[a-z0-9.-]+ (?:› )?[a-z0-9-]+ "
_DATED = r"(?P<time>\d{4}-\d\d-\d\d[T_]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?) |(?P<tai>@[0-9a-f]{24} )"
PREFIX = re.compile(  # what others put before a line; a service's name, and what syslog and the journal write
    rf"(?P<pod>{_POD}|[\w./-]+(?:\[\d+\])?(?: +\||:) +)?"
    rf"(?:{_DATED}|(?P<syslog>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{{1,6}})?) )?"
    r"(?:(?P<host>[\w.-]+) [\w./@-]+(?:\[\d+\])?: )?"
    r"(?P<stream>std(?:out|err) [FP] )?",
    re.ASCII,
)
_MOST_PREFIX = 300  # characters of a prefix that are looked for in bulk
# In bulk only what runtimes and kubectl write; a line that goes on (P) is left to be put together with the next.
_IN_BULK = re.compile(rf"^(?P<whole>(?P<pod>{_POD})?(?:{_DATED})?(?P<stream>std(?:out|err) F )?)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_KLOG = re.compile(r"([IWEF])(\d\d)(\d\d) (\d\d:\d\d:\d\d\.\d{6}) +(\d{1,9}) ([^\s:]+):(\d{1,9})\] ?(.*)", re.ASCII)
_KLOG_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "FATAL"}
_LOGRUS = re.compile(r'time="(\d{4}-\d\d-\d\d[^"]*)" level=([a-z]+) msg=("(?:[^"\\]|\\.)*"|\S*)(.*)')
_BIRD = re.compile(r"(bird6?): (.*)")
_DROPPED = re.compile(r"\.\.\. dropped \d+ logs \.\.\.")
_GO_ESCAPE = re.compile(r'\\(["\\nt])')
_ESCAPED = {"n": "\n", "t": "\t"}
_STAMPS = ("host", "printed_time")
_CNI_FIELDS = {
    "container_id": "ContainerID",
    "workload": "WorkloadEndpoint|Workload",
    "namespace": "Namespace",
    "pod": "Pod",
}

# Level, pid, component, file and source line.
_Origin = tuple[str | None, ...]
_NOWHERE = (None, None, None, None, None)


def _marks(component: str, files: Iterable[str]) -> str:
    """What shows a component's records: its name, or before v3.22 a file that only it has."""
    return rf"\]\s+(?:{component}/\w+|(?:{'|'.join(files)})\.go )"


_CONTROLLERS = (
    *("main", "watchersyncer", "resources", "ipam", "ipam_allocation", "ipam_block_reader_writer", "node_controller"),
    *("pod_controller", "policy_controller", "namespace_controller", "serviceaccount_controller", "hostendpoints"),
)
_KUBELET = (
    r"RunPodSandbox|CreatePodSandbox|KillPodSandbox|StopPodSandbox|[Nn]etworkPlugin cni|plugin type=\\*\""
    r"|cni config uninitialized"
    r"|failed to (?:setup|destroy|set up) (?:network|sandbox)|Failed to create sandbox|cni plugin not initialized"
)


@parser(
    "cni-log",
    CNI,
    marks=(
        _marks("(?:cni-plugin|ipam)", ("ipam_plugin", "k8s", "dataplane_linux", "plugin"))
        + r"|^(?:.{0,200}\]: )?(?:[IWEF]\d{4} [\d:.]{15} .{0,80}\]|time=\"[^\"]+\" level=\w+ msg=).*"
        + rf"(?:{_KUBELET})"
    ),
    stamped=True,
)
def cni_log(text: Text) -> dict[str, pd.DataFrame]:
    """The CNI plugin's log on a node (/var/log/calico/cni/cni.log): every pod's way to its addresses and interface.

    Also the kubelet's and containerd's lines that repeat the plugin's error (kubernetes' pkg/kubelet/kuberuntime,
    containerd's internal/cri/server), from a file or the journal.

    Source: see the module; the CNI plugin writes it on the host. Its table has the pod of a record in columns.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("cni-log", '2026-11-24 02:28:23.191 [INFO][7522] cni-plugin/k8s.go 76: Extracted identifiers '
    ...     'ContainerID="324f" Namespace="shop" Pod="cart-1"').frame.iloc[0]
    >>> row["message"], row["container_id"], row["namespace"], row["pod"]
    ('Extracted identifiers', '324f', 'shop', 'cart-1')
    """
    return {CNI.name: _frame(text, CNI)}


@parser(
    "felix-log",
    FELIX,
    marks=_marks("felix", node_log.FILES[node_log.FELIX]) + r"|\] calico\.felix\.\w+",
    stamped=True,
)
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


@parser("confd-log", CONFD, marks=_marks("confd", node_log.FILES[node_log.CONFD]), stamped=True)
def confd_log(text: Text) -> dict[str, pd.DataFrame]:
    """confd's log, which says what it wrote into BIRD's configuration and why (stdout of calico-node).

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parse("confd-log", "2026-11-24 02:28:16.891 [INFO][6303] confd/config.go 93: Skipping confd config file."
    ...     ).frame["message"][0]
    'Skipping confd config file.'
    """
    return {CONFD.name: _frame(text, CONFD)}


@parser(
    "typha-log", TYPHA, marks=_marks("typha", ("typha_main", "sync_server", "rebalance", "snapcache")), stamped=True
)
def typha_log(text: Text) -> dict[str, pd.DataFrame]:
    """Typha's log: its configuration, its clients, and the connections it lost.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parse("typha-log", "2026-11-23 20:58:21.264 [INFO][30081] typha/sync_server.go 465: Accepted port=5473"
    ...     ).frame["fields"][0]
    'port=5473'
    """
    return {TYPHA.name: _frame(text, TYPHA)}


@parser(
    "kube-controllers-log",
    CONTROLLERS,
    marks=_marks("kube-controllers", _CONTROLLERS),
    stamped=True,
)
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


@parser(
    "startup-log",
    STARTUP,
    marks=_marks("(?:startup|cni-installer)", node_log.FILES[node_log.STARTUP])
    + r"|^Calico node (started|failed)\b|^Skipping datastore",
    stamped=True,
)
def startup_log(text: Text) -> dict[str, pd.DataFrame]:
    """The log of calico-node's start, before its services run: node name, addresses, what it found and set.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> log = "2026-11-24 02:28:16.701 [INFO][6295] startup/utils.go 137: Determined node name: node-1"
    >>> parse("startup-log", log).frame["message"][0]
    'Determined node name: node-1'
    """
    return {STARTUP.name: _frame(text, STARTUP)}


def times(texts: Iterable[str | None]) -> pd.Series[Any]:
    """Times as the schemas have them; null for what is none, or is out of the range of nanoseconds."""
    found = pd.to_datetime(pd.Series(texts, dtype="str"), format="ISO8601", utc=True, errors="coerce")
    return found.where(found.dt.year.between(1678, 2261)).astype("datetime64[ns, UTC]")


def _frame(text: Text, schema: Schema) -> pd.DataFrame:
    reader = _Reader(schema)
    start = 0
    while start < len(text.text):
        end = text.text.find("\n", start + _PIECE) + 1 or len(text.text)
        reader.read(_Piece(text.text[start:end]), last=end == len(text.text))
        start = end
    return reader.frame()


class _Piece:
    """The lines of a piece of the text, and which of them are records as Calico prints them."""

    def __init__(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        breaks = np.flatnonzero(np.frombuffer(data, "u1") == 10)
        offsets = np.concatenate(([0], breaks + 1, [len(data)])).astype("i4")
        self.newlines = len(breaks)
        self.raw = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
        self.lines = pc.ascii_rtrim_whitespace(self.raw)
        bounds, self.data = self.lines.buffers()[1:]
        offsets = np.frombuffer(bounds, "i4", len(offsets))
        self.bytes = np.frombuffer(self.data or b"", "u1", int(offsets[-1]))
        self.starts, self.ends = offsets[:-1].copy(), offsets[1:]
        self.prefixed = np.zeros(0, "i8")  # records behind a prefix
        self.prefixes = np.zeros((0, len(PREFIX.groupindex)), bool)  # its parts
        common = _matches(self.lines, _COMMON) & self._ends_visibly()
        filled = self.ends > self.starts
        self._behind_prefix(common, np.flatnonzero(filled & ~common))
        self.common, self.others = np.flatnonzero(common), np.flatnonzero(filled & ~common)

    def _ends_visibly(self) -> Numbers:
        """Whether lines end in a visible character of ASCII: strip knows more blanks than those taken off here."""
        last = self.bytes[np.maximum(self.ends, 1) - 1] if len(self.bytes) else np.zeros(len(self.ends), "u1")
        return (last > 32) & (last < 127)

    def _behind_prefix(self, common: Numbers, lines: Numbers) -> None:
        """Find the records among these lines that have something before them, which their starts then leave out."""
        starts, ends = self.starts[lines], self.ends[lines]
        found = pc.extract_regex(slices(self.data, starts, np.minimum(starts + _MOST_PREFIX, ends)), _IN_BULK.pattern)
        parts = {
            name: pc.binary_length(found.field(name)).to_numpy(zero_copy_only=False) for name in _IN_BULK.groupindex
        }
        starts += parts["whole"]
        good = _matches(slices(self.data, starts, ends), _COMMON) & (parts["whole"] > 0) & self._ends_visibly()[lines]
        self.prefixed = lines[good]
        none = np.zeros(len(starts), "i4")
        self.prefixes = np.stack([parts.get(name, none)[good] > 0 for name in PREFIX.groupindex], axis=1)
        self.starts[self.prefixed] = starts[good]
        common[self.prefixed] = True

    def records(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Time, origin and text of the common records."""
        starts, ends = self.starts[self.common], self.ends[self.common]
        colons = np.flatnonzero(self.bytes == ord(":"))
        colon = colons[np.searchsorted(colons, starts + _TIME_LENGTH)].astype("i4")
        time = slices(self.data, starts, starts + _TIME_LENGTH)
        origin = slices(self.data, starts + _TIME_LENGTH + 1, colon)
        return _timestamps(time), origin, slices(self.data, np.minimum(colon + 2, ends), ends)


@dataclass
class _Others:
    """The records of a piece that were read one by one, and the further lines of any record."""

    numbers: list[int] = field(default_factory=list)
    times: list[str | None] = field(default_factory=list)
    origins: list[_Origin] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    known: dict[int, str | None] = field(default_factory=dict)  # record → fields that its format tells from the message
    more: list[tuple[int, str]] = field(default_factory=list)  # number and text of a line
    stamps: dict[int, tuple[str | None, str | None]] = field(default_factory=dict)  # line → host and time of syslog


class _Reader:
    """Collects the records of a log; lines that start none are kept with the record before them."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.columns: dict[str, list[pa.Array]] = {name: [] for name in schema.names}
        self.lines = 0  # in the pieces before
        self.rows = 0  # records in them
        self.piece, self.others = _Piece(""), _Others()
        # Record → whether its format tells the fields from the message; its further lines.
        self.more: dict[int, tuple[bool, list[str]]] = {}
        self.foreign: set[int] = set()  # lines of klog and logrus
        self.last_known = False  # whether the format of the last record tells the fields from the message
        self.split: tuple[int, str, list[str]] | None = None  # first line, stream and parts of a line that goes on
        # What the last record has that has it, and that record's line.
        self.prefix: tuple[int, tuple[bool, ...]] = (0, ())  # which parts of PREFIX
        self.dated: tuple[int, str] = (0, "")  # its time

    def read(self, piece: _Piece, last: bool) -> None:
        self.piece, self.others = piece, _Others()
        # The common records are read all at once; everything else is looked at line by line.
        lines = piece.raw.take(pa.array(piece.others)).to_pylist()
        for number, line in self.joined((self.lines + 1 + piece.others).tolist(), lines, last):
            if line := line.rstrip():
                self.odd(number, line)
        self.append()
        end = self.lines + len(piece.ends) + 1
        self.dated, self.prefix = self.last_time(end), self.last_prefix(end)
        self.lines += piece.newlines

    def joined(self, numbers: list[int], lines: list[str], last: bool) -> Iterator[tuple[int, str]]:
        """Numbers and lines; those that a container runtime has split (``stdout P …``) are put together."""
        for number, line in zip(numbers, lines, strict=True):
            match = PREFIX.match(line) if self.split or "std" in line[:_MOST_PREFIX] else None
            stream = (match and match["stream"]) or ""
            if self.split and (number, stream[:6]) == (self.split[0] + len(self.split[2]), self.split[1]):
                self.split[2].append(line[cast("re.Match[str]", match).end() :].rstrip("\r\n"))
                if stream[7] == "F":
                    yield self.whole()
                continue
            if self.split:
                yield self.whole()
            if stream.endswith("P "):
                self.split = (number, stream[:6], [line.rstrip("\r\n")])
            else:
                yield number, line
        if self.split and last:
            yield self.whole()

    def whole(self) -> tuple[int, str]:
        """The line that was split, as far as it is there."""
        number, _, parts = cast("tuple[int, str, list[str]]", self.split)
        self.split = None
        return number, "".join(parts)

    def add(self, number: int, time: str | None, origin: _Origin, text: str) -> None:
        self.others.numbers.append(number)
        self.others.times.append(time)
        self.others.origins.append(origin)
        self.others.texts.append(text)
        if time:
            self.dated = (number, time)

    def add_known(self, number: int, time: str | None, origin: _Origin, text: str, fields: str | None = None) -> None:
        self.others.known[len(self.others.texts)] = fields or None
        self.add(number, time, origin, text)

    def odd(self, number: int, line: str) -> None:
        if self.start(number, line, None) or self.prefixed(number, line):
            return
        _, prefix = self.last_prefix(number)
        if prefix and (match := PREFIX.match(line)) and _parts(match) == prefix:
            line = line[match.end() :]
        if self.rows or self.others.texts or self.common_before(number):
            self.others.more.append((number, line))
        else:
            self.add_known(number, None, _NOWHERE, line)

    def prefixed(self, number: int, line: str) -> bool:
        match = PREFIX.match(line)
        if not match or not match.end() or not self.start(number, line[match.end() :], match["time"]):
            return False
        self.prefix = (number, _parts(match))
        if match["host"] or match["syslog"]:
            self.others.stamps[number] = match["host"], match["syslog"]
        return True

    def start(self, number: int, line: str, time: str | None) -> bool:
        """Add the record that a line starts; ``time`` is what stood before it."""
        time = time and time.replace("_", " ")
        if match := _RECORD.match(line):
            self.add(number, match[1], _origin(match[2]), match[3] or "")
        elif match := _KLOG.match(line):
            self.foreign.add(number)
            self.klog(number, match, time)
        elif match := _LOGRUS.match(line):
            self.foreign.add(number)
            origin = (match[2].upper(), None, None, None, None)
            self.add_known(number, match[1], origin, _unquoted(match[3]), match[4].lstrip())
        elif match := _BIRD.match(line):
            self.add_known(number, time, (None, None, match[1], None, None), match[2])
        elif _DROPPED.fullmatch(line):
            self.add_known(number, time, _NOWHERE, line)
        else:
            return False
        return True

    def klog(self, number: int, match: re.Match[str], stamp: str | None) -> None:
        """Add a klog line, whose year ``stamp`` tells, what stood before it, or the record before."""
        level, month, day, clock, pid, file, source, text = match.groups()
        _, before = self.last_time(number)
        before = stamp or before
        time = f"{int(before[:4]) + (before[5:7] > month)}-{month}-{day} {clock}" if before else None
        if not time:
            self.others.stamps[number] = None, f"{month}-{day} {clock}"
        quoted = _QUOTED.match(text)
        end = quoted.end() if quoted else len(text)
        origin = (_KLOG_LEVELS[level], pid, None, file, source)
        self.add_known(number, time, origin, _unquoted(text[:end]), text[end:].lstrip())

    def common_before(self, number: int) -> int:
        """How many common records of the piece stand before a line."""
        return int(np.searchsorted(self.piece.common, number - self.lines - 1))

    def last_time(self, number: int) -> tuple[int, str]:
        """Line and time (of which a day will do) of the last record before a line that has one."""
        if count := self.common_before(number):
            line = int(self.piece.common[count - 1])
            if self.lines + line + 1 > self.dated[0]:
                start = self.piece.starts[line]
                return self.lines + line + 1, self.piece.bytes[start : start + 10].tobytes().decode()
        return self.dated

    def last_prefix(self, number: int) -> tuple[int, tuple[bool, ...]]:
        """Line and parts of the prefix of the last record before a line that has one."""
        if count := int(np.searchsorted(self.piece.prefixed, number - self.lines - 1)):
            line = self.lines + int(self.piece.prefixed[count - 1]) + 1
            if line > self.prefix[0]:
                return line, tuple(self.piece.prefixes[count - 1].tolist())
        return self.prefix

    def append(self) -> None:
        """Put the piece's records into the columns, in the order of their lines."""
        others = self.others
        numbers = np.append(self.lines + 1 + self.piece.common, np.array(others.numbers, "i8"))
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        known = np.searchsorted(numbers, [others.numbers[index] for index in others.known])
        time, origin, texts = self.piece.records()
        if others.numbers:
            time = pa.concat_arrays([time, _timestamps(pa.array(others.times, pa.string()))]).take(pa.array(order))
            texts = pa.concat_arrays([texts, pa.array(others.texts, pa.string())]).take(pa.array(order))
        message, fields = _divided(texts, known, list(others.known.values()))
        columns = {"time": time, "message": message, "fields": fields, "line": pa.array(numbers)}
        if others.stamps:
            told = [others.stamps.get(number, (None, None)) for number in numbers.tolist()]
            columns |= {n: pa.array(v, pa.string()) for n, v in zip(_STAMPS, zip(*told, strict=True), strict=True)}
        append(self.columns, columns | _origins(origin, others.origins, order), len(numbers))
        self.add_more(numbers, set(known.tolist()))
        self.rows += len(numbers)

    def add_more(self, numbers: Numbers, known: set[int]) -> None:
        """Give further lines to the records above them, of which the first may be in a piece before."""
        for number, line in self.others.more:
            record = int(np.searchsorted(numbers, number)) - 1
            divided = self.last_known if record < 0 else record in known
            self.more.setdefault(self.rows + record, (divided, []))[1].append(line)
        if len(numbers):
            self.last_known = len(numbers) - 1 in known

    def frame(self) -> pd.DataFrame:
        """The columns put together, with what depends on further lines, which may be in a later piece."""
        first, owners = 0, np.array(list(self.more), "i8")
        for piece, lines in enumerate(self.columns["line"]):
            low, high = np.searchsorted(owners, [first, first + len(lines)])
            if low < high:
                self.lengthen(piece, owners[low:high], first)
            fields = self.columns["fields"][piece]
            self.columns["error"][piece] = _errors(fields)
            if self.schema is CNI:
                few = fields.dictionary_encode()  # the lines about a pod have the same fields
                for name, keys in _CNI_FIELDS.items():
                    self.columns[name][piece] = _values(few.dictionary, keys).take(few.indices)
                self.of_runtime(piece)
            first += len(lines)
        return frame(self.schema, self.columns)

    def of_runtime(self, piece: int) -> None:
        """Fill in pod, sandbox and error, which the kubelet's and a container runtime's lines tell in their own way."""
        mine = [int(i) for i in np.flatnonzero(np.isin(self.columns["line"][piece].to_numpy(), list(self.foreign)))]
        if not mine:
            return
        rows = pa.array(mine)
        said = [
            f"{message} {fields or ''}"
            for message, fields in zip(
                *(self.columns[name][piece].take(rows).to_pylist() for name in ("message", "fields")), strict=True
            )
        ]
        found = [_of_pod(text) for text in said]
        for name in ("container_id", "namespace", "pod", "error"):
            old = self.columns[name][piece].cast(pa.string()).take(rows).to_pylist()
            told = [row.get(name) or was for was, row in zip(old, found, strict=True)]
            self.columns[name][piece] = _replaced(self.columns[name][piece].cast(pa.string()), np.array(mine), told)

    def lengthen(self, piece: int, owners: Numbers, first: int) -> None:
        """Put their further lines into these records of a piece; a last line may have the fields."""
        message, fields = (self.columns[name][piece].take(pa.array(owners - first)) for name in ("message", "fields"))
        said, told = message.to_pylist(), fields.to_pylist()
        for index, owner in enumerate(owners.tolist()):
            divided, lines = self.more[owner]
            if told[index] is None and not divided and (last := _FIELD.search(lines[-1])):
                told[index] = lines[-1][last.start() + 1 :]
                lines[-1] = lines[-1][: last.start()]
            said[index] = "\n".join([said[index], *lines])
        for name, values in (("message", said), ("fields", told)):
            self.columns[name][piece] = _replaced(self.columns[name][piece], owners - first, values)


def _matches(lines: pa.Array, pattern: str) -> Numbers:
    found: Numbers = pc.match_substring_regex(lines, pattern).to_numpy(zero_copy_only=False)
    return found


def _replaced(array: pa.Array, rows: Numbers, values: list[str | None]) -> pa.Array:
    """The texts with others in these rows, which ascend."""
    mask = np.zeros(len(array), bool)
    mask[rows] = True
    return pc.replace_with_mask(array, pa.array(mask), pa.array(values, pa.string()))


def _timestamps(texts: pa.Array) -> pa.Array:
    """Times without zone; one that Arrow does not read makes it refuse all of them, and the slower way is taken."""
    try:
        return texts.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        return pa.array(times(texts.to_pylist()).dt.tz_localize(None))


def _divided(texts: pa.Array, known: Numbers, told: list[str | None]) -> tuple[pa.Array, pa.Array]:
    """The texts' messages and fields, divided at the first `` key=``; but of the known ones, the fields are told."""
    at = pc.find_substring_regex(texts, _FIELD.pattern).to_numpy().copy()
    other = pc.not_equal(pc.utf8_length(texts), pc.binary_length(texts))  # RE2's \w is ASCII's
    for number in np.flatnonzero(other.to_numpy(zero_copy_only=False)).tolist():
        text = texts[number].as_py()
        found = _FIELD.search(text)
        at[number] = len(text[: found.start()].encode()) if found else -1
    at[known] = -1
    message, fields = _cut(texts, at)
    return message, _replaced(fields, known, told) if told else fields


def _cut(texts: pa.Array, at: Numbers) -> tuple[pa.Array, pa.Array]:
    """What stands before and behind a blank of each text; where it is negative, all stands before it."""
    bounds, data = texts.buffers()[1:]
    offsets = np.frombuffer(bounds, "i4", len(texts) + 1) if bounds else np.zeros(1, "i4")
    starts, ends = offsets[:-1], offsets[1:]
    middle = np.where(at < 0, ends, starts + at)
    return slices(data, starts, middle), slices(data, np.minimum(middle + 1, ends), ends, at >= 0)


def _origins(common: pa.Array, others: list[_Origin], order: Numbers) -> dict[str, pa.Array]:
    """The columns of what stands between time and text."""
    process, place = _cut(common, pc.find_substring(common, " ").to_numpy())
    level, pid = _read_once(process, _PROCESS, [other[:2] for other in others], order)
    component, file, source = _read_once(place, _SOURCE_LINE, [other[2:] for other in others], order)
    source = pc.if_else(pc.equal(source, "<nil>"), pa.scalar(None, pa.string()), source)
    return {
        "level": level,
        "pid": pid.cast(pa.int64()),
        "component": component,
        "file": file,
        "line_number": source.cast(pa.int64()),
    }


def _read_once(texts: pa.Array, pattern: re.Pattern[str], others: list[_Origin], order: Numbers) -> list[pa.Array]:
    """The pattern's groups of texts, of which few differ, and those of others, in an order of them all."""
    encoded = texts.dictionary_encode()
    rows = [cast("re.Match[str]", pattern.match(text)).groups() for text in encoded.dictionary.to_pylist()]
    taken = pa.array(np.append(encoded.indices.to_numpy(), len(rows) + np.arange(len(others)))[order])
    groups = zip(*rows, *others, strict=True) if rows or others else [()] * pattern.groups
    return [pa.array(group, pa.string()).take(taken) for group in groups]


def _origin(text: str) -> _Origin:
    process, _, place = text.partition(" ")
    return (
        *cast("re.Match[str]", _PROCESS.match(process)).groups(),
        *cast("re.Match[str]", _SOURCE_LINE.match(place)).groups(),
    )


def _errors(fields: pa.Array) -> pa.Array:
    rows = np.flatnonzero(
        pc.fill_null(pc.match_substring_regex(fields, "error="), False).to_numpy(zero_copy_only=False)
    )
    if not len(rows):
        return pa.nulls(len(fields))
    return _replaced(
        pa.nulls(len(fields), pa.string()), rows, [_error(text) for text in fields.take(pa.array(rows)).to_pylist()]
    )


def _values(fields: pa.Array, keys: str) -> pa.Array:
    """The quoted value of the first of these keys (``A|B``)."""
    found = pc.extract_regex(fields, rf'(?:^| )(?:{keys})="(?P<value>[^"]*)"')
    return pc.struct_field(found, "value")


_POD_OF = (
    re.compile(r"Sandbox\w*\{Name:(?P<pod>[^,]{1,253}),Uid:[^,]{0,60},Namespace:(?P<namespace>[^,]{1,63}),"),
    re.compile(r'\bpods?=\\*"(?P<namespace>[a-z0-9-]{1,63})/(?P<pod>[a-z0-9.-]{1,253})\\*"'),
    re.compile(r'\\*"(?P<pod>[a-z0-9.-]{1,253})_(?P<namespace>[a-z0-9-]{1,63})(?:\([0-9a-f-]{1,40}\))?\\*"'),
)
_SANDBOX = re.compile(
    r'(?:sandbox(?: container)?|podSandboxID|[Cc]ontainerID|from) ?=?(?:\\*"|\{)?(?P<id>[0-9a-f]{64})'
)
_ERR = re.compile(r'\berr(?:or)?="((?:[^"\\]|\\.)*)"')


def _of_pod(text: str) -> dict[str, str]:
    """Pod, sandbox and error in a line of the kubelet or a container runtime."""
    pod = next((match.groupdict() for pattern in _POD_OF if (match := pattern.search(text))), {})
    sandbox, error = _SANDBOX.search(text), _ERR.search(text)
    told = {"container_id": sandbox["id"]} if sandbox else {}
    return {**pod, **told, **({"error": _unquoted(f'"{error[1]}"')} if error else {})}


def _parts(match: re.Match[str]) -> tuple[bool, ...]:
    return tuple(bool(group) for group in match.groups())


def _error(fields: str) -> str | None:
    match = _ERROR.search(fields)
    return _unquoted(match[1]) if match else None


def _unquoted(text: str) -> str:
    """A string as Go's %q prints it, in plain; other texts as they are."""
    return _GO_ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[1]), text[1:-1]) if _QUOTED.fullmatch(text) else text

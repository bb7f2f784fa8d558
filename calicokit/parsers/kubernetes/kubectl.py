"""What kubectl prints: ``get`` in any form, ``get events``, ``describe`` of pods and nodes, and ``top``.

Sources: recordings of kubectl 1.36; kubectl's pkg/describe/describe.go and pkg/metricsutil/metrics_printer.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.kubernetes import headless, objects
from calicokit.parsers.kubernetes.objects import Columns, text_of
from calicokit.schema import Column, Schema

_DESCRIBE = "recordings; kubectl's pkg/describe/describe.go"

GET = Schema(
    "kubectl_get",
    "objects listed by kubectl, one row each",
    (
        Column("kind", "str", "kind, such as Pod; null in printed tables"),
        Column("api_version", "str", "apiVersion; null in printed tables"),
        Column("namespace", "str", "namespace; null for objects without one, and where one namespace was listed"),
        Column("name", "str", "name"),
        Column("node", "str", "node of a pod"),
        Column("fields", "map", "other columns by their names in snake_case, or paths such as spec.nodeName"),
        Column("line", "int", "1-based line number in the text; null for YAML and JSON"),
    ),
    ("kind", "namespace", "name"),
    source="recordings of -o wide; JSON and YAML are what the API server answers",
)
EVENTS = Schema(
    "kubectl_events",
    "events",
    (
        Column("namespace", "str", "namespace; null where one namespace was listed"),
        Column("last_seen", "str", "time since last seen, as printed"),
        Column("age", "float", "time since last seen, in seconds", "s"),
        Column("type", "str", "Normal or Warning"),
        Column("reason", "str", "reason"),
        Column("kind", "str", "kind of the object it is about"),
        Column("name", "str", "name of the object it is about"),
        Column("message", "str", "message"),
        Column("source", "str", "reporting component (-o wide, YAML, JSON)"),
        Column("count", "int", "times seen (-o wide, YAML, JSON, kubectl events)"),
        Column("time", "time", "last seen (YAML, JSON)"),
    ),
    source="recordings; YAML and JSON are what the API server answers",
)
DESCRIBE = Schema(
    "kubectl_describe",
    "objects described by kubectl, one row each",
    (
        Column("kind", "str", "Pod or Node; of other objects the kind that is printed, or null"),
        Column("namespace", "str", "namespace; null for objects without one"),
        Column("name", "str", "name"),
        Column("node", "str", "node of a pod; for a node its name"),
        Column("node_ip", "str", "address of the pod's node"),
        Column("status", "str", "pod's phase, or Terminating …"),
        Column("reason", "str", "reason of the pod's phase"),
        Column("ip", "str", "pod's first address; node's internal one"),
        Column("ips", "list", "all addresses of the pod or node"),
        Column("start_time", "time", "start of the pod, or creation of the object"),
        Column("controlled_by", "str", "KIND/NAME of the owner"),
        Column("labels", "map", "labels"),
        Column("annotations", "map", "annotations"),
        Column("taints", "list", "taints of a node"),
        Column("pod_cidrs", "list", "pod networks of a node"),
        Column("fields", "map", "other fields, by name in snake_case, or path such as spec.calico_network.mtu"),
        Column("line", "int", "1-based number of its first line in the text"),
    ),
    ("kind", "namespace", "name"),
    source=_DESCRIBE,
)
_OBJECT = (
    Column("namespace", "str", "namespace of the object"),
    Column("name", "str", "name of the object"),
)
CONDITIONS = Schema(
    "conditions",
    "conditions of the described objects",
    (
        *_OBJECT,
        Column("type", "str", "condition"),
        Column("status", "str", "True, False or Unknown"),
        Column("last_heartbeat", "time", "last heartbeat of a node's condition"),
        Column("last_transition", "time", "last transition of a node's condition"),
        Column("reason", "str", "reason"),
        Column("message", "str", "message"),
    ),
    ("namespace", "name", "type"),
    source=_DESCRIBE,
)
CONTAINERS = Schema(
    "containers",
    "containers of the described pods",
    (
        Column("namespace", "str", "namespace of the pod"),
        Column("pod", "str", "pod"),
        Column("container", "str", "container"),
        Column("role", "str", "container, init or ephemeral"),
        Column("image", "str", "image"),
        Column("container_id", "str", "RUNTIME://ID"),
        Column("state", "str", "Running, Waiting or Terminated; null before it was created"),
        Column("reason", "str", "reason it is waiting or terminated"),
        Column("message", "str", "message of the waiting or terminated state"),
        Column("started", "time", "start time"),
        Column("exit_code", "int", "exit code, if terminated"),
        Column("last_state", "str", "state of its previous run"),
        Column("last_reason", "str", "reason its previous run terminated"),
        Column("last_exit_code", "int", "exit code of its previous run"),
        Column("ready", "bool", "ready"),
        Column("restarts", "int", "restarts"),
    ),
    ("namespace", "pod", "container"),
    source=_DESCRIBE,
)
DESCRIBED_EVENTS = Schema(
    "events",
    "events of the described objects",
    (
        *_OBJECT,
        Column("type", "str", "Normal or Warning"),
        Column("reason", "str", "reason"),
        Column("last_seen", "str", "age and count, as printed"),
        Column("age", "float", "time since last seen", "s"),
        Column("count", "int", "times seen"),
        Column("source", "str", "reporting component"),
        Column("message", "str", "message"),
    ),
    source=_DESCRIBE,
)
TOP = Schema(
    "kubectl_top",
    "CPU and memory usage of pods, containers or nodes; null where metrics-server has no value",
    (
        Column("namespace", "str", "namespace of a pod; null for nodes, and where one namespace was listed"),
        Column("name", "str", "pod or node"),
        Column("container", "str", "container (--containers)"),
        Column("cpu", "float", "CPU usage", "millicores"),
        Column("cpu_percent", "float", "share of the node's allocatable CPU", "%"),
        Column("memory", "float", "memory usage", "bytes"),
        Column("memory_percent", "float", "share of the node's allocatable memory", "%"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("namespace", "name", "container"),
    verified=False,
    source="kubectl's pkg/metricsutil/metrics_printer.go",
)


@parser(
    "kubectl-get",
    GET,
    marks=r"^(NAMESPACE\s+)?NAME\s+|apiVersion: |\"apiVersion\":|" + headless.MARKS,
    general=True,
)
def kubectl_get(text: Text) -> dict[str, pd.DataFrame]:
    """``kubectl get``: as a table (-o wide or none, with or without --all-namespaces), YAML or JSON.

    Rows of well-known tables are read without a header too, as ``| grep`` leaves them.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("kubectl-get", '''NAME      READY   STATUS    RESTARTS   AGE   IP             NODE
    ... cart-1    1/1     Running   0          83s   10.48.217.64   node-4''').frame.iloc[0]
    >>> row["name"], row["node"], row["fields"]["ip"]
    ('cart-1', 'node-4', '10.48.217.64')
    """
    found = objects.get(text, headless.row)
    for row in found:
        row["node"] = text_of(row["fields"].get("node") or row["fields"].get("spec.nodeName"))
    return {GET.name: GET.frame(found)}


_TIMES = re.compile(r"(\S+) \(x(\d{1,9}) over (\S+)\)")


def _seen(printed: str) -> dict[str, Any]:
    match = _TIMES.fullmatch(printed)
    age = match[1] if match else printed
    return {"last_seen": printed or None, "age": objects.seconds(age), "count": int(match[2]) if match else None}


def _event(cells: Mapping[str, str]) -> dict[str, Any]:
    kind, _, name = cells.get("object", "").partition("/")
    made = {k: text_of(cells.get(k)) for k in ("namespace", "type", "reason", "message", "source")}
    seen = _seen(cells.get("last_seen", ""))
    count = cells.get("count", "")
    seen["count"] = int(count) if count.isdecimal() and len(count) < 10 else seen["count"]
    return {**made, **seen, "kind": kind or None, "name": name or None}


def _api_event(item: Mapping[str, Any]) -> dict[str, Any]:
    fields = item["fields"]
    count = fields.get("count", fields.get("series.count"))
    times = ("series.lastObservedTime", "lastTimestamp", "eventTime", "firstTimestamp", "metadata.creationTimestamp")
    about = "involvedObject" if "involvedObject.kind" in fields else "regarding"
    source = fields.get("source.component") or fields.get("reportingComponent") or fields.get("reportingController")
    return {
        "namespace": item["namespace"],
        "type": text_of(fields.get("type")),
        "reason": text_of(fields.get("reason")),
        "kind": _lower(fields.get(f"{about}.kind")),
        "name": text_of(fields.get(f"{about}.name")),
        "message": text_of(fields.get("message", fields.get("note"))),
        "source": text_of(source),
        "count": count if isinstance(count, int) and abs(count) < 1 << 62 else None,
        "time": next((t for t in (_iso(fields.get(n)) for n in times) if t is not None), None),
    }


def _lower(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) and value else None


def _iso(value: Any) -> pd.Timestamp | None:
    return objects.time(value) if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value) else None


_LAST = r"(?P<last_seen>(?:(?:\d{1,9}[smhdy]){1,4}|<unknown>|<invalid>)(?:\s\(x\d+\sover\s\S+\))?)"
_TYPE = r"(?P<type>Normal|Warning)\s+(?P<reason>\w{1,80})"
_DESCRIBED = re.compile(rf"(?:[-*] {{1,4}})?{_TYPE}\s+{_LAST}\s+(?P<source>[^\s,]+(?:, ?\S+)?)(?:\s+(?P<message>.*))?")
_LISTED = re.compile(
    rf"(?:(?P<namespace>[a-z0-9][\w.-]{{0,252}})\s+)?{_LAST}\s+{_TYPE}\s+(?P<object>[\w.]{{1,80}}/\S{{1,253}})"
    r"(?:\s+(?P<message>.*))?"
)
_BEFORE = re.compile(  # as describe printed them before Kubernetes 1.9
    rf"(?:(?:\d{{1,9}}[smhdy]){{1,4}}|<invalid>)\s+{_LAST}\s+(?P<count>\d{{1,9}})\s+(?P<source>\S.{{0,200}}?)\s+"
    rf"(?:\S{{1,100}}\{{\S{{1,100}}\}}\s+)?{_TYPE}(?:\s+(?P<message>.*))?"
)
_DESCRIBED_HEAD = re.compile(
    r"(?:[-*] {1,4})?(?:Events:|Type\s+Reason\s+Age\s+From\s+Message|-{3,}(?:\s+-{3,}){3,8}"
    r"|FirstSeen\s+LastSeen\s+.{0,200})(?:\s+<none>)?"
)


class _Events:
    """Reads events line by line: rows below a header or without one, and what goes on with a message."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.rows: list[dict[str, Any]] = []
        self.columns: Columns | None = None

    def line(self, line: Line) -> None:
        if objects.is_header(line.text) and ("LAST SEEN" in line.text or self.columns is None):
            self.columns = Columns(line.text)
        elif _DESCRIBED_HEAD.fullmatch(line.text.strip()):
            self.columns = None
        elif (cells := self.cells(line.text)) is not None:
            self.rows.append(_event(cells))
        elif self.rows and len(re.split(r"\s{2,}", line.text.strip())) < 3:
            self.rows[-1]["message"] = f"{self.rows[-1]['message'] or ''}\n{line.text.strip()}".lstrip("\n")
        else:
            self.text.reject(
                line, "an event, below LAST SEEN, TYPE, REASON, OBJECT and MESSAGE, or as describe prints it"
            )

    def cells(self, line: str) -> Mapping[str, str] | None:
        if self.columns is not None and (found := self.columns.cells(line)) is not None and "object" in found:
            return found
        body = line.strip()
        match = _DESCRIBED.fullmatch(body) or _LISTED.fullmatch(body) or _BEFORE.fullmatch(body)
        return {name: text for name, text in match.groupdict().items() if text is not None} if match else None


@parser(
    "kubectl-events",
    EVENTS,
    marks=(
        r"^(NAMESPACE +)?LAST SEEN +TYPE|^[ \t]*FirstSeen[ \t]+LastSeen"
        r"|^[ \t]*Type[ \t]+Reason[ \t]+Age[ \t]+From[ \t]+Message"
        r"|^[ \t]*([-*] {1,4})?(Normal|Warning)[ \t]+\w+[ \t]+(\d+[smhdy]|<(unknown|invalid)>)"
        r"|^(\S+[ \t]+)?(\d+[smhdy]){1,4}[ \t]+(\(x.{1,40}\)[ \t]+)?(Normal|Warning)[ \t]+\w+[ \t]+\w+/\S"
    ),
)
def kubectl_events(text: Text) -> dict[str, pd.DataFrame]:
    """``kubectl get events`` or ``kubectl events``: a table (also -o wide), YAML or JSON; the events of ``describe``.

    Rows are read without their header too, and messages of several lines.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("kubectl-events", '''LAST SEEN   TYPE     REASON      OBJECT       MESSAGE
    ... 2m3s        Normal   Scheduled   pod/cart-1   Assigned shop/cart-1 to node-1''').frame.iloc[0]
    >>> float(row["age"]), row["kind"], row["name"], row["reason"]
    (123.0, 'pod', 'cart-1', 'Scheduled')
    """
    found = objects.documents(text)
    if found is not None:
        made = [_api_event(objects.described(o, len(text.text))) for o in found]
        return {EVENTS.name: EVENTS.frame(made)}
    events = _Events(text)
    for line in objects.lines(text):
        events.line(line)
    return {EVENTS.name: EVENTS.frame(events.rows)}


_KEY = re.compile(r"( *)([^\s:][^:]{0,80}):(?:\s+(.*))?")
_TOP_KEY = re.compile(r"([A-Z][A-Za-z0-9 _()/-]{0,60}):(?:\s+(.*))?")
_ROLES = {"Containers": "container", "Init Containers": "init", "Ephemeral Containers": "ephemeral"}
_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")
_CUSTOM = ("Metadata", "Spec", "Status")
"""Sections of an object that kubectl knows no more of than its fields (describe.go: GenericDescriber)."""
_LISTS = {"Labels": "labels", "Annotations": "annotations"}


def _time(text: str | None) -> pd.Timestamp | None:
    if not text or not _DATE.fullmatch(text):
        return None
    try:
        return pd.Timestamp(parsedate_to_datetime(text)).as_unit("ns").tz_convert("UTC")
    except (ValueError, OverflowError):
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _bool(text: str | None) -> bool | None:
    return {"True": True, "False": False}.get(text or "")


@dataclass
class _Described:
    """One object, as far as it was read."""

    line: int
    values: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    containers: list[dict[str, Any]] = field(default_factory=list)
    nested: dict[str, str] = field(default_factory=dict)  # of a custom resource: values by path

    def nest(self, path: str, value: str) -> str:
        """Keep a value; one of a list's further objects gets a number. Returns the path that it has."""
        free, number = path, 1
        while free in self.nested:
            free, number = f"{path}[{number}]", number + 1
        self.nested[free] = value
        return free

    def row(self) -> dict[str, Any]:
        value = {k: v for k, v in self.values.items() if v not in ("", "<none>")}
        node, _, node_ip = value.get("Node", "").partition("/")
        is_node = "Roles" in self.values or "System Info" in self.lists
        addresses = _addresses(self.lists.get("Addresses" if is_node else "IPs", []))
        used = {"Name", "Namespace", "Node", "Status", "Reason", "IP", "Start Time", "Controlled By", "Taints", "Kind"}
        return {
            "kind": "Node" if is_node else "Pod" if self.lists.keys() & _ROLES.keys() else value.get("Kind"),
            "namespace": value.get("Namespace"),
            "name": value.get("Name"),
            "node": value.get("Name") if is_node else node or None,
            "node_ip": node_ip or None,
            "status": value.get("Status"),
            "reason": value.get("Reason"),
            "ip": addresses[0] if is_node and addresses else value.get("IP"),
            "ips": addresses,
            "start_time": _time(value.get("Start Time") or value.get("CreationTimestamp")),
            "controlled_by": value.get("Controlled By"),
            "labels": _map(self.lists.get("Labels", []), "="),
            "annotations": _map(self.lists.get("Annotations", []), ":"),
            "taints": [t for t in self.lists.get("Taints", []) if t != "<none>"],
            "pod_cidrs": value.get("PodCIDRs", value.get("PodCIDR", "")).split(",") if "PodCIDR" in value else [],
            "fields": {
                **{objects.snake(k): v for k, v in self.values.items() if k not in used and k not in _LISTS and v},
                **self.nested,
            },
            "line": self.line,
        }


def _addresses(lines: list[str]) -> list[str]:
    """Addresses of a pod (IP: A) or node (InternalIP: A, not its names)."""
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for key, _, value in pairs if key.strip() in ("IP", "InternalIP", "ExternalIP")]


def _map(lines: list[str], sign: str) -> dict[str, str]:
    """Pairs of a label's or annotation's lines; lines without a key go on with the one before."""
    made: dict[str, list[str]] = {}
    last = ""
    for line in lines:
        key, found, value = line.partition(sign)
        if found and " " not in key:
            last = key
            made[key] = [value.strip()] if value.strip() else []
        elif last:
            made[last].append(line.strip())
    return {key: "\n".join(values) for key, values in made.items()}


@dataclass
class _Describe:
    """Reads ``kubectl describe``."""

    text: Text
    objects: list[_Described] = field(default_factory=list)
    conditions: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    section: str = ""
    columns: Columns | None = None
    path: list[tuple[int, str]] = field(default_factory=list)
    last: str = ""  # path of the custom resource's value that may go on
    deepest: int = 0  # indentation from which a line goes on with it
    fresh: dict[str, str] | None = None  # what was said of the last condition of a custom resource

    def line(self, line: Line) -> None:
        match = _TOP_KEY.fullmatch(line.text) if not line.text[0].isspace() else None
        if self.section == "Events" and self.columns and not (match and match[1] == "Name"):
            self.row(line)  # nothing follows the events of an object, whose messages may have a line at the margin
        elif match:
            self.top(line, match[1], (match[2] or "").strip())
        elif self.objects and line.text[0].isspace():
            self.inner(line)
        elif self.last:
            self.goes_on(line.text)
        else:
            self.text.reject(line, "a line of kubectl describe, which begins with Name:")

    def top(self, line: Line, key: str, value: str) -> None:
        """A line at the margin: a value, or a section's heading."""
        if key == "Name":
            self.objects.append(_Described(line.number))
        elif not self.objects:
            self.text.reject(line, "kubectl describe, which begins with Name:")
            return
        self.section, self.columns, self.path, self.last, self.fresh = key, None, [], "", None
        here = self.objects[-1]
        here.values.setdefault(key, value)
        here.lists.setdefault(key, [value] if value and value != "<none>" else [])

    def inner(self, line: Line) -> None:
        if self.section in ("Conditions", "Events"):
            self.row(line)
        elif self.section in _CUSTOM and "API Version" in self.objects[-1].values:
            self.custom(line.text)
        elif self.section in _ROLES:
            self.container(line.text)
        else:
            self.objects[-1].lists[self.section].append(line.text.strip())

    def row(self, line: Line) -> None:
        """A row of a section that is a table."""
        body = line.text.strip()
        if self.columns is None:
            self.columns = Columns(line.text)
        elif not set(body) <= {"-", " "}:
            cells = self.columns.cells(line.text)
            if cells is None:
                self.more(line)
            else:
                (self.condition if self.section == "Conditions" else self.event)(cells)

    def custom(self, text: str) -> None:
        """A line of a custom resource's metadata, spec or status: a value, a heading, or more of the value above."""
        depth = len(text) - len(text.lstrip())
        here = self.objects[-1]
        match = _KEY.fullmatch(text)
        if match is None or (self.last and depth > self.deepest):
            if self.last:
                self.goes_on(text)
            elif self.path:
                self.last = here.nest(self.place_in(depth), text.strip())
                self.deepest = depth - 1
            return
        self.path = [(d, k) for d, k in self.path if d < depth]
        self.path.append((depth, match[2]))
        value = (match[3] or "").strip()
        if self.section == "Status" and [k for _, k in self.path[:-1]] == ["Conditions"]:
            self.state(match[2], value)
        self.last = here.nest(self.place_in(depth + 1), value) if value else ""
        self.deepest = depth + len(match[2]) + 2 if value else 0

    def goes_on(self, text: str) -> None:
        """A further line of the custom resource's value above."""
        nested = self.objects[-1].nested
        nested[self.last] = f"{nested[self.last]}\n{text.strip()}"
        if self.fresh and [*self.fresh][-1] == "Message":
            self.conditions[-1]["message"] = nested[self.last]

    def place_in(self, depth: int) -> str:
        return ".".join(objects.snake(k) for k in (self.section, *(k for d, k in self.path if d < depth)))

    def state(self, key: str, value: str) -> None:
        """A value of a custom resource's condition; a key that was there begins the next one."""
        if self.fresh is None or key in self.fresh:
            self.fresh = {}
            self.conditions.append(self.place())
        self.fresh[key] = value
        if key in ("Type", "Status", "Reason", "Message"):
            self.conditions[-1][key.lower()] = text_of(value)
        elif key == "Last Transition Time":
            self.conditions[-1]["last_transition"] = objects.time(value)

    def more(self, line: Line) -> None:
        """A line that goes on with the message of an event or condition."""
        rows = self.conditions if self.section == "Conditions" else self.events
        if rows and (line.text[:1].isspace() or self.section == "Events"):
            rows[-1]["message"] = f"{rows[-1].get('message') or ''}\n{line.text.strip()}".strip()
        else:
            self.text.reject(line, "a row with a cell for each column of the header")

    def place(self) -> dict[str, Any]:
        values = self.objects[-1].values
        return {"namespace": text_of(values.get("Namespace")), "name": text_of(values.get("Name"))}

    def condition(self, cells: Mapping[str, str]) -> None:
        made = {k: text_of(cells.get(k)) for k in ("type", "status", "reason", "message")}
        times = {
            "last_heartbeat": _time(cells.get("lastheartbeattime")),
            "last_transition": _time(cells.get("lasttransitiontime")),
        }
        self.conditions.append({**self.place(), **made, **times})

    def event(self, cells: Mapping[str, str]) -> None:
        made = {k: text_of(cells.get(k)) for k in ("type", "reason", "message")}
        self.events.append(
            {**self.place(), **made, **_seen(cells.get("age", "")), "source": text_of(cells.get("from"))}
        )

    def container(self, text: str) -> None:
        """A line below Containers: a container's name, or one of its values."""
        depth = len(text) - len(text.lstrip())
        here = self.objects[-1]
        if depth <= 2 and text.rstrip().endswith(":"):
            place = self.place()
            made = {"namespace": place["namespace"], "pod": place["name"], "role": _ROLES[self.section]}
            here.containers.append({**made, "container": text.strip()[:-1]})
            self.path = []
        elif here.containers and (match := _KEY.fullmatch(text)):
            self.path = [(d, k) for d, k in self.path if d < depth]
            parent = self.path[-1][1] if self.path else ""
            self.path.append((depth, match[2]))
            if reads := _CONTAINER.get((parent, match[2])):
                column, read = reads
                here.containers[-1].setdefault(column, read(match[3]))


_CONTAINER: dict[tuple[str, str], tuple[str, Callable[[str | None], Any]]] = {
    ("", "Image"): ("image", text_of),
    ("", "Container ID"): ("container_id", text_of),
    ("", "State"): ("state", text_of),
    ("State", "Reason"): ("reason", text_of),
    ("State", "Message"): ("message", text_of),
    ("State", "Started"): ("started", _time),
    ("State", "Exit Code"): ("exit_code", _whole),
    ("", "Last State"): ("last_state", text_of),
    ("Last State", "Reason"): ("last_reason", text_of),
    ("Last State", "Exit Code"): ("last_exit_code", _whole),
    ("", "Ready"): ("ready", _bool),
    ("", "Restart Count"): ("restarts", _whole),
}


@parser(
    "kubectl-describe",
    DESCRIBE,
    CONDITIONS,
    CONTAINERS,
    DESCRIBED_EVENTS,
    marks=r"^Name: +\S+$(?s:.{0,4000})^(Labels|Annotations|Namespace|Priority): ",
)
def kubectl_describe(text: Text) -> dict[str, pd.DataFrame]:
    """``kubectl describe``: one row for each object; ``conditions``, ``containers`` and ``events`` besides.

    Of custom resources, such as TigeraStatus and Installation, the fields are kept by their paths.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> parsed = parse("kubectl-describe", '''Name:             calico-node-4r2kt
    ... Namespace:        kube-system
    ... Node:             node-1/172.30.0.11
    ... Containers:
    ...   calico-node:
    ...     State:          Waiting
    ...       Reason:       CrashLoopBackOff
    ...     Ready:          False
    ...     Restart Count:  5''')
    >>> row = parsed.tables["containers"].iloc[0]
    >>> parsed.frame["node"][0], row["container"], row["reason"], int(row["restarts"])
    ('node-1', 'calico-node', 'CrashLoopBackOff', 5)
    """
    describe = _Describe(text)
    for line in objects.lines(text):
        describe.line(line)
    return {
        DESCRIBE.name: DESCRIBE.frame([o.row() for o in describe.objects]),
        CONDITIONS.name: CONDITIONS.frame(describe.conditions),
        CONTAINERS.name: CONTAINERS.frame([c for o in describe.objects for c in o.containers]),
        DESCRIBED_EVENTS.name: DESCRIBED_EVENTS.frame(describe.events),
    }


_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([numkKMGTPE]i?)?")
_FACTORS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_FACTORS |= {f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", 1)}


def _quantity(text: str | None) -> float | None:
    """A Kubernetes quantity as a number.

    >>> _quantity("250m"), _quantity("64Mi"), _quantity("<unknown>")
    (0.25, 67108864.0, None)
    """
    match = _QUANTITY.fullmatch(text or "")
    if not match or (match[2] and match[2] not in _FACTORS):
        return None
    return float(match[1]) * _FACTORS.get(match[2] or "", 1.0)


def _used(cells: Mapping[str, str]) -> dict[str, Any]:
    cpu = _quantity(cells.get("cpu_cores"))
    return {
        "namespace": text_of(cells.get("namespace")),
        "name": text_of(cells.get("pod") if "pod" in cells else cells.get("name")),
        "container": text_of(cells.get("name")) if "pod" in cells else None,
        "cpu": None if cpu is None else cpu * 1000,
        "cpu_percent": _quantity(cells.get("cpu", "").rstrip("%")),
        "memory": _quantity(cells.get("memory_bytes")),
        "memory_percent": _quantity(cells.get("memory", "").rstrip("%")),
    }


@parser("kubectl-top", TOP, marks=r"^(NAMESPACE +)?(POD +)?NAME +CPU\(cores\)")
def kubectl_top(text: Text) -> dict[str, pd.DataFrame]:
    """``kubectl top pods`` (also --containers, --all-namespaces) and ``kubectl top nodes``.

    Source: kubectl's metrics_printer.go; seen in no recording.

    >>> from calicokit.parsers.base import parse
    >>> parse("kubectl-top", '''NAME     CPU(cores)   CPU(%)   MEMORY(bytes)   MEMORY(%)
    ... node-1   250m         12%      900Mi           45%''').frame[["cpu", "memory_percent"]].values.tolist()
    [[250.0, 45.0]]
    """
    rows = []
    for line, cells in objects.table(text):
        made = {**_used(cells), "line": line.number}
        bad = [c for c in ("cpu_cores", "memory_bytes") if _quantity(cells.get(c)) is None and text_of(cells.get(c))]
        if bad or "cpu_cores" not in cells:
            text.reject(line, "a row of kubectl top with quantities below CPU(cores) and MEMORY(bytes)")
        else:
            rows.append(made)
    return {TOP.name: TOP.frame(rows)}

"""A Prometheus server as a source of samples: it has watched Felix, Typha and kube-controllers for days.

:class:`PrometheusServer` asks its HTTP API (``query``, ``query_range``, ``metadata``), which only reads.
:class:`Watched` is a source like any other: it answers the series of scrapes from the server, and all else from the
source it is given, so that the same tables, checks and notebooks work on it. Source: Prometheus' documentation, HTTP
API, v2.42.
"""

from __future__ import annotations

import io
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from calicokit.evidence.catalog import CATALOG, Metrics
from calicokit.evidence.live.limits import ALL_BYTES, ALL_SECONDS, ANSWER_BYTES, ANSWER_SECONDS, Allowance, SpentError
from calicokit.evidence.model import Answer, Evidence, Missing, SourceError, Want, Wrapping
from calicokit.evidence.recordings.recording import PODS

TIMEOUT = 30.0
PIECE = 64 << 10
NAMES = {
    "felix-metrics": "(felix|wireguard|process)_.+",
    "typha-metrics": "(typha|process)_.+",
    "kube-controllers-metrics": "(ipam|process)_.+",
}
"""Of each component's metrics only these are asked for: the rest are Go's inner life and the others' zeros."""

RAW = timedelta(hours=1)
POINTS = 240
"""Up to an hour every sample is read; of a longer time so many points, which ``query_range`` chooses."""

WORDS = {"felix": "felix-metrics", "calico-node": "felix-metrics", "typha": "typha-metrics"}
WORDS |= {"kube-controllers": "kube-controllers-metrics", "kube_controllers": "kube-controllers-metrics"}
"""What the labels of a target on a port of its own may say of what it is."""


class _Series(msgspec.Struct):
    """One series of an answer; its points are decoded in bulk."""

    metric: dict[str, str]
    value: msgspec.Raw = msgspec.Raw(b"")
    values: msgspec.Raw = msgspec.Raw(b"")


class _Data(msgspec.Struct):
    result: list[_Series]


class _Answer(msgspec.Struct):
    data: _Data


@dataclass
class Points:
    """One series of an answer: its labels, with the name under ``__name__``, times in seconds, and values."""

    labels: dict[str, str]
    times: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass
class PrometheusServer:
    """The HTTP API of a Prometheus (or Thanos, Mimir, VictoriaMetrics) at ``url``, read only.

    ``headers`` are sent with each request, such as ``Authorization``. Everything raises :class:`SourceError` with one
    sentence if the server does not answer, not in time, or with an error.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = TIMEOUT
    allowance: Allowance | None = field(default=None, init=False, repr=False)
    """What all answers to what is asked for at once may be and take."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise SourceError(f"{self.url!r} is no address of a Prometheus server: it begins with http:// or https://.")

    def get(self, path: str, **query: str) -> bytes:
        """The answer to a GET of the API."""
        url = f"{self.url.rstrip('/')}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers=dict(self.headers))  # noqa: S310 (http or https, see above)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
                pieces = iter(partial(answer.read1, PIECE), b"")
                return Allowance(ANSWER_BYTES, ANSWER_SECONDS, self.allowance).take(pieces)
        except SpentError as error:
            raise SourceError(f"The Prometheus server {self.url} answers {path} without an end: {error}.") from error
        except urllib.error.HTTPError as error:
            raise SourceError(f"The Prometheus server {self.url} rejected {path}: {_said(error)}.") from error
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise SourceError(f"The Prometheus server {self.url} does not answer: {why}.") from error

    def query(self, expression: str, at: datetime | None = None) -> list[Points]:
        """The expression's value at a time (now if none is given): series of one point, or of all in ``x[5m]``."""
        return self._series("query", query=expression, **({"time": _seconds(at)} if at else {}))

    def query_range(self, expression: str, since: datetime, until: datetime, step: float) -> list[Points]:
        """The expression's values from one time to another, every ``step`` seconds."""
        return self._series(
            "query_range", query=expression, start=_seconds(since), end=_seconds(until), step=f"{step:g}"
        )

    def _series(self, path: str, **query: str) -> list[Points]:
        text = self.get(path, **query)
        try:
            answer = msgspec.json.decode(text, type=_Answer)
        except msgspec.MsgspecError as error:
            raise SourceError(f"The Prometheus server {self.url} answers with no series: {error}.") from error
        return [Points(s.metric, *_points(bytes(s.values) or b"[" + bytes(s.value) + b"]")) for s in answer.data.result]

    def types(self) -> dict[str, tuple[str, str]]:
        """Type and HELP of each family, as far as the server keeps them."""
        try:
            found = msgspec.json.decode(self.get("metadata"))["data"]
        except (SourceError, msgspec.MsgspecError, KeyError, TypeError):
            return {}
        return {name: (rows[0].get("type", "unknown"), rows[0].get("help", "")) for name, rows in found.items() if rows}


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(msgspec.json.decode(error.read())["error"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        return f"{error.code} {error.reason}"


def _seconds(time: datetime) -> str:
    return f"{time.timestamp():.3f}"


def _points(text: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and values of ``[[time,"value"],…]``, all at once."""
    import pyarrow.csv as csv

    flat = text.translate(bytes.maketrans(b"]", b"\n"), b'[" ').replace(b"\n,", b"\n").strip()
    if not flat:
        return np.empty(0), np.empty(0)
    if b"Inf" in flat:
        flat = flat.replace(b"+Inf", b"inf").replace(b"-Inf", b"-inf")
    read = csv.read_csv(
        io.BytesIO(flat),
        csv.ReadOptions(column_names=["time", "value"], use_threads=False),
        convert_options=csv.ConvertOptions(column_types={"time": "float64", "value": "float64"}, null_values=["NaN"]),
    )
    return read["time"].to_numpy(), read["value"].to_numpy()


@dataclass(frozen=True)
class Target:
    """What the server scrapes: the labels it gives the target, and which component it is, of which node or pod."""

    labels: dict[str, str]
    id: str  # the row of the catalog

    def selector(self, names: str) -> str:
        """What selects the target's own series of the metrics whose names match."""
        chosen = [f"{k}={_quoted(v)}" for k, v in self.labels.items()]
        return "{" + ",".join([f"__name__=~{_quoted(names)}", *chosen]) + "}"

    @property
    def pod(self) -> str:
        return next((self.labels[n] for n in ("pod", "pod_name", "kubernetes_pod_name") if n in self.labels), "")


def target_of(labels: dict[str, str]) -> Target | None:
    """Which component a target is, by its port, else by what its labels say; None for what is none of Calico's.

    >>> target_of({"instance": "10.0.0.1:9091", "job": "nodes"}).id
    'felix-metrics'
    """
    ports = {str(i.how.port): i.id for i in CATALOG.values() if isinstance(i.how, Metrics)}
    words = [v for k, v in labels.items() if k != "instance"]
    said = next((id_ for word, id_ in WORDS.items() if any(word in w for w in words)), "")
    port = labels.get("instance", "").rpartition(":")[2]
    found = ports.get(port, "") if said in ("", ports.get(port)) else said
    return Target({k: v for k, v in labels.items() if k != "__name__"}, found) if found else None


@dataclass
class Targets:
    """What of Calico the server scraped between two times: each target once, whatever jobs scrape it.

    A node is told by Felix's own metric ``felix_host``, else by the target's label node.
    """

    server: PrometheusServer
    since: datetime
    until: datetime

    @property
    def window(self) -> int:
        """The time in whole seconds, for a range selector."""
        return max(1, round((self.until - self.since).total_seconds()))

    @cached_property
    def _all(self) -> list[Target]:
        seen = self.server.query(f"last_over_time(up[{self.window}s])", self.until)
        found = [t for s in seen if (t := target_of(s.labels))]
        return list({(t.id, self._who(t)): t for t in reversed(found)}.values())[::-1]

    def _who(self, target: Target) -> str:
        """What two jobs that scrape the same target have in common: the node of a Felix, else the pod."""
        one = self.node(target) if target.id == "felix-metrics" else target.pod
        return one or str(sorted(target.labels.items()))

    @cached_property
    def _hosts(self) -> list[dict[str, str]]:
        return [s.labels for s in self.server.query(f"last_over_time(felix_host[{self.window}s])", self.until)]

    def of(self, id: str) -> list[Target]:  # noqa: A002
        """The targets of one row of the catalog."""
        return [t for t in self._all if t.id == id]

    def node(self, target: Target) -> str | None:
        """The node whose Felix the target is."""
        own = target.labels.items()
        hosts = (h.get("exported_host", h.get("host")) for h in self._hosts if own <= h.items())
        return next(hosts, target.labels.get("node"))


@dataclass
class Watched(Wrapping):
    """A source whose series of scrapes come from a Prometheus server, and all else from another source.

    ``since`` to ``until`` (now if none is given) is what is read of it. Pods of Typha and kube-controllers are told by
    the target's label pod, as Kubernetes' discovery gives it.
    """

    server: PrometheusServer
    since: datetime
    until: datetime = field(default_factory=lambda: datetime.now(UTC))
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"{self.source.name}, watched by {self.server.url}"
        self._targets = Targets(self.server, self.since, self.until)

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        """Those of the other source, then the series, which are bounded in sum."""
        series = [w for w in wants if self.gives(w)]
        yield from self.source.fetch([w for w in wants if not self.gives(w)])
        self.server.allowance = Allowance(ALL_BYTES, ALL_SECONDS, of=" of all answers")
        yield from ((w, answer) for w in series for answer in self.given(w))

    def gives(self, want: Want) -> bool:
        """Whether it is a series of a scrape."""
        return want.series and want.id in NAMES

    def given(self, want: Want) -> Iterator[Answer]:
        """One text with times for each target."""
        try:
            answers: list[Answer] = [self._evidence(want, t) for t in self._wanted(want)]
        except SourceError as error:
            answers = [Missing(want.id, str(error), want.node)]
        why = f"the Prometheus server {self.server.url} scrapes none of it"
        yield from answers or [Missing(want.id, why, want.node)]

    def _wanted(self, want: Want) -> list[Target]:
        return [t for t in self._targets.of(want.id) if want.node is None or want.node == self._targets.node(t)]

    @cached_property
    def _types(self) -> dict[str, tuple[str, str]]:
        return self.server.types()

    def _evidence(self, want: Want, target: Target) -> Evidence:
        selector, window = target.selector(NAMES[target.id]), self._targets.window
        if self.until - self.since <= RAW:
            command = f"query {selector}[{window}s]"
            found = self.server.query(f"{selector}[{window}s]", self.until)
        else:
            command = f"query_range {selector}"
            found = self.server.query_range(selector, self.since, self.until, window / POINTS)
        file = f"{target.pod or target.labels.get('instance', '')}/{CATALOG[want.id].file}"
        path = f"{PODS}{file}" if want.node is None and target.pod else file
        text = exposition(found, target.labels, self._types)
        return Evidence(want, text, path=path, command=f"{self.server.url}: {command}", time=self.until)


def exposition(series: list[Points], target: Mapping[str, str], types: Mapping[str, tuple[str, str]]) -> bytes:
    """The series as the target printed them, in Prometheus' text format, each sample with its time in milliseconds."""
    lines = [f"# TYPE {name} {kind}\n" for name, (kind, _) in types.items() if kind != "unknown"]
    for one in series:
        own = {_own(k, target): v for k, v in one.labels.items() if k != "__name__" and target.get(k) != v}
        labels = ",".join(f"{k}={_quoted(own[k])}" for k in sorted(own, key=lambda k: (k in ("quantile", "le"), k)))
        head = f"{one.labels['__name__']}{{{labels}}} " if labels else f"{one.labels['__name__']} "
        stamps = np.rint(one.times * 1000).astype(np.int64).tolist()
        lines += [f"{head}{value} {stamp}\n" for value, stamp in zip(one.values.tolist(), stamps, strict=True)]
    return "".join(lines).encode()


def _own(label: str, target: Mapping[str, str]) -> str:
    """A metric's label that the target has too was renamed by the server."""
    plain = label.removeprefix("exported_")
    return plain if plain in target else label


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

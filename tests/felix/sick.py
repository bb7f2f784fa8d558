"""Recordings in which a Felix, a Typha or a way to the API server is broken: Calico's own words, at a made time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from calicokit.diagnosis.model import Finding
from calicokit.evidence.model import Answer, Evidence, Want
from tests.edited import Edited
from tests.only import only

REFUSED = (
    'calico/node is not ready: felix is not ready: Get "http://localhost:9099/readiness": '
    "dial tcp 127.0.0.1:9099: connect: connection refused\n"
)
BAD = "calico/node is not ready: felix is not ready: readiness probe reporting 503\n"
SILENT = (
    'calico/node is not ready: felix is not ready: Get "http://localhost:9099/readiness": context deadline exceeded\n'
)
PID = re.compile(r"^20\S+ \S+ \[[A-Z]+\]\[(\d+)\]", re.M)


@dataclass
class Sick(Edited):
    """An incident with some answers replaced altogether: exit status and text, by id and node."""

    answers: dict[tuple[str, str | None], tuple[int, str]] = field(default_factory=dict)
    later: timedelta = timedelta()

    def now(self) -> datetime:
        now = super().now()
        assert now is not None
        return now + self.later

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        for want, answer in super().fetch(wants):
            told = None if want.series else self.answers.get((want.id, want.node))
            if told is not None and isinstance(answer, Evidence):
                yield want, replace(answer, exit=told[0], text=told[1].encode())
            else:
                yield want, answer

    def answering(self, node: str, exit_: int, text: str, metrics: bool = False) -> Sick:
        """What the node's Felix answers on its health port; its metrics too are silent unless said otherwise."""
        self.answers["felix-ready", node] = (exit_, text)
        if not metrics:
            self.answers["felix-metrics", node] = (7, "")
        return self

    def at(self, ago: float) -> str:
        """A time so many seconds before the state was recorded, as logs print it."""
        return f"{self.now() - timedelta(seconds=ago):%Y-%m-%d %H:%M:%S.%f}"[:-3]

    def said(self, log: str, node: str | None, *lines: tuple[float, str], pid: int | None = None) -> Sick:
        """Append to a log: how many seconds ago, and ``LEVEL component/file.go LINE: message``.

        It is the process of the lines before that says it, unless another is given.
        """

        def more(text: str) -> str:
            same = pid or int(PID.findall(text)[-1])
            split = ((self.at(ago), *line.partition(" ")) for ago, line in lines)
            return text + "".join(f"{at} [{level}][{same}] {rest}\n" for at, level, _, rest in split)

        self.edit(log, node, more)
        return self

    def cut(self, log: str, node: str, ago: float) -> Sick:
        """Take out what the log has of the last seconds."""
        until = self.at(ago)
        self.edit(log, node, lambda text: "".join(ln for ln in text.splitlines(keepends=True) if ln[:23] < until))
        return self

    def ids(self) -> list[tuple[str, str]]:
        """What is found from warning up, each with what explains it."""
        return [(f.id, f.explained_by) for f in self.loud()]

    def one(self, id_: str) -> Finding:
        (found,) = (f for f in only(self.cluster(), id_) if f.severity != "info")
        return found


START = 'INFO felix/daemon.go 133: Felix starting up GOMAXPROCS=2 builddate="" gitcommit="" version=""'
UP = "INFO felix/int_dataplane.go 2585: Completed first update to dataplane. secsSinceStart=0.59"
TERM = 'WARNING felix/daemon.go 847: Felix is shutting down reason="Received OS signal terminated"'
EXIT = 'FATAL felix/daemon.go 929: Exiting immediately reason="Received OS signal terminated"'
CONFIG = (
    'WARNING felix/daemon.go 847: Felix is shutting down reason="config changed"',
    'INFO felix/daemon.go 902: Sleeping to avoid tight restart loop. reason="config changed"',
    "FATAL felix/daemon.go 938: Exiting for config change rc=129",
)
LOOPS = (
    "INFO felix/int_dataplane.go 2580: Summarising 85 dataplane reconciliation loops over 1m20.1s: avg=19ms "
    "longest=223ms (resync-filter-v4)"
)
API = "https://172.30.0.1:6443"


def list_fails(error: str) -> str:
    return (
        "INFO felix/watchercache.go 274: Failed to perform list of current data during resync "
        f'ListRoot=".../v3/pc.org/nodes" cacheID=3 error=Get "{API}/api/v1/nodes?limit=500&resourceVersion=0": {error}'
    )


def watch_fails(error: str) -> str:
    return (
        'WARNING felix/watchercache.go 392: Failed to create watcher; will retry. ListRoot=".../v3/pc.org/tiers" '
        f'error=Get "{API}/apis/crd.projectcalico.org/v1/tiers?allowWatchBookmarks=true&watch=true": {error} '
        "errorsWithoutProgress=2 performFullResync=false"
    )


def typha_fails(address: str, error: str) -> list[str]:
    return [
        f"WARNING felix/sync_client.go 239: Failed to connect to typha endpoint {address}.  Will try another if "
        "available... "
        f'error={error} myID=0x29fcf39c00000001 type=""',
        "ERROR felix/daemon.go 581: Failed to connect to Typha. error=failed to connect to Typha after 6 tries",
    ]

"""What the e2e tests share: the kit on the test cluster, and the same recording less what no live cluster can have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from calicokit.cluster import Cluster
from calicokit.evidence.catalog import CATALOG, Admin, Command
from calicokit.evidence.live.cluster import LiveCluster
from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want
from calicokit.evidence.recordings.recording import Recording
from tests.clusters import Sharing
from tests.e2e.image import as_in_the_image
from tests.e2e.lab import TestCluster


@dataclass
class AsLive(Source):
    """A recording without its series and what an administrator ran, and in the words of calico-node's image."""

    recording: Recording
    name: str = "as-live"

    def nodes(self) -> Sequence[str]:
        return self.recording.nodes()

    def now(self) -> datetime | None:
        return self.recording.now()

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        asked = [w for w in wants if not w.series and not isinstance(CATALOG[w.id].how, Admin)]
        for want, answer in self.recording.fetch(asked):
            own = isinstance(answer, Evidence) and isinstance(CATALOG[want.id].how, Command)
            yield want, as_in_the_image(answer)[1] if isinstance(answer, Evidence) and own else answer
        yield from ((w, Missing(w.id, "not live", w.node)) for w in wants if w not in asked)


def live_source(e2e: TestCluster, context: str = "e2e-reader", at: datetime | None = None) -> LiveCluster:
    """The test cluster as a source, at the time of a recording where the age of things counts."""
    source = LiveCluster(context, str(e2e.kubeconfig))
    source.server.time = at
    return source


def connected(e2e: TestCluster, context: str = "e2e-reader", at: datetime | None = None) -> Cluster:
    """The kit on it."""
    return Sharing(live_source(e2e, context, at))


def run(
    e2e: TestCluster, *words: str | Path, limit: float = 120, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command line, with the test cluster's kubeconfig."""
    command = [sys.executable, "-m", "calicokit", *map(str, words)]
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "KUBECONFIG": str(e2e.kubeconfig), "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, timeout=limit, env=env, cwd=cwd)

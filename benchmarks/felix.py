"""A day of 5-second scrapes of 100 nodes, read from a real Prometheus server and drawn.

``python -m benchmarks.felix [--nodes N] [--hours H]``. The scrapes are generated from the real series of the recording
felix-churn: its counters go on for a day, each node at its own pace, and are reset once. A server (Debian's package
prometheus) holds them in blocks that promtool makes; that is prepared and not measured. Of each Felix only what
``felix.timeline`` needs is kept while reading (prometheus_range.py): other metrics are not asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from calicokit.cluster import open as open_source
from calicokit.evidence.live.prometheus_server import PrometheusServer
from calicokit.evidence.model import SourceError
from calicokit.felix.metrics.figures import heat, small_multiples
from calicokit.felix.metrics.performance import MOMENTS
from calicokit.felix.metrics.prometheus_range import KEPT, long_timeline

INCIDENT, EVERY = "felix-churn", 5


def counters() -> list[tuple[str, str, np.ndarray]]:
    """Name, labels and growth from sample to sample of each kept counter of node-1, as it was recorded."""
    samples = open_source(f"incident:{INCIDENT}").felix.samples()
    own = samples[samples["series"] & samples["own"] & (samples["node"] == "node-1") & samples["metric"].isin(KEPT)]
    return [
        (str(metric), str(labels), np.diff(part.sort_values("time")["value"].to_numpy()))
        for (metric, labels), part in own.groupby(["metric", "labels"], observed=True)
    ]


def write(file: Path, nodes: int, start: int, count: int) -> int:
    """All samples as OpenMetrics, which promtool reads; how many there are."""
    stamps = [f" {start + EVERY * i}\n" for i in range(count)]
    chance, written = np.random.default_rng(1), 0
    with file.open("w", encoding="utf-8") as out:
        families: dict[str, list[tuple[str, np.ndarray]]] = {}
        for metric, labels, grown in counters():
            families.setdefault(metric, []).append((labels, grown))
        for name in ("up", "felix_host"):
            out.write(f"# TYPE {name} gauge\n")
            for node in range(nodes):
                host = f',host="node-{node}"' if name == "felix_host" else ""
                head = f'{name}{{instance="10.0.0.{node}:9091",job="felix"{host}}} 1'
                out.writelines(head + s for s in stamps[:: 3600 // EVERY] + stamps[-1:])
        for metric, series in families.items():
            out.write(f"# TYPE {metric} unknown\n")
            for node in range(nodes):
                pace, reset = 0.3 + 1.5 * chance.random(), int(chance.integers(count))
                for labels, grown in series:
                    steps = np.resize(np.roll(grown, node), count) * pace
                    values = np.cumsum(np.round(steps, 3))
                    values[reset:] -= values[reset]
                    head = f'{metric}{{instance="10.0.0.{node}:9091",job="felix"{"," if labels else ""}{labels}}} '
                    texts = np.char.mod("%.10g", values).tolist()
                    out.writelines(head + v + s for v, s in zip(texts, stamps, strict=True))
                    written += count
        out.write("# EOF\n")
    return written


@contextlib.contextmanager
def server(folder: Path) -> Iterator[PrometheusServer]:
    """A Prometheus server on the blocks of the folder."""
    (folder / "prometheus.yml").write_text("")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 (our own words)
            [_program("prometheus"), *options, f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    found_server = PrometheusServer(f"http://127.0.0.1:{port}", timeout=120)
    try:
        for _ in range(300):
            with contextlib.suppress(SourceError):
                found_server.query("vector(1)")
                break
            time.sleep(0.2)
        yield found_server
    finally:
        process.terminate()
        process.wait(timeout=30)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"{name} is not installed: apt-get install prometheus")
    return found


def main() -> None:
    """Prepare, read, draw; print seconds and the peak of memory."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--nodes", type=int, default=100)
    arguments.add_argument("--hours", type=float, default=24)
    given = arguments.parse_args()
    until = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    since = until - timedelta(hours=given.hours)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        count = int(given.hours * 3600 / EVERY)
        written = write(folder / "day.om", given.nodes, int(since.timestamp()), count)
        size = (folder / "day.om").stat().st_size
        blocks = [_program("promtool"), "tsdb", "create-blocks-from", "--max-block-duration=24h", "openmetrics"]
        subprocess.run([*blocks, "day.om", "data"], cwd=folder, check=True, capture_output=True)  # noqa: S603
        (folder / "day.om").unlink()
        print(f"prepared {written:,} samples, {size / 1e9:.1f} GB of text, in {time.perf_counter() - began:.0f} s")
        with server(folder) as prometheus:
            began = time.perf_counter()
            timeline = long_timeline(prometheus, since, until)
            read = time.perf_counter() - began
            moments = MOMENTS.frame()
            for figure in (heat(timeline), heat(timeline, "apply time"), small_multiples(timeline, moments)):
                figure.to_json()
            drawn = time.perf_counter() - began
    nodes, steps = timeline["node"].nunique(), timeline["time"].nunique()
    grown = timeline[timeline["measure"] == "ipset lines"]["value"]
    assert nodes == given.nodes, nodes
    assert pd.notna(grown).all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{written:,} samples of {nodes} nodes in {steps} steps: read in {read:.1f} s, drawn after {drawn:.1f} s")
    print(f"peak {peak:.0f} MiB, with what preparing took")


if __name__ == "__main__":
    main()

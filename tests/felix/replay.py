"""A real Prometheus server on loopback that scrapes a replayed exporter: scrapes one after the other, with their times.

Debian's package ``prometheus``; where it is missing, tests that need it are skipped, unless CALICOKIT_E2E=require.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from calicokit.evidence.live.prometheus_server import PrometheusServer
from calicokit.evidence.model import SourceError

Scrape = tuple[datetime, str]


def stamped(text: str, at: datetime) -> str:
    """The page with a time on each sample, which Prometheus takes instead of its own."""
    stamp = f" {round(at.timestamp() * 1000)}"
    return "".join(f"{line}\n" if line.startswith("#") or not line else f"{line}{stamp}\n" for line in text.split("\n"))


def shifted(scrapes: list[Scrape], end: datetime) -> list[Scrape]:
    """The same scrapes, the last of them at ``end``: Prometheus takes none from a far past or future."""
    move = end - scrapes[-1][0]
    return [(at + move, text) for at, text in scrapes]


class Exporter:
    """Serves at ``/NAME`` that target's scrapes, the next one at each request, and the last one ever after."""

    def __init__(self, targets: dict[str, list[Scrape]]) -> None:
        served = dict.fromkeys(targets, 0)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                scrapes = targets[name]
                at, text = scrapes[min(served[name], len(scrapes) - 1)]
                served[name] += 1
                body = stamped(text, at).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._served, self._targets = served, targets
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def done(self) -> bool:
        return all(self._served[n] > len(s) for n, s in self._targets.items())

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _config(exporter: Exporter, targets: dict[str, dict[str, str]]) -> str:
    jobs = []
    for name, labels in targets.items():
        given = "".join(f"\n          {k}: {v!r}" for k, v in labels.items())
        jobs.append(
            f"  - job_name: {name}\n    metrics_path: /{name}\n    static_configs:\n"
            f"      - targets: ['{exporter.address}']\n        labels:{given or ' {}'}"
        )
    return "global:\n  scrape_interval: 150ms\n  scrape_timeout: 150ms\nscrape_configs:\n" + "\n".join(jobs) + "\n"


@contextmanager
def prometheus(
    folder: Path, scrapes: dict[str, list[Scrape]], labels: dict[str, dict[str, str]]
) -> Iterator[PrometheusServer]:
    """A server that has scraped all of these; ``labels`` are what its configuration gives each target."""
    program = shutil.which("prometheus")
    if program is None:
        assert os.environ.get("CALICOKIT_E2E") != "require", "the package prometheus is not installed"
        pytest.skip("no Prometheus server: the package prometheus is not installed")
    exporter = Exporter(scrapes)
    (folder / "prometheus.yml").write_text(_config(exporter, {n: labels.get(n, {}) for n in scrapes}))
    port = _free_port()
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, *options], cwd=folder, stdout=log, stderr=log)
    server = PrometheusServer(f"http://127.0.0.1:{port}")
    try:
        _until(lambda: exporter.done, process, folder)
        _until(lambda: _answers(server), process, folder)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)
        exporter.close()


def _answers(server: PrometheusServer) -> bool:
    try:
        return bool(server.query("up"))
    except SourceError:
        return False


def _until(done: object, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(600):
        if done():  # type: ignore[operator]
            return
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    raise AssertionError("the Prometheus server did not scrape all in a minute:\n" + (folder / "log").read_text())


def soon() -> datetime:
    """A time just now, on a whole second."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)

"""Answers without an end, in bytes or in time: each is cut, and told so; so is their sum, of a node and of all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from calicokit.evidence.live import api, execute, parallel, prometheus_server
from calicokit.evidence.live import cluster as live
from calicokit.evidence.live.api import ApiError, CutError, Server
from calicokit.evidence.live.limits import MIB, Allowance, SpentError
from calicokit.evidence.live.prometheus_server import PrometheusServer
from calicokit.evidence.model import Answer, Evidence, Missing, SourceError, Want
from tests.evidence.test_api import Scripted, connected, kubeconfig, page, web  # noqa: F401 (fixtures)
from tests.evidence.test_past_logs import FELIX, Live, node_pod

ZEROS = gzip.compress(bytes(64 * MIB))
ALL = " of all answers"


def dripping(first: bytes = b"", pause: float = 0.02) -> Iterator[bytes]:
    yield first
    for _ in itertools.repeat(None):
        time.sleep(pause)
        yield b"drip"


# ---- one answer


def test_a_packed_answer_is_counted_as_it_is_unpacked(web: Scripted, connected: Server) -> None:  # noqa: F811
    assert len(ZEROS) < MIB
    web.script = lambda path, query: (200, {"Content-Encoding": "gzip"}, ZEROS)
    with pytest.raises(CutError, match="stopped after 4 MiB") as cut:
        connected.get("/x", allowance=Allowance(4 * MIB, 60))
    assert 2 * MIB < len(cut.value.came) <= 4 * MIB
    assert connected.get("/x") == bytes(64 * MIB)


def test_a_list_that_is_too_long_is_none(
    web: Scripted,  # noqa: F811
    connected: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    web.script = lambda path, query: (200, {}, page(["a"] * 500, "next"))
    monkeypatch.setattr(api, "LIST_BYTES", MIB)
    with pytest.raises(ApiError, match="stopped after 1 MiB of this list"):
        connected.list("/api/v1/pods")
    with pytest.raises(ApiError, match="stopped after 1000 bytes of all answers"):
        connected.list("/api/v1/pods", within=Allowance(1000, 60, of=ALL))


@pytest.mark.parametrize(
    ("headers", "first"),
    [
        ({}, b"#"),
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b\x08\x08" + bytes(6)),  # the name of a file, which never ends
    ],
)
def test_an_answer_that_drips_ends(
    web: Scripted,  # noqa: F811
    connected: Server,  # noqa: F811
    headers: dict[str, str],
    first: bytes,
) -> None:
    web.script = lambda path, query: (200, headers, dripping(first))
    with pytest.raises(CutError, match=r"no end within 0.3 s") as cut:
        connected.get("/x/metrics", allowance=Allowance(MIB, 0.3))
    assert bool(cut.value.came) == (not headers)


def test_no_encoding_is_read_that_was_not_asked_for(web: Scripted, connected: Server) -> None:  # noqa: F811
    web.script = lambda path, query: (200, {"Content-Encoding": "gzip, gzip"}, gzip.compress(ZEROS))
    with pytest.raises(ApiError, match="not asked for"):
        connected.get("/x")


def test_an_answer_that_breaks_off_is_asked_for_again(web: Scripted, connected: Server) -> None:  # noqa: F811
    answers = [
        (200, {"Content-Length": "100"}, iter([b"some"])),
        (200, {"Content-Encoding": "gzip"}, iter([gzip.compress(b"whole")[:-4]])),
        (200, {}, b"whole"),
    ]
    web.script = lambda path, query: answers.pop(0)
    assert connected.get("/x") == b"whole"
    broken = (200, {"Content-Length": "100"}, b"some")
    web.script = lambda path, query: (*broken[:2], iter([broken[2]]))
    with pytest.raises(ApiError, match="IncompleteRead"):
        connected.get("/x")


def test_a_busy_server_gets_no_hours_and_nothing_of_its_excuse_is_read(
    web: Scripted,  # noqa: F811
    connected: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    busy = [dripping(pause=0)]
    monkeypatch.setattr(time, "sleep", waited.append)
    web.script = lambda path, query: (503, {"Retry-After": "86400"}, busy.pop()) if busy else (200, {}, b"here")
    assert connected.get("/x") == b"here"
    assert api.LONGEST_PAUSE in waited
    assert max(waited) == api.LONGEST_PAUSE


# ---- a node, and all


def cut(came: bytes) -> CutError:
    return CutError(SpentError("stopped after 64 MiB", came))


def test_of_a_log_that_is_cut_what_came_is_kept_and_a_scrape_is_a_hole() -> None:
    cluster = Live(node_pod(), b"")
    cluster.server.get.side_effect = cut(FELIX)
    cluster._configured = {}
    log, scrape = cluster.ask("felix-log", "felix-metrics")
    assert isinstance(log, Evidence)
    assert (log.text, log.partial) == (FELIX, "the log is cut: stopped after 64 MiB")
    assert isinstance(scrape, Missing)
    assert "stopped after 64 MiB" in scrape.why


def test_a_node_that_answered_too_much_is_not_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Live(node_pod(), b"")

    def answers(*_: Any, allowance: Allowance, **__: Any) -> bytes:
        try:
            return allowance.take([b"x" * (699 - len(FELIX)), b"\n", FELIX])
        except SpentError as error:
            raise CutError(error) from None

    cluster.server.get.side_effect = answers
    cluster._configured = {}
    monkeypatch.setattr(live, "NODE_BYTES", 1000)
    log, scrape, *others = cluster.ask("felix-log", "felix-metrics", "ip-rule", "ip-neigh")
    assert isinstance(log, Evidence)
    why = "stopped after 1000 bytes of this node's answers"
    assert [a.why for a in others if isinstance(a, Missing)] == [f"not queried: {why}"] * 2
    assert isinstance(scrape, Missing)


def test_what_one_spends_all_spend() -> None:
    whole = Allowance(100, 60, of=ALL)
    one, other = Allowance(80, 60, whole), Allowance(80, 60, whole)
    one.spend(60)
    with pytest.raises(SpentError, match="stopped after 100 bytes of all answers"):
        other.spend(60)
    with pytest.raises(SpentError, match=r"stopped after 80 bytes$"):
        one.spend(60)


class Hanging(Live):
    """A cluster of which one job gives an answer and one hangs in something that nothing can end."""

    live_for = threading.Event()

    def _jobs(self, wants: Iterable[Want]) -> Iterator[parallel.Job[tuple[Want, Answer]]]:
        first, *_ = wants
        yield lambda stop: iter([(first, Missing(first.id, "refused"))])
        yield lambda stop: iter([self.live_for.wait(60)][:0])  # type: ignore[arg-type]

    _opened = True  # type: ignore[assignment]


def test_all_ends_whatever_a_job_hangs_in_and_each_want_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ALL_SECONDS", 0.3)
    try:
        found = dict(Hanging(node_pod(), b"").fetch([Want("pods"), Want("nodes")]))
    finally:
        Hanging.live_for.set()
    whys = [a.why for a in found.values() if isinstance(a, Missing)]
    assert whys == ["refused", "no answer within 0.3 s of all answers"]


# ---- a Prometheus server


@pytest.mark.parametrize(
    ("body", "limit", "why"),
    [
        (lambda: dripping(), ("ANSWER_SECONDS", 0.3), "no end within 0.3 s"),
        (lambda: iter([bytes(2 * MIB)]), ("ANSWER_BYTES", MIB), "stopped after 1 MiB"),
    ],
)
def test_a_prometheus_server_that_does_not_end_is_left(
    web: Scripted,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    body: Any,
    limit: tuple[str, float],
    why: str,
) -> None:
    monkeypatch.setattr(prometheus_server, *limit)
    web.script = lambda path, query: (200, {}, body())
    server = PrometheusServer(f"http://127.0.0.1:{web.server_address[1]}")
    with pytest.raises(SourceError, match=why):
        server.get("query", query="up")


# ---- a command


class Talking:
    """A websocket server that says one thing to whoever connects, piece by piece, until nobody listens."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces, self.listener = pieces, socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def _serve(self) -> None:
        with self.listener.accept()[0] as talk:
            asked = talk.recv(1 << 16).decode()
            key = next(line.split(": ")[1] for line in asked.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
            accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
            head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            head += f"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\nSec-WebSocket-Accept: {accept.decode()}\r\n\r\n"
            talk.sendall(head.encode())
            try:
                for piece in self.pieces:
                    talk.sendall(piece)
            except OSError:
                return


ENDLESS = b"\x82\x7f" + (1 << 40).to_bytes(8, "big") + b"\x01"
"""The head of a frame of a tebibyte for standard output."""

PART = b"\x02\x7e" + (1 << 15).to_bytes(2, "big") + bytes(1 << 15)
"""A frame that others go on with: these have no end either."""


@pytest.mark.parametrize(
    ("pieces", "stopped", "why"),
    [
        (lambda: itertools.chain([ENDLESS], itertools.repeat(bytes(1 << 16))), False, "stopped after 2 MiB"),
        (lambda: itertools.chain([PART], itertools.repeat(b"\x00" + PART[1:])), False, "stopped after 2 MiB"),
        (lambda: dripping(ENDLESS), False, "no end within 0.4 s"),
        (lambda: dripping(ENDLESS), True, "stopped"),
    ],
)
def test_a_command_whose_connection_floods_or_drips_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: Any, stopped: bool, why: str
) -> None:
    monkeypatch.setattr(execute, "COMMAND_BYTES", 2 * MIB)
    server = Server("here", str(kubeconfig(tmp_path, f"http://127.0.0.1:{Talking(pieces()).port}")))
    stop = threading.Event()
    if stopped:
        stop.set()
    limit = 0.4 if "0.4" in why else 30
    ran = execute.execute(server, ("ns", "pod"), "c", ["date"], limit, stop)
    assert (ran.failed, ran.exit) == (why, None)
    assert len(ran.stdout) <= 2 * MIB


def test_a_command_spends_what_its_node_may(tmp_path: Path) -> None:
    talk = Talking(itertools.chain([ENDLESS], itertools.repeat(bytes(1 << 16))))
    server = Server("here", str(kubeconfig(tmp_path, f"http://127.0.0.1:{talk.port}")))
    within = Allowance(MIB, 60, of=" of this node's answers")
    ran = execute.execute(server, ("ns", "pod"), "c", ["date"], 30, MagicMock(is_set=lambda: False), within)
    assert ran.failed == "stopped after 1 MiB of this node's answers"

"""One command in a container, over a websocket of its own.

``kubernetes.stream`` swaps its client's ``call_api`` while a command runs, so that parallel commands would need a
client each; here the websocket is opened by the library that it stands on, with a time limit and one TLS context. The
protocol is ``v5.channel.k8s.io`` or ``v4``: the first byte of a message is the channel, and the message of channel 3 is
the status (source: k8s.io/kubelet/pkg/cri/streaming/remotecommand).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from calicokit.evidence.live.api import ApiError, Server

STDOUT, STDERR, STATUS = b"\x01", b"\x02", b"\x03"
PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
MOST_BYTES = 256 << 20
"""A command that prints more than this is stopped; a full table of routes of a big node is a tenth of it."""


@dataclass
class Ran:
    """What a command printed, its exit status, and why there is none or why the output is not whole."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    exit: int | None = None
    failed: str = ""

    @property
    def absent(self) -> bool:
        """Whether the container has no such program (as containerd and CRI-O, or ``timeout``, say it)."""
        said = self.failed + self.stderr[:500].decode("utf-8", "replace")
        return self.exit in (None, 126, 127) and any(
            words in said for words in ("executable file not found", "no such file or directory", "No such file or")
        )


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] = []


class _Status(msgspec.Struct):
    status: str = ""
    message: str = ""
    reason: str = ""
    details: _Details | None = None


_DECODE = msgspec.json.Decoder(_Status).decode


def execute(
    server: Server, pod: tuple[str, str], container: str, argv: Sequence[str], limit: float, stop: threading.Event
) -> Ran:
    """Run a command in a pod (namespace, name) and read what it prints, for at most ``limit`` seconds.

    Raises :class:`ApiError` if it could not be started for a reason that the API server gives.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", word) for word in argv)]
    url = server.url(f"/api/v1/namespaces/{pod[0]}/pods/{pod[1]}/exec", query)
    ran, end = Ran(), time.monotonic() + limit
    socket = _connected(server, "ws" + url.removeprefix("http"), limit)
    try:
        while not _take(socket, ran):
            if stop.is_set():
                ran.failed = "stopped"
            elif time.monotonic() > end:
                ran.failed = f"no end within {limit:g} s"
            elif len(ran.stdout) + len(ran.stderr) > MOST_BYTES:
                ran.failed = f"stopped after {MOST_BYTES >> 20} MiB"
            if ran.failed:
                break
    finally:
        socket.close(timeout=0)
    return ran


def _connected(server: Server, url: str, limit: float) -> Any:
    import websocket
    from kubernetes.stream.ws_client import websocket_proxycare

    socket: Any = websocket.WebSocket(sslopt=_tls(server), skip_utf8_validation=True)
    headers = server.headers()
    try:
        options = websocket_proxycare({}, server.configuration, url, headers)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        socket.connect(url, timeout=limit, header=lines, subprotocols=PROTOCOLS, **options)
    except websocket.WebSocketBadStatusException as error:
        body = error.resp_body or b""
        raise ApiError(error.status_code, _message(body) or f"HTTP {error.status_code}") from error
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise ApiError(0, str(error)) from error
    socket.settimeout(min(limit, 0.5))
    return socket


def _tls(server: Server) -> dict[str, Any]:
    name = server.configuration.tls_server_name
    return {"context": server.tls, **({"server_hostname": name} if name else {})}


def _take(socket: Any, ran: Ran) -> bool:
    """Take one message; whether it was the last."""
    import websocket

    try:
        code, data = socket.recv_data()
    except websocket.WebSocketTimeoutException:
        return False
    except (websocket.WebSocketException, OSError) as error:
        if ran.exit is None and not ran.failed:
            ran.failed = f"the connection broke off ({error})"
        return True
    if code == websocket.ABNF.OPCODE_CLOSE:
        ran.failed = ran.failed or "the connection was closed before the command's status came"
        return True
    channel, rest = data[:1], data[1:]
    if channel == STDOUT:
        ran.stdout += rest
    elif channel == STDERR:
        ran.stderr += rest
    elif channel == STATUS:
        _end(ran, rest)
        return True
    return False


def _end(ran: Ran, text: bytes) -> None:
    try:
        status = _DECODE(text)
    except msgspec.DecodeError:
        ran.failed = text.decode("utf-8", "replace")
        return
    if status.status == "Success":
        ran.exit = 0
        return
    codes = [c.message for c in (status.details.causes if status.details else []) if c.reason == "ExitCode"]
    if codes and codes[0].isdigit():
        ran.exit = int(codes[0])
    else:
        ran.failed = status.message or "the container runtime gave no reason"


def _message(body: bytes) -> str:
    try:
        return _DECODE(body).message
    except msgspec.DecodeError:
        return body[:200].decode("utf-8", "replace").strip()

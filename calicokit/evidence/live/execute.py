"""One command in a container, over a websocket of its own.

``kubernetes.stream`` swaps its client's ``call_api`` while a command runs, so that parallel commands would need a
client each; here the websocket is opened by the library that it stands on, with a time limit and one TLS context. The
protocol is ``v5.channel.k8s.io`` or ``v4``: the first byte of a message is the channel, and the message of channel 3 is
the status (source: k8s.io/kubelet/pkg/cri/streaming/remotecommand).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import websocket

from calicokit.evidence.live.api import ApiError, Server
from calicokit.evidence.live.limits import COMMAND_BYTES, Allowance, SpentError

STDOUT, STDERR, STATUS = b"\x01", b"\x02", b"\x03"
PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
POLL = 0.5
"""Seconds after which a silent connection is looked at: whether to stop, and whether time is up."""


ABSENT = ("executable file not found", "no such file or directory", "No such file or", "command not found")


@dataclass
class Ran:
    """What a command printed, its exit status, and why there is none or why the output is not whole."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    exit: int | None = None
    failed: str = ""

    @property
    def absent(self) -> bool:
        """Whether the container has no such program (as containerd and CRI-O, ``timeout`` or bash say it)."""
        said = self.failed + self.stderr[:500].decode("utf-8", "replace")
        return self.exit in (None, 126, 127) and any(words in said for words in ABSENT)


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


class _Watched(websocket.WebSocket):
    """A websocket of which every byte is counted, as one frame may be of any length and never end."""

    def __init__(self, allowance: Allowance, stop: threading.Event, **options: Any) -> None:
        super().__init__(**options)
        self._allowance, self._stop = allowance, stop

    def _recv(self, bufsize: int) -> bytes:
        """The next bytes, whenever they come. Raises :class:`SpentError` where they were to have come."""
        while True:
            if self._stop.is_set():
                raise SpentError("stopped")
            try:
                found: bytes = super()._recv(bufsize)  # type: ignore[no-untyped-call]
            except websocket.WebSocketTimeoutException:
                found = b""
            self._allowance.spend(len(found))
            if found:
                return found


def execute(
    server: Server,
    pod: tuple[str, str],
    container: str,
    argv: Sequence[str],
    limit: float,
    stop: threading.Event,
    within: Allowance | None = None,
) -> Ran:
    """Run a command in a pod (namespace, name) and read what it prints, for at most ``limit`` seconds.

    ``failed`` says it where it prints too much, or takes too long, by itself or for what all may take (``within``).
    Raises :class:`ApiError` if it could not be started for a reason that the API server gives.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", word) for word in argv)]
    url = server.url(f"/api/v1/namespaces/{pod[0]}/pods/{pod[1]}/exec", query)
    ran = Ran()
    socket = _Watched(Allowance(COMMAND_BYTES, limit, within), stop, sslopt=_tls(server), skip_utf8_validation=True)
    _connect(socket, server, "ws" + url.removeprefix("http"), limit)
    try:
        while not _take(socket, ran):
            pass
    except SpentError as error:
        ran.failed = str(error)
    finally:
        socket.close(timeout=0)
    return ran


def _connect(socket: Any, server: Server, url: str, limit: float) -> None:
    from kubernetes.stream.ws_client import websocket_proxycare

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
    socket.settimeout(min(limit, POLL))


def _tls(server: Server) -> dict[str, Any]:
    name = server.configuration.tls_server_name
    return {"context": server.tls, **({"server_hostname": name} if name else {})}


def _take(socket: Any, ran: Ran) -> bool:
    """Take one message; whether it was the last."""
    try:
        code, data = socket.recv_data()
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

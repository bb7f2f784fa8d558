"""Lists over HTTP: pages, expiry, politeness, refusals; against a small server on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from calicokit.evidence.live import api
from calicokit.evidence.live.api import ApiError, Server
from calicokit.evidence.model import SourceError

Answer = tuple[int, dict[str, str], Any]


class Scripted(ThreadingHTTPServer):
    """Answers requests by a script: a function of the path and the query."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.script: Any = None


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, query))
        status, headers, body = self.server.script(parts.path, query)
        if isinstance(body, Iterator):
            self._stream(status, headers, body)
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, status: int, headers: dict[str, str], pieces: Iterator[bytes]) -> None:
        """A body that may never end: until nobody reads it any more."""
        self.close_connection = True
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            for piece in pieces:
                self.wfile.write(piece)

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def web() -> Iterator[Scripted]:
    server = Scripted()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def connected(web: Scripted, tmp_path: Path) -> Server:
    return Server("here", str(kubeconfig(tmp_path, f"http://127.0.0.1:{web.server_address[1]}")))


def kubeconfig(folder: Path, url: str, user: dict[str, Any] | None = None) -> Path:
    path = folder / "config"
    about = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(about))
    return path


def page(names: list[str], token: str = "", revision: str = "7") -> dict[str, Any]:
    items = [{"metadata": {"name": n, "managedFields": [{"manager": "x"}]}} for n in names]
    return {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": revision, "continue": token},
        "items": items,
    }


def test_pages_become_one_list_without_managed_fields(web: Scripted, connected: Server) -> None:
    web.script = lambda path, query: (200, {}, page(["c"]) if "continue" in query else page(["a", "b"], "next"))
    listed = connected.list("/api/v1/pods", [("fieldSelector", "x=y")])
    document = json.loads(listed.text)
    assert [i["metadata"]["name"] for i in document["items"]] == ["a", "b", "c"]
    assert document["metadata"]["resourceVersion"] == "7"
    assert b"managedFields" not in listed.text
    assert listed.count == 3
    assert [q.get("continue") for _, q in web.asked] == [None, "next"]
    assert all(q["fieldSelector"] == "x=y" and q["limit"] == "500" for _, q in web.asked)


def test_an_expired_list_is_read_whole(web: Scripted, connected: Server) -> None:
    def script(path: str, query: dict[str, str]) -> Answer:
        if "continue" in query:
            return 410, {}, {"kind": "Status", "message": "The provided continue parameter is too old"}
        return 200, {}, page(["a", "b", "c"]) if "limit" not in query else page(["a"], "next")

    web.script = script
    assert connected.list("/api/v1/pods").count == 3


def test_a_busy_server_is_asked_again_when_it_says(
    web: Scripted, connected: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, waited = [429, 503], []
    monkeypatch.setattr(time, "sleep", waited.append)

    def script(path: str, query: dict[str, str]) -> Answer:
        return (busy.pop(), {"Retry-After": "1"}, {}) if busy else (200, {}, page(["a"]))

    web.script = script
    assert connected.list("/api/v1/pods").count == 1
    assert waited == [1, 1]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, {"kind": "Status", "message": 'pods is forbidden: User "u" cannot list'}, "forbidden"),
        (401, {"kind": "Status", "message": "Unauthorized"}, "credentials are missing or have expired"),
        (404, b"page not found", "page not found"),
        (500, b"", "HTTP 500"),
    ],
)
def test_a_refusal_is_its_reason(web: Scripted, connected: Server, status: int, body: Any, said: str) -> None:
    web.script = lambda path, query: (status, {}, body)
    with pytest.raises(ApiError, match=said) as refused:
        connected.list("/api/v1/pods")
    assert refused.value.status == status


def test_what_is_no_list_is_a_reason(web: Scripted, connected: Server) -> None:
    web.script = lambda path, query: (200, {}, b"<html>login</html>")
    with pytest.raises(ApiError, match="no list"):
        connected.list("/api/v1/pods")


def test_a_server_that_starts_is_waited_for_and_a_refusal_is_not(
    web: Scripted, connected: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAUSES", (0.01,) * 5)
    refusals = 5

    def script(path: str, query: dict[str, str]) -> Answer:
        nonlocal refusals
        refusals -= 1
        return (403, {}, {"message": "forbidden"}) if refusals > 0 else (200, {}, page(["a"]))

    web.script = lambda path, query: (200, {}, {})
    connected.greet()
    web.script = script
    assert connected.list("/api/v1/pods").count == 1
    web.script = lambda path, query: (200, {}, {}) if path == "/version" else (403, {}, {"message": "forbidden"})
    web.asked.clear()
    with pytest.raises(ApiError):
        connected.list("/api/v1/pods")
    assert [p for p, _ in web.asked] == ["/api/v1/pods", "/version", "/api/v1/pods"], "asked once more, no oftener"


def test_a_login_plugin_is_run_and_its_failure_said(
    web: Scripted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "secret"},
    }
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "echo",
        "args": [json.dumps(credential)],
        "interactiveMode": "Never",
    }
    url = f"http://127.0.0.1:{web.server_address[1]}"
    server = Server("here", str(kubeconfig(tmp_path, url, {"exec": plugin})))
    assert server.headers()["authorization"] == "Bearer secret"
    server = Server("here", str(kubeconfig(tmp_path, url, {"exec": {**plugin, "command": "no-such-plugin"}})))
    assert "authorization" not in server.headers()
    assert "no-such-plugin" in caplog.text, "the kubernetes package says it"


def test_several_kubeconfigs_and_an_unknown_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = kubeconfig(tmp_path / "a", "http://127.0.0.1:1"), tmp_path / "b" / "config"
    second.write_text(first.read_text().replace("here", "there").replace("127.0.0.1:1", "127.0.0.1:2"))
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
    assert Server("there").configuration.host.startswith("http://127.0.0.1:")
    with pytest.raises(SourceError, match="contexts are here, there"):
        Server("nowhere")


def test_inside_a_pod_its_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import incluster_config

    (tmp_path / "token").write_text("pod-token")
    (tmp_path / "ca.crt").write_text("x")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    with pytest.raises(SourceError, match="service account"):
        Server(in_cluster=True)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    server = Server(in_cluster=True)
    assert server.configuration.host == "https://10.96.0.1:443"
    assert server.headers()["authorization"].lower() == "bearer pod-token"


def test_a_proxy_of_the_kubeconfig_is_used(web: Scripted, tmp_path: Path) -> None:
    """A proxy for plain HTTP is asked with the whole address, so that the scripted server can play it."""
    path = kubeconfig(tmp_path, "http://cluster.invalid:6443")
    about = yaml.safe_load(path.read_text())
    about["clusters"][0]["cluster"]["proxy-url"] = f"http://127.0.0.1:{web.server_address[1]}"
    path.write_text(yaml.safe_dump(about))
    web.script = lambda path, query: (200, {}, page(["a"]))
    assert Server("here", str(path)).list("/api/v1/pods").count == 1
    assert web.asked[0][0].endswith("/api/v1/pods")

"""A connection to a Kubernetes API server: lists, logs and proxied pages as bytes, and commands in containers.

The ``kubernetes`` package reads the configuration, logs in and gives the connection; its typed models, which cost 20 to
30 times the decoding, are not used. Nothing here writes to the cluster: all requests are GETs.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
import urllib3

from calicokit.evidence.live.limits import (
    ANSWER_BYTES,
    ANSWER_SECONDS,
    LIST_BYTES,
    LIST_SECONDS,
    MIB,
    Allowance,
    SpentError,
)
from calicokit.evidence.model import SourceError

Query = Sequence[tuple[str, str]]
T = TypeVar("T")

PAGE = 500
"""Objects in one page of a list, as client-go has it."""

CONNECTIONS = 64
AWAY = (0, 429, 502, 503)
CUT = -1
PAUSES = (0.5, 1, 2, 4, 8)
"""Seconds before a request is made again: an API server restarts in about ten."""

TIMEOUT = 30.0
"""Seconds until the next bytes of an answer must be there."""

BROKEN = 2
"""How often an answer that breaks off is asked for again."""

LONGEST_PAUSE = 20.0
"""Seconds that a busy server is given at most, whatever it asks for."""

PIECE = 64 << 10


class ApiError(Exception):
    """The API server refused a request or could not be reached; ``status`` is 0 for the latter."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class CutError(ApiError):
    """An answer that was too long, or took too long; ``came`` is what came of it."""

    def __init__(self, error: SpentError) -> None:
        super().__init__(CUT, str(error))
        self.came = error.came


class _Patience(urllib3.Retry):
    """Waits as the server asks, but not for hours, and does not read the rest of an answer that it throws away."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        *error_and_pool: Any,
        **more: Any,
    ) -> _Patience:
        if response is not None:
            response.close()
        return super().increment(method, url, response, *error_and_pool, **more)

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, LONGEST_PAUSE)


class _Status(msgspec.Struct):
    message: str = ""


class _Meta(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815 (the API's names)
    continue_: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    kind: str = ""
    apiVersion: str = ""  # noqa: N815
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    items: list[msgspec.Raw] | None = None


@dataclass(frozen=True)
class Listed:
    """A whole list as one JSON text, without managedFields, and how many objects it has."""

    text: bytes
    count: int


_PAGE, _STATUS, _ITEM = (
    msgspec.json.Decoder(_Page),
    msgspec.json.Decoder(_Status),
    msgspec.json.Decoder(dict[str, Any]),
)
_ENCODE = msgspec.json.Encoder().encode


class Server:
    """One cluster, as one context of a kubeconfig or a pod's service account reaches it.

    Raises :class:`SourceError` with one sentence if the configuration cannot be used.
    """

    def __init__(self, context: str | None = None, kubeconfig: str | None = None, in_cluster: bool = False) -> None:
        from kubernetes import client

        self.configuration = _configuration(context, kubeconfig, in_cluster)
        self.configuration.connection_pool_maxsize = CONNECTIONS
        self.client = client.ApiClient(self.configuration)
        self._auth = threading.Lock()  # a login plugin runs once, not once in each thread
        self._greeted = False
        self.time: datetime | None = None

    def close(self) -> None:
        self.client.rest_client.pool_manager.clear()

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What the configuration says of TLS, made once, as reading certificates takes longer than a request."""
        found = self.configuration
        context = ssl.create_default_context(cafile=found.ssl_ca_cert, cadata=getattr(found, "ca_cert_data", None))
        if not found.verify_ssl:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif found.assert_hostname is not None:
            context.check_hostname = bool(found.assert_hostname)
        if found.cert_file:
            context.load_cert_chain(found.cert_file, found.key_file)
        return context

    def headers(self) -> dict[str, str]:
        """The headers that log in; runs a login plugin where one is due."""
        from kubernetes.config import ConfigException

        with self._auth:
            try:
                settings = self.configuration.auth_settings().values()
            except (ConfigException, OSError, ValueError) as error:
                raise ApiError(401, f"logging in failed: {error}") from error
        return {s["key"]: s["value"] for s in settings if s["in"] == "header" and s["value"]}

    def url(self, path: str, query: Query = ()) -> str:
        return f"{self.configuration.host.rstrip('/')}{path}{'?' + urlencode(query) if query else ''}"

    def get(
        self,
        path: str,
        query: Query = (),
        accept: str = "application/json",
        tries: int = 5,
        allowance: Allowance | None = None,
    ) -> bytes:
        """The body of an answer. Busy servers (429, 503) are asked again when they say.

        ``allowance`` is what it may be and take, all tries together; that of one answer by default. Raises
        :class:`ApiError`, which is a :class:`CutError` where that did not do.
        """
        allowance = allowance or Allowance(ANSWER_BYTES, ANSWER_SECONDS)
        again = tries and not path.endswith(("/metrics", "/log"))
        for rest in reversed(range(1 + BROKEN * bool(again))):
            answer = self._asked(path, query, accept, _patience(tries) if again else False, allowance)
            try:
                body = allowance.take(_pieces(answer))
            except SpentError as error:
                raise CutError(error) from None
            except (urllib3.exceptions.HTTPError, zlib.error) as error:
                if not rest:
                    raise ApiError(0, _unreachable(error)) from error
                continue
            finally:
                answer.close()
            if answer.status >= 400:
                raise ApiError(answer.status, _reason(answer.status, body))
            self._see_time(answer.headers.get("Date", ""))
            break
        return body

    def _asked(
        self, path: str, query: Query, accept: str, retries: urllib3.Retry | bool, allowance: Allowance
    ) -> urllib3.BaseHTTPResponse:
        """The head of an answer, its body still to be read."""
        try:
            allowance.spend()
            found: urllib3.BaseHTTPResponse = self.client.rest_client.pool_manager.request(
                "GET",
                self.url(path, query),
                headers={"Accept": accept, "Accept-Encoding": "gzip", **self.headers()},
                timeout=urllib3.Timeout(connect=10, read=TIMEOUT),
                retries=retries,
                preload_content=False,
            )
        except SpentError as error:
            raise CutError(error) from None
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, _unreachable(error)) from error
        return found

    def patiently(self, call: Callable[[], T], wait: Callable[[float], Any], away: Sequence[int] = AWAY) -> T:
        """What a call gives; again while the API server is away or starts, ending early if ``wait`` says so.

        A server that starts refuses everybody (403), also what it has granted before, until it has read its roles.
        """
        sure = not self._greeted
        for pause in PAUSES:
            try:
                return call()
            except ApiError as error:
                if error.status == 403 and not sure:
                    sure = self._ready()  # then it is asked once more, as it may have become ready in between
                elif error.status not in away:
                    raise
                if wait(0 if sure else pause):
                    raise
        return call()

    def greet(self) -> None:
        """Ask for the version, which every user may, unless somebody forbade it. Raises :class:`ApiError`."""
        self.get("/version", tries=1)
        self._greeted = True

    def _ready(self) -> bool:
        try:
            self.get("/version", tries=0)
        except ApiError:
            return False
        return True

    def list(self, path: str, query: Query = (), within: Allowance | None = None) -> Listed:
        """A list, page by page at one resource version; from the start again if the server has forgotten that (410).

        Raises :class:`ApiError`, also where the list is too long: one that is cut is none.
        """
        try:
            return self._pages(path, query, PAGE, Allowance(LIST_BYTES, LIST_SECONDS, within, " of this list"))
        except ApiError as error:
            if error.status != 410:
                raise
        # whole, as client-go does: it cannot expire
        return self._pages(path, query, 0, Allowance(LIST_BYTES, LIST_SECONDS, within, " of this list"))

    def _pages(self, path: str, query: Query, size: int, whole: Allowance) -> Listed:
        head, items, count, token = None, bytearray(), 0, ""
        while head is None or token:
            paged = [("limit", str(size))] * bool(size) + [("continue", token)] * bool(token)
            of_page = Allowance(ANSWER_BYTES, ANSWER_SECONDS, whole) if size else whole
            ask = partial(self.get, path, [*query, *paged], allowance=of_page)
            try:
                page = _PAGE.decode(self.patiently(ask, time.sleep, ()))
            except msgspec.DecodeError as error:
                raise ApiError(0, f"the answer is no list ({error})") from error
            head = head or page
            for raw in page.items or ():
                items += b"," * bool(count) + _without_managed_fields(raw)
                count += 1
            token = page.metadata.continue_
        about = {"kind": head.kind, "apiVersion": head.apiVersion, "metadata": {"resourceVersion": _revision(head)}}
        return Listed(_ENCODE(about)[:-1] + b',"items":[' + bytes(items) + b"]}", count)

    def _see_time(self, date: str) -> None:
        if self.time is None and date:
            try:
                self.time = parsedate_to_datetime(date).astimezone(UTC)
            except ValueError:
                return


def _patience(tries: int) -> urllib3.Retry:
    return _Patience(
        total=8,
        connect=tries,
        read=2,
        backoff_factor=0.3,
        backoff_max=LONGEST_PAUSE,
        status_forcelist=(429, 502, 503, 504),
        raise_on_status=False,
    )


def _pieces(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The body as it comes, unpacked piece by piece: what comes is never waited for in bulk, nor unpacked in bulk."""
    packed = iter(partial(answer.read1, PIECE, decode_content=False), b"")
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding == "identity":
        yield from packed
        return
    if encoding != "gzip":
        raise ApiError(0, f"the answer is encoded as {encoding[:40]}, which was not asked for")
    gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    for piece in packed:
        rest = piece
        while rest:
            yield gzip.decompress(rest, MIB)
            rest = gzip.unconsumed_tail
        if gzip.eof:
            return
    raise zlib.error("the answer breaks off")


def _revision(page: _Page) -> str:
    return page.metadata.resourceVersion


def _without_managed_fields(raw: msgspec.Raw) -> bytes:
    """The object without what says who wrote which field: a third of it, which tells nothing about the network."""
    data = bytes(raw)
    if b'"managedFields"' not in data:
        return data
    item = _ITEM.decode(data)
    item.get("metadata", {}).pop("managedFields", None)
    return _ENCODE(item)


def _reason(status: int, body: bytes) -> str:
    try:
        said = _STATUS.decode(body).message
    except msgspec.DecodeError:
        said = body[:200].decode("utf-8", "replace").strip()
    words = {401: "not logged in (401): the credentials are missing or have expired", 429: "busy (429)"}
    return f"{words[status]}; {said}" if status in words and said else words.get(status, said or f"HTTP {status}")


def _unreachable(error: Exception) -> str:
    """The last, telling part of what urllib3 says."""
    cause = getattr(error, "reason", None) or error
    return str(cause).rsplit(">: ", 1)[-1] or type(cause).__name__


def _configuration(context: str | None, kubeconfig: str | None, in_cluster: bool) -> Any:
    from kubernetes import client, config

    found = client.Configuration()
    kubeconfig = kubeconfig or os.environ.get("KUBECONFIG")  # the package reads this once, when it is imported
    try:
        if in_cluster:
            config.load_incluster_config(client_configuration=found)
        else:
            config.load_kube_config(
                config_file=kubeconfig, context=context or None, client_configuration=found, persist_config=False
            )
    except (config.ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        named = f"context {context}" if context else "the current context"
        where = "the pod's service account" if in_cluster else named
        raise SourceError(f"No cluster by {where}: {_one_line(error)}{_contexts(kubeconfig, in_cluster)}") from error
    return found


def _contexts(kubeconfig: str | None, in_cluster: bool) -> str:
    from kubernetes import config

    if in_cluster:
        return ""
    try:
        names = [c["name"] for c in config.list_kube_config_contexts(kubeconfig)[0]]
    except (config.ConfigException, OSError, ValueError, KeyError, TypeError):
        return ""
    return f"; contexts are {', '.join(names)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")

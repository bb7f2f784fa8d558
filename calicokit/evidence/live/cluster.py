"""A live cluster as a source: API lists, commands in calico-node, logs and metrics, all through the API server.

It only reads. Commands are argv from the catalog, run without a shell and under ``timeout``, so that one that hangs
ends on the node too, whatever becomes of the kit. Nodes are asked side by side, the commands of one node one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from math import ceil
from typing import Any

import msgspec

from calicokit.evidence import catalog
from calicokit.evidence.catalog import CATALOG, PREVIOUS, Admin, Item, Log, Metrics
from calicokit.evidence.live import parallel
from calicokit.evidence.live.api import ApiError, CutError, Server
from calicokit.evidence.live.discovery import api_resources
from calicokit.evidence.live.execute import Ran, execute
from calicokit.evidence.live.limits import (
    ALL_BYTES,
    ALL_SECONDS,
    ANSWER_BYTES,
    ANSWER_SECONDS,
    NODE_BYTES,
    NODE_SECONDS,
    POD_BYTES,
    POD_SECONDS,
    Allowance,
    SpentError,
)
from calicokit.evidence.model import Answer, Evidence, Missing, Source, SourceError, Want
from calicokit.evidence.node_log import split
from calicokit.evidence.own_pods import NODE_APPS, Home, home_of
from calicokit.evidence.pod_runs import failing_init, has_previous
from calicokit.evidence.recordings.recording import EMPTY_LIST, NO_OBJECTS, PODS

APPS = (*NODE_APPS, "calico-typha", "calico-kube-controllers")
CONTAINER = "calico-node"
AT_ONCE = 32
QUICK, HEAVY = 20, 90
"""Seconds that a quick and a heavy command may take."""

GRACE = 5
"""Seconds after which the kit ends a command that ``timeout`` should have ended."""

GIVE_UP = 2
"""Consecutive commands without an end after which a node is no longer queried."""

KILLED = 137
NOT_FOUND, FORBIDDEN, REFUSED = 404, 403, (401, 403, 404)
Answers = Iterator[tuple[Want, Answer]]


@dataclass(frozen=True)
class Pod:
    """A pod of one of Calico's components, as far as reading from it needs."""

    namespace: str
    name: str
    node: str
    app: str
    running: bool
    created: str
    env: dict[str, str]
    containers: tuple[str, ...]
    ended_before: bool = False  # its main container has a run before this one
    failing_init: str = ""  # the init container that keeps it from starting

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    @property
    def container(self) -> str:
        """The component's container, else the first."""
        return next((c for c in (CONTAINER, self.app) if c in self.containers), self.containers[0])


@dataclass
class _Node:
    """One node while it is asked."""

    name: str
    wants: list[Want] = field(default_factory=list)
    pod: Pod | None = None
    silent: int = 0  # commands in a row that did not end
    refused: str = ""  # why no command may be run there
    whole: Evidence | None = None  # its log, of all services
    log: dict[str, bytes] | None = None  # the lines of each service
    before: Evidence | None = None  # the log of its run before
    allowance: Allowance | None = None  # what all its answers may be and take


class LiveCluster(Source):
    """The cluster of a kubeconfig's context, or the one that this pod runs in.

    ``since`` seconds and ``tail`` lines bound the logs that the API server is asked for. ``namespace`` is where Calico
    is, which is found where none is named; commands run in its own pods only. Raises :class:`SourceError` with one
    sentence if the configuration cannot be used or nothing answers.
    """

    live = True

    def __init__(
        self,
        context: str | None = None,
        kubeconfig: str | None = None,
        in_cluster: bool = False,
        since: int | None = None,
        tail: int = 20_000,
        namespace: str = "",
    ) -> None:
        self.server = Server(context, kubeconfig, in_cluster)
        self.name = "in-cluster:" if in_cluster else f"context:{context or ''}"
        self._log_query = [("tailLines", str(tail)), *([("sinceSeconds", str(since))] if since else [])]
        self._timed = True  # whether the image has `timeout`
        self._discovered: dict[str, set[str] | None] = {}
        self._lock = threading.Lock()
        self._calico_pods: list[Pod] | None = None
        self._named = namespace
        self._home = Home()
        self._ignored: tuple[Missing, ...] = ()
        self._all: Allowance | None = None  # what is left to the fetch that runs

    @property
    def calico_namespace(self) -> str:
        return self._named or super().calico_namespace

    @property
    def unused(self) -> Sequence[Missing]:
        """Pods that were taken for none of Calico's, though they have its labels."""
        return self._ignored

    def nodes(self) -> Sequence[str]:
        """The nodes on which a calico-node pod is; none where pods may not be listed."""
        try:
            return sorted({p.node for p in self._pods if p.app in NODE_APPS}) if self._opened else []
        except ApiError:
            return []

    def now(self) -> datetime | None:
        """The API server's clock when it was first asked."""
        return self.server.time if self._opened else None

    def fetch(self, wants: Sequence[Want]) -> Answers:
        """Answer every want as it comes; ending the iteration early stops what still runs."""
        if self._opened:
            self._calico_pods = None
            turns = ceil(len({w.node for w in wants if w.node}) / AT_ONCE)
            seconds = ALL_SECONDS + turns * NODE_SECONDS
            self._all = Allowance(ALL_BYTES, seconds, of=" of all answers")
            waiting = dict.fromkeys(wants)
            for want, answer in parallel.run(self._jobs(wants), AT_ONCE, seconds):
                waiting.pop(want, None)
                yield want, answer
            for want in waiting:
                yield want, Missing(want.id, f"no answer within {seconds:g} s of all answers", want.node)

    @cached_property
    def _opened(self) -> bool:
        try:
            self.server.greet()
        except ApiError as error:
            if error.status != 403:  # it answers, only not this
                where = self.server.configuration.host
                raise SourceError(f"The API server {where} does not answer: {error}.") from error
        return True

    def _jobs(self, wants: Sequence[Want]) -> Iterator[parallel.Job[tuple[Want, Answer]]]:
        nodes: dict[str, _Node] = {}
        for want in wants:
            if want.series:
                yield partial(_refuse, want, "a live cluster is seen once; calicokit capture --samples watches it")
            elif want.node is None:
                yield partial(self._of_cluster, want)
            else:
                nodes.setdefault(want.node, _Node(want.node)).wants.append(want)
        for node in nodes.values():
            yield partial(self._of_node, node)

    # ---- what is the cluster's

    def _of_cluster(self, want: Want, stop: threading.Event) -> Answers:
        how = CATALOG[want.id].how
        try:
            if isinstance(how, catalog.Api):
                yield want, self._listed(want, how)
            elif isinstance(how, Log | Metrics):
                read = self._logged if isinstance(how, Log) else self._scraped
                pods = [p for p in self._pods if p.app == how.app and p.running]
                for pod in pods:
                    yield want, read(want, pod, self._all)
                if not pods:
                    yield want, Missing(want.id, self._home.unsettled or f"no {how.app} pod runs", None)
            elif isinstance(how, catalog.Discovery):
                yield want, self._kinds(want)
            else:
                yield want, Missing(want.id, _why_not(how))
        except ApiError as error:
            yield want, Missing(want.id, str(error))

    def _listed(self, want: Want, how: catalog.Api) -> Answer:
        query = [("fieldSelector", how.fields)] if how.fields else []
        refused: list[str] = []
        for group, plural in self._served(how):
            path = f"/api/{group}/{plural}" if "/" not in group else f"/apis/{group}/{plural}"
            try:
                found = self.server.list(path, query, self._all)
            except ApiError as error:
                refused.append(str(error))
                continue
            file = f"api/{group.replace('/', '_')}_{plural}.json"
            return Evidence(want, found.text, file, group, f"GET {path}", time=self.server.time)
        if not refused and how.optional:
            return Evidence(want, EMPTY_LIST, NO_OBJECTS, how.groups[0], "GET /apis", time=self.server.time)
        if not refused and how.newer and (group := next((g for g in how.groups if self._resources(g)), "")):
            return Evidence(want, EMPTY_LIST, next(how.files()), group, f"GET /apis/{group}", time=self.server.time)
        none = f"the API server has no {' or '.join(how.plurals)} in {' or '.join(how.groups)}"
        return Missing(want.id, "; ".join(refused) or none)

    def _kinds(self, want: Want) -> Evidence:
        text, complaint = api_resources(lambda path, accept: self._got(path, accept))
        return Evidence(
            want,
            text.encode(),
            self._file(want),
            command="GET /api /apis",
            exit=int(bool(complaint)),
            stderr=complaint,
            time=self.server.time,
        )

    def _served(self, how: catalog.Api) -> Iterator[tuple[str, str]]:
        """The groups and plurals under which the API server has the kind; both, if it does not say what it has."""
        for group in how.groups:
            known = self._resources(group)
            yield from ((group, plural) for plural in how.plurals if known is None or plural in known)

    def _resources(self, group: str) -> set[str] | None:
        if group not in self._discovered:
            try:
                path = f"/apis/{group}" if "/" in group else f"/api/{group}"
                found = _decode(self._got(path))
                self._discovered[group] = {r["name"] for r in found.get("resources") or ()}
            except ApiError as error:
                self._discovered[group] = set() if error.status == NOT_FOUND else None
        return self._discovered[group]

    def _got(self, path: str, accept: str = "application/json") -> bytes:
        return self.server.get(path, accept=accept, allowance=Allowance(ANSWER_BYTES, ANSWER_SECONDS, self._all))

    @property
    def _pods(self) -> list[Pod]:
        """The pods of Calico's components, the newest first; asked for once in a fetch."""
        with self._lock:
            if self._calico_pods is None:
                query = [("labelSelector", f"k8s-app in ({','.join(APPS)})")]
                items = _decode(self.server.list("/api/v1/pods", query, self._all).text)["items"]
                self._home = home_of(items, self.calico_namespace)
                self._ignored = tuple(Missing("pods", why) for why in self._home.ignored(items))
                pods = [_pod(item) for item in items if self._home.app(item)]
                self._calico_pods = sorted(pods, key=lambda p: p.created, reverse=True)
            return self._calico_pods

    # ---- what is of a node

    def _of_node(self, node: _Node, stop: threading.Event) -> Answers:
        try:
            node.pod = next((p for p in self._pods if p.node == node.name and p.app in NODE_APPS and p.running), None)
        except ApiError as error:
            yield from ((w, Missing(w.id, str(error), node.name)) for w in node.wants)
            return
        node.allowance = Allowance(NODE_BYTES, NODE_SECONDS, self._all, " of this node's answers")
        for want in node.wants:
            try:
                node.allowance.spend()
                yield want, self._on_node(want, node, stop)
            except SpentError as error:
                yield want, Missing(want.id, f"not queried: {error}", node.name)
            except ApiError as error:
                node.silent += error.status not in REFUSED
                node.refused = str(error) if error.status == FORBIDDEN else ""
                yield want, Missing(want.id, str(error), node.name)

    def _on_node(self, want: Want, node: _Node, stop: threading.Event) -> Answer:
        item = CATALOG[want.id]
        if isinstance(item.how, Log) and (item.how.previous or item.how.init):
            return self._past_log(want, node, item.how)
        if node.pod is None:
            return Missing(want.id, self._home.unsettled or "no calico-node pod runs there", node.name)
        if isinstance(item.how, Metrics):
            return self._scraped(want, node.pod, node.allowance)
        if isinstance(item.how, Log):
            part = self._log_part(want, node) if item.how.app else None
            return part or self._ran(want, node, item, (item.how.argv,), stop)
        if isinstance(item.how, catalog.Command):
            return self._ran(want, node, item, item.how.argvs, stop)
        return Missing(want.id, _why_not(item.how), node.name)

    def _ran(
        self, want: Want, node: _Node, item: Item, argvs: Sequence[Sequence[str]], stop: threading.Event
    ) -> Answer:
        """The answer of the first alternative that succeeds, else of the first that the image has."""
        if node.refused:
            return Missing(want.id, node.refused, node.name)
        if node.silent >= GIVE_UP:
            return Missing(want.id, f"not queried, as {GIVE_UP} commands before it did not end", node.name)
        kept: tuple[Sequence[str], Ran] | None = None
        ran = Ran()
        for argv in argvs:
            ran = self._run(node, argv, HEAVY if item.heavy else QUICK, stop)
            if ran.failed and not ran.absent:
                return Missing(want.id, f"`{' '.join(argv)}`: {ran.failed}", node.name)
            if not ran.absent and (kept is None or ran.exit == 0):
                kept = argv, ran
            if ran.exit == 0:
                break
        if kept is None:
            return Missing(
                want.id, f"calico-node's image has no {argvs[0][0]}, or not the file: {_said(ran)}", node.name
            )
        return self._evidence(want, node, *kept)

    def _run(self, node: _Node, argv: Sequence[str], limit: int, stop: threading.Event) -> Ran:
        guard = ("timeout", "-s", "KILL", str(limit)) if self._timed else ()
        ran = self._executed(node, [*guard, *argv], limit + GRACE, stop)
        if guard and ran.absent and '"timeout"' in ran.failed:
            self._timed = False
            return self._run(node, argv, limit, stop)
        if guard and ran.exit == KILLED:
            ran.exit, ran.failed = None, f"no end within {limit} s"
        node.silent = node.silent + 1 if ran.failed.startswith("no end") else 0
        return ran

    def _executed(self, node: _Node, argv: Sequence[str], limit: int, stop: threading.Event) -> Ran:
        """Run it, patient with an API server that restarts."""
        assert node.pod is not None
        at = (node.pod.namespace, node.pod.name), node.pod.container
        return self.server.patiently(partial(execute, self.server, *at, argv, limit, stop, node.allowance), stop.wait)

    def _evidence(self, want: Want, node: _Node, argv: Sequence[str], ran: Ran) -> Answer:
        return Evidence(
            want,
            bytes(ran.stdout),
            path=self._file(want),
            command=" ".join(argv),
            exit=ran.exit,
            stderr=ran.stderr[:4000].decode("utf-8", "replace"),
            time=self.server.time,
        )

    # ---- logs and metrics

    def _past_log(self, want: Want, node: _Node, how: Log) -> Answer:
        """The log of calico-node's run before, or of its init container that fails; such a pod may not run at all."""
        pods = [p for p in self._pods if p.node == node.name and p.app in NODE_APPS]
        pod = next((p for p in pods if (p.failing_init if how.init else p.ended_before)), None)
        if pod is None:
            why = "no init container of calico-node fails there" if how.init else "calico-node has no run before there"
            return Missing(want.id, why, node.name)
        if how.init:
            return self._logged(want, pod, node.allowance, pod.failing_init)
        node.before = node.before or self._logged(want, pod, node.allowance, previous=True)
        text = split(node.before.text).get(PREVIOUS[want.id])
        if not text:
            return Missing(want.id, "the log of the run before has no such lines", node.name)
        return replace(node.before, want=want, text=text, path=self._file(want))

    def _logged(
        self, want: Want, pod: Pod, within: Allowance | None, container: str = "", previous: bool = False
    ) -> Evidence:
        """A container's log; one that is cut is told so, and what came of it is kept."""
        query = [*self._log_query, ("container", container or pod.container)]
        query += [("previous", "true")] if previous else []
        cut, path = "", f"{pod.path}/log"
        try:
            text = self.server.get(path, query, "*/*", allowance=Allowance(POD_BYTES, POD_SECONDS, within))
        except CutError as error:
            if not error.came:
                raise
            text, cut = error.came, f"the log is cut: {error}"
        return Evidence(want, text, self._file(want, pod), command=f"GET {path}", time=self.server.time, partial=cut)

    def _log_part(self, want: Want, node: _Node) -> Evidence | None:
        """The lines of one service in calico-node's log, which is read once; None if there are none."""
        assert node.pod is not None
        if node.log is None:
            try:
                node.whole = self._logged(want, node.pod, node.allowance)
                node.log = split(node.whole.text)
            except ApiError:  # then the files on the node are tried
                node.log = {}
        text = node.log.get(want.id)
        found = node.whole and text and replace(node.whole, want=want, text=text, path=self._file(want))
        return found or None

    def _file(self, want: Want, pod: Pod | None = None) -> str:
        """Where a recording has this; of the pods of a component all but the newest have a folder of their own."""
        file = next(CATALOG[want.id].files(want.node))
        if pod is None or want.node or pod is next(p for p in self._pods if p.app == pod.app and p.running):
            return file
        return f"{PODS}{pod.name}/{CATALOG[want.id].file}"

    def _scraped(self, want: Want, pod: Pod, within: Allowance | None) -> Answer:
        how = CATALOG[want.id].how
        assert isinstance(how, Metrics)
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}:{self._port(how, pod)}/proxy/metrics"
        try:
            text = self.server.get(path, accept="text/plain", allowance=Allowance(POD_BYTES, POD_SECONDS, within))
        except CutError as error:
            return Missing(want.id, f"the scrape of {path} is not whole ({error})", want.node)
        except ApiError as error:
            why = (
                str(error) if error.status in (401, 403) else f"no answer on {path} ({error}); they need {how.setting}"
            )
            return Missing(want.id, why, want.node)
        return Evidence(want, text, self._file(want, pod), command=f"GET {path}", time=self.server.time)

    def _port(self, how: Metrics, pod: Pod) -> int:
        """The environment beats the configuration resource, which beats the default."""
        found = str(pod.env.get(how.env) or self._configured.get((how.config, how.field)))
        return int(found) if found.isdigit() and int(found) else how.port

    @cached_property
    def _configured(self) -> dict[tuple[str, str], Any]:
        """The ports that the default configuration resources set."""
        found: dict[tuple[str, str], Any] = {}
        for how in (i.how for i in CATALOG.values() if isinstance(i.how, Metrics) and i.how.config):
            answer = self._listed(Want(how.config), CATALOG[how.config].how)  # type: ignore[arg-type]
            for item in _decode(answer.text)["items"] if isinstance(answer, Evidence) else ():
                if item["metadata"]["name"] == "default":
                    found[how.config, how.field] = (item.get("spec") or {}).get(how.field)
        return found


def _refuse(want: Want, why: str, stop: threading.Event) -> Answers:
    yield want, Missing(want.id, why, want.node)


def _why_not(how: object) -> str:
    what = how.words if isinstance(how, Admin) else "this"
    return f"{what} is not run on a live cluster; a recording or a bundle may hold it"


def _said(ran: Ran) -> str:
    return " ".join((ran.failed or ran.stderr[:300].decode("utf-8", "replace")).split())


def _decode(text: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(text)
    return found


def _pod(item: dict[str, Any]) -> Pod:
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    env = [e for c in spec["containers"] for e in c.get("env") or () if "value" in e]
    going = bool(meta.get("deletionTimestamp"))
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        node=spec.get("nodeName") or "",
        app=(meta.get("labels") or {}).get("k8s-app", ""),
        running=status.get("phase") == "Running" and not meta.get("deletionTimestamp"),
        created=meta.get("creationTimestamp") or "",
        env={e["name"]: e["value"] for e in env},
        containers=tuple(c["name"] for c in spec["containers"]),
        ended_before=not going and has_previous(status),
        failing_init="" if going else failing_init(status),
    )

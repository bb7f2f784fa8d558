"""A cluster to test against: etcd, a real kube-apiserver (RBAC, audit log), and a stand-in for kubelets and pods.

Recorded objects are written straight into etcd, so that uid, times and status stay as they were recorded. The two Go
programs are built from this folder and kept in the user's cache. Everything listens on loopback or on Unix sockets, and
only processes that were started here are ended.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from calicokit.evidence.catalog import ITEMS, Command, Log, Metrics
from calicokit.evidence.model import Evidence, Want
from calicokit.evidence.recordings.recording import Recording
from tests.e2e.image import as_in_the_image

HERE = Path(__file__).parent
RBAC = HERE.parents[1] / "deploy" / "rbac.yaml"
NAMESPACED = re.compile(r"(?:network|stagednetwork|stagedkubernetesnetwork)policies|networksets")
STORED = {"nodes": "minions", "services": "services/specs", "endpoints": "services/endpoints"}
CORE = (
    *("pods", "minions", "namespaces", "services/specs", "services/endpoints", "events", "configmaps", "daemonsets"),
    *("deployments", "replicasets", "serviceaccounts", "endpointslices", "networkpolicies"),
)
USERS = {"admin": "system:masters", "reader": "readers", "nobody": "nobodies"}
CONTEXTS = {"e2e": "admin", "e2e-reader": "reader", "e2e-nobody": "nobody", "e2e-expired": "expired"}
BATCH = 500
NAMESPACE = "kube-system"
"""Calico's, in all recordings."""

ROLES = "/apis/rbac.authorization.k8s.io/v1"
Object = dict[str, Any]


class NotPossibleError(RuntimeError):
    """The machine lacks what the cluster is made of."""


# ---- the programs


def program(name: str) -> Path:
    """The Go program of this folder, built if its sources have changed since it was built last."""
    go = shutil.which("go")
    folder = HERE / name
    sources = sorted(p for p in folder.iterdir() if p.suffix in (".go", ".mod", ".sum"))
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "calicokit-e2e"
    binary = cache / f"{name}-{digest}"
    if binary.exists():
        return binary
    if go is None:
        raise NotPossibleError("Go is not installed, and the API server is not in the cache")
    cache.mkdir(parents=True, exist_ok=True)
    making = binary.with_suffix(f".{os.getpid()}")
    print(f"building {name} (the API server takes some minutes, once) …", flush=True)
    done = subprocess.run([go, "build", "-o", making, "."], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise NotPossibleError(f"{name} does not build: {done.stderr.strip()[-300:]}")
    making.rename(binary)
    return binary


def etcd_program() -> str:
    found = shutil.which("etcd")
    if found is None:
        raise NotPossibleError("etcd is not installed (on Debian: apt install etcd-server)")
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


# ---- what a recording becomes


def replay_of(recording: Recording, scratch: Path) -> Object:
    """What the stand-in answers: by the address of each node or pod, the catalog's commands, logs and pages."""
    hosts: dict[str, Object] = {}
    pods, nodes = listed(recording, "pods"), listed(recording, "nodes")
    address = {n["metadata"]["name"]: _internal(n) for n in nodes}
    for node in recording.nodes():
        host = hosts.setdefault(address[node], {"exec": [], "logs": {}, "http": {}})
        for item in (i for i in ITEMS if i.scope == "node"):
            found = _file(recording, Want(item.id, node), scratch)
            if found is None:
                continue
            evidence, file = found
            if isinstance(item.how, Metrics):
                host["http"][str(item.how.port)] = {"/metrics": str(file)}
            elif isinstance(item.how, Command | Log):
                host["exec"].append(_answer(item.how, evidence, file))
    for item in (i for i in ITEMS if i.scope == "cluster" and isinstance(i.how, Log | Metrics)):
        found = _file(recording, Want(item.id), scratch)
        pod = next((p for p in pods if p["metadata"].get("labels", {}).get("k8s-app") == item.how.app), None)  # type: ignore[union-attr]
        if found is None or pod is None:
            continue
        if isinstance(item.how, Metrics):
            host = hosts.setdefault(pod["status"]["podIP"], {})
            host.setdefault("http", {})[str(item.how.port)] = {"/metrics": str(found[1])}
        else:
            at = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}/{pod['spec']['containers'][0]['name']}"
            hosts[address[pod["spec"]["nodeName"]]]["logs"][at] = str(found[1])
    return {"hosts": hosts}


def _answer(how: Command | Log, evidence: Evidence, file: Path) -> Object:
    """What the stand-in says to the one argv that this image knows; those before it are not in it."""
    argv, said = (how.argv, evidence) if isinstance(how, Log) else as_in_the_image(evidence)
    file.write_bytes(said.text)
    return {"argv": argv, "stdout": str(file), "stderr": said.stderr, "exit": said.exit or 0}


def listed(recording: Recording, id_: str) -> list[Object]:
    ((_, answer),) = recording.fetch([Want(id_)])
    return list(json.loads(answer.text)["items"]) if isinstance(answer, Evidence) else []


def _internal(node: Object) -> str:
    return next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")


def _file(recording: Recording, want: Want, scratch: Path) -> tuple[Evidence, Path] | None:
    answer = next(iter(recording.fetch([want])))[1]
    if not isinstance(answer, Evidence):
        return None
    file = scratch / answer.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(answer.text)
    return answer, file


def lists_of(recording: Recording) -> Iterator[tuple[str, str, Object]]:
    """Group and version, plural, and the list, of every API list in a recording."""
    files = recording._files
    for path in sorted(n for n in files.names if n.startswith("api/")):
        group, _, plural = path.removeprefix("api/").removesuffix(".json").rpartition("_")
        yield group.replace("_", "/"), plural, json.loads(files.read(path))


def stored(group: str, plural: str, document: Object) -> dict[str, bytes]:
    """The objects of a list as etcd holds them."""
    kind = document["kind"].removesuffix("List")
    top = f"/registry/{group.split('/')[0]}/{plural}" if "projectcalico" in group or "policy." in group else ""
    top = top or f"/registry/{STORED.get(plural, plural)}"
    made = {}
    for item in document["items"]:
        meta = {k: v for k, v in item["metadata"].items() if k not in ("resourceVersion", "selfLink")}
        where = f"{top}/{meta['namespace']}/{meta['name']}" if meta.get("namespace") else f"{top}/{meta['name']}"
        made[where] = json.dumps({"kind": kind, "apiVersion": group, **item, "metadata": meta}).encode()
    return made


def crd(group: str, plural: str, document: Object) -> Object:
    """The least definition that serves a kind as it was recorded."""
    name, version = group.split("/")
    kind = document["kind"].removesuffix("List")
    scope = "Namespaced" if NAMESPACED.fullmatch(plural) else "Cluster"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    note = {"api-approved.kubernetes.io": "unapproved, for tests"} if name.endswith("k8s.io") else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{name}", "annotations": note},
        "spec": {
            "group": name,
            "scope": scope,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def _identity(definition: Object) -> str:
    """What makes two definitions the same kind, served the same way."""
    spec = definition["spec"]
    return f"{definition['metadata']['name']} {spec['versions'][0]['name']} {spec['names']['kind']} {spec['scope']}"


# ---- the cluster


@dataclass
class TestCluster:
    """A running cluster; :meth:`stop` ends it."""

    __test__ = False  # no test class, whatever pytest thinks of its name

    folder: Path
    port: int = field(default_factory=free_port)
    etcd_port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    answers: Object = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path, recording: Recording | None = None) -> TestCluster:
        """Start everything and load a recording. Raises :class:`NotPossibleError` where Go or etcd is missing."""
        etcd_program(), program("standin"), program("apiserver")
        cluster = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        cluster._write_configuration()
        try:
            cluster._start_etcd()
            cluster.replay({"hosts": {}})
            cluster._run("standin", program("standin"), "--socket", cluster.socket, "--replay", folder / "replay.json")
            cluster.start_apiserver()
            cluster.grant(RBAC.read_text())
            if recording is not None:
                cluster.load(recording)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    # ---- processes

    def _run(self, name: str, *argv: str | Path) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        words, often = (
            [str(a) for a in argv],
            {**os.environ, "GOGC": "800"},
        )  # memory is cheaper here than processor time
        self.running[name] = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True, env=often)

    def _end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self.running.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        for name in ("apiserver", "standin", "etcd"):
            self._end(name, signal.SIGKILL)

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{free_port()}"
        self._run(
            "etcd",
            etcd_program(),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            f"--max-txn-ops={BATCH}",
            "--max-request-bytes=33554432",
        )
        self._until("etcd answers", lambda: self._etcd("kv/range", {"key": _b64(b"x")}) is not None)

    def start_apiserver(self) -> None:
        folder = self.folder
        self._run(
            "apiserver",
            program("apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--storage-media-type=application/json",  # so that recorded objects are stored as they are
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={folder / 'certs'}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={folder / 'tokens.csv'}",
            f"--audit-log-path={folder / 'audit.log'}",
            f"--audit-policy-file={folder / 'audit.yaml'}",
            f"--egress-selector-config-file={folder / 'egress.yaml'}",
            "--service-account-issuer=https://calicokit.test",
            f"--service-account-key-file={folder / 'sa.key'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--disable-admission-plugins=ServiceAccount,NamespaceLifecycle",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--watch-cache-sizes=nodes#5000",
        )
        self._until("the API server is ready", self._ready, 90)

    def stop_apiserver(self) -> None:
        self._end("apiserver", signal.SIGKILL)

    def restart_apiserver(self) -> None:
        self.stop_apiserver()
        self.start_apiserver()

    def _ready(self) -> bool:
        try:
            self.call("GET", "/readyz")
            return bool(self.call("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin"))
        except (OSError, urllib.error.URLError):
            return False

    def _until(self, what: str, done: Callable[[], bool], limit: float = 30) -> None:
        end = time.monotonic() + limit
        while not _quietly(done):
            for name, process in self.running.items():
                if process.poll() is not None:
                    tail = (self.folder / f"{name}.log").read_text(errors="replace")[-600:]
                    raise RuntimeError(f"{name} ended: {tail}")
            if time.monotonic() > end:
                raise TimeoutError(f"not within {limit:g} s: {what}")
            time.sleep(0.1)

    # ---- configuration

    def _write_configuration(self) -> None:
        folder = self.folder
        subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text("".join(f'{u}-token,{u},{u},"{g}"\n' for u, g in USERS.items()))
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        rules = [{"level": "None", "users": ["system:apiserver", "system:anonymous"]}, {"level": "Metadata"}]
        (folder / "audit.yaml").write_text(yaml.safe_dump(policy | {"rules": rules}))
        connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(self.socket)}}}
        egress = {"apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration"}
        egress["egressSelections"] = [{"name": "cluster", "connection": connection}]  # type: ignore[assignment]
        (folder / "egress.yaml").write_text(yaml.safe_dump(egress))
        self.kubeconfig.write_text(yaml.safe_dump(self._contexts()))

    def _contexts(self) -> Object:
        ca = str(self.folder / "certs" / "apiserver.crt")
        clusters = {"e2e": self.url, "wrong": f"https://127.0.0.1:{free_port()}"}
        contexts = {**{c: ("e2e", u) for c, u in CONTEXTS.items()}, "e2e-wrong": ("wrong", "admin")}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "e2e",
            "clusters": [
                {"name": n, "cluster": {"server": s, "certificate-authority": ca}} for n, s in clusters.items()
            ],
            "users": [{"name": u, "user": {"token": f"{u}-token"}} for u in (*USERS, "expired")],
            "contexts": [{"name": n, "context": {"cluster": c, "user": u}} for n, (c, u) in contexts.items()],
        }

    def grant(self, text: str, group: str = "readers") -> None:
        """Apply roles (YAML), those of a namespace in Calico's, and bind them to a group."""
        for role in yaml.safe_load_all(text):
            kind, name = role["kind"], role["metadata"]["name"]
            where = "" if kind == "ClusterRole" else f"namespaces/{NAMESPACE}/"
            self._put(f"{where}{kind.lower()}s", role)
            binding = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": f"{kind}Binding",
                "metadata": {"name": f"{group}-{name}"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
            }
            self._put(f"{where}{kind.lower()}bindings", binding)

    def revoke(self, role: str, group: str = "readers") -> None:
        """Take a role of Calico's namespace from a group."""
        self.call("DELETE", f"{ROLES}/namespaces/{NAMESPACE}/rolebindings/{group}-{role}")

    def _put(self, plural: str, item: Object) -> None:
        path = f"{ROLES}/{plural}"
        try:
            self.call("POST", path, item)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            self.call("PUT", f"{path}/{item['metadata']['name']}", item)

    # ---- contents

    def load(self, recording: Recording) -> None:
        """Replace all objects and answers by those of a recording."""
        lists = list(lists_of(recording))
        kinds = [crd(*entry) for entry in lists if "projectcalico" in entry[0] or "policy." in entry[0]]
        here = self._clear(kinds)
        for kind in kinds:
            if _identity(kind) not in here:
                self._define(kind)
        for entry in lists:
            self.put(stored(*entry))
        self._until("the objects are served", lambda: all(self._served(*entry) for entry in lists))
        self._until("no other kinds are served", lambda: self._extra(lists) == set(), 60)
        scratch = self.folder / "answers"
        shutil.rmtree(scratch, ignore_errors=True)
        self.replay(replay_of(recording, scratch))

    def _clear(self, kept: list[Object]) -> set[str]:
        """Remove all objects, and the kinds but those kept, which are dear to an API server; which are there still."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        wanted = {_identity(kind) for kind in kept}
        for kind in self.call("GET", path)["items"]:
            plural, _, group = kind["metadata"]["name"].partition(".")
            self.delete(f"/registry/{group}/{plural}/")  # objects with finalizers would keep their kind for ever
            if _identity(kind) not in wanted:
                self.call("DELETE", f"{path}/{kind['metadata']['name']}")

        def here() -> set[str]:
            return set(map(_identity, self.call("GET", path)["items"]))

        self._until("the old kinds are gone", lambda: here() <= wanted, 60)
        for plural in CORE:
            self.delete(f"/registry/{plural}/")
        return here()

    def _define(self, definition: Object) -> None:
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

        def made() -> bool:
            try:
                self.call("POST", path, definition)
            except urllib.error.HTTPError as error:
                return error.code == 409 and "being deleted" not in error.read().decode()
            return True

        self._until(f"{definition['metadata']['name']} is defined", made)

    def _extra(self, lists: list[tuple[str, str, Object]]) -> set[tuple[str, str]]:
        """Kinds of an earlier recording that are still served in this one's groups."""
        wanted = {(group, plural) for group, plural, _ in lists}
        groups = {group for group, _ in wanted if "projectcalico" in group}
        found = {(g, r["name"]) for g in groups for r in self.call("GET", f"/apis/{g}")["resources"]}
        return found - wanted

    def _served(self, group: str, plural: str, document: Object) -> bool:
        path = f"/apis/{group}/{plural}" if "/" in group else f"/api/{group}/{plural}"
        return len(self.call("GET", f"{path}?limit=5000")["items"]) >= len(document["items"])

    def put(self, objects: dict[str, bytes]) -> None:
        """Write objects into etcd."""
        operations = [
            {"requestPut": {"key": _b64(key.encode()), "value": _b64(value)}} for key, value in objects.items()
        ]
        for start in range(0, len(operations), BATCH):
            self._etcd("kv/txn", {"success": operations[start : start + BATCH]})

    def delete(self, prefix: str) -> None:
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        self._etcd("kv/deleterange", {"key": _b64(prefix.encode()), "range_end": _b64(end.encode())})

    def compact(self) -> None:
        """Let etcd forget all revisions but the newest."""
        revision = self._etcd("kv/range", {"key": _b64(b"x")})["header"]["revision"]
        self._etcd("kv/compaction", {"revision": revision})

    def replay(self, answers: Object) -> None:
        """Replace what the stand-in answers."""
        self.answers = answers
        making = self.folder / "replay.json.new"
        making.write_text(json.dumps(answers))
        making.rename(self.folder / "replay.json")

    def audit(self, user: str | None = None) -> list[Object]:
        """What the audit log holds, of one user or of all."""
        path = self.folder / "audit.log"
        events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [e for e in events if user in (None, e["user"]["username"])]

    def clear_audit(self) -> None:
        (self.folder / "audit.log").write_text("")

    def call(self, method: str, path: str, body: Object | None = None) -> Any:
        """A request as admin."""
        ca = self.folder / "certs" / "apiserver.crt"
        context = ssl.create_default_context(cafile=str(ca) if ca.exists() else None)
        headers = {"Authorization": "Bearer admin-token", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] == b"{" else text

    def _etcd(self, what: str, body: Object) -> Any:
        url = f"http://127.0.0.1:{self.etcd_port}/v3/{what}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _quietly(done: Callable[[], bool]) -> bool:
    try:
        return done()
    except (OSError, urllib.error.URLError):
        return False

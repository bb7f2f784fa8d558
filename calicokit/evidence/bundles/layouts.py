"""The bundles that people have: which it is, and which file of it answers what. The one place where that is decided.

Sources: calicoctl/calicoctl/commands/cluster/diags.go (v3.31 to v3.34-dev; before, calicoctl had no such command) and
commands/node/diags.go (v3.21 to v3.34-dev) in Calico's repository; kubectl's pkg/cmd/clusterinfo/clusterinfo_dump.go;
the two bundles of the lab.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache, partial

from calicokit.evidence import node_log
from calicokit.evidence.bundles import recognise
from calicokit.evidence.bundles.bundle import UNKNOWN_NODE, Bundle, Contents, ListPart, TextPart
from calicokit.evidence.bundles.kubectl_output import Documents, documents, refusal
from calicokit.evidence.bundles.unsorted_files import sort_loose
from calicokit.evidence.catalog import CATALOG, PREVIOUS, Api, Item
from calicokit.evidence.files import Files
from calicokit.evidence.model import SourceError, Want
from calicokit.evidence.recordings.recording import FOLDERS, Recording, is_recording
from calicokit.parsers.sessions import CALICO_NODE

CLUSTER_DIAGS, NODE_DIAGS = "`calicoctl cluster diags`", "`calicoctl node diags`"
DUMP = "`kubectl cluster-info dump`"
LOOSE = "this folder of outputs"


def source_in(files: Files, name: str) -> Recording | Bundle:
    """The source that these files are: a recording, a bundle, or loose outputs; the first that fits.

    Raises :class:`SourceError` with one sentence if the kit knows nothing in them.
    """
    for mark, read in _LAYOUTS:
        root = next((m[1].rstrip("/") for f in sorted(files.names) if (m := mark.match(f))), None)
        if root is not None:
            contents = read(files.below(root))
            contents.time = contents.time or _stamp(root)
            return Bundle(name, contents)
    if is_recording(files):
        return Recording(files, name)
    alone = next(iter(files.names)) if len(files.names) == 1 else None
    if alone and recognise.is_dump(files.read(alone)):
        return Bundle(name, _dump(files))
    contents = sort_loose(files, Contents("this file" if alone else LOOSE, _lacks_loose))
    if not contents.texts and not contents.lists:
        raise SourceError(_nothing(name, files, contents))
    return Bundle(name, contents)


def _stamp(folder: str) -> datetime | None:
    """When `calicoctl cluster diags` was started (UTC), from its folder's name."""
    found = re.search(r"calico-diagnostics-(\d{8}_\d{6})$", folder)
    try:
        return datetime.strptime(found[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def _nothing(name: str, files: Files, contents: Contents) -> str:
    known = (
        f"it is not a recording (manifest.json and the folders {', '.join(FOLDERS)}), no bundle of {CLUSTER_DIAGS}, "
        f"{NODE_DIAGS} or {DUMP}, and no command output that the kit parses"
    )
    first = next(iter(contents.unused), None)
    example = f"; {first}" if first and len(files.names) < 5 else ""
    return f"{name} contains nothing that calicokit recognises: {known}{example}."


# ---- calicoctl cluster diags

_NODE_LOGS = (node_log.FELIX, node_log.CONFD, node_log.BIRD, node_log.STARTUP)
_POD_LOGS = (("calico-kube-controllers-", "kube-controllers-log"), ("calico-typha-", "typha-log"))
_NODE_FILES = {
    "iptables-legacy-save.txt": "iptables-legacy-save",
    "iptables-nft-save.txt": "iptables-nft-save",
    "nft-ruleset.txt": "nft-ruleset",
    "ip-route.txt": "ip-route-all",
    "ip-route-v6.txt": "ip-route-all",
    "ip-rule.txt": "ip-rule",
    "ip-addr.txt": "ip-addr",
    "ip-neigh.txt": "ip-neigh",
    "ipset-list.txt": "ipset-list",
    "conntrack-list.txt": "conntrack",
}
"""``ip link`` and ``tc qdisc`` are run without counters, which is what the catalog's rows are about."""

_WIDE = {"pods.txt": "kubectl-get-pods-wide", "nodes.txt": "kubectl-get-nodes-wide"}


def _cluster_diags(files: Files) -> Contents:
    contents = Contents(CLUSTER_DIAGS, lambda want, item: _lacks_cluster_diags(contents, want, item))
    for path in sorted(files.names):
        match path.split("/"):
            case ["cluster", "kubernetes" | "crd", file]:
                _add_listed(contents, files, path, file)
            case ["nodes", node, file]:
                contents.known.add(node)
                _add_node_file(contents, files, path, node, file)
            case ["nodes", node, _, file]:
                contents.known.add(node)
                _add_pod_file(contents, files, path, node, file)
    if any(p.startswith("cluster/crd/") for p in files.names):
        # All kinds of these groups that the cluster has were listed.
        served = {i.id for i in _api_items() if i.id in contents.lists}
        contents.empty = {i.id for i in _api_items() if "tigera" in i.how.groups[0] and i.id not in served}  # type: ignore[union-attr]
    return contents


def _api_items() -> list[Item]:
    return [i for i in CATALOG.values() if isinstance(i.how, Api)]


@cache
def _by_file() -> dict[str, str]:
    """The list that is in a file of this name: ``pods.yaml``, ``ippools.crd.projectcalico.org.yaml``."""
    known: dict[str, str] = {}
    for item in _api_items():
        assert isinstance(item.how, Api)
        for group in item.how.groups:
            named = "projectcalico.org" in group or "tigera" in group
            for plural in item.how.plurals:
                file = f"{plural}.{group.split('/')[0]}.yaml" if named else f"{plural}.yaml"
                known.setdefault(file, item.id)  # pods are Kubernetes' own before those of metrics.k8s.io
    return known


def _add_listed(contents: Contents, files: Files, path: str, file: str) -> None:
    if id_ := _by_file().get(file):
        contents.lists[id_].append(_list_part(files, path))
    elif file in _WIDE:
        contents.texts[Want(_WIDE[file])].append(TextPart(path, partial(files.read, path)))


def _list_part(files: Files, path: str) -> ListPart:
    @cache
    def read() -> Documents:
        found = documents(files.read(path))
        return Documents(broken="it is neither YAML nor JSON") if found is None else found

    return ListPart(path, read, lambda: refusal(files.read(path)))


def _add_node_file(contents: Contents, files: Files, path: str, node: str, file: str) -> None:
    id_ = "cni-log" if re.match(r"cni[\w.:-]{0,100}\.log$", file) else _NODE_FILES.get(file)
    if id_:
        contents.texts[Want(id_, node)].append(TextPart(path, partial(files.read, path)))


def _add_pod_file(contents: Contents, files: Files, path: str, node: str, file: str) -> None:
    if file.startswith("calico-node-") and file.endswith(".previous.log"):  # POD.CONTAINER.previous.log @ HEAD
        _add_past_log(contents, files, path, node, file.split(".")[-3])
    elif file.startswith("calico-node-") and file.endswith(".log"):
        _add_node_log(contents, files, path, node)
    elif file.endswith(".txt"):
        contents.texts[Want("kubectl-describe-pods")].append(TextPart(path, partial(files.read, path)))
    elif id_ := next((i for start, i in _POD_LOGS if file.startswith(start) and file.endswith(".log")), None):
        contents.texts[Want(id_)].append(TextPart(path, partial(files.read, path)))


def _add_node_log(contents: Contents, files: Files, path: str, node: str) -> None:
    """The services whose lines are in calico-node's log, each as if it were a file of its own."""

    text = _once(files.read(path))

    @cache
    def split() -> dict[str, bytes]:
        return node_log.split(text)

    if refusal(text):
        for id_ in _NODE_LOGS:
            contents.texts[Want(id_, node)].append(TextPart(path, lambda: text))
        return
    for id_ in split():
        if id_ != node_log.UNKNOWN:
            contents.texts[Want(id_, node)].append(TextPart(path, partial(_part_of, split, id_)))


def _add_past_log(contents: Contents, files: Files, path: str, node: str, container: str) -> None:
    """The log of a container's run before: of calico-node's services, or of an init container."""
    text = files.read(path)
    if container != CALICO_NODE:
        contents.texts[Want("init-log", node)].append(TextPart(path, lambda: text))
        return
    parts = node_log.split(text)
    for id_, service in PREVIOUS.items():
        if part := parts.get(service):
            contents.texts[Want(id_, node)].append(TextPart(path, partial(bytes, part)))


_DATED = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^\n]{20,}\n", re.M)


def _once(log: bytes) -> bytes:
    """A pod's log once, where a runtime gives the same for each of the containers that `--all-containers` asks for.

    Then a line with its time to the millisecond comes again, with all that followed it.
    """
    first = _DATED.search(log)
    again = log.rfind(b"\n" + first[0]) + 1 if first else 0
    if first is None or not again or again == first.start():
        return log
    head = log[: first.start()]
    start = again - len(head)
    before, last = log[:start], log[start:]
    second = log.find(b"\n" + first[0], first.end() - 1) + 1 - len(head)
    return last if last.startswith(before[:second]) else log


def _part_of(split: Callable[[], dict[str, bytes]], id_: str) -> bytes:
    return split()[id_]


def _lacks_cluster_diags(contents: Contents, want: Want, item: Item) -> str:
    if isinstance(item.how, Api):
        if any("projectcalico" in g for g in item.how.groups):
            return "not in this bundle, which has all kinds of Calico's that the cluster has a CRD or an API for"
        return f"{CLUSTER_DIAGS} does not collect {', '.join(item.how.plurals)}"
    if want.node and want.node not in contents.nodes:
        if contents.nodes:
            return f"no outputs of that node: {CLUSTER_DIAGS} takes the first nodes only (--max-logs, --focus-nodes)"
        return (
            f"no outputs of nodes: {CLUSTER_DIAGS} looks for calico-node in namespaces named after calico or tigera "
            "only, not in kube-system"
        )
    return f"{CLUSTER_DIAGS} does not collect {_words(item)}" if item.id not in _COLLECTED else "not in this bundle"


_COLLECTED = {*_NODE_FILES.values(), *_WIDE.values(), "cni-log", *_NODE_LOGS, *PREVIOUS, "kubectl-describe-pods"} | {
    id_ for _, id_ in _POD_LOGS
}


def _words(item: Item) -> str:
    return f"{item.how.words} ({item.title})"


# ---- calicoctl node diags

_NODE_DIAGS = {
    "ipv4_route": "ip-route",
    "ipv6_route": "ip-route",
    "ipv4_addr": "ip-addr",
    "ipv6_addr": "ip-addr",
    "nft_ruleset": "nft-ruleset",
    "ipv4_tables": "iptables-save",
    "ipv6_tables": "ip6tables-save",
    "ipsets": "ipset-list",
    "ss": "ss-bgp",
}
_SERVICES = {"felix": "felix-log", "bird": "bird-log", "bird6": "bird6-log", "confd": "confd-log"}


def _node_diags(files: Files) -> Contents:
    contents = Contents(NODE_DIAGS, lambda want, item: _lacks_node_diags(want, item))
    node = _first_line(files, "hostname") or UNKNOWN_NODE
    contents.known.add(node)
    contents.time = _date(_first_line(files, "date"))
    for path in sorted(files.names):
        for id_, read in _of_node_diags(files, path):
            contents.texts[Want(id_, node)].append(TextPart(path, read))
    if not contents.texts[Want("ipset-list", node)] and "ipset_container" in files.names:
        contents.texts[Want("ipset-list", node)] = [TextPart("ipset_container", partial(files.read, "ipset_container"))]
    return contents


def _of_node_diags(files: Files, path: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    match path.split("/"):
        case [file] if file in _NODE_DIAGS:
            yield _NODE_DIAGS[file], partial(files.read, path)
        case ["logs", service, _] if service in _SERVICES:
            yield _SERVICES[service], partial(files.read, path)
        case ["logs", "cni", _]:
            yield "cni-log", partial(files.read, path)
        case ["logs", _]:
            text = files.read(path)
            for part in recognise.parts(path, text):
                if isinstance(part, recognise.Part):
                    yield part.id, partial(bytes, part.text)


def _first_line(files: Files, path: str) -> str:
    try:
        lines = files.read(path).decode("utf-8", "replace").split("\n")
    except (KeyError, OSError):
        return ""
    return lines[0].strip()


def _date(line: str) -> datetime | None:
    """What `date` prints in the C locale; of other zones than UTC the name says nothing certain."""
    match = re.fullmatch(r"\w{3} (\w{3}) +(\d{1,2}) (\d\d:\d\d:\d\d) (?:UTC|GMT|Z) (\d{4})", line)
    try:
        return datetime.strptime(" ".join(match.groups()), "%b %d %H:%M:%S %Y").replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def _lacks_node_diags(want: Want, item: Item) -> str:
    if isinstance(item.how, Api) or want.node is None:
        return f"{NODE_DIAGS} has one node's outputs and logs, but no cluster objects"
    return (
        f"{NODE_DIAGS} does not collect {_words(item)}" if item.id not in _NODE_DIAGS.values() else "not in this bundle"
    )


# ---- kubectl cluster-info dump, and loose outputs


def _dump(files: Files) -> Contents:
    contents = sort_loose(files, Contents(DUMP, _lacks_dump), other_objects=False)
    contents.partial = f"{DUMP} has the requested namespaces only; use --all-namespaces for all"
    return contents


def _lacks_dump(want: Want, item: Item) -> str:
    if isinstance(item.how, Api):
        return f"{DUMP} does not hold {', '.join(item.how.plurals)}"
    return f"{DUMP} does not hold {_words(item)}"


def _lacks_loose(want: Want, item: Item) -> str:
    if isinstance(item.how, Api):
        return (
            f"no file here is a list of {', '.join(item.how.plurals)}; `kubectl get {item.how.plurals[0]} -A -o yaml`"
        )
    return f"no file here is recognised as {_words(item)}"


_LAYOUTS: tuple[tuple[re.Pattern[str], Callable[[Files], Contents]], ...] = (
    (re.compile(r"((?:[^/]+/)*?)cluster/(?:kubernetes|crd)/[^/]+\.(?:yaml|txt)$"), _cluster_diags),
    (re.compile(r"((?:[^/]+/)*?diagnostics/)(?:ipv4_route|ipv4_tables|ipv4_addr|logs/)"), _node_diags),
    (re.compile(r"((?:[^/]+/)*?)[^/]+/(?:replication-controllers|replicasets)\.(?:json|yaml)$"), _dump),
)

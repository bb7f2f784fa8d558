"""Bundles made from a recording, in the layouts of the tools that make them (calicokit/evidence/bundles/layouts.py)."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from calicokit.evidence.catalog import CATALOG, Api
from tests import recordings

SHARED = Path("/work/shared/bundles")
NODE_FILES = {
    "iptables-legacy-save.txt": "iptables-legacy-save.txt",
    "iptables-nft-save.txt": "iptables-nft-save.txt",
    "nft-ruleset.txt": "nft-ruleset.txt",
    "ip-route.txt": "ip-route-all.txt",
    "ip-rule.txt": "ip-rule.txt",
    "ip-addr.txt": "ip-addr.txt",
    "ip-neigh.txt": "ip-neigh.txt",
    "ipset-list.txt": "ipset-list.txt",
    "conntrack-list.txt": "conntrack.txt",
    "tc-qdisc.txt": "tc-qdisc.txt",
    "cni.log.log": "cni.log",
}
"""Names in `calicoctl cluster diags`, and in a recording."""

CORE = ("nodes", "pods", "namespaces", "services", "daemonsets", "deployments", "endpointslices", "configmaps")


def top(name: str) -> str:
    """The folder of `calicoctl cluster diags` made when the recording was."""
    recorded = str(json.loads(recordings.read(name, "manifest.json"))["recorded"])
    return "calico-diagnostics-" + recorded.translate(str.maketrans("T", "_", "-:Z"))


def nodes(name: str) -> list[str]:
    return sorted({p.split("/")[1] for p in recordings.paths(name, "nodes/*")})


def listed(name: str, id: str) -> dict[str, object] | None:  # noqa: A002
    """An API list of a recording."""
    how = CATALOG[id].how
    assert isinstance(how, Api)
    path = next((p for p in how.files() if p in recordings.paths(name, "api/*")), None)
    return json.loads(recordings.read(name, path)) if path else None


def as_kubectl(found: Mapping[str, object], group: str, plural: str) -> bytes:
    """The list as `kubectl get -o yaml` prints it: each object with its kind, the list without."""
    kind = {"ipamblocks": "IPAMBlock", "ippools": "IPPool", "networkpolicies": "NetworkPolicy"}.get(plural)
    kind = kind or str(found["kind"]).removesuffix("List")
    items = [{"apiVersion": group, "kind": kind, **i} for i in found["items"]]  # type: ignore[attr-defined]
    about = {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}
    return yaml.dump(about, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)).encode()


def cluster_diags(name: str, with_nodes: bool = True) -> dict[str, bytes]:
    """The files of `calicoctl cluster diags` (v3.34)."""
    made = {f"{top(name)}/cluster/version.yaml": b"clientVersion:\n  major: '1'\n"}
    for item in CATALOG.values():
        if not isinstance(item.how, Api) or (found := listed(name, item.id)) is None:
            continue
        group = str(found.get("apiVersion") or item.how.groups[0])
        plural = next(p for p in item.how.plurals)
        if "projectcalico.org" in group or "tigera" in group:
            place = f"crd/{plural}.{group.split('/')[0]}"
        elif item.id in CORE or item.id == "kubernetes-networkpolicies":
            place = f"kubernetes/{plural}"
        else:
            continue
        made[f"{top(name)}/cluster/{place}.yaml"] = as_kubectl(found, group, plural)
        made[f"{top(name)}/cluster/{place}.txt"] = b"NAME   AGE\n"
    error = b'error: the server doesn\'t have a resource type "adminnetworkpolicies"\n'
    made[f"{top(name)}/cluster/kubernetes/adminnetworkpolicies.yaml"] = error
    for node in nodes(name) if with_nodes else ():
        made |= _node_dumps(name, node)
    return made


def _node_dumps(name: str, node: str) -> dict[str, bytes]:
    place = f"{top(name)}/nodes/{node}"
    have = set(recordings.paths(name, f"nodes/{node}/*"))
    made = {
        f"{place}/{mine}": recordings.read(name, f"nodes/{node}/{theirs}")
        for mine, theirs in NODE_FILES.items()
        if f"nodes/{node}/{theirs}" in have
    }
    paths = [f"nodes/{node}/{p}" for p in ("startup.log", "confd.log", "felix.log", "bird.log")]
    logs = [recordings.read(name, p) for p in paths if p in have]
    made[f"{place}/calico-system/calico-node-x{node}.log"] = b"\n".join(logs)
    return made


def node_diags(name: str, node: str) -> dict[str, bytes]:
    """The files of `calicoctl node diags`."""

    def read(file: str) -> bytes:
        return recordings.read(name, f"nodes/{node}/{file}")

    return {
        "diagnostics/date": b"Tue Nov 24 02:05:00 UTC 2026\n",
        "diagnostics/hostname": f"{node}\n".encode(),
        "diagnostics/netstat": b"Active Internet connections (servers and established)\n",
        "diagnostics/ipv4_route": read("ip-route.txt"),
        "diagnostics/ipv6_route": b"fe80::/64 dev eth0 proto kernel metric 256 pref medium\n",
        "diagnostics/ipv4_addr": read("ip-addr.txt"),
        "diagnostics/ipv4_tables": read("iptables-save.txt"),
        "diagnostics/ipv6_tables": read("ip6tables-save.txt"),
        "diagnostics/nft_ruleset": read("nft-ruleset.txt"),
        "diagnostics/ipset_container": read("ipset-list.txt"),
        "diagnostics/journalctl_calico_node": b"-- No entries --\n",
        "diagnostics/logs/cni/cni.log": read("cni.log"),
        "diagnostics/logs/felix/current": read("felix.log"),
        "diagnostics/logs/confd/current": read("confd.log"),
        "diagnostics/logs/container_creation_time": b"3f2a\n",
        "diagnostics/logs/3f2a.log": read("startup.log"),
    }


def cluster_info(name: str, spaces: Iterable[str] = ()) -> dict[str, bytes]:
    """The files of `kubectl cluster-info dump --output-directory`, as kubectl v1.32 writes them."""
    made = {"nodes.json": _json("NodeList", "v1", _items(name, "nodes"))}
    names = [i["metadata"]["name"] for i in _items(name, "namespaces")]
    for space in spaces or names:
        for id_, kind, group in (
            ("events", "EventList", "v1"),
            ("services", "ServiceList", "v1"),
            ("daemonsets", "DaemonSetList", "apps/v1"),
            ("deployments", "DeploymentList", "apps/v1"),
            ("pods", "PodList", "v1"),
        ):
            mine = [i for i in _items(name, id_) if i["metadata"]["namespace"] == space]
            made[f"{space}/{id_}.json"] = _json(kind, group, mine)
        made[f"{space}/replication-controllers.json"] = _json("ReplicationControllerList", "v1", [])
        for pod in [i for i in _items(name, "pods") if i["metadata"]["namespace"] == space]:
            made[f"{space}/{pod['metadata']['name']}/logs.txt"] = _logs(name, pod)
    return made


def cluster_info_stream(name: str) -> bytes:
    """What `kubectl cluster-info dump --all-namespaces` prints."""
    files = cluster_info(name)
    lists = [t for p, t in files.items() if p.endswith(".json")]
    return b"".join(lists) + b"".join(t for p, t in files.items() if p.endswith(".txt"))


def _items(name: str, id: str) -> list[dict[str, dict[str, str]]]:  # noqa: A002
    return (listed(name, id) or {}).get("items") or []  # type: ignore[return-value]


def _json(kind: str, group: str, items: list[dict[str, dict[str, str]]]) -> bytes:
    about = {"kind": kind, "apiVersion": group, "metadata": {"resourceVersion": "850"}, "items": items}
    return json.dumps(about, indent=4).encode() + b"\n"


def _logs(name: str, pod: dict[str, dict[str, str]]) -> bytes:
    text = b""
    for container in pod["spec"]["containers"]:
        which = f"{container['name']} of pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"  # type: ignore[index]
        log = b"something else\n"
        if container["name"] == "calico-node":  # type: ignore[index]
            files = ("startup.log", "felix.log", "confd.log")
            log = b"\n".join(recordings.read(name, f"nodes/{pod['spec']['nodeName']}/{f}") for f in files).rstrip(b"\n")
        # A log that does not end its last line shares it with the heading that follows.
        text += f"==== START logs for container {which} ====\n".encode() + log
        text += f"==== END logs for container {which} ====\n".encode()
    return text


def written(files: Mapping[str, bytes], folder: Path) -> Path:
    for path, data in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def packed(files: Mapping[str, bytes], target: Path, links: Mapping[str, str] = {}) -> Path:
    """A .tar.gz of the files, with symbolic links beside them."""
    with tarfile.open(target, "w:gz") as archive:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for path, to in links.items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, to
            archive.addfile(info)
    return target


def loose(name: str, skip: Iterable[str] = ()) -> dict[str, bytes]:
    """A recording's files under names that say nothing but the node."""
    kept = [p for p in recordings.paths(name) if p.startswith(("api/", "cluster/", "nodes/")) and "/series/" not in p]
    made = {}
    for number, path in enumerate(p for p in kept if p not in skip):
        folder = f"case/{path.split('/')[1]}" if path.startswith("nodes/") else "case"
        made[f"{folder}/output {number}.log"] = recordings.read(name, path)
    return made

"""The configuration of CNI plugins on a node: /etc/cni/net.d/*.conflist and *.conf.

Sources: recordings (``head -v`` of the folder's .conflist files); the CNI specification; Calico's
cni-plugin/pkg/types/types.go for the options that no recording shows. Tokens, keys and passwords are never read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.kubernetes import objects
from calicokit.schema import Column, Schema

_SOURCE = "recordings; CNI specification; cni-plugin/pkg/types/types.go"
CONFLIST = Schema(
    "cni_conflist",
    "plugins of the CNI configurations, in call order",
    (
        Column("file", "str", "path of the configuration; null where not stated"),
        Column("name", "str", "name of the network"),
        Column("cni_version", "str", "version of the CNI specification"),
        Column("position", "int", "0-based position in the plugin chain"),
        Column("type", "str", "plugin: calico, portmap, bandwidth, tuning …"),
        Column("ipam_type", "str", "IPAM plugin: calico-ipam, host-local …"),
        Column("ipv4_pools", "list", "IPv4 pools (names or CIDRs)"),
        Column("ipv6_pools", "list", "IPv6 pools (names or CIDRs)"),
        Column("assign_ipv4", "bool", "assign an IPv4 address; null for the default"),
        Column("assign_ipv6", "bool", "assign an IPv6 address; null for the default"),
        Column("subnet", "str", "host-local's subnet, such as usePodCidr"),
        Column("mtu", "int", "MTU of pod interfaces; 0: autodetected", "bytes"),
        Column("nodename", "str", "node's name in Calico"),
        Column("nodename_file", "str", "file that holds it"),
        Column("datastore_type", "str", "kubernetes or etcdv3"),
        Column("etcd_endpoints", "str", "etcd's addresses"),
        Column("kubeconfig", "str", "path of the kubeconfig"),
        Column("policy_type", "str", "policy type: k8s for Kubernetes"),
        Column("log_level", "str", "level of the plugin's log"),
        Column("log_file_path", "str", "file of the plugin's log"),
        Column("capabilities", "list", "enabled capabilities: portMappings, bandwidth …"),
        Column("snat", "bool", "portmap's snat"),
    ),
    ("file", "position"),
    source=_SOURCE,
)
FILES = Schema(
    "cni_files",
    "files in the text; those that are not a CNI configuration, such as a kubeconfig, are not parsed",
    (
        Column("file", "str", "path; null where not stated"),
        Column("read", "bool", "parsed as a CNI configuration"),
        Column("line", "int", "1-based number of its first line in the text"),
    ),
    ("file",),
    source=_SOURCE,
)

_HEADING = re.compile(r"==> (.{1,400}) <==")
_GREPPED = re.compile(r"(/[^:]{1,400}\.(?:conf|conflist|json|template)):(.*)")
_ENDINGS = (".conflist", ".conf", ".json", ".template")
_SECRET = re.compile(r"token|passw|secret|auth|key|cert|bearer|[A-Za-z0-9+/_=.-]{40}", re.IGNORECASE)


@dataclass
class _File:
    """One file of the text."""

    path: str | None
    lines: list[Line] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        return self.path is None or self.path.endswith(_ENDINGS)


def _files(text: Text) -> Iterator[_File]:
    file = _File(None)
    for line in objects.lines(text):
        grepped = _GREPPED.fullmatch(line.text)
        if grepped and grepped[1] == file.path:
            file.lines.append(Line(line.number, grepped[2]))
        elif grepped:
            if file.path or file.lines:
                yield file
            file = _File(grepped[1], [Line(line.number, grepped[2])])
        elif match := _HEADING.fullmatch(line.text.strip()):
            if file.path or file.lines:
                yield file
            file = _File(match[1])
        else:
            file.lines.append(line)
    if file.path or file.lines:
        yield file


def _documents(body: str) -> tuple[list[Any], int | None]:
    """The JSON documents in a row, and where the first that is none begins."""
    found: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    while rest := body[at:].lstrip():
        at = len(body) - len(rest)
        try:
            document, at = decoder.raw_decode(body, at)
        except (ValueError, RecursionError):
            return found, at
        found.append(document)
    return found, None


def _of(value: Any, kind: type) -> Any:
    """The value, if it is of the kind."""
    if isinstance(value, str) and kind is str:
        return objects.well_formed(value)
    return value if isinstance(value, kind) and (kind is not int or not isinstance(value, bool)) else None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _bool(value: Any) -> bool | None:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value if isinstance(value, bool) else None


def _list(value: Any) -> list[str]:
    return [objects.well_formed(v) for v in value if isinstance(v, str)] if isinstance(value, list) else []


def _mtu(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if _of(value, int) is not None and abs(value) < 1 << 31 else None


def _plugin(plugin: Mapping[str, Any]) -> dict[str, Any]:
    ipam = _map(plugin.get("ipam"))
    texts = ("type", "nodename", "nodename_file", "datastore_type", "etcd_endpoints", "log_level", "log_file_path")
    return {
        **{name: _of(plugin.get(name), str) for name in texts},
        "ipam_type": _of(ipam.get("type"), str),
        "ipv4_pools": _list(ipam.get("ipv4_pools")),
        "ipv6_pools": _list(ipam.get("ipv6_pools")),
        "assign_ipv4": _bool(ipam.get("assign_ipv4")),
        "assign_ipv6": _bool(ipam.get("assign_ipv6")),
        "subnet": _of(ipam.get("subnet"), str),
        "mtu": _mtu(plugin.get("mtu")),
        "kubeconfig": _of(_map(plugin.get("kubernetes")).get("kubeconfig"), str),
        "policy_type": _of(_map(plugin.get("policy")).get("type"), str),
        "capabilities": [k for k, v in _map(plugin.get("capabilities")).items() if v is True],
        "snat": _bool(plugin.get("snat")),
    }


def _rows(file: str | None, document: Any) -> list[dict[str, Any]]:
    """The plugins of a configuration list, or the one of a configuration; none of what is neither."""
    network = _map(document)
    plugins = network.get("plugins", [network] if "type" in network else None)
    if not isinstance(plugins, list) or not all(isinstance(p, dict) for p in plugins):
        return []
    about = {"file": file, "name": _of(network.get("name"), str), "cni_version": _of(network.get("cniVersion"), str)}
    return [{**about, "position": i, **_plugin(p)} for i, p in enumerate(plugins)]


def _mask(line: Line) -> Line:
    """The line, without what may be secret in it."""
    return Line(line.number, "(not shown)") if _SECRET.search(line.text) else line


def _refuse(text: Text, file: _File, body: str, at: int) -> None:
    """Reject the lines from where the file's text is no JSON."""
    for line in file.lines[body.count("\n", 0, at) :]:
        text.reject(_mask(line), "JSON of a CNI configuration")


@parser("cni-conflist", CONFLIST, FILES, marks=r"\"cniVersion\"")
def cni_conflist(text: Text) -> dict[str, pd.DataFrame]:
    """CNI configurations (``cat``, ``head -v`` or ``grep -r .`` of /etc/cni/net.d): one row for each plugin.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("cni-conflist", '''==> /etc/cni/net.d/10-calico.conflist <==
    ... {"name": "k8s-pod-network", "cniVersion": "1.0.0", "plugins": [
    ...   {"type": "calico", "mtu": 0, "ipam": {"type": "calico-ipam"}}]}''').frame.iloc[0]
    >>> row["file"], row["type"], row["ipam_type"]
    ('/etc/cni/net.d/10-calico.conflist', 'calico', 'calico-ipam')
    """
    rows: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    for file in _files(text):
        body = "\n".join(line.text for line in file.lines)
        found, bad = _documents(body) if file.wanted else ([], None)
        made = [row for document in found for row in _rows(file.path, document)]
        if bad is not None or (found and not made):
            _refuse(text, file, body, bad or 0)
        rows += made
        first = file.lines[0].number if file.lines else None
        files.append({"file": file.path, "read": bool(made) and bad is None, "line": first})
    return {CONFLIST.name: CONFLIST.frame(rows), FILES.name: FILES.frame(files)}

"""What ``calicoctl get``, ``calicoctl node status`` and ``calicoctl version`` print.

Sources: recordings of v3.28 and v3.34-dev; calicoctl/calicoctl/commands/node/status.go and version.go. What
``calico-node -show-status`` prints of the same: node/pkg/status/populators.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.kubernetes import boxes, objects
from calicokit.schema import Column, Schema

GET = Schema(
    "calicoctl_get",
    "objects listed by calicoctl, one row each",
    (
        Column("kind", "str", "kind, such as IPPool; null in printed tables"),
        Column("api_version", "str", "apiVersion; null in printed tables"),
        Column("namespace", "str", "namespace; null for objects without one"),
        Column("name", "str", "name"),
        Column("fields", "map", "other columns by their names in snake_case, or paths such as spec.cidr, with values"),
        Column("line", "int", "1-based line number in the text; null for YAML and JSON"),
    ),
    ("kind", "namespace", "name"),
    source="recordings of -o wide and -o yaml; JSON is the same objects",
)
STATUS = Schema(
    "calicoctl_node_status",
    "BGP peers of a node, as BIRD sees them",
    (
        Column("bgp", "int", "4 or 6: the BIRD queried"),
        Column("address", "str", "peer's address"),
        Column("port", "int", "peer's port where it is not 179"),
        Column("peer_type", "str", "node-to-node mesh, node specific or global"),
        Column("state", "str", "protocol's state in BIRD: up, start, down …"),
        Column("since", "str", "last state change, as printed: a time of day, or a date"),
        Column("info", "str", "session state and last error"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("bgp", "address"),
    source="recordings; calicoctl/calicoctl/commands/node/status.go",
)
PROCESS = Schema(
    "calicoctl_node_process",
    "calicoctl's process status of the node",
    (
        Column("process", "str", "calico, bgp, bird or bird6; null for an error"),
        Column("running", "bool", "running; null for an error"),
        Column("message", "str", "the line as printed"),
    ),
    ("process",),
    source="recordings; calicoctl/calicoctl/commands/node/status.go",
)
_POPULATORS = "node/pkg/status/populators (calico-node -show-status)"
DAEMON = Schema(
    "calicoctl_node_bird",
    "state of the node's BIRD (calico-node -show-status)",
    (
        Column("bgp", "int", "4 or 6: the BIRD queried"),
        Column("ready", "bool", "ready"),
        Column("version", "str", "BIRD's version"),
        Column("router_id", "str", "router id"),
        Column("server_time", "str", "BIRD's clock, as printed"),
        Column("last_boot", "str", "last start, as printed"),
        Column("last_reconfiguration", "str", "last reconfiguration, as printed"),
    ),
    ("bgp",),
    verified=False,
    source=_POPULATORS,
)
ROUTES = Schema(
    "calicoctl_node_routes",
    "routes of the node's BIRD (calico-node -show-status)",
    (
        Column("bgp", "int", "4 or 6: the BIRD queried"),
        Column("destination", "str", "CIDR"),
        Column("gateway", "str", "next hop; null without one"),
        Column("interface", "str", "egress interface"),
        Column("protocol", "str", "protocol's instance that it was learned from"),
        Column("primary", "bool", "best route for its destination"),
        Column("line", "int", "1-based line number in the text"),
    ),
    ("bgp", "destination", "protocol", "line"),
    verified=False,
    source=_POPULATORS,
)
VERSION = Schema(
    "calicoctl_version",
    "versions of calicoctl and of the cluster",
    (
        Column("client_version", "str", "calicoctl's version; null for a build without one"),
        Column("git_commit", "str", "git commit of calicoctl"),
        Column("cluster_version", "str", "Calico's version in the datastore; null where unknown"),
        Column("cluster_type", "list", "cluster type: k8s, bgp, kdd, typha …"),
        Column("error", "str", "why the cluster's version could not be read"),
    ),
    source="recordings; calicoctl/calicoctl/commands/version.go",
)


@parser(
    "calicoctl-get",
    GET,
    marks=(
        r"apiVersion: projectcalico\.org/v3|\"apiVersion\": ?\"projectcalico\.org/v3\""
        r"|^(NAMESPACE +)?NAME +(ASN|WORKLOAD|CIDR|PEERIP|TIER|ORDER)\b"
    ),
)
def calicoctl_get(text: Text) -> dict[str, pd.DataFrame]:
    """``calicoctl get KIND``: as a table (-o wide or none), YAML or JSON.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("calicoctl-get", '''NAME     ASN       IPV4             IPV6
    ... node-1   (64512)   172.30.0.11/24''').frame.iloc[0]
    >>> row["name"], row["fields"]["ipv4"], row["fields"]["ipv6"]
    ('node-1', '172.30.0.11/24', '')
    """
    return {GET.name: GET.frame(objects.get(text))}


_PROCESS = re.compile(
    r"(Calico) process is (not )?running\."
    r"|(None of the BGP backend processes) \(.{1,60}\) are running\."
    r"|The BGP backend process \((\S{1,40})\) is (not )?running\."
    r"|INFO: BIRDv[46] process: '(\S{1,40})' is (not )?running\."
)
_BGP = re.compile(
    r"IPv([46]) BGP status|No IPv([46]) peers found\.|bird v(?:IPv)?([46]) (?:status|BGP peers|routes)", re.IGNORECASE
)
_ADDRESS = re.compile(r"(.*?)(?:\.port\.(\d{1,5})| port (\d{1,5})|#(\d{1,5}))?")
_ERROR = re.compile(
    r"(?:[Ee]rror|[Uu]nable|Failed|WARNING|Unexpected|unexpected|Check|You must|Couldn't)\b.*|calicoctl: .*"
)
_DAEMON = {"ready": "ready", "version": "version", "routeid": "router_id", "servertime": "server_time"}
_DAEMON |= {"lastboot": "last_boot", "lastreconfig": "last_reconfiguration"}
_LEARNT = {"destination": "destination", "gateway": "gateway", "iface": "interface", "learnedfrom": "protocol"}


def _known(text: str | None) -> str | None:
    return text if text not in ("", "N/A") else None


@dataclass
class _Status:
    """Reads ``calicoctl node status`` and ``calico-node -show-status``."""

    bgp: int | None = None
    header: list[str] = field(default_factory=list)
    peers: list[dict[str, Any]] = field(default_factory=list)
    processes: list[dict[str, Any]] = field(default_factory=list)
    daemons: list[dict[str, Any]] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)

    def line(self, line: Line) -> bool:
        """Read a line; False if it is none that calicoctl prints."""
        text = line.text.strip()
        if (cells := boxes.cells(text)) is not None:
            return self.row(cells, line.number)
        if match := _BGP.fullmatch(text):
            self.bgp, self.header = int(match[1] or match[2] or match[3]), []
        elif match := _PROCESS.fullmatch(text):
            self.process(match)
        elif _ERROR.fullmatch(text):
            self.processes.append({"message": text})
        else:
            return False
        return True

    def process(self, match: re.Match[str]) -> None:
        name = "bgp" if match[3] else (match[1] or match[4] or match[6]).lower()
        stopped = bool(match[2] or match[3] or match[5] or match[7])
        self.processes.append({"process": name, "running": not stopped, "message": match[0]})

    def row(self, cells: list[str], number: int) -> bool:
        """Read a row below the header of its table; False if there is none that is known."""
        names = [objects.snake(cell) for cell in cells]
        if {"peer_address", "routeid", "destination"} & set(names):
            self.header = names
            return True
        if not self.header or len(cells) != len(self.header):
            return False
        named = dict(zip(self.header, cells, strict=True))
        if "peer_address" in named:
            self.peer(named, number)
        elif "routeid" in named:
            row = {column: _known(named.get(name)) for name, column in _DAEMON.items()}
            self.daemons.append({**row, "bgp": self.bgp, "ready": row["ready"] == "true"})
        else:
            row = {column: _known(named.get(name)) for name, column in _LEARNT.items()}
            self.routes.append({**row, "bgp": self.bgp, "primary": named.get("primary") == "*", "line": number})
        return True

    def peer(self, named: dict[str, str], number: int) -> None:
        match = _ADDRESS.fullmatch(named["peer_address"])
        port = (match[2] or match[3] or match[4]) if match else None
        peer = {k: named.get(k) or None for k in ("peer_type", "state", "since")}
        peer["info"] = named.get("info") or named.get("bgpstate") or None
        place = {"bgp": self.bgp, "address": match[1] if match else None, "port": int(port) if port else None}
        self.peers.append({**place, **peer, "line": number})


@parser(
    "calicoctl-node-status",
    STATUS,
    PROCESS,
    DAEMON,
    ROUTES,
    marks=(
        r"^(Calico process is|None of the BGP backend|IPv[46] BGP status|bird v[46] (status|BGP))"
        r"|\| *PEER ADDRESS"
    ),
)
def node_status(text: Text) -> dict[str, pd.DataFrame]:
    """``calicoctl node status`` and ``calico-node -show-status``: whether Calico runs on the node, and its BGP peers.

    The second prints BIRD's own state and its routes too, which are in ``calicoctl_node_bird`` and
    ``calicoctl_node_routes``.

    Source: see the module; node/pkg/status/populators. IPv6 peers, and -show-status, are in no recording.

    >>> from calicokit.parsers.base import parse
    >>> parsed = parse("calicoctl-node-status", '''Calico process is running.
    ...
    ... IPv4 BGP status
    ... +--------------+-------------------+-------+----------+-------------+
    ... | PEER ADDRESS | PEER TYPE         | STATE | SINCE    | INFO        |
    ... +--------------+-------------------+-------+----------+-------------+
    ... | 172.30.0.12  | node-to-node mesh | up    | 02:28:19 | Established |
    ... +--------------+-------------------+-------+----------+-------------+''')
    >>> parsed.frame["address"][0], parsed.frame["info"][0], bool(parsed.tables["calicoctl_node_process"]["running"][0])
    ('172.30.0.12', 'Established', True)
    """
    status = _Status()
    for line in boxes.whole(objects.lines(text)):
        if not status.line(line):
            text.reject(line, "a line of calicoctl node status")
    return {
        STATUS.name: STATUS.frame(status.peers),
        PROCESS.name: PROCESS.frame(status.processes),
        DAEMON.name: DAEMON.frame(status.daemons),
        ROUTES.name: ROUTES.frame(status.routes),
    }


_VERSION = re.compile(
    r"(Client Version|Git commit|Cluster Version|Cluster Calico Version|Cluster Type|Build date):\s*(.*)"
)
_VERSION_COLUMNS = {
    "Client Version": "client_version",
    "Git commit": "git_commit",
    "Cluster Version": "cluster_version",
    "Cluster Calico Version": "cluster_version",
    "Cluster Type": "cluster_type",
}


@parser("calicoctl-version", VERSION, marks=r"^Client Version:")
def version(text: Text) -> dict[str, pd.DataFrame]:
    """``calicoctl version``: versions of the client and of the cluster, one row.

    Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("calicoctl-version", '''Client Version:    v3.28.5
    ... Git commit:        c9acb46
    ... Cluster Version:   v3.28.5
    ... Cluster Type:      typha,kdd,k8s,bgp''').frame.iloc[0]
    >>> row["cluster_version"], row["cluster_type"]
    ('v3.28.5', ['typha', 'kdd', 'k8s', 'bgp'])
    """
    row: dict[str, Any] = {}
    for line in objects.lines(text):
        match = _VERSION.fullmatch(line.text.strip())
        if match and match[1] in _VERSION_COLUMNS:
            value: Any = match[2] if match[2] not in ("", "unknown") else None
            column = _VERSION_COLUMNS[match[1]]
            row[column] = value.split(",") if value and column == "cluster_type" else value
        elif _ERROR.fullmatch(line.text.strip()):
            row["error"] = line.text.strip()
        elif not match:
            text.reject(line, "a line of calicoctl version")
    return {VERSION.name: VERSION.frame([row] if row else [])}

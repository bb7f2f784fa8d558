"""calico-node's container log holds the lines of all its services; here they are told apart.

Source: node/filesystem/etc/service (runit runs felix, bird, bird6, confd and others, whose stdout and stderr are the
container's); recordings of v3.28 and v3.34 for the form of their lines.
"""

from __future__ import annotations

import re
from collections import defaultdict

FELIX, CONFD, BIRD, STARTUP = "felix-log", "confd-log", "bird-log", "startup-log"
UNKNOWN = "unknown"
"""The lines of other services (monitor-addresses, status-reporter, …), and those that cannot be told."""

FILES = {
    FELIX: (
        *("active_rules_calculator", "async_calc_graph", "bpf_ep_mgr", "calc_graph", "config_params", "daemon"),
        *("driver", "endpoint_mgr", "event_sequencer", "feature_detect", "floating_ip_mgr", "health", "hostip_mgr"),
        *("iface_monitor", "int_dataplane", "ipip_mgr", "ipsets", "label_inheritance_index", "l3_route_resolver"),
        *(
            "masq_mgr",
            "policy_mgr",
            "policy_resolver",
            "route_rule",
            "route_table",
            "rule_scanner",
            "table",
            "usagerep",
        ),
        *("vxlan_mgr", "vxlan_resolver", "wireguard", "wireguard_mgr", "xdp_state", "conntrack"),
    ),
    CONFD: ("backend", "config_reload", "processor", "resource", "template_funcs", "secret_watcher", "routes"),
    STARTUP: ("startup", "autodetection", "filtered", "interfaces", "reachaddr"),
}
"""Go files that only one service of calico-node has, which tell it in logs before v3.22, where no component stands."""

_BY_FILE = {f"{file}.go".encode(): id_ for id_, files in FILES.items() for file in files}
_COMPONENTS = {b"felix": FELIX, b"confd": CONFD, b"startup": STARTUP}
_HEAD = re.compile(
    rb"(?:\[pod/[^\]]{1,300}\] )?(?:\d{4}-\d\d-\d\dT[\d:.]{8,18}(?:Z|[+-]\d\d:\d\d) (?:std(?:out|err) [FP] )?)?"
    rb"(?:(?P<bird>(?:\d{4}-\d\d-\d\d[_ ][\d:.]{8,18} )?bird6?(?:\[\d+\])?: )"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (?:\[[A-Z]{1,9}\])?\[(?P<pid>\d{1,10})\] "
    rb"(?:(?P<component>[\w-]{1,60})/)?(?P<file>[\w.-]{1,80}\.go)?)"
)


def split(text: bytes) -> dict[str, bytes]:
    """The log's parts by catalog id; a line that starts no record stays with the record before it.

    A line whose file has no component before it (Calico before v3.22) is told by its process id, where another line of
    that process has one, or a file that only one service has; else it is in :data:`UNKNOWN`.

    >>> split(b"bird: Reconfigured\\n2026-01-02 03:04:05.678 [INFO][9] confd/run.go 8: Ready\\n  more")["confd-log"]
    b'2026-01-02 03:04:05.678 [INFO][9] confd/run.go 8: Ready\\n  more'
    """
    lines = text.splitlines(keepends=True)
    heads = [_HEAD.match(line) for line in lines]
    told = ((h["pid"], _COMPONENTS.get(h["component"]) or _BY_FILE.get(h["file"])) for h in heads if h)
    by_pid = {pid: part for pid, part in told if pid and part}
    parts: defaultdict[str, list[bytes]] = defaultdict(list)
    current = UNKNOWN
    for line, head in zip(lines, heads, strict=True):
        if head is not None:
            current = _part(head, by_pid)
        parts[current].append(line)
    return {name: b"".join(found) for name, found in parts.items()}


def _part(head: re.Match[bytes], by_pid: dict[bytes, str]) -> str:
    if head["bird"]:
        return BIRD
    if head["component"]:
        return _COMPONENTS.get(head["component"], UNKNOWN)
    return _BY_FILE.get(head["file"]) or by_pid.get(head["pid"], UNKNOWN)

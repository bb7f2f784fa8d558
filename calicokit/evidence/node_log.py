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

_COMPONENTS = {b"felix": FELIX, b"confd": CONFD, b"startup": STARTUP}
_HEAD = re.compile(
    rb"(?:\[pod/[^\]]{1,300}\] )?(?:\d{4}-\d\d-\d\dT[\d:.]{8,18}(?:Z|[+-]\d\d:\d\d) (?:std(?:out|err) [FP] )?)?"
    rb"(?:(?P<bird>(?:\d{4}-\d\d-\d\d[_ ][\d:.]{8,18} )?bird6?(?:\[\d+\])?: )"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[[A-Z]{1,9}\]\[(?P<pid>\d{1,10})\] (?:(?P<component>[\w-]{1,60})/)?)"
)


def split(text: bytes) -> dict[str, bytes]:
    """The log's parts by catalog id; a line that starts no record stays with the record before it.

    A line whose file has no component before it (Calico before v3.22) is told by its process id, where another line of
    that process has one; else it is in :data:`UNKNOWN`.

    >>> split(b"bird: Reconfigured\\n2026-01-02 03:04:05.678 [INFO][9] confd/run.go 8: Ready\\n  more")["confd-log"]
    b'2026-01-02 03:04:05.678 [INFO][9] confd/run.go 8: Ready\\n  more'
    """
    lines = text.splitlines(keepends=True)
    heads = [_HEAD.match(line) for line in lines]
    by_pid = {h["pid"]: _COMPONENTS[h["component"]] for h in heads if h and h["component"] in _COMPONENTS}
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
    return by_pid.get(head["pid"], UNKNOWN)

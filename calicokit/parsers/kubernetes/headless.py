"""Rows of kubectl's tables above which no header stands, as ``| grep`` leaves them: their cells tell which table it is.

Source: the columns of kubernetes' pkg/printers/internalversion/printers.go; for APIService, TigeraStatus and IPPool,
``additionalPrinterColumns`` of their definitions.
"""

from __future__ import annotations

import re

_AGE = r"(?:\d{1,9}[smhdy]){1,4}|<unknown>|<invalid>"
_BOOL = r"True|False|Unknown"
_IPS = r"[0-9a-fA-F:.,]{2,200}|<none>|None"
_SPACE = r"(?:(?P<namespace>[a-z0-9][a-z0-9-]{0,62})\s+)?"
_NAME = r"(?P<name>(?:[a-z0-9.-]{1,60}/)?[a-z0-9][\w.:-]{0,252})\s+"


def _row(cells: str) -> re.Pattern[str]:
    """An expression for a row of these cells: ``column=expression``, and ``?`` before those that may be left out."""
    made = _SPACE + _NAME
    end = ""
    for i, cell in enumerate(re.split(r"\s+(?=\??\w+=)", cells.strip())):
        column, _, expression = cell.lstrip("?").partition("=")
        gap = r"\s+" if i else ""
        if cell[0] == "?":
            made, end = f"{made}(?:{gap}(?P<{column}>{expression})", end + ")?"
        else:
            made += f"{gap}(?P<{column}>{expression})"
    return re.compile(made + end)


_ROWS = tuple(
    _row(cells)
    for cells in (
        rf"ready=\d+/\d+ status=[A-Z][\w:/.-]* restarts=\d+(?:\ \([\w.\ ]{{1,40}}\ ago\))? age={_AGE} "
        rf"?ip={_IPS} ?node=\S+ ?nominated_node=\S+ ?readiness_gates=\S+",
        rf"ready=\d+/\d+ up_to_date=\d+ available=\d+ age={_AGE} ?containers=\S+ ?images=\S+ ?selector=\S+",
        rf"ready=\d+/\d+ age={_AGE} ?containers=\S+ ?images=\S+",
        rf"desired=\d+ current=\d+ ready=\d+ up_to_date=\d+ available=\d+ node_selector=\S+ age={_AGE} "
        r"?containers=\S+ ?images=\S+ ?selector=\S+",
        rf"desired=\d+ current=\d+ ready=\d+ age={_AGE} ?containers=\S+ ?images=\S+ ?selector=\S+",
        rf"status=(?:Not)?Ready(?:,\w+)*  roles=\S+ age={_AGE} version=v\d\S* ?internal_ip={_IPS} ?external_ip={_IPS} "
        r"?os_image=\S.*? ?kernel_version=\d\S*?-\S* ?container_runtime=[a-z-]+://\S+",
        rf"type=ClusterIP|NodePort|LoadBalancer|ExternalName cluster_ip={_IPS} external_ip=\S+ "
        rf"port_s=(?:\d[\w:/,.-]*|<none>) age={_AGE} ?selector=\S+",
        rf"service=Local|[\w.-]+/[\w.-]+ available=(?:{_BOOL})(?:\ \(\w+\))? age={_AGE}",
        rf"available={_BOOL} progressing={_BOOL} degraded={_BOOL} since={_AGE} ?message=\S.*",
        rf"status=Active|Terminating age={_AGE}",
    )
)


def row(line: str) -> dict[str, str] | None:
    """The cells by column of a row of a pod, node, service, workload, namespace, API service or TigeraStatus.

    >>> row("calico-node-4fz7p   0/1   Running   9 (61s ago)   93m")["restarts"]
    '9 (61s ago)'
    >>> row("something else")
    """
    for pattern in _ROWS:
        if match := pattern.fullmatch(line):
            return {name: text for name, text in match.groupdict().items() if text is not None}
    return None


MARKS = (
    rf"^[a-z0-9][\w.:/-]*[ \t]+(?:[a-z0-9][\w.:-]*[ \t]+)?"
    rf"(?:\d+/\d+[ \t]+(?:[A-Z]\w*[ \t]+\d+|\d+[ \t]+\d+[ \t]+(?:{_AGE})|(?:{_AGE})[ \t]*$)"
    rf"|(?:Not)?Ready(?:,\w+)*[ \t]+\S+[ \t]+(?:{_AGE})[ \t]+v\d|(?:ClusterIP|NodePort|LoadBalancer)[ \t]"
    rf"|(?:Local|[\w.-]+/[\w.-]+)[ \t]+(?:{_BOOL})(?: \(\w+\))?[ \t]+(?:{_AGE})"
    rf"|(?:{_BOOL})[ \t]+(?:{_BOOL})[ \t]+(?:{_BOOL})\s"
    rf"|(?:\d+[ \t]+){{3,5}}(?:\S+[ \t]+)?(?:{_AGE})[ \t]*$|(?:Active|Terminating)[ \t]+(?:{_AGE})[ \t]*$)"
)
"""What shows such a row in a text."""

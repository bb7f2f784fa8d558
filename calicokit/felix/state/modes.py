"""Which dataplane Felix runs on each node: one answer, from what is in force there, for all who need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from calicokit.felix.state.configuration import DISABLING, in_ebpf, in_force
from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, cells

MODES = Schema(
    "felix.modes",
    "Whether Felix on each node runs the eBPF dataplane, and where it does not although its settings ask for it.",
    (
        Column("node", "str", "node"),
        Column("mode", "str", "ebpf; half-way: asked for and not run; netfilter: iptables or nftables"),
        Column("origin", "str", "where the value in force is from, as in felix.configuration"),
        Column("said_by", "str", "felix or settings, as in felix.configuration"),
        Column("asked", "str", "what the settings ask for where Felix does something else"),
        Column("why", "str", "Felix's word on why it runs no eBPF; null where it gave none"),
        Column("attach_type", "str", "how programs are to be attached: Netkit, TCX or TC; Felix may take the next"),
        Column("external", "str", "how external clients' packets come back: Tunnel or DSR"),
        Column("connect_time", "str", "which traffic of host processes is balanced as they connect"),
        Column("rpf", "str", "reverse-path check of the programs: Strict, Loose or Disabled"),
    ),
    key=("node",),
)

EBPF, HALF_WAY, NETFILTER = "ebpf", "half-way", "netfilter"

FIELDS = {
    "attach_type": "bpfAttachType",
    "external": "bpfExternalServiceMode",
    "connect_time": "bpfConnectTimeLoadBalancing",
    "rpf": "bpfEnforceRPF",
}


@table(MODES, needs={"felix": "felix.configuration"}, wants={"log": "output.felix_log"})
def modes(felix: pd.DataFrame, log: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a node; see :data:`MODES`. Settings of the eBPF dataplane are null where it does not run."""
    said = _refusals(log)
    fields = {column: in_force(felix, name) for column, name in FIELDS.items()}
    rows: list[dict[str, Any]] = []
    own = felix[felix["field"] == "bpfEnabled"]
    for node, value, origin, said_by, asked in cells(own, "node", "value", "origin", "said_by", "settings"):
        on = value == "true"
        half = not on and isinstance(asked, str) and asked.startswith("true")
        row = {"node": node, "mode": EBPF if on else HALF_WAY if half else NETFILTER, "origin": origin}
        row |= {"said_by": said_by, "asked": asked if isinstance(asked, str) else None}
        row["why"] = said.get(node) if half else None
        rows.append(row | {c: of.get(node) if on else None for c, of in fields.items()})
    return MODES.frame(rows)


def _refusals(log: pd.DataFrame | None) -> dict[str, str]:
    """Node → why Felix could not run eBPF, as its log says it last."""
    if log is None:
        return {}
    lines = log[log["message"].fillna("").str.contains(DISABLING, regex=False)]
    return {
        node: more if isinstance(more, str) else words
        for node, words, more in cells(lines, "node", "message", "fields")
    }


def in_mode(modes: pd.DataFrame | None, *wanted: str) -> set[str]:
    """The nodes in one of these modes; none where modes are not known."""
    return set() if modes is None else {n for n, m in cells(modes, "node", "mode") if m in wanted}


def seen_with_ebpf(felix: pd.DataFrame | None, inputs: Mapping[str, Any]) -> bool:
    """Whether all of these inputs, by their names, are known; False where one is not, and no node runs eBPF.

    Raises ``UnseenError`` where one is not and a node does, or may.
    """
    lost = [name for name, value in inputs.items() if value is None]
    if lost and (felix is None or in_ebpf(felix)):
        raise UnseenError(names=lost)
    return not lost

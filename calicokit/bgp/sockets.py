"""What each node's kernel shows of BGP: its sockets, and segments dropped for their MD5 signature."""

from __future__ import annotations

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

SOCKETS = Schema(
    "bgp.sockets",
    "Sockets of BGP: those that listen, and those that wait for an answer.",
    (
        Column("node", "str", "node"),
        Column("state", "str", "LISTEN, SYN-SENT or SYN-RECV"),
        Column("local_address", "str", "own address; * or 0.0.0.0 is any"),
        Column("local_port", "int", "own port"),
        Column("peer_address", "str", "the other end's address"),
        Column("peer_port", "int", "the other end's port"),
        Column("process", "str", "process; null where it is not shown"),
        Column("line", "int", "line in the output"),
        Column("evidence", "str", "where this was read"),
    ),
)

SIGNATURES = Schema(
    "bgp.md5",
    "TCP segments that each node dropped for their MD5 signature, since it started.",
    (
        Column("node", "str", "node"),
        Column("missing", "int", "without a signature, where one is expected (TcpExtTCPMD5NotFound)"),
        Column("unexpected", "int", "with one, where none is expected (TcpExtTCPMD5Unexpected)"),
        Column("wrong", "int", "with a wrong one (TcpExtTCPMD5Failure)"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node",),
)


@table(SOCKETS, needs=("ss-bgp",), wants=("bgp.nodes",))
def sockets(answers: Texts, nodes: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each socket of BGP that listens or is half open; see :data:`SOCKETS`."""
    ports = {179, *(() if nodes is None else nodes["listen_port"].dropna().astype(int))}
    found = answers.table("ss", SOCKETS)
    mine = found["local_port"].isin(ports) & found["state"].isin(["LISTEN", "SYN-RECV"])
    return SOCKETS.take(found[mine | found["peer_port"].isin(ports) & found["state"].eq("SYN-SENT")])


_COUNTERS = {
    "TcpExtTCPMD5NotFound": "missing",
    "TcpExtTCPMD5Unexpected": "unexpected",
    "TcpExtTCPMD5Failure": "wrong",
}


@table(SIGNATURES, needs=("nstat",))
def md5(answers: Texts) -> pd.DataFrame:
    """One row for each node whose counters were seen; see :data:`SIGNATURES`."""
    rows = []
    for frame in answers.frames("nstat"):
        counts = {_COUNTERS[c]: v for c, v in cells(frame, "counter", "value") if c in _COUNTERS}
        if counts:
            rows.append({**counts, "node": frame["node"].iloc[0], "evidence": frame["evidence"].iloc[0]})
    return SIGNATURES.frame(rows)

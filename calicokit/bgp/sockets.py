"""BGP in each node's kernel: TCP sockets on port 179, and segments dropped for their MD5 signature."""

from __future__ import annotations

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

SOCKETS = Schema(
    "bgp.sockets",
    "BGP sockets that listen or wait for a TCP handshake.",
    (
        Column("node", "str", "node"),
        Column("state", "str", "LISTEN, SYN-SENT or SYN-RECV"),
        Column("local_address", "str", "local address; * or 0.0.0.0 is any"),
        Column("local_port", "int", "local port"),
        Column("peer_address", "str", "peer address"),
        Column("peer_port", "int", "peer port"),
        Column("process", "str", "process; null where not shown"),
        Column("line", "int", "line in the output"),
        Column("evidence", "str", "where this was read"),
    ),
)

SIGNATURES = Schema(
    "bgp.md5",
    "TCP segments that each node dropped for their MD5 signature, since boot.",
    (
        Column("node", "str", "node"),
        Column("missing", "int", "signature expected but missing (TcpExtTCPMD5NotFound)"),
        Column("unexpected", "int", "unexpected signature (TcpExtTCPMD5Unexpected)"),
        Column("wrong", "int", "wrong signature (TcpExtTCPMD5Failure)"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node",),
)


@table(SOCKETS, needs={"answers": "ss-bgp"}, wants={"nodes": "bgp.nodes"})
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


@table(SIGNATURES, needs={"answers": "nstat"})
def md5(answers: Texts) -> pd.DataFrame:
    """One row for each node whose counters were seen; see :data:`SIGNATURES`."""
    rows = []
    for frame in answers.frames("nstat"):
        counts = {_COUNTERS[c]: v for c, v in cells(frame, "counter", "value") if c in _COUNTERS}
        if counts:
            rows.append({**counts, "node": frame["node"].iloc[0], "evidence": frame["evidence"].iloc[0]})
    return SIGNATURES.frame(rows)

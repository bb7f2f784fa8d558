"""BIRD's sessions and BIRD as a daemon, as birdcl prints them on each node: of IPv4, and of IPv6, which bird6 has.

BIRD 1.6 (Calico's) keeps a session's last error until the session is established again; a session that nobody answers
has none (source: BIRD's proto/bgp/bgp.c; docs/bgp.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pandas as pd

from calicokit.bgp.codes import NODE, READ, together
from calicokit.evidence.texts import Texts
from calicokit.registry import table
from calicokit.schema import Column, Schema

PROTOCOLS = Schema(
    "bgp.protocols",
    "BGP sessions as BIRD prints them (birdcl show protocols all).",
    (
        NODE,
        Column("protocol", "category", "protocol name of the session in BIRD"),
        Column("kind", "category", "Mesh, Global, Node or Local_Workload, from confd's name; null for others"),
        Column("peer_address", "category", "address of the other end"),
        Column("family", "int", "4 or 6"),
        Column("state", "category", "BIRD's state: up, start, stop, down, …"),
        Column("since", "category", "last change of the state, as printed"),
        Column(
            "bgp_state", "category", "Established, Active, Connect, Passive, OpenSent, OpenConfirm, Idle, Close, Down"
        ),
        Column("last_error", "category", "last error; BIRD clears it when the session is established"),
        Column("peer_as", "int", "AS expected of the peer; null where not printed"),
        Column("source_address", "category", "local address of the session"),
        Column("session", "category", "internal or external, multihop, route-reflector, AS4"),
        Column("imported", "int", "routes imported"),
        Column("exported", "int", "routes exported"),
        Column("restarting", "bool", "the peer is in graceful restart"),
        READ,
    ),
    key=("node", "protocol"),
)

STATUS = Schema(
    "bgp.daemons",
    "BIRD daemon status: clock, start and configuration time (birdcl show status).",
    (
        Column("node", "str", "node"),
        Column("family", "int", "4 or 6: BIRD runs once for each"),
        Column("version", "str", "version of BIRD"),
        Column("router_id", "str", "router id"),
        Column("server_time", "time", "its clock"),
        Column("started", "time", "when it started"),
        Column("configured", "time", "last configuration load"),
        Column("restarting", "bool", "recovering from its own graceful restart"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "family"),
)


@table(
    PROTOCOLS,
    any_of={
        "details": "birdcl-protocols-all",
        "brief": "birdcl-protocols",
        "details6": "birdcl6-protocols-all",
        "brief6": "birdcl6-protocols",
    },
)
def protocols(
    details: Texts | None, brief: Texts | None, details6: Texts | None = None, brief6: Texts | None = None
) -> pd.DataFrame:
    """One row for each node and session; details where there are any. See :data:`PROTOCOLS`."""
    return together(PROTOCOLS, chain(_fullest(details, brief), _fullest(details6, brief6)))


def _fullest(details: Texts | None, brief: Texts | None) -> Iterator[pd.DataFrame]:
    told = {str(f["node"].iloc[0]): _session_rows(f) for f in _printed(details)}
    yield from told.values()
    yield from (_session_rows(f) for f in _printed(brief) if str(f["node"].iloc[0]) not in told)


def _printed(texts: Texts | None) -> Iterator[pd.DataFrame]:
    yield from (f for f in (texts.frames("bird-protocols") if texts else ()) if len(f))


def _session_rows(printed: pd.DataFrame) -> pd.DataFrame:
    own = printed[printed["proto"] == "BGP"]
    address = own["neighbor_address"].fillna(own["peer"])
    session = [" ".join(s) if isinstance(s, list) else None for s in own["session"]]
    return pd.DataFrame(
        {
            **{
                c: own[c] for c in ("node", "protocol", "kind", "state", "since", "bgp_state", "last_error", "evidence")
            },
            "peer_address": address,
            "family": [6 if isinstance(a, str) and ":" in a else 4 for a in address],
            "peer_as": own["neighbor_as"],
            "source_address": own["source_address"],
            "session": session,
            "imported": own["routes_imported"],
            "exported": own["routes_exported"],
            "restarting": own["graceful_restart_active"],
        }
    )


@table(STATUS, any_of={"answers": "birdcl-status", "answers6": "birdcl6-status"})
def daemons(answers: Texts | None, answers6: Texts | None = None) -> pd.DataFrame:
    """One row for each node and BIRD that answered; see :data:`STATUS`."""
    families = ((4, answers), (6, answers6))
    found = [f.assign(family=v) for v, texts in families if texts for f in texts.frames("bird-status") if len(f)]
    if not found:
        return STATUS.frame()
    every = pd.concat(found, ignore_index=True)
    names = {"last_reboot": "started", "last_reconfiguration": "configured", "graceful_restart": "restarting"}
    return STATUS.take(every.rename(columns=names))

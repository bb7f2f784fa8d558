"""When sessions changed: from BIRD's ``since``, and from its log where that has times."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

TIMELINE = Schema(
    "bgp.timeline",
    "Periods in which a session stayed in one state; the last one ends at the time of observation.",
    (
        Column("node", "category", "node"),
        Column("protocol", "category", "name of the session"),
        Column("peer", "category", "the other end"),
        Column("state", "category", "up or down"),
        Column("what", "category", "state and last error from BIRD, or the log line that ended the period"),
        Column("start", "time", "when it began"),
        Column("end", "time", "when it ended"),
        Column("source", "category", "since: BIRD's reported state; log: its log"),
    ),
    key=("node", "protocol", "start"),
)

EVENTS = Schema(
    "bgp.session_events",
    "Session events in BIRD's log, line by line.",
    (
        Column("node", "str", "node"),
        Column("protocol", "str", "session"),
        Column("time", "time", "time of the log line; null without timestamps"),
        Column("event", "str", "up, down, error or connect"),
        Column("message", "str", "the line"),
        Column("line", "int", "its number in the log"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("evidence", "line"),
)

_DOWN = ("stop", "down", "start", "flush")


@table(EVENTS, any_of={"four": "output.bird_log", "six": "output.bird6_log"})
def session_events(four: pd.DataFrame | None, six: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each line that tells of a session; see :data:`EVENTS`."""
    log = pd.concat([f for f in (four, six) if f is not None], ignore_index=True)
    told = log[log["peer"].notna() & ~log["event"].isin(["route", "reconfigure"])]
    event = pd.Series("connect", index=told.index).where(told["event"].isin(["connect", "collision"]), "error")
    event = event.mask(told["state"].eq("up"), "up").mask(told["state"].isin(_DOWN), "down")
    quiet = told["event"].eq("state-change") & ~event.isin(["up", "down"])
    return EVENTS.take(told.assign(event=event)[~quiet.fillna(False).astype(bool)])


@table(
    TIMELINE,
    needs={"sessions": "bgp.sessions"},
    wants={"events": "bgp.session_events", "compared": "bgp.compared", "now": "@now"},
)
def timeline(
    sessions: pd.DataFrame,
    events: pd.DataFrame | None = None,
    compared: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each span; see :data:`TIMELINE`. Sessions whose ``since`` is not known have none."""
    known = sessions[sessions["since"].notna() & sessions["protocol"].notna()]
    peers = {} if compared is None else _peers(compared)
    present = TIMELINE.take(
        known.assign(
            peer=[peers.get(a, a) for a in known["peer_address"].astype("str")],
            state=["up" if u else "down" for u in known["up"]],
            what=known["last_error"].astype("str").where(known["last_error"].notna(), known["bgp_state"].astype("str")),
            start=known["since"],
            end=pd.Series(now, index=known.index, dtype="datetime64[ns, UTC]"),
            source="since",
        )
    )
    past = _past(events, present) if events is not None else []
    if not past:
        return present
    return TIMELINE.take(pd.concat([TIMELINE.frame(past), present], ignore_index=True))


def _peers(compared: pd.DataFrame) -> dict[str, str]:
    """Name of each address's owner."""
    rows = compared[["peer_address", "peer"]].drop_duplicates()
    return {str(a): str(p) for a, p in cells(rows, "peer_address", "peer")}


def _past(events: pd.DataFrame, present: pd.DataFrame) -> list[dict[str, Any]]:
    """What was before, as far as the log has times."""
    timed = events[events["time"].notna() & events["event"].isin(["up", "down", "error"])]
    peers = dict(zip(cells(present, "node", "protocol"), present["peer"], strict=True))
    starts = dict(zip(cells(present, "node", "protocol"), present["start"], strict=True))
    rows: list[dict[str, Any]] = []
    for (node, protocol), group in timed.groupby(["node", "protocol"]):
        state, began, why = None, None, None
        for event, time, message in cells(group, "event", "time", "message"):
            if event == "error":
                why = message
                continue
            if event != state:
                rows += _span(node, protocol, peers, state, began, time, why)
                state, began, why = event, time, None
        rows += _span(node, protocol, peers, state, began, starts.get((node, protocol)), why)
    return rows


def _span(
    node: Any, protocol: Any, peers: dict[Any, Any], state: str | None, began: Any, ended: Any, why: str | None
) -> list[dict[str, Any]]:
    if state is None or ended is None or pd.isna(ended) or not began < ended:
        return []
    row = {"node": node, "protocol": protocol, "peer": peers.get((node, protocol)), "state": state, "what": why}
    return [{**row, "start": began, "end": ended, "source": "log"}]

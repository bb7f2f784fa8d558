"""bird.cfg, and what BIRD runs, against what the resources ask for, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

DIFFERENCES = Schema(
    "bgp.config_differences",
    "Where bird.cfg, or what BIRD runs, is not what the resources ask for.",
    (
        Column("node", "str", "node"),
        Column("protocol", "str", "session; null for what concerns all of BIRD"),
        Column("field", "str", "what differs: session, peer_as, local_as, source_address, passive, import_filter, …"),
        Column("expected", "str", "what the resources ask for; null for nothing"),
        Column("found", "str", "what is there; null for nothing"),
        Column("where", "str", "bird.cfg, or bird: what BIRD runs"),
        Column("line", "int", "line in bird.cfg"),
        Column("peer", "str", "the other end of the session"),
        Column("why", "str", "the resource that asks for it"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "protocol", "field", "where"),
)

FIELDS = {
    "peer_address": "peer_address",
    "peer_port": "peer_port",
    "peer_as": "peer_as",
    "local_as": "local_as",
    "source_address": "source_address",
    "passive": "passive",
    "rr_client": "rr_client",
    "cluster_id": "cluster_id",
    "ttl": "ttl",
    "next_hop": "next_hop",
    "restart_time": "restart_time",
    "keepalive_time": "keepalive_time",
    "allow_local_as": "allow_local_as",
}
"""Columns that both tables have."""

YOUNG = pd.Timedelta(seconds=30)
"""confd has so long to take up what is new."""

_ROUTINE = re.compile(
    r"accept|reject|all|calico_export_to_bgp_peers(?:\((?:true|false)?\))?|preference = \d+"
    r"|(?:krt_metric|bgp_local_pref) = [\w -]+|'?bgp_.{1,60}_(?:im|ex)portFilterV[46]'?\((?:true|false)?\)"
)
"""Statements that confd writes into a session's filter, in any version since v3.26 (before, it was one name)."""

_NAMED = re.compile(r"(?:Mesh|Node|Global|Local_Workload)_")


@table(
    DIFFERENCES,
    needs=("bgp.expected", "bgp.nodes", "bgp.configuration"),
    wants=("bgp.configured", "bgp.settings", "bgp.protocols", "bgpfilters", "@now"),
)
def config_differences(
    expected: pd.DataFrame,
    nodes: pd.DataFrame,
    configuration: pd.DataFrame,
    configured: pd.DataFrame | None = None,
    settings: pd.DataFrame | None = None,
    protocols: pd.DataFrame | None = None,
    filters: Any = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each difference; see :data:`DIFFERENCES`. Sessions with nodes of the last seconds do not count."""
    v4 = expected[(expected["family"] == 4) & ~expected["contested"].fillna(False)]
    young = set() if now is None else set(nodes[now - nodes["created"] < YOUNG]["node"])
    rows: list[dict[str, Any]] = []
    if configured is not None and settings is not None:
        own_as = list(_own_as(nodes, settings))
        known = {(r["node"], r["found"]) for r in own_as}  # of the node's template: told once, not for each session
        in_file = list(_in_file(v4, expected, configured, settings))
        rows += own_as
        rows += [r for r in in_file if r["field"] != "local_as" or (r["node"], r["found"]) not in known]
        rows += _in_filters(configured)
        rows += _in_settings(nodes, settings)
    if protocols is not None:
        rows += _in_bird(v4, expected, protocols)
    kept = [r for r in rows if r.get("peer") not in young and r["node"] not in young]
    return DIFFERENCES.frame(kept).sort_values(["node", "where"], kind="stable", ignore_index=True)


def _in_file(
    expected: pd.DataFrame, every: pd.DataFrame, configured: pd.DataFrame, settings: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Sessions missing in the file or in it for no reason, and fields of the others."""
    files = dict(cells(settings.drop_duplicates("node"), "node", "evidence"))
    mine = expected[expected["node"].isin(files)]
    both = _plain(mine).merge(_plain(configured), on=["node", "protocol"], how="outer", suffixes=("", "_found"))
    for row in records(both[both["peer_address_found"].isna()]):
        yield _difference(row, "session", row.protocol, None, evidence=files.get(row.node))
    known = set(cells(_plain(every), "node", "protocol"))
    for row in records(both[both["peer_address"].isna()]):
        if (row.node, row.protocol) not in known and _NAMED.match(row.protocol):
            yield _difference(row, "session", None, row.protocol, line=row.line, evidence=row.evidence)
    pairs = both[both["peer_address"].notna() & both["peer_address_found"].notna()]
    for field, other in FIELDS.items():
        for row in records(pairs[_differ(pairs[field], pairs[f"{other}_found"])]):
            want, have = getattr(row, field), getattr(row, f"{other}_found")
            yield _difference(row, field, _text(want), _text(have), line=row.line, evidence=row.evidence)
    wants, has = pairs["password"].notna(), pairs["password_found"].fillna(False).astype(bool)
    for row in records(pairs[wants != has]):
        want = row.password if isinstance(row.password, str) else None
        have = "set" if row.password_found else None
        yield _difference(row, "password", want, have, line=row.line, evidence=row.evidence)
    for row in records(pairs[pairs["disabled"].fillna(False).astype(bool)]):
        yield _difference(row, "disabled", "no", "yes", line=row.line, evidence=row.evidence)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """With text instead of categories, which two tables do not share."""
    return frame.astype({c: "str" for c in frame.columns if str(frame[c].dtype) == "category"})


def _differ(want: pd.Series[Any], have: pd.Series[Any]) -> pd.Series[bool]:
    same = (want == have).fillna(False).astype(bool)
    return ~(same | (want.isna() & have.isna()))


def _difference(
    row: Any,
    field: str,
    expected: str | None,
    found: str | None,
    where: str = "bird.cfg",
    line: Any = None,
    evidence: str | None = None,
) -> dict[str, Any]:
    peer, why = getattr(row, "peer", None), getattr(row, "why", None)
    return {
        "node": row.node,
        "protocol": row.protocol,
        "field": field,
        "expected": expected,
        "found": found,
        "where": where,
        "line": None if line is None or pd.isna(line) else int(line),
        "peer": peer if isinstance(peer, str) else None,
        "why": why if isinstance(why, str) else None,
        "evidence": evidence,
    }


def _text(value: Any) -> str | None:
    if value is None or pd.isna(value):
        return None
    return {True: "yes", False: "no"}[bool(value)] if str(value) in ("True", "False") else str(value)


def _in_filters(configured: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Statements in a session's filters that confd never writes; what most nodes have is their version's template."""
    total = configured["node"].nunique()
    for column in ("import_filter", "export_filter"):
        odd: dict[str, set[str]] = {}
        for node, said in cells(configured.drop_duplicates(["node", column]), "node", column):
            for statement in said.split("; ") if isinstance(said, str) and said != _OLD_EXPORT else ():
                if not _ROUTINE.fullmatch(statement):
                    odd.setdefault(statement, set()).add(node)
        rare = {s: nodes for s, nodes in odd.items() if 2 * len(nodes) < total}
        for row in records(configured) if rare else ():
            mine = [s for s in str(getattr(row, column)).split("; ") if row.node in rare.get(s, ())]
            if mine:
                yield _difference(row, column, None, "; ".join(mine), line=row.line, evidence=row.evidence)


_OLD_EXPORT = "calico_export_to_bgp_peers"


def _own_as(nodes: pd.DataFrame, settings: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The AS in the template that all sessions of a node are made from."""
    wanted = dict(cells(nodes, "node", "as_number"))
    for row in records(settings[settings["key"] == "template: local as"]):
        if row.node in wanted and str(wanted[row.node]) != row.value:
            found = _difference(_About(row.node), "local_as", str(wanted[row.node]), row.value, line=row.line)
            yield {**found, "evidence": row.evidence}


def _in_settings(nodes: pd.DataFrame, settings: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The port on which BIRD is to listen."""
    ports = dict(cells(nodes, "node", "listen_port"))
    found = {r.node: r for r in records(settings[settings["key"] == "listen bgp port"])}
    for row in records(settings.drop_duplicates("node")):
        want, have = ports.get(row.node), found.get(row.node)
        wanted = None if want is None or pd.isna(want) else str(int(want))
        there = None if have is None else str(have.value)
        if wanted != there and row.node in ports:
            about = _About(row.node)
            line = None if have is None else have.line
            yield _difference(about, "listen port", wanted, there, line=line, evidence=row.evidence)


class _About:
    """A difference of a node's, not of a session's."""

    protocol = None

    def __init__(self, node: str) -> None:
        self.node = node


def _in_bird(expected: pd.DataFrame, every: pd.DataFrame, protocols: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Sessions that BIRD does not run or runs for no reason, and the AS that it asks of the others."""
    answered = set(protocols["node"].unique())
    mine = expected[expected["node"].isin(answered)]
    both = _plain(mine).merge(_plain(protocols), on=["node", "protocol"], how="outer", suffixes=("", "_found"))
    for row in records(both[both["state"].isna()]):
        yield _difference(row, "session", row.protocol, None, "bird")
    known = set(cells(_plain(every), "node", "protocol"))
    for row in records(both[both["peer_address"].isna() & both["kind_found"].notna()]):
        if (row.node, row.protocol) not in known:
            yield _difference(row, "session", None, row.protocol, "bird", evidence=row.evidence)
    pairs = both[both["peer_address"].notna() & both["state"].notna()]
    for field in ("peer_as", "source_address"):
        told = pairs[pairs[f"{field}_found"].notna() & pairs[field].notna()]
        for row in records(told[_differ(told[field], told[f"{field}_found"])]):
            want, have = getattr(row, field), getattr(row, f"{field}_found")
            yield _difference(row, field, _text(want), _text(have), "bird", evidence=row.evidence)

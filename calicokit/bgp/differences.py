"""bird.cfg, and what BIRD runs, against what the resources ask for, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from calicokit.bgp.codes import Codes, Mask, Words, lookup, taken
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records

DIFFERENCES = Schema(
    "bgp.config_differences",
    "Differences between the resources and bird.cfg, bird6.cfg or the running BIRD.",
    (
        Column("node", "str", "node"),
        Column("protocol", "str", "session; null for global settings"),
        Column("field", "str", "what differs: session, peer_as, local_as, source_address, passive, import_filter, …"),
        Column("expected", "str", "value from the resources; null for none"),
        Column("found", "str", "actual value; null for none"),
        Column("where", "str", "bird.cfg or bird6.cfg, or bird: the running BIRD"),
        Column("line", "int", "line in that file where its block begins"),
        Column("peer", "str", "peer of the session"),
        Column("why", "str", "the resource that configures it"),
        Column("evidence", "str", "where this was read"),
    ),
    key=("node", "protocol", "field", "where"),
)

FIELDS = (
    *("peer_address", "peer_port", "peer_as", "local_as", "source_address", "passive", "rr_client", "cluster_id"),
    *("ttl", "next_hop", "restart_time", "keepalive_time", "allow_local_as"),
)
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
    needs={"expected": "bgp.expected", "nodes": "bgp.nodes", "configuration": "bgp.configuration"},
    wants={"configured": "bgp.configured", "settings": "bgp.settings", "protocols": "bgp.protocols", "now": "@now"},
)
def config_differences(
    expected: pd.DataFrame,
    nodes: pd.DataFrame,
    configuration: pd.DataFrame,
    configured: pd.DataFrame | None = None,
    settings: pd.DataFrame | None = None,
    protocols: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each difference; see :data:`DIFFERENCES`. Sessions with nodes of the last seconds do not count."""
    young = set() if now is None else set(nodes[now - nodes["created"] < YOUNG]["node"])
    rows: list[dict[str, Any]] = []
    for version, file in ((4, "bird.cfg"), (6, "bird6.cfg")):
        # Of a node without an IPv6 address nothing is asked there.
        own = nodes if version == 4 else nodes[nodes["address6"].notna()]
        every, mine, said, runs = (_of(f, version) for f in (expected, configured, settings, protocols))
        assert every is not None  # it is needed
        sure = every[~every["contested"].fillna(False)]
        if mine is not None and said is not None:
            rows += ({**r, "where": file} for r in _in_files(sure, every, own, mine, said))
        if runs is not None:
            rows += _in_bird(sure, every, runs)
    kept = [r for r in rows if r.get("peer") not in young and r["node"] not in young]
    return DIFFERENCES.frame(kept).sort_values(["node", "where"], kind="stable", ignore_index=True)


def _of(frame: pd.DataFrame | None, version: int) -> pd.DataFrame | None:
    return None if frame is None else frame[frame["family"] == version]


def _in_files(
    sure: pd.DataFrame, every: pd.DataFrame, nodes: pd.DataFrame, configured: pd.DataFrame, settings: pd.DataFrame
) -> list[dict[str, Any]]:
    """The differences of one family's files."""
    own_as = list(_own_as(nodes, settings))
    known = {(r["node"], r["found"]) for r in own_as}  # of the node's template: told once, not for each session
    in_file = _in_file(sure, every, configured, settings)
    told = [r for r in in_file if r["field"] != "local_as" or (r["node"], r["found"]) not in known]
    return [*own_as, *told, *_in_filters(configured), *_in_settings(nodes, settings)]


class _Both:
    """Expected sessions and what another table has of the same names; numbers, as there may be millions."""

    def __init__(self, expected: pd.DataFrame, found: pd.DataFrame) -> None:
        self.expected, self.found, words = expected, found, Words()
        mine = words.codes(expected["node"]), words.codes(expected["protocol"])
        theirs = words.codes(found["node"]), words.codes(found["protocol"])
        size = len(words.known) + 1
        self.at = lookup(theirs[0] * size + theirs[1], mine[0] * size + mine[1])
        self.asked = lookup(mine[0] * size + mine[1], theirs[0] * size + theirs[1])

    def missing(self) -> Iterator[Any]:
        """Expected sessions that are not there."""
        yield from records(_text_of(self.expected[self.at < 0]))

    def extra(self) -> Iterator[Any]:
        """Sessions of confd's that are there and not expected."""
        rows = _text_of(self.found[self.asked < 0])
        yield from (r for r in records(rows) if _NAMED.match(r.protocol))

    def differ(self, field: str, told: bool = False) -> Iterator[tuple[Any, Any]]:
        """Sessions that are in both and have a field otherwise: both rows; ``told``: of values that are there only."""
        there = np.flatnonzero(self.at >= 0)
        want = self.expected[field].iloc[there].reset_index(drop=True)
        have = self.found[field].iloc[self.at[there]].reset_index(drop=True)
        odd = _unequal(want, have)
        other = there[odd & (want.notna() & have.notna()).to_numpy(dtype=bool) if told else odd]
        yield from self.rows(other)

    def rows(self, places: Codes) -> Iterator[tuple[Any, Any]]:
        if not len(places):  # as nearly always
            return
        mine = records(_text_of(self.expected.iloc[places]))
        theirs = records(_text_of(self.found.iloc[self.at[places]]))
        yield from zip(mine, theirs, strict=True)

    def where(self, mask: Mask) -> Iterator[tuple[Any, Any]]:
        """Sessions in both at which this holds (an array beside the expected ones)."""
        return self.rows(np.flatnonzero((self.at >= 0) & mask))


def _unequal(want: pd.Series[Any], have: pd.Series[Any]) -> Mask:
    """Where two columns differ; two nulls are equal."""
    if str(want.dtype) == "category":
        words = Words()
        return np.asarray(words.codes(want) != words.codes(have), dtype=bool)
    same = (want == have).fillna(False).to_numpy(dtype=bool)
    return np.asarray(~(same | (want.isna() & have.isna()).to_numpy(dtype=bool)), dtype=bool)


def _text_of(frame: pd.DataFrame) -> pd.DataFrame:
    """With text instead of categories, whose rows read faster where there are few."""
    return frame.astype({c: "str" for c in frame.columns if str(frame[c].dtype) == "category"})


def _in_file(
    expected: pd.DataFrame, every: pd.DataFrame, configured: pd.DataFrame, settings: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Sessions missing in the file or in it for no reason, and fields of the others."""
    files = dict(cells(settings.drop_duplicates("node"), "node", "evidence"))
    both = _Both(expected[expected["node"].isin(files)], configured)
    for row in both.missing():
        yield _difference(row, "session", row.protocol, None, evidence=files.get(row.node))
    for row in _Both(every, configured).extra():
        yield _difference(row, "session", None, row.protocol, line=row.line, evidence=row.evidence)
    for field in FIELDS:
        for row, has in both.differ(field):
            want, have = _text(getattr(row, field)), _text(getattr(has, field))
            yield _difference(row, field, want, have, line=has.line, evidence=has.evidence)
    secret = taken(configured["password"].fillna(False).to_numpy(dtype=bool), both.at, False)
    for row, has in both.where(both.expected["password"].notna().to_numpy() != secret):
        want = row.password if isinstance(row.password, str) else None
        have = "set" if has.password else None
        yield _difference(row, "password", want, have, line=has.line, evidence=has.evidence)
    off = taken(configured["disabled"].fillna(False).to_numpy(dtype=bool), both.at, False)
    for row, has in both.where(off):
        yield _difference(row, "disabled", "no", "yes", line=has.line, evidence=has.evidence)


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
    both = _Both(expected[expected["node"].isin(protocols["node"].unique())], protocols)
    for row in both.missing():
        yield _difference(row, "session", row.protocol, None, "bird")
    for row in _Both(every, protocols).extra():
        yield _difference(row, "session", None, row.protocol, "bird", evidence=row.evidence)
    for field in ("peer_as", "source_address"):
        for row, has in both.differ(field, told=True):  # the short form of birdcl's answer does not print them
            want, have = _text(getattr(row, field)), _text(getattr(has, field))
            yield _difference(row, field, want, have, "bird", evidence=has.evidence)

"""The guide for one cluster: its checklist, and each of its commands, with what was found."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd

from calicokit.diagnosis.findings import Findings
from calicokit.evidence.catalog import CATALOG, Api, Command, Item, Log, Metrics
from calicokit.evidence.image import runnable
from calicokit.guide.judge import FINE, NOT_NEEDED, STATES, UNKNOWN, WRONG, Judge, Judgement, of_steps
from calicokit.guide.page import CHECKLIST as STEPS
from calicokit.guide.page import Row, rows, rows_of
from calicokit.health.commands import NodeCommands
from calicokit.net import canonical_address
from calicokit.registry import Given, table
from calicokit.schema import Column, Schema, cells
from calicokit.sentences import listed, plural

STATE = Column("state", "str", f"{', '.join(STATES)}; fine only where all that bears on it was seen")
TOLD = Column("told", "str", "what tells so, with its numbers")
SHOWN = (
    Column("tables", "list", "tables that show it"),
    Column("notebook", "str", "notebook that shows it"),
    Column("heading", "str", "heading there"),
    Column("by_hand", "str", "what to run by hand for the same"),
)


def numbered(name: str, meaning: str, number: str) -> Schema:
    """The schema of a numbered list of the guide: a row for each of its points."""
    own = (
        Column(number, "int", f"number of the {number}"),
        Column("guide", "str", f"the {number} in the guide's words"),
    )
    return Schema(name, meaning, (*own, STATE, TOLD, FOUND, *SHOWN), key=(number,))


FOUND = Column("findings", "list", "ids of the findings that were made")
CHECKLIST = numbered(
    "guide.checklist",
    "The guide's Troubleshooting Checklist for this cluster: the ten steps, in its order.",
    "step",
)
ROWS = Schema(
    "guide.rows",
    "Every command of the guide for this cluster: what answers it, and what it shows.",
    (
        Column("section", "str", "heading of the guide, as in a finding's guide_step"),
        Column("guide", "str", "the command; pod:, host: and logs: stand for how the guide gets there"),
        STATE,
        TOLD,
        FOUND,
        Column("calico", "str", "what the command is worth in real Calico"),
        *SHOWN,
    ),
)

OF_JUDGE = {
    "bgp": "bgp.use",
    "nodes": "bgp.nodes",
    "typha": "felix.typha",
    "configuration": "felix.configuration",
    "pods": "health.pods",
}
"""Parameters of :class:`~calicokit.guide.judge.Judge` → the tables they get."""
ASKED = ("routes.filter_effect", "routes.path", "dataplane.walk", "connectivity.steps")
"""Tables that are made for two ends, which somebody has to name."""
OF_ROWS = tuple(dict.fromkeys(t for _, row in rows() for t in row.named("table") if t not in ASKED))
TRIED = 7
"""The step that asks for a connection, which no recording can try."""


def judge_of(found: Findings, of_judge: Given) -> Judge:
    """A judge of the cluster with these findings and tables."""
    return Judge(found, *(of_judge[name] for name in OF_JUDGE.values()))


@table(
    CHECKLIST,
    needs={"found": "@findings"},
    wants={"of_judge": tuple(OF_JUDGE.values()), "tracked": "output.conntrack", "pods": "kube.pods"},
)
def checklist(
    found: Findings, of_judge: Given, tracked: pd.DataFrame | None = None, pods: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Ten rows; see :data:`CHECKLIST`. Fine is a step where every check of its chapters answered and found nothing."""
    judge = judge_of(found, of_judge)

    def made() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(rows_of(STEPS), 1):
            ids = list(dict.fromkeys([*row.named("finding"), *of_steps(row.steps)]))
            said = _connected(tracked, pods) if number == TRIED else judge.of_ids(ids, row.needs)
            yield {"step": number, "guide": row.guide.partition(" ")[2], **row_of(row, said, judge, ids)}

    return CHECKLIST.frame(list(made()))


def _connected(tracked: pd.DataFrame | None, pods: pd.DataFrame | None) -> Judgement:
    """Whether pods were seen to answer each other; that none was proves nothing."""
    if tracked is None or pods is None:
        return UNKNOWN, "no connections were recorded; try one with its real port"
    own = pods[~pods["host_network"].fillna(True).astype(bool)]
    places = {a: node for node, addresses in cells(own, "node", "addresses") for a in map(canonical_address, addresses)}
    spoken = tracked[~tracked["unreplied"].fillna(False).astype(bool) & tracked["reply_source"].notna()]
    pairs = {(a, b) for a, b in cells(spoken, "source", "reply_source") if a in places and b in places and a != b}
    across = sum(places[a] != places[b] for a, b in pairs)
    if not across:
        return UNKNOWN, "no pod was seen to answer one of another node; try it with the real port"
    return FINE, f"{plural(len(pairs), 'pair')} of pods answered each other, {across} of them across nodes"


@table(
    ROWS, needs={"found": "@findings"}, wants={"of_judge": tuple(OF_JUDGE.values()), "shown": OF_ROWS}, printed=OF_ROWS
)
def guide_rows(found: Findings, of_judge: Given, shown: Given) -> pd.DataFrame:
    """One row for each command of the guide; see :data:`ROWS`."""
    judge = judge_of(found, of_judge)
    return ROWS.frame(
        [
            {
                "section": section.path,
                "guide": row.guide.replace("`", "").replace("\\|", "|"),
                "calico": row.calico,
                **row_of(row, _of_command(row, judge, shown), judge, row.named("finding")),
            }
            for section, row in rows()
        ]
    )


def _of_command(row: Row, judge: Judge, shown: Given) -> Judgement:
    """What a command of the guide comes to: what its checks say, else what its tables show."""
    ids, named = row.named("finding"), row.named("table")
    state, told = judge.of_ids(ids, row.needs)
    if state in (WRONG, NOT_NEEDED):
        return state, told
    known = {t: shown[t] for t in named if t in shown and shown[t] is not None}
    lost = [t for t in named if t in shown and shown[t] is None]
    counts = "; ".join(f"{t}: {plural(len(frame), 'row')}" for t, frame in known.items())
    if lost:
        return UNKNOWN, f"unknown: {listed(lost)}{f'; seen: {counts}' if counts else ''}"
    if ids and state == UNKNOWN:
        return state, told
    if counts:
        return FINE, f"{told}; {counts}" if ids else counts
    asked = [t for t in named if t in ASKED]
    if asked:
        return UNKNOWN, f"asked for two ends: `calicokit table SOURCE {asked[0]} --from … --to …`"
    return (state, told) if ids else (UNKNOWN, "nothing that is recorded answers it")


def row_of(row: Row, said: Judgement, judge: Judge, ids: Collection[str]) -> dict[str, Any]:
    """The columns that every table of the guide has."""
    state, told = said
    return {
        "state": state,
        "told": told,
        "findings": list(dict.fromkeys(f.id for f in judge.found if f.id in ids and f.severity != "info")),
        "tables": list(row.named("table")),
        "notebook": row.notebook or None,
        "heading": row.heading or None,
        "by_hand": "; ".join(dict.fromkeys(by_hand(CATALOG[i], judge.commands) for i in row.named("row"))) or None,
    }


def by_hand(item: Item, commands: NodeCommands) -> str:
    """How to get a piece of evidence by hand; of what each node has, from one of them.

    >>> by_hand(CATALOG["ippools"], NodeCommands(None))
    'kubectl get ippools.crd.projectcalico.org -A -o yaml'
    """
    how = item.how
    if isinstance(how, Api):
        group = how.groups[0].rpartition("/")[0]
        return f"kubectl get {how.plurals[0]}{f'.{group}' if group else ''} -A -o yaml"
    if isinstance(how, Command):
        argvs = runnable(how.argvs, commands.minor) or how.argvs[:1]
        return " || ".join(commands.on(commands.example, *argv) for argv in argvs)
    if isinstance(how, Log):
        if not how.app:
            return commands.on(commands.example, *how.argv)
        own = how.app == "calico-node"
        return commands.logs(commands.example) if own else f"kubectl logs -A -l k8s-app={how.app} --tail=-1 --prefix"
    if isinstance(how, Metrics):
        return f"kubectl get pods -A -l k8s-app={how.app} -o wide; curl -s http://ADDRESS:{how.port}/metrics"
    return how.command

"""BGP topology: sessions as pairs of ends, and the state that each end reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from calicokit.bgp.codes import Codes, Words, category
from calicokit.bgp.sessions import worst_of
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

LINKS = Schema(
    "bgp.links",
    "Sessions as pairs of ends, both directions and IP versions in one row; the worst reported state counts.",
    (
        Column("a", "category", "one end: a node"),
        Column("b", "category", "other end: node, workload, or external router's address"),
        Column("internal", "bool", "both ends are nodes of this cluster"),
        Column("kind", "category", "Mesh, Global, Node or Local_Workload"),
        Column(
            "status",
            "category",
            "down, missing (BIRD has no such session), one-sided, flapping, starting, unknown, up …",
        ),
        Column("cause", "category", "why it is not up"),
        Column("sessions", "int", "directions that are expected or seen", "sessions"),
        Column("up", "int", "sessions that are up", "sessions"),
        Column("a_says", "category", "state and error at the one end"),
        Column("b_says", "category", "state and error at the other end"),
        Column("since", "time", "latest state change at either end"),
    ),
    key=("a", "b"),
)

ENDS = Schema(
    "bgp.ends",
    "Each node and external router with its sessions.",
    (
        Column("end", "str", "node, workload, or external router's address"),
        Column("role", "str", "node, reflector, external or workload"),
        Column("group", "str", "rack or zone from the node's labels, else its AS"),
        Column("as_number", "int", "AS number; for an external router the expected one"),
        Column("address", "str", "its address for BGP"),
        Column("cluster_id", "str", "cluster id of a route reflector"),
        Column(
            "bird",
            "str",
            "state of its BIRD: answers, dead, none, unknown, of two the worse; null for external routers",
        ),
        Column("sessions", "int", "sessions from this end", "sessions"),
        Column("up", "int", "sessions that are up", "sessions"),
        Column("down", "int", "sessions that are down or one-sided", "sessions"),
        Column("unknown", "int", "sessions of unknown state", "sessions"),
    ),
    key=("end",),
)

ORDER = ("missing", "down", "one-sided", "flapping", "starting", "unexpected", "unknown", "up")
"""Statuses of a link, the worst first."""


@table(LINKS, needs={"compared": "bgp.compared"})
def links(compared: pd.DataFrame) -> pd.DataFrame:
    """One row for each pair of ends; see :data:`LINKS`."""
    if not len(compared):
        return LINKS.frame()
    words = Words()
    a, b = words.codes(compared["node"]), words.codes(compared["peer"])
    internal = compared["internal"].to_numpy(dtype=bool)
    swap = internal & (a > b)
    low, high = np.where(swap, b, a), np.where(swap, a, b)
    size = len(words.known) + 1
    keys, first, pair = np.unique(low * size + high, return_index=True, return_inverse=True)
    rank = _ranks(compared)
    worst = np.full(len(keys), len(ORDER) - 1, dtype="int64")
    np.minimum.at(worst, pair, rank)
    said, forward = _said(compared), ~swap
    cause = compared["cause"].cat.codes.to_numpy().astype("int64")
    causes = np.full(len(keys), len(compared["cause"].cat.categories), dtype="int64")
    np.minimum.at(causes, pair[cause >= 0], cause[cause >= 0])  # in the order of evidence, the surest first
    since = np.full(len(keys), np.iinfo("int64").min, dtype="int64")
    np.maximum.at(since, pair, compared["since"].dt.tz_localize(None).to_numpy("datetime64[ns]").view("int64"))
    names = pd.Index(["", *words.known], dtype="str")
    columns = {
        "a": category(keys // size, names),
        "b": category(keys % size, names),
        "internal": pd.array(internal[first], dtype="boolean"),
        "kind": compared["kind"].take(first).reset_index(drop=True),
        "status": category(worst, ORDER),
        "cause": _with_none(causes, compared["cause"].cat.categories),
        "sessions": pd.array(np.bincount(pair, minlength=len(keys)), dtype="Int64"),
        "up": pd.array(np.bincount(pair, rank == ORDER.index("up"), len(keys)).astype("int64"), dtype="Int64"),
        "a_says": _of_end(said, pair, forward, len(keys)),
        "b_says": _of_end(said, pair, swap, len(keys)),
        "since": pd.Series(since.view("datetime64[ns]")).dt.tz_localize("UTC"),
    }
    return LINKS.check(pd.DataFrame(columns, columns=pd.Index(LINKS.names)))


def _ranks(compared: pd.DataFrame) -> Codes:
    """Each direction's place in :data:`ORDER`; a session that its BIRD does not have is missing, not down."""
    place = {word: i for i, word in enumerate(ORDER)}
    by_code = np.array([*(place[c] for c in compared["status"].cat.categories), 0], dtype="int64")
    rank = by_code[compared["status"].cat.codes.to_numpy()]
    gone = compared["bgp_state"].isna().to_numpy() & (rank == place["down"])
    return np.where(gone, place["missing"], rank)


def _said(compared: pd.DataFrame) -> pd.Categorical[Any]:
    """State and error in a few words; each pair of them is put together once."""
    state, error = compared["bgp_state"].astype("category"), compared["last_error"].astype("category")
    size = len(error.cat.categories) + 1
    codes = (state.cat.codes.to_numpy().astype("int64") + 1) * size + error.cat.codes.to_numpy() + 1
    used, places = np.unique(codes, return_inverse=True)
    states, errors = ["", *state.cat.categories], ["", *error.cat.categories]
    texts = [", ".join(filter(None, (states[c // size], errors[c % size]))) for c in used.tolist()]
    every = list(dict.fromkeys(texts))
    return category(np.array([every.index(t) for t in texts])[places], every)


def _of_end(said: pd.Categorical[Any], pair: Codes, mine: Any, count: int) -> pd.Categorical[Any]:
    """What one end of each pair says; null where it has no row."""
    codes = np.full(count, -1, dtype="int64")
    codes[pair[mine]] = said.codes[mine]
    return category(codes, said.categories)


def _with_none(codes: Codes, categories: pd.Index[Any]) -> pd.Categorical[Any]:
    return category(np.where(codes < len(categories), codes, -1), categories)


@table(
    ENDS,
    needs={"compared": "bgp.compared", "nodes": "bgp.nodes"},
    wants={"birds": "bgp.birds", "expected": "bgp.expected"},
)
def ends(
    compared: pd.DataFrame,
    nodes: pd.DataFrame,
    birds: pd.DataFrame | None = None,
    expected: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each node and each other end; see :data:`ENDS`."""
    counts = pd.crosstab(compared["node"].astype("str"), compared["status"].astype("str"))
    state = {} if birds is None else {node: row.state for node, row in worst_of(birds).items()}
    rows: list[dict[str, Any]] = []
    for node, own_as, cluster, group, four, six in cells(
        nodes, "node", "as_number", "cluster_id", "group", "address", "address6"
    ):
        mine = counts.loc[node].to_dict() if node in counts.index else {}
        rows.append(
            {
                "end": node,
                "role": "reflector" if isinstance(cluster, str) else "node",
                "group": group if isinstance(group, str) else f"AS {own_as}",
                "as_number": own_as,
                "address": four if isinstance(four, str) else six,
                "cluster_id": cluster,
                "bird": state.get(node),
                "sessions": sum(mine.values()),
                "up": mine.get("up", 0) + mine.get("flapping", 0),
                "down": mine.get("down", 0) + mine.get("one-sided", 0),
                "unknown": mine.get("unknown", 0) + mine.get("starting", 0),
            }
        )
    return ENDS.frame([*rows, *_outside(compared, expected)])


def _outside(compared: pd.DataFrame, expected: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Routers and workloads, as the nodes see them."""
    rows = compared[~compared["internal"].astype(bool)]
    numbers = {} if expected is None else dict(cells(expected[~expected["internal"].astype(bool)], "peer", "peer_as"))
    found = []
    for peer, group in rows.groupby("peer", observed=True):
        status = group["status"].astype("str")
        workload = bool((group["kind"] == "Local_Workload").any())
        found.append(
            {
                "end": str(peer),
                "role": "workload" if workload else "external",
                "group": f"AS {numbers[peer]}" if peer in numbers else "outside",
                "as_number": numbers.get(peer),
                "address": str(group["peer_address"].iloc[0]),
                "cluster_id": None,
                "bird": None,
                "sessions": len(group),
                "up": int(status.isin(["up", "flapping"]).sum()),
                "down": int(status.isin(["down", "one-sided"]).sum()),
                "unknown": int(status.isin(["unknown", "starting"]).sum()),
            }
        )
    return found

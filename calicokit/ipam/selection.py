"""Which pools are usable for which node and pod, which pods wait for an address, and why.

The rules are Calico's, in its order (libcalico-go/lib/ipam/ipam.go, determinePools; cni-plugin/pkg/k8s/k8s.go; HEAD):
pools asked for by annotation count alone, their selectors ignored; else enabled pools with automatic assignment whose
nodeSelector and namespaceSelector match; then those that allow workloads. Pools named in a node's CNI configuration
come between annotations and selectors; they are not read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pandas as pd

from calicokit.cni.causes import POOLS_IN_ERROR
from calicokit.ipam.tables import POOL, VERSION
from calicokit.ipam.usage import DEFAULT_MAX_BLOCKS
from calicokit.net import canonical_cidr
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records
from calicokit.selectors import SelectorError, parse

NODE_POOLS = Schema(
    "ipam.node_pools",
    "Pools usable for each node's pods that request no pool by name.",
    (
        Column("node", "str", "node"),
        POOL,
        VERSION,
        Column("usable", "bool", "enabled, automatic, allows workloads, and its nodeSelector matches"),
        Column("why", "str", "why not usable; null where usable"),
    ),
    key=("node", "pool"),
)

POD_POOLS = Schema(
    "ipam.pod_pools",
    "Pools usable for each pod, and why the others are not.",
    (
        Column("namespace", "str", "namespace"),
        Column("pod", "str", "pod"),
        Column("node", "str", "its node"),
        POOL,
        VERSION,
        Column("usable", "bool", "the pod can get an address from it"),
        Column("why", "str", "why not usable; null where usable"),
        Column("asked_by", "str", "how the pool is chosen: pod or namespace annotation, else selectors"),
    ),
    key=("namespace", "pod", "pool"),
)

WAITING = Schema(
    "ipam.waiting",
    "Scheduled pods without an address, with the CNI plugin's last error and the state of their pools.",
    (
        Column("namespace", "str", "namespace"),
        Column("pod", "str", "pod"),
        Column("node", "str", "its node"),
        Column("since", "time", "creation of the pod"),
        Column("seconds", "float", "time waited, at the time of observation", "seconds"),
        Column("error", "str", "last CNI plugin error for the pod; null if none was seen"),
        Column("cause", "str", "cause of the error, one word; null without error"),
        VERSION,
        Column("pools", "list", "pools it can use; null if unknown"),
        Column("asked", "list", "pools that it or its namespace requests by name; null if chosen by selectors"),
        Column("free", "float", "addresses free in those pools; null if unknown", "addresses"),
        Column("assignable", "float", "of those, addresses that its node can allocate; null if unknown", "addresses"),
    ),
    key=("namespace", "pod"),
)


@table(NODE_POOLS, needs={"nodes": "kube.nodes", "pools": "ipam.pools"})
def node_pools(nodes: pd.DataFrame, pools: pd.DataFrame) -> pd.DataFrame:
    """One row for each node and pool; see :data:`NODE_POOLS`."""
    rows = []
    for labels, group in _alike(nodes, "labels", "node"):
        for pool in records(pools):
            why = _refusal(pool, labels, None)
            row = {"pool": pool.pool, "version": pool.version, "usable": why is None, "why": why}
            rows += [{"node": n, **row} for n in group]
    return NODE_POOLS.frame(sorted(rows, key=lambda r: (r["node"], r["pool"])))


def _alike(frame: pd.DataFrame, by: str, name: str) -> list[tuple[dict[str, str], list[str]]]:
    """Rows with equal maps together, so that selectors are evaluated once for each kind of node."""
    groups: dict[tuple[tuple[str, str], ...], tuple[dict[str, str], list[str]]] = {}
    for value, who in zip(frame[by], frame[name], strict=True):
        groups.setdefault(tuple(sorted(value.items())), (value, []))[1].append(who)
    return list(groups.values())


def _refusal(pool: Any, node_labels: Mapping[str, str], namespace_labels: Mapping[str, str] | None) -> str | None:
    """Why a pool does not serve a pod that asks for none; None if it does. Without namespace, its selector is left."""
    if pool.disabled:
        return "disabled"
    if pool.assignment_mode != "Automatic":
        return f"assignmentMode {pool.assignment_mode}: only for pods that request it by name"
    if "Workload" not in pool.allowed_uses:
        return f"allowedUses is {', '.join(pool.allowed_uses)}"
    try:
        if not parse(pool.node_selector).matches(node_labels):
            return f"nodeSelector {pool.node_selector} does not match"
        if namespace_labels is not None and not parse(pool.namespace_selector).matches(namespace_labels):
            return f"namespaceSelector {pool.namespace_selector} does not match"
    except SelectorError as error:
        return f"its selector is invalid: {error.reason}"
    return None


@table(
    POD_POOLS,
    needs={"pods": "kube.pods", "nodes": "kube.nodes", "pools": "ipam.pools"},
    wants={"namespaces": "kube.namespaces"},
)
def pod_pools(
    pods: pd.DataFrame, nodes: pd.DataFrame, pools: pd.DataFrame, namespaces: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each pod with a network of its own, and pool; see :data:`POD_POOLS`.

    Without namespaces, their annotations and labels are taken as empty.
    """
    own = pods[~pods["host_network"] & pods["node"].notna() & ~pods["finished"]]
    chooser = _Chooser(nodes, pools, namespaces)
    rows = [
        (namespace, pod, node, *choice)
        for namespace, pod, node, notes in cells(own, "namespace", "pod", "node", "annotations")
        for choice in chooser.choose(namespace, node, notes)
    ]
    return POD_POOLS.frame(dict(zip(POD_POOLS.names, zip(*rows, strict=True), strict=True)) if rows else {})


Choice = tuple[str, int, bool, str | None, str]


class _Chooser:
    """Pool choices, computed once for each node, namespace and set of annotations."""

    def __init__(self, nodes: pd.DataFrame, pools: pd.DataFrame, namespaces: pd.DataFrame | None) -> None:
        self._pools = list(records(pools))
        self._nodes = dict(cells(nodes, "node", "labels"))
        spaces = [] if namespaces is None else list(records(namespaces))
        self._labels = {str(s.namespace): s.labels for s in spaces}
        self._notes = {str(s.namespace): s.annotations for s in spaces}
        self._known: dict[tuple[str | None, ...], list[Choice]] = {}

    def choose(self, namespace: str, node: str, notes: Mapping[str, str]) -> list[Choice]:
        key = (namespace, node, notes.get("ipv4pools"), notes.get("ipv6pools"))
        if key not in self._known:
            asked = {f: self._asked(namespace, notes, f"ipv{f}pools") for f in (4, 6)}
            self._known[key] = [self._choice(p, namespace, node, *asked[int(p.version)]) for p in self._pools]
        return self._known[key]

    def _asked(self, namespace: str, notes: Mapping[str, str], key: str) -> tuple[frozenset[str] | None, str]:
        """The pools (names or CIDRs) that an annotation asks for, and whose annotation it is."""
        for whose, found in (("pod", notes), ("namespace", self._notes.get(namespace, {}))):
            if found.get(key):
                return _pool_list(found[key]), whose
        return None, "selectors"

    def _choice(self, pool: Any, namespace: str, node: str, asked: frozenset[str] | None, by: str) -> Choice:
        if asked is None:
            why = _refusal(pool, self._nodes.get(node, {}), self._labels.get(namespace, {}))
        elif {pool.pool, pool.cidr} & asked:
            why = "disabled" if pool.disabled else None
        else:
            why = f"the {by}'s annotation requests other pools"
        return pool.pool, pool.version, why is None, why, by


def _pool_list(text: str) -> frozenset[str]:
    """``["10.0.0.0/16", "pool-b"]``; CIDRs in their canonical form. An unreadable list names nothing."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return frozenset()
    names = found if isinstance(found, list) else []
    return frozenset(canonical_cidr(str(n)) if "/" in str(n) else str(n) for n in names)


@table(
    WAITING,
    needs={"pods": "kube.pods"},
    wants={
        "errors": "cni.errors",
        "choices": "ipam.pod_pools",
        "utilisation": "ipam.utilisation",
        "node_use": "ipam.node_utilisation",
        "blocks": "ipam.blocks",
        "config": "ipam.config",
        "now": "@now",
    },
)
def waiting(
    pods: pd.DataFrame,
    errors: pd.DataFrame | None = None,
    choices: pd.DataFrame | None = None,
    utilisation: pd.DataFrame | None = None,
    node_use: pd.DataFrame | None = None,
    blocks: pd.DataFrame | None = None,
    config: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each pod that waits for an address; see :data:`WAITING`."""
    own = pods[~pods["host_network"] & pods["node"].notna() & ~pods["finished"] & pods["deleted"].isna()]
    own = own[[not a for a in own["addresses"]]]
    said = {} if errors is None else {(e.namespace, e.pod): e for e in records(errors)}
    room = None if utilisation is None or blocks is None else Room(utilisation, blocks, node_use, config)
    rows = []
    for pod in records(own):
        error = said.get((pod.namespace, pod.pod))
        text = str(error.error) if error is not None else None
        row = {"namespace": pod.namespace, "pod": pod.pod, "node": pod.node, "since": pod.created}
        row["seconds"] = None if now is None else (now - pod.created).total_seconds()
        row |= {"error": text, "cause": None if error is None else error.cause}
        rows.append({**row, **_lacking(pod, text, choices, room)})
    return WAITING.frame(rows)


def _lacking(pod: Any, error: str | None, choices: pd.DataFrame | None, room: Room | None) -> dict[str, Any]:
    """The IP version of which the pod gets no address, and the room of its pools.

    The plugin names it; where it said nothing, it is the one of which the pod's node can take none.
    """
    told = next((v for v in (6, 4) if error and f"IPv{v}" in error), None)
    versions = [4] if choices is None else [4, *({6} & set(choices["version"]))]
    found = [{"version": v, **_room_of(pod, v, error, choices, room)} for v in ([told] if told else versions)]
    full = (f for f in found if f.get("pools") and f.get("assignable") == 0)
    return next(full, found[0])


def _room_of(
    pod: Any, version: int, error: str | None, choices: pd.DataFrame | None, room: Room | None
) -> dict[str, Any]:
    if choices is None:
        return {}
    mine = choices[(choices["namespace"] == pod.namespace) & (choices["pod"] == pod.pod)]
    mine = mine[mine["version"] == version]
    pools = mine[mine["usable"]]["pool"].tolist()
    if room is not None and error and (tried := POOLS_IN_ERROR.search(error)):
        # The plugin names what it tried: pools from the CNI configuration too.
        pools = room.pools_of(tried["pools"].split()) or pools
    named = mine[(mine["asked_by"] != "selectors") & (mine["why"].fillna("disabled") == "disabled")]["pool"].tolist()
    row = {"pools": pools, "asked": named or None}
    if room is None:
        return row
    return row | {"free": room.free(pools), "assignable": room.assignable(str(pod.node), pools)}


class Room:
    """How many addresses pools still have, and how many of them a node may take."""

    def __init__(
        self,
        utilisation: pd.DataFrame,
        blocks: pd.DataFrame,
        node_use: pd.DataFrame | None,
        config: pd.DataFrame | None,
    ) -> None:
        self._pools = utilisation.set_index("pool")
        self._blocks = blocks
        self._owned = {} if node_use is None else node_use.groupby("node")["blocks"].max().to_dict()
        self.strict = config is not None and bool(config["strict_affinity"].iloc[0])
        self._auto = config is None or bool(config["auto_allocate_blocks"].iloc[0])
        limit = 0 if config is None else int(config["max_blocks_per_host"].iloc[0])
        self.limit = limit or DEFAULT_MAX_BLOCKS
        self._cooled = config is None or int(config["cooldown"].iloc[0]) == 0

    def pools_of(self, cidrs: list[str]) -> list[str]:
        """The names of the pools with these CIDRs."""
        by_cidr = {c: n for n, c in zip(self._pools.index, self._pools["cidr"], strict=True)}
        return [by_cidr[c] for c in cidrs if c in by_cidr]

    def free(self, pools: list[str]) -> float:
        """Addresses that these pools could give; without a cooldown a released one is free at the next request."""
        have = self._pools.loc[[p for p in pools if p in self._pools.index]]
        return float(have["free"].sum()) + (float(have["cooling"].sum()) if self._cooled else 0.0)

    def assignable(self, node: str, pools: list[str]) -> float:
        """Of those, the ones this node may take: its own blocks, whole blocks under its limit, borrowing if allowed."""
        mine = self._blocks[(self._blocks["node"] == node) & self._blocks["pool"].isin(pools)]
        own = float(mine["free"].sum()) + (float(mine["cooling"].sum()) if self._cooled else 0.0)
        if own:
            return own if self.strict else self.free(pools)
        if self._owned.get(node, 0) >= self.limit:
            return 0.0  # the limit stops the request before it would borrow
        if not self.strict:
            return self.free(pools)
        whole = self._pools.loc[[p for p in pools if p in self._pools.index]]
        empty = self._blocks[self._blocks["pool"].isin(pools) & (self._blocks["allocated"] == 0)]
        claimable = float((whole["blocks_unclaimed"] > 0).sum()) + len(empty)
        return self.free(pools) if self._auto and claimable else 0.0

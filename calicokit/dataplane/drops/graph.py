"""Where packets went: from chain to chain, and what dropped them from sample to sample; for pictures and people."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.by_rule import DROPS, meanings
from calicokit.dataplane.drops.growth import OF_PROGRAMS
from calicokit.dataplane.rules.chains import Place
from calicokit.dataplane.rules.naming import unlayered
from calicokit.dataplane.rules.tables import PLACE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

DROPPED = "dropped"

GRAPH = Schema(
    "dataplane.graph",
    "Packets from chain to chain in the filter tables (IPv4) since the rules were programmed; drops end in `dropped`.",
    (
        Column("node", "str", "node"),
        Column("backend", "str", "nft, legacy or nftables"),
        Column("source", "str", "source chain: pod and direction, policy, end of tier, or chain name"),
        Column("target", "str", "next chain"),
        Column("packets", "int", "packets", "packets"),
    ),
    key=("node", "backend", "source", "target"),
)

HISTORY = Schema(
    "dataplane.drop_history",
    "Packets dropped per sample, by cause and workload.",
    (
        Column("time", "time", "time of the sample"),
        Column("node", "str", "node"),
        Column("what", "str", "policy, end-of-tier TIER, or the reason"),
        Column("workload", "str", "NS/NAME of the endpoint's workload; null where several share the rule"),
        Column("direction", "str", "ingress or egress, as the endpoint sees it"),
        Column("packets", "int", "packets since the previous sample", "packets"),
    ),
)

DROPPING = Schema(
    "dataplane.dropping",
    "Rules that have dropped packets; those that did during sampling come first.",
    DROPS.columns,
)

BACKENDS = Schema(
    "dataplane.backends",
    "Number of rules per owner and firewall backend.",
    (
        Column("node", "str", "node"),
        Column("backend", "str", "nft (iptables on nf_tables), legacy (x_tables) or nftables (native nft tables)"),
        Column("calico", "int", "rules of Calico", "rules"),
        Column("kube_proxy", "int", "rules of kube-proxy and the kubelet", "rules"),
        Column("foreign", "int", "rules of other programs", "rules"),
    ),
    key=("node", "backend"),
)

_PIECES = ("policy", "profile", "policy-group")


@table(
    GRAPH,
    needs={
        "edges": "dataplane.edges",
        "chains": "dataplane.chains",
        "rules": "dataplane.rules",
        "drops": "dataplane.drops",
    },
)
def graph(edges: pd.DataFrame, chains: pd.DataFrame, rules: pd.DataFrame, drops: pd.DataFrame) -> pd.DataFrame:
    """One row for each pair of chains that packets went between; see :data:`GRAPH`.

    Empty chains, and the steps between the parts of a dispatch, are left out.
    """
    known = meanings(chains)
    empty = {row[:5] for row in cells(chains[chains["rules"] == 0], *PLACE)}
    inflow = _inflow(rules)
    seen: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for *where, to, packets in cells(_ours(edges), *PLACE, "to", "packets"):
        place, target = tuple(where), (*where[:4], to)
        if target in empty or known.get(target, {}).get("role") in _PIECES:
            continue  # it comes back: what a policy accepts returns to the pod's chain
        count = inflow.get(target, 0) if packets is pd.NA else int(packets)
        source, end = label(place, known), label(target, known)
        if count and place in known and source != end:
            seen[place[0], place[2], source, end] += count
    columns = (*PLACE, "reason", "policy", "namespace", "pod", "direction", "packets")
    for *where, reason, policy, namespace, pod, direction, packets in cells(_ours(drops), *columns):
        count = 0 if packets is pd.NA or packets is None else int(packets)
        if count:
            said = policy if isinstance(policy, str) else reason
            source = _pod(namespace, pod, direction) if isinstance(pod, str) else label(tuple(where), known)
            seen[where[0], where[2], source, f"{DROPPED}: {said}"] += count
    rows = [
        {"node": n, "backend": b, "source": s, "target": t, "packets": p} for (n, b, s, t), p in sorted(seen.items())
    ]
    return GRAPH.frame(rows)


@table(DROPPING, needs={"drops": "dataplane.drops"})
def dropping(drops: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``dataplane.drops`` that have dropped packets, what grows first; see :data:`DROPPING`."""
    own = drops[((drops["packets"].fillna(0) > 0) | (drops["grown"].fillna(0) > 0)) & (drops["reason"] != "arp")]
    return DROPPING.take(own.sort_values(["grown", "packets"], ascending=False, kind="stable"))


@table(BACKENDS, needs={"rules": "dataplane.rules"})
def backends(rules: pd.DataFrame) -> pd.DataFrame:
    """One row a node and rule system; see :data:`BACKENDS`."""
    own = rules[rules["family"] != "arp"]
    counted = own.groupby(["node", "backend", "owner"]).size().unstack(fill_value=0)
    counted = counted.reindex(columns=["calico", "kube-proxy", "foreign"], fill_value=0).reset_index()
    return BACKENDS.take(counted.rename(columns={"kube-proxy": "kube_proxy"}))


def _ours(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame[(frame["table"] == "filter") | frame["chain"].str.startswith("filter-")]
    return own[own["family"].isin(["ip", "inet"])]


def _inflow(rules: pd.DataFrame) -> dict[Place, int]:
    """Packets that came into an endpoint's chain: what its first rules count, until the one that takes all."""
    found: dict[Place, int] = defaultdict(int)
    done: set[Place] = set()
    own = rules[rules["chain"].str.contains("cali-[ft]w-|cali-[ft]h-")]
    for *where, matches, packets in cells(own, *PLACE, "matches", "packets"):
        place = tuple(where)
        if place not in done and packets is not pd.NA and packets is not None:
            found[place] += int(packets)
            done |= set() if isinstance(matches, str) else {place}
    return found


def label(place: Place, known: dict[Place, dict[str, Any]]) -> str:
    """A chain in words."""
    meaning = known.get(place, {})
    if meaning.get("role") == "workload":
        return (
            _pod(meaning["namespace"], meaning["pod"], meaning["direction"])
            if "pod" in meaning
            else str(meaning["interface"])
        )
    if meaning.get("role") == "dispatch" and "wl-dispatch" in place[4]:
        return (
            f"{unlayered(place[4]).partition('-dispatch')[0]}-dispatch"  # its parts are for interfaces' first letters
        )
    if meaning.get("role") == "policy" and "policy" in meaning:
        return f"policy {meaning['policy']} ({meaning.get('direction', '')})"
    return unlayered(place[4])


def _pod(namespace: str, pod: str, direction: object) -> str:
    return f"{'from' if direction == 'egress' else 'to'} {namespace}/{pod}"


@table(HISTORY, needs={"timeline": "dataplane.timeline", "drops": "dataplane.drops"})
def drop_history(timeline: pd.DataFrame, drops: pd.DataFrame) -> pd.DataFrame:
    """One row for each sample and what dropped; see :data:`HISTORY`."""
    names = [*PLACE, "key"]
    several = drops.groupby(names)["policy"].transform("nunique") > 1  # a program counts them together
    told = drops.assign(policy=drops["policy"].mask(several & (drops["backend"] == OF_PROGRAMS["backend"])))
    first = told.drop_duplicates(names)[[*names, "reason", "policy", "workload", "direction"]]
    joined = timeline.merge(first, on=names, how="inner")
    joined = joined[joined["reason"] != "arp"]
    joined["what"] = joined["policy"].where(joined["policy"].notna(), joined["reason"])
    grown = joined.groupby(names)["packets"].transform("sum") > 0
    summed = joined[grown].groupby(["time", "node", "what", "workload", "direction"], dropna=False)["packets"].sum()
    return HISTORY.take(summed.reset_index())

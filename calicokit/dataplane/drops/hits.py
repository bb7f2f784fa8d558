"""Hits of every rule of policies and profiles, not only of those that drop: which rule decides what, and how often.

Felix accepts packets of established connections before it asks a policy, so that what is counted are, but for denied
and untracked ones, first packets of connections (source: felix/rules/endpoints.go, static.go @ v3.26.5 … HEAD).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.by_rule import meanings
from calicokit.dataplane.drops.growth import OF_PROGRAMS, keyed
from calicokit.dataplane.drops.verdicts import decides, verdict_bits
from calicokit.dataplane.rules.chains import Place
from calicokit.dataplane.rules.tables import PLACE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

PROFILE = "Profile"
_MARKS = re.compile(r"(?:-m mark (?:! )?--mark|(?:meta )?mark(?: & \S+)? [=!]=) \S+(?: and)?")

HITS = Schema(
    "dataplane.policy_hits",
    "Hits of each rule of policies and profiles on each node, of any dataplane; those that matched most first. But for "
    "denied ones, first packets of connections.",
    (
        Column("node", "str", "node"),
        Column("family", "str", "ip, ip6, inet, …"),
        Column("direction", "str", "ingress or egress, as the endpoint sees it"),
        Column("tier", "str", "tier; null for a profile, and where no endpoint's chain shows it"),
        Column("kind", "str", "kind of the policy, or Profile"),
        Column("policy", "str", "policy as the API names it, or profile"),
        Column(
            "rule",
            "int",
            "0-based index of the verdict in the chain: that of policy.rules, unless rules of another IP version are "
            "left out before it",
        ),
        Column("action", "str", "allow, deny, pass or log"),
        Column("packets", "int", "packets since the rule was programmed; null without counters", "packets"),
        Column("grown", "int", "packets during sampling; null without samples", "packets"),
        Column("matches", "str", "match conditions, as printed, without the marks by which steps of a rule speak"),
        Column("backend", "str", "nft, legacy or nftables; bpf for an eBPF program"),
        Column("chain", "str", "chain, as printed; null for an eBPF program"),
    ),
)


@table(
    HITS,
    any_of={"rules": "dataplane.rules", "programs": "dataplane.bpf_rules"},
    wants={"chains": "dataplane.chains", "growth": "dataplane.growth", "window": "dataplane.window"},
)
def policy_hits(
    rules: pd.DataFrame | None = None,
    programs: pd.DataFrame | None = None,
    chains: pd.DataFrame | None = None,
    growth: pd.DataFrame | None = None,
    window: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each node, chain and verdict of it; see :data:`HITS`. Policies that no endpoint has are not there."""
    grown = None if growth is None else {row[:6]: row[6] for row in cells(growth, *PLACE, "key", "packets")}
    sampled = set() if window is None or grown is None else set(window["node"])
    made = []
    for place, key, row in () if rules is None or chains is None else _of_chains(rules, meanings(chains)):
        made.append(row | {"grown": (grown or {}).get((*place, key), 0) if row["node"] in sampled else None})
    if programs is not None:
        made += _of_programs(programs)
    frame = HITS.frame(made)
    return HITS.take(frame.sort_values(["grown", "packets"], ascending=False, kind="stable"))


def _of_chains(
    rules: pd.DataFrame, meaning: Mapping[Place, Mapping[str, Any]]
) -> Iterator[tuple[Place, str, dict[str, Any]]]:
    """The rules that decide, of chains of policies and profiles, in order: where, key and row."""
    bits = verdict_bits(rules)
    count: Counter[Place] = Counter()
    steps: dict[Place, list[str]] = defaultdict(list)
    for row in cells(keyed(rules[rules["owner"] == "calico"]), *PLACE, "key", "verdict", "spec", "matches", "packets"):
        place, (key, verdict, spec, matches, packets) = row[:5], row[5:]
        said = meaning.get(place, {})
        if said.get("role") not in ("policy", "profile"):
            continue
        steps[place] += filter(None, [_MARKS.sub("", matches).strip() if isinstance(matches, str) else ""])
        action = decides(place, verdict, spec, bits)
        if action is None:
            continue
        made = {"node": place[0], "family": place[1], "backend": place[2], "chain": place[4]}
        made |= {k: said.get(k) for k in ("direction", "tier", "policy")}
        made |= {"kind": PROFILE if said["role"] == "profile" else said.get("kind"), "rule": count[place]}
        yield place, key, made | {"action": action, "matches": "; ".join(steps.pop(place)) or None, "packets": packets}
        count[place] += 1


def _of_programs(programs: pd.DataFrame) -> list[dict[str, Any]]:
    """The same of eBPF programs."""
    own = programs[programs["action"].isin(["allow", "deny", "pass", "log"])]
    named = own.rename(columns={"match": "matches"}).drop(columns="interfaces")
    named = named.assign(family=OF_PROGRAMS["family"], backend=OF_PROGRAMS["backend"])
    return [{str(k): v for k, v in row.items()} for row in named.to_dict("records")]

"""Purpose of each chain: Felix's mapped back to policy, profile, tier and endpoint; kube-proxy's and others apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.dataplane.rules.naming import (
    IPTABLES_LENGTH,
    KINDS,
    NFTABLES_LENGTH,
    PolicyName,
    Role,
    comment_parts,
    limited,
    policy_chain_suffixes,
    policy_in_comment,
    role,
    unlayered,
)
from calicokit.dataplane.rules.tables import PLACE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

DEFAULT_TIER = "default"
START_OF_TIER = "Start of tier "
Place = tuple[Any, ...]

_WHERE = (
    Column("node", "str", "node"),
    Column("family", "str", "ip, ip6, inet, arp, bridge or netdev"),
    Column("backend", "str", "nft, legacy or nftables, as in dataplane.rules"),
    Column("table", "str", "table"),
    Column("chain", "str", "chain, as printed"),
)

CHAINS = Schema(
    "dataplane.chains",
    "Every chain of every node, with its purpose.",
    (
        *_WHERE,
        Column("owner", "str", "calico, kube-proxy, foreign, or kernel for built-in chains"),
        Column(
            "role", "str", "role of Felix's chains: workload, host-endpoint, policy, profile, policy-group, dispatch, …"
        ),
        Column("direction", "str", "ingress or egress, as the endpoint sees it"),
        Column("tier", "str", "tier of the policy; null where endpoint chains do not show it"),
        Column("kind", "str", "kind of the policy"),
        Column("policy", "str", "policy (NS/NAME or NAME), or profile name"),
        Column("interface", "str", "interface of the endpoint"),
        Column("namespace", "str", "namespace of the pod"),
        Column("pod", "str", "pod of the interface"),
        Column("workload", "str", "NS/NAME of the pod's owner"),
        Column("rules", "int", "number of rules", "rules"),
        Column("references", "int", "rules and map elements that jump to it"),
    ),
    key=PLACE,
)

EDGES = Schema(
    "dataplane.edges",
    "Jumps between chains, with their packet counts.",
    (
        *_WHERE,
        Column("to", "str", "target chain"),
        Column("rules", "int", "rules that jump there", "rules"),
        Column("packets", "int", "packets that took the jump; null where not counted (verdict maps)", "packets"),
        Column("bytes", "int", "bytes of these packets", "bytes"),
    ),
    key=(*PLACE, "to"),
)

_VMAP_LEADS = ("goto ", "jump ")


@table(EDGES, needs={"rules": "dataplane.rules"}, wants={"sets": "dataplane.sets"})
def edges(rules: pd.DataFrame, sets: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each pair of chains; see :data:`EDGES`."""
    leads = rules[rules["verdict"].isin(["jump", "goto"]) & rules["target"].notna()]
    counted = leads.groupby([*PLACE, "target"], sort=False)[["packets", "bytes"]].sum(min_count=1)
    sizes = leads.groupby([*PLACE, "target"], sort=False).size()
    made = counted.assign(rules=sizes.astype("Int64")).reset_index().rename(columns={"target": "to"})
    maps = rules[(rules["verdict"] == "vmap") & rules["target"].notna()]
    if sets is None or not len(maps):
        return EDGES.take(made)
    elements = sets[sets["value"].str.startswith(_VMAP_LEADS).fillna(False).astype(bool)]
    led = maps.merge(elements, left_on=["node", "table", "target"], right_on=["node", "table", "set"])
    led = led.assign(to=led["value"].str.slice(5), family=led["family_x"])
    several = led.groupby([*PLACE, "to"], sort=False).size().astype("Int64").reset_index(name="rules")
    several["packets"] = several["bytes"] = pd.Series(pd.NA, index=several.index, dtype="Int64")
    return EDGES.take(pd.concat([made, several]))


# ---- the chains


@dataclass
class Facts:
    """What rules say of the chains that they stand in and lead to."""

    words: dict[Place, str] = field(default_factory=dict)  # the first rule's comment
    counts: dict[Place, int] = field(default_factory=lambda: defaultdict(int))
    tiers: dict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))
    foreign: set[Place] = field(default_factory=set)
    known: dict[str, tuple[str, str]] = field(default_factory=dict)  # a policy's chain → its kind and name in the API

    @classmethod
    def of(cls, rules: pd.DataFrame) -> Facts:
        found = cls()
        tier, last = "", None
        columns = (*PLACE, "rule", "verdict", "target", "comment", "owner")
        for *where, rule, verdict, target, comment, owner in cells(rules, *columns):
            if owner == "kernel-policy":
                continue
            place = tuple(where)
            words = comment_parts(comment)[1] if isinstance(comment, str) else ""
            if place != last:
                tier, last = "", place
            found.counts[place] += 1
            if rule == 1 and words:
                found.words[place] = words
            if words.startswith(START_OF_TIER):
                tier = words[len(START_OF_TIER) :]
            elif words == "Start of policies":
                tier = DEFAULT_TIER
            if verdict in ("jump", "goto") and isinstance(target, str):
                found.led(place, target, tier)
            if owner == "foreign":
                found.foreign.add(place)
        return found

    def led(self, place: Place, target: str, tier: str) -> None:
        """Note the tier in which an endpoint's chain leads to a policy's; up to v3.28 there is one tier."""
        own = role(place[-1])
        if own is None or own.role not in ("workload", "host-endpoint", "host-endpoint-forward"):
            return
        to = role(target)
        if to is not None and to.role in ("policy", "policy-group"):
            self.tiers[(*place[:-1], target)].add(tier or DEFAULT_TIER)


@table(
    CHAINS,
    needs={"declared": "dataplane.chain_list", "rules": "dataplane.rules", "edges": "dataplane.edges"},
    wants={"endpoints": "dataplane.endpoints", "policies": "policy.policies"},
)
def chains(
    declared: pd.DataFrame,
    rules: pd.DataFrame,
    edges: pd.DataFrame,
    endpoints: pd.DataFrame | None = None,
    policies: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a chain; see :data:`CHAINS`."""
    facts = Facts.of(rules)
    references: dict[Place, int] = defaultdict(int)
    for *where, to, count in cells(edges, *PLACE, "to", "rules"):
        references[(*where[:-1], to)] += int(count)
    _pass_on_tiers(facts.tiers, edges)
    pods = {} if endpoints is None else _by_interface(endpoints)
    facts.known = {} if policies is None else chain_names(policies)
    rows = []
    for *where, hook in cells(declared, *PLACE, "hook"):
        place = tuple(where)
        what = role(place[-1])
        row = dict(zip(PLACE, place, strict=True))
        row |= {"owner": _owner(place, what, isinstance(hook, str), facts.foreign)}
        row |= {"rules": facts.counts.get(place, 0), "references": references.get(place, 0)}
        rows.append(row | (_meaning(place, what, facts, pods) if what is not None else {}))
    return CHAINS.frame(rows)


def _pass_on_tiers(tiers: dict[Place, set[str]], edges: pd.DataFrame) -> None:
    """A group's tier is that of the policies in it."""
    for *where, to in cells(edges, *PLACE, "to"):
        what = role(where[-1])
        if what is not None and what.role == "policy-group" and tuple(where) in tiers:
            tiers[(*where[:-1], to)] |= tiers[tuple(where)]


def _by_interface(endpoints: pd.DataFrame) -> dict[tuple[str, str], dict[str, str]]:
    columns = ("namespace", "pod", "workload")
    return {
        (node, interface): dict(zip(columns, rest, strict=True))
        for node, interface, *rest in cells(endpoints, "node", "interface", *columns)
    }


def _owner(place: Place, what: Role | None, built_in: bool, foreign: set[Place]) -> str:
    chain, name = place[-1], place[3]
    if what is not None or (name in ("calico", "calico-arp") and not built_in):
        return "calico"
    if built_in and (chain.isupper() or chain.startswith(("filter-", "nat-", "mangle-", "raw-"))):
        return "kernel"
    if chain.startswith("KUBE-") or name == "kube-proxy":
        return "kube-proxy"
    return "foreign"


def _meaning(place: Place, what: Role, facts: Facts, pods: Mapping[tuple[str, str], dict[str, str]]) -> dict[str, Any]:
    row: dict[str, Any] = {"role": what.role, "direction": what.direction or None}
    if what.role in ("workload", "endpoint-mark", "arp"):
        return row | {"interface": what.of} | pods.get((place[0], what.of), {})
    if what.role in ("host-endpoint", "host-endpoint-forward"):
        every = what.of.startswith("_") or what.of == "any-interface-at-all"
        return row | {"interface": "*" if every else what.of}
    words = facts.words.get(place, "")
    if what.role == "profile":
        return row | {"policy": profile_name(what.of, words)}
    tiers = facts.tiers.get(place, set())
    row["tier"] = next(iter(tiers)) if len(tiers) == 1 else None
    if (told := facts.known.get(unlayered(place[-1]))) is not None:
        return row | {"kind": told[0], "policy": told[1]}
    named = policy_name(place[-1], words) if what.role == "policy" else None
    return row if named is None else row | {"kind": named.kind, "policy": named.ref}


def chain_names(policies: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Chain → kind and NS/NAME, for every name that the chains of these policies may have in any version.

    ``policies`` is ``policy.policies``; staged policies have no chains.
    """
    made: dict[str, tuple[str, str]] = {}
    own = policies[~policies["staged"]]
    for kind, namespace, name, tier in cells(own, "kind", "policy_namespace", "policy", "tier"):
        place = namespace if isinstance(namespace, str) else ""
        ref = f"{place}/{name}" if place else name
        for rest in policy_chain_suffixes(kind, place, name, tier):
            for start in ("cali-pi-", "cali-po-"):
                for length in (IPTABLES_LENGTH, NFTABLES_LENGTH):
                    made.setdefault(limited(start, rest, length), (kind, ref))
    return made


def profile_name(of: str, words: str) -> str | None:
    """A profile's name: from the comment, else from the chain's name where it is not hashed."""
    said = words.split(" ")
    if len(said) == 3 and said[0] == "Profile":
        return said[1]
    return None if of.startswith("_") else of


def policy_name(chain: str, words: str) -> PolicyName | None:
    """A policy's name: from the first rule's comment, else from the chain's name where it is not hashed."""
    named = policy_in_comment(words)
    if named is not None:
        return named
    rest = unlayered(chain)[len("cali-pi-") :]
    kind, _, name = rest.partition("/")
    if rest.startswith("_") or kind not in KINDS or not name:
        return None
    namespace, _, last = name.rpartition("/")
    return PolicyName(KINDS[kind], namespace, last)

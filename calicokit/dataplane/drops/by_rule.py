"""Which rules drop packets, whose they are, and how many packets they took: policy, tier, endpoint, in the API's names.

Reasons and words: felix/rules/endpoints.go, static.go, dispatch.go @ v3.26.5 … HEAD.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.growth import OF_PROGRAMS, keyed
from calicokit.dataplane.drops.verdicts import Bits, decides, verdict_bits
from calicokit.dataplane.rules.chains import DEFAULT_TIER, START_OF_TIER, Place
from calicokit.dataplane.rules.naming import comment_parts, unlayered
from calicokit.dataplane.rules.tables import PLACE
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

END_OF_TIER = "end-of-tier"
ENDPOINT_ROLES = ("workload", "host-endpoint", "host-endpoint-forward")

DROPS = Schema(
    "dataplane.drops",
    "Every rule that drops or rejects, with its reason and counters; a policy's rule has one row per endpoint known "
    "to have lost packets to it during sampling.",
    (
        Column("node", "str", "node"),
        Column("family", "str", "ip, ip6, inet, …"),
        Column("backend", "str", "nft, legacy or nftables; bpf for an eBPF program"),
        Column("table", "str", "table"),
        Column("chain", "str", "chain, as printed; of a program its interface and hook"),
        Column("rule", "int", "1-based number in the chain; null for the chain's policy"),
        Column("key", "str", "stable key of the rule, as in dataplane.growth"),
        Column("verdict", "str", "drop or reject"),
        Column(
            "reason",
            "str",
            "policy, end-of-tier, no-profile, invalid, rpf, unknown-interface, encapsulation, tunnel, limit, to-host, "
            "service-loop, arp, kube-proxy, foreign, chain-policy, other; program: of eBPF, whose words are in matches",
        ),
        Column("direction", "str", "ingress or egress, as the endpoint sees it"),
        Column("tier", "str", "tier"),
        Column("kind", "str", "kind of the policy"),
        Column("policy", "str", "policy as the API names it, or end-of-tier TIER"),
        Column(
            "policy_rule",
            "int",
            "0-based index of the verdict in the chain; the API rule's index unless a rule is split",
        ),
        Column("interface", "str", "interface of the endpoint; null where several endpoints share the rule"),
        Column("namespace", "str", "namespace of the pod"),
        Column("pod", "str", "pod"),
        Column("workload", "str", "NS/NAME of the pod's owner; the node's name for a host endpoint"),
        Column("packets", "int", "packets since the rule was programmed", "packets"),
        Column("bytes", "int", "bytes of these packets", "bytes"),
        Column("grown", "int", "packets during sampling; null without samples", "packets"),
        Column("since", "time", "start of sampling"),
        Column("until", "time", "end of sampling"),
        Column("owner", "str", "calico, kube-proxy, foreign or kernel-policy"),
        Column("matches", "str", "match conditions, as printed; of a program why the rule is unknown"),
    ),
)

_BY_WORDS = (
    ("no profiles matched", "no-profile"),
    ("Unknown interface", "unknown-interface"),
    ("encapped packets originating in workloads", "encapsulation"),
    ("packets from non-", "tunnel"),
    ("Configured DefaultEndpointToHostAction", "to-host"),
    ("packet rate limit", "limit"),
    ("connection limit", "limit"),
    ("Endpoint admin disabled", "disabled"),
)
_STATE_INVALID = ("--ctstate INVALID", "ct state invalid")
_PATHS = ("rpfilter", "fib saddr")


@dataclass
class _Chain:
    """What has been read of a chain so far: its tier, and how many verdicts its rules had."""

    tier: str = ""
    verdicts: int = 0


@dataclass
class Reasons:
    """Goes through rules in order and says of each that drops why it is there."""

    meaning: Mapping[Place, Mapping[str, Any]]
    state: dict[Place, _Chain] = field(default_factory=lambda: defaultdict(_Chain))
    bits: Bits = (0, 0)

    def read(self, rules: pd.DataFrame) -> Iterator[dict[str, Any]]:
        self.bits = verdict_bits(rules)
        columns = (*PLACE, "rule", "verdict", "comment", "owner", "matches", "packets", "bytes", "key", "spec")
        for row in cells(rules, *columns):
            place, (rule, verdict, comment, owner, matches, packets, octets, key, spec) = row[:5], row[5:]
            words = comment_parts(comment)[1] if isinstance(comment, str) else ""
            chain = self.state[place]
            if words.startswith(START_OF_TIER):
                chain.tier = words[len(START_OF_TIER) :]
            if verdict not in ("drop", "reject"):
                self.count(place, chain, verdict, spec)
                continue
            made = dict(zip(PLACE, place, strict=True))
            made |= {"rule": rule, "verdict": verdict, "owner": owner, "matches": matches, "key": key}
            made |= {"packets": packets, "bytes": octets}
            yield made | self.reason(place, words, owner, matches if isinstance(matches, str) else "", chain)
            chain.verdicts += 1

    def count(self, place: Place, chain: _Chain, verdict: object, spec: object) -> None:
        """The verdicts of a policy's chain, but for those that drop."""
        if self.meaning.get(place, {}).get("role") == "policy":
            chain.verdicts += decides(place, verdict, spec, self.bits) is not None

    def reason(self, place: Place, words: str, owner: str, matches: str, chain: _Chain) -> dict[str, Any]:
        if owner == "kernel-policy":
            return {"reason": "chain-policy"}
        if owner != "calico":
            return {"reason": owner}
        meaning = self.meaning.get(place, {})
        role = meaning.get("role")
        own = {k: meaning.get(k) for k in ("direction", "interface", "namespace", "pod", "workload")}
        if role in ("host-endpoint", "host-endpoint-forward"):
            own["workload"] = place[0]
        if role == "policy":
            said = {k: meaning.get(k) for k in ("direction", "tier", "kind", "policy")}
            return {"reason": "policy", "policy_rule": chain.verdicts, **said}
        if role == "profile":
            return {"reason": "policy", "direction": meaning.get("direction"), "policy": meaning.get("policy")}
        tier = ended_tier(words, chain.tier)
        if tier and role in ENDPOINT_ROLES:
            return {**own, "reason": END_OF_TIER, "tier": tier, "policy": f"{END_OF_TIER} {tier}"}
        return {**own, "reason": _other(place, words, matches)}


def ended_tier(words: str, current: str) -> str:
    """The tier at whose end a rule stands; empty if it is no such rule.

    >>> ended_tier("End of tier security. Drop if no policies passed packet", "")
    'security'
    """
    if not words.endswith("if no policies passed packet"):
        return ""
    start = "End of tier "
    if words.startswith(start):
        return words[len(start) :].rpartition(". ")[0]
    return current or DEFAULT_TIER


def _other(place: Place, words: str, matches: str) -> str:
    for said, reason in _BY_WORDS:
        if said in words:
            return reason
    if any(w in matches for w in _STATE_INVALID):
        return "invalid"
    if any(w in matches for w in _PATHS):
        return "rpf"
    if place[1] == "arp":
        return "arp"
    return "service-loop" if unlayered(place[4]) == "cali-cidr-block" else "other"


# ---- who lost packets to a policy's rule


@dataclass
class _Segment:
    """A tier in an endpoint's chain: what came in, what went on or ended there, and the policies that it asks."""

    tier: str
    policies: list[str] = field(default_factory=list)
    entered: int = 0
    accepted: int = 0
    ended: int = 0

    def __post_init__(self) -> None:
        self.left = 0  # what the next tier, or the profiles, saw


def endpoint_losses(rules: pd.DataFrame, grown: Mapping[Place, int]) -> dict[Place, list[tuple[str, int]]]:
    """Endpoint chain → (policy or group chain, packets that entered its tier and came out nowhere).

    An endpoint's chain counts what enters a tier, what a policy accepted, what the tier's end dropped, and what the
    next tier or the profiles saw. What is missing was dropped inside a policy. Only where one policy of the tier can
    have dropped it is it given.
    """
    made: dict[Place, list[tuple[str, int]]] = {}
    for place, segments in _segments(rules, grown).items():
        lost = [(s, s.entered - s.accepted - s.ended - s.left) for s in segments]
        made[place] = [(policy, packets) for s, packets in lost if packets > 0 for policy in s.policies]
    return made


def _segments(rules: pd.DataFrame, grown: Mapping[Place, int]) -> dict[Place, list[_Segment]]:
    found: dict[Place, list[_Segment]] = defaultdict(list)
    after_profiles: set[Place] = set()
    for row in cells(rules, *PLACE, "verdict", "target", "comment", "key"):
        place, (verdict, target, comment, key) = row[:5], row[5:]
        packets = grown.get((*place, key), 0)
        words = comment_parts(comment)[1] if isinstance(comment, str) else ""
        name = unlayered(target) if isinstance(target, str) else ""
        segments = found[place]
        if verdict == "jump" and name.startswith(("cali-pi-", "cali-po-", "cali-gi-", "cali-go-")):
            _policy(segments, target, packets)
        elif verdict == "jump" and name.startswith(("cali-pri-", "cali-pro-")):
            if segments and place not in after_profiles:
                segments[-1].left = packets
            after_profiles.add(place)
        elif words.startswith(START_OF_TIER):
            segments.append(_Segment(words[len(START_OF_TIER) :], entered=packets))
            if len(segments) > 1:
                segments[-2].left = packets
        elif segments and place not in after_profiles:
            _ends(segments[-1], words, packets)
    return found


def _policy(segments: list[_Segment], target: str, packets: int) -> None:
    if not segments:  # up to v3.28 nothing says where the one tier starts
        segments.append(_Segment(DEFAULT_TIER, entered=packets))
    segments[-1].policies.append(target)


def _ends(segment: _Segment, words: str, packets: int) -> None:
    if words == "Return if policy accepted":
        segment.accepted += packets
    elif words.endswith("if no policies passed packet"):
        segment.ended += packets


def _attributed(
    drops: pd.DataFrame, rules: pd.DataFrame, growth: pd.DataFrame, edges: pd.DataFrame
) -> dict[Place, list[tuple[str, int]]]:
    """Policy chain → (endpoint chain, packets it lost there during sampling)."""
    grown = {row[:6]: int(row[6]) for row in cells(growth, *PLACE, "key", "packets")}
    dropping = {row[:5] for row in cells(drops[drops["reason"] == "policy"], *PLACE, "key") if grown.get(row[:6], 0)}
    inside: dict[Place, set[str]] = defaultdict(set)
    for *where, to in cells(edges, *PLACE, "to"):
        inside[tuple(where)].add(to)
    ours = rules[rules["owner"] == "calico"]
    found: dict[Place, list[tuple[str, int]]] = defaultdict(list)
    for place, lost in endpoint_losses(ours, grown).items():
        for packets in {n for _, n in lost}:
            policies = [p for target, n in lost if n == packets for p in _members(place, target, inside, dropping)]
            if len(policies) == 1:
                found[(*place[:4], policies[0])].append((place[4], packets))
    return found


def _members(place: Place, target: str, inside: Mapping[Place, set[str]], dropping: set[Place]) -> list[str]:
    """The chains that drop, of a policy or a group of them."""
    names = inside[(*place[:4], target)] if unlayered(target).startswith(("cali-gi-", "cali-go-")) else {target}
    return sorted(n for n in names if (*place[:4], n) in dropping)


# ---- the table


@table(
    DROPS,
    needs={"rules": "dataplane.rules", "chains": "dataplane.chains", "edges": "dataplane.edges"},
    wants={"growth": "dataplane.growth", "window": "dataplane.window", "compiled": "dataplane.bpf_drops"},
)
def drops(
    rules: pd.DataFrame,
    chains: pd.DataFrame,
    edges: pd.DataFrame,
    growth: pd.DataFrame | None = None,
    window: pd.DataFrame | None = None,
    compiled: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each rule that drops, and endpoint where it can be told; see :data:`DROPS`."""
    named = keyed(rules)
    meaning = meanings(chains)
    made = DROPS.frame(Reasons(meaning).read(named))
    if growth is not None and window is not None and len(window):
        names = [*PLACE, "key"]
        made = made.drop(columns=["grown", "since", "until"])
        seen = growth.rename(columns={"packets": "grown"})[[*names, "grown"]]
        made = made.merge(seen, on=names, how="left").merge(window.drop(columns="samples"), on="node", how="left")
        made["grown"] = made["grown"].where(made["since"].isna() | made["grown"].notna(), 0).astype("Int64")
        made = _with_endpoints(made, _attributed(made, named, growth, edges), meaning)
    of_rules = DROPS.take(_shared(made, edges, meaning))
    return of_rules if compiled is None else DROPS.take(pd.concat([of_rules, _of_programs(compiled, window)]))


def _of_programs(compiled: pd.DataFrame, window: pd.DataFrame | None) -> pd.DataFrame:
    """The same of eBPF programs; where a rule has its chain stands the interface with its hook."""
    own = compiled.assign(
        **OF_PROGRAMS,
        chain=compiled["interface"] + " " + compiled["hook"],
        key=compiled["reason"],
        verdict="drop",
        owner="calico",
        reason=compiled["decided"].fillna("program"),
        matches=compiled["doubt"].where(compiled["decided"].notna(), compiled["reason"]),
    ).drop(columns=["hook", "decided", "doubt", "evidence"])
    if window is not None:
        own = own.merge(window.drop(columns="samples"), on="node", how="left")
    return DROPS.frame({str(k): v for k, v in row.items()} for row in own.to_dict("records"))


def meanings(chains: pd.DataFrame) -> dict[Place, dict[str, Any]]:
    """What ``dataplane.chains`` says of each of Felix's chains; nulls are left out."""
    columns = ("role", "direction", "tier", "kind", "policy", "interface", "namespace", "pod", "workload")
    return {
        row[:5]: {k: v for k, v in zip(columns, row[5:], strict=True) if isinstance(v, str)}
        for row in cells(chains[chains["role"].notna()], *PLACE, *columns)
    }


def _with_endpoints(
    drops: pd.DataFrame, attributed: Mapping[Place, list[tuple[str, int]]], meaning: Mapping[Place, Mapping[str, Any]]
) -> pd.DataFrame:
    """A policy's rule once for each endpoint that lost packets to it; the rest of its growth stays without one.

    Only where no other rule of the chain dropped packets during sampling is it told which one lost them.
    """
    rows = []
    growing = Counter(cells(drops[drops["grown"].fillna(0) > 0], *PLACE))
    for row in drops.to_dict("records"):
        place = tuple(row[c] for c in PLACE)
        told = row["reason"] == "policy" and (row["grown"] or 0) and growing[place] <= 1
        found = attributed.get(place, []) if told else []
        left = row["grown"]
        for chain, packets in found:
            own = _endpoint(place[0], meaning.get((*place[:4], chain), {}))
            rows.append(row | own | {"grown": packets})
            left -= packets
        if not found or left > 0:
            rows.append(row | {"grown": left})
    return pd.DataFrame(rows, columns=list(drops.columns))


def _endpoint(node: str, meaning: Mapping[str, Any]) -> dict[str, Any]:
    own = {k: meaning.get(k) for k in ("interface", "namespace", "pod", "workload")}
    return own | ({"workload": node} if meaning.get("role", "").startswith("host-endpoint") else {})


def _shared(drops: pd.DataFrame, edges: pd.DataFrame, meaning: Mapping[Place, Mapping[str, Any]]) -> pd.DataFrame:
    """A policy's rule belongs to an endpoint also where its chain has only one on the node."""
    users: dict[Place, set[str]] = defaultdict(set)
    for *where, to in cells(edges, *PLACE, "to"):
        if meaning.get(tuple(where), {}).get("role") in ENDPOINT_ROLES:
            users[(*where[:-1], to)].add(where[-1])
    rows = []
    for row in drops.to_dict("records"):
        place = tuple(row[c] for c in PLACE)
        only = users.get(place, set())
        if row["reason"] == "policy" and len(only) == 1 and not isinstance(row["interface"], str):
            row.update(_endpoint(place[0], meaning.get((*place[:4], next(iter(only))), {})))
        rows.append(row)
    return pd.DataFrame(rows, columns=drops.columns) if rows else drops

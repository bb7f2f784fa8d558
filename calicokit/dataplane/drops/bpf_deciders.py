"""Which rule, or end of a tier, dropped what policy dropped on an interface of a node in eBPF mode.

An interface's program counts what policy dropped there (``calico_tc_skb_drop`` in felix/bpf-gpl/tc.c); a rule's hits
are of a node. The end of a tier, and the end of all without a profile that allows, have no count that is printed. So a
drop is told of a rule only where its hits and the drops agree, or where nothing else can have denied; of the end of a
tier only where no rule that denies was hit and it is the only end; else it is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from calicokit.dataplane.drops.bpf_rules import Hit
from calicokit.dataplane.rules.policy_programs import Place, Program, ProgramRule, RuleId, api_names, plain
from calicokit.parsers.bpf_policy import PROFILE
from calicokit.policy.explain import Explainer
from calicokit.policy.model import DIRECTIONS, EVERY_INTERFACE, NAMESPACE_PROFILE
from calicokit.sentences import listed

END_OF_TIER, NO_PROFILE, POLICY = "end-of-tier", "no-profile", "policy"


@dataclass(frozen=True)
class Decider:
    """What dropped packets, as ``dataplane.drops`` names it; one without a policy is not known, ``doubt`` says why."""

    reason: str
    tier: str | None = None
    kind: str | None = None
    policy: str | None = None
    rule: int | None = None
    doubt: str = ""

    @property
    def words(self) -> str:
        return f"rule {self.rule} of {self.policy}" if self.rule is not None else self.policy or "no profile"


@dataclass
class Denials:
    """What a program can deny by: its rules that deny, and the ends that a packet can come to."""

    rules: dict[RuleId, Decider] = field(default_factory=dict)
    ends: list[Decider] = field(default_factory=list)


@dataclass(frozen=True)
class Policies:
    """What of programs only the policies' objects tell."""

    whole: frozenset[RuleId] = frozenset()
    """Rules that match every packet."""
    hosts: frozenset[str] | None = None
    """Nodes with a host endpoint of all interfaces, whose tiers stand first; None where it is not known."""
    names: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Kind and plain name of a policy → its name in the API."""

    @classmethod
    def of(cls, model: Explainer | None) -> Policies:
        if model is None:
            return cls()
        whole = frozenset(
            RuleId(direction, *plain(p.kind, p.ref, p.tier), r.index)
            for p in model.parts.policies
            for direction in DIRECTIONS
            for r in p.rules(direction)
            if r.source.anything and r.destination.anything and not (r.protocol or r.not_protocol or r.version)
        )
        known = "hostendpoints" not in model.parts.missing
        hosts = (e.node for e in model.parts.endpoints if e.host and e.interface == EVERY_INTERFACE)
        return cls(whole, frozenset(hosts) if known else None, api_names(model.parts.policies))

    def decider(self, rule: ProgramRule) -> Decider:
        """A rule that denies, by the API's names."""
        policy = self.names.get(rule.id[1:3], rule.policy)
        return Decider(POLICY, rule.tier, rule.id.kind or None, policy, rule.id.rule)

    def takes_all(self, rule: ProgramRule) -> bool:
        """Whether nothing comes past a rule."""
        of_namespace = rule.id.kind == PROFILE and rule.policy.startswith(NAMESPACE_PROFILE) and rule.match is None
        return rule.action != "log" and (of_namespace or rule.id in self.whole)


def denials(node: str, program: Program, policies: Policies) -> Denials:
    """A program's ways to deny a packet."""
    found = Denials()
    goes_on = ("pass", "next-tier", *(("allow",) if policies.hosts is None or node in policies.hosts else ()))
    alive = True
    for stage in program.stages:
        here, on = alive, False
        for rule in stage.rules if alive else ():
            if rule.action == "deny" and here:
                found.rules[rule.id] = policies.decider(rule)
            on |= here and rule.action in goes_on
            here &= not policies.takes_all(rule)
        if stage.tier is None:
            alive = here
            continue
        if here and stage.end != "pass":
            found.ends.append(Decider(END_OF_TIER, stage.tier, policy=f"{END_OF_TIER} {stage.tier}"))
        alive = on or (here and stage.end != "deny")
    if alive:
        found.ends.append(Decider(NO_PROFILE))
    return found


@dataclass
class Deciders:
    """Shares out drops of interfaces among what can have denied them."""

    ways: Mapping[Place, Denials]
    lost: Mapping[Place, int]
    hits: Mapping[Hit, int]
    slack: Callable[[int], int]
    """How far two counts may differ that were read one after the other."""

    @cached_property
    def _places(self) -> dict[str, list[Place]]:
        """The places of each node where something was dropped."""
        found: dict[str, list[Place]] = {}
        for place in self.lost:
            found.setdefault(place[0], []).append(place)
        return found

    def of(self, place: Place) -> Iterator[tuple[Decider, int]]:
        """What dropped the packets of a place, with how many."""
        packets, ways = self.lost[place], self.ways.get(place)
        if ways is None:
            yield Decider(POLICY, doubt="its policy program was not seen"), packets
            return
        hit = self._hit(place)
        if not hit and len(ways.ends) == 1:
            yield ways.ends[0], packets
        elif len(hit) == 1 and (not ways.ends or self._agrees(place[0], hit[0])):
            yield ways.rules[hit[0]], packets
        elif len(hit) == 1 and len(ways.ends) == 1 and (own := self._own(place, hit[0])):
            yield ways.rules[hit[0]], own
            yield ways.ends[0], packets - own
        else:
            able = [*(ways.rules[r] for r in hit), *ways.ends]
            yield Decider(POLICY, doubt=f"one of {listed(d.words for d in able)}" if able else ""), packets

    def _hit(self, place: Place) -> list[RuleId]:
        """The rules of a place that deny and were hit on its node; what was not counted may have been."""
        return [r for r in self.ways[place].rules if self.hits.get((place[0], r), 1)]

    def _with(self, node: str, rule: RuleId) -> list[Place]:
        return [p for p in self._places[node] if p in self.ways and rule in self.ways[p].rules]

    def _agrees(self, node: str, rule: RuleId) -> bool:
        """Whether a rule was hit as often as packets were dropped where it is, and no other rule can have been."""
        places = self._with(node, rule)
        total = sum(self.lost[p] for p in places)
        count = self.hits.get((node, rule))
        alone = all(self._hit(p) == [rule] for p in places)
        return alone and count is not None and abs(total - count) <= self.slack(total)

    def _own(self, place: Place, rule: RuleId) -> int:
        """What a rule of one interface only dropped of it, where that is less than all; 0 where it cannot be told."""
        count, packets = self.hits.get((place[0], rule), 0), self.lost[place]
        sampled = self.slack(packets) > 0
        return count if sampled and self._with(place[0], rule) == [place] and count < packets else 0

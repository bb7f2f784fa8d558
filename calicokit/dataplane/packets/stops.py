"""The non-Calico rules at which a packet ends: those that neither Calico nor kube-proxy wrote, and chains' policies.

Every question about non-Calico rules is asked here. A packet that Calico itself needs is walked through all rules of
the node. A packet of a pod, whose ports are not known, is walked through what others wrote: Calico's own chains are
taken to accept it. A rule that the walk does not come to stands behind an accept, if it is meant for just this traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from calicokit.dataplane.packets.packet import Packet
from calicokit.dataplane.packets.ruleset import Base, Rule, Ruleset
from calicokit.dataplane.packets.walk import Way, walk_hook

IN, OUT = ("prerouting", "input"), ("output", "postrouting")
"""The hooks that a packet to a process of the node meets, and one that such a process sends."""

DEEPEST = 16
_CLOSES, _LEADS = frozenset(("drop", "reject")), frozenset(("jump", "goto"))


@dataclass(frozen=True, slots=True)
class Stop:
    """A rule (or a chain's policy) and one packet.

    ``sure``: the packet ends there, whatever cannot be told; else it may, and the rule's counter says that some did.
    ``behind``: the packet surely does not come to the rule. ``meant``: the rule is for this traffic, not for all.
    """

    by: Rule | Base
    sure: bool
    behind: bool
    meant: bool


def stops(ruleset: Ruleset, hooks: Sequence[str], packet: Packet, other: Packet) -> Iterator[Stop]:
    """What others wrote about a packet of the node itself. ``other`` is a packet that differs in protocol or port."""
    ends = _through(ruleset, hooks, packet)
    meant = dict(_meant(ruleset, hooks, packet, other))
    for end in ends:
        if end.end in _CLOSES and end.by is not None and _is_foreign(end.by):
            sure = not end.doubts
            if sure or _told_by_its_counter(end, meant):
                yield Stop(end.by, sure, behind=False, meant=end.by in meant)
    reached = {end.by for end in ends}
    lost = any(end.end == "unknown" for end in ends)  # then nobody knows what the packet does not come to
    for by, sure in meant.items():
        if sure and by.packets:
            yield Stop(by, sure=False, behind=by not in reached and not lost, meant=True)


def stops_of_pods(ruleset: Ruleset, hook: str, packet: Packet, other: Packet) -> Iterator[Stop]:
    """What others wrote about a pod's packet at a hook that it passes. ``other`` is a packet of nobody's."""
    reached = list(_others(ruleset, hook, packet))
    meant = dict(_meant(ruleset, (hook,), packet, other))
    for by, sure in reached:
        if sure or (isinstance(by, Rule) and by.packets):
            yield Stop(by, sure, behind=False, meant=by in meant)
    found = {by for by, _ in reached}
    for rule, sure in meant.items():
        if sure and rule.packets:
            yield Stop(rule, sure=False, behind=rule not in found, meant=True)


def _through(ruleset: Ruleset, hooks: Iterable[str], packet: Packet) -> list[Way]:
    ways = [Way(packet)]
    for hook in hooks:
        ways = [w for each in ways for w in ([each] if each.end else walk_hook(ruleset, hook, each))]
    return ways


def _is_foreign(by: Rule | Base) -> bool:
    return isinstance(by, Base) or by.owner == "foreign"


def _told_by_its_counter(end: Way, meant: dict[Rule, bool]) -> bool:
    """Whether nothing but the rule itself is in doubt, or a jump that led to it, and it has dropped packets."""
    by = end.by
    if not isinstance(by, Rule) or not by.packets:
        return False
    led = {s.rule for s in end.steps if not s.sure and s.rule.verdict in _LEADS} if by in meant else set()
    return all(rule == by or rule in led for rule in end.doubts)


def _meant(ruleset: Ruleset, hooks: Iterable[str], packet: Packet, other: Packet) -> Iterator[tuple[Rule, bool]]:
    """Non-Calico rules that drop this packet and not the other one, whatever Calico accepts before them."""
    for hook in hooks:
        for base in ruleset.at(hook, packet.version):
            if base.type != "nat":
                found = _found(ruleset, base, packet, alone=True)
                wide = {by for by, _ in _found(ruleset, base, other, alone=True, blind=True)} if found else set()
                yield from ((by, sure) for by, sure in found if by not in wide)


def _others(ruleset: Ruleset, hook: str, packet: Packet) -> Iterator[tuple[Rule | Base, bool]]:
    """What others wrote that drops a packet at a hook, if Calico and kube-proxy let it pass."""
    for base in ruleset.at(hook, packet.version):
        if base.type == "nat":
            continue
        walk = _Others(ruleset, base, packet, [])
        over = walk.through(base.chain, 0)
        yield from walk.found
        if not over and base.policy == "drop":
            yield base, True
            return
        if any(sure for _, sure in walk.found):
            return


def _found(
    ruleset: Ruleset, base: Base, packet: Packet, alone: bool = False, blind: bool = False
) -> list[tuple[Rule, bool]]:
    walk = _Others(ruleset, base, packet, [], alone, blind)
    walk.through(base.chain, 0)
    return walk.found


@dataclass
class _Others:
    """A packet's way through what others wrote in a base chain.

    ``alone`` looks at each rule that drops by itself, whatever Calico accepts before it; ``blind`` whatever anybody
    accepts.
    """

    ruleset: Ruleset
    base: Base
    packet: Packet
    found: list[tuple[Rule, bool]]
    alone: bool = False
    blind: bool = False

    def through(self, chain: str, depth: int, sure: bool = True) -> bool:
        """Go through a chain; true where the packet surely leaves the base chain in it (accepted, or dropped)."""
        for rule in self.ruleset.chains.get((self.base.space, chain), ()):
            if rule.owner == "calico" and rule.verdict == "accept" and "mark" in rule.spec and not self.alone:
                return True  # Calico's word for what it accepted
            if rule.owner != "foreign":
                continue
            told = rule.compiled.matches_packet(self.packet, self.ruleset.node)
            left = None if told is False else self.met(rule, bool(told), depth, sure)
            if left is not None:
                return left
        return False

    def met(self, rule: Rule, told: bool, depth: int, sure: bool) -> bool | None:
        """What a rule that matches, or may, does: true and false end the chain, None goes on."""
        if rule.verdict in _CLOSES:
            self.found.append((rule, told and sure))
            return sure if told and not self.alone else None  # of what may come here, the rest goes on in the caller
        if rule.verdict in _LEADS and depth < DEEPEST:
            over = self.through(rule.target, depth + 1, sure and told)
            return over or (False if told and rule.verdict == "goto" else None)
        if rule.verdict == "accept" and not self.blind:
            return True  # what others let in first, and it may be this, is not kept out behind
        return False if told and rule.verdict == "return" else None

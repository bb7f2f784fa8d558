"""The walk of a packet: which rules it meets on a node, hook by hook, and where it ends.

Where a rule takes packets at random (kube-proxy's backends), or a match cannot be told, the walk goes both ways; where
the ways that cannot be told apart end differently, the answer is unknown, and names the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from calicokit.dataplane.packets.actions import NAT, Action, destination
from calicokit.dataplane.packets.compile_nft import led, verdict_action
from calicokit.dataplane.packets.packet import Packet
from calicokit.dataplane.packets.ruleset import Base, Rule, Ruleset

MOST_WAYS = 400
"""Ways that one hook may split into before the walk gives up and answers unknown."""
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that a packet met and that matched it, or may have (``sure`` is false)."""

    node: str
    hook: str
    rule: Rule
    sure: bool
    mark: int


@dataclass(frozen=True, slots=True)
class Way:
    """One way that a packet can take: as it is now, what it met, and its end where it has one.

    ``end`` is "" while it goes on, else accept, drop, reject or unknown; ``by`` the rule that ended it, or the base
    chain whose policy did; ``share`` how much of the traffic goes this way; ``doubts`` the rules that could not
    be told.
    """

    packet: Packet
    steps: tuple[Step, ...] = ()
    end: str = ""
    by: Rule | Base | None = None
    why: str = ""
    share: float = 1.0
    doubts: tuple[Rule, ...] = ()


@dataclass
class _Place:
    """Where a way stands inside a hook: the stack of chains, each with the next rule."""

    way: Way
    stack: list[tuple[str, int]]  # chain, next rule


def walk_hook(ruleset: Ruleset, hook: str, way: Way) -> list[Way]:
    """A packet through all base chains of a hook; ways that end here have an ``end``."""
    ways = [way]
    for base in ruleset.at(hook, way.packet.version):
        done: list[Way] = []
        for each in ways:
            over = each.end or (base.type == "nat" and not _asks_nat(each.packet, way.packet))
            done += [each] if over else _Chain(ruleset, base, hook).walk(each)
        if len(done) > MOST_WAYS:
            return [replace(way, end="unknown", why=f"more than {MOST_WAYS} ways through {base.chain}")]
        ways = done
    return ways


def _asks_nat(now: Packet, before: Packet) -> bool:
    """Whether chains of NAT are asked: for a connection's first packet, until one of the hook has translated it."""
    same = (now.source, now.destination, now.dport) == (before.source, before.destination, before.dport)
    return same and now.state in ("NEW", None)


@dataclass
class _Chain:
    """The walk through one base chain and what it leads to."""

    ruleset: Ruleset
    base: Base
    hook: str
    open: list[_Place] = field(default_factory=list)
    done: list[Way] = field(default_factory=list)

    def walk(self, way: Way) -> list[Way]:
        self.open = [_Place(way, [(self.base.chain, 0)])]
        while self.open:
            if len(self.open) + len(self.done) > MOST_WAYS:
                return [replace(way, end="unknown", why=f"more than {MOST_WAYS} ways through {self.base.chain}")]
            self.advance(self.open.pop())
        return self.done

    def advance(self, place: _Place) -> None:
        """Go on until this way ends or splits."""
        while True:
            rule = self.next_rule(place)
            if rule is None:
                self.finish(place.way)
                return
            compiled = rule.compiled
            told = compiled.matches_packet(place.way.packet, self.ruleset.node)
            if told is False:
                continue
            if told is None and not compiled.matters:
                continue
            if compiled.share is not None:
                self.split(place, rule, compiled.share)
                return
            if told is None:
                self.doubt(place, rule)
                return
            if not self.act(place, rule, compiled.actions, sure=True):
                return

    def next_rule(self, place: _Place) -> Rule | None:
        """The next rule, back in the calling chain where one ends; None at the end of the base chain."""
        while place.stack:
            chain, number = place.stack[-1]
            rules = self.ruleset.chains.get((self.base.space, chain), [])
            if number < len(rules):
                place.stack[-1] = (chain, number + 1)
                return rules[number]
            self.leave(place)
        return None

    def leave(self, place: _Place) -> None:
        """Leave a chain; one that was gone to has replaced its caller already."""
        place.stack.pop()

    def split(self, place: _Place, rule: Rule, share: float) -> None:
        """A rule that takes packets at random."""
        way = place.way
        other = _Place(replace(way, share=way.share * (1 - share)), list(place.stack))
        taken = _Place(replace(way, share=way.share * share), list(place.stack))
        self.open.append(other)
        if self.act(taken, rule, rule.compiled.actions, sure=True):
            self.open.append(taken)

    def doubt(self, place: _Place, rule: Rule) -> None:
        """A rule of which it cannot be told whether it matches."""
        way = replace(place.way, doubts=(*place.way.doubts, rule))
        self.open.append(_Place(way, list(place.stack)))
        taken = _Place(way, list(place.stack))
        if self.act(taken, rule, rule.compiled.actions, sure=False):
            self.open.append(taken)

    def act(self, place: _Place, rule: Rule, actions: tuple[Action, ...], sure: bool) -> bool:
        """Do what a rule does; false where the way ended or split."""
        packet = place.way.packet
        step = Step(self.ruleset.node.name, self.hook, rule, sure, packet.mark)
        place.way = replace(place.way, steps=(*place.way.steps, step))
        return all(self.do(place, rule, action) for action in actions)

    def do(self, place: _Place, rule: Rule, action: Action) -> bool:
        kind = action.kind
        if kind == "mark":
            place.way = replace(place.way, packet=action.marked(place.way.packet))
            return True
        if kind in ("jump", "goto"):
            return self.enter(place, action)
        if kind == "return":
            self.leave(place)
            return bool(place.stack) or self.end_of_base(place)
        if kind in NAT:
            return self.translate(place, rule, action)
        if kind in ("vmap", "random"):
            return self.map(place, rule, action)
        if kind == "accept":
            self.done.append(place.way)
            return False
        if kind in ("drop", "reject"):
            self.done.append(replace(place.way, end=kind, by=rule))
            return False
        if kind in ("queue", "unknown"):
            self.done.append(replace(place.way, end="unknown", by=rule, why="its effect is unknown"))
            return False
        return True

    def end_of_base(self, place: _Place) -> bool:
        self.finish(place.way)
        return False

    def enter(self, place: _Place, action: Action) -> bool:
        if action.kind == "goto":
            self.leave(place)
        if len(place.stack) > DEEPEST:
            self.done.append(replace(place.way, end="unknown", why="chains jump to each other in a loop"))
            return False
        place.stack.append((action.argument, 0))
        return True

    def finish(self, way: Way) -> None:
        """The end of the base chain: its policy."""
        if self.base.policy == "drop":
            self.done.append(replace(way, end="drop", by=self.base))
        else:
            self.done.append(way)

    def map(self, place: _Place, rule: Rule, action: Action) -> bool:
        if action.kind == "random":
            for _, text in action.values:
                way = replace(place.way, share=place.way.share / len(action.values))
                each = _Place(way, list(place.stack))
                if self.do(each, rule, verdict_action(text)):
                    self.open.append(each)
            return False
        family, _, table = self.base.space
        verdict = led(action, family, table, place.way.packet, self.ruleset.node)
        if verdict is None:
            self.done.append(replace(place.way, end="unknown", by=rule, why="the result of the map lookup is unknown"))
            return False
        return not verdict or self.do(place, rule, verdict_action(verdict))

    def translate(self, place: _Place, rule: Rule, action: Action) -> bool:
        """NAT ends the base chain, as accept does."""
        packet = translated(place.way.packet, action, self.ruleset)
        if packet is None:
            self.done.append(replace(place.way, end="unknown", by=rule, why="the new address is unknown"))
        else:
            self.done.append(replace(place.way, packet=packet))
        return False


def translated(packet: Packet, action: Action, ruleset: Ruleset) -> Packet | None:
    """The packet after NAT; None where the new address cannot be told."""
    try:
        if action.kind == "dnat":
            version, address, port = destination(action.argument)
            if address is not None and version != packet.version:
                return None
            new = packet.destination if address is None else address
            return replace(packet, destination=new, dport=packet.dport if port is None else port, dnat=True)
        if action.kind == "snat":
            version, address, _ = destination(action.argument)
            return replace(packet, source=address, sport=None, snat=True) if version == packet.version else None
    except ValueError:
        return None
    if action.kind == "redirect":
        return replace(packet, destination=None, dnat=True)
    return replace(packet, source=masquerade_address(packet, ruleset), sport=None, snat=True)


def masquerade_address(packet: Packet, ruleset: Ruleset) -> int | None:
    """The node's address on the way out; None where several are possible."""
    found = [a for v, a in own_addresses(ruleset, packet.oif) if v == packet.version]
    return found[0] if len(found) == 1 else None


def own_addresses(ruleset: Ruleset, interface: str | None) -> Iterator[tuple[int, int]]:
    """Version and address of the node's own addresses on an interface, by its local routes."""
    if ruleset.node.local is None or ruleset.node.routes is None or not interface:
        return
    for version, address in ruleset.node.local:
        route = ruleset.node.routes.find(version, address)
        if route is not None and route.kind == "local" and route.interface == interface:
            yield version, address

"""Reachability and ports between classes of pods, computed with whole vectors of classes and ports at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calicokit.policy.classes import Classes, Flags, PortRange, readable
from calicokit.policy.decide import ECHO_REQUEST, World, place_of
from calicokit.policy.model import EGRESS, INGRESS, Backend, Direction, Endpoint, Policy, Ports, Rule, Side, Tier
from calicokit.registry import UnreadableError

NAMES = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP", "icmp": "ping"}


Packed = npt.NDArray[np.uint8]
"""Flags of ports, eight in a byte."""


class Reach:
    """Reachability between the classes of a world's pods.

    Staged policies count if they are among ``policies``. What hosts' policies make of forwarded traffic does not count,
    nor do rules on source ports, which no class has. ``classes`` may be finer than these policies need.
    """

    def __init__(self, world: World, policies: Iterable[Policy] | None = None, classes: Classes | None = None) -> None:
        self.world = world
        chosen = list(world.parts.enforced() if policies is None else policies)
        self.policies = readable(chosen)
        self.unreadable = [p for p in chosen if p.problem]
        self.classes = classes or Classes(world, self.policies)
        self._meant: dict[Side, Flags] = {}
        self._ports: dict[tuple[str, ...], Flags] = {}
        self._walks: dict[Direction, tuple[Packed, npt.NDArray[np.intp]]] = {}
        self._texts: dict[bytes, str] = {}
        self._stages = {d: self._in_order(d) for d in (EGRESS, INGRESS)}

    def _in_order(self, direction: Direction) -> list[tuple[Tier, list[tuple[Policy, Flags]]]]:
        old = bool(self.world.parts.old_names)
        found = []
        for tier in self.world.parts.tiers:
            mine = [p for p in self.policies if p.tier == tier.name and direction in p.types]
            mine.sort(key=lambda p: place_of(p, old))
            found.append((tier, [(p, self.classes.applied(p)) for p in mine]))
        return found

    # ---- the result

    def check(self) -> Reach:
        """Itself; raises ``UnreadableError`` where a policy cannot be read, and so nothing is known."""
        for policy in self.unreadable:
            raise UnreadableError(f"{policy.kind} {policy.ref}: {policy.problem}")
        return self

    def walks(self, direction: Direction) -> tuple[Packed, npt.NDArray[np.intp]]:
        """What is let through in one direction: answers × other classes × ports (packed), and each class's answer."""
        if direction not in self._walks:
            known: dict[tuple[object, ...], int] = {}
            found: list[Packed] = []
            of = np.zeros(len(self.classes), dtype=np.intp)
            for place in range(len(self.classes)):
                stages = self._applied(direction, place)
                key = (*(p.key for _, policies in stages for p in policies), *self._own(direction, place, stages))
                of[place] = known.setdefault(key, len(known))
                if of[place] == len(found):
                    found.append(np.packbits(self._walk(direction, place, stages), axis=1))
            self._walks[direction] = (np.array(found).reshape(len(found), len(self.classes), -1), of)
        return self._walks[direction]

    def _applied(self, direction: Direction, place: int) -> list[tuple[Tier, list[Policy]]]:
        """The tiers that apply to a class, with their policies."""
        stages = ((tier, [p for p, applied in mine if applied[place]]) for tier, mine in self._stages[direction])
        return [(tier, policies) for tier, policies in stages if policies]

    def from_class(self, place: int) -> Packed:
        """What one class reaches: other classes × ports (packed), by its own policies and by theirs."""
        (sent, sender), (taken, taker) = self.walks(EGRESS), self.walks(INGRESS)
        found: Packed = sent[sender[place]] & taken[taker, place]
        return found

    def to_class(self, place: int) -> Packed:
        """What reaches one class: other classes × ports (packed)."""
        (sent, sender), (taken, taker) = self.walks(EGRESS), self.walks(INGRESS)
        found: Packed = taken[taker[place]] & sent[sender, place]
        return found

    def _own(self, direction: Direction, place: int, stages: list[tuple[Tier, list[Policy]]]) -> Iterator[object]:
        """What the rules ask of this class itself, so that classes that answer alike share one walk."""
        for _, policies in stages:
            for policy in policies:
                for rule in policy.rules(direction):
                    mine = rule.source if direction == EGRESS else rule.destination
                    if not mine.anything:
                        yield bool(self._side(mine)[place])
                        yield self._row(rule, mine, place).tobytes()

    def _walk(self, direction: Direction, place: int, stages: list[tuple[Tier, list[Policy]]]) -> Flags:
        shape = (len(self.classes), len(self.classes.ports))
        open_ = np.ones(shape, dtype=bool)
        allowed = np.zeros(shape, dtype=bool)
        for tier, policies in stages:
            passed = np.zeros(shape, dtype=bool)
            for rule in (r for p in policies for r in p.rules(direction)):
                if rule.action == "log" or not open_.any():
                    continue
                hit = open_ & self._match(rule, direction, place)
                open_ &= ~hit
                if rule.action == "allow":
                    allowed |= hit
                elif rule.action == "pass":
                    passed |= hit
            open_ = passed if tier.denies else open_ | passed
        return allowed | open_  # profiles of namespaces allow what no tier decided

    def _match(self, rule: Rule, direction: Direction, place: int) -> Flags:
        """Other classes × ports that the rule matches, seen from this class."""
        mine, other = (rule.source, rule.destination) if direction == EGRESS else (rule.destination, rule.source)
        if rule.source.ports or rule.source.not_ports or rule.version == 6:
            return np.zeros((1, 1), dtype=bool)
        if not mine.anything and not self._side(mine)[place]:
            return np.zeros((1, 1), dtype=bool)
        ports = self._protocol(rule)[None, :]
        if direction == EGRESS:
            ports = ports & self._rows(rule, other)
        else:
            ports = ports & self._row(rule, mine, place)[None, :]
        return ports if other.anything else self._side(other)[:, None] & ports

    def _side(self, side: Side) -> Flags:
        """The classes whose addresses the side means; its ports aside."""
        if side not in self._meant:
            self._meant[side] = self._find_side(side)
        return self._meant[side]

    def _find_side(self, side: Side) -> Flags:
        classes = self.classes
        found = np.ones(len(classes), dtype=bool)
        if side.nets:
            found &= classes.within(side.nets)
        if side.not_nets:
            found &= ~classes.within(side.not_nets)
        selector = side.positive
        numbered = not side.ports or any(isinstance(p, Ports) for p in side.ports)
        if selector and numbered:
            found &= classes.meant(selector)
        if side.not_selector and not side.selector:
            found &= ~classes.meant(side.not_selector)
        if side.service:
            served = {b.address for b in self.world.parts.backends.get(side.service, ())}
            found &= np.array([bool(served & set(p.addresses)) for p in classes.first], dtype=bool)
        return found

    def _protocol(self, rule: Rule) -> Flags:
        key = (rule.protocol, rule.not_protocol, str(rule.icmp), str(rule.not_icmp))
        if key not in self._ports:
            self._ports[key] = np.array([_of_protocol(rule, p) for p in self.classes.ports], dtype=bool)
        return self._ports[key]

    def _rows(self, rule: Rule, side: Side) -> Flags:
        """Classes × ports that the side's ports and service let match; one row for all where they do not differ."""
        if not side.service and not any(isinstance(p, str) for p in (*side.ports, *side.not_ports)):
            return self._row(rule, side, 0)[None, :]
        return np.array([self._row(rule, side, c) for c in range(len(self.classes))], dtype=bool)

    def _row(self, rule: Rule, side: Side, place: int) -> Flags:
        pod = self.classes.first[place]
        found = np.ones(len(self.classes.ports), dtype=bool)
        if side.ports:
            found &= self._listed(rule, side, side.ports, place, pod)
        if side.not_ports:
            found &= ~self._listed(rule, side, side.not_ports, place, pod)
        if side.service and side is rule.destination:
            served = [(b.protocol, b.port) for b in self._backends(side.service) if b.address in pod.addresses]
            found &= np.array([any(_is(r, *s) for s in served) for r in self.classes.ports], dtype=bool)
        return found

    def _backends(self, service: str) -> Iterable[Backend]:
        return self.world.parts.backends.get(service, ())

    def _listed(self, rule: Rule, side: Side, ports: Iterable[Ports | str], place: int, pod: Endpoint) -> Flags:
        selector = side.positive
        named = not selector or bool(self.classes.groups.selected(selector)[self.classes.group[place]])
        spans: list[tuple[str, int, int]] = []
        for each in ports:
            if isinstance(each, Ports):
                spans.append(("", each.first, each.last))
            elif named:
                mine = (p for p in pod.ports if p.name == each and rule.protocol in ("", p.protocol))
                spans += [(p.protocol, p.port, p.port) for p in mine]
        return np.array(
            [
                r.last > 0 and any(proto in ("", r.protocol) and a <= r.first <= r.last <= b for proto, a, b in spans)
                for r in self.classes.ports
            ],
            dtype=bool,
        )

    @cached_property
    def names(self) -> list[str]:
        """A name for each class: its workloads, the first by name and how many more."""
        found = []
        for members in self.classes.members:
            workloads = sorted({m.workload for m in members})
            found.append(workloads[0] + (f" +{len(workloads) - 1}" if len(workloads) > 1 else ""))
        counts = Counter(found)
        return [f"{n} #{i}" if counts[n] > 1 else n for i, n in enumerate(found)]

    def text(self, packed: Packed) -> str:
        """Ports as text: ``all``, ``none``, or ``TCP 80, 8000-8010; UDP 53``."""
        key = packed.tobytes()
        if key not in self._texts:
            self._texts[key] = self._text(np.unpackbits(packed, count=len(self.classes.ports)).astype(bool))
        return self._texts[key]

    def _text(self, ports: Flags) -> str:
        if ports.all():
            return "all"
        if not ports.any():
            return "none"
        spans: dict[str, list[list[int]]] = {}
        for each in (self.classes.ports[i] for i in np.flatnonzero(ports)):
            mine = spans.setdefault(each.protocol, [])
            if mine and mine[-1][1] + 1 == each.first:
                mine[-1][1] = each.last
            else:
                mine.append([each.first, each.last])
        return "; ".join(f"{NAMES[p]}{_spans(s)}" for p, s in spans.items())


def _spans(spans: list[list[int]]) -> str:
    if spans == [[0, 0]]:
        return ""
    if spans == [[1, 65535]]:
        return " all"
    return " " + ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _is(span: PortRange, proto: str, port: int) -> bool:
    return span.protocol == proto and span.first <= port <= span.last


def _of_protocol(rule: Rule, span: PortRange) -> bool:
    if (rule.protocol and rule.protocol != span.protocol) or rule.not_protocol == span.protocol:
        return False
    ping = ECHO_REQUEST[4] if span.protocol == "icmp" else None
    for asked, wanted in ((rule.icmp, True), (rule.not_icmp, False)):
        if asked is not None:
            same = ping is not None and asked.type == ping.type and asked.code in (None, ping.code)
            if same != wanted:
                return False
    return True

"""Pods that policy cannot tell apart, so that reachability is computed between classes and not between pods.

Two pods are of one class if the same policies apply to them, and every rule's selectors, networks, named ports and
services treat them alike. Selectors are evaluated once for each different set of the labels that any selector mentions,
and only where the labels that a selector requires are present.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from calicokit.net import Prefix, prefix
from calicokit.policy.decide import World
from calicokit.policy.model import DIRECTIONS, Endpoint, Policy, Ports
from calicokit.selectors import Selector, parse

Flags = npt.NDArray[np.bool_]


class Groups:
    """Endpoints grouped by the labels that selectors mention; which groups a selector means, found once."""

    def __init__(self, labels: Iterable[Mapping[str, str]], keys: Iterable[str]) -> None:
        self._keys = sorted(keys)
        places: dict[tuple[str | None, ...], int] = {}
        self.of: list[int] = []
        self.labels: list[Mapping[str, str]] = []
        for each in labels:
            shown = tuple(map(each.get, self._keys))
            place = places.setdefault(shown, len(places))
            if place == len(self.labels):
                self.labels.append(each)
            self.of.append(place)
        self._found: dict[str, Flags] = {}
        self._with: dict[str, dict[str, list[int]]] = {}

    def selected(self, selector: str) -> Flags:
        """Which groups the selector means."""
        if selector not in self._found:
            found = np.zeros(len(self.labels), dtype=bool)
            parsed = parse(selector)
            for place in self._candidates(parsed):
                found[place] = parsed.matches(self.labels[place])
            self._found[selector] = found
        return self._found[selector]

    def _candidates(self, parsed: Selector) -> Iterable[int]:
        best: Iterable[int] = range(len(self.labels))
        size = len(self.labels)
        for key, values in parsed.requires.items():
            by_value = self._values(key)
            count = sum(len(by_value.get(v, ())) for v in values)
            if count < size:
                best, size = [p for v in values for p in by_value.get(v, ())], count
        return best

    def _values(self, key: str) -> dict[str, list[int]]:
        if key not in self._with:
            by_value: dict[str, list[int]] = {}
            for place, labels in enumerate(self.labels):
                if key in labels:
                    by_value.setdefault(labels[key], []).append(place)
            self._with[key] = by_value
        return self._with[key]


def selectors_of(policies: Iterable[Policy]) -> set[str]:
    """Every selector that these policies mention: of the endpoints they apply to, and of their rules."""
    found = set()
    for policy in policies:
        found.add(policy.selector)
        for rule in (*policy.ingress, *policy.egress):
            for side in (rule.source, rule.destination):
                found.update(s for s in (side.positive, side.not_selector) if s)
    return found


def keys_of(selectors: Iterable[str]) -> set[str]:
    """The labels that these selectors mention."""
    return set().union(*(parse(s).keys() for s in selectors))


def readable(policies: Iterable[Policy]) -> list[Policy]:
    """Those without a problem."""
    return [p for p in policies if not p.problem]


@dataclass(frozen=True)
class PortRange:
    """Ports of one protocol that no rule tells apart; a protocol without ports has the range 0."""

    protocol: str
    first: int
    last: int


class Classes:
    """The pods of a world in classes, under these policies."""

    def __init__(self, world: World, policies: list[Policy]) -> None:
        self.world, self.policies = world, policies
        pods = [e for e in world.parts.endpoints if not e.host]
        self.pods = pods
        self._sides = {s for p in policies for d in DIRECTIONS for r in p.rules(d) for s in (r.source, r.destination)}
        selectors = selectors_of(policies)
        self.groups = Groups((p.labels for p in pods), keys_of(selectors))
        self._names = {p for s in self._sides for p in (*s.ports, *s.not_ports) if isinstance(p, str)}
        self._services = sorted({s.service for s in self._sides if s.service})
        self._atoms = _Atoms(self._networks())
        shapes: dict[tuple[Any, ...], int] = {}
        self.of: list[int] = []
        self.first: list[Endpoint] = []
        for pod, group in zip(pods, self.groups.of, strict=True):
            place = shapes.setdefault(self._shape(pod, group), len(shapes))
            if place == len(self.first):
                self.first.append(pod)
            self.of.append(place)
        self._merge()

    def _networks(self) -> set[Prefix]:
        nets = {n for s in self._sides for n in (*s.nets, *s.not_nets)}
        return nets | {n for s in self.world.parts.sets for n in s.nets}

    def _shape(self, pod: Endpoint, group: int) -> tuple[Any, ...]:
        ports = tuple(sorted(p for p in pod.ports if p.name in self._names))
        places = tuple(self._atoms.of(a) for a in pod.addresses)
        served = tuple(
            (s, b.port, b.protocol)
            for s in self._services
            for b in self.world.parts.backends.get(s, ())
            if b.address in pod.addresses
        )
        return group, ports, places, served

    def _merge(self) -> None:
        """Join classes that differ in labels only, and not in what any selector makes of them."""
        group = np.array([self.groups.of[i] for i in self._firsts()], dtype=np.intp)
        chosen = [self.groups.selected(s)[group] for s in sorted(selectors_of(self.policies))]
        packed = np.packbits(np.array(chosen, dtype=bool).reshape(len(chosen), len(group)), axis=0).T
        shapes: dict[tuple[Any, ...], int] = {}
        new = []
        firsts: list[Endpoint] = []
        for pod, row in zip(self.first, packed, strict=True):
            place = shapes.setdefault((row.tobytes(), *self._shape(pod, 0)), len(shapes))
            if place == len(firsts):
                firsts.append(pod)
            new.append(place)
        self.of = [new[c] for c in self.of]
        self.first = firsts

    def _firsts(self) -> list[int]:
        places: dict[int, int] = {}
        for i, c in enumerate(self.of):
            places.setdefault(c, i)
        return [places[c] for c in range(len(self.first))]

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def group(self) -> npt.NDArray[np.intp]:
        """Each class's group of labels."""
        return np.array([self.groups.of[i] for i in self._firsts()], dtype=np.intp)

    @cached_property
    def members(self) -> list[list[Endpoint]]:
        found: list[list[Endpoint]] = [[] for _ in self.first]
        for pod, place in zip(self.pods, self.of, strict=True):
            found[place].append(pod)
        return found

    # ---- what a rule's side means

    def applied(self, policy: Policy) -> Flags:
        """The classes that a policy applies to."""
        if policy.do_not_track or policy.pre_dnat:
            return np.zeros(len(self), dtype=bool)
        return self.groups.selected(policy.selector)[self.group]

    def meant(self, selector: str) -> Flags:
        """The classes whose addresses a rule's selector means: by their labels, or in a network set."""
        found = self.groups.selected(selector)[self.group]
        for each in self.world.parts.sets:
            if parse(selector).matches(each.labels):
                found = found | self.within(each.nets)
        return found

    def within(self, nets: Iterable[Prefix]) -> Flags:
        """The classes whose (first) address lies in one of the networks."""
        every = list(nets)
        answers = [any(n.covers(a) for n in every) for a in self._pieces[0]]
        return np.array(answers, dtype=bool)[self._pieces[1]]

    @cached_property
    def _pieces(self) -> tuple[list[Prefix], npt.NDArray[np.intp]]:
        """An address of each piece of the address space, and each class's piece."""
        places: dict[tuple[int, int], int] = {}
        examples: list[Prefix] = []
        of = []
        for pod in self.first:
            place = places.setdefault(self._atoms.of(pod.addresses[0]), len(places))
            if place == len(examples):
                examples.append(prefix(pod.addresses[0]))
            of.append(place)
        return examples, np.array(of, dtype=np.intp)

    @cached_property
    def ports(self) -> list[PortRange]:
        """All ports of TCP, UDP and SCTP, and ping, cut where a rule cuts them."""
        numbers = [p for s in self._sides for p in (*s.ports, *s.not_ports) if isinstance(p, Ports)]
        numbers += [Ports(p.port, p.port) for e in self.first for p in e.ports if p.name in self._names]
        for service in self._services:
            numbers += [Ports(b.port, b.port) for b in self.world.parts.backends.get(service, ())]
        cuts = sorted({1, 65536, *(c for p in numbers for c in (max(1, p.first), p.last + 1))})
        spans = [(a, b - 1) for a, b in pairwise(cuts)]
        found = [PortRange(proto, a, b) for proto in ("tcp", "udp", "sctp") for a, b in spans]
        return [*found, PortRange("icmp", 0, 0)]


class _Atoms:
    """The address space, cut where networks begin and end: addresses of one piece are in the same networks."""

    def __init__(self, nets: Iterable[Prefix]) -> None:
        cuts: dict[int, set[int]] = {4: set(), 6: set()}
        for net in nets:
            cuts[net.version] |= {net.first, net.last + 1}
        self._cuts = {v: sorted(c) for v, c in cuts.items()}

    def of(self, address: str) -> tuple[int, int]:
        net = prefix(address)
        return net.version, bisect.bisect_right(self._cuts[net.version], net.first)

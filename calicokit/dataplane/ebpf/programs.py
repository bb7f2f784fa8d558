"""eBPF mode: what Calico's programs at the interfaces of pods do with a connection's first packet.

At ingress of the source's interface services are translated and its egress policy is asked, at egress of the
destination's its ingress policy; packets of the node itself to its own pods are let through. A packet that a program
accepted has the mark SEEN, which Calico's iptables rules ask for; most of them the program sends on past those rules
(felix/bpf-gpl/tc.c, fib_co_re.h, bpf.h; felix/rules/static.go, v3.34-dev). Programs of host endpoints are not followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import pandas as pd

from calicokit.dataplane.ebpf.program_match import matches
from calicokit.dataplane.packets.packet import NAMES, Packet
from calicokit.dataplane.packets.ruleset import Rule
from calicokit.dataplane.packets.walk import Step, Way
from calicokit.dataplane.rules.policy_programs import (
    HOOKS,
    SPACE,
    Place,
    Program,
    ProgramRule,
    RuleId,
    Stage,
    api_names,
    plain,
    policy_programs,
)
from calicokit.net import address_text, prefix
from calicokit.parsers.bpf_policy import PROFILE
from calicokit.policy.explain import Explainer, SenselessError
from calicokit.policy.model import DIRECTIONS, EVERY_INTERFACE, NAMESPACE_PROFILE
from calicokit.policy.model import Rule as PolicyRule
from calicokit.registry import model
from calicokit.routes.kernel import is_workload
from calicokit.schema import cells

SEEN = 0x1000000
"""CALI_SKB_MARK_SEEN: a program has let the packet pass."""


@dataclass(frozen=True)
class Front:
    """A frontend of a node's NAT map: its backends, and whether it is for every client and leads to all of them."""

    backends: tuple[tuple[str, int], ...]
    plain: bool


def _fronts(services: pd.DataFrame) -> dict[str, dict[tuple[str, int, str], list[Front]]]:
    found: dict[str, dict[tuple[str, int, str], list[Front]]] = {}
    columns = ("node", "address", "port", "protocol", "source", "count", "flags", "backends")
    for node, address, port, protocol, source, count, flags, backends in cells(
        services[services["programmed"]], *columns
    ):
        ends = tuple((a.strip("[]"), int(p)) for a, _, p in (b.rpartition(":") for b in backends))
        plain = not isinstance(source, str) and not len(flags) and count == len(ends)
        found.setdefault(node, {}).setdefault((address, int(port), protocol), []).append(Front(ends, plain))
    return found


@dataclass
class Programs:
    """The programs of the nodes in eBPF mode, and what of policy and services their dumps do not say."""

    nodes: frozenset[str]
    policies: Explainer
    programs: Mapping[Place, Program] = field(default_factory=dict)
    lost: frozenset[Place] = frozenset()
    """Node, interface and hook where a program should be attached and none is."""
    fronts: Mapping[str, Mapping[tuple[str, int, str], list[Front]]] = field(default_factory=dict)
    """Node → address, port and protocol → what its NAT map has of them."""

    @classmethod
    def of(
        cls,
        policies: Explainer,
        dumps: pd.DataFrame | None,
        attached: pd.DataFrame | None,
        services: pd.DataFrame | None,
    ) -> Programs:
        """From ``policy.model``, ``output.bpf_policy``, ``dataplane.programs`` and ``dataplane.bpf_services``."""
        known = {} if dumps is None else policy_programs(dumps)
        rows = () if attached is None else cells(attached, "node", "interface", "direction", "hook")
        lost = frozenset((n, i, d) for n, i, d, hook in rows if not isinstance(hook, str))
        return cls(policies.parts.bpf, policies, known, lost, {} if services is None else _fronts(services))

    @cached_property
    def rules(self) -> Mapping[RuleId, PolicyRule]:
        """The policies' rules by their place in programs."""
        return {
            RuleId(direction, *plain(p.kind, p.ref, p.tier), r.index): r
            for p in self.policies.parts.policies
            for direction in DIRECTIONS
            for r in p.rules(direction)
        }

    @cached_property
    def names(self) -> Mapping[tuple[str, str], str]:
        """Kind and plain name of each policy → its name in the API."""
        return api_names(self.policies.parts.policies)

    @cached_property
    def behind_hosts(self) -> frozenset[str]:
        """The nodes where a host endpoint's policy is, or may be, asked too."""
        if "hostendpoints" in self.policies.parts.missing:
            return self.nodes
        every = {e.node for e in self.policies.parts.endpoints if e.host and e.interface == EVERY_INTERFACE}
        named = {node for node, interface, _ in self.programs if not is_workload(interface)}
        return frozenset(every | named)

    # ---- what programs do

    def pass_on(self, packet: Packet) -> bool:
        """Whether programs have seen a packet as it came in: they marked it, or it is from no pod of the node."""
        return bool(packet.mark & SEEN) or not is_workload(packet.iif or "")

    def lacks(self, node: str, interface: str, hook: str) -> bool:
        """Whether an interface lacks its program at a hook."""
        return (node, interface, hook) in self.lost

    def leaves(self, node: str, interface: str, way: Way) -> list[Way]:
        """A pod's packet as it comes in at its interface: translated, and policed by its egress policy."""
        if (node, interface, "ingress") in self.lost:
            return [way]  # without the mark, which the node's rules will miss
        found: list[Way] = []
        for each in self.translated(node, way):
            for passed in [each] if each.end else self.policed(node, interface, "egress", each):
                marked = replace(passed.packet, mark=passed.packet.mark | SEEN)
                found.append(passed if passed.end else replace(passed, packet=marked))
        return found

    def comes(self, node: str, interface: str, way: Way, from_host: bool) -> list[Way]:
        """A packet on its way out to a pod: policed by the pod's ingress policy, unless the node itself sent it."""
        if from_host or (node, interface, "egress") in self.lost:
            return [way]
        return self.policed(node, interface, "ingress", way)

    def loses_replies(self, node: str, interface: str) -> bool:
        """Whether what a pod answers has no program that would mark it."""
        return (node, interface, "ingress") in self.lost

    def translated(self, node: str, way: Way) -> list[Way]:
        """To each backend of a service's address; a service without any answers that nobody is there."""
        packet = way.packet
        if packet.source is None or packet.destination is None:
            return [way]
        try:
            backends = self.backends(node, packet)
        except SenselessError as error:
            return [replace(way, end="unknown", why=str(error))]
        if backends is None:
            return [way]
        if not backends:
            return [replace(way, end="reject", why="the service has no endpoint that is ready")]
        return [
            replace(
                way,
                share=way.share / len(backends),
                packet=replace(packet, destination=prefix(address).first, dport=port, dnat=True),
            )
            for address, port in backends
        ]

    def backends(self, node: str, packet: Packet) -> list[tuple[str, int | None]] | None:
        """Where a node's programs lead packets for an address, by its NAT map, else by Services and EndpointSlices.

        Raises ``SenselessError`` where it is not known.
        """
        source, target = (address_text(packet.version, a or 0) for a in (packet.source, packet.destination))
        proto = NAMES.get(packet.protocol or 0, str(packet.protocol))
        if node not in self.fronts:
            return self.policies.backends(source, target, packet.dport, proto)
        found = self.fronts[node].get((target, packet.dport or 0, proto), [])
        if len(found) == 1 and found[0].plain:
            return list(found[0].backends)
        asked = self.policies.backends(source, target, packet.dport, proto)
        if asked and not found and target not in self.policies.node_addresses:
            raise SenselessError(f"the NAT map of {node} does not have {target} port {packet.dport}/{proto}")
        return asked

    # ---- one policy program

    def policed(self, node: str, interface: str, direction: str, way: Way) -> list[Way]:
        """The ways through a policy program; several where a rule's match cannot be told."""
        program = self.programs.get((node, interface, direction))
        if node in self.behind_hosts:
            why = "host endpoints' policy, which their programs ask too, is not followed"
        elif program is None:
            why = f"the {direction} policy program of {interface} was not seen"
        elif program.error or not program.known:
            why = (
                f"the {direction} policy program of {interface} {'was not loaded' if program.error else 'is not known'}"
            )
        else:
            return list(_Police(self, program, node, interface, direction).walk(way))
        return [replace(way, end="unknown", why=why)]


@model(
    "dataplane.bpf_walk",
    wants={
        "policies": "policy.model",
        "dumps": "output.bpf_policy",
        "attached": "dataplane.programs",
        "services": "dataplane.bpf_services",
    },
)
def bpf_walk(
    policies: Explainer | None,
    dumps: pd.DataFrame | None,
    attached: pd.DataFrame | None,
    services: pd.DataFrame | None,
) -> Programs | None:
    """The programs of the nodes in eBPF mode; None where policy's objects, which say which these are, are not known."""
    return None if policies is None else Programs.of(policies, dumps, attached, services)


@dataclass
class _Police:
    """The walk through one policy program."""

    programs: Programs
    program: Program
    node: str
    interface: str
    direction: str

    @property
    def chain(self) -> str:
        hook = HOOKS[1 - HOOKS.index(self.direction)]
        return f"{self.interface} {hook}"

    def walk(self, way: Way) -> Iterator[Way]:
        stages = self.program.stages
        ways = [(0, 0, way)]
        while ways:
            stage, rule, way = ways.pop()
            if stage < len(stages) and rule < len(stages[stage].rules):
                for further, taken in self.asked(stage, rule, way):
                    if further is None:
                        yield taken
                    else:
                        ways.append((*further, taken))
            elif stage < len(stages) and (stages[stage].tier is None or stages[stage].end == "pass"):
                ways.append((stage + 1, 0, way))
            else:
                yield self.ended(way, stages[stage] if stage < len(stages) else None)

    def asked(self, stage: int, number: int, way: Way) -> Iterator[tuple[tuple[int, int] | None, Way]]:
        """Where a way goes on from a rule, None where the rule decides; both ways where its match cannot be told."""
        rule = self.program.stages[stage].rules[number]
        told, met = self.told(rule, way.packet), self.met(rule, stage, number)
        if told is None:
            way = replace(way, doubts=(*way.doubts, met))
        if not told:
            yield (stage, number + 1), way
        if told is False:
            return
        taken = replace(way, steps=(*way.steps, Step(self.node, self.chain, met, told is True, way.packet.mark)))
        if rule.action == "log":
            yield (stage, number + 1), taken
        elif rule.action == "allow":
            yield None, taken
        elif rule.action == "deny" or rule.tier is None:
            yield None, replace(taken, end="drop", by=met)
        else:
            yield (stage + 1, 0), taken

    def told(self, rule: ProgramRule, packet: Packet) -> bool | None:
        if rule.id.kind == PROFILE:
            of_namespace = rule.policy.startswith(NAMESPACE_PROFILE) and rule.match is None
            return True if of_namespace else None
        return matches(rule.match, packet, self.programs.rules.get(rule.id), self.programs.policies.world)

    def met(self, rule: ProgramRule, stage: int, number: int) -> Rule:
        """A rule of the program as the walk names rules; its number counts those of all tiers."""
        before = sum(len(s.rules) for s in self.program.stages[:stage])
        words = f"rule {rule.id.rule} of {self.programs.names.get(rule.id[1:3], rule.policy)}"
        return Rule(
            SPACE, self.chain, before + number + 1, rule.action, "", words, "calico", rule.match or "", rule.packets
        )

    def ended(self, way: Way, tier: Stage | None) -> Way:
        """The end of a tier that denies, or of all tiers and profiles."""
        if tier is not None and tier.end != "deny":
            return replace(way, end="unknown", why=f"what the end of tier {tier.tier} does is not printed")
        words = f"end-of-tier {tier.tier}" if tier is not None else "no policy and no profile"
        by = Rule(SPACE, self.chain, 0, "drop", "", words, "calico", "", None)
        return replace(way, end="drop", by=by)

"""What one endpoint's policies decide about one packet: tier by tier, policy by policy, rule by rule.

Order and meaning: felix/calc/policy_sorter.go, felix/calc/policy_resolver.go, felix/calc/event_sequencer.go,
felix/rules/endpoints.go and felix/rules/policy.go at HEAD. Where something that a rule asks is not known, both answers
are followed; only where they lead to one verdict is it given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from calicokit.net import Prefix, prefix
from calicokit.policy.model import (
    ACCOUNT_PREFIX,
    DEFAULT_ALLOW,
    DEFAULT_TIER,
    EGRESS,
    INGRESS,
    NAMESPACE,
    NAMESPACE_PREFIX,
    NAMESPACE_PROFILE,
    ORCHESTRATOR,
    SERVICE_ACCOUNT,
    Direction,
    Endpoint,
    Icmp,
    Parts,
    Policy,
    Ports,
    Rule,
    Side,
    Tier,
)
from calicokit.selectors import SelectorError, parse

Chain = Literal["normal", "forward", "pre-dnat", "untracked"]
ECHO_REQUEST = {4: Icmp(8, 0), 6: Icmp(128, 0)}
"""What an ICMP flow is taken to be: a ping."""

END_OF_TIER, PROFILE, NO_POLICY = "end-of-tier", "profile", "no-policy"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow, as one endpoint's policy sees it."""

    src: str
    dst: str
    protocol: str
    port: int | None

    @property
    def version(self) -> int:
        return 6 if ":" in self.dst else 4


@dataclass(frozen=True, slots=True)
class Decision:
    """What decided: a rule (its index), the end of a tier, a profile; or that no policy is evaluated."""

    action: str
    direction: Direction
    tier: str | None = None
    kind: str | None = None
    name: str | None = None
    namespace: str | None = None
    rule: int | str = NO_POLICY

    def as_dict(self) -> dict[str, Any]:
        """Who decided, as JSON (docs/contracts.md)."""
        found = {
            "action": self.action,
            "direction": self.direction,
            "tier": self.tier,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "rule": self.rule,
        }
        return {k: v for k, v in found.items() if k != "namespace" or v}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at: a policy, the end of a tier, a profile, or what needs no policy.

    ``matched`` is the rule that matched (None where none did), ``action`` what came of it: allow, deny, pass, or
    ``continue`` where the next one is looked at; ``perhaps`` the rules of which it is not known whether they match.
    """

    endpoint: str
    direction: Direction
    tier: str | None
    kind: str
    name: str
    namespace: str = ""
    matched: int | None = None
    action: str = "continue"
    logged: tuple[int, ...] = ()
    perhaps: tuple[int, ...] = ()
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "endpoint": self.endpoint,
            "direction": self.direction,
            "tier": self.tier,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "matched": self.matched,
            "action": self.action,
            "logged": list(self.logged),
            "perhaps": list(self.perhaps),
            "note": self.note,
        }
        return {k: v for k, v in found.items() if v not in ("", []) or k in ("tier", "matched")}


@dataclass
class Outcome:
    """What one endpoint's policies make of a packet. ``doubts`` say what is not known, if that matters."""

    decision: Decision
    steps: list[Step] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def action(self) -> str:
        return self.decision.action


class Applied(NamedTuple):
    """A policy that applies to an endpoint; ``certain`` is false where it is not known whether it does."""

    policy: Policy
    certain: bool


class Stage(NamedTuple):
    """A tier with its policies that apply, in order."""

    tier: Tier
    policies: list[Applied]


class World:
    """The parts, indexed for questions about single addresses and endpoints."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._entities: dict[str, list[tuple[Mapping[str, str], Endpoint | None]]] = {}
        self._stages: dict[tuple[int, Chain, Direction, bool], list[Stage]] = {}
        self._selected: dict[tuple[str, str], bool | None] = {}

    @cached_property
    def by_address(self) -> dict[str, list[Endpoint]]:
        found: dict[str, list[Endpoint]] = {}
        for endpoint in self.parts.endpoints:
            for address in endpoint.addresses:
                found.setdefault(address, []).append(endpoint)
        return found

    @cached_property
    def by_ref(self) -> dict[str, Endpoint]:
        """Pods by NS/POD."""
        return {e.ref: e for e in self.parts.endpoints if not e.host}

    def pods_at(self, address: str) -> list[Endpoint]:
        return [e for e in self.by_address.get(address, ()) if not e.host]

    def unknown_label(self, key: str) -> bool:
        """Whether a label of this name would be inherited from objects that are not known."""
        missing = self.parts.missing
        return ("namespaces" in missing and key.startswith(NAMESPACE_PREFIX)) or (
            "serviceaccounts" in missing and key.startswith(ACCOUNT_PREFIX)
        )

    def selects(self, selector: str, labels: Mapping[str, str]) -> bool | None:
        return parse(selector).may_match(labels, self.unknown_label)

    # ---- who has an address

    def _at(self, address: str) -> list[tuple[Mapping[str, str], Endpoint | None]]:
        """The labels of every endpoint and network set that this address belongs to."""
        found = self._entities.get(address)
        if found is None:
            net = prefix(address)
            found = [(e.labels, e) for e in self.by_address.get(address, ())]
            found += [(s.labels, None) for s in self.parts.sets if any(n.covers(net) for n in s.nets)]
            self._entities[address] = found
        return found

    def selected(self, selector: str, address: str) -> bool | None:
        """Whether the address is one of those that a rule's selector means; None if that is not known."""
        key = (selector, address)
        if key not in self._selected:
            answers = {self.selects(selector, labels) for labels, _ in self._at(address)}
            if True not in answers and None not in answers:
                answers.update(self._unseen(selector, address))
            self._selected[key] = True if True in answers else None if None in answers else False
        return self._selected[key]

    def _unseen(self, selector: str, address: str) -> Iterator[bool | None]:
        """Whether something of a kind that is not known may have the address and be meant."""
        missing, wanted = self.parts.missing, parse(selector)
        if "pods" in missing and not self.by_address.get(address):
            yield None
        alone = "hostendpoints" in missing and not self.pods_at(address)
        if ("globalnetworksets" in missing or alone) and wanted.may_match({}, _own_label) is not False:
            yield None
        if "networksets" in missing and wanted.may_match({}, _set_label) is not False:
            yield None

    def named_port(self, name: str, selector: str, proto: str, address: str, port: int | None) -> bool | None:
        """Whether an endpoint with this address declares the port under this name, and is meant by the selector."""
        found: set[bool | None] = {False}
        for endpoint in self.by_address.get(address, ()):
            if any(p.name == name and p.port == port and proto in ("", p.protocol) for p in endpoint.ports):
                found.add(self.selects(selector, endpoint.labels) if selector else True)
        if "pods" in self.parts.missing:
            found.add(None)
        return True if True in found else None if None in found else False

    # ---- which policies apply

    def stages(self, endpoint: Endpoint, chain: Chain, direction: Direction, old: bool = False) -> list[Stage]:
        """The tiers that apply to an endpoint in one direction, with their policies, in order; staged ones too."""
        key = (id(endpoint), chain, direction, old)
        if key not in self._stages:
            self._stages[key] = list(self._find_stages(endpoint, chain, direction, old))
        return self._stages[key]

    def _find_stages(self, endpoint: Endpoint, chain: Chain, direction: Direction, old: bool) -> Iterator[Stage]:
        by_tier: dict[str, list[Applied]] = {}
        for policy in (*self.parts.policies, *self._unlisted(endpoint)):
            if direction in policy.types and chain in _chains(policy, endpoint):
                answer = self._applies(policy, endpoint)
                if answer is not False:
                    by_tier.setdefault(policy.tier, []).append(Applied(policy, answer is True))
        for tier in self.parts.tiers:
            if tier.name in by_tier:
                yield Stage(tier, sorted(by_tier[tier.name], key=lambda a: place_of(a.policy, old)))

    def _applies(self, policy: Policy, endpoint: Endpoint) -> bool | None:
        if policy.problem:
            return None if not policy.namespace or policy.namespace == endpoint.namespace else False
        return self.selects(policy.selector, endpoint.labels)

    def _unlisted(self, endpoint: Endpoint) -> Iterator[Policy]:
        """Stand-ins for policies of kinds that are not known, where they may apply."""
        for kind, tier, order in UNLISTED:
            if kind in self.parts.missing and (not endpoint.host or kind == "globalnetworkpolicies"):
                first = self.parts.tiers[0].name if self.parts.tiers else DEFAULT_TIER
                yield Policy(kind, "?", "", tier or first, order, "", _BOTH, problem=f"{kind} are not known")


_BOTH: frozenset[Direction] = frozenset((INGRESS, EGRESS))
UNLISTED = (
    ("globalnetworkpolicies", "", -math.inf),
    ("networkpolicies", "", -math.inf),
    ("kubernetes-networkpolicies", DEFAULT_TIER, 1000.0),
    ("adminnetworkpolicies", "adminnetworkpolicy", -math.inf),
    ("baselineadminnetworkpolicies", "baselineadminnetworkpolicy", -math.inf),
    ("clusternetworkpolicies", "kube-admin", -math.inf),
    ("clusternetworkpolicies", "kube-baseline", -math.inf),
)
"""Kinds of policies, and where the first of them may stand: tier (any for Calico's own kinds) and order."""


def _own_label(key: str) -> bool:
    """Whether a global network set or a host endpoint may have this label."""
    return key not in (NAMESPACE, ORCHESTRATOR, SERVICE_ACCOUNT) and not key.startswith(
        (NAMESPACE_PREFIX, ACCOUNT_PREFIX)
    )


def _set_label(key: str) -> bool:
    """Whether a network set of a namespace may have this label."""
    return key not in (ORCHESTRATOR, SERVICE_ACCOUNT) and not key.startswith(ACCOUNT_PREFIX)


def _chains(policy: Policy, endpoint: Endpoint) -> tuple[Chain, ...]:
    """In which of an endpoint's chains a policy stands (``tierInfoToProtoTierInfo``)."""
    if policy.problem and endpoint.host:
        return ("normal", "forward")
    if policy.do_not_track:
        return ("untracked",) if endpoint.host else ()
    if policy.pre_dnat:
        return ("pre-dnat",) if endpoint.host else ()
    return ("normal", "forward") if policy.apply_on_forward else ("normal",)


def place_of(policy: Policy, old: bool) -> tuple[float, str]:
    """``PolKVLess``: by order, then by the stored name (up to v3.31) or by name, namespace and kind."""
    return policy.order, policy.stored if old else f"{policy.name}/{policy.namespace}/{policy.kind}"


# ---- one rule


class Matcher:
    """Whether rules match one packet; keeps what was not known."""

    def __init__(self, world: World, packet: Packet) -> None:
        self.world, self.packet = world, packet
        self.src, self.dst = prefix(packet.src), prefix(packet.dst)
        self.doubts: list[str] = []

    def __call__(self, rule: Rule) -> bool | None:
        """True, False, or None where it hangs on something that is not known."""
        if not self._of_version(rule) or not self._of_protocol(rule):
            return False
        answer: bool | None = True
        for test in self._tests(rule):
            if test is False:
                return False
            if test is None:
                answer = None
        return answer

    def _of_version(self, rule: Rule) -> bool:
        """A rule whose networks are all of the other IP version is not there for this one (FilterRuleToIPVersion)."""
        version = self.packet.version
        if rule.version not in (None, version):
            return False
        lists = (rule.source.nets, rule.source.not_nets, rule.destination.nets, rule.destination.not_nets)
        return all(not nets or any(n.version == version for n in nets) for nets in lists)

    def _of_protocol(self, rule: Rule) -> bool:
        mine = self.packet.protocol
        if rule.protocol and rule.protocol != mine:
            return False
        if rule.not_protocol and rule.not_protocol == mine:
            return False
        ping = ECHO_REQUEST[self.packet.version] if mine in ("icmp", "icmpv6") else None
        if rule.icmp and not _same_icmp(rule.icmp, ping):
            return False
        return not (rule.not_icmp and _same_icmp(rule.not_icmp, ping))

    def _tests(self, rule: Rule) -> Iterator[bool | None]:
        if not rule.source.anything:
            yield from self._side(rule, rule.source, self.packet.src, self.src, None)
        if not rule.destination.anything:
            yield from self._side(rule, rule.destination, self.packet.dst, self.dst, self.packet.port)

    def _side(self, rule: Rule, side: Side, address: str, net: Prefix, port: int | None) -> Iterator[bool | None]:
        at_source = side is rule.source
        if side.nets:
            yield any(n.covers(net) for n in side.nets)
        if side.not_nets:
            yield not any(n.covers(net) for n in side.not_nets)
        selector = side.positive
        if side.ports:
            yield self._ports(rule, side.ports, selector, address, port, at_source)
        if side.not_ports:
            yield _not(self._ports(rule, side.not_ports, selector, address, port, at_source))
        if selector and (not side.ports or any(isinstance(p, Ports) for p in side.ports)):
            yield self._known(self.world.selected(selector, address), f"whether {address} is one of {selector}")
        if side.not_selector and not side.selector:
            yield _not(self._known(self.world.selected(side.not_selector, address), f"who {address} is"))
        if side.service:
            yield self._service(side.service, address, port, at_source)

    def _ports(
        self, rule: Rule, ports: Iterable[Ports | str], selector: str, address: str, port: int | None, source: bool
    ) -> bool | None:
        if source:
            return self._known(None, "the source port")
        if port is None or self.packet.protocol not in ("tcp", "udp", "sctp", "udplite"):
            return False
        answers: list[bool | None] = [
            p.first <= port <= p.last
            if isinstance(p, Ports)
            else self.world.named_port(p, selector, rule.protocol, address, port)
            for p in ports
        ]
        return True if True in answers else None if None in answers else False

    def _service(self, service: str, address: str, port: int | None, source: bool) -> bool | None:
        parts = self.world.parts
        if "endpointslices" in parts.missing:
            return self._known(None, f"the endpoints of service {service}")
        backends = parts.backends.get(service, ())
        if source:
            return any(b.address == address for b in backends)
        return any((b.address, b.port, b.protocol) == (address, port, self.packet.protocol) for b in backends)

    def _known(self, answer: bool | None, what: str) -> bool | None:
        if answer is None:
            why = sorted(self.world.parts.missing)
            self.doubts.append(f"{what} is not known" + (f" (not listed: {', '.join(why)})" if why else ""))
        return answer


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _same_icmp(asked: Icmp, ping: Icmp | None) -> bool:
    return ping is not None and asked.type == ping.type and asked.code in (None, ping.code)


# ---- all rules of one endpoint


class _Walk:
    """One walk through the tiers of an endpoint; ``possible`` are the verdicts that what is not known could lead to."""

    def __init__(self, world: World, endpoint: Endpoint, direction: Direction, packet: Packet, chain: Chain) -> None:
        self.world, self.endpoint, self.direction, self.chain = world, endpoint, direction, chain
        self.matches = Matcher(world, packet)
        self.steps: list[Step] = []
        self.possible: set[str] = set()

    def decide(self, stages: list[Stage]) -> Decision:
        unknown = [s.tier.name for s in stages if not s.tier.exists and "tiers" in self.world.parts.missing]
        if unknown:
            self._doubt(f"tiers are unknown: so are the order and default action of {', '.join(unknown)}")
        for place, stage in enumerate(stages):
            if found := self._tier(stage, stages[place + 1 :]):
                return found
        return self._after_tiers()

    def _tier(self, stage: Stage, rest: list[Stage]) -> Decision | None:
        """What the tier decides; None where the next one is asked."""
        enforced = [a for a in stage.policies if not a.policy.staged]
        for applied in enforced:
            action, index = self._policy(stage.tier, applied, rest)
            if action == "pass":
                return None
            if action in ("allow", "deny"):
                policy = applied.policy
                return self._decided(action, stage.tier.name, policy.kind, policy.name, policy.namespace, index)
        if not enforced or not stage.tier.denies or self.chain in ("pre-dnat", "untracked"):
            return None
        if not any(a.certain for a in enforced):
            self.possible.add("deny")
            return None
        self._step(stage.tier.name, "Tier", stage.tier.name, action="deny", note="no rule of the tier matched")
        return self._decided("deny", stage.tier.name, "Tier", stage.tier.name, "", END_OF_TIER)

    def _policy(self, tier: Tier, applied: Applied, rest: list[Stage]) -> tuple[str, int]:
        """What the first rule that matches does, and its index; ``continue`` where none does."""
        policy, logged, perhaps = applied.policy, list[int](), list[int]()
        if policy.problem:
            self._doubt(f"{policy.kind} {policy.ref}: {policy.problem}" if policy.name != "?" else policy.problem)
        for rule in policy.rules(self.direction):
            answer = self.matches(rule)
            if answer is False or (answer is None and rule.action == "log"):
                continue
            if rule.action == "log":
                logged.append(rule.index)
                continue
            if answer is None or not applied.certain:
                perhaps.append(rule.index)
                self._may(rule.action, rest)
                if answer is None:
                    continue
                break
            self._policy_step(tier, policy, rule.index, rule.action, logged, perhaps)
            return rule.action, rule.index
        self._policy_step(tier, policy, None, "continue", logged, perhaps)
        return "continue", -1

    def _may(self, action: str, rest: list[Stage]) -> None:
        """A rule that may match: what would follow then."""
        if action in ("allow", "deny"):
            self.possible.add(action)
        elif action == "pass":
            other = _Walk(self.world, self.endpoint, self.direction, self.matches.packet, self.chain)
            self.possible |= {other.decide(rest).action, *other.possible}

    def _after_tiers(self) -> Decision:
        if self.chain == "forward":
            # Without a tier the chain accepts; where all passed it ends without a drop (felix/rules/endpoints.go).
            return self._decided("allow", None, None, None, "", NO_POLICY)
        if self.chain != "normal":
            return self._decided("continue", None, None, None, "", NO_POLICY)
        for profile in self.endpoint.profiles:
            if profile.startswith(NAMESPACE_PROFILE) or profile == DEFAULT_ALLOW:
                self._step(None, "Profile", profile, action="allow")
                return self._decided("allow", None, "Profile", profile, "", PROFILE)
        name = self.endpoint.profiles[-1] if self.endpoint.profiles else None
        self._step(None, "Profile", name or "", action="deny", note="no profile allows it")
        return self._decided("deny", None, "Profile", name, "", PROFILE)

    def _decided(
        self, action: str, tier: str | None, kind: str | None, name: str | None, namespace: str, rule: int | str
    ) -> Decision:
        return Decision(action, self.direction, tier, kind, name, namespace or None, rule)

    def _doubt(self, why: str) -> None:
        self.matches.doubts.append(why)
        self.possible |= {"allow", "deny"}

    def _policy_step(
        self, tier: Tier, policy: Policy, index: int | None, action: str, logged: list[int], perhaps: list[int]
    ) -> None:
        self._step(
            tier.name,
            policy.kind,
            policy.name,
            policy.namespace,
            index,
            action,
            tuple(logged),
            tuple(perhaps),
            policy.problem,
        )

    def _step(
        self,
        tier: str | None,
        kind: str,
        name: str,
        namespace: str = "",
        matched: int | None = None,
        action: str = "continue",
        logged: tuple[int, ...] = (),
        perhaps: tuple[int, ...] = (),
        note: str = "",
    ) -> None:
        self.steps.append(
            Step(self.endpoint.ref, self.direction, tier, kind, name, namespace, matched, action, logged, perhaps, note)
        )


def decide(world: World, endpoint: Endpoint, direction: Direction, packet: Packet, chain: Chain = "normal") -> Outcome:
    """What the policies of an endpoint make of a packet in one direction.

    In the chains ``pre-dnat`` and ``untracked`` the action is ``continue`` where no rule matched.
    """
    try:
        return _decide(world, endpoint, direction, packet, chain)
    except SelectorError as error:
        why = f"a selector cannot be parsed: {error.reason}"
        return Outcome(Decision(UNKNOWN, direction), doubts=[why])


def _decide(world: World, endpoint: Endpoint, direction: Direction, packet: Packet, chain: Chain) -> Outcome:
    old = world.parts.old_names
    walk = _Walk(world, endpoint, direction, packet, chain)
    found = walk.decide(world.stages(endpoint, chain, direction, bool(old)))
    possible = {*walk.possible, found.action}
    doubts = walk.matches.doubts
    if old is None:
        other = _Walk(world, endpoint, direction, packet, chain)
        action = other.decide(world.stages(endpoint, chain, direction, True)).action
        if action != found.action:
            possible.add(action)
            doubts.append("Calico up to v3.31 sorts policies of one order differently, and the version is not known")
    if len(possible) > 1:
        return Outcome(Decision(UNKNOWN, direction), walk.steps, list(dict.fromkeys(doubts)))
    return Outcome(found, walk.steps)

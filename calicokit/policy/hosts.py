"""Host endpoint policy: which host endpoint a packet meets on a node, and in which chains.

Facts: felix/rules/static.go, felix/rules/dispatch.go, resolveHostEndpoints in felix/dataplane/linux/endpoint_mgr.go at
HEAD; tierInfoToProtoTierInfo in felix/calc/event_sequencer.go. A reply needs no policy but under ``doNotTrack``, which
is not followed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from calicokit.net import prefix
from calicokit.policy.decide import UNKNOWN, Chain, Decision, Outcome, Packet, Step, World, decide
from calicokit.policy.model import EGRESS, EVERY_INTERFACE, INGRESS, Direction, Endpoint, HostRules, Node

Link = Literal["uplink", "tunnel", "pod", "loopback"]
"""The kind of interface that a packet comes in or goes out by."""

NO_RULES = HostRules((), (), None)


@dataclass(frozen=True, slots=True)
class Met:
    """A host endpoint that a packet may meet; ``certain`` is false where the interface's name is not known."""

    endpoint: Endpoint
    certain: bool


class Hosts:
    """The host endpoints of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._of: dict[str, list[Endpoint]] = {}
        for endpoint in sorted((e for e in world.parts.endpoints if e.host), key=lambda e: e.name):
            self._of.setdefault(endpoint.node, []).append(endpoint)
        self._nodes = {n.name: n for n in world.parts.nodes}

    def rules(self, node: str) -> HostRules:
        return self.world.parts.hosts.get(node, NO_RULES)

    def met(self, node: str, link: Link) -> list[Met]:
        """The host endpoints that may govern such an interface: the named one, else the one of all interfaces."""
        mine = self._of.get(node, [])
        every = next((Met(e, True) for e in mine if e.interface == EVERY_INTERFACE), None)
        named = [e for e in mine if e.interface != EVERY_INTERFACE] if link == "uplink" else []
        found: list[Met] = []
        for endpoint in named:
            answer = self._on_uplink(endpoint, self._nodes.get(node))
            if answer is not False:
                found.append(Met(endpoint, answer is True))
            if answer is True:
                return found
        return [*found, *([every] if every else [])]

    @staticmethod
    def _on_uplink(endpoint: Endpoint, node: Node | None) -> bool | None:
        """Whether the interface that the endpoint names, or whose address it expects, is the node's main one."""
        if node is None:
            return None
        if set(endpoint.addresses) & set(node.addresses):
            return True
        if not endpoint.interface:
            return False
        if node.interfaces is None:
            return None
        return bool(set(node.interfaces.get(endpoint.interface, ())) & set(node.addresses))

    # ---- chains

    def arriving(self, node: str, link: Link, packet: Packet, forwarded: bool, sent: Packet) -> Outcome:
        """What meets a packet that comes in (``sent``: before DNAT), up to the filter chains."""
        found = self.before_dnat(node, link, sent)
        if found.action != "continue":
            return found
        return self._pass(node, link, INGRESS, packet, "forward" if forwarded else "normal")

    def before_dnat(self, node: str, link: Link, packet: Packet) -> Outcome:
        """What meets a packet before DNAT; untracked policy is not asked about traffic of the node's own pods."""
        if link == "uplink":
            found = self._pass(node, link, INGRESS, packet, "untracked")
            if found.action != "continue":
                return found
        return self._pass(node, link, INGRESS, packet, "pre-dnat")

    def leaving(self, node: str, link: Link, packet: Packet, forwarded: bool) -> Outcome:
        """What meets a packet that goes out."""
        if not forwarded and link == "uplink":
            found = self._pass(node, link, EGRESS, packet, "untracked")
            if found.action != "continue":
                return found
        return self._pass(node, link, EGRESS, packet, "forward" if forwarded else "normal")

    def _pass(self, node: str, link: Link, direction: Direction, packet: Packet, chain: Chain) -> Outcome:
        nothing = Outcome(Decision("allow" if chain in ("normal", "forward") else "continue", direction))
        if "hostendpoints" in self.world.parts.missing and self._could_matter(chain):
            return Outcome(Decision(UNKNOWN, direction), doubts=["host endpoints are unknown"])
        outcomes = [nothing]
        for met in self.met(node, link):
            if chain == "untracked" and met.endpoint.interface == EVERY_INTERFACE:
                continue  # not supported; Felix ignores it
            found = self._one(met.endpoint, node, direction, packet, chain)
            outcomes = [found] if met.certain else [*outcomes, found]
            if met.certain:
                break
        if len({o.action for o in outcomes}) == 1:
            return outcomes[-1]
        steps = [s for o in outcomes for s in o.steps]
        return Outcome(Decision(UNKNOWN, direction), steps, [f"which interface of {node} the traffic uses is unknown"])

    def _could_matter(self, chain: Chain) -> bool:
        """Whether a host endpoint that was not seen could decide: forwarded traffic needs a policy that says so."""
        if chain == "normal" or "globalnetworkpolicies" in self.world.parts.missing:
            return True
        wanted = {"forward": "apply_on_forward", "pre-dnat": "pre_dnat", "untracked": "do_not_track"}[chain]
        return any(getattr(p, wanted) for p in self.world.parts.enforced())

    def _one(self, endpoint: Endpoint, node: str, direction: Direction, packet: Packet, chain: Chain) -> Outcome:
        if chain == "normal" and self.failsafe(node, direction, packet):
            step = Step(endpoint.ref, direction, None, "FelixConfiguration", "failsafe ports", action="allow")
            return Outcome(Decision("allow", direction, None, "FelixConfiguration", "failsafe ports"), [step])
        return decide(self.world, endpoint, direction, packet, chain)

    def failsafe(self, node: str, direction: Direction, packet: Packet) -> bool:
        """Whether the packet's port is one that host endpoints never close."""
        rules = self.rules(node)
        ports = rules.failsafe_in if direction == INGRESS else rules.failsafe_out
        other = prefix(packet.src if direction == INGRESS else packet.dst)
        return any(
            (f.protocol, f.port) == (packet.protocol, packet.port) and (f.net is None or f.net.covers(other))
            for f in ports
        )


def in_order(outcomes: Iterator[Outcome]) -> Outcome:
    """Of what one side of a flow meets: the first that denies, else the first that is not known, else the last."""
    every = list(outcomes)
    steps = [s for o in every for s in o.steps]
    for action in ("deny", UNKNOWN):
        for each in every:
            if each.action == action:
                return Outcome(each.decision, steps, each.doubts)
    deciding = [o for o in every if o.decision.name] or every
    return Outcome(deciding[-1].decision, steps)

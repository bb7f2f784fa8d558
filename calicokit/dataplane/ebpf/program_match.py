"""Whether a rule of a policy program matches a packet: by what ``-bpf policy dump`` prints of it, and by the policy.

What is printed decides where it tells. It is silent on named ports' members, services and selectors of named ports, on
whether a rule is of another IP version, and on which of several sets an address is to be in (``formatRuleMatch`` and
``writeRule`` in felix/bpf/polprog/pol_prog_builder.go, v3.34-dev): there the policy's rule is asked, at the same place
of the policy that has the same name.
"""

from __future__ import annotations

import re

from calicokit.dataplane.packets.packet import NAMES, Packet
from calicokit.net import address_text, prefix
from calicokit.policy.decide import Matcher, World
from calicokit.policy.decide import Packet as Asked
from calicokit.policy.model import Rule

Answer = bool | None

_TOKEN = re.compile(r"(!?)(proto|src|dst|sports|dports|icmp)=(\{[^}]*\}|\S*)(?:\s|$)")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def matches(text: str | None, packet: Packet, rule: Rule | None, world: World) -> Answer:
    """Yes, no, or None where neither the text nor the policy's rule tells."""
    told = None if text is None else _printed(text, packet)
    if told is False:
        return False
    if rule is None:
        return None  # the text may be silent on something
    if told is True and not rule.destination.service:
        return True
    return _of_policy(rule, packet, world)


def _of_policy(rule: Rule, packet: Packet, world: World) -> Answer:
    if packet.source is None or packet.destination is None or packet.protocol is None:
        return True if not (rule.protocol or rule.not_protocol) and _asks_nothing(rule) else None
    source, target = (address_text(packet.version, a) for a in (packet.source, packet.destination))
    name = NAMES.get(packet.protocol, str(packet.protocol))
    return Matcher(world, Asked(source, target, name, packet.dport))(rule)


def _asks_nothing(rule: Rule) -> bool:
    return rule.source.anything and rule.destination.anything and rule.version is None


def _printed(text: str, packet: Packet) -> Answer:
    """What the printed match says; None where it cannot tell."""
    answers: list[Answer] = []
    rest = text
    while token := _TOKEN.match(rest):
        rest = rest[token.end() :]
        answers.append(_token(token[2], token[3], bool(token[1]), packet))
    if rest.strip():
        answers.append(None)
    return False if False in answers else None if None in answers else True


def _token(what: str, value: str, negate: bool, packet: Packet) -> Answer:
    members = [m for m in value.strip("{}").split(",") if m]
    if what == "proto":
        mine = None if packet.protocol is None else NAMES.get(packet.protocol)
        return None if mine is None or not value else (mine == value) != negate
    if what in ("src", "dst"):
        return _address(members, negate, packet.version, packet.source if what == "src" else packet.destination)
    if what == "dports":
        return _port(members, negate, packet.dport)
    return None  # source ports are not known, nor which kind of ICMP


def _address(members: list[str], negate: bool, version: int, address: int | None) -> Answer:
    if address is None:
        return None
    answers = [_covers(m, version, address) for m in members]
    if negate:
        return False if True in answers else None if None in answers else True
    if True not in answers:
        return None if None in answers else False
    return True if len(members) == 1 else None  # of networks and sets, each of which must have it


def _covers(member: str, version: int, address: int) -> Answer:
    try:
        net = prefix(member)
    except ValueError:
        return None  # a set without members, or one that could not be looked up
    return net.version == version and net.first <= address <= net.last


def _port(members: list[str], negate: bool, port: int | None) -> Answer:
    if port is None:
        return None
    answers: list[Answer] = []
    for member in members:
        span = _PORTS.fullmatch(member)
        answers.append(int(span[1]) <= port <= int(span[2] or span[1]) if span else None)
    if True in answers:
        return not negate
    return None if None in answers else negate

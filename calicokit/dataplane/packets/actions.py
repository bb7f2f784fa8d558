"""What a rule does with a packet that it matches."""

from __future__ import annotations

from dataclasses import dataclass, replace

from calicokit.dataplane.packets.match import Match, Node
from calicokit.dataplane.packets.packet import Packet
from calicokit.net import prefix

NAT = frozenset(("dnat", "snat", "masquerade", "redirect"))


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a rule does: ``kind`` is a verdict, mark, nat, or count (nothing that matters here).

    ``argument`` is the chain of jump and goto, the map of vmap, or the new destination of dnat; ``clear`` and ``flip``
    change the mark to ``(mark & ~clear) ^ flip``.
    """

    kind: str
    argument: str = ""
    clear: int = 0
    flip: int = 0
    keys: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()

    def marked(self, packet: Packet) -> Packet:
        return replace(packet, mark=((packet.mark & ~self.clear) ^ self.flip) & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule, ready to be asked: its matches, the share of packets that it takes at random, and what it does.

    ``plain`` are the matches in words, ``odd`` those that are not understood.
    """

    matches: tuple[Match, ...]
    actions: tuple[Action, ...]
    share: float | None = None
    odd: tuple[str, ...] = ()

    def matches_packet(self, packet: Packet, node: Node) -> bool | None:
        """Whether the packet matches; None where a match cannot be told and no other says no."""
        told: bool | None = True
        for match in self.matches:
            answer = match(packet, node)
            if answer is False:
                return False
            if answer is None:
                told = None
        return told

    @property
    def matters(self) -> bool:
        """Whether it changes a packet or its way."""
        return any(a.kind != "count" for a in self.actions)


def destination(text: str) -> tuple[int, int | None, int | None]:
    """Version, address and port of ``10.0.0.1:80``, ``[fd00::1]:80``; port and address may be missing.

    Raises ``ValueError``; ranges of several destinations too, as which one is taken cannot be told.
    """
    text = text.strip()
    if text.startswith("["):
        inner, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        inner, port = text, ""
    else:
        inner, _, port = text.partition(":")
    net = prefix(inner) if inner else None
    if net is not None and net.first != net.last:
        raise ValueError(text)
    return (net.version if net else 4), (net.first if net else None), (int(port) if port else None)

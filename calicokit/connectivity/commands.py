"""The guide's steps as commands for a live cluster, ready to paste: real names, and what the images have."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calicokit.health.commands import NodeCommands


@dataclass(frozen=True)
class Seat:
    """An end of a flow: its pod (NS/POD; empty for none), address, node and interface there, and the port asked."""

    pod: str = ""
    address: str = ""
    node: str = ""
    interface: str = ""
    port: int | None = None


@dataclass(frozen=True)
class Commands:
    """What shows on a live cluster what each step looks at; ``asked`` are the options that name the two ends."""

    asked: Sequence[str]
    source: Seat
    targets: Sequence[Seat]
    nodes: NodeCommands

    def addresses(self) -> str:
        """Each pod with its address."""
        pods = dict.fromkeys(seat.pod for seat in (self.source, *self.targets) if seat.pod)
        return _all(f"kubectl get pod -n {_quoted(*pod.split('/', 1))} -o wide" for pod in pods)

    def interfaces(self) -> str:
        """The route to each pod on its node, which names its interface."""
        seats = [s for s in (self.source, *self.targets) if s.pod and s.address and s.node]
        return _all(self.nodes.on(s.node, "ip", *_six(s.address), "route", "show", s.address) for s in seats)

    def routes(self) -> str:
        """Where each node sends the packets that come out of the pod, there and back."""
        pairs = [pair for t in self.targets for pair in ((self.source, t), (t, self.source))]
        return _all(self._route(a, b) for a, b in pairs if a.node and b.address)

    def _route(self, src: Seat, dst: Seat) -> str:
        own = ("from", src.address, "iif", src.interface) if src.interface and src.address else ()
        return self.nodes.on(src.node, "ip", "route", "get", dst.address, *own)

    def tried(self) -> str:
        """One connection from the pod, with a tool that its image has."""
        known = [t for t in self.targets if t.address and t.port is not None]
        if not self.source.pod:
            return ""
        if not known:
            return "say the port with --port: then `calicokit act probe` tries it"
        return _all(f"calicokit act probe {_quoted(self.source.pod, t.address, str(t.port))}" for t in known[:1])

    def of_kit(self, command: str) -> str:
        """The kit's own command for the two ends, on kubectl's current context."""
        return f"kubectl calicokit {command} {_quoted(*self.asked)}"


def _six(address: str) -> Sequence[str]:
    """What ip asks for where a list is of IPv6."""
    return ("-6",) if ":" in address else ()


def _quoted(*words: str) -> str:
    """Words of a cluster as a shell will read them."""
    return shlex.join(words)


def _all(commands: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(commands))

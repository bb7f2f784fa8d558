"""From a rule as iptables-save prints it to what it asks and does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from calicokit.dataplane.packets import match as m
from calicokit.dataplane.packets.actions import Action, Compiled
from calicokit.dataplane.packets.match import Match
from calicokit.dataplane.packets.packet import Packet, protocol_number

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|\S+')
_ESCAPE = re.compile(r"\\(.)")
_PORTS = frozenset(("tcp", "udp", "sctp", "dccp", "udplite"))
_COUNTS = frozenset(("comment", "nfacct"))

_ACTIONS = {
    "ACCEPT": "accept",
    "DROP": "drop",
    "REJECT": "reject",
    "RETURN": "return",
    "QUEUE": "queue",
    "NFQUEUE": "queue",
    "TPROXY": "unknown",
    "SYNPROXY": "unknown",
}
_GO_ON = frozenset(
    (
        *(
            "LOG",
            "NFLOG",
            "ULOG",
            "TRACE",
            "CONNMARK",
            "TCPMSS",
            "CT",
            "NOTRACK",
            "DSCP",
            "TOS",
            "TTL",
            "HL",
            "CLASSIFY",
        ),
        *("SECMARK", "CONNSECMARK", "SET", "AUDIT", "CHECKSUM", "IDLETIMER", "RATEEST", "TEE", "HMARK", "LED"),
    )
)


def _tokens(spec: str) -> Iterator[str]:
    for token in _TOKEN.findall(spec):
        yield _ESCAPE.sub(r"\1", token[1:-1]) if token[0] == '"' and len(token) > 1 else token


@dataclass
class _Reading:
    """A rule as it is read: options one after the other, each with its values."""

    tokens: list[str]
    at: int = 0
    module: str = ""
    matches: list[Match] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    share: float | None = None
    options: dict[str, str] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def read(self) -> None:
        while self.at < len(self.tokens):
            negate = self.peek() == "!"
            self.at += negate
            option = self.next()
            if option in ("-m", "--match"):
                self.end_module()
                self.module = self.next()
                self.modules.append(self.module)
            elif option in ("-j", "-g", "--jump", "--goto"):
                self.end_module()
                self.target(self.next(), option in ("-g", "--goto"))
                return
            else:
                self.option(option, negate)
        self.end_module()

    def option(self, option: str, negate: bool) -> None:
        plain = _PLAIN.get(option)
        if plain is not None:
            self.matches.append(plain(self.next(), negate))
            return
        reader = _MODULES.get(self.module)
        if reader is None or not reader(self, option, negate):
            self.strange(option)

    def strange(self, option: str) -> None:
        """An option that is not understood: the rule can match or not. Its values are skipped."""
        while self.peek() and self.peek() != "!" and not self.peek().startswith("-"):
            option = f"{option} {self.next()}"
        if self.module not in _COUNTS:
            self.odd.append(f"{self.module} {option}".strip())
            self.matches.append(m.unknown)

    def end_module(self) -> None:
        """Matches that are made of several options, or of none."""
        if self.module in _BARE:
            self.odd.append(self.module)
            self.matches.append(m.unknown)
        elif self.module == "rpfilter":
            self.matches.append(m.reverse_path("invert" in self.options, "loose" in self.options))
        elif self.module == "addrtype":
            self.address_types()
        self.module = ""
        self.options = {}

    def address_types(self) -> None:
        limited = self.options.get("limit", "")
        for side in ("source", "destination"):
            if side in self.options:
                kinds = self.options[side].removeprefix("!")
                self.matches.append(m.address_type(kinds.split(","), side, limited, self.options[side].startswith("!")))

    # ---- targets

    def target(self, name: str, goto: bool) -> None:
        if goto:
            self.actions.append(Action("goto", name))
        elif name in _ACTIONS:
            self.actions.append(Action(_ACTIONS[name]))
        elif name == "MARK":
            self.actions.append(self.mark())
        elif name in ("DNAT", "SNAT", "REDIRECT", "MASQUERADE"):
            self.actions.append(Action(name.lower(), self.value_of("--to-destination", "--to-source", "--to-ports")))
        elif name in _GO_ON:
            self.actions.append(Action("count"))
        else:
            self.actions.append(Action("jump", name))

    def value_of(self, *options: str) -> str:
        rest = self.tokens[self.at :]
        return next((rest[i + 1] for i, t in enumerate(rest[:-1]) if t in options), "")

    def mark(self) -> Action:
        option, value = self.next(), self.next()
        number, _, mask = value.partition("/")
        bits, over = int(number, 0), int(mask, 0) if mask else 0xFFFFFFFF
        if option == "--set-mark":
            return Action("mark", clear=over | bits, flip=bits)
        if option == "--and-mark":
            return Action("mark", clear=~bits & 0xFFFFFFFF)
        if option == "--or-mark":
            return Action("mark", clear=bits, flip=bits)
        if option == "--xor-mark":
            return Action("mark", flip=bits)
        return Action("mark", clear=over, flip=bits)


_PLAIN: dict[str, Callable[[str, bool], Match]] = {
    "-s": lambda v, n: m.address(v.split(","), "source", n),
    "--source": lambda v, n: m.address(v.split(","), "source", n),
    "-d": lambda v, n: m.address(v.split(","), "destination", n),
    "--destination": lambda v, n: m.address(v.split(","), "destination", n),
    "-i": lambda v, n: m.interface([v], "in", n),
    "--in-interface": lambda v, n: m.interface([v], "in", n),
    "-o": lambda v, n: m.interface([v], "out", n),
    "--out-interface": lambda v, n: m.interface([v], "out", n),
    "-p": lambda v, n: m.always if v in ("all", "0") else m.protocol([v], n),
    "--protocol": lambda v, n: m.always if v in ("all", "0") else m.protocol([v], n),
}


def _ports(reading: _Reading, option: str, negate: bool) -> bool:
    side = {
        "--dport": "destination",
        "--destination-port": "destination",
        "--sport": "source",
        "--source-port": "source",
    }
    if option in side:
        only = protocol_number(reading.module)
        reading.matches.append(m.ports(m.port_ranges(reading.next()), side[option], negate, only))
        return True
    if option == "--tcp-flags":
        mask, set_ = reading.next(), reading.next()
        # A first packet has SYN of all flags; the connection's state tells whether it is one.
        first = set_ == "SYN" and "SYN" in mask
        reading.matches.append(_syn(negate) if first else m.unknown)
        return True
    if option == "--syn":
        reading.matches.append(_syn(negate))
        return True
    return False


def _syn(negate: bool) -> Match:
    def match(packet: Packet, _: m.Node) -> m.Answer:
        if packet.protocol != 6:
            return False if packet.protocol is not None else None
        return (packet.state == "NEW") != negate if packet.state in ("NEW", "ESTABLISHED") else None

    return match


def _multiport(reading: _Reading, option: str, negate: bool) -> bool:
    sides = {
        "--dports": "destination",
        "--destination-ports": "destination",
        "--sports": "source",
        "--source-ports": "source",
        "--ports": "either",
    }
    if option not in sides:
        return False
    reading.matches.append(m.ports(m.port_ranges(reading.next()), sides[option], negate))
    return True


def _conntrack(reading: _Reading, option: str, negate: bool) -> bool:
    if option in ("--ctstate", "--state"):
        reading.matches.append(m.state(reading.next().split(","), negate))
        return True
    if option == "--ctdir":
        original = reading.next() == "ORIGINAL"
        reading.matches.append(
            lambda p, _: (
                None if p.state not in ("NEW", "ESTABLISHED") or p.state == "ESTABLISHED" else original != negate
            )
        )
        return True
    return False


def _mark(reading: _Reading, option: str, negate: bool) -> bool:
    if option != "--mark":
        return False
    value, _, mask = reading.next().partition("/")
    reading.matches.append(m.mark(int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF, negate))
    return True


def _set(reading: _Reading, option: str, negate: bool) -> bool:
    if option != "--match-set":
        return False
    name, dimensions = reading.next(), reading.next()
    reading.matches.append(m.in_set(name, dimensions.split(","), negate))
    return True


def _addrtype(reading: _Reading, option: str, negate: bool) -> bool:
    sides = {"--src-type": "source", "--dst-type": "destination"}
    if option in sides:
        reading.options[sides[option]] = ("!" if negate else "") + reading.next()
        return True
    if option in ("--limit-iface-in", "--limit-iface-out"):
        reading.options["limit"] = option.rpartition("-")[2]
        return True
    return False


def _rpfilter(reading: _Reading, option: str, _: bool) -> bool:
    name = option.removeprefix("--")
    if name not in ("invert", "loose", "validmark", "accept-local"):
        return False
    reading.options[name] = ""
    return True


def _statistic(reading: _Reading, option: str, negate: bool) -> bool:
    if option == "--mode":
        if reading.next() != "random":
            reading.matches.append(m.unknown)
            reading.odd.append("statistic --mode nth")
        return True
    if option == "--probability":
        share = float(reading.next())
        reading.share = 1 - share if negate else share
        return True
    return option in ("--every", "--packet") and bool(reading.next())


def _icmp(reading: _Reading, option: str, negate: bool) -> bool:
    if option not in ("--icmp-type", "--icmpv6-type"):
        return False
    kind = reading.next().partition("/")[0]
    number = _ICMP_TYPES.get(kind, int(kind) if kind.isdigit() else None)
    if kind in ("any", "255"):
        reading.matches.append(m.always)
    else:
        reading.matches.append(icmp_type(number, negate))
    return True


def icmp_type(number: int | None, negate: bool) -> Match:
    return lambda p, _: None if number is None or p.icmp_type is None else (p.icmp_type == number) != negate


_ICMP_TYPES = {"echo-reply": 0, "destination-unreachable": 3, "echo-request": 8, "time-exceeded": 11}


def _iprange(reading: _Reading, option: str, negate: bool) -> bool:
    sides = {"--src-range": "source", "--dst-range": "destination"}
    if option not in sides:
        return False
    reading.matches.append(m.address([reading.next()], sides[option], negate))
    return True


def _pkttype(reading: _Reading, option: str, negate: bool) -> bool:
    if option != "--pkt-type":
        return False
    reading.matches.append(m.always if (reading.next() == "unicast") != negate else m.never)
    return True


def _nothing(reading: _Reading, option: str, _: bool) -> bool:
    return option in ("--comment", "--nfacct-name") and bool(reading.next() or True)


_BARE = frozenset(("socket", "cluster", "eui64"))
"""Matches that ask something without any option."""
_MODULES: dict[str, Callable[[_Reading, str, bool], bool]] = {
    **dict.fromkeys(_PORTS, _ports),
    "multiport": _multiport,
    "conntrack": _conntrack,
    "state": _conntrack,
    "mark": _mark,
    "set": _set,
    "addrtype": _addrtype,
    "rpfilter": _rpfilter,
    "statistic": _statistic,
    "icmp": _icmp,
    "icmp6": _icmp,
    "icmpv6": _icmp,
    "ipv6-icmp": _icmp,
    "iprange": _iprange,
    "pkttype": _pkttype,
    "comment": _nothing,
    "nfacct": _nothing,
}


@lru_cache(maxsize=1 << 16)
def compile_iptables(spec: str) -> Compiled:
    """A rule's matches and actions; what is not understood makes it unknown whether it matches."""
    reading = _Reading(list(_tokens(spec)))
    try:
        reading.read()
    except ValueError:
        reading.odd.append("a value that cannot be parsed")
        reading.matches.append(m.unknown)
    return Compiled(tuple(reading.matches), tuple(reading.actions), reading.share, tuple(reading.odd))

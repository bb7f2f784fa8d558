"""What BIRD's client (``birdcl``) prints of the daemon, its protocols and its interfaces; routes are in bird_routes.

Sources: recordings of BIRD 1.6.8 in Calico's build; BIRD's own source for what they do not show (1.6: nest/proto.c,
nest/iface.c, nest/cmds.c, proto/bgp/bgp.c; 2.x: the same files). Lines are told by what they say, not by how far they
are indented, so that a pasted text may be. Times are the daemon's local ones, which are UTC in Calico's containers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.schema import Column, Schema

_SOURCE = "recordings of BIRD 1.6.8; BIRD's nest/cmds.c, nest/proto.c, nest/iface.c, proto/bgp/bgp.c"
_SOURCE_2 = "BIRD 2.x: nest/proto.c, proto/bgp/bgp.c; outputs in sileht/bird-lg#43"

STATUS = Schema(
    "bird_status",
    "BIRD daemon status, one row per output in the text",
    (
        Column("version", "str", "version of BIRD"),
        Column("router_id", "str", "router id"),
        Column("hostname", "str", "hostname; null before BIRD 2"),
        Column("server_time", "time", "the daemon's clock"),
        Column("last_reboot", "time", "start of the daemon"),
        Column("last_reconfiguration", "time", "last configuration load"),
        Column("state", "str", "up, reconfiguring or shutting-down"),
        Column("message", "str", "line with the state"),
        Column("graceful_restart", "bool", "recovering from a graceful restart"),
        Column("graceful_restart_protocols", "int", "protocols it is waiting for"),
        Column("graceful_restart_wait", "str", "wait timer, left/total seconds"),
    ),
    source=_SOURCE,
)
PROTOCOLS = Schema(
    "bird_protocols",
    "BIRD's protocols; what only ``show protocols all`` prints is null without it",
    (
        Column("protocol", "str", "name of the protocol's instance"),
        Column("proto", "str", "BGP, Kernel, Device, Direct, Static, …"),
        Column("table", "str", "routing table; null where BIRD 2 prints ---"),
        Column("state", "str", "up, start, stop, down, feed, flush or wait"),
        Column("since", "str", "last state change, as printed: HH:MM:SS, or a date"),
        Column("info", "str", "state and last error as printed; null where there is none"),
        Column("kind", "str", "Mesh, Node, Global or Local_Workload, from Calico's name; null for others"),
        Column("peer", "str", "the peer's address in Calico's name"),
        Column("bgp_state", "str", "Established, Active, Connect, Passive, OpenSent, OpenConfirm, Idle, Close or Down"),
        Column("last_error", "str", "last error of the session"),
        Column("description", "str", "description"),
        Column("router_id", "str", "the protocol's own router id, where it is set"),
        Column("preference", "int", "preference of its routes"),
        Column("input_filter", "str", "name of the import filter, (unnamed), ACCEPT or REJECT"),
        Column("output_filter", "str", "name of the export filter, (unnamed), ACCEPT or REJECT"),
        Column("routes_imported", "int", "routes imported into the table, over all channels"),
        Column("routes_filtered", "int", "filtered routes kept; null where not printed"),
        Column("routes_exported", "int", "routes exported from the table, over all channels"),
        Column("routes_preferred", "int", "imported routes that are preferred, over all channels"),
        Column("neighbor_address", "str", "the peer's address"),
        Column("neighbor_port", "int", "the peer's port, where it is not 179"),
        Column("neighbor_as", "int", "the peer's AS"),
        Column("local_as", "int", "local AS; null before BIRD 2"),
        Column("neighbor_id", "str", "the peer's router id"),
        Column("neighbor_caps", "list", "capabilities the peer announced; null where not printed"),
        Column("local_caps", "list", "local capabilities; null before BIRD 2"),
        Column("session", "list", "internal or external, multihop, route-reflector, …; null where not printed"),
        Column("source_address", "str", "local address of the session"),
        Column("hold_timer", "str", "seconds left/total"),
        Column("keepalive_timer", "str", "seconds left/total"),
        Column("error_wait", "str", "seconds left/total until it restarts after an error"),
        Column("connect_delay", "str", "seconds left/total until it connects"),
        Column("restart_timer", "str", "seconds left of the peer's graceful restart"),
        Column("graceful_restart_active", "bool", "the peer is in graceful restart; null for other protocols"),
        Column("details", "list", "further lines, as KEY: VALUE"),
        Column("line", "int", "1-based number of its first line in the text"),
    ),
    ("protocol",),
    source=_SOURCE,
)
CHANNELS = Schema(
    "bird_channels",
    "channels of the protocols; BIRD 1.6 has none",
    (
        Column("protocol", "str", "name of the protocol's instance"),
        Column("channel", "str", "ipv4, ipv6, …"),
        Column("state", "str", "UP, DOWN, START or FLUSHING"),
        Column("table", "str", "routing table"),
        Column("preference", "int", "preference of its routes"),
        Column("input_filter", "str", "name of the import filter, (unnamed), ACCEPT or REJECT"),
        Column("output_filter", "str", "name of the export filter, (unnamed), ACCEPT or REJECT"),
        Column("routes_imported", "int", "routes imported into the table"),
        Column("routes_filtered", "int", "filtered routes kept; null where not printed"),
        Column("routes_exported", "int", "routes exported from the table"),
        Column("routes_preferred", "int", "imported routes that are preferred"),
        Column("bgp_next_hop", "str", "local next hop"),
        Column("details", "list", "further lines, as KEY: VALUE"),
    ),
    ("protocol", "channel"),
    verified=False,
    source=_SOURCE_2,
)
_COUNTS = ("received", "rejected", "filtered", "ignored", "rx_limit", "limit", "accepted")
CHANGES = Schema(
    "bird_route_changes",
    "route update counters of the protocols since they started; --- is null",
    (
        Column("protocol", "str", "name of the protocol's instance"),
        Column("channel", "str", "channel; null in BIRD 1.6"),
        Column("direction", "str", "Import or Export"),
        Column("what", "str", "updates or withdraws"),
        *(Column(name, "int", f"changes {name}") for name in _COUNTS[:4]),
        Column("rx_limit", "int", "changes dropped by the receive limit; null before BIRD 2.0.9"),
        Column("limit", "int", "changes dropped by the import or export limit; null before BIRD 2.0.9"),
        Column("accepted", "int", "changes accepted"),
    ),
    ("protocol", "channel", "direction", "what"),
    source=_SOURCE,
)
INTERFACES = Schema(
    "bird_interfaces",
    "network interfaces as BIRD sees them",
    (
        Column("interface", "str", "interface"),
        Column("state", "str", "up or down, as BIRD sees it; also down where BIRD ignores the interface"),
        Column("index", "int", "the kernel's index"),
        Column("master", "str", "its master; null before BIRD 2"),
        Column("flags", "list", "MultiAccess or PtP, Broadcast, Multicast, AdminUp, LinkUp, Loopback, Ignored"),
        Column("mtu", "int", "MTU", "bytes"),
        Column("addresses", "list", "ADDRESS/LENGTH"),
        Column("line", "int", "1-based number of its first line in the text"),
    ),
    ("interface",),
    source=_SOURCE,
)
ADDRESSES = Schema(
    "bird_addresses",
    "addresses of the interfaces",
    (
        Column("interface", "str", "interface"),
        Column("address", "str", "ADDRESS/LENGTH"),
        Column("rank", "str", "Primary, Secondary, Preferred or Unselected"),
        Column("scope", "str", "host, link, site, org or univ"),
        Column("broadcast", "str", "broadcast address, where not the default"),
        Column("opposite", "str", "the other end of a point-to-point link"),
    ),
    ("interface", "address"),
    source=_SOURCE,
)

_NAMED = re.compile(r"(Mesh|Node|Global|Local_Workload)_(.+?)(?:_port_\d+)?")
_V4 = re.compile(r"\d{1,3}(?:_\d{1,3}){3}")


def peer_of(protocol: str) -> tuple[str | None, str | None]:
    """Kind and address of the peer in a name that Calico gave; Nones for other names.

    >>> peer_of("Mesh_172_30_0_12"), peer_of("Node_fd00__1_port_178"), peer_of("static1")
    (('Mesh', '172.30.0.12'), ('Node', 'fd00::1'), (None, None))
    """
    match = _NAMED.fullmatch(protocol)
    if not match:
        return None, None
    text = match[2].replace("_", "." if _V4.fullmatch(match[2]) else ":")
    try:
        return match[1], str(ipaddress.ip_address(text))
    except ValueError:
        return match[1], None


_CLOCK = r"(\d{4}-\d\d-\d\d|\d\d-\d\d-\d{4})[ T](\d\d:\d\d:\d\d(?:\.\d{3}(?:\d{3})?)?)"
_STATUS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"BIRD (\S+)"), ("version",)),
    (re.compile(r"Router ID is (\S+)"), ("router_id",)),
    (re.compile(r"Hostname is (\S+)"), ("hostname",)),
    (re.compile(r"Current server time is " + _CLOCK), ("server_time",)),
    (re.compile(r"Last reboot on " + _CLOCK), ("last_reboot",)),
    (re.compile(r"Last reconfiguration on " + _CLOCK), ("last_reconfiguration",)),
    (re.compile(r"(Graceful restart recovery in progress)"), ("graceful_restart",)),
    (re.compile(r"Waiting for (\d{1,9}) (?:protocols|channels) to recover"), ("graceful_restart_protocols",)),
    (re.compile(r"Wait timer is (\S+)"), ("graceful_restart_wait",)),
    (re.compile(r"(Daemon is up and running|Reconfiguration in progress|Shutdown in progress)"), ("message",)),
)
_STATES = {"Daemon": "up", "Reconfiguration": "reconfiguring", "Shutdown": "shutting-down"}


@parser("bird-status", STATUS, marks=r"^(BIRD [\w.+]+$(?s:.{0,200})Router ID is|Daemon is up|Router ID is )")
def bird_status(text: Text) -> dict[str, pd.DataFrame]:
    """``birdcl show status``: version, router id, clocks and state of the daemon.

    Source: recordings; BIRD's nest/cmds.c. Reconfiguration, shutdown and graceful restart are in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bird-status", '''BIRD v0.3.3+birdv1.6.8
    ... Router ID is 172.30.0.11
    ... Last reboot on 2026-11-24 00:44:09
    ... Daemon is up and running''').frame.iloc[0]
    >>> row["version"], str(row["last_reboot"]), row["state"]
    ('v0.3.3+birdv1.6.8', '2026-11-24 00:44:09+00:00', 'up')
    """
    rows: list[dict[str, Any]] = []
    for line in text.answer():
        found = _fact(line.text.strip())
        if found is None:
            text.reject(line, "a line of show status")
            continue
        name, value = found
        if not rows or name in rows[-1]:
            rows.append({})
        rows[-1][name] = value
    for row in rows:
        row["state"] = _STATES.get(row.get("message", "").split(" ")[0])
        row.setdefault("graceful_restart", False if "message" in row else None)
    return {STATUS.name: STATUS.frame(rows)}


def _fact(line: str) -> tuple[str, Any] | None:
    """Column and value that a line of ``show status`` tells."""
    for pattern, (name,) in _STATUS:
        if not (match := pattern.fullmatch(line)):
            continue
        if match.lastindex == 2:
            time = _time(match[1], match[2])
            return None if time is None else (name, time)
        value: Any = {"graceful_restart": True}.get(name, match[1])
        return name, int(value) if name == "graceful_restart_protocols" else value
    return None


def _time(date: str, clock: str) -> datetime | None:
    if date[2] == "-":  # BIRD before 1.4
        date = "-".join(reversed(date.split("-")))
    try:
        return datetime.fromisoformat(f"{date} {clock}+00:00")
    except ValueError:
        return None


_HEADER = re.compile(r"name +proto +table +state +since +info", re.IGNORECASE)
_PROTOCOL = re.compile(
    r"(?P<protocol>\S+) +(?P<proto>[A-Z][A-Za-z0-9]*) +(?P<table>\S+) +"
    r"(?P<state>up|down|start|stop|feed|flush|wait|\?\?\?) +"
    r"(?P<since>\d\S*(?: \d\d:\d\d:\d\d(?:\.\d{1,6})?)?)(?: +(?P<info>\S.*))?"
)
_BGP_STATES = "Idle|Connect|Active|OpenSent|OpenConfirm|Established|Close|Passive|Down"
_BGP_INFO = re.compile(rf"({_BGP_STATES})\b *(.*)")
_STATE = re.compile(_BGP_STATES)
_DETAIL = re.compile(r"(\s*)([A-Z][A-Za-z0-9 /_-]{1,30}):(?: +(.*))?")
_ROUTES = re.compile(
    r"(?P<imported>\d{1,18}) imported, (?:(?P<filtered>\d{1,18}) filtered, )?"
    r"(?P<exported>\d{1,18}) exported(?:, (?P<preferred>\d{1,18}) preferred)?"
)
_TEXTS = {
    "Description": "description",
    "Router ID": "router_id",
    "Input filter": "input_filter",
    "Output filter": "output_filter",
    "Neighbor address": "neighbor_address",
    "Neighbor ID": "neighbor_id",
    "Source address": "source_address",
    "Hold timer": "hold_timer",
    "Keepalive timer": "keepalive_timer",
    "Error wait": "error_wait",
    "Connect delay": "connect_delay",
    "Restart timer": "restart_timer",
    "Last error": "last_error",
}
_NUMBERS = {
    "Preference": "preference",
    "Neighbor port": "neighbor_port",
    "Neighbor AS": "neighbor_as",
    "Local AS": "local_as",
}
_LISTS = {"Neighbor caps": "neighbor_caps", "Session": "session"}
_CHANNEL_TEXTS = {
    "State": "state",
    "Table": "table",
    "Input filter": "input_filter",
    "Output filter": "output_filter",
    "BGP Next hop": "bgp_next_hop",
}
_CHANNEL_NUMBERS = {"Preference": "preference"}
_CHANNEL = re.compile(r"Channel ([\w-]+)")
_STATS = re.compile(r"Route change stats: +(received .*)")
_CHANGE = re.compile(r"(Import|Export) (updates|withdraws): +([\d-][\d -]*)")
_CAPS = re.compile(r"(Local|Neighbor) capabilities")
_CAP = re.compile(
    r"Multiprotocol|Route refresh|Extended next hop|Extended message|Graceful restart|4-octet AS numbers|ADD-PATH"
    r"|Enhanced refresh|Long-lived graceful restart|Hostname(?:: .*)?|Role(?:: .*)?|Restart recovery"
    r"|Restart notification|(?:AF announced|AF supported|AF preserved|IPv[46] nexthop|Restart time|RX|TX"
    r"|LL stale time|No current peer.*|Per-AF .*):.*"
)


@dataclass
class _Protocols:
    """Reads ``show protocols [all]``: each line belongs to the protocol (and channel) above it."""

    text: Text
    protocols: list[dict[str, Any]] = field(default_factory=list)
    channels: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    channel: dict[str, Any] | None = None
    names: tuple[str, ...] = ()  # of the columns of route changes
    caps: str | None = None  # the column that capabilities on lines of their own belong to

    def line(self, line: Line) -> None:
        stripped = line.text.strip()
        if _HEADER.fullmatch(stripped):
            return
        if match := _PROTOCOL.fullmatch(stripped):
            self.start(match, line.number)
        elif not self.protocols or not (self.known(stripped) or self.detail(line.text)):
            self.text.reject(line, "a protocol or a line of show protocols all")

    def start(self, match: re.Match[str], number: int) -> None:
        row: dict[str, Any] = {**match.groupdict(), "line": number, "details": []}
        row["table"] = None if row["table"] == "---" else row["table"]
        row["kind"], row["peer"] = peer_of(row["protocol"])
        if row["proto"] == "BGP":
            row["graceful_restart_active"] = False
            row["bgp_state"], row["last_error"] = _bgp_info(row["state"], row["info"])
        self.protocols.append(row)
        self.channel, self.caps, self.names = None, None, ()

    def known(self, line: str) -> bool:
        """Read a line whose form is its own; False if it is none."""
        row = self.protocols[-1]
        if match := _CHANNEL.fullmatch(line):
            self.channel = {"protocol": row["protocol"], "channel": match[1], "details": []}
            self.channels.append(self.channel)
            self.caps = None
        elif match := _STATS.fullmatch(line):
            names = tuple(n.lower().replace(" ", "_") for n in re.split(r" {2,}", match[1]))
            self.names = names if set(names) <= set(_COUNTS) and len(set(names)) == len(names) else ()
            return bool(self.names)
        elif match := _CHANGE.fullmatch(line):
            return self.change(match)
        elif match := _CAPS.fullmatch(line):
            self.caps = f"{match[1].lower()}_caps"
            row[self.caps] = []
        elif line == "Neighbor graceful restart active":
            row["graceful_restart_active"] = True
        elif self.caps and _CAP.fullmatch(line):
            row[self.caps].append(line)
        else:
            return False
        return True

    def change(self, match: re.Match[str]) -> bool:
        counts = match[3].split()
        if len(counts) != len(self.names) or any(c != "---" and (not c.isdigit() or len(c) > 18) for c in counts):
            return False
        channel = self.channel["channel"] if self.channel else None
        row = {"protocol": self.protocols[-1]["protocol"], "channel": channel, "direction": match[1], "what": match[2]}
        values = (None if c == "---" else int(c) for c in counts)
        self.changes.append({**row, **dict(zip(self.names, values, strict=True))})
        return True

    def detail(self, line: str) -> bool:
        """Read a line ``Key: value``; False if it is none, or its value not what it must be."""
        match = _DETAIL.fullmatch(line)
        if not match:
            return False
        indent, key, value = match[1], match[2], (match[3] or "").strip()
        channel = self.channel if self.channel is not None and key not in _SESSION else None
        if key == "Routes":
            return self.routes(value)
        if key == "BGP state":
            self.protocols[-1]["bgp_state"] = value
            self.channel, self.caps = None, None
            return _STATE.fullmatch(value) is not None
        stored = (
            _store(self.protocols[-1], key, value, _TEXTS, _NUMBERS)
            if channel is None
            else _store(channel, key, value, _CHANNEL_TEXTS, _CHANNEL_NUMBERS)
        )
        if stored is None and indent:
            (channel or self.protocols[-1])["details"].append(f"{key}: {value}")
            return True
        return bool(stored)

    def routes(self, value: str) -> bool:
        match = _ROUTES.fullmatch(value)
        if not match:
            return False
        for name, number in match.groupdict().items():
            for row in (self.protocols[-1], self.channel):
                if number is not None and row is not None:
                    row[f"routes_{name}"] = row.get(f"routes_{name}", 0) + int(number)
        return True

    def tables(self) -> dict[str, pd.DataFrame]:
        for row in self.protocols:
            own = [c for c in self.channels if c["protocol"] == row["protocol"]] if self.channels else []
            for name in ("preference", "input_filter", "output_filter") if len(own) == 1 else ():
                row.setdefault(name, own[0].get(name))
        return {
            PROTOCOLS.name: PROTOCOLS.frame(self.protocols),
            CHANNELS.name: CHANNELS.frame(self.channels),
            CHANGES.name: CHANGES.frame(self.changes),
        }


_SESSION = {"Last error", "Session", "Source address", "Hold timer", "Keepalive timer", "Neighbor ID", "BGP state"}


def _bgp_info(state: str, info: str | None) -> tuple[str | None, str | None]:
    """State and last error of a BGP session from its info; when it is down, the info has the error alone."""
    match = _BGP_INFO.fullmatch(info or "")
    if match and state != "down":
        return match[1], match[2] or None
    if match and not match[2]:
        return match[1], None
    return ("Down" if state == "down" else None), info


def _store(
    row: dict[str, Any], key: str, value: str, texts: Mapping[str, str], numbers: Mapping[str, str]
) -> bool | None:
    """Put a value into its column; None if no column is its own, False if it is not of the column's kind."""
    if key in numbers:
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            return False
        row[numbers[key]] = int(value)
    elif key in texts:
        row[texts[key]] = value or None
    elif key in _LISTS:
        row[_LISTS[key]] = value.split()
    else:
        return None
    return True


@parser("bird-protocols", PROTOCOLS, CHANNELS, CHANGES, marks=r"^(name|Name)\s+(proto|Proto)\s+(table|Table)")
def bird_protocols(text: Text) -> dict[str, pd.DataFrame]:
    """``birdcl show protocols`` and ``show protocols all``: every protocol, its state, session and counters.

    Source: recordings; BIRD's nest/proto.c and proto/bgp/bgp.c. BIRD 2's channels are in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bird-protocols", '''name     proto    table    state  since       info
    ... Global_172_30_0_100 BGP      master   start  02:29:40    Idle          BGP Error: Bad peer AS''').frame.iloc[0]
    >>> row["peer"], row["bgp_state"], row["last_error"]
    ('172.30.0.100', 'Idle', 'BGP Error: Bad peer AS')
    """
    protocols = _Protocols(text)
    for line in text.answer():
        protocols.line(line)
    return protocols.tables()


_INTERFACE = re.compile(r"(\S+) (up|DOWN) \(index=(\d{1,10})(?: master=(\S+))?\)")
_FLAGS = re.compile(r"((?:PtP|MultiAccess)(?: [A-Za-z-]+)*) MTU=(\d{1,10})")
_ADDRESS = re.compile(r"([0-9a-fA-F.:]+/\d{1,3}) \((.*)\)")
_SUMMARY = re.compile(r"interface +state +(?:address|IPv4 address +IPv6 address)", re.IGNORECASE)
_SUMMED = re.compile(r"(\S+) +(up|DOWN|down)((?: +[0-9a-fA-F.:]+/\d{1,3})*)")


@parser("bird-interfaces", INTERFACES, ADDRESSES, marks=r"^\S+ (up|down) \(index=")
def bird_interfaces(text: Text) -> dict[str, pd.DataFrame]:
    """``birdcl show interfaces`` and ``show interfaces summary``: interfaces and addresses as BIRD sees them.

    Source: recordings; BIRD's nest/iface.c. The summary and BIRD 2's additions are in no recording.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bird-interfaces", '''eth0 up (index=2)
    ...   MultiAccess Broadcast Multicast AdminUp LinkUp MTU=1500
    ...   172.30.0.11/24 (Primary, scope site)''').frame.iloc[0]
    >>> row["interface"], row["state"], int(row["mtu"]), row["addresses"]
    ('eth0', 'up', 1500, ['172.30.0.11/24'])
    """
    rows: list[dict[str, Any]] = []
    addresses: list[dict[str, Any]] = []
    for line in text.answer():
        stripped = line.text.strip()
        if _SUMMARY.fullmatch(stripped):
            continue
        if match := _INTERFACE.fullmatch(stripped) or _SUMMED.fullmatch(stripped):
            rows.append(_interface(match, line.number))
        elif rows and (match := _FLAGS.fullmatch(stripped)):
            rows[-1] |= {"flags": match[1].split(), "mtu": int(match[2])}
        elif rows and (match := _ADDRESS.fullmatch(stripped)) and (address := _address(match[2])):
            rows[-1]["addresses"].append(match[1])
            addresses.append({"interface": rows[-1]["interface"], "address": match[1], **address})
        else:
            text.reject(line, "an interface, its flags or an address of it")
    return {INTERFACES.name: INTERFACES.frame(rows), ADDRESSES.name: ADDRESSES.frame(addresses)}


def _interface(match: re.Match[str], number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"interface": match[1], "state": match[2].lower(), "line": number}
    if match.re is _SUMMED:
        return row | {"addresses": match[3].split()}
    return row | {"index": int(match[3]), "master": match[4], "addresses": []}


def _address(text: str) -> dict[str, Any] | None:
    """What stands in brackets behind an address; None if it is nothing that BIRD prints."""
    row: dict[str, Any] = {}
    for part in text.split(", "):
        name, _, value = part.partition(" ")
        if name in ("scope", "broadcast", "opposite") and value:
            row[name] = value
        elif name in ("Primary", "Secondary", "Preferred", "Unselected", "Tentative"):
            row["rank"] = name
        else:
            return None
    return row or None

"""What iproute2 prints of interfaces, their addresses and their counters: text and JSON, the same tables from both.

Sources: recordings of iproute2 6.1 (veth and VXLAN); iproute2's ip/ipaddress.c and ip/iplink_vxlan.c, and the same
tool's answers in a network namespace, for other kinds, flags, ``-o`` and ``-br``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.iproute import ifconfig
from calicokit.parsers.iproute.common import address, frame, number, read, string, strings, version
from calicokit.schema import Column, Schema

_SOURCE = "recordings of iproute2 6.1; iproute2's ip/ipaddress.c"
_LINE = Column("line", "int", "1-based line number in the text")
_LINK = (
    Column("interface", "str", "interface"),
    Column("index", "int", "number of the interface"),
    Column("peer", "str", "peer or lower interface, as after @: a name, or ifN for one in another namespace"),
    Column("peer_index", "int", "number of the peer, where it is in another namespace"),
    Column("netns", "str", "namespace of the peer: its name in text output, its number in JSON"),
    Column("flags", "list", "such as UP, LOWER_UP, NO-CARRIER"),
    Column("mtu", "int", "MTU", "bytes"),
    Column("qdisc", "str", "queueing discipline"),
    Column("state", "str", "operational state: UP, DOWN, UNKNOWN, …"),
    Column("master", "str", "bridge or bond it belongs to"),
    Column("txqlen", "int", "length of the send queue; null where ip prints none", "packets"),
    Column("link_type", "str", "ether, loopback, ipip, none, …"),
    Column("mac", "str", "MAC; null for interfaces without"),
    Column("kind", "str", "veth, vxlan, ipip, bridge, wireguard, …; null for hardware, or without -d"),
    Column("vxlan_id", "int", "VXLAN: VNI; null without -d, as are all following columns"),
    Column("vxlan_port", "int", "VXLAN: port"),
    Column("tunnel_local", "str", "tunnels: local address"),
    Column("tunnel_remote", "str", "tunnels: remote address; null is any"),
    Column("tunnel_interface", "str", "tunnels: underlying interface"),
    Column("alias", "str", "alias"),
    Column("details", "str", "other lines of the interface, as printed; null in JSON"),
)
ADDRESSES = Schema(
    "ip_addr",
    "addresses of interfaces; an interface without addresses has one row with a null address",
    (
        Column("interface", "str", "interface"),
        Column("index", "int", "number of the interface"),
        Column("address", "str", "address"),
        Column("prefix_length", "int", "prefix length"),
        Column("version", "int", "4 or 6"),
        Column("scope", "str", "global, link or host"),
        Column("broadcast", "str", "broadcast address"),
        Column("peer", "str", "peer address"),
        Column("label", "str", "label, of IPv4 addresses"),
        Column("flags", "list", "such as secondary, dynamic, tentative, deprecated, noprefixroute"),
        Column("valid_lifetime", "int", "valid lifetime; null is forever", "s"),
        Column("preferred_lifetime", "int", "preferred lifetime; null is forever", "s"),
        _LINE,
    ),
    ("interface", "address"),
    source=_SOURCE,
)
INTERFACES = Schema("ip_interfaces", "interfaces", (*_LINK, _LINE), ("interface",), source=_SOURCE)
_COUNTERS = {  # by the side and word of the text's headings; JSON's names
    "rx": {
        "bytes": "bytes",
        "packets": "packets",
        "errors": "errors",
        "dropped": "dropped",
        "missed": "missed_errors",
        "mcast": "multicast",
        "overrun": "over_errors",
        "length": "length_errors",
        "crc": "crc_errors",
        "frame": "frame_errors",
        "fifo": "fifo_errors",
        "nohandler": "nohandler",
        "otherhost": "otherhost_dropped",
        "compressed": "compressed",
    },
    "tx": {
        "bytes": "bytes",
        "packets": "packets",
        "errors": "errors",
        "dropped": "dropped",
        "carrier": "carrier_errors",
        "collsns": "collisions",
        "aborted": "aborted_errors",
        "fifo": "fifo_errors",
        "window": "window_errors",
        "heartbt": "heartbeat_errors",
        "heartbeat": "heartbeat_errors",
        "transns": "carrier_changes",
        "compressed": "compressed",
    },
}
_NAMES = [(side, name) for side, names in _COUNTERS.items() for name in dict.fromkeys(names.values())]


def _counter(side: str, name: str) -> Column:
    column = f"{side}_{'overruns' if name == 'over_errors' else name}"
    if name == "carrier_changes":
        return Column(name, "int", "carrier changes")
    unit = {"bytes": "bytes", "carrier_errors": "", "collisions": ""}.get(name, "packets")
    return Column(column, "int", f"{'received' if side == 'rx' else 'sent'}: {name.replace('_', ' ')}", unit)


LINKS = Schema(
    "ip_link",
    "interfaces and their counters, which are null without -s",
    (*_LINK, *(_counter(side, name) for side, name in _NAMES), _LINE),
    ("interface",),
    source=_SOURCE,
)
_COLUMNS = {pair: _counter(*pair).name for pair in _NAMES}

_HEADER = re.compile(r"(\d{1,9}): ([^\s:@]{1,40})(?:@([^\s:]{1,40}))?: <([\w,-]*)>(.*)")
_ONE_LINE = re.compile(r"(\d{1,9}): (\S{1,40})\s+(inet6? .*)")
_STATES = {"UP", "DOWN", "UNKNOWN", "LOWERLAYERDOWN", "DORMANT", "NOTPRESENT", "TESTING"}
_BRIEF = re.compile(rf"([^\s@]{{1,40}})(?:@(\S{{1,40}}))?\s+({'|'.join(sorted(_STATES))})\b(.*)")
_SETTINGS = {"mtu": "mtu", "qdisc": "qdisc", "state": "state", "master": "master", "qlen": "txqlen"}
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")
_LIFE = re.compile(r"valid_lft (forever|\d{1,18}sec) preferred_lft (forever|\d{1,18}sec)")
_COUNTING = re.compile(r"(RX|TX)(?: errors)?:\s+(\w.*)")
_FLAGS_OF = {
    "secondary",
    "temporary",
    "dynamic",
    "tentative",
    "deprecated",
    "noprefixroute",
    "permanent",
    "dadfailed",
    "nodad",
    "optimistic",
    "home",
    "mngtmpaddr",
    "autojoin",
    "stable-privacy",
    "managed",
}
_PAIRS = {"peer": "peer", "brd": "broadcast", "any": "any", "scope": "scope", "metric": "metric", "proto": "proto"}
_INDEX = re.compile(r"if(\d{1,9})")


def _pairs(words: list[str], names: dict[str, str]) -> dict[str, str]:
    """The values of the words that have one and are known."""
    return {names[w]: words[i + 1] for i, w in enumerate(words[:-1]) if w in names}


@dataclass
class _Links:
    """Interfaces, addresses and counters, as they come."""

    links: list[dict[str, Any]] = field(default_factory=list)
    addresses: list[dict[str, Any]] = field(default_factory=list)
    heading: tuple[str, list[str]] | None = None
    lasting: bool = False

    def start(self, name: str, peer: str | None, line: int, **facts: Any) -> dict[str, Any]:
        self.heading, self.lasting = None, False
        peer = None if peer == "NONE" else peer
        index = _INDEX.fullmatch(peer or "")
        link = {"interface": name, "peer": peer, "peer_index": number(index[1]) if index else None, "line": line}
        self.links.append(link | {"flags": [], "details": []} | facts)
        return self.links[-1]

    def line(self, line: Line) -> bool:
        """Read a line; False if it is none of ip's."""
        stripped = line.text.strip()
        if match := _HEADER.fullmatch(stripped):
            self.header(match, line.number)
            return True
        if match := _ONE_LINE.fullmatch(stripped):
            if not self.links or self.links[-1]["interface"] != match[2]:
                self.start(match[2], None, line.number, index=number(match[1]))
            return self.address(match[3].split(), line.number)
        if match := _BRIEF.fullmatch(stripped):
            return self.brief(match, line.number)
        if old := ifconfig.start(stripped):
            self.start(old[0], None, line.number, **old[1])
            return True
        # Web pages eat indentation; a further line tells itself by its first word too.
        return bool(self.links) and self.more(stripped, line.number)

    def header(self, match: re.Match[str], line: int) -> None:
        index, name, peer, flags, rest = match.groups()
        link = self.start(name, peer, line, index=number(index), flags=flags.split(",") if flags else [])
        for column, value in _pairs(rest.split(), _SETTINGS).items():
            link[column] = number(value) if column in ("mtu", "txqlen") else value

    def brief(self, match: re.Match[str], line: int) -> bool:
        name, peer, state, rest = match.groups()
        link = self.start(name, peer, line, state=state)
        words = rest.split()
        if words and _MAC.fullmatch(words[0]):
            link["mac"] = words[0].lower()
            link["flags"] = words[1].strip("<>").split(",") if len(words) > 1 else []
            return True
        found = True
        for i, word in enumerate(words):
            if word in ("peer", "metric") or (i and words[i - 1] in ("peer", "metric")):
                continue
            peer_of = ["peer", words[i + 2]] if words[i + 1 : i + 2] == ["peer"] and len(words) > i + 2 else []
            found &= self.address(["inet", word, *peer_of], line)
        return found

    def more(self, text: str, line: int) -> bool:
        """A further line of the last interface."""
        link, words = self.links[-1], text.split()
        if (row := ifconfig.address(text)) is not None:
            self.addresses.append(row | {"interface": link["interface"], "index": None, "line": line})
            return True
        if "index" not in link and (said := ifconfig.facts(text)) is not None:
            link |= said
            return True
        if self.heading:
            (side, names), self.heading = self.heading, None
            return _count(link, side, names, words)
        if match := _COUNTING.fullmatch(text):
            self.heading = match[1].lower(), match[2].split()
            return True
        if words[0] in ("inet", "inet6"):
            return self.address(words, line)
        if match := _LIFE.fullmatch(text):
            return self.life(*match.groups())
        return self.about(link, text, words)

    def address(self, words: list[str], line: int) -> bool:
        link = self.links[-1]
        row = _address(words) if len(words) > 1 else None
        if row:
            self.addresses.append(row | {"interface": link["interface"], "index": link.get("index"), "line": line})
        self.lasting = row is not None
        return row is not None

    def life(self, valid: str, preferred: str) -> bool:
        if not self.lasting:
            return False
        row = self.addresses[-1]
        row["valid_lifetime"] = number(valid.removesuffix("sec"))
        row["preferred_lifetime"] = number(preferred.removesuffix("sec"))
        return True

    def about(self, link: dict[str, Any], text: str, words: list[str]) -> bool:
        """A line about the link itself: its address, its kind, its alias, or something else that is kept as it is."""
        if words[0].startswith("link/"):
            link["link_type"] = words[0][5:]
            link["mac"] = words[1].lower() if len(words) > 1 and _MAC.fullmatch(words[1]) else None
            link |= _pairs(words, {"link-netns": "netns", "link-netnsid": "netns"})
            return True
        if words[0] == "alias":
            link["alias"] = text[6:]
            return True
        if words[0] in ("altname", "vf", "prog/xdp", "tun") or words[0].endswith("_slave"):
            link["kind"] = "tun" if words[0] == "tun" else link.get("kind")
        elif link.get("link_type") and not link.get("kind") and _KIND.fullmatch(words[0]):
            link["kind"] = words[0]
            link |= _tunnel(words)
        else:
            return False
        link["details"].append(text)
        return True

    def value(self, value: dict[str, Any], line: Line) -> bool:
        """Read an interface from JSON; False if it is none."""
        if not value:  # ip -j prints {} for what a filter leaves out
            return True
        name = string(value.get("ifname"))
        if not name:
            return False
        number_ = number(value.get("link_index"))
        peer = string(value.get("link")) if "link" in value else f"if{number_}" if number_ is not None else None
        link = self.start(name, peer, line.number, index=number(value.get("ifindex")))
        _fill(link, value)
        link["netns"] = string(value.get("link_netns", value.get("link_netnsid")))
        info = value.get("addr_info")
        read = [self.info(item, line.number) for item in (info if isinstance(info, list) else [])]
        return all(read)

    def info(self, item: object, line: int) -> bool:
        if item == {}:
            return True
        row = _info(item) if isinstance(item, dict) else None
        if row:
            link = self.links[-1]
            self.addresses.append(row | {"interface": link["interface"], "index": link.get("index"), "line": line})
        return row is not None

    def rows(self) -> list[dict[str, Any]]:
        for link in self.links:
            link["details"] = "; ".join(link["details"]) or None if isinstance(link["details"], list) else None
        return self.links

    def addressed(self) -> list[dict[str, Any]]:
        """The addresses in the interfaces' order, and a row for each interface without."""
        known = {row["interface"] for row in self.addresses}
        bare = [
            {"interface": k["interface"], "index": k.get("index"), "line": k["line"], "flags": []}
            for k in self.links
            if k["interface"] not in known
        ]
        order = {k["interface"]: i for i, k in reversed(list(enumerate(self.links)))}
        return sorted([*self.addresses, *bare], key=lambda row: order[row["interface"]])


_KIND = re.compile(r"[a-z][a-z0-9_]{1,20}")


def _count(link: dict[str, Any], side: str, names: list[str], words: list[str]) -> bool:
    """Counters under a heading; False if they are not as many, or no numbers."""
    values = [number(word) for word in words]
    if len(values) != len(names) or None in values:
        return False
    known = _COUNTERS[side]
    link |= {_COLUMNS[side, known[n]]: v for n, v in zip(names, values, strict=True) if n in known}
    return all(n in known for n in names)


def _tunnel(words: list[str]) -> dict[str, Any]:
    """What a tunnel's line of ``ip -d`` tells."""
    keys = ("id", "dstport", "local", "local6", "remote", "remote6", "group", "dev")
    said = _pairs(words, {k: k.removesuffix("6") for k in keys})
    return _tunnelled({**said, "link": said.get("dev"), "port": said.get("dstport")}, words[0])


def _tunnelled(said: dict[str, Any], kind: str) -> dict[str, Any]:
    ends = {n: address(said.get(n) or said.get(n + "6")) for n in ("local", "remote")}
    ends["remote"] = ends["remote"] or address(said.get("group"))
    tunnel = kind in ("vxlan", "ipip", "ip6tnl", "sit", "gre", "gretap", "geneve", "ip6gre")
    return {
        "vxlan_id": number(said.get("id")) if kind == "vxlan" else None,
        "vxlan_port": number(said.get("port")) if kind == "vxlan" else None,
        "tunnel_local": ends["local"] if tunnel and ends["local"] != "any" else None,
        "tunnel_remote": ends["remote"] if tunnel and ends["remote"] != "any" else None,
        "tunnel_interface": string(said.get("link")) if tunnel else None,
    }


def _address(words: list[str]) -> dict[str, Any] | None:
    """An inet or inet6 line, or what ``-br`` says of an address; None if it is none."""
    row = {"flags": [w for w in words[2:] if w in _FLAGS_OF], **_placed(words[1])}
    if row.get("version") is None or (words[0] == "inet6" and row["version"] != 6):
        return None
    said = _pairs(words[2:], _PAIRS)
    row |= {n: said.get(n) for n in ("scope", "broadcast", "peer")}
    if row["peer"]:
        row["prefix_length"] = _placed(row["peer"]).get("prefix_length")
        row["peer"] = address(row["peer"])
    last = words[-1] if len(words) > 4 else ""
    row["label"] = last if row["version"] == 4 and "scope" in said and words[-2] != "scope" else None
    row["label"] = None if last in _FLAGS_OF else row["label"]
    return row


def _placed(text: str) -> dict[str, Any]:
    base, slash, length = text.partition("/")
    base, of = base.split("%")[0], version(base)
    bits = number(length) if slash else (of and (32 if of == 4 else 128))
    if of is None or bits is None:
        return {}
    return {"address": address(base), "version": of, "prefix_length": bits}


_JSON = {"qdisc": "qdisc", "operstate": "state", "master": "master", "link_type": "link_type", "ifalias": "alias"}


def _fill(link: dict[str, Any], value: dict[str, Any]) -> None:
    """The columns of an interface that JSON tells."""
    link |= {column: string(value.get(name)) for name, column in _JSON.items()}
    link |= {"mtu": number(value.get("mtu")), "txqlen": number(value.get("txqlen"))}
    link["flags"] = strings(value.get("flags"))
    mac = string(value.get("address")) or ""
    link["mac"] = mac.lower() if _MAC.fullmatch(mac) else None
    info = value.get("linkinfo")
    if isinstance(info, dict) and "info_kind" in info:
        link["kind"], data = string(info["info_kind"]), info.get("info_data")
        link |= _tunnelled(data, link["kind"] or "") if isinstance(data, dict) else {}
    for side in ("rx", "tx"):
        stats = value.get("stats64", value.get("stats"))
        counted = stats.get(side) if isinstance(stats, dict) else None
        for name, count in counted.items() if isinstance(counted, dict) else ():
            if (side, name) in _COLUMNS:
                link[_COLUMNS[side, name]] = number(count)


def _info(item: dict[str, Any]) -> dict[str, Any] | None:
    """An address from JSON."""
    row: dict[str, Any] = {n: address(item.get(j)) for n, j in (("address", "local"), ("broadcast", "broadcast"))}
    row["version"], row["prefix_length"] = version(row["address"]), number(item.get("prefixlen"))
    row["peer"], row["scope"], row["label"] = (string(item.get(n)) for n in ("address", "scope", "label"))
    row["flags"] = [k for k, v in item.items() if v is True]
    for name, column in (("valid_life_time", "valid_lifetime"), ("preferred_life_time", "preferred_lifetime")):
        seconds = number(item.get(name))
        row[column] = None if seconds == 0xFFFFFFFF else seconds
    return row if row["version"] else None


def _read(text: Text) -> _Links:
    links = _Links()
    read(text, links.line, links.value, "an interface, an address or counters")
    return links


@parser(
    "ip-addr",
    ADDRESSES,
    INTERFACES,
    marks=(
        r"^[ \t]*\d+: \S+: <(?s:.*?)^[ \t]*inet6? |\"addr_info\"|^\d+: \S+ +inet6? "
        rf"|^\S+ +({'|'.join(sorted(_STATES))}) +([0-9a-f.:]+/\d+|$)|" + ifconfig.MARKS
    ),
)
def ip_addr(text: Text) -> dict[str, pd.DataFrame]:
    """``ip addr``, also ``-d``, ``-o``, ``-br`` and ``-j``, and ``ifconfig``: addresses and interfaces.

    Source: recordings; iproute2's ip/ipaddress.c; net-tools' lib/interface.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("ip-addr", '''2: eth0@if30: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP
    ...     link/ether b6:20:21:96:50:aa brd ff:ff:ff:ff:ff:ff link-netnsid 0
    ...     inet 172.30.0.11/24 scope global eth0
    ...        valid_lft forever preferred_lft forever''').frame.iloc[0]
    >>> row["interface"], row["address"], int(row["prefix_length"])
    ('eth0', '172.30.0.11', 24)
    """
    links = _read(text)
    return {
        ADDRESSES.name: frame(ADDRESSES, links.addressed()),
        INTERFACES.name: frame(INTERFACES, links.rows()),
    }


@parser(
    "ip-link",
    LINKS,
    marks=r"^[ \t]*\d+: \S+: <(?s:.*?)(RX:|link/)|\"stats64\"|^\S+ +(UP|DOWN|UNKNOWN) +[0-9a-f:]{17} <",
)
def ip_link(text: Text) -> dict[str, pd.DataFrame]:
    """``ip link``, also ``-s``, ``-s -s``, ``-d``, ``-o``, ``-br`` and ``-j``: interfaces and their counters.

    Source: recordings; iproute2's ip/ipaddress.c.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("ip-link", '''5: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN qlen 1000
    ...     link/ipip 0.0.0.0 brd 0.0.0.0
    ...     RX:  bytes packets errors dropped  missed   mcast
    ...           1345      10      0       2       0       0''').frame.iloc[0]
    >>> row["interface"], int(row["rx_bytes"]), int(row["rx_dropped"])
    ('tunl0', 1345, 2)
    """
    return {LINKS.name: frame(LINKS, _read(text).rows())}

"""What rules ask, in both tools' words: yes, no, and "cannot be told"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from calicokit.dataplane.packets.compile_iptables import compile_iptables
from calicokit.dataplane.packets.compile_nft import compile_nft
from calicokit.dataplane.packets.match import Members, Node
from calicokit.dataplane.packets.packet import AddressSet, Packet, Route, Routes
from calicokit.net import prefix

A, B = prefix("10.48.1.2").first, prefix("10.48.2.3").first


def pools() -> Members:
    members = Members("hash:net")
    members.addresses.add("10.48.0.0/16")
    members.addresses.add("10.48.2.0/24", nomatch=True)
    return members


def ports() -> Members:
    members = Members("hash:ip,port")
    members.parts.add((B, (6, 8080)))
    return members


def node() -> Node:
    local = AddressSet()
    local.add("172.30.0.11")
    routes = Routes.of(
        [
            Route(prefix("0.0.0.0/0"), "unicast", "eth0", "172.30.0.1", 0),
            Route(prefix("10.48.1.2"), "unicast", "cali1", None, 0),
            Route(prefix("172.30.0.11"), "local", "eth0", None, 0),
        ]
    )
    sets = {(None, "ip", "pools"): pools(), (None, "ip", "ports"): ports(), ("calico", "ip", "s"): Members("ipv4_addr")}
    sets["calico", "ip", "s"].addresses.add("10.48.1.2")
    sets["calico", "ip", "np"] = Members("ipv4_addr . inet_proto . inet_service", parts={((4, B), 6, 8080)})
    return Node("n", local, routes, sets)


SYN = Packet(4, A, B, 6, 40000, 8080, iif="cali1", oif="eth0", mark=0x20000)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("-j DROP", True),
        ("-s 10.48.1.0/24 -j DROP", True),
        ("! -s 10.48.1.0/24 -j DROP", False),
        ("-i cali+ -o eth0 -j DROP", True),
        ("-p udp -j DROP", False),
        ("-p tcp -m tcp --dport 8000:9000 -j DROP", True),
        ("-p tcp -m multiport ! --dports 53,8080:8081 -j DROP", False),
        ("-m mark --mark 0x20000/0x30000 -j DROP", True),
        ("-m mark ! --mark 0x20000/0x30000 -j DROP", False),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j DROP", False),
        ("-m conntrack ! --ctstate DNAT -j DROP", True),
        ("-m set --match-set pools src -j DROP", True),
        ("-m set --match-set pools dst -j DROP", False),
        ("-m set --match-set ports dst,dst -j DROP", True),
        ("-m set --match-set nobody src -j DROP", None),
        ("-m addrtype --dst-type LOCAL -j DROP", False),
        ("-m rpfilter --validmark --invert -j DROP", False),
        ("-m limit --limit 3/min -j DROP", None),
        ("-p udp -m limit --limit 3/min -j DROP", False),
        ("-m owner --uid-owner 0 -j DROP", None),
        ('-m comment --comment "a -j ACCEPT \\"b" -j DROP', True),
        ("-m iprange --src-range 10.48.1.1-10.48.1.9 -j DROP", True),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", True),
    ],
)
def test_iptables(spec: str, told: bool | None) -> None:
    assert compile_iptables(spec).matches_packet(SYN, node()) is told


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("counter packets 1 bytes 2 drop", True),
        ("ip saddr 10.48.1.0/24 counter packets 0 bytes 0 drop", True),
        ("ip saddr != { 10.48.1.0/24, 192.0.2.1 } drop", False),
        ("ip6 saddr fd00::/8 drop", False),
        ('iifname "cali*" oifname != "cali*" drop', True),
        ("tcp dport { 53, 8000-9000 } drop", True),
        ("tcp dport != 8080 drop", False),
        ("udp dport 8080 drop", False),
        ("meta l4proto { tcp, udp } th dport 8080 drop", True),
        ("meta mark & 0x00030000 == 0x00020000 drop", True),
        ("meta mark & 0x00030000 != 0x00020000 drop", False),
        ("ct state established,related drop", False),
        ("ct state { new, untracked } drop", True),
        ("ct status dnat drop", False),
        ("ct status != dnat drop", True),
        ("ip saddr @s drop", True),
        ("ip daddr @s drop", False),
        ("ip daddr . meta l4proto . tcp dport @np drop", True),
        ("ip saddr @nobody drop", None),
        ("fib saddr . mark . iif oif 0 drop", False),
        ("fib daddr type local drop", False),
        ("limit rate 3/minute drop", None),
        ("meta skuid 0 drop", None),
        ('ip protocol icmp drop comment "tcp dport 8080"', False),
    ],
)
def test_nft(spec: str, told: bool | None) -> None:
    assert compile_nft(spec, "ip", "calico").matches_packet(SYN, node()) is told


@pytest.mark.parametrize(
    ("compiled", "mark"),
    [
        (compile_iptables("-j MARK --set-xmark 0x10000/0x10000"), 0x30000),
        (compile_iptables("-j MARK --set-xmark 0x0/0x20000"), 0),
        (compile_iptables("-j MARK --set-mark 0x5"), 5),
        (compile_nft("meta mark set meta mark | 0x00010000", "ip", "t"), 0x30000),
        (compile_nft("meta mark set meta mark & 0xfffdffff", "ip", "t"), 0),
        (
            compile_nft("counter packets 0 bytes 0 meta mark set meta mark & 0xffe7ffff | 0x00080000", "ip", "t"),
            0xA0000,
        ),
        (compile_nft("meta mark set mark and 0xfffdffff xor 0x1", "ip", "t"), 1),
        (compile_nft("meta mark set 0x00000007", "ip", "t"), 7),
    ],
)
def test_marks(compiled: Any, mark: int) -> None:
    (action,) = (a for a in compiled.actions if a.kind == "mark")
    assert action.marked(SYN).mark == mark


def test_what_is_not_known_is_not_guessed() -> None:
    portless = replace(SYN, dport=None)
    assert compile_iptables("-p tcp -m tcp --dport 80 -j DROP").matches_packet(portless, node()) is None
    assert compile_nft("tcp dport 80 drop", "ip", "t").matches_packet(portless, node()) is None
    assert compile_iptables("-m strange --thing 5 -j DROP").odd == ("strange --thing 5",)
    assert compile_nft("socket transparent 1 drop", "ip", "t").odd

"""What ip and bridge print, against every recording, in text and in JSON, and against ip's answers in a namespace."""

from __future__ import annotations

import doctest
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers.base import KINDS, ParseError, kinds, parse
from calicokit.parsers.iproute import common as iproute_words
from calicokit.parsers.iproute import links as iproute_links
from calicokit.parsers.iproute import neighbours as iproute_neighbours
from calicokit.parsers.iproute import routes as iproute
from tests import recordings
from tests.examples import examples

NAMES = recordings.names()
FILES = {
    "ip-route": ("ip-route.txt", "ip-route-all.txt", "ip-route-json.json"),
    "ip-rule": ("ip-rule.txt",),
    "ip-addr": ("ip-addr.txt", "ip-addr-json.json"),
    "ip-link": ("ip-link-stats.txt", "ip-link-stats-json.json"),
    "ip-neigh": ("ip-neigh.txt",),
    "bridge-fdb": ("bridge-fdb.txt",),
}
KIND_NAMES = sorted(FILES)
kinds()


def texts(name: str, file: str) -> list[str]:
    """What each node printed, also in series."""
    return [recordings.read(name, path).decode() for path in recordings.paths(name, f"nodes/*/{file}")]


def same(one: pd.DataFrame, other: pd.DataFrame, but: tuple[str, ...] = ("line",)) -> None:
    pd.testing.assert_frame_equal(one.drop(columns=list(but)), other.drop(columns=list(but)))


@pytest.mark.parametrize("module", [iproute, iproute_links, iproute_neighbours, iproute_words])
def test_examples_in_docstrings_run(module: object) -> None:
    assert doctest.testmod(module)[0] == 0


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize(
    "text", ["", "\n \r\n", "[]", "[ ]\n", "[root@node ~]# ip -d addr\n", "root@n:/# bridge fdb show\n/ # ip route\n"]
)
def test_no_output_gives_empty_tables(kind: str, text: str) -> None:
    parsed = parse(kind, text, strict=True)
    for schema in KINDS[kind].schemas:
        assert schema.check(parsed.tables[schema.name]).empty


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_line_is_read(name: str, kind: str) -> None:
    for text in (text for file in FILES[kind] for text in texts(name, file)):
        parsed = parse(kind, text, strict=True)
        for schema in KINDS[kind].schemas:
            schema.check(parsed.tables[schema.name])
        if text[0] != "[" and kind not in ("ip-addr", "ip-link"):
            assert len(parsed.frame) == len(text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_routes_are_the_same_in_text_and_json(name: str) -> None:
    for all_, made in zip(texts(name, "ip-route-all.txt"), texts(name, "ip-route-json.json"), strict=True):
        one, other = parse("ip-route", all_, strict=True), parse("ip-route", made, strict=True)
        same(one.frame, other.frame)
        assert one.frame["destination"].notna().all()
        assert set(one.frame["type"]) >= {"unicast", "local", "broadcast", "multicast"}
        assert set(one.frame["table"]) == {"main", "local"}


@pytest.mark.parametrize("name", NAMES)
def test_main_routes_are_those_of_version_4_in_all(name: str) -> None:
    for main, all_ in zip(texts(name, "ip-route.txt"), texts(name, "ip-route-all.txt"), strict=True):
        one, every = parse("ip-route", main, strict=True).frame, parse("ip-route", all_, strict=True).frame
        same(one, every[(every["table"] == "main") & (every["version"] == 4)].reset_index(drop=True))


@pytest.mark.parametrize("name", NAMES)
def test_addresses_are_the_same_in_text_and_json(name: str) -> None:
    # netns: only text has the name of a namespace; details: only text has those lines
    for text, made in zip(texts(name, "ip-addr.txt"), texts(name, "ip-addr-json.json"), strict=True):
        one, other = parse("ip-addr", text, strict=True), parse("ip-addr", made, strict=True)
        same(one.frame, other.frame)
        same(one.tables["ip_interfaces"], other.tables["ip_interfaces"], ("line", "netns", "details"))
        interfaces = one.tables["ip_interfaces"]
        assert set(interfaces["interface"]) == set(one.frame["interface"])
        assert interfaces.loc[interfaces["interface"].str.startswith("cali"), "kind"].eq("veth").all()
        vxlan = interfaces[interfaces["interface"] == "vxlan.calico"]
        external = "vxlan external id 0 " in text  # flow-based: the programs say which network and peer
        assert vxlan["vxlan_id"].eq(0 if external else 4096).all()
        assert external or vxlan["tunnel_interface"].eq("eth0").all()


@pytest.mark.parametrize("name", NAMES)
def test_links_are_the_same_in_text_and_json(name: str) -> None:
    # netns and details as above; traffic went on between both commands: counters may have grown
    for text, made in zip(texts(name, "ip-link-stats.txt"), texts(name, "ip-link-stats-json.json"), strict=True):
        one, other = parse("ip-link", text, strict=True).frame, parse("ip-link", made, strict=True).frame
        counters = [c for c in one.columns if c.startswith(("rx_", "tx_"))]
        same(one, other, ("line", "netns", "details", *counters))
        seen = [c for c in counters if one[c].notna().all()]
        assert len(seen) >= 20
        assert [c for c in counters if other[c].notna().all()] == seen
        assert (other[seen] >= one[seen]).all(axis=None)


ROUTES = r"""throw 10.4.0.0/16 table 100
10.5.0.0/16 via 10.9.0.5 dev v0 table 100 mtu lock 1400 rtt 20ms advmss 1360 initcwnd 10
default via 10.9.0.2 dev v0
10.1.0.0/24 proto bird
	nexthop via 10.9.0.2 dev v0 weight 1
	nexthop via 10.9.0.3 dev v0 weight 5 onlink
unreachable 10.2.0.0/16 metric 5
10.7.0.0/16 via inet6 fe80::1 dev v0
10.55.0.0/16 nhid 5 via 10.9.0.9 dev v0
fd00:9::/64 dev v0 proto kernel metric 256 expires 999sec pref medium
fd02::/64 metric 1024 pref medium
	nexthop via fd00:9::2 dev v0 weight 1
	nexthop via fd00:9::3 dev v0 weight 1
default via fd00:9::9 dev v0 metric 1024 pref medium
unreachable default dev lo metric 4294967295 error -101 pref medium
"""
ROUTES_JSON = """[{"type":"throw","dst":"10.4.0.0/16","table":"100","flags":[]},
{"dst":"10.5.0.0/16","gateway":"10.9.0.5","dev":"v0","table":"100","flags":[],"metrics":[{"mtu":1400,"rtt":20}]},
{"dst":"default","gateway":"10.9.0.2","dev":"v0","flags":[]},
{"dst":"10.1.0.0/24","protocol":"bird","flags":[],"nexthops":[{"gateway":"10.9.0.2","dev":"v0","weight":1,"flags":[]},
{"gateway":"10.9.0.3","dev":"v0","weight":5,"flags":["onlink"]}]},
{"type":"unreachable","dst":"10.2.0.0/16","metric":5,"flags":[]},
{"dst":"10.7.0.0/16","via":{"family":"inet6","host":"fe80::1"},"dev":"v0","flags":[]},
{"dst":"10.55.0.0/16","nhid":5,"gateway":"10.9.0.9","dev":"v0","flags":[]},
{"dst":"fd00:9::/64","dev":"v0","protocol":"kernel","metric":256,"expires":999,"flags":[],"pref":"medium"},
{"dst":"fd02::/64","metric":1024,"flags":[],"pref":"medium","nexthops":[{"gateway":"fd00:9::2","dev":"v0","weight":1,
"flags":[]},{"gateway":"fd00:9::3","dev":"v0","weight":1,"flags":[]}]},
{"dst":"default","gateway":"fd00:9::9","dev":"v0","metric":1024,"flags":[],"pref":"medium"},
{"type":"unreachable","dst":"default","dev":"lo","metric":4294967295,"error":-101,"flags":[],"pref":"medium"}]"""


def test_routes_that_no_recording_has() -> None:
    parsed, made = parse("ip-route", ROUTES, strict=True), parse("ip-route", ROUTES_JSON, strict=True)
    # attributes: the text has units (rtt 20ms) and lock, which JSON leaves out
    same(parsed.frame, made.frame, ("line", "attributes"))
    same(parsed.tables["ip_nexthops"], made.tables["ip_nexthops"])
    frame, hops = parsed.frame, parsed.tables["ip_nexthops"]
    assert frame["destination"].to_list()[2::9][:1] == ["0.0.0.0/0"]
    assert frame["destination"].to_list()[-2:] == ["::/0", "::/0"]
    assert frame["mtu"].dropna().to_list() == [1400]
    assert frame.loc[frame["destination"] == "10.7.0.0/16", "version"].item() == 4
    assert hops["weight"].to_list() == [1, 5, 1, 1]
    assert hops["flags"].to_list() == [[], ["onlink"], [], []]


@pytest.mark.parametrize("text", ["default dev tunl0 scope link", "default dev eth0", "default proto bird"])
def test_a_default_route_without_gateway_goes_by_its_context(text: str) -> None:
    assert parse("ip-route", text).frame["destination"].item() == "0.0.0.0/0"
    assert parse("ip-route", f"fd00::/64 dev eth0\n{text}").frame["destination"].to_list()[-1] == "::/0"
    assert parse("ip-route", f"{text} pref medium").frame["destination"].item() == "::/0"


def test_the_command_line_tells_the_table() -> None:
    frame = parse("ip-route", "root@n:~# ip route show table 10000\ndefault dev eth0", strict=True).frame
    assert frame["table"].item() == "10000"


def test_one_line_and_details() -> None:
    text = "10.1.0.0/24 proto bird \\\tnexthop via 10.9.0.2 dev v0 weight 1 \\\tnexthop via 10.9.0.3 dev v0 weight 5 \n"
    hops = parse("ip-route", text, strict=True).tables["ip_nexthops"]
    assert hops["gateway"].to_list() == ["10.9.0.2", "10.9.0.3"]
    got = parse("ip-route", "10.1.0.3 via 10.9.0.3 dev v0 src 10.9.0.1 uid 0 \n    cache \n", strict=True).frame
    assert got["attributes"].item() == "uid 0 cache"


RULES = """0:	from all lookup local
95:	from all goto 32766
96:	from all uidrange 0-100 ipproto tcp sport 100-200 dport 80 prohibit
97:	not from all fwmark 0x200000/0x200000 lookup 1 suppress_prefixlength 0
98:	from 10.0.0.0/8 to 10.9.0.0/24 tos 0x10 iif v0 oif v1 lookup 77
99:	from all fwmark 0x10 lookup 10000
"""
RULES_JSON = """[{"priority":0,"src":"all","table":"local"},{"priority":95,"src":"all","goto":32766},
{"priority":96,"src":"all","uid_start":0,"uid_end":100,"ipproto":"tcp","sport_start":100,"sport_end":200,"dport":80,
"action":"prohibit"},{"priority":97,"not":null,"src":"all","fwmark":"0x200000","fwmask":"0x200000","table":"1",
"suppress_prefixlen":0},{"priority":98,"src":"10.0.0.0","srclen":8,"dst":"10.9.0.0","dstlen":24,"tos":"0x10",
"iif":"v0","oif":"v1","table":"77"},{"priority":99,"src":"all","fwmark":"0x10","table":"10000"}]"""


def test_rules_that_no_recording_has() -> None:
    frame = parse("ip-rule", RULES, strict=True).frame
    same(frame, parse("ip-rule", RULES_JSON, strict=True).frame)
    assert frame["action"].to_list() == ["lookup", "goto", "prohibit", "lookup", "lookup", "lookup"]
    assert frame["fwmark"].to_list()[3:] == [0x200000, pd.NA, 0x10]
    assert frame["mask"].to_list()[3:] == [0x200000, pd.NA, 0xFFFFFFFF]
    assert frame["inverted"].to_list() == [False, False, False, True, False, False]


LINKS = """2: v1@v0: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 qdisc mq master br0 state DOWN group default qlen 1000
    link/ether e2:90:9e:ca:81:a6 brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535
    veth numtxqueues 2 numrxqueues 2 gso_max_size 65536
    bridge_slave state forwarding priority 32
    alias hello world
    altname enp0s3
    inet 10.9.0.1/24 brd 10.9.0.255 scope global secondary dynamic v1
       valid_lft 1000sec preferred_lft 500sec
    inet 10.9.1.1 peer 10.9.1.2/32 scope global v1:x
       valid_lft forever preferred_lft forever
    inet6 fd00:9::1/64 scope global tentative dynamic noprefixroute
       valid_lft 1000sec preferred_lft 0sec
5: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN group default qlen 1000
    link/ipip 0.0.0.0 brd 0.0.0.0 promiscuity 0 minmtu 0 maxmtu 0
    ipip any remote any local any ttl inherit nopmtudisc numtxqueues 1
7: wireguard.cali: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1440 qdisc noqueue state UNKNOWN group default qlen 1000
    link/none
    wireguard numtxqueues 1
"""


def test_interfaces_that_no_recording_has() -> None:
    parsed = parse("ip-addr", LINKS, strict=True)
    frame, links = parsed.frame, parsed.tables["ip_interfaces"].set_index("interface")
    assert links["kind"].to_list() == ["veth", "ipip", "wireguard"]
    assert (links.at["v1", "master"], links.at["v1", "alias"], links.at["v1", "peer"]) == ("br0", "hello world", "v0")
    assert links["mac"].isna().to_list() == [False, True, True]
    assert frame["address"].isna().to_list() == [False, False, False, True, True]
    assert frame["flags"].to_list()[:3] == [["secondary", "dynamic"], [], ["tentative", "dynamic", "noprefixroute"]]
    assert frame["label"].to_list()[:2] == ["v1", "v1:x"]
    assert frame["peer"].dropna().to_list() == ["10.9.1.2"]
    assert frame["preferred_lifetime"].to_list()[:3] == [500, pd.NA, 0]


def test_short_forms_of_addresses() -> None:
    brief = parse("ip-addr", "lo  UNKNOWN  127.0.0.1/8 ::1/128\nv0@v1  UP  10.9.1.1 peer 10.9.1.2/32\nbr0  DOWN\n")
    line = parse(
        "ip-addr", "3: v0    inet6 fd00::1/64 scope link tentative \\       valid_lft forever preferred_lft 9sec"
    )
    assert not brief.unparsed + line.unparsed
    assert brief.frame["address"].to_list()[:3] == ["127.0.0.1", "::1", "10.9.1.1"]
    assert brief.frame["interface"].to_list() == ["lo", "lo", "v0", "br0"]
    assert (line.frame["index"].item(), line.frame["preferred_lifetime"].item()) == (3, 9)


def test_older_headings_of_counters() -> None:
    text = """2: eth0: <UP> mtu 1500 qdisc mq state UP mode DEFAULT group default qlen 1000
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff
    RX: bytes  packets  errors  dropped overrun mcast
    98         1        2       3       4       5
    TX errors: aborted  fifo   window heartbeat transns
               1        2       3       4       5
"""
    row = parse("ip-link", text, strict=True).frame.iloc[0]
    assert (row["rx_overruns"], row["rx_multicast"], row["carrier_changes"]) == (4, 5, 5)


def test_neighbours_and_forwarding_that_no_recording_has() -> None:
    text = """fd00:9::5 dev v0 lladdr 01:02:03:04:05:06 router  used 0/60/0probes 0 STALE
10.9.0.78 dev v0 proxy
10.9.0.79 dev v0  FAILED
fe80::1 dev vxlan.calico lladdr 01:02:03:04:05:06 extern_learn NOARP
"""
    frame = parse("ip-neigh", text, strict=True).frame
    assert frame["flags"].to_list() == [["router"], ["proxy"], [], ["extern_learn"]]
    assert frame["state"].to_list()[2:] == ["FAILED", "NOARP"]
    made = '[{"dst":"fd00::5","dev":"v0","lladdr":"01:02:03:04:05:06","router":null,"state":["STALE"]}]'
    plain = "fd00::5 dev v0 lladdr 01:02:03:04:05:06 router STALE"
    same(parse("ip-neigh", made, strict=True).frame, parse("ip-neigh", plain, strict=True).frame)
    entries = """00:00:00:00:00:00 dev vxlan.calico dst fd00::9 port 8472 vni 5 via v0 used 0/0 self permanent
8a:ff:88:fc:8b:bb dev br0 vlan 7 master br0 permanent
"""
    fdb = parse("bridge-fdb", entries, strict=True).frame
    assert fdb["destination"].to_list()[0] == "fd00::9"
    assert fdb["vlan"].to_list()[1] == 7
    assert fdb["self"].to_list() == [True, False]


def test_the_forwarding_database_as_ip_prints_it() -> None:
    """What ``bridge fdb show`` and ``ip -f bridge neigh show`` print of the same entries in a namespace."""
    bridge = """66:2f:1b:00:11:23 dev vx0 dst 172.30.0.13 self static
66:2f:1b:00:11:22 dev vx0 dst 172.30.0.12 self permanent
33:33:00:00:00:01 dev br0 self permanent
"""
    ip = """172.30.0.13 dev vx0 lladdr 66:2f:1b:00:11:23 REACHABLE NOARP
172.30.0.12 dev vx0 lladdr 66:2f:1b:00:11:22 NOARP PERMANENT
dev br0 lladdr 33:33:00:00:00:01 PERMANENT
"""
    by_bridge, by_ip = (parse("bridge-fdb", text, strict=True).frame for text in (bridge, ip))
    same(by_ip.drop(columns=["self", "flags"]), by_bridge.drop(columns=["self", "flags"]))
    assert by_ip["self"].isna().all()
    assert parse("bridge-fdb", "172.30.0.12 dev vx0 FAILED\n").unparsed


@pytest.mark.parametrize(("kind", "file"), [(k, f) for k in KIND_NAMES for f in FILES[k]])
def test_noise_around_and_within(kind: str, file: str) -> None:
    text = texts(NAMES[0], file)[0]
    noisy = 'Defaulted container "calico-node" out of: calico-node\r\n[root@node-1 ~]# ip -d -s x show\r\n\x1b[1m'
    noisy += text.replace("\n", "\x1b[0m\r\n") + "\r\ncommand terminated with exit code 1\r\nroot@node-1:/# "
    parsed, clean = parse(kind, noisy, strict=True), parse(kind, text, strict=True)
    for name, frame in parsed.tables.items():
        same(frame, clean.tables[name])


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize(
    "text", ["Error: ipv4: FIB table does not exist.", "RTNETLINK answers: Operation not permitted"]
)
def test_foreign_lines_are_refused(kind: str, text: str) -> None:
    assert [line.text for line in parse(kind, text).unparsed] == [text]
    with pytest.raises(ParseError):
        parse(kind, text, strict=True)


def test_a_cut_tail_of_json_is_said() -> None:
    parsed = parse("ip-route", ROUTES_JSON[:-40])
    assert len(parsed.frame) == 10
    assert len(parsed.unparsed) == 1


route = st.tuples(
    st.sampled_from(["", "blackhole ", "local "]),
    st.ip_addresses().map(str),
    st.none() | st.ip_addresses(v=4).map(str),
    st.sampled_from(["eth0", "vxlan.calico", "cali1234567890a"]),
    st.none() | st.integers(0, 2**32 - 1),
    st.booleans(),
)


@examples(50)
@given(st.lists(route, max_size=6))
def test_routes_are_read_as_printed(routes: list[tuple]) -> None:
    text, made = "", []
    for kind, to, gateway, interface, metric, onlink in routes:
        text += f"{kind}{to}{f' via {gateway}' if gateway else ''} dev {interface}"
        text += f"{f' metric {metric}' if metric is not None else ''}{' onlink' if onlink else ''} \n"
        item = {"type": kind.strip() or "unicast", "dst": to, "dev": interface, "flags": ["onlink"] if onlink else []}
        made.append(item | ({"gateway": gateway} if gateway else {}) | ({} if metric is None else {"metric": metric}))
    frame = parse("ip-route", text, strict=True).frame
    same(frame, parse("ip-route", json.dumps(made), strict=True).frame)
    assert [d.split("/")[0] for d in frame["destination"]] == [r[1] for r in routes]
    assert [None if pd.isna(m) else m for m in frame["metric"]] == [r[4] for r in routes]
    assert [None if pd.isna(g) else g for g in frame["gateway"]] == [r[2] for r in routes]


OUTPUTS = [
    (k, texts(name, f)[0][:4000]) for k in KIND_NAMES for f in FILES[k] for name in (NAMES[0], "healthy-vxlan-typha")
]
OUTPUTS += [
    ("ip-route", ROUTES),
    ("ip-route", ROUTES_JSON),
    ("ip-rule", RULES),
    ("ip-rule", RULES_JSON),
    ("ip-addr", LINKS),
]
edit = st.tuples(
    st.integers(0, 10**6), st.integers(0, 40), st.text(',:/ "\\\n\r\t\x1b[]{}-@<>0123456789abdefinvxNé²\0', max_size=6)
)


@examples(250)
@given(st.sampled_from(OUTPUTS), st.lists(edit, max_size=12))
def test_damaged_output_never_breaks(output: tuple[str, str], edits: list[tuple[int, int, str]]) -> None:
    kind, text = output
    for at, length, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    parsed = parse(kind, text)
    for schema in KINDS[kind].schemas:
        schema.check(parsed.tables[schema.name])
    if parsed.unparsed:
        with pytest.raises(ParseError):
            parse(kind, text, strict=True)


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("value", ['{"a":1}', "1", "null", '"x"', '{"dst":5,"ifname":7,"mac":[],"priority":true}'])
def test_foreign_json_is_refused(kind: str, value: str) -> None:
    parsed = parse(kind, f"[{value}]")
    assert len(parsed.unparsed) + len(parsed.frame) == 1


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("ip-route", "10.0.0.0/24 via 10.0.0.1 dev eth0\n"),
        ("ip-neigh", "10.0.0.1 dev eth0 lladdr 02:00:00:00:00:01 STALE\n"),
        ("bridge-fdb", "33:33:00:00:00:01 dev eth0 self permanent\n"),
        ("ip-rule", "5:\tfrom all lookup main\n"),
    ],
)
def test_long_and_hostile_texts_are_read(kind: str, line: str) -> None:
    assert len(parse(kind, line * 10_000 + "$/" * 20_000 + "\n" + "[" * 50_000).frame) == 10_000


def test_long_and_hostile_json_is_read() -> None:
    parse("ip-route", "[" + '{"dst":"10.0.0.0/24"},\n' * 10_000 + "]")
    parse("ip-addr", "[" * 100_000)
    parse("ip-link", LINKS[: LINKS.index("    inet ")] * 2_000)


def test_how_many_sockets_from_the_kernels_own_file() -> None:
    """What ``ss -s`` printed and what stood in /proc/net/sockstat and sockstat6 on one machine, at one time."""
    ss = """Total: 154
TCP:   20 (estab 19, closed 0, orphaned 0, timewait 0)

Transport Total     IP        IPv6
RAW	  0         0         0
UDP	  3         2         1
TCP	  20        20        0
"""
    sockstat = """sockets: used 154
TCP: inuse 20 orphan 0 tw 0 alloc 20 mem 3883
UDP: inuse 2 mem 0
RAW: inuse 0
TCP6: inuse 0
UDP6: inuse 1
RAW6: inuse 0
"""
    columns = ["total", "ipv4", "ipv6", "with_closed", "orphaned", "timewait"]
    by_ss, by_kernel = (parse("ss", t, strict=True).tables["ss_summary"].set_index("transport") for t in (ss, sockstat))
    assert by_kernel.loc[by_ss.index, columns].equals(by_ss[columns])

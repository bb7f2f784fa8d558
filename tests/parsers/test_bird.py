"""birdcl's answers and BIRD's log, against every recording, against BIRD's source, and against mutated real output."""

from __future__ import annotations

import doctest
import ipaddress
import random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers.base import KINDS, ParseError, parse
from calicokit.parsers.bird import log as bird_log
from calicokit.parsers.bird import protocols as bird
from calicokit.parsers.bird import routes as bird_routes
from tests import recordings
from tests.examples import examples

STATUS, PROTOCOLS, ROUTES, INTERFACES, LOG = (
    "bird-status",
    "bird-protocols",
    "bird-routes",
    "bird-interfaces",
    "bird-log",
)
FILES = {
    "birdcl-status.txt": STATUS,
    "birdcl-protocols.txt": PROTOCOLS,
    "birdcl-protocols-all.txt": PROTOCOLS,
    "birdcl-route.txt": ROUTES,
    "birdcl-route-all.txt": ROUTES,
    "birdcl-route-count.txt": ROUTES,
    "birdcl-interfaces.txt": INTERFACES,
    "bird.log": LOG,
}
NAMES = recordings.names()
REFUSED = "Unable to connect to server control socket (/var/run/calico/bird.ctl): No such file or directory"


def nodes(name: str) -> list[str]:
    return sorted({path.split("/")[1] for path in recordings.paths(name, "nodes/*/birdcl-status.txt")})


def text_of(name: str, node: str, file: str) -> str:
    return recordings.read(name, f"nodes/{node}/{file}").decode()


def tables(name: str, node: str, file: str) -> dict[str, pd.DataFrame]:
    return parse(FILES[file], text_of(name, node, file), strict=True).tables


def one(kind: str, text: str) -> dict[str, Any]:
    """The only row of a text's main table, with None for null."""
    frame = parse(kind, text, strict=True).frame
    assert len(frame) == 1
    return row_of(frame, 0)


def row_of(frame: pd.DataFrame, number: int) -> dict[str, Any]:
    row = frame.astype("object").iloc[number].to_dict()
    return {str(k): v if isinstance(v, list) or not pd.isna(v) else None for k, v in row.items()}


@pytest.mark.parametrize(("module", "examples"), [(bird, 7), (bird_routes, 2), (bird_log, 2)])
def test_examples_in_docstrings_run(module: Any, examples: int) -> None:
    failed, tried = doctest.testmod(module)
    assert not failed
    assert tried >= examples


@pytest.mark.parametrize("kind", sorted(set(FILES.values())))
@pytest.mark.parametrize(
    "text",
    ["", "\n \r\n", "BIRD v0.3.3+birdv1.6.8 ready.\nAccess restricted\n", "[root@node ~]# kubectl exec a -- birdcl s"],
)
def test_no_output_gives_empty_tables_with_their_columns(kind: str, text: str) -> None:
    parsed = parse(kind, text, strict=True)
    assert list(parsed.tables) == [schema.name for schema in KINDS[kind].schemas]
    for schema in KINDS[kind].schemas:
        assert schema.check(parsed.tables[schema.name]).empty


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_output_is_read_whole(name: str) -> None:
    for node in nodes(name):
        for file, kind in FILES.items():
            parsed = parse(kind, text_of(name, node, file), strict=True)
            for schema in KINDS[kind].schemas:
                schema.check(parsed.tables[schema.name])
            assert any(len(table) for table in parsed.tables.values())


@pytest.mark.parametrize("name", NAMES)
def test_recorded_outputs_agree_with_each_other(name: str) -> None:
    for node in nodes(name):
        route, full = (tables(name, node, f)["bird_routes"] for f in ("birdcl-route.txt", "birdcl-route-all.txt"))
        count = tables(name, node, "birdcl-route-count.txt")["bird_route_count"].iloc[0]
        assert (count["routes"], count["networks"]) == (len(route), route["prefix"].nunique())
        assert route["primary"].sum() == count["networks"]
        own = list(route.columns[: list(route.columns).index("source")])
        pd.testing.assert_frame_equal(route[own], full[own])
        assert full["source"].notna().all()
        from_bgp = full[full["source"] == "BGP"]
        assert (from_bgp["bgp_next_hop"].notna() & from_bgp["bgp_as_path"].notna()).all()
        assert full.loc[full["source"] == "inherit", "kernel_source"].notna().all()


@pytest.mark.parametrize("name", NAMES)
def test_protocols_agree_with_their_details_and_with_routes(name: str) -> None:
    for node in nodes(name):
        short, full = (tables(name, node, f) for f in ("birdcl-protocols.txt", "birdcl-protocols-all.txt"))
        assert list(short["bird_protocols"]["protocol"]) == list(full["bird_protocols"]["protocol"])
        frame, changes = full["bird_protocols"], full["bird_route_changes"]
        peers = frame[frame["kind"].notna()]
        assert (peers["peer"] == peers["neighbor_address"]).all()
        assert (peers["proto"] == "BGP").all()
        up = frame[frame["state"] == "up"]
        assert len(changes) == 4 * len(changes["protocol"].unique())
        assert set(up["protocol"]) <= set(changes["protocol"])
        assert (up.loc[up["proto"] == "BGP", "bgp_state"] == "Established").all()
        assert frame["details"].map(len).sum() == 0
        imported = frame.set_index("protocol")["routes_imported"].dropna()
        seen = tables(name, node, "birdcl-route.txt")["bird_routes"]["protocol"].value_counts()
        assert set(seen.index) <= set(imported[imported > 0].index)


def test_a_refused_as_is_seen_in_the_last_error() -> None:
    short, full = (
        tables("bgp-as-mismatch", "node-1", f)["bird_protocols"]
        for f in ("birdcl-protocols.txt", "birdcl-protocols-all.txt")
    )
    for frame in (short, full):
        row = frame[frame["protocol"] == "Global_172_30_0_100"].iloc[0]
        assert (row["state"], row["bgp_state"], row["last_error"]) == ("start", "Idle", "BGP Error: Bad peer AS")
        assert (row["kind"], row["peer"]) == ("Global", "172.30.0.100")


def test_route_reflection_and_a_route_the_kernel_refused() -> None:
    full = pd.concat(
        [tables("healthy-route-reflectors", f"node-{n}", "birdcl-route-all.txt")["bird_routes"] for n in (3, 4)]
    )
    reflected = full[full["bgp_originator_id"].notna()]
    assert len(reflected)
    assert reflected["from"].notna().all()
    assert (reflected["bgp_cluster_list"] == "224.0.0.1").all()
    every = pd.concat([tables("ipam-leaked", n, "birdcl-route.txt")["bird_routes"] for n in nodes("ipam-leaked")])
    assert every.loc[every["sync_error"] & every["primary"], "prefix"].to_list() == ["10.48.139.65/32"]


def test_status_of_a_daemon_that_recovers() -> None:
    row = one(
        STATUS,
        """BIRD 2.0.12 ready.
BIRD 2.0.12
Router ID is 10.1.2.3
Hostname is worker-7
Current server time is 2026-03-01 10:00:00.250
Last reboot on 2026-03-01 09:59:00.001
Last reconfiguration on 01-03-2026 09:59:00
Graceful restart recovery in progress
  Waiting for 2 channels to recover
  Wait timer is 215.4/240
Reconfiguration in progress
""",
    )
    assert row["server_time"] == pd.Timestamp("2026-03-01 10:00:00.250", tz="UTC")
    assert row["last_reconfiguration"] == pd.Timestamp("2026-03-01 09:59:00", tz="UTC")
    assert (row["hostname"], row["state"], row["message"]) == (
        "worker-7",
        "reconfiguring",
        "Reconfiguration in progress",
    )
    assert (row["graceful_restart"], row["graceful_restart_protocols"], row["graceful_restart_wait"]) == (
        True,
        2,
        "215.4/240",
    )


@pytest.mark.parametrize("kind", [STATUS, PROTOCOLS, ROUTES, INTERFACES, LOG])
def test_a_daemon_that_cannot_be_asked_is_unparsed(kind: str) -> None:
    parsed = parse(kind, f"$ kubectl exec -n calico-system calico-node-x -- birdcl show route\n{REFUSED}\n")
    assert [(line.number, line.text) for line in parsed.unparsed] == [(2, REFUSED)]
    with pytest.raises(ParseError, match=f"{kind}, line 1: expected"):
        parse(kind, REFUSED, strict=True)


BIRD_2 = """\
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     12:46:55.926
kernel1    Kernel     master4    up     2026-01-02 12:46:55
  Channel ipv4
    State:          UP
    Table:          master4
    Preference:     10
    Input filter:   ACCEPT
    Output filter:  to_kernel
    Routes:         3 imported, 7 exported, 2 preferred
    Route change stats:     received   rejected   filtered    ignored   RX limit      limit   accepted
      Import updates:              5          0          0          1          0          0          4
      Import withdraws:            1          0        ---          0        ---          0          1
      Export updates:              9          1          1        ---        ---          0          7
      Export withdraws:            0        ---        ---        ---        ---        ---          0

Node_fd00__17_port_178 BGP        ---        up     12:47:00.100  Established
  Description:    to the rack
  BGP state:          Established
    Neighbor address: fd00::17
    Neighbor port:    178
    Neighbor AS:      65010
    Local AS:         64512
    Neighbor graceful restart active
    Neighbor ID:      10.9.9.9
    Local capabilities
      Multiprotocol
        AF announced: ipv4 ipv6
      Graceful restart
        Restart time: 120
    Neighbor capabilities
      Route refresh
      4-octet AS numbers
    Session:          external AS4
    Source address:   fd00::1
    Hold timer:       150.025/240
    Keepalive timer:  21.1/80
    Last error:       Socket: Connection closed
  Channel ipv4
    State:          UP
    Table:          master4
    Preference:     100
    Input filter:   ACCEPT
    Output filter:  a
    Routes:         1 imported, 2 filtered, 4 exported, 1 preferred
    BGP Next hop:   fd00::1 fe80::1
    IGP IPv4 table: master4
  Channel ipv6
    State:          DOWN
    Table:          master6
    Preference:     100
    Input filter:   ACCEPT
    Output filter:  b
"""


def test_channels_and_capabilities_of_bird_2() -> None:
    parsed = parse(PROTOCOLS, BIRD_2, strict=True)
    frame, channels, changes = parsed.tables.values()
    kernel, bgp = row_of(frame, 1), row_of(frame, 2)
    assert (kernel["table"], kernel["since"], kernel["preference"], kernel["output_filter"]) == (
        "master4",
        "2026-01-02 12:46:55",
        10,
        "to_kernel",
    )
    assert (bgp["kind"], bgp["peer"], bgp["neighbor_port"], bgp["local_as"]) == ("Node", "fd00::17", 178, 64512)
    assert (bgp["local_caps"][0], bgp["neighbor_caps"]) == ("Multiprotocol", ["Route refresh", "4-octet AS numbers"])
    assert (bgp["graceful_restart_active"], bgp["hold_timer"], bgp["session"]) == (
        True,
        "150.025/240",
        ["external", "AS4"],
    )
    assert (bgp["routes_imported"], bgp["preference"], bgp["last_error"]) == (1, None, "Socket: Connection closed")
    assert channels[["channel", "state"]].values.tolist() == [["ipv4", "UP"], ["ipv4", "UP"], ["ipv6", "DOWN"]]
    assert row_of(channels, 1)["details"] == ["IGP IPv4 table: master4"]
    assert row_of(changes, 1)["accepted"] == 1
    assert (row_of(changes, 1)["filtered"], row_of(changes, 0)["rx_limit"], row_of(changes, 0)["channel"]) == (
        None,
        0,
        "ipv4",
    )
    assert not KINDS[PROTOCOLS].schemas[1].verified


SESSIONS = [
    ("start  10:00:00    Active        Socket: Connection refused", "Active", "Socket: Connection refused"),
    ("start  10:00:00    Passive       ", "Passive", None),
    ("down   2026-05-01  Automatic shutdown: Route limit exceeded", "Down", "Automatic shutdown: Route limit exceeded"),
    ("down   2026-05-01  ", "Down", None),
    ("up     Established", None, None),
]


@pytest.mark.parametrize(("rest", "state", "error"), SESSIONS)
def test_states_of_a_session(rest: str, state: str | None, error: str | None) -> None:
    text = f"Mesh_10_0_0_7 BGP      master   {rest}"
    if state is None:
        assert len(parse(PROTOCOLS, text).unparsed) == 1
    else:
        row = one(PROTOCOLS, text)
        assert (row["bgp_state"], row["last_error"], row["peer"]) == (state, error, "10.0.0.7")


def test_limits_stay_as_details() -> None:
    row = one(
        PROTOCOLS, "x BGP master up 10:00:00 Established\n  Import limit:   20 [HIT]\n    Action:       disable\n"
    )
    assert row["details"] == ["Import limit: 20 [HIT]", "Action: disable"]


ROUTE_FORMS = """\
BIRD 1.6.8 ready.
10.1.0.0/16        multipath [static1 10:00:00] * (200)
\tvia 10.0.0.1 on eth0 weight 1
\tvia 10.0.0.2 on eth1 weight 3
10.2.0.0/24        unreachable [Node_10_0_0_9 2026-02-01 10:00:01 from 10.0.0.9] * (100/-) [AS65001?]
\tType: BGP unicast univ
\tBGP.origin: Incomplete
\tBGP.as_path: 65002 65001
\tBGP.med: 50
\tBGP.community: (65001,1) (65001,2)
\t\t(65001,3) (65001,4)
\tBGP.atomic_aggr:
\tBGP.aggregator: 10.0.0.3 AS65001
                   via fe80::1 on eth0 [Mesh_fd00__2 2026-02-01 from fd00::2] (100s/15) [i]
\tType: BGP unicast univ
fd00:10:48::/64    dev eth0 [direct1 10:00:00] ! (240)
fd00:10:49::/64    prohibited [ospf1 10:00:00] * E2 (150/10/20) [0.0.0.7]
"""


def test_forms_of_routes_that_no_recording_has() -> None:
    parsed = parse(ROUTES, ROUTE_FORMS, strict=True)
    frame, hops = parsed.frame, parsed.tables["bird_next_hops"]
    several, lost, second, connected, other = (row_of(frame, i) for i in range(5))
    assert (several["type"], several["gateway"], several["preference"]) == ("multipath", None, 200)
    assert hops[["prefix", "gateway", "interface", "weight", "line"]].values.tolist() == [
        ["10.1.0.0/16", "10.0.0.1", "eth0", 1, 2],
        ["10.1.0.0/16", "10.0.0.2", "eth1", 3, 2],
    ]
    assert (lost["type"], lost["since"], lost["from"]) == ("unreachable", "2026-02-01 10:00:01", "10.0.0.9")
    assert (lost["igp_metric"], lost["metric"], lost["origin"], lost["origin_as"]) == (
        None,
        "(100/-) [AS65001?]",
        "Incomplete",
        65001,
    )
    assert (lost["bgp_med"], lost["bgp_as_path"]) == (50, "65002 65001")
    assert lost["bgp_community"] == "(65001,1) (65001,2) (65001,3) (65001,4)"
    assert lost["attributes"] == "BGP.atomic_aggr:; BGP.aggregator: 10.0.0.3 AS65001"
    assert (second["prefix"], second["gateway"], second["primary"], second["igp_metric"]) == (
        "10.2.0.0/24",
        "fe80::1",
        False,
        15,
    )
    assert (connected["type"], connected["interface"], connected["sync_error"]) == ("dev", "eth0", True)
    assert (other["type"], other["metric"], other["preference"]) == ("prohibited", "E2 (150/10/20) [0.0.0.7]", 150)


ROUTES_2 = """\
BIRD 2.0.8 ready.
Table master4:
10.1.0.0/16          unicast [bgp1 2026-01-01 from 10.7.7.7] * (100/20) [AS65001i]
\tvia 10.0.0.1 on eth0
\tType: BGP univ
\tBGP.origin: IGP
\tBGP.large_community: (65001, 1, 2) (65001, 1, 3)
                     unicast [bgp2 10:00:00.123] (100) [AS65001i]
\tvia 10.0.0.2 on eth1 mpls 100/200 onlink weight 2
\tdev tun0 weight 1
10.2.0.0/16          unicast [direct1 10:00:00.123] * (240)
\tdev eth0

Table master6:
fd00::/64            blackhole [static2 10:00:00.123] * (200)
3 of 4 routes for 3 networks in table master4
Total: 4 of 5 routes for 4 networks in 2 tables
"""


def test_routes_of_bird_2() -> None:
    parsed = parse(ROUTES, ROUTES_2, strict=True)
    frame, hops, counts = parsed.tables.values()
    assert frame["table"].to_list() == ["master4"] * 3 + ["master6"]
    assert frame["type"].to_list() == ["unicast", "unicast", "dev", "blackhole"]
    assert frame["interface"].fillna("-").to_list() == ["eth0", "-", "eth0", "-"]
    first = row_of(frame, 0)
    assert (first["gateway"], first["from"], first["source"], first["cast"], first["scope"]) == (
        "10.0.0.1",
        "10.7.7.7",
        "BGP",
        None,
        "univ",
    )
    assert first["bgp_large_community"] == "(65001, 1, 2) (65001, 1, 3)"
    assert (row_of(hops, 0)["mpls"], row_of(hops, 0)["onlink"], row_of(hops, 0)["weight"]) == ("100/200", True, 2)
    assert (row_of(hops, 1)["gateway"], row_of(hops, 1)["interface"]) == (None, "tun0")
    assert [row_of(counts, i)["table"] for i in range(2)] == ["master4", None]
    assert row_of(counts, 1) == {"shown": 4, "routes": 5, "networks": 4, "table": None, "tables": 2}


def test_what_belongs_to_a_broken_route_is_not_given_to_the_one_before() -> None:
    text = """10.1.0.0/16        via 10.0.0.1 on eth0 [a 10:00:00] * (100/0) [i]
\tBGP.med: 5
10.2.0.0/16        via 10.0.0.2 on eth0 a 10:00:00] * (100/0) [i]
\tBGP.med: 7
                   via 10.0.0.3 on eth0 [b 10:00:00] (100/0) [i]
\tBGP.origin: IGP
10.3.0.0/16        via 10.0.0.4 on eth0 [a 10:00:00] * (100/0) [i]
\tBGP.local_pref: lots
\tBGP.med: 1
\tBGP.med: 2
\tvia 10.0.0.5 on eth0
\tType:éBGP unicast univ
"""
    parsed = parse(ROUTES, text)
    assert parsed.frame["prefix"].to_list() == ["10.1.0.0/16", "10.3.0.0/16"]
    assert parsed.frame["bgp_med"].to_list() == [5, 1]
    assert [line.number for line in parsed.unparsed] == [3, 4, 5, 6, 8, 10, 11, 12]
    with pytest.raises(ParseError, match="line 3"):
        parse(ROUTES, text, strict=True)


def test_pieces_of_a_long_text_are_read_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text_of(n, "node-1", "birdcl-route-all.txt") for n in NAMES if nodes(n)] + [ROUTES_2, ROUTE_FORMS]
    text = "\n".join([*texts, "nonsense", "10.0.0.0/8 nonsense", ""])
    whole = parse(ROUTES, text)
    monkeypatch.setattr(bird_routes, "_PIECE", 50)
    cut = parse(ROUTES, text)
    assert cut.unparsed == whole.unparsed
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(table, cut.tables[name])


def test_interfaces_of_both_versions() -> None:
    text = """BIRD 2.0.8 ready.
tun7 up (index=9 master=vrf1)
\tPtP Multicast AdminUp LinkUp MTU=1480
\t10.9.0.1/32 (Preferred, opposite 10.9.0.2, scope univ)
\tfe80::5/64 (Unselected, scope link)
"""
    parsed = parse(INTERFACES, text, strict=True)
    row, address = row_of(parsed.frame, 0), row_of(parsed.tables["bird_addresses"], 0)
    assert (row["master"], row["flags"][0], row["mtu"]) == ("vrf1", "PtP", 1480)
    assert row["addresses"] == ["10.9.0.1/32", "fe80::5/64"]
    assert (address["rank"], address["opposite"], address["scope"]) == ("Preferred", "10.9.0.2", "univ")
    summary = "interface state address\nlo        up    127.0.0.1/8\ncali1     DOWN  \n"
    assert parse(INTERFACES, summary, strict=True).frame["addresses"].to_list() == [["127.0.0.1/8"], []]


LOG_LINES = [
    ("bird: Mesh_10_0_0_7: State changed to up", "state-change", "Mesh_10_0_0_7", "up"),
    ("bird: Mesh_10_0_0_7: BGP session established", "state-change", "Mesh_10_0_0_7", "established"),
    ("bird6: Node_fd00__7: Received: Administrative shutdown", "received", "Node_fd00__7", None),
    ("bird: Mesh_10_0_0_7: Error: Hold timer expired", "error", "Mesh_10_0_0_7", None),
    ("bird: BGP: Unexpected connect from unknown address 10.0.0.66 (port 4321)", "error", None, None),
    ("bird: Netlink: File exists", "error", None, None),
    ("bird: Mesh_10_0_0_7: Connection collision, giving up this connection", "collision", "Mesh_10_0_0_7", None),
    ("bird: Mesh_10_0_0_7: Connected", "connect", "Mesh_10_0_0_7", None),
    ("bird: Adding protocol Mesh_10_0_0_7", "reconfigure", "Mesh_10_0_0_7", None),
    ("bird: Mesh_10_0_0_7 > added [best] 10.48.0.0/26 via 10.0.0.7 on eth0", "route", "Mesh_10_0_0_7", None),
    ("bird: Something new", "other", None, None),
]


@pytest.mark.parametrize(("line", "event", "protocol", "state"), LOG_LINES)
@pytest.mark.parametrize(
    ("prefix", "stamp"),
    [
        ("", None),
        ("2026-11-24_00:45:15.123456 ", "2026-11-24 00:45:15.123456"),
        ("2026-11-24T00:45:15.123456789Z stdout F ", "2026-11-24 00:45:15.123456789"),
        ("[calico-node-x calico-node] ", None),
        ("calico-node-x › calico-node 2026-11-24T00:45:15Z ", "2026-11-24 00:45:15"),
    ],
)
def test_lines_of_the_log(
    line: str, event: str, protocol: str | None, state: str | None, prefix: str, stamp: str | None
) -> None:
    row = one(LOG, f"{prefix}{line}\r\n")
    assert (row["event"], row["protocol"], row["state"]) == (event, protocol, state)
    assert row["time"] == (pd.Timestamp(stamp, tz="UTC") if stamp else None)


def test_logs_of_files_and_of_syslog() -> None:
    log = """2026-11-24 00:45:15.123 <RMT> Mesh_10_0_0_7: Received: Cease
24-11-2026 00:45:15 <TRACE> Mesh_10_0_0_7: Starting
Nov 24 00:45:15 node-1 bird[7]: <WARN> Mesh_10_0_0_7: Neighbor lost"""
    frame = parse(LOG, log, strict=True).frame
    assert frame["level"].to_list() == ["RMT", "TRACE", "WARN"]
    assert frame["time"].isna().to_list() == [False, False, True]
    assert (frame["peer"] == "10.0.0.7").all()


def test_a_cut_first_line_is_kept_and_other_processes_are_not() -> None:
    text = "0_0_12: State changed to up\n2026-11-24 02:28:16.701 [INFO][6295] felix/x.go 1: Hi\nbird: Started"
    parsed = parse(LOG, text)
    assert parsed.frame["event"].to_list() == ["other", "state-change"]
    assert [line.number for line in parsed.unparsed] == [2]


def without_lines(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=[name for name in ("line",) if name in frame])


@pytest.mark.parametrize("file", sorted(FILES))
def test_line_ends_colours_prompts_and_indentation_change_nothing(file: str) -> None:
    text = text_of("healthy-datacenter", "node-1", file)
    plain = parse(FILES[file], text, strict=True).tables
    noisy = [
        text.replace("\n", "\r\n"),
        "".join(f"\x1b[32m{line}\x1b[0m\n" for line in text.splitlines()),
        f"[root@node-1 ~]# kubectl exec -it calico-node-x -- birdcl show\n{text}[root@node-1 ~]# kubectl get pods\n",
    ]
    if file != "bird.log":
        noisy.append("".join(f"    {line}\n" for line in text.splitlines()))
    for variant in noisy:
        for name, table in parse(FILES[file], variant, strict=True).tables.items():
            pd.testing.assert_frame_equal(without_lines(table), without_lines(plain[name]))


V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).filter(lambda a: not a.ipv4_mapped).map(str)
ADDRESSES = V4 | V6
CIDRS = (
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)) | st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda t: str(ipaddress.ip_network(t, strict=False)))
WORDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", fullmatch=True)
SINCE = st.sampled_from(["10:20:30", "10:20:30.123", "2026-01-02", "2026-01-02 10:20:30"])
ASES = st.integers(1, 2**32 - 1)
TOS = st.one_of(
    st.tuples(st.just("unicast"), ADDRESSES, WORDS),
    st.tuples(st.just("dev"), st.none(), WORDS),
    st.tuples(st.sampled_from(["blackhole", "unreachable", "prohibited"]), st.none(), st.none()),
)


@st.composite
def printed_routes(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """Text of ``show route all``, and the rows it must give."""
    lines, rows = ["BIRD 1.6.8 ready."], []
    for number in range(draw(st.integers(1, 6))):
        prefix = rows[-1]["prefix"] if number and draw(st.booleans()) else None
        type_, gateway, interface = draw(TOS)
        to = {"unicast": f"via {gateway} on {interface}", "dev": f"dev {interface}"}.get(type_, type_)
        row: dict[str, Any] = {"type": type_, "gateway": gateway, "interface": interface}
        row |= {"prefix": prefix or draw(CIDRS), "protocol": draw(WORDS), "since": draw(SINCE)}
        row |= {"from": draw(st.none() | ADDRESSES), "preference": draw(st.integers(0, 65535))}
        row |= {"origin_as": draw(st.none() | ASES), "igp_metric": draw(st.none() | ASES), "primary": prefix is None}
        row |= {"bgp_as_path": draw(st.lists(ASES, max_size=4).map(lambda a: " ".join(map(str, a))))}
        row |= {"bgp_local_pref": draw(st.none() | ASES), "bgp_cluster_list": draw(st.none() | V4)}
        learnt = f" from {row['from']}" if row["from"] else ""
        metric = f"({row['preference']}/{'?' if row['igp_metric'] is None else row['igp_metric']})"
        metric += f" [{'' if row['origin_as'] is None else 'AS' + str(row['origin_as'])}i]"
        best = " *" if row["primary"] else ""
        lines.append(
            f"{'' if prefix else row['prefix']:<18} {to} [{row['protocol']} {row['since']}{learnt}]{best} {metric}"
        )
        row |= {"metric": metric, "line": len(lines)}
        lines += ["\tType: BGP unicast univ", f"\tBGP.as_path: {row['bgp_as_path']}"]
        lines += [f"\tBGP.local_pref: {row['bgp_local_pref']}"] if row["bgp_local_pref"] else []
        lines += [f"\tBGP.cluster_list: {row['bgp_cluster_list']}"] if row["bgp_cluster_list"] else []
        rows.append(row)
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"])), rows


@examples(40)
@given(printed_routes())
def test_printed_routes_are_read_back(printed: tuple[str, list[dict[str, Any]]]) -> None:
    text, rows = printed
    frame = parse(ROUTES, text, strict=True).frame
    assert len(frame) == len(rows)
    for number, row in enumerate(rows):
        found = row_of(frame, number)
        assert {name: found[name] for name in row} == row


@examples(40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Mesh", "Node", "Global", "Local_Workload"]),
            ADDRESSES,
            st.sampled_from(["Established", "Active", "Connect", "Idle", "Passive", "OpenSent"]),
            st.none() | st.sampled_from(["Socket: Connection refused", "Received: Bad peer AS"]),
            ASES,
        ),
        max_size=5,
    )
)
def test_printed_protocols_are_read_back(rows: list[tuple[str, str, str, str | None, int]]) -> None:
    lines = ["name     proto    table    state  since       info"]
    for kind, address, state, error, number in rows:
        name = f"{kind}_{address}".replace(".", "_").replace(":", "_")
        status = "up" if state == "Established" else "start"
        lines += [f"{name:<8} BGP      master   {status:<5}  10:00:00    {state:<14}{error or ''}"]
        lines += [
            f"  BGP state:          {state}",
            f"    Neighbor address: {address}",
            f"    Neighbor AS:      {number}",
            "",
        ]
    frame = parse(PROTOCOLS, "\n".join(lines), strict=True).frame
    found = [row_of(frame, i) for i in range(len(frame))]
    keys = ("kind", "peer", "bgp_state", "last_error", "neighbor_as")
    assert [tuple(row[k] for k in keys) for row in found] == rows
    assert [row["neighbor_address"] for row in found] == [row[1] for row in rows]


def mutated(text: str, chance: random.Random) -> str:
    """A text with characters, lines and pieces changed, doubled, swapped and cut."""
    for _ in range(chance.randint(1, 8)):
        at, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        end = min(end, at + 60)
        piece = chance.choice(["", " ", "\n", "[", "]", "\t", "/", ":", "é\x00", text[at:end] * 2, "9" * 30, "via "])
        text = text[:at] + piece + text[end if chance.random() < 0.5 else at :]
        if not text:
            break
    return text


@pytest.mark.parametrize("file", sorted(FILES))
def test_mutated_outputs_raise_nothing_but_parse_errors(file: str) -> None:
    chance = random.Random(file)
    texts = [text_of(n, "node-1", file)[:4000] for n in NAMES[:6] if nodes(n)] + [BIRD_2, ROUTES_2, ROUTE_FORMS]
    for _ in range(40):
        text = mutated(chance.choice(texts), chance)
        parsed = parse(FILES[file], text)
        for schema in KINDS[FILES[file]].schemas:
            schema.check(parsed.tables[schema.name])
        numbers = [line.number for line in parsed.unparsed]
        assert numbers == sorted(numbers)
        try:
            parse(FILES[file], text, strict=True)
        except ParseError as error:
            assert error.line == parsed.unparsed[0]  # noqa: PT017
        else:
            assert not parsed.unparsed


def sizes(kind: str, text: str, times: int = 1) -> dict[str, int]:
    """How many rows each table of a text has, so many times over."""
    parsed = parse(kind, text, strict=True)
    return {name: len(frame) * times for name, frame in parsed.tables.items()}


@pytest.mark.parametrize("file", sorted(FILES))
def test_tables_grow_with_the_text(file: str) -> None:
    text = text_of("healthy-datacenter", "node-1", file)
    many = 8 * (60_000 // len(text) + 1)
    assert sizes(FILES[file], text * many) == sizes(FILES[file], text, many)


HOSTILE = [
    "[" * 20_000,
    ":" * 20_000,
    "10.0.0.0/8 " + "via " * 5_000,
    "10.0.0.0/8 dev a [" + "a " * 10_000,
    "\tBGP.community: (1,1)\n" + "\t\t(1,2)\n" * 5_000,
    "# " * 10_000,
    "a_0_0: " * 4_000,
    " " * 50_000 + "x",
    "eth0 up" + " 1/1" * 5_000,
    "Mesh_1 BGP master up 1 " + " " * 10_000 + "\n  Routes: " + "1" * 10_000,
]


@pytest.mark.parametrize("kind", sorted(set(FILES.values())))
def test_hostile_texts_come_to_an_end(kind: str) -> None:
    for text in HOSTILE:
        parse(kind, text)


def test_routes_are_read_in_bulk() -> None:
    text = text_of("healthy-datacenter", "node-1", "birdcl-route-all.txt") * 1500
    assert len(parse(ROUTES, text, strict=True).frame) == 30_000

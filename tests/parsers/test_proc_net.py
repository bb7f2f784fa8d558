"""What ``ss`` and ``nstat`` would say, read from the kernel's own files where an image lacks the tools."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from calicokit.parsers.base import ParseError, parse
from calicokit.parsers.guess import guess

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 610 1 000000
   1: 0B001EAC:00B3 0D001EAC:ED4F 01 00000010:00000002 02:000003D6 00000001     0        0 611 1 000000
   2: 0B001EAC:A8A3 0C001EAC:00B3 02 00000001:00000000 01:00000064 00000003     0        0 0 2 0000000000000000
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt
   0: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000
   1: B80D0120000000000000000001000000:00B3 B80D0120000000000000000002000000:D431 06 00000000:00000000 03:000003D6 00000000
"""
COUNTERS = """\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 1271431
Tcp: RtoAlgorithm MaxConn RetransSegs
Tcp: 1 -1 12
TcpExt: TCPMD5NotFound TCPMD5Unexpected
TcpExt: 3 0
"""


def test_sockets_of_both_families_are_as_ss_names_them() -> None:
    frame = parse("ss", TCP, strict=True).frame
    assert frame["state"].tolist() == ["LISTEN", "ESTAB", "SYN-SENT", "LISTEN", "TIME-WAIT"]
    assert frame["local_address"].tolist() == ["0.0.0.0", "172.30.0.11", "172.30.0.11", "127.0.0.1", "2001:db8::1"]
    assert frame["local_port"].tolist() == [179, 179, 43171, 8080, 179]
    assert frame["peer_port"].isna().tolist() == [True, False, False, True, False]
    assert frame.loc[1, ["recv_q", "send_q", "retransmits", "timer"]].tolist() == [2, 16, 1, "keepalive"]


def test_counters_have_nstats_names_and_values() -> None:
    frame = parse("nstat", COUNTERS, strict=True).frame
    found = dict(zip(frame["counter"], frame["value"], strict=True))
    assert found["TcpExtTCPMD5NotFound"] == 3
    assert found["TcpMaxConn"] == -1
    assert found["IpInReceives"] == 1271431
    assert len(found) == 8


def test_both_are_guessed() -> None:
    assert guess(TCP)[0].kind == "ss"
    assert guess(COUNTERS)[0].kind == "nstat"


@pytest.mark.parametrize("cut", [COUNTERS.replace("Ip: 1 64 1271431", "Ip: 1 64"), COUNTERS.replace("12\n", "x\n")])
def test_pairs_that_do_not_fit_are_not_lost(cut: str) -> None:
    with pytest.raises(ParseError):
        parse("nstat", cut, strict=True)
    assert parse("nstat", cut).unparsed


def test_this_machines_own_sockets_are_read() -> None:
    """A real kernel's file, with a connection in it that this test made."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        text = Path("/proc/net/tcp").read_text()
        frame = parse("ss", text, strict=True).frame
        port, own = server.getsockname()[1], client.getsockname()[1]
    mine = frame[(frame["local_port"] == own) & (frame["peer_port"] == port)]
    assert mine["state"].tolist() == ["ESTAB"]
    assert mine["peer_address"].tolist() == ["127.0.0.1"]


def test_this_machines_own_counters_are_those_of_nstat() -> None:
    text = Path("/proc/net/snmp").read_text() + Path("/proc/net/netstat").read_text()
    found = parse("nstat", text, strict=True).frame
    assert {"TcpRetransSegs", "TcpExtTCPMD5NotFound", "IpForwarding"} <= set(found["counter"])

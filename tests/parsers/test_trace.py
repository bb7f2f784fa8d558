"""Traces of nft and xtables-monitor, as they were printed on a real kernel."""

from __future__ import annotations

from calicokit.parsers.base import parse
from calicokit.parsers.guess import guess

NFT = """\
trace id bcf4e404 ip raw PREROUTING packet: iif "lo" @ll,0,112 0x800 ip saddr 127.0.0.1 ip daddr 127.0.0.2 \
ip dscp cs0 ip ecn not-ect ip ttl 64 ip id 39257 ip length 60 tcp sport 45624 tcp dport 8080 tcp flags == syn
trace id bcf4e404 ip raw PREROUTING rule ip saddr 127.0.0.1 tcp dport 8080 counter packets 0 bytes 0 \
meta nftrace set 1 (verdict continue)
trace id bcf4e404 ip raw PREROUTING policy accept
trace id bcf4e404 ip filter INPUT verdict continue meta mark 0x00040000
trace id bcf4e404 ip filter INPUT unknown rule handle 7 (verdict jump cali-INPUT)
trace id bcf4e404 ip filter cali-INPUT rule counter packets 1 bytes 60 accept \
comment "cali:abc; Policy (x) y" (verdict accept)
"""
XTABLES = """\
PACKET: 2 bcf4e404 IN=lo LOOPBACK SRC=127.0.0.1 DST=127.0.0.2 LEN=60 TTL=64 ID=39257 DF SPORT=45624 DPORT=8080 SYN
 TRACE: 2 bcf4e404 raw:PREROUTING:rule:0x2:CONTINUE  -4 -t raw -A PREROUTING -s 127.0.0.1/32 -j TRACE
 TRACE: 2 bcf4e404 raw:PREROUTING:policy:ACCEPT
 TRACE: 10 bcf4e404 filter:INPUT:rule:0x2:JUMP:cali-INPUT  -6 -t filter -A INPUT -j cali-INPUT
 TRACE: 2 bcf4e404 filter:cali-INPUT:return:
"""


def test_what_nft_prints() -> None:
    frame = parse("nft-trace", NFT, strict=True).frame
    assert frame["event"].tolist() == ["packet", "rule", "policy", "verdict", "rule", "rule"]
    packet = frame.iloc[0]
    assert (packet["in_interface"], packet["source"], packet["destination"]) == ("lo", "127.0.0.1", "127.0.0.2")
    assert (packet["protocol"], packet["source_port"], packet["destination_port"]) == ("tcp", 45624, 8080)
    assert frame["verdict"].tolist()[1:] == ["continue", "accept", "continue", "jump cali-INPUT", "accept"]
    assert frame["rule"].tolist()[-1].endswith('comment "cali:abc; Policy (x) y"')
    assert frame["rule"].tolist()[4] == "handle 7"


def test_what_xtables_monitor_prints() -> None:
    parsed = parse("nft-trace", XTABLES)
    frame = parsed.frame
    assert frame["event"].tolist()[:4] == ["packet", "rule", "policy", "rule"]
    assert frame["verdict"].tolist()[1:4] == ["continue", "accept", "jump cali-INPUT"]
    assert frame["family"].tolist()[3] == "ip6"
    assert frame.iloc[0]["destination_port"] == 8080
    assert frame["rule"].tolist()[1] == "-4 -t raw -A PREROUTING -s 127.0.0.1/32 -j TRACE"
    assert [u.number for u in parsed.unparsed] in ([], [5])


def test_it_is_guessed() -> None:
    assert guess(NFT)[0].kind == "nft-trace"
    assert guess(XTABLES)[0].kind == "nft-trace"


def test_other_lines_are_not_dropped_in_silence() -> None:
    assert [u.text for u in parse("nft-trace", "trace id zz\nhello\n").unparsed] == ["trace id zz", "hello"]
    assert parse("nft-trace", "").frame.empty

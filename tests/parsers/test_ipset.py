"""ipset list and save, against every recording and against what ipset's manual shows."""

from __future__ import annotations

import doctest

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers.base import KINDS, ParseError, parse
from calicokit.parsers.netfilter import ipset
from tests import recordings
from tests.examples import examples

LIST, SAVE = "ipset-list", "ipset-save"
NAMES = recordings.names()


def texts(name: str) -> list[tuple[str, str]]:
    """What each node printed for list and save."""
    found = [(p, p.replace("ipset-list", "ipset-save")) for p in recordings.paths(name, "nodes/*/ipset-list.txt")]
    return [(recordings.read(name, a).decode(), recordings.read(name, b).decode()) for a, b in found]


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(ipset)[0] == 0


@pytest.mark.parametrize("kind", [LIST, SAVE])
@pytest.mark.parametrize(
    "text", ["", "\n \r\n", "[root@node ~]# ipset list\n", "$ kubectl exec calico-node -- ipset save"]
)
def test_no_output_gives_empty_tables(kind: str, text: str) -> None:
    parsed = parse(kind, text, strict=True)
    for schema in KINDS[kind].schemas:
        assert schema.check(parsed.tables[schema.name]).empty


@pytest.mark.parametrize("name", NAMES)
def test_list_and_save_have_the_same_sets_and_members(name: str) -> None:
    for listed_text, saved_text in texts(name):
        listed, saved = parse(LIST, listed_text, strict=True), parse(SAVE, saved_text, strict=True)
        key = ["set", "member"]
        one, other = (p.frame.drop(columns="line").sort_values(key, ignore_index=True) for p in (listed, saved))
        pd.testing.assert_frame_equal(one, other)
        assert len(one) == saved_text.count("\nadd ") == listed.tables["ipset_sets"]["entries"].sum()
        same = ["set", "type", "family", "hashsize", "maxelem", "options"]
        pd.testing.assert_frame_equal(listed.tables["ipset_sets"][same], saved.tables["ipset_sets"][same])
        assert one["address"].notna().all()


EVERY_TYPE = """create a hash:net,iface family inet hashsize 64 maxelem 9 timeout 0 counters comment
add a 10.0.0.0/8,physdev:eth0 nomatch timeout 300 packets 4 bytes 560 comment "two words"
create b bitmap:port range 0-1024
add b 80
create c hash:ip,port,net family inet6 hashsize 64 maxelem 9
add c fd00::1,icmpv6:echo-request,fd00:1::/64
add c fd00::1,udp:53-54,::/0
create d list:set size 8
add d a
create e hash:mac
add e 01:02:03:04:05:06 skbmark 0x1/0xff
create f hash:future,thing
"""


def test_other_types_and_options() -> None:
    frame = parse(SAVE, EVERY_TYPE, strict=True).frame
    row = frame.iloc[0]
    assert (row["address"], row["interface"], row["nomatch"]) == ("10.0.0.0/8", "physdev:eth0", True)
    assert (row["timeout"], row["packets"], row["bytes"], row["comment"]) == (300, 4, 560, "two words")
    assert frame["port"].dropna().to_list() == ["80", "echo-request", "53-54"]
    assert frame["address_2"].dropna().to_list() == ["fd00:1::/64", "::/0"]
    assert frame["member"].to_list()[-2:] == ["a", "01:02:03:04:05:06"]


def test_noise_around_and_within() -> None:
    listed = texts("policy-drop")[0][0] if "policy-drop" in NAMES else "Name: a\nType: hash:ip\nMembers:\n10.0.0.1\n"
    noisy = 'Defaulted container "calico-node" out of: calico-node\r\n\x1b[1m' + listed.replace("\n", "\x1b[0m\r\n")
    noisy += "command terminated with exit code 1\r\n[root@node ~]# "
    clean = parse(LIST, listed, strict=True).frame.drop(columns="line")
    pd.testing.assert_frame_equal(parse(LIST, noisy, strict=True).frame.drop(columns="line"), clean)


@pytest.mark.parametrize(
    "text", ["ipset v7.15: Kernel error received", "Name: a\nType: hash:ip\nMembers:\nnonsense", "10.0.0.1"]
)
def test_foreign_lines_are_refused(text: str) -> None:
    assert [line.text for line in parse(LIST, text).unparsed] == [text.split("\n")[-1]]
    with pytest.raises(ParseError):
        parse(LIST, text, strict=True)


member = st.tuples(
    st.ip_addresses(v=4).map(str),
    st.sampled_from(["tcp", "udp"]),
    st.integers(0, 65535),
    st.booleans(),
    st.integers(0, 99),
)


@examples(40)
@given(st.lists(member, max_size=8))
def test_members_are_read_as_printed(members: list[tuple]) -> None:
    lines = [f"{a},{p}:{n}{' nomatch' * no} timeout {t}" for a, p, n, no, t in members]
    saved = "create s hash:ip,port family inet\n" + "".join(f"add s {line}\n" for line in lines)
    listed = "Name: s\nType: hash:ip,port\nHeader: family inet\nMembers:\n" + "\n".join(lines)
    for frame in (parse(SAVE, saved, strict=True).frame, parse(LIST, listed, strict=True).frame):
        read = zip(*(frame[c] for c in ("address", "protocol", "port", "nomatch", "timeout")), strict=True)
        assert list(read) == [(a, p, str(n), no, t) for a, p, n, no, t in members]


OUTPUTS = [(k, t) for name in NAMES[:6] for pair in texts(name)[:1] for k, t in zip((LIST, SAVE), pair, strict=True)]
OUTPUTS += [(SAVE, EVERY_TYPE)]
edit = st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.text(',:/ "\n\r\x1b[-0123456789abNé\0', max_size=6))


@examples(80)
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


def test_long_and_hostile_texts_are_read() -> None:
    text = "create s hash:net family inet\n" + "add s 10.0.0.1\n" * 20_000 + "add s " + "1,2 " * 50_000
    assert len(parse(SAVE, text).frame) == 20_000

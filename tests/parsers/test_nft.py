"""nft list ruleset, as text and as JSON, against every recording."""

from __future__ import annotations

import doctest
import json
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers.base import KINDS, ParseError, parse
from calicokit.parsers.netfilter import nft
from tests import recordings
from tests.examples import examples

KIND = "nft-ruleset"
NAMES = recordings.names()


def texts(name: str) -> list[tuple[str, str]]:
    """What each node printed as text and as JSON."""
    found = [(p, p.replace(".txt", "-json.json")) for p in recordings.paths(name, "nodes/*/nft-ruleset.txt")]
    return [(recordings.read(name, a).decode(), recordings.read(name, b).decode()) for a, b in found]


def common(frame: pd.DataFrame, *, ordered: bool) -> pd.DataFrame:
    """What both forms tell."""
    frame = frame.drop(columns=["line", "handle", "expression"], errors="ignore")
    return frame if ordered else frame.sort_values(list(frame.columns), ignore_index=True)


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(nft)[0] == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n \r\n",
        "# nft list ruleset\n",
        "# Warning: table ip filter is managed by iptables-nft, do not touch!\nXT target DNAT not found\n",
        '{"nftables": [{"metainfo": {"version": "1.0.6"}}]}\n',
        '{"nftables":[]}',
    ],
)
def test_no_rules_give_empty_tables(text: str) -> None:
    parsed = parse(KIND, text, strict=True)
    for schema in KINDS[KIND].schemas:
        assert schema.check(parsed.tables[schema.name]).empty


@pytest.mark.parametrize("name", NAMES)
def test_text_and_json_are_the_same_ruleset(name: str) -> None:
    for text, as_json in texts(name):
        one, other = parse(KIND, text, strict=True).tables, parse(KIND, as_json, strict=True).tables
        assert len(one["nft_ruleset"]) == as_json.count('{"rule": ')
        assert len(one["nft_chains"]) == len(re.findall(r"^\tchain ", text, re.MULTILINE))
        for table in ("nft_chains", "nft_sets", "nft_elements"):
            pd.testing.assert_frame_equal(common(one[table], ordered=False), common(other[table], ordered=False))
        rules, others = common(one["nft_ruleset"], ordered=True), common(other["nft_ruleset"], ordered=True)
        # What nft could not translate, it leaves out of the text.
        untold = one["nft_ruleset"]["expression"].str.contains(r"bytes \d+\s*$") & rules["verdict"].isna()
        others.loc[untold, "verdict"] = None
        pd.testing.assert_frame_equal(rules, others)


@pytest.mark.skipif("healthy-nftables" not in NAMES, reason="no recordings")
def test_calico_programs_nft() -> None:
    tables = parse(KIND, texts("healthy-nftables")[0][0], strict=True).tables
    rules = tables["nft_ruleset"]
    dispatch = rules[rules["verdict_map"] == "filter-cali-from-wl-dispatch"].iloc[0]
    assert (dispatch["verdict"], dispatch["family"], dispatch["table"]) == ("vmap", "ip", "calico")
    leads = tables["nft_elements"].query("set == 'filter-cali-from-wl-dispatch'")["value"]
    assert set(leads.str.removeprefix("goto ")) <= set(tables["nft_chains"]["chain"])
    sets = tables["nft_sets"].set_index("set")
    assert sets.loc["cali40masq-ipam-pools", "flags"] == "interval"
    assert sets.loc["filter-cali-from-wl-dispatch", "type"] == "ifname : verdict"
    assert (sets["elements"] == tables["nft_elements"].groupby("set").size().reindex(sets.index, fill_value=0)).all()
    priorities = tables["nft_chains"].query("table == 'calico'").set_index("chain")["priority"].dropna()
    assert (priorities["nat-POSTROUTING"], priorities["raw-PREROUTING"]) == (110, -300)


RULES = [
    ("ct status dnat counter packets 1 bytes 60 drop", "drop", None),
    ("ct status != dnat counter", None, None),
    ("icmp type redirect accept", "accept", None),
    ('iifname "drop" return', "return", None),
    ("tcp dport { 22, 80-90 } reject with tcp reset", "reject", None),
    ('iifname vmap { "eth0" : jump a, "eth1" : goto b }', "vmap", None),
    ("meta l4proto tcp counter packets 1 bytes 2 dnat to 10.0.0.1:80", "dnat", None),
    ("ip saddr 10.0.0.0/8 snat to 10.0.0.1", "snat", None),
    ('counter packets 0 bytes 0 xt target "MASQUERADE"', "masquerade", None),
    ("counter packets 0 bytes 0 # xt_REDIRECT", "redirect", None),
    ('xt match "set" counter packets 0 bytes 0 goto KUBE-MARK', "goto", "KUBE-MARK"),
    ('log prefix "drop " level info', None, None),
    ("meta mark set mark or 0x4000", None, None),
    ("queue num 0 bypass", "queue", None),
]


@pytest.mark.parametrize(("rule", "verdict", "target"), RULES)
def test_verdicts(rule: str, verdict: str | None, target: str | None) -> None:
    text = f'table inet t {{ # handle 1\n\tchain c {{ # handle 2\n\t\t{rule} comment "accept" # handle 7\n\t}}\n}}\n'
    row = parse(KIND, text, strict=True).frame.iloc[0]
    assert (None if pd.isna(row["verdict"]) else row["verdict"]) == verdict
    assert (None if pd.isna(row["target_chain"]) else row["target_chain"]) == target
    assert (row["comment"], row["handle"], row["family"]) == ("accept", 7, "inet")


OTHER = """table inet t {
	comment "mine"
	flags dormant
	flowtable f {
		hook ingress priority filter
		devices = { eth0, eth1 }
	}
	ct helper h {
		type "ftp" protocol tcp
	}
	counter named {
		packets 1 bytes 2
	}
	set s {
		type ipv4_addr . inet_service
		size 65535
		flags timeout,dynamic
		timeout 1h
		elements = { 10.0.0.1 . 80 timeout 1h expires 59m, 10.0.0.2 . 90 comment "a, b : c" }
	}
	chain c {
		comment "chain"
		type filter hook ingress device "eth0" priority srcnat - 5; policy drop;
		tcp dport 22 accept
	}
}
"""


def test_other_objects_and_options() -> None:
    tables = parse(KIND, OTHER, strict=True).tables
    assert tables["nft_elements"]["element"].to_list() == ["10.0.0.1 . 80", "10.0.0.2 . 90"]
    assert tables["nft_elements"]["value"].isna().all()
    assert tables["nft_sets"]["flags"].to_list() == ["dynamic,timeout"]
    assert tables["nft_chains"][["priority", "policy"]].iloc[0].to_list() == [95, "drop"]
    assert len(tables["nft_ruleset"]) == 1


def test_elements_in_json() -> None:
    elements = [
        {"elem": {"val": "10.0.0.1", "timeout": 3600}},
        {"range": ["10.0.0.1", "10.0.0.9"]},
        {"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "tcp", 80]},
    ]
    item = {
        "set": {"family": "ip", "table": "t", "name": "s", "type": ["ipv4_addr"], "flags": "interval", "elem": elements}
    }
    frame = parse(KIND, json.dumps({"nftables": [item]}, indent=2), strict=True).tables["nft_elements"]
    assert frame["element"].to_list() == ["10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/8 . tcp . 80"]


def test_noise_around() -> None:
    for text in (OTHER, '{"nftables": [{"table": {"family": "ip", "name": "x"}}]}\n'):
        noisy = "$ kubectl exec calico-node -- nft list ruleset\r\n" + text.replace("\n", "\x1b[0m\r\n") + "exit code"
        noisy = noisy.removesuffix("exit code") + "command terminated with exit code 1"
        for name, table in parse(KIND, text, strict=True).tables.items():
            other = parse(KIND, noisy, strict=True).tables[name]
            pd.testing.assert_frame_equal(other.drop(columns="line"), table.drop(columns="line"))


def test_truncated_json_keeps_what_is_whole() -> None:
    rule = {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 3, "expr": [{"drop": None}]}}
    text = json.dumps({"nftables": [rule, rule, rule]})[:-30]
    parsed = parse(KIND, text)
    assert len(parsed.frame) == 2
    assert [line.number for line in parsed.unparsed] == [1]


@pytest.mark.parametrize("text", ["Error: syntax error", "table ip t {\n\tchain c {\n\t\ttcp dport { 22\n\t}\n}", "}"])
def test_foreign_lines_are_refused(text: str) -> None:
    assert len(parse(KIND, text).unparsed) == 1
    with pytest.raises(ParseError):
        parse(KIND, text, strict=True)


rule = st.tuples(
    st.integers(0, 10**12), st.sampled_from(["drop", "accept", "jump", "goto"]), st.text("ab ;:", max_size=9)
)


@examples(40)
@given(st.lists(rule, max_size=6))
def test_rules_are_read_as_printed_in_both_forms(rules: list[tuple[int, str, str]]) -> None:
    lines, objects = [], []
    for count, verdict, comment in rules:
        to = {"target": "x"} if verdict in ("jump", "goto") else None
        lines.append(f'\t\tcounter packets {count} bytes {count} {verdict}{" x" if to else ""} comment "{comment}"')
        statements = [{"counter": {"packets": count, "bytes": count}}, {verdict: to}]
        objects.append({"rule": {"family": "ip", "table": "t", "chain": "c", "expr": statements, "comment": comment}})
    one = parse(KIND, "\n".join(["table ip t {", "\tchain c {", *lines, "\t}", "}"]), strict=True).frame
    other = parse(KIND, json.dumps({"nftables": objects}), strict=True).frame
    pd.testing.assert_frame_equal(common(one, ordered=True), common(other, ordered=True))
    assert list(zip(one["packets"], one["verdict"], one["comment"], strict=True)) == rules


OUTPUTS = [
    t[:6000] for name in NAMES[:3] + ["healthy-nftables"] * ("healthy-nftables" in NAMES) for t in texts(name)[0]
]
OUTPUTS += [OTHER]
edit = st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.text('{}",:;@# \\ud\n\r\x1b[0129abé\0', max_size=6))


@examples(120)
@given(st.sampled_from(OUTPUTS), st.lists(edit, max_size=12), st.booleans())
def test_damaged_output_never_breaks(text: str, edits: list[tuple[int, int, str]], close: bool) -> None:
    for at, length, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    parsed = parse(KIND, text + "}]}" * close)
    for schema in KINDS[KIND].schemas:
        schema.check(parsed.tables[schema.name])
    if parsed.unparsed:
        with pytest.raises(ParseError):
            parse(KIND, text + "}]}" * close, strict=True)


@pytest.mark.parametrize(
    "value",
    ["[" * 100_000, "9" * 5000, '{"rule": {"family": "\\ud800", "table": "t", "chain": "c", "expr": [' + "[" * 900],
)
def test_hostile_json(value: str) -> None:
    assert parse(KIND, '{"nftables": [' + value).unparsed
    closed = '{"nftables": [{"rule": {"family": "\\ud800", "table": "t", "chain": "c", "expr": []}}]}'
    assert len(parse(KIND, closed).frame) == 1


def test_long_and_hostile_texts_are_read() -> None:
    text = "table ip t {\n\tchain c {\n" + "\t\ttcp dport 22 drop\n" * 20_000 + '"' * 99_999 + "\n" + "{ " * 50_000
    parsed = parse(KIND, text + "\n" + 'comment "x' * 20_000)
    assert len(parsed.frame) >= 20_000

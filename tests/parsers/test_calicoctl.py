"""calicoctl ipam show and check, against every recording and against what calicoctl's source can print."""

from __future__ import annotations

import doctest

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers.base import KINDS, ParseError, parse
from calicokit.parsers.kubernetes import calicoctl
from tests import recordings
from tests.examples import examples

SHOW, CHECK = "calicoctl-ipam-show", "calicoctl-ipam-check"
NAMES = recordings.names()


def kind_of(path: str) -> str:
    return CHECK if "ipam-check" in path else SHOW


def text_of(name: str, path: str) -> str:
    return recordings.read(name, path).decode()


def show(name: str, option: str = "") -> dict[str, pd.DataFrame]:
    return parse(SHOW, text_of(name, f"cluster/calicoctl-ipam-show{option}.txt"), strict=True).tables


def check(name: str, option: str = "-all") -> dict[str, pd.DataFrame]:
    return parse(CHECK, text_of(name, f"cluster/calicoctl-ipam-check{option}.txt"), strict=True).tables


def figures(table: pd.DataFrame) -> dict[str, int]:
    return dict(zip(table["figure"], table["value"], strict=True))


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(calicoctl) == (0, 4)


@pytest.mark.parametrize("kind", [SHOW, CHECK])
@pytest.mark.parametrize("text", ["", "\n \r\n", "[root@master ~]# calicoctl ipam show\n"])
def test_no_output_gives_empty_tables_with_their_columns(kind: str, text: str) -> None:
    parsed = parse(kind, text, strict=True)
    assert list(parsed.tables) == [schema.name for schema in KINDS[kind].schemas]
    for schema in KINDS[kind].schemas:
        assert schema.check(parsed.tables[schema.name]).empty


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_output_is_read_whole(name: str) -> None:
    paths = recordings.paths(name, "*/calicoctl-ipam-*.txt")
    assert paths
    for path in paths:
        parsed = parse(kind_of(path), text_of(name, path), strict=True)
        assert not parsed.unparsed
        for schema in KINDS[parsed.kind].schemas:
            schema.check(parsed.tables[schema.name])


@pytest.mark.parametrize("name", NAMES)
def test_blocks_add_up_to_what_check_counts(name: str) -> None:
    usage, checked = show(name, "-blocks")["calicoctl_ipam_show"], check(name)
    blocks = usage[usage["grouping"] == "Block"]
    counted = figures(checked["calicoctl_ipam_check"])
    assert set(blocks["cidr"]) == set(checked["blocks"]["block"])
    assert blocks["ips_in_use"].sum() == counted["allocations"] == len(checked["allocations"])
    assert counted["blocks"] == len(checked["blocks"])
    assert counted["active_pools"] == len(checked["pools"])
    assert counted["in_use_ips"] == checked["in_use"]["address"].nunique()
    assert counted["allocated_not_in_use"] == (checked["problems"]["kind"] == "leaked").sum()
    assert counted["max_node_allocations"] == checked["nodes"]["allocations"].max()
    assert checked["allocations"]["handle"].notna().all()
    assert checked["allocations"]["node"].notna().all()


def test_an_exhausted_pool() -> None:
    row = show("ipam-exhausted")["calicoctl_ipam_show"].iloc[0]
    assert (row["grouping"], row["cidr"], row["ips_total"]) == ("IP Pool", "10.48.0.0/27", 32)
    assert (row["ips_in_use"], row["in_use_percent"], row["ips_free"], row["free_percent"]) == (32, 100, 0, 0)
    assert row["ips_reserved"] == 0
    assert pd.isna(row["ips_cooling"])


def test_borrowed_addresses() -> None:
    assert show("ipam-exhausted", "-borrowed")["borrowed"].iloc[2].to_dict() == {
        "address": "10.48.0.6",
        "node": "node-1",
        "block": "10.48.0.4/30",
        "block_node": "node-4",
        "type": "pod",
        "allocated_to": "legacy/batch-9799894bf-r4cdt",
    }


def test_tablewriter_has_no_reserved_column_and_centres_its_headers() -> None:
    row = show("healthy-v3.28")["calicoctl_ipam_show"].iloc[0]
    assert (row["ips_total"], row["ips_in_use"], row["ips_free"], row["free_percent"]) == (65536, 26, 65510, 100)
    assert pd.isna(row["ips_reserved"])
    assert pd.isna(row["reserved_percent"])
    configuration = show("healthy-v3.28", "-configuration")["configuration"].set_index("property")["value"]
    assert configuration.to_dict() == {"StrictAffinity": "false", "AutoAllocateBlocks": "true", "MaxBlocksPerHost": "0"}


def test_a_go_pointer_stays_text() -> None:
    values = show("ipam-leaked", "-configuration")["configuration"].set_index("property")["value"]
    assert values["KubeVirtVMAddressPersistence"].startswith("(*ipam.VMAddressPersistence)(0x")


def test_a_large_ipv6_pool_a_cooling_column_and_a_share_of_nothing() -> None:
    text = """
| GROUPING |    CIDR    | IPS FREE         | IPS TOTAL  | IPS IN USE | IPS COOLING |
| IP Pool  | fd00::/64  | 1.8447e+19 (NaN%) | 1.8447e+19 | 3 (0%)     | 2 (0%)      |"""
    row = parse(SHOW, text, strict=True).frame.iloc[0]
    assert (row["ips_total"], row["ips_free"], row["ips_cooling"], row["cooling_percent"]) == (
        1.8447e19,
        1.8447e19,
        2,
        0,
    )
    assert pd.isna(row["free_percent"])


def test_the_note_on_unclassified_addresses_is_understood() -> None:
    note = (
        "Note: found 3 IP allocations without an explicit node association. Unable to determine if they are borrowed."
    )
    text = text_of("ipam-exhausted", "cluster/calicoctl-ipam-show-borrowed.txt") + "\n" + note + "\n"
    assert len(parse(SHOW, text, strict=True).tables["borrowed"]) == 3


ADDRESSES = [
    ("10.48.0.9 is not assigned", False, None, [], []),
    ("IP 10.48.0.9 is in use\nNo attributes defined", True, None, [], []),
    ("IP 10.48.0.9 is in use\nAttributes:\n  node: node-1\n  pod: a", True, None, ["node=node-1", "pod=a"], []),
    (
        "IP 10.48.0.9 is in use\nHandle ID: k8s-pod-network.1f\nActive Owner Attributes:\n  timestamp: 2026-11-24 "
        "02:28:23 +0000 UTC\nAlternate Owner Attributes:\n  vmi: b",
        True,
        "k8s-pod-network.1f",
        ["timestamp=2026-11-24 02:28:23 +0000 UTC"],
        ["vmi=b"],
    ),
    ("IP 10.48.0.9 is in use\nHandle ID: <none>\nNo Active Owner attributes defined", True, None, [], []),
]


@pytest.mark.parametrize(("text", "in_use", "handle", "attributes", "alternate"), ADDRESSES)
def test_one_address(text: str, in_use: bool, handle: str | None, attributes: list[str], alternate: list[str]) -> None:
    row = parse(SHOW, text, strict=True).tables["address"].iloc[0]
    assert (row["address"], row["in_use"]) == ("10.48.0.9", in_use)
    assert (None if pd.isna(row["handle"]) else row["handle"]) == handle
    assert (row["attributes"], row["alternate_attributes"]) == (attributes, alternate)


def test_leaked_addresses_and_an_address_with_two_owners() -> None:
    checked = check("ipam-leaked")
    leaked = checked["problems"][checked["problems"]["kind"] == "leaked"]
    assert len(leaked) == figures(checked["calicoctl_ipam_check"])["problems"] > 0
    assert leaked["owner"].str.rsplit("-", n=2).str[0].value_counts().to_dict() == {
        "legacy/batch": 4,
        "shop/catalog": 1,
    }
    every = pd.concat([check(name)["problems"] for name in NAMES])
    assert (every["kind"] == "multiple-owners").sum() == 1


def test_a_tunnel_address_has_a_type_and_no_pod() -> None:
    allocations = check("healthy-vxlan-typha")["allocations"]
    tunnels = allocations[allocations["type"] == "vxlanTunnelAddress"]
    assert tunnels["handle"].to_list() == [f"vxlan-tunnel-addr-{node}" for node in tunnels["node"]]
    assert tunnels["pod"].isna().all()
    assert allocations.loc[allocations["pod"].notna(), "timestamp"].notna().all()


def test_what_a_version_does_not_count_has_no_row() -> None:
    old, new = (
        figures(check("healthy-v3.28")["calicoctl_ipam_check"]),
        figures(check("ipam-leaked")["calicoctl_ipam_check"]),
    )
    assert set(new) - set(old) == {"invalid_blocks", "load_balancers"}
    assert old["handles_with_ips"] == 26


PROBLEMS = """
  10.48.0.1 leaked; attrs <missing>
  10.48.0.2 has multiple owners.
  10.9.9.9 in use by Workload(shop/a) is not in any active IP pool.
  10.48.0.3 in use by Node(node-1) and in active IPAM pool but has no IPAM allocation.
  k8s-pod-network.1f doesn't have any active IPs.
  k8s-pod-network.2e is in use in a block but doesn't exist.
  IPAMBlock BlockKey(cidr=10.48.0.0/26) is invalid: ordinal 3 appears more than once in Unallocated array
"""


def test_every_problem_that_calicoctl_can_print() -> None:
    problems = parse(CHECK, PROBLEMS, strict=True).tables["problems"].astype("object")
    assert problems.where(problems.notna(), None).to_numpy().tolist() == [
        ["leaked", "10.48.0.1", None, "<missing>"],
        ["multiple-owners", "10.48.0.2", None, None],
        ["not-in-pool", "10.9.9.9", "Workload(shop/a)", None],
        ["not-allocated", "10.48.0.3", "Node(node-1)", None],
        ["orphan-handle", "k8s-pod-network.1f", None, None],
        ["missing-handle", "k8s-pod-network.2e", None, None],
        ["invalid-block", "10.48.0.0/26", None, "ordinal 3 appears more than once in Unallocated array"],
    ]


def test_attributes_may_hold_commas_clocks_and_nothing() -> None:
    text = """ IPAM block 10.48.0.0/26 affinity=<none>:
  10.48.0.1 allocated; attrs Main:<none> Extra:namespace=a,note=x,y,timestamp=2026-02-30 00:00:00 +0000 UTC
  10.48.0.2 allocated; attrs Main:h Extra:timestamp=2026-11-24 02:28:23 +0000 UTC m=+0.1 Alternate:node=n
  10.48.0.3 allocated; attrs <missing>
   has 3 allocations"""
    tables = parse(CHECK, text, strict=True).tables
    allocations = tables["allocations"]
    assert allocations["handle"].isna().to_list() == [True, False, True]
    assert allocations["timestamp"].isna().to_list() == [True, False, True]
    assert (allocations["block"] == "10.48.0.0/26").all()
    assert pd.isna(tables["blocks"]["affinity"][0])
    assert tables["nodes"]["allocations"].to_list() == [3]


@pytest.mark.parametrize("path", ["cluster/calicoctl-ipam-check-all.txt", "cluster/calicoctl-ipam-show-blocks.txt"])
def test_terminals_leave_colours_carriage_returns_and_prompts(path: str) -> None:
    clean = text_of("ipam-leaked", path)
    noisy = "$ kubectl exec -it calicoctl -- calicoctl ipam\r\n\x1b[1m" + clean.replace("\n", "\x1b[0m\r\n")
    for name, table in parse(kind_of(path), clean).tables.items():
        pd.testing.assert_frame_equal(parse(kind_of(path), noisy, strict=True).tables[name], table)


def test_foreign_lines_are_kept_or_refused() -> None:
    text = "Failed to create Calico API client: invalid configuration"
    for kind in (SHOW, CHECK):
        assert [line.text for line in parse(kind, text).unparsed] == [text]
        with pytest.raises(ParseError, match="line 1"):
            parse(kind, text, strict=True)


count = st.integers(0, 99_999)
percent = st.integers(0, 100)
share = st.tuples(count, percent)
pool = st.tuples(st.sampled_from(["IP Pool", "Block"]), st.ip_addresses().map(str), count, share, share, share)


@examples(60)
@given(st.lists(pool, max_size=8), st.permutations(range(6)), st.booleans())
def test_usage_is_read_as_printed(rows: list[tuple], order: list[int], rules: bool) -> None:
    header = ["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE"]
    printed = [[kind, f"{ip}/26", str(total), *(f"{n} ({p}%)" for n, p in shares)] for kind, ip, total, *shares in rows]
    table = [[row[i] for i in order] for row in [header, *printed]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in table]
    rule = "+" + "+".join("-" * (w + 2) for w in widths) + "+"
    frame = parse(SHOW, "\n".join([rule, lines[0], rule, *lines[1:], rule] if rules else lines), strict=True).frame
    assert frame["cidr"].to_list() == [f"{ip}/26" for _, ip, *_ in rows]
    assert frame["ips_total"].to_list() == [row[2] for row in rows]
    for column, name in ((3, "in_use"), (4, "reserved"), (5, "free")):
        read = zip(frame[f"ips_{name}"], frame[f"{name}_percent"], strict=True)
        assert list(read) == [row[column] for row in rows]


OUTPUTS = [
    (kind_of(path), text_of(name, path))
    for name in [n for n in NAMES if n in ("ipam-leaked", "ipam-exhausted", "healthy-v3.28")]
    for path in recordings.paths(name, "*/calicoctl-ipam-*.txt")
] + [(CHECK, PROBLEMS), *((SHOW, row[0]) for row in ADDRESSES)]
edit = st.tuples(
    st.integers(0, 10**6), st.integers(0, 40), st.text("|+-: .%(){}=,\n\r\x1b[0123456789abINPé\0", max_size=6)
)


@examples(150)
@given(st.sampled_from(OUTPUTS), st.lists(edit, max_size=12))
def test_damaged_output_never_breaks(output: tuple[str, str], edits: list[tuple[int, int, str]]) -> None:
    kind, text = output
    for at, length, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    parsed = parse(kind, text)
    for schema in KINDS[kind].schemas:
        schema.check(parsed.tables[schema.name])
    numbers = [line.number for line in parsed.unparsed]
    assert numbers == sorted(set(numbers))
    try:
        assert not parse(kind, text, strict=True).unparsed
    except ParseError as error:
        assert error.line == parsed.unparsed[0]  # noqa: PT017 (either outcome is right)
    else:
        assert not parsed.unparsed


def test_time_grows_with_the_text_only() -> None:
    long = "  " + "10.48.0.1 in use by " * 20_000 + "\n" + "$ " * 100_000 + "\n|" + " |" * 100_000
    assert len(parse(CHECK, long).unparsed) == 3
    assert len(parse(SHOW, long).unparsed) == 3

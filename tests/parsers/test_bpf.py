"""What bpftool and Calico's own command dump of BPF: text and JSON give the same tables, on every bundled recording."""

from __future__ import annotations

import pandas as pd
import pytest

from calicokit.parsers.base import ParseError, parse
from tests import recordings

DUMPS = {
    "bpf-routes": "bpf-routes",
    "bpf-nat": "bpf-nat",
    "bpf-ipsets": "bpf-ipsets",
    "bpf-ifstate": "bpf-ifstate",
    "bpf-arp": "bpf-arp",
    "bpftool-net": "bpftool-net",
    "bpftool-prog": "bpftool-prog",
    "bpftool-map": "bpftool-map",
    "bpftool-link": "bpftool-link",
}
"""Dumps that were taken twice within a second and do not change in between: file → kind."""

EBPF = [name for name in recordings.names() if recordings.paths(name, "nodes/*/bpf-routes-json.json")]


def text(name: str, path: str) -> str:
    return recordings.read(name, path).decode()


def paths(name: str, file: str) -> list[str]:
    """The files of all nodes, but not the samples over time."""
    return [p for p in recordings.paths(name, f"nodes/*/{file}.txt") if "/series/" not in p]


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """The same rows, in any order: maps have none."""
    first, second = (f.drop(columns="line", errors="ignore").astype(str) for f in (one, other))
    order = list(first.columns)
    first, second = (f.sort_values(order).reset_index(drop=True) for f in (first, second))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("name", EBPF)
@pytest.mark.parametrize("file", DUMPS)
def test_text_and_json_give_the_same_tables(name: str, file: str) -> None:
    assert paths(name, file)
    for path in paths(name, file):
        printed = parse(DUMPS[file], text(name, path), strict=True)
        structured = parse(DUMPS[file], text(name, path.replace(".txt", "-json.json")), strict=True)
        assert sum(len(t) for t in printed.tables.values()) or file == "bpftool-link"  # tc filters have no links
        for table, frame in printed.tables.items():
            same(frame, structured.tables[table])


@pytest.mark.parametrize("name", EBPF)
@pytest.mark.parametrize(("file", "kind"), [("bpf-conntrack", "bpf-conntrack"), ("bpf-counters", "bpf-counters")])
def test_what_changes_between_two_dumps_is_read_from_both(name: str, file: str, kind: str) -> None:
    stable = {"bpf-conntrack": ["protocol", "source", "sport", "destination", "dport", "backend", "backend_port"]}
    columns = stable.get(kind, ["interface", "category", "type", "xdp"])
    for path in paths(name, file):
        printed = parse(kind, text(name, path), strict=True).frame[columns].astype(str)
        structured = parse(kind, text(name, path.replace(".txt", "-json.json")), strict=True).frame[columns].astype(str)
        rows, others = ({tuple(r) for r in f.to_numpy()} for f in (printed, structured))
        shared = rows & others
        assert len(shared) > len(rows) / 2  # connections come and go in the second between them
        assert kind == "bpf-conntrack" or rows == others


def test_nothing_in_json_is_nothing() -> None:
    for kind in ("bpf-routes", "bpf-nat", "bpf-ipsets", "bpf-arp", "bpf-conntrack"):
        for empty in ("null\n", "[]\n"):
            assert parse(kind, empty, strict=True).frame.empty
    for what in ("prog", "map", "link"):
        assert parse(f"bpftool-{what}", "[]", strict=True).frame.empty


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("bpf-routes", '[{"dest": 5, "flags": null}]'),
        ("bpf-nat", '[{"frontend": {"addr": "10.0.0.1"}, "backends": []}]'),
        ("bpf-conntrack", '[{"active_ago": "1s", "proto": "TCP", "src": "10.0.0.1", "dst": "10.0.0.2:80"}]'),
        ("bpf-ipsets", '[{"set_id": "0x1", "members": ["what is this"]}]'),
        ("bpf-counters", '{"interface": "lo", "counters": [{"category": "Dropped", "type": "x", "ingress": "many"}]}'),
        ("bpf-arp", '[{"ifindex": true, "ip": "10.0.0.1"}]'),
        ("bpftool-map", '[{"name": "no id"}]'),
    ],
)
def test_json_of_another_form_is_told(kind: str, odd: str) -> None:
    parsed = parse(kind, odd)
    assert parsed.frame.empty
    assert parsed.unparsed
    with pytest.raises(ParseError):
        parse(kind, odd, strict=True)


def test_further_forms_of_json() -> None:
    """Source: natServiceGroupJSON, maglevEntryJSON and affinityEntryJSON in felix/cmd/calico-bpf/commands/nat.go."""
    front = '{"addr": "10.96.0.10", "port": 53, "proto": 17, "id": 4, "count": 1, "local": 0, "src_cidr": "10.0.0.0/8"}'
    grouped = f'[{{"id": 4, "frontends": [{front}], "backends": [{{"addr": "10.48.0.1", "port": 53}}]}}]'
    tables = parse("bpf-nat", grouped, strict=True).tables
    assert tables["bpf_nat"]["source"].to_list() == ["10.0.0.0/8"]
    assert tables["bpf_nat_backends"]["id"].to_list() == [4]
    slot = parse("bpf-nat", '[{"svc_id": 4, "ordinal": 17, "addr": "10.48.0.1", "port": 53}]', strict=True)
    assert slot.tables["bpf_nat_backends"]["ordinal"].to_list() == [17]
    affine = '[{"client_ip": "fd00::1", "proto": 6, "addr": "fd00::2", "port": 80, "backend": {"addr": "fd00::3", '
    kept = parse("bpf-nat", affine + '"port": 8080}, "timestamp": "2h0m1s"}]', strict=True)
    assert kept.tables["bpf_nat_affinity"]["age"].to_list() == [7201.0]
    ends = (
        '{"proto": "TCP", "src": "[fd00::1]:5000", "dst": "[fd00::3]:8080", "orig_dst": "[fd00::2]:80", "flags": null'
    )
    tracked = parse("bpf-conntrack", f'[{ends}, "active_ago": "1s", "tunnel_ip": "fd00::9"}}]', strict=True).frame.iloc[
        0
    ]
    assert (tracked["source"], tracked["backend"], tracked["dport"], tracked["tunnel_ip"]) == (
        "fd00::1",
        "fd00::3",
        80,
        "fd00::9",
    )


def test_a_command_line_tells_where_filters_are() -> None:
    loop = """$ tc -s filter show dev eth0 ingress
filter protocol all pref 49152 bpf chain 0
$ tc -s filter show dev cali1 egress
filter protocol all pref 1 u32 chain 0
"""
    frame = parse("tc-filter", loop, strict=True).frame
    assert frame[["interface", "parent", "kind"]].to_numpy().tolist() == [
        ["eth0", "ingress", "bpf"],
        ["cali1", "egress", "u32"],
    ]

"""calicoctl get, node status and version, against every recording, the API's lists and birdcl."""

from __future__ import annotations

import doctest

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import calicokit
from calicokit.parsers.base import KINDS, Parsed, ParseError, parse
from calicokit.parsers.kubernetes import calicoctl_get
from tests import recordings
from tests.examples import examples

GET, STATUS, VERSION = "calicoctl-get", "calicoctl-node-status", "calicoctl-version"
NAMES = recordings.names()
PATTERNS = {
    GET: "cluster/calicoctl-get-*.txt",
    STATUS: "nodes/*/calicoctl-node-status.txt",
    VERSION: "cluster/calicoctl-version.txt",
}


def texts(kind: str, name: str) -> dict[str, str]:
    return {p: recordings.read(name, p).decode() for p in recordings.paths(name, PATTERNS[kind])}


def check(kind: str, text: str, *, strict: bool = False) -> Parsed:
    parsed = parse(kind, text, strict=strict)
    for schema in KINDS[kind].schemas:
        schema.check(parsed.tables[schema.name])
    return parsed


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(calicoctl_get)[0] == 0


@pytest.mark.parametrize("kind", [GET, STATUS, VERSION])
@pytest.mark.parametrize("text", ["", "\n \r\n", "[root@m ~]# calicoctl get nodes\n"])
def test_no_output_gives_empty_tables(kind: str, text: str) -> None:
    assert all(table.empty for table in check(kind, text, strict=True).tables.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_read(name: str) -> None:
    for path, text in texts(GET, name).items():
        frame = check(GET, text, strict=True).frame
        if "-wide" in path:
            assert len(frame) == len(text.strip().split("\n")) - 1
        else:
            assert len(frame) == text.count("\n- apiVersion:")
            assert (frame["api_version"] == "projectcalico.org/v3").all()
    for text in texts(VERSION, name).values():
        assert len(check(VERSION, text, strict=True).frame) == 1


@pytest.mark.parametrize("name", NAMES)
def test_nodes_are_the_same_as_table_and_yaml(name: str) -> None:
    printed, wide = (
        parse(GET, recordings.read(name, f"cluster/calicoctl-get-nodes-{form}.txt").decode()).frame
        for form in ("yaml", "wide")
    )
    assert wide["name"].to_list() == printed["name"].to_list()
    assert (printed["kind"] == "Node").all()
    addresses = [f.get("spec.bgp.ipv4Address", "") for f in printed["fields"]]
    assert [f["ipv4"] for f in wide["fields"]] == addresses


@pytest.mark.parametrize("name", NAMES)
def test_workload_endpoints_are_those_of_the_kit(name: str) -> None:
    wide = parse(GET, recordings.read(name, "cluster/calicoctl-get-workloadendpoints-wide.txt").decode()).frame
    table = calicokit.open(name).table("kube.workload_endpoints")
    ours = {(r.namespace, r.pod): r for r in table.itertuples()}
    for row in wide.itertuples():
        mine = ours[row.namespace, row.fields["workload"]]
        assert (mine.node, mine.interface) == (row.fields["node"], row.fields["interface"])
        assert row.name == getattr(mine, "endpoint", getattr(mine, "name", row.name))


@pytest.mark.parametrize("name", NAMES)
def test_node_status_agrees_with_birdcl(name: str) -> None:
    for path, text in texts(STATUS, name).items():
        parsed = check(STATUS, text, strict=True)
        frame, process = parsed.frame, parsed.tables["calicoctl_node_process"]
        assert process.loc[process["process"] == "calico", "running"].to_list() == [True]
        bird = path.replace("calicoctl-node-status", "birdcl-protocols")
        if not recordings.paths(name, bird) or frame.empty:
            assert len(frame) == 0
            continue
        for version, file, dot in ((4, bird, "."), (6, bird.replace("birdcl-", "birdcl6-"), ":")):
            own = frame[frame["bgp"] == version]
            if version == 6 and not recordings.paths(name, file):
                assert own.empty
                continue
            seen = parse("bird-protocols", recordings.read(name, file).decode()).frame
            sessions = seen[seen["protocol"].str.match("Mesh_|Global_|Node_")]
            spelt = sessions["protocol"].str.replace(r"^\w+?_", "", regex=True).str.replace("_", dot)
            assert sorted(own["address"]) == sorted(spelt)


V6 = """Calico process is running.

IPv4 BGP status
No IPv4 peers found.

IPv6 BGP status
+--------------------------+---------------+-------+------------+--------------------------------+
|       PEER ADDRESS       |   PEER TYPE   | STATE |   SINCE    |              INFO              |
+--------------------------+---------------+-------+------------+--------------------------------+
| 2001:20::8               | node specific | start | 2026-11-23 | Active Socket: Connection      |
| fd00::1.port.178         | global        | up    | 01:02:03   |                                |
+--------------------------+---------------+-------+------------+--------------------------------+
"""


def test_ipv6_ports_and_stopped_processes() -> None:
    frame = check(STATUS, V6, strict=True).frame
    assert frame["bgp"].to_list() == [6, 6]
    assert frame["address"].to_list() == ["2001:20::8", "fd00::1"]
    assert frame["port"].dropna().to_list() == [178]
    assert frame["info"].isna().to_list() == [False, True]
    stopped = "Calico process is not running.\nNone of the BGP backend processes (BIRD or GoBGP) are running.\n"
    process = check(STATUS, stopped, strict=True).tables["calicoctl_node_process"]
    assert process["running"].to_list() == [False, False]
    assert process["process"].to_list() == ["calico", "bgp"]


def test_version_without_a_cluster() -> None:
    row = check(
        VERSION, "Client Version:    v3.28.5\nUnable to detect installed Calico version\n", strict=True
    ).frame.iloc[0]
    assert row["client_version"] == "v3.28.5"
    assert row["error"].startswith("Unable")
    assert pd.isna(row["cluster_version"])


@pytest.mark.parametrize("kind", [GET, STATUS, VERSION])
def test_noise_around_and_within(kind: str) -> None:
    text = next(iter(texts(kind, "policy-drop").values()))
    noisy = "$ kubectl exec -ti calicoctl -- calicoctl things\r\n\x1b[1m" + text.replace("\n", "\x1b[0m\r\n")
    noisy += "command terminated with exit code 1\r\nuser@host:~$ "
    for name, table in check(kind, noisy, strict=True).tables.items():
        clean = parse(kind, text, strict=True).tables[name]
        drop = [c for c in ("line",) if c in table]
        pd.testing.assert_frame_equal(table.drop(columns=drop), clean.drop(columns=drop))


@pytest.mark.parametrize("kind", [GET, STATUS, VERSION])
@pytest.mark.parametrize("text", ["what is this", "| a | b |", "kind: [\n"])
def test_foreign_lines_are_refused(kind: str, text: str) -> None:
    assert check(kind, text).unparsed
    with pytest.raises(ParseError):
        parse(kind, text, strict=True)


peer = st.tuples(
    st.ip_addresses().map(str),
    st.sampled_from(["node-to-node mesh", "node specific", "global"]),
    st.sampled_from(["up", "start", "down"]),
    st.sampled_from(["01:02:03", "2026-11-23"]),
    st.sampled_from(["Established", "Idle BGP Error: Bad peer AS", "Connect", "Active Socket: No route to host"]),
)


@examples(60)
@given(st.lists(peer, max_size=6))
def test_peers_are_read_as_printed(peers: list[tuple[str, str, str, str, str]]) -> None:
    lines = [f"| {' | '.join(cells)} |" for cells in peers]
    header = "+---+---+\n| PEER ADDRESS | PEER TYPE | STATE | SINCE | INFO |\n+---+---+"
    frame = check(STATUS, "\n".join(["IPv4 BGP status", header, *lines, "+---+---+"]), strict=True).frame
    columns = ["address", "peer_type", "state", "since", "info"]
    assert [tuple(r) for r in frame[columns].to_numpy()] == peers


edit = st.tuples(
    st.integers(0, 10**6), st.integers(0, 40), st.text(':/| {}[]-+"\n\r\x1b[0123456789abNAMEé\0\t', max_size=6)
)
DAMAGED = [(k, t[:3000]) for k in PATTERNS for t in texts(k, "policy-drop").values()] + [(STATUS, V6)]


@examples(150)
@given(st.sampled_from(DAMAGED), st.lists(edit, max_size=8))
def test_damaged_output_never_breaks(output: tuple[str, str], edits: list[tuple[int, int, str]]) -> None:
    kind, text = output
    for at, length, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    if check(kind, text).unparsed:
        with pytest.raises(ParseError):
            parse(kind, text, strict=True)


def test_long_and_hostile_texts_are_read() -> None:
    rows = "| 10.0.0.1 | global | up | 01:02:03 | Established |\n" * 20_000
    text = "| PEER ADDRESS | PEER TYPE | STATE | SINCE | INFO |\n" + rows + "|" * 50_000
    assert len(check(STATUS, text).frame) == 20_000
    check(VERSION, "Client Version:" + " " * 100_000 + "x" + "calico " * 20_000)


def test_a_cut_list_keeps_its_whole_objects() -> None:
    text = recordings.read("policy-drop", "cluster/calicoctl-get-nodes-yaml.txt").decode()
    cut = check(GET, text[: text.rindex("- apiVersion") + 60] + '\n    "broken')
    assert cut.unparsed
    whole = parse(GET, text).frame
    assert cut.frame["name"].to_list() == whole["name"].to_list()[:-1]

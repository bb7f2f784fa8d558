"""kubectl's get, events, describe and top, against every recording and what the API server answered."""

from __future__ import annotations

import doctest
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers.base import KINDS, Parsed, ParseError, parse
from calicokit.parsers.kubernetes import kubectl, objects
from tests import recordings
from tests.examples import examples

GET, EVENTS, DESCRIBE, TOP = "kubectl-get", "kubectl-events", "kubectl-describe", "kubectl-top"
NAMES = recordings.names()
FILES = {
    GET: (
        "cluster/kubectl-get-pods-wide.txt",
        "cluster/kubectl-get-nodes-wide.txt",
        "cluster/kubectl-api-resources.txt",
    ),
    EVENTS: ("cluster/kubectl-get-events.txt",),
    DESCRIBE: ("cluster/kubectl-describe-pods.txt", "cluster/kubectl-describe-nodes.txt"),
}
OUTPUTS = [(kind, name, path) for name in NAMES for kind, paths in FILES.items() for path in paths]


def read(name: str, path: str) -> str:
    return recordings.read(name, path).decode()


def check(kind: str, text: str, *, strict: bool = False) -> Parsed:
    parsed = parse(kind, text, strict=strict)
    for schema in KINDS[kind].schemas:
        schema.check(parsed.tables[schema.name])
    return parsed


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(kubectl)[0] == doctest.testmod(objects)[0] == 0


@pytest.mark.parametrize("kind", [GET, EVENTS, DESCRIBE, TOP])
@pytest.mark.parametrize(
    "text",
    ["", "\n \r\n", "No resources found in shop namespace.\n", "[root@m ~]# kubectl get pods -A\n", "me@host:~$ k"],
)
def test_no_output_gives_empty_tables(kind: str, text: str) -> None:
    assert all(table.empty for table in check(kind, text, strict=True).tables.values())


@pytest.mark.parametrize(("kind", "name", "path"), OUTPUTS)
def test_every_line_is_read(kind: str, name: str, path: str) -> None:
    text = read(name, path)
    frame = check(kind, text, strict=True).frame
    rows = text.count("\nName: ") + text.startswith("Name:") if kind == DESCRIBE else len(text.strip().split("\n")) - 1
    assert len(frame) == rows > 0


def api(name: str, plural: str) -> list[dict]:
    return json.loads(recordings.read(name, f"api/v1_{plural}.json"))["items"]


@pytest.mark.parametrize("name", NAMES)
def test_pods_are_those_of_the_api(name: str) -> None:
    frame = parse(GET, read(name, FILES[GET][0]), strict=True).frame
    told = {(p["metadata"]["namespace"], p["metadata"]["name"]): p for p in api(name, "pods")}
    assert set(zip(frame["namespace"], frame["name"], strict=True)) <= set(told)
    for row in frame.itertuples():
        pod = told[row.namespace, row.name]
        node = pod["spec"].get("nodeName")
        assert row.node == node if node else pd.isna(row.node)
        if "podIP" in pod["status"] and row.fields["ip"] != "<none>":
            assert row.fields["ip"] == pod["status"]["podIP"]


@pytest.mark.parametrize("name", NAMES)
def test_described_pods_and_nodes_are_those_of_the_api(name: str) -> None:
    parsed = parse(DESCRIBE, read(name, FILES[DESCRIBE][0]), strict=True)
    told = {p["metadata"]["name"]: p for p in api(name, "pods")}
    assert (parsed.frame["kind"] == "Pod").all()
    for row in parsed.frame.itertuples():
        pod = told[row.name]
        assert row.labels == pod["metadata"]["labels"]
        assert row.namespace == pod["metadata"]["namespace"]
        assert row.annotations == pod["metadata"].get("annotations", {})
        assert row.node == pod["spec"]["nodeName"]
        assert row.start_time == pd.Timestamp(pod["status"]["startTime"])
        containers = parsed.tables["containers"].query("pod == @row.name")
        spec = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        assert list(zip(containers["container"], containers["image"], strict=True)) == [
            (c["name"], c["image"]) for c in spec
        ]
        conditions = parsed.tables["conditions"].query("name == @row.name")
        assert set(zip(conditions["type"], conditions["status"], strict=True)) == {
            (c["type"], c["status"]) for c in pod["status"]["conditions"]
        }
    nodes = parse(DESCRIBE, read(name, FILES[DESCRIBE][1]), strict=True)
    told = {n["metadata"]["name"]: n for n in api(name, "nodes")}
    assert (nodes.frame["kind"] == "Node").all()
    assert set(nodes.frame["name"]) == set(told)
    for row in nodes.frame.itertuples():
        node = told[row.name]
        assert row.labels == node["metadata"]["labels"]
        assert row.pod_cidrs == node["spec"].get("podCIDRs", [])
        assert row.ip == next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        seen = nodes.tables["conditions"].query("name == @row.name")
        assert seen["last_heartbeat"].notna().all()
        assert len(seen) == len(node["status"]["conditions"])


def test_get_from_json_and_yaml_is_the_same() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [{"kind": "Pod", **p} for p in api(NAMES[0], "pods")[:4]]}
    import yaml

    one = check(GET, json.dumps(listed), strict=True).frame
    for text in (yaml.safe_dump(listed), json.dumps(listed, indent=4), "---\n" + yaml.safe_dump(listed)):
        pd.testing.assert_frame_equal(check(GET, text, strict=True).frame, one)
    assert one["fields"][0]["spec.nodeName"] == one["node"][0]
    assert one["kind"].to_list() == ["Pod"] * 4
    noisy = "$ kubectl get pods -o json\r\n" + json.dumps(listed, indent=4).replace("\n", "\r\n") + "\r\n$ "
    pd.testing.assert_frame_equal(check(GET, noisy, strict=True).frame, one)


@pytest.mark.parametrize("name", NAMES[:4])
def test_events_from_the_api_and_as_printed(name: str) -> None:
    printed = parse(EVENTS, read(name, FILES[EVENTS][0]), strict=True).frame
    read_again = check(EVENTS, recordings.read(name, "api/v1_events.json").decode(), strict=True).frame
    assert read_again["time"].notna().all()
    assert printed["age"].notna().all()
    columns = ["reason", "kind", "name"]
    assert set(map(tuple, printed[columns].to_numpy())) <= set(map(tuple, read_again[columns].to_numpy()))


def test_wide_events_and_counts() -> None:
    text = """NAMESPACE   LAST SEEN                TYPE      REASON      OBJECT       SUBOBJECT   SOURCE          MESSAGE               FIRST SEEN   COUNT   NAME
shop        2m3s (x12 over 10m)      Warning   Unhealthy   pod/cart-1               kubelet, n-1    Readiness:  503       10m          12      cart-1.17"""  # noqa: E501
    row = check(EVENTS, text, strict=True).frame.iloc[0]
    assert (row["age"], row["count"], row["source"], row["message"]) == (123, 12, "kubelet, n-1", "Readiness:  503")


CRASHING = """Name:             calico-node-x
Namespace:        calico-system
Node:             node-1/fd00::1
Status:           Running
IP:               10.0.0.1
IPs:
  IP:           10.0.0.1
  IP:           fd00::9
Containers:
  calico-node:
    State:          Waiting
      Reason:       CrashLoopBackOff
    Last State:     Terminated
      Reason:       Error
      Exit Code:    137
      Started:      Tue, 24 Nov 2026 02:08:40 +0000
    Ready:          False
    Restart Count:  5
Events:
  Type     Reason     Age                    From     Message
  ----     ------     ----                   ----     -------
  Warning  Unhealthy  11s (x31 over 2m1s)    kubelet  Readiness probe failed: calico/node is not ready: BIRD is not
ready: BGP not established with 10.0.0.2
"""


def test_a_crashing_pod() -> None:
    parsed = check(DESCRIBE, CRASHING)
    container, event = parsed.tables["containers"].iloc[0], parsed.tables["events"].iloc[0]
    assert (container["state"], container["reason"], container["last_reason"]) == (
        "Waiting",
        "CrashLoopBackOff",
        "Error",
    )
    assert (container["last_exit_code"], container["restarts"], container["ready"]) == (137, 5, False)
    assert (event["age"], event["count"], event["source"]) == (11, 31, "kubelet")
    assert parsed.frame["ips"][0] == ["10.0.0.1", "fd00::9"]
    assert parsed.frame["node_ip"][0] == "fd00::1"
    assert [line.number for line in parsed.unparsed] in ([], [23])


def test_top() -> None:
    pods = check(
        TOP, "NAMESPACE  POD  NAME  CPU(cores)  MEMORY(bytes)\nshop  cart-1  app  1  64Mi\n", strict=True
    ).frame
    assert pods.loc[0, ["name", "container"]].to_list() == ["cart-1", "app"]
    assert pods.loc[0, ["cpu", "memory"]].to_list() == [1000, 64 * 2**20]
    nodes = check(
        TOP,
        "NAME     CPU(cores)   CPU%        MEMORY(bytes)   MEMORY%\n"
        "n-1      <unknown>    <unknown>   1Gi             3%\n",
    )
    assert nodes.frame["cpu"].isna().all()
    assert nodes.frame["memory_percent"][0] == 3
    assert not nodes.unparsed
    assert parse(TOP, "NAME  CPU(cores)  MEMORY(bytes)\na  much  64Mi").unparsed
    assert not KINDS[TOP].verified


@pytest.mark.parametrize("kind", [GET, EVENTS, DESCRIBE])
def test_noise_around_and_within(kind: str) -> None:
    text = read(NAMES[0], FILES[kind][0])
    noisy = "[root@m ~]# kubectl get things -A\r\nW1124 01:02:03.000000 12 warnings.go:70] v1 is old\r\n\x1b[1m"
    noisy += text.replace("\n", "\x1b[0m\r\n") + "[root@m ~]# exit\r\n"
    for name, table in check(kind, noisy, strict=True).tables.items():
        clean = parse(kind, text, strict=True).tables[name]
        drop = [c for c in ("line",) if c in table]
        pd.testing.assert_frame_equal(table.drop(columns=drop), clean.drop(columns=drop))


@pytest.mark.parametrize("kind", [GET, EVENTS, DESCRIBE, TOP])
@pytest.mark.parametrize(
    "text", ["error: the server does not know this", '{"kind": "Pod", ', "- a\n- b\n", "kind: [\n"]
)
def test_foreign_lines_are_refused(kind: str, text: str) -> None:
    assert check(kind, text).unparsed
    with pytest.raises(ParseError):
        parse(kind, text, strict=True)


word = st.from_regex(r"[a-z][a-z0-9.-]{0,12}", fullmatch=True)
row = st.tuples(word, word, st.just("") | word | st.builds("{} {}".format, word, word), word)


@examples(80)
@given(st.lists(row, min_size=1, max_size=6))
def test_tables_are_read_as_printed(rows: list[tuple[str, str, str, str]]) -> None:
    table = [("NAMESPACE", "NAME", "NOMINATED NODE", "AGE"), *rows]
    widths = [max(len(r[i]) for r in table) for i in range(4)]
    text = "\n".join("   ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in table)
    frame = check(GET, text, strict=True).frame
    read_again = [(r.namespace, r.name, r.fields["nominated_node"], r.fields["age"]) for r in frame.itertuples()]
    assert read_again == rows


edit = st.tuples(
    st.integers(0, 10**6), st.integers(0, 40), st.text(':/ {}[]-&*"\n\r\x1b[0123456789abNAMEé\0\t', max_size=6)
)
DAMAGED = [(k, read(NAMES[0], p)[:4000]) for k, paths in FILES.items() for p in paths] + [(DESCRIBE, CRASHING)]
DAMAGED += [(k, json.dumps(api(NAMES[0], "events")[:3], indent=1)) for k in (GET, EVENTS)]
DAMAGED += [
    (GET, "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n  spec:\n    nodeName: b\n")
]


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
    text = read(NAMES[0], FILES[GET][0])
    assert len(parse(GET, text + text.split("\n", 1)[1] * 100).frame) > 1000
    for hard in ("[" * 50_000, "{" * 50_000, "NAME" + "  A" * 20_000 + "\n" + "x  " * 20_000, "A" * 100_000 + "a"):
        check(GET, hard)
        check(DESCRIBE, "Name: a\nContainers:\n" + hard)
    pairs = [(chr(97 + i), chr(98 + i)) for i in range(20)]
    laughs = "kind: a\nz: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairs)
    check(GET, laughs)

"""Calico's logs, against every recording and against what its formatter can print."""

from __future__ import annotations

import doctest
import json
import re
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from calicokit.parsers.base import KINDS, parse
from calicokit.parsers.logs import components as logs
from tests import recordings
from tests.examples import examples

FILES = {
    "cni.log": "cni-log",
    "felix.log": "felix-log",
    "confd.log": "confd-log",
    "startup.log": "startup-log",
    "typha.log": "typha-log",
    "kube-controllers.log": "kube-controllers-log",
}
NAMES = recordings.names()
ONE = '2026-11-23 20:51:39.141 [INFO][8143] felix/endpoint_mgr.go 499: Workload came up. ifaceName="cali2d7c"'
ROW = {
    "time": pd.Timestamp("2026-11-23 20:51:39.141", tz="UTC"),
    "level": "INFO",
    "pid": 8143,
    "component": "felix",
    "file": "endpoint_mgr.go",
    "line_number": 499,
    "message": "Workload came up.",
    "fields": 'ifaceName="cali2d7c"',
    "error": None,
    "line": 1,
}


def recorded(name: str) -> list[tuple[str, str]]:
    """Kind and text of every log in a recording that is Calico's."""
    paths = [path for path in recordings.paths(name, "*.log") if path.rpartition("/")[2] in FILES]
    return [(FILES[path.rpartition("/")[2]], recordings.read(name, path).decode(errors="replace")) for path in paths]


def felix(text: str) -> pd.DataFrame:
    return parse("felix-log", text, strict=True).frame


def rows(text: str, *columns: str) -> list[list[object]]:
    frame = felix(text)[list(columns)].astype("object")
    return frame.where(frame.notna(), None).to_numpy().tolist()


def test_examples_in_docstrings_run() -> None:
    failed, tried = doctest.testmod(logs)
    assert failed == 0
    assert tried >= 12


@pytest.mark.parametrize("kind", FILES.values())
@pytest.mark.parametrize("text", ["", "\n\r\n"])
def test_no_output_gives_an_empty_table_with_its_columns(kind: str, text: str) -> None:
    (schema,) = KINDS[kind].schemas
    frame = parse(kind, text, strict=True).frame
    assert schema.check(frame).empty


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_log_is_read_whole(name: str) -> None:
    found = recorded(name)
    assert {kind for kind, _ in found} >= {"cni-log", "felix-log", "startup-log", "kube-controllers-log"}
    for kind, text in found:
        frame = KINDS[kind].schemas[0].check(parse(kind, text, strict=True).frame)
        lines = [line for line in text.split("\n") if line.strip()]
        assert len(frame) + frame["message"].str.count("\n").sum() == len(lines)
        timeless = frame[frame["time"].isna()]
        assert (timeless["message"].str.startswith("... dropped") | (timeless["line"] == 1)).all()
        assert frame["level"].dropna().isin(["DEBUG", "INFO", "WARNING", "ERROR", "FATAL"]).all()
        assert frame["line"].is_monotonic_increasing


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_record_is_lost(name: str) -> None:
    for kind, text in recorded(name):
        if kind == "kube-controllers-log":
            continue  # klog quotes its messages
        frame = parse(kind, text).frame
        lines = text.split("\n")
        for row in frame[~frame["message"].str.contains("\n")].itertuples():
            told = row.message if pd.isna(row.fields) else f"{row.message} {row.fields}"
            line = lines[row.line - 1].rstrip()
            assert line.endswith(told) or re.match(r"[IWEF]\d{4} ", line)  # klog, of kube-proxy's library, quotes


def test_one_record() -> None:
    assert rows(ONE, *ROW) == [list(ROW.values())]


def test_a_cni_record_names_its_pod() -> None:
    frame = parse("cni-log", dict(recorded("healthy-bgp-mesh"))["cni-log"]).frame
    row = frame[frame["message"] == "Extracted identifiers for CmdAddK8s"].iloc[0]
    assert re.fullmatch("[0-9a-f]{64}", row["container_id"])
    assert row["workload"] == f"{row['workload'][:7]}-k8s-{row['pod'].replace('-', '--')}-eth0"
    assert row["namespace"] == "shop"
    ipam = frame[frame["message"] == "Auto assigning IP"].iloc[0]
    assert ipam["workload"].startswith("node--")
    assert pd.isna(ipam["pod"])


def test_the_error_of_a_failed_add() -> None:
    texts = [text for kind, text in recorded("ipam-exhausted") if kind == "cni-log"]
    errors = pd.concat([parse("cni-log", text).frame for text in texts]).dropna(subset="error")
    assert len(errors)
    assert (errors["message"] == "Final result of CNI ADD was an error.").all()
    assert errors["error"].str.endswith("No IPs available in pools: [10.48.0.0/27]").all()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ("error=no such file or directory", "no such file or directory"),
        ('error=exec: "modprobe": not found in $PATH output=""', 'exec: "modprobe": not found in $PATH'),
        ('client=1.2.3.4:5 connID=0x1 error=context canceled thread="kv" type="felix"', "context canceled"),
        ('Key=A Name="b" error=get https://x/?a=b failed', "get https://x/?a=b failed"),
        ("error=cannot do it host=a Name=b", "cannot do it"),
        ("error=wanted Name=b code=3", "wanted Name=b code=3"),
        ('error="as \\"text\\"" x=1', 'as "text"'),
        ('output="no error=here', None),
        ("lasterror=x", None),
    ],
)
def test_an_error_ends_at_the_next_key_in_order(fields: str, error: str | None) -> None:
    expected = "here" if error is None and "no error" in fields else error
    assert rows(f"2026-11-24 01:34:57.100 [ERROR][1] felix/a.go 41: It failed. {fields}", "message", "error") == [
        ["It failed.", expected]
    ]


@pytest.mark.parametrize(
    ("origin", "columns"),
    [
        ("[WARNING][1] ipam_plugin.go 230", ["WARNING", 1, None, "ipam_plugin.go", 230]),
        ("[ERROR][1] felix/<nil> <nil>", ["ERROR", 1, "felix", "<nil>", None]),
        ("[INFO][31] kube-controllers/run.go 7", ["INFO", 31, "kube-controllers", "run.go", 7]),
    ],
)
def test_where_a_record_comes_from(origin: str, columns: list[object]) -> None:
    text = f"2026-11-24 01:34:57.100 {origin}: "
    assert rows(text, "level", "pid", "component", "file", "line_number", "message") == [[*columns, ""]]


def test_a_message_without_text_has_fields_still() -> None:
    assert rows("2026-11-24 01:34:57.100 [INFO][1] a/b.go 1:  x=1", "message", "fields") == [["", "x=1"]]


def test_a_date_that_is_none_leaves_the_record() -> None:
    assert rows("2026-02-30 01:34:57.100 [INFO][1] a/b.go 1: x", "time", "message") == [[None, "x"]]


def test_further_lines_belong_to_the_record_before_them() -> None:
    text = f"{ONE}\n+---+\n| a |\n\n{ONE}\n2026-11-24 01:34:57.100 [INFO][1] a/b.go 1: two\n  lines done=true"
    assert rows(text, "message", "fields", "line") == [
        ["Workload came up.\n+---+\n| a |", 'ifaceName="cali2d7c"', 1],
        ["Workload came up.", 'ifaceName="cali2d7c"', 5],
        ["two\n  lines", "done=true", 6],
    ]


def test_a_log_cut_in_the_middle_starts_with_what_is_left() -> None:
    text = f"NFO][8143] felix/a.go 1: b c=1\n| still |\n{ONE}"
    assert rows(text, "time", "level", "message", "fields", "line") == [
        [None, None, "NFO][8143] felix/a.go 1: b c=1\n| still |", None, 1],
        [ROW["time"], "INFO", "Workload came up.", 'ifaceName="cali2d7c"', 3],
    ]


def test_dropped_logs_and_bird_are_records_of_their_own() -> None:
    text = f"{ONE}\n... dropped 22 logs ...\nbird: Mesh_172_30_0_12: Connect delayed by 2 seconds\n{ONE}"
    assert rows(text, "time", "component", "message")[1:3] == [
        [None, None, "... dropped 22 logs ..."],
        [None, "bird", "Mesh_172_30_0_12: Connect delayed by 2 seconds"],
    ]


def test_klog_takes_its_year_from_the_record_before() -> None:
    klog = '0101 00:00:00.000520   15681 shared_informer.go:318] "Caches are synced" controller="pods"'
    text = f"I{klog}\n2026-12-31 23:59:59.999 [INFO][1] a/b.go 1: x\nE{klog}\nI0101 00:00:01.000000 7 a.go:1] plain b=c"
    time = pd.Timestamp("2027-01-01 00:00:00.00052", tz="UTC")
    assert rows(text, "time", "level", "pid", "file", "message", "fields") == [
        [None, "INFO", 15681, "shared_informer.go", "Caches are synced", 'controller="pods"'],
        [pd.Timestamp("2026-12-31 23:59:59.999", tz="UTC"), "INFO", 1, "b.go", "x", None],
        [time, "ERROR", 15681, "shared_informer.go", "Caches are synced", 'controller="pods"'],
        [pd.Timestamp("2027-01-01 00:00:01", tz="UTC"), "INFO", 7, "a.go", "plain b=c", None],
    ]


def test_logrus_own_format() -> None:
    text = 'time="2026-11-23T20:55:39Z" level=warning msg="Number \\"of\\" peers a=3" error=none\n'
    time = pd.Timestamp("2026-11-23 20:55:39", tz="UTC")
    assert rows(text, "time", "level", "message", "fields", "error") == [
        [time, "WARNING", 'Number "of" peers a=3', "error=none", "none"]
    ]


@pytest.mark.parametrize(
    "prefix",
    [
        "2026-11-24_00:47:02.66312 ",
        "2026-11-24T00:47:02.66312 ",
        "@400000006742b5f61c2d3e4f ",
        "2026-11-24T00:47:02.663123456Z stdout F ",
        "2026-11-24T02:47:02.663123456+02:00 stderr F ",
        "2026-11-24T00:47:02.663123456Z ",
        "[calico-node-x7f2k calico-node] ",
        "[pod/calico-node-x7f2k/calico-node] ",
        "[pod/calico-node-x7f2k/calico-node] 2026-11-24T00:47:02.663123456Z ",
        "calico-node-x7f2k calico-node ",
        "calico-node-x7f2k › calico-node ",
    ],
)
def test_what_others_put_before_a_line_is_taken_off(prefix: str) -> None:
    text = "\n".join(prefix + line for line in [ONE, "+---+", "bird: Started", ONE])
    found = rows(text, "message", "component", "line")
    assert found == [
        ["Workload came up.\n+---+", "felix", 1],
        ["Started", "bird", 3],
        ["Workload came up.", "felix", 4],
    ]
    time = felix(text)["time"]
    assert time[0] == ROW["time"]
    has_time = "2026" in prefix
    assert pd.isna(time[1]) != has_time


CRI = "2026-11-24T00:47:02.663123456Z"


def test_lines_that_a_container_runtime_split_are_put_together() -> None:
    one, two, three = ONE[:60], ONE[60:70] + " ", ONE[70:]
    text = f"""{CRI} stdout P {one}
{CRI} stdout P {two}
{CRI} stdout F {three}
{CRI} stdout F {ONE}
{CRI} stdout P | a
{CRI} stdout F  b |
"""
    assert rows(text, "message", "line") == [
        [f"{one}{two}{three}".partition(" 499: ")[2].partition(" ifaceName")[0], 1],
        ["Workload came up.\n| a b |", 4],
    ]


@pytest.mark.parametrize("tail", ["", f"\n{CRI} stderr F more", f"\n\n{CRI} stdout F more", f"\n{ONE}"])
def test_a_line_whose_other_parts_are_missing_stays(tail: str) -> None:
    text = f"{CRI} stdout F {ONE}\n{CRI} stdout P {ONE[:70]}{tail}"
    found = rows(text, "message", "line")
    assert found[:2] == [
        ["Workload came up.", 1],
        [ONE[:70].partition(" 499: ")[2] + ("\nmore" if "more" in tail else ""), 2],
    ]


@pytest.mark.parametrize("size", [1, 700, 5000])
@pytest.mark.parametrize("prefix", ["", f"{CRI} stdout F ", f"{CRI} stdout P "])
def test_a_text_in_pieces_reads_as_a_whole(monkeypatch: pytest.MonkeyPatch, size: int, prefix: str) -> None:
    found = {kind: prefix + text[:20_000].replace("\n", f"\n{prefix}") for kind, text in recorded("healthy-bgp-mesh")}
    whole = {kind: parse(kind, text).frame for kind, text in found.items()}
    monkeypatch.setattr(logs, "_PIECE", size)
    for kind, text in found.items():
        pd.testing.assert_frame_equal(parse(kind, text).frame, whole[kind])


def test_what_only_looks_common_is_read_with_care() -> None:
    start = "2026-11-24 01:34:57.100 [INFO][1] a/"
    text = (
        f"{start}b.go 1: x né=1 é\xa0\n{start}\xa0 2: ends \x1c\n{start}b.go 3:x y=1\nI١١٢٤ 02:28:20.801179 7 a.go:1] x"
    )
    assert rows(text, "file", "line_number", "message", "fields") == [
        ["b.go", 1, "x", "né=1 é"],
        ["\xa0", 2, "ends", None],
        ["b.go", 3, "\nI١١٢٤ 02:28:20.801179 7 a.go:1] x", None],
    ]


@pytest.mark.parametrize("time", ["9999-12-31T00:00:00Z", "0001-01-01", "2026-13-01", "2026-01-01T00:00:00+99:00"])
def test_a_time_out_of_range_is_none(time: str) -> None:
    assert rows(f'time="{time}" level=info msg=x\n{ONE}', "time", "message") == [
        [None, "x"],
        [ROW["time"], "Workload came up."],
    ]


def test_half_a_character_is_replaced() -> None:
    assert rows(f"{ONE}\n\ud800", "message") == [["Workload came up.\n?"]]


def test_a_line_that_only_looks_prefixed_stays_whole() -> None:
    text = f"{ONE}\nsome words here\n[ab] and more"
    assert rows(text, "message") == [["Workload came up.\nsome words here\n[ab] and more"]]


def test_terminals_leave_colours_carriage_returns_and_prompts() -> None:
    clean = dict(recorded("healthy-nftables"))["felix-log"]
    start = clean.index("\n2026") + 1
    noisy = "$ kubectl logs calico-node\r\n\x1b[1m" + clean[start:].replace("\n", "\x1b[0m\r\n")
    frame = felix(noisy)
    columns = [column for column in frame.columns if column != "line"]
    pd.testing.assert_frame_equal(frame[columns], felix(clean[start:])[columns])
    assert frame["line"][0] == 2, "the prompt has gone, the numbers stay"


word = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=12)
key = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True).filter(lambda k: k != "error")
record = st.tuples(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(
        lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
    ),
    st.sampled_from(["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL", "PANIC"]),
    st.integers(1, 2**22),
    st.sampled_from([None, "felix", "cni-plugin", "kube-controllers"]),
    st.integers(1, 9999),
    st.lists(word.filter(lambda w: "=" not in w), min_size=1, max_size=6).map(" ".join),
    st.dictionaries(key, st.integers() | word.map(lambda w: json.dumps(w, ensure_ascii=False)), max_size=3),
    st.none() | st.lists(word.filter(lambda w: "=" not in w and w[0] != '"'), min_size=1, max_size=4).map(" ".join),
)


@examples(100)
@given(st.lists(record, max_size=6))
def test_a_record_is_read_as_printed(records: list[tuple]) -> None:
    lines, expected = [], []
    for time, level, pid, component, number, message, pairs, error in records:
        fields = " ".join(f"{k}={v}" for k, v in sorted({**pairs, **({"error": error} if error else {})}.items()))
        assume(not re.search(r"\x1b\[", message + fields))
        stamp = time.isoformat(" ", "milliseconds")
        where = f"{component}/a_b.go" if component else "a_b.go"
        lines.append(f"{stamp} [{level}][{pid}] {where} {number}: {message}{' ' if fields else ''}{fields}")
        expected.append(
            [
                time.replace(tzinfo=UTC),
                level,
                pid,
                component,
                "a_b.go",
                number,
                message,
                fields or None,
                error,
                len(lines),
            ]
        )
    assert rows("\n".join(lines), *ROW) == expected


TEXTS = [text[-4000:] for name in NAMES[:3] for _, text in recorded(name)] + [
    f"2026-11-24T00:47:02.663123456Z stdout F {ONE}\nI0101 00:00:01.000000 7 a.go:1] plain\n" * 5,
    'time="2026-11-23T20:55:39Z" level=info msg="Number" error=none\nbird: x\n... dropped 1 logs ...\n' * 5,
]
edit = st.tuples(st.integers(0, 10**6), st.integers(0, 60), st.text('|[]: .=",\\\n\r\x1b0129aTZINFé\0', max_size=6))


@examples(150)
@given(st.sampled_from(TEXTS), st.sampled_from(sorted(FILES.values())), st.lists(edit, max_size=12))
def test_damaged_logs_never_break(text: str, kind: str, edits: list[tuple[int, int, str]]) -> None:
    for at, length, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    parsed = parse(kind, text, strict=True)
    assert not parsed.unparsed
    KINDS[kind].schemas[0].check(parsed.frame)


@pytest.mark.parametrize(
    "tail", [" a" * 200_000, " a=" * 200_000, " error=" * 100_000, '"\\' * 200_000, "[a " * 100_000, "a/" * 200_000]
)
def test_time_grows_with_the_text_only(tail: str) -> None:
    assert (
        len(felix(f"{tail}\n{ONE}{tail}\n2026-11-24 01:34:57.100 [INFO][1] {tail}\nE0101 00:00:01.000000 7 {tail}"))
        == 2
    )

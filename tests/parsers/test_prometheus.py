"""Prometheus text and OpenMetrics, against every recorded scrape and prometheus_client's own parser."""

from __future__ import annotations

import doctest
import math
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers import prometheus
from calicokit.parsers.base import KINDS, ParseError, parse
from tests import recordings
from tests.examples import examples

KIND = "prometheus"
NAMES = recordings.names()


def texts(name: str) -> list[str]:
    return [recordings.read(name, path).decode() for path in recordings.paths(name, "*.prom")]


def check(text: str, *, strict: bool = False) -> pd.DataFrame:
    parsed = parse(KIND, text, strict=strict)
    for schema in KINDS[KIND].schemas:
        schema.check(parsed.tables[schema.name])
    return parsed.frame


def peer(text: str) -> Counter[tuple[str, frozenset[tuple[str, str]], str]]:
    """Samples as prometheus_client reads them; it adds _total to counters' names."""
    parsing = pytest.importorskip("prometheus_client.parser")
    return Counter(
        (s.name.removesuffix("_total"), frozenset(s.labels.items()), repr(float(s.value)))
        for family in parsing.text_string_to_metric_families(text)
        for s in family.samples
    )


def ours(frame: pd.DataFrame) -> Counter[tuple[str, frozenset[tuple[str, str]], str]]:
    rows = zip(frame["metric"], frame["labels"], frame["value"].tolist(), strict=True)
    return Counter(
        (m.removesuffix("_total"), frozenset((k, v) for k, v in pairs(labels)), repr(value))
        for m, labels, value in rows
    )


def pairs(labels: str) -> list[tuple[str, str]]:
    """Labels as printed, taken apart."""
    unescaped = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
    found = [(m[1], m[2]) for m in prometheus._LABEL.finditer(labels) if m[1]]
    return [(k, "".join(unescaped.get(p, p) for p in prometheus.re.findall(r"\\.|[^\\]", v))) for k, v in found]


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(prometheus)[0] == 0


@pytest.mark.parametrize("text", ["", "\n \r\n", "# only a comment\n", "[root@node ~]# curl -s localhost:9091/metrics"])
def test_no_output_gives_empty_tables(text: str) -> None:
    assert check(text, strict=True).empty


@pytest.mark.parametrize("name", NAMES)
def test_every_scrape_is_read_as_prometheus_client_reads_it(name: str) -> None:
    for i, text in enumerate(texts(name)):
        frame = check(text, strict=True)
        assert len(frame) == sum(bool(line) and line[0] != "#" for line in text.split("\n"))
        assert frame["type"].notna().all()
        if i < 8:
            assert ours(frame) == peer(text)


def test_families_quantiles_and_bounds() -> None:
    parsed = parse(KIND, texts("healthy-bgp-mesh")[-1], strict=True)
    frame, families = parsed.frame, parsed.tables["prometheus_families"]
    assert set(frame["family"]) <= set(families["family"])
    assert families["help"].notna().all()
    summary = frame[frame["type"] == "summary"]
    plain = ~summary["metric"].str.endswith(("_sum", "_count"))
    assert (summary["quantile"].notna() == plain).all()
    buckets = frame["metric"].str.endswith("_bucket") & (frame["type"] == "histogram")
    assert (frame["le"].notna() == buckets).all()


OPEN = """# TYPE felix_restores counter
# UNIT felix_restores calls
# HELP felix_restores Runs of iptables-restore,\\nin all.
felix_restores_total{table="nat"} 17.0 1604879872.5 # {trace_id="KOO5S4vxi0o"} 0.67
felix_restores_created{table="nat"} 1604879000
# TYPE lat histogram
lat_bucket{le="+Inf"} 4 # {} 1
lat_bucket{le="1e-05"} 1.
{"odd.name",zone="a}b # c"} +Inf
spaced { a = "b" , c="d\\"e" , } .5
plus +3
nothing{} NaN
# EOF
"""


def test_openmetrics() -> None:
    parsed = parse(KIND, OPEN, strict=True)
    frame = parsed.frame
    assert frame["metric"].to_list()[4:] == ["odd.name", "spaced", "plus", "nothing"]
    assert frame["labels"].to_list()[4:6] == ['zone="a}b # c"', 'a="b",c="d\\"e"']
    assert frame["value"].to_list()[:7] == [17, 1604879000, 4, 1, math.inf, 0.5, 3]
    assert frame["timestamp"][0] == pd.Timestamp("2020-11-08T23:57:52.5Z")
    assert frame["timestamp"][1:].isna().all()
    assert frame["exemplar"].to_list()[:3:2] == ['{trace_id="KOO5S4vxi0o"} 0.67', "{} 1"]
    assert frame["le"].to_list()[2:4] == [math.inf, 1e-05]
    assert frame["family"].to_list()[:3] == ["felix_restores", "felix_restores", "lat"]
    family = parsed.tables["prometheus_families"].iloc[0]
    assert (family["type"], family["unit"], family["help"]) == (
        "counter",
        "calls",
        "Runs of iptables-restore,\nin all.",
    )


def test_milliseconds_in_the_text_format() -> None:
    frame = check('a 1 1604879872500\nb{c="d"} 2 -1\n', strict=True)
    assert frame["timestamp"].to_list() == [
        pd.Timestamp("2020-11-08T23:57:52.5Z"),
        pd.Timestamp(-1, unit="ms", tz="UTC"),
    ]


def test_noise_around_and_within() -> None:
    text = texts("healthy-v3.28")[0]
    noisy = "$ kubectl exec -n kube-system calico-node-abcde -- curl -s localhost:9091/metrics\r\n"
    noisy += 'Defaulted container "calico-node" out of: calico-node\r\n\x1b[1m' + text.replace("\n", "\x1b[0m\r\n")
    noisy += "command terminated with exit code 1\r\n[root@node ~]# "
    clean = check(text, strict=True)
    pd.testing.assert_frame_equal(check(noisy, strict=True).drop(columns="line"), clean.drop(columns="line"))


@pytest.mark.parametrize(
    "line", ["404 page not found", "a{b=c} 1", 'a{b="c"}', "a 1 2 3", "1a 2", 'a{b="c} 1', "a{}1"[:3]]
)
def test_foreign_lines_are_refused(line: str) -> None:
    parsed = parse(KIND, f"x 1\n{line}\ny 2\n")
    assert [(unread.number, unread.text) for unread in parsed.unparsed] == [(2, line)]
    assert parsed.frame["line"].to_list() == [1, 3]
    with pytest.raises(ParseError):
        parse(KIND, line, strict=True)


label = st.tuples(st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True), st.text(' "\\{},=#aé\n', max_size=6))
sample = st.tuples(
    st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True),
    st.lists(label, max_size=3, unique_by=lambda pair: pair[0]),
    st.floats(),
    st.none() | st.integers(-(10**12), 10**12),
)


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@examples(150)
@given(st.lists(sample, max_size=8))
def test_samples_are_read_as_printed(samples: list[tuple]) -> None:
    lines, labels = [], []
    for name, pair, value, stamp in samples:
        labels.append(",".join(f'{k}="{escape(v)}"' for k, v in pair))
        braces = f"{{{labels[-1]}}}" if pair else ""
        number = {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN" if math.isnan(value) else repr(value))
        lines.append(f"{name}{braces} {number}" + (f" {stamp}" if stamp is not None else ""))
    frame = check("\n".join(lines), strict=True)
    assert frame["metric"].to_list() == [s[0] for s in samples]
    assert frame["labels"].to_list() == labels
    assert list(map(repr, frame["value"].tolist())) == [repr(s[2]) for s in samples]
    times = [None if t is pd.NaT else t.value // 10**6 for t in frame["timestamp"]]
    assert times == [s[3] for s in samples]


OUTPUTS = ["\n".join(t.split("\n")[200:330]) for name in NAMES[:5] for t in texts(name)[:1]] + [OPEN]
edit = st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.text('{}",=# \n\r\x1b[-+.0123456789eNé\0', max_size=6))


@examples(100)
@given(st.sampled_from(OUTPUTS), st.lists(edit, max_size=12))
def test_damaged_output_never_breaks(text: str, edits: list[tuple[int, int, str]]) -> None:
    for at, length, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    check(text)
    if parse(KIND, text).unparsed:
        with pytest.raises(ParseError):
            parse(KIND, text, strict=True)


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    text = texts("felix-churn")[0] + OPEN
    whole = check(text, strict=True)
    monkeypatch.setattr(prometheus, "_BLOCK", 1000)
    pd.testing.assert_frame_equal(check(text, strict=True), whole)


def test_long_and_hostile_texts_are_read() -> None:
    hard = 'a{b="' + '\\"' * 100_000 + "\n" + "a{" + 'b="c",' * 50_000 + "\n" + "a" * 200_000 + "\n" + "{" * 100_000
    assert len(parse(KIND, 'x{y="z"} 1\n' * 50_000 + 'a {b = "c"} 1\n' * 20_000 + hard).frame) == 70_000

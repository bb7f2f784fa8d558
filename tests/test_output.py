"""Everything the guide's commands print becomes a table: each file of each recording has its row in the catalog."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calicokit import registry, terminal
from calicokit.cluster import Cluster
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.model import Want
from calicokit.output.tables import table_name
from tests import clusters, recordings
from tests.fakes import node, source_of

NO_TABLE = {
    "iptables-version.txt": "one line that iptables-save says too",
    "uname.txt": "one line of the kernel's",
    "kubectl-api-resources.txt": "what the API server serves is discovered, not parsed",
    "felix-bird-live.txt": "the liveness of what felix-ready and bird-ready tell more of",
    "bpf-conntrack-raw.txt": "the entries that bpf-conntrack.txt puts together to connections",
    "bpf-profiling.txt": "empty unless bpfProfiling is on",
    "bpffs.txt": "names of pinned maps and programs, which bpftool lists with what they are",
    "bpftool-version.txt": "one line",
}
"""Files without a row, each with the reason."""

FILES = {file: item for item in CATALOG.values() if item.file for file in (item.file, *item.also)}
OF_INTERFACES = re.compile(r"(?:bpf-policy-\S+|tc-filter-\S+-(?:ingress|egress))\.txt")
"""What bpf-policy.txt and tc-filter.txt have of all interfaces, once more of one."""


@pytest.mark.parametrize("name", recordings.names())
def test_every_file_is_evidence_of_the_catalog(name: str) -> None:
    printed = [p for p in recordings.paths(name) if p.startswith(("cluster/", "nodes/"))]
    printed = [p for p in printed if not OF_INTERFACES.fullmatch(p.rsplit("/", 1)[1])]
    strange = {p for p in printed if p.rsplit("/", 1)[1] not in {*FILES, *NO_TABLE}}
    assert strange == set()


@pytest.mark.parametrize("name", recordings.names())
def test_every_output_is_a_table_without_a_line_left_over(name: str) -> None:
    cluster = clusters.fresh(name)
    there = {p.rpartition("/")[2] for p in recordings.paths(name) if "/series/" not in p}
    for item in CATALOG.values():
        if item.parser:
            frame = cluster.table(table_name(item))
            assert bool(frame.unknown) == (item.file not in there), item.id
    assert [m for m in cluster.coverage.missing if not m.why.startswith("not in this recording")] == []


def test_lines_that_cannot_be_read_are_in_the_coverage() -> None:
    source = source_of(nodes=[node("n1")])
    source.answers[Want("ip-rule", "n1")] = b"0:\tfrom all lookup local\nnonsense here\n"
    cluster = Cluster(source)
    assert len(cluster.table("output.ip_rule")) == 1
    (hole,) = (m for m in cluster.coverage.missing if m.id == "ip-rule")
    assert hole.node == "n1"
    assert "line 2: 'nonsense here'" in hole.why


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["table", "csv", "json", "parquet"])
def test_every_table_prints_in_every_format(shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = clusters.fresh("healthy-datacenter")
    for name, spec in registry.load().items():
        if spec.options:
            continue
        frame = cluster.table(name)
        output = tmp_path / name if shape == "parquet" else None
        terminal.write_frame(frame, name, shape, output, cluster.coverage, 20)
        said = capsys.readouterr().out
        assert output.exists() if output else (name in said or frame.columns[0] in said)

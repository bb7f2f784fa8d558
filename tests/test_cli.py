"""The command line as its users meet it: outputs, exit statuses, one clear sentence for what is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from calicokit import registry, terminal
from calicokit.faults import RAISES
from calicokit.guide.page import order
from calicokit.sentences import natural
from tests import clusters, recordings
from tests.evidence.test_sources import unpacked


def run(*words: str, text: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "calicokit", *words], capture_output=True, text=True, input=text, timeout=120, cwd=cwd
    )


def test_check_prints_the_cause_first_and_exits_1() -> None:
    done = run("check", "ipam-exhausted")
    assert done.returncode == 1
    first = done.stdout.split("\n\n")[1]
    assert first.startswith("critical  ipam-exhausted")
    assert "default-ipv4-ippool" in first
    assert "Do: " in first
    assert "kinds of findings" in done.stdout


def test_check_of_a_healthy_cluster_exits_0() -> None:
    done = run("check", "healthy-bgp-mesh")
    assert done.returncode == 0
    assert "Nothing wrong was found." in done.stdout
    assert done.stderr == ""


def test_check_json_keeps_the_contract() -> None:
    answer = json.loads(run("check", "ipam-leaked", "--format", "json").stdout)
    assert set(answer) == {"findings", "coverage"}
    assert set(answer["coverage"]) >= {"seen", "missing"}
    for found in answer["findings"]:
        keys = {"id", "severity", "title", "cause", "subject", "evidence", "remedy", "guide_step"}
        assert set(found) - {"explained_by"} == keys
        assert found["evidence"]
        for rows in found["evidence"]:
            assert set(rows) - {"node"} == {"id", "rows", "count"}
            assert all(set(r) == {"table", "key"} for r in rows["rows"])
    assert {"id": "cni-log", "node": "node-1"} in answer["coverage"]["seen"]


def test_check_exits_3_when_a_critical_check_had_no_evidence(tmp_path: Path) -> None:
    recording = unpacked(tmp_path, "healthy-bgp-mesh")
    (recording / "api" / "v1_pods.json").unlink()
    done = run("check", "--all", str(recording))
    assert done.returncode == 3
    said = " ".join(done.stdout.split())
    assert "Not checked, as evidence is missing: " in said
    assert "Not seen: pods: not listed in this recording; without it not checked: bpf-program-missing, calico-" in said


@pytest.mark.slow
def test_table_as_table_csv_json_parquet(tmp_path: Path) -> None:
    shown = run("table", "ipam-leaked", "ipam.allocations")
    assert shown.returncode == 0
    assert "leaked" in shown.stdout
    assert "ipam.allocations: 30 rows" in shown.stdout
    lines = run("table", "ipam-leaked", "ipam.allocations", "--format", "csv").stdout.splitlines()
    assert len(lines) == 31
    answer = json.loads(run("table", "ipam-leaked", "ipam.allocations", "--format", "json").stdout)
    assert (answer["table"], len(answer["rows"])) == ("ipam.allocations", 30)
    assert answer["rows"][0]["since"].endswith("Z")
    assert answer["coverage"]["missing"] == []
    done = run("table", "ipam-leaked", "kube.pods", "--format", "parquet", "-o", str(tmp_path / "p.parquet"))
    assert done.returncode == 0

    assert len(pd.read_parquet(tmp_path / "p.parquet")) == 30


def test_table_columns_and_limit() -> None:
    done = run("table", "ipam-leaked", "ipam.allocations", "--columns", "address,state", "--limit", "2")
    assert "28 more" in done.stdout
    assert "handle" not in done.stdout


def test_table_list_names_every_table_on_a_screen() -> None:
    done = run("table", "--list")
    assert done.returncode == 0
    assert done.stdout.count("\n") < 60
    told = re.findall(r"^(\w+): (.+(?:\n  .+)*)", done.stdout, re.M)
    names = {f"{topic}.{name.strip()}" for topic, own in told for name in own.split(",")}
    assert names == set(registry.load())


def test_table_list_of_a_word_and_the_columns_of_one() -> None:
    some = run("table", "--list", "ipam.u").stdout.splitlines()
    assert [line.split()[0] for line in some] == ["ipam.unallocated", "ipam.utilisation"]
    one = run("table", "--describe", "ipam.utilisation").stdout
    assert all(f"    {c.name}" in one for c in registry.load()["ipam.utilisation"].schema.columns)


def test_table_takes_rows_and_columns() -> None:
    words = ("--where", "state=leaked", "--sort", "-address", "--columns", "address", "--rows", "3", "--format", "csv")
    whole = clusters.of("ipam-leaked").ipam.allocations()
    chosen = run("table", "ipam-leaked", "ipam.allocations", *words).stdout.split()
    leaked = sorted(whole[whole["state"] == "leaked"]["address"], key=natural, reverse=True)
    assert chosen == ["address", *leaked[:3]]


def test_the_guide_for_a_cluster_and_its_text() -> None:
    done = run("guide", "ipam-exhausted")
    assert done.returncode == 1
    assert "✗" in done.stdout
    assert "IP pool exhausted" in done.stdout
    assert "ip route" in run("guide", "--read", "node-connectivity-issues/route-programming").stdout
    assert "bgp-configuration/bgp-status" in run("guide").stdout.split()


def test_check_in_the_order_of_the_guide() -> None:
    steps = list(order())
    said = json.loads(run("check", "bgp-tcp179-blocked", "--guide", "--format", "json").stdout)["findings"]
    places = [steps.index(f["guide_step"]) for f in said]
    assert places == sorted(places)


@pytest.mark.slow
def test_the_guide_as_json_has_every_command() -> None:
    said = json.loads(run("guide", "ipam-exhausted", "--rows", "--format", "json").stdout)
    assert [len(said[k]) for k in ("checklist", "practices")] == [10, 10]
    assert len(said["rows"]) > 100


def test_parse_from_file_and_from_standard_input(tmp_path: Path) -> None:
    text = recordings.read("ipam-exhausted", "cluster/calicoctl-ipam-show-blocks.txt").decode()
    (tmp_path / "out.txt").write_text(text)
    by_file = run("parse", "calicoctl-ipam-show", str(tmp_path / "out.txt"), "--format", "json")
    by_pipe = run("parse", "calicoctl-ipam-show", "-", "--format", "json", text=text)
    assert by_file.returncode == by_pipe.returncode == 0
    assert by_file.stdout == by_pipe.stdout
    answer = json.loads(by_file.stdout)
    assert set(answer) == {"kind", "tables", "unparsed"}
    assert len(answer["tables"]["calicoctl_ipam_show"]) == 9


def test_parse_shows_what_it_could_not_read_and_exits_1() -> None:
    done = run("parse", "calicoctl-ipam-show", "-", text="something else entirely\n")
    assert done.returncode == 1
    assert "not parsed, line 1: something else entirely" in done.stderr
    strict = run("parse", "calicoctl-ipam-show", "-", "--strict", text="something else entirely\n")
    assert strict.returncode == 2
    assert "line 1" in strict.stderr


def test_incidents_lists_all() -> None:
    done = run("incidents")
    assert done.returncode == 0
    assert all(name in done.stdout for name in recordings.names())
    assert len(json.loads(run("incidents", "--format", "json").stdout)["incidents"]) == len(recordings.names())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("table", "ipam-leaked", "ipam.bloks"), "did you mean ipam.blocks?"),
        (("table", "ipam-leaked", "ipam.blocks", "--columns", "nod"), "did you mean node?"),
        (("table", "ipam-leaked"), "--list"),
        (("table", "--list", "ipam.blok"), "did you mean ipam.blocks?"),
        (("table", "ipam-leaked", "ipam.blocks", "--where", "free"), "is no condition"),
        (("guide", "--read", "bgp-configuration/bgp-statu"), "did you mean bgp-configuration/bgp-status?"),
        (("table", "ipam-leaked", "ipam.blocks", "--format", "parquet"), "-o FILE.parquet"),
        (("parse", "calicoctl-ipam-shw", "-"), "did you mean calicoctl-ipam-show?"),
        (("parse", "cni-log", "/no/such/file"), "cannot be read"),
        (("check", "ipam-exhaustd"), "did you mean ipam-exhausted?"),
        (("report", "ipam-exhausted", "no-such-notebook"), "no-such-notebook"),
        (("lab", "no-such-source"), "neither a file or directory"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_2(words: tuple[str, ...], said: str) -> None:
    done = run(*words, text="")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert "Traceback" not in done.stderr


def test_help_of_check_says_what_v_shows_and_what_3_means() -> None:
    said = " ".join(run("check", "--help").stdout.split())
    assert "Show the rows that each cause rests on, and the traceback of a fault of calicokit." in said
    assert "for some nodes or all, or a check failed through a fault of calicokit" in said


def test_help_of_every_command() -> None:
    done = run("--help")
    for command in ("check", "table", "parse", "incidents", "report", "lab"):
        assert command in done.stdout
        assert run(command, "--help").returncode == 0
    assert run("--version").stdout.startswith("calicokit ")


def test_text_of_a_cluster_cannot_steer_the_terminal(tmp_path: Path) -> None:
    recording = unpacked(tmp_path, "ipam-exhausted")
    file = recording / "api" / "crd.projectcalico.org_v1_ippools.json"
    file.write_text(file.read_text().replace('"default-ipv4-ippool"', '"evil\\u001b[2J\\u0007[red]pool[/red]"'))
    done = run("check", str(recording))
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "[red]pool[/red]" in done.stdout


def test_csv_steers_neither_a_terminal_nor_a_spreadsheet(tmp_path: Path) -> None:
    recording = unpacked(tmp_path, "ipam-exhausted")
    file = recording / "api" / "crd.projectcalico.org_v1_ippools.json"
    formula = '=HYPERLINK(\\"http://x\\")\\u001b[2J'
    file.write_text(file.read_text().replace('"default-ipv4-ippool"', f'"{formula}"'))
    done = run("table", str(recording), "ipam.pools", "--format", "csv")
    (row,) = [r for r in csv.DictReader(io.StringIO(done.stdout)) if "HYPERLINK" in r["pool"]]
    assert row["pool"] == '\'=HYPERLINK("http://x") [2J'
    assert "\x1b" not in done.stdout


def test_a_fault_of_the_command_is_one_sentence_and_2() -> None:
    code = "import calicokit.cli as c; c.app = lambda: 1 / 0; c.main()"
    env = {k: v for k, v in os.environ.items() if k != RAISES}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 2
    assert done.stderr.startswith("calicokit: a fault of calicokit")
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m calicokit table ipam-leaked ipam.block_map --format csv | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("pool,")
    assert done.stderr == ""


def test_ctrl_c_stops_without_a_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "calicokit", "parse", "cni-log", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as job:  # fmt: skip
        time.sleep(3)
        os.kill(job.pid, signal.SIGINT)
        _, errors = job.communicate(timeout=30)
    assert job.returncode == 130
    assert "Traceback" not in errors


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, calicokit; heavy = {'pandas', 'numpy', 'plotly', 'kubernetes', 'networkx', 'rich', 'typer'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_narrow_terminal_names_the_columns_that_do_not_fit() -> None:
    texts = {"node": ["n1"], "address": ["10.0.0.1"], "cause": ["x" * 500], "more": ["y"]}
    assert terminal._fitting(texts, 10_000) == list(texts)
    assert terminal._fitting(texts, 40) == ["node", "address"]
    assert terminal._fitting(texts, 5) == ["node"]

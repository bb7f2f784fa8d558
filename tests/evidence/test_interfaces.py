"""Evidence of each interface: the catalog's fixed loops, run by a real bash with stand-ins for the image's programs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from calicokit.evidence.catalog import CATALOG, OF_EBPF, Command
from calicokit.evidence.commands import TOOLS
from calicokit.evidence.live.execute import Ran
from calicokit.parsers.base import parse

pytestmark = pytest.mark.skipif(not Path("/sys/class/net/lo").exists(), reason="Linux only: names are read from /sys")

TOOL = '#!/bin/sh\necho "IfaceName: $6$4"\n'
"""Prints the interface that it was asked for, as a policy's dump begins: the fourth or the sixth word."""


def run(argv: tuple[str, ...], tools: dict[str, str], at: Path) -> Ran:
    for name, text in tools.items():
        (at / name).write_text(text)
        (at / name).chmod(0o755)
    path = f"{at}:/usr/bin:/bin"
    done = subprocess.run(argv, capture_output=True, env={**os.environ, "PATH": path}, timeout=20, check=False)
    return Ran(bytearray(done.stdout), bytearray(done.stderr), done.returncode)


def argvs(id_: str) -> tuple[tuple[str, ...], ...]:
    how = CATALOG[id_].how
    assert isinstance(how, Command)
    return how.argvs


def test_each_interface_is_asked_for_by_whichever_program_the_image_has(tmp_path: Path) -> None:
    names = sorted(p.name for p in Path("/sys/class/net").iterdir() if p.is_dir())
    old, new = argvs("bpf-policy")
    calico = TOOL.replace("$6$4", "$6")
    absent = run(old, {"calico": calico}, tmp_path)
    assert absent.exit == 127
    assert absent.absent  # then the next alternative is tried
    ran = run(new, {"calico": calico}, tmp_path)
    assert ran.exit == 0
    assert re.findall(r"IfaceName: (\S+)", ran.stdout.decode()) == names
    ran = run(old, {"calico-node": TOOL.replace("$6$4", "$4")}, tmp_path)
    assert re.findall(r"IfaceName: (\S+)", ran.stdout.decode()) == names


def test_what_the_loop_over_filters_prints_is_read_with_its_interfaces(tmp_path: Path) -> None:
    tc = '#!/bin/sh\n[ "$5" = lo ] && [ "$6" = egress ] && echo "filter protocol all pref 1 bpf chain 0"\nexit 0\n'
    (argv,) = argvs("tc-filter")
    ran = run(argv, {"tc": tc}, tmp_path)
    assert ran.exit == 0
    frame = parse("tc-filter", ran.stdout.decode(), strict=True).frame
    assert frame[["interface", "parent", "kind"]].to_numpy().tolist() == [["lo", "egress", "bpf"]]


def test_no_words_of_a_cluster_are_in_a_shell_and_a_shell_is_no_tool() -> None:
    shells = [i.id for i in CATALOG.values() if isinstance(i.how, Command) and any(a[0] == "bash" for a in i.how.argvs)]
    assert set(shells) == {"bpf-policy", "tc-filter"}
    assert "bash" not in TOOLS
    assert {"bpf-policy", "tc-filter", "bpftool-net", "bpf-nat"} <= OF_EBPF

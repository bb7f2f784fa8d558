"""The commands of acts, run for real: on files, and in a network namespace that the test makes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Thread

import pytest

from calicokit.acts import loglevel, model, trace
from calicokit.acts.model import Execute, delayed
from calicokit.acts.run import perform
from calicokit.evidence.live.execute import Ran
from calicokit.parsers.base import parse
from tests.acts.fake import Pod, ran

NETNS = "calicokit-test"


def local(argv: Sequence[str], limit: float, stop: Event) -> Ran:
    """Run here as a pod's runtime would, with no terminal."""
    job = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    end = time.monotonic() + limit
    while job.poll() is None and not stop.is_set() and time.monotonic() < end:
        time.sleep(0.02)
    failed = "" if job.poll() is not None else "stopped"
    if failed:
        job.terminate()
    out, err = job.communicate()
    return Ran(bytearray(out), bytearray(err), None if failed else job.returncode, failed)


needs_find = pytest.mark.skipif(
    not all(map(shutil.which, ("find", "timeout", "sed"))), reason="find, timeout or sed of GNU is not installed here"
)


@needs_find
def test_the_log_level_in_a_file_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "felix.cfg"
    before = "[global]\nMetadataAddr = None\nLogSeveritySys = None\n"
    file.write_text(before)
    monkeypatch.setattr(loglevel, "FILE", str(file))
    seen: list[str] = []
    pod = Pod(**{"/proc/1/environ": ran(exit=1), "sv status": ran(b"run: felix\n"), "sv hup": ran()})

    def execute(argv: Sequence[str], limit: float, stop: Event) -> Ran:
        return local(argv, limit, stop) if argv[0] in ("sed", "grep", "timeout") and "environ" not in argv[-1] else pod(
            argv, limit, stop
        )  # fmt: skip

    def look(_: float) -> None:
        time.sleep(0.2)
        seen.append(file.read_text())

    plan = loglevel.plan(("n", "p"), "node-1", "debug", 0.01, "3f2a", execute)
    perform(plan, execute, lambda _: None, look)
    assert seen == [before, f"{before}# calicokit 3f2a\nLogSeverityScreen = DEBUG\n"]
    assert file.read_text() == before


@needs_find
def test_the_timer_undoes_it_though_its_runtime_is_killed(tmp_path: Path) -> None:
    file, done = tmp_path / "felix.cfg", tmp_path / "done"
    file.write_text("[global]\n# calicokit 3f2a\nLogSeverityScreen = DEBUG\nX = 1\n")
    undo = ("sed", "-i", "-e", "/^# calicokit 3f2a$/,+1d", str(file))
    step = delayed(1, ("grep", "-q", "^# calicokit 3f2a$", str(file)), undo, ("touch", str(done)))
    job = subprocess.Popen(step.argv, stdout=subprocess.PIPE)  # as where the connection's end kills what was started
    time.sleep(0.3)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    deadline = time.monotonic() + 10
    while not done.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert file.read_text() == "[global]\nX = 1\n"


@needs_find
def test_a_timer_whose_act_was_undone_does_nothing(tmp_path: Path) -> None:
    file, done = tmp_path / "felix.cfg", tmp_path / "done"
    file.write_text("[global]\n")
    step = delayed(0, ("grep", "-q", "^# calicokit 3f2a$", str(file)), ("touch", str(done)))
    subprocess.run(step.argv, check=True, timeout=20)
    assert not done.exists()
    both = delayed(0, ("false",), ("touch", str(done)), all_of_them=True)
    subprocess.run(both.argv, check=True, timeout=20)
    assert done.exists()


# ---- traces, in a network namespace of the test's own


@pytest.fixture
def netns() -> Iterator[Execute]:
    if os.geteuid() != 0:
        pytest.skip("a network namespace takes root")
    if (
        not shutil.which("ip")
        or subprocess.run(["ip", "netns", "add", NETNS], capture_output=True, check=False).returncode
    ):
        pytest.skip("no network namespace can be made here")

    def inside(argv: Sequence[str], limit: float, stop: Event) -> Ran:
        return local(["ip", "netns", "exec", NETNS, *argv], limit, stop)

    try:
        inside(["ip", "link", "set", "lo", "up"], 5, Event())
        yield inside
    finally:
        subprocess.run(["ip", "netns", "del", NETNS], check=False)


def connecting(after: float = 0) -> None:
    """Try a connection inside the namespace: nobody listens, so packets go both ways."""
    time.sleep(after)
    code = "import socket\ns = socket.socket(); s.settimeout(1)\nprint(s.connect_ex(('127.0.0.2', 8080)))"
    for _ in range(2):
        time.sleep(0.7)
        subprocess.run(
            ["ip", "netns", "exec", NETNS, "python3", "-c", code], capture_output=True, check=False, timeout=10
        )


def needed(*tools: str) -> None:
    missing = [t for t in tools if not shutil.which(t)]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")


FLOW = trace.Flow("127.0.0.1", "127.0.0.2", 8080)


def traced(execute: Execute) -> None:
    plan = trace.plan(("n", "p"), "node-1", FLOW, 2, "3f2a", execute)
    thread = Thread(target=connecting, args=(2.0,))
    thread.start()
    outcome = perform(plan, execute, lambda _: None)
    thread.join()
    assert (outcome.failed, outcome.left) == ("", [])
    frame = parse("nft-trace", trace.traces(plan, outcome.output)[1], strict=True).frame
    packets = frame[frame["event"] == "packet"]
    assert {("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")} <= set(
        zip(packets["source"], packets["destination"], strict=True)
    )
    assert 8080 in set(packets["destination_port"])
    assert len(frame[frame["event"] == "rule"])


def test_a_trace_by_nft(netns: Execute) -> None:
    needed("nft", "iptables-legacy-save")
    traced(netns)
    assert netns(("nft", "list", "ruleset"), 5, Event()).stdout.strip() == b""


def test_a_flow_in_nft_is_forgotten_by_itself(netns: Execute) -> None:
    needed("nft", "iptables-legacy-save")
    (step,) = trace.plan(("n", "p"), "node-1", FLOW, 2, "3f2a", netns).steps
    soon = (step.argv[0], step.argv[1].replace("timeout 32s", "timeout 1s"))
    assert netns(soon, 5, Event()).exit == 0
    assert b"127.0.0.1 . 127.0.0.2" in netns(("nft", "list", "ruleset"), 5, Event()).stdout
    time.sleep(1.5)
    assert b"127.0.0.1" not in netns(("nft", "list", "ruleset"), 5, Event()).stdout


def test_a_trace_by_iptables_nft(netns: Execute) -> None:
    needed("iptables-nft", "xtables-monitor", "iptables-legacy-save")

    def execute(argv: Sequence[str], limit: float, stop: Event) -> model.Ran:
        return ran(exit=127) if argv[0] == "nft" else netns(argv, limit, stop)

    traced(execute)
    assert b"calicokit" not in netns(("iptables-nft", "-t", "raw", "-S"), 5, Event()).stdout


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_a_rule_of_iptables_stops_to_match_by_itself(tool: str, netns: Execute) -> None:
    needed(tool)
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    steps, _, _ = trace._iptables(tool, FLOW, now, 2, "3f2a")
    for step in steps:
        assert netns(step.argv, 5, Event()).exit == 0

    def hits() -> list[bytes]:
        lines = netns((tool, "-t", "raw", "-S", "PREROUTING", "-v"), 5, Event()).stdout.splitlines()
        return [bytes(line) for line in lines if line.startswith(b"-A")]

    connecting()
    time.sleep(2)
    before = hits()
    assert len(before) == 2
    assert not any(b"-c 0 0" in line for line in before)
    connecting()
    assert hits() == before
    for step in steps:
        assert netns(step.undo, 5, Event()).exit == 0
    assert hits() == []


def test_the_timer_removes_what_is_left(netns: Execute) -> None:
    needed("nft", "iptables-legacy-save")
    plan = trace.plan(("n", "p"), "node-1", FLOW, 2, "3f2a", netns)
    assert netns(plan.steps[0].argv, 5, Event()).exit == 0
    soon = delayed(1, *(s.undo for s in plan.steps), all_of_them=True)
    assert netns(soon.argv, 20, Event()).exit == 0
    assert netns(("nft", "list", "ruleset"), 5, Event()).stdout.strip() == b""

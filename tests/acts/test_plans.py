"""What each act would run, word for word; and that it is undone on success, on errors, on Ctrl-C."""

from __future__ import annotations

import ipaddress
from threading import Event

import pytest

from calicokit.acts import loglevel, probe, trace
from calicokit.acts.model import ActError, Plan, delayed
from calicokit.acts.run import perform
from calicokit.evidence.live.api import ApiError
from tests.acts.fake import Pod, ran, until_stopped

POD = ("calico-system", "calico-node-x")
TAKE_BACK = ("sed", "-i", "-e", "/^# calicokit 3f2a$/,+1d", "/etc/calico/felix.cfg")
HUP = ("sv", "hup", "/etc/service/enabled/felix")


def quiet(_: str) -> None:
    """Say nothing."""


def no_wait(_: float) -> None:
    """Do not wait."""


def settled(_: float) -> None:
    Event().wait(0.2)


def interrupted(seconds: float) -> None:
    if seconds > 1:
        raise KeyboardInterrupt


def node(**answers: object) -> Pod:
    """A calico-node pod in which the log level can be raised."""
    usual = {
        "/proc/1/environ": ran(exit=1),
        "LogSeverityScreen /etc": ran(exit=1),
        "sv status": ran(b"run: /etc/service/enabled/felix: (pid 77) 5s\n"),
        "timeout": until_stopped(),
    }
    return Pod(**{**answers, **usual})  # type: ignore[arg-type]


def raised(pod: Pod, minutes: float = 5, level: str = "debug") -> Plan:
    return loglevel.plan(POD, "node-1", level, minutes, "3f2a", pod)


# ---- the log level


def test_the_plan_of_a_log_level_says_all_and_changes_nothing() -> None:
    pod = node()
    plan = raised(pod)
    assert {a[0] for a in pod.ran} == {"grep", "sv"}
    assert pod.did("sv") == [("sv", "status", "/etc/service/enabled/felix")]
    text = "\n".join(plan.lines())
    for words in (
        "Felix on node-1, twice",
        "felix.cfg",
        "pods/exec in namespace calico-system",
        "if the kit dies",
        "sv hup",
    ):
        assert words in text
    assert [s.argv for s in plan.steps] == [
        ("sed", "-i", "-e", "$ a # calicokit 3f2a\\nLogSeverityScreen = DEBUG", "/etc/calico/felix.cfg"),
        HUP,
    ]
    assert [s.undo for s in plan.steps] == [TAKE_BACK, HUP]
    assert plan.timer is not None
    assert plan.timer.argv == (
        *("timeout", "390", "find", "/dev/null", "-maxdepth", "0", "-exec", "sleep", "330", ";"),
        *("-exec", "grep", "-q", "^# calicokit 3f2a$", "/etc/calico/felix.cfg", ";"),
        *("-exec", *TAKE_BACK, ";", "-exec", *HUP, ";"),
    )
    assert "sh" not in [word for step in (*plan.steps, plan.timer) for word in step.argv]


def test_a_log_level_is_raised_and_taken_back() -> None:
    pod = node()
    outcome = perform(raised(pod), pod, quiet, no_wait)
    assert (outcome.failed, outcome.left) == ("", [])
    changes = [a for a in pod.ran if a[0] in ("timeout", "sed") or a[:2] == ("sv", "hup")]
    assert [a[0] for a in changes] == ["timeout", "sed", "sv", "sed", "sv"]  # the timer is first
    assert changes[-2:] == [TAKE_BACK, HUP]


def test_ctrl_c_takes_it_back() -> None:
    pod = node()
    outcome = perform(raised(pod), pod, quiet, interrupted)
    assert outcome.interrupted
    assert pod.ran[-2:] == [TAKE_BACK, HUP]
    assert outcome.left == []


def test_a_step_that_failed_half_way_is_undone_as_far_as_it_came() -> None:
    pod = node(**{"sv hup": ran(exit=1, stderr=b"unable to connect to supervise")})
    outcome = perform(raised(pod), pod, quiet, no_wait)
    assert "supervise" in outcome.failed
    assert pod.ran[-1] == TAKE_BACK  # Felix was never restarted, so it need not be again
    assert outcome.left == []


def test_a_first_step_that_failed_leaves_nothing_to_undo() -> None:
    pod = node(sed=ran(exit=4, stderr=b"couldn't open temporary file: Read-only file system"))
    outcome = perform(raised(pod), pod, quiet, no_wait)
    assert "Read-only" in outcome.failed
    assert pod.did(*TAKE_BACK) == []
    assert outcome.left == []


def test_a_step_whose_end_is_not_known_is_undone() -> None:
    pod = node(**{"$ a #": ran(exit=None, failed="the connection broke off")})
    outcome = perform(raised(pod), pod, quiet, no_wait)
    assert "broke off" in outcome.failed
    assert pod.did(*TAKE_BACK)


@pytest.mark.parametrize("error", [ApiError(503, "away"), RuntimeError("x"), OSError("y")])
def test_an_error_of_any_kind_is_undone(error: Exception) -> None:
    pod = node(**{"$ a #": error})
    outcome = perform(raised(pod), pod, quiet, no_wait)
    assert outcome.failed
    assert pod.did(*TAKE_BACK)


def test_what_could_not_be_undone_is_said_with_its_command() -> None:
    pod = node(**{",+1d": ran(exit=None, failed="no end within 15 s")})
    outcome = perform(raised(pod), pod, quiet, no_wait)
    assert outcome.left == [
        "sed -i -e '/^# calicokit 3f2a$/,+1d' /etc/calico/felix.cfg (no end within 15 s)",
    ]
    assert pod.ran[-1] == HUP  # the other step was tried all the same


def test_nothing_is_changed_where_the_timer_cannot_run() -> None:
    pod = node()
    pod.answers["timeout"] = ran(exit=127, stderr=b"find: No such file or directory")
    with pytest.raises(ActError, match="nothing was changed"):
        perform(raised(pod), pod, quiet, settled)
    assert pod.did("sed") == []
    assert pod.did("sv", "hup") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"/proc/1/environ": ran(b"1\n")}, "restarts all nodes"),
        ({"LogSeverityScreen /etc": ran(b"1\n")}, "already"),
        ({"LogSeverityScreen /etc": ran(exit=2, stderr=b"No such file")}, "No such file"),
        ({"sv status": ran(exit=1)}, "not run by runit"),
        ({"sv status": ran(b"down: felix: 3s\n")}, "not run by runit"),
    ],
)
def test_a_log_level_is_refused_where_it_would_not_work(change: dict[str, object], words: str) -> None:
    pod = node()
    pod.answers.update(change)  # type: ignore[arg-type]
    with pytest.raises(ActError, match=words):
        raised(pod)


@pytest.mark.parametrize(("minutes", "level"), [(0, "debug"), (61, "debug"), (5, "loud"), (5, "debug; rm -rf /")])
def test_a_log_level_is_refused_where_it_makes_no_sense(minutes: float, level: str) -> None:
    with pytest.raises(ActError):
        raised(node(), minutes, level)


# ---- the trace

FLOW = trace.Flow("10.48.0.5", "10.96.0.10", 53, "udp")


def traced(pod: Pod, flow: trace.Flow = FLOW, seconds: int = 30) -> Plan:
    return trace.plan(POD, "node-1", flow, seconds, "3f2a", pod)


def test_the_plan_of_a_trace_by_nft() -> None:
    plan = traced(Pod(**{"iptables-legacy-save": ran(b"*raw\n:PREROUTING ACCEPT [0:0]\n")}))
    (step,) = plan.steps
    assert step.argv[0] == "nft"
    script = step.argv[1].split(" ; add ")
    assert len(step.argv) == 2
    assert script[0] == "add table ip calicokit_3f2a"
    assert "element ip calicokit_3f2a there { 10.48.0.5 . 10.96.0.10 . udp . 53 timeout 60s }" in script
    assert "element ip calicokit_3f2a back { 10.96.0.10 . 10.48.0.5 . udp . 53 timeout 60s }" in script
    assert len([w for w in script if w.startswith("rule ")]) == 4
    assert all(
        "limit rate 20/second" in w and w.endswith("meta nftrace set 1") for w in script if w.startswith("rule ")
    )
    assert step.undo == ("nft", "delete", "table", "ip", "calicokit_3f2a")
    assert plan.reader is not None
    assert plan.reader.argv == ("timeout", "40", "nft", "-n", "monitor", "trace")
    assert plan.timer is not None
    assert plan.timer.argv[-8:] == (",", "-exec", *step.undo, ";")


def test_the_plan_of_a_trace_by_iptables() -> None:
    pod = Pod(**{
        "nft --version": ran(exit=None, failed='exec: "nft": executable file not found in $PATH'),
        "date -u": ran(b"2026-11-25T10:00:00\n"),
    })  # fmt: skip
    plan = traced(pod)
    assert plan.steps[0].argv == (
        *("iptables-nft", "-w", "5", "-t", "raw", "-I", "PREROUTING", "1", "-s", "10.48.0.5/32", "-d", "10.96.0.10/32"),
        *("-p", "udp", "-m", "udp", "--dport", "53", "-m", "time", "--datestop", "2026-11-25T10:01:00"),
        *("-m", "limit", "--limit", "20/second", "--limit-burst", "40"),
        *("-m", "comment", "--comment", "calicokit-3f2a", "-j", "TRACE"),
    )
    for step in plan.steps:
        assert step.undo == (*step.argv[:5], "-D", step.argv[6], *step.argv[8:])
    assert [s.argv[6] for s in plan.steps] == ["PREROUTING", "PREROUTING", "OUTPUT", "OUTPUT"]
    assert plan.reader is not None
    assert plan.reader.argv[2:] == ("xtables-monitor", "--trace")
    assert plan.timer is not None
    assert plan.timer.argv.count(",") == 4  # each is tried, whatever became of the others
    assert "out-of-sync inserts" in "\n".join(plan.lines())


def test_legacy_rules_are_traced_in_the_kernels_log() -> None:
    pod = Pod(**{
        "iptables-legacy-save": ran(b"*raw\n:PREROUTING ACCEPT [0:0]\n:cali-PREROUTING - [0:0]\n"),
        "date -u": ran(b"2026-11-25T10:00:00\n"),
    })  # fmt: skip
    plan = traced(pod)
    assert {s.argv[0] for s in plan.steps} == {"iptables-legacy"}
    assert "nf_log" in "\n".join(plan.lines())
    kind, text = trace.traces(plan, "6,1,2,-;TRACE: raw:PREROUTING:rule:1 IN=eth0 OUT= SRC=10.0.0.1\n6,2,3,-;other\n")
    assert (kind, text) == ("dmesg", "TRACE: raw:PREROUTING:rule:1 IN=eth0 OUT= SRC=10.0.0.1")


def test_a_trace_of_ipv6() -> None:
    flow = trace.Flow("fd00::5", "fd00:1::a", 443)
    script = traced(Pod(legacy=ran(exit=1)), flow).steps[0].argv[1]
    assert "add table ip6 calicokit_3f2a" in script
    assert "type ipv6_addr . ipv6_addr" in script
    old = Pod(nft=ran(exit=127), date=ran(b"2026-11-25T10:00:00\n"), legacy=ran(exit=1))
    step = traced(old, flow).steps[0]
    assert step.argv[0] == "ip6tables-nft"
    assert "fd00::5/128" in step.argv


def test_a_node_without_a_clock_is_not_traced_by_iptables() -> None:
    with pytest.raises(ActError, match="clock"):
        traced(Pod(nft=ran(exit=127), date=ran(b"?")))


@pytest.mark.parametrize(
    "words",
    [
        ("10.0.0.1", "fd00::1", 80, "tcp"),
        ("10.0.0.1; flush ruleset", "10.0.0.2", 80, "tcp"),
        ("10.0.0.1", "10.0.0.2", 0, "tcp"),
        ("10.0.0.1", "10.0.0.2", 80, "icmp"),
        ("10.0.0.0/8", "10.0.0.2", 80, "tcp"),
    ],
)
def test_a_flow_that_makes_no_sense_is_refused(words: tuple[str, str, int, str]) -> None:
    with pytest.raises(ActError):
        trace.Flow(*words)


@pytest.mark.parametrize("seconds", [0, 301])
def test_a_trace_has_its_bounds(seconds: int) -> None:
    with pytest.raises(ActError):
        traced(Pod(), seconds=seconds)


def test_a_trace_is_read_and_removed() -> None:
    lines = b"trace id 1f ip filter INPUT policy drop\n"
    pod = Pod(**{"monitor trace": until_stopped(lines), "timeout": until_stopped()})
    outcome = perform(traced(pod), pod, quiet, no_wait)
    assert outcome.output.encode() == lines
    assert pod.ran[-1] == ("nft", "delete", "table", "ip", "calicokit_3f2a")
    assert outcome.left == []


def test_only_the_rules_that_were_put_are_removed() -> None:
    pod = Pod(timeout=until_stopped())
    pod.answers["nft --version"] = ran(exit=127)
    pod.answers["date -u"] = ran(b"2026-11-25T10:00:00\n")
    pod.answers["-I OUTPUT"] = ran(exit=2, stderr=b"No chain/target/match by that name")
    outcome = perform(traced(pod), pod, quiet, no_wait)
    assert "No chain" in outcome.failed
    assert [a[6] for a in pod.ran if "-D" in a and a[0] == "iptables-nft"] == ["PREROUTING", "PREROUTING"]


# ---- the probe


def test_the_plan_of_a_probe() -> None:
    plan = probe.plan(("shop", "cart-1"), "cart", "10.48.0.7", 8080, 3, "nc")
    assert plan.steps[0].argv == ("nc", "-z", "-v", "-w", "3", "10.48.0.7", "8080")
    assert plan.timer is None
    text = "\n".join(plan.lines())
    assert "ephemeral container" in text
    assert "pods/exec in namespace shop" in text


def test_the_tools_of_a_probe() -> None:
    six = ipaddress.ip_address("fd00::7")
    assert probe.argv("curl", six, 80, 3)[-1] == "http://[fd00::7]:80/"
    assert probe.argv("wget", six, 80, 3) == ("wget", "-q", "-T", "3", "-O", "/dev/null", "http://[fd00::7]:80/")
    missing = ran(exit=None, failed='exec: "nc": executable file not found in $PATH')
    assert probe.tool_of(Pod(nc=missing, curl=ran(exit=127), wget=ran(exit=1))) == "wget"
    with pytest.raises(ActError, match="kubectl debug"):
        probe.tool_of(Pod(nc=missing, curl=missing, wget=missing))


@pytest.mark.parametrize(
    ("tool", "status", "said", "verdict"),
    [
        ("nc", 0, "10.0.0.1 (10.0.0.1:80) open", "connected"),
        ("nc", 1, "nc: connect to 10.0.0.1 port 80 (tcp) failed: Connection refused", "refused"),
        ("nc", 1, "nc: 10.0.0.1 (10.0.0.1:80): Connection timed out", "timed out"),
        ("nc", 1, "", "timed out"),
        ("nc", 1, "nc: bad address", "unknown"),
        ("curl", 0, "", "connected"),
        ("curl", 7, "curl: (7) Failed to connect to 10.0.0.1 port 80 after 0 ms: Connection refused", "refused"),
        ("curl", 28, "curl: (28) Connection timed out after 3001 milliseconds", "timed out"),
        ("curl", 28, "curl: (28) Operation timed out after 3001 milliseconds with 0 bytes received", "unknown"),
        ("curl", 52, "curl: (52) Empty reply from server", "connected"),
        ("curl", 7, "curl: (7) connect to 10.0.0.1 port 80 failed: No route to host", "unreachable"),
        ("wget", 1, "wget: server returned error: HTTP/1.1 404 Not Found", "connected"),
        ("wget", 1, "wget: can't connect to remote host (10.0.0.1): Connection refused", "refused"),
        ("wget", 1, "wget: download timed out", "timed out"),
        ("wget", 4, "", "unknown"),
    ],
)
def test_what_tools_say_of_a_connection(tool: str, status: int, said: str, verdict: str) -> None:
    assert probe.verdict(tool, ran(exit=status, stderr=said.encode())) == verdict


@pytest.mark.parametrize(("address", "port", "seconds"), [("shop", 80, 3), ("10.0.0.1", 0, 3), ("10.0.0.1", 80, 99)])
def test_a_probe_that_makes_no_sense_is_refused(address: str, port: int, seconds: int) -> None:
    with pytest.raises(ActError):
        probe.plan(("a", "b"), "c", address, port, seconds, "nc")


def test_a_probe_undoes_nothing() -> None:
    pod = Pod(nc=ran(exit=1, stderr=b"refused"))
    outcome = perform(probe.plan(("a", "b"), "c", "10.0.0.1", 80, 3, "nc"), pod, quiet, no_wait)
    assert len(pod.ran) == 1
    assert outcome.last is not None


def test_delayed_commands_take_no_shell() -> None:
    step = delayed(5, ("a", "b"), ("c",))
    assert step.argv[-6:] == ("a", "b", ";", "-exec", "c", ";")
    assert step.limit == 65

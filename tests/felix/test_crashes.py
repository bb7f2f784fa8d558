"""A Felix that ends by a fault of its own: what is found, and what its last words mean, in Felix's own words.

Words: the files named in calicokit/felix/state/crashes.py; iptables' and nft's answers as users posted them.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from calicokit import registry
from calicokit.diagnosis.model import Finding, finding
from calicokit.diagnosis.ranking import rank
from tests.felix.sick import CONFIG, EXIT, REFUSED, START, TERM, UP, Sick
from tests.only import only

registry.load()
NODE, MESH = "node-3", "healthy-bgp-mesh"

REVISION = (
    "ERROR felix/ipsets.go 671: Bad return code from 'ipset list cali40this-host'. error=exit status 1 "
    'family="inet" stderr="ipset v7.11: Kernel and userspace incompatible: settype hash:ip with revision 6 not '
    'supported by userspace.\\n"',
    'PANIC felix/ipsets.go 379: Failed to update IP sets after multiple retries. family="inet"',
)
MODULE = (
    "WARNING felix/table.go 1543: Failed to execute ip(6)tables-restore command error=exit status 3 "
    "errorOutput=\"iptables-restore v1.8.8 (legacy): iptables-restore: unable to initialize table 'raw'\\n"
    "can't initialize iptables table `raw': Table does not exist (do you need to insmod?)\\n\" ipVersion=0x4",
    "PANIC felix/table.go 1184: Failed to program iptables, giving up after retries error=exit status 3",
)
NFT = (
    "ERROR felix/table.go 1008: iptables-save failed because there are incompatible nft rules in the table.  Remove "
    'the nft rules to continue. table="filter"',
    "PANIC felix/table.go 909: iptables-nft-save command failed after retries",
)
LOCK = (
    'WARNING felix/table.go 1543: Failed to execute ip(6)tables-restore command errorOutput="Another app is currently '
    'holding the xtables lock. Perhaps you want to use the -w option?\\n"',
    "PANIC felix/table.go 1184: Failed to program iptables, giving up after retries error=exit status 4",
)


def crashed(*lines: str, ago: float = 40) -> Sick:
    told = [(ago - i / 10, line) for i, line in enumerate(lines)]
    return Sick(MESH).said("felix-log", NODE, (ago + 5, START), pid=77).said("felix-log", NODE, *told, pid=77)


@pytest.mark.parametrize(
    ("lines", "why", "said"),
    [
        (REVISION, "ipset-revision", "revision"),
        (MODULE, "iptables-module-missing", "modprobe"),
        (NFT, "nft-incompatible", "nft list ruleset"),
        (LOCK, "unknown", "xtables lock"),
        (
            ["PANIC felix/int_dataplane.go 596: Unable to detect host MTU, shutting down error=no interfaces"],
            "configuration",
            "mtuIfacePattern",
        ),
        (["PANIC felix/driver.go 148: Not enough mark bits available. acceptMark=0x0"], "configuration", "field"),
        (
            ["PANIC felix/int_dataplane.go 1086: error creating bpf maps error=mount /sys/fs/bpf: denied"],
            "bpf-load-failed",
            "mounted",
        ),
        (["FATAL felix/bpf_ep_mgr.go 1431: Failed to configure BPF devices error=x"], "bpf-load-failed", "eBPF"),
        (
            ["PANIC felix/feature_detect_linux.go 131: Failed to do netlink feature detection. error=EOPNOTSUPP"],
            "kernel-feature-missing",
            "uname",
        ),
        (["PANIC felix/l3_route_resolver.go 1120: BUG: Asked to decref a workload past 0."], "unknown", "issues"),
    ],
)
def test_its_last_words_tell_why(lines: list[str], why: str, said: str) -> None:
    (found,) = only(crashed(*lines).answering(NODE, 1, REFUSED).cluster(), "felix-crashing")
    assert (found.severity, found.subject) == ("critical", {"node": NODE, "why": why})
    assert said in found.cause + found.remedy


def test_a_panic_of_go_itself_is_one() -> None:
    line = "INFO felix/x.go 1: Applying\npanic: runtime error: index out of range [3] with length 3\n\ngoroutine 1:"
    (found,) = only(crashed(line).answering(NODE, 1, REFUSED).cluster(), "felix-crashing")
    assert found.subject["why"] == "unknown"
    assert "index out of range" in found.cause


@pytest.mark.parametrize("lines", [[TERM, EXIT], CONFIG])
def test_a_signal_and_a_wanted_restart_are_none(lines: list[str]) -> None:
    assert only(crashed(*lines).answering(NODE, 1, REFUSED).cluster(), "felix-crashing") == []


def test_one_crash_from_which_it_came_back_is_past() -> None:
    sick = crashed(*REVISION).said("felix-log", NODE, (30, START), (29, UP), pid=78)
    assert only(sick.cluster(), "felix-crashing") == []
    sick = crashed(*REVISION)  # its log was read before it came back, and its port says ready
    assert only(sick.cluster(), "felix-crashing") == []


def test_crashes_again_and_again_are_told_though_it_runs_now() -> None:
    sick = crashed(*REVISION, ago=200).said("felix-log", NODE, (190, START), (189, UP), pid=78)
    sick.said("felix-log", NODE, (60.1, REVISION[0]), (60, REVISION[1]), pid=78)
    sick.said("felix-log", NODE, (50, START), (49, UP), pid=79)
    (found,) = only(sick.cluster(), "felix-crashing")
    assert "2 times" in found.cause


def test_it_heads_the_dead_felix_and_the_failing_programming() -> None:
    sick = crashed(*MODULE, ago=45).answering(NODE, 1, REFUSED)
    sick.later = timedelta(seconds=10)
    found = only(sick.cluster(), "felix-crashing", "felix-dead", "dataplane-program-failing")
    assert [(f.id, f.explained_by) for f in found if not f.depth] == [("felix-crashing", "")]
    assert {f.id for f in found} == {"felix-crashing", "felix-dead", "dataplane-program-failing"}


def test_explanations() -> None:
    def made(id_: str, **subject: object) -> Finding:
        return finding(id_, subject=subject, cause="calico-node", remedy="-")

    cause = made("felix-crashing", node=NODE, why="unknown")
    for effect in (
        made("felix-not-ready", node=NODE, why="just-ended"),
        made("dataplane-stale", node=NODE, policy="p"),
    ):
        assert [f.explained_by for f in rank([effect, cause])] == ["", "felix-crashing"]
    other = made("felix-not-ready", node="node-1", why="just-ended")
    assert [f.explained_by for f in rank([other, cause])] == ["", ""]

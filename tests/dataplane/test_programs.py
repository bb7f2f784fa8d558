"""BPF programs beside the interfaces that must have them, and their counters: a recording as if in eBPF mode.

What the real tool prints is in ``tests/parsers/samples/bpftool-net.txt``, in layout; on the recordings healthy-ebpf and
ebpf-workload-program-deleted, which are not bundled, silence and the one interface were seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from calicokit.diagnosis.model import Finding
from calicokit.evidence.model import Answer, Evidence, Missing, Want, Wrapping
from tests import clusters
from tests.edited import Edited
from tests.only import only

MESH = "healthy-bgp-mesh"


@dataclass
class WithPrograms(Wrapping):
    """A source whose nodes have programs on all interfaces of pods; ``text`` is what a node prints instead."""

    texts: dict[str, str] = field(default_factory=dict)
    counters: tuple[int, ...] = ()
    name: str = "ebpf"

    def gives(self, want: Want) -> bool:
        return want.id == "bpf-counters" or (want.id == "bpftool-net" and not want.series)

    def given(self, want: Want) -> Iterator[Answer]:
        if want.id == "bpf-counters":
            yield from self.counted(want)
            return
        text = self.texts.get(str(want.node), self.printed(str(want.node)))
        yield Evidence(want, text.encode()) if text else Missing(want.id, "no such tool", want.node)

    def counted(self, want: Want) -> Iterator[Answer]:
        """Node-2's counters of its first pod, at the end or in samples before it."""
        now, interface = self.now(), self.printed("node-2").split("(")[0].splitlines()[-1]
        assert now is not None
        if want.node != "node-2" or not self.counters:
            yield Missing(want.id, "no such tool", want.node)
        elif not want.series:
            yield Evidence(want, counted(interface, self.counters[-1]).encode())
        for number, count in enumerate(self.counters[:-1] if want.series and want.node == "node-2" else ()):
            time = now - timedelta(seconds=60 - number)
            yield Evidence(want, counted(interface, count).encode(), path=str(number), time=time)

    def printed(self, node: str) -> str:
        ((_, links),) = self.source.fetch([Want("ip-link-stats", node)])
        assert isinstance(links, Evidence)
        names = re.findall(r"^(\d+): (cali[0-9a-f]{11})@", links.decode(), re.M)
        ways = [f"{name}({n}) tcx/{way} cali_tc_preamble prog_id 9{n}\n" for n, name in names for way in WAYS]
        return f"xdp:\n\ntc:\n{''.join(ways)}\nflow_dissector:\n\nnetfilter:\n"


WAYS = ("ingress", "egress")


def counted(interface: str, count: int) -> str:
    return (
        "+----------+-----------+---------+--------+-----+\n"
        "| CATEGORY | TYPE      | INGRESS | EGRESS | XDP |\n"
        "+----------+-----------+---------+--------+-----+\n"
        "| Accepted | by policy |      12 |      9 | N/A |\n"
        f"| Dropped  | by policy | {count:7} |      0 | N/A |\n"
        "+----------+-----------+---------+--------+-----+\n"
        f"dumped {interface} counters.\n"
    )


def enabled() -> Edited:
    def enable(item: dict[str, Any]) -> None:
        item["spec"]["bpfEnabled"] = True

    lab = Edited(MESH).objects("felixconfigurations", enable)
    lab.gone |= {("felix-log", node) for node in lab.nodes()}  # in which Felix said otherwise
    return lab


def missing(source: Wrapping | Edited) -> list[Finding]:
    return only(clusters.Sharing(source), "bpf-program-missing")


def test_all_interfaces_have_theirs() -> None:
    cluster = clusters.Sharing(WithPrograms(enabled()))
    table = cluster.dataplane.programs()
    assert len(table) > 20
    assert table["program"].notna().all()
    assert table["pod"].notna().any()
    assert missing(WithPrograms(enabled())) == []


@pytest.mark.parametrize("how", ["tcx", "clsact", "netkit"])
def test_one_that_lacks_a_program_is_named_with_its_pod(how: str) -> None:
    source = WithPrograms(enabled())
    text = source.printed("node-2")
    if how == "clsact":
        text = re.sub(r"tcx/(\w+) cali_tc_preamble prog_id (\d+)", r"clsact/\1 cali_tc_preambl:[\2] id \2", text)
    if how == "netkit":
        text = text.replace("tcx/ingress", "netkit/primary").replace("tcx/egress", "netkit/peer")
    line = next(line for line in text.splitlines() if re.search(r"ingress|primary", line))
    source.texts["node-2"] = text.replace(line + "\n", "")
    (found,) = missing(source)
    assert found.subject == {"node": "node-2", "interface": line.partition("(")[0]}
    assert "has no program of Calico at ingress" in found.cause


def test_another_programs_is_not_calicos() -> None:
    source = WithPrograms(enabled())
    source.texts["node-2"] = source.printed("node-2").replace("cali_tc_preamble", "from_container")
    assert {f.subject["node"] for f in missing(source)} == {"node-2"}


def drops(*counters: int) -> list[Finding]:
    cluster = clusters.Sharing(WithPrograms(enabled(), counters=counters))
    assert cluster.dataplane.bpf_drops()["direction"].tolist() == ["egress"] * bool(counters[-1])
    return [f for f in only(cluster, "policy-drop") if f.evidence[0].id == "bpf-counters"]


def test_what_programs_dropped_while_watched_is_told_of_the_pod() -> None:
    (found,) = drops(5, 9, 30, 70)  # the last is the closing snapshot's
    assert found.severity == "warning"
    assert found.cause.startswith("25 packets from ")
    assert "during sampling, by egress policy (policy programs were not seen)" in found.cause
    assert (found.subject["dst"], found.subject["policy"]) == ("unknown", "unknown")


def test_totals_are_information_and_no_drop_is_nothing() -> None:
    (found,) = drops(7, 7, 9)
    assert (found.severity, found.cause.partition(" ")[0]) == ("info", "9")
    assert drops(0, 0, 0) == []


@pytest.mark.slow
def test_a_node_that_did_not_tell_is_left_out_and_said() -> None:
    found = clusters.Sharing(WithPrograms(enabled(), texts={"node-2": ""})).check()
    assert "node-2" in found.coverage.partly["bpf-program-missing"]


def test_without_ebpf_nobody_asks() -> None:
    found = clusters.checked(MESH)
    assert "bpf-program-missing" in found.coverage.checked
    assert "bpftool-net" not in {m.id for m in found.coverage.missing}

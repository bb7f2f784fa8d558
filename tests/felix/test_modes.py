"""Which dataplane Felix runs on each node, where its settings say one thing and it does another."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from calicokit.evidence.catalog import OF_EBPF
from calicokit.evidence.model import Missing
from calicokit.evidence.recordings.capture import capture
from tests import clusters
from tests.edited import Edited
from tests.only import only

VXLAN = "healthy-ebpf-vxlan"
REFUSED = (
    "2026-11-30 04:15:00.000 [ERROR][4090] felix/daemon.go 1608: BPF dataplane mode enabled but not supported by the "
    "kernel.  Disabling BPF mode. error=bpf mounted filesystem is missing\n"
)


def refusing(node: str = "node-2") -> Edited:
    """The recording, with a Felix on one node whose kernel cannot."""
    return Edited(VXLAN).edit("felix-log", node, lambda text: text + REFUSED)


def mode(frame: pd.DataFrame, node: str) -> str:
    return str(frame[frame["node"] == node]["mode"].iloc[0])


def test_the_environment_switches_it_on_and_each_node_has_its_own_answer() -> None:
    on = clusters.of(VXLAN).felix.modes()
    assert set(on["mode"]) == {"ebpf"}
    assert set(on["origin"]) == {"environment"}  # calico-bpf.yaml's
    assert set(on["attach_type"]) == {"TC"}
    assert set(clusters.of("healthy-bgp-mesh").felix.modes()["mode"]) == {"netfilter"}


def test_a_felix_whose_kernel_cannot_is_half_way() -> None:
    cluster = refusing().cluster()
    modes = cluster.felix.modes()
    assert mode(modes, "node-2") == "half-way"
    assert mode(modes, "node-1") == "ebpf"
    row = modes[modes["node"] == "node-2"].iloc[0]
    assert (row["origin"], row["asked"]) == ("override", "true (environment)")
    assert "bpf mounted filesystem is missing" in row["why"]
    (found,) = only(cluster, "bpf-not-supported")
    assert (found.severity, found.subject) == ("critical", {"node": "node-2"})
    assert "no kube-proxy serves there either" in found.cause


def test_the_word_of_a_run_before_does_not_count() -> None:
    """Felix started anew on a kernel that can, and says nothing of the kind."""

    def restarted(text: str) -> str:
        started = '2026-11-30 04:20:00.000 [INFO][99] felix/daemon.go 133: Felix starting up version="v3.34.0"\n'
        return text + REFUSED + started

    modes = Edited(VXLAN).edit("felix-log", "node-2", restarted).cluster().felix.modes()
    assert mode(modes, "node-2") == "ebpf"


def test_what_a_node_without_ebpf_cannot_have_is_not_asked_for() -> None:
    asked: list[tuple[str, str | None]] = []

    class Watching(Edited):
        def fetch(self, wants):  # type: ignore[no-untyped-def]
            asked.extend((w.id, w.node) for w in wants)
            return super().fetch(wants)

    def everywhere_but_here(item: dict[str, object]) -> None:
        item["spec"] = {**item["spec"], "bpfEnabled": True}  # type: ignore[dict-item]

    plain = Watching("healthy-bgp-mesh").cluster()
    plain.check()
    assert not [a for a in asked if a[0] in OF_EBPF]
    assert not [m for m in plain.coverage.missing if m.id in OF_EBPF]
    asked.clear()
    mixed = Watching("healthy-bgp-mesh").objects("felixconfigurations", everywhere_but_here).cluster()
    mixed.fetch(["dataplane.programs"])
    assert ("bpftool-net", "node-1") in asked


def test_where_the_configuration_is_unknown_all_nodes_are_asked() -> None:
    blind = Edited("healthy-bgp-mesh")
    blind.gone.add(("felixconfigurations", None))
    cluster = blind.cluster()
    unknown = cluster.dataplane.bpf_services().unknown
    assert {m.node for m in unknown if m.id == "bpf-nat"} == set(blind.nodes())


def test_one_refusing_node_is_still_asked_for_its_programs() -> None:
    cluster = refusing().cluster()
    cluster.fetch(["dataplane.programs"])
    assert not [m for m in cluster.coverage.missing if isinstance(m, Missing) and m.id == "bpftool-net"]
    assert set(cluster.output.bpftool_net()["node"]) == {f"node-{n}" for n in range(1, 5)}


def test_a_capture_of_a_live_cluster_does_not_ask_for_it_either(tmp_path: Path) -> None:
    asked: set[tuple[str, str | None]] = set()

    class Live(Edited):
        @property
        def live(self) -> bool:
            return True

        def fetch(self, wants):  # type: ignore[no-untyped-def]
            asked.update((w.id, w.node) for w in wants)
            return super().fetch(wants)

    capture(Live("healthy-bgp-mesh"), tmp_path / "plain")
    assert not [a for a in asked if a[0] in OF_EBPF]
    assert ("ip-route", "node-1") in asked
    asked.clear()
    capture(Live(VXLAN), tmp_path / "ebpf", ids=["bpf-nat", "tc-filter", "nodes"])
    assert {("bpf-nat", "node-1"), ("tc-filter", "node-4")} <= asked

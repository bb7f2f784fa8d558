"""What is of IPv6 is asked for where the cluster has IPv6, and missed nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.model import Answer, Missing, Want
from calicokit.evidence.recordings.capture import capture
from tests import clusters
from tests.edited import Edited

OF_IPV6 = {i for i, item in CATALOG.items() if item.ipv6}


class Asked(Edited):
    """An incident that keeps what it is asked for."""

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        self.asked = getattr(self, "asked", set()) | {w.id for w in wants}
        return super().fetch(wants)


@pytest.mark.parametrize(("name", "six"), [("healthy-dual-stack", True), ("policy-drop", False)])
def test_asked_where_a_pool_or_a_node_has_ipv6(name: str, six: bool) -> None:
    source = Asked(name)
    cluster = Cluster(source)
    assert cluster.kube.families()["used"].tolist() == [True, six]
    cluster.fetch(["bgp.birds", "routes.kernel", "output.bird6_cfg", "dataplane.kernel"])
    assert bool(source.asked & OF_IPV6) is six
    cluster.bgp.birds()
    cluster.bgp.sessions()
    assert not {m.id for m in cluster.coverage.missing} & OF_IPV6
    assert bool(cluster.output.birdcl6_status().unknown) is not six


def test_nothing_is_missed_of_ipv6_where_nothing_tells_whether_it_is_there() -> None:
    source = Asked("policy-drop", gone={("nodes", None), ("ippools", None)})
    cluster = Cluster(source)
    cluster.fetch(["bgp.protocols"])
    assert source.asked & OF_IPV6
    assert not {m.id for m in cluster.coverage.missing} & OF_IPV6
    assert cluster.kube.families()["used"].isna().all()


def test_what_is_missing_of_a_cluster_with_ipv6_is_a_hole() -> None:
    source = Asked("healthy-dual-stack", gone={("birdcl6-status", "node-2")})
    cluster = Cluster(source)
    cluster.fetch(["bgp.daemons"])
    assert [(m.id, m.node) for m in cluster.coverage.missing if isinstance(m, Missing)] == [
        ("birdcl6-status", "node-2")
    ]


@pytest.mark.parametrize(("name", "six"), [("healthy-dual-stack", True), ("policy-drop", False)])
def test_a_capture_has_what_the_cluster_has(name: str, six: bool, tmp_path: Path) -> None:
    ids = ["nodes", "ippools", *sorted(OF_IPV6)]
    found = capture(clusters.recording(name), tmp_path / "out", () if not six else ids, nodes=["node-1"])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert any("birdcl6" in file for file in manifest["files"]) is six
    assert not six or "nodes/node-1/bird6.cfg" in manifest["files"]
    assert six or not {m.id for m in found.missing} & OF_IPV6

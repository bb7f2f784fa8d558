"""The conformance suite of all sources, run on a live cluster."""

from __future__ import annotations

import pytest

from calicokit.evidence.live.cluster import LiveCluster
from calicokit.evidence.model import Source
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from tests.e2e.lab import TestCluster
from tests.evidence.test_sources import (  # noqa: F401 (pytest collects them here)
    INCIDENT,
    test_answers_every_want_once_with_evidence_or_reason,
    test_every_source_gives_the_same_tables_and_findings,
    test_evidence_tells_where_it_is_from,
    test_is_a_source,
    test_names_its_nodes_and_its_time,
)


@pytest.fixture(scope="module")
def source(e2e: TestCluster) -> Source:
    recording = Recording(index()[INCIDENT].path)
    e2e.load(recording)
    live = LiveCluster("e2e-reader", str(e2e.kubeconfig))
    live.server.time = recording.now()
    return live

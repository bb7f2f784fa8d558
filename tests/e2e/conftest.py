"""The test cluster for all e2e tests; where Go or etcd is missing they are skipped, unless CALICOKIT_E2E=require."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab import NotPossibleError, TestCluster

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are slow: they start an API server and wait for it."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")  # it ends with the last test that needs it, as it takes time even when idle
def e2e(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """A running cluster without objects; each test loads what it needs."""
    try:
        cluster = TestCluster.start(tmp_path_factory.mktemp("e2e"))
    except NotPossibleError as error:
        if os.environ.get("CALICOKIT_E2E") == "require":
            raise
        pytest.skip(f"no test cluster: {error}")
    yield cluster
    cluster.stop()

"""Bring the test cluster up with an incident in it: ``python -m tests.e2e.up [INCIDENT]``; Ctrl-C ends it."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from tests.e2e.lab import NotPossibleError, TestCluster


def main(name: str = "ipam-exhausted") -> None:
    """Start, say how to use it, wait."""
    recording = Recording(index()[name].path if name in index() else Path(name), name)
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        try:
            cluster = TestCluster.start(Path(folder), recording)
        except NotPossibleError as error:
            sys.exit(f"e2e: {error}")
        try:
            print(f"export KUBECONFIG={cluster.kubeconfig}\ncalicokit check --context e2e\nCtrl-C ends it.", flush=True)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            cluster.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main(*sys.argv[1:])

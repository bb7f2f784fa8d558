"""Alert rules are read by Prometheus' own promtool, fire on real scrapes of faults, and are silent on healthy ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from calicokit.diagnosis.model import vocabulary
from calicokit.felix.metrics.alerts import ALERTS, manifest
from calicokit.felix.metrics.meaning import meanings
from calicokit.parsers.base import parse
from tests import recordings

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and os.environ.get("CALICOKIT_E2E") != "require",
    reason="promtool is not installed (Debian's prometheus has it)",
)
MINUTES = 120
PAGES = ("felix-metrics.prom", "kube-controllers-metrics.prom", "typha-metrics.prom")


def series(incident: str, edits: dict[str, str]) -> list[dict[str, str]]:
    """The scrapes of an incident, each value for two hours; ``edits`` are values, or what promtool calls a series."""
    found = []
    for path in recordings.paths(incident, "*metrics.prom"):
        if "series" in path or not path.endswith(PAGES):
            continue
        text = recordings.read(incident, path).decode()
        instance = path.rsplit("/", 2)[-2] + path.rsplit("/", 1)[-1]
        for row in parse("prometheus", text).frame.itertuples():
            if not row.metric.startswith(("felix_", "typha_", "ipam_")) or row.value != row.value:
                continue
            labels = ",".join(
                filter(None, [row.labels if isinstance(row.labels, str) else "", f'instance="{instance}"'])
            )
            own = path.endswith("felix-metrics.prom") or not row.metric.startswith("felix_")
            values = edits.get(row.metric if own else "", f"{row.value:g}+0x{MINUTES}")
            found.append({"series": f"{row.metric}{{{labels}}}", "values": values})
    assert len(found) > 500
    return found


def firing(tmp_path: Path, incident: str, expected: set[str], edits: dict[str, str] | None = None) -> None:
    """Have promtool say that these alerts fire after two hours, and no other."""
    (tmp_path / "rules.yaml").write_text(manifest())
    said = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)]
    asked: dict[str, Any] = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0',
        "eval_time": f"{MINUTES}m",
        "exp_samples": said,
    }
    test = {"interval": "1m", "input_series": series(incident, edits or {}), "promql_expr_test": [asked]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_names_a_finding_and_metrics_that_exist() -> None:
    metrics = set(meanings())
    for alert in ALERTS:
        assert alert.finding in vocabulary()
        assert any(metric in alert.expr for metric in metrics)
    assert len({a.name for a in ALERTS}) == len(ALERTS)


def test_as_an_object_of_the_prometheus_operator() -> None:
    made = yaml.safe_load(manifest(kubernetes=True))
    assert made["kind"] == "PrometheusRule"
    assert made["spec"] == yaml.safe_load(manifest())


@promtool
@pytest.mark.parametrize("incident", ["healthy-bgp-mesh", "healthy-vxlan-typha", "healthy-v3.28"])
def test_silent_on_healthy_clusters(tmp_path: Path, incident: str) -> None:
    firing(tmp_path, incident, set())


@promtool
@pytest.mark.parametrize(
    ("incident", "edits", "fires"),
    [
        ("ipam-exhausted", {}, {"CalicoPoolExhausted"}),
        ("ipam-exhausted", {"ipam_ippool_size": f"36+0x{MINUTES}"}, {"CalicoPoolNearlyExhausted"}),
        ("healthy-bgp-mesh", {"ipam_allocations_gc_candidates": f"1+0x{MINUTES}"}, {"CalicoAddressesLeaked"}),
        ("healthy-bgp-mesh", {"felix_int_dataplane_failures": f"0+1x{MINUTES}"}, {"CalicoFelixCannotProgram"}),
        (
            "healthy-bgp-mesh",
            {"felix_resync_state": f"2+0x{MINUTES}"},
            {"CalicoFelixNotInSync", "CalicoFelixMissing"},
        ),
        ("healthy-bgp-mesh", {"felix_int_dataplane_apply_time_seconds": f"1.5+0x{MINUTES}"}, {"CalicoFelixSlow"}),
        ("healthy-vxlan-typha", {"typha_connections_dropped": f"0+2x{MINUTES}"}, {"CalicoTyphaClosesClients"}),
        ("healthy-bgp-mesh", {"felix_cluster_num_hosts": f"5+0x{MINUTES}"}, {"CalicoFelixMissing"}),
    ],
)
def test_fires_on_a_fault(tmp_path: Path, incident: str, edits: dict[str, str], fires: set[str]) -> None:
    firing(tmp_path, incident, fires, edits)

"""Alert rules for a Prometheus server: what the checks look for once, watched all the time.

The thresholds are those of the checks (``overload.py``, ``ipam/checks.py``), the metrics those of ``meaning.toml``.
Since v3.33 each component's page has the others' metrics too, as zeros: rules leave out pages on which Felix has no
hosts.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from calicokit.diagnosis.model import vocabulary
from calicokit.felix.metrics.overload import LIMITED, SECOND
from calicokit.ipam.checks import NEARLY

HEAD = """\
# Alert rules for Calico, made by `calicokit alerts`. Load them with rule_files in prometheus.yml, or as an object of
# the Prometheus operator (`calicokit alerts --kubernetes`). The label `finding` is the fault's id in `calicokit check`.
"""
OF_FELIX = "and on (instance) felix_cluster_num_hosts > 0"
POOLS = "sum by (ippool) (ipam_allocations_in_use) / max by (ippool) (ipam_ippool_size > 0)"


@dataclass(frozen=True)
class Alert:
    """One rule: its name, the expression, for how long it must hold, and the finding that names the fault."""

    name: str
    expr: str
    holds: str
    finding: str
    summary: str

    def as_dict(self) -> dict[str, object]:
        """The rule as Prometheus reads it."""
        word = vocabulary()[self.finding]
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.holds,
            "labels": {"severity": word.severity, "finding": word.id},
            "annotations": {
                "summary": self.summary,
                "description": f"{word.title}: {word.means}. See `calicokit guide --read {word.guide_step}`.",
            },
        }


ALERTS = (
    Alert(
        "CalicoPoolExhausted",
        f"{POOLS} >= 1",
        "5m",
        "ipam-exhausted",
        "IP pool {{ $labels.ippool }} has no free address.",
    ),
    Alert(
        "CalicoPoolNearlyExhausted",
        f"{POOLS} > {NEARLY:g} < 1",
        "30m",
        "ipam-nearly-exhausted",
        "IP pool {{ $labels.ippool }}: {{ $value | humanizePercentage }} of its addresses are in use.",
    ),
    Alert(
        "CalicoAddressesLeaked",
        "sum by (ippool) (ipam_allocations_gc_candidates) > 0",
        "1h",
        "ipam-leak",
        "{{ $value }} addresses of IP pool {{ $labels.ippool }} belong to no pod, and are not released.",
    ),
    Alert(
        "CalicoFelixMissing",
        "(count(felix_resync_state == 3) or vector(0)) < max(felix_cluster_num_hosts)",
        "15m",
        "felix-dead",
        "Felix is in sync on {{ $value }} nodes, which are not all: the others are down, or not scraped.",
    ),
    Alert(
        "CalicoFelixNotInSync",
        f"felix_resync_state < 3 {OF_FELIX}",
        "10m",
        "felix-not-ready",
        "Felix on {{ $labels.instance }} is not in sync with its datastore.",
    ),
    Alert(
        "CalicoFelixCannotProgram",
        "increase(felix_int_dataplane_failures[15m]) > 2 or increase(felix_iptables_restore_errors[15m]) > 2 "
        "or increase(felix_ipset_errors[15m]) > 2 or increase(felix_nft_errors[15m]) > 2 "
        "or min_over_time(felix_bpf_dirty_dataplane_endpoints[15m]) > 0",
        "5m",
        "dataplane-program-failing",
        "Felix on {{ $labels.instance }} fails to program its dataplane, again and again.",
    ),
    Alert(
        "CalicoFelixSlow",
        f'felix_int_dataplane_apply_time_seconds{{quantile="0.9"}} >= {SECOND:g} {OF_FELIX}',
        "15m",
        "felix-slow",
        "One in ten updates of Felix on {{ $labels.instance }} takes {{ $value | humanizeDuration }} or more.",
    ),
    Alert(
        "CalicoTyphaClosesClients",
        f"increase(typha_connections_dropped[10m]) >= {LIMITED}",
        "10m",
        "typha-overloaded",
        "Typha {{ $labels.instance }} closes the connections of its clients: {{ $value }} in ten minutes.",
    ),
)


def manifest(kubernetes: bool = False) -> str:
    """The rules as YAML: a rule file of Prometheus, or the PrometheusRule object of its operator.

    >>> manifest().count("alert:") == len(ALERTS)
    True
    """
    rules = {"groups": [{"name": "calico", "rules": [alert.as_dict() for alert in ALERTS]}]}
    metadata = {"name": "calicokit-alerts", "labels": {"app.kubernetes.io/name": "calicokit"}}
    wrapped = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata, "spec": rules}
    return HEAD + yaml.safe_dump(wrapped if kubernetes else rules, sort_keys=False, width=1000)

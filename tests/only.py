"""Some checks alone, on the evidence that they need: a tenth of the time of all of them."""

from __future__ import annotations

from calicokit import registry
from calicokit.cluster import Cluster
from calicokit.diagnosis.model import CHECKS, Finding
from calicokit.diagnosis.ranking import rank


def only(cluster: Cluster, *ids: str) -> list[Finding]:
    """What the checks of these findings say, ranked; a check whose needs are unknown says nothing."""
    registry.load()
    checks = [c for c in CHECKS if set(ids) & set(c.ids)]
    cluster.fetch([name for c in checks for name in c.inputs])
    ready = [c for c in checks if not any(cluster.table(n).unknown for n in c.needed)]
    found = [f for c in ready for f in c.make(cluster.given)]
    return rank(f for f in found if f.id in ids)

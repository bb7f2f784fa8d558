"""Some checks alone, on the evidence that they need: a tenth of the time of all of them."""

from __future__ import annotations

import os

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


QUICK = False
"""Whether this is the quick run, ``python3 start.py test`` without ``--slow``; conftest.py tells."""
NEAR = {
    "bgp": {"bgp", "routes", "foreign-drop-rule"},
    "dataplane": {"dataplane", "policy", "vxlan-blocked"},
    "felix": {"felix", "health"},
    "routes": {"bgp", "routes", "foreign-drop-rule"},
}
"""A folder of tests → the topics, and findings of others, that an edit made there may disturb."""


def said(cluster: Cluster) -> list[Finding]:
    """What all checks say, ranked; in the quick run those of the topics that are near to the test's."""
    near = NEAR.get(os.environ["PYTEST_CURRENT_TEST"].split("/")[1])
    if not QUICK or near is None:
        return list(cluster.check())
    registry.load()
    return only(cluster, *(i for c in CHECKS if near & {c.build.__module__.split(".")[1], *c.ids} for i in c.ids))

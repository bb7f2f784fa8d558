"""Whatever is missing, a healthy cluster stays healthy: no hole in the evidence becomes a finding.

All evidence of three healthy recordings was taken away in turn once (222 runs, which found two such findings); here are
the lists of the API for one of them, which decide the most.
"""

from __future__ import annotations

import pytest

from calicokit import registry
from calicokit.diagnosis.model import CHECKS
from calicokit.evidence.catalog import CATALOG, Api
from tests.edited import Edited

HEALTHY = "healthy-vxlan-typha"


def asked() -> list[str]:
    """The lists that checks rest on."""
    registry.load()
    names = tuple(n for c in CHECKS for n in c.inputs if not n.startswith("@"))
    ids = {i.removesuffix("+series") for i in registry.evidence_of(names) if not i.startswith("@")}
    return sorted(i for i in ids if isinstance(CATALOG[i].how, Api))


@pytest.mark.slow
@pytest.mark.parametrize("gone", asked())
def test_a_list_that_was_not_seen_is_no_fault(gone: str) -> None:
    lab = Edited(HEALTHY)
    lab.gone.add((gone, None))
    assert [(f.id, f.subject) for f in lab.loud()] == []

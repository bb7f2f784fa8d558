"""What the operator says of its components: objects made from the API's types, and one that was posted."""

from __future__ import annotations

from typing import Any

from calicokit import registry
from calicokit.diagnosis.model import finding
from calicokit.diagnosis.ranking import rank
from tests.fakes import OLD, cluster_of
from tests.only import only

registry.load()
POSTED = "Unable to modify IP pools while Calico API server is unavailable: "
"""Of shared/posted/07-kubectl-describe-tigerastatus.txt."""


def status(name: str, *conditions: tuple[str, str, str, str]) -> dict[str, Any]:
    keys = ("type", "status", "reason", "message")
    told = [dict(zip(keys, c, strict=True)) | {"lastTransitionTime": OLD} for c in conditions]
    return {"metadata": {"name": name}, "status": {"conditions": told}}


WELL = (
    ("Available", "True", "AllObjectsAvailable", "All objects available"),
    ("Degraded", "False", "", ""),
    ("Progressing", "False", "", ""),
)


def found(**lists: list[dict[str, Any]] | None) -> list[Any]:
    given = {"tigerastatuses": [], "installations": [], "apiservers": []} | lists
    return only(cluster_of(**given), "operator-degraded")


def test_a_degraded_component_is_told_with_its_reason() -> None:
    degraded = status(
        "ippools",
        ("Degraded", "True", "ResourceNotReady", POSTED),
        ("Available", "False", "Unknown", ""),
        ("Progressing", "False", "Unknown", ""),
    )
    (one,) = found(tigerastatuses=[degraded, status("calico", *WELL)])
    assert (one.severity, one.subject) == ("warning", {"component": "ippools", "reason": "ResourceNotReady"})
    assert POSTED.strip() in one.cause + ":"
    assert one.evidence[0].id == "tigerastatuses"


def test_one_that_is_not_available_is_told_and_a_healthy_one_is_not() -> None:
    away = status("calico", ("Available", "False", "PodFailure", "Pods are crashing"), ("Degraded", "False", "", ""))
    (one,) = found(tigerastatuses=[away])
    assert "not available" in one.cause
    assert found(tigerastatuses=[status("calico", *WELL), status("apiserver", *WELL)]) == []
    assert found() == []


def test_the_conditions_of_installation_and_apiserver_count_once() -> None:
    bad = ("Degraded", "True", "PodFailure", "DaemonSet calico-system/calico-node is not available")
    (one,) = found(tigerastatuses=[status("calico", bad)], installations=[status("default", bad)])
    assert {r.id for r in one.evidence} == {"tigerastatuses", "installations"}
    (one,) = found(tigerastatuses=None, installations=[status("default", ("Ready", "False", "", "no pods"))])
    assert one.subject == {"component": "calico", "reason": "unknown"}
    (one,) = found(apiservers=[status("tigera-secure", bad)])
    assert one.subject["component"] == "apiserver"


def test_it_hangs_under_what_names_the_cause() -> None:
    def effect(component: str, cause: str) -> Any:
        subject = {"component": component, "reason": "PodFailure"}
        return finding("operator-degraded", subject=subject, cause=cause, remedy="-")

    absent = finding("calico-node-absent", subject={"node": "n", "why": "taint"}, cause="-", remedy="-")
    assert [f.explained_by for f in rank([effect("calico", "-"), absent])] == ["", "calico-node-absent"]
    assert [f.explained_by for f in rank([effect("goldmane", "-"), absent])] == ["", ""]
    down = finding("calico-apiserver-down", subject={}, cause="-", remedy="-")
    assert [f.explained_by for f in rank([effect("ippools", POSTED), down])] == ["", "calico-apiserver-down"]

"""A fault of the kit is told as one: not as evidence that is missing, and never as health."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

import calicokit
from calicokit import registry
from calicokit.cli import app
from calicokit.diagnosis import model
from calicokit.evidence.model import Failed, SourceError
from calicokit.faults import attempt
from calicokit.schema import SchemaError
from tests.edited import Edited

SOURCE = "ipam-exhausted"


def failing(error: Exception) -> Callable[..., Any]:
    def build(**_: Any) -> Any:
        raise error

    return build


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> str:
    """A table of which a critical check and others need rows; its builder has a fault."""
    spec = registry.load()["ipam.pools"]
    broken = replace(spec)
    object.__setattr__(broken, "build", failing(KeyError("spoilt")))
    monkeypatch.setitem(registry.TABLES, "ipam.pools", broken)
    return "ipam.pools"


def test_a_fault_raises_in_the_tests(broken: str) -> None:
    with pytest.raises(KeyError, match="spoilt"):
        calicokit.open(SOURCE).table(broken)


@pytest.mark.usefixtures("told")
def test_a_table_with_a_fault_is_unknown_and_says_whose_it_is(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    cluster = calicokit.open(SOURCE)
    table = cluster.table(broken)
    assert [type(m) for m in table.unknown] == [Failed]
    said = str(table.unknown[0])
    for part in ("ipam.pools", "a fault of calicokit", calicokit.__version__, "KeyError: 'spoilt'", "report"):
        assert part in said
    assert table.unknown[0] in cluster.coverage.missing
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("calicokit", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


@pytest.mark.usefixtures("told", "broken")
def test_what_rests_on_a_fault_has_failed_and_is_not_missing() -> None:
    findings = calicokit.open(SOURCE).check()
    assert "ipam-exhausted" in findings.failed
    assert "ipam-exhausted" not in findings.blocked
    assert "through a fault of calicokit: " in findings.verdict()
    assert "evidence is missing" not in findings.verdict()
    assert findings.status == 1  # others were found


@pytest.mark.usefixtures("told")
def test_a_check_with_a_fault_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load()
    mine = next(c for c in model.CHECKS if "ipam-exhausted" in c.ids)
    broken = replace(mine)
    object.__setattr__(broken, "build", failing(IndexError("none")))
    monkeypatch.setattr("calicokit.diagnosis.findings.CHECKS", [broken])
    findings = calicokit.open("healthy-bgp-mesh").check()
    assert findings.failed == sorted(mine.ids)
    assert findings.status == 3
    assert any(isinstance(m, Failed) for m in findings.coverage.missing)
    assert "ipam-exhausted" not in findings.coverage.checked


@pytest.mark.usefixtures("told")
def test_what_a_model_fails_at_is_told_by_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load()
    broken = replace(registry.MODELS["policy.model"])
    object.__setattr__(broken, "build", failing(TypeError("odd")))
    monkeypatch.setitem(registry.MODELS, "policy.model", broken)
    unknown = calicokit.open(SOURCE).policy.policies().unknown
    assert any(isinstance(m, Failed) and m.id == "policy.model" for m in unknown)


@pytest.mark.usefixtures("told", "broken")
def test_verbose_shows_the_traceback() -> None:
    root, log = logging.getLogger(), logging.getLogger("calicokit")
    before = list(root.handlers)
    try:
        quiet = CliRunner().invoke(app, ["table", SOURCE, "ipam.pools"])
        root.handlers = []
        loud = CliRunner().invoke(app, ["table", SOURCE, "ipam.pools", "-v"])
    finally:
        root.handlers = before
    assert log.level == logging.NOTSET
    assert "Traceback" not in quiet.output
    assert "a fault of calicokit" in quiet.output
    assert "Traceback" in loud.output
    assert "KeyError: 'spoilt'" in loud.output


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("error", [OverflowError("too big"), ZeroDivisionError(), RecursionError(), AssertionError()])
def test_whatever_raises_is_told(error: Exception) -> None:
    def fail() -> None:
        raise error

    assert isinstance(attempt("x", fail), Failed)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SourceError("gone")])
def test_what_is_no_fault_of_a_table_passes(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        attempt("x", fail)


def test_a_number_beyond_all_sense_costs_one_object() -> None:
    spoilt = calicokit.open(SOURCE).health.pods()["pod"][0]

    def change(pod: dict[str, Any]) -> None:
        if pod["metadata"]["name"] == spoilt:
            pod["status"]["containerStatuses"][0]["restartCount"] = 10**30

    cluster = Edited(SOURCE).objects("pods", change).cluster()
    assert len(cluster.health.pods()) == len(calicokit.open(SOURCE).health.pods()) - 1
    assert [m.id for m in cluster.coverage.missing if spoilt in m.why] == ["pods"]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("error", [SchemaError("no such column"), ValueError("of pandas")])
def test_a_fault_of_a_table_with_options_is_not_the_askers(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(registry.load()["routes.path"])
    object.__setattr__(broken, "build", failing(error))
    monkeypatch.setitem(registry.TABLES, "routes.path", broken)
    (why,) = calicokit.open(SOURCE).routes.path("node-1", "10.48.0.1").unknown
    assert isinstance(why, Failed)


def test_what_is_asked_wrongly_is_no_fault() -> None:
    def ask() -> None:
        raise ValueError("no such node")

    with pytest.raises(ValueError, match="no such node"):
        attempt("routes.path", ask, passing=(ValueError,))

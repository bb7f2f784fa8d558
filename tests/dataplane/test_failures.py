"""What Felix fails to program, told by persistence; in Felix's words (dataplane/programmed/failures.py)."""

from __future__ import annotations

import pandas as pd
import pytest

from calicokit import registry
from calicokit.dataplane.checks_kernel import program_failing
from calicokit.dataplane.programmed.failures import failures

registry.load()
QDISC = "ingress qdisc info ({true 49152 2}) does not equal egress qdisc info ({true 49152 1})"
ENDPOINT = "Failed to apply policy to endpoint, leaving it dirty"
ROUTES = "Second attempt at updating routing table failed. Will retry later."


def log(*lines: tuple[float, str, str, str | None]) -> pd.DataFrame:
    """Seconds, level, message and error of one node's lines."""
    start = pd.Timestamp("2026-01-01T12:00:00Z")
    rows = [(start + pd.Timedelta(seconds=at), level, message, error) for at, level, message, error in lines]
    frame = pd.DataFrame(rows, columns=["time", "level", "message", "error"]).assign(node="n")
    return frame.astype({"level": "str", "message": "str", "error": "str"})


def fails(*lines: tuple[float, str, str, str | None]) -> list[str]:
    table = failures(log(*lines))
    return table[table["open"]]["area"].tolist()


@pytest.mark.parametrize(
    ("message", "error", "area"),
    [
        (ENDPOINT, QDISC, "eBPF"),
        ("Failed to apply policy to interface, will retry", "no space left on device", "eBPF"),
        (ROUTES, "netlink update operation failed", "routes"),
        ("Failed to synchronize routing rules, will retry...", None, "routes"),
        ("failed to set wireguard device up", "operation not supported", "WireGuard"),
        ("error obtaining wireguard client", "operation not supported", "WireGuard"),
        ("Failed to apply rules. This operation will be retried.", "HNS failed", "HNS"),
        ("Bad return code from 'ipset list cali40this-host'.", "exit status 1", "IP sets"),
        ("Failed to program iptables, will retry", "exit status 2", "iptables"),
        ("nftables command failed", "exit status 1", "nftables"),
    ],
)
def test_two_lines_that_are_all_there_is_are_enough(message: str, error: str | None, area: str) -> None:
    assert fails((0, "WARNING", message, error), (2, "WARNING", message, error)) == [area]
    (found,) = program_failing(failures(log((0, "WARNING", message, error), (2, "WARNING", message, error))))
    assert area in found.cause


def test_one_line_is_not_enough_but_the_panic_after_it_is() -> None:
    assert fails((0, "WARNING", ENDPOINT, QDISC)) == []
    panic = "Failed to update IP sets after multiple retries."
    assert fails((0, "ERROR", "Failed to read ipset cali40all", "exit status 1"), (0.1, "PANIC", panic, None)) == [
        "IP sets"
    ]


def test_one_event_after_which_the_log_goes_on_is_none() -> None:
    event = [(0, "ERROR", f"Bad return code from 'ipset list {n}'.", "exit status 1") for n in "ab"]
    assert fails(*event, (30, "INFO", "Summarising 12 dataplane reconciliation loops over 1m", None)) == []


def test_what_succeeded_since_or_lies_back_is_none() -> None:
    twice = [(at, "WARNING", "Failed to program iptables, will retry", "exit status 2") for at in (0, 2)]
    assert fails(*twice, (3, "WARNING", "Succeeded after retry.", None)) == []
    assert fails(*twice, (90, "INFO", "Something else", None)) == []
    assert fails(*twice, (3, "WARNING", "Succeeded after retry.", None), (4, *twice[0][1:]), (5, *twice[0][1:])) == [
        "iptables"
    ]


def test_an_interface_that_goes_with_its_pod_is_none() -> None:
    assert fails(*((at, "WARNING", ENDPOINT, "failed to get link: Link not found") for at in (0, 2, 4))) == []
    start = "Failed invoking dataplane syncer"
    assert fails(*((at, "ERROR", start, "proxy is not initialized") for at in (0, 2, 4))) == []


def test_the_first_attempt_at_routes_is_repeated_at_once() -> None:
    first = "First attempt at updating routing table failed.  Retrying..."
    assert fails((0, "WARNING", first, "x"), (1, "WARNING", first, "x")) == []


def test_areas_of_a_node_are_one_finding() -> None:
    lines = [(at, "WARNING", m, "x") for at in (0, 2) for m in (ENDPOINT, ROUTES)]
    (found,) = program_failing(failures(log(*lines)))
    assert found.subject == {"node": "n"}
    assert "eBPF and routes" in found.cause

"""What was read in part makes nobody sure that something is not there, and nobody's silence an answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from calicokit.diagnosis.findings import Findings
from calicokit.parsers.pasted import broke_off
from tests import clusters
from tests.edited import Edited

MESH, LEAKED = "healthy-bgp-mesh", "ipam-leaked"


def after(incident: str, id_: str, node: str | None, edit: Callable[[str], str]) -> Findings:
    return clusters.Sharing(Edited(incident).edit(id_, node, edit)).check()


def loud(found: Findings) -> list[str]:
    return [f.id for f in found if f.severity != "info"]


def told(found: Findings, id_: str) -> list[str]:
    return [f.cause for f in found if f.id == id_]


def without_pods_route(text: str) -> str:
    """A line that is a pod's route, unreadable: it looks as if the pod had none."""
    lines = text.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if " dev cali" in line and "table" not in line)
    return "".join([*lines[:at], "10.?8 %% dev\n", *lines[at + 1 :]])


@pytest.mark.slow
def test_an_unreadable_line_makes_a_missing_route_unsure_and_the_check_unanswered_there() -> None:
    found = after(MESH, "ip-route-all", "node-2", without_pods_route)
    assert loud(found) == []
    assert found.status == 3
    (cause,) = told(found, "pod-route-missing")
    assert "This is not sure: 1 lines of" in cause
    assert set(found.coverage.partly["pod-route-missing"]) == {"node-2"}
    assert "pod-route-missing" not in found.coverage.checked


def test_a_line_that_is_read_and_tells_another_route_is_sure() -> None:
    found = after(MESH, "ip-route-all", "node-2", _without_first_pod)
    assert "pod-route-missing" in loud(found)


def _without_first_pod(text: str) -> str:
    lines = text.splitlines(keepends=True)
    lines.remove(next(line for line in lines if " dev cali" in line and "table" not in line))
    return "".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("id_", ["globalnetworkpolicies", "namespaces", "pods"])
def test_an_object_that_cannot_be_read_makes_what_lacks_it_unsure(id_: str) -> None:
    def spoil(text: str) -> str:
        document = json.loads(text)
        return json.dumps({**document, "items": [None, *document["items"][1:]]})

    found = after(MESH, id_, None, spoil)
    assert loud(found) == []
    assert found.status == 3
    assert "dataplane-stale" in found.coverage.unchecked


def test_what_is_there_stays_sure() -> None:
    """Two pods with one address have it, whatever a third pod is."""

    def spoil(text: str) -> str:
        document = json.loads(text)
        return json.dumps({**document, "items": [*document["items"], None]})

    assert "ipam-duplicate" in loud(after(LEAKED, "pods", None, spoil))


@pytest.mark.parametrize("text", ["node-?", "node-\udce92", "nod", "nofe-2"])
def test_a_torn_name_is_no_other_name(text: str) -> None:
    def torn(_: str) -> str:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    found = after(MESH, "nodename", "node-2", torn)
    assert "nodename-mismatch" not in loud(found)
    assert told(found, "nodename-mismatch") or "nodename-mismatch" in found.coverage.partly


def test_another_name_is_one() -> None:
    assert "nodename-mismatch" in loud(after(MESH, "nodename", "node-2", lambda _: "worker-b\n"))


@pytest.mark.parametrize(
    ("last", "is_one"),
    [
        ("command terminated with exit code 137", True),
        ("error: unable to upgrade connection: container not found", True),
        ("Unable to connect to the server: net/http: TLS handshake timeout", True),
        ("command terminated with exit code 1", False),
        ("0: from all lookup local", False),
    ],
)
def test_the_words_of_a_client_that_lost_the_command(last: str, is_one: bool) -> None:
    assert broke_off(f"0: from all lookup local\n{last}\n") is is_one


@pytest.mark.slow
def test_a_text_that_ends_with_an_error_is_no_whole_one() -> None:
    def broken(text: str) -> str:
        return f"{text[: len(text) // 2]}\nerror: unable to upgrade connection: container not found\n"

    found = after(MESH, "bird.cfg", "node-2", broken)
    assert loud(found) == []
    assert found.status == 3


@pytest.mark.slow
def test_a_list_without_the_namespace_of_a_pod_is_not_whole() -> None:
    def without(text: str) -> str:
        document = json.loads(text)
        return json.dumps({**document, "items": [n for n in document["items"] if n["metadata"]["name"] != "legacy"]})

    found = after(MESH, "namespaces", None, without)
    assert loud(found) == []
    assert found.status == 3
    assert "the list lacks legacy, of which there are pods" in {m.why for m in found.coverage.missing}

"""What an API server serves, in kubectl's words: from aggregated discovery, and group by group from older servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.bundles.recognise import Part, parts
from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.live.api import ApiError
from calicokit.evidence.live.discovery import INCOMPLETE, api_resources
from calicokit.evidence.model import Evidence, Want
from tests import recordings
from tests.fakes import MemorySource


def group(name: str, version: str, resources: dict[str, str], freshness: str = "Current") -> dict[str, Any]:
    found = [
        {"resource": plural, "responseKind": {"kind": kind}, "scope": "Cluster", "shortNames": [plural[:2]]}
        for plural, kind in resources.items()
    ]
    return {"metadata": {"name": name}, "versions": [{"version": version, "resources": found, "freshness": freshness}]}


NEW = {
    "/api": {"kind": "APIGroupDiscoveryList", "items": [group("", "v1", {"pods": "Pod"})]},
    "/apis": {
        "kind": "APIGroupDiscoveryList",
        "items": [
            group("crd.projectcalico.org", "v1", {"ippools": "IPPool", "tiers": "Tier"}),
            group("projectcalico.org", "v3", {}, "Stale"),
        ],
    },
}
OLD: dict[str, Any] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"resources": [{"name": "pods", "namespaced": True, "kind": "Pod", "shortNames": ["po"]}]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {"preferredVersion": {"groupVersion": "crd.projectcalico.org/v1"}},
            {"preferredVersion": {"groupVersion": "projectcalico.org/v3"}},
        ],
    },
    "/apis/crd.projectcalico.org/v1": {
        "resources": [
            {"name": "ippools", "namespaced": False, "kind": "IPPool"},
            {"name": "ippools/status", "namespaced": False, "kind": "IPPool"},
            {"name": "tiers", "namespaced": False, "kind": "Tier"},
        ]
    },
}


def answered(pages: dict[str, Any]) -> tuple[str, str]:
    def get(path: str, accept: str) -> bytes:
        if path not in pages:
            raise ApiError(503, "the server is currently unable to handle the request")
        return json.dumps(pages[path]).encode()

    return api_resources(get)


@pytest.mark.parametrize("pages", [NEW, OLD], ids=["aggregated", "group by group"])
def test_kinds_and_groups_that_do_not_answer(pages: dict[str, Any]) -> None:
    text, complaint = answered(pages)
    rows = [line.split() for line in text.splitlines()]
    assert rows[0] == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
    assert [(r[0], r[-3], r[-1]) for r in rows[1:]] == [
        ("pods", "v1", "Pod"),
        ("ippools", "crd.projectcalico.org/v1", "IPPool"),
        ("tiers", "crd.projectcalico.org/v1", "Tier"),
    ]
    assert complaint.startswith(INCOMPLETE + "projectcalico.org/v3: ")
    evidence = Evidence(Want("api-resources"), text.encode(), stderr=complaint, exit=1)

    class Source(MemorySource):
        def _answer(self, want: Want) -> Any:
            return evidence if want.id == "api-resources" else super()._answer(want)

    cluster = Cluster(Source({}))
    assert cluster.health.apis()["available"].tolist() == [False]
    kinds = cluster.health.kinds()
    assert set(kinds[kinds["served"]]["kind"]) == {"IPPool", "Tier"}


def test_all_groups_answer() -> None:
    pages = {**NEW, "/apis": {"kind": "APIGroupDiscoveryList", "items": NEW["/apis"]["items"][:1]}}
    assert answered(pages)[1] == ""


@pytest.mark.parametrize("name", recordings.names())
def test_a_saved_output_is_recognised(name: str) -> None:
    (file,) = CATALOG["api-resources"].files()
    (part,) = parts("whatever.txt", recordings.read(name, file))
    assert isinstance(part, Part)
    assert part.id == "api-resources"

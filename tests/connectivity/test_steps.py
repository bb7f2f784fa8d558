"""The guided path agrees with what became of real connections, and says what it could not see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import calicokit
from calicokit.connectivity.cause import TRIED, Cause, cause, example
from tests import clusters
from tests.edited import Edited
from tests.recordings import probed, probes

ARRIVED = ("allow", "refused")
EVERY = 12


def verdict(cluster: calicokit.Cluster, src: str, dst: str, port: int | None, proto: str) -> str:
    options = {"from": src, "to": dst, "port": str(port or ""), "proto": proto}
    said = cluster.table("connectivity.steps", **options)
    told = set(said[said["step"] != TRIED]["verdict"])
    return next((v for v in ("wrong", "unknown") if v in told), "fine")


@pytest.mark.slow
@pytest.mark.parametrize("name", probed())
def test_what_arrived_has_nothing_in_its_way_and_what_was_lost_has(name: str) -> None:
    cluster = clusters.opened(name)
    asked = probes(name)[::EVERY]
    assert asked
    for probe in asked:
        by_name = probe["dst"].startswith("svc/") and ":" not in probe["src_ip"]
        ends = ("src", "dst") if by_name else ("src_ip", "dst_ip")
        said = verdict(cluster, probe[ends[0]], probe[ends[1]], probe["port"], probe["proto"])
        if probe["observed"] in ARRIVED:
            assert said != "wrong", probe
        elif probe["observed"] == "drop":
            assert said != "fine", probe


def ends(name: str, observed: str) -> tuple[str, str, int, str]:
    first = next(p for p in probes(name) if p["observed"] == observed and p["dst"].count("/") == 1)
    return first["src"], first["dst"], first["port"], first["proto"]


def asked(name: str, observed: str, lab: Edited | None = None) -> Cause:
    return cause(lab.cluster() if lab else clusters.opened(name), *ends(name, observed))


def test_a_denied_flow_names_the_policy_and_its_finding() -> None:
    found = asked("policy-drop", "drop")
    assert found.verdict == "wrong"
    assert list(found.steps["verdict"])[:3] == ["fine", "fine", "fine"]
    assert "end-of-tier" in found.sentence or "rule" in found.sentence


def test_a_route_that_leads_astray_is_the_step_and_the_finding() -> None:
    found = asked("route-conflict", "drop")
    assert found.steps["verdict"].iloc[2] != "fine"
    assert [f.id for f in found.findings if not f.explained_by] == ["route-conflict"]
    assert "which Calico did not program" in found.sentence
    assert len(found.there) > 0 < len(found.back)


def test_a_pod_without_an_address() -> None:
    cluster = clusters.opened("ipam-exhausted")
    found = cause(cluster, *example(cluster))
    assert found.steps["verdict"].iloc[0] == "wrong"
    assert "has no address" in found.sentence
    assert found.findings[0].id == "ipam-exhausted"


def test_a_healthy_flow_has_nothing_in_its_way() -> None:
    found = asked("healthy-bgp-mesh", "allow")
    assert (found.verdict, found.findings) == ("fine", ())
    assert found.sentence == "No problem found: addresses, routes, policy and rules allow it."


def test_what_was_not_seen_is_unknown_and_not_fine() -> None:
    lab = Edited("healthy-bgp-mesh")
    lab.gone |= {(id_, n) for id_ in ("ip-route-all", "ip-route", "ip-route-json") for n in lab.nodes()}
    found = asked("healthy-bgp-mesh", "allow", lab)
    assert found.verdict == "unknown"
    assert found.steps["verdict"].iloc[2] == "unknown"
    assert "could not be answered" in found.sentence


@pytest.mark.parametrize(
    ("src", "dst", "port", "says"),
    [
        ("shop/nobody", "10.48.0.1", "", "no pod is named shop/nobody"),
        ("frontend", "10.48.0.1", "", "neither NS/POD nor an address"),
        ("10.48.0.1", "10.48.0.2", "http", "is not a port"),
    ],
)
def test_ends_that_are_none(src: str, dst: str, port: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        clusters.opened("healthy-bgp-mesh").table("connectivity.steps", **{"from": src, "to": dst, "port": port})


def test_a_service_that_is_none_is_unknown_and_one_without_endpoints_is_wrong() -> None:
    name = "healthy-bgp-mesh"
    src = next(p["src"] for p in probes(name))
    first = clusters.opened(name).connectivity.steps(src, "svc/shop/none", "80").iloc[0]
    assert (first["verdict"], "no service is named" in first["answer"]) == ("unknown", True)
    lab = Edited(name).objects("endpointslices", lambda o: o.update(endpoints=[]))
    service = next(p["dst"] for p in probes(name) if p["dst"].startswith("svc/"))
    assert lab.cluster().connectivity.steps(src, service, "80").iloc[0]["verdict"] == "wrong"


def test_a_walk_says_which_name_is_none() -> None:
    for end, says in (("shop/nobody", "no pod with an address is named shop/nobody"), ("svc/a/b", "no service")):
        with pytest.raises(ValueError, match=says):
            clusters.opened("healthy-bgp-mesh").table("dataplane.walk", **{"from": "10.48.0.1", "to": end})


def test_a_service_is_followed_to_its_backends() -> None:
    name = "healthy-bgp-mesh"
    first = next(p for p in probes(name) if p["dst"].startswith("svc/") and p["observed"] == "allow")
    cluster = clusters.opened(name)
    assert verdict(cluster, first["src"], first["dst"], first["port"], first["proto"]) == "fine"


def test_names_of_a_cluster_are_text_in_html() -> None:
    real = asked("healthy-bgp-mesh", "allow")
    found = replace(real, question="<script>", steps=real.steps.assign(answer="<img src=x>"))
    assert "<script>" not in found._repr_html_()
    assert "<img" not in found._repr_html_()


def tried(lab: Edited, probe: dict[str, Any]) -> tuple[str, str]:
    steps = cause(clusters.Sharing(lab), probe["src"], probe["dst"], probe["port"], probe["proto"]).steps
    row = steps[steps["step"] == TRIED].iloc[0]
    return row["answer"], row["verdict"]


def test_in_ebpf_mode_the_programs_conntrack_tells_of_attempts() -> None:
    name = "healthy-ebpf-vxlan"
    to_service = next(p for p in probes(name) if p["observed"] == "allow" and p["dst"].startswith("svc/"))
    answer, verdict = tried(Edited(name), to_service)
    assert answer.startswith("The eBPF programs' conntrack on node-")
    assert verdict == "fine"
    lab = Edited(name)
    lab.gone |= {("bpf-conntrack", node) for node in lab.nodes()}
    lab.gone |= {("bpf-conntrack-json", node) for node in lab.nodes()}
    assert tried(lab, to_service) == (
        "The eBPF programs' conntrack was not seen: try a connection.",
        "unknown",
    )


def test_udp_that_programs_track_has_no_word_of_replies() -> None:
    name = "healthy-ebpf-vxlan"
    asked = next(
        p
        for p in probes(name)
        if (p["observed"], p["proto"]) == ("allow", "udp") and p["dst"].count("/") == 1 and p["src"] != p["dst"]
    )
    answer, verdict = tried(Edited(name), asked)
    assert ("does not tell of replies" in answer, verdict) == (True, "unknown")

"""The walk through eBPF programs: a printed match beside the policy's rule, and programs that lack or changed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from calicokit.dataplane.ebpf.program_match import matches
from calicokit.dataplane.packets.flow import Dataplane, Walk, parsed_address
from calicokit.dataplane.packets.packet import Packet
from calicokit.dataplane.packets.trace_flow import walk
from calicokit.net import prefix
from calicokit.policy.decide import World
from calicokit.policy.model import Endpoint, NamedPort, Parts, Ports, Rule, Side
from calicokit.schema import cells
from tests import clusters, recordings
from tests.edited import Edited, adding
from tests.only import only

VXLAN = "healthy-ebpf-vxlan"

# ---- one rule

POD = Endpoint("web", "shop", "n1", ("10.0.0.9",), {"app": "web"}, (), (NamedPort("http", "tcp", 8080),))
WORLD = World(Parts(endpoints=(POD,)))


def packet(source: str = "10.0.0.1", port: int | None = 8080, protocol: int | None = 6) -> Packet:
    return Packet(4, parsed_address(source)[1], parsed_address("10.0.0.9")[1], protocol, None, port)


ANY = Rule(0, "allow")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("proto=tcp", True),
        ("proto=udp", False),
        ("!proto=udp", True),
        ("src={10.0.0.0/24}", True),
        ("src={10.1.0.0/24}", False),
        ("!src={10.0.0.0/24}", False),
        ("!src={10.1.0.0/24,10.2.0.0/24}", True),
        ("dst={10.0.0.9/32} dports={80,8000-8100}", True),
        ("dports={80}", False),
        ("!dports={8080}", False),
        ("dports={8080,named(1)}", True),
        ("proto=udp src={0x1a2b}", False),
    ],
)
def test_what_is_printed_decides(text: str, answer: bool) -> None:
    assert matches(text, packet(), ANY, WORLD) is answer


@pytest.mark.parametrize(
    "text",
    ["src={0x1a2b}", "src={10.0.0.0/24,10.9.0.0/16}", "dports={named(1)}", "proto=", "sports={99}", "tos=3", None],
)
def test_where_the_text_is_silent_the_policys_rule_is_asked(text: str | None) -> None:
    no = Rule(0, "allow", protocol="udp")
    assert matches(text, packet(), ANY, WORLD) is True
    assert matches(text, packet(), no, WORLD) is False
    assert matches(text, packet(), None, WORLD) is None


def test_named_ports_are_those_of_the_policys_rule() -> None:
    named = Rule(0, "allow", protocol="tcp", destination=Side(ports=("http",)))
    assert matches("proto=tcp dports={named(1)}", packet(), named, WORLD) is True
    assert matches("proto=tcp dports={named(1)}", packet(port=80), named, WORLD) is False


def test_a_rule_of_another_version_prints_no_match_and_is_not_there() -> None:
    six = Rule(0, "deny", source=Side(nets=(prefix("fd00::/8"),)))
    assert matches(None, packet(), six, WORLD) is False


def test_a_services_endpoints_are_not_printed() -> None:
    service = Rule(0, "allow", destination=Side(service="shop/db"))
    assert matches("proto=tcp", packet(), service, WORLD) is False
    unlisted = World(Parts(endpoints=(POD,), missing=frozenset(("endpointslices",))))
    assert matches("proto=tcp", packet(), service, unlisted) is None


def test_a_source_that_is_not_known() -> None:
    unknown = Packet(4, None, parsed_address("10.0.0.9")[1], 6, None, 8080)
    ports = Rule(0, "allow", destination=Side(ports=(Ports(8080, 8080),)))
    assert matches("src={10.0.0.0/24}", unknown, ANY, WORLD) is True  # the policy's rule asks nothing of it
    assert matches("dports={8080}", unknown, ports, WORLD) is True
    assert matches("src={10.0.0.0/24}", unknown, Rule(0, "allow", source=Side(selector="x == 'y'")), WORLD) is None


# ---- programs


def walked(lab: Edited, asked: dict[str, Any]) -> Walk:
    """A probe between pods, walked as the lab would have it."""
    return Dataplane.of(clusters.Sharing(lab)).walk(asked["src_ip"], asked["dst_ip"], asked["port"], asked["proto"])


def of_pod(pod: str) -> tuple[str, str]:
    frame = clusters.opened(VXLAN).table("dataplane.endpoints")
    row = frame[(frame["namespace"] + "/" + frame["pod"]) == pod].iloc[0]
    return row["node"], row["interface"]


def allowed() -> dict[str, Any]:
    return next(p for p in recordings.probes(VXLAN) if p["observed"] == "allow" and p["dst"].count("/") == 1
                and p["proto"] == "tcp" and p["src"] != p["dst"])  # fmt: skip


def test_the_end_of_a_tier_is_named_with_its_program() -> None:
    asked = next(p for p in recordings.probes(VXLAN) if p["observed"] == "drop" and p["dst"].count("/") == 1)
    said = walk(clusters.opened(VXLAN), asked["src"], asked["dst"], asked["port"], asked["proto"])
    assert said.verdict == "drop"
    assert re.search(
        r"The end of tier default, in the program at cali\w+ \w+, on node-\d drops the packet", said.sentence
    )
    assert said.frame["table"].dropna().isin(["programs", "raw", "filter", "nat", "mangle"]).all()


def test_without_the_program_at_the_source_the_nodes_rules_drop() -> None:
    node, interface = of_pod(allowed()["src"])
    without = lambda text: "".join(ln for ln in text.splitlines(True) if not ln.startswith(f"{interface}("))  # noqa: E731
    (end,) = walked(Edited(VXLAN).edit("bpftool-net", node, without), allowed()).ends
    assert (end.verdict, end.node) == ("drop", node)
    assert end.by is not None
    assert end.by.chain == "FORWARD"


def test_without_the_program_at_the_destination_its_replies_are_dropped() -> None:
    node, interface = of_pod(allowed()["dst"])
    without = lambda text: "".join(ln for ln in text.splitlines(True) if not ln.startswith(f"{interface}("))  # noqa: E731
    (end,) = walked(Edited(VXLAN).edit("bpftool-net", node, without), allowed()).ends
    assert (end.verdict, end.node) == ("drop", node)
    assert "its reply is dropped" in end.why


@pytest.mark.parametrize("how", ["gone", "cut", "error"])
def test_a_program_that_was_not_seen_whole_is_unknown(how: str) -> None:
    node, interface = of_pod(allowed()["src"])
    lab = Edited(VXLAN)
    if how == "gone":
        lab.gone.add(("bpf-policy", node))
    elif how == "cut":
        lab.edit("bpf-policy", node, lambda t: t.replace(f"IfaceName: {interface}\n", "IfaceName: cali00000000000\n"))
    else:
        lab.edit("bpf-policy", node, lambda t: t.replace("Hook: tc ingress\n", "Hook: tc ingress\nError: no memory\n"))
    (end,) = walked(lab, allowed()).ends
    assert end.verdict == "unknown"
    assert f"policy program of {interface} was not" in end.why


def test_what_the_program_says_counts_and_not_what_policy_asks() -> None:
    """A stale program that denies what policy allows: the walk drops, and policy is asked apart."""
    asked = allowed()
    node, _ = of_pod(asked["src"])
    denies = lambda t: t.replace("Action: next-tier", "Action: deny")  # noqa: E731
    (end,) = walked(Edited(VXLAN).edit("bpf-policy", node, denies), asked).ends
    assert (end.verdict, end.node) == ("drop", node)


def test_a_service_is_translated_by_the_nodes_own_map() -> None:
    asked = next(p for p in recordings.probes(VXLAN) if p["observed"] == "allow" and p["dst"].startswith("svc/"))
    services = clusters.opened(VXLAN).table("kube.services")
    of_service = "svc/" + services["namespace"] + "/" + services["service"] == asked["dst"]
    ((address,),) = services[of_service]["cluster_ips"]
    asked = asked | {"dst_ip": address}
    node, _ = of_pod(asked["src"])
    assert walked(Edited(VXLAN), asked).verdict == "accept"
    front = rf"(?m)^({re.escape(address)} port \d+ proto \d+ id \d+ count )\d+( local )\d+"
    none = lambda t: re.sub(r"(?m)^\t\d+:\d+\t.*\n", "", re.sub(front, r"\g<1>0\g<2>0", t))  # noqa: E731
    assert {e.verdict for e in walked(Edited(VXLAN).edit("bpf-nat", node, none), asked).ends} == {"reject"}
    lacks = lambda t: re.sub(front, r"10.96.99.99 port 1 proto 6 id 99 count 0 local 0", t)  # noqa: E731
    (end,) = walked(Edited(VXLAN).edit("bpf-nat", node, lacks), asked).ends
    assert (end.verdict, "does not have" in end.why) == ("unknown", True)


# ---- rules of others


FORWARD = """table inet hardening {
\tchain forward {
\t\ttype filter hook forward priority filter - 10; policy accept;
\t\tip saddr 10.48.0.0/16COUNTER drop
\t}
}
"""


COUNTERS = {"": 0, " counter packets 0 bytes 0": 0, " counter packets 9 bytes 540": 1}


@pytest.mark.parametrize(("counter", "found"), COUNTERS.items())
def test_a_rule_that_programs_send_packets_past_stops_none(counter: str, found: int) -> None:
    lab = Edited(VXLAN).edit("nft-ruleset", "node-2", adding(FORWARD.replace("COUNTER", counter)))
    assert len([f for f in only(clusters.Sharing(lab), "foreign-drop-rule") if f.severity != "info"]) == found


# ---- connections of nodes


def test_every_walk_and_verdict_of_a_nodes_connection_agrees() -> None:
    """A probe of a service met one backend: where backends differ, either end agrees."""
    cluster = clusters.opened(VXLAN)
    dataplane, explainer = Dataplane.of(cluster), cluster.explainer()
    services = cluster.table("kube.services")
    columns = ("namespace", "service", "cluster_ips")
    addresses = {f"svc/{n}/{s}": next(iter(ips), "") for n, s, ips in cells(services, *columns)}
    ends = {"allow": {"accept", "mixed"}, "drop": {"drop", "mixed"}}
    verdicts = {"allow": {"allow", "mixed"}, "drop": {"deny", "mixed"}}
    probes = json.loads(recordings.read(VXLAN, "probes-host.json"))
    assert len(probes) == 68
    for p in probes:
        target = addresses.get(p["dst"], p["dst_ip"])
        assert dataplane.walk(p["src_ip"], target, p["port"], p["proto"]).verdict in ends[p["observed"]], p
        said = explainer.explain(p["src_ip"], p["dst"], p["port"], p["proto"])
        assert said.verdict in verdicts[p["observed"]], p

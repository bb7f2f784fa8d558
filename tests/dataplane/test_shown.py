"""What people see: figures, sentences, one walk; and the notebooks' questions on other recordings."""

from __future__ import annotations

import pandas as pd
import pytest

import calicokit
from calicokit.dataplane import ebpf_half, figures, sentences, sentences_bpf
from calicokit.dataplane.packets.trace_flow import example, walk
from calicokit.dataplane.rules.naming import limited, policy_chain_suffixes, policy_in_comment
from tests import clusters, recordings

DROP = "policy-drop"


def pod(cluster: calicokit.Cluster, start: str) -> str:
    pods = cluster.table("kube.pods")
    row = pods[pods["pod"].str.startswith(start)].iloc[0]
    return f"{row['namespace']}/{row['pod']}"


@pytest.mark.parametrize("name", [DROP, "policy-drop-v3.28", "healthy-nftables"])
def test_a_walk_says_which_rule_and_whose(name: str) -> None:
    cluster = clusters.opened(name)
    denied = walk(cluster, pod(cluster, "frontend"), pod(cluster, "db"), 5432)
    assert denied.verdict == "drop"
    assert "(end-of-tier default)" in denied.sentence
    assert denied.frame.iloc[-1]["does"] == "drop"
    dns = walk(cluster, pod(cluster, "frontend"), "svc/kube-system/kube-dns", 53, "udp")
    assert dns.verdict == "accept"
    assert dns.frame["way"].max() == 2
    assert sum(e.share for e in dns.walk.ends) == pytest.approx(1)


def test_a_question_that_makes_no_sense_is_unknown() -> None:
    cluster = clusters.opened(DROP)
    assert walk(cluster, "shop/nobody", "10.48.0.1", 80).verdict == "unknown"
    assert walk(cluster, "10.48.0.1", "fd00::1", 80).verdict == "unknown"
    assert walk(cluster, pod(cluster, "frontend"), "10.48.0.1", 80, "carrier-pigeon").verdict == "unknown"


@pytest.mark.parametrize("name", recordings.names())
def test_an_example_is_found_everywhere(name: str) -> None:
    cluster = clusters.opened(name)
    assert example(cluster).verdict in ("accept", "drop", "unknown")


def test_the_drops_are_drawn_with_what_they_are() -> None:
    cluster = clusters.opened(DROP)
    d = cluster.dataplane
    drawn = figures.drop_timeline(d.drop_history())
    assert drawn.fact.startswith("end-of-tier default of shop/frontend (egress): 102 packets")
    assert [len(t.x) for t in drawn.data] == [4, 4]
    assert len({t.marker.symbol for t in drawn.data}) == 2, "not by colour alone"
    sankey = figures.chain_graph(d.graph(), "node-1").data[0]
    labels = list(sankey.node.label)
    links = {
        (labels[s], labels[t]): v
        for s, t, v in zip(*(sankey.link[k] for k in ("source", "target", "value")), strict=True)
    }
    (lost,) = [
        v for (s, t), v in links.items() if t == "dropped: end-of-tier default" and s.startswith("from shop/front")
    ]
    drops = d.drops()
    assert lost == int(drops[(drops["node"] == "node-1") & (drops["reason"] == "end-of-tier")]["packets"].sum())


def test_nothing_to_draw_says_so() -> None:
    d = clusters.opened("healthy-bgp-mesh").dataplane
    assert "not sampled over time" in figures.drop_timeline(d.drop_history()).fact
    assert "No packet" in figures.chain_graph(d.graph().head(0)).fact
    assert "No rule dropped" in figures.drop_timeline(pd.DataFrame(columns=["time", "what"])).fact


@pytest.mark.parametrize("name", recordings.names())
def test_every_sentence_is_true_of_every_recording(name: str) -> None:
    d = clusters.opened(name).dataplane
    assert sentences.differences(d.differences(), d.memberships()).startswith("The programmed dataplane matches")
    assert "forwards" in sentences.kernel(d.kernel())
    assert sentences.programming(d.failures()).startswith("No Felix")
    watched = "policy-drop" in name
    assert sentences.drops(d.drops()).startswith("Dropped during sampling") == watched
    assert sentences.dropped_flows(d.dropped_flows()).startswith("Flows dropped: legacy/batch") == watched
    assert ("BGP" in sentences.foreign(d.foreign_drops())) == (
        name in ("bgp-tcp179-blocked", "dual-stack-bgp6-blocked")
    )
    assert ("legacy" in sentences.modes(d.rules())) == (name == "iptables-backends-mixed")


# ---- names of chains


@pytest.mark.parametrize(
    ("policy", "chain"),
    [
        (("KubernetesNetworkPolicy", "shop", "default-deny", "default"), "cali-pi-_qBmoA25_YxJ3antHvtt"),  # v3.32 on
        (("KubernetesNetworkPolicy", "shop", "default-deny", "default"), "cali-pi-_ZFjibTxb9j7SjgJ2hzN"),  # v3.28
        (("GlobalNetworkPolicy", "", "default.block-threats", "default"), "cali-pi-_kYsqiPY5Cj1PZEzFXZ7"),  # v3.28
        (("GlobalNetworkPolicy", "", "block-threats", "default"), "cali-pi-_kYsqiPY5Cj1PZEzFXZ7"),
        (("GlobalNetworkPolicy", "", "security.block-threats", "security"), "cali-pi-_E5ts1JSB7dRCjzfV213"),
        (("NetworkPolicy", "shop", "allow-cart-egress", "default"), "cali-pi-_PiAZTn8-qOd5xskEOyn"),
    ],
)
def test_the_recorded_hashes_are_found(policy: tuple[str, str, str, str], chain: str) -> None:
    assert chain in {limited("cali-pi-", s) for s in policy_chain_suffixes(*policy)}


def test_old_names_in_comments() -> None:
    admin = policy_in_comment("Policy kanp.adminnetworkpolicy.lockdown ingress")
    assert admin is not None
    assert (admin.kind, admin.ref) == ("AdminNetworkPolicy", "lockdown")
    assert policy_in_comment("Start of tier security") is None
    assert policy_in_comment("Profile kns.shop ingress") is None


# ---- eBPF


def test_the_half_of_ebpf_shows_only_there() -> None:
    there, elsewhere = clusters.opened("healthy-ebpf-vxlan"), clusters.opened(DROP)
    for name in ebpf_half.PARTS:
        assert ebpf_half.half(elsewhere, name) is None
        shown = ebpf_half.half(there, name)
        assert shown is not None
        assert ebpf_half.PARTS[name].question in repr(shown)
    assert ebpf_half.picture(elsewhere) is None
    picture = ebpf_half.picture(there)
    assert picture is not None
    assert picture.fact.startswith("All 42 interfaces that Felix looks after have their programs")
    assert {t.name for t in picture.data} == {"node's own", "tunnel", "host processes", "pod"}
    assert sum(len(t.x) for t in picture.data) == 84
    assert elsewhere.felix.modes()["mode"].eq("netfilter").all()
    assert sentences_bpf.ebpf(elsewhere.felix.modes()) == "eBPF mode is disabled on every node."


def test_a_missing_program_is_in_the_pictures_title_and_first_row() -> None:
    programs = clusters.opened("healthy-ebpf-vxlan").dataplane.programs()
    at = programs.index[(programs["node"] == "node-3") & (programs["role"] == "pod")][0]
    programs.loc[at, ["program", "hook"]] = None
    picture = figures.programs_at_hooks(programs)
    assert programs.loc[at, "interface"] in picture.fact
    assert picture.layout.yaxis.ticktext[0] == "node-3"
    assert [t.name for t in picture.data][-1] == "no program"


def test_a_mixed_cluster_is_told_as_one() -> None:
    modes = clusters.opened("healthy-ebpf-vxlan").felix.modes()
    modes.loc[modes["node"] == "node-4", "mode"] = "netfilter"
    modes.loc[modes["node"] == "node-3", "mode"] = "half-way"
    said = sentences_bpf.ebpf(modes)
    assert "enabled on node-1 and node-2" in said
    assert "does not run on node-3" in said
    assert "The cluster is mixed: node-4 run iptables or nftables" in said


def test_what_maps_lack_is_counted_and_unknown_is_said() -> None:
    cluster = clusters.opened("healthy-ebpf-vxlan")
    services, routes, sets = (cluster.table(f"dataplane.bpf_{t}") for t in ("services", "routes", "sets"))
    said = sentences_bpf.maps(services, routes, sets)
    assert said.startswith("No frontends of 44 differ from Services and EndpointSlices, no routes of 74")
    services.at[services.index[0], "lacks"] = ["10.48.0.1:80"]
    assert sentences_bpf.maps(services, routes, sets).startswith("1 frontend of 44")
    assert "The fullest is" in sentences_bpf.sizes(cluster.dataplane.bpf_maps())

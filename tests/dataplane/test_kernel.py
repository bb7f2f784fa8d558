"""The kernel's settings and counters, and Felix's programming: recordings edited in the tools' own words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from calicokit.dataplane import sentences
from calicokit.dataplane.kernel.settings import effective
from tests import clusters, recordings
from tests.edited import Edit, Edited, adding, without
from tests.only import only

MESH, VXLAN, NFT, OLD = "healthy-bgp-mesh", "healthy-vxlan-typha", "healthy-nftables", "healthy-v3.28"


def of(lab: Edited, id_: str) -> list[Any]:
    return only(lab.cluster(), id_)


def swap(old: str, new: str) -> Edit:
    def how(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return how


def same(text: str) -> str:
    return text


# ---- forwarding, reverse paths


@pytest.mark.parametrize("key", ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"])
def test_a_kernel_that_does_not_forward(key: str) -> None:
    (found,) = Edited(MESH).edit("sysctl-net", "node-2", swap(f"{key} = 1", f"{key} = 0")).heads()
    assert (found.id, found.subject) == ("ip-forward-off", {"node": "node-2"})
    assert f"{key} = 0" in found.cause


def test_the_higher_of_two_filters_counts() -> None:
    filters = {("n", "all"): 1, ("n", "eth0"): 0, ("n", "eth1"): 2}
    assert [effective(filters, "n", i) for i in ("eth0", "eth1", "eth2")] == [1, 2, None]


def asymmetric(lab: Edited) -> Edited:
    """node-2 sends to the pods of node-3 by another interface than the one that their packets come in by."""
    block = re.compile(r"^10\.48\.139\.64/26 .*$", re.MULTILINE)
    return lab.routes("node-2", lambda t: block.sub("10.48.139.64/26 via 192.0.2.9 dev eth1 proto bird", t))


def test_strict_filtering_tells_only_where_the_way_back_is_another() -> None:
    (found,) = of(asymmetric(Edited(MESH)), "rp-filter-strict")
    assert (found.severity, found.subject) == ("warning", {"node": "node-2", "interface": "eth0"})
    assert "via eth1" in found.cause
    assert "node-3" in found.cause
    loose = asymmetric(Edited(MESH)).edit(
        "sysctl-net", "node-2", swap("conf.eth0.rp_filter = 0", "conf.eth0.rp_filter = 2")
    )
    assert of(loose, "rp-filter-strict") == []
    off = asymmetric(Edited(MESH)).edit(
        "sysctl-net", "node-2", swap("conf.all.rp_filter = 1", "conf.all.rp_filter = 0")
    )
    assert of(off, "rp-filter-strict") == []


@pytest.mark.parametrize("name", recordings.names())
def test_no_recording_has_another_way_back(name: str) -> None:
    assert len(clusters.opened(name).table("dataplane.reverse_paths")) == 0


def test_loose_filtering_counts_only_where_felix_refuses() -> None:
    loose = swap("net.ipv4.conf.all.rp_filter = 1", "net.ipv4.conf.all.rp_filter = 2")
    lab = Edited(MESH).edit("sysctl-net", "node-2", loose)
    assert lab.heads() == []
    line = (
        "2026-11-24 00:46:00.000 [FATAL][61] felix/int_dataplane.go 1: Kernel's RPF check is set to 'loose'.  This "
        "would allow endpoints to spoof their IP address."
    )
    (first,) = lab.edit("felix-log", "node-2", adding(line)).heads()
    assert (first.id, first.subject) == ("rp-filter-loose", {"node": "node-2"})


# ---- connection tracking


def counted(**counters: int) -> Edit:
    def how(text: str) -> str:
        for name, value in counters.items():
            text = re.sub(rf"\b{name}=\d+", f"{name}={value}", text, count=1)
        return text

    return how


def limited(most: int) -> Edit:
    return lambda text: re.sub(r"(nf_conntrack_max = )\d+", rf"\g<1>{most}", text)


def test_a_full_table_of_connections() -> None:
    dropping = Edited(MESH).edit("conntrack-stats", "node-3", counted(drop=812))
    (found,) = dropping.heads()
    assert (found.id, found.severity, found.subject) == ("conntrack-full", "critical", {"node": "node-3"})
    early = Edited(MESH).edit("conntrack-stats", "node-3", counted(early_drop=3))
    assert [f.subject for f in of(early, "conntrack-full")] == [{"node": "node-3"}]
    text = recordings.read(MESH, "nodes/node-3/sysctl-net.txt").decode()
    count = int(re.search(r"nf_conntrack_count = (\d+)", text)[1])  # type: ignore[index]
    at_limit = Edited(MESH).edit("sysctl-net", "node-3", limited(count))
    assert [f.severity for f in of(at_limit, "conntrack-full")] == ["critical"]


def test_a_few_drops_of_an_empty_table_are_not_a_full_one() -> None:
    (found,) = of(Edited(MESH).edit("conntrack-stats", "node-3", counted(drop=2)), "conntrack-full")
    assert found.severity == "info"
    past = Edited(MESH).edit("conntrack-stats", "node-3", counted(drop=812))
    past.sampled("conntrack-stats", "node-3", counted(drop=812), counted(drop=812))
    assert [f.severity for f in of(past, "conntrack-full")] == ["info"]


GONE = (
    "udp      17 {} src=10.48.247.0 dst=10.96.0.10 sport=5353 dport=53 [UNREPLIED] src=10.48.139.126 dst=10.48.247.0 "
    "sport=53 dport=5353 use=1"
)


def test_a_connection_to_a_backend_that_is_gone() -> None:
    lab = Edited(MESH).sampled("conntrack", "node-2", adding(GONE.format(25)), adding(GONE.format(28)))
    (found,) = of(lab, "conntrack-stale")
    assert found.severity == "warning"
    assert found.subject == {"node": "node-2", "flow": "udp 10.48.247.0 to 10.96.0.10:53 at 10.48.139.126"}
    unused = Edited(MESH).sampled("conntrack", "node-2", adding(GONE.format(25)), adding(GONE.format(15)))
    assert of(unused, "conntrack-stale") == []
    outside = [adding(GONE.replace("10.48.139.126", "192.0.2.1").format(n)) for n in (25, 28)]
    assert of(Edited(MESH).sampled("conntrack", "node-2", *outside), "conntrack-stale") == []


# ---- interfaces


def link(name: str, **counters: int) -> Edit:
    """Sets counters of one interface in ``ip -s -s link``: columns of the line after RX or TX."""
    columns = {"rx_errors": ("RX:", 2), "rx_dropped": ("RX:", 3), "tx_errors": ("TX:", 2), "tx_dropped": ("TX:", 3)}

    def how(text: str) -> str:
        lines, inside = text.splitlines(), False
        for i, line in enumerate(lines):
            if re.match(r"\d+: ", line):
                inside = line.split()[1].split("@")[0].rstrip(":") == name
            for counter, value in counters.items():
                side, column = columns[counter]
                if inside and line.strip().startswith(f"{side}  bytes"):
                    cells = lines[i + 1].split()
                    cells[column] = str(value)
                    lines[i + 1] = "    " + " ".join(cells)
        return "\n".join(lines) + "\n"

    return how


def test_errors_that_grow_on_the_way_to_other_nodes() -> None:
    lab = Edited(MESH).sampled("ip-link-stats", "node-4", same, link("eth0", rx_errors=41))
    (found,) = lab.heads()
    assert (found.id, found.subject) == ("interface-errors", {"node": "node-4", "interface": "eth0"})
    assert of(Edited(MESH).edit("ip-link-stats", "node-4", link("eth0", rx_errors=41)), "interface-errors") == []
    few = Edited(VXLAN).sampled(
        "ip-link-stats", "node-4", link("vxlan.calico", tx_dropped=1), link("vxlan.calico", tx_dropped=9)
    )
    assert of(few, "interface-errors") == []


@pytest.mark.parametrize(
    ("qdisc", "told"),
    [
        ("qdisc netem 8001: dev eth0 root refcnt 2 limit 1000 loss 20%", "20 %"),
        ("qdisc netem 8001: dev eth0 root refcnt 2 limit 1000 delay 50ms", ""),
        ("qdisc tbf 8001: dev eth0 root refcnt 2 rate 1Mbit burst 4Kb lat 50ms", "rate"),
        ("qdisc fq_codel 0: dev eth0 root refcnt 2 limit 10240p flows 1024", ""),
    ],
)
def test_queues_that_lose_packets(qdisc: str, told: str) -> None:
    old = "qdisc noqueue 0: dev eth0 root refcnt 2 \n Sent 0 bytes 0 pkt (dropped 0,"
    new = f"{qdisc} \n Sent 90000 bytes 900 pkt (dropped 180,"
    found = of(Edited(MESH).edit("tc-qdisc", "node-1", swap(old, new)), "interface-loss")
    assert [f.subject for f in found] == ([{"node": "node-1", "interface": "eth0"}] if told else [])
    assert all(told in f.cause for f in found)


def test_loss_of_an_interface_that_carries_no_pods_is_nobodys() -> None:
    lo = swap("qdisc noqueue 0: dev lo root refcnt 2", "qdisc netem 8001: dev lo root refcnt 2 limit 1000 loss 20%")
    assert of(Edited(MESH).edit("tc-qdisc", "node-1", lo), "interface-loss") == []


# ---- Felix


def failing(seconds: list[int], minute: int) -> str:
    return "\n".join(
        f"2026-11-24 00:{minute:02d}:{s:02d}.000 [WARNING][61] felix/table.go 1165: Failed to program iptables, will "
        'retry error=exit status 4 ipVersion=0x4 table="filter"'
        for s in seconds
    )


def test_felix_that_cannot_program() -> None:
    (found,) = Edited(MESH).edit("felix-log", "node-4", adding(failing([1, 3, 5, 9, 17], 47))).heads()
    assert (found.id, found.severity, found.subject) == ("dataplane-program-failing", "critical", {"node": "node-4"})
    assert "exit status 4" in found.cause
    once = Edited(MESH).edit("felix-log", "node-4", adding(failing([1], 47)))
    assert of(once, "dataplane-program-failing") == []
    done = (
        '2026-11-24 00:47:19.000 [WARNING][61] felix/table.go 1188: Succeeded after retry. ipVersion=0x4 table="filter"'
    )
    recovered = Edited(MESH).edit("felix-log", "node-4", adding(failing([1, 3, 5, 9], 47) + "\n" + done))
    assert of(recovered, "dataplane-program-failing") == []


def test_ebpf_mode_beside_kube_proxy() -> None:
    on = lambda o: o["spec"].update(bpfEnabled=True)  # noqa: E731

    def ebpf() -> Edited:
        """eBPF is on, and no log says that Felix took it otherwise from its environment."""
        edited = Edited(MESH).objects("felixconfigurations", on)
        for node in edited.nodes():
            edited.edit("felix-log", node, without("config_params.go"))
        return edited

    found = of(ebpf(), "bpf-kube-proxy-conflict")
    assert [f.subject["node"] for f in found] == [["node-1", "node-2", "node-3", "node-4"]]
    gone = (
        "2026-11-24 00:46:00.000 [ERROR][61] felix/daemon.go 1: BPF dataplane mode enabled but not supported by the "
        "kernel.  Disabling BPF mode."
    )
    unsupported = ebpf().edit("felix-log", "node-1", adding(gone))
    (found_elsewhere,) = of(unsupported, "bpf-kube-proxy-conflict")
    assert found_elsewhere.subject["node"] == ["node-2", "node-3", "node-4"]


# ---- what is programmed


def both(lab: Edited, node: str, how: Edit) -> Edited:
    return lab.edit("iptables-save", node, how).edit("iptables-nft-save", node, how)


def chain_of(name: str, node: str, words: str) -> str:
    text = recordings.read(name, f"nodes/{node}/iptables-save.txt").decode()
    return next(ln.split(" -A ")[1].split()[0] for ln in text.splitlines() if f'"{words}"' in ln)


def emptied(chain: str) -> Edit:
    return lambda text: "".join(ln for ln in text.splitlines(keepends=True) if f" -A {chain} " not in ln)


@pytest.mark.parametrize(
    ("name", "words", "policy"),
    [
        (MESH, "KubernetesNetworkPolicy shop/web-egress egress", "shop/web-egress"),
        (MESH, "GlobalNetworkPolicy security.block-threats ingress", "security.block-threats"),
        (OLD, "Policy shop/knp.default.web-egress egress", "shop/web-egress"),
    ],
)
def test_an_empty_chain_of_a_policy_that_has_rules(name: str, words: str, policy: str) -> None:
    node = next(
        n for n in Edited(name).nodes() if words in recordings.read(name, f"nodes/{n}/iptables-save.txt").decode()
    )
    lab = both(Edited(name), node, emptied(chain_of(name, node, words)))
    (found,) = lab.heads()
    assert (found.id, found.severity, found.subject) == (
        "dataplane-stale",
        "critical",
        {"node": node, "policy": policy},
    )


def test_a_policy_that_is_not_asked_and_one_that_is_gone() -> None:
    gone = Edited(MESH)
    how = lambda o: o["metadata"].update(name="renamed") if o["metadata"]["name"] == "api-to-db" else None  # noqa: E731
    found = of(gone.objects("kubernetes-networkpolicies", how), "dataplane-stale")
    assert {tuple(f.subject["policy"]) for f in found} == {("shop/api-to-db", "shop/renamed")}


def test_a_pod_without_chains_and_one_that_just_came() -> None:
    node, interface = "node-1", clusters.opened(MESH).table("dataplane.endpoints").iloc[0]["interface"]
    endpoints = clusters.opened(MESH).table("dataplane.endpoints")
    row = endpoints[endpoints["node"] == node].iloc[0]
    interface = row["interface"]
    without = lambda t: "".join(ln for ln in t.splitlines(keepends=True) if interface not in ln)  # noqa: E731
    (found,) = of(both(Edited(MESH), node, without), "dataplane-stale")
    assert found.subject == {"node": node, "policy": "unknown"}
    assert row["pod"] in found.cause
    young = lambda o: o["metadata"].update(creationTimestamp="2026-11-24T00:46:40Z")  # noqa: E731
    assert of(both(Edited(MESH), node, without).objects("pods", young), "dataplane-stale") == []


def test_a_set_that_lacks_a_pod() -> None:
    text = recordings.read(MESH, "nodes/node-1/ipset-list.txt").decode()
    name = next(ln.split()[1] for ln in text.splitlines() if ln.startswith("Name: cali40s:"))
    inside = text.partition(f"Name: {name}\n")[2].partition("Members:\n")[2].splitlines()[0]

    def without(listed: str) -> str:
        head, mark, rest = listed.partition(f"Name: {name}\n")
        return head + mark + rest.replace(f"\n{inside}\n", "\n", 1)

    found = of(Edited(MESH).edit("ipset-list", "node-1", without), "dataplane-stale")
    assert {f.subject["node"] for f in found} == {"node-1"}
    assert all(inside in f.cause for f in found)


@pytest.mark.slow
def test_nodes_with_ebpf_have_no_stale_chains_and_are_said_not_to_be_compared() -> None:
    def enable(item: dict[str, Any]) -> None:
        item["spec"]["bpfEnabled"] = True

    lab = Edited(MESH).objects("felixconfigurations", enable)
    for node in lab.nodes():
        lab.edit("iptables-nft-save", node, without(":cali-tw-")).edit("iptables-save", node, without(":cali-tw-"))
        lab.gone.add(("felix-log", node))  # in which Felix said otherwise
    found = lab.cluster().check()
    assert [f.id for f in found if f.id == "dataplane-stale"] == []
    assert set(found.coverage.partly["dataplane-stale"]) == set(lab.nodes())
    said = sentences.differences(lab.cluster().dataplane.differences(), lab.cluster().dataplane.memberships())
    assert said.startswith(
        "Not compared on node-1, node-2, node-3 and 1 more: its policy programs were not seen whole."
    )


def test_stale_rules_are_under_a_felix_that_is_not_ready() -> None:
    words = "KubernetesNetworkPolicy shop/web-egress egress"
    node = next(
        n for n in Edited(MESH).nodes() if words in recordings.read(MESH, f"nodes/{n}/iptables-save.txt").decode()
    )
    lab = both(Edited(MESH), node, emptied(chain_of(MESH, node, words)))
    lab.edit("felix-log", node, adding(failing([1, 3, 5, 9, 17], 47)))
    assert [(f.id, f.explained_by) for f in lab.loud()] == [
        ("dataplane-program-failing", ""),
        ("dataplane-stale", "dataplane-program-failing"),
    ]


def test_a_chain_that_felix_restored_is_information() -> None:
    line = (
        "2026-11-24 00:46:00.000 [WARNING][61] felix/table.go 790: Detected out-of-sync Calico chain, marking for "
        'resync chainName="cali-pi-_qBmoA25_YxJ3antHvtt" ipVersion=0x4 table="filter"'
    )
    (found,) = of(Edited(MESH).edit("felix-log", "node-1", adding(line)), "dataplane-stale")
    assert (found.severity, found.subject["policy"]) == ("info", "shop/default-deny")


def test_rules_for_flow_logs_change_nothing() -> None:
    """With flow logs on (v3.30 on), an NFLOG rule stands before each verdict; made after felix/rules/policy.go."""
    drop = re.compile(r"^\[\d+:\d+\] (-A cali-p[io]-\S+ .*-m mark --mark (0x40000)/0x40000 )-j DROP$", re.MULTILINE)
    nflog = r'[0:0] \g<1>-j NFLOG --nflog-prefix "DPI0|default/x" --nflog-group 1 --nflog-size 80' "\n\\g<0>"
    text = recordings.read(MESH, "nodes/node-1/iptables-save.txt").decode()
    assert drop.search(text)
    lab = both(Edited(MESH), "node-1", lambda t: drop.sub(nflog, t))
    assert lab.heads() == []
    assert of(lab, "dataplane-stale") == []

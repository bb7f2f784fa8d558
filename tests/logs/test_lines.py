"""All components' lines in one table; patterns that do not depend on values; meanings that every entry can tell."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.model import Want
from calicokit.logs import figures, pick, sentences
from calicokit.logs.known_messages import KINDS, entries, meanings
from calicokit.logs.lines import LOGS, span_of
from calicokit.logs.masks import masked, pattern_id
from tests import clusters, recordings
from tests.fakes import MemorySource, api_list, node

SOME = ["healthy-vxlan-typha", "bgp-as-mismatch", "healthy-v3.28", "ipam-exhausted"]


@pytest.mark.parametrize("name", SOME)
def test_no_line_is_lost_and_each_is_where_it_was(name: str) -> None:
    cluster = clusters.opened(name)
    lines = cluster.logs.lines()
    for component in set(LOGS.values()):
        own = lines[lines["component"] == component]
        ids = [i for i, of in LOGS.items() if of == component]
        theirs = pd.concat([pd.DataFrame(cluster.table(f"output.{i.replace('-', '_')}")) for i in ids])
        assert sorted(zip(own["message"], own["line"], strict=True)) == sorted(
            zip(theirs["message"], theirs["line"], strict=True)
        )
        assert set(own["node"].dropna()) == set(theirs["node"].dropna())
    assert cluster.logs.patterns()["count"].sum() == len(lines)
    assert cluster.logs.counts()["count"].sum() == lines["time"].notna().sum()
    loud = lines["level"].isin(["WARNING", "ERROR", "FATAL", "PANIC"]) | lines["error"].notna()
    problems = cluster.logs.problems()
    assert len(problems) == loud.sum()
    assert sorted(problems["pattern"].astype("str")) == sorted(lines[loud]["pattern"].astype("str"))


def test_a_pattern_has_the_same_name_on_every_cluster() -> None:
    one, two = (clusters.opened(n).logs.patterns() for n in ("healthy-bgp-mesh", "route-conflict"))
    both = one.merge(two, on="pattern")
    assert (both["template_x"] == both["template_y"]).all()
    assert len(both) > 0.9 * min(len(one), len(two))
    assert pattern_id("felix", "Workload interface came up") != pattern_id("typha", "Workload interface came up")


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("Accepted from 172.30.0.11:45706", "Accepted from <address>"),
        ("Pool 10.48.0.0/16 of fd00:10:48::/64", "Pool <address> of <address>"),
        ("via fe80::ecee:eeff:feee:eeee dev cali2d7c2414209", "via <address> dev <interface>"),
        ("MAC ee:ee:ee:ee:ee:ee", "MAC <mac>"),
        ("took 1m20.1s, longest 223ms, 3µs", "took <duration>, longest <duration>, <duration>"),
        ("container 324f0cbe17aa4455", "container <id>"),
        ("uid 3624a705-151c-4598-803a-1cd552fb97f1", "uid <id>"),
        ("Mesh_172_30_0_12 and Node_10_0_0_1_port_179", "Mesh_<address> and Node_<address>"),
        ('Lost "shop/cart-1" of "no name here"', 'Lost "<name>" of "no name here"'),
        ("Config update: {a:1 b:{c:2}} error=too late", "Config update: {…} error=too late"),
        ("labels map[app:db tier:x]", "labels map[…]"),
        ("node-12 is up", "node-<n> is up"),
        ("failed: exit status 127", "failed: exit status 127"),
        ("first\nsecond line 1\nthird", "first …"),
        ("Applying dataplane updates", "Applying dataplane updates"),
        ("eth0 ipv4 nf_tables v1", "eth0 ipv4 nf_tables v1"),
        ("", ""),
    ],
)
def test_what_is_masked(text: str, template: str) -> None:
    assert masked(pa.array([text])).to_pylist() == [template]


def test_a_hostile_line_takes_no_longer_than_its_length() -> None:
    texts = ["1" * 200_000, "{" * 200_000, '"' * 200_000, "a:" * 100_000, "1.1." * 50_000, "<n> " * 50_000]
    assert all(len(t) < 2_000 for t in masked(pa.array(texts)).to_pylist())


SAMPLES = {
    "forbidden": ("felix", 'x error=tiers.crd is forbidden: User "<name>" cannot list resource'),
    "old-kind": ("startup", "Error getting resource error=could not (get GlobalFelixConfigs.crd.projectcalico.org x)"),
    "kind-missing": ("cni", "error=the server could not find the requested resource (get IPReservations.crd.x)"),
    "unauthorized": ("cni", "Final result of CNI ADD was an error. error=connection is unauthorized: Unauthorized"),
    "certificate": ("typha", "Failed error=x509: certificate signed by unknown authority"),
    "typha-unreachable": ("felix", "Failed to connect to Typha. error=no"),
    "datastore-unreachable": ("confd", 'error=Get "<name>": dial tcp <address>: i/o timeout'),
    "datastore-unready": ("kube-controllers", "datastore is locked, skipping ipam sync"),
    "felix-start": ("felix", "Felix starting up"),
    "felix-config-restart": ("felix", "Configuration value changed; change DOES require Felix to restart."),
    "felix-shutdown": ("felix", "Felix is shutting down"),
    "felix-loops": ("felix", "Summarising <n> dataplane reconciliation loops over <duration>: avg=<duration>"),
    "inserts-out-of-sync": ("felix", "Detected out-of-sync inserts, marking for resync"),
    "chain-out-of-sync": ("felix", "Detected out-of-sync Calico chain, marking for resync"),
    "program-failed": ("felix", "Failed to execute ip(6)tables-restore command error=exit status 4"),
    "bpf-program-failed": ("felix", "Failed to apply policy to endpoint, leaving it dirty error=x"),
    "routes-failed": ("felix", "Second attempt at updating routing table failed. Will retry later. error=x"),
    "program-succeeded": ("felix", "Succeeded after retry."),
    "backend-mismatch": ("felix", "Iptables backend specified does not match the detected backend, using"),
    "bpf-off": (
        "felix",
        "Failed to make sure that bpfin.cali/bpfout.cali device is (not) present. error=Link not found",
    ),
    "modprobe": ("felix", "attempted to modprobe nf_conntrack_proto_sctp"),
    "rpf-loose": ("felix", "Kernel's RPF check is set to 'loose'."),
    "kubevirt-absent": ("felix", "Backing API not installed, marking as in-sync and retrying later."),
    "health-changed": ("felix", "Overall health status changed: …"),
    "felix-not-live": ("felix", "Reporter is not live: timed out"),
    "wireguard": ("felix", "error obtaining link client for wireguard"),
    "parent-device": ("felix", "Failed to find parent device. Missing/conflicting local information?"),
    "vxlan-device": ("felix", '"<name>" exists with incompatible configuration: x; recreating device'),
    "unwanted-tunnel-address": ("felix", "Removing unwanted IP from tunnel device"),
    "route-write-failed": ("felix", "First attempt at updating routing table failed.  Retrying... error=x"),
    "logs-dropped": ("felix", "... dropped <n> logs ..."),
    "bird6-absent": ("confd", 'Error from checkcmd "bird6 -p -c /x": "/bin/sh: <n>: bird6: not found\\n"'),
    "bird-config-refused": ("confd", 'Error from checkcmd "bird -p -c /x": "bird: /x:<n>:<n> syntax error\\n"'),
    "endpoint-status-absent": ("confd", "Error adding directory to fsnotify. error=no such file or directory"),
    "bgp-password-unreadable": ("confd", "Can't read password for BGPPeer x"),
    "peer-malformed": ("confd", "PeerIP is not assigned or is malformed"),
    "bird-session": ("bird", "State changed to up"),
    "bird-error": ("bird", "Error: Bad peer AS: <n>"),
    "bird-reconfigured": ("bird", "Reconfigured"),
    "cni-failed": ("cni", "Final result of CNI ADD was an error. error=boom"),
    "cni-delete-failed": ("cni", "Final result of CNI DEL was an error. error=boom"),
    "pool-exhausted": ("cni", "All addresses exhausted in pool <address>"),
    "ipam-lock": ("cni", "Failed to grab IPAM lock, may contend for datastore updates"),
    "address-autodetect-failed": ("startup", "Unable to auto-detect an IPv4 address: no valid"),
    "address-conflict": ("startup", "Calico node 'x' is already using the IPv4 address <address>."),
    "typha-hello": ("typha", "Failed to read client hello. error=context canceled"),
    "typha-slow-client": ("typha", "Client fell behind. Disconnecting."),
    "typha-canceled": ("typha", "Connection handler finished error=context canceled"),
    "ipam-gc": ("kube-controllers", "Candidate IP leak"),
    "controllers-restart": ("kube-controllers", "configuration changed; restarting"),
    "conflict": ("felix", "x error=update conflict: IPAMBlock(<address>)"),
}
"""A line of each entry, in Calico's words (the entry's source says where from)."""


def test_every_entry_tells_its_line() -> None:
    assert set(SAMPLES) == {e.word for e in entries()}
    for word, (component, template) in SAMPLES.items():
        (told,) = meanings([component], [template])
        assert told is not None, word
        assert told.word == word


def test_entries_are_whole() -> None:
    for entry in entries():
        assert entry.kind in KINDS
        assert entry.means.endswith(".")
        assert entry.source
        assert entry.versions
        assert set(entry.components) <= set(LOGS.values())
        assert not (entry.kind == "harmless" and entry.finding), entry.word


@pytest.mark.parametrize("name", [n for n in recordings.names() if n.startswith("healthy") or n == "felix-churn"])
def test_no_healthy_cluster_logs_a_fault(name: str) -> None:
    telling = clusters.opened(name).logs.telling()
    assert telling[telling["kind"] == "fault"].empty


# ---- time


@pytest.mark.parametrize(
    ("seconds", "span"), [(0, 1), (100, 1), (800, 5), (3600, 60), (86_400, 900), (30 * 86_400, 21_600), (9e9, 86_400)]
)
def test_spans_of_time_are_few(seconds: float, span: int) -> None:
    times = pd.Series(pd.to_datetime([0, seconds], unit="s", utc=True))
    assert span_of(times) == span


# ---- what is shown


def hostile() -> Cluster:
    text = (
        "2026-03-01 11:59:00.000 [ERROR][1] felix/x.go 1: <script>alert(1)</script> <b>bold</b> error=<i>x</i>\n" * 12
    )
    name = "<b>n</b>"
    answers = {Want("nodes"): api_list([node(name)]), Want("felix-log", name): text.encode()}
    return Cluster(MemorySource(answers, known_nodes=[name]))


def test_text_of_a_log_is_never_markup() -> None:
    from calicokit.show import show

    cluster = hostile()
    drawn = figures.timeline(cluster.logs.counts())
    assert "<b>n" not in str(drawn.to_plotly_json()["data"])
    for shown in (show(cluster.logs.patterns()), show(cluster.logs.bursts()), show(pick.around(cluster))):
        assert "<script" not in shown._repr_html_()
    assert "<b>" not in sentences.bursts(cluster.logs.bursts())._repr_html_()


def test_what_is_unknown_says_so() -> None:
    cluster = Cluster(MemorySource({Want("nodes"): api_list([node("n1")])}, known_nodes=["n1"]))
    assert cluster.logs.lines().unknown
    for said in (
        sentences.volume(cluster.logs.lines()),
        sentences.patterns(cluster.logs.patterns()),
        sentences.telling(cluster.logs.telling()),
        sentences.bursts(cluster.logs.bursts()),
        sentences.refusals(cluster.health.refusals()),
        figures.timeline(cluster.logs.counts()).fact,
        figures.story(cluster.logs.story()).fact,
    ):
        assert said.startswith("Unknown, not empty")
    assert len(pick.around(cluster)) == 0


@pytest.mark.parametrize("name", SOME)
def test_pictures_and_sentences_of_recordings(name: str) -> None:
    cluster = clusters.opened(name)
    counts, story = cluster.logs.counts(), cluster.logs.story()
    drawn = figures.timeline(counts)
    assert sum(len(t.x) for t in drawn.data) > 10
    assert f"{int(counts['count'].sum()):,} lines" in drawn.fact
    assert len(figures.story(story).data) == 3
    assert story["kind"].isin(["fault", "start", "event"]).all()
    assert "None" not in sentences.volume(cluster.logs.lines())
    assert story["time"].is_monotonic_increasing


def test_around_a_pattern_stand_its_last_lines_and_their_neighbours() -> None:
    cluster = clusters.opened("ipam-exhausted")
    around = pick.around(cluster)
    last = around[around["message"].str.contains("Final result of CNI ADD was an error")]
    assert len(last)
    assert around["evidence"].nunique() == 1
    assert around["line"].is_monotonic_increasing
    assert len(pick.around(cluster, "felix-00000000")) == 0

"""Health commands, CNI configurations and the kernel's log, against every recording; calico-node -bpf dumps."""

from __future__ import annotations

import doctest
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers import bpf, health
from calicokit.parsers.base import KINDS, Parsed, ParseError, parse
from calicokit.parsers.kubernetes import cni
from calicokit.parsers.logs import dmesg as kernel
from tests import recordings
from tests.examples import examples

READY, CONFLIST, DMESG = "health-ready", "cni-conflist", "dmesg"
NAMES = recordings.names()
PATTERNS = {READY: "nodes/*/*-ready.txt", CONFLIST: "nodes/*/cni-net.d.txt", DMESG: "cluster/kernel-log.txt"}


def texts(kind: str, name: str) -> list[str]:
    """What every node printed; of the health commands, what they wrote to stderr too."""
    files = json.loads(recordings.read(name, "manifest.json"))["files"]
    paths = recordings.paths(name, PATTERNS[kind])
    return [recordings.read(name, p).decode() + files.get(p, {}).get("stderr", "") for p in paths]


def check(kind: str, text: str, *, strict: bool = False) -> Parsed:
    parsed = parse(kind, text, strict=strict)
    for schema in KINDS[kind].schemas:
        schema.check(parsed.tables[schema.name])
    return parsed


@pytest.mark.parametrize("module", [bpf, cni, health, kernel])
def test_examples_in_docstrings_run(module: object) -> None:
    assert doctest.testmod(module)[0] == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("text", ["", "\n \r\n", "[root@node ~]# dmesg\n", "$ kubectl exec calico-node -- cat /x\n"])
def test_no_output_gives_empty_tables(kind: str, text: str) -> None:
    assert all(table.empty for table in check(kind, text, strict=True).tables.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_health_answer_is_read(name: str) -> None:
    files = json.loads(recordings.read(name, "manifest.json"))["files"]
    for path in recordings.paths(name, PATTERNS[READY]):
        text = recordings.read(name, path).decode() + files[path].get("stderr", "")
        frame = check(READY, text, strict=True).frame
        assert len(frame) == len(text.splitlines())
        assert (frame["ready"] == False).any() == (files[path]["exit"] != 0)  # noqa: E712
        assert (frame["component"] == "bird").all()


def test_peers_without_a_session() -> None:
    text = recordings.read("bgp-tcp179-blocked", "nodes/node-3/bird-ready.txt").decode()
    assert check(READY, text, strict=True).frame["peers"][0] == ["172.30.0.11", "172.30.0.12", "172.30.0.14"]
    logged = recordings.read("healthy-v3.28", "nodes/node-1/bird-ready.txt").decode()
    row = check(READY, logged, strict=True).frame.iloc[0]
    assert row["established"] == 3
    assert row["time"] == pd.Timestamp("2026-11-24T02:30:50.221Z")


def test_health_messages_of_other_components() -> None:
    text = """Readiness probe failed: calico/node is not ready: felix is not ready: readiness probe reporting 503
calico/node is not live: bird/confd is not live: service confd is not running. Output << down: confd: 3s >>
calico/node is not ready: BIRD is not ready: Error querying BIRD: unable to connect to BIRDv6 socket: dial unix
calico/node is not ready: bird6 is not ready: BGP not established with fd00::1,fd00::2
"""
    frame = check(READY, text, strict=True).frame
    assert frame["component"].to_list() == ["felix", "confd", "bird6", "bird6"]
    assert frame["check"].to_list() == ["ready", "live", "ready", "ready"]
    assert frame["peers"][3] == [
        "fd00::1",
        "fd00::2",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_cni_configuration_is_read(name: str) -> None:
    for text in texts(CONFLIST, name):
        parsed = check(CONFLIST, text, strict=True)
        frame = parsed.frame
        assert frame["type"].to_list() == ["calico", "portmap"]
        assert frame["position"].to_list() == [0, 1]
        first = frame.iloc[0]
        assert (first["file"], first["ipam_type"], first["mtu"], first["policy_type"]) == (
            "/etc/cni/net.d/10-calico.conflist",
            "calico-ipam",
            0,
            "k8s",
        )
        assert frame["capabilities"][1] == ["portMappings"]
        assert bool(frame["snat"][1])
        assert parsed.tables["cni_files"]["read"].all()


def test_other_cni_files_and_no_secrets() -> None:
    plugin = {"type": "calico", "mtu": "1440", "policy": {"type": "k8s", "k8s_auth_token": "hush"}}
    plugin["ipam"] = {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": False, "ipv4_pools": ["10.0.0.0/16"]}
    conf = json.dumps({"name": "old", "cniVersion": "0.3.1", **plugin}, indent=2)
    text = f"==> /etc/cni/net.d/10-calico.conf <==\n{conf}\n\n==> /etc/cni/net.d/calico-kubeconfig <==\ntoken: hush\n"
    text += '==> /etc/cni/net.d/99.conflist <==\n{"plugins": [\n"k8s_auth_token": "hush"\n'
    parsed = check(CONFLIST, text)
    row = parsed.frame.iloc[0]
    assert (row["mtu"], row["assign_ipv4"], row["assign_ipv6"], row["ipv4_pools"]) == (
        1440,
        True,
        False,
        ["10.0.0.0/16"],
    )
    assert parsed.tables["cni_files"]["read"].to_list() == [True, False, False]
    assert len(parsed.unparsed) == 2
    assert "hush" not in repr(parsed)
    assert not any("hush" in table.to_csv() for table in parsed.tables.values())
    assert len(check(CONFLIST, conf + "\n" + conf, strict=True).frame) == 2


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_line_is_read(name: str) -> None:
    for text in texts(DMESG, name):
        frame = check(DMESG, text, strict=True).frame
        assert len(frame) == len(text.splitlines())
        assert (frame["kind"] == "log").all()
        assert (frame["prefix"] == "calico-packet:").all()
        packets = frame[
            ["in_interface", "out_interface", "mac", "source", "destination", "sport", "dport", "ttl", "length"]
        ]
        assert packets.notna().all(axis=None)
        assert (frame["protocol"] == "tcp").all()
        assert (frame["flags"] == "syn").all()
        assert (frame["time"].notna() | frame["uptime"].notna()).all()


PACKET = (
    "IN=cali1 OUT= MAC=aa:bb SRC=fd00::1 DST=fd00::2 LEN=60 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=1 DPT=53 LEN=8"
)
KERNEL = f"""[Tue Nov 24 02:09:00 2026] TRACE: raw:PREROUTING:rule:1 {PACKET} MARK=0x10000
<4>[   12.5] TRACE: filter:cali-FORWARD:policy:12 IN= OUT=eth0 SRC=1.2.3.4 DST=5.6.7.8 LEN=84 TTL=63 PROTO=ICMP TYPE=3 CODE=1 [SRC=9.9.9.9 DST=8.8.8.8 PROTO=TCP SPT=7 DPT=8 ] MARK=0x1
Nov 24 02:09:01 node-1 kernel: [ 99.25] nf_conntrack: nf_conntrack: table full, dropping packet
kern  :warn  : [  100.000001] calico-drop:IN=a OUT=b SRC=1.1.1.1 DST=2.2.2.2 LEN=40 TTL=1 PROTO=TCP SPT=1 DPT=2 WINDOW=0 RES=0x00 ACK RST URGP=0
2026-11-24T02:09:00+00:00 eth0: link becomes ready
"""  # noqa: E501


def test_traces_full_tables_and_other_times() -> None:
    frame = check(DMESG, KERNEL, strict=True).frame
    assert frame["kind"].to_list() == ["trace", "trace", "conntrack", "log", "other"]
    assert frame["time"].notna().to_list() == [True, False, False, False, True]
    assert frame["uptime"].to_list()[1:4] == [12.5, 99.25, 100.000001]
    first, second, dropped = frame.iloc[0], frame.iloc[1], frame.iloc[3]
    assert (first["table"], first["chain"], first["step"], first["rule"]) == ("raw", "PREROUTING", "rule", 1)
    assert (first["source"], first["dport"], first["ttl"], first["mark"]) == ("fd00::1", 53, 64, "0x10000")
    assert pd.isna(first["out_interface"])
    assert pd.isna(second["in_interface"])
    assert first["length"] == 60
    assert (second["source"], second["icmp_type"], second["protocol"], second["mark"]) == ("1.2.3.4", 3, "icmp", "0x1")
    assert pd.isna(second["sport"])
    assert second["chain"] == "cali-FORWARD"
    assert (dropped["prefix"], dropped["flags"], dropped["in_interface"]) == ("calico-drop:", "ack,rst", "a")


@pytest.mark.parametrize("kind", PATTERNS)
def test_noise_around_and_within(kind: str) -> None:
    text = next(t for t in texts(kind, "bgp-tcp179-blocked" if kind != DMESG else "policy-drop") if t)
    noisy = 'Defaulted container "calico-node" out of: calico-node\r\n\x1b[1m' + text.replace("\n", "\x1b[0m\r\n")
    noisy += "\r\ncommand terminated with exit code 1\r\n[root@node ~]# "
    clean = parse(kind, text, strict=True).frame.drop(columns="line", errors="ignore")
    pd.testing.assert_frame_equal(check(kind, noisy, strict=True).frame.drop(columns="line", errors="ignore"), clean)


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("text", ["what is this", "[1, 2"])
def test_foreign_lines_are_refused(kind: str, text: str) -> None:
    assert [line.text for line in check(kind, text).unparsed] == [text]
    with pytest.raises(ParseError):
        parse(kind, text, strict=True)


name = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
packet = st.tuples(name, name, st.ip_addresses().map(str), st.integers(0, 65535), st.integers(0, 10**6), name)


@examples(60)
@given(st.lists(packet, max_size=6))
def test_packets_are_read_as_printed(packets: list[tuple]) -> None:
    text = "".join(
        f"[{up:>6}.000000] {prefix}: IN={i} OUT={o} SRC={a} DST={a} LEN=60 PROTO=TCP SPT={p} DPT={p} SYN \n"
        for i, o, a, p, up, prefix in packets
    )
    frame = check(DMESG, text, strict=True).frame
    columns = ["in_interface", "out_interface", "source", "dport", "uptime", "prefix"]
    assert [tuple(r) for r in frame[columns].to_numpy()] == [(*p[:5], p[5] + ":") for p in packets]


OUTPUTS = [(k, t[:3000]) for k in PATTERNS for n in ("bgp-tcp179-blocked", "policy-drop") for t in texts(k, n) if t]
OUTPUTS += [(DMESG, KERNEL)]
edit = st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.text(':=/,{}[]" \n\r\x1b0123456789abINé\0', max_size=6))


@examples(150)
@given(st.sampled_from(OUTPUTS), st.lists(edit, max_size=10))
def test_damaged_output_never_breaks(output: tuple[str, str], edits: list[tuple[int, int, str]]) -> None:
    kind, text = output
    for at, length, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    if check(kind, text).unparsed:
        with pytest.raises(ParseError):
            parse(kind, text, strict=True)


def test_long_and_hostile_texts_are_read() -> None:
    line = texts(DMESG, "policy-drop")[0].split("\n")[0] + "\n"
    hard = (
        "[ 1.0] " + "IN= " * 50_000 + "\n[ 2.0] " + " [SRC=" * 50_000 + "\n[ 3.0] IN=a OUT=b RES=0x1 " + "SYN " * 50_000
    )
    assert len(check(DMESG, line * 30_000 + hard).frame) == 30_003
    check(CONFLIST, "[" * 100_000)
    for kind in BPF:
        check(kind, BPF[kind] * 500 + "Rule: " + " " * 100_000 + "x\n" + "a:1 -> " * 20_000 + "\n" + "0" * 100_000)
    check(
        READY,
        'time="a" level=info msg="'
        + "\\" * 100_001
        + "\ncalico/node is not ready: "
        + "BGP not established with " * 9_999,
    )


BPF = {
    "bpf-routes": """     10.48.1.2/32: local workload in-pool nat-out idx 12
      10.48.0.0/16: in-pool nat-out
fd00:10::/122: remote workload in-pool tunneled nh fd00::12
    10.9.0.0/26: blackhole-drop
    172.30.0.12/32: remote host
""",
    "bpf-nat": """10.49.0.10 port 53 proto 17 id 3 count 2 local 1 flags external-local, internal-local src 10.0.0.0/8
\t3:0\t 10.48.1.3:53
\t3:1\t is missing
fd00:49::1 port 443 proto 6 id 4 count -1 local 0
client 10.48.1.9 svc proto 6 10.49.0.7:80 -> [fd00::4]:8080 ts 2h0m1.5s
svc 4 ordinal 17 -> 10.48.1.4:8443
""",
    "bpf-conntrack": """TCP 10.48.1.2:40258 -> 10.49.0.7:80 -> 10.48.3.4:8080  Active ago 1m2.5s ESTABLISHED
UDP fd00::1:5000 -> fd00::2:53  Active ago 350.5ms
TCP 1.2.3.4:5 -> 10.49.0.7:80 -> 10.48.3.4:80 external client, service forwarded to/from 172.30.0.12 source port changed from 77  Active ago 2s CLOSED
ConntrackKey{proto=17 10.0.0.1:1 <-> 10.0.0.2:2} -> Entry{Type:0, LastSeen:1, Flags: <none> Data: {A2B:{X:1}}} Active ago 3s
""",  # noqa: E501
    "bpf-ipsets": "IP set 0x1f2e3d\n   10.48.1.2/32\n   10.48.1.3:8080 (proto 6)\n\nIP set 0x2\n   fd00::/64\n\n",
    "bpf-ifstate": """    2 : {flags: host, XDPPolicyV4: -1, IngressPolicyV4: -1, EgressFilter: 3, name: eth0}
   12 : {flags: workload,v4Ready, XDPPolicyV4: -1, IngressPolicyV4: 4, IngressFilter: 7, name: cali1}
""",
    "bpf-arp": "dev    2:     172.30.0.12 : 02:00:00:00:00:01 -> 02:00:00:00:00:02\n",
    "bpf-counters": """+----------+--------------+---------+--------+-----+
| CATEGORY | TYPE         | INGRESS | EGRESS | XDP |
+----------+--------------+---------+--------+-----+
| Total    | packets      |      12 |     30 | N/A |
| Dropped  | by policy    |       7 |      0 | N/A |
|          | too short    |       0 |      1 | N/A |
+----------+--------------+---------+--------+-----+
dumped cali1 counters.
""",
}


@pytest.mark.parametrize("kind", BPF)
def test_bpf_dumps_are_read(kind: str) -> None:
    parsed = check(kind, BPF[kind], strict=True)
    noisy = 'Defaulted container "calico-node" out of: x\r\n' + BPF[kind].replace("\n", "\x1b[0m\r\n")
    for table, frame in check(kind, noisy, strict=True).tables.items():
        pd.testing.assert_frame_equal(frame.drop(columns="line"), parsed.tables[table].drop(columns="line"))
    assert all(t.empty for t in check(kind, "", strict=True).tables.values())
    assert [line.text for line in check(kind, "what is this").unparsed] == ["what is this"]


def test_bpf_values() -> None:
    tables = {name: t for kind, text in BPF.items() for name, t in parse(kind, text).tables.items()}
    routes, nat = tables["bpf_routes"], tables["bpf_nat"]
    assert routes["flags"].to_list()[2:4] == [["in-pool", "tunneled"], ["blackhole-drop"]]
    assert (routes["ifindex"][0], routes["next_hop"][2]) == (12, "fd00::12")
    assert nat["backends"].to_list() == [2, -1]
    assert (nat["source"][0], nat["flags"][0]) == ("10.0.0.0/8", ["external-local", "internal-local"])
    assert tables["bpf_nat_backends"]["address"].isna().to_list() == [False, True, False]
    affinity = tables["bpf_nat_affinity"].iloc[0]
    assert (affinity["backend"], affinity["backend_port"], affinity["age"]) == ("fd00::4", 8080, 7201.5)
    tracked = tables["bpf_conntrack"]
    assert (tracked["source"][1], tracked["age"][1], tracked["tunnel_ip"][2]) == ("fd00::1", 0.3505, "172.30.0.12")
    assert (tracked["original_sport"][2], tracked["state"][2], tracked["protocol"][3]) == (77, "closed", "udp")
    assert tables["bpf_ipsets"]["port"].dropna().to_list() == [8080]
    assert tables["bpf_ifstate"]["programs"][1] == {"XDPPolicyV4": -1, "IngressPolicyV4": 4, "IngressFilter": 7}
    counters = tables["bpf_counters"]
    assert counters["category"].to_list() == ["Total", "Dropped", "Dropped"]
    assert (counters["interface"] == "cali1").all()


def test_years_that_no_table_can_hold() -> None:
    for text in ("0026-11-24T02:09:00+00:00 a: b\n", "[Tue Nov 24 02:09:00 0026] a: b\n"):
        assert check(DMESG, text, strict=True).frame["time"].isna().all()
    assert check(READY, 'time="0026-11-24T00:52:42Z" level=info msg="x"', strict=True).frame["time"].isna().all()
    described = "Name: a\nStart Time: Tue, 24 Nov 9999 02:08:40 +0000\n"
    assert check("kubectl-describe", described, strict=True).frame["start_time"].isna().all()


@pytest.mark.parametrize("kind", [*BPF, *PATTERNS, "prometheus", "kubectl-get", "kubectl-describe", "calicoctl-get"])
def test_halves_of_characters_are_no_error(kind: str) -> None:
    for text in (
        "NAME\n\ud800",
        "Name: \ud800",
        "[ 1.0] \ud800",
        '{"kind": "\\ud800", "type": "\\ud800"}',
        "==> \ud800 <==",
    ):
        check(kind, text)


@examples(100)
@given(st.sampled_from(list(BPF.items())), st.lists(edit, max_size=8))
def test_damaged_bpf_dumps_never_break(output: tuple[str, str], edits: list[tuple[int, int, str]]) -> None:
    kind, text = output
    for at, length, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + length :]
    if check(kind, text).unparsed:
        with pytest.raises(ParseError):
            parse(kind, text, strict=True)

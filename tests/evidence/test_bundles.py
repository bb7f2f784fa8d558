"""Bundles that people have: what each holds reaches the catalog's ids, what it lacks is said, nothing is made up."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from calicokit.cluster import Cluster
from calicokit.evidence.bundles import bundle, layouts
from calicokit.evidence.bundles import kubectl_output as printed
from calicokit.evidence.bundles.recognise import Part, Unread, parts
from calicokit.evidence.bundles.unsorted_files import BY_USER
from calicokit.evidence.catalog import CATALOG, NEVER, Api
from calicokit.evidence.model import Evidence, Missing, SourceError, Want
from calicokit.evidence.sources import source_of
from tests import recordings
from tests.clusters import Sharing
from tests.evidence import bundles
from tests.examples import first

HEALTHY = "healthy-bgp-mesh"
MANIFEST = bundles.SHARED / "cluster-diags-manifest-install.tar.gz"
OPERATOR = bundles.SHARED / "cluster-diags-operator-layout.tar.gz"
real = pytest.mark.skipif(not MANIFEST.exists(), reason="the lab's bundles are not on this machine")


def opened(files: dict[str, bytes], folder: Path) -> Cluster:
    return Sharing(source_of(str(bundles.written(files, folder))))


def answers(cluster: Cluster, *wants: Want) -> list[Evidence | Missing]:
    return [a for _, a in cluster._source.fetch(wants)]


def whys(cluster: Cluster) -> dict[str, str]:
    return {m.id: m.why for m in cluster.coverage.missing}


# ---- calicoctl cluster diags


@real
def test_the_real_bundle_of_a_healthy_manifest_install_has_no_findings() -> None:
    cluster = Sharing(source_of(str(MANIFEST)))
    findings = cluster.check()
    assert [f.id for f in findings if f.severity != "info"] == []
    assert cluster.nodes() == ["node-1", "node-2", "node-3", "node-4"]  # of the API: there are no outputs of nodes
    assert str(cluster.time) == "2026-11-24 02:37:09+00:00"
    assert "not in kube-system" in whys(cluster)["cni-log"]


@real
def test_the_real_bundle_of_an_operator_install_has_every_output_and_log() -> None:
    cluster = Sharing(source_of(str(OPERATOR)))
    logs = cluster.table("output.bird_log")
    assert logs["node"].value_counts().index.isin(cluster.nodes()).all()
    assert logs[logs["node"] == "node-3"]["message"].tolist()[-1] == "Shutdown completed"
    for name in ("felix_log", "confd_log", "startup_log", "ip_route_all", "ip_addr", "ip_neigh", "ipset_list"):
        assert sorted(cluster.table(f"output.{name}")["node"].unique()) == cluster.nodes()
    unread = [str(m) for m in cluster.coverage.missing if "could not be read" in m.why]
    assert unread == []
    assert "does not collect `birdcl show protocols`" in str(cluster.table("output.birdcl_protocols").unknown[0])


@real
def test_standard_error_amid_an_output_is_taken_out_and_a_loss_is_said() -> None:
    cluster = Sharing(source_of(str(OPERATOR)))
    first, second = answers(cluster, Want("iptables-nft-save", "node-1"), Want("nft-ruleset", "node-2"))
    assert isinstance(first, Evidence)
    assert b"# Warning" not in first.text
    assert "iptables-legacy tables present" in first.stderr
    assert isinstance(second, Evidence)
    assert "lost a part of the output" in second.partial


@pytest.mark.parametrize("name", first(1, ["ipam-leaked", "ipam-exhausted", "healthy-v3-crds", "healthy-v3.28"]))
def test_a_bundle_of_a_cluster_says_what_its_recording_says(name: str, tmp_path: Path) -> None:
    mine = opened(bundles.cluster_diags(name), tmp_path / "b")
    theirs = Sharing(source_of(f"incident:{name}"))
    asked = {"ipam-leak", "ipam-orphan-handle", "ippool-disabled", "ipam-borrowed", "nat-outgoing-off"}
    said = [[f.as_dict() for f in c.check() if f.id in asked] for c in (mine, theirs)]
    drop: Callable[[list[dict[str, object]]], list[dict[str, object]]] = lambda found: [  # noqa: E731
        {k: v for k, v in f.items() if k != "evidence"} for f in found
    ]
    assert drop(said[0]) == drop(said[1])
    assert (
        mine.table("ipam.blocks")
        .drop(columns=["evidence", "revision"], errors="ignore")
        .equals(theirs.table("ipam.blocks").drop(columns=["evidence", "revision"], errors="ignore"))
    )


def test_a_kind_that_the_api_server_does_not_have_has_no_objects_and_a_refusal_is_a_hole(tmp_path: Path) -> None:
    files = bundles.cluster_diags(HEALTHY, with_nodes=False)
    top = bundles.top(HEALTHY)
    forbidden = b'Error from server (Forbidden): pods is forbidden: User "x" cannot list resource "pods"\n'
    files[f"{top}/cluster/kubernetes/pods.yaml"] = forbidden
    cluster = opened(files, tmp_path)
    absent, refused, operator, never = answers(
        cluster, Want("adminnetworkpolicies"), Want("pods"), Want("installations"), Want("events")
    )
    assert isinstance(absent, Evidence)
    assert json.loads(absent.text)["items"] == []
    assert isinstance(operator, Evidence)  # CRDs were listed, and this is none of them
    assert isinstance(refused, Missing)
    assert "is forbidden" in refused.why
    assert isinstance(never, Missing)
    assert never.why == "`calicoctl cluster diags` does not collect events"


def test_a_list_that_was_cut_is_a_hole_not_a_shorter_list(tmp_path: Path) -> None:
    files = bundles.cluster_diags(HEALTHY, with_nodes=False)
    path = f"{bundles.top(HEALTHY)}/cluster/kubernetes/pods.yaml"
    files[path] = files[path][: len(files[path]) // 2] + b"\n  - : :\n\t- x"
    cluster = opened(files, tmp_path)
    assert "truncated" in str(cluster.table("kube.pods").unknown[0])
    assert "ipam-leak" not in [f.id for f in cluster.check()]


def test_links_in_a_bundle_are_left_out_and_those_that_leave_it_are_refused(tmp_path: Path) -> None:
    files = bundles.cluster_diags(HEALTHY)
    top = bundles.top(HEALTHY)
    inside = {f"{top}/links/calico-system/x.log": "../../nodes/node-1/cni.log.log"}
    assert Sharing(source_of(str(bundles.packed(files, tmp_path / "in.tar.gz", inside)))).nodes()
    outside = {f"{top}/links/x.log": "../../../etc/passwd"}
    with pytest.raises(SourceError, match="link to outside the archive"):
        source_of(str(bundles.packed(files, tmp_path / "out.tar.gz", outside)))


def test_references_in_yaml_are_refused(tmp_path: Path) -> None:
    bomb = b"kind: List\nitems:\n- &a [x, x, x, x]\n- &b [*a, *a, *a, *a]\n"
    files = {**bundles.cluster_diags(HEALTHY, False), f"{bundles.top(HEALTHY)}/cluster/kubernetes/pods.yaml": bomb}
    assert opened(files, tmp_path).table("kube.pods").unknown


def test_a_log_that_a_runtime_gave_for_each_container_counts_once(tmp_path: Path) -> None:
    files = bundles.cluster_diags(HEALTHY)
    path = next(p for p in files if p.endswith("calico-node-xnode-1.log"))
    once = opened(files, tmp_path / "a").table("output.bird_log")
    files[path] = files[path] + b"\n" + files[path] + b"\n" + files[path] + b"\nbird: one more line\n"
    thrice = opened(files, tmp_path / "b").table("output.bird_log")
    assert len(thrice) == len(once) + 1


def test_a_previous_log_and_a_restart_are_no_repetition() -> None:
    lines = [f"2026-11-24 02:38:10.{n:03} [INFO][9] felix/x.go 1: something happened {n}\n" for n in range(9)]
    log = "".join(lines).encode()
    assert layouts._once(log) == log
    again = log.replace(b"something", b"other") + log
    assert layouts._once(log + again) == log + again


# ---- calicoctl node diags


@pytest.mark.parametrize("name", [HEALTHY, "healthy-v3.28"])
def test_node_diags(name: str, tmp_path: Path) -> None:
    bundled = bundles.packed(bundles.node_diags(name, "node-2"), tmp_path / "diags-20261124_020500.tar.gz")
    cluster = Sharing(source_of(str(bundled)))
    assert cluster.nodes() == ["node-2"]
    assert str(cluster.time) == "2026-11-24 02:05:00+00:00"
    recorded = Sharing(source_of(f"incident:{name}"))
    for table in ("ip6tables_save", "iptables_save", "ipset_list", "felix_log", "confd_log", "cni_log", "startup_log"):
        mine, theirs = cluster.table(f"output.{table}"), recorded.table(f"output.{table}")
        assert len(mine) == len(theirs[theirs["node"] == "node-2"]) > 0
    routes = cluster.table("output.ip_route")
    assert set(routes["version"]) == {4, 6}
    assert "no cluster objects" in str(cluster.table("kube.pods").unknown[0])
    assert "does not collect `birdcl show protocols`" in str(cluster.table("output.birdcl_protocols").unknown[0])


def test_node_diags_without_hostname_is_of_an_unknown_node(tmp_path: Path) -> None:
    files = bundles.node_diags(HEALTHY, "node-2")
    files["diagnostics/hostname"] = b""
    cluster = opened(files, tmp_path)
    assert cluster.nodes() == [bundle.UNKNOWN_NODE]
    assert len(cluster.table("output.ip_route"))


# ---- kubectl cluster-info dump


@pytest.fixture(params=["folder", "stream"])
def dump(request: pytest.FixtureRequest, tmp_path: Path) -> Cluster:
    if request.param == "folder":
        return opened(bundles.cluster_info(HEALTHY), tmp_path / "dump")
    (tmp_path / "dump.txt").write_bytes(bundles.cluster_info_stream(HEALTHY))
    return Sharing(source_of(str(tmp_path / "dump.txt")))


def test_cluster_info_dump(dump: Cluster) -> None:
    recorded = Sharing(source_of(HEALTHY))
    assert [f.id for f in dump.check() if f.severity != "info"] == []
    assert dump.nodes() == recorded.nodes()
    mine, theirs = (c.table("kube.pods").drop(columns="evidence") for c in (dump, recorded))
    assert set(mine["pod"]) == set(theirs["pod"])
    mine, theirs = (c.table("output.felix_log").dropna(subset="time") for c in (dump, recorded))  # one line was cut
    assert mine.groupby("node").size().to_dict() == theirs.groupby("node").size().to_dict()
    assert "use --all-namespaces for all" in whys(dump)["pods"]
    assert whys(dump)["ippools"] == "`kubectl cluster-info dump` does not hold ippools"


def test_a_dump_of_some_namespaces_without_calicos_makes_nothing_up(tmp_path: Path) -> None:
    cluster = opened(bundles.cluster_info(HEALTHY, ["default", "shop"]), tmp_path)
    assert [f.id for f in cluster.check() if f.severity != "info"] == []


def test_a_dump_in_a_folder_with_ipam_blocks_is_not_taken_for_all_pods(tmp_path: Path) -> None:
    blocks = recordings.read(HEALTHY, "api/crd.projectcalico.org_v1_ipamblocks.json")
    pools = recordings.read(HEALTHY, "api/crd.projectcalico.org_v1_ippools.json")
    files = {"dump.txt": bundles.cluster_info_stream(HEALTHY), "blocks.json": blocks, "pools.json": pools}
    cluster = opened(files, tmp_path)
    assert "requested namespaces" in str(cluster.table("kube.pods").unknown[0])
    assert "ipam-leak" not in [f.id for f in cluster.check()]


# ---- loose outputs


@pytest.mark.slow
@pytest.mark.parametrize("name", recordings.names())
def test_every_recorded_file_is_recognised_by_its_content(name: str) -> None:
    by_file = {file: i.id for i in CATALOG.values() if i.file for file in (i.file, *i.also)}
    by_list = {p: i.id for i in CATALOG.values() if isinstance(i.how, Api) for p in i.how.files()}
    same = {
        "calicoctl-get-bgpconfig-yaml": "bgpconfigurations",
        "calicoctl-get-felixconfig-yaml": "felixconfigurations",
    }
    wordless = {"nodename", "felix-ready"}  # a word or none has no form of its own
    for path in recordings.paths(name):
        if "/series/" in path or "/pods/" in path:
            continue
        id_ = by_list.get(path) or by_file.get(path.rsplit("/", 1)[-1])
        text = recordings.read(name, path)
        if id_ is None or id_ in wordless or text.strip() in (b"", b"[]"):
            continue
        as_ipv4 = CATALOG[id_].tells == NEVER or id_ == "bird6-log"  # then only a command or a name tells
        found = list(parts(path.rsplit("/", 1)[-1] if as_ipv4 else "some output", text))
        assert [p.id if isinstance(p, Part) else p.why for p in found] == [same.get(id_, id_)], path


@pytest.mark.slow
def test_loose_outputs_give_the_findings_of_the_recording(tmp_path: Path) -> None:
    cluster = opened(bundles.loose("ipam-exhausted"), tmp_path / "x")
    assert next(f.id for f in cluster.check()) == "ipam-exhausted"
    assert cluster.nodes() == Sharing(source_of("ipam-exhausted")).nodes()


NODES = b"NAME     STATUS   ROLES    AGE   VERSION   INTERNAL-IP   EXTERNAL-IP   OS-IMAGE   KERNEL-VERSION   RUNTIME\n"
NODES += b"".join(
    b"node-%d.example.com   Ready   <none>   5m   v1.33   10.0.0.%d   <none>   x   y   z\n" % (n, n) for n in (1, 2)
)
ROUTE = b"default via 10.0.0.1 dev eth0 \n10.48.0.0/26 via 10.0.0.9 dev eth0 proto bird \n"


def routes_by_node(files: dict[str, bytes], folder: Path, table: str = "output.ip_route") -> dict[str, int]:
    found = opened(files, folder).table(table)
    return {str(k): int(v) for k, v in found.groupby("node").size().items()}


@pytest.mark.parametrize(
    "path",
    [
        "node-2.example.com/routes",
        "node-2/out.txt",
        "ip route of node-2.example.com.txt",
        "a/b/routes_node-2",
        "node-2-r.log",
    ],
)
def test_a_name_in_a_path_attributes_an_output(path: str, tmp_path: Path) -> None:
    assert routes_by_node({"nodes.txt": NODES, path: ROUTE}, tmp_path) == {"node-2.example.com": 2}


def test_the_longest_name_wins_and_parts_of_names_do_not_count(tmp_path: Path) -> None:
    nodes = NODES.replace(b"node-2.example.com", b"node-1.example.com-b")
    files = {"nodes.txt": nodes, "node-1.example.com-b.txt": ROUTE, "node-12": ROUTE.replace(b"26", b"27")}
    assert routes_by_node(files, tmp_path) == {"node-1.example.com-b": 2, "unknown": 2}


@pytest.mark.parametrize(
    "first",
    [
        b"root@node-2:~# ip route\n",
        b"[root@node-2 ~]# ip route\n",
        b"$ ssh node-2 sudo ip route\n",
        b"core@node-2 ~ $ /usr/sbin/ip route\r\n",
    ],
)
def test_a_prompt_before_an_output_attributes_it_and_names_the_command(first: bytes, tmp_path: Path) -> None:
    assert routes_by_node({"nodes.txt": NODES, "paste.txt": first + ROUTE}, tmp_path) == {"node-2.example.com": 2}


def test_the_pod_in_a_command_attributes_its_output(tmp_path: Path) -> None:
    items = [{"metadata": {"name": f"calico-node-{n}", "namespace": "k"}, "spec": {"nodeName": f"n{n}"}} for n in "ab"]
    pods = {"kind": "PodList", "apiVersion": "v1", "items": items}
    first = b"$ kubectl exec -n kube-system calico-node-b -c calico-node -- ip route show table all\n"
    files = {"pods.json": json.dumps(pods).encode(), "x": first + ROUTE}
    assert routes_by_node(files, tmp_path, "output.ip_route_all") == {"nb": 2}


def test_a_transcript_of_several_commands_is_taken_apart(tmp_path: Path) -> None:
    bird = b"".join(recordings.read(HEALTHY, f"nodes/node-1/birdcl-{f}.txt") for f in ("protocols",))
    text = b"root@node-1:~# ip route\n" + ROUTE + b"root@node-1:~# birdcl show protocols\n" + bird
    text += b"root@node-1:~# ipset list\nroot@node-1:~# exit\n"
    cluster = opened({"nodes.txt": NODES, "session.txt": text}, tmp_path)
    assert len(cluster.table("output.ip_route")) == 2
    assert len(cluster.table("output.birdcl_protocols")) > 2
    sets = cluster.table("output.ipset_list")
    assert sets.empty
    assert not [m for m in cluster.coverage.missing if m.id == "ipset-list" and m.node == "node-1.example.com"]


def test_without_any_name_the_node_is_unknown_and_a_folder_is_a_node(tmp_path: Path) -> None:
    assert routes_by_node({"r.txt": ROUTE}, tmp_path / "a") == {"unknown": 2}
    files = {"w1/r.txt": ROUTE, "w2/r.txt": ROUTE}
    assert routes_by_node(files, tmp_path / "b") == {"w1": 2, "w2": 2}


def test_two_outputs_that_nothing_tells_apart_are_not_mixed(tmp_path: Path) -> None:
    files = {"nodes.txt": NODES, "a.txt": ROUTE, "b.txt": ROUTE.replace(b"10.48", b"10.49")}
    cluster = opened(files, tmp_path)
    assert len(cluster.table("output.ip_route")) == 2
    assert BY_USER in whys(cluster)["b.txt"]


def test_the_user_says_which_node_a_file_is_from(tmp_path: Path) -> None:
    files = {"nodes.txt": NODES, "a.txt": ROUTE, "b.txt": ROUTE}
    files[BY_USER] = b"# which is which\na.txt node-1.example.com\nb.* node-2.example.com\n"
    assert routes_by_node(files, tmp_path) == {"node-1.example.com": 2, "node-2.example.com": 2}


def test_halves_of_both_families_go_together(tmp_path: Path) -> None:
    six = b"fe80::/64 dev eth0 proto kernel metric 256 pref medium\n"
    assert routes_by_node({"4.txt": ROUTE, "6.txt": six}, tmp_path) == {"unknown": 3}


@pytest.mark.slow
def test_a_list_of_one_namespace_is_not_taken_for_all(tmp_path: Path) -> None:
    name = "healthy-bgp-mesh"
    files = bundles.loose(name)
    path = next(p for p, t in files.items() if t.startswith(b"{") and b'"PodList"' in t[:200])
    found = json.loads(files[path])
    found["items"] = [i for i in found["items"] if i["metadata"]["namespace"] == "kube-system"]
    files[path] = json.dumps(found).encode()
    cluster = opened(files, tmp_path)
    assert "the pods of namespace kube-system only" in str(cluster.table("kube.pods").unknown[0])
    assert "ipam-leak" not in [f.id for f in cluster.check()]


@pytest.mark.parametrize("flag", ["-n shop", "--namespace=shop", "-A -l app=cart"])
def test_a_command_that_asked_for_some_objects_gives_no_whole_list(flag: str, tmp_path: Path) -> None:
    policies = recordings.read(HEALTHY, "api/networking.k8s.io_v1_networkpolicies.json")
    text = f"$ kubectl get networkpolicies {flag} -o json\n".encode() + policies
    (answer,) = answers(opened({"x": text}, tmp_path), Want("kubernetes-networkpolicies"))
    assert isinstance(answer, Missing)


def test_single_objects_are_no_list(tmp_path: Path) -> None:
    pool = b"apiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/16}\n"
    info = b"apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\nspec: {}\n"
    one, alone = answers(opened({"p": pool, "i": info}, tmp_path), Want("ippools"), Want("clusterinformations"))
    assert isinstance(one, Missing)
    assert "single objects (p)" in one.why
    assert isinstance(alone, Evidence)
    assert alone.group == "projectcalico.org/v3"


def test_calicoctl_yaml_gives_the_same_pools_as_the_api(tmp_path: Path) -> None:
    text = (
        b"apiVersion: projectcalico.org/v3\nitems:\n- apiVersion: projectcalico.org/v3\n  kind: IPPool\n  metadata:\n"
    )
    text += b"    name: p\n  spec:\n    cidr: 10.0.0.0/16\n    natOutgoing: true\nkind: IPPoolList\nmetadata: {}\n"
    cluster = opened({"x.yaml": b"$ calicoctl get ippool -o yaml\n" + text}, tmp_path)
    assert cluster.table("kube.ip_pools" if "kube.ip_pools" in dir(cluster.kube) else "ipam.pools")[
        "pool"
    ].tolist() == ["p"]


def test_an_empty_list_is_of_the_kind_that_its_name_or_command_says(tmp_path: Path) -> None:
    empty = b'apiVersion: v1\nitems: []\nkind: List\nmetadata:\n  resourceVersion: ""\n'
    files = {
        "bgppeers.yaml": empty,
        "q": b"$ kubectl get ipreservations.crd.projectcalico.org -o yaml\n" + empty,
        "z": empty,
    }
    cluster = opened(files, tmp_path)
    found = answers(cluster, Want("bgppeers"), Want("ipreservations"))
    assert [json.loads(a.text)["items"] for a in found if isinstance(a, Evidence)] == [[], []]
    assert "does not name" in whys(cluster)["z"]


# ---- bad input


BAD = {
    "empty.txt": (b"", "is empty"),
    "photo.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is binary"),
    "cut.yaml": (
        b"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: [",
        "not YAML from some line on",
    ),
    "half.json": (b'{"kind": "PodList", "apiVersion": "v1", "items": [{"metadata":', "is not JSON"),
    "notes.md": (b"# what I did\nI restarted everything twice.\n", "of no kind"),
    "gone.txt": (
        b'Error from server (NotFound): pods "calico-node-x" not found\n',
        "an error message instead of output",
    ),
    "nested.tar.gz": (gzip.compress(b"x" * 50), "is binary"),
    "kinds.json": (b'{"kind": "StorageClassList", "apiVersion": "storage.k8s.io/v1", "items": []}', "storageclasses"),
}


def test_files_that_are_no_evidence_are_said_each(tmp_path: Path) -> None:
    cluster = opened({"r.txt": ROUTE, **{name: data for name, (data, _) in BAD.items()}}, tmp_path)
    assert len(cluster.table("output.ip_route")) == 2
    said = whys(cluster)
    for name, (_, words) in BAD.items():
        assert words in said[name], name


@pytest.mark.parametrize("name", [n for n in BAD if n not in ("empty.txt",)])
def test_a_source_of_nothing_else_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BAD[name][0])
    with pytest.raises(SourceError) as error:
        source_of(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_texts_of_windows_are_read(tmp_path: Path) -> None:
    files = {"r.txt": b"\xff\xfe" + ROUTE.decode().replace("\n", "\r\n").encode("utf-16-le")}
    assert routes_by_node(files, tmp_path) == {"unknown": 2}


def test_what_looks_like_prompts_in_a_big_file_costs_no_time() -> None:
    text = (b"x" * 119 + b"$ " + b"a" * 1990 + b"\n") * 3_000
    assert all(isinstance(p, Unread) for p in parts("x", text))


def test_the_exit_status_that_kubectl_prints_is_the_commands() -> None:
    assert printed.ended(b"out\ncommand terminated with exit code 3\n") == (b"out", 3)
    assert printed.ended(b"out\n") == (b"out\n", None)


def test_plurals_are_those_of_the_catalog() -> None:
    kinds = {"IPAMBlock", "BlockAffinity", "IPReservation", "CalicoNodeStatus", "FelixConfiguration", "BGPPeer", "Tier"}
    known = {p for i in CATALOG.values() if isinstance(i.how, Api) for p in i.how.plurals}
    assert {printed.plural_of(k) for k in kinds} <= known
    assert re.fullmatch(r"[a-z]+", printed.plural_of("NetworkPolicy"))


@pytest.mark.parametrize(
    ("name", "found"),
    first(
        1,
        [
            ("healthy-vxlan-typha", set()),
            ("bgp-as-mismatch", {"bgp-as-mismatch"}),
            ("healthy-nftables", set()),
            ("iptables-backends-mixed", {"iptables-backend-mixed"}),
        ],
    ),
)
@pytest.mark.parametrize("make", [bundles.cluster_diags, bundles.loose])
def test_checks_say_of_a_bundle_what_was_wrong_and_no_more(
    make: Callable[[str], dict[str, bytes]], name: str, found: set[str], tmp_path: Path
) -> None:
    assert {f.id for f in opened(make(name), tmp_path).check() if f.severity != "info"} == found

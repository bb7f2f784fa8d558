"""What changed between two sources: nothing in itself, exactly the edit in an edited copy, never what is unknown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from calicokit.cluster import Cluster
from calicokit.diff import objects, tables
from calicokit.diff.areas import AREAS, COMPARED, Compared
from calicokit.diff.between import LISTS, Difference, diff
from calicokit.evidence.model import Evidence, SourceError, Want
from calicokit.evidence.objects import decode_list
from calicokit.evidence.recordings.recording import Recording
from calicokit.evidence.sources import source_of
from tests import clusters, recordings
from tests.clusters import Sharing
from tests.evidence import bundles
from tests.evidence.test_sources import unpacked
from tests.fakes import api_list, cluster_of, node, pod, pool
from tests.test_cli import run

NAME = "healthy-bgp-mesh"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("before"), NAME)


@pytest.fixture
def after(before: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(before, tmp_path / "after"))


def compared(before: Path, after: Path, *areas: str, nodes: tuple[str, ...] = ()) -> Difference:
    return diff(Sharing(Recording(before)), Sharing(Recording(after)), areas, nodes)


def edit(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new, count))


def edit_list(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    found = json.loads(path.read_bytes())
    change(found["items"])
    path.write_bytes(json.dumps(found).encode())


def said(found: Difference) -> list[tuple[object, ...]]:
    columns = ["area", "change", "node", "subject", "field", "before", "after"]
    rows = found.differences[columns].astype(object).where(found.differences[columns].notna(), None)
    return [tuple(r) for r in rows.itertuples(index=False)]


@pytest.mark.slow
@pytest.mark.parametrize("name", recordings.names())
def test_a_source_against_itself_has_no_difference(name: str) -> None:
    found = diff(clusters.opened(name), Cluster(source_of(name)))
    assert found.differences.empty
    assert found.counters.empty
    assert (found.status, found.seconds) == (0, 0.0)
    assert {"objects", "rules", "routes", "interfaces"} <= set(found.compared)


def test_another_cluster_differs_in_every_area_that_its_fault_touches() -> None:
    found = diff(Cluster(source_of(NAME)), Cluster(source_of("bgp-as-mismatch")))
    assert found.status == 1
    assert ("objects", "added", None, "tor", None, None, None) in said(found)  # the BGPPeer that is wrong there
    added = {s[3] for s in said(found) if s[:2] == ("bgp", "added")}
    assert added == {"Global_172_30_0_100"}
    assert set(found.differences["area"]) <= set(AREAS)


def test_an_edited_object_is_one_change_with_its_field(before: Path, after: Path) -> None:
    edit(after / "api" / "crd.projectcalico.org_v1_ippools.json", '"natOutgoing":true', '"natOutgoing":false')
    row = ("objects", "changed", None, "default-ipv4-ippool", "spec.natOutgoing", "true", "false")
    assert said(compared(before, after, "objects")) == [row]


def test_added_and_removed_objects(before: Path, after: Path) -> None:
    edit_list(after / "api" / "v1_namespaces.json", lambda items: items.append({"metadata": {"name": "new"}}))
    gone: list[str] = []

    def drop(items: list[dict[str, Any]]) -> None:
        meta = items.pop(0)["metadata"]
        gone.append(f"{meta['namespace']}/{meta['name']}")

    edit_list(after / "api" / "v1_services.json", drop)
    found = said(compared(before, after, "objects"))
    assert sorted((c, s) for _, c, _, s, *_ in found) == [("added", "new"), ("removed", gone[0])]


def test_noise_of_objects_is_no_difference() -> None:
    old = node("n", "10.0.0.1") | {
        "status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": "1", "status": "True"}]}
    }
    new = json.loads(json.dumps(old))
    new["metadata"] |= {"resourceVersion": "9", "generation": 4, "managedFields": [{"x": 1}]}
    new["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    new["status"]["conditions"][0]["lastHeartbeatTime"] = "2"
    lists = [decode_list(Evidence(Want("nodes"), api_list([o]))) for o in (old, new)]
    assert objects.differences("nodes", *lists).empty
    new["status"]["conditions"][0]["status"] = "False"
    lists[1] = decode_list(Evidence(Want("nodes"), api_list([new])))
    rows = objects.differences("nodes", *lists)
    assert rows["field"].tolist() == ["status.conditions[Ready].status"]


def test_what_was_redacted_on_one_side_is_no_difference() -> None:
    def peer(secret: str) -> bytes:
        return api_list([pod("a/b", "n", containers=[{"name": "c", "env": [{"name": "P", "value": secret}]}])])

    lists = [decode_list(Evidence(Want("pods"), peer(s))) for s in ("hunter2", "REDACTED", "other")]
    assert objects.differences("pods", lists[0], lists[1]).empty
    assert len(objects.differences("pods", lists[0], lists[2])) == 1


def test_calicos_own_metadata_is_compared_without_its_times() -> None:
    def with_note(note: str) -> bytes:
        item = pool("p", "10.0.0.0/16")
        item["metadata"]["annotations"] = {"projectcalico.org/metadata": note}
        return api_list([item])

    notes = ('{"uid":"1","labels":{"a":"b"}}', '{"uid":"2","labels":{"a":"b"}}', '{"labels":{"a":"c"}}', "no JSON")
    lists = [decode_list(Evidence(Want("ippools"), with_note(n))) for n in notes]
    assert objects.differences("ippools", lists[0], lists[1]).empty
    fields = objects.differences("ippools", lists[0], lists[2])["field"].tolist()
    assert fields == ["metadata.annotations.projectcalico.org/metadata.labels.a"]
    assert len(objects.differences("ippools", lists[0], lists[3])) == 2


def test_a_new_rule_is_one_rule_though_it_changes_the_hashes_of_all_after_it(before: Path, after: Path) -> None:
    path = after / "nodes" / "node-2" / "iptables-save.txt"
    lines = path.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if "-A cali-FORWARD " in line)
    chain = [i for i, line in enumerate(lines) if "-A cali-FORWARD " in line]
    for i in chain:
        head, _, tail = lines[i].partition('--comment "cali:')
        lines[i] = f'{head}--comment "cali:AAAAAAAAAAAAAAAA{tail[16:]}' if tail else lines[i]
    lines.insert(at, '[3:180] -A cali-FORWARD -s 10.9.9.9/32 -m comment --comment "cali:BBBBBBBBBBBBBBBB" -j DROP\n')
    path.write_text("".join(lines))
    found = compared(before, after, "rules")
    assert said(found) == [("rules", "added", "node-2", "filter cali-FORWARD -s 10.9.9.9/32 -j DROP", None, None, None)]
    assert found.counters.empty


def test_rules_in_another_order_are_a_difference(before: Path, after: Path) -> None:
    path = after / "nodes" / "node-1" / "iptables-save.txt"
    lines = path.read_text().splitlines(keepends=True)
    first, second = [i for i, line in enumerate(lines) if "-A KUBE-SERVICES " in line][:2]
    lines[first], lines[second] = lines[second], lines[first]
    path.write_text("".join(lines))
    ((area, change, where, subject, field, old, new),) = said(compared(before, after, "rules"))
    assert (area, change, where, subject, field) == ("rules", "reordered", "node-1", "nat KUBE-SERVICES", "rule 1")
    assert old != new


def test_counters_alone_are_no_difference_and_have_rates(before: Path, after: Path) -> None:
    path = after / "nodes" / "node-1" / "iptables-save.txt"
    text = path.read_text()
    start = text.index("] -A cali-INPUT ")
    begin = text.rindex("[", 0, start)
    packets, octets = (int(n) for n in text[begin + 1 : start].split(":"))
    path.write_text(f"{text[:begin]}[{packets + 50}:{octets}{text[start:]}")
    edit(after / "manifest.json", '"recorded": "2026-11-24T00:4', '"recorded": "2026-11-24T00:5')  # ten minutes later
    found = compared(before, after)
    assert found.status == 0
    assert (found.seconds, found.counters["delta"].tolist()) == (600.0, [50.0])
    assert found.counters["rate"].iloc[0] == pytest.approx(50 / 600)
    assert [r["counters"] for r in found.summary() if r["area"] == "rules"] == [1]


def test_a_counter_that_began_anew_has_no_rate() -> None:
    what = Compared("counters", "output.nstat", ("counter",), (), ("value",))
    frames = [pd.DataFrame({"node": ["n"], "counter": ["IpInReceives"], "value": [v]}) for v in (900, 3)]
    row = tables.counters(what, frames[0], frames[1], 60.0).iloc[0]
    assert row["delta"] == -897
    assert pd.isna(row["rate"])


EDITS = {
    "routes": ("ip-route-all.txt", "via 172.30.0.14 dev eth0", "via 172.30.0.99 dev eth0", "gateway", "172.30.0.99"),
    "bgp": (
        "birdcl-protocols-all.txt",
        "BGP state:          Established",
        "BGP state:          Active",
        "bgp_state",
        "Active",
    ),
    "sysctls": ("sysctl-net.txt", "net.ipv4.ip_forward = 1", "net.ipv4.ip_forward = 0", "value", "0"),
    "interfaces": (
        "ip-link-stats.txt",
        "mtu 1500 qdisc noqueue state UP",
        "mtu 1400 qdisc noqueue state UP",
        "mtu",
        "1400",
    ),
}


@pytest.mark.parametrize("area", EDITS)
def test_each_area_shows_an_edit_on_its_node(area: str, before: Path, after: Path) -> None:
    file, old, new, field, value = EDITS[area]
    edit(after / "nodes" / "node-1" / file, old, new)
    found = said(compared(before, after))
    assert [(a, c, n, f, v) for a, c, n, _, f, _, v in found] == [(area, "changed", "node-1", field, value)]


def test_a_member_of_an_ipset(before: Path, after: Path) -> None:
    path = after / "nodes" / "node-3" / "ipset-list.txt"
    path.write_text(path.read_text().replace("\n10.48.0.0/16\n", "\n10.48.0.0/16\n10.99.0.0/16\n", 1))
    ((area, change, where, subject, *_),) = said(compared(before, after, "ipsets"))
    assert (area, change, where) == ("ipsets", "added", "node-3")
    assert subject == "cali40network-ip-pools 10.99.0.0/16"


def test_a_session_that_was_up_longer_than_a_day_did_not_flap(before: Path, after: Path) -> None:
    path = after / "nodes" / "node-1" / "birdcl-protocols-all.txt"
    path.write_text(path.read_text().replace("00:45:54", "2026-11-24"))
    assert said(compared(before, after, "bgp")) == []
    path.write_text(path.read_text().replace("00:45:55", "03:00:00"))
    assert {(f, a) for *_, f, _, a in said(compared(before, after, "bgp"))} == {("since", "03:00:00")}


# ---- what is unknown is no difference


def test_an_output_that_one_side_lacks_is_unknown_on_that_node_only(before: Path, after: Path) -> None:
    (after / "nodes" / "node-2" / "iptables-save.txt").unlink()
    (after / "nodes" / "node-2" / "nft-ruleset.txt").unlink()
    found = compared(before, after)
    assert found.status == 0
    holes = [(h.area, h.side, h.missing.id, h.missing.node) for h in found.holes if h.side == "B"]
    assert ("rules", "B", "iptables-save", "node-2") in holes
    assert ("rules", "B", "nft-ruleset", "node-2") in holes


def test_a_list_that_one_side_lacks_is_unknown(before: Path, after: Path) -> None:
    (after / "api" / "v1_pods.json").unlink()
    found = compared(before, after, "objects")
    assert found.status == 0
    assert ("objects", "B", "pods") in [(h.area, h.side, h.missing.id) for h in found.holes]


def test_a_node_that_is_only_in_one_source_is_an_object_and_a_hole_not_a_thousand_rules(
    before: Path, after: Path
) -> None:
    shutil.rmtree(after / "nodes" / "node-4")
    edit_list(after / "api" / "v1_nodes.json", lambda items: items.pop())
    found = compared(before, after)
    assert {(a, c) for a, c, *_ in said(found)} == {("objects", "removed")}
    assert {h.missing.node for h in found.holes if h.side == "B"} == {"node-4"}


def test_evidence_that_was_read_in_part_is_said(before: Path, after: Path) -> None:
    path = after / "nodes" / "node-1" / "ip-route-all.txt"
    path.write_text(path.read_text() + "what is this line\n")
    found = compared(before, after, "routes")
    assert [h.missing.node for h in found.holes if "could not be read" in h.missing.why] == ["node-1"]


def test_nothing_in_common_is_no_answer(tmp_path: Path) -> None:
    one = bundles.packed(bundles.node_diags(NAME, "node-1"), tmp_path / "a.tar.gz")
    with pytest.raises(SourceError, match="nothing in common to compare"):
        diff(Cluster(source_of(str(one))), cluster_of(), ["sysctls"])


def test_the_same_cluster_from_a_bundle_and_a_recording(tmp_path: Path) -> None:
    bundle = bundles.packed(bundles.cluster_diags(NAME), tmp_path / "diags.tar.gz")
    found = diff(Cluster(source_of(NAME)), Cluster(source_of(str(bundle))), ["objects", "rules", "routes", "ipsets"])
    # The lab recorded all ConfigMaps of kube-system; the catalog asks for Calico's.
    assert [s for s in said(found) if "service-account-token" not in str(s[3])] == []


# ---- the command


@pytest.mark.slow
def test_the_command_prints_and_exits(before: Path, after: Path) -> None:
    edit(after / "api" / "crd.projectcalico.org_v1_ippools.json", '"natOutgoing":true', '"natOutgoing":false')
    shown = run("diff", str(before), str(after))
    assert shown.returncode == 1
    assert "~ ippools default-ipv4-ippool spec.natOutgoing: true → false" in shown.stdout
    answer = json.loads(run("diff", str(before), str(after), "--format", "json").stdout)
    assert set(answer) == {"before", "after", "seconds", "summary", "differences", "counters", "unknown"}
    assert [d["field"] for d in answer["differences"]] == ["spec.natOutgoing"]
    assert run("diff", str(before), str(before)).returncode == 0
    assert run("diff", str(before), "incident:none").returncode == 2
    wrong = run("diff", str(before), str(after), "--areas", "rles")
    assert (wrong.returncode, "did you mean rules?" in wrong.stderr) == (2, True)


def test_filters(before: Path, after: Path) -> None:
    for name in ("node-1", "node-2"):
        edit(after / "nodes" / name / "sysctl-net.txt", "net.ipv4.ip_forward = 1", "net.ipv4.ip_forward = 0")
    assert {n for _, _, n, *_ in said(compared(before, after, nodes=("node-2",)))} == {"node-2"}
    assert said(compared(before, after, "routes")) == []


def test_the_biggest_recording_is_compared_with_another_cluster() -> None:
    found = diff(Cluster(source_of("healthy-datacenter")), Cluster(source_of("policy-drop")))
    assert found.status == 1
    assert set(found.compared) == set(AREAS)


def test_every_compared_column_exists() -> None:
    from calicokit import registry

    for what in COMPARED:
        names = registry.load()[what.table].schema.names
        assert set(what.key + what.values + what.counters + what.ordered) <= set(names), what.table
        assert what.instead_of in ("", *(c.table for c in COMPARED))
    assert "events" not in LISTS

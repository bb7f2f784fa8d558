"""Kinds that are missing or forbidden, Calico's API server, versions: no recording shows them."""

# ruff: noqa: E501 (the tools' own words)

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from calicokit.cluster import Cluster
from calicokit.diagnosis.model import Finding
from calicokit.evidence.model import Evidence, Want
from calicokit.health.versions import of_image, release
from tests import clusters, recordings
from tests.edited import Edited, without
from tests.fakes import MemorySource, api_list
from tests.health.test_health import calico_pod
from tests.only import only

OLD, NEW, V3 = "healthy-v3.28", "healthy-bgp-mesh", "healthy-v3-crds"


def subjects(found: list[Finding]) -> list[Any]:
    return [f.subject for f in found]


@pytest.mark.parametrize("name", recordings.names())
def test_silence_on_every_recording(name: str) -> None:

    ids = ("crd-or-rbac-missing", "calico-apiserver-down", "calico-version-skew")
    assert only(clusters.opened(name), *ids) == []


# ---- kinds


def kinds(edited: Edited) -> list[Finding]:
    return only(edited.cluster(), "crd-or-rbac-missing")


@pytest.mark.parametrize(
    ("incident", "plural", "kind"),
    [
        (OLD, "ipreservations", "IPReservation"),
        (OLD, "bgpfilters", "BGPFilter"),
        (NEW, "tiers", "Tier"),
        (NEW, "stagednetworkpolicies", "StagedNetworkPolicy"),
        (NEW, "ippools", "IPPool"),
        (V3, "ipamconfigurations", "IPAMConfig"),
    ],
)
def test_a_kind_that_is_not_installed(incident: str, plural: str, kind: str) -> None:
    edited = Edited(incident).edit("api-resources", None, without(f"{plural} ", "projectcalico.org/v"))
    (found,) = kinds(edited)
    assert (found.severity, found.subject) == ("critical", {"kind": kind})
    assert plural in found.cause


def test_kinds_that_came_later_are_not_missed() -> None:
    """v3.28 has no tiers and no staged policies; nor does a cluster of which no version is known and that has none."""
    edited = Edited(OLD).objects(
        "pods", lambda p: [c.update(image="calico/node@sha256:00") for c in p["spec"]["containers"]]
    )
    edited.objects("pods", lambda p: p["spec"].update(initContainers=[]))
    edited.gone.add(("clusterinformations", None))
    assert len(edited.cluster().health.versions()) == 0
    assert kinds(edited) == []


def test_old_components_do_not_need_what_newer_definitions_lack() -> None:
    """Definitions of v3.30 without one of the kinds, while all images are of v3.28: the images count."""
    edited = Edited(OLD).edit(
        "api-resources",
        None,
        lambda text: text + "stagednetworkpolicies   crd.projectcalico.org/v1   true   StagedNetworkPolicy\n",
    )
    assert kinds(edited) == []


def test_no_definitions_at_all_is_one_finding() -> None:
    edited = Edited(OLD).edit("api-resources", None, without("crd.projectcalico.org/v1"))
    assert subjects(kinds(edited)) == [{"kind": "all of crd.projectcalico.org"}]


def test_old_kubectls_print_groups_without_versions() -> None:
    edited = Edited(OLD).edit(
        "api-resources", None, lambda text: text.replace("APIVERSION", "APIGROUP").replace("/v1 ", " ")
    )
    assert edited.cluster().health.kinds()["served"].sum() == 18
    assert kinds(edited) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "error: the server was unreachable"),
        ("", ""),
        (None, "crd.projectcalico.org/v1: the server is currently unable"),
    ],
)
def test_a_discovery_that_is_not_whole_tells_no_kind_missing(text: str | None, said: str) -> None:
    edited = Complaining(OLD)
    edited.said = said
    edited.edit("api-resources", None, (lambda _: "") if text == "" else without("crd.projectcalico.org/v1"))
    assert edited.cluster().health.kinds().unknown
    assert kinds(edited) == []


def test_calico_that_keeps_its_objects_in_etcd_needs_no_kinds() -> None:
    def etcd(pod: dict[str, Any]) -> None:
        for container in pod["spec"]["containers"]:
            container["env"] = [{"name": "DATASTORE_TYPE", "value": "etcdv3"}]

    aggregated = (
        "ippools   projectcalico.org/v3   false   IPPool\nblockaffinities   projectcalico.org/v3   false   "
        "BlockAffinity\n"
    )
    edited = Edited(OLD).edit("api-resources", None, without("crd.projectcalico.org/v1")).objects("pods", etcd)
    assert kinds(edited) == []
    assert kinds(edited.edit("api-resources", None, lambda text: text + aggregated)) == []


def test_the_kit_that_may_not_list_is_no_fault_of_the_cluster() -> None:
    edited = Edited(NEW)
    edited.gone |= {("tiers", None), ("ippools", None), ("felixconfigurations", None)}
    assert kinds(edited) == []


# ---- permissions and kinds, in the words of logs

FORBIDDEN = (
    'felix/watchercache.go 379: Failed to perform list of current data during resync ListRoot="/calico/resources/v3/'
    'projectcalico.org/tiers" cacheID=4 error=connection is unauthorized: tiers.crd.projectcalico.org is forbidden: User '
    '"system:serviceaccount:kube-system:calico-node" cannot list resource "tiers" in API group "crd.projectcalico.org" '
    "at the cluster scope"
)
ABSENT = (
    "felix/watchercache.go 379: Failed to perform list of current data during resync error=resource does not exist: "
    "IPReservation with error: the server could not find the requested resource (get IPReservations.crd.projectcalico.org)"
)


def logging(edited: Edited, id_: str, node: str | None, text: str, count: int, every: float, ended: float) -> Edited:
    now = edited.now()
    assert now is not None
    times = [now - timedelta(seconds=ended + every * i) for i in reversed(range(count))]
    said = "".join(f"{t:%Y-%m-%d %H:%M:%S}.{t.microsecond // 1000:03} [INFO][99] {text}\n" for t in times)
    return edited.edit(id_, node, lambda log: log + said)


def test_a_component_that_may_not_read_a_kind() -> None:
    edited = logging(Edited(NEW), "felix-log", "node-1", FORBIDDEN, 30, 1.0, 2.0)
    (found,) = kinds(logging(edited, "felix-log", "node-2", FORBIDDEN, 30, 1.0, 2.0))
    assert (found.severity, found.subject) == ("critical", {"kind": "Tier"})
    assert "calico-node may not list Tier" in found.cause
    assert "node-1 and node-2" in found.cause
    assert {r.node for r in found.evidence} == {"node-1", "node-2"}


def test_a_refusal_that_ended_is_over() -> None:
    assert kinds(logging(Edited(NEW), "felix-log", "node-1", FORBIDDEN, 30, 1.0, 120.0)) == []


def test_credentials_that_are_not_taken_are_no_missing_permission() -> None:
    nobody = FORBIDDEN.replace("system:serviceaccount:kube-system:calico-node", "system:anonymous")
    assert kinds(logging(Edited(NEW), "felix-log", "node-1", nobody, 30, 1.0, 2.0)) == []


def test_a_write_that_is_forbidden_is_a_warning() -> None:
    text = FORBIDDEN.replace("cannot list", "cannot update")
    (found,) = kinds(logging(Edited(NEW), "felix-log", "node-1", text, 30, 1.0, 2.0))
    assert found.severity == "warning"


def test_klog_quotes_what_was_refused() -> None:
    """client-go's reflector in kube-controllers: the error stands quoted, with quotes in it escaped."""
    edited = Edited(NEW)
    now = edited.now()
    assert now is not None
    line = (
        'reflector.go:205] "Failed to watch" err="failed to list *v1.Pod: pods is forbidden: User '
        '\\"system:serviceaccount:kube-system:calico-kube-controllers\\" cannot list resource \\"pods\\" in API group '
        '\\"\\" at the cluster scope" logger="UnhandledError" type="*v1.Pod"'
    )
    text = "".join(f"E{now - timedelta(seconds=s):%m%d %H:%M:%S}.000000    7309 {line}\n" for s in (90, 50, 10))
    (found,) = kinds(edited.edit("kube-controllers-log", None, lambda log: log + text))
    assert found.subject == {"kind": "pods"}


@pytest.mark.parametrize("known", [True, False], ids=["and discovery agrees", "and discovery is unknown"])
def test_a_kind_that_a_component_does_not_find(known: bool) -> None:
    edited = logging(Edited(OLD), "felix-log", "node-1", ABSENT, 30, 1.0, 2.0)
    if known:
        edited.edit("api-resources", None, without("ipreservations ", "projectcalico.org/v"))
    else:
        edited.gone.add(("api-resources", None))
    (found,) = kinds(edited)
    assert found.subject == {"kind": "IPReservation"}
    assert "felix" in found.cause


def test_a_kind_that_has_been_installed_since() -> None:
    edited = logging(Edited(OLD), "felix-log", "node-1", ABSENT, 30, 1.0, 2.0)
    assert kinds(edited) == []  # discovery says that it is there now


ONCE = 'felix/watchercache.go 359: Backing API not installed, marking as in-sync and retrying later. ListRoot=".../v3/pc.org/{}" cacheID=7'


@pytest.mark.parametrize(
    ("plural", "told"), [("tiers", True), ("livemigrations", False), ("kubernetesclusternetworkpolicies", False)]
)
def test_felix_says_once_that_a_kind_is_not_there(plural: str, told: bool) -> None:
    edited = logging(Edited(NEW), "felix-log", "node-1", ONCE.format(plural), 1, 1.0, 300.0)
    edited.gone.add(("api-resources", None))
    assert subjects(kinds(edited)) == ([{"kind": "Tier"}] if told else [])
    later = ONCE.format(plural).replace("not installed, marking as in-sync and retrying later.", "has been installed")
    assert kinds(logging(edited, "felix-log", "node-1", later, 1, 1.0, 100.0)) == []


def test_what_the_cni_plugin_is_refused_stops_pods_and_is_no_matter_of_credentials() -> None:
    edited = Edited("ipam-exhausted")
    edited.edit(
        "cni-log",
        "node-2",
        lambda log: log.replace(
            "failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: "
            "[10.48.0.0/27]",
            "connection is unauthorized: ippools.crd.projectcalico.org is forbidden: User "
            '"system:serviceaccount:kube-system:calico-cni-plugin" cannot list resource "ippools" in API group '
            '"crd.projectcalico.org" at the cluster scope',
        ),
    )
    edited.gone.add(("events", None))
    found = only(edited.cluster(), "crd-or-rbac-missing", "cni-unauthorized", "cni-error")
    assert subjects(found) == [{"kind": "IPPool"}]


# ---- Calico's API server

STALE = "error: unable to retrieve the complete list of server APIs: projectcalico.org/v3: stale GroupVersion discovery: projectcalico.org/v3"
KLOG = (
    'E1124 02:28:20.801179    7309 memcache.go:287] "Unhandled Error" err="couldn\'t get resource list for '
    'projectcalico.org/v3: the server is currently unable to handle the request"\n'
)
OTHER = "error: unable to retrieve the complete list of server APIs: metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1"


class Complaining(Edited):
    """An incident in which kubectl api-resources said something on standard error."""

    said = ""

    def fetch(self, wants: Any) -> Any:
        from dataclasses import replace

        for want, answer in super().fetch(wants):
            if want.id == "api-resources" and isinstance(answer, Evidence):
                yield want, replace(answer, stderr=self.said, exit=1)
            else:
                yield want, answer


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (STALE, True),
        (KLOG, True),
        (KLOG + STALE, True),
        (OTHER, False),
        (OTHER + ", " + STALE.split(": ", 2)[2], True),
        ("", False),
    ],
)
def test_discovery_that_is_not_answered(said: str, told: bool) -> None:
    edited = Complaining(NEW)
    edited.said = said
    found = only(edited.cluster(), "calico-apiserver-down")
    assert subjects(found) == ([{}] if told else [])
    if told:
        assert found[0].severity == "critical"
        assert "There is no Calico API server pod" in found[0].cause


def service(
    status: str | None, since: str = "2026-03-01T10:00:00Z", group: str = "projectcalico.org", **spec: Any
) -> dict[str, Any]:
    behind = {"namespace": "calico-apiserver", "name": "calico-api", "port": 443}
    condition = {
        "type": "Available",
        "status": status,
        "reason": "MissingEndpoints",
        "message": "no endpoints",
        "lastTransitionTime": since,
    }
    return {
        "metadata": {"name": f"v3.{group}"},
        "spec": {"group": group, "version": "v3", "service": behind, **spec},
        "status": {"conditions": [condition] if status else []},
    }


@pytest.mark.parametrize(
    ("item", "severities"),
    [
        (service("False"), ["critical"]),
        (service("False", since="2026-03-01T11:59:40Z"), ["info"]),
        (service("True"), []),
        (service(None), []),
        (service("False", service=None), []),
        (service("False", group="metrics.k8s.io"), []),
    ],
    ids=["down", "down for seconds", "up", "not said", "CRDs serve it", "another's"],
)
def test_an_api_service(item: dict[str, Any], severities: list[str]) -> None:
    pods = [calico_pod("api-1", app="calico-apiserver", ready=False)]
    cluster = Cluster(MemorySource({Want("apiservices"): api_list([item]), Want("pods"): api_list(pods)}))
    found = only(cluster, "calico-apiserver-down", "calico-pod-not-ready")
    assert [f.severity for f in found if f.id == "calico-apiserver-down"] == severities
    if severities:
        assert "MissingEndpoints: no endpoints. 0 of 1 pod" in found[0].cause
        assert found[1].explained_by == "calico-apiserver-down"


# ---- versions


def images(change: Callable[[str, str], str]) -> Callable[[dict[str, Any]], None]:
    """Change the images of Calico's pods, by name of the pod and image."""

    def how(pod: dict[str, Any]) -> None:
        for container in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]:
            container["image"] = change(pod["metadata"]["name"], container["image"])

    return how


def skew(edited: Edited) -> list[Any]:
    return subjects(only(edited.cluster(), "calico-version-skew"))


def test_one_component_of_another_version() -> None:
    edited = Edited(OLD).objects(
        "pods", images(lambda pod, image: image.replace("v3.28.5", "v3.27.0") if "kube-controllers" in pod else image)
    )
    (found,) = only(edited.cluster(), "calico-version-skew")
    assert found.subject == {"versions": ["v3.27.0", "v3.28.5"]}
    assert "v3.27.0: kube-controllers" in found.cause
    assert "No rollout is in progress" in found.cause


def test_an_upgrade_that_is_under_way_says_so() -> None:
    edited = Edited(OLD).objects(
        "pods", images(lambda pod, image: image.replace("v3.28.5", "v3.29.1") if "fqtfh" in pod else image)
    )
    edited.objects("daemonsets", lambda d: d["status"].update(updatedNumberScheduled=1))
    (found,) = only(edited.cluster(), "calico-version-skew")
    assert "A rollout is in progress: calico-node has 1 of 4 pods updated" in found.cause


def test_what_felix_says_of_itself_counts() -> None:
    start = '2026-11-24 02:30:00.000 [INFO][99] felix/daemon.go 140: Felix starting up GOMAXPROCS=2 builddate="" gitcommit="" version="{}"\n'
    old, new = start.format("v3.27.3"), start.format("v3.28.5")
    assert skew(Edited(OLD).edit("felix-log", "node-3", lambda log: old + log)) == [
        {"versions": ["v3.27.3", "v3.28.5"]}
    ]
    assert skew(Edited(OLD).edit("felix-log", "node-3", lambda log: old + new + log)) == []


def test_one_node_runs_another_build_than_its_image_says() -> None:
    """All images are :master; Felix of one node says that it is a release, those of the others say nothing."""
    start = '2026-11-24 00:40:00.000 [INFO][99] felix/daemon.go 140: Felix starting up GOMAXPROCS=2 builddate="" gitcommit="" version="{}"\n'
    edited = Edited(NEW)
    for name in ("node-1", "node-2", "node-4"):
        edited.edit("felix-log", name, lambda log: start.format("") + log)
    assert skew(edited) == []
    edited.edit("felix-log", "node-3", lambda log: start.format("v3.28.5") + log)
    (found,) = only(edited.cluster(), "calico-version-skew")
    assert found.subject == {"versions": ["unnamed", "v3.28.5"]}
    assert "v3.28.5: calico-node on node-3 (its log)" in found.cause


def test_cluster_information_of_another_version() -> None:
    edited = Edited(OLD).objects("clusterinformations", lambda c: c["spec"].update(calicoVersion="v3.26.4"))
    assert skew(edited) == [{"versions": ["v3.26.4", "v3.28.5"]}]


@pytest.mark.parametrize(
    "change",
    [
        lambda pod, image: image.replace("v3.28.5", "v3.28.5-fips") if "controllers" in pod else image,
        lambda pod, image: image.replace("docker.io/calico/", "registry.example:5000/mirror/calico-"),
        lambda pod, image: f"{image}@sha256:{'0' * 64}",
        lambda pod, image: image.replace("v3.28.5", "prod") if "controllers" in pod else image,
        lambda pod, image: "docker.io/istio/proxyv2:1.22.0" if "coredns" in pod else image,
        lambda pod, image: image.replace("v3.28.5", "v3.28.5-build20250101"),
    ],
    ids=["fips", "mirror", "digest", "own tag", "another's pod", "rebuilt"],
)
def test_tags_that_name_the_same_version(change: Callable[[str, str], str]) -> None:
    assert skew(Edited(OLD).objects("pods", images(change))) == []


def test_builds_of_the_main_branch() -> None:
    """All of it is no skew, whatever ClusterInformation says; beside a release it is one."""
    said = Edited(NEW).objects(
        "clusterinformations", lambda c: c["spec"].update(calicoVersion="v3.34.0-0.dev-67-g87c15906f20c")
    )
    assert skew(said) == []
    mixed = said.objects("pods", images(lambda pod, i: i.replace(":master", ":v3.33.1") if "controllers" in pod else i))
    assert skew(mixed) == [{"versions": ["master", "v3.33.1", "v3.34.0-0.dev"]}]


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("docker.io/calico/node:v3.28.5", ("calico-node", "v3.28.5")),
        ("quay.io/calico/calico:master", ("calico", "master")),
        ("rancher/hardened-calico:v3.29.1-build20241220", ("calico", "v3.29.1-build20241220")),
        ("docker.io/rancher/mirrored-calico-kube-controllers:v3.28.1", ("kube-controllers", "v3.28.1")),
        ("quay.io/tigera/operator:v1.36.2", None),
        ("rancher/mirrored-flannelcni-flannel:v0.24.0", None),
        ("calico/node@sha256:00", None),
        ("", None),
    ],
)
def test_component_of_an_image(image: str, told: tuple[str, str] | None) -> None:
    assert of_image(image) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("v3.28", None),
        ("3.28.1", "v3.28.1"),
        ("v3.31.0-rc1", "v3.31.0-rc1"),
        ("v3.30.0-0.dev-12-gabc", "v3.30.0-0.dev"),
        ("", None),
    ],
)
def test_release(text: str, told: str | None) -> None:
    assert release(text) == told


def test_objects_of_odd_shapes_cost_only_themselves() -> None:
    odd = [
        {"metadata": {"name": "x"}, "spec": {"group": "projectcalico.org", "service": {"name": "x"}}},
        service("False"),
    ]
    cluster = Cluster(MemorySource({Want("apiservices"): api_list(odd), Want("pods"): api_list([{"metadata": {}}])}))
    assert len(only(cluster, "calico-apiserver-down")) == 1
    assert any("unexpected structure" in m.why for m in cluster.coverage.missing)
    assert json.loads(api_list(odd))["items"]

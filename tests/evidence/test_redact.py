"""What is secret goes, by its place and by its form; what tells how Calico runs stays, and texts keep their layout."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from calicokit.evidence.catalog import CATALOG, Api, Secret
from calicokit.evidence.model import Evidence, Missing, Want
from calicokit.evidence.objects import OddShapeError, decode_list
from calicokit.evidence.recordings import redact
from calicokit.evidence.recordings.redact import REDACTED, Redacting, guarded, hidden_in, redacted
from tests.clusters import Sharing, checked, recording
from tests.examples import first
from tests.fakes import MemorySource, api_list
from tests.recordings import names

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLW9mLXRva2Vu"


def of(id_: str, text: bytes, node: str | None = "n1") -> tuple[str, dict[str, int]]:
    answer, found = redacted(Evidence(Want(id_, node), text, path="file"))
    assert isinstance(answer, Evidence)
    return answer.text.decode(), dict(found)


@pytest.mark.parametrize(
    ("id_", "text", "secret"),
    [
        ("bird.cfg", '  password "s3cr3t words";\n  ttl security off;', "s3cr3t words"),
        ("cni-net.d", '{"kubernetes": {"k8s_api_token": "abcdef123"}}', "abcdef123"),
        ("cni-net.d", f"users:\n- name: calico\n  user:\n    token: {JWT}\n", JWT),
        ("felix-log", f"GET https://10.96.0.1/ Authorization: Bearer {JWT}", JWT),
        ("felix-log", "2026 [INFO] etcd endpoint https://root:hunter2@etcd:2379 used", "hunter2"),
        ("cni-log", 'level=debug args="--password hunter2 --verbose"', "hunter2"),
        ("confd-log", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ("cni-net.d", "    client-key-data: LS0tLS1CRUdJTg==\n", "LS0tLS1CRUdJTg=="),
    ],
)
def test_secrets_in_texts_go_and_the_layout_stays(id_: str, text: str, secret: str) -> None:
    clean, counts = of(id_, text.encode())
    assert secret not in clean
    assert REDACTED in clean
    assert clean.count("\n") in (text.count("\n"), 0 if "PRIVATE" in text else text.count("\n"))
    assert sum(counts.values()) >= 1
    assert of(id_, clean.encode()) == (clean, {}), "redacting twice changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02 03:04:05.678 [INFO][9] felix/int_dataplane.go 1: Applying updates key=WorkloadEndpoint(x)",
        "bird: Mesh_172_30_0_12: Received: Bad peer AS: 64999",
        'Key "node" in map; token was refreshed; password authentication failed; basic authentication is off',
        "  neighbor 172.30.0.12 port 179 as 64512;",
        'MountVolume.SetUp failed for volume "typha-certs" : secret "typha-certs" not found',
        "selector=\"token == 'x' && secret != 'y' && has(password)\"",
        "config=rules.Config{IptablesMarkPass:0x20000, IptablesMarkAccept:0x10000}",
        'BPF conntrack timeout set name="CreationGracePeriod" value=10s',
        "image docker-pullable://registry:5000/calico/node@sha256:0123456789abcdef",
        "GET http://10.0.0.1:9091/metrics?x=user@example.com",
        "projectcalico.org/WireguardPublicKey: 7N2mYb9oKqVhC0a1q3k5m7p9r1t3v5x7z9B1D3F5H7I=",
        "--tls-private-key-file=/etc/x.key --tokens-ttl=300 secretName: x",
        "net.ipv4.tcp_syncookies = 1",
        "certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJ=",
        "token=null password: <nil>, token=$(TOKEN)",
        "name: x" + "\n" * 70 + "y",  # no pattern goes back and forth over it
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert of("felix-log", text.encode()) == (text, {})


def objects(id_: str, item: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    text, counts = of(id_, api_list([item]), None)
    found: dict[str, Any] = json.loads(text)["items"][0]
    return found, counts


ENV = [
    {"name": "FELIX_LOGSEVERITYSCREEN", "value": "Info"},
    {"name": "DB_URL", "value": "postgres://"},
    {"name": "CALICO_ROUTER_PASSWORD", "value": "x"},
    {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
]


@pytest.mark.parametrize(
    ("namespace", "name", "kept", "args"),
    [
        ("kube-system", "calico-node", ["Info", REDACTED, REDACTED, None], ["-felix", "--log=x"]),
        ("kube-system", "sidecar", [REDACTED, REDACTED, REDACTED, None], [REDACTED]),
        ("shop", "calico-node", [REDACTED, REDACTED, REDACTED, None], [REDACTED]),  # says so, in a tenant's namespace
    ],
)
def test_only_calicos_own_containers_keep_their_settings(
    namespace: str, name: str, kept: list[str | None], args: list[str]
) -> None:
    pod = {
        "metadata": {"name": "p", "namespace": namespace, "labels": {"k8s-app": "calico-node"}},
        "spec": {"initContainers": [{"name": name, "env": ENV, "args": ["-felix", "--log=x"]}], "containers": []},
    }
    found, _ = objects("pods", pod)
    container = found["spec"]["initContainers"][0]
    assert [e.get("value") for e in container["env"]] == kept
    assert [e["name"] for e in container["env"]] == [e["name"] for e in ENV]
    assert container["args"] == args


def test_annotations_of_calico_and_kubernetes_stay_but_for_applied_configuration() -> None:
    notes = {
        "kubectl.kubernetes.io/last-applied-configuration": '{"spec": 1}',
        "projectcalico.org/IPv4Address": "1.2.3.4",
        "example.com/x": "y",
    }
    found, counts = objects("nodes", {"metadata": {"name": "n", "annotations": notes}})
    assert found["metadata"]["annotations"] == {
        "kubectl.kubernetes.io/last-applied-configuration": REDACTED,
        "projectcalico.org/IPv4Address": "1.2.3.4",
        "example.com/x": REDACTED,
    }
    assert counts == {"annotations": 2}


def test_labels_and_selectors_stay() -> None:
    """Policy is decided by them, whatever they are called."""
    policy = {
        "metadata": {"name": "p", "labels": {"token": "x"}},
        "spec": {"podSelector": {"matchLabels": {"secret": "y"}}},
    }
    policy["spec"]["selector"] = "token == 'x'"
    assert objects("networkpolicies", policy) == (policy, {})


def test_a_list_of_an_odd_shape_is_still_scrubbed() -> None:
    text, _ = of("pods", b'{"items": [1, {"metadata": 3, "spec": "token: hunter2"}]}', None)
    assert "hunter2" not in text
    json.loads(text)


@pytest.mark.parametrize(
    "text", [b'{"items": [{"x": "hunter2"', b'{"x": "\xff hunter2"}', b"items:\n- hunter2\n", b'"hunter2"']
)
def test_a_list_that_cannot_be_read_is_withheld_and_says_so(text: bytes) -> None:
    answer, found = redacted(Evidence(Want("pods"), text, path="api/v1_pods.json"))
    assert isinstance(answer, Evidence)
    assert b"hunter2" not in answer.text
    assert answer.partial.startswith("withheld, as what is secret in it cannot be told: it is no")
    assert found == {"texts that could not be read": 1}
    with pytest.raises(OddShapeError, match="withheld"):
        decode_list(answer)


def test_what_the_manifest_says_is_scrubbed_too() -> None:
    said = "refused: password=hunter2"
    answer, found = redacted(Evidence(Want("ip-rule", "n1"), b"", command=said, stderr=said, partial=said))
    assert isinstance(answer, Evidence)
    assert {answer.command, answer.stderr, answer.partial} == {f"refused: password={REDACTED}"}
    assert found.total() == 3
    missing, _ = redacted(Missing("ip-rule", said, "n1"))
    assert missing == Missing("ip-rule", f"refused: password={REDACTED}", "n1")


@pytest.mark.parametrize("mark", ["", '"', "\\", '\\"', "' ", ";", "{", "\n", '";'])
def test_bird_passwords_end_where_bird_ends_them(mark: str) -> None:
    text = (
        f'protocol bgp a {{\n  password "left{mark}right";\n  passive on;\n}}\nprotocol bgp b {{ password "other"; }}\n'
    )
    clean, _ = of("bird.cfg", text.encode())
    assert not {"left", "right", "other"} & set(clean.replace('"', " ").replace(";", " ").split())
    assert "passive on;\n}\nprotocol bgp b {" in clean


def test_all_lists_are_read_as_objects_and_every_rule_of_the_catalog_is_one() -> None:
    assert {i.id for i in CATALOG.values() if isinstance(i.how, Api)} == {
        i.id for i in CATALOG.values() if i.secret is Secret.OBJECTS
    }
    assert {i.secret for i in CATALOG.values()} == set(Secret)
    assert set(redact._BY_PLACE) == set(Secret) - {Secret.NONE}


@pytest.mark.parametrize("name", first(1, names()[::-1]))
def test_redaction_changes_no_finding_and_no_coverage(name: str, tmp_path: Path) -> None:
    plain = checked(name)
    found = Sharing(Redacting(recording(name), tmp_path / "hidden")).check()
    assert [f.as_dict() for f in found] == [f.as_dict() for f in plain]
    assert found.coverage.as_dict() == plain.coverage.as_dict()


@pytest.mark.parametrize("name", names())
def test_only_what_is_known_is_taken_from_clean_recordings(name: str) -> None:
    """The bundled incidents have no secrets, but applied configuration in annotations, and nothing else goes."""
    source = recording(name)
    wants = [Want(i.id, n) for i in CATALOG.values() for n in (source.nodes() if i.scope == "node" else [None])]
    taken: Counter[str] = Counter()
    for want, answer in source.fetch(wants):
        clean, found = redacted(answer)
        taken += found
        if not found:
            assert clean == answer, want
        if isinstance(answer, Evidence) and want.node:
            assert clean == answer, want
    assert set(taken) == {"annotations"}


def test_a_cluster_is_redacted_where_a_report_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = MemorySource({Want("felix-log", "n1"): b"password=hunter2\n"}, known_nodes=["n1"])
    assert guarded(source) is source
    monkeypatch.setenv(redact.JOURNAL, str(tmp_path / "hidden"))
    for _ in range(2):  # what is read twice is told once
        (answer,) = (a for _, a in guarded(source).fetch([Want("felix-log", "n1")]))
        assert isinstance(answer, Evidence)
        assert answer.text == b"password=REDACTED\n"
    (hidden,) = hidden_in(tmp_path / "hidden")
    assert (hidden.source, hidden.file, hidden.counts) == ("memory", "felix-log@n1", {"passwords and tokens": 1})

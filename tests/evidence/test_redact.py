"""What is secret never reaches a recording; what tells how Calico runs stays."""

from __future__ import annotations

import json

import pytest

from calicokit.evidence.model import Evidence, Want
from calicokit.evidence.recordings.redact import REDACTED, Redactor
from tests.fakes import api_list

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLW9mLXRva2Vu"


def redacted(id_: str, text: bytes, node: str | None = "n1") -> tuple[str, dict[str, int]]:
    redactor = Redactor()
    evidence = Evidence(Want(id_, node), text, path="file")
    return redactor.text(evidence).decode(), dict(redactor.done.get("file", {}))


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
    clean, counts = redacted(id_, text.encode())
    assert secret not in clean
    assert REDACTED in clean
    assert clean.count("\n") in (text.count("\n"), 0 if "PRIVATE" in text else text.count("\n"))
    assert sum(counts.values()) >= 1
    again, _ = redacted(id_, clean.encode())
    assert again == clean, "redacting twice changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02 03:04:05.678 [INFO][9] felix/int_dataplane.go 1: Applying updates key=WorkloadEndpoint(x)",
        "bird: Mesh_172_30_0_12: Received: Bad peer AS: 64999",
        'Key "node" in map; token was refreshed',
        "  neighbor 172.30.0.12 port 179 as 64512;",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted("felix-log", text.encode()) == (text, {})


def objects(id_: str, item: dict[str, object]) -> tuple[dict[str, object], dict[str, int]]:
    text, counts = redacted(id_, api_list([item]), None)
    found: dict[str, object] = json.loads(text)["items"][0]
    return found, counts


def test_environment_values_go_but_calicos_own_settings_stay() -> None:
    env = [
        {"name": "FELIX_LOGSEVERITYSCREEN", "value": "Info"},
        {"name": "DB_URL", "value": "postgres://"},
        {"name": "CALICO_ROUTER_PASSWORD", "value": "x"},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    pod = {"metadata": {"name": "p"}, "spec": {"initContainers": [{"env": env}], "containers": []}}
    found, counts = objects("pods", pod)
    kept = found["spec"]["initContainers"][0]["env"]  # type: ignore[index]
    assert [e.get("value") for e in kept] == ["Info", REDACTED, REDACTED, None]
    assert counts == {"environment values": 2}


def test_annotations_that_hold_applied_configuration_go() -> None:
    notes = {
        "kubectl.kubernetes.io/last-applied-configuration": '{"spec": 1}',
        "projectcalico.org/IPv4Address": "1.2.3.4",
    }
    found, counts = objects("nodes", {"metadata": {"name": "n", "annotations": notes}})
    assert found["metadata"]["annotations"] == {  # type: ignore[index]
        "kubectl.kubernetes.io/last-applied-configuration": REDACTED,
        "projectcalico.org/IPv4Address": "1.2.3.4",
    }
    assert counts == {"annotations": 1}


def test_a_list_of_an_odd_shape_is_still_scrubbed() -> None:
    text, _ = redacted("pods", b'{"items": [1, {"metadata": 3, "spec": "token: hunter2"}]}', None)
    assert "hunter2" not in text


def test_standard_error_is_scrubbed_too() -> None:
    redactor = Redactor()
    assert "hunter2" not in redactor.words("refused: password=hunter2", "file")
    assert redactor.done["file"]

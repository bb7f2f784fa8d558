"""The kind is guessed of every file of every recording, and what is guessed is what the catalog says it is."""

from __future__ import annotations

import pytest

from calicokit.evidence.catalog import CATALOG
from calicokit.parsers.guess import guess
from tests import recordings

ALIKE = {
    # Output in which nothing tells which of these printed it.
    "startup-log": {"startup-log", "felix-log", "confd-log", "kube-controllers-log", "cni-log"},
    "confd-log": {"confd-log", "startup-log", "felix-log"},
    "calicoctl-get": {"calicoctl-get", "kubectl-get"},
}


@pytest.mark.parametrize("name", recordings.names())
def test_every_recorded_file(name: str) -> None:
    wrong = {}
    for item in CATALOG.values():
        kind = item.parser.partition(":")[0]
        for path in recordings.paths(name, f"*/{item.file}") if kind else []:
            text = recordings.read(name, path).decode("utf-8", "replace")
            if "/series/" in path or text.count("\n") < 2:
                continue
            found = guess(text)
            if not found or found[0].kind not in ALIKE.get(kind, {kind}):
                wrong[path] = [g.kind for g in found]
    assert wrong == {}


@pytest.mark.parametrize("text", ["", "\n\n", "hello\nworld\n", "{}", "\x00\x01"])
def test_what_fits_nothing_is_nothing(text: str) -> None:
    assert guess(text) == []


def test_noise_around_does_not_hide_it() -> None:
    text = (
        "$ kubectl exec -n kube-system calico-node-x -- ip rule\r\nDefaulted container\r\n0:\tfrom all lookup local\r\n"
    )
    assert guess(text)[0].kind == "ip-rule"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("felix-log", "2019-05-02 11:22:33.444 [INFO][54] int_dataplane.go 751: Applying dataplane updates\n"),
        (
            "conntrack",
            "ipv4     2 tcp      6 86399 ESTABLISHED src=10.1.2.3 dst=10.4.5.6 sport=41022 dport=443 src=10.7.8.9 "
            "dst=10.1.2.3 sport=6443 dport=41022 [ASSURED] mark=0 zone=0 use=2\n",
        ),
        ("bird-protocols", "BIRD 2.0.12 ready.\nName Proto Table State Since Info\ndevice1 Device --- up 2024-03-01\n"),
    ],
)
def test_older_and_wider_layouts(kind: str, text: str) -> None:
    assert guess(text)[0].kind == kind

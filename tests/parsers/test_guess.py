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
    "kube-controllers-log": {"kube-controllers-log", "typha-log"},
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

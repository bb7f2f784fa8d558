"""A session's outputs: each by its command, with the numbers of the whole text; what else stands there is told."""

from __future__ import annotations

import json
import subprocess
import sys

from calicokit.evidence.bundles.recognise import Part, parts
from calicokit.parsers.sessions import read, sections, unread

SESSION = """root@lab-w3:~# ip route
default via 172.31.7.1 dev ens3
10.77.4.64/26 via 172.31.7.12 dev tunl0 proto bird onlink
root@lab-w3:~# kubectl get pods -n kube-system | grep calico
calico-node-4fz7p   0/1   Running   0   93m
root@lab-w3:~# cat /etc/motd
hello friend
"""


def test_each_output_has_its_tables_and_the_lines_of_the_whole_text() -> None:
    route, pods, words = read(SESSION)
    assert route.parsed is not None
    assert route.parsed.frame["line"].to_list() == [2, 3]
    assert pods.parsed is not None
    assert (pods.parsed.kind, pods.parsed.frame["line"].to_list()) == ("kubectl-get", [5])
    assert words.parsed is None
    assert [(line.number, line.text) for line in unread(words)] == [(7, "hello friend")]


def test_outputs_of_one_kind_are_one() -> None:
    text = "a# ip rule\n0:\tfrom all lookup local\nb# ip rule\n32766:\tfrom all lookup main\n"
    (found,) = read(text)
    assert found.parsed is not None
    assert found.parsed.frame["line"].to_list() == [2, 4]


def test_a_bare_command_begins_an_output_but_not_in_one() -> None:
    text = b"ip rule\n0:\tfrom all lookup local\n\ncalicoctl node status\nCalico process is running.\nip x\n"
    assert [s.command for s in sections(text)] == ["ip rule", "calicoctl node status"]


def test_what_a_filter_left_is_no_whole_output() -> None:
    text = b"$ ip route | grep 10.77\n10.77.4.64/26 via 172.31.7.12 dev tunl0 proto bird onlink\n"
    (found,) = parts("routes.txt", text)
    assert isinstance(found, Part)
    assert (found.id, found.scoped) == ("ip-route", "what `grep 10.77` left of it")


def test_parse_prints_all_tables_and_each_output() -> None:
    command = [sys.executable, "-m", "calicokit", "parse", "-", "--format", "json"]
    done = subprocess.run(command, input=SESSION, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert answer["kind"] == "session"
    assert [o["kind"] for o in answer["outputs"]] == ["ip-route", "kubectl-get", None]
    assert [o["line"] for o in answer["outputs"]] == [2, 5, 7]
    assert len(answer["tables"]["ip_route"]) == 2
    assert answer["unparsed"] == [{"line": 7, "text": "hello friend"}]

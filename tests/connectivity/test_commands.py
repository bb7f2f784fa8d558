"""The steps' commands can be pasted: real names, a service's real ports, and no word that a shell would read."""

from __future__ import annotations

import re
import shlex

import pytest

from calicokit.connectivity.commands import Commands, Seat
from calicokit.health.commands import NodeCommands
from tests import clusters

PLACEHOLDER = re.compile(r"\b(?:PEER|POD|NAMESPACE|SOURCE|PORT|NAME|ADDRESS)\b")


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("healthy-dual-stack", "healthy-vxlan-typha")]


@pytest.mark.parametrize("incident", ["policy-drop", *SLOW])
def test_commands_of_a_service_have_real_names_and_ports(incident: str) -> None:
    cluster = clusters.of(incident)
    pods = cluster.kube.pods(where=["namespace=shop", "phase=Running"], sort="pod")
    source = f"shop/{pods['pod'].iloc[0]}"
    steps = cluster.connectivity.steps(source, "svc/shop/db", "80")
    commands = steps.set_index("step")["command"]
    assert not commands.str.contains(PLACEHOLDER).any()
    assert f"-n shop {source.removeprefix('shop/')} -o wide" in commands[1]
    assert re.search(r"ip route get \S+ from \S+ iif cali\w+", commands[3])
    assert commands[4] == f"calicokit act probe {source} {commands[4].split()[-2]} 5432"
    assert commands[5] == f"kubectl calicokit explain --from {source} --to svc/shop/db --port 80"
    own = set(cluster.health.pods()["pod"])
    assert set(re.findall(r"exec -n \S+ (\S+) -c calico-node", " ".join(commands))) <= own


def test_without_a_port_it_is_asked_for() -> None:
    made = Commands(
        ["--from", "a/b", "--to", "1.2.3.4"], Seat("a/b", "1.1.1.1"), [Seat(address="1.2.3.4")], NodeCommands(None)
    )
    assert "--port" in made.tried()
    assert made.routes() == ""


@pytest.mark.parametrize("name", ["x; rm -rf /", "$(reboot)", "a'b", "`id`", "a b"])
def test_names_of_a_cluster_are_one_word_for_a_shell(name: str) -> None:
    end = Seat(f"ns/{name}", "10.0.0.1", name, name, 80)
    made = Commands(["--from", f"ns/{name}", "--to", name], end, [end], NodeCommands(None))
    for command in (made.addresses(), made.tried(), made.of_kit("explain")):
        assert any(word in (name, f"ns/{name}") for word in shlex.split(command))

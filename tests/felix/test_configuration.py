"""Felix's configuration in force: what it logs itself, what its settings say, and where the two disagree."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from calicokit.felix.state.configuration import defaults_of, in_force, same, spelled
from tests import clusters, recordings
from tests.edited import Edited, without
from tests.fakes import cluster_of, node, own

PARSED = re.compile(r"Parsed value for (\S+): (.*) \(from environment variable\)")


@pytest.mark.parametrize("name", recordings.names())
def test_what_felix_took_from_its_environment_is_in_force(name: str) -> None:
    table = clusters.opened(name).felix.configuration()
    assert not table.duplicated(["node", "field"]).any()
    for where in ("node-1", "node-2", "node-3", "node-4"):
        log = recordings.read(name, f"nodes/{where}/felix.log").decode(errors="replace")
        told = {spelled(m[1]): m[2] for m in PARSED.finditer(log)}
        mine = table[table["node"] == where].set_index("field")
        for field, value in told.items():
            assert mine.loc[field, "origin"] == "environment", field
            assert same(str(mine.loc[field, "value"]) if pd.notna(mine.loc[field, "value"]) else "", value), field
            assert mine.loc[field, "said_by"] == "felix"


def configured(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": spec.pop("name", "default"), "creationTimestamp": spec.pop("created", None)},
        "spec": spec,
    }


def daemonset(**env: str) -> dict[str, Any]:
    container = {"name": "calico-node", "env": [{"name": k, "value": v} for k, v in env.items()]}
    return {
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def value(table: pd.DataFrame, where: str, field: str) -> tuple[str, str]:
    row = table[(table["node"] == where) & (table["field"] == field)].iloc[0]
    return row["value"], row["origin"]


def test_each_source_beats_those_before_it() -> None:
    objects = [
        configured(iptablesBackend="NFT", logSeverityScreen="Info", bpfEnabled=False, healthPort=9100, vxlanVNI=1),
        configured(name="young", created="2026-02-01T00:00:00Z", nodeSelector="rack == 'a'", vxlanVNI=3),
        configured(name="old", created="2026-01-01T00:00:00Z", nodeSelector="rack == 'a'", vxlanVNI=2, healthPort=9101),
        configured(name="broken", nodeSelector="rack ==", vxlanVNI=9),
        configured(name="node.n1", bpfEnabled=True, logSeverityScreen="Debug"),
    ]
    table = cluster_of(
        nodes=[node("n1", labels={"rack": "a"}), node("n2")],
        felixconfigurations=objects,
        daemonsets=[daemonset(FELIX_LOGSEVERITYSCREEN="Warning", FELIX_HEALTHPORT="", OTHER="x")],
        clusterinformations=[],
    ).felix.configuration()
    assert value(table, "n1", "logSeverityScreen") == ("Warning", "environment")
    assert value(table, "n1", "bpfEnabled") == ("true", "FelixConfiguration node.n1")
    assert value(table, "n2", "bpfEnabled") == ("false", "FelixConfiguration default")
    assert value(table, "n1", "vxlanVNI") == ("2", "FelixConfiguration old")
    assert value(table, "n2", "vxlanVNI") == ("1", "FelixConfiguration default")
    assert value(table, "n1", "healthPort") == ("9101", "FelixConfiguration old")
    assert value(table, "n1", "iptablesRefreshInterval") == ("180s", "default")
    assert in_force(table, "bpfEnabled") == {"n1": "true", "n2": "false"}


def test_a_pods_own_environment_beats_the_daemonsets() -> None:
    pods = [
        {
            "metadata": {"name": "calico-node-x", "namespace": "kube-system", **own()},
            "spec": {
                "nodeName": "n1",
                "hostNetwork": True,
                **daemonset(FELIX_BPFENABLED="true")["spec"]["template"]["spec"],
            },
            "status": {"phase": "Running"},
        }
    ]
    made = {"nodes": [node("n1"), node("n2")], "felixconfigurations": [], "pods": pods}
    table = cluster_of(**made, daemonsets=[daemonset(FELIX_BPFENABLED="false")]).felix.configuration()
    assert in_force(table, "bpfEnabled") == {"n1": "true", "n2": "false"}


def test_what_felix_says_beats_the_settings_and_the_difference_is_shown() -> None:
    change = lambda o: o["spec"].update(floatingIPs="Enabled", bpfLogLevel="Debug")  # noqa: E731
    table = Edited("healthy-bgp-mesh").objects("felixconfigurations", change).cluster().felix.configuration()
    row = table[(table["node"] == "node-2") & (table["field"] == "floatingIPs")].iloc[0]
    assert (row["value"], row["said_by"], row["settings"]) == (
        "Disabled",
        "felix",
        "Enabled (FelixConfiguration default)",
    )
    silent = Edited("healthy-bgp-mesh").objects("felixconfigurations", change)
    silent.edit("felix-log", "node-2", without("config_params.go"))
    table = silent.cluster().felix.configuration()
    row = table[(table["node"] == "node-2") & (table["field"] == "floatingIPs")].iloc[0]
    assert (row["value"], row["said_by"]) == ("Enabled", "settings")
    assert pd.isna(row["settings"])


def test_a_setting_that_a_started_felix_did_not_take_is_not_in_force() -> None:
    name, where = "policy-drop-v3.28", "node-4"
    start = '2026-11-24 02:31:00.000 [INFO][{}] felix/daemon.go 133: Felix starting up version="v3.28.5"\n'

    def started(text: str) -> str:
        pid = re.findall(r"\[INFO\]\[(\d+)\]", text)[0]
        return start.format(pid) + text

    change = lambda o: o["spec"].update(vxlanVNI=77)  # noqa: E731
    table = (
        Edited(name)
        .objects("felixconfigurations", change)
        .edit("felix-log", where, started)
        .cluster()
        .felix.configuration()
    )
    row = table[(table["node"] == where) & (table["field"] == "vxlanVNI")].iloc[0]
    assert (row["value"], row["origin"], row["said_by"]) == ("4096", "default", "felix")
    assert row["settings"] == "77 (FelixConfiguration default)"


@pytest.mark.parametrize(
    ("version", "name", "expected"),
    [
        ("v3.20.0", "iptablesRefreshInterval", "90s"),
        ("v3.28.5", "ipsetsRefreshInterval", "10s"),
        ("v3.30.0", "ipsetsRefreshInterval", "90s"),
        ("v3.31.2", "nftablesMode", "Disabled"),
        ("v3.32.1", "nftablesMode", "Auto"),
        (None, "programClusterRoutes", "EnabledIPIPOnly"),
    ],
)
def test_defaults_are_those_of_the_version(version: str | None, name: str, expected: str) -> None:
    assert defaults_of(version)[name] == expected

"""Reachability against network-config-analyzer, on what both know: Kubernetes' and Calico's policies without tiers.

It is no dependency: ``pip install --target DIR network-config-analyzer`` and name DIR in CALICOKIT_NCA to run this.
What it does not know is left out: pods of the host's network (it applies their namespace's policies to them), tiers,
the label projectcalico.org/namespace in selectors (it warns that such a policy selects nothing).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import clusters, recordings

HOME = Path(os.environ.get("CALICOKIT_NCA", "/tmp/nca"))
POLICIES = (
    ("networking.k8s.io_v1_networkpolicies", "NetworkPolicy", "networking.k8s.io/v1"),
    ("crd.projectcalico.org_v1_networkpolicies", "NetworkPolicy", "projectcalico.org/v3"),
    ("crd.projectcalico.org_v1_globalnetworkpolicies", "GlobalNetworkPolicy", "projectcalico.org/v3"),
    ("crd.projectcalico.org_v1_globalnetworksets", "GlobalNetworkSet", "projectcalico.org/v3"),
)
PORTS = [("tcp", p) for p in (53, 80, 5432, 5439, 8080, 8443, 9090)] + [("udp", p) for p in (53, 80)]

pytestmark = pytest.mark.skipif(not (HOME / "nca").is_dir(), reason="network-config-analyzer is not installed")


def items(name: str, file: str, kind: str, group: str) -> list[dict[str, Any]]:
    found = json.loads(recordings.read(name, f"api/{file}.json"))["items"]
    return [{**item, "kind": kind, "apiVersion": group} for item in found]


def plain(policy: dict[str, Any]) -> dict[str, Any]:
    """The policy as it accepts it: types in one order only, no annotations."""
    spec = {k: v for k, v in policy["spec"].items() if k != "tier"}
    for types in ("types", "policyTypes"):
        if types in spec:
            spec[types] = sorted(spec[types], reverse=True)
    meta = {k: v for k, v in policy["metadata"].items() if k in ("name", "namespace", "labels")}
    return {**policy, "metadata": meta, "spec": spec}


def theirs(name: str, folder: Path) -> dict[tuple[str, str], str]:
    """Its connectivity map: pairs of pods → connections."""
    files = {
        "pods": items(name, "v1_pods", "Pod", "v1"),
        "namespaces": items(name, "v1_namespaces", "Namespace", "v1"),
        "policies": [plain(p) for row in POLICIES for p in items(name, *row)],
    }
    for file, objects in files.items():
        (folder / f"{file}.yaml").write_text(yaml.safe_dump_all(objects))
    words = ["--connectivity", "policies.yaml", "-p", "pods.yaml", "-n", "namespaces.yaml"]
    words += ["--output_format", "txt_no_fw_rules", "--output_endpoints", "pods"]
    command = [sys.executable, "-m", "nca.nca_cli", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(HOME)})
    found = {}
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r"(\S+/[^\s\[]+)(?:\[\w+\])? => (\S+/[^\s\[]+)(?:\[\w+\])? : (.+)", line):
            found[match[1], match[2]] = match[3]
    assert found, done.stderr
    return found


def allows(connections: str, proto: str, port: int) -> bool:
    if connections == "All connections":
        return True
    match = re.fullmatch(r"\{protocols:([\w, ]+),dst_ports:([\d,-]+)\}", connections)
    assert match, connections
    spans = (s.partition("-") for s in match[2].split(","))
    return proto.upper() in match[1].split(", ") and any(int(a) <= port <= int(b or a) for a, _, b in spans)


@pytest.mark.parametrize("name", ["healthy-v3.28", "policy-drop-v3.28"])
def test_the_same_pairs_by_the_same_ports(name: str, tmp_path: Path) -> None:
    found = theirs(name, tmp_path)
    explainer = clusters.opened(name).explainer()
    pods = [e.ref for e in explainer.parts.endpoints if not e.host]
    differ = [
        (source, target, proto, port)
        for source in pods
        for target in pods
        if source != target
        for proto, port in PORTS
        if (explainer.explain(source, target, port, proto).verdict == "allow")
        != allows(found.get((source, target), "{protocols:TCP,dst_ports:0}"), proto, port)
    ]
    assert differ == []
    assert len(pods) > 20

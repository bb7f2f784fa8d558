"""ClusterNetworkPolicy, which has the tiers Admin and Baseline in one kind, decides as Calico makes it decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from calicokit.dataplane.rules.naming import policy_chain_suffixes, policy_in_comment
from tests import clusters, recordings

NAME = "healthy-dual-stack"

POLICY = """
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {{name: told}}
spec:
  tier: {tier}
  priority: 10
  subject: {{namespaces: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}
  ingress:
  - name: first
    action: {action}
    from: [{{namespaces: {{}}}}]
"""


def verdicts(tmp_path: Path, observed: str, tier: str, action: str) -> list[str]:
    """What becomes of connections of both IP versions to one namespace's pods, under one policy more."""
    every = (p for p in recordings.probes(NAME) if p["src_ip"] != p["dst_ip"] and p["dst"].count("/") == 1)
    probes = [p for p in every if p["observed"] == observed]
    namespace = probes[0]["dst"].partition("/")[0]
    mine = [p for p in probes if p["dst"].startswith(f"{namespace}/")]
    four, six = (next(p for p in mine if (":" in p["dst_ip"]) == v6) for v6 in (False, True))
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.format(tier=tier, action=action, namespace=namespace))
    explainer = clusters.opened(NAME).explainer(file)
    return [explainer.explain(p["src_ip"], p["dst_ip"], p["port"], p["proto"]).verdict for p in (four, six)]


@pytest.mark.parametrize(
    ("tier", "action", "verdict"),
    [
        ("Admin", "Deny", "deny"),  # before every other tier
        ("Admin", "Pass", "allow"),
        ("Admin", "Accept", "allow"),
    ],
)
def test_what_was_allowed(tmp_path: Path, tier: str, action: str, verdict: str) -> None:
    assert verdicts(tmp_path, "allow", tier, action) == [verdict, verdict]


def test_the_baseline_comes_last(tmp_path: Path) -> None:
    """What policy of the default tier denies is denied, whatever the baseline accepts."""
    assert verdicts(tmp_path, "drop", "Baseline", "Accept") == ["deny", "deny"]


def test_its_chains_are_named_as_felix_does_in_every_version() -> None:
    """felix/types/policy_id.go at HEAD; libcalico-go/lib/names/policy.go before."""
    found = set(policy_chain_suffixes("KubernetesClusterNetworkPolicy", "", "told", "kube-baseline"))
    assert {"kcnp/told", "kcnp.kube-baseline.told"} <= found
    assert not any("kube-admin" in f for f in found)
    new, old = (
        policy_in_comment(f"{n} ingress")
        for n in ("KubernetesClusterNetworkPolicy told", "Policy kcnp.kube-admin.told")
    )
    assert new is not None
    assert old is not None
    assert (new.kind, new.ref) == (old.kind, old.ref) == ("KubernetesClusterNetworkPolicy", "told")

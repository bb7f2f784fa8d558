"""Policy's tables."""
from __future__ import annotations
from typing import Any

from calicokit.policy.explain import Explainer
from calicokit.policy.read import LISTS, Inputs
from calicokit.registry import model

@model("policy.model", wants=(*LISTS, "health.install"))
def policy_model(*given: Any) -> Explainer:
    *lists, install = given
    version = None
    if install is not None and len(install):
        row = install.iloc[0]
        version = next((v for v in (row["version"], row["cluster_version"]) if isinstance(v, str)), None)
    inputs = Inputs(dict(zip(LISTS, lists, strict=True)), version)
    return Explainer(inputs.parts(), inputs)

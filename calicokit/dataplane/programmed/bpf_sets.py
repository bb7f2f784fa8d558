"""IP sets of the eBPF programs beside the pods and network sets that policies' selectors mean.

A set's number is made from its Felix id by a hash, and another one only where two collide (felix/idalloc/idalloc.go,
v3.34-dev; checked against recordings healthy-ebpf and healthy-ebpf-vxlan). Sets of named ports and services have other
ids, and are not compared.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import pandas as pd

from calicokit.dataplane.programmed.memberships import (
    differences,
    moving,
    nets_of,
    of_version,
    uses_of,
    wanted_by,
)
from calicokit.felix.state.modes import seen_with_ebpf
from calicokit.kube.tables import EVIDENCE
from calicokit.net import Prefix
from calicokit.policy.explain import Explainer
from calicokit.registry import Given, table
from calicokit.schema import Column, Schema, cells
from calicokit.selectors import parse

SETS = Schema(
    "dataplane.bpf_sets",
    "IP sets in the eBPF programs' map, beside the selectors that they are for (IPv4).",
    (
        Column("node", "str", "node"),
        Column("set", "str", "number of the set, in hexadecimal"),
        Column("members", "int", "members", "members"),
        Column("selector", "str", "selector that it is for; null for named ports, services, or one of no known policy"),
        Column("policies", "list", "policies (NS/NAME or NAME) whose rules use it"),
        Column("lacks", "list", "missing addresses; null where it was not compared"),
        Column("extra", "list", "extra addresses; null where it was not compared"),
        EVIDENCE,
    ),
    key=("node", "set"),
)


_NUMBER = re.compile(r"\b0x[0-9a-f]{1,16}\b")


def set_number(selector: str) -> str:
    """The number of a selector's set, as it is printed, where no other set's hash is the same.

    >>> set_number('threat == "feed"')
    '0x7f7c28acef98c9dc'
    """
    text = f"s:{parse(selector)}"
    name = "s:" + base64.urlsafe_b64encode(hashlib.sha224(text.encode()).digest()).decode().rstrip("=")
    return hex(int.from_bytes(hashlib.sha256(bytes(8) + name.encode()).digest()[:8], "little"))


@table(
    SETS,
    wants={
        "felix": "felix.configuration",
        "there": "output.bpf_ipsets",
        "model": "policy.model",
        "pods": "kube.pods",
        "now": "@now",
        "network_sets": ("globalnetworksets", "networksets"),
        "programs": "output.bpf_policy",
    },
)
def bpf_sets(
    felix: pd.DataFrame | None = None,
    there: pd.DataFrame | None = None,
    model: Explainer | None = None,
    pods: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
    network_sets: Given | None = None,
    programs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each set on a node; see :data:`SETS`.

    A set without members is not in the map: that a program asks for it, its dump says by the number that it prints.
    """
    if not seen_with_ebpf(felix, {"output.bpf_ipsets": there}) or there is None:
        return SETS.frame()
    parts = model.parts if model is not None and not {"namespaces", "serviceaccounts"} & model.parts.missing else None
    uses = uses_of(parts) if parts is not None else {}
    selectors = {set_number(s): s for s in uses}
    empty = dict(_empty(programs))
    found = [s for s in dict.fromkeys([*there["set"], *(s for _, s in empty)]) if s in selectors]
    wanted = wanted_by(parts, [selectors[s] for s in found]) if parts is not None else {}
    restless = moving(pods, now) if pods is not None and now is not None else None
    complete = network_sets is not None and all(known is not None for known in network_sets.values())
    members = {key: (_nets(own), len(own), own["evidence"].iloc[0]) for key, own in there.groupby(["node", "set"])}
    members |= {key: (set(), 0, evidence) for key, evidence in empty.items() if key not in members}
    rows = []
    for (node, name), (nets, count, evidence) in sorted(members.items()):
        row = {"node": node, "set": name, "members": count, "evidence": evidence, "policies": []}
        if (selector := selectors.get(str(name))) is not None:
            row |= {"selector": selector, "policies": sorted(uses[selector])}
            if restless is not None:
                lacks, extra = differences(nets, of_version(wanted[selector], 4), restless)
                row |= {"lacks": lacks, "extra": extra if complete else None}
        rows.append(row)
    return SETS.frame(rows)


def _empty(programs: pd.DataFrame | None) -> Iterator[tuple[tuple[str, str], str]]:
    """Node and number of sets that programs ask for and that have no member, and where that was read."""
    if programs is not None:
        for node, match, evidence in cells(programs[programs["match"].notna()], "node", "match", "evidence"):
            yield from (((node, number), evidence) for number in _NUMBER.findall(match))


def _nets(members: pd.DataFrame) -> set[Prefix]:
    """The members that are networks."""
    texts = (a for a, port in cells(members, "address", "port") if isinstance(a, str) and pd.isna(port))
    return {net for text in texts for net in nets_of(text)}

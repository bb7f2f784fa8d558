"""IP sets of selectors beside the pods and network sets that the selectors mean.

A set's name is a hash of the selector in Felix's canonical form, so that a policy's selector leads to its set (source:
felix/ipsets/ipset_defs.go, libcalico-go/lib/selector; checked against the recordings of v3.28.5 and HEAD).
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.dataplane.programmed.drift import NODE, SETTLED
from calicokit.net import Prefix, address_text, prefix
from calicokit.policy.classes import Groups, keys_of, readable
from calicokit.policy.explain import Explainer
from calicokit.policy.model import Parts
from calicokit.registry import Given, table
from calicokit.schema import Column, Schema, cells
from calicokit.selectors import parse

MEMBERSHIPS = Schema(
    "dataplane.memberships",
    "IP sets of policy selectors with missing or extra members, compared with pods and network sets.",
    (
        NODE,
        Column("set", "str", "name of the IP set"),
        Column("selector", "str", "selector that the set implements"),
        Column("policies", "list", "policies (NS/NAME or NAME) whose rules use it"),
        Column("lacks", "list", "missing addresses"),
        Column("extra", "list", "extra addresses"),
    ),
    key=("node", "set"),
)

NAME_LENGTH = 31


def set_name(selector: str, nft: bool = False, version: int = 4) -> str:
    """The name of a selector's IP set of an IP version.

    >>> set_name('threat == "feed"')
    'cali40s:NTMnXrZec7LOGcAfJvvMZjN'
    """
    text = f"s:{parse(selector)}"
    digest = base64.urlsafe_b64encode(hashlib.sha224(text.encode()).digest()).decode().rstrip("=")
    name = f"cali{version}0s:{digest}"[:NAME_LENGTH]
    return name.replace(":", "-") if nft else name


@table(
    MEMBERSHIPS,
    needs={"sets": "dataplane.sets", "model": "policy.model", "pods": "kube.pods", "now": "@now"},
    wants={"network_sets": ("globalnetworksets", "networksets")},
    known=("policy.policies",),
)
def memberships(
    sets: pd.DataFrame,
    model: Explainer,
    pods: pd.DataFrame,
    now: pd.Timestamp,
    network_sets: Given,
) -> pd.DataFrame:
    """One row for each set that differs; see :data:`MEMBERSHIPS`.

    Addresses of pods that just came, that go or have ended are left out on both sides. Where network sets were not
    listed, only pods that are missing are told.
    """
    parts = model.parts
    parts.need("namespaces", "serviceaccounts")
    uses = uses_of(parts)
    names = {set_name(s, nft, v): (s, v) for s in uses for nft in (False, True) for v in (4, 6)}
    own = sets[sets["set"].isin(list(names)) & sets["family"].isin(["ip", "ip6"])]
    if not len(own):
        return MEMBERSHIPS.frame()
    wanted = wanted_by(parts, list(dict.fromkeys(names[s][0] for s in own["set"])))
    restless = moving(pods, now)
    complete = all(known is not None for known in network_sets.values())
    there: dict[tuple[str, str], set[Prefix]] = defaultdict(set)
    for node, name, element in cells(own, "node", "set", "element"):
        there[node, name] |= set(nets_of(element))
    rows = []
    for (node, name), members in there.items():
        selector, version = names[name]
        lacks, extra = differences(members, of_version(wanted[selector], version), restless)
        if lacks or (extra and complete):
            rows.append(
                {
                    "node": node,
                    "set": name,
                    "selector": selector,
                    "policies": sorted(uses[selector]),
                    "lacks": lacks,
                    "extra": extra if complete else [],
                }
            )
    return MEMBERSHIPS.frame(rows)


def differences(members: set[Prefix], should: set[Prefix], restless: set[str]) -> tuple[list[str], list[str]]:
    """What a set lacks, and what it has that it should not; nothing for networks that cover one another."""
    lacks = [t for t in _texts(should - members, restless) if not any(m.covers(prefix(t)) for m in members)]
    extra = _texts(members - should, restless)
    odd = any(not any(s.covers(prefix(t)) or prefix(t).covers(s) for s in should) for t in extra)
    return lacks, extra if odd else []


def nets_of(element: object) -> Iterator[Prefix]:
    """The network that an element is; none for a range, or a line that was cut."""
    try:
        yield prefix(str(element))
    except ValueError:
        return


def uses_of(parts: Parts) -> dict[str, set[str]]:
    """Selector of a rule → the policies that use it."""
    found: dict[str, set[str]] = defaultdict(set)
    for policy in readable(parts.enforced()):
        for rule in (*policy.ingress, *policy.egress):
            for side in (rule.source, rule.destination):
                for selector in (side.positive, side.selector, side.not_selector):
                    if selector:
                        found[selector].add(policy.ref)
    return found


def of_version(nets: set[Prefix], version: int) -> set[Prefix]:
    """Those of one IP version."""
    return {net for net in nets if net.version == version}


def wanted_by(parts: Parts, selectors: list[str]) -> dict[str, set[Prefix]]:
    """Selector → addresses of endpoints and networks of network sets, of both IP versions."""
    holders: list[tuple[Any, list[Prefix]]] = [
        *((e, [prefix(a) for a in e.addresses]) for e in parts.endpoints),
        *((s, list(s.nets)) for s in parts.sets),
    ]
    groups = Groups((h.labels for h, _ in holders), keys_of(selectors))
    made = {}
    for selector in selectors:
        flags = groups.selected(selector)
        made[selector] = {n for (_, nets), g in zip(holders, groups.of, strict=True) if flags[g] for n in nets}
    return made


def moving(pods: pd.DataFrame, now: pd.Timestamp) -> set[str]:
    """Addresses of pods that just came, are being deleted or have ended."""
    young = ~((now - pods["created"]).dt.total_seconds() > SETTLED)
    unsettled = pods[young | pods["deleted"].notna() | pods["finished"] | (pods["phase"] != "Running")]
    return {a for addresses in unsettled["addresses"] for a in addresses}


def _texts(nets: set[Prefix], but: set[str]) -> list[str]:
    return sorted(set(_text(nets)) - but)


def _text(nets: set[Prefix]) -> Iterator[str]:
    for net in nets:
        first = address_text(net.version, net.first)
        bits = 32 if net.version == 4 else 128
        yield first if net.size == 1 else f"{first}/{bits - (net.size - 1).bit_length()}"

"""Policies that an endpoint's chain or program asks beside those that apply to it, and verdicts beside rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from calicokit.policy.model import Policy

Named = tuple[str, str]
"""Kind and NS/NAME of a policy."""


def compared(
    base: dict[str, Any], there: Sequence[tuple[Named | None, str]], should: Sequence[Named]
) -> Iterator[dict[str, Any]]:
    """Rows of ``dataplane.differences`` for one endpoint and direction; each policy stands with its chain."""
    named = [name for name, _ in there]
    words = {
        "programmed": listed_or_none(n[1] if n else chain for n, chain in there),
        "asked": listed_or_none(p for _, p in should),
    }
    for kind, policy in should:
        if (kind, policy) not in named:
            yield base | words | {"difference": "missing", "kind": kind, "policy": policy}
    for name, chain in there:
        if name is None or name not in should:
            whose = dict(zip(("kind", "policy"), name, strict=True)) if name else {}
            yield base | words | whose | {"difference": "extra", "chain": chain or None}
    both = [n for n in named if n in should]
    wanted = [n for n in should if n in named]
    for name, at in zip(both, wanted, strict=False):
        if name is not None and name != at:
            yield base | words | {"difference": "order", "kind": at[0], "policy": at[1]}
            return


def listed_or_none(names: Iterable[str]) -> str:
    """Names with commas, or the word none."""
    return ", ".join(names) or "none"


def expected_verdicts(policy: Policy, direction: str, version: int = 4) -> list[str] | None:
    """What the chain of a policy should decide, rule by rule; None where a rule may not stand in that IP version's."""
    rules = policy.ingress if direction == "ingress" else policy.egress
    if direction not in policy.types:
        return None
    if any(_not_of(version, r) for r in rules):
        return None
    return [r.action.lower() for r in rules]


OF_ONE_VERSION = {4: ("icmp", "1"), 6: ("icmpv6", "58")}
"""Protocols of one IP version alone."""


def _not_of(version: int, rule: Any) -> bool:
    """Whether a rule may have no place in the chains of an IP version: something of it is of the other one."""
    nets = (*rule.source.nets, *rule.source.not_nets, *rule.destination.nets, *rule.destination.not_nets)
    other = 10 - version
    return other in (rule.version, *(n.version for n in nets)) or bool(
        {rule.protocol, rule.not_protocol} & set(OF_ONE_VERSION[other])
    )

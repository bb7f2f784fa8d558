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


def expected_verdicts(policy: Policy, direction: str) -> list[str] | None:
    """What the chain of a policy should decide, rule by rule; None where a rule may not stand in IPv4's chain."""
    rules = policy.ingress if direction == "ingress" else policy.egress
    if direction not in policy.types:
        return None
    if any(_not_of_ipv4(r) for r in rules):
        return None
    return [r.action.lower() for r in rules]


def _not_of_ipv4(rule: Any) -> bool:
    nets = (*rule.source.nets, *rule.source.not_nets, *rule.destination.nets, *rule.destination.not_nets)
    sixes = any(n.version == 6 for n in nets)
    return rule.version == 6 or sixes or rule.protocol in ("icmpv6", "58") or rule.not_protocol in ("icmpv6", "58")

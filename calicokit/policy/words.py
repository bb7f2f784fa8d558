"""The sentences of policy, computed from its tables and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calicokit.words import listed, plural

if TYPE_CHECKING:
    from calicokit.policy.decide import Decision
    from calicokit.policy.explain import Explanation

VERBS = {"allow": "reaches", "deny": "does not reach", "mixed": "reaches only some backends of"}


def explained(answer: Explanation) -> str:
    """One sentence: whether the flow gets through, and which rule decides."""
    where = f"{answer.dst}{f' port {answer.port}' if answer.port else ''} ({answer.protocol})"
    if answer.verdict == "unknown":
        why = "; ".join(answer.unknown) or "the verdict hangs on something that was not seen"
        return f"Whether {answer.src} reaches {where} is unknown: {why}."
    if answer.verdict == "no-endpoints":
        return f"{answer.src} does not reach {where}: the service has no endpoint that serves it."
    decided = answer.decided_by
    why = said(decided) if decided else ""
    if answer.verdict == "mixed":
        denied = [f.dst for f in answer.flows if f.action == "deny"]
        return f"{answer.src} reaches {where} only in part: {listed(denied)} denied, as {why}."
    return f"{answer.src} {VERBS[answer.verdict]} {where}: {why}."


def said(decision: Decision) -> str:
    """What decided, in words."""
    verb = "allows" if decision.action == "allow" else "denies"
    if decision.rule == "end-of-tier":
        return f"at the end of tier {decision.tier} no rule of the policies that apply had matched its {decision.direction}"
    if decision.rule == "profile":
        if decision.action == "allow":
            return f"no policy applies to its {decision.direction}, and profile {decision.name} allows it"
        return f"no policy and no profile allows its {decision.direction}"
    if decision.rule == "no-policy":
        return f"{decision.kind} {decision.name} {verb} it" if decision.name else f"no policy is asked about its {decision.direction}"
    ref = f"{decision.namespace}/{decision.name}" if decision.namespace else decision.name
    return f"rule {decision.rule} of {decision.kind} {ref} (tier {decision.tier}) {verb} its {decision.direction}"

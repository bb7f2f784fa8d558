"""The answer to one question about a flow, as data, as a table and in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from calicokit.policy.decide import UNKNOWN, Decision, Outcome, Step
from calicokit.sentences import listed

STEP_COLUMNS = ["flow", "endpoint", "direction", "tier", "kind", "policy", "rule", "action", "note"]
VERBS = {"allow": "reaches", "deny": "does not reach", "mixed": "reaches only some backends of"}


@dataclass(frozen=True)
class Flow:
    """One flow as policy sees it: from an address to a backend's address and port."""

    src: str
    dst: str
    port: int | None
    egress: Outcome
    ingress: Outcome

    @property
    def action(self) -> str:
        if "deny" in (self.egress.action, self.ingress.action):
            return "deny"
        return UNKNOWN if UNKNOWN in (self.egress.action, self.ingress.action) else "allow"

    @property
    def decided_by(self) -> Decision:
        return self.egress.decision if self.egress.action == "deny" else self.ingress.decision

    def as_dict(self) -> dict[str, Any]:
        return {
            "src": self.src,
            "dst": self.dst,
            "port": self.port,
            "egress": self.egress.decision.as_dict(),
            "ingress": self.ingress.decision.as_dict(),
        }


@dataclass(frozen=True)
class Explanation:
    """The answer to one question. ``unknown`` says what could not be known; ``sentence`` is the answer in words.

    ``without_endpoints``: a service was asked that leads to no endpoint, so that its own address is the destination.
    ``unless``: kinds of policies that were not listed; the verdict holds unless one of them decides first.
    """

    src: str
    dst: str
    port: int | None
    protocol: str
    verdict: str
    flows: tuple[Flow, ...] = ()
    unknown: tuple[str, ...] = ()
    without_endpoints: bool = False
    unless: tuple[str, ...] = ()

    @property
    def decided_by(self) -> Decision | None:
        """The first deny; else what the destination's side decided about the first flow."""
        if self.verdict in (UNKNOWN, "no-endpoints"):
            return None
        denied = [f for f in self.flows if f.action == "deny"]
        return (denied or list(self.flows))[0].decided_by

    @property
    def steps(self) -> list[tuple[int, Step]]:
        """Everything that was looked at, in order, with the flow that it was looked at for."""
        return [(n, s) for n, f in enumerate(self.flows) for s in (*f.egress.steps, *f.ingress.steps)]

    @property
    def sentence(self) -> str:
        return explained(self)

    @property
    def frame(self) -> pd.DataFrame:
        """The steps as a table: flow, endpoint, direction, tier, kind, policy, rule, action (all text)."""
        rows = [
            {
                "flow": f"{self.flows[n].src} → {self.flows[n].dst}",
                "endpoint": s.endpoint,
                "direction": s.direction,
                "tier": s.tier or "",
                "kind": s.kind,
                "policy": f"{s.namespace}/{s.name}" if s.namespace else s.name,
                "rule": "" if s.matched is None else str(s.matched),
                "action": s.action,
                "note": s.note,
            }
            for n, s in self.steps
        ]
        return pd.DataFrame(rows, columns=pd.Index(STEP_COLUMNS), dtype="str")

    def as_dict(self) -> dict[str, Any]:
        """As JSON (docs/contracts.md), with the sentence."""
        decided = self.decided_by
        return {
            "verdict": self.verdict,
            "decided_by": decided.as_dict() if decided else None,
            "flows": [f.as_dict() for f in self.flows],
            "steps": [{"flow": n, **s.as_dict()} for n, s in self.steps],
            "unknown": list(self.unknown),
            **({"unless": list(self.unless)} if self.unless else {}),
            "sentence": self.sentence,
        }

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.sentence)}</b></p>"


def explained(answer: Explanation) -> str:
    """One sentence: whether the flow is allowed, and which rule decides."""
    where = f"{answer.dst}{f' port {answer.port}' if answer.port else ''} ({answer.protocol})"
    if answer.verdict == "unknown":
        why = "; ".join(answer.unknown) or "the verdict depends on missing evidence"
        return f"Whether {answer.src} reaches {where} is unknown: {why}."
    if answer.verdict == "no-endpoints":
        return f"{answer.src} does not reach {where}: the service has no ready endpoint."
    unless = ""
    if answer.unless:
        first = {"allow": "denies", "deny": "allows"}.get(answer.verdict, "decides")
        unless = f", unless a policy of kind {' or '.join(answer.unless)} (not listed) {first} it first"
    decided = answer.decided_by
    why = said(decided) if decided else ""
    if answer.verdict == "mixed":
        denied = [f.dst for f in answer.flows if f.action == "deny"]
        are = "is" if len(denied) == 1 else "are"
        return f"{answer.src} reaches {where} only in part: {listed(denied)} {are} denied, as {why}{unless}."
    also = "; the service has no ready endpoint either" if answer.without_endpoints else ""
    return f"{answer.src} {VERBS[answer.verdict]} {where}: {why}{also}{unless}."


def said(decision: Decision) -> str:
    """What decided."""
    verb = "allows" if decision.action == "allow" else "denies"
    if decision.rule == "end-of-tier":
        return f"no rule matched its {decision.direction} by the end of tier {decision.tier}"
    if decision.rule == "profile":
        if decision.action == "allow":
            return f"no policy applies to its {decision.direction}, and profile {decision.name} allows it"
        return f"no policy applies to its {decision.direction}, and no profile allows it"
    if decision.rule == "no-policy":
        return (
            f"{decision.kind} {decision.name} {verb} it"
            if decision.name
            else f"no policy is evaluated for its {decision.direction}"
        )
    ref = f"{decision.namespace}/{decision.name}" if decision.namespace else decision.name
    return f"rule {decision.rule} of {decision.kind} {ref} (tier {decision.tier}) {verb} its {decision.direction}"

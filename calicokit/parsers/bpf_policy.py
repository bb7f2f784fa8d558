"""What ``calico-node -bpf policy dump`` (v3.33 on: ``calico component node bpf policy dump``) says of policy programs.

The dump is made of what Felix wrote beside each program when it compiled it (bpfPolicyDebugEnabled), and of one map of
counters, whose key is made of direction, action, policy and rule: hits are of a node, not of an interface. A Log rule
and the end of a tier have no count (felix/bpf/polprog/pol_prog_builder.go, felix/cmd/calico-bpf/commands/
policy_debug.go, felix/bpf/rule_counters.h; v3.28.0 to v3.34-dev). The layout since v3.34-dev is that of the
recordings; the older one, comments after ``//``, was seen in the source only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.parsers.base import Line, Text, parser
from calicokit.parsers.kubernetes import objects
from calicokit.schema import Column, Schema

PROFILE = "Profile"

POLICY = Schema(
    "bpf_policy",
    "Policy programs of interfaces, in their order: tiers, policies, rules with their hits, ends of tiers, profiles.",
    (
        Column("interface", "str", "interface"),
        Column("hook", "str", "ingress, egress or xdp, as the host sees it: a pod's own packets come in at ingress"),
        Column("step", "str", "program (once for each), policy, rule or end-of-tier"),
        Column("tier", "str", "tier; null outside of tiers, where profiles stand"),
        Column("kind", "str", "kind of the policy, or Profile; null in versions before v3.32, which print none"),
        Column(
            "policy",
            "str",
            "policy as Felix names it, NS/NAME or NAME, or profile; null for one that is staged or unknown to Felix",
        ),
        Column("rule", "int", "0-based index of the rule in its policy"),
        Column("action", "str", "allow, deny, pass, next-tier or log; of a tier's end deny or pass"),
        Column("match", "str", "match as printed, without named ports, services and rules of another IP version"),
        Column("packets", "int", "packets that matched the rule on this node, on any interface", "packets"),
        Column("error", "str", "why Felix could not load the program"),
        Column("whole", "bool", "of a program: false if lines of it could not be read, or the text ends inside it"),
        Column("line", "int", "1-based line number in the text"),
    ),
)

_FACTS = {
    "IfaceName": "interface",
    "Hook": "hook",
    "Error": "error",
    "Tier": "tier",
    "Policy": "policy",
    "End Policy": "end-policy",
    "End Tier": "end-tier",
    "Rule": "rule",
    "Match": "match",
    "Hit count": "packets",
    "Policy Info": "",
}
_OLD = re.compile(r"// (?:(Start|End) of (tier|policy|rule)?|count = )? ?(.*)")
_ACTION = re.compile(r'\baction:"([\w-]{1,20})"')
_NEW_RULE = re.compile(r"(?:\S{1,520})?(?:  Action: ([\w-]{1,20}))?")
_NEW_END = re.compile(r"(\S{0,260}?)(?:  \(action: (\w{0,20})\))?")
_CODE = re.compile(r"[0-9a-f]{16} .*|[\w./-]{1,100}:|##### Start of program.*")


@dataclass
class _Program:
    """Reads programs line by line: where it stands, and the rows so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    place: dict[str, str | None] = field(default_factory=dict)
    rules: int = 0
    at: int | None = None
    """Where the row of the program stands that is being read."""
    opened: str | None = None
    """The policy that an End Policy must close, as it is printed since v3.32."""
    number: int = 0
    """Which number the next policy has in its program, since v3.32."""

    def line(self, line: Line) -> bool:
        """Read a line; False if it is none of such a dump."""
        body = line.text.strip()
        key, colon, value = body.partition(":")
        if colon and key in _FACTS:
            return self.fact(_FACTS[key], value.strip(), line.number)
        if match := _OLD.fullmatch(body):
            return self.old(match, body, line.number)
        return bool(_CODE.fullmatch(body))

    def row(self, number: int, step: str, **what: Any) -> bool:
        self.rows.append({**self.place, "step": step, **what, "line": number})
        return True

    def fact(self, what: str, value: str, number: int) -> bool:
        """What a line of the layout since v3.34 says."""
        match what:
            case "interface":
                self.hold(self.closed())
                self.place = {what: value or None}
                return True
            case "tier":
                self.hold(self.closed())
                self.place = self.outside() | {what: value or None}
                return True
            case "hook":
                return self.program(value, number)
            case "rule":
                match = _NEW_RULE.fullmatch(value)
                return match is not None and self.rule(value.partition("  ")[0], match[1], None, number)
            case "end-tier":
                match = _NEW_END.fullmatch(value)
                self.hold(self.opened is None and match is not None and match[1] == self.place.get("tier"))
                return match is not None and self.end(match[1], match[2] or "", number)
            case _:
                return self.detail(what, value, number)

    def detail(self, what: str, value: str, number: int) -> bool:
        if what == "policy":
            self.numbered(value)
            return self.policy(value, number)
        if what == "end-policy":
            self.hold(value == self.opened)
            self.opened = None
            self.leave()
        if what == "packets":
            return self.count(value)
        steps = {"match": "rule", "error": "program"}
        return what not in steps or self.of_last(what, value or None, steps[what])

    def program(self, value: str, number: int) -> bool:
        self.place = {"interface": self.place.get("interface"), "hook": value.rpartition(" ")[2] or None}
        self.rules, self.number, self.opened = 0, 0, None
        self.at = len(self.rows)
        return self.row(number, "program", whole=True)

    def hold(self, sound: bool) -> None:
        """Say of the program that is being read that it is not whole, unless what was read is sound."""
        if not sound and self.at is not None:
            self.rows[self.at]["whole"] = False

    def numbered(self, value: str) -> None:
        """A policy begins: none may be open, and none lack before it."""
        number = value.split()[-1] if value else ""
        self.hold(self.opened is None and bool(self.place.get("tier")) and number == str(self.number))
        self.opened = value
        self.number += 1

    def closed(self) -> bool:
        """Whether the last program may end here: in no tier, and with each rule's count."""
        return not self.place.get("tier") and self.counted()

    def counted(self) -> bool:
        """Whether the last row is no rule that lacks its count."""
        last = self.rows[-1] if self.rows else {}
        return last.get("step") != "rule" or "packets" in last

    def old(self, match: re.Match[str], body: str, number: int) -> bool:
        """A comment, as versions before v3.34 print them."""
        edge, what, value = match[1], match[2], match[3].strip()
        if body.startswith("// count = "):
            return self.count(value)
        if edge == "Start" and what == "tier":
            return self.fact("tier", value, number)
        if edge == "Start" and what == "rule":
            said = _ACTION.search(value)
            return self.rule("", said[1] if said else None, value, number)
        if edge == "Start":
            self.hold(bool(self.place.get("tier")))  # up to v3.30 neither tiers nor ends of policies are printed
            return self.policy(value, number, numbered=what is None)
        if edge == "End" and what == "tier":
            tier, _, action = value.partition(": ")
            return self.end(tier, action, number)
        if edge == "End" and what != "rule":
            self.leave()
        return True

    def outside(self) -> dict[str, str | None]:
        return {k: self.place.get(k) for k in ("interface", "hook")}

    def leave(self) -> None:
        """A policy's end: what follows is no longer of it."""
        self.place = {k: v for k, v in self.place.items() if k not in ("kind", "policy")}
        self.rules = 0

    def policy(self, value: str, number: int, numbered: bool = True) -> bool:
        """KIND NAME INDEX; a policy that is not in the program has an index only, or nothing."""
        words = value.split()
        if numbered and words and words[-1].isdecimal() and len(words) != 2:
            del words[-1]
        if len(words) > 2:
            return False
        self.leave()
        kind, name = (None, *words) if len(words) == 1 else words or (None, None)
        self.place |= {"kind": kind, "policy": name}
        return self.row(number, "policy")

    def rule(self, name: str, action: str | None, match: str | None, number: int) -> bool:
        self.hold(self.counted() and (not self.place.get("tier") or "policy" in self.place))
        if not self.place.get("tier") and self.place.get("kind", PROFILE) == PROFILE:
            if self.place.get("policy") != (name or None):
                self.rules = 0
            self.place |= {"kind": PROFILE, "policy": name or None}
        own = {"rule": self.rules, "action": action.lower() if action else None, "match": match}
        self.rules += 1
        return self.row(number, "rule", **own)

    def end(self, tier: str, action: str, number: int) -> bool:
        self.leave()
        self.place["tier"] = tier or self.place.get("tier")
        self.row(number, "end-of-tier", action=action.lower() or None)
        self.place = self.outside()
        return True

    def of_last(self, column: str, value: str | int | None, step: str) -> bool:
        """Something that stands below a rule or a program."""
        last = self.rows[-1] if self.rows else {}
        if last.get("step") != step or last.get(column) is not None:
            return False
        last[column] = value
        return True

    def count(self, value: str) -> bool:
        if not (value.isascii() and value.isdigit() and len(value) < 19):
            return False
        return self.of_last("packets", int(value), "rule")


@parser("bpf-policy", POLICY, marks=r"^(IfaceName: |// Start of (tier|policy|rule) )")
def bpf_policy(text: Text) -> dict[str, pd.DataFrame]:
    """``calico-node -bpf policy dump INTERFACE all``: policy programs with their rules, and how often they matched.

    Instructions (--asm) and comments that name no rule are passed over. Source: see the module.

    >>> from calicokit.parsers.base import parse
    >>> row = parse("bpf-policy", '''IfaceName: cali1
    ... Hook: tc ingress
    ...   Tier: default
    ...     Policy: NetworkPolicy shop/allow-cart 0
    ...       Rule: shop/allow-cart  Action: allow
    ...       Hit count: 12''').frame.iloc[-1]
    >>> row["tier"], row["policy"], row["action"], int(row["packets"])
    ('default', 'shop/allow-cart', 'allow', 12)
    """
    program = _Program()
    for line in objects.lines(text):
        if not program.line(line):
            program.hold(False)
            text.reject(line, "a line of a policy program's dump")
    program.hold(program.closed())
    return {POLICY.name: POLICY.frame(program.rows)}

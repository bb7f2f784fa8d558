"""What each rule of a policy's or profile's chain decides, and the marks by which it says so.

Source: felix/rules/policy.go (CombineMatchAndActionsForProtoRule) @ v3.26.5 … HEAD: a rule of the API ends in a mark
for accept or pass, in Log, or in a drop; what stands before it in the chain are steps of its match.
"""

from __future__ import annotations

import re

import pandas as pd

from calicokit.dataplane.packets.compile_iptables import compile_iptables
from calicokit.dataplane.packets.compile_nft import compile_nft
from calicokit.dataplane.rules.chains import Place

Bits = tuple[int, int]
"""The mark bits that mean accept and pass."""

_BITS = re.compile(r"0x([0-9a-fA-F]{1,8})")


def verdict_bits(rules: pd.DataFrame) -> Bits:
    """The mark bits that mean accept and pass, as endpoints' chains test them; Felix's defaults where none does."""
    tests = rules[(rules["owner"] == "calico") & rules["chain"].str.contains("cali-[ft]w-")]
    tests = tests[tests["matches"].str.contains("mark").fillna(False).astype(bool)]
    accepted = tests[(tests["verdict"] == "return") & tests["comment"].fillna("").str.endswith("accepted")]
    asked = tests[(tests["verdict"] == "jump")]
    return _bits_in(accepted["matches"]) or 0x10000, _bits_in(asked["matches"]) or 0x20000


def _bits_in(matches: pd.Series[str]) -> int:
    found = 0
    for text in matches.drop_duplicates():
        for bits in _BITS.findall(text):
            found |= int(bits, 16)
    return found


def decides(place: Place, verdict: object, spec: object, bits: Bits) -> str | None:
    """What one rule of such a chain decides: allow, pass, deny or log; None for a step of a rule.

    >>> rule = "-p tcp -m multiport --dports 443 -j MARK --set-xmark 0x10000/0x10000"
    >>> decides(("node-1", "ip", "nft", "filter", "cali-pi-a"), "mark", rule, (0x10000, 0x20000))
    'allow'
    """
    if verdict in ("drop", "reject"):
        return "deny"
    if verdict == "log":
        return "log"
    if verdict != "mark" or not isinstance(spec, str):
        return None
    nft = place[2] == "nftables"
    compiled = compile_nft(spec, place[1], place[3]) if nft else compile_iptables(spec)
    flips = [a.flip for a in compiled.actions if a.kind == "mark"]
    named = (name for name, bit in zip(("allow", "pass"), bits, strict=True) if any(f & bit for f in flips))
    return next(named, None)

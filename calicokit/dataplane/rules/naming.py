"""What the names of Felix's chains and the comments of its rules say: policy, profile, tier, endpoint.

Names of chains differ between versions; a long name is hashed, so that it is found by making the names that a policy
would have. Sources: felix/rules/rule_defs.go, policy.go and endpoints.go @ v3.26.5, v3.28.5, v3.29.7, v3.31.7, HEAD;
libcalico-go/lib/hash/unique_id.go; checked against the recordings of v3.28.5 and HEAD.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

PREFIX = "cali-"
LAYERS = ("filter-", "nat-", "mangle-", "raw-")
"""In nftables mode all chains stand in one table, with the old table's name before theirs."""
IPTABLES_LENGTH = 28
NFTABLES_LENGTH = 256

KINDS = {
    "np": "NetworkPolicy",
    "gnp": "GlobalNetworkPolicy",
    "knp": "KubernetesNetworkPolicy",
    "kcnp": "KubernetesClusterNetworkPolicy",
}
"""Kinds of policies that are programmed, by the word in a chain's name (v3.32 on)."""

_OLD_KINDS = {
    "knp.default.": "KubernetesNetworkPolicy",
    "kanp.adminnetworkpolicy.": "AdminNetworkPolicy",
    "kbanp.baselineadminnetworkpolicy.": "BaselineAdminNetworkPolicy",
    "kcnp.kube-admin.": "KubernetesClusterNetworkPolicy",
    "kcnp.kube-baseline.": "KubernetesClusterNetworkPolicy",
}
"""How names of Kubernetes' policies began up to v3.31."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a chain of Felix is for: its role, the direction as the endpoint sees it, and the rest of its name.

    ``direction`` is ingress (to the endpoint) or egress (from it), empty where it has none.
    """

    role: str
    direction: str = ""
    of: str = ""


_ROLES = (
    ("fw-", "workload", "egress"),
    ("tw-", "workload", "ingress"),
    ("fhfw-", "host-endpoint-forward", "ingress"),
    ("thfw-", "host-endpoint-forward", "egress"),
    ("fh-", "host-endpoint", "ingress"),
    ("th-", "host-endpoint", "egress"),
    ("pri-", "profile", "ingress"),
    ("pro-", "profile", "egress"),
    ("pi-", "policy", "ingress"),
    ("po-", "policy", "egress"),
    ("gi-", "policy-group", "ingress"),
    ("go-", "policy-group", "egress"),
    ("sm-", "endpoint-mark", ""),
    ("from-wl-dispatch", "dispatch", "egress"),
    ("to-wl-dispatch", "dispatch", "ingress"),
    ("from-hep-forward", "dispatch", "ingress"),
    ("to-hep-forward", "dispatch", "egress"),
    ("from-host-endpoint", "dispatch", "ingress"),
    ("to-host-endpoint", "dispatch", "egress"),
    ("failsafe-in", "failsafe", "ingress"),
    ("failsafe-out", "failsafe", "egress"),
    ("arp-", "arp", ""),
)
_OWN_LAST = frozenset(("dispatch", "failsafe"))


@lru_cache(maxsize=1 << 16)
def role(chain: str) -> Role | None:
    """What a chain is for; None if it is none of Felix's.

    >>> role("cali-tw-cali322cdd0580f")
    Role(role='workload', direction='ingress', of='cali322cdd0580f')
    """
    name = unlayered(chain)
    if not name.startswith(PREFIX):
        return None
    rest = name[len(PREFIX) :]
    for start, what, direction in _ROLES:
        if rest.startswith(start):
            return Role(what, direction, "" if what in _OWN_LAST else rest[len(start) :])
    return Role("static")


def unlayered(chain: str) -> str:
    """A chain's name without the layer that nftables mode puts before it.

    >>> unlayered("filter-cali-FORWARD")
    'cali-FORWARD'
    """
    for layer in LAYERS:
        if chain.startswith(layer):
            return chain[len(layer) :]
    return chain


def limited(start: str, rest: str, length: int = IPTABLES_LENGTH) -> str:
    """A chain's name, hashed if it would be too long (GetLengthLimitedID).

    >>> limited("cali-pi-", "knp/shop/default-deny")
    'cali-pi-_qBmoA25_YxJ3antHvtt'
    """
    rest = rest or "_"
    total = len(start) + len(rest)
    if total < length or (total == length and not rest.startswith("_")):
        return start + rest
    digest = base64.urlsafe_b64encode(hashlib.sha256(rest.encode()).digest()).decode().rstrip("=")
    return f"{start}_{digest[: length - 1 - len(start)]}"


@dataclass(frozen=True, slots=True)
class PolicyName:
    """A policy as a rule's comment names it; ``stored`` is its name as the versions up to v3.31 keep it."""

    kind: str
    namespace: str
    name: str
    stored: str = ""

    @property
    def ref(self) -> str:
        """NS/NAME or NAME."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def policy_in_comment(text: str) -> PolicyName | None:
    """The policy that the first comment of a policy's chain names; None if it names none.

    >>> policy_in_comment("KubernetesNetworkPolicy shop/web-egress ingress").ref
    'shop/web-egress'
    >>> policy_in_comment("Policy shop/knp.default.web-egress ingress").kind
    'KubernetesNetworkPolicy'
    """
    words = text.split(" ")
    if len(words) != 3 or words[2] not in ("ingress", "egress"):
        return None
    kind, name = words[0], words[1]
    if kind == "Policy":
        return stored_name(name)
    if not kind.endswith("Policy"):
        return None
    namespace, _, last = name.rpartition("/")
    return PolicyName(kind, namespace, last)


def stored_name(stored: str) -> PolicyName:
    """A policy by the name that versions up to v3.31 give it inside: ``NS/knp.default.NAME``, ``TIER.NAME``."""
    namespace, _, last = stored.rpartition("/")
    for start, kind in _OLD_KINDS.items():
        if last.startswith(start):
            return PolicyName(kind, namespace, last[len(start) :], stored)
    kind = "NetworkPolicy" if namespace else "GlobalNetworkPolicy"
    return PolicyName(kind, namespace, last.removeprefix("default."), stored)


def policy_chain_suffixes(kind: str, namespace: str, name: str, tier: str) -> Iterator[str]:
    """What may stand, or be hashed, after ``cali-pi-`` for a policy, in any version.

    ``name`` is the API's; for Calico's own kinds it may be given with or without the tier's prefix.
    """
    place = f"{namespace}/" if namespace else ""
    short = {long: word for word, long in KINDS.items()}.get(kind)
    if short:
        yield f"{short}/{place}{name}"
    starts = (word for word, long in _OLD_KINDS.items() if long == kind)
    start = next((w for w in starts if not w.startswith("kcnp.") or w == f"kcnp.{tier}."), None)
    names = [f"{start}{name}"] if start else list(dict.fromkeys((name, f"{tier}.{name.removeprefix(f'{tier}.')}")))
    for each in names:
        yield f"{place}{each}"
        yield f"{tier}/{place}{each}"


def comment_parts(comment: str) -> tuple[str, str]:
    """The hash and the words of a rule's comment; both may be empty.

    >>> comment_parts("cali:abc; Start of tier security")
    ('abc', 'Start of tier security')
    """
    if not comment.startswith("cali:"):
        return "", comment
    digest, _, words = comment[5:].partition(";")
    return digest, words.strip()

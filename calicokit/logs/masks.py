"""Messages as patterns: what varies from line to line (numbers, addresses, ids, quoted names) is masked.

All masks are RE2's, applied by Arrow to each different text once: linear in the text, whatever it holds.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

LONGEST = 400
"""Characters of a message that tell its pattern; what is longer prints data."""

_EDGE = r"(^|[^A-Za-z0-9_])"
MASKS = (
    (r"\n(.|\n)*", " …"),  # further lines print data
    (r"\{[^\n]*?( error=|$)", r"{…}\1"),  # an object, printed whole
    (r"\bmap\[[^\]\n]*\]", "map[…]"),
    (r'"[^" ]{0,300}"', '"<name>"'),
    (r"\b(Mesh|Node|Global|Local_Workload)_[0-9a-fA-F_]{7,}(_port_\d+)?\b", r"\1_<address>"),  # BIRD's protocols
    (r"\b[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}\b", "<mac>"),
    (r"\b\d{1,3}(\.\d{1,3}){3}(/\d{1,2})?(:\d{1,5})?\b", "<address>"),
    (_EDGE + r"[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{0,4}){3,7}(/\d{1,3})?", r"\1<address>"),
    (r"\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", "<id>"),
    (r"\b(cali|tap|veth)[0-9a-f]{6,11}\b", "<interface>"),
    (r"\b\d{1,4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[0-9.]*(Z| ?[+-]\d\d:?\d\d)?", "<time>"),
    (r"\b(\d+(\.\d+)?(ns|µs|us|ms|h|m|s))+\b", "<duration>"),
    (r"\b0x[0-9a-fA-F]+\b", "<n>"),
    (r"\b[0-9a-f]*([0-9][a-f]|[a-f][0-9])[0-9a-f]{6,}\b", "<id>"),
    (r"exit status (\d{1,3})", r"exit status X\1"),  # which one tells
    (r"\b\d+(\.\d+)?\b", "<n>"),
    (r"\d{4,}", "<n>"),
    (r"exit status X", "exit status "),
    (r"[a-z0-9]+(-[a-z0-9]+)*-[a-z0-9]{6,10}-[a-z0-9]{5}\b", "<pod>"),
    (r"(<n>[,;: ]+){3,}<n>", "<n> …"),
)
"""Regular expression → what stands for its matches, in the order in which they are applied."""


def masked(texts: pa.Array) -> pa.Array:
    """The pattern of each text.

    >>> masked(pa.array(['Pool 10.48.0.0/26 is full, 12 of "shop/cart-1" wait 3.5s'])).to_pylist()
    ['Pool <address> is full, <n> of "<name>" wait <duration>']
    """
    found = pc.utf8_slice_codeunits(texts, 0, LONGEST)
    for pattern, word in MASKS:
        found = pc.replace_substring_regex(found, pattern, word)
    return found


def pattern_id(component: str, pattern: str) -> str:
    """A short name for a component's pattern, the same in every run and on every cluster.

    >>> pattern_id("felix", "Applying dataplane updates")
    'felix-a48a217c'
    """
    return f"{component}-{hashlib.blake2s(f'{component} {pattern}'.encode(), digest_size=4).hexdigest()}"

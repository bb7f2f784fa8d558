"""Rules are cut by column, and the odd ones read one by one: both ways agree on every rule that both can read."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.parsers.base import parse
from calicokit.parsers.netfilter import iptables
from calicokit.parsers.netfilter.columns import NO_TEXTS, Cut
from tests import recordings
from tests.examples import examples

cut_rules = iptables._cut_rules


def every_rule_is_odd(texts: object) -> Cut:
    """What the cut gives when it leaves every rule to the reader of odd ones."""
    none = np.array([], np.int64)
    return dict.fromkeys(cut_rules(texts), (none, NO_TEXTS)) | {"odd": (np.arange(len(texts)), NO_TEXTS)}  # type: ignore[arg-type]


def agree(text: str) -> int:
    """Read a text both ways; how many rules it has."""
    fast = parse("iptables-save", text)
    with patch.object(iptables, "_cut_rules", every_rule_is_odd):
        slow = parse("iptables-save", text)
    assert fast.unparsed == slow.unparsed
    for name, frame in fast.tables.items():
        pd.testing.assert_frame_equal(frame, slow.tables[name], obj=name)
    return len(fast.frame)


@pytest.mark.parametrize("name", recordings.names())
def test_on_every_recording(name: str) -> None:
    paths = recordings.paths(name, "nodes/*tables*save.txt")
    assert sum(agree(recordings.read(name, path).decode()) for path in paths) or not paths


OPTION = st.sampled_from(
    [
        *("-s 10.0.0.0/8", "! -s 10.0.0.0/8", "-d fd00::/64", "-i cali+", "! -o eth0", "-p tcp", "! -p udp"),
        *("-m tcp --dport 53", "-m multiport --dports 53,80:90", "-m udp ! --sport 1", "--dport 7"),
        *("-m set --match-set cali40s:x src", "-m set ! --match-set y dst,dst", "-m mark --mark 0x1/0x3"),
        *("-m comment --comment cali:abc", '-m comment --comment "a -j b"', '-m comment --comment "c \\" d"'),
        *("-j ACCEPT", "-j MARK --set-xmark 0x4/0xff", "-g cali-x", "-j LOG --log-prefix calico-packet", "-m addrtype"),
        *("-m conntrack --ctstate NEW,RELATED", "-m conntrack ! --ctstate INVALID", "--unknown 5", "-c 3 180", "x"),
    ]
)


@given(st.lists(st.tuples(st.sampled_from(["", "[3:180] "]), st.lists(OPTION, max_size=6)), max_size=12))
@examples(300)
def test_on_rules_that_nobody_saved(rules: list[tuple[str, list[str]]]) -> None:
    lines = [" ".join([f"{counted}-A cali-{len(options)}", *options]) for counted, options in rules]
    agree("\n".join(["*filter", *lines, "COMMIT"]))

"""Chains of findings on recordings with a fault edited in: the cause, its effects, and theirs, each once."""

from __future__ import annotations

import re
from datetime import timedelta

from tests.dataplane.test_checks import MESH, ruled
from tests.felix.sick import BAD, START, Sick, list_fails

NODE = "node-2"
API_RULE = "-A OUTPUT -p tcp -m tcp --dport 6443 -j DROP"
TIMEOUT = "dial tcp 172.30.0.1:6443: i/o timeout"


def cut_off(*lines: tuple[float, str]) -> Sick:
    """A node with a rule of somebody else before the API server, whose policies' chains are all empty."""
    sick = Sick(MESH, later=timedelta(seconds=60))
    for id_ in ("iptables-save", "iptables-nft-save"):
        sick.edit(id_, NODE, lambda text: re.sub(r"(?m)^\S+ -A cali-p[io]-.*\n", "", text))
        sick.edit(id_, NODE, ruled("filter", API_RULE))
    sick.said("felix-log", NODE, *lines, *((a, list_fails(TIMEOUT)) for a in (80, 50, 20)))
    return sick


def test_a_foreign_rule_the_api_server_and_the_old_rules_are_one_chain() -> None:
    found = cut_off().loud()
    assert [(f.id, f.explained_by, f.depth) for f in found] == [
        ("foreign-drop-rule", "", 0),
        ("datastore-unreachable", "foreign-drop-rule", 1),
        ("dataplane-stale", "datastore-unreachable", 2),
    ]
    assert len(found[-1].subject["policy"]) > 2, "all stale policies of a node are one finding"


def test_a_felix_that_is_not_ready_stands_in_the_same_chain() -> None:
    found = cut_off((90, START)).answering(NODE, 1, BAD).loud()
    assert [(f.id, f.explained_by, f.depth) for f in found] == [
        ("foreign-drop-rule", "", 0),
        ("datastore-unreachable", "foreign-drop-rule", 1),
        ("felix-not-ready", "datastore-unreachable", 2),
    ]

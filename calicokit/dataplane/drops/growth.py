"""Counters over time: which rules saw packets between the samples of a series.

The closing snapshot is no sample of the series. A counter that fell was reset as its chain was written anew; what it
shows then was counted since. A rule that a later sample shows first was made during sampling.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from calicokit.dataplane.rules.naming import comment_parts
from calicokit.dataplane.rules.policy_programs import SPACE
from calicokit.dataplane.rules.tables import PLACE, iptables_rules, iptables_texts, nft_rules
from calicokit.registry import Given, table
from calicokit.schema import Column, Schema, cells

OF_IPTABLES = (
    "iptables-nft-save+series",
    "iptables-legacy-save+series",
    "iptables-save+series",
    "ip6tables-save+series",
)
OF_NFT = ("nft-ruleset+series", "nft-ruleset-json+series")
SERIES = (*OF_IPTABLES, *OF_NFT)

OF_PROGRAMS = dict(zip(PLACE[1:4], SPACE, strict=True))
"""The place of what an eBPF program drops; its chain is INTERFACE HOOK."""

_WHERE = (
    Column("node", "str", "node"),
    Column("family", "str", "ip, ip6, inet, arp, bridge or netdev"),
    Column("backend", "str", "nft, legacy or nftables, as in dataplane.rules"),
    Column("table", "str", "table"),
    Column("chain", "str", "chain, as printed"),
    Column("key", "str", "stable key of the rule in its chain: Felix's hash, else the rule's text"),
)

GROWTH = Schema(
    "dataplane.growth",
    "Rules whose counters grew between the samples of a series.",
    (
        *_WHERE,
        Column("packets", "int", "packets that matched during sampling", "packets"),
        Column("bytes", "int", "bytes of these packets", "bytes"),
        Column("since", "time", "first sample of the node"),
        Column("until", "time", "last sample of the node"),
        Column("samples", "int", "samples of the node", "samples"),
    ),
    key=(*PLACE, "key"),
)

TIMELINE = Schema(
    "dataplane.timeline",
    "Packets dropped or rejected per sample.",
    (
        Column("time", "time", "time of the sample"),
        *_WHERE,
        Column("packets", "int", "packets since the previous sample", "packets"),
        Column("bytes", "int", "bytes of these packets", "bytes"),
    ),
    key=("time", *PLACE, "key"),
)

WINDOW = Schema(
    "dataplane.window",
    "Sampling window of each node's rule counters.",
    (
        Column("node", "str", "node"),
        Column("since", "time", "first sample"),
        Column("until", "time", "last sample"),
        Column("samples", "int", "samples", "samples"),
    ),
    key=("node",),
)

SAMPLES = Schema(
    "dataplane.samples",
    "Counter growth of every rule per sample of a series.",
    (
        Column("time", "time", "sample"),
        *_WHERE,
        Column("verdict", "str", "what the rule does"),
        Column("packets", "int", "packets since the previous sample", "packets"),
        Column("bytes", "int", "bytes of these packets", "bytes"),
    ),
    key=("time", *PLACE, "key"),
)

_COUNTER = re.compile(r'counter packets \d+ bytes \d+|"counter":\{[^{}]*\}')


def rule_key(comment: object, spec: object) -> str:
    """What tells a rule apart in its chain whatever its number and counters are."""
    digest = comment_parts(comment)[0] if isinstance(comment, str) else ""
    if digest:
        return f"cali:{digest}"
    return _COUNTER.sub("", spec).strip() if isinstance(spec, str) and spec else "policy"


def keyed(rules: pd.DataFrame) -> pd.DataFrame:
    """The rules with a column ``key``; of rules that are the same in one chain, later ones have a number after it."""
    keys = [rule_key(c, s) for c, s in cells(rules, "comment", "spec")]
    made = rules.assign(key=pd.Series(keys, index=rules.index, dtype="str"))
    again = made.groupby([*PLACE, "key"], sort=False).cumcount()
    repeated = again > 0
    made.loc[repeated, "key"] = made["key"][repeated] + " #" + (again[repeated] + 1).astype(str)
    return made


def _frames(texts: Given) -> Iterator[tuple[str, Any, pd.DataFrame]]:
    """Node, time and rules of each sample; nft's tables of iptables only where iptables itself was not sampled."""
    shown: set[tuple[str | None, Any]] = set()
    for evidence, parsed, family, backend in iptables_texts(texts[i] for i in OF_IPTABLES):
        if backend == "nft" and family == "ip":
            shown.add((evidence.node, evidence.time))
        yield evidence.node or "", evidence.time, iptables_rules(evidence.node, family, backend, parsed, evidence.ref)
    done: set[tuple[str | None, Any]] = set()
    for given in (texts[i] for i in OF_NFT):
        for evidence, parsed in given.parsed("nft-ruleset") if given is not None else ():
            if (evidence.node, evidence.time) in done:
                continue
            done.add((evidence.node, evidence.time))
            rules = nft_rules(evidence.node, parsed, evidence.ref)
            if shown:
                rules = rules[~(rules["family"].isin(["ip", "ip6"]) & rules["table"].isin(_TABLES))]
            yield evidence.node or "", evidence.time, rules


_TABLES = ("filter", "nat", "mangle", "raw", "security")


@table(SAMPLES, any_of={"texts": SERIES})
def samples(texts: Given) -> pd.DataFrame:
    """One row for each rule and sample after the first; see :data:`SAMPLES`."""
    taken: dict[tuple[str, ...], dict[Any, pd.DataFrame]] = defaultdict(dict)
    for node, time, rules in _frames(texts):
        if time is None:
            continue
        for where, part in rules.groupby(["family", "backend", "table"], sort=False):
            taken[(node, *map(str, where))][time] = part
    steps = [(at, *pair) for at in taken.values() for pair in pairwise(sorted(at))]
    frames = [_grown(at[earlier], at[later], later) for at, earlier, later in steps]
    return SAMPLES.take(pd.concat(frames)) if frames else SAMPLES.frame()


def _grown(earlier: pd.DataFrame, later: pd.DataFrame, time: Any) -> pd.DataFrame:
    names = [*PLACE, "key"]
    before = keyed(earlier)[[*names, "packets", "bytes"]]
    now = keyed(later)[[*names, "verdict", "packets", "bytes"]]
    both = now.merge(before, on=names, how="left", suffixes=("", "_before"))
    for name in ("packets", "bytes"):
        old = both[f"{name}_before"].fillna(0)
        reset = both["packets"] < both["packets_before"].fillna(0)
        both[name] = (both[name] - old.where(~reset.fillna(False), 0)).astype("Int64")
    return both.assign(time=pd.Series([time] * len(both), dtype="datetime64[ns, UTC]"))[SAMPLES.names]


@table(WINDOW, any_of={"texts": SERIES})
def window(texts: Given) -> pd.DataFrame:
    """One row a node; see :data:`WINDOW`. A single sample is no window: it has no row."""
    times: dict[str, set[Any]] = defaultdict(set)
    for given in texts.values():
        for evidence in given or ():
            if evidence.time is not None and evidence.node:
                times[evidence.node].add(evidence.time)
    rows = [
        {"node": node, "since": min(at), "until": max(at), "samples": len(at)}
        for node, at in sorted(times.items())
        if len(at) > 1
    ]
    return WINDOW.frame(rows)


@table(GROWTH, needs={"samples": "dataplane.samples", "window": "dataplane.window"})
def growth(samples: pd.DataFrame, window: pd.DataFrame) -> pd.DataFrame:
    """One row for each rule that grew; see :data:`GROWTH`."""
    names = [*PLACE, "key"]
    grown = samples[samples["packets"] > 0]
    summed = grown.groupby(names, sort=False)[["packets", "bytes"]].sum().reset_index()
    return GROWTH.take(summed.merge(window, on="node"))


@table(TIMELINE, needs={"samples": "dataplane.samples"}, wants={"compiled": "dataplane.bpf_timeline"})
def timeline(samples: pd.DataFrame, compiled: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each rule that drops and each sample; see :data:`TIMELINE`."""
    of_rules = TIMELINE.take(samples[samples["verdict"].isin(["drop", "reject"])])
    if compiled is None or not len(compiled):
        return of_rules
    chains = compiled["interface"] + " " + compiled["hook"]
    of_programs = compiled.assign(**OF_PROGRAMS, chain=chains, key=compiled["reason"], bytes=None)
    return TIMELINE.take(pd.concat([of_rules, TIMELINE.take(of_programs)]))

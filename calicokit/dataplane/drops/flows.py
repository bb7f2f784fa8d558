"""Flows that were seen being dropped: logged or traced packets and unanswered connections, walked to the rule.

A Log rule is no drop, and an unanswered connection may have other causes: only flows whose walk ends in a rule that did
drop packets during sampling are told. A drop at its source leaves no entry in conntrack: then nothing is told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.bpf import BY_POLICY
from calicokit.dataplane.drops.growth import rule_key
from calicokit.dataplane.packets.flow import Dataplane, End, Programs, Walk, parsed_address, shown, who
from calicokit.dataplane.packets.packet import NAMES, PROTOCOLS, Packet
from calicokit.dataplane.packets.ruleset import Rule
from calicokit.dataplane.rules.naming import role
from calicokit.dataplane.rules.policy_programs import SPACE
from calicokit.evidence.texts import Texts
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

FLOWS = Schema(
    "dataplane.dropped_flows",
    "Flows observed during sampling whose walk ends in a rule that dropped packets during sampling.",
    (
        Column("told_by", "str", "source: log, trace (kernel log) or conntrack (unreplied entry)"),
        Column("node", "str", "node that drops it"),
        Column("source", "str", "source address"),
        Column("destination", "str", "destination address, after DNAT"),
        Column("protocol", "str", "protocol"),
        Column("dport", "int", "destination port"),
        Column("src", "str", "source: NS/NAME of the workload, node, or address"),
        Column("dst", "str", "destination: NS/NAME of the workload, node, or address"),
        Column("family", "str", "of the rule that drops it"),
        Column("backend", "str", "of the rule that drops it"),
        Column("table", "str", "of the rule that drops it"),
        Column("chain", "str", "of the rule that drops it"),
        Column("key", "str", "of the rule that drops it, as in dataplane.growth"),
        Column("interface", "str", "interface of the endpoint whose policy drops it"),
        Column("packets", "int", "log lines, or connections", "packets"),
        Column("first", "time", "first seen"),
        Column("last", "time", "last seen"),
    ),
)


@table(
    FLOWS,
    needs={
        "window": "dataplane.window",
        "growth": "dataplane.growth",
        "rules": "dataplane.rules",
        "chains": "dataplane.chain_list",
        "sets": "dataplane.sets",
        "routes": "output.ip_route_all",
        "endpoints": "dataplane.endpoints",
    },
    wants={
        "log": "output.kernel_log",
        "conntrack": "conntrack+series",
        "compiled": "dataplane.bpf_drops",
        "tracked": "bpf-conntrack+series",
        "programs": "dataplane.bpf_walk",
    },
)
def dropped_flows(
    window: pd.DataFrame,
    growth: pd.DataFrame,
    rules: pd.DataFrame,
    chains: pd.DataFrame,
    sets: pd.DataFrame,
    routes: pd.DataFrame,
    endpoints: pd.DataFrame,
    log: pd.DataFrame | None = None,
    conntrack: Texts | None = None,
    compiled: pd.DataFrame | None = None,
    tracked: Texts | None = None,
    programs: Programs | None = None,
) -> pd.DataFrame:
    """One row for each flow and rule; see :data:`FLOWS`."""
    if not len(window):
        return FLOWS.frame()
    dataplane = Dataplane.build(rules, chains, sets, routes, endpoints, programs)
    grown = set(cells(growth, "node", "family", "backend", "table", "chain", "key"))
    by_programs = {} if compiled is None else _grown_by_programs(compiled)
    seen = [
        *_logged(log, window, dataplane, endpoints),
        *_unanswered(conntrack, window, dataplane),
        *_unanswered_by_programs(tracked, window, dataplane),
    ]
    found = [row for how, walk, times in seen for row in _rows(how, walk, times, dataplane)]
    rows = [row for row, words in found if (place := _place(row)) in grown or words in by_programs.get(place, ())]
    if not rows:
        return FLOWS.frame()
    return _summed(FLOWS.frame(rows))


def _summed(rows: pd.DataFrame) -> pd.DataFrame:
    names = [n for n in FLOWS.names if n not in ("packets", "first", "last")]
    grouped = rows.groupby(names, dropna=False, sort=False)
    return FLOWS.take(
        grouped.agg(packets=("packets", "sum"), first=("first", "min"), last=("last", "max")).reset_index()
    )


Seen = tuple[str, Walk, tuple[Any, Any, int]]


def _logged(
    log: pd.DataFrame | None, window: pd.DataFrame, dataplane: Dataplane, endpoints: pd.DataFrame
) -> Iterator[Seen]:
    """Packets in the kernel's log inside the window of their node, which the interfaces tell."""
    if log is None:
        return
    node_of = dict(cells(endpoints.assign(key=endpoints["interface"]), "key", "node"))
    spans = {n: (a, b) for n, a, b in cells(window, "node", "since", "until")}
    lines = log[log["kind"].isin(["log", "trace"]) & log["time"].notna() & log["source"].notna()]
    columns = ("kind", "time", "in_interface", "out_interface", "source", "destination", "protocol", "sport", "dport")
    for kind, time, iif, oif, source, to, protocol, sport, dport in cells(lines, *columns):
        node = node_of.get(oif) or node_of.get(iif)
        if node not in spans or not spans[node][0] <= time <= spans[node][1]:
            continue
        number = PROTOCOLS.get(protocol, int(protocol) if str(protocol).isdigit() else None)
        version, first = parsed_address(source)
        packet = Packet(version, first, parsed_address(to)[1], number, _int(sport), _int(dport), iif=_name(iif))
        walk = (
            dataplane.from_interface(str(node), packet)
            if packet.iif
            else dataplane.walk(source, to, _int(dport), protocol)
        )
        yield kind, walk, (time, time, 1)


def _int(value: Any) -> int | None:
    return None if value is pd.NA or value is None else int(value)


def _name(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _unanswered(conntrack: Texts | None, window: pd.DataFrame, dataplane: Dataplane) -> Iterator[Seen]:
    """Connections without an answer that sent something while they were watched."""
    spans = {n: (a, b) for n, a, b in cells(window, "node", "since", "until")}
    timeouts: dict[tuple[Any, ...], list[tuple[Any, int]]] = {}
    for evidence, parsed in conntrack.parsed("conntrack") if conntrack is not None else ():
        if evidence.time is None or evidence.node not in spans:
            continue
        waiting = parsed.frame[parsed.frame["unreplied"].fillna(False).astype(bool)]
        columns = ("protocol", "source", "sport", "reply_source", "reply_sport", "timeout")
        for protocol, source, sport, to, dport, timeout in cells(waiting, *columns):
            key = (evidence.node, protocol, source, _int(sport), to, _int(dport))
            timeouts.setdefault(key, []).append((pd.Timestamp(evidence.time), _int(timeout) or 0))
    for (node, protocol, source, _, to, dport), times in timeouts.items():
        if not _sent(times, spans[node]):
            continue
        try:
            walk = dataplane.walk(source, to, dport, protocol)
        except (KeyError, ValueError, TypeError):
            continue  # a protocol without a name, or an entry without addresses
        yield "conntrack", walk, (times[0][0], times[-1][0], 1)


def _unanswered_by_programs(tracked: Texts | None, window: pd.DataFrame, dataplane: Dataplane) -> Iterator[Seen]:
    """The same of what eBPF programs track: TCP that nobody answered, with a packet during sampling."""
    spans = {n: (a, b) for n, a, b in cells(window, "node", "since", "until")}
    seen: dict[tuple[Any, ...], list[Any]] = {}
    for evidence, parsed in tracked.parsed("bpf-conntrack") if tracked is not None else ():
        if evidence.time is None or evidence.node not in spans:
            continue
        waiting = parsed.frame[(parsed.frame["state"] == "syn-sent") & parsed.frame["source"].notna()]
        columns = ("source", "sport", "destination", "dport", "backend", "backend_port", "age")
        for source, sport, to, dport, backend, port, age in cells(waiting, *columns):
            last = pd.Timestamp(evidence.time) - pd.Timedelta(seconds=age)
            if last > spans[evidence.node][0]:
                ends = (backend, _int(port)) if isinstance(backend, str) else (to, _int(dport))
                seen.setdefault((evidence.node, source, _int(sport), *ends), []).append(last)
    for (_, source, _, to, dport), times in seen.items():
        yield "conntrack", dataplane.walk(source, to, dport, "tcp"), (min(times), max(times), 1)


def _sent(times: list[tuple[Any, int]], span: tuple[Any, Any]) -> bool:
    """Whether an entry was made, or sent again, during sampling: then its timeout began anew."""
    if times[0][0] > span[0]:
        return True
    return any(
        then > before - (later - earlier).total_seconds() + 1
        for (earlier, before), (later, then) in itertools.pairwise(times)
    )


def _grown_by_programs(compiled: pd.DataFrame) -> dict[tuple[Any, ...], list[str]]:
    """Where programs dropped by policy during sampling → what alone did it, in the walk's words; nothing if several."""
    own = compiled[(compiled["reason"] == BY_POLICY) & (compiled["grown"].fillna(0) > 0)]
    found: dict[tuple[Any, ...], list[str]] = {}
    for node, interface, hook, policy, rule in cells(own, "node", "interface", "hook", "policy", "policy_rule"):
        words = policy if pd.isna(rule) else f"rule {int(rule)} of {policy}"
        found.setdefault((node, *SPACE, f"{interface} {hook}", BY_POLICY), []).append(words)
    return {place: words for place, words in found.items() if len(words) == 1}


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[c] for c in ("node", "family", "backend", "table", "chain", "key"))


def _rows(
    how: str, walk: Walk, times: tuple[Any, Any, int], dataplane: Dataplane
) -> Iterator[tuple[dict[str, Any], str]]:
    """What stopped a flow, with the words that the walk has for a program's rule."""
    if walk.verdict not in ("drop", "reject", "mixed"):
        return
    for end in walk.stopped:
        if not isinstance(end.by, Rule) or end.doubts:
            continue
        row = flow_row(end, end.by, dataplane)
        yield row | {"told_by": how, "first": times[0], "last": times[1], "packets": times[2]}, end.by.comment


def flow_row(end: End, by: Rule, dataplane: Dataplane) -> dict[str, Any]:
    """A flow's end as columns: who to whom, and the rule."""
    packet = end.packet
    family, backend, name = by.space
    return {
        "node": end.node,
        "source": shown(packet, "source"),
        "destination": shown(packet, "destination"),
        "protocol": NAMES.get(packet.protocol or -1, str(packet.protocol)),
        "dport": packet.dport,
        "src": who(packet.version, packet.source, dataplane),
        "dst": who(packet.version, packet.destination, dataplane),
        "family": family,
        "backend": backend,
        "table": name,
        "chain": by.chain,
        "key": BY_POLICY if by.space == SPACE else rule_key(by.comment, by.spec),
        "interface": endpoint_interface(end),
    }


def endpoint_interface(end: End) -> str | None:
    """The interface of the endpoint whose chain or program the packet was in last."""
    if isinstance(end.by, Rule) and end.by.space == SPACE:
        return end.by.chain.partition(" ")[0]
    for step in reversed(end.steps):
        what = role(step.rule.chain)
        if what is not None and what.role == "workload":
            return what.of
    return None

"""The guide's *Diagnosing Pod Connectivity Failure*, step by step, for two ends: what was seen, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from calicokit.connectivity.commands import Commands, Seat
from calicokit.dataplane.packets.trace_flow import INPUTS as OF_WALK
from calicokit.dataplane.packets.trace_flow import OPTIONS, Asked, port_number, walked
from calicokit.health.commands import NodeCommands
from calicokit.net import prefix
from calicokit.policy.explain import Explainer
from calicokit.policy.explanation import Explanation
from calicokit.registry import Given, OptionError, table
from calicokit.routes.path import path
from calicokit.schema import Column, Schema, records
from calicokit.sentences import listed, plural

STEPS = Schema(
    "connectivity.steps",
    "The guide's steps of *Diagnosing Pod Connectivity Failure* for two endpoints. Give --from NS/POD|IP, --to "
    "NS/POD|svc/NS/SERVICE|IP, --port and --proto (default tcp).",
    (
        Column("step", "int", "number of the step in the guide"),
        Column("question", "str", "what the step asks"),
        Column("answer", "str", "what the evidence shows"),
        Column("verdict", "str", "fine, wrong or unknown"),
        Column("command", "str", "command for a live cluster"),
    ),
    key=("step",),
)

SERVICE = "svc/"
MOST = 8
"""Maximum backends of a service that are followed."""
FINE, WRONG, UNKNOWN = "fine", "wrong", "unknown"

Answer = tuple[str, str]
"""What was seen, and the verdict."""

OF_ROUTES = {
    "kernel": "routes.kernel",
    "nodes": "bgp.nodes",
    "tunnels": "kube.tunnels",
    "rules": "output.ip_rule",
    "rules6": "output.ip_rule6",
    "addresses": "output.ip_addr",
    "pods": "routes.pods",
}
"""Parameters of :func:`~calicokit.routes.path.path` → the tables they get."""


@table(
    STEPS,
    needs={"pods": "kube.pods"},
    wants={
        "of_walk": tuple(OF_WALK.values()),
        "of_routes": tuple(OF_ROUTES.values()),
        "model": "policy.model",
        "tracked": "output.conntrack",
        "compiled": "output.bpf_conntrack",
        "window": "dataplane.window",
        "flows": "dataplane.dropped_flows",
        "calico": "health.pods",
    },
    options=OPTIONS,
)
def steps(
    pods: pd.DataFrame,
    of_walk: Given,
    of_routes: Given,
    model: Explainer | None = None,
    tracked: pd.DataFrame | None = None,
    compiled: pd.DataFrame | None = None,
    window: pd.DataFrame | None = None,
    flows: pd.DataFrame | None = None,
    calico: pd.DataFrame | None = None,
    **options: str,
) -> pd.DataFrame:
    """Six rows; see :data:`STEPS`. Raises ``OptionError`` with one sentence for ends that are none."""
    port, proto = port_number(options["port"]), options["proto"]
    question = _Question(options["from"], options["to"], port, proto, pods, model)
    seen = _Seen(
        {parameter: of_walk[name] for parameter, name in OF_WALK.items()},
        {parameter: of_routes[name] for parameter, name in OF_ROUTES.items()},
        *(tracked, compiled, window, flows, NodeCommands(calico)),
    )
    return STEPS.frame(list(_steps(question, seen)))


@dataclass(frozen=True)
class End:
    """One end of a flow. ``pod`` is NS/POD, or empty for an address that is no pod's."""

    name: str
    pod: str = ""
    address: str = ""
    node: str = ""
    phase: str = ""
    host: bool = False

    @property
    def is_workload(self) -> bool:
        return bool(self.pod) and not self.host


@dataclass(frozen=True)
class _Seen:
    """What the cluster showed; each may be None."""

    of_walk: Given
    of_routes: Given
    tracked: pd.DataFrame | None
    compiled: pd.DataFrame | None
    window: pd.DataFrame | None
    flows: pd.DataFrame | None
    nodes: NodeCommands

    @property
    def pods(self) -> pd.DataFrame | None:
        """Routes and interfaces of pods."""
        found: pd.DataFrame | None = self.of_routes["pods"]
        return found


class _Question:
    """Source and destination of the question, with policy's verdict."""

    def __init__(
        self, src: str, dst: str, port: int | None, proto: str, pods: pd.DataFrame, model: Explainer | None
    ) -> None:
        self.src_name, self.dst_name, self.port, self.proto = src, dst, port, proto
        self.model = model
        every = {f"{p.namespace}/{p.pod}": p for p in records(pods)}
        self.pods = {name: _end(pod, _version(src, dst, every)) for name, pod in every.items()}
        self.holders: dict[str, list[End]] = {}
        for name, end in self.pods.items():
            if not end.host and end.phase not in ("Failed", "Succeeded"):
                for address in every[name].addresses:
                    self.holders.setdefault(address, []).append(replace(end, address=address))
        self.src = self.end(src)
        self.said: Explanation | None = None if model is None else model.explain(src, dst, port, proto)
        self.targets = self.backends() if dst.startswith(SERVICE) else [self.end(dst)]

    def end(self, name: str) -> End:
        """Raises ``OptionError`` for what is neither a pod nor an address."""
        if "/" in name:
            if name not in self.pods:
                near = sorted(p for p in self.pods if p.startswith(name))
                more = f"; its pods are {listed(near)}" if near else ""
                raise OptionError(f"no pod is named {name}{more}")
            return self.pods[name]
        try:
            prefix(name)
        except ValueError:
            raise OptionError(f"{name!r} is neither NS/POD nor an address") from None
        return next(iter(self.holders.get(name, ())), End(name, address=name))

    def backends(self) -> list[End]:
        """The ends behind a service, as policy found them."""
        if self.said is None or self.said.without_endpoints:
            return []
        addresses = dict.fromkeys(f.dst.partition(" ")[0] for f in self.said.flows)
        found = [next(iter(self.holders.get(a, ())), End(a, address=a)) for a in addresses]
        return found[:MOST]

    @property
    def ends(self) -> list[End]:
        return list(dict.fromkeys([self.src, *self.targets]))


def _version(src: str, dst: str, pods: Mapping[str, Any]) -> int:
    """The IP version of the question: that of an end that is an address, else of the source's first address."""
    first = next(iter(pods[src].addresses), "") if src in pods else ""
    told = next((e for e in (src, dst) if "/" not in e), first)
    return 6 if ":" in told else 4


def _end(pod: Any, version: int) -> End:
    """A pod with its address of an IP version; with another, if it has none of that."""
    name = f"{pod.namespace}/{pod.pod}"
    found = sorted(pod.addresses, key=lambda a: (6 if ":" in a else 4) != version)
    address = next(iter(found), "")
    return End(
        name, name, address, pod.node if isinstance(pod.node, str) else "", str(pod.phase), bool(pod.host_network)
    )


# ---- the steps


def _steps(question: _Question, seen: _Seen) -> Iterator[dict[str, Any]]:
    way = _walk(question, seen)
    commands = _commands(question, seen)
    asked: list[tuple[str, Answer, str]] = [
        ("Does each pod have an address, and is it unique?", _addresses(question), commands.addresses()),
        (
            "Does each pod have its interface and host route on its node?",
            _interfaces(question, seen.pods),
            commands.interfaces(),
        ),
        ("Do the routes lead to the destination, and back?", _routes(question, seen.of_routes), commands.routes()),
        ("Was a connection attempted, and did it get a reply?", _tried(question, seen), commands.tried()),
        ("Does policy allow it?", _policy(question.said), commands.of_kit("explain")),
        (
            "Do the programmed rules allow it, and did they drop any of it?",
            _rules(question, way, seen),
            commands.of_kit("table dataplane.walk"),
        ),
    ]
    for number, (text, (answer, verdict), command) in enumerate(asked, 1):
        yield {"step": number, "question": text, "answer": answer, "verdict": verdict, "command": command}


def _commands(question: _Question, seen: _Seen) -> Commands:
    """The commands of the steps, with the names and ports of these ends."""
    held = [] if seen.pods is None else records(seen.pods[seen.pods["has_interface"].fillna(False)])
    behind = {(f"{p.namespace}/{p.pod}", p.address): str(p.interface) for p in held}
    ports = {f.dst.partition(" ")[0]: f.port for f in question.said.flows} if question.said is not None else {}

    def seat(end: End) -> Seat:
        port = ports.get(end.address, question.port)
        return Seat(end.pod, end.address, end.node, behind.get((end.pod, end.address), ""), port)

    asked = ["--from", question.src_name, "--to", question.dst_name]
    asked += ["--port", str(question.port)] if question.port else []
    asked += ["--proto", question.proto] if question.proto != "tcp" else []
    return Commands(asked, seat(question.src), [seat(t) for t in question.targets], seen.nodes)


def _walk(question: _Question, seen: _Seen) -> Asked:
    return walked(seen.of_walk, question.src_name, question.dst_name, question.port, question.proto)


def _worst(answers: Sequence[Answer], nothing: str) -> Answer:
    """All that is wrong, else all that is unknown, else what is fine."""
    for verdict in (WRONG, UNKNOWN, FINE):
        said = list(dict.fromkeys(text for text, its in answers if its == verdict))
        if said:
            return " ".join(said), verdict
    return nothing, UNKNOWN


def _addresses(question: _Question) -> Answer:
    if not question.targets:
        if question.said is None:
            return f"{question.dst_name}: policy objects were not seen.", UNKNOWN
        if question.said.without_endpoints:
            return f"{question.dst_name} has no ready endpoint.", WRONG
        return f"{question.dst_name}: {'; '.join(question.said.unknown)}.", UNKNOWN
    return _worst([_address(e, question.holders) for e in question.ends], "")


def _address(end: End, holders: dict[str, list[End]]) -> Answer:
    if not end.pod:
        return f"{end.name} is no pod's address.", FINE
    if not end.address:
        return f"{end.pod} has no address: it is {end.phase} on {end.node or 'no node yet'}.", WRONG
    if end.phase in ("Failed", "Succeeded"):
        return (
            f"{end.pod} has completed ({end.phase}); its address {end.address} may belong to another pod by now.",
            WRONG,
        )
    if end.host:
        return f"{end.pod} is host-networked on {end.node} ({end.address}): workload policies do not apply to it.", FINE
    others = [o.pod for o in holders.get(end.address, ()) if o.pod != end.pod]
    if others:
        return f"{end.pod} and {listed(others)} have the same address, {end.address}.", WRONG
    return f"{end.pod} has {end.address} on {end.node}.", FINE


def _interfaces(question: _Question, pods: pd.DataFrame | None) -> Answer:
    workloads = [e for e in question.ends if e.is_workload and e.address]
    if not workloads:
        return "Neither end is a pod with its own network.", FINE if question.targets else UNKNOWN
    if pods is None:
        return "Routes and interfaces of the nodes were not seen.", UNKNOWN
    known = {(f"{p.namespace}/{p.pod}", p.address): p for p in records(pods)}
    return _worst([_interface(e, known.get((e.pod, e.address))) for e in workloads], "")


def _interface(end: End, seen: Any) -> Answer:
    if seen is None:
        return f"{end.pod}: its node's routes were not seen.", UNKNOWN
    if isinstance(seen.elsewhere, str):
        return f"On {end.node} the route to {end.pod} points to {seen.elsewhere}, not to {seen.interface}.", WRONG
    lacks = [
        what
        for what, has in (("route", seen.has_route), ("interface", seen.has_interface))
        if not pd.isna(has) and not has
    ]
    if lacks:
        return f"{end.pod} has no {' and no '.join(lacks)} on {end.node}.", WRONG
    if pd.isna(seen.has_route):
        return f"{end.pod}: its node's routes were not seen.", UNKNOWN
    return f"{end.pod} is behind {seen.interface} on {end.node}.", FINE


def _routes(question: _Question, of_routes: Given) -> Answer:
    if any(of_routes[needed] is None for needed in ("kernel", "nodes", "tunnels")):
        return "Routes of the nodes were not seen.", UNKNOWN
    src = question.src
    answers = []
    for end in question.targets:
        answers.append(_way(src, end, of_routes))
        if src.is_workload and end.node:
            answers.append(_way(end, src, of_routes))
    return _worst(answers, f"The backends of {question.dst_name} are unknown.")


def _way(src: End, dst: End, of_routes: Given) -> Answer:
    """What the routes do with packets from one end's node to the other's address."""
    kernel = of_routes["kernel"]
    if not src.node or not dst.address:
        return f"The path from {src.name} to {dst.name} is unknown.", UNKNOWN
    mine = kernel[kernel["version"] == prefix(dst.address).version]
    if src.node not in set(mine["node"]):
        return f"The routes of {src.node} were not seen.", UNKNOWN
    hops = list(records(path(**of_routes, **{"from": src.node, "to": dst.address})))
    trail = " → ".join(str(h.node) for h in hops)
    last = hops[-1]
    if dst.pod and not dst.host:
        return _to_pod(dst, last, trail)
    if last.type in ("blackhole", "unreachable", "prohibit") or str(last.says).startswith(("no route", "a loop")):
        return f"From {src.node} to {dst.address}: {last.says}.", WRONG
    return f"From {src.node} to {dst.address}: {last.says}.", FINE


def _to_pod(dst: End, last: Any, trail: str) -> Answer:
    said = f"{trail} to {dst.address}: {last.says}."
    if last.next == dst.pod:
        return said, FINE
    if str(last.says).startswith("the routes of"):
        return said, UNKNOWN
    outside = isinstance(last.next, str) and last.type == "unicast"
    if outside and last.owner in ("bird", "kernel"):
        return f"{said} That router's routes are not known.", UNKNOWN
    whose = f" The route {last.cidr} is neither Calico's nor the kernel's." if last.owner == "other" else ""
    return f"{said}{whose} Packets do not reach {dst.pod}.", WRONG


def _tried(question: _Question, seen: _Seen) -> Answer:
    """Of the table in which the source's node tracks connections: Linux' own, or that of eBPF programs."""
    model = question.model
    by_programs = model is not None and (question.src.node or _any_node(question)) in model.parts.bpf
    if by_programs:
        return _tracked("The eBPF programs' conntrack", _of_programs(question, seen.compiled))
    return _tracked("conntrack", _of_kernel(question, seen.tracked))


def _any_node(question: _Question) -> str:
    return next((e.node for e in question.targets if e.node), "")


def _tracked(whose: str, mine: pd.DataFrame | None) -> Answer:
    """From the entries of these ends, with their ``node`` and whether they are ``unreplied``."""
    if mine is None:
        return f"{whose} was not seen: try a connection.", UNKNOWN
    waiting = mine["unreplied"].astype("boolean")
    answered = mine[(~waiting).fillna(False)]
    if len(answered):
        return f"{whose} on {answered['node'].iloc[0]} has a connection with a reply.", FINE
    if len(mine):
        where = listed(sorted(set(mine["node"])))
        if waiting.isna().all():
            return f"{whose} on {where} has such packets, and does not tell of replies.", UNKNOWN
        return f"{whose} on {where} has {plural(int(waiting.sum()), 'unreplied attempt')}.", UNKNOWN
    return (
        f"{whose} has no such connection: it was not attempted recently, or was dropped at the source.",
        UNKNOWN,
    )


def _of_kernel(question: _Question, tracked: pd.DataFrame | None) -> pd.DataFrame | None:
    if tracked is None:
        return None
    mine = _between(question, tracked, "reply_source", "reply_sport")
    return mine.assign(unreplied=mine["unreplied"].fillna(False))


def _of_programs(question: _Question, compiled: pd.DataFrame | None) -> pd.DataFrame | None:
    """Their entries. One of TCP was answered, if only by a reset, once it is more than syn-sent."""
    if compiled is None:
        return None
    mine = _between(question, compiled, "backend", "backend_port")
    return mine.assign(unreplied=(mine["state"] == "syn-sent").astype("boolean").mask(mine["state"].isna()))


def _between(question: _Question, entries: pd.DataFrame, backend: str, backend_port: str) -> pd.DataFrame:
    addresses = {e.address for e in question.targets}
    mine = entries[
        (entries["source"] == question.src.address)
        & (entries["protocol"] == question.proto)
        & (entries["destination"].isin(addresses) | entries[backend].isin(addresses))
    ]
    if question.port is not None and not question.dst_name.startswith(SERVICE):
        mine = mine[(mine["dport"] == question.port) | (mine[backend_port] == question.port)]
    return mine


def _policy(said: Explanation | None) -> Answer:
    if said is None:
        return "Policies were not seen.", UNKNOWN
    verdict = {"allow": FINE, "deny": WRONG, "mixed": WRONG, "no-endpoints": WRONG}.get(said.verdict, UNKNOWN)
    return said.sentence, UNKNOWN if said.unless else verdict


def _rules(question: _Question, way: Asked, seen: _Seen) -> Answer:
    verdict = {"accept": FINE, "drop": WRONG, "reject": WRONG, "mixed": WRONG}.get(way.verdict, UNKNOWN)
    said = [way.sentence]
    policy = _policy(question.said)[1]
    if {verdict, policy} == {FINE, WRONG}:
        said.append("This differs from policy.")
    lost = _lost(question, seen.flows)
    if lost:
        return " ".join([f"{plural(lost, 'packet')} of it dropped during sampling.", *said]), WRONG
    if seen.window is None or not len(seen.window):
        said.append("Counters were not sampled.")
    return " ".join(said), verdict


def _lost(question: _Question, flows: pd.DataFrame | None) -> int:
    if flows is None or not question.targets:
        return 0
    mine = flows[
        (flows["source"] == question.src.address)
        & flows["destination"].isin({e.address for e in question.targets})
        & (flows["protocol"] == question.proto)
    ]
    if question.port is not None and not question.dst_name.startswith(SERVICE):
        mine = mine[mine["dport"] == question.port]
    return int(mine["packets"].fillna(1).sum())

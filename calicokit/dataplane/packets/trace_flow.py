"""Ask for one packet's walk: the rules that it meets, and where it ends, in words and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd

from calicokit.dataplane.packets.flow import TABLES, Dataplane, End, Programs, Walk, parsed_address, shown, who
from calicokit.dataplane.packets.packet import protocol_number
from calicokit.dataplane.packets.ruleset import Base, Rule
from calicokit.dataplane.rules.naming import comment_parts
from calicokit.dataplane.rules.policy_programs import SPACE
from calicokit.dataplane.rules.tables import PLACE
from calicokit.registry import OptionError, table
from calicokit.schema import Column, Schema, cells
from calicokit.sentences import first_upper, listed
from calicokit.tables import Tables

WALK = Schema(
    "dataplane.walk",
    "Rules that a connection's first packet traverses, and its verdict. Give --from NS/POD|IP, --to "
    "NS/POD|svc/NS/SERVICE|IP, --port and --proto (default tcp).",
    (
        Column("way", "int", "1-based number of the path: a service has one per backend"),
        Column("node", "str", "node"),
        Column(
            "hook",
            "str",
            "netfilter hook, such as prerouting or forward; INTERFACE HOOK of an eBPF program; end for the last row",
        ),
        Column("table", "str", "table; programs for eBPF"),
        Column("chain", "str", "chain"),
        Column("rule", "int", "1-based number of the rule in its chain or program"),
        Column("does", "str", "action of the rule; in the last row the packet's fate"),
        Column("says", "str", "comment of the rule; in the last row a summary"),
        Column("packets", "int", "packets that matched the rule so far", "packets"),
        Column("spec", "str", "the rule, as printed"),
    ),
)
SHOWN = ("way", "node", "hook", "table", "chain", "rule", "does", "says", "packets")
SERVICE = "svc/"


@dataclass(frozen=True)
class Asked:
    """One walk: ``verdict`` (accept, drop, reject, mixed, unknown), ``sentence``, and ``frame`` with every rule met."""

    walk: Walk
    question: str
    dataplane: Dataplane
    decided: Mapping[tuple[Any, ...], str] = field(default_factory=dict)
    """Place and number of a rule that drops → what decides there: a policy, a tier's end, another reason."""
    problem: str = ""

    @property
    def verdict(self) -> str:
        return "unknown" if self.problem else self.walk.verdict

    @property
    def sentence(self) -> str:
        """What becomes of the packet, in a sentence for each different end."""
        if self.problem:
            return f"Unknown: {self.problem}."
        said: dict[str, float] = {}
        for end in self.walk.ends:
            text = self._end(end)
            said[text] = said.get(text, 0.0) + end.share
        whole = len(said) == 1
        return " ".join(f"{'' if whole else f'{share:.0%}: '}{text}" for text, share in said.items())

    def _end(self, end: End) -> str:
        packet = end.packet
        target = who(packet.version, packet.destination, self.dataplane) or "an unknown address"
        port = f" port {packet.dport}" if packet.dport is not None else ""
        why = f" ({end.why})" if end.why else ""
        if end.verdict == "delivered":
            return f"The packet reaches {target}{port} on {end.node}{why}."
        if end.verdict == "host":
            return f"The packet reaches the host {end.node}{port}{why}."
        if end.verdict == "left":
            return f"The packet leaves {end.node} for {shown(packet, 'destination')}{port}{why}."
        if end.verdict == "no-route":
            return f"The packet is not forwarded on {end.node}{why}."
        if end.verdict == "unknown":
            doubt = f" {_rule(end.by)}" if isinstance(end.by, Rule) else ""
            return f"Its verdict on {end.node} is unknown{why}{doubt}."
        done = {"drop": "drops", "reject": "rejects"}[end.verdict]
        sure = "" if not end.doubts else f", if it matches {listed(_rule(r) for r in end.doubts)}"
        by = end.by
        number = by.number if isinstance(by, Rule) else None
        decides = self.decided.get((end.node, *by.space, by.chain, number), "") if by is not None else ""
        whose = f" ({decides})" if decides else ""
        return f"{_rule(by)}{whose} on {end.node} {done} the packet to {target}{port}{sure}."

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each rule that the packet met and that matched, in order; ``way`` counts the backends."""
        return WALK.frame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for way, end in enumerate(self.walk.ends, 1):
            for step in end.steps:
                rule = step.rule
                yield {
                    "way": way,
                    "node": step.node,
                    "hook": step.hook,
                    "table": rule.space[2],
                    "chain": rule.chain,
                    "rule": rule.number,
                    "does": " ".join(
                        w for w in (rule.verdict, rule.target if rule.verdict in ("jump", "goto") else "") if w
                    )
                    + ("" if step.sure else " (if it matches)"),
                    "says": comment_parts(rule.comment)[1],
                    "packets": rule.packets,
                    "spec": rule.spec,
                }
            yield {"way": way, "node": end.node, "hook": "end", "does": end.verdict, "says": self._end(end)}

    def __repr__(self) -> str:
        return f"{self.question}: {self.verdict}. {self.sentence}"

    def _repr_html_(self) -> str:
        from calicokit.show import show

        head = f"<p><b>{escape(self.question)}: {escape(self.verdict)}.</b> {escape(self.sentence)}</p>"
        return head + (show(self.frame, *SHOWN, rows=80)._repr_html_() if len(self.frame) else "")


def _rule(by: Rule | Base | None) -> str:
    if isinstance(by, Rule) and by.space == SPACE:
        words = by.comment.replace("end-of-tier ", "the end of tier ")
        return f"{first_upper(words)}, in the program at {by.chain},"
    if isinstance(by, Base):
        return f"The policy of {by.space[2]} {by.chain}"
    return f"Rule {by.number} of {by.space[2]} {by.chain}" if by is not None else "A rule"


OPTIONS = {"from": None, "to": None, "port": "", "proto": "tcp"}
"""What a connection is asked for by."""
INPUTS = {**TABLES, "pods": "kube.pods", "services": "kube.services", "drops": "dataplane.drops"}


def walk(cluster: Tables, src: str, dst: str, port: int | None = None, proto: str = "tcp") -> Asked:
    """The walk of a first packet through the rules of the nodes on its way.

    ``src`` is NS/POD or an IP, ``dst`` NS/POD, svc/NS/SERVICE or an IP. What is not known is answered ``unknown`` with
    the reason.

    >>> import calicokit
    >>> walk(calicokit.open("policy-drop"), "10.48.84.130", "10.48.139.67", 5432).verdict
    'drop'
    """
    cluster.fetch(INPUTS.values())
    return walked({parameter: cluster.given(name) for parameter, name in INPUTS.items()}, src, dst, port, proto)


def walked(tables: Mapping[str, Any], src: str, dst: str, port: int | None, proto: str) -> Asked:
    """The same from the tables of :data:`INPUTS`, by their parameters; each may be None."""
    question = f"{src} to {dst}{f' port {port}' if port else ''} ({proto})"
    dataplane = Dataplane.build(**{parameter: tables[parameter] for parameter in TABLES})
    try:
        known = _addresses(tables["pods"], tables["services"])
        told = next((_version(e) for e in (src, dst) if "/" not in e), None)
        source = _address(src, known, told)
        target = _address(dst, known, told or _version(source))
        if _version(source) != _version(target):
            raise OptionError(f"{src} and {dst} have different IP versions")
        if protocol_number(proto) is None:
            raise OptionError(f"no protocol is named {proto!r}")
    except OptionError as error:
        return Asked(Walk(()), question, dataplane, problem=f"{error}")
    way = dataplane.walk(source, target, port, proto)
    return Asked(way, question, dataplane, _deciders(tables["drops"]))


NEEDED = ("rules", "chains")


@table(
    WALK,
    needs={parameter: INPUTS[parameter] for parameter in NEEDED},
    wants={parameter: name for parameter, name in INPUTS.items() if parameter not in NEEDED},
    options=OPTIONS,
)
def walk_table(
    rules: pd.DataFrame,
    chains: pd.DataFrame,
    sets: pd.DataFrame | None = None,
    routes: pd.DataFrame | None = None,
    endpoints: pd.DataFrame | None = None,
    programs: Programs | None = None,
    pods: pd.DataFrame | None = None,
    services: pd.DataFrame | None = None,
    drops: pd.DataFrame | None = None,
    **options: str,
) -> pd.DataFrame:
    """One row for each rule met, and for each end; see :data:`WALK`. Raises ``OptionError`` for ends that are none."""
    tables = {
        "rules": rules,
        "chains": chains,
        "sets": sets,
        "routes": routes,
        "endpoints": endpoints,
        "programs": programs,
        "pods": pods,
        "services": services,
        "drops": drops,
    }
    asked = walked(tables, options["from"], options["to"], port_number(options["port"]), options["proto"])
    if asked.problem:
        raise OptionError(asked.problem)
    return asked.frame


def port_number(text: str) -> int | None:
    """A port as an option says it; None for none. Raises ``OptionError`` for what is none."""
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise OptionError(f"{text!r} is not a port")
    return int(text) if text else None


def example(cluster: Tables) -> Asked:
    """A walk worth showing: a flow that was seen being dropped, else between two pods of different nodes."""
    flows, endpoints = cluster.table("dataplane.dropped_flows"), cluster.table("dataplane.endpoints")
    if len(flows):
        first = flows.iloc[0]
        port = None if pd.isna(first["dport"]) else int(first["dport"])
        return walk(cluster, first["source"], first["destination"], port, first["protocol"])
    pods = [a for addresses in endpoints.drop_duplicates("node")["addresses"] for a in addresses if ":" not in a]
    source, target = (*pods, "a pod", "another pod")[:2] if len(pods) > 1 else ("a pod", "another pod")
    return walk(cluster, source, target, 80)


def _deciders(drops: pd.DataFrame | None) -> dict[tuple[Any, ...], str]:
    if drops is None:
        return {}
    made = {}
    for *place, number, reason, policy, owner in cells(drops, *PLACE, "rule", "reason", "policy", "owner"):
        said = (
            policy if isinstance(policy, str) else {"foreign": "neither Calico's nor kube-proxy's"}.get(owner, reason)
        )
        made[(*place, None if pd.isna(number) else int(number))] = said
    return made


def _address(end: str, known: Mapping[str, list[str]], version: int | None) -> str:
    """The address of an end, of this IP version if it has one; raises ``OptionError`` for a name that was not seen."""
    found = known.get(end, [] if "/" in end else [end])
    if not found:
        what = "service" if end.startswith(SERVICE) else "pod"
        raise OptionError(f"no {what} with an address is named {end.removeprefix(SERVICE)}")
    return next((a for a in found if version in (None, _version(a))), found[0])


def _version(address: str) -> int:
    """The IP version of an address; raises ``OptionError`` for what is none."""
    try:
        return parsed_address(address)[0]
    except ValueError as error:
        raise OptionError(str(error)) from None


def _addresses(pods: pd.DataFrame | None, services: pd.DataFrame | None) -> dict[str, list[str]]:
    """NS/POD and svc/NS/SERVICE → their addresses."""
    found = {}
    for namespace, pod, addresses in () if pods is None else cells(pods, "namespace", "pod", "addresses"):
        found[f"{namespace}/{pod}"] = addresses
    for namespace, name, addresses in (
        () if services is None else cells(services, "namespace", "service", "cluster_ips")
    ):
        found[f"{SERVICE}{namespace}/{name}"] = addresses
    return found

"""From two ends that cannot connect to a cause: the first step that fails, and the findings related to these ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

import pandas as pd

from calicokit.connectivity.steps import FINE, UNKNOWN, WRONG
from calicokit.diagnosis.model import Finding
from calicokit.net import prefix
from calicokit.policy.explain import Explainer
from calicokit.registry import OptionError
from calicokit.routes.path import PATH
from calicokit.schema import cells, records
from calicokit.sentences import listed
from calicokit.tables import Tables

TRIED = 4
"""The step about connection attempts: an effect, never a cause."""


@dataclass(frozen=True)
class Cause:
    """The answer. ``steps`` is ``connectivity.steps``; ``findings`` are those that touch these ends, roots first.

    What else was seen of the two ends: ``pods`` (rows of ``kube.pods``), the ways ``there`` and ``back``
    (``routes.path``; empty where one end has no node), and ``flows`` (rows of ``dataplane.dropped_flows``).
    """

    question: str
    steps: pd.DataFrame
    findings: tuple[Finding, ...]
    pods: pd.DataFrame
    there: pd.DataFrame
    back: pd.DataFrame
    flows: pd.DataFrame

    @property
    def verdict(self) -> str:
        """wrong, fine, or unknown where nothing is wrong and something was not seen."""
        said = set(self.steps[self.steps["step"] != TRIED]["verdict"])
        return WRONG if WRONG in said else UNKNOWN if UNKNOWN in said else FINE

    @property
    def sentence(self) -> str:
        """What is wrong, in one paragraph."""
        steps = list(records(self.steps[self.steps["step"] != TRIED]))
        wrong = [s for s in steps if s.verdict == WRONG]
        if wrong:
            first = f"Step {wrong[0].step} fails: {wrong[0].answer}"
        elif self.verdict == UNKNOWN:
            unseen = listed(f"step {s.step}" for s in steps if s.verdict == UNKNOWN)
            first = f"No problem was found, but {unseen} could not be answered."
        else:
            first = "No problem found: addresses, routes, policy and rules allow it."
        heads = [f for f in self.findings if not f.explained_by]
        return f"{first} {f'Related finding: {heads[0].cause}' if heads else ''}".strip()

    def __repr__(self) -> str:
        return f"{self.question}: {self.sentence}"

    def _repr_html_(self) -> str:
        from calicokit.show import show

        head = f"<p><b>{escape(self.question)}.</b> {escape(self.sentence)}</p>"
        return head + show(self.steps, "step", "question", "verdict", "answer", "command")._repr_html_()


class Checked(Tables, Protocol):
    """A cluster that can be checked."""

    def check(self) -> Sequence[Finding]:
        """The findings, roots first."""
        ...


def cause(cluster: Checked, src: str, dst: str, port: int | None = None, proto: str = "tcp") -> Cause:
    """Why one end does not reach another, or that nothing is in the way.

    ``src`` is NS/POD or an IP, ``dst`` NS/POD, svc/NS/SERVICE or an IP. Raises ``ValueError`` for ends that are none.

    >>> import calicokit
    >>> cluster = calicokit.open("policy-drop")
    >>> cause(cluster, *example(cluster)).verdict
    'wrong'
    """
    options = {"from": src, "to": dst, "port": "" if port is None else str(port), "proto": proto}
    steps = cluster.table("connectivity.steps", **options)
    question = f"{src} to {dst}{f' port {port}' if port else ''} ({proto})"
    words, addresses = _touched(cluster, (src, dst))
    found = [f for f in cluster.check() if f.severity != "info" and _touches(f, words, addresses)]
    pods, flows = cluster.table("kube.pods"), cluster.table("dataplane.dropped_flows")
    names = pods["namespace"] + "/" + pods["pod"]
    seen = flows["source"].isin(addresses) | flows["destination"].isin(addresses)
    mine = pods[names.isin(words)]
    return Cause(question, steps, tuple(found), mine, *_ways(cluster, mine, src, dst), flows[seen])


def _ways(cluster: Tables, pods: pd.DataFrame, src: str, dst: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The routes from one end's node to the other end's address, and back."""
    ends = {f"{n}/{p}": (node, next(iter(its), "")) for n, p, node, its in cells(pods, *PLACED)}
    ends |= {address: (node, address) for node, address in ends.values()}
    first, last = (ends.get(e, (None, "" if "/" in e else e)) for e in (src, dst))
    return _path(cluster, first[0], last[1]), _path(cluster, last[0], first[1])


PLACED = ("namespace", "pod", "node", "addresses")


def _path(cluster: Tables, node: object, address: str) -> pd.DataFrame:
    if not isinstance(node, str) or not address:
        return PATH.frame()
    try:
        return cluster.table("routes.path", **{"from": node, "to": address})
    except OptionError:  # the node's routes were not seen, or it is no address
        return PATH.frame()


def example(cluster: Tables) -> tuple[str, str, int | None]:
    """Two ends worth asking about: a flow that was seen being dropped, a pod without an address, or pods that serve."""
    flows, pods = cluster.table("dataplane.dropped_flows"), cluster.table("kube.pods")
    own = pods[~pods["host_network"] & ~pods["finished"]]
    where = {f"{n}/{p}": (node, next(iter(its), "")) for n, p, node, its in cells(own, *PLACED)}
    if len(flows):
        first = flows.iloc[0]
        return str(first["source"]), str(first["destination"]), _port(first["dport"])
    if len(where) < 2:
        raise ValueError("the pods were not seen, or there are none")
    waiting = [name for name, (_, address) in where.items() if not address]
    if waiting:
        return next(n for n in where if n != waiting[0]), waiting[0], None
    dst, port = _serving(cluster, {address: name for name, (_, address) in where.items()})
    dst = dst or next(iter(where))
    return next((n for n in where if where[n][0] != where[dst][0]), next(n for n in where if n != dst)), dst, port


def _serving(cluster: Tables, holders: dict[str, str]) -> tuple[str, int | None]:
    """A pod that a service leads to, and its port there; nothing where none is known."""
    model: Explainer | None = cluster.given("policy.model")
    for backends in model.parts.backends.values() if model is not None else ():
        for backend in backends:
            if backend.protocol == "tcp" and backend.address in holders:
                return holders[backend.address], backend.port
    return "", None


def _port(value: object) -> int | None:
    return None if pd.isna(value) else int(str(value))  # type: ignore[call-overload]


def _touched(cluster: Tables, ends: tuple[str, str]) -> tuple[set[str], list[str]]:
    """The words that findings may name these ends by, and their addresses."""
    pods, endpoints = cluster.table("kube.pods"), cluster.table("dataplane.endpoints")
    words, addresses = set(ends), [e for e in ends if "/" not in e]
    for namespace, pod, node, its in cells(pods, *PLACED):
        name = f"{namespace}/{pod}"
        if name in ends or any(a in ends for a in its):
            words |= {name, *its, *([node] if isinstance(node, str) else [])}
            addresses += its
    for namespace, pod, workload in cells(endpoints, "namespace", "pod", "workload"):
        if f"{namespace}/{pod}" in words:
            words.add(workload)
    return words, list(dict.fromkeys(addresses))


def _touches(finding: Finding, words: set[str], addresses: list[str]) -> bool:
    named: set[str] = set()
    for value in finding.subject.values():
        named |= {str(v) for v in (value if isinstance(value, list) else [value])}
    named |= {
        f"{k['namespace']}/{k['pod']}" for r in finding.evidence for k in r.keys if {"namespace", "pod"} <= k.keys()
    }
    return bool((named | finding.about) & words) or any(_covers(n, addresses) for n in named)


def _covers(text: str, addresses: list[str]) -> bool:
    try:
        net = prefix(text)
    except ValueError:
        return False
    return any(net.covers(prefix(a)) for a in addresses)

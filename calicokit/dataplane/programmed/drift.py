"""What is programmed beside what the resources ask for: policies of each pod, in their order, and what they do.

The two sides are independent: Felix's chains and comments, and the policies as Calico's API has them. Compared are the
policies that an endpoint's chain asks, their order, and the verdicts of each policy's chain; how Felix names chains in
any version: dataplane/naming.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from calicokit.dataplane.drops.verdicts import decides, verdict_bits
from calicokit.dataplane.programmed.comparison import Named, compared, expected_verdicts, listed_or_none
from calicokit.dataplane.programmed.policy_programs import NOT_COMPARED, Asked
from calicokit.dataplane.programmed.policy_programs import differences as of_programs
from calicokit.dataplane.rules.chains import Place, chain_names
from calicokit.dataplane.rules.naming import role, unlayered
from calicokit.dataplane.rules.policy_programs import policy_programs
from calicokit.dataplane.rules.tables import PLACE
from calicokit.felix.state.configuration import in_ebpf
from calicokit.policy.convert import OPTIONAL_KINDS, POLICY_KINDS
from calicokit.policy.explain import Explainer
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

NODE = Column("node", "str", "node")
SETTLED = 30.0
"""Seconds after which a pod's rules must be there."""

DIFFERENCES = Schema(
    "dataplane.differences",
    "Differences between what is programmed on a node and the policies and pods.",
    (
        NODE,
        Column("version", "int", "4, or 6 where the difference is in the rules of IPv6 alone; null with eBPF"),
        Column(
            "difference",
            "str",
            "kind of difference: no-chain, missing, extra, order, rules; not-loaded: a program of eBPF mode; "
            "not-compared: such a program that was not seen",
        ),
        Column("kind", "str", "kind of the policy"),
        Column(
            "policy",
            "str",
            "policy (NS/NAME or NAME); null for a pod without any chain or program, or a chain of no policy",
        ),
        Column("direction", "str", "ingress or egress"),
        Column("namespace", "str", "namespace of the pod; null for the policy's own chain"),
        Column("pod", "str", "pod"),
        Column("form", "str", "chain or program: as what it is programmed; null for a chain that is not there"),
        Column("chain", "str", "chain; null for a program"),
        Column("programmed", "str", "actual content"),
        Column("asked", "str", "expected content"),
    ),
    undecided=("difference", NOT_COMPARED),
)

RESYNCED = Schema(
    "dataplane.resynced",
    "Calico chains that Felix found modified by another program and rewrote.",
    (
        NODE,
        Column("chain", "str", "chain"),
        Column("times", "int", "number of times", "times"),
        Column("last", "time", "last time"),
        Column("policy", "str", "policy of the chain, for policy chains"),
    ),
    key=("node", "chain"),
)

_CHANGED = "Detected out-of-sync Calico chain"
_CHAIN_FIELD = 'chainName="'


@table(RESYNCED, needs={"log": "output.felix_log"}, wants={"chains": "dataplane.chains"})
def resynced(log: pd.DataFrame, chains: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each chain; see :data:`RESYNCED`."""
    lines = log[log["message"].fillna("").str.startswith(_CHANGED) & log["fields"].notna()]
    found = pd.Series([_chain_in(f) for f in lines["fields"]], index=lines.index, dtype="str")
    named = lines.assign(chain=found).dropna(subset="chain")
    policies = {} if chains is None else {(n, c): p for n, c, p in cells(chains, "node", "chain", "policy")}
    rows = [
        {"node": n, "chain": c, "times": len(g), "last": g["time"].max(), "policy": policies.get((n, c))}
        for (n, c), g in named.groupby(["node", "chain"])
    ]
    return RESYNCED.frame(rows)


def _chain_in(fields: str) -> str | None:
    _, found, rest = fields.partition(_CHAIN_FIELD)
    return rest.partition('"')[0] if found else None


# ---- programmed and asked for


STAGED = tuple(i for i, (kind, _) in POLICY_KINDS.items() if kind.startswith("Staged"))
DECIDING = (
    *(i for i in POLICY_KINDS if i not in OPTIONAL_KINDS and i not in STAGED),
    *("tiers", "pods", "namespaces", "serviceaccounts"),
)
"""Kinds without which it is not known which policies a pod's chain should ask.

Staged ones are never programmed. Policies of :data:`OPTIONAL_KINDS` that are programmed and were not listed are passed
over: they change neither which of the others are asked nor their order.
"""


@table(
    DIFFERENCES,
    needs={
        "rules": "dataplane.rules",
        "chains": "dataplane.chains",
        "endpoints": "dataplane.endpoints",
        "applied": "policy.applied",
        "policies": "policy.policies",
        "model": "policy.model",
        "pods": "kube.pods",
        "now": "@now",
    },
    wants={"felix": "felix.configuration", "programs": "output.bpf_policy"},
)
def differences(
    rules: pd.DataFrame,
    chains: pd.DataFrame,
    endpoints: pd.DataFrame,
    applied: pd.DataFrame,
    policies: pd.DataFrame,
    model: Explainer,
    pods: pd.DataFrame,
    now: pd.Timestamp,
    felix: pd.DataFrame | None = None,
    programs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a difference; see :data:`DIFFERENCES`. One of both IP versions is told once.

    In eBPF mode programs are compared instead of chains. Nodes without any chain of Calico, pods that just came or
    that go, and endpoints whose policies cannot all be read are left out.
    """
    model.parts.need(*DECIDING)
    if policies["problem"].notna().any():
        return DIFFERENCES.frame()  # what cannot be read may or may not apply
    known = chain_names(policies)
    unlisted = frozenset(POLICY_KINDS[i][0] for i in model.parts.missing & set(OPTIONAL_KINDS))
    compiled = in_ebpf(felix)
    rules, chains = (frame[~frame["node"].isin(compiled)] for frame in (rules, chains))
    asked, settled = _asked(applied), list(_settled(endpoints, pods, now))
    rows: list[dict[str, Any]] = []
    if compiled:
        said = Asked.read(applied, model.parts.policies, unlisted)
        own = {} if programs is None else policy_programs(programs[programs["node"].isin(compiled)])
        rows += of_programs(own, said, (p for p in settled if p[0] in compiled), compiled)
    told: list[dict[str, Any]] = []
    for version in (4, 6):
        programmed = _Programmed.of(rules, chains, known, version).without(unlisted)
        found = [r for pod in settled if pod[0] in programmed.nodes for r in _of_pod(programmed, asked, *pod)]
        found += _contents(programmed, model, known)
        rows += ({**row, "version": version} for row in found if row not in told)
        told = found
    return DIFFERENCES.frame(rows)


def _settled(
    endpoints: pd.DataFrame, pods: pd.DataFrame, now: pd.Timestamp
) -> Iterator[tuple[str, str, str, list[str]]]:
    """Node, namespace, pod and the interfaces that it may have, of pods that have run for a while."""
    own = pods[(pods["phase"] == "Running") & ~pods["finished"] & pods["deleted"].isna()]
    own = own[(now - own["created"]).dt.total_seconds() > SETTLED]
    running = {(n, p) for n, p, a in cells(own, "namespace", "pod", "addresses") if len(a)}
    names: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for node, namespace, pod, interface in cells(endpoints, "node", "namespace", "pod", "interface"):
        if (namespace, pod) in running:
            names[node, namespace, pod].append(interface)
    for (node, namespace, pod), found in names.items():
        yield node, namespace, pod, found


def _asked(applied: pd.DataFrame) -> dict[tuple[str, str, str], list[Named]]:
    """Pod and direction → the policies that apply, in order; staged ones are never programmed."""
    found: dict[tuple[str, str, str], list[Named]] = defaultdict(list)
    own = applied[~applied["staged"] & applied["namespace"].notna()].sort_values("place")
    columns = ("namespace", "pod", "direction", "kind", "policy_namespace", "policy")
    for namespace, pod, direction, kind, of, policy in cells(own, *columns):
        found[namespace, pod, direction].append((kind, f"{of}/{policy}" if isinstance(of, str) else policy))
    return found


class _Programmed:
    """Felix's chains of the filter table, of one IP version: which policies endpoints ask, and what policies do."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.nodes: set[str] = set()
        self.asks: dict[tuple[str, str, str], list[str]] = {}  # node, interface, direction → policies' chains
        self.verdicts: dict[tuple[str, str], list[str]] = {}  # node and policy's chain → what it does
        self.names: dict[str, Named] = {}

    @classmethod
    def of(cls, rules: pd.DataFrame, chains: pd.DataFrame, known: Mapping[str, Named], version: int) -> _Programmed:
        made, family = cls(version), "ip6" if version == 6 else "ip"
        said = chains[(chains["role"] == "policy") & chains["policy"].notna() & chains["kind"].notna()]
        made.names = {unlayered(c): (k, p) for c, k, p in cells(said, "chain", "kind", "policy")} | dict(known)
        own = chains[(chains["owner"] == "calico") & (chains["family"] == family) & chains["role"].notna()]
        own = own[(own["table"] == "filter") | own["chain"].str.startswith("filter-")]
        leads: dict[Place, list[str]] = defaultdict(list)
        made.nodes = set(own["node"])
        bits = verdict_bits(rules)
        for row in cells(own, *PLACE):
            leads[row] = []
            what = role(row[4])
            if what is not None and what.role == "policy":
                made.verdicts[row[0], unlayered(row[4])] = []
        calico = rules[(rules["owner"] == "calico") & (rules["family"] == family)]
        for *where, verdict, target, spec in cells(calico, *PLACE, "verdict", "target", "spec"):
            place = tuple(where)
            if place not in leads:
                continue
            if verdict == "jump" and isinstance(target, str):
                leads[place].append(target)
            key = (place[0], unlayered(place[4]))
            decided = decides(place, verdict, spec, bits) if key in made.verdicts else None
            if decided is not None:
                made.verdicts[key].append(decided)
        for place in leads:
            what = role(place[4])
            if what is not None and what.role == "workload":
                made.asks[place[0], what.of, what.direction] = list(_policies(place, leads))
        return made

    def without(self, kinds: frozenset[str]) -> _Programmed:
        """Itself without policies of these kinds; and without those of no known kind, which may be of them."""
        if kinds:
            named = {c for c, (kind, _) in self.names.items() if kind not in kinds}
            self.asks = {place: [c for c in asked if c in named] for place, asked in self.asks.items()}
        return self

    def named(self, chain: str) -> Named | None:
        return self.names.get(chain)


def _policies(place: Place, leads: Mapping[Place, list[str]]) -> Iterator[str]:
    """The policies' chains that a chain leads to, in order, those of groups too."""
    for target in leads[place]:
        what = role(target)
        if what is not None and what.role == "policy":
            yield unlayered(target)
        elif what is not None and what.role == "policy-group" and (*place[:4], target) in leads:
            yield from _policies((*place[:4], target), leads)


def _of_pod(
    programmed: _Programmed,
    asked: Mapping[tuple[str, str, str], list[Named]],
    node: str,
    namespace: str,
    pod: str,
    interfaces: Iterable[str],
) -> Iterator[dict[str, Any]]:
    base = {"node": node, "namespace": namespace, "pod": pod}
    for direction in ("ingress", "egress"):
        own = next((i for i in interfaces if (node, i, direction) in programmed.asks), None)
        should = asked.get((namespace, pod, direction), [])
        if own is None:
            yield base | {
                "difference": "no-chain",
                "direction": direction,
                "asked": listed_or_none(p for _, p in should),
            }
            continue
        there = programmed.asks[node, own, direction]
        yield from compared(
            base | {"direction": direction, "form": "chain"}, [(programmed.named(c), c) for c in there], should
        )


# ---- what policies' chains do


def _contents(programmed: _Programmed, model: Explainer, known: Mapping[str, Named]) -> Iterator[dict[str, Any]]:
    """Policies' chains whose verdicts are not those of the policy's rules."""
    policies = {(p.kind, p.ref): p for p in model.parts.policies if not p.staged}
    for (node, chain), there in programmed.verdicts.items():
        name, what = known.get(chain), role(chain)
        if name is None or name not in policies or what is None:
            continue
        should = expected_verdicts(policies[name], what.direction, programmed.version)
        if should is None or should == there:
            continue
        yield {
            "node": node,
            "difference": "rules",
            "kind": name[0],
            "policy": name[1],
            "direction": what.direction,
            "form": "chain",
            "chain": chain,
            "programmed": listed_or_none(there),
            "asked": listed_or_none(should),
        }

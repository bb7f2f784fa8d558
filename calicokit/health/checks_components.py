"""Checks of what Calico's components need of the API server and of each other: kinds, permissions, versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.cni.checks import error_rows
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.health.apis import KINDS, V1
from calicokit.health.versions import MASTER, UNNAMED
from calicokit.kube.tables import pod_ref
from calicokit.logs.checks import OF_COMPONENT
from calicokit.schema import records
from calicokit.sentences import listed, plural

MOST = 20
"""Maximum kinds reported individually."""

SETTLING = pd.Timedelta(seconds=60)
"""An API whose server has just been replaced may be away for so long."""

_MINOR = re.compile(r"v3\.(\d{1,3})\.")

# ---- kinds and permissions


@check(
    "crd-or-rbac-missing",
    needs={"kinds": "health.kinds"},
    wants={"refusals": "health.refusals", "versions": "health.versions"},
    absence=True,
)
def kind_missing(
    kinds: pd.DataFrame, refusals: pd.DataFrame | None = None, versions: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """Kinds that this version of Calico needs and that the API server does not serve."""
    absent = kinds[~kinds["served"]]
    if len(absent) == len(kinds):
        yield from _none(kinds)
        return
    asked = set() if refusals is None else set(refusals[refusals["why"] == "missing"]["kind"])
    newest = _version(kinds, versions)
    for row in [r for r in records(absent) if r.kind in asked or _since(r.since) <= newest][:MOST]:
        yield _absent(row, refusals)


@check(
    "crd-or-rbac-missing",
    needs={"refusals": "health.refusals"},
    wants={"kinds": "health.kinds", "errors": "cni.errors"},
    absence=True,
)
def refused(
    refusals: pd.DataFrame, kinds: pd.DataFrame | None = None, errors: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """Kinds that a component may not read and still asks for; that are not there, where only the logs tell."""
    going = refusals[refusals["still"].fillna(False)]
    forbidden = going[going["why"] == "forbidden"]
    for (kind, group, user), rows in list(forbidden.groupby(["kind", "group", "user"]))[:MOST]:
        yield _forbidden(str(kind), str(group), str(user), rows)
    if kinds is None:
        for row in records(going[going["why"] == "missing"].drop_duplicates("kind")):
            yield _absent_by_log(row)
    told = set(going["kind"]) | (set() if kinds is None else set(kinds[~kinds["served"]]["kind"]))
    if errors is not None:
        yield from _refused_to_plugin(errors, told)


def _since(version: object) -> int:
    return int(str(version).removeprefix("v3.")) if isinstance(version, str) else 0


def _version(kinds: pd.DataFrame, versions: pd.DataFrame | None) -> int:
    """The minor version that counts: the oldest that components name, else that of the newest kind that is there."""
    named = [] if versions is None else [m for v in versions["version"] if (m := _MINOR.match(v))]
    if named:
        return min(int(m[1]) for m in named)
    return max((_since(s) for s in kinds[kinds["served"]]["since"]), default=0)


_INSTALL = "Install the CustomResourceDefinitions of the Calico version that runs"


def _none(kinds: pd.DataFrame) -> Iterator[Finding]:
    """Not one of Calico's kinds is served, although its objects are kept in the API server."""
    for group in kinds["group"].head(1):
        yield finding(
            "crd-or-rbac-missing",
            subject={"kind": f"all of {group}"},
            cause=f"The API server serves no kind of {group}, the API group of Calico's objects.",
            remedy=f"{_INSTALL}.",
            evidence=[Rows.of("api-resources", "health.kinds", [{"kind": k} for k in kinds["kind"]])],
        )


def _absent(row: Any, refusals: pd.DataFrame | None) -> Finding:
    told = [] if refusals is None else list(records(refusals[refusals["kind"].eq(row.kind)].head(3)))
    said = f" {told[0].component} says: {told[0].error}." if told else ""
    manifest = "v1_crd_projectcalico_org.yaml or crds.yaml" if row.group == V1 else "v3_projectcalico_org.yaml"
    return finding(
        "crd-or-rbac-missing",
        subject={"kind": row.kind},
        cause=f"The API server serves no {row.plural}.{row.group}, which this version of Calico needs.{said}",
        remedy=f"{_INSTALL} ({manifest}); if the CRD was deleted, its objects are gone too and must be recreated.",
        evidence=[Rows.of("api-resources", "health.kinds", [{"kind": row.kind}]), *_lines(told)],
    )


def _absent_by_log(row: Any) -> Finding:
    return finding(
        "crd-or-rbac-missing",
        subject={"kind": row.kind},
        cause=f"{row.component} requests {row.kind}, which the API server does not serve: {row.error}.",
        remedy=f"{_INSTALL}.",
        evidence=_lines([row]),
    )


def _lines(refusals: list[Any]) -> Iterator[Rows]:
    for row in refusals:
        node = row.node if isinstance(row.node, str) else None
        yield Rows.of(OF_COMPONENT[row.component], "health.refusals", [{"kind": row.kind, "why": row.why}], node)


def _forbidden(kind: str, group: str, user: str, rows: pd.DataFrame) -> Finding:
    who = user.rpartition(":")[2]
    verbs = sorted(set(rows["verb"]))
    nodes = sorted(set(rows["node"].dropna()))
    reads = {"get", "list", "watch"} & set(verbs)
    return finding(
        "crd-or-rbac-missing",
        severity="" if reads else "warning",
        subject={"kind": kind},
        cause=f"{user} may not {listed(verbs)} {kind}{f' ({group})' if group else ''}: the API server has denied it "
        f"{plural(int(rows['count'].sum()), 'time')} to "
        f"{listed(sorted(set(rows['component'])))}{f' on {listed(nodes)}' if nodes else ''}, and still does.",
        remedy=f"Apply the ClusterRole and ClusterRoleBinding of {who} from the manifest of the Calico version that "
        "runs (the operator does so by itself): upgrading only the images leaves the old ones in place.",
        evidence=_lines(list(records(rows))),
        about={user},
    )


def _refused_to_plugin(errors: pd.DataFrame, told: set[str]) -> Iterator[Finding]:
    """What the CNI plugin was refused, where only the pods that wait and the kubelet's events tell."""
    ours = errors[errors["open"] & (errors["finding"] == "crd-or-rbac-missing")]
    for kind, rows in ours.assign(kind=ours["error"].map(_kind_in)).groupby("kind"):
        if kind not in told:
            yield finding(
                "crd-or-rbac-missing",
                subject={"kind": str(kind)},
                cause=f"The API server denies the CNI plugin access to {kind}: {rows['error'].iloc[-1][:300]}",
                remedy="Apply the CustomResourceDefinitions and the ClusterRole calico-cni-plugin of the Calico "
                "version that runs.",
                evidence=error_rows(rows),
            )


def _kind_in(error: str) -> str:
    low = error.lower()
    return next((k.kind for k in KINDS for name in {k.plural, k.v3_plural} - {""} if name in low), UNKNOWN)


# ---- Calico's API server


@check(
    "calico-apiserver-down",
    needs={"apis": "health.apis"},
    wants={"pods": "health.pods", "now": "@now"},
    printed=("health.apis",),
)
def apiserver_down(
    apis: pd.DataFrame, pods: pd.DataFrame | None = None, now: pd.Timestamp | None = None
) -> Iterator[Finding]:
    """The projectcalico.org/v3 API is registered and does not answer."""
    down = apis[apis["available"].eq(False).fillna(False)]
    if not len(down):
        return
    row = next(records(down))
    servers = None if pods is None else pods[pods["component"] == "apiserver"]
    recent = now is not None and pd.notna(row.since) and now - row.since < SETTLING
    why = f": {row.why}" if isinstance(row.why, str) else ""
    yield finding(
        "calico-apiserver-down",
        severity="info" if recent else "",
        subject={},
        cause=f"{row.api} is registered but does not answer{why.rstrip('.')}. {_servers(servers)}",
        remedy="kubectl describe apiservice v3.projectcalico.org shows why; then check its pods and their Service "
        "(namespace calico-apiserver up to v3.30, calico-system since v3.31). If the API server is no longer needed, "
        "delete the APIService. Policies stay enforced; kubectl access to projectcalico.org/v3 and namespace "
        "deletion fail.",
        evidence=[
            Rows.of(
                "api-resources" if "api-resources" in str(r.evidence) else "apiservices",
                "health.apis",
                [{"api": r.api}],
            )
            for r in records(down)
        ],
        about=() if servers is None else {pod_ref(p) for p in records(servers)},
    )


def _servers(pods: pd.DataFrame | None) -> str:
    if pods is None:
        return "Its pods are unknown."
    if not len(pods):
        return "There is no Calico API server pod."
    ready = int(pods["ready"].sum())
    return f"{ready} of {plural(len(pods), 'pod')} of Calico's API server are ready."


@explains("calico-apiserver-down", "calico-pod-not-ready")
def _its_pod(cause: Finding, effect: Finding) -> bool:
    return effect.subject["pod"] in cause.about


@explains("calico-pod-oomkilled", "calico-apiserver-down")
def _its_pod_was_killed(cause: Finding, effect: Finding) -> bool:
    return cause.subject["pod"] in effect.about


# ---- versions


@check("calico-version-skew", needs={"versions": "health.versions"}, wants={"rollouts": "health.rollouts"})
def version_skew(versions: pd.DataFrame, rollouts: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Components that name different releases; an upgrade that is under way is one, and says so."""
    nameless = versions["version"].isin([MASTER, UNNAMED])
    compared = versions[~nameless | versions["by"].isin(_mixed(versions, nameless))]
    if compared["version"].nunique() < 2:
        return
    by = [f"{version}: {listed(sorted(_places(rows)))}" for version, rows in compared.groupby("version", sort=True)]
    under_way = [] if rollouts is None else [r for r in records(rollouts) if r.updated < r.wanted or not r.seen]
    progress = "; ".join(f"{r.workload} has {r.updated} of {r.wanted} pods updated" for r in under_way)
    state = "" if rollouts is None else " No rollout is in progress."
    yield finding(
        "calico-version-skew",
        subject={"versions": sorted(set(compared["version"]))},
        cause=f"Calico's components run {len(by)} versions: {'; '.join(by)}."
        + (f" A rollout is in progress: {progress}." if progress else state),
        remedy="Wait for the rollout to finish (kubectl rollout status)."
        if progress
        else "Bring all components to one version: apply that version's whole manifest, or let the operator do it; "
        "restart calico-node where a pod still runs an old image.",
        evidence=[
            Rows.of(
                _evidence(str(by)), "health.versions", [{"component": r.component, "node": r.node} for r in records(g)]
            )
            for by, g in compared.groupby("by")
        ],
    )


def _mixed(versions: pd.DataFrame, nameless: pd.Series[bool]) -> set[str]:
    """The ways of telling by which some are releases and others builds of which none is known."""
    releases = versions[~nameless & ~versions["version"].str.contains("-0.dev", regex=False)]
    return set(releases["by"]) & set(versions[nameless]["by"])


def _places(versions: pd.DataFrame) -> Iterator[str]:
    """What is of a version: components, and the nodes where a component is not the same everywhere."""
    for (component, by), rows in versions.groupby(["component", "by"]):
        nodes = sorted(set(rows["node"].dropna()))
        where = f" on {listed(nodes)}" if nodes and component in ("calico-node", "cni") else ""
        what = "ClusterInformation" if component == "cluster" else f"{component}{where}"
        yield what + (" (its log)" if by == "log" else "")


def _evidence(by: str) -> str:
    return {"image": "pods", "log": "felix-log"}.get(by, "clusterinformations")

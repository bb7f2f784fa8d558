"""Calico's kinds: which the API server serves, which components were refused, and whether Calico's own API answers.

Which kinds there are since when: libcalico-go/config/crd and api/config/crd per tag. A component that
asks for a kind that is not there says so in its log, and so does one that may not read it: the API server's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calicokit.evidence.catalog import CATALOG
from calicokit.evidence.model import Evidence
from calicokit.evidence.objects import Object, Objects, spec
from calicokit.evidence.own_pods import NODE_APPS, Home
from calicokit.evidence.texts import Texts
from calicokit.kube.tables import EVIDENCE
from calicokit.logs.bursts import goes_on
from calicokit.logs.lines import LOGS
from calicokit.registry import Given, Spared, UnseenError, not_applicable, table
from calicokit.schema import Column, Schema, cells

V1, V3 = "crd.projectcalico.org", "projectcalico.org"


@dataclass(frozen=True)
class Kind:
    """One of Calico's kinds; ``since`` is the minor version of Calico 3 that brought it."""

    kind: str
    plural: str
    since: int = 0
    v3_plural: str = ""


KINDS = (
    Kind("BGPConfiguration", "bgpconfigurations"),
    Kind("BGPFilter", "bgpfilters", 26),
    Kind("BGPPeer", "bgppeers"),
    Kind("BlockAffinity", "blockaffinities"),
    Kind("CalicoNodeStatus", "caliconodestatuses", 21),
    Kind("ClusterInformation", "clusterinformations"),
    Kind("FelixConfiguration", "felixconfigurations"),
    Kind("GlobalNetworkPolicy", "globalnetworkpolicies"),
    Kind("GlobalNetworkSet", "globalnetworksets"),
    Kind("HostEndpoint", "hostendpoints"),
    Kind("IPAMBlock", "ipamblocks"),
    Kind("IPAMConfig", "ipamconfigs", v3_plural="ipamconfigurations"),
    Kind("IPAMHandle", "ipamhandles"),
    Kind("IPPool", "ippools"),
    Kind("IPReservation", "ipreservations", 21),
    Kind("KubeControllersConfiguration", "kubecontrollersconfigurations"),
    Kind("NetworkPolicy", "networkpolicies"),
    Kind("NetworkSet", "networksets"),
    Kind("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", 30),
    Kind("StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", 30),
    Kind("StagedNetworkPolicy", "stagednetworkpolicies", 30),
    Kind("Tier", "tiers", 29),
)
BY_PLURAL = {plural: k for k in KINDS for plural in (k.plural, k.v3_plural) if plural}
"""As components and the API server name them, in small letters."""

SERVED = Schema(
    "health.kinds",
    "Calico's kinds, and whether the API server serves them.",
    (
        Column("kind", "str", "kind"),
        Column("plural", "str", "its name in the API"),
        Column("group", "str", "API group of Calico's objects"),
        Column("since", "str", "Calico version that introduced it; null: before v3.20"),
        Column("served", "bool", "whether it is served in that group"),
        EVIDENCE,
    ),
    key=("kind",),
)

REFUSALS = Schema(
    "health.refusals",
    "API requests of Calico's components that the API server denied, from their logs.",
    (
        Column("component", "str", "component that logged it"),
        Column("node", "str", "node; null for a component of the cluster"),
        Column("why", "str", "forbidden, or missing: the API server has no such kind"),
        Column("kind", "str", "kind; the plural where it is none of Calico's"),
        Column("group", "str", "API group, empty for Kubernetes' core"),
        Column("verb", "str", "get, list, watch, create, …"),
        Column("user", "str", "user or service account that was denied"),
        Column("count", "int", "lines", "lines"),
        Column("first", "time", "first"),
        Column("last", "time", "last"),
        Column("still", "bool", "still occurring"),
        Column("error", "str", "last such error"),
        EVIDENCE,
    ),
)

APIS = Schema(
    "health.apis",
    "Aggregated APIs of Calico: projectcalico.org/v3.",
    (
        Column("api", "str", "group and version"),
        Column("available", "bool", "whether it answers"),
        Column("service", "str", "NS/SERVICE behind it; null where known from discovery only"),
        Column("why", "str", "why it does not answer, as Kubernetes reports it"),
        Column("since", "time", "since when"),
        EVIDENCE,
    ),
    key=("api",),
)


# ---- kinds

_INCOMPLETE = re.compile(r"(?P<api>(?:[\w.-]{1,100}\.)?projectcalico\.org/v\w{1,20}): (?P<why>[^,\n]{1,300})")


@table(SERVED, needs={"resources": "api-resources", "home": "health.home"}, wants={"pods": "pods"})
def kinds(resources: Texts, home: Home, pods: Objects | None = None) -> pd.DataFrame:
    """One row for each kind; see :data:`SERVED`. No rows where Calico keeps no objects in the API server."""
    (text,) = list(resources)[:1]
    lost = {match["api"].split("/")[0] for match in _INCOMPLETE.finditer(text.stderr)}
    served = _served(text.decode())
    if V1 in lost or not served[""]:
        raise UnseenError(f"discovery was incomplete:  {text.stderr.strip()[:200] or 'it lists no Kubernetes kind'}")
    group = V1 if served[V1] or not served[V3] & {"ipamblocks", "ipamhandles"} else V3
    if not served[group] and not (pods is not None and any(pods.rows(lambda item: _keeps_objects(item, home)))):
        return SERVED.frame()
    rows = []
    for kind in KINDS:
        plural = kind.v3_plural if group == V3 and kind.v3_plural else kind.plural
        since = f"v3.{kind.since}" if kind.since else None
        named = {"kind": kind.kind, "plural": plural, "group": group, "since": since}
        rows.append({**named, "served": plural in served[group], "evidence": text.ref})
    return SERVED.frame(rows)


def _keeps_objects(item: Object, home: Home) -> bool:
    """Whether this is a pod of calico-node's that says that its datastore is Kubernetes."""
    variables = [e for c in spec(item).get("containers") or [] for e in c.get("env") or []]
    return home.app(item) in NODE_APPS and {"name": "DATASTORE_TYPE", "value": "kubernetes"} in variables


def _served(text: str) -> dict[str, set[str]]:
    """Plurals in each of Calico's groups, with the version (APIVERSION) or, from old kubectls, without (APIGROUP).

    Under an empty name pods, of which every API server tells.
    """
    found: dict[str, set[str]] = {"": set(), V1: set(), V3: set()}
    for words in map(str.split, text.splitlines()):
        for word in words[1:]:
            group = word.partition("/")[0]
            if group in found:
                found[group].add(words[0])
        if words[:1] == ["pods"]:
            found[""].add("pods")
    return found


# ---- what components were refused

_SIGNS = (b"is forbidden: User", b"could not find the requested resource", b"Backing API ")
_FORBIDDEN = re.compile(
    r'is forbidden: User "(?P<user>[^"]{1,200})" cannot (?P<verb>\w{1,20}) resource "(?P<plural>[^"]{1,100})" '
    r'in API group "(?P<group>[^"]{0,100})"'
)
_NOT_FOUND = re.compile(
    r"could not find the requested resource \((?P<verb>\w{1,20}) (?P<plural>\w{1,100})\.(?P<group>[\w.-]{1,100})"
)
_ABSENT = re.compile(r'ListRoot="?[^" ]{0,200}/(?P<plural>[a-z]{1,100})(?:"| |$)')
ANONYMOUS = "system:anonymous"
_INSTALLED = "Backing API has been installed"


@table(REFUSALS, any_of={"logs": tuple(i for i, of in LOGS.items() if of != "bird")}, wants={"now": "@now"})
def refusals(logs: Given, now: pd.Timestamp | None) -> pd.DataFrame:
    """One row for each component, node and refusal; see :data:`REFUSALS`."""
    rows: list[dict[str, Any]] = []
    for texts in filter(None, logs.values()):
        few = [e for e in texts if any(sign in e.text for sign in _SIGNS)]
        for log in Texts(texts.id, few, texts.problems).frames(CATALOG[texts.id].parser):
            rows += _refused(log, LOGS[texts.id], now)
    return REFUSALS.frame(rows)


def _refused(log: pd.DataFrame, component: str, now: pd.Timestamp | None) -> Iterator[dict[str, Any]]:
    """The refusals of one log, each once with its last line."""
    found: dict[tuple[str, ...], list[tuple[pd.Timestamp, str]]] = {}
    for time, message, fields, error in cells(log, "time", "message", "fields", "error"):
        text = " ".join(t for t in (message, fields) if isinstance(t, str)).replace('\\"', '"')
        if _INSTALLED in text and (absent := _ABSENT.search(text)):
            found.pop(("missing", absent["plural"], "", "list", ""), None)
        elif (key := _refusal(text)) is not None:
            found.setdefault(key, []).append((time, error if isinstance(error, str) else text))
    until = log["time"].max()
    for (why, plural, group, verb, user), lines in found.items():
        times = pd.Series([t for t, _ in lines]).dropna().sort_values()
        if not len(times):
            continue
        pause = times.diff().median()
        still = goes_on(times.iloc[-1], pd.Timedelta(0) if pd.isna(pause) else pause, until, now)
        yield {
            "component": component,
            "node": log["node"].iloc[0] if isinstance(log["node"].iloc[0], str) else None,
            "why": why,
            "kind": BY_PLURAL[plural].kind if plural in BY_PLURAL else plural,
            "group": group,
            "verb": verb,
            "user": user or None,
            "count": len(lines),
            "first": times.iloc[0],
            "last": times.iloc[-1],
            # Felix says once that a kind is not there, and asks for it again after a long while.
            "still": True if why == "missing" and "Backing API" in lines[-1][1] else still,
            "error": lines[-1][1],
            "evidence": log["evidence"].iloc[0],
        }


def _refusal(text: str) -> tuple[str, ...] | None:
    """Why, plural, group, verb and user of a refusal; None for other lines and for kinds that Calico does not need."""
    if match := _FORBIDDEN.search(text):
        known = match["user"] != ANONYMOUS  # else it is the credentials that the API server does not take
        refused = "forbidden", match["plural"].lower(), match["group"], match["verb"], match["user"]
        return refused if known else None
    if match := _NOT_FOUND.search(text):
        plural, verb = match["plural"].lower(), match["verb"]
        return ("missing", plural, match["group"].split(" ")[0], verb, "") if plural in BY_PLURAL else None
    if "Backing API" in text and (match := _ABSENT.search(text)):
        return ("missing", match["plural"], "", "list", "") if match["plural"] in BY_PLURAL else None
    return None


# ---- Calico's API server


@table(APIS, any_of={"resources": "api-resources", "services": "apiservices"})
def apis(resources: Texts | None, services: Objects | None) -> pd.DataFrame:
    """One row for each such API; see :data:`APIS`."""
    listed: list[Any] = services.frame(APIS, _api).to_dict("records") if services else []
    rows = {row["api"]: row for row in listed}
    for text in resources or ():
        for api, why in _unanswered(text):
            known = rows.setdefault(api, {"api": api, "evidence": text.ref})
            known["available"] = False
            known["why"] = known["why"] if isinstance(known.get("why"), str) else why
    return APIS.frame([{k: None if v is pd.NaT else v for k, v in r.items()} for r in rows.values()])


def _api(item: Object) -> list[Object]:
    """The row of an APIService of Calico's that has a Service behind it; CRDs are served by Kubernetes itself."""
    body = spec(item)
    service = body.get("service")
    if body.get("group") != V3 or not service:
        return []
    conditions = (item.get("status") or {}).get("conditions") or []
    available: Object = next((c for c in conditions if c.get("type") == "Available"), {})
    down = available.get("status") == "False"
    why = ": ".join(t for t in (available.get("reason"), available.get("message")) if t)
    return [
        {
            "api": f"{V3}/{body['version']}",
            "available": {"True": True, "False": False}.get(available.get("status", "")),
            "service": f"{service['namespace']}/{service['name']}",
            "why": why if down else None,
            "since": available.get("lastTransitionTime") if down else None,
        }
    ]


def _unanswered(text: Evidence) -> Iterator[tuple[str, str]]:
    """Groups of Calico's that discovery could not reach: kubectl's words on standard error."""
    for match in _INCOMPLETE.finditer(text.stderr):
        if match["api"].startswith(V3):
            yield match["api"], match["why"].strip().strip('"')


@not_applicable(needs={"_": "health.kinds"})
def _listed(_: pd.DataFrame) -> Spared:
    """Where the kinds that are served are known, so is whether their servers answer."""
    yield "apiservices", None

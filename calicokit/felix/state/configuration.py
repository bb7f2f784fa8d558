"""Felix's effective configuration on each node: field by field, with its value and origin.

Felix takes each field from the first of: its environment (``FELIX_…``), its configuration file, FelixConfiguration
``node.NODE``, the oldest FelixConfiguration whose nodeSelector selects the node (since v3.33), FelixConfiguration
``default``, its own default. At each start it logs what it took from where; that beats what is worked out here, as the
environment may come from elsewhere and the newest settings may not have arrived.

Facts: felix/config/config_params.go, felix/daemon/daemon.go, libcalico-go's updateprocessors; defaults: defaults.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from calicokit.durations import WHOLE, go_duration
from calicokit.evidence.objects import Object, Objects, labels, spec
from calicokit.evidence.own_pods import Home
from calicokit.health.home import settled
from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, cells
from calicokit.selectors import SelectorError
from calicokit.selectors import parse as selector

CONFIGURATION = Schema(
    "felix.configuration",
    "Effective Felix configuration on each node: every field that is set, and the defaults that matter.",
    (
        Column("node", "str", "node"),
        Column("field", "str", "field, as spelled in FelixConfiguration where it exists there"),
        Column("value", "str", "effective value; true and false for switches; null for none"),
        Column(
            "origin", "str", "environment, config file, override, FelixConfiguration NAME, another object, or default"
        ),
        Column("said_by", "str", "felix: logged at its last start; settings: derived from the objects and environment"),
        Column("settings", "str", "value derived from the settings, where Felix logged another"),
    ),
    key=("node", "field"),
)

SETTINGS = Schema(
    "felix.settings",
    "Effective non-default values, each once with its nodes; and settings that Felix did not apply.",
    (
        Column("field", "str", "field"),
        Column("value", "str", "effective value"),
        Column("origin", "str", "as in felix.configuration"),
        Column("nodes", "list", "nodes with this value"),
        Column("said_by", "str", "felix or settings, as in felix.configuration; both where nodes differ only in that"),
        Column("settings", "str", "value derived from the settings instead"),
    ),
)

DEFAULT = "default"
OF_NODE = "node."
OBJECT = "FelixConfiguration "
ORIGINS = {
    "internal override": "override",
    "environment variable": "environment",
    "config file": "config file",
    "datastore (per-host)": OBJECT + OF_NODE,
    "datastore (per-node-selector)": OBJECT,
    "datastore (global)": OBJECT + "default",
}
"""Felix's word for a source → the origin; the first that has a field wins."""
ELSEWHERE = {
    **dict.fromkeys(("clusterGUID", "clusterType", "calicoVersion"), "ClusterInformation"),
    **dict.fromkeys(("ipInIpTunnelAddr", "iPv4VXLANTunnelAddr", "iPv6VXLANTunnelAddr"), "Node"),
    **dict.fromkeys(("vXLANTunnelMACAddr", "vXLANTunnelMACAddrV6"), "Node"),
}
"""Fields that Felix takes from other objects, and says that they are of the datastore."""
ALIASES = {
    **{
        name.lower() + "secs": name
        for name in (
            *("reportingInterval", "reportingTTL", "iptablesPostWriteCheckInterval", "netlinkTimeout"),
            *("endpointReportingDelay", "usageReportingInterval", "usageReportingInitialDelay"),
        )
    },
    "iptableslockprobeintervalmillis": "iptablesLockProbeInterval",
    "ipinipenabled": "ipipEnabled",
    "ipinipmtu": "ipipMTU",
}
"""Felix's name of a field, in small letters → FelixConfiguration's, where they differ by more than case."""

_PARSED = re.compile(r"Pars(ed|ing) value for (\S+): (.*) \(from ([a-z()\- ]+)\)", re.DOTALL)
_VERSION = re.compile(r'version="?(v\d+\.\d+)')
_OPAQUE = ("[", "{", "map[", "0x", "<", "&", "^")
"""How Go prints what is no plain value; then the words that Felix was given are shown."""

Setting = tuple[str, str]
"""Value and origin."""

DISABLING = "Disabling BPF mode"
"""What Felix logs where its kernel cannot run eBPF; then it overrides the field (felix/daemon/daemon.go)."""
OVERRIDE = ("false", "false", "internal override")


@cache
def _known() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "defaults.toml").read_text(encoding="utf-8"))


@cache
def defaults_of(version: str | None = None) -> dict[str, str]:
    """Felix's own defaults in a version such as ``v3.28.5``; in the newest where it is not known.

    >>> defaults_of("v3.26.1")["iptablesRefreshInterval"], defaults_of()["iptablesRefreshInterval"]
    ('90s', '180s')
    >>> "nftablesMode" in defaults_of("v3.28.5")
    False
    """
    at = _number(version) if version else (99, 0)
    found = {}
    for name, by_version in _known()["defaults"].items():
        known = [value for since, value in by_version.items() if since == "v3.26" or _number(since) <= at]
        if known:
            found[name] = known[-1]
    return found


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


@cache
def _spellings() -> dict[str, str]:
    return {name.lower(): name for name in (*_known()["defaults"], *_known()["others"])} | ALIASES


def spelled(name: str) -> str:
    """A field's name as FelixConfiguration spells it, from Felix's own or an environment variable's.

    >>> spelled("IptablesPostWriteCheckIntervalSecs"), spelled("BPFENABLED"), spelled("TyphaAddr")
    ('iptablesPostWriteCheckInterval', 'bpfEnabled', 'typhaAddr')
    """
    small = name.lower()
    return _spellings().get(small) or name[:1].lower() + name[1:]


def same(one: str, other: str) -> bool:
    """Whether two ways to write a value mean the same.

    >>> same("90s", "1m30s"), same("Info", "INFO"), same("90", "90s"), same("none", ""), same("true", "false")
    (True, True, True, True, False)
    """
    return _plain(one) == _plain(other)


def _plain(value: str) -> str | float:
    small = value.strip().lower()
    time = seconds(small)
    return time if time is not None else "" if small == "none" else small


def seconds(value: str) -> float | None:
    """A duration as the API, Go or an environment variable write it, in seconds; None for what is no number.

    >>> seconds("1m30s"), seconds("90"), seconds("50ms"), seconds("Info")
    (90.0, 90.0, 0.05, None)
    """
    small = value.strip().lower()
    if WHOLE.fullmatch(small):
        return go_duration(small)
    try:
        return float(small)
    except ValueError:
        return None


# ---- what is set


@dataclass
class _Set:
    """What the settings that were seen say."""

    objects: dict[str, dict[str, str]] = field(default_factory=dict)  # name → field → value
    scoped: list[tuple[str, Any]] = field(default_factory=list)  # name and selector, the oldest first
    environments: dict[str, dict[str, str]] = field(default_factory=dict)  # node → field → value
    common: dict[str, str] = field(default_factory=dict)  # the DaemonSet's environment

    def of(self, node: str, node_labels: Mapping[str, str]) -> dict[str, Setting]:
        """Field → value and origin on a node."""
        found: dict[str, Setting] = {}
        names = [DEFAULT, *self._selected(node_labels), OF_NODE + node]
        for name in names:
            for key, value in self.objects.get(name, {}).items():
                found[key] = (value, OBJECT + name)
        for key, value in self.environments.get(node, self.common).items():
            if value:
                found[key] = (value, "environment")
        return found

    def _selected(self, node_labels: Mapping[str, str]) -> list[str]:
        return [name for name, wanted in self.scoped if wanted.matches(node_labels)][:1]


def _settings(
    felix: Objects, home: Home, daemonsets: Objects | None, pods: Objects | None, maps: Objects | None
) -> _Set:
    found = _Set()
    scoped = []
    for name, created, wanted, values in felix.rows(_object):
        found.objects[name] = values
        if wanted and name != DEFAULT and not name.startswith(OF_NODE):
            try:
                scoped.append((created, name, selector(wanted)))
            except SelectorError:
                continue  # Felix leaves it out, and says so
    found.scoped = [(name, wanted) for _, name, wanted in sorted(scoped, key=lambda s: s[:2])]
    data: dict[str, Object] = {}
    for item in maps.rows(dict) if maps else ():
        if home.has(item):
            data[item["metadata"]["name"]] = item.get("data") or {}
    for _, given in daemonsets.rows(lambda i: _environment(home.has(i), _template(i), data)) if daemonsets else ():
        found.common.update(given)
    for node, given in pods.rows(lambda i: _environment(bool(home.app(i)), spec(i), data)) if pods else ():
        if node and given:
            found.environments[node] = given
    return found


def _object(item: Object) -> tuple[str, str, str, dict[str, str]]:
    meta, body = item["metadata"], spec(item)
    values = {spelled(k): _text(v) for k, v in body.items() if k != "nodeSelector" and v not in ("", None)}
    return meta["name"], str(meta.get("creationTimestamp") or ""), body.get("nodeSelector") or "", values


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _template(item: Object) -> Object:
    return (spec(item).get("template") or {}).get("spec") or {}


def _environment(own: bool, body: Object, maps: Mapping[str, Object]) -> tuple[str, dict[str, str]]:
    """Node (of a pod) and Felix's fields in the environment of calico-node; values that are not known are left out.

    ``own`` says whether it is Calico's at all.
    """
    found: dict[str, str] = {}
    for container in body.get("containers") or []:
        if not own or container.get("name") != "calico-node":
            continue
        for variable in container.get("env") or []:
            if variable["name"].upper().startswith("FELIX_"):
                ref = (variable.get("valueFrom") or {}).get("configMapKeyRef") or {}
                value = variable.get("value") or maps.get(ref.get("name", ""), {}).get(ref.get("key", ""))
                if value:
                    found[spelled(variable["name"][len("FELIX_") :])] = str(value)
    return body.get("nodeName") or "", found


# ---- what Felix says


def _said(log: pd.DataFrame, runs: pd.DataFrame) -> dict[str, tuple[bool, dict[str, tuple[str, str, str]]]]:
    """Node → whether all was logged, and field → value, words that it was given, and source, of its last run."""
    last = runs.drop_duplicates("node", keep="last")
    since = {n: (t, s) for n, t, s in cells(last, "node", "first", "started")}
    found: dict[str, tuple[bool, dict[str, tuple[str, str, str]]]] = {}
    words = log["message"].fillna("")
    lines = log[((log["file"] == "config_params.go") & words.str.startswith("Pars")) | words.str.contains(DISABLING)]
    ranks = {source: rank for rank, source in enumerate(ORIGINS)}
    for node, time, message, more in cells(lines, "node", "time", "message", "fields"):
        start, whole = since.get(node, (time, False))
        if DISABLING in message and time >= start:
            found.setdefault(node, (whole, {}))[1]["bpfEnabled"] = OVERRIDE
        match = _PARSED.match(f"{message} {more}" if isinstance(more, str) else message)
        if match is None or match[4] not in ranks or time < start:
            continue
        values = found.setdefault(node, (whole, {}))[1]
        key, source = spelled(match[2]), match[4]
        before = values.get(key)
        if before is not None and ranks[before[2]] < ranks[source]:
            continue  # what comes first has it already
        raw = match[3] if match[1] == "ing" else (before[1] if before else match[3])
        values[key] = (match[3] if match[1] == "ed" else raw, raw, source)
    return found


def _versions(log: pd.DataFrame | None, pods: pd.DataFrame | None) -> dict[str, str]:
    """Node → Felix's version: as it says itself, else its pod's image."""
    found: dict[str, str] = {}
    if pods is not None:
        ours = pods[(pods["component"] == "calico-node") & pods["version"].notna() & pods["node"].notna()]
        found.update(cells(ours, "node", "version"))
    if log is not None:
        starts = log[log["message"].fillna("").str.startswith("Felix starting up") & log["fields"].notna()]
        for node, fields in cells(starts, "node", "fields"):
            if match := _VERSION.search(fields):
                found[node] = match[1]
    return found


# ---- in force


@table(
    CONFIGURATION,
    needs={"felix": "felixconfigurations", "home": "health.home"},
    wants={
        "nodes": "nodes",
        "daemonsets": "daemonsets",
        "pods": "pods",
        "configmaps": "configmaps",
        "calico": "health.pods",
        "log": "output.felix_log",
        "runs": "felix.runs",
    },
)
def configuration(
    felix: Objects,
    home: Home,
    nodes: Objects | None = None,
    daemonsets: Objects | None = None,
    pods: Objects | None = None,
    configmaps: Objects | None = None,
    calico: pd.DataFrame | None = None,
    log: pd.DataFrame | None = None,
    runs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each node and field; see :data:`CONFIGURATION`."""
    settings = _settings(felix, settled(home), daemonsets, pods, configmaps)
    said = _said(log, runs) if log is not None and runs is not None else {}
    versions = _versions(log, calico)
    rows: list[dict[str, Any]] = []
    listed = {} if nodes is None else dict(nodes.rows(lambda item: (item["metadata"]["name"], labels(item))))
    running = {} if calico is None else _running(calico)
    if nodes is None and not running:
        raise UnseenError(names=["nodes"])
    for node, node_labels in (running | listed).items():
        whole, told = said.get(node, (False, {}))
        own = defaults_of(versions.get(node))
        rows += _in_force(node, own, settings.of(node, node_labels), told, whole)
    return CONFIGURATION.frame(rows)


def _running(calico: pd.DataFrame) -> dict[str, Mapping[str, str]]:
    """The nodes of calico-node's pods, without labels: one that the list of nodes lacks runs as the others do."""
    own = calico[(calico["component"] == "calico-node") & calico["node"].notna()]
    return {node: {} for node in own["node"]}


def _in_force(
    node: str,
    own: Mapping[str, str],
    settings: Mapping[str, Setting],
    told: Mapping[str, tuple[str, str, str]],
    whole: bool,
) -> Iterator[dict[str, Any]]:
    for name in sorted({*own, *settings, *told}):
        row: dict[str, Any] = {"node": node, "field": name}
        value, origin = settings.get(name, (own.get(name), DEFAULT))
        if name in told:
            parsed, raw, source = told[name]
            shown = raw if parsed.startswith(_OPAQUE) else parsed
            differs = not _agrees(value, (parsed, raw))
            yield row | {
                "value": shown or None,
                "origin": _origin(name, source, node),
                "said_by": "felix",
                "settings": f"{value} ({origin})" if differs and value is not None else None,
            }
        elif whole and origin != DEFAULT:
            instead = own.get(name)
            differs = instead is None or not _agrees(value, (instead,))
            yield row | {
                "value": instead,
                "origin": DEFAULT,
                "said_by": "felix",
                "settings": f"{value} ({origin})" if differs else None,
            }
        else:
            yield row | {"value": value, "origin": origin, "said_by": "felix" if whole else "settings"}


def _origin(name: str, source: str, node: str) -> str:
    if source.startswith("datastore") and name in ELSEWHERE:
        return ELSEWHERE[name]
    origin = ORIGINS[source]
    return origin + node if origin.endswith(OF_NODE) else origin.strip()


def _agrees(value: str | None, others: Iterable[str]) -> bool:
    """Whether a setting is one of these; of a list or map, which Felix writes in its own way, nobody can tell."""
    return value is not None and (value.startswith(("[", "{")) or any(same(value, other) for other in others))


@table(SETTINGS, needs={"configuration": "felix.configuration"})
def settings(configuration: pd.DataFrame) -> pd.DataFrame:
    """One row for each field, value and origin that some node has; see :data:`SETTINGS`."""
    own = configuration[(configuration["origin"] != DEFAULT) | configuration["settings"].notna()]
    rows = []
    for (name, value, origin, instead), group in own.groupby(["field", "value", "origin", "settings"], dropna=False):
        whose = {"field": name, "value": _known_text(value), "origin": origin, "settings": _known_text(instead)}
        rows.append(whose | {"nodes": group["node"].tolist(), "said_by": " and ".join(sorted(set(group["said_by"])))})
    return SETTINGS.frame(rows)


def _known_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def in_ebpf(configuration: pd.DataFrame | None) -> set[str]:
    """The nodes whose Felix runs the eBPF dataplane; none where its configuration is not known."""
    if configuration is None:
        return set()
    return {n for n, value in in_force(configuration, "bpfEnabled").items() if value == "true"}


def asked_for_ebpf(configuration: pd.DataFrame) -> set[str]:
    """The nodes whose Felix runs the eBPF dataplane, or is told to."""
    own = configuration[configuration["field"] == "bpfEnabled"]
    told = {n for n, said in cells(own, "node", "settings") if isinstance(said, str) and said.startswith("true")}
    return in_ebpf(configuration) | told


def in_force(configuration: pd.DataFrame, name: str) -> dict[str, str]:
    """Node → the value of a field that is in force there; nodes on which it has none are left out."""
    own = configuration[configuration["field"] == name]
    return {n: v for n, v in cells(own, "node", "value") if isinstance(v, str)}

"""From API lists to :class:`~calicokit.policy.model.Parts`: everything that policy rests on, read once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from calicokit.evidence.model import ODD_SHAPE, PartlyRead
from calicokit.evidence.objects import Object, Objects, calico_metadata, labels, spec
from calicokit.evidence.own_pods import Home
from calicokit.kube.tables import (
    CALICO,
    FINISHED,
    TUNNELS,
    interface_name,
    pod_addresses,
    pod_has_ended,
    workload_of,
)
from calicokit.net import VXLAN_PORT, Prefix, canonical_address, prefix
from calicokit.policy.convert import POLICY_KINDS, names_of, policy_of, protocol
from calicokit.policy.model import (
    ACCOUNT_PREFIX,
    ACCOUNT_PROFILE,
    DEFAULT_TIER,
    NAMESPACE,
    NAMESPACE_PREFIX,
    NAMESPACE_PROFILE,
    ORCHESTRATOR,
    SERVICE_ACCOUNT,
    Backend,
    Endpoint,
    Failsafe,
    HostRules,
    Idle,
    NamedPort,
    NetworkSet,
    Node,
    Parts,
    Policy,
    Pool,
    Service,
    ServicePort,
    Tier,
)
from calicokit.selectors import SelectorError, parse

LISTS = (
    *POLICY_KINDS,
    *("tiers", "pods", "namespaces", "serviceaccounts", "globalnetworksets", "networksets", "hostendpoints"),
    *("nodes", "services", "endpointslices", "ippools", "felixconfigurations", "daemonsets"),
)
"""The API lists that policy rests on."""

SERVICE_NAME = "kubernetes.io/service-name"
BUILT_IN_TIERS = {
    DEFAULT_TIER: (1_000_000.0, True),
    "kube-admin": (1_000.0, False),
    "kube-baseline": (10_000_000.0, False),
    "adminnetworkpolicy": (1_000.0, False),
    "baselineadminnetworkpolicy": (10_000_000.0, False),
}
"""Calico's own tiers: order, and whether their end denies (api/pkg/apis/projectcalico/v3/tier.go, v3.29 to HEAD)."""

FAILSAFE_IN = (*(("tcp", p) for p in (22, 179, 2379, 2380, 5473, 6443, 6666, 6667)), ("udp", 68))
FAILSAFE_OUT = (*(("tcp", p) for p in (179, 2379, 2380, 5473, 6443, 6666, 6667)), ("udp", 53), ("udp", 67))
"""Felix's defaults, v3.22 to HEAD (felix/config/config_params.go)."""

HOST_ACTION = "FELIX_DEFAULTENDPOINTTOHOSTACTION"
IN_PORTS, OUT_PORTS = "FELIX_FAILSAFEINBOUNDHOSTPORTS", "FELIX_FAILSAFEOUTBOUNDHOSTPORTS"
MOST_NAMED = 5
Lists = Mapping[str, Objects | None]
New = Mapping[str, list[Object]]
"""Id of a list → objects that do not exist yet, or not so."""


@dataclass(frozen=True)
class Inputs:
    """The lists, Calico's version where it is known, where Calico itself is, and the nodes in eBPF mode.

    Where ``bpf`` is None, FelixConfiguration tells it of all nodes.
    """

    lists: Lists
    version: str | None = None
    home: Home = field(default_factory=Home)
    bpf: frozenset[str] | None = None

    def parts(self, new: New | None = None) -> Parts:
        """Everything that policy rests on, as it is, or as it would be with the new objects."""
        made = _parts_of(Reader(self.lists, new or {}, self.home), self.version)
        return made if self.bpf is None else replace(made, bpf=self.bpf)


@dataclass
class Reader:
    """Reads the lists. ``new`` are objects that do not exist yet (what if): they replace or join those that do."""

    lists: Lists
    new: New = field(default_factory=dict)
    home: Home = field(default_factory=Home)

    def objects(self, id: str) -> Iterator[tuple[Object, str, str, bool]]:  # noqa: A002
        """Object, its API group, where it was read, and whether it is new."""
        fresh = {_key(item): item for item in self.new.get(id, ())}
        listed = self.lists.get(id)
        if listed is not None:
            for item, key in listed.rows(lambda item: (item, _key(item))):
                if key not in fresh and (not fresh or _shown_key(id, item, listed.group) not in fresh):
                    yield item, listed.group, listed.ref, False
        for item in fresh.values():
            yield item, str(item.get("apiVersion") or ""), "given", True

    def read(self, id: str, convert: Callable[[Object], Any]) -> Iterator[Any]:  # noqa: A002
        """What ``convert`` makes of each object; those it cannot read are noted with their list."""
        for item, *_ in self.objects(id):
            try:
                yield convert(item)
            except ODD_SHAPE as error:
                if (listed := self.lists.get(id)) is not None:
                    listed.reject(item, error)

    def missing(self) -> frozenset[str]:
        """The lists that are not known."""
        return frozenset(i for i in LISTS if self.lists.get(i) is None and not self.new.get(i))


def _key(item: Object) -> tuple[str, str]:
    meta = item.get("metadata") or {}
    return str(meta.get("namespace") or ""), str(meta.get("name") or "")


def _shown_key(id: str, item: Object, group: str) -> tuple[str, str]:  # noqa: A002
    """Namespace and name as the API v3 shows them."""
    namespace, name = _key(item)
    if id not in POLICY_KINDS:
        return namespace, name
    return namespace, names_of(item, group, str(spec(item).get("tier") or DEFAULT_TIER))[0]


def _parts_of(reader: Reader, version: str | None) -> Parts:
    policies = tuple(
        policy_of(id_, item, group, ref, fresh)
        for id_ in POLICY_KINDS
        for item, group, ref, fresh in reader.objects(id_)
    )
    inherited = Inherited.of(reader)
    pods = [p for p in reader.read("pods", lambda item: _pod(item, inherited)) if p is not None]
    refs = (p.endpoint.ref if isinstance(p, Idle) else p.ref for p in pods)
    _say_unlisted(reader, {ref.partition("/")[0] for ref in refs} - set(inherited.namespaces))
    felix = list(reader.read("felixconfigurations", lambda item: (item["metadata"]["name"], spec(item))))
    nodes = tuple(reader.read("nodes", _node))
    general = dict(felix).get("default", {})
    return Parts(
        tiers=_tiers(reader, policies),
        policies=policies,
        endpoints=(
            *(p for p in pods if isinstance(p, Endpoint)),
            *reader.read("hostendpoints", lambda item: _host_endpoint(item, inherited)),
        ),
        sets=(
            *reader.read("globalnetworksets", lambda item: _network_set(item, inherited, False)),
            *reader.read("networksets", lambda item: _network_set(item, inherited, True)),
        ),
        services=tuple(reader.read("services", _service)),
        backends=_backends(reader),
        nodes=nodes,
        pools=tuple(reader.read("ippools", _pool)),
        hosts=_hosts(dict(felix), [n.name for n in nodes], reader),
        host_pods={p.ref: (p.node, p.addresses) for p in pods if isinstance(p, _HostPod)},
        idle={p.endpoint.ref: p for p in pods if isinstance(p, Idle)},
        old_names=_old_names(version, reader),
        missing=reader.missing() - _not_needed(policies, reader),
        exclude_hosts=general.get("natOutgoingExclusions") == "IPPoolsAndHostIPs",
        bpf=frozenset(n.name for n in nodes if general.get("bpfEnabled", False)),
    )


def _say_unlisted(reader: Reader, namespaces: set[str]) -> None:
    """Every pod's namespace exists: a list without it is not whole, and what it would tell is not known."""
    listed = reader.lists.get("namespaces")
    if listed is not None and namespaces:
        why = f"the list lacks {', '.join(sorted(namespaces)[:MOST_NAMED])}, of which there are pods"
        listed.problems.append(PartlyRead(listed.id, why))


def _not_needed(policies: Iterable[Policy], reader: Reader) -> frozenset[str]:
    """Lists whose labels no selector asks for: whatever is in them, every answer is the same."""
    missing = reader.missing()
    lists = {"namespaces": NAMESPACE_PREFIX, "serviceaccounts": ACCOUNT_PREFIX}
    if not missing & set(lists) or any(p.problem for p in policies):
        return frozenset()
    try:
        keys = set[str]().union(*(parse(s).keys() for p in policies for s in _selectors(p)))
    except SelectorError:
        return frozenset()
    return frozenset(i for i, start in lists.items() if not any(k.startswith(start) for k in keys))


def _selectors(policy: Policy) -> Iterator[str]:
    yield policy.selector
    for rule in (*policy.ingress, *policy.egress):
        for side in (rule.source, rule.destination):
            yield from (s for s in (side.selector, side.not_selector) if s)


def _old_names(version: str | None, reader: Reader) -> bool | None:
    """Calico up to v3.31 sorts by stored names; its version, or the tiers that only some versions have, tell."""
    numbers = (version or "").removeprefix("v").split(".")
    if len(numbers) > 1 and numbers[0].isdigit() and numbers[1].isdigit():
        return (int(numbers[0]), int(numbers[1])) <= (3, 31)
    tiers = {item["metadata"]["name"] for item, *_ in reader.objects("tiers")}
    if "kube-admin" in tiers:
        return False
    return True if "adminnetworkpolicy" in tiers else None


def _tiers(reader: Reader, policies: Iterable[Policy]) -> tuple[Tier, ...]:
    """The tiers in Felix's order; where they are not known, only Calico's own are."""
    found = {t.name: t for t in reader.read("tiers", _tier)}
    if reader.lists.get("tiers") is None:
        found |= {n: Tier(n, order, denies) for n, (order, denies) in BUILT_IN_TIERS.items() if n not in found}
    elif DEFAULT_TIER not in found:  # a version without tiers
        found[DEFAULT_TIER] = Tier(DEFAULT_TIER, *BUILT_IN_TIERS[DEFAULT_TIER])
    for name in sorted({p.tier for p in policies} - set(found)):
        found[name] = Tier(name, math.inf, True, exists=False)
    return tuple(sorted(found.values(), key=lambda t: (not t.exists, t.order, t.name)))


def _tier(item: Object) -> Tier:
    body, name = spec(item), item["metadata"]["name"]
    order = body.get("order")
    denies = str(body.get("defaultAction") or "Deny") != "Pass"
    return Tier(name, math.inf if order is None else float(order), denies)


# ---- endpoints and network sets


@dataclass(frozen=True)
class Inherited:
    """The labels that endpoints and network sets inherit from namespaces and service accounts."""

    namespaces: Mapping[str, Mapping[str, str]]
    accounts: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, reader: Reader) -> Inherited:
        return cls(
            dict(reader.read("namespaces", lambda item: (_key(item)[1], _prefixed(item, NAMESPACE_PREFIX)))),
            dict(reader.read("serviceaccounts", lambda item: (_key(item), _prefixed(item, ACCOUNT_PREFIX)))),
        )

    def labels(self, profiles: Iterable[str]) -> dict[str, str]:
        """The labels of these profiles (kns.NAMESPACE, ksa.NAMESPACE.ACCOUNT); the first that has a key wins."""
        found: dict[str, str] = {}
        for profile in profiles:
            if profile.startswith(NAMESPACE_PROFILE):
                found = {**self.namespaces.get(profile.removeprefix(NAMESPACE_PROFILE), {}), **found}
            elif profile.startswith(ACCOUNT_PROFILE):
                namespace, _, account = profile.removeprefix(ACCOUNT_PROFILE).partition(".")
                found = {**self.accounts.get((namespace, account), {}), **found}  # type: ignore[call-overload]
        return found


def _prefixed(item: Object, start: str) -> dict[str, str]:
    meta = item["metadata"]
    own = {f"{start}{k}": str(v) for k, v in (meta.get("labels") or {}).items()}
    return {**own, f"{start}{CALICO}name": meta["name"]}


@dataclass(frozen=True)
class _HostPod:
    ref: str
    node: str
    addresses: tuple[str, ...]


def _node_name(body: Object) -> str:
    """The node that it is on, empty for none; raises ``TypeError`` for what is no name."""
    node = body.get("nodeName") or ""
    if not isinstance(node, str):
        raise TypeError(f"nodeName is {type(node).__name__}")
    return node


def _pod(item: Object, inherited: Inherited) -> Endpoint | _HostPod | Idle | None:
    """A pod's endpoint; None for one of the host's network that has ended."""
    meta, status = item["metadata"], item.get("status") or {}
    if (item.get("spec") or {}).get("hostNetwork"):
        ref = f"{meta['namespace']}/{meta['name']}"
        node = _node_name(item["spec"])
        return None if status.get("phase") in FINISHED else _HostPod(ref, node, tuple(pod_addresses(item)))
    endpoint, ended = _pod_endpoint(item, inherited), pod_has_ended(item)
    if ended or not endpoint.node or not endpoint.addresses:
        why = "it has completed" if ended else "it has no address yet" if endpoint.node else "it is not scheduled"
        return Idle(replace(endpoint, addresses=()), why)
    return endpoint


def _pod_endpoint(item: Object, inherited: Inherited) -> Endpoint:
    meta, body = item["metadata"], item.get("spec") or {}
    namespace, name = meta["namespace"], meta["name"]
    account, node = body.get("serviceAccountName") or "", body.get("nodeName") or ""
    if not (isinstance(account, str) and isinstance(node, str)):
        raise TypeError("nodeName or serviceAccountName is no text")
    profiles = (NAMESPACE_PROFILE + namespace, *([f"{ACCOUNT_PROFILE}{namespace}.{account}"] if account else ()))
    own = {
        k: str(v) for k, v in (meta.get("labels") or {}).items() if not k.startswith((NAMESPACE_PREFIX, ACCOUNT_PREFIX))
    }
    own |= {NAMESPACE: namespace, ORCHESTRATOR: "k8s", **({SERVICE_ACCOUNT: account} if account else {})}
    return Endpoint(
        name=name,
        namespace=namespace,
        node=node,
        addresses=tuple(pod_addresses(item)),
        labels={**inherited.labels(profiles), **own},
        profiles=profiles,
        ports=tuple(_named_ports(body)),
        interface=interface_name(namespace, name),
        workload=f"{namespace}/{workload_of(meta)}",
        cluster_dns=(body.get("dnsPolicy") or "ClusterFirst").startswith("ClusterFirst"),
    )


def _named_ports(body: Object) -> Iterator[NamedPort]:
    for container in (*(body.get("containers") or ()), *(body.get("initContainers") or ())):
        for each in container.get("ports") or ():
            if each.get("name") and each.get("containerPort"):
                yield NamedPort(each["name"], protocol(each.get("protocol") or "TCP"), int(each["containerPort"]))


def _host_endpoint(item: Object, inherited: Inherited) -> Endpoint:
    body, name = spec(item), item["metadata"]["name"]
    profiles = tuple(body.get("profiles") or ())
    ports = (NamedPort(p["name"], protocol(p["protocol"]), int(p["port"])) for p in body.get("ports") or ())
    return Endpoint(
        name=name,
        namespace="",
        node=body["node"],
        addresses=tuple(canonical_address(a) for a in body.get("expectedIPs") or ()),
        labels={**inherited.labels(profiles), **labels(item)},
        profiles=profiles,
        ports=tuple(ports),
        host=True,
        interface=body.get("interfaceName") or "",
        workload=name,
    )


def _network_set(item: Object, inherited: Inherited, namespaced: bool) -> NetworkSet:
    meta = item["metadata"]
    namespace = meta["namespace"] if namespaced else ""
    own = labels(item)
    if namespaced:
        own = {**inherited.labels([NAMESPACE_PROFILE + namespace]), **own, NAMESPACE: namespace}
    name = calico_metadata(item).get("name") or meta["name"]
    return NetworkSet(name, namespace, tuple(_readable(spec(item).get("nets") or ())), own)


def _readable(nets: Iterable[str]) -> Iterator[Prefix]:
    """Networks that cannot be read are passed over, as Calico does."""
    for net in nets:
        try:
            yield prefix(str(net))
        except ValueError:
            continue


# ---- services


def _service(item: Object) -> Service:
    meta, body = item["metadata"], spec(item)
    balanced = ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    outside = [*(body.get("externalIPs") or ()), *(i["ip"] for i in balanced if i.get("ip"))]
    ports = (
        ServicePort(p.get("name") or "", protocol(p.get("protocol") or "TCP"), int(p["port"]), p.get("nodePort") or 0)
        for p in body.get("ports") or ()
    )
    own = body.get("clusterIPs") or [body.get("clusterIP")]
    return Service(
        name=meta["name"],
        namespace=meta["namespace"],
        type=body.get("type") or "ClusterIP",
        addresses=tuple(canonical_address(a) for a in own if a and a != "None"),
        outside=tuple(canonical_address(a) for a in outside),
        ports=tuple(ports),
        local_inside=body.get("internalTrafficPolicy") == "Local",
        local_outside=body.get("externalTrafficPolicy") == "Local",
    )


def _backends(reader: Reader) -> dict[str, tuple[Backend, ...]]:
    found: dict[str, list[Backend]] = {}
    for ref, backends in reader.read("endpointslices", _slice):
        found.setdefault(ref, []).extend(backends)
    return {ref: tuple(sorted(set(b))) for ref, b in found.items()}


def _slice(item: Object) -> tuple[str, list[Backend]]:
    meta = item["metadata"]
    ref = f"{meta['namespace']}/{(meta.get('labels') or {}).get(SERVICE_NAME) or ''}"
    if item.get("addressType") == "FQDN":
        return ref, []
    return ref, [
        Backend(
            canonical_address(address),
            protocol(port.get("protocol") or "TCP"),
            int(port["port"]),
            port.get("name") or "",
            _node_name(each),
            _state(each.get("conditions") or {}),
        )
        for each in item.get("endpoints") or ()
        for port in item.get("ports") or ()
        if port.get("port") is not None
        for address in each.get("addresses") or ()
    ]


def _state(conditions: Object) -> str:
    """As kube-proxy uses them: those that drain serve only where none is ready."""
    if conditions.get("ready") is not False:
        return "ready"
    return "draining" if conditions.get("serving") and conditions.get("terminating") else "idle"


# ---- nodes and Felix


def _node(item: Object) -> Node:
    meta, status = item["metadata"], item.get("status") or {}
    notes = meta.get("annotations") or {}
    own = [notes[k] for k in (f"{CALICO}IPv4Address", f"{CALICO}IPv6Address") if notes.get(k)]
    listed = [a["address"] for a in status.get("addresses") or () if a["type"] in ("InternalIP", "ExternalIP")]
    addresses = dict.fromkeys(canonical_address(a) for a in (*own, *listed))
    shown = _json(notes.get(f"{CALICO}Interfaces"))
    tunnels = {kind: canonical_address(notes[CALICO + k]) for k, kind in TUNNELS.items() if notes.get(CALICO + k)}
    return Node(
        name=meta["name"],
        addresses=tuple(addresses),
        subnets=tuple(prefix(a) for a in own),
        tunnels=tunnels,
        interfaces={i["name"]: tuple(i.get("addresses") or ()) for i in shown} if shown else None,
    )


def _json(text: str | None) -> list[Object]:
    try:
        found = msgspec.json.decode(text or "[]")
    except msgspec.DecodeError:
        return []
    return found if isinstance(found, list) else []


def _pool(item: Object) -> Pool:
    body = spec(item)
    return Pool(
        item["metadata"]["name"],
        prefix(body["cidr"]),
        bool(body.get("natOutgoing", False)),
        body.get("ipipMode") or "Never",
        body.get("vxlanMode") or "Never",
    )


def _hosts(felix: Mapping[str, Object], nodes: Iterable[str], reader: Reader) -> dict[str, HostRules]:
    """What Felix does with hosts on each node: environment, then the node's configuration, then the default one."""
    variables = _environment(reader)
    known = variables is not None and reader.lists.get("felixconfigurations") is not None
    own = variables or {}
    rules = {}
    for node in nodes:
        body = {**felix.get("default", {}), **felix.get(f"node.{node}", {})}
        action = own.get(HOST_ACTION) or body.get("defaultEndpointToHostAction") or ("Drop" if known else None)
        rules[node] = HostRules(
            _failsafes(own.get(IN_PORTS), body.get("failsafeInboundHostPorts"), FAILSAFE_IN),
            _failsafes(own.get(OUT_PORTS), body.get("failsafeOutboundHostPorts"), FAILSAFE_OUT),
            str(action).capitalize() if action else None,
            bool(body.get("allowVXLANPacketsFromWorkloads", False)),
            int(body.get("vxlanPort") or VXLAN_PORT),
        )
    return rules


def _port_list(text: str) -> list[Object]:
    """The ports of an environment variable, ``PROTOCOL:NET:PORT`` each (felix/config/param_types.go)."""
    if text.lower() == "none":
        return []
    return [_port_of(part) for part in text.split(",") if part.strip()]


def _port_of(text: str) -> Object:
    net = ""
    if "[" in text:
        start, _, rest = text.partition("[")
        net, _, end = rest.partition("]:")
        text = start + end
    *first, port = text.strip().split(":")
    return {"protocol": first[0] if first else "tcp", "net": net or (first[1] if len(first) > 1 else ""), "port": port}


def _failsafes(
    variable: str | None, configured: list[Object] | None, defaults: Iterable[tuple[str, int]]
) -> tuple[Failsafe, ...]:
    """The environment's ports, else the configured ones (an empty list is none), else Felix's own."""
    given = _port_list(variable) if variable else configured
    if given is None:
        return tuple(Failsafe(p, n) for p, n in defaults)
    return tuple(
        Failsafe(protocol(g.get("protocol") or "tcp"), int(g["port"]), prefix(g["net"]) if g.get("net") else None)
        for g in given
    )


def _environment(reader: Reader) -> dict[str, str] | None:
    """The environment that calico-node is given; None where it is not known."""
    for item in (found for found, *_ in reader.objects("daemonsets") if reader.home.has(found)):
        template = ((spec(item).get("template") or {}).get("spec") or {}).get("containers") or ()
        for container in template:
            if container.get("name") == "calico-node":
                return {e["name"]: str(e["value"]) for e in container.get("env") or () if e.get("value") is not None}
    return None

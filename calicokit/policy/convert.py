"""Calico's and Kubernetes' policy objects → :class:`~calicokit.policy.model.Policy`.

Facts: libcalico-go/lib/backend/syncersv1/updateprocessors/{rules,selectors,networkpolicyprocessor,
globalnetworkpolicyprocessor}.go and libcalico-go/lib/backend/k8s/conversion/{conversion,clusternetworkpolicy}.go at
HEAD; conversion.go at v3.30.7 for Admin and Baseline policies; names: libcalico-go/lib/names/policy.go at v3.30.7,
felix/types/policy_id.go and libcalico-go/lib/backend/k8s/resources/resources.go at HEAD.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from calicokit.evidence.model import ODD_SHAPE
from calicokit.evidence.objects import Object, calico_metadata, spec
from calicokit.net import Prefix, prefix
from calicokit.policy.model import (
    ACCOUNT_PREFIX,
    DEFAULT_TIER,
    DIRECTIONS,
    EGRESS,
    INGRESS,
    NAMESPACE,
    NAMESPACE_PREFIX,
    ORCHESTRATOR,
    SERVICE_ACCOUNT,
    Direction,
    Icmp,
    Policy,
    Ports,
    Rule,
    Side,
)
from calicokit.selectors import SelectorError, parse

KUBERNETES_ORDER = 1000.0
PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "132": "sctp", "136": "udplite"}
ACTIONS = {"allow": "allow", "accept": "allow", "deny": "deny", "pass": "pass", "next-tier": "pass", "log": "log"}
WITH_PORTS = ("tcp", "udp", "sctp", "udplite")

Convert = Callable[[Object, str, bool], Policy]
"""From an object, the API group that it came from, and whether it is new (its defaults not filled in yet)."""


def protocol(value: object) -> str:
    """A protocol's name in lower case; a number that has no name stays a number.

    >>> protocol("TCP"), protocol(17), protocol(47), protocol(None)
    ('tcp', 'udp', '47', '')
    """
    text = "" if value is None else str(value).lower()
    return PROTOCOLS.get(text, text)


def port(value: object) -> Ports | str:
    """A port, a range (``FIRST:LAST``) or a name. Raises ``ValueError`` for numbers that are no port."""
    first, _, last = str(value).partition(":")
    if not first.isdigit():
        return str(value)
    found = Ports(int(first), int(last or first))
    if not 0 <= found.first <= found.last <= 65535:
        raise ValueError(f"{value} is not a port")
    return found


def _nets(values: Iterable[str] | None) -> tuple[Prefix, ...]:
    return tuple(prefix(v) for v in values or ())


# ---- Calico's own kinds


def inherited(selector: str, label_prefix: str) -> str:
    """The selector of namespaces or service accounts as one of the labels that endpoints inherit."""
    return str(parse(selector, label_prefix))


def _and_inherited(selector: str, more: str, label_prefix: str) -> str:
    """``prefixAndAppendSelector``."""
    if not more:
        return selector
    found = inherited(more, label_prefix)
    return f"({selector}) && {found}" if selector else found


def accounts_selector(accounts: Object | None) -> str:
    """``parseServiceAccounts``: names and selector, both must hold."""
    if not accounts:
        return ""
    chosen = inherited(accounts["selector"], ACCOUNT_PREFIX) if accounts.get("selector") else ""
    names = accounts.get("names") or []
    if not names:
        return chosen
    quoted = ", ".join(f"'{n}'" for n in names)
    named = str(parse(f"{SERVICE_ACCOUNT} in {{ {quoted} }}"))
    return f"({chosen}) && ({named})" if chosen else named


def side_selector(entity: Object, namespace: str) -> str:
    """``GetEntityRuleSelector``: which endpoints and network sets one side of a rule means."""
    chosen = [s for s in (accounts_selector(entity.get("serviceAccounts")), entity.get("selector") or "") if s]
    selector = chosen[0] if len(chosen) == 1 else f"({') && ('.join(chosen)})" if chosen else ""
    of_namespaces = entity.get("namespaceSelector") or ""
    if of_namespaces:
        where = inherited(of_namespaces, NAMESPACE_PREFIX)
        where = where.replace("all()", f"has({NAMESPACE})").replace("global()", f"!has({NAMESPACE})")
    else:
        where = f"{NAMESPACE} == '{namespace}'" if namespace else ""
    if where and (selector or entity.get("notSelector") or of_namespaces):
        return f"({where}) && ({selector})" if selector else where
    return selector


def _side(entity: Object | None, namespace: str) -> Side:
    if not entity:
        return Side()
    service = entity.get("services") or {}
    found = Side(
        selector=side_selector(entity, namespace),
        not_selector=entity.get("notSelector") or "",
        nets=_nets(entity.get("nets")),
        not_nets=_nets(entity.get("notNets")),
        ports=tuple(port(p) for p in entity.get("ports") or ()),
        not_ports=tuple(port(p) for p in entity.get("notPorts") or ()),
        service=f"{service.get('namespace') or namespace}/{service['name']}" if service.get("name") else "",
    )
    for text in (found.selector, found.not_selector):
        parse(text)
    return found


def _icmp(value: Object | None) -> Icmp | None:
    return None if not value or value.get("type") is None else Icmp(value["type"], value.get("code"))


def _rules(given: list[Object] | None, namespace: str) -> tuple[Rule, ...]:
    return tuple(_rule(index, rule, namespace) for index, rule in enumerate(given or ()))


def _rule(index: int, rule: Object, namespace: str) -> Rule:
    return Rule(
        index=index,
        action=ACTIONS[str(rule["action"]).lower()],
        source=_side(rule.get("source"), namespace),
        destination=_side(rule.get("destination"), namespace),
        protocol=protocol(rule.get("protocol")),
        not_protocol=protocol(rule.get("notProtocol")),
        icmp=_icmp(rule.get("icmp")),
        not_icmp=_icmp(rule.get("notICMP")),
        version=rule.get("ipVersion"),
        origin=index,
        name=str(((rule.get("metadata") or {}).get("annotations") or {}).get("name") or ""),
    )


def _given_types(types: list[str] | None) -> set[str]:
    """The directions that a policy names; raises ``ValueError`` for what is none, as the API refuses it."""
    given = {t.lower() for t in types or ()}
    if given - set(DIRECTIONS):
        raise ValueError(f"no types of policy: {types}")
    return given


def _types(body: Object, filled_in: bool) -> frozenset[Direction]:
    """The policy's types. Calico's API fills them in; where a stored object has none, Felix takes both."""
    given = _given_types(body.get("types"))
    if given:
        return frozenset(d for d in (INGRESS, EGRESS) if d in given)
    if not filled_in:
        return frozenset((INGRESS, EGRESS))
    if not body.get("egress"):
        return frozenset((INGRESS,))
    return frozenset((INGRESS, EGRESS)) if body.get("ingress") else frozenset((EGRESS,))


def names_of(item: Object, group: str, tier: str) -> tuple[str, str]:
    """The name that the API v3 shows, and the stored one by which Calico up to v3.31 sorts."""
    name = item["metadata"]["name"]
    stored = name if "." in name else f"{DEFAULT_TIER}.{name}"
    if not group.startswith("crd."):
        return name, stored
    meta = calico_metadata(item)
    if meta.get("name"):
        return meta["name"], stored
    if meta and tier == DEFAULT_TIER:
        return name.removeprefix(f"{DEFAULT_TIER}."), stored
    return name, stored


def _calico(item: Object, group: str, new: bool, kind: str) -> Policy:
    body = spec(item)
    tier = body.get("tier") or DEFAULT_TIER
    name, stored = names_of(item, group, tier)
    namespace = item["metadata"].get("namespace") or "" if "Global" not in kind else ""
    order = body.get("order")
    return Policy(
        kind=kind,
        name=name,
        namespace=namespace,
        tier=tier,
        order=math.inf if order is None else float(order),
        selector=_applied_to(body, namespace),
        types=_types(body, new and not group.startswith("crd.")),
        ingress=_rules(body.get("ingress"), namespace),
        egress=_rules(body.get("egress"), namespace),
        staged=kind.startswith("Staged"),
        staged_action=body.get("stagedAction") or ("Set" if kind.startswith("Staged") else ""),
        apply_on_forward=bool(body.get("applyOnForward")) and not namespace,
        pre_dnat=bool(body.get("preDNAT")) and not namespace,
        do_not_track=bool(body.get("doNotTrack")) and not namespace,
        stored=f"{namespace}/{stored}" if namespace else stored,
    )


def _applied_to(body: Object, namespace: str) -> str:
    selector = body.get("selector") or ""
    accounts = body.get("serviceAccountSelector") or ""
    if namespace:
        where = f"{NAMESPACE} == '{namespace}'"
        selector = f"({selector}) && {where}" if selector else where
        selector = _and_inherited(selector, accounts, ACCOUNT_PREFIX)
    else:
        for more, label_prefix, key in (
            (body.get("namespaceSelector") or "", NAMESPACE_PREFIX, NAMESPACE),
            (accounts, ACCOUNT_PREFIX, SERVICE_ACCOUNT),
        ):
            if more:
                selector = _and_inherited(selector, more, label_prefix).replace("all()", f"has({key})")
    return str(parse(selector))


def _named(kind: str) -> Convert:
    return lambda item, group, new: _calico(item, group, new, kind)


# ---- Kubernetes' kinds


def kubernetes_selector(selector: Object | None, of_pods: bool) -> str:
    """``k8sSelectorToCalico``: None is no selector, which for pods still leaves the term on the orchestrator."""
    terms = [f"{ORCHESTRATOR} == 'k8s'"] if of_pods else []
    if selector is None:
        return " && ".join(terms)
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if not of_pods and not labels and not expressions:
        return "all()"
    terms += [f"{k} == '{labels[k]}'" for k in sorted(labels)]
    for each in expressions:
        values = "', '".join(each.get("values") or ())
        key = each["key"]
        terms += {
            "In": [f"{key} in {{ '{values}' }}"],
            "NotIn": [f"{key} not in {{ '{values}' }}"],
            "Exists": [f"has({key})"],
            "DoesNotExist": [f"! has({key})"],
        }.get(each["operator"], [])
    return " && ".join(terms)


def simplified(ports: list[Ports | str]) -> tuple[Ports | str, ...]:
    """``SimplifyPorts``: names first, then numbers joined to ranges."""
    numbers = sorted(p for p in ports if isinstance(p, Ports))
    joined: list[Ports] = []
    for each in numbers:
        if joined and each.first <= joined[-1].last + 1:
            joined[-1] = Ports(joined[-1].first, max(joined[-1].last, each.last))
        else:
            joined.append(each)
    return (*(p for p in ports if isinstance(p, str)), *joined)


class _ByProtocol:
    """Ports of one rule by protocol; None stands for every port, and the protocol ``""`` for every protocol."""

    def __init__(self) -> None:
        self.ports: dict[str, list[Ports | str] | None] = {}

    def add(self, proto: str, which: Ports | str | None) -> None:
        if which is None:
            self.ports[proto] = None
        elif (known := self.ports.setdefault(proto, [])) is not None:
            known.append(which)

    def everything(self) -> None:
        self.ports = {"": None}

    def __iter__(self) -> Iterator[tuple[str, tuple[Ports | str, ...]]]:
        for proto in sorted(self.ports, key=lambda p: p.upper()):
            yield proto, simplified(self.ports[proto] or [])


def _kubernetes_ports(given: list[Object] | None) -> _ByProtocol:
    found = _ByProtocol()
    if not given:
        found.everything()
    for each in given or ():
        number, end = each.get("port"), each.get("endPort")
        which = None if number is None else port(f"{number}:{end}" if end is not None else number)
        found.add(protocol(each.get("protocol") or "TCP"), which)
    return found


def _peer(peer: Object | None, namespace: str) -> Side:
    """One peer of a Kubernetes policy's rule."""
    if peer is None:
        return Side()
    if block := peer.get("ipBlock"):
        return Side(nets=_nets([block["cidr"]]), not_nets=_nets(block.get("except")))
    where = peer.get("namespaceSelector")
    entity = {
        "selector": kubernetes_selector(peer.get("podSelector"), True),
        "namespaceSelector": "" if where is None else kubernetes_selector(where, False),
    }
    return Side(selector=side_selector(entity, namespace))


def _with_ports(side: Side, ports: tuple[Ports | str, ...]) -> Side:
    return Side(side.selector, side.not_selector, side.nets, side.not_nets, ports)


def _allow(given: list[Object] | None, direction: Direction, namespace: str) -> tuple[Rule, ...]:
    """The rules of a Kubernetes policy in one direction: one for each protocol and peer of each of them.

    A rule that cannot be converted is dropped, as Calico does.
    """
    rules: list[Rule] = []
    for origin, each in enumerate(given or ()):
        peers: list[Object | None] = list(each.get("from" if direction == INGRESS else "to") or [None])
        try:
            sides = [_peer(p, namespace) for p in peers]
            for side in sides:
                parse(side.selector)
            by_protocol = list(_kubernetes_ports(each.get("ports")))
        except (KeyError, ValueError):
            continue
        for proto, ports in by_protocol:
            for side in sides:
                source, destination = (side, Side(ports=ports)) if direction == INGRESS else (Side(), side)
                if direction == EGRESS:
                    destination = _with_ports(side, ports)
                rules.append(Rule(len(rules), "allow", source, destination, proto, origin=origin))
    return tuple(rules)


def _kubernetes(item: Object, group: str, new: bool, kind: str = "KubernetesNetworkPolicy") -> Policy:
    body, meta = spec(item), item["metadata"]
    namespace = meta["namespace"]
    types = _given_types(body.get("policyTypes"))
    if new and not types and body.get("egress"):
        types = {INGRESS, EGRESS}  # as the API server fills it in
    where = f"({kubernetes_selector(body.get('podSelector') or {}, True)}) && {NAMESPACE} == '{namespace}'"
    return Policy(
        kind=kind,
        name=meta["name"],
        namespace=namespace,
        tier=DEFAULT_TIER,
        order=KUBERNETES_ORDER,
        selector=str(parse(where)),
        types=frozenset(d for d in (INGRESS, EGRESS) if d in (types or {INGRESS})),
        ingress=_allow(body.get("ingress"), INGRESS, namespace),
        egress=_allow(body.get("egress"), EGRESS, namespace),
        staged=kind.startswith("Staged"),
        staged_action=body.get("stagedAction") or ("Set" if kind.startswith("Staged") else ""),
        stored=f"{namespace}/knp.default.{meta['name']}",
    )


def _staged_kubernetes(item: Object, group: str, new: bool) -> Policy:
    return _kubernetes(item, group, new, "StagedKubernetesNetworkPolicy")


# ---- policies of the cluster's administrator


def _admin_ports(given: list[Object] | None) -> _ByProtocol:
    """Ports of Admin and Baseline policies; Calico does not know their named ports and takes them for every port."""
    found = _ByProtocol()
    if not given:
        found.everything()
    for each in given or ():
        if number := each.get("portNumber"):
            found.add(protocol(number.get("protocol") or "TCP"), port(number["port"]))
        elif span := each.get("portRange"):
            found.add(protocol(span.get("protocol") or "TCP"), port(f"{span['start']}:{span['end']}"))
        else:
            found.everything()
            break
    return found


def _cluster_ports(given: list[Object] | None) -> _ByProtocol:
    """Protocols of ClusterNetworkPolicies."""
    found = _ByProtocol()
    if not given:
        found.everything()
    for each in given or ():
        proto = next((p for p in ("tcp", "udp", "sctp") if p in each), None)
        if proto is not None:
            found.add(proto, _destination_port((each[proto] or {}).get("destinationPort")))
        elif each.get("destinationNamedPort"):
            found.add("", str(each["destinationNamedPort"]))
        else:
            found.everything()
            break
    return found


def _destination_port(given: Object | None) -> Ports | None:
    span = (given or {}).get("range") or {}
    first = (given or {}).get("number") or span.get("start")
    if not first:
        return None
    found = port(f"{first}:{span['end']}" if span else first)
    return found if isinstance(found, Ports) else None


def _admin_peer(peer: Object) -> Side:
    selector, where = "", ""
    if peer.get("namespaces") is not None:
        where = kubernetes_selector(peer["namespaces"], False)
    if peer.get("pods") is not None:
        selector = kubernetes_selector(peer["pods"].get("podSelector") or {}, True)
        where = kubernetes_selector(peer["pods"].get("namespaceSelector") or {}, False)
    nets = _nets(peer.get("networks"))
    if not (selector or where or nets):
        raise ValueError("a peer of a kind unknown to Calico")
    return Side(selector=side_selector({"selector": selector, "namespaceSelector": where}, ""), nets=nets)


def _admin_rules(given: list[Object] | None, direction: Direction, cluster: bool) -> tuple[Rule, ...]:
    """A rule that cannot be converted and does not allow is replaced by one that denies everything."""
    rules: list[Rule] = []
    for origin, each in enumerate(given or ()):
        action = ACTIONS.get(str(each.get("action")).lower(), "")
        if not action:
            continue
        try:
            sides = [_admin_peer(p) for p in each.get("from" if direction == INGRESS else "to") or ()]
            ports = list(_cluster_ports(each.get("protocols")) if cluster else _admin_ports(each.get("ports")))
        except (KeyError, ValueError):
            if action in ("deny", "pass"):
                rules.append(Rule(len(rules), "deny", origin=origin, name=each.get("name") or ""))
            continue
        for proto, which in ports:
            for side in sides:
                source, destination = (side, Side(ports=which)) if direction == INGRESS else (Side(), side)
                if direction == EGRESS:
                    destination = _with_ports(side, which)
                found = Rule(len(rules), action, source, destination, proto, origin=origin, name=each.get("name") or "")
                rules.append(found)
    return tuple(rules)


ADMIN_TIERS = {
    "AdminNetworkPolicy": ("adminnetworkpolicy", "kanp.adminnetworkpolicy."),
    "BaselineAdminNetworkPolicy": ("baselineadminnetworkpolicy", "kbanp.baselineadminnetworkpolicy."),
}


def _admin(item: Object, kind: str) -> Policy:
    body, name = spec(item), item["metadata"]["name"]
    cluster = kind not in ADMIN_TIERS
    if cluster:
        tier = {"Admin": "kube-admin", "Baseline": "kube-baseline"}[body["tier"]]
        stored = f"kcnp.{tier}.{name}"
    else:
        tier, start = ADMIN_TIERS[kind]
        stored = start + name
    ingress = _admin_rules(body.get("ingress"), INGRESS, cluster)
    egress = _admin_rules(body.get("egress"), EGRESS, cluster)
    return Policy(
        kind=kind,
        name=name,
        namespace="",
        tier=tier,
        order=float(body.get("priority") or 0),
        selector=_subject(body.get("subject") or {}),
        types=frozenset(d for d, rules in ((INGRESS, ingress), (EGRESS, egress)) if rules),
        ingress=ingress,
        egress=egress,
        stored=stored,
    )


def _subject(subject: Object) -> str:
    pods = subject.get("pods")
    if subject.get("namespaces") is not None:
        pods = {"namespaceSelector": subject["namespaces"], "podSelector": None}
    if pods is None:
        raise ValueError("the subject selects neither namespaces nor pods")
    selector = kubernetes_selector(pods.get("podSelector"), True)
    where = kubernetes_selector(pods.get("namespaceSelector") or {}, False)
    return _applied_to({"selector": selector, "namespaceSelector": where}, "")


def _of_admin(kind: str) -> Convert:
    return lambda item, group, new: _admin(item, kind)


POLICY_KINDS: dict[str, tuple[str, Convert]] = {
    "globalnetworkpolicies": ("GlobalNetworkPolicy", _named("GlobalNetworkPolicy")),
    "networkpolicies": ("NetworkPolicy", _named("NetworkPolicy")),
    "kubernetes-networkpolicies": ("KubernetesNetworkPolicy", _kubernetes),
    "adminnetworkpolicies": ("AdminNetworkPolicy", _of_admin("AdminNetworkPolicy")),
    "baselineadminnetworkpolicies": ("BaselineAdminNetworkPolicy", _of_admin("BaselineAdminNetworkPolicy")),
    "clusternetworkpolicies": ("KubernetesClusterNetworkPolicy", _of_admin("KubernetesClusterNetworkPolicy")),
    "stagedglobalnetworkpolicies": ("StagedGlobalNetworkPolicy", _named("StagedGlobalNetworkPolicy")),
    "stagednetworkpolicies": ("StagedNetworkPolicy", _named("StagedNetworkPolicy")),
    "stagedkubernetesnetworkpolicies": ("StagedKubernetesNetworkPolicy", _staged_kubernetes),
}
"""Id of the catalog → Calico's word for the kind, and what converts it."""
OPTIONAL_KINDS = ("adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies")
"""Kinds of the network policy API, which few clusters have: where they were not listed, an answer says so."""


def policy_of(id: str, item: Object, group: str, ref: str = "", new: bool = False) -> Policy:  # noqa: A002
    """The policy that an object of this kind is; one with a ``problem`` where it cannot be read."""
    kind, convert = POLICY_KINDS[id]
    try:
        found = convert(item, group, new)
    except SelectorError as error:
        return _unreadable(kind, item, group, f"its selector cannot be parsed: {error.reason}", ref)
    except ODD_SHAPE as error:
        return _unreadable(kind, item, group, f"it cannot be parsed ({type(error).__name__}: {error})", ref)
    return replace(found, evidence=ref)


def _unreadable(kind: str, item: Object, group: str, why: str, ref: str) -> Policy:
    meta, body = item.get("metadata") or {}, item.get("spec") or {}
    body = body if isinstance(body, dict) else {}
    namespace = str(meta.get("namespace") or "")
    return Policy(
        kind=kind,
        name=str(meta.get("name") or "?"),
        namespace=namespace,
        tier=str(body.get("tier") or DEFAULT_TIER),
        order=math.inf,
        selector=f"{NAMESPACE} == '{namespace}'" if namespace else "all()",
        types=frozenset((INGRESS, EGRESS)),
        staged=kind.startswith("Staged"),
        problem=why,
        evidence=ref,
    )
